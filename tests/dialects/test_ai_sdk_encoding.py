"""What the AI SDK's encoders write, read by a small model of its clients (`ui_messages`); real clients read it in tests/web."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from counted_steps import steps
from dialect_cases import written
from hypothesis import given, settings
from hypothesis import strategies as st
from ui_messages import UIMessage

from streamkit.dialects import CANCELLED, DONE, Encoder, Outcome, get, outcome_of
from streamkit.dialects.ai_sdk import AISDKEncoder, answer_id
from streamkit.dialects.ai_sdk.text import DIALECT
from streamkit.dialects.openai_chat import OpenAIChatEncoder
from streamkit.errors import LocalProtocolError, RateLimitError, StreamDraining, StreamTruncated
from streamkit.events import (
    Citation,
    Custom,
    DataDelta,
    ErrorEvent,
    Event,
    File,
    Finish,
    FinishReason,
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


def lines(events: Iterable[Event], outcome: Outcome = DONE, **said: Any) -> list[bytes]:
    frames = written(AISDKEncoder(**said), events, outcome)
    assert all(frame.event is None for frame in frames)
    return [frame.data for frame in frames]


def message(events: Iterable[Event], outcome: Outcome = DONE, **said: Any) -> UIMessage:
    return UIMessage(lines(events, outcome, **said))


def types(events: Iterable[Event], outcome: Outcome = DONE) -> list[str]:
    *written, last = lines(events, outcome)
    UIMessage([*written, last])
    return [json.loads(line)["type"] for line in written]


def test_a_text_is_one_part_in_one_step_of_one_message() -> None:
    assert [
        b'{"type":"start","messageId":"msg-1","messageMetadata":{"model":"small"}}',
        b'{"type":"start-step"}',
        b'{"type":"text-start","id":"text-1"}',
        b'{"type":"text-delta","id":"text-1","delta":"Hel"}',
        b'{"type":"text-delta","id":"text-1","delta":"lo"}',
        b'{"type":"text-end","id":"text-1"}',
        b'{"type":"finish-step"}',
        b'{"type":"message-metadata","messageMetadata":{"usage":{"inputTokens":3,"outputTokens":2,"totalTokens":5},'
        b'"finishReason":"length"}}',
        b'{"type":"finish","finishReason":"length"}',
        b"[DONE]",
    ] == lines([Start("msg-1", "small"), TextDelta("Hel"), TextDelta(""), TextDelta("lo"), Usage(3, 2), Finish("length")])


def test_the_dialects_are_known_by_name_and_say_their_headers() -> None:
    stream, text = get("ai-sdk"), get("ai-sdk-text")
    assert ("sse", {"x-vercel-ai-ui-message-stream": "v1"}) == (stream.framing, stream.headers)
    assert ("text", "text/plain; charset=utf-8", {}) == (text.framing, text.media_type, text.headers)
    assert (False, False, True) == (stream.replays_ended, text.replays_ended, get("native").replays_ended)


def test_no_name_of_a_stream_is_the_id_of_a_message() -> None:
    assert message([TextDelta("a")], id="chat-7").id is None
    assert message([Start("own"), TextDelta("a")], id="chat-7").id == "own"
    assert message([Start(""), TextDelta("a")]).id is None


def test_the_id_of_a_providers_request_is_no_messages_and_the_applications_own_is() -> None:
    provider = Start("chatcmpl-1", "m", "openai")
    assert message([provider, TextDelta("a")]).id is None
    got = message([Start("own"), provider, TextDelta("a")])
    assert ("own", 1, "m") == (got.id, got.steps, got.metadata["model"])


@pytest.mark.parametrize("messages", [None, {}, [], "text", [1], [{"role": "user", "id": "u"}], [{"role": "assistant", "id": 1}]])
def test_an_answer_that_begins_a_message_has_an_id_of_its_own(messages: object) -> None:
    first, second = answer_id(messages), answer_id(messages)
    assert first != second
    assert 22 <= len(first)


def test_an_answer_that_goes_on_with_a_message_has_its_id() -> None:
    assert "a1" == answer_id([{"role": "user", "id": "u1"}, {"role": "assistant", "id": "a1", "parts": []}])


def test_the_model_is_said_once_by_who_knows_it() -> None:
    assert {"model": "given", "finishReason": "stop"} == message([TextDelta("a")], model="given").metadata
    assert "real" == message([Start(model="real")], model="given").metadata["model"]
    assert ["start", "data-note", "message-metadata", "start-step"] == types([Custom("note"), Start("x", "late")])[:4]


def test_no_events_at_all_are_an_empty_message() -> None:
    assert ["start", "message-metadata", "finish"] == types([])
    assert "stop" == message([]).reason


def test_reasoning_ends_where_text_begins_and_text_where_reasoning_begins() -> None:
    got = message([ReasoningDelta("why"), TextDelta("so"), ReasoningDelta("hm"), TextDelta("thus")])
    assert [["reasoning", "why"], ["text", "so"], ["reasoning", "hm"], ["text", "thus"]] == got.parts


def test_blocks_that_interleave_are_kept_apart_by_index() -> None:
    got = message([TextDelta("a", 1), TextDelta("x", 2), TextDelta("b", 1), TextDelta("y", 2), TextDelta("z", 2)])
    assert [["text", "ab"], ["text", "xyz"]] == got.parts
    got = message([ReasoningDelta("a", 1), ReasoningDelta("x", 2), ReasoningDelta("b", 1)])
    assert [["reasoning", "ab"], ["reasoning", "x"]] == got.parts


def test_a_source_or_a_file_does_not_cut_the_text() -> None:
    got = message([TextDelta("a"), Citation("https://x.test"), File("image/png", url="https://y.test"), TextDelta("b")])
    assert [["text", "ab"]] == got.parts
    assert ["source-url", "file"] == [other["type"] for other in got.others]


def test_what_comes_after_a_tool_call_is_shown_after_it() -> None:
    order = [kind for kind in types([TextDelta("a"), ToolCall("c", "now"), TextDelta("b")]) if "start" in kind or "tool" in kind]
    assert ["start", "start-step", "text-start", "tool-input-available", "text-start"] == order


def test_proofs_of_reasoning_are_kept_together_where_clients_keep_them() -> None:
    got = message([ReasoningDelta("a"), ReasoningDelta(signature="s"), ReasoningDelta("b", redacted="r"), TextDelta("t")])
    assert [{"signature": "s"}, {"signature": "s", "redacted": "r"}] == [o["providerMetadata"]["streamkit"] for o in got.others]
    assert [["reasoning", "ab"], ["text", "t"]] == got.parts


def test_a_proof_alone_is_a_part_and_leaves_the_text_open() -> None:
    got = message([TextDelta("a"), ReasoningDelta(redacted="r"), TextDelta("b")])
    assert [["text", "ab"], ["reasoning", ""]] == got.parts
    assert {"streamkit": {"redacted": "r"}} == got.others[0]["providerMetadata"]


# ---- tools --------------------------------------------------------------------------------------

CALL: list[Event] = [
    ToolCallStart("c", "add"),
    ToolCallDelta("c", '{"a":'),
    ToolCallDelta("c", "1}"),
    ToolCall("c", "add", '{"a":1}'),
]


def test_a_call_is_typed_then_told_then_answered() -> None:
    events: list[Event] = [*CALL, Finish("tool-calls"), ToolResult("c", {"sum": None})]
    assert [
        "tool-input-start",
        "tool-input-delta",
        "tool-input-delta",
        "tool-input-available",
        "tool-output-available",
        "finish-step",
        "message-metadata",
        "finish",
    ] == types(events)[2:]
    got = message(events)
    assert ('{"a":1}', {"a": 1}, {"sum": None}, "tool-calls") == (got.typed["c"], got.inputs["c"], got.outputs["c"], got.reason)


def test_a_second_request_of_the_same_answer_is_a_second_step() -> None:
    events = [
        Start("1"),
        *CALL,
        Usage(5, 2),
        Finish("tool-calls"),
        ToolResult("c", 2),
        Start("2"),
        TextDelta("2"),
        Usage(9, None, 4),
    ]
    got = message([*events, Finish()])
    assert (2, "1", "stop") == (got.steps, got.id, got.reason)
    assert {"inputTokens": 14, "outputTokens": 2, "totalTokens": 16, "inputTokenDetails": {"cacheReadTokens": 4}} == got.metadata[
        "usage"
    ]


def test_text_behind_a_finish_begins_a_step_and_an_empty_step_is_not_begun_twice() -> None:
    assert 2 == message([TextDelta("a"), Finish(), TextDelta("b")]).steps
    assert 1 == message([Start("1"), Start("2"), TextDelta("b")]).steps


def test_ids_of_calls_may_come_again_in_the_next_step() -> None:
    got = message([ToolCall("call_0", "a", "1"), Finish(), ToolResult("call_0", "x"), ToolCall("call_0", "b", "2")])
    assert (2, 2, "x") == (got.steps, got.inputs["call_0"], got.outputs["call_0"])


def test_a_call_without_its_last_event_is_told_at_the_end_of_its_step() -> None:
    assert {"a": 1} == message(CALL[:-1]).inputs["c"]
    assert {} == message(CALL[:1]).inputs["c"]
    assert ('{"a":', "The arguments of this call are not JSON.") == message(CALL[:2]).inputs["c"]


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (ToolCall("c", "add", '{"a":', complete=False), "were cut off"),
        (ToolCall("c", "add", "1", complete=False), "were cut off"),
        (ToolCall("c", "add", "{'a': 1}"), "are not JSON"),
        (ToolCall("c", "add", "[" * 5000), "are not JSON"),
        (ToolCall("c", "add", '{"a":"\ud800'), "are not JSON"),
    ],
)
def test_arguments_that_are_no_value_are_an_error_of_the_call_with_the_text(call: ToolCall, why: str) -> None:
    text, told = message([call]).inputs["c"]
    assert f"The arguments of this call {why}." == told
    assert call.arguments.replace("\ud800", "\ufffd") == text


def test_arguments_in_many_lines_and_with_large_numbers_are_one_line() -> None:
    got = message([ToolCall("c", "add", '{\n "a": 123456789012345678901234567890,\r\n "b": "\u2028"\n}')])
    assert {"a": 123456789012345678901234567890, "b": "\u2028"} == got.inputs["c"]
    assert {"a": "\ufffd"} == message([ToolCall("c", "add", '{"a":"\ud800"}')]).inputs["c"]


def test_deltas_that_come_before_the_name_wait_for_it() -> None:
    got = message([CALL[1], CALL[0], CALL[2]])
    assert ('{"a":1}', {"a": 1}) == (got.typed["c"], got.inputs["c"])
    text, _ = message([CALL[1]]).inputs["c"]
    assert '{"a":' == text


def test_what_comes_twice_or_late_for_a_call_changes_nothing() -> None:
    got = message([*CALL, *CALL, ToolCallDelta("c", "more")])
    assert ('{"a":1}', {"a": 1}, 1) == (got.typed["c"], got.inputs["c"], got.steps)
    late = message([*CALL[:2], Finish(), *CALL[2:]])
    assert ({"a": 1}, 1) == (late.inputs["c"], late.steps)


def test_a_result_may_come_again_and_late_and_before_the_input_was_told() -> None:
    assert 2 == message([*CALL, ToolResult("c", 1), ToolResult("c", 2)]).outputs["c"]
    assert 3 == message([*CALL, Finish(), TextDelta("next"), ToolResult("c", 3)]).outputs["c"]
    early = message([*CALL[:3], ToolResult("c", 4), CALL[3]])
    assert ({"a": 1}, 4) == (early.inputs["c"], early.outputs["c"])


def test_the_result_of_a_call_that_is_not_here_breaks_no_client() -> None:
    got = message([ToolResult("elsewhere", [1]), ToolResult("other", "no", is_error=True)])
    assert [
        ("tool-result", {"toolCallId": "elsewhere", "output": [1]}),
        ("tool-result", {"toolCallId": "other", "output": "no", "isError": True}),
    ] == got.data


def test_a_failed_tool_says_why_as_text() -> None:
    assert "no port" == message([*CALL, ToolResult("c", "no port", is_error=True)]).outputs["c"]
    assert '{"code":5}' == message([*CALL, ToolResult("c", {"code": 5}, is_error=True)]).outputs["c"]


def test_a_tool_of_the_provider_is_marked_and_its_proof_kept() -> None:
    got = message([ToolCallStart("s", "web_search", server=True), ToolCall("s", "web_search", "{}", server=True, signature="p")])
    assert (True, {"streamkit": {"signature": "p"}}) == (got.others[0]["providerExecuted"], got.others[0]["providerMetadata"])
    assert "stop" == got.reason
    assert "tool-calls" == message([ToolCall("c", "now")]).reason
    assert "stop" == message([ToolCall("c", "now"), ToolResult("c", 1)]).reason


# ---- everything else ----------------------------------------------------------------------------


def test_sources_files_and_data_have_their_parts() -> None:
    got = message(
        [
            Citation("https://a.test", "A", "said"),
            Citation(title="Book"),
            Citation(quote="only words"),
            Citation(),
            File("image/png", data=b"\x00\xff", name="cat.png"),
            File("text/plain", url="https://f.test"),
            File("text/plain"),
            DataDelta(b"pcm", "audio/pcm", index=2),
            DataDelta(b"", "audio/pcm"),
            Custom("weather", {"wind": None}),
            Custom("nothing"),
            Gap(3),
            Ping(),
            Raw({"x": 1}),
        ]
    )
    assert [
        {
            "type": "source-url",
            "sourceId": "source-1",
            "url": "https://a.test",
            "title": "A",
            "providerMetadata": {"streamkit": {"quote": "said"}},
        },
        {"type": "source-document", "sourceId": "source-2", "mediaType": "text/plain", "title": "Book"},
        {
            "type": "source-document",
            "sourceId": "source-3",
            "mediaType": "text/plain",
            "title": "only words",
            "providerMetadata": {"streamkit": {"quote": "only words"}},
        },
        {
            "type": "file",
            "url": "data:image/png;base64,AP8=",
            "mediaType": "image/png",
            "providerMetadata": {"streamkit": {"filename": "cat.png"}},
        },
        {"type": "file", "url": "https://f.test", "mediaType": "text/plain"},
    ] == got.others
    assert [
        ("bytes", {"mediaType": "audio/pcm", "index": 2, "base64": "cGNt"}),
        ("weather", {"wind": None}),
        ("nothing", None),
        ("gap", {"count": 3}),
    ] == got.data


def test_a_value_that_no_json_can_carry_is_refused_and_the_message_goes_on() -> None:
    encoder = AISDKEncoder()
    with pytest.raises(LocalProtocolError):
        encoder.encode(Custom("x", {1j}))
    frames = [*encoder.encode(TextDelta("a")), *encoder.close(DONE)]
    assert b'{"type":"text-delta","id":"text-1","delta":"a"}' in [frame.data for frame in frames]


@pytest.mark.parametrize("name", ['{"__proto__":{"x":1}}', '{"deep":[{"constructor":{"prototype":{"x":1}}}]}'])
def test_a_name_that_clients_take_for_an_attack_ends_no_message(name: str) -> None:
    value = json.loads(name)
    got = message([ToolCall("a", "page", name), ToolCall("b", "page", "{}"), ToolResult("b", value), Custom("mood", value)])
    assert (name, "The arguments of this call hold a name that clients refuse.") == got.inputs["a"]
    assert (name, [("mood", name)]) == (got.outputs["b"], got.data)


def test_a_text_about_such_a_name_is_as_it_is() -> None:
    value = {"said": '"__proto__": {"constructor":{"prototype":', "named": ["__proto__", "constructor"], "constructor": "Ann"}
    got = message([ToolCall("a", "page", json.dumps(value)), ToolResult("a", value), Custom("mood", value)])
    assert [value, value, value] == [got.inputs["a"], got.outputs["a"], got.data[0][1]]


def test_a_message_has_one_answer() -> None:
    got = message([TextDelta("a"), TextDelta("b", choice=1), ToolCall("c", "x", choice=1), Finish("length", choice=1), Finish()])
    assert ("a", {}, "stop") == (got.text(), got.inputs, got.reason)


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("tool-calls", "tool-calls"),
        ("content-filter", "content-filter"),
        ("other", "other"),
    ],
)
def test_reasons_have_the_clients_words(reason: FinishReason, told: str) -> None:
    got = message([TextDelta("a"), Finish(reason)])
    assert ("finish", told, told) == (got.end, got.reason, got.metadata["finishReason"])


@pytest.mark.parametrize(
    ("events", "outcome"), [([], CANCELLED), ([Finish("cancelled")], DONE), ([Finish("cancelled")], CANCELLED)]
)
def test_what_is_stopped_on_request_ends_its_parts_and_is_an_abort(events: list[Event], outcome: Outcome) -> None:
    got = message([TextDelta("a"), CALL[0], CALL[1], *events], outcome)
    assert ("abort", "cancelled", "a") == (got.end, got.metadata["finishReason"], got.text())
    assert ('{"a":', "The arguments of this call were cut off.") == got.inputs["c"]


@pytest.mark.parametrize("error", [StreamTruncated("secret"), RateLimitError("secret", retry_after=7), StreamDraining("secret")])
def test_what_fails_is_an_error_and_nothing_of_it_is_called_done(error: Exception) -> None:
    outcome = outcome_of(error, correlation_id="r-7")
    got = message([TextDelta("a"), Usage(3), CALL[0]], outcome)
    assert ("error", outcome.message) == (got.end, got.error)
    assert {"usage": {"inputTokens": 3}} == got.metadata
    told = {"code": outcome.code, "retryable": True, "correlationId": "r-7"}
    assert [("error", {**told, "retryAfter": 7} if outcome.retry_after else told)] == got.data
    assert not [line for line in lines([CALL[0], TextDelta("a")], outcome) if b"-end" in line or b"finish" in line]
    assert b"secret" not in b"".join(lines([TextDelta("a")], outcome))


def test_an_error_event_ends_the_stream_with_its_message() -> None:
    encoder = AISDKEncoder()
    frames = encoder.encode(ErrorEvent("Sold out.", code="sold-out"))
    assert [
        b'{"type":"data-error","data":{"code":"sold-out","retryable":false},"transient":true}',
        b'{"type":"error","errorText":"Sold out."}',
        b"[DONE]",
    ] == [frame.data for frame in frames]
    assert [] == encoder.close(DONE)


def test_sse_03_halves_of_characters_and_line_ends_of_all_kinds_stay_on_one_line() -> None:
    written = lines([TextDelta("a\u2028b\x85c\r\nd\ud800"), ToolCallStart("c\n", "n\u2029"), Custom("x\ny", "\r")])
    assert not [line for line in written if set(line.decode()) & set("\n\r\u2028\u2029\x85")]
    assert "a\u2028b\x85c\r\nd\ufffd" == UIMessage(written).text()


# ---- any order ----------------------------------------------------------------------------------

# Each block has letters of its own, so that its text is found again among the others'.
LETTERS = ("abc", "klm\u2028", "xyzü")
IDS = st.sampled_from(["c1", "c2"])


def deltas(kind: type[TextDelta] | type[ReasoningDelta]) -> st.SearchStrategy[Event]:
    return st.one_of([st.builds(kind, st.text(letters, max_size=3), st.just(i)) for i, letters in enumerate(LETTERS)])


ANYTHING: st.SearchStrategy[Event] = st.one_of(
    deltas(TextDelta),
    deltas(ReasoningDelta),
    st.builds(ReasoningDelta, st.just(""), st.integers(0, 2), signature=st.just("s")),
    st.builds(ToolCallStart, IDS, st.just("add"), server=st.booleans()),
    st.builds(ToolCallDelta, IDS, st.sampled_from(["", "{", '"a":1', "}"])),
    st.builds(ToolCall, IDS, st.just("add"), st.sampled_from(['{"a":1}', "", "{"]), st.booleans()),
    st.builds(ToolResult, IDS, st.sampled_from([1, None, {"a": []}]), st.booleans()),
    st.builds(Start, st.sampled_from([None, "m1", "m2"])),
    st.builds(Finish, st.sampled_from(["stop", "tool-calls", "cancelled"])),
    st.sampled_from(
        [
            Citation("https://x.test"),
            File("image/png", data=b"x"),
            DataDelta(b"x", "audio/pcm"),
            Custom("note", {"a": None}),
            Usage(1, 2),
            Gap(1),
            Ping(),
            Raw(1),
            TextDelta("other", choice=1),
        ]
    ),
)
OUTCOMES = st.sampled_from([DONE, CANCELLED, outcome_of(StreamTruncated("x"))])


@given(st.lists(ANYTHING, max_size=30), OUTCOMES)
@settings(deadline=None)
def test_any_order_of_events_is_a_message_that_clients_take_with_all_of_its_text(events: list[Event], outcome: Outcome) -> None:
    got = message(events, outcome)
    for kind, name in ((TextDelta, "text"), (ReasoningDelta, "reasoning")):
        for index, letters in enumerate(LETTERS):
            said = "".join(e.text for e in events if isinstance(e, kind) and e.index == index and e.choice == 0)
            assert said == "".join(letter for letter in got.text(name) if letter in letters)
    calls = {e.id for e in events if isinstance(e, ToolCall | ToolCallStart)}
    assert calls <= got.inputs.keys() or outcome.failed
    assert {e.id for e in events if isinstance(e, ToolResult)} <= got.outputs.keys() | {
        data["toolCallId"] for name, data in got.data if name == "tool-result"
    }


ASIDE = st.one_of(
    deltas(TextDelta),
    deltas(ReasoningDelta),
    st.just(Custom("note")),
    st.just(Citation("https://x.test")),
    st.just(ToolCall("aside", "add", "{}")),
    st.just(Usage(1)),
)


@given(st.lists(st.sampled_from(['{"a":', "[1,", "2]", ',"b":"ü"', "}"]), max_size=6), st.data())
@settings(deadline=None)
def test_the_arguments_of_a_call_are_whole_whatever_lies_between_them(pieces: list[str], data: st.DataObject) -> None:
    text = "".join(pieces)
    events: list[Event] = []
    of_call: list[Event] = [ToolCallStart("c", "add"), *[ToolCallDelta("c", piece) for piece in pieces], ToolCall("c", "add", text)]
    for event in of_call:
        events += [*data.draw(st.lists(ASIDE, max_size=2)), event]
    got = message(events)
    assert text == got.typed["c"]
    try:
        value = json.loads(text or "{}")
    except ValueError:
        assert text == got.inputs["c"][0]
    else:
        assert value == got.inputs["c"]


# ---- the cost, and text alone -------------------------------------------------------------------


def test_a_text_delta_costs_no_more_than_a_third_above_what_it_does_for_openai() -> None:
    events = [TextDelta("word ")] * 200

    def work(encoder: Encoder) -> int:
        encoder.encode(events[0])
        return steps(lambda: [encoder.encode(event) for event in events])

    assert work(AISDKEncoder()) <= 1.3 * work(OpenAIChatEncoder())


def test_text_alone_is_the_text_of_the_first_choice_and_nothing_else() -> None:
    assert DIALECT.encoder is not None
    encoder = DIALECT.encoder(id="x", model="m")
    frames = encoder.open()
    events: list[Event] = [
        Start("a"),
        TextDelta("a\n", 0),
        TextDelta(""),
        ReasoningDelta("r"),
        TextDelta("ü\ud800", 1),
        TextDelta("no", choice=1),
    ]
    for event in events:
        frames += encoder.encode(event)
    assert b"a\n\xc3\xbc\xef\xbf\xbd" == b"".join(frame.data for frame in frames)
    assert all(frame.lines for frame in frames)  # on another wire than its own a line end is one
    assert [] == encoder.close(outcome_of(StreamTruncated("x"))) == encoder.encode(TextDelta("late"))
