"""`wsgi.Response`: by the letter of PEP 3333, and behind gunicorn, Werkzeug, Flask and Django."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import httpx2
import pytest
from served import PATIENCE_S, kept_port, wait_until

import streamkit as sk
from streamkit.sinks import wsgi

HERE = Path(__file__).resolve().parent
SECRET = "sk-SECRET /etc/passwd"


class Server:
    """What a WSGI server does with one request."""

    def __init__(self, **environ: object) -> None:
        self.environ: dict[str, Any] = {"REQUEST_METHOD": "GET", "QUERY_STRING": "", **environ}
        setup_testing_defaults(self.environ)
        self.started: list[tuple[int, dict[str, str]]] = []

    def start(self, status: str, headers: list[tuple[str, str]], exc_info: object = None) -> Callable[[bytes], object]:
        self.started.append((int(status.split()[0]), dict(headers)))
        return len

    def call(self, app: Any) -> bytes:
        chunks: Any = validator(app)(self.environ, self.start)
        with closing(chunks):
            return b"".join(chunks)

    @property
    def status(self) -> int:
        return self.started[-1][0]

    @property
    def headers(self) -> dict[str, str]:
        return self.started[-1][1]


def failing(*items: str, error: Exception | None = None) -> sk.Stream[Any]:
    async def events() -> AsyncIterator[str]:
        for item in items:
            yield item
        raise error or ValueError(SECRET)

    return sk.stream(events)


def test_it_keeps_to_the_letter_of_pep_3333() -> None:
    server = Server()
    body = server.call(wsgi.Response(["H", "i"], "openai-chat", model="m", headers={"x-a": "b"}))
    assert body.endswith(b"data: [DONE]\n\n")
    assert (200, "b") == (server.status, server.headers["x-a"])
    assert "text/event-stream; charset=utf-8" == server.headers["content-type"]


@pytest.mark.parametrize("format", ["native", "ndjson", "text", "bytes", "openai-chat"])
def test_http_10_an_early_failure_is_a_real_status(format: str) -> None:
    server = Server()
    body = server.call(wsgi.Response(failing(error=sk.OverloadedError(SECRET, retry_after=2)), format))
    assert (503, "2", "application/json") == (server.status, server.headers["retry-after"], server.headers["content-type"])
    assert "overloaded" == json.loads(body)["error"]["code"]
    assert SECRET not in body.decode()


@pytest.mark.parametrize("format", ["native", "ndjson", "openai-chat"])
def test_http_09_a_late_failure_is_told_without_its_text(format: str) -> None:
    server = Server()
    body = server.call(wsgi.Response(failing("a"), format))
    assert 200 == server.status
    assert b"error" in body
    assert SECRET not in body.decode()


def test_a_late_failure_of_a_text_is_raised_to_the_server_behind_all_that_came() -> None:
    got = b""
    with pytest.raises(sk.StreamInterrupted) as raised:
        for chunk in wsgi.Response(failing("a", "b"), "text")(Server().environ, Server().start):
            got += chunk
    assert b"ab" == got
    assert SECRET not in str(raised.value)


def test_a_callable_serves_many_requests_and_a_generator_one() -> None:
    async def answer() -> AsyncIterator[str]:
        yield "Hi"

    many = wsgi.Response(answer, "text")
    assert [b"Hi", b"Hi"] == [Server().call(many), Server().call(many)]
    once, server = wsgi.Response(answer(), "text"), Server()
    assert b"Hi" == server.call(once)
    server.call(once)
    assert 500 == server.status


def test_close_closes_the_source() -> None:
    closed = []

    async def answer() -> AsyncIterator[str]:
        try:
            for n in range(10**9):
                yield f"{n} "
        finally:
            closed.append(True)

    chunks: Any = wsgi.Response(sk.stream(answer), "text")(Server().environ, Server().start)
    next(chunks)
    assert [] == closed
    chunks.close()
    assert [True] == closed


def test_who_asks_what_may_be_asked_starts_no_source() -> None:
    started: list[str] = []

    async def events() -> AsyncIterator[str]:
        started.append("it")
        yield "Hi"

    server = Server(REQUEST_METHOD="OPTIONS")
    assert b"" == server.call(wsgi.Response(events))
    assert (204, "GET, HEAD, OPTIONS, POST", []) == (server.status, server.headers["allow"], started)


def test_a_head_request_starts_no_source() -> None:
    server = Server(REQUEST_METHOD="HEAD")
    assert b"" == server.call(wsgi.Response(failing(), "text"))
    assert (200, "text/plain; charset=utf-8") == (server.status, server.headers["content-type"])


def test_a_plain_generator_is_a_stream_too() -> None:
    def answer() -> Iterator[str]:
        yield from ("H", "i")

    assert b"Hi" == Server().call(wsgi.Response(answer, "text"))


def test_it_is_compressed_for_who_takes_that() -> None:
    import gzip

    server = Server(HTTP_ACCEPT_ENCODING="gzip")
    assert b"Hi" == gzip.decompress(server.call(wsgi.Response(["Hi"], "text", compress=True)))
    assert "gzip" == server.headers["content-encoding"]


def test_the_source_sees_the_requests_own_thread_and_context() -> None:
    seen = []

    async def answer() -> AsyncIterator[str]:
        seen.append(threading.current_thread())
        yield "a"

    Server().call(wsgi.Response(sk.stream(answer), "text"))
    assert [threading.current_thread()] == seen


def test_http_12_headers_are_checked_at_the_call() -> None:
    for options in ({"headers": {"a": "b\r\nc: d"}}, {"content_type": "a\nb"}, {"retry": 1}, {"status": 304}):
        with pytest.raises(sk.ConfigError):
            wsgi.Response(["a"], "text", **options)
    with pytest.raises(TypeError):
        wsgi.Response(1, "text")  # type: ignore[arg-type]


# -- frameworks


def test_a_flask_view_returns_it() -> None:
    import flask

    app = flask.Flask("app")

    @app.get("/")
    def chat() -> Any:
        return wsgi.Response(sk.stream(["H", "i"]), "text")

    @app.get("/failing")
    def fails() -> Any:
        return wsgi.Response(failing(), "text")

    client = app.test_client()
    assert (200, "Hi") == ((response := client.get("/")).status_code, response.text)
    assert "text/plain; charset=utf-8" == response.headers["content-type"]
    assert 500 == client.get("/failing").status_code


# -- servers

COMMANDS = {
    "gunicorn-sync": ["-m", "gunicorn", "wsgi_app:application", "--workers", "1", "--log-level", "critical", "-b"],
    "gunicorn-gthread": ["-m", "gunicorn", "wsgi_app:application", "--threads", "4", "--log-level", "critical", "-b"],
    "werkzeug": ["wsgi_app.py"],
}


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with kept_port() as port:
        yield port


@pytest.fixture(scope="module", params=COMMANDS)
def served_by(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, port: int
) -> Iterator[tuple[str, str, Path]]:
    """The name of a server, its URL, and the file in which the application notes what was closed."""
    notes = tmp_path_factory.mktemp("wsgi") / "closed"
    notes.touch()
    command = [sys.executable, *COMMANDS[request.param], f"127.0.0.1:{port}"]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, cwd=HERE, stdout=log, stderr=log, env={**os.environ, "NOTES": str(notes)})

    def answers() -> bool:
        assert process.poll() is None, f"{request.param} did not start"
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        return False

    try:
        wait_until(answers)
        yield request.param, f"http://127.0.0.1:{port}", notes
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(PATIENCE_S)


def test_a_server_streams_it(served_by: tuple[str, str, Path]) -> None:
    _, url, notes = served_by
    got = ""
    with httpx2.stream("GET", f"{url}/gated", trust_env=False, timeout=PATIENCE_S) as response:
        for text in response.iter_text():
            got += text
            if got == "first ":  # and the second is not made before this was read
                notes.with_name("gate").touch()
    assert "first second" == got


def test_http_10_a_server_gives_the_status_of_an_early_failure(served_by: tuple[str, str, Path]) -> None:
    _, url, _ = served_by
    response = httpx2.get(f"{url}/early", trust_env=False, timeout=PATIENCE_S)
    assert 500 == response.status_code
    assert SECRET not in response.text


def test_a_server_breaks_a_failing_text_off(served_by: tuple[str, str, Path]) -> None:
    _, url, _ = served_by
    got = ""
    with (
        pytest.raises(httpx2.RemoteProtocolError),
        httpx2.stream("GET", f"{url}/late", trust_env=False, timeout=PATIENCE_S) as response,
    ):
        for text in response.iter_text():
            got += text
    assert "before " == got


def test_a_server_closes_the_source_when_its_client_has_left(served_by: tuple[str, str, Path]) -> None:
    name, url, notes = served_by
    notes.write_text("")
    with httpx2.stream("GET", f"{url}/endless", trust_env=False, timeout=PATIENCE_S) as response:
        assert 200 == response.status_code
        next(response.iter_bytes())
    wait_until(lambda: notes.read_text() == "closed")
    assert name in COMMANDS
