"""A stream as the body of one HTTP response, over ASGI.

Who does what:

    the request's own task (the producer)            beside it
    open the source                                  the watcher    receive(): waits until the client has left
    pull the first items                             the alarm      looks whether a beat is due, or the client takes nothing
      failed before that: a status, and JSON         a beat         one send, while the producer waits
    headers, with them the first items               the drain      says that the server stops
    pull, encode, one send ...
    close the source
    the last message: the terminal frame
    dismiss the watcher and the beat; return

What comes while it does that. The rows follow one another; a pull and its send take turns:

    the producer          the client leaves          the server stops           `heartbeat` s of silence
    pulls                 the pull is called off     the pull is called off     a beat, with the headers if need be
    sends (`_sending`)    the send is called off     behind the send            none: bytes are on their way
    closes the source     nothing: it closes         nothing: it ends as        a beat
      (`run.closing`)       in its own time            it was about to
    says how it ended     it is called off           nothing: it has ended      none
      (`_finishing`)
    its last message      called off in a second:    nothing: it has ended      none
      (`_ending`)           servers say so early

Then nothing more is pulled (`_halted`), and the source is closed. A client that has left (`_gone`) is told nothing; when the server
stops (`_leaving`), it is told "draining", with its last id. Like one that has left, but with the connection broken off, is treated
who has not taken that half a second later (`cut`, from `life.draining`), and who takes nothing for `send_timeout` s
(`life.stalls`).

- The source is iterated and closed in the request's own task. That is called off by a cancel of our own (`life.interrupts`).
- The watcher is a task of the response and not of a task group around anybody's code. It begins when the producer first waits.
  Only it learns that the client has left: some servers' `send` then returns as if nothing were.
- A beat is a task of its own, alive for one send, and the producer lets it finish before it sends. So the usual path takes no
  lock: it reads one flag and the time per write. All responses of an event loop share one timer (`life.alarms`).
- The headers wait for the first item, so that an early failure is a real status; but no longer than one heartbeat, because a proxy
  that sees no byte gives up.
- After a failure of the source the call returns normally: it was logged, and the client was told. Where the body has no word for
  it, the response is left unfinished and StreamInterrupted is raised to the server: each one then breaks the transfer off. A
  middleware that ends a body before it lets the error through (Starlette's `BaseHTTPMiddleware`) would have made it whole: behind
  it the connection is broken off first.
- A cancelled request closes its source and lets the cancel through. Errors of `send` that are no OSError (which means that the
  client has left) are the server's, and are raised to it.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from functools import partial
from typing import Final

from streamkit.dialects.outcomes import DONE, Outcome
from streamkit.errors import StreamDraining, StreamInterrupted
from streamkit.events import ErrorEvent
from streamkit.flow.clock import Clock, current_clock
from streamkit.flow.runs import Run
from streamkit.flow.streams import Stream
from streamkit.flow.tasks import Backend, Task, Timer, current_backend
from streamkit.sinks.asgi_types import Message, RawHeaders, Receive, Scope, Send
from streamkit.sinks.codec import Writing
from streamkit.sinks.connections import connection_in
from streamkit.sinks.failures import LOGGER, Refusal, no_content, refusal_of, report
from streamkit.sinks.life.alarms import Alarm, alarms_of
from streamkit.sinks.life.departures import watch_for_departure
from streamkit.sinks.life.draining import Drain, has_standing_drain, standing_drain
from streamkit.sinks.life.interrupts import interrupt_for
from streamkit.sinks.life.stalls import NEARLY, Stall
from streamkit.sinks.life.transports import NO_TRANSPORT, transport_behind, transport_beside

__all__ = ["SEND_TIMEOUT", "Exchange", "Message", "RawHeaders", "Receive", "Scope", "Send"]

# Seconds that one write may wait for a client, where no `Connections` says anything else.
SEND_TIMEOUT: Final = 30.0

# Seconds that a server may still take over the last message after it has said that the client has left.
_ENDING_S: Final = 1.0

# Turns of the event loop that what was sent may need through middlewares that hand it to other tasks.
_TURNS: Final = 8


class Exchange:
    """One request being answered with one run of a stream.

    Args:
        stream: What to send.
        codec: How to write it.
        receive, send: The ASGI callables.
        status, headers: Of the response, if the stream does not fail before its first item.
        heartbeat: Seconds without a write after which a sign of life is sent; None sends none.
        lets_through: Failures before the first byte that are somebody else's to answer: they are raised.
        nothing: Failures before the first byte that mean that there is nothing to send: they are answered with 204.
        ended: Called with how the stream ended, before the last message is sent.
        left: Called when nothing of it runs any more.
        in_trailers: Whether that reaches the client behind the body.
        scope: Of the request: what a `Connections` left in it says when to end, and how long a write may take.
        wire: The `send` that the application was called with, if `send` is one of ours around it.
        drain: What says when to end, where there are no `Connections`; that of the event loop, unless given.

    Memory: what the run holds, one task, and the bytes of one batch.
    """

    __slots__ = (
        "_alarm",
        "_backend",
        "_beat",
        "_beating",
        "_clock",
        "_codec",
        "_connection",
        "_context",
        "_drain",
        "_ended",
        "_ending",
        "_ends_by_closing",
        "_finishing",
        "_gone",
        "_halted",
        "_headers",
        "_heartbeat",
        "_in_trailers",
        "_interrupt",
        "_joined",
        "_last",
        "_leaving",
        "_left",
        "_lets_through",
        "_nothing",
        "_receive",
        "_run",
        "_send",
        "_send_error",
        "_send_timeout",
        "_sending",
        "_settling",
        "_stall",
        "_started",
        "_status",
        "_stream",
        "_timer",
        "_transport",
        "_waiter",
        "_watcher",
    )

    def __init__(
        self,
        stream: Stream[object],
        codec: Writing,
        receive: Receive,
        send: Send,
        *,
        status: int,
        headers: RawHeaders,
        heartbeat: float | None,
        lets_through: tuple[type[Exception], ...] = (),
        nothing: tuple[type[Exception], ...] = (),
        ended: Callable[[Outcome], None] | None = None,
        left: Callable[[], None] | None = None,
        in_trailers: bool = False,
        scope: Scope | None = None,
        wire: Send | None = None,
        drain: Drain | None = None,
    ) -> None:
        self._stream = stream
        self._codec = codec
        self._receive = receive
        self._send = send
        self._status = status
        self._headers = headers
        self._heartbeat = heartbeat if codec.heartbeat else None
        self._lets_through = lets_through
        self._nothing = nothing
        self._ended = ended
        self._left = left
        self._in_trailers = in_trailers
        self._backend: Backend = current_backend()
        self._interrupt = interrupt_for(self._backend)
        self._waiter = self._backend.waiter()
        self._clock: Clock = current_clock(self._backend)
        self._connection = None if scope is None else connection_in(scope)
        self._send_timeout = SEND_TIMEOUT if self._connection is None else self._connection.send_timeout
        if self._connection is not None:  # nothing stands between it and the server that it does not know
            wire = self._connection.wire or wire
        self._transport = NO_TRANSPORT
        # Other streams share a connection of HTTP/2: it is not this one's to break off.
        if scope is None or scope.get("http_version") in (None, "1.0", "1.1"):
            self._transport = transport_behind(wire or send)
            if not self._transport.found:
                self._transport = transport_beside(receive)
        self._ends_by_closing = scope is not None and scope.get("http_version") == "1.0"
        self._drain = drain
        self._run: Run[object] | None = None
        self._context: contextvars.Context | None = None
        self._stall: Stall | None = None
        self._alarm: Alarm | None = None
        self._timer: Timer | None = None
        self._watcher: Task | None = None
        self._beat: Task | None = None
        self._beating = False
        self._started = False  # The response's headers are on their way.
        self._sending = False  # The producer is inside `send`.
        self._gone = False  # The client has left.
        self._halted = False  # It has, or it is to be told that the server stops: nothing more is pulled.
        self._leaving: StreamDraining | None = None
        self._joined = False  # It will be told when the process stops.
        self._settling: asyncio.Handle | None = None
        self._finishing = False
        self._ending = False  # The last message is on its way.
        self._send_error: Exception | None = None
        self._last = 0.0

    async def answer(self) -> None:
        """Send the whole response; the source is closed and nothing of ours runs any more when this returns."""
        self._last = self._clock.now()
        if self._heartbeat is not None:
            self._context = contextvars.copy_context()
        self._transport.hold_back()
        self._settle_soon()
        try:
            with self._interrupt:
                await self._produce()
            if self._leaving is not None and not self._finishing and not self._gone:
                with self._interrupt:
                    await self._finish(self._leaving)
        finally:
            self._ending = False
            for timer in (self._settling, self._timer, self._alarm):
                if timer is not None:
                    timer.cancel()
            try:
                await self._dismiss()
            finally:
                # Behind the wait, so that many short responses at once set up one drain (bench_sinks).
                if self._joined:
                    self._part()
                if self._left is not None:
                    self._left()
        if self._send_error is not None:
            raise self._send_error

    def _settle_soon(self) -> None:
        """Have `_settle` called once the producer waits for anything.

        A response that has all its items at hand is over before that, and needs nobody to watch it: that is much of what such a one
        costs (bench_sinks).
        """
        if self._connection is not None or self._drain is not None or has_standing_drain(self._backend):
            self._join()  # it may be the end already
        loop = self._backend.loop
        if isinstance(loop, asyncio.AbstractEventLoop):
            self._settling = loop.call_soon(self._settle)
        else:
            self._settle()

    def _settle(self) -> None:
        """Look out for all that may end the response before its source does."""
        self._settling = None
        watch = partial(watch_for_departure, self._receive, self._backend, self._client_left)
        self._watcher = self._backend.spawn(watch, None, "streamkit watcher", self._waiter.wake)
        if not self._joined:
            self._join()
        if self._send_timeout is not None:
            self._stall = Stall(self._transport, self._send_timeout)
        self._set_alarm()

    def _join(self) -> None:
        """Be told when the process stops."""
        self._joined = True
        if self._connection is not None:
            self._connection.on_drain(self.end)
        else:
            self._drain = self._drain or standing_drain(self._backend, self._clock)
            self._drain.join(self)

    def _part(self) -> None:
        """Take back what was joined. A connection is one request: once this is over, nobody tells it anything."""
        drain = self._drain
        if self._connection is None and drain is not None:
            drain.leave(self)
            if self._leaving is not None:
                # What it said last may lie here for ever, and hold up the server.
                drain.at_cut(self._transport.break_off_if_stuck)

    # -- the producer

    async def _produce(self) -> None:
        failure: Exception | ErrorEvent | None = None
        whole = False
        try:
            async with self._stream.open() as run:
                self._run = run
                del self._stream  # needed no more: there may be thousands
                whole = await self._write(run)
        except Exception as error:
            failure = error
        except BaseException as error:
            if not self._interrupt.is_stray(error):
                raise
            failure = StreamInterrupted("a task that the source waited for was cancelled")
            failure.__cause__ = error
        self._run = None
        if not self._gone:
            # A source that has given all, and takes its time to close, is not cut short by a server that stops meanwhile.
            leaving = None if whole else self._leaving
            if leaving is not None and isinstance(failure, Exception):
                LOGGER.warning("a source failed when it was closed because the server stops", exc_info=failure)
                failure = None
            await self._finish(failure or self._codec.stopped_by or leaving)
        elif isinstance(failure, Exception):
            LOGGER.warning("a source failed after its client had left", exc_info=failure)

    async def _write(self, run: Run[object]) -> bool:
        """Send what the source gives; whether that was all of it."""
        codec, send, now = self._codec, self._send, self._clock.now
        if self._halted:
            return False
        async for batch in run.lists():
            if self._beating:
                await self._beat_is_over()
            if self._gone:  # and the source did not mind the cancel
                return False
            body = codec.encode(batch)
            if not self._started or codec.stopped_by is not None:
                if codec.stopped_by is not None and not body:
                    return False
                body = await self._begin() + body
            if body:
                # The usual path of every batch. The flag is enough: a beat starts from a timer, never in between.
                self._sending = True
                try:
                    await send({"type": "http.response.body", "body": body, "more_body": True})
                except Exception as error:
                    self._lost(error)
                    return False
                self._sending = False
                self._last = now()
            if self._halted or codec.stopped_by is not None:
                return False
        return not self._halted  # a source may end quietly when it is cancelled

    async def _begin(self) -> bytes:
        """Send the headers, if that has not happened; give what goes before the first item."""
        if not self._started:
            if not self._joined:  # whoever has seen a byte may count on being told
                self._join()
                if self._leaving is not None:  # it is the end already, and nothing has been said: called off here
                    await self._backend.checkpoint()
            self._started = True
            await self._deliver({"type": "http.response.start", "status": self._status, "headers": self._headers})
            del self._headers  # needed no more: there may be thousands
        return self._codec.open()

    async def _finish(self, failure: Exception | ErrorEvent | None) -> None:
        self._finishing = True
        leaving = self._leaving
        if leaving is not None and failure is leaving:
            leaving.last_id = getattr(self._codec, "last_id", None)
        if self._beating:
            await self._beat_is_over()
        outcome = DONE
        if failure is not None:
            if not self._started and isinstance(failure, self._lets_through):
                raise failure
            if not self._started and isinstance(failure, self._nothing):
                await self._refuse(no_content())
                return
            outcome = report(failure, before_first_byte=not self._started, wanted=failure is self._leaving)
            if not self._started:
                await self._refuse(refusal_of(outcome, failure))
                return
        body = b""
        try:
            body = await self._begin()
            end = self._codec.close(outcome)
        except Exception as error:  # it cannot begin, or what the encoder had held back cannot be written
            outcome = report(error, before_first_byte=False)
            end = self._codec.close(outcome)
        if self._ended is not None:
            self._ended(outcome)
        if outcome.failed and not end and not self._in_trailers and not self._gone:
            # To finish the body would say that it is whole.
            self._send_error = StreamInterrupted(
                f"a response was left unfinished, because its format has no word for a failure "
                f"(code {outcome.code}, correlation id {outcome.correlation_id})"
            )
            await self._break_visibly()
            return
        await self._deliver({"type": "http.response.body", "body": body + end, "more_body": False})

    async def _refuse(self, refusal: Refusal) -> None:
        status, headers, body = refusal
        self._started = True
        await self._deliver({"type": "http.response.start", "status": status, "headers": headers})
        await self._deliver({"type": "http.response.body", "body": body, "more_body": False})

    async def _break_visibly(self) -> None:
        """Break the connection off where what becomes of our error would look like an end.

        A middleware may finish the body before it lets the error through; and in HTTP/1.0, which proxies speak to their servers, a
        body ends where the connection does, so only a reset says anything else (RFC 9112, section 8).
        """
        hands_on = self._transport.found and not transport_behind(self._send).found
        if hands_on:
            # It takes this one when it has passed on what was before; each further one of its kind needs a turn of the loop.
            await self._deliver({"type": "http.response.body", "body": b"", "more_body": True})
            for _ in range(_TURNS):
                await self._backend.checkpoint()
        if self._ends_by_closing:
            self._transport.reset()
        elif hands_on:
            self._transport.break_off()

    async def _deliver(self, message: Message) -> None:
        if self._gone:
            return
        self._sending = True
        self._ending = message.get("more_body") is False
        try:
            await self._send(message)
        except Exception as error:
            self._lost(error)
        self._sending = False
        self._last = self._clock.now()

    def _lost(self, error: Exception) -> None:
        """`send` failed: nobody reads any more."""
        self._gone = self._halted = True
        if not isinstance(error, OSError):
            self._send_error = error

    # -- the watcher

    def _client_left(self) -> None:
        self._gone = self._halted = True
        if self._ending:
            # So says a server, too, that is taking the last message and still has to close or to reuse its connection (hypercorn).
            self._timer = self._clock.call_at(self._clock.now() + _ENDING_S, self._call_off)
        else:
            self._call_off()

    # -- the end of the process

    def end(self) -> None:
        """The server stops: end the response, and say so. Called in the event loop, like `cut`."""
        if self._leaving is not None or self._gone:
            return
        self._leaving = StreamDraining("the server stops, and with it this response")
        run = self._run
        if run is not None and run.closing:  # it has ended, and that is what is told
            return
        self._halted = True
        # Whoever writes looks when that is done: what is half written is not to be lost.
        if run is not None and not self._sending:
            self._interrupt.fire()

    def cut(self) -> None:
        """Leave without a word: the client had its time."""
        self._gone = self._halted = True
        self._call_off()
        self._transport.break_off()

    def _call_off(self) -> None:
        """The client has left: end whatever the producer waits for, except the closing of its source.

        A source that swallows the cancel and waits again is cancelled again, every `close_timeout`
        seconds: it lives in the request's own task, so nobody else can end it.
        """
        run, clock = self._run, self._clock
        if self._alarm is not None:  # Nobody is there to hear a heartbeat.
            self._alarm.cancel()
        if run is not None and run.closing:
            return
        self._interrupt.fire()
        if run is not None:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = clock.call_at(clock.now() + run.close_timeout, self._insist)

    def _insist(self) -> None:
        if self._run is not None and not self._run.closing:
            LOGGER.warning(
                "a source did not end within %g s after its client had left, and is cancelled again", self._run.close_timeout
            )
            self._call_off()

    # -- heartbeats, and the watch over writes

    def _set_alarm(self) -> None:
        """Look again when the next heartbeat is due, and often enough to see a write that does not end."""
        now = self._clock.now()
        times: list[float] = []
        if self._heartbeat is not None:
            times.append((now if self._sending or self._beating else self._last) + self._heartbeat)
        if self._stall is not None:
            times.append(now + self._stall.every)
        if times and not self._gone:
            self._alarm = alarms_of(self._clock).at(min(times), self)

    def ring(self) -> None:
        """The time has come; called by the timer that all responses share."""
        if self._context is None:
            self._look()
        else:
            self._context.run(self._look)

    def _look(self) -> None:
        now = self._clock.now()
        writing = self._sending or self._beating
        if self._stall is not None and self._stall.is_over(now, self._last if writing else None):
            self._give_up()
            return
        # Who waits for a slow client needs no sign of life: bytes are on their way.
        if not writing and self._heartbeat is not None and now >= self._last + self._heartbeat * NEARLY:
            self._beating = True
            self._last = now
            self._beat = self._backend.spawn(self._send_beat, None, "streamkit heartbeat", self._beat_ended)
        self._set_alarm()

    def _give_up(self) -> None:
        """The client takes nothing: release the source, and the connection with all that waits in it."""
        LOGGER.info("a client took nothing, or read none of it: its stream is ended (send_timeout=%g)", self._send_timeout)
        self.cut()

    async def _send_beat(self) -> None:
        try:
            if not self._started:
                self._started = True
                await self._send({"type": "http.response.start", "status": self._status, "headers": self._headers})
            await self._send({"type": "http.response.body", "body": self._codec.heartbeat, "more_body": True})
        except Exception as error:
            self._lost(error)
            self._call_off()

    def _beat_ended(self) -> None:
        self._beating = False
        self._last = self._clock.now()
        self._waiter.wake()

    async def _beat_is_over(self) -> None:
        # The batch at hand is not to be lost when the server stops just now: this counts as writing it.
        self._sending = True
        while self._beating:
            await self._waiter.wait()
        self._sending = False

    # -- the way out

    async def _dismiss(self) -> None:
        """End the watcher and the beat, whatever cancels this task meanwhile."""
        for task in (self._watcher, self._beat):
            if task is not None and not task.done:
                task.cancel()
        if not self._dismissed():
            await self._backend.finish(self._waiter.wait, self._dismissed)

    def _dismissed(self) -> bool:
        return all(task is None or task.done for task in (self._watcher, self._beat))
