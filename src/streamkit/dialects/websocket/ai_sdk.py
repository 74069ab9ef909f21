"""The frames of the AI SDK 7's `WebSocketChatTransport`: text messages of one JSON object each.

    client                                          server
    send    {requestId, id, messages, ...}          start       {requestId}
    resume  {requestId, id}                         chunk       {requestId, sequence, chunk}     sequence 0, 1, 2 ... of a request
    abort   {requestId}                             end         {requestId}                      after the last chunk
                                                    no-active   {requestId}                      a resume found nothing that runs
                                                    error       {requestId, errorText}

`id` is the chat's. A chunk is one of the UI message stream (see `streamkit.dialects.ai_sdk`), and a resume replays all of them from
the first. What clients of 7.0.173 demand: an unknown type, a gap in `sequence` or a chunk of an unknown kind ends the connection
and fails every request on it; a sequence that was seen is passed over; a frame with an unknown `requestId` is ignored.

Knows no sockets and no streams. What a client may send is bounded by number and length here, and by bytes where it is received.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final, Literal, TypeAlias

import msgspec

from streamkit.dialects.json_line import escape
from streamkit.dialects.websocket.messages import Malformed

__all__ = [
    "AbortFrame",
    "ClientFrame",
    "ResumeFrame",
    "SendFrame",
    "chunk_frame",
    "end_frame",
    "error_frame",
    "no_active_frame",
    "read_frame",
    "start_frame",
]

_Name: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
_Sequence: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class _Frame(msgspec.Struct, frozen=True, tag_field="type", rename={"request": "requestId", "last_sequence": "lastSequence"}):
    """What all frames of a client share: fields that nobody asks for are passed over."""


class SendFrame(_Frame, frozen=True, tag="send"):
    """Answer these messages of a chat."""

    request: _Name
    id: _Name
    messages: list[msgspec.Raw]
    trigger: Literal["submit-message", "regenerate-message"] = "submit-message"


class ResumeFrame(_Frame, frozen=True, tag="resume"):
    """Replay the answer that runs in a chat, from its beginning; chunks up to `last_sequence` may be left out."""

    request: _Name
    id: _Name
    last_sequence: _Sequence | None = None


class AbortFrame(_Frame, frozen=True, tag="abort"):
    """The reader wants no more of what a request asked for."""

    request: _Name


ClientFrame: TypeAlias = SendFrame | ResumeFrame | AbortFrame


def read_frame(text: str | bytes) -> ClientFrame | Malformed:
    """What a client sent. Never raises.

    >>> read_frame('{"type":"abort","requestId":"r1"}')
    AbortFrame(request='r1')
    >>> read_frame('{"type":"sing","requestId":"r1"}')
    Malformed(code='unknown-type', message='There is no frame of this type.', request='r1', stream=None)
    """
    try:
        return _read(text)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return _malformed(text)


def _malformed(text: str | bytes) -> Malformed:
    try:
        value = _read_loosely(text)
    except msgspec.ValidationError:
        return Malformed("bad-message", "A frame is a JSON object with a type.")
    except (msgspec.DecodeError, ValueError, RecursionError):
        return Malformed("bad-message", "This is not JSON.")
    request = value.request if isinstance(value.request, str) and 1 <= len(value.request) <= 200 else None
    if value.type not in ("send", "resume", "abort"):
        return Malformed("unknown-type", "There is no frame of this type.", request)
    return Malformed("bad-message", f"This is no {value.type} frame.", request)


class _Loose(msgspec.Struct, rename={"request": "requestId"}):
    """What is wanted of a frame that could not be read."""

    type: object = None
    request: object = None


_read: Final[Callable[[str | bytes], ClientFrame]] = msgspec.json.Decoder(ClientFrame).decode
_read_loosely: Final = msgspec.json.Decoder(_Loose).decode


def start_frame(request: str) -> bytes:
    """The answer begins.

    >>> start_frame("r1")
    b'{"type":"start","requestId":"r1"}'
    """
    return b'{"type":"start","requestId":%b}' % escape(request)


def chunk_frame(request: str, sequence: int, chunk: bytes) -> bytes:
    """A chunk of the answer, which is JSON already.

    >>> chunk_frame("r1", 0, b'{"type":"start"}')
    b'{"type":"chunk","requestId":"r1","sequence":0,"chunk":{"type":"start"}}'
    """
    return b'{"type":"chunk","requestId":%b,"sequence":%d,"chunk":%b}' % (escape(request), sequence, chunk)


def end_frame(request: str) -> bytes:
    """There are no more chunks."""
    return b'{"type":"end","requestId":%b}' % escape(request)


def no_active_frame(request: str) -> bytes:
    """There is nothing to be resumed."""
    return b'{"type":"no-active","requestId":%b}' % escape(request)


def error_frame(request: str, text: str) -> bytes:
    """The request cannot be served, or no longer.

    >>> error_frame("r1", "Sign in first.")
    b'{"type":"error","requestId":"r1","errorText":"Sign in first."}'
    """
    return b'{"type":"error","requestId":%b,"errorText":%b}' % (escape(request), escape(text))
