"""What the chat decoder makes of every shape that OpenAI and its relatives send."""

from __future__ import annotations

import random
import time

import pytest
from dialect_cases import FIXTURES, Reading, cut, read, sse_body
from hypothesis import given
from hypothesis import strategies as st

from streamkit.dialects.openai_chat import OpenAIChatDecoder
from streamkit.errors import (
    AuthError,
    ContentBlockedError,
    OverloadedError,
    RateLimitError,
    RemoteProtocolError,
    SourceError,
    StreamTruncated,
)
from streamkit.events import (
    Citation,
    DataDelta,
    Event,
    File,
    Finish,
    Message,
    ReasoningDelta,
    Start,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolCallStart,
    Usage,
)
from streamkit.wire import sse

STOP = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
START = Start()


def chunk(_reason: str | None = None, _choice: int = 0, **delta: object) -> dict[str, object]:
    return {"choices": [{"index": _choice, "delta": delta, "finish_reason": _reason}]}


def answer(*frames: object) -> Reading:
    return read(OpenAIChatDecoder(), [sse_body(*frames)])


def events(*frames: object) -> list[Event]:
    """The events of a whole answer, between Start and Finish."""
    got = answer(*frames, STOP, "[DONE]")
    assert got.error is None
    assert isinstance(got.events[0], Start)
    assert Finish("stop", "stop") == got.events[-1]
    return got.events[1:-1]


def test_text_reasoning_and_two_interleaved_tools_are_told_in_order() -> None:
    body = (FIXTURES / "two_tools.sse").read_bytes()
    expected: list[Event] = [
        Start("answer-1", "small-1", "harbour"),
        ReasoningDelta("Two places."),
        TextDelta("Looking … "),
        ToolCallStart("c-1", "tide", 0),
        ToolCallDelta("c-1", '{"port":"Br', 0),
        ToolCallStart("c-2", "tide", 1),
        ToolCallDelta("c-2", '{"port"', 1),
        ToolCallDelta("c-2", ':"Vigo"}', 1),
        ToolCallDelta("c-1", 'est"}', 0),
        ToolCall("c-1", "tide", '{"port":"Brest"}', True, 0),
        ToolCall("c-2", "tide", '{"port":"Vigo"}', True, 1),
        Usage(9, 21, reasoning_tokens=3),
        Finish("tool-calls", "tool_calls"),
    ]
    for reads in ([body], [body[at : at + 1] for at in range(len(body))], cut(body, random.Random(1))):
        got = read(OpenAIChatDecoder(provider="harbour"), reads)
        assert got.error is None
        assert expected == got.events


def test_odd_types_are_understood() -> None:
    got = read(OpenAIChatDecoder(), [(FIXTURES / "odd_types.sse").read_bytes()])
    assert got.error is None
    assert [
        Start("77", "odd"),
        ReasoningDelta("Hm."),
        TextDelta("One"),
        TextDelta(" two"),
        TextDelta(" three"),
        ToolCallStart("5", "count"),
        ToolCallDelta("5", '{"to":3}'),
        ToolCall("5", "count", '{"to":3}'),
        Usage(4, 6),
        Finish("stop", "eos"),
    ] == got.events


def test_empty_strings_give_no_event() -> None:
    assert [] == events(chunk(role="assistant", content="", refusal=None), chunk(content="", reasoning_content=""))


def test_reasoning_written_in_three_fields_comes_once() -> None:
    details = [{"type": "reasoning.text", "text": "so", "index": 0}]
    assert [ReasoningDelta("so")] == events(chunk(reasoning="so", reasoning_content="so", reasoning_details=details))
    assert [ReasoningDelta("so")] == events(chunk(reasoning="so", reasoning_details=details))
    assert [ReasoningDelta("so")] == events(chunk(reasoning_details=details))


def test_reasoning_proofs_and_sealed_reasoning_are_kept() -> None:
    details = [{"type": "reasoning.text", "text": "so", "signature": "proof"}, {"type": "reasoning.encrypted", "data": "sealed"}]
    assert [ReasoningDelta("so"), ReasoningDelta("", signature="proof"), ReasoningDelta("", redacted="sealed")] == events(
        chunk(reasoning="so", reasoning_details=details)
    )


def test_start_waits_for_a_chunk_that_knows_something() -> None:
    first = {"id": "", "model": "", "choices": [], "prompt_filter_results": [{"prompt_index": 0}]}
    got = answer(first, {"id": "a", "model": "m", **chunk(content="x")}, STOP, "[DONE]")
    assert [Start("a", "m"), TextDelta("x"), Finish("stop", "stop")] == got.events


def test_a_refusal_is_text_of_its_own_block_and_a_content_filter_finish() -> None:
    got = answer(chunk(refusal="I will not."), STOP, "[DONE]")
    assert [START, TextDelta("I will not.", 1), Finish("content-filter", "stop")] == got.events


def test_several_choices_finish_each_in_order_after_the_usage() -> None:
    got = answer(
        chunk(None, 1, content="b"),
        chunk(None, 0, content="a"),
        chunk("length", 1),
        chunk("stop", 0),
        {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}},
        "[DONE]",
    )
    assert [TextDelta("b", 0, 1), TextDelta("a"), Usage(1, 2), Finish("stop", "stop"), Finish("length", "length", 1)] == got.events[
        1:
    ]
    assert "b" == Message(got.events, choice=1).text


def test_usage_on_every_chunk_counts_once_with_the_last_value() -> None:
    frames = [{**chunk(content="x"), "usage": {"prompt_tokens": 3, "completion_tokens": count}} for count in (1, 2, 3)]
    assert [TextDelta("x")] * 3 + [Usage(3, 3)] == events(*frames)


def test_usage_of_a_router_is_found_where_it_is() -> None:
    assert [Usage(5, 6)] == events({**chunk(), "x_groq": {"id": "r", "usage": {"prompt_tokens": 5, "completion_tokens": 6}}})
    assert [Usage(5, 6, cache_read_tokens=4)] == events(
        {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 6, "prompt_cache_hit_tokens": 4}}
    )


def test_sources_come_once_each_with_their_titles() -> None:
    sources = {
        "citations": ["https://a", "https://b"],
        "search_results": [{"url": "https://b", "title": "B"}, {"url": "https://c", "title": "C"}],
    }
    assert [
        Citation("https://a"),
        Citation("https://b", "B"),
        Citation("https://c", "C"),
        TextDelta("x"),
        TextDelta("y"),
    ] == events({**chunk(content="x"), **sources}, {**chunk(content="y"), **sources})


def test_annotations_are_citations() -> None:
    note = {"type": "url_citation", "url_citation": {"url": "https://a", "title": "A", "content": "said", "start_index": 0}}
    assert [Citation("https://a", "A", "said")] == events(chunk(annotations=[note]), chunk(annotations=[note]))


def test_sound_and_pictures_are_kept() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAE="}}
    assert [
        TextDelta("hello"),
        DataDelta(b"\0\1", "audio/pcm"),
        File("image/png", data=b"\0\1"),
        File("image/*", url="https://pictures.test/1"),
    ] == events(
        chunk(audio={"id": "s", "transcript": "hello", "data": "AAE="}),
        chunk(images=[picture, {"image_url": "https://pictures.test/1"}]),
    )


# ---- tool calls ---------------------------------------------------------------------------------


def calls(*deltas: list[dict[str, object]]) -> list[tuple[str, str, str]]:
    got = answer(*(chunk(tool_calls=delta) for delta in deltas), chunk("tool_calls"), "[DONE]")
    assert got.error is None
    started = [event.id for event in got.events if isinstance(event, ToolCallStart)]
    done = [event for event in got.events if isinstance(event, ToolCall)]
    assert started == [call.id for call in done]
    assert list(range(len(done))) == [call.index for call in done]
    for call in done:  # the deltas say the same as the whole
        assert call.arguments == "".join(e.delta for e in got.events if isinstance(e, ToolCallDelta) and e.id == call.id)
    return [(call.id, call.name, call.arguments) for call in done]


def tool(index: int | None, id: str | None, name: str | None, arguments: str | None) -> dict[str, object]:
    return {"index": index, "id": id, "function": {"name": name, "arguments": arguments}}


def test_an_id_and_a_name_repeated_on_every_delta_are_one_call() -> None:
    assert [("c", "f", "{}")] == calls([tool(0, "c", "f", "{")], [tool(0, "c", "f", "}")])


def test_a_new_id_without_a_name_goes_on_with_the_call() -> None:
    assert [("c", "f", "{}")] == calls([tool(0, "c", "f", "{")], [tool(0, "other", None, "}")])


def test_calls_that_all_have_the_same_index_are_told_apart_by_id() -> None:
    assert [("a", "f", "{}"), ("b", "g", "[]")] == calls([tool(0, "a", "f", "{}")], [tool(0, "b", "g", "[]")])


def test_calls_without_an_index_are_told_apart_by_id() -> None:
    assert [("a", "f", "{}"), ("b", "g", "[]")] == calls(
        [tool(None, "a", "f", "{")], [tool(None, None, None, "}")], [tool(None, "b", "g", "[")], [tool(None, "b", None, "]")]
    )


def test_whole_calls_without_index_or_id_are_told_apart_by_name() -> None:
    found = calls([tool(None, None, "f", "{}")], [tool(None, None, "g", "[]")])
    assert [("f", "{}"), ("g", "[]")] == [call[1:] for call in found]
    assert found[0][0] != found[1][0]


def test_arguments_that_come_before_the_name_are_kept() -> None:
    assert [("c", "f", '{"a":1}')] == calls([tool(0, "c", None, '{"a"')], [tool(0, None, "f", ":1}")])


def test_the_old_function_call_is_a_tool_call() -> None:
    got = answer(
        {"id": "a", **chunk(function_call={"name": "f", "arguments": "{"})},
        chunk(function_call={"arguments": "}"}),
        chunk("function_call"),
        "[DONE]",
    )
    assert [ToolCall("call_a_0_0", "f", "{}"), Finish("tool-calls", "function_call")] == got.events[-2:]


def test_a_custom_tools_input_need_not_be_json() -> None:
    got = answer(
        chunk(tool_calls=[{"index": 0, "id": "c", "type": "custom", "custom": {"name": "sql", "input": "SELECT 1"}}]),
        chunk("tool_calls"),
        "[DONE]",
    )
    assert ToolCall("c", "sql", "SELECT 1") == got.message.tool_calls[0]


@pytest.mark.parametrize(
    ("arguments", "reason", "complete"),
    [
        ('{"a":1}', "tool_calls", True),
        ('{"a":1}', "length", True),
        ('{"a":', "length", False),
        ('{"a":', "tool_calls", False),
        ("", "tool_calls", True),
        ("", "length", False),
        ('{"a":', None, False),
    ],
)
def test_a_call_is_complete_only_with_whole_arguments(arguments: str, reason: str | None, complete: bool) -> None:
    got = answer(chunk(tool_calls=[tool(0, "c", "f", arguments)]), chunk(reason), "[DONE]")
    assert got.error is None
    assert [complete] == [call.complete for call in got.message.tool_calls]


# ---- how it ends --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("tool_calls", "tool-calls"),
        ("content_filter", "content-filter"),
        ("abort", "cancelled"),
        ("STOP", "stop"),
        ("pause", "other"),
    ],
)
def test_finish_reasons_keep_the_providers_word(word: str, reason: str) -> None:
    got = answer(chunk(content="x"), chunk(word), "[DONE]").message.finish
    assert got is not None
    assert (reason, word) == (got.reason, got.raw_reason)


def test_a_finish_reason_without_the_end_marker_completes_with_usage_that_is_not_final() -> None:
    got = answer(chunk(content="x"), {**STOP, "usage": {"prompt_tokens": 1, "completion_tokens": 1}})
    assert got.error is None
    assert [Usage(1, 1, final=False), Finish("stop", "stop")] == got.events[-2:]


def test_the_end_marker_without_a_finish_reason_completes_with_other() -> None:
    got = answer(chunk(content="x"), "[DONE]")
    assert got.error is None
    assert Finish("other") == got.events[-1]


def test_neither_finish_reason_nor_end_marker_is_truncation_and_keeps_what_is_known() -> None:
    decoder = OpenAIChatDecoder()
    got = read(decoder, [sse_body({**chunk(content="x"), "usage": {"prompt_tokens": 1, "completion_tokens": 1}})])
    assert isinstance(got.error, StreamTruncated)
    assert "x" == got.message.text
    assert [Usage(1, 1, final=False)] == decoder.held()


def test_usage_is_held_only_until_it_was_given() -> None:
    counted = {**chunk("stop"), "usage": {"prompt_tokens": 1, "completion_tokens": 1}}
    for last in ("[DONE]", "{bad"):
        decoder = OpenAIChatDecoder()
        given_out = decoder.decode_many(sse.Decoder().feed(sse_body(counted, last)))
        assert [Usage(1, 1, final=last == "[DONE]")] == [event for event in given_out if isinstance(event, Usage)]
        assert [] == decoder.held()


def test_one_choice_of_two_without_a_reason_is_truncation() -> None:
    assert isinstance(answer(chunk("stop", 0), chunk(None, 1, content="b")).error, StreamTruncated)


def test_a_body_without_an_answer_is_truncation() -> None:
    assert isinstance(answer().error, StreamTruncated)
    assert isinstance(answer("[DONE]").error, StreamTruncated)
    assert isinstance(answer({"choices": []}, "[DONE]").error, StreamTruncated)


def test_what_comes_after_the_end_marker_is_ignored() -> None:
    got = answer(chunk("stop", content="x"), "[DONE]", chunk(content="y"), "rubbish", {"error": "late"})
    assert got.error is None
    assert "x" == got.message.text
    in_a_later_read = read(
        OpenAIChatDecoder(), [sse_body(chunk("stop", content="x"), "[DONE]"), sse_body(chunk(content="y"), "rubbish")]
    )
    assert got == in_a_later_read


def test_finish_gives_nothing_twice() -> None:
    decoder = OpenAIChatDecoder()
    decoder.decode_many(sse.Decoder().feed(sse_body(chunk("stop"), "[DONE]")))
    assert decoder.done
    assert [] == decoder.finish() == decoder.finish()


# ---- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "kind", "code"),
    [
        ({"error": {"message": "no", "type": "invalid_request_error", "code": "invalid_api_key"}}, AuthError, "invalid_api_key"),
        ({"error": {"message": "no", "type": "rate_limit_error", "code": None}}, RateLimitError, "rate_limit_error"),
        ({"error": {"message": "no", "code": 503}}, OverloadedError, "503"),
        ({"error": "no"}, SourceError, None),
        ({"object": "error", "message": "no", "code": 40303}, SourceError, "40303"),
        ({"code": "ServerError", "message": "no", "request_id": "r"}, OverloadedError, "ServerError"),
        ({"detail": "no"}, SourceError, None),
        ({"choices": [{"delta": {}, "finish_reason": "error", "error": {"code": 502, "message": "no"}}]}, OverloadedError, "502"),
        ({"choices": [{"delta": {}, "error": {"code": 502, "message": "no"}}]}, OverloadedError, "502"),
        ({**STOP, "error": {"code": "content_filter", "message": "no"}}, ContentBlockedError, "content_filter"),
        ({**chunk(), "x_groq": {"id": "r", "error": "no"}}, SourceError, None),
    ],
)  # fmt: skip
def test_an_error_in_the_stream_is_a_typed_error_after_the_text(frame: object, kind: type[SourceError], code: str | None) -> None:
    got = answer({**chunk(content="kept"), "usage": {"prompt_tokens": 2, "completion_tokens": 1}}, chunk("stop"), frame, "[DONE]")
    assert kind is type(got.error)
    assert isinstance(got.error, SourceError)
    assert code == got.error.code
    assert "no" in str(got.error)
    assert [START, TextDelta("kept"), Usage(2, 1, final=False)] == got.events


@pytest.mark.parametrize(
    "data",
    ['{"error":{"message":"full","type":"overloaded_error"}}', '{"message":"full","type":"overloaded_error"}', "overloaded: full"],
)
def test_an_error_event_is_an_error_whatever_it_holds(data: str) -> None:
    got = read(OpenAIChatDecoder(provider="groq"), [sse_body(chunk(content="kept")) + sse.encode(data, event="error")])
    assert isinstance(got.error, SourceError)
    assert "full" in str(got.error)
    assert "groq" == got.error.provider
    assert "kept" == got.message.text


def test_an_error_without_anything_before_it_gives_no_event() -> None:
    got = answer({"error": {"message": "bad key sk-abcdefghijklmnop123456", "code": 401}})
    assert [] == got.events
    assert isinstance(got.error, AuthError)
    assert "abcdefghijklmnop" not in str(got.error) + repr(got.error)


@pytest.mark.parametrize(
    "data",
    ["{bad", "not json", "[1]", '"text"', "3", "null", '{"choices":"x"}', "[" * 100_000, "9" * 10_000, '{"x":%s}' % ("9" * 5_000)],
)
def test_a_frame_that_is_no_chunk_is_a_protocol_error_and_costs_nothing_before_it(data: str) -> None:
    got = answer(chunk(content="kept"), data, chunk(content="never"), "[DONE]")
    assert isinstance(got.error, RemoteProtocolError)
    assert got.error.excerpt
    assert len(str(got.error)) < 300
    assert "kept" == got.message.text


def test_the_error_stays_and_later_frames_give_nothing() -> None:
    decoder = OpenAIChatDecoder()
    frames = sse.Decoder().feed(sse_body(chunk(content="a"), "{bad", chunk(content="b")))
    assert [START, TextDelta("a")] == decoder.decode_many(frames)
    assert isinstance(decoder.error, RemoteProtocolError)
    assert [] == decoder.decode_many(frames)
    with pytest.raises(RemoteProtocolError):
        decoder.finish()


def test_an_error_says_which_frame_is_at_fault() -> None:
    assert "frame 3 is not JSON" in str(answer(chunk(content="a"), chunk(content="b"), "{bad").error)


def test_vendors_own_frames_and_empty_ones_are_skipped() -> None:
    assert [TextDelta("x")] == events({"type": "ping"}, "", chunk(content="x"), {"object": "note", "queue": 3}, " ")


def test_many_calls_take_linear_time() -> None:
    frames = sse.Decoder(max_event_bytes=1 << 22).feed(
        sse_body(*(chunk(tool_calls=[tool(None, f"c{n}", "f", "{}")]) for n in range(20_000)), "[DONE]")
    )
    decoder = OpenAIChatDecoder()
    started = time.process_time()
    assert 20_000 == sum(isinstance(event, ToolCall) for event in decoder.decode_many(frames))
    assert time.process_time() - started < 5  # quadratic would be minutes


def test_half_a_character_is_replaced_and_nan_is_no_error() -> None:
    got = answer('{"choices":[{"delta":{"content":"a\\ud83d"},"logprobs":NaN,"finish_reason":"stop"}]}', "[DONE]")
    assert got.error is None
    assert "a\ufffd" == got.message.text


# ---- properties ---------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
FIELDS = [
    "content",
    "reasoning",
    "reasoning_content",
    "reasoning_details",
    "tool_calls",
    "refusal",
    "function_call",
    "annotations",
    "audio",
    "images",
    "extra_content",
    "executed_tools",
    "context",
]
odd_chunks = st.fixed_dictionaries(
    {},
    optional={
        "id": json_values,
        "model": json_values,
        "usage": json_values,
        "citations": json_values,
        "search_results": json_values,
        "x_groq": json_values,
        "choices": json_values
        | st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "delta": st.dictionaries(st.sampled_from(FIELDS), json_values),
                    "message": json_values | st.dictionaries(st.sampled_from(FIELDS), json_values),
                    "index": json_values,
                    "finish_reason": json_values,
                    "usage": json_values,
                },
            ),
            max_size=3,
        ),
    },
)
ERRORS = [
    "error",
    "errors",
    "message",
    "code",
    "status",
    "detail",
    "success",
    "msg",
    "title",
    "base_resp",
    "error_type",
    "error_msg",
]
bare_errors = st.dictionaries(st.sampled_from(ERRORS), json_values | st.dictionaries(st.sampled_from(ERRORS), json_values))


@given(st.lists(odd_chunks | bare_errors, max_size=4))
def test_no_value_anywhere_makes_the_decoder_raise_anything_of_its_own(chunks: list[dict[str, object]]) -> None:
    decoder = OpenAIChatDecoder()
    got = decoder.decode_many(sse.Decoder(max_event_bytes=1 << 22).feed(sse_body(*chunks, "[DONE]")))
    assert decoder.done or decoder.error is not None
    assert all(event.text for event in got if isinstance(event, TextDelta))


@given(st.lists(st.text(), min_size=1), st.randoms(use_true_random=False))
def test_text_comes_out_as_it_went_in_however_it_is_cut(texts: list[str], rng: random.Random) -> None:
    body = sse_body(*(chunk(content=text) for text in texts), STOP, "[DONE]")
    got = read(OpenAIChatDecoder(), cut(body, rng))
    assert got.error is None
    assert [text for text in texts if text] == [event.text for event in got.events if isinstance(event, TextDelta)]
