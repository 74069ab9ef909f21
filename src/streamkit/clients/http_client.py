"""Requests over HTTP: on the user's own client, or on one of ours.

Knows how httpx, httpx2 and aiohttp are asked for a streamed response, and where a request may be sent.
Reads no body: what `open` gives is entered and read by `bodies.open_body`.

Where a request goes, and what goes with it:

    the origin that was asked     everything the caller gave
    another one, by a redirect    only headers of the short list below, none of which is a secret; no cookies, no auth
    with a body, by a redirect    nothing: it fails, and says where it was sent to

A redirect from https to http, and one to a link-local address (where clouds keep credentials), are refused.

A client of ours serves one event loop: connections belong to the loop that opened them. There is one for each loop,
shared by all `HttpClient`s in it, and the end of the loop closes it. It keeps no cookies.
"""

from __future__ import annotations

import inspect
import ipaddress
import sys
import weakref
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from importlib.util import find_spec
from types import ModuleType, TracebackType
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

from anyio import to_thread
from anyio.lowlevel import current_token

from streamkit.errors import RemoteProtocolError, scrub
from streamkit.extras import require

__all__ = ["CONNECT_SECONDS", "MAX_REDIRECTS", "HttpClient", "refused_redirect", "shown"]

CONNECT_SECONDS: Final = 10.0
"""How long a connection may take to open. How long a stream may be silent is for `sk.timeout` to say."""

MAX_REDIRECTS: Final = 5

_KEPT_CONNECTIONS: Final = 100
_KEPT_SECONDS: Final = 30.0
_WARM_UP_SECONDS: Final = 5.0

# What another origin may see. A list of secrets would miss the next one; this one cannot.
_HARMLESS: Final = frozenset(
    (
        "accept",
        "accept-encoding",
        "accept-language",
        "cache-control",
        "connection",
        "content-length",
        "host",
        "last-event-id",
        "user-agent",
    )
)

# What the libraries raise when there is nobody to ask; MissingExtra when there is nothing to ask with.
_UNREACHABLE: Final = frozenset(
    ("ConnectError", "ConnectTimeout", "ClientConnectorError", "UnsupportedProtocol", "InvalidURL", "MissingExtra")
)

_ACCEPTED: Final = "an httpx or httpx2 AsyncClient or Client, or an aiohttp ClientSession"


class HttpClient:
    """Streamed requests on the user's client, or on one of ours.

    Args:
        client: An `AsyncClient` or `Client` of httpx or httpx2, or a `ClientSession` of aiohttp; it is never closed
            here. None is one of ours, made when it is first needed.
        wanted_by: What cannot work without one, as the user knows it: for the message when no library is installed.

    Timeouts are the client's own, if it was given any. Else a connection has 10 s to open and a body any time it
    needs: the defaults of the libraries (5 s of silence, 5 minutes in all) end answers that are merely thought about.

    On a client of ours a request that finds its kept connection closed by the server is sent again, once, on a new one.

    Raises:
        TypeError: `client` is none of these.
        MissingExtra: at the first use: neither httpx2 nor httpx is installed.
    """

    def __init__(self, client: object | None = None, *, wanted_by: str) -> None:
        self._kind = "ours" if client is None else _kind_of(client)
        self._client: Any = client
        self._wanted_by = wanted_by

    def open(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        params: Mapping[str, str] | None = None,
    ) -> object:
        """A request that is sent when it is entered, and gives a streamed response.

        Args:
            headers: They win over those of the client. Without an `Accept-Encoding`, nothing compressed is asked for:
                what is small is sent at once, and a compressor waits for more.
            content: The body. A request that has one follows no redirect.

        Raises:
            RemoteProtocolError: when entered: a redirect that is not followed.
            Errors of the library pass untouched.
        """
        asked = _Asked(method.upper(), url, dict(headers or {}), content, dict(params) if params else None)
        if not any(name.lower() == "accept-encoding" for name in asked.headers):
            asked.headers["Accept-Encoding"] = "identity"
        return _BlockingExchange(self._client, asked) if self._kind == "sync" else _Exchange(self, asked)

    async def warm_up(self, url: str) -> None:
        """Load what is lazy and open a connection, which the next request to the same origin then finds.

        Sends `HEAD /` without any header of the caller's: what the answer is does not matter.

        Raises:
            Errors of the library that say the origin cannot be reached (its `ConnectError` or `ConnectTimeout`).
        """
        parts = urlsplit(url)
        asked = _Asked("HEAD", f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/" if parts.scheme else "/", {}, None, None)
        asked.headers["Accept-Encoding"] = "identity"
        asked.seconds = _WARM_UP_SECONDS
        try:
            if self._kind == "sync":
                # Read to its end, which closes it too: closed unread, its connection would be gone.
                await to_thread.run_sync(lambda: _send_blocking(self._client, asked).read())
            else:
                response = await self._send(asked)
                await _read_to_end(response)
        except Exception as error:
            if _is_unreachable(error):
                raise
            # Reached, and not willing to answer that: the connection or what was loaded for it is there.

    async def aclose(self) -> None:
        """Close the client of ours in this event loop, when nobody else in it uses it. The user's own stays open."""
        if self._kind == "ours":
            await _let_go(self)

    def ours(self) -> Any:
        """The library's client of ours for the running event loop."""
        return _client_of_loop(self, self._wanted_by)

    async def _send(self, asked: _Asked) -> Any:
        if self._kind == "aiohttp":
            return await _send_aiohttp(self._client, asked)
        if self._kind == "ours":
            return await _send_ours(self.ours(), asked)
        request, options = _request_of(self._client, asked)
        return await self._client.send(request, stream=True, follow_redirects=False, **options)

    async def send(self, asked: _Asked) -> Any:
        """The response, redirects followed where they may be."""
        for _ in range(MAX_REDIRECTS + 1):
            response = await self._send(asked)
            try:
                onward = _onward(asked, response)
            except BaseException:
                await _close_async(response)
                raise
            if onward is None:
                return response
            await _close_async(response)
            asked = onward
        raise _too_many()

    def __repr__(self) -> str:
        return f"HttpClient({'ours' if self._client is None else type(self._client).__name__})"


class _Asked:
    """One request, before it is one of a library's."""

    __slots__ = ("abroad", "content", "headers", "method", "params", "seconds", "url")

    def __init__(
        self, method: str, url: str, headers: dict[str, str], content: bytes | None, params: dict[str, str] | None
    ) -> None:
        self.method = method
        self.url = url
        self.headers = headers
        self.content = content
        self.params = params
        self.seconds: float | None = None  # how long the answer may take, where that is bounded
        self.abroad = False  # a redirect led to another origin


class _Exchange:
    """An async context manager: a request, and its response."""

    def __init__(self, client: HttpClient, asked: _Asked) -> None:
        self._client = client
        self._asked = asked
        self._response: Any = None

    async def __aenter__(self) -> Any:
        self._response = await self._client.send(self._asked)
        return self._response

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._response is not None:
            await _close_async(self._response)

    def __repr__(self) -> str:
        return f"{self._asked.method} {shown(self._asked.url)}"


async def _send_ours(client: Any, asked: _Asked) -> Any:
    """The response; asked for once more, on a new connection, where the server had closed the one that was kept.

    Some servers end a connection right behind a streamed answer, without a word in its headers (llama.cpp), and others after
    seconds of silence: a request that meets the closing was never looked at. What fails on a new connection is not asked twice.
    """
    kept = True

    async def look(event: str, _: object) -> None:
        nonlocal kept
        kept = kept and event != "connection.connect_tcp.started"

    request, options = _request_of(client, asked)
    request.extensions["trace"] = look
    try:
        return await client.send(request, stream=True, follow_redirects=False, **options)
    except Exception as error:
        if not (kept and type(error).__name__ == "RemoteProtocolError" and str(error).startswith("Server disconnected without")):
            raise
    request, options = _request_of(client, asked)
    return await client.send(request, stream=True, follow_redirects=False, **options)


class _BlockingExchange:
    """The same on a client that blocks: entered and read on a thread."""

    def __init__(self, client: Any, asked: _Asked) -> None:
        self._client = client
        self._asked = asked
        self._response: Any = None

    def __enter__(self) -> Any:
        asked = self._asked
        for _ in range(MAX_REDIRECTS + 1):
            response = _send_blocking(self._client, asked)
            try:
                onward = _onward(asked, response)
            except BaseException:
                response.close()
                raise
            if onward is None:
                self._response = response
                return response
            response.close()
            asked = onward
        raise _too_many()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._response is not None:
            self._response.close()

    def __repr__(self) -> str:
        return f"{self._asked.method} {shown(self._asked.url)}"


# ---- the libraries ------------------------------------------------------------------------------


def _kind_of(client: object) -> str:
    """Which way a client is asked: by what it can do, so that subclasses and wrappers of SDKs pass."""
    if not inspect.isclass(client):
        if hasattr(client, "build_request") and hasattr(client, "send"):
            return "async" if inspect.iscoroutinefunction(getattr(client, "aclose", None)) else "sync"
        if hasattr(client, "connector") and inspect.iscoroutinefunction(getattr(client, "close", None)):
            return "aiohttp"
    name = f"the class {client.__name__}" if inspect.isclass(client) else f"a {type(client).__name__}"
    raise TypeError(f"client is {_ACCEPTED}, got {name}")


def _request_of(client: Any, asked: _Asked) -> tuple[Any, dict[str, Any]]:
    """A request of httpx or httpx2, and the options of its `send`."""
    library = sys.modules[_library_of(client)]
    more: dict[str, Any] = {}
    if asked.seconds is not None:
        more["timeout"] = library.Timeout(asked.seconds, connect=CONNECT_SECONDS)
    elif client.timeout == _default_of(library):  # what the library has when nobody chose
        more["timeout"] = library.Timeout(None, connect=CONNECT_SECONDS)
    # Its default is ASCII, and an event id may be anything.
    headers = {name: value.encode() for name, value in asked.headers.items()}
    request = client.build_request(asked.method, asked.url, headers=headers, content=asked.content, params=asked.params, **more)
    if not asked.abroad:
        return request, {}
    for name in [name for name in request.headers if name.lower() not in _HARMLESS]:
        del request.headers[name]
    return request, {"auth": None}


@cache
def _default_of(library: Any) -> Any:
    return library.Timeout(5.0)


def _library_of(client: Any) -> str:
    """The library that a client's class, or one of its bases, comes from."""
    for kind in type(client).__mro__:
        name = kind.__module__.partition(".")[0]
        if name in ("httpx", "httpx2"):
            return name
    raise TypeError(f"client is {_ACCEPTED}, got a {type(client).__name__}")


def _send_blocking(client: Any, asked: _Asked) -> Any:
    request, options = _request_of(client, asked)
    return client.send(request, stream=True, follow_redirects=False, **options)


async def _send_aiohttp(session: Any, asked: _Asked) -> Any:
    library: Any = sys.modules["aiohttp"]
    more: dict[str, Any] = {}
    if asked.seconds is not None:
        more["timeout"] = library.ClientTimeout(total=asked.seconds, sock_connect=CONNECT_SECONDS)
    elif session.timeout == library.client.DEFAULT_TIMEOUT:  # five minutes for all of it
        more["timeout"] = library.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
    if asked.abroad:
        # The session would add its own headers and cookies: a session that has none shares its connections.
        async with library.ClientSession(
            connector=session.connector, connector_owner=False, cookie_jar=library.DummyCookieJar()
        ) as bare:
            headers = {name: value for name, value in asked.headers.items() if name.lower() in _HARMLESS}
            return await bare.request(asked.method, asked.url, headers=headers, allow_redirects=False, **more)
    return await session.request(
        asked.method,
        asked.url,
        headers=asked.headers,
        data=asked.content,
        params=asked.params,
        allow_redirects=False,
        raise_for_status=False,
        **more,
    )


async def _close_async(response: Any) -> None:
    close = getattr(response, "aclose", None) or response.close
    closing = close()
    if closing is not None:
        await closing


async def _read_to_end(response: Any) -> None:
    """The answer to HEAD, which has no body: its connection goes back to where the next request looks."""
    try:
        if hasattr(response, "aiter_raw"):
            async for _ in response.aiter_raw():
                return
        else:
            await response.read()
    finally:
        if hasattr(response, "aclose"):
            await response.aclose()


def _is_unreachable(error: Exception) -> bool:
    names = {kind.__name__ for kind in type(error).__mro__}
    return not names.isdisjoint(_UNREACHABLE)


# ---- redirects ----------------------------------------------------------------------------------


def refused_redirect(status: int, location: str, why: str) -> RemoteProtocolError:
    """The error for a redirect that is not followed. Its text shows where to, without a query."""
    return RemoteProtocolError(f"the server redirects (status {status}) to {shown(location) or 'nowhere'}, {why}")


def _onward(asked: _Asked, response: Any) -> _Asked | None:
    """The request that a redirect asks for; None if the response is no redirect.

    Raises:
        RemoteProtocolError: it is one that is not followed.
    """
    status = getattr(response, "status_code", None) or getattr(response, "status", 0)
    location = response.headers.get("location")
    if status not in (301, 302, 303, 307, 308) or location is None:
        return None
    here = str(response.url)
    try:
        there = urljoin(here, location)
    except ValueError:
        raise refused_redirect(status, "", "which is no address") from None
    if asked.content is not None or asked.method not in ("GET", "HEAD"):
        raise refused_redirect(status, there, "and a request with a body goes only where it was addressed: ask there")
    try:
        before, after = urlsplit(here), urlsplit(there)
        same = _origin(here) == _origin(there)
        host = after.hostname
    except ValueError:
        raise refused_redirect(status, "", "which is no address") from None
    if after.scheme not in ("http", "https") or not host:
        raise refused_redirect(status, there, "which is no address that HTTP knows")
    if before.scheme == "https" and after.scheme == "http":
        raise refused_redirect(status, there, "and from https to http is not followed")
    if not same and _is_link_local(host):
        raise refused_redirect(status, there, "a link-local address, and those are not followed")
    onward = _Asked(asked.method, there, dict(asked.headers), None, None)
    onward.abroad = asked.abroad or not same
    if onward.abroad:
        onward.headers = {name: value for name, value in onward.headers.items() if name.lower() in _HARMLESS}
    return onward


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _is_link_local(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_link_local


def _too_many() -> RemoteProtocolError:
    return RemoteProtocolError(f"more than {MAX_REDIRECTS} redirects, one after the other")


def shown(url: str) -> str:
    """An address for a message: without user, password, query and fragment, which may hold secrets."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return scrub(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if parts.netloc else parts.path, 200)


# ---- clients of ours ----------------------------------------------------------------------------


class _Kept:
    """The client of one event loop, and who uses it."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.users: weakref.WeakSet[HttpClient] = weakref.WeakSet()
        self.keeper = _closed_with_the_loop(client)


_KEPT: weakref.WeakKeyDictionary[Any, _Kept] = weakref.WeakKeyDictionary()

# Loading certificates takes most of the time that a client needs to be made.
_TLS: dict[str, Any] = {}


def _client_of_loop(user: HttpClient, wanted_by: str) -> Any:
    token = _loop_key()
    kept = _KEPT.get(token)
    if kept is None or kept.client.is_closed:
        kept = _KEPT[token] = _Kept(_made(wanted_by))
        # Begun, so that the end of the loop ends it. It suspends nowhere before its first yield.
        with suppress(StopIteration):
            kept.keeper.__anext__().send(None)
    kept.users.add(user)
    return kept.client


async def _let_go(user: HttpClient) -> None:
    token = _loop_key()
    kept = _KEPT.get(token)
    if kept is None or user not in kept.users:
        return
    kept.users.discard(user)
    if not kept.users:
        _KEPT.pop(token, None)
        await kept.keeper.aclose()


def _loop_key() -> Any:
    token: Any = current_token()
    return getattr(token, "native_token", token)


async def _closed_with_the_loop(client: Any) -> AsyncGenerator[None]:
    """Every event loop ends the generators that are left open when it ends: so this closes a client then."""
    try:
        yield
    finally:
        await client.aclose()


def _made(wanted_by: str) -> Any:
    installed = "httpx" if find_spec("httpx2") is None and find_spec("httpx") is not None else "httpx2"
    library: ModuleType = require(installed, extra="httpx2", wanted_by=wanted_by)
    name = library.__name__
    if name not in _TLS:
        _TLS[name] = library.create_ssl_context()
    return library.AsyncClient(
        verify=_TLS[name],
        timeout=library.Timeout(None, connect=CONNECT_SECONDS),
        limits=library.Limits(max_connections=None, max_keepalive_connections=_KEPT_CONNECTIONS, keepalive_expiry=_KEPT_SECONDS),
        # Shared by whoever asks in this loop: what one is told to remember must not be sent for another.
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
    )
