"""What a client asked for, as an application's functions read it: the headers, the query, and what was sent as JSON.

Under `ChatRequest` and `SocketRequest`. Nothing is read before somebody asks for it, and everything once; what cannot be read is
`Refused`, and so becomes the client's answer wherever the application looks for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar, Final, TypeVar, cast, overload
from urllib.parse import parse_qsl

import msgspec

from streamkit.sinks.asgi_types import Scope
from streamkit.sinks.refusals import Refused

__all__ = ["RequestParts"]

T = TypeVar("T")

_MOST_FIELDS: Final = 1000


class RequestParts:
    """One request: what ASGI has of it, and the bytes that came with it.

    Attributes:
        scope: As ASGI has it.
        headers: By name in small letters; what came several times is joined by ", ".
        query: The fields of the query; of several of one name the last.

    >>> parts = RequestParts({"headers": [(b"Accept", b"a"), (b"accept", b"b")], "query_string": b"q=%20x"}, b"null")
    >>> parts.headers["accept"], parts.query["q"], parts.json()
    ('a, b', ' x', None)
    """

    _sent: ClassVar[str] = "body"
    """What refusals call the bytes."""

    def __init__(self, scope: Scope, body: bytes) -> None:
        self.scope = scope
        self._body = body

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
        """See the class.

        Raises:
            Refused: 400, for more than a thousand fields.
        """
        raw = cast("bytes", self.scope.get("query_string", b""))
        try:
            return MappingProxyType(dict(parse_qsl(raw.decode("latin-1"), keep_blank_values=True, max_num_fields=_MOST_FIELDS)))
        except ValueError:
            raise Refused(400, "The query has too many fields.") from None

    @overload
    def json(self, /) -> Any: ...  # JSON has no type that a checker could know
    @overload
    def json(self, type: type[T], /) -> T: ...
    def json(self, type: Any = Any, /) -> Any:
        """What was sent, as JSON: of any shape, or of a type that msgspec knows (a Struct, a dataclass, `dict[str, int]` ...) or
        that is a pydantic model.

        Raises:
            Refused: 400, where it is none, or of another shape.
            TypeError: neither msgspec nor pydantic reads this type from JSON.

        >>> RequestParts({}, b'{"prompt": "Hi"}').json(dict[str, str])
        {'prompt': 'Hi'}
        """
        try:
            return msgspec.json.decode(self._body, type=type, dec_hook=_read_model)
        except NotImplementedError:
            name = getattr(type, "__name__", type)
            raise TypeError(f"json({name}) takes a type that msgspec or pydantic reads from JSON") from None
        except msgspec.ValidationError as error:
            raise Refused(400, f"The {self._sent} has not the right shape: {error}.") from None
        except (msgspec.DecodeError, ValueError, RecursionError):
            raise Refused(400, f"The {self._sent} is not JSON.") from None


def _read_model(cls: type[Any], raw: object) -> object:
    """What msgspec cannot read itself; the text of a ValueError is what it says of the shape."""
    if not hasattr(cls, "__pydantic_validator__"):
        raise NotImplementedError
    from pydantic import ValidationError  # the class is of it, so it is there

    try:
        # Text again, because pydantic reads JSON otherwise than Python's values: a date in a strict model, say.
        return cls.__pydantic_validator__.validate_json(msgspec.json.encode(raw))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "$"
        raise ValueError(f"{first['msg']:.200} in `{place:.200}`") from None
