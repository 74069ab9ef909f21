"""Text with tags in it, as events: reasoning apart from the answer, wherever the tokens were cut.

A tag is one of the given names in the manner of HTML (13.1.2 of its standard), in letters of either case:

    <name>  <name key="a > b" key=c>  <name/>       opens; the last is closed at once
    </name>                                         closes the innermost open tag of that name, and those inside of it

Everything else is text: `a < b`, other names, a closing tag that nothing opened, a tag with another `<` outside of its quotes, one
that is longer than `max_tag_chars` or would be nested too deep. A tag in a code block is a tag: the model that writes
`<think>` does not know of Markdown there, and neither does this stage.

What stands in a tag belongs to the innermost one: reasoning if its name is one of those, its own events otherwise. A tag that
is never closed holds all that follows. Only the end of the text that may still become a tag is held back, and it is text if
nothing comes. White space stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import ClassVar, Final, TypeAlias, final

from streamkit.errors import ConfigError
from streamkit.events import Custom, ReasoningDelta, TextDelta
from streamkit.stages.stage import Stage, not_text

__all__ = ["REASONING_TAGS", "SplitTags", "TextPart"]

TextPart: TypeAlias = TextDelta | ReasoningDelta | Custom

# What models are known to put their reasoning into.
REASONING_TAGS: Final = ("think", "thinking", "thought", "thoughts", "reasoning")

_NAME: Final = re.compile(r"[a-z][\w.:-]{0,63}", re.IGNORECASE | re.ASCII)
_ATTRIBUTE: Final = re.compile(r"""([^\s=/<>"']+)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s<>"']+?(?=/?$|\s))))?""", re.ASCII)
# A quote quotes behind `=` alone: `<think it's me>` is a tag.
_BODY: Final = r"""(?>=\s*+(?:"[^"]*+"|'[^']*+'|(?!["']))|[^<>=])*+"""


@final
class SplitTags(Stage[str, TextPart]):
    """Text as `TextDelta`, `ReasoningDelta` and, for tags that hold no reasoning, `Custom("tag", ...)`.

    Args:
        tags: The names of the tags. None at all, here and in `reasoning`: those of `REASONING_TAGS`.
        reasoning: Names of tags that hold reasoning; None takes those of `tags` that are in `REASONING_TAGS`.
        open: The tag, one of those above, that the text begins in: some models' templates have written it already. If the text
            begins with it nevertheless, it is not opened twice.
        max_tag_chars: The longest tag, with its attributes. A longer one is text.
        max_depth: Most tags open at once. One more is text.

    The data of `Custom("tag", data)`, in this order, `tag` being the name as it was given here:

        {"tag": "note", "part": "start", "attributes": {"kind": "a"}}     an attribute without a value is ""
        {"tag": "note", "part": "text", "text": "more of what is inside"}
        {"tag": "note", "part": "end"}                                    none for a tag that is never closed

    Memory: `max_tag_chars` characters, and the names of the open tags. Time is linear in the text.

    >>> split = SplitTags(["think"])
    >>> [*split.feed("<thi"), *split.feed("nk>so"), *split.feed("</think>2 <"), *split.feed(" 3")]
    [ReasoningDelta(text='so', index=0, choice=0, signature=None, redacted=None), TextDelta(text='2 ', index=0, choice=0), \
TextDelta(text='< 3', index=0, choice=0)]
    """

    state: ClassVar = ("_held", "_stack", "_blank")

    def __init__(
        self,
        tags: Iterable[str] = (),
        *,
        reasoning: Iterable[str] | None = None,
        open: str | None = None,
        max_tag_chars: int = 1024,
        max_depth: int = 32,
    ) -> None:
        """Raises TypeError for names that are no str, ConfigError for those that no tag can have and for bounds too low."""
        named = _names("tags", tags)
        thinking = None if reasoning is None else _names("reasoning", reasoning)
        if not named and not thinking:
            named = dict.fromkeys(REASONING_TAGS)
        thoughts = [name for name in named if name.lower() in REASONING_TAGS] if thinking is None else list(thinking)
        for name, value, least in (("max_tag_chars", max_tag_chars, 8), ("max_depth", max_depth, 1)):
            if value.__class__ is not int or value < least:
                raise ConfigError(f"split_tags({name}={value!r}): an int of at least {least}")
        self._names = {name.lower(): name for name in (*named, *thoughts)}
        self._reasoning = frozenset(name.lower() for name in thoughts)
        self._longest = max_tag_chars
        self._deepest = max_depth
        self._whole, self._begun = _grammar(tuple(self._names))
        if open is not None and (not isinstance(open, str) or open.lower() not in self._names):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without types
            raise ConfigError(f"split_tags(open={open!r}): none of the tags {', '.join(self._names.values())}")
        self._held = ""
        self._stack: list[str] = [] if open is None else [open.lower()]  # in small letters, as all names here
        self._blank = open is not None  # nothing has come yet but the tag that was open before

    def feed(self, item: str) -> Iterable[TextPart]:
        """What this text is, up to where a tag may begin that is not complete."""
        if not isinstance(item, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without types
            raise not_text("split_tags", item)
        if not self._held and "<" not in item and not self._blank:
            return (self._part(item),) if item else ()
        return self._split(self._held + item)

    def flush(self) -> Iterable[TextPart]:
        """What might have become a tag is text."""
        held, self._held = self._held, ""
        return (self._part(held),) if held else ()

    def _split(self, text: str) -> list[TextPart]:
        parts: list[TextPart] = []
        begin = 0
        look = text.find("<")
        end = len(text)
        while look >= 0:
            tag = self._whole.match(text, look, look + self._longest)
            if tag is not None and self._is_tag(tag):
                self._add(parts, text[begin:look])
                self._take(parts, tag)
                begin = tag.end()
                look = text.find("<", begin)
                continue
            if tag is None and end - look < self._longest and self._may_become_tag(text, look):
                end = look
                break
            look = text.find("<", look + 1)
        self._add(parts, text[begin:end])
        self._held = text[end:]
        return parts

    def _is_tag(self, tag: re.Match[str]) -> bool:
        """Whether this tag has a meaning where it stands."""
        if tag[1]:
            return tag[2].lower() in self._stack
        return len(self._stack) < self._deepest

    def _may_become_tag(self, text: str, look: int) -> bool:
        """Whether all of the text from `look` on may be the beginning of a tag that has a meaning there."""
        if self._begun.match(text, look) is None:
            return False
        if not text.startswith("/", look + 1):
            return len(self._stack) < self._deepest or look + 1 == len(text)
        name = text[look + 2 :].lower()
        return any(one.startswith(name) or one == name.rstrip() for one in self._stack)

    def _take(self, parts: list[TextPart], tag: re.Match[str]) -> None:
        name = tag[2].lower()
        twice, self._blank = self._blank, False
        if tag[1]:
            while True:
                last = self._stack.pop()
                self._tell(parts, last, "end")
                if last == name:
                    return
        if twice and [name] == self._stack:
            return
        body = tag[3]
        if name not in self._reasoning:
            attributes = {found[1]: found[2] or found[3] or found[4] or "" for found in _ATTRIBUTE.finditer(body)}
            parts.append(Custom("tag", {"tag": self._names[name], "part": "start", "attributes": attributes}))
        if body.endswith("/"):
            self._tell(parts, name, "end")
        else:
            self._stack.append(name)

    def _tell(self, parts: list[TextPart], name: str, part: str) -> None:
        if name not in self._reasoning:
            parts.append(Custom("tag", {"tag": self._names[name], "part": part}))

    def _add(self, parts: list[TextPart], text: str) -> None:
        if text:
            parts.append(self._part(text))
            self._blank = self._blank and text.isspace()

    def _part(self, text: str) -> TextPart:
        """Text where it stands now."""
        if not self._stack:
            return TextDelta(text)
        name = self._stack[-1]
        if name in self._reasoning:
            return ReasoningDelta(text)
        return Custom("tag", {"tag": self._names[name], "part": "text", "text": text})


def _names(parameter: str, names: Iterable[str]) -> dict[str, None]:
    if isinstance(names, str):
        raise TypeError(f"split_tags takes names of {parameter} in a list, got one str: write [{names!r}]")
    given = list(names)
    for name in given:
        if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without types
            raise TypeError(f"the name of a tag is a str, got {name!r}")
        if _NAME.fullmatch(name) is None:
            raise ConfigError(
                f"no tag can have the name {name!r}: a letter first, then letters, digits, and _ . : -, without < and >"
            )
    return dict.fromkeys(given)


# A pipeline makes a stage per Run, and a lifted one per content block, all with the same tags.
@lru_cache(maxsize=64)
def _grammar(names: tuple[str, ...]) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """A tag; and the end of a text that may become one."""
    name = "|".join([re.escape(one) for one in sorted(names, key=len, reverse=True)])
    half = "|".join([re.escape(one[:length]) for one in names for length in range(len(one), 0, -1)])
    flags = re.IGNORECASE | re.ASCII
    whole = re.compile(rf"<(?:(/)(?=[a-z])|)({name})((?(1)\s*|(?:[\s/]{_BODY})?))>", flags)
    begun = re.compile(rf"<(?:/?(?:{half})?|/(?:{name})\s*|(?:{name})[\s/]{_BODY}(?:=\s*+(?:\"[^\"]*+|'[^']*+)?)?)\Z", flags)
    return whole, begun
