"""AG-UI, written: what the client demands is held whatever the events' order, by a model of `@ag-ui/client` 1.0's checks."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from dialect_cases import written
from hypothesis import given, settings
from hypothesis import strategies as st

from streamkit.dialects import registry
from streamkit.dialects.ag_ui import AGUIEncoder, for_run, state_delta, state_snapshot, step_finished, step_started
from streamkit.dialects.ag_ui.encoder import MAX_FRAME_BYTES
from streamkit.dialects.ag_ui.signals import is_patch
from streamkit.dialects.outcomes import CANCELLED, DONE, Outcome, outcome_of
from streamkit.dialects.protocol import Encoder
from streamkit.errors import ConfigError, LocalProtocolError, OverloadedError, StreamTruncated
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


def said(events: Iterable[Event], outcome: Outcome = DONE, encoder: Encoder | None = None) -> list[dict[str, Any]]:
    frames = written(encoder or AGUIEncoder(id="run"), events, outcome)
    assert all(frame.event is None and 1 == len(frame.data.decode().splitlines()) for frame in frames)
    return [json.loads(frame.data) for frame in frames]


def types(events: Iterable[Event], outcome: Outcome = DONE) -> list[str]:
    return [event["type"] for event in said(events, outcome)]


class Client:
    """What `HttpAgent` checks of each event, and what it makes of them."""

    def __init__(self, events: Iterable[dict[str, Any]]) -> None:
        self.text = self.reasoning = ""
        self.calls: dict[str, list[str]] = {}
        self.ended = ""
        self.open: dict[str, set[str]] = {kind: set() for kind in ("text", "thought", "span", "call", "step")}
        self.seen: set[str] = set()
        for number, event in enumerate(events):
            assert not self.ended
            assert (0 == number) == ("RUN_STARTED" == event["type"])
            self.no_nulls(event)
            getattr(self, event["type"].lower())(event)
        assert self.ended

    def no_nulls(self, event: dict[str, Any]) -> None:
        # What an application says may be null; no field of the protocol.
        own = {"value", "snapshot", "delta"} if event["type"] in ("CUSTOM", "STATE_SNAPSHOT", "STATE_DELTA") else set()
        assert None not in [value for name, value in event.items() if name not in own]

    def begin(self, kind: str, id: str) -> None:
        assert id
        assert id not in self.open[kind]
        assert f"{kind} {id}" not in self.seen
        self.open[kind].add(id)
        if kind != "step":  # a step may be done again
            self.seen.add(f"{kind} {id}")

    def end(self, kind: str, id: str) -> None:
        self.open[kind].remove(id)

    def run_started(self, event: dict[str, Any]) -> None:
        assert event["threadId"]
        assert event["runId"]

    def text_message_start(self, event: dict[str, Any]) -> None:
        assert "assistant" == event["role"]
        self.begin("text", event["messageId"])

    def text_message_content(self, event: dict[str, Any]) -> None:
        assert event["messageId"] in self.open["text"]
        assert event["delta"]
        self.text += event["delta"]

    def text_message_end(self, event: dict[str, Any]) -> None:
        self.end("text", event["messageId"])

    def reasoning_start(self, event: dict[str, Any]) -> None:
        self.begin("span", event["messageId"])

    def reasoning_message_start(self, event: dict[str, Any]) -> None:
        assert event["messageId"] in self.open["span"]
        assert "reasoning" == event["role"]
        self.begin("thought", event["messageId"])

    def reasoning_message_content(self, event: dict[str, Any]) -> None:
        assert event["messageId"] in self.open["thought"]
        assert event["delta"]
        self.reasoning += event["delta"]

    def reasoning_message_end(self, event: dict[str, Any]) -> None:
        self.end("thought", event["messageId"])

    def reasoning_end(self, event: dict[str, Any]) -> None:
        assert event["messageId"] not in self.open["thought"]
        self.end("span", event["messageId"])

    def reasoning_encrypted_value(self, event: dict[str, Any]) -> None:
        kind = {"message": "thought", "tool-call": "call"}[event["subtype"]]
        assert f"{kind} {event['entityId']}" in self.seen
        assert event["encryptedValue"]

    def tool_call_start(self, event: dict[str, Any]) -> None:
        assert not self.open["text"]
        assert event["parentMessageId"]
        self.begin("call", event["toolCallId"])
        self.calls[event["toolCallId"]] = [event["toolCallName"], ""]

    def tool_call_args(self, event: dict[str, Any]) -> None:
        assert event["toolCallId"] in self.open["call"]
        assert event["delta"]
        self.calls[event["toolCallId"]][1] += event["delta"]

    def tool_call_end(self, event: dict[str, Any]) -> None:
        self.end("call", event["toolCallId"])

    def tool_call_result(self, event: dict[str, Any]) -> None:
        assert event["toolCallId"] not in self.open["call"]
        assert "tool" == event["role"]
        assert isinstance(event["content"], str)
        assert event["messageId"] not in self.seen
        self.seen.add(event["messageId"])

    def step_started(self, event: dict[str, Any]) -> None:
        self.begin("step", event["stepName"])

    def step_finished(self, event: dict[str, Any]) -> None:
        self.end("step", event["stepName"])

    def state_snapshot(self, event: dict[str, Any]) -> None:
        assert "snapshot" in event

    def state_delta(self, event: dict[str, Any]) -> None:
        assert is_patch(event["delta"])

    def custom(self, event: dict[str, Any]) -> None:
        assert isinstance(event["name"], str)
        assert "value" in event

    def run_finished(self, event: dict[str, Any]) -> None:
        assert not any(self.open.values())
        assert event["runId"]
        self.ended = event["outcome"]["type"]

    def run_error(self, event: dict[str, Any]) -> None:
        assert event["message"]
        assert event["code"]
        self.ended = "error"


KINDS: list[Event] = [
    Start("a-1", "small-1"),
    TextDelta("Hi "),
    TextDelta("there", 1),
    TextDelta(""),
    TextDelta("another choice", 0, 1),
    ReasoningDelta("Hm. "),
    ReasoningDelta("Well.", 1),
    ReasoningDelta("", signature="s"),
    ReasoningDelta("", redacted="r"),
    ReasoningDelta(""),
    ToolCallStart("c-1", "tide"),
    ToolCallDelta("c-1", '{"a":'),
    ToolCallDelta("c-1", ""),
    ToolCall("c-1", "tide", '{"a":1}', signature="s"),
    ToolCallStart("c-2", "wind", server=True),
    ToolCallDelta("c-2", "{}"),
    ToolCall("c-2", "wind", "{}"),
    ToolCallDelta("c-3", "{"),
    ToolResult("c-1", {"high": None}),
    ToolResult("c-9", None, is_error=True),
    Custom("mood", None),
    Custom("STATE_DELTA", "no patch"),
    Custom("STEP_STARTED", 7),
    state_snapshot(None),
    state_delta([{"op": "move", "path": "/a", "from": "/b"}]),
    step_started("look"),
    step_finished("look"),
    Citation("https://a.example"),
    File("image/png", data=b"x"),
    DataDelta(b"x", "audio/wav"),
    Gap(2),
    Ping(),
    Raw({"a": 1}),
    Usage(1, 2),
    Usage(),
    Finish("length"),
    Finish("stop", choice=1),
]


@given(
    st.lists(st.sampled_from(KINDS), max_size=40),
    st.sampled_from([DONE, CANCELLED, outcome_of(OverloadedError("x"), correlation_id="r"), outcome_of(StreamTruncated("x"))]),
)
@settings(deadline=None, max_examples=400)
def test_any_order_of_events_is_a_run_that_the_client_accepts(events: list[Event], outcome: Outcome) -> None:
    client = Client(said(events, outcome))
    message = Message(events)
    assert message.text == client.text
    assert "".join(event.text for event in events if isinstance(event, ReasoningDelta)) == client.reasoning
    assert {"done": "success", "cancelled": "cancelled"}.get(outcome.ending, "error") == client.ended


@given(st.lists(st.text(min_size=1, max_size=3), min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_arguments_of_calls_come_out_whole_however_they_are_told(arguments: list[str], draw: Any) -> None:
    told: list[Event] = []
    for number, text in enumerate(arguments):
        id = f"c-{number}"
        at = draw.randrange(len(text) + 1)
        parts: list[Event] = [ToolCallStart(id, "f"), ToolCallDelta(id, text[:at]), ToolCallDelta(id, text[at:])]
        told += parts[: draw.randrange(4)]
    whole: list[Event] = [ToolCall(f"c-{number}", "f", text) for number, text in enumerate(arguments)]
    client = Client(said([*told, *whole]))
    expected = [["f", text.encode("utf-8", "replace").decode()] for text in arguments]
    assert expected == [client.calls[f"c-{number}"] for number in range(len(arguments))]


def test_the_frames_of_a_short_answer() -> None:
    assert [
        {"type": "RUN_STARTED", "threadId": "run", "runId": "run"},
        {"type": "TEXT_MESSAGE_START", "messageId": "run-1", "role": "assistant"},
        {"type": "TEXT_MESSAGE_CONTENT", "messageId": "run-1", "delta": "Hi"},
        {"type": "TEXT_MESSAGE_END", "messageId": "run-1"},
        {
            "type": "RUN_FINISHED",
            "threadId": "run",
            "runId": "run",
            "outcome": {"type": "success"},
            "usage": [{"inputTokens": 1, "model": "m"}],
        },
    ] == said([Start(None, "m"), TextDelta("Hi"), Usage(1), Finish("stop")])


def test_a_run_is_named_as_the_client_named_it() -> None:
    make = for_run("t-1", "r-1").encoder
    assert make is not None
    begun, *_, finished = said([], encoder=make(id="other"))
    assert ("t-1", "r-1") == (begun["threadId"], begun["runId"]) == (finished["threadId"], finished["runId"])


def test_without_an_id_the_run_is_named_by_the_time() -> None:
    assert "run-1700000000" == said([], encoder=AGUIEncoder(created=1_700_000_000))[0]["runId"]


@pytest.mark.parametrize(("thread", "run"), [("", "r"), ("t", ""), (None, "r"), ("t", 7)])
def test_ids_of_a_request_that_are_none_are_refused(thread: Any, run: Any) -> None:
    with pytest.raises((ConfigError, TypeError), match=r"for_run\("):
        for_run(thread, run)


def test_calls_belong_to_the_text_before_them_until_a_result_comes() -> None:
    events = said([TextDelta("a"), ToolCall("1", "f"), ToolCall("2", "f"), ToolResult("1"), ToolCall("3", "f"), ToolCall("4", "f")])
    parents = [event["parentMessageId"] for event in events if event["type"] == "TOOL_CALL_START"]
    assert ["run-1", "run-1"] == parents[:2]
    assert parents[2] == parents[3] != "run-1"


@pytest.mark.parametrize("whole", [(), (ToolCall("c", "f", '{"a":1}'),)])
def test_arguments_that_come_before_the_name_of_their_call_are_not_lost(whole: tuple[Event, ...]) -> None:
    events = (ToolCallDelta("c", '{"a"'), ToolCallStart("c", "f"), ToolCallDelta("c", ":1}"), *whole)
    run = said(events)
    assert '{"a":1}' == "".join(event["delta"] for event in run if event["type"] == "TOOL_CALL_ARGS")
    starts = [event["type"] for event in run]
    assert starts.index("TOOL_CALL_START") < starts.index("TOOL_CALL_ARGS")


def test_only_calls_that_nobody_answered_are_pending() -> None:
    events: list[Event] = [ToolCall("1", "f"), ToolCall("2", "f"), ToolCall("3", "f", server=True), ToolResult("1")]
    assert {"type": "success", "pendingToolCallIds": ["2"]} == said(events)[-1]["outcome"]


def test_a_call_that_was_cut_inside_its_arguments_is_nobodys_to_run() -> None:
    run = said([ToolCallStart("c", "f"), ToolCallDelta("c", '{"a'), ToolCall("c", "f", '{"a', complete=False), Finish("length")])
    assert {"type": "success"} == run[-1]["outcome"]
    assert ["TOOL_CALL_END"] == [event["type"] for event in run if event["type"].endswith("END")]


def test_a_stop_is_a_cancelled_run_and_a_length_is_told() -> None:
    assert {"type": "cancelled"} == said([TextDelta("a"), Finish("cancelled")])[-1]["outcome"]
    assert {"type": "cancelled"} == said([TextDelta("a")], CANCELLED)[-1]["outcome"]
    assert {"finishReason": "length"} == said([Finish("length")])[-1]["metadata"]


def test_an_error_is_the_last_event_and_tells_no_text_of_the_exception() -> None:
    events = said([TextDelta("kept"), Usage(1)], outcome_of(OverloadedError("secret", retry_after=2.0), correlation_id="r-7"))
    assert {
        "type": "RUN_ERROR",
        "message": "The model is overloaded. Try again later.",
        "code": "overloaded",
        "usage": [{"inputTokens": 1}],
        "metadata": {"retryable": True, "retryAfter": 2.0, "correlationId": "r-7"},
    } == events[-1]
    assert "RUN_ERROR" == said([ErrorEvent("Bye.", code="draining")])[-1]["type"]


def test_a_count_below_zero_ends_no_run() -> None:
    assert [{"inputTokens": 0, "cachedInputTokens": 3}] == said([Usage(0, -1, 3, -2)])[-1]["usage"]
    assert "usage" not in said([Usage(-1)])[-1]


def test_a_failed_result_says_so_and_values_are_json() -> None:
    (result,) = [event for event in said([ToolResult("c", {"a": 1}, is_error=True)]) if "content" in event]
    assert ('{"a":1}', {"isError": True}) == (result["content"], result["metadata"])


def test_files_and_citations_are_events_of_an_application() -> None:
    customs = [
        (event["name"], event["value"]) for event in said([Citation("u"), File("a/b", data=b"x"), Gap(3)]) if "name" in event
    ]
    assert [("citation", {"url": "u"}), ("file", {"mediaType": "a/b", "data": "eA=="}), ("gap", {"count": 3})] == customs


def test_text_that_looks_like_an_end_ends_nothing() -> None:
    assert "[DONE]data: [DONE]\n\n" == Client(said([TextDelta("[DONE]"), TextDelta("data: [DONE]\n\n")])).text


def test_half_a_character_is_replaced() -> None:
    assert "a\ufffdb" == Client(said([TextDelta("a\ud83db")])).text


def test_lim_a_delta_beyond_what_the_client_reads_goes_out_in_pieces() -> None:
    text = "\x01" * 2_000_000 + "é" * 2_000_000
    encoder = AGUIEncoder(id="a")
    for event in (TextDelta(text), TextDelta(text), ReasoningDelta(text), ToolCall("c", "f", text)):
        frames = encoder.encode(event)
        assert max(len(frame.data) for frame in frames) <= MAX_FRAME_BYTES
        assert text == "".join(json.loads(frame.data).get("delta", "") for frame in frames)


def test_lim_any_other_event_of_that_size_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="reads no frame beyond"):
        AGUIEncoder(id="a").encode(Custom("big", "x" * MAX_FRAME_BYTES))


@pytest.mark.parametrize(
    "operations",
    [
        [{}],
        [{"op": "add", "path": "/a"}],
        [{"op": "add", "path": "a", "value": 1}],
        [{"op": "remove", "path": "/~2"}],
        [{"op": "copy", "path": "/a"}],
        [{"op": "copy", "path": "/a", "from": 1}],
        [{"op": "jump", "path": "/a", "value": 1}],
        [{"op": ["add"], "path": "/a", "value": 1}],
    ],
)
def test_what_is_no_json_patch_is_refused_where_it_is_made(operations: Any) -> None:
    with pytest.raises(ConfigError, match="JSON Patch"):
        state_delta(operations)
    assert "CUSTOM" in types([Custom("STATE_DELTA", operations)])


@pytest.mark.parametrize("make", [step_started, step_finished])
def test_a_step_has_a_name(make: Callable[[Any], object]) -> None:
    with pytest.raises(TypeError, match="name"):
        make(None)


def test_a_delta_costs_no_more_than_one_of_openai_chat() -> None:
    def cost(name: str) -> float:
        make = registry.get(name).encoder
        assert make is not None
        encode = make(id="a").encode
        encode(TextDelta("Hi"))
        event = TextDelta("token ")
        started = time.process_time()
        for _ in range(10_000):
            encode(event)
        return time.process_time() - started

    # The best of several, and a margin: a noisy machine is no bug (the figures stand in benchmarks).
    assert min(cost("ag-ui") for _ in range(5)) <= 2 * min(cost("openai-chat") for _ in range(5))
