"""How a response learns that its client has left."""

from __future__ import annotations

from typing import Final

from streamkit.flow.tasks import Backend
from streamkit.sinks.asgi_types import Receive
from streamkit.sinks.failures import LOGGER

__all__ = ["client_left"]

# A receive() that gives the same body for ever is asked again at this pace, in seconds.
_REPEATING_S: Final = 0.05


async def client_left(receive: Receive, backend: Backend) -> bool:
    """Wait until the client has left; what it sends before is dropped.

    Returns False if that cannot be learned any more, because `receive` failed.
    """
    whole = False
    try:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return True
            # Some stand-ins of servers give the whole body again and again, without ever waiting.
            if whole:
                await backend.sleep(_REPEATING_S)
            whole = not message.get("more_body")
    except Exception:
        LOGGER.warning("receive() failed: it cannot be noticed any more that the client leaves", exc_info=True)
        return False
