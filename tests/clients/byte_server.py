"""A small HTTP/1.1 server on loopback that sends exactly the bytes it is told, in the pieces it is told.

    with byte_server({"/": Answer([b"data: ...", b"..."])}) as server:
        ... f"{server.url}/" ...

Each answer goes out chunked. `hold` keeps the connection open and silent after the last piece, until the client
leaves; `server.left` is set then. A path may have several answers, one for each request in turn (the last one stays), or a
function that makes one from what was asked. `server.asked` is what came.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Asked:
    """One request. The names of its headers are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """What one path answers."""

    pieces: Sequence[bytes]
    status: int = 200
    content_type: str = "text/event-stream"
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    end: str = "whole"  # "whole" ends the body as HTTP demands, "torn" closes the socket, "hold" waits for the client to leave


Script = Answer | Sequence[Answer] | Callable[[Asked], Answer]


@dataclass
class Server:
    """Where it listens and what it saw."""

    url: str
    left: threading.Event = field(default_factory=threading.Event)
    ports: list[int] = field(default_factory=list[int])
    asked: list[Asked] = field(default_factory=list[Asked])

    @property
    def other_name(self) -> str:
        """The same server by another name, which is another origin."""
        return self.url.replace("127.0.0.1", "localhost")


@contextmanager
def byte_server(answers: Mapping[str, Script]) -> Iterator[Server]:
    """Serve until the block is left."""
    server = Server("")
    turns: dict[str, int] = {}

    def answer_to(asked: Asked) -> Answer:
        script = answers[asked.path.partition("?")[0]]
        if isinstance(script, Answer):
            return script
        if callable(script):
            return script(asked)
        turn = turns[asked.path] = turns.get(asked.path, -1) + 1
        return script[min(turn, len(script) - 1)]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

        def do_GET(self) -> None:
            self._answer(b"")

        def do_HEAD(self) -> None:
            self._answer(b"")

        def do_POST(self) -> None:
            self._answer(self.rfile.read(int(self.headers.get("content-length", 0))))

        def _answer(self, body: bytes) -> None:
            asked = Asked(self.command, self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            server.ports.append(self.client_address[1])
            server.asked.append(asked)
            answer = answer_to(asked)
            self.send_response(answer.status)
            if answer.content_type:
                self.send_header("content-type", answer.content_type)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if self.command == "HEAD" or answer.status == 204:
                if self.command == "HEAD":
                    self.send_header("content-length", "0")
                self.end_headers()
                return
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            try:
                for piece in answer.pieces:
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                    self.wfile.flush()
            except ConnectionError:
                server.left.set()
                self.close_connection = True
                return
            if answer.end == "hold":
                self.connection.settimeout(60)
                try:
                    gone = not self.connection.recv(1)
                except ConnectionError:
                    gone = True
                except TimeoutError:
                    gone = False
                if gone:
                    server.left.set()
            if answer.end != "whole":
                self.close_connection = True
                return
            self.wfile.write(b"0\r\n\r\n")

    with listening(Handler) as server.url:
        yield server


@contextmanager
def listening(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """An HTTP server on a free port, on threads of its own, for as long as the block lasts; its address."""
    listener = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    listener.daemon_threads = True
    thread = threading.Thread(target=listener.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.server_address[1]}"
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join(5)
