"""flatten and switch: streams of streams."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import pytest
from event_loops import asyncio_only
from several_streams import Failed, try_both_sides

import streamkit as sk
from streamkit.errors import ConfigError
from streamkit.flow.clock import current_clock
from streamkit.flow.flattened import SWITCH_OPEN
from streamkit.flow.tasks import current_backend
from streamkit.operators.flattening import flatten, switch
from streamkit.testing import Probe, VirtualClock, assert_no_leaks, check_operator, timed

pytestmark = pytest.mark.anyio

ITEMS = ["a", "b", "c"]

FLAT: dict[str, Callable[[Any], sk.Stream[Any]]] = {
    "one by one": lambda streams: sk.stream(streams) | flatten(),
    "three at once": lambda streams: sk.stream(streams) | flatten(concurrency=3),
    "the newest": lambda streams: sk.stream(streams) | switch(),
}


async def at(clock: VirtualClock, stream: sk.Stream[Any]) -> list[tuple[float, Any]]:
    """Each item and when it came."""
    return [(clock.now(), item) async for item in stream]


def wrapped(stream: sk.Stream[Any]) -> sk.Stream[list[Any]]:
    return stream.map(lambda item: [item])


@pytest.mark.parametrize(
    ("op", "expected", "options"),
    [
        pytest.param(lambda s: wrapped(s) | flatten(), ITEMS, {"ahead": 0}, id="one by one"),
        # Which of two comes first is the loop's affair.
        pytest.param(lambda s: (wrapped(s) | flatten(concurrency=2)).batch(9).map(sorted), [ITEMS], {}, id="two at once"),
        pytest.param(lambda s: wrapped(s) | switch(), ["c"], {}, id="switch"),
    ],
)
async def test_it_holds_the_contract(op: Any, expected: list[object], options: dict[str, Any]) -> None:
    refuses: list[Callable[[], object]] = [
        lambda: flatten(concurrency=0),
        lambda: flatten(concurrency=True),
        lambda: flatten(size=0),
    ]
    report = await check_operator(op, items=ITEMS, expected=expected, refuses=refuses, **options)
    assert {1, 2, 3, 4, 6, 7, 8} <= set(report.rules)


@pytest.mark.parametrize("name", ["one by one", "three at once"])
async def test_either_of_two_inner_streams_may_fail_or_wait_at_any_step(name: str) -> None:
    over = FLAT[name]
    assert 36 <= await try_both_sides(name, lambda one, two: over([one, two]), decides=True, lazy=True)


async def test_either_of_two_inner_streams_of_a_switch_may_fail_or_wait_at_any_step() -> None:
    async def slowly(*streams: Any) -> AsyncIterator[Any]:
        for given in streams:
            yield given
            await current_clock().sleep(0.5)

    over = FLAT["the newest"]
    assert 36 <= await try_both_sides("switch", lambda one, two: over(slowly(one, two)), decides=True, lazy=True)


@pytest.mark.parametrize("name", FLAT)
async def test_an_item_that_is_no_stream_fails_behind_what_came_before(name: str) -> None:
    got: list[object] = []
    with pytest.raises(TypeError, match="cannot stream a int"):
        async for item in FLAT[name]([["a"], 3, ["b"]]):
            got.append(item)
    assert [] == [item for item in got if item != "a"]


@pytest.mark.parametrize("name", FLAT)
async def test_of_no_streams_nothing_comes(name: str) -> None:
    assert [] == await FLAT[name]([]).collect()
    assert [] == await FLAT[name]([[], []]).collect()


@pytest.mark.parametrize("name", FLAT)
async def test_an_error_of_the_outer_stream_waits_for_the_inner_ones_it_gave(clock: VirtualClock, name: str) -> None:
    got: list[object] = []
    with pytest.raises(Failed):
        async for item in FLAT[name](timed(timed("a", 2.0, "b"), 1.0, Failed("outer"))):
            got.append(item)
    assert (["a", "b"], 3.0 if name == "one by one" else 2.0) == (got, clock.now())


async def test_op_08_an_inner_stream_that_fails_closes_the_others_before_it_is_seen() -> None:
    probes = [Probe(range(100)), Probe(range(2), error=Failed("inner")), Probe(range(100))]
    async with assert_no_leaks(), FLAT["three at once"](probes) as items:
        with pytest.raises(Failed):
            async for _ in items:
                await current_backend().checkpoint()
        assert [1, 1, 1] == [probe.closed for probe in probes]
    assert all(probe.iterated_by == probe.closed_by for probe in probes)


async def test_the_outer_source_waits_while_as_many_run_as_may(clock: VirtualClock) -> None:
    asked: list[float] = []

    async def outer() -> AsyncIterator[sk.Stream[str]]:
        for name in "abcd":
            asked.append(clock.now())
            yield timed(name, 2.0, name)

    stream = sk.stream(outer) | flatten(concurrency=2)
    assert [(0.0, "a"), (0.0, "b"), (2.0, "a"), (2.0, "b"), (2.0, "c"), (2.0, "d"), (4.0, "c"), (4.0, "d")] == sorted(
        await at(clock, stream)
    )
    assert [0.0, 0.0, 2.0, 2.0] == asked


async def test_flatten_opens_each_when_the_one_before_it_is_closed() -> None:
    happened: list[str] = []

    def source(name: str) -> Callable[[], AsyncIterator[str]]:
        async def items() -> AsyncIterator[str]:
            happened.append(f"open {name}")
            try:
                yield name
            finally:
                happened.append(f"close {name}")

        return items

    assert ["a", "b"] == await (sk.stream([source("a"), source("b")]) | flatten()).collect()
    assert ["open a", "close a", "open b", "close b"] == happened


@pytest.mark.parametrize("name", FLAT)
async def test_inner_streams_may_hold_scopes(name: str) -> None:
    async def source() -> AsyncIterator[str]:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep_forever)
            with anyio.move_on_after(60):
                for item in ITEMS:
                    yield item
                    await current_backend().checkpoint()
            group.cancel_scope.cancel()

    async with assert_no_leaks():
        assert ITEMS == (await FLAT[name]([source, source]).collect())[-3:] or name == "three at once"
        async with FLAT[name]([source, source]) as items:
            async for _ in items:
                break


async def test_streams_without_end_that_give_one_item_each_let_the_loop_turn() -> None:
    """OP-06: neither the outer stream nor any of the inner ones waits for anything."""
    turns, given = 0, 0

    async def outer() -> AsyncIterator[list[int]]:
        nonlocal given
        for n in range(6000):
            given = n
            yield [n]

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await current_backend().checkpoint()

    async with anyio.create_task_group() as group:
        group.start_soon(other)
        await (sk.stream(outer) | flatten()).run()
        group.cancel_scope.cancel()
    assert 5999 == given
    assert turns >= 4


if sys.version_info >= (3, 12):  # tasks that begin at once came with it

    @asyncio_only
    @pytest.mark.parametrize("name", ["three at once", "the newest"])
    async def test_a_stream_begun_by_a_task_that_begins_at_once_is_read_by_that_one_alone(name: str) -> None:
        """The Run began its pumps while the first of them launched another, and began that one twice."""

        def eager(loop: Any, coro: Any, *, context: Any = None, **_: object) -> Any:
            # asyncio's own factory refuses what uvloop passes to it on Python 3.13.0.
            task: Any = asyncio.Task
            return task(coro, loop=loop, context=context, eager_start=True)

        loop = asyncio.get_running_loop()
        loop.set_task_factory(eager)
        try:
            async with assert_no_leaks():
                probes = [Probe(["x"]) for _ in range(3)]
                got = await FLAT[name](probes).collect()
        finally:
            loop.set_task_factory(None)
        assert (["x"] if name == "the newest" else ["x"] * 3) == got
        assert [1] * 3 == [probe.closed for probe in probes]
        assert all(len(probe.iterated_by) <= 1 for probe in probes)


# -- switch


async def test_switch_reads_the_newest_alone(clock: VirtualClock) -> None:
    outer = timed(timed("a1", 1.0, "a2", 1.0, "a3"), 1.5, timed("b1", 1.0, "b2"), 5.0, timed("c1"))
    expected = [(0.0, "a1"), (1.0, "a2"), (1.5, "b1"), (2.5, "b2"), (6.5, "c1")]
    assert expected == await at(clock, outer | switch())


async def test_switch_goes_on_while_the_one_before_cleans_up_and_waits_for_it_at_the_end(clock: VirtualClock) -> None:
    slow = Probe(ITEMS, clean_up=3.0, at_step=lambda given: given == 1)
    stream = timed(slow, 1.0, timed("x", 0.5, "y")) | switch()
    assert [(0.0, "a"), (1.0, "x"), (1.5, "y")] == await at(clock, stream)
    assert (4.0, 1) == (clock.now(), slow.closed)


async def test_switch_gives_nothing_of_one_that_was_left_even_if_it_goes_on_giving(clock: VirtualClock) -> None:
    async def deaf() -> AsyncIterator[str]:
        yield "a1"
        try:
            await current_clock().sleep(9.0)
        except BaseException:
            if current_backend().name == "trio":
                raise
        yield "a2"

    assert ["a1", "b1"] == [item for _, item in await at(clock, timed(deaf, 1.0, timed("b1")) | switch())]


async def test_switch_drops_what_nobody_had_taken_of_the_one_before(clock: VirtualClock) -> None:
    got: list[str] = []
    async with timed(timed("a1", "a2", "a3"), 1.0, timed("b1")) | switch() as items:
        async for item in items:
            got.append(item)
            if item == "a1":
                await clock.sleep(2.0)
    # What is in the hands of the consumer cannot be taken back; the next is of the new one.
    assert ["a1", "b1"] == got


async def test_switch_does_not_lose_an_error_of_the_newest_to_the_next(clock: VirtualClock) -> None:
    got: list[str] = []
    with pytest.raises(Failed):
        async with timed(["a"], 1.0, timed(Failed("nobody looked")), 1.0, ["b"]) | switch() as items:
            async for item in items:
                got.append(item)
                await clock.sleep(5.0)
    assert ["a"] == got


async def test_switch_drops_an_error_of_one_that_was_left(clock: VirtualClock) -> None:
    failing = Probe(ITEMS, clean_up_error=Failed("nobody's"), at_step=lambda given: given == 1)
    assert [(0.0, "a"), (1.0, "b")] == await at(clock, timed(failing, 1.0, timed("b")) | switch())
    assert 1 == failing.closed


async def test_switch_lets_the_outer_stream_wait_when_too_many_clean_up(clock: VirtualClock) -> None:
    probes = [Probe("x", clean_up=2.0, at_step=lambda given: True) for _ in range(2 * SWITCH_OPEN)]
    given: list[float] = []

    async def outer() -> AsyncIterator[Any]:
        for probe in probes:
            given.append(clock.now())
            yield probe
            await clock.sleep(0.01)
        yield ["last"]

    assert ["last"] == [item for _, item in await at(clock, sk.stream(outer) | switch())]
    assert SWITCH_OPEN == sum(when < 1.0 for when in given)
    assert [1] * len(probes) == [probe.closed for probe in probes]


async def test_it_can_be_run_again_if_the_outer_stream_can() -> None:
    ops: list[Any] = [flatten(), flatten(concurrency=2), switch()]
    for op in ops:
        stream: sk.Stream[int] = sk.stream(lambda: [[1, 2]]) | op
        assert [1, 2] == await stream.collect() == await stream.collect()


async def test_what_was_wrong_is_said_at_the_call() -> None:
    with pytest.raises(ConfigError, match="concurrency=0"):
        flatten(concurrency=0)
    with pytest.raises(TypeError, match="size"):
        flatten(size="many")  # type: ignore[arg-type]  # on purpose
