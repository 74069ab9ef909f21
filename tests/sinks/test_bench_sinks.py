"""The sinks' benchmark runs, compares like with like, and says when a peer is missing."""

from __future__ import annotations

import gzip
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCH = Path(__file__).parents[2] / "benchmarks" / "bench_sinks.py"

# Idle ones are so many that their weight is not lost in what the server has free.
SMALL = {
    "EVENTS": 200,
    "STREAMS": 4,
    "EVENTS_EACH": 20,
    "PACED": 4,
    "PACED_EVENTS": 20,
    "IDLE": 300,
}


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmark, small: its figures mean nothing here, its rows do."""
    spec = importlib.util.spec_from_file_location("bench_sinks", BENCH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, small in SMALL.items():
        monkeypatch.setattr(module, name, small)
    return module


def test_every_row_says_what_was_measured_against_whom(bench: ModuleType) -> None:
    pytest.importorskip("sse_starlette")
    rows = bench.rows(1)
    assert 21 == len(rows)
    promises = [("least", 0.75), ("least", 0.8), ("least", 2.5), ("most", 1.5), ("most", 0.85), ("figure", 5.0), ("figure", 20_480)]
    assert {*promises, ("least", None)} == {(row["bound"], row["hold"]) for row in rows}
    for row in rows:
        assert {"bound", "what", "ours", "peer", "peer_name", "unit", "ratio", "hold"} == set(row)
        assert row["ours"] > 0
        if row["peer"] is not None:
            better = row["peer"] / row["ours"]
            assert pytest.approx(1 / better if row["bound"] == "most" else better) == row["ratio"]
    assert ["disconnect to source closed"] == [row["what"] for row in rows if row["peer"] is None]


def test_a_peer_that_is_not_installed_is_named_and_not_dropped(bench: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sse_starlette.event", None)
    row = bench._encoding(1)
    assert ("sse-starlette (not installed)", None, None) == (row["peer_name"], row["peer"], row["ratio"])


def test_events_that_are_lost_are_no_figure(bench: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    async def short(port: int, path: str) -> bytes:
        return b"0" if path == "/cpu" else b"jumps" * 9

    monkeypatch.setattr(bench, "_get", short)
    with pytest.raises(RuntimeError, match="ours lost events"):
        bench._best(0, 1, ["ours"], 1, 10)


def test_a_compressed_body_is_counted_unpacked(bench: ModuleType) -> None:
    body = gzip.compress(b"jumps" * 3)
    chunked = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:7], body[7:], b""))
    assert b"jumps" * 3 == bench._gunzipped(chunked)
