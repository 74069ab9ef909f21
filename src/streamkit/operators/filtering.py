"""Operators that look for something in a text, wherever it was cut: tags, texts, patterns, secrets.

A model's own text goes in as it is; events go in through `on_text`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast, overload

from streamkit.events.model import Event
from streamkit.flow.plan import Op, Step, call_label, check_count, unless
from streamkit.stages.redacting import Redact
from streamkit.stages.replacing import Replace
from streamkit.stages.tagging import SplitTags

__all__ = ["redact", "replace", "split_tags"]


def split_tags(
    *tags: str,
    reasoning: Iterable[str] | None = None,
    open: str | None = None,
    max_tag_chars: int = 1024,
    max_depth: int = 32,
) -> Op[str, Event]:
    """Tell the text inside of tags from the text outside, and reasoning from both.

    Args:
        tags: Names of tags, without `<` and `>`; letters of either case are the same. None at all: the names that models are known
            to use for reasoning (think, thinking, thought, thoughts, reasoning).
        reasoning: Names of tags that hold reasoning, beside or instead of those among `tags` that are known for it.
        open: A tag that is open before the text begins, as the templates of some models leave it.
        max_tag_chars: Longest tag with its attributes; a longer one is text.
        max_depth: Most tags inside each other; one more is text.

    Yields:
        `TextDelta` outside of tags, `ReasoningDelta` inside of one that holds reasoning, and for others
        `Custom("tag", {"tag": name, "part": "start" | "text" | "end", ...})`, a start with its "attributes" and a text with its
        "text". The tags themselves are not given. A closing tag that nothing opened is text; a tag that is never closed holds
        all that follows. Tags in Markdown code count too. How the text was cut before changes nothing once neighbours are joined.
        Tags are written as in HTML (13.1.2 of its standard).

    Memory: `max_tag_chars` characters, and the names of the open tags.
    Cancellation: what may become a tag is dropped; the source is closed.
    Raises:
        ConfigError, TypeError: a name that no tag can have, `open` that is none of the tags, or bounds too low, at the call.

    >>> answer = stream(["<thi", "nk>2 < 3</th", "ink>Yes"])
    >>> run((answer | split_tags("think")).map(lambda event: (event.type, event.text)).collect())
    [('reasoning-delta', '2 < 3'), ('text-delta', 'Yes')]
    """
    thinking = reasoning if reasoning is None or isinstance(reasoning, str) else tuple(reasoning)

    def made() -> SplitTags:
        return SplitTags(tags, reasoning=thinking, open=open, max_tag_chars=max_tag_chars, max_depth=max_depth)

    check_count("split_tags", "max_tag_chars", max_tag_chars, 8)
    check_count("split_tags", "max_depth", max_depth, 1)
    made()  # names that are none are refused here
    options = {"max_tag_chars": unless(1024, max_tag_chars), "max_depth": unless(32, max_depth)}
    return Op(Step("stage", call_label("split_tags", *tags, reasoning=thinking, open=open, **options), made))


@overload
def replace(what: Mapping[str, str], /) -> Op[str, str]: ...
@overload
def replace(what: str, by: str | Callable[[re.Match[str]], str], /) -> Op[str, str]: ...
@overload
def replace(
    what: re.Pattern[str], by: str | Callable[[re.Match[str]], str], /, *, max_repeat: int = 256, trusted: bool = False
) -> Op[str, str]: ...
def replace(what: Any, by: Any = None, /, *, max_repeat: int = 256, trusted: bool = False) -> Op[str, str]:
    r"""Put something else in the place of texts or of what a pattern matches.

    Args:
        what: A text, a compiled pattern, or a mapping from texts to what takes their place.
        by: What takes the place of a match, as it stands, `\1` and all; or a function of the match. Not for a mapping.
        max_repeat: What `*`, `+` and `{n,}` in a pattern mean at most. If `by` is a text, one that ends the pattern has no limit.
        trusted: Take a pattern in which something of varying length is repeated many times, which on a hostile text may cost
            exponential time (CWE-1333).

    Yields:
        The text as `re.sub` would give it: the leftmost match first, of a mapping's texts the longest at a place. Only what may
        still become a match is held back. How the text was cut before changes nothing.

    Memory: the longest match, which a pattern without limits of its own has by `max_repeat`.
    Cancellation: what is held back is dropped; the source is closed.
    Raises:
        ConfigError: a pattern that can match the empty text, that may explode, or that may match more than a million
            characters, at the call.
        TypeError: other kinds of arguments, at the call; a function that gives no str, at its match.

    >>> run((stream(["see [", "12", "] and [3]"]) | replace(re.compile(r"\[(\d+)\]"), lambda found: f"({found[1]})")).join())
    'see (12) and (3)'
    """
    check_count("replace", "max_repeat", max_repeat, 1)
    given: Any = dict(cast("Mapping[str, str]", what)) if isinstance(what, Mapping) else what
    Replace(given, by, max_repeat=max_repeat, trusted=trusted)  # what cannot be replaced is refused here
    label = call_label("replace", given, by, max_repeat=unless(256, max_repeat))
    return Op(Step("stage", label, lambda: Replace(given, by, max_repeat=max_repeat, trusted=trusted)))


def redact(*patterns: str | re.Pattern[str], by: str = "[redacted]", max_repeat: int = 256, trusted: bool = False) -> Op[str, str]:
    """Take secrets and personal numbers out of a text: never a part of one is given.

    Args:
        patterns: Names of kinds, and compiled patterns. At least one; the first that matches at a place counts. The kinds:
            "card" (13 to 19 digits in groups, with Luhn's check digit), "email", "iban" (with its check digits), "ipv4", "key"
            (`sk-...`, `ghp_...`, `AKIA...`, `Bearer ...`, JSON web tokens and the like), "phone", "ssn".
        by: What takes the place of each.
        max_repeat: What `*`, `+` and `{n,}` in a pattern of one's own mean at most; one that ends the pattern has no limit.
        trusted: As for `replace`.

    Yields:
        The text without them. What may still become one of them is held back, and nothing else; `streamkit.stages.redacting` says
        for each kind how much that can be. If the source fails, it is dropped. How the text was cut before changes nothing.

    Memory: the longest match.
    Cancellation: what is held back is dropped; the source is closed.
    Raises:
        ConfigError: no pattern, an unknown kind, or a pattern that `replace` refuses, at the call.
        TypeError: other kinds of arguments, at the call.

    >>> run((stream(["card 4111 11", "11 1111 1111, a", "@b.example"]) | redact("card", "email")).join())
    'card [redacted], [redacted]'
    """
    check_count("redact", "max_repeat", max_repeat, 1)
    Redact(patterns, by, max_repeat=max_repeat, trusted=trusted)
    label = call_label("redact", *patterns, by=unless("[redacted]", by), max_repeat=unless(256, max_repeat))
    return Op(Step("stage", label, lambda: Redact(patterns, by, max_repeat=max_repeat, trusted=trusted)))
