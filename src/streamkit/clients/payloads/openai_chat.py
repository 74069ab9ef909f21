"""A request for `POST /chat/completions`, of OpenAI and of all who speak its dialect.

The relatives (llama.cpp, vLLM, Mistral, DeepSeek, gateways ...) still call the limit `max_tokens`, which OpenAI's
reasoning models refuse, and most know `top_k`, which OpenAI does not.
https://developers.openai.com/api/reference/resources/chat/subresources/completions/methods/create
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from streamkit.clients.payloads.shapes import (
    Body,
    b64,
    choice_of,
    data_url,
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
from streamkit.events import File, ReasoningDelta, ToolCall, ToolResult
from streamkit.events.tool import Tool

__all__ = ["payload"]

_API: Final = "the chat completions API"
_NATIVE: Final = frozenset({"text", "image_url", "input_audio", "file", "refusal"})
_AUDIO: Final = {"audio/wav": "wav", "audio/x-wav": "wav", "audio/wave": "wav", "audio/mpeg": "mp3", "audio/mp3": "mp3"}


def payload(request: Request, *, relative: bool = False) -> Body:
    """The JSON body.

    Raises:
        ConfigError: a part or an option that the API has no word for.
    """
    messages: list[Body] = [] if request.system is None else [{"role": "system", "content": request.system}]
    for turn in request.messages:
        messages += _messages(turn)
    # Without it there is no usage at all in a stream.
    body: Body = {"messages": messages, "stream": True, "stream_options": {"include_usage": True}}
    if request.model is not None:
        body["model"] = request.model
    if request.max_tokens is not None:
        body["max_tokens" if relative else "max_completion_tokens"] = request.max_tokens
    if request.stop:
        body["stop"] = list(request.stop)
    if request.top_k is not None:
        if not relative:
            raise no_word_for("top_k", _API)
        body["top_k"] = request.top_k
    for name in ("seed", "temperature", "top_p"):
        option: object = getattr(request, name)
        if option is not None:
            body[name] = option
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
    if request.tool_choice is not None:
        keyword, tool = choice_of(request)
        body["tool_choice"] = {"type": "function", "function": {"name": tool}} if tool else keyword
    if request.output is not None:
        name, schema, strict = output_schema(request.output)
        body["response_format"] = {"type": "json_schema", "json_schema": {"name": name, "schema": schema, "strict": strict}}
    return {**body, **request.extra}


def _messages(turn: Turn) -> list[Body]:
    extra = extra_of(turn, "chat")
    if isinstance(turn.content, str):
        silent = turn.content == "" and "tool_calls" in turn.extra
        return [{"role": turn.role, "content": None if silent else turn.content, **extra}]
    own = all(isinstance(part, Mapping) and part.get("type") in _NATIVE for part in turn.content)
    if own and (turn.content or turn.extra):
        return [{"role": turn.role, "content": [dict(part) for part in turn.content if isinstance(part, Mapping)], **extra}]
    content: list[Body] = []
    calls: list[Body] = []
    results: list[Body] = []
    for part in parts_of(turn, _NATIVE):
        match part:
            case ToolResult():
                results.append({"role": "tool", "tool_call_id": part.id, "content": _result(part)})
            case ToolCall():
                # Some relatives read the arguments at once, and "" is no JSON.
                function = {"name": part.name, "arguments": part.arguments.strip() or "{}"}
                call: Body = {"id": part.id, "type": "function", "function": function}
                if part.signature is not None:
                    # As Gemini's endpoint gave it; without it Gemini 3 refuses the turn.
                    call["extra_content"] = {"google": {"thought_signature": part.signature}}
                calls.append(call)
            case ReasoningDelta():
                pass  # there is no way to send it back
            case _:
                content.append(_content(part))
    extra = {key: value for key, value in extra.items() if key not in ("tool_calls", "tool_call_id")}
    if not content and not calls:
        return results
    message: Body = {"role": "user" if turn.role == "tool" else turn.role, "content": content or None, **extra}
    if turn.role in ("assistant", "system", "developer") and content and all(set(part) == {"type", "text"} for part in content):
        # Many relatives read these only as one text.
        message["content"] = "".join(part["text"] for part in content)
    if calls:
        message["tool_calls"] = calls
    return [*results, message]


def _content(part: Part) -> Body:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if isinstance(part, File):
        return _file(part)
    assert isinstance(part, Mapping)
    return dict(part)


def _file(file: File) -> Body:
    kind, data, url = file_bytes(file)
    if kind.startswith("image/"):
        return {"type": "image_url", "image_url": {"url": url if data is None else data_url(kind, data)}}
    if data is None:
        raise no_word_for(f"address for a file of {kind}", _API, "pass File(..., data=...)")
    if kind in _AUDIO:
        return {"type": "input_audio", "input_audio": {"data": b64(data), "format": _AUDIO[kind]}}
    if kind.startswith(("audio/", "video/")):
        raise no_word_for(f"part for {kind}", _API)
    if kind.startswith("text/"):
        return {"type": "text", "text": text_of_file(data)}
    name = file.name or f"file.{kind.rpartition('/')[2]}"
    return {"type": "file", "file": {"filename": name, "file_data": data_url(kind, data)}}


def _result(result: ToolResult) -> str | list[Body]:
    parts = result_parts(result, _NATIVE)
    if isinstance(parts, str):
        return parts
    content = [_content(part) for part in parts]
    if any(part["type"] != "text" for part in content):
        raise no_word_for("files in a tool's result", _API, "give a text, and the file in a user turn after it")
    return content


def _tool(tool: Tool | Mapping[str, object]) -> Mapping[str, Any]:
    if isinstance(tool, Mapping) and "function" in tool:
        return tool
    found = tool_of(tool)
    if found is None:
        assert isinstance(tool, Mapping)
        return tool
    function: Body = {"name": found.name, "parameters": dict(found.parameters)}
    if found.description:
        function["description"] = found.description
    if found.strict is not None:
        function["strict"] = found.strict
    return {"type": "function", "function": function}
