"""The text of fused segments: readable in a traceback, forgotten when its function is."""

from __future__ import annotations

import linecache
import traceback
from collections.abc import AsyncIterator, Callable
from typing import Any, get_args

import pytest

import streamkit as sk
from streamkit.flow import fuse
from streamkit.flow.plan import Step, StepKind
from streamkit.flow.streams import Stream

pytestmark = pytest.mark.anyio


def broken(item: int) -> int:
    raise ZeroDivisionError(item)


async def test_a_traceback_through_a_segment_shows_the_line_that_called() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        await sk.stream([1]).filter(bool).map(broken).collect()
    shown = "".join(traceback.format_exception(caught.value))
    assert "<streamkit lists|filter|map|append>" in shown
    assert "x = f1(x)" in shown


async def test_sync_and_async_steps_of_one_kind_have_texts_of_their_own() -> None:
    async def slowly(item: int) -> int:
        return broken(item)

    with pytest.raises(ZeroDivisionError) as caught:
        await sk.stream([1]).map(slowly).collect()
    shown = "".join(traceback.format_exception(caught.value))
    assert "<streamkit lists|async map|append>" in shown
    assert "x = await f0(x)" in shown


async def test_shapes_that_keep_coming_do_not_keep_their_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuse, "_segments", {})
    monkeypatch.setattr(fuse, "_SHAPES", 4)
    before = len(linecache.cache)
    steps: list[Step] = []
    for _ in range(10):
        steps.append(Step("map", "map(f)", None))
        fuse.bind("items", steps, "append")
    assert 4 == len(fuse._segments)
    assert len(linecache.cache) - before <= 4


async def test_a_shape_is_written_once() -> None:
    steps: list[Any] = [Step("map", "map(f)", len), Step("take", "take(2)", 2)]
    assert fuse.bind("items", steps, "yield") is fuse.bind("items", list(steps), "yield")


ONE_STEP: dict[StepKind, Callable[[Stream[int]], Stream[Any]]] = {
    "map": lambda numbers: numbers.map(str),
    "filter": lambda numbers: numbers.filter(bool),
    "flat_map": lambda numbers: numbers.flat_map(range),
    "scan": lambda numbers: numbers.scan(max, 0),
    "tap": lambda numbers: numbers.tap(str),
    "take": lambda numbers: numbers.take(2),
    "skip": lambda numbers: numbers.skip(1),
    "take_while": lambda numbers: numbers.take_while(lambda number: number < 3),
    "drop_while": lambda numbers: numbers.drop_while(lambda number: number < 2),
    "enumerate": lambda numbers: numbers.enumerate(),
    "pairwise": lambda numbers: numbers.pairwise(),
    "changes": lambda numbers: numbers.changes(),
    "changes_by": lambda numbers: numbers.changes(str),
    "distinct": lambda numbers: numbers.distinct(),
    "distinct_by": lambda numbers: numbers.distinct(str),
    "start_with": lambda numbers: numbers.start_with(8, 9),
    "default_if_empty": lambda numbers: numbers.filter(lambda number: number > 9).default_if_empty(0),
    "stage": lambda numbers: numbers.map(lambda number: "a b " * number) | sk.words(),
}


@pytest.mark.parametrize("kind", get_args(StepKind))
async def test_what_is_read_one_by_one_comes_in_lists_of_one_unless_a_step_makes_several(kind: StepKind) -> None:
    async def numbers() -> AsyncIterator[int]:
        for number in (1, 2, 3):
            yield number

    async with ONE_STEP[kind](sk.stream(numbers())).open() as run:
        single = run.single
        lengths = {len(items) async for items in run.lists()}
    assert (kind not in ("flat_map", "start_with", "stage")) == single
    assert single == (lengths == {1})


async def test_what_is_read_in_lists_or_out_of_a_buffer_is_not_single() -> None:
    async with sk.stream([1, 2]).map(str).open() as run:
        assert not run.single
    async with (sk.stream([1, 2]) | sk.buffer(2)).open() as run:
        assert not run.single


async def test_many_steps_and_nested_loops_stay_below_the_limits_of_the_compiler() -> None:
    stream = sk.stream([1])
    for _ in range(60):
        stream = stream.flat_map(lambda item: [item]).batch(1).flat_map(lambda batch: batch)
    assert [1] == await stream.collect()


async def test_nothing_is_compiled_between_asking_the_source_and_giving_its_first_item(monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[str] = []
    compiled = fuse._compile

    def compile_noted(*key: Any) -> Any:
        happened.append("compiled")
        return compiled(*key)

    async def source() -> AsyncIterator[int]:
        happened.append("asked")
        yield 1

    monkeypatch.setattr(fuse, "_segments", {})
    monkeypatch.setattr(fuse, "_compile", compile_noted)
    plan = sk.stream(source()).map(str).filter(bool) | sk.buffer(2) | sk.timeout(idle=60)
    async with plan.map(str) | sk.buffer(1) as items:
        async for _ in items:
            happened.append("given")
    assert happened.count("compiled") >= 3
    assert ["asked", "given"] == happened[happened.index("asked") :]
