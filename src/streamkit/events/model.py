"""The events themselves: plain values, one tagged union, no behaviour beyond reading them.

An event is immutable and may be shared: the same object is read by many consumers and by a
recording, so nothing about time or place is ever written on it. Deltas carry only what is new,
never a snapshot of what came before. `index` is the content block a delta belongs to, `choice`
the answer (for n > 1).

The order that a complete stream keeps: `Start` first if there is one, deltas, `Usage`, and
`Finish` or `ErrorEvent` last.
"""

from __future__ import annotations

from os import PathLike
from typing import ClassVar, Literal, TypeAlias, TypeVar, final

import msgspec

from streamkit.errors import ConfigError, RemoteProtocolError

FinishReason: TypeAlias = Literal["stop", "length", "tool-calls", "content-filter", "cancelled", "other"]


class _Event(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="type", tag=None):
    """What all events share: frozen, compared by value, written with their `type` and without defaults."""


@final
class Start(_Event, frozen=True, tag="start"):
    """The answer began. All fields are None where the provider does not say."""

    type: ClassVar[Literal["start"]] = "start"
    id: str | None = None
    model: str | None = None
    provider: str | None = None


@final
class TextDelta(_Event, frozen=True, tag="text-delta", gc=False):
    """More of the answer's text."""

    type: ClassVar[Literal["text-delta"]] = "text-delta"
    text: str
    index: int = 0
    choice: int = 0


@final
class ReasoningDelta(_Event, frozen=True, tag="reasoning-delta", gc=False):
    """More of the model's reasoning.

    `signature` is the provider's proof for sending the block back; `redacted` is reasoning that
    only the provider can read. Either may come with an empty `text`.
    """

    type: ClassVar[Literal["reasoning-delta"]] = "reasoning-delta"
    text: str = ""
    index: int = 0
    choice: int = 0
    signature: str | None = None
    redacted: str | None = None


@final
class DataDelta(_Event, frozen=True, tag="data-delta", gc=False):
    """More of a binary part that grows: audio, an image, a file."""

    type: ClassVar[Literal["data-delta"]] = "data-delta"
    data: bytes
    media_type: str
    index: int = 0
    choice: int = 0


@final
class ToolCallStart(_Event, frozen=True, tag="tool-call-start", gc=False):
    """The model began to call a tool; the arguments follow as `ToolCallDelta` with the same id.

    `server` is True for a tool that the provider runs itself (a web search, say): its result comes in the stream.
    """

    type: ClassVar[Literal["tool-call-start"]] = "tool-call-start"
    id: str
    name: str
    index: int = 0
    choice: int = 0
    server: bool = False


@final
class ToolCallDelta(_Event, frozen=True, tag="tool-call-delta", gc=False):
    """More of a call's arguments, as the provider cut them (JSON text, cut anywhere)."""

    type: ClassVar[Literal["tool-call-delta"]] = "tool-call-delta"
    id: str
    delta: str
    index: int = 0
    choice: int = 0


@final
class ToolCall(_Event, frozen=True, tag="tool-call", gc=False):
    """A call with all its arguments; `complete` is False where the answer was cut inside them.

    `server` is True for a tool that the provider runs itself: there is nothing to run here. `signature` is the
    provider's proof for sending the call back, such as Gemini's thought signature.
    """

    type: ClassVar[Literal["tool-call"]] = "tool-call"
    id: str
    name: str
    arguments: str = ""
    complete: bool = True
    index: int = 0
    choice: int = 0
    server: bool = False
    signature: str | None = None

    def input(self) -> object:
        """The arguments as a value; no arguments at all are `{}`.

        Raises:
            RemoteProtocolError: the arguments are not JSON, which is what a cut call looks like.

        >>> ToolCall("1", "add", '{"a": 2}').input()
        {'a': 2}
        """
        if not self.arguments.strip():
            return {}
        try:
            return _json_value(self.arguments)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:  # a ValueError: halves of characters
            state = "are not JSON" if self.complete else "were cut off before they were complete JSON"
            raise RemoteProtocolError(
                f"the arguments of tool call {self.name!r} {state} ({error})", excerpt=self.arguments
            ) from None


@final
class ToolResult(_Event, frozen=True, tag="tool-result"):
    """What a tool gave back for the call `id`: text, or any JSON value."""

    type: ClassVar[Literal["tool-result"]] = "tool-result"
    id: str
    output: object = None
    is_error: bool = False


@final
class Citation(_Event, frozen=True, tag="citation", gc=False):
    """A source that the answer rests on."""

    type: ClassVar[Literal["citation"]] = "citation"
    url: str | None = None
    title: str | None = None
    quote: str | None = None
    index: int = 0
    choice: int = 0


@final
class File(_Event, frozen=True, tag="file", gc=False):
    """A finished file, by value or by address; `name` is its name, where it has one.

    >>> File("image/png", data=b"pixels", name="cat.png")
    <File image/png, 6 bytes, 'cat.png'>
    """

    type: ClassVar[Literal["file"]] = "file"
    media_type: str
    data: bytes | None = None
    url: str | None = None
    index: int = 0
    choice: int = 0
    name: str | None = None

    @classmethod
    def read(cls, path: str | PathLike[str], media_type: str | None = None) -> File:
        """A file of this machine, read whole and at once.

        Args:
            media_type: What it is; None guesses from the ending of its name.

        Raises:
            ConfigError: the ending says nothing.
            OSError: it cannot be read.
        """
        from mimetypes import guess_type  # loads tables of the system, for those who need them
        from pathlib import Path

        kind = media_type or guess_type(str(path))[0]
        if kind is None:
            raise ConfigError(f"what {Path(path).name!r} is cannot be told from its name: pass media_type=...")
        return cls(kind, data=Path(path).read_bytes(), name=Path(path).name)

    def __repr__(self) -> str:
        """The kind and the size, not the contents."""
        where = [] if self.url is None else ["an address"]
        size = [] if self.data is None else [f"{len(self.data)} bytes"]
        return f"<File {', '.join([self.media_type, *size, *where, *([] if self.name is None else [repr(self.name)])])}>"


@final
class Usage(_Event, frozen=True, tag="usage", gc=False):
    """Tokens used; None means the provider did not say, which is not zero.

    `final` is False for a running count or one whose stream did not reach its end marker;
    `estimated` is True where streamkit counted and not the provider.
    """

    type: ClassVar[Literal["usage"]] = "usage"
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    final: bool = True
    estimated: bool = False


@final
class Finish(_Event, frozen=True, tag="finish", gc=False):
    """The answer is complete; `raw_reason` is the provider's own word for why."""

    type: ClassVar[Literal["finish"]] = "finish"
    reason: FinishReason = "stop"
    raw_reason: str | None = None
    choice: int = 0


@final
class ErrorEvent(_Event, frozen=True, tag="error", gc=False):
    """The answer ended in an error. `message` is fit to be shown: it never holds an exception's text."""

    type: ClassVar[Literal["error"]] = "error"
    message: str
    code: str = "error"
    retryable: bool = False
    retry_after: float | None = None


@final
class Gap(_Event, frozen=True, tag="gap", gc=False):
    """`count` deltas were dropped here by a buffer that was told to."""

    type: ClassVar[Literal["gap"]] = "gap"
    count: int


@final
class Custom(_Event, frozen=True, tag="custom"):
    """An application's own event; `data` is any JSON value."""

    type: ClassVar[Literal["custom"]] = "custom"
    name: str
    data: object = None


@final
class Ping(_Event, frozen=True, tag="ping", gc=False):
    """The connection is alive; only on request."""

    type: ClassVar[Literal["ping"]] = "ping"


@final
class Raw(_Event, frozen=True, tag="raw"):
    """What the provider sent and no other event says: an unknown type, or everything on request."""

    type: ClassVar[Literal["raw"]] = "raw"
    data: object = None


Event: TypeAlias = (
    Start
    | TextDelta
    | ReasoningDelta
    | DataDelta
    | ToolCallStart
    | ToolCallDelta
    | ToolCall
    | ToolResult
    | Citation
    | File
    | Usage
    | Finish
    | ErrorEvent
    | Gap
    | Custom
    | Ping
    | Raw
)

EVENT_TYPES: tuple[type[Event], ...] = (
    Start,
    TextDelta,
    ReasoningDelta,
    DataDelta,
    ToolCallStart,
    ToolCallDelta,
    ToolCall,
    ToolResult,
    Citation,
    File,
    Usage,
    Finish,
    ErrorEvent,
    Gap,
    Custom,
    Ping,
    Raw,
)

_CONTROL = frozenset(EVENT_TYPES) - {TextDelta, ReasoningDelta, DataDelta}

_json_value = msgspec.json.Decoder().decode

T = TypeVar("T")


def is_control(item: object) -> bool:
    """Whether an item must never be merged away or dropped: every event but text, reasoning and data deltas.

    Items that are no events at all (strings, numbers, an application's own objects) are not control.

    >>> is_control(Finish()), is_control(TextDelta("a")), is_control("a")
    (True, False, False)
    """
    if item.__class__ not in _CONTROL:
        # A signature proves the block before it: dropping it would spoil what was kept.
        return isinstance(item, ReasoningDelta) and (item.signature is not None or item.redacted is not None)
    return True


def join_deltas(items: list[T]) -> list[T]:
    """The same items with neighbouring deltas of one channel joined into one; everything else untouched.

    Strings and bytes join with their neighbours of the same type, text, reasoning and data deltas
    with those of the same block and choice, tool-call deltas with those of the same call.

    >>> join_deltas([TextDelta("a"), TextDelta("b"), Finish(), "x", "y"])
    [TextDelta(text='ab', index=0, choice=0), Finish(reason='stop', raw_reason=None, choice=0), 'xy']
    """
    out: list[T] = []
    start = 0
    count = len(items)
    while start < count:
        first = items[start]
        key = _channel(first)
        end = start + 1
        if key is not None:
            while end < count and _channel(items[end]) == key:
                end += 1
        out.append(first if end == start + 1 else _joined(items[start:end]))
        start = end
    return out


def _channel(item: object) -> object:
    """What must be equal for two neighbours to join; None joins with nothing."""
    match item:
        case TextDelta():
            return (TextDelta, item.index, item.choice)
        case ReasoningDelta(signature=None, redacted=None):
            return (ReasoningDelta, item.index, item.choice)
        case ToolCallDelta():
            return (ToolCallDelta, item.id, item.index, item.choice)
        case DataDelta():
            return (DataDelta, item.index, item.choice, item.media_type)
        case str() | bytes():
            return item.__class__
        case _:
            return None


def _joined(run: list[T]) -> T:
    first = run[0]
    joined: object
    match first:
        case TextDelta() | ReasoningDelta():
            joined = msgspec.structs.replace(first, text="".join([item.text for item in run]))  # type: ignore[attr-defined]
        case ToolCallDelta():
            joined = msgspec.structs.replace(first, delta="".join([item.delta for item in run]))  # type: ignore[attr-defined]
        case DataDelta():
            joined = msgspec.structs.replace(first, data=b"".join([item.data for item in run]))  # type: ignore[attr-defined]
        case str():
            joined = "".join(run)  # type: ignore[arg-type]
        case _:
            joined = b"".join(run)  # type: ignore[arg-type]
    return joined  # type: ignore[return-value]  # same class as `first`, by construction
