"""Names that a server answers to; and that the Host header decides nothing else."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from asgi_client import Client
from served import served

from streamkit.errors import ConfigError
from streamkit.sinks import sse
from streamkit.sinks.chats import ChatRoutes
from streamkit.sinks.safety.hosts import AllowedHosts


async def app(scope: Any, receive: Any, send: Any) -> None:
    await sse.Response(["Hi"])(scope, receive, send)


async def status_of(host: str | None, *, server: Any = ("127.0.0.1", 8000), hosts: Any = None) -> int:
    client = Client(headers={} if host is None else {"host": host})
    client.scope["server"] = server
    return (await client.call(AllowedHosts(app, hosts))).status


EVIL = [
    "evil.example",
    "evil.example:8000",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "localhost@evil",
    "a b",
    "",
    "localhost:99999",
    "2130706433",
    "[::1",
]


@pytest.mark.anyio
@pytest.mark.parametrize("host", [*EVIL, None])
async def test_http_15_a_foreign_name_is_refused_on_loopback_unless_told_otherwise(host: str | None) -> None:
    for server in (("127.0.0.1", 8000), ("127.8.8.8", 80), ("::1", 8000), ("::ffff:127.0.0.1", 8000), ("localhost", 1), None):
        assert 403 == await status_of(host, server=server)


@pytest.mark.anyio
@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:8000"])
async def test_names_of_this_machine_are_answered_on_loopback(host: str) -> None:
    assert 200 == await status_of(host)


@pytest.mark.anyio
async def test_on_other_addresses_any_name_is_answered_until_some_are_named() -> None:
    assert 200 == await status_of("chat.example", server=("192.0.2.1", 443))
    assert 403 == await status_of("evil.example", server=("192.0.2.1", 443), hosts=["chat.example"])
    assert 200 == await status_of("Chat.Example:8443", server=("192.0.2.1", 443), hosts=["chat.example"])


@pytest.mark.anyio
async def test_a_name_with_a_port_is_good_for_that_port() -> None:
    assert 200 == await status_of("localhost:8000", hosts=["localhost:8000"])
    assert 403 == await status_of("localhost:8001", hosts=["localhost:8000"])
    assert 403 == await status_of("localhost", hosts=["localhost:8000"])


@pytest.mark.parametrize("hosts", [[], ["*"], ["*.example"], ["http://a.example"], "localhost", [None], ["a b"]])
def test_names_that_are_none_are_refused_at_the_call(hosts: Any) -> None:
    with pytest.raises((ConfigError, TypeError), match="AllowedHosts"):
        AllowedHosts(app, hosts)


# ---- on the wire --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    routes = ChatRoutes(lambda request: ["secret of the admin"], id=lambda request: "admin-stream", owner=lambda request: "admin")

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        # An application that lets nobody but admins pass, going by the path.
        if scope["path"].startswith("/admin"):
            await send({"type": "http.response.start", "status": 401, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
            return
        await routes(scope, receive, send)

    async def both(scope: Any, receive: Any, send: Any) -> None:
        await (AllowedHosts(app) if scope["path"] == "/demo" else guarded)(scope, receive, send)

    with served(both) as url:
        host, port = url.removeprefix("http://").split(":")
        yield host, int(port)


def asked(address: tuple[str, int], target: str, *hosts: str, method: str = "GET") -> tuple[int, bytes]:
    with socket.create_connection(address, timeout=60) as connection:
        lines = [f"{method} {target} HTTP/1.1", *[f"Host: {host}" for host in hosts], "Connection: close", "Content-Length: 0"]
        connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    return int(answer.split(b" ", 2)[1]), answer


def test_http_15_a_name_that_was_pointed_at_loopback_gets_nothing(address: tuple[str, int]) -> None:
    status, answer = asked(address, "/demo", f"evil.example:{address[1]}")
    assert 403 == status
    assert b"Hi" not in answer
    assert "unknown-host" == json.loads(answer.split(b"\r\n\r\n", 1)[1])["error"]["code"]
    assert 200 == asked(address, "/demo", f"localhost:{address[1]}")[0]


@pytest.mark.parametrize("host", ["x/free?", "x/#", "x?/", "x\\free", "free/..", "x:80/free", "evil@free", "[::1]/free"])
def test_http_16_no_host_changes_which_path_is_asked_for(address: tuple[str, int], host: str) -> None:
    status, answer = asked(address, "/admin-stream/stream", host)
    assert status in (400, 401)
    assert b"secret" not in answer


@pytest.mark.parametrize("host", ["x/admin-stream/stream?", "x/y"])
def test_http_16_a_path_in_the_host_opens_no_route(address: tuple[str, int], host: str) -> None:
    status, answer = asked(address, "/nothing/here/at-all", host)
    assert status in (400, 404)
    assert b"secret" not in answer
