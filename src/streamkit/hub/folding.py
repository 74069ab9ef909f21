"""The beginning of a log, folded: what a reader gets that comes later than the log goes back.

Neighbouring deltas of one channel are one run, of which the content is kept once and the length of each delta
beside it. So a reader that has seen some of a run gets the rest of it and not a character twice, and ten thousand tokens
cost their text and four bytes each.

    [ run ]  [ control ]  [ run ][ run ]  ...      sealed: content joined, lengths in an array
                                         tail      events as they came, all of one channel, few

A run that grows is sealed now and then and goes on as another one: nothing is joined twice while it grows, and
forgetting can begin with a long text's beginning. `after` joins the pieces again.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from itertools import islice
from operator import attrgetter
from typing import Any, Final, cast, final

import msgspec

from streamkit.events.model import DataDelta, Event, Gap, ReasoningDelta, TextDelta, ToolCallDelta
from streamkit.hub.policies import conflated, joins

__all__ = ["Folded"]

# More events in a tail would be more memory for what is not joined yet; fewer, more of what a sealed run costs by itself.
_TAIL_EVENTS: Final = 256
_TAIL_BYTES: Final = 1 << 16

# What an entry costs beside its content: the event, the entry, its numbers, the head of an array.
_ENTRY_BYTES: Final = 240


@final
class Folded:
    """The events [first, end) of a log, with neighbouring deltas of one channel joined.

    Args:
        first: The offset of the first event that it is to hold.
        max_bytes: What it may hold. Beyond that it forgets from its beginning: control events, and runs of deltas in
            pieces of at most 256 deltas or 64 KiB.

    Attributes:
        first, end: What it holds, as offsets.
        forgotten: Whether it had to forget anything.

    Memory: the content once and 4 bytes for each delta; 0.3 KB for each event that does not join its neighbours; at
    most `max_bytes` of both, and some 30 KB for the newest deltas, which are not joined yet.

    >>> folded = Folded(max_bytes=1000)
    >>> folded.add([TextDelta("Hel"), TextDelta("lo"), Finish()])
    >>> folded.after(1)[0][0], folded.after(1)[1]
    (TextDelta(text='lo', index=0, choice=0), [1, 2])
    """

    __slots__ = ("_entries", "_max_bytes", "_sealed_bytes", "_tail", "_tail_bytes", "end", "first", "forgotten")

    def __init__(self, first: int = 0, *, max_bytes: int) -> None:
        self.first = first
        self.end = first
        self.forgotten = False
        self._max_bytes = max_bytes
        # An empty deque weighs 760 bytes, and most logs end before anything is folded.
        self._entries: deque[_Entry] | None = None
        self._sealed_bytes = 0
        self._tail: list[Event] = []  # never more than one channel, or one other event
        self._tail_bytes = 0

    @property
    def weight(self) -> int:
        """What it holds, in bytes, approximately."""
        return self._sealed_bytes + self._tail_bytes

    def add(self, events: Sequence[Event]) -> None:
        """Hold the next events of the log, too; amortised, each costs the same whatever came before."""
        # Runs once per event of a log that is trimmed: text is asked for first, by hand and without a call.
        event: Any
        for event in events:
            tail = self._tail
            if event.__class__ is TextDelta:
                cost = len(event.text) + 4
                if tail:
                    last: Any = tail[0]
                    if (
                        last.__class__ is TextDelta
                        and last.index == event.index
                        and last.choice == event.choice
                        and len(tail) < _TAIL_EVENTS
                        and self._tail_bytes < _TAIL_BYTES
                    ):
                        tail.append(event)
                        self._tail_bytes += cost
                        self.end += 1
                        continue
                cost += _ENTRY_BYTES
            else:
                cost = _ENTRY_BYTES + _size(event)
            self._add_other(event, cost)
        if self._sealed_bytes + self._tail_bytes > self._max_bytes:
            self._forget()

    def after(self, offset: int) -> tuple[list[Event], list[int]]:
        """The events from `offset` on, joined, and for each the offset of the last event that it stands for.

        A reader that has all before `offset` has everything once with these. Where some of that is not held any more they
        begin with a `Gap` that counts it. Gaps do not join: each says what was dropped in its place.
        """
        events: list[Event] = []
        lasts: list[int] = []
        if offset < self.first:
            events.append(Gap(self.first - offset))
            lasts.append(self.first - 1)
            offset = self.first
        entries = self._entries or ()
        at = bisect_right(entries, offset, key=_begin) - 1
        for entry in islice(entries, max(at, 0), None):
            if offset < entry.end:
                events.append(entry.event if offset <= entry.begin else entry.rest(offset))
                lasts.append(entry.end - 1)
        begin = max(offset, self.end - len(self._tail))
        if begin < self.end:
            events += self._tail[begin - self.end :]
            lasts += range(begin, self.end)
        joined, ends = conflated(events, lasts)
        return list(joined), list(ends)

    def _add_other(self, event: Event, cost: int) -> None:
        """Add an event that may not go where the one before it went."""
        tail = self._tail
        if tail and len(tail) < _TAIL_EVENTS and self._tail_bytes < _TAIL_BYTES and joins(tail[0], event):
            tail.append(event)
            self._tail_bytes += cost
        else:
            self._seal()
            self._tail = [event]
            self._tail_bytes = cost
        self.end += 1

    def _seal(self) -> None:
        """Make an entry of the tail."""
        tail = self._tail
        if not tail:
            return
        self._tail = []
        self._tail_bytes = 0
        if len(tail) == 1:
            event, lengths = tail[0], None
        else:
            event = conflated(tail, range(len(tail)))[0][0]
            lengths = array("I", [len(_content(delta)) for delta in tail])
        entry = _Entry(self.end - len(tail), self.end, event, lengths)
        if self._entries is None:
            self._entries = deque()
        self._entries.append(entry)
        self._sealed_bytes += entry.cost
        if self._sealed_bytes > self._max_bytes:
            self._forget()

    def _forget(self) -> None:
        """Let go of the oldest entries, until the rest is no more than may be held."""
        self.forgotten = True
        entries = self._entries
        while entries and self._sealed_bytes + self._tail_bytes > self._max_bytes:
            entry = entries.popleft()
            self._sealed_bytes -= entry.cost
            self.first = entry.end
        if self._tail_bytes > self._max_bytes:
            self._tail = []
            self._tail_bytes = 0
            self.first = self.end


@final
class _Entry:
    """One event of those that are held, which stands for those of the log in [begin, end)."""

    __slots__ = ("_lengths", "begin", "cost", "end", "event")

    def __init__(self, begin: int, end: int, event: Event, lengths: array[int] | None) -> None:
        self.begin = begin
        self.end = end
        self.event = event
        self._lengths = lengths
        # Kept, not counted again when it goes: what an application's event holds may have changed until then.
        self.cost = _ENTRY_BYTES + _size(event) + (0 if lengths is None else 4 * len(lengths))

    def rest(self, offset: int) -> Event:
        """What remains of the run from `offset` on, which lies inside."""
        if self._lengths is None:
            return self.event
        seen = sum(self._lengths[: offset - self.begin])
        event = self.event
        match event:
            case TextDelta() | ReasoningDelta():
                return msgspec.structs.replace(event, text=event.text[seen:])
            case ToolCallDelta():
                return msgspec.structs.replace(event, delta=event.delta[seen:])
            case DataDelta():
                return msgspec.structs.replace(event, data=event.data[seen:])
            case _:
                return event


_begin = attrgetter("begin")


def _content(delta: Event) -> str | bytes:
    """What grows from delta to delta; of any other event nothing does."""
    match delta:
        case TextDelta() | ReasoningDelta():
            return delta.text
        case ToolCallDelta():
            return delta.delta
        case DataDelta():
            return delta.data
        case _:
            return ""


def _size(event: Event) -> int:
    """What the fields of an event hold, in bytes: texts, data, and all that hangs on a value of any type."""
    size = 0
    for name in event.__struct_fields__:
        value = getattr(event, name)
        kind = value.__class__
        if kind is str:
            size += sys.getsizeof(value)
        elif value is not None and kind is not int and kind is not bool:
            size += _size_of_any(value)
    return size


def _size_of_any(value: object) -> int:
    size = 0
    waiting = [value]
    seen: set[int] = set()  # containers: one that holds itself is no JSON, and may come nevertheless
    while waiting:
        value = waiting.pop()
        size += sys.getsizeof(value, 64)
        members = _members(value)
        if members and id(value) not in seen:
            seen.add(id(value))
            waiting += members
    return size


def _members(value: object) -> list[object]:
    if isinstance(value, dict):
        mapping = cast("dict[object, object]", value)
        return [*mapping, *mapping.values()]
    return list(cast("list[object]", value)) if isinstance(value, (list, tuple, set, frozenset)) else []
