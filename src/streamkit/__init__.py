"""streamkit: any stream of model output, complete or saying why not.

    import streamkit as sk

    async with sk.stream(source).map(str.strip) | sk.sentences() | sk.buffer(64) as items:
        async for item in items: ...

Everything here is documented where it is defined; `ARCHITECTURE.md` says which file that is.
"""

from __future__ import annotations

from streamkit.errors import (
    AuthError as AuthError,
    BadRequestError as BadRequestError,
    BufferFull as BufferFull,
    ConfigError as ConfigError,
    ContentBlockedError as ContentBlockedError,
    LocalProtocolError as LocalProtocolError,
    MissingExtra as MissingExtra,
    OverloadedError as OverloadedError,
    ProtocolError as ProtocolError,
    RateLimitError as RateLimitError,
    RemoteProtocolError as RemoteProtocolError,
    SinkClosed as SinkClosed,
    SourceError as SourceError,
    StreamBusy as StreamBusy,
    StreamConsumed as StreamConsumed,
    StreamDraining as StreamDraining,
    StreamInterrupted as StreamInterrupted,
    StreamkitError as StreamkitError,
    StreamTimeout as StreamTimeout,
    StreamTruncated as StreamTruncated,
)
from streamkit.events import (
    Citation as Citation,
    Custom as Custom,
    DataDelta as DataDelta,
    ErrorEvent as ErrorEvent,
    Event as Event,
    File as File,
    Finish as Finish,
    Gap as Gap,
    Message as Message,
    Ping as Ping,
    Raw as Raw,
    ReasoningDelta as ReasoningDelta,
    Start as Start,
    Stats as Stats,
    TextDelta as TextDelta,
    ToolCall as ToolCall,
    ToolCallDelta as ToolCallDelta,
    ToolCallStart as ToolCallStart,
    ToolResult as ToolResult,
    Usage as Usage,
)
from streamkit.flow.channels import Channel as Channel, channel as channel
from streamkit.flow.plan import Op as Op, Same as Same
from streamkit.flow.runs import Run as Run
from streamkit.flow.streams import Sink as Sink, Stream as Stream, stream as stream
from streamkit.operators.buffering import batch as batch, buffer as buffer, coalesce as coalesce
from streamkit.operators.combining import merge as merge
from streamkit.operators.selection import skip as skip, take as take, take_while as take_while
from streamkit.operators.timing import timeout as timeout
from streamkit.operators.transform import (
    filter as filter,
    flat_map as flat_map,
    map as map,
    operator as operator,
    scan as scan,
    stage as stage,
    tap as tap,
)
from streamkit.stages.stage import Stage as Stage, TimedStage as TimedStage
