"""The Messages API's stream, read: frames in, events out.

    message_start                          -> Start; usage so far is held
    text_delta                             -> TextDelta
    thinking_delta, signature_delta        -> ReasoningDelta; redacted_thinking -> ReasoningDelta(redacted=...)
    *tool_use, input_json_delta            -> ToolCallStart, ToolCallDelta ..., at content_block_stop ToolCall
    *tool_result                           -> ToolResult, and File for each file that it made
    citations_delta                        -> Citation
    container_upload                       -> File, its address relative to the API
    message_delta                          -> usage and the reason, held; usage counts are totals, the later ones win
    message_stop                           -> Usage, Finish
    compaction, other kinds of blocks      -> Raw, the block whole: it must be sent back, and no event says it
    ping, other kinds of frames            -> nothing

The `type` in the data decides; the name on the `event:` line only where the data has none. What a block holds
already when it starts counts like a delta. `server_tool_use` and `mcp_tool_use` are calls with `server=True`.

How an answer ends:

    message_stop                              complete; without a reason with "other": over, and not said why
    a stop_reason, and the body ends          complete, `Usage.final` is False: a later count may be missing
    no stop_reason, and the body ends         StreamTruncated
    message_stop before anything else         StreamTruncated
    an error frame, also after a stop_reason  SourceError

A call is `complete` if its arguments are whole JSON. One without arguments could have been cut before the first of
them, so it waits for what follows its end: another block or a reason tells.

Blocks are told apart by the wire's index, and events carry it. What servers and proxies get wrong:

    index missing               the block that began last
    deltas without a start      text and thinking are given as they are; a call has no name, and is not complete
    a late message_start        a `Start` that is not first
    no stop                     the end of the message is the end of its blocks
    a start repeated at once    is one start
    an index that starts again  is a new block under the next free index: text is never joined to another block's
    deltas after their stop     text is given; arguments are not, their call has been given away

A second `message_start` before any block is a repetition (seen: a proxy sent it twice), if it has the same id. Any
other means that somebody on the way began the answer again. What was read cannot be taken back and what follows must
not be lost, so both are given: blocks that were open are closed (calls among them are complete only if whole), the
blocks that follow get new indexes, the new counts replace the old, and a reason that was already there no longer
counts. `Start` stays the first one; a `Raw` event with the second `message_start` marks the seam, so that a reader who
wants one answer can drop what came before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, cast

import msgspec

from streamkit.dialects.anthropic.shapes import Delta, MessageFrame, Opening, UsageShape, lenient_frame
from streamkit.dialects.frame_reading import CountingReader
from streamkit.dialects.json_line import dump
from streamkit.dialects.lenient import as_dict, as_list, as_text, is_json, read_value
from streamkit.dialects.protocol import InFrame
from streamkit.dialects.provider_errors import error_from_payload
from streamkit.errors import LocalProtocolError, RemoteProtocolError, StreamTruncated
from streamkit.events import (
    Citation,
    Event,
    File,
    Finish,
    FinishReason,
    Raw,
    ReasoningDelta,
    Start,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolCallStart,
    ToolResult,
    Usage,
)

__all__ = ["FINISH_REASONS", "AnthropicDecoder"]

FINISH_REASONS: Final[Mapping[str, FinishReason]] = MappingProxyType(
    {
        "end_turn": "stop",
        "stop_sequence": "stop",
        "max_tokens": "length",
        "model_context_window_exceeded": "length",
        "tool_use": "tool-calls",
        "refusal": "content-filter",
        "pause_turn": "other",
        "compaction": "other",
    }
)
"""The API's words for why an answer ended; any other word is "other"."""

_MAX_INDEX: Final = 1 << 31

_read: Final = msgspec.json.Decoder(MessageFrame).decode


class AnthropicDecoder(CountingReader[UsageShape]):
    """Reads one answer. See `Decoder` in `streamkit.dialects.protocol` for the contract.

    Args:
        provider: Who sends this, for `Start.provider` and errors.

    Memory: the arguments of the tool calls and the blocks of other kinds that are open, and a number per content block.

    >>> from streamkit.wire.sse import Decoder
    >>> body = b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}}\\n\\n'
    >>> AnthropicDecoder().decode_many(Decoder().feed(body))
    [TextDelta(text='Hi', index=0, choice=0)]
    """

    __slots__ = (
        "_begun",
        "_calls",
        "_first",
        "_last",
        "_last_start",
        "_next",
        "_opened",
        "_opening_reason",
        "_others",
        "_reason",
        "_started",
        "_waiting",
        "_where",
    )

    def __init__(self, *, provider: str | None = None) -> None:
        super().__init__(provider)
        self._started = False
        self._opened = False
        self._first: str | None = None
        self._reason: str | None = None
        self._opening_reason: str | None = None
        # The index on the wire -> the index in events. They differ only where the wire's starts again.
        self._where: dict[int | None, int] = {}
        self._begun: set[int] = set()
        self._next = 0
        self._last = 0
        self._last_start: tuple[int, int | None, object] = (-1, None, None)
        self._calls: dict[int, _CallState] = {}
        self._waiting: list[_CallState] = []
        self._others: dict[int, _OtherBlock] = {}

    def _take_all(self, frames: Iterable[InFrame], out: list[Event]) -> None:
        # The hot loop: a delta costs one decode and one look-up of its block (benchmarks/bench_clients.py).
        where = self._where
        for frame in frames:
            self._frames += 1
            try:
                event = _read(frame.data)
            except (msgspec.DecodeError, ValueError, RecursionError):
                event = self._read_odd(frame)
            delta = event.delta
            if delta is None or event.type != "content_block_delta":
                self._take(event, frame, out)
                if self.done:
                    break
                continue
            index = where.get(event.index)
            if index is None:
                index = self._place(event.index)
            if delta.type == "text_delta":
                if delta.text:
                    out.append(TextDelta(delta.text, index))
            elif delta.type == "input_json_delta":
                self._take_arguments(delta.partial_json, index, out)
            elif delta.type == "thinking_delta":
                if delta.thinking:
                    out.append(ReasoningDelta(delta.thinking, index))
            else:
                self._take_delta(delta, index, frame, out)

    def _end_unmarked(self, out: list[Event]) -> None:
        if self._reason is None:
            what = "without a stop_reason: the answer is cut off" if self._started else "before the answer began"
            raise StreamTruncated(f"the stream ended {what}")
        self._complete(out, final=False)

    # ---- one frame --------------------------------------------------------------------------

    def _take(self, event: MessageFrame, frame: InFrame, out: list[Event]) -> None:
        """Any frame that is not a delta of a block."""
        kind = event.type or _kind_of(event, frame)
        match kind:
            case "content_block_start":
                self._begin(event.index, event.content_block, out)
            case "content_block_stop":
                self._end_block(self._last if event.index is None else self._where.get(event.index, -1), out)
            case "content_block_delta":
                if event.delta is not None:  # one that says its kind on the event line only
                    index = self._where.get(event.index)
                    self._take_delta(event.delta, self._place(event.index) if index is None else index, frame, out)
            case "message_start":
                self._start(event.message or Opening(), out)
            case "message_delta":
                self._count(event.usage)
                if event.delta is not None and event.delta.stop_reason:
                    self._started = True
                    self._reason = event.delta.stop_reason
                    self._settle(out, cut=self._is_cut())
            case "message_stop":
                if not self._started and not self._begun:
                    raise StreamTruncated("the stream ended before the answer began")
                self._count(event.usage)
                self._complete(out, final=True)
            case "error":
                raise error_from_payload(_value(frame.data), provider=self._provider)
            case _:
                if frame.type == "error" or (event.error and not kind):
                    raise error_from_payload(_value(frame.data), provider=self._provider)

    def _start(self, opening: Opening, out: list[Event]) -> None:
        self._count(opening.usage)
        self._started = True
        if not self._opened:
            self._opened = True
            self._first = opening.id or None
            out.append(Start(self._first, opening.model or None, self._provider))
        elif self._begun or (opening.id or None) != self._first:
            self._settle(out, cut=True)
            self._end_blocks(out)
            self._settle(out, cut=True)
            self._where.clear()
            self._reason = None
            seam: dict[str, object] = {"type": "message_start", "message": {"id": opening.id, "model": opening.model}}
            out.append(Raw(seam))
        self._opening_reason = opening.stop_reason or None
        content = opening.content
        if isinstance(content, list):
            for number, block in enumerate(cast("list[object]", content)):
                self._begin(number, block, out)
                self._end_block(self._last, out)

    def _read_odd(self, frame: InFrame) -> MessageFrame:
        """A frame that is not as expected: one with odd types, or a sign of life."""
        data = frame.data if isinstance(frame.data, str) else bytes(frame.data).decode("utf-8", "replace")
        if frame.type == "ping" or data.strip() in ("", "[DONE]"):
            # The end marker of others, which some gateways put behind everything: `message_stop` is ours.
            return MessageFrame(type="ping")
        try:
            value = read_value(data)
        except (ValueError, RecursionError):
            if frame.type == "error":
                raise error_from_payload(data, provider=self._provider) from None
            raise RemoteProtocolError(f"frame {self._frames} is not JSON that can be read", excerpt=data) from None
        if not isinstance(value, dict):
            if frame.type == "error":
                raise error_from_payload(value, provider=self._provider)
            raise RemoteProtocolError(f"frame {self._frames} is JSON, but not an object", excerpt=data)
        return lenient_frame(cast("dict[str, object]", value))

    # ---- blocks -----------------------------------------------------------------------------

    def _place(self, given: int | None) -> int:
        """The index in events of a delta whose block did not start."""
        self._started = True
        if given is None or not 0 <= given < _MAX_INDEX:
            return self._last
        index = self._next if given in self._begun else given
        self._where[given] = index
        self._next = max(self._next, index + 1)
        self._last = index
        return index

    def _begin(self, given: int | None, content: object, out: list[Event]) -> None:
        block = as_dict(content)
        if given is not None and not 0 <= given < _MAX_INDEX:
            given = None
        if self._last_start == (self._frames - 1, given, content):
            return
        self._last_start = (self._frames, given, content)
        kind = as_text(block.get("type")) or "text"
        if given is not None and given in self._where:
            call = self._calls.get(self._where[given])
            if call is not None:
                if kind.endswith("tool_use") and block.get("id") == call.id:
                    return
                self._end_call(call.index, out)
        self._started = True
        self._settle(out, cut=False)
        index = self._next if given is None or given in self._begun else given
        self._where[index if given is None else given] = index
        self._begun.add(index)
        self._next = max(self._next, index + 1)
        self._last = index
        self._take_block(kind, block, index, out)

    def _take_block(self, kind: str, block: dict[str, object], index: int, out: list[Event]) -> None:
        """What a block holds when it starts; for many kinds that is all of it."""
        match kind:
            case "text":
                if text := as_text(block.get("text")):
                    out.append(TextDelta(text, index))
                for citation in as_list(block.get("citations")):
                    _cite(citation, index, out)
            case "thinking":
                thought, signature = as_text(block.get("thinking")), as_text(block.get("signature"))
                if thought or signature:
                    out.append(ReasoningDelta(thought or "", index, signature=signature or None))
            case "redacted_thinking":
                if data := as_text(block.get("data")):
                    out.append(ReasoningDelta("", index, redacted=data))
            case "container_upload":
                _give_file(block.get("file_id"), index, out)
            case _ if kind.endswith("tool_use"):
                self._begin_call(as_text(block.get("id")), as_text(block.get("name")), index, out, server=kind != "tool_use")
                self._calls[index].input = _arguments(block.get("input"))
            case _ if kind.endswith("tool_result"):
                _take_result(block, index, out)
            case _:
                self._others[index] = _OtherBlock(block)

    def _take_delta(self, delta: Delta, index: int, frame: InFrame, out: list[Event]) -> None:
        """The rare kinds; without a kind the fields tell."""
        match delta.type:
            case "signature_delta":
                if delta.signature:
                    out.append(ReasoningDelta("", index, signature=delta.signature))
            case "citations_delta":
                _cite(delta.citation, index, out)
            case "text_delta" | "thinking_delta" | "input_json_delta" | None:
                if delta.thinking or delta.signature:
                    out.append(ReasoningDelta(delta.thinking or "", index, signature=delta.signature or None))
                if delta.text:
                    out.append(TextDelta(delta.text, index))
                if delta.partial_json:
                    self._take_arguments(delta.partial_json, index, out)
                if delta.citation:
                    _cite(delta.citation, index, out)
            case _:
                if index in self._others:
                    self._others[index].grow(as_dict(as_dict(_value(frame.data)).get("delta")))

    def _end_block(self, index: int, out: list[Event]) -> None:
        """A block that is whole. Text and thoughts have been told; the others wait for this."""
        self._end_call(index, out)
        if index in self._others:
            out.append(self._others.pop(index).event())

    def _end_blocks(self, out: list[Event]) -> None:
        for index in [*self._calls, *self._others]:
            self._end_block(index, out)

    # ---- calls ------------------------------------------------------------------------------

    def _begin_call(self, id: str | None, name: str | None, index: int, out: list[Event], *, server: bool) -> None:
        call = _CallState(id or f"call_{self._first or 'answer'}_{index}", name or "", index, server)
        self._calls[index] = call
        out.append(ToolCallStart(call.id, call.name, index, 0, server))

    def _take_arguments(self, piece: str | None, index: int, out: list[Event]) -> None:
        if not piece:
            return
        call = self._calls.get(index)
        if call is None:
            if index in self._begun:  # a block of another kind, or a call that has been given
                return
            self._begun.add(index)
            self._next = max(self._next, index + 1)
            self._begin_call(None, None, index, out, server=False)
            call = self._calls[index]
        call.parts.append(piece)
        out.append(ToolCallDelta(call.id, piece, index))

    def _end_call(self, index: int, out: list[Event]) -> None:
        call = self._calls.pop(index, None)
        if call is None:
            return
        if not call.parts and call.input:
            call.parts.append(call.input)
            out.append(ToolCallDelta(call.id, call.input, index))
        arguments = "".join(call.parts)
        if arguments.strip():
            out.append(call.event(arguments, whole=is_json(arguments)))
        else:
            self._waiting.append(call)

    def _settle(self, out: list[Event], *, cut: bool) -> None:
        """Give the calls that ended without arguments, now that it is known whether more was to come."""
        if self._waiting:
            out += [call.event("", whole=not cut) for call in self._waiting]
            self._waiting.clear()

    # ---- the end ----------------------------------------------------------------------------

    def _count(self, usage: UsageShape | None) -> None:
        """Counts are totals: a later one replaces the earlier; one that is not said does not."""
        if usage is None:
            return
        if self._usage is None:
            self._usage = usage
            return
        for name in UsageShape.__struct_fields__:
            value = getattr(usage, name)
            if value is not None:
                setattr(self._usage, name, value)

    def _is_cut(self) -> bool:
        return FINISH_REASONS.get(self._reason or "") in ("length", "content-filter")

    def _complete(self, out: list[Event], *, final: bool) -> None:
        self.done = True
        self._reason = self._reason or self._opening_reason
        self._end_blocks(out)
        self._settle(out, cut=self._is_cut())
        if self._usage is not None:
            out.append(self._usage_event(self._usage, final=final))
            self._usage = None
        out.append(Finish(FINISH_REASONS.get(self._reason or "", "other"), self._reason))

    def _usage_event(self, counts: UsageShape, *, final: bool) -> Usage:
        details = counts.output_tokens_details
        return Usage(
            counts.input_tokens,
            counts.output_tokens,
            counts.cache_read_input_tokens,
            counts.cache_creation_input_tokens,
            details.thinking_tokens if details is not None else None,
            final=final,
        )


class _CallState:
    """A tool call while it is told. `input` is what its block held when it started."""

    __slots__ = ("id", "index", "input", "name", "parts", "server")

    def __init__(self, id: str, name: str, index: int, server: bool) -> None:
        self.id = id
        self.name = name
        self.index = index
        self.server = server
        self.input = ""
        self.parts: list[str] = []

    def event(self, arguments: str, *, whole: bool) -> ToolCall:
        return ToolCall(self.id, self.name, arguments, whole and bool(self.name), self.index, 0, self.server)


class _OtherBlock:
    """A block that no event has words for, while it is told: text of deltas takes the place of what stood there."""

    __slots__ = ("_parts", "_shape")

    def __init__(self, shape: dict[str, object]) -> None:
        self._shape = dict(shape)
        self._parts: dict[str, list[str]] = {}

    def grow(self, delta: dict[str, object]) -> None:
        for name, value in delta.items():
            if isinstance(value, str) and name != "type":
                self._parts.setdefault(name, []).append(value)
            elif value is not None and name != "type":
                self._shape[name] = value

    def event(self) -> Raw:
        return Raw({**self._shape, **{name: "".join(parts) for name, parts in self._parts.items()}})


def _kind_of(event: MessageFrame, frame: InFrame) -> str:
    """What a frame is that does not say so in its data: the event line, else its fields."""
    if frame.type not in ("", "message"):
        return frame.type
    if event.error:
        return "error"
    if event.content_block is not None:
        return "content_block_start"
    if event.message is not None:
        return "message_start"
    if event.delta is not None:
        return "message_delta" if event.delta.stop_reason else "content_block_delta"
    return ""


def _cite(value: object, index: int, out: list[Event]) -> None:
    """A citation of any kind of place: pages on the web, search results of one's own, parts of documents."""
    place = as_dict(value)
    url = as_text(place.get("url")) or as_text(place.get("source"))
    title = as_text(place.get("title")) or as_text(place.get("document_title"))
    quote = as_text(place.get("cited_text"))
    if url or title or quote:
        out.append(Citation(url or None, title or None, quote or None, index))


def _take_result(block: dict[str, object], index: int, out: list[Event]) -> None:
    content = block.get("content")
    inner = as_dict(content)
    failed = (as_text(inner.get("type")) or "").endswith("_error")
    out.append(ToolResult(as_text(block.get("tool_use_id")) or "", content, block.get("is_error") is True or failed))
    for item in as_list(inner.get("content")):
        _give_file(as_dict(item).get("file_id"), index, out)


def _give_file(file_id: object, index: int, out: list[Event]) -> None:
    if isinstance(file_id, str) and file_id:
        # The stream says neither the type nor the name: the id is the only name that there is.
        out.append(File("application/octet-stream", url=f"/v1/files/{file_id}/content", index=index, name=file_id))


def _arguments(value: object) -> str:
    """The input that a call's block had from the start, as JSON; "" for none."""
    if not value:
        return ""
    if isinstance(value, str):
        return value
    try:
        return dump(value).decode()
    except LocalProtocolError as error:
        raise RemoteProtocolError(f"the input of a tool call cannot be read ({error})") from None


def _value(data: str | bytes) -> object:
    try:
        return read_value(data)
    except (ValueError, RecursionError):
        return data if isinstance(data, str) else bytes(data).decode("utf-8", "replace")
