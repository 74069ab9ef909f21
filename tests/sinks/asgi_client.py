"""A client and a server in one object: what an ASGI application sees, without a socket and without time."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

import anyio

from streamkit.wire.sse import Decoder, Frame

Message = MutableMapping[str, Any]
App = Callable[[Any, Any, Any], Awaitable[None]]


class Client:
    """Calls an application once and keeps what it sends.

    Args:
        reads: How many messages it takes before it stops reading; `send` then waits, as behind a full socket.
        on_send: Called with the number of each message, from 1, before it counts as sent.
        method, path, query, headers: Of the request.
        body: Of the request, in the pieces that it comes in; more is to come if the last one is None.
    """

    def __init__(
        self,
        *,
        reads: int | None = None,
        on_send: Callable[[int], object] | None = None,
        method: str = "GET",
        path: str = "/",
        query: str = "",
        headers: dict[str, str] | None = None,
        body: Sequence[bytes | None] = (b"",),
    ) -> None:
        self.scope: Message = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode("latin-1"),
            "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in (headers or {}).items()],
            "asgi": {"version": "3.0"},
        }
        self.messages: list[Message] = []
        self.returned = False
        self._reads = reads
        self._on_send = on_send
        self._body = list(body)
        self._gone = anyio.Event()
        self._blocked = anyio.Event()

    async def call(self, app: App) -> Client:
        await app(self.scope, self._receive, self._send)
        self.returned = True
        return self

    def leave(self) -> None:
        """The connection is closed: only `receive` tells, as under uvicorn."""
        self._gone.set()

    async def until_blocked(self) -> None:
        """Wait until the application waits in `send`."""
        await self._blocked.wait()

    async def _receive(self) -> Message:
        if self._body and self._body[0] is not None:
            return {"type": "http.request", "body": self._body.pop(0), "more_body": bool(self._body)}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if self._on_send is not None:
            self._on_send(len(self.messages) + 1)
        if self._gone.is_set():
            return
        if self._reads is not None and len(self.messages) >= self._reads:
            self._blocked.set()
            await self._gone.wait()
            return
        self.messages.append(message)

    # -- what came

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.messages[0]["headers"]}

    @property
    def writes(self) -> list[bytes]:
        return [message["body"] for message in self.messages[1:]]

    @property
    def body(self) -> bytes:
        return b"".join(self.writes)

    @property
    def complete(self) -> bool:
        return bool(self.messages) and self.messages[-1].get("more_body") is False

    @property
    def frames(self) -> list[Frame]:
        return frames_of(self.body)

    @property
    def values(self) -> list[Any]:
        """The data of all frames, as JSON."""
        return [json.loads(frame.data) for frame in self.frames if frame.data != "[DONE]"]

    @property
    def text(self) -> str:
        return "".join(value["text"] for value in self.values if value["type"] == "text-delta")


def frames_of(body: bytes) -> list[Frame]:
    decoder = Decoder()
    frames = decoder.feed(body)
    assert 0 == decoder.finish()
    return frames
