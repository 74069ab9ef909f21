"""Thousands of streams, ended in every way there is, and a look at what stays behind: `make soak`.

    python benchmarks/soak.py [--seconds 60] [--seed 1]
    python benchmarks/soak.py --seeds 10000 [--seed 1] [--backend trio] [--only merge]
    python benchmarks/soak.py --hub 10000 [--seed 1] [--backend trio] [--only sharing]
    python benchmarks/soak.py --growth [merge,tee]
    python benchmarks/soak.py --load all | drain,unread,cut,open,fanout,leave [--size 1.0]

Each round builds a pipeline at random, over a source that waits or not, and leaves it at a random
moment: at its end, by `break`, by an error of the source or of the consumer, by a cancel, by a timeout.
Afterwards every source must be closed, once, and no task, thread or warning left; at the end of the soak
the memory must be where it was after the first tenth, but for a megabyte.

With --growth a million items pass each operator instead, or those that are named, and the memory of each may grow by
less than a megabyte. That takes half an hour; the tests do the same with fewer items (tests/operators/test_growth.py).

With --hub so many random histories of hubs are told, of each kind: alone, sharing a store, sharing one that fails at
random, and sharing a SQLite file on real time (a twentieth as many); and 10,000 readers are cancelled at random moments
(tests/hub/hub_histories.py).

With --load thousands of connections are opened, left and drained, on servers that are processes (load.py).

With --seeds each operator has so many runs of its own instead, on virtual time, with an order of wake-ups that the seed
draws: what comes out must be what the operator allows (tests/operators/seeded_runs.py).
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib
import io
import json
import logging
import os
import random
import sys
import threading
import tracemalloc
import warnings
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic
from typing import Any, Literal

import streamkit as sk

SLACK_BYTES = 1_000_000
MILLION = 1_000_000
# Code is generated and kept once per shape: a program has some, so the soak must not invent new ones for ever.
SHAPES = 100


class Fault(Exception):
    """Raised on purpose."""


class Sources:
    """The sources of one round, and whether each was closed."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self.opened = 0
        self.closed = 0

    async def words(self) -> AsyncIterator[str]:
        fails_at = self._dice.choice([None, None, self._dice.randrange(60)])
        waits = self._dice.random() < 0.5
        self.opened += 1
        try:
            for number in range(self._dice.randrange(80)):
                if number == fails_at:
                    raise Fault("the source")
                if waits:
                    await asyncio.sleep(0)
                yield f"word {number}. "
        finally:
            try:
                if waits:
                    await asyncio.sleep(0)  # a cancel may come here, too, if the source was ending by itself
            finally:
                self.closed += 1


def pipeline(sources: Sources, dice: random.Random) -> sk.Stream[str]:
    """Something that users might build."""
    if dice.random() < 0.3:
        stream = sk.merge(*[sk.stream(sources.words) for _ in range(dice.randrange(1, 4))])
    else:
        stream = sk.stream(sources.words)
    for _ in range(dice.randrange(4)):
        match dice.randrange(14):
            case 0:
                stream = stream | sk.buffer(dice.randrange(1, 9), overflow=dice.choice(["suspend", "drop_oldest", "latest"]))
            case 1:
                stream = stream | sk.coalesce()
            case 2:
                stream = stream | sk.sentences()
            case 3:
                stream = stream | sk.timeout(idle=30)
            case 4:
                stream = stream.batch(3, within=30).flat_map(list)
            case 5:
                stream = stream.take(dice.randrange(1, 30))
            case 6:
                stream = stream.map(_twice)
            case 7:
                stream = stream | sk.measure(sk.Stats())
            case 8:
                stream = stream | sk.progress(file=io.StringIO())
            case 9:
                stream = stream | sk.record(os.devnull)
            case 10:
                stream = stream | sk.timeout(wire=30)
            case 11:
                stream = stream | sk.limit_bytes(dice.randrange(1000))
            case 12:
                calls: sk.Stream[Any] = stream.flat_map(_calls) | sk.run_tools([_tool, _plain], timeout=dice.choice([None, 30]))
                stream = calls.filter(_is_text)
            case _:
                stream = stream.map(str.upper).filter(bool)
    return stream


async def _twice(text: str) -> str:
    await asyncio.sleep(0)
    return text * 2


def _calls(text: str) -> list[object]:
    """A text, and for some a call of a tool: one that takes its time or fails, one on a thread, one that is not there."""
    name = {"0": "_tool", "1": "_plain", "2": "nobody's"}.get(text[6:7] if text[:4] == "word" else text[5:6])
    return [text] if name is None else [text, sk.ToolCall(text, name, json.dumps({"text": text}))]


async def _tool(text: str) -> str:
    await asyncio.sleep(0)
    if len(text) % 3 == 0:
        raise Fault("a tool")
    await asyncio.sleep(0)
    return text


def _plain(text: str) -> int:
    return len(text)


def _is_text(item: object) -> bool:
    return isinstance(item, str)


async def read(stream: sk.Stream[str], dice: random.Random) -> str:
    """Read a stream and leave it somehow; how it ended."""
    leaves_at = dice.randrange(60)
    how = dice.choice(["end", "end", "break", "raise", "collect"])
    try:
        if how == "collect":
            await stream.collect()
            return "collected"
        async with stream as items:
            number = -1
            async for _ in items:
                number += 1
                if number == leaves_at and how == "break":
                    return "left"
                if number == leaves_at and how == "raise":
                    raise Fault("the consumer")
    except Fault as error:
        return f"failed: {error}"
    return "ended"


async def one_round(dice: random.Random) -> str:
    sources = Sources(dice)
    task = asyncio.create_task(read(pipeline(sources, random.Random(dice.randrange(SHAPES))), dice))
    if dice.random() < 0.3:
        for _ in range(dice.randrange(40)):
            await asyncio.sleep(0)
        task.cancel()
    try:
        ended = await task
    except asyncio.CancelledError:
        ended = "cancelled"
    if sources.opened != sources.closed:
        raise AssertionError(f"{ended}: {sources.opened} sources opened, {sources.closed} closed")
    left = asyncio.all_tasks() - {asyncio.current_task()}
    if left:
        raise AssertionError(f"{ended}: tasks left behind: {left}")
    return ended


async def soak(seconds: float, seed: int) -> Counter[str]:
    """Rounds until the time is over; how many ended in which way."""
    endings: Counter[str] = Counter()
    began = monotonic()
    base: int | None = None
    told = began
    while (passed := monotonic() - began) < seconds:
        round_seed = seed + endings.total()
        try:
            endings[await one_round(random.Random(round_seed))] += 1
        except BaseException:
            print(f"round {endings.total()} failed; alone: --seed {round_seed} --seconds 0.001", file=sys.stderr)
            raise
        if base is None and passed > seconds / 10:
            base = _memory()
        if monotonic() - told > 10:
            told = monotonic()
            print(f"{endings.total():8} streams, {passed:.0f} s", file=sys.stderr, flush=True)
    grown = _memory() - (base or 0)
    if base is not None and grown > SLACK_BYTES:
        raise AssertionError(f"{grown:,} bytes more than after the first tenth")
    if threading.active_count() > 1:
        raise AssertionError(f"threads left behind: {threading.enumerate()}")
    return endings


def growth(names: str) -> bool:
    """A million items through each operator; whether all kept within their bounds."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "operators"))
    measures: Any = importlib.import_module("growth")
    table: Any = importlib.import_module("test_growth")
    wanted = {name.strip() for name in names.split(",") if name.strip()}
    known = {name.partition(",")[0] for name in table.CASES}
    if wanted - known:
        raise SystemExit(f"no such operator: {', '.join(sorted(wanted - known))}; there are {', '.join(sorted(known))}")
    kept = True
    for name, (op, make, _) in table.CASES.items():
        if wanted and name.partition(",")[0] not in wanted:
            continue
        grown = asyncio.run(measures.growth(op, make, few=table.FEW, many=table.FEW + MILLION))
        bound = table.BYTES_OF_A_MILLION * table.KEPT.get(name, 1)
        kept = kept and grown < bound
        verdict = "" if grown < bound else f", more than {bound:,}"
        print(f"{name:40} {grown:12,.0f} bytes for a million of items{verdict}", flush=True)
    return kept


def soak_operators(seeds: range, backend: Literal["asyncio", "trio"], only: str | None) -> Counter[str]:
    """Runs of each operator, or of those whose names begin so; how many ended in which way."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "operators"))
    table: Any = importlib.import_module("every_operator")
    runs: Any = importlib.import_module("seeded_runs")
    endings: Counter[str] = Counter()
    rows = [row for name, row in table.EVERY.items() if name.startswith(only or "")]
    if not rows:
        raise SystemExit(f"soak: no operator's name begins with {only!r}")
    for number, row in enumerate(rows, 1):
        began = monotonic()
        endings.update(how for how, _ in runs.run_seeds(row, seeds, backend))
        print(f"{number:3} of {len(rows)}  {row.name}: {len(seeds)} runs, {monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return endings


def soak_hub(seeds: range, backend: Literal["asyncio", "trio"], only: str | None) -> Counter[str]:
    """Histories of hubs, of all kinds or of one; how often what happened."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "hub"))
    logging.disable(logging.CRITICAL)  # stores fail on purpose, and hubs say so
    histories: Any = importlib.import_module("hub_soak")
    counts: Counter[str] = Counter()
    kinds = [kind for kind in histories.KINDS if kind.startswith(only or "")]
    if not kinds:
        raise SystemExit(f"soak: no kind of history begins with {only!r}; there are {', '.join(histories.KINDS)}")
    for kind in kinds:
        began = monotonic()
        told = histories.run_kind(kind, seeds, backend)
        counts.update(told)
        print(f"{kind}: {told['histories']} histories, {monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return counts


def _memory() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def main(argv: list[str] | None = None) -> int:
    options = argparse.ArgumentParser(description="Streams left at random moments, and a look at what stays behind.")
    options.add_argument("--seconds", type=float, default=60.0)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--growth", nargs="?", const="", metavar="NAMES", help="a million items through each operator")
    options.add_argument("--load", metavar="NAMES", help="thousands of connections, and how they end: all, or see load.py")
    options.add_argument("--size", type=float, default=1.0, help="for --load: as many times the usual number of clients")
    options.add_argument("--seeds", type=int, metavar="N", help="so many drawn orders of wake-ups for each operator")
    options.add_argument("--hub", type=int, metavar="N", help="so many random histories of hubs, of each kind")
    options.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio", help="for --seeds and --hub")
    options.add_argument("--only", metavar="NAME", help="operators, or kinds of histories, whose names begin so")
    typed = options.parse_args(argv)
    if typed.load is not None:
        load: Any = importlib.import_module("load")
        return int(load.main([typed.load, "--size", str(typed.size)]))
    warnings.simplefilter("error")
    if typed.growth is not None:
        return 0 if growth(typed.growth) else 1
    if typed.hub is not None:
        counts = soak_hub(range(typed.seed, typed.seed + typed.hub), typed.backend, typed.only)
        told = ", ".join(f"{count} {what}" for what, count in counts.most_common())
        print(f"soak OK: each reader got what was told and a typed end, nothing left behind ({told})")
        return 0
    if typed.seeds is not None:
        endings = soak_operators(range(typed.seed, typed.seed + typed.seeds), typed.backend, typed.only)
    else:
        tracemalloc.start()
        endings = asyncio.run(soak(typed.seconds, typed.seed))
    told = ", ".join(f"{count} {how}" for how, count in endings.most_common())
    print(f"soak OK: {endings.total()} streams, every source closed, nothing left behind ({told})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
