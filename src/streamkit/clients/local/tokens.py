"""Text cut into pieces the way language models cut it.

A word takes the space before it along, a long word comes in several pieces, punctuation stands
apart, indentation is one piece. No vocabulary: the rules are a regular expression, and the pieces
always join back to the text. A character keeps its accents, its variation selector and the rest of
its joined emoji, so that every piece can be shown as soon as it comes.
"""

from __future__ import annotations

import re

__all__ = ["count", "split"]

# Marks that belong to the character before them: accents, variation selectors, skin tones.
_MARK = "[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe00-\ufe0f\ufe20-\ufe2f\U0001f3fb-\U0001f3ff]"
_LETTER = rf"(?:\w{_MARK}*+)"
_SIGN = rf"(?:[^\w\s]{_MARK}*+(?:\u200d[^\w\s]{_MARK}*+)*+)"

# Every repetition is possessive: nothing is ever tried twice, and the scan is linear on any text.
_PIECE = re.compile(
    rf" ?{_LETTER}++"  # a word, with the space before it
    rf"| ?{_SIGN}{{1,3}}+"  # a few signs
    r"|\n{1,8}+"
    r"|[^\S\n]{1,32}(?=[^\S\n])"  # indentation, but for the last space, which goes with the word
    r"|\s"
)
_LETTERS = re.compile(_LETTER)

_WHOLE = 9  # letters a word may have and stay in one piece
_PART = 6  # letters in a piece of a longer one
_DENSE = "\u2e80"  # from here on scripts write a syllable or a word in one character
_DENSE_PART = 2


def split(text: str) -> list[str]:
    """The tokens of `text`, which join back to it. Linear in its length.

    >>> split("A backpressured stream, kept.")
    ['A', ' backp', 'ressu', 'red', ' stream', ',', ' kept', '.']
    """
    out: list[str] = []
    for piece in _PIECE.findall(text):
        if len(piece) <= _DENSE_PART or (len(piece) <= _WHOLE and piece[-1] < _DENSE):
            out.append(piece)
        else:
            out += _parts(piece)
    return out


def count(text: str) -> int:
    """How many tokens `text` has.

    >>> count("two words")
    2
    """
    return len(split(text))


def _parts(piece: str) -> list[str]:
    """A long piece in shorter ones, cut between characters and never inside one."""
    letters: list[str] = _LETTERS.findall(piece)
    if not letters:
        return [piece]  # signs or indentation: bounded by the pattern already
    size = _DENSE_PART if letters[-1] >= _DENSE else _PART
    if len(letters) <= (size if size == _DENSE_PART else _WHOLE):
        return [piece]
    pieces = -(-len(letters) // size)
    size = -(-len(letters) // pieces)  # even parts: no lone last letter
    parts = ["".join(letters[at : at + size]) for at in range(0, len(letters), size)]
    if piece[0] == " ":
        parts[0] = " " + parts[0]
    return parts
