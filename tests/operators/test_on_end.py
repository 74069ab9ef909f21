"""`on_end`: told once, last, and truly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest

import streamkit as sk
from streamkit.flow.clock import current_clock
from streamkit.operators.concluding import Ended, on_end
from streamkit.testing import Probe, VirtualClock, timed

pytestmark = pytest.mark.anyio


async def test_an_end_is_told_with_its_measures(clock: VirtualClock) -> None:
    told: list[Ended] = []
    assert ["a", "b"] == await (timed("a", 1.5, "b") | on_end(told.append)).collect()
    assert [Ended("done", None, 1.5, 2)] == told


async def test_an_error_is_told(clock: VirtualClock) -> None:
    told: list[Ended] = []
    failure = ValueError("x")
    with pytest.raises(ValueError, match="x"):
        await (timed("a", failure) | on_end(told.append)).collect()
    assert [("error", failure, 1)] == [(end.status, end.error, end.count) for end in told]


@pytest.mark.parametrize("behind", [sk.take(99), sk.buffer(4)])
async def test_a_reader_who_leaves_is_told(clock: VirtualClock, behind: sk.Same) -> None:
    told: list[Ended] = []
    async with timed("a", 1.0, "b", 9.0, "c") | on_end(told.append) | behind as items:
        async for item in items:
            if item == "b":
                break
        assert [] == told
    assert [("left", None)] == [(end.status, end.error) for end in told]


async def test_a_step_behind_it_that_has_enough_is_a_reader_who_left() -> None:
    told: list[Ended] = []
    await (sk.stream(iter("abcdef")) | on_end(told.append) | sk.take(2)).run()
    assert ["left"] == [end.status for end in told]


async def test_a_reader_who_fails_is_told() -> None:
    told: list[Ended] = []
    failure = KeyError("body")
    with pytest.raises(KeyError):
        async with timed("a", "b") | on_end(told.append) as items:
            async for _ in items:
                raise failure
    assert [("error", failure)] == [(end.status, end.error) for end in told]


@pytest.mark.parametrize("before", [sk.take(99), sk.buffer(4)])
async def test_a_cancel_is_told(clock: VirtualClock, before: sk.Same) -> None:
    told: list[Ended] = []
    with anyio.CancelScope() as scope:
        clock.call_at(0.5, scope.cancel)
        await (timed(9.0, "a") | before | on_end(told.append)).run()
    assert ["cancelled"] == [end.status for end in told]
    assert isinstance(told[0].error, anyio.get_cancelled_exc_class())


async def test_a_run_that_nobody_iterates_is_told_once() -> None:
    told: list[Ended] = []
    async with timed("a") | on_end(told.append):
        assert [] == told
    assert [Ended("left")] == told


@pytest.mark.parametrize("before", [[], [sk.buffer(4)], [sk.buffer(4), sk.batch(2), sk.buffer(1)]])
@pytest.mark.parametrize("leave", [True, False])
async def test_it_is_told_when_the_source_is_closed(before: list[Any], leave: bool) -> None:
    probe = Probe("abcdef")
    closed: list[int] = []
    plan = sk.stream(probe)
    for op in before:
        plan = plan | op
    async with plan | on_end(lambda end: closed.append(probe.closed)) as items:
        async for _ in items:
            if leave:
                break
    assert [1] == closed


async def test_each_run_tells_of_itself() -> None:
    told: list[Ended] = []
    plan = timed("a") | on_end(told.append)
    await plan.run()
    await plan.run()
    assert ["done", "done"] == [end.status for end in told]


async def test_an_async_function_is_awaited(clock: VirtualClock) -> None:
    told: list[tuple[str, float]] = []

    async def tell(end: Ended) -> None:
        await current_clock().sleep(2.0)
        told.append((end.status, clock.now()))

    assert ["a"] == await (timed("a") | on_end(tell)).collect()
    assert [("done", 2.0)] == told


async def test_an_async_function_that_never_ends_is_cut_off_and_named(clock: VirtualClock) -> None:
    async def tell(end: Ended) -> None:
        await current_clock().sleep(1e6)

    with pytest.warns(ResourceWarning, match="on_end"):
        await (timed("a") | on_end(tell)).close_within(3).run()
    assert 3.0 == clock.now()


async def test_its_failure_is_raised_if_nothing_else_is_on_its_way() -> None:
    def fail(end: Ended) -> None:
        raise RuntimeError("telling failed")

    got: list[str] = []
    with pytest.raises(RuntimeError, match="telling failed"):
        async for item in timed("a") | on_end(fail):
            got.append(item)
    assert ["a"] == got
    with pytest.raises(ValueError, match="first"):
        await (timed(ValueError("first")) | on_end(fail)).run()


@pytest.mark.parametrize("call", [lambda: on_end(None), lambda: on_end("x")])  # type: ignore[arg-type]  # on purpose
def test_wrong_arguments_are_said_at_the_call(call: Callable[[], object]) -> None:
    with pytest.raises(TypeError, match="on_end"):
        call()
