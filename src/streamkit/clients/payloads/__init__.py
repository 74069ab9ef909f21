"""A request as a provider wants to read it: pure, a dict ready to be written as JSON.

Each module knows one provider's API and offers `payload`. An option that the provider has no word for is
refused and never dropped in silence; `Request.extra` is laid over the result, untouched, and is the way round.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

from streamkit.clients.request import Request
from streamkit.errors import ConfigError

__all__ = ["DIALECTS", "payload"]

_HOMES: Final = {
    "openai-chat": "streamkit.clients.payloads.openai_chat",
    "openai-responses": "streamkit.clients.payloads.openai_responses",
    "anthropic": "streamkit.clients.payloads.anthropic",
}
DIALECTS: Final = tuple(_HOMES)


def payload(request: Request, dialect: str, *, relative: bool = False) -> dict[str, Any]:
    """The body that asks `request` of an API that speaks `dialect`.

    Args:
        relative: Whether the server is another than the one whose API this is (vLLM, llama.cpp, a gateway ...).

    Raises:
        ConfigError: no such API, or it has no word for a part or an option of the request.

    >>> payload(Request.of("hi", model="m"), "openai-chat")["messages"]
    [{'role': 'user', 'content': 'hi'}]
    """
    home = _HOMES.get(dialect)
    if home is None:
        raise ConfigError(f"nobody is asked in the dialect {dialect!r:.80}; known are {', '.join(DIALECTS)}")
    write: Callable[..., dict[str, Any]] = import_module(home).payload
    return write(request, relative=relative)
