"""The way out: who closes what, in which task, and before what."""

from __future__ import annotations

import gc
import warnings
from collections.abc import AsyncIterator, Iterable, Iterator
from contextvars import ContextVar
from typing import Any

import anyio
import pytest
from event_loops import asyncio_only

import streamkit as sk
from streamkit.flow.tasks import current_backend
from streamkit.testing import Probe, VirtualClock, assert_no_leaks

pytestmark = pytest.mark.anyio

seen: ContextVar[str] = ContextVar("seen", default="nothing")


class Held(sk.Stage[Any, Any]):
    """Holds everything back, and remembers how it was ended."""

    made: list[Held]

    def __init__(self) -> None:
        self.items: list[Any] = []
        self.ended: list[str] = []

    def feed(self, item: Any) -> Iterable[Any]:
        self.items.append(item)
        return ()

    def flush(self) -> Iterable[Any]:
        self.ended.append("flush")
        return self.items

    def abort(self) -> Iterable[Any]:
        self.ended.append("abort")
        return self.items[:1]


def holding() -> tuple[Held, Any]:
    held = Held()
    return held, sk.stage(lambda: held)


@pytest.mark.parametrize("fused", [True, False])
async def test_a_stage_is_flushed_at_the_end_and_aborted_at_an_error(fused: bool) -> None:
    held, op = holding()
    async with (sk.stream([1, 2]) | op).open(fused=fused) as items:
        assert [1, 2] == [item async for item in items]
    assert ["flush"] == held.ended

    held, op = holding()
    got: list[int] = []
    with pytest.raises(ValueError, match="source"):
        async with (sk.stream(Probe([1, 2], error=ValueError("source"))) | op).open(fused=fused) as items:
            async for item in items:
                got.append(item)
    assert (["abort"], [1]) == (held.ended, got)


@pytest.mark.parametrize("buffered", [False, True])
async def test_nothing_is_flushed_when_the_consumer_leaves_or_is_cancelled(buffered: bool) -> None:
    held, op = holding()
    scope = anyio.CancelScope()

    def cancelled_at_2(given: int) -> bool:
        if given == 2:
            scope.cancel()
        return given == 2

    probe = Probe([1, 2, 3], at_step=cancelled_at_2)
    plan = sk.stream(probe) | op
    with scope:
        async with plan | sk.buffer(2) if buffered else plan as items:
            async for _ in items:
                raise AssertionError("nothing comes out of it")
    assert scope.cancelled_caught
    assert ([], 1, True) == (held.ended, probe.closed, probe.one_task)


async def test_a_source_sees_the_context_variables_it_set() -> None:
    async def source() -> AsyncIterator[str]:
        seen.set("mine")
        for _ in range(3):
            yield seen.get()

    in_lists: sk.Op[str, list[str]] = sk.batch(1, within=1)
    ops: list[sk.Op[str, str] | sk.Same] = [
        sk.map(str),
        sk.map(str) | sk.buffer(1),
        sk.timeout(idle=60),
        in_lists | sk.flat_map(list),
    ]
    for op in ops:
        assert ["mine"] * 3 == await (sk.stream(source()) | op).collect()


async def test_a_bare_loop_that_is_broken_off_closes_late_and_says_so() -> None:
    probe = Probe([1, 2, 3])

    async def broken_off() -> None:
        async for _ in sk.stream(probe).map(str):
            break

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        await broken_off()
        gc.collect()
        for _ in range(20):
            await current_backend().checkpoint()
    assert 1 == probe.closed
    assert ResourceWarning in [warning.category for warning in told]


async def test_a_bare_loop_closes_its_source_at_its_end() -> None:
    probe = Probe([1, 2])
    async with assert_no_leaks():
        assert [1, 2] == [item async for item in sk.stream(probe)]
        assert (1, True) == (probe.closed, probe.one_task)


@asyncio_only  # trio cancels again at each checkpoint: a source that starts over there never waits
async def test_a_source_that_swallows_cancels_is_abandoned_and_named(clock: VirtualClock) -> None:
    probe = Probe([1, 2], at_step=lambda given: given == 1, stubborn=True)
    with pytest.warns(ResourceWarning, match="refuses to end"):
        async with (sk.stream(probe) | sk.buffer(3)).close_within(0.5) as items:
            assert 1 == await anext(items)
            await clock.sleep(1)  # by now the source waits for its second item
    probe._stubborn = False  # or the loop, which cancels what is left, could not be closed
    assert 2.25 == clock.now()


async def test_a_second_run_while_one_is_open_is_refused() -> None:
    stream = sk.stream([1, 2])
    async with stream:
        with pytest.raises(sk.StreamBusy):
            await stream.collect()
        with pytest.raises(sk.StreamBusy):
            async with stream:
                pass
    with pytest.raises(sk.StreamConsumed, match="zero-argument callable"):
        await stream.collect()


async def test_merge_keeps_the_order_of_each_stream_and_raises_an_error_behind_its_own_items(clock: VirtualClock) -> None:
    failing = Probe(["x", "y"], error=ValueError("one of two"))
    waiting = Probe(["a"], at_step=lambda given: given == 1)
    got: list[str] = []
    with pytest.raises(ValueError, match="one of two"):
        async with sk.merge(sk.stream(failing), sk.stream(waiting)) as items:
            async for item in items:
                got.append(item)
    assert ["x", "y"] == [item for item in got if item in "xy"]
    for probe in (failing, waiting):
        assert (1, True) == (probe.closed, probe.one_task)


async def test_one_stream_that_floods_does_not_starve_another_in_a_merge() -> None:
    def flood() -> Iterator[int]:
        return iter(range(3000))

    assert 3003 == len(await sk.merge(sk.stream(flood), sk.stream(["a", "b", "c"])).collect())


async def test_coalesce_joins_what_came_while_the_consumer_was_busy(clock: VirtualClock) -> None:
    from streamkit.testing import timed

    got: list[str] = []
    async with timed("a", 0.1, "b", 0.1, "c", 5.0, "d") | sk.coalesce() as items:
        async for item in items:
            got.append(item)
            await clock.sleep(1)
    assert ["a", "bc", "d"] == got
