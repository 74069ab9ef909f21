"""Operators over several streams."""

from __future__ import annotations

from typing import Any, TypeVar

from streamkit.errors import ConfigError
from streamkit.flow.channel import Channel
from streamkit.flow.plan import check_count
from streamkit.flow.runs import Run
from streamkit.flow.sources import Feed, Source
from streamkit.flow.streams import Stream, stream

__all__ = ["merge"]

T = TypeVar("T")

MERGE_ITEMS = 64


def merge(*streams: Stream[T], size: int = MERGE_ITEMS) -> Stream[T]:
    """Several streams as one, each item as it comes.

    Args:
        streams: At least one; anything that `sk.stream` takes. Each is read in a task of its own.
        size: Most items held for the reader, at least 1.

    Yields:
        All items; those of one stream in their order. An error comes behind the items of its own
        stream; the other streams are closed before it is raised.

    Memory: `size` items and one per stream.
    Cancellation: all sources are closed, each in its own task, before control returns.
    Raises:
        ConfigError, TypeError: no streams, or no size, at the call.

    >>> sorted(run(merge(stream([1, 2]), stream([3])).collect()))
    [1, 2, 3]
    """
    if not streams:
        raise ConfigError("merge() needs at least one stream")
    check_count("merge", "size", size, 1)
    plans = [stream(one).plan for one in streams]
    repeatable = all(source.repeatable for source, _ in plans)
    label = f"merge({', '.join(source.label for source, _ in plans)})"

    def open_feed(run: Run[Any]) -> Feed:
        channel: Channel[Any] = Channel(size)
        gate = _LastOne(channel, len(plans))
        for source, parts in plans:
            pump = run.pump(run.strand(source, parts), channel, source.label)
            pump.finish = gate.finish
        return Feed(channel, shape="drains", closers=[(label, channel.close)])

    return Stream(Source(label, open_feed, repeatable=repeatable, inner=tuple(plans)))


class _LastOne:
    """Ends a channel when the last of its writers has ended."""

    def __init__(self, channel: Channel[Any], writers: int) -> None:
        self._channel = channel
        self._left = writers

    def finish(self, error: BaseException | None) -> None:
        self._left -= 1
        if error is not None:
            self._channel.fail(error)
        if not self._left:
            self._channel.end()
