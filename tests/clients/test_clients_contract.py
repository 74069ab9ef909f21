"""The contract of sources, held by what the clients make: closed once, in their own task, at every step."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import pytest
from chat_bodies import answer

import streamkit as sk
from streamkit.clients.request import Request
from streamkit.testing import check_source

pytest.importorskip("httpx2")

pytestmark = pytest.mark.anyio

OPENED: list[str] = []


async def body() -> AsyncIterator[bytes]:
    """A body that suspends, and counts who is open."""
    OPENED.append("open")
    try:
        for block in answer("a", "b", "c"):
            await anyio.lowlevel.checkpoint()
            yield block
    finally:
        OPENED.pop()


class Managed:
    """A response that must be entered."""

    async def __aenter__(self) -> AsyncIterator[bytes]:
        self._body = body()
        return self._body

    async def __aexit__(self, *_: object) -> None:
        await self._body.aclose()  # type: ignore[attr-defined]  # an async generator


async def awaited() -> AsyncIterator[bytes]:
    await anyio.lowlevel.checkpoint()
    return body()


class Response:
    """A response in httpx2's manner, whose body may be compressed."""

    status_code = 200
    http_version = "HTTP/1.1"

    def __init__(self, *, packed: bool = False) -> None:
        self.headers = {"content-type": "text/event-stream", **({"content-encoding": "gzip"} if packed else {})}
        self._packed = packed

    def aiter_raw(self) -> AsyncIterator[bytes]:
        return packed_body() if self._packed else body()

    async def aclose(self) -> None:
        """The body is closed by whoever iterates it."""


async def packed_body() -> AsyncIterator[bytes]:
    squeeze = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    blocks = body()
    try:
        async for block in blocks:
            yield squeeze.compress(block) + squeeze.flush(zlib.Z_SYNC_FLUSH)
    finally:
        await blocks.aclose()  # type: ignore[attr-defined]  # an async generator


class Client:
    """A client that is asked as httpx2's is, which it is taken for by the name of its module."""

    timeout = None

    def build_request(self, *_: object, **__: object) -> None:
        return None

    async def send(self, *_: object, **__: object) -> Response:
        await anyio.lowlevel.checkpoint()
        return Response()

    async def aclose(self) -> None:
        raise AssertionError("the user's client was closed")


Client.__module__ = "httpx2"


SOURCES: dict[str, Callable[[], Any]] = {
    "decode of an async generator": lambda: sk.decode(body(), "openai-chat"),
    "decode of a manager": lambda: sk.decode(Managed(), "openai-chat"),
    "decode of a coroutine": lambda: sk.decode(awaited(), "openai-chat"),
    "decode of a callable": lambda: sk.decode(body, "openai-chat"),
    "from_http of a response": lambda: sk.from_http(Response(), "openai-chat"),
    "from_http of a compressed response": lambda: sk.from_http(Response(packed=True), "openai-chat", max_body_bytes=9999),
    "sse": lambda: sk.sse("http://there/", client=Client(), reconnect=False),
    "sse with a limit of silence": lambda: sk.sse("http://there/", client=Client(), reconnect=False, idle=60),
    "from_openai of an async generator": lambda: sk.from_openai(body()),
    "from_openai of a coroutine": lambda: sk.from_openai(awaited()),
    "the local model": lambda: sk.model("local", pace=2_000).stream(Request.of("What is a buffer?", max_tokens=4)),
}


@pytest.mark.parametrize("kind", SOURCES)
async def test_what_the_clients_make_holds_the_contract_of_sources(kind: str) -> None:
    report = await check_source(SOURCES[kind])
    assert [1, 2, 3] == report.rules
    assert [] == OPENED
