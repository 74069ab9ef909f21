"""Starts answers: which of them runs by a name, and whether a new one joins it, stops it or is refused."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias
from weakref import WeakValueDictionary

import anyio

from streamkit.dialects.websocket.messages import IfRunning
from streamkit.errors import StreamBusy, UnknownStream
from streamkit.hub.hub import Hub, IfExists
from streamkit.hub.producing import OnDisconnect
from streamkit.sinks.refusals import Refused
from streamkit.sinks.sse import Streamable
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
        # One start at a time of each name: who comes second finds it running.
        self._starts: WeakValueDictionary[str, anyio.Lock] = WeakValueDictionary()

    async def begin(self, request: SocketRequest, if_running: IfRunning) -> tuple[str, bool]:
        """The name of the answer to a request, and whether it was running already.

        Raises:
            Refused: the handler's own, or 409 where there is one that must not be touched.
            Others: the handler's, and those of `hub.start`.
        """
        name = request.stream
        if name is None:
            return await self._start(None, request, "raise"), False
        if not name.isprintable():
            raise Refused(400, "A stream's name has printable characters.")
        lock = self._starts.setdefault(name, anyio.Lock())
        async with lock:
            if await self._runs(name, request.owner):
                if if_running == "join":
                    return name, True
                if if_running == "raise":
                    raise _busy()
                # To stop it is somebody's right or not, whatever the message is called.
                await self.hub.look(name, asked=(request.owner,), action="cancel")
            try:
                return await self._start(name, request, "replace"), False
            except StreamBusy as busy:  # it runs in another process
                raise _busy() from busy

    async def settled(self, name: str) -> None:
        """Wait until nobody is about to start an answer of this name: what is being started could not be found."""
        lock = self._starts.get(name)
        if lock is not None:
            async with lock:
                return

    async def _runs(self, name: str, owner: str | None) -> bool:
        try:
            if (await self.hub.look(name, asked=None)).state != "running":
                return False
        except UnknownStream:
            return False
        # Who may not read it must not stop it either, nor learn that it runs.
        await self.hub.look(name, asked=(owner,), action="subscribe")
        return True

    async def _start(self, name: str | None, request: SocketRequest, if_exists: IfExists) -> str:
        source = await awaited(self._handler(request))
        generation = await self.hub.start(
            name, source, ttl=self._ttl, on_disconnect=self._on_disconnect, owner=request.owner, if_exists=if_exists
        )
        return generation.id


def _busy() -> Refused:
    return Refused(409, "There is an answer under way already.", code="busy")


async def awaited(value: Any) -> Any:
    """The value, awaited where it must be."""
    return await value if inspect.isawaitable(value) else value
