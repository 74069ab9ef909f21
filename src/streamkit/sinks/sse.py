"""A stream as a server-sent event response: a bare ASGI callable.

    async def app(scope, receive, send):
        await sse.Response(sk.stream(answer()), dialect="openai-chat")(scope, receive, send)

`streamkit.integrations.starlette` has it as Starlette's and FastAPI's own `Response`. How a response
is produced, watched and ended is told in `streamkit.sinks.asgi`; what early failures become, in
`streamkit.sinks.failures`.
"""

from __future__ import annotations

from typing import Unpack

from streamkit.dialects.protocol import Dialect
from streamkit.sinks.codec import Codec, dialect_of
from streamkit.sinks.responding import Options, Responder, ResponseOptions, Streamable, check_status, own_headers

__all__ = ["Response", "Streamable", "check_status", "own_headers"]


class Response(Responder):
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
        compress: Compress for clients that take it, each write flushed so that no token waits: True for gzip, and zstd and br where
            they are installed; or a list of these. See `streamkit.sinks.compression` for what it costs, and why it is off.
        id, model: The answer's id and model for dialects that have them, where no `Start` event brings them.
        lets_through: Exceptions of the source that are raised, not answered, when they come before the first item: a
            framework's own HTTP errors.

    Headers: `content-type` of the dialect, `cache-control: no-cache, no-transform, no-store, private`, `x-accel-buffering: no`,
        the dialect's.
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

    def __init__(self, stream: Streamable, dialect: str | Dialect = "native", **options: Unpack[ResponseOptions]) -> None:
        self._dialect = dialect_of(dialect)
        super().__init__("sse.Response", stream, self._codec, options)

    def _codec(self, options: Options) -> Codec:
        return Codec(self._dialect, id=options.id, model=options.model, retry=options.retry, pad=options.pad)

    def __repr__(self) -> str:
        return f"<sse.Response {self._dialect.name} of {self._stream!r}>"
