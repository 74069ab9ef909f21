"""Leaving in the first moments of a run: no pump is left waiting for a source that will never answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

import streamkit as sk
from streamkit.flow.tasks import current_backend
from streamkit.testing import VirtualClock

pytestmark = pytest.mark.anyio


class Silent:
    """Gives `count` items, then waits for ever."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.opened = 0
        self.closed = 0

    async def items(self) -> AsyncIterator[int]:
        self.opened += 1
        try:
            for number in range(self.count):
                yield number
            await current_backend().waiter().wait()
        finally:
            self.closed += 1


PLANS: dict[str, Any] = {
    "two buffers": lambda s: s | sk.buffer(1) | sk.buffer(1),
    "three buffers": lambda s: s | sk.buffer(2) | sk.buffer(1) | sk.buffer(3),
    "merge behind a buffer": lambda s: sk.merge(s | sk.buffer(1), size=1) | sk.buffer(1),
    "timed stages": lambda s: s.batch(2, within=9).flat_map(lambda batch: batch).batch(2, within=9) | sk.buffer(1),
}


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize("count", [0, 1, 2, 5])
async def test_a_cancel_at_any_turn_does_not_wait_for_the_close_timeout(clock: VirtualClock, name: str, count: int) -> None:
    for turns in range(14):
        silent = Silent(count)
        plan = PLANS[name](sk.stream(silent.items))

        async def consume(plan: Any = plan) -> None:
            await plan.run()

        async with anyio.create_task_group() as group:
            group.start_soon(consume)
            for _ in range(turns):
                await current_backend().checkpoint()
            group.cancel_scope.cancel()
        assert silent.opened == silent.closed
        assert 0 == clock.now(), f"left at turn {turns} only when the close timeout was over"


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize("count", [2, 5])
async def test_leaving_after_the_first_item_does_not_either(clock: VirtualClock, name: str, count: int) -> None:
    silent = Silent(count)
    for turns in range(8):
        async with PLANS[name](sk.stream(silent.items)) as items:
            async for _ in items:
                for _ in range(turns):
                    await current_backend().checkpoint()
                break
        assert silent.opened == silent.closed
        # A timed stage gives its first batch when it is full; nothing here waits for a clock.
        assert 0 == clock.now()


@pytest.mark.parametrize("leave", [lambda s: s.take(1), lambda s: s.take_while(lambda n: n < 1)])
async def test_a_source_that_nobody_needs_any_more_is_closed_while_others_go_on(clock: VirtualClock, leave: Any) -> None:
    silent = Silent(2)
    closed_while_others_go_on: list[int] = []

    async def others() -> AsyncIterator[int]:
        for number in (10, 11, 12):
            await clock.sleep(1)
            closed_while_others_go_on.append(silent.closed)
            yield number

    first = leave(sk.stream(silent.items) | sk.buffer(4))
    assert [0, 10, 11, 12] == await sk.merge(first, sk.stream(others())).collect()
    assert [1, 1, 1] == closed_while_others_go_on
