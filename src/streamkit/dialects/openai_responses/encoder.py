"""The events of OpenAI's Responses API, written: events in, frames out, as OpenAI's own clients read them.

    Start, or the first event            response.created, response.in_progress
    TextDelta                            a message item with one part: output_text
    ReasoningDelta                       a reasoning item with one part of summary; `redacted` is its encrypted_content
    ToolCallStart, -Delta, ToolCall      a function_call item; with `server=True` an mcp_call item
    ToolResult                           the output of that mcp_call; for other calls an item function_call_output
    Citation                             an annotation of the message: url_citation, or file_citation without a url
    File with an image in it             an image_generation_call item
    Finish, Usage                        held for the last event
    close                                what is open is done, then response.completed, or incomplete with its reason;
                                         or an error event, then response.failed

An item is one block: `output_item.added`, its own events, `output_item.done`. At most one item of text or reasoning is open,
and it is done when anything else begins; calls may be open side by side. An item that is done stays so: if its block goes
on, another item begins. Numbers in sequence (`sequence_number`) and places (`output_index`) have no gaps.

The vocabulary has one answer, so that events of other choices are left out, and no words for DataDelta, files that are no
images, Gap, Custom, Ping and Raw; a signature without `redacted` has no place in it either. "cancelled" is an
incomplete response with that reason; "other" is told as completed.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from streamkit.dialects.json_line import dump, escape
from streamkit.dialects.openai_words import error_type, hints, usage_counts
from streamkit.dialects.outcomes import Outcome, outcome_of_event
from streamkit.dialects.protocol import OutFrame
from streamkit.events import (
    Citation,
    ErrorEvent,
    Event,
    File,
    Finish,
    FinishReason,
    ReasoningDelta,
    Start,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolCallStart,
    ToolResult,
    Usage,
)

__all__ = ["OpenAIResponsesEncoder"]

_INCOMPLETE: Final[Mapping[FinishReason, str]] = MappingProxyType(
    {"length": "max_output_tokens", "content-filter": "content_filter", "cancelled": "cancelled"}
)

_ERROR_CODES: Final[Mapping[str, str]] = MappingProxyType({"rate-limited": "rate_limit_exceeded", "bad-request": "invalid_prompt"})
"""The codes that a failed response may have; any other is "server_error"."""

# What a response says of its request, which is not known here: the values that it has when nothing was asked for.
_REQUEST: Final[Mapping[str, object]] = MappingProxyType(
    {
        "background": False,
        "instructions": None,
        "max_output_tokens": None,
        "max_tool_calls": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "store": False,
        "temperature": None,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "truncation": "disabled",
        "user": None,
    }
)


class OpenAIResponsesEncoder:
    """Writes one response. See `Encoder` in `streamkit.dialects.protocol` for the contract.

    Args:
        id: The response's id where no `Start` brings one.
        model: Its model, likewise.
        created: When it was made, in Unix seconds.

    Memory: the whole answer, since the last event repeats it.

    >>> encoder = OpenAIResponsesEncoder(id="resp_1", model="m")
    >>> [frame.event for frame in encoder.encode(TextDelta("Hi"))][-2:]
    ['response.content_part.added', 'response.output_text.delta']
    """

    __slots__ = (
        "_begun",
        "_block",
        "_calls",
        "_closed",
        "_created",
        "_finish",
        "_id",
        "_model",
        "_nameless",
        "_number",
        "_output",
        "_usage",
    )

    def __init__(self, *, id: str | None = None, model: str | None = None, created: int = 0) -> None:
        self._id = id or "resp_stream"
        self._model = model or "unknown"
        self._created = created
        self._begun = False
        self._closed = False
        self._number = 0
        # The items by their place, as bytes once they are done.
        self._output: list[bytes] = []
        self._block: _Block | None = None
        self._calls: dict[str, _Call] = {}
        self._nameless: dict[str, list[str]] = {}  # Arguments that came before their call's name.
        self._usage: Usage | None = None
        self._finish: Finish | None = None

    def open(self) -> list[OutFrame]:
        """Nothing: the first event needs to know what `Start` says."""
        return []

    def encode(self, event: Event) -> list[OutFrame]:
        """The frames of one event."""
        # The hot path: all but the text was encoded once, when the block began.
        block = self._block
        if block is not None and event.__class__ is TextDelta and not block.reasoning:
            assert isinstance(event, TextDelta)
            if event.index == block.index and event.choice == 0 and event.text:
                return [self._grow(block, event.text)]
        if self._closed or getattr(event, "choice", 0) != 0:
            return []
        return self._encode(event)

    def _encode(self, event: Event) -> list[OutFrame]:
        match event:
            case Start():
                return self._begin(event)
            case TextDelta():
                return self._text(event.text, event.index, reasoning=False) if event.text else []
            case ReasoningDelta():
                frames = self._text(event.text, event.index, reasoning=True) if event.text else []
                return frames if event.redacted is None else frames + self._sealed(event.redacted, event.signature, event.index)
            case ToolCallStart() | ToolCallDelta() | ToolCall():
                return self._call(event)
            case ToolResult():
                return self._result(event)
            case Citation():
                return self._cite(event)
            case File():
                return self._picture(event)
            case Usage():
                self._usage = event
            case Finish():
                self._finish = event
            case ErrorEvent():
                return self.close(outcome_of_event(event))
            case _:
                pass
        return []

    def close(self, outcome: Outcome) -> list[OutFrame]:
        """The end of what is open, and the last event; or the error."""
        if self._closed:
            return []
        frames = self._begin(None)
        if outcome.failed:
            frames += self._failure(outcome)
        else:
            reason: FinishReason = "cancelled" if outcome.ending == "cancelled" else self._finish.reason if self._finish else "stop"
            why = _INCOMPLETE.get(reason)
            frames += self._end_block("incomplete" if why and not self._open_calls() else "completed")
            for call in self._open_calls():
                # A call at the provider that is open still has no result.
                frames += self._end_call(call, "incomplete" if why or call.server else "completed")
            status = "incomplete" if why else "completed"
            details = {"reason": why} if why else None
            frames.append(self._lifecycle(f"response.{status}", status, self._output, details=details))
        self._closed = True
        self._block = None
        return frames

    # ---- text and reasoning -----------------------------------------------------------------

    def _text(self, words: str, index: int, *, reasoning: bool) -> list[OutFrame]:
        frames: list[OutFrame] = []
        block = self._block
        if block is None or block.index != index or block.reasoning is not reasoning:
            frames += self._begin(None) + self._end_block()
            block = self._open_block(frames, index, reasoning=reasoning)
        frames.append(self._grow(block, words))
        return frames

    def _grow(self, block: _Block, words: str) -> OutFrame:
        block.words.append(words)
        number = self._number
        self._number += 1
        return OutFrame(block.head + escape(words) + block.tail + b'"sequence_number":%d}' % number, block.event)

    def _open_block(self, frames: list[OutFrame], index: int, *, reasoning: bool) -> _Block:
        place = len(self._output)
        item_id = self._item_id("rs" if reasoning else "msg")
        block = self._block = _Block(item_id, place, index, reasoning)
        frames += self._item_added(block.item("in_progress", whole=False))
        frames.append(self._frame(f"response.{block.part_event}.added", block.where + b',"part":' + dump(block.part("", []))))
        return block

    def _end_block(self, status: str = "completed", sealed: str | None = None) -> list[OutFrame]:
        block = self._block
        if block is None:
            return []
        self._block = None
        whole = "".join(block.words)
        frames = [
            self._frame(block.event.removesuffix("delta") + "done", block.where + b',"text":' + escape(whole) + block.logprobs),
            self._frame(f"response.{block.part_event}.done", block.where + b',"part":' + dump(block.part(whole, block.sources))),
        ]
        item = block.item(status)
        if sealed is not None:
            item["encrypted_content"] = sealed
        return frames + self._item_done(block.place, item)

    def _sealed(self, sealed: str, signature: str | None, index: int) -> list[OutFrame]:
        """Reasoning that only the provider can read: it belongs to the item that `signature` names."""
        block = self._block
        if block is not None and block.reasoning and block.index == index and signature in (None, block.item_id):
            return self._end_block(sealed=sealed)
        frames = self._begin(None) + self._end_block()
        place = len(self._output)
        item: dict[str, object] = {
            "id": signature or self._item_id("rs"),
            "type": "reasoning",
            "summary": [],
            "encrypted_content": sealed,
        }
        return frames + self._item_added(item) + self._item_done(place, item)

    def _cite(self, event: Citation) -> list[OutFrame]:
        if event.url:
            # The positions are required by strict clients; where in the text is not known.
            source: dict[str, object] = {
                "type": "url_citation",
                "start_index": 0,
                "end_index": 0,
                "url": event.url,
                "title": event.title or "",
            }
        elif event.title:
            source = {"type": "file_citation", "file_id": event.title, "filename": event.title, "index": 0}
        else:
            return []
        if event.quote:
            source["quote"] = event.quote
        frames: list[OutFrame] = []
        block = self._block
        if block is None or block.reasoning:
            frames += self._begin(None) + self._end_block()
            block = self._open_block(frames, event.index, reasoning=False)
        number = len(block.sources)
        block.sources.append(source)
        said = block.where + b',"annotation_index":%d,"annotation":' % number + dump(source)
        frames.append(self._frame("response.output_text.annotation.added", said))
        return frames

    # ---- calls and other items --------------------------------------------------------------

    def _call(self, event: ToolCallStart | ToolCallDelta | ToolCall) -> list[OutFrame]:
        call = self._calls.get(event.id)
        frames: list[OutFrame] = []
        if call is None:
            if isinstance(event, ToolCallDelta):
                self._nameless.setdefault(event.id, []).append(event.delta)
                return frames
            frames += self._begin(None) + self._end_block()
            call = self._calls[event.id] = _Call(event, self._item_id("fc"), len(self._output))
            frames += self._item_added(call.item("in_progress"))
        if call.told:
            return frames
        if isinstance(event, ToolCall):
            rest = event.arguments[call.sent :]  # Only what the deltas did not bring.
            self._nameless.pop(event.id, None)
        else:
            rest = event.delta if isinstance(event, ToolCallDelta) else "".join(self._nameless.pop(event.id, ()))
        if rest:
            call.sent += len(rest)
            call.arguments.append(rest)
            frames.append(self._frame(f"response.{call.kind}_arguments.delta", call.where + b',"delta":' + escape(rest)))
        if isinstance(event, ToolCall):
            if not event.complete:
                return frames + self._end_call(call, "incomplete")
            frames += self._tell_call(call)
            if not call.server:
                frames += self._end_call(call, "completed")
        return frames

    def _tell_call(self, call: _Call) -> list[OutFrame]:
        """All arguments are there; a call that runs at the provider then waits for its result."""
        if call.told:
            return []
        call.told = True
        whole = escape("".join(call.arguments))
        named = b"" if call.server else b',"name":' + escape(call.name)
        return [self._frame(f"response.{call.kind}_arguments.done", call.where + named + b',"arguments":' + whole)]

    def _end_call(self, call: _Call, status: str) -> list[OutFrame]:
        # Arguments that were cut are never said to be done: the item's status tells.
        frames = self._tell_call(call) if status != "incomplete" else []
        call.told = call.done = True
        if call.server and status != "incomplete":
            state = "completed" if status == "completed" else "failed"
            frames.append(self._frame(f"response.mcp_call.{state}", call.where))
        frames += self._item_done(call.place, call.item(status))
        call.arguments.clear()
        call.output = None
        return frames

    def _result(self, event: ToolResult) -> list[OutFrame]:
        output = event.output if isinstance(event.output, str) else dump(event.output).decode()
        call = self._calls.get(event.id)
        if call is not None and call.server:
            if call.done:
                return []
            call.output = output
            return self._end_call(call, "failed" if event.is_error else "completed")
        frames = self._begin(None) + self._end_block()
        place = len(self._output)
        item: dict[str, object] = {
            "id": self._item_id("fco"),
            "type": "function_call_output",
            "call_id": event.id,
            "output": output,
            "status": "incomplete" if event.is_error else "completed",
        }
        return frames + self._item_added(item) + self._item_done(place, item)

    def _picture(self, event: File) -> list[OutFrame]:
        if event.data is None or not event.media_type.startswith("image/"):
            return []
        frames = self._begin(None) + self._end_block()
        place = len(self._output)
        item: dict[str, object] = {"id": self._item_id("ig"), "type": "image_generation_call", "status": "in_progress"}
        frames += self._item_added({**item, "result": None})
        item["status"] = "completed"
        item["output_format"] = event.media_type.removeprefix("image/").removesuffix("+xml")
        item["result"] = b64encode(event.data).decode()
        return frames + self._item_done(place, item)

    def _open_calls(self) -> list[_Call]:
        return [call for call in self._calls.values() if not call.done]

    # ---- frames -----------------------------------------------------------------------------

    def _begin(self, start: Start | None) -> list[OutFrame]:
        """The first two events; nothing if they are out."""
        if self._begun:
            return []
        self._begun = True
        if start is not None:
            self._id = start.id or self._id
            self._model = start.model or self._model
        return [self._lifecycle(f"response.{name}", "in_progress", []) for name in ("created", "in_progress")]

    def _failure(self, outcome: Outcome) -> list[OutFrame]:
        said = {"code": outcome.code, "message": outcome.message, "param": None}
        # The reference has these beside `type`, and the service sends them inside `error`: clients look for either.
        flat = {**said, "error": {"type": error_type(outcome), **said, **hints(outcome)}}
        frames = [self._frame("error", dump(flat)[1:-1])]
        output = list(self._output)
        for place, item in [(call.place, call.item("incomplete")) for call in self._open_calls()]:
            output[place] = dump(item)
        if self._block is not None:
            output[self._block.place] = dump(self._block.item("incomplete"))
        why = {"code": _ERROR_CODES.get(outcome.code, "server_error"), "message": outcome.message}
        frames.append(self._lifecycle("response.failed", "failed", output, error=why))
        return frames

    def _lifecycle(
        self,
        name: str,
        status: str,
        output: list[bytes],
        *,
        error: dict[str, str] | None = None,
        details: dict[str, str] | None = None,
    ) -> OutFrame:
        head: dict[str, object] = {"id": self._id, "object": "response", "created_at": self._created, "status": status}
        usage = None if self._usage is None or status == "in_progress" else usage_counts(self._usage, "input", "output")
        head |= {"error": error, "incomplete_details": details, "model": self._model, **_REQUEST, "usage": usage or None}
        # The items are bytes already: the answer is encoded once more, and not a third time.
        return self._frame(name, b'"response":' + dump(head)[:-1] + b',"output":[' + b",".join(output) + b"]}")

    def _item_added(self, item: dict[str, object]) -> list[OutFrame]:
        place = len(self._output)
        self._output.append(b"")
        return [self._frame("response.output_item.added", b'"output_index":%d,"item":' % place + dump(item))]

    def _item_done(self, place: int, item: dict[str, object]) -> list[OutFrame]:
        self._output[place] = dump(item)
        return [self._frame("response.output_item.done", b'"output_index":%d,"item":' % place + self._output[place])]

    def _item_id(self, kind: str) -> str:
        return f"{kind}_{self._id}_{len(self._output)}"

    def _frame(self, name: str, rest: bytes) -> OutFrame:
        number = self._number
        self._number += 1
        return OutFrame(b'{"type":"%b",%b,"sequence_number":%d}' % (name.encode(), rest, number), name)


class _Block:
    """The open item of text or reasoning. `where` says in its events which part is meant, `head` and `tail` go around a delta."""

    __slots__ = (
        "event",
        "head",
        "index",
        "item_id",
        "logprobs",
        "part_event",
        "place",
        "reasoning",
        "sources",
        "tail",
        "where",
        "words",
    )

    def __init__(self, item_id: str, place: int, index: int, reasoning: bool) -> None:
        self.item_id = item_id
        self.place = place
        self.index = index
        self.reasoning = reasoning
        self.words: list[str] = []
        self.sources: list[dict[str, object]] = []
        self.event = "response.reasoning_summary_text.delta" if reasoning else "response.output_text.delta"
        self.part_event = "reasoning_summary_part" if reasoning else "content_part"
        part = b"summary_index" if reasoning else b"content_index"
        self.where = b'"item_id":%b,"output_index":%d,"%b":0' % (escape(item_id), place, part)
        self.logprobs = b"" if reasoning else b',"logprobs":[]'
        self.head = b'{"type":"%b",%b,"delta":' % (self.event.encode(), self.where)
        self.tail = self.logprobs + b","

    def part(self, words: str, sources: list[dict[str, object]]) -> dict[str, object]:
        if self.reasoning:
            return {"type": "summary_text", "text": words}
        return {"type": "output_text", "annotations": sources, "logprobs": [], "text": words}

    def item(self, status: str, *, whole: bool = True) -> dict[str, object]:
        parts = [self.part("".join(self.words), self.sources)] if whole else []
        if self.reasoning:
            return {"id": self.item_id, "type": "reasoning", "summary": parts}
        return {"id": self.item_id, "type": "message", "status": status, "content": parts, "role": "assistant"}


class _Call:
    """A call: `told` once all its arguments are, `done` once its item is; `sent` counts characters."""

    __slots__ = ("arguments", "call_id", "done", "item_id", "kind", "name", "output", "place", "sent", "server", "told", "where")

    def __init__(self, event: ToolCallStart | ToolCall, item_id: str, place: int) -> None:
        self.call_id = event.id
        self.name = event.name
        self.server = event.server
        self.kind = "mcp_call" if event.server else "function_call"
        # An mcp_call has one id only.
        self.item_id = event.id if event.server else item_id
        self.place = place
        self.arguments: list[str] = []
        self.sent = 0
        self.told = False
        self.done = False
        self.output: str | None = None
        self.where = b'"item_id":%b,"output_index":%d' % (escape(self.item_id), place)

    def item(self, status: str) -> dict[str, object]:
        item: dict[str, object] = {"id": self.item_id, "type": self.kind, "status": status, "arguments": "".join(self.arguments)}
        if self.server:
            return {**item, "name": self.name, "server_label": "server", "output": self.output, "error": None}
        return {**item, "call_id": self.call_id, "name": self.name}
