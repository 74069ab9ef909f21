"""WebSockets for an application, from one function that gives the answers.

    async def answer(request):
        return model.stream(request.input["prompt"])

    app = WebSocketRoutes(answer)                                 # ASGI: uvicorn module:app
    other_app.mount("/chat", WebSocketRoutes(answer))             # Starlette, FastAPI

    routes = WebSocketRoutes(answer)                              # the `websockets` library
    websockets.serve(routes.serve, host, port, **routes.websockets_options())

    app.router.add_get("/chat", routes.serve)                     # aiohttp

What happens before the first message: the page's origin is looked at, and `owner` says who it is. A client that is refused is not
accepted: it gets the status of the refusal, 403 where it is not signed in. Only the `websockets` library accepts first, unless it
has `websockets_options`: there it is a close code, 4401 for who is not signed in.

Behind a proxy that ends the connection to the browser, `Host` must be the one that the browser named, or its origin be allowed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias, TypedDict, Unpack, cast, overload
from weakref import WeakKeyDictionary

import anyio

from streamkit import extras
from streamkit.dialects.websocket.messages import SUBPROTOCOL
from streamkit.errors import ConfigError
from streamkit.flow.plan import check_callable, check_seconds
from streamkit.hub.hub import Hub
from streamkit.hub.producing import OnDisconnect
from streamkit.sinks.asgi_types import Receive, Scope, Send
from streamkit.sinks.connections import connection_in
from streamkit.sinks.life.draining import standing_drain
from streamkit.sinks.refusals import Refused, refuse
from streamkit.sinks.websocket.admission import Admission, Admitted, ExpiryOf, OwnerOf
from streamkit.sinks.websocket.asgi_socket import AsgiSocket
from streamkit.sinks.websocket.generations import Generations, SocketHandler
from streamkit.sinks.websocket.limits import Limits, Slow
from streamkit.sinks.websocket.requests import scope_of
from streamkit.sinks.websocket.session import Session
from streamkit.sinks.websocket.sockets import Socket, SocketClosed

if TYPE_CHECKING:
    from aiohttp import web
    from websockets.asyncio.server import ServerConnection
    from websockets.http11 import Request, Response

__all__ = ["AsgiConnection", "Options", "WebSocketRoutes", "serve"]

AsgiConnection: TypeAlias = tuple[Scope, Receive, Send]
"""What an ASGI application is called with."""

# A close frame has two bytes for its code, and so many for its reason (RFC 6455, section 5.5).
_LONGEST_REASON: Final = 123


class Options(TypedDict, total=False):
    """What `WebSocketRoutes` takes beside a handler and a hub; see there."""

    origins: Iterable[str] | None
    allow_missing_origin: bool
    owner: OwnerOf | None
    until: ExpiryOf | None
    token_in_query: str | None
    on_disconnect: OnDisconnect
    ttl: float | None
    slow: Slow
    max_pending_bytes: int
    ack_window: int | None
    max_message_bytes: int
    max_messages_per_second: int
    max_streams: int
    max_refusals: int
    stall_timeout: float
    silence: float | None
    heartbeat: float
    close_timeout: float


class WebSocketRoutes:
    """Answers over WebSockets: see the top of this module, and `streamkit.dialects.websocket.messages` for what is said there.

    Args:
        handler: Called with the `SocketRequest` of each start, whose `input` is what the client sent; gives the answer's stream, or
            anything that `sk.stream` takes. `Refused` is told to the client, other errors by their code.
        hub: Where the streams are; None makes one, which `aclose` and the server's shutdown close.
        origins: Exact origins of pages that may connect, beside those of the host that was asked. None lets every page in.
        allow_missing_origin: Whether a client may come without `Origin`: no browser does, programs may.
        owner: Called with the handshake: whose it is, None for nobody's. `Refused(401, ...)` keeps it out. May be a coroutine
            function, as `until` may.
        until: Called with the handshake: when its sign-in is over, in Unix seconds, or None. Then its streams end as
            "unauthorized", and it is closed with 4401; the answers go on.
        token_in_query: A field of the address from which `request.token` is taken if there is no `Authorization` header. None
            takes it from nowhere else. Fields called "token" and "access_token" are taken out of the scope in any case.
        on_disconnect: Whether an answer goes on when its readers have left, or ends as cancelled with the last one.
        ttl: Seconds that an answer is kept after its end; the hub's unless told.
        slow: What a client gets that reads slowly, once more than `max_pending_bytes` wait for it: "send" (all of it, later),
            "coalesce" (what it missed joined), "drop" (the newest delta and a `Gap`), "disconnect" (close code 1013).
        max_pending_bytes: Bytes in this process that wait for one client before `slow` counts.
        ack_window: Most bytes of a stream that were sent and not acknowledged by the client; None asks for no acknowledgements.
        max_message_bytes: Of one message of the client: 1009.
        max_messages_per_second: Of the client; as many again at once, or `max_streams` if that is more: 1008. Acknowledgements that
            were asked for do not count.
        max_streams: Most that one connection reads at once.
        max_refusals: Messages of one connection that may be refused before it is closed: 1008.
        stall_timeout: Seconds that a message may wait until the client takes something: 1013.
        silence: Seconds without any message of the client after which it is closed, for clients that send `ping`; None waits.
        heartbeat: Seconds between the pings of aiohttp, and of `websockets_options`; ASGI servers have their own.
        close_timeout: Seconds for the closing handshake; then the connection is dropped.

    Attributes:
        hub: Where the streams are.

    When the process is told to stop (SIGTERM), clients are told "draining" with their tokens and closed with 1001, as
    `streamkit.sinks.life.draining` has it; a `Connections` around the application says when.

    Memory: per connection `max_pending_bytes` and a message, a task per stream that it reads, and the server's own.
    Cancellation: of a connection's task ends it; what becomes of its answers says `on_disconnect`.
    Raises:
        ConfigError, TypeError: arguments that cannot work, at the call.

    >>> WebSocketRoutes(lambda request: ["Hello, ", request.input["name"]])
    <WebSocketRoutes of <lambda>, 0 open>
    """

    _session: type[Session] = Session

    def __init__(
        self,
        handler: SocketHandler,
        hub: Hub | None = None,
        *,
        origins: Iterable[str] | None = (),
        allow_missing_origin: bool = False,
        owner: OwnerOf | None = None,
        until: ExpiryOf | None = None,
        token_in_query: str | None = None,
        on_disconnect: OnDisconnect = "continue",
        ttl: float | None = None,
        slow: Slow = "send",
        max_pending_bytes: int = 64 * 1024,
        ack_window: int | None = None,
        max_message_bytes: int = 1 << 20,
        max_messages_per_second: int = 100,
        max_streams: int = 16,
        max_refusals: int = 32,
        stall_timeout: float = 30.0,
        silence: float | None = None,
        heartbeat: float = 20.0,
        close_timeout: float = 5.0,
    ) -> None:
        where = "WebSocketRoutes"
        check_callable(f"{where}(handler=...)", handler)
        if on_disconnect not in ("continue", "cancel"):
            raise ConfigError(f"on_disconnect={on_disconnect!r} is neither 'continue' nor 'cancel'")
        if hub is not None and not isinstance(hub, Hub):  # pyright: ignore[reportUnnecessaryIsInstance]  # whoever has no type checker
            raise TypeError(f"{where}(hub=...) takes a Hub, got {type(hub).__name__}")
        for name, seconds in (("ttl", ttl), ("heartbeat", heartbeat)):
            if seconds is not None:
                check_seconds(where, name, seconds)
        self._admission = Admission(where, origins, allow_missing_origin, owner, until, token_in_query)
        self._limits = Limits(
            slow,
            max_pending_bytes,
            ack_window,
            max_message_bytes,
            max_messages_per_second,
            max_streams,
            max_refusals,
            stall_timeout,
            silence,
            close_timeout,
        )
        self._limits.check(where)
        self.hub = Hub() if hub is None else hub
        self._owns_hub = hub is None
        self._generations = Generations(handler, self.hub, on_disconnect, ttl)
        self._heartbeat = heartbeat
        self._name = getattr(handler, "__name__", handler)
        self._sessions: set[Session] = set()
        self._draining = False
        self._empty: anyio.Event | None = None
        # Those of the `websockets` library that were let in before they were accepted.
        self._admitted: WeakKeyDictionary[Any, Admitted] = WeakKeyDictionary()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one WebSocket of an ASGI server, or its lifespan events."""
        match scope["type"]:
            case "websocket":
                admitted = await self._accepted(scope, receive, send)
                if admitted is not None:
                    socket = AsgiSocket(receive, send, self._limits.max_pending_bytes)
                    try:
                        await self._run(socket, admitted)
                    finally:
                        await socket.aclose()
            case "lifespan":
                await self._live(receive, send)
            case "http":
                await refuse(Refused(426, "Here is a WebSocket.", headers={"upgrade-needed": "websocket"}), scope, receive, send)
            case kind:
                raise ConfigError(f"WebSocketRoutes serves WebSockets, and this scope is {kind!r}: route only those to it")

    @overload
    async def serve(self, connection: web.Request, /) -> web.StreamResponse: ...
    @overload
    async def serve(self, connection: ServerConnection | AsgiConnection, /) -> None: ...
    async def serve(self, connection: Any, /) -> Any:
        """Serve one connection, until it is closed.

        Args:
            connection: The request of an aiohttp handler, which returns what this returns; a connection of the `websockets`
                library, as its handler gets it; or what an ASGI application is called with, as a tuple.

        Cancellation: the connection is dropped, and the cancel goes on.
        Raises:
            TypeError: it is nothing of these.
        """
        if _is(connection, "websockets.asyncio.server", "ServerConnection"):
            admitted = await self._let_in(connection)
            if admitted is not None:
                from streamkit.sinks.websocket.websockets_socket import WebsocketsSocket

                await self._run(WebsocketsSocket(connection, self._limits.max_pending_bytes), admitted)
            return None
        if _is(connection, "aiohttp.web", "Request"):
            return await self._serve_aiohttp(connection)
        match connection:
            case (scope, receive, send):
                await self(scope, receive, send)
                return None
            case _:
                raise _unknown(connection)

    def websockets_options(self) -> dict[str, Any]:  # arguments of somebody else's function
        """The arguments of `websockets.serve` that go with these routes: no compression, bounds, pings, and who is not let in.

        >>> WebSocketRoutes(lambda request: []).websockets_options()["max_size"]
        1048576
        """
        return {
            "compression": None,
            "max_size": self._limits.max_message_bytes,
            "max_queue": 16,
            "ping_interval": self._heartbeat,
            "ping_timeout": self._heartbeat,
            "close_timeout": self._limits.close_timeout,
            # By itself the library refuses a client that offers none, as most pages do.
            "select_subprotocol": _select_subprotocol,
            "process_request": self._process_request,
        }

    async def drain(self, timeout: float = 0.0) -> None:  # noqa: ASYNC109  # it ends connections, and cancels nothing here
        """Let nobody in, start nothing, and close every connection once its streams have ended, or in so many seconds.

        Clients whose streams have not ended are told `end` as draining, with the token to resume from elsewhere, then 1001.

        Args:
            timeout: Seconds; 0 tells them at once.

        Raises:
            ConfigError, TypeError: a timeout that is none.
        """
        if timeout != 0 or isinstance(timeout, bool):
            check_seconds("WebSocketRoutes.drain", "timeout", timeout)
        self._draining = True
        for session in tuple(self._sessions):
            session.drain(timeout)
        if self._sessions:
            self._empty = self._empty or anyio.Event()
            await self._empty.wait()

    async def aclose(self) -> None:
        """End all connections as draining, and close the hub if it was made here."""
        await self.drain()
        if self._owns_hub:
            await self.hub.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    def __len__(self) -> int:
        """How many connections are open."""
        return len(self._sessions)

    @property
    def reading(self) -> int:
        """How many streams are read or being started, on all connections."""
        return sum(session.reading for session in self._sessions)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._name}, {len(self)} open{', draining' if self._draining else ''}>"

    async def _admit(self, scope: Scope) -> Admitted:
        """Whoever comes.

        Raises:
            Refused: not this one.
        """
        if self._draining:
            raise Refused(503, "The server is shutting down. Reconnect to go on.", code="draining", retry_after=1.0)
        return await self._admission.admit(scope)

    async def _run(self, socket: Socket, admitted: Admitted) -> None:
        """One connection that was accepted."""
        session = self._session(socket, self._generations, self._limits, admitted.request, admitted.owner, admitted.expires_in)
        self._sessions.add(session)
        connection = connection_in(admitted.request.scope)
        standing = None if connection is not None else standing_drain(session.backend, session.clock)
        take_back = None if connection is None else connection.on_drain(session.end)
        if standing is not None:
            standing.join(session, holds=True)
        if self._draining:
            session.drain(0.0)
        try:
            await session.run()
        finally:
            if standing is not None:
                standing.leave(session)
            if take_back is not None:
                take_back()
            self._sessions.discard(session)
            if not self._sessions and self._empty is not None:
                self._empty.set()
                self._empty = None

    # -- the transports

    # What these say of a client that was let in goes on in who asked them: its frame is there as long as the client is.

    async def _accepted(self, scope: Scope, receive: Receive, send: Send) -> Admitted | None:
        """The client of an ASGI server, accepted; None for one that was refused, or has left."""
        try:
            admitted = await self._admit(scope)
        except Refused as refused:
            await refuse(refused, scope, receive, send)
            return None
        if (await receive())["type"] != "websocket.connect":
            return None
        offered = cast("Iterable[str]", scope.get("subprotocols") or ())
        await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL if SUBPROTOCOL in offered else None})
        return admitted

    async def _let_in(self, connection: ServerConnection) -> Admitted | None:
        """The client of the `websockets` library; None for one that was refused."""
        admitted = self._admitted.pop(connection, None)
        if admitted is not None:
            return admitted
        request = connection.request
        assert request is not None
        try:
            return await self._admit(_websockets_scope(connection, request))
        except Refused as refused:
            code = 4401 if refused.code == "unauthorized" else refused.close_code
            await connection.close(code, refused.code.encode()[:_LONGEST_REASON].decode(errors="ignore"))
            return None

    async def _process_request(self, connection: ServerConnection, request: Request) -> Response | None:
        try:
            self._admitted[connection] = await self._admit(_websockets_scope(connection, request))
        except Refused as refused:
            response = connection.respond(refused.status, f"{refused.message}\n")
            for name, value in _headers_of(refused):
                response.headers[name] = value
            return response
        return None

    async def _serve_aiohttp(self, request: web.Request) -> web.StreamResponse:
        from streamkit.sinks.websocket.aiohttp_socket import AiohttpSocket

        aiohttp = extras.require("aiohttp.web", extra="aiohttp", wanted_by="streamkit.sinks.websocket")
        peer = None if request.transport is None else request.transport.get_extra_info("peername")
        try:
            admitted = await self._admit(scope_of(request.path_qs, request.headers.items(), peer, request.scheme))
        except Refused as refused:
            headers = _headers_of(refused)
            refusal: web.StreamResponse = aiohttp.json_response(refused.body, status=refused.status, headers=headers)
            return refusal
        limits = self._limits
        response: web.WebSocketResponse = aiohttp.WebSocketResponse(
            protocols=(SUBPROTOCOL,),
            compress=False,
            heartbeat=self._heartbeat,
            max_msg_size=limits.max_message_bytes,
            timeout=limits.close_timeout,
            writer_limit=1,
        )
        await response.prepare(request)
        try:
            socket = AiohttpSocket(request, response, limits.max_pending_bytes)
        except SocketClosed:
            return response
        await self._run(socket, admitted)
        return response

    # -- the end of the process

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self.aclose()
                await send({"type": "lifespan.shutdown.complete"})
                return


@overload
async def serve(
    connection: web.Request, handler: SocketHandler, hub: Hub | None = None, **options: Unpack[Options]
) -> web.StreamResponse: ...
@overload
async def serve(
    connection: ServerConnection | AsgiConnection, handler: SocketHandler, hub: Hub | None = None, **options: Unpack[Options]
) -> None: ...
async def serve(connection: Any, handler: SocketHandler, hub: Hub | None = None, **options: Unpack[Options]) -> Any:
    """Serve one connection, with the arguments of `WebSocketRoutes`.

    Without a hub its streams end with it. Pass one to let clients resume on another connection; or, better, make `WebSocketRoutes`
    once and serve each connection with it.

    Cancellation: the connection is dropped, and the cancel goes on.
    Raises:
        ConfigError, TypeError: arguments that cannot work; a connection of an unknown kind.

    >>> async def main():
    ...     sent, come = [], [{"type": "websocket.connect"}, {"type": "websocket.receive", "text": '{"type":"ping","request":"1"}'}]
    ...     async def receive():
    ...         return come.pop(0) if come else await asyncio.sleep(0.01) or {"type": "websocket.disconnect", "code": 1000}
    ...     async def send(message):
    ...         sent.append(message)
    ...     await serve(({"type": "websocket"}, receive, send), lambda request: ["Hi"], allow_missing_origin=True)
    ...     return sent[-1]
    >>> import asyncio
    >>> run(main())
    {'type': 'websocket.send', 'text': '{"type":"pong","request":"1"}'}
    """
    routes = WebSocketRoutes(handler, hub, **options)
    try:
        return await routes.serve(connection)  # pyright: ignore[reportUnknownVariableType]  # overloads that end in Any
    finally:
        if hub is None:
            await routes.hub.aclose()


def _headers_of(refused: Refused) -> list[tuple[str, str]]:
    """Those of the application's, and Retry-After; what the body is says who writes it."""
    return [(name.decode(), value.decode("latin-1")) for name, value in refused.raw_headers if name != b"content-type"]


def _select_subprotocol(connection: object, offered: Iterable[str]) -> str | None:
    return SUBPROTOCOL if SUBPROTOCOL in offered else None


def _unknown(connection: object) -> TypeError:
    return TypeError(
        "serve() takes an aiohttp request, a connection of websockets.asyncio.server or (scope, receive, send), and got "
        f"{type(connection).__name__}"
    )


def _is(connection: object, module: str, name: str) -> bool:
    """Whether it is of a class of somebody else's module, without loading it."""
    kind = getattr(sys.modules.get(module), name, None)
    return isinstance(kind, type) and isinstance(connection, kind)


def _websockets_scope(connection: ServerConnection, request: Request) -> Scope:
    scheme = "wss" if connection.transport.get_extra_info("ssl_object") is not None else "ws"
    return scope_of(request.path, request.headers.raw_items(), _peer_of(connection), scheme)


def _peer_of(connection: ServerConnection) -> object:
    try:
        return connection.remote_address
    except AttributeError:  # of uvloop, where the client has left meanwhile
        return None
