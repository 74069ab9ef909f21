"""Operators over several streams: as they come, one after the other, in turn, in rows."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial
from typing import Any, TypeVar, overload

from streamkit.errors import ConfigError
from streamkit.flow.channel import ENDED, NOT_YET, Channel
from streamkit.flow.flattened import MERGE_ITEMS
from streamkit.flow.plan import Op, check_count
from streamkit.flow.runs import Run
from streamkit.flow.siblings import Given, Plan, close_unbegun, combined, label_of, plans_of
from streamkit.flow.sources import Feed
from streamkit.flow.strands import OwnLimits
from streamkit.flow.streams import Stream, stream
from streamkit.operators.flattening import flatten

__all__ = ["combine_latest", "concat", "interleave", "merge", "zip"]

# Items of each stream that `zip` and `interleave` read ahead: with one, each item is a switch of tasks, 5 us.
AHEAD = 16

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")


@overload
def merge(*streams: Given[T], size: int = MERGE_ITEMS) -> Stream[T]: ...
@overload
def merge(streams: Given[Given[T]], /, *, concurrency: int, size: int = MERGE_ITEMS) -> Stream[T]: ...
def merge(*streams: Any, concurrency: int | None = None, size: int = MERGE_ITEMS) -> Stream[Any]:
    """Several streams as one, each item as it comes.

    Args:
        streams: At least one; anything that `sk.stream` takes. Each is read in a task of its own.
        concurrency: Given with one stream, whose items are the streams to merge: most of them read at once, as in
            `sk.flatten`.
        size: Most items held for the reader, at least 1.

    Yields:
        All items; those of one stream in their order. An error comes behind the items of its own
        stream; the other streams are closed before it is raised.

    Memory: `size` items and one per stream.
    Cancellation: all sources are closed, each in its own task, before control returns.
    Raises:
        ConfigError, TypeError: no streams, one twice that can be read only once, or no size, at the call.

    >>> sorted(run(merge(stream([1, 2]), stream([3])).collect()))
    [1, 2, 3]
    """
    check_count("merge", "size", size, 1)
    if concurrency is not None:
        if len(streams) != 1:
            raise ConfigError(f"merge(concurrency=...) takes one stream, whose items are the streams, got {len(streams)}")
        check_count("merge", "concurrency", concurrency, 1)
        op: Op[Any, Any] = flatten(concurrency=concurrency, size=size)
        return stream(streams[0]) | op
    plans = plans_of("merge", streams)

    def open_feed(run: Run[Any]) -> Feed:
        channel: Channel[Any] = Channel(size)
        gate = _LastOne(channel, len(plans))
        for source, parts in plans:
            pump = run.pump(run.strand(source, parts), channel, source.label)
            pump.finish = gate.finish
        return Feed(channel, shape="drains", closers=[("merge()", channel.close)])

    return combined("merge", plans, open_feed)


def concat(*streams: Given[T]) -> Stream[T]:
    """Streams one after the other.

    Args:
        streams: At least one; anything that `sk.stream` takes. Each is opened when the one before it is closed, and
            read in the same task.

    Yields:
        All of the first, then all of the second, and so on. An error ends it: the streams behind are not begun.

    Memory: nothing.
    Cancellation: the stream that is read is closed; those behind it are not begun, and closed if they were open when
        they were given.
    Raises:
        ConfigError, TypeError: no streams, or one twice that can be read only once, at the call.

    >>> run(concat(stream([1, 2]), stream([3])).collect())
    [1, 2, 3]
    """
    plans = plans_of("concat", streams)

    def open_feed(run: Run[Any]) -> Feed:
        rest = deque(plans)
        batches = _one_after_the_other(run, rest)
        return Feed(
            batches,
            shape="lists",
            closers=[("what was not begun", lambda: close_unbegun(run, tuple(rest))), ("concat()", OwnLimits(batches.aclose))],
        )

    return combined("concat", plans, open_feed)


async def _one_after_the_other(run: Run[Any], rest: deque[Plan]) -> AsyncGenerator[list[Any]]:
    while rest:
        inner = run.inside(*rest.popleft())
        try:
            async for batch in inner.lists():
                yield batch
        finally:
            await inner.aclose()


def interleave(*streams: Given[T]) -> Stream[T]:
    """One item of each stream in turn.

    Args:
        streams: At least one; anything that `sk.stream` takes. Each is read in a task of its own.

    Yields:
        The first item of each, then the second of each, and so on; a stream that has ended drops out. Each waits for
        its turn, and so does its error, whatever the others have ready.

    Memory: 17 items per stream, read ahead.
    Cancellation: all sources are closed, each in its own task.
    Raises:
        ConfigError, TypeError: no streams, or one twice that can be read only once, at the call.

    >>> run(interleave(stream([1, 2, 3]), stream(["a"])).collect())
    [1, 'a', 2, 3]
    """
    return _side_by_side("interleave", streams, _turns)


async def _turns(channels: Sequence[Channel[Any]], run: Run[Any]) -> AsyncGenerator[Any]:
    waiter = run.backend.waiter()
    rest = deque(channels)
    while rest:
        channel = rest[0]
        item = channel.take()
        if item is NOT_YET:
            channel.park(waiter)
            await waiter.wait()
        elif item is ENDED:
            rest.popleft()
        else:
            yield item
            rest.rotate(-1)


@overload
def zip(one: Given[A], /, *, strict: bool = False) -> Stream[tuple[A]]: ...
@overload
def zip(one: Given[A], two: Given[B], /, *, strict: bool = False) -> Stream[tuple[A, B]]: ...
@overload
def zip(one: Given[A], two: Given[B], three: Given[C], /, *, strict: bool = False) -> Stream[tuple[A, B, C]]: ...
@overload
def zip(one: Given[A], two: Given[B], three: Given[C], four: Given[D], /, *, strict: bool = False) -> Stream[tuple[A, B, C, D]]: ...
@overload
def zip(
    one: Given[A], two: Given[B], three: Given[C], four: Given[D], five: Given[E], /, *, strict: bool = False
) -> Stream[tuple[A, B, C, D, E]]: ...
@overload
def zip(*streams: Given[T], strict: bool = False) -> Stream[tuple[T, ...]]: ...
def zip(*streams: Given[Any], strict: bool = False) -> Stream[tuple[Any, ...]]:
    """Rows of one item of each stream.

    Args:
        streams: At least one; anything that `sk.stream` takes. Each is read in a task of its own.
        strict: Whether all must have the same number of items.

    Yields:
        Tuples, in the order of the streams. It ends as soon as one stream has ended, and the others are closed.

    Memory: 18 items per stream: one in the row that is being filled, 17 read ahead.
    Cancellation: all sources are closed, each in its own task.
    Raises:
        ConfigError, TypeError: no streams, or one twice that can be read only once, at the call.
        ConfigError (a ValueError, as of the builtin): with strict, when one stream has ended and another goes on.
        An error of a stream: behind the rows that were whole, as soon as it happens.

    >>> run(zip(stream([1, 2, 3]), stream(["a", "b"])).collect())
    [(1, 'a'), (2, 'b')]
    """
    return _side_by_side("zip", streams, lambda channels, run: _rows(channels, run, strict))


async def _rows(channels: Sequence[Channel[Any]], run: Run[Any], strict: bool) -> AsyncGenerator[tuple[Any, ...]]:
    waiter = run.backend.waiter()
    numbered = list(enumerate(channels))
    empty = [NOT_YET] * len(channels)
    count = 0
    while True:
        row = empty.copy()
        missing = numbered
        while missing:
            for at, channel in missing:
                row[at] = channel.take()
            ended = [at for at, item in enumerate(row) if item is ENDED]
            if ended:
                given = [at for at, item in enumerate(row) if item is not ENDED and item is not NOT_YET]
                if strict and given:
                    raise ConfigError(
                        f"zip(strict=True): stream {ended[0] + 1} has ended after {count} items, and stream {given[0] + 1} goes on"
                    )
                if not strict or len(ended) == len(row):
                    return
            missing = [(at, channel) for at, channel in missing if row[at] is NOT_YET]
            if missing:
                for _, channel in missing:
                    channel.park(waiter)
                await waiter.wait()
        count += 1
        yield tuple(row)


@overload
def combine_latest(one: Given[A], /, *, size: int = MERGE_ITEMS) -> Stream[tuple[A]]: ...
@overload
def combine_latest(one: Given[A], two: Given[B], /, *, size: int = MERGE_ITEMS) -> Stream[tuple[A, B]]: ...
@overload
def combine_latest(one: Given[A], two: Given[B], three: Given[C], /, *, size: int = MERGE_ITEMS) -> Stream[tuple[A, B, C]]: ...
@overload
def combine_latest(
    one: Given[A], two: Given[B], three: Given[C], four: Given[D], /, *, size: int = MERGE_ITEMS
) -> Stream[tuple[A, B, C, D]]: ...
@overload
def combine_latest(
    one: Given[A], two: Given[B], three: Given[C], four: Given[D], five: Given[E], /, *, size: int = MERGE_ITEMS
) -> Stream[tuple[A, B, C, D, E]]: ...
@overload
def combine_latest(*streams: Given[T], size: int = MERGE_ITEMS) -> Stream[tuple[T, ...]]: ...
def combine_latest(*streams: Given[Any], size: int = MERGE_ITEMS) -> Stream[tuple[Any, ...]]:
    """The newest item of each stream, whenever one of them has a new one.

    Args:
        streams: At least one; anything that `sk.stream` takes. Each is read in a task of its own.
        size: Most tuples held for the reader, at least 1.

    Yields:
        A tuple, in the order of the streams, for each item, once every stream has given one. It ends when all have
        ended, or one has without an item.

    Memory: `size` tuples, and one item and one tuple per stream.
    Cancellation: all sources are closed, each in its own task.
    Raises:
        ConfigError, TypeError: no streams, one twice that can be read only once, or no size, at the call.

    >>> run(combine_latest(stream(["a"]), stream([1, 2])).collect())
    [('a', 1), ('a', 2)]
    """
    check_count("combine_latest", "size", size, 1)
    plans = plans_of("combine_latest", streams)

    def open_feed(run: Run[Any]) -> Feed:
        channel: Channel[Any] = Channel(size)
        gate = _LastOne(channel, len(plans))
        newest = _Latest(channel, gate, len(plans))
        for at, (source, parts) in enumerate(plans):
            pump = run.pump(run.strand(source, parts), channel, source.label)
            pump.offer = partial(newest.offer, at)
            pump.finish = partial(newest.finish, at)
        return Feed(channel, shape="drains", closers=[("combine_latest()", channel.close)])

    return combined("combine_latest", plans, open_feed)


class _Latest:
    """The newest items, and the tuples of them."""

    def __init__(self, channel: Channel[Any], gate: _LastOne, count: int) -> None:
        self._channel = channel
        self._gate = gate
        self._newest: list[Any] = [NOT_YET] * count
        self._missing = count

    def offer(self, at: int, item: Any) -> None:
        newest = self._newest
        if self._missing and newest[at] is NOT_YET:
            self._missing -= 1
        newest[at] = item
        if not self._missing:
            self._channel.buffer.append(tuple(newest))

    def finish(self, at: int, error: BaseException | None) -> None:
        self._gate.finish(error)
        if self._newest[at] is NOT_YET:
            self._channel.end()


def _side_by_side(
    operator: str,
    streams: Sequence[object],
    read: Callable[[Sequence[Channel[Any]], Run[Any]], AsyncGenerator[Any]],
) -> Stream[Any]:
    """Streams with a task and a channel each, which `read` reads together."""
    plans = plans_of(operator, streams)

    def open_feed(run: Run[Any]) -> Feed:
        channels: list[Channel[Any]] = []
        for source, parts in plans:
            channel: Channel[Any] = Channel(AHEAD)
            channels.append(channel)
            run.pump(run.strand(source, parts), channel, source.label)

        def close() -> None:
            for channel in channels:
                channel.close()

        items = read(channels, run)
        return Feed(items, closers=[(label_of(operator, plans), close), (operator, items.aclose)])

    return combined(operator, plans, open_feed)


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
