"""The benchmark of structured output runs, all its ways give one value, and time is linear."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    folder = Path(__file__).parents[2] / "benchmarks"
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "bench_json", raising=False)
    spec = importlib.util.spec_from_file_location("bench_structured", folder / "bench_structured.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "bench_structured", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "SIZE", 2_000)
    return module


def test_the_rows_have_figures_beside_named_peers(bench: ModuleType) -> None:
    pytest.importorskip("pydantic")
    rows = bench.rows(1)
    assert 6 == len(rows)
    assert rows[0]["ratio"] > 1
    assert all(row["ours"] is not None and row["peer_name"] for row in rows)
    assert 3 == sum(row["hold"] == 2.3 for row in rows)


def test_peers_that_are_not_installed_are_named(bench: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "installed", lambda name: False)
    rows = bench.rows(1)
    assert "pydantic on each prefix (not installed)" == rows[0]["peer_name"]
    assert {"jsonriver (no types)": None, "partial-json-parser (no types)": None} == rows[0]["others"]
