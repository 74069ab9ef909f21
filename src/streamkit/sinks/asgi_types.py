"""The words of ASGI 3.0, as types: https://asgi.readthedocs.io/en/latest/specs/main.html."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import TypeAlias

__all__ = ["Message", "RawHeaders", "Receive", "Scope", "Send"]

Scope: TypeAlias = MutableMapping[str, object]
Message: TypeAlias = MutableMapping[str, object]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
RawHeaders: TypeAlias = list[tuple[bytes, bytes]]
