"""The sinks' benchmark runs, compares like with like, and says when a peer is missing."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCH = Path(__file__).parents[2] / "benchmarks" / "bench_sinks.py"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmark, small: its figures mean nothing here, its rows do."""
    spec = importlib.util.spec_from_file_location("bench_sinks", BENCH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, small in (("EVENTS", 200), ("STREAMS", 4), ("EVENTS_EACH", 20), ("IDLE", 50)):
        monkeypatch.setattr(module, name, small)
    return module


def test_every_row_says_what_was_measured_against_whom(bench: ModuleType) -> None:
    pytest.importorskip("sse_starlette")
    rows = bench.rows(1)
    assert 14 == len(rows)
    assert {("least", 0.75), ("least", 0.8), ("least", 2.5), ("figure", 5.0), ("figure", 20_480), ("least", None)} == {
        (row["bound"], row["hold"]) for row in rows
    }
    for row in rows:
        assert {"bound", "what", "ours", "peer", "peer_name", "unit", "ratio", "hold"} == set(row)
        assert row["ours"] > 0
        if row["peer"] is not None:
            assert pytest.approx(row["peer"] / row["ours"]) == row["ratio"]
    assert ["disconnect to source closed"] == [row["what"] for row in rows if row["peer"] is None]


def test_a_peer_that_is_not_installed_is_named_and_not_dropped(bench: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sse_starlette.event", None)
    row = bench._encoding(1)
    assert ("sse-starlette (not installed)", None, None) == (row["peer_name"], row["peer"], row["ratio"])
