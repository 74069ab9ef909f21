"""A request for `POST /responses`: a conversation is a list of items, of which messages are one kind.

Nothing is said about storing: `extra={"store": False, "include": ["reasoning.encrypted_content"]}` keeps the
conversation with the caller, and gives reasoning in a form that can be sent back. It is not the default because models
that do not reason refuse it.
https://developers.openai.com/api/reference/resources/responses/methods/create
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from streamkit.clients.payloads.shapes import (
    Body,
    choice_of,
    data_url,
    extra_of,
    file_bytes,
    no_word_for,
    output_schema,
    parts_of,
    result_parts,
    tool_of,
)
from streamkit.clients.request import Part, Request, Turn
from streamkit.events import File, ReasoningDelta, ToolCall, ToolResult
from streamkit.events.tool import Tool

__all__ = ["payload"]

_API: Final = "the Responses API"
_CONTENT: Final = frozenset({"input_text", "output_text", "input_image", "input_file", "refusal"})
_NATIVE: Final = _CONTENT | {"function_call", "function_call_output", "reasoning"}


def payload(request: Request, *, relative: bool = False) -> Body:
    """The JSON body.

    Raises:
        ConfigError: a part or an option that the API has no word for.
    """
    items: list[Body] = []
    for turn in request.messages:
        items += _items(turn)
    body: Body = {"input": items, "stream": True}
    for name in ("seed", "top_k"):
        if getattr(request, name) is not None:
            raise no_word_for(name, _API)
    if request.stop:
        raise no_word_for("stop sequences", _API, "end the answer yourself with | sk.stop(...)")
    options = {
        "model": request.model,
        "instructions": request.system,
        "max_output_tokens": request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
    }
    body.update((name, option) for name, option in options.items() if option is not None)
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
    if request.tool_choice is not None:
        keyword, tool = choice_of(request)
        body["tool_choice"] = {"type": "function", "name": tool} if tool else keyword
    if request.output is not None:
        name, schema, strict = output_schema(request.output)
        body["text"] = {"format": {"type": "json_schema", "name": name, "schema": schema, "strict": strict}}
    return {**body, **request.extra}


def _items(turn: Turn) -> list[Body]:
    """The items of a turn: what is said goes into messages, all else stands beside them, in order."""
    extra = extra_of(turn, "responses")
    if turn.role == "assistant":
        extra = {"type": "message", **extra}  # llama.cpp tells an answer only by this
    if isinstance(turn.content, str) and not turn.extra.keys() & {"tool_calls", "tool_call_id"}:
        return [{"role": turn.role, "content": turn.content, **extra}]
    out: list[Body] = []
    said: list[Body] = []

    def close() -> None:
        if said:
            out.append({"role": "user" if turn.role == "tool" else turn.role, "content": _content_of(turn, said), **extra})
            said.clear()

    for part in parts_of(turn, _NATIVE):
        if isinstance(part, (str, File)) or (isinstance(part, Mapping) and part.get("type") in _CONTENT):
            said.append(_content(part, turn.role))
            continue
        close()
        item = _item(part)
        if item is not None:
            out.append(item)
    close()
    return out


def _content_of(turn: Turn, said: list[Body]) -> str | list[Body]:
    given = turn.content
    if turn.role == "assistant" and not any(isinstance(part, Mapping) and part.get("type") in _CONTENT for part in given):
        return "".join(part["text"] for part in said)  # a list must name the ids of what was said
    return list(said)


def _item(part: Part) -> Body | None:
    match part:
        case ToolCall():
            return {"type": "function_call", "call_id": part.id, "name": part.name, "arguments": part.arguments.strip() or "{}"}
        case ToolResult():
            return {"type": "function_call_output", "call_id": part.id, "output": _result(part)}
        case ReasoningDelta():
            return _reasoning(part)
        case _:
            assert isinstance(part, Mapping)
            return dict(part)


def _reasoning(block: ReasoningDelta) -> Body | None:
    if block.redacted is None or block.signature is None:
        return None  # a summary proves nothing, and a proof without the item's id is of another provider
    summary = [{"type": "summary_text", "text": block.text}] if block.text else []
    return {"type": "reasoning", "id": block.signature, "summary": summary, "encrypted_content": block.redacted}


def _content(part: str | File | Mapping[str, object], role: str) -> Body:
    if isinstance(part, str):
        return {"type": "output_text" if role == "assistant" else "input_text", "text": part}
    if isinstance(part, File):
        if role == "assistant":
            raise no_word_for("files said by the assistant", _API, "put it in a user turn")
        return _file(part)
    return dict(part)


def _file(file: File) -> Body:
    kind, data, url = file_bytes(file)
    if kind.startswith("image/"):
        return {"type": "input_image", "detail": "auto", "image_url": url if data is None else data_url(kind, data)}
    if kind.startswith(("audio/", "video/")):
        raise no_word_for(f"part for {kind}", _API)
    if data is None:
        return {"type": "input_file", "file_url": url}
    name = file.name or f"file.{'txt' if kind == 'text/plain' else kind.rpartition('/')[2]}"
    return {"type": "input_file", "filename": name, "file_data": data_url(kind, data)}


def _result(result: ToolResult) -> str | list[Body]:
    parts = result_parts(result, _NATIVE)
    if isinstance(parts, str):
        return parts
    return [_content(part, "tool") for part in parts if isinstance(part, (str, File, Mapping))]


def _tool(tool: Tool | Mapping[str, object]) -> Mapping[str, Any]:
    if isinstance(tool, Mapping) and tool.get("type") == "function" and "name" in tool:
        return tool
    found = tool_of(tool)
    if found is None:
        assert isinstance(tool, Mapping)
        return tool
    return {
        "type": "function",
        "name": found.name,
        "description": found.description,
        "parameters": dict(found.parameters),
        "strict": found.strict,
    }
