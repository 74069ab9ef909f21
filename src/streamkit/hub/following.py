"""A stream that is written elsewhere, read here: one task copies it out of the store into a log, for all who read it here.

It begins with the first reader and ends with the last. Where the writer's lease runs out it is taken for dead: whoever
notices first takes the stream over and ends it as interrupted, so that every reader, everywhere, comes to an end.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

import anyio

from streamkit.dialects.outcomes import to_error_event
from streamkit.errors import Fenced, StoreError, StreamBusy, StreamDraining, StreamInterrupted, UnknownStream
from streamkit.events.model import ErrorEvent, Event, Finish
from streamkit.flow.clock import Clock
from streamkit.flow.tasks import Backend, Task
from streamkit.hub.chunks import decode, encode
from streamkit.hub.log import Limits, Log
from streamkit.hub.stores.protocol import Chunk, Closing, Record, Store

__all__ = ["Follower", "end_as_interrupted", "unknown"]

T = TypeVar("T")

# Seconds that one wait in the store takes at most, between two tries, and after which a store that fails is given up.
_LONGEST_WAIT = 15.0
_RETRY = 0.1
_PATIENCE = 30.0

# For which part of a lease a stream is held by whoever ends it. Less than between two rounds of a hub: one that can take a stream
# over and then not write its end must leave others their turn, and one that dies in between is waited for no longer than that.
_TO_END = 0.25


def unknown(id: str) -> UnknownStream:
    """What everybody is told who asks for a stream that is not there, or not theirs: always the same."""
    return UnknownStream(f"there is no stream {id!r:.80} here: it was never started, or is forgotten")


async def end_as_interrupted(store: Store, record: Record, *, holder: str, lease: float, keep: float) -> None:
    """End a stream whose writer is gone; harmless where somebody else does, or the writer is back.

    Not in the name under which its hub writes: what that has begun in this place by now is refused only to others.
    """
    try:
        epoch = await store.acquire(record.id, holder=f"{holder} ends", lease=lease * _TO_END)
        record = await store.get(record.id) or record
        last = encode([to_error_event(StreamInterrupted("its writer died"))])
        chunk = Chunk(record.head, 1, epoch, last)
        await store.append(record.id, chunk, epoch=epoch, close=Closing("interrupted", "its writer died", keep))
    except (StreamBusy, Fenced, UnknownStream):
        return


class Follower:
    """One stream's copy; see the top of this file.

    Args:
        id, store: The stream, and where it is.
        limits: How much of it is kept here.
        holder, lease, keep: As whom, and how, a stream is ended whose writer is dead.
        gone: Told when nothing of it runs any more.

    Attributes:
        waiting: How many are about to read it.
        record: What the store said of it last.
    """

    __slots__ = (
        "_backend",
        "_clock",
        "_error",
        "_gone",
        "_holder",
        "_keep",
        "_lease",
        "_left",
        "_limits",
        "_log",
        "_opened",
        "_store",
        "_task",
        "closed",
        "id",
        "record",
        "waiting",
    )

    def __init__(
        self,
        id: str,
        store: Store,
        limits: Limits,
        backend: Backend,
        clock: Clock,
        *,
        holder: str,
        lease: float,
        keep: float,
        gone: Callable[[], None],
    ) -> None:
        self.id = id
        self.waiting = 0
        self.record: Record | None = None
        self._store = store
        self._limits = limits
        self._backend = backend
        self._clock = clock
        self._holder = holder
        self._lease = lease
        self._keep = keep
        self._gone = gone
        self._log: Log | None = None
        self._error: BaseException | None = None
        self._opened = anyio.Event()
        self._left = False
        # Set when nothing of it runs any more.
        self.closed = anyio.Event()
        self._task: Task = backend.spawn(self._follow, self._end, f"streamkit follower of {id}", self._over)

    async def opened(self) -> Log:
        """Its log, as soon as it is known that there is such a stream. `waiting` keeps it alive until the caller reads.

        Raises:
            UnknownStream: there is none.
            StoreError: the store cannot be asked.
        """
        await self._opened.wait()
        if self._log is None:
            raise self._error or unknown(self.id)
        return self._log

    def leave(self) -> None:
        """Nobody reads it here any more, or the hub goes."""
        if not self._left and not self._task.done:
            self._left = True
            self._task.cancel()

    def drain(self) -> None:
        """The hub goes; the stream goes on elsewhere."""
        log = self._log
        fault = StreamDraining("the hub is closing", last_id=log.token(log.head - 1) if log is not None and log.head else None)
        if log is None:
            self._error = fault
        elif not log.over:
            log.end(to_error_event(fault), fault)
        self.leave()

    @property
    def leaving(self) -> bool:
        """Whether it is of no use to who comes now."""
        return self._left

    def look(self) -> None:
        """Leave if nobody reads it, or is about to."""
        if not self.waiting and (self._log is None or not self._log.readers):
            self.leave()

    def _over(self) -> None:
        self._left = True
        self._opened.set()  # also if it was cancelled before it began, when nothing of it has run
        self._gone()
        self.closed.set()

    # -- its task

    async def _follow(self) -> None:
        try:
            await self._copy()
        except Exception as error:
            self._left = True  # who comes now asks the store anew
            self._error = error
            if self._log is not None:
                self._log.end(to_error_event(error), error)

    async def _end(self) -> None:
        if self._log is not None and not self._log.over and (self._log.readers or self.waiting):
            # Closing may have come before there was a log to end, and the task just far enough to make one.
            fault = self._error or StreamInterrupted("the task that copied it from its store was cancelled")
            self._log.end(to_error_event(fault), fault)

    async def _copy(self) -> None:
        record = await self._patiently(lambda: self._store.get(self.id))
        if record is None:
            raise unknown(self.id)
        self.record = record
        # Nobody has written under `first_epoch` itself.
        log = Log(
            self._backend,
            self._clock,
            self._limits,
            first=record.floor,
            first_epoch=record.first_epoch,
            epoch=record.first_epoch + 1,
            complete=False,
            started_at=record.created_at,
        )
        log.on_left = self.look
        self._log = log
        while not log.over:
            page = await self._patiently(lambda: self._store.read(self.id, log.head))
            if page.record.first_epoch != record.first_epoch:  # another one under its name
                raise unknown(self.id)
            self.record = record = page.record
            if record.floor > log.head:
                # A Gap has its place in front of what is kept event by event: who resumes finds it there.
                raise StoreError(
                    f"the store has forgotten events of stream {self.id!r:.80} before they were read here: resume", retryable=True
                )
            self._take(log, page.chunks)
            if log.head < record.head:
                continue
            if record.state != "running":
                self._seal(log, record)
                return
            self._opened.set()  # a reader that knows where it stands finds all that there is
            await self._wait(log, record)

    def _take(self, log: Log, chunks: Sequence[Chunk]) -> None:
        events: list[Event] = []
        for chunk in chunks:
            fresh = log.head + len(events)
            if chunk.first > fresh:
                raise StoreError(f"the store has forgotten events of stream {self.id!r:.80} before they were read here")
            known = decode(chunk.data, chunk.count)[fresh - chunk.first :]
            if chunk.epoch != log.epoch:
                log.extend(events)
                events = []
                log.turn_epoch(chunk.epoch)
            events += known
        if events:
            log.extend(events)

    def _seal(self, log: Log, record: Record) -> None:
        last = log.buffer[-1] if log.buffer else None
        if isinstance(last, Finish | ErrorEvent):
            log.seal()
        elif record.state in ("done", "cancelled"):
            log.end(Finish("cancelled" if record.state == "cancelled" else "stop"))
        else:
            log.end(ErrorEvent("The stream failed.", code=record.state))

    async def _wait(self, log: Log, record: Record) -> None:
        until = record.lease_until if record.lease_until is not None else record.created_at + self._lease
        left = until - time.time()
        if left <= 0:
            end = partial(end_as_interrupted, self._store, record, holder=self._holder, lease=self._lease, keep=self._keep)
            await self._patiently(end)
            left = _RETRY  # by the store's clock its writer may live yet
        # A little behind the lease: another wait of no length would be for nothing.
        await self._patiently(lambda: self._store.wait(self.id, log.head, seconds=min(left + 0.01, _LONGEST_WAIT)))

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask the store; again, for a while, where it is away."""
        give_up = self._clock.now() + _PATIENCE
        while True:
            try:
                return await ask()
            except StoreError as error:
                if not error.retryable or self._clock.now() > give_up:
                    raise
            await self._clock.sleep(_RETRY)
