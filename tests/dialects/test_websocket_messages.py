"""The messages of the WebSocket protocol: read and written, and what is none."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamkit.dialects.outcomes import Outcome
from streamkit.dialects.websocket import messages
from streamkit.dialects.websocket.messages import (
    Ack,
    Cancel,
    Events,
    Hello,
    Leave,
    Malformed,
    Ping,
    Pong,
    RefusedMessage,
    Resume,
    Send,
    Started,
)
from streamkit.errors import LocalProtocolError, RemoteProtocolError
from streamkit.events import Custom, DataDelta, Event, Finish, Gap, Raw, TextDelta


@pytest.mark.parametrize(
    "message",
    [
        Send(request="1", stream="a", if_running="interrupt"),
        Resume("a", "2", "abc.7"),
        Cancel("a"),
        Leave("a"),
        Ack("a", 3),
        Ping("9"),
    ],
)
def test_what_a_client_writes_is_read_as_it_was(message: messages.ClientMessage) -> None:
    assert message == messages.read_client(messages.write(message))


@pytest.mark.parametrize(
    "message",
    [
        Hello(1, 1 << 20, 32),
        Started("a", "1", "abc.7"),
        messages.end_of("a", 3, "abc.3", Outcome("draining", "draining", "Bye.", True, 2.5, "c")),
        RefusedMessage("not-found", "There is no such stream.", "1", "a"),
        Pong("1"),
        Events("a", 0, 3, "abc.3", [Gap(2), TextDelta("é\u2028"), Finish()]),
    ],
)
def test_what_a_server_writes_is_read_as_it_was(message: messages.ServerMessage) -> None:
    assert message == messages.read_server(messages.write(message).decode())


def test_the_quick_way_to_write_events_writes_the_same() -> None:
    events: list[Event] = [TextDelta("a"), Custom("n", {"x": [1]}), Finish()]

    assert messages.write(Events('a"b', 1, 3, "abc.3", list(events))) == messages.write_events('a"b', 1, 3, "abc.3", events)


def test_half_a_character_does_not_end_a_stream() -> None:
    text = messages.write_events("a", 0, 0, "abc.0", [TextDelta("x\ud83d")]).decode()

    assert Events("a", 0, 0, "abc.0", [TextDelta("x\ufffd")]) == messages.read_server(text)


def test_an_event_that_no_json_can_say_is_a_local_error() -> None:
    with pytest.raises(LocalProtocolError):
        messages.write_events("a", 0, 0, "abc.0", [Custom("n", object())])


def test_binary_data_comes_back_as_it_was() -> None:
    event = DataDelta(bytes(range(256)), "audio/pcm", 2, 1)

    assert Events("é", 4, 6, "abc.6", [event]) == messages.read_server(messages.write_data("é", 4, 6, "abc.6", event))


def test_input_is_handed_on_as_it_came() -> None:
    message = messages.read_client('{"type":"send","input":{"prompt": "Hi"}}')

    assert isinstance(message, Send)
    assert {"prompt": "Hi"} == json.loads(bytes(message.input))


def test_an_event_of_a_type_to_come_is_raw_and_the_others_are_themselves() -> None:
    events = '[{"type":"hologram","z":1},{"type":"text-delta","text":"a"}]'
    text = f'{{"type":"events","stream":"a","first":0,"last":1,"token":"abc.1","events":{events}}}'

    assert Events("a", 0, 1, "abc.1", [Raw({"type": "hologram", "z": 1}), TextDelta("a")]) == messages.read_server(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "bad-message"),
        ("[]", "bad-message"),
        ("null", "bad-message"),
        ("{}", "unknown-type"),
        ('{"type":7}', "unknown-type"),
        ('{"type":"sing","request":"r","stream":"s"}', "unknown-type"),
        ('{"type":"ack","stream":"s","seq":-1}', "bad-message"),
        ('{"type":"ack","stream":"s","seq":1e300}', "bad-message"),
        ('{"type":"cancel"}', "bad-message"),
        ('{"type":"cancel","stream":""}', "bad-message"),
        ('{"type":"cancel","stream":"' + "x" * 201 + '"}', "bad-message"),
        ('{"type":"resume","stream":"s","after":"' + "1" * 65 + '"}', "bad-message"),
        ('{"type":"send","if_running":"explode"}', "bad-message"),
        ('{"type":"send","input":' + "[" * 100_000, "bad-message"),
        ('{"type":"send","input":' + "[" * 100_000 + "]" * 100_000 + "}", "bad-message"),
        (b'{"type":"ping","request":"\xff"}', "bad-message"),
    ],
)
def test_what_is_no_message_is_told_by_its_code(text: str | bytes, expected: str) -> None:
    found = messages.read_client(text)

    assert isinstance(found, Malformed)
    assert expected == found.code


def test_a_refusal_names_the_request_that_it_is_for() -> None:
    assert Malformed("unknown-type", "There is no message of this type.", "r", "s") == messages.read_client(
        '{"type":"sing","request":"r","stream":"s"}'
    )


@given(
    st.text()
    | st.binary()
    | st.recursive(st.none() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)).map(json.dumps)
)
def test_whatever_a_client_sends_is_a_message_or_malformed(text: str | bytes) -> None:
    assert isinstance(messages.read_client(text), Malformed | Send | Resume | Cancel | Leave | Ack | Ping)


@given(st.text() | st.binary())
def test_whatever_a_server_sends_is_a_message_or_a_remote_error(message: str | bytes) -> None:
    try:
        found = messages.read_server(message)
    except RemoteProtocolError as error:
        assert "version" in str(error)
    else:
        assert isinstance(found, Hello | Started | Events | messages.End | RefusedMessage | Pong)


@pytest.mark.parametrize(
    "message", [b"", b"\x01", b"\x02\0\0\0\x02{}", b"\x01\xff\xff\xff\xff{}", b"\x01\0\0\0\x02{}", b"\x01\0\0\0\x09{}"]
)
def test_a_binary_message_that_is_none_is_a_remote_error(message: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="binary message"):
        messages.read_server(message)
