"""A WebSocket of aiohttp's server.

Messages go to the request's transport as frames that are made once for all clients, as for the `websockets` library; the response
is made here, without compression, so nothing of aiohttp's own writes comes in between. Pings, and closing a client that does not
answer them, are aiohttp's: `heartbeat` seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from streamkit import extras
from streamkit.sinks.websocket.sockets import Outgoing, SocketClosed

if TYPE_CHECKING:
    from aiohttp import web

__all__ = ["AiohttpSocket"]

_WANTED_BY: Final = "streamkit.sinks.websocket"


class AiohttpSocket:
    """See `Socket`.

    Args:
        request: The handshake.
        response: Prepared for it, with `compress=False` and `writer_limit=1`.
        room: Bytes in the transport's buffer from which on a message waits.

    Memory: the transport's buffer, up to `room` and one message.
    """

    __slots__ = ("_closing", "_kinds", "_pending", "_response", "_transport", "_write")

    def __init__(self, request: web.Request, response: web.WebSocketResponse, room: int) -> None:
        transport = request.transport
        if transport is None:  # the client is gone already
            raise SocketClosed
        transport.set_write_buffer_limits(high=room)
        self._kinds: Any = extras.require("aiohttp", extra="aiohttp", wanted_by=_WANTED_BY).WSMsgType
        self._response = response
        self._transport = transport
        self._pending = transport.get_write_buffer_size
        self._write = transport.write
        self._closing = transport.is_closing

    @property
    def pending(self) -> int:
        """See `Socket`."""
        return self._pending()

    def write(self, message: Outgoing) -> None:
        """See `Socket`."""
        if self._response.closed or self._closing():
            raise SocketClosed
        self._write(message.framed or message.frame())

    def offer(self, messages: Sequence[Outgoing], most: int) -> bool:
        """See `Socket`."""
        if self._response.closed or self._closing():
            raise SocketClosed
        if self._pending() > most:
            return False
        for message in messages:
            self._write(message.framed or message.frame())
        return True

    async def send(self, message: Outgoing) -> None:
        """See `Socket`."""
        kind = self._kinds.BINARY if message.binary else self._kinds.TEXT
        try:
            await self._response.send_frame(message.payload, kind)
        except (ConnectionError, RuntimeError):  # the second is how it says that it is closing
            raise SocketClosed from None

    async def receive(self) -> str | bytes:
        """See `Socket`."""
        try:
            message = await self._response.receive()
        except ConnectionError:  # it answers pings by itself, and nobody takes them any more
            raise SocketClosed from None
        if message.type is self._kinds.TEXT or message.type is self._kinds.BINARY:
            data: str | bytes = message.data
            return data
        raise SocketClosed

    async def close(self, code: int, reason: str) -> None:
        """See `Socket`."""
        await self._response.close(code=code, message=reason.encode())

    def abort(self) -> None:
        """See `Socket`."""
        self._transport.abort()
