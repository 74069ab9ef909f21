"""What a stream told, and what its readers may therefore have got: the model that random histories of hubs are held to.

A tale is one run of one source. It notes each event before it gives it away, so the log of the hub that ran it can hold
no other, and only in this order. A reading is what one reader got. Between the two

    offsets rise; each event stands for those between the offset before it and its own
    it is that event; or those events joined, where joining was asked for or the log is short; or a Gap that counts them
    the last event of a whole reading is an end that this tale may have, at the same offset for all who read it there
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import streamkit as sk
from streamkit.dialects.outcomes import to_error_event
from streamkit.errors import StreamDraining, StreamInterrupted
from streamkit.events.message import Message
from streamkit.events.model import ErrorEvent, Event, Finish, Gap, TextDelta, is_control, join_deltas

ENDS = ["end", "finish", "fail", "fail after finish", "error event", "no event", "for ever", "endless"]
WEIGHTS = [4, 4, 2, 1, 2, 1, 2, 3]

# Epochs of two streams are so far apart that no token of the one can be taken for one of the other.
APART = 2_000_000


class Tale:
    """One run of one source.

    Args:
        number: In every event's content, so that whoever reads it can tell which one it is.
        turn, nap, hang: A turn of the event loop, a while on its clock, for ever.

    Attributes:
        given: The events as a log has them, each noted before it was given.
        fault: What the source ended with: an exception, an ErrorEvent, or None for its own end.
        over: Whether it came to its own end.
        opened, closed, unread: How often; unread: how often it was closed without having been read.
        name, process: Under which name, and where, it was started.
        joined: Whether that start has joined another stream.
        stopped: Whether anybody may have ended it on request.
        drained: Whether its hub may have been closed.
        torn: Whether its writer may have died, or lost it to another.
        lossy: Whether its store may miss events.
        endings: By where it was read: its last event's offset, and the event.
    """

    def __init__(
        self,
        number: int,
        dice: random.Random,
        *,
        turn: Callable[[], Awaitable[None]],
        nap: Callable[[float], Awaitable[None]],
        hang: Callable[[], Awaitable[None]],
        slow: Callable[[], Awaitable[None]],
    ) -> None:
        self.number = number
        self.given: list[Event] = []
        self.fault: BaseException | ErrorEvent | None = None
        self.over = False
        self.opened = 0
        self.closed = 0
        self.unread = 0
        self.stopped = False
        self.drained = False
        self.torn = False
        self.lossy = False
        self._held: Finish | None = None
        self.name: str | None = None
        self.process: object = None
        self.joined = False
        self.endings: dict[str, tuple[int, Event]] = {}
        self.end = dice.choices(ENDS, WEIGHTS)[0]
        self._dice = random.Random(dice.random())
        self._turn, self._nap, self._hang, self._slow = turn, nap, hang, slow
        self.lists = dice.random() < 0.3
        self.single = dice.random() < 0.3

    # -- the source

    def source(self) -> Any:
        """For one start."""
        if self.single:
            return Once(self)
        if self.lists:
            return sk.stream(self._lists).flat_map(list)
        return self._items

    async def _items(self) -> AsyncIterator[object]:
        steps = self._lists()
        try:
            async for step in steps:
                for item in step:
                    yield item
        finally:
            await steps.aclose()

    async def _lists(self) -> Any:
        dice = self._dice
        self.opened += 1
        try:
            for number in range(dice.choice([0, 1, 3, 10, 40, 150])):
                await self._wait()
                yield [self._next(number)] if dice.random() < 0.8 else [self._next(number), self._next(number)]
            for step in self._last_words():
                yield step
            if self.end in ("for ever", "endless"):
                number = 150
                while self.end == "endless":
                    number += 1
                    await self._nap(dice.choice([0.001, 0.01, 0.1]))
                    yield [self._next(number)]
                await self._hang()
            self.over = True
            if isinstance(self.fault, Exception) and self.end != "no event":
                raise self.fault
        finally:
            try:
                if dice.random() < 0.4:
                    await self._slow()  # a cancel may come here, too, if the source was ending by itself
            finally:
                self.closed += 1

    async def _wait(self) -> None:
        chance = self._dice.random()
        if chance < 0.3:
            await self._turn()
        elif chance < 0.4:
            await self._nap(self._dice.choice([0.0001, 0.01, 0.3]))

    def _last_words(self) -> list[list[object]]:
        match self.end:
            case "finish":
                return [[self._told(Finish(self._dice.choice(["stop", "length"])))]]
            case "fail" | "fail after finish":
                self.fault = ValueError(f"tale {self.number}")
                return [[self._told(Finish("stop"))]] if self.end == "fail after finish" else []
            case "error event":
                self.fault = ErrorEvent(f"tale {self.number}", code="overloaded", retryable=True)
                self.over = True
                return [[self.fault, TextDelta("never")], [TextDelta("never")]]
            case "no event":
                self.fault = TypeError()
                self.over = True
                return [[5, "never"]]
            case _:
                return []

    def _told(self, event: Event) -> Event:
        """An event that will be given; a finish is the last of its choice in the log, and the newest one the last of all."""
        held = self._held
        if held is not None and getattr(event, "choice", held.choice) != held.choice:
            self.given.append(held)
            self._held = None
        if isinstance(event, Finish):
            self._held = event
        else:
            self.given.append(event)
        return event

    def _next(self, number: int) -> object:
        """Another item; most of them deltas of text."""
        dice = self._dice
        mark = f"{self.number}:{number} "
        match dice.randrange(24):
            case 0:
                return self._told(sk.Start(id=mark))
            case 1:
                return self._told(sk.Custom("mark", {"mark": mark}))
            case 2 | 3:
                return self._told(sk.ReasoningDelta(mark))
            case 4:
                return self._told(TextDelta(mark, choice=1))
            case 5:
                return self._told(sk.ToolCallStart(mark, "tool"))
            case 6 | 7:
                return self._told(sk.ToolCallDelta(f"{self.number}:call", mark))
            case 8 if dice.random() < 0.2:
                return self._told(Finish("stop", choice=number % 3))
            case 9:
                return self._told(sk.Ping())
            case 10 if dice.random() < 0.3:
                return self._told(Gap(3))
            case 11 | 12 | 13:
                self._told(TextDelta(mark))
                return mark
            case _:
                return self._told(TextDelta(mark))

    # -- what may have been read

    def check_end(self, where: str, offset: int, last: Event) -> None:
        """Whether the stream may end so, there."""
        before = self.endings.setdefault(where, (offset, last))
        assert before == (offset, last), f"two ends: {before} and {(offset, last)}"
        other = self.endings.get("written" if where == "stored" else "stored")
        if other is not None and not self.torn and not self.drained:
            assert other[0] == offset and (other[1] == last or self.lossy), f"ended {other} here and {(offset, last)} elsewhere"
        assert offset <= len(self.given), f"an end at {offset}, of {len(self.given)} events"
        match last:
            case Finish(reason="cancelled"):
                assert self.stopped, "nobody has cancelled it"
            case ErrorEvent(code="interrupted"):
                assert self.torn, "its writer lives"
            case ErrorEvent(code="draining"):
                assert self.drained, "its hub is open"
            case _:
                assert (offset, last) == self.own_end(), f"ended with {(offset, last)}, and not {self.own_end()}"

    def own_end(self) -> tuple[int, Event] | None:
        """Where it ends by itself, if nobody is faster."""
        if not self.over:
            return None
        last = self.fault
        if last is None:
            return len(self.given), self._held or Finish("stop")
        return len(self.given), last if isinstance(last, ErrorEvent) else to_error_event(last)


class Once:
    """The same source as an iterator, which can be run once and must be closed once, also if nobody has read it."""

    def __init__(self, tale: Tale) -> None:
        self._tale = tale
        self._items: Any = None

    def __aiter__(self) -> Once:
        return self

    async def __anext__(self) -> object:
        if self._items is None:
            self._items = self._tale._items()
        return await self._items.__anext__()

    async def aclose(self) -> None:
        if self._items is None:
            self._tale.unread += 1
        else:
            await self._items.aclose()


class Reading:
    """What one reader got.

    Args:
        tale: Which stream it was, once that is known.
        where: "written" or "stored": whether the hub that it read in writes the stream, or copies it.
        start: The offset that it was to begin with.
        joins: Whether events may have been joined.
        skips: Whether deltas may have been skipped, with a Gap.
        forgets: Whether anything may be missing, with a Gap: the log is short, or its store was away.
    """

    def __init__(self, start: int, *, joins: bool, skips: bool, forgets: bool) -> None:
        self.start = start
        self.joins = joins
        self.skips = skips
        self.forgets = forgets
        self.entries: list[tuple[int, Event]] = []
        self.error: BaseException | None = None
        self.whole = False

    @property
    def next(self) -> int:
        """The offset of what it had not seen when it ended."""
        return max(self.start, self.entries[-1][0] + 1) if self.entries else self.start

    def check(self, tale: Tale, where: str, *, copied: bool = False) -> None:
        """Hold it to the tale; its end may be that of a copy, whose hub was closed."""
        entries = self.entries
        own = False
        offset = 0
        if entries and not self.whole and self.error is None:
            # It may have been cancelled between the last event and the end of the iteration.
            offset, last = entries[-1]
            self.whole = isinstance(last, Finish | ErrorEvent) and [last] != tale.given[offset : offset + 1]
        if self.whole:
            assert entries, "ended without a last event"
            offset, last = entries[-1]
            assert isinstance(last, Finish | ErrorEvent), f"ended with {last}"
            # A copy may end by itself: its hub was closed, or the stream was replaced or undone where it is kept.
            ends = ("not-found", "draining", "unavailable") if copied else ("not-found",)
            own = where == "stored" and isinstance(last, ErrorEvent) and last.code in ends
            entries = entries[:-1]
            if not own:
                tale.check_end(where, offset, last)
                assert offset >= self.start or not entries, f"the end again, behind {entries}"
        elif self.error is not None:
            self._check_error(tale, where)
        at = self.start
        for offset, event in entries:
            assert offset >= at, f"offset {offset} after {at}: twice, or out of order"
            self._check_event(event, tale.given[at : offset + 1], offset + 1 - at)
            at = offset + 1
        if self.whole and own:
            # Its token is that of the event before it: whoever resumes from there misses nothing.
            assert offset <= max(at - 1, 0), f"resumed behind {offset}, it would miss what is there; it has seen up to {at}"
        elif self.whole:
            offset, _ = self.entries[-1]
            assert at == offset or (at > offset and not entries), f"from {at} to the end at {offset} nothing came"

    def _check_event(self, event: Event, told: Sequence[Event], count: int) -> None:
        assert len(told) == count, f"{event} stands for {count} events, and there were {len(told)}"
        if count == 1 and event == told[0]:
            return
        if isinstance(event, Gap):
            dropped = sum(one.count if isinstance(one, Gap) else 1 for one in told)
            assert self.forgets or (self.skips and not any(is_control(one) and not isinstance(one, Gap) for one in told)), (
                f"{event} for {told}"
            )
            assert event.count in (count, dropped) or (self.forgets and count <= event.count <= dropped), f"{event} for {told}"
            return
        assert self.joins, f"{event} in the place of {told}"
        assert [event] == join_deltas(list(told)), f"{event} in the place of {told}"

    def _check_error(self, tale: Tale, where: str) -> None:
        error = self.error
        match error:
            case StreamInterrupted():
                assert tale.torn, "interrupted, and its writer lives"
            case StreamDraining():
                return
            case sk.SourceError() | ValueError() | TypeError():
                end = tale.own_end()
                assert end is not None, f"failed with {error!r}, and its source has not"
                tale.check_end(where, self.next, end[1])
            case _:
                raise AssertionError(f"a reader ended with {error!r}") from error


def text_is_cut(tale: Tale, text: str) -> bool:
    """Whether this is what the tale has told, up to some event."""
    return text_of(tale.given).startswith(text)


def text_of(events: Sequence[Event]) -> str:
    """The answer in these events."""
    return Message(events).text
