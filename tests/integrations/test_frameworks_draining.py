"""A process that is told to stop: every framework's open streams are told, and their sources closed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

HERE = Path(__file__).resolve().parent


@pytest.mark.parametrize("name", ["aiohttp", "starlette", "litestar", "quart", "django"])
def test_sigterm_tells_an_endless_stream_and_closes_its_source(name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:  # so nobody has to wait until the server listens
        command = [sys.executable, str(HERE / "framework_apps.py"), name, str(listener.fileno())]
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONPATH": str(HERE)},
            pass_fds=[listener.fileno()],
        )
        url = "http://{}:{}/endless".format(*listener.getsockname())
    try:
        with httpx2.Client(trust_env=False, timeout=60) as client, client.stream("GET", url) as response:
            chunks, seen = response.iter_text(), ""
            while "first" not in seen:
                seen += next(chunks)
            process.send_signal(signal.SIGTERM)
            seen += "".join(chunks)
        said, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait(60)
    assert '"code":"draining"' in seen
    assert "closed 1" in said
