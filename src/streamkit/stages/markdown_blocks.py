"""A Markdown text cut into its top-level blocks while it is written.

Blocks join back to the text: each begins with a line, and blank lines belong to the block before them (those at the very
beginning to the first). A block is one of CommonMark 0.31.2 (chapters 4 and 5): a heading, a paragraph, a whole list with
all it holds, a block quote, indented or fenced code, HTML, a thematic break, link reference definitions on lines that
follow each other; a table of GFM; or display math. What opens and ends them: `markdown_outline`.

Since blank lines stay with it, a block is given when the next one begins, mostly at that one's first character:

* A line behind a blank line, a heading or a closing fence needs no more than one that is not white space.
* A line right under a paragraph may go on with it. It is looked at until that is decided: `>` at once, `# ` at the space,
  a fence of backticks at its end, since a backtick there would make it inline code.
* A table's header row is one only once its delimiter row is there; the paragraph above it ends then.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import ClassVar, Final, final

from streamkit.errors import ConfigError, RemoteProtocolError
from streamkit.stages.markdown_outline import Begins, Leaf, Outline
from streamkit.stages.stage import Stage, not_text

__all__ = ["MarkdownBlocks"]

_LINE_END = re.compile(r"\r\n?|\n")
_BLANK: Final = -1
# What follows so many characters of a line decides nothing before its end: a run of marks that may be a rule.
_LOOKED_AT: Final = 24


@final
class MarkdownBlocks(Stage[str, str]):
    r"""Chunks of Markdown to top-level blocks that join back to the text.

    Args:
        items: Cut lists between their top-level items, too.
        max_chars: The longest block, its blank lines counted.

    A block above the bound is a RemoteProtocolError, behind all blocks before it. The stage stays failed: each further
    call raises the error again, `abort` gives nothing.

    Memory: at most two times `max_chars`, the chunk aside. Time is linear in the text.

    >>> blocks = MarkdownBlocks()
    >>> [*blocks.feed("# A\n\n```\nx\n\n")], [*blocks.feed("```\n\nb")], [*blocks.flush()]
    (['# A\n\n'], ['```\nx\n\n```\n\n'], ['b'])
    """

    state: ClassVar = ("_parts", "_length", "_inked", "_above", "_line", "_line_length", "_indent", "_decided", "_after_cr")

    def __init__(self, items: bool = False, max_chars: int = 1_048_576) -> None:
        """Raises ConfigError if `max_chars` is not an int of at least 1."""
        if max_chars.__class__ is not int or max_chars < 1:
            raise ConfigError(f"max_chars must be an int of at least 1, got {max_chars!r}")
        self._items = bool(items)
        self._max = max_chars
        self._outline = Outline()
        self._parts: list[str] = []  # whole lines of the open block
        self._length = 0
        self._inked = False  # the block has a line that is not blank
        self._above: tuple[int, int] | None = None  # the parts and characters of the block without its last line
        self._line: list[str] = []  # the line that is open
        self._line_length = 0
        self._indent = _BLANK  # where its first character stands that is not white space
        self._decided = False  # it is known whether it begins a block; if it does, what came before it is given
        self._after_cr = False  # a CR came last: an LF may belong to it
        self._error: RemoteProtocolError | None = None

    def feed(self, item: str) -> Iterable[str]:
        """The blocks whose end is certain now.

        Raises:
            RemoteProtocolError: a block passed `max_chars`; the blocks before it are given first.
            TypeError: the item is not a str.
        """
        if not isinstance(item, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without types
            raise not_text("markdown_blocks", item)
        if self._error is not None:
            raise self._error
        if not item:
            return ()
        blocks: list[str] = []
        self._cut(item, blocks)
        if self._error is None:
            return blocks
        if not blocks:
            raise self._error
        return _failing(blocks, self._error)

    def flush(self) -> Iterable[str]:
        """The last block; as two if the last line, which had no end, begins one."""
        if self._error is not None:
            raise self._error
        return self.abort()

    def abort(self) -> Iterable[str]:
        """As `flush`; nothing after an error of its own."""
        blocks: list[str] = []
        if self._error is None:
            if self._line or self._after_cr:
                self._end_line("\r" if self._after_cr else "", blocks)
            self._after_cr = False
            self._inked = True
            self._give(blocks)
            self._outline = Outline()
        return blocks

    def snapshot(self) -> dict[str, object]:
        """All that it has learned so far, as plain values of its own."""
        return super().snapshot() | {"outline": self._outline.snapshot()}

    def restore(self, saved: dict[str, object]) -> None:
        """Go on where another stage, made in the same way, was saved."""
        super().restore({name: value for name, value in saved.items() if name != "outline"})
        self._outline.restore(saved["outline"])

    def _cut(self, item: str, blocks: list[str]) -> None:
        begin = 0
        if self._after_cr:
            self._after_cr = False
            begin = int(item[0] == "\n")
            self._end_line("\r\n" if begin else "\r", blocks)
        if "\n" in item or "\r" in item:
            for end in _LINE_END.finditer(item, begin):
                self._add(item[begin : end.start()], blocks)
                if self._error is not None:
                    return
                begin = end.end()
                if begin == len(item) and end[0] == "\r":
                    self._after_cr = True
                    return
                self._end_line(end[0], blocks)
                if self._error is not None:
                    return
        if begin < len(item):
            self._add(item[begin:] if begin else item, blocks)

    def _add(self, text: str, blocks: list[str]) -> None:
        """More of the open line."""
        if not text:
            return
        self._line.append(text)
        self._line_length += len(text)
        if not self._decided:
            self._look(text, blocks)
        if self._line_length > self._max or (self._decided and self._length + self._line_length > self._max):
            self._fail(blocks)
        elif len(self._line) > 64 and len(self._line) * 16 > self._line_length:
            self._line = ["".join(self._line)]

    def _look(self, text: str, blocks: list[str]) -> None:
        """Decide, if it can be, whether the open line begins a block."""
        if self._indent == _BLANK:
            ink = text.lstrip(" \t")
            if not ink:
                return
            self._indent = self._line_length - len(ink)
        window = min(self._indent + _LOOKED_AT, self._max)
        if self._indent >= window or self._line_length - len(text) >= window:
            return
        begins = self._outline.peek("".join(self._line)[:window], items=self._items)
        if begins is None:
            return
        self._decided = True
        if begins:
            self._give(blocks)

    def _end_line(self, end: str, blocks: list[str]) -> None:
        text = "".join(self._line)
        size = len(text) + len(end)
        line = self._outline.line(text)
        if line.begins is Begins.HERE or (self._items and line.item):
            self._give(blocks)
        elif line.begins is Begins.ABOVE and self._above is not None:
            self._give_above(*self._above, blocks)
        if self._length + size > self._max:
            self._decided = True
            self._fail(blocks)
            return
        # Short lines are dear as list entries: join now and then, at growing distances.
        if len(self._parts) > 64 and len(self._parts) * 16 > self._length:
            self._parts = ["".join(self._parts)]
        self._above = (len(self._parts), self._length) if self._outline.leaf is Leaf.PARAGRAPH else None
        self._parts.append(text + end)
        self._length += size
        self._inked = self._inked or self._indent != _BLANK
        self._line.clear()
        self._line_length = 0
        self._indent = _BLANK
        self._decided = False

    def _give(self, blocks: list[str]) -> None:
        """The open block is over. Blank lines alone are none: they go to the first one."""
        if self._inked and self._parts:
            blocks.append("".join(self._parts))
            self._parts.clear()
            self._length = 0
            self._inked = False
            self._above = None

    def _give_above(self, count: int, length: int, blocks: list[str]) -> None:
        """The block ended above its last line, which turned out to be a table's header row."""
        blocks.append("".join(self._parts[:count]))
        del self._parts[:count]
        self._length -= length

    def _fail(self, blocks: list[str]) -> None:
        if not self._decided:
            self._give(blocks)
        self._error = RemoteProtocolError(
            f"a block of more than max_chars={self._max}: if that is right for this source, raise the limit",
            excerpt="".join([*self._parts, *self._line])[: min(self._max + 1, 200)],
        )
        self._parts.clear()
        self._line.clear()


def _failing(blocks: list[str], error: RemoteProtocolError) -> Iterator[str]:
    yield from blocks
    raise error
