"""What the contract promises and the kernel does not hold yet: each test is named after its symptom."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

import streamkit as sk
from streamkit.flow.tasks import current_backend
from streamkit.testing import Probe, VirtualClock

pytestmark = pytest.mark.anyio


async def test_an_operator_of_ones_own_that_drops_everything_lets_the_loop_turn() -> None:
    @sk.operator
    async def nothing(items: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for _ in items:
            if False:
                yield _

    async def flood() -> AsyncIterator[int]:
        for number in range(8192):
            yield number

    turns = 0
    over = False

    async def other() -> None:
        nonlocal turns
        while not over:
            turns += 1
            await current_backend().checkpoint()

    async with anyio.create_task_group() as group:
        group.start_soon(other)
        await (sk.stream(flood()) | nothing()).run()
        over = True
    assert 6 <= turns


async def test_two_tasks_that_pull_at_once_get_a_typed_error_and_lose_no_item(clock: VirtualClock) -> None:
    got: list[Any] = []
    errors: list[BaseException] = []

    async def pull() -> None:
        try:
            got.append(await anext(items))
        except Exception as error:
            errors.append(error)

    async def slow() -> AsyncIterator[int]:
        for number in range(3):
            await clock.sleep(1)
            yield number

    async with sk.stream(slow()).map(str) as items:
        async with anyio.create_task_group() as group:
            group.start_soon(pull)
            group.start_soon(pull)
        rest = [item async for item in items]
    assert ["0", "1", "2"] == [*got, *rest]
    assert [sk.StreamBusy] == [type(error) for error in errors]


@pytest.mark.parametrize("buffered", [False, True])
async def test_an_owner_that_leaves_while_another_task_reads_is_told_and_that_task_closes_the_source(
    clock: VirtualClock, buffered: bool
) -> None:
    probe = Probe([1, 2, 3], at_step=lambda given: given == 1)
    plan = sk.stream(probe) | sk.buffer(1) if buffered else sk.stream(probe).map(int)
    run = plan.open()
    await run.__aenter__()

    async def read() -> None:
        try:
            async for _ in run:
                pass
        except (sk.StreamkitError, anyio.get_cancelled_exc_class()):
            pass

    async with anyio.create_task_group() as group:
        group.start_soon(read)
        await clock.sleep(1)
        with pytest.raises(sk.StreamBusy, match="another task still reads"):
            await run.__aexit__(None, None, None)
        group.cancel_scope.cancel()
    assert 1 == probe.closed
