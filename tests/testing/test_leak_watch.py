"""Each kind of thing that can be left behind is seen."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import AsyncIterator

import pytest

from streamkit.flow.tasks import current_backend
from streamkit.testing import assert_no_leaks

pytestmark = pytest.mark.anyio


async def endless() -> AsyncIterator[int]:
    while True:
        yield 1


async def test_nothing_left_behind_passes() -> None:
    async with assert_no_leaks():
        items = endless()
        assert 1 == await anext(items)
        await items.aclose()  # type: ignore[attr-defined]  # a generator


async def test_a_task_is_seen() -> None:
    waiter = current_backend().waiter()

    async def wait() -> None:
        await waiter.wait()

    async def nothing() -> None:
        return

    with pytest.raises(AssertionError, match=r"left behind: 1 task \(forgotten\)"):
        async with assert_no_leaks():
            task = current_backend().spawn(wait, nothing, "forgotten", lambda: None)
    task.cancel()


async def test_an_open_generator_is_seen_while_somebody_holds_it() -> None:
    items = endless()
    with pytest.raises(AssertionError, match=r"1 open generator \(endless\)"):
        async with assert_no_leaks():
            await anext(items)
    await items.aclose()  # type: ignore[attr-defined]  # a generator


async def test_a_dropped_generator_is_seen() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # trio tells of it as well
        with pytest.raises(AssertionError, match="1 dropped generator"):
            async with assert_no_leaks():
                await anext(endless())
        for _ in range(5):
            await current_backend().checkpoint()


async def test_a_coroutine_that_nobody_awaited_is_seen() -> None:
    with pytest.raises(AssertionError, match="never awaited"):
        async with assert_no_leaks():
            asyncio.sleep(1)  # type: ignore[unused-coroutine]  # on purpose
            gc.collect()


async def test_an_exception_that_nobody_could_catch_is_seen() -> None:
    class Fails:
        def __del__(self) -> None:
            raise ValueError("in del")

    with pytest.raises(AssertionError, match=r"nobody could catch \(ValueError\('in del'\)"):
        async with assert_no_leaks():
            Fails()


async def test_other_warnings_pass_through() -> None:
    with pytest.warns(DeprecationWarning, match="old"):
        async with assert_no_leaks():
            warnings.warn("old", DeprecationWarning, stacklevel=1)
