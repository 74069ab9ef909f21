"""What all responses that answer a request with a stream have in common: their options, and how one request is served.

`sse.Response`, `http.Response` and `ResumableResponse` say what is written, and in which words; this file says how:

    options, checked once ──> headers
    request ──> HEAD: headers, the source never started
                OPTIONS: 204 and what may be asked, likewise; a browser asks so before it asks
                else: an `Exchange` (`streamkit.sinks.asgi`), its `send` behind a compressor if one was negotiated, and
                behind the trailers if client and server know them

A trailer says how the stream ended, where the body has no word for it. It is sent only to who has said `TE: trailers`: RFC 9110,
section 6.5.1, allows no other, and a browser that would not look at it must not be told a failure there alone.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import lru_cache
from typing import Final, Protocol, TypeAlias, TypedDict, cast

import msgspec

from streamkit.dialects.outcomes import CANCELLED, DONE, Outcome
from streamkit.errors import ConfigError
from streamkit.flow.plan import check_seconds
from streamkit.flow.streams import Stream
from streamkit.flow.streams import stream as stream_of
from streamkit.operators.buffering import coalesce as coalesce_op
from streamkit.sinks.asgi import Exchange, Message, RawHeaders, Receive, Scope, Send
from streamkit.sinks.codec import Writing
from streamkit.sinks.compression import Compress, check_compress, compressed_for
from streamkit.sinks.headers import HeadersLike, merge_headers, raw_headers

__all__ = [
    "ALLOWED",
    "Options",
    "Responder",
    "ResponseOptions",
    "StreamOptions",
    "Streamable",
    "Writer",
    "check_exceptions",
    "check_status",
    "own_headers",
    "send_options",
]

ALLOWED: Final = "GET, HEAD, OPTIONS, POST"
"""Methods with which a stream is asked for, or about."""

Streamable: TypeAlias = (
    Stream[object]
    | AsyncIterable[object]
    | Iterable[object]
    | Awaitable[object]
    | AbstractAsyncContextManager[object]
    | Callable[[], object]
)
"""What `sk.stream` takes."""

_HEADERS: Final = {
    # No cache may keep it, of a browser or on the way: an answer is one person's. No proxy may compress, that is, buffer it.
    "cache-control": "no-cache, no-transform, no-store, private",
    # The same, said to nginx.
    "x-accel-buffering": "no",
}


class StreamOptions(TypedDict, total=False):
    """What may be said of every answer that is a stream; `sse.Response` tells what each means."""

    headers: HeadersLike | None
    heartbeat: float | None
    retry: int | None
    coalesce: bool
    pad: int | None
    compress: Compress
    id: str | None
    model: str | None


class ResponseOptions(StreamOptions, total=False):
    """And what belongs to those that are ASGI applications of their own."""

    status: int
    lets_through: tuple[type[Exception], ...]


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """`ResponseOptions` with what holds where nothing was said."""

    status: int = 200
    headers: HeadersLike | None = None
    heartbeat: float | None = 15.0
    retry: int | None = None
    coalesce: bool = False
    pad: int | None = None
    compress: Compress = False
    id: str | None = None
    model: str | None = None
    lets_through: tuple[type[Exception], ...] = ()

    @staticmethod
    def checked(by: str, given: ResponseOptions) -> Options:
        """The options that a caller of `by` gave.

        Raises:
            ConfigError, MissingExtra, TypeError: one that cannot work, or that there is not.
        """
        if not _NAMES.issuperset(given):
            raise TypeError(f"{by}() has no option {min(given.keys() - _NAMES)!r}; it has {', '.join(Options.__struct_fields__)}")
        options = Options(**given)
        check_status(options.status)
        _check_types(by, options)
        if options.heartbeat is not None:
            check_seconds(by, "heartbeat", options.heartbeat)
        check_compress(by, options.compress)
        return options

    def typed(self, content_type: str | None) -> Options:
        """The same for a body of this content type; None leaves it to the format.

        Raises:
            ConfigError: it cannot be a header.
        """
        if content_type is None:
            return self
        raw_headers({"content-type": content_type})
        given = self.headers or ()
        pairs = cast("Mapping[str, str]", given).items() if isinstance(given, Mapping) else given
        return msgspec.structs.replace(self, headers=[("content-type", content_type), *pairs])

    def stream(self, stream: Streamable) -> Stream[object]:
        """What is to be written; `sk.stream` says what it cannot take."""
        found = stream_of(cast("Stream[object]", stream))
        return found | coalesce_op() if self.coalesce else found


_NAMES: Final = frozenset(Options.__struct_fields__)


def _check_types(by: str, options: Options) -> None:
    """Raise TypeError for what would only be found out when an answer is written, or when one has failed."""
    for name in ("id", "model"):
        value: object = getattr(options, name)
        if value is not None and not isinstance(value, str):
            raise TypeError(f"{by}({name}=...) takes a str, got {type(value).__name__}")
    if options.coalesce.__class__ is not bool:
        raise TypeError(f"{by}(coalesce=...) takes a bool, got {type(options.coalesce).__name__}")
    check_exceptions(by, options.lets_through)


def check_exceptions(by: str, kinds: object) -> None:
    """Raise TypeError unless these are exceptions that may be let through."""
    if not isinstance(kinds, tuple) or not all(
        isinstance(kind, type) and issubclass(kind, Exception) for kind in cast("tuple[object, ...]", kinds)
    ):
        raise TypeError(f"{by}(lets_through=...) takes a tuple of exceptions, got {kinds!r:.80}")


class Writer(Writing, Protocol):
    """What writes one response; see `Codec`."""

    cancelled: bool


class Responder:
    """A stream as the answer to HTTP requests: an ASGI callable. The base of what `streamkit.sinks` offers as `Response`.

    Args:
        by: The name of the subclass, for what is told to programmers.
        stream: What to send.
        new_codec: Makes what writes it, for each request.
        options: As the user gave them.
        content_type: Another than the codec's.

    Attributes:
        status, raw_headers: Of the response; what wraps it may change them until it is called.
    """

    def __init__(
        self,
        by: str,
        stream: Streamable,
        new_codec: Callable[[Options], Writer],
        options: ResponseOptions,
        *,
        content_type: str | None = None,
    ) -> None:
        self._by = by
        self._options = Options.checked(by, options).typed(content_type)
        self._stream = self._options.stream(stream)
        self._new_codec = new_codec
        # It checks the arguments here, and serves the first request.
        self._spare: Writer | None = new_codec(self._options)
        self.status = self._options.status
        own = own_headers(self._spare.media_type, tuple(self._spare.headers.items()))
        self.raw_headers: RawHeaders = merge_headers(own, self._options.headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. HEAD gets the headers, OPTIONS what may be asked, and the source is closed without being started."""
        if scope["type"] != "http":
            raise ConfigError(f"{self._by} answers HTTP requests, and this scope is {scope['type']!r}: route only those to it")
        if scope.get("method") == "HEAD":
            await self._stream.open().aclose()
            send = compressed_for(scope, send, self._options.compress)
            await send({"type": "http.response.start", "status": self.status, "headers": list(self.raw_headers)})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        if scope.get("method") == "OPTIONS":
            await self._stream.open().aclose()
            await send_options(send)
            return
        codec, self._spare = self._spare or self._new_codec(self._options), None
        await self.answer(scope, receive, send, self._stream, codec)

    def answer(self, scope: Scope, receive: Receive, send: Send, stream: Stream[object], codec: Writer) -> Awaitable[None]:
        """Answer with this stream and this codec, when it is awaited."""
        # No coroutine of its own: it would be there as long as the response is, ten thousand times.
        wire = send
        trailing = _Trailing(send, codec) if takes_trailers(scope) else None
        return Exchange(
            stream,
            codec,
            receive,
            compressed_for(scope, send if trailing is None else trailing.deliver, self._options.compress),
            status=self.status,
            # Middlewares may write into the list that they are given (Starlette's for gzip does).
            headers=list(self.raw_headers),
            heartbeat=self._options.heartbeat,
            lets_through=self._options.lets_through,
            ended=None if trailing is None else trailing.ended,
            in_trailers=trailing is not None,
            scope=scope,
            wire=wire,
        ).answer()

    def __repr__(self) -> str:
        return f"<{self._by} of {self._stream!r}>"


def check_status(status: int) -> None:
    """Raise ConfigError for what is no status of a response with a body."""
    if status.__class__ is not int or not 200 <= status <= 599 or status in (204, 205, 304):
        raise ConfigError(f"status={status!r}: a response with a body has one of 200 to 599, and neither 204, 205 nor 304")


async def send_options(send: Send) -> None:
    """Answer an OPTIONS request: a stream is for who asks for it, and not for who asks whether he may."""
    await send({"type": "http.response.start", "status": 204, "headers": [(b"allow", ALLOWED.encode())]})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


@lru_cache(maxsize=64)
def own_headers(media_type: str, of_dialect: tuple[tuple[str, str], ...]) -> tuple[tuple[bytes, bytes], ...]:
    """What a streamed response says for itself, and for its dialect."""
    return tuple(raw_headers({"content-type": media_type, **_HEADERS, **dict(of_dialect)}))


# ---- trailers -----------------------------------------------------------------------------------

_TRAILER: Final = (b"trailer", b"x-stream-end, x-stream-code, x-stream-correlation-id")


def takes_trailers(scope: Scope) -> bool:
    """Whether the server can send trailers and the client reads them."""
    extensions = cast("Mapping[str, object] | None", scope.get("extensions")) or {}
    if "http.response.trailers" not in extensions:
        return False
    headers = cast("Iterable[tuple[bytes, bytes]]", scope.get("headers", ()))
    return any(name == b"te" and b"trailers" in {word.strip().lower() for word in value.split(b",")} for name, value in headers)


class _Trailing:
    """The messages of one response on their way to the server, and behind them how it ended.

    See the extension `http.response.trailers` of the ASGI specification.
    """

    def __init__(self, send: Send, codec: Writer) -> None:
        self.send = send
        self._codec = codec
        self._outcome = DONE
        self._streams = False

    def ended(self, outcome: Outcome) -> None:
        """The stream has ended like that."""
        self._outcome = CANCELLED if self._codec.cancelled and outcome is DONE else outcome

    async def deliver(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = cast("RawHeaders", message.get("headers", []))
            self._streams = all(name != b"content-length" for name, _ in headers)  # a refusal has one
            if self._streams:
                message = {**message, "headers": [*headers, _TRAILER], "trailers": True}
        await self.send(message)
        if self._streams and message["type"] == "http.response.body" and not message.get("more_body"):
            await self.send({"type": "http.response.trailers", "headers": _fields_of(self._outcome), "more_trailers": False})


def _fields_of(outcome: Outcome) -> RawHeaders:
    fields: RawHeaders = [(b"x-stream-end", outcome.ending.encode())]
    if outcome.failed:
        # A code may be a provider's own: it is text that somebody else wrote.
        fields.append((b"x-stream-code", outcome.code.encode("ascii", "ignore") if outcome.code.isprintable() else b"error"))
        fields.append((b"x-stream-correlation-id", (outcome.correlation_id or "").encode("ascii", "ignore")))
    return fields
