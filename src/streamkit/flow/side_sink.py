"""A second sink beside the stream: it gets what was forwarded, and can neither hold back nor break what comes first.

An item is given to the reader, and when that one comes back for more (or leaves) it goes into a channel that never
waits. A task of the Run sends what is there. States of the second sink:

    serving     it takes what comes, and loses the oldest deltas when it lags (`flow.overflow`, "drop_oldest")
    told        the stream is over at this place, or its Run is being left: it gets the rest, then the outcome
    closed      it has the outcome
    broken      it failed, or could not take control events any more: it was closed with that error, and gets nothing

The Run ends when its sink is closed, after `close_timeout` at the latest.
"""

from __future__ import annotations

import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

from streamkit.errors import BufferFull, ConfigError
from streamkit.flow.overflow import POLICIES, make_channel
from streamkit.flow.plan import Part, check_count
from streamkit.flow.pumps import Job
from streamkit.flow.runs import Run
from streamkit.flow.strands import Strand

if TYPE_CHECKING:
    from streamkit.flow.streams import Sink

__all__ = ["SIDE_ITEMS", "OnSinkError", "also_to_part"]

OnSinkError = Literal["warn", "ignore"]

SIDE_ITEMS = 1024


def also_to_part(sink: Sink[Any], size: int, on_error: OnSinkError) -> Part:
    """The part of `also_to`.

    Raises:
        ConfigError, TypeError: no sink, no size, or a word that is neither.
    """
    if not callable(getattr(sink, "send", None)) or not callable(getattr(sink, "aclose", None)):
        raise TypeError(f"also_to() takes a sink with `async send(batch)` and `async aclose(error)`, got {type(sink).__name__}")
    check_count("also_to", "size", size, 1)
    if on_error not in ("warn", "ignore"):
        raise ConfigError(f'also_to(on_error={on_error!r}): "warn" or "ignore"')
    return _SideSink(sink, size, on_error == "warn")


class _SideSink:
    """`also_to` in a plan."""

    __slots__ = ("_sink", "_size", "_warns", "label")

    own_task = False

    def __init__(self, sink: Sink[Any], size: int, warns: bool) -> None:
        self.label = f"also_to({type(sink).__name__})"
        self._sink = sink
        self._size = size
        self._warns = warns

    def connect(self, strand: Strand, run: Run[Any]) -> Strand:
        side = _Side(self._sink, self._size, self._warns, self.label, run)
        strand.bare()
        forward = side.lists if strand.shape == "lists" else side.items
        strand.wrap(forward(strand.iterator, strand.start), strand.shape, self.label)
        return strand


class _Side:
    """The second sink of one Run."""

    __slots__ = ("_broken", "_channel", "_label", "_offer", "_outcome", "_run", "_sink", "_told", "_warns")

    def __init__(self, sink: Sink[Any], size: int, warns: bool, label: str, run: Run[Any]) -> None:
        self._sink = sink
        self._warns = warns
        self._label = label
        self._run = run
        self._channel = make_channel(size, "drop_oldest")[0]
        self._offer = POLICIES["drop_oldest"]
        self._outcome: BaseException | None = None
        self._told = False
        self._broken = False

    # -- in the task that forwards

    async def items(self, source: Any, start: Callable[[], Awaitable[AsyncIterator[Any]]] | None) -> AsyncGenerator[Any]:
        self._begin()
        channel = self._channel
        buffer, size = channel.buffer, channel.size
        try:
            if start is not None:
                source = await start()
            async for item in source:
                try:
                    yield item
                finally:  # a reader that leaves here has got it
                    if len(buffer) < size:
                        buffer.append(item)
                    else:
                        self._squeeze(item)
                    if channel.parked:
                        channel.wake()
        except Exception as error:
            self._tell(error)
            raise
        self._tell(None)

    async def lists(self, source: Any, start: Callable[[], Awaitable[AsyncIterator[Any]]] | None) -> AsyncGenerator[list[Any]]:
        self._begin()
        channel = self._channel
        buffer, size = channel.buffer, channel.size
        try:
            if start is not None:
                source = await start()
            async for batch in source:
                try:
                    yield batch
                finally:
                    if len(buffer) + len(batch) <= size:
                        buffer.extend(batch)
                    else:
                        for item in batch:
                            self._squeeze(item)
                    if channel.parked:
                        channel.wake()
        except Exception as error:
            self._tell(error)
            raise
        self._tell(None)

    def _begin(self) -> None:
        job = self._run.job(self._serve, self._label)
        job.farewell = self._part

    def _squeeze(self, item: Any) -> None:
        """One item more than there may be room for."""
        if not self._broken:
            self._offer(self._channel, item)
            if not self._channel.has_room:
                self._give_up()

    def _give_up(self) -> None:
        """It lags by nothing but control events, which are not dropped; and the stream does not wait for it."""
        self._broken = True
        size = self._channel.size
        self._channel.fail(BufferFull(f"it lags by more than {size} events that cannot be dropped", size=size))
        self._channel.end()

    def _tell(self, outcome: BaseException | None) -> None:
        if not self._told:
            self._told = True
            self._outcome = outcome
            self._channel.end()

    def _part(self) -> None:
        """The Run is being left, and the stream has not come to its end here."""
        self._tell(self._run.ended_by or GeneratorExit())

    # -- in the task of its own

    async def _serve(self, job: Job) -> None:
        closing = False
        try:
            await self._send_all()
            closing = True
            await self._sink.aclose(self._outcome)
        except Exception as error:
            self._broken = True
            self._channel.buffer.clear()
            if closing:
                self._warn(error, "in its aclose(); the stream has lost nothing")
            else:
                await self._close_broken(error)
                self._warn(error, "and gets nothing more; the stream goes on. The sink's aclose() was given the error")
        except BaseException as cancelled:
            self._broken = True
            if job.left:
                self._run.complain(
                    f"has a second sink that was not through within {self._run.close_timeout:g} s: {self._label} was cut off"
                )
            if not closing:
                await self._close_broken(cancelled)
            raise

    async def _close_broken(self, error: BaseException) -> None:
        with suppress(Exception):  # it was to be closed, whatever it thinks of that
            await self._sink.aclose(error)

    async def _send_all(self) -> None:
        channel, send = self._channel, self._sink.send
        while True:
            try:
                first = await channel.__anext__()
            except StopAsyncIteration:
                return
            await send([*first, *channel.ready()])

    def _warn(self, error: Exception, what: str) -> None:
        if self._warns:
            warnings.warn(f"{self._label} failed with {type(error).__name__} {what}", RuntimeWarning, stacklevel=2)
