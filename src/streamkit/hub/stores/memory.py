"""A store in this process's memory: for several hubs of one process, and the model of what every store does.

Knows no threads: the hubs that share one live in one thread. A call that need not wait is over before anybody else's turn.
"""

from __future__ import annotations

import builtins
import time
from bisect import bisect_right
from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

from streamkit.flow.clock import current_clock
from streamkit.flow.plan import check_callable, check_count, check_seconds
from streamkit.flow.tasks import Waiter, current_backend
from streamkit.hub.stores.protocol import Chunk, Closing, Page, Record, Signal
from streamkit.hub.stores.rules import (
    LARGEST,
    MAX_CHUNK_BYTES,
    check_chunk,
    check_create,
    check_wait,
    holds,
    is_lost,
    settle_acquire,
    settle_append,
    settle_writer,
    store_closed,
    unknown_stream,
)

__all__ = ["MemoryStore"]


class MemoryStore:
    """Streams in memory, gone with the process.

    Args:
        clock_time: Tells the time in Unix seconds, for leases and expiry.

    Memory: the chunks of all streams, until they are trimmed, deleted, or swept after they have expired.
    Cancellation: a call that waits ends at once and leaves nothing; the others cannot be interrupted.

    >>> async def two_hubs():
    ...     store = MemoryStore()
    ...     await store.create("answer", owner=None, metadata={}, first_epoch=7)
    ...     epoch = await store.acquire("answer", holder="one", lease=10)
    ...     await store.append("answer", Chunk(0, 2, epoch, b"..."), epoch=epoch, close=Closing("done"))
    ...     return await store.wait("answer", 0, seconds=5)
    >>> record = run(two_hubs())
    >>> record.head, record.state
    (2, 'done')
    """

    def __init__(self, *, clock_time: Callable[[], float] = time.time) -> None:
        check_callable("MemoryStore", clock_time)
        self._now = clock_time
        self._streams: dict[str, _Kept] = {}
        self._signals: dict[tuple[str, str], Signal] = {}
        # Who waits, in the order in which they came: a seed is to give the same run each time.
        self._listening: dict[str, dict[Waiter, None]] = {}
        self._closed = False

    async def create(self, id: str, *, owner: str | None, metadata: Mapping[str, object], first_epoch: int) -> bool:
        """As `Store.create`."""
        self._check_open()
        about = check_create(first_epoch, metadata)
        if self._find(id) is not None:
            return False
        record = Record(id, owner, {}, created_at=self._now(), first_epoch=first_epoch, epoch=first_epoch)
        self._streams[id] = _Kept(record, about)
        return True

    async def acquire(self, id: str, *, holder: str, lease: float) -> int:
        """As `Store.acquire`."""
        check_seconds("acquire", "lease", lease)
        kept = self._of(id)
        now = self._now()
        settle_acquire(id, kept.record, holder, now)
        epoch = kept.record.epoch + 1
        kept.change(epoch=epoch, holder=holder, lease_until=now + lease)
        if any(signalled == id for signalled, _ in self._signals):
            self._tell(holder)
        return epoch

    async def renew(self, holder: str, epochs: Mapping[str, int], *, lease: float) -> set[str]:
        """As `Store.renew`."""
        check_seconds("renew", "lease", lease)
        self._check_open()
        lost: set[str] = set()
        for id, epoch in epochs.items():
            kept = self._find(id)
            if kept is not None and holds(kept.record, holder, epoch):
                kept.change(lease_until=self._now() + lease)
            else:
                lost.add(id)
        return lost

    async def append(self, id: str, chunk: Chunk | None, *, epoch: int, close: Closing | None = None) -> None:
        """As `Store.append`."""
        check_chunk(chunk, epoch, close, MAX_CHUNK_BYTES)
        kept = self._of(id)
        record = kept.record
        written = settle_append(id, record, chunk, epoch, close, kept.chunk_at)
        if written and chunk is not None:
            kept.chunks.append(chunk)
            kept.change(head=chunk.first + chunk.count, bytes=record.bytes + len(chunk.data))
        ended = close is not None and record.state == "running"
        if ended and close is not None:
            now = self._now()
            kept.change(state=close.state, reason=close.reason, lease_until=None, ended_at=now, expires_at=now + close.keep)
            self._drop_signals(id)
        if written or ended:
            kept.wake()

    async def read(self, id: str, first: int, *, max_bytes: int = 1 << 20) -> Page:
        """As `Store.read`."""
        check_count("read", "max_bytes", max_bytes, 1)
        kept = self._of(id)
        chunks: list[Chunk] = []
        size = 0
        if first < kept.record.head:
            at = max(bisect_right(kept.chunks, first, key=_first) - 1, 0)
            for chunk in kept.chunks[at:]:
                size += len(chunk.data)
                if chunks and size > max_bytes:
                    break
                chunks.append(chunk)
        return Page(kept.told(), chunks)

    async def wait(self, id: str, head: int, *, seconds: float) -> Record:
        """As `Store.wait`."""
        check_wait("wait", seconds)
        kept = self._of(id)

        def ready() -> bool:
            return kept.gone or kept.record.head > head or kept.record.state != "running"

        await self._park(kept.parked, ready, seconds)
        if kept.gone:
            raise unknown_stream(id)
        return kept.told()

    async def signal(self, id: str, kind: Literal["cancel"], reason: str | None = None) -> bool:
        """As `Store.signal`."""
        self._check_open()
        kept = self._find(id)
        if kept is None or kept.record.state != "running" or kept.record.holder is None:
            return False
        # A second one before the first was received says nothing new, and must not fill the store.
        self._signals.setdefault((id, kind), Signal(id, kind, reason))
        self._tell(kept.record.holder)
        return True

    async def signals(self, holder: str, *, seconds: float) -> builtins.list[Signal]:
        """As `Store.signals`."""
        check_wait("signals", seconds)
        self._check_open()
        listening = self._listening.setdefault(holder, {})
        try:
            await self._park(listening, lambda: bool(self._signals_for(holder)), seconds)
        finally:
            if not listening:
                self._listening.pop(holder, None)
        found = self._signals_for(holder)
        return [self._signals.pop(one) for one in found]

    async def get(self, id: str) -> Record | None:
        """As `Store.get`."""
        self._check_open()
        kept = self._find(id)
        return None if kept is None else kept.told()

    async def list(self, *, limit: int = 1000) -> builtins.list[Record]:
        """As `Store.list`."""
        check_count("list", "limit", limit, 1)
        self._check_open()
        now = self._now()
        newest = (kept for kept in reversed(self._streams.values()) if not kept.has_expired(now))
        return [kept.told() for kept, _ in zip(newest, range(limit), strict=False)]

    async def trim(self, id: str, floor: int, *, epoch: int) -> None:
        """As `Store.trim`."""
        kept = self._of(id)
        settle_writer(id, kept.record, epoch)
        gone = 0
        while gone < len(kept.chunks) and kept.chunks[gone].first + kept.chunks[gone].count <= floor:
            gone += 1
        if gone:
            freed = sum(len(chunk.data) for chunk in kept.chunks[:gone])
            del kept.chunks[:gone]
            lowest = kept.chunks[0].first if kept.chunks else kept.record.head
            kept.change(floor=lowest, bytes=kept.record.bytes - freed)

    async def delete(self, id: str, *, first_epoch: int | None = None) -> None:
        """As `Store.delete`."""
        self._check_open()
        kept = self._streams.get(id)
        if kept is not None and first_epoch in (None, kept.record.first_epoch):
            self._forget(id)

    async def sweep(self) -> builtins.list[Record]:
        """As `Store.sweep`."""
        self._check_open()
        now = self._now()
        for id in [id for id, kept in self._streams.items() if kept.has_expired(now)]:
            self._forget(id)
        return [kept.told() for kept in self._streams.values() if is_lost(kept.record, now)]

    async def aclose(self) -> None:
        """As `Store.aclose`; the streams are gone."""
        self._closed = True
        for kept in self._streams.values():
            kept.wake()
        for holder in self._listening:
            self._tell(holder)
        self._streams.clear()
        self._signals.clear()

    def _check_open(self) -> None:
        if self._closed:
            raise store_closed()

    def _find(self, id: str) -> _Kept | None:
        kept = self._streams.get(id)
        if kept is not None and kept.has_expired(self._now()):
            self._forget(id)
            return None
        return kept

    def _of(self, id: str) -> _Kept:
        self._check_open()
        kept = self._find(id)
        if kept is None:
            raise unknown_stream(id)
        return kept

    def _forget(self, id: str) -> None:
        kept = self._streams.pop(id, None)
        if kept is not None:
            kept.gone = True
            self._drop_signals(id)
            kept.wake()

    def _drop_signals(self, id: str) -> None:
        for one in [one for one in self._signals if one[0] == id]:
            del self._signals[one]

    def _signals_for(self, holder: str) -> builtins.list[tuple[str, str]]:
        return [one for one in self._signals if self._streams[one[0]].record.holder == holder]

    def _tell(self, holder: str) -> None:
        for waiter in tuple(self._listening.get(holder, ())):
            waiter.wake()

    async def _park(self, parked: dict[Waiter, None], ready: Callable[[], bool], seconds: float) -> None:
        """Until it is so, the time is up, or the store is closed."""
        if ready() or seconds == 0:
            return
        backend = current_backend()
        clock = current_clock(backend)
        waiter = backend.waiter()
        parked[waiter] = None
        time_up = False

        def wake() -> None:
            # Said here and not read off the clock: uvloop's timers run a hair before their time.
            nonlocal time_up
            time_up = True
            waiter.wake()

        timer = clock.call_at(clock.now() + seconds, wake) if seconds <= LARGEST else None
        try:
            while not ready() and not time_up:
                await waiter.wait()
                self._check_open()
        finally:
            parked.pop(waiter, None)
            if timer is not None:
                timer.cancel()


class _Kept:
    """One stream: its record, its chunks, and who waits for more of them."""

    __slots__ = ("about", "chunks", "gone", "parked", "record")

    def __init__(self, record: Record, about: bytes) -> None:
        self.record = record
        self.about = about
        self.chunks: list[Chunk] = []
        self.parked: dict[Waiter, None] = {}
        self.gone = False

    def told(self) -> Record:
        """The record for a caller, who may do with its metadata what it likes."""
        return msgspec.structs.replace(self.record, metadata=msgspec.json.decode(self.about))

    def change(self, **fields: object) -> None:
        self.record = msgspec.structs.replace(self.record, **fields)

    def chunk_at(self, first: int) -> Chunk | None:
        at = bisect_right(self.chunks, first, key=_first) - 1
        return self.chunks[at] if at >= 0 and self.chunks[at].first == first else None

    def has_expired(self, now: float) -> bool:
        return self.record.expires_at is not None and self.record.expires_at <= now

    def wake(self) -> None:
        for waiter in tuple(self.parked):
            waiter.wake()


def _first(chunk: Chunk) -> int:
    return chunk.first
