"""No operator keeps what has passed: a million items grow memory by less than a megabyte.

Each is read for as many items as fill its buffers and caches, then for as many again and more, and may have grown by
as much of a megabyte as that is of a million, but for a little. Sizes are small, because how full a buffer is at the moment
of a look is not what is measured.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import io
import pkgutil
import sys
from collections.abc import AsyncIterator, Callable
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from growth import growth

import streamkit.operators
from streamkit.events.model import Event, TextDelta, ToolCall, ToolCallDelta, ToolCallStart
from streamkit.events.stats import Stats
from streamkit.flow.breaker import CircuitBreaker
from streamkit.flow.plan import Op, Same
from streamkit.flow.rates import RateLimiter
from streamkit.flow.streams import Stream, stream
from streamkit.operators.admission import circuit_breaker, rate_limit
from streamkit.operators.buffering import batch, buffer, coalesce, window
from streamkit.operators.combining import combine_latest, concat, interleave, merge, zip
from streamkit.operators.concluding import on_end
from streamkit.operators.ending import take_until
from streamkit.operators.filtering import redact, replace, split_tags
from streamkit.operators.flattening import flatten, switch
from streamkit.operators.markdown import code_blocks, heal_markdown, markdown_blocks
from streamkit.operators.measuring import measure, progress
from streamkit.operators.racing import hedge, race
from streamkit.operators.recovering import catch, continue_on_cut, fallback
from streamkit.operators.retrying import retry
from streamkit.operators.second_sink import also_to
from streamkit.operators.selection import (
    changes,
    default_if_empty,
    distinct,
    drop_while,
    limit_bytes,
    skip,
    start_with,
    take,
    take_while,
)
from streamkit.operators.sharing import share, tee
from streamkit.operators.structured import json_values, parse
from streamkit.operators.text import (
    characters,
    chunks,
    count_tokens,
    lines,
    normalize,
    on_text,
    paragraphs,
    printable,
    sentences,
    stop,
    strip,
    texts,
    words,
)
from streamkit.operators.timing import (
    debounce,
    delay,
    heartbeat,
    pace,
    sample,
    throttle,
    timed_stage,
    timeout,
    timestamped,
)
from streamkit.operators.tool_calls import partial_json, run_tools
from streamkit.operators.transform import enumerate, filter, flat_map, map, operator, pairwise, scan, stage, tap
from streamkit.stages.counting import TokenCounter
from streamkit.stages.lines import Lines
from streamkit.stages.thinning import Throttle

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

# Of jobs that cost microseconds an item, fewer are made; the bound goes with their number.
FEW, MANY = 5_000, 15_000
FEWER, FEWER_MANY = 1_200, 3_600
BYTES_OF_A_MILLION = 1_000_000
# What a block of text under way, or a table that was filled, may differ by from one look to the other.
SLACK_BYTES = 8_000


class Case(NamedTuple):
    """An operator, the n-th item for it, and whether items are dear."""

    op: Op[Any, Any] | Same | Callable[[Stream[Any]], Stream[Any]]
    make: Callable[[int], object] = str
    dear: bool = False


PROSE = (
    "## Part {n}\n\nThe *first* stop was at 9 a.m.; Dr. Weiss paid 3.50 for it. ",
    'She wrote to a{n}@example.org: "It is **not** far!" ',
    "Then they went on, over the `old_bridge()`, into town.\n\n",
    "- apples, {n} of them\n- <think>pears</think>\n\n",
    "```python\nfor i in range({n}):\n    print(i)\n```\n\n",
    "| a | b |\n|---|---|\n| {n} | x |\n\n",
)


def prose(number: int) -> str:
    return PROSE[number % len(PROSE)].format(n=number)


def token(number: int) -> TextDelta:
    return TextDelta(f"token {number} ")


def record(number: int) -> str:
    return f'{{"items": [{{"number": {number}}}, {{"tags": ["a", "b"]}}]}} and'


def object_first(number: int) -> str:
    return f"text {number} " if number else '{"number": 1}'


def call_events(number: int) -> Event:
    """Calls of a tool, one after the other, in four pieces each."""
    call, piece = divmod(number, 4)
    name = f"call {call}"
    match piece:
        case 0:
            return ToolCallStart(name, "look")
        case 1:
            return ToolCallDelta(name, '{"at": ')
        case 2:
            return ToolCallDelta(name, f"{call}}}")
        case _:
            return ToolCall(name, "look", f'{{"at": {call}}}')


async def look(at: int) -> int:
    return at


async def one_turn(text: str) -> str:
    await asyncio.sleep(0)
    return text


async def never() -> AsyncIterator[str]:
    await asyncio.Event().wait()
    yield "never"


async def others() -> AsyncIterator[int]:
    """Another stream, longer than the one that is looked at."""
    for number in count():
        yield number


def in_turns(plan: Stream[str]) -> Stream[object]:
    """Up to the end of `plan`: from there on two of the others would follow each other."""
    return interleave(plan, others()).pairwise().take_while(lambda pair: type(pair[0]) is not type(pair[1]))


@operator
async def passed_on(items: AsyncIterator[str]) -> AsyncIterator[str]:
    async for item in items:
        yield item


class Ignoring:
    """A sink that keeps nothing."""

    async def send(self, batch: list[Any], /) -> None:
        self.count = len(batch)

    async def aclose(self, error: BaseException | None, /) -> None:
        self.error = error


def pieces(plan: Stream[str]) -> Stream[Stream[str]]:
    return plan.batch(50).map(stream)


# By the name of the operator, and what is behind a comma.
CASES: dict[str, Case] = {
    "also_to": Case(also_to(Ignoring(), size=16)),
    "batch": Case(batch(16)),
    "batch, in time": Case(batch(16, within=60)),
    "batch, by weight": Case(batch(weight="tokens", max_weight=16), token),
    "buffer": Case(buffer(16)),
    "buffer, dropping the oldest": Case(buffer(16, overflow="drop_oldest")),
    "buffer, dropping the newest": Case(buffer(16, overflow="drop_newest")),
    "buffer, the latest": Case(buffer(1, overflow="latest")),
    "buffer, joining": Case(buffer(16, overflow="coalesce"), token),
    "catch": Case(catch(lambda error: None)),
    "changes": Case(changes()),
    "characters": Case(characters()),
    "chunks": Case(chunks(20)),
    "circuit_breaker": Case(circuit_breaker(CircuitBreaker())),
    "coalesce": Case(coalesce(16), token),
    "code_blocks": Case(code_blocks(), prose, dear=True),
    "combine_latest": Case(lambda plan: combine_latest(plan, [1], size=16)),
    "concat": Case(lambda plan: concat(["first"], plan)),
    "continue_on_cut": Case(continue_on_cut(lambda answer: None), token),
    "count_tokens": Case(count_tokens(TokenCounter())),
    "count_tokens, with a tokenizer": Case(count_tokens(TokenCounter(len))),
    "debounce": Case(debounce(60)),
    "default_if_empty": Case(default_if_empty("none")),
    "delay": Case(delay(1e-6, size=16)),
    "distinct": Case(distinct(size=64)),
    "drop_while": Case(drop_while(lambda text: text != "10")),
    "enumerate": Case(enumerate()),
    "fallback": Case(fallback(["other"])),
    "filter": Case(filter(bool)),
    "flat_map": Case(flat_map(lambda text: (text, text))),
    "flatten": Case(lambda plan: pieces(plan) | flatten()),
    "flatten, several at once": Case(lambda plan: pieces(plan) | flatten(concurrency=2, size=16)),
    "heal_markdown": Case(heal_markdown(), prose, dear=True),
    "heartbeat": Case(heartbeat(60, size=16)),
    "hedge": Case(lambda plan: hedge(plan, never, after=60)),
    "interleave": Case(in_turns, dear=True),
    "json_values": Case(json_values("items.*"), record, dear=True),
    "limit_bytes": Case(limit_bytes(100_000_000)),
    "lines": Case(lines(), prose, dear=True),
    "map": Case(map(str.upper)),
    "map, several at once": Case(map(one_turn, concurrency=4), dear=True),
    "map, several at once in any order": Case(map(one_turn, concurrency=4, ordered=False), dear=True),
    "markdown_blocks": Case(markdown_blocks(), prose, dear=True),
    "measure": Case(measure(Stats()), token),
    "merge": Case(lambda plan: merge(plan, ["other"], size=16)),
    "merge, of a stream of streams": Case(lambda plan: merge(pieces(plan), concurrency=2, size=16)),
    "normalize": Case(normalize()),
    "on_end": Case(on_end(lambda ended: None)),
    "on_text": Case(on_text(words()), token, dear=True),
    "operator": Case(passed_on()),
    "pace": Case(pace(1, max_lag=1e6, size=64, at_end="at_once"), token, dear=True),
    "pairwise": Case(pairwise()),
    "paragraphs": Case(paragraphs(), prose, dear=True),
    "parse": Case(parse(dict), object_first),
    "partial_json": Case(partial_json(), call_events, dear=True),
    "printable": Case(printable()),
    "progress": Case(progress(file=io.StringIO()), token),
    "race": Case(lambda plan: race(plan, never)),
    "rate_limit": Case(rate_limit(RateLimiter(requests_per_minute=600))),
    "redact": Case(redact("email", "key"), prose, dear=True),
    "replace": Case(replace("stop", "halt"), prose),
    "retry": Case(retry(3)),
    "run_tools": Case(run_tools([look]), call_events, dear=True),
    "sample": Case(sample(0.001)),
    "scan": Case(scan(max, "")),
    "sentences": Case(sentences(), prose, dear=True),
    "share": Case(lambda plan: share(plan, replay=8, size=16)),
    "skip": Case(skip(10)),
    "texts": Case(texts(), token),
    "split_tags": Case(split_tags("think"), prose),
    "stage": Case(stage(Lines), prose, dear=True),
    "start_with": Case(start_with("first")),
    "stop": Case(stop(["</answer>", "User:"]), prose),
    "strip": Case(strip(), lambda number: f" {number} "),
    "switch": Case(lambda plan: pieces(plan) | switch()),
    "take": Case(take(1_000_000_000)),
    "take_until": Case(take_until(never)),
    "take_while": Case(take_while(bool)),
    "tap": Case(tap(len)),
    "tee": Case(lambda plan: merge(*tee(plan, 2, size=16), size=16)),
    "tee, where one drops": Case(lambda plan: merge(*tee(plan, 2, size=16, overflow=["suspend", "drop_oldest"]), size=16)),
    "throttle": Case(throttle(0.001)),
    "timed_stage": Case(timed_stage(lambda: Throttle(0.001))),
    "timeout": Case(timeout(idle=60)),
    "timestamped": Case(timestamped()),
    "window": Case(window(16, 3)),
    "words": Case(words(), prose, dear=True),
    "zip": Case(lambda plan: zip(plan, others()), dear=True),
}

# What an operator keeps by design, in bytes an item: its docstring says so.
KEPT = {"continue_on_cut": 120}


@pytest.mark.parametrize("name", CASES)
async def test_what_has_passed_an_operator_is_not_kept(name: str) -> None:
    op, make, dear = CASES[name]
    few, many = (FEWER, FEWER_MANY) if dear else (FEW, MANY)
    bound = BYTES_OF_A_MILLION * KEPT.get(name, 1) + SLACK_BYTES / (many - few) * 1_000_000
    # A table of the event loop may be made larger between two looks, and not again: what is kept shows each time.
    grown = [await growth(op, make, few=few, many=many)]
    while grown[-1] >= bound and len(grown) < 3:
        grown.append(await growth(op, make, few=few, many=many))
    assert grown[-1] < bound, grown


async def test_each_operator_is_read_for_its_growth() -> None:
    found: set[str] = set()
    for about in pkgutil.iter_modules(streamkit.operators.__path__):
        module = importlib.import_module(f"streamkit.operators.{about.name}")
        found |= {name for name in module.__all__ if inspect.isfunction(getattr(module, name))}
    assert found == {name.partition(",")[0] for name in CASES}


async def test_what_is_kept_for_each_item_is_seen() -> None:
    kept: list[object] = []
    assert 40 * BYTES_OF_A_MILLION < await growth(tap(kept.append), few=FEW, many=MANY)
    counted: set[int] = set()
    assert BYTES_OF_A_MILLION < await growth(tap(lambda text: counted.add(int(text) // 20)), few=FEW, many=MANY)


def test_the_soak_reads_a_million_items_through_those_that_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], anyio_backend: str
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    soak = importlib.import_module("soak")
    assert 1_000_000 == soak.MILLION
    monkeypatch.setattr(soak, "MILLION", 20_000)
    assert soak.growth("tap, filter")
    assert ["filter", "tap"] == [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    kept: list[object] = []
    monkeypatch.setitem(CASES, "tap", Case(tap(kept.append)))
    monkeypatch.setitem(sys.modules, "test_growth", sys.modules[__name__])
    assert not soak.growth("tap")
    assert "more than 1,000,000" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="no such operator: nonsense"):
        soak.growth("nonsense")
