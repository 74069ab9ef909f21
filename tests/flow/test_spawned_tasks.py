"""A background task: its two parts, its context, and an event loop whose tasks somebody else makes."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Coroutine
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import streamkit as sk
from streamkit.flow.tasks import current_backend

pytestmark = pytest.mark.anyio

number: contextvars.ContextVar[int] = contextvars.ContextVar("number", default=0)


@pytest.mark.parametrize("parts", [1, 2])
async def test_a_task_and_what_is_told_of_its_end_have_the_context_of_whoever_spawned_it(parts: int) -> None:
    seen: list[tuple[str, int]] = []
    over = anyio.Event()

    async def main() -> None:
        seen.append(("main", number.get()))

    async def clean_up() -> None:
        seen.append(("clean-up", number.get()))

    def told() -> None:
        seen.append(("told", number.get()))
        over.set()

    number.set(7)
    current_backend().spawn(main, clean_up if parts == 2 else None, "a task", told)
    number.set(8)
    await over.wait()
    assert [("main", 7), *([("clean-up", 7)] if parts == 2 else []), ("told", 7)] == seen


async def test_a_task_without_a_clean_up_that_is_cancelled_is_told_as_over() -> None:
    begun, over = anyio.Event(), anyio.Event()

    async def main() -> None:
        begun.set()
        await anyio.sleep_forever()

    task = current_backend().spawn(main, None, "a task", over.set)
    await begun.wait()
    assert not task.done
    task.cancel()
    await over.wait()
    assert task.done


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # uvloop gives each factory a context
async def test_an_applications_own_task_factory_need_not_know_of_contexts(anyio_backend: str) -> None:
    made: list[object] = []

    def make(loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], *, name: str | None = None) -> asyncio.Task[Any]:
        made.append(coro)
        return asyncio.Task(coro, loop=loop, name=name)

    loop = asyncio.get_running_loop()
    before = loop.get_task_factory()
    loop.set_task_factory(make)  # type: ignore[arg-type]  # as they were written before Python 3.11
    try:
        assert ["a", "b"] == await (sk.stream(["a", "b"]) | sk.buffer(1)).collect()
    finally:
        loop.set_task_factory(before)
    assert 1 == len(made)
