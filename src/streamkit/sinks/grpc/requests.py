"""What a handler gets of a gRPC call, and the input that comes while it answers."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, Literal, Protocol, TypeAlias

from streamkit.dialects.grpc.messages import Piece
from streamkit.flow.channel import Channel
from streamkit.flow.runs import Run
from streamkit.flow.sources import Feed, Source
from streamkit.flow.streams import Stream
from streamkit.flow.tasks import current_backend

__all__ = ["PIECES", "CallContext", "GrpcRequest", "InputQueue", "Method"]

Method: TypeAlias = Literal["complete", "stream", "send", "converse"]

PIECES: Final = 16
"""Most pieces of input that wait for a handler; then gRPC's own flow control holds the client back."""


class CallContext(Protocol):
    """What is used of a `grpc.aio.ServicerContext`."""

    async def read(self) -> Any: ...
    async def write(self, message: bytes) -> None: ...
    async def abort(self, code: Any, details: str = ..., trailing_metadata: Any = ...) -> Any: ...
    def invocation_metadata(self) -> Any: ...
    def peer(self) -> str: ...
    def time_remaining(self) -> float | None: ...


class GrpcRequest:
    """One call, or one turn of a conversation.

    Attributes:
        method: "complete", "stream", "send" or "converse".
        input: What was asked: a `str`, a `DataDelta` (bytes with their media type), another JSON value, or None. For "send" and
            "converse", where input comes bit by bit, None.
        turn: The number of the turn in a conversation; 0 for all else.
        context: The `grpc.aio.ServicerContext`, for what is not here: authentication, compression ...
    """

    __slots__ = ("_inputs", "_metadata", "context", "input", "method", "turn")

    def __init__(
        self, method: Method, context: CallContext, *, input: Piece = None, inputs: InputQueue | None = None, turn: int = 0
    ) -> None:
        self.method: Method = method
        self.input = input
        self.turn = turn
        self.context = context
        self._inputs = inputs
        self._metadata: Mapping[str, str | bytes] | None = None

    @property
    def metadata(self) -> Mapping[str, str | bytes]:
        """The call's metadata by name in small letters; of several of one name the last. Names in `-bin` have bytes."""
        if self._metadata is None:
            self._metadata = MappingProxyType(dict(self.context.invocation_metadata() or ()))
        return self._metadata

    @property
    def deadline(self) -> float | None:
        """Seconds that are left for the call; None if its client has set no limit."""
        return self.context.time_remaining()

    @property
    def peer(self) -> str:
        """The client's address as gRPC has it, such as "ipv4:127.0.0.1:40312"."""
        return self.context.peer()

    @property
    def inputs(self) -> Stream[Any]:
        """The input piece by piece, as it comes: to be read once. For calls with one input that one alone.

        Memory: 16 pieces, each as large as the server lets a message be; a handler that does not read holds the client back.
        """
        if self._inputs is None:
            return Stream(Source("the input of a call", lambda run: Feed(_one(self.input), shape="items")))
        return self._inputs.stream

    def __repr__(self) -> str:
        """The method and the client, not what was asked."""
        return f"<GrpcRequest {self.method} from {self.peer}>"


async def _one(piece: Piece) -> Any:
    if piece is not None:
        yield piece


class InputQueue:
    """Pieces on their way from the wire to a handler.

    Attributes:
        stream: The handler's end.
    """

    __slots__ = ("_channel", "_waiter", "stream")

    def __init__(self) -> None:
        self._channel: Channel[Piece] = Channel(PIECES)
        self._waiter = current_backend().waiter()
        channel = self._channel

        def open_feed(run: Run[Any]) -> Feed:
            return Feed(channel, shape="drains", closers=[("input", channel.close)])

        self.stream: Stream[Any] = Stream(Source("the input of a call", open_feed))

    async def put(self, piece: Piece) -> None:
        """Hand a piece over; waits while 16 are unread. What nobody will read is dropped."""
        channel = self._channel
        if not channel.has_room:
            await channel.wait_for_room(self._waiter)
        if not channel.closed:
            channel.put(piece)

    def end(self) -> None:
        """Nothing more will come."""
        self._channel.end()

    def leave(self) -> None:
        """Nobody reads any more."""
        if not self._channel.closed:
            self._channel.close()
