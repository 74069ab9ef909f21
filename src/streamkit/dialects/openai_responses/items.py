"""What the items of an answer are: which are calls, who runs them, what they were asked and what came of it.

There are two dozen kinds, and more every year. What is common to them is read by rule, so that a kind not known yet
is a call if its name says so, with the fields that are its own as arguments.
"""

from __future__ import annotations

from typing import Final, cast

from streamkit.dialects.json_line import dump
from streamkit.dialects.lenient import as_dict, as_int, as_text, flat, json_text
from streamkit.events import ToolResult, Usage

__all__ = [
    "ANSWERED_APART",
    "NAMED",
    "OURS_TO_RUN",
    "arguments_of",
    "code_of",
    "image_type",
    "is_call",
    "kind_of",
    "result_of",
    "usage_of",
]

# Calls that the caller must answer; every other `..._call` runs at the provider, or is not known to us and cannot be run here.
OURS_TO_RUN: Final = frozenset(
    {
        "function_call",
        "custom_tool_call",
        "computer_call",
        "local_shell_call",
        "shell_call",
        "apply_patch_call",
        "mcp_approval_request",
        "tool_search_call",
    }
)

# Calls whose results are items of their own.
ANSWERED_APART: Final = frozenset({"shell_call", "tool_search_call", "program"})

# The items that are calls though their names do not end so.
_CALLS_BY_OTHER_NAMES: Final = frozenset({"mcp_approval_request", "mcp_list_tools", "program"})

# Calls that have a name of their own; the others are called by their kind.
NAMED: Final = frozenset({"function_call", "custom_tool_call", "mcp_call"})

_NOT_ARGUMENTS: Final = frozenset(
    {
        "async",
        "call_id",
        "caller",
        "created_by",
        "environment",
        "error",
        "id",
        "name",
        "output",
        "outputs",
        "result",
        "results",
        "status",
        "tools",
        "type",
    }
)


def kind_of(shape: dict[str, object]) -> str:
    """What an item is; one that does not say is a message."""
    return as_text(shape.get("type")) or "message"


def is_call(kind: str) -> bool:
    """Whether items of this kind are calls."""
    return kind.endswith("_call") or kind in _CALLS_BY_OTHER_NAMES


def arguments_of(kind: str, shape: dict[str, object]) -> str:
    """The arguments of a call that is done, as JSON; those of a custom tool are any text."""
    match kind:
        case "custom_tool_call":
            return flat(shape.get("input")) or ""
        case "code_interpreter_call":
            return code_of(shape)
        case "mcp_approval_request":
            asked: dict[str, object] = {name: shape.get(name) for name in ("server_label", "name", "arguments")}
            return json_text(asked) or ""
        case _:
            if "arguments" in shape:
                return json_text(shape["arguments"]) or ""
    rest = {name: value for name, value in shape.items() if name not in _NOT_ARGUMENTS and value not in (None, [], "")}
    if len(rest) == 1 and isinstance(only := next(iter(rest.values())), dict):
        # The sources of a search are what it found, not what was asked.
        rest = {name: value for name, value in as_dict(cast("object", only)).items() if name != "sources"}
    return (json_text(rest) or "") if rest else ""


def code_of(shape: dict[str, object]) -> str:
    """The arguments of a code interpreter, escaped as its deltas are."""
    code = flat(shape.get("code"))
    return dump({"code": code}).decode() if code else ""


def result_of(call_id: str, shape: dict[str, object]) -> ToolResult:
    """What came of a call, from its own item or from one that holds only this."""
    found = (shape.get(name) for name in ("output", "outputs", "results", "result", "tools"))
    output = next((value for value in found if value is not None), None)
    if output is None:
        output = as_dict(shape.get("action")).get("sources")
    failed = bool(shape.get("error")) or shape.get("status") in ("failed", "incomplete")
    return ToolResult(call_id, shape.get("error") if output is None and shape.get("error") else output, failed)


def usage_of(shape: dict[str, object]) -> Usage:
    """The token counts of a response."""
    read, written = as_dict(shape.get("input_tokens_details")), as_dict(shape.get("output_tokens_details"))
    return Usage(
        as_int(shape.get("input_tokens")),
        as_int(shape.get("output_tokens")),
        as_int(read.get("cached_tokens")),
        as_int(read.get("cache_write_tokens")),
        as_int(written.get("reasoning_tokens")),
    )


def image_type(shape: dict[str, object]) -> str:
    """The media type of a picture, from the item or the event that brings it."""
    format = as_text(shape.get("output_format")) or "png"
    return "image/svg+xml" if format == "svg" else f"image/{format}"
