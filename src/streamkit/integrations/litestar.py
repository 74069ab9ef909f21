"""The responses of `streamkit.sinks` as Litestar's own `Response`.

    @get("/chat", media_type="text/event-stream")
    async def chat() -> EventStreamResponse:
        return EventStreamResponse(sk.stream(answer()), dialect="openai-chat")

Litestar cleans up a dependency that yields before the stream begins: a source opens what it needs itself.

Headers, cookies and the background task work as on any other response. An `HTTPException` that the source raises before its
first item reaches the application's exception handlers. `ChatRoutes` and `WebSocketRoutes` are mounted:

    Litestar([chat, asgi_mount("/chats", routes)], on_shutdown=[routes.aclose])

and any ASGI callable of ours, a `HubResponse` for one, may be returned as it is, if the handler's return annotation says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Unpack

from streamkit.dialects.protocol import Dialect
from streamkit.errors import ConfigError
from streamkit.extras import require
from streamkit.flow.plan import check_callable
from streamkit.integrations.bridging import App
from streamkit.sinks import http, sse
from streamkit.sinks.responding import Responder, Streamable, StreamOptions

require("litestar", extra="litestar", wanted_by="streamkit.integrations.litestar")

from litestar import Response, asgi  # noqa: E402  # behind the check that it is there
from litestar.exceptions import HTTPException  # noqa: E402
from litestar.response.base import ASGIResponse  # noqa: E402

if TYPE_CHECKING:
    from litestar import Litestar, MediaType, Request
    from litestar.background_tasks import BackgroundTask, BackgroundTasks
    from litestar.datastructures import Cookie
    from litestar.handlers import ASGIRouteHandler
    from litestar.types import Receive, ResponseCookies, Scope, Send, TypeEncodersMap

__all__ = ["EventStreamResponse", "StreamResponse", "asgi_mount"]


class _Streamed(Response[bytes]):
    """An ASGI response of ours, with the status, the headers, the cookies and the background task of Litestar's."""

    def __init__(
        self,
        streamed: Responder,
        status_code: int,
        cookies: ResponseCookies | None,
        background: BackgroundTask | BackgroundTasks | None,
    ) -> None:
        own = {name.decode("latin-1"): value.decode("latin-1") for name, value in streamed.raw_headers}
        super().__init__(
            b"", status_code=status_code, cookies=cookies, background=background, headers=own, media_type=own["content-type"]
        )
        self._streamed = streamed
        self._own = own

    def to_asgi_response(
        self,
        app: Litestar | None,
        request: Request[Any, Any, Any],
        *,
        background: BackgroundTask | BackgroundTasks | None = None,
        cookies: Iterable[Cookie] | None = None,
        encoded_headers: Iterable[tuple[bytes, bytes]] | None = None,
        headers: dict[str, str] | None = None,
        is_head_response: bool = False,
        media_type: MediaType | str | None = None,
        status_code: int | None = None,
        type_encoders: TypeEncodersMap | None = None,
    ) -> ASGIResponse:
        """What answers the request; Litestar calls it."""
        # What layers above say of headers does not replace what the response says.
        merged: Mapping[str, str] = {**(headers or {}), **self.headers}
        return _StreamedAnswer(
            self._streamed,
            background=self.background or background,
            cookies=[*self.cookies, *(cookies or ())],
            headers=dict(merged),
            media_type=self.media_type,
            status_code=self.status_code or 200,
        )


class _StreamedAnswer(ASGIResponse):
    _should_set_content_length = False

    def __init__(self, streamed: Responder, **options: Any) -> None:
        super().__init__(**options)
        self._streamed = streamed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, then run the background task."""
        streamed: Any = self._streamed  # whose types of ASGI are wider than Litestar's
        streamed.status = self.status_code
        streamed.raw_headers = [(name.lower(), value) for name, value in self.encode_headers()]
        await streamed(scope, receive, send)
        await self.after_response()


class EventStreamResponse(_Streamed):
    """`streamkit.sinks.sse.Response` for a handler to return.

    Args:
        stream, dialect: As `sse.Response` has them.
        status_code: The status, unless the stream fails before its first item.
        cookies: As Litestar's `Response` has them.
        background: Runs when the stream has ended, however it did, also when the client left; not when the request was cancelled.
        options: The others of `sse.Response`.

    Raises:
        ConfigError, LocalProtocolError, TypeError: as `sse.Response`.

    >>> EventStreamResponse(["Hi"]).headers["x-accel-buffering"]
    'no'
    """

    def __init__(
        self,
        stream: Streamable,
        dialect: str | Dialect = "native",
        *,
        status_code: int = 200,
        cookies: ResponseCookies | None = None,
        background: BackgroundTask | BackgroundTasks | None = None,
        **options: Unpack[StreamOptions],
    ) -> None:
        streamed = sse.Response(stream, dialect, status=status_code, lets_through=(HTTPException,), **options)
        super().__init__(streamed, status_code, cookies, background)


class StreamResponse(_Streamed):
    """`streamkit.sinks.http.Response` for a handler to return: NDJSON, text or bytes, in chunks as they come.

    Args:
        stream, format, content_type: As `http.Response` has them.
        status_code, cookies, background, options: As for `EventStreamResponse`.

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
        cookies: ResponseCookies | None = None,
        background: BackgroundTask | BackgroundTasks | None = None,
        **options: Unpack[StreamOptions],
    ) -> None:
        streamed = http.Response(
            stream, format, content_type=content_type, status=status_code, lets_through=(HTTPException,), **options
        )
        super().__init__(streamed, status_code, cookies, background)


def asgi_mount(path: str, app: App) -> ASGIRouteHandler:
    """A route handler that has an ASGI application of ours under a path: `ChatRoutes`, `WebSocketRoutes` ...

    Litestar cuts the path off and does not say what it was; the application would tell its clients wrong places.

    Args:
        path: Like "/chats".
        app: The application; its lifespan is not told, so close it in `on_shutdown`.

    Raises:
        ConfigError, TypeError: a path that is none, or what is no application.

    >>> from streamkit.sinks.chats import ChatRoutes
    >>> asgi_mount("/chats", ChatRoutes(lambda request: ["Hi"])).is_mount
    True
    """
    check_callable("asgi_mount", app)
    if not path.startswith("/") or path.endswith("/"):
        raise ConfigError(f"asgi_mount({path!r}): a path begins with a slash and ends without one, like '/chats'")

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        given: Any = scope  # whose types are narrower than ours
        place = f"{given.get('root_path', '')}{path}"
        inner: Any = app
        # It adds a slash at the end, too.
        await inner({**given, "root_path": place, "path": place + "/" + given["path"].strip("/")}, receive, send)

    # The names of the annotations are for type checkers; Litestar wants to look them up.
    handle.__annotations__ = {"scope": object, "receive": object, "send": object, "return": None}
    return asgi(path, is_mount=True, copy_scope=True)(handle)
