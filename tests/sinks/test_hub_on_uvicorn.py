"""Streams of a hub under a real server: over a wire that tears, in several dialects at once, by clients that we did not write."""

from __future__ import annotations

import asyncio
import json
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import groupby
from typing import Any

import anthropic
import httpx
import httpx2
import openai
import pytest
from asgi_client import App
from node_clients import node_program
from served import PATIENCE_S, BrokenWire, broken_wire, served, wait_until

import streamkit as sk
from streamkit.clients.event_source import sse
from streamkit.dialects.registry import get
from streamkit.hub.hub import Hub
from streamkit.integrations.fastapi import HubStreamResponse
from streamkit.sinks.chats import ChatRequest, ChatRoutes
from streamkit.sinks.resuming import HubResponse
from streamkit.wire.sse import Decoder, Frame

PIECES = ["Hello ", "wörld\n", "\r\n", "\u2028\u2029\x85", "😀", '"quoted" \\ data: x\n\n', "e\u0301nd ", "id: 7\n"]
DIALECTS = ["native", "openai-chat", "anthropic", "openai-responses"]
# The address at which each dialect's own client asks.
PATHS = {"/v1/chat/completions": "openai-chat", "/v1/responses": "openai-responses", "/v1/messages": "anthropic"}


def answer_of(count: int) -> list[str]:
    return [f"{number} {PIECES[number % len(PIECES)]}" for number in range(count)]


class Generations:
    """An application with one generation per name, started by the first who asks, in the dialect that the path says.

    Args:
        count: How many deltas it has.
        live: How many of the last ones come slowly, so that connections break while it goes on, too.
    """

    def __init__(self, count: int, *, live: int = 0, readers: int = 1, **options: Any) -> None:
        self.hub = Hub()
        self.runs = 0
        self.text = "".join(answer_of(count))
        self._pieces = answer_of(count)
        self._live = live
        self._readers = readers
        self._options = options

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path: str = scope["path"]
        dialect = PATHS.get(path) or path.strip("/")
        await self.hub.start("x", self._source)
        await HubResponse(self.hub, "x", dialect, model="m", **self._options)(scope, receive, send)

    async def _source(self) -> AsyncIterator[str]:
        self.runs += 1
        for _ in range(5000):  # a client that fails does not hold up the others for ever
            if (await self.hub.status("x")).readers >= self._readers:
                break
            await asyncio.sleep(0.001)
        for number, piece in enumerate(self._pieces):
            yield piece
            if number % 4 == 0 and number >= len(self._pieces) - self._live:
                await asyncio.sleep(0.001)


@pytest.fixture(params=["asyncio", "uvloop"])
def serve(request: pytest.FixtureRequest) -> Iterator[Callable[[App], str]]:
    """`serve(app)` gives the base URL; every server is stopped when the test is over."""
    with ExitStack() as running:
        yield lambda app: running.enter_context(served(app, request.param))


def resumed(url: str) -> list[Frame]:
    """What a client has in the end that asks again, with the last id, as long as there is more."""
    frames: list[Frame] = []
    with httpx2.Client(timeout=PATIENCE_S) as client:
        while True:
            last = frames[-1].id if frames else ""
            decoder = Decoder(last_event_id=last)
            try:
                with client.stream("GET", url, headers={"Last-Event-ID": last} if last else {}) as response:
                    if response.status_code == 204:
                        return frames
                    assert 200 == response.status_code
                    for chunk in response.iter_raw():
                        frames += decoder.feed(chunk)
            except httpx2.TransportError:
                continue


def text_of(frames: list[Frame], dialect: str) -> str:
    factory = get(dialect).decoder
    assert factory is not None
    decoder = factory()
    events = decoder.decode_many(frames) + decoder.finish()
    return "".join(event.text for event in events if isinstance(event, sk.TextDelta))


@pytest.mark.parametrize(
    ("dialect", "seed"), [("native", 1), ("native", 2), ("native", 3), *zip(DIALECTS[1:], (4, 5, 6), strict=True)]
)
def test_fifty_torn_connections_change_no_byte_of_the_text(dialect: str, seed: int) -> None:
    app = Generations(1500, live=600)
    with served(app) as url, broken_wire(url, seed=seed) as wire:
        frames = resumed(f"{wire.url}/{dialect}")
        assert 50 == wire.torn
        undisturbed = resumed(f"{url}/{dialect}")
    assert app.text == text_of(frames, dialect) == text_of(undisturbed, dialect)
    assert 1 == app.runs
    if dialect == "native":  # which has two frames for the first and the last event, of which the former may come again
        assert undisturbed == [frame for frame, _ in groupby(frames)]


@pytest.mark.parametrize("tests_own_seed", [random.randrange(1 << 32)], ids=["drawn"])
def test_fifty_torn_connections_by_our_own_client(tests_own_seed: int) -> None:
    app = Generations(1500, live=600, retry=1)
    with served(app) as url, broken_wire(url, seed=tests_own_seed) as wire:

        async def main() -> list[Frame]:
            return await sse(f"{wire.url}/native", min_wait=0.001, max_wait=0.01, max_retries=60).collect()

        frames = asyncio.run(main())
        assert 50 == wire.torn, tests_own_seed
    assert app.text == text_of(frames, "native"), tests_own_seed


EVENT_SOURCE = """
const source = new EventSource(process.argv[1]);
let text = "", opened = 0;
setInterval(() => {}, 1000);  // its own timers keep no process alive
source.onopen = () => { opened += 1; };
source.onmessage = (message) => {
    const value = JSON.parse(message.data);
    if (value.type === "text-delta") text += value.text;
};
source.onerror = () => {
    if (source.readyState === EventSource.CLOSED) {
        process.stdout.write(JSON.stringify({ text, opened }));
        process.exit(0);
    }
};
"""


def test_an_event_source_comes_through_torn_connections_and_stops_at_204() -> None:
    app = Generations(600, live=200, retry=1)
    # Behind the head of the answer: that of node gives up, without a word, on a head that is torn.
    with served(app) as url, broken_wire(url, seed=4, tears=20, least_bytes=500) as wire:
        command = [str(node_program()), "--experimental-eventsource", "-e", EVENT_SOURCE, f"{wire.url}/native"]
        done = subprocess.run(command, capture_output=True, check=True, timeout=PATIENCE_S)
        told = json.loads(done.stdout)
        assert 20 == wire.torn
    assert app.text == told["text"]
    assert 2 < told["opened"]


def by_openai_chat(url: str) -> str:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        chunks = list(client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hi"}], stream=True))
    assert "stop" == chunks[-1].choices[0].finish_reason
    assert {"x"} == {chunk.id for chunk in chunks}
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def by_openai_responses(url: str) -> str:
    with (
        openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
        client.responses.stream(model="m", input="Hi") as stream,
    ):
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        assert text == stream.get_final_response().output_text
    return text


def by_anthropic(url: str) -> str:
    with (
        anthropic.Anthropic(base_url=url, api_key="none", max_retries=0) as client,
        client.messages.stream(model="m", max_tokens=9, messages=[{"role": "user", "content": "Hi"}]) as stream,
    ):
        text = "".join(stream.text_stream)
        assert text == stream.get_final_text()
    return text


def by_streamkit(url: str) -> str:
    async def main() -> str:
        async with httpx2.AsyncClient(timeout=PATIENCE_S) as client:
            return await sk.from_http(client.stream("GET", f"{url}/native"), "native").join()

    return asyncio.run(main())


def test_one_generation_is_read_in_four_dialects_at_once_by_their_own_clients(serve: Callable[[App], str]) -> None:
    app = Generations(200, live=200, readers=4)
    url = serve(app)
    with ThreadPoolExecutor(4) as threads:
        clients = [threads.submit(read, url) for read in (by_openai_chat, by_openai_responses, by_anthropic, by_streamkit)]
        assert [app.text] * 4 == [client.result(PATIENCE_S) for client in clients]
    assert 1 == app.runs


def test_two_torn_readers_in_two_dialects_of_one_generation_have_the_same_text() -> None:
    app = Generations(800, live=400)
    with served(app) as url, broken_wire(url, seed=5) as one, broken_wire(url, seed=6) as other, ThreadPoolExecutor(2) as threads:
        native = threads.submit(resumed, f"{one.url}/native")
        chat = threads.submit(resumed, f"{other.url}/openai-chat")
        assert app.text == text_of(native.result(PATIENCE_S), "native") == text_of(chat.result(PATIENCE_S), "openai-chat")
        assert [50, 50] == [one.torn, other.torn]
    assert 1 == app.runs


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_starts_resumes_and_stops() -> None:
    async def words() -> AsyncIterator[str]:
        yield "one "
        yield "two "
        await asyncio.sleep(3600)

    def curl(*arguments: str) -> str:
        command = ["curl", "-sN", "--max-time", "60", *arguments]
        return subprocess.run(command, capture_output=True, check=False, timeout=PATIENCE_S + 10).stdout.decode()

    with served(ChatRoutes(lambda request: words, id=lambda request: "c")) as url:
        started = subprocess.Popen(["curl", "-sN", "-X", "POST", f"{url}/"], stdout=subprocess.PIPE)
        assert started.stdout is not None
        lines = iter(started.stdout.readline, b"")
        token = next(line for line in lines if line.startswith(b"id: ")).decode().strip()[4:]
        joined = subprocess.Popen(["curl", "-sN", "-H", f"Last-Event-ID: {token}", f"{url}/c/stream"], stdout=subprocess.PIPE)
        assert joined.stdout is not None
        assert b'data: {"type":"text-delta","text":"two "}\n' in iter(joined.stdout.readline, b"")
        assert "cancelled" == json.loads(curl("-X", "POST", f"{url}/c/cancel"))["state"]
        for client in (started, joined):
            assert client.stdout is not None
            assert b'"reason":"cancelled"' in client.stdout.read()
            client.stdout.close()
            assert 0 == client.wait(PATIENCE_S)
        assert "404" == curl("-o", "/dev/null", "-w", "%{http_code}", f"{url}/d")


def test_res_04_a_megabyte_of_last_event_id_ends_at_the_server_or_here_with_400(serve: Callable[[App], str]) -> None:
    app = Generations(10)
    url = serve(app)
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as connection:
        connection.sendall(b"GET /native HTTP/1.1\r\nhost: test\r\nlast-event-id: ")
        received = b""
        try:
            for _ in range(256):
                connection.sendall(b"a" * 4096)
            connection.sendall(b"\r\n\r\n")
            received = connection.recv(4096)
        except OSError:  # it was closed in the middle
            received = received or b"HTTP/1.1 400 "
    assert received.startswith(b"HTTP/1.1 4")
    assert app.text == text_of(resumed(f"{url}/native"), "native")


def starlette_app() -> App:
    from starlette.applications import Starlette
    from starlette.routing import Mount

    return Starlette(routes=[Mount("/chat", ChatRoutes(echo))])


def fastapi_app() -> App:
    from fastapi import FastAPI

    app = FastAPI()
    app.mount("/chat", ChatRoutes(echo))
    return app


def bare_app() -> App:
    return ChatRoutes(echo)


def echo(request: ChatRequest) -> list[str]:
    return ["You said: ", request.json()["prompt"]]


@pytest.mark.parametrize(("app", "place"), [(bare_app, ""), (starlette_app, "/chat"), (fastapi_app, "/chat")])
def test_the_routes_work_wherever_they_are_mounted(serve: Callable[[App], str], app: Callable[[], App], place: str) -> None:
    url = serve(app())
    with httpx.Client(base_url=url, follow_redirects=True, timeout=PATIENCE_S) as client:
        started = client.post(f"{place}/" if place else "/", json={"prompt": "Hi"})
        location = started.headers["location"]
        assert f"{place}/{started.headers['x-stream-id']}/stream" == location
        assert started.content == client.get(location).content
        assert "You said: Hi" == text_of(Decoder().feed(started.content), "native")
        last = re.findall(r"^id: (.+)$", started.text, re.MULTILINE)[-1]
        assert 204 == client.get(location, headers={"last-event-id": last}).status_code
        assert 204 == client.get(f"{place}/none/stream").status_code
        status = client.get(location.removesuffix("/stream")).json()
        assert ("done", last) == (status["state"], status["token"])
        if place:  # without the slash at its end, as people write it
            assert started.text.count("data: ") == client.post(place, json={"prompt": "Hi"}).text.count("data: ")


def test_a_fastapi_endpoint_returns_a_hubs_stream_for_its_user() -> None:
    from fastapi import FastAPI

    hub, app = Hub(), FastAPI()

    @app.get("/{id}/stream", response_class=HubStreamResponse)
    async def join(id: str, user: str) -> Any:
        await hub.start("x", ["a", "b"], owner="me")
        response = HubStreamResponse(hub, id, "openai-chat", owner=user)
        response.set_cookie("seen", "1")
        return response

    with served(app) as url, httpx.Client(base_url=url, timeout=PATIENCE_S) as client:
        mine = client.get("/x/stream?user=me")
        assert ("ab", "seen=1") == (text_of(Decoder().feed(mine.content), "openai-chat"), mine.headers["set-cookie"][:6])
        foreign = client.get("/x/stream?user=you")
        assert (404, "not-found") == (foreign.status_code, foreign.json()["error"]["code"])


SERVER = """
import asyncio, socket, sys
import uvicorn
from streamkit.sinks.chats import ChatRoutes

async def endless():
    while True:
        yield "x"
        await asyncio.sleep(0.01)

routes = ChatRoutes(lambda request: endless, drain=0.1)
app = routes
if sys.argv[1] == "mounted":
    from starlette.applications import Starlette
    from starlette.routing import Mount
    app = Starlette(routes=[Mount("/chat", routes)])
listening = socket.socket()
listening.bind(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
uvicorn.run(app, fd=listening.fileno(), loop=sys.argv[2], log_level="warning")
print("over", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(("kind", "loop"), [("bare", "asyncio"), ("mounted", "uvloop")])
def test_readers_are_told_that_a_server_drains_which_was_told_to_stop(kind: str, loop: str, number: signal.Signals) -> None:
    command = [sys.executable, "-c", SERVER, kind, loop]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stderr is not None
        try:
            url = f"http://127.0.0.1:{int(server.stdout.readline())}{'/chat' if kind == 'mounted' else ''}"
            frames: list[Frame] = []
            with (
                httpx.Client(transport=httpx.HTTPTransport(retries=20), timeout=PATIENCE_S) as client,
                client.stream("POST", f"{url}/") as response,
            ):
                decoder, chunks = Decoder(), response.iter_raw()
                frames += decoder.feed(next(chunks))
                server.send_signal(number)  # once: a second one would be waited for by nobody
                for chunk in chunks:
                    frames += decoder.feed(chunk)
            last = json.loads(frames[-1].data)
            assert ("error", "draining", True) == (last["type"], last["code"], last["retryable"])
            assert server.wait(PATIENCE_S) in (0, -number)
            assert "" == server.stderr.read()
        finally:
            server.kill()


def test_a_wire_is_broken_as_often_as_it_was_told() -> None:
    app = Generations(200)
    with served(app) as url, broken_wire(url, seed=7, tears=3) as wire:
        assert isinstance(wire, BrokenWire)
        threads = threading.active_count()
        assert app.text == text_of(resumed(f"{wire.url}/native"), "native")
        assert 3 == wire.torn
        wait_until(lambda: threading.active_count() <= threads + 1)
