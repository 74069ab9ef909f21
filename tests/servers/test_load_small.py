"""The load of `make soak ARGS="--load all"`, small: its figures mean little here, what happens to the clients does."""

from __future__ import annotations

import importlib
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.delitem(sys.modules, "load", raising=False)
    module: Any = importlib.import_module("load")
    monkeypatch.setattr(module, "DRAIN_S", 0.2)
    monkeypatch.setattr(module, "PATIENCE_S", 60.0)
    monkeypatch.setattr(module, "WATCHED_S", 0.3)
    monkeypatch.setattr(module, "SETTLING_S", 0.1)
    return module


def figures(rows: Any) -> dict[str, float]:
    return {row.what.partition(": ")[2]: row.figure for row in rows}


@pytest.mark.parametrize("kind", ["sse", "hub", "websocket", "library"])
def test_sigterm_tells_every_reader_of_an_endless_stream_its_last_id_and_closes_every_source(load: Any, kind: str) -> None:
    seen = figures(load.drain(kind, 25))
    assert 25 == seen["told 'draining' with the last id"]
    assert 25 == seen["`finally` has run"]
    assert seen["exit, with a drain limit of 0.2 s"] < 30  # what the server grants its streams by itself is twice of it


def test_of_open_streams_none_fails_and_each_is_weighed(load: Any) -> None:
    seen = figures(load.open_streams("websocket", 50, "bare-ws", 100))
    assert 0 == seen["failed"]
    assert seen["each"] > 0
    assert seen["Python's memory blocks that are left when they have gone"] < 100


@pytest.mark.parametrize("kind", ["sse", "hub", "websocket"])
def test_the_source_of_a_client_that_leaves_is_closed(load: Any, kind: str) -> None:
    middle, slowest = load.leave(kind, 3)
    assert 0 < middle.figure <= slowest.figure < 30_000


def test_a_row_says_whether_its_promise_is_kept(load: Any) -> None:
    rows = [load.Row("a", 3, "ms", 5), load.Row("a", 6, "ms", 5), load.Row("a", 6, "", 5, least=True), load.Row("a", 6, "ms")]
    assert [True, False, True, True] == [row.met for row in rows]
    assert "MISSED" in str(rows[1])


def test_the_weight_of_sockets_is_read_from_the_kernel(load: Any) -> None:
    if shutil.which("ss") is None:
        pytest.skip("the weight of sockets in the kernel is told by the command ss (iproute2)")
    server = load.Server()
    with load.ended(server):
        readers = load.clients(server, load._group("flood", 3, 0.0, reads=False, buffer=4096))
        with load.ended(readers):
            load.wait_until(lambda: server.kernel_bytes() > 3 * 4096, "the clients' bytes wait in the kernel")
            assert 3 == server.running
