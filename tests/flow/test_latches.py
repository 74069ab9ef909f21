"""Something that happens once, and whoever waits for it."""

from __future__ import annotations

import anyio
import pytest

from streamkit.flow.latches import Latch
from streamkit.flow.tasks import current_backend

pytestmark = pytest.mark.anyio


async def test_all_who_wait_go_on_when_it_happens_and_who_comes_later_does_not_wait() -> None:
    latch, passed = Latch(), list[int]()

    async def wait(number: int) -> None:
        await latch.wait()
        passed.append(number)

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            for number in range(3):
                tasks.start_soon(wait, number)
            for _ in range(5):
                await current_backend().checkpoint()
            assert ([], False) == (passed, latch.is_set())
            latch.set()
            latch.set()
        await wait(3)
    assert ({0, 1, 2, 3}, True) == (set(passed), latch.is_set())


async def test_a_cancelled_wait_touches_no_other() -> None:
    latch, passed = Latch(), list[str]()

    async def wait() -> None:
        await latch.wait()
        passed.append("waited")

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            with anyio.move_on_after(0) as scope:
                await latch.wait()
            assert scope.cancelled_caught
            latch.set()
    assert ["waited"] == passed
