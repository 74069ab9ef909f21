"""The methods of `streamkit.v1.Streams`, answered by one function of the application.

    def answer(request):                       # or async def, or an async generator
        return model.stream(request.input)

    server.add_generic_rpc_handlers((StreamsServicer(answer).handlers(),))

What each method makes of what the function gives:

    Complete, Stream    one input, one stream: folded into the whole message, or sent as it comes
    Send, Converse      the same, with input that goes on while the function runs: `request.inputs`
    Resume, Cancel      a stream of a hub, if there is one (`hub=`)

In a conversation each turn is a call of the function. A turn ends by itself, by a cancel, or because the client sends input for the
next one; the call ends when the client has no more input and the last turn is over, or when a turn fails.

What ends a call is told in `streamkit.dialects.grpc.statuses`; how a turn runs and is called off, in `turns`.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, NoReturn, TypeAlias, TypeVar

from streamkit.dialects.grpc.messages import Wire, wire
from streamkit.dialects.grpc.schema import SERVICE
from streamkit.dialects.grpc.statuses import Trailers, said, status_of, status_of_http, trailers_of
from streamkit.dialects.outcomes import Outcome, outcome_of
from streamkit.errors import ConfigError, RemoteProtocolError, StreamDraining
from streamkit.events import ErrorEvent
from streamkit.extras import require
from streamkit.flow.plan import check_callable
from streamkit.flow.streams import Stream
from streamkit.flow.streams import stream as stream_of
from streamkit.hub.hub import LAG_EVENTS, Generation, Hub, IfExists
from streamkit.hub.producing import OnDisconnect
from streamkit.sinks.failures import LOGGER, report
from streamkit.sinks.grpc.kept import KeptView
from streamkit.sinks.grpc.requests import CallContext, GrpcRequest, InputQueue, Method
from streamkit.sinks.grpc.turns import Collecting, Copying, Taking, Turn, Why, Writing
from streamkit.sinks.refusals import Refused
from streamkit.sinks.starting import Starts

__all__ = ["GrpcHandler", "OwnerOf", "StreamsServicer"]

T = TypeVar("T")

GrpcHandler: TypeAlias = Callable[[GrpcRequest], Any]
"""Gives a stream, or anything that `sk.stream` takes, for a request."""

OwnerOf: TypeAlias = Callable[[GrpcRequest], str | Awaitable[str | None] | None]

_DRAINING: Final = "the server drains"

# Characters. The name is bounded as the hub's own is, and the reason stays with the stream as long as that is kept.
_LONGEST_ID: Final = 200
_LONGEST_REASON: Final = 200


class StreamsServicer:
    """Answers the methods of `streamkit.v1.Streams` on a `grpc.aio` server.

    Args:
        handler: Called with a `GrpcRequest` for each call, and for each turn of a conversation; gives a stream, or anything that
            `sk.stream` takes. Its items are events and text. What it raises is a status: a `Refused` the one that it names, an
            error of ours the one of its code, anything else INTERNAL; never with the exception's text.
        hub: Keeps the streams of `Stream`, so that they can be resumed and cancelled. A call that names one that runs joins it, and
            one that is over makes room for a new one (`streamkit.sinks.starting`).
        owner: Called with the request before each call of any method: whose a kept stream is, None for nobody's.
            `Refused(401, ...)` keeps the caller out, with and without a hub.
        on_disconnect: What becomes of a kept stream when its readers have left, as for `hub.start`.

    Attributes:
        open: How many turns run.
        refusing: Whether new calls are refused, because it drains.

    Memory: per call a task and what the run of its stream holds; 16 pieces of input; messages are cut at 1 MiB between events.
    Cancellation: when a client leaves, its deadline is over or the server stops, the source is called off, once, and never while
        it cleans up; the call ends when it is closed.
    Raises:
        TypeError: at the call: a handler that cannot be called.
        MissingExtra: grpcio or protobuf is not installed.

    >>> StreamsServicer(lambda request: ["Hello"]).open
    0
    """

    def __init__(
        self,
        handler: GrpcHandler,
        *,
        hub: Hub | None = None,
        owner: OwnerOf | None = None,
        on_disconnect: OnDisconnect = "continue",
    ) -> None:
        check_callable("StreamsServicer", handler)
        if owner is not None:
            check_callable("StreamsServicer(owner=...)", owner)
        if on_disconnect not in ("continue", "cancel"):
            raise ConfigError(f"on_disconnect={on_disconnect!r} is neither 'continue' nor 'cancel'")
        self._grpc: Any = require("grpc", extra="grpc", wanted_by="StreamsServicer")
        self._wire: Wire = wire()
        self._handler = handler
        self._hub = hub
        self._starts = None if hub is None else Starts(hub)
        self._owner = owner
        self._on_disconnect: OnDisconnect = on_disconnect
        self._turns: set[Turn] = set()
        self._conversations: set[_Conversation] = set()
        self._draining = False
        self._idle: Callable[[], object] | None = None

    @property
    def open(self) -> int:
        """See the class."""
        return len(self._turns)

    @property
    def refusing(self) -> bool:
        """See the class."""
        return self._draining

    def handlers(self) -> Any:
        """A `grpc.GenericRpcHandler`, for `server.add_generic_rpc_handlers((...,))`."""
        grpc = self._grpc
        methods = {
            "Complete": grpc.unary_unary_rpc_method_handler(self._complete),
            "Stream": grpc.unary_stream_rpc_method_handler(self._stream),
            "Send": grpc.stream_unary_rpc_method_handler(self._send),
            "Converse": grpc.stream_stream_rpc_method_handler(self._converse),
        }
        if self._hub is not None:
            methods["Resume"] = grpc.unary_stream_rpc_method_handler(self._resume)
            methods["Cancel"] = grpc.unary_unary_rpc_method_handler(self._cancel)
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    def refuse(self, *, idle: Callable[[], object]) -> None:
        """Refuse what comes from now on as draining, let what is open go on, and call `idle` when nothing is."""
        self._draining = True
        self._idle = idle
        for conversation in tuple(self._conversations):
            conversation.drain()
        if not self._turns:
            idle()

    def drain(self) -> None:
        """Refuse what comes from now on, and end every open call as draining: UNAVAILABLE, which clients may try again."""
        self._draining = True
        if self._turns:
            LOGGER.info("%d gRPC streams are told that the server drains", len(self._turns))
        for turn in tuple(self._turns):
            turn.stop("draining")
        for conversation in tuple(self._conversations):
            conversation.drain()

    # -- the methods

    async def _complete(self, data: bytes, context: CallContext) -> bytes:
        request = GrpcRequest("complete", context, input=(await self._read(self._wire.asked, data, context))[0])
        await self._owner_of(request, context)
        into = Collecting()
        await self._answer(self._begin(partial(self._asked, request), into, context), context)
        return await self._whole(into, context)

    async def _stream(self, data: bytes, context: CallContext) -> None:
        piece, id = await self._read(self._wire.asked, data, context)
        request = GrpcRequest("stream", context, input=piece)
        if self._hub is not None:
            await self._answer_kept(request, id, context)
            return
        await self._owner_of(request, context)
        into = Writing(self._wire)
        await self._answer(self._begin(partial(self._asked, request), into, context), context)

    async def _send(self, _inputs: object, context: CallContext) -> bytes:
        into = Collecting()
        await self._hear("send", context, lambda number: into)
        return await self._whole(into, context)

    async def _converse(self, _inputs: object, context: CallContext) -> None:
        await self._hear("converse", context, lambda number: Writing(self._wire, turn=number))

    async def _resume(self, data: bytes, context: CallContext) -> None:
        asked = await self._read(partial(self._wire.parsed, "ResumeRequest"), data, context)
        owner = await self._owner_of(GrpcRequest("stream", context), context)
        await self._read_kept(asked.id, asked.after or None, owner, context, told=True)

    async def _cancel(self, data: bytes, context: CallContext) -> bytes:
        assert self._hub is not None
        asked = await self._read(partial(self._wire.parsed, "CancelRequest"), data, context)
        owner = await self._owner_of(GrpcRequest("stream", context), context)
        try:
            ended = await self._hub.cancel(asked.id, asked.reason[:_LONGEST_REASON] or None, owner=owner)
        except Exception as error:
            await self._fail(error, context)
        reply: bytes = self._wire.schema.CancelReply(ended=ended).SerializeToString()
        return reply

    # -- one turn

    def _asked(self, request: GrpcRequest) -> Stream[Any]:
        return stream_of(self._handler(request))

    def _begin(
        self, make: Callable[[], Stream[Any]], into: Taking, context: CallContext, over: Callable[[], None] | None = None
    ) -> Turn:
        def forget() -> None:
            self._turns.discard(turn)
            if self._idle is not None and not self._turns:
                self._idle()
            if over is not None:
                over()

        turn = Turn(make, into, context.write, forget)
        self._turns.add(turn)
        if self._draining:
            turn.stop("draining")
        return turn

    async def _answer(self, turn: Turn, context: CallContext, *, token: Callable[[], str] = str) -> None:
        """Wait for the end of a turn that is all of a call; end the call if it failed."""
        cancelled: asyncio.CancelledError | None = None
        while not turn.done:
            try:
                await turn.ended()
            except asyncio.CancelledError as error:
                cancelled = error
                turn.stop("left")
        if cancelled is not None:
            raise cancelled
        await turn.ended()
        await self._judge(turn, context, token=token)

    async def _judge(self, turn: Turn, context: CallContext, *, token: Callable[[], str] = str) -> None:
        if turn.why == "draining":
            await self._abort(outcome_of(StreamDraining(_DRAINING)), context, token())
        if turn.failure is not None and not turn.lost:
            await self._fail(turn.failure, context, token(), began=turn.began)

    async def _whole(self, into: Collecting, context: CallContext) -> bytes:
        try:
            return self._wire.answer(into.message)
        except Exception as error:  # an event that no message can carry
            await self._fail(error, context, began=True)

    # -- input that goes on

    async def _hear(self, method: Method, context: CallContext, into: Callable[[int], Taking]) -> None:
        """Read the client's input into the turn that it belongs to, until it has no more and the last turn is over."""
        await self._owner_of(GrpcRequest(method, context), context)
        conversation = _Conversation(self, method, context, into)
        self._conversations.add(conversation)
        if self._draining:
            conversation.drain()
        try:
            await conversation.run(self._wire, self._grpc.aio.EOF)
        except RemoteProtocolError:
            await conversation.leave("broken")
            await self._fail(_bad("The input cannot be read: it is no message of this method."), context)
        except BaseException:
            await conversation.leave("left")
            raise
        finally:
            self._conversations.discard(conversation)
            conversation.forget()
        if conversation.draining:
            await self._abort(outcome_of(StreamDraining(_DRAINING)), context, "")
        if conversation.turn is None:
            await self._fail(_bad("A call needs input."), context)
        else:
            await self._judge(conversation.turn, context)

    def begin_turn(self, request: GrpcRequest, into: Taking, over: Callable[[], None]) -> Turn:
        """A turn of a conversation."""
        return self._begin(partial(self._asked, request), into, request.context, over)

    # -- streams of a hub

    async def _answer_kept(self, request: GrpcRequest, id: str, context: CallContext) -> None:
        assert self._hub is not None
        if self._draining:
            await self._abort(outcome_of(StreamDraining(_DRAINING)), context, "")
        if len(id) > _LONGEST_ID or not id.isprintable():
            await self._fail(_bad(f"A stream's name has 1 to {_LONGEST_ID} printable characters."), context)
        owner = await self._owner_of(request, context)
        try:
            name = await self._start_kept(request, id, owner)
        except Exception as error:
            await self._fail(error, context)
        await self._read_kept(name, None, owner, context, told=False)

    async def _start_kept(self, request: GrpcRequest, id: str, owner: str | None) -> str:
        """The name of the stream, which runs already if the client chose that of one that does."""
        hub, starts = self._hub, self._starts
        assert hub is not None
        assert starts is not None

        async def start(if_exists: IfExists) -> Generation:
            source = partial(self._asked, request)
            return await hub.start(id or None, source, owner=owner, on_disconnect=self._on_disconnect, if_exists=if_exists)

        if not id:
            return (await start("raise")).id
        await starts.begin(id, start, owner=owner, if_running="join")
        return id

    async def _read_kept(self, id: str, after: str | None, owner: str | None, context: CallContext, *, told: bool) -> None:
        hub = self._hub
        assert hub is not None
        view = KeptView(self._wire, id, told=told)

        def make() -> Stream[Any]:
            return hub.read(id, view, after=after, policy="lag", lag=LAG_EVENTS, errors="yield", asked=(owner,))

        turn = self._begin(make, Copying(), context)
        await self._answer(turn, context, token=lambda: view.token)

    async def _owner_of(self, request: GrpcRequest, context: CallContext) -> str | None:
        if self._owner is None:
            return None
        try:
            owner = self._owner(request)
            return await owner if inspect.isawaitable(owner) else owner
        except Exception as error:
            await self._fail(error, context)

    # -- statuses

    async def _read(self, read: Callable[[bytes], T], data: bytes, context: CallContext) -> T:
        """What a client's bytes say, or a status if they say nothing."""
        try:
            return read(data)
        except RemoteProtocolError:
            await self._fail(_bad("The request cannot be read: it is no message of this method."), context)

    async def _fail(
        self, failure: Exception | ErrorEvent, context: CallContext, token: str = "", *, began: bool = False
    ) -> NoReturn:
        """End the call with the status of a failure."""
        if isinstance(failure, Exception) and isinstance(failure, self._grpc.aio.AbortError):  # the handler ended it by itself
            raise failure
        if isinstance(failure, Refused):
            status, message, wait = status_of_http(failure.status), said(failure.message), failure.retry_after
            outcome = Outcome("error", failure.code, message, wait is not None, wait)
            await self._abort_with(status, message, trailers_of(outcome, status, message), context)
        outcome = report(failure, before_first_byte=not began)
        await self._abort(outcome, context, token)

    async def _abort(self, outcome: Outcome, context: CallContext, token: str) -> NoReturn:
        status, message = status_of(outcome)
        await self._abort_with(status, message, trailers_of(outcome, status, message, last_token=token), context)

    async def _abort_with(self, status: str, message: str, trailers: Trailers, context: CallContext) -> NoReturn:
        raise await context.abort(getattr(self._grpc.StatusCode, status), message, trailers)


def _bad(message: str) -> Refused:
    """What the client alone is to blame for: nothing that a log needs a traceback of."""
    return Refused(400, message, code="bad-request")


class _Conversation:
    """The turns of one call, one after the other.

    Attributes:
        turn: The newest.
        draining: Whether it was ended between two turns.
    """

    def __init__(self, servicer: StreamsServicer, method: Method, context: CallContext, into: Callable[[int], Taking]) -> None:
        self._servicer = servicer
        self._method: Method = method
        self._context = context
        self._into = into
        self._number = 0
        self._queue: InputQueue | None = None
        self._reading: asyncio.Task[Any] | None = None
        self._handing: asyncio.Task[None] | None = None
        self._drains = False
        self._all_heard = False
        self.turn: Turn | None = None
        self.draining = False

    async def run(self, wire: Wire, end: object) -> None:
        """Until there is no more input and the last turn is over, or one has failed.

        Raises:
            RemoteProtocolError: what came is no `Input`.
        """
        loop = asyncio.get_running_loop()
        while not self._drained():
            self._reading = loop.create_task(self._read())
            if not await self._first_of(self._reading):
                return
            data = self._reading.result()
            if data is end or data is None:
                self._all_heard = True
                break
            piece, number, cancels = wire.given(data)
            if self._method == "send":
                number = 0
            if number < self._number:
                continue
            if self.turn is None or number > self._number:
                await self._change(number)
                if self._failed():
                    return
            if cancels:
                self.turn.stop("cancelled")  # type: ignore[union-attr]  # there is one since the lines above
            elif piece is not None and self._queue is not None:
                self._handing = loop.create_task(self._queue.put(piece))
                if not await self._first_of(self._handing):
                    return
        if self._queue is not None:
            self._queue.end()
        if self.turn is not None:
            await self.turn.ended()

    def drain(self) -> None:
        """End the call as soon as no turn runs, unless it is about to end because there is no more input."""
        self._drains = True
        if self._drained() and self._reading is not None:
            self._reading.cancel()

    def _drained(self) -> bool:
        turn = self.turn
        self.draining = self._drains and not self._all_heard and (turn is None or turn.done)
        return self.draining

    async def leave(self, why: Why) -> None:
        """Call the last turn off, and wait for it whatever cancels this task meanwhile."""
        turn = self.turn
        while turn is not None and not turn.done:
            turn.stop(why)
            try:
                await turn.ended()
            except asyncio.CancelledError:
                continue

    def forget(self) -> None:
        """Wait for no more input."""
        for task in (self._reading, self._handing):
            if task is not None and not task.done():
                task.cancel()

    async def _read(self) -> Any:
        return await self._context.read()

    async def _first_of(self, task: asyncio.Task[Any]) -> bool:
        """Wait for a task, or for a turn that ends the call; whether it is to go on."""
        while not self._failed():
            if task.done():
                return not task.cancelled()
            if self._drained():
                return False
            turn = self.turn
            if turn is None or turn.done:
                await asyncio.wait((task,))
            else:
                await asyncio.wait((task, turn.task), return_when=asyncio.FIRST_COMPLETED)
        return False

    def _failed(self) -> bool:
        turn = self.turn
        if turn is None or not turn.done:
            return False
        ended = turn.failure is not None or turn.lost or turn.why == "draining"
        return ended or self._method == "send"

    async def _change(self, number: int) -> None:
        """End the turn that runs, and begin the next."""
        if self.turn is not None:
            self.turn.stop("cancelled")
            await self.turn.ended()
            if self._failed():
                return
        self._number = number
        queue = self._queue = InputQueue()
        request = GrpcRequest(self._method, self._context, inputs=queue, turn=number)
        self.turn = self._servicer.begin_turn(request, self._into(number), queue.leave)
