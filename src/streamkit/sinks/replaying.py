"""An event stream that can be resumed, from any function that knows what was said: no hub is needed.

    async def resume(after):                    # None: from the beginning
        async for row in rows("select id, event from answer where id > coalesce(?, 0) order by id", after):
            yield row.id, row.event

    async def app(scope, receive, send):
        await ResumableResponse(resume, "anthropic")(scope, receive, send)

What a request gets, a GET or a POST:

    nothing was seen                        200, what `resume(None)` gives
    Last-Event-ID, or ?after=, is an id     200, what `resume(id)` gives, written as if all before it had been written here
    ... is "end"                            204: an `EventSource` stops asking
    ... that was never given                400

An id stands on the last frame of its event, and "end" on the last frame of all, if the stream ended well: who has lost only that
frame asks from the last event, and gets it. What failed has no such id, because to ask again may help.

A dialect's frames depend on those before them (which block is open, whether the answer has begun). So a resumed request first
reads `resume(None)` up to the id, through the encoder and to nobody; all responses together are the undisturbed one.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import Final, TypeAlias, Unpack, cast

import msgspec

from streamkit.dialects.outcomes import CANCELLED, DONE, Outcome
from streamkit.dialects.protocol import Dialect
from streamkit.errors import ConfigError, InvalidToken, LocalProtocolError
from streamkit.events import ErrorEvent, TextDelta
from streamkit.flow.plan import check_callable
from streamkit.flow.streams import Stream
from streamkit.flow.streams import stream as stream_of
from streamkit.sinks.asgi import Receive, Scope, Send
from streamkit.sinks.codec import Codec, dialect_of, framed
from streamkit.sinks.responding import Options, Responder, ResponseOptions, Streamable
from streamkit.sinks.resuming import send_nothing, send_refusal, token_of

__all__ = ["END", "ResumableResponse", "Resume"]

Resume: TypeAlias = Callable[[str | None], Streamable | Awaitable[Streamable]]
"""Called with the id of the last event that was seen, or None; gives a stream of pairs: an id (a str or an int), and its event."""

END: Final = "end"
"""The id of who has seen everything."""

# A client sends it back in a header.
_LONGEST_ID: Final = 512


class ResumableResponse(Responder):
    """Answer an HTTP request with a stream of events and their ids, from where the client has got to.

    Args:
        resume: Called with the id of the last event that the client has seen, or None for the beginning; gives the pairs of id and
            event behind it: a stream, or anything that `sk.stream` takes. May be a coroutine function. An id that it does not know
            is InvalidToken, raised by it, or found out because the pairs from the beginning have none such.
        dialect: The vocabulary that the client reads, one that travels as SSE.
        after: The id of the last event that the client has seen; None takes the request's `Last-Event-ID`, or else `after` of its
            query.
        options: As `sse.Response` has them, but for `coalesce`: joined events would have no id.

    Ids are printable ASCII, at most 512 characters, without a space at either end, and not "end".

    Headers, Memory, Cancellation: as `sse.Response`. A resumed request costs a second reading of what was seen.
    Raises:
        ConfigError, LocalProtocolError, TypeError: as `sse.Response`; a dialect that has no ids.

    >>> import asyncio
    >>> def resume(after):
    ...     return [(n, f"word {n}. ") for n in range(int(after or 0) + 1, 4)]
    >>> sent = []
    >>> async def receive():
    ...     await asyncio.sleep(60)
    >>> async def send(message):
    ...     sent.append(message)
    >>> scope = {"type": "http", "method": "GET", "headers": [(b"last-event-id", b"2")]}
    >>> asyncio.run(ResumableResponse(resume)(scope, receive, send))
    >>> sent[1]["body"]
    b'data: {"type":"text-delta","text":"word 3. "}\\nid: 3\\n\\n'
    """

    def __init__(
        self,
        resume: Resume,
        dialect: str | Dialect = "native",
        *,
        after: str | None = None,
        **options: Unpack[ResponseOptions],
    ) -> None:
        check_callable("ResumableResponse", resume)
        if options.get("coalesce"):
            raise ConfigError("ResumableResponse(coalesce=True): joined events would have no id to resume from")
        self._dialect = dialect_of(dialect)
        if self._dialect.framing != "sse":
            raise ConfigError(f"only SSE has ids to resume from, and the dialect {self._dialect.name!r} has none")
        self._resume = resume
        self._after = None if after is None else _checked(after)
        super().__init__("ResumableResponse", lambda: iter(()), self._codec, options)
        ours = (*self._options.lets_through, InvalidToken)
        self._options = msgspec.structs.replace(self._options, lets_through=ours)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. HEAD gets the headers, OPTIONS what may be asked, and `resume` is not called."""
        if scope["type"] != "http" or scope.get("method") in ("HEAD", "OPTIONS"):
            await super().__call__(scope, receive, send)
            return
        try:
            after = token_of(scope, longest=_LONGEST_ID) if self._after is None else self._after
            if after == END:
                await send_nothing(send)
                return
            codec = self._codec(self._options)
            # From the beginning there is nothing to skip, and nothing stands between the stream and who writes it.
            given = self._from_beginning if after is None else self._behind(codec, after)
            await self.answer(scope, receive, send, stream_of(cast("Stream[object]", given)), codec)
        except InvalidToken as error:
            await send_refusal(error, send)

    def _codec(self, options: Options) -> _PairCodec:
        return _PairCodec(self._dialect, id=options.id, model=options.model, retry=options.retry, pad=options.pad)

    def _from_beginning(self) -> object:
        if inspect.iscoroutinefunction(self._resume):
            return self._from(None)
        given = self._resume(None)
        return stream_of(cast("Stream[object]", given)) if callable(given) else given

    async def _behind(self, codec: _PairCodec, after: str) -> AsyncGenerator[object]:
        """What is to be written; before that, what was written elsewhere is shown to the codec."""
        codec.begin_silently(after)
        async with (await self._from(None)).open() as seen:
            async for pair in seen:
                id, event = _pair(pair)
                codec.skip(event)
                if id == after:
                    break
            else:
                raise InvalidToken("this stream has no event of that id: start from the beginning", reason="foreign")
        async with (await self._from(after)).open() as rest:
            async for pair in rest:
                yield pair

    async def _from(self, after: str | None) -> Stream[object]:
        given = self._resume(after)
        return stream_of(cast("Stream[object]", await given if inspect.iscoroutine(given) else given))

    def __repr__(self) -> str:
        return f"<ResumableResponse {self._dialect.name} of {getattr(self._resume, '__name__', self._resume)}>"


class _PairCodec(Codec):
    """A codec whose items are pairs of an id and an event."""

    __slots__ = ("last_id",)

    def __init__(self, dialect: Dialect, *, id: str | None, model: str | None, retry: int | None, pad: int | None) -> None:
        super().__init__(dialect, id=id, model=model, retry=retry, pad=pad)
        # What a client resumes from that has read all of this.
        self.last_id: str | None = None
        self.stopped_by: ErrorEvent | Exception | None = None

    def begin_silently(self, after: str) -> None:
        """Go on where somebody has written up to this id."""
        self._opened = True
        self._encoder.open()
        self.last_id = after

    def skip(self, event: object) -> None:
        """Take in an event that the client has had."""
        if isinstance(event, ErrorEvent):  # told to who read it then, without an id to come back from
            return
        try:
            self._encode(self._admit(event))
        except LocalProtocolError:
            return  # it was the end for who read it then, and is nothing to who comes from behind it

    def encode(self, batch: Iterable[object]) -> bytes:
        """The bytes of these. Never raises for what the items are: see `stopped_by`."""
        body: list[bytes] = []
        line = self._text_line
        try:
            for item in batch:
                id, event = _pair(item)
                if isinstance(event, TextDelta) and line is not None:
                    body.append(b"data: %b\nid: %b\n\n" % (line(event), id.encode()))  # as `framed` does it, in less time
                elif isinstance(event, ErrorEvent):
                    self.stopped_by = event
                    break
                else:
                    body.append(framed(self._encode(self._admit(event)), "sse", id=id))
                self.last_id = id
        except Exception as error:  # the item's fault: what stood before it is still sent
            self.stopped_by = error
        return self._padded(self._with_retry(b"".join(body)))

    def close(self, outcome: Outcome) -> bytes:
        """The frames that end the stream; behind a good end there is nothing to come back for."""
        if self.cancelled and outcome is DONE:
            outcome = CANCELLED
        frames = self._encoder.close(outcome)
        return self._padded(self._with_retry(framed(frames, "sse", id=None if outcome.failed else END)))


def _pair(item: object) -> tuple[str, object]:
    """An id and its event, checked."""
    kind = type(item).__name__
    pair = cast("tuple[object, ...]", item) if isinstance(item, tuple) else ()
    if len(pair) != 2:
        raise TypeError(f"resume() gives pairs of an id and an event, got {kind}")
    id, event = pair
    if isinstance(id, int) and not isinstance(id, bool):
        id = str(id)
    if not isinstance(id, str):
        raise TypeError(f"the id of an event is a str or an int, got {type(id).__name__}")
    return _checked(id), event


def _checked(id: str) -> str:
    if not id.isascii() or not id.isprintable() or not 0 < len(id) <= _LONGEST_ID or id != id.strip() or id == END:
        raise ConfigError(
            f"{id!r:.80} cannot be an event's id: it has 1 to {_LONGEST_ID} printable ASCII characters, no space at an end, and is "
            f"not {END!r}"
        )
    return id
