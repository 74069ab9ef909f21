"""Frames that the pages of the usual tutorials read as they are.

    token-text      event: token    {"text":"Hi"}       listeners by name: token, done, error, cancelled
    token-content   event: token    {"content":"Hi"}
    message-text                    {"text":"Hi"}       `onmessage`; the ends have names: done, error, cancelled
    message-content                 {"content":"Hi"}

The last frame is one of these, so a page that hears none of them was cut off:

    event: done         {"done":true,"reason":"stop"}, with `usage` where it is known
    event: cancelled    {"cancelled":true}
    event: error        {"error":"The stream failed.","code":"error","retryable":false}, with `retry_after` and `correlation_id`
                        where there are such

An `EventSource` connects again after every end unless the page closes it: let `done`, `cancelled` and `error` all do so. One
and the same listener of `error` hears of a lost connection as well, and then there is no `event.data`.

What an answer says can end nothing here: it stands inside JSON. Only the text of the first choice is told.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from streamkit.dialects.json_line import dump, escape
from streamkit.dialects.outcomes import CANCELLED, Outcome, outcome_of_event, stopped
from streamkit.dialects.own_frames import default_ending
from streamkit.dialects.protocol import Dialect, OutFrame
from streamkit.events import ErrorEvent, Event, Finish, TextDelta, Usage

__all__ = ["MESSAGE_CONTENT", "MESSAGE_TEXT", "TOKEN_CONTENT", "TOKEN_TEXT", "PresetEncoder"]

_COUNTS: Final = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")


class PresetEncoder:
    """Writes one field of JSON per delta. See `Encoder` in `streamkit.dialects.protocol` for the contract.

    Args:
        field: The name of the field that holds the text.
        event: The name of its frames; None leaves them unnamed.
        id, model, created: Taken as all encoders take them, and not used.

    Memory: the finish and the usage.

    >>> PresetEncoder("text", "token").encode(TextDelta("Hi"))
    [OutFrame(data=b'{"text":"Hi"}', event='token', lines=False)]
    """

    __slots__ = ("_closed", "_event", "_finish", "_head", "_usage")

    def __init__(
        self,
        field: str,
        event: str | None = None,
        *,
        id: str | None = None,
        model: str | None = None,
        created: int = 0,
    ) -> None:
        self._head = b"{" + escape(field) + b":"
        self._event = event
        self._finish: Finish | None = None
        self._usage: Usage | None = None
        self._closed = False

    def open(self) -> list[OutFrame]:
        """Nothing."""
        return []

    def encode(self, event: Event) -> list[OutFrame]:
        """The text; finish and usage wait for the end."""
        if self._closed:
            return []
        if isinstance(event, TextDelta):
            if event.choice or not event.text:
                return []
            return [OutFrame(self._head + escape(event.text) + b"}", self._event)]
        if isinstance(event, ErrorEvent):
            return self.close(outcome_of_event(event))
        if isinstance(event, Usage):
            self._usage = event
        elif isinstance(event, Finish) and event.choice == 0:
            self._finish = event
        return []

    def close(self, outcome: Outcome) -> list[OutFrame]:
        """How it ended."""
        if self._closed:
            return []
        self._closed = True
        finish, usage = self._finish, self._usage
        if outcome.failed:
            return [default_ending(outcome)]
        if stopped(outcome, finish):
            return [default_ending(CANCELLED)]
        done: dict[str, object] = {"done": True, "reason": "stop" if finish is None else finish.reason}
        counts = {} if usage is None else {name: count for name in _COUNTS if (count := getattr(usage, name)) is not None}
        if counts:
            done["usage"] = counts
        return [OutFrame(dump(done), "done")]


TOKEN_TEXT: Final = Dialect("token-text", "sse", encoder=partial(PresetEncoder, "text", "token"))
TOKEN_CONTENT: Final = Dialect("token-content", "sse", encoder=partial(PresetEncoder, "content", "token"))
MESSAGE_TEXT: Final = Dialect("message-text", "sse", encoder=partial(PresetEncoder, "text", None))
MESSAGE_CONTENT: Final = Dialect("message-content", "sse", encoder=partial(PresetEncoder, "content", None))
