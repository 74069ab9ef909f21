"""The AI SDK's chat, releases 6 and 7, and assistant-ui's decoder read what the dialects `ai-sdk` and `ai-sdk-text` write.

What a client cannot tell is said here, too: where a proxy ends a body as if it were whole, `useChat` takes half an answer for
a whole one, and there is nothing that a server could do about it over HTTP.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.request import Request, urlopen

import answers as answers_of_all
import pytest
from answers import ARGUMENTS, HALF, REASONING, TEXT, THOUGHT_TEXT, Answers, Asked
from node_clients import NodeSession, node_session
from served import served, wait_until

from streamkit.dialects import CANCELLED, DONE, Outcome
from streamkit.dialects.ai_sdk import AISDKEncoder, answer_id
from streamkit.events import (
    Citation,
    Custom,
    DataDelta,
    Event,
    File,
    Finish,
    Gap,
    ReasoningDelta,
    Start,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolCallStart,
    ToolResult,
    Usage,
)
from streamkit.sinks import sse
from streamkit.sinks.chats import ChatRequest, ChatRoutes

RELEASES = [6, 7]


@pytest.fixture(scope="module")
def node() -> Iterator[NodeSession]:
    with node_session("ai_sdk.mjs") as running:
        yield running


class Server:
    """The answers of all clients, in these dialects."""

    def __init__(self, url: str, answers: Answers) -> None:
        self._url = url
        self._answers = answers
        self._count = 0
        self.key = ""

    def url(self, how: str, dialect: str = "ai-sdk") -> str:
        self._count += 1
        self.key = f"ai-sdk-{self._count}"
        return f"{self._url}/{how}/{self.key}/{dialect}"

    def closed(self) -> bool:
        return self.key in self._answers.closed

    def broken_when_shown(self, how: str, node: NodeSession, function: str, dialect: str = "ai-sdk", **arguments: Any) -> Any:
        """What a call gives whose answer breaks when the client shows its half; what it has not read by then it would forget."""
        url = self.url(f"{how}-when-shown", dialect)
        asked = node.ask(function, name=url, url=url, **arguments)
        node.call("shown", name=url, length=len(HALF))
        self._answers.show(self.key)
        return node.result(asked)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("ai-sdk", "ai-sdk-text"):
            patch.setitem(answers_of_all.PATHS, f"/{name}", name)
        with served(ui := Answers()) as url:
            yield Server(url, ui)


@pytest.fixture(scope="module")
def text_server() -> Iterator[Server]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(answers_of_all.PATHS, "/ai-sdk-text", "ai-sdk-text")
        with served(text := Answers(retry=None)) as url:
            yield Server(url, text)


def parts(message: dict[str, Any]) -> list[str]:
    return [part["type"] for part in message["parts"]]


def part(message: dict[str, Any], kind: str) -> dict[str, Any]:
    found: dict[str, Any] = next(part for part in message["parts"] if part["type"] == kind)
    return found


# ---- one answer, as all other clients read it ---------------------------------------------------


@pytest.mark.parametrize("how", ["whole", "bytewise"])
@pytest.mark.parametrize("release", RELEASES)
def test_the_answer_is_the_same_to_the_last_character(release: int, how: str, server: Server, node: NodeSession) -> None:
    got = node.call("send", release=release, url=server.url(how))
    assert (TEXT, "ready", []) == (got["text"], got["status"], got["errors"])
    assert [{"isAbort": False, "isDisconnect": False, "isError": False, "finishReason": "stop"}] == got["finishes"]
    assert ["user", "assistant"] == [message["role"] for message in got["messages"]]
    message = got["messages"][1]
    assert ("answer-1", ["step-start", "text"], "done") == (message["id"], parts(message), part(message, "text")["state"])
    assert {"model": "m", "finishReason": "stop"} == {name: message["metadata"][name] for name in ("model", "finishReason")}
    assert {"inputTokens": 3, "outputTokens": 21, "totalTokens": 24} == message["metadata"]["usage"]
    assert "v1" == got["responses"][0]["protocol"]
    wait_until(server.closed)


@pytest.mark.parametrize("release", RELEASES)
def test_a_reader_without_a_chat_gets_the_same_message(release: int, server: Server, node: NodeSession) -> None:
    got = node.call("read", release=release, url=server.url("whole"))
    assert (None, TEXT) == (got["error"], part(got["message"], "text")["text"])
    assert 20 < got["states"]


@pytest.mark.parametrize("how", ["whole", "bytewise"])
def test_assistant_ui_reads_the_same_text(how: str, server: Server, node: NodeSession) -> None:
    got = node.call("assistant", url=server.url(how))
    assert (None, TEXT) == (got["error"], got["text"])
    assert {"type": "complete", "reason": "stop"} == got["message"]["status"]


@pytest.mark.parametrize("release", RELEASES)
def test_reasoning_text_and_calls_of_tools_are_whole(release: int, server: Server, node: NodeSession) -> None:
    got = node.call("send", release=release, url=server.url("tools"))
    message = got["messages"][-1]
    assert (REASONING, THOUGHT_TEXT, []) == (got["reasoning"], got["text"], got["errors"])
    assert ["step-start", "reasoning", "text", "tool-weather", "tool-now"] == parts(message)
    weather, now = message["parts"][3:]
    assert ("input-available", json.loads(ARGUMENTS), "call-1") == (weather["state"], weather["input"], weather["toolCallId"])
    assert ("input-available", {}) == (now["state"], now["input"])
    assert (["weather", "now"], "tool-calls") == (got["calls"], got["finishes"][0]["finishReason"])


async def _names(asked: Asked) -> AsyncIterator[Event | str]:
    yield "a"
    yield ToolCall("c", "page", '{"__proto__":{"x":1}}')
    yield ToolCall("d", "page", "{}")
    yield ToolResult("d", {"constructor": {"prototype": 1}})
    yield Custom("mood", {"deep": [{"__proto__": 1}]})
    yield "b"


@pytest.mark.parametrize("release", RELEASES)
def test_a_name_in_the_arguments_that_the_client_takes_for_an_attack_ends_no_message(
    release: int, server: Server, node: NodeSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(answers_of_all.WAYS, "names", _names)
    got = node.call("send", release=release, url=server.url("names"))
    assert ("ab", "ready", []) == (got["text"], got["status"], got["errors"])
    assert ["output-error", "output-available"] == [
        part["state"] for part in got["messages"][1]["parts"] if "state" in part and "toolCallId" in part
    ]


def test_assistant_ui_has_the_same_calls(server: Server, node: NodeSession) -> None:
    got = node.call("assistant", url=server.url("tools"))
    assert (REASONING, THOUGHT_TEXT, None) == (got["reasoning"], got["text"], got["error"])
    calls = [part for part in got["message"]["parts"] if part["type"] == "tool-call"]
    assert [("weather", json.loads(ARGUMENTS)), ("now", {})] == [(call["toolName"], call["args"]) for call in calls]


# ---- how it ends --------------------------------------------------------------------------------


@pytest.mark.parametrize("release", RELEASES)
def test_a_failure_in_the_middle_is_an_error_behind_the_text_and_tells_no_secret(
    release: int, server: Server, node: NodeSession
) -> None:
    got = node.call("send", release=release, url=server.url("failing"))
    assert (HALF, "error") == (got["text"], got["status"])
    assert [{"name": "Error", "message": "The stream failed."}] == got["errors"]
    assert [(True, False, False)] == [(end["isError"], end["isDisconnect"], end["isAbort"]) for end in got["finishes"]]
    assert "streaming" == part(got["messages"][-1], "text")["state"]
    (told,) = got["data"]
    assert ("data-error", "error", False) == (told["type"], told["data"]["code"], told["data"]["retryable"])
    assert told["data"]["correlationId"]
    assert "secret" not in json.dumps(got)
    read = node.call("read", release=release, url=server.url("failing"))
    assert ("The stream failed.", HALF) == (read["error"]["message"], part(read["message"], "text")["text"])


def test_assistant_ui_sees_the_error_and_not_a_stream_that_ended_abruptly(server: Server, node: NodeSession) -> None:
    got = node.call("assistant", url=server.url("failing"))
    assert (HALF, None) == (got["text"], got["error"])
    assert {"type": "incomplete", "reason": "error", "error": {"code": "unknown", "message": "The stream failed."}} == got[
        "message"
    ]["status"]


@pytest.mark.parametrize("release", RELEASES)
def test_a_failure_before_the_first_byte_is_the_status_429(release: int, server: Server, node: NodeSession) -> None:
    got = node.call("send", release=release, url=server.url("refused"))
    assert (429, "error", "") == (got["responses"][0]["status"], got["status"], got["text"])
    assert "Too many requests. Try again later." in got["errors"][0]["message"]
    assert "secret" not in json.dumps(got)


@pytest.mark.parametrize("release", RELEASES)
def test_a_connection_that_breaks_is_an_error(release: int, server: Server, node: NodeSession) -> None:
    got = server.broken_when_shown("torn", node, "send", release=release)
    assert (HALF, "error", "TypeError") == (got["text"], got["status"], got["errors"][0]["name"])
    assert [True] == [end["isError"] for end in got["finishes"]]


def test_assistant_ui_raises_on_a_connection_that_breaks_and_on_a_body_that_only_ends(server: Server, node: NodeSession) -> None:
    assert "TypeError" == node.call("assistant", url=server.url("torn"))["error"]["name"]
    cut = node.call("assistant", url=server.url("cut"))
    assert (HALF, "Stream ended abruptly without receiving [DONE] marker") == (cut["text"], cut["error"]["message"])


@pytest.mark.parametrize("release", RELEASES)
def test_a_body_that_only_ends_is_taken_for_whole_and_only_the_reason_is_missing(
    release: int, server: Server, node: NodeSession
) -> None:
    got = node.call("send", release=release, url=server.url("cut"))
    assert (HALF, "ready", []) == (got["text"], got["status"], got["errors"])
    # What an application can look at: nothing was finished.
    assert None is got["finishes"][0]["finishReason"]
    assert "streaming" == part(got["messages"][-1], "text")["state"]


@pytest.mark.parametrize("release", RELEASES)
def test_stop_closes_the_source(release: int, server: Server, node: NodeSession) -> None:
    got = node.call("send", release=release, url=server.url("endless"), stop=len(HALF) * 2)
    assert ("ready", []) == (got["status"], got["errors"])
    assert [True] == [end["isAbort"] for end in got["finishes"]]
    wait_until(server.closed)


def test_assistant_ui_that_leaves_closes_the_source(server: Server, node: NodeSession) -> None:
    got = node.call("assistant", url=server.url("endless"), stop=len(HALF) * 2)
    assert "AbortError" in got["error"]["name"] + got["error"]["message"] or "aborted" in got["error"]["message"]
    wait_until(server.closed)


# ---- text alone ---------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["whole", "bytewise"])
@pytest.mark.parametrize("release", RELEASES)
def test_text_alone_is_the_same_to_the_last_character(release: int, how: str, text_server: Server, node: NodeSession) -> None:
    got = node.call("send", release=release, url=text_server.url(how, "ai-sdk-text"), protocol="text")
    assert (TEXT, "ready", []) == (got["text"], got["status"], got["errors"])
    assert "text/plain; charset=utf-8" == got["responses"][0]["type"]


@pytest.mark.parametrize("protocol", ["data", "text"])
@pytest.mark.parametrize("release", RELEASES)
def test_a_completion_has_the_same_text_and_sees_a_failure(
    release: int, protocol: str, server: Server, text_server: Server, node: NodeSession
) -> None:
    from_, dialect = (server, "ai-sdk") if protocol == "data" else (text_server, "ai-sdk-text")
    whole = node.call("complete", release=release, url=from_.url("whole", dialect), protocol=protocol)
    assert {"text": TEXT, "error": None} == whole
    failing = from_.broken_when_shown("failing", node, "complete", dialect, release=release, protocol=protocol)
    assert (HALF, "The stream failed." if protocol == "data" else "terminated") == (failing["text"], failing["error"]["message"])


@pytest.mark.parametrize("how", ["failing", "torn"])
@pytest.mark.parametrize("release", RELEASES)
def test_text_alone_that_fails_is_a_broken_transfer(release: int, how: str, text_server: Server, node: NodeSession) -> None:
    got = text_server.broken_when_shown(how, node, "send", "ai-sdk-text", release=release, protocol="text")
    assert (HALF, "error", "TypeError") == (got["text"], got["status"], got["errors"][0]["name"])


@pytest.mark.parametrize("release", RELEASES)
def test_text_alone_is_stopped(release: int, text_server: Server, node: NodeSession) -> None:
    got = node.call("send", release=release, url=text_server.url("endless", "ai-sdk-text"), protocol="text", stop=len(HALF))
    assert (True, "ready") == (got["finishes"][0]["isAbort"], got["status"])
    wait_until(text_server.closed)


# ---- all that an answer may hold ----------------------------------------------------------------

RICH: list[Event] = [
    Custom("status", {"doing": "search"}),
    Start("msg-1", "large"),
    ReasoningDelta("I must "),
    ReasoningDelta("look.", signature="proof"),
    ToolCallStart("c1", "search"),
    ToolCallDelta("c1", '{"q":'),
    ToolCallDelta("c1", '"tide"}'),
    ToolCall("c1", "search", '{"q":"tide"}'),
    ToolCall("c2", "broken", '{"q":', complete=False),
    ToolCall("c3", "web", "{}", server=True),
    ToolResult("c3", ["page"]),
    Usage(10, 5),
    Finish("tool-calls"),
    ToolResult("c1", {"high": None}),
    ToolResult("c2", "not run", is_error=True),
    ToolResult("elsewhere", 1),
    Start("msg-2"),
    TextDelta("High "),
    Citation("https://tide.test", "Tides", "quote"),
    Citation(title="Almanac"),
    TextDelta("water."),
    TextDelta("Aside.", 1),
    File("image/png", data=b"png", name="tide.png"),
    DataDelta(b"pcm", "audio/pcm"),
    ToolResult("c1", {"high": 12}),
    Gap(2),
    TextDelta(" Soon.", 0),
    Usage(20, 7),
    Finish(),
]


@pytest.fixture(scope="module")
def rich() -> Iterator[str]:
    with served(sse.Response(lambda: RICH, "ai-sdk")) as url:
        yield url


@pytest.mark.parametrize("release", RELEASES)
def test_tools_reasoning_sources_files_and_data_are_parts_in_their_order(release: int, rich: str, node: NodeSession) -> None:
    got = node.call("send", release=release, url=rich)
    assert ("ready", []) == (got["status"], got["errors"])
    message = got["messages"][-1]
    assert [
        "data-status",
        "step-start",
        "reasoning",
        "tool-search",
        "tool-broken",
        "tool-web",
        "data-tool-result",
        "step-start",
        "text",
        "source-url",
        "source-document",
        "text",
        "file",
        "data-gap",
    ] == parts(message)
    assert ["High water. Soon.", "Aside."] == [part["text"] for part in message["parts"] if part["type"] == "text"]
    assert {"done"} == {part["state"] for part in message["parts"] if part["type"] in ("text", "reasoning")}
    assert ("I must look.", "proof") == (got["reasoning"], part(message, "reasoning")["providerMetadata"]["streamkit"]["signature"])
    search, broken, web = (part(message, f"tool-{name}") for name in ("search", "broken", "web"))
    assert ("output-available", {"q": "tide"}, {"high": 12}) == (search["state"], search["input"], search["output"])
    assert ("output-error", "not run") == (broken["state"], broken["errorText"])
    assert ("output-available", True, ["page"]) == (web["state"], web["providerExecuted"], web["output"])
    assert ["search"] == got["calls"]
    assert ("https://tide.test", "Tides") == (part(message, "source-url")["url"], part(message, "source-url")["title"])
    assert ("image/png", "data:image/png;base64,cG5n") == (part(message, "file")["mediaType"], part(message, "file")["url"])
    assert ["data-status", "data-tool-result", "data-bytes", "data-gap"] == [data["type"] for data in got["data"]]
    assert {"inputTokens": 30, "outputTokens": 12, "totalTokens": 42} == message["metadata"]["usage"]
    assert "large" == message["metadata"]["model"]


def test_assistant_ui_has_the_parts_that_it_knows(rich: str, node: NodeSession) -> None:
    got = node.call("assistant", url=rich)
    assert None is got["error"]
    message = got["message"]
    assert {"type": "complete", "reason": "stop"} == message["status"]
    calls = {part["toolName"]: part for part in message["parts"] if part["type"] == "tool-call"}
    assert ({"q": "tide"}, {"high": None}) == (calls["search"]["args"], calls["search"]["result"])
    assert (True, ["page"]) == (calls["broken"]["isError"], calls["web"]["result"])
    assert {"reasoning", "tool-call", "text", "source", "file"} <= {part["type"] for part in message["parts"]}
    assert "High water.Aside. Soon." == got["text"]


def any_events(draw: random.Random) -> list[Event]:
    """Events in an order that no provider would send them in."""
    events: list[Event] = []
    for number in range(draw.randrange(25)):
        id, index = draw.choice(("c1", "c2")), draw.randrange(3)
        made: list[Event] = [
            TextDelta(f"<{number}>", index),
            ReasoningDelta(f"<{number}>", index, signature=draw.choice((None, None, "s"))),
            ToolCallStart(id, "add"),
            ToolCallDelta(id, draw.choice(('{"a":', "1}", "?"))),
            ToolCall(id, "add", draw.choice(('{"a":1}', "", "{")), complete=draw.random() < 0.8, server=draw.random() < 0.2),
            ToolResult(id, draw.choice((None, 1, "x")), is_error=draw.random() < 0.3),
            draw.choice((Start(draw.choice((None, "m1")), "m"), Finish(), Usage(1, 2))),
            draw.choice((Citation("https://a.test"), Citation(title="t"), File("image/png", data=b"x", name="n"), Gap(1))),
            draw.choice((Custom("x", None), DataDelta(b"x", "audio/pcm"), ReasoningDelta(redacted="r"))),
        ]
        events.append(draw.choice(made))
    return events


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("outcome", [DONE, CANCELLED, Outcome("error", "error", "It failed.")], ids=lambda outcome: outcome.ending)
def test_any_order_of_events_is_taken_by_the_schema_and_the_rules_of_the_client(
    release: int, outcome: Outcome, node: NodeSession
) -> None:
    draw = random.Random(release)
    answers = [any_events(draw) for _ in range(150)]
    streams = []
    for events in answers:
        encoder = AISDKEncoder(model="m")
        frames = [frame for event in events for frame in encoder.encode(event)] + encoder.close(outcome)
        streams.append([json.loads(frame.data) for frame in frames[:-1]])
    for events, got in zip(answers, node.call("readAll", release=release, streams=streams), strict=True):
        assert [] == got["refused"]
        assert (outcome.message or None) == (got["error"] and got["error"]["message"])
        for kind, name in ((TextDelta, "text"), (ReasoningDelta, "reasoning")):
            for index in range(3):
                said = [event.text for event in events if isinstance(event, kind) and event.index == index and event.text]
                assert said == [word for word in re.findall("<[0-9]+>", got[name]) if word in said]


# ---- resume -------------------------------------------------------------------------------------


class Chats:
    """A chat's routes; an answer to "wait" stops in its middle until `go_on`.

    Attributes:
        asked: What users said, in order.
        statuses: Of the responses, as they begin.
        closed: How many sources were closed.
        tears: How many of the next connections break behind the first piece of text, when `tear` says so.
        names: Whether messages have ids that we give.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.statuses: list[int] = []
        self.closed = 0
        self.tears = 0
        self.names = True
        self._routes = ChatRoutes(self._answer, dialect="ai-sdk", id=self._chat, if_running="replace", heartbeat=0.01)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._go = asyncio.Event()
        self._tear = asyncio.Event()

    def go_on(self) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._go.set)

    def tear(self) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._tear.set)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self._loop = asyncio.get_running_loop()
        await self._routes(scope, receive, self._watched(send))

    def _watched(self, send: Any) -> Any:
        tears = self.tears > 0
        self.tears -= tears

        async def watched(message: Any) -> None:
            if message["type"] == "http.response.start":
                self.statuses.append(message["status"])
            await send(message)
            if tears and b"You said" in message.get("body", b""):
                await self._tear.wait()
                raise ConnectionAbortedError

        return watched

    def _chat(self, request: ChatRequest) -> str:
        chat: str = request.json()["id"]
        return chat

    async def _answer(self, request: ChatRequest) -> AsyncIterator[Event]:
        said = request.json()
        assert {"id", "messages", "trigger"} <= said.keys()
        *_, last = said["messages"]
        self.asked.append(last["parts"][0].get("text", last["role"]))
        return self._events(self.asked[-1], answer_id(said["messages"]))

    async def _events(self, text: str, id: str) -> AsyncIterator[Event]:
        try:
            if self.names:
                yield Start(id)
            # What a model's client says of itself: an id for each request.
            yield Start(f"chatcmpl-{len(self.asked)}", "m", "openai")
            if text == "tool":
                yield ToolCall("c1", "clock", "{}")
                yield Finish("tool-calls")
                return
            yield TextDelta(f"You said {text}. ")
            if text == "wait":
                await self._go.wait()
            yield TextDelta("That is all.")
        finally:
            self.closed += 1


BEGUN = "You said wait. "
WAITED = f"{BEGUN}That is all."
ASKED = {"id": "u1", "role": "user", "parts": [{"type": "text", "text": "wait"}]}


@pytest.fixture
def chats() -> Chats:
    return Chats()


@pytest.fixture
def api(chats: Chats) -> Iterator[str]:
    with served(chats, lifespan="on") as url:
        yield url


@pytest.mark.parametrize("release", RELEASES)
def test_a_page_that_is_loaded_while_the_answer_runs_has_all_of_it(release: int, chats: Chats, api: str, node: NodeSession) -> None:
    first = node.ask("send", release=release, url=api, chat="c 1", text="wait")
    wait_until(lambda: [200] == chats.statuses)
    second = node.ask("resume", release=release, url=api, chat="c 1", messages=[ASKED])
    wait_until(lambda: [200, 200] == chats.statuses)
    chats.go_on()
    for asked in (first, second):
        got = node.result(asked)
        assert (WAITED, "ready", [], 2) == (got["text"], got["status"], got["errors"], len(got["messages"]))
    assert ["wait"] == chats.asked


@pytest.mark.parametrize("release", RELEASES)
def test_a_page_that_lost_its_connection_has_the_answer_once(release: int, chats: Chats, api: str, node: NodeSession) -> None:
    name = f"lost-{release}"
    chats.tears = 1
    losing = node.ask("send", name=name, release=release, url=api, text="wait")
    node.call("shown", name=name, length=len(BEGUN))
    chats.tear()
    lost = node.result(losing)
    assert (BEGUN, "error", "TypeError") == (lost["text"], lost["status"], lost["errors"][0]["name"])
    resumed = node.ask("resume", name=name)
    wait_until(lambda: [200, 200] == chats.statuses)
    chats.go_on()
    got = node.result(resumed)
    assert (WAITED, "ready", ["user", "assistant"]) == (got["text"], got["status"], [each["role"] for each in got["messages"]])


@pytest.mark.parametrize("release", RELEASES)
def test_a_page_whose_answer_is_over_does_not_show_it_twice(release: int, chats: Chats, api: str, node: NodeSession) -> None:
    name = f"over-{release}"
    node.call("send", name=name, release=release, url=api, text="Hi")
    for asked in ({"name": name}, {"release": release, "url": api, "chat": "never", "messages": [ASKED]}):
        before = len(chats.statuses)
        got = node.call("resume", **asked)
        assert ([204], "ready", []) == (chats.statuses[before:], got["status"], got["errors"])
    assert 2 == len(node.call("resume", name=name)["messages"])


@pytest.mark.parametrize("names", [True, False])
@pytest.mark.parametrize("release", RELEASES)
def test_a_tool_that_the_page_runs_is_answered_in_the_same_message(
    release: int, names: bool, chats: Chats, api: str, node: NodeSession
) -> None:
    chats.names = names
    got = node.call("send", release=release, url=api, text="tool", output="noon")
    assert (["tool", "assistant"], ["user", "assistant"]) == (chats.asked, [message["role"] for message in got["messages"]])
    assert ["step-start", "tool-clock", "step-start", "text"] == parts(got["messages"][1])
    assert "You said assistant. That is all." == got["text"]


@pytest.mark.parametrize("release", RELEASES)
def test_a_second_question_of_a_chat_has_an_answer_beside_the_first(
    release: int, chats: Chats, api: str, node: NodeSession
) -> None:
    name = f"two-{release}"
    node.call("send", name=name, release=release, url=api, text="one")
    got = node.call("send", name=name, text="two")
    texts = [part["text"] for message in got["messages"] for part in message["parts"] if part["type"] == "text"]
    assert ["one", "You said one. That is all.", "two", "You said two. That is all."] == texts
    assert ["one", "two"] == chats.asked


@pytest.mark.parametrize("release", RELEASES)
def test_res_08_what_was_stopped_stays_stopped_for_who_resumes(release: int, chats: Chats, api: str, node: NodeSession) -> None:
    name = f"stopped-{release}"
    left = node.call("send", name=name, release=release, url=api, chat="c", text="wait", stop=5)
    # The button closes the page's own connection; the answer goes on for who comes back, until it is cancelled.
    assert (True, 0) == (left["finishes"][0]["isAbort"], chats.closed)
    with urlopen(Request(f"{api}/c/cancel", method="POST")) as response:
        assert "cancelled" == json.load(response)["state"]
    assert 1 == chats.closed
    got = node.call("resume", name=name)
    assert (BEGUN, "ready", 204) == (got["text"], got["status"], chats.statuses[-1])


@pytest.mark.parametrize("release", RELEASES)
def test_who_reads_while_it_is_cancelled_keeps_what_came_and_sees_no_error(
    release: int, chats: Chats, api: str, node: NodeSession
) -> None:
    name = f"cancelled-{release}"
    reading = node.ask("send", name=name, release=release, url=api, chat="c", text="wait")
    node.call("shown", name=name, length=len(BEGUN))
    with urlopen(Request(f"{api}/c/cancel", method="POST")) as response:
        assert 200 == response.status
    got = node.result(reading)
    assert (BEGUN, "ready", []) == (got["text"], got["status"], got["errors"])
    assert "cancelled" == got["messages"][-1]["metadata"]["finishReason"]
    assert "done" == part(got["messages"][-1], "text")["state"]
