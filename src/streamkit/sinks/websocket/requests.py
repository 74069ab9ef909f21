"""Who asks, as an application's functions see it: the handshake's headers, and the input of one start."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final, TypeVar, cast, overload
from urllib.parse import parse_qsl, unquote, unquote_plus

import msgspec

from streamkit.sinks.asgi_types import Scope
from streamkit.sinks.refusals import Refused

__all__ = ["SocketRequest", "scope_of", "token_of"]

T = TypeVar("T")


class SocketRequest:
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
    """

    def __init__(
        self, scope: Scope, *, owner: str | None = None, stream: str | None = None, body: bytes = b"null", token: str | None = None
    ) -> None:
        self.scope = scope
        self.token = token
        self.owner = owner
        self.stream = stream
        self._body = body

    @property
    def path(self) -> str:
        """See the class."""
        return str(self.scope.get("path", "/"))

    @cached_property
    def headers(self) -> Mapping[str, str]:
        """See the class."""
        found: dict[str, str] = {}
        for raw_name, raw_value in cast("Iterable[tuple[bytes, bytes]]", self.scope.get("headers", ())):
            name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
            found[name] = f"{found[name]}, {value}" if name in found else value
        return MappingProxyType(found)

    @cached_property
    def query(self) -> Mapping[str, str]:
        """See the class."""
        raw = cast("bytes", self.scope.get("query_string", b""))
        try:
            return MappingProxyType(dict(parse_qsl(raw.decode("latin-1"), keep_blank_values=True, max_num_fields=1000)))
        except ValueError:
            raise Refused(400, "The query has too many fields.") from None

    @property
    def input(self) -> Any:
        """See the class.

        Raises:
            Refused: 400, for what msgspec takes for no JSON.
        """
        return self.json()

    @overload
    def json(self, /) -> Any: ...  # JSON has no type that a checker could know
    @overload
    def json(self, type: type[T], /) -> T: ...
    def json(self, type: Any = Any, /) -> Any:
        """The input, of a type that msgspec knows (a Struct, a dataclass, `dict[str, int]` ...).

        Raises:
            Refused: 400, where it is of another shape.

        >>> SocketRequest({}, body=b'{"prompt": "Hi"}').json(dict[str, str])
        {'prompt': 'Hi'}
        """
        try:
            return msgspec.json.decode(self._body, type=type)
        except msgspec.ValidationError as error:
            raise Refused(400, f"The input has not the right shape: {error}.") from None
        except (msgspec.DecodeError, ValueError, RecursionError):
            raise Refused(400, "The input is not JSON.") from None

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
        "headers": [(name.lower().encode("latin-1", "replace"), value.encode("latin-1", "replace")) for name, value in headers],
        "client": client,
        "scheme": scheme,
    }
