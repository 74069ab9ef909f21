"""A refusal: what raises it decides about a request, and the client gets its status and a JSON body.

    HTTP/1.1 429                      {"error": {"message": "...", "code": "rate-limited", "retryable": true,
    retry-after: 3                               "retry_after": 2.4}}

On a WebSocket it is the same answer in the place of the handshake where the server can do that (the ASGI extension
`websocket.http.response`), and else a close before the handshake, which servers make a bare 403 of. The close codes are those of
RFC 6455, section 7.4.1, and of its registry: 1013, try again later, for what is the server's matter; 1008 for the client's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Final, cast

from streamkit.errors import ConfigError
from streamkit.sinks.asgi_types import Receive, Scope, Send
from streamkit.sinks.headers import HeadersLike, raw_headers
from streamkit.wire.sse import dump_json

__all__ = ["Refused", "refuse", "send_json"]

_JSON: Final = ((b"content-type", b"application/json"), (b"cache-control", b"no-store"))


class Refused(Exception):
    """Raised by what decides about a request (in `ChatRoutes`, `Connections`): the client gets this status, and this message.

    Args:
        status: 400 to 599.
        message: Fit to be shown to whoever asks.
        code: A word for programs; that of the status, unless told.
        headers: Further headers of the answer.
        retry_after: Seconds after which trying again may help; None if it does not.

    >>> Refused(401, "Sign in first.").code
    'unauthorized'
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        headers: HeadersLike | None = None,
        retry_after: float | None = None,
    ) -> None:
        if status.__class__ is not int or not 400 <= status <= 599:
            raise ConfigError(f"Refused(status={status!r}): a refusal has a status of 400 to 599")
        if retry_after is not None and not 0 <= retry_after < math.inf:
            raise ConfigError(f"Refused(retry_after={retry_after!r}): 0 or more seconds, and an end of them")
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code or _code_of(status)
        self.retry_after = retry_after
        self.raw_headers = raw_headers(headers)
        if retry_after is not None:
            self.raw_headers.append((b"retry-after", b"%d" % math.ceil(retry_after)))

    @property
    def close_code(self) -> int:
        """What a WebSocket is closed with: 1013 where the server is full or goes, 1008 where this client is refused."""
        return 1013 if self.status >= 500 else 1008

    @property
    def body(self) -> dict[str, object]:
        """What the client reads, as JSON."""
        error: dict[str, object] = {"message": self.message, "code": self.code}
        if self.retry_after is not None:
            error |= {"retryable": True, "retry_after": self.retry_after}
        return {"error": error}


async def refuse(refused: Refused, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request, or the handshake of a WebSocket, with a refusal."""
    if scope["type"] != "websocket":
        await send_json(refused.status, refused.body, send, headers=refused.raw_headers)
        return
    await receive()  # the handshake: nothing may be said before
    extensions = scope.get("extensions")
    if "websocket.http.response" in cast("Mapping[str, object]", extensions or {}):
        await send_json(refused.status, refused.body, send, headers=refused.raw_headers, prefix="websocket.")
    else:
        await send({"type": "websocket.close", "code": refused.close_code, "reason": refused.code})


async def send_json(
    status: int, value: object, send: Send, *, headers: Iterable[tuple[bytes, bytes]] = (), prefix: str = ""
) -> None:
    """Answer with a JSON value, and be done."""
    body = dump_json(value)
    raw = [*_JSON, (b"content-length", b"%d" % len(body)), *headers]
    await send({"type": f"{prefix}http.response.start", "status": status, "headers": raw})
    await send({"type": f"{prefix}http.response.body", "body": body, "more_body": False})


# Python 3.13 has other phrases for these, and a code is for programs.
_CODES: Final[Mapping[int, str]] = MappingProxyType(
    {413: "too-large", 414: "uri-too-long", 416: "range-not-satisfiable", 418: "teapot", 422: "unprocessable"}
)


def _code_of(status: int) -> str:
    try:
        return _CODES.get(status) or HTTPStatus(status).phrase.lower().replace(" ", "-")
    except ValueError:
        return "error"
