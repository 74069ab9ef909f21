"""The server of `load.py`, as a process: streams that do not end, beside the same connections without us.

    python benchmarks/load_app.py SERVER FD

SERVER is "uvicorn" (uvloop, httptools, the sans-IO WebSockets of the `websockets` library), "websockets", that library's own, or
"broadcast", where its `broadcast` sends the burst to all. FD is a listening socket. A line on stdin is answered with a line of JSON
on stdout: `counts`; `closings`, when the last sources were closed (`time.monotonic`, which all processes of a machine share);
`burst`, which begins what is so called; `trim`, which gives back what is free. When the process ends, it says the counts once more.

    /sse?tick=0.5     an endless stream of ours, a token every so many seconds (0: none after the first)
    /hub?tick=0.5     the same as a stream of a hub, which ends with its reader
    /flood?tick=1     of 4 KB each time; 0 is as fast as it is taken
    /bare             headers, one chunk, and then only the connection: what uvicorn itself costs
    /ws               our WebSockets; the client's input is the tick. To be resumed there are "all", with a token every ten
                      seconds, and "burst", with 16 KB each 75 ms once the command `burst` has come
    /bare-ws          accepted, one message, and then only the connection
"""

from __future__ import annotations

import asyncio
import ctypes
import functools
import gc
import json
import os
import signal
import socket
import sys
import time
from array import array
from collections.abc import AsyncIterator, Callable
from typing import Any, cast
from urllib.parse import parse_qs

import uvicorn
import uvloop
from websockets.asyncio.server import ServerConnection, broadcast
from websockets.asyncio.server import serve as serve_websockets

import streamkit as sk
from streamkit.sinks import sse
from streamkit.sinks.asgi_types import Receive, Scope, Send
from streamkit.sinks.connections import Connections
from streamkit.sinks.resuming import HubResponse
from streamkit.sinks.websocket import WebSocketRoutes

DRAIN_S = float(os.environ.get("LOAD_DRAIN_S", "2"))
KEPT_S = 600.0
ALL, BURST = "all", "burst"
BURST_EVENTS = 300
BURST_PAUSE_S = 0.075
PIECE = "x" * 4000


class Counts:
    """What has happened to the sources."""

    def __init__(self) -> None:
        self.opened = 0
        self.closed = 0
        # In one piece: floats of their own would lie between everything else, and keep the memory around them from going back.
        self.closings = array("d")
        self.connected = 0
        self.burst = 0  # how much of it has been sent

    def now(self) -> dict[str, int]:
        return {
            "opened": self.opened,
            "closed": self.closed,
            "connected": self.connected,
            "burst": self.burst,
            "blocks": sys.getallocatedblocks(),
        }


counts = Counts()
go = asyncio.Event()


async def endless(tick: float, text: str) -> AsyncIterator[str]:
    """A source that ends only when it is closed."""
    counts.opened += 1
    try:
        yield text
        if tick <= 0 and text != PIECE:
            await asyncio.get_running_loop().create_future()
        while True:
            await asyncio.sleep(tick)
            yield text
    finally:
        counts.closed += 1
        counts.closings.append(time.monotonic())


async def for_all() -> AsyncIterator[str]:
    while True:
        yield "token "
        await asyncio.sleep(10)


async def burst() -> AsyncIterator[str]:
    await go.wait()
    for number in range(BURST_EVENTS):
        counts.burst = number + 1
        yield f"{number} ".ljust(16_384, "x")
        await asyncio.sleep(BURST_PAUSE_S)
    await asyncio.sleep(KEPT_S)


def answer(request: Any) -> Callable[[], AsyncIterator[str]]:
    return functools.partial(endless, float(request.input), "token ")


async def bare(scope: Scope, receive: Receive, send: Send) -> None:
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"data: token \n\n", "more_body": True})
    while (await receive())["type"] != "http.disconnect":
        continue


async def bare_websocket(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": "token "})
    while (await receive())["type"] != "websocket.disconnect":
        continue


def tick_of(scope: Scope) -> float:
    return float(parse_qs(cast("bytes", scope["query_string"])).get(b"tick", [b"0"])[0])


class App:
    """All of it, behind one `Connections`."""

    def __init__(self) -> None:
        self.hub = sk.Hub(ttl=KEPT_S, max_streams=20_000)
        self.routes = WebSocketRoutes(
            answer, self.hub, origins=None, allow_missing_origin=True, on_disconnect="cancel", ttl=1.0, close_timeout=1.0
        )

    async def begin(self) -> None:
        """Start what is there for all."""
        await self.hub.start(ALL, for_all)
        await self.hub.start(BURST, burst)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.begin()
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await self.hub.aclose()
            await send({"type": "lifespan.shutdown.complete"})
            return
        tick = tick_of(scope)
        match scope["path"]:
            case "/sse":
                await sse.Response(functools.partial(endless, tick, "token "))(scope, receive, send)
            case "/flood":
                await sse.Response(functools.partial(endless, tick, PIECE))(scope, receive, send)
            case "/hub":
                generation = await self.hub.start(None, endless(tick, "token "), on_disconnect="cancel", ttl=1.0)
                await HubResponse(self.hub, generation.id)(scope, receive, send)
            case "/ws":
                await self.routes(scope, receive, send)
            case "/bare":
                await bare(scope, receive, send)
            case "/bare-ws":
                await bare_websocket(scope, receive, send)
            case path:
                raise ValueError(f"no such path: {path}")


def obey(command: str) -> object:
    match command:
        case "counts":
            return counts.now()
        case "closings":
            return list(counts.closings)
        case "burst":
            go.set()
            return counts.now()
        case "trim":
            gc.collect()
            ctypes.CDLL(None).malloc_trim(0)
            return counts.now()
        case _:
            raise ValueError(f"no such command: {command}")


def listen_to_stdin() -> None:
    def read() -> None:
        line = sys.stdin.readline()
        if not line:  # whoever started this is gone
            os._exit(1)
        print(json.dumps(obey(line.strip())), flush=True)

    asyncio.get_running_loop().add_reader(0, read)


async def by_uvicorn(listening: socket.socket) -> None:
    # uvicorn sends itself the signal again when it has ended: that is not to keep the last words from being said.
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    listen_to_stdin()
    app = Connections(drain=DRAIN_S).wrap(App())
    config = uvicorn.Config(
        app,
        http="httptools",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        log_level="critical",
        access_log=False,
        timeout_graceful_shutdown=60,
    )
    await uvicorn.Server(config).serve([listening])


async def by_websockets(listening: socket.socket) -> None:
    listen_to_stdin()
    app, stop = App(), asyncio.Event()
    await app.begin()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)

    async def serve(connection: ServerConnection) -> None:
        counts.connected += 1
        if connection.request is not None and connection.request.path == "/bare-ws":
            await connection.send("token ")
            await connection.wait_closed()
        else:
            await app.routes.serve(connection)

    options = app.routes.websockets_options()
    process_request = options.pop("process_request")

    async def admit(connection: ServerConnection, request: Any) -> Any:
        return None if request.path == "/bare-ws" else await process_request(connection, request)

    async with serve_websockets(serve, sock=listening, process_request=admit, **options):
        await stop.wait()
        await app.routes.drain(DRAIN_S)
    await app.hub.aclose()


async def by_broadcast(listening: socket.socket) -> None:
    listen_to_stdin()
    connections: set[ServerConnection] = set()

    async def serve(connection: ServerConnection) -> None:
        counts.connected += 1
        connections.add(connection)
        await connection.wait_closed()

    async with serve_websockets(serve, sock=listening, compression=None):
        async for text in burst():
            broadcast(connections, json.dumps({"type": "text-delta", "text": text}))


if __name__ == "__main__":
    server, number = sys.argv[1:]
    main = {"uvicorn": by_uvicorn, "websockets": by_websockets, "broadcast": by_broadcast}[server]
    uvloop.run(main(socket.socket(fileno=int(number))))
    print(json.dumps(counts.now()), flush=True)
