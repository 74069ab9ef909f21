"""What the chat encoder writes, read back by our decoder and by the openai SDK."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from dialect_cases import Reading, read, written
from hypothesis import given, settings
from hypothesis import strategies as st

from streamkit.dialects import CANCELLED, DONE, Outcome, outcome_of
from streamkit.dialects.openai_chat import OpenAIChatDecoder, OpenAIChatEncoder
from streamkit.errors import OverloadedError, RateLimitError, SourceError, StreamTruncated
from streamkit.events import (
    Citation,
    Custom,
    ErrorEvent,
    Event,
    File,
    Finish,
    FinishReason,
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
from streamkit.wire import sse

RAW: dict[FinishReason, str] = {"stop": "stop", "length": "length", "tool-calls": "tool_calls", "content-filter": "content_filter"}


def lines(events: Iterable[Event], outcome: Outcome = DONE) -> list[bytes]:
    frames = written(OpenAIChatEncoder(id="made-up", model="unnamed", created=1_700_000_000), events, outcome)
    assert all(frame.event is None for frame in frames)
    return [frame.data for frame in frames]


def body(events: Iterable[Event], outcome: Outcome = DONE) -> bytes:
    return b"".join(sse.encode_line(line) for line in lines(events, outcome))


def back(events: Iterable[Event], outcome: Outcome = DONE) -> Reading:
    return read(OpenAIChatDecoder(), [body(events, outcome)])


def chunks(events: Iterable[Event], outcome: Outcome = DONE) -> list[Any]:
    return [json.loads(line) for line in lines(events, outcome) if line != b"[DONE]"]


ANSWER: list[Event] = [
    Start("a-1", "small-1"),
    ReasoningDelta("Two places."),
    TextDelta("Looking … \u2028\x85"),
    ToolCallStart("c-1", "tide", 0),
    ToolCallStart("c-2", "tide", 1),
    ToolCallDelta("c-1", '{"port":', 0),
    ToolCallDelta("c-2", '{"port":"Vigo"}', 1),
    ToolCallDelta("c-1", '"Brest"}', 0),
    ToolCall("c-1", "tide", '{"port":"Brest"}', True, 0),
    ToolCall("c-2", "tide", '{"port":"Vigo"}', True, 1),
    Usage(9, 21, 4, 2, 3),
    Finish("tool-calls", "tool_calls"),
]


def test_an_answer_comes_back_as_it_was() -> None:
    got = back(ANSWER)
    assert got.error is None
    assert ANSWER == got.events


def test_the_frames_are_what_openai_sends() -> None:
    first, text, finish, usage = chunks([Start("a", "m"), TextDelta("Hi"), Usage(1, 2), Finish("stop")])
    head = {"id": "a", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "m"}
    assert {**head, "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]} == first
    assert {**head, "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}]} == text
    assert {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]} == finish
    assert {**head, "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}} == usage
    assert b"[DONE]" == lines([TextDelta("Hi")])[-1]


def test_no_line_splitter_finds_an_end_inside_a_frame() -> None:
    for line in lines(
        [Start("\u2028", "\x85"), TextDelta("a\u2028b\u2029c\x85d\r\n\x0b\x0ce"), ToolCall("\u2029", "\u2028", "\x85")]
    ):
        assert 1 == len(line.decode().splitlines())


def test_half_a_character_is_replaced() -> None:
    assert "a\ufffdb" == back([TextDelta("a\ud83db"), ToolCall("c", "f", '"\ud83d"')]).message.text


def test_text_like_the_end_marker_does_not_end_the_stream() -> None:
    assert "[DONE]data: [DONE]\n\n!" == back([TextDelta("[DONE]"), TextDelta("data: [DONE]\n\n"), TextDelta("!")]).message.text


def test_the_order_holds_whatever_the_events_order() -> None:
    got = chunks(
        [Finish("length", "length", 1), Usage(1, 2), TextDelta("b", 0, 1), Finish("stop"), TextDelta("a"), Start("late", "late")]
    )
    assert [0, 1, 1, 0] == [chunk["choices"][0]["index"] for chunk in got[:4]]
    assert ["stop", "length"] == [chunk["choices"][0]["finish_reason"] for chunk in got[4:6]]
    assert [] == got[6]["choices"]
    assert {"made-up"} == {chunk["id"] for chunk in got}


def test_each_choice_begins_with_the_role_once_and_behind_those_below_it() -> None:
    got = chunks([TextDelta("b", 0, 1), TextDelta("a"), TextDelta("b", 0, 1)])
    assert [0, 1] == [chunk["choices"][0]["index"] for chunk in got if "role" in chunk["choices"][0]["delta"]]


def test_a_plain_end_is_a_stop_and_an_empty_stream_is_an_empty_answer() -> None:
    assert Finish("stop", "stop") == back([TextDelta("Hi")]).message.finish
    assert [Start("made-up", "unnamed"), Finish("stop", "stop")] == back([]).events
    assert Finish("tool-calls", "tool_calls") == back([ToolCall("c", "f", "{}")]).message.finish


def test_a_stopped_answer_keeps_its_text_and_ends() -> None:
    got = back([TextDelta("so far")], CANCELLED)
    assert got.error is None
    assert ("so far", Finish("stop", "stop")) == (got.message.text, got.message.finish)


def test_a_tool_call_without_deltas_or_with_some_missing_goes_out_whole() -> None:
    whole = ToolCall("c", "f", '{"a":1}')
    assert [whole] == back([whole]).message.tool_calls
    assert [whole] == back([ToolCallStart("c", "f"), whole]).message.tool_calls
    assert [whole] == back([ToolCallStart("c", "f"), ToolCallDelta("c", '{"a"'), whole]).message.tool_calls
    assert [whole] == back([ToolCallDelta("c", '{"a"'), whole]).message.tool_calls


def test_a_call_that_was_told_in_deltas_is_not_told_again() -> None:
    told: list[Event] = [ToolCallStart("c", "f"), ToolCallDelta("c", "{}"), Finish("tool-calls")]
    assert chunks(told) == chunks([*told, ToolCallDelta("c", ""), ToolCall("c", "f", "{}")])


def test_arguments_that_come_before_the_name_of_their_call_are_told_once() -> None:
    told: list[Event] = [ToolCallDelta("c", '{"a"'), ToolCallStart("c", "f"), ToolCallDelta("c", ":1}")]
    assert [ToolCall("c", "f", '{"a":1}')] == back([*told, ToolCall("c", "f", '{"a":1}')]).message.tool_calls
    assert ['{"a":1}'] == [call.arguments for call in back(told).message.tool_calls]


def test_a_call_that_is_whole_takes_nothing_more() -> None:
    whole: list[Event] = [ToolCall("c", "f", "{}")]
    late: list[Event] = [ToolCallDelta("c", "}"), ToolCall("c", "f", "{}]"), ToolCallStart("c", "f")]
    assert chunks(whole) == chunks([*whole, *late])
    assert chunks([ToolCallStart("c", "f"), *whole]) == chunks([ToolCallStart("c", "f"), *whole, *late])


def test_a_number_of_a_choice_costs_no_more_than_the_api_has() -> None:
    assert 2 * 129 + 2 == len(lines([TextDelta("a", 0, 10**9)]))


def test_unknown_counts_are_left_out_and_never_zero() -> None:
    assert {"completion_tokens": 2} == chunks([Usage(output_tokens=2)])[-1]["usage"]
    assert not [chunk for chunk in chunks([Usage()]) if "usage" in chunk]


def test_citations_are_annotations() -> None:
    cited = Citation("https://a", "A", "said")
    assert [cited] == back([cited, Citation(None, "no address")]).message.citations


def test_what_the_dialect_has_no_word_for_is_left_out() -> None:
    other: list[Event] = [
        ToolResult("c", 1),
        File("a/b", url="u"),
        Gap(3),
        Custom("n", 1),
        Ping(),
        Raw({"a": 1}),
        TextDelta(""),
        ReasoningDelta("", signature="s"),
    ]
    assert chunks([TextDelta("Hi")]) == chunks([TextDelta("Hi"), *other])


# ---- outcomes -----------------------------------------------------------------------------------


def test_an_error_is_one_frame_without_the_exceptions_text_and_without_an_end_marker() -> None:
    written = lines([TextDelta("kept")], outcome_of(ValueError("secret /etc/passwd"), correlation_id="r-7"))
    error = {"message": "The stream failed.", "type": "server_error", "code": "error", "retryable": False, "correlation_id": "r-7"}
    assert {"error": error} == json.loads(written[-1])
    assert b"secret" not in b"".join(written)


def test_failures_come_back_as_typed_errors() -> None:
    got = back(
        [TextDelta("kept"), Usage(1, 1), Finish("stop")], outcome_of(RateLimitError("x", retry_after=3.0), correlation_id="r-7")
    )
    assert "kept" == got.message.text
    assert got.message.finish is None
    assert isinstance(got.error, RateLimitError)
    assert (3.0, True, "r-7", "rate-limited") == (got.error.retry_after, got.error.retryable, got.error.request_id, got.error.code)
    assert isinstance(back([], outcome_of(OverloadedError("x"))).error, OverloadedError)
    cut_off = back([], outcome_of(StreamTruncated("x"))).error
    assert isinstance(cut_off, SourceError)
    assert ("truncated", True) == (cut_off.code, cut_off.retryable)


def test_an_error_event_in_the_stream_ends_it() -> None:
    got = back([TextDelta("kept"), ErrorEvent("Too busy.", code="overloaded", retryable=True), TextDelta("never")])
    assert isinstance(got.error, OverloadedError)
    assert "kept" == got.message.text


# ---- properties ---------------------------------------------------------------------------------

texts = st.text(min_size=1)
arguments = st.dictionaries(st.text(max_size=3), st.integers() | st.text(), max_size=3).map(json.dumps)


@st.composite
def answers(draw: st.DrawFn) -> list[Event]:
    """Answers as a decoder gives them: Start, deltas of up to two choices, calls, usage, one finish each."""
    choices = draw(st.sampled_from([[0], [0, 1]]))
    events: list[Event] = [Start(draw(texts), draw(texts))]
    told: dict[int, list[ToolCall]] = {choice: [] for choice in choices}
    for number in range(draw(st.integers(0, 8))):
        choice = draw(st.sampled_from(choices))
        match draw(st.sampled_from(["text", "reasoning", "call"])):
            case "text":
                events.append(TextDelta(draw(texts), 0, choice))
            case "reasoning":
                events.append(ReasoningDelta(draw(texts), 0, choice))
            case _:
                call = ToolCall(f"c{number}", draw(texts), draw(arguments), True, len(told[choice]), choice)
                told[choice].append(call)
                at = draw(st.integers(0, len(call.arguments)))
                events.append(ToolCallStart(call.id, call.name, call.index, choice))
                events += [
                    ToolCallDelta(call.id, part, call.index, choice) for part in (call.arguments[:at], call.arguments[at:]) if part
                ]
    spoke = sorted({0, *(getattr(event, "choice", 0) for event in events)})
    for choice in spoke:
        events += told[choice]
    if draw(st.booleans()):
        events.append(
            Usage(
                draw(st.integers(0, 1 << 40)),
                draw(st.integers(0, 1 << 40)),
                draw(st.none() | st.integers(0, 9)),
                None,
                draw(st.none() | st.integers(0, 9)),
            )
        )
    for choice in spoke:
        reason = draw(st.sampled_from(sorted(RAW)))
        events.append(Finish(reason, RAW[reason], choice))
    return events


@given(answers())
@settings(deadline=None)
def test_encode_then_decode_is_the_identity(events: list[Event]) -> None:
    got = back(events)
    assert got.error is None
    assert events == got.events


@given(st.lists(st.sampled_from(ANSWER), max_size=20), st.sampled_from([DONE, CANCELLED]))
@settings(deadline=None)
def test_any_order_of_events_is_written_so_that_it_reads_as_one_complete_answer(events: list[Event], outcome: Outcome) -> None:
    got = back(events, outcome)
    assert got.error is None
    assert got.message.complete
    assert Message(events).text == got.message.text


# ---- the openai SDK -----------------------------------------------------------------------------


@contextmanager
def sdk_that_reads(answer: bytes) -> Iterator[Any]:
    """The openai SDK's client of a server that gives this body, whatever is asked."""
    openai = pytest.importorskip("openai")
    httpx2 = pytest.importorskip("httpx2")

    def respond(request: object) -> object:
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=answer)

    with (
        httpx2.Client(transport=httpx2.MockTransport(respond)) as http,
        openai.OpenAI(api_key="none", base_url="http://sdk.test/v1", http_client=http) as client,
    ):
        yield client


def test_the_openai_sdk_reads_the_same_answer() -> None:
    with sdk_that_reads(body(ANSWER)) as client:
        question: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "?"}]}
        seen = list(client.chat.completions.create(**question, stream=True))
        with client.chat.completions.stream(**question, stream_options={"include_usage": True}) as stream:
            final = stream.get_final_completion()

    assert "assistant" == seen[0].choices[0].delta.role
    assert "Looking … \u2028\x85" == "".join(chunk.choices[0].delta.content or "" for chunk in seen if chunk.choices)
    assert "Two places." == "".join(
        getattr(chunk.choices[0].delta, "reasoning_content", None) or "" for chunk in seen if chunk.choices
    )
    choice = final.choices[0]
    assert ("a-1", "small-1", "tool_calls") == (final.id, final.model, choice.finish_reason)
    assert "Looking … \u2028\x85" == choice.message.content
    assert [("c-1", "tide", '{"port":"Brest"}'), ("c-2", "tide", '{"port":"Vigo"}')] == [
        (call.id, call.function.name, call.function.arguments) for call in choice.message.tool_calls
    ]
    assert (9, 21, 30) == (final.usage.prompt_tokens, final.usage.completion_tokens, final.usage.total_tokens)
    assert (4, 3) == (final.usage.prompt_tokens_details.cached_tokens, final.usage.completion_tokens_details.reasoning_tokens)


def test_the_openai_sdks_stream_helper_reads_a_choice_that_speaks_before_the_first() -> None:
    answer = body([TextDelta("c", 0, 2), TextDelta("a"), TextDelta("c", 0, 2)])
    with (
        sdk_that_reads(answer) as client,
        client.chat.completions.stream(model="m", messages=[{"role": "user", "content": "?"}]) as stream,
    ):
        final = stream.get_final_completion()
    assert ["a", None, "cc"] == [choice.message.content or None for choice in final.choices]


def test_the_openai_sdks_stream_helper_reads_a_second_citation() -> None:
    answer = body([TextDelta("a"), Citation("https://a", "A"), TextDelta("b"), Citation("https://b", "B"), Citation("https://c")])
    with (
        sdk_that_reads(answer) as client,
        client.chat.completions.stream(model="m", messages=[{"role": "user", "content": "?"}]) as stream,
    ):
        said = stream.get_final_completion().choices[0].message
    assert ("ab", ["https://a", "https://b", "https://c"]) == (said.content, [cited.url_citation.url for cited in said.annotations])


def test_the_openai_sdk_raises_on_our_error_frame() -> None:
    openai = pytest.importorskip("openai")
    written = body([TextDelta("kept")], outcome_of(OverloadedError("x"), correlation_id="r-7"))
    with sdk_that_reads(written) as client:
        stream = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "?"}], stream=True)
        with pytest.raises(openai.APIError) as caught:
            list(stream)
    assert "The model is overloaded. Try again later." == caught.value.message
