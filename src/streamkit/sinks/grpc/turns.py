"""One run of one stream into one gRPC call.

    the call's own task (grpc.aio's)        the turn's task
    begin the turn                          ask the handler, open the stream
    wait for it, and                        pull, encode, write: as many events a message as are ready
      the client has left, the deadline     ...
      is over, a cancel by message,         source closed
      the server drains: call it off        what is left to say: a Finish, or nothing
    status and trailers

grpc.aio cancels the task of a call when its client has left or its deadline is over. A source must not be cancelled while it cleans
up, so it lives in a task of the turn, which is called off once, and never while its source is being closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Literal, TypeAlias, cast

from streamkit.dialects.grpc.messages import MESSAGE_BYTES, Wire, cut
from streamkit.errors import LocalProtocolError, StreamInterrupted
from streamkit.events import EVENT_TYPES, ErrorEvent, Event, Finish, Message, TextDelta
from streamkit.flow.runs import Run
from streamkit.flow.streams import Stream
from streamkit.flow.tasks import Timer
from streamkit.sinks.failures import LOGGER

__all__ = ["Collecting", "Copying", "Taking", "Turn", "Why", "Write", "Writing"]

Why: TypeAlias = Literal["left", "cancelled", "draining", "broken"]
"""The client has left, it said cancel, the server drains, or what the client sent cannot be read."""
Write: TypeAlias = Callable[[bytes], Awaitable[None]]


class Taking:
    """Where the items of a turn go.

    Attributes:
        stopped_by: What ended it before the stream did: an `ErrorEvent` of the stream, or an item that cannot be sent.
        finished: Whether a `Finish` came.
    """

    __slots__ = ("finished", "stopped_by")

    def __init__(self) -> None:
        self.stopped_by: ErrorEvent | Exception | None = None
        self.finished = False

    def take(self, batch: list[Any]) -> bytes | list[bytes]:
        """What is to be sent for the items of one read: a message, several, or (empty) none."""
        raise NotImplementedError

    def take_one(self, item: Any) -> bytes | list[bytes]:
        """`take` of a read that brought one."""
        return self.take([item])

    def finish(self, reason: Literal["stop", "cancelled"]) -> bytes:
        """The end of a stream that said none."""
        raise NotImplementedError

    def admitted(self, batch: Iterable[object]) -> list[Event]:
        """The events among the items of a read, up to what ends it."""
        events: list[Event] = []
        for item in batch:
            if isinstance(item, TextDelta):
                events.append(item)
            elif isinstance(item, str):
                events.append(TextDelta(item))
            elif isinstance(item, ErrorEvent):
                self.stopped_by = item
                break
            elif isinstance(item, EVENT_TYPES):
                self.finished = self.finished or isinstance(item, Finish)
                events.append(item)
            else:
                kind = type(item).__name__
                self.stopped_by = TypeError(
                    f"a gRPC stream carries events and text, and got {kind!r}: map it to events, for example "
                    f'.map(lambda item: sk.Custom("item", item)) for data or .map(str) for text'
                )
                break
        return events


class Writing(Taking):
    """Events as messages."""

    __slots__ = ("_encode", "_ends", "_tail", "_text", "_texts", "_turn")

    def __init__(self, wire: Wire, *, turn: int = 0) -> None:
        super().__init__()
        self._encode = wire.events
        self._ends = wire.ends
        self._text = wire.text
        self._texts = wire.texts
        self._turn = turn
        self._tail = wire.events((), turn=turn) if turn else b""  # joined to a message it says the turn

    def take(self, batch: list[Any]) -> bytes | list[bytes]:
        """What was ready together, as one message if it is not too large for one."""
        body = self._texts(batch)
        if body is not None and len(body) < MESSAGE_BYTES:
            return body + self._tail
        events = self.admitted(batch)
        if not events:
            return b""
        try:
            return cut(lambda start, stop: self._encode(events[start:stop], turn=self._turn), 0, len(events))
        except LocalProtocolError as error:
            self.stopped_by = error
            return self._written_before_failing(events)

    def take_one(self, item: Any) -> bytes | list[bytes]:
        """The same for one, where a message must cost no more than one that is written by hand."""
        body = self._text(item)
        return self.take([item]) if body is None else body + self._tail

    def finish(self, reason: Literal["stop", "cancelled"]) -> bytes:
        """A message of its own, for it waits for the source to be closed."""
        return self._ends[reason] + self._tail

    def _written_before_failing(self, events: list[Event]) -> list[bytes]:
        written: list[bytes] = []
        for event in events:
            try:
                written.append(self._encode((event,), turn=self._turn))
            except LocalProtocolError:
                break
        return written


class Copying(Taking):
    """Messages that are encoded already, with what ends them (see `kept`)."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__()
        self.finished = True  # a stream of a hub ends with its own

    def take(self, batch: list[Any]) -> bytes | list[bytes]:
        """The messages as they are."""
        last = batch[-1]
        if last.__class__ is bytes:
            return batch
        self.stopped_by = last
        return batch[:-1]

    def finish(self, reason: Literal["stop", "cancelled"]) -> bytes:
        """Said by the hub."""
        return b""


class Collecting(Taking):
    """Into one message, for calls that give the whole answer.

    Attributes:
        message: The answer so far.
    """

    __slots__ = ("message",)

    def __init__(self) -> None:
        super().__init__()
        self.message = Message()

    def take(self, batch: list[Any]) -> bytes | list[bytes]:
        """Fold the items in; there is nothing to send yet."""
        self.message.add_all(self.admitted(batch))
        return b""

    def finish(self, reason: Literal["stop", "cancelled"]) -> bytes:
        """The end."""
        self.message.add(Finish(reason))
        return b""


class Turn:
    """A stream, from the handler's call until its source is closed.

    Args:
        make: Gives the stream; called in the turn's task.
        into: Where its items go.
        write: The call's own: what it raises means that the client has left.
        over: Called when it is over, and nothing of the stream runs any more.

    Attributes:
        began: Whether anything of it has come.
        failure: What it failed with, or None.
        lost: Whether its client had left before its end.
        why: Why it was called off, or None.
    """

    __slots__ = (
        "_begun",
        "_ending",
        "_into",
        "_make",
        "_over",
        "_run",
        "_task",
        "_timer",
        "_waiter",
        "_write",
        "_writing",
        "began",
        "failure",
        "lost",
        "why",
    )

    def __init__(self, make: Callable[[], Stream[Any]], into: Taking, write: Write, over: Callable[[], None]) -> None:
        self._make = make
        self._write = write
        self._into = into
        self._begun = False
        self._ending = False  # The source is closed.
        self._writing = False  # A message is on its way out.
        self._run: Run[Any] | None = None
        self._timer: Timer | None = None
        self.began = False
        self.failure: Exception | ErrorEvent | None = None
        self.lost = False
        self.why: Why | None = None
        self._task = asyncio.get_running_loop().create_task(self._main(), name="streamkit turn")
        self._waiter: asyncio.Future[None] | None = None
        self._over = over
        self._task.add_done_callback(self._ended)

    @property
    def done(self) -> bool:
        """Whether it is over."""
        return self._task.done()

    @property
    def task(self) -> asyncio.Task[None]:
        """What to wait for."""
        return self._task

    async def ended(self) -> None:
        """Wait for its end, and let the end of the whole process through.

        Cancellation: of the caller alone; the turn goes on until it is stopped.
        """
        while not self._task.done():
            # A future of our own: `asyncio.wait` costs as much as a run of a short stream.
            self._waiter = self._task.get_loop().create_future()
            await self._waiter
        self._task.result()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        self._over()

    def stop(self, why: Why) -> None:
        """Call it off, unless its source is being closed already. The first reason counts, and that nobody reads most."""
        run = self._run
        self.lost = self.lost or why == "left"
        if self._task.done() or (run is not None and run.closing):
            return
        if self._ending:
            if why == "left":  # the end itself waits for a client that is not there
                self._task.cancel()
            return
        called_off = self.why is not None
        if not called_off or why == "left":
            self.why = why
        if called_off and not (self._writing and why == "left"):  # it is on its way, perhaps inside the source's own `finally`
            return
        # A task that is cancelled before its first step never takes it. And a message that is given up half-way leaves gRPC in the
        # middle of an operation, in which no status can be sent: the turn sees by itself that it is over when the message is out.
        if self._begun and not (self._writing and why != "left"):
            self._task.cancel()
        if run is not None:
            self._insist_later(run)

    def _insist_later(self, run: Run[Any]) -> None:
        """A source that swallows the cancel and waits again is cancelled again: nobody else can end it."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = run.clock.call_at(run.clock.now() + run.close_timeout, self._insist)

    def _insist(self) -> None:
        run = self._run
        if run is None or run.closing or self._task.done():
            return
        if not self._writing:
            LOGGER.warning("a source did not end within %g s after it was called off, and is cancelled again", run.close_timeout)
            self._task.cancel()
        self._insist_later(run)

    async def _main(self) -> None:
        self._begun = True
        if self.why is None:
            await self._produce()
        self._ending = True
        if self._timer is not None:
            self._timer.cancel()
        if self.failure is None and not self.lost and not self._into.finished and self.why in (None, "cancelled"):
            await self._say_end()

    async def _produce(self) -> None:
        into = self._into
        try:
            async with self._make().open() as run:
                self._run = run
                # Reads that bring one item each come without a list around it, which is a third of our own work for a message.
                reads, take = (aiter(run), into.take_one) if run.single else (run.lists(), into.take)
                write = self._write
                async for read in reads:
                    if self.why is not None:  # and the source did not mind the cancel
                        break
                    self.began = True
                    body = take(read)
                    self._writing = True
                    try:
                        if body.__class__ is bytes:
                            if body:
                                await write(body)  # pyright: ignore[reportArgumentType]  # asked by hand, as it is once per message
                        else:
                            for message in cast("list[bytes]", body):
                                await write(message)
                    except Exception:
                        self.lost = True
                        break
                    self._writing = False
                    if into.stopped_by is not None:
                        self.failure = into.stopped_by
                        break
                    if self.why is not None:  # stopped while the message was on its way
                        break
        except asyncio.CancelledError as error:
            if self.why is None:
                self.failure = StreamInterrupted("a task that the source waited for was cancelled")
                self.failure.__cause__ = error
        except Exception as error:
            if self.why is None:
                self.failure = error
            else:
                LOGGER.warning("a source failed while it was called off", exc_info=error)
        finally:
            self._run = None

    async def _say_end(self) -> None:
        body = self._into.finish("cancelled" if self.why == "cancelled" else "stop")
        if not body:
            return
        try:
            await self._write(body)
        except (Exception, asyncio.CancelledError):
            self.lost = True
