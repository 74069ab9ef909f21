"""One answer, every client of npm: the same text, an error as an error, a cut as a cut, and leaving closes the source."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from answers import ARGUMENTS, HALF, REASONING, RETRY, TEXT, THOUGHT_TEXT, Answers, closing_takes
from node_clients import NodeSession, node_session
from served import served, wait_until

CHAT = ["openaiChatRaw", "openaiChatStream", "ai6Compatible", "ai7Compatible"]
RESPONSES = ["openaiResponsesRaw", "openaiResponsesStream"]
MESSAGES = ["anthropicRaw", "anthropicStream"]
NATIVE = ["eventSource", "parser", "microsoft"]
CLIENTS = [*CHAT, *RESPONSES, *MESSAGES, *NATIVE]
# What each calls an answer that is whole, and one that ends in calls of tools.
FINISH = {
    **dict.fromkeys(CHAT, ("stop", {"tool_calls", "tool-calls"})),
    **dict.fromkeys(RESPONSES, ("completed", {"completed"})),
    **dict.fromkeys(MESSAGES, ("end_turn", {"tool_use"})),
    **dict.fromkeys(NATIVE, ("end", {"end"})),
}


@pytest.fixture(scope="module")
def node() -> Iterator[NodeSession]:
    with node_session("clients.mjs") as running:
        yield running


class Server:
    """The answers, and one client that reads them."""

    def __init__(self, url: str, answers: Answers) -> None:
        self._url = url
        self._answers = answers
        self._count = 0
        self.key = ""

    def read_by(self, client: str, how: str, node: NodeSession, **arguments: Any) -> Any:
        """What the client tells; `key` is that of its request."""
        self._count += 1
        self.key = f"{client}-{self._count}"
        return node.call(client, url=f"{self._url}/{how}/{self.key}", **{"method": "POST", **arguments})

    @property
    def methods(self) -> list[str]:
        return self._answers.asked[self.key]

    def closed(self) -> bool:
        return self.key in self._answers.closed

    def left_by(self, client: str, node: NodeSession) -> Callable[[], bool]:
        """Whether its source is closed, of a client that has read half of an answer and left."""
        assert HALF == self.read_by(client, "silent", node, stop=len(HALF))["text"]
        return self.closed


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    answers = Answers()
    with served(answers) as url:
        yield Server(url, answers)


@pytest.mark.parametrize("how", ["whole", "bytewise"])
@pytest.mark.parametrize("client", CLIENTS)
def test_the_answer_is_the_same_to_the_last_character(client: str, how: str, server: Server, node: NodeSession) -> None:
    got = server.read_by(client, how, node)
    assert got["error"] is None
    assert TEXT == got["text"]
    assert FINISH[client][0] == got["finish"]
    assert [3, 21] == got["usage"]
    assert got.get("same", True), "its own sum is another than that of its deltas"
    assert ["GET" if client == "eventSource" else "POST"] == server.methods


@pytest.mark.parametrize("client", ["parser", "microsoft"])
def test_a_get_has_the_same_answer_as_a_post(client: str, server: Server, node: NodeSession) -> None:
    got = server.read_by(client, "whole", node, method="GET")
    assert (TEXT, None) == (got["text"], got["error"])
    assert ["GET"] == server.methods


@pytest.mark.parametrize("client", CLIENTS)
def test_reasoning_text_and_calls_of_tools_are_whole(client: str, server: Server, node: NodeSession) -> None:
    got = server.read_by(client, "tools", node)
    assert got["error"] is None
    assert THOUGHT_TEXT == got["text"]
    if client != "openaiChatStream":  # it has no reasoning, and keeps the last piece of any field that it does not know
        assert REASONING == got["reasoning"]
    assert ["weather", "now"] == [tool["name"] for tool in got["tools"]]
    assert [json.loads(ARGUMENTS), {}] == [json.loads(tool["arguments"]) for tool in got["tools"]]
    assert got["finish"] in FINISH[client][1]
    assert [3, 20] == got["usage"]


@pytest.mark.parametrize("client", CLIENTS)
def test_a_failure_in_the_middle_is_an_error_behind_the_text_and_tells_no_secret(
    client: str, server: Server, node: NodeSession
) -> None:
    got = server.read_by(client, "failing", node)
    assert HALF == got["text"]
    told = got["told"] if client in NATIVE else got["error"]["message"]
    assert "The stream failed." in told
    assert "secret" not in json.dumps(got)
    assert got["finish"] in (None, "error")


@pytest.mark.parametrize("client", CLIENTS)
def test_a_failure_before_the_first_byte_is_the_status_429(client: str, server: Server, node: NodeSession) -> None:
    got = server.read_by(client, "refused", node)
    assert 429 == got["error"]["status"]
    assert "" == got["text"]
    assert "secret" not in json.dumps(got)
    if client != "eventSource":  # which shows no body
        assert "Too many requests. Try again later." in got["error"]["message"]


TORN = {
    **dict.fromkeys(["openaiChatRaw", "openaiResponsesRaw", "anthropicRaw", "parser", "microsoft"], "TypeError"),
    **dict.fromkeys(["openaiChatStream", "openaiResponsesStream"], "OpenAIError"),
    "anthropicStream": "AnthropicError",
    **dict.fromkeys(["ai6Compatible", "ai7Compatible"], "APICallError"),
    "eventSource": "Error",  # of its `onerror`; it would connect again
}


@pytest.mark.parametrize("client", CLIENTS)
def test_a_connection_that_is_torn_is_an_error_of_every_client(client: str, server: Server, node: NodeSession) -> None:
    got = server.read_by(client, "torn", node)
    assert got["text"] in ("", HALF)  # a body that fails forgets what nobody had read yet
    assert TORN[client] == got["error"]["name"]
    assert got["finish"] is None
    wait_until(server.closed)


# The error, and what it takes for the end, when the body ends in the middle as if it were whole.
CUT: dict[str, tuple[str | None, str | None]] = {
    "openaiChatStream": ("missing finish_reason for choice 0", None),
    "anthropicStream": ("stream ended without producing a Message with role=assistant", None),
    "ai6Compatible": ("Response stream ended without a finish reason.", "error"),
    "ai7Compatible": ("Response stream ended without a finish reason.", "error"),
    "eventSource": ("no message", None),  # of its `onerror`; it would connect again
    # These say nothing. That there is no finish is what an application can tell it by.
    "openaiChatRaw": (None, None),
    "openaiResponsesRaw": (None, None),
    "openaiResponsesStream": (None, "in_progress"),
    "anthropicRaw": (None, None),
    "parser": (None, None),
    "microsoft": (None, None),
}


@pytest.mark.parametrize("client", CLIENTS)
def test_a_body_that_ends_in_the_middle_is_no_whole_answer(client: str, server: Server, node: NodeSession) -> None:
    got = server.read_by(client, "cut", node)
    assert HALF == got["text"]
    assert CUT[client] == (got["error"] and got["error"]["message"], got["finish"])
    assert "end" not in got.get("kinds", [])
    wait_until(server.closed)


@pytest.mark.parametrize("how", ["silent", "endless"])
@pytest.mark.parametrize("client", CLIENTS)
def test_the_source_is_closed_when_the_client_stops(client: str, how: str, server: Server, node: NodeSession) -> None:
    got = server.read_by(client, how, node, stop=len(HALF))
    assert got["text"].startswith(HALF)
    assert got["finish"] in (None, "abort")
    wait_until(server.closed)


def test_the_source_is_closed_within_a_second_of_that(server: Server, node: NodeSession) -> None:
    delays = {client: closing_takes(partial(server.left_by, client, node)) for client in CLIENTS}
    assert {} == {client: delay for client, delay in delays.items() if delay >= 1}


def test_heartbeats_reach_no_handler_and_the_time_to_wait_does(server: Server, node: NodeSession) -> None:
    parser = server.read_by("parser", "whole", node)
    assert 1 <= parser["comments"]
    microsoft = server.read_by("microsoft", "whole", node)
    assert 0 == microsoft["empty"]
    assert [RETRY, RETRY] == [parser["retry"], microsoft["retry"]]
    assert parser["kinds"] == microsoft["kinds"]
