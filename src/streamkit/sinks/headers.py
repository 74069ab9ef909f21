"""Response headers from users: checked once, when a response is made."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias, cast

from streamkit.errors import ConfigError

__all__ = ["HeadersLike", "merge_headers", "raw_headers"]

HeadersLike: TypeAlias = Mapping[str, str] | Iterable[tuple[str, str]]

# RFC 9110, section 5.6.2.
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

# They say how a message travels, which is the server's to know; HTTP/2 forbids them.
_HOP_BY_HOP: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade", b"content-length"}
)


def raw_headers(headers: HeadersLike | None) -> list[tuple[bytes, bytes]]:
    """Headers as ASGI wants them: lower-case names, bytes.

    Raises:
        ConfigError: a name that is no token; CR, LF, NUL or another control character in a value, or one
            beyond Latin-1; a header that describes the connection or the length.
        TypeError: what is no mapping and no pairs, or holds something else than str.

    >>> raw_headers({"X-Answer": "42"})
    [(b'x-answer', b'42')]
    """
    if headers is None:
        return []
    pairs = cast("Mapping[str, str]", headers).items() if isinstance(headers, Mapping) else headers
    try:
        return [_checked(name, value) for name, value in pairs]
    except ValueError as error:
        if isinstance(error, ConfigError):
            raise
        raise TypeError("headers are a mapping, or pairs of a name and a value") from None


def merge_headers(ours: Iterable[tuple[bytes, bytes]], theirs: HeadersLike | None) -> list[tuple[bytes, bytes]]:
    """Our headers, each unless the user set it, then the user's.

    >>> merge_headers([(b"a", b"1"), (b"b", b"2")], {"B": "3"})
    [(b'a', b'1'), (b'b', b'3')]
    """
    users = raw_headers(theirs)
    if not users:
        return list(ours)
    taken = {name for name, _ in users}
    return [header for header in ours if header[0] not in taken] + users


def _checked(name: object, value: object) -> tuple[bytes, bytes]:
    if not isinstance(name, str) or not isinstance(value, str):
        raise TypeError(f"a header is a str and its value is one, got {name!r:.80}: {type(value).__name__}")
    if not _TOKEN.fullmatch(name):
        raise ConfigError(f"{name!r:.80} is no header name")
    if _CONTROL.search(value):
        raise ConfigError(f"the value of header {name!r} holds a line end or another control character")
    raw = name.lower().encode("ascii")
    if raw in _HOP_BY_HOP:
        raise ConfigError(f"the header {name!r} is the server's to write: a stream has no length, and HTTP/2 forbids the rest")
    try:
        return raw, value.encode("latin-1")
    except UnicodeEncodeError:
        raise ConfigError(f"the value of header {name!r} holds characters beyond Latin-1: encode them, e.g. by percent") from None
