"""Paragraphs: what stands between blank lines.

Lines end in LF, CRLF or CR, as in `lines`. A blank line is one of white space alone. A paragraph is certain when the blank
line behind it has ended; so it never waits for the next one to begin. What a paragraph is of (code, lists) is not looked at:
`markdown_blocks` does that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, final

from streamkit.errors import ConfigError
from streamkit.stages.stage import Stage, not_text

__all__ = ["Paragraphs"]

_LINE_END: Final = re.compile(r"\r\n?|\n")
_INK_OR_END: Final = re.compile(r"[\S\r\n]")


@final
class Paragraphs(Stage[str, str]):
    """Chunks of text to paragraphs, without the blank lines between, before and behind them.

    Args:
        max_chars: The longest paragraph. A longer one is cut: behind its last line end or else its last white space, so
            that the parts join back to it; or inside a word.

    The line ends inside a paragraph stay as they are, and so does the white space at the beginning of its first line.

    Memory: two times `max_chars` characters. Time is linear in the text.

    >>> paragraphs = Paragraphs()
    >>> [*paragraphs.feed("One\\ntwo.\\n\\nTh")], [*paragraphs.feed("ree.\\n"), *paragraphs.flush()]
    (['One\\ntwo.'], ['Three.'])
    """

    state = ("_parts", "_length", "_gap", "_gap_length", "_ink", "_line_open", "_after_cr")

    def __init__(self, max_chars: int = 65_536) -> None:
        """Raises ConfigError if `max_chars` is below 2, TypeError if it is no int."""
        if max_chars.__class__ is not int:
            raise TypeError(f"max_chars is a number of characters, got {max_chars!r}")
        if max_chars < 2:
            raise ConfigError(f"max_chars must be at least 2, got {max_chars}")
        self._max = max_chars
        # The open paragraph, up to the last line with ink; what came behind it: a line end, and white space.
        self._parts: list[str] = []
        self._length = 0
        self._gap: list[str] = []
        self._gap_length = 0
        self._ink = False  # whether there is an open paragraph
        self._line_open = False  # whether its last line has not ended
        self._after_cr = False

    def feed(self, item: str) -> Iterable[str]:
        """The paragraphs whose end is certain now."""
        if not isinstance(item, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without types
            raise not_text("paragraphs", item)
        if self._line_open and "\n" not in item and "\r" not in item and self._length + len(item) < self._max:
            self._hold(item)
            return ()
        out: list[str] = []
        at = 0
        if self._after_cr and item:
            self._after_cr = False
            if item[0] == "\n":
                at = 1
                # The paragraph keeps the line end as it was; where there is none any more, it is gone with it.
                if self._ink:
                    self._keep_gap("\n")
        while at < len(item):
            at = self._line(item, at, out) if self._line_open else self._between(item, at, out)
        return out

    def flush(self) -> tuple[str, ...]:
        """The last paragraph."""
        text = self._taken()
        self._after_cr = False
        return (text,) if text else ()

    def _line(self, item: str, at: int, out: list[str]) -> int:
        """Read the rest of a line that has ink, and its end."""
        found = _LINE_END.search(item, at)
        end = found.start() if found else len(item)
        self._fill(item[at:end], out)
        if found is None:
            return end
        self._line_open = False
        self._after_cr = found[0] == "\r" and found.end() == len(item)
        self._keep_gap(found[0])
        return found.end()

    def _between(self, item: str, at: int, out: list[str]) -> int:
        """Read white space at the beginning of a line, and what ends it."""
        found = _INK_OR_END.search(item, at)
        end = found.start() if found else len(item)
        if end > at:
            self._keep_gap(item[at:end])
        if found is None:
            return end
        line_end = _LINE_END.match(item, end)
        if line_end is None:
            gap = "".join(self._gap)
            self._gap.clear()
            self._gap_length = 0
            self._ink = self._line_open = True
            self._fill(gap, out)
            return end
        self._after_cr = line_end[0] == "\r" and line_end.end() == len(item)
        text = self._taken()
        if text:
            out.append(text)
        return line_end.end()

    def _keep_gap(self, white: str) -> None:
        """White space that belongs to the paragraph if its next line has ink. Nobody indents by more than the bound."""
        room = self._max - self._gap_length
        if room > 0:
            self._gap.append(white[:room])
            self._gap_length += min(room, len(white))
            if len(self._gap) > 64 and len(self._gap) * 16 > self._gap_length:
                self._gap = ["".join(self._gap)]

    def _fill(self, text: str, out: list[str]) -> None:
        at = 0
        while at < len(text):
            end = min(len(text), at + self._max - self._length)
            self._hold(text[at:end])
            at = end
            if self._length >= self._max:
                self._cut(out, more=at < len(text))

    def _cut(self, out: list[str], more: bool) -> None:
        """The paragraph is full. Where it would be cut at its end, it is; elsewhere when more follows."""
        whole = "".join(self._parts)
        place = _place(whole)
        if more or place == len(whole):
            out.append(whole[:place])
            whole = whole[place:]
        self._parts = [whole]
        self._length = len(whole)

    def _hold(self, text: str) -> None:
        self._parts.append(text)
        self._length += len(text)
        # Single characters are dear as list entries: join now and then, at growing distances.
        if len(self._parts) > 64 and len(self._parts) * 16 > self._length:
            self._parts = ["".join(self._parts)]

    def _taken(self) -> str:
        text = "".join(self._parts)
        self._parts.clear()
        self._gap.clear()
        self._length = self._gap_length = 0
        self._ink = self._line_open = False
        return text


def _place(text: str) -> int:
    """Where a text that is too long is cut: behind its last line end, or else its last white space."""
    line_end = max(text.rfind("\n"), text.rfind("\r", 0, -1)) + 1
    if line_end:
        return line_end
    place = len(text) if text[-1].isspace() else len(text) - len(text.rsplit(None, 1)[-1])
    return place or len(text)
