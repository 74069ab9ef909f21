"""What no client should send, to both protocols: the answers and close codes are the documented ones, nobody else's streams are
touched, and the server is afterwards what it was before."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import subprocess
import sys
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from served import wait_until
from websocket_thread import Running, in_thread
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from streamkit.dialects.websocket.messages import End, Events, Hello, Pong, RefusedMessage, Started, read_client, read_server
from streamkit.sinks.websocket.ai_sdk_frames import AISDKWebSocketRoutes
from streamkit.sinks.websocket.requests import SocketRequest
from streamkit.sinks.websocket.serving import WebSocketRoutes

# RFC 6455, section 7.4.1, and ours (`WebSocketRoutes`).
CLOSE_CODES = {1000, 1002, 1003, 1007, 1008, 1009, 1013}
CODES = {
    "bad-message",
    "unknown-type",
    "not-found",
    "bad-token",
    "busy",
    "already-read",
    "replaced",
    "too-many-streams",
    "too-many-requests",
    "bad-request",
    "policy",
    "error",
}
LIMITS: dict[str, Any] = {
    "max_message_bytes": 10_000,
    "max_refusals": 20,
    "max_messages_per_second": 100_000,
    "close_timeout": 0.1,
    "ttl": 0.05,
}

KINDS: dict[str, type[WebSocketRoutes]] = {"streamkit": WebSocketRoutes, "ai-sdk": AISDKWebSocketRoutes}
ROUND_BYTES = 200_000

OURS = ("send", "resume", "cancel", "leave", "ack", "ping", "hello", "sing")
THEIRS = ("send", "resume", "abort", "start", "chunk", "sing")


async def answer(request: SocketRequest) -> AsyncIterator[str]:
    if request.owner == "victim":
        yield "mine "
        await asyncio.sleep(3600)
    yield str(len(str(request.input)))
    await asyncio.sleep(0)
    yield "."


def owner_of(request: SocketRequest) -> str:
    return request.headers.get("x-user", "fuzz")


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[Running]:
    kind = KINDS[request.param]
    with in_thread(lambda: kind(answer, owner=owner_of, allow_missing_origin=True, on_disconnect="cancel", **LIMITS)) as running:
        yield running


@pytest.fixture(scope="module")
def victim(server: Running) -> Iterator[ClientConnection]:
    """Somebody else, who reads a stream whose name everybody knows."""
    with connect(server.url, additional_headers={"x-user": "victim"}) as client:
        client.send(
            json.dumps({"type": "send", "request": "v", "requestId": "v", "stream": "a", "id": "a", "input": 1, "messages": []})
        )
        said = ""
        while "mine " not in said:
            said = str(client.recv(timeout=60))
        yield client


def value(draw: random.Random, depth: int = 0) -> object:
    """Something for a field: of the right type or not, in bounds or not."""
    match draw.randrange(14 if depth < 3 else 10):
        case 0:
            return None
        case 1:
            return draw.choice([True, False])
        case 2:
            return draw.choice([-1, 0, 1, 2**31, 2**53, 2**53 + 1, 2**64, -(2**70), 10**300])
        case 3:
            return draw.choice([0.5, -1e308, 1e308])
        case 4:
            return draw.choice(["a", "b", "c", "v", "", "x" * 200, "x" * 201, "x" * 5_000])
        case 5:
            return draw.choice(["\x00", "\u2028", "\ud83d", "../a", "a\r\nb", "\U0001f600" * 60, "'; --"])
        case 6:
            return draw.choice(["abc.7", "abc.-1", "0.0", "1" * 64, "1" * 65, "ffffffffffff.999999999999999", "."])
        case 7:
            return draw.choice(["join", "interrupt", "raise", "replace", "submit-message"])
        case 8:
            return draw.choice(["send", "resume", "cancel"])
        case 9:
            return draw.choice([[], {}, [[]], {"": ""}])
        case 10 | 11:
            return [value(draw, depth + 1) for _ in range(draw.randrange(4))]
        case _:
            return {draw.choice(["a", "type", "", "id"]): value(draw, depth + 1) for _ in range(draw.randrange(4))}


def message(draw: random.Random, kinds: tuple[str, ...]) -> str | bytes:
    """Mostly a message with something wrong; now and then garbage."""
    chance = draw.random()
    if chance < 0.02:
        return draw.randbytes(draw.randrange(200))  # a binary one
    if chance < 0.08:
        return draw.choice(["", "{", "null", "[]", '"send"', "7", "NaN", '{"type":"send"', "\x00", "[" * 5_000, '{"a":' * 1_500])
    body: dict[str, object] = {"type": draw.choice(kinds) if draw.random() < 0.95 else value(draw)}
    good: dict[str, object] = {
        "request": "r",
        "requestId": f"r{draw.randrange(1_000_000)}",
        "stream": draw.choice("abc"),
        "id": draw.choice("abc"),
        "input": {"n": 1},
        "messages": [],
        "seq": 0,
        "trigger": "submit-message",
        "headers": {},
        "body": {},
    }
    for name, usual in good.items():
        if draw.random() < 0.8:
            body[name] = usual
    for name in (
        "request",
        "requestId",
        "stream",
        "id",
        "after",
        "seq",
        "input",
        "if_running",
        "lastSequence",
        "messages",
        "trigger",
    ):
        if draw.random() < 0.15:
            body[name] = value(draw)
    text = json.dumps(body)
    return text[: draw.randrange(len(text))] if draw.random() < 0.03 else text


def check_told(said: str | bytes, ai_sdk: bool) -> None:
    """An answer is one of the documented ones."""
    if not ai_sdk:
        told = read_server(said)
        assert isinstance(told, Hello | Started | Events | End | RefusedMessage | Pong)
        if isinstance(told, RefusedMessage):
            assert told.code in CODES, told
        if isinstance(told, Events):
            assert "mine " not in str(told.events)
        return
    frame = json.loads(said)
    assert frame["type"] in ("start", "chunk", "end", "error", "no-active"), frame
    assert isinstance(frame["requestId"], str)
    assert "mine " not in str(frame)
    assert ("errorText" in frame) == (frame["type"] == "error")
    assert ("chunk" in frame) == (frame["type"] == "chunk")


def converse(server: Running, seed: int) -> int | None:
    """One connection of a client that knows no rules; the code that it was closed with, if it was."""
    draw = random.Random(seed)
    ai_sdk = isinstance(server.routes, AISDKWebSocketRoutes)
    # Without a bound it reads the server's close whatever it has not taken yet.
    with connect(server.url, max_size=None, max_queue=None) as client:
        try:
            for _ in range(draw.randrange(1, 60)):
                client.send(message(draw, THEIRS if ai_sdk else OURS))
            # One that is answered behind all others; in our own protocol as soon as it is heard.
            client.send(
                json.dumps(
                    {"type": "ping", "request": "last"} if not ai_sdk else {"type": "resume", "requestId": "last", "id": "?"}
                )
            )
            while True:
                said = client.recv(timeout=60)
                check_told(said, ai_sdk)
                if '"last"' in str(said):
                    return None
        except ConnectionClosed as closed:
            for said in iter_rest(client):
                check_told(said, ai_sdk)
            return None if closed.rcvd is None else closed.rcvd.code


def iter_rest(client: ClientConnection) -> Iterator[str | bytes]:
    """What had come before it was closed."""
    try:
        while True:
            yield client.recv(timeout=60)
    except ConnectionClosed:
        return


@pytest.mark.usefixtures("victim")
def test_ws_12_nonsense_gets_documented_answers_and_changes_nothing_for_others(server: Running, victim: ClientConnection) -> None:
    base = server.tasks()
    codes = {converse(server, seed) for seed in range(60)}
    assert None in codes  # some were within their budget
    assert 1008 in codes
    assert codes - {None} <= CLOSE_CODES
    wait_until(lambda: 1 == len(server.routes))
    wait_until(lambda: server.tasks() <= base)
    status = server.ask(lambda: server.routes.hub.status("a", owner="victim"))
    assert ("running", 1) == (status.state, status.readers)
    with pytest.raises(TimeoutError):
        victim.recv(timeout=0.05)  # nothing of what others did


def settled(held: Callable[[], int], bound: int) -> int:
    """What is held once it is below the bound, or in the end."""
    with suppress(AssertionError):
        wait_until(lambda: held() < bound, 20)
    return held()


def grown_in_a_round(kind: type[WebSocketRoutes]) -> list[int]:
    """Bytes that a server and its clients hold more of after each round, until one is below the bound."""
    with in_thread(lambda: kind(answer, owner=owner_of, allow_missing_origin=True, on_disconnect="cancel", **LIMITS)) as server:

        def held() -> int:
            """Bytes, once the connections are gone; streams are kept for a moment longer."""
            wait_until(lambda: 0 == len(server.routes))
            server.ask(gc.collect)
            return tracemalloc.get_traced_memory()[0]

        for seed in range(1_000, 1_008):  # what is made once is there
            converse(server, seed)
        tracemalloc.start()
        grown: list[int] = []
        while len(grown) < 4 and not (grown and grown[-1] < ROUND_BYTES):
            before = held()
            for seed in range(2_000, 2_016):
                converse(server, seed)
            grown.append(settled(held, before + ROUND_BYTES) - before)
        return grown


@pytest.mark.parametrize("kind", KINDS)
def test_the_memory_of_the_server_returns_to_what_it_was(kind: str) -> None:
    # In a process of its own: others in this one may grow meanwhile.
    search = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, __file__, kind], env={**os.environ, "PYTHONPATH": search}, capture_output=True, text=True, timeout=160
    )
    assert 0 == done.returncode, done.stderr
    grown = json.loads(done.stdout)
    assert grown[-1] < ROUND_BYTES, grown


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ('{"type":"cancel","stream":"a","request":"1"}', "not-found"),  # somebody else's
        ('{"type":"resume","stream":"a","request":"1"}', "not-found"),
        ('{"type":"resume","stream":"a","request":"1","after":"abc.0"}', "not-found"),
        ('{"type":"ack","stream":"a","seq":-1,"request":"1"}', "bad-message"),
        ('{"type":"cancel","stream":"nobody","request":"1"}', "not-found"),
    ],
)
def test_ws_12_a_control_message_for_another_ones_stream_is_an_error_and_the_connection_stays(sent: str, code: str) -> None:
    with (
        in_thread(lambda: WebSocketRoutes(answer, owner=owner_of, allow_missing_origin=True, **LIMITS)) as running,
        connect(running.url, additional_headers={"x-user": "victim"}) as victim,
        connect(running.url) as client,
    ):
        victim.send('{"type":"send","stream":"a","input":1}')
        while "mine" not in str(victim.recv(timeout=60)):
            continue
        assert isinstance(read_server(client.recv(timeout=60)), Hello)
        client.send(sent)
        told = read_server(client.recv(timeout=60))
        assert isinstance(told, RefusedMessage)
        assert (code, "1") == (told.code, told.request)
        client.send('{"type":"ping","request":"2"}')
        assert Pong("2") == read_server(client.recv(timeout=60))
        assert "running" == running.ask(lambda: running.routes.hub.status("a", owner="victim")).state


@pytest.mark.parametrize("routes", [WebSocketRoutes, AISDKWebSocketRoutes])
def test_ws_12_ten_megabytes_of_json_close_the_connection_with_1009(routes: type[WebSocketRoutes]) -> None:
    with in_thread(lambda: routes(answer, owner=owner_of, allow_missing_origin=True, **LIMITS)) as running:
        with connect(running.url, max_queue=None) as client:
            with pytest.raises(ConnectionClosed) as closed:  # it may come at either
                client.send('{"type":"send","input":"' + "x" * 10_000_000 + '"}')
                while True:
                    client.recv(timeout=60)
            assert closed.value.rcvd is None or 1009 == closed.value.rcvd.code
        wait_until(lambda: 0 == len(running.routes))


def test_no_text_whatever_makes_the_grammar_raise_or_slow() -> None:
    draw = random.Random(7)
    for _ in range(3_000):
        sent = message(draw, OURS)
        read_client(sent if isinstance(sent, str) else sent.decode("latin-1"))
    read_client("[" * 1_000_000)
    read_client('{"type":"send","input":' + "[" * 1_000_000)
    assert read_client('{"type":"ping"}') is not None


if __name__ == "__main__":
    print(json.dumps(grown_in_a_round(KINDS[sys.argv[1]])))
