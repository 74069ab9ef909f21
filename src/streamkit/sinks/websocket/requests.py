"""Who asks, as an application's functions see it: the handshake's headers, and the input of one start."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, cast
from urllib.parse import unquote, unquote_plus

from streamkit.sinks.asgi_types import Scope
from streamkit.sinks.request_parts import RequestParts

__all__ = ["SocketRequest", "scope_of", "token_of"]


class SocketRequest(RequestParts):
    """A client's connection, or one start on it.

    Attributes:
        scope: As ASGI has it; of other servers the same keys: `path`, `query_string`, `headers`, `client`, `scheme`.
        path: Of the address, decoded.
        headers: Of the handshake, by name in small letters; what came several times is joined by ", ".
        query: The fields of the query, without those that are tokens; of several of one name the last.
        owner: Whose it is, as the routes' `owner` said; None for nobody's, and while that is asked.
        token: What the client signs in with: of `Authorization: Bearer ...`, or of the query, where the routes take it from there.
        stream: The name that the client chose for its stream, or None.
        input: What the client sent with its start, as JSON gives it: the application's own. None for a connection.

    >>> SocketRequest({}, body=b'{"prompt": "Hi"}').json(dict[str, str])
    {'prompt': 'Hi'}
    """

    _sent = "input"

    def __init__(
        self, scope: Scope, *, owner: str | None = None, stream: str | None = None, body: bytes = b"null", token: str | None = None
    ) -> None:
        super().__init__(scope, body)
        self.token = token
        self.owner = owner
        self.stream = stream

    @property
    def path(self) -> str:
        """See the class."""
        return str(self.scope.get("path", "/"))

    @property
    def input(self) -> Any:
        """See the class.

        Raises:
            Refused: 400, for what msgspec takes for no JSON.
        """
        return self.json()

    def __repr__(self) -> str:
        return f"<SocketRequest {self.path!r:.80}>"


def token_of(scope: Scope, field: str | None) -> str | None:
    """What the client signs in with, taken out of the scope's query: what a server logs of the address later holds no secret.

    Args:
        scope: Of the handshake; changed in place.
        field: The field of the query that it may be in, or None for nowhere.

    >>> scope = {"query_string": b"a=1&token=s3cret", "headers": []}
    >>> token_of(scope, "token"), scope["query_string"]
    ('s3cret', b'a=1')
    """
    found: str | None = None
    for name, value in cast("Iterable[tuple[bytes, bytes]]", scope.get("headers", ())):
        if name.lower() == b"authorization" and value[:7].lower() == b"bearer ":
            found = value[7:].strip().decode("latin-1")
    raw = cast("bytes", scope.get("query_string", b""))
    kept: list[bytes] = []
    for part in raw.split(b"&"):
        raw_key, _, raw_value = part.partition(b"=")
        key = unquote_plus(raw_key.decode("latin-1"))
        if key not in _SECRETS and key != field:
            kept.append(part)
        elif key == field and found is None:
            found = unquote_plus(raw_value.decode("latin-1"))
    if len(kept) < raw.count(b"&") + 1:
        scope["query_string"] = b"&".join(kept)
    return found


# Fields of a query that are secrets by their name: they are taken out, whether or not anybody wants them.
_SECRETS: Final = frozenset(("token", "access_token"))


def scope_of(target: str, headers: Iterable[tuple[str, str]], client: object, scheme: str) -> Scope:
    """What ASGI would have of a handshake that another server has taken.

    >>> scope_of("/a%20b?c=d", [("Host", "x")], None, "ws")["path"]
    '/a b'
    """
    path, _, query = target.partition("?")
    return {
        "type": "websocket",
        "path": unquote(path),
        "raw_path": path.encode("latin-1", "replace"),
        "query_string": query.encode("latin-1", "replace"),
        "headers": [(_name_of(name), value.encode("latin-1", "replace")) for name, value in headers],
        "client": client,
        "scheme": scheme,
    }


def _name_of(name: str) -> bytes:
    name = name.lower()
    return _NAMES.get(name) or name.encode("latin-1", "replace")


# Names that nearly every handshake has: one object for all of the connections, which keep theirs.
_NAMES: Final = {
    name: name.encode()
    for name in (
        "accept-encoding",
        "accept-language",
        "cache-control",
        "connection",
        "cookie",
        "host",
        "origin",
        "pragma",
        "sec-websocket-extensions",
        "sec-websocket-key",
        "sec-websocket-protocol",
        "sec-websocket-version",
        "upgrade",
        "user-agent",
    )
}
