"""The events of OpenAI's Responses API, read: frames in, events out.

    response.created, queued, in_progress             -> Start, from the first that names an id or a model
    output_text.delta, refusal.delta                  -> TextDelta
    reasoning_summary_text.delta, reasoning_text.delta -> ReasoningDelta
    a reasoning item that is done, encrypted          -> ReasoningDelta(redacted, signature=the item's id)
    calls of functions and custom tools               -> ToolCallStart, ToolCallDelta ..., ToolCall when the call is done
    calls that the provider runs itself               -> the same with `server=True`, then ToolResult
    output_text.annotation.added                      -> Citation
    an image; a preview of one; audio                 -> File; DataDelta
    an item that must be sent back and no event says  -> Raw
    response.completed, incomplete, cancelled         -> the rest, Usage, Finish
    error, response.failed                            -> SourceError, from whichever comes first

The `type` in the data decides; the name on the wire serves where there is none. Other events say
nothing that these do not, and are ignored, as are those that are not known yet.

The answer is a list of items, an item a list of parts. Each part of text, each reasoning item (the parts
of its summary are told apart by an empty line), call and file is a block with an `index` of its own,
counted over the answer in the order in which blocks begin. Which item an event means is
said by `output_index` and `item_id`. Some servers leave out one, or both (then it is the last open item of the kind);
one proxy gives every event a new `item_id`. So a known id wins, then the place, then the kind.

Everything is told up to four times: in deltas, when its part is done, when its item is, and at the end. Whoever tells it first is
heard, and never the same text twice: the later tellings count only where the earlier ones were left out.
In a stream that was resumed (`starting_after`), what began before is told in deltas alone.

How an answer ends:

    response.completed, incomplete, cancelled     complete; [DONE] and the end of the body may follow
    [DONE] alone, every item that began is done   complete with "other": the server says it is over and not why
    [DONE] alone, some item still open            StreamTruncated: that item proves the cut
    the body ends without any of these            StreamTruncated
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Final, cast

import msgspec

from streamkit.dialects.frame_reading import CountingReader
from streamkit.dialects.json_line import escape
from streamkit.dialects.lenient import as_dict, as_int, as_list, as_text, flat, from_base64, is_json, json_text, read_value
from streamkit.dialects.openai_responses.items import (
    ANSWERED_APART,
    NAMED,
    OURS_TO_RUN,
    arguments_of,
    code_of,
    image_type,
    is_call,
    kind_of,
    result_of,
    usage_of,
)
from streamkit.dialects.openai_responses.shapes import Delta, lenient_delta
from streamkit.dialects.protocol import InFrame
from streamkit.dialects.provider_errors import error_from_payload
from streamkit.errors import RemoteProtocolError, StreamkitError, StreamTruncated
from streamkit.events import (
    Citation,
    DataDelta,
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
    Usage,
)

__all__ = ["INCOMPLETE_REASONS", "OpenAIResponsesDecoder"]

INCOMPLETE_REASONS: Final[Mapping[str, FinishReason]] = MappingProxyType(
    {
        "max_output_tokens": "length",
        "max_tokens": "length",
        "length": "length",
        "content_filter": "content-filter",
        "safety": "content-filter",
        "cancelled": "cancelled",
    }
)
"""The words for why a response is incomplete; any other word is "other"."""

_END_MARK: Final = "[DONE]"

# What the frequent events go on with: the kind of the item, and the part of it.
_DELTAS: Final[Mapping[str, tuple[str, str]]] = {
    "response.output_text.delta": ("message", "text"),
    "response.refusal.delta": ("message", "refusal"),
    "response.audio.transcript.delta": ("message", "transcript"),
    "response.reasoning_text.delta": ("reasoning", "content"),
    "response.reasoning.delta": ("reasoning", "content"),
    "response.reasoning_summary_text.delta": ("reasoning", "summary"),
    "response.reasoning_summary.delta": ("reasoning", "summary"),
    "response.function_call_arguments.delta": ("function_call", ""),
    "response.mcp_call_arguments.delta": ("mcp_call", ""),
    "response.custom_tool_call_input.delta": ("custom_tool_call", ""),
    "response.code_interpreter_call_code.delta": ("code_interpreter_call", ""),
}

# The same at their ends: the field with the whole.
_WHOLES: Final[Mapping[str, tuple[str, str, str]]] = {
    "response.output_text.done": ("message", "text", "text"),
    "response.refusal.done": ("message", "refusal", "refusal"),
    "response.reasoning_text.done": ("reasoning", "content", "text"),
    "response.reasoning.done": ("reasoning", "content", "text"),
    "response.reasoning_summary_text.done": ("reasoning", "summary", "text"),
    "response.reasoning_summary.done": ("reasoning", "summary", "text"),
    "response.function_call_arguments.done": ("function_call", "", "arguments"),
    "response.mcp_call_arguments.done": ("mcp_call", "", "arguments"),
    "response.custom_tool_call_input.done": ("custom_tool_call", "", "input"),
    "response.code_interpreter_call_code.done": ("code_interpreter_call", "", "code"),
}

# What a content part is called, the channel it belongs to and the field with its text.
_PARTS: Final[Mapping[str, tuple[str, str]]] = {
    "output_text": ("text", "text"),
    "text": ("text", "text"),
    "refusal": ("refusal", "refusal"),
    "output_audio": ("transcript", "transcript"),
    "reasoning_text": ("content", "text"),
    "summary_text": ("summary", "text"),
}

_BEGINNINGS: Final = frozenset({"response.created", "response.queued", "response.in_progress"})

_ENDINGS: Final[Mapping[str, str]] = {
    "response.completed": "completed",
    "response.incomplete": "incomplete",
    "response.cancelled": "cancelled",
    "response.canceled": "cancelled",
    "response.failed": "failed",
    "response.done": "completed",
}
_TERMINAL: Final = frozenset({"completed", "incomplete", "cancelled", "failed"})

_read_delta: Final[Callable[[str | bytes], Delta]] = msgspec.json.Decoder(Delta).decode


class OpenAIResponsesDecoder(CountingReader[Usage]):
    """Reads one response. See `Decoder` in `streamkit.dialects.protocol` for the contract.

    Args:
        provider: Who sends this, for `Start.provider` and errors.

    Memory: a few words per item and part, the sources cited, and the arguments of the calls that are not done.

    >>> from streamkit.wire.sse import Decoder
    >>> body = b'data: {"type":"response.output_text.delta","delta":"Hi"}\\n\\ndata: {"type":"response.completed"}\\n\\n'
    >>> [event.type for event in OpenAIResponsesDecoder().decode_many(Decoder().feed(body))]
    ['start', 'text-delta', 'finish']
    """

    __slots__ = (
        "_audio",
        "_blocks",
        "_by_id",
        "_by_place",
        "_called",
        "_cited",
        "_custom_calls",
        "_hot",
        "_hot_item",
        "_hot_part",
        "_items",
        "_open_items",
        "_response_id",
        "_resumed",
        "_started",
    )

    def __init__(self, *, provider: str | None = None) -> None:
        super().__init__(provider)
        self._started = False
        self._resumed = False
        self._response_id: str | None = None
        self._items: list[_Item] = []
        self._open_items: dict[str, list[_Item]] = {}
        self._by_id: dict[str, _Item] = {}
        self._by_place: dict[int, _Item] = {}
        self._blocks = 0
        self._audio = -1
        self._called = False
        self._cited: set[tuple[int, str | None, str | None, str | None]] = set()
        self._custom_calls: list[_Item] = []
        # The last delta, and what it went on with: nearly always the next one goes on with the same.
        self._hot = _NONE
        self._hot_item: _Item | None = None
        self._hot_part: _Part | None = None

    def _take_all(self, frames: Iterable[InFrame], out: list[Event]) -> None:
        for frame in frames:
            self._frames += 1
            try:
                delta = _read_delta(frame.data)
            except (msgspec.DecodeError, ValueError, RecursionError):
                self._take(frame, out)
            else:
                hot = self._hot
                # Long and plain on purpose: this is the hot loop (benchmarks/bench_clients.py).
                if (
                    delta.type == hot.type
                    and delta.item_id == hot.item_id
                    and delta.output_index == hot.output_index
                    and delta.content_index == hot.content_index
                    and delta.summary_index == hot.summary_index
                ):
                    if delta.delta:
                        part = self._hot_part
                        if part is None:
                            self._grow_call(self._hot_item, delta.delta, out)
                        elif part.reasoning:
                            out.append(ReasoningDelta(delta.delta, part.index))
                        else:
                            out.append(TextDelta(delta.delta, part.index))
                elif delta.type in _DELTAS and self._frames > 1:
                    self._grow(delta, out)
                else:
                    self._take(frame, out)
            if self.done:
                break

    def _end_unmarked(self, out: list[Event]) -> None:
        what = "in the middle of the answer" if self._items else "before the answer began"
        raise StreamTruncated(f"the stream ended {what}: no event says how the response ended")

    # ---- frequent events --------------------------------------------------------------------

    def _grow(self, delta: Delta, out: list[Event]) -> None:
        """A delta that may go on with something else than the one before."""
        if not delta.delta:
            return
        kind, channel = _DELTAS[delta.type]
        item = self._find(kind, delta.item_id, delta.output_index)
        self._begin(out)
        if not channel:
            self._grow_call(item, delta.delta, out)
            self._hot_part = None
        else:
            place = delta.summary_index if channel == "summary" else delta.content_index
            part = item.part(channel, item.place if place is None else place)
            self._tell(item, part, delta.delta, out)
            self._hot_part = part
        self._hot = delta
        self._hot_item = item

    def _tell(self, item: _Item, part: _Part, words: str, out: list[Event]) -> None:
        """Text of a part, whose index is counted when it says its first."""
        if part.index < 0:
            if part.reasoning:
                # One block for all of an item's reasoning: what proves it, proves all.
                if item.index < 0:
                    item.index = self._next_index()
                else:
                    words = "\n\n" + words
                part.index = item.index
            else:
                part.index = self._next_index()
        part.told = True
        out.append(ReasoningDelta(words, part.index) if part.reasoning else TextDelta(words, part.index))

    def _grow_call(self, item: _Item | None, words: str, out: list[Event]) -> None:
        if item is None or item.ended:
            return
        if item.kind == "code_interpreter_call":
            # The code itself comes, and arguments are JSON: it is made so while it grows.
            words = ("" if item.arguments else '{"code":"') + escape(words)[1:-1].decode()
        item.arguments.append(words)
        if item.started:
            out.append(ToolCallDelta(item.call_id, words, item.index))

    # ---- all other events -------------------------------------------------------------------

    def _take(self, frame: InFrame, out: list[Event]) -> None:
        value = self._value(frame, out)
        if value is None:
            return
        self._hot = _NONE  # items may begin or end here: the next delta looks anew
        named = as_text(value.get("type")) or ("" if frame.type == "message" else frame.type)
        named = "error" if named == "response.error" else named
        if self._frames == 1:
            self._resumed = named not in _BEGINNINGS and (as_int(value.get("sequence_number")) or 0) > 0
        if named in _DELTAS:
            self._grow(lenient_delta(value, named), out)
        elif named in _WHOLES:
            self._take_whole(named, value, out)
        elif named in _ENDINGS:
            self._end(_ENDINGS[named], as_dict(value.get("response")), out)
        elif named in _BEGINNINGS:
            self._open(as_dict(value.get("response")), out)
        elif "error" in (named, frame.type, value.get("object")) or (value.get("error") and not named.startswith("response.")):
            raise self._refusal(value)
        else:
            self._take_rare(named, value, out)

    def _take_rare(self, named: str, value: dict[str, object], out: list[Event]) -> None:
        match named:
            case "response.output_item.added":
                self._item_added(value, out)
            case "response.output_item.done":
                self._item_done(value, out)
            case "response.content_part.added" | "response.reasoning_summary_part.added":
                item, _, place = self._part_of(value)
                if place is None:
                    item.place = item.added
                item.added += 1
            case "response.content_part.done" | "response.reasoning_summary_part.done":
                item, channel, place = self._part_of(value)
                self._whole_part(item, item.part(channel, item.place if place is None else place), as_dict(value.get("part")), out)
            case "response.output_text.annotation.added":
                item = self._find("message", as_text(value.get("item_id")), as_int(value.get("output_index")))
                place = as_int(value.get("content_index"))
                self._cite(item.part("text", item.place if place is None else place), value.get("annotation"), out)
            case "response.image_generation_call.partial_image":
                if picture := as_text(value.get("partial_image_b64")):
                    self._begin(out)
                    kind = image_type(value)
                    pixels = _picture(kind, picture, 0).data
                    if pixels is not None:  # a preview that cannot be read is worth no error
                        # A whole picture each time: a block of its own, so that nobody joins it with the next.
                        out.append(DataDelta(pixels, kind, self._next_index()))
            case "response.audio.delta":
                if sound := as_text(value.get("delta")):
                    self._begin(out)
                    if self._audio < 0:
                        self._audio = self._next_index()
                    out.append(DataDelta(from_base64(sound), "audio/pcm", self._audio))
            case _:
                pass

    def _value(self, frame: InFrame, out: list[Event]) -> dict[str, object] | None:
        """A frame as an object; None for a sign of life and the end marker."""
        data = frame.data if isinstance(frame.data, str) else bytes(frame.data).decode("utf-8", "replace")
        word = data.strip() if len(data) < 64 or data[:1].isspace() else data
        if not word:
            return None
        if word == _END_MARK:
            self._end_unsaid(out)
            return None
        try:
            value = read_value(data)
        except (ValueError, RecursionError) as error:
            if frame.type == "error":
                raise error_from_payload(data, provider=self._provider) from None
            what = f"frame {self._frames} is no JSON that can be read ({type(error).__name__})"
            raise RemoteProtocolError(what, excerpt=data) from None
        if not isinstance(value, dict):
            if frame.type == "error":
                raise error_from_payload(value, provider=self._provider)
            raise RemoteProtocolError(f"frame {self._frames} is JSON, but not an object", excerpt=data)
        return as_dict(cast("object", value))

    def _refusal(self, value: dict[str, object]) -> StreamkitError:
        """The error of an `error` event, which holds it in itself or under `error`."""
        if not value.get("error"):
            value = {name: item for name, item in value.items() if name != "type"}
        return error_from_payload(value, provider=self._provider)

    # ---- items ------------------------------------------------------------------------------

    def _find(self, kind: str, item_id: str | None, place: int | None) -> _Item:
        """The item that an event means; one that nobody announced begins here."""
        item = self._known(kind, item_id, place)
        if item is None:
            item = self._new_item(kind, item_id, place)
        return item

    def _known(self, kind: str, item_id: str | None, place: int | None) -> _Item | None:
        item = self._by_id.get(item_id) if item_id else None
        if item is not None:
            return item
        if place is not None:
            item = self._by_place.get(place)
            if item is not None:
                # A done one of another id is not meant: some servers give every item the same place.
                return item if item.kind == kind and not (item.done and item_id) else None
            item = self._last_open(kind)
            if item is None or item.placed:
                return None
            self._by_place[place] = item  # begun by events that did not say it
            item.placed = True
            return item
        return self._last_open(kind)

    def _last_open(self, kind: str) -> _Item | None:
        items = self._open_items.get(kind, [])
        while items and items[-1].done:
            items.pop()
        return items[-1] if items else None

    def _new_item(self, kind: str, item_id: str | None, place: int | None) -> _Item:
        item = _Item(kind, len(self._items))
        self._items.append(item)
        self._open_items.setdefault(kind, []).append(item)
        if item_id:
            self._by_id[item_id] = item
        if place is not None:
            self._by_place[place] = item
            item.placed = True
        return item

    def _item_added(self, value: dict[str, object], out: list[Event]) -> None:
        shape = as_dict(value.get("item"))
        if not shape:
            return
        self._begin(out)
        self._give_custom_calls(out)
        kind, item_id, place = kind_of(shape), as_text(shape.get("id")), as_int(value.get("output_index"))
        item = self._by_id.get(item_id) if item_id else None
        if item is None and place is not None:
            item = self._by_place.get(place)
            if item is not None and (item.announced or item.kind != kind):
                item = None
        if item is not None and item.done:  # a server that gives every item the same id
            item = None
        if item is None:
            item = self._new_item(kind, item_id, place)
        item.announced = True
        if is_call(kind):
            self._name_call(item, shape)
            if item.name:
                self._start_call(item, out)

    def _item_done(self, value: dict[str, object], out: list[Event]) -> None:
        shape = as_dict(value.get("item"))
        if not shape:
            return
        self._begin(out)
        item = self._find(kind_of(shape), as_text(shape.get("id")), as_int(value.get("output_index")))
        self._finish_item(item, shape, out)

    def _finish_item(self, item: _Item, shape: dict[str, object], out: list[Event]) -> None:
        """An item in full: what has not been told of it yet."""
        if item.done:
            return
        item.done = True
        kind = item.kind
        if kind == "message":
            self._whole_parts(item, as_list(shape.get("content")), out)
        elif kind == "reasoning":
            self._whole_parts(item, as_list(shape.get("summary")), out)
            self._whole_parts(item, as_list(shape.get("content")), out)
            sealed = as_text(shape.get("encrypted_content"))
            if sealed:
                if item.index < 0:
                    item.index = self._next_index()
                out.append(ReasoningDelta("", item.index, signature=as_text(shape.get("id")), redacted=sealed))
        elif is_call(kind):
            self._finish_call(item, shape, out)
        elif kind.endswith("_output"):
            out.append(result_of(as_text(shape.get("call_id")) or as_text(shape.get("id")) or "", shape))
        else:
            # A compaction, say: it must be sent back, and has no event of its own.
            out.append(Raw(shape))

    # ---- parts ------------------------------------------------------------------------------

    def _part_of(self, value: dict[str, object]) -> tuple[_Item, str, int | None]:
        """The item, the channel and the place that an event about a part means."""
        place = as_int(value.get("content_index", value.get("summary_index")))
        default = "summary_text" if "summary_part" in str(value.get("type")) else "output_text"
        channel, _ = _PARTS.get(as_text(as_dict(value.get("part")).get("type")) or default, _PARTS[default])
        kind = "reasoning" if channel in _REASONING else "message"
        return self._find(kind, as_text(value.get("item_id")), as_int(value.get("output_index"))), channel, place

    def _whole_parts(self, item: _Item, parts: list[object], out: list[Event]) -> None:
        shapes: list[dict[str, object]] = [as_dict(part) or {"text": part} for part in parts]
        channels = [_PARTS.get(as_text(shape.get("type")) or "output_text", ("", ""))[0] for shape in shapes]
        told: dict[str, list[_Part]] = {}
        for (channel, _), part in item.parts.items():
            if part.told:
                told.setdefault(channel, []).append(part)
        wanted = Counter(channels)
        for place, (shape, channel) in enumerate(zip(shapes, channels, strict=True)):
            if not channel:
                continue
            part = item.part(channel, place)
            if not part.told and len(told.get(channel, ())) >= wanted[channel]:
                part = told[channel][-1]  # a server that counts its parts otherwise has told it at another place
            self._whole_part(item, part, shape, out)

    def _whole_part(self, item: _Item, part: _Part, shape: dict[str, object], out: list[Event]) -> None:
        _, field = _PARTS.get(as_text(shape.get("type")) or "output_text", _PARTS["output_text"])
        self._whole_text(item, part, flat(shape.get(field)), out)
        if not self._resumed or item.announced:
            for source in as_list(shape.get("annotations"))[part.sources :]:
                self._cite(part, source, out)

    def _whole_text(self, item: _Item, part: _Part, words: str | None, out: list[Event]) -> None:
        if words and not part.told and (item.announced or not self._resumed):
            self._tell(item, part, words, out)

    def _take_whole(self, named: str, value: dict[str, object], out: list[Event]) -> None:
        """The end of what deltas told: text not told yet, or a call that is done."""
        self._begin(out)
        kind, channel, field = _WHOLES[named]
        item = self._find(kind, as_text(value.get("item_id")), as_int(value.get("output_index")))
        if channel:
            place = as_int(value.get("summary_index" if channel == "summary" else "content_index"))
            self._whole_text(item, item.part(channel, item.place if place is None else place), flat(value.get(field)), out)
            return
        item.name = item.name or as_text(value.get("name")) or ""
        whole = code_of(value) if field == "code" else json_text(value.get(field)) or ""
        if item.call_id and item.name:
            self._end_call(item, whole, None, out)
        elif whole:  # its item will say what it is called
            item.arguments[:] = [whole]

    def _cite(self, part: _Part, value: object, out: list[Event]) -> None:
        part.sources += 1
        outer = as_dict(value)
        source = as_dict(outer.get(as_text(outer.get("type")) or "")) or outer
        url = as_text(source.get("url"))
        title = as_text(source.get("title")) or as_text(source.get("filename")) or as_text(source.get("file_id"))
        if not url and not title:
            return
        self._begin(out)
        if part.index < 0:
            part.index = self._next_index()
        cited = Citation(url, title, as_text(source.get("quote")), part.index)
        key = (part.index, url, title, cited.quote)
        if key not in self._cited:
            self._cited.add(key)
            out.append(cited)

    # ---- calls ------------------------------------------------------------------------------

    def _name_call(self, item: _Item, shape: dict[str, object]) -> None:
        if item.started:
            return
        kind = item.kind
        if kind in NAMED:
            item.name = as_text(shape.get("name")) or item.name
        else:
            item.name = kind.removesuffix("_call")
        made_up = f"call_{self._response_id or 'response'}_{item.number}"
        item.call_id = as_text(shape.get("call_id")) or as_text(shape.get("id")) or item.call_id or made_up
        if kind == "tool_search_call":
            item.server = shape.get("execution") == "server"
        elif kind == "shell_call":
            item.server = as_dict(shape.get("environment")).get("type") == "container_reference"
        else:
            item.server = kind not in OURS_TO_RUN
        # Some servers say the call's id where the item's is expected.
        self._by_id.setdefault(item.call_id, item)

    def _start_call(self, item: _Item, out: list[Event]) -> None:
        if item.started:
            return
        item.started = True
        item.index = self._next_index()
        self._called = self._called or not item.server
        out.append(ToolCallStart(item.call_id, item.name, item.index, server=item.server))
        if item.arguments:  # those that came before the name
            out.append(ToolCallDelta(item.call_id, "".join(item.arguments), item.index))

    def _finish_call(self, item: _Item, shape: dict[str, object], out: list[Event]) -> None:
        self._name_call(item, shape)
        status = as_text(shape.get("status"))
        self._end_call(item, arguments_of(item.kind, shape), status, out)
        picture = as_text(shape.get("result")) if item.kind == "image_generation_call" else None
        if picture:
            out.append(_picture(image_type(shape), picture, self._next_index()))
        if item.server and item.kind not in ANSWERED_APART:
            result = result_of(item.call_id, {**shape, "result": None} if picture else shape)
            if result.output is not None or status != "incomplete":  # one that was cut has none
                out.append(result)

    def _end_call(self, item: _Item, whole: str, status: str | None, out: list[Event]) -> None:
        """A call with all its arguments.

        Input of a custom tool is any text, so that only the end of the response tells whether it was cut: it waits for that, or
        for the next item.
        """
        if item.ended:
            return
        item.ended = True
        if whole and not item.started:
            item.arguments[:] = [whole]
        told = "".join(item.arguments)
        self._start_call(item, out)
        if item.kind == "code_interpreter_call" and told and not whole:
            whole = told + '"}'
        whole = whole or told
        if len(whole) > len(told) and whole.startswith(told):
            out.append(ToolCallDelta(item.call_id, whole[len(told) :], item.index))
        item.arguments[:] = [whole]
        item.cut = status == "incomplete"
        if item.kind == "custom_tool_call":
            self._custom_calls.append(item)
        else:
            self._give_call(item, out)

    def _give_call(self, item: _Item, out: list[Event]) -> None:
        arguments = item.arguments[0]
        whole = not item.cut and (item.kind == "custom_tool_call" or not arguments.strip() or is_json(arguments))
        item.arguments.clear()
        out.append(ToolCall(item.call_id, item.name, arguments, whole, item.index, server=item.server))

    def _give_custom_calls(self, out: list[Event]) -> None:
        for item in self._custom_calls:
            self._give_call(item, out)
        self._custom_calls.clear()

    # ---- beginning and end ------------------------------------------------------------------

    def _open(self, response: dict[str, object], out: list[Event]) -> None:
        self._response_id = as_text(response.get("id")) or self._response_id
        usage = response.get("usage")
        if isinstance(usage, dict):
            self._usage = usage_of(as_dict(cast("object", usage)))
        model = as_text(response.get("model"))
        if not self._started and (self._response_id or model):
            self._started = True
            out.append(Start(self._response_id or None, model or None, self._provider))

    def _begin(self, out: list[Event]) -> None:
        if not self._started:
            self._started = True
            out.append(Start(self._response_id, None, self._provider))

    def _next_index(self) -> int:
        self._blocks += 1
        return self._blocks - 1

    def _end(self, status: str, response: dict[str, object], out: list[Event]) -> None:
        """The last event: the status that the response has, where it is one that ends."""
        self._open(response, out)
        said = as_text(response.get("status"))
        if said == "canceled":
            said = "cancelled"
        if status != "failed" and said in _TERMINAL:
            status = said
        if status == "failed" or response.get("error"):
            error = response.get("error") or {"message": "the response failed, and no event says why"}
            raise error_from_payload({"error": error}, provider=self._provider)
        self._begin(out)
        why = as_text(as_dict(response.get("incomplete_details")).get("reason"))
        self._catch_up(as_list(response.get("output")), out)
        if status == "incomplete":
            self._complete(INCOMPLETE_REASONS.get((why or "").lower(), "other"), why or status, out)
        elif status == "cancelled":
            self._complete("cancelled", status, out)
        else:
            self._complete(None, status, out)

    def _end_unsaid(self, out: list[Event]) -> None:
        """An end marker where none is due."""
        if any(item.announced and not item.done for item in self._items):
            raise StreamTruncated("the stream ended in the middle of the answer: an item of it is not done")
        if not self._items:
            raise StreamTruncated("the stream ended before the answer began")
        self._complete("other", None, out)

    def _catch_up(self, output: list[object], out: list[Event]) -> None:
        """What the last event holds and no other told."""
        shapes = [as_dict(shape) for shape in output]
        found: list[_Item | None] = [None] * len(shapes)
        taken: set[int] = set()
        in_order: dict[str, deque[_Item]] = {}
        for item in self._items:
            in_order.setdefault(item.kind, deque()).append(item)

        def by_name(place: int, shape: dict[str, object]) -> _Item | None:
            return self._by_id.get(as_text(shape.get("id")) or "") or self._by_id.get(as_text(shape.get("call_id")) or "")

        def by_place(place: int, shape: dict[str, object]) -> _Item | None:
            item = self._by_place.get(place)
            return item if item is not None and item.kind == kind_of(shape) else None

        def by_order(place: int, shape: dict[str, object]) -> _Item | None:
            items = in_order.get(kind_of(shape), _NO_ITEMS)
            while items and items[0].number in taken:
                items.popleft()
            return items[0] if items else None

        # Three passes, the surest sign first: what was told under another name must not be told again.
        for sign in (by_name, by_place, by_order):
            for place, shape in enumerate(shapes):
                if found[place] is None and (match := sign(place, shape)) is not None and match.number not in taken:
                    taken.add(match.number)
                    found[place] = match
        for shape, known in zip(shapes, found, strict=True):
            kind = kind_of(shape)
            if known is None and self._resumed:  # told before this stream began
                self._called = self._called or kind in ("function_call", "custom_tool_call")
            elif shape:
                self._finish_item(known or self._new_item(kind, as_text(shape.get("id")), None), shape, out)

    def _complete(self, reason: FinishReason | None, said: str | None, out: list[Event]) -> None:
        """The last events; without a reason the answer says itself how it ended."""
        self.done = True
        cut = reason is not None and reason != "other"
        for item in self._custom_calls:
            # The last item is the one that was cut.
            item.cut = item.cut or (cut and item is self._items[-1])
        self._give_custom_calls(out)
        for item in self._items:
            if is_call(item.kind) and not item.ended:
                self._name_call(item, {})
                self._end_call(item, "", "incomplete" if cut else None, out)
        self._give_custom_calls(out)
        if self._usage is not None:
            out.append(self._usage)
            self._usage = None
        if reason is None:
            refused = any(channel == "refusal" and part.told for item in self._items for (channel, _), part in item.parts.items())
            reason = "tool-calls" if self._called else "content-filter" if refused else "stop"
        out.append(Finish(reason, said))

    def _usage_event(self, counts: Usage, *, final: bool) -> Usage:
        return msgspec.structs.replace(counts, final=final)


class _Item:
    """One item of the output while it is told.

    `place` is the part that goes on where an event does not say which; `announced` says that its beginning was seen,
    `placed` that its own place in the output is known.
    """

    __slots__ = (
        "added",
        "announced",
        "arguments",
        "call_id",
        "cut",
        "done",
        "ended",
        "index",
        "kind",
        "name",
        "number",
        "parts",
        "place",
        "placed",
        "server",
        "started",
    )

    def __init__(self, kind: str, number: int) -> None:
        self.kind = kind
        self.number = number
        self.announced = False
        self.placed = False
        self.done = False
        self.index = -1
        self.parts: dict[tuple[str, int], _Part] = {}
        self.place = 0
        self.added = 0
        # Of calls:
        self.call_id = ""
        self.name = ""
        self.arguments: list[str] = []
        self.server = False
        self.started = False
        self.ended = False
        self.cut = False

    def part(self, channel: str, place: int) -> _Part:
        part = self.parts.get((channel, place))
        if part is None:
            part = self.parts[channel, place] = _Part(channel in _REASONING)
        return part


class _Part:
    """One part of an item: its block once it has one, whether its text was told, how many of its sources came."""

    __slots__ = ("index", "reasoning", "sources", "told")

    def __init__(self, reasoning: bool) -> None:
        self.reasoning = reasoning
        self.index = -1
        self.told = False
        self.sources = 0


_NONE: Final = Delta("\0")  # equal to no delta that comes
_NO_ITEMS: Final[deque[_Item]] = deque()
_REASONING: Final = frozenset({"content", "summary"})


def _picture(kind: str, picture: str, index: int) -> File:
    """A picture; one that cannot be read is given as it came, for it must not cost the answer."""
    if picture.startswith(("https://", "http://")):
        return File(kind, url=picture, index=index)
    try:
        return File(kind, from_base64(picture), index=index)
    except RemoteProtocolError:
        return File(kind, url=f"data:{kind};base64,{picture}", index=index)
