"""A request for `POST /v1/messages`: what is said is a list of blocks, and only user and assistant take turns.

Instructions at the beginning stand outside the conversation (`system`), the results of tools are blocks of a user's
turn, and a limit is demanded: `max_tokens` is 8192 where the request has none.
https://platform.claude.com/docs/en/api/messages/create
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from streamkit.clients.payloads.shapes import (
    Body,
    b64,
    choice_of,
    extra_of,
    file_bytes,
    no_word_for,
    output_schema,
    parts_of,
    result_parts,
    text_of_file,
    tool_of,
)
from streamkit.clients.request import Part, Request, Turn
from streamkit.errors import ConfigError, scrub
from streamkit.events import File, ReasoningDelta, ToolCall, ToolResult
from streamkit.events.tool import Tool

__all__ = ["MAX_TOKENS", "payload"]

MAX_TOKENS: Final = 8192

_API: Final = "the Messages API"
_NATIVE: Final = frozenset({"text", "image", "document", "tool_use", "tool_result", "thinking", "redacted_thinking"})
_INSTRUCTIONS: Final = ("system", "developer")


def payload(request: Request, *, relative: bool = False) -> Body:
    """The JSON body.

    Raises:
        ConfigError: a part or an option that the API has no word for.
    """
    turns = list(request.messages)
    system: list[Turn] = [] if request.system is None else [Turn("system", request.system)]
    while turns and turns[0].role in _INSTRUCTIONS:
        system.append(turns.pop(0))
    body: Body = {"max_tokens": request.max_tokens or MAX_TOKENS, "messages": _messages(turns), "stream": True}
    if request.seed is not None:
        raise no_word_for("seed", _API)
    options = {
        "model": request.model,
        "system": _system(system),
        "stop_sequences": list(request.stop) or None,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k,
    }
    body.update((name, option) for name, option in options.items() if option is not None)
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
    if request.tool_choice is not None:
        keyword, name = choice_of(request)
        kind = {"required": "any"}.get(keyword, keyword)
        body["tool_choice"] = {"type": kind, "name": name} if name else {"type": kind}
    if request.output is not None:
        body["output_config"] = {"format": {"type": "json_schema", "schema": output_schema(request.output)[1]}}
    return {**body, **request.extra}


def _system(turns: list[Turn]) -> str | list[Body] | None:
    if not turns:
        return None
    if all(isinstance(turn.content, str) for turn in turns):
        return "\n\n".join(turn.text for turn in turns)
    return [block for turn in turns for block in _blocks(turn)]


def _messages(turns: list[Turn]) -> list[Body]:
    """One message for each change of speaker: the API wants all results of a round in one turn."""
    out: list[Body] = []
    for turn in turns:
        role = {"tool": "user", "developer": "system"}.get(turn.role, turn.role)
        plain = isinstance(turn.content, str) and not turn.extra.keys() & {"tool_calls", "tool_call_id"}
        content: str | list[Body] = cast("str", turn.content) if plain else _blocks(turn)
        if not content:
            continue  # an empty turn is refused
        if out and out[-1]["role"] == role:
            out[-1]["content"] = [*_as_blocks(out[-1]["content"]), *_as_blocks(content)]
            out[-1].update(extra_of(turn, "anthropic"))
        else:
            out.append({"role": role, "content": content, **extra_of(turn, "anthropic")})
    return out


def _as_blocks(content: str | list[Body]) -> list[Body]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _blocks(turn: Turn) -> list[Body]:
    blocks = (_block(part) for part in parts_of(turn, _NATIVE))
    return [block for block in blocks if block is not None]


def _block(part: Part) -> Body | None:
    match part:
        case str():
            return {"type": "text", "text": part} if part else None  # an empty text is refused
        case File():
            return _file(part)
        case ToolCall():
            return {"type": "tool_use", "id": part.id, "name": part.name, "input": _input(part)}
        case ToolResult():
            content = result_parts(part, _NATIVE)
            block: Body = {"type": "tool_result", "tool_use_id": part.id}
            block["content"] = content if isinstance(content, str) else [b for item in content if (b := _block(item))]
            if part.is_error:
                block["is_error"] = True
            return block
        case ReasoningDelta():
            if part.redacted is not None:  # with an item's id as its signature it is OpenAI's, which nobody reads here
                return {"type": "redacted_thinking", "data": part.redacted} if part.signature is None else None
            # Thinking without its proof is refused.
            return None if part.signature is None else {"type": "thinking", "thinking": part.text, "signature": part.signature}
        case _:
            return dict(part)


def _input(call: ToolCall) -> object:
    value = call.input()
    if not isinstance(value, dict):
        raise ConfigError(f"the arguments of tool call {scrub(call.name, 60)!r} are no object, which {_API} demands")
    return cast("object", value)


def _file(file: File) -> Body:
    kind, data, url = file_bytes(file)
    block: Body
    if kind.startswith("image/"):
        source = {"type": "url", "url": url} if data is None else {"type": "base64", "media_type": kind, "data": b64(data)}
        return {"type": "image", "source": source}
    if kind == "application/pdf":
        source = {"type": "url", "url": url} if data is None else {"type": "base64", "media_type": kind, "data": b64(data)}
    elif kind.startswith("text/"):
        if data is None:
            raise no_word_for(f"address for a file of {kind}", _API, "pass File(..., data=...)")
        source = {"type": "text", "media_type": "text/plain", "data": text_of_file(data)}
    else:
        raise no_word_for(f"part for {kind}", _API)
    block = {"type": "document", "source": source}
    if file.name:
        block["title"] = file.name
    return block


def _tool(tool: Tool | Mapping[str, object]) -> Mapping[str, Any]:
    if isinstance(tool, Mapping) and "input_schema" in tool:
        return tool
    found = tool_of(tool)
    if found is None:
        assert isinstance(tool, Mapping)
        return tool
    body: Body = {"name": found.name, "input_schema": dict(found.parameters)}
    if found.description:
        body["description"] = found.description
    if found.strict is not None:
        body["strict"] = found.strict
    return body
