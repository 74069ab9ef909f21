"""A stream as the body of a plain HTTP response, in chunks as they come: NDJSON, text or bytes. A bare ASGI callable.

    async def app(scope, receive, send):
        await http.Response(sk.stream(answer()), format="ndjson")(scope, receive, send)

How the client learns how it ended:

    ndjson   a last line: {"type":"end"}, or {"type":"error", ...} with code and correlation id
    text     no word of the format could say it. To a client that sends `TE: trailers`, through a server that has the ASGI
    bytes    extension for them (hypercorn, HTTP/2), trailers: x-stream-end (done, cancelled, error, truncated, draining,
             interrupted), x-stream-code, x-stream-correlation-id. To all others a failure is a body that breaks off, which every
             HTTP client tells as an error; a body that is finished is whole.

A broken body is what uvicorn, hypercorn and granian make of an unfinished one on HTTP/1.1: no last chunk. On HTTP/2 hypercorn
resets no stream; it closes the connection when it has been idle for its `keep_alive_timeout` (5 s), so the client sees it then.
On HTTP/1.0, which some proxies speak to a server unless told otherwise (nginx: `proxy_http_version 1.1`), a body ends where its
connection does: behind uvicorn a failure resets that; behind other servers use NDJSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Unpack, cast

from streamkit.dialects.outcomes import Outcome
from streamkit.dialects.protocol import Dialect
from streamkit.errors import ConfigError
from streamkit.events import EVENT_TYPES, DataDelta, ErrorEvent, Finish
from streamkit.sinks.codec import Codec, dialect_of
from streamkit.sinks.responding import Options, Responder, ResponseOptions, Streamable, Writer

__all__ = ["BytesWriter", "Response", "writer_of"]


class Response(Responder):
    """Answer an HTTP request with a stream, in chunks.

    Args:
        stream: A stream, or anything that `sk.stream` takes. Its items are events or text; of "bytes" also bytes.
        format: "ndjson": each event as a line of JSON, in the native form. "text": what `TextDelta`s say, and text. "bytes": what
            `DataDelta`s hold, and bytes, as they are. Or the name of a dialect, or a `Dialect`, in its own framing.
        content_type: Another than the format's: that of the audio or the file in "bytes", say.
        options: As `sse.Response` has them. `retry` and `pad` need SSE. The heartbeat of NDJSON is a space, which every parser of
            JSON skips before a line; text and bytes have none, and wait for the first item however long that takes.

    Headers: `content-type`, `cache-control: no-cache, no-transform, no-store, private`, `x-accel-buffering: no`, the dialect's.
    Memory, Cancellation: as `sse.Response`.
    Raises:
        ConfigError, TypeError: as `sse.Response`.
        StreamInterrupted: when called, to the server: the source failed, and an unfinished body is all that can tell the client.

    >>> import asyncio
    >>> sent = []
    >>> async def receive():
    ...     await asyncio.sleep(60)
    >>> async def send(message):
    ...     sent.append(message)
    >>> asyncio.run(Response(["Hi"], "ndjson")({"type": "http", "method": "GET"}, receive, send))
    >>> sent[-1]["body"]
    b'{"type":"finish"}\\n{"type":"end"}\\n'
    """

    def __init__(
        self,
        stream: Streamable,
        format: str | Dialect = "ndjson",
        *,
        content_type: str | None = None,
        **options: Unpack[ResponseOptions],
    ) -> None:
        self._format = format
        super().__init__("http.Response", stream, self._writer, options, content_type=content_type)

    def _writer(self, options: Options) -> Writer:
        return writer_of(self._format, options)

    def __repr__(self) -> str:
        name = self._format if isinstance(self._format, str) else self._format.name
        return f"<http.Response {name} of {self._stream!r}>"


def writer_of(format: str | Dialect, options: Options) -> Writer:
    """What writes a stream in a format.

    Raises:
        ConfigError: there is none of that name, or it has no words for one of the options.

    >>> writer_of("text", Options()).encode(["H", "i"])
    b'Hi'
    """
    if format != "bytes":
        return Codec(dialect_of(format), id=options.id, model=options.model, retry=options.retry, pad=options.pad)
    for name, value in (("retry", options.retry), ("pad", options.pad)):
        if value is not None:
            raise ConfigError(f"{name}={value} has a meaning in SSE only, and bytes are written as they are")
    return BytesWriter()


class BytesWriter:
    """Bytes and what `DataDelta`s of the first choice hold, with nothing around it (a `Writing`).

    Other events are left out: there is no word for them. Nor is there one for a failure; see the top of this module.

    Memory: none.
    """

    __slots__ = ("cancelled", "headers", "heartbeat", "media_type", "stopped_by")

    def __init__(self) -> None:
        self.media_type = "application/octet-stream"
        self.headers: Mapping[str, str] = {}
        self.heartbeat = b""
        self.stopped_by: ErrorEvent | Exception | None = None
        self.cancelled = False

    def open(self) -> bytes:
        """Nothing."""
        return b""

    def encode(self, batch: Iterable[object]) -> bytes:
        """The contents of these. Never raises for what the items are: see `stopped_by` of `Codec`."""
        parts: list[bytes] = []
        for item in batch:
            if isinstance(item, bytes):
                parts.append(item)
            elif isinstance(item, DataDelta):
                if item.choice == 0:
                    parts.append(item.data)
            elif isinstance(item, bytearray | memoryview):
                parts.append(bytes(cast("bytearray", item)))
            elif isinstance(item, ErrorEvent):
                self.stopped_by = item
                break
            elif isinstance(item, Finish):
                self.cancelled = self.cancelled or item.reason == "cancelled"
            elif not isinstance(item, EVENT_TYPES):
                self.stopped_by = TypeError(
                    f'format="bytes" writes bytes and DataDelta events, and got {type(item).__name__}: encode it'
                )
                break
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self, outcome: Outcome) -> bytes:
        """Nothing, whatever the outcome."""
        return b""
