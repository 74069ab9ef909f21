"""What a frame looks like, and how the odd ones are made to look the same.

One struct holds every kind of frame, and only the fields that are read: a delta, which nearly all frames are, then
costs one decode without a look at its kind first. A frame that does not fit is not an error yet: `lenient_frame` takes
it apart by hand, since proxies send indexes as text, counts as floats and nulls where the reference has none.
"""

from __future__ import annotations

from typing import cast

import msgspec

from streamkit.dialects.lenient import as_dict, as_int, as_text, flat, json_text

__all__ = ["Delta", "Details", "MessageFrame", "Opening", "UsageShape", "lenient_frame"]


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
    """A frame from what `read_value` gave, whatever the types of its parts; what cannot be understood is left out."""
    delta, message = value.get("delta"), value.get("message")
    return MessageFrame(
        type=as_text(value.get("type")),
        index=as_int(value.get("index")),
        delta=_delta(cast("dict[str, object]", delta)) if isinstance(delta, dict) else None,
        content_block=value.get("content_block"),
        message=_opening(cast("dict[str, object]", message)) if isinstance(message, dict) else None,
        usage=_usage(value.get("usage")),
        error=value.get("error"),
    )


def _opening(message: dict[str, object]) -> Opening:
    return Opening(
        id=as_text(message.get("id")),
        model=as_text(message.get("model")),
        content=message.get("content"),
        stop_reason=as_text(message.get("stop_reason")),
        usage=_usage(message.get("usage")),
    )


def _delta(delta: dict[str, object]) -> Delta:
    return Delta(
        type=as_text(delta.get("type")),
        text=flat(delta.get("text")),
        partial_json=json_text(delta.get("partial_json")),
        thinking=flat(delta.get("thinking")),
        signature=as_text(delta.get("signature")),
        citation=delta.get("citation"),
        stop_reason=as_text(delta.get("stop_reason")),
    )


def _usage(value: object) -> UsageShape | None:
    if not isinstance(value, dict):
        return None
    usage = cast("dict[str, object]", value)
    details = as_dict(usage.get("output_tokens_details"))
    return UsageShape(
        as_int(usage.get("input_tokens")),
        as_int(usage.get("output_tokens")),
        as_int(usage.get("cache_read_input_tokens")),
        as_int(usage.get("cache_creation_input_tokens")),
        Details(as_int(details.get("thinking_tokens"))) if details else None,
    )
