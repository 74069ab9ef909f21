"""Operators for a stream of streams: all of them in turn, several at once, or the newest alone."""

from __future__ import annotations

from streamkit.flow.flattened import MERGE_ITEMS, flatten_part, switch_part
from streamkit.flow.shaped import Flattens

__all__ = ["flatten", "switch"]


def flatten(*, concurrency: int = 1, size: int = MERGE_ITEMS) -> Flattens:
    """The items of the streams that a stream gives.

    Args:
        concurrency: Most inner streams read at once, at least 1; the outer source waits while so many run. 1 reads one
            after the other, in order, in the same task; more read each in a task of its own.
        size: Most items held for the reader where several are read at once, at least 1.

    Each item must be something that `sk.stream` takes. It is opened when its turn comes and closed before another
    takes its place.

    Yields:
        The items of the inner streams; those of one stream in their order.

    Memory: nothing with concurrency=1; else `size` items and one per inner stream.
    Cancellation: the outer source and all inner ones are closed, each in the task that read it.
    Raises:
        ConfigError, TypeError: no count, at the call; an item that is no stream, when it comes.
        An error of an inner stream: behind the items of its own; the others are closed before it is raised. An error of
        the outer one: behind the items of all streams that it gave.

    >>> run((stream([[1, 2], [3]]) | flatten()).collect())
    [1, 2, 3]
    """
    return Flattens(flatten_part(concurrency, size))


def switch() -> Flattens:
    """The items of the newest of the streams that a stream gives.

    When a new one comes the one before is told to leave at once; its clean-up goes on meanwhile, and is waited for at
    the end. What it gave and nobody has taken is dropped. Each item must be something that `sk.stream` takes.

    Yields:
        Items of one inner stream at a time; it ends when the outer stream and the newest inner one have ended.

    Memory: 16 items, and one per open stream: 16 are open at most, all but one of them in their clean-up; the outer
    source waits for one of those.
    Cancellation: the outer source and all inner ones are closed, each in the task that read it.
    Raises:
        TypeError: an item that is no stream, when it comes.
        An error of the newest inner stream ends all. One of the outer stream waits for the end of the newest inner one.
        Errors of one that was left are dropped.

    >>> run((stream([["a"], ["b", "c"]]) | switch()).collect())
    ['b', 'c']
    """
    return Flattens(switch_part())
