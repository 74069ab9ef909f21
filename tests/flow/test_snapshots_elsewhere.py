"""Pipelines of token processors saved as bytes, and taken up by a process that knows nothing but these bytes and the plan."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

import streamkit as sk

TEXT = (
    "<think mode='deep'>1 < 2. So yes.</think>Dear Dr. Müller, mail ada@example.com.\n\n- one\n- two 👨\u200d👩\u200d👧\n\n"
    "```py\nprint(1)\n```\n价格是3.5元。好的。\n\n| a | b |\n|---|---|\n| 1 | **2** |\n\n"
    '```json\n{"items": [{"n": 1}, {"n": 2}]}\n```\nDone e\u0301. [1]'
)


def events(pieces: list[str]) -> list[sk.Event]:
    return [sk.Start(id="1", model="m"), *map(sk.TextDelta, pieces), sk.Usage(output_tokens=9), sk.Finish("stop")]


def tidy() -> sk.Op[str, str]:
    return sk.normalize() | sk.redact("email") | sk.sentences()


PLANS: dict[str, Callable[[], sk.Op[Any, Any]]] = {
    "tidy": tidy,
    "blocks in lists": lambda: sk.markdown_blocks(items=True) | sk.batch(2),
    "code": lambda: sk.normalize() | sk.code_blocks(),
    "healed": lambda: sk.strip() | sk.heal_markdown(),
    "tags, then sentences": lambda: sk.split_tags("think") | sk.on_text(sk.strip() | sk.sentences()) | sk.enumerate(),
    "values": lambda: sk.printable() | sk.json_values("items.*"),
    "replaced lines": lambda: sk.replace(re.compile(r"\d+"), "#") | sk.lines() | sk.window(2) | sk.skip(1),
    "words until": lambda: sk.stop(["Done"]) | sk.words() | sk.pairwise() | sk.distinct(),
    "events": lambda: sk.on_text(sk.split_tags("think")) | sk.on_text(tidy()) | sk.limit_bytes(150),
}


def pieces_of(plan: str) -> list[Any]:
    pieces = [TEXT[at : at + 7] for at in range(0, len(TEXT), 7)]
    return events(pieces) if plan == "events" else pieces


async def begun(plan: str, count: int) -> tuple[list[str], bytes]:
    """The first items of a run, and the run as it is then."""
    given: list[str] = []
    async with (sk.stream(pieces_of(plan)) | PLANS[plan]()).open(resumable=True) as run:
        async for item in run:
            given.append(repr(item))
            if len(given) == count:
                break
        return given, run.snapshot().to_bytes()


async def ended(plan: str, saved: bytes) -> list[str]:
    """The other items, from the bytes."""
    snapshot = sk.Snapshot.from_bytes(saved)
    async with (sk.stream(pieces_of(plan)[snapshot.cursor :]) | PLANS[plan]()).open(restore=snapshot) as run:
        return [repr(item) async for item in run]


def test_another_process_goes_on_where_this_one_was_saved() -> None:
    whole: dict[str, list[str]] = {}
    heads: list[tuple[str, list[str]]] = []
    jobs: list[tuple[str, str]] = []
    for plan, make in PLANS.items():
        whole[plan] = list(map(repr, asyncio.run((sk.stream(pieces_of(plan)) | make()).collect())))
        for count in range(1, len(whole[plan])):
            head, saved = asyncio.run(begun(plan, count))
            heads.append((plan, head))
            jobs.append((plan, saved.hex()))
    other = subprocess.run([sys.executable, __file__], input=json.dumps(jobs), capture_output=True, text=True, check=True)
    tails = json.loads(other.stdout)
    assert len(heads) == len(tails)
    assert [whole[plan] for plan, _ in heads] == [head + tail for (_, head), tail in zip(heads, tails, strict=True)]


@pytest.mark.anyio
async def test_a_code_block_that_waits_to_be_given_can_be_saved() -> None:
    source = ["```py\nx\n```\n"]
    async with (sk.stream(source) | sk.code_blocks()).open(resumable=True) as run:
        first = await anext(aiter(run))
        saved = run.snapshot()
    assert sk.CodeBlock(0, "py", "", "py") == first
    assert saved == sk.Snapshot.from_bytes(saved.to_bytes())
    assert sk.CodeBlock(0, "py", "x\n", "py") == saved.pending[0]


class Place(NamedTuple):
    line: int
    column: int


@pytest.mark.anyio
async def test_a_named_tuple_that_a_step_remembers_can_be_saved() -> None:
    places = [Place(1, 1), Place(1, 2), Place(2, 1)]
    async with (sk.stream(places) | sk.pairwise()).open(resumable=True) as run:
        first = await anext(aiter(run))
        saved = run.snapshot()
    async with (sk.stream(places[saved.cursor :]) | sk.pairwise()).open(restore=saved) as run:
        assert [(places[1], places[2])] == [pair async for pair in run]
    assert (places[0], places[1]) == first


if __name__ == "__main__":
    print(json.dumps([asyncio.run(ended(plan, bytes.fromhex(saved))) for plan, saved in json.loads(sys.stdin.read())]))
