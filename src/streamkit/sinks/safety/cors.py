"""Pages of other origins that may read a stream: the CORS protocol (Fetch standard, section 3.2), each origin by name.

    app = Cors(app, ["https://app.example"], credentials=True)

What a request gets:

    preflight of a named origin         204, with what it may do
    preflight of anybody else           403, and no word of CORS
    any other request                   the application's answer; for a named origin with the headers that let its page read it
    WebSocket, lifespan                 the application's answer: CORS does not speak of them

A browser lets a page read an answer with the user's cookies only if the answer names that page's origin. So a wildcard together
with `credentials` is refused where it is written: to echo every origin instead, as some do, lets any site read with
the user's cookies. `null` is nobody's name.

Not to read is not the same as not to ask: the request of a foreign page is still served, unread. See `crossing` for those.

Only the first message of a response is looked at; a stream passes as it comes.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeAlias, cast

from streamkit.errors import ConfigError
from streamkit.flow.plan import check_callable, check_count
from streamkit.sinks.asgi import Message, RawHeaders, Receive, Scope, Send
from streamkit.sinks.safety.origins import check_origins, header_of

__all__ = ["Cors"]

App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_DAY_S: Final = 86_400
# A page may not make these, whatever we say (Fetch standard, section 2.2.1).
_FORBIDDEN: Final = frozenset({"CONNECT", "TRACE", "TRACK"})
_OURS: Final = b"access-control-"


class Cors:
    """An ASGI application in front of another, which lets pages of the origins named read its answers.

    Args:
        app: The application.
        origins: Exact origins ("https://app.example"), or `["*"]` for any, without credentials.
        credentials: Whether the pages may send and read with the user's cookies.
        methods: What the pages may ask with where a browser asks first; so GET with a header of `headers`, too, must be named.
        headers: Request headers that they may send.
        expose: Response headers that they may read.
        max_age: Seconds for which a browser may remember the leave, at most a day; 0 asks each time.

    Memory: none per request.
    Raises:
        ConfigError: `["*"]` with credentials, a wildcard in methods or headers, an origin that is none, a name that is no token.
        TypeError: a single str for a list, arguments of a wrong type.

    >>> Cors(print, ["*"], credentials=True)
    Traceback (most recent call last):
    streamkit.errors.ConfigError: Cors: any origin with credentials lets every site read with the user's cookies: name the origins
    """

    def __init__(
        self,
        app: App,
        origins: Iterable[str],
        *,
        credentials: bool = False,
        methods: Iterable[str] = ("GET", "HEAD", "POST"),
        headers: Iterable[str] = ("authorization", "content-type", "last-event-id"),
        expose: Iterable[str] = ("location", "retry-after", "x-stream-id"),
        max_age: int = 600,
    ) -> None:
        check_callable("Cors", app)
        if credentials.__class__ is not bool:
            raise TypeError(f"Cors(credentials=...) takes a bool, got {type(credentials).__name__}")
        check_count("Cors", "max_age", max_age, 0)
        if max_age > _DAY_S:
            raise ConfigError(f"Cors(max_age={max_age}): at most a day, {_DAY_S} seconds")
        named = [origins] if isinstance(origins, str) else list(origins)
        self._any = named == ["*"] and not isinstance(origins, str)
        if "*" in named and credentials:
            raise ConfigError("Cors: any origin with credentials lets every site read with the user's cookies: name the origins")
        self._origins = frozenset[str]() if self._any else check_origins("Cors", origins)
        if not (self._any or self._origins):
            raise ConfigError('Cors: no origin is named: ["https://app.example"], or ["*"] for any')
        self._app = app
        self._credentials = credentials
        self._methods = frozenset(_tokens("methods", methods))
        if self._methods & _FORBIDDEN:
            raise ConfigError(f"Cors(methods=...): no page may ask with {', '.join(sorted(self._methods & _FORBIDDEN))}")
        self._headers = frozenset(name.lower() for name in _tokens("headers", headers))
        self._exposed = ", ".join(sorted(name.lower() for name in _tokens("expose", expose))).encode()
        self._max_age = max_age

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a preflight, or pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        origin = header_of(scope, b"origin")
        allowed = origin is not None and (origin in self._origins or (self._any and origin != "null"))
        asked = header_of(scope, b"access-control-request-method")
        if origin is not None and asked is not None and scope["method"] == "OPTIONS":
            wanted = header_of(scope, b"access-control-request-headers") or ""
            await self._answer_preflight(send, origin if allowed else None, asked, wanted)
            return
        leave = self._leave(origin) if allowed and origin is not None else []
        if leave and self._exposed:
            leave.append((b"access-control-expose-headers", self._exposed))
        if not self._any:
            leave.append((b"vary", b"origin"))

        async def with_leave(message: Message) -> None:
            if message["type"] == "http.response.start":
                theirs = cast("Iterable[tuple[bytes, bytes]]", message.get("headers", ()))
                # One voice: two values for one of these void both.
                kept = [header for header in theirs if not header[0].lower().startswith(_OURS)]
                message = {**message, "headers": [*kept, *leave]}
            await send(message)

        await self._app(scope, receive, with_leave)

    def _leave(self, origin: str) -> RawHeaders:
        leave = [(b"access-control-allow-origin", b"*" if self._any else origin.encode("latin-1"))]
        if self._credentials:
            leave.append((b"access-control-allow-credentials", b"true"))
        return leave

    async def _answer_preflight(self, send: Send, origin: str | None, method: str, wanted: str) -> None:
        names = {name.strip().lower() for name in wanted.split(",")} - {""}
        answer: RawHeaders = [(b"vary", b"origin, access-control-request-method, access-control-request-headers")]
        fine = origin is not None and method in self._methods and names <= self._headers
        if fine and origin is not None:
            answer += [
                *self._leave(origin),
                (b"access-control-allow-methods", ", ".join(sorted(self._methods)).encode()),
                (b"access-control-allow-headers", ", ".join(sorted(self._headers)).encode()),
                (b"access-control-max-age", str(self._max_age).encode()),
            ]
        await send({"type": "http.response.start", "status": 204 if fine else 403, "headers": answer})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def __repr__(self) -> str:
        return f"<Cors {'*' if self._any else ', '.join(sorted(self._origins))}>"


def _tokens(name: str, values: Iterable[str]) -> list[str]:
    if isinstance(values, str):
        raise TypeError(f"Cors({name}=...) takes a list, and got one str: write [{values!r:.80}]")
    found = list(values)
    for value in found:
        if not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without types
            raise TypeError(f"Cors({name}=...) takes names, got {type(value).__name__}")
        if value == "*" or not _TOKEN.fullmatch(value):
            raise ConfigError(f"Cors({name}=...): {value!r:.80} is no name to allow; each is named, there is no wildcard")
    return found
