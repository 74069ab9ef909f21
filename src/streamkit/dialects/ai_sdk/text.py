"""The AI SDK's text stream protocol: the text of the answer and nothing around it, for `TextStreamChatTransport`.

There is no word for an error and none for an end: a reader takes for complete whatever ends as HTTP wants it, so a sink that
knows of a failure must leave the response unfinished. Choice 0 is written, and the blocks of text follow each other in the order
in which they came.
"""

from __future__ import annotations

from streamkit.dialects.outcomes import Outcome
from streamkit.dialects.protocol import Dialect, OutFrame
from streamkit.dialects.text import utf8
from streamkit.events import Event, TextDelta

__all__ = ["DIALECT", "AISDKTextEncoder"]


class AISDKTextEncoder:
    """Writes the text. See `Encoder` in `streamkit.dialects.protocol` for the contract; a frame is as many lines as its text has.

    Args:
        id, model, created: Taken as all encoders take them, and not used: there is no place for them.

    Memory: none that grows.

    >>> AISDKTextEncoder().encode(TextDelta("Hi"))[0].data
    b'Hi'
    """

    __slots__ = ("_closed",)

    def __init__(self, *, id: str | None = None, model: str | None = None, created: int = 0) -> None:
        self._closed = False

    def open(self) -> list[OutFrame]:
        """Nothing."""
        return []

    def encode(self, event: Event) -> list[OutFrame]:
        """The text, if the event is some."""
        if isinstance(event, TextDelta) and event.text and event.choice == 0 and not self._closed:
            return [OutFrame(utf8(event.text), None, True)]
        return []

    def close(self, outcome: Outcome) -> list[OutFrame]:
        """Nothing: see the top of this file."""
        self._closed = True
        return []


DIALECT = Dialect("ai-sdk-text", "text", encoder=AISDKTextEncoder, media_type="text/plain; charset=utf-8", replays_ended=False)
