"""Breaking a connection off whose client does not read.

ASGI has no word for it: an application that returns leaves the server to flush what the client does not take, which never ends. So
the transport behind `send` is looked up where the server's own objects show it: uvicorn's, and those of hypercorn on asyncio.
Everywhere else nothing is found, and the kernel must do it (see `streamkit.sinks.sockets`).
"""

from __future__ import annotations

import asyncio
from typing import Final

from streamkit.sinks.asgi_types import Send

__all__ = ["break_off", "break_off_if_stuck"]

# From the callable that an application is given to the object that has the socket.
_MOST_STEPS: Final = 4


def break_off(send: Send) -> bool:
    """Reset the connection behind `send`, with whatever was not sent; whether that could be done."""
    transport = _transport_of(send)
    if transport is None:
        return False
    transport.abort()
    return True


def break_off_if_stuck(send: Send) -> bool:
    """The same, if bytes wait that the client does not take."""
    transport = _transport_of(send)
    if transport is None or not transport.get_write_buffer_size():
        return False
    transport.abort()
    return True


def _transport_of(send: object) -> asyncio.WriteTransport | None:
    step = send
    for _ in range(_MOST_STEPS):
        owner: object = getattr(step, "__self__", None)
        transport: object = getattr(owner, "transport", None) or getattr(getattr(owner, "writer", None), "transport", None)
        if callable(getattr(transport, "abort", None)) and callable(getattr(transport, "get_write_buffer_size", None)):
            return transport  # type: ignore[return-value]  # pyright: ignore[reportReturnType]  # a transport by what it can do
        step = getattr(owner, "send", None)
    return None
