"""The same WebSocket routes on real servers, each in a thread: uvicorn with both of its protocols, `websockets` and aiohttp."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import struct
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import uvicorn
from aiohttp import web
from served import PATIENCE_S, wait_until
from websockets.asyncio.server import serve as serve_websockets

from streamkit.sinks.refusals import Refused
from streamkit.sinks.websocket import SocketRequest, WebSocketRoutes

__all__ = ["IMPATIENT_S", "SERVERS", "RawClient", "Sites", "running"]

SERVERS = ["uvicorn-websockets", "uvicorn-wsproto", "websockets", "aiohttp"]


# Seconds between two pings, and for an answer to one. A client here answers none: the first is for those that are not to be dropped
# for it, the second is more than any of them needs until it is where it wants to be.
PATIENT_S, IMPATIENT_S = 60.0, 1.0


class Sites:
    """Routes by path, what their sources did, and where they run.

    Args:
        ping: Seconds between two pings of the server, and for an answer to one.
    """

    def __init__(self, ping: float) -> None:
        self.port = 0
        self.ping = ping
        self.closed: list[str] = []
        self.loop: asyncio.AbstractEventLoop | None = None
        self.by_path = {
            "/chat": self._routes(),
            "/strict": self._routes(origins=["https://good.com"], allow_missing_origin=False),
            "/auth": self._routes(owner=_owner),
            "/query": self._routes(owner=_owner, token_in_query="token"),
            "/small": self._routes(max_message_bytes=2_000, max_messages_per_second=50, max_refusals=3),
            "/brief": self._routes(until=lambda request: time.time() + 2.0),
            "/silent": self._routes(silence=IMPATIENT_S),
            "/impatient": self._routes(close_timeout=0.3),
        }

    def _routes(self, **options: Any) -> WebSocketRoutes:
        def answer(request: SocketRequest) -> Any:
            return self._endless(request) if request.input == "endless" else list(request.input)

        return WebSocketRoutes(answer, **{"allow_missing_origin": True, "on_disconnect": "cancel", **options})

    async def _endless(self, request: SocketRequest) -> AsyncIterator[str]:
        try:
            while True:
                yield "and so on "
                await asyncio.sleep(0.005)
        finally:
            self.closed.append(str(request.stream))

    def tasks(self) -> int:
        """How many connections and readings there are."""
        return sum(len(routes) + routes.reading for routes in self.by_path.values())

    async def aclose(self) -> None:
        for routes in self.by_path.values():
            await routes.aclose()


def _owner(request: SocketRequest) -> str:
    if request.token != "s3cret":
        raise Refused(401, "Sign in first.")
    return "ann"


@contextmanager
def running(kind: str, ping: float = PATIENT_S) -> Iterator[Sites]:
    """One server with all routes, for the length of the block."""
    sites = Sites(ping)
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(128)
    sites.port = listening.getsockname()[1]
    main, stop = {"websockets": _websockets, "aiohttp": _aiohttp}.get(kind, _uvicorn)(kind, sites, listening)
    thread = threading.Thread(target=main, daemon=True)
    thread.start()
    try:
        wait_until(lambda: sites.loop is not None or not thread.is_alive())
        assert thread.is_alive()
        yield sites
    finally:
        stop()
        thread.join(PATIENCE_S)
        listening.close()
        assert not thread.is_alive()


Parts = tuple[Callable[[], None], Callable[[], None]]


def _uvicorn(kind: str, sites: Sites, listening: socket.socket) -> Parts:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        sites.loop = asyncio.get_running_loop()
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await sites.aclose()
            await send({"type": "lifespan.shutdown.complete"})
        else:
            await sites.by_path[scope["path"]](scope, receive, send)

    config = uvicorn.Config(
        app,
        ws="websockets-sansio" if kind == "uvicorn-websockets" else "wsproto",
        ws_per_message_deflate=False,
        ws_max_size=1 << 20,
        ws_ping_interval=sites.ping,
        ws_ping_timeout=sites.ping,
        lifespan="on",
        log_level="critical",
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)

    def stop() -> None:
        server.should_exit = True

    return lambda: server.run(sockets=[listening]), stop


def _in_a_loop(sites: Sites, serve: Callable[[asyncio.Event], Any]) -> Parts:
    stopping = threading.Event()

    async def main() -> None:
        over = asyncio.Event()
        loop = asyncio.get_running_loop()

        def stop() -> None:
            stopping.wait()
            loop.call_soon_threadsafe(over.set)

        threading.Thread(target=stop, daemon=True).start()
        await serve(over)

    return lambda: asyncio.run(main()), stopping.set


def _websockets(kind: str, sites: Sites, listening: socket.socket) -> Parts:
    def of(request: Any) -> WebSocketRoutes:
        return sites.by_path[request.path.partition("?")[0]]

    async def serve(over: asyncio.Event) -> None:
        async def handler(connection: Any) -> None:
            await of(connection.request).serve(connection)

        async def process_request(connection: Any, request: Any) -> Any:
            return await of(request).websockets_options()["process_request"](connection, request)

        options = sites.by_path["/chat"].websockets_options() | {
            "process_request": process_request,
            "ping_interval": sites.ping,
            "ping_timeout": sites.ping,
            "close_timeout": 0.3,
        }
        async with serve_websockets(handler, sock=listening, **options):
            sites.loop = asyncio.get_running_loop()
            await over.wait()
            await sites.aclose()

    return _in_a_loop(sites, serve)


def _aiohttp(kind: str, sites: Sites, listening: socket.socket) -> Parts:
    async def serve(over: asyncio.Event) -> None:
        app = web.Application()
        for path, routes in sites.by_path.items():
            routes._heartbeat = sites.ping  # the others get it from their servers
            app.router.add_get(path, routes.serve)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.SockSite(runner, listening).start()
        sites.loop = asyncio.get_running_loop()
        await over.wait()
        await sites.aclose()
        await runner.cleanup()

    return _in_a_loop(sites, serve)


class RawClient:
    """A client that says exactly what it is told to, byte by byte, and answers nothing by itself."""

    def __init__(self, port: int, path: str = "/chat", *, headers: str = "", seconds: float = PATIENCE_S) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=seconds)
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{headers}\r\n".encode()
        )
        self._left = b""
        while b"\r\n\r\n" not in self._left:
            self._left += self._more()
        head, _, self._left = self._left.partition(b"\r\n\r\n")
        self.head = head.decode().lower()
        self.status = int(self.head.split()[1])

    def _more(self) -> bytes:
        data = self.socket.recv(65_536)
        if not data:
            raise EOFError
        return data

    def send(self, data: bytes, opcode: int = 1, *, fin: bool = True, mask: bool = True, rsv: int = 0) -> None:
        """One frame."""
        self.socket.sendall(frame(data, opcode, fin=fin, mask=mask, rsv=rsv))

    def next(self) -> tuple[int, bytes]:
        """The next frame of the server: its opcode and payload."""
        while True:
            if len(self._left) >= 2:
                size, at = self._left[1] & 127, 2
                if size == 126 and len(self._left) >= 4:
                    size, at = struct.unpack("!H", self._left[2:4])[0], 4
                elif size == 127 and len(self._left) >= 10:
                    size, at = struct.unpack("!Q", self._left[2:10])[0], 10
                if (size < 126 or at > 2) and len(self._left) >= at + size:
                    opcode, data = self._left[0] & 15, self._left[at : at + size]
                    self._left = self._left[at + size :]
                    return opcode, data
            self._left += self._more()

    def until_text(self, part: str) -> str:
        """The first text message that has this in it."""
        while True:
            opcode, data = self.next()
            if opcode == 1 and part in data.decode():
                return data.decode()

    def close_code(self) -> int | None:
        """The code that the server closes with; None if it breaks off without one."""
        with suppress(EOFError, ConnectionError):
            while True:
                opcode, data = self.next()
                if opcode == 8:
                    return int(struct.unpack("!H", data[:2])[0]) if data else 1005
        return None

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *error: object) -> None:
        self.socket.close()


def frame(data: bytes, opcode: int = 1, *, fin: bool = True, mask: bool = True, rsv: int = 0) -> bytes:
    """A client's frame, masked with zeros."""
    first, bit, size = (0x80 if fin else 0) | rsv | opcode, 0x80 if mask else 0, len(data)
    if size < 126:
        head = bytes((first, bit | size))
    elif size < 65_536:
        head = struct.pack("!BBH", first, bit | 126, size)
    else:
        head = struct.pack("!BBQ", first, bit | 127, size)
    return head + (bytes(4) if mask else b"") + data
