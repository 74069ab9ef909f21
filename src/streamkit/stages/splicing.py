"""One answer out of several pieces: the events of a continuation, made to fit behind what was given before them.

What is made to fit, and how:

    Start      given once
    indexes    moved up, so that the continuation's first text goes on in the block in which the text broke off, and
               any other block is a new one
    text       what the continuation repeats of the text before it is dropped: the longest end of that text with which
               the continuation begins. Held back only as long as it may still be a repetition
    Usage      the tokens of all pieces added up; what nobody counted stays unknown
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from streamkit.events.message import Message
from streamkit.events.model import EVENT_TYPES, Ping, Start, TextDelta, Usage

__all__ = ["LEAST_OVERLAP", "Splice", "added"]

# Fewer characters than this that are equal may be chance: "ana" behind "ban" is no repetition.
LEAST_OVERLAP: Final = 12

_TOKENS: Final = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")


def added(one: Usage | None, other: Usage | None) -> Usage | None:
    """The tokens of two pieces of one answer. A number that one of them does not know is a least, so it is not final.

    >>> added(Usage(1, 20), Usage(5, 10, final=False)).output_tokens
    30
    """
    if one is None or other is None:
        known = one or other
        return None if known is None else msgspec.structs.replace(known, final=False)
    sums: dict[str, int | None] = {}
    for name in _TOKENS:
        numbers = [number for number in (getattr(one, name), getattr(other, name)) if number is not None]
        sums[name] = sum(numbers) if numbers else None
    return Usage(**sums, final=one.final and other.final, estimated=one.estimated or other.estimated)


class Splice:
    """The pieces of one answer, one after the other.

    Args:
        overlap: Most characters that are looked at for a repetition; 0 takes the text as it comes.

    Attributes:
        message: The answer so far.

    Memory: the answer, in `message`, and twice `overlap` characters.
    """

    __slots__ = ("_base", "_ends", "_held", "_lead", "_open", "_overlap", "_own", "_pieces", "_shift", "_tail", "_top", "message")

    def __init__(self, overlap: int) -> None:
        self.message = Message()
        self._overlap = overlap
        # The highest index so far, and that of the block of text in which the answer stands, or None.
        self._top = -1
        self._open: int | None = None
        # How far the indexes of this piece are moved; None until its first delta tells.
        self._shift: int | None = 0
        self._pieces = 1
        # What the pieces before have used, and what this one says of itself.
        self._base: Usage | None = None
        self._own: Usage | None = None
        # What may repeat the text before: the deltas held back, and the lengths of the ends that are still possible.
        self._held: list[TextDelta] = []
        self._lead = self._tail = ""
        self._ends: list[int] = []

    def again(self, usage: Usage | None) -> None:
        """The piece was cut; what is fed next continues it. `usage` is what it is known to have used."""
        used = usage or self._own
        self._base = used if self._pieces == 1 else added(self._base, used)
        self._own = None
        self._pieces += 1
        self._shift = None
        self._held, self._lead = [], ""
        self._tail = self.message.text[-self._overlap :] if self._overlap else ""
        self._ends = list(range(LEAST_OVERLAP, len(self._tail) + 1))

    def feed(self, events: list[Any]) -> list[Any]:
        """The events as they are given on.

        Raises:
            TypeError: an item that is no event.
        """
        if self._pieces == 1:
            # One delta of the block that is open, as most reads give: this is what an answer costs that is never cut.
            if len(events) == 1 and (one := events[0]).__class__ is TextDelta and one.index == self._open:
                self.message.add(one)
            else:
                self._keep(events)
            return events
        out: list[Any] = []
        for event in events:
            self._one(event, out)
        self._keep(out)
        return out

    def flush(self) -> list[Any]:
        """The piece is over: what was held back."""
        out: list[Any] = []
        self._settle(out)
        self._keep(out)
        return out

    def _one(self, event: Any, out: list[Any]) -> None:
        """One event of a continuation."""
        kind = event.__class__
        if kind is TextDelta:
            self._text(self._placed(event, True), out)
        elif kind is Start:
            if self.message.start is None:
                out.append(event)
        elif kind is Usage:
            self._own = event
            total = added(self._base, event)
            if self._base is None and total is not None:  # nobody knows what the pieces before have used
                total = msgspec.structs.replace(event, final=False)
            out.append(total)
        elif kind is Ping:
            out.append(event)
        else:
            if kind in _PLACED:
                event = self._placed(event, False)
            self._settle(out)
            out.append(event)

    def _placed(self, event: Any, is_text: bool) -> Any:
        """The event with the index that it has in the whole answer."""
        if self._shift is None:
            here = self._open if is_text else None
            self._shift = (self._top + 1 if here is None else here) - event.index
        return event if not self._shift else msgspec.structs.replace(event, index=max(event.index + self._shift, 0))

    def _text(self, event: TextDelta, out: list[Any]) -> None:
        if not self._ends:
            out.append(event)
            return
        self._held.append(event)
        lead = self._lead = self._lead + event.text  # at most `overlap` and one delta: it is compared, and then dropped
        tail = self._tail
        size = len(lead)
        self._ends = [n for n in self._ends if tail.startswith(lead[:n], len(tail) - n)]
        if not self._ends or self._ends[-1] <= size:
            self._settle(out)

    def _settle(self, out: list[Any]) -> None:
        """Give what was held back, without what repeats the text before it."""
        held, self._held = self._held, []
        size = len(self._lead)
        drop = max([n for n in self._ends if n <= size], default=0)
        if held:
            self._ends, self._lead = [], ""
        for event in held:
            if drop and drop >= len(event.text):
                drop -= len(event.text)
            else:
                out.append(msgspec.structs.replace(event, text=event.text[drop:]) if drop else event)
                drop = 0

    def _keep(self, events: list[Any]) -> None:
        """Remember what is given on."""
        self.message.add_all(events)
        for event in events:
            kind = event.__class__
            if kind is TextDelta:
                if event.index != self._open:
                    self._open = event.index
                    self._top = max(self._top, event.index)
            elif kind in _PLACED:
                self._open = None
                self._top = max(self._top, event.index)
            elif kind is Usage:
                if self._pieces == 1:
                    self._own = event
            elif kind not in _EVENTS:
                raise TypeError(f"an answer is continued by its events, got {kind.__name__}")


_EVENTS: Final = frozenset(EVENT_TYPES)
_PLACED: Final = frozenset(kind for kind in EVENT_TYPES if "index" in kind.__struct_fields__) - {TextDelta}
