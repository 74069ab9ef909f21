"""The benchmark of growing JSON runs, all its ways give one value, and a peer that is missing is named."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "bench_json.py"
    spec = importlib.util.spec_from_file_location("bench_json", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "bench_json", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "SIZE", 2_000)
    monkeypatch.setattr(module, "EVENTS", 200)
    return module


def test_the_promised_rows_have_a_figure_beside_a_named_peer(bench: ModuleType) -> None:
    pytest.importorskip("jiter")
    rows = bench.rows(1)
    assert {"partial JSON, 20 kB of arguments, per delta", "partial JSON, t(80 kB) / t(20 kB)"} == {
        row["what"] for row in rows if row["hold"] is not None
    }
    assert rows[0]["ratio"] > 1
    assert all(row["ours"] is not None and row["peer_name"] for row in rows)


def test_a_peer_that_is_not_installed_is_named(bench: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "_installed", lambda name: False)
    rows = bench.rows(1)
    assert "jiter on each prefix (not installed)" == rows[0]["peer_name"]
    assert {"jsonriver": None, "partial-json-parser on each prefix": None} == rows[0]["others"]
    assert all(row["ratio"] is None for row in rows)


def test_the_texts_are_json_of_the_size_they_say(bench: ModuleType) -> None:
    for text in (bench.structured(20_000), bench.structured(20_000, compact=True), bench.one_string(20_000)):
        assert "".join(bench.cut(text)) == text
        assert 16_000 < len(text) < 24_000
        assert isinstance(json.loads(text), dict)
