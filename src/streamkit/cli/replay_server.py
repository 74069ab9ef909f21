"""A recording as a server on this machine: every request gets it, cut and timed alike.

HTTP/1.1 by hand, because the point is what goes over the wire: one recorded chunk is one chunk of the transfer coding, and
an answer that failed while it was recorded is torn off without its last chunk. Only names of this machine are answered.
"""

from __future__ import annotations

import asyncio
import errno
import re
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from streamkit.cli.endpoint import HOST, is_loopback
from streamkit.clients.recording_format import Header, header_of
from streamkit.clients.recordings import replay
from streamkit.dialects.outcomes import DONE, outcome_of
from streamkit.errors import ConfigError, StreamkitError
from streamkit.events import EVENT_TYPES
from streamkit.sinks.codec import Codec

__all__ = ["serving_recording"]

_LONGEST_BODY: Final = 64 * 1024 * 1024
_LONGEST_HEAD: Final = 65_536
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,12})[ \t]*\r\n", re.IGNORECASE)
_CHUNKED: Final = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked", re.IGNORECASE)
_EXPECTS: Final = re.compile(rb"\r\nexpect:[ \t]*100-continue", re.IGNORECASE)
_HOST: Final = re.compile(rb"\r\nhost:[ \t]*([^\r\n]*)", re.IGNORECASE)


@asynccontextmanager
async def serving_recording(path: Path, *, port: int, speed: float | None, dialect: str | None) -> AsyncGenerator[str]:
    """Serve while inside; nothing is left running behind it.

    Args:
        port: On 127.0.0.1; 0 for any that is free.
        dialect: How recorded events are written; bytes are sent as they are.

    Yields:
        The server's address.

    Raises:
        ConfigError: the port is taken, or may not be used.
    """
    answers = _Answers(path, speed, dialect or "native")
    server = await _listen(answers, port)
    try:
        yield "http://{}:{}".format(*server.sockets[0].getsockname())
    finally:
        server.close()
        await answers.stop()


async def _listen(answers: _Answers, port: int) -> asyncio.Server:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if sys.platform != "win32":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        return await asyncio.start_server(answers.connected, sock=listener, limit=_LONGEST_HEAD)
    except OSError as error:
        listener.close()
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            raise ConfigError(f"port {port} is not free ({error.strerror}): give another, or --port 0 for any") from None
        raise ConfigError(f"cannot listen on {HOST}, port {port}: {error.strerror}") from error


class _Answers:
    """The connections of one server."""

    def __init__(self, path: Path, speed: float | None, dialect: str) -> None:
        self._path = path
        self._speed = speed
        self._dialect = dialect
        self._header: Header = header_of(path)
        self._tasks: set[asyncio.Task[Any]] = set()

    async def stop(self) -> None:
        """End what is open."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: one request, one answer."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
                await self._answer(reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()  # the server stops: whoever cancelled waits for this task, and wants no more of it
        finally:
            self._tasks.discard(task)
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        host = _HOST.search(head)
        if host is None or not is_loopback(host[1].decode("latin-1").strip()):
            writer.write(_head(403, "text/plain") + b"0\r\n\r\n")
            return
        if _EXPECTS.search(head):
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await _skip_body(head, reader)
        if head.startswith(b"HEAD "):
            writer.write(_head(self._header.status or 200, self._header.content_type or "text/event-stream"))
            return
        await self._play(writer)

    async def _play(self, writer: asyncio.StreamWriter) -> None:
        began = False
        try:
            async with aclosing(self._chunks()) as chunks:
                async for content_type, chunk in chunks:
                    if not began:
                        began = True
                        writer.write(_head(self._header.status or 200, content_type))
                    if chunk:
                        writer.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
                    await writer.drain()
        except StreamkitError:
            # It was torn off when it was recorded: what was sent goes out, and no last chunk behind it.
            if not began:
                writer.transport.abort()
            return
        if not began:
            writer.write(_head(self._header.status or 200, self._header.content_type or "text/event-stream"))
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    async def _chunks(self) -> AsyncGenerator[tuple[str, bytes]]:
        """What to send, with what it is; all of a recorded read of events at once."""
        codec: Codec | None = None
        async with replay(self._path, speed=self._speed) as run:
            try:
                async for read in run.lists():
                    if isinstance(read[0], EVENT_TYPES):
                        if codec is None:
                            codec = Codec(self._dialect)
                            yield "text/event-stream", codec.open()
                        yield "text/event-stream", codec.encode(read)
                        continue
                    for item in read:
                        if isinstance(item, bytes):
                            yield self._header.content_type or "text/event-stream", item
                        else:
                            yield "text/plain; charset=utf-8", str(item).encode("utf-8", "replace")
            except StreamkitError as error:
                if codec is None:
                    raise
                yield "text/event-stream", codec.close(outcome_of(error))
                return
        if codec is not None:
            yield "text/event-stream", codec.close(DONE)


def _head(status: int, content_type: str) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Recorded"
    # What a file says goes into a header: no line of its own.
    safe = "".join(char for char in content_type if " " <= char <= "~")
    return (
        f"HTTP/1.1 {status} {phrase}\r\nContent-Type: {safe}\r\nCache-Control: no-store\r\n"
        "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    ).encode()


async def _skip_body(head: bytes, reader: asyncio.StreamReader) -> None:
    """Read what was asked, which changes nothing: a client may not look at an answer before it has been heard."""
    length = _LENGTH.search(head)
    if length is not None:
        await _skip(reader, int(length[1]))
    elif _CHUNKED.search(head):
        total = 0
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            total += size
            if total > _LONGEST_BODY:
                raise ValueError("too long")
            await _skip(reader, size + 2)
        while (await reader.readuntil(b"\r\n")) != b"\r\n":
            pass  # trailers


async def _skip(reader: asyncio.StreamReader, size: int) -> None:
    if size > _LONGEST_BODY:
        raise ValueError("too long")
    while size > 0:
        read = await reader.read(min(size, 65_536))
        if not read:
            raise ConnectionError("the client left")
        size -= len(read)
