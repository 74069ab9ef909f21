"""A process that is told to stop: every framework's open streams are told, and their sources closed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest
from served import wait_until

HERE = Path(__file__).resolve().parent
NAMES = ["aiohttp", "starlette", "litestar", "quart", "django"]


@pytest.fixture(scope="module")
def processes() -> Iterator[dict[str, tuple[subprocess.Popen[str], str]]]:
    """One server for each framework, started together."""
    running: dict[str, tuple[subprocess.Popen[str], str]] = {}
    path = {**os.environ, "PYTHONPATH": str(HERE)}
    for name in NAMES:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        command = [sys.executable, str(HERE / "framework_apps.py"), name, str(port)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=path)
        running[name] = process, f"http://127.0.0.1:{port}"
    try:
        yield running
    finally:
        for process, _ in running.values():
            if process.poll() is None:
                process.kill()
            process.communicate(timeout=10)


@pytest.mark.parametrize("name", NAMES)
def test_sigterm_tells_an_endless_stream_and_closes_its_source(
    name: str, processes: dict[str, tuple[subprocess.Popen[str], str]]
) -> None:
    process, url = processes[name]

    def answers() -> bool:
        assert process.poll() is None, f"{name} did not start"
        with suppress(OSError), socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), 1):
            return True
        return False

    wait_until(answers, 30)
    with httpx2.Client(trust_env=False, timeout=20) as client, client.stream("GET", f"{url}/endless") as response:
        chunks = response.iter_text()
        seen = ""
        while "first" not in seen:
            seen += next(chunks)
        process.send_signal(signal.SIGTERM)
        seen += "".join(chunks)
    assert '"code":"draining"' in seen
    said, _ = process.communicate(timeout=20)
    assert "closed 1" in said
