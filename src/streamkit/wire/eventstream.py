"""AWS event streams: bytes in, messages out, and back (`application/vnd.amazon.eventstream`).

    total length  u32  |  the prelude, 12 bytes
    headers length u32 |
    CRC-32 of these 8  |
    headers            name, kind and value, one after the other
    payload            what is left
    CRC-32 of all of it but itself

Numbers are big-endian. Both lengths are checked as soon as the prelude is there, before anything waits for what they
promise, and nothing is ever allocated by them: a prelude that lies costs 12 bytes. Knows no vocabulary: what a message
means is a dialect's matter.

Reference: "Amazon event stream encoding" in the Smithy specification.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias, final
from uuid import UUID
from zlib import crc32

import msgspec

from streamkit.errors import ConfigError, LocalProtocolError, RemoteProtocolError, StreamTruncated

__all__ = ["MAX_HEADERS_BYTES", "Decoder", "HeaderValue", "Message", "Timestamp", "encode"]

MAX_HEADERS_BYTES: Final = 131_072
"""The most bytes of headers that the specification allows in one message."""

_PRELUDE: Final = struct.Struct(">III")
_U32: Final = struct.Struct(">I")
_AROUND: Final = 16  # prelude and the CRC at the end


class Timestamp(int):
    """Milliseconds since 1970, UTC: an int, so that no value of the wire is out of range.

    >>> Timestamp(8) == 8
    True
    """

    __slots__ = ()


HeaderValue: TypeAlias = bool | int | bytes | str | Timestamp | UUID
"""What a header holds. Integers of 8 to 64 bits are all `int`."""


@final
class Message(msgspec.Struct, frozen=True):
    """One message: a frame as dialects read it (`InFrame`).

    Attributes:
        headers: By name, in the order of the wire.
        payload: What stands behind them.
    """

    headers: dict[str, HeaderValue]
    payload: bytes = b""

    @property
    def type(self) -> str:
        """The name of its kind: of an event, an exception, or an error's code; "message" where the headers do not say.

        >>> Message({":message-type": "event", ":event-type": "chunk"}).type
        'chunk'
        """
        name = self.headers.get(_KINDS.get(str(self.headers.get(":message-type", "event")), ":event-type"))
        return name if isinstance(name, str) and name else "message"

    @property
    def data(self) -> bytes:
        """The payload."""
        return self.payload

    @property
    def id(self) -> None:
        """None: this wire has no resume points."""
        return None


_KINDS: Final[Mapping[str, str]] = {"event": ":event-type", "exception": ":exception-type", "error": ":error-code"}


@final
class Decoder:
    """The bytes of one stream, cut anywhere, to its messages.

    Args:
        max_message_bytes: The longest message, all of it counted, at least 16.

    Attributes:
        error: The error that ended decoding, or None.

    Memory: one message, at most `max_message_bytes`, and the bytes fed, the messages returned aside.

    Bad input never costs what came before it: a feed that completes messages and then meets a bad one returns those; the
    error is in `error` at once, and the next `feed` or `finish` raises it.

    >>> decoder = Decoder()
    >>> whole = encode({":event-type": "chunk"}, b"{}")
    >>> decoder.feed(whole[:9]), [message.type for message in decoder.feed(whole[9:])]
    ([], ['chunk'])
    """

    __slots__ = ("_buffer", "_finished", "_max", "_needed", "_offset", "error")

    def __init__(self, *, max_message_bytes: int = 16_777_216) -> None:
        if max_message_bytes.__class__ is not int or max_message_bytes < _AROUND:
            raise ConfigError(f"max_message_bytes must be an int of at least {_AROUND}, got {max_message_bytes!r}")
        self._max = max_message_bytes
        self._buffer = bytearray()
        # Bytes that the buffer must hold before it is looked at again.
        self._needed = _PRELUDE.size
        self._offset = 0
        self._finished = False
        self.error: RemoteProtocolError | None = None

    def feed(self, chunk: bytes) -> list[Message]:
        """The messages that these bytes complete.

        Raises:
            RemoteProtocolError: a length or a checksum is wrong, a message passes `max_message_bytes`, or its headers
                cannot be read; `offset` is where. The decoder stays failed.
            LocalProtocolError: `finish` was called before.
            TypeError: `chunk` is not bytes.
        """
        if self.error is not None:
            raise self.error
        if self._finished:
            raise LocalProtocolError("a finished decoder was fed: each stream needs a Decoder of its own")
        if not isinstance(chunk, (bytes, bytearray, memoryview)):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without types
            raise TypeError(f"feed takes bytes, got {type(chunk).__name__}: pass the body as it came, undecoded")
        buffer = self._buffer
        buffer += chunk
        messages: list[Message] = []
        if len(buffer) < self._needed:
            return messages
        whole = bytes(buffer)
        at = 0
        try:
            while len(whole) - at >= _PRELUDE.size:
                length, headers = self._prelude(whole, at)
                self._needed = length
                if len(whole) - at < length:
                    break
                messages.append(self._message(whole, at, length, headers))
                at += length
                self._needed = _PRELUDE.size
        except RemoteProtocolError as error:
            self.error = error
            buffer.clear()
            if not messages:
                raise
            return messages
        del buffer[:at]
        self._offset += at
        return messages

    def finish(self) -> None:
        """End the stream.

        Raises:
            RemoteProtocolError: as `feed`, if that has not been raised yet.
            StreamTruncated: the stream ended inside a message.
        """
        if self.error is not None:
            raise self.error
        self._finished = True
        if self._buffer:
            held = len(self._buffer)
            self._buffer.clear()
            raise StreamTruncated(f"the stream ended inside a message, {held} bytes behind its beginning at byte {self._offset}")

    def _prelude(self, whole: bytes, at: int) -> tuple[int, int]:
        length, headers, checksum = _PRELUDE.unpack_from(whole, at)
        # The checksum first: a length that was damaged on the way is no length.
        if crc32(whole[at : at + 8]) != checksum:
            raise RemoteProtocolError("the checksum of a message's prelude is wrong", offset=self._offset + at)
        if length < _AROUND:
            raise RemoteProtocolError(f"a message of {length} bytes: the least is {_AROUND}", offset=self._offset + at)
        if length > self._max:
            raise RemoteProtocolError(
                f"a message of {length} bytes, more than max_message_bytes={self._max}: if that is right for this source, "
                "raise the limit",
                offset=self._offset + at,
            )
        if headers > length - _AROUND or headers > MAX_HEADERS_BYTES:
            raise RemoteProtocolError(
                f"headers of {headers} bytes in a message of {length}: the most is {min(length - _AROUND, MAX_HEADERS_BYTES)}",
                offset=self._offset + at + 4,
            )
        return length, headers

    def _message(self, whole: bytes, at: int, length: int, headers: int) -> Message:
        end = at + length - 4
        (checksum,) = _U32.unpack_from(whole, end)
        if crc32(memoryview(whole)[at:end]) != checksum:
            raise RemoteProtocolError("the checksum of a message is wrong", offset=self._offset + at)
        payload = at + _PRELUDE.size + headers
        return Message(_headers(whole, at + _PRELUDE.size, payload, self._offset), whole[payload:end])


def encode(headers: Mapping[str, HeaderValue], payload: bytes = b"") -> bytes:
    """One message as bytes. An `int` is written with 32 bits if it fits them, with 64 otherwise.

    Raises:
        LocalProtocolError: a name, a value or all headers are longer than the grammar has room for, or a value has no kind
            of its own there.

    >>> encode({}).hex()
    '000000100000000005c248eb7d98c8ff'
    """
    written = b"".join([_header(name, value) for name, value in headers.items()])
    if len(written) > MAX_HEADERS_BYTES:
        raise LocalProtocolError(f"headers of {len(written)} bytes: the most is {MAX_HEADERS_BYTES}")
    length = _AROUND + len(written) + len(payload)
    if length > 0xFFFF_FFFF:
        raise LocalProtocolError(f"a message of {length} bytes does not fit its length field")
    lengths = struct.pack(">II", length, len(written))
    message = b"".join((lengths, _U32.pack(crc32(lengths)), written, payload))
    return message + _U32.pack(crc32(message))


# ---- headers ------------------------------------------------------------------------------------


def _headers(whole: bytes, at: int, end: int, offset: int) -> dict[str, HeaderValue]:
    """The headers between two places of `whole`; `offset` is where that begins in the stream."""
    found: dict[str, HeaderValue] = {}
    while at < end:
        begin = at
        name_end = at + 1 + whole[at]
        try:
            if name_end >= end or not whole[at]:  # the kind stands behind it
                raise _BadHeaderError("a header without a name" if name_end < end else "a header longer than all of them")
            name = whole[at + 1 : name_end].decode()
            read = _READERS.get(whole[name_end])
            if read is None:
                raise _BadHeaderError(f"a header of the unknown kind {whole[name_end]}")
            value, at = read(whole, name_end + 1, end)
        except UnicodeDecodeError:
            raise RemoteProtocolError("a header that is not UTF-8", offset=offset + begin) from None
        except _BadHeaderError as error:
            raise RemoteProtocolError(str(error), offset=offset + begin) from None
        if name in found:
            raise RemoteProtocolError("a header that is there twice", offset=offset + begin, excerpt=name)
        found[name] = value
    return found


class _BadHeaderError(Exception):
    """What is wrong with a header."""


_Reader: TypeAlias = Callable[[bytes, int, int], tuple[HeaderValue, int]]


def _fixed(form: str, convert: Callable[[int], HeaderValue] = int) -> _Reader:
    number = struct.Struct(form)

    def read(whole: bytes, at: int, end: int) -> tuple[HeaderValue, int]:
        _check_room(at + number.size, end)
        return convert(number.unpack_from(whole, at)[0]), at + number.size

    return read


def _constant(value: bool) -> _Reader:
    return lambda whole, at, end: (value, at)


def _sized(convert: Callable[[bytes], HeaderValue]) -> _Reader:
    def read(whole: bytes, at: int, end: int) -> tuple[HeaderValue, int]:
        _check_room(at + 2, end)
        stop = at + 2 + int.from_bytes(whole[at : at + 2], "big")
        _check_room(stop, end)
        return convert(whole[at + 2 : stop]), stop

    return read


def _uuid(whole: bytes, at: int, end: int) -> tuple[HeaderValue, int]:
    _check_room(at + 16, end)
    return UUID(bytes=whole[at : at + 16]), at + 16


def _check_room(stop: int, end: int) -> None:
    if stop > end:
        raise _BadHeaderError("a header longer than all of them")


_READERS: Final[Mapping[int, _Reader]] = {
    0: _constant(True),
    1: _constant(False),
    2: _fixed(">b"),
    3: _fixed(">h"),
    4: _fixed(">i"),
    5: _fixed(">q"),
    6: _sized(bytes),
    7: _sized(bytes.decode),
    8: _fixed(">q", Timestamp),
    9: _uuid,
}


def _header(name: str, value: HeaderValue) -> bytes:
    try:
        spelled = name.encode()
        if not 1 <= len(spelled) <= 255:
            raise LocalProtocolError(f"a header's name has 1 to 255 bytes, and this {len(spelled)}", excerpt=name)
        return b"%c%b%b" % (len(spelled), spelled, _value(value))
    except UnicodeEncodeError:
        raise LocalProtocolError("a header with half a character (a lone surrogate)", excerpt=repr(name)) from None
    except struct.error:
        raise LocalProtocolError("a header's value is too large for its kind", excerpt=name) from None


def _value(value: HeaderValue) -> bytes:
    match value:
        case bool():
            return b"\x00" if value else b"\x01"
        case Timestamp():
            return struct.pack(">bq", 8, value)
        case int():
            return struct.pack(">bi", 4, value) if -0x8000_0000 <= value <= 0x7FFF_FFFF else struct.pack(">bq", 5, value)
        case str():
            text = value.encode()
            return struct.pack(">bH", 7, len(text)) + text
        case bytes():
            return struct.pack(">bH", 6, len(value)) + value
        case UUID():
            return b"\x09" + value.bytes
        case _:
            raise LocalProtocolError(f"a header holds a bool, int, str, bytes, Timestamp or UUID, not a {type(value).__name__}")
