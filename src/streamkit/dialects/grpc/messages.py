"""Events, answers and pieces of input as protobuf messages, and back; pure.

How a batch is written: what stands before a plain text of n bytes depends on n alone, so it is taken once from what protobuf
writes for any text of n bytes, and a text delta is that and its bytes; every other event is a message of upb (protobuf's C
backend), filled by `add()` and assignments. Measured per text delta in a batch of four: 0.16 us so, 0.45 with `add()`, 0.62 with
dicts given to the constructor, 1.3 with messages given to it.

Encoded `Events` may be joined end to end: repeated fields go on, and the last token counts (the protobuf encoding says so:
"merging"). Values that JSON knows travel as JSON text. A field at its default is not written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, Final, TypeAlias

import msgspec

from streamkit.dialects.grpc.schema import Schema, schema
from streamkit.dialects.json_line import dump, without_surrogates
from streamkit.errors import LocalProtocolError, RemoteProtocolError
from streamkit.events import (
    EVENT_TYPES,
    Citation,
    Custom,
    DataDelta,
    Event,
    File,
    Finish,
    Gap,
    Message,
    Raw,
    TextDelta,
    ToolResult,
)

__all__ = ["MESSAGE_BYTES", "Batch", "Piece", "Wire", "cut", "wire"]

Piece: TypeAlias = object
"""One piece of input: a `str`, a `DataDelta` (bytes with their media type), or any other JSON value."""

# What travels as JSON text.
_JSON: Final = frozenset[tuple[type[Event], str]](((ToolResult, "output"), (Custom, "data"), (Raw, "data")))


# Texts of fewer bytes are written without a message.
_HEADS: Final = 256

MESSAGE_BYTES: Final = 1_048_576
"""What is sent at once is cut at this size between events: gRPC's readers refuse messages above 4 MiB unless told."""


class Batch(msgspec.Struct, frozen=True, gc=False):
    """What one `Events` message holds."""

    events: list[Event]
    token: str = ""
    turn: int = 0
    id: str = ""


class _Shape:
    """How one type of event is written and read: its place in the oneof and its fields."""

    __slots__ = ("fields", "kind", "name")

    def __init__(self, kind: type[Event], message: Any) -> None:
        self.kind: Any = kind
        self.name = kind.type.replace("-", "_")
        present = {field.name for field in message.fields if field.has_presence}
        # Name, default, whether its absence can be told, whether it is JSON.
        self.fields: tuple[tuple[str, object, bool, bool], ...] = tuple(
            (field.name, field.default, field.name in present, (kind, field.name) in _JSON)
            for field in msgspec.structs.fields(kind)
        )


class Wire:
    """Writes and reads the messages of one schema.

    >>> from streamkit.events import Ping
    >>> data = wire().events([TextDelta("Hi"), Ping()], token="abc.1")
    >>> wire().batch(data)
    Batch(events=[TextDelta(text='Hi', index=0, choice=0), Ping()], token='abc.1', turn=0, id='')
    """

    __slots__ = ("_by_kind", "_by_name", "_events_class", "_heads", "ends", "schema")

    def __init__(self, of: Schema) -> None:
        self.schema = of
        self._events_class = of.Events
        shapes = [_Shape(kind, _message_of(of, kind)) for kind in EVENT_TYPES]
        self._by_kind: dict[type[Event], _Shape] = {shape.kind: shape for shape in shapes}
        self._heads = [_head_of(of, length) for length in range(_HEADS)]
        self._by_name: dict[str, _Shape] = {shape.name: shape for shape in shapes}
        # How most streams end, by the reason.
        self.ends = {reason: self.events((Finish(reason),)) for reason in ("stop", "cancelled")}

    # -- events

    def events(self, events: Iterable[Event], *, token: str = "", turn: int = 0, id: str = "") -> bytes:
        """One `Events` message.

        Raises:
            LocalProtocolError: an event holds what the wire cannot carry.
        """
        parts: list[bytes] = []
        heads = self._heads
        event: Any  # which type it has is asked by hand: `__class__ is` is 3x isinstance
        for event in events:
            if event.__class__ is TextDelta and not event.index and not event.choice:
                # The hot loop of every stream (benchmarks/bench_grpc.py).
                try:
                    text = event.text.encode()
                except UnicodeEncodeError:  # half a character out of a tokenizer
                    text = without_surrogates(event.text).encode()
                except AttributeError as error:
                    raise _unwritable(event, error) from None
                if len(text) < _HEADS:
                    parts.append(heads[len(text)] + text)
                    continue
            batch = self._events_class()
            self._write(batch.events.add(), event)
            parts.append(batch.SerializeToString())
        if token or turn or id:
            parts.append(self._events_class(token=token, turn=turn, id=id).SerializeToString())
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def text(self, item: object) -> bytes | None:
        """`texts` of one.

        >>> wire().text("Hi") == wire().events([TextDelta("Hi")])
        True
        """
        given: Any = item  # as above
        try:
            if given.__class__ is TextDelta and not given.index and not given.choice:
                text = given.text.encode()
            elif given.__class__ is str:
                text = given.encode()
            else:
                return None
        except (UnicodeEncodeError, AttributeError):
            return None
        return self._heads[len(text)] + text if len(text) < _HEADS else None

    def texts(self, items: Iterable[object]) -> bytes | None:
        """`events` of plain texts, in half of the time; None if there is something that only `events` can write, or refuse.

        A `str` is the text that it says.

        >>> wire().texts([TextDelta("Hi"), "!"]) == wire().events([TextDelta("Hi"), TextDelta("!")])
        True
        """
        parts: list[bytes] = []
        heads = self._heads
        item: Any  # as above
        try:
            for item in items:
                if item.__class__ is TextDelta and not item.index and not item.choice:
                    text = item.text.encode()
                elif item.__class__ is str:
                    text = item.encode()
                else:
                    return None
                if len(text) >= _HEADS:
                    return None
                parts.append(heads[len(text)] + text)
        except (UnicodeEncodeError, AttributeError):
            return None
        return b"".join(parts)

    def batch(self, data: bytes) -> Batch:
        """What an `Events` message holds.

        Raises:
            RemoteProtocolError: it is none.
        """
        message = self._parsed(self._events_class, data)
        read = self._read
        events: list[Event] = []
        for event in message.events:
            if event.WhichOneof("kind") == "text_delta":
                delta = event.text_delta
                events.append(TextDelta(delta.text, delta.index, delta.choice))
            else:
                events.append(read(event))
        return Batch(events, message.token, message.turn, message.id)

    def _write(self, message: Any, event: Event) -> None:
        shape = self._by_kind[event.__class__]
        target = getattr(message, shape.name)
        target.SetInParent()
        for name, default, _, is_json in shape.fields:
            value = getattr(event, name)
            if value == default and value.__class__ is default.__class__:
                continue
            try:
                if is_json:
                    value = dump(value).decode()
                elif isinstance(value, str):
                    value = without_surrogates(value)
                setattr(target, name, value)
            except (TypeError, ValueError, OverflowError, LocalProtocolError) as error:
                raise _unwritable(event, error) from None

    def _read(self, message: Any) -> Event:
        shape = self._by_name.get(message.WhichOneof("kind") or "")
        if shape is None:
            return Raw()  # of a newer writer, and what is in it cannot be told
        source = getattr(message, shape.name)
        values: dict[str, object] = {}
        for name, _, has_presence, is_json in shape.fields:
            if has_presence and not source.HasField(name):
                continue
            value = getattr(source, name)
            values[name] = _json_of(value, shape.name) if is_json else value
        event: Event = shape.kind(**values)
        return event

    def _parsed(self, kind: Any, data: bytes) -> Any:
        try:
            return kind.FromString(data)
        except Exception as error:  # protobuf's DecodeError, which has another parent in each of its backends
            raise RemoteProtocolError(f"{len(data)} bytes are no {kind.DESCRIPTOR.name} message ({type(error).__name__})") from None

    # -- answers

    def answer(self, message: Message) -> bytes:
        """An `Answer`: the message as blocks."""
        answer = self.schema.Answer(text=without_surrogates(message.text))
        for event in _blocks_of(message):
            self._write(answer.events.add(), event)
        data: bytes = answer.SerializeToString()
        return data

    def message(self, data: bytes) -> Message:
        """The message that an `Answer` stands for.

        Raises:
            RemoteProtocolError: it is none.
        """
        return Message([self._read(event) for event in self._parsed(self.schema.Answer, data).events])

    # -- input

    def request(self, piece: Piece, *, id: str = "") -> bytes:
        """A `Request`.

        Raises:
            LocalProtocolError: what JSON cannot say.
        """
        request = self.schema.Request(id=id)
        _put(request, piece)
        data: bytes = request.SerializeToString()
        return data

    def input(self, piece: Piece, *, turn: int = 0) -> bytes:
        """An `Input` that brings a piece.

        Raises:
            LocalProtocolError: what JSON cannot say.
        """
        message = self.schema.Input(turn=turn)
        _put(message, piece)
        data: bytes = message.SerializeToString()
        return data

    def cancel(self, *, turn: int = 0) -> bytes:
        """An `Input` that stops a turn."""
        message = self.schema.Input(turn=turn)
        message.cancel.SetInParent()
        data: bytes = message.SerializeToString()
        return data

    def asked(self, data: bytes) -> tuple[Piece, str]:
        """The piece of a `Request` (None where it has none), and the id.

        Raises:
            RemoteProtocolError: it is none.
        """
        request = self._parsed(self.schema.Request, data)
        return _piece_of(request, request.WhichOneof("input")), request.id

    def given(self, data: bytes) -> tuple[Piece, int, bool]:
        """The piece of an `Input`, its turn, and whether it is a cancel.

        Raises:
            RemoteProtocolError: it is none.
        """
        message = self._parsed(self.schema.Input, data)
        kind = message.WhichOneof("kind")
        if kind == "cancel":
            return None, message.turn, True
        return _piece_of(message, kind), message.turn, False

    def parsed(self, name: str, data: bytes) -> Any:
        """A message of another class of the schema.

        Raises:
            RemoteProtocolError: it is none.
        """
        return self._parsed(getattr(self.schema, name), data)


def cut(encode: Callable[[int, int], bytes], start: int, stop: int) -> list[bytes]:
    """The messages of a batch, in halves and their halves until each is small enough or has one event.

    Args:
        encode: Gives the message of the events from one place to another.

    >>> cut(lambda start, stop: bytes(600_000 * (stop - start)), 0, 2) == [bytes(600_000), bytes(600_000)]
    True
    """
    body = encode(start, stop)
    if len(body) <= MESSAGE_BYTES or stop - start == 1:
        return [body]
    middle = (start + stop) // 2
    return [*cut(encode, start, middle), *cut(encode, middle, stop)]


@cache
def wire() -> Wire:
    """The one wire of this process.

    Raises:
        MissingExtra: protobuf is not installed.
    """
    return Wire(schema())


def _head_of(of: Schema, length: int) -> bytes:
    """What protobuf writes before a plain text of so many bytes."""
    batch = of.Events()
    batch.events.add().text_delta.text = "x" * length
    data: bytes = batch.SerializeToString()
    return data[: len(data) - length]


def _message_of(of: Schema, kind: type[Event]) -> Any:
    return of.Event.DESCRIPTOR.fields_by_name[kind.type.replace("-", "_")].message_type


def _unwritable(event: Event, error: Exception) -> LocalProtocolError:
    return LocalProtocolError(f"a {event.type} event cannot be written: {type(error).__name__}")


def _blocks_of(message: Message) -> list[Event]:
    events: list[Event] = [] if message.start is None else [message.start]
    events += [TextDelta(part) if isinstance(part, str) else _of_first_choice(part) for part in message.parts]
    events += [_of_first_choice(call) for call in message.tool_calls if call.server]
    events += message.tool_results
    rest: Sequence[Citation | File] = (*message.citations, *message.files)
    events += [_of_first_choice(event) for event in rest]
    if message.gaps:
        events.append(Gap(message.gaps))
    if message.usage is not None:
        events.append(message.usage)
    events.append(_of_first_choice(message.finish or Finish()))
    return events


def _of_first_choice(event: Any) -> Any:
    """An answer holds one choice, whichever it was."""
    return msgspec.structs.replace(event, choice=0) if event.choice else event


def _put(message: Any, piece: Piece) -> None:
    if isinstance(piece, str):
        message.text = without_surrogates(piece)
    elif isinstance(piece, TextDelta):
        message.text = without_surrogates(piece.text)
    elif isinstance(piece, DataDelta):
        message.data.data = piece.data
        message.data.media_type = piece.media_type
    elif piece is not None:
        message.json = dump(piece).decode()


def _piece_of(message: Any, kind: str | None) -> Piece:
    match kind:
        case "text":
            return message.text
        case "data":
            return DataDelta(message.data.data, message.data.media_type)
        case "json":
            return _json_of(message.json, "input")
        case _:
            return None


def _json_of(text: str, where: str) -> object:
    try:
        return _read_json(text)
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise RemoteProtocolError(f"a {where} holds text that is not JSON", excerpt=text[:200]) from None


_read_json: Callable[[str], object] = msgspec.json.Decoder().decode
