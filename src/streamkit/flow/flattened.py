"""A stream of streams, read: all of them in turn, several at once, or the newest alone.

How several are read at once. The outer stream is read by a pump; each stream it gives is a Run of its own, driven by
a pump that begins there and then. The outer pump's channel holds no items but places, one for each inner stream that
is open: when all are taken the outer source waits, as any writer of a full channel does.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from functools import partial
from typing import Any

from streamkit.flow.channel import Channel
from streamkit.flow.plan import Part, check_count
from streamkit.flow.pumps import Pump
from streamkit.flow.runs import Run
from streamkit.flow.sources import Feed
from streamkit.flow.strands import OwnLimits, Strand
from streamkit.flow.streams import stream

__all__ = ["MERGE_ITEMS", "SWITCH_OPEN", "flatten_part", "switch_part"]

# Items of several streams held for their one reader, unless told.
MERGE_ITEMS = 64

# Items of the newest stream read ahead; a newer one drops those that nobody has taken.
SWITCH_AHEAD = 16

# Streams of a `switch` that are open at once: the newest, and those that still clean up.
SWITCH_OPEN = 16


def flatten_part(concurrency: int, size: int) -> Part:
    """The part of `flatten`, checked."""
    check_count("flatten", "concurrency", concurrency, 1)
    check_count("flatten", "size", size, 1)
    return _InTurn() if concurrency == 1 else _AtOnce(concurrency, size)


def switch_part() -> Part:
    """The part of `switch`."""
    return _Newest()


class _InTurn:
    """`flatten` one by one, in a plan."""

    label = "flatten()"
    own_task = False

    def connect(self, strand: Strand, run: Run[Any]) -> Strand:
        strand.flatten()
        items = _in_turn(run, strand.iterator)
        strand.wrap(items, "lists", self.label, OwnLimits(items.aclose))
        return strand


async def _in_turn(run: Run[Any], streams: AsyncIterator[Any]) -> AsyncGenerator[list[Any]]:
    async for given in streams:
        inner = run.inside(*stream(given).plan)
        try:
            async for batch in inner.lists():
                yield batch
        finally:
            await inner.aclose()


class _AtOnce:
    """`flatten` with several at once, in a plan."""

    def __init__(self, concurrency: int, size: int) -> None:
        self.label = f"flatten(concurrency={concurrency})"
        self._concurrency = concurrency
        self._size = size

    def connect(self, strand: Strand, run: Run[Any]) -> Strand:
        return _Inner(run, Channel(self._size), Channel(self._concurrency), self.label).reading(strand)


class _Newest:
    """`switch` in a plan."""

    label = "switch()"

    def connect(self, strand: Strand, run: Run[Any]) -> Strand:
        return _NewestInner(run, Channel(SWITCH_AHEAD), Channel(SWITCH_OPEN), self.label).reading(strand)


class _Inner:
    """The inner streams of one Run."""

    def __init__(self, run: Run[Any], channel: Channel[Any], places: Channel[Any], label: str) -> None:
        self.run = run
        self.channel = channel
        self.places = places
        self.label = label
        # Whether the outer stream has ended, and what it failed with.
        self.over = False
        self.failure: BaseException | None = None

    def reading(self, strand: Strand) -> Strand:
        """The strand that reads them; `strand` gives them."""
        outer = self.run.pump(strand, self.places, self.label)
        outer.offer = self.begin
        outer.finish = self.outer_ended
        return Strand(Feed(self.channel, shape="drains", closers=[(self.label, self.close)]), self.run)

    def begin(self, given: Any) -> None:
        """One more stream, in the task of the outer one."""
        source, parts = stream(given).plan
        inner = self.run.inside(source, parts)
        self.places.buffer.append(source)
        self.run.launch(inner, self.channel, source.label, finish=self.inner_ended)

    def inner_ended(self, error: BaseException | None) -> None:
        """One of them is over and closed."""
        self.places.take()
        if error is not None:
            self.channel.fail(error)
        elif self.over and not self.reads:
            self.end()

    def outer_ended(self, error: BaseException | None) -> None:
        """No more of them will come. A failure waits for those that came before it."""
        self.over = True
        self.failure = error
        if not self.reads or (error is not None and not isinstance(error, Exception)):
            self.end()

    @property
    def reads(self) -> bool:
        """Whether one of them may still give something."""
        return bool(self.places.buffer)

    def end(self) -> None:
        """All of them are over, and so is the outer stream."""
        if self.failure is not None:
            self.channel.fail(self.failure)
        self.channel.end()

    def close(self) -> None:
        """The reader leaves."""
        self.places.close()
        self.channel.close()


class _NewestInner(_Inner):
    """The same where the newest alone is read."""

    def __init__(self, run: Run[Any], channel: Channel[Any], places: Channel[Any], label: str) -> None:
        super().__init__(run, channel, places, label)
        self._count = 0
        self._newest: Pump | None = None
        # Whether the newest one has ended; a failure of it ends all, whatever comes meanwhile.
        self._ended = True
        self._failed = False

    def begin(self, given: Any) -> None:
        if self._failed:
            return
        source, parts = stream(given).plan
        inner = self.run.inside(source, parts)
        if self._newest is not None:
            self._newest.leave()
        self._count += 1
        self._ended = False
        self.channel.drop()
        self.places.buffer.append(source)
        number = self._count
        self._newest = self.run.launch(
            inner,
            self.channel,
            source.label,
            finish=partial(self._one_ended, number),
            offer=partial(self._offer, number),
        )

    def _offer(self, number: int, item: Any) -> None:
        if number == self._count:  # one that was left may give an item more
            self.channel.buffer.append(item)

    def _one_ended(self, number: int, error: BaseException | None) -> None:
        self.places.take()
        if number != self._count:
            return
        self._ended = True
        if error is not None:
            self._failed = True
            self.channel.fail(error)
        elif self.over:
            self.end()

    @property
    def reads(self) -> bool:
        return not self._ended
