"""What an HTTP client gives, as events: its streamed responses, and the event sources that are built on them.

Only tells things apart; the reading is `decoding`'s, which judges statuses and bodies for `sk.decode` alike.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection
from typing import Any

from streamkit.clients.bodies import is_response
from streamkit.clients.decoding import MAX_EVENT_BYTES, Errors, Recipe, events_of
from streamkit.dialects.protocol import Dialect, InFrame
from streamkit.dialects.registry import get
from streamkit.events import Event
from streamkit.flow.plan import describe
from streamkit.flow.streams import Stream
from streamkit.wire.sse import Frame

__all__ = ["from_http"]


def from_http(
    response: object,
    dialect: str | Dialect,
    *,
    errors: Errors = "raise",
    provider: str | None = None,
    max_event_bytes: int = MAX_EVENT_BYTES,
    max_body_bytes: int | None = None,
) -> Stream[Event]:
    """The events of a model's answer, from a response of an HTTP client.

    Args:
        response: Any of these: a streamed response of httpx or httpx2 (async or sync), aiohttp, requests, urllib3 or
            urllib; what gives one when it is entered or awaited, `client.stream(...)` or `session.post(...)`; an
            `EventSource` of httpx-sse or httpx2, the un-entered `aconnect_sse(...)`, or an iterator of its events; or
            a callable without arguments that gives one of these, which can be run again.
        dialect: A name such as "openai-chat" or "ndjson", or a `Dialect`.
        errors: "raise", or "yield" to get an `ErrorEvent` as the last event instead.
        provider: Who answers, for `Start.provider` and errors, where the stream does not say.
        max_event_bytes: The largest single event of the wire.
        max_body_bytes: The largest body, after it was decompressed. None sets no bound.

    A response of 200 that is called anything but `text/event-stream` or `application/x-ndjson`, or nothing, is read all
    the same: many servers send streams as `text/plain` or JSON. What counts is how the body begins; a page of HTML is
    refused whatever it is called.

    Yields:
        Events, those of one network read together. `Finish` is last, and only if the answer is complete.

    Memory: one event of the wire, and the answer so far (for `partial`). Compressed bodies (gzip, deflate, br with
        brotli >= 1.2, zstd) are opened 64 KiB at a time, so that a bomb costs no more; aiohttp opens its own.
    Cancellation: the response is closed at once, also while a variable still holds it.
    Raises:
        StreamTruncated: the body ended before the answer did; `partial` is what came.
        SourceError: a status of 400 or above, or an error in the stream; with `retry_after` and `request_id` from the headers.
        RemoteProtocolError: a redirect; a body that is no such stream, with its status and the first 200 bytes, secrets
            masked; an event or a body larger than its bound.
        ConfigError, TypeError: an unknown dialect, a wrong argument, or nothing that an HTTP client gives, at the call.
        Errors of the client pass untouched; `Run.partial` then holds what came.

    >>> class Response:
    ...     status_code = 401
    ...     headers = {"x-request-id": "req_7"}
    ...     def iter_bytes(self):
    ...         yield b'{"error": {"message": "no such key"}}'
    >>> import asyncio
    >>> try:
    ...     asyncio.run(from_http(Response(), "openai-chat").collect())
    ... except Exception as error:
    ...     print(type(error).__name__, error.request_id)
    AuthError req_7
    """
    if isinstance(dialect, str):
        dialect = get(dialect)
    elif not isinstance(dialect, Dialect):  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers reach this
        raise TypeError(f"a dialect is a name or a Dialect, got {type(dialect).__name__}")
    recipe = Recipe(
        dialect,
        errors=errors,
        max_event_bytes=max_event_bytes,
        max_body_bytes=max_body_bytes,
        provider=provider,
        adapt=_unwrapped,
        objects=_frames,
    )
    value: Any = _unwrapped(response)
    if isinstance(value, Collection) and not is_response(value):
        raise TypeError(f"from_http takes what an HTTP client gives, got a {type(response).__name__}: sk.decode takes bytes")
    name = f"{describe(response)}()" if callable(response) else describe(response)
    return events_of(value, recipe, f"from_http({name}, {dialect.name!r})")


def _unwrapped(value: Any) -> Any:
    """An event source as the response underneath: its own parser has no bounds, and hides how the body ended."""
    if inspect.isclass(value) or not hasattr(value, "response") or is_response(value):
        return value
    inner = value.response
    if any(kind.__name__ == "EventSource" for kind in type(value).__mro__) and is_response(inner):
        return inner
    return value


def _frames(item: Any) -> list[InFrame]:
    """A `ServerSentEvent` as the frame that it was."""
    data = getattr(item, "data", None)
    if not isinstance(data, str):
        raise TypeError(f"a server-sent event was expected, got a {type(item).__name__}")
    return [Frame(getattr(item, "event", "") or "message", data, getattr(item, "id", "") or "")]
