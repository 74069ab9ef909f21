"""The Messages API's stream, written: events in, frames out, as Anthropic's own clients read them.

    Start, or the first block              message_start
    TextDelta, Citation                    a text block: text_delta, citations_delta
    ReasoningDelta                         a thinking block: thinking_delta, signature_delta, which ends the block;
                                           redacted: a redacted_thinking block
    ToolCallStart, ToolCallDelta, ToolCall a tool_use block (server_tool_use, mcp_tool_use for calls of the server)
    ToolResult of such a call of the server  its result block
    File in the API's own file store       a container_upload block
    Ping                                   ping
    Finish, Usage                          held: message_delta says both, message_stop ends
    close                                  the above; or one `event: error` frame and no message_stop

Every frame has its `event:` line: the JavaScript client sees no frame without.

On this wire one block is open at a time, its index counts up, and a closed one never opens again. Text that goes on
behind another block simply begins a new one. A call cannot be told in two blocks: what comes for other blocks
while a call is open waits until the call has ended, or its arguments are whole JSON, so that nothing more can come.
What waits is bounded (`MAX_WAITING`): beyond that the events are no stream that this dialect can tell, which is an error.

Clients demand the counts of input and output as numbers from the first frame on: they are 0 until known.
The vocabulary has no words for results of the reader's own tools, choices but the first, DataDelta, other Files, Gap,
Custom and Raw, and no reason for "cancelled" and "other" (clients see "end_turn").
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, TypeAlias, cast

import msgspec

from streamkit.dialects.anthropic.decoder import FINISH_REASONS
from streamkit.dialects.json_line import dump, escape, known
from streamkit.dialects.lenient import as_dict
from streamkit.dialects.outcomes import Outcome, outcome_of_event
from streamkit.dialects.protocol import OutFrame
from streamkit.errors import LocalProtocolError
from streamkit.events import (
    Citation,
    ErrorEvent,
    Event,
    File,
    Finish,
    FinishReason,
    Ping,
    ReasoningDelta,
    Start,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolCallStart,
    ToolResult,
    Usage,
)

__all__ = ["MAX_WAITING", "AnthropicEncoder"]

MAX_WAITING: Final = 1 << 20
"""The most that waits behind an open call, in characters, with 100 more for each event."""

_REASONS: Final[Mapping[FinishReason, str]] = MappingProxyType(
    {
        "stop": "end_turn",
        "length": "max_tokens",
        "tool-calls": "tool_use",
        "content-filter": "refusal",
        "cancelled": "end_turn",
        "other": "end_turn",
    }
)

_ERROR_TYPES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "rate-limited": "rate_limit_error",
        "overloaded": "overloaded_error",
        "timeout": "timeout_error",
        "bad-request": "invalid_request_error",
        "content-blocked": "invalid_request_error",
    }
)

# The tools that the API runs itself; all other calls that are not the reader's are those of MCP servers.
_RESULT_KINDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "advisor": "advisor_tool_result",
        "bash_code_execution": "bash_code_execution_tool_result",
        "code_execution": "code_execution_tool_result",
        "text_editor_code_execution": "text_editor_code_execution_tool_result",
        "tool_search_tool_bm25": "tool_search_tool_result",
        "tool_search_tool_regex": "tool_search_tool_result",
        "web_fetch": "web_fetch_tool_result",
        "web_search": "web_search_tool_result",
    }
)
_MCP_RESULT: Final = "mcp_tool_result"

_FILE_ADDRESS: Final = re.compile(r"/v1/files/([^/]+)/content")

_Key: TypeAlias = tuple[str, int | str]
_BlockEvent: TypeAlias = TextDelta | ReasoningDelta | ToolCallStart | ToolCallDelta | ToolCall | ToolResult | Citation | File

_PING: Final = OutFrame(b'{"type":"ping"}', "ping")
_STOP: Final = OutFrame(b'{"type":"message_stop"}', "message_stop")


class AnthropicEncoder:
    """Writes one message. See `Encoder` in `streamkit.dialects.protocol` for the contract.

    Args:
        id: The message's id where no `Start` brings one.
        model: Its model, likewise.
        created: Not said on this wire.

    Memory: the arguments of the call that is open, a few words per call, and what waits (for the end of that call, or for the
    name of its own), at most `MAX_WAITING`.

    >>> [frame.event for frame in AnthropicEncoder().encode(TextDelta("Hi"))]
    ['message_start', 'content_block_start', 'content_block_delta']
    """

    __slots__ = (
        "_call",
        "_called",
        "_closed",
        "_done",
        "_files",
        "_finish",
        "_id",
        "_key",
        "_model",
        "_nameless",
        "_next",
        "_opened",
        "_results",
        "_text_head",
        "_text_index",
        "_usage",
        "_waiting",
        "_waiting_size",
    )

    def __init__(self, *, id: str | None = None, model: str | None = None, created: int = 0) -> None:
        self._id = id
        self._model = model
        self._opened = False
        self._closed = False
        self._finish: Finish | None = None
        self._usage: Usage | None = None
        self._next = 0
        self._key: _Key | None = None
        self._text_index: int | None = None
        self._text_head = b""
        self._call: _CallState | None = None
        self._called = False
        self._done: set[str] = set()
        self._results: dict[str, str] = {}
        self._files: set[str] = set()
        self._nameless: dict[str, list[ToolCallDelta]] = {}
        self._waiting: dict[_Key, list[_BlockEvent]] = {}
        self._waiting_size = 0

    def open(self) -> list[OutFrame]:
        """Nothing: the first frame needs to know what `Start` says."""
        return []

    def encode(self, event: Event) -> list[OutFrame]:
        """The frames of one event."""
        # The hot path: all but the text was encoded once, when the block began.
        if isinstance(event, TextDelta) and event.index == self._text_index and event.choice == 0:
            return [OutFrame(self._text_head + escape(event.text) + b"}}", "content_block_delta")] if event.text else []
        return [] if self._closed else self._encode(event)

    def _encode(self, event: Event) -> list[OutFrame]:
        match event:
            case Start():
                return self._start(event)
            case Usage():
                self._usage = event
            case Finish():
                if event.choice == 0:
                    self._finish = event
            case ErrorEvent():
                return self.close(outcome_of_event(event))
            case Ping():
                return [_PING]
            case (
                TextDelta() | ReasoningDelta() | ToolCallStart() | ToolCallDelta() | ToolCall() | ToolResult() | Citation() | File()
            ):
                key = self._key_of(event)
                if key is not None:
                    return self._admit(key, event)
            case _:
                pass
        return []

    def close(self, outcome: Outcome) -> list[OutFrame]:
        """What waits, the reason, the usage and the end; or the error."""
        if self._closed:
            return []
        frames: list[OutFrame] = []
        while self._waiting:
            frames += self._shut()
            frames += self._release()
        if outcome.failed:
            frames.append(OutFrame(dump(_error(outcome)), "error"))
        else:
            frames += self._open_message()
            frames += self._shut()
            delta = b'{"type":"message_delta","delta":{"stop_reason":%b,"stop_sequence":null},"usage":%b}'
            usage = _usage(self._usage)
            usage.setdefault("output_tokens", 0)
            frames.append(OutFrame(delta % (escape(self._stop_reason()), dump(usage)), "message_delta"))
            frames.append(_STOP)
        self._closed = True
        self._text_index = None
        return frames

    # ---- the message ------------------------------------------------------------------------

    def _start(self, event: Start) -> list[OutFrame]:
        if self._opened:  # The id is said already, and clients hold on to the first.
            return []
        self._id = event.id or self._id
        self._model = event.model or self._model
        return self._open_message()

    def _open_message(self) -> list[OutFrame]:
        if self._opened:
            return []
        self._opened = True
        message: dict[str, object] = {
            "id": self._id or "msg_stream",
            "type": "message",
            "role": "assistant",
            "model": self._model or "unknown",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 0, "output_tokens": 0, **_usage(self._usage)},
        }
        return [OutFrame(dump({"type": "message_start", "message": message}), "message_start")]

    def _stop_reason(self) -> str:
        finish = self._finish
        if finish is None:  # A plain end, such as a generator of one's own has.
            return "tool_use" if self._called else "end_turn"
        if finish.raw_reason is not None and FINISH_REASONS.get(finish.raw_reason) == finish.reason:
            return finish.raw_reason
        return _REASONS[finish.reason]

    # ---- who may write ----------------------------------------------------------------------

    def _key_of(self, event: _BlockEvent) -> _Key | None:
        """What names the block of an event; None for an event that this wire has no word for."""
        if not isinstance(event, ToolResult) and event.choice != 0:
            return None
        match event:
            case TextDelta() | Citation():
                return ("text", event.index)
            case ReasoningDelta():
                return ("thinking", event.index)
            case ToolCallStart() | ToolCallDelta() | ToolCall():
                if not isinstance(event, ToolCallDelta) and event.server:
                    self._results[event.id] = _RESULT_KINDS.get(event.name, _MCP_RESULT)
                return ("call", event.id)
            case ToolResult():
                return ("result", event.id) if event.id in self._results else None
            case File():
                return ("file", event.url) if event.url and _FILE_ADDRESS.fullmatch(event.url) else None

    def _admit(self, key: _Key, event: _BlockEvent) -> list[OutFrame]:
        """Write an event, or let it wait for the end of the call that is open."""
        frames: list[OutFrame] = []
        while self._call is not None and self._key != key:
            if not self._call.is_whole():
                self._wait(key, event)
                return frames
            frames += self._shut()
            frames += self._release()
        frames += self._write(key, event)
        if self._waiting:
            frames += self._release()
        return frames

    def _wait(self, key: _Key, event: _BlockEvent) -> None:
        self._make_room(event)
        self._waiting.setdefault(key, []).append(event)

    def _make_room(self, event: _BlockEvent) -> None:
        self._waiting_size += 100 + _size(event)
        if self._waiting_size > MAX_WAITING:
            raise LocalProtocolError(
                f"more than {MAX_WAITING} characters wait for the end of a tool call, or for its name: on this wire one block is "
                "open at a time, so a source must end a call (ToolCall) before it goes on with much else"
            )

    def _take_nameless(self, id: str) -> str:
        """The arguments that came before their call's name."""
        early = self._nameless.pop(id, [])
        self._waiting_size -= sum(100 + _size(event) for event in early)
        return "".join([event.delta for event in early])

    def _release(self) -> list[OutFrame]:
        """Write what waits, block by block, up to a call that has not ended."""
        frames: list[OutFrame] = []
        while self._waiting:
            if self._call is not None:
                if not self._call.is_whole():
                    return frames
                frames += self._shut()
            key = next(iter(self._waiting))
            for event in self._waiting.pop(key):
                self._waiting_size -= 100 + _size(event)
                frames += self._write(key, event)
        return frames

    # ---- blocks -----------------------------------------------------------------------------

    def _write(self, key: _Key, event: _BlockEvent) -> list[OutFrame]:
        match event:
            case TextDelta():
                return self._text(key, b'"text_delta","text":' + escape(event.text)) if event.text else []
            case Citation():
                return self._text(key, b'"citations_delta","citation":' + dump(_citation(event)))
            case ReasoningDelta():
                return self._reasoning(key, event)
            case ToolCallStart() | ToolCallDelta() | ToolCall():
                return self._tool(key, event)
            case ToolResult():
                return self._result(key, event)
            case File():
                file_id = cast("re.Match[str]", _FILE_ADDRESS.fullmatch(event.url or "")).group(1)
                if file_id in self._files:
                    return []
                return self._whole(key, dump({"type": "container_upload", "file_id": file_id}))

    def _text(self, key: _Key, delta: bytes) -> list[OutFrame]:
        frames = self._begin(key, b'{"type":"text","text":""}')
        self._text_index = cast("int", key[1])
        self._text_head = b'{"type":"content_block_delta","index":%d,"delta":{"type":"text_delta","text":' % (self._next - 1)
        frames.append(self._delta(delta))
        return frames

    def _reasoning(self, key: _Key, event: ReasoningDelta) -> list[OutFrame]:
        frames: list[OutFrame] = []
        if event.text or event.signature:
            frames += self._begin(key, b'{"type":"thinking","thinking":"","signature":""}')
        if event.text:
            frames.append(self._delta(b'"thinking_delta","thinking":' + escape(event.text)))
        if event.signature:
            frames.append(self._delta(b'"signature_delta","signature":' + escape(event.signature)))
            frames += self._shut()
        if event.redacted:
            frames += self._whole(key, b'{"type":"redacted_thinking","data":%b}' % escape(event.redacted))
        return frames

    def _tool(self, key: _Key, event: ToolCallStart | ToolCallDelta | ToolCall) -> list[OutFrame]:
        frames: list[OutFrame] = []
        begins = isinstance(event, ToolCallStart)
        if begins and self._key == key and not cast("_CallState", self._call).size:
            return frames  # told twice
        if begins or self._key != key:
            if not begins and event.id in self._done:
                return frames
            if isinstance(event, ToolCallDelta):
                self._make_room(event)
                self._nameless.setdefault(event.id, []).append(event)
                return frames
            frames += self._shut()
            frames += self._begin(key, self._tool_block(event))
            self._call = _CallState(event.id)
            self._called = self._called or not event.server
            early = self._take_nameless(event.id)
            if begins:
                frames += self._arguments(self._call, early)
        call = cast("_CallState", self._call)
        if isinstance(event, ToolCallDelta):
            frames += self._arguments(call, event.delta)
        elif isinstance(event, ToolCall):
            frames += self._arguments(call, event.arguments[call.size :])  # only what the deltas did not bring
            frames += self._shut()
        return frames

    def _tool_block(self, event: ToolCallStart | ToolCall) -> bytes:
        kind, more = b"tool_use", b""
        if event.server:
            kind = b"server_tool_use" if event.name in _RESULT_KINDS else b"mcp_tool_use"
            more = b"" if event.name in _RESULT_KINDS else b',"server_name":""'
        return b'{"type":"%b","id":%b,"name":%b,"input":{}%b}' % (kind, escape(event.id), escape(event.name), more)

    def _arguments(self, call: _CallState, piece: str) -> list[OutFrame]:
        if not piece:
            return []
        call.add(piece)
        return [self._delta(b'"input_json_delta","partial_json":' + escape(piece))]

    def _result(self, key: _Key, event: ToolResult) -> list[OutFrame]:
        block: dict[str, object]
        kind = self._results[event.id]
        output: object = event.output
        inner = as_dict(output)
        if kind == _MCP_RESULT or not (inner.get("type") or _are_blocks(output)):
            # Whoever else ran the tool gives what it likes: the one result block that holds any text.
            content = output if isinstance(output, str) or _are_blocks(output) else dump(output).decode()
            block = {"type": _MCP_RESULT, "tool_use_id": event.id, "is_error": event.is_error, "content": content}
            return self._whole(key, dump(block))
        made = inner.get("content")
        for item in cast("list[object]", made) if isinstance(made, list) else ():
            self._files.add(str(as_dict(item).get("file_id")))
        block = {"type": kind, "tool_use_id": event.id, "content": output}
        if event.is_error and not str(inner.get("type")).endswith("_error"):
            block["is_error"] = True
        return self._whole(key, dump(block))

    # ---- frames -----------------------------------------------------------------------------

    def _begin(self, key: _Key, block: bytes) -> list[OutFrame]:
        """The start of a block, with what must come before it; nothing if it is open."""
        if self._key == key:
            return []
        frames = self._open_message()
        frames += self._shut()
        self._key = key
        start = b'{"type":"content_block_start","index":%d,"content_block":%b}' % (self._next, block)
        frames.append(OutFrame(start, "content_block_start"))
        self._next += 1
        return frames

    def _delta(self, delta: bytes) -> OutFrame:
        head = b'{"type":"content_block_delta","index":%d,"delta":{"type":' % (self._next - 1)
        return OutFrame(head + delta + b"}}", "content_block_delta")

    def _shut(self) -> list[OutFrame]:
        """The stop of the block that is open, if one is."""
        if self._key is None:
            return []
        if self._call is not None:
            self._done.add(self._call.id)
            self._call = None
        self._key = None
        self._text_index = None
        return [OutFrame(b'{"type":"content_block_stop","index":%d}' % (self._next - 1), "content_block_stop")]

    def _whole(self, key: _Key, block: bytes) -> list[OutFrame]:
        """A block that says all in its start."""
        frames = self._shut()
        frames += self._begin(key, block)
        frames += self._shut()
        return frames


class _CallState:
    """The call that is open: what of its arguments went out."""

    __slots__ = ("checked", "id", "parts", "size")

    def __init__(self, id: str) -> None:
        self.id = id
        self.parts: list[str] = []
        self.size = 0
        self.checked = 0

    def add(self, piece: str) -> None:
        self.parts.append(piece)
        self.size += len(piece)

    def is_whole(self) -> bool:
        """Whether nothing can follow. Asked again only of twice as much, or interleaved calls would cost their square."""
        if not self.size or self.size < 2 * self.checked:
            return False
        self.checked = self.size
        self.parts = ["".join(self.parts)]
        text = self.parts[0].rstrip()
        if text[-1:] != "}":
            return False
        try:
            _read_any(text)
        except (msgspec.DecodeError, ValueError, RecursionError):
            return False
        return True


_read_any: Final = msgspec.json.Decoder().decode


def _size(event: _BlockEvent) -> int:
    match event:
        case TextDelta():
            return len(event.text)
        case ToolCallDelta():
            return len(event.delta)
        case ToolCall():
            return len(event.arguments)
        case ReasoningDelta():
            return len(event.text) + len(event.signature or "") + len(event.redacted or "")
        case ToolResult():
            return len(dump(event.output))
        case Citation():
            return len(event.quote or "")
        case _:
            return 0


def _citation(event: Citation) -> dict[str, object]:
    """A place as clients know them; where in the source it is, is not known."""
    quote = event.quote or ""
    if event.url:
        return {
            "type": "web_search_result_location",
            "cited_text": quote,
            "url": event.url,
            "title": event.title,
            "encrypted_index": "",
        }
    return {
        "type": "char_location",
        "cited_text": quote,
        "document_index": 0,
        "document_title": event.title,
        "start_char_index": 0,
        "end_char_index": len(quote),
    }


def _are_blocks(value: object) -> bool:
    return isinstance(value, list) and all("type" in as_dict(item) for item in cast("list[object]", value))


def _usage(usage: Usage | None) -> dict[str, object]:
    """The counts that are known: unknown is not zero, so those are left out."""
    if usage is None:
        return {}
    return known(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_input_tokens=usage.cache_read_tokens,
        cache_creation_input_tokens=usage.cache_write_tokens,
        output_tokens_details=known(thinking_tokens=usage.reasoning_tokens) or None,
    )


def _error(outcome: Outcome) -> dict[str, object]:
    error: dict[str, object] = {
        "type": _ERROR_TYPES.get(outcome.code, "api_error"),
        "message": outcome.message,
        "code": outcome.code,
        "retryable": outcome.retryable,
    }
    if outcome.retry_after is not None:
        error["retry_after"] = outcome.retry_after
    body: dict[str, object] = {"type": "error", "error": error}
    if outcome.correlation_id is not None:
        body["request_id"] = outcome.correlation_id
    return body
