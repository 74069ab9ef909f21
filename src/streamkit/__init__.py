"""streamkit: any stream of model output, complete or saying why not.

    import streamkit as sk

    async with sk.stream(source).map(str.strip) | sk.sentences() | sk.buffer(64) as items:
        async for item in items: ...

Everything here is documented where it is defined; `ARCHITECTURE.md` says which file that is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamkit.clients.anthropic import from_anthropic as from_anthropic
    from streamkit.clients.callables import from_callable as from_callable
    from streamkit.clients.decoding import decode as decode
    from streamkit.clients.event_source import sse as sse
    from streamkit.clients.http_responses import from_http as from_http
    from streamkit.clients.models import Model as Model
    from streamkit.clients.models import model as model
    from streamkit.clients.openai import from_openai as from_openai
    from streamkit.clients.recordings import body as body
    from streamkit.clients.recordings import record as record
    from streamkit.clients.recordings import replay as replay
    from streamkit.clients.request import Request as Request
    from streamkit.clients.request import Turn as Turn
    from streamkit.errors import (
        AuthError as AuthError,
    )
    from streamkit.errors import (
        BadRequestError as BadRequestError,
    )
    from streamkit.errors import (
        BufferFull as BufferFull,
    )
    from streamkit.errors import (
        ConfigError as ConfigError,
    )
    from streamkit.errors import (
        ContentBlockedError as ContentBlockedError,
    )
    from streamkit.errors import (
        LocalProtocolError as LocalProtocolError,
    )
    from streamkit.errors import (
        MissingExtra as MissingExtra,
    )
    from streamkit.errors import (
        OverloadedError as OverloadedError,
    )
    from streamkit.errors import (
        ProtocolError as ProtocolError,
    )
    from streamkit.errors import (
        RateLimitError as RateLimitError,
    )
    from streamkit.errors import (
        RemoteProtocolError as RemoteProtocolError,
    )
    from streamkit.errors import (
        SinkClosed as SinkClosed,
    )
    from streamkit.errors import (
        SourceError as SourceError,
    )
    from streamkit.errors import (
        StreamBusy as StreamBusy,
    )
    from streamkit.errors import (
        StreamConsumed as StreamConsumed,
    )
    from streamkit.errors import (
        StreamDraining as StreamDraining,
    )
    from streamkit.errors import (
        StreamInterrupted as StreamInterrupted,
    )
    from streamkit.errors import (
        StreamkitError as StreamkitError,
    )
    from streamkit.errors import (
        StreamTimeout as StreamTimeout,
    )
    from streamkit.errors import (
        StreamTruncated as StreamTruncated,
    )
    from streamkit.errors import (
        ToolError as ToolError,
    )
    from streamkit.events import (
        Citation as Citation,
    )
    from streamkit.events import (
        Custom as Custom,
    )
    from streamkit.events import (
        DataDelta as DataDelta,
    )
    from streamkit.events import (
        ErrorEvent as ErrorEvent,
    )
    from streamkit.events import (
        Event as Event,
    )
    from streamkit.events import (
        File as File,
    )
    from streamkit.events import (
        Finish as Finish,
    )
    from streamkit.events import (
        Gap as Gap,
    )
    from streamkit.events import (
        Message as Message,
    )
    from streamkit.events import (
        Ping as Ping,
    )
    from streamkit.events import (
        Raw as Raw,
    )
    from streamkit.events import (
        ReasoningDelta as ReasoningDelta,
    )
    from streamkit.events import (
        Start as Start,
    )
    from streamkit.events import (
        Stats as Stats,
    )
    from streamkit.events import (
        TextDelta as TextDelta,
    )
    from streamkit.events import (
        ToolCall as ToolCall,
    )
    from streamkit.events import (
        ToolCallDelta as ToolCallDelta,
    )
    from streamkit.events import (
        ToolCallStart as ToolCallStart,
    )
    from streamkit.events import (
        ToolResult as ToolResult,
    )
    from streamkit.events import Totals as Totals
    from streamkit.events import (
        Usage as Usage,
    )
    from streamkit.events.tool import Tool as Tool
    from streamkit.flow.plan import Op as Op
    from streamkit.flow.plan import Same as Same
    from streamkit.flow.runs import Run as Run
    from streamkit.flow.sending import SendChannel as SendChannel
    from streamkit.flow.sending import channel as channel
    from streamkit.flow.streams import Sink as Sink
    from streamkit.flow.streams import Stream as Stream
    from streamkit.flow.streams import stream as stream
    from streamkit.operators.buffering import batch as batch
    from streamkit.operators.buffering import buffer as buffer
    from streamkit.operators.buffering import coalesce as coalesce
    from streamkit.operators.combining import merge as merge
    from streamkit.operators.measuring import measure as measure
    from streamkit.operators.measuring import progress as progress
    from streamkit.operators.selection import limit_bytes as limit_bytes
    from streamkit.operators.selection import skip as skip
    from streamkit.operators.selection import take as take
    from streamkit.operators.selection import take_while as take_while
    from streamkit.operators.text import lines as lines
    from streamkit.operators.text import on_text as on_text
    from streamkit.operators.text import printable as printable
    from streamkit.operators.text import sentences as sentences
    from streamkit.operators.text import stop as stop
    from streamkit.operators.timing import timeout as timeout
    from streamkit.operators.tool_calls import partial_json as partial_json
    from streamkit.operators.tool_calls import run_tools as run_tools
    from streamkit.operators.transform import (
        filter as filter,
    )
    from streamkit.operators.transform import (
        flat_map as flat_map,
    )
    from streamkit.operators.transform import (
        map as map,
    )
    from streamkit.operators.transform import (
        operator as operator,
    )
    from streamkit.operators.transform import (
        scan as scan,
    )
    from streamkit.operators.transform import (
        stage as stage,
    )
    from streamkit.operators.transform import (
        tap as tap,
    )
    from streamkit.stages.partial_json import PartialValue as PartialValue
    from streamkit.stages.stage import Stage as Stage
    from streamkit.stages.stage import TimedStage as TimedStage

# Where each name lives. A module is loaded when its first name is asked for, so that `import streamkit`
# costs next to nothing; a test holds this table against the imports above.
_HOMES = {
    "streamkit.clients.anthropic": "from_anthropic",
    "streamkit.clients.callables": "from_callable",
    "streamkit.clients.decoding": "decode",
    "streamkit.clients.event_source": "sse",
    "streamkit.clients.http_responses": "from_http",
    "streamkit.clients.models": "Model model",
    "streamkit.clients.openai": "from_openai",
    "streamkit.clients.recordings": "body record replay",
    "streamkit.clients.request": "Request Turn",
    "streamkit.errors": (
        "AuthError BadRequestError BufferFull ConfigError ContentBlockedError LocalProtocolError MissingExtra "
        "OverloadedError ProtocolError RateLimitError RemoteProtocolError SinkClosed SourceError StreamBusy "
        "StreamConsumed StreamDraining StreamInterrupted StreamkitError StreamTimeout StreamTruncated ToolError"
    ),
    "streamkit.events": (
        "Citation Custom DataDelta ErrorEvent Event File Finish Gap Message Ping Raw ReasoningDelta Start "
        "Stats TextDelta ToolCall ToolCallDelta ToolCallStart ToolResult Totals Usage"
    ),
    "streamkit.events.tool": "Tool",
    "streamkit.flow.plan": "Op Same",
    "streamkit.flow.runs": "Run",
    "streamkit.flow.sending": "SendChannel channel",
    "streamkit.flow.streams": "Sink Stream stream",
    "streamkit.operators.buffering": "batch buffer coalesce",
    "streamkit.operators.combining": "merge",
    "streamkit.operators.measuring": "measure progress",
    "streamkit.operators.selection": "limit_bytes skip take take_while",
    "streamkit.operators.text": "lines on_text printable sentences stop",
    "streamkit.operators.timing": "timeout",
    "streamkit.operators.tool_calls": "partial_json run_tools",
    "streamkit.operators.transform": "filter flat_map map operator scan stage tap",
    "streamkit.stages.partial_json": "PartialValue",
    "streamkit.stages.stage": "Stage TimedStage",
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names.split()}
_PACKAGES = frozenset(
    {"clients", "dialects", "errors", "events", "flow", "integrations", "operators", "sinks", "stages", "testing", "wire"}
)

__all__ = list(_HOME_OF)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name in _PACKAGES:
        return import_module(f"streamkit.{name}")
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'streamkit' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
