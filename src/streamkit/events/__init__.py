"""The event model: what a stream of model output is made of, whoever sent it.

`model` holds the classes, `message` folds events into one answer, `stats` measures a stream.
"""

from __future__ import annotations

from streamkit.events.message import Message as Message
from streamkit.events.model import (
    EVENT_TYPES as EVENT_TYPES,
)
from streamkit.events.model import (
    Citation as Citation,
)
from streamkit.events.model import (
    Custom as Custom,
)
from streamkit.events.model import (
    DataDelta as DataDelta,
)
from streamkit.events.model import (
    ErrorEvent as ErrorEvent,
)
from streamkit.events.model import (
    Event as Event,
)
from streamkit.events.model import (
    File as File,
)
from streamkit.events.model import (
    Finish as Finish,
)
from streamkit.events.model import (
    FinishReason as FinishReason,
)
from streamkit.events.model import (
    Gap as Gap,
)
from streamkit.events.model import (
    Ping as Ping,
)
from streamkit.events.model import (
    Raw as Raw,
)
from streamkit.events.model import (
    ReasoningDelta as ReasoningDelta,
)
from streamkit.events.model import (
    Start as Start,
)
from streamkit.events.model import (
    TextDelta as TextDelta,
)
from streamkit.events.model import (
    ToolCall as ToolCall,
)
from streamkit.events.model import (
    ToolCallDelta as ToolCallDelta,
)
from streamkit.events.model import (
    ToolCallStart as ToolCallStart,
)
from streamkit.events.model import (
    ToolResult as ToolResult,
)
from streamkit.events.model import (
    Usage as Usage,
)
from streamkit.events.model import (
    is_control as is_control,
)
from streamkit.events.model import (
    join_deltas as join_deltas,
)
from streamkit.events.stats import Stats as Stats
from streamkit.events.stats import Totals as Totals
