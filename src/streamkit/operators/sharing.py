"""One stream, several readers: `tee` for a number that is known, `share` for readers that come and go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from streamkit.errors import ConfigError, StreamConsumed
from streamkit.flow.fanout import Fanout, Log, Place
from streamkit.flow.overflow import Overflow, check_overflow
from streamkit.flow.plan import Laid, check_count
from streamkit.flow.runs import Run
from streamkit.flow.sources import Feed, Source
from streamkit.flow.streams import Stream, stream

__all__ = ["share", "tee"]

T = TypeVar("T")

LAG_ITEMS = 1024


def tee(
    source: Stream[T], n: int, /, *, size: int = LAG_ITEMS, overflow: Overflow | Sequence[Overflow] = "suspend"
) -> tuple[Stream[T], ...]:
    """One stream as several, each of which gives all of it.

    The source is read once, in a task that belongs to none of the branches, from the first item that one of them asks
    for. A branch can be run once. Leaving or cancelling one disturbs no other; when no branch is open any more the
    source is closed, before the last one's `async with` returns.

    Args:
        source: Anything that `sk.stream` takes.
        n: How many branches, at least 1.
        size: Most items that a branch may lag behind the source, at least 1. What it was given and has not finished with
            counts. Branches that meet again behind steps that drop items (`sk.zip` with a filtered one) may not drift
            apart by more: with "suspend" each would wait for the other for ever.
        overflow: What happens when a branch lags by more, as in `sk.buffer`: "suspend" makes the source wait, and with it
            the others; the other policies concern that branch alone. One policy for all, or a list of one each.

    Yields:
        In each branch all items, in order. An error of the source comes behind its items in each: the very same one, but
        for streamkit's own, of which each branch gets a copy with its own `.partial`.

    Memory: `size` items in common, and `size` of its own for each branch that lags and drops.
    Cancellation: closes the source if no other branch is open.
    Raises:
        ConfigError, TypeError: a number, size or policy that does not fit, at the call.
        ConfigError: in the open branches, if one that nobody has opened holds up the source for a second.
        StreamBusy: opened in another event loop than the others, as by `iter()` beside them.
        StreamConsumed: a branch that is run twice, or opened after the others left a source that had not ended.
        BufferFull: in the branch that lags, with overflow="error".

    >>> first, second = tee(stream([1, 2, 3]), 2)
    >>> run(first.collect()), run(second.collect())
    ([1, 2, 3], [1, 2, 3])
    """
    check_count("tee", "n", n, 1)
    check_count("tee", "size", size, 1)
    policies: list[Any] = [overflow] * n if isinstance(overflow, str) else list(overflow)
    if len(policies) != n:
        raise ConfigError(f"tee(overflow=...) has {len(policies)} policies for {n} branches: give one for all, or one for each")
    for policy in policies:
        check_overflow(policy)
    return _Tee(stream(source).plan, size, policies).branches


def share(source: Stream[T], /, *, replay: int = 0, size: int = LAG_ITEMS, overflow: Overflow = "suspend") -> Stream[T]:
    """One stream that many may open, each when it likes.

    The first to read starts the source, in a task that belongs to none of them. Who comes later gets the last `replay`
    items and then what comes. Take a Run of its own for each reader, `async with shared.open() as items`, or put
    operators on it. The last one that leaves closes the source, before its `async with` returns.

    Once the source has ended or failed, who comes gets the replay and that end or error. If all left before, who comes
    next starts a source anew that was given as a callable; any other was consumed.

    Args:
        source: Anything that `sk.stream` takes.
        replay: Most items kept for those who come late, 0 or more.
        size: Most items that a reader may lag behind the source, at least 1. What it was given and has not finished with
            counts.
        overflow: What happens when a reader lags by more, as in `sk.buffer`: "suspend" makes the source wait, and with it
            the others; the other policies concern that reader alone.

    Yields:
        For each reader all items since it came, in order, behind the replay. Errors as with `sk.tee`.

    Memory: `size` or `replay` items in common, whichever is more, and `size` of its own for each reader that lags and drops.
    Cancellation: of one reader disturbs no other; that of the last closes the source.
    Raises:
        ConfigError, TypeError: a size, replay or policy that does not fit, at the call.
        StreamConsumed: the source can be read once, and everybody had left it.
        StreamBusy: opened in another event loop than the readers there are, as by `iter()` beside them.
        BufferFull: for the reader that lags, with overflow="error".

    >>> shared = share(stream([1, 2, 3]), replay=2)
    >>> run(shared.collect()), run(shared.collect())
    ([1, 2, 3], [2, 3])
    """
    check_count("share", "replay", replay, 0)
    check_count("share", "size", size, 1)
    check_overflow(overflow)
    return Stream(_Shared(stream(source).plan, replay, size, overflow))


class _Tee:
    """The branches of one tee: places that are kept from the beginning."""

    def __init__(self, plan: tuple[Source, tuple[Laid, ...]], size: int, policies: list[Overflow]) -> None:
        self.plan = plan
        self.log = Log()
        self.fanout: Fanout | None = None
        count = len(policies)
        labels = [f"branch {at} of {count} of tee({plan[0].label})" for at in range(1, count + 1)]
        self.places = [Place.of(self.log, label, size, policy) for label, policy in zip(labels, policies, strict=True)]
        for place in self.places:
            self.log.join(place, late=False)
        self.branches: tuple[Stream[Any], ...] = tuple(Stream(_Branch(self, place)) for place in self.places)


class _Branch(Source):
    """One branch of a tee."""

    __slots__ = ("_place", "_tee")

    def __init__(self, tee: _Tee, place: Place) -> None:
        super().__init__(place.label, self._enter, partial=tee.plan[0].partial, inner=(tee.plan,))
        self._tee = tee
        self._place = place

    def _enter(self, run: Run[Any]) -> Feed:
        tee = self._tee
        if tee.log.closed and not tee.log.over:
            raise StreamConsumed(
                f"{self.label} was opened after the others had left, and its source is closed: open all branches before one is "
                "left, each in a task of its own"
            )
        if tee.fanout is None:
            tee.fanout = Fanout(tee.plan, f"tee({tee.plan[0].label})", tee.log, run)
        return tee.fanout.seat(self._place, run)

    def give_back(self) -> None:
        super().give_back()
        tee = self._tee
        self._place.opened = False
        if tee.fanout is not None and not any(place.opened for place in tee.places):
            tee.fanout.give_back()
            tee.fanout = None


class _Shared(Source):
    """A source that may be opened any number of times, and is read once."""

    __slots__ = ("_fanout", "_overflow", "_plan", "_replay", "_size")

    def __init__(self, plan: tuple[Source, tuple[Laid, ...]], replay: int, size: int, overflow: Overflow) -> None:
        super().__init__(f"share({plan[0].label})", self._enter, repeatable=True, partial=plan[0].partial, inner=(plan,))
        self._plan = plan
        self._replay = replay
        self._size = size
        self._overflow: Overflow = overflow
        self._fanout: Fanout | None = None

    def _enter(self, run: Run[Any]) -> Feed:
        fanout = self._fanout
        if fanout is None or (fanout.log.closed and not fanout.log.over):
            fanout = self._fanout = Fanout(self._plan, self.label, Log(self._replay), run)
        place = Place.of(fanout.log, self.label, self._size, self._overflow)
        feed = fanout.seat(place, run)
        fanout.log.join(place)
        return feed

    def give_back(self) -> None:
        """The Run that opened it last never began."""
        if self._fanout is not None and self._fanout.log.withdraw():
            self._fanout.give_back()
            self._fanout = None
