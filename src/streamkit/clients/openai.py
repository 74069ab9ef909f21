"""What the OpenAI SDK gives, as events: its streams, helpers, raw responses and un-awaited calls.

Chat completions and Responses come through one door. The SDK's objects say which they are, and so does the
first frame of a body that is read underneath them; nothing is decided before (`streamkit.clients.sdk_streams`
says what is read underneath, and when).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

import msgspec

from streamkit.clients.decoding import Errors, Recipe, events_of
from streamkit.clients.sdk_streams import SDKDecoder, as_it_came, fields_of, frame_of, underneath
from streamkit.dialects.protocol import Dialect, InFrame
from streamkit.events import Event, TextDelta
from streamkit.flow.plan import describe
from streamkit.flow.streams import Stream
from streamkit.wire.sse import Frame

__all__ = ["from_openai"]


def from_openai(source: object, *, errors: Errors = "raise", provider: str | None = "openai") -> Stream[Event]:
    """The events of an answer that the OpenAI SDK streams: a chat completion, or one of the Responses API.

    Args:
        source: Any of these, of `chat.completions` or `responses`, of the async or the sync client, Azure's too:
            `create(..., stream=True)` awaited or not; the raw response of `with_streaming_response.create(...)`,
            entered or not, or of `with_raw_response`; the manager of `stream(...)`, entered or not; an iterable of
            chunks or events, objects or dicts; or a callable without arguments that gives one of these, which can be
            run again.
            It is called in the event loop: for a sync client, outside of `.iter()`, give the raw response's manager
            instead, which is entered on a thread.
        errors: "raise", or "yield" to get an `ErrorEvent` as the last event instead.
        provider: Who answers, for `Start.provider` and errors.

    Yields:
        Events, those of one network read together. `Finish` is last, and only if the answer is complete.

    Memory: one chunk, and the answer so far (for `partial`). A sync stream is read on a thread, 2 reads ahead.
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
    >>> chunks = [{"choices": [{"delta": {"content": "Hi"}, "finish_reason": "stop"}]}]
    >>> asyncio.run(from_openai(chunks).join())
    'Hi'
    """
    recipe = Recipe(_EITHER, errors=errors, provider=provider, adapt=underneath, objects=as_it_came)
    label = f"from_openai({describe(source)}{'()' if callable(source) else ''})"
    return events_of(underneath(source), recipe, label)


class _OpenAIDecoder(SDKDecoder):
    """Either dialect; and a shorter way for the chunk objects that are nearly all: more text of a choice that was begun.

    The decoder of chat completions makes one event of such a chunk and remembers nothing of it, so it need not see it.
    """

    __slots__ = ("_begun",)

    def __init__(self, *, provider: str | None = None) -> None:
        super().__init__(_frame, _dialect, "openai-chat", provider=provider)
        self._begun: set[object] = set()

    def decode_many(self, frames: Iterable[InFrame]) -> list[Event]:
        """The events of all frames of one read, or of one object."""
        item: Any = cast("tuple[object]", frames)[0] if frames.__class__ is tuple else None
        fields: dict[str, Any] = getattr(item, "__dict__", _NOTHING)
        if "choices" not in fields:
            return super().decode_many(frames)
        try:
            (choice,) = fields["choices"]
            said = choice.__dict__
            number, delta = said["index"], said["delta"]
            parts = delta.__dict__
            text = parts["content"]
            if (
                number in self._begun
                and text
                and text.__class__ is str
                # Nothing else is said: neither in a field that is declared, nor in one that is not.
                and [*parts.values()].count(None) == len(parts) - 1
                and said["finish_reason"] is None
                and fields["usage"] is None
                and not (delta.__pydantic_extra__ or choice.__pydantic_extra__ or item.__pydantic_extra__)
                and (text.isascii() or text.encode())  # half a character is the decoder's to replace
            ):
                return [TextDelta(text, 0, number)]
        except (AttributeError, KeyError, TypeError, ValueError):
            return super().decode_many(frames)  # something else
        events = super().decode_many(frames)
        if number.__class__ is int:
            self._begun.add(number)
        return events


_NOTHING: Final[dict[str, Any]] = {}

_EITHER: Final = Dialect("openai", "sse", decoder=_OpenAIDecoder)


# ---- which of the two ---------------------------------------------------------------------------


class _Probe(msgspec.Struct, gc=False):
    type: object = None
    choices: msgspec.Raw | None = None


_probe: Final = msgspec.json.Decoder(_Probe).decode


def _dialect(frame: InFrame) -> str | None:
    """Responses names every frame "response."..., in the frame, the data or both; what only shows life tells nothing."""
    if frame.type.startswith("response."):
        return "openai-responses"
    try:
        found = _probe(frame.data)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return "openai-chat" if frame.data.strip() else None
    kind = found.type
    if not isinstance(kind, str) or found.choices is not None or "error" in (kind, frame.type):
        return "openai-chat"
    return "openai-responses" if kind.startswith("response.") else None


# ---- objects --------------------------------------------------------------------------------------


_OF_A_DELTA: Final = ("type", "delta", "item_id", "output_index", "content_index", "summary_index", "sequence_number")


def _frame(item: Any) -> Frame | None:
    """A chunk or an event as the frame that it came in."""
    fields: dict[str, Any] = getattr(item, "__dict__", _NOTHING)
    if "choices" in fields:
        return _chunk(item, fields)
    kind = fields.get("type")
    if not isinstance(kind, str):
        return _plain(item)
    if kind.startswith("response.") or kind == "error":
        if kind.endswith(".delta") and fields.get("delta").__class__ is str:
            # Nearly every event: of its fields only these are read.
            return frame_of(kind, {name: fields[name] for name in _OF_A_DELTA if name in fields})
        said = fields_of(item)
        # The helper's own: all that came so far, in every event.
        said.pop("snapshot", None)
        return frame_of(kind, said)
    # The helper of chat completions gives events of its own, one of which holds the chunk.
    return _frame(fields["chunk"]) if kind == "chunk" else None


def _plain(item: Any) -> Frame:
    if not isinstance(item, Mapping):
        raise TypeError(f"a chunk of a chat completion or an event of a response was expected, got a {type(item).__name__}")
    said = cast("Mapping[str, Any]", item)
    kind = said.get("type")
    return frame_of(kind if isinstance(kind, str) else "message", said)


def _chunk(item: Any, fields: dict[str, Any]) -> Frame:
    if fields.get("usage") is not None or getattr(item, "__pydantic_extra__", True):
        return frame_of("message", fields_of(item))
    # Of nearly every chunk, only these are read: one choice with something new.
    try:
        (choice,) = fields["choices"]
        said = choice.__dict__
        if said["finish_reason"] is None and not choice.__pydantic_extra__:
            delta = said["delta"]
            new = _said(delta)
            if "tool_calls" in new:
                new["tool_calls"] = [_call(call) for call in new["tool_calls"]]
            choices = ({"index": said["index"], "delta": new},)
            return frame_of("message", {"id": fields["id"], "model": fields["model"], "choices": choices})
    except (AttributeError, KeyError, TypeError, ValueError):
        pass
    return frame_of("message", fields_of(item))


def _call(call: Any) -> dict[str, Any]:
    said = _said(call)
    if "function" in said:
        said["function"] = _said(said["function"])
    return said


def _said(model: Any) -> dict[str, Any]:
    said = {name: value for name, value in model.__dict__.items() if value is not None}
    extra = model.__pydantic_extra__
    if extra:
        said.update(extra)
    return said
