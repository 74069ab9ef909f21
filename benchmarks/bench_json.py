"""What it costs to have a JSON value while its text arrives, and to run tools beside a stream.

    python benchmarks/bench_json.py [rounds]

The text is 20 kB of structured arguments (records of short strings, numbers, lists and objects), in deltas of four
characters as models send them. After each delta the value so far is read, on both sides: jiter and
partial-json-parser read the whole prefix again, jsonriver and ours go on where they were. CPU time per delta, the best of several
rounds, in turns. All of them end in the same value.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeAlias, TypedDict

import streamkit as sk
from streamkit.stages.partial_json import JsonReader, PartialJson

SIZE = 20_000
DELTA = 4
# Of a peer that takes milliseconds for a prefix, so many of the deltas are measured.
SAMPLE = 100
EVENTS = 20_000

Deltas: TypeAlias = list[str]
Way: TypeAlias = Callable[[Deltas], object]


class Row(TypedDict):
    """One comparison, as `run.py` describes it; `ratio` says how many times faster than the peer."""

    what: str
    ours: float | None
    peer: float | None
    peer_name: str
    unit: str
    ratio: float | None
    hold: float | None
    bound: str
    others: dict[str, float | None]


def structured(size: int, *, compact: bool = False) -> str:
    """Arguments of many small values."""
    words = ["alpha", "beta", "gamma", "delta", "street", "number", "quick", "brown", "fox", "Paris", "order", "status"]
    items: list[object] = []
    written = 0
    while written < size:
        n = len(items)
        item = {
            "id": n,
            "name": f"{words[n % 12]} {words[n % 7]} {words[n % 5]}",
            "price": n * 1.25,
            "tags": [words[n % 3], words[n % 11]],
            "active": n % 2 == 0,
            "note": None if n % 5 else " ".join(words),
            "address": {"street": f"{words[n % 10]} {n}", "zip": str(10000 + n)},
        }
        items.append(item)
        written += len(json.dumps(item)) + 2
    return json.dumps({"items": items}, separators=(",", ":") if compact else None)


def one_string(size: int) -> str:
    """A file's text as one argument."""
    line = "def f(x):\n    return x + 1  # comment\n"
    return json.dumps({"path": "a.py", "content": line * (size // (len(line) + 2))})


def cut(text: str) -> Deltas:
    return [text[at : at + DELTA] for at in range(0, len(text), DELTA)]


def stage(deltas: Deltas) -> object:
    """The stage, as a stream runs it: a record per delta, its value read."""
    feed = PartialJson().feed
    value: object = None
    for delta in deltas:
        for record in feed(delta):
            value = record.value
    return value


def reader(deltas: Deltas) -> object:
    """The reader under the stage."""
    grown = JsonReader()
    value: object = None
    for delta in deltas:
        grown.feed(delta)
        value = grown.value
    return value


def kept_strings(deltas: Deltas) -> object:
    """The stage under a consumer that keeps the string which grows: each delta then pays a copy."""
    feed = PartialJson().feed
    value: Any = None
    kept: object = None
    for delta in deltas:
        for record in feed(delta):
            value = record.value
            kept = value.get("content")
    assert kept is None or isinstance(kept, str)
    return value


def operator(deltas: Deltas) -> object:
    """The operator in a stream, with its event loop."""

    async def run() -> object:
        value: object = None
        async with sk.stream(deltas) | sk.partial_json() as records:
            async for record in records:
                value = record.value
        return value

    return asyncio.run(run())


def by_jiter(deltas: Deltas) -> object:
    """The prefix again for each delta, by the fastest parser there is."""
    import jiter

    prefix = b""
    value: object = None
    for delta in deltas:
        prefix += delta.encode()
        value = jiter.from_json(prefix, partial_mode="trailing-strings")
    return value


def by_jsonriver(deltas: Deltas) -> object:
    """The incremental parser that has been ported from TypeScript."""
    import jsonriver  # type: ignore[import-untyped]  # it has no types

    async def source() -> AsyncIterator[str]:
        for delta in deltas:
            yield delta

    async def run() -> object:
        value: object = None
        async for grown in jsonriver.parse(source()):
            value = grown
        return value

    return asyncio.run(run())


def by_partial_json_parser(deltas: Deltas) -> object:
    """The prefix again for each delta, completed and given to the standard library; a sample of the prefixes."""
    import partial_json_parser  # type: ignore[import-untyped]  # the same

    text = "".join(deltas)
    value: object = None
    for at in range(SAMPLE, len(deltas), SAMPLE):
        value = partial_json_parser.loads(text[: at * DELTA])
    return value


def events(count: int) -> list[sk.Event]:
    return [*[sk.TextDelta(f" word{n % 97}") for n in range(count)], sk.Finish()]


async def _read(stream: sk.Stream[sk.Event]) -> int:
    seen = 0
    async with stream as items:
        async for _ in items:
            seen += 1
    return seen


async def _at_once(items: list[sk.Event]) -> AsyncIterator[sk.Event]:
    for item in items:
        yield item


async def _one_by_one(items: list[sk.Event]) -> AsyncIterator[sk.Event]:
    """Each event in a turn of its own, as a wire gives them."""
    for item in items:
        await asyncio.sleep(0)
        yield item


def tools_cost(rounds: int, source: Callable[[list[sk.Event]], AsyncIterator[sk.Event]]) -> float:
    """What `run_tools` adds to an event that is no call, in microseconds."""

    def add(a: int, b: int) -> int:
        return a + b

    async def plain() -> int:
        return await _read(sk.stream(source(items)))

    async def with_tools() -> int:
        return await _read(sk.stream(source(items)) | sk.run_tools([add]))

    items = events(EVENTS)
    best = {plain: float("inf"), with_tools: float("inf")}
    for _ in range(rounds):
        for way in best:
            started = time.process_time()
            seen = asyncio.run(way())
            best[way] = min(best[way], time.process_time() - started)
            assert seen == len(items), f"{way.__name__} lost events"
    return (best[with_tools] - best[plain]) / len(items) * 1e6


def rows(rounds: int = 5) -> list[Row]:
    """All comparisons; a peer that is not installed is named, with no figure."""
    prefix = {"jiter on each prefix": by_jiter} if _installed("jiter") else {}
    peers: dict[str, Way | None] = {
        "jiter on each prefix": by_jiter if prefix else None,
        "jsonriver": by_jsonriver if _installed("jsonriver") else None,
        "partial-json-parser on each prefix": by_partial_json_parser if _installed("partial_json_parser") else None,
    }
    text = structured(SIZE)
    small, large = cut(text), cut(structured(4 * SIZE))
    cost = _measure([stage, reader, operator, *[way for way in peers.values() if way is not None]], small, rounds)
    grown = _measure([stage], large, rounds)[stage] * len(large) / (cost[stage] * len(small))
    by = {name: None if way is None else cost[way] for name, way in peers.items()}
    found = [
        _row("partial JSON, 20 kB of arguments, per delta", cost[stage], by, 30),
        _figure("partial JSON, t(80 kB) / t(20 kB)", grown, "times", 4.5),
        _row("the same, without records", cost[reader], by, None),
        _row("the same, in a stream with its event loop", cost[operator], by, None),
    ]
    for what, other in (("compact arguments", structured(SIZE, compact=True)), ("one long string", one_string(SIZE))):
        ways: list[Way] = [stage, *([by_jiter] if prefix else [])]
        deltas = cut(other)
        paid = _measure(ways, deltas, rounds)
        found.append(_row(f"partial JSON, {what}, per delta", paid[stage], {"jiter on each prefix": paid.get(by_jiter)}, None))
    long = cut(one_string(4 * SIZE))
    found.append(
        _figure("one string of 80 kB, kept at each delta", _measure([kept_strings], long, rounds)[kept_strings], "us CPU", None)
    )
    found.append(_figure("run_tools, added to a text delta", tools_cost(rounds, _at_once), "us CPU", None))
    found.append(_figure("run_tools, added where each event waits", tools_cost(rounds, _one_by_one), "us CPU", None))
    return found


def _row(what: str, ours: float, peers: dict[str, float | None], hold: float | None) -> Row:
    """How many times faster than the first peer, and than the others."""
    times = {name: None if peer is None else round(peer / ours, 1) for name, peer in peers.items()}
    (name, peer), *rest = peers.items()
    return Row(
        what=what,
        ours=round(ours, 3),
        peer=None if peer is None else round(peer, 2),
        peer_name=name if peer is not None else f"{name} (not installed)",
        unit="us CPU",
        ratio=times[name],
        hold=hold,
        bound="least",
        others={other: times[other] for other, _ in rest},
    )


def _figure(what: str, ours: float, unit: str, hold: float | None) -> Row:
    return Row(
        what=what, ours=round(ours, 3), peer=None, peer_name="no peer", unit=unit, ratio=None, hold=hold, bound="figure", others={}
    )


def _measure(ways: list[Way], deltas: Deltas, rounds: int) -> dict[Way, float]:
    """Microseconds of CPU per delta for each way: the best round, the ways taking turns."""
    wanted = json.loads("".join(deltas))
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(rounds):
        for way in ways:
            steps = len(range(SAMPLE, len(deltas), SAMPLE)) if way is by_partial_json_parser else len(deltas)
            started = time.process_time()
            value = way(deltas)
            best[way] = min(best[way], (time.process_time() - started) / max(steps, 1) * 1e6)
            assert way is by_partial_json_parser or value == wanted, f"{way.__name__} gave another value"
    return best


def _installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def main() -> None:
    for row in rows(int(sys.argv[1]) if len(sys.argv) > 1 else 5):
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.1f}x {row['peer_name']}"
        hold = "" if row["hold"] is None else f"{'>=' if row['bound'] == 'least' else '<='} {row['hold']}"
        others = ", ".join(f"{times}x {name}" for name, times in row["others"].items())
        print(f"{row['what']:46} {row['ours']:>8} {row['unit']:7} {ratio:32} {hold:8} {others}")


if __name__ == "__main__":
    main()
