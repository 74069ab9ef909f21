"""A stream over a container or a queue, left early."""

from __future__ import annotations

import asyncio
import gc

import pytest
from event_loops import asyncio_only

import streamkit as sk

pytestmark = pytest.mark.anyio


async def test_leaving_a_list_early_leaves_no_open_generator() -> None:
    # trio warns of one, and the test run turns warnings into errors.
    assert [1] == await sk.stream([1, 2, 3]).take(1).collect()
    assert [0] == await sk.stream(range(5_000)).take(1).collect()
    gc.collect()


@asyncio_only
async def test_leaving_a_queue_early_leaves_no_open_generator() -> None:
    queue: asyncio.Queue[int] = asyncio.Queue()
    queue.put_nowait(1)
    assert [1] == await sk.stream(queue).take(1).collect()
    assert queue.empty()
    gc.collect()
