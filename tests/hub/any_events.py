"""Events of every type, drawn so that neighbours often join, and a count of what Python does."""

from __future__ import annotations

from counted_steps import steps as steps
from hypothesis import strategies as st

from streamkit.events import (
    Citation,
    Custom,
    DataDelta,
    ErrorEvent,
    Event,
    File,
    Finish,
    Gap,
    Ping,
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

_texts = st.text(st.sampled_from("ab é漢😀\n"), max_size=4)
_some_text = st.none() | _texts
_numbers = st.integers(0, 1)
_ids = st.sampled_from(["call_1", "call_2"])
_tokens = st.none() | st.integers(0, 1 << 40)
_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.floats(allow_nan=False) | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=6,
)

one_of_each: dict[str, st.SearchStrategy[Event]] = {
    "start": st.builds(Start, _some_text, _some_text, _some_text),
    "text-delta": st.builds(TextDelta, _texts, _numbers, _numbers),
    "reasoning-delta": st.builds(ReasoningDelta, _texts, _numbers, _numbers),
    "reasoning-delta with a proof": st.builds(ReasoningDelta, _texts, _numbers, _numbers, _some_text, _some_text),
    "data-delta": st.builds(DataDelta, st.binary(max_size=4), st.sampled_from(["audio/pcm", "image/png"]), _numbers, _numbers),
    "tool-call-start": st.builds(ToolCallStart, _ids, _texts, _numbers, _numbers, st.booleans()),
    "tool-call-delta": st.builds(ToolCallDelta, _ids, _texts, _numbers, _numbers),
    "tool-call": st.builds(ToolCall, _ids, _texts, _texts, st.booleans(), _numbers, _numbers, st.booleans(), _some_text),
    "tool-result": st.builds(ToolResult, _ids, _values, st.booleans()),
    "citation": st.builds(Citation, _some_text, _some_text, _some_text, _numbers, _numbers),
    "file": st.builds(
        File, st.just("image/png"), st.none() | st.binary(max_size=4), _some_text, _numbers, _numbers, name=_some_text
    ),
    "usage": st.builds(Usage, _tokens, _tokens, _tokens, _tokens, _tokens, st.booleans(), st.booleans()),
    "finish": st.builds(Finish, st.sampled_from(["stop", "length", "cancelled"]), _some_text, _numbers),
    "error": st.builds(ErrorEvent, _texts, _texts, st.booleans(), st.none() | st.floats(0, 1e6)),
    "gap": st.builds(Gap, st.integers(1, 5)),
    "custom": st.builds(Custom, _texts, _values),
    "ping": st.just(Ping()),
    "raw": st.builds(Raw, _values),
}

any_event: st.SearchStrategy[Event] = st.one_of(*one_of_each.values())

# Three of four are deltas of few channels, as in life.
_deltas = st.one_of(*[one_of_each[name] for name in ("text-delta", "reasoning-delta", "tool-call-delta", "data-delta")])
some_events: st.SearchStrategy[list[Event]] = st.lists(
    st.one_of(st.builds(TextDelta, _texts), one_of_each["text-delta"], _deltas, any_event), max_size=30
)
