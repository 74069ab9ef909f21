"""Time that jumps: no real time, the same each time, and a clear word where nothing can ever happen."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import anyio
import pytest

import streamkit as sk
from streamkit.flow.clock import current_clock
from streamkit.testing import Deadlock, VirtualClock, timed

pytestmark = pytest.mark.anyio


async def test_an_hour_takes_no_time(clock: VirtualClock) -> None:
    began = time.monotonic()
    await clock.sleep(3600)
    assert 3600.0 == clock.now()
    assert time.monotonic() - began < 1800


async def test_the_pauses_of_a_script_are_slept_on_the_clock(clock: VirtualClock) -> None:
    assert ["a", "b"] == await timed("a", 1.0, "b", 0.5).collect()
    assert 1.5 == clock.now()


async def test_a_script_raises_its_exceptions(clock: VirtualClock) -> None:
    with pytest.raises(ValueError, match="enough"):
        await timed("a", 1.0, ValueError("enough")).collect()
    assert 1.0 == clock.now()


async def test_timers_run_in_the_order_of_their_times_and_then_of_their_making(clock: VirtualClock) -> None:
    ran: list[str] = []
    clock.call_at(2.0, lambda: ran.append("late"))
    clock.call_at(1.0, lambda: ran.append("early"))
    clock.call_at(1.0, lambda: ran.append("early too"))
    clock.call_at(1.5, lambda: ran.append("cancelled")).cancel()
    await clock.sleep(3)
    assert ["early", "early too", "late"] == ran
    assert 0 == clock.pending


async def test_a_sleeper_that_is_cancelled_leaves_no_timer(clock: VirtualClock) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(clock.sleep, 60)
        await clock.sleep(1)
        group.cancel_scope.cancel()
    assert 0 == clock.pending
    assert 1.0 == clock.now()


async def test_time_stands_still_while_anybody_has_something_to_do(clock: VirtualClock) -> None:
    async def work() -> None:
        for _ in range(200):
            await anyio.lowlevel.checkpoint()
            seen.append(clock.now())

    seen: list[float] = []
    async with anyio.create_task_group() as group:
        group.start_soon(work)
        await clock.sleep(1)
    assert [0.0] * 200 == seen


async def test_a_thread_that_brings_items_is_waited_for(clock: VirtualClock) -> None:
    def slow() -> Iterator[int]:
        for number in range(3):
            threading.Event().wait(0.02)
            yield number

    assert [0, 1, 2] == await (sk.stream(slow()) | sk.timeout(idle=0.001)).collect()
    assert 0.0 == clock.now()


async def test_a_thread_whose_items_take_long_together_is_waited_for_at_each_of_them(clock: VirtualClock) -> None:
    """What it took for all of them was counted as if one had taken that: the time went on while it worked."""

    def slow() -> Iterator[int]:
        for number in range(60):
            threading.Event().wait(0.02)
            yield number

    assert list(range(60)) == await (sk.stream(slow()) | sk.timeout(idle=0.001)).collect()
    assert 0.0 == clock.now()


async def test_a_wait_that_can_never_end_fails_where_it_waits() -> None:
    async with VirtualClock(patience=0.05):
        with pytest.raises(Deadlock, match="every task waits and no timer is set, at 0 s"):
            await anyio.Event().wait()


async def test_an_inner_clock_stops_the_outer_one(clock: VirtualClock) -> None:
    async with VirtualClock() as inner:
        await inner.sleep(5)
        assert inner is current_clock()
    assert current_clock() is clock
    assert (0.0, 5.0) == (clock.now(), inner.now())
    await clock.sleep(1)
    assert 1.0 == clock.now()


async def test_a_timer_that_raises_is_told_when_the_clock_is_left() -> None:
    def fail() -> None:
        raise ValueError("in a timer")

    with pytest.raises(ValueError, match="in a timer"):
        async with VirtualClock() as clock:
            clock.call_at(1, fail)
            await clock.sleep(2)


def test_a_clock_that_cannot_be_is_refused_at_the_call() -> None:
    with pytest.raises(sk.ConfigError, match="0 or more"):
        VirtualClock(start=-1)
    with pytest.raises(sk.ConfigError, match="patience"):
        VirtualClock(patience=0)
