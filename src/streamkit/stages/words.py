"""Text in pieces a reader can be shown one after another: words, or so many characters of whole words.

A word takes the white space BEFORE it: so it is certain when the space behind it begins, and not only when the next word
does; on a screen a word shows one word earlier. All pieces join back to the text.

Scripts that are written without spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese, Tibetan ...) have no words that could be
told without a dictionary: there each character, with its marks, is a word of its own.

A piece never ends inside of what a reader sees as one character (`graphemes`), but for one longer than the whole bound.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, final

from streamkit.errors import ConfigError
from streamkit.stages.graphemes import BREAK, MOVES, PLAIN, START, kind_of
from streamkit.stages.stage import Stage, not_text

__all__ = ["Words"]

# Thai and Lao; Tibetan; Burmese; Khmer; New Tai Lue to Tai Tham; CJK from radicals to ideographs, Yi aside; Javanese and
# Burmese extensions; compatibility ideographs, half-width kana; and the ideographs of the further planes. Hangul has spaces.
_ALONE: Final = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\u2e80-\u312f\u3190-\ua48f\ua980-\ua9ff\uaa60-\uaadf"
    "\uf900-\ufaff\uff66-\uff9f\U00016fe0-\U00018d8f\U0001aff0-\U0001b2ff\U0001f200-\U0001f2ff\U00020000-\U0003ffff]"
)
_MANY: Final = 64
_BEFORE_ALONE: Final = "\u0dff"


@final
class Words(Stage[str, str]):
    """Chunks of text to pieces of whole words that join back to the text.

    Args:
        min_chars: A piece ends at the first end of a word by which it is so long.
        max_chars: The longest piece, in code points; it ends between two characters.

    White space at the end of the text is a piece of its own, or ends the last one if it is too short.

    Memory: `max_chars` code points. Time is linear in the text.

    >>> words = Words()
    >>> [*words.feed("To be, or"), *words.feed(" not"), *words.flush()]
    ['To', ' be,', ' or', ' not']
    """

    state = ("_parts", "_length", "_ink", "_alone", "_at", "_edge")

    def __init__(self, min_chars: int = 1, max_chars: int = 1024) -> None:
        """Raises ConfigError if not 1 <= min_chars <= max_chars, TypeError if they are no ints."""
        if min_chars.__class__ is not int or max_chars.__class__ is not int:
            raise TypeError(f"min_chars and max_chars are numbers of code points, got {min_chars!r} and {max_chars!r}")
        if not 1 <= min_chars <= max_chars:
            raise ConfigError(f"1 <= min_chars <= max_chars must hold, got min_chars={min_chars}, max_chars={max_chars}")
        self._min = min_chars
        self._max = max_chars
        # The open piece, and whether it has anything but white space.
        self._parts: list[str] = []
        self._length = 0
        self._ink = False
        # Its last character: whether that is a word of its own, what may follow, and where it begins.
        self._alone = False
        self._at = START
        self._edge = 0

    def feed(self, item: str) -> Iterable[str]:
        """The pieces that are certain now."""
        if not isinstance(item, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without types
            raise not_text("words", item)
        # Most tokens: nothing joins, each character may be looked at by itself.
        if (
            item.isascii()
            and item.isprintable()
            and self._at <= PLAIN
            and not self._alone
            and self._length + len(item) <= self._max
        ):
            if " " in item:
                return self._read_plain(item)
            if item:
                self._ink = True
                self._hold(item)
            return ()
        out: list[str] = []
        for char in item:
            self._read(char, out)
        return out

    def flush(self) -> tuple[str, ...]:
        """The last piece."""
        text = "".join(self._parts)
        self._begin([])
        self._at = START
        return (text,) if text else ()

    def _read_plain(self, item: str) -> Iterable[str]:
        """Printable ASCII behind the like: only its spaces matter, and it has one."""
        out: list[str] = []
        begin = looked_at = 0
        space = item.find(" ")
        while space >= 0:
            if space > looked_at:
                self._ink = True
            if self._ink and self._length + space - begin >= self._min:
                self._parts.append(item[begin:space])
                out.append("".join(self._parts))
                self._parts = []
                self._length = 0
                self._ink = False
                begin = space
            looked_at = space + 1
            space = item.find(" ", looked_at)
        if looked_at < len(item):
            self._ink = True
        self._hold(item[begin:])
        return out

    def _hold(self, plain: str) -> None:
        self._parts.append(plain)
        self._length += len(plain)
        if len(self._parts) > _MANY:
            self._join()
        self._edge = self._length - 1
        self._at = PLAIN

    def _read(self, char: str, out: list[str]) -> None:
        move = MOVES[self._at][kind_of(char)]
        self._at = move & ~BREAK
        if move & BREAK or not self._length:
            alone = char > _BEFORE_ALONE and _is_alone(char)
            if self._length and (self._ends_before(char, alone) or self._length >= self._max):
                out.append("".join(self._parts))
                self._begin([])
            self._alone = alone
            self._edge = self._length
        elif self._length >= self._max:
            self._cut(out)
        self._parts.append(char)
        self._length += 1
        if len(self._parts) > _MANY:
            self._join()
        if not self._ink and not char.isspace():
            self._ink = True

    def _ends_before(self, char: str, alone: bool) -> bool:
        """Whether a word ends here, and with it the piece."""
        return self._ink and self._length >= self._min and (alone or self._alone or char.isspace())

    def _cut(self, out: list[str]) -> None:
        """The piece is full, and its last character goes on."""
        text = "".join(self._parts)
        place = self._edge or len(text)
        out.append(text[:place])
        self._begin(list(text[place:]))

    def _join(self) -> None:
        """Single characters are dear as list entries: join now and then, at growing distances."""
        if len(self._parts) * 16 > self._length:
            self._parts = ["".join(self._parts)]

    def _begin(self, parts: list[str]) -> None:
        self._parts = parts
        self._length = len(parts)
        self._edge = 0
        self._ink = any(not char.isspace() for char in parts)


# Asked for each character of such a script, and a text has some hundreds of them.
@lru_cache(maxsize=4096)
def _is_alone(char: str) -> bool:
    return _ALONE.match(char) is not None
