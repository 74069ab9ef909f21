"""Dialect times framing: the events of one stream as bytes, ready for any transport.

    items ──dialect's Encoder──> OutFrames ──framing──> bytes, one object per batch

A codec knows no sockets and no time. It is driven in this order: `open()`, `encode(batch)` for each
batch, `close(outcome)`; what one call returns is sent in one write, and an empty result is not sent.

What counts as an item: every event, and text. A `str` is a `TextDelta`, so that a generator of
strings is served as it is. Anything else is a TypeError that says how to map it: no dialect but a
private one has a word for an application's own objects, and to drop them in silence would lose them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, Protocol, cast

from streamkit.dialects.outcomes import CANCELLED, DONE, Outcome
from streamkit.dialects.protocol import Dialect, Encoder, Framing, OutFrame, TextLines
from streamkit.dialects.registry import get
from streamkit.errors import ConfigError, LocalProtocolError
from streamkit.events import EVENT_TYPES, ErrorEvent, Event, Finish, TextDelta
from streamkit.flow.plan import check_count
from streamkit.wire import sse

__all__ = ["Codec", "Writing", "dialect_of", "framed", "padded", "retry_field"]

_LEAST_PAD: Final = 16


def dialect_of(dialect: str | Dialect) -> Dialect:
    """The dialect by its name, if it can be written.

    Raises:
        ConfigError: nobody knows the name, or the dialect can only be read.

    >>> dialect_of("native").name
    'native'
    """
    found = dialect if isinstance(dialect, Dialect) else get(dialect)
    if found.encoder is None:
        raise ConfigError(f"the dialect {found.name!r} can be read and not written: a sink needs one with an encoder")
    return found


class Writing(Protocol):
    """What an `Exchange` asks for bytes: `Codec`, or one that has them already. See `Codec` for what each is."""

    media_type: str
    headers: Mapping[str, str]
    heartbeat: bytes
    stopped_by: ErrorEvent | Exception | None

    def open(self) -> bytes: ...
    def encode(self, batch: Iterable[Any]) -> bytes: ...
    def close(self, outcome: Outcome) -> bytes: ...


class Codec:
    """One stream on its way out.

    Args:
        dialect: A dialect, or the name of one.
        framing: Another wire grammar than the dialect's own: the native events as "ndjson", say.
        id: The answer's id, for dialects that have one, where no `Start` brings it.
        model: Its model, likewise.
        created: When it was made, in Unix seconds; now, unless told.
        retry: Milliseconds that an SSE client shall wait before it reconnects. It goes on the first
            frame: alone in a frame it makes an empty message for some clients.
        pad: Fill each write with a comment up to a multiple of so many bytes (SSE only).

    Attributes:
        media_type: The value of `content-type`.
        headers: Further headers that the dialect's clients want.
        heartbeat: A sign of life that every reader of the framing skips; empty where there is none.
        stopped_by: What ended encoding before the stream did, or None: an `ErrorEvent` of the
            stream, or the error of an item that cannot be written. The driver reports it and
            calls `close` with its outcome; what stood before it has been encoded.
        cancelled: Whether the answer was stopped on request, as its `Finish` says.

    Memory: the encoder's.

    >>> codec = Codec("native")
    >>> codec.open() + codec.encode(["Hi"])
    b'data: {"type":"open","version":1}\\n\\ndata: {"type":"text-delta","text":"Hi"}\\n\\n'
    """

    __slots__ = (
        "_around",
        "_encode",
        "_encoder",
        "_frame",
        "_opened",
        "_pad",
        "_retry",
        "_text_line",
        "cancelled",
        "headers",
        "heartbeat",
        "media_type",
        "stopped_by",
    )

    def __init__(
        self,
        dialect: str | Dialect = "native",
        *,
        framing: Framing | None = None,
        id: str | None = None,
        model: str | None = None,
        created: int | None = None,
        retry: int | None = None,
        pad: int | None = None,
    ) -> None:
        found = dialect_of(dialect)
        framing = framing or found.framing
        if framing not in _FRAMES:
            raise ConfigError(f"no sink writes {framing!r} frames; known are {', '.join(_FRAMES)}")
        if retry is not None and framing != "sse":
            raise ConfigError(f"retry={retry} has a meaning in SSE only, and the dialect {found.name!r} is written as {framing}")
        if pad is not None:
            check_count("sse.Response", "pad", pad, _LEAST_PAD)
            if framing != "sse":
                raise ConfigError(f"pad={pad} needs comments, which SSE has and {framing} has not")
        assert found.encoder is not None
        self._encoder: Encoder = found.encoder(id=id, model=model, created=int(time.time()) if created is None else created)
        self._encode = self._encoder.encode
        self._frame = _FRAMES[framing]
        self._around = _AROUND.get(framing, b"")
        lines = cast("TextLines", self._encoder) if self._around and hasattr(self._encoder, "text_line") else None
        self._text_line = None if lines is None else lines.text_line
        self._retry = retry_field(retry)
        self._pad = pad
        self._opened = False
        self.cancelled = False
        self.media_type = found.media_type if framing == found.framing else _MEDIA_TYPES[framing]
        self.headers: Mapping[str, str] = found.headers
        self.heartbeat = self._padded(sse.comment()) if framing == "sse" else _SIGNS_OF_LIFE.get(framing, b"")
        self.stopped_by: ErrorEvent | Exception | None = None

    def open(self) -> bytes:
        """What goes before the first item; nothing when called again."""
        if self._opened:
            return b""
        self._opened = True
        return self._padded(self._with_retry(self._frame(self._encoder.open())))

    def encode(self, batch: Iterable[object]) -> bytes:
        """The bytes of items that are sent together. Never raises for what the items are: see `stopped_by`."""
        # The hot loop of every response (benchmarks/bench_sinks.py): of a text delta no list and no frame are made.
        line = self._text_line
        parts: list[bytes] = []
        try:
            for item in batch:
                if not isinstance(item, TextDelta):
                    self._write(self._encode(self._admit(item)), parts)
                elif line is not None:
                    parts.append(self._around % line(item))
                else:
                    self._write(self._encode(item), parts)
        except _Stop as stop:
            self.stopped_by = stop.event
        except Exception as error:  # the item's fault: what stood before it is still sent
            self.stopped_by = error
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        if self._retry:
            body = self._with_retry(body)
        return self._padded(body) if self._pad else body

    def close(self, outcome: Outcome) -> bytes:
        """The frames that end the stream: for every outcome there are some. `DONE` after `Finish("cancelled")` is `CANCELLED`."""
        if self.cancelled and outcome is DONE:
            outcome = CANCELLED
        return self._padded(self._with_retry(self._frame(self._encoder.close(outcome))))

    def _admit(self, item: object) -> Event:
        """An item that is no text delta, as an event."""
        if isinstance(item, str):
            return TextDelta(item)
        if isinstance(item, ErrorEvent):
            raise _Stop(item)
        if isinstance(item, Finish):
            self.cancelled = self.cancelled or item.reason == "cancelled"
            return item
        if isinstance(item, EVENT_TYPES):
            return item
        if isinstance(item, bytes | bytearray | memoryview):
            raise TypeError("a sink writes events and text, and got bytes: decode them (sk.decode), or map them to text")
        kind = type(item).__name__
        raise TypeError(
            f"a sink writes events and text, and got {_article(kind)} {kind}: map it to events, for example "
            f'.map(lambda item: sk.Custom("item", item)) for data or .map(str) for text'
        )

    def _with_retry(self, body: bytes) -> bytes:
        if self._retry and body:
            body = self._retry + body
            self._retry = b""
        return body

    def _padded(self, body: bytes) -> bytes:
        return padded(body, self._pad) if self._pad else body

    def _write(self, frames: list[OutFrame], parts: list[bytes]) -> None:
        try:
            parts.append(self._frame(frames))
        except LocalProtocolError:  # an encoder that breaks its contract: what stands before that frame is written
            for frame in frames:
                parts.append(self._frame([frame]))
            raise


class _Stop(Exception):
    def __init__(self, event: ErrorEvent) -> None:
        super().__init__()
        self.event = event


def _article(noun: str) -> str:
    return "an" if noun[:1].lower() in "aeiou" else "a"


def framed(frames: list[OutFrame], framing: Framing, *, id: str | None = None) -> bytes:
    """Frames on a wire; on SSE the last one has the `id` from which a client goes on that has seen them all.

    >>> framed([OutFrame(b"1"), OutFrame(b"2")], "sse", id="abc.7")
    b'data: 1\\n\\ndata: 2\\nid: abc.7\\n\\n'
    """
    if id is None or framing != "sse" or not frames:
        return _FRAMES[framing](frames)
    last = frames[-1]
    if len(frames) == 1 and last.event is None and id.isprintable():
        # `encode_line` by hand, for the frame that most events are.
        data = last.data
        if 10 not in data and 13 not in data:
            return b"data: %b\nid: %b\n\n" % (data, id.encode())
    tail = _sse_frame(last, id)
    return tail if len(frames) == 1 else _sse(frames[:-1]) + tail


def retry_field(retry: int | None) -> bytes:
    """The field that asks a client to wait so many milliseconds before it reconnects, to stand before a frame."""
    # What `encode_line` writes before the data of an otherwise empty frame.
    return b"" if retry is None else sse.encode_line(b"", retry=retry).removesuffix(b"data: \n\n")


def padded(body: bytes, pad: int) -> bytes:
    """The same for any reader of SSE, in a length that tells less: a comment of one line fills it up."""
    missing = -len(body) % pad
    if missing == 1:  # the shortest comment has two bytes
        missing += pad
    return body + b":" + b" " * (missing - 2) + b"\n" if missing and body else body


def _sse(frames: list[OutFrame]) -> bytes:
    if len(frames) == 1:
        return _sse_frame(frames[0])
    return b"".join([_sse_frame(frame) for frame in frames])


def _sse_frame(frame: OutFrame, id: str | None = None) -> bytes:
    data = frame.data
    if 10 not in data and 13 not in data:
        # `encode_line` by hand, for the frames that most are.
        event = frame.event
        if id is None:
            if event is None:
                return b"data: %b\n\n" % data
            if event and event.isascii() and event.isprintable():
                return b"event: %b\ndata: %b\n\n" % (event.encode(), data)
        return sse.encode_line(data, event=event, id=id)
    if not frame.lines:
        raise LocalProtocolError("a frame with line ends that does not say so (lines=True)", excerpt=data)
    head, tail = sse.encode_line(b"", event=frame.event), sse.encode_line(b"", id=id).removeprefix(b"data: ")
    return head[:-2] + data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\ndata: ") + tail


def _ndjson(frames: list[OutFrame]) -> bytes:
    for frame in frames:
        if 10 in frame.data or 13 in frame.data:
            raise LocalProtocolError("a line of NDJSON, and this frame has several", excerpt=frame.data)
    return b"".join([frame.data + b"\n" for frame in frames])


def _text(frames: list[OutFrame]) -> bytes:
    return b"".join([frame.data for frame in frames])


_FRAMES: Final[Mapping[Framing, Callable[[list[OutFrame]], bytes]]] = MappingProxyType(
    {"sse": _sse, "ndjson": _ndjson, "text": _text}
)
# What stands around the data of a frame that has no name and one line.
_AROUND: Final[Mapping[Framing, bytes]] = MappingProxyType({"sse": b"data: %b\n\n", "ndjson": b"%b\n"})
# JSON may have space before it (RFC 8259, section 2), so the line that follows is the same to every reader; an empty line is
# an error to those that parse each.
_SIGNS_OF_LIFE: Final[Mapping[Framing, bytes]] = MappingProxyType({"ndjson": b" "})
_MEDIA_TYPES: Final[Mapping[Framing, str]] = MappingProxyType(
    {
        "sse": "text/event-stream; charset=utf-8",
        "ndjson": "application/x-ndjson",
        "text": "text/plain; charset=utf-8",
    }
)
