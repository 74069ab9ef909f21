"""The suite for stores finds each of many broken ones, and names the rule that it breaks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from itertools import count
from types import SimpleNamespace
from typing import Any, Literal

import msgspec
import pytest

from streamkit.errors import Fenced, StoreError, UnknownStream
from streamkit.flow.clock import current_clock
from streamkit.hub.stores.memory import MemoryStore
from streamkit.hub.stores.protocol import Chunk, Closing, Page, Record
from streamkit.testing import ContractBroken, VirtualClock, store_contract
from streamkit.testing.store_contract import STORE_RULES, check_store

# A fault in memory is the same on every event loop.
pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]


class MakesTwice(MemoryStore):
    async def create(self, id: str, **given: Any) -> bool:
        self._streams.pop(id, None)
        return await super().create(id, **given)


class SharesMetadata(MemoryStore):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.given: dict[str, Any] = {}

    async def create(self, id: str, **given: Any) -> bool:
        self.given[id] = given["metadata"]
        return await super().create(id, **given)

    async def get(self, id: str) -> Record | None:
        record = await super().get(id)
        return record and msgspec.structs.replace(record, metadata=self.given[id])


class ListsOldestFirst(MemoryStore):
    async def list(self, *, limit: int = 1000) -> Any:
        return (await super().list(limit=1000))[::-1][:limit]


class ForgetsFencing(MemoryStore):
    async def append(self, id: str, chunk: Chunk | None, *, epoch: int, close: Closing | None = None) -> None:
        epoch = self._of(id).record.epoch
        await super().append(id, chunk and msgspec.structs.replace(chunk, epoch=epoch), epoch=epoch, close=close)


class GivesTheSameEpoch(MemoryStore):
    async def acquire(self, id: str, *, holder: str, lease: float) -> int:
        again = self._of(id).record.holder is not None
        epoch = await super().acquire(id, holder=holder, lease=lease)
        if again:
            self._of(id).change(epoch=epoch - 1)
        return self._of(id).record.epoch


class GivesAwayWhatIsHeld(MemoryStore):
    async def acquire(self, id: str, *, holder: str, lease: float) -> int:
        if self._of(id).record.state == "running":
            self._of(id).change(lease_until=None)
        return await super().acquire(id, holder=holder, lease=lease)


class RefusesSlowWriters(MemoryStore):
    async def append(self, id: str, chunk: Chunk | None, *, epoch: int, close: Closing | None = None) -> None:
        until = self._of(id).record.lease_until
        if until is not None and until < self._now():
            raise Fenced("too slow")
        await super().append(id, chunk, epoch=epoch, close=close)


class LosesNothing(MemoryStore):
    async def renew(self, holder: str, epochs: Any, *, lease: float) -> set[str]:
        await super().renew(holder, epochs, lease=lease)
        return set()


class AcceptsGaps(MemoryStore):
    async def append(self, id: str, chunk: Chunk | None, *, epoch: int, close: Closing | None = None) -> None:
        kept = self._of(id)
        if chunk is not None and chunk.first > kept.record.head and epoch == kept.record.epoch:
            kept.change(head=chunk.first)
        await super().append(id, chunk, epoch=epoch, close=close)


class RefusesRepeats(MemoryStore):
    async def append(self, id: str, chunk: Chunk | None, *, epoch: int, close: Closing | None = None) -> None:
        if chunk is not None and self._of(id).chunk_at(chunk.first) == chunk:
            raise StoreError("twice")
        await super().append(id, chunk, epoch=epoch, close=close)


class TakesAnythingForARepeat(MemoryStore):
    async def append(self, id: str, chunk: Chunk | None, *, epoch: int, close: Closing | None = None) -> None:
        record = self._of(id).record
        if record.state == "running" and epoch == record.epoch and chunk is not None and chunk.first < record.head:
            return
        await super().append(id, chunk, epoch=epoch, close=close)


class EndsBeforeTheLastEvents(MemoryStore):
    async def append(self, id: str, chunk: Chunk | None, *, epoch: int, close: Closing | None = None) -> None:
        kept = self._of(id)
        if chunk is None or close is None or kept.record.state != "running" or chunk.first != kept.record.head:
            await super().append(id, chunk, epoch=epoch, close=close)
            return
        await super().append(id, None, epoch=epoch, close=close)
        await current_clock().sleep(0.01)
        kept.chunks.append(chunk)
        kept.change(head=chunk.first + chunk.count, bytes=kept.record.bytes + len(chunk.data))


class RefusesTheSecondClosing(MemoryStore):
    async def append(self, id: str, chunk: Chunk | None, *, epoch: int, close: Closing | None = None) -> None:
        if self._of(id).record.state != "running":
            raise Fenced("it is over")
        await super().append(id, chunk, epoch=epoch, close=close)


class LeavesOutTheChunkInTheMiddle(MemoryStore):
    async def read(self, id: str, first: int, *, max_bytes: int = 1 << 20) -> Page:
        page = await super().read(id, first, max_bytes=max_bytes)
        return msgspec.structs.replace(page, chunks=[chunk for chunk in page.chunks if chunk.first >= first])


class KnowsNoLimit(MemoryStore):
    async def read(self, id: str, first: int, *, max_bytes: int = 1 << 20) -> Page:
        return await super().read(id, first)


class LosesWakeUps(MemoryStore):
    async def append(self, id: str, chunk: Chunk | None, *, epoch: int, close: Closing | None = None) -> None:
        self._of(id).parked.clear()
        await super().append(id, chunk, epoch=epoch, close=close)


class WakesOneOnly(MemoryStore):
    async def append(self, id: str, chunk: Chunk | None, *, epoch: int, close: Closing | None = None) -> None:
        for waiter in list(self._of(id).parked)[1:]:
            self._of(id).parked.pop(waiter)
        await super().append(id, chunk, epoch=epoch, close=close)


class WaitsForEver(MemoryStore):
    async def wait(self, id: str, head: int, *, seconds: float) -> Record:
        return await super().wait(id, head, seconds=3600.0)


class NeverWaits(MemoryStore):
    async def wait(self, id: str, head: int, *, seconds: float) -> Record:
        return await super().wait(id, head, seconds=0)


class DeletesInSilence(MemoryStore):
    async def delete(self, id: str, *, first_epoch: int | None = None) -> None:
        if id in self._streams:
            self._streams[id].parked.clear()
        await super().delete(id, first_epoch=first_epoch)


class DeletesWhateverHasTheName(MemoryStore):
    async def delete(self, id: str, *, first_epoch: int | None = None) -> None:
        await super().delete(id)


class SignalsTwice(MemoryStore):
    async def signals(self, holder: str, *, seconds: float) -> Any:
        before = dict(self._signals)
        got = await super().signals(holder, seconds=seconds)
        if len(got) > 1:
            self._signals.update(before)
        return got


class SignalsToAnybody(MemoryStore):
    def _signals_for(self, holder: str) -> Any:
        return list(self._signals)


class ForgetsSignalsOfTheFormerWriter(MemoryStore):
    async def acquire(self, id: str, *, holder: str, lease: float) -> int:
        epoch = await super().acquire(id, holder=holder, lease=lease)
        self._drop_signals(id)
        return epoch


class SignalsInSilence(MemoryStore):
    def _tell(self, holder: str) -> None:
        self._listening.pop(holder, None)


class TakesSignalsForNobody(MemoryStore):
    async def signal(self, id: str, kind: Literal["cancel"], reason: str | None = None) -> bool:
        await super().signal(id, kind, reason)
        return True


class NeverForgets(MemoryStore):
    def _find(self, id: str) -> Any:
        return self._streams.get(id)


class SweepsTheDead(MemoryStore):
    async def sweep(self) -> Any:
        lost = await super().sweep()
        for record in lost:
            self._forget(record.id)
        return lost


class TrimsHalfChunks(MemoryStore):
    async def trim(self, id: str, floor: int, *, epoch: int) -> None:
        await super().trim(id, floor, epoch=epoch)
        kept = self._of(id)
        if 0 < floor <= kept.record.head:
            kept.change(floor=floor)


class CutsNamesAtNul(MemoryStore):
    async def create(self, id: str, **given: Any) -> bool:
        cut = id.partition("\0")[0]
        made = await super().create(cut, **given)
        self._streams[id] = self._streams[cut]
        return made


class LosesHighBytes(MemoryStore):
    async def append(self, id: str, chunk: Chunk | None, *, epoch: int, close: Closing | None = None) -> None:
        if chunk is not None and max(chunk.data, default=0) > 127:
            chunk = msgspec.structs.replace(chunk, data=chunk.data.decode("latin-1").encode("ascii", "ignore"))
        await super().append(id, chunk, epoch=epoch, close=close)


class CancelsTakeSignals(MemoryStore):
    async def signals(self, holder: str, *, seconds: float) -> Any:
        try:
            return await super().signals(holder, seconds=seconds)
        except BaseException:
            self._lost = holder
            raise

    async def signal(self, id: str, kind: Literal["cancel"], reason: str | None = None) -> bool:
        sent = await super().signal(id, kind, reason)
        if sent and self.__dict__.pop("_lost", None) == self._of(id).record.holder:
            self._drop_signals(id)
        return sent


class ClosesInSilence(MemoryStore):
    async def aclose(self) -> None:
        for kept in self._streams.values():
            kept.parked.clear()
        await super().aclose()


class AnswersWhenClosed(MemoryStore):
    async def get(self, id: str) -> Record | None:
        with contextlib.suppress(StoreError):
            return await super().get(id)
        return None


class MistakesAnOldRepeat(MemoryStore):
    async def append(self, id: str, chunk: Chunk | None, *, epoch: int, close: Closing | None = None) -> None:
        kept = self._streams.get(id)
        if chunk is not None and kept is not None and chunk.first + chunk.count <= kept.record.floor:
            raise UnknownStream("that was trimmed")
        await super().append(id, chunk, epoch=epoch, close=close)


BROKEN: list[tuple[int, type[MemoryStore]]] = [
    (1, MakesTwice), (1, SharesMetadata), (1, ListsOldestFirst),
    (2, ForgetsFencing), (2, GivesTheSameEpoch), (2, GivesAwayWhatIsHeld), (2, RefusesSlowWriters), (2, LosesNothing),
    (3, AcceptsGaps), (3, RefusesRepeats), (3, TakesAnythingForARepeat),
    (4, EndsBeforeTheLastEvents), (4, RefusesTheSecondClosing),
    (5, LeavesOutTheChunkInTheMiddle), (5, KnowsNoLimit),
    (6, LosesWakeUps), (6, WakesOneOnly), (6, WaitsForEver), (6, NeverWaits), (6, DeletesInSilence),
    (7, SignalsTwice), (7, SignalsToAnybody), (7, ForgetsSignalsOfTheFormerWriter), (7, SignalsInSilence),
    (7, TakesSignalsForNobody),
    (8, NeverForgets), (8, SweepsTheDead), (8, TrimsHalfChunks), (8, DeletesWhateverHasTheName),
    (9, CutsNamesAtNul), (9, LosesHighBytes),
    (10, CancelsTakeSignals), (10, ClosesInSilence), (10, AnswersWhenClosed),
    (11, MistakesAnOldRepeat),
]  # fmt: skip


UNIX = 1_700_000_000.0


@pytest.fixture
def wall(clock: VirtualClock, monkeypatch: pytest.MonkeyPatch) -> Callable[[], float]:
    """Unix time that goes with the virtual clock: a busy machine breaks no rule, and what is lost is soon known.

    From one look to the next a little passes, as it does in the world: the shortest leases have run out then.
    """
    looks = count()

    def now() -> float:
        return UNIX + clock.now() + next(looks) * 1e-6

    monkeypatch.setattr(store_contract, "time", SimpleNamespace(time=now))
    return now


@pytest.mark.parametrize(("rule", "broken"), BROKEN, ids=lambda one: getattr(one, "__name__", None))
async def test_a_broken_store_is_found(rule: int, broken: type[MemoryStore], wall: Callable[[], float]) -> None:
    store = broken(clock_time=wall)
    with pytest.raises(ContractBroken) as found:
        await check_store(lambda: store)
    assert rule == found.value.rule, str(found.value)


async def test_a_store_that_is_whole_is_so_on_virtual_time_too(wall: Callable[[], float]) -> None:
    store = MemoryStore(clock_time=wall)
    assert list(STORE_RULES) == (await check_store(lambda: store)).rules


async def test_what_a_store_raises_is_named_with_the_rule() -> None:
    class Fails(MemoryStore):
        async def get(self, id: str) -> Record | None:
            raise KeyError("oops")

    with pytest.raises(ContractBroken, match=r"rule 1 .*KeyError\('oops'\)"):
        await check_store(Fails)


async def test_handles_on_different_streams_are_told() -> None:
    with pytest.raises(ContractBroken, match="handles on the same store"):
        await check_store(MemoryStore)
