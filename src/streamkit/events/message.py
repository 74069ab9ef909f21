"""One answer, folded from its events.

`Message` is what a person means by "the answer so far": the text, the reasoning, the calls, what
it cost and how it ended. It is also what `error.partial` holds when a stream did not finish.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

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
        "_blocks",
        "_calls",
        "_closed_chars",
        "_closed_text",
        "_text",
        "_thoughts",
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
        self._closed_text: list[str] = []
        self._closed_chars = 0
        self._thoughts: dict[int, _Thought] = {}
        self._calls: dict[str, _Call] = {}
        # What began besides text, and after how many characters of it: text itself must cost no more than an append.
        self._blocks: list[tuple[int, _Thought | _Call]] = []
        self.add_all(events)

    @property
    def text(self) -> str:
        """All text of the answer so far, blocks in the order they came."""
        if not self._closed_text:
            return _join(self._text)
        self._close_text()
        return _join(self._closed_text)

    @property
    def reasoning(self) -> str:
        """All readable reasoning so far."""
        return "".join([_join(thought.texts) for thought in self._thoughts.values()])

    @property
    def tool_calls(self) -> list[ToolCall]:
        """The calls in the order they began; one whose end has not been seen has `complete=False`."""
        return [call.value() for call in self._calls.values()]

    @property
    def parts(self) -> tuple[str | ReasoningDelta | ToolCall, ...]:
        """The answer as blocks in the order they began: texts, reasoning with its proofs, calls.

        What the next request sends back, so calls that the provider runs itself, citations and files are not among them.

        >>> Message([TextDelta("a"), ToolCall("1", "now"), TextDelta("b"), TextDelta("c")]).parts
        ('a', ToolCall(id='1', name='now', arguments='', complete=True, index=0, choice=0, server=False, signature=None), 'bc')
        """
        text = self.text
        out: list[str | ReasoningDelta | ToolCall] = []
        start = 0
        for end, block in self._blocks:
            value = block.value()
            if isinstance(value, ToolCall) and value.server:
                continue
            if end > start:
                out.append(text[start:end])
                start = end
            out.append(value)
        if text[start:]:
            out.append(text[start:])
        return tuple(out)

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

    def add_all(self, events: Iterable[Event]) -> None:
        """Take many events in, in their order."""
        choice, append = self.choice, self._text.append
        event: Any  # which type it has is asked by hand: `__class__ is` is 3x isinstance on this hot path
        for event in events:
            if event.__class__ is TextDelta:
                if event.choice == choice:
                    append(event.text)
            elif getattr(event, "choice", choice) == choice:
                self._add_other(event)

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
                thought = self._thoughts.get(event.index)
                if thought is None:
                    thought = self._thoughts[event.index] = _Thought(event)
                    self._begin(thought)
                thought.add(event)
            case ToolCallStart():
                self._begin_call(event)
            case ToolCallDelta():
                if event.id in self._calls:
                    self._calls[event.id].parts.append(event.delta)
            case ToolCall():
                if event.id not in self._calls:
                    self._begin_call(event)
                self._calls[event.id].done = event
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

    def _begin_call(self, event: ToolCallStart | ToolCall) -> None:
        call = self._calls.get(event.id)
        if call is not None:  # told twice: the later one counts, in the place of the first
            call.begin(event)
            return
        call = self._calls[event.id] = _Call(event)
        self._begin(call)

    def _begin(self, block: _Thought | _Call) -> None:
        self._close_text()
        self._blocks.append((self._closed_chars, block))

    def _close_text(self) -> None:
        """Move the text so far behind a known length; each piece is moved once."""
        self._closed_chars += sum(map(len, self._text))
        self._closed_text += self._text
        self._text.clear()

    def __repr__(self) -> str:
        """A short picture for a debugger: sizes, not contents (an answer may be private)."""
        end = self.finish.reason if self.finish else (f"error {self.error.code}" if self.error else "open")
        return f"<Message {end}: {len(self.text)} chars, {len(self._calls)} tool calls>"


class _Thought:
    """A block of reasoning while it arrives."""

    __slots__ = ("redacted", "signature", "start", "texts")

    def __init__(self, start: ReasoningDelta) -> None:
        self.start = start
        self.texts: list[str] = []
        self.signature: str | None = None
        self.redacted: str | None = None

    def add(self, event: ReasoningDelta) -> None:
        if event.text:
            self.texts.append(event.text)
        # One proof for the whole block, which comes when it ends.
        self.signature = event.signature or self.signature
        self.redacted = event.redacted or self.redacted

    def value(self) -> ReasoningDelta:
        start = self.start
        return ReasoningDelta(_join(self.texts), start.index, start.choice, self.signature, self.redacted)


class _Call:
    """A tool call while its arguments arrive."""

    __slots__ = ("done", "parts", "start")

    def __init__(self, start: ToolCallStart | ToolCall) -> None:
        self.begin(start)

    def begin(self, start: ToolCallStart | ToolCall) -> None:
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
