"""The packaged pages, cut into sections and units that an answer can be made of.

A page is a file in `pages/`: a title, one line that sums it up, and sections under `##`. Inside a
section each line of prose is one sentence, so that nothing has to guess where a sentence ends. A
line that ends in a colon belongs to the list or the code behind it and goes wherever that goes.
"""

from __future__ import annotations

import pkgutil
import re
from functools import cache
from typing import Literal, NamedTuple

__all__ = ["PAGES", "Page", "Section", "Unit", "pages", "parse"]

# The order in which topics are listed. Named, because a loader from a zip cannot list a directory.
PAGES = (
    "overview",
    "install",
    "streams",
    "sources",
    "operators",
    "stages",
    "buffers",
    "timeouts",
    "closing",
    "errors",
    "events",
    "sse",
    "http",
    "websockets",
    "grpc",
    "connections",
    "hub",
    "dialects",
    "testing",
    "local",
)

_BLOCKS = re.compile(r"\n\n+(?=\S)")


class Unit(NamedTuple):
    """The smallest part of an answer: a sentence, or a whole list or code block with the line that leads to it."""

    kind: Literal["sentence", "list", "code"]
    text: str  # the sentence; the fenced block; "" for a list
    items: tuple[str, ...] = ()
    intro: str = ""

    @property
    def words(self) -> str:
        """All its text, to be searched."""
        return " ".join((self.intro, self.text, *self.items))


class Section(NamedTuple):
    """What a page says under one heading."""

    page: str
    title: str
    heading: str
    units: tuple[Unit, ...]


class Page(NamedTuple):
    """One page: `name` is its file name without the ending."""

    name: str
    title: str
    summary: str
    sections: tuple[Section, ...]


@cache
def pages() -> tuple[Page, ...]:
    """All packaged pages, read once.

    Memory: the text of the pages, some 28 kB, for the life of the process.

    >>> pages()[0].title
    'What streamkit is'
    """
    return tuple(parse(name, _read(name)) for name in PAGES)


def _read(name: str) -> str:
    data = pkgutil.get_data(__package__ or "streamkit.clients.local", f"pages/{name}.md")
    assert data is not None, "a loader that reads our modules reads our pages"
    return data.decode("utf-8").replace("\r\n", "\n")


def parse(name: str, text: str) -> Page:
    """A page from its Markdown.

    >>> page = parse("tea", "# Tea\\n\\nHot water.\\n\\n## Kinds\\n\\nTwo kinds:\\n\\n- black\\n- green")
    >>> page.title, page.summary, page.sections[0].units[0].items
    ('Tea', 'Hot water.', ('black', 'green'))
    """
    head, *bodies = re.split(r"^## ", text, flags=re.MULTILINE)
    title, _, summary = head.strip().partition("\n")
    title = title.removeprefix("# ")
    sections: list[Section] = []
    for body in bodies:
        heading, _, rest = body.partition("\n")
        sections.append(Section(name, title, heading.strip(), tuple(_units(rest.strip()))))
    return Page(name, title, summary.strip(), tuple(sections))


def _units(body: str) -> list[Unit]:
    units: list[Unit] = []
    intro = ""
    for block in _blocks(body):
        if block.startswith("```"):
            units.append(Unit("code", block, intro=intro))
            intro = ""
        elif block.startswith("- "):
            items = tuple(line.removeprefix("- ") for line in block.split("\n"))
            units.append(Unit("list", "", items, intro))
            intro = ""
        else:
            lines = block.split("\n")
            intro = lines.pop() if lines[-1].endswith(":") else ""
            units += [Unit("sentence", line) for line in lines]
    return units


def _blocks(body: str) -> list[str]:
    """Parts between blank lines; a blank line inside a fence parts nothing."""
    blocks: list[str] = []
    for part in _BLOCKS.split(body):
        if blocks and blocks[-1].startswith("```") and not blocks[-1].endswith("\n```"):
            blocks[-1] += "\n\n" + part
        elif part:
            blocks.append(part)
    return blocks
