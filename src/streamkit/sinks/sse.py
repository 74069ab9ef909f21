"""A stream as a server-sent event response: a bare ASGI callable.

    async def app(scope, receive, send):
        await sse.Response(sk.stream(answer()), dialect="openai-chat")(scope, receive, send)

`streamkit.integrations.starlette` has it as Starlette's and FastAPI's own `Response`. How a response
is produced, watched and ended is told in `streamkit.sinks.asgi`; what early failures become, in
`streamkit.sinks.failures`.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from functools import lru_cache
from typing import TypeAlias, cast

from streamkit.dialects.protocol import Dialect
from streamkit.errors import ConfigError
from streamkit.flow.plan import check_seconds
from streamkit.flow.streams import Stream
from streamkit.flow.streams import stream as stream_of
from streamkit.operators.buffering import coalesce as coalesce_op
from streamkit.sinks.asgi import Exchange, RawHeaders, Receive, Scope, Send
from streamkit.sinks.codec import Codec, dialect_of
from streamkit.sinks.headers import HeadersLike, merge_headers, raw_headers

__all__ = ["Response", "Streamable", "check_status", "own_headers"]

Streamable: TypeAlias = (
    Stream[object]
    | AsyncIterable[object]
    | Iterable[object]
    | Awaitable[object]
    | AbstractAsyncContextManager[object]
    | Callable[[], object]
)
"""What `sk.stream` takes."""

_HEADERS = {
    # No cache may keep it, and no proxy may compress, that is, buffer it.
    "cache-control": "no-cache, no-transform",
    # The same, said to nginx.
    "x-accel-buffering": "no",
}


class Response:
    """Answer an HTTP request with a stream.

    Args:
        stream: A stream, or anything that `sk.stream` takes. Its items are events or text.
        dialect: The vocabulary that the client reads: a name ("native", "openai-chat" ...) or a `Dialect`. One with a
            framing of its own (plain text, say) is written in that.
        status: The status, unless the stream fails before its first item.
        headers: Further headers; one of ours is replaced by one of the same name.
        heartbeat: Seconds of silence after which a comment is sent that clients ignore; None sends none. The headers wait
            for the first item, and no longer than this.
        retry: Milliseconds after which an `EventSource` shall reconnect.
        coalesce: Let the source run ahead (at most 1,024 items) while the client is slow, and join what is ready into few,
            larger frames; a fast client still gets each token at once.
        pad: Fill each write with a comment that clients skip, up to a multiple of so many bytes (at least 16): who watches an
            encrypted connection can otherwise guess at the tokens by their lengths. It hides lengths, not how many writes
            there are nor when (`coalesce` makes them fewer): a mitigation, no cure.
        id, model: The answer's id and model for dialects that have them, where no `Start` event brings them.
        lets_through: Exceptions of the source that are raised, not answered, when they come before the first item: a
            framework's own HTTP errors.

    Headers: `content-type` of the dialect, `cache-control: no-cache, no-transform`, `x-accel-buffering: no`, the dialect's.
    Memory: what the stream's own buffers hold, and one batch. A client that reads slowly slows the source.
    Cancellation: the source is closed, then the cancel goes on. When the client leaves, the source is closed and the call
        returns. A stream given as a callable serves any number of requests; any other serves one.
    Raises:
        ConfigError: arguments that cannot work, at the call; when called, a scope that is no HTTP request.
        LocalProtocolError: a `retry` that is no int in its range.
        TypeError: a stream that is none.

    >>> import asyncio
    >>> sent = []
    >>> async def receive():
    ...     await asyncio.sleep(60)
    >>> async def send(message):
    ...     sent.append(message)
    >>> asyncio.run(Response(["Hi"])({"type": "http", "method": "GET"}, receive, send))
    >>> sent[0]["status"], sent[1]["body"]
    (200, b'data: {"type":"open","version":1}\\n\\ndata: {"type":"text-delta","text":"Hi"}\\n\\n')
    """

    def __init__(
        self,
        stream: Streamable,
        dialect: str | Dialect = "native",
        *,
        status: int = 200,
        headers: HeadersLike | None = None,
        heartbeat: float | None = 15.0,
        retry: int | None = None,
        coalesce: bool = False,
        pad: int | None = None,
        id: str | None = None,
        model: str | None = None,
        lets_through: tuple[type[Exception], ...] = (),
    ) -> None:
        check_status(status)
        if heartbeat is not None:
            check_seconds("sse.Response", "heartbeat", heartbeat)
        # `stream` itself says what it cannot take.
        self._stream = stream_of(cast("Stream[object]", stream))
        if coalesce:
            self._stream = self._stream | coalesce_op()
        self._dialect = dialect_of(dialect)
        self._heartbeat = heartbeat
        self._retry = retry
        self._pad = pad
        self._id = id
        self._model = model
        self._lets_through = lets_through
        self.status = status
        # It checks the arguments here, and serves the first request.
        self._spare: Codec | None = self._new_codec()
        own = own_headers(self._spare.media_type, tuple(self._spare.headers.items()))
        self.raw_headers: RawHeaders = merge_headers(own, headers)

    def _new_codec(self) -> Codec:
        return Codec(self._dialect, id=self._id, model=self._model, retry=self._retry, pad=self._pad)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. A HEAD request gets the headers, and the source is closed without being started."""
        if scope["type"] != "http":
            raise ConfigError(f"sse.Response answers HTTP requests, and this scope is {scope['type']!r}: route only those to it")
        if scope.get("method") == "HEAD":
            await self._stream.open().aclose()
            await send({"type": "http.response.start", "status": self.status, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        codec, self._spare = self._spare or self._new_codec(), None
        await Exchange(
            self._stream,
            codec,
            receive,
            send,
            status=self.status,
            headers=self.raw_headers,
            heartbeat=self._heartbeat,
            lets_through=self._lets_through,
        ).answer()

    def __repr__(self) -> str:
        return f"<sse.Response {self._dialect.name} of {self._stream!r}>"


def check_status(status: int) -> None:
    """Raise ConfigError for what is no status of a response with a body."""
    if status.__class__ is not int or not 200 <= status <= 599 or status in (204, 205, 304):
        raise ConfigError(f"status={status!r}: a response with a body has one of 200 to 599, and neither 204, 205 nor 304")


@lru_cache(maxsize=64)
def own_headers(media_type: str, of_dialect: tuple[tuple[str, str], ...]) -> tuple[tuple[bytes, bytes], ...]:
    """What an event stream's response says for itself, and for its dialect."""
    return tuple(raw_headers({"content-type": media_type, **_HEADERS, **dict(of_dialect)}))
