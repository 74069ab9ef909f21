"""Our ASGI applications as responses of frameworks that have responses of their own: Django, Quart.

    the view's task                          a task of the bridge
    begin() ──────────────────────────────>  application(scope, receive, send)
      status, headers          <───────────    http.response.start, behind the first item or an early failure
    next chunk                 <───────────    http.response.body: `send` returns when the chunk after it is asked for
    aclose(), or collected     ────────────>   http.disconnect: the source is closed
    the end, or the error      <───────────    return

So a source is pulled exactly as fast as the framework's server takes the chunks, and heartbeats, the watch over a client that
takes nothing, the drain and the source's closing are those of `streamkit.sinks.asgi`.

A response that nobody iterates any more (the framework cancelled its task in between) is collected, and then its client is gone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from types import TracebackType
from typing import Final, Self, TypeAlias, cast
from urllib.parse import unquote
from weakref import finalize

from streamkit.errors import ConfigError, StreamInterrupted
from streamkit.flow.tasks import Backend, Task, current_backend
from streamkit.sinks.asgi_types import Message, RawHeaders, Receive, Scope, Send

__all__ = ["App", "Bridged", "Headers", "http_scope"]

App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers: TypeAlias = list[tuple[str, str]]

_SPEC: Final = {"version": "3.0", "spec_version": "2.3"}


class Bridged:
    """One request answered by an ASGI application: status and headers, then the chunks of the body.

    Args:
        app: The application.
        scope: Of the request.
        body: The request's.

    It is iterated once, by one task. A loop that runs to its end closes all; one that is left needs `aclose()`.

    Memory: a task, and one chunk.
    Cancellation: of `begin` ends the application, then the cancel goes on; of an iteration ends the wait alone.
    Raises:
        Exception: what the application raises; StreamInterrupted where it left the body unfinished. A server that iterates
            this breaks the transfer off.

    >>> async def app(scope, receive, send):
    ...     await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})
    ...     await send({"type": "http.response.body", "body": b"Hi", "more_body": False})
    >>> async def main():
    ...     bridged = Bridged(app, {"type": "http"})
    ...     return await bridged.begin(), [chunk async for chunk in bridged]
    >>> run(main())
    ((200, [('a', 'b')]), [b'Hi'])
    """

    def __init__(self, app: App, scope: Scope, body: bytes = b"") -> None:
        self._line = _Line(app, scope, body)
        finalize(self, self._line.leave_soon).atexit = False

    async def begin(self) -> tuple[int, Headers]:
        """Start the application, and wait for its status and headers."""
        line = self._line
        line.start()
        try:
            await line.next_step()
        except BaseException:
            await line.aclose()
            raise
        if line.status is None:
            raise line.unfinished()
        return line.status, [(name.decode("latin-1"), value.decode("latin-1")) for name, value in line.headers]

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        line = self._line
        while True:
            chunk, line.chunk = line.chunk, b""
            if chunk:
                return chunk
            if line.over:
                if not line.whole and not line.gone:
                    raise line.unfinished()
                raise StopAsyncIteration
            await line.next_step()

    async def aclose(self) -> None:
        """Tell the application that its client has left, if it still answers, and wait until it has ended."""
        await self._line.aclose()

    def close(self) -> None:
        """The same without waiting; may be called from any thread."""
        self._line.leave_soon()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<Bridged {self._line.app!r}>"


class _Line:
    """What the two tasks have in common. It knows nothing of the `Bridged`, which can so be collected."""

    def __init__(self, app: App, scope: Scope, body: bytes) -> None:
        self.app = app
        self.status: int | None = None
        self.headers: RawHeaders = []
        self.chunk = b""
        self.whole = False  # The application has finished the body.
        self.over = False  # It has returned.
        self.gone = False  # Nobody takes chunks any more.
        self._scope = scope
        self._body: bytes | None = body
        self._error: BaseException | None = None
        self._waits = False  # A chunk was handed over; its `send` has not returned.
        self._backend: Backend | None = None
        self._task: Task | None = None

    def start(self) -> None:
        backend = self._backend = current_backend()
        # Who waits for the other: the reader for a step, `send` for the reader, `receive` for the end.
        self._reader, self._sender, self._receiver = backend.waiter(), backend.waiter(), backend.waiter()
        self._task = backend.spawn(self._main, _nothing, "streamkit bridge", self._ended)

    async def _main(self) -> None:
        try:
            await self.app(self._scope, self._receive, self._send)
        except Exception as error:
            self._error = error

    def _ended(self) -> None:
        self.over = True
        self._reader.wake()

    # -- the application's side

    async def _receive(self) -> Message:
        body, self._body = self._body, None
        if body is not None:
            return {"type": "http.request", "body": body, "more_body": False}
        while not self.gone:
            await self._receiver.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if self.gone:
            raise ConnectionResetError("nobody takes this response any more")
        if message["type"] == "http.response.start":
            self.status = cast("int", message["status"])
            self.headers = list(cast("Iterable[tuple[bytes, bytes]]", message.get("headers", ())))
            return  # It goes with the first part of the body: an error in between is still the view's.
        if message["type"] != "http.response.body":
            return  # an extension that nobody offered
        self.chunk = cast("bytes", message.get("body", b""))
        self.whole = not message.get("more_body")
        self._waits = True
        self._reader.wake()
        while self._waits and not self.gone:
            await self._sender.wait()

    # -- the reader's side

    async def next_step(self) -> None:
        """Let the application go on, and wait until it hands something over or ends; raises what it raised."""
        self._waits = False
        self._sender.wake()
        while not self.over and not self._waits and not self.gone:
            await self._reader.wait()
        error, self._error = self._error, None
        if error is not None:
            raise error

    def unfinished(self) -> StreamInterrupted:
        return StreamInterrupted("an application left its response unfinished")

    def leave(self) -> None:
        self.gone = True
        self.chunk = b""
        for waiter in (self._reader, self._sender, self._receiver):
            waiter.wake()

    def leave_soon(self) -> None:
        if self._backend is not None and not self.over:
            try:
                self._backend.soon_from_thread(self.leave)
            except RuntimeError:  # the event loop is over, and its tasks with it
                self.gone = True

    async def aclose(self) -> None:
        if self._backend is None or self.over:
            self.gone = True
            return
        self.leave()
        if not self.over:
            await self._backend.finish(self._reader.wait, lambda: self.over)


def http_scope(
    *,
    method: str,
    target: str,
    headers: Iterable[tuple[str, str]],
    client: tuple[str, int] | None,
    scheme: str,
    version: str = "1.1",
    prefix: str = "",
) -> Scope:
    """What ASGI would have of a request that another server has taken.

    Args:
        method, headers, client, scheme, version: Of the request.
        target: Path and query, as they were sent.
        prefix: Where the application is mounted.

    Raises:
        ConfigError: a prefix that does not begin with a slash, or ends with one.

    >>> http_scope(method="GET", target="/a%20b?c=d", headers=[("Host", "x")], client=None, scheme="http")["path"]
    '/a b'
    """
    if prefix and (not prefix.startswith("/") or prefix.endswith("/")):
        raise ConfigError(f"prefix={prefix!r}: it begins with a slash and ends without one, like '/chat'")
    path, _, query = target.partition("?")
    return {
        "type": "http",
        "asgi": _SPEC,
        "http_version": version,
        "method": method.upper(),
        "scheme": scheme,
        "path": unquote(path),
        "raw_path": path.encode("latin-1", "replace"),
        "query_string": query.encode("latin-1", "replace"),
        "root_path": prefix,
        "headers": [(name.lower().encode("latin-1", "replace"), value.encode("latin-1", "replace")) for name, value in headers],
        "client": client,
        "server": None,
        "extensions": {},
    }


async def _nothing() -> None:
    """The task has nothing to clean up."""
