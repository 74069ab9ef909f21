"""Draws the pictures on the operators' pages by running each operator on virtual time.

    python tests/docs/marble_pages.py        writes them into the pages

A page says `<!-- marbles: merge -->`, and the block of text behind it is the picture of the example of that name. Time goes
from left to right, with the seconds above; `|` is the end, `#` an error, and what came together is in brackets.
"""

from __future__ import annotations

import asyncio
import re
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from marble_examples import EXAMPLES, NAMES, Example, Reader

import streamkit as sk
from streamkit.testing import VirtualClock, marbles

PAGES = Path(__file__).parents[2] / "docs" / "reference" / "operators"
MARK = re.compile(r"<!-- marbles: (\w+) -->\n(?:```text\n(?:(?!```).*\n)*```\n)?")

# Code that is longer stands above its row, not before it.
LONGEST_LABEL = 30


class Row(NamedTuple):
    """What came when: the marks of each second, from the second where somebody began to read."""

    label: str
    begins: int
    cells: Mapping[int, str]
    error: str


async def picture(example: Example) -> str:
    """The inputs and what comes out, one row each."""
    streams: dict[str, sk.Stream[Any]] = {}
    for name, text in reversed(list(zip("abcdefgh", example.inputs, strict=False))):
        # A letter that names a stream behind this one stands for that stream.
        streams[name] = marbles(text, {**streams, **example.values}, error=example.error)
    called = {id(stream): name for name, stream in streams.items()}
    rows = [(await watched({name: (streams[name], Reader())}, called))[0] for name in sorted(streams)]
    result = eval(example.code, {"sk": sk, **NAMES, **streams})  # the code that the picture shows
    outputs = result if isinstance(result, tuple) else [result] * len(example.readers)
    labels = [example.code] if len(outputs) == 1 else [f"{example.each} {at}" for at in range(1, len(outputs) + 1)]
    readers = {label: (one, reader) for label, one, reader in zip(labels, outputs, example.readers, strict=True)}
    return drawn(rows, await watched(readers, called), example.code)


async def watched(readers: Mapping[str, tuple[sk.Stream[Any], Reader]], called: Mapping[int, str]) -> list[Row]:
    """Streams that are read at the same time, and what came out of each."""
    async with VirtualClock() as clock:
        return await asyncio.gather(*[watch(name, *one, clock, called) for name, one in readers.items()])


async def watch(label: str, stream: sk.Stream[Any], reader: Reader, clock: VirtualClock, called: Mapping[int, str]) -> Row:
    """One reader of a stream; each item is written down as it is when it comes."""
    marks: dict[int, list[str]] = {}
    failed = ""
    await clock.sleep(reader.begins)
    try:
        async with stream.open() as run:
            async for item in run:
                marks.setdefault(int(clock.now() + 1e-9), []).append(called.get(id(item)) or mark(item))
                await clock.sleep(reader.busy)
    except Exception as error:
        failed = type(error).__name__
    marks.setdefault(int(clock.now() + 1e-9), []).append("#" if failed else "|")
    cells = {at: one[0] if len(one) == 1 else f"({' '.join(one)})" for at, one in marks.items()}
    return Row(label, int(reader.begins), cells, failed)


def drawn(inputs: list[Row], outputs: list[Row], code: str) -> str:
    """Rows of what happened when, under a scale of seconds."""
    rows = [*inputs, *outputs]
    above = len(outputs) > 1 or len(code) > LONGEST_LABEL
    outputs = [row._replace(label="") if row.label == code and above else row for row in outputs]
    last = max(max(row.cells) for row in rows)
    left = max(len(row.label) for row in [*inputs, *outputs]) + 3
    width = [max(len(str(at)), *(len(row.cells.get(at, "")) for row in rows)) + 2 for at in range(last + 1)]
    scale = " " * left + "".join([str(at).ljust(width[at]) for at in range(last + 1)])
    lines = [scale.rstrip(), *(line(row, width, left) for row in inputs)]
    return "\n".join([*lines, *([code] if above else []), *(line(row, width, left) for row in outputs)])


def line(row: Row, width: list[int], left: int) -> str:
    """One row: dashes from where it begins to where it ends."""
    end = max(row.cells)
    before = " " * (left + sum(width[: row.begins]))
    during = "".join([row.cells.get(at, "").ljust(width[at], "-") for at in range(row.begins, end)])
    return row.label.ljust(left) + before[left:] + during + row.cells[end] + (f" {row.error}" if row.error else "")


def mark(item: object) -> str:
    """An item, as short as it can be said; texts of more than a letter in quotes, so that their spaces show."""
    match item:
        case sk.Timestamped(at=at, item=one):
            return f"{mark(one)} at {at:g}"
        case str():
            return item if len(item) == 1 and item.isalnum() else quoted(item)
        case list():
            return f"[{', '.join([mark(one) for one in item])}]"
        case tuple():
            return f"({', '.join([mark(one) for one in item])})"
        case sk.TextDelta(text=text):
            return quoted(text)
        case sk.ReasoningDelta(text=text):
            return f"reasoning {text!r}"
        case sk.Custom(data={"tag": tag, "part": part, **more}):
            return f"{tag} {part}" + "".join([f" {value!r}" for value in more.values()])
        case sk.Healed(delta=delta, closing=closing):
            return f"{delta!r} + {closing!r}" if closing else repr(delta)
        case sk.CodeBlock(language=language, delta=delta, text=text):
            return f"{language} {delta!r}" if text is None else f"{language} all: {text!r}"
        case sk.Parsed(value=value, complete=complete) | sk.PartialValue(value=value, complete=complete):
            return f"{value}{' complete' if complete else ''}"
        case sk.Gap(count=count):
            return f"gap {count}"
        case sk.ToolCall(id=id) | sk.ToolResult(id=id):
            return f"{item.type} {id}"
        case sk.ToolCallDelta(delta=delta):
            return repr(delta)
        case _:
            return item.type if isinstance(item, sk.Event) else str(item)


def quoted(text: str) -> str:
    """A text so that its spaces show, and an accent without its letter too."""
    if text and unicodedata.combining(text[0]):
        return f"'\\u{ord(text[0]):04x}{text[1:]}'"
    return repr(text)


def with_pictures(page: str) -> str:
    """The page with the picture of today behind each mark."""

    def one(match: re.Match[str]) -> str:
        text = asyncio.run(picture(EXAMPLES[match[1]]))
        return f"<!-- marbles: {match[1]} -->\n```text\n{text}\n```\n"

    return MARK.sub(one, page)


def drawn_on(page: str) -> Iterator[str]:
    """The names of the examples on a page."""
    return (match[1] for match in MARK.finditer(page))


if __name__ == "__main__":
    for path in sorted(PAGES.glob("*.md")):
        before = path.read_text("utf-8")
        after = with_pictures(before)
        if after != before:
            path.write_text(after, "utf-8")
            print(f"{path.name}: {', '.join(drawn_on(after))}")
