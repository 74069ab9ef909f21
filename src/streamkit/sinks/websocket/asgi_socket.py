"""A WebSocket of an ASGI server.

`send` of ASGI waits while the client is slow, and says nothing of how many bytes are on their way. So messages go through a queue
and one task that sends them: what is in the queue, or being sent, is pending. A server keeps some more: uvicorn 64 KiB.

ASGI has no pings: the server sends them (`--ws-ping-interval` of uvicorn, `websocket_ping_interval` of hypercorn), and closes the
connection of a client that does not answer. It has no way to drop a connection either; see
`streamkit.sinks.life.transports`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from streamkit.flow.tasks import Task, current_backend
from streamkit.sinks.asgi_types import Message, Receive, Send
from streamkit.sinks.failures import LOGGER
from streamkit.sinks.life.transports import transport_behind
from streamkit.sinks.websocket.sockets import Outgoing, SocketClosed

__all__ = ["AsgiSocket"]


class AsgiSocket:
    """See `Socket`.

    Args:
        receive, send: Of a connection that was accepted.
        room: Bytes that may be pending when `send` returns.

    Memory: what is pending, and a task.
    """

    __slots__ = (
        "_backend",
        "_closed",
        "_idle",
        "_queue",
        "_receive",
        "_room",
        "_send",
        "_stopped",
        "_waiting",
        "_writer",
        "pending",
    )

    def __init__(self, receive: Receive, send: Send, room: int) -> None:
        self._receive = receive
        self._send = send
        self._room = room
        self._backend = current_backend()
        # A list, taken as a whole: an empty deque weighs 760 bytes, of each connection.
        self._queue: list[tuple[Message, int]] = []
        self._idle = self._backend.waiter()
        self._stopped = self._backend.waiter()
        # Tasks that wait for room, each with a waiter of its own.
        self._waiting: list[Any] = []
        self._writer: Task | None = None
        self._closed = False
        self.pending = 0

    def write(self, message: Outgoing) -> None:
        """See `Socket`."""
        size = len(message.payload)
        if message.binary:
            self._put({"type": "websocket.send", "bytes": message.payload}, size)
        else:
            self._put({"type": "websocket.send", "text": message.text}, size)

    def offer(self, messages: Sequence[Outgoing], most: int) -> bool:
        """See `Socket`."""
        if self.pending > most:
            return False
        for message in messages:
            self.write(message)
        return True

    async def send(self, message: Outgoing) -> None:
        """See `Socket`."""
        self.write(message)
        await self._until(self._room)

    async def receive(self) -> str | bytes:
        """See `Socket`."""
        while True:
            message = await self._receive()
            if message["type"] == "websocket.receive":
                text = message.get("text")
                return text if isinstance(text, str) else bytes(message.get("bytes") or b"")  # type: ignore[call-overload]
            if message["type"] == "websocket.disconnect":
                self._over()
                raise SocketClosed

    async def close(self, code: int, reason: str) -> None:
        """See `Socket`. What is pending goes first."""
        if not self._closed:
            self._put({"type": "websocket.close", "code": code, "reason": reason}, 0)
            await self._until(-1)

    def abort(self) -> None:
        """What is pending is dropped; and the connection, where the server shows it."""
        self._over()
        transport_behind(self._send).break_off()

    async def aclose(self) -> None:
        """End the task that writes."""
        self._over()
        writer = self._writer
        if writer is not None and not writer.done:
            writer.cancel()
            await self._backend.finish(self._stopped.wait, lambda: writer.done)

    def _put(self, message: Message, size: int) -> None:
        if self._closed:
            raise SocketClosed
        self._queue.append((message, size))
        self.pending += size
        if self._writer is None:
            self._writer = self._backend.spawn(self._write_all, None, "streamkit socket", self._stopped.wake)
        else:
            self._idle.wake()

    async def _until(self, room: int) -> None:
        """Wait until at most so many bytes are pending; less than none stands for an empty queue."""
        while not self._closed and (self.pending > room if room >= 0 else self._writer is not None):
            waiter = self._backend.waiter()
            self._waiting.append(waiter)
            try:
                await waiter.wait()
            finally:
                if waiter in self._waiting:
                    self._waiting.remove(waiter)
        if self._closed and room >= 0:
            raise SocketClosed

    def _wake_all(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.wake()

    async def _write_all(self) -> None:
        send = self._send
        try:
            while not self._closed:
                while self._queue:
                    batch, self._queue = self._queue, []
                    for message, size in batch:
                        await send(message)
                        if self._closed or message["type"] == "websocket.close":
                            return
                        self.pending -= size
                        if self._waiting:
                            self._wake_all()
                await self._idle.wait()
        except OSError:
            LOGGER.debug("a WebSocket's client left")
        except Exception as error:  # servers say by errors of their own that the client has left
            LOGGER.debug("a WebSocket's server refused a message (%s)", type(error).__name__)
        finally:
            self._over()

    def _over(self) -> None:
        self._closed = True
        self._queue = []
        self.pending = 0
        self._idle.wake()
        self._wake_all()
