"""The WebSocket benchmark runs, and says what it compares with what."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

BENCH = Path(__file__).parents[2] / "benchmarks" / "bench_websocket.py"
SMALL = {"CLIENTS": 3, "SINGLES": 20, "BURSTS": 3, "PLAIN": 20, "PLAIN_BURSTS": 2, "STALLED": 2, "STALLED_EVENTS": 40, "IDLE": 20}


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmark, small: its figures mean nothing here, its rows do."""
    spec = importlib.util.spec_from_file_location("bench_websocket", BENCH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, small in SMALL.items():
        monkeypatch.setattr(module, name, small)
    return module


def test_every_row_says_what_was_measured_against_whom(bench: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = {("stalled", "hub"): 1.0, ("stalled", "broadcast"): 20.0, ("idle", "hub"): 24.0, ("idle", "broadcast"): 12.0}
    monkeypatch.setattr(bench, "_in_a_process", lambda what, kind: figures[what, kind])
    rows = bench.rows(1)
    assert [1.2, 0.1, 1.1, 0.2, 0.1, 30.0] == [row["hold"] for row in rows]
    assert ["most"] * 5 + ["figure"] == [row["bound"] for row in rows]
    for row in rows:
        assert {"bound", "what", "ours", "peer", "peer_name", "unit", "ratio", "hold"} == set(row)
        assert row["ours"] > 0
        assert pytest.approx(row["ours"] / row["peer"]) == row["ratio"]


def test_a_hub_holds_less_for_clients_that_stall_than_a_broadcast(bench: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "STALLED_EVENTS", 600)  # more than the kernel takes
    theirs = asyncio.run(bench.stalled("broadcast"))
    assert theirs > 1
    assert asyncio.run(bench.stalled("hub")) < theirs


@pytest.mark.parametrize("kind", ["hub", "broadcast"])
def test_idle_connections_are_weighed(bench: ModuleType, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    # What a process that runs other tests gives back meanwhile would be a weight below nothing.
    monkeypatch.setattr(bench, "_resident", iter([1000, 1600]).__next__)
    assert 600 / SMALL["IDLE"] == asyncio.run(bench.idle(kind))
