"""The sockets: HTTP/1.1 on loopback, one thread for each connection, bounded in number and in time.

A connection is `waiting for a request -> answering -> waiting ...` until the client closes it, the block ends, or its time is
up. A client that leaves in the middle of an answer is noticed before the next write, and at once during a pause.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer
from typing import Any, Final, cast

from streamkit.dialects.protocol import Dialect
from streamkit.dialects.registry import get
from streamkit.sinks.codec import Codec
from streamkit.testing.servers.answers import HOLD, Answer, Bytes, Pause, Script, Step, refusal, steps_of
from streamkit.testing.servers.faults import Fault
from streamkit.testing.servers.seen import Seen

__all__ = ["Server", "provider"]

_PATHS: Final = {"openai-chat": "/chat/completions", "openai-responses": "/responses", "anthropic": "/messages"}
_ID_HEADERS: Final = {"anthropic": "request-id"}
_MOST_CONNECTIONS: Final = 64
_MOST_BODY: Final = 64 * 1024 * 1024

# Seconds that a test waits for what is about to happen, on a machine that may be busy.
PATIENCE: Final = 30.0


@contextmanager
def provider(
    dialect: str | Dialect, script: Script = "Hello from here.", *faults: Fault, seconds: float = 30.0
) -> Generator[Server]:
    """A provider that listens until the block is left.

    Args:
        dialect: What it speaks: the name of a dialect that can be written, or a `Dialect`.
        script: What it says to each request: text (sent word by word, with usage and a finish), an iterable of events,
            strings and pauses (a float, in seconds), or a callable that gets the request's body, parsed, and gives
            one of these.
        faults: What goes wrong, applied from left to right (`streamkit.testing.servers.faults`).
        seconds: The longest life of a connection.

    Memory: one event of an answer, and all requests seen.
    Cancellation: leaving the block closes all connections.
    Raises:
        ConfigError: the dialect is unknown, or can only be read.
        What the script raised, when the block is left: the server is not to blame.

    >>> import http.client
    >>> with provider("native", "Hi") as server:
    ...     asking = http.client.HTTPConnection("127.0.0.1", server.port)
    ...     asking.request("POST", "/", '{"stream": true}')
    ...     lines = asking.getresponse().read().splitlines()
    ...     asking.close()
    >>> lines[2], server.requests[0].json
    (b'data: {"type":"text-delta","text":"Hi"}', {'stream': True})
    """
    found = get(dialect) if isinstance(dialect, str) else dialect
    Codec(found)  # says here what is wrong with it
    server = Server(found, script, faults, seconds)
    try:
        yield server
    finally:
        server.close()
    if server.failure is not None:
        raise server.failure


class Server:
    """A provider that listens: made by `provider`.

    Attributes:
        url: Where: `http://127.0.0.1:<port>`, without a path.
        port: The port alone.
        seconds: The longest life of a connection.
        requests: All that was asked, in order, with what became of each (`Seen`).
        left: Set when a client has closed its connection in the middle of an answer.
        connections: How many were accepted.
        failure: What the script raised, or None.

    Memory: the requests.
    Cancellation: none; a waiting method blocks its thread, so an async test calls it in another one
        (`await anyio.to_thread.run_sync(server.wait_left)`).
    """

    def __init__(self, dialect: Dialect, script: Script, faults: tuple[Fault, ...], seconds: float) -> None:
        self.requests: list[Seen] = []
        self.left = threading.Event()
        self.connections = 0
        self.failure: BaseException | None = None
        self._dialect = dialect
        self._script = script
        self._faults = faults
        self.seconds = seconds
        self._answers = 0
        self._changed = threading.Condition()
        self._listener = _Listener(self)
        self.port: int = self._listener.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._listener.serve_forever, args=(0.02,), daemon=True, name="provider")
        self._thread.start()

    @property
    def sent(self) -> list[int]:
        """For each request the events of its answer that were handed to the socket."""
        return [seen.sent for seen in self.requests]

    def wait_left(self, seconds: float = PATIENCE) -> None:
        """Wait until a client has left in the middle of an answer.

        Raises:
            TimeoutError: none has.
        """
        if not self.left.wait(seconds):
            raise TimeoutError(f"no client has left within {seconds:g} s: {self.requests}")

    def wait_sent(self, events: int, seconds: float = PATIENCE) -> None:
        """Wait until some answer has come to so many events.

        Raises:
            TimeoutError: none has.
        """
        self._wait(lambda: any(count >= events for count in self.sent), f"{events} events sent", seconds)

    def wait_requests(self, requests: int = 1, seconds: float = PATIENCE) -> None:
        """Wait until so many requests have come.

        Raises:
            TimeoutError: they have not.
        """
        self._wait(lambda: len(self.requests) >= requests, f"{requests} requests", seconds)

    def wait_connections(self, connections: int = 1, seconds: float = PATIENCE) -> None:
        """Wait until so many connections were accepted.

        Raises:
            TimeoutError: they were not.
        """
        self._wait(lambda: self.connections >= connections, f"{connections} connections", seconds)

    def wait_done(self, requests: int = 1, seconds: float = PATIENCE) -> None:
        """Wait until so many answers are over, whole or not.

        Raises:
            TimeoutError: they are not.
        """
        self._wait(lambda: sum(seen.done for seen in self.requests) >= requests, f"{requests} answers over", seconds)

    def close(self) -> None:
        """Stop listening, close all connections, and wait for their threads. `provider` does it."""
        self._listener.shutdown()
        self._listener.close_all()
        self._listener.server_close()
        self._thread.join(PATIENCE)

    def _wait(self, met: Callable[[], bool], what: str, seconds: float) -> None:
        with self._changed:
            if not self._changed.wait_for(met, seconds):
                raise TimeoutError(f"not within {seconds:g} s: {what}; {self.requests}")

    # ---- for the connections' threads ---------------------------------------------------------

    def answer_to(self, seen: Seen) -> Answer:
        """What to say to a request."""
        with self._changed:
            self.requests.append(seen)
            self._changed.notify_all()
        name = self._dialect.name
        id_header = _ID_HEADERS.get(name, "x-request-id")
        path = seen.path.partition("?")[0].rstrip("/")
        if seen.method == "GET" and path.endswith("/models"):
            return _whole(name, 200, _MODELS)
        if seen.method != "POST" or not path.endswith(_PATHS.get(name, "")):
            return _whole(name, 404, refusal(name, 404, f"there is no {seen.method} {path or '/'} here"))
        body = _object(seen.json)
        if not body.get("stream"):
            return _whole(name, 400, refusal(name, 400, "this server only streams: ask with stream: true"))
        with self._changed:
            self._answers += 1
            number = self._answers
        model = body.get("model")
        codec = Codec(self._dialect, id=f"answer-{number}", model=model if isinstance(model, str) else "scripted")
        headers = {"content-type": codec.media_type, "cache-control": "no-cache", id_header: f"req-{number}", **codec.headers}
        try:
            steps = steps_of(self._script, seen.json, codec)
        except BaseException as error:
            self.failure = error
            return _whole(name, 500, refusal(name, 500, "the script failed"))
        answer = Answer(number, seen.json, codec, steps, name, headers=headers)
        for fault in self._faults:
            fault.change(answer)
        return answer

    def accepted(self) -> int:
        """A connection came; its number."""
        with self._changed:
            self.connections += 1
            self._changed.notify_all()
            return self.connections

    def note(self, seen: Seen, *, events: int = 0, left: bool = False, done: bool = False) -> None:
        """Something became of an answer."""
        with self._changed:
            seen.sent += events
            seen.left = seen.left or left
            seen.done = seen.done or done
            self._changed.notify_all()
        if left:
            self.left.set()


_MODELS: Final = json.dumps(
    {"object": "list", "data": [{"id": "scripted", "object": "model", "type": "model"}], "has_more": False}
).encode()


def _object(value: object) -> dict[str, object]:
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def _whole(dialect: str, status: int, body: bytes) -> Answer:
    return Answer(0, None, None, iter([Bytes(body)]), dialect, status, {"content-type": "application/json"})


class _Listener(TCPServer):
    """Accepts, and knows all that is open."""

    request_queue_size = _MOST_CONNECTIONS

    def __init__(self, provider: Server) -> None:
        self.provider = provider
        self.closing = False
        self._open: dict[socket.socket, threading.Thread] = {}
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Connection)

    def process_request(self, request: Any, client_address: Any) -> None:  # its parent's signature
        """A thread for a connection, if there is room."""
        with self._lock:
            if not self.closing and len(self._open) < _MOST_CONNECTIONS:
                thread = threading.Thread(target=self._run, args=(request, client_address), daemon=True, name="provider connection")
                self._open[request] = thread
                thread.start()
                return
        self.shutdown_request(request)

    def close_all(self) -> None:
        """Close what is open, and wait for the threads."""
        with self._lock:
            self.closing = True
            still_open = dict(self._open)
        for connection in still_open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in still_open.values():
            thread.join(PATIENCE)

    def _run(self, request: socket.socket, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except BaseException as error:  # the script's: raised where the block is left
            self.provider.failure = error
        finally:
            self.shutdown_request(request)
            with self._lock:
                self._open.pop(request, None)


class _Gone(Exception):
    """The client is not there any more, or its time is up."""


class _Connection(BaseHTTPRequestHandler):
    """One connection: requests one after the other."""

    protocol_version = "HTTP/1.1"
    connection: socket.socket

    def setup(self) -> None:
        self._listener = cast("_Listener", self.server)
        self._provider = self._listener.provider
        self._ends = time.monotonic() + self._provider.seconds
        self._number = self._provider.accepted()
        super().setup()
        self.connection.settimeout(self._provider.seconds)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def handle(self) -> None:
        with suppress(ConnectionError, TimeoutError):
            super().handle()

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""

    def version_string(self) -> str:
        return "provider"

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_HEAD(self) -> None:
        """A client opens its connection before it has a question: that is none, and the connection stays."""
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def do_DELETE(self) -> None:
        self._serve()

    # ---- one answer -------------------------------------------------------------------------

    def _serve(self) -> None:
        size = self.headers.get("content-length", "0")
        if not size.isdigit() or int(size) > _MOST_BODY or "transfer-encoding" in self.headers:
            self.send_error(411)
            self.close_connection = True
            return
        raw = self.rfile.read(int(size))
        try:
            value: object = json.loads(raw) if raw else None
        except (ValueError, RecursionError):
            value = None
        headers = {name.lower(): content for name, content in self.headers.items()}
        seen = Seen(self.command, self.path, headers, value, self._number)
        answer = self._provider.answer_to(seen)
        try:
            self._send(answer, seen)
        except (_Gone, ConnectionError):
            self.close_connection = True
            self._provider.note(seen, left=not self._listener.closing)
        except TimeoutError:  # it reads no more; its time is up
            self.close_connection = True
        finally:
            self._provider.note(seen, done=True)

    def _send(self, answer: Answer, seen: Seen) -> None:
        if not answer.mute:
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
        for step in answer.steps:
            if isinstance(step, Bytes):
                if step.data:
                    self._pause(0)
                    self.connection.settimeout(self._left())
                    self.connection.sendall(b"%x\r\n%b\r\n" % (len(step.data), step.data))
                self._provider.note(seen, events=step.events)
            elif not self._go_on(step):
                return
        self.connection.sendall(b"0\r\n\r\n")

    def _go_on(self, step: Step) -> bool:
        """Do what a step that is not bytes says; whether there is more."""
        if isinstance(step, Pause):
            self._pause(step.seconds)
            return True
        self.close_connection = True
        if step is HOLD:
            self._pause(self._left())
            return False
        # A chunk that promises more than it holds.
        self.connection.sendall(b'40\r\ndata: {"')
        if getattr(step, "reset", False):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        return False

    def _pause(self, seconds: float) -> None:
        """Wait, unless the client leaves.

        Raises:
            _Gone: it has.
        """
        until = time.monotonic() + min(seconds, self._left())
        self.connection.settimeout(max(0.0, until - time.monotonic()))
        try:
            if not self.connection.recv(1, socket.MSG_PEEK):
                raise _Gone
        except (TimeoutError, BlockingIOError):
            return
        # It has asked for more already, which says nothing about its leaving.
        time.sleep(max(0.0, until - time.monotonic()))

    def _left(self) -> float:
        """Seconds until this connection's time is up."""
        left = self._ends - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left
