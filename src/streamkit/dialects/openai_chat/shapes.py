"""What a chunk looks like, and how the odd ones are made to look the same.

The structs name only fields that are read, so that msgspec skips the rest without building it (a
chunk costs a third of a plain JSON decode). A chunk that does not fit them is not an error yet:
`lenient_chunk` takes it apart by hand, since real servers send content as a list of parts,
arguments as objects, ids as numbers and indexes as null.
"""

from __future__ import annotations

from typing import Final, cast

import msgspec

from streamkit.dialects.json_line import dump
from streamkit.dialects.lenient import as_dict, as_int, as_list, as_text, flat, json_text

__all__ = [
    "Call",
    "Choice",
    "Chunk",
    "Custom",
    "Delta",
    "Details",
    "FirstChunk",
    "Function",
    "Groq",
    "ReasoningDetail",
    "UsageShape",
    "lenient_chunk",
]

NOTHING: Final = msgspec.Raw(b"")


class Function(msgspec.Struct, gc=False):
    """What a call calls, or a piece of it."""

    name: str | None = None
    arguments: str | None = None


class Custom(msgspec.Struct, gc=False):
    """A tool of type "custom": its input is any text."""

    name: str | None = None
    input: str | None = None


class Call(msgspec.Struct, gc=False):
    """A tool call, or a piece of one."""

    index: int | None = None
    id: str | None = None
    function: Function | None = None
    custom: Custom | None = None
    # Gemini's: the proof that the call has to be sent back with.
    extra_content: object = None


class ReasoningDetail(msgspec.Struct, gc=False):
    """OpenRouter's form of reasoning."""

    type: str | None = None
    text: str | None = None
    summary: str | None = None
    signature: str | None = None
    data: str | None = None


class Delta(msgspec.Struct, gc=False):
    """What is new in one choice."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: list[ReasoningDetail] | None = None
    tool_calls: list[Call] | None = None
    refusal: str | None = None
    function_call: Function | None = None
    annotations: list[object] | None = None
    audio: object = None
    images: list[object] | None = None
    # Gemini's: whether the content is a thought.
    extra_content: object = None
    # Groq's: the tools that it ran itself.
    executed_tools: list[object] | None = None
    # Azure's: what it found in documents of one's own.
    context: object = None


class Choice(msgspec.Struct, gc=False):
    """One answer's part of a chunk."""

    index: int | None = None
    delta: Delta | None = None
    finish_reason: str | None = None
    text: str | None = None
    error: object = None
    # A whole answer in one chunk. Perplexity repeats it on every chunk, beside the delta: it is decoded only where it is needed.
    message: msgspec.Raw = NOTHING
    # Moonshot counts here.
    usage: UsageShape | None = None


class Details(msgspec.Struct, gc=False):
    """What the token counts are made of."""

    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None


class UsageShape(msgspec.Struct, gc=False):
    """Token counts."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: Details | None = None
    completion_tokens_details: Details | None = None
    prompt_cache_hit_tokens: int | None = None
    cached_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None


class Groq(msgspec.Struct, gc=False):
    """Groq's own field, where its usage and its errors are."""

    usage: UsageShape | None = None
    error: object = None


class Chunk(msgspec.Struct, gc=False):
    """Any chunk but those before `Start`."""

    choices: list[Choice] | None = None
    usage: UsageShape | None = None
    error: object = None
    # Perplexity repeats both on every chunk: as raw bytes they are compared, not decoded.
    citations: msgspec.Raw = NOTHING
    search_results: msgspec.Raw = NOTHING
    x_groq: Groq | None = None


class FirstChunk(Chunk, gc=False):
    """A chunk while the answer's id and model are not known: later ones repeat them, and skip them cheaply."""

    id: str | None = None
    model: str | None = None
    provider: str | None = None


def lenient_chunk(value: dict[str, object]) -> FirstChunk:
    """A chunk from what `read_value` gave, whatever the types of its parts; what cannot be understood is left out."""
    choices = value.get("choices")
    if isinstance(choices, dict):
        choices = cast("list[object]", [choices])
    return FirstChunk(
        choices=[part for item in cast("list[object]", choices) for part in _choices(item)] if isinstance(choices, list) else None,
        usage=_usage(value.get("usage")),
        error=value.get("error"),
        citations=_raw(value.get("citations")),
        search_results=_raw(value.get("search_results")),
        x_groq=_groq(value.get("x_groq")),
        id=as_text(value.get("id")),
        model=as_text(value.get("model")),
        provider=as_text(value.get("provider")),
    )


def _choices(value: object) -> list[Choice]:
    """One choice as one or more: a list of content parts becomes a choice for each part, so that their order is kept."""
    choice = as_dict(value)
    index = as_int(choice.get("index"))
    delta = as_dict(choice.get("delta"))
    last = Choice(
        index=index,
        delta=_delta(delta) if delta else None,
        finish_reason=as_text(choice.get("finish_reason")),
        text=as_text(choice.get("text")),
        error=choice.get("error"),
        message=_raw(choice.get("message")),
        usage=_usage(choice.get("usage")),
    )
    content = delta.get("content")
    if isinstance(content, dict):
        content = cast("list[object]", [content])
    if not isinstance(content, list):
        return [last]
    return [*(Choice(index=index, delta=part) for item in cast("list[object]", content) for part in _parts(item)), last]


def _parts(value: object) -> list[Delta]:
    if isinstance(value, str):
        return [Delta(content=value)]
    part = as_dict(value)
    thinking = part.get("thinking", part.get("reasoning"))
    if thinking is not None:
        return [Delta(reasoning_content=flat(thinking))]
    if isinstance(part.get("refusal"), str):
        return [Delta(refusal=as_text(part["refusal"]))]
    if part.get("type") in ("image_url", "image"):
        return [Delta(images=[part])]
    return [Delta(content=flat(part.get("text")))]


def _delta(delta: dict[str, object]) -> Delta:
    content = delta.get("content")
    return Delta(
        content=None if isinstance(content, list | dict) else as_text(content),
        reasoning_content=flat(delta.get("reasoning_content")),
        reasoning=flat(delta.get("reasoning")),
        reasoning_details=[_detail(item) for item in as_list(delta.get("reasoning_details"))],
        tool_calls=[_call(call) for call in map(as_dict, as_list(delta.get("tool_calls"))) if call],
        refusal=flat(delta.get("refusal")),
        function_call=_function(delta.get("function_call")),
        annotations=as_list(delta.get("annotations")),
        audio=delta.get("audio"),
        images=as_list(delta.get("images")),
        extra_content=delta.get("extra_content"),
        context=delta.get("context"),
        executed_tools=as_list(delta.get("executed_tools")),
    )


def _call(call: dict[str, object]) -> Call:
    custom = as_dict(call.get("custom"))
    return Call(
        index=as_int(call.get("index")),
        id=as_text(call.get("id")),
        function=_function(call.get("function")),
        custom=Custom(as_text(custom.get("name")), as_text(custom.get("input"))) if custom else None,
        extra_content=call.get("extra_content"),
    )


def _function(value: object) -> Function | None:
    if not isinstance(value, dict):
        return None
    function = cast("dict[str, object]", value)
    return Function(as_text(function.get("name")), json_text(function.get("arguments")))


def _detail(value: object) -> ReasoningDetail:
    detail = as_dict(value)
    return ReasoningDetail(*(as_text(detail.get(name)) for name in ReasoningDetail.__struct_fields__))


def _usage(value: object) -> UsageShape | None:
    if not isinstance(value, dict):
        return None
    usage = cast("dict[str, object]", value)
    return UsageShape(
        as_int(usage.get("prompt_tokens")),
        as_int(usage.get("completion_tokens")),
        _details(usage.get("prompt_tokens_details")),
        _details(usage.get("completion_tokens_details")),
        *(as_int(usage.get(name)) for name in UsageShape.__struct_fields__[4:]),
    )


def _details(value: object) -> Details:
    details = as_dict(value)
    return Details(*(as_int(details.get(name)) for name in Details.__struct_fields__))


def _groq(value: object) -> Groq | None:
    groq = as_dict(value)
    return Groq(_usage(groq.get("usage")), groq.get("error")) if groq else None


def _raw(value: object) -> msgspec.Raw:
    return NOTHING if value is None else msgspec.Raw(dump(value))
