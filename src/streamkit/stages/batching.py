"""Items gathered into lists: by number, weight, a boundary among them, or time.

A list is given the moment it is complete. With `within`, a list that is not complete is given `within`
seconds after its FIRST item, however many followed: nothing waits longer than that, and a trickle
of items cannot put it off. The time is counted from the item's arrival, so two lists never share a
clock, and an empty list is never given.

`Batch` and `WeighedBatch` know nothing of time; `TimedBatch` puts one of them beside a clock (`streamkit.stages.stage`).
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import iscoroutine
from math import isfinite
from typing import TypeVar, final

from streamkit.errors import ConfigError
from streamkit.stages.stage import Stage, TimedStage

__all__ = ["Batch", "TimedBatch", "WeighedBatch"]

T = TypeVar("T")


@final
class Batch(Stage[T, list[T]]):
    """Lists of `size` items; the last may be short.

    Attributes:
        held: The list that is not complete.

    Memory: at most `size` items.

    >>> batch = Batch[int](2)
    >>> [*batch.feed(1), *batch.feed(2), *batch.feed(3), *batch.flush()]
    [[1, 2], [3]]
    """

    state = ("held",)

    def __init__(self, size: int) -> None:
        """Raises ConfigError if `size` is below 1, TypeError if it is no int."""
        self.size = _checked_size(size)
        self.held: list[T] = []

    def feed(self, item: T) -> tuple[list[T], ...]:
        """The list that this item fills."""
        self.held.append(item)
        return self.flush() if len(self.held) >= self.size else ()

    def flush(self) -> tuple[list[T], ...]:
        """The short rest, if there is one."""
        if not self.held:
            return ()
        full, self.held = self.held, []
        return (full,)


@final
class WeighedBatch(Stage[T, list[T]]):
    """Lists that weigh at most `max_weight`, or end with an item of which `until` is true.

    An item that weighs more than `max_weight` by itself makes a list of its own.

    Args:
        size: Most items per list, whatever they weigh.
        weigh: What an item weighs: a number, not below 0. None with `max_weight` None.
        max_weight: Most that a list weighs.
        until: Asked of each item, once: whether its list ends with it.

    Attributes:
        held: The list that is not complete.

    Memory: `size` items of together `max_weight`, or one that weighs more.

    >>> batch = WeighedBatch[str](100, weigh=len, max_weight=4)
    >>> [*batch.feed("ab"), *batch.feed("cde"), *batch.feed("f"), *batch.feed("much more")]
    [['ab'], ['cde', 'f'], ['much more']]
    """

    state = ("held", "_weight")

    def __init__(
        self,
        size: int,
        *,
        weigh: Callable[[T], float] | None = None,
        max_weight: float | None = None,
        until: Callable[[T], object] | None = None,
    ) -> None:
        """Raises ConfigError for numbers that are not positive, or of weigh and max_weight only one; TypeError for others."""
        self.size = _checked_size(size)
        if (weigh is None) != (max_weight is None):
            raise ConfigError("weigh and max_weight belong together: give both or neither")
        self._weigh = weigh
        self._max_weight = 0.0 if max_weight is None else _checked_positive("max_weight", "weight", max_weight)
        self._until = until
        self.held: list[T] = []
        self._weight = 0.0

    def feed(self, item: T) -> tuple[list[T], ...]:
        """The list before this item, if it does not go with it, and the list that it completes."""
        # Asked before anything is changed: an item whose question fails is not in a list.
        weight = 0.0 if self._weigh is None else _weight(self._weigh(item))
        last = self._until is not None and _answer(self._until(item))
        before: tuple[list[T], ...] = ()
        if self._weigh is not None:
            if self._weight + weight > self._max_weight:
                before = self.flush()
            self._weight += weight
            last = last or self._weight >= self._max_weight
        self.held.append(item)
        if last or len(self.held) >= self.size:
            return (*before, *self.flush())
        return before

    def flush(self) -> tuple[list[T], ...]:
        """The rest, if there is one."""
        self._weight = 0.0
        if not self.held:
            return ()
        full, self.held = self.held, []
        return (full,)


@final
class TimedBatch(TimedStage[T, list[T]]):
    """Lists given when they are complete, or `within` seconds after their first item.

    An item that arrives at the deadline or later belongs to the next list, even if the host has
    not called `fire` yet: the result depends on the times of the items alone, not on the host's haste.

    Args:
        batch: What says when a list is complete; or a number of items.
        within: Seconds.

    Memory: that of `batch`.

    >>> batch = TimedBatch[str](3, within=0.5)
    >>> batch.feed("a", 1.0), batch.deadline
    ((), 1.5)
    >>> batch.feed("b", 1.4), batch.fire(1.5), batch.deadline
    ((), (['a', 'b'],), None)
    """

    def __init__(self, batch: Batch[T] | WeighedBatch[T] | int, within: float) -> None:
        """Raises ConfigError if a number of items is below 1 or `within` not a positive time, TypeError if they are no numbers."""
        self._batch = batch if isinstance(batch, Batch | WeighedBatch) else Batch[T](batch)
        self._within = _checked_positive("within", "seconds", within)

    def feed(self, item: T, now: float) -> tuple[list[T], ...]:
        """The list whose time is over before this item, and the lists that this item completes."""
        given = self.fire(now)
        completed = self._batch.feed(item)
        if not self._batch.held:
            self.deadline = None
        elif completed or self.deadline is None:
            self.deadline = now + self._within
        return (*given, *completed)

    def ready(self, now: Callable[[], float], feed: Callable[[T], object]) -> Callable[[T], object]:
        """An item that neither begins a list nor fills one is appended."""
        batch = self._batch
        if not isinstance(batch, Batch):
            return feed
        last = batch.size - 1

        def offer(item: T) -> None:
            held = batch.held
            if 0 < len(held) < last and now() < self.deadline:  # type: ignore[operator]  # what holds something has one
                held.append(item)
            else:
                feed(item)

        return offer

    def fire(self, now: float) -> tuple[list[T], ...]:
        """What is held, if its time is over; nothing before."""
        return self.flush() if self.deadline is not None and now >= self.deadline else ()

    def flush(self) -> tuple[list[T], ...]:
        """What is held, now."""
        self.deadline = None
        return self._batch.flush()


def _weight(weight: object) -> float:
    if isinstance(weight, int | float) and weight >= 0:
        return weight
    if iscoroutine(weight):
        weight.close()
    raise TypeError(f"an item's weight is a number, 0 or more, got {weight!r}")


def _answer(answer: object) -> bool:
    if iscoroutine(answer):
        answer.close()
        raise TypeError("until returned a coroutine: it is called between two items, and cannot be awaited")
    return bool(answer)


def _checked_size(size: int) -> int:
    if not isinstance(size, int) or isinstance(size, bool):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without types
        raise TypeError(f"size is a number of items, got {size!r}")
    if size < 1:
        raise ConfigError(f"size must be at least 1, got {size}")
    return size


def _checked_positive(name: str, unit: str, value: float) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without types
        raise TypeError(f"{name} is a number of {unit}, got {value!r}")
    if not isfinite(value) or value <= 0:
        raise ConfigError(f"{name} must be a positive number of {unit}, got {value!r}")
    return value
