"""The operators' pages: pictures are those of today, and every operator is shown at work, once."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from pathlib import Path

import pytest
from marble_examples import EXAMPLES, Example, Reader
from marble_pages import PAGES, drawn_on, picture, with_pictures

import streamkit as sk

FAMILIES = sorted(path for path in PAGES.glob("*.md") if path.stem != "index")
OPERATORS = {
    name
    for name in sk.__all__
    if getattr(sk, name).__module__.startswith("streamkit.operators.") and not isinstance(getattr(sk, name), type)
}
SECTION = re.compile(r"^## (\w+)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)


def sections() -> list[tuple[str, str]]:
    return [(match[1], match[2]) for page in FAMILIES for match in SECTION.finditer(page.read_text("utf-8"))]


@pytest.mark.parametrize("page", FAMILIES, ids=lambda path: path.stem)
def test_drawing_the_pictures_of_a_page_anew_changes_nothing(page: Path) -> None:
    text = page.read_text("utf-8")
    assert text == with_pictures(text), "python tests/docs/marble_pages.py draws them anew"


def test_every_operator_has_a_section_on_one_page_and_is_documented_in_it() -> None:
    assert dict.fromkeys(OPERATORS, 1) == Counter(name for name, _ in sections())
    assert [] == [name for name, text in sections() if f".. autofunction:: streamkit.{name}\n" not in text]


def test_every_operator_is_shown_at_work() -> None:
    assert len(OPERATORS) > 70
    assert [] == [name for name, text in sections() if "<!-- marbles: " not in text and "```python\n" not in text]


def test_every_example_is_drawn_once() -> None:
    assert dict.fromkeys(EXAMPLES, 1) == Counter(name for page in FAMILIES for name in drawn_on(page.read_text("utf-8")))


def test_the_index_names_every_operator_beside_its_page() -> None:
    rows = re.findall(r"^\| \[[^\]]+\]\(([\w-]+)\.md\) \| (.*) \|$", (PAGES / "index.md").read_text("utf-8"), re.MULTILINE)
    listed = {page: re.findall(r"`(\w+)`", names) for page, names in rows}
    assert {page.stem: [match[1] for match in SECTION.finditer(page.read_text("utf-8"))] for page in FAMILIES} == listed


def test_an_error_is_named_and_long_code_stands_above_its_row() -> None:
    assert [
        "    0  1  2",
        "a   x--y--# ConnectionError",
        "a.map(str.lower).map(str.upper).map(str.lower)",
        "    x--y--# ConnectionError",
    ] == drawing(Example("a.map(str.lower).map(str.upper).map(str.lower)", ("xy#",), error=ConnectionError()))


def test_items_of_one_second_stand_in_brackets() -> None:
    assert [
        "            0      1",
        "a           (x y)--|",
        "a.skip(1)   y------|",
    ] == drawing(Example("a.skip(1)", ("(xy)|",)))


def test_a_reader_that_comes_later_has_a_row_that_begins_there() -> None:
    assert [
        "           0  1  2",
        "a          x--y--|",
        "sk.share(a)",
        "reader 1   x--y--|",
        "reader 2      y--|",
    ] == drawing(Example("sk.share(a)", ("xy|",), readers=(Reader(), Reader(begins=1)), each="reader"))


def drawing(example: Example) -> list[str]:
    return asyncio.run(picture(example)).splitlines()
