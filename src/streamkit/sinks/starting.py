"""A start under a name that the client chose, alike over HTTP, WebSockets and gRPC.

    of that name there is                     the start
    nothing, or an answer that is over        begins anew; what was kept of the old one is gone
    one that runs                             joins it, is refused, or takes its place, as asked ("join", "raise", "replace")
    one that the caller may not read          finds nothing, as whoever asks for a stream that is not there
    one that is over, and somebody else's     finds nothing either, and no answer is made

A hub's `authorize` is asked where somebody's stream is touched: "subscribe" for one that runs, whatever becomes of it, and "cancel"
besides before another takes its place. To begin is for the application's handler to refuse. Nobody is asked for one that is over:
it stops nobody, and its name is its owner's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeAlias, cast
from weakref import WeakKeyDictionary, WeakValueDictionary

import anyio

from streamkit.errors import StreamBusy, StreamConsumed, UnknownStream
from streamkit.flow.streams import Stream, stream
from streamkit.hub.following import unknown
from streamkit.hub.hub import Generation, Hub, IfExists
from streamkit.hub.permissions import same_owner
from streamkit.hub.producing import OnDisconnect
from streamkit.sinks.sse import Streamable

__all__ = ["Start", "Starts", "start_or_close"]

Start: TypeAlias = Callable[[IfExists], Awaitable[Generation]]
"""Starts the answer by `hub.start(..., if_exists=...)`."""

# Of each hub: who starts over HTTP and who does over a WebSocket wait for each other, too.
_LOCKS: Final[WeakKeyDictionary[Hub, WeakValueDictionary[str, anyio.Lock]]] = WeakKeyDictionary()


async def start_or_close(
    hub: Hub,
    id: str | None,
    source: Streamable,
    /,
    *,
    ttl: float | None,
    on_disconnect: OnDisconnect,
    owner: str | None,
    if_exists: IfExists,
) -> Generation:
    """`hub.start` for a source that nobody but the caller has: one that does not come to run is closed.

    Raises:
        Others: those of `hub.start`.
    """
    made = stream(cast("Stream[object]", source))
    try:
        return await hub.start(id, made, ttl=ttl, on_disconnect=on_disconnect, owner=owner, if_exists=if_exists)
    except BaseException as error:
        with suppress(StreamBusy, StreamConsumed):  # somebody else reads it, and closes it
            await made.open().aclose(error)
        raise


class Starts:
    """One start at a time of each name in a hub: who comes second finds it running.

    Args:
        hub: Where the answers are.

    Memory: a lock for each name under which somebody is about to start.
    """

    __slots__ = ("_hub", "_locks")

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._locks = _LOCKS.setdefault(hub, WeakValueDictionary())

    async def begin(self, name: str, start: Start, *, owner: str | None, if_running: IfExists) -> bool:
        """Start what is called so, or join it; whether it was running already. See the top of this module.

        Raises:
            StreamBusy: one runs that is not to be touched, or that runs in another process and is not to be joined.
            UnknownStream: one runs that is not the caller's to read, or to stop; or one that is over is somebody else's.
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
            try:
                await start("replace")
            except StreamBusy:  # another process was faster
                if if_running == "join" and await self._runs(name, owner):
                    return True
                raise
            return False

    async def settled(self, name: str) -> None:
        """Wait until nobody is about to start an answer of this name: what is being started could not be found."""
        lock = self._locks.get(name)
        if lock is not None:
            async with lock:
                return

    async def _runs(self, name: str, owner: str | None) -> bool:
        try:
            there = await self._hub.look(name, asked=None)
        except UnknownStream:
            return False
        if there.state == "running":
            # Who may not read it must not stop it either, nor learn that it runs.
            await self._hub.look(name, asked=(owner,), action="subscribe")
            return True
        if not same_owner(there.owner, owner):  # `hub.start` says so, too, when the handler has begun what somebody pays for
            raise unknown(name)
        return False
