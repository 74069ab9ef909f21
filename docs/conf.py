"""How the documentation is built: `make docs`, where a warning is an error."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from sphinx.application import Sphinx

project = "streamkit"
copyright = "the authors of streamkit, Apache License 2.0"  # the name that Sphinx reads
release = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))["project"]["version"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "streamkit"

myst_enable_extensions = ["colon_fence"]
# `output` and `pycon` blocks are what tests/docs checks; they are shown as they are.
suppress_warnings = ["misc.highlighting_failure"]

# Docstrings are plain text with `code` in single backticks and headings of our own.
default_role = "code"
autodoc_typehints = "none"
autodoc_member_order = "bysource"
# Types are in the source; what an attribute means is on the page.
napoleon_attr_annotations = False
ONE_LINERS = re.compile(r"(?:(Memory|Cancellation|Headers)(?:(?:,| and) (?:Memory|[Cc]ancellation))*)(?=:? )")
# reST ends a name in backticks at a space alone: `Tool`s is a plural all the same.
PLURALS = re.compile(r"(?<=\w`)(?=s\b)")


def one_liners(app: object, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Give headings like `Memory: ...`, which stand in one line with their text, a paragraph each."""
    out: list[str] = []
    inside = False
    for line in lines:
        found = ONE_LINERS.match(line)
        if found:
            out += ["", f"**{found[0]}**{line[found.end() :]}"]
        elif inside and line.startswith(" "):
            out.append(line.strip())
        elif inside and line:
            out += ["", line]
        else:
            out.append(line)
        inside = bool(found) or (inside and line.startswith(" "))
    lines[:] = [PLURALS.sub(r"\\ ", line) for line in out]


def setup(app: Sphinx) -> None:
    """Before napoleon, which reads the other headings."""
    app.connect("autodoc-process-docstring", one_liners, priority=400)


# Names of other packages have no pages here; a name of ours that leads nowhere is an error.
nitpick_ignore_regex = [("py:.*", r"(?!streamkit\b).*")]
