r"""Keys and tokens in a text that comes in pieces, masked by as many stars, wherever it is cut.

    Bearer x...     api keys by their beginnings (sk-, gsk_, hf_, AKIA ...)     fields: api_key, x-api-key,
                                                                                authorization, password ...

What is masked is the value, in place, so that lengths and cuts stay what they were. A piece is given once no further text
can change it: only the end of a line that may be the beginning of a secret is held back, at most `WINDOW` characters.
A secret that is written across several fields of JSON, one delta each, is no text at this level; whoever masks deltas
masks their text. A word that only looks like a key is masked too: the loss of a word is the cheaper mistake.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["WINDOW", "Masker", "masked"]

WINDOW: Final = 96

_FLAGS: Final = re.IGNORECASE | re.ASCII
_QUOTES: Final = r"""\\{0,3}["']?"""
_VALUE: Final = r"""[^\s"',&}\\]"""
_SECRET: Final = re.compile(
    rf"""
    (?<![\w-])(?:
        bearer [ \t]{{1,8}} (?P<token>[\w.+/=~-]{{8,}})
      | (?:sk|pk|rk|xai)- (?P<key>[\w-]{{12,}})
      | (?:gsk|hf|ghp|gho|ghs|github_pat)_ (?P<word>\w{{16,}})
      | (?:AKIA|ASIA|AIza|ya29\.) (?P<cloud>[\w-]{{12,}})
    )
    | (?:api[-_]?key | authorization | (?:access|refresh)[-_]?token | client[-_]?secret | password)
      {_QUOTES} [ \t]{{0,8}} [:=] [ \t]{{0,8}} {_QUOTES} (?:(?:bearer|basic)[ \t]{{1,8}})? (?P<field>{_VALUE}{{6,}})
    """,
    _FLAGS | re.VERBOSE,
)
# One of these is in every secret, in lower case; a text without them is not searched, which is ten times the cost.
_HINTS: Final = (
    *("bearer", "sk-", "pk-", "rk-", "xai-", "gsk_", "hf_", "ghp_", "gho_", "ghs_", "github_pat_", "akia", "asia", "aiza"),
    *("ya29.", "api", "authorization", "access", "refresh", "secret", "password"),
)
# How each kind goes on when it reaches the end of what is known.
_MORE: Final = {
    "token": re.compile(r"[\w.+/=~-]*", _FLAGS),
    "key": re.compile(r"[\w-]*", _FLAGS),
    "word": re.compile(r"\w*", _FLAGS),
    "cloud": re.compile(r"[\w-]*", _FLAGS),
    "field": re.compile(f"{_VALUE}*", _FLAGS),
}
# The end of a text that may be the beginning of any of them: a word, a separator, a scheme, a value, each or none.
_OPEN: Final = re.compile(
    rf"[\w-]*+{_QUOTES}[ \t]{{0,8}}[:=]?[ \t]{{0,8}}{_QUOTES}(?:(?:bearer|basic)[ \t]{{1,8}})?{_VALUE}*\\{{0,3}}\Z", _FLAGS
)


class Masker:
    """One text, in pieces.

    Memory: `WINDOW` characters, and the piece.

    >>> masker = Masker()
    >>> [masker.feed("key sk-abc"), masker.feed("def0123456"), masker.feed("789 ok\\n"), masker.flush()]
    ['', '', 'key sk-**************** ok\\n', '']
    """

    __slots__ = ("_before", "_held", "_inside")

    def __init__(self) -> None:
        self._held = ""
        self._before = ""  # the character before, which says whether a word begins
        self._inside: re.Pattern[str] | None = None

    def feed(self, text: str) -> str:
        """What is decided by now, of this and the pieces before; as long as they were."""
        return self._decide(text, WINDOW)

    def flush(self) -> str:
        """The rest: nothing follows."""
        return self._decide("", 0)

    def _decide(self, text: str, window: int) -> str:
        given: list[str] = []
        known = self._before + self._held + text
        start = at = len(self._before)
        if self._inside is not None:
            end = self._inside.match(known, at).end()  # type: ignore[union-attr]  # it matches nothing, too
            given.append("*" * (end - at))
            at = end
            if end == len(known):
                return self._gave(given, known, end) if end > start else ""
            self._inside = None
        hold = len(known)
        if window:
            tail = max(known.rfind("\n") + 1, len(known) - window, at)
            found = _OPEN.search(known, tail)
            assert found is not None  # the empty end, at least
            hold = found.start()
        lowered = known.lower()
        for match in _SECRET.finditer(known, at) if any(hint in lowered for hint in _HINTS) else ():
            if match.start() >= hold:
                break
            kind = str(match.lastgroup)
            begin, end = match.span(kind)
            given.append(known[at:begin])
            given.append("*" * (end - begin))
            at = end
            hold = max(hold, end)
            if end == len(known):
                self._inside = _MORE[kind]
        given.append(known[at:hold])
        return self._gave(given, known, hold)

    def _gave(self, given: list[str], known: str, end: int) -> str:
        self._held = known[end:]
        self._before = known[end - 1 : end]
        return "".join(given)


def masked(text: str) -> str:
    """A whole text with its secrets masked.

    >>> masked('{"api_key": "abcdef0123", "n": 1}')
    '{"api_key": "**********", "n": 1}'
    """
    masker = Masker()
    return masker.feed(text) + masker.flush()
