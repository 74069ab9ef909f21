"""The answers of one handler, as the messages of a WebSocket start them; what becomes of one that runs says `sinks.starting`."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeAlias

from streamkit.dialects.websocket.messages import IfRunning
from streamkit.errors import StreamBusy
from streamkit.hub.hub import Generation, Hub, IfExists
from streamkit.hub.producing import OnDisconnect
from streamkit.sinks.refusals import Refused
from streamkit.sinks.sse import Streamable
from streamkit.sinks.starting import Starts, start_or_close
from streamkit.sinks.websocket.requests import SocketRequest

__all__ = ["Generations", "SocketHandler", "awaited"]

SocketHandler: TypeAlias = Callable[[SocketRequest], Streamable | Awaitable[Streamable]]
"""Gives the answer to a start: a stream, or whatever else `sk.stream` takes. May be a coroutine function."""


class Generations:
    """The answers of one handler in one hub.

    Args:
        handler: Gives the answer to a request.
        hub: Where they are.
        on_disconnect, ttl: As for `hub.start`.
    """

    __slots__ = ("_handler", "_on_disconnect", "_starts", "_ttl", "hub")

    def __init__(self, handler: SocketHandler, hub: Hub, on_disconnect: OnDisconnect, ttl: float | None) -> None:
        self.hub = hub
        self._handler = handler
        self._on_disconnect: OnDisconnect = on_disconnect
        self._ttl = ttl
        self._starts = Starts(hub)

    async def begin(self, request: SocketRequest, if_running: IfRunning) -> tuple[str, bool]:
        """The name of the answer to a request, and whether it was running already.

        Raises:
            Refused: the handler's own, or 409 where there is one that must not be touched.
            Others: the handler's, and those of `hub.start`.
        """
        name = request.stream
        if name is None:
            return (await self._start(request, None, "raise")).id, False
        if not name.isprintable():
            raise Refused(400, "A stream's name has printable characters.")
        way: IfExists = "replace" if if_running == "interrupt" else if_running
        try:
            return name, await self._starts.begin(name, partial(self._start, request, name), owner=request.owner, if_running=way)
        except StreamBusy as busy:
            raise Refused(409, "There is an answer under way already.", code="busy") from busy

    async def settled(self, name: str) -> None:
        """Wait until nobody is about to start an answer of this name."""
        await self._starts.settled(name)

    async def _start(self, request: SocketRequest, name: str | None, if_exists: IfExists) -> Generation:
        source = await awaited(self._handler(request))
        return await start_or_close(
            self.hub, name, source, ttl=self._ttl, on_disconnect=self._on_disconnect, owner=request.owner, if_exists=if_exists
        )


async def awaited(value: Any) -> Any:
    """The value, awaited where it must be."""
    return await value if inspect.isawaitable(value) else value
