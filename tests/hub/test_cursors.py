"""Readers without a segment (`reading.direct`) give, end, fail and close as any Run does; and a log keeps its bounds."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import pytest
from event_loops import asyncio_only

from streamkit.errors import StreamConsumed, StreamkitError
from streamkit.events.model import Event, Finish, TextDelta
from streamkit.flow.channel import FAIRNESS
from streamkit.flow.clock import current_clock
from streamkit.flow.runs import Run
from streamkit.flow.tasks import current_backend
from streamkit.hub.hub import Hub
from streamkit.hub.log import Limits, Log

pytestmark = pytest.mark.anyio


async def turns(count: int = 6) -> None:
    for _ in range(count):
        await anyio.lowlevel.checkpoint()


async def slowly() -> AsyncIterator[str]:
    for number in range(5):
        await turns(2)
        yield f"{number} "


async def silent() -> AsyncIterator[str]:
    yield "a"
    await anyio.sleep_forever()


async def failing() -> AsyncIterator[str]:
    yield "a"
    raise ValueError("the model broke")


def text(events: list[Any]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


async def readers(hub: Hub) -> int:
    await turns()
    return (await hub.status("x")).readers


async def flat(run: Run[Any], lists: bool) -> list[Any]:
    if lists:
        return [item async for some in run.lists() for item in some]
    return [item async for item in run]


# -- giving


@pytest.mark.parametrize("source", [slowly, lambda: ["a", "b"], lambda: list("ab" * 3000)])
@pytest.mark.parametrize("lists", [False, True])
@pytest.mark.parametrize("entries", [False, True])
async def test_it_gives_what_a_segment_gives(source: Callable[[], Any], lists: bool, entries: bool) -> None:
    async with Hub() as hub:
        await hub.start("x", source())
        read = hub.entries if entries else hub.subscribe
        got: list[list[Any]] = []
        for fused in (True, False):
            async with read("x").open(fused=fused) as run:
                got.append(await flat(run, lists))
        assert got[1] == got[0]
        assert Finish("stop") == (got[0][-1][1] if entries else got[0][-1])


async def test_only_a_reader_that_loses_and_delays_nothing_is_read_this_way() -> None:
    async with Hub() as hub:
        await hub.start("x", ["a"])
        kinds = {}
        for policy in ("lag", "conflate", "latest", "disconnect", "backpressure"):
            async with hub.subscribe("x", policy=policy).open() as run:
                kinds[policy] = getattr(aiter(run), "__qualname__", None) == "_events"
        assert {"lag": True, "conflate": False, "latest": False, "disconnect": False, "backpressure": False} == kinds


async def test_who_catches_up_lets_the_event_loop_turn() -> None:
    async with Hub() as hub:
        await hub.start("x", ["a"] * (4 * FAIRNESS))
        await hub.subscribe("x").collect()
        turned = count = 0

        async def other() -> None:
            nonlocal turned
            while count < 4 * FAIRNESS:
                turned += 1
                await anyio.lowlevel.checkpoint()

        async with anyio.create_task_group() as group:
            group.start_soon(other)
            async for _ in hub.subscribe("x"):
                count += 1
        assert turned >= 2


async def test_who_comes_late_begins_with_what_was_folded() -> None:
    async with Hub(max_events=8) as hub:
        await hub.start("x", [f"{number} " for number in range(100)])
        await hub.subscribe("x").collect()
        got = await flat(hub.subscribe("x").open(), lists=False)
        assert "".join(f"{number} " for number in range(100)) == text(got)
        assert len(got) < 50


# -- ending


@pytest.mark.parametrize("lists", [False, True])
async def test_after_the_end_it_ends_again_and_its_reader_has_left(lists: bool) -> None:
    async with Hub() as hub:
        await hub.start("x", ["a"])
        async with hub.subscribe("x").open() as run:
            iterator: Any = run.lists() if lists else aiter(run)
            while True:
                try:
                    await anext(iterator)
                except StopAsyncIteration:
                    break
            assert 0 == await readers(hub)
            with pytest.raises(StopAsyncIteration):
                await anext(iterator)


async def test_a_failure_comes_behind_the_events_and_keeps_the_answer_so_far() -> None:
    got: list[Event] = []
    async with Hub() as hub:
        await hub.start("x", failing)
        with pytest.raises(ValueError, match="the model broke"):
            async for event in hub.subscribe("x"):
                got.append(event)
        assert ("a", 0) == (text(got), await readers(hub))
        with pytest.raises(StreamkitError):
            async for _ in hub.subscribe("nothing of this name"):
                raise AssertionError("there is no such stream")


async def test_a_cancelled_read_is_no_end() -> None:
    async with Hub() as hub:
        await hub.start("x", silent)
        async with hub.subscribe("x").open() as run:
            assert "a" == text([await anext(run)])
            with anyio.CancelScope() as scope:
                scope.cancel()
                await anext(run)
            assert 0 == await readers(hub)
            with pytest.raises(StreamConsumed, match="a read of this Run was cancelled"):
                await anext(run)


async def test_a_run_that_is_left_early_has_left_its_log() -> None:
    async with Hub() as hub:
        await hub.start("x", silent)
        async with hub.subscribe("x").open() as run:
            await anext(run)
            assert 1 == await readers(hub)
        assert 0 == await readers(hub)
        async with hub.subscribe("x").open():
            assert 0 == await readers(hub)
        assert 0 == await readers(hub)


@asyncio_only
async def test_one_that_is_dropped_is_closed_by_the_event_loop() -> None:
    async with Hub() as hub:
        await hub.start("x", silent, on_disconnect="cancel")
        with pytest.warns(ResourceWarning, match="was dropped while its source was open"):
            async for _ in hub.subscribe("x"):
                break
            gc.collect()
            assert 0 == await readers(hub)
        assert "cancelled" == (await hub.status("x")).state


async def test_two_tasks_do_not_read_it_at_once() -> None:
    async with Hub() as hub:
        await hub.start("x", silent)
        iterator: Any = aiter(hub.subscribe("x"))
        await anext(iterator)
        async with anyio.create_task_group() as group:
            group.start_soon(anext, iterator)
            await turns()
            assert iterator.ag_running
            with pytest.raises(RuntimeError, match="already running"):
                await anext(iterator)
            with pytest.raises(RuntimeError, match="already running"):
                await iterator.aclose()
            group.cancel_scope.cancel()
        await iterator.aclose()
        assert 0 == await readers(hub)


@asyncio_only
async def test_a_task_can_be_made_of_a_read_as_of_any_generators() -> None:
    async with Hub() as hub:
        await hub.start("x", ["a"])
        async with hub.subscribe("x").open() as run:
            iterator: Any = aiter(run)
            assert TextDelta("a") == await asyncio.create_task(anext(iterator))
            assert Finish("stop") == await asyncio.ensure_future(anext(iterator))


@asyncio_only
async def test_many_cancels_at_random_leave_no_reader_and_wake_the_others() -> None:
    async with Hub() as hub:
        await hub.start("x", silent)
        stays = [asyncio.create_task(hub.subscribe("x").collect()) for _ in range(20)]
        for wave in range(10):
            tasks = [asyncio.create_task(hub.subscribe("x").collect()) for _ in range(100)]
            await turns(wave)
            for task in tasks[:: -1 if wave % 2 else 1]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert all(task.cancelled() for task in tasks)
        assert 20 == await readers(hub)
        await hub.cancel("x")
        assert ["a"] * 20 == [text(list(events)) for events in await asyncio.gather(*stays)]


# -- the bounds of a log whose readers wait for each event


def log_of(events: int, size: int) -> Log:
    backend = current_backend()
    return Log(backend, current_clock(backend), Limits(events, size), first_epoch=0, epoch=1)


def write(log: Log, event: Event) -> None:
    """As a pump does; a reader waits for each."""
    log.limit = 0
    log.offer(event)
    if len(log.buffer) >= log.limit:
        log.wake()


async def test_the_number_of_events_is_bounded_while_readers_wait_for_each() -> None:
    log, most = log_of(100, 1 << 20), 0
    for _ in range(2000):
        write(log, TextDelta("x"))
        most = max(most, len(log.buffer))
    assert most <= 100 + 2 * 25 + 1
    assert 2000 == log.head


@pytest.mark.parametrize("length", [10, 1000, 50_000])
async def test_the_bytes_are_bounded_whatever_the_events_weigh(length: int) -> None:
    bound = 200_000
    log, most = log_of(65_536, bound), 0
    for _ in range(3000):
        write(log, TextDelta("x" * length))
        most = max(most, sum(120 + len(event.text) for event in log.buffer if isinstance(event, TextDelta)))
    assert most <= 2 * bound + 120 * FAIRNESS


async def test_a_reader_in_lock_step_is_waited_for_from_its_first_event_on() -> None:
    sent = 0

    async def counted() -> AsyncIterator[str]:
        nonlocal sent
        while True:
            await turns(1)
            sent += 1
            yield "x"

    async with Hub() as hub:
        await hub.start("x", counted)
        async with hub.subscribe("x").open() as free, hub.subscribe("x", policy="backpressure", lag=4).open() as slow:
            await anext(free)
            await anext(slow)
            before = sent
            with anyio.move_on_after(0.02):
                async for _ in free:
                    continue
            assert sent - before <= 4 + 2
