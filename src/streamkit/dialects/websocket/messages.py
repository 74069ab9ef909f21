"""The messages of streamkit's WebSocket protocol, version 1: text frames of one JSON object each, and binary ones.

    client                                            server
                                                      hello    first of all
    send    start an answer                           started
    resume  read one, from where one has got to       started
                                                      events   first..last of the stream, in order, none left out
                                                      binary   the same, of one DataDelta
                                                      end      exactly one for each started reading that was not left
    cancel  stop the generation, keep what came       pong     if it has a `request`; its end comes to every reader
    leave   read it no more                           (nothing)
    ack     seen up to here                           (nothing)
    ping                                              pong
    what cannot be done                               error    and the connection stays

Numbers are offsets in a stream's log. `first` is the `last` before it plus one, or something was lost; the first message of a
reading says where it begins. A connection that closes without `end` is a cut.

    binary = version (1 byte, 1), length of the head (4 bytes, big-endian), head (JSON), data

Knows no sockets and no streams. A reader of either side skips fields that it does not know; what a client may send is bounded
by number and length here, and by bytes where it is received.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Annotated, Final, Literal, TypeAlias

import msgspec

from streamkit.dialects.json_line import dump
from streamkit.dialects.outcomes import Ending, Outcome
from streamkit.errors import RemoteProtocolError
from streamkit.events import DataDelta, Event, Raw

__all__ = [
    "SUBPROTOCOL",
    "VERSION",
    "Ack",
    "Cancel",
    "ClientMessage",
    "End",
    "Events",
    "Hello",
    "IfRunning",
    "Leave",
    "Malformed",
    "Ping",
    "Pong",
    "RefusedMessage",
    "Resume",
    "Send",
    "ServerMessage",
    "Started",
    "end_of",
    "read_client",
    "read_server",
    "write",
    "write_data",
    "write_events",
]

VERSION: Final = 1
SUBPROTOCOL: Final = "streamkit.v1"
"""What a client offers as `Sec-WebSocket-Protocol`; one that offers none is served as well."""

IfRunning: TypeAlias = Literal["join", "interrupt", "raise"]

_Name: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
_Token: TypeAlias = Annotated[str, msgspec.Meta(max_length=64)]
_Offset: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**53)]

# The head of a binary message names a stream, a token, a media type and four numbers: it is never longer.
_LONGEST_HEAD: Final = 65_536


class _Message(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="type", tag=None):
    """What all messages share: compared by value, written with their `type` and without defaults."""


# -- from the client


class Send(_Message, frozen=True, tag="send"):
    """Start an answer. `input` is the application's, as it came; `stream` names it, or the server does.

    `if_running` says what happens if one of that name runs: it is joined, stopped in favour of this one, or this is refused.
    """

    input: msgspec.Raw = msgspec.Raw(b"null")
    request: _Name | None = None
    stream: _Name | None = None
    if_running: IfRunning = "join"


class Resume(_Message, frozen=True, tag="resume"):
    """Read a stream, from the beginning or behind a token."""

    stream: _Name
    request: _Name | None = None
    after: _Token | None = None


class Cancel(_Message, frozen=True, tag="cancel"):
    """Stop a generation; what came is kept."""

    stream: _Name
    request: _Name | None = None


class Leave(_Message, frozen=True, tag="leave"):
    """Read a stream no more."""

    stream: _Name


class Ack(_Message, frozen=True, tag="ack"):
    """All events of a stream up to and including this one were seen."""

    stream: _Name
    seq: _Offset


class Ping(_Message, frozen=True, tag="ping"):
    """Answer with `Pong`."""

    request: _Name | None = None


ClientMessage: TypeAlias = Send | Resume | Cancel | Leave | Ack | Ping


class Malformed(msgspec.Struct, frozen=True):
    """What a client sent and is no message: what it is to be told, and what of it could be read all the same."""

    code: str
    message: str
    request: str | None = None
    stream: str | None = None


# -- from the server


class Hello(_Message, frozen=True, tag="hello"):
    """The first message: what the server speaks, and what it takes. `ack_every`: acknowledge after so many events."""

    version: int
    max_message_bytes: int
    ack_every: int | None = None


class Started(_Message, frozen=True, tag="started"):
    """A stream is being read for the client. `token` is where it was resumed from."""

    stream: str
    request: str | None = None
    token: str | None = None


class Events(_Message, frozen=True, tag="events"):
    """Events `first` to `last` of a stream. One that was joined stands for several; a `Gap` says what is missing."""

    stream: str
    first: int
    last: int
    token: str
    events: list[Event]


class End(_Message, frozen=True, tag="end"):
    """A reading is over. `last` and `token` are those of the last event that was sent, and where to resume; none, none."""

    stream: str
    last: int
    ending: Ending
    token: str | None = None
    code: str = ""
    message: str = ""
    retryable: bool = False
    retry_after: float | None = None
    correlation_id: str | None = None

    @property
    def outcome(self) -> Outcome:
        """How the stream ended, in the words of all sinks."""
        return Outcome(self.ending, self.code, self.message, self.retryable, self.retry_after, self.correlation_id)


class RefusedMessage(_Message, frozen=True, tag="error"):
    """A message of the client's was refused; nothing else changes. `correlation_id` finds the line of the server's log."""

    code: str
    message: str
    request: str | None = None
    stream: str | None = None
    correlation_id: str | None = None


class Pong(_Message, frozen=True, tag="pong"):
    """The answer to `Ping`."""

    request: str | None = None


ServerMessage: TypeAlias = Hello | Started | Events | End | RefusedMessage | Pong


def end_of(stream: str, last: int, token: str | None, outcome: Outcome) -> End:
    """The end of a reading with this outcome.

    >>> write(end_of("a", 7, "abc.7", Outcome("done")))
    b'{"type":"end","stream":"a","last":7,"ending":"done","token":"abc.7"}'
    """
    return End(
        stream,
        last,
        outcome.ending,
        token,
        outcome.code,
        outcome.message,
        outcome.retryable,
        outcome.retry_after,
        outcome.correlation_id,
    )


# -- writing


def write(message: ClientMessage | ServerMessage) -> bytes:
    """The text of a message, in UTF-8.

    Raises:
        LocalProtocolError: it holds something that JSON cannot say.

    >>> write(Cancel("a"))
    b'{"type":"cancel","stream":"a"}'
    """
    return dump(message)


def write_events(stream: str, first: int, last: int, token: str, events: Sequence[Event]) -> bytes:
    """The text of `Events`: the same as `write`, in less time.

    Raises:
        LocalProtocolError: an event holds something that JSON cannot say.

    >>> from streamkit.events import TextDelta
    >>> write_events("a", 0, 0, "abc.0", [TextDelta("Hi")])
    b'{"type":"events","stream":"a","first":0,"last":0,"token":"abc.0","events":[{"type":"text-delta","text":"Hi"}]}'
    """
    try:
        body = _encode(events)
    except (UnicodeEncodeError, TypeError, ValueError, OverflowError, RecursionError):
        body = dump(list(events))  # without halves of characters, or with the error in our words
    return b'{"type":"events","stream":%b,"first":%d,"last":%d,"token":"%b","events":%b}' % (
        _name(stream),
        first,
        last,
        token.encode(),
        body,
    )


@lru_cache(256)
def _name(stream: str) -> bytes:
    """A stream's name as JSON, which each of its messages holds."""
    return dump(stream)


def write_data(stream: str, first: int, last: int, token: str, event: DataDelta) -> bytes:
    """The binary message of one `DataDelta`.

    >>> read_server(write_data("a", 3, 3, "abc.3", DataDelta(b"pcm", "audio/pcm"))).events
    [DataDelta(data=b'pcm', media_type='audio/pcm', index=0, choice=0)]
    """
    head = dump(_Head(stream, first, last, token, event.media_type, event.index, event.choice))
    return b"%b%b%b" % (_PREFIX.pack(VERSION, len(head)), head, event.data)


# -- reading


def read_client(text: str | bytes) -> ClientMessage | Malformed:
    """What a client sent as text. Never raises.

    Linear in the length of `text`, which the caller bounds; `input` is left as it came, and is JSON.

    >>> read_client('{"type": "cancel", "stream": "a", "why": "bored"}')
    Cancel(stream='a', request=None)
    >>> read_client('{"type": "sing", "request": "7"}')
    Malformed(code='unknown-type', message='There is no message of this type.', request='7', stream=None)
    """
    try:
        return _read_client(text)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return _malformed(text)


def _malformed(text: str | bytes) -> Malformed:
    try:
        value = _read_loosely(text)
    except msgspec.ValidationError:
        return Malformed("bad-message", "A message is a JSON object with a type.")
    except (msgspec.DecodeError, ValueError, RecursionError):
        return Malformed("bad-message", "This is not JSON.")
    request, stream = _short(value.request), _short(value.stream)
    if not isinstance(value.type, str) or value.type not in _CLIENT_TYPES:
        return Malformed("unknown-type", "There is no message of this type.", request, stream)
    return Malformed("bad-message", f"This is no {value.type} message of version {VERSION}.", request, stream)


def read_server(message: str | bytes | bytearray | memoryview) -> ServerMessage:
    """What a server sent: text as `str`, a binary message as bytes, which is given as `Events` of one.

    Events of a type to come are given as `Raw`.

    Raises:
        RemoteProtocolError: it is no message of this version.

    >>> read_server('{"type":"pong","request":"1"}')
    Pong(request='1')
    """
    if not isinstance(message, str):
        return _read_data(bytes(message))
    try:
        return _read_server(message)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        return _read_newer(message, error)


def _read_newer(text: str, error: Exception) -> ServerMessage:
    """`Events` in which one is of a type that this version does not know."""
    try:
        found = _read_raw_events(text)
        events = [_event_of(raw) for raw in found.events]
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise RemoteProtocolError(
            f"the server sent what is no message of version {VERSION} ({error})", excerpt=text[:_EXCERPT]
        ) from None
    return Events(found.stream, found.first, found.last, found.token, events)


def _event_of(raw: msgspec.Raw) -> Event:
    try:
        return _read_event(raw)
    except msgspec.ValidationError:
        value: dict[str, object] = _read_object(raw)
        if value.get("type") in _EVENT_TAGS:
            raise
        return Raw(value)


def _read_data(message: bytes) -> Events:
    try:
        version, length = _PREFIX.unpack_from(message)
        if version != VERSION or length > _LONGEST_HEAD or _PREFIX.size + length > len(message):
            raise ValueError(f"version {version}, a head of {length} bytes")
        start = _PREFIX.size + length
        head = _read_head(message[_PREFIX.size : start])
    except (struct.error, msgspec.DecodeError, ValueError, RecursionError) as error:
        raise RemoteProtocolError(
            f"the server sent a binary message that is none of version {VERSION} ({error})", excerpt=message[:_EXCERPT]
        ) from None
    event = DataDelta(message[start:], head.media_type, head.index, head.choice)
    return Events(head.stream, head.first, head.last, head.token, [event])


def _short(value: object) -> str | None:
    """What may be given back to a client as the name it gave."""
    return value if isinstance(value, str) and 1 <= len(value) <= 200 else None


class _Head(msgspec.Struct, frozen=True):
    """Of a binary message: what `Events` has, and what of the event is not its data."""

    stream: str
    first: int
    last: int
    token: str
    media_type: str
    index: int = 0
    choice: int = 0


class _Loose(msgspec.Struct):
    """What is wanted of a message that could not be read."""

    type: object = None
    request: object = None
    stream: object = None


class _RawEvents(msgspec.Struct, frozen=True, tag_field="type", tag="events"):
    stream: str
    first: int
    last: int
    token: str
    events: list[msgspec.Raw]


_EXCERPT: Final = 200
_PREFIX: Final = struct.Struct(">BI")
_CLIENT_TYPES: Final = frozenset(("send", "resume", "cancel", "leave", "ack", "ping"))
_EVENT_TAGS: Final = frozenset(kind.type for kind in Event.__args__)

_encode: Final = msgspec.json.Encoder().encode
_read_client: Final[Callable[[str | bytes], ClientMessage]] = msgspec.json.Decoder(ClientMessage).decode
_read_loosely: Final = msgspec.json.Decoder(_Loose).decode
_read_server: Final[Callable[[str | bytes], ServerMessage]] = msgspec.json.Decoder(ServerMessage).decode
_read_raw_events: Final = msgspec.json.Decoder(_RawEvents).decode
_read_event: Final[Callable[[msgspec.Raw], Event]] = msgspec.json.Decoder(Event).decode
_read_object: Final = msgspec.json.Decoder(dict[str, object]).decode
_read_head: Final = msgspec.json.Decoder(_Head).decode
