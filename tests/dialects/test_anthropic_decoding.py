"""What the Messages decoder makes of every kind of block, and of what servers and proxies get wrong."""

from __future__ import annotations

import random

import pytest
from dialect_cases import FIXTURES, Reading, cut, read, sse_body
from hypothesis import given
from hypothesis import strategies as st

from streamkit.dialects.anthropic import AnthropicDecoder
from streamkit.dialects.registry import get
from streamkit.errors import (
    AuthError,
    BadRequestError,
    OverloadedError,
    RateLimitError,
    RemoteProtocolError,
    SourceError,
    StreamTruncated,
)
from streamkit.events import (
    Citation,
    Event,
    File,
    Finish,
    FinishReason,
    Message,
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

Frame = dict[str, object]


def opening(id: str | None = "msg_1", **more: object) -> Frame:
    return {"type": "message_start", "message": {"id": id, "model": "small-1", "content": [], **more}}


def start(index: int | None, type: str = "text", **block: object) -> Frame:
    return {"type": "content_block_start", "index": index, "content_block": {"type": type, **block}}


def delta(index: int | None, type: str | None = "text_delta", **fields: object) -> Frame:
    return {"type": "content_block_delta", "index": index, "delta": {"type": type, **fields}}


def stop(index: int | None) -> Frame:
    return {"type": "content_block_stop", "index": index}


def ending(reason: str | None = "end_turn", **usage: object) -> Frame:
    return {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}, "usage": usage or None}


END: Frame = {"type": "message_stop"}
START = Start("msg_1", "small-1")
STOP = Finish("stop", "end_turn")


def answer(*frames: object) -> Reading:
    return read(AnthropicDecoder(), [sse_body(*frames)])


def events(*frames: object, reason: str = "end_turn") -> list[Event]:
    """The events of a whole answer, between Start and Finish."""
    got = answer(opening(), *frames, ending(reason), END)
    assert got.error is None
    assert START == got.events[0]
    assert isinstance(got.events[-1], Finish)
    return got.events[1:-1]


def calls(*frames: object, reason: str = "end_turn") -> list[ToolCall]:
    return [event for event in events(*frames, reason=reason) if isinstance(event, ToolCall)]


def test_all_kinds_of_blocks_are_told_in_order() -> None:
    found = [
        {"type": "web_search_result", "url": "https://tides.test/", "title": "Tides", "encrypted_content": "e", "page_age": None}
    ]
    expected: list[Event] = [
        Start("msg_1", "small-1", "harbour"),
        ReasoningDelta("Two ", 0),
        ReasoningDelta("places.", 0),
        ReasoningDelta("", 0, signature="sig=="),
        ReasoningDelta("", 1, redacted="blob=="),
        ToolCallStart("srvtoolu_1", "web_search", 2, server=True),
        ToolCallDelta("srvtoolu_1", '{"query":', 2),
        ToolCallDelta("srvtoolu_1", ' "tide"}', 2),
        ToolCall("srvtoolu_1", "web_search", '{"query": "tide"}', True, 2, server=True),
        ToolResult("srvtoolu_1", found),
        Citation("https://tides.test/", "Tides", "High at noon", 4),
        TextDelta("High at noon … 🌊", 4),
        ToolCallStart("toolu_1", "tide", 5),
        ToolCallDelta("toolu_1", '{"port":', 5),
        ToolCallDelta("toolu_1", '"Brest"}', 5),
        ToolCall("toolu_1", "tide", '{"port":"Brest"}', True, 5),
        ToolCallStart("toolu_2", "now", 6),
        ToolCall("toolu_2", "now", "", True, 6),
        Usage(30, 21, 4, 2, 3),
        Finish("tool-calls", "tool_use"),
    ]
    body = (FIXTURES / "anthropic_all_blocks.sse").read_bytes()
    for reads in ([body], [body[at : at + 1] for at in range(len(body))], cut(body, random.Random(1))):
        got = read(AnthropicDecoder(provider="harbour"), reads)
        assert got.error is None
        assert expected == got.events


def test_the_event_line_may_be_missing() -> None:
    body = (FIXTURES / "anthropic_all_blocks.sse").read_bytes()
    bare = b"\n".join(line for line in body.split(b"\n") if not line.startswith(b"event:"))
    assert read(AnthropicDecoder(), [body]).events == read(AnthropicDecoder(), [bare]).events


def test_the_event_line_tells_where_the_data_does_not() -> None:
    body = (FIXTURES / "anthropic_all_blocks.sse").read_bytes()
    untyped = body
    for kind in (b"message_start", b"content_block_start", b"content_block_delta", b"content_block_stop", b"message_delta"):
        untyped = untyped.replace(b'data: {"type":"' + kind + b'",', b"data: {")
    assert len(untyped) < len(body)
    assert read(AnthropicDecoder(), [body]).events == read(AnthropicDecoder(), [untyped]).events


def test_the_type_in_the_data_wins_over_the_event_line() -> None:
    body = b"event: message_stop\n" + sse.encode_json(opening()) + b"event: message_stop\n" + sse.encode_json(delta(0, text="a"))
    assert [START, TextDelta("a")] == read(AnthropicDecoder(), [body]).events


def test_the_fields_tell_where_neither_does() -> None:
    frames = [opening(), start(0, text="a"), delta(0, None, text="b"), ending()]
    for frame in frames:
        del frame["type"]
    assert [START, TextDelta("a"), TextDelta("b"), STOP] == answer(*frames).events


def test_odd_types_are_read_as_what_they_mean() -> None:
    expected: list[Event] = [
        Start("17"),
        TextDelta("A"),
        TextDelta("BC"),
        TextDelta("7"),
        TextDelta("\ufffd!"),
        ToolCallStart("3", "tide", 1),
        ToolCallDelta("3", '{"port":"Brest"}', 1),
        ToolCall("3", "tide", '{"port":"Brest"}', True, 1),
        Usage(9, 21),
        Finish("tool-calls", "tool_use"),
    ]
    got = read(AnthropicDecoder(), [(FIXTURES / "anthropic_odd_types.sse").read_bytes()])
    assert got.error is None
    assert expected == got.events


# ---- what a block holds when it starts ------------------------------------------------------


def test_what_is_in_a_block_when_it_starts_is_not_lost() -> None:
    place = {"type": "char_location", "cited_text": "q", "document_index": 0, "document_title": "D"}
    assert [TextDelta("a", 0), Citation(None, "D", "q", 0), TextDelta("b", 0)] == events(
        start(0, text="a", citations=[place]), delta(0, text="b"), stop(0)
    )
    assert [ReasoningDelta("t", 0, signature="s"), ReasoningDelta("u", 0)] == events(
        start(0, "thinking", thinking="t", signature="s"), delta(0, "thinking_delta", thinking="u")
    )


def test_a_call_whose_input_is_there_from_the_start_is_told_whole() -> None:
    assert [
        ToolCallStart("t", "f", 0),
        ToolCallDelta("t", '{"a":[1]}', 0),
        ToolCall("t", "f", '{"a":[1]}', True, 0),
    ] == events(start(0, "tool_use", id="t", name="f", input={"a": [1]}), stop(0))


def test_deltas_replace_the_input_that_a_call_started_with() -> None:
    told = calls(
        start(0, "tool_use", id="t", name="f", input={"a": 1}), delta(0, "input_json_delta", partial_json='{"a":2}'), stop(0)
    )
    assert ['{"a":2}'] == [call.arguments for call in told]


def test_blocks_inside_message_start_count() -> None:
    content = [{"type": "text", "text": "a"}, {"type": "tool_use", "id": "t", "name": "f", "input": {"b": 1}}]
    got = answer(opening(content=content, stop_reason="tool_use"), END)
    assert got.error is None
    assert "a" == got.message.text
    assert [ToolCall("t", "f", '{"b":1}', True, 1)] == got.message.tool_calls
    assert Finish("tool-calls", "tool_use") == got.events[-1]


# ---- calls ----------------------------------------------------------------------------------


def test_a_call_without_arguments_is_complete_only_if_something_follows_it() -> None:
    call = (start(0, "tool_use", id="t", name="f", input={}), stop(0))
    assert [True] == [one.complete for one in calls(*call, reason="tool_use")]
    assert [True] == [one.complete for one in calls(*call, start(1, text=""), reason="max_tokens")]
    assert [False] == [one.complete for one in calls(*call, reason="max_tokens")]
    assert [False] == [one.complete for one in calls(*call, reason="refusal")]
    assert [""] == [one.arguments for one in calls(*call)]


def test_a_call_that_ran_into_the_limit_is_not_complete() -> None:
    told = calls(
        start(0, "tool_use", id="t", name="f"), delta(0, "input_json_delta", partial_json='{"a":'), stop(0), reason="max_tokens"
    )
    assert [ToolCall("t", "f", '{"a":', False, 0)] == told


def test_a_call_is_given_when_its_block_stops() -> None:
    decoder, wire = AnthropicDecoder(), sse.Decoder()
    call = [start(0, "tool_use", id="t", name="f"), delta(0, "input_json_delta", partial_json="{}")]
    assert not [e for e in decoder.decode_many(wire.feed(sse_body(opening(), *call))) if isinstance(e, ToolCall)]
    assert [ToolCall("t", "f", "{}", True, 0)] == decoder.decode_many(wire.feed(sse_body(stop(0))))


@pytest.mark.parametrize("kind", ["server_tool_use", "mcp_tool_use"])
def test_calls_of_the_server_say_so(kind: str) -> None:
    assert [True] == [call.server for call in calls(start(0, kind, id="t", name="f", server_name="s", input={"q": 1}), stop(0))]


def test_interleaved_calls_are_told_apart_by_index() -> None:
    told = calls(
        start(0, "tool_use", id="a", name="f"),
        start(1, "tool_use", id="b", name="g"),
        delta(0, "input_json_delta", partial_json='{"x":'),
        delta(1, "input_json_delta", partial_json='{"y":2}'),
        delta(0, "input_json_delta", partial_json="1}"),
        stop(1),
        stop(0),
    )
    assert [("b", '{"y":2}', 1), ("a", '{"x":1}', 0)] == [(call.id, call.arguments, call.index) for call in told]


# ---- results, sources, files ----------------------------------------------------------------

RESULTS: list[tuple[str, object, bool]] = [
    ("web_search_tool_result", [{"type": "web_search_result", "url": "https://a.test/"}], False),
    ("web_search_tool_result", {"type": "web_search_tool_result_error", "error_code": "max_uses_exceeded"}, True),
    ("web_fetch_tool_result", {"type": "web_fetch_result", "url": "https://a.test/", "content": {"type": "document"}}, False),
    ("web_fetch_tool_result", {"type": "web_fetch_tool_result_error", "error_code": "url_not_allowed"}, True),
    ("code_execution_tool_result", {"type": "code_execution_result", "stdout": "1", "return_code": 0, "content": []}, False),
    ("code_execution_tool_result", {"type": "code_execution_tool_result_error", "error_code": "unavailable"}, True),
    ("text_editor_code_execution_tool_result", {"type": "text_editor_code_execution_view_result", "content": "x"}, False),
    ("tool_search_tool_result", {"type": "tool_search_tool_search_result", "tool_references": []}, False),
    ("advisor_tool_result", {"type": "advisor_result", "text": "go"}, False),
    ("a_kind_of_tomorrow_tool_result", "text", False),
]


@pytest.mark.parametrize(("kind", "content", "failed"), RESULTS)
def test_a_result_of_any_tool_of_the_server_is_given(kind: str, content: object, failed: bool) -> None:
    assert [ToolResult("t", content, failed)] == events(start(0, kind, tool_use_id="t", content=content), stop(0))


def test_a_result_of_an_mcp_tool_says_itself_whether_it_failed() -> None:
    content = [{"type": "text", "text": "no"}]
    assert [ToolResult("t", content, True)] == events(
        start(0, "mcp_tool_result", tool_use_id="t", is_error=True, content=content), stop(0)
    )


def test_files_that_code_made_are_given_beside_its_result() -> None:
    made = {"type": "bash_code_execution_result", "content": [{"type": "bash_code_execution_output", "file_id": "file_1"}]}
    assert [
        ToolResult("t", made),
        File("application/octet-stream", url="/v1/files/file_1/content", index=0, name="file_1"),
        File("application/octet-stream", url="/v1/files/file_2/content", index=1, name="file_2"),
    ] == events(
        start(0, "bash_code_execution_tool_result", tool_use_id="t", content=made),
        stop(0),
        start(1, "container_upload", file_id="file_2"),
        stop(1),
    )


PLACES: list[tuple[dict[str, object], Citation]] = [
    ({"type": "char_location", "cited_text": "q", "document_title": "D", "document_index": 0}, Citation(None, "D", "q", 2)),
    ({"type": "page_location", "cited_text": "q", "document_title": None, "start_page_number": 1}, Citation(None, None, "q", 2)),
    ({"type": "content_block_location", "cited_text": "q", "document_title": "D"}, Citation(None, "D", "q", 2)),
    (
        {"type": "search_result_location", "cited_text": "q", "source": "https://s.test/", "title": "S"},
        Citation("https://s.test/", "S", "q", 2),
    ),
    (
        {"type": "web_search_result_location", "cited_text": "q", "url": "https://w.test/", "title": "W"},
        Citation("https://w.test/", "W", "q", 2),
    ),
]


@pytest.mark.parametrize(("place", "citation"), PLACES)
def test_a_citation_of_any_kind_of_place_is_given(place: dict[str, object], citation: Citation) -> None:
    assert [citation] == events(start(2), delta(2, "citations_delta", citation=place), stop(2))


# ---- what says nothing ----------------------------------------------------------------------


def test_pings_and_unknown_frames_give_nothing() -> None:
    assert [TextDelta("a", 4)] == events(
        {"type": "ping"},
        {"type": "frame_of_tomorrow", "delta": [1], "index": "x", "usage": 7},
        start(4),
        delta(4, text="a"),
        delta(4, text=""),
        delta(4, "delta_of_tomorrow", text="?"),
        stop(4),
    )


def test_signs_of_life_before_the_answer_and_the_end_marker_of_others_are_skipped() -> None:
    body = b"event: ping\ndata: alive\n\ndata:\n\n" + sse_body(opening(), delta(0, text="a"), ending(), "[DONE]", END, "junk")
    assert [START, TextDelta("a"), STOP] == read(AnthropicDecoder(), [body]).events


# ---- what no event says ---------------------------------------------------------------------


def test_a_compaction_is_given_whole_for_it_must_be_sent_back() -> None:
    made = {"type": "compaction", "content": "What was said.", "encrypted_content": "c2VhbGVk"}
    got = events(
        start(0, "compaction", content=None, encrypted_content=None),
        delta(0, "compaction_delta", content=None),
        delta(0, "compaction_delta", content="What was", encrypted_content="c2VhbGVk"),
        delta(0, "compaction_delta", content=" said."),
        stop(0),
        start(1),
        delta(1, text="a"),
        stop(1),
    )
    assert [Raw(made), TextDelta("a", 1)] == got


def test_a_delta_tells_what_a_compaction_is_and_its_start_does_not() -> None:
    assert [Raw({"type": "compaction", "content": "all of it"})] == events(
        start(0, "compaction", content="half"), delta(0, "compaction_delta", content="all of it"), stop(0)
    )


def test_blocks_of_other_kinds_are_given_as_they_are() -> None:
    fallback = {"type": "fallback", "from": {"model": "a"}, "to": {"model": "b"}}
    tomorrow = {"type": "block_of_tomorrow", "text": "!?", "parts": [2]}
    got = events(
        {"type": "content_block_start", "index": 0, "content_block": fallback},
        stop(0),
        start(1, "mcp_tool_listing", mcp_server_name="s", tools=[]),
        stop(1),
        start(2, "block_of_tomorrow", text="", parts=[1]),
        delta(2, "delta_of_tomorrow", text="!", parts=[2]),
        delta(2, "input_json_delta", partial_json="{}"),
        delta(2, "delta_of_tomorrow", text="?"),
        stop(2),
    )
    assert [Raw(fallback), Raw({"type": "mcp_tool_listing", "mcp_server_name": "s", "tools": []}), Raw(tomorrow)] == got


def test_a_block_of_another_kind_without_its_stop_is_given_at_the_end() -> None:
    assert [Raw({"type": "compaction", "content": "a"})] == events(
        start(0, "compaction", content=None), delta(0, "compaction_delta", content="a")
    )


def test_a_block_of_another_kind_that_was_cut_is_not_given() -> None:
    got = answer(opening(), start(0, "compaction", content=None), delta(0, "compaction_delta", content="a"))
    assert isinstance(got.error, StreamTruncated)
    assert [START] == got.events


def test_half_pairs_in_a_block_of_another_kind_are_replaced() -> None:
    lone = b'data: {"type":"content_block_delta","index":0,"delta":{"type":"compaction_delta","content":"\\ud83d"}}\n\n'
    body = sse_body(opening(), start(0, "compaction")) + lone + sse_body(stop(0), ending(), END)
    got = read(AnthropicDecoder(), [body])
    assert [Raw({"type": "compaction", "content": "\ufffd"})] == got.events[1:-1]


# ---- how an answer ends ---------------------------------------------------------------------

ENDS: list[tuple[str, FinishReason]] = [
    ("end_turn", "stop"),
    ("stop_sequence", "stop"),
    ("max_tokens", "length"),
    ("model_context_window_exceeded", "length"),
    ("tool_use", "tool-calls"),
    ("refusal", "content-filter"),
    ("pause_turn", "other"),
    ("compaction", "other"),
    ("a_reason_of_tomorrow", "other"),
]


@pytest.mark.parametrize(("word", "reason"), ENDS)
def test_every_reason_is_known(word: str, reason: FinishReason) -> None:
    assert Finish(reason, word) == answer(opening(), ending(word), END).events[-1]


def test_counts_are_totals_and_what_is_not_said_does_not_replace_them() -> None:
    first = {"input_tokens": 9, "output_tokens": 1, "cache_read_input_tokens": 0}
    got = answer(opening(usage=first), ending(None, output_tokens=5, input_tokens=None), ending(output_tokens=7), END)
    assert Usage(9, 7, 0) == got.message.usage
    assert [] == [event for event in answer(opening(), ending(), END).events if isinstance(event, Usage)]


def test_a_body_that_ends_behind_a_reason_is_complete_and_its_counts_are_not_final() -> None:
    got = answer(opening(), delta(0, text="a"), ending(output_tokens=5))
    assert got.error is None
    assert [Usage(None, 5, final=False), STOP] == got.events[-2:]


def test_an_end_without_a_reason_is_over_and_not_said_why() -> None:
    assert Finish("other", None) == answer(opening(), delta(0, text="a"), END).events[-1]


@pytest.mark.parametrize("frames", [[], [END], [{"type": "ping"}], [{"type": "ping"}, END]])
def test_no_answer_at_all_is_truncated(frames: list[Frame]) -> None:
    got = answer(*frames)
    assert isinstance(got.error, StreamTruncated)
    assert [] == got.events


def test_a_body_that_ends_without_a_reason_is_truncated_with_what_came() -> None:
    decoder = AnthropicDecoder()
    frames = [opening(usage={"input_tokens": 9}), delta(0, text="Hal"), start(1, "tool_use", id="t", name="f")]
    got = read(decoder, [sse_body(*frames, delta(1, "input_json_delta", partial_json='{"a'), ending(None, output_tokens=2))])
    assert isinstance(got.error, StreamTruncated)
    assert "Hal" == got.message.text
    assert [ToolCall("t", "f", '{"a', False, 1)] == got.message.tool_calls
    assert [Usage(9, 2, final=False)] == decoder.held()


def test_nothing_counts_behind_the_end() -> None:
    decoder = AnthropicDecoder()
    decoder.decode_many(sse.Decoder().feed(sse_body(opening(), ending(), END)))
    assert decoder.done
    assert [] == decoder.decode_many(sse.Decoder().feed(sse_body(opening("again"), delta(0, text="a")))) == decoder.finish()


# ---- errors ---------------------------------------------------------------------------------

ERRORS: list[tuple[str, type[SourceError], bool]] = [
    ("overloaded_error", OverloadedError, True),
    ("api_error", OverloadedError, True),
    ("timeout_error", OverloadedError, True),
    ("rate_limit_error", RateLimitError, True),
    ("invalid_request_error", BadRequestError, False),
    ("not_found_error", BadRequestError, False),
    ("request_too_large", BadRequestError, False),
    ("authentication_error", AuthError, False),
    ("permission_error", AuthError, False),
    ("billing_error", AuthError, False),
]


@pytest.mark.parametrize(("word", "kind", "retryable"), ERRORS)
def test_an_error_frame_is_the_error_it_names(word: str, kind: type[SourceError], retryable: bool) -> None:
    failure = {"type": "error", "error": {"type": word, "message": "No."}, "request_id": "req_1"}
    frames = sse_body(opening(usage={"input_tokens": 9}), delta(0, text="Hal"))
    for frame in (sse.encode_json(failure, event="error"), sse.encode_json(failure)):
        got = read(AnthropicDecoder(provider="harbour"), [frames + frame + sse_body(ending(), END)])
        assert type(got.error) is kind
        assert (word, "harbour", "req_1", retryable) == (
            got.error.code,
            got.error.provider,
            got.error.request_id,
            got.error.retryable,
        )
        assert "Hal" == got.message.text
        assert Usage(9, final=False) == got.message.usage
        assert got.message.finish is None


def test_an_error_behind_the_reason_beats_it() -> None:
    got = answer(opening(), delta(0, text="a"), ending(), {"type": "error", "error": {"type": "api_error", "message": "x"}}, END)
    assert isinstance(got.error, OverloadedError)
    assert got.message.finish is None


@pytest.mark.parametrize("data", ["upstream gone", '"text"', '{"error":"gone"}', '{"message":"gone","code":503}', "{", "[" * 9000])
def test_an_error_frame_of_any_shape_is_an_error(data: str) -> None:
    got = read(AnthropicDecoder(), [sse_body(opening()) + sse.encode(data, event="error")])
    assert isinstance(got.error, SourceError)


@pytest.mark.parametrize(
    "data", ["hello", "{", "[]", "12", '"a"', "[" * 100_000, '{"a":' * 100_000, "{} {}", '{"index":' + "9" * 9000 + "}"]
)
def test_what_is_no_object_of_json_is_a_protocol_error_with_what_came_before(data: str) -> None:  # fmt: skip
    got = answer(opening(), delta(0, text="a"), data, delta(0, text="b"))
    assert isinstance(got.error, RemoteProtocolError)
    assert "a" == got.message.text


@pytest.mark.parametrize("where", ["input", "content", "unread"])
@pytest.mark.parametrize("value", ["[" * 100_000 + "]" * 100_000, "9" * 9000, "9" * 30, "1e999", '{"a":1,"a":2}'])
def test_a_value_that_no_reader_can_hold_never_breaks_the_reader(where: str, value: str) -> None:
    kind = '"web_fetch_tool_result","tool_use_id":"t"' if where == "content" else '"tool_use","id":"t","name":"f"'
    frame = f'{{"type":"content_block_start","index":0,"content_block":{{"type":{kind},"{where}":{value}}}}}'
    got = answer(opening(), frame, stop(0), delta(1, text="a"), ending(), END)
    if got.error is None:
        assert "a" == got.message.text
    else:
        assert isinstance(got.error, RemoteProtocolError)


# ---- what servers and proxies get wrong -----------------------------------------------------


def test_a_repeated_message_start_is_one_start() -> None:
    got = answer(opening(), opening(), {"type": "ping"}, delta(0, text="a"), ending(), END)
    assert [START, TextDelta("a"), STOP] == got.events


def test_an_answer_that_was_begun_again_keeps_both_halves_apart() -> None:
    body = (FIXTURES / "anthropic_spliced.sse").read_bytes()
    got = read(AnthropicDecoder(), [body])
    assert got.error is None
    assert [
        Start("msg_a", "small-1"),
        TextDelta("The tide", 0),
        ToolCallStart("toolu_a", "tide", 1),
        ToolCallDelta("toolu_a", '{"po', 1),
        ToolCall("toolu_a", "tide", '{"po', False, 1),
        Raw({"type": "message_start", "message": {"id": "msg_b", "model": "small-2"}}),
        TextDelta("Asking.", 2),
        ToolCallStart("toolu_b", "tide", 3),
        ToolCallDelta("toolu_b", '{"port":"Vigo"}', 3),
        ToolCall("toolu_b", "tide", '{"port":"Vigo"}', True, 3),
        Usage(10, 21),
        Finish("tool-calls", "tool_use"),
    ] == got.events


def test_a_reason_before_the_seam_does_not_end_the_answer_behind_it() -> None:
    got = answer(opening(), delta(0, text="a"), start(1), ending(), opening("msg_2"), start(0), delta(0, text="b"))
    assert isinstance(got.error, StreamTruncated)
    assert "ab" == got.message.text


def test_a_call_without_arguments_before_the_seam_is_not_complete() -> None:
    got = answer(opening(), start(0, "tool_use", id="t", name="f"), stop(0), opening("msg_2"), delta(0, text="b"), ending(), END)
    assert [False] == [call.complete for call in got.message.tool_calls]


def test_text_behind_the_seam_without_a_start_is_another_block() -> None:
    got = answer(opening(), start(0), delta(0, text="a"), opening("msg_2"), delta(0, text="b"), ending(), END)
    assert [TextDelta("a", 0), TextDelta("b", 1)] == [event for event in got.events if isinstance(event, TextDelta)]


def test_a_second_start_with_another_id_before_any_block_is_marked_and_not_a_second_start() -> None:
    got = answer(opening(), opening("msg_2"), delta(0, text="b"), ending(), END)
    assert [Start, Raw, TextDelta, Finish] == [type(event) for event in got.events]


def test_an_index_that_starts_again_is_a_new_block() -> None:
    assert [TextDelta("a", 0), TextDelta("b", 1), TextDelta("c", 2), TextDelta("d", 1)] == events(
        start(0), delta(0, text="a"), start(0), delta(0, text="b"), start(2), delta(2, text="c"), delta(0, text="d")
    )
    told = calls(
        start(0, "tool_use", id="a", name="f"),
        delta(0, "input_json_delta", partial_json="{}"),
        start(0, "tool_use", id="b", name="g"),
        delta(0, "input_json_delta", partial_json='{"x":1}'),
        stop(0),
    )
    assert [("a", "{}", 0), ("b", '{"x":1}', 1)] == [(call.id, call.arguments, call.index) for call in told]


def test_a_start_that_is_repeated_is_one_start() -> None:
    assert [TextDelta("a", 0), TextDelta("b", 0)] == events(start(0, text="a"), start(0, text="a"), delta(0, text="b"))
    call = start(0, "tool_use", id="a", name="f")
    piece = delta(0, "input_json_delta", partial_json='{"x":')
    rest = delta(0, "input_json_delta", partial_json="1}")
    assert [ToolCall("a", "f", '{"x":1}', True, 0)] == calls(call, piece, call, rest, stop(0))


def test_deltas_without_a_start_are_given() -> None:
    assert [TextDelta("a", 3), ReasoningDelta("t", 1), ReasoningDelta("", 1, signature="s")] == events(
        delta(3, text="a"), delta(1, "thinking_delta", thinking="t"), delta(1, "signature_delta", signature="s")
    )


def test_a_call_without_a_start_has_no_name_and_is_not_complete() -> None:
    told = calls(delta(0, "input_json_delta", partial_json="{"), delta(0, "input_json_delta", partial_json="}"), stop(0))
    assert [ToolCall("call_msg_1_0", "", "{}", False, 0)] == told


def test_a_call_without_a_start_and_an_index_shares_its_index_with_no_other() -> None:
    lost = delta(None, "input_json_delta", partial_json="{}")
    assert [("", 0), ("f", 1)] == [
        (call.name, call.index) for call in calls(lost, opening(), start(0, "tool_use", id="a", name="f"), stop(0))
    ]


def test_missing_stops_are_made_up_for_at_the_end() -> None:
    told = calls(
        start(0, "tool_use", id="a", name="f"),
        delta(0, "input_json_delta", partial_json="{}"),
        start(1, "tool_use", id="b", name="g"),
        reason="tool_use",
    )
    assert [ToolCall("a", "f", "{}", True, 0), ToolCall("b", "g", "", True, 1)] == told


def test_missing_indexes_mean_the_block_that_began_last() -> None:
    assert [
        TextDelta("a", 0),
        ToolCallStart("t", "f", 1),
        ToolCallDelta("t", "{}", 1),
        ToolCall("t", "f", "{}", True, 1),
        TextDelta("b", 2),
    ] == events(
        start(None),
        delta(None, text="a"),
        stop(None),
        start(None, "tool_use", id="t", name="f"),
        delta(None, "input_json_delta", partial_json="{}"),
        stop(None),
        start(None),
        delta(None, text="b"),
    )


def test_indexes_that_no_block_can_have_count_as_missing() -> None:
    assert [TextDelta("a", 0), TextDelta("b", 0)] == events(start(-1), delta(-1, text="a"), delta(1 << 40, text="b"))


@pytest.mark.parametrize("depth", [500, 900])
def test_words_nested_deeper_than_can_be_followed_are_a_remote_protocol_error(depth: int) -> None:
    words = b"[" * depth + b'"x"' + b"]" * depth
    deep = b'data: {"type":"content_block_delta","delta":{"type":"text_delta","text":' + words + b"}}\n\n"
    got = read(AnthropicDecoder(), [sse_body(start(0), delta(0, text="Hi")) + deep])
    assert isinstance(got.error, RemoteProtocolError)
    assert [TextDelta("Hi", 0)] == got.events


def test_indexes_out_of_order_stay_as_they_are() -> None:
    assert [TextDelta("a", 5), TextDelta("b", 1)] == events(start(5), delta(5, text="a"), start(1), delta(1, text="b"), stop(9))


def test_the_stop_of_an_unknown_block_stops_no_other() -> None:
    piece, rest = (delta(0, "input_json_delta", partial_json=text) for text in ('{"x":', "1}"))
    assert [ToolCall("a", "f", '{"x":1}', True, 0)] == calls(start(0, "tool_use", id="a", name="f"), piece, stop(9), rest, stop(0))


def test_text_behind_its_stop_is_given_and_arguments_are_not() -> None:
    assert [TextDelta("a", 0), TextDelta("b", 0)] == events(start(0), delta(0, text="a"), stop(0), delta(0, text="b"))
    late = delta(0, "input_json_delta", partial_json="{}")
    assert 1 == len(calls(start(0, "tool_use", id="a", name="f"), late, stop(0), late, stop(0)))


def test_deltas_that_say_no_kind_are_told_by_their_fields() -> None:
    place = {"type": "char_location", "cited_text": "q"}
    assert [TextDelta("a"), ReasoningDelta("t", signature="s"), Citation(None, None, "q")] == events(
        delta(0, None, text="a"), delta(0, None, thinking="t", signature="s"), delta(0, None, citation=place)
    )


def test_blocks_before_message_start_are_given_and_the_start_comes_late() -> None:
    got = answer(delta(0, text="a"), opening(), delta(0, text="b"), ending(), END)
    assert [TextDelta("a"), START, TextDelta("b"), STOP] == got.events


def test_the_dialect_is_registered() -> None:
    dialect = get("anthropic")
    assert ("anthropic", "sse") == (dialect.name, dialect.framing)
    assert dialect.decoder is AnthropicDecoder


# ---- any frames at all ----------------------------------------------------------------------

_pieces = st.sampled_from(
    [
        opening(),
        opening("msg_2"),
        {"type": "ping"},
        *[
            start(index, kind, id="t", name="f", text="x", input={})
            for index in (0, 1, None)
            for kind in ("text", "tool_use", "odd")
        ],
        *[delta(index, text="y") for index in (0, 1, 2, None)],
        *[delta(index, "input_json_delta", partial_json="{}") for index in (0, 1, None)],
        *[stop(index) for index in (0, 1, 2, None)],
        ending(None, output_tokens=1),
        {"type": "content_block_start"},
        {"type": "content_block_delta"},
        {"type": "content_block_stop", "index": "x"},
        {"type": "message_delta"},
        {},
    ]
)


@given(st.lists(_pieces, max_size=25), st.integers(0, 1 << 30))
def test_any_order_of_frames_reads_without_a_crash_and_loses_no_text(frames: list[Frame], seed: int) -> None:
    body = sse_body(opening(), *frames, ending(), END)
    whole = read(AnthropicDecoder(), [body])
    assert whole.error is None
    deltas = sum(frame.get("type") == "content_block_delta" and "text" in str(frame) for frame in frames)
    told = Message(whole.events)
    assert deltas == told.text.count("y")
    assert told.complete
    begun = {event.index for event in whole.events if isinstance(event, ToolCallStart)}
    given_away = [event.index for event in whole.events if isinstance(event, ToolCall)]
    assert sorted(begun) == sorted(given_away)
    assert whole.events == read(AnthropicDecoder(), cut(body, random.Random(seed))).events


_keys = st.sampled_from(["type", "index", "delta", "content_block", "message", "usage", "text", "id", "error", "content"])
_words = st.sampled_from(["message_start", "content_block_start", "content_block_delta", "text_delta", "tool_use", "message_stop"])
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3) | _words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys, inner, max_size=5),
    max_leaves=10,
)


@given(st.lists(st.dictionaries(_keys, _values, max_size=4) | _values, max_size=6))
def test_any_json_gives_events_or_an_error_of_ours(values: list[object]) -> None:
    got = answer(*[value if not isinstance(value, str) else [value] for value in values])
    assert got.error is not None or got.message.complete
