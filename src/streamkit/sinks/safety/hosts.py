"""The names that a server answers to.

    app = AllowedHosts(app)                         # names of this machine, where the connection came over loopback
    app = AllowedHosts(app, ["chat.example"])       # these, and no other

A page can have its own name point at 127.0.0.1 after it was loaded (DNS rebinding). To the browser what answers there is then the
page's own origin, so neither Origin nor CORS helps; but the Host header that arrives is still the page's name. A server that
answers only to names of its own is safe from that.

Nothing else is decided by this header: who may do what follows from the path that the server was asked for
(`scope["path"]`), which no Host can change.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from ipaddress import ip_address
from typing import Final, TypeAlias, cast

from streamkit.errors import ConfigError
from streamkit.flow.plan import check_callable
from streamkit.sinks.asgi import Receive, Scope, Send
from streamkit.sinks.safety.origins import header_of, host_and_port
from streamkit.sinks.safety.refusing import refuse

__all__ = ["LOOPBACK_HOSTS", "AllowedHosts"]

App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK_HOSTS: Final = ("127.0.0.1", "localhost", "[::1]")
"""The names of this machine."""


class AllowedHosts:
    """An ASGI application in front of another, which answers to some names only; to all others with 403.

    Args:
        app: The application.
        hosts: The names, as they stand in `Host`: one without a port is good for every port. None allows `LOOPBACK_HOSTS`
            where the connection came in over a loopback address, and any name where it did not. A server behind a proxy on the
            same machine is asked over loopback for names of the outside: give them.

    Memory: none per request.
    Raises:
        ConfigError: no name at all, a wildcard, or what is no name.
        TypeError: a single str for a list, or names that are no str.

    >>> AllowedHosts(print, ["chat.example", "localhost:8000"])
    <AllowedHosts chat.example, localhost:8000>
    """

    def __init__(self, app: App, hosts: Iterable[str] | None = None) -> None:
        check_callable("AllowedHosts", app)
        if isinstance(hosts, str):
            raise TypeError(f"AllowedHosts(hosts=...) takes a list, and got one str: write [{hosts!r:.80}]")
        self._app = app
        self._loopback_only = hosts is None
        self._hosts = frozenset(_checked(host) for host in (LOOPBACK_HOSTS if hosts is None else hosts))
        if not self._hosts:
            raise ConfigError("AllowedHosts(hosts=[]) would answer nobody: name the hosts")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        guarded = scope["type"] in ("http", "websocket") and not (self._loopback_only and not _over_loopback(scope))
        if guarded and not self._allows(header_of(scope, b"host")):
            await refuse(scope, receive, send, 403, "unknown-host", "This server does not answer to that name.")
            return
        await self._app(scope, receive, send)

    def _allows(self, host: str | None) -> bool:
        asked = None if host is None else host_and_port(host)
        return asked is not None and (asked in self._hosts or (asked[0], None) in self._hosts)

    def __repr__(self) -> str:
        names = [name if port is None else f"{name}:{port}" for name, port in self._hosts]
        return f"<AllowedHosts {', '.join(sorted(names))}>"


def _checked(host: object) -> tuple[str, int | None]:
    if not isinstance(host, str):
        raise TypeError(f"AllowedHosts(hosts=...) takes names, got {type(host).__name__}")
    found = host_and_port(host)
    if found is None:
        raise ConfigError(f"AllowedHosts(hosts=...): {host!r:.120} is no host: a name or address, perhaps with a port, no wildcard")
    return found


def _over_loopback(scope: Scope) -> bool:
    """Whether the connection came in on an address of this machine alone; a server that does not say is taken for such."""
    server = cast("tuple[str, int | None] | None", scope.get("server"))
    if server is None:
        return True
    try:
        address = ip_address(server[0].partition("%")[0])
        # A socket for both kinds of address says of an IPv4 one ::ffff:127.0.0.1, which Python calls loopback from 3.13 on only.
        return (getattr(address, "ipv4_mapped", None) or address).is_loopback
    except ValueError:  # a name, or the path of a Unix socket
        return server[0] == "localhost"
