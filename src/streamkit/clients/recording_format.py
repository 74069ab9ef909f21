"""The file of a recording: its lines, what they mean, and the way back from each.

A recording is JSON, one value a line, version 1. Lines end in LF alone, the text is UTF-8:

    {"streamkit":"recording","version":1,"created":"2026-01-31T12:00:00Z","status":200,"content_type":"text/event-stream"}
    {"t":0.41,"data":"data: {...}\\n\\n"}      bytes that are UTF-8, exactly one chunk
    {"t":0.43,"base64":"4pg="}                bytes that are not, which a chunk cut inside a character is not either
    {"t":0.44,"text":"Hel"}                   a str
    {"t":0.44,"event":{"type":"finish"}}      an event, in the native form
    {"t":0.45,"end":"done"}                   or "left", "cancelled", or "error" with {"error":{"type":...,"message":...}}

`t` is seconds since the stream first asked its source; items of one read have one `t`. Of the response the header has what
is known and no more: never a request, an address or a header with a key. A reader takes fields that it does not know for
nothing, and refuses a version that it does not know. Lines are written as they come: a process that is killed leaves what
it had; a line that was cut, and a missing end, are told by the reader.

Secrets in what is kept are masked (`streamkit.clients.masking`), in the file alone.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final, Literal

import msgspec

from streamkit import errors as tree
from streamkit.errors import ConfigError, RemoteProtocolError, SourceError, StreamDraining, StreamkitError, StreamTimeout, scrub
from streamkit.events import Event

__all__ = ["VERSION", "Header", "Line", "as_line", "error_fields", "error_of", "header_of", "lines_of"]

VERSION: Final = 1
"""What this package writes; it reads this one."""

_encode: Final = msgspec.json.Encoder().encode
_read_event: Final = msgspec.json.Decoder(Event).decode


class Header(msgspec.Struct, frozen=True):
    """The first line of a recording."""

    streamkit: Literal["recording"]
    version: int
    created: str = ""
    status: int | None = None
    content_type: str | None = None
    dialect: str | None = None


class Line(msgspec.Struct, frozen=True):
    """One of the others."""

    t: float
    data: str | None = None
    base64: str | None = None
    text: str | None = None
    event: msgspec.Raw = msgspec.Raw()
    end: str | None = None
    error: dict[str, Any] = {}

    def item(self) -> bytes | str | Event:
        """What was recorded."""
        if self.data is not None:
            return self.data.encode()
        if self.base64 is not None:
            return base64.b64decode(self.base64, validate=True)
        if self.text is not None:
            return self.text
        event: Event = _read_event(self.event)
        return event


_read_header: Final = msgspec.json.Decoder(Header).decode
_read_line: Final = msgspec.json.Decoder(Line).decode


def header_of(path: str | os.PathLike[str]) -> Header:
    """The first line of a recording.

    Raises:
        OSError: no file that can be read.
        ConfigError: it is no recording, or one of a version to come.
    """
    with Path(path).open("rb") as file:
        return _header(path, file)


def _header(path: str | os.PathLike[str], file: IO[bytes]) -> Header:
    try:
        header = _read_header(file.readline(1_000_000))
    except (msgspec.DecodeError, ValueError) as error:
        raise ConfigError(f"{os.fspath(path)} is no recording of streamkit: its first line is not a header ({error})") from None
    if header.version != VERSION:
        raise ConfigError(
            f"{os.fspath(path)} is a recording of version {header.version} and this reads {VERSION}: update streamkit"
        )
    return header


def lines_of(path: str | os.PathLike[str]) -> Iterator[tuple[Line, Any]]:
    """The lines behind the header, each with its item; the end has None. A last line that was cut is no line.

    Raises:
        RemoteProtocolError: a line in the middle that is none.
    """
    with Path(path).open("rb") as file:
        _header(path, file)
        for number, raw in enumerate(file, 2):
            try:
                line, item = _parsed(raw)
                if line.end is not None and not raw.endswith(b"\n"):
                    return
            except (msgspec.DecodeError, ValueError, TypeError, AttributeError, RecursionError) as error:
                if not raw.endswith(b"\n"):
                    return
                raise RemoteProtocolError(f"line {number} of {os.fspath(path)} is no line of a recording ({error})") from None
            yield line, item


def _parsed(raw: bytes) -> tuple[Line, Any]:
    try:
        line = _read_line(raw)
    except msgspec.DecodeError:
        # Half a character, escaped, is text in Python and JSON, and nothing for msgspec's decoder.
        value = json.loads(raw)
        event = msgspec.convert(value.pop("event"), Event) if "event" in value else None
        line = msgspec.convert(value, Line)
        return line, line.item() if event is None and line.end is None else event
    return line, line.item() if line.end is None else None


def as_line(value: Mapping[str, object]) -> bytes:
    """A value as a line of the file."""
    try:
        return _encode(value) + b"\n"
    except UnicodeEncodeError:  # half a character, which an escape can say
        return json.dumps(msgspec.to_builtins(value), separators=(",", ":")).encode() + b"\n"


# ---- errors as lines and back

_OF_SOURCES: Final = ("provider", "code", "request_id", "retryable", "retry_after", "status")
_FIELDS: Final = (*_OF_SOURCES, "phase", "seconds", "last_id", "offset", "excerpt", "size", "events_sent")
_TYPES: Final[Mapping[str, type[StreamkitError]]] = {
    name: kind
    for name in tree.__all__
    if isinstance(kind := getattr(tree, name), type) and issubclass(kind, StreamkitError) and name != "MissingExtra"
}


def error_fields(error: Exception) -> dict[str, object]:
    """What a line keeps of an error; its message without secrets."""
    fields: dict[str, object] = {"type": type(error).__name__, "message": scrub(str(error))}
    for name in _FIELDS if isinstance(error, StreamkitError) else ():
        value: object = getattr(error, name, None)
        if value is not None:
            fields[name] = scrub(value) if isinstance(value, str) else value
    return fields


def error_of(fields: Mapping[str, Any]) -> StreamkitError:
    """The error that a line tells of; one that was not ours is a `SourceError` with its name as the code."""
    message, name = str(fields.get("message", "")), str(fields.get("type", ""))
    kind = _TYPES.get(name)
    if kind is not None and issubclass(kind, StreamTimeout):
        seconds = fields.get("seconds")
        return kind(message, phase=fields.get("phase", "idle"), seconds=seconds if isinstance(seconds, int | float) else 0.0)
    if kind is not None and issubclass(kind, StreamDraining):
        return kind(message, last_id=fields.get("last_id"))
    if kind is None or issubclass(kind, SourceError):
        given: dict[str, Any] = {one: fields.get(one) for one in _OF_SOURCES}
        given["code"] = given["code"] or name
        return (kind or SourceError)(message, **given)
    # Others say their fields in the message too, and would say them twice.
    error = kind.__new__(kind)
    Exception.__init__(error, message)
    for one in _FIELDS:
        if one in fields:
            setattr(error, one, fields[one])
    return error
