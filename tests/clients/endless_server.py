"""A server on loopback whose answer never ends, and which counts what it sent until the client left.

    with endless_server(opening, more) as server:
        ... f"{server.url}/v1/..." ...

The first `AT_ONCE` events of "more" come at once: a reader that leaves behind the tenth event has not waited for them. Then
there is one each `PACE_SECONDS`, and the connection is watched meanwhile: a client that leaves is seen at once.
"""

from __future__ import annotations

import select
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from byte_server import listening

AT_ONCE = 10
# So long that a machine which is slow to let a client leave does not send ten more by then.
PACE_SECONDS = 0.25
MOST_EVENTS = 200


@dataclass
class Endless:
    """Where it listens and what it sent."""

    url: str
    sent: int = 0
    left: threading.Event = field(default_factory=threading.Event)


@contextmanager
def endless_server(opening: Sequence[bytes], more: bytes) -> Iterator[Endless]:
    """Serve until the block is left."""
    server = Endless("")
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            self.close_connection = True
            try:
                for piece in (*opening, *[more] * AT_ONCE):
                    self._send(piece)
                while not over.is_set() and server.sent < MOST_EVENTS:
                    # Whoever listens to an endless answer has nothing to say: what can be read is that nobody is there.
                    if select.select([self.connection], [], [], PACE_SECONDS)[0]:
                        break
                    self._send(more)
            except ConnectionError:
                pass
            if not over.is_set() and server.sent < MOST_EVENTS:
                server.left.set()

        def _send(self, piece: bytes) -> None:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.flush()
            server.sent += 1

    with listening(Handler) as server.url:
        try:
            yield server
        finally:
            over.set()
