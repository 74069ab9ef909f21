"""Text with some of it replaced, wherever the tokens were cut.

What comes out is what `re.sub` gives for the whole text, with repeats limited to `max_repeat`: leftmost first, and of several texts
that begin at the same character the longest. Held back is only what may still become a match, or a longer one
(`streamkit.stages.matching` says how that is known); so it depends on the text so far and not on its cuts.

Time is linear in the text. While something is held back each piece looks at it once more, and it is never longer than a match
can be; a pattern whose repeats overlap (`.*x.*y`) costs `re` a power of their limit for a place where it fails.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from inspect import iscoroutine
from typing import ClassVar, Final, TypeAlias, final

from streamkit.errors import ConfigError
from streamkit.stages.matching import OpenPattern, one_of
from streamkit.stages.stage import Stage, not_text

__all__ = ["By", "Found", "Replace", "Searching"]

By: TypeAlias = "str | Callable[[re.Match[str]], str]"

# Where the text that is replaced begins and ends, what takes its place, and which pattern found it; None where nothing is
# replaced, False where what follows decides.
Found: TypeAlias = "tuple[int, int, str, int] | bool | None"

_OUTSIDE: Final = -1


class Searching(Stage[str, str]):
    """What has matches replaced in common: the text that is undecided, and what a pattern must see before it.

    Memory: `longest` and `behind` characters of `OpenPattern`, and the piece.
    """

    state: ClassVar = ("_before", "_held", "_inside")

    def __init__(self, patterns: OpenPattern) -> None:
        self._patterns = patterns
        self._first = patterns.first
        self._behind = patterns.behind
        self._before: str = ""
        self._held: str = ""
        self._inside = _OUTSIDE  # the pattern whose match goes on, already replaced

    def _found(self, known: str, match: re.Match[str], ended: bool) -> Found:
        """What becomes of a match."""
        raise NotImplementedError(f"{type(self).__name__}._found")

    def feed(self, item: str) -> tuple[str, ...]:
        """The text that is decided by now."""
        if not isinstance(item, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without types
            raise not_text(type(self).__name__.lower(), item)
        if not item:
            return ()
        if not self._held and self._inside < 0 and self._first is not None and self._first.search(item) is None:
            behind = self._behind
            self._before = item[-behind:] if len(item) >= behind else (self._before + item)[-behind:]
            return (item,)
        return self._decide(item, ended=False)

    def flush(self) -> tuple[str, ...]:
        """The rest: nothing follows."""
        given = self._decide("", ended=True)
        self._before = self._held = ""
        self._inside = _OUTSIDE
        return given

    def _decide(self, item: str, ended: bool) -> tuple[str, ...]:
        patterns = self._patterns
        start = len(self._before)
        known = self._before + self._held + item
        hold = len(known)
        at = start
        if self._inside >= 0:
            at = _end_of(patterns.more[self._inside], known, at)
            if at == hold:
                self._before = known[-self._behind :]
                return ()
            self._inside = _OUTSIDE
        look = at
        given: list[str] = []
        search = patterns.pattern.search if ended else patterns.search
        while (match := search(known, look)) is not None:
            found = False if not ended and patterns.undecided(match) else self._found(known, match, ended)
            if found is None:
                look = match.start() + 1
            elif isinstance(found, bool):
                hold = match.start()
                break
            else:
                begin, end, text, which = found
                given += (known[at:begin], text)
                more = patterns.more[which]
                look = at = end if more is None else _end_of(more, known, end)
                if more is not None and at == hold:
                    self._inside = which
        if not given and at == start and hold == len(known) and not self._held:
            self._before = known[-self._behind :]
            return (item,) if item else ()
        given.append(known[at:hold])
        self._before = known[max(0, hold - self._behind) : hold]
        self._held = known[hold:]
        text = "".join(given)
        return (text,) if text else ()


@final
class Replace(Searching):
    """Text in which what is looked for is something else.

    Args:
        what: A text, a compiled pattern, or a mapping from texts to what takes their place.
        by: What takes the place of a match, as it stands; or a function of the match. None for a mapping.
        max_repeat: What `*`, `+` and `{n,}` in a pattern mean at most. A last one, such as the `+` of `key-\\w+`, has no limit
            if `by` is a text: its match is replaced as soon as it is one, and what goes on with it is dropped.
        trusted: Take a pattern that may cost exponential time.

    A function gets what `re` would give it, once for each match; its `re.pattern` is None.

    >>> replace = Replace({"colour": "color", "colours": "colors"})
    >>> [*replace.feed("red col")], [*replace.feed("our")], [*replace.feed(" and")], [*replace.flush()]
    (['red '], [], ['color and'], [])
    """

    def __init__(
        self,
        what: str | re.Pattern[str] | Mapping[str, str],
        by: By | None = None,
        *,
        max_repeat: int = 256,
        trusted: bool = False,
    ) -> None:
        """Raises TypeError for other kinds, ConfigError for what can match the empty text, may explode, or is too long."""
        if max_repeat.__class__ is not int or max_repeat < 1:
            raise ConfigError(f"replace(max_repeat={max_repeat!r}): an int of at least 1")
        self._by: str | None = None
        self._call: Callable[[re.Match[str]], str] | None = None
        self._texts: dict[str, str] | None = None
        if isinstance(what, Mapping):
            if by is not None:
                raise TypeError("replace() takes a mapping alone: it says by what each text is replaced")
            self._texts = dict(what)
            pattern = _any_of(self._texts)
        else:
            if isinstance(by, str):
                self._by = by
            elif callable(by):
                self._call = by
            else:
                raise TypeError(f"replace(by=...) takes a str or a function of the match, got {type(by).__name__}")
            pattern = _any_of({what: ""}) if isinstance(what, str) else what
        if not isinstance(pattern, re.Pattern) or not isinstance(pattern.pattern, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without types
            raise TypeError(f"replace() takes a str, a compiled pattern of str or a mapping, got {what!r}")
        super().__init__(one_of(pattern, max_repeat, trusted, self._by is not None))

    def _found(self, known: str, match: re.Match[str], ended: bool) -> Found:
        begin, end = match.span()
        if self._by is not None:
            return begin, end, self._by, 0
        if self._texts is not None:
            return begin, end, self._texts[match[0]], 0
        # The pattern as it is meant, which has found the same and has no mark in it.
        meant = self._patterns.pattern.match(known, begin)
        assert meant is not None
        assert self._call is not None
        text = self._call(meant)
        if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without types
            if iscoroutine(text):
                text.close()
            raise TypeError(f"replace(by=...): the function gave a {type(text).__name__}, and must give a str")
        return begin, end, text, 0


def _any_of(texts: Mapping[str, str]) -> re.Pattern[str]:
    """The longest of these texts that begins at a place."""
    for text, by in texts.items():
        if not isinstance(text, str) or not isinstance(by, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without types
            raise TypeError(f"replace() takes a mapping from str to str, got {text!r}: {by!r}")
        if not text:
            raise ConfigError("replace(): the empty text is everywhere, and cannot be replaced")
    if not texts:
        raise ConfigError("replace() needs at least one text to look for")
    return re.compile("|".join([re.escape(text) for text in sorted(texts, key=len, reverse=True)]))


def _end_of(more: re.Pattern[str] | None, known: str, at: int) -> int:
    """Where what a match goes on with ends."""
    match = None if more is None else more.match(known, at)
    return at if match is None else match.end()
