"""The AI SDK 7's own chat over its WebSocketChatTransport reads, stops, resumes, and sees errors and cuts as what they are."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from node_clients import NodeSession, node_session
from served import broken_wire, wait_until
from websocket_thread import Running, in_thread

from streamkit.errors import OverloadedError
from streamkit.events import Event, Finish, ReasoningDelta, Start, TextDelta, ToolCall, ToolResult, Usage
from streamkit.sinks.refusals import Refused
from streamkit.sinks.websocket.ai_sdk_frames import AISDKWebSocketRoutes
from streamkit.sinks.websocket.requests import SocketRequest

LONG = "".join(f"{number} " for number in range(3_000))


class Answers:
    """What the last message of a chat asks for; and what became of the sources."""

    def __init__(self) -> None:
        self.begun: Counter[str] = Counter()
        self.closed: Counter[str] = Counter()
        self.go_on = threading.Event()

    async def __call__(self, request: SocketRequest) -> AsyncIterator[Event]:
        messages = request.input["messages"]
        said = messages[-1]["parts"][0]["text"]
        chat = request.input["id"]
        if said == "refuse":
            raise Refused(402, "Pay first.")
        return self.events(said, chat, len(messages))

    async def events(self, said: str, chat: str, turn: int) -> AsyncIterator[Event]:
        self.begun[chat] += 1
        try:
            yield Start(f"m{turn}")
            match said:
                case "long":
                    for number in range(3_000):
                        yield TextDelta(f"{number} ")
                case "endless":
                    number = 0
                    while True:
                        yield TextDelta(f"{number} ")
                        number += 1
                        await asyncio.sleep(0.002)
                case "held":
                    yield TextDelta("Hel")
                    while not self.go_on.is_set():  # noqa: ASYNC110  # it is set by another thread
                        await asyncio.sleep(0.002)
                    yield TextDelta("lo")
                case "fail":
                    yield TextDelta("Hel")
                    raise OverloadedError("a secret of the provider's")
                case "fail at once":
                    raise OverloadedError("a secret of the provider's")
                case "tool":
                    yield ReasoningDelta("Let me see.")
                    yield ToolCall("c1", "now", "{}")
                    yield ToolResult("c1", "noon")
                    yield TextDelta("It is noon.")
                    yield Usage(input_tokens=3, output_tokens=4)
                    yield Finish("stop")
                case _:
                    yield TextDelta(f"{turn}: {said}")
        finally:
            self.closed[chat] += 1


@pytest.fixture(scope="module")
def answers() -> Answers:
    return Answers()


@pytest.fixture(scope="module")
def server(answers: Answers) -> Iterator[Running]:
    with in_thread(lambda: AISDKWebSocketRoutes(answers)) as running:
        yield running


@pytest.fixture(scope="module")
def node() -> Iterator[NodeSession]:
    with node_session("ai_sdk_websocket.mjs") as running:
        yield running


def done(told: dict[str, Any]) -> bool:
    return (
        "ready" == told["status"]
        and [] == told["errors"]
        and not any(finish["isAbort"] or finish["isDisconnect"] or finish["isError"] for finish in told["finishes"])
    )


def test_several_turns_of_a_chat_arrive_whole_over_one_socket(server: Running, node: NodeSession) -> None:
    first = node.call("send", url=server.url, page="turns", chat="turns", text="Hi")
    second = node.call("send", url=server.url, page="turns", chat="turns", text="How are you?")
    third = node.call("send", url=server.url, page="turns", chat="turns", text="long")
    assert done(first)
    assert done(third)
    assert "1: Hi" == first["text"]
    assert "1: Hi3: How are you?" == second["text"]
    assert f"1: Hi3: How are you?{LONG}" == third["text"]
    assert first["sockets"] == third["sockets"]
    assert 6 == len(third["messages"])


def test_reasoning_tools_and_the_reason_for_the_end_arrive(server: Running, node: NodeSession) -> None:
    told = node.call("send", url=server.url, page="tools", chat="tools", text="tool")
    assert done(told)
    assert ("It is noon.", "Let me see.") == (told["text"], told["reasoning"])
    assert "stop" == told["finishes"][0]["finishReason"]
    tool = next(part for part in told["messages"][-1]["parts"] if part["type"] == "tool-now")
    assert ("output-available", "noon") == (tool["state"], tool["output"])


def test_two_chats_share_a_socket(server: Running, node: NodeSession) -> None:
    asked = [node.ask("send", url=server.url, page="both", chat=f"both-{n}", text="long") for n in range(2)]
    for call in asked:
        told = node.result(call)
        assert done(told)
        assert LONG == told["text"]


def test_a_stop_closes_the_source_and_the_next_turn_is_whole(server: Running, node: NodeSession, answers: Answers) -> None:
    told = node.call("send", url=server.url, page="stop", chat="stop", text="endless", stop=20)
    assert ("ready", []) == (told["status"], told["errors"])
    assert told["finishes"][0]["isAbort"]
    wait_until(lambda: answers.closed["stop"])
    again = node.call("send", url=server.url, page="stop", chat="stop", text="Hi")
    assert again["text"].endswith("3: Hi")
    assert "ready" == again["status"]


def test_a_page_that_is_loaded_again_gets_all_of_the_answer_that_runs(server: Running, node: NodeSession, answers: Answers) -> None:
    answers.go_on.clear()
    left = node.call("send", url=server.url, page="before", chat="reload", text="held", close=3)
    assert "error" == left["status"]
    assert "Hel" == left["text"]
    wait_until(lambda: 0 == server.ask(lambda: server.routes.hub.status("reload")).readers)
    asked = node.ask("resume", url=server.url, page="after", chat="reload")
    wait_until(lambda: 1 == server.ask(lambda: server.routes.hub.status("reload")).readers)
    answers.go_on.set()
    told = node.result(asked)
    assert done(told)
    assert "Hello" == told["text"]
    assert "m1" == told["messages"][-1]["id"]
    assert node.call("reconnect", url=server.url, page="after", chat="reload")  # it is over: nothing is active
    assert node.call("reconnect", url=server.url, page="after", chat="of nobody")


def test_two_pages_read_one_answer(server: Running, node: NodeSession, answers: Answers) -> None:
    answers.go_on.clear()
    sending = node.ask("send", url=server.url, page="one", chat="shared", text="held")
    wait_until(lambda: answers.begun["shared"])
    reading = node.ask("resume", url=server.url, page="two", chat="shared")
    wait_until(lambda: 2 == server.ask(lambda: server.routes.hub.status("shared")).readers)
    again = node.ask("reconnect_and_read", url=server.url, page="two", chat="shared")
    wait_until(lambda: 3 == server.ask(lambda: server.routes.hub.status("shared")).readers)
    answers.go_on.set()
    sent, read = node.result(sending), node.result(reading)
    assert done(sent)
    assert "Hello" == sent["text"]
    assert done(read)
    assert "Hello" == read["text"] == node.result(again)  # by two requests of one socket


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("fail", "The model is overloaded. Try again later."),
        ("fail at once", "The model is overloaded. Try again later."),
        ("refuse", "Pay first."),
    ],
)
def test_an_error_is_seen_as_an_error_in_words_fit_to_be_shown(server: Running, node: NodeSession, said: str, message: str) -> None:
    told = node.call("send", url=server.url, page=said, chat=said, text=said)
    assert "error" == told["status"]
    assert [message] == [error["message"] for error in told["errors"]]
    assert ("Hel" if said == "fail" else "") == told["text"]
    again = node.call("send", url=server.url, page=said, chat=said, text="Hi")
    assert "Hi" == again["text"][-2:]
    assert told["sockets"] == again["sockets"]


def test_a_cut_is_seen_as_a_cut(server: Running, node: NodeSession) -> None:
    url = server.url.replace("ws:", "http:").rstrip("/")
    with broken_wire(url, seed=5, tears=1, least_bytes=2_000, most_bytes=9_000) as wire:
        told = node.call("send", url=wire.url.replace("http:", "ws:"), page="cut", chat="cut", text="long")
        assert 1 == wire.torn
        assert "error" == told["status"]
        assert LONG.startswith(told["text"])
        assert "network connection" in told["errors"][0]["message"]
        again = node.call("send", url=server.url, page="cut", chat="cut", text="Hi")
        assert again["text"].endswith("Hi")
        node.call("close", page="cut")


def test_a_server_that_drains_says_so(node: NodeSession, answers: Answers) -> None:
    with in_thread(lambda: AISDKWebSocketRoutes(answers)) as server:
        answers.go_on.clear()
        asked = node.ask("send", url=server.url, page="drain", chat="drain", text="held")
        wait_until(lambda: answers.begun["drain"] and server.ask(lambda: server.routes.hub.status("drain")).readers)
        server.ask(server.routes.drain)
        told = node.result(asked)
        answers.go_on.set()
    assert "error" == told["status"]
    assert ["The server is shutting down. Reconnect to go on."] == [error["message"] for error in told["errors"]]
