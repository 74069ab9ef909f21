"""The packaged pages: complete, well formed, and true to the names that streamkit offers."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import streamkit as sk
from streamkit.clients import local
from streamkit.clients.local.corpus import PAGES, Page, Unit, pages, parse
from streamkit.dialects import registry

FOLDER = Path(local.__file__).parent / "pages"


def test_every_page_file_is_listed_and_every_listed_page_is_there() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.md")) == sorted(PAGES)
    assert list(PAGES) == [page.name for page in pages()]


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_a_page_has_a_title_a_summary_and_sections_that_say_something(page: Page) -> None:
    assert page.title
    assert re.search(r"\.$", page.summary)
    assert len(page.sections) >= 2
    headings = [section.heading for section in page.sections]
    assert len(headings) == len(set(headings))
    assert all(section.units for section in page.sections)


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_each_line_of_prose_is_one_whole_sentence(page: Page) -> None:
    sentences = [unit.text for section in page.sections for unit in section.units if unit.kind == "sentence"]
    assert [] == [text for text in sentences if not re.match(r"(?:[A-Z`]|streamkit ).*\.$", text)]


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_nothing_of_a_page_is_lost_in_its_units(page: Page) -> None:
    text = (FOLDER / f"{page.name}.md").read_text("utf-8")
    kept = [page.title, page.summary]
    for section in page.sections:
        kept.append(section.heading)
        for unit in section.units:
            kept += [unit.intro, unit.text, *unit.items]
    plain = re.sub(r"^(?:#+|-) ", "", text, flags=re.MULTILINE)
    assert sorted(plain.split()) == sorted(" ".join(kept).split())


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_code_in_a_page_compiles_and_uses_only_what_is_offered(page: Page) -> None:
    code = [unit.text for section in page.sections for unit in section.units if unit.kind == "code"]
    for block in code:
        assert re.fullmatch(r"```(python|console)\n.*\n```", block, re.DOTALL)
        if block.startswith("```python"):
            source = block.removeprefix("```python\n").removesuffix("\n```")
            compile(source, page.name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    everything = (FOLDER / f"{page.name}.md").read_text("utf-8")
    assert set(re.findall(r"\bsk\.(\w+)", everything)) <= set(sk.__all__)


READ = {name for name in registry.names() if registry.get(name).decoder is not None}
WRITTEN = {name for name in registry.names() if registry.get(name).encoder is not None}


@pytest.mark.parametrize(("heading", "names"), [("Dialects that can be read", READ), ("Dialects that can be written", WRITTEN)])
def test_the_dialects_that_are_named_are_those_that_there_are(heading: str, names: set[str]) -> None:
    section = (FOLDER / "dialects.md").read_text("utf-8").partition(f"## {heading}\n")[2].partition("\n## ")[0]
    listed = [line for line in section.splitlines() if line.startswith("- ")]
    # In small letters: `EventSource` is none.
    assert names == set(re.findall(r"`([a-z-]+)`", "\n".join(listed)))


def test_the_line_that_leads_to_a_list_or_code_goes_with_it() -> None:
    page = parse(
        "tea",
        "# Tea\n\nHot water.\n\n## Kinds\n\nTea is old.\nThere are:\n\n- black\n- green\n\n```python\na = 1\n\nb = 2\n```\n\nEnd.",
    )
    assert (
        Unit("sentence", "Tea is old."),
        Unit("list", "", ("black", "green"), "There are:"),
        Unit("code", "```python\na = 1\n\nb = 2\n```"),
        Unit("sentence", "End."),
    ) == page.sections[0].units
