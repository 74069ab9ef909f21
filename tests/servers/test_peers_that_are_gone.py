"""Clients that read nothing and clients whose link is dead, on our socket: released by the kernel, and soon."""

from __future__ import annotations

import ipaddress
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest
from running import PATIENCE_S, running, wait_until

from streamkit.sinks.sockets import serve_socket

STALLED_S = 2.0
SERVER = "uvicorn uvloop httptools"


def test_http_03_a_client_that_stops_reading_a_stream_of_tokens_is_noticed_by_its_shut_window(tmp_path: Path) -> None:
    # Some 4 kB a second: `send` never waits, so nothing in the process could notice.
    with running(SERVER, tmp_path, serve_socket(stalled=STALLED_S, idle=1.0)) as server, ExitStack() as clients:
        for _ in range(10):
            clients.enter_context(server.connect("/endless", receive_buffer=2048))
        wait_until(lambda: server.noted("endless closed") == 10)


@pytest.mark.parametrize("name", [SERVER, "uvicorn asyncio h11", "hypercorn asyncio", "hypercorn trio"])
def test_http_03_a_client_that_stops_reading_is_noticed_while_its_window_is_open_and_readers_stay(
    name: str, tmp_path: Path
) -> None:
    # Sockets as every system makes them: megabytes fit in before any `send` waits. Who does not read is seen after half of the
    # seconds; the one that reads may stand still for less on a busy machine.
    listening = socket.create_server(("127.0.0.1", 0))
    with running(name, tmp_path, listening, MATRIX_SEND_TIMEOUT="5") as server, ExitStack() as clients:
        reads = clients.enter_context(server.connect("/paragraphs"))
        for _ in range(5):
            clients.enter_context(server.connect("/paragraphs"))
        got = 0

        def five_are_released() -> bool:
            nonlocal got
            got += len(reads.recv(65536))
            return server.noted("paragraphs closed") == 5

        wait_until(five_are_released)
        wait_until(lambda: server.open_streams() == 1)
        assert got < 1_500_000
        for _ in range(20):
            assert reads.recv(65536)


def test_http_03_a_client_whose_own_kernel_takes_all_tokens_holds_nothing_but_its_stream_here(tmp_path: Path) -> None:
    # 80 bytes at a time make a Linux client's buffer larger and larger, so that all seems to arrive.
    with running(SERVER, tmp_path) as server, ExitStack() as clients:
        before = resident(server.process.pid)
        reads = clients.enter_context(server.connect("/endless"))
        for _ in range(100):
            clients.enter_context(server.connect("/endless"))
        wait_until(lambda: server.open_streams() == 101)
        got = b""
        while got.count(b"tick") < 100:
            got += reads.recv(65536)
        assert 101 == server.open_streams()
        assert (resident(server.process.pid) - before) / 100 <= 64 * 1024
        assert unsent(server.port) <= 100 * 4096


def unsent(port: int) -> int:
    """Bytes that wait in this machine's kernel to be sent from, or to be acknowledged to, a port: proc(5), /proc/net/tcp."""
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(int(row[4].split(":")[0], 16) for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "01")


class Link(msgspec.Struct):
    """A cable to another machine: a pair of virtual devices, one of them in a network namespace of its own."""

    namespace: str
    device: str
    near: str
    here: str

    def cut(self) -> None:
        ip("-n", self.namespace, "link", "set", self.device, "down")


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=PATIENCE_S)


@pytest.fixture
def link() -> Iterator[Link]:
    if shutil.which("ip") is None:
        pytest.skip("HTTP-04 needs the command ip (iproute2) for a link that can be cut")
    # Of this process, as are its names: others may do the same at the same time.
    network = f"10.203.{os.getpid() // 64 % 256}.{os.getpid() % 64 * 4}"
    near, far = (str(ipaddress.ip_address(network) + number) for number in (1, 2))
    link = Link(f"streamkit-{os.getpid()}", f"skf{os.getpid()}", f"skn{os.getpid()}", near)
    try:
        ip("netns", "add", link.namespace)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"HTTP-04 needs the right to make a network namespace: {error.stderr.decode().strip()}")
    try:
        ip("link", "add", link.near, "type", "veth", "peer", "name", link.device, "netns", link.namespace)
        ip("addr", "add", f"{link.here}/30", "dev", link.near)
        ip("link", "set", link.near, "up")
        ip("-n", link.namespace, "addr", "add", f"{far}/30", "dev", link.device)
        ip("-n", link.namespace, "link", "set", link.device, "up")
        yield link
    finally:
        subprocess.run(["ip", "link", "del", link.near], check=False, capture_output=True, timeout=PATIENCE_S)
        ip("netns", "del", link.namespace)


FAR_CLIENT = """
import socket, sys
clients = []
for path in ["/endless", "/waiting"] * 10:
    client = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=60)
    client.sendall(b"GET %b HTTP/1.1\\r\\nhost: a\\r\\n\\r\\n" % path.encode())
    clients.append(client)
print("connected", flush=True)
sys.stdin.read()
"""


def test_http_04_clients_whose_link_is_dead_are_released_whether_their_streams_tick_or_are_idle(link: Link, tmp_path: Path) -> None:
    listening = serve_socket(link.here, stalled=STALLED_S, idle=1.0)
    with running(SERVER, tmp_path, listening) as server:
        far = subprocess.Popen(
            ["ip", "netns", "exec", link.namespace, sys.executable, "-c", FAR_CLIENT, server.host, str(server.port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        with far:
            assert far.stdout is not None
            assert b"connected\n" == far.stdout.readline()
            wait_until(lambda: server.open_streams() == 20)
            begun = time.monotonic()
            link.cut()
            wait_until(lambda: server.noted("endless closed") + server.noted("waiting closed") == 20)
            assert time.monotonic() - begun >= STALLED_S / 2  # and not because the link told anybody
            wait_until(lambda: server.open_streams() == 0)
            far.kill()


def test_http_02_clients_that_read_nothing_weigh_little_and_are_released(tmp_path: Path) -> None:
    with running(SERVER, tmp_path, serve_socket(stalled=STALLED_S)) as server, ExitStack() as clients:
        before = resident(server.process.pid)
        for _ in range(40):
            clients.enter_context(server.connect("/flood", receive_buffer=4096))
        most = 0

        def all_released() -> bool:
            nonlocal most
            most = max(most, resident(server.process.pid) - before + 40 * KERNEL_BYTES)
            return server.noted("flood closed") == 40

        wait_until(all_released)
        assert most / 40 <= 256 * 1024
        wait_until(lambda: server.open_streams() == 0)


# What waits in the kernel for one client: SO_SNDBUF, doubled by Linux.
KERNEL_BYTES = 128 * 1024


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
