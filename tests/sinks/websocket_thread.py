"""WebSocket routes on a server of the `websockets` library, with an event loop of its own in a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from served import PATIENCE_S, wait_until
from websockets.asyncio.server import serve

from streamkit.sinks.websocket.serving import WebSocketRoutes

__all__ = ["Running", "in_thread"]


class Running:
    """A server that runs: where it is, and a way to ask things in its event loop.

    Attributes:
        url: ws://...
        routes: What it serves.
    """

    def __init__(self) -> None:
        self.url = ""
        self.routes: WebSocketRoutes
        self.loop: asyncio.AbstractEventLoop
        self.stop: asyncio.Event

    def ask(self, question: Callable[[], Any]) -> Any:
        """What a function gives there, awaited if it must be."""

        async def asked() -> Any:
            told = question()
            return await told if asyncio.iscoroutine(told) else told

        return asyncio.run_coroutine_threadsafe(asked(), self.loop).result(PATIENCE_S)

    def tasks(self) -> int:
        """How many tasks there are, but for the one that counts them."""
        count: int = self.ask(lambda: len(asyncio.all_tasks()) - 1)
        return count


@contextmanager
def in_thread(make: Callable[[], WebSocketRoutes], **options: Any) -> Iterator[Running]:
    """Serve what `make` makes, until the end of the block."""
    running = Running()

    async def main() -> None:
        running.loop = asyncio.get_running_loop()
        running.stop = asyncio.Event()
        async with make() as running.routes:
            told = {**running.routes.websockets_options(), **options}
            async with serve(running.routes.serve, "127.0.0.1", 0, **told) as server:
                running.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
                await running.stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(main(),), daemon=True)
    thread.start()
    wait_until(lambda: running.url or not thread.is_alive())
    assert running.url
    try:
        yield running
    finally:
        running.loop.call_soon_threadsafe(running.stop.set)
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
