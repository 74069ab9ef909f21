"""What a session asks of a transport, and one message on its way there.

    write(message)     now, whatever is pending already         the usual path: no await, no copy
    offer(messages)    the same for several, if few bytes are pending
    send(message)      the same, and wait until there is room   for clients that are slow

A transport keeps the order of all three. `pending` counts what was written and has not left the process: bytes in the buffer of a
transport of asyncio, or those of messages that an ASGI server has not taken yet.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, Protocol

__all__ = ["Outgoing", "Socket", "SocketClosed"]

_TEXT: Final = 0x81
_BINARY: Final = 0x82
_LENGTH_16: Final = struct.Struct("!BBH").pack
_LENGTH_64: Final = struct.Struct("!BBQ").pack


class SocketClosed(Exception):
    """The connection is over: nothing comes, and nothing can be sent."""


class Outgoing:
    """One message to be sent, perhaps to many.

    Args:
        payload: Its bytes; UTF-8 unless it is `binary`.
        last, token: Of the last event in it, None for messages without events.
        ends: Whether it ends the reading.

    Attributes:
        framed: The WebSocket frame that holds it (RFC 6455, section 5.2), or empty as long as nobody asked for it.
    """

    __slots__ = ("_text", "binary", "ends", "framed", "last", "payload", "token")

    def __init__(
        self, payload: bytes, *, binary: bool = False, last: int | None = None, token: str | None = None, ends: bool = False
    ) -> None:
        self.payload = payload
        self.binary = binary
        self.last = last
        self.token = token
        self.ends = ends
        self.framed = b""
        self._text: str | None = None

    @property
    def text(self) -> str:
        """The payload of one that is not binary."""
        if self._text is None:
            self._text = self.payload.decode()
        return self._text

    def frame(self) -> bytes:
        """The whole message in one frame, as servers send it: unmasked and uncompressed, which a client must take even where
        compression was agreed on (RFC 7692, section 6).

        >>> Outgoing(b"Hi").frame()
        b'\\x81\\x02Hi'
        """
        if not self.framed:
            payload = self.payload
            size, first = len(payload), _BINARY if self.binary else _TEXT
            if size < 126:
                head = bytes((first, size))
            elif size < 65_536:
                head = _LENGTH_16(first, 126, size)
            else:
                head = _LENGTH_64(first, 127, size)
            self.framed = head + payload
        return self.framed


class Socket(Protocol):
    """One accepted connection. Its calls belong to the event loop; `receive` to one task at a time."""

    @property
    def pending(self) -> int:
        """Bytes that were written and are still in this process."""
        ...

    def write(self, message: Outgoing) -> None:
        """Send without waiting.

        Raises:
            SocketClosed: nobody is there.
        """
        ...

    def offer(self, messages: Sequence[Outgoing], most: int) -> bool:
        """Send all of these without waiting, unless more than `most` bytes are pending: then nothing, and False.

        Raises:
            SocketClosed: nobody is there.
        """
        ...

    async def send(self, message: Outgoing) -> None:
        """Send, and wait until few bytes are pending.

        A cancel ends the wait alone: the message is on its way.

        Raises:
            SocketClosed: nobody is there.
        """
        ...

    async def receive(self) -> str | bytes:
        """The next message: text, or bytes of a binary one.

        Raises:
            SocketClosed: there is none.
        """
        ...

    async def close(self, code: int, reason: str) -> None:
        """Say goodbye, behind what was written; returns once that is done. May be called again."""
        ...

    def abort(self) -> None:
        """Drop the connection at once, where that can be done."""
        ...
