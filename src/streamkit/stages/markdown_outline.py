"""The block structure of a Markdown text, one line after the other: what is open, and what a line does to it.

The first phase of the strategy in CommonMark 0.31.2's appendix, for lines only; no tree is built. What is open is a row
of containers (5.1 block quotes, 5.2 list items), outermost first, and in the innermost at most one leaf:

    NONE         nothing: the next line that is not blank begins a block
    PARAGRAPH    (4.8) may still turn out to be a setext heading (4.3) or to end in a table's header row (GFM 4.10)
    DEFINITION   (4.7) link reference definitions, one to a line, a title perhaps on the next
    TABLE        (GFM 4.10) behind its delimiter row
    FENCE        (4.5)    INDENTED  (4.4)    HTML  (4.6)
    MATH         display math, "$$" or "\\[" at the beginning of a line. No part of CommonMark; with its opener alone on
                 the line it goes to its closer, with a formula behind the opener to its closer or a blank line

Headings and thematic breaks are open on their own line only. A line first continues containers, then may open new ones, then
does something to the leaf; a line of text that continues too few containers goes on with their paragraph (5.1, laziness).

Three things differ from the text of the specification. Containers inside one another are so to a depth of 100; markers beyond
it are text (what is open is looked at for each line). A definition whose label or destination stands on several lines is
taken for a paragraph. And a definition is known as one at once, so a line behind it begins a block of its own.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple, TypeAlias, cast, final

from streamkit.stages.markdown_grammar import (
    DEFINITION,
    FENCE,
    HEADING,
    HTML_TO_BLANK,
    MARKER,
    RULE,
    SETEXT,
    TITLE,
    Verdict,
    cells,
    delimiter_cells,
    ends_html,
    html_kind,
    interrupts,
    math_closer,
)

__all__ = ["Begins", "Leaf", "Line", "Outline"]


class Leaf(Enum):
    """What is open in the innermost container."""

    NONE = ""
    PARAGRAPH = "paragraph"
    DEFINITION = "definition"
    TABLE = "table"
    FENCE = "fence"
    INDENTED = "indented"
    HTML = "html"
    MATH = "math"


class Begins(Enum):
    """Where, seen from a line, a new top-level block begins."""

    NOWHERE = 0
    HERE = 1
    ABOVE = 2  # at the line before: it was a table's header row


class Line(NamedTuple):
    """What a line did.

    Attributes:
        begins: Where a top-level block begins.
        item: Whether a top-level list item begins here.
        opens: Whether it opened something of its own, and did not go on with the leaf that was open.
        closes: Whether it is the last line of its leaf: a closing fence, a heading, a rule.
        at: Where its text begins, behind what belongs to containers.
        pad: Spaces that a tab, of which a container took a part, leaves before it.
    """

    begins: Begins = Begins.NOWHERE
    item: bool = False
    opens: bool = False
    closes: bool = False
    at: int = 0
    pad: int = 0


# A block quote is (_QUOTE, ">"), a list item (columns of its text, kind of its marker).
Container: TypeAlias = tuple[int, str]
_Saved: TypeAlias = tuple[bool, int, bool, tuple[Container, ...], int, str, str]
_QUOTE: Final = -1
_DEEPEST: Final = 100
_NEVER: Final = 1 << 30  # the columns of an item that nothing can continue: an empty one, behind a blank line


@final
class Outline:
    """What is open behind the lines so far.

    Attributes:
        containers: Quotes and list items, outermost first.
        leaf: The leaf in the innermost of them.
        mark: Of a fence its characters, of math its closer, of HTML the number of its kind.
        indent: Columns of white space before a fence: so many are taken off its lines.

    Memory: a few numbers, and two per container.

    >>> outline = Outline()
    >>> [outline.line(line).begins.name for line in ["- a", "  - b", "c", "", "d"]]
    ['HERE', 'NOWHERE', 'NOWHERE', 'NOWHERE', 'HERE']
    """

    __slots__ = ("_bare", "_cells", "_single", "containers", "indent", "leaf", "mark")

    def __init__(self) -> None:
        self.containers: tuple[Container, ...] = ()
        self.leaf: Leaf = Leaf.NONE
        self.mark = ""
        self.indent = 0
        self._cells = 0  # of a paragraph's last line, were it a header row
        self._single = False  # the paragraph has one line
        self._bare = False  # the innermost item has no text yet

    def snapshot(self) -> tuple[object, ...]:
        """All of it, as plain values."""
        return (self._bare, self._cells, self._single, self.containers, self.indent, self.leaf.value, self.mark)

    def restore(self, saved: object) -> None:
        """Go on where another one was saved."""
        self._bare, self._cells, self._single, self.containers, self.indent, leaf, self.mark = cast("_Saved", saved)
        self.leaf = Leaf(leaf)

    def copy(self) -> Outline:
        """Another one, to try a line on."""
        other = Outline()
        other.restore(self.snapshot())
        return other

    def line(self, line: str) -> Line:
        """Take the next line, without its end."""
        head = _Head(line)
        matched = self._continue(head)
        full = matched == len(self.containers)
        columns, at = head.indent()
        if at == len(line):
            return self._blank(matched, full, head)
        if full and self.leaf in _VERBATIM:
            closes = self._verbatim(head, columns, at)
            return Line(closes=closes, at=head.text_at, pad=head.pad)
        if full and self.leaf is Leaf.DEFINITION and self._defines(line[at:], columns):
            return Line(at=at)
        return self._text(head, matched, full)

    def peek(self, begun: str, *, items: bool = False) -> Verdict:
        """Whether a line that begins like this begins a top-level block, or with `items` a top-level item; None if that
        is not certain yet.

        Says nothing of a block that begins with the line before.
        """
        columns, at = _Head(begun).indent()
        text = begun[at:]
        if not self.containers:
            return self._peek_leaf(columns, text)
        width, mark = self.containers[0]
        if width == _QUOTE:
            if columns < 4 and text[0] == ">":
                return False
        elif columns >= width:
            return False
        elif columns < 4:
            same = _same_list(text, mark)
            if same:
                return items
            if same is None:
                # With white space behind the mark it is an item or a thematic break.
                return True if items and not text[-1:].isalnum() and text[1:2] in (" ", "\t") else None
        if self.leaf is not Leaf.PARAGRAPH:
            return True
        return interrupts(text, limits=False) if columns < 4 else False

    def code_at(self, begun: str, *, certain: bool = False) -> tuple[int, int] | None:
        """Where the code begins in a line of the open fence that begins like this, and the spaces a tab leaves before it.

        None as long as the line may close the fence, or end a container; with `certain` that is not asked.
        """
        head = _Head(begun)
        inside = self._continue(head) == len(self.containers)
        columns, at = head.indent()
        if not certain:
            if not inside or (at == len(begun) and (self.containers or columns < 4)):
                return None
            if columns < 4:
                behind = begun[at:].lstrip(self.mark[0])
                run = len(begun) - at - len(behind)
                if not behind or (run >= len(self.mark) and not behind.strip(" \t")):
                    return None
        head.skip(self.indent)
        return head.text_at, head.pad

    def leaves(self, begun: str) -> bool:
        """Whether a line that begins like this ends the open fence by ending a container of it."""
        head = _Head(begun)
        return self._continue(head) < len(self.containers) and head.indent()[1] < len(begun)

    def _peek_leaf(self, columns: int, text: str) -> Verdict:
        match self.leaf:
            case Leaf.PARAGRAPH:
                return interrupts(text, limits=True) if columns < 4 else False
            case Leaf.TABLE:
                return interrupts(text, limits=False) if columns < 4 else True
            case Leaf.INDENTED:
                return columns < 4
            case Leaf.DEFINITION:
                return None if text[0] in "[\"'(" else True
            case Leaf.NONE:
                return True
            case _:
                return False

    # The containers that go on.

    def _continue(self, head: _Head) -> int:
        """How many containers the line continues, their part of it read."""
        for number, (width, _) in enumerate(self.containers):
            columns, at = head.indent()
            if width == _QUOTE:
                if columns > 3 or not head.line.startswith(">", at):
                    return number
                head.quote(at, columns)
            elif at < len(head.line):
                if columns < width:
                    return number
                head.skip(width)
        return len(self.containers)

    def _blank(self, matched: int, full: bool, head: _Head) -> Line:
        if not full:
            self.containers = self.containers[:matched]
            self.leaf = Leaf.NONE
        elif self._bare and self.containers and self.containers[-1][0] != _QUOTE:
            self.containers = (*self.containers[:-1], (_NEVER, self.containers[-1][1]))
        self._bare = False
        if self.leaf is Leaf.FENCE:
            head.skip(self.indent)
            return Line(at=head.text_at, pad=head.pad)
        goes_on = self.leaf is Leaf.INDENTED or (self.leaf in _VERBATIM and not self._ends_at_blank())
        if not goes_on:
            self.leaf = Leaf.NONE
        return Line(at=head.at)

    def _ends_at_blank(self) -> bool:
        return self.mark == str(HTML_TO_BLANK) if self.leaf is Leaf.HTML else self.indent == 0

    # A leaf that takes lines as they are.

    def _verbatim(self, head: _Head, columns: int, at: int) -> bool:
        """A line in a fence, HTML or math; whether it is the last one."""
        text = head.line[at:]
        match self.leaf:
            case Leaf.FENCE:
                # 4.5: the same character, at least as often, and nothing behind.
                closes = columns < 4 and text.startswith(self.mark) and not text.strip(" \t").strip(self.mark[0])
                head.skip(self.indent)
            case Leaf.HTML:
                closes = ends_html(int(self.mark), text)
            case _:
                closes = self.mark in text
        if closes:
            self.leaf = Leaf.NONE
        return closes

    def _defines(self, text: str, columns: int) -> bool:
        found = DEFINITION.match(text) if columns < 4 else None
        if found is not None:
            self.mark = "titled" if found[1] else ""
            return True
        if not self.mark and TITLE.match(text):
            self.mark = "titled"
            return True
        return False

    # What a line may begin.

    def _text(self, head: _Head, matched: int, full: bool) -> Line:
        before = self.containers
        outer = list(before[:matched])
        leaf = self.leaf if full else Leaf.NONE
        lazy = self.leaf is Leaf.PARAGRAPH
        opened = False
        while True:
            columns, at = head.indent()
            text = head.line[at:]
            # What an open paragraph allows; behind a new container there is none.
            limits = leaf is Leaf.PARAGRAPH and not opened
            if not text:
                return self._opened(before, outer, matched, Leaf.NONE, head, bare=outer[-1][0] != _QUOTE)
            if columns > 3:
                if (limits or lazy) and not opened:
                    break
                goes_on = leaf is Leaf.INDENTED and not opened
                return self._opened(before, outer, matched, Leaf.INDENTED, head, goes_on=goes_on)
            if limits and self._cells and delimiter_cells(text) == self._cells:
                self.leaf = Leaf.TABLE
                above = not before and not self._single
                return Line(Begins.ABOVE if above else Begins.NOWHERE, at=at)
            if text[0] == ">" and len(outer) < _DEEPEST:
                head.quote(at, columns)
                outer.append((_QUOTE, ">"))
                opened = True
                continue
            if limits and SETEXT.match(text):
                self.leaf = Leaf.NONE
                return Line(closes=True, at=at)
            if HEADING.match(text) or RULE.match(text):
                return self._opened(before, outer, matched, Leaf.NONE, head, closes=True)
            if self._opens_verbatim(text, columns, tags=opened or not (lazy or leaf is Leaf.TABLE)):
                return self._opened(before, outer, matched, self.leaf, head, closes=self.leaf is Leaf.NONE)
            item = _item(head, text, at, columns, limits) if len(outer) < _DEEPEST else None
            if item is None:
                break
            outer.append(item)
            opened = True
        head.to(at, columns)
        if not opened:
            if limits or (lazy and not full):
                self._single = False
                self._cells = cells(text) if full else 0
                return Line(at=at)
            if leaf is Leaf.TABLE:
                return Line(at=at)
        found = DEFINITION.match(text)
        line = self._opened(before, outer, matched, Leaf.DEFINITION if found else Leaf.PARAGRAPH, head)
        if found:
            self.mark = "titled" if found[1] else ""
        return line

    def _opens_verbatim(self, text: str, columns: int, *, tags: bool) -> bool:
        """Whether the line begins a fence, HTML or math; then that is the leaf, or NONE if it ends it too."""
        fence = FENCE.match(text)
        if fence is not None:
            self.leaf, self.mark, self.indent = Leaf.FENCE, fence[1] or fence[3], columns
            return True
        kind = html_kind(text, tags=tags)
        if kind is not None:
            self.leaf = Leaf.NONE if ends_html(kind, text) else Leaf.HTML
            self.mark = str(min(kind, HTML_TO_BLANK))
            return True
        closer = math_closer(text)
        if closer is not None:
            self.leaf = Leaf.NONE if closer in text[2:] else Leaf.MATH
            self.mark = closer
            self.indent = int(not text[2:].strip(" \t"))  # alone on its line: blank lines do not end it
            return True
        return False

    def _opened(
        self,
        before: tuple[Container, ...],
        outer: list[Container],
        matched: int,
        leaf: Leaf,
        head: _Head,
        *,
        closes: bool = False,
        bare: bool = False,
        goes_on: bool = False,
    ) -> Line:
        """A leaf or container begins: close what the line did not continue, and say where that is."""
        self.containers = tuple(outer)
        self.leaf = leaf
        self._bare = bare
        self._single = True
        at = head.indent()[1]
        self._cells = cells(head.line[at:]) if leaf is Leaf.PARAGRAPH else 0
        item = matched == 0 and bool(outer) and outer[0][0] != _QUOTE
        same_list = item and bool(before) and before[0][0] != _QUOTE and before[0][1] == outer[0][1]
        begins = matched == 0 and not same_list and not goes_on
        return Line(Begins.HERE if begins else Begins.NOWHERE, item, not goes_on, closes, head.text_at, head.pad)


_VERBATIM = frozenset({Leaf.FENCE, Leaf.HTML, Leaf.MATH})


@final
class _Head:
    """The beginning of a line, read by columns: a tab goes to the next multiple of four (2.2)."""

    __slots__ = ("at", "column", "line", "pad")

    def __init__(self, line: str) -> None:
        self.line = line
        self.at = 0
        self.column = 0
        self.pad = 0

    @property
    def text_at(self) -> int:
        """Where the text behind begins; of a tab that was read in part `pad` spaces are left before it."""
        return self.at + (self.pad > 0)

    def indent(self) -> tuple[int, int]:
        """Columns of white space ahead, and the place behind them."""
        line, at, column = self.line, self.at, self.column
        while at < len(line) and line[at] in " \t":
            column += 1 if line[at] == " " else 4 - column % 4
            at += 1
        return column - self.column, at

    def skip(self, columns: int) -> None:
        """Read up to so many columns of white space; of a tab a part, if need be."""
        line = self.line
        while columns > 0 and self.at < len(line) and line[self.at] in " \t":
            width = 1 if line[self.at] == " " else 4 - self.column % 4
            taken = min(width, columns)
            self.column += taken
            columns -= taken
            self.pad = width - taken
            if self.pad:
                return
            self.at += 1

    def to(self, at: int, columns: int) -> None:
        """Go behind white space that `indent` has measured."""
        self.at, self.column, self.pad = at, self.column + columns, 0

    def quote(self, at: int, columns: int) -> None:
        """Read a block quote's mark, which stands at `at`, and the one space that belongs to it."""
        self.to(at + 1, columns + 1)
        self.skip(1)


def _item(head: _Head, text: str, at: int, columns: int, limits: bool) -> Container | None:
    """The list item that begins here, its marker read; None if none does."""
    found = MARKER.match(text)
    if found is None:
        return None
    rest = text[found.end() :].strip(" \t")
    if limits and (not rest or (found[1] is not None and int(found[1]) != 1)):
        return None
    head.to(at + found.end(), columns + found.end())
    spaces = head.indent()[0]
    if not rest or spaces > 4:  # 5.2: an empty item, or one that begins with indented code
        spaces = 1
    head.skip(spaces)
    return columns + found.end() + spaces, found[2] or text[0]


def _same_list(text: str, mark: str) -> Verdict:
    """Whether a line that begins like this is the next item of a list with such markers."""
    if mark in ".)":
        digits = text[:10].rstrip(text[:10].lstrip("0123456789")) if text[0].isdigit() else ""
        behind = text[len(digits) :]
        if not digits or len(digits) > 9 or (behind and behind[0] != mark):
            return False
        return None if len(behind) < 2 else behind[1] in " \t"
    if text[0] != mark:
        return False
    if len(text) == 1:
        return None
    if text[1] not in " \t":
        return False
    return None if mark in "-*" and not text.strip(mark + " \t") else True
