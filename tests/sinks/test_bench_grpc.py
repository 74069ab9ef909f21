"""The gRPC benchmark runs, and counts what it compares."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "benchmarks" / "bench_grpc.py"


def test_every_row_says_what_was_measured_against_whom(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("bench_grpc", BENCH)
    assert spec is not None
    assert spec.loader is not None
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    for name, small in (("EVENTS", 2000), ("STREAMS", 3), ("EVENTS_EACH", 40), ("LEAST_ROUNDS", 1)):
        monkeypatch.setattr(bench, name, small)
    rows = bench.rows(1)
    assert 9 == len(rows)
    assert [0.95, 3.0, 3.0, 3.0, 0.95, 3.0, 3.0, 3.0, None] == [row["hold"] for row in rows]
    for row in rows:
        assert {"bound", "what", "ours", "peer", "peer_name", "unit", "ratio", "hold"} == set(row)
        assert row["ours"] > 0
        assert pytest.approx(row["peer"] / row["ours"]) == row["ratio"]
    assert "1 pending (1.0 a message)" in rows[0]["what"]
    assert "4 pending, of one read (4.0 a message)" in rows[1]["what"]
