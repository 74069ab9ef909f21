"""What a hub does for its store while it is open: renew its leases, hear what others want, end what the dead have left.

A task for each, because none may wait for another: a lease that is renewed late is lost. They are begun with the first thing
that the hub does with its store, and ended with the hub. A store that fails is asked again later; what it cannot do meanwhile,
live readers do not notice.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from streamkit.errors import StoreError
from streamkit.events.model import Finish
from streamkit.flow.clock import Clock
from streamkit.flow.tasks import Backend, Task
from streamkit.hub.following import end_as_interrupted
from streamkit.hub.producing import Producer
from streamkit.hub.stores.protocol import Store

__all__ = ["Keeper"]

LOGGER = logging.getLogger("streamkit.hub")

# Seconds that one wait for signals takes, and between two tries where the store fails.
_LONGEST_WAIT = 30.0
_RETRY = 0.5


class Keeper:
    """Those tasks.

    Args:
        store, holder, lease, keep: The store, as whom, for how many seconds a stream is held, and how long it is kept.
        writing: The streams that this hub writes now, each with its producer and its epoch.
        producer: That of a stream which runs in this hub, whether the store still takes it or has failed it; None without one.
    """

    __slots__ = ("_clock", "_failing", "_holder", "_keep", "_lease", "_producer", "_store", "_tasks", "_writing")

    def __init__(
        self,
        store: Store,
        backend: Backend,
        clock: Clock,
        *,
        holder: str,
        lease: float,
        keep: float,
        writing: Callable[[], Mapping[str, tuple[Producer, int]]],
        producer: Callable[[str], Producer | None],
        ended: Callable[[], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._holder = holder
        self._lease = lease
        self._keep = keep
        self._writing = writing
        self._producer = producer
        # What cannot be done at the moment, and was said.
        self._failing: set[str] = set()
        self._tasks: list[Task] = [
            # None lets an exception out: on trio it would end the whole run.
            backend.spawn(self._renew, _nothing, "streamkit leases", ended),
            backend.spawn(self._sweep, _nothing, "streamkit rounds", ended),
            backend.spawn(self._hear, _nothing, "streamkit signals", ended),
        ]

    @property
    def done(self) -> bool:
        """Whether all tasks are over."""
        return all(task.done for task in self._tasks)

    def leave(self) -> None:
        """Cancel them."""
        for task in self._tasks:
            if not task.done:
                task.cancel()

    async def _renew(self) -> None:
        while True:
            try:
                writing = self._writing()
                if writing:
                    epochs = {id: epoch for id, (_, epoch) in writing.items()}
                    for id in await self._store.renew(self._holder, epochs, lease=self._lease):
                        if id in writing:
                            writing[id][0].interrupt("another writer has taken this stream over")
            except Exception:
                self._failed("leases are not renewed")
            else:
                self._answered("leases are not renewed")
            await self._clock.sleep(self._lease / 3)

    async def _sweep(self) -> None:
        while True:
            try:
                await self._end_the_lost()
            except Exception:
                self._failed("what the dead have left is not ended")
            else:
                self._answered("what the dead have left is not ended")
            await self._clock.sleep(self._lease / 3)

    async def _end_the_lost(self) -> None:
        """End what the dead have left, and forget what is old."""
        failure: Exception | None = None
        lost = await self._store.sweep()
        writing = self._writing()  # once: it is made of all streams
        for record in lost:
            if record.holder == self._holder and record.id in writing:
                continue  # the store was away for longer than a lease, and is about to be told that this one lives
            try:
                await end_as_interrupted(self._store, record, holder=self._holder, lease=self._lease, keep=self._keep)
            except Exception as error:
                if isinstance(error, StoreError) and error.retryable:  # the store is away: for the others, too
                    raise
                failure = error
        if failure is not None:
            raise failure

    async def _hear(self) -> None:
        while True:
            try:
                for signal in await self._store.signals(self._holder, seconds=_LONGEST_WAIT):
                    producer = self._producer(signal.id)
                    if producer is not None:
                        producer.end(Finish("cancelled"), reason=signal.reason)
            except Exception:
                self._failed("it cannot be told from elsewhere to cancel")
                await self._clock.sleep(_RETRY)
            else:
                self._answered("it cannot be told from elsewhere to cancel")

    def _failed(self, so: str) -> None:
        """Say so once, however long the store is away."""
        if so not in self._failing:
            self._failing.add(so)
            LOGGER.warning("the store of a hub failed: %s", so, exc_info=True)

    def _answered(self, so: str) -> None:
        if so in self._failing:
            self._failing.discard(so)
            LOGGER.info("the store of a hub answers again (it had failed: %s)", so)


async def _nothing() -> None:
    """Nothing is to be closed."""
