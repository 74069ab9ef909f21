"""The clients' benchmark runs, compares like with like, and names what is missing."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "bench_clients.py"
    spec = importlib.util.spec_from_file_location("bench_clients", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["bench_clients"] = module
    spec.loader.exec_module(module)
    return module


def test_each_row_has_our_figure_beside_a_named_peer(bench: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openai")
    monkeypatch.setattr(bench, "CHUNKS", 40)
    rows = bench.rows(1)
    assert 4 <= len(rows)
    assert all(row["peer_name"] and row["ours"] > 0 and row["bound"] in ("most", "figure") for row in rows)
    promised = [row["what"] for row in rows if row["hold"] is not None]
    assert "wire to event, per chunk" in promised
    assert "raw response, per chunk" in promised


def test_a_peer_that_is_not_installed_is_named(bench: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "CHUNKS", 40)
    monkeypatch.setattr(bench, "_installed", lambda *names: names == ("httpx2",))
    rows = bench.rows(1)
    absent = [row["peer_name"] for row in rows if row["peer"] is None]
    assert any("openai SDK" in name and "not installed" in name for name in absent)
    assert any("litellm" in name for name in absent)
    assert all(row["ratio"] is None for row in rows if row["peer"] is None)
