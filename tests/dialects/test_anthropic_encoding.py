"""What the Messages encoder writes, read back by our decoder and by the anthropic SDK."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from dialect_cases import Reading, read, written
from event_loops import asyncio_only
from hypothesis import given, settings
from hypothesis import strategies as st

from streamkit.dialects import CANCELLED, DONE, Outcome, outcome_of
from streamkit.dialects.anthropic import AnthropicDecoder, AnthropicEncoder
from streamkit.dialects.anthropic.encoder import MAX_WAITING
from streamkit.errors import LocalProtocolError, OverloadedError, RateLimitError, SourceError, StreamTruncated
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

REASONS: dict[FinishReason, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool-calls": "tool_use",
    "content-filter": "refusal",
    "other": "pause_turn",
}


def frames(events: Iterable[Event], outcome: Outcome = DONE) -> list[tuple[str, Any]]:
    """Each frame's name and value; what holds for every stream is checked on the way."""
    out = written(AnthropicEncoder(id="msg_made_up", model="unnamed"), events, outcome)
    found = [(frame.event or "", json.loads(frame.data)) for frame in out]
    _check_grammar(found)
    return found


def _check_grammar(found: list[tuple[str, Any]]) -> None:
    """The order that the reference demands: one block open at a time, indexes that count up."""
    open_block: int | None = None
    blocks = 0
    for name, value in found:
        assert name == value["type"]
        match name:
            case "content_block_start":
                assert open_block is None
                assert blocks == value["index"]
                open_block, blocks = blocks, blocks + 1
            case "content_block_delta":
                assert open_block == value["index"]
            case "content_block_stop":
                assert open_block == value["index"]
                open_block = None
            case _:
                pass
    names = [name for name, _ in found if name != "ping"]
    if names[-1] != "error":
        assert open_block is None
        assert "message_start" == names[0]
        assert ["message_delta", "message_stop"] == names[-2:]
        assert 1 == names.count("message_start") == names.count("message_delta") == names.count("message_stop")


def body(events: Iterable[Event], outcome: Outcome = DONE) -> bytes:
    out = written(AnthropicEncoder(id="msg_made_up", model="unnamed"), events, outcome)
    return b"".join(sse.encode_line(frame.data, event=frame.event) for frame in out)


def back(events: Iterable[Event], outcome: Outcome = DONE) -> Reading:
    return read(AnthropicDecoder(), [body(events, outcome)])


def deltas(events: Iterable[Event]) -> list[tuple[int, Any]]:
    return [(value["index"], value["delta"]) for name, value in frames(events) if name == "content_block_delta"]


def blocks(events: Iterable[Event]) -> list[Any]:
    return [value["content_block"] for name, value in frames(events) if name == "content_block_start"]


SEARCH = [{"type": "web_search_result", "url": "https://a.test/", "title": "A", "encrypted_content": "x", "page_age": None}]

ANSWER: list[Event] = [
    Start("msg_1", "small-1"),
    ReasoningDelta("Two ", 0),
    ReasoningDelta("places.", 0),
    ReasoningDelta("", 0, signature="sig=="),
    ReasoningDelta("", 1, redacted="blob=="),
    TextDelta("Looking … ", 2),
    TextDelta("\u2028\x85", 2),
    Citation("https://a.test/", "A", "as seen", 2),
    Citation(None, "Charts", "depth 4", 2),
    ToolCallStart("srv_1", "web_search", 3, server=True),
    ToolCallDelta("srv_1", '{"query":"tide"}', 3),
    ToolCall("srv_1", "web_search", '{"query":"tide"}', True, 3, server=True),
    ToolResult("srv_1", SEARCH),
    ToolCallStart("mcp_1", "buoy", 5, server=True),
    ToolCall("mcp_1", "buoy", "", True, 5, server=True),
    ToolResult("mcp_1", [{"type": "text", "text": "gone"}], True),
    File("application/octet-stream", url="/v1/files/file_1/content", index=7, name="file_1"),
    ToolCallStart("c-1", "tide", 8),
    ToolCallDelta("c-1", '{"port":', 8),
    ToolCallDelta("c-1", '"Brest"}', 8),
    ToolCall("c-1", "tide", '{"port":"Brest"}', True, 8),
    ToolCallStart("c-2", "now", 9),
    ToolCall("c-2", "now", "", True, 9),
    Usage(9, 21, 4, 2, 3),
    Finish("tool-calls", "tool_use"),
]


def test_an_answer_comes_back_as_it_was() -> None:
    got = back(ANSWER)
    assert got.error is None
    assert ANSWER == got.events


def test_the_frames_are_what_the_api_sends() -> None:
    message: dict[str, object] = {
        "id": "a",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "stop_reason": None,
    }
    opening = {**message, "stop_sequence": None, "usage": {"input_tokens": 0, "output_tokens": 0}}
    expected = [
        ("message_start", {"type": "message_start", "message": opening}),
        ("content_block_start", {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        ("content_block_delta", {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}}),
        ("content_block_delta", {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "!"}}),
        ("content_block_stop", {"type": "content_block_stop", "index": 0}),
        (
            "message_delta",
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn", "stop_sequence": None},
                "usage": {"input_tokens": 1, "output_tokens": 2},
            },
        ),
        ("message_stop", {"type": "message_stop"}),
    ]
    assert expected == frames([Start("a", "m"), TextDelta("Hi"), TextDelta("!"), Usage(1, 2), Finish("stop")])


def test_no_line_splitter_finds_an_end_inside_a_frame() -> None:
    for line in body(
        [Start("\u2028", "\x85"), TextDelta("a\u2028b\u2029c\x85d\r\n\x0b\x0ce"), ToolCall("\u2029", "f", "\x85")]
    ).split(b"\n"):
        assert len(line.decode().splitlines()) <= 1


def test_half_a_character_is_replaced() -> None:
    assert "a\ufffdb" == back([TextDelta("a\ud83db"), ToolCall("c", "f", '"\ud83d"')]).message.text


def test_text_of_another_index_is_another_block() -> None:
    told = deltas([TextDelta("a", 4), TextDelta("b", 4), TextDelta("c", 0), TextDelta("d", -1), TextDelta("", 9)])
    assert [(0, "a"), (0, "b"), (1, "c"), (2, "d")] == [(index, delta["text"]) for index, delta in told]


def test_a_signature_ends_its_block() -> None:
    told = deltas([ReasoningDelta("a", 0, signature="s"), ReasoningDelta("b", 0, signature="t")])
    assert [(0, "thinking_delta"), (0, "signature_delta"), (1, "thinking_delta"), (1, "signature_delta")] == [
        (index, delta["type"]) for index, delta in told
    ]


def test_what_comes_while_a_call_is_open_waits_for_its_end() -> None:
    told = frames(
        [
            ToolCallStart("a", "f", 0),
            ToolCallDelta("a", '{"x":', 0),
            TextDelta("mean", 1),
            ToolCallStart("b", "g", 2),
            TextDelta("while", 1),
            ToolCallDelta("b", '{"y":2}', 2),
            ToolCallDelta("a", "1}", 0),
            ToolCall("b", "g", '{"y":2}', True, 2),
            ToolCall("a", "f", '{"x":1}', True, 0),
        ]
    )
    assert ["a", None, "b"] == [v["content_block"].get("id") for name, v in told if name == "content_block_start"]
    pieces = [
        (v["index"], v["delta"].get("partial_json") or v["delta"].get("text")) for name, v in told if name == "content_block_delta"
    ]
    assert [(0, '{"x":'), (0, "1}"), (1, "mean"), (1, "while"), (2, '{"y":2}')] == pieces


def test_a_call_with_whole_arguments_lets_the_next_block_begin_before_its_end_is_told() -> None:
    encoder = AnthropicEncoder()
    encoder.encode(ToolCallStart("a", "f", 0))
    encoder.encode(ToolCallDelta("a", '{"x":1}', 0))
    names = [frame.event for frame in encoder.encode(ToolCallStart("b", "g", 1))]
    assert ["content_block_stop", "content_block_start"] == names
    assert [] == encoder.encode(ToolCall("a", "f", '{"x":1}', True, 0))
    names = [frame.event for frame in encoder.encode(ToolCall("b", "g", "", True, 1))]
    assert ["content_block_stop"] == names


def test_what_never_got_its_turn_is_written_at_the_end_and_before_an_error() -> None:
    row: list[Event] = [ToolCallStart("a", "f", 0), ToolCallDelta("a", '{"x', 0), TextDelta("kept", 1), ToolCallStart("b", "g", 2)]
    assert "kept" == back(row).message.text
    assert ["a", "b"] == [call.id for call in back(row).message.tool_calls]
    failed = back(row, outcome_of(StreamTruncated("cut")))
    assert "kept" == failed.message.text
    assert isinstance(failed.error, SourceError)


def test_arguments_that_come_before_the_name_of_their_call_are_told_once() -> None:
    told: list[Event] = [ToolCallDelta("c", '{"a"'), ToolCallStart("c", "f"), ToolCallDelta("c", ":1}")]
    whole = ToolCall("c", "f", '{"a":1}')
    assert [whole] == back([*told, whole]).message.tool_calls
    behind_another = back([ToolCallStart("b", "g"), ToolCallDelta("b", "{"), *told, whole]).message.tool_calls
    assert ["{", whole.arguments] == [call.arguments for call in behind_another]
    assert [whole] == back([ToolCallDelta("c", '{"a"'), whole]).message.tool_calls


def test_a_call_whose_beginning_is_told_twice_is_one_block() -> None:
    whole: list[Event] = [ToolCallStart("c", "f"), ToolCallDelta("c", "{}"), ToolCall("c", "f", "{}")]
    assert frames(whole) == frames([ToolCallStart("c", "f"), *whole])


def test_more_than_the_bound_before_the_name_of_a_call_is_an_error_of_the_source() -> None:
    encoder = AnthropicEncoder()
    for _ in range(2):
        encoder.encode(ToolCallDelta("a", "x" * (MAX_WAITING - 100), 0))
        assert encoder.encode(ToolCall("a", "f", "{}"))
        encoder.encode(ToolCallStart("a", "f"))
    encoder = AnthropicEncoder()
    encoder.encode(ToolCallDelta("a", "x" * (MAX_WAITING - 100), 0))
    with pytest.raises(LocalProtocolError, match="or for its name"):
        encoder.encode(ToolCallDelta("a", "x", 0))


def test_more_than_the_bound_waiting_is_an_error_of_the_source() -> None:
    encoder = AnthropicEncoder()
    encoder.encode(ToolCallStart("a", "f", 0))
    encoder.encode(TextDelta("x" * (MAX_WAITING - 100), 1))
    with pytest.raises(LocalProtocolError, match="one block is open at a time"):
        encoder.encode(TextDelta("", 1))


def test_waiting_room_is_free_again_after_it_was_emptied() -> None:
    encoder = AnthropicEncoder()
    for number in range(3):
        encoder.encode(ToolCallStart(f"c{number}", "f", 0))
        encoder.encode(TextDelta("x" * (MAX_WAITING - 100), 1))
        assert encoder.encode(ToolCall(f"c{number}", "f", "{}", True, 0))


def test_events_without_a_word_are_left_out() -> None:
    mute: list[Event] = [
        Gap(2),
        Custom("c", 1),
        Raw({"a": 1}),
        DataDelta(b"x", "audio/pcm"),
        File("image/png", b"x"),
        File("image/png", url="https://a.test/v1/files/1/content"),
        ToolResult("c-1", "mine"),
        TextDelta("second choice", 0, 1),
        Finish("length", "length", 1),
        ToolCallDelta("nameless", "{}"),
        ReasoningDelta(""),
        TextDelta(""),
    ]
    assert ["message_start", "message_delta", "message_stop"] == [name for name, _ in frames(mute)]
    assert ["ping", "ping"] == [name for name, _ in frames([Ping(), TextDelta("a"), Ping()]) if name == "ping"]


def test_the_reason_is_the_provider_s_own_word_where_it_means_the_same() -> None:
    def reason(*events: Event) -> str:
        return str(frames(events)[-2][1]["delta"]["stop_reason"])

    assert "stop_sequence" == reason(Finish("stop", "stop_sequence"))
    assert "end_turn" == reason(Finish("stop", "eos"))
    assert "max_tokens" == reason(Finish("length", "end_turn"))
    assert "pause_turn" == reason(Finish("other", "pause_turn"))
    assert "refusal" == reason(Finish("content-filter"))
    assert "end_turn" == reason()
    assert "tool_use" == reason(ToolCall("a", "f", "{}"))
    assert "end_turn" == reason(ToolCall("a", "web_search", "{}", server=True))
    assert "message_stop" == frames([TextDelta("a")], CANCELLED)[-1][0]


def test_results_are_blocks_of_their_tool_or_of_any_tool_where_the_shape_is_not_its_own() -> None:
    row: list[Event] = [
        ToolCall("a", "web_fetch", "{}", server=True),
        ToolResult("a", {"type": "web_fetch_tool_result_error", "error_code": "unavailable"}, True),
        ToolCall("b", "tool_search_tool_regex", "{}", server=True),
        ToolResult("b", "no", True),
        ToolCall("c", "anything", "{}", server=True),
        ToolResult("c", {"n": 1}),
    ]
    kinds = ["server_tool_use", "web_fetch_tool_result", "server_tool_use", "mcp_tool_result", "mcp_tool_use", "mcp_tool_result"]
    assert kinds == [block["type"] for block in blocks(row)]
    assert [True, True, False] == [result.is_error for result in back(row).message.tool_results]
    assert '{"n":1}' == back(row).message.tool_results[-1].output


def test_a_file_that_its_result_names_is_not_written_twice() -> None:
    made = {"type": "code_execution_result", "content": [{"type": "code_execution_output", "file_id": "f_1"}]}
    row: list[Event] = [
        ToolCall("a", "code_execution", "{}", server=True),
        ToolResult("a", made),
        File("application/octet-stream", url="/v1/files/f_1/content", index=1, name="f_1"),
    ]
    assert ["server_tool_use", "code_execution_tool_result"] == [block["type"] for block in blocks(row)]
    assert Message(row).files == back(row).message.files


def test_a_failure_is_an_error_frame_and_no_end() -> None:
    got = frames([TextDelta("Hal")], outcome_of(OverloadedError("secret", retryable=True, retry_after=2)))
    name, value = got[-1]
    assert "error" == name
    assert "overloaded_error" == value["error"]["type"]
    assert "secret" not in json.dumps(value)
    assert "message_stop" not in [name for name, _ in got]
    reading = back([TextDelta("Hal")], outcome_of(RateLimitError("x", retry_after=2)))
    assert isinstance(reading.error, RateLimitError)
    assert 2 == reading.error.retry_after
    assert "Hal" == reading.message.text
    assert "error" == frames([ErrorEvent("No.", "auth")])[-1][0]


# ---- any row of events comes back as the same answer ----------------------------------------

_texts = st.text(alphabet='ab {}"\\\u2028é\U0001f600', max_size=6)
_indexes = st.integers(0, 3)


@st.composite
def _rows(draw: st.DrawFn) -> list[Event]:
    """Interleaved blocks: some text, thoughts, and calls whose pieces lie anywhere between them."""
    calls: list[list[Event]] = []
    for number in range(draw(st.integers(0, 3))):
        server = draw(st.booleans())
        name = draw(st.sampled_from(["web_search", "buoy"])) if server else "tide"
        value = draw(st.none() | st.dictionaries(_texts, _texts | st.integers(-5, 5), max_size=2))
        arguments = "" if value is None else json.dumps(value)
        at = draw(st.integers(0, len(arguments)))
        id = f"call-{number}"
        told: list[Event] = [ToolCallStart(id, name, number, server=server)] if draw(st.booleans()) else []
        if told:
            told += [ToolCallDelta(id, piece, number) for piece in (arguments[:at], arguments[at:]) if piece]
        told.append(ToolCall(id, name, arguments, True, number, server=server))
        if server and draw(st.booleans()):
            told.append(ToolResult(id, draw(_texts), draw(st.booleans())))
        calls.append(told)
    thoughts = st.builds(
        ReasoningDelta, _texts, _indexes, signature=st.none() | st.just("sig"), redacted=st.none() | st.just("blob")
    )
    cites = st.builds(Citation, st.none() | st.just("https://a.test/"), st.just("T"), st.none() | st.just("q"), _indexes)
    others = draw(st.lists(st.builds(TextDelta, _texts, _indexes) | thoughts | cites, max_size=8))
    row: list[Event] = []
    queues: list[list[Event]] = [queue for queue in [list[Event](others), *calls] if queue]
    while queues:
        queue = draw(st.sampled_from(queues))
        row.append(queue.pop(0))
        queues = [queue for queue in queues if queue]
    reason = draw(st.sampled_from(sorted(REASONS)))
    counts = st.none() | st.integers(0, 99)
    return [
        Start("m", "small"),
        *row,
        Usage(draw(st.integers(0, 99)), draw(st.integers(0, 99)), draw(counts), draw(counts), draw(counts)),
        Finish(reason, REASONS[reason]),
    ]


def _picture(message: Message) -> dict[str, object]:
    """What an answer says, with neither block numbers nor the order of blocks that were told at the same time."""
    cut = message.finish is not None and message.finish.reason in ("length", "content-filter")
    calls = {
        call.id: (call.name, call.arguments, call.complete or (cut and not call.arguments), call.server)
        for call in message.tool_calls
    }
    return {
        "start": message.start,
        "text": sorted(message.text),
        "reasoning": sorted(message.reasoning),
        "calls": calls,
        "results": {result.id: (result.output, result.is_error) for result in message.tool_results},
        "citations": sorted((c.url or "", c.title or "", c.quote or "") for c in message.citations),
        "usage": message.usage,
        "finish": message.finish,
    }


def _thoughts(events: Iterable[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, ReasoningDelta))


@given(_rows())
@settings(max_examples=300, deadline=None)
def test_any_row_of_events_comes_back_as_the_same_answer(row: list[Event]) -> None:
    frames(row)
    got = back(row)
    assert got.error is None
    assert _picture(Message(row)) == _picture(got.message)
    if not any(isinstance(event, ToolCallStart) for event in row):  # nothing waited: the order is the same too
        assert Message(row).text == got.message.text
        assert _thoughts(row) == _thoughts(got.events)
    proofs = [(e.signature, e.redacted) for e in row if isinstance(e, ReasoningDelta) and (e.signature or e.redacted)]
    told = [e for e in got.events if isinstance(e, ReasoningDelta)]
    assert sorted(s for s, _ in proofs if s) == sorted(e.signature for e in told if e.signature)
    assert sorted(r for _, r in proofs if r) == sorted(e.redacted for e in told if e.redacted)


@given(st.lists(st.sampled_from(ANSWER), max_size=25), st.sampled_from([DONE, CANCELLED]))
@settings(deadline=None)
def test_any_order_of_events_is_written_so_that_it_reads_as_one_complete_answer(events: list[Event], outcome: Outcome) -> None:
    frames(events, outcome)
    got = back(events, outcome)
    assert got.error is None
    assert got.message.complete
    assert sorted(Message(events).text) == sorted(got.message.text)


# ---- the anthropic SDK ----------------------------------------------------------------------

QUESTION: dict[str, Any] = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "?"}]}


def respond(written: bytes) -> Callable[[object], object]:
    httpx2 = pytest.importorskip("httpx2")
    return lambda request: httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=written)


@contextmanager
def sdk(written: bytes) -> Iterator[Any]:
    """The SDK's client, with a server that answers with these bytes."""
    anthropic = pytest.importorskip("anthropic")
    httpx2 = pytest.importorskip("httpx2")
    with (
        httpx2.Client(transport=httpx2.MockTransport(respond(written))) as http,
        anthropic.Anthropic(api_key="none", base_url="http://sdk.test", http_client=http, max_retries=0) as client,
    ):
        yield client


@asynccontextmanager
async def async_sdk(written: bytes) -> AsyncIterator[Any]:
    anthropic = pytest.importorskip("anthropic")
    httpx2 = pytest.importorskip("httpx2")
    async with (
        httpx2.AsyncClient(transport=httpx2.MockTransport(respond(written))) as http,
        anthropic.AsyncAnthropic(api_key="none", base_url="http://sdk.test", http_client=http, max_retries=0) as client,
    ):
        yield client


def _check_events(seen: list[Any]) -> None:
    """The raw events of `create(stream=True)` for ANSWER."""
    pieces = [event.delta for event in seen if event.type == "content_block_delta"]
    expected = Message(ANSWER)
    assert "message_start" == seen[0].type
    assert ("msg_1", "small-1") == (seen[0].message.id, seen[0].message.model)
    assert expected.text == "".join(delta.text for delta in pieces if delta.type == "text_delta")
    assert expected.reasoning == "".join(delta.thinking for delta in pieces if delta.type == "thinking_delta")
    assert ["sig=="] == [delta.signature for delta in pieces if delta.type == "signature_delta"]
    arguments = "".join(delta.partial_json for delta in pieces if delta.type == "input_json_delta")
    assert "".join(call.arguments for call in expected.tool_calls) == arguments
    assert ("message_delta", "tool_use", 21) == (seen[-2].type, seen[-2].delta.stop_reason, seen[-2].usage.output_tokens)
    assert "message_stop" == seen[-1].type


def _check_message(final: Any) -> None:
    """The message that the SDK puts together for ANSWER."""
    assert ("msg_1", "small-1", "tool_use") == (final.id, final.model, final.stop_reason)
    thinking, redacted, text, search, found, mcp, gone, upload, tide, now = final.content
    assert ("thinking", "Two places.", "sig==") == (thinking.type, thinking.thinking, thinking.signature)
    assert ("redacted_thinking", "blob==") == (redacted.type, redacted.data)
    assert ("text", "Looking … \u2028\x85") == (text.type, text.text)
    web, document = text.citations
    assert ("web_search_result_location", "https://a.test/", "A", "as seen") == (web.type, web.url, web.title, web.cited_text)
    assert ("char_location", "Charts", "depth 4") == (document.type, document.document_title, document.cited_text)
    assert ("server_tool_use", "srv_1", "web_search", {"query": "tide"}) == (search.type, search.id, search.name, search.input)
    assert ("web_search_tool_result", "srv_1") == (found.type, found.tool_use_id)
    assert ["https://a.test/"] == [page.url for page in found.content]
    assert ("mcp_tool_use", "buoy") == (mcp.type, mcp.name)
    assert ("mcp_tool_result", "mcp_1", True) == (gone.type, gone.tool_use_id, gone.is_error)
    assert ("container_upload", "file_1") == (upload.type, upload.file_id)
    assert ("tool_use", "c-1", "tide", {"port": "Brest"}) == (tide.type, tide.id, tide.name, tide.input)
    assert ("tool_use", "c-2", "now", {}) == (now.type, now.id, now.name, now.input)
    usage = final.usage
    assert (9, 21, 4, 2) == (
        usage.input_tokens,
        usage.output_tokens,
        usage.cache_read_input_tokens,
        usage.cache_creation_input_tokens,
    )
    assert 3 == usage.output_tokens_details.thinking_tokens


def test_the_anthropic_sdk_reads_the_same_answer() -> None:
    with sdk(body(ANSWER)) as client:
        _check_events(list(client.messages.create(**QUESTION, stream=True)))
        with client.messages.stream(**QUESTION) as stream:
            _check_message(stream.get_final_message())
        with client.messages.stream(**QUESTION) as stream:
            assert Message(ANSWER).text == "".join(stream.text_stream)
        with client.beta.messages.stream(**QUESTION) as stream:
            _check_message(stream.get_final_message())


@asyncio_only
async def test_the_async_anthropic_sdk_reads_the_same_answer(anyio_backend: object) -> None:
    async with async_sdk(body(ANSWER)) as client:
        _check_events([event async for event in await client.messages.create(**QUESTION, stream=True)])
        async with client.messages.stream(**QUESTION) as stream:
            _check_message(await stream.get_final_message())
        async with client.messages.stream(**QUESTION) as stream:
            assert Message(ANSWER).text == "".join([text async for text in stream.text_stream])


@given(_rows())
@settings(max_examples=30, deadline=None)
def test_the_anthropic_sdk_reads_any_row_of_events(row: list[Event]) -> None:
    expected = Message(row)
    with sdk(body(row)) as client, client.beta.messages.stream(**QUESTION) as stream:
        final = stream.get_final_message()
    assert sorted(expected.text) == sorted("".join(block.text for block in final.content if block.type == "text"))
    assert sorted(expected.reasoning) == sorted("".join(block.thinking for block in final.content if block.type == "thinking"))
    kinds = ("tool_use", "server_tool_use", "mcp_tool_use")
    assert {call.id: call.input() for call in expected.tool_calls} == {
        block.id: block.input for block in final.content if block.type in kinds
    }
    assert expected.finish is not None
    assert expected.usage is not None
    assert expected.finish.raw_reason == final.stop_reason
    assert (expected.usage.input_tokens, expected.usage.output_tokens) == (final.usage.input_tokens, final.usage.output_tokens)


def test_the_anthropic_sdk_raises_on_our_error_frame() -> None:
    anthropic = pytest.importorskip("anthropic")
    seen: list[Any] = []
    written = body([TextDelta("kept")], outcome_of(OverloadedError("x"), correlation_id="r-7"))
    with sdk(written) as client, pytest.raises(anthropic.APIStatusError) as caught:
        for event in client.messages.create(**QUESTION, stream=True):
            seen.append(event)
    assert "kept" == seen[-1].delta.text
    assert "The model is overloaded. Try again later." in caught.value.message
    assert "overloaded_error" == caught.value.body["error"]["type"]
