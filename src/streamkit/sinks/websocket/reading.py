"""One stream on its way to one client: a task that reads the hub and writes to the socket.

    starting ──started──> reading ──end──> over
        |                   |
        └── error ──> over  └── left, or the connection ends ──> over, and whoever ended it says so

A reading writes at once as long as the client keeps up. If it does not, `slow` says what happens: the reading waits for the
socket, and what the hub has meanwhile is given by the hub's policy; or the connection ends. Nobody else waits for it. Readings that
are at the same place of a stream are served by one of them: see `cohorts`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import anyio

from streamkit.dialects.outcomes import Outcome
from streamkit.dialects.websocket.messages import RefusedMessage, ServerMessage, Started, end_of
from streamkit.errors import InvalidToken, UnknownStream
from streamkit.flow.clock import Clock
from streamkit.flow.tasks import Backend, Task
from streamkit.hub.hub import LAG_EVENTS, Hub
from streamkit.hub.reading import View
from streamkit.sinks.failures import report
from streamkit.sinks.refusals import Refused
from streamkit.sinks.websocket.cohorts import Cohort
from streamkit.sinks.websocket.limits import Limits
from streamkit.sinks.websocket.pieces import Place
from streamkit.sinks.websocket.sockets import Outgoing, Socket, SocketClosed

__all__ = ["Connection", "Reading", "refusal"]


class Connection(Protocol):
    """What a reading needs of its session."""

    socket: Socket
    hub: Hub
    limits: Limits
    owner: str | None
    backend: Backend
    clock: Clock

    def too_slow(self) -> None:
        """End the connection: its client does not take what it is sent."""
        ...

    def worded(self, message: ServerMessage, reading: Reading | None = None) -> Outgoing:
        """A message as the client's protocol has it; `reading` is the one that it is about, if it is about one."""
        ...

    async def takes_place(self, reading: Reading) -> None:
        """Wait until no other reading of this stream writes, and be the one."""
        ...

    def over(self, reading: Reading) -> None:
        """Its task has ended."""
        ...


class Reading:
    """See the top of this file.

    Args:
        connection: Whose it is.
        request: The client's number of it, or None.
        find: Gives the stream's name, once it is there to be read.
        after: The token that it resumes from, or None.

    Attributes:
        wanted: The name that the client asked for, or None.
        stream: Its name, once it is known.
        task: Reads.
        started: Whether the client was told that it begins, and so is owed an end.
        ended: Whether it was told the end, or has left: nothing more is sent.
        refused: Whether it never began, by the client's fault.
        socket, most: Where it writes, and how many bytes may be pending there.
        before: The reading of the same name that it waits for, or None.
        last, token: Of the last event that was sent.
    """

    __slots__ = (
        "_after",
        "_connection",
        "_find",
        "_over",
        "_place",
        "_sent",
        "_unseen",
        "_waiter",
        "before",
        "ended",
        "last",
        "most",
        "refused",
        "request",
        "socket",
        "started",
        "stream",
        "task",
        "token",
        "wanted",
    )

    def __init__(
        self, connection: Connection, request: str | None, find: Callable[[Reading], Awaitable[str]], after: str | None
    ) -> None:
        self._connection = connection
        self._find = find
        self._after = after
        self.request = request
        self.wanted: str | None = None
        self.stream: str | None = None
        self.task: Task | None = None
        self.started = False
        self.ended = False
        self.refused = False
        self.before: Reading | None = None
        self._place: Place | None = None
        self.socket = connection.socket
        self.most = connection.limits.max_pending_bytes
        self._over: anyio.Event | None = None
        self.last = -1
        self.token = after
        # With `ack_window`: what was sent and not acknowledged, as offsets and bytes.
        self._sent: deque[tuple[int, int]] | None = None if connection.limits.ack_window is None else deque()
        self._unseen = 0
        self._waiter = connection.backend.waiter()

    async def run(self) -> None:
        """Find the stream, say that it starts, and read it to its end. Raises nothing but cancellation."""
        try:
            self.stream = await self._find(self)
            await self._connection.takes_place(self)
            if not self.ended:  # else it was left already, and counts as a reader who has
                self._say(Started(self.stream, self.request, self._after))
                self.started = True
            await self._read(self.stream)
        except SocketClosed:
            self.ended = True
        except Exception as error:
            self._fail(error)

    def quit(self) -> None:
        """Read no more, and say no more."""
        self._step_down()
        self.ended = True
        self.stop()

    def stop(self) -> None:
        """Read no more."""
        if self.task is not None and not self.task.done:
            self.task.cancel()

    def end(self, outcome: Outcome) -> None:
        """Tell the client how it ended, if it is owed that.

        Raises:
            SocketClosed: nobody is there.
        """
        if self.ended:
            return
        self.ended = True
        if self.started:
            assert self.stream is not None
            self._say(end_of(self.stream, self.last, self.token, outcome))
        else:
            self._say(RefusedMessage(outcome.code or outcome.ending, outcome.message, self.request, self.stream))

    async def is_over(self) -> None:
        """Wait until its task has ended, or it has said its last."""
        if not self.ended and self.task is not None and not self.task.done:
            if self._over is None:
                self._over = anyio.Event()
            await self._over.wait()

    def has_ended(self) -> None:
        """Its task has."""
        self._connection.over(self)

    def tell_over(self) -> None:
        """Its task has ended."""
        if self._over is not None:
            self._over.set()

    def acknowledge(self, seq: int) -> bool:
        """The client has seen all up to this event; whether that is news."""
        sent = self._sent
        if not sent or sent[0][0] > seq:
            return False
        while sent and sent[0][0] <= seq:
            self._unseen -= sent.popleft()[1]
        self._waiter.wake()
        return True

    def _say(self, message: ServerMessage) -> None:
        self._connection.socket.write(self._connection.worded(message, self))

    def _view(self, stream: str) -> View:
        """What this reader makes of the hub's events."""
        return Place(stream, self._connection.limits.policy, self._after)

    # -- the loop

    async def _read(self, stream: str) -> None:
        connection = self._connection
        limits = connection.limits
        view = self._view(stream)
        place = self._place = view if isinstance(view, Place) else None
        source = connection.hub.read(
            stream, view, after=self._after, policy=limits.policy, lag=LAG_EVENTS, errors="yield", asked=(connection.owner,)
        )
        self._find = _found  # what it holds is needed no more: there may be thousands
        window = limits.ack_window
        try:
            async with source.open() as run:
                del source, view
                async for messages in run.lists():
                    cohort = None if place is None else place.cohort
                    if place is not None and cohort is not None and cohort.leader is self:
                        cohort.serve(messages, place.next)
                    if (window is not None or not self._sent_at_once(messages)) and not await self._send_all(messages, window):
                        return
                    # Whoever is asked to acknowledge is at a place of its own.
                    if place is not None and cohort is not None and cohort.leader is not self and window is None:
                        if place.next > cohort.next and cohort.leader is not None:
                            await connection.backend.checkpoint()  # woken before the one that leads: it comes in this turn
                        if cohort.may_lead(place.next):
                            cohort.lead(self, place.next, self.last, self.token)
                        elif cohort.leader is not None and cohort.next == place.next:
                            await self._follow(cohort)
                            if self.ended:
                                return
        finally:
            self._step_down()

    def _sent_at_once(self, messages: Sequence[Outgoing]) -> bool:
        """Send what was read, if it is one message that is not the last, and the client keeps up: what nearly every slice is."""
        # Once per event, where a client waits for each (benchmarks/bench_websocket.py).
        if len(messages) != 1 or self.ended or messages[0].ends or not self.socket.offer(messages, self.most):
            return False
        message = messages[0]
        if message.last is not None:
            self.last, self.token = message.last, message.token
        return True

    async def _send_all(self, messages: Sequence[Outgoing], window: int | None) -> bool:
        """Send what was read; whether there is more to come."""
        connection, socket, most = self._connection, self.socket, self.most
        for message in messages:
            if self.ended:  # it was left, and the cancel has not come yet
                return False
            if window is not None and not await self._admitted(message, window):
                return False
            slow = socket.pending > most
            if slow and connection.limits.slow == "disconnect":
                connection.too_slow()
                return False
            if slow:
                self._step_down()
            if message.last is not None:
                self.last, self.token = message.last, message.token
            if slow:  # a cancel ends the wait alone
                await self._patiently(socket.send(message))
            else:
                socket.write(message)
            if message.ends:
                self.ended = True
                return False
        return True

    async def _follow(self, cohort: Cohort) -> None:
        """Leave the rest to who leads, until this is on its own again, leads itself, or has ended."""
        assert self._place is not None
        self._place.behind = True
        cohort.join(self)
        while self in cohort:
            await self._waiter.wait()

    def released(self, cohort: Cohort) -> None:
        """See `Member`."""
        assert self._place is not None
        self._place.next = cohort.next
        self.last, self.token = cohort.last, cohort.token
        self._waiter.wake()

    def _step_down(self) -> None:
        """Nobody else waits for this one's client."""
        if self._place is not None and self._place.cohort is not None:
            self._place.cohort.leave(self)

    async def _admitted(self, message: Outgoing, window: int) -> bool:
        """Wait until the client has seen enough of what it was sent."""
        if self._unseen >= window:
            if self._connection.limits.slow == "disconnect":
                self._connection.too_slow()
                return False
            await self._patiently(self._seen(window))
        if message.last is not None and self._sent is not None:
            self._sent.append((message.last, len(message.payload)))
            self._unseen += len(message.payload)
        return True

    async def _seen(self, window: int) -> None:
        while self._unseen >= window:
            await self._waiter.wait()

    async def _patiently(self, waiting: Awaitable[None]) -> None:
        """Wait for the client, and end the connection if it takes nothing for too long."""
        connection = self._connection
        clock = connection.clock
        timer = clock.call_at(clock.now() + connection.limits.stall_timeout, connection.too_slow)
        try:
            await waiting
        finally:
            timer.cancel()

    def _fail(self, error: Exception) -> None:
        """Tell the client what went wrong, in words that may be shown."""
        try:
            if self.started:
                self.end(report(error, before_first_byte=False))
            else:
                self.ended = True
                self.refused = isinstance(error, Refused | UnknownStream | InvalidToken)
                self._say(refusal(error, self.request, self.stream))
        except SocketClosed:
            self.ended = True


def refusal(error: Exception, request: str | None, stream: str | None) -> RefusedMessage:
    """What a client is told whose message could not be obeyed. Logged, unless it was refused on purpose."""
    if isinstance(error, Refused):
        return RefusedMessage(error.code, error.message, request, stream)
    outcome = report(error, before_first_byte=True)
    # Whose fault it is that there is no such stream, nobody must learn.
    found = None if isinstance(error, UnknownStream | InvalidToken) else outcome.correlation_id
    return RefusedMessage(outcome.code, outcome.message, request, stream, found)


async def _found(reading: Reading) -> str:
    """In the place of what found the stream."""
    assert reading.stream is not None
    return reading.stream
