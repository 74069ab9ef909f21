"""A hub's events as messages, made once for all who read the same slice.

    log ── slice first..last ──> [events, binary, events, ..., end]     the same objects for every reader of it

Readers that keep up ask for the same slice one after the other, so the last one that was made is kept with the log. What a slice
holds depends on the policy of who reads it, so each policy has its own.

An `ErrorEvent` that ends the log is not sent: it is the `end`. A `Finish` is sent, and then the `end`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from streamkit.dialects.outcomes import CANCELLED, DONE, Outcome, outcome_of_event
from streamkit.dialects.websocket.messages import end_of, write, write_data, write_events
from streamkit.errors import LocalProtocolError
from streamkit.events import DataDelta, ErrorEvent, Event, Finish
from streamkit.hub.log import Log
from streamkit.hub.policies import Slice, conflated, newest
from streamkit.hub.reading import POLICIES, Policy
from streamkit.hub.tokens import parse_token
from streamkit.sinks.failures import report, told_once
from streamkit.sinks.websocket.cohorts import Cohort
from streamkit.sinks.websocket.sockets import Outgoing

__all__ = ["Pieces", "Place", "end_message"]

# A message that would be longer is cut in two between its events: clients have limits of their own, 1 MiB as a rule.
_LARGE: Final = 256 * 1024


# Under which a log keeps them: a string for all logs, and a table of strings is small.
_KEYS: Final[Mapping[Policy, str]] = {policy: f"pieces {policy}" for policy in POLICIES}


class Pieces:
    """The slice of one log that was asked for last, as messages, for the readers of one policy."""

    __slots__ = ("_failed", "_stream", "first", "last", "messages")

    @staticmethod
    def of(log: Log, stream: str, policy: Policy) -> Pieces:
        """That of this log, made if it has none for this policy."""
        key = _KEYS[policy]
        found = log.encodings.get(key)
        if not isinstance(found, Pieces):
            found = log.encodings[key] = Pieces(stream)
        return found

    def __init__(self, stream: str) -> None:
        self._stream = stream
        self._failed: Outcome | None = None
        self.first = self.last = -1
        self.messages: Sequence[Outgoing] = ()

    def make(self, log: Log, first: int, events: Sequence[Event], offsets: Sequence[int]) -> Sequence[Outgoing]:
        """The messages of the events that stand for `first` to the last of `offsets`."""
        last = offsets[-1]
        out: list[Outgoing] = []
        over = log.over and last == log.head - 1
        end = events[-1] if over else None
        if first > last:  # it was seen before, and how it ended is told again
            events = offsets = ()
        elif isinstance(end, ErrorEvent):
            events, offsets = events[:-1], offsets[:-1]
        try:
            sent = self._write_all(log, first, events, offsets, out)
        except LocalProtocolError as error:
            if self._failed is None:
                self._failed = report(error, before_first_byte=False)
            sent = out[-1].last if out and out[-1].last is not None else first - 1
            out.append(end_message(self._stream, sent, _token(log, sent), self._failed))
        else:
            if end is not None:
                out.append(end_message(self._stream, sent, _token(log, sent), self._outcome(log, end, log.token(last))))
        self.first, self.last, self.messages = first, last, out
        return out

    def _write_all(self, log: Log, first: int, events: Sequence[Event], offsets: Sequence[int], out: list[Outgoing]) -> int:
        """Append the messages of these; the offset of the last one."""
        begin = 0
        for at, event in enumerate(events):
            if isinstance(event, DataDelta):
                first = self._write_run(log, first, events[begin:at], offsets[begin:at], out)
                last, begin = offsets[at], at + 1
                token = log.token(last)
                out.append(Outgoing(write_data(self._stream, first, last, token, event), binary=True, last=last, token=token))
                first = last + 1
        if begin:
            events, offsets = events[begin:], offsets[begin:]
        return self._write_run(log, first, events, offsets, out) - 1

    def _write_run(self, log: Log, first: int, events: Sequence[Event], offsets: Sequence[int], out: list[Outgoing]) -> int:
        """Append the messages of events without binary ones; the offset behind them."""
        if not events:
            return first
        last = offsets[-1]
        token = log.token(last)
        try:
            body = write_events(self._stream, first, last, token, events)
        except LocalProtocolError:
            if len(events) == 1:
                raise
            body = b""  # those before the one that cannot be written are still sent
        if body and (len(events) == 1 or len(body) <= _LARGE):
            out.append(Outgoing(body, last=last, token=token))
            return last + 1
        half = len(events) // 2
        first = self._write_run(log, first, events[:half], offsets[:half], out)
        return self._write_run(log, first, events[half:], offsets[half:], out)

    def _outcome(self, log: Log, end: Event, token: str) -> Outcome:
        if isinstance(end, ErrorEvent):
            told_once(log.encodings, self._stream, end, log.fault, token)
            return outcome_of_event(end, correlation_id=token)
        return CANCELLED if isinstance(end, Finish) and end.reason == "cancelled" else DONE


class Place:
    """Where one reader is: what it makes of the log (a `View` of the hub).

    Args:
        stream: Its name.
        policy: Of the reader.
        after: The token that it resumes from, or None.

    Attributes:
        next: The offset of the first event that it has not had.
        behind: Whether the hub's reader has missed what was sent meanwhile, so that it gives that again.
        cohort: Those that read the same by the same policy, once it has read something.
    """

    __slots__ = ("_after", "_pieces", "_policy", "_stream", "behind", "cohort", "next")

    def __init__(self, stream: str, policy: Policy, after: str | None) -> None:
        self._stream = stream
        self._policy: Policy = policy
        self._after = after
        self._pieces: Pieces | None = None
        self.next = 0
        self.behind = False
        self.cohort: Cohort | None = None

    def __call__(self, log: Log, events: Sequence[Event], offsets: Sequence[int], /) -> Sequence[Outgoing]:
        """See `View`. Once per slice and reader."""
        pieces = self._pieces
        if pieces is None:
            pieces = self._pieces = Pieces.of(log, self._stream, self._policy)
            self.cohort = Cohort.of(log, self._policy)
            if self._after is not None:
                self.next = log.position(*parse_token(self._after))
        first, last = self.next, offsets[-1]
        if self.behind:
            if last < first and not (log.over and last == log.head - 1):  # all of it was had, and there is more
                return ()
            self.behind = False
            events, offsets = self._from_here(log, events, offsets)
        self.next = max(first, last + 1)
        if pieces.last == last and pieces.first == first:
            return pieces.messages
        return pieces.make(log, first, events, offsets)

    def _from_here(self, log: Log, events: Sequence[Event], offsets: Sequence[int]) -> Slice:
        """Of a slice that begins with what it has had already, the rest."""
        first, last = self.next, offsets[-1]
        if last < first:
            return events, offsets
        if last < log.base:
            return self._reduced(*log.below(first))
        rest = log.buffer[first - log.base : last + 1 - log.base]
        return self._reduced(rest, range(first, last + 1))

    def _reduced(self, events: Sequence[Event], offsets: Sequence[int]) -> Slice:
        match self._policy:
            case "conflate":
                return conflated(events, offsets)
            case "latest":
                return newest(events, offsets, self.next)
            case _:
                return events, offsets


def _token(log: Log, offset: int) -> str | None:
    return log.token(offset) if offset >= 0 else None


def end_message(stream: str, last: int, token: str | None, outcome: Outcome) -> Outgoing:
    """The end of a reading."""
    return Outgoing(write(end_of(stream, last, token, outcome)), ends=True)
