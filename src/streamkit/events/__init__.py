"""The event model: what a stream of model output is made of, whoever sent it.

`model` holds the classes, `message` folds events into one answer, `stats` measures a stream.
"""

from __future__ import annotations

from streamkit.events.message import Message as Message
from streamkit.events.model import (
    EVENT_TYPES as EVENT_TYPES,
    Citation as Citation,
    Custom as Custom,
    DataDelta as DataDelta,
    ErrorEvent as ErrorEvent,
    Event as Event,
    File as File,
    Finish as Finish,
    FinishReason as FinishReason,
    Gap as Gap,
    Ping as Ping,
    Raw as Raw,
    ReasoningDelta as ReasoningDelta,
    Start as Start,
    TextDelta as TextDelta,
    ToolCall as ToolCall,
    ToolCallDelta as ToolCallDelta,
    ToolCallStart as ToolCallStart,
    ToolResult as ToolResult,
    Usage as Usage,
    is_control as is_control,
    join_deltas as join_deltas,
)
from streamkit.events.stats import Stats as Stats
