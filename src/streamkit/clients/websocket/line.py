"""One WebSocket connection as a client holds it: what is sent, what comes, whether the server is still there, how it is closed.

Knows the messages of the protocol by their sides only. Knows no streams; what becomes of them is its owner's matter.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from streamkit.clients.websocket.dialling import Failure, failure_of_close
from streamkit.dialects.websocket.messages import VERSION, Ack, ClientMessage, Hello, Ping, ServerMessage, read_server, write
from streamkit.errors import RemoteProtocolError, StreamTimeout
from streamkit.extras import require
from streamkit.flow.clock import Clock
from streamkit.flow.tasks import Backend, Timer

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

__all__ = ["Line", "Patience"]

# A reader that has seen all that came says so after this long, unless it has more to say by then: a server with a small window
# waits for no longer, and one that sends a token now and then gets no message for each.
_ACK_SECONDS: Final = 0.2


class Patience:
    """How long a server may be silent, in seconds: until it is asked, after it was asked, until it says hello; and to close."""

    __slots__ = ("answer", "close", "hello", "silence")

    def __init__(self, *, silence: float, answer: float, hello: float, close: float) -> None:
        self.silence = silence
        self.answer = answer
        self.hello = hello
        self.close = close


class Line:
    """A connection that is open. `greet` first, then `receive` until it raises, then `close`.

    Args:
        socket: The library's connection.
        backend, clock: Of the event loop.
        patience: See there.

    Attributes:
        hello: What the server said first.

    Memory: what is posted and not sent: a message or two for each thing that somebody did, and one acknowledgement per stream.
    """

    def __init__(self, socket: ClientConnection, backend: Backend, clock: Clock, patience: Patience) -> None:
        self.hello = Hello(VERSION, 0)
        self._socket = socket
        self._backend = backend
        self._clock = clock
        self._patience = patience
        self._outbox: deque[ClientMessage] = deque()
        self._acks: dict[str, Ack] = {}
        self._late_acks: dict[str, Ack] = {}
        self._ack_timer: Timer | None = None
        self._mail = backend.waiter()
        self._sender: _Errand | None = None
        self._heard_at = clock.now()
        # Since when it has been silent in spite of a question, if it has.
        self._silent_for: float | None = None
        self._watch: Timer = clock.call_at(self._heard_at + patience.hello, partial(self._hang_up, patience.hello))
        self._closed: type[Exception] = require(
            "websockets.exceptions", extra="websockets", wanted_by="sk.clients.websocket"
        ).ConnectionClosed

    async def greet(self) -> None:
        """Wait for the server's first message, and begin to send.

        Raises:
            Failure: it is not there, or speaks something else.
        """
        hello, _ = await self.receive()
        if not isinstance(hello, Hello) or hello.version != VERSION:
            error = RemoteProtocolError(f"the server does not speak version {VERSION} of streamkit's WebSocket protocol")
            raise Failure(error, passing=False)
        self.hello = hello
        self._watch.cancel()
        self._watch = self._clock.call_at(self._clock.now() + self._patience.silence, self._look)
        self._sender = _Errand(self._backend, self._send_all)

    async def receive(self) -> tuple[ServerMessage, int]:
        """The next message, and its length.

        Raises:
            Failure: there is none.
        """
        try:
            message = await self._socket.recv()
            self._heard_at = self._clock.now()
            return read_server(message), len(message)
        except RemoteProtocolError as error:
            raise Failure(error, passing=False) from error
        except self._closed as closed:
            if self._silent_for is None:
                raise failure_of_close(closed) from closed  # type: ignore[arg-type]  # it is the library's ConnectionClosed
            seconds = self._silent_for
            silence = StreamTimeout(f"the server was silent for {seconds:g} s", phase="wire", seconds=seconds)
            raise Failure(silence, passing=True) from closed

    def post(self, message: ClientMessage) -> None:
        """Send it in the next turn."""
        self._outbox.append(message)
        self._mail.wake()

    def acknowledge(self, message: Ack, *, later: bool) -> None:
        """Send it in the next turn, or a little later, in the place of an older one of that stream."""
        if not later:
            self._late_acks.pop(message.stream, None)
            self._acks[message.stream] = message
            self._mail.wake()
            return
        self._late_acks[message.stream] = message
        if self._ack_timer is None:
            self._ack_timer = self._clock.call_at(self._clock.now() + _ACK_SECONDS, self._acknowledge_late)

    def _acknowledge_late(self) -> None:
        self._ack_timer = None
        self._acks.update(self._late_acks)
        self._late_acks.clear()
        self._mail.wake()

    async def close(self) -> None:
        """Send what is left, and close it; a server that does not answer to that is left alone after a while."""
        self._watch.cancel()
        if self._ack_timer is not None:
            self._ack_timer.cancel()
        if self._sender is not None:
            await self._sender.stop()
        if not await self._backend.bounded(self._part(), self._patience.close, self._clock):
            self._socket.transport.abort()

    async def _part(self) -> None:
        with suppress(self._closed):
            await self._send_posted()
        closing = _Errand(self._backend, self._socket.close)
        try:
            # What it has sent meanwhile stands before its answer.
            with suppress(self._closed):
                while True:
                    await self._socket.recv()
        finally:
            await closing.stop()

    async def _send_all(self) -> None:
        # Who receives finds out that it is closed, and why.
        with suppress(self._closed):
            while True:
                await self._send_posted()
                await self._mail.wait()

    async def _send_posted(self) -> None:
        while self._outbox or self._acks:
            message = self._outbox.popleft() if self._outbox else self._acks.pop(next(iter(self._acks)))
            await self._socket.send(write(message), text=True)

    def _look(self) -> None:
        """Ask a server that was silent for a while whether it is there."""
        now = self._clock.now()
        due = self._heard_at + self._patience.silence
        if now < due:
            self._watch = self._clock.call_at(due, self._look)
            return
        self.post(Ping())
        # Counted from now: an event loop that was held up has not heard what has come meanwhile.
        self._watch = self._clock.call_at(now + self._patience.answer, partial(self._look_again, now))

    def _look_again(self, asked_at: float) -> None:
        if self._heard_at > asked_at:
            self._look()
        else:
            self._hang_up(self._clock.now() - self._heard_at)

    def _hang_up(self, seconds: float) -> None:
        self._silent_for = seconds
        self._socket.transport.abort()


class _Errand:
    """A task of its own, which is stopped by whoever began it."""

    def __init__(self, backend: Backend, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._backend = backend
        self._over = False
        self._ended = backend.waiter()
        self._task = backend.spawn(main, _nothing, "streamkit websocket", self._end)

    def _end(self) -> None:
        self._over = True
        self._ended.wake()

    async def stop(self) -> None:
        if not self._over:
            self._task.cancel()
            await self._backend.finish(self._ended.wait, lambda: self._over)


async def _nothing() -> None:
    return None
