"""A start under a name that the client chose, alike over HTTP, WebSockets and gRPC.

    of that name there is                     the start
    nothing, or an answer that is over        begins anew; what was kept of the old one is gone
    one that runs                             joins it, is refused, or takes its place, as asked ("join", "raise", "replace")
    one that the caller may not read          finds nothing, as whoever asks for a stream that is not there

A hub's `authorize` is asked where somebody's stream is touched: "subscribe" for one that runs, whatever becomes of it, and "cancel"
besides before another takes its place. To begin is for the application's handler to refuse. Nobody is asked for one that is over:
it stops nobody, and its name is its owner's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias
from weakref import WeakValueDictionary

import anyio

from streamkit.errors import StreamBusy, UnknownStream
from streamkit.hub.hub import Generation, Hub, IfExists

__all__ = ["Start", "Starts"]

Start: TypeAlias = Callable[[IfExists], Awaitable[Generation]]
"""Starts the answer by `hub.start(..., if_exists=...)`."""


class Starts:
    """One start at a time of each name: who comes second finds it running.

    Args:
        hub: Where the answers are.

    Memory: a lock for each name under which somebody is about to start.
    """

    __slots__ = ("_hub", "_locks")

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._locks: WeakValueDictionary[str, anyio.Lock] = WeakValueDictionary()

    async def begin(self, name: str, start: Start, *, owner: str | None, if_running: IfExists) -> bool:
        """Start what is called so, or join it; whether it was running already. See the top of this module.

        Raises:
            StreamBusy: one runs that is not to be touched, or that runs in another process.
            UnknownStream: one runs that is not the caller's to read, or to stop.
            Others: those of `start`.
        """
        async with self._locks.setdefault(name, anyio.Lock()):
            if await self._runs(name, owner):
                if if_running == "join":
                    return True
                if if_running == "raise":
                    raise StreamBusy(f"stream {name!r:.80} runs already")
                # To stop it is somebody's right or not, whatever the message is called.
                await self._hub.look(name, asked=(owner,), action="cancel")
            await start("replace")
            return False

    async def settled(self, name: str) -> None:
        """Wait until nobody is about to start an answer of this name: what is being started could not be found."""
        lock = self._locks.get(name)
        if lock is not None:
            async with lock:
                return

    async def _runs(self, name: str, owner: str | None) -> bool:
        try:
            if (await self._hub.look(name, asked=None)).state != "running":
                return False
        except UnknownStream:
            return False
        # Who may not read it must not stop it either, nor learn that it runs.
        await self._hub.look(name, asked=(owner,), action="subscribe")
        return True
