"""take_until: a stream that is ended from outside."""

from __future__ import annotations

import asyncio
import gc
import inspect
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from event_loops import asyncio_only
from several_streams import Failed, try_both_sides

import streamkit as sk
from streamkit.flow.tasks import current_backend
from streamkit.operators.ending import AHEAD, take_until
from streamkit.testing import Probe, VirtualClock, assert_no_leaks, check_operator, timed

pytestmark = pytest.mark.anyio

ITEMS = ["a", "b", "c"]


async def at(clock: VirtualClock, stream: sk.Stream[Any]) -> list[tuple[float, Any]]:
    """Each item and when it came."""
    return [(clock.now(), item) async for item in stream]


async def never() -> None:
    await anyio.sleep_forever()


async def test_it_holds_the_contract() -> None:
    report = await check_operator(
        lambda s: s | take_until(never),
        items=ITEMS,
        expected=ITEMS,
        refuses=[lambda: take_until(3), lambda: take_until(None), lambda: take_until([1])],  # type: ignore[arg-type]  # on purpose
    )
    assert {1, 2, 3, 4, 6, 7, 8} == set(report.rules)


async def test_the_source_and_a_signal_may_fail_or_wait_at_any_step() -> None:
    assert 36 <= await try_both_sides("take_until", lambda one, two: sk.stream(one) | take_until(two), decides=False)


@pytest.mark.parametrize("kind", ["coroutine", "function", "stream", "function of a stream"])
async def test_the_items_before_the_signal_come_and_the_source_is_closed_where_it_waits(clock: VirtualClock, kind: str) -> None:
    async def signal() -> None:
        await clock.sleep(2.5)

    def made() -> sk.Stream[str]:
        return timed(2.5, "now", 1.0, "and again")

    signals: dict[str, Any] = {
        "coroutine": signal(),
        "function": signal,
        "stream": made(),
        "function of a stream": made,
    }
    for name, value in signals.items():
        if name != kind and inspect.iscoroutine(value):
            value.close()
    source = Probe([1, 2, 3], at_step=lambda given: given == 2)
    assert [(0.0, 1), (0.0, 2)] == await at(clock, sk.stream(source) | take_until(signals[kind]))
    assert (2.5, 1, 0) == (clock.now(), source.closed, clock.pending)


async def test_what_was_read_ahead_is_dropped_at_the_signal_and_is_not_more_than_is_said(clock: VirtualClock) -> None:
    source, got = Probe(range(100)), []
    async with sk.stream(source) | take_until(clock.sleep(1.0)) as items:
        async for item in items:
            got.append(item)
            await clock.sleep(0.6)
            assert AHEAD <= source.given <= len(got) + AHEAD + 1
    assert [0, 1] == got
    assert 1.2 == clock.now()


async def test_an_end_before_the_signal_keeps_what_was_read_ahead(clock: VirtualClock) -> None:
    got: list[str] = []
    async with sk.stream(ITEMS) | take_until(clock.sleep(1.0)) as items:
        async for item in items:
            got.append(item)
            await clock.sleep(0.6)
    assert ITEMS == got


async def test_the_signal_of_a_function_is_made_anew_for_each_run(clock: VirtualClock) -> None:
    async def signal() -> None:
        await clock.sleep(1.5)

    stream = timed("a", 1.0, "b", 1.0, "c") | take_until(signal)
    assert [(0.0, "a"), (1.0, "b")] == await at(clock, stream)
    assert [(1.5, "a"), (2.5, "b")] == await at(clock, stream)


async def test_an_awaitable_serves_one_run(clock: VirtualClock) -> None:
    stream = timed("a", 1.0, "b") | take_until(clock.sleep(0.5))
    assert ["a"] == await stream.collect()
    with pytest.raises(sk.StreamConsumed):
        await stream.collect()


async def test_a_signal_that_is_there_already_lets_nothing_through(clock: VirtualClock) -> None:
    event = anyio.Event()
    event.set()
    assert [] == await (timed(0.1, "a") | take_until(event.wait())).collect()
    assert 0.0 == clock.now()


async def test_an_end_of_the_signal_without_an_item_is_no_signal(clock: VirtualClock) -> None:
    assert [(0.0, "a"), (2.0, "b")] == await at(clock, timed("a", 2.0, "b") | take_until(timed(1.0)))


async def test_an_error_of_the_signal_comes_behind_the_items_before_it(clock: VirtualClock) -> None:
    got: list[object] = []
    source = Probe(ITEMS, at_step=lambda given: given == 2)
    with pytest.raises(Failed):
        async for item in sk.stream(source) | take_until(timed(1.0, Failed("signal"))):
            got.append(item)
    assert (["a", "b"], 1) == (got, source.closed)


async def test_an_error_of_the_source_is_raised_and_the_signal_closed(clock: VirtualClock) -> None:
    signal = Probe(["now"], at_step=lambda given: True)
    with pytest.raises(Failed):
        await (timed("a", Failed("source")) | take_until(signal)).collect()
    assert (1, 1) == (signal.asked, signal.closed)


async def test_what_goes_wrong_in_the_source_after_the_signal_is_nobodys(clock: VirtualClock) -> None:
    got: list[str] = []
    async with timed("a", 2.0, Failed("late")) | take_until(clock.sleep(1.0)) as items:
        async for item in items:
            got.append(item)
            await clock.sleep(5.0)
    assert ["a"] == got


async def test_a_coroutine_is_cancelled_at_the_end_and_closed_if_nobody_waited_for_it(clock: VirtualClock) -> None:
    ended: list[str] = []

    async def signal() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("signal")

    async with assert_no_leaks():
        assert ITEMS == await (sk.stream(ITEMS) | take_until(signal())).collect()
        async with (sk.stream(ITEMS) | take_until(signal())).open():
            pass  # nobody reads
        gc.collect()
    assert ["signal"] == ended


@asyncio_only
async def test_a_task_and_a_future_belong_to_whoever_made_them() -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(asyncio.Event().wait())
    assert ITEMS == await (sk.stream(ITEMS) | take_until(future)).collect()
    assert ITEMS == await (sk.stream(ITEMS) | take_until(task)).collect()
    assert (False, False) == (future.done(), task.done())
    future.set_result(None)
    assert [] == await (sk.stream(Probe(ITEMS, at_step=lambda given: True)) | take_until(future)).collect()
    task.cancel()
    assert [] == await (sk.stream(Probe(ITEMS, at_step=lambda given: True)) | take_until(task)).collect()


@asyncio_only
async def test_an_error_of_a_future_is_raised() -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.set_exception(Failed("future"))
    with pytest.raises(Failed):
        await (sk.stream(Probe(ITEMS, at_step=lambda given: True)) | take_until(future)).collect()


async def test_a_function_that_makes_no_signal_says_so() -> None:
    with pytest.raises(TypeError, match="returned a int, which is no awaitable and no stream"):
        await (sk.stream(ITEMS) | take_until(lambda: 3)).collect()  # type: ignore[arg-type, return-value]  # on purpose


async def test_op_06_a_source_that_floods_does_not_starve_the_signal() -> None:
    async def flood() -> AsyncIterator[int]:
        while True:
            yield 0

    async def soon() -> None:
        for _ in range(5):
            await current_backend().checkpoint()

    assert 200 > len(await (sk.stream(flood()) | take_until(soon)).collect())
