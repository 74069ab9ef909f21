"""One reader of a log: where it is, what it gets when it was slow, and how it ends.

    policy          a reader that was slow gets                                     and the writer
    lag             all of it: event by event, what was folded in larger pieces     never waits
    conflate        all of it: neighbouring deltas joined into one                  never waits
    latest          the newest delta; a Gap for the others, every control event     never waits
    disconnect      ReaderLagged with the token to resume from                      never waits
    backpressure    all of it, event by event                                       waits for it

Nothing is done for a slow reader before it comes back: a policy looks at what is unread when it is read.
"""

from __future__ import annotations

import types
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Protocol, TypeAlias

from streamkit.dialects.outcomes import error_from_event
from streamkit.errors import ConfigError, ReaderLagged
from streamkit.events.message import Message
from streamkit.events.model import ErrorEvent, Event
from streamkit.flow.channel import FAIRNESS
from streamkit.flow.fanout import for_one_reader
from streamkit.flow.fuse import Ending, Shape
from streamkit.flow.tasks import Seat
from streamkit.hub.log import Log, Slice
from streamkit.hub.policies import conflated, newest

__all__ = ["POLICIES", "Errors", "Policy", "Reader", "View", "check_policy", "direct", "entries_of", "events_of"]

Policy: TypeAlias = Literal["lag", "conflate", "latest", "disconnect", "backpressure"]
Errors: TypeAlias = Literal["raise", "yield"]

POLICIES: tuple[Policy, ...] = ("lag", "conflate", "latest", "disconnect", "backpressure")


class View(Protocol):
    """What a reader makes of the events it gets; `offsets` are those of the log that each of them stands for, up to it."""

    def __call__(self, log: Log, events: Sequence[Event], offsets: Sequence[int], /) -> Sequence[Any]: ...


def events_of(log: Log, events: Sequence[Event], offsets: Sequence[int]) -> Sequence[Event]:
    """The events themselves."""
    return events


def entries_of(log: Log, events: Sequence[Event], offsets: Sequence[int]) -> Sequence[tuple[str, Event]]:
    """Each event behind its resume token."""
    token = log.token
    return [(token(offset), event) for offset, event in zip(offsets, events, strict=True)]


def check_policy(policy: str, errors: str) -> None:
    """Raise ConfigError for a policy that does not exist, or a way to end."""
    if policy not in POLICIES:
        raise ConfigError(f"policy={policy!r} is not one of {', '.join(map(repr, POLICIES))}")
    if errors not in ("raise", "yield"):
        raise ConfigError(f"errors={errors!r} is neither 'raise' nor 'yield'")


class Reader:
    """An iterator of lists: what there is, at least one event, then what comes. This one has policy "lag".

    Args:
        log: What it reads.
        at: The offset of the first event it has not seen; where that lies behind the end it gets the last event again.
        errors: Whether a stream that failed ends with an exception or with the ErrorEvent.
        view: What it makes of the events.
    """

    __slots__ = ("_buffer", "_ended", "_left", "_raises", "at", "log", "seat", "view")

    shape: Shape = "lists"

    @staticmethod
    def of(log: Log, at: int, *, policy: Policy, size: int, errors: Errors, view: View) -> Reader:
        """A reader with this policy; for "disconnect" and "backpressure" it may be `size` events behind."""
        match policy:
            case "lag":
                return Reader(log, at, errors, view)
            case "conflate":
                return _Reducing(log, at, errors, view, conflated)
            case "latest":
                return _Reducing(log, at, errors, view, newest)
            case "disconnect":
                return _Hurried(log, at, errors, view, size)
            case "backpressure":
                return _Waited(log, at, errors, view, size)

    def __init__(self, log: Log, at: int, errors: Errors, view: View) -> None:
        self.log = log
        self._buffer = log.buffer
        self.at = min(at, log.head - 1) if log.over else at
        self._raises = errors == "raise"
        self.view = None if view is events_of else view
        self.seat = log.crowd.seat()
        self._left = False
        # Whether it was given the last event.
        self._ended = False
        log.readers += 1

    def message(self) -> Message:
        """The answer so far, whatever this reader has seen of it."""
        return self.log.message()

    def leave(self) -> None:
        """It reads no more."""
        if not self._left:
            self._left = True
            self.log.leave()

    def __aiter__(self) -> Reader:
        return self

    if TYPE_CHECKING:  # as the subclasses have it

        def __anext__(self) -> Awaitable[Sequence[Any]]: ...

    @types.coroutine
    def _read(self) -> Generator[Any, Any, Sequence[Any]]:
        """Some of what there is, at least one event.

        Raises:
            StopAsyncIteration: the stream ended, and everything was read.
            ReaderLagged: it was slower than it may be.
            BaseException: what the stream failed with.
        """
        # Once per event and reader, where readers wait for each: a generator, because it costs a fifth less (bench_hub).
        log, buffer, at = self.log, self._buffer, self.at
        while at >= log.base + len(buffer) and not log.over:
            log.limit = 0
            seat = self.seat
            if seat.direct:
                seat.blocking = True
                yield seat
            else:
                yield from seat.__await__()
        return self.take()

    def take(self) -> Sequence[Any]:
        """Some of what is unread; there is something, or the log is over. Raises as `_read` does."""
        log, at = self.log, self.at
        start = at - log.base
        if log.over or start < 0:
            return self._rare(at)
        events = self._buffer[start : start + FAIRNESS]
        self.at = at + len(events)
        return events if self.view is None else self.view(log, events, range(at, self.at))

    if not TYPE_CHECKING:
        __anext__ = _read

    def _rare(self, at: int) -> Sequence[Any]:
        """What lies below the events that are kept one by one; and all of a log that is over."""
        log = self.log
        if at < log.base:
            events, offsets = self._reduced(*log.below(at))
            self.at = log.base
            return events if self.view is None else self.view(log, events, offsets)
        if at >= log.head:
            if self._ended:
                self._end()
            at = log.head - 1  # it has seen more than was kept: how it ended it is told all the same
        start = at - log.base
        events = log.buffer[start : start + FAIRNESS]
        self.at = at + len(events)
        if log.over and self.at == log.head:
            self._ended = True
            if self._raises and events[-1].__class__ is ErrorEvent:
                events = events[:-1]
                if not events:
                    self._end()
        events, offsets = self._reduced(events, range(at, at + len(events)))
        return events if self.view is None else self.view(log, events, offsets)

    def _reduced(self, events: Sequence[Event], offsets: Sequence[int]) -> Slice:
        """What its policy makes of events that were there together."""
        return events, offsets

    def _end(self) -> NoReturn:
        log = self.log
        last = log.buffer[-1]
        if self._raises and isinstance(last, ErrorEvent):
            if log.fault is not None:
                raise for_one_reader(log.fault, log.trace)
            before = log.head - 2
            raise error_from_event(last, last_id=log.token(before) if before >= 0 else None)
        raise StopAsyncIteration


def direct(
    ending: Ending,
    start: Callable[[], Awaitable[Reader]],
    checkpoint: Callable[[], Awaitable[object]],
    leave: Callable[[BaseException | None], Awaitable[None]],
) -> AsyncGenerator[Any]:
    """A reader with policy "lag" as its consumer iterates it: event by event or list by list, without a segment in between.

    A consumer that waits for each event goes through every frame that stands between it and the event loop, once per event.
    It is a generator like a segment, and not a class with a generator-based `__anext__`, which costs a tenth of a microsecond less:
    no task could be made of that one's `anext()` (Python 3.12, anyio, trio).

    Args:
        ending: "yield" gives events, "lists" gives what there is in one list.
        start: Awaited once, before the first event; gives the reader.
        checkpoint: Lets the event loop turn.
        leave: Awaited with what ended it, or None for its end.
    """
    return (_events if ending == "yield" else _lists)(start, checkpoint, leave)


# Two long and plain loops that differ in what they yield: this is what an event costs for each reader (benchmarks/bench_hub.py).


async def _events(
    start: Callable[[], Awaitable[Reader]],
    checkpoint: Callable[[], Awaitable[object]],
    leave: Callable[[BaseException | None], Awaitable[None]],
) -> AsyncGenerator[Any]:
    try:
        reader = await start()
        del start  # and all that it holds: there may be thousands of readers
        log, seat, view = reader.log, reader.seat, reader.view
        wait, buffer = _wait_of(seat), log.buffer
        try:
            while True:
                while (at := reader.at - log.base) >= len(buffer) and not log.over:
                    log.limit = 0
                    await wait(seat)
                if at + 1 == len(buffer) and view is None and at >= 0 and not log.over:
                    reader.at += 1
                    yield buffer[at]
                    continue
                events = reader.take()
                for event in events:
                    yield event
                if len(events) >= FAIRNESS:  # there may be more: the event loop turns first
                    await checkpoint()
        except StopAsyncIteration:
            await leave(None)
    except BaseException as error:
        await leave(error)
        raise


async def _lists(
    start: Callable[[], Awaitable[Reader]],
    checkpoint: Callable[[], Awaitable[object]],
    leave: Callable[[BaseException | None], Awaitable[None]],
) -> AsyncGenerator[Any]:
    try:
        reader = await start()
        del start  # and all that it holds: there may be thousands of readers
        log, seat = reader.log, reader.seat
        wait, buffer = _wait_of(seat), log.buffer
        try:
            while True:
                while reader.at - log.base >= len(buffer) and not log.over:
                    log.limit = 0
                    await wait(seat)
                events = reader.take()
                yield events
                if len(events) >= FAIRNESS:
                    await checkpoint()
        except StopAsyncIteration:
            await leave(None)
    except BaseException as error:
        await leave(error)
        raise


def _wait_of(seat: Seat) -> Callable[[Seat], Awaitable[None]]:
    return _sit if seat.direct else _park


@types.coroutine
def _sit(seat: Seat) -> Generator[Seat, None, None]:
    seat.blocking = True
    yield seat


async def _park(seat: Seat) -> None:
    await seat


class _Reducing(Reader):
    """Policies "conflate" and "latest": all that is unread, made into less."""

    __slots__ = ("_reduce",)

    def __init__(
        self, log: Log, at: int, errors: Errors, view: View, reduce: Callable[[Sequence[Event], Sequence[int]], Slice]
    ) -> None:
        super().__init__(log, at, errors, view)
        self._reduce = reduce

    async def __anext__(self) -> Sequence[Any]:
        log = self.log
        at = self.at
        while at >= log.head and not log.over:
            log.limit = 0
            await self.seat
        start = at - log.base
        if start < 0 or log.over:
            return self._rare(at)
        events: Sequence[Event] = log.buffer[start:]
        offsets: Sequence[int] = range(at, at + len(events))
        self.at = at + len(events)
        if len(events) > 1:
            events, offsets = self._reduce(events, offsets)
        return events if self.view is None else self.view(log, events, offsets)

    def _reduced(self, events: Sequence[Event], offsets: Sequence[int]) -> Slice:
        if self._reduce is newest:  # a folded event stands for several, which count: where the first one begins
            return newest(events, offsets, min(self.at, offsets[0]))
        return self._reduce(events, offsets)


class _Hurried(Reader):
    """Policy "disconnect": it is told, when it comes back, that it was too slow."""

    __slots__ = ("_due", "_size")

    def __init__(self, log: Log, at: int, errors: Errors, view: View, size: int) -> None:
        super().__init__(log, at, errors, view)
        self._size = size
        # It does not count as slow before it has had what there was when it came.
        self._due = log.head

    async def __anext__(self) -> Sequence[Any]:
        log, at = self.log, self.at
        if log.head - max(at, self._due) > self._size:
            raise ReaderLagged(
                f"this reader was {log.head - at} events behind, and may be {self._size}: resume from its token, read faster, or "
                "take a policy that joins or drops",
                size=self._size,
                token=log.token(at - 1) if at else None,
            )
        return await self._read()


class _Waited(Reader):
    """Policy "backpressure": the writer waits for it. What it was given counts as unread until it comes back for more."""

    __slots__ = ("_due", "_size", "_taken")

    def __init__(self, log: Log, at: int, errors: Errors, view: View, size: int) -> None:
        super().__init__(log, at, errors, view)
        self._size = size
        self._due = log.head
        self._taken = self.at
        log.wait_for(self)

    def room(self, head: int) -> int:
        """How many events may still come before the writer must wait."""
        return max(self._taken, self._due) + self._size - head

    def leave(self) -> None:
        self.log.wait_no_more_for(self)
        super().leave()

    async def __anext__(self) -> Sequence[Any]:
        self._taken = self.at
        self.log.moved()
        return await self._read()
