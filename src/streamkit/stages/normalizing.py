"""Text made well-formed while it streams: whole characters, one form of accents, one kind of line end.

In this order:

* Two halves of a character (UTF-16 surrogates) that follow each other become it, also across chunks; a half alone becomes U+FFFD.
* A byte order mark at the beginning goes.
* CRLF and CR become one line end, if wanted.
* The text is brought to a normal form of Unicode (UAX #15).

Normal forms do not join: NFC of "e" and NFC of an accent are not NFC of both. But text may be cut before a character that
begins anew in every text (section 9.1: combining class 0, never the second of a pair that composes). From the last such
character on, the text is held back; without it, if nothing that follows can change it: a digit, an ideograph.

Which characters compose is read from the interpreter's `unicodedata`, so the form is that of its Unicode version.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final, Literal, TypeAlias, final

from streamkit.errors import ConfigError
from streamkit.stages.stage import Stage, not_text

__all__ = ["Form", "Normalize"]

Form: TypeAlias = Literal["NFC", "NFKC"]

_MARK: Final = "\ufeff"
_REPLACEMENT: Final = "\ufffd"
_HALF: Final = re.compile("[\ud800-\udfff]")
_HALVES: Final = re.compile("([\ud800-\udbff])([\udc00-\udfff])|[\ud800-\udfff]")
_CR: Final = re.compile(r"\r\n?")

# The characters that can be the second of a pair which composes, in any version of Unicode so far.
_SECONDS: Final = (
    "\u0300-\u0304\u0306-\u030c\u030f\u0311\u0313\u0314\u031b\u0323-\u0328\u032d\u032e\u0330\u0331\u0338\u0342\u0345\u0653-\u0655"
    "\u093c\u09be\u09d7\u0b3e\u0b56\u0b57\u0bbe\u0bd7\u0c56\u0cc2\u0cd5\u0cd6\u0d3e\u0d57\u0dca\u0dcf\u0ddf\u102e\u1161-\u1175"
    "\u11a8-\u11c2\u1b35\u3099\u309a\U000110ba\U00011127\U0001133e\U00011357\U000113b8\U000113bb\U000113c2\U000113c5"
    "\U000113c7-\U000113c9\U000114b0\U000114ba\U000114bd\U000115af\U0001611e-\U00016120\U00016129\U00011930\U00016d67"
)
_SECOND: Final = re.compile(f"[{_SECONDS}]")
_PROBES: Final = tuple(
    [chr(code) for first, last in re.findall("(.)(?:-(.))?", _SECONDS) for code in range(ord(first), ord(last or first) + 1)]
)

# Nobody writes so many marks over one letter; UAX #15, section 13, allows thirty in a stream.
_MOST: Final = 256

# How many characters become one that nothing can change any more, at most: a Hangul syllable of three, a letter with marks.
_SETTLED_BY: Final = 4


@final
class Normalize(Stage[str, str]):
    """Text made well-formed, whatever was cut where.

    Args:
        form: "NFC", or "NFKC" (ligatures and widths resolved too), or None to leave accents as they are.
        newlines: What CRLF and CR become, as well as LF; None leaves line ends as they are.

    Memory: the last character with its marks, at most 256 of them: what is longer is normalised in parts.
    Time is linear in the text.

    >>> normalize = Normalize()
    >>> [*normalize.feed("\\ufeffCafe")], [*normalize.feed("\\u0301 \\ud83d"), *normalize.feed("\\ude00")]
    (['Caf'], ['é ', '😀'])
    """

    state = ("_begun", "_half", "_after_cr", "_held", "_length")

    def __init__(self, form: Form | None = "NFC", newlines: str | None = None) -> None:
        """Raises ConfigError for another form, or if `newlines` is no line end."""
        if form not in (None, "NFC", "NFKC"):
            raise ConfigError(f'form must be "NFC", "NFKC" or None, got {form!r}')
        if newlines not in (None, "\n", "\r\n", "\r"):
            raise ConfigError(f'newlines must be "\\n", "\\r\\n", "\\r" or None, got {newlines!r}')
        self._form: Form | None = form
        self._newlines = newlines
        self._begun = False
        self._half = ""  # a high surrogate, if the text ends in one
        self._after_cr = False
        self._held: list[str] = []  # what following marks may change
        self._length = 0

    def feed(self, item: str) -> tuple[str, ...]:
        """The text that nothing can change any more."""
        if not isinstance(item, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without types
            raise not_text("normalize", item)
        if self._half or not item.isascii():
            item = self._whole(item)
        if not self._begun and item:
            self._begun = True
            item = item.removeprefix(_MARK)
        if self._newlines is not None and item:
            item = self._with_line_ends(item, self._newlines)
        if not item:
            return ()
        text = item if self._form is None else self._composed(item, self._form)
        return (text,) if text else ()

    def flush(self) -> tuple[str, ...]:
        """What was held back; half a character as U+FFFD."""
        text = ""
        if self._half:
            self._half = ""
            text = "".join(self.feed(_REPLACEMENT))
        self._begun = self._after_cr = False
        if self._form is not None:
            text += self._taken(self._form)
        return (text,) if text else ()

    def _whole(self, item: str) -> str:
        """Halves joined, and replaced where they are alone; one at the end waits."""
        if self._half and item:
            item = self._half + item
            self._half = ""
        if not _HALF.search(item):
            return item
        if "\ud800" <= item[-1] <= "\udbff":
            self._half = item[-1]
            item = item[:-1]
        return _HALVES.sub(_joined, item)

    def _with_line_ends(self, item: str, newlines: str) -> str:
        """A CR is a line end at once; the LF behind it then is none."""
        if self._after_cr and item[0] == "\n":
            item = item[1:]
        self._after_cr = item.endswith("\r")
        if "\r" in item:
            item = _CR.sub("\n", item)
        return item if newlines == "\n" else item.replace("\n", newlines)

    def _composed(self, item: str, form: Form) -> str:
        """What can be given in its normal form."""
        if item.isascii():
            # One ASCII character before another stays as it is.
            if self._length == 1 and self._held[0].isascii():
                held = self._held.pop()
                self._length = 0
            else:
                held = self._taken(form) if self._held else ""
            if _is_final(item[-1], form):
                return held + item
            self._held.append(item[-1])
            self._length = 1
            return held + item[:-1]
        if self._length + len(item) > _MOST:
            return self._by_character(item, form)
        at = len(item) - 1
        while at >= 0 and not _begins(item[at], form):
            at -= 1
        if at < 0 and self._length >= _SETTLED_BY:
            self._held.append(item)
            self._length += len(item)
            return ""
        text = "".join(self._held) + item
        # Where the last part that may change begins: before a character that begins anew, or where it began before.
        at = self._length + at if at >= 0 else 0
        while end := _settled(text, at, form):
            at += end
        self._held = [text[at:]] if at < len(text) else []
        self._length = len(text) - at
        return unicodedata.normalize(form, text[:at])

    def _by_character(self, item: str, form: Form) -> str:
        """The same for text in which more marks than that may follow each other."""
        given: list[str] = []
        for char in item:
            if self._length and (self._length >= _MOST or _begins(char, form)):
                given.append(self._taken(form))
            self._held.append(char)
            self._length += 1
            while self._length <= _SETTLED_BY and (end := _settled(text := "".join(self._held), 0, form)):
                given.append(unicodedata.normalize(form, text[:end]))
                self._held = list(text[end:])
                self._length -= end
        return "".join(given)

    def _taken(self, form: Form) -> str:
        text = unicodedata.normalize(form, "".join(self._held))
        self._held.clear()
        self._length = 0
        return text


def _joined(found: re.Match[str]) -> str:
    if found[1] is None:
        return _REPLACEMENT
    return found[0].encode("utf-16", "surrogatepass").decode("utf-16")


@lru_cache(maxsize=8192)
def _begins(char: str, form: Form) -> bool:
    """Whether a text may be cut before this character."""
    if char.isascii():
        return True
    first = unicodedata.normalize("NFKD" if form == "NFKC" else "NFD", char)[0]
    return not unicodedata.combining(first) and _SECOND.match(first) is None


def _settled(text: str, at: int, form: Form) -> int:
    """How many characters from there on have become one that nothing can change; 0 if they have not."""
    for end in range(at + 1, min(len(text), at + _SETTLED_BY) + 1):
        one = unicodedata.normalize(form, text[at:end])
        if (end == at + 1 or len(one) == 1) and _is_final(one, form):
            return end - at
    return 0


@lru_cache(maxsize=8192)
def _is_final(one: str, form: Form) -> bool:
    """Whether nothing that follows can change this character, in its normal form."""
    return all(unicodedata.normalize(form, one + probe).startswith(one) for probe in _PROBES)
