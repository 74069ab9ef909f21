"""Operators that hold items: buffer, coalesce, batch, and window."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar, overload

from streamkit.events.model import join_deltas
from streamkit.flow.channel import Channel
from streamkit.flow.overflow import Overflow, check_overflow, make_channel
from streamkit.flow.plan import Op, Same, check_count
from streamkit.flow.runs import Run
from streamkit.flow.shaped import Lists, Windows
from streamkit.flow.sources import Feed
from streamkit.flow.strands import Strand
from streamkit.flow.timed_parts import batch_part, window_part
from streamkit.stages.weighing import Measure

__all__ = ["batch", "buffer", "coalesce", "window"]

T = TypeVar("T")

COALESCE_ITEMS = 1024


def buffer(size: int, *, overflow: Overflow = "suspend") -> Same:
    """Let the source run ahead, in a task of its own.

    Args:
        size: Most items read ahead and not yet consumed, at least 1.
        overflow: What happens to one item more. "suspend" waits (nothing is lost); "drop_oldest" and
            "drop_newest" drop a delta; "latest" keeps only the newest delta; "coalesce" joins deltas of
            one channel; "error" raises `BufferFull`. Control events are never dropped or joined, and
            dropped deltas of events leave a `Gap`.

    Yields:
        The items, in order.

    Memory: `size` items (and one gap).
    Cancellation: the source is closed in its own task, before control returns; what was buffered is dropped.
    Raises:
        ConfigError, TypeError: a size or policy that does not exist, at the call.
        BufferFull: with overflow="error", behind the items that were held.

    >>> run((stream([1, 2, 3]) | buffer(2)).collect())
    [1, 2, 3]
    """
    check_count("buffer", "size", size, 1)
    check_overflow(overflow)
    return Same(_Buffer(size, overflow))


def coalesce(size: int = COALESCE_ITEMS) -> Same:
    """Hand over what is ready, with neighbouring deltas of one channel joined; never wait for more.

    While the consumer is busy the source goes on, and what it gave meanwhile comes as few, larger
    deltas: a slow client gets fewer frames, a fast one gets each token at once.

    Args:
        size: Most items read ahead, at least 1.

    Yields:
        Strings, bytes and deltas joined with their neighbours of the same kind and block; everything
        else, control events above all, as it came.

    Memory: `size` items.
    Cancellation: as `buffer`.
    Raises:
        ConfigError, TypeError: a size that does not exist, at the call.

    >>> run((stream(["a", "b", "c"]) | coalesce()).collect())
    ['abc']
    """
    check_count("coalesce", "size", size, 1)
    return Same(_Coalesce(size))


@overload
def batch(
    size: int | None = None,
    *,
    within: float | None = None,
    weight: Measure | None = None,
    max_weight: float | None = None,
    until: None = None,
) -> Lists: ...
@overload
def batch(
    size: int | None = None,
    *,
    within: float | None = None,
    weight: Callable[[T], float] | Measure | None = None,
    max_weight: float | None = None,
    until: Callable[[T], object] | None = None,
) -> Op[T, list[T]]: ...
def batch(
    size: int | None = None,
    *,
    within: float | None = None,
    weight: Callable[[Any], float] | Measure | None = None,
    max_weight: float | None = None,
    until: Callable[[Any], object] | None = None,
) -> Op[Any, list[Any]]:
    """Gather items into lists.

    Args:
        size: Most items per list, at least 1. None, which needs one of the others, is 65,536.
        within: Longest wait in seconds after a list's first item. None waits on.
        weight: What an item weighs: "characters", "bytes" (UTF-8) or "tokens" (estimated, at least 1 per text) of texts
            and deltas, where other events weigh nothing; or a function that gives a number, 0 or more.
        max_weight: Most that a list weighs. An item that weighs more by itself makes a list of its own.
        until: A function asked of each item, once: whether its list ends with it.

    Yields:
        Lists of at least one item, each as soon as it is complete; the last may be short. Order kept, none lost.

    Memory: one list; with `within` also up to 8 complete ones on their way.
    Cancellation: items not yet yielded are dropped; the source is closed.
    Raises:
        ConfigError, TypeError: a size below 1, no time, a weight without `max_weight`, nothing at all, a coroutine
            function, at the call.
        TypeError: an item that has no such weight, behind the lists before it.

    >>> run((stream([1, 2, 3]) | batch(2)).collect())
    [[1, 2], [3]]
    >>> run((stream(["One ", "two.", "Three"]) | batch(until=lambda text: text.endswith("."))).collect())
    [['One ', 'two.'], ['Three']]
    """
    return Lists(batch_part(size, within, weight, max_weight, until))


def window(size: int, step: int = 1, *, partial: bool = False) -> Windows:
    """Give the last items together, again and again.

    Args:
        size: Items in a window, at least 1.
        step: How many items further the next window begins, at least 1; with more than `size` some are in none.
        partial: Whether a last window that the end cuts short is given, if it has an item that no window had.

    Yields:
        Tuples of `size` items, each with the item that completes it; the last, if `partial`, may be shorter.

    Memory: `size` items.
    Cancellation: items not yet yielded are dropped; the source is closed.
    Raises:
        ConfigError, TypeError: a size or step below 1, at the call.

    >>> run((stream([1, 2, 3, 4]) | window(2)).collect())
    [(1, 2), (2, 3), (3, 4)]
    >>> run((stream([1, 2, 3, 4, 5]) | window(2, 2, partial=True)).collect())
    [(1, 2), (3, 4), (5,)]
    """
    return Windows(window_part(size, step, partial))


class _Buffer:
    """`buffer` in a plan."""

    def __init__(self, size: int, overflow: Overflow) -> None:
        self._size = size
        self._overflow: Overflow = overflow
        self.label = f"buffer({size})" if overflow == "suspend" else f"buffer({size}, overflow={overflow!r})"

    def connect(self, strand: Strand, run: Run[Any]) -> Strand:
        channel, offer = make_channel(self._size, self._overflow)
        pump = run.pump(strand, channel, self.label)
        if offer is not None:
            pump.offer = lambda item: offer(channel, item)
        return run.reading(channel, self.label)


class _Coalesce:
    """`coalesce` in a plan."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.label = "coalesce()" if size == COALESCE_ITEMS else f"coalesce({size})"

    def connect(self, strand: Strand, run: Run[Any]) -> Strand:
        channel: Channel[Any] = Channel(self._size)
        run.pump(strand, channel, self.label)
        reader = _JoiningReader(channel)
        return Strand(Feed(reader, shape="drains", closers=[(self.label, channel.close)]), run)


class _JoiningReader:
    """The reading end of a channel: everything that is ready, joined."""

    __slots__ = ("_channel",)

    def __init__(self, channel: Channel[Any]) -> None:
        self._channel = channel

    def __aiter__(self) -> _JoiningReader:
        return self

    async def __anext__(self) -> Iterable[Any]:
        channel = self._channel
        first = await channel.__anext__()
        joined = join_deltas([*first, *channel.ready()])
        # What is handed over counts until the reader comes back.
        channel.limit = max(1, channel.full - len(joined))
        return joined
