"""@ag-ui/client's HttpAgent reads the dialect `ag-ui`: whole runs, tools, state, errors, cuts and stops."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from node_clients import PATIENCE_S, NodeSession, node_session
from served import broken_wire, served

import streamkit as sk
from streamkit.dialects.ag_ui import for_run, state_delta, state_snapshot, step_started
from streamkit.events import Event
from streamkit.sinks import sse

ANSWER: list[Event] = [
    sk.Start("a-1", "small-1"),
    step_started("think"),
    sk.ReasoningDelta("Two "),
    sk.ReasoningDelta("places.", signature="proof"),
    sk.TextDelta("Looking "),
    sk.TextDelta("… \u2028\x85\ud83d"),
    sk.ToolCallStart("c-1", "tide", 0),
    sk.ToolCallStart("c-2", "tide", 1),
    sk.ToolCallDelta("c-1", '{"port":', 0),
    sk.ToolCallDelta("c-2", '{"port":"Vigo"}', 1),
    sk.ToolCallDelta("c-1", '"Brest"}', 0),
    sk.ToolCall("c-1", "tide", '{"port":"Brest"}', True, 0),
    sk.ToolCall("c-2", "tide", '{"port":"Vigo"}', True, 1),
    sk.ToolResult("c-1", {"high": "12:04"}),
    state_snapshot({"done": 1, "gone": None}),
    state_delta([{"op": "replace", "path": "/done", "value": 2}]),
    sk.Custom("mood", None),
    sk.Citation("https://a.example", "A"),
    sk.TextDelta("High at noon."),
    sk.Usage(9, 21, None, 2),
    sk.Finish("tool-calls"),
]

closed = threading.Event()


async def answer(path: str) -> AsyncIterator[object]:
    try:
        for event in ANSWER:
            yield event
            if path in ("/error", "/cut", "/endless") and isinstance(event, sk.TextDelta):
                if path == "/error":
                    raise sk.OverloadedError("secret")
                if path == "/endless":
                    while True:
                        yield sk.TextDelta("more ")
                        await asyncio.sleep(0.01)
        if path == "/stopped":
            yield sk.Finish("cancelled")
        if path == "/cut":
            yield sk.TextDelta("x" * 200_000)
    finally:
        closed.set()


async def app(scope: Any, receive: Any, send: Any) -> None:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    asked = json.loads(body)
    dialect = for_run(asked["threadId"], asked["runId"])
    early = scope["path"] == "/early"
    if early:

        async def failing() -> AsyncIterator[object]:
            raise sk.RateLimitError("secret", retry_after=2.0)
            yield

        await sse.Response(failing(), dialect)(scope, receive, send)
        return
    await sse.Response(answer(scope["path"]), dialect)(scope, receive, send)


@pytest.fixture(scope="module")
def node() -> Iterator[NodeSession]:
    with node_session("ag_ui.mjs") as session:
        yield session


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served(app) as url:
        yield url


def test_a_whole_run_is_read_as_it_was_meant(node: NodeSession, url: str) -> None:
    got = node.call("run", url=f"{url}/whole")
    assert (None, None, None) == (got["failed"], got.get("raised"), got["error"])
    assert [] == got["warnings"]
    assert ["thread-1", "run-1"] == got["started"]
    assert ["RUN_STARTED", "RUN_FINISHED"] == [got["events"][0], got["events"][-1]]
    assert "Looking … \u2028\x85\ufffdHigh at noon." == got["text"]
    thought, looking, result, noon = got["messages"]
    assert ("reasoning", "Two places.", "proof") == (thought["role"], thought["content"], thought["encryptedValue"])
    assert ("assistant", "Looking … \u2028\x85\ufffd") == (looking["role"], looking["content"])
    assert [("c-1", '{"port":"Brest"}'), ("c-2", '{"port":"Vigo"}')] == [
        (call["id"], call["function"]["arguments"]) for call in looking["toolCalls"]
    ]
    assert ("tool", "c-1", {"high": "12:04"}) == (result["role"], result["toolCallId"], json.loads(result["content"]))
    assert ("assistant", "High at noon.") == (noon["role"], noon["content"])
    assert {"done": 2, "gone": None} == got["state"]
    assert [["mood", None], ["citation", {"url": "https://a.example", "title": "A"}]] == got["customs"]
    assert ("success", ["c-2"]) == (got["finished"], got["pending"])
    assert [{"inputTokens": 9, "outputTokens": 21, "cacheWriteInputTokens": 2, "model": "small-1"}] == got["usage"]


def test_messages_of_a_second_run_are_not_added_to_those_of_the_first(node: NodeSession, url: str) -> None:
    got = node.call("run", url=f"{url}/whole", runs=2)
    ids = [message["id"] for message in got["messages"]]
    assert len(ids) == len(set(ids))
    assert 2 == [message.get("content") for message in got["messages"]].count("High at noon.")


def test_an_error_is_an_error_and_the_text_before_it_stays(node: NodeSession, url: str) -> None:
    got = node.call("run", url=f"{url}/error")
    assert ("The model is overloaded. Try again later.", "overloaded") == (got["error"]["message"], got["error"]["code"])
    assert True is got["error"]["metadata"]["retryable"]
    assert "Looking " == got["text"]
    assert None is got["finished"]
    assert "secret" not in json.dumps(got)


def test_an_early_error_is_a_status(node: NodeSession, url: str) -> None:
    got = node.call("run", url=f"{url}/early")
    assert "HTTP 429" in got["failed"]["message"]
    assert [] == got["messages"]


def test_a_stopped_answer_is_a_cancelled_run(node: NodeSession, url: str) -> None:
    got = node.call("run", url=f"{url}/stopped")
    assert ("cancelled", None) == (got["finished"], got["failed"])


def test_a_torn_connection_is_no_run_that_went_well(node: NodeSession, url: str) -> None:
    with broken_wire(url, seed=1, tears=1, least_bytes=3_000, most_bytes=60_000) as wire:
        got = node.call("run", url=f"{wire.url}/cut")
        assert 1 == wire.torn
    assert None is got["finished"]
    assert None is not got["failed"]


def test_a_client_that_stops_closes_the_source(node: NodeSession, url: str) -> None:
    closed.clear()
    got = node.call("run", url=f"{url}/endless", stop=60)
    assert closed.wait(PATIENCE_S)
    assert None is got["finished"]
    assert len(got["text"]) >= 60
