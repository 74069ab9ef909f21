"""The responses of `streamkit.sinks.wsgi` as Flask's own `Response`.

    @app.get("/chat")
    def chat():
        return event_stream_response(sk.stream(answer()), "openai-chat")

Functions under `teardown_request` and `teardown_appcontext` run when the view returns: a source opens what it needs itself.
Headers and cookies may be set on what is returned, and `after_request` functions see it. The first item has been read by then: an
early failure is a real status, and an `HTTPException` of the source is Flask's to answer.

What a WSGI server can do, it says in `streamkit.sinks.wsgi`: one thread is busy for as long as the answer takes, a client that
left is seen when something is written, and nobody is told that the process stops.
"""

from __future__ import annotations

from typing import Unpack

from streamkit.dialects.protocol import Dialect
from streamkit.extras import require
from streamkit.sinks import wsgi
from streamkit.sinks.responding import Streamable, StreamOptions

require("flask", extra="flask", wanted_by="streamkit.integrations.flask")

from flask import Response, current_app, request  # noqa: E402  # behind the check that it is there
from werkzeug.exceptions import HTTPException  # noqa: E402

__all__ = ["event_stream_response", "stream_response"]


def event_stream_response(
    stream: Streamable, dialect: str | Dialect = "native", *, status: int = 200, **options: Unpack[StreamOptions]
) -> Response:
    """The answer to the current request as a stream of server-sent events, for a view to return.

    Args:
        stream, dialect, status, options: As `sse.Response` has them. What the source needs of Flask's `request` is to be taken
            from it before: the view is over when the source goes on.

    Raises:
        ConfigError, LocalProtocolError, TypeError: as `sse.Response`.
        HTTPException: what the source raised before its first item.

    >>> import flask
    >>> app = flask.Flask("app")
    >>> with app.test_request_context("/"):
    ...     event_stream_response(["Hi"]).headers["x-accel-buffering"]
    'no'
    """
    return _response(wsgi.Response(stream, dialect, status=status, lets_through=(HTTPException,), **options))


def stream_response(
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

    Raises:
        ConfigError, TypeError: as `http.Response`.
        HTTPException: what the source raised before its first item.

    >>> import flask
    >>> app = flask.Flask("app")
    >>> with app.test_request_context("/"):
    ...     stream_response(["H", "i"], "text").get_data(as_text=True)
    'Hi'
    """
    return _response(
        wsgi.Response(stream, format, content_type=content_type, status=status, lets_through=(HTTPException,), **options)
    )


def _response(streamed: wsgi.Response) -> Response:
    return current_app.response_class.from_app(streamed, request.environ)  # type: ignore[return-value]
