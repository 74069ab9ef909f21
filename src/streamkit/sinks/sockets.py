"""A listening socket whose connections notice early that nobody reads, and at all that nobody is there.

    uvicorn.Server(uvicorn.Config(app)).run(sockets=[serve_socket("0.0.0.0", 8000)])

A server's own socket takes 2 to 4 MB for a client that does not read before any `send` waits: at the pace of tokens that is
ten minutes. And a client whose cable was pulled is held until the kernel has tried again for a quarter of an hour; if nothing is
sent, for ever. What is set here on the listening socket, its connections inherit (Linux):

    SO_SNDBUF           few bytes wait in the kernel for a client
    TCP_NOTSENT_LOWAT   of them fewer that are not on the wire yet: `send` waits, and heartbeats and watchdogs see it
    TCP_USER_TIMEOUT    a client that acknowledges nothing, or whose window stays shut, for so long is gone (RFC 5482, tcp(7))
    SO_KEEPALIVE        a client to whom nothing is sent is asked whether it is there

The kernel then ends the connection, and the server tells the application as if the client had left.
"""

from __future__ import annotations

import math
import socket
from typing import Final

from streamkit.errors import ConfigError
from streamkit.flow.plan import check_count, check_seconds

__all__ = ["serve_socket"]

_PROBES: Final = 3


def serve_socket(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    send_buffer: int = 64 * 1024,
    unsent: int = 16 * 1024,
    stalled: float = 12.0,
    idle: float = 8.0,
    backlog: int = 2048,
    reuse_port: bool = False,
) -> socket.socket:
    """A TCP socket that listens, to be given to a server.

    Args:
        host: An address, of IPv4 or IPv6, or a name; "" is every IPv4 address of this machine.
        port: 0 takes a free one: `socket.getsockname()[1]`.
        send_buffer: Most bytes that wait in the kernel for one client; at least 4,096. The kernel counts its own records in, and
            takes twice of it.
        unsent: Of these, how many may not be on the wire yet before the server is told to wait.
        stalled: Seconds after which a client is gone that acknowledges nothing, or has its window shut. A client that is paused for
            longer than that must resume.
        idle: Seconds without any byte after which the kernel asks whether the client is there; it asks a second time after half of
            it, and so on, until `stalled` seconds have passed.
        backlog: Most clients that wait to be accepted.
        reuse_port: Let several processes listen on the same port.

    A client whose link is dead is released after `stalled` seconds, or at most twice that, 24 s unless told: a sign of life that is
    sent in between is waited for, too.

    It does not block, can be inherited by a child (uvicorn's `--fd`), and belongs to the caller. Options that a system does not
    have are left out: on anything but Linux half-open clients are held for longer.

    Memory: of one client that reads nothing, at most about twice `send_buffer` in the kernel, and what waits in the process, which
    our responses keep small. A client that does not read is seen once its own receive buffer is full: what lies there is its own.
    Raises:
        ConfigError, TypeError: arguments that cannot work.
        OSError: the address is taken, or not this machine's.

    >>> listening = serve_socket()
    >>> listening.getsockname()[0]
    '127.0.0.1'
    >>> listening.close()
    """
    check_count("serve_socket", "port", port, 0)
    check_count("serve_socket", "send_buffer", send_buffer, 4096)
    check_count("serve_socket", "unsent", unsent, 1)
    check_count("serve_socket", "backlog", backlog, 1)
    for name, seconds in {"stalled": stalled, "idle": idle}.items():
        check_seconds("serve_socket", name, seconds)
        if not 1 <= seconds <= 32_767:
            raise ConfigError(f"serve_socket({name}={seconds}): the kernel takes 1 to 32767 seconds")
    if port > 65_535:
        raise ConfigError(f"serve_socket(port={port}): at most 65535")
    family, kind, protocol, _, address = socket.getaddrinfo(host or "0.0.0.0", port, type=socket.SOCK_STREAM)[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in {
            "TCP_NODELAY": 1,
            "TCP_NOTSENT_LOWAT": unsent,
            "TCP_USER_TIMEOUT": math.ceil(stalled * 1000),
            "TCP_KEEPIDLE": math.ceil(idle),
            "TCP_KEEPINTVL": math.ceil(idle / 2),
            "TCP_KEEPCNT": _PROBES,
        }.items():
            number = getattr(socket, option, None)
            if number is not None:
                listening.setsockopt(socket.IPPROTO_TCP, number, value)
        listening.bind(address)
        listening.listen(backlog)
        listening.setblocking(False)
        listening.set_inheritable(True)
    except BaseException:
        listening.close()
        raise
    return listening
