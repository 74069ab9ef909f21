"""Streams, and our ASGI applications, as handlers of aiohttp's server.

    async def chat(request):
        return await event_stream_response(request, sk.stream(answer()), "openai-chat")

    app.router.add_get("/chat", chat)
    app.router.add_route("*", "/chats{rest:(/.*)?}", asgi_handler(routes, prefix="/chats"))     # routes = ChatRoutes(...)
    app.router.add_get("/ws", sockets.serve)                                                # sockets = WebSocketRoutes(...)

A response runs in the request's own task over a `web.StreamResponse`, so heartbeats, the watch over clients that take nothing,
and the end of the process are those of `streamkit.sinks.asgi`. aiohttp tells a handler that its client has left only by cancelling
it (`handler_cancellation=True`, then at once); otherwise it is looked for, for all requests together, every tenth of a second,
and seen by whoever writes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Final, Unpack, cast

from streamkit.dialects.protocol import Dialect
from streamkit.extras import require
from streamkit.flow.clock import current_clock
from streamkit.flow.plan import check_callable
from streamkit.flow.tasks import current_backend
from streamkit.integrations.bridging import App, http_scope
from streamkit.sinks import http, sse
from streamkit.sinks.asgi_types import Message
from streamkit.sinks.life.alarms import Alarm, alarms_of
from streamkit.sinks.responding import ResponseOptions, Streamable, StreamOptions

require("aiohttp", extra="aiohttp", wanted_by="streamkit.integrations.aiohttp")

from aiohttp import web  # noqa: E402  # behind the check that it is there
from multidict import CIMultiDict  # noqa: E402  # aiohttp's own

if TYPE_CHECKING:
    import asyncio

__all__ = ["asgi_handler", "event_stream_response", "stream_response"]

_LOOKS_EVERY_S: Final = 0.1
_HANDED_ON: Final = 65_536


async def event_stream_response(
    request: web.Request,
    stream: Streamable,
    dialect: str | Dialect = "native",
    *,
    status: int = 200,
    **options: Unpack[StreamOptions],
) -> web.StreamResponse:
    """Answer a request with a stream of server-sent events; the handler returns what this returns.

    Args:
        request: What the handler was called with.
        stream, dialect, status, options: As `sse.Response` has them. A `web.HTTPException` that the source raises before its first
            item is aiohttp's to answer.

    Cancellation: the source is closed, then the cancel goes on.
    Raises:
        ConfigError, LocalProtocolError, TypeError: as `sse.Response`.

    >>> from aiohttp.test_utils import make_mocked_request
    >>> async def chat(request):
    ...     return await event_stream_response(request, ["Hi"], "openai-chat")
    >>> app = web.Application()
    >>> app.router.add_get("/chat", chat).method
    'GET'
    """
    options_ = cast("ResponseOptions", {**options, "status": status, "lets_through": (web.HTTPException,)})
    return await _answer(request, sse.Response(stream, dialect, **options_))


async def stream_response(
    request: web.Request,
    stream: Streamable,
    format: str | Dialect = "ndjson",
    *,
    content_type: str | None = None,
    status: int = 200,
    **options: Unpack[StreamOptions],
) -> web.StreamResponse:
    """Answer a request with NDJSON, text or bytes, in chunks as they come; the handler returns what this returns.

    Args:
        request, status: As for `event_stream_response`.
        stream, format, content_type, options: As `http.Response` has them.

    Cancellation: as for `event_stream_response`.
    Raises:
        ConfigError, TypeError: as `http.Response`.
        StreamInterrupted: the source failed, and the format has no word for it: aiohttp breaks the transfer off.

    >>> async def download(request):
    ...     return await stream_response(request, ["H", "i"], "text")
    >>> app = web.Application()
    >>> app.router.add_get("/text", download).method
    'GET'
    """
    options_ = cast("ResponseOptions", {**options, "status": status, "lets_through": (web.HTTPException,)})
    return await _answer(request, http.Response(stream, format, content_type=content_type, **options_))


def asgi_handler(app: App, *, prefix: str = "") -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """A handler that answers by an ASGI application of ours: `ChatRoutes`, `HubResponse` ...

    Args:
        app: The application. Its scope has the request as `scope["aiohttp.request"]`, for functions like `owner`.
        prefix: Where its routes begin, like "/chats": what it is asked for stands behind that.

    aiohttp tells it nothing of the server's end: close it in a `cleanup_ctx`.

    Raises:
        ConfigError, TypeError: what is no application, or no prefix.

    >>> from streamkit.sinks.chats import ChatRoutes
    >>> routes = web.Application().router
    >>> handler = asgi_handler(ChatRoutes(lambda request: ["Hi"]), prefix="/chats")
    >>> routes.add_route("*", "/chats{rest:(/.*)?}", handler).method
    '*'
    """
    check_callable("asgi_handler", app)
    http_scope(method="GET", target="/", headers=(), client=None, scheme="http", prefix=prefix)

    async def handle(request: web.Request) -> web.StreamResponse:
        return await _answer(request, app, prefix)

    return handle


async def _answer(request: web.Request, app: App, prefix: str = "") -> web.StreamResponse:
    peer = None if request.transport is None else request.transport.get_extra_info("peername")
    scope = http_scope(
        method=request.method,
        target=request.path_qs if request.raw_path.startswith("http") else request.raw_path,
        headers=request.headers.items(),
        client=(str(peer[0]), int(peer[1])) if isinstance(peer, tuple) and len(peer) > 1 else None,  # pyright: ignore[reportUnknownArgumentType]
        scheme=request.scheme,
        version="{}.{}".format(*request.version),
        prefix=prefix,
    )
    scope["aiohttp.request"] = request
    exchange = _Exchange(request)
    try:
        await app(scope, exchange.receive, exchange.send)
    finally:
        exchange.leave()
    if exchange.response is None:
        raise web.HTTPInternalServerError
    return exchange.response


class _Exchange:
    """The two callables of ASGI over one request of aiohttp's.

    `streamkit.sinks.life.transports` finds the transport here.
    """

    def __init__(self, request: web.Request) -> None:
        self.response: web.StreamResponse | None = None
        self._request = request
        self._body_read = not request.can_read_body
        self._begun = False
        self._backend = current_backend()
        self._clock = current_clock(self._backend)
        self._waiter = self._backend.waiter()
        self._alarm: Alarm | None = None
        self._start: Message = {}

    @property
    def transport(self) -> asyncio.Transport | None:
        return self._request.transport

    @property
    def _gone(self) -> bool:
        transport = self._request.transport
        return transport is None or transport.is_closing()

    async def receive(self) -> Message:
        if not self._body_read:
            body = await self._request.content.readany()
            self._body_read = self._request.content.at_eof()
            self._begun = True
            return {"type": "http.request", "body": body, "more_body": not self._body_read}
        if not self._begun:
            self._begun = True
            return {"type": "http.request", "body": b"", "more_body": False}
        while not self._gone:
            if self._alarm is None:
                self.ring()
            await self._waiter.wait()
        return {"type": "http.disconnect"}

    def ring(self) -> None:
        """See whether the client is still there, and look again later."""
        if self._gone:
            self._waiter.wake()
        else:
            self._alarm = alarms_of(self._clock).at(self._clock.now() + _LOOKS_EVERY_S, self)

    def leave(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            return
        if message["type"] != "http.response.body":
            return  # an extension that nobody offered
        if self.response is None:
            await self._prepare()
        assert self.response is not None
        body = cast("bytes", message.get("body", b""))
        if body:
            await self.response.write(body)
            if len(body) >= _HANDED_ON:
                # aiohttp waits for a client only once more than this lies in front of it.
                await self._backend.checkpoint()
        if not message.get("more_body"):
            await self.response.write_eof()

    async def _prepare(self) -> None:
        headers: CIMultiDict[str] = CIMultiDict()
        for name, value in cast("Iterable[tuple[bytes, bytes]]", self._start.get("headers", ())):
            headers.add(name.decode("latin-1"), value.decode("latin-1"))
        response = web.StreamResponse(status=cast("int", self._start["status"]), headers=headers)
        self.response = response
        await response.prepare(self._request)
