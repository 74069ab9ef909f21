"""The socket that notices who does not read: what its connections inherit, and what it refuses."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from streamkit import ConfigError
from streamkit.sinks.sockets import serve_socket


def test_its_connections_inherit_what_was_set() -> None:
    listening = serve_socket(send_buffer=32_768, unsent=8_192, stalled=12.0, idle=9.0)
    with listening, socket.create_connection(listening.getsockname()):
        listening.setblocking(True)
        accepted, _ = listening.accept()
        with accepted:
            tcp = socket.IPPROTO_TCP
            assert 1 == accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert 1 == accepted.getsockopt(tcp, socket.TCP_NODELAY)
            assert (8_192, 12_000, 9, 5) == tuple(
                accepted.getsockopt(tcp, option)
                for option in (socket.TCP_NOTSENT_LOWAT, socket.TCP_USER_TIMEOUT, socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL)
            )
            assert 65_536 == accepted.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)  # twice: Linux counts its records


def test_it_listens_without_blocking_and_a_child_may_have_it() -> None:
    with serve_socket() as listening:
        assert not listening.getblocking()
        assert listening.get_inheritable()
        with pytest.raises(BlockingIOError):
            listening.accept()


def test_two_processes_may_share_a_port_if_they_say_so() -> None:
    with serve_socket(reuse_port=True) as one, serve_socket(port=one.getsockname()[1], reuse_port=True) as two:
        assert one.getsockname() == two.getsockname()
        with pytest.raises(OSError, match="in use"):
            serve_socket(port=one.getsockname()[1])


def test_ipv6() -> None:
    with serve_socket("::1") as listening:
        assert socket.AF_INET6 == listening.family


@pytest.mark.parametrize(
    "wrong",
    [
        {"port": -1},
        {"port": 65_536},
        {"port": True},
        {"send_buffer": 0},
        {"send_buffer": 1.5},
        {"unsent": 0},
        {"backlog": 0},
        *({name: value} for name in ("stalled", "idle") for value in (0, -1, 0.5, float("nan"), float("inf"), True)),
    ],
    ids=str,
)
def test_arguments_are_checked_at_the_call(wrong: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ConfigError)):
        serve_socket(**wrong)
