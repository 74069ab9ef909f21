"""Operators that choose how much of a stream there is: take, skip, take_while."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from streamkit.flow.plan import Op, Same, Step, check_count, step_of

__all__ = ["skip", "take", "take_while"]

T = TypeVar("T")


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


def take_while(fn: Callable[[T], object]) -> Op[T, T]:
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
    return Op(step_of("take_while", "take_while", fn))
