"""Draws the pictures on the operators' pages by running each operator on virtual time.

    python tests/docs/marble_pages.py        writes them into the pages

A page says `<!-- marbles: merge -->`, and the block of text behind it is the picture of the example of that name. Time goes
from left to right, a second for each mark of the scale; `|` is the end, `#` an error.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import streamkit as sk
from streamkit.testing import Observed, marbles, observe

PAGES = Path(__file__).parents[2] / "docs" / "reference" / "operators"

# A picture ends here if its stream does not.
SECONDS = 24


class Example(NamedTuple):
    """What is drawn: the operator as one writes it, over inputs a, b, c ... as they are drawn."""

    code: str
    inputs: tuple[str, ...]
    values: Mapping[str, object] = {}


_TEXTS = {"H": "Hel", "l": "lo. ", "w": "How ", "y": "are you?"}
_NUMBERS = {digit: int(digit) for digit in "0123456789"}

EXAMPLES: dict[str, Example] = {
    "map": Example("a.map(str.upper)", ("x-y--z|",)),
    "take": Example("a.take(2)", ("x-y--z|",)),
    "merge": Example("sk.merge(a, b)", ("x---y--|", "-u-v--w|")),
    "batch": Example("a.batch(2, within=3)", ("x-y--z-----w|",)),
    "scan": Example("a.scan(lambda total, n: total + n, 0)", ("1-2--3|",), _NUMBERS),
    "sentences": Example("a | sk.sentences()", ("H-l-w--y|",), _TEXTS),
}


async def picture(example: Example) -> str:
    """The inputs and what comes out, one row each."""
    names = "abcdefgh"[: len(example.inputs)]
    rows = [
        (name, await observe(marbles(text, example.values), seconds=SECONDS))
        for name, text in zip(names, example.inputs, strict=True)
    ]
    streams = {name: marbles(text, example.values) for name, text in zip(names, example.inputs, strict=True)}
    result = eval(example.code, {"sk": sk, **streams})  # the code that the picture shows
    rows.append((example.code, await observe(result, seconds=SECONDS)))
    return drawn(rows)


def drawn(rows: list[tuple[str, Observed[Any]]]) -> str:
    """Rows of what happened when, over a scale of seconds."""
    cells = [_cells(seen) for _, seen in rows]
    last = max(max(row, default=0) for row in cells)
    left = max(len(name) for name, _ in rows) + 3
    width = [max(len(str(at)) + 1, *(len(row.get(at, "")) + 1 for row in cells)) for at in range(last + 1)]
    scale = "".join([str(at).ljust(width[at]) for at in range(last + 1)])
    lines = [(" " * left + scale).rstrip()]
    for (name, seen), row in zip(rows, cells, strict=True):
        end = last if seen.end is None else max(row)
        line = "".join([row.get(at, "").ljust(width[at], "-") for at in range(end)]) + row.get(end, "")
        lines.append(name.ljust(left) + line + ("" if seen.end is not None else "-- ..."))
    return "\n".join(lines)


def _cells(seen: Observed[Any]) -> dict[int, str]:
    """What is written at each second; what comes between two is written at the first of them."""
    marks: dict[int, list[str]] = {}
    for at, item in seen.items:
        marks.setdefault(int(at + 1e-9), []).append(_mark(item))
    if seen.end is not None:
        marks.setdefault(int(seen.end + 1e-9), []).append("|" if seen.error is None else "#")
    return {at: one[0] if len(one) == 1 else f"({' '.join(one)})" for at, one in marks.items()}


def _mark(item: object) -> str:
    if isinstance(item, str):
        return item if item.isalnum() else repr(item)
    if isinstance(item, list):
        return f"[{' '.join([_mark(one) for one in item])}]"
    if isinstance(item, tuple):
        return f"({' '.join([_mark(one) for one in item])})"
    if isinstance(item, sk.TextDelta):
        return _mark(item.text)
    return item.type if isinstance(item, sk.Event) else str(item)


def with_pictures(page: str) -> str:
    """The page with the picture of today behind each mark."""

    def one(match: re.Match[str]) -> str:
        text = asyncio.run(picture(EXAMPLES[match[1]]))
        return f"<!-- marbles: {match[1]} -->\n```text\n{text}\n```\n"

    return re.sub(r"<!-- marbles: (\w+) -->\n(?:```text\n.*?\n```\n)?", one, page, flags=re.DOTALL)


def drawn_on(page: str) -> list[str]:
    """The names of the examples on a page."""
    return re.findall(r"<!-- marbles: (\w+) -->", page)


if __name__ == "__main__":
    for path in sorted(PAGES.glob("*.md")):
        before = path.read_text("utf-8")
        after = with_pictures(before)
        if after != before:
            path.write_text(after, "utf-8")
            print(f"{path.name}: {', '.join(drawn_on(after))}")
