"""Events as gRPC messages and back: nothing is lost, and the published .proto is what is spoken."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamkit.dialects.grpc.messages import wire
from streamkit.dialects.grpc.schema import FILE, SERVICE, proto_text, schema
from streamkit.errors import LocalProtocolError, RemoteProtocolError
from streamkit.events import (
    EVENT_TYPES,
    Citation,
    Custom,
    DataDelta,
    ErrorEvent,
    Event,
    File,
    Finish,
    Gap,
    Message,
    Ping,
    Raw,
    ReasoningDelta,
    Start,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolCallStart,
    ToolResult,
    Usage,
)

FOLDER = Path(str(import_module("streamkit.dialects.grpc").__file__)).parent

# One of each, with every field other than its default.
FULL: list[Event] = [
    Start("a", "m", "p"),
    TextDelta("Hi", 1, 2),
    ReasoningDelta("hm", 1, 2, "proof", "hidden"),
    DataDelta(b"\x00\xff", "audio/wav", 1, 2),
    ToolCallStart("c", "add", 1, 2, True),
    ToolCallDelta("c", '{"a"', 1, 2),
    ToolCall("c", "add", '{"a":1}', False, 1, 2, True, "proof"),
    ToolResult("c", {"sum": [1, None, "x"]}, True),
    Citation("https://a.example", "A", "quote", 1, 2),
    File("image/png", b"\x89", "https://b.example", 1, 2, "cat.png"),
    Usage(1, 2, 3, 4, 5, False, True),
    Finish("tool-calls", "tool_use", 1),
    ErrorEvent("Sorry.", "overloaded", True, 1.5),
    Gap(7),
    Custom("progress", {"done": 0.5}),
    Ping(),
    Raw({"type": "new"}),
]

# Fields that have to be there; all others are left at their default.
BARE: list[Event] = [
    Start(),
    TextDelta(""),
    ReasoningDelta(),
    DataDelta(b"", ""),
    ToolCallStart("", ""),
    ToolCallDelta("", ""),
    ToolCall("", ""),
    ToolResult(""),
    Citation(),
    File(""),
    Usage(),
    Finish(),
    ErrorEvent(""),
    Gap(0),
    Custom(""),
    Ping(),
    Raw(),
]

# None is unknown, and zero and "" are not None.
ZEROS: list[Event] = [
    Start("", "", ""),
    ReasoningDelta(signature="", redacted=""),
    Usage(0, 0, 0, 0, 0),
    File("", b"", ""),
    Citation("", "", ""),
    Finish("stop", ""),
    ErrorEvent("", "", False, 0.0),
    ToolResult("", ""),
    ToolResult("", 0),
    ToolResult("", False),
    Custom("", []),
]


def read(data: bytes) -> list[Event]:
    return wire().batch(data).events


@pytest.mark.parametrize("event", [*FULL, *BARE, *ZEROS], ids=repr)
def test_an_event_comes_back_as_it_was(event: Event) -> None:
    assert [event] == read(wire().events([event]))


def test_every_type_of_event_is_among_those() -> None:
    assert set(EVENT_TYPES) == {type(event) for event in FULL} == {type(event) for event in BARE}


def test_every_field_of_every_event_has_its_field_in_the_proto() -> None:
    kinds = schema().Event.DESCRIPTOR.fields_by_name
    for kind in EVENT_TYPES:
        fields = {field.name for field in kinds[kind.type.replace("-", "_")].message_type.fields}
        assert fields == set(kind.__struct_fields__), kind


@given(st.lists(st.sampled_from(FULL + BARE) | st.builds(TextDelta, st.text(), st.integers(0, 3), st.integers(0, 3)), max_size=20))
def test_batches_come_back_in_their_order(events: list[Event]) -> None:
    assert events == read(wire().events(events))


@given(st.lists(st.text(max_size=400), max_size=12))
def test_a_text_is_written_as_protobuf_itself_writes_it(texts: list[str]) -> None:
    message = schema().Events()
    for text in texts:
        message.events.add().text_delta.text = text
    assert message.SerializeToString() == wire().events([TextDelta(text) for text in texts])


@given(st.lists(st.builds(TextDelta, st.text(max_size=300), st.integers(0, 1), st.integers(0, 1)), max_size=4))
def test_plain_texts_are_written_alike_by_the_short_ways(deltas: list[TextDelta]) -> None:
    plain = [not delta.index and not delta.choice and len(delta.text.encode()) < 256 for delta in deltas]
    assert (wire().events(deltas) if all(plain) else None) == wire().texts(deltas)
    assert [wire().events([delta]) if short else None for delta, short in zip(deltas, plain, strict=True)] == [
        wire().text(delta) for delta in deltas
    ]


@given(st.lists(st.text(max_size=300), max_size=4))
def test_a_str_is_written_as_the_text_that_it_says(texts: list[str]) -> None:
    deltas = [TextDelta(text) for text in texts]
    assert wire().texts(deltas) == wire().texts(texts)
    assert [wire().text(delta) for delta in deltas] == [wire().text(text) for text in texts]


class Word(str):  # what a subclass says of itself is not ours to know
    pass


@pytest.mark.parametrize("item", [TextDelta("a\ud83d"), TextDelta(None), "a\ud83d", Word("a"), b"a", Finish()], ids=repr)  # type: ignore[arg-type]
def test_what_is_no_plain_text_is_left_to_the_long_way(item: object) -> None:
    assert wire().texts([TextDelta("a"), item]) is None
    assert wire().text(item) is None


@pytest.mark.parametrize("length", [0, 1, 123, 124, 127, 128, 255, 256, 257, 20_000])
def test_texts_of_every_length_class_come_back(length: int) -> None:
    assert [TextDelta("x" * length)] == read(wire().events([TextDelta("x" * length)]))


def test_messages_joined_end_to_end_are_one_message_with_the_last_token() -> None:
    first = wire().events([TextDelta("a")], token="e.0", id="name")
    second = wire().events([TextDelta("b")], token="e.1")
    batch = wire().batch(first + second)
    assert [TextDelta("a"), TextDelta("b")] == batch.events
    assert ("e.1", "name", 0) == (batch.token, batch.id, batch.turn)


def test_half_a_character_becomes_a_replacement_character() -> None:
    assert [TextDelta("a\ufffd")] == read(wire().events([TextDelta("a\ud83d")]))
    assert [ToolCallDelta("c", "\ufffd")] == read(wire().events([ToolCallDelta("c", "\ud83d")]))
    assert [Custom("x", {"a": "\ufffd"})] == read(wire().events([Custom("x", {"a": "\ud83d"})]))


@pytest.mark.parametrize(
    "event",
    [Custom("x", object()), TextDelta("a", 2**40), Gap(2**70), TextDelta(5), ToolCallStart("a", 5), Usage("many")],  # type: ignore[arg-type]
    ids=["an object", "a large index", "a large gap", "a number for a text", "a number for a name", "a word for a count"],
)
def test_what_no_message_can_carry_is_a_local_protocol_error_without_the_value(event: Event) -> None:
    with pytest.raises(LocalProtocolError, match=f"a {event.type} event cannot be written"):
        wire().events([TextDelta("a"), event])


def test_an_event_of_a_newer_writer_is_raw() -> None:
    # Field 99 of the event, which is none today.
    newer = b"\x0a\x05" + b"\x9a\x06\x02\x08\x01"
    assert [Raw(), TextDelta("a")] == read(newer + wire().events([TextDelta("a")]))


@pytest.mark.parametrize("data", [b"\x0a", b"\xff\xff\xff", b"\x0a\x04\x12\x02\x0a\x09", "no".encode("utf-16")])
def test_bytes_that_are_no_message_are_a_remote_protocol_error(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        wire().batch(data)


@given(st.binary(max_size=60))
def test_any_bytes_give_events_or_the_documented_error(data: bytes) -> None:
    for read_one in (wire().batch, wire().asked, wire().given, wire().message):
        try:
            found = read_one(data)
        except RemoteProtocolError:
            continue
        assert found is not None


def test_json_that_is_none_is_a_remote_protocol_error() -> None:
    message = schema().Events()
    message.events.add().custom.data = "{"
    with pytest.raises(RemoteProtocolError, match="not JSON"):
        wire().batch(message.SerializeToString())


def test_an_answer_comes_back_as_the_message_that_it_was() -> None:
    message = Message(
        [
            Start("a", "m"),
            ReasoningDelta("hm", signature="proof"),
            TextDelta("Look: "),
            ToolCallStart("c", "add"),
            ToolCallDelta("c", '{"a":1}'),
            ToolCall("c", "add", '{"a":1}'),
            TextDelta("Done."),
            ToolResult("c", 1),
            Citation("https://a.example"),
            File("image/png", b"x"),
            Gap(2),
            Usage(1, 2),
            Finish("tool-calls"),
        ]
    )
    data = wire().answer(message)
    back = wire().message(data)
    assert message.text == back.text == schema().Answer.FromString(data).text
    for name in ("parts", "tool_calls", "tool_results", "citations", "files", "gaps", "usage", "finish", "start", "reasoning"):
        assert getattr(message, name) == getattr(back, name), name


def test_an_answer_of_another_choice_is_the_answer() -> None:
    message = Message([TextDelta("a", choice=1), Finish(choice=1)], choice=1)
    back = wire().message(wire().answer(message))
    assert ("a", Finish()) == (back.text, back.finish)


@pytest.mark.parametrize("piece", ["Hi", "", DataDelta(b"\x00", "audio/wav"), {"messages": [1, None]}, [], 0, False])
def test_a_piece_of_input_comes_back_as_it_was(piece: object) -> None:
    assert (piece, "name") == wire().asked(wire().request(piece, id="name"))
    assert (piece, 3, False) == wire().given(wire().input(piece, turn=3))


def test_a_cancel_is_told_from_input() -> None:
    assert (None, 2, True) == wire().given(wire().cancel(turn=2))


def test_the_published_proto_compiles_to_what_is_spoken(tmp_path: Path) -> None:
    out = tmp_path / "made.binpb"
    made = [sys.executable, "-m", "grpc_tools.protoc", "-I", str(FOLDER), f"--descriptor_set_out={out}", FILE]
    subprocess.run(made, check=True, timeout=120)
    descriptors: Any = import_module("google.protobuf.descriptor_pb2").FileDescriptorSet
    assert descriptors.FromString(out.read_bytes()) == descriptors.FromString((FOLDER / "streamkit.binpb").read_bytes())
    assert proto_text() == (FOLDER / FILE).read_text()


def test_code_that_was_generated_of_the_proto_lives_beside_ours_and_understands_it(tmp_path: Path) -> None:
    made = [sys.executable, "-m", "grpc_tools.protoc", "-I", str(FOLDER), f"--python_out={tmp_path}", FILE]
    subprocess.run(made, check=True, timeout=120)
    script = (
        "from streamkit.dialects.grpc.messages import wire\n"
        "from streamkit.events import TextDelta\n"
        "data = wire().events([TextDelta('Hi')], token='e.1')\n"
        "import streamkit_pb2\n"
        "theirs = streamkit_pb2.Events.FromString(data)\n"
        "assert ('Hi', 'e.1') == (theirs.events[0].text_delta.text, theirs.token)\n"
        "print(wire().batch(theirs.SerializeToString()).token)\n"
    )
    told = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert ("e.1\n", "") == (told.stdout, told.stderr)


def test_the_service_has_the_methods_that_are_published() -> None:
    methods = schema().pool.FindServiceByName(SERVICE).methods
    assert ["Complete", "Stream", "Send", "Converse", "Resume", "Cancel"] == [method.name for method in methods]


def test_importing_streamkit_loads_neither_grpc_nor_protobuf() -> None:
    script = "import streamkit, sys; print([name for name in sys.modules if name.split('.')[0] in ('grpc', 'google')])"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert "[]\n" == told.stdout


def test_struct_fields_are_read_as_the_types_that_they_had() -> None:
    event = read(wire().events([Usage(1, final=False)]))[0]
    assert isinstance(event, Usage)
    assert [int, type(None), bool] == [type(event.input_tokens), type(event.output_tokens), type(event.final)]
    assert msgspec.json.encode(Usage(1, final=False)) == msgspec.json.encode(event)
