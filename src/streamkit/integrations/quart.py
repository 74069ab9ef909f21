"""The responses of `streamkit.sinks` as Quart's own `Response`.

    @app.get("/chat")
    async def chat():
        return await event_stream_response(sk.stream(answer()), "openai-chat")

Headers and cookies may be set on what is returned. The first item has been read by then (or a heartbeat's time has passed): an
early failure is a real status, and an `HTTPException` of the source is Quart's to answer.

`ChatRoutes` and `WebSocketRoutes` stand beside the application: `Mounts({"/chats": routes}, app)` of
`streamkit.integrations.mounting` is what the server runs. Or behind a route of Quart's, with all that it does before:

    @app.route("/chats/<path:rest>", methods=["GET", "POST"])
    async def chats(rest):
        return await asgi_response(routes, prefix="/chats")
"""

from __future__ import annotations

from typing import Any, Unpack, cast

from streamkit.dialects.protocol import Dialect
from streamkit.extras import require
from streamkit.integrations.bridging import App, Bridged
from streamkit.sinks import http, sse
from streamkit.sinks.asgi_types import Scope
from streamkit.sinks.responding import ResponseOptions, Streamable, StreamOptions

require("quart", extra="quart", wanted_by="streamkit.integrations.quart")

from quart import Response, current_app, request  # noqa: E402  # behind the check that it is there
from werkzeug.exceptions import HTTPException  # noqa: E402

__all__ = ["asgi_response", "event_stream_response", "stream_response"]


async def event_stream_response(
    stream: Streamable, dialect: str | Dialect = "native", *, status: int = 200, **options: Unpack[StreamOptions]
) -> Response:
    """The answer to the current request as a stream of server-sent events, for a view to return.

    Args:
        stream, dialect, status, options: As `sse.Response` has them. The source runs with the context of the view: it sees
            Quart's `request`.

    Cancellation: the source is closed, then the cancel goes on.
    Raises:
        ConfigError, LocalProtocolError, TypeError: as `sse.Response`.
        HTTPException: what the source raised before its first item.

    >>> import quart
    >>> async def main():
    ...     async with quart.Quart("app").test_request_context("/"):
    ...         response = await event_stream_response(["Hi"])
    ...         return response.headers["x-accel-buffering"], len(await response.get_data()) > 10
    >>> run(main())
    ('no', True)
    """
    options_ = cast("ResponseOptions", {**options, "status": status, "lets_through": (HTTPException,)})
    return await asgi_response(sse.Response(stream, dialect, **options_))


async def stream_response(
    stream: Streamable,
    format: str | Dialect = "ndjson",
    *,
    content_type: str | None = None,
    status: int = 200,
    **options: Unpack[StreamOptions],
) -> Response:
    """The answer to the current request as NDJSON, text or bytes, in chunks as they come, for a view to return.

    Args:
        stream, format, content_type, options: As `http.Response` has them.
        status: As for `event_stream_response`.

    Cancellation: as for `event_stream_response`.
    Raises:
        ConfigError, TypeError: as `http.Response`.
        HTTPException: what the source raised before its first item.

    >>> import quart
    >>> async def main():
    ...     async with quart.Quart("app").test_request_context("/"):
    ...         return await (await stream_response(["H", "i"], "text")).get_data(as_text=True)
    >>> run(main())
    'Hi'
    """
    options_ = cast("ResponseOptions", {**options, "status": status, "lets_through": (HTTPException,)})
    return await asgi_response(http.Response(stream, format, content_type=content_type, **options_))


async def asgi_response(app: App, *, prefix: str = "") -> Response:
    """What an ASGI application of ours answers to the current request: `ChatRoutes`, `HubResponse` ...

    Args:
        app: The application.
        prefix: Where its routes begin, like "/chats".

    Cancellation: the application is told that its client has left; then the cancel goes on.
    Raises:
        Exception: what the application raised before it answered.

    >>> import quart
    >>> from streamkit.sinks.chats import ChatRoutes
    >>> async def main():
    ...     async with quart.Quart("app").test_request_context("/chats/7"):
    ...         return (await asgi_response(ChatRoutes(lambda request: ["Hi"], drain=None), prefix="/chats")).status_code
    >>> run(main())
    404
    """
    scope = cast("Scope", request.scope)
    root = str(scope.get("root_path", ""))
    # Trailers would have to be sent behind the body, and a response of Quart's has no place for them.
    bridged = Bridged(app, {**scope, "root_path": f"{root}{prefix}", "extensions": {}}, cast("bytes", await request.get_data()))
    status, headers = await bridged.begin()
    kind: Any = current_app.response_class  # which may be of the application's own making
    response: Response = kind(bridged, status)
    response.headers.clear()
    response.headers.extend(headers)
    # An answer takes as long as it takes: a client that takes nothing is given up by our own watch.
    response.timeout = None
    return response
