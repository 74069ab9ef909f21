"""The server's transport behind an ASGI `send`: where it is found, and what is done with it.

ASGI has no word for a client that does not read. A server's transport takes 64 KiB before `send` waits, which may be a thousand
writes of one token at ten times their weight; and an application that returns leaves the server to flush what nobody takes, which
never ends. So the transport is looked up in the server's own objects, and nothing of them is changed. `send` is a method of one:

    uvicorn, aiohttp          its `transport`                        asyncio's: it tells what is unsent, and can be aborted
    hypercorn on asyncio      of the object two `send`s further on, its `writer.transport`; the same
    hypercorn on trio         of that object, its `stream`           a socket: it can be shut down, and no more
    granian, daphne, tests    nothing is found                       `Transport` itself: it does nothing, and the kernel must
                                                                     do it (`streamkit.sinks.sockets`)

Frameworks and middlewares put a `send` of their own before the server's, and these are the three ways to write one. Each knows the
next, and so they are followed (`_layers`):

    a method            self.send(message)                           the object has the next one as an attribute
    an inner function   async def send_wrapper(message): ... send(message)             its closure has it under that name
    a partial           partial(self.send, send=send)                                  its arguments have it

A middleware that hands messages to another task (Starlette's `BaseHTTPMiddleware`) is the end of that way, because its `send` knows
only a channel. Its `receive` leads on: to the request that it was made for, which has the server's `send` (`transport_beside`).
A `Connections` around the application knows that, too.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from types import FunctionType
from typing import Any, Final, Protocol, cast

from streamkit.sinks.asgi_types import Receive, Send

__all__ = ["NO_TRANSPORT", "HasOptions", "Transport", "transport_behind", "transport_beside"]

# Bytes that wait in the process before `send` does.
_MOST_WAITING: Final = 4096

# struct linger: on, and no time. Closing such a socket resets the connection.
_NO_LINGER: Final = struct.pack("ii", 1, 0)

# From the callable that an application is given to the object that has the transport: a FastAPI with five middlewares takes ten.
_MOST_LAYERS: Final = 32


class HasOptions(Protocol):
    """A socket, or what an event loop shows of one."""

    def getsockopt(self, level: int, option: int, size: int, /) -> bytes: ...


class Transport:
    """What a server shows of one connection. This one is of a server that shows nothing: whatever is asked of it does nothing.

    Attributes:
        found: Whether there is any.
    """

    __slots__ = ()

    found = False

    @property
    def socket(self) -> HasOptions | None:
        """The connection's socket, whose options can be asked for."""
        return None

    def hold_back(self) -> None:
        """Have `send` wait once a few thousand bytes wait in the process because the kernel takes no more."""

    def break_off(self) -> None:
        """Drop what was not sent, and the connection."""

    def break_off_if_stuck(self) -> None:
        """The same, if bytes wait that the client does not take."""

    def reset(self) -> None:
        """Break it off so that no client takes it for an end, also where all was sent. hypercorn may say its end first."""


NO_TRANSPORT: Final = Transport()
"""That of a server which shows nothing, or of a connection which is not one response's to break off."""


class _AsyncioTransport(Transport):
    __slots__ = ("_transport",)

    found = True

    def __init__(self, transport: asyncio.WriteTransport) -> None:
        self._transport = transport

    @property
    def socket(self) -> HasOptions | None:
        return cast("HasOptions | None", self._transport.get_extra_info("socket"))

    def hold_back(self) -> None:
        with suppress(RuntimeError):  # of uvloop: it is gone already
            self._transport.set_write_buffer_limits(high=_MOST_WAITING)

    def break_off(self) -> None:
        self._transport.abort()

    def break_off_if_stuck(self) -> None:
        if self._transport.get_write_buffer_size():
            self._transport.abort()

    def reset(self) -> None:
        connection = self._transport.get_extra_info("socket")
        if connection is not None:  # as it is on uvloop once it is gone
            with suppress(OSError):  # it is gone already
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self._transport.abort()


class _TrioTransport(Transport):
    """On trio whoever writes waits in the socket's own `send`: nothing waits before it, and a shut socket lets that go."""

    __slots__ = ("_socket",)

    found = True

    def __init__(self, trio_socket: Any) -> None:
        self._socket = trio_socket

    @property
    def socket(self) -> HasOptions | None:
        return cast("HasOptions", self._socket)

    def break_off(self) -> None:
        with suppress(OSError):  # it is gone already
            self._socket.shutdown(socket.SHUT_RDWR)


def transport_behind(send: Send) -> Transport:
    """The server's, if each layer before it calls the next one's `send` itself; else `NO_TRANSPORT`."""
    for layer in _layers(send, attribute="send", names=("send",)):
        found = _shown_by(layer)
        if found is not None:
            return found
    return NO_TRANSPORT


def transport_beside(receive: Receive) -> Transport:
    """The server's, if it is behind the `send` of a request from which `receive` comes; else `NO_TRANSPORT`."""
    for request in _layers(receive, attribute="_receive", names=("receive", "wrapped_receive")):
        found = transport_behind(getattr(request, "_send", cast("Send", None)))
        if found.found:
            return found
    return NO_TRANSPORT


def _layers(call: object, *, attribute: str, names: tuple[str, ...]) -> Iterator[object]:
    """The objects behind a callable, the nearest first.

    Args:
        call: A method of the first of them, or an inner function or partial that leads there.
        attribute: Under which an object has the next callable.
        names: Under which a function or a partial has it.
    """
    for _ in range(_MOST_LAYERS):
        owner: object = getattr(call, "__self__", None)
        if owner is None:
            call = _inside(call, names)
        else:
            yield owner
            call = getattr(owner, attribute, None)
        if call is None:
            return


def _inside(function: object, names: tuple[str, ...]) -> object:
    """What an inner function, or a partial, knows by one of these names; None if it is neither, or knows nothing."""
    if isinstance(function, partial):
        found = cast("partial[object]", function).keywords
        return next((found[name] for name in names if name in found), None)
    if isinstance(function, FunctionType) and function.__closure__ is not None:
        for name, cell in zip(function.__code__.co_freevars, function.__closure__, strict=True):
            if name in names:
                with suppress(ValueError):  # it is bound no longer
                    return cell.cell_contents
    return None


def _shown_by(layer: object) -> Transport | None:
    """The transport that an object of the server's has, known by what it can do."""
    transport: Any = getattr(layer, "transport", None) or getattr(getattr(layer, "writer", None), "transport", None)
    if callable(getattr(transport, "abort", None)) and callable(getattr(transport, "get_write_buffer_size", None)):
        return _AsyncioTransport(transport)
    stream: object = getattr(layer, "stream", None)
    trio_socket: Any = getattr(getattr(stream, "transport_stream", stream), "socket", None)  # under TLS, or as it is
    return _TrioTransport(trio_socket) if callable(getattr(trio_socket, "shutdown", None)) else None
