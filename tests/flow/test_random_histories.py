"""Pipelines left at random moments leave nothing open (more of them: `make soak`)."""

from __future__ import annotations

from pathlib import Path

import pytest
from histories import AsyncioLoop, History, TrioLoop

import streamkit as sk

pytestmark = pytest.mark.anyio


def loop_of(backend: tuple[str, object]) -> AsyncioLoop | TrioLoop:
    return TrioLoop() if backend[0] == "trio" else AsyncioLoop()


async def test_whatever_happens_every_source_is_closed_in_its_task(anyio_backend: tuple[str, object], tmp_path: Path) -> None:
    for seed in range(600):
        await History(seed, loop_of(anyio_backend), tmp_path).run()


async def test_a_pump_that_was_left_does_not_hand_its_cancel_to_the_pump_behind_it(anyio_backend: tuple[str, object]) -> None:
    """On trio a Cancelled raised outside of its scope took the whole run down."""
    for seed in range(60):
        history = History(seed, loop_of(anyio_backend))
        stream = history.pipeline(depth=2)
        for _ in range(3):
            stream = stream.batch(3, within=0.0005).flat_map(lambda batch: batch)

        try:
            await left_at_once(stream)
        except (ValueError, KeyError):
            continue
        finally:
            assert history.opened == history.closed


async def left_at_once(stream: sk.Stream[object]) -> None:
    async with stream as items:
        async for _ in items:
            break
