"""The other end of a WebSocket over ASGI, without a server: what a client says, and what it is told."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio

from streamkit.sinks.connections import App

__all__ = ["Mailbox", "Peer", "connected"]

PATIENCE = 60


class Mailbox:
    """What one task puts in and another takes out, until it is closed."""

    def __init__(self) -> None:
        self._items: deque[Any] = deque()
        self._news = anyio.Event()
        self._closed = False

    def put(self, item: Any) -> None:
        self._items.append(item)
        self._news.set()

    def close(self) -> None:
        self._closed = True
        self._news.set()

    async def take(self) -> Any:
        while not self._items:
            if self._closed:
                raise EOFError
            self._news = anyio.Event()
            await self._news.wait()
        return self._items.popleft()


class Peer:
    """A client.

    Attributes:
        sent: What the server sent, as ASGI messages.
        said: The JSON of its text messages.
        reads: Whether it takes what is sent; `stall` and `read_on` change that.
    """

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.said: list[dict[str, Any]] = []
        self._out = Mailbox()
        self._out.put({"type": "websocket.connect"})
        self._changed = anyio.Event()
        self._gate = anyio.Event()
        self._gate.set()

    async def receive(self) -> dict[str, Any]:
        message: dict[str, Any] = await self._out.take()
        return message

    async def send(self, message: Any) -> None:
        await self._gate.wait()
        self.sent.append(message)
        if message.get("text") is not None:
            self.said.append(json.loads(message["text"]))
        self._changed.set()
        self._changed = anyio.Event()

    def stall(self) -> None:
        self._gate = anyio.Event()

    def read_on(self) -> None:
        self._gate.set()

    def say(self, type: str, **fields: Any) -> None:
        self.say_text(json.dumps({"type": type, **fields}))

    def say_text(self, text: str) -> None:
        self._out.put({"type": "websocket.receive", "text": text})

    def say_bytes(self, data: bytes) -> None:
        self._out.put({"type": "websocket.receive", "bytes": data})

    def leave(self) -> None:
        self._out.put({"type": "websocket.disconnect", "code": 1005})

    async def until(self, so: Callable[[], object]) -> None:
        """Wait until something has been sent that makes it so."""
        with anyio.fail_after(PATIENCE):
            while not so():
                await self._changed.wait()

    async def has(self, stream: str, end: str) -> None:
        """Wait until the text of a stream ends so."""
        await self.until(lambda: self.text(stream).endswith(end))

    async def told(self, type: str, count: int = 1, **fields: Any) -> dict[str, Any]:
        """The message of this type and with these fields that came as number `count`, once it has come."""

        def found() -> list[dict[str, Any]]:
            wanted = {"type": type, **fields}
            return [one for one in self.said if wanted.items() <= one.items()]

        await self.until(lambda: len(found()) >= count)
        return found()[count - 1]

    def events(self, stream: str) -> list[Any]:
        return [event for one in self.said if one["type"] == "events" and one["stream"] == stream for event in one["events"]]

    def text(self, stream: str) -> str:
        return "".join(event["text"] for event in self.events(stream) if event["type"] == "text-delta")

    def runs(self, stream: str) -> list[tuple[int, int]]:
        return [(one["first"], one["last"]) for one in self.said if one["type"] == "events" and one["stream"] == stream]

    @property
    def closed(self) -> int | None:
        """The close code, once there is one."""
        return next((one["code"] for one in self.sent if one["type"] == "websocket.close"), None)


@asynccontextmanager
async def connected(app: App, *, headers: dict[str, str] | None = None, query: str = "") -> AsyncIterator[Peer]:
    """A client that is connected for the length of the block; the server's side has ended behind it."""
    peer = Peer()
    scope: Any = {
        "type": "websocket",
        "path": "/",
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in (headers or {}).items()],
        "subprotocols": ["streamkit.v1"],
        "extensions": {},
    }

    async def serve() -> None:
        await app(scope, peer.receive, peer.send)

    async with anyio.create_task_group() as group:
        group.start_soon(serve)
        yield peer
        peer.read_on()
        peer.leave()
