"""A WebSocket server with a hub on a file, to be killed: `python websocket_server_process.py <file> <port> <lease>`.

The input of a start says how many words there are and how many seconds lie between them. Says its port once it listens; the
port may be held meanwhile by a socket that shares it.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator

from websockets.asyncio.server import serve

from streamkit.hub.hub import Hub
from streamkit.hub.stores.sqlite import SqliteStore
from streamkit.sinks.websocket.requests import SocketRequest
from streamkit.sinks.websocket.serving import WebSocketRoutes


async def answer(request: SocketRequest) -> AsyncIterator[str]:
    count, seconds = request.input
    for number in range(count):
        yield f"{number} "
        await asyncio.sleep(seconds)


async def main(path: str, port: int, lease: float) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with (
        Hub(SqliteStore(path), lease=lease) as hub,
        WebSocketRoutes(answer, hub) as routes,
        serve(routes.serve, "127.0.0.1", port, reuse_port=True, **routes.websockets_options()) as server,
    ):
        print(server.sockets[0].getsockname()[1], flush=True)
        await stop.wait()
        await routes.drain()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
