"""The connection behind `send`: how much may wait in it, and how it is broken off when its client does not read.

ASGI has no word for either. A server's transport takes 64 KiB before `send` waits, which may be a thousand writes of one token,
at ten times their weight; and an application that returns leaves the server to flush what the client does not take, which never
ends. So the transport is looked up where the server's own objects show it: those of uvicorn and of hypercorn, on asyncio and on
trio. Everywhere else nothing is found, and the kernel must do it (see `streamkit.sinks.sockets`).

A framework and its middlewares put a `send` of their own before the server's, each before the next: a method of an object that
has the next one as `send`, a function inside a function that calls it by that name, or a `partial`. Those are followed. One that
hands the messages to another task (Starlette's `BaseHTTPMiddleware`) ends the way: behind it, a `Connections` around the
application knows the server's own, and so does the request from which `receive` comes.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from types import FunctionType
from typing import Any, Final, cast

from streamkit.sinks.asgi_types import Receive, Send

__all__ = ["break_off", "break_off_if_stuck", "hidden_wire", "hold_back", "reset", "socket_of"]

# From the callable that an application is given to the object that has the socket: a FastAPI with five middlewares takes ten.
_MOST_STEPS: Final = 32

# struct linger: on, and no time.
_NO_LINGER: Final = struct.pack("ii", 1, 0)

# Bytes that wait in the process before `send` does.
_MOST_WAITING: Final = 4096


def hold_back(send: Send) -> None:
    """Have `send` wait once a few thousand bytes wait here because the kernel takes no more."""
    transport = _transport_of(send)
    if transport is not None:
        transport.set_write_buffer_limits(high=_MOST_WAITING)


def break_off(send: Send) -> bool:
    """Reset the connection behind `send`, with whatever was not sent; whether that could be done."""
    transport = _transport_of(send)
    if transport is None:
        return _shut_down(send)
    transport.abort()
    return True


def reset(send: Send) -> None:
    """Break it off so that no client takes it for an end, also where all was sent. hypercorn may say its end first."""
    transport = _transport_of(send)
    if transport is not None:
        with suppress(OSError):  # it is gone already
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        transport.abort()


def break_off_if_stuck(send: Send) -> bool:
    """The same as `break_off`, if bytes wait that the client does not take."""
    transport = _transport_of(send)
    if transport is None or not transport.get_write_buffer_size():
        return False
    transport.abort()
    return True


def hidden_wire(send: Send, receive: Receive, known: Send | None = None) -> Send | None:
    """The server's `send` behind a middleware that hands messages to another task; None where none does, or nothing is found.

    Args:
        send, receive: What the application was called with.
        known: The server's `send`, where somebody knows it.
    """
    if _has_socket(send):
        return None
    if known is not None and _has_socket(known):
        return known
    step: object = receive
    for _ in range(_MOST_STEPS):
        owner: object = getattr(step, "__self__", None)
        if owner is None:
            step = _inside(step, "receive", "wrapped_receive")
        else:  # perhaps a request of Starlette's
            behind: object = getattr(owner, "_send", None)
            if behind is not None and _has_socket(behind):
                return cast("Send", behind)
            step = getattr(owner, "_receive", None)
    return None


def _has_socket(send: object) -> bool:
    return _transport_of(send) is not None or any(_trio_socket_of(owner) is not None for owner in _owners_of(send))


def socket_of(send: Send) -> Any:
    """What the server shows of the connection's socket, whose options can be asked for; None where nothing is found."""
    transport = _transport_of(send)
    if transport is not None:
        return transport.get_extra_info("socket")
    return next((found for owner in _owners_of(send) if (found := _trio_socket_of(owner)) is not None), None)


def _trio_socket_of(owner: object) -> Any:
    stream: object = getattr(owner, "stream", None)
    return getattr(getattr(stream, "transport_stream", stream), "socket", None)


def _owners_of(send: object) -> Iterator[object]:
    """The object that `send` is a method of, the one whose `send` that object calls, and so on."""
    step = send
    for _ in range(_MOST_STEPS):
        owner: object = getattr(step, "__self__", None)
        if owner is None:
            step = _inside(step, "send")
        else:
            yield owner
            step = getattr(owner, "send", None)
        if step is None:
            return


def _inside(function: object, *names: str) -> object:
    """What a function inside a function, or a partial, knows by one of these names."""
    if isinstance(function, partial):
        found = cast("partial[object]", function).keywords
        return next((found[name] for name in names if name in found), None)
    if isinstance(function, FunctionType) and function.__closure__ is not None:
        for name, cell in zip(function.__code__.co_freevars, function.__closure__, strict=True):
            if name in names:
                with suppress(ValueError):  # it is bound no longer
                    return cell.cell_contents
    return None


def _transport_of(send: object) -> asyncio.WriteTransport | None:
    for owner in _owners_of(send):
        transport: object = getattr(owner, "transport", None) or getattr(getattr(owner, "writer", None), "transport", None)
        if callable(getattr(transport, "abort", None)) and callable(getattr(transport, "get_write_buffer_size", None)):
            return transport  # type: ignore[return-value]  # pyright: ignore[reportReturnType]  # a transport by what it can do
    return None


def _shut_down(send: object) -> bool:
    """The same on trio: whoever waits to write into the socket is told that it is closed."""
    for owner in _owners_of(send):
        shut: object = getattr(_trio_socket_of(owner), "shutdown", None)
        if callable(shut):
            with suppress(OSError):  # it is gone already
                shut(socket.SHUT_RDWR)
            return True
    return False
