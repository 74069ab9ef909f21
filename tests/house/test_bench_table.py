"""The table of `make bench`: what a promise means, what a missing peer looks like, what is written down."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
from source_tree import ROOT


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_run", ROOT / "benchmarks" / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return module


def row(**changes: object) -> dict[str, object]:
    plain: dict[str, object] = {
        "what": "map", "ours": 20.0, "peer": 10.0, "peer_name": "hand loop", "unit": "ns",
        "ratio": 2.0, "hold": 1.7, "bound": "least",
    }  # fmt: skip
    return plain | changes


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"bound": "most"}, False),
        ({"bound": "figure", "hold": 20}, True),
        ({"bound": "figure", "hold": 19}, False),
        ({"hold": None}, None),
        ({"peer": None, "ratio": None}, None),
    ],
)
def test_a_promise_is_read_as_its_bound_says(run: ModuleType, changes: dict[str, object], expected: bool | None) -> None:
    assert expected is run.met(row(**changes))


def test_a_missed_promise_says_by_how_much(run: ModuleType) -> None:
    assert ["map", "2x", "<= 1.6", "missed by 25 %", "20 ns", "10, hand loop"] == run.cells(row(bound="most", hold=1.6))


def test_a_peer_that_is_not_installed_is_named_and_not_dropped(run: ModuleType) -> None:
    absent = row(peer=None, ratio=None, peer_name="other (not installed)", others={"third": None, "fourth": 4.25})
    assert ["map", "", ">= 1.7", "no peer", "20 ns", "other (not installed); third not installed; fourth 4.25x"] == run.cells(
        absent
    )


def test_a_run_prints_a_table_and_writes_json(
    run: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = ModuleType("bench_sse")
    monkeypatch.setattr(bench, "rows", lambda rounds: [row(ours=float(rounds))], raising=False)
    monkeypatch.setitem(sys.modules, "bench_sse", bench)
    assert 0 == run.main(["--only", "sse", "--rounds", "3", "--json", str(tmp_path / "new" / "rows.json")])
    shown = capsys.readouterr().out
    assert "1 promises met, 0 missed" in shown
    assert shown.splitlines()[1].split()[:4] == ["map", "2x", ">=", "1.7"]
    written = json.loads((tmp_path / "new" / "rows.json").read_text("utf-8"))
    assert [row(ours=3.0, benchmark="bench_sse")] == written["rows"]


def test_a_benchmark_that_does_not_exist_is_told(run: ModuleType) -> None:
    with pytest.raises(SystemExit, match="no such benchmark: bench_nonsense"):
        run.benchmarks("nonsense")
    assert {"bench_kernel", "bench_operators", "bench_sse", "bench_text"} <= set(run.benchmarks(""))
