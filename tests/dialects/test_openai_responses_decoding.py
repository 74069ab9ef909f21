"""What the Responses decoder makes of every event that OpenAI and servers like it send."""

from __future__ import annotations

import copy
import json
import random
import time
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from dialect_cases import FIXTURES, Reading, cut, read, sse_body
from hypothesis import given, settings
from hypothesis import strategies as st

from streamkit.dialects.openai_responses import OpenAIResponsesDecoder
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

OURS = sorted(FIXTURES.glob("responses_*.sse"))
CREATED = {"type": "response.created", "response": {"id": "r", "model": "m", "status": "in_progress"}}
COMPLETED = {"type": "response.completed", "response": {"id": "r", "model": "m", "status": "completed"}}


def answer(*frames: object) -> Reading:
    return read(OpenAIResponsesDecoder(), [sse_body(*frames)])


def events(*frames: object) -> list[Event]:
    """The events of a whole answer, between Start and Finish."""
    got = answer(CREATED, *frames, COMPLETED)
    assert got.error is None
    assert Start("r", "m") == got.events[0]
    assert isinstance(got.events[-1], Finish)
    return got.events[1:-1]


def fixture(name: str) -> bytes:
    return (FIXTURES / f"responses_{name}.sse").read_bytes()


def told(name: str) -> list[Event]:
    """The events of a fixture that ends well."""
    got = read(OpenAIResponsesDecoder(), [fixture(name)])
    assert got.error is None
    return got.events


def delta(words: object, kind: str = "output_text", **more: object) -> dict[str, object]:
    return {"type": f"response.{kind}.delta", "delta": words, **more}


def added(kind: str, place: int | None = None, **item: object) -> dict[str, object]:
    value: dict[str, object] = {"type": "response.output_item.added", "item": {"type": kind, **item}}
    return value if place is None else {**value, "output_index": place}


def done(kind: str, place: int | None = None, **item: object) -> dict[str, object]:
    return {**added(kind, place, **item), "type": "response.output_item.done"}


def ended(item: Mapping[str, object]) -> dict[str, object]:
    return {"type": "response.output_item.done", "item": item}


def said(words: str, kind: str = "output_text") -> dict[str, object]:
    return {"type": kind, "refusal" if kind == "refusal" else "text": words}


def completed(*output: object, **more: object) -> dict[str, object]:
    return {"type": "response.completed", "response": {"id": "r", "model": "m", "status": "completed", "output": output, **more}}


# ---- our fixtures ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.stem)
def test_a_fixture_reads_the_same_however_it_is_cut(path: Any) -> None:
    body = path.read_bytes()
    whole = read(OpenAIResponsesDecoder(), [body])
    rng = random.Random(path.name)
    for _ in range(100):
        again = read(OpenAIResponsesDecoder(), cut(body, rng))
        assert whole.events == again.events
        assert str(whole.error) == str(again.error)


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.stem)
def test_a_fixture_cut_before_its_last_event_is_truncated(path: Any) -> None:
    blocks = [block + b"\n\n" for block in path.read_bytes().split(b"\n\n") if block.strip()]
    whole = read(OpenAIResponsesDecoder(), [b"".join(blocks)])
    for end in range(len(blocks)):
        got = read(OpenAIResponsesDecoder(), [b"".join(blocks[:end])])
        assert isinstance(got.error, StreamTruncated)
        assert got.message.finish is None
        custom_calls = [event for event in got.events if isinstance(event, ToolCall) and event.name == "chart"]
        assert not custom_calls  # only the end tells whether it was cut
        assert got.events == whole.events[: len(got.events)]


@pytest.mark.parametrize("path", [path for path in OURS if path.stem != "responses_failed"], ids=lambda path: path.stem)
def test_a_fixture_without_deltas_tells_the_same_in_whole_pieces(path: Any) -> None:
    body = path.read_bytes()
    blocks = [block for block in body.split(b"\n\n") if block.strip()]
    whole = read(OpenAIResponsesDecoder(), [body])
    for left_out in (b".delta", b".delta|.done|annotation.added|output_item.added|part.added"):
        words = left_out.split(b"|")
        kept = [block for block in blocks if not any(word + b'"' in block[:160] for word in words)]
        got = read(OpenAIResponsesDecoder(), [b"\n\n".join(kept) + b"\n\n"])
        assert got.error is None
        assert whole.message.text == got.message.text
        assert whole.message.reasoning == got.message.reasoning
        assert [(c.id, c.arguments, c.complete) for c in whole.message.tool_calls] == [
            (c.id, c.arguments, c.complete) for c in got.message.tool_calls
        ]
        assert whole.message.tool_results == got.message.tool_results
        assert [(c.url, c.title) for c in whole.message.citations] == [(c.url, c.title) for c in got.message.citations]
        assert (whole.message.finish, whole.message.usage) == (got.message.finish, got.message.usage)


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.stem)
def test_the_blocks_of_a_fixture_are_counted_without_gaps(path: Any) -> None:
    got = read(OpenAIResponsesDecoder(), [path.read_bytes()]).events
    seen: list[int] = []
    for event in got:
        index = getattr(event, "index", None)
        if index is not None and index not in seen:
            seen.append(index)
    assert list(range(len(seen))) == seen


LEFT_OUT = ("sequence_number", "item_id", "output_index", "content_index", "summary_index", "annotation_index", "event:", "item.id")


@pytest.mark.parametrize("renamed", [False, True], ids=["same-ids", "new-ids"])
@pytest.mark.parametrize("path", OURS, ids=lambda path: path.stem)
def test_a_fixture_says_the_same_whatever_fields_are_left_out(path: Any, renamed: bool) -> None:
    body = path.read_bytes()
    values = [json.loads(line[5:]) for line in body.splitlines() if line.startswith(b"data:")]
    whole = read(OpenAIResponsesDecoder(), [body])
    names = {"item_id", "item.id"} if renamed else set()
    for chosen in range(1 << len(LEFT_OUT)):
        left_out = {name for bit, name in enumerate(LEFT_OUT) if chosen >> bit & 1}
        if renamed and ("output_index" in left_out or left_out & names):
            continue  # nothing would tell
        out = b""
        for number, value in enumerate(values):
            bare = {name: item for name, item in value.items() if name not in left_out}
            if "item.id" in left_out and "call_id" in bare.get("item", {}):
                bare["item"] = {name: item for name, item in bare["item"].items() if name != "id"}
            if renamed and "item_id" in bare:
                bare["item_id"] += f"-{number}"
            if renamed and "call_id" in bare.get("item", {}):
                bare["item"] = {**bare["item"], "id": f"new-{number}"}
            out += sse.encode_json(bare, event=None if "event:" in left_out else bare["type"])
        got = read(OpenAIResponsesDecoder(), [out])
        assert whole.events == got.events, left_out
        assert str(whole.error) == str(got.error)


def test_a_web_search_tells_its_call_its_result_and_its_sources() -> None:
    got = told("web_search")
    assert [
        Start("resp_ws", "harbour-2"),
        ToolCallStart("ws_1", "web_search", 0, server=True),
        ToolCallDelta("ws_1", '{"type":"search","query":"high tide Brest"}', 0),
        ToolCall("ws_1", "web_search", '{"type":"search","query":"high tide Brest"}', True, 0, server=True),
        ToolResult("ws_1", [{"type": "url", "url": "https://tides.test/brest"}]),
        TextDelta("High tide: ", 1),
        TextDelta("06:12.", 1),
        Citation("https://tides.test/brest", "Tides at Brest", None, 1),
        Citation(None, "harbour.pdf", None, 1),
        Usage(310, 14, 256, None, 0),
        Finish("stop", "completed"),
    ] == got


def test_parts_of_a_summary_are_one_block_told_apart_by_an_empty_line() -> None:
    reasoning = [event for event in told("reasoning_and_tools") if isinstance(event, ReasoningDelta)]
    assert "Find the port.\n\nThen ask." == "".join(event.text for event in reasoning)
    assert {0} == {event.index for event in reasoning}


def test_encrypted_reasoning_is_given_when_its_item_is_done() -> None:
    sealed = [event for event in told("reasoning_and_tools") if isinstance(event, ReasoningDelta) and event.redacted]
    assert [ReasoningDelta("", 0, signature="rs_1", redacted="gAAAA-sealed")] == sealed


def test_a_custom_tools_input_is_any_text() -> None:
    got = told("reasoning_and_tools")
    assert ToolCall("call_2", "chart", "PLOT brest\nEND", True, 2) in got
    assert ["PLOT brest", "\nEND"] == [event.delta for event in got if isinstance(event, ToolCallDelta) and event.id == "call_2"]


def test_a_function_call_is_given_as_soon_as_its_arguments_are_done() -> None:
    body = fixture("reasoning_and_tools")
    end = body.index(b"event: response.output_item.done", body.index(b"function_call_arguments.done"))
    got = read(OpenAIResponsesDecoder(), [body[:end]])
    assert ToolCall("call_1", "tide", '{"port":"Brest"}', True, 1) == got.events[-1]


def test_a_server_without_names_numbers_and_places_is_understood() -> None:
    message = read(OpenAIResponsesDecoder(), [fixture("bare_server")]).message
    assert ("Hm…", "Ebb and flow.") == (message.reasoning, message.text)
    assert [ToolCall("fc_b", "tide", "{}", True, 2)] == message.tool_calls
    assert Usage(9, 7) == message.usage


def test_a_refusal_is_text_and_the_finish_says_so() -> None:
    got = told("refusal")
    assert "I can't help with that." == "".join(event.text for event in got if isinstance(event, TextDelta))
    assert Finish("content-filter", "completed") == got[-1]


def test_an_incomplete_answer_ends_with_its_reason_and_its_cut_call() -> None:
    got = told("incomplete")
    assert ToolCall("call_c", "tide", '{"port":"Br', False, 0) in got
    assert [Usage(20, 16, None, None, 10), Finish("length", "max_output_tokens")] == got[-2:]


def test_a_failed_answer_keeps_its_text_and_its_usage_and_raises() -> None:
    got = read(OpenAIResponsesDecoder(), [fixture("failed")])
    assert isinstance(got.error, OverloadedError)
    assert "The model fell over." in str(got.error)
    assert ("High ti", Usage(5, 2, final=False), None) == (got.message.text, got.message.usage, got.message.finish)


def test_what_the_provider_runs_itself_comes_with_its_results() -> None:
    got = told("server_tools")
    calls = [event for event in got if isinstance(event, ToolCall)]
    assert ["mcp_list_tools", "find", "code_interpreter", "file_search", "image_generation", "find"] == [
        call.name for call in calls
    ]
    assert all(call.server and call.complete for call in calls)
    assert {"code": 'print("6:12")\n'} == calls[2].input()
    results = {event.id: event for event in got if isinstance(event, ToolResult)}
    assert "Le Conquet" == results["mcp_1"].output
    assert [{"type": "logs", "logs": "6:12\n"}] == results["ci_1"].output
    assert results["mcp_2"].is_error
    assert File("image/webp", b"RIFF", index=7) in got
    previews = [event for event in got if isinstance(event, DataDelta)]
    assert [b"RIF", b"RIFF"] == [event.data for event in previews]
    assert previews[0].index != previews[1].index  # whole pictures: they must not be joined
    assert Finish("stop", "completed") == got[-1]


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.stem)
def test_the_deltas_of_a_call_add_up_to_its_arguments(path: Any) -> None:
    got = read(OpenAIResponsesDecoder(), [path.read_bytes()]).events
    for call in [event for event in got if isinstance(event, ToolCall)]:
        assert call.arguments == "".join(event.delta for event in got if isinstance(event, ToolCallDelta) and event.id == call.id)


# ---- telling once -----------------------------------------------------------------------------------


def test_text_that_only_its_end_tells_is_told_once() -> None:
    part = {"type": "response.content_part.done", "item_id": "a", "part": said("Hi")}
    whole = {"type": "response.output_text.done", "item_id": "a", "text": "Hi"}
    item = {"type": "message", "id": "a", "content": [said("Hi")]}
    for row in ([whole], [part], [ended(item)], [whole, part, ended(item)]):
        assert [TextDelta("Hi")] == answer(CREATED, added("message", id="a"), *row, completed(item)).events[1:-1]
    assert [TextDelta("Hi")] == answer(CREATED, completed(item)).events[1:-1]


def test_what_only_the_last_event_holds_is_given() -> None:
    got = answer(
        CREATED,
        completed(
            {"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "Hm"}], "encrypted_content": "x"},
            {"type": "message", "id": "a", "content": [{**said("Hi"), "annotations": [{"type": "url_citation", "url": "u"}]}]},
            {"type": "function_call", "id": "f", "call_id": "c", "name": "tide", "arguments": "{}"},
        ),
    )
    assert [
        ReasoningDelta("Hm", 0),
        ReasoningDelta("", 0, signature="rs", redacted="x"),
        TextDelta("Hi", 1),
        Citation("u", None, None, 1),
        ToolCallStart("c", "tide", 2),
        ToolCallDelta("c", "{}", 2),
        ToolCall("c", "tide", "{}", True, 2),
        Finish("tool-calls", "completed"),
    ] == got.events[1:]


def test_items_that_get_a_new_id_with_every_event_are_known_by_their_place() -> None:
    got = events(
        added("message", 0, id="a1"),
        delta("He", item_id="a2", output_index=0, content_index=0),
        delta("y", item_id="a3", output_index=0, content_index=0),
        {"type": "response.output_text.done", "item_id": "a4", "output_index": 0, "content_index": 0, "text": "Hey"},
        done("message", 0, id="a5", content=[said("Hey")]),
        added("function_call", 1, id="f1", call_id="c", name="tide"),
        delta("{}", "function_call_arguments", item_id="f2", output_index=1),
        done("function_call", 1, id="f3", call_id="c", name="tide", arguments="{}"),
    )
    assert [TextDelta("He"), TextDelta("y")] == got[:2]
    assert [ToolCall("c", "tide", "{}", True, 1)] == [event for event in got if isinstance(event, ToolCall)]


def test_a_server_that_gives_every_item_the_same_place_is_understood_by_ids() -> None:
    got = answer(
        CREATED,
        added("message", 0, id="a"),
        delta("one", item_id="a", output_index=0),
        done("message", 0, id="a", content=[said("one")]),
        added("message", 0, id="b"),
        delta("two", item_id="b", output_index=0),
        done("message", 0, id="b", content=[said("two")]),
        done("message", 0, id="c", content=[said("three")]),
        completed(*({"type": "message", "id": name, "content": [said("?")]} for name in "abc")),
    )
    assert [TextDelta("one", 0), TextDelta("two", 1), TextDelta("three", 2)] == got.events[1:-1]


def test_a_server_that_gives_every_item_the_same_id_is_understood() -> None:
    got = events(
        added("function_call", id="f", call_id="c1", name="one"),
        done("function_call", id="f", call_id="c1", name="one", arguments="{}"),
        added("function_call", id="f", call_id="c2", name="two"),
        done("function_call", id="f", call_id="c2", name="two", arguments="{}"),
    )
    assert ["c1", "c2"] == [event.id for event in got if isinstance(event, ToolCall)]


def test_deltas_that_name_no_item_belong_to_the_one_that_is_done_after_them() -> None:
    text_done = {"type": "response.output_text.done", "item_id": "a", "output_index": 0, "content_index": 0, "text": "Hi"}
    assert [TextDelta("Hi")] == events(delta("Hi"), text_done, done("message", 0, id="a", content=[said("Hi")]))
    got = events(
        delta("{}", "function_call_arguments"),
        done("function_call", 0, id="f", call_id="c", name="now", arguments="{}"),
    )
    assert [ToolCallStart("c", "now"), ToolCallDelta("c", "{}"), ToolCall("c", "now", "{}")] == got


def test_parts_that_are_counted_otherwise_are_not_told_twice() -> None:
    item = {"type": "message", "id": "a", "content": [said("Hi")]}
    assert [TextDelta("Hi")] == events(added("message", 0, id="a"), delta("Hi", item_id="a", content_index=1), ended(item))


def test_each_part_of_a_message_is_a_block() -> None:
    part = {"type": "response.content_part.added", "item_id": "a"}
    assert [TextDelta("one", 0), TextDelta("two", 1), TextDelta("no", 2)] == events(
        added("message", id="a"),
        {**part, "part": said("")},
        delta("one", item_id="a"),
        {**part, "part": said("")},
        delta("two", item_id="a"),
        delta("no", "refusal", item_id="a"),
        done("message", id="a", content=[said("one"), said("two"), said("no", "refusal")]),
    )


def test_calls_side_by_side_are_told_apart() -> None:
    got = events(
        added("function_call", 0, id="f1", call_id="c1", name="one"),
        added("function_call", 1, id="f2", call_id="c2", name="two"),
        delta('{"a":', "function_call_arguments", item_id="f1", output_index=0),
        delta("{}", "function_call_arguments", item_id="f2", output_index=1),
        delta("1}", "function_call_arguments", item_id="f1", output_index=0),
    )
    assert [ToolCall("c1", "one", '{"a":1}', True, 0), ToolCall("c2", "two", "{}", True, 1)] == got[-2:]


def test_a_call_whose_name_comes_last_is_given_then() -> None:
    got = events(
        delta('{"a":', "function_call_arguments", item_id="f"),
        delta("1}", "function_call_arguments", item_id="f"),
        {"type": "response.function_call_arguments.done", "item_id": "f", "arguments": '{"a":1}'},
        done("function_call", id="f", call_id="c", name="add", arguments='{"a":1}'),
    )
    assert [ToolCallStart("c", "add"), ToolCallDelta("c", '{"a":1}'), ToolCall("c", "add", '{"a":1}')] == got


def test_a_call_without_any_id_gets_one() -> None:
    got = events(added("function_call", name="now"), done("function_call", name="now", arguments=""))
    assert [ToolCallStart("call_r_0", "now"), ToolCall("call_r_0", "now")] == got


def test_calls_that_the_caller_must_answer_are_the_callers() -> None:
    got = answer(
        CREATED,
        done("computer_call", id="1", call_id="c1", action={"type": "click", "x": 1, "y": 2}, pending_safety_checks=[]),
        done("local_shell_call", id="2", call_id="c2", action={"type": "exec", "command": ["ls"]}),
        done("mcp_approval_request", id="3", name="find", server_label="ports", arguments="{}"),
        done("apply_patch_call", id="4", call_id="c4", operation={"type": "delete_file", "path": "a"}),
        COMPLETED,
    )
    assert [
        ToolCall("c1", "computer", '{"type":"click","x":1,"y":2}', True, 0),
        ToolCall("c2", "local_shell", '{"type":"exec","command":["ls"]}', True, 1),
        ToolCall("3", "mcp_approval_request", '{"server_label":"ports","name":"find","arguments":"{}"}', True, 2),
        ToolCall("c4", "apply_patch", '{"type":"delete_file","path":"a"}', True, 3),
    ] == got.message.tool_calls
    assert Finish("tool-calls", "completed") == got.events[-1]


def test_a_call_of_an_unknown_kind_is_nothing_to_run() -> None:
    got = events(done("moon_phase_call", id="x", query="now", status="completed", output="full"))
    assert ToolCall("x", "moon_phase", '{"query":"now"}', server=True) in got
    assert ToolResult("x", "full") == got[-1]


def test_a_search_for_tools_runs_where_it_says() -> None:
    here = done("tool_search_call", id="s", call_id="c", execution="client", arguments={"goal": "tides"})
    there = done("tool_search_call", id="s", call_id="c", execution="server", arguments={"goal": "tides"})
    assert [ToolCall("c", "tool_search", '{"goal":"tides"}')] == answer(CREATED, here, COMPLETED).message.tool_calls
    assert [ToolCall("c", "tool_search", '{"goal":"tides"}', server=True)] == answer(CREATED, there, COMPLETED).message.tool_calls


def test_code_whose_item_does_not_repeat_it_is_the_code_that_was_told() -> None:
    got = events(
        added("code_interpreter_call", id="ci"),
        delta("1+", "code_interpreter_call_code", item_id="ci"),
        delta("1", "code_interpreter_call_code", item_id="ci"),
        done("code_interpreter_call", id="ci", outputs=[]),
        delta("late", "code_interpreter_call_code", item_id="ci"),
    )
    assert ToolCall("ci", "code_interpreter", '{"code":"1+1"}', server=True) == got[-2]
    assert ToolResult("ci", []) == got[-1]


def test_a_call_keeps_its_own_id_where_its_beginning_was_missed() -> None:
    row = [
        delta("1}", "function_call_arguments", item_id="f", sequence_number=9),
        {"type": "response.function_call_arguments.done", "item_id": "f", "name": "add", "arguments": '{"a":1}'},
    ]
    item = {"type": "function_call", "id": "f", "call_id": "c", "name": "add", "arguments": '{"a":1}'}
    for last in ([ended(item), COMPLETED], [completed(item)]):
        assert [ToolCall("c", "add", '{"a":1}')] == answer(*row, *last).message.tool_calls
    assert [ToolCall("call_r_0", "add", '{"a":1}')] == answer(*row, COMPLETED).message.tool_calls


def test_items_that_end_out_of_order_are_found_again() -> None:
    row = [added("message", id="a"), added("message", id="b"), delta("two", item_id="b"), done("message", id="b")]
    assert [TextDelta("two", 0), TextDelta("one", 1)] == events(*row, delta("one"))


def test_messages_without_any_id_are_told_apart_by_their_ends() -> None:
    row = [
        added("message"),
        delta("one"),
        done("message", content=[said("one")]),
        delta("two"),
        done("message", content=[said("two")]),
    ]
    output = [{"type": "message", "content": [said("one")]}, {"type": "message", "content": [said("two")]}]
    assert [TextDelta("one", 0), TextDelta("two", 1)] == answer(CREATED, *row, completed(*output)).events[1:-1]


def test_parts_and_sources_of_unknown_kinds_say_nothing() -> None:
    part = {**said("Hi"), "annotations": [{"type": "star"}, None]}
    assert [TextDelta("Hi")] == events(done("message", id="a", content=[{"type": "hologram", "text": "!"}, part]))
    assert [TextDelta("Hi")] == events(done("message", id="a", content="Hi"))


def test_results_that_are_items_come_as_results() -> None:
    got = events(
        done("shell_call", id="s", call_id="c", action={"commands": ["ls"]}, environment={"type": "container_reference"}),
        done("shell_call_output", id="o", call_id="c", output=[{"stdout": "a"}]),
    )
    assert ToolCall("c", "shell", '{"commands":["ls"]}', server=True) == got[-2]
    assert ToolResult("c", [{"stdout": "a"}]) == got[-1]


def test_an_item_that_must_be_sent_back_and_has_no_event_is_raw() -> None:
    item = {"type": "compaction", "id": "cmp_1", "encrypted_content": "x"}
    assert [Raw(item)] == events(added("compaction", id="cmp_1"), ended(item))


def test_sound_and_its_transcript() -> None:
    got = events(delta("AAE=", "audio"), delta("AgM=", "audio"), delta("Ahoy", "audio.transcript"))
    assert [DataDelta(b"\0\1", "audio/pcm"), DataDelta(b"\2\3", "audio/pcm"), TextDelta("Ahoy", 1)] == got


def test_a_source_is_told_once_wherever_it_stands() -> None:
    source = {"type": "url_citation", "url": "https://a.test", "title": "A"}
    part = {**said("Hi"), "annotations": [source, source, {**source, "url": "https://b.test"}]}
    got = events(
        delta("Hi", item_id="a"),
        {"type": "response.output_text.annotation.added", "item_id": "a", "annotation": source},
        {"type": "response.content_part.done", "item_id": "a", "part": part},
        done("message", id="a", content=[part]),
    )
    assert [Citation("https://a.test", "A"), Citation("https://b.test", "A")] == got[1:]


# ---- beginnings and ends ----------------------------------------------------------------------------


def test_an_answer_begins_with_whatever_names_it_first() -> None:
    queued = {"type": "response.queued", "response": {"id": "r", "status": "queued"}}
    assert [Start("r"), TextDelta("a")] == answer({"type": "response.created"}, queued, CREATED, delta("a")).events
    assert [Start(None, None, "harbour"), TextDelta("a")] == read(
        OpenAIResponsesDecoder(provider="harbour"), [sse_body(delta("a"))]
    ).events


def test_a_resumed_stream_tells_only_what_is_new() -> None:
    item = {"type": "message", "id": "a", "content": [said("One two")]}
    got = answer(
        delta(" two", item_id="a", output_index=1, sequence_number=41),
        {"type": "response.output_text.done", "item_id": "a", "output_index": 1, "text": "One two", "sequence_number": 42},
        {**ended(item), "output_index": 1, "sequence_number": 43},
        added("message", 2, id="b"),
        {"type": "response.output_text.done", "item_id": "b", "output_index": 2, "text": "Three"},
        completed({"type": "reasoning", "id": "rs", "summary": [said("Hm")]}, item, {"type": "message", "id": "b"}),
    )
    assert [Start(), TextDelta(" two"), TextDelta("Three", 1), Finish("stop", "completed")] == got.events


def test_a_stream_resumed_at_its_end_tells_no_text_twice() -> None:
    item = {"type": "message", "id": "a", "content": [said("Hi")]}
    call = {"type": "function_call", "id": "f", "call_id": "c", "name": "tide", "arguments": "{}"}
    got = answer({**completed(item, call), "sequence_number": 50})
    assert [Start("r", "m"), Finish("tool-calls", "completed")] == got.events


def test_gaps_in_the_numbers_do_no_harm() -> None:
    got = answer({**CREATED, "sequence_number": 0}, delta("a", sequence_number=7), delta("b", sequence_number=3), COMPLETED)
    assert "ab" == got.message.text
    assert got.message.complete


@pytest.mark.parametrize(
    ("last", "finish"),
    [
        (COMPLETED, Finish("stop", "completed")),
        ({"type": "response.done", "response": {"status": "completed"}}, Finish("stop", "completed")),
        ({"type": "response.completed"}, Finish("stop", "completed")),
        (
            {"type": "response.incomplete", "response": {"incomplete_details": {"reason": "content_filter"}}},
            Finish("content-filter", "content_filter"),
        ),
        (
            {"type": "response.done", "response": {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}},
            Finish("length", "max_output_tokens"),
        ),
        ({"type": "response.incomplete", "response": {"status": "incomplete"}}, Finish("other", "incomplete")),
        ({"type": "response.cancelled", "response": {"status": "cancelled"}}, Finish("cancelled", "cancelled")),
        ({"type": "response.completed", "response": {"status": "canceled"}}, Finish("cancelled", "cancelled")),
    ],
    ids=["completed", "done", "bare", "filtered", "done-incomplete", "unsaid", "cancelled", "status-cancelled"],
)
def test_every_last_event_ends_the_answer_with_its_reason(last: object, finish: Finish) -> None:
    for more in ([], ["[DONE]"], [delta("late")]):
        got = answer(CREATED, delta("Hi"), last, *more)
        assert (None, "Hi", finish) == (got.error, got.message.text, got.events[-1])


def test_an_end_marker_alone_is_an_end_for_items_that_are_done() -> None:
    item = done("message", id="a", content=[said("Hi")])
    assert Finish("other") == answer(CREATED, added("message", id="a"), item, "[DONE]").message.finish
    assert Finish("other") == answer(CREATED, delta("Hi"), "[DONE]").message.finish
    cut_off = answer(CREATED, added("message", id="a"), delta("Hi", item_id="a"), "[DONE]")
    assert ("Hi", None) == (cut_off.message.text, cut_off.message.finish)
    assert isinstance(cut_off.error, StreamTruncated)
    assert isinstance(answer(CREATED, "[DONE]").error, StreamTruncated)


def test_a_body_that_ends_without_a_last_event_is_truncated() -> None:
    for frames in ([], [CREATED], [CREATED, delta("Hi")], [CREATED, delta("Hi"), done("message", content=[said("Hi")])]):
        got = answer(*frames)
        assert isinstance(got.error, StreamTruncated)
        assert got.message.finish is None


def test_calls_that_no_event_ended_are_cut_where_the_answer_is() -> None:
    row = [CREATED, added("function_call", id="f", call_id="c", name="tide"), delta("{}", "function_call_arguments", item_id="f")]
    assert [ToolCall("c", "tide", "{}")] == answer(*row, COMPLETED).message.tool_calls
    cut_off = answer(*row, {"type": "response.incomplete", "response": {"incomplete_details": {"reason": "max_output_tokens"}}})
    assert [ToolCall("c", "tide", "{}", complete=False)] == cut_off.message.tool_calls
    assert [ToolCall("c", "tide", "{}", complete=False)] == answer(*row).message.tool_calls


def test_only_the_last_custom_call_of_a_cut_answer_is_cut() -> None:
    last = {"type": "response.incomplete", "response": {"incomplete_details": {"reason": "max_output_tokens"}}}
    got = answer(
        CREATED,
        added("custom_tool_call", 0, id="1", call_id="c1", name="chart"),
        done("custom_tool_call", 0, id="1", call_id="c1", name="chart", input="PLOT"),
        added("custom_tool_call", 1, id="2", call_id="c2", name="chart"),
        delta("PL", "custom_tool_call_input", output_index=1),
        done("custom_tool_call", 1, id="2", call_id="c2", name="chart", input="PL"),
        last,
    )
    assert [("PLOT", True), ("PL", False)] == [(call.arguments, call.complete) for call in got.message.tool_calls]


def test_the_decoder_holds_a_running_count_for_whoever_stops_early() -> None:
    decoder = OpenAIResponsesDecoder()
    running = {"type": "response.in_progress", "response": {"id": "r", "usage": {"input_tokens": 5}}}
    decoder.decode_many(sse.Decoder().feed(sse_body(CREATED, running)))
    assert [Usage(5, final=False)] == decoder.held()
    assert [] == OpenAIResponsesDecoder().held()


# ---- errors -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "kind", "code"),
    [
        (
            {"type": "error", "code": "rate_limit_exceeded", "message": "slow down", "param": None},
            RateLimitError,
            "rate_limit_exceeded",
        ),
        ({"type": "error", "error": {"code": "invalid_api_key", "message": "no"}}, AuthError, "invalid_api_key"),
        ({"type": "error", "message": "no words"}, SourceError, None),
        ({"error": {"message": "busy", "code": 503}}, OverloadedError, "503"),
        (
            {"type": "response.failed", "response": {"error": {"code": "rate_limit_exceeded", "message": "slow"}}},
            RateLimitError,
            "rate_limit_exceeded",
        ),
        (
            {"type": "response.failed", "response": {"error": {"code": "content_policy_violation", "message": "no"}}},
            ContentBlockedError,
            "content_policy_violation",
        ),
        ({"type": "response.failed"}, SourceError, None),
        ({"type": "response.completed", "response": {"status": "failed"}}, SourceError, None),
        ({"type": "response.error", "error": {"code": "server_error", "message": "x"}}, OverloadedError, "server_error"),
    ],
    ids=["flat", "nested", "wordless", "bare", "failed", "blocked", "failed-silently", "status-failed", "own-name"],
)
def test_an_error_after_200_is_of_its_kind(frame: object, kind: type[SourceError], code: str | None) -> None:
    got = answer(CREATED, delta("Hi"), frame)
    assert "Hi" == got.message.text
    assert got.message.finish is None
    assert kind is type(got.error)
    assert isinstance(got.error, SourceError)
    assert code == got.error.code


def test_an_error_event_and_the_failure_after_it_are_one_error() -> None:
    failed = {"type": "response.failed", "response": {"error": {"code": "server_error", "message": "second"}}}
    body = sse_body(CREATED, {"type": "error", "error": {"code": "insufficient_quota", "message": "first"}}, failed)
    decoder = OpenAIResponsesDecoder()
    assert [Start("r", "m")] == decoder.decode_many(sse.Decoder().feed(body))
    assert isinstance(decoder.error, RateLimitError)
    assert "first" in str(decoder.error)
    assert not decoder.error.retryable
    assert [] == decoder.decode_many(sse.Decoder().feed(sse_body(failed)))
    with pytest.raises(RateLimitError, match="first"):
        decoder.finish()


def test_an_error_event_of_plain_text_is_an_error() -> None:
    for said_so in (b"upstream is gone", b'"upstream is gone"'):
        got = read(OpenAIResponsesDecoder(), [b"event: error\ndata: " + said_so + b"\n\n"])
        assert isinstance(got.error, SourceError)
        assert "upstream is gone" in str(got.error)


@pytest.mark.parametrize(
    "data",
    [
        "not json",
        "[1]",
        '{"type":"response.output_text.delta","delta":',
        '{"type":"response.output_text.delta","delta":"a","more":' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"type":"response.completed","response":' + '{"a":' * 100_000 + "1" + "}" * 100_000 + "}",
        '{"type":"response.created","response":{"usage":{"input_tokens":' + "9" * 5_000 + "}}}",
    ],
    ids=["text", "list", "half", "deep-delta", "deep", "huge-number"],
)
def test_what_cannot_be_read_is_a_remote_protocol_error(data: str) -> None:
    got = answer(CREATED, delta("Hi"), data)
    assert isinstance(got.error, RemoteProtocolError)
    assert "Hi" == got.message.text


def test_nesting_of_any_depth_is_read_or_refused() -> None:
    for depth in (1, 50, 200, 400, 600, 800, 900, 950, 1_000, 3_000):
        value = "[" * depth + "]" * depth
        for data in (
            '{"type":"response.output_text.delta","delta":' + value + "}",
            '{"type":"response.output_item.done","item":{"type":"function_call","call_id":"c","name":"f","arguments":'
            + value
            + "}}",
            '{"type":"response.output_item.done","item":{"type":"moon_call","id":"c","phase":' + value + "}}",
            '{"type":"response.output_item.done","item":{"type":"moon_call","id":"c","phase":' + "9" * depth + "}}",
        ):
            got = answer(CREATED, data, COMPLETED)
            assert got.error is None or isinstance(got.error, RemoteProtocolError)
            assert (got.error is None) is got.message.complete


def test_a_picture_that_is_not_base64_is_given_as_it_came_and_costs_no_answer() -> None:
    preview = {"type": "response.image_generation_call.partial_image", "item_id": "i", "partial_image_b64": "AAE...="}
    got = answer(
        CREATED,
        preview,
        done("image_generation_call", id="i", result="AAE...=", output_format="webp"),
        delta("Here."),
        COMPLETED,
    )
    assert got.error is None
    assert [File("image/webp", url="data:image/webp;base64,AAE...=")] == [
        msgspec.structs.replace(event, index=0) for event in got.events if isinstance(event, File)
    ]
    assert not any(isinstance(event, DataDelta) for event in got.events)
    assert "Here." == got.message.text


def test_a_picture_that_is_an_address_is_given_as_one() -> None:
    got = answer(CREATED, done("image_generation_call", id="i", result="https://pictures.example/1.png"), COMPLETED)
    assert ["https://pictures.example/1.png"] == [event.url for event in got.events if isinstance(event, File)]


def test_sound_that_is_not_base64_is_a_remote_protocol_error() -> None:
    assert isinstance(answer(CREATED, {"type": "response.audio.delta", "delta": "%%%"}).error, RemoteProtocolError)


# ---- odd values -------------------------------------------------------------------------------------


def test_odd_types_are_taken_for_what_they_mean() -> None:
    got = events(
        added("message", id=7),
        delta([{"type": "text", "text": "a"}], item_id=7, output_index=None, content_index=None),
        delta("b", item_id=7, content_index="0"),
        delta({"text": "c"}, item_id=7, content_index=0.0),
        added("function_call", id="f", call_id=5, name="count"),
        done("function_call", id="f", call_id=5, name="count", arguments={"to": 3}),
    )
    assert [TextDelta("a"), TextDelta("b"), TextDelta("c")] == got[:3]
    assert ToolCall("5", "count", '{"to":3}', True, 1) == got[-1]
    usage = answer(
        CREATED, completed(usage={"input_tokens": 4.0, "output_tokens": "6", "output_tokens_details": None})
    ).message.usage
    assert Usage(4, 6) == usage


def test_half_a_character_is_replaced() -> None:
    body = b'data: {"type":"response.output_text.delta","delta":"a\\ud83d"}\n\n' + sse_body(COMPLETED)
    assert "a\ufffd" == read(OpenAIResponsesDecoder(), [body]).message.text


def test_the_type_may_stand_on_the_wire_alone() -> None:
    body = b'event: response.output_text.delta\ndata: {"delta":"Hi"}\n\nevent: response.completed\ndata: {}\n\n'
    assert [Start(), TextDelta("Hi"), Finish("stop", "completed")] == read(OpenAIResponsesDecoder(), [body]).events


def test_unknown_events_and_signs_of_life_say_nothing() -> None:
    assert [TextDelta("Hi")] == events(
        {"type": "keepalive", "sequence_number": 3},
        {"type": "response.dream.delta", "delta": "zzz"},
        {"type": "response.output_item.added", "item": None},
        {"type": "response.output_item.done"},
        {"type": "response.rate_limits.updated", "error": None},
        {},
        " ",
        delta("Hi"),
        delta(""),
        delta(None),
    )


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "a", "message", "reasoning", "function_call", "0"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "id", "text", "name", "arguments"]), inner, max_size=4)
    ),
    max_leaves=8,
)
BLOCKS = [json.loads(line[5:]) for path in OURS for line in path.read_bytes().splitlines() if line.startswith(b"data:")]


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_no_value_in_any_place_makes_it_crash(data: st.DataObject) -> None:
    frames = [copy.deepcopy(data.draw(st.sampled_from(BLOCKS))) for _ in range(data.draw(st.integers(1, 6)))]
    for frame in frames:
        spot: Any = frame
        for _ in range(data.draw(st.integers(0, 3))):
            inner = [
                value for value in (spot.values() if isinstance(spot, dict) else spot) if isinstance(value, dict | list) and value
            ]
            if not inner:
                break
            spot = data.draw(st.sampled_from(inner))
        key = data.draw(st.sampled_from(sorted(spot) if isinstance(spot, dict) else list(range(len(spot)))))
        spot[key] = data.draw(JSON)
    decoder = OpenAIResponsesDecoder()
    wire = sse.Decoder(max_event_bytes=1 << 20)
    body = b"".join(b"data: " + json.dumps(frame).encode() + b"\n\n" for frame in frames)
    got = decoder.decode_many(wire.feed(body))
    finishes = [event for event in got if isinstance(event, Finish)]
    assert decoder.done == bool(finishes)
    assert not (decoder.done and decoder.error)
    indexes = {event.index for event in got if hasattr(event, "index")}
    assert set(range(len(indexes))) == indexes


def test_many_items_without_ids_cost_no_more_than_their_number() -> None:
    def seconds(count: int) -> float:
        row: list[object] = []
        for _ in range(count):
            row += [added("reasoning"), delta("a"), added("message")]
        output = [{"type": "message"}] * count + [{"type": "reasoning"}] * count
        frames = sse.Decoder(max_event_bytes=1 << 26).feed(sse_body(CREATED, *row, completed(*output)))
        best = 1e9
        for _ in range(3):
            decoder = OpenAIResponsesDecoder()
            begin = time.process_time()
            decoder.decode_many(frames)
            best = min(best, time.process_time() - begin)
            assert decoder.done
        return best

    assert seconds(4_000) <= 8 * seconds(1_000)
