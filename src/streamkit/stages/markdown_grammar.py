"""What one line of Markdown can begin or end: the patterns of CommonMark 0.31.2 chapter 4 and 5, of GFM's tables, of math.

Knows single lines, white space in front of them taken off. Knows nothing of what is open: that is `markdown_outline`.
"""

from __future__ import annotations

import re
from typing import Final, Literal, TypeAlias

__all__ = [
    "DEFINITION",
    "FENCE",
    "HEADING",
    "HTML_TO_BLANK",
    "MARKER",
    "RULE",
    "SETEXT",
    "TITLE",
    "cells",
    "delimiter_cells",
    "ends_html",
    "html_kind",
    "interrupts",
    "math_closer",
]

# 4.1 thematic breaks; 4.2 ATX headings; 4.3 setext underlines; 4.5 fences: backticks in an info string make it inline code.
RULE: Final = re.compile(r"(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$")
HEADING: Final = re.compile(r"#{1,6}(?:[ \t]|$)")
SETEXT: Final = re.compile(r"(?:=+|-+)[ \t]*$")
FENCE: Final = re.compile(r"(`{3,})([^`]*)$|(~{3,})(.*)$")

# 5.2 list items: a bullet, or up to nine digits with a dot or bracket.
MARKER: Final = re.compile(r"(?:[-+*]|(\d{1,9})([.)]))(?=[ \t]|$)")

# 4.7 link reference definitions, those that stand on one line; their title may stand on the next.
_TITLE = r"(?:\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|\((?:[^()\\]|\\.)*\))"
DEFINITION: Final = re.compile(
    rf"\[(?!\^)(?=[^\]]*[^\]\s])(?:[^\[\]\\]|\\.){{1,999}}\]:[ \t]*(?:<[^<>]*>|[^\s<]\S*)(?:[ \t]+({_TITLE}))?[ \t]*$"
)
TITLE: Final = re.compile(rf"{_TITLE}[ \t]*$")

# 4.6 HTML blocks, the seven ways to begin one, and how the first five end; the last two end at a blank line.
_NAMES = (
    "address|article|aside|base|basefont|blockquote|body|caption|center|col|colgroup|dd|details|dialog|dir|div|dl|dt|fieldset|"
    "figcaption|figure|footer|form|frame|frameset|h[1-6]|head|header|hr|html|iframe|legend|li|link|main|menu|menuitem|nav|"
    "noframes|ol|optgroup|option|p|param|search|section|summary|table|tbody|td|tfoot|th|thead|title|tr|track|ul"
)
_VALUE = r"(?:[^\"'=<>`\x00-\x20]+|'[^']*'|\"[^\"]*\")"
_ATTRIBUTE = rf"(?:\s+[a-zA-Z_:][a-zA-Z0-9:._-]*(?:\s*=\s*{_VALUE})?)"
_HTML_BEGINS = (
    re.compile(r"<(?:script|pre|style|textarea)(?:\s|>|$)", re.IGNORECASE),
    re.compile(r"<!--"),
    re.compile(r"<\?"),
    re.compile(r"<![A-Za-z]"),
    re.compile(r"<!\[CDATA\["),
    re.compile(rf"</?(?:{_NAMES})(?:\s|/?>|$)", re.IGNORECASE),
    re.compile(rf"(?:<[A-Za-z][A-Za-z0-9-]*{_ATTRIBUTE}*\s*/?>|</[A-Za-z][A-Za-z0-9-]*\s*>)\s*$"),
)
# The same for the first characters of a line: what can no longer be anything but one of the first six.
_HTML_CERTAIN = re.compile(
    rf"<(?:script|pre|style|textarea)[\s>]|<!--|<\?|<![A-Za-z]|<!\[CDATA\[|</?(?:{_NAMES})(?:\s|/?>)", re.IGNORECASE
)
_HTML_ENDS = (
    re.compile(r"</(?:script|pre|style|textarea)>", re.IGNORECASE),
    re.compile(r"-->"),
    re.compile(r"\?>"),
    re.compile(r">"),
    re.compile(r"\]\]>"),
)
HTML_TO_BLANK: Final = len(_HTML_ENDS)

_CELL_END = re.compile(r"(?<!\\)\|")
_DELIMITERS = re.compile(r"[|:-][|: \t-]*$")
_DELIMITER = re.compile(r":?-+:?$")

_DIGITS = re.compile(r"\d{1,9}")
_HASHES = re.compile(r"#{1,6}")

Verdict: TypeAlias = Literal[True, False] | None


def html_kind(text: str, *, tags: bool) -> int | None:
    """Which of the seven HTML blocks begins with this line; the seventh, any tag alone on its line, only if `tags`."""
    if not text.startswith("<"):
        return None
    for kind, begins in enumerate(_HTML_BEGINS if tags else _HTML_BEGINS[:-1]):
        if begins.match(text):
            return kind
    return None


def ends_html(kind: int, text: str) -> bool:
    """Whether a line ends an HTML block of one of the first five kinds."""
    return kind < HTML_TO_BLANK and _HTML_ENDS[kind].search(text) is not None


def math_closer(text: str) -> str | None:
    r"""What ends the display math that this line begins: "$$" or "\\]"; None if it begins none.

    Text behind a closer on the same line means that the formula stands in a sentence.
    """
    closer = "$$" if text.startswith("$$") else "\\]" if text.startswith("\\[") else None
    if closer is None:
        return None
    end = text.find(closer, 2)
    return None if end >= 0 and text[end + 2 :].strip(" \t") else closer


def cells(text: str) -> int:
    """How many cells a table's header row has, 0 if this line is none (GFM 4.10)."""
    row = text.strip()
    if "|" not in row:
        return 0
    return _counted(_CELL_END.split(row))


def delimiter_cells(text: str) -> int:
    """How many cells a table's delimiter row has, 0 if this line is none (GFM 4.10)."""
    row = text.strip()
    # "- |" is a list item.
    if not _DELIMITERS.match(row) or row[:2] in ("- ", "-\t") or len(row) < 2:
        return 0
    parts = [part.strip() for part in row.split("|")]
    inner = parts[not parts[0] : len(parts) - (not parts[-1])]
    return len(inner) if all(_DELIMITER.match(part) for part in inner) else 0


def _counted(parts: list[str]) -> int:
    first = bool(parts) and not parts[0]
    last = len(parts) > first and not parts[-1]
    return len(parts) - first - last


def interrupts(text: str, *, limits: bool) -> Verdict:
    """Whether a line that begins like this ends the paragraph before it; None if that is not certain yet.

    Args:
        text: The first characters of the line, at least one, and none of its white space.
        limits: An empty list item, or one whose number is not 1, goes on with the paragraph (5.2); and a line of
            hyphens is its underline.
    """
    match text[0]:
        case ">":
            return True
        case "#":
            found = _HASHES.match(text)
            behind = text[found.end() :] if found else text
            return behind[0] in " \t" if behind else None
        case "`":
            return None if text.startswith("```") or not text.strip("`") else False
        case "~":
            return True if text.startswith("~~~") else None if not text.strip("~") else False
        case "-" | "+" | "*" | "_":
            return _interrupts_as_bullet(text, limits)
        case "<":
            if _HTML_CERTAIN.match(text):
                return True
            return None if len(text) == 1 or text[1].isalpha() or text[1] in "/!?" else False
        case "$" | "\\":
            return None if len(text) == 1 or text[:2] in ("$$", "\\[") else False
        case first if "0" <= first <= "9":
            return _interrupts_as_number(text, limits)
        case _:
            return False


def _interrupts_as_bullet(text: str, limits: bool) -> Verdict:
    mark = text[0]
    behind = text[1:]
    if mark != "_" and behind[:1] in (" ", "\t"):
        # With something behind it is an item, or else a thematic break.
        return True if behind.strip(" \t") or not limits else None
    if behind.strip(mark + " \t") or (behind and mark == "+"):
        return False
    return None


def _interrupts_as_number(text: str, limits: bool) -> Verdict:
    found = _DIGITS.match(text)
    behind = text[found.end() :] if found else text
    if behind[:1] in (".", ")"):
        behind = behind[1:]
    elif behind:
        return False
    if not behind:
        return None
    if behind[0] not in " \t" or (limits and found is not None and int(found[0]) != 1):
        return False
    return True if behind.strip(" \t") or not limits else None
