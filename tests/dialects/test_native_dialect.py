"""The native form: every event there and back, an explicit end, errors that keep their kind."""

from __future__ import annotations

import json

import pytest
from dialect_cases import Reading, read, sse_body, written
from hypothesis import given, settings
from hypothesis import strategies as st

from streamkit.dialects import CANCELLED, DONE, Outcome, outcome_of, to_error_event
from streamkit.dialects.native import VERSION, NativeDecoder, NativeEncoder
from streamkit.dialects.outcomes import MESSAGES, error_from_event
from streamkit.errors import (
    LocalProtocolError,
    RateLimitError,
    RemoteProtocolError,
    SourceError,
    StreamDraining,
    StreamInterrupted,
    StreamTruncated,
)
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
from streamkit.wire import sse


def body(events: list[Event], outcome: Outcome = DONE) -> bytes:
    frames = written(NativeEncoder(), events, outcome)
    return b"".join(sse.encode_line(frame.data, event=frame.event) for frame in frames)


def back(events: list[Event], outcome: Outcome = DONE) -> Reading:
    return read(NativeDecoder(), [body(events, outcome)])


def test_the_form_is_compact_versioned_and_ends() -> None:
    written = [frame.data for frame in sse.Decoder().feed(body([Start(model="m"), TextDelta("Hi"), Finish("stop")]))]
    assert [
        f'{{"type":"open","version":{VERSION}}}',
        '{"type":"start","model":"m"}',
        '{"type":"text-delta","text":"Hi"}',
        '{"type":"finish"}',
        '{"type":"end"}',
    ] == written


def test_the_proof_of_a_call_is_written_where_there_is_one() -> None:
    written = [
        frame.data for call in (ToolCall("1", "f"), ToolCall("1", "f", signature="s")) for frame in NativeEncoder().encode(call)
    ]
    assert [
        b'{"type":"tool-call","id":"1","name":"f"}',
        b'{"type":"tool-call","id":"1","name":"f","signature":"s"}',
    ] == written


# ---- there and back -----------------------------------------------------------------------------

small = st.integers(0, 3)
maybe_text = st.none() | st.text()
count = st.none() | st.integers(0, 1 << 40)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
STRATEGIES: dict[type[Event], st.SearchStrategy[Event]] = {
    Start: st.builds(Start, maybe_text, maybe_text, maybe_text),
    TextDelta: st.builds(TextDelta, st.text(), small, small),
    ReasoningDelta: st.builds(ReasoningDelta, st.text(), small, small, maybe_text, maybe_text),
    DataDelta: st.builds(DataDelta, st.binary(), st.text(), small, small),
    ToolCallStart: st.builds(ToolCallStart, st.text(), st.text(), small, small),
    ToolCallDelta: st.builds(ToolCallDelta, st.text(), st.text(), small, small),
    ToolCall: st.builds(ToolCall, st.text(), st.text(), st.text(), st.booleans(), small, small, st.booleans(), maybe_text),
    ToolResult: st.builds(ToolResult, st.text(), values, st.booleans()),
    Citation: st.builds(Citation, maybe_text, maybe_text, maybe_text, small, small),
    File: st.builds(File, st.text(), st.none() | st.binary(), maybe_text, small, small),
    Usage: st.builds(Usage, count, count, count, count, count, st.booleans(), st.booleans()),
    Gap: st.builds(Gap, st.integers(0, 1 << 40)),
    Custom: st.builds(Custom, st.text(), values),
    Ping: st.builds(Ping),
    Raw: st.builds(Raw, values),
}
finishes = st.builds(Finish, st.sampled_from(["stop", "length", "tool-calls", "content-filter", "cancelled", "other"]), maybe_text)


def test_every_event_type_is_covered() -> None:
    assert set(EVENT_TYPES) == {*STRATEGIES, Finish, ErrorEvent}


@given(st.lists(st.one_of(*STRATEGIES.values()), max_size=12), finishes)
@settings(deadline=None)
def test_any_answer_comes_back_as_it_was(events: list[Event], finish: Finish) -> None:
    got = back([*events, finish])
    assert got.error is None
    assert [*events, finish] == got.events


@given(st.sampled_from(sorted(MESSAGES)), st.booleans(), st.none() | st.floats(0, 1e6))
def test_an_error_event_comes_back_through_its_exception(code: str, retryable: bool, retry_after: float | None) -> None:
    said = to_error_event(error_from_event(ErrorEvent(MESSAGES[code], code, retryable, retry_after)))
    got = back([TextDelta("kept"), said])
    assert got.error is not None
    assert said == to_error_event(got.error)
    assert "kept" == got.message.text


@given(st.text())
def test_no_line_splitter_finds_an_end_inside_a_frame(text: str) -> None:
    text += "\u2028\x85\u2029\n"
    frames = [NativeEncoder().encode(event) for event in (TextDelta(text), Custom(text, {text: text}), ToolCall(text, text, text))]
    assert all(1 == len(frame.data.decode().splitlines()) for (frame,) in frames)


def test_half_a_character_is_replaced() -> None:
    assert [TextDelta("a\ufffd"), Custom("n", ["\ufffd"]), Finish()] == back([TextDelta("a\ud83d"), Custom("n", ["\udc00"])]).events


def test_a_value_that_json_cannot_say_names_the_event() -> None:
    loop: list[object] = []
    loop.append(loop)
    for value in (object(), {1j: 1}, loop):
        with pytest.raises(LocalProtocolError, match="custom event"):
            NativeEncoder().encode(Custom("n", value))


def test_finishes_of_several_choices_come_last_and_in_order() -> None:
    got = back([TextDelta("a"), TextDelta("b", 0, 1), Finish("stop", None, 1), Finish("length", None, 0)])
    assert [TextDelta("a"), TextDelta("b", 0, 1), Finish("length"), Finish("stop", None, 1)] == got.events


# ---- how it ends --------------------------------------------------------------------------------


def test_a_plain_end_is_a_stop_and_a_stop_on_request_says_so() -> None:
    assert [TextDelta("Hi"), Finish("stop")] == back([TextDelta("Hi")]).events
    assert [TextDelta("Hi"), Finish("cancelled")] == back([TextDelta("Hi")], CANCELLED).events


def test_failures_keep_their_kind() -> None:
    interrupted = back([TextDelta("kept")], outcome_of(StreamInterrupted("worker 3 died")))
    assert isinstance(interrupted.error, StreamInterrupted)
    assert "kept" == interrupted.message.text
    assert "worker" not in str(interrupted.error)
    assert isinstance(back([], outcome_of(StreamTruncated("x"))).error, StreamTruncated)
    limited = back([], outcome_of(RateLimitError("x", retry_after=2.5), correlation_id="r-7")).error
    assert isinstance(limited, RateLimitError)
    assert (2.5, "r-7", True) == (limited.retry_after, limited.request_id, limited.retryable)
    unknown = back([], outcome_of(ValueError("secret"))).error
    assert isinstance(unknown, SourceError)
    assert ("error", False) == (unknown.code, unknown.retryable)
    assert "secret" not in str(unknown)


def test_draining_says_after_which_frame_to_reconnect() -> None:
    encoder = NativeEncoder()
    frames = [*encoder.encode(TextDelta("kept")), *encoder.close(outcome_of(StreamDraining("bye")))]
    wire = b"".join(sse.encode_line(frame.data, id=id) for frame, id in zip(frames, ["e.1", None], strict=True))
    got = read(NativeDecoder(), [wire])
    assert isinstance(got.error, StreamDraining)
    assert "e.1" == got.error.last_id


def test_a_finish_is_held_until_the_end_and_an_error_beats_it() -> None:
    decoder = NativeDecoder()
    assert [] == decoder.decode_many(sse.Decoder().feed(sse_body({"type": "finish"})))
    decoder.decode_many(sse.Decoder().feed(sse_body({"type": "error", "message": "m", "code": "draining"}, {"type": "end"})))
    assert isinstance(decoder.error, StreamDraining)
    with pytest.raises(StreamDraining):
        decoder.finish()


@pytest.mark.parametrize("keep", range(4))
def test_a_body_cut_before_its_finish_is_truncated(keep: int) -> None:
    blocks = body([TextDelta("a"), TextDelta("b"), Finish()]).split(b"\n\n")[:keep]
    got = read(NativeDecoder(), [b"".join(block + b"\n\n" for block in blocks)])
    assert isinstance(got.error, StreamTruncated)
    assert "ab"[: max(0, keep - 1)] == got.message.text


def test_a_body_cut_after_its_finish_is_complete_unless_another_choice_spoke() -> None:
    whole = body([TextDelta("a"), Finish()]).removesuffix(b'data: {"type":"end"}\n\n')
    assert [TextDelta("a"), Finish()] == read(NativeDecoder(), [whole]).events
    assert isinstance(
        read(NativeDecoder(), [whole + sse_body({"type": "text-delta", "text": "b", "choice": 1})]).error, StreamTruncated
    )


# ---- readers older and newer than the writer ----------------------------------------------------


def test_unknown_fields_are_skipped_and_unknown_types_are_raw() -> None:
    got = read(
        NativeDecoder(), [sse_body({"type": "text-delta", "text": "a", "at": 1.5}, {"type": "hologram", "x": [1]}, {"type": "end"})]
    )
    assert [TextDelta("a"), Raw({"type": "hologram", "x": [1]}), Finish()] == got.events


def test_a_version_that_it_cannot_read_is_said_at_once() -> None:
    got = read(NativeDecoder(), [sse_body({"type": "open", "version": 2}, {"type": "text-delta", "text": "a"})])
    assert isinstance(got.error, RemoteProtocolError)
    assert "version 2" in str(got.error)
    assert [] == got.events


@pytest.mark.parametrize(
    "frame", ["{bad", "[1]", "{}", '{"type":3}', '{"type":"text-delta"}', '{"type":"text-delta","text":1}', "[" * 100_000, "null"]
)
def test_a_frame_that_is_no_event_is_a_protocol_error_and_costs_nothing_before_it(frame: str) -> None:
    got = read(NativeDecoder(), [sse_body({"type": "text-delta", "text": "kept"}, frame, {"type": "end"})])
    assert isinstance(got.error, RemoteProtocolError)
    assert "frame 2" in str(got.error)
    assert "kept" == got.message.text


def test_frames_of_bytes_are_read_as_well() -> None:
    class Line:
        type = "message"
        id = None

        def __init__(self, value: object) -> None:
            self.data = json.dumps(value).encode()

    decoder = NativeDecoder()
    assert [TextDelta("a"), Raw({"type": "new"}), Finish()] == decoder.decode_many(
        [Line({"type": "text-delta", "text": "a"}), Line({"type": "new"}), Line({"type": "end"})]
    )
