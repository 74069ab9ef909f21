"""Operators that choose how much of a stream there is: take, skip, take_while, limit_bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from streamkit.flow.plan import Op, Same, Step, check_count, step_of
from streamkit.stages.limiting import Limit, utf8_bytes

__all__ = ["limit_bytes", "skip", "take", "take_while"]

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
