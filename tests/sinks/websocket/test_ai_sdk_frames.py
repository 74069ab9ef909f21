"""The AI SDK's WebSocket frames: what each of them does, and what is told to who sends others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from asgi_websocket import Talk, talking

from streamkit.dialects.websocket.ai_sdk import AbortFrame, ResumeFrame, SendFrame, read_frame
from streamkit.dialects.websocket.messages import Malformed
from streamkit.errors import OverloadedError
from streamkit.sinks.refusals import Refused
from streamkit.sinks.websocket.ai_sdk_frames import AISDKWebSocketRoutes
from streamkit.sinks.websocket.requests import SocketRequest

pytestmark = pytest.mark.anyio


def send(request: str, chat: str = "chat", text: str = "Hi") -> dict[str, Any]:
    """What the transport sends."""
    message = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": text}]}
    return {
        "type": "send",
        "requestId": request,
        "id": chat,
        "trigger": "submit-message",
        "messages": [message],
        "headers": {},
        "body": {},
    }


def resume(request: str, chat: str = "chat", **more: object) -> dict[str, Any]:
    return {"type": "resume", "requestId": request, "id": chat, "headers": {}, "body": {}, **more}


def said(request: SocketRequest) -> str:
    text: str = request.input["messages"][0]["parts"][0]["text"]
    return text


class Sources:
    """Answers that go on until they are let go, and what became of them."""

    def __init__(self) -> None:
        self.go_on = anyio.Event()
        self.closed: list[str] = []
        self.news = anyio.Event()

    async def __call__(self, request: SocketRequest) -> AsyncIterator[str]:
        try:
            yield f"{said(request)} "
            await self.go_on.wait()
            yield "there"
        finally:
            self.closed.append(said(request))
            self.news.set()


def routes_of(handler: Any, **options: Any) -> AISDKWebSocketRoutes:
    return AISDKWebSocketRoutes(handler, **{"allow_missing_origin": True, **options})


async def answer_to(talk: Talk, request: str) -> list[dict[str, Any]]:
    """All frames of a request, up to its end."""
    frames: list[dict[str, Any]] = []
    while not frames or frames[-1]["type"] not in ("end", "error", "no-active"):
        frames.append(await talk.hears(lambda frame: frame["requestId"] == request))
    return frames


def text_of(frames: list[dict[str, Any]]) -> str:
    assert list(range(len(frames) - 2)) == [frame["sequence"] for frame in frames if frame["type"] == "chunk"]
    return "".join(frame["chunk"].get("delta", "") for frame in frames if frame["type"] == "chunk")


def kinds(frames: list[dict[str, Any]]) -> list[str]:
    return [frame["chunk"]["type"] if frame["type"] == "chunk" else frame["type"] for frame in frames]


async def test_an_answer_is_chunks_numbered_from_0_between_start_and_end() -> None:
    async with routes_of(lambda request: [said(request), "!"]) as routes, talking(routes) as talk:
        await talk.say(send("r1"))
        frames = await answer_to(talk, "r1")
        assert ["start", "start", "start-step", "text-start", "text-delta", "text-delta", "text-end", "finish-step"] == kinds(
            frames
        )[:8]
        assert ["finish", "end"] == kinds(frames)[-2:]
        assert "Hi!" == text_of(frames)


async def test_the_handler_gets_the_whole_frame_and_who_it_is_from_the_handshake() -> None:
    seen: list[Any] = []

    def answer(request: SocketRequest) -> list[str]:
        seen.append((request.owner, request.stream, request.input["trigger"], request.input["headers"]))
        return ["ok"]

    routes = routes_of(answer, owner=lambda request: request.headers["x-user"])
    async with routes, talking(routes, headers=[(b"x-user", b"ann")]) as talk:
        await talk.say({**send("r1"), "headers": {"x-user": "bob"}})
        assert "ok" == text_of(await answer_to(talk, "r1"))
    assert [("ann", "chat", "submit-message", {"x-user": "bob"})] == seen


async def test_a_new_message_stops_the_answer_that_runs_in_its_chat() -> None:
    sources = Sources()
    async with routes_of(sources) as routes, talking(routes) as talk:
        await talk.say(send("r1", text="first"))
        await talk.hears(lambda frame: frame.get("chunk", {}).get("delta") == "first ")
        await talk.say(send("r2", text="second"))
        await talk.hears(lambda frame: frame.get("chunk", {}).get("delta") == "second ")
        assert ["first"] == sources.closed
        first = [frame for frame in talk.told if frame["requestId"] == "r1"]
        assert ["abort", "end"] == kinds(first)[-2:]
        sources.go_on.set()
        await talk.hears(lambda frame: frame == {"type": "end", "requestId": "r2"})
        assert "second there" == text_of([frame for frame in talk.told if frame["requestId"] == "r2"])


async def test_what_runs_is_replayed_from_its_beginning_to_any_number_of_requests() -> None:
    sources = Sources()
    async with routes_of(sources) as routes, talking(routes) as talk, talking(routes) as other:
        await talk.say(send("r1"))
        await talk.hears(lambda frame: frame.get("chunk", {}).get("delta") == "Hi ")
        await other.say(resume("r2"))
        await other.say(resume("r3"))
        await other.say(resume("r4", lastSequence=2))
        for request in ("r2", "r3"):
            await other.hears(lambda frame, request=request: frame == {"type": "start", "requestId": request})  # type: ignore[misc]  # a default
        sources.go_on.set()
        await talk.hears_type("end")
        ended = 0
        while ended < 3:
            ended += (await other.hears_type("end")) is not None
        by_request = {name: [frame for frame in other.told if frame["requestId"] == name] for name in ("r2", "r3", "r4")}
        assert "Hi there" == text_of(by_request["r2"]) == text_of(by_request["r3"])
        assert 3 == next(frame["sequence"] for frame in by_request["r4"] if frame["type"] == "chunk")


async def test_nothing_is_active_where_nothing_runs_and_where_it_is_somebody_elses() -> None:
    sources = Sources()
    ann_is, bob_is = ([(b"x-user", name)] for name in (b"ann", b"bob"))
    routes = routes_of(sources, owner=lambda request: request.headers["x-user"], max_refusals=1)
    async with routes, talking(routes, headers=ann_is) as ann, talking(routes, headers=bob_is) as bob:
        await ann.say(send("r1"))
        await ann.hears(lambda frame: frame.get("chunk", {}).get("delta") == "Hi ")
        for number in range(5):  # asked by each page that is loaded: no offence
            await bob.say(resume(f"b{number}"))
            assert ["no-active"] == kinds(await answer_to(bob, f"b{number}"))
        await bob.say({"type": "abort", "requestId": "r1"})
        sources.go_on.set()
        await ann.hears_type("end")
        assert "Hi there" == text_of(ann.told)
        await ann.say(resume("r2"))
        assert ["no-active"] == kinds(await answer_to(ann, "r2"))


async def test_an_abort_stops_the_source_and_one_of_an_unknown_request_does_nothing() -> None:
    sources = Sources()
    async with routes_of(sources, max_refusals=1) as routes, talking(routes) as talk:
        for number in range(5):
            await talk.say({"type": "abort", "requestId": f"nobody-{number}"})
        await talk.say(send("r1"))
        await talk.hears(lambda frame: frame.get("chunk", {}).get("delta") == "Hi ")
        await talk.say({"type": "abort", "requestId": "r1"})
        await sources.news.wait()
        await talk.hears(lambda frame: frame.get("chunk", {}).get("type") == "abort")
        await talk.hears_type("end")
        assert ["Hi"] == sources.closed


async def test_an_abort_that_comes_before_the_answer_has_begun_stops_it_once_it_has() -> None:
    sources = Sources()
    begin = anyio.Event()

    async def late(request: SocketRequest) -> AsyncIterator[str]:
        await begin.wait()
        return sources(request)

    async with routes_of(late) as routes, talking(routes) as talk:
        await talk.say(send("r1"))
        await talk.say({"type": "abort", "requestId": "r1"})
        await talk.say("?")
        await talk.hears_type("error")  # the two before it were heard
        begin.set()
        frames = await answer_to(talk, "r1")
        assert ["abort", "end"] == kinds(frames)[-2:]


async def test_an_abort_of_an_answer_that_was_replaced_leaves_the_new_one_alone() -> None:
    sources = Sources()
    async with routes_of(sources) as routes, talking(routes) as talk:
        await talk.say(send("r1", text="first"))
        await talk.hears(lambda frame: frame.get("chunk", {}).get("delta") == "first ")
        await talk.say(send("r2", text="second"))
        await talk.say({"type": "abort", "requestId": "r1"})
        await talk.hears(lambda frame: frame.get("chunk", {}).get("delta") == "second ")
        sources.go_on.set()
        await talk.hears(lambda frame: frame == {"type": "end", "requestId": "r2"})
        assert "second there" == text_of([frame for frame in talk.told if frame["requestId"] == "r2"])


@pytest.mark.parametrize("when", ["before", "behind"])
async def test_a_failure_is_told_without_its_text(when: str) -> None:
    async def fails(request: SocketRequest) -> AsyncIterator[str]:
        if when == "behind":
            yield "Hel"
        raise OverloadedError("sk-secret of a provider")

    async with routes_of(fails) as routes, talking(routes) as talk:
        await talk.say(send("r1"))
        frames = await answer_to(talk, "r1")
        told = frames[-1]["errorText"] if when == "before" else frames[-2]["chunk"]["errorText"]
        assert "The model is overloaded. Try again later." == told
        assert "secret" not in str(talk.told)


async def test_a_handler_that_refuses_is_quoted_and_one_that_breaks_is_not() -> None:
    def answer(request: SocketRequest) -> list[str]:
        if said(request) == "refuse":
            raise Refused(402, "Pay first.")
        raise RuntimeError("secret")

    async with routes_of(answer) as routes, talking(routes) as talk:
        for number, (text, told) in enumerate([("refuse", "Pay first."), ("break", "The stream failed.")]):
            await talk.say(send(f"r{number}", text=text))
            assert [{"type": "error", "requestId": f"r{number}", "errorText": told}] == await answer_to(talk, f"r{number}")


@pytest.mark.parametrize(
    ("frame", "request_id", "text"),
    [
        ("{", "", "This is not JSON."),
        ("[]", "", "A frame is a JSON object with a type."),
        ('{"type":"sing","requestId":"r1"}', "r1", "There is no frame of this type."),
        ('{"type":"send","requestId":"r1"}', "r1", "This is no send frame."),
        ('{"type":"send","requestId":7,"id":"c","messages":[]}', "", "This is no send frame."),
        ('{"type":"send","requestId":"r1","id":"c","messages":{}}', "r1", "This is no send frame."),
        ('{"type":"resume","requestId":"r1","id":"c","lastSequence":-1}', "r1", "This is no resume frame."),
        ('{"type":"resume","requestId":"r1","id":"' + "c" * 201 + '"}', "r1", "This is no resume frame."),
        ('{"type":"abort"}', "", "This is no abort frame."),
    ],
)
async def test_ws_12_a_malformed_frame_is_refused_and_the_connection_stays(frame: str, request_id: str, text: str) -> None:
    async with routes_of(lambda request: ["ok"]) as routes, talking(routes) as talk:
        await talk.say(frame)
        assert {"type": "error", "requestId": request_id, "errorText": text} == await talk.hears_type("error")
        await talk.say(send("next"))
        assert "ok" == text_of(await answer_to(talk, "next"))


async def test_ws_12_a_client_that_sends_nothing_else_is_closed_by_its_budget() -> None:
    async with routes_of(lambda request: ["ok"], max_refusals=3) as routes, talking(routes) as talk:
        for _ in range(4):
            await talk.say("{")
        assert 1008 == await talk.is_closed()
        assert 4 == len(talk.told)


async def test_a_request_number_that_is_in_use_is_refused() -> None:
    sources = Sources()
    async with routes_of(sources) as routes, talking(routes) as talk:
        await talk.say(send("r1"))
        await talk.hears(lambda frame: frame.get("chunk", {}).get("delta") == "Hi ")
        await talk.say(send("r1", chat="other"))
        assert "There is a request of this number already." == (await talk.hears_type("error"))["errorText"]
        sources.go_on.set()
        await talk.hears_type("end")


async def test_a_drain_fails_every_request_in_words_that_say_why() -> None:
    sources = Sources()
    async with routes_of(sources) as routes, talking(routes) as talk:
        await talk.say(send("r1"))
        await talk.hears(lambda frame: frame.get("chunk", {}).get("delta") == "Hi ")
        await routes.drain()
        assert "The server is shutting down. Reconnect to go on." == (await talk.hears_type("error"))["errorText"]
        assert 1001 == await talk.is_closed()


async def test_a_client_that_leaves_stops_reading_and_the_answer_goes_on() -> None:
    sources = Sources()
    async with routes_of(sources) as routes:
        async with talking(routes) as talk:
            await talk.say(send("r1"))
            await talk.hears(lambda frame: frame.get("chunk", {}).get("delta") == "Hi ")
        assert 0 == (await routes.hub.status("chat")).readers
        assert [] == sources.closed
        sources.go_on.set()
        await sources.news.wait()
        assert "Hi there" == await routes.hub.subscribe("chat").join()


def test_frames_are_read_as_the_transport_writes_them() -> None:
    assert AbortFrame("r1") == read_frame('{"type":"abort","requestId":"r1"}')
    assert ResumeFrame("r1", "c", None) == read_frame('{"type":"resume","requestId":"r1","id":"c","headers":{},"body":{}}')
    found = read_frame('{"type":"send","requestId":"r1","id":"c","trigger":"regenerate-message","messageId":"m","messages":[{}]}')
    assert isinstance(found, SendFrame)
    assert ("regenerate-message", 1) == (found.trigger, len(found.messages))
    assert isinstance(read_frame('{"type":"send","requestId":"r1","id":"c","messages":[' + "[" * 100_000), Malformed)
