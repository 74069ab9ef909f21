"""The demo's ASGI app, `GET /ask?question=...`, and the server that runs it on this machine alone.

Only names of this machine are answered: a page in a browser can point a name of its own at 127.0.0.1,
but it cannot change the Host header that then arrives here.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import parse_qs

from streamkit.errors import ConfigError
from streamkit.events import Event
from streamkit.extras import require
from streamkit.flow.streams import Stream
from streamkit.sinks import sse
from streamkit.sinks.safety.hosts import LOOPBACK_HOSTS, AllowedHosts
from streamkit.sinks.safety.origins import host_and_port

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["Answer", "listen", "make_app", "serving"]

HOST = "127.0.0.1"
# Seconds that open answers get when the server is told to stop.
GRACE = 1

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

# Makes the stream of an answer from a question.
Answer: TypeAlias = Callable[[str], Stream[Event]]


def make_app(answer: Answer, *, dialect: str = "native") -> App:
    """The ASGI app: `/ask?question=...` answers as server-sent events, everything else says what there is."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if scope["path"] != "/ask":
            await _say(send, 404, "There is only /ask?question=... here.")
        elif scope["method"] != "GET":
            await _say(send, 405, "Ask with GET.")
        else:
            question = parse_qs(scope["query_string"].decode("latin-1")).get("question", [""])[0].strip()
            if not question:
                await _say(send, 400, "Ask something: /ask?question=What+is+a+buffer")
            else:
                await sse.Response(answer(question), dialect=dialect)(scope, receive, send)

    return AllowedHosts(app, LOOPBACK_HOSTS)


def is_loopback(host: str) -> bool:
    """Whether a Host header names this machine.

    >>> is_loopback("localhost:8000"), is_loopback("[::1]:8000"), is_loopback("evil.example:8000")
    (True, True, False)
    """
    asked = host_and_port(host)
    return asked is not None and asked[0] in LOOPBACK_HOSTS


async def _say(send: Send, status: int, text: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": f"{text}\n".encode()})


def listen(port: int) -> tuple[socket.socket, bool]:
    """A listening loopback socket, on `port` or, where that is taken or not allowed, on any free one.

    Returns:
        The socket, and whether it has the port that was asked for.

    Raises:
        ConfigError: this machine gives no loopback socket at all.
    """
    for wanted in (port, 0):
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            if os.name == "posix":
                # A port that a server of a moment ago still keeps warm is free; one that is served is not.
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((HOST, wanted))
            listener.listen()
            return listener, wanted == port
        except OSError as error:
            listener.close()
            if wanted == 0 or error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise ConfigError(f"cannot listen on {HOST}, port {wanted}: {error.strerror}") from error
    raise AssertionError("unreachable")


@asynccontextmanager
async def serving(app: App, listener: socket.socket) -> AsyncGenerator[asyncio.Task[None], None]:
    """Serve `app` on `listener` while inside; it has stopped when control returns.

    Signals stay with the caller: Ctrl-C cancels the caller's task, and leaving this stops the server.

    Yields:
        The server's task, which ends only if the server stops by itself.
    """
    require("uvicorn", extra="demo", wanted_by="the demo")
    import uvicorn

    class Server(uvicorn.Server):
        @contextmanager
        def capture_signals(self) -> Generator[None, None, None]:
            yield

    config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off", timeout_graceful_shutdown=GRACE)
    server = Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        while not server.started and not task.done():  # noqa: ASYNC110  # uvicorn offers no event for it
            await asyncio.sleep(0.005)
        yield task
    finally:
        server.should_exit = True
        await asyncio.wait([task])
        task.result()
