"""What a process that stops has in it: a server that handles the signals, and a source that takes its time to close."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from streamkit.testing import VirtualClock


class Server:
    """What a server does: one handler for both signals."""

    def __init__(self) -> None:
        self.got: list[int] = []

    def handle(self, number: int, frame: object) -> None:
        self.got.append(number)


@contextmanager
def handling_signals() -> Iterator[Server]:
    """A server, and what was there before it is put back."""
    server = Server()
    before = {number: signal.signal(number, server.handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield server
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class SlowToClose:
    """One item, all of it; what it came from takes a second to be given back."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.given = self.closed = 0

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        if self.given:
            raise StopAsyncIteration
        self.given = 1
        return "all of it"

    async def aclose(self) -> None:
        await self.clock.sleep(1.0)
        self.closed = 1
