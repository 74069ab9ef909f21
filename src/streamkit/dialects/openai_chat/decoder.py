"""Chat completion chunks, read: frames in, events out.

    first chunk with an id, a model or a choice     -> Start
    delta.content / refusal                         -> TextDelta (a refusal is block 1)
    delta.reasoning_content | reasoning | reasoning_details  -> ReasoningDelta, each thought once
    delta.tool_calls | function_call                -> ToolCallStart, ToolCallDelta ...; Gemini's thought_signature -> the ToolCall
    delta.executed_tools                            -> the same with `server=True`, at once; ToolResult
    citations, search_results, annotations, context -> Citation, once per address
    finish_reason, usage                            -> held
    [DONE], or the end of the body after a reason   -> ToolCall ..., Usage, Finish for each choice

Nothing that says "complete" is given before the end is known, because an error may still follow a
finish reason (OpenRouter sends one in the next chunk), and an error beats it.

How an answer ends:

    every choice has a reason, [DONE]        complete
    every choice has a reason, body ends     complete, `Usage.final` is False: a later count may be missing
    some choice has no reason, [DONE]        complete with "other": the server says it is over and not why
    some choice has no reason, body ends     StreamTruncated
    no choice at all                         StreamTruncated, with or without [DONE]
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Final, TypeAlias, cast

import msgspec

from streamkit.dialects.frame_reading import CountingReader
from streamkit.dialects.lenient import as_dict, as_list, as_text, from_base64, is_json, read_value
from streamkit.dialects.openai_chat.shapes import Call, Choice, Chunk, Delta, FirstChunk, Function, UsageShape, lenient_chunk
from streamkit.dialects.protocol import InFrame
from streamkit.dialects.provider_errors import error_from_payload, source_error
from streamkit.errors import RemoteProtocolError, StreamTruncated
from streamkit.events import (
    Citation,
    DataDelta,
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

__all__ = ["FINISH_REASONS", "OpenAIChatDecoder"]

FINISH_REASONS: Final[Mapping[str, FinishReason]] = MappingProxyType(
    {
        "stop": "stop",
        "eos": "stop",
        "eos_token": "stop",
        "stop_sequence": "stop",
        "end_turn": "stop",
        "complete": "stop",
        "length": "length",
        "max_tokens": "length",
        "model_length": "length",
        "max_output_tokens": "length",
        "model_context_window_exceeded": "length",
        "tool_calls": "tool-calls",
        "tool_call": "tool-calls",
        "tool_use": "tool-calls",
        "function_call": "tool-calls",
        "content_filter": "content-filter",
        "safety": "content-filter",
        "refusal": "content-filter",
        "sensitive": "content-filter",
        "recitation": "content-filter",
        "blocklist": "content-filter",
        "prohibited_content": "content-filter",
        "spii": "content-filter",
        "abort": "cancelled",
        "aborted": "cancelled",
        "cancelled": "cancelled",
    }
)
"""The providers' words for why an answer ended; any other word is "other"."""

# Reasons that say that the server failed: what came is no answer, however it ended. (Routers; z.ai; DeepSeek.)
_FAILURES: Final = frozenset({"error", "network_error", "insufficient_system_resource"})

# Kinds of frames that keep a connection open, whatever they hold.
_PINGS: Final = frozenset({"ping", "heartbeat", "keepalive", "keep-alive"})

_END_MARK: Final = "[DONE]"

_Reader: TypeAlias = Callable[[str | bytes], Chunk]

_read_first: Final[_Reader] = msgspec.json.Decoder(FirstChunk).decode
_read_next: Final[_Reader] = msgspec.json.Decoder(Chunk).decode


class OpenAIChatDecoder(CountingReader[UsageShape]):
    """Reads one answer, or several for n > 1. See `Decoder` in `streamkit.dialects.protocol` for the contract.

    Args:
        provider: Who sends this, for `Start.provider` and errors; a router's own `provider` field wins in `Start`.

    Memory: the arguments of the tool calls, the addresses cited, and a few words per choice.

    >>> from streamkit.wire.sse import Decoder
    >>> body = b'data: {"choices":[{"delta":{"content":"Hi"},"finish_reason":"stop"}]}\\n\\ndata: [DONE]\\n\\n'
    >>> [event.type for event in OpenAIChatDecoder().decode_many(Decoder().feed(body))]
    ['start', 'text-delta', 'finish']
    """

    __slots__ = (
        "_answer_id",
        "_choices",
        "_citations",
        "_cited",
        "_read",
        "_search_results",
    )

    def __init__(self, *, provider: str | None = None) -> None:
        super().__init__(provider)
        self._read = _read_first
        self._answer_id: str | None = None
        self._choices: dict[int, _ChoiceState] = {}
        self._citations: bytes = b""
        self._search_results: bytes = b""
        self._cited: set[tuple[int, str]] = set()

    def _take_all(self, frames: Iterable[InFrame], out: list[Event]) -> None:
        for frame in frames:
            self._frames += 1
            try:
                chunk = self._read(frame.data)
            except (msgspec.DecodeError, ValueError, RecursionError):
                odd = self._read_odd(frame)
                if odd is None:
                    self._complete(out, marked=True)
                    break
                chunk = odd
            self._take(chunk, frame, out)

    def _end_unmarked(self, out: list[Event]) -> None:
        self._complete(out, marked=False)

    # ---- one chunk --------------------------------------------------------------------------

    def _take(self, chunk: Chunk, frame: InFrame, out: list[Event]) -> None:
        if self._read is _read_first:
            self._start(chunk, out)
        if chunk.usage is not None:
            self._usage = chunk.usage
        if chunk.x_groq is not None and chunk.x_groq.usage is not None:
            self._usage = chunk.x_groq.usage
        choices = chunk.choices
        if chunk.error or not choices or chunk.x_groq is not None:
            self._check(chunk, frame)
        if chunk.citations or chunk.search_results:
            self._cite_sources(chunk, out)
        for choice in choices or ():
            self._take_choice(choice, out)

    def _take_choice(self, choice: Choice, out: list[Event]) -> None:
        number = choice.index or 0
        state = self._choices.get(number)
        if state is None:
            state = self._choices[number] = _ChoiceState(number)
            if choice.message and choice.delta is None:  # a server that does not stream sends it whole, in one chunk
                whole = lenient_chunk({"choices": [{"index": number, "delta": _value(bytes(choice.message))}]})
                for part in whole.choices or ():
                    self._take_choice(part, out)
        delta = choice.delta
        if delta is not None:
            # In the order in which a model produces them, where one chunk holds several.
            reasoning = delta.reasoning_content or delta.reasoning
            if reasoning or delta.reasoning_details:
                _take_reasoning(reasoning, delta, number, out)
            if delta.content:
                if delta.extra_content is None and not state.thinking:
                    out.append(TextDelta(delta.content, 0, number))
                else:
                    state.take_marked(delta.content, delta.extra_content, out)
            if delta.tool_calls is not None:
                for call in delta.tool_calls:
                    state.take_call(call, self._answer_id, out)
            if (
                delta.refusal
                or delta.function_call
                or delta.annotations
                or delta.audio
                or delta.images
                or delta.executed_tools
                or delta.context
            ):
                self._take_rare(delta, state, out)
        elif choice.text:
            out.append(TextDelta(choice.text, 0, number))
        if choice.finish_reason or choice.error:
            state.finish = choice.finish_reason or None
            if choice.usage is not None:
                self._usage = choice.usage
            if choice.error:
                raise error_from_payload({"error": choice.error}, provider=self._provider)
            word = (choice.finish_reason or "").lower()
            if word in _FAILURES:
                raise source_error(f"the answer ended with finish_reason {word!r}", code=word, provider=self._provider)

    def _take_rare(self, delta: Delta, state: _ChoiceState, out: list[Event]) -> None:
        if delta.refusal:
            state.refused = True
            out.append(TextDelta(delta.refusal, 1, state.number))
        if delta.function_call is not None and not delta.tool_calls:  # llama-cpp-python tells every call in both forms
            state.take_call(Call(index=_LEGACY, function=delta.function_call), self._answer_id, out)
        for item in delta.annotations or ():
            source = as_dict(as_dict(item).get("url_citation"))
            self._cite(source.get("url"), source.get("title"), source.get("content"), state.number, out)
        for item in as_list(as_dict(delta.context).get("citations")):
            document = as_dict(item)
            title = document.get("title") or document.get("filepath")
            self._cite(document.get("url") or None, title, None, state.number, out, named=True)
        audio = as_dict(delta.audio)
        if isinstance(audio.get("transcript"), str) and audio["transcript"]:
            out.append(TextDelta(cast("str", audio["transcript"]), 0, state.number))
        if isinstance(audio.get("data"), str) and audio["data"]:
            # The only format that this API streams is 16-bit PCM.
            out.append(DataDelta(from_base64(cast("str", audio["data"])), "audio/pcm", 0, state.number))
        for item in delta.executed_tools or ():
            self._take_executed(as_dict(item), state, out)
        for item in delta.images or ():
            address = as_dict(item).get("image_url")
            url = address if isinstance(address, str) else as_dict(address).get("url")
            if isinstance(url, str) and url:
                out.append(_file(url, state.number))

    def _take_executed(self, item: dict[str, object], state: _ChoiceState, out: list[Event]) -> None:
        """A tool that the server runs itself: told when it begins, and again with what came of it."""
        told = {name: value for name, value in item.items() if name not in ("index", "type", "arguments")}
        state.take_executed(item, told if item.get("output") is not None else None, self._answer_id, out)
        found = [*as_list(as_dict(told.get("search_results")).get("results")), *as_list(told.get("browser_results"))]
        for source in map(as_dict, found):
            self._cite(source.get("url"), source.get("title"), None, state.number, out)

    def _start(self, chunk: Chunk, out: list[Event]) -> None:
        first = cast("FirstChunk", chunk)
        # Azure's first chunk has empty names and no choice: the next one knows.
        if not (first.id or first.model or first.choices) or (first.error and not first.choices):
            return
        self._answer_id = first.id or None
        self._read = _read_next
        out.append(Start(self._answer_id, first.model or None, first.provider or self._provider))

    def _read_odd(self, frame: InFrame) -> FirstChunk | None:
        """A frame that is no chunk as expected: the end marker (None), one with odd types, or nothing of the kind."""
        data = frame.data if isinstance(frame.data, str) else bytes(frame.data).decode("utf-8", "replace")
        word = data.strip()
        if word == _END_MARK:
            return None
        if not word:  # a sign of life
            return FirstChunk(choices=[])
        try:
            value = read_value(data)
        except (ValueError, RecursionError):
            if frame.type == "error":
                raise error_from_payload(data, provider=self._provider) from None
            if frame.type in _PINGS:
                return FirstChunk(choices=[])
            raise RemoteProtocolError(f"frame {self._frames} is not JSON", excerpt=data) from None
        if not isinstance(value, dict):
            if frame.type == "error":
                raise error_from_payload(value, provider=self._provider)
            raise RemoteProtocolError(f"frame {self._frames} is JSON, but not an object", excerpt=data)
        body = cast("dict[str, object]", value)
        if not isinstance(body.get("choices", []), list | dict | None):
            raise RemoteProtocolError(f"frame {self._frames} has choices that are no list", excerpt=data)
        return lenient_chunk(body)

    def _check(self, chunk: Chunk, frame: InFrame) -> None:
        """Raise what a chunk without choices, or with an error, has to say."""
        if chunk.error:
            # The whole frame, where it can be read again: some tell the kind of the error beside it.
            try:
                payload = _value(frame.data)
            except RemoteProtocolError:
                payload = {"error": chunk.error}
            raise error_from_payload(payload, provider=self._provider)
        if chunk.x_groq is not None and chunk.x_groq.error:
            raise error_from_payload({"error": chunk.x_groq.error}, provider=self._provider)
        if chunk.choices is not None and frame.type != "error":
            return
        value = _value(frame.data)
        if frame.type == "error" or _is_bare_error(as_dict(value)):
            raise error_from_payload(value, provider=self._provider)

    # ---- sources ----------------------------------------------------------------------------

    def _cite_sources(self, chunk: Chunk, out: list[Event]) -> None:
        citations, results = bytes(chunk.citations), bytes(chunk.search_results)
        if citations == self._citations and results == self._search_results:
            return
        self._citations, self._search_results = citations, results
        found = [as_dict(item) for item in as_list(_value(results) if results else None)]
        titles = {item.get("url"): item.get("title") for item in found if isinstance(item.get("url"), str)}
        # Citations first: marks like [2] in the text count them.
        for item in as_list(_value(citations) if citations else None):
            source = as_dict(item)
            url = source.get("url") if source else item
            if isinstance(url, str):
                self._cite(url, source.get("title") or titles.get(url), None, 0, out)
        for item in found:
            self._cite(item.get("url"), item.get("title"), None, 0, out)

    def _cite(self, url: object, title: object, quote: object, number: int, out: list[Event], *, named: bool = False) -> None:
        """A source once; one without an address only where its title is a name of its own (`named`)."""
        key = url or (f"\0{title}" if named and isinstance(title, str) else "")
        if not isinstance(key, str) or not key or (number, key) in self._cited:
            return
        self._cited.add((number, key))
        out.append(
            Citation(
                url if isinstance(url, str) and url else None,
                title if isinstance(title, str) else None,
                quote if isinstance(quote, str) else None,
                choice=number,
            )
        )

    # ---- the end ----------------------------------------------------------------------------

    def _complete(self, out: list[Event], *, marked: bool) -> None:
        """Give what was held, if the answer is complete."""
        if not self._choices:
            raise StreamTruncated("the stream ended before the answer began")
        open_choices = [number for number, state in self._choices.items() if state.finish is None]
        if open_choices and not marked:
            raise StreamTruncated("the stream ended without a finish reason or an end marker: the answer is cut off")
        self.done = True
        states = [self._choices[number] for number in sorted(self._choices)]
        for state in states:
            state.end_calls(out)
        if self._usage is not None:
            out.append(self._usage_event(self._usage, final=marked))
            self._usage = None
        out += [state.finish_event() for state in states]

    def _usage_event(self, counts: UsageShape, *, final: bool) -> Usage:
        prompt, completion = counts.prompt_tokens_details, counts.completion_tokens_details
        cached = prompt.cached_tokens if prompt is not None else None
        written = prompt.cache_write_tokens if prompt is not None else None
        return Usage(
            counts.prompt_tokens,
            counts.completion_tokens,
            _first(cached, counts.prompt_cache_hit_tokens, counts.cached_tokens, counts.cache_read_input_tokens),
            _first(written, counts.cache_creation_input_tokens),
            completion.reasoning_tokens if completion is not None else None,
            final=final,
        )


class _ChoiceState:
    """What one choice has said so far."""

    __slots__ = ("by_id", "by_index", "calls", "executed", "finish", "number", "refused", "thinking")

    def __init__(self, number: int) -> None:
        self.number = number
        self.finish: str | None = None
        self.refused = False
        self.thinking = False
        self.calls: list[_CallState] = []
        self.by_id: dict[str, _CallState] = {}
        self.by_index: dict[int, _CallState] = {}
        self.executed: dict[object, _CallState] = {}

    def take_marked(self, text: str, extra: object, out: list[Event]) -> None:
        """Content of Gemini's, where a thought is marked beside it and, at its borders, inside it."""
        thought = as_dict(as_dict(extra).get("google")).get("thought") is True
        if thought and not self.thinking:
            text = text.removeprefix("<thought>")
        elif self.thinking and not thought:
            text = text.removeprefix("</thought>")
        self.thinking = thought
        if thought and text.endswith("</thought>"):
            text = text.removesuffix("</thought>")
            self.thinking = False
        if text:
            out.append(ReasoningDelta(text, 0, self.number) if thought else TextDelta(text, 0, self.number))

    def take_call(self, delta: Call, answer_id: str | None, out: list[Event]) -> None:
        function = delta.function
        custom = delta.custom
        if delta.id == "null":  # written so by older servers of Mistral's
            delta.id = None
        if function is None:
            function = Function(custom.name, custom.input) if custom is not None else _NO_FUNCTION
        call = self._call_of(delta, function.name or "")
        if call is None:
            call = self._begin(delta, answer_id)
            call.is_json = custom is None
        if not call.name:
            call.name = function.name or ""
        if function.arguments:
            call.parts.append(function.arguments)
        if delta.extra_content is not None:
            google = as_dict(as_dict(delta.extra_content).get("google"))
            call.signature = as_text(google.get("thought_signature")) or call.signature
        if call.name and not call.started:
            call.started = True
            out.append(ToolCallStart(call.id, call.name, call.index, self.number))
            if call.parts:  # those that came before the name, and this one
                out.append(ToolCallDelta(call.id, "".join(call.parts), call.index, self.number))
        elif call.started and function.arguments:
            out.append(ToolCallDelta(call.id, function.arguments, call.index, self.number))

    def take_executed(self, item: dict[str, object], output: object, answer_id: str | None, out: list[Event]) -> None:
        number = item.get("index")
        key = number if isinstance(number, int | str) else None
        call = self.executed.get(key)
        if call is None:
            call = self.executed[key] = self._begin(Call(index=_EXECUTED - len(self.calls)), answer_id)
            call.given = True
            name, arguments = str(item.get("type") or ""), item.get("arguments")
            words = arguments if isinstance(arguments, str) else ""
            out.append(ToolCallStart(call.id, name, call.index, self.number, True))
            if words:
                out.append(ToolCallDelta(call.id, words, call.index, self.number))
            out.append(ToolCall(call.id, name, words, True, call.index, self.number, True))
        if output is not None and not call.started:
            call.started = True
            out.append(ToolResult(call.id, output))

    def _call_of(self, delta: Call, name: str) -> _CallState | None:
        """The call that a delta goes on with; None when it begins one.

        The index tells, except where servers leave it out or give every call the same one: there a new id with
        a name begins a call. A new id alone does not: some servers make one up for each delta. Nor does a name
        that is repeated while the arguments are still on their way.
        """
        if delta.index is not None:
            call = self.by_index.get(delta.index)
        elif delta.id:
            call = self.by_id.get(delta.id)
            if call is None and self.calls and (not name or self.calls[-1].lacks(name)):
                call = self.calls[-1]
        else:
            call = self.calls[-1] if self.calls else None
            if call is not None and name and call.name and not call.lacks(name) and (call.parts or name != call.name):
                return None
        if call is not None and call.given:
            return None
        if call is not None and delta.id and call.given_id and delta.id != call.given_id and name and not call.lacks(name):
            return None
        return call

    def _begin(self, delta: Call, answer_id: str | None) -> _CallState:
        index = len(self.calls)
        id = delta.id or ""
        if not id or id in self.by_id:  # none, or that of another call: results are matched by it
            id = f"call_{answer_id or 'answer'}_{self.number}_{index}"
        call = _CallState(id, delta.id or "", index)
        self.calls.append(call)
        if delta.id:
            self.by_id[delta.id] = call
        self.by_index[index if delta.index is None else delta.index] = call
        return call

    def end_calls(self, out: list[Event]) -> None:
        cut = self._reason not in ("stop", "tool-calls")
        for call in self.calls:
            if call.given:
                continue
            arguments = "".join(call.parts)
            if not call.started:
                out.append(ToolCallStart(call.id, call.name, call.index, self.number))
            # Some servers say "tool_calls" of a call that ran into the token limit: only the arguments themselves tell.
            whole = is_json(arguments) if call.is_json and arguments.strip() else not cut
            out.append(ToolCall(call.id, call.name, arguments, whole, call.index, self.number, signature=call.signature))

    def finish_event(self) -> Finish:
        reason = self._reason
        if self.refused and reason == "stop":
            reason = "content-filter"
        return Finish(reason, self.finish, self.number)

    @property
    def _reason(self) -> FinishReason:
        return FINISH_REASONS.get((self.finish or "").lower(), "other")


class _CallState:
    """A tool call while it is told. `given_id` is the provider's; `id` is that, or one made up. `given`: told in full."""

    __slots__ = ("given", "given_id", "id", "index", "is_json", "name", "parts", "signature", "started")

    def __init__(self, id: str, given_id: str, index: int) -> None:
        self.id = id
        self.given = False
        self.given_id = given_id
        self.index = index
        self.is_json = True
        self.name = ""
        self.parts: list[str] = []
        self.signature: str | None = None
        self.started = False

    def lacks(self, name: str) -> bool:
        """Whether this is a call of `name` whose arguments have begun and are not whole yet."""
        if name != self.name or not self.parts or not self.is_json:
            return False
        # Looked at only where neither index nor id tells calls apart, and parsed only where they could end.
        return not (self.parts[-1].rstrip().endswith("}") and is_json("".join(self.parts)))


_LEGACY: Final = -1  # the one call of `function_call`, beside those with an index
_EXECUTED: Final = -2  # from here down, those that the server ran
_NO_FUNCTION: Final = Function()


def _take_reasoning(text: str | None, delta: Delta, number: int, out: list[Event]) -> None:
    """The thought of a delta once: routers write it in up to three fields. Proofs stand only in `reasoning_details`."""
    if text:
        out.append(ReasoningDelta(text, 0, number))
    for detail in delta.reasoning_details or ():
        own = "" if text else detail.text or detail.summary or ""
        redacted = detail.data if detail.type == "reasoning.encrypted" else None
        if own or detail.signature or redacted:
            out.append(ReasoningDelta(own, 0, number, detail.signature or None, redacted or None))


def _first(*counts: int | None) -> int | None:
    return next((count for count in counts if count is not None), None)


def _file(url: str, number: int) -> File:
    head, comma, body = url.partition(",")
    if comma and head.startswith("data:") and head.endswith(";base64"):
        kind = head[len("data:") : -len(";base64")] or "image/*"
        try:
            return File(kind, data=from_base64(body), choice=number)
        except RemoteProtocolError:  # given as it came: a picture that cannot be read must not cost the answer
            return File(kind, url=url, choice=number)
    return File("image/*", url=url, choice=number)


def _is_bare_error(body: dict[str, object]) -> bool:
    """Whether a frame without choices is an error that stands there by itself; vendors have frames of their own too."""
    return (
        body.get("object") == "error"
        or body.get("type") == "error"
        or "detail" in body
        or bool(body.get("errors"))
        or body.get("success") is False
        or _says(body, "message", "code", "status", "status_code", "request_id")
        or _says(body, "msg", "code")
        or _says(body, "title", "status")
        or _says(body, "error_msg", "error_code")
        or bool(as_dict(body.get("base_resp")).get("status_code"))
    )


def _says(body: dict[str, object], text: str, *marks: str) -> bool:
    return isinstance(body.get(text), str) and any(mark in body for mark in marks)


def _value(data: str | bytes) -> object:
    """Data that msgspec could skim, in full: numbers too long and nests too deep are found only here."""
    try:
        return read_value(data)
    except (ValueError, RecursionError) as error:
        raise RemoteProtocolError(f"a value that cannot be read ({type(error).__name__})", excerpt=data) from None
