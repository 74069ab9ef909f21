"""The streams of one hub: what it writes, what it keeps of them, and what it copies from its store.

    starting     being made in the store; whoever asks for it waits
    kept         written by this hub, running or over; forgotten when its time has come
    followed     written elsewhere, or over and in the store: copied as long as somebody reads it here

With a store, what is over and stored is kept there alone, so that every process tells the same of it. What the store does
not have, because it was away for too long, is kept here until its time has come.

Knows who may as little as what readers make of events: `hub` asks for the one (`permissions`), and makes the other (`reading`).
"""

from __future__ import annotations

import builtins
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

import anyio

from streamkit.errors import BufferFull, Fenced, StoreError, StreamBusy, StreamDraining, UnknownStream
from streamkit.events.model import Finish
from streamkit.flow.clock import Clock, current_clock
from streamkit.flow.latches import Latch
from streamkit.flow.siblings import Plan
from streamkit.flow.tasks import Backend, Task, current_backend
from streamkit.hub.expiring import Expiries
from streamkit.hub.following import Follower, end_as_interrupted, unknown
from streamkit.hub.keeping import Keeper
from streamkit.hub.log import Limits, Log
from streamkit.hub.persisting import Persister
from streamkit.hub.producing import OnDisconnect, Producer
from streamkit.hub.statuses import StreamStatus, status_of_producer, status_of_record
from streamkit.hub.stores.protocol import Record, Store
from streamkit.hub.tokens import first_epoch

__all__ = ["Allow", "Found", "Kept", "Registry", "Terms"]

T = TypeVar("T")

LOGGER = logging.getLogger("streamkit.hub")

_LONGEST_WAIT: Final = 30.0


class Terms(NamedTuple):
    """On which a stream is started: the arguments of `Hub.start`, checked."""

    owner: str | None
    metadata: Mapping[str, object]
    keep: float
    on_disconnect: OnDisconnect


class Found(NamedTuple):
    """A stream, wherever it is: how it is, and by which first epoch it is told from all others of its name."""

    status: StreamStatus
    first_epoch: int


# Told of a stream its owner and its first epoch; raises for who may not.
Allow: TypeAlias = Callable[[str | None, int], Awaitable[None]]


_STORED: Final = Latch()
_STORED.set()


class Kept:
    """A stream that this hub writes, or did."""

    __slots__ = ("epoch", "expires", "keep", "persister", "producer", "stored")

    def __init__(self, producer: Producer, persister: Persister | None, epoch: int, keep: float) -> None:
        self.producer = producer
        self.persister = persister
        self.epoch = epoch
        self.keep = keep
        # Set when all of it is in the store, or never will be.
        self.stored = _STORED if persister is None else Latch()
        # When it is forgotten, by the hub's clock; None as long as something of it runs.
        self.expires: float | None = None

    @property
    def status(self) -> StreamStatus:
        """How it is at this moment."""
        return status_of_producer(self.producer, self.persister)

    @property
    def told_elsewhere(self) -> bool:
        """Whether the store has all of it, or another writer's tale in its place."""
        persister = self.persister
        if persister is None:
            return False
        return not persister.lost if persister.failure is None else isinstance(persister.failure, Fenced | UnknownStream)


class Registry:
    """See the top of this file.

    Args:
        store: Where streams are kept for other processes, or None.
        limits: How much of each stream is kept event by event.
        ttl, lease: As the hub has them.
        flush: How many events make a chunk for the store, and how many seconds the first one waits.
        size: Most streams that are kept here.
        close_timeout: Seconds that a source gets to close, and the store at the end.
        also_end: Called when all streams are ended, for what else there is.

    Attributes:
        draining: Whether nothing more is started.
        closed: Whether it is being closed, or is.
    """

    def __init__(
        self,
        store: Store | None,
        limits: Limits,
        *,
        ttl: float,
        lease: float,
        flush: tuple[int, float],
        size: int,
        close_timeout: float,
        also_end: Callable[[], None],
    ) -> None:
        self.store = store
        self.close_timeout = close_timeout
        self.draining = False
        self.closed = False
        self.kept: dict[str, Kept] = {}
        self.followers: dict[str, Follower] = {}
        self.tasks: dict[Task, None] = {}
        # Those that are being made in the store, each with what tells whoever asks for it meanwhile.
        self.starting: dict[str, anyio.Event] = {}
        self.clock: Clock
        self._limits = limits
        self._ttl = ttl
        self._lease = lease
        self._flush = flush
        self._size = size
        self._also_end = also_end
        # Under this name other processes find it: what is sent there makes it cancel, so nobody is to guess it.
        self._holder = secrets.token_urlsafe(12)
        self._backend: Backend | None = None
        self._expiries: Expiries
        self._keeper: Keeper | None = None
        self._ended = anyio.Event()
        self._gone = anyio.Event()
        # Whether the store has had its time, when the hub is closed.
        self._late = False
        self._failure: Exception | None = None
        # One for all producers: a bound method for each weighs as much as a small object.
        self._told: Callable[[Producer], None] = self._closed_one

    def here(self) -> Backend:
        """The event loop that all of it belongs to: the first that uses it.

        Raises:
            StreamBusy: this is another one.
        """
        backend = current_backend()
        if self._backend is None:
            self._backend = backend
            self.clock = current_clock(backend)
            self._expiries = Expiries(self.clock, self._expire)
        else:
            self.check_loop(backend)
        return self._backend

    def check_loop(self, backend: Backend) -> None:
        """Raise StreamBusy for another event loop than the one that it belongs to."""
        if self._backend is not None and backend.loop is not self._backend.loop:
            raise StreamBusy("a hub belongs to the event loop that first used it, and this is another one")

    def check_open(self) -> None:
        """Raise StreamDraining if nothing more is started."""
        if self.draining:
            raise StreamDraining("this hub is closing, and starts nothing more")

    # -- starting

    async def begin(self, id: str, plan: Plan, terms: Terms) -> int | None:
        """Run a source; the first epoch of its stream, or None if there is one of this name by now."""
        self.check_open()  # again: it may have closed while another stream made room for this one
        if id in self.starting or id in self.kept:
            return None
        self._make_room()
        first = first_epoch()
        store = self.store
        if store is None:
            self._run(id, plan, terms, first, first + 1)
            return first
        self._keep_store()
        self.starting[id] = anyio.Event()
        epoch, record = 0, None
        try:
            if await store.create(id, owner=terms.owner, metadata=terms.metadata, first_epoch=first):
                epoch, record = await self._acquire(store, id, first)
                self.check_open()
            if record is not None:
                # What is made of the stream's age is the same in each process that reads it.
                self._run(id, plan, terms, first, epoch, record.created_at)
        except BaseException as error:
            # Whatever the store said: a call that failed or was cancelled may have made it all the same.
            gone = self.starting[id]
            self._spawn(partial(_undo, store, id, first), f"streamkit undo of {id}", partial(self._started, id))
            if isinstance(error, Exception):
                await gone.wait()
            raise
        self._started(id)
        return None if record is None else first

    async def _acquire(self, store: Store, id: str, first_epoch: int) -> tuple[int, Record | None]:
        """The epoch and the record of a stream that was just made; None if another process has replaced it since."""
        try:
            epoch = await store.acquire(id, holder=self._holder, lease=self._lease)
        except (UnknownStream, StreamBusy, Fenced):
            await _undo(store, id, first_epoch)
            return 0, None
        record = await store.get(id)
        # Where it is the other's, who has made it and did not have it yet: that one finds it held, takes it back, and begins anew.
        return epoch, record if record is not None and record.first_epoch == first_epoch else None

    def _started(self, id: str) -> None:
        """It runs, or never will."""
        self.starting.pop(id).set()
        self._task_ended()

    def _run(self, id: str, plan: Plan, terms: Terms, first: int, epoch: int, started_at: float | None = None) -> None:
        backend = self.here()
        log = Log(backend, self.clock, self._limits, first_epoch=first, epoch=epoch, started_at=started_at)
        producer = Producer(
            id,
            plan,
            log,
            owner=terms.owner,
            metadata=terms.metadata,
            on_disconnect=terms.on_disconnect,
            close_timeout=self.close_timeout,
        )
        persister = None
        if self.store is not None:
            events, within = self._flush
            persister = Persister(self.store, producer, epoch=epoch, keep=terms.keep, events=events, within=within)
        kept = self.kept[id] = Kept(producer, persister, epoch, terms.keep)
        if persister is not None:

            def stored() -> None:
                kept.stored.set()
                self._settle(kept)

            self._spawn(persister.run, f"streamkit store of {id}", stored)
        producer.begin(backend, self._told)

    def _make_room(self) -> None:
        running = len(self.kept) + len(self.starting)
        if running < self._size:
            return
        over = next((kept for kept in self.kept.values() if kept.expires is not None), None)
        if over is None:
            raise BufferFull(
                f"this hub runs {running} streams, and may keep no more: end some, or give it a larger max_streams",
                size=self._size,
            )
        self._forget(over)

    async def clear(self, id: str, reason: str) -> None:
        """Make an end of a stream, and forget it.

        Raises:
            StreamBusy: another process writes it.
            StoreError: the store has not taken its end within `close_timeout`, or does not answer.
        """
        kept = await self.begun(id)
        if kept is not None:
            kept.producer.end(Finish("cancelled"), reason=reason)
            await kept.producer.closed.wait()
            await self._stored(kept)
            if not kept.stored.is_set():
                raise StoreError(f"the stream {id!r:.80} is over, and the store does not take its end: try again", retryable=True)
            self._forget(kept)
        if self.store is None or id in self.starting or id in self.kept:
            return
        self.starting[id] = anyio.Event()  # another start waits: what it creates must not be deleted here
        try:
            record = await self.store.get(id)
            # What this hub holds and does not write: the store has failed it for good.
            if record is not None and record.state == "running" and record.holder != self._holder:
                raise StreamBusy(f"the stream {id!r:.80} runs in another process: cancel it, and start it again when it is over")
            if record is not None:
                await self.store.delete(id, first_epoch=record.first_epoch)
        finally:
            self._started(id)

    # -- looking

    async def begun(self, id: str) -> Kept | None:
        """The stream if this hub writes it, or keeps it; while it is being started, as soon as that is done."""
        while id in self.starting:
            await self.starting[id].wait()
        return self.kept.get(id)

    async def record(self, id: str) -> Record | None:
        """What the store knows of it; a stream whose writer is dead is ended first."""
        if self.store is None or self.closed:
            return None
        self._keep_store()
        record = await self.store.get(id)
        if record is not None and record.state == "running" and _left_of(record, self._lease) <= 0:
            await self._interrupt(self.store, record)
            record = await self.store.get(id)
        return record

    async def find(self, id: str) -> Found | None:
        """A stream, wherever it is."""
        self.here()
        kept = await self.begun(id)
        if kept is not None:
            return Found(kept.status, kept.producer.log.first_epoch)
        record = await self.record(id)
        return None if record is None else Found(status_of_record(record), record.first_epoch)

    async def list(self) -> builtins.list[StreamStatus]:
        """How all are, newest first."""
        self.here()
        found = {id: kept.status for id, kept in self.kept.items()}
        if self.store is not None:
            for record in await self.store.list():
                found.setdefault(record.id, status_of_record(record))
        return sorted(found.values(), key=lambda status: status.started_at, reverse=True)

    async def sit(self, id: str, allow: Allow, sit: Callable[[Log], T]) -> T:
        """What `sit` makes of the log of this stream, which is here, or is copied from its store as long as somebody reads it.

        Args:
            id: Its name.
            allow: Awaited with its owner and its first epoch; raises for who may not.
            sit: Called with the log, in the same turn in which it was found.

        Raises:
            UnknownStream: there is none.
        """
        backend = self.here()
        while True:
            kept = await self.begun(id)
            if kept is not None:
                await allow(kept.producer.owner, kept.producer.log.first_epoch)
                return sit(kept.producer.log)
            if self.store is None or self.closed:
                raise unknown(id)
            self._keep_store()
            follower = self.followers.get(id)
            joins = follower is not None
            if follower is None:
                follower = self.followers[id] = Follower(
                    id,
                    self.store,
                    self._limits,
                    backend,
                    self.clock,
                    holder=self._holder,
                    lease=self._lease,
                    keep=self._ttl,
                    gone=partial(self._followed, id),
                )
            if follower.leaving:  # the reader before was the last one: who comes now begins anew
                await follower.closed.wait()
                continue
            follower.waiting += 1
            try:
                log = await follower.opened()
                assert follower.record is not None
                if not (joins and await self._is_replaced(self.store, follower.record)):
                    await allow(follower.record.owner, follower.record.first_epoch)
                    return sit(log)
            finally:
                follower.waiting -= 1
                follower.look()
            await follower.closed.wait()  # it is about to find that out, for those who read it

    async def _is_replaced(self, store: Store, record: Record) -> bool:
        """Whether there is another stream of this name by now, which a copy that waits for news may not know yet."""
        try:
            now = await store.get(record.id)
        except StoreError:
            return False  # the copy is what can be had
        return now is not None and now.first_epoch != record.first_epoch

    def _followed(self, id: str) -> None:
        del self.followers[id]
        self._task_ended()

    # -- ending

    async def end(self, id: str, reason: str | None, allow: Allow) -> bool:
        """End it on request, wherever it runs; whether this did.

        Raises:
            UnknownStream: there is none.
            StoreError: it runs elsewhere, and cannot be told.
        """
        self.here()
        kept = await self.begun(id)
        if kept is not None:
            await allow(kept.producer.owner, kept.producer.log.first_epoch)
            first = not kept.producer.log.over
            kept.producer.end(Finish("cancelled"), reason=reason)
            await kept.producer.closed.wait()
            await self._stored(kept)
            return first
        record = await self.record(id)
        if record is None or self.store is None:
            raise unknown(id)
        await allow(record.owner, record.first_epoch)
        if record.state != "running" or not await self.store.signal(id, "cancel", reason):
            return False
        return await self._ended_elsewhere(self.store, record, reason)

    async def _ended_elsewhere(self, store: Store, record: Record, reason: str | None) -> bool:
        """Wait until its writer has ended it, or is dead; whether it was cancelled."""
        id, first_epoch = record.id, record.first_epoch
        while record.state == "running":
            wait = min(max(_left_of(record, self._lease), 0.0), _LONGEST_WAIT)
            record = await store.wait(id, record.head, seconds=wait + 0.01)
            if record.first_epoch != first_epoch:  # it was replaced, and is over
                return False
            # Again: what its writer was told may have been lost on the way, and twice says nothing more than once.
            await store.signal(id, "cancel", reason)
            if record.state == "running" and _left_of(record, self._lease) <= 0:
                await self._interrupt(store, record)
                record = await self.record(id) or record
        return record.state == "cancelled"

    async def _interrupt(self, store: Store, record: Record) -> None:
        await end_as_interrupted(store, record, holder=self._holder, lease=self._lease, keep=self._ttl)

    async def _stored(self, kept: Kept) -> None:
        """Wait until all of it is in the store, as long as that may take."""
        if kept.stored.is_set():
            return
        with anyio.CancelScope() as scope:
            timer = self.clock.call_at(self.clock.now() + self.close_timeout, scope.cancel)
            try:
                await kept.stored.wait()
            finally:
                timer.cancel()

    # -- forgetting

    def _closed_one(self, producer: Producer) -> None:
        """A source of ours is closed."""
        kept = self.kept.get(producer.id)
        if kept is not None and kept.producer is producer:
            self._settle(kept)

    def _settle(self, kept: Kept) -> None:
        """Something of it has ended: once nothing of it runs, it is kept for those who come late."""
        if kept.expires is not None or self.closed or not (kept.producer.closed.is_set() and kept.stored.is_set()):
            return
        if kept.told_elsewhere:
            self._forget(kept)
        else:
            kept.expires = self._expiries.add(kept.producer.id, kept.keep)

    def _expire(self, id: str, when: float) -> None:
        kept = self.kept.get(id)
        if kept is not None and kept.expires == when:
            self._forget(kept)

    def _forget(self, kept: Kept) -> None:
        if self.kept.get(kept.producer.id) is kept:
            del self.kept[kept.producer.id]

    # -- closing

    async def drain(self, seconds: float | None) -> None:
        """Start nothing more; wait until all are over, or so many seconds, and end the others."""
        self.draining = True
        if self._backend is None:
            return
        self.here()
        timer = None if seconds is None else self.clock.call_at(self.clock.now() + seconds, self._end_all)
        if seconds == 0:
            self._end_all()
        try:
            for kept in tuple(self.kept.values()):
                await kept.producer.closed.wait()
        finally:
            if timer is not None:
                timer.cancel()
        self._end_all()  # those too that are copied here from elsewhere

    async def aclose(self) -> None:
        """End all, and let go of the store. Whatever cancels the caller, all of it is done, and once.

        Raises:
            Exception: what the store failed with when it was closed.
        """
        backend = self.here()
        if not self.closed:
            self.closed = self.draining = True
            backend.spawn(self._close, _nothing, "streamkit closing of a hub", self._gone.set)
        await backend.finish(self._gone.wait, self._gone.is_set)
        if self._failure is not None:
            raise self._failure

    async def _close(self) -> None:
        self._end_all()
        for kept in tuple(self.kept.values()):
            await kept.producer.closed.wait()
        timer = self.clock.call_at(self.clock.now() + self.close_timeout, self._cancel_tasks)
        # A start that is on its way takes back what it has made, as long as there is a store.
        await self._until(lambda: not self.tasks and (self._late or not self.starting))
        timer.cancel()
        self._expiries.cancel()
        keeper = self._keeper
        if keeper is not None:
            keeper.leave()
        await self._until(lambda: not self.followers and (keeper is None or keeper.done))
        self.kept.clear()
        if self.store is not None:
            try:
                await self.store.aclose()
            except Exception as error:  # no exception may leave a task of ours: whoever closes the hub raises it
                self._failure = error

    def _end_all(self) -> None:
        for kept in tuple(self.kept.values()):
            kept.producer.drain()
        for follower in tuple(self.followers.values()):
            follower.drain()
        self._also_end()

    async def _until(self, done: Callable[[], bool]) -> None:
        """Wait for tasks of this hub; one caller at a time."""
        while not done():
            self._ended = anyio.Event()
            await self._ended.wait()

    def _cancel_tasks(self) -> None:
        self._late = True
        for task in tuple(self.tasks):
            task.cancel()
        self._task_ended()

    # -- tasks

    def _keep_store(self) -> None:
        if self._keeper is None and self.store is not None and not self.closed:
            self._keeper = Keeper(
                self.store,
                self.here(),
                self.clock,
                holder=self._holder,
                lease=self._lease,
                keep=self._ttl,
                writing=self._writing,
                producer=self._producer_of,
                ended=self._task_ended,
            )

    def _producer_of(self, id: str) -> Producer | None:
        kept = self.kept.get(id)
        return None if kept is None else kept.producer

    def _writing(self) -> dict[str, tuple[Producer, int]]:
        return {id: (kept.producer, kept.epoch) for id, kept in self.kept.items() if not kept.stored.is_set()}

    def _spawn(self, main: Callable[[], Coroutine[Any, Any, None]], name: str, done: Callable[[], None]) -> None:
        backend = self.here()

        def ended() -> None:
            self.tasks.pop(task, None)
            done()
            self._task_ended()

        task = backend.spawn(partial(_logged, main, name), _nothing, name, ended)
        self.tasks[task] = None
        if self._late:  # a start that is cancelled when the hub has gone: nobody else would end this
            task.cancel()

    def _task_ended(self) -> None:
        self._ended.set()


async def _logged(main: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
    """No exception may leave a task of ours: on trio it would end the whole run."""
    try:
        await main()
    except Exception:
        LOGGER.exception("%s failed", name)


async def _nothing() -> None:
    """There is nothing to clean up."""


async def _undo(store: Store, id: str, first_epoch: int) -> None:
    """Take back a stream that was made, and never began."""
    with suppress(StoreError):  # its lease runs out, then: somebody will end it
        await store.delete(id, first_epoch=first_epoch)


def _left_of(record: Record, lease: float) -> float:
    """Seconds until its writer may be taken for dead."""
    until = record.lease_until if record.lease_until is not None else record.created_at + lease
    return until - time.time()
