"""A WebSocket server that does what a test says: it lies, leaves out, cuts, repeats, falls silent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from streamkit.dialects.outcomes import DONE, Outcome
from streamkit.dialects.websocket.messages import Hello, Started, end_of, write, write_events
from streamkit.events import Event, Finish, TextDelta

__all__ = ["Line", "Scripted", "scripted", "words"]

Script = Callable[["Line"], Awaitable[None]]


def words(count: int, *, start: int = 0) -> list[Event]:
    """So many events of one word each, numbered from `start`."""
    return [TextDelta(f"{number} ") for number in range(start, start + count)]


class Line:
    """One connection, on the server's side."""

    def __init__(self, connection: ServerConnection, heard: list[dict[str, Any]]) -> None:
        self.connection = connection
        self.heard = heard

    async def hello(self, *, ack_every: int | None = None, version: int = 1, max_message_bytes: int = 1 << 20) -> None:
        await self.say(write(Hello(version, max_message_bytes, ack_every)))

    async def say(self, text: str | bytes) -> None:
        await self.connection.send(text if isinstance(text, str) else text.decode())

    async def hears(self, kind: str) -> dict[str, Any]:
        """The next message of this kind; those before it are noted and passed over."""
        while True:
            message: dict[str, Any] = json.loads(await self.connection.recv())
            self.heard.append(message)
            if message["type"] == kind:
                return message

    async def start(self, request: dict[str, Any]) -> str:
        """Grant a send or a resume; the stream's name."""
        name: str = request["stream"]
        await self.say(write(Started(name, request["request"], request.get("after"))))
        return name

    async def events(self, stream: str, first: int, events: Sequence[Event], *, last: int | None = None) -> None:
        last = first + len(events) - 1 if last is None else last
        await self.say(write_events(stream, first, last, f"abc.{last}", events))

    async def end(self, stream: str, last: int, outcome: Outcome = DONE) -> None:
        await self.say(write(end_of(stream, last, f"abc.{last}", outcome)))

    async def begins(self, count: int) -> str:
        """Greet, grant the first send, and say so many words of its answer; the stream's name."""
        await self.hello()
        name = await self.start(await self.hears("send"))
        await self.events(name, 0, words(count))
        return name

    async def whole(self, stream: str, first: int, count: int) -> None:
        """The words from `first` on, of so many in all, and the end."""
        await self.events(stream, first, [*words(count - first, start=first), Finish()])
        await self.end(stream, count)

    def cut(self) -> None:
        """As when a cable is pulled: nothing is said."""
        self.connection.transport.abort()


class Scripted:
    """What a test knows of its server: where it is, and what it heard."""

    def __init__(self, scripts: Sequence[Script]) -> None:
        self.url = ""
        self.heard: list[dict[str, Any]] = []
        self.failures: list[BaseException] = []
        self.taken = 0
        self._scripts = scripts

    async def handle(self, connection: ServerConnection) -> None:
        # The last script serves all further connections.
        script = self._scripts[min(self.taken, len(self._scripts) - 1)]
        self.taken += 1
        try:
            await script(Line(connection, self.heard))
            await connection.wait_closed()
        except ConnectionClosed:
            return
        except Exception as error:
            self.failures.append(error)
            raise

    def all_heard(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.heard if message["type"] == kind]


@asynccontextmanager
async def scripted(*scripts: Script, **options: Any) -> AsyncIterator[Scripted]:
    """A server that plays the first script on its first connection, the second on its second, and the last on all others."""
    told = Scripted(scripts)
    server: Server = await serve(told.handle, "127.0.0.1", 0, compression=None, close_timeout=0.2, **options)
    port = server.sockets[0].getsockname()[1]
    told.url = f"ws://127.0.0.1:{port}/"
    try:
        async with asyncio.timeout(60):  # a bound for tests that hang, and no measure
            yield told
    finally:
        server.close()
        await asyncio.gather(server.wait_closed(), return_exceptions=True)
    assert [] == told.failures
