"""Who may come in: the page's origin is looked at, and the application says whose the connection is, and until when.

All of it happens at the handshake, before a client is accepted; see `serving` for what it then gets.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from math import isnan
from typing import Final, TypeAlias

import msgspec

from streamkit.errors import ConfigError
from streamkit.flow.plan import check_callable
from streamkit.sinks.asgi_types import Scope
from streamkit.sinks.failures import refusal_of, report
from streamkit.sinks.refusals import Refused
from streamkit.sinks.safety.origins import check_origins, header_of, origin_allowed
from streamkit.sinks.websocket.generations import awaited
from streamkit.sinks.websocket.requests import SocketRequest, token_of

__all__ = ["Admission", "Admitted", "ExpiryOf", "OwnerOf"]

OwnerOf: TypeAlias = Callable[[SocketRequest], str | Awaitable[str | None] | None]
ExpiryOf: TypeAlias = Callable[[SocketRequest], float | Awaitable[float | None] | None]

# A sign-in that is over later than this is not waited for.
_LONGEST_S: Final = 10 * 365 * 86_400.0


class Admitted(msgspec.Struct, frozen=True):
    """A client that may come in."""

    request: SocketRequest
    owner: str | None
    expires_in: float | None


class Admission:
    """Lets clients in, or refuses them; `origins` to `token_in_query` are those of `WebSocketRoutes`.

    Args:
        where: What the arguments belong to, for messages.

    Raises:
        ConfigError, TypeError: arguments that cannot work, at the call.
    """

    def __init__(
        self,
        where: str,
        origins: Iterable[str] | None,
        allow_missing_origin: bool,
        owner: OwnerOf | None,
        until: ExpiryOf | None,
        token_in_query: str | None,
    ) -> None:
        for name, function in (("owner", owner), ("until", until)):
            if function is not None:
                check_callable(f"{where}({name}=...)", function)
        if token_in_query is not None and (not isinstance(token_in_query, str) or not token_in_query):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(f"{where}(token_in_query={token_in_query!r}) is the name of a field, or None")
        if not isinstance(allow_missing_origin, bool):  # pyright: ignore[reportUnnecessaryIsInstance]  # whoever has no type checker
            raise TypeError(f"{where}(allow_missing_origin=...) is True or False, got {type(allow_missing_origin).__name__}")
        self._origins = None if origins is None else check_origins(where, origins)
        self._allow_missing_origin = allow_missing_origin
        self._owner = owner
        self._until = until
        self._token_in_query = token_in_query

    async def admit(self, scope: Scope) -> Admitted:
        """The client of this handshake.

        Raises:
            Refused: not this one.
        """
        origin, host = header_of(scope, b"origin"), header_of(scope, b"host")
        if self._origins is not None and not origin_allowed(origin, self._origins, host, missing=self._allow_missing_origin):
            raise Refused(403, "Pages of this origin may not connect.", code="forbidden-origin")
        request = SocketRequest(scope, token=token_of(scope, self._token_in_query))
        try:
            owner = None if self._owner is None else await awaited(self._owner(request))
            if owner is not None and not isinstance(owner, str):
                raise TypeError(f"WebSocketRoutes(owner=...) gives a str or None, got {type(owner).__name__}")
            until = None if self._until is None else await awaited(self._until(request))
            if until is not None and (not isinstance(until, int | float) or isinstance(until, bool) or isnan(until)):
                raise TypeError(f"WebSocketRoutes(until=...) gives Unix seconds or None, got {type(until).__name__} {until!r:.40}")
        except Refused as refused:
            if refused.status == 401:  # a handshake has no way to ask for credentials
                raise Refused(403, refused.message, code=refused.code) from None
            raise
        except Exception as error:
            outcome = report(error, before_first_byte=True)
            raise Refused(refusal_of(outcome, error)[0], outcome.message, code=outcome.code) from None
        expires_in = None if until is None else min(until - time.time(), _LONGEST_S)
        if expires_in is not None and expires_in <= 0:
            raise Refused(403, "The sign-in has expired.", code="unauthorized")
        request.owner = owner
        return Admitted(request, owner, expires_in)
