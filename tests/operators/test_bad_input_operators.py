"""Bad inputs of the groups `operators_core` and `limits_resilience`: those no other test is named after; none is missing."""

from __future__ import annotations

import ast
import asyncio
import contextvars
import json
import logging
import re
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from event_loops import EVENT_LOOPS, asyncio_only
from every_operator import EVERY
from hypothesis import given, settings
from hypothesis import strategies as st

import streamkit as sk
from streamkit.flow.tasks import current_backend
from streamkit.testing import Probe, VirtualClock, assert_no_leaks, run_seeded, timed

TESTS = Path(__file__).parent.parent

# What a later part of the library answers for: there is nothing yet that could be tested.
LATER = {
    "LIM-06": "overload is a server's: admission control comes with the performance rooms",
    "LIM-07": "classes of priority come with the scheduler of the performance rooms",
    "LIM-08": "an adaptive limit of concurrency comes with the performance rooms",
}


def ids_with_tests() -> set[str]:
    """The ids, as OP-01, that a test has in its name or begins its docstring with, or a file its own."""
    found: set[str] = set()
    for path in TESTS.rglob("test_*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef):
                found.update(re.findall(r"^(OP-\d\d|LIM-\d\d)\b", ast.get_docstring(node) or ""))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found.update(f"{group}-{number}".upper() for group, number in re.findall(r"^test_(op|lim)_(\d\d)_", node.name))
    return found


def test_each_bad_input_of_operators_and_of_limits_has_a_test_by_its_name(shared_data: Path) -> None:
    groups = json.loads((shared_data / "bad_inputs.json").read_text(encoding="utf-8"))["groups"]
    wanted = {one["id"] for name in ("operators_core", "limits_resilience") for one in groups[name]}
    assert 25 == len(wanted)
    assert set(LATER) <= wanted
    assert set(LATER) == wanted - ids_with_tests()


class Closes:
    """Who was closed, in order."""

    def __init__(self) -> None:
        self.order: list[str] = []

    def source(self, size: int, error: Exception | None = None) -> Callable[[], AsyncIterator[int]]:
        async def items() -> AsyncIterator[int]:
            try:
                for number in range(size):
                    await current_backend().checkpoint()
                    yield number
                if error is not None:
                    raise error
                await current_backend().waiter().wait()
            finally:
                self.order.append("source")

        return items

    def step(self, name: str) -> sk.Op[int, int]:
        @sk.operator
        async def through(items: AsyncIterator[int]) -> AsyncIterator[int]:
            try:
                async for item in items:
                    yield item
            finally:
                self.order.append(name)

        return through()


BETWEEN: dict[str, Callable[[sk.Stream[Any]], sk.Stream[Any]]] = {
    "nothing": lambda s: s,
    "a buffer": lambda s: s | sk.buffer(2),
    "a timeout": lambda s: s | sk.timeout(idle=9000),
    "a merge": lambda s: sk.merge(s, list),
    "a share": lambda s: sk.share(s, size=2),
    "a catch": lambda s: s | sk.catch(lambda error: None, LookupError),
}


@given(k=st.integers(0, 12), between=st.sampled_from(sorted(BETWEEN)), seed=st.integers(0, 10_000), fused=st.booleans())
@settings(max_examples=60)
def test_op_01_a_source_that_raises_at_item_k_gives_the_items_before_and_is_closed_with_all_above_it_once(
    k: int, between: str, seed: int, fused: bool
) -> None:
    failure = OSError(f"at {k}")
    closes = Closes()
    got: list[int] = []

    async def main() -> None:
        stream = BETWEEN[between](sk.stream(closes.source(k, failure)) | closes.step("inner")) | closes.step("outer")
        with pytest.raises(OSError, match=f"^at {k}$") as caught:
            async with stream.open(fused=fused) as items:
                async for item in items:
                    got.append(item)
        assert caught.value is failure

    run_seeded(main, seed=seed)
    assert list(range(k)) == got
    assert ["source", "inner", "outer"] == closes.order


LEFT = 5


async def leaves(stream: sk.Stream[int], k: int) -> None:
    async with stream as items:
        async for item in items:
            if item == k:
                break


async def is_cancelled(stream: sk.Stream[int], k: int) -> None:
    with anyio.CancelScope() as scope:
        async with stream as items:
            async for item in items:
                if item == k:
                    scope.cancel()
    assert scope.cancelled_caught


async def times_out(stream: sk.Stream[int], k: int) -> None:
    with pytest.raises(sk.StreamTimeout):
        await (stream | sk.timeout(total=10)).run()


async def is_closed_from_elsewhere(stream: sk.Stream[int], k: int) -> None:
    """Another task may not close what this one reads, and is told so; this one's end closes it."""
    run = stream.open()
    async with anyio.create_task_group() as group:

        async def close() -> None:
            with pytest.raises(sk.StreamBusy, match="another task"):
                await run.aclose()
            group.cancel_scope.cancel()

        async with run:
            async for item in run:
                if item == LEFT - 1:  # it waits now, for ever
                    group.start_soon(close)


@pytest.mark.anyio
@pytest.mark.parametrize("between", sorted(BETWEEN))
@pytest.mark.parametrize("how", [leaves, is_cancelled, times_out, is_closed_from_elsewhere])
async def test_op_02_a_consumer_that_leaves_or_is_cut_off_at_item_k_closes_all_in_order(
    clock: VirtualClock, how: Callable[[sk.Stream[int], int], Awaitable[None]], between: str
) -> None:
    async with assert_no_leaks(thorough=False):
        for k in range(LEFT):
            closes = Closes()
            source = sk.stream(closes.source(LEFT)) | closes.step("inner")
            await how(BETWEEN[between](source) | closes.step("outer"), k)
            # What is asked of a task of its own ends there, and may end before or behind what its reader had above it.
            assert ["inner", "outer", "source"] == sorted(closes.order)
    assert 0 == clock.pending


ODD: list[Any] = [None, "", 3, b"bytes", float("nan"), object(), "\ud800", "x" * 200_000, ["a"], sk.Finish()]


@pytest.mark.parametrize("name", EVERY)
def test_op_03_an_item_of_any_kind_passes_or_is_told_by_a_typed_error(name: str) -> None:
    async def main() -> None:
        for odd in ODD:
            twice = [odd, odd]
            try:
                out = await EVERY[name].over(sk.stream(twice)).collect()
            except (TypeError, sk.StreamkitError) as error:
                assert str(error)
            else:
                assert 400_000 >= len(out)

    run_seeded(main, seed=0)


@pytest.mark.anyio
@pytest.mark.parametrize("between", sorted(BETWEEN))
async def test_op_04_a_source_that_never_gives_anything_is_timed_out_or_cancelled(clock: VirtualClock, between: str) -> None:
    probe: Probe[int] = Probe([1], at_step=lambda given: True)
    with pytest.raises(sk.StreamTimeout, match="first") as caught:
        await (BETWEEN[between](sk.stream(probe)) | sk.timeout(first=3, idle=1)).run()
    assert ("first", 3.0, 1, True) == (caught.value.phase, clock.now(), probe.closed, probe.one_task)
    waits: Probe[int] = Probe([1], at_step=lambda given: True)
    with anyio.CancelScope() as scope:
        clock.call_at(clock.now() + 3600, scope.cancel)
        await BETWEEN[between](sk.stream(waits)).run()
    assert (True, 1, True) == (scope.cancelled_caught, waits.closed, waits.one_task)


who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


@pytest.mark.anyio
async def test_op_05_a_sync_generator_that_blocks_has_a_thread_and_does_not_hold_up_the_event_loop() -> None:
    turned = threading.Event()
    threads: set[int] = set()

    def blocks() -> Iterator[str]:
        threads.add(threading.get_ident())
        assert turned.wait(120), "the event loop stood still"
        yield who.get()

    async def turn() -> None:
        turned.set()

    who.set("caller")
    async with anyio.create_task_group() as group:
        group.start_soon(turn)
        assert ["caller"] == await sk.stream(blocks).collect()
    assert threading.get_ident() not in threads


@asyncio_only
@pytest.mark.anyio
async def test_op_05_an_async_source_that_blocks_is_named_by_the_debug_mode_of_asyncio(
    anyio_backend: tuple[str, dict[str, bool]], caplog: pytest.LogCaptureFixture
) -> None:
    async def blocks() -> AsyncIterator[int]:
        time.sleep(0.02)  # noqa: ASYNC251  # what is looked for
        yield 1

    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 0.01
    with caplog.at_level(logging.WARNING, "asyncio"):
        await (sk.stream(blocks) | sk.buffer(2)).run()
        await current_backend().checkpoint()
    loop.set_debug(False)
    if not anyio_backend[1]["use_uvloop"]:  # whose debug mode names the callback, not the task
        assert any("streamkit buffer(2)" in one.getMessage() and "took" in one.getMessage() for one in caplog.records)
    assert any("took" in one.getMessage() for one in caplog.records)


@pytest.mark.anyio
async def test_op_08_one_of_the_branches_that_meet_again_fails_and_all_are_closed_before_it_is_seen() -> None:
    probe = Probe([1, 2, 3])
    one, two = sk.tee(sk.stream(probe), 2, size=1)

    def fails(item: int) -> int:
        raise LookupError(item)

    with pytest.raises(LookupError, match="1"):
        await sk.merge(one.map(fails), two).run()
    assert (1, True) == (probe.closed, probe.one_task)


@pytest.mark.anyio
@pytest.mark.parametrize("between", sorted(BETWEEN.keys() - {"a share"}))  # who comes late to a share gets its end
async def test_op_09_a_consumed_stream_says_so_the_second_time(between: str) -> None:
    probe = Probe([1, 2])
    stream = BETWEEN[between](sk.stream(probe))
    assert [1, 2] == await stream.collect()
    with pytest.raises(sk.StreamConsumed, match=r"Probe.* was consumed by an earlier Run"):
        await stream.collect()
    assert (3, 1) == (probe.asked, probe.closed)


@pytest.mark.anyio
@pytest.mark.parametrize("between", sorted(BETWEEN))
async def test_op_10_two_tasks_that_pull_at_once_get_a_typed_error_and_lose_no_item(clock: VirtualClock, between: str) -> None:
    got: list[int] = []
    errors: list[BaseException] = []
    async with BETWEEN[between](timed(1.0, 1, 1.0, 2)) as run:

        async def pull() -> None:
            try:
                got.append(await anext(run))
            except sk.StreamBusy as error:
                errors.append(error)

        async with anyio.create_task_group() as group:
            group.start_soon(pull)
            group.start_soon(pull)
        got += [item async for item in run]
    assert ([1, 2], 1) == (got, len(errors))
    assert "one reader at a time" in str(errors[0])


@pytest.mark.parametrize("name", [name for name, row in EVERY.items() if row.expected is not None])
def test_op_11_the_same_pipeline_gives_the_same_on_asyncio_uvloop_and_trio(name: str) -> None:
    row = EVERY[name]

    async def main() -> list[Any]:
        async with VirtualClock():
            return await row.over(sk.stream(lambda: list(row.items)) | sk.buffer(1)).collect()

    loops: list[Any] = [param.values[0] for param in EVENT_LOOPS]
    results = [anyio.run(main, backend=backend, backend_options=options) for backend, options in loops]
    if name == "merge":  # whose streams are mixed as they come
        results = [sorted(result) for result in results]
    assert [row.expected] * 3 == results


NO_SOURCES: list[Any] = ["text", b"bytes", 3, None, 1.5, object(), len, lambda item: item]
TAKES_STREAMS: dict[str, Callable[[Any], object]] = {
    "stream": sk.stream,
    "merge": sk.merge,
    "concat": lambda given: sk.concat([1], given),
    "zip": lambda given: sk.zip([1], given),
    "interleave": lambda given: sk.interleave([1], given),
    "combine_latest": lambda given: sk.combine_latest([1], given),
    "race": lambda given: sk.race([1], given),
    "hedge": lambda given: sk.hedge([1], given, after=1),
    "fallback": sk.fallback,
}


@pytest.mark.parametrize("name", TAKES_STREAMS)
@pytest.mark.parametrize("value", NO_SOURCES, ids=lambda value: type(value).__name__)
def test_op_15_what_is_no_stream_is_refused_where_it_is_given(name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=r"\w"):
        TAKES_STREAMS[name](value)


@pytest.mark.anyio
async def test_op_15_lists_generators_and_coroutines_are_streams() -> None:
    async def later() -> list[int]:
        return [1, 2]

    sources: list[Any] = [[1, 2], iter([1, 2]), (n for n in (1, 2)), later(), later, lambda: [1, 2], {1: "", 2: ""}, range(1, 3)]
    for source in sources:
        assert [1, 2] == await sk.stream(source).collect()
