"""Items gathered into lists: by number, or by number and time.

A list is given the moment it is full. With `within`, a list that is not full is given `within`
seconds after its FIRST item, however many followed: nothing waits longer than that, and a trickle
of items cannot put it off. The time is counted from the item's arrival, so two lists never share a
clock, and an empty list is never given.

`Batch` knows nothing of time; `TimedBatch` is told it (`streamkit.stages.stage`).
"""

from __future__ import annotations

from math import isfinite
from typing import TypeVar, final

from streamkit.errors import ConfigError
from streamkit.stages.stage import Stage, TimedStage

__all__ = ["Batch", "TimedBatch"]

T = TypeVar("T")


@final
class Batch(Stage[T, list[T]]):
    """Lists of `size` items; the last may be short.

    Memory: at most `size` items.

    >>> batch = Batch[int](2)
    >>> [*batch.feed(1), *batch.feed(2), *batch.feed(3), *batch.flush()]
    [[1, 2], [3]]
    """

    state = ("_held",)

    def __init__(self, size: int) -> None:
        """Raises ConfigError if `size` is below 1, TypeError if it is no int."""
        self._size = _checked_size(size)
        self._held: list[T] = []

    def feed(self, item: T) -> tuple[list[T], ...]:
        """The list that this item fills."""
        self._held.append(item)
        return self.flush() if len(self._held) >= self._size else ()

    def flush(self) -> tuple[list[T], ...]:
        """The short rest, if there is one."""
        if not self._held:
            return ()
        full, self._held = self._held, []
        return (full,)


@final
class TimedBatch(TimedStage[T, list[T]]):
    """Lists of 1 to `size` items, each given when full or `within` seconds after its first item.

    An item that arrives at the deadline or later belongs to the next list, even if the host has
    not called `fire` yet: the result depends on the times of the items alone, not on the host's haste.

    Memory: at most `size` items.

    >>> batch = TimedBatch[str](3, within=0.5)
    >>> batch.feed("a", 1.0), batch.deadline
    ((), 1.5)
    >>> batch.feed("b", 1.4), batch.fire(1.5), batch.deadline
    ((), (['a', 'b'],), None)
    """

    def __init__(self, size: int, within: float) -> None:
        """Raises ConfigError if `size` is below 1 or `within` not a positive time, TypeError if they are no numbers."""
        self._size = _checked_size(size)
        self._within = _checked_seconds(within)
        self._held: list[T] = []

    def feed(self, item: T, now: float) -> tuple[list[T], ...]:
        """The list whose time is over before this item, and the list that this item fills."""
        overdue: tuple[list[T], ...] = self.flush() if self.deadline is not None and now >= self.deadline else ()
        self._held.append(item)
        if len(self._held) >= self._size:
            return (*overdue, *self.flush())
        if self.deadline is None:
            self.deadline = now + self._within
        return overdue

    def fire(self, now: float) -> tuple[list[T], ...]:
        """What is held, if its time is over; nothing before."""
        return self.flush() if self.deadline is not None and now >= self.deadline else ()

    def flush(self) -> tuple[list[T], ...]:
        """What is held, now."""
        self.deadline = None
        if not self._held:
            return ()
        full, self._held = self._held, []
        return (full,)


def _checked_size(size: int) -> int:
    if not isinstance(size, int) or isinstance(size, bool):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without types
        raise TypeError(f"size is a number of items, got {size!r}")
    if size < 1:
        raise ConfigError(f"size must be at least 1, got {size}")
    return size


def _checked_seconds(within: float) -> float:
    if not isinstance(within, (int, float)) or isinstance(within, bool):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without types
        raise TypeError(f"within is a number of seconds, got {within!r}")
    if not isfinite(within) or within <= 0:
        raise ConfigError(f"within must be a positive number of seconds, got {within!r}")
    return within
