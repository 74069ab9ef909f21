"""The clients of `load.py`, as a process: as little as reads, and tells how it ended.

    python benchmarks/load_clients.py HOST PORT GROUPS

GROUPS is JSON, a list of `{"kind": "sse" | "websocket", "path", "count", "said", "reads", "buffer"}`. A line on stdin is answered
with a line of JSON on stdout:

    state       how many there are, have begun (an event of theirs has come), have ended, have failed; how many were told
                "draining", with the last id that they had seen; how many bytes came
    leave       all connections are closed
"""

from __future__ import annotations

import json
import os
import re
import select
import socket
import sys
from collections import Counter
from typing import Final

# As many are being connected at once.
_CONNECTING: Final = 100
# Enough for the last event, and the end.
_TAIL: Final = 700
_TOKEN: Final = re.compile(rb'\nid: (\S+)\n|"token":"([^"]+)"')
_ADDRESSES: Final = 4

Group = dict[str, str | int | bool]


class Client:
    """One connection."""

    __slots__ = ("begun", "count", "ended", "failed", "group", "head", "reads", "sock", "tail", "told", "websocket")

    def __init__(self, sock: socket.socket, group: Group) -> None:
        self.sock = sock
        self.group = group
        self.websocket = group["kind"] == "websocket"
        self.reads = bool(group.get("reads", True))
        self.head = b""  # until the headers are there; of a WebSocket, a frame that is not whole
        self.tail = b""
        self.begun = self.ended = self.failed = self.told = False
        self.count = 0

    def take(self, data: bytes) -> None:
        self.count += len(data)
        if not self.begun:
            self.head += data
            head, found, rest = self.head.partition(b"\r\n\r\n")
            if not found:
                return
            if head.split(b" ", 2)[1] not in (b"200", b"101"):
                self.failed = True
            self.begun, self.head, data = True, b"", rest
            if self.websocket and self.group.get("said"):
                said = str(self.group["said"]).encode()
                self.sock.send(bytes((0x81, 0x80 | len(said))) + bytes(4) + said)
        if self.websocket:
            self._frames(data)
        else:
            self.tail = (self.tail + data)[-_TAIL:]

    def _frames(self, data: bytes) -> None:
        data = self.head + data
        while len(data) >= 2:
            length, begin = data[1] & 0x7F, 2
            if length == 126:
                length, begin = int.from_bytes(data[2:4], "big"), 4
            elif length == 127:
                length, begin = int.from_bytes(data[2:10], "big"), 10
            if len(data) < begin + length:
                break
            body, opcode = data[begin : begin + length], data[0] & 0x0F
            data = data[begin + length :]
            if opcode == 9:
                self.sock.send(bytes((0x8A, 0x80 | len(body))) + bytes(4) + body)
            elif opcode == 8:
                self.tail = (self.tail + b" close %d" % int.from_bytes(body[:2], "big"))[-_TAIL:]
                self.sock.send(bytes((0x88, 0x80 | 2)) + bytes(4) + body[:2])
            else:
                self.tail = (self.tail + body)[-_TAIL:]
        self.head = data

    @property
    def has_event(self) -> bool:
        return b"token" in self.tail or b"xxxx" in self.tail

    def over(self) -> None:
        """The connection is closed: was it told why?"""
        self.ended = True
        tail = self.tail
        whole = tail.endswith(b" close 1001") if self.websocket else tail.endswith(b"0\r\n\r\n")
        at = tail.rfind(b'"draining"')
        self.told = whole and at >= 0 and self._last_id_again(tail, at)

    def _last_id_again(self, tail: bytes, at: int) -> bool:
        """Whether the end holds the id of the last event before it; true where there are no ids."""
        begin = max(tail.rfind(b"data: ", 0, at), tail.rfind(b'{"type":"end"', 0, at))
        before = [one or two for one, two in _TOKEN.findall(tail[:begin])]
        return not before or b'"' + before[-1] + b'"' in tail[begin:]


def connect(host: str, port: int, group: Group, number: int) -> Client:
    sock = socket.socket()
    if group.get("buffer"):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, int(group["buffer"]))
    if host.startswith("127."):
        sock.bind((f"127.0.0.{2 + number % _ADDRESSES}", 0))
    sock.settimeout(60)
    sock.connect((host, port))
    lines = [f"GET {group['path']} HTTP/1.1", f"Host: {host}:{port}"]
    if group["kind"] == "websocket":
        lines += ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
        lines += ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
    sock.sendall("\r\n".join([*lines, "", ""]).encode())
    client = Client(sock, group)
    if not client.reads and client.websocket and group.get("said"):
        while b"\r\n\r\n" not in client.head:
            client.head += sock.recv(1)
        said = str(group["said"]).encode()
        sock.sendall(bytes((0x81, 0x80 | len(said))) + bytes(4) + said)
    sock.setblocking(False)
    return client


class Clients:
    """All of them, in one loop."""

    def __init__(self, host: str, port: int, groups: list[Group]) -> None:
        self._host, self._port = host, port
        self._wanted = [group for group in groups for _ in range(int(group["count"]))]
        self._all: list[Client] = []
        self._by_number: dict[int, Client] = {}
        self._poll = select.epoll()
        self._poll.register(0, select.EPOLLIN | select.EPOLLHUP)
        self._said = b""
        self._waiting = 0

    def run(self) -> None:
        while True:
            while len(self._all) < len(self._wanted) and self._waiting < _CONNECTING:
                self._add(self._wanted[len(self._all)])
            for number, _ in self._poll.poll():
                if number == 0:
                    self._obey()
                elif number in self._by_number:  # it has not left just now
                    self._read(self._by_number[number])

    def _add(self, group: Group) -> None:
        try:
            client = connect(self._host, self._port, group, len(self._all))
        except OSError:
            client = Client(socket.socket(), group)
            client.failed = client.ended = True
        self._all.append(client)
        if client.reads and not client.failed:
            self._by_number[client.sock.fileno()] = client
            self._poll.register(client.sock.fileno(), select.EPOLLIN)
            self._waiting += 1

    def _read(self, client: Client) -> None:
        had = client.begun
        try:
            data = client.sock.recv(1 << 16)
            if data:
                client.take(data)
        except OSError:
            data = b""
        if not data:
            self._poll.unregister(client.sock.fileno())
            client.over()
            client.sock.close()
        if not had and (client.begun or client.ended):
            self._waiting -= 1

    def _obey(self) -> None:
        data = os.read(0, 4096)
        if not data:
            os._exit(0)
        self._said += data
        while b"\n" in self._said:
            line, _, self._said = self._said.partition(b"\n")
            if line == b"leave":
                for client in self._all:
                    client.sock.close()
                self._by_number.clear()
            print(json.dumps(self._state()), flush=True)

    def _state(self) -> dict[str, int]:
        state = Counter[str]()
        for client in self._all:
            state["begun"] += client.has_event
            state["ended"] += client.ended
            state["failed"] += client.failed
            state["told"] += client.told
            state["bytes"] += client.count
        return {"connected": len(self._all), **state}


if __name__ == "__main__":
    address, where, what = sys.argv[1:]
    Clients(address, int(where), json.loads(what)).run()
