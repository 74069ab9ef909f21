"""streamkit's own dialect: every event as it is, in compact JSON, complete by an explicit end.

    {"type":"open","version":1}
    {"type":"start","model":"m"}  {"type":"text-delta","text":"Hi"}  ...     one event each, fields at their default left out
    {"type":"usage",...}  {"type":"finish"}
    {"type":"end"}                                                            or, instead of finish and end:
    {"type":"error","message":"...","code":"draining","retryable":true,"correlation_id":"...","last_id":"..."}

A stream without `end` and without `error` was cut off, unless each choice that spoke has a `finish`. A reader skips
fields that it does not know (room for time and number), and gives frames of a type it does not know as `Raw`.
The version changes only when an old reader would misread a new writer.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final, cast

import msgspec

from streamkit.dialects.frame_reading import FrameReader
from streamkit.dialects.json_line import dump, known
from streamkit.dialects.outcomes import Outcome, error_from_event, outcome_of_event
from streamkit.dialects.protocol import Dialect, InFrame, OutFrame
from streamkit.errors import LocalProtocolError, RemoteProtocolError, StreamkitError, StreamTruncated
from streamkit.events import EVENT_TYPES, ErrorEvent, Event, Finish, Raw, TextDelta

__all__ = ["DIALECT", "VERSION", "NativeDecoder", "NativeEncoder"]

VERSION: Final = 1
"""What this package writes; it reads this one."""

_read: Final = msgspec.json.Decoder(Event).decode


class _Correlation(msgspec.Struct):
    """What an error frame holds beside its event."""

    correlation_id: str | None = None
    last_id: str | None = None


_read_correlation: Final = msgspec.json.Decoder(_Correlation).decode
_TYPES: Final = frozenset(kind.type for kind in EVENT_TYPES)


class NativeDecoder(FrameReader):
    """Reads the native form. See `Decoder` in `streamkit.dialects.protocol` for the contract.

    Args:
        provider: Names the sender in errors; `Start` keeps what the stream says.

    Memory: one `Finish` per choice, and the numbers of the choices.

    >>> from streamkit.wire.sse import Frame
    >>> NativeDecoder().decode(Frame("message", '{"type":"text-delta","text":"Hi","since":"2.0"}'))
    [TextDelta(text='Hi', index=0, choice=0)]
    """

    __slots__ = ("_finishes", "_last_id", "_spoke")

    def __init__(self, *, provider: str | None = None) -> None:
        super().__init__(provider)
        self._last_id: str | None = None
        self._finishes: dict[int, Finish] = {}
        self._spoke: set[int] = set()

    def _take_all(self, frames: Iterable[InFrame], out: list[Event]) -> None:
        for frame in frames:
            self._frames += 1
            self._last_id = frame.id or self._last_id
            try:
                event = _read(frame.data)
            except (msgspec.DecodeError, ValueError, RecursionError):
                if self._read_other(frame, out):
                    return
                continue
            kind = event.__class__
            if kind is TextDelta:
                self._spoke.add(event.choice)
                out.append(event)
            elif isinstance(event, Finish):
                self._finishes[event.choice] = event
            elif isinstance(event, ErrorEvent):
                raise self._error(event, frame)
            else:
                choice = getattr(event, "choice", None)
                if choice is not None:
                    self._spoke.add(choice)
                out.append(event)

    def _end_unmarked(self, out: list[Event]) -> None:
        if not self._finishes or self._spoke - self._finishes.keys():
            raise StreamTruncated("the stream ended without its end frame: the answer is cut off")
        self._complete(out)

    def _complete(self, out: list[Event]) -> None:
        self.done = True
        # An end without a finish is a plain end; the encoder never writes one.
        out += [self._finishes[number] for number in sorted(self._finishes)] or [Finish()]

    def _read_other(self, frame: InFrame, out: list[Event]) -> bool:
        """A frame that is no event of ours: `open`, `end` (True), a type to come, or an error."""
        try:
            value: object = json.loads(frame.data)
        except (ValueError, RecursionError):
            raise RemoteProtocolError(f"frame {self._frames} is not JSON", excerpt=frame.data) from None
        body = cast("dict[str, object]", value) if isinstance(value, dict) else {}
        kind = body.get("type")
        if not isinstance(kind, str):
            raise RemoteProtocolError(f"frame {self._frames} has no type", excerpt=frame.data)
        if kind == "end":
            self._complete(out)
            return True
        if kind == "open":
            self._check_version(body.get("version"))
        elif kind in _TYPES:
            try:
                _read(frame.data)
            except (msgspec.DecodeError, ValueError, RecursionError) as error:
                raise RemoteProtocolError(
                    f"frame {self._frames} is no {kind} as version {VERSION} has it ({error})", excerpt=frame.data
                ) from None
        else:
            out.append(Raw(body))
        return False

    def _check_version(self, version: object) -> None:
        if version != VERSION:
            raise RemoteProtocolError(
                f"the stream is in version {version!r:.20} of the native form and this reads {VERSION}: update streamkit here"
            )

    def _error(self, event: ErrorEvent, frame: InFrame) -> StreamkitError:
        try:
            beside = _read_correlation(frame.data)
        except (msgspec.DecodeError, ValueError, RecursionError):
            beside = _Correlation()
        # Where frames have ids, the last of them is what this reader has; elsewhere it is what the sender says.
        last_id = self._last_id or beside.last_id
        return error_from_event(event, provider=self._provider, request_id=beside.correlation_id, last_id=last_id)


class NativeEncoder:
    """Writes the native form. See `Encoder` in `streamkit.dialects.protocol` for the contract.

    Args:
        id, model, created: Taken as all encoders take them, and not used: `Start` says them, or nobody does.

    Memory: none that grows.

    >>> NativeEncoder().encode(TextDelta("Hi"))[0].data
    b'{"type":"text-delta","text":"Hi"}'
    """

    __slots__ = ("_closed", "_finished")

    def __init__(self, *, id: str | None = None, model: str | None = None, created: int = 0) -> None:
        self._finished = False
        self._closed = False

    def open(self) -> list[OutFrame]:
        """The version."""
        return [OutFrame(b'{"type":"open","version":%d}' % VERSION)]

    def encode(self, event: Event) -> list[OutFrame]:
        """The event."""
        if self._closed:
            return []
        if not isinstance(event, TextDelta):  # asked first: a failing isinstance of a struct costs as much as the JSON
            if isinstance(event, ErrorEvent):
                return self.close(outcome_of_event(event))
            if isinstance(event, Finish):
                self._finished = True
        try:
            return [OutFrame(dump(event))]
        except LocalProtocolError as error:
            raise LocalProtocolError(f"a {event.type} event cannot be written: {error}") from None

    def text_line(self, event: TextDelta) -> bytes:
        """A text delta's only frame, which has no name: its data. See `TextLines` in `streamkit.dialects.protocol`."""
        try:
            return dump(event)
        except LocalProtocolError as error:
            raise LocalProtocolError(f"a {event.type} event cannot be written: {error}") from None

    def close(self, outcome: Outcome) -> list[OutFrame]:
        """`finish`, if nobody said one, and `end`; or the error."""
        if self._closed:
            return []
        frames: list[OutFrame] = []
        if outcome.failed:
            frames.append(OutFrame(dump(_error(outcome))))
        else:
            if not self._finished:
                frames += self.encode(Finish("cancelled" if outcome.ending == "cancelled" else "stop"))
            frames.append(OutFrame(b'{"type":"end"}'))
        self._closed = True
        return frames


def _error(outcome: Outcome) -> dict[str, object]:
    return known(
        type="error",
        message=outcome.message,
        code=outcome.code,
        retryable=outcome.retryable or None,
        retry_after=outcome.retry_after,
        correlation_id=outcome.correlation_id,
        last_id=outcome.last_id,
    )


DIALECT: Final = Dialect("native", "sse", decoder=NativeDecoder, encoder=NativeEncoder)
