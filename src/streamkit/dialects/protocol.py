"""What a dialect is: one provider's or one UI's vocabulary, read and written without I/O.

    bytes --wire--> frames --Decoder--> events --Encoder--> OutFrames --wire--> bytes

A wire grammar (`framing`) cuts bytes into frames and knows no vocabulary; a dialect knows the
vocabulary and neither bytes on a socket nor time. Nothing here awaits, reads a clock or draws a
random number, so the same frames always give the same events.

Reading, the contract between a Decoder and whoever drives it:

1. `decode_many(frames)` takes all frames of one network read and returns their events. It never
   raises for what the frames hold. When a frame is bad, or says that the answer failed, the
   events before it are returned, the exception waits in `error`, and later frames are ignored.
   The driver delivers the events, then raises `error`.
2. `done` turns True at the dialect's end marker. The driver may stop reading; later frames are ignored.
3. `finish()` is called once, when the body ends. It returns what was held back (usage, finish), or
   raises: `error` if there is one, StreamTruncated if the answer is not complete.
4. `held()` is what is known and not yet delivered, for a driver that ends the stream for a reason
   of its own (cancel, truncation): a count of tokens so far is worth keeping.

Writing, the contract between an Encoder and a sink: `open()` once, `encode(event)` for each,
`close(outcome)` once; each returns frames to be sent in that order. Whatever the order of the
events, the frames keep the order that the dialect's clients demand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, Protocol, TypeAlias

import msgspec

from streamkit.dialects.outcomes import Outcome
from streamkit.errors import StreamkitError
from streamkit.events import Event, TextDelta

__all__ = ["Decoder", "DecoderFactory", "Dialect", "Encoder", "EncoderFactory", "Framing", "InFrame", "OutFrame", "TextLines"]

Framing: TypeAlias = Literal["sse", "ndjson", "eventstream", "text"]
"""The wire grammar whose frames a dialect reads and writes."""


class InFrame(Protocol):
    """One unit of a wire, as the wire's decoder gives it (`streamkit.wire.sse` events are such frames)."""

    @property
    def type(self) -> str:
        """The frame's own name of its kind; "message" where the wire has none."""
        ...

    @property
    def data(self) -> str | bytes:
        """The payload, without framing."""
        ...

    @property
    def id(self) -> str | None:
        """The resume point after this frame, if the wire carries one."""
        ...


class OutFrame(msgspec.Struct, frozen=True, gc=False):
    """One unit to be sent, without its framing, so that any transport can carry it.

    `data` is one line: no CR or LF, and nothing that a line splitter takes for one. Only text that goes out as it is may have
    several, and says so by `lines`: SSE gives each a `data:` line, and NDJSON cannot carry them. The resume id is the sink's
    matter: it goes on the last frame of an event.
    """

    data: bytes
    event: str | None = None
    lines: bool = False


class Decoder(Protocol):
    """Frames in, events out; the contract is at the top of this file."""

    error: StreamkitError | None
    done: bool

    def decode(self, frame: InFrame) -> list[Event]:
        """The events of one frame: `decode_many` of one."""
        ...

    def decode_many(self, frames: Iterable[InFrame]) -> list[Event]:
        """The events of all frames of one read, in order; never raises for what they hold."""
        ...

    def held(self) -> list[Event]:
        """Usage known so far and not delivered, marked `final=False`."""
        ...

    def finish(self) -> list[Event]:
        """The body ended: the last events.

        Raises:
            StreamTruncated: the answer had not reached its end.
            StreamkitError: `error`, if a frame set it.
        """
        ...


class Encoder(Protocol):
    """Events in, frames out; the contract is at the top of this file."""

    def open(self) -> list[OutFrame]:
        """What goes before the first event."""
        ...

    def encode(self, event: Event) -> list[OutFrame]:
        """The frames of one event: none where the dialect has no word for it, or must wait.

        Raises:
            LocalProtocolError: the event holds a value that no JSON can carry.
        """
        ...

    def close(self, outcome: Outcome) -> list[OutFrame]:
        """What was held back, and the terminal frame of `outcome`. A second call gives nothing."""
        ...


class TextLines(Protocol):
    """What an `Encoder` has besides if each text delta is one frame without a name, whatever came before.

    Most writes are one text delta: a sink that asks for its line saves the lists and frames between.
    """

    def text_line(self, event: TextDelta) -> bytes:
        """The `data` of the only frame that `encode` gives for this event.

        Raises:
            LocalProtocolError: as `encode`.
        """
        ...


class DecoderFactory(Protocol):
    """Makes a Decoder for one stream."""

    def __call__(self, *, provider: str | None = None) -> Decoder:
        """`provider` names the sender in `Start` and in errors."""
        ...


class EncoderFactory(Protocol):
    """Makes an Encoder for one stream."""

    def __call__(self, *, id: str | None = None, model: str | None = None, created: int = 0) -> Encoder:
        """What the frames say where no `Start` says it; `created` is in Unix seconds, given because a dialect has no clock."""
        ...


class Dialect(msgspec.Struct, frozen=True):
    """A dialect as the registry knows it.

    `encoder` or `decoder` is None where it goes one way only. `framing` is the wire that it travels on by itself;
    the frames are bare, so a sink may put them on another (the native form on NDJSON or a WebSocket).
    `media_type` and `headers` are what an HTTP response says for it. `replays_ended` is False where clients that join without a
    resume point have what is over already, and would show it twice: they are told that there is nothing (204).
    """

    name: str
    framing: Framing
    decoder: DecoderFactory | None = None
    encoder: EncoderFactory | None = None
    media_type: str = "text/event-stream; charset=utf-8"
    headers: Mapping[str, str] = {}
    replays_ended: bool = True
