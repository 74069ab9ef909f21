"""A stream's way into a store: behind the live path, in chunks, and never in its way.

Events wait in the log until they are stored, so that the store may be slow, or away, for as long as the log keeps them. What
it no longer keeps when the store is back is lost there: each lost event becomes a Gap, so that offsets stay what they
are and nobody takes the rest for whole. Live readers notice nothing of it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from streamkit.errors import Fenced, LocalProtocolError, StoreError, UnknownStream
from streamkit.events.model import Event, Gap
from streamkit.flow.tasks import current_backend
from streamkit.hub.chunks import encode
from streamkit.hub.log import weight_of
from streamkit.hub.producing import Producer
from streamkit.hub.stores.protocol import Chunk, Closing, Store

__all__ = ["Persister"]

LOGGER = logging.getLogger("streamkit.hub")

# What goes into one chunk, unless a single event is larger.
_CHUNK_EVENTS = 512
_CHUNK_BYTES = 1 << 18

# Seconds without an answer after which a store counts as failing.
_SLOW = 2.0

# Seconds between two tries while the store is away.
_FIRST_WAIT = 0.05
_LONGEST_WAIT = 2.0


class Persister:
    """Writes one stream into a store, as it grows.

    Args:
        store, epoch: Where, and as whom.
        producer: Of the stream.
        keep: Seconds that the store keeps it after its end.
        events, within: A chunk is written when so many events wait, or the first one has waited so many seconds.

    Attributes:
        stored: The offset of the first event that is not stored.
        lost: How many events the store will never have.
        failure: Why nothing more is stored, or None.
        failing: Whether the store refuses what it is given, or does not answer.
    """

    __slots__ = ("_asked_at", "_epoch", "_events", "_keep", "_log", "_producer", "_store", "_within", "failure", "lost", "stored")

    def __init__(self, store: Store, producer: Producer, *, epoch: int, keep: float, events: int, within: float) -> None:
        self._store = store
        self._producer = producer
        self._log = producer.log
        self._epoch = epoch
        self._keep = keep
        self._events = events
        self._within = within
        self.stored = 0
        self.lost = 0
        self.failure: Exception | None = None
        self._asked_at: float | None = None

    @property
    def failing(self) -> bool:
        asked_at = self._asked_at
        return self.failure is not None or (asked_at is not None and self._log.clock.now() - asked_at > _SLOW)

    async def run(self) -> None:
        """Store everything, and the end with it; returns when that is done, or cannot be."""
        try:
            await self._store_all()
        except Exception as error:  # whoever sees to the stream then must not take it for stored
            self.failure = error
            raise

    async def _store_all(self) -> None:
        log = self._log
        seat = log.crowd.seat()
        while True:
            while log.head == self.stored and not log.over:
                log.limit = 0
                await seat
            if log.head - self.stored < self._events and not log.over:
                await self._gather()
            count, events = self._next_events()
            ends = log.over and self.stored + count == log.head
            chunk = Chunk(self.stored, count, self._epoch, self._encoded(events)) if count else None
            closing = Closing(self._producer.state, self._producer.reason, self._keep) if ends else None
            if not await self._append(chunk, closing):
                return
            self.stored += count
            if ends:
                return

    async def _gather(self) -> None:
        """Let more come, for a while; an end is not kept waiting."""
        log, clock = self._log, self._log.clock
        waiter = current_backend().waiter()
        timer = clock.call_at(clock.now() + self._within, waiter.wake)
        log.on_over.append(waiter.wake)
        try:
            await waiter.wait()
        finally:
            timer.cancel()
            if not log.over:
                log.on_over.remove(waiter.wake)

    def _next_events(self) -> tuple[int, Sequence[Event]]:
        log = self._log
        missing = log.base - self.stored
        if missing > 0:
            count = min(missing, _CHUNK_EVENTS)
            if not self.lost:
                LOGGER.warning("stream %s: its store was away for too long; some events are missing there", self._producer.id)
            self.lost += count
            return count, [Gap(1)] * count
        start = self.stored - log.base
        # All that waits: a chunk costs its commit, and a source that is faster than that is not to fall behind.
        events = log.buffer[start : start + _CHUNK_EVENTS]
        weight = 0
        for at, event in enumerate(events):
            weight += weight_of(event)
            if weight > _CHUNK_BYTES and at:
                return at, events[:at]
        return len(events), events

    def _encoded(self, events: Sequence[Event]) -> bytes:
        try:
            return encode(events)
        except LocalProtocolError as error:
            LOGGER.warning("stream %s: an event cannot be stored (%s)", self._producer.id, error)
        kept = [event if _can_be_stored(event) else Gap(1) for event in events]
        if not _can_be_stored(*kept):  # each of them could, but all at once are too long
            kept = [Gap(1)] * len(events)
        self.lost += sum(event is not before for event, before in zip(kept, events, strict=True))
        return encode(kept)

    async def _append(self, chunk: Chunk | None, closing: Closing | None) -> bool:
        """Whether to go on."""
        wait = _FIRST_WAIT
        clock = self._log.clock
        while True:
            self._asked_at = clock.now()
            try:
                await self._store.append(self._producer.id, chunk, epoch=self._epoch, close=closing)
            except (Fenced, UnknownStream) as error:
                self.failure = error
                self._producer.interrupt("another writer has taken this stream over")
                return False
            except Exception as error:
                self.failure = error
                if not (isinstance(error, StoreError) and error.retryable):
                    LOGGER.exception("stream %s: its store failed, and has what came before", self._producer.id)
                    return False
                await clock.sleep(wait)
                wait = min(2 * wait, _LONGEST_WAIT)
            else:
                self.failure = None
                return True
            finally:
                self._asked_at = None


def _can_be_stored(*events: Event) -> bool:
    try:
        encode(events)
    except LocalProtocolError:
        return False
    return True
