"""One request or WebSocket that was let in: what is known of it, and how it is told to end.

`Connections` makes one for each and leaves it in the ASGI scope, where whatever answers the request finds it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Final

from streamkit.flow.plan import check_callable
from streamkit.sinks.asgi_types import Scope, Send
from streamkit.sinks.failures import LOGGER
from streamkit.sinks.life.draining import Drain
from streamkit.sinks.life.transports import transport_behind

__all__ = ["Connection", "connection_in", "put_connection"]

_KEY: Final = "streamkit.connection"


class Connection:
    """One request or WebSocket that was let in.

    Attributes:
        id: Of this connection, in this process.
        address: The client's, or None where the server knows none.
        key: Whose it is, as the application says; None for nobody's.
        protocol: "http", "websocket", or whatever `admit` was told.
        path: What was asked for.
        opened_at: When, in Unix seconds.
        send_timeout: Seconds after which a client that takes nothing is given up; None for never.
        wire: The `send` that this layer was called with, behind which the client is; None for what is no ASGI.

    Memory: its fields, and the callbacks of `on_drain`.
    """

    __slots__ = (
        "_callbacks",
        "_cut",
        "_drain",
        "address",
        "id",
        "key",
        "opened_at",
        "path",
        "protocol",
        "send_timeout",
        "told",
        "wire",
    )

    def __init__(
        self,
        drain: Drain,
        *,
        id: str,
        address: str | None,
        key: str | None,
        protocol: str,
        path: str,
        send_timeout: float | None,
        cut: Callable[[], None] | None,
    ) -> None:
        self.id = id
        self.address = address
        self.key = key
        self.protocol = protocol
        self.path = path
        self.opened_at = time.time()
        self.send_timeout = send_timeout
        self.told = False
        self.wire: Send | None = None
        self._drain = drain
        self._cut = cut
        self._callbacks: tuple[Callable[[], None], ...] = ()

    def on_drain(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Have `callback` called, once and in the event loop, when this connection is to end; what is returned takes it back.

        It may not wait: it says so to whatever serves the connection, which tells its client, closes its source and leaves. On a
        connection that has been told already it is called before this returns.
        """
        check_callable("on_drain", callback)
        if self.told:
            callback()
            return _nothing_to_take_back
        self._callbacks = (*self._callbacks, callback)
        return partial(self._take_back, callback)

    def _take_back(self, callback: Callable[[], None]) -> None:
        self._callbacks = tuple(other for other in self._callbacks if other is not callback)

    @property
    def draining(self) -> bool:
        """Whether the process has been told to stop, and lets nothing new in."""
        return self._drain.state != "open"

    def at_cut(self, callback: Callable[[], None]) -> None:
        """Have `callback` called when those that have not ended are broken off, also if this connection has left by then."""
        self._drain.at_cut(callback)

    def end(self) -> None:
        """Tell it; see `on_drain`."""
        self.told = True
        callbacks, self._callbacks = self._callbacks, ()
        for callback in callbacks:
            try:
                callback()
            except Exception:  # the others are told all the same
                LOGGER.exception("a callback of on_drain failed")

    def cut(self) -> None:
        """Break it off."""
        if self.wire is not None:
            transport_behind(self.wire).break_off()
        if self._cut is not None:
            self._cut()

    def __repr__(self) -> str:
        return f"<Connection {self.id} {self.protocol} {self.path!r:.80} of {self.key!r:.80} at {self.address}>"


def connection_in(scope: Scope) -> Connection | None:
    """What a `Connections` around the application knows of this request, or None without one.

    >>> connection_in({"type": "http"}) is None
    True
    """
    found = scope.get(_KEY)
    return found if isinstance(found, Connection) else None


def put_connection(scope: Scope, connection: Connection) -> None:
    """Leave it for `connection_in`. A copy of the scope would be as much memory as all the rest of that layer."""
    scope[_KEY] = connection


def _nothing_to_take_back() -> None:
    """The callback has been called."""
