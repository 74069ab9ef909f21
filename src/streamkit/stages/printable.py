r"""Text that a terminal or a log can be given: what would command them is taken out.

A model's text may hold control sequences, by accident or by somebody's design: OSC 52 writes the clipboard, OSC 8 hides an
address behind a word, CSI moves the cursor over what was printed before (ECMA-48, 5.4 and 8.3). Gone are

    ESC ... and its eight-bit forms    CSI to its final byte; OSC, DCS, SOS, PM and APC with all they hold, to their
                                       end (BEL or ST); other escapes with their intermediates and final byte
    other controls, C0 and C1          each by itself; newline and tab stay
    directions (U+202A-E, U+2066-9)    which let a text read otherwise than it is

A string sequence that is not ended within `MAX_STRING` characters ends there: text behind it is not swallowed for ever.
A newline ends an unfinished CSI, and so does any character that cannot stand in one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, final

from streamkit.stages.stage import Stage, not_text

__all__ = ["MAX_STRING", "Printable", "one_line", "printable_text"]

MAX_STRING: Final = 8192

# What is passed on without a second look; most text is all of this.
_CLEAN: Final = re.compile("[^\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]*")
_STRINGS: Final = frozenset("]PX^_")  # OSC, DCS, SOS, PM, APC, behind an ESC
# What a character that is not shown opens; any other one is gone by itself.
_OPENERS: Final[dict[str, str]] = {"\x1b": "escape", "\x9b": "csi", **dict.fromkeys("\x9d\x90\x98\x9e\x9f", "string")}
_LONGEST_CSI: Final = 256


@final
class Printable(Stage[str, str]):
    r"""Takes control sequences out of text, also when they are cut anywhere.

    Memory: one number and one state; nothing is held back.

    >>> stage = Printable()
    >>> [*stage.feed("safe \x1b[3"), *stage.feed("1mred\x07"), *stage.flush()]
    ['safe ', 'red']
    """

    state = ("_state", "_length")

    def __init__(self) -> None:
        self._state = "text"
        self._length = 0  # of the open sequence

    def feed(self, item: str) -> Iterable[str]:
        """What of this text may be shown."""
        if not isinstance(item, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without types
            raise not_text("printable", item)
        if self._state == "text":
            clean = _CLEAN.match(item)
            if clean is not None and clean.end() == len(item):
                return (item,) if item else ()
        text = self._strip(item)
        return (text,) if text else ()

    def _strip(self, item: str) -> str:
        kept: list[str] = []
        at, state, length = 0, self._state, self._length
        while at < len(item):
            if state == "text":
                clean = _CLEAN.match(item, at)
                assert clean is not None
                kept.append(clean.group())
                at = clean.end()
                if at < len(item):
                    state, length = _OPENERS.get(item[at], "text"), 0
                    at += 1
            else:
                length += 1
                state, taken = _after(state, item[at], length)
                if taken:
                    at += 1
                else:
                    length = 0
        self._state, self._length = state, length
        return "".join(kept)


def _after(state: str, char: str, length: int) -> tuple[str, bool]:
    """The state behind a character of an open sequence of this length, and whether the character belongs to that."""
    if state == "csi":
        if "@" <= char <= "~":
            return "text", True
        fits = " " <= char <= "?" and length <= _LONGEST_CSI
        return ("csi", True) if fits else ("text", False)
    if state == "escape":
        return _after_escape(char, length)
    if char in "\x07\x9c" or length > MAX_STRING:
        return "text", True
    if char == "\x1b":
        return "string, escape", True
    if state == "string":
        return "string", True
    # Any other escape ends the string and is one of its own.
    return ("text", True) if char == "\\" else ("escape", False)


def _after_escape(char: str, length: int) -> tuple[str, bool]:
    if not " " <= char <= "~":
        return "text", False
    if length > _LONGEST_CSI:
        return "text", True
    if char <= "/":  # an intermediate: the final byte follows
        return "escape", True
    return "csi" if char == "[" else "string" if char in _STRINGS else "text", True


def printable_text(text: str) -> str:
    r"""A whole text, with what would command a terminal taken out.

    >>> printable_text("a\x1b]52;c;ZXZpbA==\x07b\n")
    'ab\n'
    """
    return "".join(Printable().feed(text))


def one_line(text: str, limit: int = 200) -> str:
    r"""A text as one line of a log: controls, line ends of all kinds and backslashes escaped, at most `limit` characters.

    >>> one_line("ok\n[CRITICAL] \x1b[31mroot")
    'ok\\n[CRITICAL] \\x1b[31mroot'
    """
    cut = text[: limit + 1]
    line = "".join([char if char.isprintable() and char != "\\" else _escaped(char) for char in cut])
    return line if len(line) <= limit and len(cut) == len(text) else line[: limit - 1] + "…"


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
