"""gRPC-Web as the how-to page has it: its Envoy, its JavaScript, in node and in Chromium, before our gRPC server."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from browser import Browser, Page, browser, with_pages
from event_loops import ASYNCIO_LOOPS
from grpc_pair import Told, anyio_backend, one_event_loop, pair, until  # noqa: F401  # fixtures
from grpc_web_proxy import Wire, running_envoy, wire
from markdown_code import blocks
from node_clients import PATIENCE_S, SCRIPTS, NodeSession, installed_packages, node_program, node_session
from served import served

import streamkit as sk
from streamkit.dialects.grpc.schema import proto_text, schema
from streamkit.sinks.grpc.requests import GrpcRequest
from streamkit.sinks.grpc.serving import GrpcServer

# On one event loop: neither the proxy nor a client knows which it is, and gRPC's own client for node is answered by both.
one_loop = pytest.mark.parametrize("anyio_backend", ASYNCIO_LOOPS[:1], indirect=True)
pytestmark = [pytest.mark.anyio, one_loop, pytest.mark.usefixtures("one_event_loop")]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "serve-grpc.md"

# A function of a script in a client, and its arguments.
Ask = Callable[..., Awaitable[Any]]


def code(language: str) -> str:
    """The page's block of a language, of which it has one."""
    (found,) = [block.code for block in blocks(PAGE.read_text("utf-8")) if block.language == language]
    return found


def put_in(text: str, **instead: str) -> str:
    """A text with some of its words replaced, each of which it has."""
    for word, other in instead.items():
        assert word in text
        text = text.replace(word, other)
    return text


def framed(flags: int, message: bytes) -> bytes:
    """A frame of gRPC-Web."""
    return bytes([flags]) + len(message).to_bytes(4, "big") + message


MESSAGE = framed(0, schema().Events(events=[{"text_delta": {"text": "a"}}]).SerializeToString())
# Bodies that are over, as HTTP has it, and no answer that is whole.
ENDS = {"/no-status": MESSAGE, "/no-finish": MESSAGE + framed(0x80, b"grpc-status: 0\r\n"), "/nothing": b""}


# ---- what the page says, set up -----------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that has the packages, and the client that the page's command makes of the published `.proto`."""
    folder = tmp_path_factory.mktemp("grpc_web")
    (folder / "node_modules").symlink_to(installed_packages() / "node_modules")
    (folder / "package.json").write_text('{"type": "module"}', "utf-8")
    (folder / "streamkit.proto").write_text(proto_text(), "utf-8")
    install, make = (shlex.split(line) for line in code("sh").splitlines())
    assert ["npm", "install"] == install[:2]
    assert set(install[2:]) <= json.loads((installed_packages() / "package.json").read_text("utf-8"))["dependencies"].keys()
    assert "protoc" == make[0]
    path = f"{node_program().parent}{os.pathsep}{os.environ['PATH']}"
    command = [sys.executable, "-m", "grpc_tools.protoc", *make[1:]]
    subprocess.run(command, cwd=folder, env={**os.environ, "PATH": path}, check=True, timeout=PATIENCE_S)
    for script in SCRIPTS.glob("grpc_web_*.mjs"):
        shutil.copy(script, folder)
    return folder


@pytest.fixture(scope="module")
def site(folder: Path) -> Iterator[str]:
    """Where the pages come from: another origin than the proxy is."""

    async def give(scope: Any, receive: Any, send: Any) -> None:
        if scope["method"] == "POST":
            kind, body = b"application/grpc-web+proto", ENDS[scope["path"].removesuffix("/streamkit.v1.Streams/Stream")]
        else:
            kind, body = b"text/javascript; charset=utf-8", (folder / scope["path"].removeprefix("/code/")).read_bytes()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
        await send({"type": "http.response.body", "body": body})

    with served(with_pages(give)) as url:
        yield url.replace("127.0.0.1", "localhost")


@pytest.fixture(scope="module")
def upstream() -> Iterator[socket.socket]:
    """Where the proxy looks for the gRPC server; each test has one of its own behind it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield listening


@pytest.fixture(scope="module")
def envoy(folder: Path, site: str, upstream: socket.socket) -> Iterator[str]:
    """The page's own configuration, with other addresses, and its own code with the proxy's."""
    config = put_in(
        code("yaml"),
        **{
            "0.0.0.0, port_value: 8080": "127.0.0.1, port_value: 0",
            "127.0.0.1, port_value: 50051": f"127.0.0.1, port_value: {upstream.getsockname()[1]}",
            "https://app.example": site,
        },
    )
    with running_envoy(config, folder) as url:
        (folder / "answers.js").write_text(put_in(code("js"), **{"https://api.example": url}), "utf-8")
        yield url


@pytest.fixture(scope="module")
def node(folder: Path, envoy: str) -> Iterator[NodeSession]:
    with node_session("grpc_web.mjs", folder / "grpc_web_calls.mjs") as session:
        yield session


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as running:
        yield running


@pytest.fixture(scope="module")
def page(chromium: Browser, site: str, envoy: str) -> Iterator[Page]:
    """One for all calls: what it has to load is some hundred files."""
    with chromium.open_page(f"{site}/pages/grpc_web.html") as page:
        yield page


def asking(client: NodeSession | Page) -> Ask:
    async def ask(function: str, **given: object) -> Any:
        """The event loop goes on meanwhile: the server is in it."""
        asked = client.ask(function, **given)
        await asyncio.wait((asyncio.wrap_future(asked),), timeout=PATIENCE_S)
        return client.result(asked, function, 0)

    return ask


@pytest.fixture(params=["node", "page"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Calls a function of `grpc_web_calls.mjs` in node or in Chromium."""
    return asking(request.getfixturevalue(request.param))


@asynccontextmanager
async def behind(
    upstream: socket.socket, handler: Callable[[GrpcRequest], Any], **server: Any
) -> AsyncIterator[tuple[GrpcServer, Wire]]:
    """A gRPC server where the proxy looks for it, and the wire between them."""
    async with pair(handler, **server) as (serving, _), wire(serving.port, upstream) as way:
        yield serving, way


class Words:
    """Answers `x` with a source, and knows when the client has said a word, which it does having read something."""

    def __init__(self, source: Callable[[], Any]) -> None:
        self._source = source
        self.said = asyncio.Event()
        self.requests: list[GrpcRequest] = []

    def __call__(self, request: GrpcRequest) -> Any:
        if request.input == "word":
            self.said.set()
            return ["heard"]
        self.requests.append(request)
        return self._source()


# ---- the configuration --------------------------------------------------------------------------


def test_the_proxy_cuts_no_answer_that_is_long_or_silent() -> None:
    assert {"stream_idle_timeout": "0s", "timeout": "0s"} == dict(re.findall(r"(\w*timeout): (\w+)", code("yaml")))


def test_readers_that_do_not_read_leave_room_in_the_connection_that_all_share() -> None:
    names = ("max_concurrent_streams", "initial_stream_window_size", "initial_connection_window_size")
    found = {name: int(number) for name, number in re.findall(r"(\w+): (\d+)\n", code("yaml")) if name in names}
    streams, window, all_of_it = (found[name] for name in names)
    assert streams * window <= all_of_it / 2


# ---- answers ------------------------------------------------------------------------------------


async def test_a_whole_answer_and_a_stream_are_read(ask: Ask, upstream: socket.socket) -> None:
    async with behind(upstream, lambda request: ["Hello ", request.input]):
        whole = {"text": "Hello w\u00f6rld \U0001f30d", "ended": "stop"}
        assert whole == await ask("complete", ask="w\u00f6rld \U0001f30d")
        assert {**whole, "after": None} == await ask("stream", ask="w\u00f6rld \U0001f30d")


async def test_events_arrive_as_they_are_made(ask: Ask, upstream: socket.socket) -> None:
    async def each_when_the_one_before_was_read() -> AsyncIterator[str]:
        yield "a"
        await words.said.wait()
        yield "b"

    words = Words(each_when_the_one_before_was_read)
    async with behind(upstream, words):
        assert {"text": "ab", "ended": "stop", "after": None} == await ask("stream", ask="x", at="a", say="word")


async def test_the_clients_metadata_and_deadline_arrive(ask: Ask, upstream: socket.socket) -> None:
    def told(request: GrpcRequest) -> list[str]:
        assert request.deadline is not None
        return [f"{request.metadata['authorization']!s} {0 < request.deadline <= 300}"]

    async with behind(upstream, told):
        got = await ask("stream", ask="x", seconds=300, headers={"authorization": "Bearer 1"})
    assert ("Bearer 1 True", "stop") == (got["text"], got["ended"])


# ---- what is no end -----------------------------------------------------------------------------


@pytest.mark.parametrize("items", [[], ["so far"]], ids=["before the first message", "behind a message"])
@pytest.mark.parametrize("function", ["stream", "complete"])
async def test_a_failure_is_its_status_with_our_code(ask: Ask, upstream: socket.socket, function: str, items: list[str]) -> None:
    async with behind(upstream, lambda request: Told(items, error=sk.RateLimitError("secret", retry_after=7)).items()):
        got = await ask(function, ask="x")
    assert ("".join(items) if function == "stream" else "", None) == (got["text"], got.get("ended"))
    assert ("ResourceExhausted", "rate-limited") == (got["failed"]["status"], got["failed"]["code"])
    assert "secret" not in got["failed"]["message"]


async def test_a_server_that_drains_says_so(ask: Ask, upstream: socket.socket) -> None:
    source = Told(["a"])
    words = Words(source.items)
    async with behind(upstream, words) as (server, _):
        reading = asyncio.ensure_future(ask("stream", ask="x", at="a", say="word"))
        await words.said.wait()
        await server.drain()
        got = await reading
    assert ("a", "Unavailable", "draining", 1) == (got["text"], got["failed"]["status"], got["failed"]["code"], source.closed)


async def test_a_server_that_is_gone_is_no_end(ask: Ask, upstream: socket.socket) -> None:
    source = Told(["a"])
    words = Words(source.items)
    async with behind(upstream, words) as (_, way):
        reading = asyncio.ensure_future(ask("stream", ask="x", at="a", say="word"))
        await words.said.wait()
        way.cut()
        got = await reading
        await until(lambda: source.closed)
    assert ("a", None, None) == (got["text"], got.get("ended"), got["failed"]["code"])


async def test_a_connection_that_is_lost_is_no_end(ask: Ask, envoy: str, upstream: socket.socket) -> None:
    source = Told(["a"])
    words = Words(source.items)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        before = f"http://127.0.0.1:{listening.getsockname()[1]}"
        async with behind(upstream, words), wire(int(envoy.rpartition(":")[2]), listening, gently=False) as way:
            reading = asyncio.ensure_future(ask("stream", base=before, ask="x", at="a", say="word"))
            await words.said.wait()
            way.cut()
            got = await reading
            await until(lambda: source.closed)
    assert ("a", None, None) == (got["text"], got.get("ended"), got["failed"]["code"])


async def test_a_proxy_without_a_server_says_unavailable(ask: Ask, upstream: socket.socket) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        async with wire(nobody.getsockname()[1], upstream):
            got = await ask("stream", ask="x")
    assert ("", None, "Unavailable", None) == (got["text"], got.get("ended"), got["failed"]["status"], got["failed"]["code"])


@pytest.mark.parametrize(("how", "status"), [("no-status", "Unknown"), ("no-finish", "DataLoss"), ("nothing", "Unknown")])
async def test_a_body_that_ends_is_no_end(node: NodeSession, site: str, how: str, status: str) -> None:
    got = await asking(node)("stream", base=f"{site.replace('localhost', '127.0.0.1')}/{how}", ask="x")
    assert ("" if how == "nothing" else "a", None, status) == (got["text"], got.get("ended"), got["failed"]["status"])


async def test_a_deadline_that_is_over_closes_the_source(ask: Ask, upstream: socket.socket) -> None:
    source = Told(["a"])
    async with behind(upstream, lambda request: source.items()) as (server, _):
        got = await ask("stream", ask="x", seconds=2)
        await until(lambda: source.begun == source.closed and not server.servicer.open)
    assert ("DeadlineExceeded", None) == (got["failed"]["status"], got.get("ended"))


async def test_a_client_that_leaves_closes_the_source(ask: Ask, upstream: socket.socket) -> None:
    source = Told(["a"])
    async with behind(upstream, lambda request: source.items()):
        got = await ask("stream", ask="x", leave="a")
        await until(lambda: source.closed)
    assert ("a", "Canceled", None) == (got["text"], got["failed"]["status"], got.get("ended"))


# ---- streams that are kept ----------------------------------------------------------------------


async def test_a_client_goes_on_behind_a_connection_that_was_lost(ask: Ask, upstream: socket.socket) -> None:
    async def on_and_on() -> AsyncIterator[str]:
        yield "a"
        await lost.wait()
        yield "b"

    lost = asyncio.Event()
    words = Words(on_and_on)
    async with sk.Hub() as hub, behind(upstream, words, hub=hub) as (_, way):
        reading = asyncio.ensure_future(ask("goOn", ask="x", at="a", say="word"))
        await words.said.wait()
        way.cut()
        lost.set()
        assert ({"text": "ab", "ended": "stop"}, 1) == (await reading, len(words.requests))


async def test_a_kept_stream_is_resumed_behind_its_token_and_cancelled(ask: Ask, upstream: socket.socket) -> None:
    endless = Told(["a"])
    async with sk.Hub() as hub, behind(upstream, lambda request: endless.items() if request.input == "on" else ["abc"], hub=hub):
        first = await ask("stream", ask="x", id="talk")
        assert "abc" == first["text"]
        assert {"text": "abc", "ended": "stop"} == await ask("resume", id="talk", after="")
        assert {"text": "", "ended": "stop"} == await ask("resume", id="talk", after=first["after"])
        assert "NotFound" == (await ask("resume", id="nobody", after=""))["failed"]["status"]
        assert await ask("stream", ask="on", id="on", leave="a")
        assert True is await ask("cancel", id="on")
        assert {"text": "a", "ended": "cancelled"} == await ask("resume", id="on", after="")
        await until(lambda: endless.closed)
        assert False is await ask("cancel", id="on")


# ---- other origins, other ends, another client --------------------------------------------------


async def test_a_page_of_another_origin_opens_nothing(chromium: Browser, site: str, envoy: str, upstream: socket.socket) -> None:
    def secret(request: GrpcRequest) -> list[str]:
        calls.append(request)
        return ["secret"]

    calls: list[GrpcRequest] = []
    elsewhere = site.replace("localhost", "127.0.0.1")
    async with behind(upstream, secret):
        with chromium.open_page(f"{elsewhere}/pages/grpc_web.html") as page:
            got = await asking(page)("stream", ask="x")
    assert ("", None, None, []) == (got["text"], got.get("ended"), got["failed"]["code"], calls)


@pytest.mark.parametrize("format", ["text", "binary"])
async def test_grpcs_own_client_reads_the_answer(page: Page, envoy: str, upstream: socket.socket, format: str) -> None:
    async with behind(upstream, lambda request: ["Hello ", request.input]):
        got = await asking(page)("official", base=envoy, ask="w\u00f6rld", format=format)
    assert ("Hello w\u00f6rld", "stop", None) == (got["text"], got["finished"], got["failed"])


@pytest.mark.parametrize("format", ["text", "binary"])
@pytest.mark.parametrize("items", [[], ["so far"]], ids=["before the first message", "behind a message"])
async def test_grpcs_own_client_sees_a_failure(
    page: Page, envoy: str, upstream: socket.socket, format: str, items: list[str]
) -> None:
    async with behind(upstream, lambda request: Told(items, error=sk.RateLimitError("secret", retry_after=7)).items()):
        got = await asking(page)("official", base=envoy, ask="x", format=format)
    assert (None, {"code": 8, "streamkit": "rate-limited"}) == (got["finished"], got["failed"])


async def test_grpcs_own_client_reads_events_as_they_are_made_and_leaves(page: Page, envoy: str, upstream: socket.socket) -> None:
    async def each_when_the_one_before_was_read() -> AsyncIterator[str]:
        try:
            yield "a"
            await words.said.wait()
            yield "b"
            await asyncio.Event().wait()
        finally:
            closed.set()

    closed = asyncio.Event()
    words = Words(each_when_the_one_before_was_read)
    async with behind(upstream, words):
        got = await asking(page)("official", base=envoy, ask="x", format="text", at="a", say="word", leave="b")
        async with asyncio.timeout(PATIENCE_S):
            await closed.wait()
    assert ("ab", None, None) == (got["text"], got["finished"], got["failed"])


async def test_grpcs_own_client_sees_that_a_server_is_gone(page: Page, envoy: str, upstream: socket.socket) -> None:
    words = Words(Told(["a"]).items)
    async with behind(upstream, words) as (_, way):
        reading = asyncio.ensure_future(asking(page)("official", base=envoy, ask="x", format="text", at="a", say="word"))
        await words.said.wait()
        way.cut()
        got = await reading
    assert ("a", None) == (got["text"], got["finished"])
