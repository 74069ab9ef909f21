"""Readiness turns first: between SIGTERM and the end there is a time in which a server still serves, if it lets anybody wait."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from matrix_app import DRAIN_S
from running import GRACEFUL_S, Running, parsed, read_answer, running, wait_until

from streamkit.dialects.native import NativeDecoder
from streamkit.errors import StreamDraining
from streamkit.wire.sse import Decoder


def readiness_turns_while_all_else_goes_on(server: Running, clients: ExitStack) -> list[tuple[socket.socket, bytes]]:
    """SIGTERM; streams of before and of after it."""
    first = clients.enter_context(server.connect("/endless"))
    streams: list[tuple[socket.socket, bytes]] = [(first, first.recv(65536))]
    assert (200, {"status": "ok"}) == ready(server)
    server.process.send_signal(signal.SIGTERM)
    wait_until(lambda: (503, {"status": "draining"}) == ready(server))
    assert 200 == server.ask("/healthz")[0]
    late = clients.enter_context(server.connect("/endless"))
    streams.append((late, late.recv(65536)))
    assert {b"HTTP/1.1 200"} == {head[:12] for _, head in streams}
    return streams


def ready(server: Running) -> tuple[int, object]:
    status, body = server.ask("/readyz")
    return status, json.loads(body)


def all_are_told(streams: list[tuple[socket.socket, bytes]]) -> None:
    for client, head in streams:
        _, body = parsed(head + read_answer(client))
        decoder = NativeDecoder()
        decoder.decode_many(Decoder().feed(body))
        assert isinstance(decoder.error, StreamDraining)


@pytest.mark.parametrize(
    "name",
    ["uvicorn asyncio h11", "uvicorn uvloop httptools", "gunicorn", "hypercorn trio", "hypercorn asyncio, from a script"],
)
def test_readiness_turns_first_and_a_second_signal_ends_the_notice(name: str, tmp_path: Path) -> None:
    with running(name, tmp_path, MATRIX_NOTICE="60") as server, ExitStack() as clients:
        streams = readiness_turns_while_all_else_goes_on(server, clients)
        # Who serves hears it: gunicorn's first process, which is another, tells its worker of one signal only.
        os.kill(int(json.loads(server.ask("/open")[1])["pid"]), signal.SIGTERM)
        all_are_told(streams)
        server.process.wait(GRACEFUL_S / 2)
        assert 2 == server.noted("endless closed")
        assert "Traceback" not in server.errors.read_text()


NOTICE_S = 2.0


@pytest.mark.parametrize("name", ["uvicorn uvloop httptools", "gunicorn"])
def test_the_server_ends_behind_the_notice(name: str, tmp_path: Path) -> None:
    with running(name, tmp_path, MATRIX_NOTICE=str(NOTICE_S)) as server, ExitStack() as clients:
        streams = [(client, client.recv(65536)) for client in [clients.enter_context(server.connect("/endless")) for _ in range(2)]]
        begun = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        all_are_told(streams)
        server.process.wait(GRACEFUL_S / 2)
        assert NOTICE_S + DRAIN_S <= time.monotonic() - begun
        assert 2 == server.noted("endless closed")


@pytest.mark.parametrize("name", ["hypercorn asyncio", "granian"])
def test_a_server_that_hears_signals_by_its_event_loop_gives_no_notice_and_the_log_says_so(name: str, tmp_path: Path) -> None:
    with running(name, tmp_path, MATRIX_NOTICE="60") as server, server.connect("/endless") as client:
        head = client.recv(65536)
        assert "there can be no notice" in server.errors.read_text()
        server.stop()
        all_are_told([(client, head)])
