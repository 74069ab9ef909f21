"""Text as it is: all that some readers take, and native events a line at a time.

    text        the text and nothing else (`text/plain`)
    sse-text    raw text in `data:`, then `[DONE]`: what hand-written pages join together
    ndjson      the native form, one event per line

`text` has no words for how an answer ended; the response says it (see `streamkit.sinks.http`).

`sse-text` is read by pages that add `event.data` to what they have until one message is `[DONE]`. So that an answer may
write about that very marker, no message but the last ever holds it: a text with `[DONE]` in it goes out in two messages,
cut inside. What ended badly is a message of the type `error`, which an `EventSource` gives to its `onerror`; it holds JSON, and
no `[DONE]` follows. One that was stopped says `cancelled` before `[DONE]`.

Text of several lines has a `data:` line for each. All parsers join them again but for CR and CRLF, which come back as LF, and
one package that loses an empty first line (@microsoft/fetch-event-source 2): where that matters, take the JSON of `presets`.

Only the text of the first choice is told.
"""

from __future__ import annotations

from typing import Final

from streamkit.dialects.json_line import dump, known, without_surrogates
from streamkit.dialects.native import NativeDecoder, NativeEncoder
from streamkit.dialects.outcomes import Outcome, outcome_of_event
from streamkit.dialects.protocol import Dialect, OutFrame
from streamkit.events import ErrorEvent, Event, TextDelta

__all__ = ["MARKER", "NDJSON", "SSE_TEXT", "TEXT", "SSETextEncoder", "TextEncoder", "error_fields", "utf8"]

MARKER: Final = "[DONE]"
"""The message that ends `sse-text`."""

_CUT: Final = len(MARKER) // 2


class TextEncoder:
    """Writes text. See `Encoder` in `streamkit.dialects.protocol` for the contract.

    Args:
        id, model, created: Taken as all encoders take them, and not used.

    Memory: none that grows.

    >>> TextEncoder().encode(TextDelta("Hi"))[0].data
    b'Hi'
    """

    __slots__ = ("_closed",)

    def __init__(self, *, id: str | None = None, model: str | None = None, created: int = 0) -> None:
        self._closed = False

    def open(self) -> list[OutFrame]:
        """Nothing."""
        return []

    def encode(self, event: Event) -> list[OutFrame]:
        """The text."""
        if isinstance(event, TextDelta):
            if event.text and event.choice == 0 and not self._closed:
                return [OutFrame(utf8(event.text), None, True)]
        elif isinstance(event, ErrorEvent):
            return self.close(outcome_of_event(event))
        return []

    def close(self, outcome: Outcome) -> list[OutFrame]:
        """Nothing: an end has no words here."""
        self._closed = True
        return []


class SSETextEncoder:
    """Writes text for pages that join messages. See `Encoder` in `streamkit.dialects.protocol` for the contract.

    Args:
        id, model, created: Taken as all encoders take them, and not used.

    Memory: none that grows.

    >>> [frame.data for frame in SSETextEncoder().encode(TextDelta("say [DONE]"))]
    [b'say [DO', b'NE]']
    """

    __slots__ = ("_closed",)

    def __init__(self, *, id: str | None = None, model: str | None = None, created: int = 0) -> None:
        self._closed = False

    def open(self) -> list[OutFrame]:
        """Nothing."""
        return []

    def encode(self, event: Event) -> list[OutFrame]:
        """The text, cut where it holds the marker."""
        if isinstance(event, TextDelta):
            text = event.text
            if not text or event.choice or self._closed:
                return []
            if MARKER in text:
                return [OutFrame(utf8(part), None, True) for part in _without_marker(text)]
            return [OutFrame(utf8(text), None, True)]
        if isinstance(event, ErrorEvent):
            return self.close(outcome_of_event(event))
        return []

    def close(self, outcome: Outcome) -> list[OutFrame]:
        """The marker; or the error."""
        if self._closed:
            return []
        self._closed = True
        if outcome.failed:
            return [OutFrame(dump(error_fields(outcome)), "error")]
        end = OutFrame(MARKER.encode())
        return [OutFrame(b"", "cancelled"), end] if outcome.ending == "cancelled" else [end]


def utf8(text: str) -> bytes:
    r"""A text as bytes, with U+FFFD for halves of characters.

    >>> utf8("a\ud83d")
    b'a\xef\xbf\xbd'
    """
    try:
        return text.encode()
    except UnicodeEncodeError:
        return without_surrogates(text).encode()


def error_fields(outcome: Outcome) -> dict[str, object]:
    """A failure as pages are told of it: `error` is the sentence to show, and `code` is for programs.

    >>> error_fields(Outcome("truncated", "truncated", "Cut off.", True))
    {'error': 'Cut off.', 'code': 'truncated', 'retryable': True}
    """
    return known(
        error=outcome.message,
        code=outcome.code,
        retryable=outcome.retryable,
        retry_after=outcome.retry_after,
        correlation_id=outcome.correlation_id,
    )


def _without_marker(text: str) -> list[str]:
    """The same text in parts, none of which holds the marker."""
    parts = text.split(MARKER)
    head, tail = MARKER[:_CUT], MARKER[_CUT:]
    return [parts[0] + head, *[tail + part + head for part in parts[1:-1]], tail + parts[-1]]


TEXT: Final = Dialect("text", "text", encoder=TextEncoder, media_type="text/plain; charset=utf-8")
SSE_TEXT: Final = Dialect("sse-text", "sse", encoder=SSETextEncoder)
NDJSON: Final = Dialect("ndjson", "ndjson", decoder=NativeDecoder, encoder=NativeEncoder, media_type="application/x-ndjson")
