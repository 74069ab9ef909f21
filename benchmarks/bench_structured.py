"""What it costs to have a typed value while its JSON arrives, and values out of a text.

    python benchmarks/bench_structured.py [rounds]

The texts are those of `bench_json`: 20 kB of records or one long string, in deltas of four characters, the value so far
read after each. pydantic's own way is its partial validation of the prefix, again for each delta; jsonriver and
partial-json-parser give plain values, without types. CPU time per delta, the best of several rounds, in turns.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec
from bench_json import SIZE, Deltas, Row, by_jsonriver, by_partial_json_parser, cut, one_string, structured

from streamkit.stages.growing import GrowingValue
from streamkit.stages.shapes import shape_of
from streamkit.stages.values_in_text import JsonValues

# Of a peer that reads the whole prefix for each delta, so many of the deltas are measured.
SAMPLE = 100

Way: TypeAlias = Callable[[Deltas], object]


class Address(msgspec.Struct):
    street: str
    zip: str


class Record(msgspec.Struct):
    id: int
    name: str
    price: float
    tags: list[str]
    active: bool
    note: str | None
    address: Address


class Records(msgspec.Struct):
    items: list[Record]


class File(msgspec.Struct):
    path: str
    content: str


RECORDS = shape_of(Records)
FILE = shape_of(File)


def records(deltas: Deltas) -> object:
    """Structs that grow."""
    return _grown(GrowingValue(RECORDS), deltas)


def file(deltas: Deltas) -> object:
    """A Struct with one text that grows."""
    return _grown(GrowingValue(FILE), deltas)


def items(deltas: Deltas) -> object:
    """The records, one by one as each is complete."""
    feed = JsonValues("items.*").feed
    return {"items": [value for delta in deltas for value in feed(delta)]}


def _grown(stage: GrowingValue, deltas: Deltas) -> object:
    feed = stage.feed
    value: Any = None
    for delta in deltas:
        for parsed in feed(delta):
            value = parsed.value
    return value


def models() -> tuple[Way, Way]:
    """pydantic models: ours, and pydantic's own partial validation, of a sample of the prefixes."""
    import pydantic

    class Place(pydantic.BaseModel):
        street: str
        zip: str

    class Model(pydantic.BaseModel):
        id: int
        name: str
        price: float
        tags: list[str]
        active: bool
        note: str | None
        address: Place

    class Models(pydantic.BaseModel):
        items: list[Model]

    shape = shape_of(Models)
    # Partial validation knows no models, but lists and TypedDicts: what it gives of a model is nothing until it is whole.
    adapter = pydantic.TypeAdapter(dict[str, list[Model]])

    def ours(deltas: Deltas) -> object:
        return _grown(GrowingValue(shape), deltas)

    def again(deltas: Deltas) -> object:
        text = "".join(deltas)
        size = len(deltas[0])
        value: object = None
        for at in range(SAMPLE, len(deltas), SAMPLE):
            value = adapter.validate_json(text[: at * size], experimental_allow_partial="trailing-strings")
        return value

    return ours, again


def rows(rounds: int = 5) -> list[Row]:
    """All comparisons; a peer that is not installed is named, with no figure."""
    deltas, large = cut(structured(SIZE)), cut(structured(2 * SIZE))
    text, long = cut(one_string(SIZE)), cut(one_string(2 * SIZE))
    model, again = models() if installed("pydantic") else (None, None)
    plain: dict[str, Way | None] = {
        "jsonriver (no types)": by_jsonriver if installed("jsonriver") else None,
        "partial-json-parser (no types)": by_partial_json_parser if installed("partial_json_parser") else None,
    }
    peers: dict[str, Way | None] = {"pydantic on each prefix": again, **plain}
    cost = _measure([records, items, *[way for way in (model, *peers.values()) if way is not None]], deltas, rounds)
    by = {name: None if way is None else cost[way] for name, way in peers.items()}
    found = [_row("parse, 20 kB of records, per delta", cost[records], by)]
    if model is not None:
        found.append(_row("parse, the same as pydantic models", cost[model], by))
    found.append(_row("json_values, the same, item by item", cost[items], {name: by[name] for name in plain}))
    found.append(_figure("parse, t(40 kB) / t(20 kB), records", _growth(records, deltas, large, rounds)))
    found.append(_figure("parse, t(40 kB) / t(20 kB), one text", _growth(file, text, long, rounds)))
    found.append(_figure("json_values, t(40 kB) / t(20 kB)", _growth(items, deltas, large, rounds)))
    return found


def _growth(way: Way, deltas: Deltas, twice: Deltas, rounds: int) -> float:
    one, two = _measure([way], deltas, rounds)[way], _measure([way], twice, rounds)[way]
    return two * len(twice) / (one * len(deltas))


def _measure(ways: list[Way], deltas: Deltas, rounds: int) -> dict[Way, float]:
    """Microseconds of CPU per delta for each way: the best round, the ways taking turns."""
    wanted = json.loads("".join(deltas))
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(rounds):
        for way in ways:
            sampled = way is by_partial_json_parser or way.__name__ == "again"
            steps = len(range(SAMPLE, len(deltas), SAMPLE)) if sampled else len(deltas)
            started = time.process_time()
            value = way(deltas)
            best[way] = min(best[way], (time.process_time() - started) / max(steps, 1) * 1e6)
            assert sampled or _plain(value) == wanted, f"{way.__name__} gave another value"
    return best


def installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def _plain(value: Any) -> object:
    return value.model_dump() if hasattr(value, "model_dump") else msgspec.to_builtins(value)


def _row(what: str, ours: float, peers: dict[str, float | None]) -> Row:
    times = {name: None if peer is None else round(peer / ours, 1) for name, peer in peers.items()}
    (name, peer), *rest = peers.items()
    return Row(
        what=what,
        ours=round(ours, 3),
        peer=None if peer is None else round(peer, 2),
        peer_name=name if peer is not None else f"{name} (not installed)",
        unit="us CPU",
        ratio=times[name],
        hold=None,
        bound="least",
        others={other: times[other] for other, _ in rest},
    )


def _figure(what: str, ours: float) -> Row:
    return Row(
        what=what,
        ours=round(ours, 3),
        peer=None,
        peer_name="no peer",
        unit="times",
        ratio=None,
        hold=2.3,
        bound="figure",
        others={},
    )


def main() -> None:
    for row in rows(int(sys.argv[1]) if len(sys.argv) > 1 else 5):
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.1f}x {row['peer_name']}"
        hold = "" if row["hold"] is None else f"<= {row['hold']}"
        others = ", ".join(f"{times}x {name}" for name, times in row["others"].items())
        print(f"{row['what']:40} {row['ours']:>8} {row['unit']:7} {ratio:34} {hold:8} {others}")


if __name__ == "__main__":
    main()
