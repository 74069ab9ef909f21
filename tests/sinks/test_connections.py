"""Who is let in, who is refused, and what is known of whoever is open."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from asgi_client import App, Client, Message

from streamkit import ConfigError
from streamkit.sinks import sse
from streamkit.sinks.connections import Connection, Connections, connection_in
from streamkit.sinks.life.addresses import networks, peer_address
from streamkit.sinks.life.limits import network_of
from streamkit.sinks.refusals import Refused
from streamkit.testing import VirtualClock

pytestmark = pytest.mark.anyio


class Held:
    """An application whose requests stay until they are let go."""

    def __init__(self) -> None:
        self.seen: list[Connection] = []
        self.go = anyio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        connection = connection_in(scope)
        assert connection is not None
        self.seen.append(connection)
        await self.go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done", "more_body": False})


def client_at(address: str | None = "192.0.2.1", **more: Any) -> Client:
    client = Client(**more)
    client.scope["client"] = None if address is None else (address, 4321)
    return client


async def until(so: Any) -> None:
    with anyio.fail_after(60):
        while not so():  # whatever it is
            await anyio.lowlevel.checkpoint()


def error_of(client: Client) -> dict[str, Any]:
    error: dict[str, Any] = json.loads(client.body)["error"]
    return error


async def handshake(app: App, *, extensions: dict[str, Any] | None = None) -> list[Message]:
    """What a WebSocket that is refused is sent."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await app({"type": "websocket", "path": "/", "client": ("192.0.2.1", 1), "extensions": extensions or {}}, receive, send)
    return sent


# ---- what is known


async def test_the_application_finds_its_connection_with_what_is_known_of_it() -> None:
    app, connections = Held(), Connections(key=lambda scope: "ann")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client_at(path="/chat").call, connections.wrap(app))
        await until(lambda: app.seen)
        (one,) = connections.open
        assert app.seen == [one]
        assert ("192.0.2.1", "ann", "http", "/chat") == (one.address, one.key, one.protocol, one.path)
        assert 1 == len(connections)
        app.go.set()
    assert 0 == len(connections)
    assert () == connections.open


async def test_without_connections_around_it_there_is_none() -> None:
    assert connection_in({"type": "http"}) is None


async def test_a_failing_application_is_counted_out_and_its_error_goes_on() -> None:
    connections = Connections(total=1)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise LookupError("ours")

    for _ in range(3):
        with pytest.raises(LookupError, match="ours"):
            await Client().call(connections.wrap(app))
    assert 0 == len(connections)


async def test_other_scopes_pass_untouched() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)

    scope = {"type": "other"}
    await Connections().wrap(app)(scope, None, None)  # type: ignore[arg-type]  # never called
    assert [scope] == seen


# ---- limits


async def test_http_22_one_stream_over_the_limit_is_503_with_retry_after_and_the_others_go_on() -> None:
    app, connections = Held(), Connections(total=50, retry_after=2.5)
    open_ones = [client_at() for _ in range(50)]
    async with anyio.create_task_group() as tasks:
        for client in open_ones:
            tasks.start_soon(client.call, connections.wrap(app))
        await until(lambda: len(app.seen) == 50)
        late = await client_at("192.0.2.9").call(connections.wrap(app))
        assert 503 == late.status
        assert "3" == late.headers["retry-after"]
        assert ("overloaded", True, 2.5) == tuple(error_of(late)[name] for name in ("code", "retryable", "retry_after"))
        assert {"overloaded": 1} == connections.refused
        app.go.set()
    assert {200} == {client.status for client in open_ones}
    app.go.set()
    assert 200 == (await client_at().call(connections.wrap(app))).status


async def test_http_23_one_user_opens_a_thousand_streams_and_gets_429_for_all_but_his_share() -> None:
    app, connections = Held(), Connections(per_key=10, key=lambda scope: dict(scope["headers"]).get(b"user", b"").decode() or None)  # type: ignore[call-overload]
    clients = [client_at(headers={"user": "ann"}) for _ in range(1000)]
    async with anyio.create_task_group() as tasks:
        for client in clients:
            tasks.start_soon(client.call, connections.wrap(app))
        await until(lambda: sum(client.returned for client in clients) == 990)
        tasks.start_soon(client_at(headers={"user": "bob"}).call, connections.wrap(app))
        await until(lambda: len(app.seen) == 11)
        assert {"rate-limited": 990} == connections.refused
        app.go.set()
    assert [10, 990] == [sum(client.status == status for client in clients) for status in (200, 429)]
    assert all("retry-after" in client.headers for client in clients if client.status == 429)


async def test_one_address_has_its_share_and_an_ipv6_client_one_for_its_whole_network() -> None:
    app, connections = Held(), Connections(per_address=1)
    addresses = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8:0:1::1", None, None]
    async with anyio.create_task_group() as tasks:
        for address in addresses:
            tasks.start_soon(client_at(address).call, connections.wrap(app))
        await until(lambda: len(app.seen) == len(addresses))
        for address in ["192.0.2.1", "::ffff:192.0.2.2", "2001:db8::2:3"]:
            assert 429 == (await client_at(address).call(connections.wrap(app))).status
        app.go.set()
    assert 200 == (await client_at("192.0.2.1").call(connections.wrap(app))).status


async def test_requests_in_any_window_are_limited_and_the_wait_is_exact(clock: VirtualClock) -> None:
    app, connections = Held(), Connections(requests=2, window=60.0, drain=None)
    app.go.set()
    wrapped = connections.wrap(app)
    statuses = []
    for seconds in (0, 50, 5, 4.5, 0.5, 0):  # at 0, 50, 55, 59.5, 60 and 60
        await clock.sleep(seconds)
        client = await client_at().call(wrapped)
        statuses.append(client.status)
        if seconds == 5:
            assert 5.0 == error_of(client)["retry_after"]
    assert [200, 200, 429, 429, 200, 429] == statuses
    assert 200 == (await client_at("192.0.2.2").call(wrapped)).status


async def test_requests_are_counted_by_key_where_there_is_one(clock: VirtualClock) -> None:
    app, connections = Held(), Connections(requests=1, key=lambda scope: str(scope["path"]), drain=None)
    app.go.set()
    paths = ["/a", "/b", "/a"]
    assert [200, 200, 429] == [(await client_at(path=path).call(connections.wrap(app))).status for path in paths]


async def test_key_may_be_a_coroutine_function_and_refuse() -> None:
    async def key(scope: Any) -> str | None:
        await anyio.lowlevel.checkpoint()
        raise Refused(401, "Sign in first.")

    connections = Connections(key=key, total=1)
    for _ in range(2):  # nothing stays counted
        client = await client_at().call(connections.wrap(Held()))
        assert (401, {"message": "Sign in first.", "code": "unauthorized"}) == (client.status, error_of(client))


async def test_a_key_that_is_none_is_the_applications_error_and_nothing_stays_counted() -> None:
    connections = Connections(total=1, per_address=1, key=lambda scope: 5)  # type: ignore[arg-type,return-value]
    for _ in range(2):
        with pytest.raises(TypeError, match="gives a str or None, got int"):
            await client_at().call(connections.wrap(Held()))
    with pytest.raises(ConfigError, match="1 to 200 characters"), Connections().admit(key="x" * 201):
        raise AssertionError("it was let in")


# ---- WebSockets


async def test_nothing_new_is_let_in_whose_key_was_found_after_the_server_was_told_to_stop(clock: VirtualClock) -> None:
    async def key(scope: Any) -> str:
        await clock.sleep(2.0)
        return "me"

    connections, client = Connections(key=key, drain=None), Client()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client.call, connections.wrap(sse.Response(["Hi"])))
        await clock.sleep(1.0)
        await connections.drain(60.0)
    assert (503, "draining") == (client.status, json.loads(client.body)["error"]["code"])
    assert (0, {"draining": 1}) == (len(connections), connections.refused)


async def test_a_websocket_over_the_limit_gets_the_same_answer_where_the_server_can_give_it() -> None:
    connections = Connections(total=1)
    with connections.admit():
        start, body = await handshake(connections.wrap(Held()), extensions={"websocket.http.response": {}})
    assert ("websocket.http.response.start", 503) == (start["type"], start["status"])
    assert b"retry-after" in dict(start["headers"])
    assert "overloaded" == json.loads(body["body"])["error"]["code"]


@pytest.mark.parametrize(("limits", "code"), [({"total": 1}, 1013), ({"per_address": 1}, 1008)])
async def test_a_websocket_over_the_limit_is_closed_with_1013_or_1008(limits: dict[str, int], code: int) -> None:
    connections = Connections(**limits)  # type: ignore[arg-type]
    with connections.admit(address="192.0.2.1"):
        (close,) = await handshake(connections.wrap(Held()))
    assert ("websocket.close", code) == (close["type"], close["code"])


# ---- other transports


async def test_admit_counts_for_as_long_as_the_block_lasts() -> None:
    connections = Connections(per_key=1)
    with connections.admit(address="192.0.2.1", key="ann", protocol="grpc", path="/s") as connection:
        assert (connection,) == connections.open
        with pytest.raises(Refused) as refused, connections.admit(key="ann"):
            raise AssertionError("it was let in")
        assert (429, "rate-limited", 1008) == (refused.value.status, refused.value.code, refused.value.close_code)
    with connections.admit(key="ann"):
        assert 1 == len(connections)


# ---- health


async def test_health_and_readiness_are_answered_before_any_limit() -> None:
    connections = Connections(total=1)
    app = connections.wrap(Held())
    with connections.admit():
        for path in ("/healthz", "/readyz"):
            client = await client_at(path=path).call(app)
            assert (200, {"status": "ok"}) == (client.status, json.loads(client.body))


async def test_readiness_turns_with_the_drain_and_liveness_stays() -> None:
    async with Connections(ready="/ready", health=None) as connections:
        await connections.drain(0)
        client = await client_at(path="/ready").call(connections.wrap(Held()))
        assert (503, {"status": "draining"}) == (client.status, json.loads(client.body))
        assert "retry-after" in client.headers
        assert 503 == (await client_at(path="/healthz").call(connections.wrap(Held()))).status  # not ours: refused
    async with Connections() as connections:
        await connections.drain(0)
        assert 200 == (await client_at(path="/healthz").call(connections.wrap(Held()))).status


# ---- addresses


@pytest.mark.parametrize(
    ("client", "forwarded", "expected"),
    [
        ("10.0.0.1", "198.51.100.9, 192.0.2.7", "192.0.2.7"),  # what the client wrote itself is not believed
        ("10.0.0.1", "192.0.2.7, 10.0.0.2", "192.0.2.7"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", "[2001:db8::1]:443", "2001:db8::1"),
        ("10.0.0.1", "192.0.2.7:80", "192.0.2.7"),
        ("10.0.0.1", "192.0.2.7, unknown", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("192.0.2.1", "192.0.2.7", "192.0.2.1"),
    ],
)
async def test_forwarded_for_is_believed_of_trusted_proxies_only(client: str, forwarded: str, expected: str) -> None:
    scope: Any = {"client": (client, 1), "headers": [(b"x-forwarded-for", forwarded.encode())]}
    assert expected == peer_address(scope, networks(["10.0.0.0/8"]))
    assert client == peer_address(scope)


async def test_what_is_no_address_is_counted_as_it_is() -> None:
    assert "not:an:address" == network_of("not:an:address")


# ---- arguments


@pytest.mark.parametrize(
    "wrong",
    [
        *({name: value} for name in ("total", "per_key", "per_address", "requests") for value in (0, -1, True, 1.5)),
        *(
            {name: value}
            for name in ("window", "retry_after", "send_timeout")
            for value in (0, -1.0, True, float("nan"), float("inf"))
        ),
        {"drain": -1},
        {"drain": False},
        {"drain": float("inf")},
        {"key": "ann"},
        {"health": "healthz"},
        {"ready": 5},
        {"proxies": "10.0.0.0/8"},
        {"proxies": ["10.0.0.1/8"]},
    ],
    ids=str,
)
async def test_arguments_are_checked_at_the_call(wrong: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ConfigError)):
        Connections(**wrong)


async def test_a_response_is_served_behind_it_as_without_it() -> None:
    async def answer() -> AsyncIterator[str]:
        yield "Hi"

    client = await client_at().call(Connections().wrap(sse.Response(answer)))
    assert "Hi" == client.text


# ---- leaving


@pytest.mark.parametrize("step", range(1, 9))
@pytest.mark.parametrize("how", ["leaves", "is cancelled", "fails to be sent to"])
async def test_http_05_whatever_ends_it_at_any_write_the_source_is_closed_and_nothing_stays_counted(step: int, how: str) -> None:
    closed: list[int] = []

    async def answer() -> AsyncIterator[str]:
        try:
            for letter in "abcdef":
                yield letter
                await anyio.lowlevel.checkpoint()
        finally:
            closed.append(1)

    def on_send(number: int) -> None:
        if number == step:
            match how:
                case "leaves":
                    client.leave()
                case "is cancelled":
                    scope.cancel()
                case _:
                    raise ConnectionResetError

    connections, client = Connections(total=1, per_address=1), client_at(on_send=on_send)
    with anyio.CancelScope() as scope:
        await client.call(connections.wrap(sse.Response(answer)))
    assert [1] == closed
    assert 0 == len(connections)
    assert 200 == (await client_at().call(connections.wrap(sse.Response(["next"])))).status
