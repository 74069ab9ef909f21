"""How a response learns that its client has left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from streamkit.flow.tasks import Backend
from streamkit.sinks.asgi_types import Receive
from streamkit.sinks.failures import LOGGER

__all__ = ["watch_for_departure"]

# A receive() that gives the same body for ever is asked again at this pace, in seconds.
_REPEATING_S: Final = 0.05


async def watch_for_departure(receive: Receive, backend: Backend, told: Callable[[], None]) -> None:
    """Call `told` when the client has left; what it sends before is dropped.

    It is never called if that cannot be learned any more, because `receive` failed. All of a task, in one frame: there may be
    thousands.
    """
    whole = False
    try:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                break
            # Some stand-ins of servers give the whole body again and again, without ever waiting.
            if whole:
                await backend.sleep(_REPEATING_S)
            whole = not message.get("more_body")
    except Exception:
        LOGGER.warning("receive() failed: it cannot be noticed any more that the client leaves", exc_info=True)
        return
    told()
