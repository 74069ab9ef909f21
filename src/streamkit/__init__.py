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
    from streamkit.dialects.own_frames import mapping as mapping
    from streamkit.errors import AuthError as AuthError
    from streamkit.errors import BadRequestError as BadRequestError
    from streamkit.errors import BufferFull as BufferFull
    from streamkit.errors import ConfigError as ConfigError
    from streamkit.errors import ContentBlockedError as ContentBlockedError
    from streamkit.errors import CorruptEntry as CorruptEntry
    from streamkit.errors import Fenced as Fenced
    from streamkit.errors import InvalidToken as InvalidToken
    from streamkit.errors import LocalProtocolError as LocalProtocolError
    from streamkit.errors import MissingExtra as MissingExtra
    from streamkit.errors import OverloadedError as OverloadedError
    from streamkit.errors import ProtocolError as ProtocolError
    from streamkit.errors import RateLimitError as RateLimitError
    from streamkit.errors import ReaderLagged as ReaderLagged
    from streamkit.errors import RemoteProtocolError as RemoteProtocolError
    from streamkit.errors import SinkClosed as SinkClosed
    from streamkit.errors import SourceError as SourceError
    from streamkit.errors import StoreError as StoreError
    from streamkit.errors import StreamBusy as StreamBusy
    from streamkit.errors import StreamConsumed as StreamConsumed
    from streamkit.errors import StreamDraining as StreamDraining
    from streamkit.errors import StreamInterrupted as StreamInterrupted
    from streamkit.errors import StreamkitError as StreamkitError
    from streamkit.errors import StreamTimeout as StreamTimeout
    from streamkit.errors import StreamTruncated as StreamTruncated
    from streamkit.errors import ToolError as ToolError
    from streamkit.errors import TypeMismatch as TypeMismatch
    from streamkit.errors import UnknownStream as UnknownStream
    from streamkit.events import Citation as Citation
    from streamkit.events import Custom as Custom
    from streamkit.events import DataDelta as DataDelta
    from streamkit.events import ErrorEvent as ErrorEvent
    from streamkit.events import Event as Event
    from streamkit.events import File as File
    from streamkit.events import Finish as Finish
    from streamkit.events import Gap as Gap
    from streamkit.events import Message as Message
    from streamkit.events import Ping as Ping
    from streamkit.events import Raw as Raw
    from streamkit.events import ReasoningDelta as ReasoningDelta
    from streamkit.events import Start as Start
    from streamkit.events import Stats as Stats
    from streamkit.events import TextDelta as TextDelta
    from streamkit.events import ToolCall as ToolCall
    from streamkit.events import ToolCallDelta as ToolCallDelta
    from streamkit.events import ToolCallStart as ToolCallStart
    from streamkit.events import ToolResult as ToolResult
    from streamkit.events import Totals as Totals
    from streamkit.events import Usage as Usage
    from streamkit.events.tool import Tool as Tool
    from streamkit.flow.backoff import RetryBudget as RetryBudget
    from streamkit.flow.breaker import CircuitBreaker as CircuitBreaker
    from streamkit.flow.plan import Op as Op
    from streamkit.flow.plan import Same as Same
    from streamkit.flow.rates import RateLimiter as RateLimiter
    from streamkit.flow.runs import Run as Run
    from streamkit.flow.sending import SendChannel as SendChannel
    from streamkit.flow.sending import channel as channel
    from streamkit.flow.snapshots import Snapshot as Snapshot
    from streamkit.flow.streams import Sink as Sink
    from streamkit.flow.streams import Stream as Stream
    from streamkit.flow.streams import stream as stream
    from streamkit.hub.hub import Generation as Generation
    from streamkit.hub.hub import Hub as Hub
    from streamkit.hub.hub import StreamStatus as StreamStatus
    from streamkit.hub.many import Tagged as Tagged
    from streamkit.hub.presence import Member as Member
    from streamkit.hub.presence import PresenceChange as PresenceChange
    from streamkit.hub.stores.memory import MemoryStore as MemoryStore
    from streamkit.hub.stores.protocol import Store as Store
    from streamkit.hub.stores.sqlite import SqliteStore as SqliteStore
    from streamkit.hub.topics import Topic as Topic
    from streamkit.operators.admission import circuit_breaker as circuit_breaker
    from streamkit.operators.admission import rate_limit as rate_limit
    from streamkit.operators.buffering import batch as batch
    from streamkit.operators.buffering import buffer as buffer
    from streamkit.operators.buffering import coalesce as coalesce
    from streamkit.operators.buffering import window as window
    from streamkit.operators.combining import combine_latest as combine_latest
    from streamkit.operators.combining import concat as concat
    from streamkit.operators.combining import interleave as interleave
    from streamkit.operators.combining import merge as merge
    from streamkit.operators.combining import zip as zip
    from streamkit.operators.concluding import Ended as Ended
    from streamkit.operators.concluding import on_end as on_end
    from streamkit.operators.ending import take_until as take_until
    from streamkit.operators.filtering import redact as redact
    from streamkit.operators.filtering import replace as replace
    from streamkit.operators.filtering import split_tags as split_tags
    from streamkit.operators.flattening import flatten as flatten
    from streamkit.operators.flattening import switch as switch
    from streamkit.operators.markdown import code_blocks as code_blocks
    from streamkit.operators.markdown import heal_markdown as heal_markdown
    from streamkit.operators.markdown import markdown_blocks as markdown_blocks
    from streamkit.operators.measuring import measure as measure
    from streamkit.operators.measuring import progress as progress
    from streamkit.operators.racing import hedge as hedge
    from streamkit.operators.racing import race as race
    from streamkit.operators.recovering import catch as catch
    from streamkit.operators.recovering import continue_on_cut as continue_on_cut
    from streamkit.operators.recovering import fallback as fallback
    from streamkit.operators.retrying import retry as retry
    from streamkit.operators.second_sink import also_to as also_to
    from streamkit.operators.selection import changes as changes
    from streamkit.operators.selection import default_if_empty as default_if_empty
    from streamkit.operators.selection import distinct as distinct
    from streamkit.operators.selection import drop_while as drop_while
    from streamkit.operators.selection import limit_bytes as limit_bytes
    from streamkit.operators.selection import skip as skip
    from streamkit.operators.selection import start_with as start_with
    from streamkit.operators.selection import take as take
    from streamkit.operators.selection import take_while as take_while
    from streamkit.operators.sharing import share as share
    from streamkit.operators.sharing import tee as tee
    from streamkit.operators.structured import json_values as json_values
    from streamkit.operators.structured import parse as parse
    from streamkit.operators.text import characters as characters
    from streamkit.operators.text import chunks as chunks
    from streamkit.operators.text import count_tokens as count_tokens
    from streamkit.operators.text import lines as lines
    from streamkit.operators.text import normalize as normalize
    from streamkit.operators.text import on_text as on_text
    from streamkit.operators.text import paragraphs as paragraphs
    from streamkit.operators.text import printable as printable
    from streamkit.operators.text import sentences as sentences
    from streamkit.operators.text import stop as stop
    from streamkit.operators.text import strip as strip
    from streamkit.operators.text import texts as texts
    from streamkit.operators.text import words as words
    from streamkit.operators.timing import Timestamped as Timestamped
    from streamkit.operators.timing import debounce as debounce
    from streamkit.operators.timing import delay as delay
    from streamkit.operators.timing import heartbeat as heartbeat
    from streamkit.operators.timing import pace as pace
    from streamkit.operators.timing import sample as sample
    from streamkit.operators.timing import throttle as throttle
    from streamkit.operators.timing import timed_stage as timed_stage
    from streamkit.operators.timing import timeout as timeout
    from streamkit.operators.timing import timestamped as timestamped
    from streamkit.operators.tool_calls import partial_json as partial_json
    from streamkit.operators.tool_calls import run_tools as run_tools
    from streamkit.operators.transform import enumerate as enumerate
    from streamkit.operators.transform import filter as filter
    from streamkit.operators.transform import flat_map as flat_map
    from streamkit.operators.transform import map as map
    from streamkit.operators.transform import operator as operator
    from streamkit.operators.transform import pairwise as pairwise
    from streamkit.operators.transform import scan as scan
    from streamkit.operators.transform import stage as stage
    from streamkit.operators.transform import tap as tap
    from streamkit.sinks.chats import ChatRoutes as ChatRoutes
    from streamkit.sinks.connections import Connections as Connections
    from streamkit.sinks.websocket.serving import WebSocketRoutes as WebSocketRoutes
    from streamkit.stages.code_blocks import CodeBlock as CodeBlock
    from streamkit.stages.counting import TokenCounter as TokenCounter
    from streamkit.stages.growing import Parsed as Parsed
    from streamkit.stages.markdown_healing import Healed as Healed
    from streamkit.stages.markdown_healing import HealedText as HealedText
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
    "streamkit.dialects.own_frames": "mapping",
    "streamkit.errors": (
        "AuthError BadRequestError BufferFull ConfigError ContentBlockedError CorruptEntry Fenced InvalidToken LocalProtocolError "
        "MissingExtra OverloadedError ProtocolError RateLimitError ReaderLagged RemoteProtocolError SinkClosed SourceError "
        "StoreError StreamBusy StreamConsumed StreamDraining StreamInterrupted StreamkitError StreamTimeout StreamTruncated "
        "ToolError TypeMismatch UnknownStream"
    ),
    "streamkit.events": (
        "Citation Custom DataDelta ErrorEvent Event File Finish Gap Message Ping Raw ReasoningDelta Start Stats "
        "TextDelta ToolCall ToolCallDelta ToolCallStart ToolResult Totals Usage"
    ),
    "streamkit.events.tool": "Tool",
    "streamkit.flow.backoff": "RetryBudget",
    "streamkit.flow.breaker": "CircuitBreaker",
    "streamkit.flow.plan": "Op Same",
    "streamkit.flow.rates": "RateLimiter",
    "streamkit.flow.runs": "Run",
    "streamkit.flow.sending": "SendChannel channel",
    "streamkit.flow.snapshots": "Snapshot",
    "streamkit.flow.streams": "Sink Stream stream",
    "streamkit.hub.hub": "Generation Hub StreamStatus",
    "streamkit.hub.many": "Tagged",
    "streamkit.hub.presence": "Member PresenceChange",
    "streamkit.hub.stores.memory": "MemoryStore",
    "streamkit.hub.stores.protocol": "Store",
    "streamkit.hub.stores.sqlite": "SqliteStore",
    "streamkit.hub.topics": "Topic",
    "streamkit.operators.admission": "circuit_breaker rate_limit",
    "streamkit.operators.buffering": "batch buffer coalesce window",
    "streamkit.operators.combining": "combine_latest concat interleave merge zip",
    "streamkit.operators.concluding": "Ended on_end",
    "streamkit.operators.ending": "take_until",
    "streamkit.operators.filtering": "redact replace split_tags",
    "streamkit.operators.flattening": "flatten switch",
    "streamkit.operators.markdown": "code_blocks heal_markdown markdown_blocks",
    "streamkit.operators.measuring": "measure progress",
    "streamkit.operators.racing": "hedge race",
    "streamkit.operators.recovering": "catch continue_on_cut fallback",
    "streamkit.operators.retrying": "retry",
    "streamkit.operators.second_sink": "also_to",
    "streamkit.operators.selection": ("changes default_if_empty distinct drop_while limit_bytes skip start_with take take_while"),
    "streamkit.operators.sharing": "share tee",
    "streamkit.operators.structured": "json_values parse",
    "streamkit.operators.text": (
        "characters chunks count_tokens lines normalize on_text paragraphs printable sentences stop strip texts words"
    ),
    "streamkit.operators.timing": "Timestamped debounce delay heartbeat pace sample throttle timed_stage timeout timestamped",
    "streamkit.operators.tool_calls": "partial_json run_tools",
    "streamkit.operators.transform": "enumerate filter flat_map map operator pairwise scan stage tap",
    "streamkit.sinks.chats": "ChatRoutes",
    "streamkit.sinks.connections": "Connections",
    "streamkit.sinks.websocket.serving": "WebSocketRoutes",
    "streamkit.stages.code_blocks": "CodeBlock",
    "streamkit.stages.counting": "TokenCounter",
    "streamkit.stages.growing": "Parsed",
    "streamkit.stages.markdown_healing": "Healed HealedText",
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
