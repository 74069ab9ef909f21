"""Where items wait for their time to come: the boundary of `delay`.

The source's task writes down when each item came; the reader waits until that is long enough ago. So nothing
is done while nothing is due, order is kept by itself, and a full channel suspends the source.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

from streamkit.flow.channel import Channel
from streamkit.flow.clock import Clock
from streamkit.flow.runs import Run
from streamkit.flow.sources import Feed
from streamkit.flow.strands import Strand

__all__ = ["DelayBoundary"]

# When it came, and what it is.
_Arrival: TypeAlias = tuple[float, Any]


class DelayBoundary:
    """`delay` in a plan.

    Memory: `size` items, and the one that the reader waits for.
    """

    __slots__ = ("_seconds", "_size", "label")

    def __init__(self, seconds: float, size: int) -> None:
        self._seconds = seconds
        self._size = size
        self.label = f"delay({seconds:g})"

    def connect(self, strand: Strand, run: Run[Any]) -> Strand:
        channel: Channel[_Arrival] = Channel(self._size)
        pump = run.pump(strand, channel, self.label)
        append, now = channel.buffer.append, run.clock.now

        def offer(item: Any) -> None:
            append((now(), item))

        pump.offer = offer
        reader = _PatientReader(channel, run.clock, self._seconds)
        return Strand(Feed(reader, shape="drains", closers=[(self.label, channel.close)]), run)


class _PatientReader:
    """The reading end: what came long enough ago."""

    __slots__ = ("_batch", "_channel", "_clock", "_next", "_seconds")

    def __init__(self, channel: Channel[_Arrival], clock: Clock, seconds: float) -> None:
        self._channel = channel
        self._clock = clock
        self._seconds = seconds
        self._batch: Iterator[_Arrival] = iter(())
        self._next: _Arrival | None = None

    def __aiter__(self) -> _PatientReader:
        return self

    async def __anext__(self) -> Iterable[Any]:
        arrival = self._next or next(self._batch, None)
        if arrival is None:
            self._batch = iter(await self._channel.__anext__())
            arrival = next(self._batch)
        self._next = arrival
        wait = arrival[0] + self._seconds - self._clock.now()
        if wait > 0:
            await self._clock.sleep(wait)
        return self._due(arrival, self._clock.now() - self._seconds)

    def _due(self, arrival: _Arrival | None, until: float) -> Iterator[Any]:
        """What came by then, taken as it is consumed."""
        self._next = None
        while arrival is not None:
            yield arrival[1]
            arrival = next(self._batch, None)
            if arrival is not None and arrival[0] > until:
                self._next = arrival
                return
