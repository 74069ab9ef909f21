"""One connection: what its client asks for, what it is told, and the way out.

    the connection's own task       listens, and obeys each message at once or by a task
    a task per reading              see `reading`
    a task per cancel               a hub's cancel waits until the source is closed

How it ends:

    the client closes, or is gone           nothing more is said
    goodbye(code, outcome)                  each reading is stopped and told `end` with the outcome, then close with the code:
                                            draining 1001; too slow 1013; sign-in expired 4401; rules broken 1008, 1003, 1009
    the task is cancelled                   readings are stopped, the cancel goes on

All tasks have ended when `run` returns. The generations go on in their hub, as `on_disconnect` says.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from streamkit.dialects.outcomes import MESSAGES, Outcome
from streamkit.dialects.websocket.messages import (
    VERSION,
    Ack,
    Cancel,
    ClientMessage,
    Hello,
    Leave,
    Malformed,
    Ping,
    Pong,
    RefusedMessage,
    Resume,
    Send,
    ServerMessage,
    read_client,
    write,
)
from streamkit.flow.clock import Clock, current_clock
from streamkit.flow.tasks import Backend, Task, Timer, current_backend
from streamkit.hub.hub import Hub
from streamkit.hub.permissions import Action
from streamkit.hub.tokens import parse_token
from streamkit.sinks.failures import LOGGER
from streamkit.sinks.life.interrupts import interrupt_for
from streamkit.sinks.refusals import Refused
from streamkit.sinks.websocket.generations import Generations
from streamkit.sinks.websocket.limits import ACK_EVERY, Limits, Rate
from streamkit.sinks.websocket.reading import Reading, refusal
from streamkit.sinks.websocket.requests import SocketRequest
from streamkit.sinks.websocket.sockets import Outgoing, Socket, SocketClosed

__all__ = ["DRAINING", "Session"]

Goodbye: TypeAlias = tuple[int, str, Outcome]

DRAINING: Final = Outcome("draining", "draining", MESSAGES["draining"], retryable=True)
# A client that takes nothing may have so many bytes of answers on their way, beside its events.
_ANSWERS: Final = 1 << 20
_TOO_SLOW: Final = Outcome("error", "buffer-full", MESSAGES["buffer-full"], retryable=True)
_EXPIRED: Final = Outcome("error", "unauthorized", "The sign-in has expired.", retryable=True)
_BROKEN: Final = Outcome("error", "policy", "The connection was closed: its client broke the rules.")
_FAULT: Final = Outcome("error", "error", MESSAGES["error"])


class Session:
    """See the top of this file.

    Args:
        socket: The connection, accepted.
        generations: Starts what the client asks for.
        limits: What it may do.
        request: The handshake.
        owner: Whose it is, None for nobody's.
        expires_in: Seconds until the sign-in is over, or None.

    Memory: a task and a few numbers for each stream that is read, at most `max_streams`; nothing for what waits to be sent, which
        stays in the hub.
    """

    __slots__ = (
        "_cancels",
        "_draining",
        "_generations",
        "_goodbye",
        "_handling",
        "_heard",
        "_interrupt",
        "_owed",
        "_rate",
        "_readings",
        "_refusals",
        "_request",
        "_starting",
        "_tasks",
        "_timers",
        "_waiter",
        "backend",
        "clock",
        "hub",
        "limits",
        "owner",
        "socket",
    )

    def __init__(
        self,
        socket: Socket,
        generations: Generations,
        limits: Limits,
        request: SocketRequest,
        owner: str | None,
        expires_in: float | None,
    ) -> None:
        self.backend: Backend = current_backend()
        self.clock: Clock = current_clock(self.backend)
        self.socket = socket
        self.hub: Hub = generations.hub
        self.limits = limits
        self.owner = owner
        self._generations = generations
        self._request = request
        self._interrupt = interrupt_for(self.backend)
        self._waiter = self.backend.waiter()
        self._readings: dict[str, Reading] = {}
        self._tasks: list[Reading] = []
        self._cancels: list[Task] = []
        # By the name of each start that is under way: who wants it stopped.
        self._starting: dict[str, list[Cancel]] = {}
        self._goodbye: Goodbye | None = None
        # Readings that were stopped and whose client is to be told so.
        self._owed: list[Reading] = []
        self._draining = False
        self._handling = False
        self._refusals = limits.max_refusals
        # Who comes back asks for all of its streams at once.
        at_once = max(limits.max_messages_per_second, limits.max_streams)
        self._rate = Rate(limits.max_messages_per_second, at_once, now=self.clock.now())
        self._heard = self.clock.now()
        self._timers: dict[str, Timer] = {}
        if expires_in is not None:
            self._at(self._heard + max(expires_in, 0.0), "expiry", self._expire)
        if limits.silence is not None:
            self._at(self._heard + limits.silence, "silence", self._listen_for_life)

    @property
    def reading(self) -> int:
        """How many streams are read for the client, or being started."""
        return len(self._tasks)

    async def run(self) -> None:
        """Serve the client until one side closes. Raises nothing but cancellation."""
        # What waits for the client is one frame: there may be thousands that say nothing.
        receive, clock = self.socket.receive, self.clock
        finished = False
        try:
            self._greet()
            with self._interrupt:
                while self._goodbye is None:
                    self._handle(await receive(), clock.now())
            finished = True
        except SocketClosed:
            self._goodbye, finished = None, True
        except Exception:
            LOGGER.exception("a WebSocket's session failed")
            self._goodbye, finished = (1011, "internal error", _FAULT), True
        finally:
            await self._wind_up(finished)

    async def _wind_up(self, finished: bool) -> None:
        """End all that was begun, and say goodbye to who is owed one: whoever is cancelled from outside says nothing."""
        try:
            for timer in self._timers.values():
                timer.cancel()
            await self._stop_all()
            if not finished:
                self.socket.abort()
                return
            if self._goodbye is not None:
                await self._say(self._goodbye)
            if self._cancels:
                await self._see_cancels_through()
        finally:
            if self._cancels:
                self._call_off_cancels()
                await self.backend.finish(self._waiter.wait, lambda: not self._cancels)

    # -- the words, which another protocol has others for

    def _greet(self) -> None:
        """Say what goes before everything else."""
        every = None if self.limits.ack_window is None else ACK_EVERY
        self._tell(Hello(VERSION, self.limits.max_message_bytes, every))

    def _hear(self, text: str) -> None:
        """Obey one message of the client."""
        self._obey(read_client(text))

    def worded(self, message: ServerMessage, reading: Reading | None = None) -> Outgoing:
        """See `Connection`."""
        return Outgoing(write(message))

    def _reading(self, request: str | None, find: Callable[[Reading], Awaitable[str]], after: str | None) -> Reading:
        return Reading(self, request, find, after)

    # -- ending

    def drain(self, limit: float) -> None:
        """Start nothing more; close when all readings have ended, and after so many seconds in any case."""
        self._draining = True
        if self._goodbye is not None:
            return
        if not self._tasks or limit <= 0:
            self._leave(1001, "draining", DRAINING)
        else:
            self._at(self.clock.now() + limit, "drain", lambda: self._leave(1001, "draining", DRAINING))

    def end(self) -> None:
        """The server stops; see `draining.Member`."""
        self.drain(0.0)

    def cut(self) -> None:
        """It has not ended in time: without a word."""
        self.socket.abort()
        self._interrupt.fire()

    def too_slow(self) -> None:
        """See `Connection`."""
        self._leave(1013, "too slow", _TOO_SLOW)

    def _expire(self) -> None:
        self._leave(4401, "sign-in expired", _EXPIRED)

    def _listen_for_life(self) -> None:
        assert self.limits.silence is not None
        due = self._heard + self.limits.silence
        if self.clock.now() < due:
            self._at(due, "silence", self._listen_for_life)
        else:
            self._leave(1001, "silent for too long", _BROKEN)

    def _at(self, when: float, name: str, callback: Callable[[], None]) -> None:
        before = self._timers.pop(name, None)
        if before is not None:
            before.cancel()
        self._timers[name] = self.clock.call_at(when, callback)

    def _leave(self, code: int, reason: str, outcome: Outcome) -> None:
        """The first goodbye counts."""
        if self._goodbye is None:
            self._goodbye = (code, reason, outcome)
            if not self._handling:  # else the listening task itself is here, and looks at once
                self._interrupt.fire()

    async def _say(self, goodbye: Goodbye) -> None:
        code, reason, outcome = goodbye
        try:
            for reading in self._owed:
                reading.end(outcome)
            if not await self.backend.bounded(self.socket.close(code, reason), self.limits.close_timeout, self.clock):
                self.socket.abort()
        except SocketClosed:
            LOGGER.debug("a client left before it was told goodbye")

    async def _stop_all(self) -> None:
        """End all tasks, whatever cancels this one meanwhile."""
        for reading in self._tasks:
            reading.stop()
        if self._tasks:
            await self.backend.finish(self._waiter.wait, lambda: not self._tasks)

    async def _see_cancels_through(self) -> None:
        """Whoever asks for a cancel may close at once: it is carried out all the same, unless a source takes too long to close."""
        timer = self.clock.call_at(self.clock.now() + self.limits.close_timeout, self._call_off_cancels)
        try:
            while self._cancels:
                await self._waiter.wait()
        finally:
            timer.cancel()

    def _call_off_cancels(self) -> None:
        for task in tuple(self._cancels):
            task.cancel()

    # -- listening

    def _handle(self, message: str | bytes, now: float) -> None:
        """One message of the client, which may be anything."""
        most = self.limits.max_message_bytes
        self._heard = now
        self._handling = True
        if isinstance(message, bytes):
            self._leave(1003, "text messages only", _BROKEN)
        elif len(message) > most or (not message.isascii() and len(message.encode("utf-8", "replace")) > most):
            self._leave(1009, f"a message has at most {most} bytes", _BROKEN)
        elif not self._rate.admits(now):
            self._leave(1008, "too many messages", _BROKEN)
        else:
            self._hear(message)
        self._handling = False

    def _obey(self, message: ClientMessage | Malformed) -> None:
        match message:
            case Ack():
                reading = self._readings.get(message.stream)
                while reading is not None:  # of those that wait for their turn, the one whose turn it is
                    if reading.acknowledge(message.seq):  # as it was asked to, for what it was sent
                        self._rate.give_back()
                    reading = reading.before
            case Ping():
                self._tell(Pong(message.request))
            case Leave():
                self._let_go(message)
            case Cancel():
                self._cancel(message)
            case Send():
                self._send(message)
            case Resume():
                self._resume(message)
            case Malformed():
                self._refuse(RefusedMessage(message.code, message.message, message.request, message.stream))

    def _send(self, message: Send) -> None:
        scope, owner = self._request.scope, self.owner
        asked = SocketRequest(scope, owner=owner, stream=message.stream, body=bytes(message.input), token=self._request.token)
        stops: list[Cancel] = []

        async def find(reading: Reading) -> str:
            try:
                name, joined = await self._generations.begin(asked, message.if_running)
            finally:
                begun()
            if joined and (there := self._readings.get(name)) is not None and not there.ended:
                raise _read_already()
            return name

        def begun() -> None:
            if message.stream is not None and self._starting.get(message.stream) is stops:
                del self._starting[message.stream]
            for stop in stops:
                self._cancel(stop)

        if self._may_start(message):
            if message.stream is not None:
                self._starting[message.stream] = stops
            self._start(message, find, None)

    def _resume(self, message: Resume) -> None:
        async def find(reading: Reading) -> str:
            if message.after is not None:
                parse_token(message.after)
            action: Action = "subscribe" if message.after is None else "resume"
            await self.hub.look(message.stream, asked=(self.owner,), action=action)
            if (there := self._readings.get(message.stream)) is not None and not there.ended:
                raise _read_already()
            return message.stream

        if self._may_start(message):
            self._start(message, find, message.after)

    def _may_start(self, message: Send | Resume) -> bool:
        """Whether there is room for one more reading; its client is told if not."""
        if self._draining:
            self._tell(RefusedMessage("draining", MESSAGES["draining"], message.request, message.stream))
            return False
        if len(self._tasks) >= self.limits.max_streams:
            told = f"At most {self.limits.max_streams} streams are read at once."
            self._refuse(RefusedMessage("too-many-streams", told, message.request, message.stream))
            return False
        return True

    def _start(self, message: Send | Resume, find: Callable[[Reading], Awaitable[str]], after: str | None) -> None:
        reading = self._reading(message.request, find, after)
        reading.wanted = message.stream
        self._tasks.append(reading)
        reading.task = self.backend.spawn(reading.run, None, "streamkit reading", reading.has_ended)

    async def takes_place(self, reading: Reading) -> None:
        """See `Connection`."""
        name = reading.stream
        assert name is not None
        reading.before = self._readings.get(name)
        self._readings[name] = reading
        if reading.before is not None:
            await reading.before.is_over()
            reading.before = None
            if self._readings.get(name) is not reading:
                raise Refused(409, "Another start of this stream came after this one.", code="replaced")

    def over(self, reading: Reading) -> None:
        """See `Connection`."""
        self._tasks.remove(reading)
        if not reading.ended:
            self._owed.append(reading)
        if reading.stream is not None and self._readings.get(reading.stream) is reading:
            del self._readings[reading.stream]
        reading.tell_over()
        self._waiter.wake()
        if reading.refused:
            self._count_refusal()
        if self._draining and not self._tasks:
            self._leave(1001, "draining", DRAINING)

    def _let_go(self, message: Leave) -> None:
        reading = self._readings.get(message.stream)
        if reading is not None:
            reading.quit()
            return
        for reading in self._tasks:  # else it has ended meanwhile, which its client could not know
            if reading.stream is None and reading.wanted == message.stream:
                reading.ended = True

    def _cancel(self, message: Cancel) -> None:
        stops = self._starting.get(message.stream)
        if len(self._cancels if stops is None else stops) >= self.limits.max_streams:
            self._refuse(RefusedMessage("too-many-requests", "Too much at once.", message.request, message.stream))
            return
        if stops is not None:  # there is nothing yet that could be stopped
            stops.append(message)
            return

        async def main() -> None:
            try:
                await self._generations.settled(message.stream)
                await self.hub.cancel(message.stream, owner=self.owner)
                if message.request is not None:
                    self._tell(Pong(message.request))
            except Exception as error:
                self._refuse(refusal(error, message.request, message.stream))

        def done() -> None:
            self._cancels.remove(task)
            self._waiter.wake()

        task = self.backend.spawn(main, None, "streamkit cancel", done)
        self._cancels.append(task)

    # -- telling

    def _refuse(self, told: RefusedMessage) -> None:
        self._tell(told)
        self._count_refusal()

    def _count_refusal(self) -> None:
        self._refusals -= 1
        if self._refusals < 0:
            self._leave(1008, "too many refused messages", _BROKEN)

    def _tell(self, message: ServerMessage) -> None:
        if self.socket.pending > self.limits.max_pending_bytes + _ANSWERS:
            self.too_slow()
            return
        try:
            self.socket.write(self.worded(message))
        except SocketClosed:
            LOGGER.debug("a client left before it was answered")


def _read_already() -> Refused:
    return Refused(409, "This connection reads that stream already.", code="already-read")
