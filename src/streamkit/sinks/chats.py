"""The routes of a chat, from one function that gives the answer: an ASGI application.

    async def answer(request):
        return model.stream(request.json()["prompt"])

    app = ChatRoutes(answer)                        # uvicorn module:app
    other_app.mount("/chat", ChatRoutes(answer))    # Starlette, FastAPI

    POST  /                 start: the answer as it comes; `x-stream-id` and `location` say where it can be joined
    GET   /{id}/stream      join, or resume after Last-Event-ID or ?after=; 204 where there is nothing to join
    POST  /{id}/cancel      stop it, keep what came; its status
    GET   /{id}             its status

The AI SDK's clients find these routes by themselves; they name the chat:

    async def answer(request):
        return model.stream(request.json()["messages"][-1]["parts"][0]["text"])

    ChatRoutes(answer, dialect="ai-sdk", id=lambda request: request.json()["id"], if_running="replace")

They keep what they have read and send no resume point, so that in their dialects who joins an answer that is over gets 204: it is
read with the chat's messages. One that runs comes whole, from its beginning. A `Start` with an id of
`streamkit.dialects.ai_sdk.answer_id` in front lets a page that lost its connection know it again.

Each answer is a stream of a hub: it goes on when its reader has left, unless asked otherwise, and is kept for a while for who
comes late. Whose a stream is, `owner` says, for each request anew; to everybody else it does not exist.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from types import MappingProxyType, TracebackType
from typing import Any, Final, Literal, Self, TypeAlias, cast
from urllib.parse import quote

import anyio

from streamkit.dialects.protocol import Dialect
from streamkit.errors import ConfigError, StreamBusy
from streamkit.flow.clock import Clock, current_clock
from streamkit.flow.plan import check_callable, check_count, check_seconds
from streamkit.flow.tasks import Task, current_backend
from streamkit.hub.hub import LAG_EVENTS, Generation, Hub, IfExists, StreamStatus
from streamkit.hub.producing import OnDisconnect
from streamkit.hub.reading import Policy
from streamkit.sinks.asgi import Receive, Scope, Send
from streamkit.sinks.compression import Compress, compressed_for
from streamkit.sinks.failures import LOGGER
from streamkit.sinks.headers import HeadersLike
from streamkit.sinks.life.draining import Drain
from streamkit.sinks.life.stop_signals import StopSignals
from streamkit.sinks.refusals import Refused, refuse, send_json
from streamkit.sinks.request_parts import RequestParts
from streamkit.sinks.responding import check_exceptions
from streamkit.sinks.resuming import Delivery, send_refusal, token_of
from streamkit.sinks.sse import Streamable
from streamkit.sinks.starting import Starts, start_or_close

__all__ = ["ChatHandler", "ChatRequest", "ChatRoutes", "Refused"]

_LONGEST_ID: Final = 200
# Seconds after which readers are told to end who have not come to the end that the hub gave their streams.
_BEHIND_THE_HUB: Final = 0.25


class ChatRequest(RequestParts):
    """An HTTP request, as handlers of `ChatRoutes` get it.

    Attributes:
        method: In capitals.
        path: Behind the place where the routes are mounted: "/" for a start.
        headers: By name in small letters; what came several times is joined by ", ".
        query: The fields of the query; of several of one name the last.
        body: All of it, as it came; empty on all routes but the start.
        scope: What ASGI has of it, with whatever middleware has left there ("user", "session", "state" ...).

    >>> ChatRequest({"type": "http"}, "/", b'{"prompt": "Hi"}').json()["prompt"]
    'Hi'
    """

    def __init__(self, scope: Scope, path: str, body: bytes = b"") -> None:
        super().__init__(scope, body)
        self.method = str(scope.get("method", "GET")).upper()
        self.path = path

    @property
    def body(self) -> bytes:
        """See the class."""
        return self._body

    def __repr__(self) -> str:
        return f"<ChatRequest {self.method} {self.path!r:.80}, {len(self.body)} bytes>"


ChatHandler: TypeAlias = Callable[[ChatRequest], Streamable | Awaitable[Streamable]]
"""Gives the answer to a request: a stream, or whatever else `sk.stream` takes. May be a coroutine function."""

FromRequest: TypeAlias = Callable[[ChatRequest], str | Awaitable[str | None] | None]
"""A text, or None, of a request. May be a coroutine function."""


class ChatRoutes:
    """POST to start, GET to join or resume, POST to cancel, GET for the status: see the top of this module.

    Args:
        handler: Called with the `ChatRequest` of each start; gives the answer's stream, or anything that `sk.stream` takes. What it
            raises before that is the response's status: `Refused`, the errors of streamkit, else 500.
        hub: Where the streams are; None makes one, which `aclose` and the server's shutdown close.
        dialect: The vocabulary that clients read: a name ("native", "openai-chat" ...) or a `Dialect`.
        id: Called with the request: the stream's name, where clients choose it (a chat's id). None, also as its result, draws one
            that nobody can guess. A stream of that name that is over makes room for the new one.
        if_running: What a start gets whose stream runs already: "join" (its answer; the handler is not called), "raise" (409), or
            "replace" (the one that runs is cancelled; a hub's `authorize` is asked). See `streamkit.sinks.starting`.
        owner: Called with the request, on every route: whose it is, None for nobody's. `Refused(401, ...)` refuses it.
        on_disconnect: Whether an answer goes on when its readers have left, or ends as cancelled with the last one.
        ttl: Seconds that an answer is kept after its end; the hub's unless told.
        policy, lag: What a client gets that reads slowly, as for `hub.subscribe`.
        headers, heartbeat, retry, pad, compress, model: Of the responses, as for `HubResponse`.
        max_body: Most bytes of a start's body: 413. One that is compressed is not opened: 415.
        body_timeout: Seconds until it must have come: 408.
        drain: When the process is told to stop (SIGTERM, SIGINT), nothing more is started, and what runs has so many seconds to
            end; then its readers are told "draining". Without it a server waits for the last answer. None leaves it to the
            application.
        lets_through: Exceptions of the functions above that are raised, not answered: a framework's own HTTP errors.

    Attributes:
        hub: Where the streams are.

    A wrong path is answered with 404, a wrong method with 405. A stream that is not there, or somebody else's, is 204 for who
    wants to join it, and else 404. As a bare application it answers lifespan events; mounted it is not told of them, so whoever
    mounts it closes it: `async with routes:` in the lifespan of the outer application.

    Memory: the hub's; one body per request that starts.
    Cancellation: of a request ends that request; what becomes of the answer says `on_disconnect`.
    Raises:
        ConfigError, TypeError, LocalProtocolError: arguments that cannot work, at the call.

    >>> ChatRoutes(lambda request: ["Hello, ", request.json()["name"]])
    <ChatRoutes native of <lambda>>
    """

    def __init__(
        self,
        handler: ChatHandler,
        hub: Hub | None = None,
        *,
        dialect: str | Dialect = "native",
        id: FromRequest | None = None,
        if_running: IfExists = "join",
        owner: FromRequest | None = None,
        on_disconnect: OnDisconnect = "continue",
        ttl: float | None = None,
        policy: Policy = "lag",
        lag: int = LAG_EVENTS,
        headers: HeadersLike | None = None,
        heartbeat: float | None = 15.0,
        retry: int | None = None,
        pad: int | None = None,
        compress: Compress = False,
        model: str | None = None,
        max_body: int = 1 << 20,
        body_timeout: float = 30.0,
        drain: float | None = 5.0,
        lets_through: tuple[type[Exception], ...] = (),
    ) -> None:
        for name, function in (("handler", handler), ("id", id), ("owner", owner)):
            if function is not None or name == "handler":
                check_callable(f"ChatRoutes({name}=...)", function)
        if if_running not in ("join", "raise", "replace"):
            raise ConfigError(f"if_running={if_running!r} is neither 'join', 'raise' nor 'replace'")
        if on_disconnect not in ("continue", "cancel"):
            raise ConfigError(f"on_disconnect={on_disconnect!r} is neither 'continue' nor 'cancel'")
        check_count("ChatRoutes", "max_body", max_body, 1)
        check_count("ChatRoutes", "lag", lag, 1)
        for name, seconds in (("body_timeout", body_timeout), ("ttl", ttl), ("drain", drain)):
            if seconds is not None and not (name == "drain" and seconds == 0 and not isinstance(seconds, bool)):
                check_seconds("ChatRoutes", name, seconds)
        check_exceptions("ChatRoutes", lets_through)
        self._delivery = Delivery.checked(
            dialect,
            headers=headers,
            heartbeat=heartbeat,
            retry=retry,
            pad=pad,
            compress=compress,
            model=model,
            policy=policy,
            lag=lag,
            missing=204,
        )
        self.hub = Hub() if hub is None else hub
        self._owns_hub = hub is None
        self._handler = handler
        self._id = id
        self._if_running: IfExists = if_running
        self._owner = owner
        self._on_disconnect: OnDisconnect = on_disconnect
        self._ttl = ttl
        self._max_body = max_body
        self._body_timeout = body_timeout
        self._drain = drain
        self._lets_through = lets_through
        self._name = dialect if isinstance(dialect, str) else dialect.name
        self._starts = Starts(self.hub)
        self._signals: StopSignals | None = None
        self._draining: Task | None = None
        self._drained = anyio.Event()
        self._readers = Drain()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or a server's lifespan events."""
        match scope["type"]:
            case "http":
                self._watch_signals()
                await self._answer(scope, receive, send)
            case "lifespan":
                await self._live(receive, send)
            case "websocket":
                await send({"type": "websocket.close", "code": 1000})
            case kind:
                raise ConfigError(f"ChatRoutes answers HTTP requests, and this scope is {kind!r}: route only those to it")

    @property
    def draining(self) -> bool:
        """Whether the process was told to stop: what runs may end, and nothing more is started."""
        return self._draining is not None

    async def aclose(self) -> None:
        """Watch for signals no more, and close the hub if it was made here: its readers are told that it drains.

        Told to stop (`draining`), it waits first for what is left of `drain`: a server closes when nobody reads any more, and an
        answer that nobody reads may end as well as any other.
        """
        signals, self._signals = self._signals, None
        self._drain = None
        if signals is not None:
            signals.leave()
        try:
            if self._draining is not None:
                await self._drained.wait()
        finally:
            self._readers.stop()
            if self._owns_hub:
                await self.hub.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<ChatRoutes {self._name} of {getattr(self._handler, '__name__', self._handler)}>"

    # -- the routes

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        send = compressed_for(scope, send, self._delivery.compress)
        path = _path_in(scope)
        request = ChatRequest(scope, path)
        try:
            kind, id = _route_of(request)
            match kind:
                case "start":
                    await self._start(ChatRequest(scope, path, await self._body(scope, receive)), receive, send)
                case "stream":
                    await self._join(request, id, receive, send)
                case "cancel":
                    owner = await self._owner_of(request)
                    await self.hub.cancel(id, "cancelled over HTTP", owner=owner)
                    await _send_status(await self.hub.status(id, owner=owner), send)
                case "status":
                    await _send_status(await self.hub.status(id, owner=await self._owner_of(request)), send)
        except self._lets_through:
            raise
        except _ClientLeft:
            LOGGER.debug("a client left before its request was complete")
        except Refused as refused:
            await refuse(refused, scope, receive, send)
        except _Started as late:  # the response is on its way: what is wrong now is the server's
            raise late.error from late.error.__cause__
        except Exception as error:
            await send_refusal(error, send)

    async def _start(self, request: ChatRequest, receive: Receive, send: Send) -> None:
        owner = await self._owner_of(request)
        id = None if self._id is None else await _awaited(self._id(request))
        joined = False
        if id is None:
            id = (await self._begin(request, None, owner, "raise")).id
        else:
            _check_chosen(id)
            begin = partial(self._begin, request, id, owner)
            try:
                joined = await self._starts.begin(id, begin, owner=owner, if_running=self._if_running)
            except StreamBusy as busy:
                raise Refused(409, "There is an answer under way already.") from busy
        name = quote(id, safe="")
        place = quote(str(request.scope.get("root_path", "")), safe="/")
        headers = [(b"x-stream-id", name.encode()), (b"location", f"{place}/{name}/stream".encode())]
        # Of one that was joined, another owner's may have taken the place.
        asked = (owner,) if joined else None
        try:
            await self._delivery.answer(
                self.hub, id, request.scope, receive, send, asked=asked, after=None, headers=headers, drain=self._readers
            )
        except Exception as error:
            raise _Started(error) from None

    async def _begin(self, request: ChatRequest, id: str | None, owner: str | None, if_exists: IfExists) -> Generation:
        source = await _awaited(self._handler(request))
        return await start_or_close(
            self.hub, id, source, ttl=self._ttl, on_disconnect=self._on_disconnect, owner=owner, if_exists=if_exists
        )

    async def _join(self, request: ChatRequest, id: str, receive: Receive, send: Send) -> None:
        asked = (await self._owner_of(request),)
        after = token_of(request.scope)
        if request.method == "HEAD":
            await self._delivery.head(self.hub, id, send, asked=asked, after=after)
            return
        try:
            await self._delivery.answer(
                self.hub, id, request.scope, receive, send, asked=asked, after=after, joins=True, drain=self._readers
            )
        except Exception as error:
            raise _Started(error) from None

    async def _owner_of(self, request: ChatRequest) -> str | None:
        return None if self._owner is None else await _awaited(self._owner(request))

    # -- the body

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        """All of it.

        Raises:
            Refused: it is too large, compressed, or does not come.
            _ClientLeft: before it was complete.
        """
        too_large = Refused(413, f"The body is larger than {self._max_body} bytes.")
        for name, value in cast("Iterable[tuple[bytes, bytes]]", scope.get("headers", ())):
            # More digits than any length has are not made a number: that costs their square.
            if name == b"content-length" and value.isdigit() and (len(value) > 18 or int(value) > self._max_body):
                raise too_large
            if name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
                # A small one may stand for an enormous one; RFC 9110, section 12.5.3, has a header to say so.
                raise Refused(415, "A compressed body is not taken.", headers={"accept-encoding": "identity"})
        chunks: list[bytes] = []

        async def read() -> None:
            size, more = 0, True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise _ClientLeft
                chunks.append(cast("bytes", message.get("body", b"")))
                size += len(chunks[-1])
                if size > self._max_body:
                    raise too_large
                more = bool(message.get("more_body"))

        backend = current_backend()
        if not await backend.bounded(read(), self._body_timeout, current_clock(backend)):
            raise Refused(408, "The body did not come in time.", code="timeout")
        return b"".join(chunks)

    # -- the end of the process

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self._watch_signals()
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self.aclose()
                await send({"type": "lifespan.shutdown.complete"})
                return

    def _watch_signals(self) -> None:
        if self._signals is None and self._drain is not None:
            clock = current_clock()  # whoever is told of a signal has no context
            self._signals = StopSignals(current_backend(), lambda: self._begin_to_drain(clock))

    def _begin_to_drain(self, clock: Clock) -> None:
        drain = self._drain
        if drain is None or self._draining is not None:
            return

        async def main() -> None:
            try:
                await self.hub.drain(drain)
            except Exception:  # no exception may leave a task of ours
                LOGGER.exception("the streams of %r could not be drained", self)
            finally:
                self._drained.set()

        self._draining = current_backend().spawn(main, _nothing, "streamkit drain", _done)
        # The hub ends the streams, and their readers with them. A reader whose client is slow does not come so far.
        self._readers.begin(drain + _BEHIND_THE_HUB, clock)


class _ClientLeft(Exception):
    """Nobody is there to be answered."""


class _Started(Exception):
    """Raised behind the first byte of a response."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


Route: TypeAlias = Literal["start", "stream", "cancel", "status"]

_METHODS: Final[Mapping[Route, tuple[str, ...]]] = MappingProxyType(
    {"start": ("POST",), "stream": ("GET", "HEAD"), "cancel": ("POST",), "status": ("GET", "HEAD")}
)


def _route_of(request: ChatRequest) -> tuple[Route, str]:
    """What is asked for, and of which stream.

    Raises:
        Refused: 404 and 405.
    """
    kind: Route
    match request.path.split("/"):
        case [""] | ["", ""]:
            kind, id = "start", ""
        case ["", id] if id:
            kind = "status"
        case ["", id, "stream"] if id:
            kind = "stream"
        case ["", id, "cancel"] if id:
            kind = "cancel"
        case _:
            raise Refused(404, "There is nothing at this address.")
    methods = _METHODS[kind]
    if request.method not in methods:
        allowed = ", ".join(methods)
        raise Refused(405, f"Here it is {allowed}.", code="method-not-allowed", headers={"allow": allowed})
    return kind, id


def _path_in(scope: Scope) -> str:
    """The path behind the place where the application is mounted."""
    path, root = str(scope.get("path", "/")), str(scope.get("root_path", ""))
    # Servers and frameworks give the path with the mount point in front; some proxies cut it off.
    return path[len(root) :] if root and (path == root or path.startswith(f"{root}/")) else path


def _check_chosen(id: object) -> None:
    if not isinstance(id, str):
        raise TypeError(f"ChatRoutes(id=...) gives a str or None, got {type(id).__name__}")
    if not 1 <= len(id) <= _LONGEST_ID or not id.isprintable() or "/" in id:
        raise Refused(400, f"An id has 1 to {_LONGEST_ID} printable characters, and no slash.")


async def _awaited(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


async def _send_status(status: StreamStatus, send: Send) -> None:
    told = {name: getattr(status, name) for name in ("id", "state", "events", "token", "reason", "started_at", "ended_at")}
    await send_json(200, told, send)


async def _nothing() -> None:
    """A task of these routes has nothing to clean up."""


def _done() -> None:
    """Nobody waits for it."""
