"""The module map of ARCHITECTURE.md: one line per module, from its docstring.

python tests/house/module_map.py      writes it between the marks
"""

from __future__ import annotations

import ast

from source_tree import ROOT, SRC, modules
from test_architecture import ORDER

BEGIN, END = "<!-- map -->\n", "<!-- /map -->\n"
PAGE = ROOT / "ARCHITECTURE.md"


def module_map() -> str:
    """The map as a block of text, in the order in which the rooms stand."""
    lines = []
    for name, module in sorted(modules().items(), key=lambda one: (rank(one[1].part), one[0])):
        doc = ast.get_docstring(module.tree)
        if doc is not None and name != "streamkit.__main__":
            where = str(module.path.relative_to(SRC / "streamkit")).replace("/__init__.py", "/")
            lines.append(f"{where:32} {doc.splitlines()[0]}")
    return "\n".join(["```text", *lines, "```", ""])


def rank(part: str) -> int:
    return ORDER.index(part) if part else -1


def written() -> str:
    """What the page has between the marks."""
    return PAGE.read_text("utf-8").partition(BEGIN)[2].partition(END)[0]


def write() -> None:
    page = PAGE.read_text("utf-8")
    head, _, rest = page.partition(BEGIN)
    PAGE.write_text(head + BEGIN + module_map() + END + rest.partition(END)[2], "utf-8")


if __name__ == "__main__":
    write()
