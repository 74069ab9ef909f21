"""What an item weighs: its characters, its bytes, or its tokens as far as they can be told from its length.

Text weighs what it is long: a string, the text of a delta, the arguments of a tool call as they grow. Of the
other events, which say something about the answer, each weighs nothing. What is neither needs a function of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

from streamkit.errors import ConfigError
from streamkit.events.model import EVENT_TYPES, DataDelta, ReasoningDelta, TextDelta, ToolCallDelta
from streamkit.events.stats import estimated_tokens, utf8_size

__all__ = ["Measure", "Weigh", "weigh_by"]

Measure: TypeAlias = Literal["characters", "bytes", "tokens"]
Weigh: TypeAlias = Callable[[object], float]


def weigh_by(measure: Measure) -> Weigh:
    """The function that weighs an item by this measure.

    Raises:
        ConfigError: no such measure.

    >>> weigh_by("characters")("héllo"), weigh_by("bytes")(TextDelta("héllo")), weigh_by("tokens")("hello")
    (5, 6, 2)
    """
    try:
        return _MEASURES[measure]
    except (KeyError, TypeError):
        raise ConfigError(f"{measure!r} is no measure: one of {', '.join(map(repr, _MEASURES))}, or a function") from None


def _characters(item: object) -> float:
    return len(_content(item, "characters"))


def _bytes(item: object) -> float:
    content = _content(item, "bytes")
    return utf8_size(content) if isinstance(content, str) else len(content)


def _tokens(item: object) -> float:
    content = _content(item, "tokens")
    return estimated_tokens(utf8_size(content) if isinstance(content, str) else len(content))


_MEASURES: dict[str, Weigh] = {"characters": _characters, "bytes": _bytes, "tokens": _tokens}


def _content(item: object, measure: str) -> str | bytes:
    """What is long about it."""
    match item:
        case str() | bytes():
            return item
        case TextDelta() | ReasoningDelta():
            return item.text
        case ToolCallDelta():
            return item.delta
        case DataDelta():
            return item.data
        case _ if isinstance(item, EVENT_TYPES):
            return ""
        case _:
            raise TypeError(f"a {type(item).__name__} has no {measure}: give a function that weighs it")
