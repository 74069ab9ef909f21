"""What the Responses encoder writes, read back by our decoder and by the openai SDK."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from dialect_cases import Reading, read, written
from hypothesis import given, settings
from hypothesis import strategies as st

from streamkit.dialects import CANCELLED, DONE, Outcome, outcome_of
from streamkit.dialects.openai_responses import OpenAIResponsesDecoder, OpenAIResponsesEncoder
from streamkit.errors import OverloadedError, RateLimitError, SourceError, StreamTruncated
from streamkit.events import (
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
from streamkit.wire import sse


def frames(events: Iterable[Event], outcome: Outcome = DONE) -> list[tuple[str, bytes]]:
    out = written(OpenAIResponsesEncoder(id="made-up", model="unnamed", created=1_700_000_000), events, outcome)
    return [(frame.event or "", frame.data) for frame in out]


def body(events: Iterable[Event], outcome: Outcome = DONE) -> bytes:
    return b"".join(sse.encode_line(data, event=name) for name, data in frames(events, outcome))


def back(events: Iterable[Event], outcome: Outcome = DONE) -> Reading:
    return read(OpenAIResponsesDecoder(), [body(events, outcome)])


def values(events: Iterable[Event], outcome: Outcome = DONE) -> list[Any]:
    return [json.loads(data) for _, data in frames(events, outcome)]


ANSWER: list[Event] = [
    Start("resp-1", "small-1"),
    ReasoningDelta("Two places."),
    ReasoningDelta("", redacted="sealed", signature="rs_7"),
    TextDelta("Looking … \u2028", 1),
    TextDelta("\x85 now", 1),
    Citation("https://tides.test/brest", "Tides", index=1),
    ToolCallStart("c-1", "tide", 2),
    ToolCallStart("c-2", "tide", 3),
    ToolCallDelta("c-1", '{"port":', 2),
    ToolCallDelta("c-2", '{"port":"Vigo"}', 3),
    ToolCallDelta("c-1", '"Brest"}', 2),
    ToolCall("c-1", "tide", '{"port":"Brest"}', True, 2),
    ToolCall("c-2", "tide", '{"port":"Vigo"}', True, 3),
    Usage(9, 21, 4, 2, 3),
    Finish("tool-calls", "completed"),
]


def facts(events: list[Event]) -> dict[str, object]:
    """All that must come back of an answer; blocks may be numbered otherwise."""
    message = Message(events)
    calls = [(call.id, call.name, call.arguments, call.complete, call.server) for call in message.tool_calls]
    return {
        "text": message.text,
        "reasoning": "".join(event.text for event in events if isinstance(event, ReasoningDelta)),
        "calls": calls,
        "results": message.tool_results,
        "citations": list(dict.fromkeys((source.url, source.title, source.quote) for source in message.citations)),
        "files": [(file.media_type, file.data) for file in message.files],
        "usage": message.usage,
        "reason": message.finish.reason if message.finish else None,
    }


def test_an_answer_comes_back_as_it_was() -> None:
    got = back(ANSWER)
    assert got.error is None
    assert facts(ANSWER) == facts(got.events)
    assert Start("resp-1", "small-1") == got.events[0]
    assert [("sealed", "rs_7")] == [
        (event.redacted, event.signature) for event in got.events if isinstance(event, ReasoningDelta) and event.redacted
    ]


def test_the_frames_are_what_openai_sends() -> None:
    got = values([Start("resp_1", "m"), TextDelta("He"), TextDelta("y"), Usage(1, 2), Finish("stop")])
    assert [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ] == [value["type"] for value in got]
    assert list(range(10)) == [value["sequence_number"] for value in got]
    where = {"item_id": "msg_resp_1_0", "output_index": 0, "content_index": 0}
    assert {"type": "response.output_text.delta", **where, "delta": "y", "logprobs": [], "sequence_number": 5} == got[5]
    part = {"type": "output_text", "annotations": [], "logprobs": [], "text": "Hey"}
    assert {"type": "response.content_part.done", **where, "part": part, "sequence_number": 7} == got[7]
    item = {"id": "msg_resp_1_0", "type": "message", "status": "completed", "content": [part], "role": "assistant"}
    assert {"type": "response.output_item.done", "output_index": 0, "item": item, "sequence_number": 8} == got[8]
    last = got[9]["response"]
    assert ("resp_1", "response", 1_700_000_000, "completed", "m") == tuple(
        last[name] for name in ("id", "object", "created_at", "status", "model")
    )
    assert [item] == last["output"]
    assert {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3} == last["usage"]


def test_every_event_is_named_as_its_data() -> None:
    for name, data in frames(ANSWER):
        assert name == json.loads(data)["type"]


def test_a_function_call_goes_out_as_openai_writes_it() -> None:
    got = values([ToolCallStart("c", "f"), ToolCallDelta("c", '{"a":1}'), ToolCall("c", "f", '{"a":1}')])[2:-1]
    assert [
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
    ] == [value["type"] for value in got]
    item = {"id": "fc_made-up_0", "type": "function_call", "call_id": "c", "name": "f"}
    assert {**item, "status": "in_progress", "arguments": ""} == got[0]["item"]
    assert {**item, "status": "completed", "arguments": '{"a":1}'} == got[3]["item"]
    assert '{"a":1}' == got[2]["arguments"]


def test_items_of_text_are_open_one_at_a_time_and_never_again() -> None:
    got = values([TextDelta("a", 0), ReasoningDelta("b", 1), TextDelta("c", 0), ToolCallStart("x", "f"), TextDelta("d", 0)])
    open_items: set[int] = set()
    begun: list[int] = []
    for value in got:
        if value["type"] == "response.output_item.added":
            assert value["output_index"] not in begun
            begun.append(value["output_index"])
            open_items.add(value["output_index"])
        elif value["type"] == "response.output_item.done":
            open_items.remove(value["output_index"])
        elif "output_index" in value:
            assert value["output_index"] in open_items
    assert not open_items
    assert list(range(5)) == begun
    assert begun == [index for index, _ in enumerate(got[-1]["response"]["output"])]
    assert ("acd", "b") == (Message(back([TextDelta("a", 0), ReasoningDelta("b", 1), TextDelta("c", 0)]).events).text + "d", "b")


def test_no_line_splitter_finds_an_end_inside_a_frame() -> None:
    odd = "a\u2028b\u2029c\x85d\r\n\x0b\x0ce"
    for _, line in frames([Start("\u2028", "\x85"), TextDelta(odd), ReasoningDelta(odd), ToolCall("\u2029", "\u2028", "\x85")]):
        assert 1 == len(line.decode().splitlines())


def test_half_a_character_is_replaced() -> None:
    assert "a\ufffdb" == back([TextDelta("a\ud83db"), ToolCall("c", "f", '"\ud83d"')]).message.text


def test_an_empty_stream_is_an_empty_answer() -> None:
    assert [Start("made-up", "unnamed"), Finish("stop", "completed")] == back([]).events


def test_an_answer_at_its_limit_is_incomplete_and_so_is_its_last_item() -> None:
    got = values([TextDelta("so far"), Finish("length")])
    assert ("response.incomplete", {"reason": "max_output_tokens"}) == (got[-1]["type"], got[-1]["response"]["incomplete_details"])
    assert "incomplete" == got[-1]["response"]["output"][0]["status"] == got[-1]["response"]["status"]
    assert Finish("length", "max_output_tokens") == back([TextDelta("so far"), Finish("length")]).message.finish


def test_filtered_content_and_a_stop_on_request_say_so() -> None:
    assert Finish("content-filter", "content_filter") == back([Finish("content-filter")]).message.finish
    got = back([TextDelta("so far")], CANCELLED)
    assert (None, "so far", Finish("cancelled", "cancelled")) == (got.error, got.message.text, got.message.finish)


def test_a_call_without_deltas_or_with_some_missing_goes_out_whole() -> None:
    whole = ToolCall("c", "f", '{"a":1}')
    assert [whole] == back([whole]).message.tool_calls
    assert [whole] == back([ToolCallStart("c", "f"), whole]).message.tool_calls
    assert [whole] == back([ToolCallStart("c", "f"), ToolCallDelta("c", '{"a"'), whole]).message.tool_calls
    assert [whole] == back([ToolCallDelta("c", '{"a"'), whole]).message.tool_calls


def test_arguments_that_come_before_the_name_of_their_call_are_told_once() -> None:
    told: list[Event] = [ToolCallDelta("c", '{"a"'), ToolCallStart("c", "f"), ToolCallDelta("c", ":1}")]
    whole = ToolCall("c", "f", '{"a":1}')
    assert [whole] == back([*told, whole]).message.tool_calls
    assert [whole] == back(told).message.tool_calls


def test_a_call_that_was_cut_comes_back_cut() -> None:
    cut = ToolCall("c", "f", '{"a":', complete=False)
    assert [cut] == back([ToolCallStart("c", "f"), ToolCallDelta("c", '{"a":'), cut, Finish("length")]).message.tool_calls
    assert [cut] == back([ToolCallStart("c", "f"), ToolCallDelta("c", '{"a":'), Finish("length")]).message.tool_calls
    sound = ToolCall("c", "f", "{}", complete=False)
    assert [sound] == back([sound, Finish("length")]).message.tool_calls


def test_a_call_that_is_done_takes_nothing_more() -> None:
    whole: list[Event] = [ToolCall("c", "f", "{}")]
    assert frames(whole) == frames([*whole, ToolCallDelta("c", "{}"), ToolCall("c", "f", "{}"), ToolCallStart("c", "f")])


def test_a_call_at_the_provider_comes_back_with_its_result() -> None:
    events: list[Event] = [
        ToolCallStart("s-1", "search", server=True),
        ToolCallDelta("s-1", '{"q":"tide"}'),
        ToolCall("s-1", "search", '{"q":"tide"}', server=True),
        TextDelta("Meanwhile.", 1),
        ToolResult("s-1", "High at 6."),
        ToolResult("s-1", "twice"),
    ]
    got = back(events)
    assert [ToolCall("s-1", "search", '{"q":"tide"}', server=True)] == got.message.tool_calls
    assert [ToolResult("s-1", "High at 6.")] == got.message.tool_results
    assert Finish("stop", "completed") == got.message.finish
    failed = back([ToolCall("s-1", "search", "{}", server=True), ToolResult("s-1", "no network", is_error=True)])
    assert [ToolResult("s-1", "no network", is_error=True)] == failed.message.tool_results


def test_a_result_of_the_callers_own_tool_is_an_item_of_its_own() -> None:
    got = back([ToolCall("c", "f", "{}"), ToolResult("c", {"high": 6}), ToolResult("c", "no", is_error=True)])
    assert [ToolResult("c", '{"high":6}'), ToolResult("c", "no", is_error=True)] == got.message.tool_results


def test_a_citation_stands_with_its_text() -> None:
    got = values([TextDelta("High at 6."), Citation("https://a.test", "A", "six"), Citation(None, "table.pdf"), Citation()])
    part = got[-1]["response"]["output"][0]["content"][0]
    assert [
        {"type": "url_citation", "start_index": 0, "end_index": 0, "url": "https://a.test", "title": "A", "quote": "six"},
        {"type": "file_citation", "file_id": "table.pdf", "filename": "table.pdf", "index": 0},
    ] == part["annotations"]
    alone = back([ReasoningDelta("hm"), Citation("https://a.test")])
    assert [("https://a.test", None)] == [(source.url, source.title) for source in alone.message.citations]


def test_a_picture_is_an_image_generation_call() -> None:
    got = back(
        [File("image/png", b"\x89PNG"), File("image/svg+xml", b"<svg/>"), File("text/plain", b"no"), File("image/png", url="u")]
    )
    assert [("image/png", b"\x89PNG"), ("image/svg+xml", b"<svg/>")] == [(file.media_type, file.data) for file in got.message.files]


def test_sealed_reasoning_stays_with_its_item_or_gets_one() -> None:
    whole = values([ReasoningDelta("hm"), ReasoningDelta(redacted="sealed"), Finish("stop")])[-1]["response"]["output"]
    assert [("sealed", [{"type": "summary_text", "text": "hm"}])] == [
        (item["encrypted_content"], item["summary"]) for item in whole
    ]
    alone = values([ReasoningDelta(redacted="sealed", signature="rs_9")])[-1]["response"]["output"]
    assert [{"id": "rs_9", "type": "reasoning", "summary": [], "encrypted_content": "sealed"}] == alone


def test_what_the_vocabulary_has_no_word_for_is_left_out() -> None:
    mute: list[Event] = [
        DataDelta(b"1", "audio/pcm"),
        Gap(1),
        Custom("a"),
        Ping(),
        Raw({}),
        TextDelta(""),
        ReasoningDelta("", signature="proof"),
        TextDelta("other", 0, 1),
    ]
    assert frames([]) == frames(mute)


def test_an_error_ends_the_stream_and_is_told_twice_as_openai_does() -> None:
    outcome = outcome_of(RateLimitError("secret words", retryable=True, retry_after=2.5), correlation_id="corr-1")
    error, failed = values([TextDelta("so far"), ToolCallStart("c", "f")], outcome)[-2:]
    assert ("error", "rate-limited", 2.5) == (error["type"], error["error"]["code"], error["error"]["retry_after"])
    assert ("rate-limited", outcome.message, None) == (error["code"], error["message"], error["param"])
    assert ("response.failed", "failed") == (failed["type"], failed["response"]["status"])
    assert {"code": "rate_limit_exceeded", "message": outcome.message} == failed["response"]["error"]
    assert ["so far", ""] == [
        item.get("arguments", "") or item.get("content", [{"text": ""}])[0]["text"] for item in failed["response"]["output"]
    ]
    assert b"secret" not in body([TextDelta("so far")], outcome)


@pytest.mark.parametrize(
    ("raised", "found"),
    [
        (RateLimitError("x", retryable=True, retry_after=2.5), RateLimitError),
        (OverloadedError("x"), OverloadedError),
        (ValueError("x"), SourceError),
        (StreamTruncated("x"), SourceError),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_an_error_comes_back_as_one_of_its_kind(raised: Exception, found: type[SourceError]) -> None:
    got = back([TextDelta("so far")], outcome_of(raised))
    assert "so far" == got.message.text
    assert got.message.finish is None
    assert isinstance(got.error, found)
    assert getattr(raised, "retry_after", None) == got.error.retry_after


def test_an_error_event_ends_the_stream() -> None:
    got = back([TextDelta("so far"), ErrorEvent("Try later.", "overloaded", True), TextDelta("more")])
    assert "so far" == got.message.text
    assert isinstance(got.error, OverloadedError)
    assert "Try later." in str(got.error)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
WORD = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(lambda word: bool(word.strip()))
INDEX = st.integers(0, 2)
COUNT = st.none() | st.integers(0, 1 << 40)


@st.composite
def call_events(draw: Any, id: str) -> list[Event]:
    name, server = draw(WORD), draw(st.booleans())
    arguments = json.dumps(draw(st.dictionaries(TEXT, TEXT | st.integers(), max_size=2)), ensure_ascii=draw(st.booleans()))
    complete = draw(st.booleans())
    if not complete:
        arguments = arguments[: draw(st.integers(0, len(arguments)))]
    points = sorted(draw(st.lists(st.integers(0, len(arguments)), max_size=3)))
    pieces = [arguments[start:end] for start, end in zip([0, *points], points, strict=False)]
    events: list[Event] = [ToolCallDelta(id, piece) for piece in pieces]
    if events or draw(st.booleans()):
        events.insert(0, ToolCallStart(id, name, server=server))
    events.append(ToolCall(id, name, arguments, complete, server=server))
    if server and complete:
        events += [ToolResult(id, draw(TEXT), draw(st.booleans()))] if draw(st.booleans()) else []
    elif not server and draw(st.booleans()):
        events.append(ToolResult(id, draw(TEXT), draw(st.booleans())))
    return events


@st.composite
def answers(draw: st.DrawFn) -> list[Event]:
    """Events in any order that keeps each call's own."""
    rows: list[list[Event]] = [draw(call_events(f"c-{number}")) for number in range(draw(st.integers(0, 3)))]
    single = st.one_of(
        st.builds(TextDelta, TEXT, INDEX),
        st.builds(ReasoningDelta, TEXT, INDEX),
        st.builds(Citation, WORD, st.none() | WORD, st.none() | WORD, INDEX),
    )
    rows += [[event] for event in draw(st.lists(single, max_size=12))]
    events: list[Event] = []
    while rows:
        row = draw(st.sampled_from(rows))
        events.append(row.pop(0))
        rows = [row for row in rows if row]
    events.append(Usage(draw(COUNT), draw(COUNT), draw(COUNT), draw(COUNT), draw(COUNT)))
    events.append(Finish(draw(st.sampled_from(["stop", "length", "content-filter", "cancelled"]))))
    return events


@settings(max_examples=300, deadline=None)
@given(answers())
def test_any_answer_comes_back_as_it_was(events: list[Event]) -> None:
    got = back(events)
    assert got.error is None
    wanted, found = facts(events), facts(got.events)
    called = any(not call.server for call in Message(events).tool_calls)
    if wanted["reason"] == "stop" and called:  # the wire has no word for it: calls tell
        wanted["reason"] = "tool-calls"
    if wanted["usage"] == Usage():  # nothing is known, and nothing said
        wanted["usage"] = None
    # Results of one's own tools come in the order of the stream, calls in that of their beginnings.
    assert wanted == found
    indexes = [event.index for event in got.events if isinstance(event, TextDelta | ReasoningDelta | ToolCallStart | Citation)]
    assert set(range(max(indexes, default=-1) + 1)) == set(indexes)


# ---- the openai SDK ---------------------------------------------------------------------------------


def transport(content: bytes) -> Any:
    httpx2 = pytest.importorskip("httpx2")
    return httpx2.MockTransport(
        lambda request: httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=content)
    )


def sync_client(content: bytes) -> Any:
    openai, httpx2 = pytest.importorskip("openai"), pytest.importorskip("httpx2")
    http = httpx2.Client(transport=transport(content))
    return openai.OpenAI(api_key="none", base_url="http://local.test/v1", http_client=http, max_retries=0)


def async_client(content: bytes) -> Any:
    openai, httpx2 = pytest.importorskip("openai"), pytest.importorskip("httpx2")
    http = httpx2.AsyncClient(transport=transport(content))
    return openai.AsyncOpenAI(api_key="none", base_url="http://local.test/v1", http_client=http, max_retries=0)


def check_response(response: Any) -> None:
    assert ("resp-1", "small-1", "completed") == (response.id, response.model, response.status)
    assert Message(ANSWER).text == response.output_text
    assert [("c-1", "tide", '{"port":"Brest"}'), ("c-2", "tide", '{"port":"Vigo"}')] == [
        (item.call_id, item.name, item.arguments) for item in response.output if item.type == "function_call"
    ]
    reasoning = [item for item in response.output if item.type == "reasoning"]
    assert ["Two places."] == [part.text for item in reasoning for part in item.summary]
    assert [("rs_7", "sealed")] == [(item.id, item.encrypted_content) for item in reasoning if item.encrypted_content]
    message = next(item for item in response.output if item.type == "message")
    assert ["https://tides.test/brest"] == [source.url for source in message.content[0].annotations]
    usage = response.usage
    assert (9, 21, 30, 4, 3) == (
        usage.input_tokens,
        usage.output_tokens,
        usage.total_tokens,
        usage.input_tokens_details.cached_tokens,
        usage.output_tokens_details.reasoning_tokens,
    )


def check_events(events: list[Any]) -> None:
    assert list(range(len(events))) == [event.sequence_number for event in events]
    assert Message(ANSWER).text == "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert {"ResponseTextDeltaEvent", "ResponseFunctionCallArgumentsDoneEvent", "ResponseReasoningSummaryTextDeltaEvent"} <= {
        type(event).__name__ for event in events
    }
    check_response(events[-1].response)


def test_the_openai_sdk_reads_it() -> None:
    with sync_client(body(ANSWER)) as client, client.responses.create(model="m", input="hi", stream=True) as stream:
        check_events(list(stream))


def test_the_openai_sdks_stream_helper_reads_it() -> None:
    with sync_client(body(ANSWER)) as client, client.responses.stream(model="m", input="hi") as stream:
        assert "response.output_text.done" in [event.type for event in stream]
        check_response(stream.get_final_response())


@pytest.mark.anyio
async def test_the_openai_sdk_reads_it_async() -> None:
    async with (
        async_client(body(ANSWER)) as client,
        await client.responses.create(model="m", input="hi", stream=True) as stream,
    ):
        check_events([event async for event in stream])


@pytest.mark.anyio
async def test_the_openai_sdks_stream_helper_reads_it_async() -> None:
    async with async_client(body(ANSWER)) as client, client.responses.stream(model="m", input="hi") as stream:
        check_response(await stream.get_final_response())


def test_the_openai_sdk_tells_an_incomplete_answer() -> None:
    events: list[Event] = [TextDelta("so far"), Finish("length")]
    with sync_client(body(events)) as client, client.responses.create(model="m", input="hi", stream=True) as stream:
        last = list(stream)[-1]
    assert ("response.incomplete", "max_output_tokens") == (last.type, last.response.incomplete_details.reason)
    assert "so far" == last.response.output_text


def test_the_openai_sdk_raises_at_an_error() -> None:
    openai = pytest.importorskip("openai")
    text = ""
    content = body([TextDelta("so far")], outcome_of(OverloadedError("x")))
    with (
        pytest.raises(openai.APIError, match="The model is overloaded"),
        sync_client(content) as client,
        client.responses.create(model="m", input="hi", stream=True) as stream,
    ):
        for event in stream:
            text += event.delta if event.type == "response.output_text.delta" else ""
    assert "so far" == text


def test_the_openai_sdks_stream_helper_reads_calls_at_the_provider_and_pictures() -> None:
    events: list[Event] = [
        ToolCall("s-1", "search", "{}", server=True),
        ToolResult("s-1", "High at 6."),
        File("image/png", b"\x89PNG"),
        TextDelta("High at 6."),
    ]
    with sync_client(body(events)) as client, client.responses.stream(model="m", input="hi") as stream:
        response = stream.get_final_response()
    call, picture, message = response.output
    assert ("mcp_call", "search", "High at 6.") == (call.type, call.name, call.output)
    assert ("image_generation_call", "iVBORw==") == (picture.type, picture.result)
    assert "High at 6." == message.content[0].text


@settings(max_examples=40, deadline=None)
@given(answers())
def test_the_openai_sdks_stream_helper_reads_any_whole_answer(events: list[Event]) -> None:
    events = [*events[:-1], Finish("stop")]
    message = Message(events)
    with sync_client(body(events)) as client, client.responses.stream(model="m", input="hi") as stream:
        response = stream.get_final_response()
    assert "completed" == response.status
    assert message.text == response.output_text
    calls = [(item.call_id, item.name, item.arguments) for item in response.output if item.type == "function_call"]
    assert [(call.id, call.name, call.arguments) for call in message.tool_calls if not call.server] == calls
    assert message.usage is not None
    if message.usage.input_tokens is not None:
        assert message.usage.input_tokens == response.usage.input_tokens
