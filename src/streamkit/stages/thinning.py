"""Three ways to thin out a stream by time: `Debounce`, `Throttle`, `Sample`. Each keeps the newest item only.

What they share, and what they never do:

* An item is superseded by a newer one, and by nothing else: the last is given at the end of the input at the latest.
* A control event (`events.is_control`) is never held, superseded or late. What is held is given before it,
  and order is kept.
* Where deltas of events were superseded a `Gap` tells how many, in their place. Other items go without a trace.

All are told the time, and depend on the times of the items alone (`streamkit.stages.stage`).
"""

from __future__ import annotations

from collections.abc import Callable
from math import floor, isfinite
from typing import Any, TypeVar, final

from streamkit.errors import ConfigError
from streamkit.events.model import EVENT_TYPES, DataDelta, Gap, TextDelta, is_control
from streamkit.stages.stage import TimedStage

__all__ = ["Debounce", "Sample", "Throttle"]

T = TypeVar("T")

_EVENTS = frozenset(EVENT_TYPES)

# Of these every one is a delta; of reasoning some are proofs, which are control events.
_DELTAS = frozenset({TextDelta, DataDelta})

_NOTHING: Any = object()


class _Thinning(TimedStage[T, T]):
    """What is held, and how many deltas it superseded."""

    def __init__(self, seconds: float) -> None:
        """Raises ConfigError if `seconds` is not a positive time, TypeError if it is no number."""
        if not isinstance(seconds, (int, float)) or isinstance(seconds, bool):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without types
            raise TypeError(f"a time is a number of seconds, got {seconds!r}")
        if not isfinite(seconds) or seconds <= 0:
            raise ConfigError(f"a time must be a positive number of seconds, got {seconds!r}")
        self._seconds = seconds
        self._held: T = _NOTHING
        self._dropped = 0
        # What the next item may be of to take the held one's place without more ado, and whether that leaves a gap.
        self._kind: type[Any] | None = None
        self._gap = 0

    def _hold(self, item: T) -> None:
        if self._held is not _NOTHING and self._held.__class__ in _EVENTS:
            self._dropped += 1
        self._held = item
        kind: type[Any] = item.__class__
        self._gap = int(kind in _DELTAS)
        self._kind = kind if self._gap or kind not in _EVENTS else None

    def _take(self) -> tuple[Any, ...]:
        """What is held, behind its gap; nothing is held any more."""
        held, self._held = self._held, _NOTHING
        dropped, self._dropped = self._dropped, 0
        self._kind = self.deadline = None
        given = () if held is _NOTHING else (held,)
        return (Gap(dropped), *given) if dropped else given

    def flush(self) -> tuple[T, ...]:
        """What is held, now."""
        return self._take()


@final
class Debounce(_Thinning[T]):
    """The newest item, once nothing came for `seconds`.

    Memory: one item.

    >>> debounce = Debounce[str](0.5)
    >>> debounce.feed("a", 1.0), debounce.feed("ab", 1.25), debounce.deadline
    ((), (), 1.75)
    >>> debounce.fire(1.75), debounce.deadline
    (('ab',), None)
    """

    def feed(self, item: T, now: float) -> tuple[T, ...]:
        """A control event, and what was held before it."""
        if is_control(item):
            return (*self._take(), item)
        self._hold(item)
        self.deadline = now + self._seconds
        return ()

    def ready(self, now: Callable[[], float], feed: Callable[[T], object]) -> Callable[[T], object]:
        """An item that takes the place of one of its kind."""
        seconds = self._seconds

        def offer(item: T) -> None:
            if item.__class__ is self._kind:
                time = now()
                if time < self.deadline:  # type: ignore[operator]  # what holds something has one
                    self._held = item
                    self._dropped += self._gap
                    self.deadline = time + seconds
                    return
            feed(item)

        return offer

    def fire(self, now: float) -> tuple[T, ...]:
        """The silence has lasted long enough."""
        return self._take() if self.deadline is not None and now >= self.deadline else ()


@final
class Throttle(_Thinning[T]):
    """At most one item in `seconds`: the first at once, then the newest at the end of each period that had more.

    Args:
        seconds: The least time between two items.
        trailing: Whether a period ends with the newest of its items; else they are dropped, and the next one
            after it is given at once.

    A control event counts for nothing, but for what it makes give early.

    Memory: one item.

    >>> throttle = Throttle[str](1.0)
    >>> throttle.feed("a", 5.0), throttle.feed("b", 5.2), throttle.feed("c", 5.4), throttle.deadline
    (('a',), (), (), 6.0)
    >>> throttle.fire(6.0), throttle.feed("d", 6.9), throttle.deadline
    (('c',), (), 7.0)
    """

    def __init__(self, seconds: float, *, trailing: bool = True) -> None:
        """Raises ConfigError if `seconds` is not a positive time, TypeError if it is no number."""
        super().__init__(seconds)
        self._trailing = trailing
        self._free_at = float("-inf")

    def feed(self, item: T, now: float) -> tuple[T, ...]:
        """The first item of a period, or a control event with what was held before it."""
        if is_control(item):
            if self._held is not _NOTHING:
                self._free_at = now + self._seconds
            return (*self._take(), item)
        if now >= self._free_at:
            self._free_at = now + self._seconds
            return (*self._take(), item)
        if self._trailing:
            self._hold(item)
            self.deadline = self._free_at
        elif item.__class__ in _EVENTS:
            self._dropped += 1
        return ()

    def ready(self, now: Callable[[], float], feed: Callable[[T], object]) -> Callable[[T], object]:
        """An item that takes the place of one of its kind."""

        def offer(item: T) -> None:
            if item.__class__ is self._kind and now() < self._free_at:
                self._held = item
                self._dropped += self._gap
            else:
                feed(item)

        return offer

    def fire(self, now: float) -> tuple[T, ...]:
        """The period is over: its newest item, which begins another."""
        if self.deadline is None or now < self.deadline:
            return ()
        self._free_at = now + self._seconds
        return self._take()


@final
class Sample(_Thinning[T]):
    """The newest item at each tick, if there is one; the ticks are `seconds` apart, counted from the first item.

    An item that comes at a tick waits for the next one.

    Memory: one item.

    >>> sample = Sample[str](1.0)
    >>> sample.feed("a", 5.0), sample.feed("b", 5.5), sample.deadline, sample.fire(6.0)
    ((), (), 6.0, ('b',))
    >>> sample.feed("c", 8.25), sample.deadline
    ((), 9.0)
    """

    def __init__(self, seconds: float) -> None:
        """Raises ConfigError if `seconds` is not a positive time, TypeError if it is no number."""
        super().__init__(seconds)
        self._first: float | None = None

    def feed(self, item: T, now: float) -> tuple[T, ...]:
        """A control event, and what was held before it."""
        if is_control(item):
            return (*self._take(), item)
        if self._first is None:
            self._first = now
        self._hold(item)
        if self.deadline is None:
            self.deadline = self._tick_after(self._first, now)
        return ()

    def _tick_after(self, first: float, now: float) -> float:
        ticks = floor((now - first) / self._seconds) + 1
        tick = first + ticks * self._seconds
        return tick if tick > now else first + (ticks + 1) * self._seconds

    def ready(self, now: Callable[[], float], feed: Callable[[T], object]) -> Callable[[T], object]:
        """An item that takes the place of one of its kind."""

        def offer(item: T) -> None:
            if item.__class__ is self._kind and now() < self.deadline:  # type: ignore[operator]  # what holds something has one
                self._held = item
                self._dropped += self._gap
            else:
                feed(item)

        return offer

    def fire(self, now: float) -> tuple[T, ...]:
        """A tick."""
        return self._take() if self.deadline is not None and now >= self.deadline else ()
