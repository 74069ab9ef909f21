"""Hubs that share a store and what happens between them: trims, names that change hands, rounds that are slow, forks."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import closing
from pathlib import Path
from time import time
from typing import Any

import anyio
import pytest
from hub_crew import Crew
from hub_sources import Reading
from troubled_store import Link, no_turn, shared_store

import streamkit.hub.registry as registry_module
from streamkit.errors import StoreError, UnknownStream
from streamkit.events.model import Event, Finish, Gap, TextDelta
from streamkit.flow.clock import current_clock
from streamkit.hub.chunks import encode
from streamkit.hub.hub import Hub
from streamkit.hub.stores.memory import MemoryStore
from streamkit.hub.stores.protocol import Chunk, Closing, Page, Record
from streamkit.hub.stores.rules import unknown_stream
from streamkit.hub.stores.sqlite import SqliteStore
from streamkit.testing.clock import VirtualClock

pytestmark = pytest.mark.anyio

# Seconds after which a test that waits for a file or a process has failed; and a lease that is never over meanwhile.
PATIENCE = 120.0
CALM = 3600.0


@pytest.fixture
def store(clock: VirtualClock, monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    return shared_store(clock, monkeypatch)


async def hangs() -> None:
    await current_clock().sleep(1e6)


class Way(Link):
    """A link whose reads may be overtaken: `before_read` is awaited once, in front of the next one."""

    before_read: Callable[[], Awaitable[None]] | None = None
    most_reads = 100

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store, turn=no_turn, hang=hangs)

    async def read(self, id: str, first: int, **options: Any) -> Page:
        overtaken, self.before_read = self.before_read, None
        if overtaken is not None:
            await overtaken()
        self.asked["read"] += 1
        assert self.asked["read"] <= self.most_reads, "it reads on and on"
        return await self.store.read(id, first, **options)


def words(count: int, *, every: float) -> Callable[[], AsyncIterator[str]]:
    async def source() -> AsyncIterator[str]:
        for number in range(count):
            yield f"{number} "
            await current_clock().sleep(every)

    return source


def texts(numbers: Sequence[int]) -> list[Event]:
    return [TextDelta(f"{number} ") for number in numbers]


# -- a store that forgets beginnings


async def written(store: MemoryStore, count: int = 10) -> int:
    """A stream of so many events in chunks of two, with a writer; its epoch."""
    await store.create("a", owner=None, metadata={}, first_epoch=7)
    epoch = await store.acquire("a", holder="writer", lease=1000)
    for first in range(0, count, 2):
        await store.append("a", Chunk(first, 2, epoch, encode(texts(range(first, first + 2)))), epoch=epoch)
    return epoch


async def ended(store: MemoryStore, epoch: int, head: int = 10) -> None:
    await store.append("a", Chunk(head, 1, epoch, encode([Finish("stop")])), epoch=epoch, close=Closing("done"))


@pytest.mark.parametrize("floor", [4, 10])
async def test_who_comes_after_a_trim_gets_a_gap_and_the_rest_and_resumes_behind_it(store: MemoryStore, floor: int) -> None:
    epoch = await written(store)
    await store.trim("a", floor, epoch=epoch)
    await ended(store, epoch)
    async with Hub(Way(store), lease=60) as hub:
        entries = await hub.entries("a").collect()
        assert [Gap(floor), *texts(range(floor, 10)), Finish("stop")] == [event for _, event in entries]
        for at, (token, _) in enumerate(entries[:-1]):
            assert [event for _, event in entries[at + 1 :]] == await hub.subscribe("a", after=token).collect()


@pytest.mark.parametrize("floor", [4, 10])
async def test_a_trim_that_overtakes_a_reader_ends_it_with_an_error_to_retry_and_then_it_gets_the_gap(
    store: MemoryStore, floor: int
) -> None:
    epoch = await written(store)
    way = Way(store)

    async def trims() -> None:
        await store.trim("a", floor, epoch=epoch)
        await ended(store, epoch)

    async with Hub(way, lease=60) as hub:
        way.before_read = trims
        with pytest.raises(StoreError, match="has forgotten events") as refused:
            await hub.subscribe("a").collect()
        assert refused.value.retryable
        assert [Gap(floor), *texts(range(floor, 10)), Finish("stop")] == await hub.subscribe("a").collect()


# -- names that change hands


async def dead(store: MemoryStore, *ids: str, lease: float = 1.0) -> None:
    """Streams whose writer is gone."""
    for id in ids:
        await store.create(id, owner=None, metadata={}, first_epoch=7)
        await store.acquire(id, holder="dead", lease=lease)


class SlowToEnd(Way):
    """It takes half a second to write the end of a stream of the dead."""

    async def append(self, id: str, *args: Any, **options: Any) -> None:
        if id.startswith("dead"):
            await current_clock().sleep(0.5)
        await self.store.append(id, *args, **options)


async def test_a_round_that_comes_late_to_a_dead_ones_name_leaves_alone_what_its_own_hub_has_begun_there(
    clock: VirtualClock, store: MemoryStore
) -> None:
    await dead(store, *[f"dead {number}" for number in range(10)], "a")
    await clock.sleep(2)
    async with Hub(SlowToEnd(store), lease=30) as hub:
        await hub.start("first", ["begins the rounds"])
        await clock.sleep(1.2)
        generation = await hub.start("a", words(100, every=0.1), if_exists="replace")
        assert not generation.joined
        assert texts(range(100)) == (await generation.subscribe().collect())[:-1]
        await clock.sleep(1)
        assert "done" == (await generation.status()).state


async def test_a_hub_of_many_streams_that_was_frozen_looks_through_them_once_and_not_once_for_each(
    clock: VirtualClock, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = [0]
    writing = registry_module.Registry._writing

    def counted(self: registry_module.Registry) -> Any:
        looks[0] += 1
        return writing(self)

    monkeypatch.setattr(registry_module.Registry, "_writing", counted)
    link = Way(store)
    link.trouble = lambda name: "away" if name == "renew" else None
    async with Hub(link, lease=3) as hub:
        for number in range(50):
            await hub.start(f"s{number}", words(10, every=1))
        await clock.sleep(8.5)
        assert looks[0] <= 2 * 9 + 2, "nine renewals and rounds"
        assert {"running"} == {one.state for one in await hub.list()}


# -- closing


async def test_a_start_that_is_cancelled_when_its_hub_has_gone_leaves_no_task(clock: VirtualClock, store: MemoryStore) -> None:
    hanging = [0]

    async def hang() -> None:
        hanging[0] += 1
        try:
            await hangs()
        finally:
            hanging[0] -= 1

    link = Link(store, turn=no_turn, hang=hang)
    link.trouble = lambda name: "hangs" if name in ("create", "delete") else None
    async with Crew() as crew:
        async with Hub(link, lease=60, close_timeout=3) as hub:

            async def starts() -> None:
                await hub.start("a", ["never"])

            member = crew.spawn("start", starts)
            await clock.sleep(1)
        assert 1 == hanging[0]
        member.cancel()
        await crew.all_done()
        await clock.sleep(1)
        assert 0 == hanging[0]


# -- a copy of a stream that has been replaced


class Late(Way):
    """What others write is seen half a second later by whoever waits for it, as in a file that is looked at now and then."""

    async def wait(self, id: str, head: int, *, seconds: float) -> Record:
        before = await self.store.get(id)
        try:
            await self.store.wait(id, head, seconds=seconds)
        except UnknownStream:
            await current_clock().sleep(0.5)
            raise
        await current_clock().sleep(0.5)
        record = await self.store.get(id)
        if record is None or before is None or record.first_epoch != before.first_epoch:
            raise unknown_stream(id)
        return record


@pytest.mark.parametrize("by", ["name", "handle", "message"])
async def test_who_asks_for_a_stream_that_was_just_replaced_elsewhere_gets_the_new_one_and_not_the_copy_of_the_old(
    clock: VirtualClock, store: MemoryStore, by: str
) -> None:
    async with Hub(Way(store), lease=60) as writer, Hub(Late(store), lease=60) as hub, Crew() as crew:
        await writer.start("a", words(1000, every=10))
        old = Reading(hub.subscribe("a"))
        crew.spawn("reader of the old", old)
        await clock.sleep(5)
        assert "0 " == old.text
        await writer.start("a", ["new"], if_exists="replace")
        await clock.sleep(0.1)
        if by == "name":
            text = await hub.subscribe("a").join()
        elif by == "handle":
            text = await (await hub.start("a", ["never"])).subscribe().join()
        else:
            text = (await hub.message("a")).text
        assert "new" == text
        await crew.all_done()
        assert old.over
        assert "0 " == old.text


# -- one file, and several who use it


async def test_a_stream_that_found_the_file_full_is_stored_whole_when_somebody_elses_sweep_has_made_room(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"

    def store_at(path: Path, **options: Any) -> SqliteStore:
        return SqliteStore(path, busy_timeout=PATIENCE, max_bytes=1 << 20, **options)

    with anyio.fail_after(PATIENCE):
        async with Hub(store_at(path), lease=CALM) as hub, Hub(store_at(path), lease=CALM) as other:
            await hub.start("old", ["x" * 10_000] * 80)
            await other.subscribe("old").collect()
            await hub.start("new", [f"{number:04}" * 2500 for number in range(80)])
            while not (await hub.status("new")).failing:  # noqa: ASYNC110  # nobody is told of that
                await anyio.sleep(0.01)
            sweeper = store_at(path, clock_time=lambda: time() + CALM)
            await sweeper.sweep()
            await sweeper.aclose()
            there = await other.subscribe("new").collect()
            status = await other.status("new")
            listed = await other.list()
    assert "".join(f"{number:04}" * 2500 for number in range(80)) == "".join(
        event.text for event in there if isinstance(event, TextDelta)
    )
    assert Finish("stop") == there[-1]
    assert ("done", 81, 0) == (status.state, status.stored, status.lost)
    assert ["new"] == [one.id for one in listed]


def test_a_forked_child_is_refused_its_parents_hub_and_costs_the_parent_nothing(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    script = f"""
    import asyncio, gc, os
    from streamkit.errors import StreamBusy
    from streamkit.hub.hub import Hub
    from streamkit.hub.stores.sqlite import SqliteStore
    store = SqliteStore({str(path)!r}, busy_timeout={PATIENCE})
    hub = Hub(store, lease={CALM})
    go = asyncio.Event()
    async def source():
        yield "before "
        await go.wait()
        yield "behind"
    async def begin():
        await hub.start("a", source)
        await hub.subscribe("a").take(1).collect()
    async def finish():
        go.set()
        text = await hub.subscribe("a").join()
        await hub.aclose()
        return text
    async def seen():
        return [(one.id, one.state) for one in await store.list()]
    runner = asyncio.Runner()
    runner.run(begin())
    child = os.fork()
    if child:
        assert (child, 0) == os.waitpid(child, 0)
        print(runner.run(finish()))
        runner.close()
    else:
        try:
            asyncio.run(hub.status("a"))
        except StreamBusy:
            print("refused", asyncio.run(seen()), flush=True)
        asyncio.run(store.aclose())
        del hub, store
        gc.collect()
        os._exit(0)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=PATIENCE)
    assert 0 == done.returncode, done.stderr
    assert ["refused [('a', 'running')]", "before behind"] == done.stdout.splitlines()
    with closing(sqlite3.connect(path)) as file:
        assert [("ok",)] == file.execute("PRAGMA integrity_check").fetchall()
        assert [("done",)] == [(str(state),) for (state,) in file.execute("SELECT state FROM streams")]
