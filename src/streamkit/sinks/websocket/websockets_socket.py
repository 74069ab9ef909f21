"""A connection of the `websockets` library (its asyncio server).

Messages go to the connection's transport as frames that are made once for all clients: the frame of a server depends on nothing but
the message, and an uncompressed one is right even where compression was agreed on. That costs less than the library's own
`broadcast`, which makes the frame for each. What the library itself sends (pongs, the closing handshake) goes to the same
transport at once, so the order is kept; a message that must wait goes through its `send`.

Pings, and closing a client that does not answer them, are the library's: `ping_interval` and `ping_timeout` of its `serve`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from streamkit import extras
from streamkit.flow.tasks import current_backend
from streamkit.sinks.websocket.sockets import Outgoing, SocketClosed

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection

__all__ = ["WebsocketsSocket"]

_WANTED_BY: Final = "streamkit.sinks.websocket"

# Of one message; clients that cut theirs do so by size, and none of ours is large.
_MOST_FRAGMENTS: Final = 1024


class WebsocketsSocket:
    """See `Socket`.

    Args:
        connection: Of the library's server, as its handler gets it.
        room: Bytes in the transport's buffer from which on a message waits.

    Memory: the transport's buffer, up to `room` and one message.
    """

    __slots__ = (
        "_backend",
        "_closed_error",
        "_concurrent",
        "_connection",
        "_open",
        "_pending",
        "_protocol",
        "_transport",
        "_write",
    )

    def __init__(self, connection: ServerConnection, room: int) -> None:
        exceptions = extras.require("websockets.exceptions", extra="websockets", wanted_by=_WANTED_BY)
        protocol = extras.require("websockets.protocol", extra="websockets", wanted_by=_WANTED_BY)
        transport = connection.transport
        with suppress(RuntimeError):  # of uvloop, where the client has left already
            transport.set_write_buffer_limits(high=room)
        self._closed_error: type[Exception] = exceptions.ConnectionClosed
        self._concurrent: type[Exception] = exceptions.ConcurrencyError
        self._open: object = protocol.State.OPEN
        self._backend = current_backend()
        self._connection = connection
        self._protocol = connection.protocol
        self._transport = transport
        self._pending = transport.get_write_buffer_size
        self._write = transport.write

    @property
    def pending(self) -> int:
        """See `Socket`."""
        return self._pending()

    def write(self, message: Outgoing) -> None:
        """See `Socket`."""
        if self._protocol.state is not self._open:
            raise SocketClosed
        self._write(message.framed or message.frame())

    def offer(self, messages: Sequence[Outgoing], most: int) -> bool:
        """See `Socket`."""
        if self._protocol.state is not self._open:
            raise SocketClosed
        if self._pending() > most:
            return False
        for message in messages:
            self._write(message.framed or message.frame())
        return True

    async def send(self, message: Outgoing) -> None:
        """See `Socket`."""
        try:
            await self._connection.send(message.payload, text=not message.binary)
        except self._closed_error:
            raise SocketClosed from None

    async def receive(self) -> str | bytes:
        """See `Socket`."""
        # A message in any number of empty fragments has no bytes that the library would count.
        parts: list[str | bytes] = []
        try:
            async for part in self._connection.recv_streaming():
                parts.append(part)
                if len(parts) > _MOST_FRAGMENTS:
                    await self._connection.close(1008, "too many fragments")
                    raise SocketClosed
        except self._closed_error:
            raise SocketClosed from None
        first = parts[0]
        if len(parts) == 1:
            return first
        return "".join(parts) if isinstance(first, str) else b"".join(parts)  # type: ignore[arg-type]

    async def close(self, code: int, reason: str) -> None:
        """See `Socket`."""
        # The library reads no more while messages wait for whoever receives: the client's answer may stand behind them.
        ended = self._backend.waiter()
        discarding = self._backend.spawn(self._discard, None, "streamkit socket", ended.wake)
        try:
            await self._connection.close(code, reason)
        finally:
            discarding.cancel()
            await self._backend.finish(ended.wait, lambda: discarding.done)

    async def _discard(self) -> None:
        with suppress(SocketClosed, self._concurrent):  # the second where a receive was called off inside of a message
            while True:
                await self.receive()

    def abort(self) -> None:
        """See `Socket`."""
        self._transport.abort()
