"""Requests that a page of another site makes with the user's cookies: refused before a stream is opened for them.

    app = CrossSiteGuard(ChatRoutes(answer))
    app = Cors(CrossSiteGuard(routes, allowed=["https://app.example"]), ["https://app.example"], credentials=True)

A form, an image or an `EventSource` on any page can ask here, and the browser adds the cookies. The page cannot read the answer,
but the answer is made and paid for. A browser tells on its pages by headers that they cannot set:

    Sec-Fetch-Site: same-origin, none   served: a page of ours, or the user's own hand
    Origin, or else Referer             served if it is this host or one of `allowed`, else refused with 403
    Sec-Fetch-Site alone, other values  refused with 403
    none of these                       served if it has no cookie: no browser, so nobody's cookies are misused;
                                        with one refused, unless `missing`

A body that is no JSON is refused with 415: a form of another site can send three other types without asking first, this one it
cannot. WebSockets are held to the same rule. An OPTIONS request passes: it opens nothing, and `Cors` stands in front.

Put it around what opens streams and changes things, not around pages: a link from another site is a request from there.
Plain HTTP on a name other than localhost sends no Sec-Fetch-Site: there Origin and Referer are what there is.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeAlias

from streamkit.flow.plan import check_callable
from streamkit.sinks.asgi import Receive, Scope, Send
from streamkit.sinks.safety.origins import check_origins, header_of, origin_allowed
from streamkit.sinks.safety.refusing import refuse

__all__ = ["CrossSiteGuard"]

App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

_JSON: Final = re.compile(r"application/(?:[a-z0-9!#$&^_.+-]+\+)?json\s*(?:;.*)?", re.IGNORECASE | re.DOTALL)
_OUR_OWN: Final = frozenset({"same-origin", "none"})
_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})


class CrossSiteGuard:
    """An ASGI application in front of another, which refuses what pages of other sites ask.

    Args:
        app: The application.
        allowed: Exact origins of other pages that may ask.
        missing: Serve requests with a cookie that say in no way where they come from: old browsers, and programs with cookies.
        json_only: Refuse bodies of another type than JSON.

    Memory: none per request.
    Raises:
        ConfigError, TypeError: arguments that cannot work, at the call.

    >>> CrossSiteGuard(print, allowed=["https://app.example"])
    <CrossSiteGuard https://app.example>
    """

    def __init__(self, app: App, *, allowed: Iterable[str] = (), missing: bool = False, json_only: bool = True) -> None:
        check_callable("CrossSiteGuard", app)
        for name, value in (("missing", missing), ("json_only", json_only)):
            if value.__class__ is not bool:
                raise TypeError(f"CrossSiteGuard({name}=...) takes a bool, got {type(value).__name__}")
        self._app = app
        self._allowed = check_origins("CrossSiteGuard", allowed)
        self._missing = missing
        self._json_only = json_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] in ("http", "websocket") and scope.get("method") != "OPTIONS":
            if not self._is_ours(scope):
                await refuse(scope, receive, send, 403, "cross-site", "This may not be asked from another site.")
                return
            if self._json_only and scope.get("method") in _WITH_BODY and not _is_json(scope):
                told = "The body must be JSON; say so with content-type: application/json."
                await refuse(scope, receive, send, 415, "unsupported-media-type", told)
                return
        await self._app(scope, receive, send)

    def _is_ours(self, scope: Scope) -> bool:
        site = header_of(scope, b"sec-fetch-site")
        if site in _OUR_OWN:
            return True
        origin = header_of(scope, b"origin")
        if origin is None:
            referer = header_of(scope, b"referer")
            origin = None if referer is None else "/".join(referer.split("/", 3)[:3])
        if origin is not None:
            # What a browser calls another site is not ours because it was sent to our name.
            host = header_of(scope, b"host") if site is None else None
            return origin_allowed(origin, self._allowed, host)
        if site is not None:
            return False
        return self._missing or header_of(scope, b"cookie") is None

    def __repr__(self) -> str:
        return f"<CrossSiteGuard {', '.join(sorted(self._allowed)) or 'same origin'}>"


def _is_json(scope: Scope) -> bool:
    """Whether the body is JSON, or there is none."""
    kind = header_of(scope, b"content-type")
    if kind is not None:
        return _JSON.fullmatch(kind.strip()) is not None
    return header_of(scope, b"transfer-encoding") is None and header_of(scope, b"content-length") in (None, "0")
