"""Operators that choose what of a stream there is: by count, by a test, by what came before; and what stands at its edges."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload

from streamkit.flow.plan import DISTINCT_ITEMS, Same, Step, changes_step, check_count, distinct_step, start_with_step, step_of
from streamkit.flow.shaped import Keeps, Widens
from streamkit.stages.limiting import Limit, utf8_bytes

__all__ = ["changes", "default_if_empty", "distinct", "drop_while", "limit_bytes", "skip", "start_with", "take", "take_while"]


T = TypeVar("T")
U = TypeVar("U")


def take(count: int) -> Same:
    """The first `count` items, then the end.

    Args:
        count: How many, at least 0. Nothing is asked of the source beyond them.

    Yields:
        At most `count` items; the source is closed with the last.

    Memory: nothing.
    Cancellation: the source is closed.
    Raises:
        ConfigError, TypeError: a count below 0 or none at all, at the call.

    >>> run((stream([1, 2, 3]) | take(2)).collect())
    [1, 2]
    """
    check_count("take", "count", count, 0)
    return Same(Step("take", f"take({count})", count))


def skip(count: int) -> Same:
    """All but the first `count` items.

    Args:
        count: How many to leave out, at least 0.

    Yields:
        The rest.

    Memory: nothing.
    Cancellation: the source is closed.
    Raises:
        ConfigError, TypeError: a count below 0 or none at all, at the call.

    >>> run((stream([1, 2, 3]) | skip(2)).collect())
    [3]
    """
    check_count("skip", "count", count, 0)
    return Same(Step("skip", f"skip({count})", count))


def take_while(fn: Callable[[T], object]) -> Keeps[T]:
    """Items up to the first for which `fn(item)` is false, which ends the stream and is not given.

    Args:
        fn: A plain callable or a coroutine function.

    Yields:
        The items before it.

    Memory: one item.
    Cancellation: the source is closed.
    Raises:
        TypeError: not callable, at the call; or a plain callable returned an awaitable, at its first result.

    >>> run((stream([1, 2, 9, 1]) | take_while(lambda n: n < 5)).collect())
    [1, 2]
    """
    return Keeps(step_of("take_while", "take_while", fn))


def limit_bytes(most: int) -> Same:
    """End a stream that has become long enough, whatever its source would still say.

    Args:
        most: Bytes of content, at least 0: text as UTF-8, reasoning, arguments of tool calls, binary parts. Control
            events count nothing.

    Yields:
        The items; the one that reaches the limit is cut at it, between two characters. A stream of events then ends
        with `Finish("length", "limit_bytes")`; the source is closed.

    Memory: one number. For a limit in time see `sk.timeout(total=)`.
    Cancellation: the source is closed.
    Raises:
        ConfigError, TypeError: a limit below 0 or none at all, at the call.

    >>> run((stream(["to be ", "or not"]) | limit_bytes(8)).collect())
    ['to be ', 'or']
    """
    check_count("limit_bytes", "most", most, 0)
    return Same(Step("stage", f"limit_bytes({most})", lambda: Limit(most, utf8_bytes, "limit_bytes")))


def drop_while(fn: Callable[[T], object]) -> Keeps[T]:
    """Everything from the first item for which `fn(item)` is false.

    Args:
        fn: A plain callable or a coroutine function; not called again after that item.

    Yields:
        That item and all behind it.

    Memory: nothing.
    Cancellation: the source is closed.
    Raises:
        TypeError: not callable, at the call; or a plain callable returned an awaitable, at its first result.

    >>> run((stream(["", " ", "a", ""]) | drop_while(lambda text: not text.strip())).collect())
    ['a', '']
    """
    return Keeps(step_of("drop_while", "drop_while", fn))


@overload
def distinct(key: None = None, *, size: int = DISTINCT_ITEMS) -> Keeps[object]: ...
@overload
def distinct(key: Callable[[T], object], *, size: int = DISTINCT_ITEMS) -> Keeps[T]: ...
def distinct(key: Callable[[Any], object] | None = None, *, size: int = DISTINCT_ITEMS) -> Keeps[Any]:
    """Each item once.

    Args:
        key: What two items are compared by; the items themselves unless given. Hashable.
        size: How many of the latest different ones are remembered, at least 1: one that was forgotten counts as new.

    Yields:
        The items that are none of those remembered.

    Memory: `size` items or keys.
    Cancellation: the source is closed.
    Raises:
        ConfigError, TypeError: a size below 1, a key that cannot be called, at the call; something unhashable, when it comes.

    >>> run((stream([1, 2, 1, 3, 2]) | distinct()).collect())
    [1, 2, 3]
    """
    return Keeps(distinct_step(key, size))


@overload
def changes(key: None = None) -> Keeps[object]: ...
@overload
def changes(key: Callable[[T], object]) -> Keeps[T]: ...
def changes(key: Callable[[Any], object] | None = None) -> Keeps[Any]:
    """The items that differ from the one before them.

    Args:
        key: What two items are compared by; the items themselves unless given.

    Yields:
        The first item, and each that is not equal to the last one given.

    Memory: one item or key.
    Cancellation: the source is closed.
    Raises:
        TypeError: a key that cannot be called, at the call.

    >>> run((stream([1, 1, 2, 2, 1]) | changes()).collect())
    [1, 2, 1]
    """
    return Keeps(changes_step(key))


def start_with(*items: U) -> Widens[U]:
    """Some items first, then the stream.

    Args:
        items: Given before the source is asked for anything.

    Yields:
        These items, then all of the stream.

    Memory: the items.
    Cancellation: the source is closed.

    >>> run((stream(["b"]) | start_with("a")).collect())
    ['a', 'b']
    """
    return Widens(start_with_step(items))


def default_if_empty(item: U) -> Widens[U]:
    """One item where there would be none.

    Args:
        item: Given if the stream ends without having given anything; not if it fails.

    Yields:
        The items, or this one.

    Memory: one item.
    Cancellation: the source is closed.

    >>> run((stream([]) | default_if_empty("nothing")).collect())
    ['nothing']
    """
    return Widens(Step("default_if_empty", "default_if_empty()", item))
