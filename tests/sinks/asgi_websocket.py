"""A WebSocket as an ASGI server has it, without a server: what a client sends, and what it is told."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio

__all__ = ["Talk", "talking"]


class Talk:
    """One connection.

    Attributes:
        told: What the server said, in its order, from JSON.
        closed: The code of its close, once there is one.
    """

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.closed: int | None = None
        self._seen = 0
        self._news = anyio.Event()
        self._put, self._take = anyio.create_memory_object_stream[dict[str, Any]](1000)

    async def receive(self) -> dict[str, Any]:
        return await self._take.receive()

    async def send(self, message: Any) -> None:
        if message["type"] == "websocket.send":
            self.told.append(json.loads(message["text"]) if message.get("text") is not None else {"bytes": message["bytes"]})
        elif message["type"] == "websocket.close":
            self.closed = message.get("code", 1000)
        self._news.set()
        self._news = anyio.Event()

    async def say(self, message: object) -> None:
        """Send a message: text as it is, bytes as a binary one, anything else as JSON."""
        if isinstance(message, bytes):
            await self._put.send({"type": "websocket.receive", "bytes": message})
        else:
            text = message if isinstance(message, str) else json.dumps(message)
            await self._put.send({"type": "websocket.receive", "text": text})

    async def hears(self, so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The next message of which this is so; those before it are passed over."""
        with anyio.fail_after(60):
            while True:
                while self._seen < len(self.told):
                    message = self.told[self._seen]
                    self._seen += 1
                    if so(message):
                        return message
                await self._news.wait()

    async def hears_type(self, kind: str) -> dict[str, Any]:
        return await self.hears(lambda message: message.get("type") == kind)

    async def is_closed(self) -> int:
        """The code of the close, once it has come."""
        with anyio.fail_after(60):
            while self.closed is None:
                await self._news.wait()
        return self.closed

    async def hang_up(self) -> None:
        await self._put.send({"type": "websocket.disconnect", "code": 1000})

    def close(self) -> None:
        self._put.close()
        self._take.close()


@asynccontextmanager
async def talking(app: Any, **scope: Any) -> AsyncIterator[Talk]:
    """A connection to an ASGI application, accepted; the client leaves at the end of the block, and the application must return."""
    talk = Talk()
    told = {"type": "websocket", "path": "/", "query_string": b"", "headers": [], **scope}
    await talk._put.send({"type": "websocket.connect"})
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(app, told, talk.receive, talk.send)
            yield talk
            await talk.hang_up()
    finally:
        talk.close()
