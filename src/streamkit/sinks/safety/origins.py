"""Whether the page that makes a request is one of ours: RFC 6454 origins, compared exactly.

A browser says in `Origin` which page asks, as `scheme://host` or `scheme://host:port`, in lower case and without a default port.
That text is compared as a whole. Nothing is searched in it, cut off it or matched by an ending: `https://good.example.evil.example`
begins with a good name and is somebody else's. `null` is what every sandboxed frame and local file says, so it is nobody's name.

    origin_allowed(origin, allowed, host)
        in the list                         yes
        the page came from this very host   yes, where `host` is given: http and https alike, as a proxy may end the TLS
        no Origin at all                    only if `missing`: no browser leaves it out of a WebSocket handshake or a POST
        anything else                       no

That a page came from the host which the request names proves nothing if names can be pointed here: see `hosts`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Final, cast

from streamkit.errors import ConfigError
from streamkit.sinks.asgi import Scope

__all__ = ["check_origins", "header_of", "host_and_port", "origin_allowed"]

# Hosts are what RFC 3986 has for registered names and bracketed addresses, in ASCII: an international name is written with xn--.
_HOST: Final = r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])"
_ORIGIN: Final = re.compile(rf"([A-Za-z][A-Za-z0-9+.-]*)://({_HOST})(?::([0-9]{{1,5}}))?")
_HOST_AND_PORT: Final = re.compile(rf"({_HOST})(?::([0-9]{{1,5}}))?")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_LARGEST_PORT: Final = 65_535


def origin_allowed(origin: str | None, allowed: Collection[str], host: str | None = None, *, missing: bool = False) -> bool:
    """Whether a request with this `Origin` may be served.

    Args:
        origin: The header's value, None if there was none (`header_of(scope, b"origin")`).
        allowed: Exact origins, as `check_origins` gives them.
        host: The request's `Host`: pages that came from there are allowed as well. None allows the list alone.
        missing: Whether a request without the header is allowed: one that no browser made.

    >>> allowed = check_origins("serve", ["https://good.example"])
    >>> [origin_allowed(one, allowed) for one in ("https://good.example", "https://good.example.evil.example", "null", None)]
    [True, False, False, False]
    >>> origin_allowed("https://shop.example", (), "shop.example"), origin_allowed("https://shop.example:444", (), "shop.example")
    (True, False)
    """
    if origin is None:
        return missing
    if origin in allowed and origin not in ("null", "*"):
        return True
    if host is None:
        return False
    page = _ORIGIN.fullmatch(origin)
    if page is None or page[1] not in _DEFAULT_PORTS:
        return False
    asked = host_and_port(host)
    if asked is None:
        return False
    # A proxy may pass the default port on in Host, where browsers leave it out of the origin.
    default = _DEFAULT_PORTS[page[1]]
    return (page[2], int(page[3] or default)) == (asked[0], asked[1] or default)


def check_origins(where: str, origins: Iterable[str]) -> frozenset[str]:
    """Origins as browsers send them: lower case, no default port.

    Raises:
        TypeError: a single str, or an item that is none.
        ConfigError: what is no origin: a path behind it, a wildcard, `null`, a port beyond 65535, a name beyond ASCII.

    >>> sorted(check_origins("Cors", ["https://App.example:443", "http://localhost:5173"]))
    ['http://localhost:5173', 'https://app.example']
    """
    if isinstance(origins, str):
        raise TypeError(f"{where}: origins is a list of origins, and got one str: write [{origins!r:.80}]")
    return frozenset([_checked(where, origin) for origin in origins])


def host_and_port(host: str) -> tuple[str, int | None] | None:
    """The name in lower case and the port of a `Host` header, None if it is none.

    >>> host_and_port("LocalHost:8000"), host_and_port("[::1]"), host_and_port("a b")
    (('localhost', 8000), ('[::1]', None), None)
    """
    found = _HOST_AND_PORT.fullmatch(host)
    if found is None:
        return None
    port = None if found[2] is None else int(found[2])
    return None if port is not None and port > _LARGEST_PORT else (found[1].lower(), port)


def header_of(scope: Scope, name: bytes) -> str | None:
    """A request header's value, None if there is none; values that came apart are joined with ", ", which no single one equals.

    >>> header_of({"headers": [(b"origin", b"https://a.example")]}, b"origin")
    'https://a.example'
    """
    found = [value for key, value in cast("Iterable[tuple[bytes, bytes]]", scope.get("headers", ())) if key.lower() == name]
    return b", ".join(found).decode("latin-1") if found else None


def _checked(where: str, origin: object) -> str:
    if not isinstance(origin, str):
        raise TypeError(f"{where}: an origin is a str, got {type(origin).__name__}")
    found = _ORIGIN.fullmatch(origin)
    if found is None or int(found[3] or 1) > _LARGEST_PORT:
        raise ConfigError(
            f"{where}: {origin!r:.120} is no origin: write scheme://host or scheme://host:port, with no path and no wildcard "
            "(a name beyond ASCII as xn--...; 'null' is what any local file says)"
        )
    scheme, host, port = found[1].lower(), found[2].lower(), found[3]
    return f"{scheme}://{host}" + ("" if port is None or int(port) == _DEFAULT_PORTS.get(scheme) else f":{int(port)}")
