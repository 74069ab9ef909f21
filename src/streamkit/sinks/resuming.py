"""A stream of a hub as a server-sent event response that can be resumed: a bare ASGI callable.

    async def app(scope, receive, send):
        await HubResponse(hub, "the-id", dialect="openai-chat")(scope, receive, send)

What a request gets:

    nothing was seen                        200, from the beginning
    Last-Event-ID, or ?after=, is a token   200, what comes behind it: of all responses together nothing is missing or twice
    ... of the last event of a stream       204: an `EventSource` stops asking
    ... that this stream never gave         400
    no such stream, or somebody else's      404, and nothing tells the one from the other
    nothing was seen, the stream is over,   204, where the response is for joining only (`missing=204`)
    and the dialect replays none (AI SDK)

The header wins where both are there, because an `EventSource` asks again at the address that it was given first. The
generation does not mind who comes and goes. How a response is produced, watched and ended is told in `streamkit.sinks.asgi`; who
makes the bytes, in `streamkit.sinks.encodings`.

A connection that is cut between two frames of one event gets the first of them again: an id stands on an event's last frame.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping
from types import MappingProxyType
from typing import Final, Literal, TypedDict, Unpack
from urllib.parse import parse_qsl

import msgspec

from streamkit.dialects.protocol import Dialect
from streamkit.errors import ConfigError, InvalidToken, StreamkitError, UnknownStream
from streamkit.flow.plan import check_seconds
from streamkit.hub.hub import LAG_EVENTS, Asked, Hub
from streamkit.hub.reading import Policy, check_policy
from streamkit.hub.tokens import parse_token
from streamkit.sinks.asgi import Exchange, RawHeaders, Receive, Scope, Send
from streamkit.sinks.codec import dialect_of
from streamkit.sinks.compression import Compress, check_compress, compressed_for
from streamkit.sinks.encodings import HubCodec, NothingMore
from streamkit.sinks.failures import no_content, refusal_of, report
from streamkit.sinks.headers import HeadersLike, merge_headers
from streamkit.sinks.life.draining import Drain
from streamkit.sinks.responding import check_status, own_headers, send_options

__all__ = ["Delivery", "DeliveryOptions", "HubResponse", "send_nothing", "send_refusal", "token_of"]

# A resume token has at most 28 characters; what is longer than this was never one, and is not looked at.
_LONGEST_TOKEN: Final = 64
_LONGEST_QUERY: Final = 65_536
_MOST_FIELDS: Final = 100
# Of a `missing`: what is answered with 204 and not as a failure.
_NOTHING: Final[Mapping[int, tuple[type[Exception], ...]]] = MappingProxyType(
    {204: (NothingMore, UnknownStream), 404: (NothingMore,)}
)


class DeliveryOptions(TypedDict, total=False):
    """How a stream of a hub is written; `HubResponse` tells what each means."""

    policy: Policy
    lag: int
    headers: HeadersLike | None
    heartbeat: float | None
    retry: int | None
    pad: int | None
    compress: Compress
    model: str | None


class Delivery(msgspec.Struct, frozen=True):
    """How streams of a hub are written to clients: the arguments of `HubResponse`, checked."""

    dialect: str | Dialect
    status: int
    raw_headers: RawHeaders
    heartbeat: float | None
    retry: int | None
    pad: int | None
    compress: Compress
    model: str | None
    policy: Policy
    lag: int
    missing: Literal[204, 404]

    @staticmethod
    def checked(
        dialect: str | Dialect,
        *,
        status: int = 200,
        headers: HeadersLike | None = None,
        heartbeat: float | None = 15.0,
        retry: int | None = None,
        pad: int | None = None,
        compress: Compress = False,
        model: str | None = None,
        policy: Policy = "lag",
        lag: int = LAG_EVENTS,
        missing: Literal[204, 404] = 404,
    ) -> Delivery:
        """The same, as a user gave it.

        Raises:
            ConfigError, LocalProtocolError, MissingExtra, TypeError: arguments that cannot work.
        """
        check_status(status)
        check_policy(policy, "yield")
        if heartbeat is not None:
            check_seconds("HubResponse", "heartbeat", heartbeat)
        check_compress("HubResponse", compress)
        if missing not in (204, 404):
            raise ConfigError(f"missing={missing!r}: a stream that is not there is answered with 204 or 404")
        codec = HubCodec("", dialect, retry=retry, pad=pad)
        own = own_headers(codec.media_type, tuple(codec.headers.items()))
        raw = merge_headers(own, headers)
        return Delivery(dialect, status, raw, heartbeat, retry, pad, compress, model, policy, lag, missing)

    def answer(
        self,
        hub: Hub,
        id: str,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        asked: Asked,
        after: str | None,
        joins: bool = False,
        headers: Iterable[tuple[bytes, bytes]] = (),
        drain: Drain | None = None,
    ) -> Awaitable[None]:
        """Answer one request, that joins or that has started the stream, when it is awaited."""
        # No coroutine of its own: it would be there as long as the response is, ten thousand times.
        codec = HubCodec(id, self.dialect, after=after, policy=self.policy, model=self.model, retry=self.retry, pad=self.pad)
        try:
            events = hub.read(id, codec, after=after, policy=self.policy, lag=self.lag, errors="yield", asked=asked)
        except InvalidToken as error:
            return self.refuse(error, send)
        exchange = Exchange(
            events,
            codec,
            receive,
            send,
            status=self.status,
            headers=[*self.raw_headers, *headers],
            heartbeat=self.heartbeat,
            nothing=_NOTHING[self.missing],
            left=codec.leave,
            scope=scope,
            drain=drain,
        )
        if joins and after is None and not self._replays_ended:
            return self._unless_ended(exchange, hub, id, send, asked)
        return exchange.answer()

    async def _unless_ended(self, exchange: Exchange, hub: Hub, id: str, send: Send, asked: Asked) -> None:
        """Answer who joins a stream that is not over: of one that is, its readers have all by then (`Dialect.replays_ended`)."""
        try:
            status = await hub.look(id, asked=asked, action="subscribe")
        except StreamkitError as error:
            await self.refuse(error, send)
            return
        await (exchange.answer() if status.state == "running" else send_nothing(send))

    async def head(self, hub: Hub, id: str, send: Send, *, asked: Asked, after: str | None) -> None:
        """Answer a HEAD request: what a GET would get, as far as that is known without reading the stream."""
        try:
            if after is not None:
                parse_token(after)
            status = await hub.look(id, asked=asked, action="subscribe" if after is None else "resume")
        except (UnknownStream, InvalidToken) as error:
            await self.refuse(error, send)
            return
        over = status.state != "running"
        if over and (after == status.token if after is not None else not self._replays_ended):
            await send_nothing(send)
            return
        await send({"type": "http.response.start", "status": self.status, "headers": list(self.raw_headers)})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    @property
    def _replays_ended(self) -> bool:
        # Without 204 nobody is told that there is nothing: such a response may as well be the one that a start is answered with.
        return self.missing != 204 or dialect_of(self.dialect).replays_ended

    async def refuse(self, error: Exception, send: Send) -> None:
        """Answer a request for which there is no stream."""
        if isinstance(error, UnknownStream) and self.missing == 204:
            await send_nothing(send)
        else:
            await send_refusal(error, send)


class HubResponse:
    """Answer an HTTP request with a stream of a hub, from where the client has got to.

    Args:
        hub: The hub.
        id: The stream's name.
        dialect: The vocabulary that the client reads: a name ("native", "openai-chat" ...) or a `Dialect`.
        after: The token of the last event that the client has seen; None takes the request's `Last-Event-ID`, or else `after` of
            its query.
        owner: Whose stream the caller takes it for, as for `hub.subscribe`.
        policy, lag: What this client gets if it is slow, as for `hub.subscribe`.
        status, headers, heartbeat, retry, pad, compress: As for `sse.Response`.
        model: The answer's model for dialects that have one, where no `Start` event brings it; its id is the stream's.
        missing: What a client is told for which there is no such stream: 404, or 204, on which an `EventSource` and other
            clients that resume give up quietly. With 204 a GET without a token gets that for a stream that is over, in dialects
            whose clients have it by then (the AI SDK's).

    Headers: as for `sse.Response`. Each frame that ends an event has its resume token as id, in dialects that travel as SSE.
    Memory: that of a reader of the hub; the bytes of each event are made once for all readers of one dialect.
    Cancellation: the reader leaves the hub, then the cancel goes on. When the client leaves, the call returns; what becomes of the
        generation was said when it was started.
    Raises:
        ConfigError, TypeError: arguments that cannot work, at the call; when called, a scope that is no HTTP request.
        LocalProtocolError: a `retry` that is no int in its range.

    >>> async def main():
    ...     sent = []
    ...     async def receive():
    ...         await asyncio.sleep(60)
    ...     async def send(message):
    ...         sent.append(message)
    ...     async with Hub() as hub:
    ...         await hub.start("greeting", ["Hi"])
    ...         await HubResponse(hub, "greeting", "openai-chat")({"type": "http", "method": "GET"}, receive, send)
    ...     return sent
    >>> import asyncio
    >>> sent = run(main())
    >>> sent[0]["status"], sent[-2]["body"].splitlines()[-3]
    (200, b'data: [DONE]')
    """

    def __init__(
        self,
        hub: Hub,
        id: str,
        dialect: str | Dialect = "native",
        *,
        after: str | None = None,
        owner: str | None = None,
        status: int = 200,
        missing: Literal[204, 404] = 404,
        **options: Unpack[DeliveryOptions],
    ) -> None:
        self._hub = hub
        self._id = id
        self._after = after
        self._owner = owner
        self._delivery = Delivery.checked(dialect, status=status, missing=missing, **options)
        # It says here what is wrong with the rest, and reads nothing.
        hub.subscribe(id, policy=self._delivery.policy, lag=self._delivery.lag, owner=owner)
        self.status = status
        self.raw_headers = self._delivery.raw_headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise ConfigError(f"HubResponse answers HTTP requests, and this scope is {scope['type']!r}: route only those to it")
        if scope.get("method") == "OPTIONS":
            await send_options(send)
            return
        send = compressed_for(scope, send, self._delivery.compress)
        asked = (self._owner,)
        try:
            after = token_of(scope) if self._after is None else self._after
        except InvalidToken as error:
            await send_refusal(error, send)
            return
        delivery = self._delivery
        if self.status != delivery.status or self.raw_headers is not delivery.raw_headers:  # somebody has changed them meanwhile
            delivery = msgspec.structs.replace(delivery, status=self.status, raw_headers=self.raw_headers)
        if scope.get("method") == "HEAD":
            await delivery.head(self._hub, self._id, send, asked=asked, after=after)
        else:
            joins = scope.get("method") == "GET"
            await delivery.answer(self._hub, self._id, scope, receive, send, asked=asked, after=after, joins=joins)

    def __repr__(self) -> str:
        return f"<HubResponse {self._id!r:.80}>"


def token_of(scope: Scope, *, longest: int = _LONGEST_TOKEN) -> str | None:
    """Where the client of a request has got to, in its own words, or None.

    Raises:
        InvalidToken: more than one, or what can be none: of more than `longest` characters, not ASCII.

    >>> token_of({"headers": [(b"last-event-id", b"abc.7")], "query_string": b"after=abc.5"})
    'abc.7'
    """
    headers: Iterable[tuple[bytes, bytes]] = scope.get("headers", ())  # type: ignore[assignment]  # as ASGI has it
    values = {value for name, value in headers if name == b"last-event-id" and value}
    if not values:
        values = _tokens_in(scope.get("query_string", b""))  # type: ignore[arg-type]  # as ASGI has it
    if not values:
        return None
    token = values.pop()
    if values or len(token) > longest or not token.isascii():
        raise _malformed()
    return token.decode("ascii")


def _tokens_in(query: bytes) -> set[bytes]:
    if b"after" not in query:
        return set()
    if len(query) > _LONGEST_QUERY:
        raise _malformed()
    try:
        fields = parse_qsl(query.decode("latin-1"), max_num_fields=_MOST_FIELDS, errors="surrogateescape")
    except ValueError:
        raise _malformed() from None
    return {value.encode("utf-8", "surrogateescape") for name, value in fields if name == "after" and value}


def _malformed() -> InvalidToken:
    return InvalidToken("this is no resume token: start without one, from the beginning", reason="malformed")


async def send_refusal(error: Exception, send: Send) -> None:
    """Answer with the status of a failure and a JSON body that says what may be said."""
    status, headers, body = refusal_of(report(error, before_first_byte=True), error)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def send_nothing(send: Send) -> None:
    """Answer with 204: there is nothing more."""
    status, headers, body = no_content()
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
