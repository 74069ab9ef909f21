"""`on_end`: what is to be done when a run is over, however it ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeAlias, cast

import msgspec

from streamkit.flow.fuse import refuse_awaitable
from streamkit.flow.observing import ObservedBoundary
from streamkit.flow.plan import Same, check_callable, describe, is_async_callable
from streamkit.flow.runs import Run
from streamkit.flow.strands import Strand

__all__ = ["Ended", "on_end"]

EndedAs: TypeAlias = Literal["done", "error", "left", "cancelled"]


class Ended(msgspec.Struct, frozen=True):
    """How a run ended.

    Attributes:
        status: "done" (the stream came to its end here), "error", "left" (its reader had enough) or "cancelled".
        error: What it failed with, or was cancelled by; None after an end, and for a reader who had enough.
        seconds: How long it ran, from the first request to its source; 0 if nobody asked.
        count: Items that came to this place; of a source that reads many at once, a read counts as a whole.
    """

    status: EndedAs
    error: BaseException | None = None
    seconds: float = 0.0
    count: int = 0


def on_end(fn: Callable[[Ended], object]) -> Same:
    """Call a function once when the run is over, however it ended.

    Args:
        fn: Called with an `Ended`, sync or async, when the source is closed. An async one has the close timeout of the
            stream, and is cancelled with the task that reads, as any clean-up is.

    Yields:
        The items, unchanged.

    Memory: two numbers.
    Cancellation: `fn` is told; the source is closed before.
    Raises:
        What `fn` raises, if nothing else is on its way.
        TypeError: no callable, at the call; at the end, a plain function that gives an awaitable.

    >>> run((stream(["a", "b"]) | on_end(lambda end: print(end.status, end.count))).collect())
    done 2
    ['a', 'b']
    """
    check_callable("on_end", fn)
    return Same(_EndBoundary(fn))


class _EndBoundary:
    """`on_end` in a plan."""

    __slots__ = ("_fn", "label")

    def __init__(self, fn: Callable[[Ended], object]) -> None:
        self.label = f"on_end({describe(fn)})"
        self._fn = fn

    def connect(self, strand: Strand, run: Run[Any]) -> Strand:
        ending = _Ending(self._fn)

        async def tell() -> None:
            await run.close_one(self.label, ending.tell)

        run.at_last(tell)
        return ObservedBoundary(self.label, lambda run: ending).connect(strand, run)


class _Ending:
    """One run on its way to its end: an observer."""

    __slots__ = ("_begun_at", "_count", "_ended", "_fn")

    def __init__(self, fn: Callable[[Ended], object]) -> None:
        self._fn = fn
        self._begun_at: float | None = None
        self._count = 0
        self._ended = Ended("left")

    def begin(self, now: float) -> None:
        self._begun_at = now

    def add(self, item: object, now: float) -> None:
        self._count += 1

    def add_many(self, items: list[Any], now: float) -> None:
        self._count += len(items)

    def end(self, error: Exception | None, now: float) -> None:
        self._set("done" if error is None else "error", error, now)

    def leave(self, cause: BaseException | None, now: float) -> None:
        if cause is None:
            self._set("left", None, now)
        else:
            self._set("error" if isinstance(cause, Exception) else "cancelled", cause, now)

    def _set(self, status: EndedAs, error: BaseException | None, now: float) -> None:
        seconds = 0.0 if self._begun_at is None else now - self._begun_at
        self._ended = Ended(status, error, seconds, self._count)

    def tell(self) -> Awaitable[object] | None:
        """Everything before it is closed."""
        ended, self._ended = self._ended, Ended("left")  # its error is not kept here, where a traceback may lead back to it
        told = self._fn(ended)
        if is_async_callable(self._fn):
            return cast("Awaitable[object]", told)
        refuse_awaitable(told, self._fn)
        return None
