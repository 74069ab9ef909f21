"""What a frame looks like, and how the odd ones are made to look the same.

One struct holds every kind of frame, and only the fields that are read: a delta, which nearly all frames are, then
costs one decode without a look at its kind first. A frame that does not fit is not an error yet: `lenient_frame` takes
it apart by hand, since proxies send indexes as text, counts as floats and nulls where the reference has none.
"""

from __future__ import annotations

from typing import Final, cast

import msgspec

from streamkit.dialects.json_line import dump, without_surrogates
from streamkit.errors import LocalProtocolError, RemoteProtocolError

__all__ = ["Delta", "Details", "MessageFrame", "Opening", "UsageShape", "as_dict", "as_text", "lenient_frame", "plain"]


class Delta(msgspec.Struct, gc=False):
    """What is new in a block; in `message_delta`, in the message."""

    type: str | None = None
    text: str | None = None
    partial_json: str | None = None
    thinking: str | None = None
    signature: str | None = None
    citation: object = None
    stop_reason: str | None = None


class Details(msgspec.Struct, gc=False):
    """What the output was made of."""

    thinking_tokens: int | None = None


class UsageShape(msgspec.Struct, gc=False):
    """Token counts; each is a total so far."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    output_tokens_details: Details | None = None


class Opening(msgspec.Struct, gc=False):
    """The message as `message_start` has it."""

    id: str | None = None
    model: str | None = None
    content: object = None
    stop_reason: str | None = None
    usage: UsageShape | None = None


class MessageFrame(msgspec.Struct, gc=False):
    """Any frame."""

    type: str | None = None
    index: int | None = None
    delta: Delta | None = None
    content_block: object = None
    message: Opening | None = None
    usage: UsageShape | None = None
    error: object = None


def lenient_frame(value: dict[str, object]) -> MessageFrame:
    """A frame from a plain value, whatever the types of its parts; what cannot be understood is left out.

    Raises:
        RemoteProtocolError: a block holds something that JSON can say and no event can, such as an endless number.
    """
    delta, message = value.get("delta"), value.get("message")
    return MessageFrame(
        type=as_text(value.get("type")),
        index=_number(value.get("index")),
        delta=_delta(cast("dict[str, object]", delta)) if isinstance(delta, dict) else None,
        content_block=plain(value.get("content_block")),
        message=_opening(cast("dict[str, object]", message)) if isinstance(message, dict) else None,
        usage=_usage(value.get("usage")),
        error=value.get("error"),
    )


def as_dict(value: object) -> dict[str, object]:
    """The value if it is an object, else an empty one."""
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def as_text(value: object) -> str | None:
    """The value as text, if it is text or a number."""
    if isinstance(value, str):
        # Half a pair, escaped: legal JSON that no UTF-8 can carry on.
        return without_surrogates(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return None


def plain(value: object) -> object:
    """The value as any JSON writer of ours can write it again.

    Raises:
        RemoteProtocolError: it holds something that no event can.
    """
    if value is None:
        return None
    try:
        plain: object = _read_any(dump(value))
    except (LocalProtocolError, msgspec.DecodeError, RecursionError) as error:
        raise RemoteProtocolError(f"a content block holds a value that cannot be read ({error})") from None
    return plain


def _opening(message: dict[str, object]) -> Opening:
    return Opening(
        id=as_text(message.get("id")),
        model=as_text(message.get("model")),
        content=plain(message.get("content")),
        stop_reason=as_text(message.get("stop_reason")),
        usage=_usage(message.get("usage")),
    )


def _delta(delta: dict[str, object]) -> Delta:
    partial = delta.get("partial_json")
    return Delta(
        type=as_text(delta.get("type")),
        text=_flat(delta.get("text")),
        partial_json=as_text(partial) if not isinstance(partial, dict | list) else dump(cast("object", partial)).decode(),
        thinking=_flat(delta.get("thinking")),
        signature=as_text(delta.get("signature")),
        citation=plain(delta.get("citation")),
        stop_reason=as_text(delta.get("stop_reason")),
    )


def _usage(value: object) -> UsageShape | None:
    if not isinstance(value, dict):
        return None
    usage = cast("dict[str, object]", value)
    details = as_dict(usage.get("output_tokens_details"))
    return UsageShape(
        _number(usage.get("input_tokens")),
        _number(usage.get("output_tokens")),
        _number(usage.get("cache_read_input_tokens")),
        _number(usage.get("cache_creation_input_tokens")),
        Details(_number(details.get("thinking_tokens"))) if details else None,
    )


def _flat(value: object) -> str | None:
    """Text that may be nested: a string, or parts with `text`, or a list of either."""
    if isinstance(value, list):
        return "".join(_flat(item) or "" for item in cast("list[object]", value))
    if isinstance(value, dict):
        return _flat(cast("dict[str, object]", value).get("text"))
    return as_text(value)


def _number(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 18:
        return int(value)
    return None


_read_any: Final = msgspec.json.Decoder().decode
