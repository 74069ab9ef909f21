"""What the OpenAI SDK gives, as events: its streams, its raw responses, its un-awaited calls.

No SDK is imported: objects are told apart by what they can do. An SDK stream parses and validates each
chunk in Python; underneath it is an HTTP response, which our decoder reads for a tenth of the cost and
which still shows what the SDK hides: the end marker, and a body that was cut. So the response is read
where that is safe: an unread stream of the SDK's own class with its own decoder. A stream that was
wrapped by others (to trace it, say) or begun is read chunk by chunk instead.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from streamkit.clients.decoding import Errors, Recipe, events_of
from streamkit.dialects.protocol import InFrame
from streamkit.dialects.registry import get
from streamkit.errors import ConfigError
from streamkit.events import Event
from streamkit.flow.plan import describe
from streamkit.flow.streams import Stream
from streamkit.wire.sse import Frame

__all__ = ["from_openai"]

_NOT_CHAT: Final = "this is a stream of the Responses API, and from_openai reads those of client.chat.completions"

_dump: Final = msgspec.json.Encoder().encode


def from_openai(source: object, *, errors: Errors = "raise", provider: str | None = "openai") -> Stream[Event]:
    """The events of a chat completion that the OpenAI SDK streams.

    Args:
        source: Any of these, of the async or the sync client, with `stream=True`:
            `client.chat.completions.create(...)` awaited or not; the raw response of
            `with_streaming_response.create(...)`, entered or not, or of `with_raw_response`; the manager of
            `client.chat.completions.stream(...)`; an iterable of chunks; or a callable without arguments
            that gives one of these, which can be run again.
        errors: "raise", or "yield" to get an `ErrorEvent` as the last event instead.
        provider: Who answers, for `Start.provider` and errors.

    Yields:
        Events, those of one network read together. `Finish` is last, and only if the answer is complete.

    Memory: one chunk, and the answer so far (for `partial`). A sync stream is read on a thread, 2 reads ahead.
    Cancellation: the HTTP response is closed at once, also while the SDK's stream object is still referenced.
    Raises:
        StreamTruncated: the stream ended before the answer did; `partial` is what came.
        SourceError: an error in the stream (provider, code, retryable, partial).
        RemoteProtocolError: what came is no such stream.
        ConfigError: a stream of the Responses API.
        TypeError: nothing that streams, such as the answer of a call without `stream=True`.
        What the SDK and its HTTP client raise passes untouched, also under errors="yield" if there is no stream yet.

    >>> import asyncio
    >>> chunks = [{"choices": [{"delta": {"content": "Hi"}, "finish_reason": "stop"}]}]
    >>> asyncio.run(from_openai(chunks).join())
    'Hi'
    """
    recipe = Recipe(get("openai-chat"), errors=errors, provider=provider, adapt=_unwrapped, objects=_frames)
    source = _unwrapped(source)
    return events_of(source, recipe, f"from_openai({describe(source)}{'()' if callable(source) else ''})")


def _unwrapped(value: Any) -> Any:
    """An SDK stream as the response underneath, where that is safe; what cannot be read is refused.

    Raises:
        TypeError, ConfigError: a whole answer, or one of another API.
    """
    if hasattr(value, "model_dump") and not hasattr(value, "__aiter__"):
        # Iterable, as all models of pydantic are, but by field.
        raise TypeError(f"a {type(value).__name__} is a whole answer, not a stream: call create(..., stream=True)")
    if type(value).__name__ in ("AsyncChatCompletionStream", "ChatCompletionStream"):
        # The helper of `chat.completions.stream()`: it tells in events of its own what the stream inside says.
        inner: Any = getattr(value, "_raw_stream", None)
        if _is_unread_sdk_stream(inner, getattr(inner, "response", None)):
            return inner.response
    response = getattr(value, "http_response", None) or getattr(value, "response", None)
    _refuse_responses_api(response)
    if _is_unread_sdk_stream(value, response):
        return response
    return value


def _is_unread_sdk_stream(value: Any, response: Any) -> bool:
    kind: type[object] = type(value)  # pyright: ignore[reportUnknownVariableType]  # of Any
    return (
        # By name, so that a proxy around it, which passes attributes on, is not mistaken for the thing itself.
        kind.__name__ in ("AsyncStream", "Stream")
        and type(getattr(value, "_decoder", None)).__module__ == f"{kind.__module__.partition('.')[0]}._streaming"
        and (hasattr(response, "aiter_raw") or hasattr(response, "iter_raw"))
        and not getattr(response, "is_stream_consumed", True)
        and not getattr(response, "is_closed", True)
    )


def _refuse_responses_api(response: Any) -> None:
    path = getattr(getattr(getattr(response, "request", None), "url", None), "path", "")
    if isinstance(path, str) and path.rstrip("/").endswith("/responses"):
        raise ConfigError(
            "this is a stream of the Responses API, and from_openai reads chat completions: use client.chat.completions"
        )


def _frames(item: Any) -> list[InFrame]:
    """A chunk object as the frame that it came in."""
    try:
        # What a chunk has is asked first: asking a pydantic model for what it has not costs as much as reading the chunk.
        if item.choices is not None:
            # Unset fields stay out, so that the decoder sees what the server sent. (`model_dump_json` is this and 20 % more.)
            return [Frame("message", item.__pydantic_serializer__.to_json(item, exclude_unset=True, warnings=False))]
    except AttributeError:
        pass
    except ValueError:  # half a character, which a JSON escape can say and UTF-8 cannot: the decoder knows what to do
        return [Frame("message", json.dumps(item.model_dump(exclude_unset=True, warnings=False)))]
    if isinstance(item, Mapping):
        return [Frame("message", _dump(item).decode())]
    kind = getattr(item, "type", None)
    if isinstance(kind, str) and kind.startswith("response."):
        raise ConfigError(_NOT_CHAT)
    if kind is None:
        raise TypeError(f"a chunk of a chat completion was expected, got a {type(item).__name__}")
    # `chat.completions.stream()` gives events of its own, one of which holds the chunk.
    chunk = getattr(item, "chunk", None)
    return [] if chunk is None else _frames(chunk)
