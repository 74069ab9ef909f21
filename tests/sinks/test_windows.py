"""A client that reads moves the edge of its window; one that does not is seen by that."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator, Callable
from functools import partial, reduce
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from asgi_client import App
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Mount

from streamkit.sinks import sse
from streamkit.sinks.connections import Connections
from streamkit.sinks.life.transports import transport_behind
from streamkit.sinks.life.windows import Edge
from streamkit.sinks.safety.cors import Cors
from streamkit.testing import VirtualClock

pytestmark = pytest.mark.anyio

WINDOW = 65_536


class Wire:
    """A server's connection: what its `send` and its transport know of a client.

    Args:
        reads: Whether the client does; its kernel takes everything, up to `room` bytes that are not read.
    """

    def __init__(self, *, reads: bool = True, room: int = 110_528) -> None:
        self.reads = reads
        self.room = room
        self.acked = 0
        self.read = 0
        self.shut = False
        self.aborted = False
        self.transport = self
        self.body = b""
        self.gone = anyio.Event()

    def get_extra_info(self, name: str) -> Any:
        assert "socket" == name
        return self

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        assert (socket.IPPROTO_TCP, socket.TCP_INFO) == (level, option)
        if self.shut:
            raise OSError("it is closed")
        told = bytearray(min(size, 232))
        struct.pack_into("@Q", told, 120, self.acked)
        struct.pack_into("@I", told, 228, min(WINDOW, self.room - (self.acked - self.read)))
        return bytes(told)

    def take(self, count: int) -> None:
        self.acked += count
        if self.reads:
            self.read = self.acked

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int) -> None:
        assert high > 0

    def abort(self) -> None:
        self.aborted = True
        self.gone.set()

    async def send(self, message: Any) -> None:
        self.body += message.get("body", b"")
        self.take(len(message.get("body", b"")))

    async def receive(self) -> Any:
        await self.gone.wait()
        return {"type": "http.disconnect"}


def looks(wire: Wire, *steps: int) -> list[float]:
    """What is seen once a second, when so many bytes were taken before each look."""
    edge, seen = Edge(transport_behind(wire.send)), []
    for now, step in enumerate(steps):
        wire.take(step)
        seen.append(edge.still_for(float(now)))
    return seen


async def test_a_client_that_reads_is_never_still() -> None:
    assert [0.0] * 50 == looks(Wire(), *([10_000] * 50))


async def test_a_client_that_does_not_read_is_still_from_half_its_buffer_on() -> None:
    assert [0.0] * 5 + [1.0, 2.0, 3.0, 4.0, 5.0, 6.0] == looks(Wire(reads=False), *([10_000] * 11))


async def test_what_is_read_in_silence_is_not_known_and_counts_for_the_client() -> None:
    # Behind the second look nothing is sent, so nobody tells that it was read.
    assert [0.0, 1.0, 1.0, 1.0, 1.0] == looks(Wire(reads=False), 50_000, 10_000, 0, 0, 0)


async def test_a_window_that_is_shut_is_told_when_it_opens() -> None:
    assert [0.0, 1.0, 2.0, 3.0] == looks(Wire(reads=False), 50_000, 60_528, 0, 0)


async def test_a_few_bytes_prove_nothing_because_windows_are_rounded() -> None:
    assert [0.0] * 5 == looks(Wire(reads=False), 50_000, 1000, 1000, 1000, 1000)


async def test_a_connection_that_is_gone_or_hidden_or_of_an_old_system_is_never_still() -> None:
    gone = Wire(reads=False)
    edge = Edge(transport_behind(gone.send))
    gone.take(100_000)
    assert 0.0 == edge.still_for(0.0)
    gone.shut = True
    assert 0.0 == edge.still_for(9.0)

    async def send(message: Any) -> None:
        raise AssertionError(message)

    assert 0.0 == Edge(transport_behind(send)).still_for(1.0)


async def tokens(clock: VirtualClock, closed: list[float]) -> AsyncIterator[str]:
    """Some four kilobytes a second, as they arrive at the client."""
    try:
        for _ in range(6000):
            yield "word " * 6
            await clock.sleep(0.02)
    finally:
        closed.append(clock.now())


async def test_http_03_a_client_with_a_usual_buffer_that_reads_none_of_four_kilobytes_a_second_is_released_within_thirty_seconds(
    clock: VirtualClock,
) -> None:
    wire = Wire(reads=False)
    closed: list[float] = []
    app = Connections().wrap(sse.Response(lambda: tokens(clock, closed)))
    await app({"type": "http", "method": "GET", "path": "/", "http_version": "1.1"}, wire.receive, wire.send)
    assert 3000 <= len(wire.body) / closed[0] <= 4100
    assert 11.0 <= closed[0] <= 30.0
    assert wire.aborted


async def test_one_that_reads_has_it_all(clock: VirtualClock) -> None:
    wire = Wire()
    closed: list[float] = []
    app = Connections().wrap(sse.Response(lambda: tokens(clock, closed)))
    await app({"type": "http", "method": "GET", "path": "/", "http_version": "1.1"}, wire.receive, wire.send)
    assert (120.0, False) == (round(closed[0]), wire.aborted)
    assert b'"type":"end"' in wire.body


async def passing_on(app: App, scope: Any, receive: Any, send: Any) -> None:
    """A middleware in the usual manner: a function inside a function."""

    async def send_wrapper(message: Any) -> None:
        await send(message)

    await app(scope, receive, send_wrapper)


class Partial:
    """Another manner: that of Starlette's CORSMiddleware."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, partial(self.send, send=send))

    async def send(self, message: Any, send: Any) -> None:
        await send(message)


def behind_http_middleware(app: App) -> App:
    async def dispatch(request: Any, call_next: Any) -> Any:
        return await call_next(request)

    return BaseHTTPMiddleware(app, dispatch)


def behind_starlette(app: App) -> App:
    # What is mounted is called with its `send`; a route's endpoint has two more functions around that.
    return Starlette(routes=[Mount("/", app=app)], middleware=[Middleware(CORSMiddleware, allow_origins=["*"])])


LAYERS: dict[str, Callable[[App], App]] = {
    "a function": lambda app: partial(passing_on, app),
    "many functions": lambda app: reduce(lambda inner, _: partial(passing_on, inner), range(9), app),
    "a partial": Partial,
    "one that hides its server": behind_http_middleware,
    "two that hide their server": lambda app: behind_http_middleware(behind_http_middleware(app)),
    "our own Cors": lambda app: Cors(app, ["https://app.example"]),
    "starlette": behind_starlette,
}


@pytest.mark.parametrize("layer", LAYERS)
async def test_behind_a_middleware_the_connection_of_a_client_that_reads_nothing_is_not_left_open(
    clock: VirtualClock, layer: str
) -> None:
    wire = Wire(reads=False)
    closed: list[float] = []
    app = LAYERS[layer](sse.Response(lambda: tokens(clock, closed)))
    await app(scope_of_a_browser(), wire.receive, wire.send)
    assert closed[0] <= 30.0
    assert wire.aborted


async def test_behind_a_middleware_that_hides_its_server_connections_know_the_connection(clock: VirtualClock) -> None:
    wire = Wire(reads=False)
    closed: list[float] = []
    app = Connections(drain=None).wrap(behind_http_middleware(sse.Response(lambda: tokens(clock, closed))))
    await app(scope_of_a_browser(), wire.receive, wire.send)
    assert closed[0] <= 30.0
    assert wire.aborted


def scope_of_a_browser() -> Any:
    headers = [(b"origin", b"https://app.example")]
    return {
        "type": "http",
        "method": "GET",
        "path": "/",
        "root_path": "",
        "query_string": b"",
        "http_version": "1.1",
        "headers": headers,
    }
