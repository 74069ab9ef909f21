"""Many streams on one connection of HTTP/2, under hypercorn: one that takes nothing, and one that is reset without end."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest
from running import PATIENCE_S, Running, running, wait_until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running("hypercorn asyncio", tmp_path_factory.mktemp("server")) as server:
        yield server


class Http2:
    """A connection with prior knowledge, and what came on it."""

    def __init__(self, server: Running) -> None:
        self.connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self.socket = socket.create_connection((server.host, server.port), timeout=PATIENCE_S)
        self.bytes: Counter[int] = Counter()
        self.ended: set[int] = set()
        self.closed = False
        self.connection.initiate_connection()
        self.flush()

    def __enter__(self) -> Http2:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def flush(self) -> None:
        """Send what there is to send; what the server said before it closed is still there to be read."""
        with suppress(ConnectionError):
            self.socket.sendall(self.connection.data_to_send())

    def get(self, path: str) -> int:
        stream: int = self.connection.get_next_available_stream_id()
        headers = [(":method", "GET"), (":path", path), (":scheme", "http"), (":authority", "a")]
        self.connection.send_headers(stream, headers, end_stream=True)
        return stream

    def read(self) -> None:
        """One read, and what it means."""
        try:
            data = self.socket.recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            self.closed = True
            return
        for event in self.connection.receive_data(data):
            match event:
                case h2.events.DataReceived():
                    assert event.stream_id is not None
                    self.bytes[event.stream_id] += len(event.data or b"")
                    if event.flow_controlled_length and event.stream_id not in self.ended:
                        self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                case h2.events.StreamEnded() | h2.events.StreamReset():
                    assert event.stream_id is not None
                    self.ended.add(event.stream_id)
                case h2.events.ConnectionTerminated():
                    self.closed = True
                case _:
                    continue
        if not self.closed:
            self.flush()

    def read_until(self, so: Callable[[], bool]) -> None:
        for _ in range(10_000):
            if so() or self.closed:
                break
            self.read()
        assert so()


def test_http_21_hypercorn_holds_what_a_shut_window_does_not_take_and_the_other_streams_of_its_connection_run_on(
    server: Running,
) -> None:
    # Its `send` never waits for the window of a stream, so nobody can notice: the docs say so. The source goes with the connection.
    closed = server.noted("endless closed")
    with Http2(server) as client:
        client.connection.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
        shut = client.get("/endless")
        ticking = client.get("/endless")
        client.connection.increment_flow_control_window(1_000_000, ticking)
        client.flush()
        client.read_until(lambda: client.bytes[ticking] > 2_000)
        assert 0 == client.bytes[shut]
        assert closed == server.noted("endless closed")
    wait_until(lambda: server.noted("endless closed") == closed + 2)


def test_http_21_resets_without_end_close_their_connection_leave_no_source_open_and_disturb_nobody(server: Running) -> None:
    with server.connect("/endless") as bystander:
        assert bystander.recv(4096)
        with Http2(server) as client:
            for _ in range(2000):
                stream = client.get("/endless")
                client.connection.reset_stream(stream)
                client.flush()
            client.read_until(lambda: client.closed)
        wait_until(lambda: server.open_streams() == 1)
        assert bystander.recv(4096)
    wait_until(lambda: server.open_streams() == 0)
