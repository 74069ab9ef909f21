"""How generations end before their time: cancelled, left, drained, closed; at each step, from each place, more than once."""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from math import inf
from typing import Any

import anyio
import pytest
from event_loops import asyncio_only
from hub_sources import WORDS, Reading, Source, answer, deltas, events_of, turns

from streamkit.errors import StreamBusy, StreamDraining, StreamInterrupted, UnknownStream
from streamkit.events.model import ErrorEvent, Finish, TextDelta
from streamkit.flow.clock import current_clock
from streamkit.flow.tasks import current_backend
from streamkit.hub.hub import Hub
from streamkit.hub.reading import Policy
from streamkit.hub.stores.memory import MemoryStore
from streamkit.testing import Probe, VirtualClock, assert_no_leaks, for_seeds

pytestmark = pytest.mark.anyio

CANCELLED = Finish("cancelled")
POLICIES: list[Policy] = ["lag", "conflate", "latest", "disconnect", "backpressure"]


# -- cancel


@pytest.mark.parametrize("policy", POLICIES)
async def test_a_cancel_keeps_what_came_ends_every_reader_and_closes_the_source(policy: Policy) -> None:
    source = Source()
    async with assert_no_leaks(), Hub() as hub, anyio.create_task_group() as group:
        await hub.start("a", source)
        readings = [Reading(hub.subscribe("a", policy=policy)) for _ in range(3)]
        for reading in readings:
            group.start_soon(reading)
        await source.give("Hel", "lo")
        assert await hub.cancel("a", "enough")
        assert 1 == source.closed
        await turns()
        text = "lo" if policy == "latest" else "Hello"
        assert [(text, CANCELLED)] * 3 == [(reading.text, reading.got[-1]) for reading in readings]
        status = await hub.status("a")
        assert ("cancelled", "enough") == (status.state, status.reason)
        assert answer("Hel", "lo", reason="cancelled") == await events_of(hub, "a")


async def test_readers_end_at_once_while_a_cancelled_source_still_closes(clock: VirtualClock) -> None:
    probe = Probe(["x"], at_step=lambda given: given == 1, clean_up=3.0)
    ended: list[float] = []
    async with assert_no_leaks(), Hub() as hub, anyio.create_task_group() as group:
        await hub.start("a", probe)
        reading = Reading(hub.subscribe("a"))

        async def read() -> None:
            await reading()
            ended.append(clock.now())

        group.start_soon(read)
        await turns()
        before = clock.now()
        assert await hub.cancel("a")
        assert [before] == ended
        assert before + 3.0 == clock.now()
    assert answer("x", reason="cancelled") == reading.got


async def test_a_second_cancel_says_that_it_was_over_and_changes_nothing() -> None:
    source = Source()
    async with Hub() as hub:
        await hub.start("a", source)
        assert [True, False] == [await hub.cancel("a", "first"), await hub.cancel("a", "second")]
        assert "first" == (await hub.status("a")).reason
        await hub.start("b", WORDS)
        await turns(30)
        assert not await hub.cancel("b", "too late")
        status = await hub.status("b")
    assert ("done", None) == (status.state, status.reason)


async def test_of_many_cancels_at_once_one_ends_it_and_all_return_when_it_is_closed(clock: VirtualClock) -> None:
    probe = Probe(["x"], at_step=lambda given: given == 1, clean_up=2.0)
    told: list[tuple[bool, int, float]] = []
    async with assert_no_leaks(), Hub() as hub:
        await hub.start("a", probe)
        await turns()

        async def cancel() -> None:
            first = await hub.cancel("a")
            told.append((first, probe.closed, clock.now()))

        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(cancel)
    assert [(True, 1, 2.0), *[(False, 1, 2.0)] * 4] == sorted(told, reverse=True)


async def test_a_cancel_whose_caller_is_cancelled_ends_the_stream_all_the_same(clock: VirtualClock) -> None:
    probe = Probe(["x"], at_step=lambda given: given == 1, clean_up=2.0)
    async with assert_no_leaks(), Hub() as hub:
        await hub.start("a", probe)
        await turns()
        async with anyio.create_task_group() as group:
            group.start_soon(hub.cancel, "a")
            await turns()
            group.cancel_scope.cancel()
        assert 0.0 == clock.now()
        assert answer("x", reason="cancelled") == await events_of(hub, "a")
        assert not await hub.cancel("a")
        assert (2.0, 1) == (clock.now(), probe.closed)


async def test_a_reader_may_cancel_what_it_reads() -> None:
    source = Source()
    async with assert_no_leaks(), Hub() as hub, anyio.create_task_group() as group:
        await hub.start("a", source)
        source.sender.push("x")
        other = Reading(hub.subscribe("a"))
        group.start_soon(other)
        got: list[Any] = []
        async with hub.subscribe("a").open() as items:
            async for event in items:
                got.append(event)
                if event == TextDelta("x"):
                    assert await hub.cancel("a")
    assert answer("x", reason="cancelled") == got == other.got
    assert 1 == source.closed


async def test_a_source_may_cancel_its_own_stream() -> None:
    closed: list[str] = []
    async with assert_no_leaks(), Hub() as hub:

        async def source() -> AsyncIterator[str]:
            try:
                yield "x"
                await hub.cancel("a", "by itself")
                yield "never"
            finally:
                closed.append("closed")

        await hub.start("a", source)
        assert answer("x", reason="cancelled") == await events_of(hub, "a")
        await turns()
        assert "by itself" == (await hub.status("a")).reason
    assert ["closed"] == closed


async def test_a_cancel_behind_a_finish_that_waits_for_its_source_is_the_one_end() -> None:
    source = Source()
    async with Hub() as hub:
        await hub.start("a", source)
        await source.give("x", Finish("stop"))
        assert await hub.cancel("a")
        assert answer("x", reason="cancelled") == await events_of(hub, "a")


async def test_a_source_that_fails_because_it_was_cancelled_changes_nothing() -> None:
    async def source() -> AsyncIterator[str]:
        try:
            yield "x"
            await anyio.sleep_forever()
        except BaseException:
            raise OSError("connection reset") from None

    async with assert_no_leaks(), Hub() as hub:
        await hub.start("a", source)
        await turns()
        assert await hub.cancel("a")
        assert answer("x", reason="cancelled") == await events_of(hub, "a")
        assert "cancelled" == (await hub.status("a")).state


@pytest.mark.filterwarnings("always::ResourceWarning")
async def test_a_source_that_refuses_to_close_is_abandoned_after_its_time_and_named(clock: VirtualClock) -> None:
    probe = Probe(["x"], at_step=lambda given: given == 1, clean_up=inf)
    async with Hub(close_timeout=2.0) as hub, anyio.create_task_group() as group:
        await hub.start("a", probe)
        reading = Reading(hub.subscribe("a"))
        group.start_soon(reading)
        await turns()
        with pytest.warns(ResourceWarning, match=r"stream a has a source that did not close within 2 s"):
            assert await hub.cancel("a")
        assert answer("x", reason="cancelled") == reading.got
        assert 2.0 == clock.now()


@pytest.mark.filterwarnings("error::ResourceWarning")
async def test_a_warning_that_is_made_an_error_is_logged_and_ends_no_task(
    clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with Hub(close_timeout=2.0) as hub:
        await hub.start("a", Probe(["x"], at_step=lambda given: given == 1, clean_up=inf))
        await turns()
        assert await hub.cancel("a")
    assert ["stream a: its source did not close well"] == [record.message for record in caplog.records]


# -- the last reader


async def test_a_stream_goes_on_when_its_readers_have_left() -> None:
    source = Source()
    async with Hub() as hub, anyio.create_task_group() as group:
        await hub.start("a", source)
        group.start_soon(Reading(hub.subscribe("a")), 1)
        await source.give("a")
        assert 0 == (await hub.status("a")).readers
        await source.give("b")
        await source.end()
        assert answer("a", "b") == await events_of(hub, "a")


async def test_a_stream_ends_with_its_last_reader_where_that_was_asked_for() -> None:
    source = Source()
    async with assert_no_leaks(), Hub() as hub, anyio.create_task_group() as group:
        await hub.start("a", source, on_disconnect="cancel")
        await source.give("a")  # nobody has come yet: it goes on
        first, second = Reading(hub.subscribe("a")), Reading(hub.subscribe("a"))
        group.start_soon(first, 2)
        group.start_soon(second, 3)
        await turns()  # both are there before the first can leave
        await source.give("b")
        assert [2, 2, 0] == [len(first.got), len(second.got), source.closed]
        await source.give("c")
        assert 1 == source.closed
        status = await hub.status("a")
        assert ("cancelled", "its last reader left") == (status.state, status.reason)
        assert answer("a", "b", "c", reason="cancelled") == await events_of(hub, "a")


async def test_a_look_at_the_answer_is_no_reader_that_could_leave() -> None:
    source = Source()
    async with Hub() as hub:
        await hub.start("a", source, on_disconnect="cancel")
        await source.give("a")
        await hub.message("a")
        await hub.status("a")
        assert "running" == (await hub.status("a")).state


async def test_a_stream_goes_on_when_the_task_that_started_it_is_cancelled() -> None:
    source = Source()
    async with assert_no_leaks(), Hub() as hub:
        async with anyio.create_task_group() as group:

            async def starter() -> None:
                generation = await hub.start("a", source)
                await generation.subscribe().collect()

            group.start_soon(starter)
            await source.give("a")
            group.cancel_scope.cancel()
        await source.give("b")
        await source.end()
        assert answer("a", "b") == await events_of(hub, "a")


async def test_a_cancelled_reader_touches_no_other() -> None:
    source = Source()
    async with assert_no_leaks(), Hub() as hub, anyio.create_task_group() as group:
        await hub.start("a", source)
        others = [Reading(hub.subscribe("a", policy=policy)) for policy in POLICIES]
        scopes: list[anyio.CancelScope] = []

        async def cancelled(policy: Policy) -> None:
            with anyio.CancelScope() as scope:
                scopes.append(scope)
                await hub.subscribe("a", policy=policy).collect()

        for other in others:
            group.start_soon(other)
        for policy in POLICIES:
            group.start_soon(cancelled, policy)
        await source.give("a")
        for scope in scopes:
            scope.cancel()
        await source.give("b")
        assert 5 == (await hub.status("a")).readers
        await source.end()
    assert [answer("a", "b")] * 5 == [other.got for other in others]


# -- drain


async def test_a_drain_waits_until_all_is_over_and_starts_nothing_more(clock: VirtualClock) -> None:
    async def source() -> AsyncIterator[str]:
        yield "a"
        await current_clock().sleep(7.0)
        yield "b"

    async with assert_no_leaks(), Hub() as hub, anyio.create_task_group() as group:
        await hub.start("a", source)
        group.start_soon(hub.drain)
        await turns()
        with pytest.raises(StreamDraining):
            await hub.start("b", WORDS)
        await hub.drain()
        assert 7.0 == clock.now()
        assert answer("a", "b") == await events_of(hub, "a")


async def test_a_drain_ends_what_is_not_over_in_time_with_the_token_to_come_back_with(clock: VirtualClock) -> None:
    source = Source()
    async with assert_no_leaks(), Hub() as hub, anyio.create_task_group() as group:
        await hub.start("a", source)
        await hub.start("b", WORDS)
        await source.give("x")
        reading = Reading(hub.entries("a"))
        group.start_soon(reading)
        await hub.drain(5.0)
        assert (5.0, 1) == (clock.now(), source.closed)
        await turns()
        assert isinstance(reading.error, StreamDraining)
        assert reading.got[-1][0] == reading.error.last_id
        assert ["done", "draining"] == sorted(status.state for status in await hub.list())
        with pytest.raises(StreamDraining):
            await events_of(hub, "a")
        assert "draining" == (await events_of(hub, "a", errors="yield"))[-1].code  # type: ignore[union-attr]


async def test_a_drain_of_no_time_ends_all_at_once_and_waits_for_the_sources(clock: VirtualClock) -> None:
    probe = Probe(["x"], at_step=lambda given: given == 1, clean_up=2.0)
    async with assert_no_leaks(), Hub() as hub:
        await hub.start("a", probe)
        await turns()
        await hub.drain(0)
        assert (2.0, 1) == (clock.now(), probe.closed)


async def test_a_drain_of_a_hub_that_was_never_used_returns() -> None:
    hub = Hub()
    await hub.drain()
    with pytest.raises(StreamDraining):
        await hub.start("a", WORDS)
    await hub.aclose()


async def test_a_drain_that_is_cancelled_ends_nothing() -> None:
    source = Source()
    async with assert_no_leaks(), Hub() as hub:
        await hub.start("a", source)
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(hub.drain, 5.0)
                await turns()
                scope.cancel()
        await source.give("x")
        await source.end()
        assert answer("x") == await events_of(hub, "a")


# -- closing


async def test_leaving_ends_all_as_draining_and_closes_their_sources() -> None:
    sources = [Source() for _ in range(3)]
    async with assert_no_leaks(), anyio.create_task_group() as group:
        async with Hub() as hub:
            readings = []
            for number, source in enumerate(sources):
                await hub.start(str(number), source)
                readings.append(Reading(hub.subscribe(str(number))))
                group.start_soon(readings[-1])
                await source.give("x")
        assert [1] * 3 == [source.closed for source in sources]
        await turns()
    assert [StreamDraining] * 3 == [type(reading.error) for reading in readings]
    assert [deltas("x")] * 3 == [reading.got for reading in readings]


async def test_leaving_by_a_cancel_closes_the_sources_before_the_cancel_goes_on(clock: VirtualClock) -> None:
    probes = [Probe(["x"], at_step=lambda given: given == 1, clean_up=2.0) for _ in range(2)]
    store = MemoryStore()
    seen: list[int] = []
    async with assert_no_leaks():
        with anyio.CancelScope() as scope:
            try:
                async with Hub(store) as hub:
                    for number, probe in enumerate(probes):
                        await hub.start(str(number), probe)
                    await turns()
                    scope.cancel()
                    await anyio.sleep_forever()
            finally:
                seen = [probe.closed for probe in probes]
        assert scope.cancelled_caught
    assert ([1, 1], 2.0) == (seen, clock.now())


async def test_leaving_by_a_cancel_stores_how_the_streams_ended(clock: VirtualClock) -> None:
    store = Unclosed()
    async with assert_no_leaks():
        with anyio.CancelScope() as scope:
            async with Hub(store) as hub:
                await hub.start("a", Probe(["x"], at_step=lambda given: given == 1))
                await turns()
                scope.cancel()
                await anyio.sleep_forever()
        record = await store.get("a")
        assert record is not None
        assert ("draining", "the hub was closed", 2) == (record.state, record.reason, record.head)


class Unclosed(MemoryStore):
    """A store that is looked at when its hub is gone."""

    closings = 0

    async def aclose(self) -> None:
        self.closings += 1


class Stuck(Unclosed):
    """A store to which nothing can be appended."""

    async def append(self, *args: Any, **options: Any) -> None:
        await anyio.sleep_forever()


async def test_closing_waits_for_a_store_that_hangs_no_longer_than_its_time(clock: VirtualClock) -> None:
    store = Stuck()
    async with assert_no_leaks():
        async with Hub(store, close_timeout=3.0) as hub:
            await hub.start("a", WORDS)
            assert answer(*WORDS) == await events_of(hub, "a")
        assert (3.0, 1) == (clock.now(), store.closings)


async def test_a_cancel_waits_for_a_store_that_hangs_no_longer_than_its_time(clock: VirtualClock) -> None:
    source = Source()
    async with assert_no_leaks(), Hub(Stuck(), close_timeout=3.0) as hub:
        await hub.start("a", source)
        await source.give("x")
        assert await hub.cancel("a")
        assert (3.0, 1) == (clock.now(), source.closed)
        assert ("cancelled", 0) == ((status := await hub.status("a")).state, status.stored)


@pytest.mark.parametrize("how", ["end", "cancel", "close"])
async def test_an_end_is_stored_at_once_however_long_events_may_wait_for_more(clock: VirtualClock, how: str) -> None:
    store = Unclosed()
    source = Source()
    async with assert_no_leaks():
        async with Hub(store, flush_within=3600.0, flush_events=1000) as hub:
            await hub.start("a", source)
            await source.give("x")
            if how == "end":
                await source.end()
            elif how == "cancel":
                await hub.cancel("a")
        record = await store.get("a")
    assert record is not None
    assert ({"end": "done", "cancel": "cancelled", "close": "draining"}[how], 2) == (record.state, record.head)
    assert 0.0 == clock.now()


async def test_an_error_inside_is_not_hidden_by_a_store_that_does_not_close_well(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(MemoryStore):
        async def aclose(self) -> None:
            raise OSError("disk full")

    with pytest.raises(ValueError, match="mine"):
        async with Hub(Broken()):
            raise ValueError("mine")
    assert ["a hub was left by an error, and its store did not close well"] == [record.message for record in caplog.records]


async def test_closing_twice_and_by_several_at_once_closes_once_and_all_wait_for_it(clock: VirtualClock) -> None:
    probe = Probe(["x"], at_step=lambda given: given == 1, clean_up=2.0)
    store = Unclosed()
    hub = Hub(store)
    seen: list[tuple[int, float]] = []

    async def close() -> None:
        await hub.aclose()
        seen.append((probe.closed, clock.now()))

    async with assert_no_leaks():
        await hub.start("a", probe)
        await turns()
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(close)
            await clock.sleep(1.0)
            group.start_soon(close)
        await close()
    assert ([(1, 2.0)] * 5, 1) == (seen, store.closings)


async def test_a_reader_may_close_the_hub_it_reads() -> None:
    source = Source()
    hub = Hub()
    await hub.start("a", source)
    source.sender.push("x")
    async with assert_no_leaks():
        with pytest.raises(StreamDraining):
            async with hub.subscribe("a").open() as items:
                async for event in items:
                    assert TextDelta("x") == event
                    await hub.aclose()
                    assert 1 == source.closed


async def test_a_store_that_does_not_close_well_is_told_to_whoever_closes_the_hub() -> None:
    class Broken(MemoryStore):
        async def aclose(self) -> None:
            raise OSError("disk full")

    hub = Hub(Broken())
    async with assert_no_leaks():
        await hub.start("a", WORDS)
        for _ in range(2):
            with pytest.raises(OSError, match="disk full"):
                await hub.aclose()
        with pytest.raises(OSError, match="disk full"):
            async with Hub(Broken()):
                await turns()


@pytest.mark.parametrize("stored", [False, True])
async def test_a_closed_hub_knows_nothing_and_starts_nothing(stored: bool) -> None:
    hub = Hub(MemoryStore() if stored else None)
    async with assert_no_leaks():
        async with hub:
            await hub.start("a", WORDS)
        for call in (hub.subscribe("a").collect, lambda: hub.status("a"), lambda: hub.cancel("a"), lambda: hub.message("a")):
            with pytest.raises(UnknownStream):
                await call()
        with pytest.raises(StreamDraining):
            await hub.start("b", WORDS)


async def test_a_subscription_that_begins_while_the_hub_closes_comes_to_an_end(clock: VirtualClock) -> None:
    probe = Probe(["x"], at_step=lambda given: given == 1, clean_up=2.0)
    other = Hub(store := MemoryStore())
    hub = Hub(store)
    source = Source()
    async with assert_no_leaks():
        await hub.start("here", probe)
        await other.start("there", source)
        async with anyio.create_task_group() as group:
            group.start_soon(hub.aclose)
            await clock.sleep(1.0)
            here, there = Reading(hub.subscribe("here")), Reading(hub.subscribe("there"))
            group.start_soon(here)
            group.start_soon(there)
        assert [StreamDraining, UnknownStream] == [type(here.error), type(there.error)]
        await other.aclose()


# -- what nobody closes


OPEN_HUB = """
import asyncio, gc, sys, warnings
warnings.simplefilter("error")
import anyio
from streamkit.hub.hub import Hub
from streamkit.hub.stores.memory import MemoryStore

async def source():
    try:
        while True:
            yield "x"
            await anyio.sleep(0.001)
    finally:
        print("closed")

async def main():
    if "trio" not in sys.argv:  # what another machine takes long for is not what is looked for here
        asyncio.get_running_loop().slow_callback_duration = 60
    hub = Hub(MemoryStore() if "store" in sys.argv else None)
    await hub.start("a", source)
    await hub.start("over", ["x"])
    async def read():
        try:
            async for event in hub.subscribe("a"):
                began.set()
        finally:
            print("reader left")
    if "trio" in sys.argv:
        async with hub.subscribe("a") as items:
            await anext(items)
    else:
        began = asyncio.Event()
        keep.append(asyncio.create_task(read()))
        await began.wait()

keep = []
if "uvloop" in sys.argv:
    import uvloop
    uvloop.run(main())
else:
    anyio.run(main, backend="trio" if "trio" in sys.argv else "asyncio")
gc.collect()
print("end")
"""


@pytest.mark.parametrize("store", ["", "store"])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop", "trio"])
def test_a_hub_that_nobody_closed_does_not_hold_the_end_of_its_event_loop_up_and_closes_its_sources(loop: str, store: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-X", "dev", "-c", OPEN_HUB, loop, store], capture_output=True, text=True, timeout=120, check=False
    )
    lines = ran.stdout.split("\n")
    assert (0, "") == (ran.returncode, ran.stderr)
    assert "closed" in lines
    assert "end" == lines[-2]
    assert (loop == "trio") != ("reader left" in lines)


@asyncio_only
async def test_a_stream_whose_task_is_cancelled_before_it_has_begun_ends_as_interrupted() -> None:
    hub = Hub()
    before = asyncio.all_tasks()
    await hub.start("a", Probe(["x"]))
    [task] = asyncio.all_tasks() - before
    task.cancel()
    with pytest.raises(StreamInterrupted):
        await hub.subscribe("a").collect()
    await hub.aclose()
    assert [] == await hub.list()


@asyncio_only
async def test_a_hub_is_not_closed_before_a_source_when_the_task_that_closes_that_is_cancelled_before_it_has_begun() -> None:
    told: list[str] = []

    async def source() -> AsyncIterator[str]:
        try:
            yield "x"
            await asyncio.get_running_loop().create_future()
        finally:
            for _ in range(9):
                await asyncio.sleep(0)
            told.append("closed")

    hub = Hub()
    before = asyncio.all_tasks()
    await hub.start("a", source, on_disconnect="cancel")
    async with hub.subscribe("a") as items:
        assert TextDelta("x") == await anext(aiter(items))
    for task in asyncio.all_tasks() - before:
        task.cancel()
    await hub.aclose()
    assert ["closed"] == told


@asyncio_only
async def test_a_stream_that_runs_is_one_task() -> None:
    async with Hub() as hub:
        before = asyncio.all_tasks()
        await hub.start("a", Probe(["x"], at_step=lambda given: given == 1))
        assert 1 == len(asyncio.all_tasks() - before)


@asyncio_only
async def test_a_source_whose_task_alone_is_cancelled_ends_as_interrupted() -> None:
    async def source() -> AsyncIterator[str]:
        yield "x"
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    async with Hub() as hub:
        await hub.start("a", source)
        reading = Reading(hub.subscribe("a"))
        await reading()
        assert deltas("x") == reading.got
        assert isinstance(reading.error, StreamInterrupted)
        assert "interrupted" == (await hub.status("a")).state


# -- at each step


STEPS = 6
TEXTS = [f"{number} " for number in range(STEPS)]


class Scene:
    """A generation of six texts and an end, and three readers of it: what happens at one of its steps, and what is left."""

    def __init__(self, hub: Hub, step: int) -> None:
        self.hub = hub
        self.step = step
        self.event = anyio.Event()
        self.probe = Probe(TEXTS)
        self.error: Exception | None = None

    async def source(self) -> AsyncIterator[str]:
        try:
            async for text in self.probe:
                await current_backend().checkpoint()
                if self.probe.given - 1 == self.step:
                    await self._happen()
                yield text
            if self.step == STEPS:
                await self._happen()
        finally:
            await self.probe.aclose()

    async def _happen(self) -> None:
        self.event.set()
        if self.error is not None:
            raise self.error
        await turns(6)


@pytest.mark.parametrize("policies", [("lag",) * 3, ("backpressure", "lag", "conflate"), ("disconnect", "latest", "backpressure")])
@pytest.mark.parametrize("step", range(STEPS + 1))
@pytest.mark.parametrize("what", ["fail", "leave", "cancel a reader", "cancel", "close"])
async def test_whatever_happens_at_whichever_step_the_others_get_all_and_nothing_is_left(
    what: str, step: int, policies: tuple[Policy, ...]
) -> None:
    hub = Hub()
    scene = Scene(hub, step)
    scene.error = OSError("failed") if what == "fail" else None
    async with assert_no_leaks(thorough=False):
        await hub.start("a", scene.source)
        readings = [Reading(hub.subscribe("a", policy=policy, lag=100)) for policy in policies]
        touched = Reading(hub.subscribe("a"))
        scope = anyio.CancelScope()

        async def one() -> None:
            with scope:
                await touched(leave_at=max(step, 1) if what == "leave" else None)

        async def happen() -> None:
            await scene.event.wait()
            if what == "cancel a reader":
                scope.cancel()
            elif what == "cancel":
                await hub.cancel("a")
            elif what == "close":
                await hub.aclose()

        async with anyio.create_task_group() as group:
            group.start_soon(one)
            group.start_soon(happen)
            for reading in readings:
                group.start_soon(reading)
        await hub.aclose()
    assert [True] * 3 == [reading.over for reading in readings]
    assert (1, True) == (scene.probe.closed, scene.probe.one_task)
    whole = "".join(TEXTS)
    for policy, reading in zip(policies, readings, strict=True):
        if policy == "latest":
            continue
        match what:
            case "fail":
                assert ("".join(TEXTS[:step]), scene.error) == (reading.text, reading.error)
            case "leave" | "cancel a reader":
                assert (whole, None, Finish("stop")) == (reading.text, reading.error, reading.got[-1])
            case "cancel":
                assert whole.startswith(reading.text)
                assert (None, CANCELLED) == (reading.error, reading.got[-1])
            case _:
                assert whole.startswith(reading.text)
                assert isinstance(reading.error, StreamDraining)


# -- many, at random


SOME_SEEDS = 150


async def at_random(seed: int) -> list[str]:
    """Ten streams, and readers that come, leave, and are cancelled; what went wrong."""
    dice = random.Random(seed)
    wrong: list[str] = []
    hub = Hub(max_events=dice.choice([1, 4, 1000]), ttl=1000)
    opened: list[Probe[str]] = []

    def source(number: int) -> Callable[[], AsyncIterator[str]]:
        async def items() -> AsyncIterator[str]:
            probe = Probe(TEXTS * 3, error=OSError("failed") if number % 3 == 2 else None)
            opened.append(probe)
            try:
                async for text in probe:
                    for _ in range(dice.randrange(3)):
                        await current_backend().checkpoint()
                    yield text
            finally:
                await probe.aclose()

        return items

    async def read(name: str) -> None:
        with anyio.CancelScope() as scope:
            reading = Reading(hub.subscribe(name, policy=dice.choice(POLICIES), lag=dice.choice([1, 3, 100])))
            leave_at = dice.choice([None, None, 1, 5])

            async def stop() -> None:
                for _ in range(dice.randrange(40)):
                    await current_backend().checkpoint()
                if dice.random() < 0.4:
                    scope.cancel()

            async with anyio.create_task_group() as group:
                group.start_soon(stop)
                await reading(leave_at)
            ends = [event for event in reading.got if isinstance(event, Finish | ErrorEvent)]
            if leave_at is None and (len(ends) + (reading.error is not None) != 1):
                wrong.append(f"{name}: {ends} {reading.error}")
            if ends and reading.got[-1] is not ends[-1]:
                wrong.append(f"{name}: an event behind the end")

    async def end(name: str) -> None:
        for _ in range(dice.randrange(60)):
            await current_backend().checkpoint()
        await hub.cancel(name)

    async with anyio.create_task_group() as group:
        for number in range(4):
            await hub.start(str(number), source(number), on_disconnect=dice.choice(["cancel", "continue"]))
            for _ in range(5):
                group.start_soon(read, str(number))
            if dice.random() < 0.3:
                group.start_soon(end, str(number))
    for kept in await hub.list():
        if kept.readers:
            wrong.append(f"{kept.id}: {kept.readers} readers are left")
    await hub.aclose()
    wrong += [f"closed {probe.closed} times" for probe in opened if probe.closed != 1]
    return wrong


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_readers_that_come_leave_and_are_cancelled_in_any_order_leave_nothing(backend: Any) -> None:
    seeds = iter(range(SOME_SEEDS))

    async def main() -> list[str]:
        return await at_random(next(seeds))

    assert [[]] * SOME_SEEDS == for_seeds(main, range(SOME_SEEDS), backend=backend)


async def test_thousands_of_cancelled_readers_leave_no_place_in_the_crowd() -> None:
    source = Source()
    async with assert_no_leaks(), Hub() as hub:
        await hub.start("a", source)
        await turns()
        log = hub._streams.kept["a"].producer.log
        for _ in range(20):
            async with anyio.create_task_group() as group:
                for _ in range(100):
                    group.start_soon(Reading(hub.subscribe("a")))
                await turns(5)
                group.cancel_scope.cancel()
            assert 0 == log.readers
            assert len(log.crowd.sitting) <= 1


@asyncio_only
async def test_no_exception_of_a_task_goes_unseen(caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.get_running_loop()
    seen: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: seen.append(context))
    with caplog.at_level(logging.ERROR, logger="streamkit.hub"):
        for error in (OSError("x"), ValueError("y"), None):
            async with Hub() as hub:
                await hub.start("a", Probe(WORDS, error=error, clean_up_error=OSError("close")))
                await turns(20)
        gc.collect()
        await turns()
    assert ([], []) == (seen, caplog.records)


async def test_a_hub_used_in_another_loop_is_refused_while_its_own_goes_on() -> None:
    source = Source()
    errors: list[Exception] = []
    async with Hub() as hub:
        await hub.start("a", source)

        def elsewhere() -> None:
            async def read() -> None:
                try:
                    await events_of(hub, "a")
                except StreamBusy as error:
                    errors.append(error)

            asyncio.run(read())

        await anyio.to_thread.run_sync(elsewhere)
        await source.give("x")
        await source.end()
        assert answer("x") == await events_of(hub, "a")
    assert 1 == len(errors)
