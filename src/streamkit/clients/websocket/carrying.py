"""Keeps a connection for those who read: opens it, hands out what comes, opens it again when it breaks, or gives up.

    resting ──somebody wants something──> dialling ──hello──> open ──it breaks──> waiting ──> dialling ...
                                            └──refused, or tried too often──> whoever waits is told; resting

All of it in one task; a `Line` has another, to send. An attempt counts as one that brought nothing unless an event came that
nobody had seen, a stream ended, or the connection held for a while.
"""

from __future__ import annotations

from typing import Final

import msgspec

from streamkit.clients.websocket.dialling import Dialler, Failure
from streamkit.clients.websocket.line import Line, Patience
from streamkit.clients.websocket.reading import Reading, Verdict, refusal
from streamkit.dialects.websocket.messages import (
    Ack,
    Cancel,
    End,
    Events,
    Hello,
    Leave,
    Pong,
    RefusedMessage,
    ServerMessage,
    Started,
    write,
)
from streamkit.errors import AuthError, LocalProtocolError, RemoteProtocolError, StreamBusy, StreamDraining, StreamTruncated
from streamkit.flow.backoff import Backoff
from streamkit.flow.clock import Clock
from streamkit.flow.tasks import Backend, Waiter

__all__ = ["Carrier", "Endurance"]

# A connection that held so many seconds counts as a good one, whatever came over it.
_STEADY: Final = 30.0

# Connections on which the cancel of an answer that nobody reads any more is said, if none of them brings the server's word for it.
_OFTEN_ENOUGH: Final = 3


class Endurance(msgspec.Struct, frozen=True):
    """How often it is tried: attempts in a row that brought nothing, and seconds without a connection."""

    max_retries: int
    give_up_after: float


class Carrier:
    """The connection of a client that is open: `live` in a task of its own, then `wind_up`.

    Args:
        dialler, backoff, endurance, patience: How it connects, and when it does not.
        backend, clock: Of the event loop.

    Attributes:
        connections: How many there have been.
        opened: Whether there was one.
        fault: Why there was none at all.
        over: Whether its task has ended.
        changed: Wakes who waits for the first connection; ended: who waits for the end of the task.
    """

    def __init__(
        self, dialler: Dialler, backoff: Backoff, endurance: Endurance, patience: Patience, backend: Backend, clock: Clock
    ) -> None:
        self.backend = backend
        self.connections = 0
        self.opened = False
        self.over = False
        self.fault: Exception | None = None
        self.changed = backend.waiter()
        self.ended = backend.crowd()
        self.line: Line | None = None
        self._dialler = dialler
        self._backoff = backoff
        self._endurance = endurance
        self._patience = patience
        self._clock = clock
        self._news = backend.waiter()
        # By the stream's name; a connection has one reading of each.
        self._readings: dict[str, Reading] = {}
        # Calls that wait for an answer, by the number of their request.
        self._calls: dict[str, _Call] = {}
        # Those whose readers left before the server had answered.
        self._left_early: list[Reading] = []
        self._number = 0
        self._progress = 0

    # -- what readers and callers want

    @property
    def ack_every(self) -> int | None:
        """After how many events the server wants to be told; None: it does not."""
        return None if self.line is None else self.line.hello.ack_every

    def begin(self, reading: Reading) -> None:
        """Read a stream.

        Raises:
            StreamBusy: it is being read.
        """
        if reading.name in self._readings:
            raise StreamBusy(f"stream {reading.name!r:.80} is being read through this client: read it once, or connect again")
        self._readings[reading.name] = reading
        self.wanted_again(reading)

    def wanted_again(self, reading: Reading) -> None:
        """Ask for a reading, now or when there is a connection."""
        line = self.line
        if line is None:
            self._news.wake()
        elif reading.state == "idle" and not any(left.name == reading.name for left in self._left_early):
            message = reading.request(self._next_number())
            size, most = len(write(message)), line.hello.max_message_bytes
            if size > most:
                reading.fail(lambda: LocalProtocolError(f"the input is too long: {size} bytes, and the server takes {most}"))
                self._forget(reading)
            else:
                line.post(message)

    def acknowledge(self, message: Ack, *, later: bool) -> None:
        """Tell the server how far a reader is."""
        if self.line is not None:
            self.line.acknowledge(message, later=later)

    def leave(self, reading: Reading) -> None:
        """Its reader has left, or is through with it."""
        state = reading.state
        self._forget(reading)
        reading.fail(lambda: StreamTruncated("the reading was left"))
        if state == "asked":
            # The server knows nothing of it that could be left, before it says that it does.
            self._left_early.append(reading)
        elif state != "over":
            self._part(reading, reads=state == "open")

    def _part(self, reading: Reading, *, reads: bool) -> None:
        if reading.runs_for_it_alone:
            self._call(_Call(reading.name, None))
        if reads and self.line is not None:
            self.line.post(Leave(reading.name))

    async def cancel(self, stream: str) -> None:
        """Stop a generation, on this connection or the next.

        Raises:
            Exception: why that cannot be.
        """
        waiter = self.backend.waiter()
        call = _Call(stream, waiter)
        number = self._call(call)
        try:
            while not call.done:
                await waiter.wait()
        finally:
            self._calls.pop(number, None)
        if call.error is not None:
            raise call.error

    def _call(self, call: _Call) -> str:
        """Send it now, or when there is a connection, until it is answered; its number."""
        number = self._next_number()
        self._calls[number] = call
        if self.line is not None:
            self._say_cancel(self.line, number, call)
        self._news.wake()
        return number

    # -- its life

    async def live(self) -> None:
        """Connect, as long as somebody wants something; ends by a cancel, or when there was no first connection."""
        now = self._clock.now
        attempts, lost_at = 0, now()
        while True:
            while self.opened and not self._readings and not self._calls:
                await self._news.wait()
                attempts, lost_at = 0, now()
            progress, connections, began = self._progress, self.connections, now()
            failure = await self._connection()
            if self.connections != connections:
                lost_at = now()
                if self._progress != progress or lost_at - began >= _STEADY:
                    attempts = 0
            attempts += 1
            passing = failure.passing or (failure.expired and self._dialler.renews)
            if passing and attempts <= self._endurance.max_retries:
                wait = self._backoff.wait(attempts, failure.error)
                if now() - lost_at + wait <= self._endurance.give_up_after:
                    await self._clock.sleep(wait)
                    continue
            if not self.opened:
                self.fault = failure.error
                return
            for reading in self._drop_all(failure.error):
                reading.give_up(failure.error, passing=passing)
            attempts, lost_at = 0, now()

    async def wind_up(self) -> None:
        """Tell who still waits that the client is closed."""
        for reading in self._drop_all(StreamTruncated("the WebSocketClient was closed")):
            reading.fail(lambda: StreamTruncated("the answer is cut off: its WebSocketClient was closed"))

    def end(self) -> None:
        """Its task is over."""
        self.over = True
        self.changed.wake()
        self.ended.wake()

    def _drop_all(self, error: Exception) -> list[Reading]:
        """Nobody is served any more; who comes next tries anew. The readings that are to be told."""
        readings, calls = list(self._readings.values()), list(self._calls.values())
        self._readings.clear()
        self._calls.clear()
        for call in calls:
            call.end(error)
        return readings

    async def _connection(self) -> Failure:
        """One connection, from its opening to its end; why it is over."""
        try:
            line = Line(await self._dialler.dial(), self.backend, self._clock, self._patience)
        except Failure as failure:
            return failure
        try:
            await line.greet()
            self.connections += 1
            self.line = line
            self.opened = True
            self.changed.wake()
            for reading in tuple(self._readings.values()):
                self.wanted_again(reading)
            for number, call in self._calls.items():
                self._say_cancel(line, number, call)
            while True:
                self._take(line, *await line.receive())
        except Failure as failure:
            return failure
        finally:
            left, self._left_early = self._left_early, []
            for reading in left:  # whether it has begun will not be heard any more
                self._part(reading, reads=False)
            self.line = None
            self._calls = {number: call for number, call in self._calls.items() if call.waiter or call.said < _OFTEN_ENOUGH}
            for reading in self._readings.values():
                reading.disconnected()
            await line.close()

    # -- what comes

    def _take(self, line: Line, message: ServerMessage, size: int) -> None:
        match message:
            case Events():
                reading = self._readings.get(message.stream)
                if reading is not None:
                    verdict = reading.take(message, size)
                    if verdict in ("full", "lost"):
                        line.post(Leave(message.stream))
                    self._follow(reading, verdict)
            case Started():
                for name, reading in tuple(self._readings.items()):
                    if reading.answers(message.request):
                        reading.start(message)
                        self._rename(name, reading)
                self._leave_late(message.request, message.stream)
            case End():
                reading = self._readings.get(message.stream)
                if reading is not None:
                    self._follow(reading, reading.end(message))
            case RefusedMessage():
                self._take_refusal(message)
            case Pong():
                call = self._calls.pop(message.request or "", None)
                if call is not None:
                    call.end(None)
            case Hello():
                raise Failure(RemoteProtocolError("the server said hello twice"), passing=False)

    def _take_refusal(self, message: RefusedMessage) -> None:
        call = self._calls.pop(message.request or "", None)
        if call is not None:
            call.end(refusal(message))
            return
        for reading in tuple(self._readings.values()):
            if reading.answers(message.request):
                self._follow(reading, reading.refuse(message))
        self._leave_late(message.request, None)

    def _leave_late(self, request: str | None, stream: str | None) -> None:
        """What was asked for and left since is there, or was refused."""
        for reading in [reading for reading in self._left_early if reading.asked_as(request)]:
            self._left_early.remove(reading)
            if stream is not None:
                reading.name = stream
                self._part(reading, reads=True)
            for other in tuple(self._readings.values()):  # whoever wants to read the same had to wait for that
                self.wanted_again(other)

    def _follow(self, reading: Reading, verdict: Verdict) -> None:
        """Do what a message asks for.

        Raises:
            Failure: to go on on another connection.
        """
        match verdict:
            case "taken" | "full":
                self._progress += 1
            case "over":
                self._progress += 1
                self._forget(reading)
            case "lost" | "slow":
                self.wanted_again(reading)
            case "draining":
                raise Failure(StreamDraining("the server is shutting down", last_id=reading.token), passing=True)
            case "expired":
                raise Failure(AuthError("the sign-in has expired", code="unauthorized"), passing=False, expired=True)
            case "ignored":
                return

    def _rename(self, name: str, reading: Reading) -> None:
        """The server may have named a stream otherwise."""
        if reading.name != name:
            del self._readings[name]
            if self._readings.setdefault(reading.name, reading) is not reading:
                reading.fail(lambda: StreamBusy(f"stream {reading.name!r:.80} is being read through this client already"))

    def _forget(self, reading: Reading) -> None:
        if self._readings.get(reading.name) is reading:
            del self._readings[reading.name]

    def _next_number(self) -> str:
        self._number += 1
        return str(self._number)

    @staticmethod
    def _say_cancel(line: Line, number: str, call: _Call) -> None:
        call.said += 1
        line.post(Cancel(call.stream, number))


class _Call:
    """A cancel that is to be answered; `waiter` is where somebody waits for that, or None, and `said` how often it was sent."""

    def __init__(self, stream: str, waiter: Waiter | None) -> None:
        self.stream = stream
        self.waiter = waiter
        self.said = 0
        self.done = False
        self.error: Exception | None = None

    def end(self, error: Exception | None) -> None:
        if not self.done:
            self.done = True
            self.error = error
            if self.waiter is not None:
                self.waiter.wake()
