"""One answer, folded from its events.

`Message` is what a person means by "the answer so far": the text, the reasoning, the calls, what
it cost and how it ended. It is also what `error.partial` holds when a stream did not finish.
"""

from __future__ import annotations

from collections.abc import Iterable

from streamkit.events.model import (
    Citation,
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


class Message:
    """An answer that grows as events are added.

    Memory: the text of the answer, held once, plus one entry per call, citation and file. Events
    are not kept.

    >>> message = Message([TextDelta("Hel"), TextDelta("lo"), Finish("stop")])
    >>> message.text, message.finish.reason
    ('Hello', 'stop')
    """

    __slots__ = (
        "_calls",
        "_reasoning",
        "_text",
        "choice",
        "citations",
        "error",
        "files",
        "finish",
        "gaps",
        "start",
        "tool_results",
        "usage",
    )

    def __init__(self, events: Iterable[Event] = (), *, choice: int = 0) -> None:
        """Start from nothing, or from `events`; only those of `choice` count."""
        self.choice = choice
        self.start: Start | None = None
        self.usage: Usage | None = None
        self.finish: Finish | None = None
        self.error: ErrorEvent | None = None
        self.gaps = 0
        self.citations: list[Citation] = []
        self.files: list[File] = []
        self.tool_results: list[ToolResult] = []
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._calls: dict[str, _Call] = {}
        for event in events:
            self.add(event)

    @property
    def text(self) -> str:
        """All text of the answer so far, blocks in the order they came."""
        return _join(self._text)

    @property
    def reasoning(self) -> str:
        """All readable reasoning so far."""
        return _join(self._reasoning)

    @property
    def tool_calls(self) -> list[ToolCall]:
        """The calls in the order they began; one whose end has not been seen has `complete=False`."""
        return [call.value() for call in self._calls.values()]

    @property
    def id(self) -> str | None:
        """The provider's id of the answer."""
        return self.start.id if self.start else None

    @property
    def model(self) -> str | None:
        """The model that answered, as the provider names it."""
        return self.start.model if self.start else None

    @property
    def complete(self) -> bool:
        """Whether the answer reached its end: a finish was seen, and no error after it."""
        return self.finish is not None and self.error is None

    def add(self, event: Event) -> None:
        """Take one event in. Events that say nothing about the answer (Ping, Raw, Custom) change nothing."""
        kind = event.__class__
        if kind is TextDelta:
            if event.choice == self.choice:  # type: ignore[union-attr]  # `kind is` is 3x isinstance on this hot path
                self._text.append(event.text)  # type: ignore[union-attr]
            return
        if getattr(event, "choice", self.choice) == self.choice:
            self._add_other(event)

    def _add_other(self, event: Event) -> None:
        match event:
            case ReasoningDelta():
                if event.text:
                    self._reasoning.append(event.text)
            case ToolCallStart():
                self._calls[event.id] = _Call(event)
            case ToolCallDelta():
                if event.id in self._calls:
                    self._calls[event.id].parts.append(event.delta)
            case ToolCall():
                self._calls.setdefault(event.id, _Call(event)).done = event
            case ToolResult():
                self.tool_results.append(event)
            case Start():
                self.start = event
            case Usage():
                self.usage = event
            case Finish():
                self.finish = event
            case ErrorEvent():
                self.error = event
            case Citation():
                self.citations.append(event)
            case File():
                self.files.append(event)
            case Gap():
                self.gaps += event.count
            case DataDelta():
                return  # Binary parts grow without bound; whoever wants them reads the deltas.
            case _:
                return

    def __repr__(self) -> str:
        """A short picture for a debugger: sizes, not contents (an answer may be private)."""
        end = self.finish.reason if self.finish else (f"error {self.error.code}" if self.error else "open")
        return f"<Message {end}: {len(self.text)} chars, {len(self._calls)} tool calls>"


class _Call:
    """A tool call while its arguments arrive."""

    __slots__ = ("done", "parts", "start")

    def __init__(self, start: ToolCallStart | ToolCall) -> None:
        self.start = start
        self.parts: list[str] = []
        self.done: ToolCall | None = None

    def value(self) -> ToolCall:
        if self.done is not None:
            return self.done
        start = self.start
        return ToolCall(
            start.id, start.name, _join(self.parts), complete=False, index=start.index, choice=start.choice, server=start.server
        )


def _join(parts: list[str]) -> str:
    """The parts as one string, remembered in place so that asking again costs nothing."""
    if len(parts) > 1:
        parts[:] = ["".join(parts)]
    return parts[0] if parts else ""
