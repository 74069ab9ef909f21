"""What a client makes of a UI message stream, by its rules: each chunk is known, with known fields, where it may stand.

The rules are those that AI SDK and assistant-ui clients hold a stream to (some releases forgive one or the other), and those of
the protocol's page. `UIMessage` breaks on the first chunk that breaks one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

__all__ = ["UIMessage"]

# Required fields, then optional ones. Each of them every release knows.
_SHAPES: dict[str, tuple[set[str], set[str]]] = {
    "start": (set(), {"messageId", "messageMetadata"}),
    "start-step": (set(), set()),
    "finish-step": (set(), set()),
    "text-start": ({"id"}, {"providerMetadata"}),
    "text-delta": ({"id", "delta"}, {"providerMetadata"}),
    "text-end": ({"id"}, {"providerMetadata"}),
    "reasoning-start": ({"id"}, {"providerMetadata"}),
    "reasoning-delta": ({"id", "delta"}, {"providerMetadata"}),
    "reasoning-end": ({"id"}, {"providerMetadata"}),
    "tool-input-start": ({"toolCallId", "toolName"}, {"providerExecuted"}),
    "tool-input-delta": ({"toolCallId", "inputTextDelta"}, set()),
    "tool-input-available": ({"toolCallId", "toolName", "input"}, {"providerExecuted", "providerMetadata"}),
    "tool-input-error": ({"toolCallId", "toolName", "input", "errorText"}, {"providerExecuted", "providerMetadata"}),
    "tool-output-available": ({"toolCallId", "output"}, set()),
    "tool-output-error": ({"toolCallId", "errorText"}, set()),
    "source-url": ({"sourceId", "url"}, {"title", "providerMetadata"}),
    "source-document": ({"sourceId", "mediaType", "title"}, {"providerMetadata"}),
    "file": ({"url", "mediaType"}, {"providerMetadata"}),
    "message-metadata": ({"messageMetadata"}, set()),
    "finish": (set(), {"finishReason"}),
    "abort": (set(), set()),
    "error": ({"errorText"}, set()),
}
_REASONS = {"stop", "length", "content-filter", "tool-calls", "other"}
_FREE = {"data", "input", "output"}  # any JSON value, null among them


class UIMessage:
    """The message that a stream's frames make.

    Attributes:
        parts: (kind, text) of text and reasoning in the order in which they began.
        inputs, outputs: Of tool calls, by id, the last step's last; an input that could not be told is (text, errorText).
        data: (name, data) of data parts.
        end: "finish", "abort" or "error"; `reason` and `error` say more.
    """

    def __init__(self, frames: Iterable[bytes]) -> None:
        self.id: str | None = None
        self.metadata: dict[str, Any] = {}
        self.parts: list[list[str]] = []
        self.typed: dict[str, str] = {}
        self.inputs: dict[str, Any] = {}
        self.outputs: dict[str, Any] = {}
        self.others: list[dict[str, Any]] = []
        self.data: list[tuple[str, Any]] = []
        self.steps = 0
        self.end = ""
        self.reason: str | None = None
        self.error: str | None = None
        self._open: dict[str, list[str]] = {}
        self._used: set[str] = set()
        self._calls: dict[str, str] = {}  # of the step: "open", "told"
        self._seen: set[str] = set()
        self._in_step = False
        self._begun = False
        *chunks, last = frames
        assert b"[DONE]" == last
        for line in chunks:
            assert b"\n" not in line and b"\r" not in line
            chunk = json.loads(line)
            _check_shape(chunk)
            assert not self.end, f"{chunk['type']} behind the end"
            self._take(chunk)
        assert self.end
        if self.end != "error":
            assert not self._in_step

    def text(self, kind: str = "text") -> str:
        return "".join(text for its_kind, text in self.parts if its_kind == kind)

    def _take(self, chunk: dict[str, Any]) -> None:
        kind: str = chunk["type"]
        if kind == "start":
            assert not self._begun
            self._begun = True
            self.id = chunk.get("messageId")
            self.metadata.update(chunk.get("messageMetadata", {}))
            return
        if kind == "error" or (kind == "data-error" and chunk["transient"]):
            if kind == "error":
                self.end, self.error = "error", chunk["errorText"]
            else:
                self.data.append(("error", chunk["data"]))
            return
        assert self._begun, f"{kind} before start"
        match kind.split("-"):
            case ["start", "step"]:
                assert not self._in_step
                self._in_step = True
                self.steps += 1
                self._calls.clear()
            case ["finish", "step"]:
                assert self._in_step and not self._open
                assert "open" not in self._calls.values()
                self._in_step = False
            case ["text" | "reasoning" as of, what]:
                self._take_text(of, what, chunk)
            case ["tool", what, state]:
                self._take_call(what, state, chunk)
            case ["message", "metadata"]:
                self.metadata.update(chunk["messageMetadata"])
            case ["finish" | "abort"]:
                assert not self._in_step
                self.end, self.reason = kind, chunk.get("finishReason")
                assert self.reason in _REASONS or kind == "abort"
            case ["data", *_]:
                self.data.append((kind[5:], chunk["data"]))
            case _:
                assert self._in_step
                self.others.append(chunk)

    def _take_text(self, of: str, what: str, chunk: dict[str, Any]) -> None:
        id = chunk["id"]
        assert self._in_step
        if what == "start":
            assert id not in self._used, "an id is opened twice"
            self._used.add(id)
            self._open[id] = [of, ""]
            self.parts.append(self._open[id])
            if "providerMetadata" in chunk:
                self.others.append(chunk)
            return
        part = self._open[id]
        assert of == part[0]
        if what == "end":
            del self._open[id]
        else:
            part[1] += chunk["delta"]
            if "providerMetadata" in chunk:
                self.others.append(chunk)

    def _take_call(self, what: str, state: str, chunk: dict[str, Any]) -> None:
        id = chunk["toolCallId"]
        known = self._calls.get(id)
        match what, state:
            case "input", "start":
                assert known is None and self._in_step
                self._calls[id] = "open"
                self.typed[id] = ""
            case "input", "delta":
                assert "open" == known
                self.typed[id] += chunk["inputTextDelta"]
            case "input", _:
                assert "told" != known and self._in_step
                self._calls[id] = "told"
                self.inputs[id] = chunk["input"] if state == "available" else (chunk["input"], chunk["errorText"])
                self.others.append(chunk)
            case _:
                assert "told" == known or id in self._seen
                self.outputs[id] = chunk.get("output", chunk.get("errorText"))
        self._seen.add(id)


def _check_shape(chunk: dict[str, Any]) -> None:
    kind = chunk["type"]
    required, optional = ({"data"}, {"transient"}) if kind.startswith("data-") else _SHAPES[kind]
    fields = chunk.keys() - {"type"}
    assert required <= fields <= required | optional, f"{kind} has {sorted(fields)}"
    assert None not in [chunk[name] for name in fields - _FREE]
