"""What the payloads share: parts in one provider's shape as events, files and results as text, schemas, refusals.

A dict that is common to all (text, image, document, call, result, reasoning) is translated; any other dict is left as
it is, for only the provider knows what it means.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any, Final, TypeAlias, cast
from urllib.parse import unquote_to_bytes

import msgspec

from streamkit.clients.request import Part, Request, Turn
from streamkit.errors import ConfigError, scrub
from streamkit.events import File, ReasoningDelta, ToolCall, ToolResult
from streamkit.events.tool import Tool, schema_of

__all__ = [
    "Body",
    "b64",
    "choice_of",
    "data_url",
    "event_of",
    "extra_of",
    "file_bytes",
    "no_word_for",
    "output_schema",
    "parts_of",
    "result_parts",
    "text_of_file",
    "to_json",
    "tool_of",
]

Body: TypeAlias = dict[str, Any]

_KEYWORDS: Final = ("auto", "none", "required")

# The keys of messages that one API knows and the others refuse.
_CHAT_KEYS: Final = frozenset(
    (
        "name",
        "tool_calls",
        "tool_call_id",
        "function_call",
        "refusal",
        "audio",
        "annotations",
        "reasoning",
        "reasoning_content",
        "reasoning_details",
    )
)
_RESPONSES_KEYS: Final = frozenset({"type", "id", "status", "phase"})
_UNWRITABLE: Final = (TypeError, ValueError, NotImplementedError, RecursionError, msgspec.EncodeError)
_NAME: Final = re.compile(r"[^A-Za-z0-9_-]+")


def parts_of(turn: Turn, native: frozenset[str]) -> list[Part]:
    """The parts of a turn: events, texts, and dicts that are either of a `native` type or of one nobody here knows."""
    if "tool_call_id" in turn.extra:
        content = turn.content if isinstance(turn.content, str) else list(turn.content)
        return [ToolResult(str(turn.extra["tool_call_id"]), content)]
    given: tuple[Part, ...] = (turn.content,) if isinstance(turn.content, str) else turn.content
    out: list[Part] = [_translated(part, native) for part in given if part != ""]
    calls = turn.extra.get("tool_calls")
    if isinstance(calls, (list, tuple)):
        for call in cast("list[object]", calls):
            outer = cast("Mapping[str, object]", call if isinstance(call, Mapping) else {})
            function = outer.get("function")
            if isinstance(function, Mapping):
                inner = cast("Mapping[str, object]", function)
                arguments = str(inner.get("arguments") or "")
                out.append(ToolCall(str(outer.get("id")), str(inner.get("name")), arguments, signature=_signature(outer)))
    return out


def _signature(call: Mapping[str, object]) -> str | None:
    """The proof that a call in the chat API's shape came with."""
    held = call
    for name in ("extra_content", "google"):
        inner = held.get(name)
        held = cast("Mapping[str, object]", inner if isinstance(inner, Mapping) else {})
    signature = held.get("thought_signature")
    return signature if isinstance(signature, str) else None


def extra_of(turn: Turn, own: str) -> dict[str, object]:
    """The other keys of a message, without those that only another API than `own` ("chat", "responses") knows."""
    foreign = (frozenset[str]() if own == "chat" else _CHAT_KEYS) | (frozenset[str]() if own == "responses" else _RESPONSES_KEYS)
    return {key: value for key, value in turn.extra.items() if key not in foreign}


def _translated(part: Part, native: frozenset[str]) -> Part:
    if not isinstance(part, Mapping) or part.get("type") in native:
        return part
    event = event_of(part)
    return part if event is None else event


def event_of(part: Mapping[str, object]) -> str | File | ToolCall | ToolResult | ReasoningDelta | None:
    """A dict in any provider's shape as the event that says the same; None where nothing does."""
    try:
        return _event_of(cast("Mapping[str, Any]", part))
    except (KeyError, TypeError, AttributeError, ValueError):
        return None  # not as documented: its provider shall say so


def _event_of(part: Mapping[str, Any]) -> str | File | ToolCall | ToolResult | ReasoningDelta | None:
    match part.get("type"):
        case "text" | "input_text" | "output_text":
            return str(part["text"])
        case "refusal":
            return str(part["refusal"])
        case "image_url":
            image = part["image_url"]
            return _file("image/*", image if isinstance(image, str) else image["url"])
        case "input_image" if part.get("image_url"):
            return _file("image/*", part["image_url"])
        case "file" if "file_data" in part["file"]:
            return _file("application/octet-stream", part["file"]["file_data"], part["file"].get("filename"))
        case "input_file" if part.get("file_data") or part.get("file_url"):
            return _file("application/pdf", part.get("file_data") or part["file_url"], part.get("filename"))
        case "input_audio":
            audio = part["input_audio"]
            return File(f"audio/{audio['format']}", data=base64.b64decode(audio["data"]))
        case "image" | "document":
            return _from_source(part)
        case "tool_use":
            return ToolCall(part["id"], part["name"], _json(part["input"]))
        case "function_call":
            return ToolCall(part["call_id"], part["name"], part["arguments"])
        case "tool_result":
            return ToolResult(part["tool_use_id"], part.get("content", ""), bool(part.get("is_error")))
        case "function_call_output":
            return ToolResult(part["call_id"], part["output"])
        case "thinking":
            return ReasoningDelta(part["thinking"], signature=part["signature"])
        case "reasoning" if part.get("encrypted_content"):
            return ReasoningDelta(signature=part["id"], redacted=part["encrypted_content"])
        case "redacted_thinking":
            return ReasoningDelta(redacted=part["data"])
        case _:
            return None


def _from_source(part: Mapping[str, Any]) -> File | None:
    source = part["source"]
    kind = "image/*" if part["type"] == "image" else "application/pdf"
    match source["type"]:
        case "base64":
            return File(source["media_type"], data=base64.b64decode(source["data"]), name=part.get("title"))
        case "url":
            return File(kind, url=source["url"], name=part.get("title"))
        case "text":
            return File("text/plain", data=source["data"].encode(), name=part.get("title"))
        case _:
            return None


def _file(media_type: str, where: str, name: str | None = None) -> File:
    return _unpacked(File(media_type, url=where, name=name))


def _unpacked(file: File) -> File:
    """A file whose address holds its content, with the content."""
    if file.data is not None or file.url is None or not file.url.startswith("data:"):
        return file
    head, _, body = file.url[5:].partition(",")
    media_type, *options = head.split(";")
    try:
        data = base64.b64decode(body) if "base64" in options else unquote_to_bytes(body)
    except binascii.Error:
        raise ConfigError("a file's data: URL holds no base64") from None
    return File(media_type or file.media_type, data=data, name=file.name)


def file_bytes(file: File) -> tuple[str, bytes | None, str | None]:
    """The media type, and the content or the address.

    Raises:
        ConfigError: it has neither.
    """
    file = _unpacked(file)
    if file.data is None and file.url is None:
        raise ConfigError(f"a File of {file.media_type} has neither data nor url")
    return file.media_type.lower(), file.data, file.url


def text_of_file(data: bytes) -> str:
    """A text file's text; what is not UTF-8 in it is replaced."""
    return data.decode("utf-8-sig", "replace")


def b64(data: bytes) -> str:
    """Base64, as JSON carries bytes."""
    return base64.b64encode(data).decode("ascii")


def data_url(media_type: str, data: bytes) -> str:
    """The content as an address.

    >>> data_url("text/plain", b"hi")
    'data:text/plain;base64,aGk='
    """
    return f"data:{media_type};base64,{b64(data)}"


def result_parts(result: ToolResult, native: frozenset[str]) -> str | list[Part]:
    """What a tool gave back: a text, or parts where it holds files or a provider's blocks; any other value as JSON.

    Raises:
        ConfigError: no JSON can carry it.
    """
    output = result.output
    value: object = output
    if isinstance(output, str):
        return output
    if output is None:
        return ""
    if isinstance(output, File):
        return [output]
    if isinstance(output, (list, tuple)) and output:
        items = cast("list[object]", output)
        if all(isinstance(item, (str, File)) or _is_block(item) for item in items) and not all(
            isinstance(item, str) for item in items
        ):
            return [_translated(cast("Part", item), native) for item in items]
    try:
        return _json(value)
    except _UNWRITABLE as error:
        raise ConfigError(f"the result of tool call {scrub(result.id, 60)!r} is no JSON value: {scrub(str(error), 120)}") from None


def _is_block(item: object) -> bool:
    """Whether a value is a part in a provider's shape, and not just any object with a type."""
    if not isinstance(item, Mapping):
        return False
    block = cast("Mapping[str, object]", item)
    kinds = ("text", "input_text", "output_text", "image_url", "input_image", "input_file", "image", "document", "search_result")
    return block.get("type") in kinds


def to_json(body: object) -> bytes:
    """A body as it is sent.

    Raises:
        ConfigError: it holds what no JSON can carry; the message has its type, and no content.
    """
    try:
        return msgspec.json.encode(body, enc_hook=_other_forms)
    except _UNWRITABLE as error:
        why = "half a character" if isinstance(error, UnicodeError) else scrub(str(error), 120)
        raise ConfigError(f"the request is not JSON: {why}") from None


def _json(value: object) -> str:
    return msgspec.json.encode(value, enc_hook=_other_forms).decode()


def _other_forms(value: Any) -> object:
    if isinstance(value, Mapping):
        return dict(cast("Mapping[object, object]", value))
    dump = getattr(value, "model_dump", None)
    if dump is None:
        raise NotImplementedError(f"{type(value).__name__} has no JSON form")
    return dump(mode="json")


def tool_of(tool: Tool | Mapping[str, object]) -> Tool | None:
    """A function tool, whatever its shape; None for a tool of the provider's own."""
    try:
        return Tool.of(tool)
    except ConfigError:
        return None


def choice_of(request: Request) -> tuple[str, str | None]:
    """The keyword of `tool_choice`, or "tool" and the name.

    Raises:
        ConfigError: a tool that is not among the tools.
    """
    choice = request.tool_choice or "auto"
    if choice in _KEYWORDS:
        return choice, None
    names = [found.name for tool in request.tools if (found := tool_of(tool)) is not None]
    if request.tools and choice not in names and len(names) == len(request.tools):
        raise ConfigError(f"tool_choice is {', '.join(_KEYWORDS)} or a tool's name ({', '.join(names)}); got {scrub(choice, 60)!r}")
    return "tool", choice


def output_schema(output: object) -> tuple[str, dict[str, object], bool]:
    """The name and the schema of structured output, and whether it keeps the rules of "strict".

    Those are: every object names all its properties as required, and allows no others. A schema made of a type
    allows no others; one that was given is not touched.
    """
    if isinstance(output, Mapping):
        schema = dict(cast("Mapping[str, object]", output))
        title = schema.get("title")
        return _safe_name(title if isinstance(title, str) else "answer"), schema, _is_strict(schema)
    schema = cast("dict[str, object]", _closed(schema_of(output)))
    return _safe_name(getattr(output, "__name__", "answer")), schema, _is_strict(schema)


def _safe_name(name: str) -> str:
    return _NAME.sub("_", name)[:64].strip("_") or "answer"


def _closed(schema: object) -> object:
    if isinstance(schema, list):
        return [_closed(item) for item in cast("list[object]", schema)]
    if not isinstance(schema, dict):
        return schema
    out = {key: _closed(value) for key, value in cast("dict[str, object]", schema).items()}
    if out.get("type") == "object" and "properties" in out:
        out.setdefault("additionalProperties", False)
    return out


def _is_strict(schema: object) -> bool:
    if isinstance(schema, list):
        return all(map(_is_strict, cast("list[object]", schema)))
    if not isinstance(schema, dict):
        return True
    node = cast("dict[str, object]", schema)
    if node.get("type") == "object":
        properties = node.get("properties")
        if node.get("additionalProperties") is not False or not isinstance(properties, dict):
            return False
        if set(cast("dict[str, object]", properties)) != set(cast("list[str]", node.get("required", []))):
            return False
    return all(map(_is_strict, node.values()))


def no_word_for(what: str, api: str, instead: str = "") -> ConfigError:
    """The refusal of what an API cannot say."""
    return ConfigError(f"{api} has no {what}: {instead or 'leave it out, or say it in the words of the server with extra={...}'}")
