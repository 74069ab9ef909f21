"""A client of `streamkit.v1.Streams`: what a streamkit server sends over gRPC, as a `Stream` of events or a `Message`.

    async with GrpcClient("127.0.0.1:50051") as client:
        async for event in client.stream("Why is the sky blue?"): ...

How a stream ends:

    status OK, a Finish for each choice that spoke     normally
    status OK without one                              StreamTruncated: somebody on the way has cut it
    another status                                     the error of its code (`streamkit.dialects.grpc.statuses`)

Every error has `.partial`, the answer so far. Leaving a stream early cancels the call, and with it the source at the server.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Mapping
from types import TracebackType
from typing import Any, Final, Self, TypeAlias, cast

from streamkit.clients.grpc_input import InputPump, is_stray
from streamkit.clients.so_far import AnswerSoFar
from streamkit.dialects.grpc.messages import Piece, Wire, wire
from streamkit.dialects.grpc.schema import SERVICE
from streamkit.dialects.grpc.statuses import error_of_status
from streamkit.errors import ConfigError, StreamInterrupted, StreamkitError, StreamTruncated
from streamkit.events import Event, Finish, Message
from streamkit.extras import require
from streamkit.flow.plan import check_count, check_seconds
from streamkit.flow.runs import Run
from streamkit.flow.sources import Feed, Given, Source
from streamkit.flow.streams import Stream
from streamkit.flow.streams import stream as stream_of
from streamkit.flow.tasks import current_backend

__all__ = ["GrpcClient", "Stop", "Turned"]

Metadata: TypeAlias = Mapping[str, str | bytes]

# The names that gRPC over HTTP/2 knows ("Custom-Metadata" in its protocol).
_NAME: Final = re.compile("[0-9a-z_.-]+")
_MOST_TURNS: Final = 2**32 - 1

_CLOSED: Final = "the call was cancelled while it was open: its client or its channel was closed"


class Stop:
    """Among the input of a conversation: stops the answer of a turn. Of the newest, unless told.

    >>> Stop(turn=1).turn
    1
    """

    __slots__ = ("turn",)

    def __init__(self, *, turn: int | None = None) -> None:
        if turn is not None:
            _check_turn("Stop", turn)
        self.turn = turn


class Turned:
    """Among the input of a conversation: a piece of a turn. The first of a higher number ends the turn before.

    >>> Turned(1, "No, the other one.").piece
    'No, the other one.'
    """

    __slots__ = ("piece", "turn")

    def __init__(self, turn: int, piece: Piece) -> None:
        _check_turn("Turned", turn)
        self.turn = turn
        self.piece = piece


class GrpcClient:
    """Asks a server over gRPC.

    Args:
        target: The address, "host:port", or a `grpc.aio` channel, which is never closed here.
        credentials: Of `grpc.ssl_channel_credentials(...)`; None is plain text.
        metadata: Sent with each call. Names in small letters; those in "-bin" have bytes.
        deadline: Seconds that a call may take, to its end; the server is told, and stops. None sets no bound.
        wait_for_ready: Whether a call waits for a server that is not there yet, in the place of failing.
        max_message_bytes: The largest message that is read.
        options: Of gRPC's channel; they win over ours.

    Input is a `str`, a `DataDelta` (bytes with their media type), or what JSON can say: messages, a dict, an `sk.Request`.

    Memory: one message of the wire, and the answer so far (for `partial`); gRPC reads ahead within its flow control.
    Cancellation: the call is cancelled, and with it the source at the server.
    Raises:
        ConfigError, TypeError: arguments that cannot work, at the call; on trio, when it is run: gRPC runs on asyncio only.
        MissingExtra: grpcio or protobuf is not installed.

    >>> GrpcClient("127.0.0.1:50051")
    <GrpcClient of 127.0.0.1:50051>
    """

    def __init__(
        self,
        target: object,
        *,
        credentials: object = None,
        metadata: Metadata | None = None,
        deadline: float | None = None,
        wait_for_ready: bool = False,
        max_message_bytes: int = 4_194_304,
        options: Mapping[str, str | int] | None = None,
    ) -> None:
        if deadline is not None:
            check_seconds("GrpcClient", "deadline", deadline)
        check_count("GrpcClient", "max_message_bytes", max_message_bytes, 1)
        self._aio: Any = require("grpc.aio", extra="grpc", wanted_by="GrpcClient")
        self._wire: Wire = wire()
        # A status; or, where a call is cancelled in the middle of an operation, that this failed.
        self._failures: tuple[type[Exception], ...] = (self._aio.AioRpcError, self._aio.InternalError)
        given: Any = target
        self._own = isinstance(target, str)
        if self._own and not target:
            raise ConfigError("a target is an address such as '127.0.0.1:50051'")
        # gRPC would look for a host of that name, and say after a while that the server is not available.
        if isinstance(target, str) and target.lower().startswith(("http://", "https://")):
            raise ConfigError(
                "a target is host:port, without http:// and https://; for TLS give credentials=grpc.ssl_channel_credentials()"
            )
        if not self._own and not (hasattr(given, "unary_stream") and hasattr(given, "stream_stream")):
            raise TypeError(f"GrpcClient takes an address or a grpc.aio channel, got {type(target).__name__}")
        if not self._own and (credentials is not None or options is not None):
            raise ConfigError("credentials= and options= are for an address; a channel has its own")
        self._peer = str(target) if self._own else "the server"
        self._channel: Any = None if self._own else target
        self._loop: object = None
        self._credentials = credentials
        self._metadata = _checked_metadata(metadata)
        self._deadline = deadline
        self._wait_for_ready = wait_for_ready
        self._options = {"grpc.max_receive_message_length": max_message_bytes, **(options or {})}

    # -- asking

    def stream(
        self, input: Piece, /, *, id: str = "", deadline: float | None = None, metadata: Metadata | None = None
    ) -> Stream[Event]:
        """The answer as it comes. The stream can be run again, and asks again.

        Args:
            input: What is asked; see the class.
            id: The name that a server which keeps streams gives it; one that runs is joined, one that is over makes room.
            deadline, metadata: Of this call; the metadata is sent besides the client's.

        Yields:
            Events, those of one message together. `Finish` is last, and only if the answer is complete. While it is run, `about`
            of its Run has "token", to resume from, and "stream", its name, if the server keeps it. The token is of the last
            message whose events have all been given: who leaves in the middle of one gets its events again. With operators that
            read ahead it is ahead of what they have given: take it from a stream without them.

        Raises:
            LocalProtocolError: at the call: input that JSON cannot say.
            StreamTruncated, StreamInterrupted, StreamDraining, StreamTimeout, SourceError ...: when run, with `partial`.

        >>> async def main():
        ...     from streamkit.sinks.grpc.serving import GrpcServer
        ...     async with GrpcServer(lambda request: ["Hello to ", request.input]) as server:
        ...         async with GrpcClient(f"127.0.0.1:{server.port}") as client:
        ...             return await client.stream("you").join()
        >>> import asyncio
        >>> asyncio.run(main())
        'Hello to you'
        """
        data = self._wire.request(_checked(input), id=id)
        options = self._call_options(deadline, metadata)
        return self._reading("Stream", lambda: self._method("unary_stream", "Stream")(data, **options), options)

    async def complete(self, input: Piece, /, *, deadline: float | None = None, metadata: Metadata | None = None) -> Message:
        """The whole answer at once.

        Raises:
            As for `stream`; what had come before a failure is not known here.
        """
        data = self._wire.request(_checked(input))
        options = self._call_options(deadline, metadata)
        return self._wire.message(await self._whole(self._method("unary_unary", "Complete")(data, **options), options))

    async def send(self, inputs: Given[Any], /, *, deadline: float | None = None, metadata: Metadata | None = None) -> Message:
        """The whole answer to input that is sent as it comes.

        Args:
            inputs: Pieces, from anything that `sk.stream` takes; closed when the answer is there, or the call is over.

        Raises:
            As for `stream`; and what the source of the input fails with.
        """
        options = self._call_options(deadline, metadata)
        pump = InputPump(stream_of(cast("Stream[Any]", inputs)), _Pieces(self._wire).message)
        call = self._method("stream_unary", "Send")(**options)
        pump.begin(call)
        try:
            data = await self._whole(call, options, pump)
        finally:
            await pump.leave()
        return self._wire.message(data)

    def converse(
        self, inputs: Given[Any], /, *, deadline: float | None = None, metadata: Metadata | None = None
    ) -> Stream[tuple[int, Event]]:
        """A conversation: input goes out as it comes, while answers come in.

        Args:
            inputs: Pieces, from anything that `sk.stream` takes (a channel, say): plain ones belong to the newest turn; `Turned`
                says to which one, and a higher number ends the answer of the turn before; `Stop()` ends the answer of the newest.
                Closed when the call is over.

        Yields:
            Pairs of the turn's number and an event. Each turn ends with its `Finish`, one that was stopped with "cancelled". The
            stream ends when the input has ended and the last turn is over.

        Raises:
            As for `stream`; and what the source of the input fails with.

        >>> async def main():
        ...     from streamkit.sinks.grpc.serving import GrpcServer
        ...     async with GrpcServer(lambda request: request.inputs.map(str.upper)) as server:
        ...         async with GrpcClient(f"127.0.0.1:{server.port}") as client:
        ...             return await client.converse(["a", "b"]).map(lambda pair: pair[1]).join()
        >>> import asyncio
        >>> asyncio.run(main())
        'AB'
        """
        options = self._call_options(deadline, metadata)
        given = stream_of(cast("Stream[Any]", inputs))
        return self._reading("Converse", lambda: self._method("stream_stream", "Converse")(**options), options, given)

    def resume(
        self, id: str, /, *, after: str | None = None, deadline: float | None = None, metadata: Metadata | None = None
    ) -> Stream[Event]:
        """The rest of a stream that the server keeps.

        Args:
            id: Its name.
            after: The token of what was seen last; None is from the beginning.

        Raises:
            UnknownStream, InvalidToken: when run: no such stream, or somebody else's; a token that it never gave.
            BadRequestError: when run: the server keeps no streams. Others as for `stream`.
        """
        data = self._wire.schema.ResumeRequest(id=id, after=after or "").SerializeToString()
        options = self._call_options(deadline, metadata)
        return self._reading("Resume", lambda: self._method("unary_stream", "Resume")(data, **options), options, after=after or "")

    async def cancel(self, id: str, reason: str = "", /) -> bool:
        """Stop a stream that the server keeps: all who read it get `Finish("cancelled")`.

        Returns:
            Whether this ended it: False where it was over.

        Raises:
            UnknownStream: no such stream, or somebody else's. Others as for `stream`.
        """
        data = self._wire.schema.CancelRequest(id=id, reason=reason).SerializeToString()
        options = self._call_options(None, None)
        reply = await self._whole(self._method("unary_unary", "Cancel")(data, **options), options)
        ended: bool = self._wire.parsed("CancelReply", reply).ended
        return ended

    # -- the channel

    async def aclose(self) -> None:
        """Close the connection; calls that are open fail with StreamInterrupted. A channel that was given stays open."""
        channel, self._channel = self._channel, None if self._own else self._channel
        if self._own and channel is not None:
            await channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<GrpcClient of {self._peer}>"

    def _method(self, kind: str, name: str) -> Callable[..., Any]:
        backend = current_backend()
        if backend.name == "trio":
            raise ConfigError("gRPC for Python runs on asyncio only: use GrpcClient from asyncio, not from trio")
        if self._own and self._channel is not None and self._loop is not backend.loop:
            raise ConfigError("a GrpcClient belongs to the event loop that used it first: make one for each")
        if self._channel is None:
            self._loop = backend.loop
            options = tuple(self._options.items())
            if self._credentials is None:
                self._channel = self._aio.insecure_channel(self._peer, options=options)
            else:
                self._channel = self._aio.secure_channel(self._peer, self._credentials, options=options)
        method: Callable[..., Any] = getattr(self._channel, kind)(f"/{SERVICE}/{name}")

        def call(*data: bytes, **options: Any) -> Any:
            try:
                return method(*data, **options)
            except self._aio.UsageError as error:
                raise ConfigError("the channel that GrpcClient was given is closed: give it one that is open") from error

        return call

    def _call_options(self, deadline: float | None, metadata: Metadata | None) -> dict[str, Any]:
        if deadline is not None:
            check_seconds("GrpcClient", "deadline", deadline)
        return {
            "timeout": self._deadline if deadline is None else deadline,
            "metadata": (*self._metadata, *_checked_metadata(metadata)) or None,
            "wait_for_ready": self._wait_for_ready,
        }

    # -- reading

    def _reading(
        self, name: str, ask: Callable[[], Any], options: dict[str, Any], inputs: Stream[Any] | None = None, *, after: str = ""
    ) -> Stream[Any]:
        def feed(run: Run[Any]) -> Feed:
            reading = _Reading(self, run, options["timeout"], with_turns=inputs is not None, after=after)
            run.keep_partial(reading.so_far.message)
            lists = reading.lists(ask, None if inputs is None else InputPump(inputs, _Pieces(self._wire).message))
            return Feed(lists, shape="lists", closers=[("the call", lists.aclose)])

        return Stream(Source(f"{self._peer}/{name}", feed, repeatable=True))

    async def _whole(self, call: Any, options: dict[str, Any], pump: InputPump | None = None) -> bytes:
        try:
            data: bytes = await call
            return data
        except self._failures as error:
            if pump is not None and pump.failure is not None:
                raise pump.failure from None
            raise self.error_of(error, began=False, deadline=options["timeout"]) from error
        except asyncio.CancelledError as error:
            call.cancel()
            if not is_stray():
                raise
            if pump is not None and pump.failure is not None:
                raise pump.failure from None
            raise StreamInterrupted(_CLOSED) from error

    def error_of(self, error: Any, *, began: bool, deadline: float | None) -> StreamkitError:
        """Our error for one of gRPC's."""
        if isinstance(error, self._aio.InternalError):
            return StreamInterrupted(_CLOSED)
        trailers = tuple(error.trailing_metadata() or ())
        return error_of_status(error.code().name, error.details() or "", trailers, began=began, deadline=deadline, peer=self._peer)

    @property
    def wire(self) -> Wire:
        """Its messages."""
        return self._wire

    @property
    def end_and_errors(self) -> tuple[Any, tuple[type[Exception], ...]]:
        """What gRPC reads at the end, and what it raises."""
        return self._aio.EOF, self._failures


class _Reading:
    """One call on its way to events."""

    def __init__(self, client: GrpcClient, run: Run[Any], deadline: float | None, *, with_turns: bool, after: str) -> None:
        self._client = client
        self._run = run
        self._deadline = deadline
        self._with_turns = with_turns
        self._after = after
        self.so_far = AnswerSoFar()
        self._spoke: set[tuple[int, int]] = set()
        self._finished: set[tuple[int, int]] = set()
        self._began = False

    async def lists(self, ask: Callable[[], Any], pump: InputPump | None) -> AsyncGenerator[list[Any]]:
        """The events of each message; then the judgement of the end."""
        end, rpc_errors = self._client.end_and_errors
        call = ask()
        try:
            if pump is not None:
                pump.begin(call)
            async for batch in self._batches(call, end):
                yield batch
            self._check_end()
        except rpc_errors as error:
            if pump is not None and pump.failure is not None:
                raise pump.failure from None
            raise self._client.error_of(error, began=self._began, deadline=self._deadline) from error
        except asyncio.CancelledError as error:
            if not is_stray():
                raise
            if pump is not None and pump.failure is not None:
                raise pump.failure from None
            raise StreamInterrupted(_CLOSED, partial=self.so_far.message()) from error
        finally:
            call.cancel()
            if pump is not None:
                await pump.leave()

    async def _batches(self, call: Any, end: object) -> AsyncGenerator[list[Any]]:
        read, batch_of, run = call.read, self._client.wire.batch, self._run
        so_far, about = self.so_far, run.about
        listening = run.outermost.listening
        while (data := await read()) is not end:
            self._began = True
            if listening:
                run.outermost.heard_at = run.clock.now()
            batch = batch_of(data)
            if batch.id:
                about["stream"] = batch.id
            events, turn = batch.events, batch.turn
            if not events:
                if batch.token:
                    about["token"] = batch.token
                continue
            so_far.add(events, len(data))
            event: Any  # which type it has is asked by hand: `__class__ is` is 3x isinstance
            for event in events:
                if event.__class__ is Finish:
                    self._finished.add((turn, event.choice))
                elif (choice := getattr(event, "choice", None)) is not None:
                    self._spoke.add((turn, choice))
            if self._with_turns:
                yield [(turn, event) for event in events]
                continue
            if batch.token:
                if len(events) > 1:  # who leaves in the middle of a message is not to resume behind it
                    about.setdefault("token", self._after)
                    yield events[:-1]
                    events = events[-1:]
                about["token"] = batch.token
            yield events

    def _check_end(self) -> None:
        missing = self._spoke - self._finished
        if missing or not self._finished:
            raise StreamTruncated("the call ended without the Finish of its answer: it is cut off", partial=self.so_far.message())


class _Pieces:
    """Pieces of input as messages; it knows which turn is the newest."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._turn = 0

    def message(self, piece: Any) -> bytes:
        """What is sent of a piece, a `Turned` or a `Stop`."""
        if isinstance(piece, Stop):
            return self._wire.cancel(turn=self._turn if piece.turn is None else piece.turn)
        if isinstance(piece, Turned):
            self._turn = max(self._turn, piece.turn)
            return self._wire.input(_checked(piece.piece), turn=piece.turn)
        return self._wire.input(_checked(piece), turn=self._turn)


def _checked(piece: Piece) -> Piece:
    if piece is None:
        raise TypeError("input is text, a DataDelta or a JSON value, and None is none of them")
    return piece


def _check_turn(of: str, turn: int) -> None:
    check_count(of, "turn", turn, 0)
    if turn > _MOST_TURNS:
        raise ConfigError(f"{of}(turn={turn}): at most {_MOST_TURNS}")


def _checked_metadata(metadata: Metadata | None) -> tuple[tuple[str, str | bytes], ...]:
    """As gRPC takes it. Values are not said in errors, for many are secrets."""
    given: list[tuple[Any, Any]] = list((metadata or {}).items())
    for name, value in given:
        if not isinstance(name, str):
            raise TypeError(f"GrpcClient(metadata=...) has names of str, got {type(name).__name__}")
        if not _NAME.fullmatch(name):
            raise ConfigError(f"GrpcClient(metadata=...): a name has small letters, digits and _ - . alone, got {name!r:.80}")
        kind = bytes if name.endswith("-bin") else str
        if not isinstance(value, kind):
            raise TypeError(f"GrpcClient(metadata=...): {name!r} has a value of {kind.__name__}, got {type(value).__name__}")
        if isinstance(value, str) and not (value.isascii() and value.isprintable()):
            raise ConfigError(f"GrpcClient(metadata=...): {name!r} has a value of printable ASCII; name it {name}-bin for bytes")
    return tuple(given)
