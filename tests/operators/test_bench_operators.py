"""The benchmarks of operators and of token processors run, and each contender of a row does the same job."""

from __future__ import annotations

import importlib
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def operators(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("bench_operators")
    small = {"ITEMS": 400, "WAITS": 40, "CALLS": 40, "SLOW_ITEMS": 5, "OPENINGS": 2}
    for name, value in small.items():
        monkeypatch.setattr(module, name, value)
    return module


@pytest.fixture
def texts(operators: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = importlib.import_module("bench_text")
    monkeypatch.setattr(module, "TOKENS", 200)
    return module


def test_the_promised_rows_of_operators_have_a_figure(operators: ModuleType) -> None:
    rows = operators.rows(1)
    assert len(rows) == len({row["what"] for row in rows})
    assert all(isinstance(row["ours"], float) and row["peer_name"] for row in rows)
    held = {row["what"]: row["hold"] for row in rows if row["hold"] is not None}
    assert {0.4} == {hold for what, hold in held.items() if what.startswith("one more step")}
    assert 4.5 == held["tee for 3 readers, 64 items of lag"]
    assert (1000, 20) == (held["plan of 5 steps compiled, first time"], held["plan of 5 steps, from the cache"])
    assert 1.1 == held["coalesce, a 2 ms sink behind a 1 ms source"]


def test_a_peer_that_is_not_installed_is_named(operators: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operators, "_installed", lambda name: name == "asyncio")
    others = {row["what"]: row["others"] for row in operators.rows(1)}
    assert {"aiostream": None, "asyncstdlib": None, "aioitertools": None} == others["zip of 2"]
    assert None is others["one more step: pairwise"]["reactivex"]
    assert others["tee for 3 readers, 64 items of lag"]["asyncio.Queue each"] > 0


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_all_contenders_of_a_row_give_the_same(operators: ModuleType) -> None:
    for what, hand, ours, _, _, peers in operators.THROUGH:
        if "combine_latest" in what or "readers" in what:
            continue  # what is newest depends on the turns they take; readers only loop
        expected = [_plain(item) for item in await hand()]
        jobs = {"ours": ours} | {peer.name: peer.job for peer in peers if operators._installed(peer.package)}
        for name, job in jobs.items():
            got = [_plain(item) for item in await job()]
            if "unordered" in what or "unordered" in name or "merge" in what:
                assert Counter(expected) == Counter(got), (what, name)
            else:
                assert expected == got, (what, name)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_all_contenders_of_a_step_give_the_same(operators: ModuleType) -> None:
    for what, hand, step, peers in operators.STEPS:
        expected = [_plain(item) for item in await hand()]
        assert expected == [_plain(item) for item in await operators.ours(step)()], what
        for name, job in peers.items():
            if operators._installed(name):
                assert expected == [_plain(item) for item in await job()], (what, name)


def _plain(item: object) -> object:
    return tuple(item) if isinstance(item, list) else item


def test_the_text_is_cut_into_tokens_of_four_and_each_processor_has_a_row(texts: ModuleType) -> None:
    assert {4} == {len(token) for token in texts.prose(400)}
    assert 400 == len("".join(texts.prose(400)))
    rows = texts.rows(1)
    assert {f"{name}, per token" for name in texts.TEXT} < {row["what"] for row in rows}
    linear = {row["what"]: row["hold"] for row in rows if "t(2n)" in row["what"]}
    assert {"heal_markdown, t(2n) / t(n)": 2.3, "redact, t(2n) / t(n)": 2.3, "parse, t(2n) / t(n)": 2.3} == linear
