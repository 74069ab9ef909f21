"""A hub's stream in the words of a dialect: written once, for all who read it.

    log of events ──one encoder, in order──> one piece of bytes per event ──> every reader of that dialect

Theory. An encoder has a state (which block is open, what was said of the model), so it takes the events in their order
and each of them once. What it makes of event i, framed, is piece i:

    the opening frames, with event 0 | the frames of event i, the last one with its resume token as SSE id | the terminal
    frames, with the last event

So whatever a client has seen, the pieces behind its token are exactly what it has not: all responses together, each up to the
last id that came through, are the undisturbed response byte for byte, also where they come from several processes. Nothing in a
piece is taken from a clock or drawn: the answer's id is the stream's, its age is the log's, the correlation id of a failure is the
token of the event that says so.

Who is not with the others: a reader whose place lies in the folded beginning of the log, where events are joined at other
places, until it is out of there; and one with a policy that joins or drops. Each has an encoder of its own, which has
been shown what went before in silence.

Knows no sockets, no requests and no time.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, Final, TypeAlias, TypeVar

import msgspec

from streamkit.dialects.outcomes import CANCELLED, DONE, Outcome, error_from_event, outcome_of_event
from streamkit.dialects.protocol import Dialect, OutFrame
from streamkit.errors import InvalidToken, LocalProtocolError
from streamkit.events import DataDelta, ErrorEvent, Event, Finish, ReasoningDelta, TextDelta, ToolCallDelta
from streamkit.hub.log import Log
from streamkit.hub.reading import Policy
from streamkit.hub.tokens import parse_token
from streamkit.sinks.codec import Codec, dialect_of, framed, padded, retry_field
from streamkit.sinks.failures import told_once

__all__ = ["Encoding", "HubCodec", "NothingMore", "events_before"]

Content = TypeVar("Content", str, bytes)

# Bytes, and perhaps what ends them before the stream does.
Batch: TypeAlias = list[bytes | Exception | ErrorEvent]

# Readers with these get the events as they are in the log, so they share what is made of them.
_SHARING: Final = frozenset(("lag", "disconnect", "backpressure"))


class NothingMore(Exception):
    """The stream is over, and who asks has seen its last event."""


class _Pen:
    """An encoder at one place of a log: shown the events before it, or having written them."""

    __slots__ = ("_dialect", "_encoder", "_name", "_opened")

    def __init__(self, dialect: Dialect, name: str, model: str | None, created: float) -> None:
        assert dialect.encoder is not None
        self._dialect = dialect
        self._encoder = dialect.encoder(id=name, model=model, created=int(created))
        self._name = name
        self._opened = False

    def skip(self, events: Iterable[Event]) -> None:
        """Take events in that somebody has been given already."""
        self._open()
        for event in events:
            # One that this dialect cannot say was the end for those who read it then, and is nothing to who comes from behind it.
            with suppress(LocalProtocolError):
                self._encoder.encode(event)

    def write(self, log: Log, event: Event, offset: int) -> bytes:
        """The piece of the next event.

        Raises:
            LocalProtocolError: the event holds what the dialect cannot say.
        """
        token = log.token(offset)
        if log.over and offset == log.head - 1:
            frames = [*self._open(), *self._last(log, event, token)]
        elif self._opened:
            frames = self._encoder.encode(event)
        else:
            frames = [*self._open(), *self._encoder.encode(event)]
        return framed(frames, self._dialect.framing, id=token)

    def _last(self, log: Log, event: Event, token: str) -> list[OutFrame]:
        """The frames of the event that ends the stream, and those that say so."""
        encoder = self._encoder
        if isinstance(event, ErrorEvent):
            told_once(log.encodings, self._name, event, log.fault, token)
            frames = encoder.close(outcome_of_event(event, correlation_id=token))
            if not frames:  # plain text has no word for it: the body must not end as if it were whole
                raise error_from_event(event)
            return frames
        stopped = isinstance(event, Finish) and event.reason == "cancelled"
        return [*encoder.encode(event), *encoder.close(CANCELLED if stopped else DONE)]

    def close(self, outcome: Outcome) -> bytes:
        """The frames that end it here, whatever the stream does: no event stands behind them, so they have no id."""
        return framed([*self._open(), *self._encoder.close(outcome)], self._dialect.framing)

    def _open(self) -> list[OutFrame]:
        if self._opened:
            return []
        self._opened = True
        return list(self._encoder.open())


@lru_cache
def _key_of(name: str, encoder: int, framing: str, model: str | None) -> str:
    """Under which a log keeps the pieces of a dialect: one string for thousands of logs, and a table of strings is small."""
    return f"pieces {name} {encoder} {framing} {model}"


class Encoding:
    """The pieces of one log in one dialect.

    Args:
        log: Whose events.
        dialect, name, model: The vocabulary; the stream's name and the model, where no `Start` says them.

    Attributes:
        readers: How many use it.
        offsets, batch: The events that were asked for last, and their bytes, joined, with the error if it is among them.
        error: What was wrong with an event that cannot be written, or None: the pieces end before it.

    Memory: a piece for each event that the log keeps one by one, made when the first reader gets there. All of it goes when
    the stream is over and nobody reads.
    """

    __slots__ = ("_base", "_key", "_log", "_pen", "_pieces", "batch", "error", "offsets", "readers")

    @staticmethod
    def of(log: Log, dialect: Dialect, name: str, model: str | None) -> Encoding:
        """That of this log, made if it has none in this dialect."""
        key = _key_of(dialect.name, id(dialect.encoder), dialect.framing, model)
        found = log.encodings.get(key)
        if not isinstance(found, Encoding):
            found = log.encodings[key] = Encoding(log, dialect, name, model, key)
            if not log.over:
                log.on_over.append(found.drop_if_unread)
        return found

    def __init__(self, log: Log, dialect: Dialect, name: str, model: str | None, key: object) -> None:
        self.readers = 0
        self.error: Exception | None = None
        self._log = log
        self._key = key
        self._pen = _Pen(dialect, name, model, log.started_at)
        self._base = 0
        self._pieces: list[bytes] = []
        self.offsets = range(0)
        self.batch: Batch = []

    @property
    def head(self) -> int:
        """The offset of the first event without a piece."""
        return self._base + len(self._pieces)

    def write(self, offsets: range) -> None:
        """Make the batch of these events, which the log keeps one by one."""
        self._trim()
        if self.head < offsets.stop and self.error is None:
            self._extend(offsets.stop)
        pieces = self._pieces[offsets.start - self._base : offsets.stop - self._base]
        self.batch = [pieces[0] if len(pieces) == 1 else b"".join(pieces)]
        if len(pieces) < len(offsets) and self.error is not None:
            self.batch.append(self.error)
        self.offsets = offsets

    def leave(self) -> None:
        """A reader needs it no more."""
        self.readers -= 1
        if self._log.over:
            self.drop_if_unread()

    def drop_if_unread(self) -> None:
        """Nothing will come: who is late has another one made."""
        if not self.readers:
            self._log.encodings.pop(self._key, None)

    def _trim(self) -> None:
        """Let go of what the log no longer keeps one by one."""
        log = self._log
        if self._base < log.base and self.error is None:
            if self.head < log.base:  # nobody was there while these were folded
                self._pen.skip(log.below(self.head)[0])
                self._pieces.clear()
            else:
                del self._pieces[: log.base - self._base]
            self._base = log.base

    def _extend(self, stop: int) -> None:
        log, write = self._log, self._pen.write
        try:
            for offset in range(self.head, stop):
                self._pieces.append(write(log, log.buffer[offset - log.base], offset))
        except Exception as error:  # the event's fault: what stood before it is still sent
            self.error = error


class HubCodec:
    """One reader on its way out: what it makes of a log (a `View` of the hub) and how that is written (a `Writing`).

    Args:
        name: The stream's.
        dialect: A dialect, or the name of one.
        after: The token that the reader resumes from, or None.
        policy: What it gets if it is slow.
        model: The answer's model, for dialects that have one, where no `Start` brings it.
        retry, pad: As `Codec` has them.

    Attributes:
        media_type, headers, heartbeat, stopped_by: As `Codec` has them.
        last_id: What a client resumes from that has read all of this.

    Memory: none of its own, unless it needs an encoder of its own.
    Raises:
        NothingMore: when it is read: the stream is over, and `after` is the token of its last event.
    """

    __slots__ = (
        "_after",
        "_at",
        "_dialect",
        "_encoding",
        "_log",
        "_model",
        "_name",
        "_own",
        "_pad",
        "_retry",
        "_shares",
        "headers",
        "heartbeat",
        "media_type",
        "stopped_by",
    )

    def __init__(
        self,
        name: str,
        dialect: str | Dialect,
        *,
        after: str | None = None,
        policy: Policy = "lag",
        model: str | None = None,
        retry: int | None = None,
        pad: int | None = None,
    ) -> None:
        self._dialect = dialect_of(dialect)
        plain = Codec(self._dialect, retry=retry, pad=pad)  # it checks them, and knows the rest
        self.media_type = plain.media_type
        self.headers: Mapping[str, str] = plain.headers
        self.heartbeat = plain.heartbeat
        self.stopped_by: ErrorEvent | Exception | None = None
        self._name = name
        self._after = after
        self._model = model
        self._retry = retry_field(retry)
        self._pad = pad
        self._shares = policy in _SHARING
        self._log: Log | None = None
        self._encoding: Encoding | None = None
        self._own: _Pen | None = None
        self._at = 0

    # -- the view

    def __call__(self, log: Log, events: Sequence[Event], offsets: Sequence[int]) -> Batch:
        """The bytes of these events, and what ends the response before the stream, if something does."""
        encoding = self._encoding
        # The usual path, once per event and reader: all who waited for an event get the same list.
        if encoding is not None and isinstance(offsets, range):
            if offsets != encoding.offsets:
                encoding.write(offsets)
            self._at = offsets.stop
            return encoding.batch
        if self._log is None:
            self._log = log
            refusal = self._begin(log, events, offsets)
            if refusal is not None:
                return [refusal]
        if self._shares and isinstance(offsets, range):
            self._own = None
            self._encoding = encoding = Encoding.of(log, self._dialect, self._name, self._model)
            encoding.readers += 1
            return self(log, events, offsets)
        self.leave()  # until it has come through what is folded
        return self._alone(log, events, offsets)

    def _begin(self, log: Log, events: Sequence[Event], offsets: Sequence[int]) -> Exception | ErrorEvent | None:
        """Find out where this reader stands; what is to be said instead, if nothing of the stream has come through yet."""
        if self._after is None:
            first = events[0]
            if log.over and offsets[0] == 0 and isinstance(first, ErrorEvent):
                # Nothing was ever said: the failure itself is the answer.
                return log.fault if isinstance(log.fault, Exception) else first
            return None
        seen = offsets[0] == log.head - 1 and len(events) == 1 and self._after == log.token(log.head - 1)
        if log.over and seen and not log.broken_off:
            raise NothingMore
        try:
            self._at = log.position(*parse_token(self._after))
        except InvalidToken:  # a copy that turned out to be shorter than what its writer had told
            self._at = log.head
        return None

    def _alone(self, log: Log, events: Sequence[Event], offsets: Sequence[int]) -> Batch:
        if self._own is None:
            self._own = self._pen_at(log, min(self._at, offsets[0]))
        pieces: Batch = []
        try:
            for event, offset in zip(events, offsets, strict=True):
                pieces.append(self._own.write(log, event, offset))
                self._at = offset + 1
        except Exception as error:
            pieces.append(error)
        return pieces

    def _pen_at(self, log: Log, at: int) -> _Pen:
        pen = _Pen(self._dialect, self._name, self._model, log.started_at)
        if at:
            pen.skip(events_before(log, at))
        return pen

    # -- the writing

    def open(self) -> bytes:
        """Nothing: what goes before the first event is written with it."""
        return b""

    def encode(self, batch: Iterable[Any]) -> bytes:
        """What this object made of the log, as one write."""
        parts: list[bytes] = []
        for item in batch:
            if not isinstance(item, bytes):
                self._at = self._stopped_at()
                self.stopped_by = item
                break
            parts.append(item)
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        return self._finished(body) if self._retry or self._pad else body

    def _stopped_at(self) -> int:
        """Which event it stands at that could not be written."""
        return self._at if self._encoding is None else min(self._at, self._encoding.head)

    def close(self, outcome: Outcome) -> bytes:
        """Nothing after the end of the stream, which was told with its last event; else the frames of `outcome`."""
        if not outcome.failed:
            return b""
        pen = self._own
        if pen is None:
            log = self._log
            # Kept, so that who is asked again, because an application's own ending failed, says the other one (`own_frames`).
            pen = self._own = _Pen(self._dialect, self._name, self._model, 0) if log is None else self._pen_at(log, self._at)
        return self._finished(pen.close(outcome))

    @property
    def last_id(self) -> str | None:
        """The token of the last event that was written, or that it was resumed from."""
        return self._after if self._log is None or not self._at else self._log.token(self._at - 1)

    def leave(self) -> None:
        """It reads no more."""
        if self._encoding is not None:
            self._encoding.leave()
            self._encoding = None

    def _finished(self, body: bytes) -> bytes:
        if self._retry and body:
            body = self._retry + body
            self._retry = b""
        return padded(body, self._pad) if self._pad else body


def events_before(log: Log, at: int) -> list[Event]:
    """What a reader has had that stands at `at`, joined where it is folded."""
    if at >= log.base:
        folded = log.below(0)[0] if log.base else ()
        return [*folded, *log.buffer[: at - log.base]]
    events, lasts = log.below(0)
    count = bisect_left(lasts, at)
    before = list(events[:count])
    if count < len(events) and (lasts[count - 1] + 1 if count else 0) < at:
        # `at` is inside a run: what comes is its end, so what was is the rest.
        part = _without_end(events[count], log.below(at)[0][0])
        if part is not None:
            before.append(part)
    return before


def _without_end(whole: Event, end: Event) -> Event | None:
    """The beginning of a run of deltas, of which `end` is the rest; None for what is no run."""
    if isinstance(whole, TextDelta) and isinstance(end, TextDelta):
        return msgspec.structs.replace(whole, text=_before(whole.text, end.text))
    if isinstance(whole, ReasoningDelta) and isinstance(end, ReasoningDelta):
        return msgspec.structs.replace(whole, text=_before(whole.text, end.text))
    if isinstance(whole, ToolCallDelta) and isinstance(end, ToolCallDelta):
        return msgspec.structs.replace(whole, delta=_before(whole.delta, end.delta))
    if isinstance(whole, DataDelta) and isinstance(end, DataDelta):
        return msgspec.structs.replace(whole, data=_before(whole.data, end.data))
    return None


def _before(whole: Content, end: Content) -> Content:
    return whole[: len(whole) - len(end)]
