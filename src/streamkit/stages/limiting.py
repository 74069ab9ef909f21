"""An answer that is long enough: text up to so many bytes or tokens, then the end.

A provider that never stops costs money and memory. The limit is on content alone, text, reasoning,
arguments, binary parts; control events pass and count nothing. The delta that reaches the limit is
cut at it, between two characters, and behind it events end as an answer does that reached its token
limit: `Finish("length")`. Whatever else is in the stream just ends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, final

import msgspec

from streamkit.events.model import EVENT_TYPES, DataDelta, Finish, ReasoningDelta, TextDelta, ToolCallDelta
from streamkit.stages.stage import Stage

__all__ = ["Limit", "utf8_bytes"]

# Where the content of an event stands.
_FIELD_OF: Final[dict[type[object], str]] = {
    TextDelta: "text",
    ReasoningDelta: "text",
    ToolCallDelta: "delta",
    DataDelta: "data",
}


def utf8_bytes(content: str | bytes) -> int:
    """How many bytes a text has on the wire.

    >>> utf8_bytes("né")
    3
    """
    if isinstance(content, bytes):
        return len(content)
    return len(content) if content.isascii() else len(content.encode("utf-8", "surrogatepass"))


@final
class Limit(Stage[Any, Any]):
    """Items until their content has reached `most`, as `size` counts it.

    Args:
        most: How much, at least 0.
        size: The size of a content: it must not shrink when text is added.
        reason: The `Finish.raw_reason` of a stream of events that was cut here.

    An answer that has begun and not ended gets a `Finish`, each one of several (n > 1).

    Memory: one number, and the choices that are open.

    >>> limit = Limit(5, utf8_bytes, "limit_bytes")
    >>> [*limit.feed(TextDelta("Hel"))], [item.type for item in limit.feed(TextDelta("lo you"))], limit.done
    ([TextDelta(text='Hel', index=0, choice=0)], ['text-delta', 'finish'], True)
    """

    state = ("_left", "_open")

    def __init__(self, most: int, size: Callable[[str | bytes], int], reason: str) -> None:
        self._left = most
        self._size = size
        self._reason = reason
        self._open: set[int] = set()

    def feed(self, item: Any) -> tuple[Any, ...]:
        """The item; its beginning, where the rest is over the limit."""
        kind = item.__class__
        field = _FIELD_OF.get(kind)
        content = item if kind is str or kind is bytes else getattr(item, field) if field is not None else ""
        if not content:
            if kind is Finish:
                self._open.discard(item.choice)
            return (item,)
        if field is not None:
            self._open.add(item.choice)
        size = self._size(content)
        if size <= self._left:
            self._left -= size
            return (item,)
        self.done = True
        kept = content[: self._fitting(content)]
        out: list[Any] = []
        if kept:
            out.append(kept if field is None else msgspec.structs.replace(item, **{field: kept}))
        if kind in EVENT_TYPES:
            out += [Finish("length", self._reason, choice) for choice in sorted(self._open)]
        return tuple(out)

    def _fitting(self, content: str | bytes) -> int:
        """The length of the longest beginning that fits."""
        low, high = 0, len(content)
        while low < high:
            middle = (low + high + 1) // 2
            if self._size(content[:middle]) <= self._left:
                low = middle
            else:
                high = middle - 1
        return low
