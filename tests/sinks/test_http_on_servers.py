"""`http.Response` behind real servers: what their clients see of an end, of a failure, and of a compressed stream."""

from __future__ import annotations

import codecs
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from itertools import count
from pathlib import Path

import httpx
import httpx2
import plain_app
import pytest
import requests
from node_clients import run_node
from served import PATIENCE_S, kept_port, wait_until

from streamkit.dialects.native import NativeDecoder
from streamkit.wire.inflate import inflater_for
from streamkit.wire.sse import Decoder

TEXT = "".join(plain_app.PIECES)
BEFORE = "".join(plain_app.PIECES[:-1])
HERE = Path(__file__).resolve().parent

COMMANDS = {
    "uvicorn-h11": ["-m", "uvicorn", "plain_app:app", "--http", "h11", "--lifespan", "off", "--log-level", "critical", "--port"],
    "uvicorn-httptools": [
        "-m",
        "uvicorn",
        "plain_app:app",
        "--http",
        "httptools",
        "--lifespan",
        "off",
        "--loop",
        "uvloop",
        "--port",
    ],
    # A client of ours is not to find its connection closed because the machine was busy.
    "hypercorn": ["-m", "hypercorn", "plain_app:app", "--keep-alive", "60", "-b"],
    "hypercorn-trio": ["-m", "hypercorn", "plain_app:app", "--keep-alive", "60", "-k", "trio", "-b"],
    "granian": ["-m", "granian", "--interface", "asginl", "plain_app:app", "--log-level", "critical", "--port"],
}

# hypercorn leaves a stream of HTTP/2 that failed open, and closes the connection once nothing has happened on it for so long.
BRIEF = {"hypercorn-brief": ["-m", "hypercorn", "plain_app:app", "--keep-alive", "1", "-b"]}

_numbers = count()


def gate() -> str:
    return f"gate-{os.getpid()}-{next(_numbers)}"


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[[str], str]]:
    """`serve(name)` gives the base URL of a server that runs until the module is over."""
    running: dict[str, tuple[subprocess.Popen[bytes], str]] = {}
    ports = ExitStack()

    def start(name: str) -> str:
        if name not in running:
            port = ports.enter_context(kept_port())
            command = [sys.executable, *(COMMANDS | BRIEF)[name], f"127.0.0.1:{port}" if "hypercorn" in name else str(port)]
            with tempfile.TemporaryFile() as log:
                process = subprocess.Popen(command, cwd=HERE, stdout=log, stderr=log)
            running[name] = process, f"http://127.0.0.1:{port}"

            def answers() -> bool:
                assert process.poll() is None, f"{name} did not start"
                with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    return True
                return False

            wait_until(answers)
        return running[name][1]

    try:
        yield start
    finally:
        ports.close()
        for process, _ in running.values():
            process.terminate()
        for process, _ in running.values():
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(PATIENCE_S)


# -- an end and a failure, on each server


@pytest.mark.parametrize("server", COMMANDS)
@pytest.mark.parametrize("format", ["text", "bytes"])
def test_a_whole_body_is_finished_and_a_failing_one_breaks_off(serve: Callable[[str], str], server: str, format: str) -> None:
    url = serve(server)
    with httpx2.Client(trust_env=False, timeout=PATIENCE_S) as client:
        assert TEXT == client.get(f"{url}/{format}/whole").content.decode()
        got = b""
        with pytest.raises(httpx2.RemoteProtocolError), client.stream("GET", f"{url}/{format}/failing") as response:
            for chunk in response.iter_bytes():
                got += chunk
    assert BEFORE == got.decode()
    assert plain_app.SECRET not in got.decode()


# granian and hypercorn end their connections in order, whatever is asked of them: see `streamkit.sinks.http`.
@pytest.mark.parametrize("server", ["uvicorn-h11", "uvicorn-httptools"])
def test_a_failing_text_does_not_look_whole_to_a_proxy_that_speaks_http_1_0(serve: Callable[[str], str], server: str) -> None:
    """Where a body ends with its connection; nginx asks like that unless told otherwise."""
    port = int(serve(server).rpartition(":")[2])
    assert TEXT in _by_http_1_0(port, "/text/whole")
    with pytest.raises(ConnectionResetError):
        _by_http_1_0(port, "/text/failing")


def _by_http_1_0(port: int, path: str) -> str:
    got = b""
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as connection:
        connection.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        while piece := connection.recv(65_536):
            got += piece
    head, _, body = got.partition(b"\r\n\r\n")
    # uvicorn with httptools chunks it all the same.
    return _unchunked(body) if b"chunked" in head else body.decode()


def _unchunked(body: bytes) -> str:
    whole = b""
    while (size := int(body[: body.index(b"\r\n")], 16)) > 0:
        start = body.index(b"\r\n") + 2
        whole, body = whole + body[start : start + size], body[start + size + 2 :]
    return whole.decode()


@pytest.mark.parametrize("server", COMMANDS)
def test_ndjson_says_a_failure_in_its_last_line(serve: Callable[[str], str], server: str) -> None:
    body = httpx2.get(f"{serve(server)}/ndjson/failing", trust_env=False, timeout=PATIENCE_S).text
    lines = [json.loads(line) for line in body.split("\n")[:-1]]
    assert ("open", "error") == (lines[0]["type"], lines[-1]["type"])
    assert plain_app.SECRET not in body


def test_every_client_sees_a_broken_text(serve: Callable[[str], str]) -> None:
    url = f"{serve('uvicorn-httptools')}/text/failing"
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(url, trust_env=False, timeout=PATIENCE_S)
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        requests.get(url, timeout=PATIENCE_S)
    curl = subprocess.run([_curl(), "-sN", "--noproxy", "*", url], capture_output=True, check=False, timeout=PATIENCE_S)
    assert (18, BEFORE) == (curl.returncode, curl.stdout.decode())  # CURLE_PARTIAL_FILE
    fetched = run_node("read_plain.mjs", url)
    assert ("TypeError", BEFORE) == (fetched["error"], fetched["text"])


# -- HTTP/2


def test_trailers_over_http_2_say_how_a_text_ended(serve: Callable[[str], str]) -> None:
    for kind, end in (("whole", "done"), ("failing", "error")):
        body, trailers = _by_http_2(f"{serve('hypercorn')}/text/{kind}", {"te": "trailers"})
        assert (TEXT if kind == "whole" else BEFORE) == body.decode()
        assert end == trailers["x-stream-end"]


def test_who_reads_no_trailers_over_http_2_sees_the_connection_break(serve: Callable[[str], str]) -> None:
    body, trailers = _by_http_2(f"{serve('hypercorn')}/text/whole", {})
    assert (TEXT, {}) == (body.decode(), trailers)
    with pytest.raises(ConnectionError):
        _by_http_2(f"{serve('hypercorn-brief')}/text/failing", {})


def _by_http_2(url: str, headers: dict[str, str]) -> tuple[bytes, dict[str, str]]:
    """The body and the trailers of one request, with HTTP/2 by prior knowledge."""
    import h2.config
    import h2.connection
    import h2.events

    host, _, path = url.removeprefix("http://").partition("/")
    name, _, port = host.partition(":")
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
    body, trailers = b"", {}
    with socket.create_connection((name, int(port)), PATIENCE_S) as sock:
        connection.initiate_connection()
        connection.send_headers(
            1,
            [(":method", "GET"), (":scheme", "http"), (":authority", host), (":path", f"/{path}"), *headers.items()],
            end_stream=True,
        )
        sock.sendall(connection.data_to_send())
        while True:
            data = sock.recv(65536)
            if not data:
                raise ConnectionError("closed before the end of the stream")
            for event in connection.receive_data(data):
                match event:
                    case h2.events.DataReceived():
                        body += event.data or b""
                        connection.acknowledge_received_data(event.flow_controlled_length or 0, 1)
                    case h2.events.TrailersReceived():
                        trailers = {str(name): str(value) for name, value in event.headers or ()}
                    case h2.events.StreamEnded():
                        return body, trailers
                    case h2.events.StreamReset() | h2.events.ConnectionTerminated():
                        raise ConnectionError(repr(event))
                    case _:
                        continue
            sock.sendall(connection.data_to_send())


# -- HTTP-20: compression


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
@pytest.mark.parametrize("path", ["text/whole", "ndjson/whole", "sse/whole", "hub/whole"])
def test_http_20_a_compressed_token_arrives_before_there_is_another(serve: Callable[[str], str], path: str, coding: str) -> None:
    url, name = serve("uvicorn-httptools"), gate()
    got = ""
    with (
        httpx2.Client(trust_env=False, timeout=PATIENCE_S) as client,
        client.stream("GET", f"{url}/{path}?gate={name}&compress=1", headers={"accept-encoding": coding}) as response,
    ):
        assert coding == response.headers["content-encoding"]
        assert "accept-encoding" in response.headers["vary"]
        decoder = codecs.getincrementaldecoder("utf-8")()
        inflater = inflater_for(coding)
        assert inflater is not None
        for chunk in response.iter_raw():
            got += decoder.decode(b"".join(inflater.feed(chunk)))
            if "first " in got and name:
                assert "last" not in got
                httpx2.get(f"{url}/open?gate={name}", trust_env=False, timeout=PATIENCE_S)
                name = ""
    assert "last" in got
    assert not name
    assert not inflater.cut


@pytest.mark.parametrize("coding", ["gzip", "br"])
def test_http_20_httpx2_opens_each_write_of_a_compressed_stream_at_once(serve: Callable[[str], str], coding: str) -> None:
    url, name = serve("uvicorn-h11"), gate()
    with (
        httpx2.Client(trust_env=False, timeout=PATIENCE_S) as client,
        client.stream("GET", f"{url}/text/whole?gate={name}&compress=1", headers={"accept-encoding": coding}) as response,
    ):
        got = ""
        for text in response.iter_text():
            got += text
            if got == "first ":
                httpx2.get(f"{url}/open?gate={name}", trust_env=False, timeout=PATIENCE_S)
    assert TEXT == got


def test_http_20_fetch_opens_each_write_of_a_compressed_stream_at_once(serve: Callable[[str], str]) -> None:
    url, name = serve("uvicorn-httptools"), gate()
    told = run_node("read_plain.mjs", f"{url}/text/whole?gate={name}&compress=1", f"{url}/open?gate={name}")
    assert {"first": "first ", "text": TEXT, "error": None, "encoding": "gzip", "status": 200} == told


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
def test_http_20_curl_opens_each_write_of_a_compressed_stream_at_once(serve: Callable[[str], str], coding: str) -> None:
    url, name = serve("uvicorn-httptools"), gate()
    address = f"{url}/text/whole?gate={name}&compress=1"
    known = subprocess.run([_curl(), "--version"], capture_output=True, text=True, check=True).stdout
    if {"gzip": "libz", "br": "brotli", "zstd": "zstd"}[coding] not in known:
        # It was built without: then it says so, and must get what it can read.
        assert coding != "gzip"
        coding = "gzip"
    command = [_curl(), "-sN", "--noproxy", "*", "--compressed", "-H", f"accept-encoding: {coding}", address]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as curl:
        assert curl.stdout is not None
        first = curl.stdout.read(len("first "))
        httpx2.get(f"{url}/open?gate={name}", trust_env=False, timeout=PATIENCE_S)
        rest = curl.stdout.read()
        assert 0 == curl.wait(PATIENCE_S)
    assert TEXT == (first + rest).decode()


def test_http_20_a_stream_goes_as_it_is_unless_compression_was_asked_for(serve: Callable[[str], str]) -> None:
    response = httpx2.get(
        f"{serve('uvicorn-h11')}/sse/whole", headers={"accept-encoding": "gzip, br, zstd"}, trust_env=False, timeout=PATIENCE_S
    )
    assert "content-encoding" not in response.headers
    assert "no-transform" in response.headers["cache-control"]


def test_a_compressed_text_that_fails_breaks_off_behind_all_that_came(serve: Callable[[str], str]) -> None:
    got = ""
    with (
        httpx2.Client(trust_env=False, timeout=PATIENCE_S) as client,
        pytest.raises(httpx2.RemoteProtocolError),
        client.stream("GET", f"{serve('granian')}/text/failing?compress=1", headers={"accept-encoding": "gzip"}) as response,
    ):
        for text in response.iter_text():
            got += text
    assert BEFORE == got


def test_our_own_client_reads_a_compressed_stream_of_ours(serve: Callable[[str], str]) -> None:
    decoder, native, text = Decoder(), NativeDecoder(), ""
    with httpx2.stream("GET", f"{serve('hypercorn-trio')}/sse/whole?compress=1", trust_env=False, timeout=PATIENCE_S) as response:
        assert "content-encoding" in response.headers
        for chunk in response.iter_bytes():
            text += "".join(getattr(event, "text", "") for event in native.decode_many(decoder.feed(chunk)))
    assert TEXT == text
    assert native.done


def _curl() -> str:
    found = shutil.which("curl")
    assert found is not None, "curl is needed: apt-get install curl"
    return found
