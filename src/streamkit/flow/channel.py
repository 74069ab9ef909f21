"""The queue between two tasks: writers on one side, one reader on the other, a bound in between.

States of a channel, and who moves them:

    open      writers append; the reader drains
    ended     the writers' side: nothing more will come (`end`), the rest is still read
    closed    the reader's side: nobody will read (`close`); each writer learns it at its next item

One number, `limit`, tells a writer in a single comparison that it may not simply go on: the
buffer is full, or the reader is parked and must be woken, or the reader has left. The writer's
whole hot path is `append(item); if len(buffer) >= channel.limit and not go_on(): await settle()`.

The reader takes items in batches. A batch is an iterator that pops lazily up to a mark laid into
the buffer, so that what a reader has drained and not yet consumed still counts against the bound.
Room is passed on like a baton: a batch read wakes one writer, and each that finds room wakes the
next before it goes on, so that ten writers of a full channel do not all run for one free place.

An error is an item: it keeps its place behind what its own source had sent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, Protocol, TypeVar

from streamkit.flow.tasks import Backend, Waiter, current_backend

__all__ = ["ENDED", "NOT_YET", "Channel", "Fault", "ReaderLeft", "Writable", "Writer", "no_end"]

T = TypeVar("T")

# Items a reader may take without giving other tasks a turn.
FAIRNESS = 1024


class _Mark(list[Any]):
    """Is equal to nothing, and never asks the other: an array has no truth to tell, and some things are equal to all.

    An iterator up to a sentinel compares each item with it. What `list` has for that in C costs a third of a method.
    """

    __slots__ = ()
    __eq__ = list.count  # type: ignore[assignment]  # of an empty list: 0


# Laid into the buffer where a batch ends.
_MARK: Any = _Mark()

# What `take` gives where there is no item: none so far, or none any more.
NOT_YET: Any = object()
ENDED: Any = object()


class ReaderLeft(BaseException):
    """Thrown to a writer whose reader has gone: leave the loop, close the source. Never reaches a user."""


class Fault:
    """An error on its way through the buffer."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = no_end(error)


def no_end(error: BaseException) -> BaseException:
    """An error as a reader may raise it: StopAsyncIteration would pass for the end of the stream.

    It comes of an `anext()` without a default in somebody's callable. Generators give a RuntimeError in its place
    (PEP 525), and so do we.
    """
    if not isinstance(error, StopAsyncIteration):
        return error
    failure = RuntimeError("a callable in the stream raised StopAsyncIteration: where it calls anext(), give a default")
    failure.__cause__ = error
    return failure


class Writable(Protocol):
    """The writers' side, of a channel or of what stands in its place (`flow.fanout.Log`).

    At `limit` a writer calls `wake` if something is parked, and goes on if that made the limit larger.
    """

    limit: int
    parked: bool
    closed: bool

    @property
    def on_close(self) -> list[Callable[[], None]] | None:
        """What is told when its reader closes it; None where nobody does."""
        ...

    @property
    def buffer(self) -> Any:
        """What items are appended to; the same object for as long as somebody writes."""
        ...

    def wake(self) -> None: ...
    def fail(self, error: BaseException) -> None: ...
    def end(self) -> None: ...
    async def wait_for_room(self, waiter: Waiter, writer: Writer | None = None) -> None: ...


class Channel(Generic[T]):
    """A bounded queue for one reader.

    Args:
        size: Most items that are held: read ahead and not yet consumed.
        slack: Places above `size` for what a policy leaves behind (see `overflow`).
        view: What the reader gets of a held item. A channel with a view gives single items: its
            policy rearranges the buffer while a batch would be under way.
    """

    __slots__ = (
        "_reader",
        "_unparked",
        "_writers",
        "buffer",
        "closed",
        "ended",
        "full",
        "limit",
        "on_close",
        "on_room",
        "parked",
        "size",
        "view",
    )

    def __init__(self, size: int, *, slack: int = 0, view: Callable[[T], T] | None = None) -> None:
        self.buffer: deque[T] = deque()
        self.size = size
        self.full = size + slack
        self.limit = self.full
        self.view = view
        self.parked = False
        self.ended = False
        self.closed = False
        self.on_room: Callable[[], None] | None = None
        # Told when the reader leaves: the tasks that write here and wait elsewhere.
        self.on_close: list[Callable[[], None]] = []
        self._reader: Waiter | None = None
        self._writers: deque[Waiter] = deque()
        self._unparked = 0

    # -- the writers' side

    def put(self, item: T) -> None:
        """Append whatever the bound says; for writers that check `has_room` themselves."""
        self.buffer.append(item)
        if self.parked:
            self.wake()

    def extend(self, items: Iterable[T]) -> None:
        """Append several, with one wake-up."""
        self.buffer.extend(items)
        if self.parked and self.buffer:
            self.wake()

    @property
    def has_room(self) -> bool:
        """Whether another item keeps the bound."""
        return len(self.buffer) < self.full

    def fail(self, error: BaseException) -> None:
        """A writer failed, at this place in the order."""
        self.buffer.append(_MARK)
        self.buffer.append(Fault(error))  # type: ignore[arg-type]  # the reader unwraps it
        if self.parked:
            self.wake()

    def end(self) -> None:
        """Nothing more will come from any writer."""
        self.ended = True
        if self.parked:
            self.wake()

    def wake(self) -> None:
        """Send the parked reader on its way."""
        self.parked = False
        if not self.closed:
            self.limit = self.full
        if self._reader is not None:
            self._reader.wake()

    async def wait_for_room(self, waiter: Waiter, writer: Writer | None = None) -> None:
        """Park a writer until there is room, the reader leaves, or the writer is left; then wake the next one."""
        while len(self.buffer) >= self.limit and not self.closed and not (writer is not None and writer.left):
            self._writers.append(waiter)
            try:
                await waiter.wait()
            finally:
                if waiter in self._writers:
                    self._writers.remove(waiter)
        self._release()

    # -- the reader's side

    def close(self) -> None:
        """The reader leaves: whoever writes learns it now. What was buffered is dropped."""
        self.closed = True
        self.limit = -1
        self.buffer.clear()
        self.buffer.append(_MARK)  # a batch under way ends here
        while self._writers:
            self._release()
        for leave in self.on_close:
            leave()

    def __aiter__(self) -> Channel[T]:
        return self

    async def __anext__(self) -> Iterable[T]:
        """The next batch: at least one item.

        Raises:
            StopAsyncIteration: ended, and everything was read.
            BaseException: what a writer failed with, at its place.
        """
        buffer = self.buffer
        if self.closed:
            raise StopAsyncIteration
        self.limit = self.full
        while True:
            while buffer and buffer[0] is _MARK:
                buffer.popleft()
            if self._writers and len(buffer) < self.full:
                self._release()
            if self.on_room is not None:
                self.on_room()
            if buffer:
                break
            if self.ended:
                raise StopAsyncIteration
            self.parked = True
            self.limit = 1
            self._unparked = 0
            try:
                # Straight to the waiter: where items are slow this is once per item.
                await (self._reader or self._make_reader()).wait()
            except BaseException:
                self.parked = False
                if not self.closed:
                    self.limit = self.full
                raise
        if self._unparked >= FAIRNESS:
            self._unparked = 0
            await current_backend().checkpoint()
        head = buffer[0]
        if head.__class__ is Fault:
            buffer.popleft()
            raise head.error  # type: ignore[attr-defined]
        if len(buffer) > 1 and self.view is None:
            return self._batch()
        self._unparked += 1
        buffer.popleft()
        return (head,) if self.view is None else (self.view(head),)

    def _make_reader(self) -> Waiter:
        self._reader = current_backend().waiter()
        return self._reader

    def _batch(self) -> Iterable[T]:
        """Several items, popped as they are consumed."""
        buffer = self.buffer
        count = len(buffer)
        # Half at a time: a writer that waits for room goes on while the other half is consumed.
        taken = count if count < self.size else -(-count // 2)
        taken = min(taken, FAIRNESS)
        self._unparked += taken
        if taken == count:
            buffer.append(_MARK)
        else:
            buffer.insert(taken, _MARK)
        # The mark takes a place that belongs to an item.
        self.limit = self.full + 1
        return iter(buffer.popleft, _MARK)

    def ready(self) -> Iterator[T]:
        """Everything that can be had without waiting; the reader's, between two batches."""
        buffer = self.buffer
        while buffer and buffer[0].__class__ is not Fault:
            item = buffer.popleft()
            if item is not _MARK:
                yield item

    def take(self) -> T:
        """The next item; or NOT_YET, or ENDED. For one who reads several channels, and waits in none (see `park`).

        Raises:
            BaseException: what a writer failed with, at its place.
        """
        buffer = self.buffer
        while buffer:
            item = buffer.popleft()
            if item is _MARK:
                continue
            if item.__class__ is Fault:
                raise item.error  # type: ignore[attr-defined]
            if self._writers:
                self._release()
            return item
        return ENDED if self.ended or self.closed else NOT_YET  # type: ignore[no-any-return]

    def park(self, waiter: Waiter) -> None:
        """Let whatever comes next wake a reader that waits elsewhere; after `take` has given NOT_YET."""
        self._reader = waiter
        self.parked = True
        self.limit = 1

    def drop(self) -> None:
        """Forget what is held; a batch that is under way ends."""
        if self.buffer:
            self.buffer.clear()
            self.buffer.append(_MARK)

    def _release(self) -> None:
        """Pass room on: wake the writer that waits longest, which will look for itself."""
        if self._writers:
            self._writers.popleft().wake()


class Writer:
    """One task's way into a channel.

    `blocked` tells a leaver that it must be woken, not cancelled. `left` tells the task that its run is
    being left, which it may learn before the channel's reader, a pump too, has closed the channel.
    """

    __slots__ = ("_backend", "_waiter", "blocked", "channel", "left")

    def __init__(self, channel: Writable, backend: Backend) -> None:
        self.channel = channel
        self.blocked = False
        self.left = False
        self._backend = backend
        self._waiter: Waiter | None = None

    def go_on(self) -> bool:
        """After an append that reached the limit: wake a parked reader; whether there is room for more."""
        channel = self.channel
        if channel.parked:
            channel.wake()
        return len(channel.buffer) < channel.limit and not self.left

    async def settle(self) -> None:
        """Wait for room, or leave.

        Raises:
            ReaderLeft: the reader has closed the channel, or the run is being left.
        """
        channel = self.channel
        if not channel.closed:
            self._waiter = waiter = self._waiter or self._backend.waiter()
            self.blocked = True
            try:
                await channel.wait_for_room(waiter, self)
            finally:
                self.blocked = False
        if channel.closed or self.left:
            raise ReaderLeft

    def wake(self) -> None:
        if self._waiter is not None:
            self._waiter.wake()
