"""Real servers on loopback, and a connection that does not hold: what the tests of sinks stand on."""

from __future__ import annotations

import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import uvicorn
from asgi_client import App

__all__ = ["PATIENCE_S", "BrokenWire", "broken_wire", "kept_port", "served", "wait_until"]

# Longer than any wait of a test that passes: a bound, and no measure.
PATIENCE_S = 60.0


@contextmanager
def served(app: App, loop: str = "asyncio", *, lifespan: str = "off", ws: str = "none") -> Iterator[str]:
    """The base URL of a uvicorn that serves `app` in a thread; it is stopped at the end of the block."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        app,
        loop=loop,
        lifespan=lifespan,  # type: ignore[arg-type]  # one of its literals
        ws=ws,
        log_level="critical",
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


@contextmanager
def kept_port() -> Iterator[int]:
    """A port for a server that opens its socket itself, with SO_REUSEADDR as they all do: nobody else gets it meanwhile."""
    with socket.socket() as kept:
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.bind(("127.0.0.1", 0))
        yield kept.getsockname()[1]


def wait_until(so: Callable[[], object], seconds: float = PATIENCE_S) -> None:
    """Wait for another thread; the time is a bound and no measure."""
    deadline = time.monotonic() + seconds
    while not so():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.002)


class BrokenWire:
    """Passes connections on to a server, and tears so many of them in the middle of the answer.

    Attributes:
        url: Where it listens.
        torn: How many it has torn so far, each after a number of bytes that is drawn: inside of heads, chunks and frames.
    """

    def __init__(self, url: str, *, seed: int, tears: int, least_bytes: int, most_bytes: int) -> None:
        host, port = url.removeprefix("http://").split(":")
        self._upstream = (host, int(port))
        self._draw = random.Random(seed)
        self._bytes = (least_bytes, most_bytes)
        self._left = tears
        self.torn = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._threads: list[threading.Thread] = []
        self._open: set[socket.socket] = set()
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def close(self) -> None:
        """Take no more connections, and wait for those that there are."""
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for end in tuple(self._open):  # kept alive for a next request
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in (self._accepting, *self._threads):
            thread.join(PATIENCE_S)
            assert not thread.is_alive()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listening.accept()
                # Drawn here, in the order of connections, so that a seed means the same each time.
                budget = self._draw.randrange(*self._bytes) if self._left > 0 else None
                self._left -= 1
                thread = threading.Thread(target=self._pass_on, args=(client, budget, self._draw.random() < 0.5), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _pass_on(self, client: socket.socket, budget: int | None, reset: bool) -> None:
        with client, socket.create_connection(self._upstream) as server:
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open |= {client, server}
            upload = threading.Thread(target=_pump, args=(client, server), daemon=True)
            upload.start()
            with suppress(OSError):
                while chunk := server.recv(4096):
                    if budget is not None and len(chunk) >= budget:
                        client.sendall(chunk[:budget])
                        self.torn += 1
                        if reset:  # RST: what is unread at the other end may be lost, too
                            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        break
                    if budget is not None:
                        budget -= len(chunk)
                    client.sendall(chunk)
            for end in (client, server):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            upload.join(PATIENCE_S)
            self._open -= {client, server}


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while chunk := source.recv(65536):
            target.sendall(chunk)


@contextmanager
def broken_wire(url: str, *, seed: int, tears: int = 50, least_bytes: int = 1, most_bytes: int = 3000) -> Iterator[BrokenWire]:
    """A `BrokenWire` before the server at `url`."""
    wire = BrokenWire(url, seed=seed, tears=tears, least_bytes=least_bytes, most_bytes=most_bytes)
    try:
        yield wire
    finally:
        wire.close()
