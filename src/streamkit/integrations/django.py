"""Streams as answers of Django's views, under ASGI and under WSGI.

    async def chat(request):                                                    # ASGI: uvicorn project.asgi:application
        return await event_stream_response(request, sk.stream(answer()), "openai-chat")

    def chat(request):                                                          # WSGI: gunicorn project.wsgi
        return blocking_event_stream_response(request, sk.stream(answer()), "openai-chat")

All give a `StreamingHttpResponse`: headers and cookies may be set, middleware sees it. The first item has been read by then (or a
heartbeat's time has passed): an early failure is a real status, and Django's `Http404`, `PermissionDenied`, `BadRequest` and
`SuspiciousOperation` of the source are Django's to answer.

Under ASGI Django cancels its task when the client leaves: the source is closed at once. Under WSGI that is seen when something is
written; a thread is busy for as long as the answer takes. What its source asks of the database (`await Model.objects.aget(...)`)
runs in one more thread of that answer, whose connections are closed with it.

`ChatRoutes` is a view, `asgi_view(routes, prefix="/chats")`, behind all middleware. `WebSocketRoutes` stands beside Django, which
knows no WebSockets: `Mounts({"/ws": sockets}, get_asgi_application())` of `streamkit.integrations.mounting`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import ExitStack, aclosing
from typing import Any, Final, Unpack, cast

from streamkit.dialects.protocol import Dialect
from streamkit.errors import ConfigError
from streamkit.extras import require
from streamkit.flow.plan import check_callable
from streamkit.integrations.bridging import App, Bridged, Headers, http_scope
from streamkit.sinks import http, sse, wsgi
from streamkit.sinks.asgi_types import Scope
from streamkit.sinks.responding import ResponseOptions, Streamable, StreamOptions

require("django", extra="django", wanted_by="streamkit.integrations.django")

from asgiref.sync import SyncToAsync, ThreadSensitiveContext  # noqa: E402  # behind the check
from django.core.exceptions import BadRequest, PermissionDenied, SuspiciousOperation  # noqa: E402  # behind the check
from django.core.handlers.asgi import ASGIRequest  # noqa: E402
from django.core.handlers.wsgi import WSGIRequest  # noqa: E402
from django.db import connections  # noqa: E402
from django.http import Http404, HttpRequest, StreamingHttpResponse  # noqa: E402

__all__ = [
    "asgi_view",
    "blocking_event_stream_response",
    "blocking_stream_response",
    "event_stream_response",
    "stream_response",
]

_DJANGOS: Final = (Http404, PermissionDenied, BadRequest, SuspiciousOperation)


async def event_stream_response(
    request: HttpRequest,
    stream: Streamable,
    dialect: str | Dialect = "native",
    *,
    status: int = 200,
    **options: Unpack[StreamOptions],
) -> StreamingHttpResponse:
    """The answer to a request as a stream of server-sent events, for an async view under ASGI to return.

    Args:
        request: What the view was called with.
        stream, dialect, status, options: As `sse.Response` has them.

    Cancellation: the source is closed, then the cancel goes on.
    Raises:
        ConfigError, LocalProtocolError, TypeError: as `sse.Response`; a request that came over WSGI.
        Http404, PermissionDenied, BadRequest, SuspiciousOperation: what the source raised before its first item.

    >>> async def chat(request):
    ...     return await event_stream_response(request, ["Hi"], "openai-chat")
    >>> run(chat(None))
    Traceback (most recent call last):
    streamkit.errors.ConfigError: event_stream_response answers requests that came over ASGI, and this is a NoneType: ...
    """
    options_ = cast("ResponseOptions", {**options, "status": status, "lets_through": _DJANGOS})
    asked = _asgi(request, "event_stream_response")
    return await _bridged(asked, sse.Response(stream, dialect, **options_), {**asked.scope})


async def stream_response(
    request: HttpRequest,
    stream: Streamable,
    format: str | Dialect = "ndjson",
    *,
    content_type: str | None = None,
    status: int = 200,
    **options: Unpack[StreamOptions],
) -> StreamingHttpResponse:
    """The answer to a request as NDJSON, text or bytes, in chunks as they come, for an async view under ASGI to return.

    Args:
        request, status: As for `event_stream_response`.
        stream, format, content_type, options: As `http.Response` has them.

    Cancellation: as for `event_stream_response`.
    Raises:
        ConfigError, TypeError: as `http.Response`; a request that came over WSGI.
        Http404, PermissionDenied, BadRequest, SuspiciousOperation: what the source raised before its first item.

    >>> async def download(request):
    ...     return await stream_response(request, ["H", "i"], "text")
    """
    options_ = cast("ResponseOptions", {**options, "status": status, "lets_through": _DJANGOS})
    asked = _asgi(request, "stream_response")
    return await _bridged(asked, http.Response(stream, format, content_type=content_type, **options_), {**asked.scope})


def asgi_view(app: App, *, prefix: str = "") -> Callable[..., Coroutine[Any, Any, StreamingHttpResponse]]:
    """An async view that answers by an ASGI application of ours: `ChatRoutes`, `HubResponse` ...

    Args:
        app: The application. Its scope has the request as `scope["django.request"]`, for functions like `owner`:
            `lambda request: str(request.scope["django.request"].user.pk)`. What of it needs the database is to be loaded before.
        prefix: Where its routes begin, like "/chats".

    It is exempt from Django's CSRF check, whose token our clients do not send: `CrossSiteGuard` of
    `streamkit.sinks.safety.crossing` refuses what pages of other sites ask.

    Raises:
        ConfigError, TypeError: what is no application, or no prefix.

    >>> from streamkit.sinks.chats import ChatRoutes
    >>> view = asgi_view(ChatRoutes(lambda request: ["Hi"]), prefix="/chats")
    >>> view.csrf_exempt
    True
    """
    check_callable("asgi_view", app)
    http_scope(method="GET", target="/", headers=(), client=None, scheme="http", prefix=prefix)

    async def view(request: HttpRequest, *args: object, **kwargs: object) -> StreamingHttpResponse:
        asked = _asgi(request, "asgi_view")
        root = str(asked.scope.get("root_path", ""))
        return await _bridged(asked, app, {**asked.scope, "root_path": f"{root}{prefix}"})

    view.csrf_exempt = True  # type: ignore[attr-defined]
    return view


def blocking_event_stream_response(
    request: HttpRequest,
    stream: Streamable,
    dialect: str | Dialect = "native",
    *,
    status: int = 200,
    **options: Unpack[StreamOptions],
) -> StreamingHttpResponse:
    """The answer to a request as a stream of server-sent events, for a view under WSGI to return.

    Args:
        request: What the view was called with.
        stream, dialect, status, options: As `sse.Response` has them.

    Raises:
        ConfigError, LocalProtocolError, TypeError: as `sse.Response`; a request that came over ASGI.
        Http404, PermissionDenied, BadRequest, SuspiciousOperation: what the source raised before its first item.

    >>> blocking_event_stream_response(None, ["Hi"])
    Traceback (most recent call last):
    streamkit.errors.ConfigError: blocking_event_stream_response answers requests that came over WSGI, and this is a NoneType: ...
    """
    return _blocking(
        _wsgi(request, "blocking_event_stream_response"),
        wsgi.Response(stream, dialect, status=status, lets_through=_DJANGOS, **options),
    )


def blocking_stream_response(
    request: HttpRequest,
    stream: Streamable,
    format: str | Dialect = "ndjson",
    *,
    content_type: str | None = None,
    status: int = 200,
    **options: Unpack[StreamOptions],
) -> StreamingHttpResponse:
    """The answer to a request as NDJSON, text or bytes, in chunks as they come, for a view under WSGI to return.

    Args:
        request, status: As for `blocking_event_stream_response`.
        stream, format, content_type, options: As `http.Response` has them.

    Raises:
        ConfigError, TypeError: as `http.Response`; a request that came over ASGI.
        Http404, PermissionDenied, BadRequest, SuspiciousOperation: what the source raised before its first item.

    >>> def download(request):
    ...     return blocking_stream_response(request, ["H", "i"], "text")
    """
    streamed = wsgi.Response(stream, format, content_type=content_type, status=status, lets_through=_DJANGOS, **options)
    return _blocking(_wsgi(request, "blocking_stream_response"), streamed)


class _Streaming(StreamingHttpResponse):
    """Closes what it iterates when the iteration ends, also where middleware has put something around it."""

    def __init__(self, body: Bridged | Iterable[bytes], status: int, headers: Headers, behind: ExitStack | None = None) -> None:
        # The content type that Django would add goes; headers of one name are one header.
        super().__init__(body, status=status, content_type=dict(headers).get("content-type"))
        self._body = body
        self._behind = behind or ExitStack()
        for name, value in headers:
            if name != "content-type":
                self.headers[name] = f"{self.headers[name]}, {value}" if name in self.headers else value

    def has_header(self, header: str) -> bool:
        """Whether it has this header. Of `Content-Encoding` it says so in any case: Django's GZipMiddleware asks, and would hold
        tokens back, because it does not flush. `compress=` does.
        """
        return header.lower() == "content-encoding" or super().has_header(header)

    __contains__ = has_header

    def close(self) -> None:
        """Close the source, if that has not happened, and what it used."""
        with self._behind:
            super().close()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if not isinstance(self._body, Bridged):
            raise ConfigError("a blocking response cannot be sent over ASGI")
        async with self._body, aclosing(cast("Any", super().__aiter__())) as parts:
            async for part in parts:
                yield part


async def _bridged(request: ASGIRequest, app: App, scope: Scope) -> StreamingHttpResponse:
    # Trailers would have to be sent behind the body, and a response of Django's has no place for them.
    bridged = Bridged(app, {**scope, "extensions": {}, "django.request": request}, request.body)
    status, headers = await bridged.begin()
    return _Streaming(bridged, status, headers)


def _blocking(request: WSGIRequest, app: wsgi.Response) -> StreamingHttpResponse:
    status, headers = 500, cast("Headers", [])

    def start(line: str, given: Headers, /) -> Callable[[bytes], object]:
        nonlocal status, headers
        status, headers = int(line.split(" ", 1)[0]), given
        return _no_writing

    with ExitStack() as behind:
        context = ThreadSensitiveContext()
        behind.callback(_end_thread, context)
        token = SyncToAsync.thread_sensitive_context.set(context)
        try:
            chunks = app(cast("wsgi.Environ", request.environ), start)
        finally:
            SyncToAsync.thread_sensitive_context.reset(token)
        return _Streaming(chunks, status, headers, behind.pop_all())


def _end_thread(context: ThreadSensitiveContext) -> None:
    """Close what a source has opened in the thread that Django asks the database in.

    Without a context that is one thread for all sources of the process, whose connections Django never closes and never looks at.
    """
    executor = SyncToAsync.context_to_thread_executor.pop(context, None)
    if executor is not None:
        executor.submit(connections.close_all)
        executor.shutdown(wait=False)  # a query may still run that nobody waits for


def _no_writing(data: bytes) -> object:
    raise AssertionError("ours are iterated")


def _asgi(request: object, name: str) -> ASGIRequest:
    if not isinstance(request, ASGIRequest):
        raise ConfigError(
            f"{name} answers requests that came over ASGI, and this is a {type(request).__name__}: "
            "a view under WSGI returns blocking_event_stream_response or blocking_stream_response"
        )
    return request


def _wsgi(request: object, name: str) -> WSGIRequest:
    if not isinstance(request, WSGIRequest):
        raise ConfigError(
            f"{name} answers requests that came over WSGI, and this is a {type(request).__name__}: "
            "an async view under ASGI awaits event_stream_response or stream_response"
        )
    return request
