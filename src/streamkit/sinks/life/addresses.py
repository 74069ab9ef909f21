"""Whose address a request came from: that of the connection, or what a proxy in front of it says, if the proxy is trusted.

`X-Forwarded-For` is a line of text that anybody can send. It is read from the right, where the nearest proxy has written, as long
as the address that told it is one of the trusted networks; the first one that is not is the client.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import TypeAlias, cast

from streamkit.errors import ConfigError
from streamkit.sinks.asgi_types import Scope

__all__ = ["Network", "networks", "peer_address"]

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

# A chain of more proxies than this is nobody's.
_MOST_HOPS = 32


def networks(proxies: Iterable[str]) -> tuple[Network, ...]:
    """Networks by their names: "10.0.0.0/8", or one address.

    Raises:
        ConfigError: what is none; TypeError: a single string, which would be read letter by letter.
    """
    if isinstance(proxies, str):
        raise TypeError(f"proxies={proxies!r}: a list of networks is wanted, such as ['10.0.0.0/8']")
    found: list[Network] = []
    for proxy in proxies:
        try:
            found.append(ipaddress.ip_network(proxy))
        except ValueError as error:
            raise ConfigError(f"proxies: {proxy!r:.80} is no network, such as '10.0.0.0/8' ({error})") from None
    return tuple(found)


def peer_address(scope: Scope, trusted: Sequence[Network] = ()) -> str | None:
    """The client's address, or None where the server knows none (a Unix socket).

    >>> scope = {"client": ("10.0.0.1", 5), "headers": [(b"x-forwarded-for", b"198.51.100.9, 192.0.2.7")]}
    >>> peer_address(scope), peer_address(scope, networks(["10.0.0.0/8"]))
    ('10.0.0.1', '192.0.2.7')
    """
    client = cast("Sequence[object] | None", scope.get("client"))
    address = str(client[0]) if client else None
    if not trusted or address is None or not _is_in(address, trusted):
        return address
    headers = cast("Iterable[tuple[bytes, bytes]]", scope.get("headers", ()))
    line = b",".join(value for name, value in headers if name == b"x-forwarded-for").decode("latin-1")
    for hop in reversed(line.rsplit(",", _MOST_HOPS)[-_MOST_HOPS:]):
        told = _parsed(hop)
        if told is None:  # nothing, or nonsense: what stands to its left was told by nobody
            break
        address = str(told)
        if not _is_in(address, trusted):
            break
    return address


def _is_in(address: str, trusted: Sequence[Network]) -> bool:
    parsed = _parsed(address)
    return parsed is not None and any(parsed in network for network in trusted if network.version == parsed.version)


def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    text = text.strip()
    if text.startswith("["):  # with a port, as some write it
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        parsed = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return parsed.ipv4_mapped or parsed if isinstance(parsed, ipaddress.IPv6Address) else parsed
