"""Dialects by name: ours, imported when first asked for, and those that other packages bring.

Another package adds a dialect with an entry point in the group `streamkit.dialects` whose object is a
`Dialect`. A name of ours cannot be taken over by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from streamkit.dialects.protocol import Dialect
from streamkit.errors import ConfigError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["ENTRY_POINTS", "get", "names"]

ENTRY_POINTS: Final = "streamkit.dialects"

# A module's DIALECT, or the one that is named.
_OURS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "ag-ui": "streamkit.dialects.ag_ui",
        "ai-sdk": "streamkit.dialects.ai_sdk",
        "ai-sdk-text": "streamkit.dialects.ai_sdk.text",
        "anthropic": "streamkit.dialects.anthropic",
        "htmx": "streamkit.dialects.htmx",
        "message-content": "streamkit.dialects.presets:MESSAGE_CONTENT",
        "message-text": "streamkit.dialects.presets:MESSAGE_TEXT",
        "native": "streamkit.dialects.native",
        "ndjson": "streamkit.dialects.text:NDJSON",
        "openai-chat": "streamkit.dialects.openai_chat",
        "openai-responses": "streamkit.dialects.openai_responses",
        "sse-text": "streamkit.dialects.text:SSE_TEXT",
        "text": "streamkit.dialects.text:TEXT",
        "token-content": "streamkit.dialects.presets:TOKEN_CONTENT",
        "token-text": "streamkit.dialects.presets:TOKEN_TEXT",
    }
)
_loaded: dict[str, Dialect] = {}


def get(name: str) -> Dialect:
    """The dialect called `name`.

    Raises:
        ConfigError: nobody offers that name, or the package that does offers something else than a `Dialect`.

    >>> get("openai-chat").framing
    'sse'
    """
    dialect = _loaded.get(name)
    if dialect is None:
        dialect = _loaded[name] = _load(name)
    return dialect


def names() -> list[str]:
    """All names that `get` knows, sorted.

    >>> {"native", "openai-chat"} <= set(names())
    True
    """
    return sorted({*_OURS, *(point.name for point in _entry_points())})


def _load(name: str) -> Dialect:
    where = name
    found: object = None
    if name in _OURS:
        where = _OURS[name]
        module, _, attribute = where.partition(":")
        found = getattr(import_module(module), attribute or "DIALECT")
    else:
        for point in _entry_points():
            if point.name == name:
                where = point.value
                found = point.load()
                break
        else:
            raise ConfigError(f"there is no dialect {name!r}; known are {', '.join(names())}")
    if not isinstance(found, Dialect):
        raise ConfigError(f"the dialect {name!r} ({where}) must be a streamkit Dialect, and is {type(found).__name__}")
    return found


def _entry_points() -> Iterable[EntryPoint]:
    # Imported here: reading package metadata costs more than all of this package, and our own names need none.
    from importlib.metadata import entry_points

    return entry_points(group=ENTRY_POINTS)
