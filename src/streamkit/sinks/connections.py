"""The connections of a process: how many there are, whose they are, who is refused, and how they end.

    connections = Connections(total=5000, per_address=50, requests=60, window=60.0)
    app = connections.wrap(app)            # any ASGI application; the outermost layer

For each HTTP request and WebSocket, in this order:

    GET /healthz, /readyz         answered here: is the process alive, and may it be sent more
    the server stops              503 draining
    too many of all               503 overloaded
    too many of this address      429 rate-limited
    `key(scope)`                  may raise Refused
    too many of this key          429
    too many requests             429
    otherwise                     it is counted, and the application finds it by `connection_in(scope)`

Each refusal has `retry-after` and a JSON body; how a WebSocket is refused is told in `streamkit.sinks.refusals`.

When the process gets SIGTERM, `/readyz` says so first; with `notice`, all goes on as before for so many seconds, so that a load
balancer sees it, and the server itself is only told afterwards. Then nothing new is let in. What runs has `drain` seconds to end by
itself. Then whoever asked for it by `on_drain` is told: our responses end with "draining" and the last id that they gave, and close
their sources. Who has not left half a second later is cancelled, and its connection broken off. So the process is through
after `notice`, `drain` and one second. See `streamkit.sinks.life.draining`.
"""

from __future__ import annotations

import inspect
import itertools
import secrets
from collections.abc import Awaitable, Callable, Generator, Iterable
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, Self, TypeAlias, cast

from streamkit.dialects.outcomes import MESSAGES
from streamkit.errors import ConfigError
from streamkit.flow.clock import Clock, current_clock
from streamkit.flow.plan import check_callable, check_count, check_seconds
from streamkit.flow.tasks import Backend, Timer, current_backend
from streamkit.sinks.asgi_types import Message, Receive, Scope, Send
from streamkit.sinks.failures import LOGGER
from streamkit.sinks.life.addresses import networks, peer_address
from streamkit.sinks.life.connection import Connection, connection_in, put_connection
from streamkit.sinks.life.draining import GRACE, Drain
from streamkit.sinks.life.interrupts import Interrupt, interrupt_for
from streamkit.sinks.life.limits import Limits
from streamkit.sinks.life.stop_signals import StopSignals
from streamkit.sinks.life.transports import transport_behind
from streamkit.sinks.refusals import Refused, refuse, send_json

__all__ = ["App", "Connection", "Connections", "KeyOf", "connection_in"]

App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
KeyOf: TypeAlias = Callable[[Scope], "str | Awaitable[str | None] | None"]
"""Whose a request is, from its ASGI scope; None for nobody's. May be a coroutine function, and may raise `Refused`."""

_LONGEST_KEY: Final = 200


class Connections:
    """Counts connections, refuses those that are too many, and ends them all when the process stops: see the top of this module.

    Args:
        total: Most at one time; None for any number.
        per_key: Most at one time of one key.
        per_address: Most at one time of one address (of IPv6, of one /64 network).
        requests: Most in any `window` seconds of one key, or, for nobody's, of one address.
        window: Seconds.
        key: Called with the ASGI scope: whose a request is, as text of at most 200 characters. None for nobody's; what it raises as
            `Refused` is the answer.
        retry_after: Seconds that a client is asked to wait where nobody knows when there will be room.
        proxies: Networks ("10.0.0.0/8") whose `X-Forwarded-For` is believed; nobody's, unless told.
        drain: When the process is told to stop (SIGTERM, SIGINT): seconds that open connections have to end by themselves before
            they are told; 0 tells them at once, None leaves signals alone.
        notice: Before that, seconds after SIGTERM in which only `ready` knows: requests are served as before, and the server does
            not close yet. SIGINT has none, and a second signal ends it. Servers that hear signals by their event loop close at
            once; the log says so.
        send_timeout: Seconds after which a client that takes nothing is given up by our responses: its source is closed and the
            connection broken off. Half of it where its kernel takes what it does not read, and that can be seen (see
            `streamkit.sinks.life.windows`). None waits for ever.
        health, ready: Paths that are answered here; None for none. `health` is 200 as long as the process answers at all,
            `ready` is 503 once it is told to stop.

    Attributes:
        refused: How many were refused so far, by the code that they were told.

    It belongs to one event loop at a time. As ASGI's outermost layer it is told of the server's shutdown; used without one
    (`admit` alone), close it: `async with connections:`.

    Memory: a `Connection` for each that is open; the counts of `streamkit.sinks.life.limits`.
    Raises:
        ConfigError, TypeError: arguments that cannot work, at the call.

    >>> connections = Connections(total=1)
    >>> async def main():
    ...     with connections.admit(protocol="grpc", path="/chat"):
    ...         try:
    ...             with connections.admit():
    ...                 return "both"
    ...         except Refused as refused:
    ...             return refused.status, refused.code
    >>> run(main())
    (503, 'overloaded')
    """

    def __init__(
        self,
        *,
        total: int | None = None,
        per_key: int | None = None,
        per_address: int | None = None,
        requests: int | None = None,
        window: float = 60.0,
        key: KeyOf | None = None,
        retry_after: float = 5.0,
        proxies: Iterable[str] = (),
        drain: float | None = GRACE,
        notice: float = 0.0,
        send_timeout: float | None = 30.0,
        health: str | None = "/healthz",
        ready: str | None = "/readyz",
    ) -> None:
        counts = {"total": total, "per_key": per_key, "per_address": per_address, "requests": requests}
        for name, count in counts.items():
            if count is not None:
                check_count("Connections", name, count, 1)
        waits = {"window": window, "retry_after": retry_after, "send_timeout": send_timeout, "drain": drain}
        for name, seconds in waits.items():
            if seconds is not None and not (name == "drain" and seconds == 0 and not isinstance(seconds, bool)):
                _check_finite(name, seconds)
        if notice != 0 or isinstance(notice, bool):
            _check_finite("notice", notice)
        if notice and drain is None:
            raise ConfigError(f"Connections(notice={notice}, drain=None): without a drain, signals are left alone")
        if key is not None:
            check_callable("Connections(key=...)", key)
        for name, path in {"health": health, "ready": ready}.items():
            if path is not None and not str(path).startswith("/"):
                raise ConfigError(f"Connections({name}={path!r}): a path begins with a slash")
        self._limits = Limits(
            total=total, per_key=per_key, per_address=per_address, requests=requests, window=window, retry_after=retry_after
        )
        self._key = key
        self._retry_after = retry_after
        self._proxies = networks(proxies)
        self._seconds = drain
        self._notice = notice
        self._noticed: Timer | None = None  # rings when the notice is over
        self._send_timeout = send_timeout
        self._health = health
        self._ready = ready
        self._drain = Drain()
        self._signals: StopSignals | None = None
        self._loop: object = None
        self._clock: Clock | None = None
        self._name = secrets.token_hex(4)
        self._numbers = itertools.count(1)
        self.refused: dict[str, int] = {}

    # -- what there is

    @property
    def open(self) -> tuple[Connection, ...]:
        """Those that are open, in the order of coming."""
        return tuple(cast("Iterable[Connection]", self._drain.members))

    def __len__(self) -> int:
        return len(self._drain.members)

    def __bool__(self) -> bool:
        return True

    @property
    def draining(self) -> bool:
        """Whether nothing new is let in."""
        return self._drain.state != "open"

    def __repr__(self) -> str:
        return f"<Connections {len(self)} open{', draining' if self.draining else ''}>"

    # -- in front of an application

    def wrap(self, app: App) -> App:
        """The same application behind this layer. Several may be behind one.

        Starlette takes it as a middleware, `Middleware(connections.wrap)`; its lifespan is then not told here.
        """
        check_callable("wrap", app)

        async def behind_connections(scope: Scope, receive: Receive, send: Send) -> None:
            kind, outer = scope["type"], connection_in(scope)
            if kind == "lifespan":
                await self._live(app, scope, receive, send)
                return
            if kind not in ("http", "websocket") or outer in self._drain.members:  # the second: this very layer stands here twice
                await app(scope, receive, send)
                return
            interrupt = interrupt_for(self._here())
            connection = await self._let_in(scope, receive, send, interrupt)
            if connection is None:
                return
            # Here and not in a method of its own: this frame is there as long as the connection is, ten thousand times.
            put_connection(scope, connection)
            # The application asks this one when it is to end: it hears of the other's drain, too.
            take_back = None if outer is None else outer.on_drain(connection.end)
            try:
                with interrupt:
                    await app(scope, receive, send)
            finally:
                if take_back is not None:
                    take_back()
                if outer is not None:
                    put_connection(scope, outer)
                self._leave(connection)
                if connection.told:
                    # What it said last may lie here for ever, and hold up the server.
                    self._drain.at_cut(transport_behind(send).break_off_if_stuck)

        return behind_connections

    async def _let_in(self, scope: Scope, receive: Receive, send: Send, interrupt: Interrupt) -> Connection | None:
        """The connection of this request; None for one that is answered already: it asked how this process is, or was refused."""
        if scope["type"] == "http" and await self._answer_health(scope, send):
            return None
        try:
            connection = await self._admitted(scope, interrupt.fire)
        except Refused as refused:
            self._count(refused)
            await refuse(refused, scope, receive, send)
            return None
        connection.wire = send
        return connection

    async def _admitted(self, scope: Scope, cut: Callable[[], None]) -> Connection:
        address = peer_address(scope, self._proxies)
        self._enter(address)
        try:
            key = None
            if self._key is not None:
                found: Any = self._key(scope)
                key = _checked_key(await found if inspect.isawaitable(found) else found)
                self._check_open()  # it may have taken its time
            return self._claimed(address, key, str(scope["type"]), str(scope.get("path", "")), cut)
        except BaseException:
            self._limits.leave(None, address)
            raise

    async def _answer_health(self, scope: Scope, send: Send) -> bool:
        path = scope.get("path")
        if path is None or path not in (self._health, self._ready) or scope.get("method") not in ("GET", "HEAD"):
            return False
        self._here()
        leaving = self.draining or self._noticed is not None
        stops = leaving and path == self._ready
        headers = [(b"retry-after", b"%d" % max(1, round(self._retry_after)))] if stops else []
        await send_json(503 if stops else 200, {"status": "draining" if leaving else "ok"}, send, headers=headers)
        return True

    async def _live(self, app: App, scope: Scope, receive: Receive, send: Send) -> None:
        async def watched_receive() -> Message:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self._here()
            elif message["type"] == "lifespan.shutdown":
                await self.aclose()
            return message

        await app(scope, watched_receive, send)

    # -- without ASGI

    @contextmanager
    def admit(
        self,
        *,
        address: str | None = None,
        key: str | None = None,
        protocol: str = "",
        path: str = "",
        cut: Callable[[], None] | None = None,
    ) -> Generator[Connection]:
        """Count one connection of another kind for as long as the block lasts: of aiohttp, `websockets`, gRPC.

        Args:
            address, key, protocol, path: See `Connection`.
            cut: Called when it is to be broken off, because it had been told half a second before and is still here.

        Raises:
            Refused: there is no room, or the process stops.
            TypeError, ConfigError: a key that is none.
        """
        self._here()
        try:
            self._enter(address)
            try:
                connection = self._claimed(address, _checked_key(key), protocol, path, cut)
            except BaseException:
                self._limits.leave(None, address)
                raise
        except Refused as refused:
            self._count(refused)
            raise
        try:
            yield connection
        finally:
            self._leave(connection)

    # -- the end

    async def drain(self, timeout: float | None = None) -> None:  # noqa: ASYNC109  # it ends streams, and cancels nothing here
        """Let nothing new in, and wait until all have left: those that are still here after `timeout` seconds are told to end.

        Args:
            timeout: Seconds; 0 tells them at once, None takes those that the object was made with.

        It takes `timeout` and one second at most; a source that still runs then is named in the log.
        Cancellation: nobody waits any more; what was begun goes on.
        Raises:
            ConfigError, TypeError: a timeout that is none.
        """
        if timeout is None:
            timeout = GRACE if self._seconds is None else self._seconds
        elif timeout != 0 or isinstance(timeout, bool):
            _check_finite("timeout", timeout)
        self._here()
        self._begin(timeout)
        await self._drain.finish()

    async def aclose(self) -> None:
        """Watch for signals no more. Connections that are open stay: `drain` ends them."""
        signals, self._signals = self._signals, None
        self._seconds = None
        self._end_notice()
        if signals is not None:
            signals.leave()
        if not self._drain.members:
            self._drain.stop()

    async def __aenter__(self) -> Self:
        self._here()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    def _begin(self, seconds: float) -> None:
        assert self._clock is not None
        if self._drain.state == "open":
            LOGGER.info("the server stops: %d connections are open", len(self))
        self._end_notice()
        self._drain.begin(seconds, self._clock)
        if self._signals is not None:
            self._signals.take()

    def _begin_notice(self) -> None:
        assert self._clock is not None
        if self._signals is not None and not self.draining:
            LOGGER.info("the server stops in %g s: readiness says so, and all else goes on", self._notice)
            self._noticed = self._clock.call_at(self._clock.now() + self._notice, self._signals.take)

    def _end_notice(self) -> None:
        if self._noticed is not None:
            self._noticed.cancel()
            self._noticed = None

    # -- counting

    def _here(self) -> Backend:
        """The running event loop, if it is this object's."""
        backend = current_backend()
        if self._loop is not backend.loop:
            if self._drain.members:
                raise ConfigError("this Connections has open connections in another event loop: make one for each")
            self._loop, self._clock = backend.loop, current_clock(backend)
            signals, self._signals = self._signals, None
            if signals is not None:
                signals.leave()
        if self._signals is None and (seconds := self._seconds) is not None:
            self._signals = StopSignals(
                backend,
                lambda: self._begin(seconds),
                lambda: self._drain.holding,
                notice=self._begin_notice if self._notice else None,
            )
            self._drain.release = self._signals.release
        return backend

    def _check_open(self) -> None:
        if self.draining:
            raise Refused(503, MESSAGES["draining"], code="draining", retry_after=self._retry_after)

    def _enter(self, address: str | None) -> None:
        self._check_open()
        self._limits.enter(address)

    def _claimed(
        self, address: str | None, key: str | None, protocol: str, path: str, cut: Callable[[], None] | None
    ) -> Connection:
        assert self._clock is not None
        self._limits.claim(key, address, self._clock.now())
        connection = Connection(
            self._drain,
            id=f"{self._name}-{next(self._numbers)}",
            address=address,
            key=key,
            protocol=protocol,
            path=path,
            send_timeout=self._send_timeout,
            cut=cut,
        )
        self._drain.join(connection, holds=protocol == "websocket")
        return connection

    def _leave(self, connection: Connection) -> None:
        self._drain.leave(connection)
        self._limits.leave(connection.key, connection.address)

    def _count(self, refused: Refused) -> None:
        self.refused[refused.code] = self.refused.get(refused.code, 0) + 1


def _checked_key(key: object) -> str | None:
    if key is not None and not isinstance(key, str):
        raise TypeError(f"Connections(key=...) gives a str or None, got {type(key).__name__}")
    if key is not None and not 1 <= len(key) <= _LONGEST_KEY:
        raise ConfigError(f"a key has 1 to {_LONGEST_KEY} characters, and this one has {len(key)}")
    return key


def _check_finite(name: str, seconds: object) -> None:
    check_seconds("Connections", name, seconds)
    if seconds == float("inf"):
        raise ConfigError(f"Connections({name}=inf): None is for ever")
