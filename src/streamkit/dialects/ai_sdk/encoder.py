"""The UI message stream, version 1, written: events in, frames out, as AI SDK clients read them.

    Start                               start, with messageId (see below) and the model; behind a Finish, or when something was said
                                        already, a new step
    TextDelta, ReasoningDelta           a part for each index: -start, -delta, -end; proofs of reasoning in providerMetadata
    ToolCallStart, -Delta, ToolCall,    tool-input-start, -delta, -available (or -error), tool-output-available, -error:
    ToolResult                          see `streamkit.dialects.ai_sdk.calls`
    Citation                            source-url; source-document without an address
    File, DataDelta                     file, by address or as a data: URL; data-bytes, transient
    Custom(name, data), Gap             data-<name>, data-gap
    Finish, Usage                       held: message-metadata with usage and finishReason before the end
    close                               parts are ended, finish-step, message-metadata, finish, [DONE]; stopped on request abort in
                                        place of finish; failed data-error (transient: code, correlation id), error, [DONE]

Order. `start` is first, a step is open around what a model says, every part that began has its end before `finish-step`, and no id
is used for two parts. Parts of one kind may be open side by side, by index; text ends reasoning and reasoning ends text, so that
they are shown in the order in which they came, and a tool call ends both. A failed answer is left as it is: what was cut is not
done, and clients stop reading at `error`. Behind it [DONE] says only that no more is to come.

The message's id is that of a `Start` without a provider: the application's own word (`answer_id` finds it). A provider's id names
a request, of which one message may have several, and what sinks give as `id` names a stream, which may be a whole chat's: clients
would show a message twice, or write over another. They draw one of their own where none comes.

A message has one answer, so that events of other choices are left out. There are no words for Ping and Raw.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from streamkit.dialects.ai_sdk.calls import Calls
from streamkit.dialects.ai_sdk.chunks import (
    chunk,
    data_part,
    failure,
    file,
    growing_data,
    metadata_of,
    source,
    sum_of,
    usage_counts,
)
from streamkit.dialects.json_line import escape
from streamkit.dialects.outcomes import Outcome, outcome_of_event, stopped
from streamkit.dialects.protocol import OutFrame
from streamkit.events import (
    Citation,
    Custom,
    DataDelta,
    ErrorEvent,
    Event,
    File,
    Finish,
    FinishReason,
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

__all__ = ["AISDKEncoder"]

_REASONS: Final[Mapping[FinishReason, str]] = MappingProxyType(
    {"stop": "stop", "length": "length", "tool-calls": "tool-calls", "content-filter": "content-filter", "other": "other"}
)

_START_STEP: Final = OutFrame(b'{"type":"start-step"}')
_FINISH_STEP: Final = OutFrame(b'{"type":"finish-step"}')
_ABORT: Final = OutFrame(b'{"type":"abort"}')
_END: Final = OutFrame(b"[DONE]")


class AISDKEncoder:
    """Writes one message. See `Encoder` in `streamkit.dialects.protocol` for the contract.

    Args:
        id: Not used: see the top of this file.
        model: The answer's model, where no `Start` brings it.
        created: Not used: there is no place for it.

    Memory: a few words per part that is open, the arguments of the calls that are not complete, and the id of each call.

    >>> encoder = AISDKEncoder()
    >>> [frame.data for frame in encoder.encode(TextDelta("Hi"))][2:]
    [b'{"type":"text-start","id":"text-1"}', b'{"type":"text-delta","id":"text-1","delta":"Hi"}']
    """

    __slots__ = (
        "_begun",
        "_calls",
        "_closed",
        "_finish",
        "_model",
        "_parts",
        "_reasonings",
        "_said",
        "_sources",
        "_step",
        "_step_usage",
        "_text_head",
        "_text_index",
        "_texts",
        "_usage",
    )

    def __init__(self, *, id: str | None = None, model: str | None = None, created: int = 0) -> None:
        self._model = model
        self._begun = False
        self._closed = False
        # A step is open, and something was said in it.
        self._step = False
        self._said = False
        self._finish: Finish | None = None  # of the step
        self._step_usage: Usage | None = None
        self._usage: Usage | None = None  # of the steps before
        self._parts = 0
        self._sources = 0
        self._texts: dict[int, bytes] = {}  # their ids
        self._reasonings: dict[int, _Reasoning] = {}
        self._calls = Calls()
        # The text that was written last: all of its chunks but the text.
        self._text_index: int | None = None
        self._text_head = b""

    def open(self) -> list[OutFrame]:
        """Nothing: the first chunk needs to know what `Start` says."""
        return []

    def encode(self, event: Event) -> list[OutFrame]:
        """The chunks of one event."""
        # The hot path: more of the text that was written last. No index is None, which is what it is where there is no such text.
        if isinstance(event, TextDelta) and event.index == self._text_index and event.choice == 0:
            return [OutFrame(self._text_head + escape(event.text) + b"}")] if event.text else []
        if self._closed or getattr(event, "choice", 0) != 0:
            return []
        return self._encode(event)

    def _encode(self, event: Event) -> list[OutFrame]:
        match event:
            case Start():
                return self._start(event)
            case TextDelta():
                return self._text(event) if event.text else []
            case ReasoningDelta():
                return self._reasoning(event)
            case ToolCallStart() | ToolCallDelta() | ToolCall():
                return self._call(event)
            case ToolResult():
                return [*self._begin(), *self._calls.answer(event)]
            case Citation():
                self._sources += 1
                return self._said_once(source(event, self._sources))
            case File():
                return self._said_once(file(event))
            case DataDelta():
                return self._said_once(growing_data(event) if event.data else None)
            case Custom():
                part = data_part(event.name, event.data)
                return [*self._begin(), part]
            case Gap():
                return [*self._begin(), data_part("gap", {"count": event.count})]
            case Usage():
                self._step_usage = event
            case Finish():
                self._finish = event
                return self._end_parts()
            case ErrorEvent():
                return self.close(outcome_of_event(event))
            case _:
                pass
        return []

    def close(self, outcome: Outcome) -> list[OutFrame]:
        """The end of what is open, and of the message; or the error."""
        if self._closed:
            return []
        cut = stopped(outcome, self._finish)
        frames: list[OutFrame]
        if outcome.failed:
            frames = [*self._metadata(None), *failure(outcome)]
        else:
            reason = "cancelled" if cut else self._reason()
            frames = [*self._begin(), *self._end_step(cut=cut), *self._metadata(reason)]
            frames.append(_ABORT if cut else chunk("finish", finishReason=reason))
        self._closed = True
        self._text_index = None
        return [*frames, _END]

    # ---- the message and its steps ----------------------------------------------------------

    def _begin(self, id: str | None = None) -> list[OutFrame]:
        """The chunk that begins the message; nothing if it has begun."""
        if self._begun:
            return []
        self._begun = True
        return [chunk("start", messageId=id or None, messageMetadata={"model": self._model} if self._model else None)]

    def _start(self, event: Start) -> list[OutFrame]:
        known = self._model
        self._model = event.model or known
        frames: list[OutFrame] = []
        if not self._begun:
            frames = self._begin(event.id if event.provider is None else None)
        elif self._model != known:
            frames = [chunk("message-metadata", messageMetadata={"model": self._model})]
        if self._step and (self._said or self._finish is not None):
            frames += self._end_step()
        return frames + self._begin_step()

    def _begin_step(self) -> list[OutFrame]:
        if self._step:
            return []
        self._step = True
        return [_START_STEP]

    def _end_step(self, *, cut: bool = False) -> list[OutFrame]:
        frames = [*self._end_parts(), *self._calls.end(cut=cut)]
        if self._step:
            frames.append(_FINISH_STEP)
        self._step = self._said = False
        self._finish = None
        self._usage = sum_of(self._usage, self._step_usage)
        self._step_usage = None
        return frames

    def _enter(self) -> list[OutFrame]:
        """What goes before something that a model says: it is said in a step, and behind a Finish in a new one."""
        frames = self._begin()
        if self._finish is not None:
            frames += self._end_step()
        frames += self._begin_step()
        self._said = True
        return frames

    def _said_once(self, frame: OutFrame | None) -> list[OutFrame]:
        return [] if frame is None else [*self._enter(), frame]

    def _call(self, event: ToolCallStart | ToolCallDelta | ToolCall) -> list[OutFrame]:
        # What is late for a call that is open belongs to its step, also behind a Finish.
        frames = [] if self._calls.is_open(event.id) else self._enter()
        match event:
            case ToolCallStart():
                return [*frames, *self._end_parts(), *self._calls.start(event)]
            case ToolCallDelta():
                return [*frames, *self._calls.extend(event)]
            case ToolCall():
                return [*frames, *self._end_parts(), *self._calls.complete(event)]

    def _reason(self) -> str:
        if self._finish is not None:
            return _REASONS.get(self._finish.reason, "other")
        # Without one it is a plain end, such as a generator of one's own has.
        return "tool-calls" if self._calls.unanswered else "stop"

    def _metadata(self, reason: str | None) -> list[OutFrame]:
        told: dict[str, object] = {}
        usage = sum_of(self._usage, self._step_usage)
        if usage is not None and (counts := usage_counts(usage)):
            told["usage"] = counts
        if reason is not None:
            told["finishReason"] = reason
        return [*self._begin(), chunk("message-metadata", messageMetadata=told)] if told else []

    # ---- text and reasoning -----------------------------------------------------------------

    def _text(self, event: TextDelta) -> list[OutFrame]:
        frames = [*self._enter(), *self._end_reasonings()]
        id = self._texts.get(event.index)
        if id is None:
            id = self._texts[event.index] = self._new_id(b"text")
            frames.append(OutFrame(b'{"type":"text-start","id":"%b"}' % id))
        self._text_index = event.index
        self._text_head = b'{"type":"text-delta","id":"%b","delta":' % id
        frames.append(OutFrame(self._text_head + escape(event.text) + b"}"))
        return frames

    def _reasoning(self, event: ReasoningDelta) -> list[OutFrame]:
        proves = event.signature is not None or event.redacted is not None
        if not event.text and not proves:
            return []
        frames = self._enter()
        part = self._reasonings.get(event.index)
        if part is None:
            part = _Reasoning(self._new_id(b"reasoning"))
            if not event.text:  # a proof alone: it is no block that others wait for
                proof = chunk("reasoning-start", id=part.id.decode(), providerMetadata=part.proofs(event))
                return [*frames, proof, part.end()]
            frames += self._end_texts()
            self._reasonings[event.index] = part
            frames.append(OutFrame(b'{"type":"reasoning-start","id":"%b"}' % part.id))
        if proves:
            frames.append(chunk("reasoning-delta", id=part.id.decode(), delta=event.text, providerMetadata=part.proofs(event)))
        else:
            frames.append(OutFrame(b'{"type":"reasoning-delta","id":"%b","delta":%b}' % (part.id, escape(event.text))))
        return frames

    def _new_id(self, kind: bytes) -> bytes:
        self._parts += 1
        return b"%b-%d" % (kind, self._parts)

    def _end_parts(self) -> list[OutFrame]:
        return [*self._end_reasonings(), *self._end_texts()]

    def _end_texts(self) -> list[OutFrame]:
        frames = [OutFrame(b'{"type":"text-end","id":"%b"}' % id) for id in self._texts.values()]
        self._texts.clear()
        self._text_index = None
        return frames

    def _end_reasonings(self) -> list[OutFrame]:
        frames = [part.end() for part in self._reasonings.values()]
        self._reasonings.clear()
        return frames


class _Reasoning:
    """A part that is open, and what was said of it that clients replace when there is more."""

    __slots__ = ("_redacted", "_signature", "id")

    def __init__(self, id: bytes) -> None:
        self.id = id
        self._signature: str | None = None
        self._redacted: str | None = None

    def proofs(self, event: ReasoningDelta) -> dict[str, object] | None:
        self._signature = event.signature or self._signature
        self._redacted = event.redacted or self._redacted
        return metadata_of(signature=self._signature, redacted=self._redacted)

    def end(self) -> OutFrame:
        return OutFrame(b'{"type":"reasoning-end","id":"%b"}' % self.id)
