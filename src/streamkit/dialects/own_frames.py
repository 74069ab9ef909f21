"""An application's own frames: a dialect made of a function.

    def say(event):
        match event:
            case sk.TextDelta(): return {"delta": event.text}
            case sk.ToolCall(): return frame({"name": event.name}, event="tool")

    chat = mapping(say)
    sse.Response(stream, dialect=chat)

A function of an event gives what is sent for it:

    a dict (any Mapping)    one frame of JSON
    a str                   one frame of that text
    an OutFrame             that frame: `frame(value, event=...)` makes one that has a name
    None                    nothing
    a list of these         all of them, in order

`ending` is the same for the end. Without one the last frame is `done`, `cancelled` or `error` by its name and by a field, so
that an answer that was cut does not look like one that ended:

    event: done         {"done":true}
    event: cancelled    {"cancelled":true}
    event: error        {"error":"The stream failed.","code":"error","retryable":false}

The functions serve all streams of the dialect and are asked once for each event, however many read it: let them be quick and
hold nothing of a stream. Make the dialect once, not for each request, or readers of one hub share nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from inspect import isasyncgenfunction, iscoroutinefunction
from types import MappingProxyType
from typing import Final, TypeAlias, cast

from streamkit.dialects.json_line import dump
from streamkit.dialects.outcomes import Outcome, outcome_of_event
from streamkit.dialects.protocol import Dialect, Encoder, Framing, OutFrame
from streamkit.dialects.text import error_fields, utf8
from streamkit.errors import ConfigError
from streamkit.events import ErrorEvent, Event, TextDelta

__all__ = ["Said", "default_ending", "frame", "mapping"]

Piece: TypeAlias = Mapping[str, object] | str | OutFrame
Said: TypeAlias = Piece | Sequence[Piece | None] | None
"""What a function may give for an event."""

_MEDIA_TYPES: Final[Mapping[Framing, str]] = MappingProxyType(
    {"sse": "text/event-stream; charset=utf-8", "ndjson": "application/x-ndjson", "text": "text/plain; charset=utf-8"}
)


def mapping(
    fn: Callable[[Event], Said],
    *,
    opening: Callable[[], Said] | None = None,
    ending: Callable[[Outcome], Said] | None = None,
    name: str = "mapping",
    framing: Framing = "sse",
    media_type: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Dialect:
    """A dialect of frames that `fn` makes.

    Args:
        fn: What is sent for an event; the top of this module says what it may give. It is not asked about an `ErrorEvent`, which is
            an end.
        opening: What is sent before the first event.
        ending: What is sent last, for the `Outcome`: `.ending` is "done", "cancelled", "error", "truncated", "draining" or
            "interrupted", and the rest is fit to be shown. Without it, `default_ending`. If it raises, `default_ending` speaks.
        name: The dialect's name, for logs and plans.
        framing: The wire: "sse", "ndjson" or "text".
        media_type: The `content-type`; that of the framing, unless told.
        headers: Further headers of the response.

    Memory: what the functions hold.
    Raises:
        TypeError, ConfigError: arguments that cannot work, at the call. What a function raises, or gives that is none of these,
            ends the stream as an error of the server.

    >>> from streamkit.events import TextDelta
    >>> chat = mapping(lambda event: {"delta": event.text} if isinstance(event, TextDelta) else None)
    >>> chat.encoder().encode(TextDelta("Hi"))
    [OutFrame(data=b'{"delta":"Hi"}', event=None, lines=False)]
    """
    for argument, function in (("fn", fn), ("opening", opening), ("ending", ending)):
        if function is None and argument != "fn":
            continue
        if not callable(function):
            raise TypeError(f"mapping({argument}=...) takes a callable, got {type(function).__name__}")
        if iscoroutinefunction(function) or isasyncgenfunction(function):
            raise TypeError(f"mapping({argument}=...) takes a plain function, got an async one: frames are made without waiting")
    if framing not in _MEDIA_TYPES:
        raise ConfigError(f"mapping(framing={framing!r}): 'sse', 'ndjson' or 'text'")
    if not isinstance(name, str) or not name:  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without types
        raise ConfigError(f"mapping(name={name!r}): a name that is not empty")
    make = cast("Callable[..., Encoder]", partial(_OwnEncoder, fn, opening, ending, framing))
    return Dialect(name, framing, encoder=make, media_type=media_type or _MEDIA_TYPES[framing], headers=dict(headers or {}))


def frame(value: Mapping[str, object] | str, *, event: str | None = None) -> OutFrame:
    """A frame of JSON or of text, with a name on wires that have names (SSE).

    >>> frame({"text": "Hi"}, event="token")
    OutFrame(data=b'{"text":"Hi"}', event='token', lines=False)
    """
    if isinstance(value, str):
        return OutFrame(utf8(value), event, True)
    if not isinstance(value, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without types
        raise TypeError(f"a frame is made of a dict or a str, got {type(value).__name__}")
    return OutFrame(dump(value if isinstance(value, dict) else dict(value)), event)


def default_ending(outcome: Outcome) -> OutFrame:
    """The last frame of an answer, by how it ended.

    >>> from streamkit.dialects.outcomes import DONE
    >>> default_ending(DONE)
    OutFrame(data=b'{"done":true}', event='done', lines=False)
    """
    if outcome.failed:
        return frame(error_fields(outcome), event="error")
    return frame({outcome.ending: True}, event=outcome.ending)


class _OwnEncoder:
    """An encoder of functions. See `Encoder` in `streamkit.dialects.protocol` for the contract."""

    __slots__ = ("_closed", "_ending", "_fn", "_framing", "_opening")

    def __init__(
        self,
        fn: Callable[[Event], Said],
        opening: Callable[[], Said] | None,
        ending: Callable[[Outcome], Said] | None,
        framing: Framing,
        *,
        id: str | None = None,
        model: str | None = None,
        created: int = 0,
    ) -> None:
        self._fn = fn
        self._opening = opening
        self._ending = ending
        self._framing = framing
        self._closed = False

    def open(self) -> list[OutFrame]:
        return [] if self._opening is None else _frames(self._opening())

    def encode(self, event: Event) -> list[OutFrame]:
        if self._closed:
            return []
        # The text is asked for first: a failing isinstance of a struct costs as much as the JSON.
        if not isinstance(event, TextDelta) and isinstance(event, ErrorEvent):
            return self.close(outcome_of_event(event))
        said = self._fn(event)
        # Asked first: what most functions give for most events.
        if said.__class__ is dict:
            return [OutFrame(dump(said))]
        return _frames(said)

    def close(self, outcome: Outcome) -> list[OutFrame]:
        if self._closed:
            return []
        ending, self._ending = self._ending or self._plain_ending, None
        frames = _frames(ending(outcome))
        self._closed = True
        return frames

    def _plain_ending(self, outcome: Outcome) -> Said:
        # Text has no names and no fields: how the response ends says it (`streamkit.sinks.http`).
        return None if self._framing == "text" else default_ending(outcome)


def _frames(said: object) -> list[OutFrame]:
    if said is None:
        return []
    if isinstance(said, OutFrame):
        return [said]
    if isinstance(said, str | Mapping):
        return [frame(cast("str | Mapping[str, object]", said))]
    if isinstance(said, list | tuple):
        out: list[OutFrame] = []
        for piece in cast("Sequence[object]", said):
            if isinstance(piece, list | tuple):
                raise TypeError("a function of mapping() gave a list in a list: one list of frames")
            out += _frames(piece)
        return out
    raise TypeError(
        f"a function of mapping() gives a dict, a str, an OutFrame, None or a list of them, and gave {type(said).__name__}"
    )
