"""How a body is cut into frames, and whether it is such a body at all: one class for each `Dialect.framing` that is read.

A wire's decoder knows its grammar only. What is known here besides is what servers do to bodies: they leave out the last line
end, send a page or a JSON document in place of a stream, or give the reason of a failure in a field of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, Protocol, cast

from streamkit.dialects.protocol import Framing
from streamkit.dialects.provider_errors import is_foreign_body
from streamkit.errors import RemoteProtocolError
from streamkit.wire import ndjson, sse
from streamkit.wire.sse import Frame

__all__ = ["GRAMMARS", "Grammar", "Lines", "ServerSentEvents"]

_FIELD: Final = re.compile(rb"(?:\A(?:\xef\xbb\xbf)?|[\r\n])(?:data|event|id|retry|error)?:")
_FIELDS: Final = (b"data:", b"event:", b"retry:", b"id:")
_BOM: Final = b"\xef\xbb\xbf"


class _Wire(Protocol):
    @property
    def error(self) -> RemoteProtocolError | None: ...


class Grammar(Protocol):
    """The grammar of one body.

    Attributes:
        wire: The wire's decoder, for its `error`.
        feed: The frames that bytes complete, as the wire's decoder gives them.
        reason: Why the answer failed, where the server said it outside of all frames; else "".
    """

    @property
    def wire(self) -> _Wire: ...

    @property
    def feed(self) -> Callable[[bytes], list[Frame]]: ...

    @property
    def reason(self) -> str: ...

    def begins(self, first: Frame, status: int) -> bool:
        """Whether a body whose first frame is this one is such a stream."""
        ...

    def could_be(self, head: bytes) -> bool:
        """Whether a body that gave no frame yet could still be one."""
        ...

    def unclosed(self) -> list[Frame]:
        """The body ended: the last frame, if it lacks only what ends a frame. Some servers leave that out, and files lose it."""
        ...

    def finish(self) -> None:
        """The body ended: what is still held is dropped.

        Raises:
            RemoteProtocolError: the wire's `error`.
        """
        ...


class ServerSentEvents:
    """SSE.

    >>> grammar = ServerSentEvents(1000)
    >>> grammar.feed(b"data: {}"), grammar.unclosed()
    ([], [Frame(type='message', data='{}', id='')])
    """

    __slots__ = ("feed", "wire")

    def __init__(self, max_event_bytes: int) -> None:
        self.wire: Final = sse.Decoder(max_event_bytes=max_event_bytes)
        self.feed: Final = self.wire.feed

    @property
    def reason(self) -> str:
        """The value of the last field `error`: llama.cpp sent it, gateways still do."""
        return self.wire.ignored_error

    def begins(self, first: Frame, status: int) -> bool:
        """Always: what is no event stream gives no frame."""
        return True

    def could_be(self, head: bytes) -> bool:
        """Whether it has a comment or a field, or the beginning of one."""
        if is_foreign_body(head):
            return False
        return _FIELD.search(head) is not None or any(field.startswith(head.removeprefix(_BOM).strip()) for field in _FIELDS)

    def unclosed(self) -> list[Frame]:
        """The last block, if it lacks only the blank line behind it."""
        if self.wire.error is not None:
            return []
        return [frame for frame in self.wire.feed(b"\n\n") if frame.data == "[DONE]" or _is_whole(frame.data, "{")]

    def finish(self) -> None:
        """Drop what is held, or raise the wire's error."""
        self.wire.finish()


class Lines:
    """NDJSON. A line is an object, a list or a text: a number or a word that the end cuts looks whole, and is refused.

    >>> grammar = Lines(1000)
    >>> grammar.feed(b'{"a":1}\\n{"a":'), grammar.unclosed()
    ([Frame(type='message', data='{"a":1}', id='')], [])
    """

    __slots__ = ("feed", "wire")

    def __init__(self, max_event_bytes: int) -> None:
        self.wire: Final = ndjson.Decoder(max_event_bytes=max_event_bytes)
        self.feed: Final = self.wire.feed

    @property
    def reason(self) -> str:
        """Nothing: here all is said in frames."""
        return ""

    def begins(self, first: Frame, status: int) -> bool:
        """Whether it is a line of JSON in an answer that did not fail: refusals are lines of JSON, too."""
        return status < 300 and first.data[:1] in _OPENING and not ('"error"' in first.data and _is_refusal(first.data))

    def could_be(self, head: bytes) -> bool:
        """Whether it is a line of JSON, the beginning of one, or nothing but signs of life."""
        begun = head.removeprefix(_BOM).strip()
        return not begun or begun[:1] in _OPENING_BYTES or _BOM.startswith(begun)

    def unclosed(self) -> list[Frame]:
        """The last line, if it is whole."""
        if self.wire.error is not None:
            return []
        return [frame for frame in self.wire.finish() if _is_whole(frame.data, _OPENING)]

    def finish(self) -> None:
        """Drop what is held, or raise the wire's error."""
        self.wire.finish()


GRAMMARS: Final[Mapping[Framing, Callable[[int], Grammar]]] = MappingProxyType({"sse": ServerSentEvents, "ndjson": Lines})
"""Of each framing that is read what makes its grammar, with the largest event in bytes."""

_OPENING: Final = ("{", "[", '"')
_OPENING_BYTES: Final = (b"{", b"[", b'"')


def _is_whole(data: str, opening: str | tuple[str, ...]) -> bool:
    """Whether nothing can be missing from JSON that was not closed."""
    try:
        if not data.startswith(opening):
            return False
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True


def _is_refusal(data: str) -> bool:
    """Whether it is the error of a gateway, in place of a stream: an object with an `error` and no type."""
    try:
        value: object = json.loads(data)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and "type" not in value and bool(cast("dict[str, object]", value).get("error"))
