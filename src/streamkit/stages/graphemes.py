"""What a reader sees as one character: extended grapheme clusters of Unicode's UAX #29, section 3.1.1.

Whether a cluster ends between two characters depends on what stands before, and on the second of them. What
stands before is one of a few states:

    START      nothing                       OTHER     anything without a rule of its own
    CR         a carriage return             CONTROL   a line feed or another control: nothing joins it
    PREPEND    a mark that stands before     FLAG      half of a flag (GB12, GB13)
    LEAD VOWEL TAIL                          the parts of a Hangul syllable (GB6 to GB8)
    PICTURE    an emoji, marks behind it     GLUED     the same and a zero width joiner (GB11)
    LETTER     an Indic consonant, with marks LINKED    the same with a virama among them (GB9c)

`MOVES[state][kind]` says what the next character does: where it leads to, and whether a cluster ends before it.
A cluster is therefore certain when the next character has come, and not before: after "e" there may come an accent.
Only behind a line feed or a control nothing can follow.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from enum import IntEnum, auto
from functools import lru_cache
from typing import Final, final

from streamkit.errors import ConfigError
from streamkit.stages.grapheme_table import RANGES
from streamkit.stages.stage import Stage, not_text

__all__ = ["BREAK", "MOVES", "PLAIN", "START", "Characters", "kind_of"]


class _Kind(IntEnum):
    """What a character is."""

    OTHER = 0
    CR = auto()
    LF = auto()
    CONTROL = auto()
    EXTEND = auto()
    NON_JOINER = auto()  # extends as well, but ends an Indic conjunct
    JOINER = auto()
    LINKER = auto()
    SPACING = auto()
    PREPEND = auto()
    REGIONAL = auto()
    LEADING = auto()
    VOWEL = auto()
    TRAILING = auto()
    SYLLABLE = auto()  # Hangul, without a tail
    CLOSED = auto()  # Hangul, with one
    PICTURE = auto()
    CONSONANT = auto()


class _State(IntEnum):
    """What stands before a character."""

    START = 0
    OTHER = auto()
    CR = auto()
    CONTROL = auto()
    PREPEND = auto()
    FLAG = auto()
    LEAD = auto()
    VOWEL = auto()
    TAIL = auto()
    PICTURE = auto()
    GLUED = auto()
    LETTER = auto()
    LINKED = auto()


START: Final = 0
# Behind a letter or the like, with or without marks.
PLAIN: Final = 1
# A move is the next state, and this if a cluster ends before the character.
BREAK: Final = 32

_AFTER: Final = {
    _Kind.CR: _State.CR,
    _Kind.LF: _State.CONTROL,
    _Kind.CONTROL: _State.CONTROL,
    _Kind.PREPEND: _State.PREPEND,
    _Kind.REGIONAL: _State.FLAG,
    _Kind.LEADING: _State.LEAD,
    _Kind.VOWEL: _State.VOWEL,
    _Kind.SYLLABLE: _State.VOWEL,
    _Kind.TRAILING: _State.TAIL,
    _Kind.CLOSED: _State.TAIL,
    _Kind.PICTURE: _State.PICTURE,
    _Kind.CONSONANT: _State.LETTER,
}
_MARKS: Final = frozenset({_Kind.EXTEND, _Kind.NON_JOINER, _Kind.JOINER, _Kind.LINKER, _Kind.SPACING})
# The pairs that join by GB6 to GB8, GB9c and GB11.
_JOINS: Final = {
    _State.LEAD: {_Kind.LEADING, _Kind.VOWEL, _Kind.SYLLABLE, _Kind.CLOSED},
    _State.VOWEL: {_Kind.VOWEL, _Kind.TRAILING},
    _State.TAIL: {_Kind.TRAILING},
    _State.GLUED: {_Kind.PICTURE},
    _State.LINKED: {_Kind.CONSONANT},
}


def _move(state: _State, kind: _Kind) -> int:
    """The rules, in their order."""
    after = _AFTER.get(kind, _State.OTHER)
    if state is _State.CR and kind is _Kind.LF:
        return _State.CONTROL
    if state in (_State.START, _State.CR, _State.CONTROL) or kind in (_Kind.CR, _Kind.LF, _Kind.CONTROL):
        return after if state is _State.START else after | BREAK
    if kind in _MARKS:
        return _marked(state, kind)
    if state is _State.FLAG and kind is _Kind.REGIONAL:
        return _State.OTHER
    if state is _State.PREPEND or kind in _JOINS.get(state, ()):
        return after
    return after | BREAK


def _marked(state: _State, kind: _Kind) -> _State:
    """A character that belongs to what stands before it in any case."""
    if state is _State.PICTURE and kind in (_Kind.EXTEND, _Kind.NON_JOINER, _Kind.LINKER):
        return _State.PICTURE
    if state is _State.PICTURE and kind is _Kind.JOINER:
        return _State.GLUED
    if state in (_State.LETTER, _State.LINKED):
        if kind is _Kind.LINKER:
            return _State.LINKED
        if kind in (_Kind.EXTEND, _Kind.JOINER):
            return state
    return _State.OTHER


MOVES: Final = tuple([tuple([int(_move(state, kind)) for kind in _Kind]) for state in _State])


def _table() -> tuple[list[int], list[int]]:
    """Where each range of characters of one kind begins, and that kind."""
    spans: list[tuple[int, int, int]] = [
        (0x0A, 0x0A, _Kind.LF),
        (0x0D, 0x0D, _Kind.CR),
        (0x200C, 0x200C, _Kind.NON_JOINER),
        (0x200D, 0x200D, _Kind.JOINER),
        (0xAC00, 0xD7A3, _Kind.SYLLABLE),
        (0x1F1E6, 0x1F1FF, _Kind.REGIONAL),
    ]
    for name, ranges in RANGES.items():
        for one in ranges.split():
            first, _, more = one.partition("+")
            begin = int(first, 16)
            spans.append((begin, begin + int(more or "0", 16), _Kind[name]))
    begins, kinds = [0], [int(_Kind.OTHER)]
    for begin, end, kind in sorted(spans):
        if begins[-1] == begin:
            begins.pop()
            kinds.pop()
        begins += [begin, end + 1]
        kinds += [int(kind), int(_Kind.OTHER)]
    return begins, kinds


_BEGINS, _KINDS = _table()


def kind_of(char: str) -> int:
    """What a character is, as an index into a row of `MOVES`.

    >>> kind_of("a"), kind_of("1") == kind_of("-"), kind_of("\\u0301") == kind_of("\\u0302")
    (0, True, True)
    """
    return 0 if " " <= char <= "~" else _looked_up(char)


# A search costs five times what remembering does, and a text has some hundreds of different characters.
@lru_cache(maxsize=4096)
def _looked_up(char: str) -> int:
    code = ord(char)
    kind = _KINDS[bisect_right(_BEGINS, code) - 1]
    if kind == _Kind.SYLLABLE and (code - 0xAC00) % 28:
        return _Kind.CLOSED
    return kind


@final
class Characters(Stage[str, str]):
    """Text cut into what a reader sees as single characters.

    Args:
        max_chars: The longest one, in code points: a letter below a tower of marks is cut there.

    Memory: the last character. Time is linear in the text.

    >>> characters = Characters()
    >>> [*characters.feed("ab")], [*characters.feed("\\u0308\\r")], [*characters.feed("\\n")]
    (['a'], ['b̈'], ['\\r\\n'])
    """

    state = ("_parts", "_at")

    def __init__(self, max_chars: int = 256) -> None:
        """Raises ConfigError if `max_chars` is below 1, TypeError if it is no int."""
        if max_chars.__class__ is not int:
            raise TypeError(f"max_chars is a number of code points, got {max_chars!r}")
        if max_chars < 1:
            raise ConfigError(f"max_chars must be at least 1, got {max_chars}")
        self._max = max_chars
        self._parts: list[str] = []  # of the character that is open
        self._at = START

    def feed(self, item: str) -> Iterable[str]:
        """The characters that are certain now."""
        if not isinstance(item, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without types
            raise not_text("characters", item)
        at, parts, most = self._at, self._parts, self._max
        if item.isascii() and item.isprintable() and item and at != _State.PREPEND and most > 1:
            given = ["".join(parts), *item[:-1]] if parts else list(item[:-1])
            self._parts = [item[-1]]
            self._at = PLAIN
            return given
        out: list[str] = []
        for char in item:
            move = MOVES[at][0 if " " <= char <= "~" else _looked_up(char)]
            at = move & ~BREAK
            if move & BREAK and parts:
                out.append("".join(parts))
                parts.clear()
            parts.append(char)
            if len(parts) >= most or at == _State.CONTROL:
                out.append("".join(parts))
                parts.clear()
                at = START
        self._at = at
        return out

    def flush(self) -> tuple[str, ...]:
        """The last character."""
        text = "".join(self._parts)
        self._parts.clear()
        self._at = START
        return (text,) if text else ()
