"""The responses of `streamkit.sinks` as Starlette's own `Response`, for Starlette and FastAPI.

    @app.get("/chat")
    async def chat() -> EventStreamResponse:
        return EventStreamResponse(sk.stream(answer()), dialect="openai-chat")

    @app.get("/chat/{id}/stream")
    async def join(id: str) -> HubStreamResponse:
        return HubStreamResponse(hub, id, dialect="openai-chat")

Headers, cookies and the background task work as on any other response. An `HTTPException` that the
source raises before its first item reaches the application's exception handlers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Unpack

from streamkit.dialects.protocol import Dialect
from streamkit.extras import require
from streamkit.hub.hub import Hub
from streamkit.sinks import http, sse
from streamkit.sinks.responding import Responder, Streamable, StreamOptions
from streamkit.sinks.resuming import DeliveryOptions, HubResponse

require("starlette", extra="starlette", wanted_by="streamkit.integrations.starlette")

from starlette.exceptions import HTTPException  # noqa: E402  # behind the check that it is there
from starlette.responses import Response  # noqa: E402

if TYPE_CHECKING:
    from starlette.background import BackgroundTask
    from starlette.types import Receive, Scope, Send

__all__ = ["EventStreamResponse", "HubStreamResponse", "StreamResponse"]


class _Streamed(Response):
    """An ASGI response of ours, with the status, the headers and the background task of Starlette's."""

    def __init__(self, streamed: Responder | HubResponse, status_code: int, background: BackgroundTask | None) -> None:
        self._streamed = streamed
        self.status_code = status_code
        self.background = background
        self.body = b""
        self.raw_headers = streamed.raw_headers
        self.media_type = dict(self.raw_headers)[b"content-type"].decode("latin-1")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, then run the background task."""
        self._streamed.status = self.status_code
        self._streamed.raw_headers = self.raw_headers
        await self._streamed(scope, receive, send)
        if self.background is not None:
            await self.background()


class EventStreamResponse(_Streamed):
    """`streamkit.sinks.sse.Response` for an endpoint to return.

    Args:
        stream, dialect: As `sse.Response` has them.
        status_code: The status, unless the stream fails before its first item.
        background: Runs when the stream has ended, however it did, also when the client left; not when the
            request was cancelled.
        options: The others of `sse.Response`. `response.headers` and `set_cookie` may still change `headers`.

    Raises:
        ConfigError, LocalProtocolError, TypeError: as `sse.Response`.

    >>> EventStreamResponse(["Hi"]).headers["x-accel-buffering"]
    'no'
    """

    # What FastAPI documents; an object has its own.
    media_type = "text/event-stream"

    def __init__(
        self,
        stream: Streamable,
        dialect: str | Dialect = "native",
        *,
        status_code: int = 200,
        background: BackgroundTask | None = None,
        **options: Unpack[StreamOptions],
    ) -> None:
        streamed = sse.Response(stream, dialect, status=status_code, lets_through=(HTTPException,), **options)
        super().__init__(streamed, status_code, background)


class StreamResponse(_Streamed):
    """`streamkit.sinks.http.Response` for an endpoint to return: NDJSON, text or bytes, in chunks as they come.

    Text and bytes that fail are left unfinished, which Starlette's `BaseHTTPMiddleware` finishes: behind one, and a server other
    than uvicorn, take NDJSON.

    Args:
        stream, format, content_type: As `http.Response` has them.
        status_code, background, options: As for `EventStreamResponse`.

    Raises:
        ConfigError, TypeError: as `http.Response`.

    >>> StreamResponse(["Hi"], "text").media_type
    'text/plain; charset=utf-8'
    """

    def __init__(
        self,
        stream: Streamable,
        format: str | Dialect = "ndjson",
        *,
        content_type: str | None = None,
        status_code: int = 200,
        background: BackgroundTask | None = None,
        **options: Unpack[StreamOptions],
    ) -> None:
        streamed = http.Response(
            stream, format, content_type=content_type, status=status_code, lets_through=(HTTPException,), **options
        )
        super().__init__(streamed, status_code, background)


class HubStreamResponse(_Streamed):
    """`streamkit.sinks.resuming.HubResponse` for an endpoint to return: a hub's stream, from where the client has got to.

    Args:
        hub, id, dialect, after, owner, missing: As `HubResponse` has them.
        status_code: The status, unless there is no such stream, or nothing more of it.
        background: Runs when the response has ended, however it did; not when the request was cancelled.
        options: The others of `HubResponse`. `response.headers` and `set_cookie` may still change `headers`.

    Raises:
        ConfigError, LocalProtocolError, TypeError: as `HubResponse`.

    >>> HubStreamResponse(Hub(), "greeting").media_type
    'text/event-stream; charset=utf-8'
    """

    def __init__(
        self,
        hub: Hub,
        id: str,
        dialect: str | Dialect = "native",
        *,
        after: str | None = None,
        owner: str | None = None,
        missing: Literal[204, 404] = 404,
        status_code: int = 200,
        background: BackgroundTask | None = None,
        **options: Unpack[DeliveryOptions],
    ) -> None:
        streamed = HubResponse(hub, id, dialect, after=after, owner=owner, missing=missing, status=status_code, **options)
        super().__init__(streamed, status_code, background)
