"""Answers for the AI SDK 7's `WebSocketChatTransport`, over the same connections and out of the same hub as our own protocol.

    async def answer(request):
        return model.stream(request.input["messages"])

    app = AISDKWebSocketRoutes(answer, owner=who)          # everything else as `WebSocketRoutes` has it

A chat's `id` names its stream. A `send` starts an answer, and stops the one that runs: two cannot be shown in one chat. A `resume`
replays the one that runs, whoever started it, and is told `no-active` where none does. An `abort` stops what its request asked
for; a page that is closed sends none, so its answer goes on, and can be resumed.

Each request has frames of its own, numbered from 0. A connection may read one stream several times (React mounts twice).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from streamkit.dialects.ai_sdk import DIALECT
from streamkit.dialects.outcomes import MESSAGES
from streamkit.dialects.websocket.ai_sdk import (
    AbortFrame,
    ResumeFrame,
    SendFrame,
    chunk_frame,
    end_frame,
    error_frame,
    no_active_frame,
    read_frame,
    start_frame,
)
from streamkit.dialects.websocket.messages import Cancel, End, Malformed, RefusedMessage, Resume, Send, ServerMessage, Started
from streamkit.errors import UnknownStream
from streamkit.events import ErrorEvent, Event
from streamkit.hub.log import Log
from streamkit.hub.reading import View
from streamkit.sinks.encodings import HubCodec
from streamkit.sinks.failures import report
from streamkit.sinks.refusals import Refused
from streamkit.sinks.websocket.reading import Connection, Reading
from streamkit.sinks.websocket.requests import SocketRequest
from streamkit.sinks.websocket.serving import WebSocketRoutes
from streamkit.sinks.websocket.session import Session
from streamkit.sinks.websocket.sockets import Outgoing

__all__ = ["AISDKSession", "AISDKWebSocketRoutes"]

# One chunk is one line, so that what is made once for all readers of a stream can be told apart again.
_CHUNKS: Final = msgspec.structs.replace(DIALECT, framing="ndjson")
_DONE: Final = b"[DONE]"

# Why a request is answered with `no-active`: a word that only goes from here to `worded`.
_NO_ACTIVE: Final = "no-active"


class _Answer(Reading):
    """One request's answer: the hub's stream as chunks."""

    __slots__ = ("_codec", "aborted", "seen", "superseded")

    def __init__(self, connection: Connection, request: str, find: Callable[[Reading], Awaitable[str]], seen: int) -> None:
        super().__init__(connection, request, find, None)
        self.aborted = False
        # Another request of this connection has started a new answer in its chat.
        self.superseded = False
        self.seen = seen
        self._codec: HubCodec | None = None

    async def run(self) -> None:
        """See `Reading`."""
        try:
            await super().run()
        finally:
            if self._codec is not None:
                self._codec.leave()

    def _fail(self, error: Exception) -> None:
        super()._fail(error)
        if isinstance(error, Refused) and error.code == _NO_ACTIVE:
            self.refused = False  # each page asks when it is loaded

    def _view(self, stream: str) -> View:
        self._codec = HubCodec(stream, _CHUNKS, policy=self._connection.limits.policy)
        assert self.request is not None
        return _Frames(self.request, self._codec, self.seen)


class _Frames:
    """What one request makes of the log (a `View` of the hub). The chunks are made once for all; their frames are its own."""

    __slots__ = ("_codec", "_request", "_seen", "_sequence")

    def __init__(self, request: str, codec: HubCodec, seen: int) -> None:
        self._request = request
        self._codec = codec
        self._seen = seen
        self._sequence = 0

    def __call__(self, log: Log, events: Sequence[Event], offsets: Sequence[int], /) -> Sequence[Outgoing]:
        """See `View`."""
        request, out = self._request, list[Outgoing]()
        for item in self._codec(log, events, offsets):
            if not isinstance(item, bytes):
                return [*out, self._failed(item)]
            for chunk in item.split(b"\n"):
                if not chunk or chunk == _DONE:
                    continue
                if self._sequence > self._seen:
                    out.append(Outgoing(chunk_frame(request, self._sequence, chunk)))
                self._sequence += 1
        if log.over and offsets[-1] == log.head - 1:
            out.append(Outgoing(end_frame(request), ends=True))
        return out

    def _failed(self, failure: Exception | ErrorEvent) -> Outgoing:
        return Outgoing(error_frame(self._request, report(failure, before_first_byte=not self._sequence).message), ends=True)


class AISDKSession(Session):
    """A `Session` that speaks the AI SDK's frames; its readings go by the number of their request."""

    __slots__ = ()

    def _greet(self) -> None:
        """The server says nothing before it is asked."""

    def _hear(self, text: str) -> None:
        match read_frame(text):
            case SendFrame() as frame:
                self._answer(frame, text)
            case ResumeFrame() as frame:
                self._replay(frame)
            case AbortFrame() as frame:
                self._abort(frame.request)
            case Malformed() as wrong:
                self._refuse(RefusedMessage(wrong.code, wrong.message, wrong.request))

    def _answer(self, frame: SendFrame, text: str) -> None:
        asked = SocketRequest(
            self._request.scope, owner=self.owner, stream=frame.id, body=text.encode("utf-8", "replace"), token=self._request.token
        )

        async def find(reading: Reading) -> str:
            name, _ = await self._generations.begin(asked, "interrupt")
            assert isinstance(reading, _Answer)
            if reading.aborted:
                self._cancel(Cancel(name))
            return name

        message = Send(stream=frame.id, request=frame.request)
        if self._is_taken(frame.request) or not self._may_start(message):
            return
        for reading in self._readings.values():
            if isinstance(reading, _Answer) and reading.stream == frame.id:
                reading.superseded = True
        self._start(message, find, None)

    def _replay(self, frame: ResumeFrame) -> None:
        async def find(reading: Reading) -> str:
            assert isinstance(reading, _Answer)
            reading.seen = -1 if frame.last_sequence is None else frame.last_sequence
            try:
                status = await self.hub.look(frame.id, asked=(self.owner,), action="subscribe")
            except UnknownStream:
                raise _no_active() from None
            if status.state != "running":
                raise _no_active()
            return frame.id

        message = Resume(frame.id, frame.request)
        if not self._is_taken(frame.request) and self._may_start(message):
            self._start(message, find, None)

    def _abort(self, request: str) -> None:
        reading = self._readings.get(request)
        if not isinstance(reading, _Answer) or reading.ended:  # it has ended meanwhile, which its client could not know
            return
        reading.aborted = True
        if reading.started and not reading.superseded:
            assert reading.stream is not None
            self._cancel(Cancel(reading.stream))

    def _is_taken(self, request: str) -> bool:
        """Refuse a second request of one number: nobody could tell their frames apart."""
        taken = request in self._readings
        if taken:
            self._refuse(RefusedMessage("bad-message", "There is a request of this number already.", request))
        return taken

    def _reading(self, request: str | None, find: Callable[[Reading], Awaitable[str]], after: str | None) -> Reading:
        assert request is not None
        reading = self._readings[request] = _Answer(self, request, find, -1)
        return reading

    async def takes_place(self, reading: Reading) -> None:
        """Each has frames of its own, and waits for no other."""

    def over(self, reading: Reading) -> None:
        """See `Connection`."""
        if reading.request is not None and self._readings.get(reading.request) is reading:
            del self._readings[reading.request]
        super().over(reading)

    def worded(self, message: ServerMessage, reading: Reading | None = None) -> Outgoing:
        """See `Connection`."""
        request = getattr(message, "request", None) or (None if reading is None else reading.request) or ""
        match message:
            case Started():
                return Outgoing(start_frame(request))
            case RefusedMessage(code=code) if code == _NO_ACTIVE:
                return Outgoing(no_active_frame(request))
            case RefusedMessage() | End():
                return Outgoing(error_frame(request, message.message or MESSAGES["error"]))
            case _:
                raise AssertionError(f"this protocol has no word for {type(message).__name__}")


class AISDKWebSocketRoutes(WebSocketRoutes):
    """Answers over WebSockets for `WebSocketChatTransport`: see the top of this module, and `WebSocketRoutes` for the arguments.

    The `SocketRequest` of a start has the whole frame as its `input`: "messages", "id", "trigger", "messageId", "headers", "body"
    and "metadata", none of which is checked beyond being JSON. Its "headers" are what the page says, not what the browser says: who
    somebody is comes from the handshake (`owner`). A page sends all messages of its chat with each new one, files included: give
    `max_message_bytes` room for that, or the connection is closed with 1009.

    >>> AISDKWebSocketRoutes(lambda request: ["You said ", str(len(request.input["messages"])), " things."])
    <AISDKWebSocketRoutes of <lambda>, 0 open>
    """

    _session = AISDKSession


def _no_active() -> Refused:
    return Refused(404, "Nothing runs in this chat.", code=_NO_ACTIVE)
