"""The SSE benchmark runs, and a peer that is missing is named."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "benchmarks" / "bench_sse.py"


def test_every_row_says_what_was_measured_against_whom() -> None:
    pytest.importorskip("httpx_sse")
    pytest.importorskip("sse_starlette")
    rows = runpy.run_path(str(BENCH))["rows"](1)
    assert 10 == len(rows)
    assert {"httpx-sse", "sse-starlette"} == {row["peer_name"] for row in rows}
    for row in rows:
        assert {"what", "ours", "peer", "peer_name", "unit", "ratio", "hold", "bound"} == set(row)
        assert pytest.approx(row["peer"] / row["ours"], rel=0.05) == row["ratio"]
    assert {1.3, 1.7, 6.0, 10.0, None} == {row["hold"] for row in rows}


def test_a_peer_that_is_not_installed_is_named_and_not_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx_sse", None)
    monkeypatch.setitem(sys.modules, "sse_starlette.event", None)
    rows = runpy.run_path(str(BENCH))["rows"](1)
    assert 10 == len(rows)
    assert {"httpx-sse (not installed)", "sse-starlette (not installed)"} == {row["peer_name"] for row in rows}
    assert [None] * 10 == [row["ratio"] for row in rows]
    assert all(row["ours"] > 0 for row in rows)
