"""What a server does behind the last message of a response is its own: it is not cancelled, and not waited for in vain."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from streamkit.sinks import sse
from streamkit.testing import VirtualClock

pytestmark = pytest.mark.anyio


class LeavingFirst:
    """A server that says http.disconnect while it takes the last message, as hypercorn does, and only then tidies up.

    Args:
        tidies: What it waits for before `send` returns.
    """

    def __init__(self, tidies: Any) -> None:
        self.tidies = tidies
        self.gone = anyio.Event()
        self.asked_again = anyio.Event()
        self.tidied = False
        self.messages: list[Any] = []

    async def receive(self) -> Any:
        await self.gone.wait()
        self.asked_again.set()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.messages.append(message)
        if message.get("more_body") is False:
            self.gone.set()
            await self.asked_again.wait()
            await self.tidies()
            self.tidied = True


async def paced(clock: VirtualClock) -> AsyncIterator[str]:
    yield "a"
    await clock.sleep(1.0)
    yield "b"


async def test_a_server_that_tidies_up_behind_the_last_message_is_left_to_it(clock: VirtualClock) -> None:
    async def tidies() -> None:
        for _ in range(20):
            await anyio.lowlevel.checkpoint()

    server = LeavingFirst(tidies)
    await sse.Response(lambda: paced(clock))({"type": "http", "method": "GET"}, server.receive, server.send)
    assert server.tidied
    assert (1.0, 0) == (clock.now(), clock.pending)
    assert b'"type":"end"' in server.messages[-1]["body"]


async def test_a_server_that_never_returns_from_it_is_called_off_after_a_second(clock: VirtualClock) -> None:
    server = LeavingFirst(anyio.sleep_forever)
    await sse.Response(lambda: paced(clock))({"type": "http", "method": "GET"}, server.receive, server.send)
    assert not server.tidied
    assert (2.0, 0) == (clock.now(), clock.pending)
