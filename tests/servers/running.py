"""Servers as subprocesses, each on our own socket where it takes one: how they start, and how they are ended."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from streamkit.sinks.sockets import serve_socket

HERE: Final = Path(__file__).parent

# Longer than any wait of a test that passes: a bound, and no measure.
PATIENCE_S: Final = 60.0
# What a server grants its streams by itself, which ours never need: one that takes this long was not ended by us.
GRACEFUL_S: Final = 60
# granian's own, whose sockets nobody can reach; time enough to tell fifty clients on a machine that stands still for seconds.
GRANIAN_KILLS_S: Final = 5

# `{fd}` is the listening socket, `{port}` its port.
COMMANDS: Final[dict[str, list[str]]] = {
    **{
        f"uvicorn {loop} {http}": [
            *("-m", "uvicorn", "matrix_app:app", "--fd", "{fd}", "--loop", loop, "--http", http),
            *("--log-level", "warning", "--timeout-graceful-shutdown", str(GRACEFUL_S)),
        ]
        for loop in ("asyncio", "uvloop")
        for http in ("h11", "httptools")
    },
    "hypercorn asyncio": [
        *("-m", "hypercorn", "matrix_app:app", "--bind", "fd://{fd}", "--workers", "0"),
        *("--graceful-timeout", str(GRACEFUL_S), "--log-level", "warning"),
    ],
    "hypercorn trio": [str(HERE / "hypercorn_on_trio.py"), "{fd}"],
    "granian": [
        *("-m", "granian", "--interface", "asgi", "--host", "127.0.0.1", "--port", "{port}"),
        *("--workers-kill-timeout", str(GRANIAN_KILLS_S), "--log-level", "warning", "matrix_app:app"),
    ],
    "gunicorn": [
        *("-m", "gunicorn", "matrix_app:app", "--bind", "fd://{fd}", "-k", "uvicorn_worker.UvicornWorker"),
        *("--graceful-timeout", str(GRACEFUL_S), "--log-level", "warning", "--no-control-socket"),
    ],
    # As it comes: its process gets the signal, and the worker, which is another, does not.
    "hypercorn with a worker process": [
        *("-m", "hypercorn", "matrix_app:app", "--bind", "fd://{fd}", "--graceful-timeout", "2", "--log-level", "warning"),
    ],
}


# Servers that are no part of the matrix: they differ from one of it in how they hear signals.
ALSO: Final = {"hypercorn asyncio, from a script": [str(HERE / "hypercorn_on_asyncio.py"), "{fd}"]}


class Running(msgspec.Struct):
    """A server that runs."""

    name: str
    host: str
    port: int
    process: subprocess.Popen[bytes]
    log: Path
    errors: Path

    def connect(self, path: str, *, receive_buffer: int | None = None, last_id: str = "") -> socket.socket:
        """A connection that has asked for a path, from behind an id if there is one."""
        client = socket.socket()
        if receive_buffer is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.settimeout(PATIENCE_S)
        try:
            client.connect((self.host, self.port))
        except OSError:
            client.close()
            raise
        header = f"last-event-id: {last_id}\r\n" if last_id else ""
        client.sendall(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{header}\r\n".encode())
        return client

    def ask(self, path: str) -> tuple[int, bytes]:
        """Status and body of an answer that ends."""
        with self.connect(path) as client:
            client.sendall(b"")
            return parsed(read_answer(client))

    def open_streams(self) -> int:
        return int(json.loads(self.ask("/open")[1])["open"]) - 1

    def noted(self, word: str) -> int:
        return self.log.read_text().splitlines().count(word)

    def stop(self) -> float:
        """SIGTERM; how many seconds it took: less than `GRACEFUL_S`, so that the server did not end its streams by itself.

        How many exactly is seen on the virtual clock (tests/sinks/test_draining.py): here a busy machine takes its part.
        """
        begun = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(GRACEFUL_S / 2)
        return time.monotonic() - begun


def end_with_parent() -> None:
    """Have the kernel kill this process when the one that started it is gone: PR_SET_PDEATHSIG of prctl(2)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def read_answer(client: socket.socket) -> bytes:
    """All bytes of a chunked answer, or up to its length, or to the end of the connection."""
    got = b""
    while True:
        head, _, body = got.partition(b"\r\n\r\n")
        lowered = head.lower()
        if b"transfer-encoding: chunked" in lowered and body.endswith(b"0\r\n\r\n"):
            return got
        if b"content-length: " in lowered and len(body) >= int(lowered.split(b"content-length: ")[1].split(b"\r")[0]):
            return got
        with suppress(ConnectionResetError):
            if chunk := client.recv(65536):
                got += chunk
                continue
        return got


def parsed(answer: bytes) -> tuple[int, bytes]:
    """Status and body, without the chunks; the body of one that was cut ends where it was cut."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status = int(head.split(b" ")[1]) if head else 0
    if b"transfer-encoding: chunked" not in head.lower():
        return status, body
    parts: list[bytes] = []
    while b"\r\n" in body:
        size, _, body = body.partition(b"\r\n")
        length = int(size.split(b";")[0], 16)
        parts.append(body[:length])
        body = body[length + 2 :]
    return status, b"".join(parts)


@contextmanager
def running(
    name: str, folder: Path, listening: socket.socket | None = None, *, app: str = "matrix_app:app", **environment: str
) -> Iterator[Running]:
    """A server of `COMMANDS` or `ALSO`, until the end of the block; on a socket of its own, unless given."""
    log, errors = folder / "noted", folder / "errors"
    folder.mkdir(exist_ok=True)
    log.touch()
    kept = socket.socket()
    if name == "granian":  # it opens its socket itself; ours, which does not listen, keeps the port from everybody else
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.bind(("127.0.0.1", 0))
        host, port = kept.getsockname()
    else:
        listening = listening or serve_socket(stalled=5.0)
        host, port = listening.getsockname()[:2]
    fd = -1 if listening is None else listening.fileno()
    command = [part.format(fd=fd, port=port).replace("matrix_app:app", app) for part in (COMMANDS | ALSO)[name]]
    with errors.open("wb") as told:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=HERE,
            env={**os.environ, "MATRIX_LOG": str(log), "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "ignore", **environment},
            preexec_fn=end_with_parent,  # the child runs nothing else of this process
            pass_fds=() if listening is None else (fd,),
            stdout=told,
            stderr=told,
        )
    if listening is not None:
        listening.close()
    server = Running(name, host, port, process, log, errors)
    try:
        wait_until(lambda: answers(server))
        yield server
    finally:
        kept.close()
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(PATIENCE_S)


def answers(server: Running) -> bool:
    assert server.process.poll() is None, server.errors.read_text()
    with suppress(OSError):
        return server.ask("/healthz")[0] == 200
    return False


def wait_until(so: Callable[[], Any], seconds: float = PATIENCE_S) -> None:
    """Wait for another process; the time is a bound and no measure."""
    deadline = time.monotonic() + seconds
    while not so():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)
