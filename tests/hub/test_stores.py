"""Stores hold what the protocol says, and what it leaves to them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import anyio
import pytest

from streamkit.errors import ConfigError, Fenced, StoreError, UnknownStream
from streamkit.flow.clock import use_clock
from streamkit.flow.tasks import Timer, current_backend
from streamkit.hub.stores.memory import MemoryStore
from streamkit.hub.stores.protocol import Chunk, Closing, Record, Signal, Store
from streamkit.hub.stores.rules import ACQUIRED_WITHIN, MAX_CHUNK_BYTES, MAX_METADATA_BYTES
from streamkit.hub.stores.sqlite import SqliteStore
from streamkit.testing import VirtualClock, assert_no_leaks, store_steps
from streamkit.testing.store_contract import STORE_RULES, check_store

pytestmark = pytest.mark.anyio


class Wall:
    """Unix time by hand."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=["memory", "sqlite"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Store]:
    """Makes stores of either kind."""
    if request.param == "memory":
        return MemoryStore
    return lambda **options: SqliteStore(tmp_path / "hub.db", **options)


@contextlib.asynccontextmanager
async def closing(store: Store) -> AsyncIterator[Store]:
    """The store, closed at the end."""
    try:
        yield store
    finally:
        with anyio.CancelScope(shield=True):
            await store.aclose()


async def running(store: Store, id: str = "a", holder: str = "one") -> int:
    """A stream with a writer; its epoch."""
    await store.create(id, owner=None, metadata={}, first_epoch=10)
    return await store.acquire(id, holder=holder, lease=60)


async def test_a_store_in_memory_holds_the_contract() -> None:
    store = MemoryStore()
    async with assert_no_leaks():
        report = await check_store(lambda: store)
    assert list(STORE_RULES) == report.rules


async def test_a_store_in_a_file_holds_the_contract(tmp_path: Path) -> None:
    async with assert_no_leaks():
        report = await check_store(lambda: SqliteStore(tmp_path / "hub.db"), histories=10)
    assert list(STORE_RULES) == report.rules


async def test_waits_end_by_the_clock_in_place(make: Callable[..., Store]) -> None:
    async with VirtualClock(patience=60) as clock, closing(make()) as store:  # a disk may be slow
        await running(store)
        record = await store.wait("a", 0, seconds=1000.0)
        assert (0, 1000.0) == (record.head, clock.now())
        assert [] == await store.signals("one", seconds=500.0)
        assert 1500.0 == clock.now()


class Hasty:
    """A clock whose timers run a hair before their time, as uvloop's do: its own time is in whole milliseconds."""

    def __init__(self) -> None:
        self._backend = current_backend()

    def now(self) -> float:
        return 5.0

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        return self._backend.call_at(self._backend.now(), callback)

    async def sleep(self, seconds: float) -> None:
        await self._backend.checkpoint()


async def test_a_wait_is_over_with_its_timer_even_if_the_clock_says_that_a_hair_is_missing(make: Callable[..., Store]) -> None:
    """On uvloop every sixth wait of a store in memory went on for ever when its time was up."""
    async with closing(make()) as store:
        await running(store)
        use_clock(Hasty())
        try:
            with anyio.fail_after(60):
                assert 0 == (await store.wait("a", 0, seconds=1.0)).head
                assert [] == await store.signals("one", seconds=0.001)
        finally:
            use_clock(None)


async def test_leases_and_expiry_go_by_the_wall_clock_that_was_given(make: Callable[..., Store]) -> None:
    wall = Wall()
    async with closing(make(clock_time=wall)) as store:
        epoch = await running(store)
        wall.now += 61
        assert ["a"] == [record.id for record in await store.sweep()]
        assert epoch + 1 == await store.acquire("a", holder="two", lease=60)
        await store.append("a", None, epoch=epoch + 1, close=Closing("done", keep=600))
        record = await store.get("a")
        assert record is not None
        assert (wall.now, wall.now + 600, None) == (record.ended_at, record.expires_at, record.lease_until)
        wall.now += 600
        assert None is await store.get("a")
        assert [] == await store.sweep()


async def test_a_sweep_tells_of_streams_that_nobody_came_to_write(make: Callable[..., Store]) -> None:
    wall = Wall()
    async with closing(make(clock_time=wall)) as store:
        await store.create("orphan", owner=None, metadata={}, first_epoch=1)
        assert [] == await store.sweep()
        wall.now += ACQUIRED_WITHIN
        assert ["orphan"] == [record.id for record in await store.sweep()]


async def test_a_second_signal_before_the_first_is_received_says_nothing_new(make: Callable[..., Store]) -> None:
    async with closing(make()) as store:
        await running(store)
        for reason in ("first", "second", "third"):
            assert await store.signal("a", "cancel", reason)
        assert [Signal("a", "cancel", "first")] == await store.signals("one", seconds=0)
        assert await store.signal("a", "cancel", "again")
        assert [Signal("a", "cancel", "again")] == await store.signals("one", seconds=0)


async def test_signals_of_a_stream_that_ends_are_forgotten(make: Callable[..., Store]) -> None:
    async with closing(make()) as store:
        epoch = await running(store)
        await store.signal("a", "cancel")
        await store.append("a", None, epoch=epoch, close=Closing("done"))
        assert [] == await store.signals("one", seconds=0)


async def test_a_name_of_half_a_character_is_a_name(make: Callable[..., Store]) -> None:
    async with closing(make()) as store:
        epoch = await running(store, "\ud83d", holder="\ude00")
        await store.append("\ud83d", None, epoch=epoch, close=Closing("error", "\ud83d said"))
        record = await store.get("\ud83d")
        assert record is not None
        assert ("\ud83d", "\ude00", "\ud83d said") == (record.id, record.holder, record.reason)


async def test_a_stream_made_anew_is_not_what_somebody_waits_for(make: Callable[..., Store]) -> None:
    wall = Wall()
    async with closing(make(clock_time=wall)) as store:
        await running(store)

        async def anew() -> None:
            await store.delete("a")
            wall.now += 1
            await running(store)

        (told,) = await store_steps.meanwhile([store.wait("a", 0, seconds=60)], anew)
        assert isinstance(told, UnknownStream)


async def test_one_store_serves_one_event_loop_after_the_other(make: Callable[..., Store]) -> None:
    def first() -> Store:
        async def write() -> Store:
            store = make()
            epoch = await running(store)
            await store.append("a", Chunk(0, 1, epoch, b"x"), epoch=epoch)
            return store

        return asyncio.run(write())

    async def then(store: Store) -> Record:
        async with closing(store):
            return await store.wait("a", 0, seconds=5)

    # On a thread, because a loop runs here.
    store = await anyio.to_thread.run_sync(first)
    record = await then(store)
    assert 1 == record.head


WRONG: list[Callable[[Store], Awaitable[object]]] = [
    lambda store: store.create("a", owner=None, metadata={"a": object()}, first_epoch=1),
    lambda store: store.create("a", owner=None, metadata={"a": "x" * MAX_METADATA_BYTES}, first_epoch=1),
    lambda store: store.create("a", owner=None, metadata={}, first_epoch=-1),
    lambda store: store.create("a", owner=None, metadata={}, first_epoch=1 << 63),
    lambda store: store.acquire("a", holder="one", lease=0),
    lambda store: store.acquire("a", holder="one", lease=float("nan")),
    lambda store: store.renew("one", {}, lease=-1),
    lambda store: store.append("a", Chunk(0, 0, 1, b""), epoch=1),
    lambda store: store.append("a", Chunk(-1, 1, 1, b""), epoch=1),
    lambda store: store.append("a", Chunk(0, 1, 2, b""), epoch=1),
    lambda store: store.append("a", Chunk(0, 1 << 63, 1, b""), epoch=1),
    lambda store: store.append("a", None, epoch=1, close=Closing("running")),
    lambda store: store.append("a", None, epoch=1, close=Closing("done", keep=float("nan"))),
    lambda store: store.append("a", None, epoch=1, close=Closing("done", keep=-1)),
    lambda store: store.read("a", 0, max_bytes=0),
    lambda store: store.wait("a", 0, seconds=-1),
    lambda store: store.wait("a", 0, seconds=float("nan")),
    lambda store: store.signals("one", seconds=-1),
    lambda store: store.list(limit=0),
]


async def test_wrong_arguments_are_refused_at_the_call(make: Callable[..., Store]) -> None:
    async with closing(make()) as store:
        for call in WRONG:
            with pytest.raises(ConfigError):
                await call(store)
        assert [] == await store.list()


async def test_numbers_that_no_log_has_are_no_crash(make: Callable[..., Store]) -> None:
    async with closing(make()) as store:
        epoch = await running(store)
        await store.append("a", Chunk(0, 1, epoch, b"x"), epoch=epoch)
        assert [] == list((await store.read("a", 1 << 80)).chunks)
        assert 1 == len((await store.read("a", -(1 << 80))).chunks)
        assert 1 == (await store.wait("a", 1 << 80, seconds=0)).head
        assert 1 == len(await store.list(limit=1 << 80))
        with pytest.raises(Fenced):
            await store.append("a", Chunk(1, 1, 1 << 80, b"x"), epoch=1 << 80)
        with pytest.raises(Fenced):
            await store.trim("a", 1, epoch=1 << 80)
        await store.trim("a", 1 << 80, epoch=epoch)
        record = await store.get("a")
        assert record is not None
        assert 1 == record.floor


async def test_a_chunk_that_is_too_long_is_refused(make: Callable[..., Store]) -> None:
    async with closing(make()) as store:
        epoch = await running(store)
        with pytest.raises(StoreError, match="longer"):
            await store.append("a", Chunk(0, 1, epoch, bytes(MAX_CHUNK_BYTES + 1)), epoch=epoch)
        assert 0 == (await store.wait("a", 0, seconds=0)).head


async def test_nothing_is_left_of_many_cancelled_waits() -> None:
    store = MemoryStore()
    await running(store)
    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(lambda: store.wait("a", 0, seconds=60))
            tasks.start_soon(lambda: store.signals("one", seconds=60))
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert {} == store._streams["a"].parked
    assert {} == store._listening
