"""What becomes of tool calls in the UI message stream.

    nothing ──ToolCallStart──> open ──ToolCallDelta──> open ──ToolCall, or the step's end──> told ──ToolResult──> told
       └──────────────────────────────ToolCall─────────────────────────────────────────────────┘

`tool-input-start` opens a call, `tool-input-available` or `tool-input-error` tells its input once, `tool-output-...` what came of
it, as often as there is something new. A client fails on a delta or an output for a call that it has not seen: deltas that come
before their call's name wait for it, and the result of a call that this stream never had is a part `data-tool-result`.
"""

from __future__ import annotations

from streamkit.dialects.ai_sdk.chunks import chunk, data_part, is_refused, metadata_of, output
from streamkit.dialects.json_line import dump, escape, known, without_surrogates
from streamkit.dialects.protocol import OutFrame
from streamkit.errors import LocalProtocolError, RemoteProtocolError
from streamkit.events import ToolCall, ToolCallDelta, ToolCallStart, ToolResult

__all__ = ["Calls"]

_NAMELESS = "unknown"


class Calls:
    """The calls of one stream.

    Memory: the arguments of the calls whose input is not told, and the id of each call.
    """

    __slots__ = ("_of_step", "_told_before")

    def __init__(self) -> None:
        self._of_step: dict[str, _Call] = {}
        self._told_before: set[str] = set()

    @property
    def unanswered(self) -> bool:
        """Whether a call of this step has no result yet that is not the provider's own affair."""
        return any(not call.answered and not call.server for call in self._of_step.values())

    def is_open(self, id: str) -> bool:
        """Whether more is expected of this call's input."""
        call = self._of_step.get(id)
        return call is not None and not call.told

    def start(self, event: ToolCallStart) -> list[OutFrame]:
        """The call's name is known."""
        call = self._of_step.setdefault(event.id, _Call())
        if call.told or call.name is not None:
            return []
        call.name, call.server = event.name, event.server
        frames = [chunk("tool-input-start", toolCallId=event.id, toolName=event.name, providerExecuted=event.server or None)]
        if call.parts:
            frames.append(_delta(event.id, "".join(call.parts)))
        return frames

    def extend(self, event: ToolCallDelta) -> list[OutFrame]:
        """More of its arguments."""
        call = self._of_step.setdefault(event.id, _Call())
        if call.told or not event.delta:
            return []
        call.parts.append(event.delta)
        return [] if call.name is None else [_delta(event.id, event.delta)]

    def complete(self, event: ToolCall) -> list[OutFrame]:
        """All of it."""
        call = self._of_step.setdefault(event.id, _Call())
        if call.told:
            return []
        call.name, call.server = event.name, event.server or call.server
        return [_input(event, call)]

    def answer(self, event: ToolResult) -> list[OutFrame]:
        """What came of it."""
        call = self._of_step.get(event.id)
        if call is not None:
            call.answered = True
            return [*self._tell(event.id, call, cut=False), output(event)]
        if event.id in self._told_before:
            return [output(event)]
        told: dict[str, object] = {"toolCallId": event.id, "output": event.output}
        if event.is_error:
            told["isError"] = True
        return [data_part("tool-result", told)]

    def end(self, *, cut: bool) -> list[OutFrame]:
        """The step is over: what is open is told as it is, as an error if it was cut off."""
        frames: list[OutFrame] = []
        for id, call in self._of_step.items():
            frames += self._tell(id, call, cut=cut)
        self._told_before.update(self._of_step)
        self._of_step.clear()
        return frames

    def _tell(self, id: str, call: _Call, *, cut: bool) -> list[OutFrame]:
        if call.told:
            return []
        name = _NAMELESS if call.name is None else call.name
        return [_input(ToolCall(id, name, "".join(call.parts), complete=not cut and call.name is not None), call)]


class _Call:
    """`parts` are the arguments so far."""

    __slots__ = ("answered", "name", "parts", "server", "told")

    def __init__(self) -> None:
        self.name: str | None = None
        self.server = False
        self.parts: list[str] = []
        self.told = False
        self.answered = False


def _delta(id: str, text: str) -> OutFrame:
    return OutFrame(b'{"type":"tool-input-delta","toolCallId":%b,"inputTextDelta":%b}' % (escape(id), escape(text)))


def _input(event: ToolCall, call: _Call) -> OutFrame:
    """The input of a call as a value, or as the text that it is with what is wrong with it."""
    call.told = True
    call.parts = []
    proof = metadata_of(signature=event.signature)
    common = {"toolCallId": event.id, "toolName": event.name, "providerExecuted": call.server or None, "providerMetadata": proof}
    wrong = "were cut off"
    if event.complete:
        try:
            value = ToolCall(event.id, event.name, without_surrogates(event.arguments)).input()
            told = dump({"type": "tool-input-available", **known(**common), "input": value})
            if not is_refused(told):
                return OutFrame(told)
            wrong = "hold a name that clients refuse"
        except (RemoteProtocolError, LocalProtocolError):
            wrong = "are not JSON"
    return chunk("tool-input-error", **common, input=event.arguments, errorText=f"The arguments of this call {wrong}.")
