"""HTTP-01: two hundred clients that send the head of their request a byte at a time, and streams that go on beside them.

What a server does with such clients is its own, and is in docs/how-to/run-behind-a-server.md: uvicorn and gunicorn hold them, the
others have a limit.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from running import COMMANDS, PATIENCE_S, Running, running, wait_until

SLOW = 200
TICKS = 40

HOLDS_THEM = ["uvicorn asyncio h11", "uvicorn uvloop httptools"]


class Dripping:
    """Clients that open a request and never get to its end: each sends a byte, ten times a second."""

    def __init__(self, server: Running) -> None:
        self._clients: list[socket.socket] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._drip)
        self.closed = 0
        self.rounds = 0
        for _ in range(SLOW):
            client = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S)
            client.sendall(b"GET /short HTTP/1.1\r\nhost: a\r\nx-slow: ")
            client.setblocking(False)
            self._clients.append(client)
        self._thread.start()

    def _drip(self) -> None:
        while not self._over.wait(0.1):
            self._clients = [client for client in self._clients if self._is_open(client)]
            self.rounds += 1

    def _is_open(self, client: socket.socket) -> bool:
        with suppress(BlockingIOError):
            try:
                client.send(b"a")
                if client.recv(1024):  # 408, or an end
                    return True
            except ConnectionError:
                pass
            client.close()
            self.closed += 1
            return False
        return True

    def end(self) -> None:
        self._over.set()
        self._thread.join(PATIENCE_S)
        for client in self._clients:
            client.close()


@contextmanager
def dripping(server: Running) -> Iterator[Dripping]:
    clients = Dripping(server)
    try:
        yield clients
    finally:
        clients.end()


def ticks_of(client: socket.socket) -> int:
    """How many came until there were `TICKS`."""
    got = b""
    while got.count(b"tick") < TICKS:
        chunk = client.recv(65536)
        assert chunk
        got += chunk
    return got.count(b"tick")


@pytest.mark.parametrize("name", [*HOLDS_THEM, "hypercorn asyncio", "granian"])
def test_http_01_streams_begin_and_go_on_beside_requests_that_never_end(name: str, tmp_path: Path) -> None:
    with running(name, tmp_path) as server, dripping(server) as slow:
        before = server.connect("/endless")
        wait_until(lambda: slow.rounds)
        with before, server.connect("/endless") as behind:
            assert (TICKS, TICKS) <= (ticks_of(before), ticks_of(behind))
        assert 200 == server.ask("/healthz")[0]
        if name in HOLDS_THEM:
            assert 0 == slow.closed


@pytest.mark.parametrize(
    ("name", "option"),
    [("hypercorn asyncio", ("--keep-alive", "3")), ("granian", ("--http1-header-read-timeout", "3000"))],
    ids=["hypercorn", "granian"],
)
def test_http_01_servers_that_have_a_limit_close_them_and_keep_the_streams(
    name: str, option: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(COMMANDS, name, [*COMMANDS[name], *option])
    with running(name, tmp_path) as server, server.connect("/endless") as stream, dripping(server) as slow:
        wait_until(lambda: slow.closed == SLOW)
        assert TICKS <= ticks_of(stream)
