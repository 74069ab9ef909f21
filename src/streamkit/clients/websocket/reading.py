"""One stream as its reader sees it, over as many connections as it takes: nothing lost, nothing twice.

States of a reading, and who moves them:

    idle     nothing was asked on this connection; the connection asks (`request`)
    asked    a request is on its way: what comes of the stream belongs to an earlier reading, and is not taken
    open     `started` came: events are taken, in order
    paused   more came than the reader takes: left, and resumed behind the last event once half of it is read
    over     it ended, failed, or was left by its reader

Each message of events says which ones it brings. What was seen is dropped; where something is missing, or where joined events
begin in the middle of what was seen, the reading is asked for again behind the last event.

Knows no sockets and no time. What is to be sent it gives to its `Desk`.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable
from typing import Final, Literal, Protocol, TypeAlias, TypeVar

import msgspec

from streamkit.clients.so_far import AnswerSoFar
from streamkit.dialects.outcomes import error_from_event
from streamkit.dialects.websocket.messages import Ack, ClientMessage, End, Events, IfRunning, RefusedMessage, Resume, Send, Started
from streamkit.errors import (
    AuthError,
    InvalidToken,
    RemoteProtocolError,
    StreamBusy,
    StreamDraining,
    StreamkitError,
    StreamTruncated,
    UnknownStream,
)
from streamkit.events import ErrorEvent, Event
from streamkit.flow.tasks import Waiter

__all__ = ["Asked", "Desk", "Reading", "refusal"]

FailureT = TypeVar("FailureT", StreamTruncated, StreamDraining)

State: TypeAlias = Literal["idle", "asked", "open", "paused", "over"]

Verdict: TypeAlias = Literal["taken", "ignored", "lost", "full", "over", "draining", "slow", "expired"]
"""What a message meant: "lost", "full", "draining", "slow" and "expired" ask the connection for something."""

# Times that a server may leave the same events out, or say "draining" of a stream that got no further, before that is believed.
_PATIENCE: Final = 3

# A server that keeps a window open by acknowledgements hears of this many characters at the latest.
_ACK_CHARS: Final = 65_536


class Asked(msgspec.Struct, frozen=True):
    """What a reading was asked for.

    `input` is None for one that is only read. `drawn` says that nobody but this client knows the name.
    """

    stream: str
    input: msgspec.Raw | None = None
    if_running: IfRunning = "join"
    after: str | None = None
    drawn: bool = False


class Desk(Protocol):
    """What a reading wants of its connection."""

    @property
    def ack_every(self) -> int | None:
        """After how many events the server wants to be told; None: it does not."""
        ...

    def wanted_again(self, reading: Reading) -> None:
        """It has room again: ask for the rest."""
        ...

    def acknowledge(self, message: Ack, *, later: bool) -> None:
        """Its reader has seen so much; `later` gives it time to see more."""
        ...


class Reading:
    """The iterator of one Run: lists of events.

    Args:
        asked: What is to be read.
        desk: The connection.
        waiter: Where its reader waits.
        max_pending: Characters that may wait for the reader, and one message more.

    Attributes:
        name: The stream's, which the server may have chosen.
        state: See the top of this module.
        so_far: What its reader was given.

    Memory: what waits for the reader, and the answer so far.
    """

    def __init__(self, asked: Asked, desk: Desk, waiter: Waiter, max_pending: int) -> None:
        self.asked = asked
        self.name = asked.stream
        self.state: State = "idle"
        self.so_far = AnswerSoFar()
        self._desk = desk
        self._waiter = waiter
        self._max_pending = max_pending
        # What waits: the events of each message, the number of its last one and its length.
        self._queue: deque[tuple[list[Event], int, int]] = deque()
        self._pending = 0
        self._request: str | None = None
        # The offset that must come next; None before the first.
        self._next: int | None = None
        self._token = asked.after
        self._started = False
        self._tried = False
        self._losses = 0
        self._drained = 0
        self._error: Callable[[], Exception] | None = None
        # Given to the reader, who is still at it: the last offset and the characters; acknowledged once it comes back.
        self._given = (-1, 0)
        self._unacked = 0
        self._acked = -1

    @property
    def token(self) -> str | None:
        """Where to go on, as far as the reader's side has got."""
        return self._token

    @property
    def runs_for_it_alone(self) -> bool:
        """Whether there may be an answer that nobody else can know of."""
        return self.asked.drawn and self._tried

    # -- asking

    def request(self, number: str) -> ClientMessage:
        """The message that asks for it, on a connection where it is idle."""
        asked = self.asked
        self.state = "asked"
        self._request = number
        # A start that may have arrived and was never answered is looked for before it is made a second time.
        looks = self._tried and asked.drawn
        self._tried = True
        if asked.input is None or self._started or looks:
            return Resume(self.name, number, self._token)
        return Send(asked.input, number, self.name, asked.if_running)

    def disconnected(self) -> None:
        """Its connection is gone."""
        if self.state in ("asked", "open"):
            self.state = "idle"

    def answers(self, request: str | None) -> bool:
        """Whether this is the number of the request that it waits for."""
        return self.state == "asked" and self.asked_as(request)

    def asked_as(self, request: str | None) -> bool:
        """Whether this is the number of its newest request."""
        return request is not None and request == self._request

    # -- what the server says

    def start(self, message: Started) -> None:
        """Its request was granted."""
        self.state = "open"
        self._started = True
        self.name = message.stream

    def refuse(self, message: RefusedMessage) -> Verdict:
        """Its request was not granted."""
        if message.code == "not-found" and self.asked.drawn and not self._started:
            # The start had not arrived: this time it is sent.
            self._tried = False
            self.state = "idle"
            return "lost"
        if message.code == "draining":
            return self._drain(message.message)
        self._not_there(message)
        return "over"

    def take(self, message: Events, size: int) -> Verdict:
        """Events of its stream, in a message of so many characters or bytes."""
        if self.state != "open":
            return "ignored"
        events, expected = message.events, self._next
        if expected is not None and message.first != expected:
            if message.last < expected:
                return "ignored"
            if message.first > expected or message.last - message.first + 1 != len(events):
                return self._lose(f"the events from {expected} on, and sent those from {message.first} on")
            events = events[expected - message.first :]
        if message.last < message.first:
            return self._lose(f"sense: its events {message.first} to {message.last} end before they begin")
        self._next = message.last + 1
        self._token = message.token
        self._losses = self._drained = 0
        self._queue.append((events, message.last, size))
        self._pending += size
        self._waiter.wake()
        if self._pending < self._max_pending:
            return "taken"
        self.state = "paused"
        return "full"

    def end(self, message: End) -> Verdict:
        """The reading is over, as the server sees it."""
        if self.state != "open":
            return "ignored"
        if self._next is not None and message.last >= self._next:
            return self._lose(f"the events {self._next} to {message.last}")
        outcome = message.outcome
        match outcome.ending:
            case "done" | "cancelled":
                self.state = "over"
                self._waiter.wake()
                return "over"
            case "draining":
                return self._drain(outcome.message)
            case _ if outcome.code == "buffer-full" and outcome.retryable:
                self.state = "paused" if self._queue else "idle"
                return "slow"
            case _ if outcome.code == "unauthorized" and outcome.retryable:
                self.state = "idle"
                return "expired"
            case _ if outcome.code in ("not-found", "bad-token"):
                self._not_there(RefusedMessage(outcome.code, outcome.message))
                return "over"
            case _:
                event = ErrorEvent(outcome.message, code=outcome.code, retryable=outcome.retryable, retry_after=outcome.retry_after)
                token, number = self._token, outcome.correlation_id
                self.fail(lambda: error_from_event(event, request_id=number, last_id=token))
                return "over"

    def fail(self, make: Callable[[], Exception]) -> None:
        """It cannot go on: its reader gets what came, then this."""
        if self.state != "over":
            self.state = "over"
            self._error = make
            self._waiter.wake()

    def give_up(self, error: Exception, *, passing: bool) -> None:
        """There is no connection to be had."""
        if passing and self._drained:
            token = self._token
            self.fail(lambda: _because(StreamDraining("the server is shutting down, and no other was found", last_id=token), error))
        elif passing:
            self.fail(lambda: _cut("the connection broke, and no other could be had", error))
        else:
            self.fail(lambda: _again(error))

    def _not_there(self, message: RefusedMessage) -> None:
        if self._next is None:
            self.fail(lambda: refusal(message))
        else:
            cause = refusal(message)
            self.fail(lambda: _cut("the rest of the stream cannot be had any more", cause))

    def _lose(self, what: str) -> Verdict:
        self._losses += 1
        if self._losses > _PATIENCE:
            self.fail(lambda: RemoteProtocolError(f"the server left out {what}"))
            return "over"
        self.state = "idle"
        return "lost"

    def _drain(self, said: str) -> Verdict:
        self._drained += 1
        if self._drained >= _PATIENCE:
            token = self._token
            self.fail(lambda: StreamDraining(said, last_id=token))
            return "over"
        self.state = "idle"
        return "draining"

    # -- what its reader does

    def __aiter__(self) -> Reading:
        return self

    async def __anext__(self) -> list[Event]:
        """What has come, at least one event.

        Raises:
            StopAsyncIteration: the answer is whole, or was stopped on request.
            StreamkitError, OSError: why it is not.
        """
        self._settle()
        while not self._queue:
            if self.state == "over":
                if self._error is not None:
                    raise self._error()
                raise StopAsyncIteration
            await self._waiter.wait()
        events, last, size = self._queue.popleft()
        if self._queue:
            events = list(events)
            while self._queue:
                more, last, length = self._queue.popleft()
                events += more
                size += length
        self._given = (last, size)
        self.so_far.add(events, size)
        return events

    def _settle(self) -> None:
        """What the reader was given is read."""
        last, size = self._given
        if not size:
            return
        self._given = (last, 0)
        self._pending -= size
        self._unacked += size
        every = self._desk.ack_every
        if every is not None and self.state == "open" and last > self._acked:
            due = last - self._acked >= every or self._unacked >= _ACK_CHARS
            if due:
                self._acked = last
                self._unacked = 0
            if due or not self._queue:
                self._desk.acknowledge(Ack(self.name, last), later=not due)
        if self.state == "paused" and self._pending <= self._max_pending // 2:
            self.state = "idle"
            self._desk.wanted_again(self)


def refusal(message: RefusedMessage) -> StreamkitError:
    """The exception for a request that a server refused."""
    match message.code:
        case "not-found":
            return UnknownStream(message.message)
        case "bad-token":
            return InvalidToken(message.message, reason="foreign")
        case "busy" | "already-read":
            return StreamBusy(message.message)
        case "unauthorized" | "forbidden":
            return AuthError(message.message, code=message.code)
        case code:
            return error_from_event(ErrorEvent(message.message, code=code), request_id=message.correlation_id)


def _cut(what: str, cause: Exception) -> StreamTruncated:
    return _because(StreamTruncated(f"the answer is cut off: {what} ({type(cause).__name__})"), cause)


def _because(error: FailureT, cause: Exception) -> FailureT:
    error.__cause__ = cause
    return error


def _again(error: Exception) -> Exception:
    """One of its own for each reader, who will find its own partial answer on it."""
    return copy.copy(error) if isinstance(error, StreamkitError) else error
