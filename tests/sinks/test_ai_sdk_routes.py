"""The routes of a chat as the AI SDK's transports use them: POST {id, messages}, GET {id}/stream without a resume point."""

from __future__ import annotations

import json
from typing import Any, Literal

import anyio
import msgspec
import pytest
from anyio.lowlevel import checkpoint
from asgi_client import Client

from streamkit.dialects import get
from streamkit.errors import StoreError
from streamkit.events import TextDelta
from streamkit.hub.hub import Hub
from streamkit.sinks.chats import ChatRequest, ChatRoutes
from streamkit.sinks.resuming import HubResponse

pytestmark = pytest.mark.anyio

BODY = {
    "id": "chat-1",
    "messages": [{"id": "m1", "role": "user", "parts": [{"type": "text", "text": "Hi"}]}],
    "trigger": "submit-message",
}


def answer(request: ChatRequest) -> list[str]:
    return ["You said: ", request.json()["messages"][-1]["parts"][0]["text"]]


def chat_of(request: ChatRequest) -> str:
    chat: str = request.json()["id"]
    return chat


async def call(routes: Any, method: str, path: str = "/", body: object = None, **options: Any) -> Client:
    return await Client(method=method, path=path, body=(json.dumps(body).encode(),), **options).call(routes)


def chunks(client: Client) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in client.body.decode().split("\n") if line.startswith("data: ")]
    assert "[DONE]" == lines[-1]
    return [json.loads(line) for line in lines[:-1]]


def text(client: Client) -> str:
    return "".join(chunk.get("delta", "") for chunk in chunks(client))


async def test_a_start_is_answered_in_the_vocabulary_with_its_header_and_without_event_names() -> None:
    async with ChatRoutes(answer, dialect="ai-sdk", id=chat_of) as routes:
        client = await call(routes, "POST", body=BODY)
    assert (200, "v1") == (client.status, client.headers["x-vercel-ai-ui-message-stream"])
    assert "text/event-stream; charset=utf-8" == client.headers["content-type"]
    assert "You said: Hi" == text(client)
    assert b"event:" not in client.body
    assert {"type": "start"} == chunks(client)[0]  # the chat's name is no message's


async def test_a_chat_that_never_was_and_one_that_is_over_have_nothing_to_resume() -> None:
    async with ChatRoutes(answer, dialect="ai-sdk", id=chat_of) as routes:
        assert 204 == (await call(routes, "GET", "/chat-1/stream")).status
        await call(routes, "POST", body=BODY)
        for method in ("GET", "HEAD"):
            over = await call(routes, method, "/chat-1/stream")
            assert (204, b"") == (over.status, over.body)


async def test_who_has_a_resume_point_is_given_the_rest_of_an_answer_that_is_over() -> None:
    async with ChatRoutes(answer, dialect="ai-sdk", id=chat_of) as routes:
        client = await call(routes, "POST", body=BODY)
        first = next(line[4:] for line in client.body.decode().split("\n") if line.startswith("id: "))
        rest = await call(routes, "GET", "/chat-1/stream", headers={"last-event-id": first})
    assert (200, "Hi") == (rest.status, text(rest))


async def test_an_answer_that_runs_is_resumed_from_its_beginning() -> None:
    go = anyio.Event()

    async def slow() -> Any:
        yield "one "
        await go.wait()
        yield "two"

    async with ChatRoutes(lambda request: slow(), dialect="ai-sdk", id=chat_of) as routes, anyio.create_task_group() as tasks:
        started = Client(method="POST", body=(json.dumps(BODY).encode(),))
        tasks.start_soon(started.call, routes)
        while b"one" not in b"".join(message.get("body", b"") for message in started.messages):
            await checkpoint()
        assert 200 == (await call(routes, "HEAD", "/chat-1/stream")).status
        resumed = Client(method="GET", path="/chat-1/stream")
        tasks.start_soon(resumed.call, routes)
        while not resumed.messages:
            await checkpoint()
        go.set()
    assert "one two" == text(started) == text(resumed)
    assert started.body == resumed.body


async def test_a_second_question_gets_its_own_answer_though_the_first_runs() -> None:
    async def endless() -> Any:
        while True:
            yield "x"
            await checkpoint()

    def reply(request: ChatRequest) -> Any:
        return endless() if request.json()["messages"][-1]["id"] == "m1" else ["second"]

    routes = ChatRoutes(reply, dialect="ai-sdk", id=chat_of, if_running="replace")
    async with routes, anyio.create_task_group() as tasks:
        first = Client(method="POST", body=(json.dumps(BODY).encode(),))
        tasks.start_soon(first.call, routes)
        while len(first.messages) < 3:
            await checkpoint()
        second = await call(routes, "POST", body={**BODY, "messages": [{"id": "m2"}]})
    assert "second" == text(second)
    assert "abort" == chunks(first)[-1]["type"]


@pytest.mark.parametrize(("missing", "status"), [(404, 200), (204, 204)])
async def test_a_response_that_is_for_joining_only_has_nothing_of_what_is_over(missing: Literal[204, 404], status: int) -> None:
    async with Hub() as hub:
        await hub.start("a", ["x"])
        await hub.subscribe("a").collect()
        response = HubResponse(hub, "a", "ai-sdk", missing=missing)
        assert (status, status) == ((await call(response, "GET")).status, (await call(response, "HEAD")).status)
        assert 200 == (await call(response, "POST")).status
        assert 200 == (await call(HubResponse(hub, "a", "native", missing=missing), "GET")).status


async def test_a_dialect_that_replays_is_one_line_away() -> None:
    replaying = msgspec.structs.replace(get("ai-sdk"), replays_ended=True)
    async with ChatRoutes(answer, dialect=replaying, id=chat_of) as routes:
        await call(routes, "POST", body=BODY)
        assert "You said: Hi" == text(await call(routes, "GET", "/chat-1/stream"))


async def test_a_store_that_is_away_is_no_empty_chat(monkeypatch: pytest.MonkeyPatch) -> None:
    async def look(id: str, *, asked: object, action: str) -> None:
        raise StoreError("away")

    async with ChatRoutes(answer, dialect="ai-sdk", id=chat_of) as routes:
        monkeypatch.setattr(routes.hub, "look", look)
        assert 503 == (await call(routes, "GET", "/chat-1/stream")).status


async def test_text_alone_is_plain_text() -> None:
    async with ChatRoutes(lambda request: [TextDelta("a\n"), TextDelta("ü")], dialect="ai-sdk-text", id=chat_of) as routes:
        client = await call(routes, "POST", body=BODY)
    assert ("text/plain; charset=utf-8", "a\nü") == (client.headers["content-type"], client.body.decode())
