"""Items in windows that slide over them, by number. (By time, `Batch` with a clock gives windows that touch.)"""

from __future__ import annotations

from typing import TypeVar, final

from streamkit.errors import ConfigError
from streamkit.stages.stage import Stage

__all__ = ["Window"]

T = TypeVar("T")


@final
class Window(Stage[T, tuple[T, ...]]):
    """The last `size` items, every `step` items.

    Args:
        size: Items in a window.
        step: How many items further the next window begins; with more than `size` some are in none.
        partial: Whether a window that the end of the input cuts short is given, if it has an item that no window had.

    Memory: `size` items.

    >>> window = Window[int](3, 2, partial=True)
    >>> [given for item in range(4) for given in window.feed(item)], window.flush()
    ([(0, 1, 2)], ((2, 3),))
    """

    state = ("_held", "_skip", "_fresh")

    def __init__(self, size: int, step: int = 1, *, partial: bool = False) -> None:
        """Raises ConfigError if `size` or `step` is below 1, TypeError if one is no int."""
        for name, value in (("size", size), ("step", step)):
            if value.__class__ is not int:
                raise TypeError(f"{name} is a number of items, got {value!r}")
            if value < 1:
                raise ConfigError(f"{name} must be at least 1, got {value}")
        self._size = size
        self._step = step
        self._partial = partial
        self._held: list[T] = []
        # Items that are in no window before the next one begins, and whether the newest held one was in none yet.
        self._skip = 0
        self._fresh = False

    def feed(self, item: T) -> tuple[tuple[T, ...], ...]:
        """The window that this item completes."""
        if self._skip:
            self._skip -= 1
            return ()
        held = self._held
        held.append(item)
        if len(held) < self._size:
            self._fresh = True
            return ()
        self._fresh = False
        window = tuple(held)
        del held[: self._step]
        self._skip = max(0, self._step - self._size)
        return (window,)

    def flush(self) -> tuple[tuple[T, ...], ...]:
        """What the end cut short."""
        held, self._held = self._held, []
        fresh, self._fresh = self._fresh, False
        return (tuple(held),) if self._partial and fresh else ()
