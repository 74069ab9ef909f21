"""What the Anthropic SDK gives, as events: its streams, helpers, raw responses and un-awaited calls.

The helper of `messages.stream()` tells everything twice: what came on the wire, and events of its own made of it
("text", "input_json" ...), with all that came so far in each. Only what came on the wire is read.
(`streamkit.clients.sdk_streams` says what is read from the response underneath, and when.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from streamkit.clients.decoding import Errors, Recipe, events_of
from streamkit.clients.sdk_streams import SDKDecoder, as_it_came, fields_of, frame_of, underneath
from streamkit.dialects.protocol import Decoder, Dialect, InFrame
from streamkit.events import Event
from streamkit.flow.plan import describe
from streamkit.flow.streams import Stream
from streamkit.wire.sse import Frame

__all__ = ["from_anthropic"]


def from_anthropic(source: object, *, errors: Errors = "raise", provider: str | None = "anthropic") -> Stream[Event]:
    """The events of a message that the Anthropic SDK streams.

    Args:
        source: Any of these, of `messages` or `beta.messages`, of the async or the sync client, those for Bedrock and
            Vertex too: `create(..., stream=True)` awaited or not; the manager of `stream(...)`, entered or not; the raw
            response of `with_streaming_response.create(...)`, entered or not, or of `with_raw_response`; an iterable of
            events, objects or dicts; or a callable without arguments that gives one of these, which can be run again.
            It is called in the event loop: for a sync client, outside of `.iter()`, give the raw response's manager
            instead, which is entered on a thread.
        errors: "raise", or "yield" to get an `ErrorEvent` as the last event instead.
        provider: Who answers, for `Start.provider` and errors.

    Yields:
        Events, those of one network read together. `Finish` is last, and only if the answer is complete.

    Memory: one event, and the answer so far (for `partial`). A sync stream is read on a thread, 2 reads ahead.
        A callable itself is called in the event loop, which a sync `create` would hold up until the headers are there: let it
        give `with_streaming_response.create(...)` or `stream(...)`, whose request is sent on the thread.
    Cancellation: the HTTP response is closed at once, also while the SDK's stream object is still referenced.
    Raises:
        StreamTruncated: the stream ended before the answer did; `partial` is what came.
        SourceError: an error in the stream (provider, code, retryable, partial).
        RemoteProtocolError: what came is no such stream.
        StreamConsumed: the SDK's stream was read or closed before.
        TypeError: nothing that streams, such as the answer of a call without `stream=True`.
        What the SDK and its HTTP client raise passes untouched, also under errors="yield" if there is no stream yet.

    >>> import asyncio
    >>> events = [
    ...     {"type": "message_start", "message": {"id": "m1", "model": "m", "usage": {"input_tokens": 3, "output_tokens": 1}}},
    ...     {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    ...     {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
    ...     {"type": "content_block_stop", "index": 0},
    ...     {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
    ...     {"type": "message_stop"},
    ... ]
    >>> asyncio.run(from_anthropic(events).join())
    'Hi'
    """
    recipe = Recipe(_MESSAGES, errors=errors, provider=provider, adapt=underneath, objects=as_it_came)
    label = f"from_anthropic({describe(source)}{'()' if callable(source) else ''})"
    return events_of(underneath(source), recipe, label)


def _decoder(*, provider: str | None = None) -> Decoder:
    return SDKDecoder(_frame, _dialect, "anthropic", provider=provider)


_MESSAGES: Final = Dialect("anthropic-sdk", "sse", decoder=_decoder)


def _dialect(frame: InFrame) -> str:
    return "anthropic"


# What the wire says, by its first word, and what the helper puts into it: all that came so far.
_TOLD: Final[Mapping[str, tuple[str, ...]]] = {
    "content_block_stop": ("type", "index"),
    "message_stop": ("type",),
}
_NOTHING: Final[dict[str, Any]] = {}
_OF_THE_WIRE: Final = ("message_", "content_block_", "ping", "error")


def _frame(item: Any) -> Frame | None:
    """An event as the frame that it came in; None for the helper's own."""
    fields: dict[str, Any] = getattr(item, "__dict__", _NOTHING)
    kind = fields.get("type")
    if not isinstance(kind, str):
        return _plain(item)
    if kind == "content_block_delta":
        delta = fields.get("delta")
        if not getattr(delta, "__pydantic_extra__", True):  # nothing but what is declared: its fields are all there is
            delta = delta.__dict__
        return frame_of(kind, {"type": kind, "index": fields.get("index"), "delta": delta})
    told = _TOLD.get(kind)
    if told is not None:
        return frame_of(kind, {name: fields.get(name) for name in told})
    return frame_of(kind, fields_of(item)) if kind.startswith(_OF_THE_WIRE) else None


def _plain(item: Any) -> Frame:
    kind = cast("Mapping[str, object]", item).get("type") if isinstance(item, Mapping) else None
    if not isinstance(kind, str):
        raise TypeError(f"an event of a message was expected, got a {type(cast('object', item)).__name__}")
    return frame_of(kind, cast("Mapping[str, Any]", item))
