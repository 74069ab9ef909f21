"""Chat completion chunks, written: events in, frames out, as OpenAI's own clients read them.

    Start, or the first delta of a choice   a chunk with the role, behind those of the choices below it
    TextDelta, ReasoningDelta               content, reasoning_content
    ToolCallStart, ToolCallDelta, ToolCall  tool_calls by index; id, type and name once
    Citation with a url                     annotations of type url_citation
    Finish, Usage                           held: the chunk with the reason is the choice's last,
                                            the usage chunk with `choices: []` comes after all of them
    close                                   the above, then [DONE]; or one {"error": ...} frame and no [DONE]

After an error there is no [DONE]: a client that does not know error frames must not take the answer for
complete. The vocabulary has no words for ToolResult, File, DataDelta, Gap, Custom, Ping and Raw, and
no finish reason for "cancelled" and "other" (clients see "stop").
"""

from __future__ import annotations

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
    Finish,
    FinishReason,
    ReasoningDelta,
    Start,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolCallStart,
    Usage,
)

__all__ = ["OpenAIChatEncoder"]

_REASONS: Final[Mapping[FinishReason, str]] = MappingProxyType(
    {
        "stop": "stop",
        "length": "length",
        "tool-calls": "tool_calls",
        "content-filter": "content_filter",
        "cancelled": "stop",
        "other": "stop",
    }
)

# The most that the API makes of one request. Clients keep choices in a list, and fail where one begins beyond its end.
_CHOICES: Final = 128

_END_FRAME: Final = OutFrame(b"[DONE]")
_TAIL: Final = b'},"finish_reason":null}]}'


class OpenAIChatEncoder:
    """Writes one stream of chunks. See `Encoder` in `streamkit.dialects.protocol` for the contract.

    Args:
        id: The answer's id where no `Start` brings one.
        model: Its model, likewise.
        created: When it was made, in Unix seconds.

    Memory: a few words per choice and per tool call, and the arguments that came before their call's name.

    >>> encoder = OpenAIChatEncoder(id="a", model="m")
    >>> encoder.encode(TextDelta("Hi"))[-1].data
    b'{"id":"a","object":"chat.completion.chunk","created":0,"model":"m","choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}'
    """

    __slots__ = ("_choices", "_closed", "_created", "_finishes", "_head", "_id", "_model", "_text_head", "_usage")

    def __init__(self, *, id: str | None = None, model: str | None = None, created: int = 0) -> None:
        self._id = id
        self._model = model
        self._created = created
        self._head = b""
        self._text_head = b""
        self._choices: dict[int, _ChoiceState] = {}
        self._finishes: dict[int, Finish] = {}
        self._usage: Usage | None = None
        self._closed = False

    def open(self) -> list[OutFrame]:
        """Nothing: the first chunk needs to know what `Start` says."""
        return []

    def encode(self, event: Event) -> list[OutFrame]:
        """The chunks of one event."""
        # The hot path: all but the text was encoded once, when choice 0 began.
        if isinstance(event, TextDelta) and event.choice == 0 and self._text_head and not self._closed:
            return [OutFrame(self._text_head + escape(event.text) + _TAIL)] if event.text else []
        return [] if self._closed else self._encode(event)

    def _encode(self, event: Event) -> list[OutFrame]:
        match event:
            case Start():
                return self._start(event)
            case TextDelta():
                return self._delta(event.choice, b'"content":', escape(event.text)) if event.text else []
            case ReasoningDelta():
                return self._delta(event.choice, b'"reasoning_content":', escape(event.text)) if event.text else []
            case ToolCallStart() | ToolCallDelta() | ToolCall():
                return self._tool(event)
            case Citation():
                return self._cite(event)
            case Usage():
                self._usage = event
            case Finish():
                self._finishes[event.choice] = event
            case ErrorEvent():
                return self.close(outcome_of_event(event))
            case _:
                pass
        return []

    def close(self, outcome: Outcome) -> list[OutFrame]:
        """The reasons, the usage and the end marker; or the error."""
        if self._closed:
            return []
        if outcome.failed:
            self._closed = True
            return [OutFrame(dump({"error": _error(outcome)}))]
        frames: list[OutFrame] = []
        for number in sorted({*self._choices, *self._finishes} or {0}):
            frames += self._finish(number)
        if self._usage is not None and (usage := usage_counts(self._usage, "prompt", "completion")):
            frames.append(OutFrame(self._head_bytes() + b'"choices":[],"usage":' + dump(usage) + b"}"))
        self._closed = True
        frames.append(_END_FRAME)
        return frames

    # ---- pieces -----------------------------------------------------------------------------

    def _start(self, event: Start) -> list[OutFrame]:
        if self._choices:  # The id is said already, and clients hold on to the first.
            return []
        self._id = event.id or self._id
        self._model = event.model or self._model
        return self._role(0)

    def _role(self, number: int) -> list[OutFrame]:
        """The chunk that begins a choice; nothing if it has begun."""
        if number in self._choices:
            return []
        frames: list[OutFrame] = []
        for begun in (*range(min(number, _CHOICES)), number):
            if begun not in self._choices:
                self._choices[begun] = _ChoiceState()
                frames.append(OutFrame(self._chunk_head(begun) + b'"role":"assistant","content":""' + _TAIL))
        if 0 in self._choices:
            self._text_head = self._chunk_head(0) + b'"content":'
        return frames

    def _delta(self, number: int, name: bytes, value: bytes) -> list[OutFrame]:
        frames = self._role(number)
        frames.append(OutFrame(self._chunk_head(number) + name + value + _TAIL))
        return frames

    def _tool(self, event: ToolCallStart | ToolCallDelta | ToolCall) -> list[OutFrame]:
        frames = self._role(event.choice)
        calls = self._choices[event.choice].calls
        call = calls.get(event.id)
        arguments = "" if isinstance(event, ToolCallStart) else event.delta if isinstance(event, ToolCallDelta) else event.arguments
        if call is None:
            nameless = self._choices[event.choice].nameless
            if isinstance(event, ToolCallDelta):
                nameless.setdefault(event.id, []).append(event.delta)
                return frames
            early = nameless.pop(event.id, ())
            call = calls[event.id] = _CallState(len(calls))
            call.whole = isinstance(event, ToolCall)
            if not call.whole:
                arguments = "".join(early)
            call.sent = len(arguments)
            function = b'"function":{"name":' + escape(event.name) + b',"arguments":' + escape(arguments) + b"}"
            opening = b'"id":' + escape(event.id) + b',"type":"function",' + function
        else:
            if call.whole:
                return frames
            if isinstance(event, ToolCall):  # Only what the deltas did not bring.
                arguments = arguments[call.sent :]
                call.whole = True
            if not arguments:
                return frames
            call.sent += len(arguments)
            opening = b'"function":{"arguments":' + escape(arguments) + b"}"
        return frames + self._delta(event.choice, b'"tool_calls":', b'[{"index":%d,%b}]' % (call.index, opening))

    def _cite(self, event: Citation) -> list[OutFrame]:
        if not event.url:
            return []
        # The positions are required by strict clients; where in the text is not known.
        source: dict[str, object] = {"start_index": 0, "end_index": 0, "url": event.url, "title": event.title or event.url}
        if event.quote:
            source["content"] = event.quote
        frames = self._role(event.choice)
        choice = self._choices[event.choice]
        # The SDK puts together what lists hold by an index, and fails where a second entry has none.
        cited = {"index": choice.cited, "type": "url_citation", "url_citation": source}
        choice.cited += 1
        return frames + self._delta(event.choice, b'"annotations":', dump([cited]))

    def _finish(self, number: int) -> list[OutFrame]:
        frames = self._role(number)
        finish = self._finishes.get(number)
        # Without one it is a plain end, such as a generator of one's own has.
        plain = "tool_calls" if self._choices[number].calls else "stop"
        reason = plain if finish is None else _REASONS[finish.reason]
        chunk = b'"choices":[{"index":%d,"delta":{},"finish_reason":"%b"}]}' % (number, reason.encode())
        frames.append(OutFrame(self._head_bytes() + chunk))
        return frames

    def _chunk_head(self, number: int) -> bytes:
        return self._head_bytes() + b'"choices":[{"index":%d,"delta":{' % number

    def _head_bytes(self) -> bytes:
        if not self._head:
            self._head = b'{"id":%b,"object":"chat.completion.chunk","created":%d,"model":%b,' % (
                escape(self._id or "chatcmpl-stream"),
                self._created,
                escape(self._model or "unknown"),
            )
        return self._head


class _ChoiceState:
    """`nameless` are arguments that came before their call's name, `cited` is how many sources were told."""

    __slots__ = ("calls", "cited", "nameless")

    def __init__(self) -> None:
        self.calls: dict[str, _CallState] = {}
        self.nameless: dict[str, list[str]] = {}
        self.cited = 0


class _CallState:
    """`index` on the wire, how many characters of the arguments went out, and whether they are `whole`."""

    __slots__ = ("index", "sent", "whole")

    def __init__(self, index: int) -> None:
        self.index = index
        self.sent = 0
        self.whole = False


def _error(outcome: Outcome) -> dict[str, object]:
    return {"message": outcome.message, "type": error_type(outcome), "code": outcome.code, **hints(outcome)}
