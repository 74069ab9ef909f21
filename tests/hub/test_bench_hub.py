"""The hub's benchmark runs, compares like with like, and says when a peer is missing."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCH = Path(__file__).parents[2] / "benchmarks" / "bench_hub.py"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmark, small: its figures mean nothing here, its rows do."""
    spec = importlib.util.spec_from_file_location("bench_hub", BENCH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    small = {
        "SINGLES": ((1, 20, 1.0), (3, 5, 3.0)), "BURSTS": ((3, 2, 8.0),), "STALLED": 3, "LOGGED": 100,
        "STORED": 100, "LATE": 50, "PARKED": 5, "TINY": 5,
    }  # fmt: skip
    for name, value in small.items():
        assert hasattr(module, name)
        monkeypatch.setattr(module, name, value)
    return module


def test_every_row_says_what_was_measured_against_whom(bench: ModuleType) -> None:
    rows = bench.rows(1)
    assert len(rows) == len({row["what"] for row in rows})
    for row in rows:
        assert {"bound", "what", "ours", "peer", "peer_name", "unit", "ratio", "hold", "others"} == set(row)
        assert row["ours"] > 0
    promises = [(row["bound"], row["hold"]) for row in rows if row["hold"] is not None]
    assert [("figure", 20.0)] * 4 + [("least", 0.5), ("least", 1.0), ("least", 3.0), ("least", 8.0), ("most", 1.5)] == sorted(
        promises
    )


def test_the_promise_of_memory_is_for_all_of_it_and_not_for_what_grows_alone(bench: ModuleType) -> None:
    assert [("all, readers and tasks too", 1.5), ("what grows", None)] == sorted(
        (row["what"].partition(": ")[2], row["hold"]) for row in bench._memory() if ": " in row["what"]
    )


def test_the_promise_of_stores_is_for_what_goes_through_a_hub_and_says_how_many_commits_there_were(bench: ModuleType) -> None:
    through, by_32 = bench._stores(1)
    assert (0.5, None) == (through["hold"], by_32["hold"])
    assert "100 events by 32, 4 appends, each waited for: SQLite" == by_32["what"]
    assert "memory store, " in through["peer_name"]


def test_a_contender_that_loses_events_is_no_contender(bench: ModuleType) -> None:
    async def two_too_many() -> float:
        script = bench.Script(3, 1)

        async def read() -> int:
            await script.go.wait()
            return 5

        microseconds: float = await script.count([asyncio.create_task(read())])
        return microseconds

    with pytest.raises(RuntimeError, match=r"events were lost: \[5\] in the place of 3"):
        asyncio.run(two_too_many())


def test_a_peer_that_is_not_installed_is_named_and_not_dropped(bench: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "broadcaster" else found(name, *rest))
    monkeypatch.setitem(sys.modules, "broadcaster", None)
    row = bench._fan_out(1, 2, 3, 1, 3.0)[0]
    assert set(bench.PEERS) == set(row["others"])
    assert row["others"]["broadcaster"] is None
    assert row["others"]["put_nowait and get"] > 0
