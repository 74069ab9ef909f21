"""The text of fused segments: readable in a traceback, forgotten when its function is."""

from __future__ import annotations

import linecache
import traceback
from collections.abc import AsyncIterator
from typing import Any

import pytest

import streamkit as sk
from streamkit.flow import fuse
from streamkit.flow.plan import Step

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
    plan = sk.stream(source()).map(str).filter(bool) | sk.buffer(2) | sk.timeout(idle=5)
    async with plan.map(str) | sk.buffer(1) as items:
        async for _ in items:
            happened.append("given")
    assert happened.count("compiled") >= 3
    assert ["asked", "given"] == happened[happened.index("asked") :]
