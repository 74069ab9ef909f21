"""The contract of sources, held by what the clients make: closed once, in their own task, at every step."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import pytest
from chat_bodies import answer

import streamkit as sk
from streamkit.clients.request import Request
from streamkit.testing import check_source

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


SOURCES: dict[str, Callable[[], Any]] = {
    "decode of an async generator": lambda: sk.decode(body(), "openai-chat"),
    "decode of a manager": lambda: sk.decode(Managed(), "openai-chat"),
    "decode of a coroutine": lambda: sk.decode(awaited(), "openai-chat"),
    "decode of a callable": lambda: sk.decode(body, "openai-chat"),
    "from_openai of an async generator": lambda: sk.from_openai(body()),
    "from_openai of a coroutine": lambda: sk.from_openai(awaited()),
    "the local model": lambda: sk.model("local", pace=2_000).stream(Request.of("What is a buffer?", max_tokens=4)),
}


@pytest.mark.parametrize("kind", SOURCES)
async def test_what_the_clients_make_holds_the_contract_of_sources(kind: str) -> None:
    report = await check_source(SOURCES[kind])
    assert [1, 2, 3] == report.rules
    assert [] == OPENED
