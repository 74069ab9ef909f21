"""Plain values as bytes, and back with the same types.

MessagePack has lists and maps only, so each container says first which kind it is; events keep their tagged form, and what
our own stages give besides is known by its number.
Its texts are UTF-8, which has no place for half a character (a lone surrogate): where there is one, the text goes as bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any, Final, cast

import msgspec

from streamkit.events.model import EVENT_TYPES, Event

__all__ = ["pack", "unpack"]

_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder()
_EVENTS = msgspec.msgpack.Decoder(Event)
_CONTAINERS: Final[dict[type, int]] = {list: 0, tuple: 1, set: 2, frozenset: 3}
_KINDS: Final = {number: kind for kind, number in _CONTAINERS.items()}
_DICT: Final = 4
_EVENT: Final = 5
_INT: Final = 6
_HALVES: Final = 7
_EVENT_WITH_HALVES: Final = 8
# By name: their modules are loaded by those who use them, and not for every stream.
_RECORDS: Final = {("streamkit.stages.code_blocks", "CodeBlock"): 9, ("streamkit.stages.markdown_healing", "Healed"): 10}
_RECORD_NAMES: Final = {number: name for name, number in _RECORDS.items()}
_PLAIN: Final = (type(None), bool, float, bytes)


def pack(value: object) -> bytes:
    """The value as MessagePack. What is left of a str of a class of its own is its text.

    Raises:
        TypeError: something in it is no plain value.

    >>> unpack(pack({(1, "a"): {2.5}}))
    {(1, 'a'): {2.5}}
    """
    return _ENCODER.encode(_packed(value))


def unpack(data: bytes) -> Any:
    """The value that was packed.

    Raises:
        ValueError, TypeError, IndexError: these bytes are none.
    """
    return _unpacked(_DECODER.decode(data))


def _packed(value: object) -> object:
    kind = value.__class__
    if kind is str:
        return _packed_text(cast("str", value))
    if kind is int:
        number = cast("int", value)
        return number if -(2**63) <= number < 2**63 else [_INT, str(number)]
    if kind in _PLAIN:
        return value
    if kind in _CONTAINERS:
        return [_CONTAINERS[kind], *[_packed(one) for one in cast("Iterable[object]", value)]]
    if kind is dict:
        pairs = cast("dict[object, object]", value).items()
        return [_DICT, *[_packed(one) for pair in pairs for one in pair]]
    if isinstance(value, EVENT_TYPES):
        try:
            return [_EVENT, _ENCODER.encode(value)]
        except UnicodeEncodeError:
            return [_EVENT_WITH_HALVES, _packed(msgspec.to_builtins(value))]
    record = _RECORDS.get((kind.__module__, kind.__qualname__))
    if record is not None:
        return [record, *[_packed(one) for one in msgspec.structs.astuple(cast("msgspec.Struct", value))]]
    if isinstance(value, str):  # of a class of its own: markup, a member of an Enum
        return _packed_text(str.__str__(value))
    raise TypeError(
        f"a {kind.__qualname__} cannot be saved: a snapshot holds None, bools, numbers, str, bytes, events, "
        "and lists, tuples, sets and dicts of these"
    )


def _packed_text(text: str) -> object:
    try:
        text.encode()
    except UnicodeEncodeError:
        return [_HALVES, text.encode("utf-8", "surrogatepass")]
    return text


def _unpacked(value: Any) -> Any:
    if value.__class__ is not list:
        return value
    kind, *rest = value
    if kind in _KINDS:
        return _KINDS[kind]([_unpacked(one) for one in rest])
    if kind == _DICT:
        flat = [_unpacked(one) for one in rest]
        return dict(zip(flat[::2], flat[1::2], strict=True))
    if kind == _EVENT:
        return _EVENTS.decode(rest[0])
    if kind == _INT:
        return int(rest[0])
    if kind == _HALVES:
        return bytes(rest[0]).decode("utf-8", "surrogatepass")
    if kind in _RECORD_NAMES:
        module, name = _RECORD_NAMES[kind]
        return getattr(import_module(module), name)(*[_unpacked(one) for one in rest])
    if kind == _EVENT_WITH_HALVES:
        return msgspec.convert(_unpacked(rest[0]), Event)
    raise ValueError(f"no such kind of value: {kind}")
