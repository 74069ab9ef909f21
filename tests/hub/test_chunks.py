"""Events as a store keeps them: they come back equal, and what somebody else wrote there is refused unread."""

from __future__ import annotations

import json
import pickle
import re
import traceback
from datetime import date
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from any_events import one_of_each, some_events
from hypothesis import given
from hypothesis import strategies as st

from streamkit.errors import CorruptEntry, LocalProtocolError
from streamkit.events import EVENT_TYPES, Custom, DataDelta, ErrorEvent, Event, Finish, Raw, TextDelta, ToolResult
from streamkit.hub.chunks import MAX_CHUNK_BYTES, VERSION, decode, encode

SECRET = "hunter2"


def chunk(value: object) -> bytes:
    """A value in the form of a chunk, whatever it is."""
    return bytes([VERSION]) + msgspec.msgpack.encode(value)


def nested(depth: int) -> list[object]:
    """A list in a list in a list."""
    value: list[object] = []
    for _ in range(depth):
        value = [value]
    return value


def assert_refused(data: Any, count: int = 1) -> None:
    """Typed, with nothing of what was read in anything that a log would print."""
    with pytest.raises(CorruptEntry) as caught:
        decode(data, count)
    printed = "".join(traceback.format_exception(caught.value)) + repr(caught.value.__context__)
    assert SECRET not in printed.replace(f'SECRET = "{SECRET}"', "")
    assert not caught.value.retryable


@pytest.mark.parametrize("name", one_of_each)
@given(data=st.data())
def test_every_event_comes_back_equal(name: str, data: st.DataObject) -> None:
    event = data.draw(one_of_each[name])
    assert [event] == decode(encode([event]), 1)


def test_every_type_of_event_is_among_those_that_are_tried() -> None:
    assert {kind.type for kind in EVENT_TYPES} == {name.split()[0] for name in one_of_each}


@given(some_events)
def test_many_events_come_back_equal_and_in_order(events: list[Event]) -> None:
    assert events == decode(encode(tuple(events)), len(events))


def test_the_form_is_a_version_byte_and_messagepack_without_defaults() -> None:
    assert b"\x01\x91\x82\xa4type\xaatext-delta\xa4text\xa2Hi" == encode([TextDelta("Hi")])
    assert b"\x01\x90" == encode([])
    assert [] == decode(b"\x01\x90", 0)


def test_bytes_are_kept_as_they_are_and_not_as_base64() -> None:
    event = DataDelta(bytes(range(256)) * 16, "audio/pcm")
    assert len(encode([event])) < 4096 + 64
    assert [event] == decode(encode([event]), 1)


@pytest.mark.parametrize(
    "value",
    [-(1 << 63), (1 << 64) - 1, float("inf"), -0.0, 5e-324, "\u2028\x00", b"\xff", {"a": [None, True, 1.5]}, {1: 2}, nested(100)],
    ids=lambda value: type(value).__name__,
)
def test_values_that_come_back_as_they_are(value: object) -> None:
    (back,) = decode(encode([Custom("n", value)]), 1)
    assert isinstance(back, Custom)
    assert value == back.data
    assert type(value) is type(back.data)


@pytest.mark.parametrize(
    "value",
    [
        object(),
        {1, 2},
        (1, 2),
        [(1, 2)],
        float("nan"),
        {"a": [float("nan")]},
        1 << 64,
        -(1 << 63) - 1,
        "\ud83d",
        {"\ud83d": 1},
        date(2026, 1, 1),
        Decimal("1.5"),
        TextDelta(SECRET),
        msgspec.msgpack.Ext(5, b"x"),
        range(3),
        nested(100_000),
        str,
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("kind", [Custom, ToolResult, Raw])
def test_a_value_that_would_come_back_as_another_is_refused_with_the_type_of_its_event(kind: Any, value: object) -> None:
    event = Raw(value) if kind is Raw else kind(SECRET, value)
    with pytest.raises(LocalProtocolError, match=f"^an? {kind.type} event holds what a store cannot give back") as caught:
        encode([TextDelta("before"), event, Finish()])
    assert SECRET not in str(caught.value)
    assert caught.value.__context__ is None


def test_a_value_that_holds_itself_is_refused() -> None:
    value: list[object] = []
    value.append(value)
    with pytest.raises(LocalProtocolError, match=r"^a custom event holds"):
        encode([Custom("n", value)])


@pytest.mark.parametrize(
    "event",
    [
        TextDelta(5),  # type: ignore[arg-type]
        TextDelta("x", index=True),
        TextDelta("x", index=1 << 64),
        TextDelta("\ud83d"),
        Finish(SECRET),  # type: ignore[arg-type]
        ErrorEvent("x", retry_after=float("nan")),
    ],
    ids=repr,
)
def test_a_field_of_another_type_than_declared_is_refused_when_written_and_not_when_read(event: Event) -> None:
    with pytest.raises(LocalProtocolError, match=f"^an? {event.type} event holds") as caught:
        encode([event])
    assert SECRET not in str(caught.value)


def test_what_is_no_event_is_refused_by_the_name_of_its_type() -> None:
    wrong: Any = ["text"]
    with pytest.raises(LocalProtocolError, match=r"^a str event holds"):
        encode(wrong)


def test_a_chunk_that_none_would_read_is_not_written() -> None:
    with pytest.raises(LocalProtocolError, match=f"a chunk of 2 events would be .* a store takes {MAX_CHUNK_BYTES}"):
        encode([DataDelta(bytes(MAX_CHUNK_BYTES), "audio/pcm"), Finish()])


def test_the_longest_chunk_is_written_and_read() -> None:
    room = MAX_CHUNK_BYTES - len(encode([DataDelta(bytes(1 << 16), "audio/pcm")])) + (1 << 16)
    event = DataDelta(bytes(room), "audio/pcm")
    data = encode([event])
    assert MAX_CHUNK_BYTES == len(data)
    assert [event] == decode(data, 1)
    with pytest.raises(LocalProtocolError, match="would be 16777217 bytes long"):
        encode([DataDelta(bytes(room + 1), "audio/pcm")])


def test_a_field_from_the_future_is_read_over() -> None:
    assert [TextDelta("x")] == decode(chunk([{"type": "text-delta", "text": "x", "mood": "good"}]), 1)


class _Bomb:
    """Unpickled, it would call."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (pytest.fail, ("a pickle was run",))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("head", [b"", bytes([VERSION])], ids=["bare", "behind our version"])
def test_res_13_a_pickle_is_refused_and_never_run(protocol: int, head: bytes) -> None:
    assert_refused(head + pickle.dumps([_Bomb(), SECRET], protocol))


@pytest.mark.parametrize("head", [b"", bytes([VERSION])], ids=["bare", "behind our version"])
@pytest.mark.parametrize(
    "text", [json.dumps([{"type": "text-delta", "text": SECRET}]), f'[{{"type":"{SECRET}', "[" * 100_000, "null", SECRET]
)
def test_res_13_json_good_or_bad_is_refused(head: bytes, text: str) -> None:
    assert_refused(head + text.encode())


@pytest.mark.parametrize("version", [version for version in range(256) if version != VERSION])
def test_res_13_every_other_version_is_refused(version: int) -> None:
    assert_refused(bytes([version]) + encode([TextDelta(SECRET)])[1:])


def test_res_13_a_hundred_megabytes_are_refused_unread() -> None:
    with pytest.raises(CorruptEntry, match="is 104857600 bytes long"):
        decode(bytes([VERSION]) + bytes(100 * 1024 * 1024 - 1), 1)


def test_res_13_a_chunk_cut_anywhere_is_refused() -> None:
    data = encode([TextDelta(SECRET), Finish(), Custom("n", {"a": [1, 2.5, None]})])
    for end in range(len(data)):
        assert_refused(data[:end], 3)
    assert_refused(data + b"\x00", 3)


def test_res_13_another_number_of_events_is_refused() -> None:
    data = encode([TextDelta(SECRET), Finish()])
    for count in (-1, 0, 1, 3, 1 << 70):
        assert_refused(data, count)


@pytest.mark.parametrize(
    "value",
    [
        [{"type": SECRET, "text": "x"}],
        [{"text": SECRET}],
        [{"type": "text-delta"}],
        [{"type": "text-delta", "text": 5, "index": SECRET}],
        [{"type": "text-delta", "text": "x", "index": 1.5}],
        [{"type": "finish", "reason": SECRET}],
        [{"type": "error", "message": "x", "retry_after": SECRET}],
        {"type": "text-delta", "text": SECRET},
        [SECRET],
        [None],
        None,
        SECRET,
        [{"type": "custom", "name": "n", "data": msgspec.msgpack.Ext(5, b"x")}],
    ],
    ids=lambda value: re.sub(r" object at 0x\w+", "", repr(value)),
)
def test_res_13_an_unknown_type_or_field_of_another_type_is_refused(value: object) -> None:
    assert_refused(chunk(value))


def test_res_13_half_a_character_is_refused() -> None:
    good = encode([TextDelta("xyz")])
    assert_refused(good.replace(b"xyz", b"\xed\xa0\xbd"))
    assert_refused(good.replace(b"xyz", b"xy\xff"))


@pytest.mark.parametrize("opening", [b"\x91", b"\x81\x01", b"\xdc\x00\x01", b"\xdd\x00\x00\x00\x01"], ids=repr)
def test_res_13_a_million_levels_are_refused(opening: bytes) -> None:
    head = encode([Custom("n", 1)])[:-1]
    assert_refused(head + opening * 1_000_000 + b"\x01")


@pytest.mark.parametrize("claim", [b"\xdd", b"\xdf", b"\xc6", b"\xdb", b"\xc9"], ids=["list", "dict", "bytes", "str", "extension"])
def test_res_13_a_length_that_is_claimed_and_not_there_takes_no_memory(claim: bytes) -> None:
    head = encode([Custom("n", 1)])[:-1]
    assert_refused(head + claim + b"\xff\xff\xff\xff" + b"\x01")
    assert_refused(bytes([VERSION]) + claim + b"\xff\xff\xff\xff" + b"\x01")


@pytest.mark.parametrize(
    "data", [None, "text", 5, bytearray(b"\x01\x90"), memoryview(b"\x01\x90"), b""], ids=lambda data: type(data).__name__
)
def test_res_13_what_is_no_bytes_is_refused(data: object) -> None:
    assert_refused(data, 0)


@given(st.binary(max_size=64), st.integers(0, 3), st.booleans())
def test_res_13_any_bytes_at_all_give_events_or_the_one_error(data: bytes, count: int, ours: bool) -> None:
    try:
        events = decode((bytes([VERSION]) if ours else b"") + data, count)
    except CorruptEntry:
        return
    assert count == len(events)
    assert all(isinstance(event, EVENT_TYPES) for event in events)


@given(some_events.filter(len), st.data())
def test_res_13_a_chunk_with_one_byte_changed_gives_events_or_the_one_error(events: list[Event], data: st.DataObject) -> None:
    good = bytearray(encode(events))
    place = data.draw(st.integers(0, len(good) - 1))
    good[place] ^= data.draw(st.integers(1, 255))
    try:
        read = decode(bytes(good), len(events))
    except CorruptEntry:
        return
    assert len(events) == len(read)
    assert all(isinstance(event, EVENT_TYPES) for event in read)
