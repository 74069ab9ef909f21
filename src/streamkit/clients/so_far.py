"""The answer so far: what `error.partial` and `Run.partial` show of a stream that has not ended, or ended badly.

Most streams end well and nobody asks. So events are only remembered, and folded into a `Message` when
somebody does, or when enough of them have come.
"""

from __future__ import annotations

from typing import Final

from streamkit.events import Event, Message

__all__ = ["AnswerSoFar"]

_LARGE_READ: Final = 16_384


class AnswerSoFar:
    """Events as they come, a `Message` when asked for.

    Memory: the answer and at most `LIMIT` events. Time: linear in all events.

    >>> from streamkit.events import TextDelta
    >>> so_far = AnswerSoFar()
    >>> so_far.add([TextDelta("Hel"), TextDelta("lo")])
    >>> so_far.message().text
    'Hello'
    """

    LIMIT: Final = 256

    __slots__ = ("_joined", "_loose", "_message", "_pending")

    def __init__(self) -> None:
        self._message = Message()
        self._pending: list[Event] = []
        self._loose = 0  # Events folded since the message's texts were joined ...
        self._joined = 0  # ... when they had this many characters.

    def add(self, events: list[Event], size: int = 0) -> None:
        """Remember the events of one read of `size` bytes; the list itself is not kept."""
        pending = self._pending
        pending += events
        if len(pending) >= self.LIMIT or size > _LARGE_READ:
            self._fold()

    def message(self) -> Message:
        """All of it, as one message that grows with the stream."""
        self._fold()
        return self._message

    def _fold(self) -> None:
        add = self._message.add
        for event in self._pending:
            add(event)
        self._loose += len(self._pending)
        self._pending.clear()
        # A message joins its texts when it is asked for them. After a sixteenth of growth: more often is quadratic.
        if self._loose * 16 > self._joined:
            self._loose = 0
            self._joined = len(self._message.text) + len(self._message.reasoning)
