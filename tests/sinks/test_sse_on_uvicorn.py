"""Our endpoint under a real server, from a bare ASGI app, Starlette and FastAPI, read by clients that we did not write."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import httpx_sse
import pytest
import uvicorn
from asgi_client import App
from served import PATIENCE_S, served, wait_until

import streamkit as sk
from streamkit.dialects.native import NativeDecoder
from streamkit.integrations.fastapi import EventStreamResponse
from streamkit.sinks import sse
from streamkit.wire.sse import Decoder

Serve = Callable[[App], str]


@pytest.fixture(params=["asyncio", "uvloop"])
def serve(request: pytest.FixtureRequest) -> Iterator[Serve]:
    """`serve(app)` gives the base URL; every server is stopped when the test is over."""
    with ExitStack() as running:
        yield lambda app: running.enter_context(served(app, request.param))


# What breaks careless clients: line ends of all kinds, characters of many bytes, leading space, quotes.
PIECES = [" Hello", ", wörld\n", "\r\n", "\u2028\u2029\x85", "😀", '"quoted" \\ data: x\n\n', "e\u0301nd "]
TEXT = "".join(PIECES)


async def answer() -> AsyncIterator[str]:
    for piece in PIECES:
        yield piece
        await asyncio.sleep(0)


def bare() -> App:
    return sse.Response(sk.stream(answer), "openai-chat", model="m")


def starlette() -> App:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.routing import Route

    async def chat(request: Request) -> EventStreamResponse:
        await request.json() if request.method == "POST" else None
        return EventStreamResponse(sk.stream(answer()), "openai-chat", model="m")

    return Starlette(routes=[Route("/chat/completions", chat, methods=["GET", "POST"])])


def fastapi() -> App:
    from fastapi import FastAPI

    app = FastAPI()

    @app.post("/chat/completions")
    async def posted(body: dict[str, Any]) -> EventStreamResponse:
        assert body["stream"] is True
        return EventStreamResponse(sk.stream(answer()), "openai-chat", model="m")

    @app.get("/chat/completions", response_class=EventStreamResponse)
    async def got() -> Any:
        return EventStreamResponse(sk.stream(answer()), "openai-chat", model="m")

    return app


APPS = [bare, starlette, fastapi]


def by_openai(url: str) -> str:
    import openai

    with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client:
        chunks = list(client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hi"}], stream=True))
    assert "stop" == chunks[-1].choices[0].finish_reason
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def by_httpx_sse(url: str) -> str:
    with httpx.Client(timeout=PATIENCE_S) as client, httpx_sse.connect_sse(client, "GET", f"{url}/chat/completions") as events:
        return _joined([event.data for event in events.iter_sse()])


def by_curl(url: str) -> str:
    curl = shutil.which("curl")
    assert curl is not None
    done = subprocess.run(
        [curl, "-sN", "--max-time", "20", f"{url}/chat/completions"], capture_output=True, check=True, timeout=PATIENCE_S
    )
    return _joined([line.removeprefix("data: ") for line in done.stdout.decode().split("\n") if line])


def _joined(frames: list[str]) -> str:
    assert "[DONE]" == frames[-1]
    return "".join(json.loads(data)["choices"][0]["delta"].get("content", "") for data in frames[:-1])


@pytest.mark.parametrize("app", APPS)
def test_the_openai_sdk_and_httpx_sse_read_every_character(serve: Serve, app: Callable[[], App]) -> None:
    url = serve(app())
    assert TEXT == by_openai(url)
    assert TEXT == by_httpx_sse(url)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("app", APPS)
def test_curl_reads_every_character(serve: Serve, app: Callable[[], App]) -> None:
    assert TEXT == by_curl(serve(app()))


def test_the_headers_arrive_and_no_connection_header_is_ours(serve: Serve) -> None:
    with httpx.Client(timeout=PATIENCE_S) as client:
        got = client.get(serve(bare()))
    assert "text/event-stream; charset=utf-8" == got.headers["content-type"]
    assert "no-cache, no-transform, no-store, private" == got.headers["cache-control"]
    assert "no" == got.headers["x-accel-buffering"]
    assert "connection" not in got.headers


def test_tokens_arrive_while_the_source_goes_on(serve: Serve) -> None:
    go = threading.Event()

    async def stepwise() -> AsyncIterator[str]:
        yield "first"
        while not go.is_set():  # noqa: ASYNC110  # set by another thread
            await asyncio.sleep(0.001)
        yield "second"

    with httpx.Client(timeout=PATIENCE_S) as client, client.stream("GET", serve(sse.Response(sk.stream(stepwise())))) as got:
        decoder, texts = Decoder(), []
        for chunk in got.iter_raw():
            texts += [json.loads(frame.data).get("text") for frame in decoder.feed(chunk)]
            if "first" in texts:
                go.set()
    assert [None, "first", "second", None, None] == texts


def test_an_early_failure_is_an_error_of_the_openai_sdk(serve: Serve) -> None:
    import openai

    async def limited() -> AsyncIterator[str]:
        raise sk.RateLimitError("key sk-secret-secret-secret", retry_after=7)
        yield ""

    url = serve(sse.Response(sk.stream(limited), "openai-chat"))
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client, pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hi"}], stream=True)
    assert "7" == caught.value.response.headers["retry-after"]
    assert "rate-limited" == caught.value.code
    assert "secret" not in str(caught.value)


def test_a_late_failure_is_an_error_of_the_openai_sdk_behind_the_text(serve: Serve) -> None:
    import openai

    async def broken() -> AsyncIterator[str]:
        yield "kept"
        raise ValueError("secret")

    url = serve(sse.Response(sk.stream(broken), "openai-chat"))
    texts: list[str] = []
    with (
        openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client,
        pytest.raises(openai.APIError, match="The stream failed"),
    ):
        for chunk in client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hi"}], stream=True):
            texts.append(chunk.choices[0].delta.content or "")
    assert "kept" == "".join(texts)


class Endless:
    """A source without an end, that says when it was closed."""

    def __init__(self, *, pause: float | None) -> None:
        self.given = 0
        self.closed = 0
        self._pause = pause

    async def events(self) -> AsyncIterator[str]:
        try:
            while True:
                self.given += 1
                yield "x" * 1000
                if self._pause is not None:
                    await asyncio.sleep(self._pause)
        finally:
            self.closed += 1


def connect(url: str) -> socket.socket:
    host, port = url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=PATIENCE_S)
    connection.sendall(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n")
    return connection


class Turns:
    """An application that counts the turns of its event loop: at which the server told that the client has left, and what followed.

    No machine makes more of them by being slow, and waiting for a timer takes thousands.
    """

    def __init__(self) -> None:
        self.now = 0
        self.left_at: list[int] = []
        self.closed_at: list[int] = []

    async def events(self) -> AsyncIterator[str]:
        try:
            yield "x"
            await asyncio.sleep(3600)
        finally:
            self.closed_at.append(self.now)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        loop = asyncio.get_running_loop()

        over = False

        def turn() -> None:
            self.now += 1
            if not over:
                loop.call_soon(turn)

        async def watched_receive() -> Any:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.left_at.append(self.now)
            return message

        loop.call_soon(turn)
        try:
            await sse.Response(sk.stream(self.events))(scope, watched_receive, send)
        finally:
            over = True


def test_the_source_is_closed_within_a_few_turns_of_the_event_loop_when_the_client_has_left(serve: Serve) -> None:
    turns = Turns()
    url = serve(turns)
    for round_ in range(1, 8):
        with connect(url) as connection:
            assert connection.recv(100)
        wait_until(lambda n=round_: len(turns.closed_at) == n)  # type: ignore[misc]  # a default makes it this round's
    assert 7 == len(turns.left_at)
    assert 10 > max(closed - left for left, closed in zip(turns.left_at, turns.closed_at, strict=True))


def test_a_client_that_stops_reading_stops_the_source_and_leaving_still_closes_it(serve: Serve) -> None:
    source = Endless(pause=0)
    url = serve(sse.Response(sk.stream(source.events), heartbeat=0.05))
    with connect(url) as connection:
        assert connection.recv(1000)
        seen = -1

        def stalled() -> bool:
            nonlocal seen
            before, seen = seen, source.given
            time.sleep(0.05)
            return before == source.given

        wait_until(stalled)
        # What the kernels' buffers and the server's take, and no more: the source is not drained behind the client's back.
        assert 20_000 > source.given
        assert 0 == source.closed
    wait_until(lambda: source.closed)


def test_two_hundred_streams_at_once_are_all_complete(serve: Serve) -> None:
    closed: list[int] = []

    async def numbers() -> AsyncIterator[str]:
        try:
            for number in range(50):
                yield f"{number} "
                await asyncio.sleep(0)
        finally:
            closed.append(1)

    url = serve(sse.Response(sk.stream(numbers)))

    async def read() -> list[str]:
        limits = httpx.Limits(max_connections=200)
        async with httpx.AsyncClient(limits=limits, timeout=60) as client:
            return [one.text for one in await asyncio.gather(*[client.get(url) for _ in range(200)])]

    expected = "".join(f"{number} " for number in range(50))
    for body in asyncio.run(read()):
        decoder = NativeDecoder()
        events = decoder.decode_many(Decoder().feed(body.encode())) + decoder.finish()
        assert expected == "".join(event.text for event in events if isinstance(event, sk.TextDelta))
    assert 200 == len(closed)


def test_nothing_runs_on_when_the_responses_are_over(serve: Serve) -> None:
    left: list[set[str]] = []
    source = Endless(pause=3600)
    response = sse.Response(sk.stream(answer), heartbeat=0.001)
    waiting = sse.Response(sk.stream(source.events))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/tasks":
            left.append({task.get_name() for task in asyncio.all_tasks()})
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})
        else:
            await (waiting if scope["path"] == "/" else response)(scope, receive, send)

    url = serve(app)
    for _ in range(5):
        httpx.get(f"{url}/answer", timeout=PATIENCE_S)
    with connect(url) as connection:
        assert connection.recv(100)
    wait_until(lambda: source.closed)
    wait_until(
        lambda: httpx.get(f"{url}/tasks", timeout=PATIENCE_S) and not {name for name in left[-1] if name.startswith("streamkit")}
    )


def test_a_server_that_stops_closes_the_sources_of_its_streams() -> None:
    source = Endless(pause=3600)

    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        sse.Response(sk.stream(source.events)), lifespan="off", ws="none", log_level="critical", timeout_graceful_shutdown=0
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    wait_until(lambda: server.started)
    with connect(f"http://127.0.0.1:{listening.getsockname()[1]}") as connection:
        assert connection.recv(100)
        server.should_exit = True
        thread.join(PATIENCE_S)
    assert 1 == source.closed
