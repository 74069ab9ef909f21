"""An answer as a run of AG-UI 1.0, as its own client (`HttpAgent`) checks it.

    open                                   RUN_STARTED
    TextDelta                              a text message: TEXT_MESSAGE_START, _CONTENT, _END
    ReasoningDelta                         a reasoning message: REASONING_START, REASONING_MESSAGE_START, _CONTENT, _END,
                                           the signature as REASONING_ENCRYPTED_VALUE, REASONING_END
    ToolCallStart, ToolCallDelta, ToolCall TOOL_CALL_START, _ARGS, _END; several may be open at a time
    ToolResult                             TOOL_CALL_RESULT
    Custom                                 CUSTOM, or the state or step that it is (`signals`)
    Citation, File, DataDelta, Gap         CUSTOM of the name "citation", "file", "data", "gap"
    Usage, Finish                          held for the end
    close                                  what is open is ended, then RUN_FINISHED; or one RUN_ERROR

The client checks each event and ends the run over one that is wrong. So nothing is null, nothing empty is sent, all that was
opened is ended before RUN_FINISHED, no id begins twice, and nothing follows the end: no [DONE]. It takes a stream that stops
without RUN_FINISHED for a run that went well, which is why there always is an end here.

Ids of messages are made of the answer's id, which no two runs of a thread may share: a client that has a message of that id
adds to it. A call belongs to the text before it, or shares a message of its own with the calls beside it, until a result
comes. Choices but the first, Ping and Raw have no word.

A frame beyond 10 MiB is not read by the client: long deltas go out in pieces, and any other event of that size is an error.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from typing import Final

from streamkit.dialects.ag_ui.signals import STATE_DELTA, STATE_SNAPSHOT, STEP_FINISHED, STEP_STARTED, is_patch
from streamkit.dialects.json_line import dump, escape, known
from streamkit.dialects.outcomes import Outcome, outcome_of_event, stopped
from streamkit.dialects.protocol import OutFrame
from streamkit.errors import LocalProtocolError
from streamkit.events import (
    Citation,
    Custom,
    DataDelta,
    ErrorEvent,
    Event,
    File,
    Finish,
    Gap,
    ReasoningDelta,
    Start,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolCallStart,
    ToolResult,
    Usage,
)

__all__ = ["MAX_FRAME_BYTES", "AGUIEncoder"]

MAX_FRAME_BYTES: Final = 10 * 1024 * 1024 - 64
"""The longest frame that the client reads, `data: ` and line ends aside."""

# An escaped character takes at most six bytes.
_PIECE_CHARS: Final = 1 << 20


class AGUIEncoder:
    """Writes one run. See `Encoder` in `streamkit.dialects.protocol` for the contract.

    Args:
        id: The run's id where `run_id` is not given. Without either it is made of `created`: give one to threads of many runs.
        model: The model, for the usage, where no `Start` says it.
        created: When the answer was made, in Unix seconds.
        thread_id, run_id: As the client named them in its request.

    Memory: a few words per tool call, and the arguments that came before their call's name.

    >>> encoder = AGUIEncoder(id="a")
    >>> [frame.data for frame in encoder.encode(TextDelta("Hi"))][1]
    b'{"type":"TEXT_MESSAGE_CONTENT","messageId":"a-1","delta":"Hi"}'
    """

    __slots__ = (
        "_calls",
        "_closed",
        "_finish",
        "_ids",
        "_made",
        "_model",
        "_nameless",
        "_parent",
        "_run",
        "_steps",
        "_text",
        "_text_head",
        "_thought",
        "_usage",
    )

    def __init__(
        self,
        *,
        id: str | None = None,
        model: str | None = None,
        created: int = 0,
        thread_id: str | None = None,
        run_id: str | None = None,
    ) -> None:
        run = run_id or id or f"run-{created}"
        self._run = {"threadId": thread_id or run, "runId": run}
        self._ids = run
        self._made = 0  # How many messages have an id.
        self._model = model
        self._text = ""  # The open text message.
        self._text_head = b""
        self._thought: _Thought | None = None
        self._parent = ""  # The message that calls belong to.
        self._calls: dict[str, _Call] = {}
        self._nameless: dict[str, list[str]] = {}  # Arguments that came before their call's name.
        self._steps: dict[str, None] = {}
        self._usage: Usage | None = None
        self._finish: Finish | None = None
        self._closed = False

    def open(self) -> list[OutFrame]:
        """The run's beginning."""
        return [_frame("RUN_STARTED", self._run)]

    def encode(self, event: Event) -> list[OutFrame]:
        """The frames of one event."""
        # The hot path: all but the text was encoded once, when the message began. Its head is empty while none is open.
        if isinstance(event, TextDelta) and event.choice == 0 and self._text_head:
            text = event.text
            if len(text) > _PIECE_CHARS:
                return _pieces(self._text_head, text)
            return [OutFrame(self._text_head + escape(text) + b"}")] if text else []
        if self._closed or getattr(event, "choice", 0) != 0:
            return []
        return self._encode(event)

    def _encode(self, event: Event) -> list[OutFrame]:
        match event:
            case TextDelta():
                return self._begin_text(event.text) if event.text else []
            case ReasoningDelta():
                return self._think(event)
            case ToolCallStart() | ToolCallDelta() | ToolCall():
                return self._call(event)
            case ToolResult():
                return self._result(event)
            case Custom():
                return self._custom(event)
            case Citation() | File() | DataDelta() | Gap():
                return _extra(event)
            case Start():
                self._model = event.model or self._model
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
        """What is open is ended, and the run; or the error."""
        if self._closed:
            return []
        if outcome.failed:
            self._end()
            return [_frame("RUN_ERROR", {"message": outcome.message, "code": outcome.code, **self._counts(), **_told(outcome)})]
        frames = [*self._end_thought(), *self._end_text()]
        for id, call in self._calls.items():
            frames += _end_call(id, call)
        frames += [_frame(STEP_FINISHED, {"stepName": name}) for name in self._steps]
        how: dict[str, object] = {"type": "success"}
        finish = self._finish
        if stopped(outcome, finish):
            how = {"type": "cancelled"}
        elif pending := [id for id, call in self._calls.items() if not (call.answered or call.server or call.cut)]:
            how["pendingToolCallIds"] = pending
        ended: dict[str, object] = {**self._run, "outcome": how, **self._counts()}
        if finish is not None and finish.reason in ("length", "content-filter", "other"):
            ended["metadata"] = {"finishReason": finish.reason}
        frames.append(_frame("RUN_FINISHED", ended))
        self._end()
        return frames

    # ---- pieces -----------------------------------------------------------------------------

    def _end(self) -> None:
        self._closed = True
        self._text_head = b""

    def _new_id(self) -> str:
        self._made += 1
        return f"{self._ids}-{self._made}"

    def _begin_text(self, text: str) -> list[OutFrame]:
        frames = self._end_thought()
        self._text = self._parent = self._new_id()
        self._text_head = _head("TEXT_MESSAGE_CONTENT", "messageId", self._text)
        frames.append(_frame("TEXT_MESSAGE_START", {"messageId": self._text, "role": "assistant"}))
        return frames + _pieces(self._text_head, text)

    def _end_text(self) -> list[OutFrame]:
        if not self._text:
            return []
        id, self._text, self._text_head = self._text, "", b""
        return [_frame("TEXT_MESSAGE_END", {"messageId": id})]

    def _think(self, event: ReasoningDelta) -> list[OutFrame]:
        proof = event.signature or event.redacted
        if not (event.text or proof):
            return []
        frames = self._end_text()
        thought = self._thought
        # What was proved is over: more of it is another message.
        if thought is None or thought.index != event.index or (thought.proof and event.text):
            frames += self._end_thought()
            thought = self._thought = _Thought(self._new_id(), event.index)
            named = {"messageId": thought.id}
            frames.append(_frame("REASONING_START", named))
            frames.append(_frame("REASONING_MESSAGE_START", {**named, "role": "reasoning"}))
        frames += _pieces(thought.head, event.text)
        thought.proof = proof or thought.proof
        return frames

    def _end_thought(self) -> list[OutFrame]:
        thought, self._thought = self._thought, None
        if thought is None:
            return []
        frames = [_frame("REASONING_MESSAGE_END", {"messageId": thought.id})]
        if thought.proof:
            frames.append(_proof("message", thought.id, thought.proof))
        frames.append(_frame("REASONING_END", {"messageId": thought.id}))
        return frames

    def _call(self, event: ToolCallStart | ToolCallDelta | ToolCall) -> list[OutFrame]:
        call = self._calls.get(event.id)
        frames: list[OutFrame] = []
        if call is None:
            if isinstance(event, ToolCallDelta):  # It has no name yet.
                self._nameless.setdefault(event.id, []).append(event.delta)
                return []
            frames = [*self._end_thought(), *self._end_text()]
            self._parent = self._parent or self._new_id()
            call = self._calls[event.id] = _Call(_head("TOOL_CALL_ARGS", "toolCallId", event.id), event.server)
            begun = {"toolCallId": event.id, "toolCallName": event.name, "parentMessageId": self._parent}
            frames.append(_frame("TOOL_CALL_START", begun))
            early = "".join(self._nameless.pop(event.id, ()))
            call.sent = len(early)
            frames += _pieces(call.head, early)
        if call.ended:
            return frames
        if isinstance(event, ToolCallDelta):
            call.sent += len(event.delta)
            frames += _pieces(call.head, event.delta)
        elif isinstance(event, ToolCall):
            frames += _pieces(call.head, event.arguments[call.sent :])  # Only what the deltas did not bring.
            frames += _end_call(event.id, call)
            call.cut = not event.complete
            if event.signature:
                frames.append(_proof("tool-call", event.id, event.signature))
        return frames

    def _result(self, event: ToolResult) -> list[OutFrame]:
        frames = [*self._end_thought(), *self._end_text()]
        call = self._calls.get(event.id)
        if call is not None:
            frames += _end_call(event.id, call)
            call.answered = True
        # The next text or call is the model's next turn.
        self._parent = ""
        output = event.output
        content = output if isinstance(output, str) else "" if output is None else dump(output).decode()
        said: dict[str, object] = {"messageId": self._new_id(), "toolCallId": event.id, "content": content, "role": "tool"}
        if event.is_error:
            said["metadata"] = {"isError": True}
        frames.append(_frame("TOOL_CALL_RESULT", said))
        return frames

    def _custom(self, event: Custom) -> list[OutFrame]:
        name, data = event.name, event.data
        if name == STATE_SNAPSHOT:
            return [_frame(name, {"snapshot": data})]
        if name == STATE_DELTA and is_patch(data):
            return [_frame(name, {"delta": data})]
        if name in (STEP_STARTED, STEP_FINISHED) and isinstance(data, str):
            starts = name == STEP_STARTED
            if starts == (data in self._steps):  # begun twice, or ended without a beginning
                return []
            if starts:
                self._steps[data] = None
            else:
                del self._steps[data]
            return [_frame(name, {"stepName": data})]
        return [_frame("CUSTOM", {"name": name, "value": data})]

    def _counts(self) -> dict[str, object]:
        """The usage as a field: unknown is not zero, so what is unknown is left out."""
        usage = self._usage
        if usage is None:
            return {}
        counts = known(
            inputTokens=_count(usage.input_tokens),
            outputTokens=_count(usage.output_tokens),
            reasoningTokens=_count(usage.reasoning_tokens),
            cachedInputTokens=_count(usage.cache_read_tokens),
            cacheWriteInputTokens=_count(usage.cache_write_tokens),
        )
        if counts and self._model:
            counts["model"] = self._model
        return {"usage": [counts]} if counts else {}


class _Thought:
    """The reasoning message that is open."""

    __slots__ = ("head", "id", "index", "proof")

    def __init__(self, id: str, index: int) -> None:
        self.id = id
        self.index = index
        self.head = _head("REASONING_MESSAGE_CONTENT", "messageId", id)
        self.proof: str | None = None


class _Call:
    """How many characters of a call's arguments went out, and what became of it."""

    __slots__ = ("answered", "cut", "ended", "head", "sent", "server")

    def __init__(self, head: bytes, server: bool) -> None:
        self.head = head
        self.server = server
        self.sent = 0
        self.ended = False
        self.answered = False
        self.cut = False  # Inside its arguments: it is nobody's to run.


def _count(tokens: int | None) -> int | None:
    """A number of tokens; the client fails over one below zero, which is none."""
    return tokens if tokens is not None and tokens >= 0 else None


def _frame(type: str, fields: object) -> OutFrame:
    body = dump(fields)
    data = b'{"type":"%b",%b' % (type.encode(), body[1:])
    if len(data) > MAX_FRAME_BYTES:
        raise LocalProtocolError(f"a {type} event of {len(data)} bytes: an AG-UI client reads no frame beyond {MAX_FRAME_BYTES}")
    return OutFrame(data)


def _head(type: str, field: str, id: str) -> bytes:
    """A delta's frame up to the text."""
    return b'{"type":"%b","%b":%b,"delta":' % (type.encode(), field.encode(), escape(id))


def _pieces(head: bytes, text: str) -> list[OutFrame]:
    """A delta, in several frames if it is very long, in none if it is empty."""
    return [OutFrame(head + escape(text[at : at + _PIECE_CHARS]) + b"}") for at in range(0, len(text), _PIECE_CHARS)]


def _end_call(id: str, call: _Call) -> list[OutFrame]:
    if call.ended:
        return []
    call.ended = True
    return [_frame("TOOL_CALL_END", {"toolCallId": id})]


def _proof(subtype: str, id: str, value: str) -> OutFrame:
    return _frame("REASONING_ENCRYPTED_VALUE", {"subtype": subtype, "entityId": id, "encryptedValue": value})


def _extra(event: Citation | File | DataDelta | Gap) -> list[OutFrame]:
    """What AG-UI has no event for, as an application's own."""
    value: Mapping[str, object]
    match event:
        case Citation():
            name, value = "citation", known(url=event.url, title=event.title, quote=event.quote)
        case File():
            data = None if event.data is None else b64encode(event.data).decode()
            name, value = "file", known(mediaType=event.media_type, url=event.url, data=data, name=event.name)
        case DataDelta():
            name, value = "data", {"mediaType": event.media_type, "index": event.index, "data": b64encode(event.data).decode()}
        case Gap():
            name, value = "gap", {"count": event.count}
    return [_frame("CUSTOM", {"name": name, "value": value})]


def _told(outcome: Outcome) -> dict[str, object]:
    """What a client may go by besides the message and the code."""
    told = known(retryable=outcome.retryable, retryAfter=outcome.retry_after, correlationId=outcome.correlation_id)
    return {"metadata": told}
