"""What a token processor is: items in, items out, and no idea of tasks, clocks or wires.

A stage is fed by hand in a test, by a thread, by a notebook or by the fused loop of a stream; its
output must not depend on how the text was cut before it reached the stage.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

__all__ = ["Stage", "TimedStage"]

In = TypeVar("In")
Out = TypeVar("Out")


class Stage(Generic[In, Out]):
    """A sans-IO processor with a state of its own; each Run makes a new one.

    Subclasses give `feed`, and `flush` if they hold anything back. Setting `done` says that no
    further input can change anything: the stream ends there, and its source is closed.

    >>> class Pairs(Stage[int, tuple[int, int]]):
    ...     held: int | None = None
    ...     def feed(self, item):
    ...         if self.held is None:
    ...             self.held = item
    ...             return ()
    ...         pair, self.held = (self.held, item), None
    ...         return (pair,)
    >>> pairs = Pairs()
    >>> [*pairs.feed(1), *pairs.feed(2), *pairs.feed(3), *pairs.flush()]
    [(1, 2)]
    """

    done: bool = False

    def feed(self, item: In) -> Iterable[Out]:
        """Take one item; give what is determined by now, as early as it is."""
        raise NotImplementedError(f"{type(self).__name__}.feed")

    def flush(self) -> Iterable[Out]:
        """The input ended: give what was held back."""
        return ()

    def abort(self) -> Iterable[Out]:
        """The input failed: give what may still be given. By default all of `flush`."""
        return self.flush()


class TimedStage(Generic[In, Out]):
    """A stage for which time is an input: it says when it wants to be woken, and is.

    `deadline` is the time (in the seconds of `now`) at which `fire` should be called, or None.
    The host calls `fire` at or soon after it, never before, and never while the reader has no room.
    """

    deadline: float | None = None
    done: bool = False

    def feed(self, item: In, now: float) -> Iterable[Out]:
        """Take one item that arrived at `now`."""
        raise NotImplementedError(f"{type(self).__name__}.feed")

    def fire(self, now: float) -> Iterable[Out]:
        """The deadline has passed: give what it was for, and move or clear it."""
        raise NotImplementedError(f"{type(self).__name__}.fire")

    def flush(self) -> Iterable[Out]:
        """The input ended: give what was held back."""
        return ()

    def abort(self) -> Iterable[Out]:
        """The input failed: give what may still be given. By default all of `flush`."""
        return self.flush()
