"""Bursts of text given at an even pace.

A stream of text comes in lumps, and reads better when it flows. `Pace` holds what came too early and gives it
piece by piece, by the times at which the pieces are due:

    due          the first piece at once, each further one a slot (1 / speed) after the one before. A timer that
                 is late gives all that was due meanwhile, so lateness never adds up
    speed        the rate; with much held, so much more that it is all given within `max_lag`. It does not
                 fall again before nothing is held: else the tail of a burst would lag
    frames       pieces are at least `FRAME` apart; at a higher speed each is of several slots

What is neither text nor a text delta, every control event above all, is never held: all the text before it is
given before it, at once. Text joins with text of its own channel only (`events.join_deltas`), and a character that
consists of several code points is not cut, unless it came cut.
"""

from __future__ import annotations

from collections import deque
from math import ceil, isfinite
from typing import Any, Literal, TypeAlias, TypeVar, final

import msgspec

from streamkit.errors import ConfigError
from streamkit.events.model import ReasoningDelta, TextDelta, is_control, join_deltas
from streamkit.stages.graphemes import BREAK, MOVES, START, kind_of
from streamkit.stages.stage import TimedStage

__all__ = ["FRAME", "Pace", "Unit"]

T = TypeVar("T")

Unit: TypeAlias = Literal["characters", "tokens", "items"]

# Seconds between two pieces at the least: what a screen shows as flowing, at 50 wake-ups in a second.
FRAME = 0.02

# How many characters a slot gives. A token is taken to be four, as `estimated_tokens` takes it.
_GRAINS: dict[str, int] = {"characters": 1, "tokens": 4, "items": 1}

# A letter below a tower of marks is cut there.
_LONGEST = 64


@final
class Pace(TimedStage[T, T]):
    """Text or items at an even rate.

    Args:
        rate: Units per second, while little is held.
        unit: "characters" and "tokens" (of four characters) cut strings and text deltas; "items" gives the
            items as they are, one each.
        max_lag: Seconds after which each unit has been given at the latest, but for a frame.
        linger: Whether the pace is kept after the end of the input; else the rest comes at once.
        size: Most characters (or items) that are held; what is more is given at once.

    Memory: `size` characters or items.

    >>> pace = Pace[str](4, max_lag=10)
    >>> pace.feed("Hello", 1.0), pace.deadline
    (('H',), 1.25)
    >>> pace.fire(1.25), pace.fire(1.75), pace.deadline
    (('e',), ('ll',), 2.0)
    """

    def __init__(
        self, rate: float, unit: Unit = "characters", *, max_lag: float = 1.0, linger: bool = True, size: int = 16_384
    ) -> None:
        """Raises ConfigError for numbers that are not positive or a unit that does not exist, TypeError for what is no number."""
        if unit not in _GRAINS:
            raise ConfigError(f"unit={unit!r} is not one of {', '.join(map(repr, _GRAINS))}")
        if size.__class__ is not int:
            raise TypeError(f"size is a number of units, got {size!r}")
        if size < 1:
            raise ConfigError(f"size must be at least 1, got {size}")
        self._grain = _GRAINS[unit]
        self._rate = _checked_positive("rate", rate) * self._grain
        self._max_lag = _checked_positive("max_lag", max_lag)
        self._cuts = unit != "items"
        self._size = size
        self.lingers = linger
        # What is held, each with its length; of the first one `_given` characters are gone.
        self._items: deque[tuple[T, int]] = deque()
        self._given = 0
        self._held = 0
        self._speed = self._rate
        self._next = float("-inf")
        self._frame = float("-inf")

    def feed(self, item: T, now: float) -> tuple[T, ...]:
        """What is due by now; all of it before an item that must not wait."""
        length = self._length(item)
        if length is None:
            return (*self._all(now), item)
        if not length:
            return ()
        if not self._held:
            self._speed = self._rate
            self._next = max(self._next, now)
        self._items.append((item, length))
        self._held += length
        self._hasten(ceil(self._held / self._grain) * self._grain / self._max_lag, now)
        return self._give(self._due(now) + self._take(self._held - self._size))

    def fire(self, now: float) -> tuple[T, ...]:
        """What is due by now."""
        return self._give(self._due(now))

    def flush(self) -> tuple[T, ...]:
        """All that is held."""
        return self._give(self._take(self._held))

    def _length(self, item: T) -> int | None:
        """How much of it is to be paced; None if it must not wait."""
        if not self._cuts:
            return None if is_control(item) else 1
        if isinstance(item, str):
            return len(item)
        if isinstance(item, TextDelta | ReasoningDelta) and not is_control(item):
            return len(item.text)
        return None

    def _all(self, now: float) -> tuple[T, ...]:
        if not self._held:
            return ()
        self._next = now + self._grain / self._rate
        return self.flush()

    def _hasten(self, speed: float, now: float) -> None:
        """Go faster, if that is faster; the slot that has begun becomes shorter too."""
        if speed > self._speed:
            if self._next > now:
                self._next = max(now, self._next - self._grain / self._speed + self._grain / speed)
            self._speed = speed

    def _give(self, out: list[T]) -> tuple[T, ...]:
        self.deadline = max(self._next, self._frame) if self._held else None
        return tuple(join_deltas(out) if self._cuts else out)

    def _due(self, now: float) -> list[T]:
        if not self._held or now < self._next or now < self._frame:
            return []
        slot = self._grain / self._speed
        # A timer that is on time by all but the last bits of its number is on time.
        slots = min(int((now - self._next) / slot + 1e-6) + 1, ceil(self._held / self._grain))
        out = self._take(slots * self._grain)
        self._next += slots * slot
        self._frame = now + FRAME
        return out

    def _take(self, length: int) -> list[T]:
        """So much of what is held, or a little more."""
        items = self._items
        out: list[T] = []
        while length > 0 and items:
            item, whole = items[0]
            begin, end = self._given, self._given + length
            if end < whole:
                end = _cluster_end(_text(item), begin, end)
            if end >= whole:
                end = whole
                items.popleft()
                self._given = 0
            else:
                self._given = end
            out.append(item if end - begin == whole else _piece(item, begin, end))
            self._held -= end - begin
            length -= end - begin
        return out


def _text(item: Any) -> str:
    text: str = item if isinstance(item, str) else item.text
    return text


def _piece(item: Any, begin: int, end: int) -> Any:
    """Part of a text or a text delta."""
    return item[begin:end] if isinstance(item, str) else msgspec.structs.replace(item, text=item.text[begin:end])


def _cluster_end(text: str, begin: int, end: int) -> int:
    """The first place from `end` on where no character as readers see it is cut, `begin` being one."""
    if " " <= text[end] <= "~":
        return end
    state = START
    for at in range(max(begin, end - _LONGEST), min(len(text), end + _LONGEST)):
        move = MOVES[state][kind_of(text[at])]
        if at >= end and move & BREAK:
            return at
        state = move & ~BREAK
    return min(len(text), end + _LONGEST)


def _checked_positive(name: str, value: float) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without types
        raise TypeError(f"{name} is a number, got {value!r}")
    if not isfinite(value) or value <= 0:
        raise ConfigError(f"{name} must be a positive number, got {value!r}")
    return value
