"""Histories of hubs by the thousand, for `make soak ARGS="--hub 10000"`: the kinds there are, and how each is run."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import anyio
from hub_histories import History

from streamkit.flow.clock import current_clock
from streamkit.hub.stores.memory import MemoryStore
from streamkit.hub.stores.sqlite import SqliteStore
from streamkit.testing.seeded import run_seeded

Backend = Literal["asyncio", "trio"]

KINDS = ["alone", "sharing", "troubled", "file", "cancels"]

# One in so many histories is told on a real clock and a real file; one round of cancels is some fifty readers.
FILES = 20
ROUNDS = 40


def history(kind: str, seed: int) -> History:
    """One on virtual time: "alone", "sharing" or "troubled"."""
    if kind == "alone":
        return History(seed)
    troubles = 0.1 if kind == "troubled" else 0.0
    return History(seed, lambda wall: MemoryStore(clock_time=wall), hubs=2 + seed % 2, troubles=troubles)


def run_kind(kind: str, seeds: Iterable[int], backend: Backend) -> Counter[str]:
    """Histories of one kind; how often what happened."""
    counts: Counter[str] = Counter()
    seeds = list(seeds)
    if kind == "cancels":
        from test_hub_with_stores import cancel_readers

        for seed in seeds[: max(1, len(seeds) // ROUNDS)]:
            counts["readers cancelled"] += run_seeded(partial(_cancels, cancel_readers, seed), seed=seed, backend=backend)
            counts["histories"] += 1
        return counts
    if kind == "file":
        with tempfile.TemporaryDirectory() as folder:
            for seed in seeds[: max(1, len(seeds) // FILES)]:
                counts.update(anyio.run(on_a_file(Path(folder) / f"{seed}.db", seed).run, backend=backend))
                counts["histories"] += 1
        return counts
    for seed in seeds:
        counts.update(run_seeded(history(kind, seed).run, seed=seed, backend=backend))
        counts["histories"] += 1
    return counts


def on_a_file(path: Path, seed: int) -> History:
    """One in real time, because threads take some: no two runs are alike, and the model allows for each."""
    return History(
        seed, lambda wall: SqliteStore(path, poll=0.002, clock_time=wall), shared=False, hubs=2 + seed % 2, steps=20, scale=0.01
    )


async def _cancels(cancel_readers: Callable[..., Any], seed: int) -> int:
    cancelled: int = await cancel_readers(current_clock(), MemoryStore(), rounds=4, seed=seed)
    return cancelled
