"""Operators that change items one by one: map, filter, flat_map, scan, tap, enumerate, pairwise, and two ways to write your own."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, Concatenate, ParamSpec, TypeVar, overload

from streamkit.flow.concurrent_map import concurrent_map_part
from streamkit.flow.plan import Op, Step, check_callable, describe, enumerate_step, step_of
from streamkit.flow.runs import Run
from streamkit.flow.shaped import Keeps, Numbers, Pairs
from streamkit.flow.strands import Strand
from streamkit.stages.stage import Stage

__all__ = ["enumerate", "filter", "flat_map", "map", "operator", "pairwise", "scan", "stage", "tap"]

T = TypeVar("T")
U = TypeVar("U")
P = ParamSpec("P")


@overload
def map(fn: Callable[[T], Awaitable[U]], *, concurrency: int = 1, ordered: bool = True) -> Op[T, U]: ...
@overload
def map(fn: Callable[[T], U]) -> Op[T, U]: ...
def map(fn: Callable[[Any], Any], *, concurrency: int = 1, ordered: bool = True) -> Op[Any, Any]:
    """Replace each item by `fn(item)`.

    Args:
        fn: A plain callable, or a coroutine function.
        concurrency: How many calls of a coroutine function run at once, each in a task of its own with the caller's context.
        ordered: Whether results keep the order of the items; else each is given as it comes.

    Yields:
        One result per item. A call that fails ends the stream behind the results before it; the other calls are cancelled
        and waited for before its error is seen.

    Memory: one item; with several calls at once, `concurrency` items and results, and one item more.
    Cancellation: reaches the coroutine functions where they wait; the source is closed.
    Raises:
        TypeError: not callable, at the call; or a plain callable returned an awaitable, at its first result.
        ConfigError: several calls at once of a plain callable, at the call.

    >>> run((stream([1, 2]) | map(str)).collect())
    ['1', '2']
    """
    return Op(concurrent_map_part(fn, concurrency, ordered))


def filter(fn: Callable[[T], object]) -> Keeps[T]:
    """Keep the items for which `fn(item)` is true.

    Args:
        fn: A plain callable or a coroutine function.

    Yields:
        The items kept, in order.

    Memory: one item.
    Cancellation: the source is closed.
    Raises:
        TypeError: not callable, at the call; or a plain callable returned an awaitable, at its first result.

    >>> run((stream(["a", "", "b"]) | filter(bool)).collect())
    ['a', 'b']
    """
    return Keeps(step_of("filter", "filter", fn))


@overload
def flat_map(fn: Callable[[T], AsyncIterable[U]]) -> Op[T, U]: ...
@overload
def flat_map(fn: Callable[[T], Awaitable[Iterable[U]]]) -> Op[T, U]: ...
@overload
def flat_map(fn: Callable[[T], Iterable[U]]) -> Op[T, U]: ...
def flat_map(fn: Callable[[Any], Any]) -> Op[Any, Any]:
    """Replace each item by all items of `fn(item)`, one after the other.

    Args:
        fn: Gives an iterable; or a coroutine function that does; or an async generator function,
            whose generators are closed before the next one begins.

    Yields:
        The items of each result, in order.

    Memory: one item and its iterable.
    Cancellation: an inner generator is closed, then the source.
    Raises:
        TypeError: not callable, at the call; or a result that cannot be looped over, when it comes.

    >>> run((stream(["a b", "c"]) | flat_map(str.split)).collect())
    ['a', 'b', 'c']
    """
    return Op(step_of("flat_map", "flat_map", fn))


@overload
def scan(fn: Callable[[U, T], Awaitable[U]], initial: U) -> Op[T, U]: ...
@overload
def scan(fn: Callable[[U, T], U], initial: U) -> Op[T, U]: ...
def scan(fn: Callable[[Any, Any], Any], initial: Any) -> Op[Any, Any]:
    """Fold the items, giving each intermediate value.

    Args:
        fn: Called as `fn(value, item)`; plain or a coroutine function.
        initial: The value before the first item; not given itself. Each Run begins with this very object.

    Yields:
        `fn(value, item)` for each item.

    Memory: the value.
    Cancellation: the source is closed.
    Raises:
        TypeError: not callable, at the call.

    >>> run((stream([1, 2, 3]) | scan(lambda total, n: total + n, 0)).collect())
    [1, 3, 6]
    """
    return Op(step_of("scan", "scan", fn, argument=(fn, initial)))


def tap(fn: Callable[[T], object]) -> Keeps[T]:
    """Call `fn(item)` for each item and pass the item on.

    Args:
        fn: A plain callable or a coroutine function; its result is ignored, its errors are not.

    Yields:
        The items, unchanged.

    Memory: one item.
    Cancellation: the source is closed.
    Raises:
        TypeError: not callable, at the call; or a plain callable returned an awaitable, at its first result.

    >>> run((stream(["a"]) | tap(print)).collect())
    a
    ['a']
    """
    return Keeps(step_of("tap", "tap", fn))


def enumerate(start: int = 0) -> Numbers:
    """Number the items.

    Args:
        start: The first number.

    Yields:
        `(number, item)`.

    Memory: one number.
    Cancellation: the source is closed.
    Raises:
        TypeError: a start that is no int, at the call.

    >>> run((stream(["a", "b"]) | enumerate(1)).collect())
    [(1, 'a'), (2, 'b')]
    """
    return Numbers(enumerate_step(start))


def pairwise() -> Pairs:
    """Each item together with the one before it.

    Yields:
        `(before, item)`, from the second item on.

    Memory: one item.
    Cancellation: the source is closed.

    >>> run((stream([1, 4, 9]) | pairwise()).map(lambda pair: pair[1] - pair[0]).collect())
    [3, 5]
    """
    return Pairs(Step("pairwise", "pairwise()", None))


def stage(make: Callable[[], Stage[T, U]]) -> Op[T, U]:
    """A token processor as an operator.

    Args:
        make: Makes a new stage for each Run: a class, or `lambda: MyStage(3)`.

    Yields:
        What `feed` gives, then what `flush` gives at the end.

    Memory: the stage's own.
    Cancellation: the stage is dropped, not flushed; the source is closed.
    Raises:
        TypeError: a stage instead of its maker (its state would be shared by Runs), at the call.

    >>> from streamkit.stages.batching import Batch
    >>> run((stream("abc"[i] for i in range(3)) | stage(lambda: Batch(2))).collect())
    [['a', 'b'], ['c']]
    """
    if isinstance(make, Stage):
        raise TypeError("stage() takes a maker, because each Run needs a stage of its own: stage(lambda: YourStage(...))")
    check_callable("stage", make)
    return Op(Step("stage", describe(make), make))


def operator(fn: Callable[Concatenate[AsyncIterator[T], P], AsyncIterator[U]]) -> Callable[P, Op[T, U]]:
    """An async generator function as an operator: the decorator for writing your own.

    The function's first parameter is the stream's iterator; the others become the operator's. It
    closes nothing: the Run does.

    >>> @operator
    ... async def every(items, n):
    ...     at = 0
    ...     async for item in items:
    ...         if at % n == 0:
    ...             yield item
    ...         at += 1
    >>> run((stream([1, 2, 3, 4, 5]) | every(2)).collect())
    [1, 3, 5]
    """
    if not inspect.isasyncgenfunction(fn):
        raise TypeError(
            f"@sk.operator decorates an async generator function, and {describe(fn)} is none: it needs `async def` and `yield`"
        )
    signature = inspect.signature(fn)

    @functools.wraps(fn)
    def make(*args: P.args, **kwargs: P.kwargs) -> Op[T, U]:
        signature.bind(None, *args, **kwargs)  # wrong arguments are said here, not at the first item
        return Op(_Generator(describe(fn), lambda items: fn(items, *args, **kwargs)))

    return make


class _Generator:
    """Somebody's async generator over the strand so far, in the same task."""

    own_task = False

    def __init__(self, label: str, make: Callable[[AsyncIterator[Any]], AsyncIterator[Any]]) -> None:
        self.label = label
        self._make = make

    def connect(self, strand: Strand, run: Run[Any]) -> Strand:
        strand.flatten()
        strand.wrap(self._make(strand.iterator), "items", self.label)
        return strand
