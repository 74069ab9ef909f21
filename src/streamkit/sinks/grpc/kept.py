"""Streams of a hub as encoded messages: made once for all who wait for the same events.

Each message has the token of its last event. A stream that failed gives its `ErrorEvent` as it is, for the call to end with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from streamkit.dialects.grpc.messages import Wire, cut
from streamkit.errors import LocalProtocolError
from streamkit.events import ErrorEvent, Event
from streamkit.hub.log import Log
from streamkit.sinks.failures import told_once

__all__ = ["KeptView"]

# Messages, and perhaps what ends them.
Messages: TypeAlias = list[bytes | ErrorEvent | Exception]

_KEY: Final = "grpc"
_MOST_EVENTS: Final = 1024


class KeptView:
    """One reader of a log on its way out: a `View` of the hub.

    Args:
        wire: Of the messages.
        name: The stream's; said in the first message.
        told: Whether the client knows the name already.

    Attributes:
        token: Of the last event that was given.

    Memory: with each log the newest messages, for all its readers.
    """

    __slots__ = ("_id", "_name", "_wire", "token")

    def __init__(self, wire: Wire, name: str, *, told: bool) -> None:
        self._wire = wire
        self._name = name
        self._id = "" if told else name
        self.token = ""

    def __call__(self, log: Log, events: Sequence[Event], offsets: Sequence[int]) -> Sequence[Any]:
        """The messages of these events."""
        if self._id:
            head, self._id = self._wire.events((), id=self._id), ""
        else:
            head = b""
        messages = self._messages(log, events, offsets)
        self.token = log.token(offsets[-1])
        last = events[-1]
        if isinstance(last, ErrorEvent):
            told_once(log.encodings, self._name, last, log.fault, self.token)
        if not head:
            return messages
        first = messages[0]
        return [head + first, *messages[1:]] if isinstance(first, bytes) else messages

    def _messages(self, log: Log, events: Sequence[Event], offsets: Sequence[int]) -> Messages:
        if not isinstance(offsets, range):  # of the folded beginning: joined otherwise for each who comes late
            return self._written(log, events, offsets)
        kept = log.encodings.get(_KEY)
        if isinstance(kept, tuple) and kept[0] == offsets:
            return kept[1]  # type: ignore[no-any-return]  # stored below
        made = self._written(log, events, offsets)
        log.encodings[_KEY] = (offsets, made)
        return made

    def _written(self, log: Log, events: Sequence[Event], offsets: Sequence[int]) -> Messages:
        end: ErrorEvent | None = None
        last = events[-1]
        if isinstance(last, ErrorEvent):
            end = last
            events = events[:-1]
        made: Messages = []

        def encode(start: int, stop: int) -> bytes:
            return self._wire.events(events[start:stop], token=log.token(offsets[stop - 1]))

        try:
            for start in range(0, len(events), _MOST_EVENTS):
                made += cut(encode, start, min(start + _MOST_EVENTS, len(events)))
        except LocalProtocolError as error:  # the event's fault: what stood before it is still sent
            made = []
            for event, offset in zip(events, offsets, strict=False):
                try:
                    made.append(self._wire.events((event,), token=log.token(offset)))
                except LocalProtocolError:
                    break
            return [*made, error]
        return made if end is None else [*made, end]
