"""`map` with several calls at once: how many, in which order, and what one failure does to the others."""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from event_loops import asyncio_only

import streamkit as sk
from streamkit.flow.clock import current_clock
from streamkit.flow.concurrent_map import concurrent_map_part
from streamkit.flow.plan import Op, Step
from streamkit.flow.tasks import current_backend
from streamkit.testing import VirtualClock, assert_no_leaks, check_operator, timed
from streamkit.testing.probes import Probe

pytestmark = pytest.mark.anyio

ITEMS = ["a", "b", "c", "d"]


def mapped(fn: Any, concurrency: int = 2, ordered: bool = True) -> Op[Any, Any]:
    return Op(concurrent_map_part(fn, concurrency, ordered))


async def upper(item: str) -> str:
    return item.upper()


async def upper_later(item: str) -> str:
    await current_backend().checkpoint()
    return item.upper()


class Calls:
    """A function that takes as long as it is told, and remembers."""

    def __init__(self) -> None:
        self.running = 0
        self.most = 0
        self.cancelled: list[float] = []
        self.begun: list[float] = []

    async def __call__(self, seconds: float) -> float:
        self.begun.append(seconds)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await current_clock().sleep(abs(seconds))
            if seconds < 0:
                raise ValueError(f"after {-seconds}")
            return seconds
        except anyio.get_cancelled_exc_class():
            self.cancelled.append(seconds)
            raise
        finally:
            self.running -= 1


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("fn", [upper, upper_later])
async def test_concurrent_map_holds_the_contract_of_an_operator(fn: Any, ordered: bool) -> None:
    # Items that are told apart by nothing: trio wakes tasks in any order.
    items = ITEMS if ordered else ["a"] * 4
    report = await check_operator(
        mapped(fn, 2, ordered),
        items=items,
        expected=[item.upper() for item in items],
        ahead=2,
        refuses=[
            lambda: mapped(fn, 0),
            lambda: mapped(fn, True),
            lambda: mapped(3),
            lambda: mapped(str.upper),
            lambda: mapped(timed),
        ],
    )
    assert {1, 2, 3, 5, 6, 7, 8} <= set(report.rules)


async def test_one_call_at_a_time_is_the_plain_step() -> None:
    part = concurrent_map_part(str.upper, 1, ordered=True)
    assert isinstance(part, Step)
    assert ["A"] == await (sk.stream(["a"]) | Op(part)).collect()


def test_a_plain_callable_is_refused_with_the_way_out() -> None:
    with pytest.raises(sk.ConfigError, match=r"map\(str.upper, concurrency=2\) needs a coroutine function.*to_thread"):
        mapped(str.upper)


async def test_results_come_in_the_order_of_their_items(clock: VirtualClock) -> None:
    calls = Calls()
    got = await (sk.stream([3.0, 1.0, 2.0, 1.0]) | mapped(calls, 2)).collect()
    assert [3.0, 1.0, 2.0, 1.0] == got
    # The second waits for the first to be consumed before another begins.
    assert (2, 6.0 - 1.0) == (calls.most, clock.now())


async def test_unordered_results_come_as_they_are_ready(clock: VirtualClock) -> None:
    calls = Calls()
    got = await (sk.stream([3.0, 1.0, 1.5, 1.0]) | mapped(calls, 2, ordered=False)).collect()
    assert [1.0, 1.5, 3.0, 1.0] == got
    assert (2, 3.5) == (calls.most, clock.now())


@pytest.mark.parametrize("ordered", [True, False])
async def test_a_slow_consumer_stops_further_calls(ordered: bool, clock: VirtualClock) -> None:
    calls = Calls()
    source = Probe([1.0] * 20)
    async with (sk.stream(source) | mapped(calls, 3, ordered)).open() as items:
        taken = 0
        async for _ in items:
            taken += 1
            await clock.sleep(10)
            assert taken + 3 >= len(calls.begun)
            assert taken + 3 >= source.given
    assert 20 == len(calls.begun)


@pytest.mark.parametrize("ordered", [True, False])
async def test_a_failing_call_comes_behind_the_results_before_it_and_ends_the_others(ordered: bool, clock: VirtualClock) -> None:
    calls = Calls()
    source = Probe([3.0, -1.0, 50.0, 60.0, 70.0])
    got: list[float] = []
    with pytest.raises(ValueError, match=r"after 1\.0"):
        async with (sk.stream(source) | mapped(calls, 4, ordered)).open() as items:
            async for item in items:
                got.append(item)
    assert ([3.0] if ordered else []) == got
    assert {50.0, 60.0} | (set() if ordered else {3.0}) == set(calls.cancelled)
    assert 0 == calls.running
    assert (1, True) == (source.closed, source.one_task)
    assert (3.0 if ordered else 1.0) == clock.now()


async def test_the_calls_that_are_cancelled_have_cleaned_up_before_the_error_is_seen(clock: VirtualClock) -> None:
    cleaned: list[float] = []

    async def call(item: str) -> None:
        if item == "fails":
            await current_clock().sleep(0.5)
            raise LookupError(item)
        try:
            await current_clock().sleep(60)
        finally:
            with anyio.CancelScope(shield=True):
                await current_clock().sleep(2)
            cleaned.append(current_clock().now())

    with pytest.raises(LookupError):
        await (sk.stream(["waits", "waits", "fails"]) | mapped(call, 3, ordered=False)).collect()
    assert [2.5, 2.5] == cleaned


async def test_of_two_failing_calls_the_one_in_front_is_raised(clock: VirtualClock) -> None:
    calls = Calls()
    with pytest.raises(ValueError, match=r"after 2\.0"):
        await (sk.stream([-2.0, -1.0]) | mapped(calls, 2)).collect()
    with pytest.raises(ValueError, match=r"after 1\.0"):
        await (sk.stream([-2.0, -1.0]) | mapped(calls, 2, ordered=False)).collect()


@pytest.mark.parametrize("ordered", [True, False])
async def test_an_error_of_the_source_comes_behind_the_results_of_its_items(ordered: bool, clock: VirtualClock) -> None:
    failure = LookupError("gone")
    got: list[float] = []
    with pytest.raises(LookupError) as raised:
        async with (sk.stream(Probe([2.0, 1.0], error=failure)) | mapped(Calls(), 3, ordered)).open() as items:
            async for item in items:
                got.append(item)
    assert failure is raised.value
    assert ([2.0, 1.0] if ordered else [1.0, 2.0]) == got


@pytest.mark.parametrize("ordered", [True, False])
async def test_calls_that_never_return_are_left(ordered: bool) -> None:
    calls: list[str] = []

    async def never(item: str) -> str:
        calls.append(item)
        if item == "a":
            return item
        await current_backend().waiter().wait()
        return item

    source = Probe(["a", "b", "c", "d", "e"])
    async with assert_no_leaks(), (sk.stream(source) | mapped(never, 3, ordered)).open() as items:
        async for item in items:
            assert "a" == item
            break
    assert (1, True) == (source.closed, source.one_task)
    assert ["a", "b", "c"] == sorted(calls[:3])


async def test_each_call_runs_in_the_context_of_the_consumer() -> None:
    word = contextvars.ContextVar("word", default="unset")
    seen: list[str] = []

    async def source() -> AsyncIterator[int]:
        for number in range(3):
            word.set("the source's")
            yield number

    async def call(number: int) -> int:
        seen.append(word.get())
        word.set("another call's")
        await current_backend().checkpoint()
        return number

    word.set("the consumer's")
    assert [0, 1, 2] == await (sk.stream(source) | mapped(call, 2)).collect()
    assert ["the consumer's"] * 3 == seen
    assert "the consumer's" == word.get()


@asyncio_only
async def test_a_call_that_cancels_itself_fails_with_that() -> None:
    async def call(item: str) -> None:
        raise asyncio.CancelledError(item)

    with pytest.raises(asyncio.CancelledError):
        await (sk.stream(["a"]) | mapped(call)).collect()


async def test_a_buffer_behind_it_changes_nothing(clock: VirtualClock) -> None:
    calls = Calls()
    assert [1.0, 3.0, 2.0] == await (sk.stream([1.0, 3.0, 2.0]) | mapped(calls, 2) | sk.buffer(4)).collect()
    with pytest.raises(ValueError, match=r"after 1\.0"):
        await (sk.stream([1.0, -1.0, 50.0, 50.0]) | mapped(calls, 3) | sk.buffer(4)).collect()
    assert 0 == calls.running


async def test_random_calls_and_cancels_leave_nothing_behind(clock: VirtualClock) -> None:
    for seed in range(60):
        chance = random.Random(seed)
        seconds = [chance.choice([0.0, 0.5, 1.0, 2.0]) for _ in range(chance.randint(1, 12))]
        failing = chance.random() < 0.3
        if failing:
            seconds[chance.randrange(len(seconds))] = -0.7
        calls, source = Calls(), Probe(seconds)
        concurrency, ordered = chance.randint(2, 5), chance.random() < 0.5
        cancel_at = clock.now() + chance.choice([0.25, 1.25, 100.0])
        got: list[float] = []
        error: list[BaseException] = []
        async with assert_no_leaks(thorough=False):
            with anyio.CancelScope() as scope:
                timer = clock.call_at(cancel_at, scope.cancel)
                try:
                    async with (sk.stream(source) | mapped(calls, concurrency, ordered)).open() as items:
                        async for item in items:
                            got.append(item)
                except ValueError as failure:
                    error.append(failure)
            timer.cancel()
        assert 0 == calls.running, f"seed {seed}"
        assert concurrency >= calls.most
        assert (1, True) == (source.closed, source.one_task), f"seed {seed}"
        if ordered:
            assert seconds[: len(got)] == got, f"seed {seed}"
        if not scope.cancelled_caught and not failing:
            assert sorted(seconds) == sorted(got), f"seed {seed}"
        if failing and not scope.cancelled_caught:
            assert 1 == len(error), f"seed {seed}"
