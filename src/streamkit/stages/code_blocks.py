"""The fenced code of a Markdown text, each block as it grows: for running, saving or highlighting it while it is written.

What a fence is, and what is not code of it: CommonMark 0.31.2 section 4.5, and the containers of chapter 5, by
`markdown_outline`. So a fence in a list or quote gives code without their indentation and marks, a longer fence holds
shorter ones, and backticks inside a line are no fence. As the specification has it, a fence that is followed by one of the same
length inside (a README in ```` ```markdown ````) ends there: a writer who means otherwise takes a longer one outside.

Code is given at once, but for the beginning of a line that may become the closing fence, or the end of the
list or quote around it. Indented code and text outside are no output.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import ClassVar, Final, final

import msgspec

from streamkit.errors import ConfigError, RemoteProtocolError
from streamkit.stages.markdown_outline import Leaf, Line, Outline
from streamkit.stages.stage import Stage, not_text

__all__ = ["CodeBlock", "CodeBlocks"]

_LINE_END = re.compile(r"\r\n?|\n")
# So much of a line outside is read: enough for any fence and its info string.
_READ: Final = 4096
# So much of a line inside is held, the fence's own length aside, before it is code in any case.
_HELD: Final = 128


class CodeBlock(msgspec.Struct, frozen=True):
    r"""A part of a block of fenced code.

    The first part of a block has no code; it comes with the block's opening line. Parts with code follow. The last part has no
    code of its own, but the whole in `text`.

    Attributes:
        index: Which block of the text, from 0.
        language: The first word of its info string, "" if it has none.
        delta: The code of this part.
        info: The whole info string.
        text: In the last part all code of the block, with the line end before the closing fence; else None.
        complete: In the last part, whether the block was ended: by its fence, or by the end of the list or quote around it.
            False if the text ended inside.

    >>> CodeBlock(0, "py", "", text="x = 1\n", complete=True).language
    'py'
    """

    index: int
    language: str
    delta: str
    info: str = ""
    text: str | None = None
    complete: bool = False


@final
class CodeBlocks(Stage[str, CodeBlock]):
    r"""Chunks of Markdown to the fenced code in it.

    Args:
        max_chars: The longest block.

    A block above the bound is a RemoteProtocolError, behind its first `max_chars` characters. The stage stays failed: each
    further call raises the error again, `abort` gives nothing.

    Memory: the block that is open, and at most 4,096 characters of a line outside. Time is linear in the text.

    >>> blocks = CodeBlocks()
    >>> [part.delta for part in blocks.feed("Look:\n```py\nprint(`")]
    ['', 'print(`']
    >>> [(part.delta, part.text) for part in blocks.feed("x`)\n``")], [part.text for part in blocks.feed("`\nok")]
    ([('x`)\n', None)], ['print(`x`)\n'])
    """

    state: ClassVar = (
        "_index",
        "_info",
        "_open",
        "_text",
        "_length",
        "_line",
        "_line_length",
        "_passing",
        "_after_cr",
        "_cr_is_code",
    )

    def __init__(self, max_chars: int = 1_048_576) -> None:
        """Raises ConfigError if `max_chars` is not an int of at least 1."""
        if max_chars.__class__ is not int or max_chars < 1:
            raise ConfigError(f"max_chars must be an int of at least 1, got {max_chars!r}")
        self._max = max_chars
        self._outline = Outline()
        self._index = -1
        self._info = ""
        self._open = False  # a fence is
        self._text: list[str] = []  # its code
        self._length = 0
        self._line: list[str] = []  # the open line, as far as it is not yet code
        self._line_length = 0
        self._passing = False  # the rest of the line is code
        self._after_cr = False  # a CR came last: an LF belongs to it
        self._cr_is_code = False
        self._new: list[str] = []  # code of this call, not given yet
        self._error: RemoteProtocolError | None = None

    def feed(self, item: str) -> Iterable[CodeBlock]:
        """What this text adds to code.

        Raises:
            RemoteProtocolError: a block passed `max_chars`; what came before is given first.
            TypeError: the item is not a str.
        """
        if not isinstance(item, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without types
            raise not_text("code_blocks", item)
        if self._error is not None:
            raise self._error
        if not item:
            return ()
        if not self._open and "\n" not in item and "\r" not in item and not self._after_cr:
            self._add(item, [])
            return ()
        parts: list[CodeBlock] = []
        self._cut(item, parts)
        self._give(parts)
        if self._error is None:
            return parts
        if not parts:
            raise self._error
        return _failing(parts, self._error)

    def flush(self) -> Iterable[CodeBlock]:
        """What is open: its last code, and it as a whole."""
        if self._error is not None:
            raise self._error
        parts = self.abort()
        if self._error is not None:
            return _failing(list(parts), self._error)
        return parts

    def abort(self) -> Iterable[CodeBlock]:
        """As `flush`; nothing after an error of its own."""
        parts: list[CodeBlock] = []
        if self._error is None:
            if self._line:
                self._end_line("", parts)
            self._after_cr = False
            if self._open and self._error is None:
                self._finish(parts, complete=False)
            self._give(parts)
            self._outline = Outline()
        return parts

    def snapshot(self) -> dict[str, object]:
        """All that it has learned so far, as plain values of its own."""
        return super().snapshot() | {"outline": self._outline.snapshot()}

    def restore(self, saved: dict[str, object]) -> None:
        """Go on where another stage, made in the same way, was saved."""
        super().restore({name: value for name, value in saved.items() if name != "outline"})
        self._outline.restore(saved["outline"])

    def _cut(self, item: str, parts: list[CodeBlock]) -> None:
        begin = 0
        if self._after_cr:
            self._after_cr = False
            begin = int(item[0] == "\n")
            if begin and self._cr_is_code:
                self._code("\n")
        for end in _LINE_END.finditer(item, begin):
            self._add(item[begin : end.start()], parts)
            in_code = self._end_line(end[0], parts)
            if self._error is not None:
                return
            begin = end.end()
            if begin == len(item) and end[0] == "\r":
                self._after_cr = True
                self._cr_is_code = in_code
        self._add(item[begin:], parts)

    def _add(self, text: str, parts: list[CodeBlock]) -> None:
        """More of the open line."""
        if not text:
            return
        if self._passing:
            self._code(text)
            return
        most = _HELD + len(self._outline.mark) if self._open else _READ
        room = max(most - self._line_length, 0)
        self._line.append(text[:room])
        self._line_length += min(len(text), room)
        if self._open:
            begun = "".join(self._line)
            found = self._outline.code_at(begun, certain=len(text) > room)
            if self._outline.leaves(begun):
                self._finish(parts, complete=True)
            elif found is not None:
                self._passing = True
                self._code(" " * found[1] + begun[found[0] :] + text[room:])
        elif len(self._line) > 64 and len(self._line) * 16 > self._line_length:
            self._line = ["".join(self._line)]

    def _end_line(self, end: str, parts: list[CodeBlock]) -> bool:
        """Whether the line was one of code."""
        in_code = self._passing
        if in_code:
            self._code(end)
        else:
            text = "".join(self._line)
            line = self._outline.line(text)
            in_fence = self._outline.leaf is Leaf.FENCE
            in_code = self._open and in_fence and not line.opens
            if in_code:
                self._code(" " * line.pad + text[line.at :] + end)
            else:
                if self._open:
                    self._finish(parts, complete=True)
                if in_fence:
                    self._begin(text, line, parts)
        self._line.clear()
        self._line_length = 0
        self._passing = False
        return in_code

    def _code(self, text: str) -> None:
        if self._error is not None:
            return
        room = self._max - self._length
        self._new.append(text[:room])
        self._length += len(text)
        if len(text) > room:
            self._error = RemoteProtocolError(
                f"a block of code of more than max_chars={self._max}: if that is right for this source, raise the limit",
                excerpt="".join([*self._text, *self._new])[:200],
            )

    def _begin(self, text: str, line: Line, parts: list[CodeBlock]) -> None:
        self._open = True
        self._index += 1
        self._info = text[line.at :].strip(" \t").lstrip(self._outline.mark[0]).strip(" \t")
        parts.append(self._part(""))

    def _finish(self, parts: list[CodeBlock], *, complete: bool) -> None:
        self._give(parts)
        parts.append(msgspec.structs.replace(self._part(""), text="".join(self._text), complete=complete))
        self._open = False
        self._text = []
        self._length = 0

    def _give(self, parts: list[CodeBlock]) -> None:
        code = "".join(self._new)
        self._new.clear()
        if code:
            parts.append(self._part(code))
            self._text.append(code)
            if len(self._text) > 64 and len(self._text) * 16 > self._length:
                self._text = ["".join(self._text)]

    def _part(self, delta: str) -> CodeBlock:
        words = self._info.split(None, 1)
        return CodeBlock(self._index, words[0] if words else "", delta, self._info)


def _failing(parts: list[CodeBlock], error: RemoteProtocolError) -> Iterator[CodeBlock]:
    yield from parts
    raise error
