"""What a reader gets of a slice of the log when it need not have every event: deltas joined, or only the newest one.

A slice is some events that follow one another and, for each, the offset of the last event of the log that it stands
for: a reader that resumes goes on behind that. Knows no readers and no limits; when a policy is asked is the reader's affair.

What must not be lost is never lost: control events (`is_control`) keep their place among the others, whatever
the policy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from streamkit.events.model import DataDelta, Event, Gap, ReasoningDelta, TextDelta, ToolCallDelta, is_control, join_deltas

__all__ = ["Slice", "conflated", "joins", "newest"]

Slice: TypeAlias = tuple[Sequence[Event], Sequence[int]]
"""Events, and for each the offset of the last event of the log that it stands for."""


def conflated(events: Sequence[Event], offsets: Sequence[int]) -> Slice:
    """The slice with neighbouring deltas of one channel joined, as `join_deltas` does; the very same one if none are neighbours.

    >>> conflated([TextDelta("a"), TextDelta("b"), Finish()], range(7, 10))[1]
    [8, 9]
    """
    count = len(events)
    if count < 2:
        return events, offsets
    out: list[Event] = []
    lasts: list[int] = []
    begin = 0
    first: Any = events[0]
    event: Any
    for at in range(1, count):
        event = events[at]
        # Written out for text, which is nearly all there is: a call costs more than the rest of the loop.
        if event.__class__ is TextDelta and first.__class__ is TextDelta:
            if event.index == first.index and event.choice == first.choice:
                continue
        elif joins(first, event):
            continue
        out.append(first if at == begin + 1 else _joined(events[begin:at]))
        lasts.append(offsets[at - 1])
        begin, first = at, event
    if len(out) == count - 1:
        return events, offsets
    out.append(first if begin == count - 1 else _joined(events[begin:]))
    lasts.append(offsets[-1])
    return out, lasts


def newest(events: Sequence[Event], offsets: Sequence[int], begin: int | None = None) -> Slice:
    """The slice without its deltas but the newest one, and a `Gap` wherever some are missing.

    A delta is what `is_control` does not name. `Gap(n)` stands where n of them were that followed one another, with the
    offset of the last of them; gaps of the log count into those that they touch. A delta that stands for several counts as
    so many; for the first one `begin` says where they begin.

    >>> newest([TextDelta("a"), TextDelta("b"), Finish(), TextDelta("c")], range(4))
    ([Gap(count=2), Finish(reason='stop', raw_reason=None, choice=0), TextDelta(text='c', index=0, choice=0)], [1, 2, 3])
    """
    count = len(events)
    if count < 2:
        return events, offsets
    kept = count - 1
    while kept >= 0 and is_control(events[kept]):
        kept -= 1
    out: list[Event] = []
    lasts: list[int] = []
    last = (offsets[0] if begin is None else begin) - 1  # what is before it is in `out`
    missing = False  # whether a gap is to stand there
    more = 0  # how many more a gap of the log counts than it has offsets
    for at, event in enumerate(events):
        if at != kept:
            if event.__class__ is TextDelta:  # by far the most: asking the others by isinstance costs three times this loop
                missing = True
                continue
            if isinstance(event, Gap):
                missing = True
                more += event.count - (offsets[at] - (offsets[at - 1] if at else last))
                continue
            if not is_control(event):
                missing = True
                continue
        if missing:
            before = offsets[at - 1]
            out.append(Gap(before - last + more))
            lasts.append(before)
            missing = False
            more = 0
        out.append(event)
        last = offsets[at]
        lasts.append(last)
    if missing:
        out.append(Gap(offsets[-1] - last + more))
        lasts.append(offsets[-1])
    return out, lasts


def joins(first: Event, second: Event) -> bool:
    """Whether `join_deltas` makes one event of these two where they are neighbours."""
    kind = first.__class__
    if kind is not second.__class__ or kind not in _JOINING:
        return False
    one: Any = first
    two: Any = second
    if one.index != two.index or one.choice != two.choice:
        return False
    if kind is ToolCallDelta:
        return bool(one.id == two.id)
    if kind is ReasoningDelta:  # a proof stands for what is before it, and for that alone
        return one.signature is one.redacted is two.signature is two.redacted is None
    return kind is TextDelta or bool(one.media_type == two.media_type)


_JOINING: Final = frozenset({TextDelta, ReasoningDelta, ToolCallDelta, DataDelta})


def _joined(run: Sequence[Event]) -> Event:
    """One event of several that join."""
    first: Any = run[0]
    if first.__class__ is TextDelta:
        texts: Any = run
        return TextDelta("".join([event.text for event in texts]), first.index, first.choice)
    return join_deltas(list(run))[0]
