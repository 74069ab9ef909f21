"""Events as the bytes that a store keeps: one chunk of them, there and back.

    01                  the version, one byte
    <array of maps>     the events in MessagePack: each its `type` and the fields that are not at their default

MessagePack and not JSON: three quarters of the size for tokens and 0.6 of the time to write them; bytes stay bytes, where
JSON makes a third more of them and takes 20 times as long. Nothing is read by a format that could run something.

What is written comes back equal, or is not written: a reader of the store gets the value that a reader in the same
process got. What comes from a store is not trusted, whoever has written it there: it is read with a bound, as these
types or not at all.

A reader skips fields that it does not know. The version changes when an old reader would misread a new writer, and so
with every new type of event.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NoReturn

import msgspec

from streamkit.errors import CorruptEntry, LocalProtocolError
from streamkit.events.model import EVENT_TYPES, Event

__all__ = ["MAX_CHUNK_BYTES", "VERSION", "decode", "encode"]

VERSION: Final = 1
"""What `encode` writes and `decode` reads."""

MAX_CHUNK_BYTES: Final = 16 << 20
"""Longer chunks are neither written nor read."""

_HEAD: Final = bytes([VERSION])


def encode(events: Sequence[Event]) -> bytes:
    """A chunk of these events.

    They are read back at once and compared, which doubles the time: 0.1 us per token.

    Raises:
        LocalProtocolError: an event holds what would not come back equal (a set, a tuple, NaN, an integer beyond 64 bits,
            half a character, an object of the application), or the chunk would be longer than MAX_CHUNK_BYTES.

    >>> decode(encode([TextDelta("Hi"), Finish()]), 2)
    [TextDelta(text='Hi', index=0, choice=0), Finish(reason='stop', raw_reason=None, choice=0)]
    """
    given = list(events)
    packed = _packed(given)
    if packed is None:
        raise LocalProtocolError(
            f"{_unwritable(given)} event holds what a store cannot give back as it is: its fields take the types that they are"
            " declared with, and JSON values where that is any (None, bool, float, str, list, dict, int of 64 bits; not NaN)"
        )
    if len(packed) >= MAX_CHUNK_BYTES:
        raise LocalProtocolError(
            f"a chunk of {len(given)} events would be {len(packed) + 1} bytes long, and a store takes {MAX_CHUNK_BYTES}:"
            " append fewer events at once, or smaller ones"
        )
    return _HEAD + packed


def decode(data: bytes, count: int) -> list[Event]:
    """The events of a chunk, which are `count`.

    Memory: a small multiple of the data, of which MAX_CHUNK_BYTES are read at most.

    Raises:
        CorruptEntry: this is no chunk of `count` events; nothing that the data holds is in the message.
    """
    if not isinstance(data, bytes):  # pyright: ignore[reportUnnecessaryIsInstance]  # a store may give what it likes
        raise CorruptEntry(f"a stored chunk is {type(data).__name__}, and was written as bytes")
    if len(data) > MAX_CHUNK_BYTES:
        raise CorruptEntry(f"a stored chunk is {len(data)} bytes long, and none was written that has over {MAX_CHUNK_BYTES}")
    if data[:1] != _HEAD:
        what = f"begins with {data[0]}" if data else "is empty"
        raise CorruptEntry(f"a stored chunk {what}, and version {VERSION} is all that this reads: something else wrote it")
    events = _unpacked(memoryview(data)[1:])
    if events is None:
        raise CorruptEntry(f"a stored chunk holds no events as version {VERSION} has them: it was cut, or something else wrote it")
    if len(events) != count:
        raise CorruptEntry(f"a stored chunk holds {len(events)} events, and is said to hold {count}")
    return events


def _unwritable(events: list[Event]) -> str:
    """Which type of event cannot be written, with its article; the type alone, since the rest is content."""
    for event in events:
        if _packed([event]) is None:
            name = event.type if isinstance(event, EVENT_TYPES) else type(event).__name__
            return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
    return "an"  # each could be alone: only the recursion limit makes such a difference


def _packed(events: list[Event]) -> bytes | None:
    """The events in MessagePack, or None if they do not come back from there."""
    try:
        packed = _pack(events)
        return packed if _unpack(packed) == events else None
    except Exception:  # an object of the application may fail as it likes when it is compared
        return None


# These give None instead of raising in place: what they catch quotes the content, and an error made
# while it is handled would carry it along as its context.
def _unpacked(packed: memoryview) -> list[Event] | None:
    try:
        return _unpack(packed)
    except _FAILURES:
        return None


def _no_extension(code: int, data: memoryview) -> NoReturn:
    raise ValueError(f"MessagePack's extension {code} is no event's")


_FAILURES: Final = (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError)

_pack: Final = msgspec.msgpack.Encoder().encode
_unpack: Final = msgspec.msgpack.Decoder(list[Event], ext_hook=_no_extension).decode
