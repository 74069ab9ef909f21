"""Secrets and personal numbers taken out of a text that comes in pieces, and never given in part.

    kind    what it is                                                                       held back at most
    card    13 to 19 digits whose last one fits (Luhn; ISO/IEC 7812-1, annex B), in groups   76 characters
    email   name@host.tld, in Latin letters                                                  593
    iban    country, two check digits that fit (ISO 13616: mod 97 is 1), up to 30 more       65
    ipv4    four numbers up to 255 with dots                                                 17
    key     sk-..., ghp_..., AKIA..., "Bearer ...", JSON web tokens, and their like          43
    phone   +, then 7 to 15 digits; or three, three and four digits                          45
    ssn     123-45-6789, without the numbers that are never given out                        15

All that may still become one of them is held back, and nothing else. A key, however long, is replaced once it is long enough to be
one, and what goes on with it is dropped. If the input fails, what is held back is dropped too: it may be half a secret.

A word that only looks like a secret is redacted: the loss of a word is the cheaper mistake. What is written in other words, in
pieces with text between, or in another encoding is not found; this is a net, not a wall.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, final

from streamkit.errors import ConfigError
from streamkit.stages.matching import OpenPattern, first_of
from streamkit.stages.replacing import Found, Searching

__all__ = ["KINDS", "Redact"]


@final
class Redact(Searching):
    """Text without what must not be seen.

    Args:
        patterns: Names of kinds, and compiled patterns: `re.compile(re.escape(text))` for a text that means itself. The first
            that matches at a place counts.
        by: What takes the place of each.
        max_repeat: What `*`, `+` and `{n,}` in a pattern of one's own mean at most. A last one has no limit: all of it is dropped.
        trusted: Take a pattern that may cost exponential time.

    Memory: the longest match, and the piece.

    >>> redact = Redact(["card", "email"])
    >>> [*redact.feed("to a@b.example, 4111 1111")], [*redact.feed(" 1111 1111")], [*redact.feed(" ok")], [*redact.flush()]
    (['to [redacted], '], [], ['[redacted] '], ['ok'])
    """

    def __init__(
        self, patterns: Sequence[str | re.Pattern[str]], by: str = "[redacted]", *, max_repeat: int = 256, trusted: bool = False
    ) -> None:
        """Raises TypeError for other kinds, ConfigError for a name that is none and for what `replace` refuses."""
        if not isinstance(by, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without types
            raise TypeError(f"redact(by=...) takes a str, got {type(by).__name__}")
        if max_repeat.__class__ is not int or max_repeat < 1:
            raise ConfigError(f"redact(max_repeat={max_repeat!r}): an int of at least 1")
        if not patterns:
            raise ConfigError(f"redact() needs at least one of {', '.join(KINDS)}, or a compiled pattern")
        found_by = [_found_by(pattern) for pattern in patterns]
        super().__init__(first_of(tuple([found for found, _ in found_by]), max_repeat, trusted))
        self._by = by
        self._checks = [check for _, check in found_by]
        # Where what a pattern found is not one of its kind, those behind it have their turn at the same place.
        alone = any(self._checks)
        self._alone: list[OpenPattern] = [first_of((found,), max_repeat, trusted) for found, _ in found_by] if alone else []

    def abort(self) -> tuple[str, ...]:
        """Nothing: what was held back may be half a secret."""
        self._before = self._held = ""
        return ()

    def _found(self, known: str, match: re.Match[str], ended: bool) -> Found:
        begin, end = match.span()
        found = (match.lastindex or 1) - 1
        for which in range(found, len(self._checks)):
            if which > found:
                alone = self._alone[which]
                again = alone.pattern.match(known, begin) if ended else alone.match(known, begin)
                if again is None:
                    continue
                if not ended and alone.undecided(again):
                    return False
                end = again.end()
            check = self._checks[which]
            span = (0, end - begin) if check is None else check(known[begin:end])
            if span is not None:
                return begin + span[0], begin + span[1], self._by, which
        return None


# Of a text that has the form: where the thing itself begins and ends.
Check = Callable[[str], "tuple[int, int] | None"]


class _Kind(NamedTuple):
    source: str
    flags: int = 0
    check: Check | None = None

    @property
    def pattern(self) -> re.Pattern[str]:
        """Compiled when it is asked for: all of them take longer than an import should."""
        return re.compile(self.source, self.flags)


_SPACE: Final = "[ \u00a0\u202f\\-\u2010-\u2013]"
_GROUP: Final = re.compile(r"\w+")
_CARD: Final = (13, 19)


def _card(text: str) -> tuple[int, int] | None:
    """The groups of digits, from the first on, that are a card's number, with those of other numbers that begin inside of it."""
    groups = [found.span() for found in _GROUP.finditer(text)]
    digits = [text[begin:end] for begin, end in groups]
    last = _card_from(digits, 0)
    if last < 0:
        return None
    one = 1
    while one <= last:
        last = max(last, _card_from(digits, one))
        one += 1
    return 0, groups[last][1]


def _card_from(digits: list[str], first: int) -> int:
    """The last group of the longest number that begins with this one; -1 if there is none."""
    number, found = "", -1
    for at in range(first, len(digits)):
        number += digits[at]
        if len(number) > _CARD[1]:
            break
        if len(number) >= _CARD[0] and _luhn(number):
            found = at
    return found


def _luhn(number: str) -> bool:
    values = [int(digit) for digit in reversed(number)]
    return any(values) and (sum(values[::2]) + sum([value * 2 - 9 * (value > 4) for value in values[1::2]])) % 10 == 0


def _iban(text: str) -> tuple[int, int] | None:
    """The most groups from the first on that are a number together."""
    ends = [found.end() for found in _GROUP.finditer(text)]
    for end in reversed(ends):
        number = "".join(_GROUP.findall(text[:end])).upper()
        if len(number) < 15:
            return None
        if int("".join([str(int(char, 36)) for char in number[4:] + number[:4]])) % 97 == 1:
            return 0, end
    return None


_OCTET: Final = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"

KINDS: Final[dict[str, _Kind]] = {
    "card": _Kind(rf"(?<!\d)\d(?:{_SPACE}?\d){{12,37}}(?!\d)", 0, _card),
    "email": _Kind(r"[A-Za-z0-9._%+'-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,16}"),
    "iban": _Kind(rf"(?<![A-Z0-9])[A-Z]{{2}}[0-9]{{2}}(?:{_SPACE}?[A-Z0-9]){{11,30}}(?![A-Z0-9])", re.I | re.A, _iban),
    "ipv4": _Kind(rf"(?<![0-9.])(?:{_OCTET}\.){{3}}{_OCTET}(?![0-9]|\.[0-9])"),
    "key": _Kind(
        r"""(?<![A-Z0-9])(?:
              (?:bearer | authorization:[ \t]{0,4}basic)[ \t]{1,4}[\w.+/=~:-]{16}
            | (?:sk|pk|rk|xai|pplx|glpat|xox[abeoprs])-[\w-]{12}
            | (?:sk|pk|rk)_(?:live|test)_\w{8}
            | (?:gsk|hf|gh[oprsu]|github_pat|npm|r8)_\w{16}
            | (?:AKIA|ASIA|AIza|ya29\.)[\w-]{12}
            | eyJ[\w.=-]{16}
            )[\w.+/=~:-]*""",
        re.VERBOSE | re.IGNORECASE | re.ASCII,
    ),
    "phone": _Kind(
        r"(?<![\w+])(?:\+[1-9](?:[ ().\u00a0-]{0,2}[0-9]){6,14}|(?:\([0-9]{3}\) ?|[0-9]{3}[ .-])[0-9]{3}[ .-][0-9]{4})(?![0-9])"
    ),
    "ssn": _Kind(r"(?<![0-9])(?!000|666|9)[0-9]{3}[ -](?!00)[0-9]{2}[ -](?!0000)[0-9]{4}(?![0-9])"),
}


def _found_by(pattern: str | re.Pattern[str]) -> tuple[re.Pattern[str], Check | None]:
    if isinstance(pattern, str):
        if pattern not in KINDS:
            raise ConfigError(
                f"redact({pattern!r}): none of {', '.join(KINDS)}; "
                f"for a text that means itself pass re.compile(re.escape({pattern!r}))"
            )
        kind = KINDS[pattern]
        return kind.pattern, kind.check
    if not isinstance(pattern, re.Pattern) or not isinstance(pattern.pattern, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without types
        raise TypeError(f"redact() takes names of kinds and compiled patterns of str, got {pattern!r}")
    return pattern, None
