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
    pytest.importorskip("anthropic")
    monkeypatch.setattr(bench, "CHUNKS", 40)
    monkeypatch.setattr(bench, "REQUESTS", 5)
    monkeypatch.setenv("STREAMKIT_PEERS_PYTHON", "nowhere")
    rows = bench.rows(1)
    measured = [row for row in rows if "Stats" not in row["what"] and "frameworks" not in row["what"]]
    assert all(row["peer_name"] and row["ours"] > 0 and row["bound"] in ("most", "figure") for row in measured)
    promised = {row["what"] for row in rows if row["hold"] is not None}
    for dialect in ("openai-chat", "openai-responses", "anthropic"):
        for what in ("wire to event", "Stats on", "raw response", "SDK object to event"):
            assert f"{dialect}: {what}, per chunk" in promised
    assert "openai-chat: time to first chunk" in promised
    assert ["litellm (not installed)", "pydantic-ai (not installed)", "langchain (not installed)"] == [
        row["peer_name"] for row in rows if "frameworks" in row["what"]
    ]


def test_the_frameworks_are_measured_by_an_interpreter_of_their_own(bench: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("httpx")
    monkeypatch.setattr(bench, "CHUNKS", 40)
    monkeypatch.setenv("STREAMKIT_PEERS_PYTHON", sys.executable)
    figures = bench._frameworks(1)
    assert (40, 40) == (figures["by hand"]["texts"], figures["by hand"]["chunks"])
    assert figures["by hand"]["us"] > 0


def test_a_peer_that_is_not_installed_is_named(bench: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "CHUNKS", 40)
    monkeypatch.setattr(bench, "REQUESTS", 2)
    monkeypatch.setattr(bench, "_installed", lambda *names: names == ("httpx2",))
    monkeypatch.setenv("STREAMKIT_PEERS_PYTHON", "nowhere")
    rows = bench.rows(1)
    absent = [row["peer_name"] for row in rows if row["peer"] is None]
    assert any("openai SDK" in name and "not installed" in name for name in absent)
    assert any("litellm" in name for name in absent)
    assert all(row["ratio"] is None for row in rows if row["peer"] is None and row["bound"] != "figure")
