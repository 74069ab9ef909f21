"""A stream as the answer to an HTTP request, for servers and frameworks that speak WSGI (PEP 3333).

    app = wsgi.Response(lambda: sk.stream(answer()), "openai-chat")    # gunicorn module:app

    @flask_app.get("/chat")
    def chat():
        return wsgi.Response(sk.stream(answer()))                       # Flask takes a WSGI application as a response

A worker's thread is busy for as long as the answer takes: in it an event loop of its own runs the stream, while the server waits
for the next chunk. WSGI has no word for a client that has left: the server finds it out when it writes, and then calls
`close()`. So a heartbeat is also how long a source may outlive its client.

An answer that broke off in a format without words for that (text, bytes) is raised to the server behind the last chunk; gunicorn
breaks the transfer off. Servers that answer in HTTP/1.0 end a body by closing the connection, whole or not: there, NDJSON or SSE.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import Protocol, TypeAlias, Unpack

from streamkit.dialects.protocol import Dialect
from streamkit.sinks.bodies import BlockingBody, Body
from streamkit.sinks.failures import Refusal
from streamkit.sinks.headers import raw_headers
from streamkit.sinks.http import writer_of
from streamkit.sinks.responding import ALLOWED, Options, ResponseOptions, Streamable

__all__ = ["Environ", "Response", "StartResponse"]

Environ: TypeAlias = dict[str, object]


class StartResponse(Protocol):
    """The callable that a server gives."""

    def __call__(self, status: str, headers: list[tuple[str, str]], /) -> Callable[[bytes], object]: ...


class Response:
    """Answer an HTTP request with a stream: a WSGI application.

    Args:
        stream: A stream, or anything that `sk.stream` takes. One that is given as a callable serves any number of requests.
        format: The name of a dialect, a `Dialect`, or "bytes": as `http.Response` has it.
        content_type: Another than the format's.
        options: As `sse.Response` has them.

    What it gives the server to iterate has the `close()` that PEP 3333 asks for: it closes the source. A stream that fails before
    its first byte is answered with a real status; the headers wait for it no longer than one heartbeat.

    Memory: that of a `Body` and of an event loop per request.
    Cancellation: none in WSGI; see `close()` above.
    Raises:
        ConfigError, LocalProtocolError, MissingExtra, TypeError: arguments that cannot work, at the call.
        StreamInterrupted: while it is iterated, to the server, where the format has no word for a failure.

    >>> def start(status, headers):
    ...     print(status)
    >>> b"".join(Response(["H", "i"], "text")({"REQUEST_METHOD": "GET"}, start))
    200 OK
    b'Hi'
    """

    def __init__(
        self,
        stream: Streamable,
        format: str | Dialect = "native",
        *,
        content_type: str | None = None,
        **options: Unpack[ResponseOptions],
    ) -> None:
        chosen = Options.checked("wsgi.Response", options).typed(content_type)
        # They check the rest.
        writer_of(format, chosen)
        raw_headers(chosen.headers)
        self._stream = chosen.stream(stream)
        self._format = format
        self._options = chosen

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request. HEAD gets the headers, OPTIONS what may be asked, and the source is closed without being started."""
        chosen = self._options
        accepted = environ.get("HTTP_ACCEPT_ENCODING")
        body = Body(
            self._stream,
            self._format,
            accept_encoding=accepted if isinstance(accepted, str) else None,
            headers=chosen.headers,
            heartbeat=chosen.heartbeat,
            retry=chosen.retry,
            pad=chosen.pad,
            compress=chosen.compress,
            id=chosen.id,
            model=chosen.model,
            lets_through=chosen.lets_through,
        )
        chunks = BlockingBody(body)
        if environ.get("REQUEST_METHOD") == "HEAD":
            chunks.close()
            start_response(_status_line(chosen.status), body.headers)
            return [b""]
        if environ.get("REQUEST_METHOD") == "OPTIONS":
            chunks.close()
            start_response(_status_line(204), [("allow", ALLOWED)])
            return [b""]
        refusal = chunks.begin()
        if refusal is not None:
            chunks.close()
            return _refused(refusal, start_response)
        try:
            start_response(_status_line(chosen.status), body.headers)
        except BaseException:
            chunks.close()
            raise
        return chunks

    def __repr__(self) -> str:
        return f"<wsgi.Response of {self._stream!r}>"


def _refused(refusal: Refusal, start_response: StartResponse) -> Iterator[bytes] | list[bytes]:
    status, headers, body = refusal
    start_response(_status_line(status), [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers])
    return [body]


def _status_line(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"{status} Status"  # PEP 3333 wants some words
