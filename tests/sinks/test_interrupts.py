"""A task that is called off by another one, once or several times, beside cancels that are nobody's of ours."""

from __future__ import annotations

import asyncio
from functools import partial

import anyio
import pytest
from event_loops import asyncio_only

from streamkit.flow.tasks import current_backend
from streamkit.sinks.life.interrupts import interrupt_for

pytestmark = pytest.mark.anyio


async def test_a_second_run_is_not_called_off_by_what_ended_the_first() -> None:
    interrupt = interrupt_for(current_backend())
    done: list[str] = []

    async def first() -> None:
        interrupt.fire()
        await anyio.sleep_forever()

    async def second() -> None:
        await anyio.lowlevel.checkpoint()
        done.append("second")

    await interrupt.run(first)
    await interrupt.run(second)
    assert ["second"] == done


@asyncio_only
async def test_a_cancel_from_outside_goes_through_a_second_run() -> None:
    interrupt = interrupt_for(current_backend())
    waits = asyncio.Event()

    async def wait(then_fire: bool) -> None:
        if then_fire:
            interrupt.fire()
        else:
            waits.set()
        await asyncio.sleep(3600)

    async def main() -> None:
        await interrupt.run(partial(wait, True))
        await interrupt.run(partial(wait, False))

    task = asyncio.create_task(main())
    await waits.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
    assert 1 == task.cancelling()
