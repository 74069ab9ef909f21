"""HTTP-17: request bodies that are to cost more than they should, sent to `ChatRoutes` behind a real server."""

from __future__ import annotations

import gzip
import itertools
import json
import socket
import time
import tracemalloc
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from asgi_client import Client
from served import served

from streamkit.sinks.chats import ChatRequest, ChatRoutes

pytestmark = pytest.mark.anyio

MAX_BODY = 1 << 20


def answer(request: ChatRequest) -> list[str]:
    value: Any = request.json()
    return [f"{len(value)} messages"]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served(ChatRoutes(answer, dialect="text", max_body=MAX_BODY), lifespan="on") as address:
        yield address


def post(url: str, body: Any, **headers: str) -> tuple[int, str]:
    response = httpx2.post(url, content=body, headers=headers, trust_env=False, timeout=60)
    assert "Traceback" not in response.text
    return response.status_code, response.text if response.status_code == 200 else response.json()["error"]["code"]


def test_http_17_an_honest_body_is_taken(url: str) -> None:
    assert (200, "3 messages") == post(url, b"[1, 2, 3]")
    assert (200, "3 messages") == post(url, b"[1, 2, 3]", **{"content-encoding": "identity"})


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "GZIP", "identity, gzip", "x-unknown"])
def test_http_17_a_compressed_body_is_415_and_never_opened(url: str, coding: str) -> None:
    bomb = gzip.compress(b"[" + b" " * 10_000_000 + b"]")
    assert len(bomb) < 20_000
    assert (415, "unsupported-media-type") == post(url, bomb, **{"content-encoding": coding})


@pytest.mark.parametrize(
    "body",
    [b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 100_000 + b"1" + b"}" * 100_000, b"[" * 1_000_000, b'[{"a":' * 100_000],
    ids=["lists", "objects", "open lists", "mixed"],
)
def test_http_17_deep_json_is_400(url: str, body: bytes) -> None:
    assert (400, "bad-request") == post(url, body)


def test_http_17_a_million_messages_are_413_before_they_are_parsed(url: str) -> None:
    assert (413, "too-large") == post(url, json.dumps([{"role": "user", "content": ""}] * 1_000_000).encode())


def test_http_17_a_body_without_a_length_ends_at_the_bound(url: str) -> None:
    # What is still sent then is read and dropped by the server, which keeps the connection.
    assert (413, "too-large") == post(url, itertools.repeat(b" " * 65_536, 1000))


async def test_http_17_no_more_than_the_bound_is_ever_asked_for() -> None:
    asked = 0
    client = Client(method="POST")

    async def receive() -> Any:
        nonlocal asked
        asked += 1
        return {"type": "http.request", "body": b" " * 65_536, "more_body": True}

    await ChatRoutes(answer, max_body=MAX_BODY, drain=None)(client.scope, receive, client._send)
    assert (413, MAX_BODY // 65_536 + 1) == (client.status, asked)


@pytest.mark.parametrize("length", ["1073741824", "9" * 300])
def test_http_17_a_gigabyte_is_refused_by_its_length_alone(url: str, length: str) -> None:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 60) as client:
        client.sendall(f"POST / HTTP/1.1\r\nhost: {host}\r\ncontent-length: {length}\r\n\r\n".encode())
        status = client.recv(65536).split(b" ")[1]
    assert status in (b"413", b"400")  # a server may refuse such a number itself


def test_http_17_many_parts_are_so_many_bytes(url: str) -> None:
    part = b'--x\r\ncontent-disposition: form-data; name="a"\r\n\r\n\r\n'
    assert (400, "bad-request") == post(url, part * 10_000, **{"content-type": "multipart/form-data; boundary=x"})
    assert (413, "too-large") == post(url, part * 100_000, **{"content-type": "multipart/form-data; boundary=x"})


@pytest.mark.parametrize(
    "body", [b'{"a":1' + b"0" * 500_000 + b"}", b"[" + b"1e999999," * 50_000 + b"1]", b'["' + b"\\u0000" * 100_000 + b'"]']
)
def test_http_17_odd_numbers_and_strings_cost_no_more_than_their_length(body: bytes) -> None:
    tracemalloc.start()
    try:
        begun = time.process_time()
        try:
            ChatRequest({"type": "http"}, "/", body).json()
        except Exception as refused:
            assert 400 == getattr(refused, "status", None)
        assert time.process_time() - begun < 2
        assert tracemalloc.get_traced_memory()[1] < 100 * len(body)
    finally:
        tracemalloc.stop()
