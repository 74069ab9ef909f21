"""WebSockets beside the `websockets` library itself: fan-out to many clients, one stream to one, clients that stall, idle ones.

    python benchmarks/bench_websocket.py [rounds]

CPU time of the server alone: clients are in a process of their own, which reads and forgets. Fan-out is CPU time per event and
client, from the first event until all are sent: beside `websockets.broadcast` of the same events as JSON, one message each. The
source gives way to the event loop behind each event, or behind each burst. A round times all contenders one after the other, and
the best round of each counts. Growth of memory is what `tracemalloc` sees while some clients read nothing.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import select
import socket
import subprocess
import sys
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import process_time_ns
from typing import Any, TypeAlias

from websockets.asyncio.server import ServerConnection, broadcast
from websockets.asyncio.server import serve as serve_websockets

import streamkit as sk
from streamkit.flow.sources import Feed, Source
from streamkit.flow.streams import Stream
from streamkit.sinks.websocket import WebSocketRoutes

Row: TypeAlias = dict[str, object]

CLIENTS = 500
BURST = 16
SINGLES = 200
BURSTS = 60
PLAIN = 3000
# So many that what a stream costs as such does not count.
PLAIN_BURSTS = 750
STALLED = 20
# Enough that what the kernel takes for a client that reads nothing is a small part.
STALLED_EVENTS = 600
IDLE = 500


def rows(rounds: int) -> list[Row]:
    """One row per figure; see `benchmarks/run.py` for what its fields mean."""
    out = [
        _fan_out(rounds, f"WebSocket fan-out to {CLIENTS}, single events", SINGLES, 1, 1.2),
        _fan_out(rounds, f"WebSocket fan-out to {CLIENTS}, bursts of {BURST}", BURSTS, BURST, 0.1),
        _plain(rounds, "WebSocket, one stream to one client, single events", PLAIN, 1, 1.1),
        _plain(rounds, f"WebSocket, one stream to one client, bursts of {BURST}", PLAIN_BURSTS, BURST, 0.2),
    ]
    ours = _in_a_process("stalled", "hub")
    theirs = _in_a_process("stalled", "broadcast")
    out.append(_row(f"memory that {STALLED} stalled WebSockets cost", ours, theirs, "websockets.broadcast", "MB", 0.1))
    idle = _in_a_process("idle", "hub")
    bare = _in_a_process("idle", "broadcast")
    out.append(_row("an open WebSocket that reads a silent stream", idle, bare, "websockets alone", "KB", 30.0, bound="figure"))
    return out


def _row(what: str, ours: float, peer: float, name: str, unit: str, hold: float, *, bound: str = "most") -> Row:
    return {
        "what": what,
        "ours": ours,
        "peer": peer,
        "peer_name": name,
        "unit": unit,
        "ratio": ours / peer,
        "hold": hold,
        "bound": bound,
    }


# ---- clients: as little as reads


def clients(port: int, count: int, said: str, reading: bool) -> None:
    """Connect, say something each, and read what comes until stdin is closed."""
    host = f"127.0.0.1:{port}"
    request = f"GET / HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nOrigin: http://{host}\r\n"
    request += "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    poll = select.epoll()
    poll.register(0, select.EPOLLIN | select.EPOLLHUP)
    sockets: dict[int, socket.socket] = {}
    for _ in range(count):
        one = socket.socket()
        if not reading:  # else the kernel holds more than is sent
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.connect(("127.0.0.1", port))
        one.sendall(request.encode())
        head = b""
        while b"\r\n\r\n" not in head:
            head += one.recv(1)
        if said:
            body = said.encode()
            one.sendall(bytes((0x81, 0x80 | len(body))) + bytes(4) + body)
        sockets[one.fileno()] = one
        if reading:
            poll.register(one.fileno(), select.EPOLLIN)
    print("ready", flush=True)
    while True:
        for number, _ in poll.poll():
            if number == 0:
                os._exit(0)
            try:
                ended = not sockets[number].recv(1 << 16)
            except ConnectionError:
                ended = True
            if ended:
                poll.unregister(number)


@asynccontextmanager
async def _connected(port: int, count: int, said: str, *, reading: bool = True) -> AsyncIterator[None]:
    arguments = [sys.executable, __file__, "--clients", str(port), str(count), said, str(int(reading))]
    process = await asyncio.create_subprocess_exec(*arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        await process.stdout.readline()
        yield
    finally:
        process.stdin.close()
        await process.wait()


# ---- fan-out


def _events(count: int, burst: int) -> list[list[sk.TextDelta]]:
    return [[sk.TextDelta(f"token {number * burst + one}") for one in range(burst)] for number in range(count)]


class Script:
    """Bursts of events, once they may come."""

    def __init__(self, bursts: list[list[sk.TextDelta]]) -> None:
        self.bursts = bursts
        self.go = asyncio.Event()

    def source(self) -> Any:
        single = len(self.bursts[0]) == 1
        return self._singles if single else Stream(Source("bursts", lambda run: Feed(self._lists(), shape="lists")))

    async def _singles(self) -> AsyncIterator[sk.TextDelta]:
        await self.go.wait()
        for burst in self.bursts:
            yield burst[0]
            await asyncio.sleep(0)

    async def _lists(self) -> AsyncIterator[list[sk.TextDelta]]:
        await self.go.wait()
        for burst in self.bursts:
            yield burst
            await asyncio.sleep(0)


async def hub_fan_out(bursts: list[list[sk.TextDelta]], count: int) -> float:
    """Microseconds per event and client, through a hub."""
    script = Script(bursts)
    async with sk.Hub() as hub:
        routes = WebSocketRoutes(lambda request: [], hub)

        async def serve(connection: ServerConnection) -> None:
            await routes.serve(connection)

        async with serve_websockets(serve, "127.0.0.1", 0, **routes.websockets_options()) as server:
            await hub.start("x", script.source())
            port = server.sockets[0].getsockname()[1]
            async with _connected(port, count, '{"type":"resume","stream":"x"}'):
                await _quiet(lambda: len(routes) == count)
                began = process_time_ns()
                script.go.set()
                while routes.reading:  # noqa: ASYNC110  # nothing tells when the last one has ended
                    await asyncio.sleep(0.02)
                spent = process_time_ns() - began
    return spent / 1000 / (sum(map(len, bursts)) * count)


async def broadcast_fan_out(bursts: list[list[sk.TextDelta]], count: int) -> float:
    """The same, by the library's own broadcast."""
    connections: set[ServerConnection] = set()

    async def serve(connection: ServerConnection) -> None:
        connections.add(connection)
        await connection.wait_closed()

    async with _bare(serve) as port, _connected(port, count, ""):
        await _quiet(lambda: len(connections) == count)
        began = process_time_ns()
        for burst in bursts:
            for event in burst:
                broadcast(connections, json.dumps({"type": "text-delta", "text": event.text}))
            await asyncio.sleep(0)
        spent = process_time_ns() - began
    return spent / 1000 / (sum(map(len, bursts)) * count)


@asynccontextmanager
async def _bare(handler: Callable[[ServerConnection], Awaitable[None]]) -> AsyncIterator[int]:
    """A server of the library by itself, and its port."""
    async with serve_websockets(handler, "127.0.0.1", 0, compression=None, close_timeout=0.1) as server:
        yield server.sockets[0].getsockname()[1]


async def _quiet(ready: Callable[[], bool]) -> None:
    while not ready():  # noqa: ASYNC110  # it is for all kinds of servers
        await asyncio.sleep(0.01)
    for _ in range(20):
        await asyncio.sleep(0.01)
    gc.collect()


def _fan_out(rounds: int, what: str, count: int, burst: int, hold: float) -> Row:
    bursts = _events(count, burst)
    ours, theirs = _best(rounds, lambda: hub_fan_out(bursts, CLIENTS), lambda: broadcast_fan_out(bursts, CLIENTS))
    return _row(what, ours, theirs, "websockets.broadcast", "us per event and client", hold)


def _best(rounds: int, *contenders: Callable[[], Awaitable[float]]) -> list[float]:
    best = [float("inf")] * len(contenders)

    async def one(contender: Callable[[], Awaitable[float]]) -> float:
        return await contender()

    for _ in range(rounds):
        for at, contender in enumerate(contenders):
            best[at] = min(best[at], asyncio.run(one(contender)))
    return best


# ---- one stream, one client


async def plain_ours(bursts: list[list[sk.TextDelta]]) -> float:
    """Microseconds per event of one stream to one client."""
    return await hub_fan_out(bursts, 1)


async def plain_theirs(bursts: list[list[sk.TextDelta]]) -> float:
    """The loop that everybody writes."""
    script = Script(bursts)
    spent: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def serve(connection: ServerConnection) -> None:
        await asyncio.sleep(0.2)
        began = process_time_ns()
        script.go.set()
        source = script.source()
        async with sk.stream(source).open() as run:
            async for event in run:
                await connection.send(json.dumps({"type": "text-delta", "text": event.text}))
        spent.set_result(process_time_ns() - began)
        await connection.wait_closed()

    async with _bare(serve) as port, _connected(port, 1, ""):
        return await spent / 1000 / sum(map(len, bursts))


def _plain(rounds: int, what: str, count: int, burst: int, hold: float) -> Row:
    bursts = _events(count, burst)
    # They are short, and the promise is tight.
    ours, theirs = _best(3 * rounds, lambda: plain_ours(bursts), lambda: plain_theirs(bursts))
    return _row(what, ours, theirs, "await send(json) of websockets", "us per event", hold)


# ---- memory


async def stalled(kind: str) -> float:
    """Megabytes that clients cost which read nothing of what is sent to them."""
    bursts = [[sk.TextDelta("x" * 16_384 + str(number))] for number in range(STALLED_EVENTS)]
    measured: list[int] = []

    async def measure(send: Callable[[], Awaitable[None]]) -> float:
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        await send()
        gc.collect()
        measured.append(tracemalloc.get_traced_memory()[0] - before)
        tracemalloc.stop()
        return measured[0] / 1e6

    if kind == "broadcast":
        connections: set[ServerConnection] = set()

        async def serve(connection: ServerConnection) -> None:
            connections.add(connection)
            await connection.wait_closed()

        async with _bare(serve) as port, _connected(port, STALLED, "", reading=False):
            await _quiet(lambda: len(connections) == STALLED)

            async def send() -> None:
                for burst in bursts:
                    for event in burst:
                        broadcast(connections, json.dumps({"type": "text-delta", "text": event.text}))
                    await asyncio.sleep(0)

            return await measure(send)
    script = Script(bursts)
    async with sk.Hub() as hub:
        routes = WebSocketRoutes(lambda request: [], hub, close_timeout=0.1)
        async with serve_websockets(routes.serve, "127.0.0.1", 0, **routes.websockets_options()) as server:
            await hub.start("x", script.source())
            port = server.sockets[0].getsockname()[1]
            async with _connected(port, STALLED, '{"type":"resume","stream":"x"}', reading=False):
                await _quiet(lambda: len(routes) == STALLED)

                async def send() -> None:
                    script.go.set()
                    while (await hub.status("x")).state == "running":  # noqa: ASYNC110  # who asks has no event either
                        await asyncio.sleep(0.01)
                    await asyncio.sleep(0.2)

                grown = await measure(send)
                await routes.drain()
                return grown


async def idle(kind: str) -> float:
    """Kilobytes of the whole process per open connection, on which nothing happens."""
    if kind == "broadcast":
        open_ones: set[ServerConnection] = set()

        async def serve(connection: ServerConnection) -> None:
            open_ones.add(connection)
            await connection.wait_closed()

        async with _bare(serve) as port:
            before = _resident()
            async with _connected(port, IDLE, ""):
                await _quiet(lambda: len(open_ones) == IDLE)
                return (_resident() - before) / IDLE
    async with sk.Hub() as hub:
        routes = WebSocketRoutes(lambda request: [], hub)
        async with serve_websockets(routes.serve, "127.0.0.1", 0, **routes.websockets_options()) as server:
            await hub.start("x", Script(_events(1, 1)).source())
            before = _resident()
            port = server.sockets[0].getsockname()[1]
            async with _connected(port, IDLE, '{"type":"resume","stream":"x"}'):
                await _quiet(lambda: len(routes) == IDLE)
                return (_resident() - before) / IDLE


def _resident() -> int:
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def _in_a_process(what: str, kind: str) -> float:
    done = subprocess.run([sys.executable, __file__, "--measure", what, kind], capture_output=True, text=True, check=True)
    return float(done.stdout)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--clients", port, count, said, reading]:
            clients(int(port), int(count), said, reading == "1")
        case ["--measure", what, kind]:
            print(asyncio.run({"stalled": stalled, "idle": idle}[what](kind)))
        case rest:
            for row in rows(int(rest[0]) if rest else 3):
                print(row["what"], row["ours"], row["peer"], row["unit"], "ratio", row["ratio"], "hold", row["hold"])
