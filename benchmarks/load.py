"""Thousands of connections, and how they end: `make soak ARGS="--load all"`, or

    python benchmarks/load.py [drain,unread,cut,open,fanout,leave] [--size 1.0]

    drain    SIGTERM with 1,000 endless streams: who is told, whose `finally` has run, how long it takes
    unread   200 clients that read nothing: their weight, with that in the kernel, and when they are released
    cut      20 clients whose link is dead: when they are released
    open     10,000 open streams on one worker: their weight beside that of the same connections without us
    fanout   500 WebSockets of one stream, of which 20 read nothing: what that adds to the server's memory
    leave    a client leaves: when its source is closed

The server is a process of its own on `serve_socket` (`load_app.py`), and so are the clients (`load_clients.py`). Weight is what
the server's resident memory grew by. While streams are open, `GET /healthz` on a fresh connection is timed again and again.
`--size 0.1` does all of it with a tenth of the clients.

Cutting a link needs the command `ip` and the right to make a network namespace.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import IO, Final, cast

import msgspec

from streamkit.sinks.sockets import serve_socket

HERE: Final = Path(__file__).parent
DRAIN_S: Final = 2.0
# As `load_app.py` has it.
BURST_EVENTS: Final = 300
PATIENCE_S: Final = 120.0
# Longer than the ten seconds between two tokens of an open stream.
WATCHED_S: Final = 12.0
# Between two looks whether memory still gets less.
SETTLING_S: Final = 1.0


class Row(msgspec.Struct, frozen=True):
    """One figure: at most `hold`, or with `least` at least that; None promises nothing."""

    what: str
    figure: float
    unit: str
    hold: float | None = None
    least: bool = False

    @property
    def met(self) -> bool:
        return self.hold is None or (self.figure >= self.hold if self.least else self.figure <= self.hold)

    def __str__(self) -> str:
        promise = "" if self.hold is None else f"{'>=' if self.least else '<='} {self.hold:g}"
        return f"{self.what:92} {self.figure:12,.1f} {self.unit:10} {promise:12} {'' if self.met else 'MISSED'}".rstrip()


# ---- processes


class Child:
    """A process that answers lines with lines of JSON."""

    def __init__(self, command: Sequence[str], *, fd: int | None = None, **environment: str) -> None:
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=() if fd is None else (fd,),
            env={**os.environ, **environment},
            text=True,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._in: IO[str] = self.process.stdin
        self._out: IO[str] = self.process.stdout

    def ask(self, command: str) -> dict[str, int]:
        return cast("dict[str, int]", self._ask(command))

    def times(self, command: str) -> list[float]:
        return cast("list[float]", self._ask(command))

    def _ask(self, command: str) -> object:
        print(command, file=self._in, flush=True)
        return self.last_words()

    def last_words(self) -> object:
        line = self._out.readline()
        if not line:
            raise AssertionError(f"a process of the load ended by itself: {self.process.poll()}")
        return json.loads(line)

    @property
    def resident(self) -> int:
        fields = Path(f"/proc/{self.process.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

    def end(self) -> None:
        """End it, and whatever it says."""
        self._in.close()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(20)
        self._out.close()


class Server(Child):
    """`load_app.py` on a socket of ours."""

    def __init__(self, kind: str = "uvicorn", host: str = "127.0.0.1", listening: socket.socket | None = None) -> None:
        listening = listening or serve_socket(host)
        with listening:
            self.host, self.port = listening.getsockname()[:2]
            fd = listening.fileno()
            super().__init__([sys.executable, str(HERE / "load_app.py"), kind, str(fd)], fd=fd, LOAD_DRAIN_S=str(DRAIN_S))
        self.ask("trim")

    @property
    def running(self) -> int:
        counts = self.ask("counts")
        return counts["opened"] - counts["closed"]

    def kernel_bytes(self) -> int:
        """What waits in the kernel for all of its clients, and what it keeps for them (`ss -m`, sock_diag(7))."""
        told = subprocess.run(["ss", "-tnmH", f"sport = :{self.port}"], check=True, capture_output=True, text=True).stdout
        return sum(int(number) for number in re.findall(r"(?:skmem:\(|,)(?:r|f|w)(\d+)", told))


def clients(server: Server, *groups: dict[str, object], before: Sequence[str] = ()) -> Child:
    """`load_clients.py`, which goes for that server at once."""
    return Child([*before, sys.executable, str(HERE / "load_clients.py"), server.host, str(server.port), json.dumps(groups)])


@contextmanager
def ended(*children: Child) -> Generator[None]:
    try:
        yield
    finally:
        for child in reversed(children):
            child.end()


def wait_until(so: Callable[[], object], what: str) -> None:
    """Ask other processes until it is so."""
    begun = time.monotonic()
    while not so():
        if time.monotonic() - begun > PATIENCE_S:
            raise AssertionError(f"after {PATIENCE_S:g} s still not so: {what}")
        time.sleep(0.05)


class Health:
    """Asks `/healthz` again and again, in a thread; for how long it waited each time, in ms."""

    def __init__(self, server: Server) -> None:
        self._where = (server.host, server.port)
        self._stop = threading.Event()
        self.waited: list[float] = []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Health:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.1):
            begun = time.monotonic()
            with suppress(OSError), socket.create_connection(self._where, timeout=10) as sock:
                sock.sendall(b"GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
                if not sock.recv(4096).startswith(b"HTTP/1.1 200"):
                    raise AssertionError("the server says that it is ill")
                self.waited.append((time.monotonic() - begun) * 1000)
                continue
            self.waited.append(float("inf"))

    def rows(self, when: str) -> list[Row]:
        ordered = sorted(self.waited)
        late = ordered[min(len(ordered) * 99 // 100, len(ordered) - 1)]
        return [
            Row(f"{when}: health, median of {len(ordered)}", median(ordered), "ms", 50),
            Row(f"{when}: health, 99 of 100", late, "ms", 50),
        ]


def _group(kind: str, count: int, tick: float = 0.5, **more: object) -> dict[str, object]:
    if kind not in ("sse", "hub", "flood"):
        start = {"type": "send", "request": "1", "input": tick}
        said = json.dumps({"type": "resume", "stream": "all"} if kind == "shared" else start)
        return {"kind": "websocket", "path": "/ws", "said": said, "count": count, **more}
    return {"kind": "sse", "path": f"/{kind}?tick={tick}", "count": count, **more}


def _server_of(kind: str) -> str:
    return "websockets" if kind in ("library", "shared") else "uvicorn"


NAMES: Final = {
    "sse": "SSE",
    "hub": "SSE of a hub",
    "websocket": "WebSocket, uvicorn",
    "library": "WebSocket, websockets",
    "shared": "WebSocket, websockets, all of one stream",
}


# ---- SIGTERM


def drain(kind: str, count: int) -> list[Row]:
    """SIGTERM while so many endless streams are read."""
    server = Server(_server_of(kind))
    readers = clients(server, _group(kind, count))
    with ended(server, readers):
        wait_until(lambda: readers.ask("state")["begun"] == count, f"{count} streams are read")
        begun = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(DRAIN_S + 30)
        took = time.monotonic() - begun
        last = cast("dict[str, int]", server.last_words())
        wait_until(lambda: readers.ask("state")["ended"] == count, "all clients have seen the end")
        state = readers.ask("state")
    what = f"SIGTERM, {count} x {NAMES[kind]}"
    return [
        Row(f"{what}: told 'draining' with the last id", state["told"], "clients", count, least=True),
        Row(f"{what}: `finally` has run", last["closed"], "sources", count, least=True),
        Row(f"{what}: exit, with a drain limit of {DRAIN_S:g} s", took, "s", DRAIN_S + 1),
    ]


# ---- who reads nothing


def unread(kind: str, count: int, tick: float) -> list[Row]:
    """Clients that read nothing, of a stream that floods them (tick 0) or gives 4 KB so often."""
    server = Server()
    with ended(server), Health(server) as health:
        empty, kernel = server.resident, server.kernel_bytes()
        readers = clients(server, _group(kind, count, tick, reads=False, buffer=4096))
        with ended(readers):
            wait_until(lambda: server.ask("counts")["opened"] == count, "all streams have begun")
            begun = time.monotonic()
            most = [0.0, 0.0]

            def released() -> bool:
                now = server.resident - empty, server.kernel_bytes() - kernel
                if sum(now) > sum(most):
                    most[:] = now
                return server.running == 0

            wait_until(released, "all sources are closed")
            took = time.monotonic() - begun
    pace = f"4 KB each {tick:g} s" if tick else "a flood"
    what = f"{count} clients that read nothing of {pace}, {NAMES['sse' if kind == 'flood' else kind]}"
    return [
        Row(f"{what}: in the process, each", most[0] / count / 1024, "KiB"),
        Row(f"{what}: in the kernel, each", most[1] / count / 1024, "KiB"),
        Row(f"{what}: together, each", sum(most) / count / 1024, "KiB", 256),
        Row(f"{what}: all released after", took, "s", 30),
        *health.rows(what),
    ]


# ---- whose link is dead


@contextmanager
def link() -> Generator[tuple[str, Sequence[str], Callable[[], None]]]:
    """A cable to another machine: our address on it, what runs a command over there, and what cuts it."""
    name = f"load{os.getpid()}"
    near, far = f"ln{os.getpid()}", f"lf{os.getpid()}"

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True, timeout=10)

    ip("netns", "add", name)
    try:
        ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", name)
        ip("addr", "add", "10.203.78.1/30", "dev", near)
        ip("link", "set", near, "up")
        ip("-n", name, "addr", "add", "10.203.78.2/30", "dev", far)
        ip("-n", name, "link", "set", far, "up")
        yield "10.203.78.1", ("ip", "netns", "exec", name), lambda: ip("-n", name, "link", "set", far, "down")
    finally:
        subprocess.run(["ip", "link", "del", near], check=False, capture_output=True, timeout=10)
        ip("netns", "del", name)


def cut(count: int) -> list[Row]:
    """The link of so many clients is cut: half of them are sent something, half are idle."""
    fourth = count // 4
    with link() as (address, there, sever):
        server = Server(host=address)
        groups = [_group(kind, fourth, tick) for kind in ("sse", "websocket") for tick in (0.5, 0)]
        with ended(server), Health(server) as health:
            readers = clients(server, *groups, before=there)
            try:
                wait_until(lambda: readers.ask("state")["begun"] == 4 * fourth, "all streams are read")
                sever()
                begun = time.monotonic()
                wait_until(lambda: server.running == 0, "all sources are closed")
                took = time.monotonic() - begun
                released = server.ask("counts")["closed"]
            finally:
                readers.process.kill()
                readers.end()
    what = f"{4 * fourth} clients whose link is dead, SSE and WebSocket, ticking and idle"
    return [
        Row(f"{what}: released", released, "sources", 4 * fourth, least=True),
        Row(f"{what}: after", took, "s", 30),
        *health.rows(what),
    ]


# ---- many that are open


def open_streams(kind: str, count: int, bare: str, hold: float) -> list[Row]:
    """So many streams with a token every ten seconds: what each weighs, and what stays."""
    what = f"{count} open streams, {NAMES[kind]}"
    alone = _weigh(_server_of(kind), {**_group(kind, count), "path": f"/{bare}", "said": ""}, count)
    ours = _weigh(_server_of(kind), _group(kind, count, 10.0), count)
    return [
        Row(f"{what}: failed", ours.failed, "streams", 0),
        Row(f"{what}: each", ours.each, "KB", hold),
        Row(f"{what}: of that the server's own, a bare connection", alone.each, "KB"),
        Row(f"{what}: Python's memory blocks that are left when they have gone", ours.blocks * 100, "%", 2),
        Row(f"{what}: resident memory that is left when they have gone", ours.left * 100, "%"),
        Row(f"{what}: the same of bare connections", alone.left * 100, "%"),
        *(ours.health.rows(what) if ours.health.waited else []),
    ]


class Weight(msgspec.Struct):
    """KB of each client; how many failed; which part of memory and of blocks is left behind; the health meanwhile."""

    each: float
    failed: int
    left: float
    blocks: float
    health: Health


def _weigh(kind: str, group: dict[str, object], count: int) -> Weight:
    server = Server(kind)
    with ended(server):
        _warm_up(server, group)
        empty, blocks = server.resident, server.ask("trim")["blocks"]
        readers = clients(server, {**group, "count": count})
        with ended(readers):

            def all_read() -> bool:
                state = readers.ask("state")
                return state["begun"] + state["failed"] >= count

            wait_until(all_read, f"{count} streams are read")
            health = Health(server)
            if kind == "uvicorn":
                with health:
                    time.sleep(WATCHED_S)
            full, most_blocks = server.resident, server.ask("counts")["blocks"]
            state = readers.ask("state")
            readers.ask("leave")
            wait_until(lambda: server.running == 0, "all sources are closed")
        left_blocks = _settled(server)
        left = server.resident
    failed = count - state["begun"] + state["ended"]
    grown = full - empty
    return Weight(grown / count / 1024, failed, (left - empty) / grown, (left_blocks - blocks) / (most_blocks - blocks), health)


def _settled(server: Server) -> int:
    """Python's memory blocks, once they get fewer no more: what is forgotten after a time is forgotten."""
    blocks, same = server.ask("trim")["blocks"], 0
    while same < 3:
        time.sleep(SETTLING_S)
        before, blocks = blocks, server.ask("trim")["blocks"]
        same = 0 if blocks < before * 0.999 else same + 1
    return blocks


def _warm_up(server: Server, group: dict[str, object]) -> None:
    """Have everything loaded that is loaded with the first clients."""
    few = clients(server, {**group, "count": 20})
    with ended(few):
        wait_until(lambda: few.ask("state")["begun"] == 20, "the first streams are read")
    wait_until(lambda: server.running == 0, "the first sources are closed")
    server.ask("trim")


# ---- who reads nothing of what others read


def fan_out(count: int, stalled: int) -> list[Row]:
    """What those add to the server's memory who read nothing of a stream that many others read."""
    ours = _growth("websockets", count, stalled, {**_group("shared", 0), "said": '{"type":"resume","stream":"burst"}'})
    theirs = _growth("broadcast", count, stalled, {"kind": "websocket", "path": "/", "said": ""})
    what = f"{count} WebSockets of one stream, {stalled} of them read nothing"
    return [
        Row(f"{what}: memory grows by", ours / 1e6, "MB"),
        Row(f"{what}: by that of websockets.broadcast", theirs / 1e6, "MB"),
        Row(f"{what}: ours of theirs", ours / theirs * 100, "%", 10),
    ]


def _growth(kind: str, count: int, stalled: int, group: dict[str, object]) -> float:
    # For longer than all of it takes: the kernel is not to release anybody.
    server = Server(kind, listening=serve_socket(stalled=600.0))
    readers = clients(server, {**group, "count": count - stalled})
    others = clients(server, {**group, "count": stalled, "reads": False, "buffer": 4096})
    with ended(server, readers, others):
        wait_until(lambda: server.ask("counts")["connected"] == count, "all are connected")
        time.sleep(1)
        server.ask("trim")
        before = most = server.resident
        started = server.ask("burst")["burst"]

        def sent() -> bool:
            nonlocal most
            most = max(most, server.resident)
            return server.ask("counts")["burst"] >= started + BURST_EVENTS

        wait_until(sent, "all was sent")
        return most - before


# ---- who leaves


def leave(kind: str, count: int) -> list[Row]:
    """From the client's close() to the end of the source's `finally`."""
    server = Server()
    waited: list[float] = []
    with ended(server):
        for number in range(count):
            with socket.create_connection((server.host, server.port), timeout=60) as sock:
                _read_one(sock, kind)
                begun = time.monotonic()
            wait_until(lambda number=number: server.ask("counts")["closed"] == number + 1, "the source is closed")  # type: ignore[misc]
            waited.append((server.times("closings")[-1] - begun) * 1000)
    what = f"a client leaves, {NAMES[kind]}"
    return [
        Row(f"{what}: source closed after, median of {count}", median(waited), "ms", 5),
        Row(f"{what}: source closed after, the slowest of {count}", max(waited), "ms"),
    ]


def _read_one(sock: socket.socket, kind: str) -> None:
    group = _group(kind, 1, 0.5)
    request = f"GET {group['path']} HTTP/1.1\r\nHost: a\r\n"
    if kind == "websocket":
        request += "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        request += "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    sock.sendall(f"{request}\r\n".encode())
    got = b""
    if kind == "websocket":
        while b"\r\n\r\n" not in got:
            got += sock.recv(4096)
        said = str(group["said"]).encode()
        sock.sendall(bytes((0x81, 0x80 | len(said))) + bytes(4) + said)
    while b"token " not in got:
        got += sock.recv(4096)


# ---- all


def scenarios(size: float) -> dict[str, list[Callable[[], list[Row]]]]:
    """What there is to do, by name, with so many of the usual number of clients."""

    def many(count: int) -> int:
        return max(4, round(count * size))

    return {
        "drain": [lambda kind=kind: drain(kind, many(1000)) for kind in ("sse", "hub", "websocket", "library")],  # type: ignore[misc]
        "unread": [
            lambda: unread("flood", many(200), 0.0),
            lambda: unread("flood", many(200), 1.0),
        ],
        "cut": [lambda: cut(20)],
        "open": [
            lambda: open_streams("sse", many(10_000), "bare", 20),
            lambda: open_streams("hub", many(10_000), "bare", 20),
            lambda: open_streams("websocket", many(10_000), "bare-ws", 30),
            lambda: open_streams("library", many(10_000), "bare-ws", 30),
            lambda: open_streams("shared", many(10_000), "bare-ws", 30),
        ],
        "fanout": [lambda: fan_out(many(500), many(20))],
        "leave": [lambda kind=kind: leave(kind, many(100)) for kind in ("sse", "hub", "websocket")],  # type: ignore[misc]
    }


def main(argv: list[str] | None = None) -> int:
    options = argparse.ArgumentParser(description="Thousands of connections, and how they end.")
    options.add_argument("what", nargs="?", default="all", help="all, or some of drain,unread,cut,open,fanout,leave")
    options.add_argument("--size", type=float, default=1.0, help="as many times the usual number of clients")
    typed = options.parse_args(argv)
    there = scenarios(typed.size)
    names = list(there) if typed.what == "all" else [name.strip() for name in typed.what.split(",")]
    if unknown := set(names) - set(there):
        raise SystemExit(f"no such load: {', '.join(sorted(unknown))}; there are {', '.join(there)}")
    missed = 0
    for name in names:
        for scenario in there[name]:
            for row in scenario():
                missed += not row.met
                print(row, flush=True)
    print(f"load: {'every promise kept' if not missed else f'{missed} missed'}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
