"""The fixture `recording`, as pytest sees it."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]

TEST = """
    import asyncio
    import streamkit as sk

    asked = []

    def live():
        asked.append(1)
        return [b'data: {"type":"text-delta","text":"Hi"}\\n\\n', b'data: {"type":"finish"}\\n\\ndata: {"type":"end"}\\n\\n']

    def test_it(recording):
        chunks = recording("kept/answer.jsonl", live=live)
        assert "Hi" == asyncio.run(sk.decode(chunks, "native").join())
        print("asked", len(asked))
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    # The same with and without the entry point of an installed streamkit.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeini("[pytest]\naddopts = -p streamkit.testing.pytest_plugin -rP\n")
    return pytester


def test_a_missing_recording_fails_and_says_how_it_is_made(run: pytest.Pytester) -> None:
    run.makepyfile(TEST)
    result = run.runpytest_subprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*there is no recording *answer.jsonl: run `pytest --streamkit-record` once*"])
    assert not (run.path / "kept").exists()


def test_it_is_made_once_and_replayed_from_then_on(run: pytest.Pytester) -> None:
    run.makepyfile(TEST)
    made = run.runpytest_subprocess("--streamkit-record")
    made.assert_outcomes(passed=1)
    made.stdout.fnmatch_lines(["asked 1"])
    lines = [json.loads(line) for line in (run.path / "kept" / "answer.jsonl").read_text("utf-8").splitlines()]
    assert ("recording", 4) == (lines[0]["streamkit"], len(lines))
    for options in ((), ("--streamkit-record",)):
        replayed = run.runpytest_subprocess(*options)
        replayed.assert_outcomes(passed=1)
        replayed.stdout.fnmatch_lines(["asked 0"])


def test_a_test_that_fails_half_way_leaves_no_half_recording(run: pytest.Pytester) -> None:
    run.makepyfile(TEST.replace('assert "Hi"', 'assert "Ho"'))
    run.runpytest_subprocess("--streamkit-record").assert_outcomes(failed=1)
    assert [] == list((run.path / "kept").iterdir())


def test_without_a_live_source_a_missing_recording_cannot_be_made(run: pytest.Pytester) -> None:
    run.makepyfile("def test_it(recording): recording('a.jsonl')")
    result = run.runpytest_subprocess("--streamkit-record")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*and no live= to make it from"])


def test_responses_streams_and_generators_are_recorded(run: pytest.Pytester) -> None:
    run.makepyfile(
        """
        import asyncio
        import httpx
        import pytest
        import streamkit as sk

        async def words():
            yield "a"
            yield "b"

        CLIENT = httpx.AsyncClient(transport=httpx.MockTransport(lambda request: httpx.Response(200, content=b"ab")))
        LIVE = {
            "generator": (words, ["a", "b"]),
            "stream": (lambda: sk.stream(["a"]) | sk.map(str.upper), ["A"]),
            "response": (lambda: CLIENT.stream("GET", "http://x"), [b"ab"]),
        }

        @pytest.mark.parametrize("name", LIVE)
        def test_it(recording, name):
            live, expected = LIVE[name]
            assert expected == asyncio.run(recording(name, live=live).collect())
            assert expected == asyncio.run(recording(name).collect())
        """
    )
    run.runpytest_subprocess("--streamkit-record").assert_outcomes(passed=3)


def test_the_distribution_registers_it() -> None:
    points = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["entry-points"]["pytest11"]
    assert callable(import_module(points["streamkit"]).pytest_addoption)


def test_loading_it_loads_nothing_else_of_streamkit() -> None:
    code = (
        "import sys, pytest; before = set(sys.modules); import streamkit.testing.pytest_plugin; print(*set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert {"streamkit", "streamkit.testing", "streamkit.testing.pytest_plugin"} == set(done.stdout.split())
