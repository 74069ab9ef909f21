"""What OpenAI's and Anthropic's SDKs have in common: one generator wrote both.

No SDK is imported: objects are told apart by what they are called and what they can do. An SDK's stream
parses and validates each event in Python; underneath it is an HTTP response, which our decoder reads for a
tenth of the cost and which still shows what the SDK hides: pings, the end marker, a body that was cut. So:

    a stream of the SDK's own class, unread        the response underneath
    a helper's manager (`.stream(...)`)            entered by us, then the same: nobody else holds what it gives
    a helper that the caller entered               event by event, so that its final message stays right
    a raw response                                 its bytes
    begun, traced, wrapped, of another wire        event by event
    a generator                                    event by event, and the SDK's stream inside is closed with it
    a whole answer, a closed stream                refused, saying what to do

An SDK's object becomes the frame that it came in, and the decoder of the wire reads that: one reading of a
provider's words. The frame is written from the fields that were set, without the schemas of the SDK, some of
which take longer to build than the whole answer takes to come.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, cast

import msgspec

from streamkit.dialects.protocol import Decoder, InFrame
from streamkit.dialects.registry import get
from streamkit.errors import StreamConsumed, StreamkitError
from streamkit.events import Event
from streamkit.wire.sse import Frame

__all__ = ["SDKDecoder", "as_it_came", "fields_of", "frame_of", "underneath"]

_EVENT_STREAM: Final = "application/vnd.amazon.eventstream"

_SDKS: Final = ("openai", "anthropic")

# What an SDK's helpers write into the answer, and no wire has.
_PARSED: Final = frozenset({"parsed", "parsed_arguments"})


# ---- whatever an SDK gives, as what is best read -------------------------------------------------


def underneath(value: Any) -> Any:
    """What to read of a value that an SDK gave: the response underneath, where that is safe, or the value itself.

    Raises:
        TypeError: a whole answer.
        StreamConsumed: a stream that is closed.
    """
    if isinstance(value, Mapping) or (hasattr(value, "model_dump") and not hasattr(value, "__aiter__")):
        # Iterable, as all models of pydantic are, but by field.
        name = type(cast("object", value)).__name__
        raise TypeError(f"a {name} is a whole answer, not a stream: call create(..., stream=True), or the SDK's stream(...)")
    kind = type(value).__name__
    if inspect.isasyncgen(value):
        return _AsyncGenerator(value)
    if inspect.isgenerator(value):
        return _SyncGenerator(value)
    if kind.endswith("StreamManager"):
        return _AsyncHelper(value) if hasattr(value, "__aenter__") else _SyncHelper(value)
    response = getattr(value, "http_response", None)
    if response is not None:
        _check_open(value, response)
        # Bytes of a wire that is not read here: the SDK reads it.
        return value.parse() if _content_type(response).startswith(_EVENT_STREAM) else response
    response = _response_of(value)
    if response is None:
        return value
    _check_open(value, response)
    return response if _is_unread_stream(value, response) else value


def _response_of(value: Any) -> Any:
    """The response of an SDK's stream or helper, or of a proxy around one; None for all else."""
    if inspect.isclass(value) or not (hasattr(value, "__aiter__") or hasattr(value, "__iter__")):
        return None
    # `_response`: OpenAI's helpers.
    response = getattr(value, "response", None) or getattr(value, "_response", None)
    return response if hasattr(response, "aiter_raw") or hasattr(response, "iter_raw") else None


def _check_open(value: Any, response: Any) -> None:
    iterator: Any = getattr(value, "__dict__", {}).get("_iterator")
    # A generator that is over has no frame.
    over = getattr(iterator, "ag_frame", iterator) is None or getattr(iterator, "gi_frame", iterator) is None
    over = over and iterator is not None
    # A body that is in memory (tests have such) is closed from the beginning, and can be read all the same.
    closed = getattr(response, "is_closed", False) is True and not hasattr(response, "_content")
    if over or closed:
        how = "was read" if over or getattr(response, "is_stream_consumed", False) is True else "was closed before it was read"
        raise StreamConsumed(
            f"this {type(value).__name__} {how}: make a new request, or give a callable that makes one, to run it again"
        )


def _is_unread_stream(value: Any, response: Any) -> bool:
    kind: type[object] = type(value)  # pyright: ignore[reportUnknownVariableType]  # of Any
    return (
        # By name, so that a proxy around it, which passes attributes on, is not mistaken for the thing itself.
        kind.__name__ in ("AsyncStream", "Stream")
        and type(getattr(value, "_decoder", None)).__module__ == f"{kind.__module__.partition('.')[0]}._streaming"
        and not getattr(response, "is_stream_consumed", True)
        and not getattr(response, "is_closed", True)
        # An SDK that traces by itself wants to see the events.
        and getattr(getattr(response, "stream", None), "stream_observer", None) is None
    )


def _content_type(response: Any) -> str:
    headers = getattr(response, "headers", None)
    found = cast("Mapping[str, object]", headers).get("content-type") if isinstance(headers, Mapping) else None
    return found if isinstance(found, str) else ""


class _Helper:
    """A `.stream(...)` helper's manager, which gives the response where the helper would only retell it."""

    def __init__(self, manager: Any) -> None:
        self._manager = manager

    @property
    def _api_request(self) -> Any:
        """The request that the manager makes when it is entered, where `drop_unopened` looks for it."""
        held: dict[str, Any] = self._manager.__dict__
        return next((held[name] for name in held if name.endswith("__api_request")), None)

    def _inside(self, entered: Any) -> Any:
        # A resumed answer is told from its beginning, and the helper leaves out what was seen.
        if getattr(entered, "_starting_after", None) is None:
            raw = getattr(entered, "_raw_stream", None)
            response = _response_of(raw)
            if response is not None and _is_unread_stream(raw, response):
                return response
        return entered


class _AsyncHelper(_Helper):
    async def __aenter__(self) -> Any:
        return self._inside(await self._manager.__aenter__())

    async def __aexit__(self, *error: object) -> None:
        await self._manager.__aexit__(*error)


class _SyncHelper(_Helper):
    def __enter__(self) -> Any:
        return self._inside(self._manager.__enter__())

    def __exit__(self, *error: object) -> None:
        self._manager.__exit__(*error)


# A generator that loops over an SDK's stream does not close it when it is closed itself: the loop ends, and the stream
# waits for the garbage collector, while the server goes on. The stream is among the generator's variables.


def _streams_in(generator: Any, depth: int = 4) -> list[Any]:
    """The streams of an SDK that a generator holds, itself or through generators, while it is not over."""
    found: list[Any] = []
    frame = getattr(generator, "ag_frame", None) or getattr(generator, "gi_frame", None)
    for value in () if frame is None else list(frame.f_locals.values()):
        if (inspect.isasyncgen(value) or inspect.isgenerator(value)) and depth:
            found += _streams_in(value, depth - 1)
        elif type(value).__module__.partition(".")[0] in _SDKS and _response_of(value) is not None:
            found.append(value)
    return found


class _AsyncGenerator:
    def __init__(self, generator: Any) -> None:
        self._generator = generator

    def __aiter__(self) -> _AsyncGenerator:
        return self

    def __anext__(self) -> Any:
        return self._generator.__anext__()

    async def aclose(self) -> None:
        streams = _streams_in(self._generator)
        try:
            await self._generator.aclose()
        finally:
            for stream in streams:
                await stream.close()


class _SyncGenerator:
    def __init__(self, generator: Any) -> None:
        self._generator = generator

    @property
    def response(self) -> Any:
        """What a thread that blocks in the generator may be reading."""
        return next((_response_of(stream) for stream in _streams_in(self._generator)), None)

    def __iter__(self) -> Any:
        return self._generator

    def close(self) -> None:
        streams = _streams_in(self._generator)
        if not self._generator.gi_running:  # a thread inside is told by the end of its stream
            self._generator.close()
        for stream in streams:
            stream.close()


# ---- an SDK's objects as frames -------------------------------------------------------------------


def as_it_came(item: Any) -> Any:
    """An SDK's object on its way to `SDKDecoder`, which is of one answer and knows more."""
    return (item,)


def fields_of(item: Any) -> dict[str, Any]:
    """The fields of an object that were set, as a new dict."""
    fields: dict[str, Any] = item.__dict__
    given = getattr(item, "__pydantic_fields_set__", None)
    if given is None:
        return dict(fields)
    # Unset fields stay out, so that the decoder sees what the server sent; null is the same to it as nothing.
    found = {name: value for name, value in fields.items() if value is not None and name in given}
    extra = item.__pydantic_extra__
    if extra:
        found.update(extra)
    for name in _PARSED & found.keys():
        del found[name]
    return found


def frame_of(kind: str, fields: Mapping[str, Any]) -> Frame:
    """Fields, with models or without, as a frame.

    Raises:
        TypeError: something inside that no JSON can say.
    """
    try:
        return Frame(kind, _encode(fields).decode())
    except UnicodeEncodeError:  # half a character, which a JSON escape can say and UTF-8 cannot: the decoder knows what to do
        return Frame(kind, json.dumps(fields, default=fields_of))


def _hook(item: Any) -> dict[str, Any]:
    try:
        return fields_of(item)
    except AttributeError:
        raise TypeError(f"a {type(item).__name__} inside an event cannot be written as JSON") from None


_encode: Final = msgspec.json.Encoder(enc_hook=_hook).encode


class SDKDecoder:
    """Reads the frames of an SDK's wire, or its objects; see `Decoder` for the contract, of which objects break one
    rule: what is no event of this SDK is a TypeError at once.

    Args:
        frame: An object as the frame it came in; None for those that only retell others.
        dialect: The dialect of an answer that has this frame, None if the frame does not tell.
        otherwise: The dialect that judges a body that never told.
    """

    __slots__ = ("_decode_many", "_dialect", "_frame", "_inner", "_otherwise", "_provider", "done", "error")

    def __init__(
        self,
        frame: Callable[[Any], Frame | None],
        dialect: Callable[[InFrame], str | None],
        otherwise: str,
        *,
        provider: str | None,
    ) -> None:
        self.error: StreamkitError | None = None
        self.done = False
        self._frame = frame
        self._dialect = dialect
        self._otherwise = otherwise
        self._provider = provider
        self._inner: Decoder | None = None
        self._decode_many = self._first_of

    def decode(self, frame: InFrame) -> list[Event]:
        """The events of one frame."""
        return self.decode_many((frame,))

    def decode_many(self, frames: Iterable[InFrame]) -> list[Event]:
        """The events of all frames of one read, or of one object (`as_it_came`)."""
        if frames.__class__ is tuple and cast("Sequence[object]", frames)[0].__class__ is not Frame:
            frame = self._frame(cast("Sequence[object]", frames)[0])
            if frame is None:
                return []
            frames = (frame,)
        events = self._decode_many(frames)
        inner = self._inner
        if inner is not None:
            self.done = inner.done
            self.error = inner.error
        return events

    def held(self) -> list[Event]:
        """Usage that was counted so far, not final."""
        return [] if self._inner is None else self._inner.held()

    def finish(self) -> list[Event]:
        """The body ended: what the decoder of the answer says of it."""
        inner = self._inner or self._begin(self._otherwise)
        try:
            return inner.finish()
        finally:
            self.done = inner.done
            self.error = inner.error

    def _first_of(self, frames: Iterable[InFrame]) -> list[Event]:
        for frame in frames:
            name = self._dialect(frame)
            if name is not None:
                return self._begin(name).decode_many(frames)
        return []

    def _begin(self, name: str) -> Decoder:
        factory = get(name).decoder
        assert factory is not None
        self._inner = inner = factory(provider=self._provider)
        self._decode_many = inner.decode_many
        return inner
