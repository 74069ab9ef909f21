"""The answer so far: what `error.partial` and `Run.partial` show of a stream that has not ended, or ended badly.

Most streams end well and nobody asks. So events are only remembered, and folded into a `Message` when
somebody does, or when enough of them have come.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from streamkit.events import Event, Message, Usage
from streamkit.events.stats import estimated_tokens, utf8_size

__all__ = ["AnswerSoFar"]


class AnswerSoFar:
    """Events as they come, a `Message` when asked for.

    Attributes:
        pending: Events not yet folded; the hot loop of a body adds to it by itself, and folds by the rule of `add`.

    Memory: the answer and at most `LIMIT` events. Time: linear in all events.

    >>> from streamkit.events import TextDelta
    >>> so_far = AnswerSoFar()
    >>> so_far.add([TextDelta("Hel"), TextDelta("lo")])
    >>> so_far.message().text, so_far.message().usage.estimated
    ('Hello', True)
    """

    LIMIT: Final = 256
    LARGE_READ: Final = 16_384

    __slots__ = ("_joined", "_loose", "_message", "pending")

    def __init__(self) -> None:
        self._message: Message | None = None  # made when it is first wanted, which is not before the first byte
        self.pending: list[Event] = []
        self._loose = 0  # Events folded since the message's texts were joined ...
        self._joined = 0  # ... when they had this many characters.

    def add(self, events: list[Event], size: int = 0) -> None:
        """Remember the events of one read of `size` bytes; the list itself is not kept."""
        pending = self.pending
        pending += events
        if len(pending) >= self.LIMIT or size > self.LARGE_READ:
            self.fold()

    def message(self, held: Iterable[Event] = ()) -> Message:
        """All of it, as one message that grows with the stream.

        Args:
            held: What the decoder holds back, for the usage in it. Where nobody counted tokens they are estimated.
        """
        message = self.fold()
        if message.usage is None or message.usage.estimated:
            for event in held:
                message.add(event)
        if message.usage is None or message.usage.estimated:
            tokens = estimated_tokens(
                utf8_size(message.text)
                + utf8_size(message.reasoning)
                + sum(utf8_size(call.arguments) for call in message.tool_calls)
            )
            if tokens:
                message.add(Usage(output_tokens=tokens, final=False, estimated=True))
        return message

    def fold(self) -> Message:
        """Put what is pending into the message."""
        message = self._message
        if message is None:
            message = self._message = Message()
        message.add_all(self.pending)
        self._loose += len(self.pending)
        self.pending.clear()
        # A message joins its texts when it is asked for them. After a sixteenth of growth: more often is quadratic.
        if self._loose * 16 > self._joined:
            self._loose = 0
            self._joined = len(message.text) + len(message.reasoning)
        return message
