"""`sk.channel`: a stream that other code pushes into, from callbacks and other tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from streamkit.errors import BufferFull, SinkClosed, StreamBusy
from streamkit.flow.overflow import Overflow, check_overflow, make_channel
from streamkit.flow.plan import check_count
from streamkit.flow.sources import Feed
from streamkit.flow.streams import Stream, stream
from streamkit.flow.tasks import current_backend

if TYPE_CHECKING:
    from streamkit.flow.runs import Run

__all__ = ["SendChannel", "channel"]

T = TypeVar("T")


class SendChannel(Generic[T]):
    """A sending end and a source in one; unpacks as `sender, source = sk.channel(16)`.

    `send` waits for room; `push` never waits, and is for callbacks. `close` ends the stream behind
    what was sent, `fail` ends it with an error at that place. All of it belongs to one event loop's
    thread; from another use `loop.call_soon_threadsafe(channel.push, item)`.

    Memory: at most `size` items, read ahead and not yet consumed.

    >>> import asyncio
    >>> async def main():
    ...     sender, source = channel(4)
    ...     sender.push("a"); sender.push("b"); sender.close()
    ...     return await source.collect()
    >>> asyncio.run(main())
    ['a', 'b']
    """

    __slots__ = ("_offer", "_open", "_queue", "_sent")

    def __init__(self, size: int, overflow: Overflow) -> None:
        self._queue, offer = make_channel(size, overflow)
        self._offer: Callable[[Any], object] = self._queue.buffer.append if offer is None else partial(offer, self._queue)
        self._open = False
        self._sent = 0

    def __iter__(self) -> Iterator[Any]:
        """The sending end and the stream, to be unpacked."""
        return iter((self, self.stream))

    @property
    def stream(self) -> Stream[T]:
        """What is sent, as a stream for one reader."""
        return stream(self)

    @property
    def closed(self) -> bool:
        """Whether nothing more can be sent: it was closed, or its reader has left."""
        return self._queue.closed or self._queue.ended

    async def send(self, item: T) -> None:
        """Put one item in, waiting while the channel is full.

        Cancellation: while it waits, the item was not sent.
        Raises:
            SinkClosed: the channel was closed, or its reader has left.
            BufferFull: full, with overflow="error".
        """
        self._check_open()
        queue = self._queue
        if not queue.has_room:
            await queue.wait_for_room(current_backend().waiter())
            self._check_open()
        self._put(item)

    def push(self, item: T) -> None:
        """Put one item in, now.

        Raises:
            SinkClosed: the channel was closed, or its reader has left.
            BufferFull: no room, and a policy that makes none ("suspend", "error").
        """
        self._check_open()
        if not self._queue.has_room:
            raise BufferFull(
                f"the channel holds {self._queue.size} items and cannot wait here: use `await send(item)`, a larger size, or "
                "overflow='drop_oldest'",
                size=self._queue.size,
            )
        self._put(item)

    def _put(self, item: T) -> None:
        self._offer(item)
        self._sent += 1
        if self._queue.parked:
            self._queue.wake()

    def close(self) -> None:
        """End the stream; what was sent is still read. Closing twice is harmless."""
        if not self._queue.ended:
            self._queue.end()

    def fail(self, error: BaseException) -> None:
        """End the stream with an error, raised to the reader behind what was sent."""
        self._check_open()
        self._queue.fail(error)
        self._queue.end()

    def _check_open(self) -> None:
        if self._queue.closed:
            raise SinkClosed(f"the reader of this channel left after {self._sent} items were sent", events_sent=self._sent)
        if self._queue.ended:
            raise SinkClosed(f"this channel was closed after {self._sent} items", events_sent=self._sent)

    def __streamkit_feed__(self, run: Run[Any]) -> Feed:
        if self._open:
            raise StreamBusy("a channel has one reader; share its stream to have more")
        self._open = True
        return Feed(self._queue, shape="drains", closers=[("channel", self._queue.close)])


def channel(size: int, *, overflow: Overflow = "suspend") -> SendChannel[Any]:
    """A bounded channel to push items into, read as a stream.

    Args:
        size: Most items held, at least 1.
        overflow: What a full channel does with one more (see `sk.buffer`).

    Memory: at most `size` items.
    Cancellation: when the reader leaves, what was not read is dropped and senders get `SinkClosed`.
    Raises:
        ConfigError, TypeError: a size or policy that does not exist, at the call.

    >>> channel(2, overflow="latest").closed
    False
    """
    check_count("channel", "size", size, 1)
    check_overflow(overflow)
    return SendChannel(size, overflow)
