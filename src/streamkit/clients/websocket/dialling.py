"""How a WebSocket is opened, and what it means when that fails or when it is closed.

    refused before it was open       401, 403: sign in, or another origin; 408, 425, 429, 5xx: later; anything else: never
    closed with a code               1000, 1001, 1005, 1006, 1011 to 1014: on another connection; the others: never
    no connection, no answer         later

Knows the `websockets` library. Knows no streams.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import urlsplit

from streamkit.dialects.provider_errors import source_error
from streamkit.dialects.websocket.messages import SUBPROTOCOL
from streamkit.errors import AuthError, ConfigError, LocalProtocolError, RemoteProtocolError, SourceError, StreamkitError, scrub
from streamkit.extras import require

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection
    from websockets.exceptions import ConnectionClosed, InvalidStatus

__all__ = ["Dialler", "Failure", "HeadersGiven", "failure_of_close", "origin_of", "shown"]

HeadersGiven: TypeAlias = Mapping[str, str] | Callable[[], Mapping[str, str] | Awaitable[Mapping[str, str]]]
"""Headers of the request, or what gives them anew for each connection (a token that expires)."""

# Closes after which the same request may be welcome on another connection (RFC 6455, section 7.4.1, and its registry).
_PASSING_CLOSES: Final = frozenset((1000, 1001, 1005, 1006, 1011, 1012, 1013, 1014))
_PASSING_STATUSES: Final = frozenset((408, 425, 429, 500, 502, 503, 504, 529))

# What its caller can do about a refusal; frameworks answer 403 where they have no route for a WebSocket.
_HINTS: Final = {
    401: "sign in, with headers=",
    403: "the sign-in or the origin= does not fit, or there is no WebSocket at this address (mounted at /ws, it is /ws/)",
    404: "there is nothing at this address",
    426: "the server cannot open WebSockets; uvicorn needs the package websockets for it",
}

_DEFAULT_PORTS: Final = {"ws": 80, "wss": 443}

_UNAUTHORIZED: Final = 4401
_POLICY: Final = 1008

_CLOSED_BECAUSE: Final[Mapping[int, str]] = {
    1002: "says that this side broke the protocol of WebSockets",
    1003: "takes no such messages",
    1007: "says that it was sent something else than text",
    1008: "does not allow this",
    1009: "says that it was sent too long a message",
    1010: "wants an extension that is not there",
    1015: "could not be trusted",
    4401: "wants to be signed in to (again)",
}


class Failure(Exception):
    """Why a connection could not be had, or is over: for whoever decides whether to take another one.

    Attributes:
        error: As it is told to who reads.
        passing: Whether another connection may do better.
        expired: Whether it is the sign-in that ran out: with other headers it may do better.
        retry_after: Seconds that the server asks to wait, or None.
    """

    def __init__(self, error: Exception, *, passing: bool, expired: bool = False) -> None:
        super().__init__(str(error))
        self.error = error
        self.passing = passing
        self.expired = expired
        self.retry_after = error.retry_after if isinstance(error, SourceError) else None


class Dialler:
    """Opens connections to one address.

    Args:
        url: ws or wss.
        headers: See `HeadersGiven`.
        origin: What is sent as `Origin`; None takes that of the address, as a page of the same server would.
        max_message_bytes: The longest message that is taken.
        open_timeout, close_timeout: Seconds for the handshakes.

    Raises:
        ConfigError, TypeError: an address or headers that cannot be.
        MissingExtra: the package `websockets` is not installed.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: HeadersGiven | None,
        origin: str | None,
        max_message_bytes: int,
        open_timeout: float,
        close_timeout: float,
    ) -> None:
        self.url = _checked(url)
        if headers is not None and not callable(headers):
            _check_headers(headers)
        self._headers = headers
        self._origin = origin_of(self.url) if origin is None else origin
        self._max_message_bytes = max_message_bytes
        self._open_timeout = open_timeout
        self._close_timeout = close_timeout
        self._websockets: Any = require("websockets.asyncio.client", extra="websockets", wanted_by="sk.clients.websocket")

    @property
    def renews(self) -> bool:
        """Whether each connection may have other headers."""
        return callable(self._headers)

    async def dial(self) -> ClientConnection:
        """A connection.

        Raises:
            Failure: there is none.
        """
        try:
            connection: ClientConnection = await self._websockets.connect(
                self.url,
                origin=self._origin,
                subprotocols=[SUBPROTOCOL],
                additional_headers=await self._current_headers(),
                # Deltas are too short for it to gain much, and each connection would pay for two windows.
                compression=None,
                open_timeout=self._open_timeout,
                close_timeout=self._close_timeout,
                # Whether the server lives is asked by a message, which also shows that its session does.
                ping_interval=None,
                max_size=self._max_message_bytes,
            )
        except Exception as error:
            raise _failure_of_opening(error, self.url) from error
        return connection

    async def _current_headers(self) -> Mapping[str, str] | None:
        if not callable(self._headers):
            return self._headers
        given = self._headers()
        headers = await given if isinstance(given, Awaitable) else given
        _check_headers(headers)
        return headers


def failure_of_close(closed: ConnectionClosed) -> Failure:
    """What the end of a connection means."""
    frame = closed.rcvd
    if closed.sent is not None and not closed.rcvd_then_sent and closed.sent.code in (1002, 1007, 1009):
        what = "a message that is longer than max_message_bytes" if closed.sent.code == 1009 else "what is no WebSocket message"
        return Failure(RemoteProtocolError(f"the server sent {what}"), passing=False)
    code = 1006 if frame is None else int(frame.code)
    if code in _PASSING_CLOSES:
        return Failure(ConnectionResetError(f"the server closed the connection (code {code})"), passing=True)
    reason = scrub(frame.reason, 120) if frame is not None else ""
    what = f"the server {_CLOSED_BECAUSE.get(code, 'closed the connection')} (code {code}{': ' + reason if reason else ''})"
    if code == _UNAUTHORIZED:
        return Failure(AuthError(what, code="unauthorized"), passing=False, expired=True)
    if code in (1002, 1003, 1007, 1009):
        return Failure(LocalProtocolError(what), passing=False)
    return Failure(SourceError(what, code="policy" if code == _POLICY else str(code)), passing=False)


def _failure_of_opening(error: Exception, url: str) -> Failure:
    from websockets.exceptions import InvalidHandshake, InvalidMessage, InvalidStatus

    where = shown(url)
    match error:
        case InvalidStatus():
            return _refused(error, where)
        case InvalidMessage() if isinstance(error.__cause__, EOFError):
            return Failure(ConnectionResetError(f"{where} closed the connection during its handshake"), passing=True)
        case InvalidHandshake():
            return Failure(RemoteProtocolError(f"{where} does not speak WebSocket", excerpt=str(error)), passing=False)
        case TimeoutError():
            return Failure(TimeoutError(f"{where} did not answer the handshake in time"), passing=True)
        case ssl.SSLError():
            return Failure(error, passing=False)
        case OSError():
            return Failure(error, passing=True)
        case StreamkitError():
            return Failure(error, passing=False)
        case _:
            return Failure(error, passing=False)


def _refused(error: InvalidStatus, where: str) -> Failure:
    status = error.response.status_code
    told = error.response.headers.get("Retry-After", "")
    # A date is possible there as well, and as good as nothing: clocks differ.
    retry_after = float(told) if told.isascii() and told.isdigit() and len(told) < 9 else None
    passing = status in _PASSING_STATUSES
    what = f"the connection was refused{': ' + _HINTS[status] if status in _HINTS else ''}"
    refusal = source_error(what, provider=where, status=status, retryable=passing, retry_after=retry_after)
    return Failure(refusal, passing=passing)


def origin_of(url: str) -> str:
    """The origin of a page of the same server, as browsers write it (RFC 6454, section 6.2): small letters, no default port.

    >>> [origin_of(url) for url in ("wss://me:pw@Chat.Example:443/ws", "ws://[::1]:8000", "wss://bücher.example")]
    ['https://chat.example', 'http://[::1]:8000', 'https://xn--bcher-kva.example']
    """
    parts = urlsplit(url)
    host = _ascii(parts.hostname or "")
    port = "" if parts.port is None or parts.port == _DEFAULT_PORTS[parts.scheme] else f":{parts.port}"
    return f"http{parts.scheme[2:]}://{f'[{host}]' if ':' in host else host}{port}"


def _ascii(host: str) -> str:
    """A name as it goes over the wire: one beyond ASCII as xn--... Raises ValueError for what is no name."""
    return host if host.isascii() else host.encode("idna").decode()


def shown(url: str) -> str:
    """An address as messages show it: without what may be secret.

    >>> shown("wss://me:pw@chat.example/ws?token=abc")
    'wss://chat.example/ws'
    """
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _checked(url: str) -> str:
    if not isinstance(url, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers reach this
        raise TypeError(f"connect(url=...) takes text, got {type(url).__name__}")
    try:
        parts = urlsplit(url)
        fits = parts.scheme in _DEFAULT_PORTS and bool(parts.hostname and _ascii(parts.hostname)) and not parts.fragment
        fits = fits and parts.port != 0  # raises for one beyond 65535
    except ValueError:
        fits = False
    if not fits:
        raise ConfigError(f"connect(url=...) takes an address that begins with ws:// or wss://, got {scrub(str(url), 60)!r}")
    return url


def _check_headers(headers: object) -> None:
    if not isinstance(headers, Mapping):
        raise TypeError(f"connect(headers=...) takes a mapping, or a callable that gives one, got {type(headers).__name__}")
    for name, value in headers.items():  # pyright: ignore[reportUnknownVariableType]
        if not isinstance(name, str) or not isinstance(value, str) or any(mark in f"{name}{value}" for mark in "\r\n\0"):
            raise ConfigError(f"the header {name!r:.40} is not one line of text")
