"""On the wire, with real servers: who is let in, what is refused, and that nothing is left behind."""

from __future__ import annotations

import json
import logging
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from served import wait_until
from websocket_servers import IMPATIENT_S, SERVERS, RawClient, Sites, frame, running
from websocket_thread import in_thread
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from streamkit.sinks.websocket import WebSocketRoutes

START = b'{"type":"send","stream":"%s","input":"endless"}'


@pytest.fixture(scope="module", params=SERVERS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def sites(kind: str) -> Iterator[Sites]:
    with running(kind) as sites:
        yield sites


@pytest.fixture(scope="module")
def impatient(kind: str) -> Iterator[Sites]:
    """The same, which drops soon who answers no ping."""
    with running(kind, IMPATIENT_S) as sites:
        yield sites


def test_an_answer_comes_over_every_server(sites: Sites) -> None:
    with connect(f"ws://127.0.0.1:{sites.port}/chat", subprotocols=["streamkit.v1"]) as client:  # type: ignore[list-item]
        client.send('{"type":"send","stream":"whole","input":["Hel","lo"]}')
        said: list[Any] = []
        while not said or said[-1]["type"] != "end":
            said.append(json.loads(client.recv(timeout=60)))

    assert "streamkit.v1" == client.subprotocol
    assert ["hello", "started"] == [one["type"] for one in said[:2]]
    texts = [event.get("text", "") for one in said if one["type"] == "events" for event in one["events"]]
    assert ("Hello", "done") == ("".join(texts), said[-1]["ending"])


@pytest.mark.parametrize("origin", ["https://evil.example"])
def test_ws_01_a_page_of_another_site_is_not_accepted_though_it_has_cookies(sites: Sites, origin: str) -> None:
    with RawClient(sites.port, "/strict", headers=f"Origin: {origin}\r\nCookie: session=1\r\n") as client:
        assert 403 == client.status


@pytest.mark.parametrize(
    "origin", ["https://good.com.evil.com", "https://GOOD.com:444", "null", "", "https://good.com.", "http://good.com", "*"]
)
def test_ws_02_look_alikes_of_an_origin_are_not_accepted(sites: Sites, origin: str) -> None:
    headers = f"Origin: {origin}\r\n" if origin else ""
    with RawClient(sites.port, "/strict", headers=headers) as client:
        assert 403 == client.status


@pytest.mark.parametrize("origin", ["https://good.com", "http://127.0.0.1:{port}"])
def test_ws_02_the_exact_origin_and_that_of_the_host_are_accepted(sites: Sites, origin: str) -> None:
    with RawClient(sites.port, "/strict", headers=f"Origin: {origin.format(port=sites.port)}\r\n") as client:
        assert 101 == client.status


def test_ws_03_compression_is_not_agreed_on_and_a_compressed_frame_is_an_error(sites: Sites) -> None:
    with RawClient(sites.port, headers="Sec-WebSocket-Extensions: permessage-deflate\r\n") as client:
        packed = zlib.compressobj(wbits=-15)
        client.send(packed.compress(bytes(1 << 20)) + packed.flush(), rsv=0x40)

        assert "sec-websocket-extensions" not in client.head
        assert client.close_code() in (1002, None)
    with RawClient(sites.port) as client:
        with suppress(ConnectionError):
            client.send(b'"' + b"x" * ((1 << 20) + 100) + b'"')

        assert 1009 == client.close_code()


def test_ws_03_where_compression_was_agreed_on_a_bomb_is_closed_before_it_is_inflated() -> None:
    with (
        in_thread(lambda: WebSocketRoutes(lambda request: [], allow_missing_origin=True), compression="deflate") as server,
        connect(server.url, compression="deflate") as client,
    ):
        client.recv(timeout=60)
        client.send("x" * 50_000_000)  # 50 KB on the wire
        with pytest.raises(ConnectionClosed):
            client.recv(timeout=60)

    assert 1009 == client.close_code


def test_ws_04_a_message_in_100_000_empty_fragments_holds_nobody_up(sites: Sites, kind: str) -> None:
    count = 100_000
    with RawClient(sites.port) as client:
        client.send(b"", fin=False)
        with suppress(ConnectionError):
            for _ in range(20):
                client.socket.sendall(frame(b"", 0, fin=False) * (count // 20))
        with RawClient(sites.port) as other:
            other.send(b'{"type":"ping","request":"1"}')

            assert "pong" in other.until_text("pong")
        if kind == "websockets":
            assert client.close_code() in (1008, None)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (frame(b"\xff\xfe", 1), (1007, None)),
        (frame(b"x", 3), (1002, None)),
        (frame(b"x", 11), (1002, None)),
        (frame(b"{}", 1, mask=False), (1002, None)),
        (frame(b"\x03\xed", 8), (1002, None)),
        (frame(b"\x00\x00", 8), (1002, None)),
        (frame(b"x" * 126, 9), (1002, None)),
        (frame(b"x", 0), (1002, None)),
    ],
    ids=["bad-utf8", "reserved-opcode", "reserved-control", "unmasked", "close-1005", "close-0", "long-ping", "no-start"],
)
def test_ws_05_broken_frames_end_the_connection(sites: Sites, kind: str, data: bytes, expected: tuple[int | None, ...]) -> None:
    with RawClient(sites.port) as client:
        client.socket.sendall(data)

        if kind == "aiohttp" and data == frame(b"{}", 1, mask=False):
            assert "unknown-type" in client.until_text('"type":"error"')  # it takes what has no mask like any other
        else:
            assert client.close_code() in expected


def test_ws_05_a_binary_message_is_closed_with_1003(sites: Sites) -> None:
    with RawClient(sites.port) as client:
        client.send(b"x", 2)

        assert 1003 == client.close_code()


def test_ws_06_a_flood_of_messages_is_closed_and_a_flood_of_pings_holds_nobody_up(sites: Sites) -> None:
    with RawClient(sites.port, "/small") as client:
        with suppress(ConnectionError):
            client.socket.sendall(frame(b'{"type":"ping"}') * 10_000)

        assert client.close_code() in (1008, None)
    with RawClient(sites.port) as pinging, RawClient(sites.port) as other:
        with suppress(ConnectionError):
            pinging.socket.sendall(frame(b"p", 9) * 10_000)
        other.send(b'{"type":"ping","request":"1"}')

        assert "pong" in other.until_text("pong")


def test_ws_06_a_client_that_floods_and_answers_the_close_is_heard_behind_its_flood() -> None:
    def routes() -> WebSocketRoutes:
        return WebSocketRoutes(lambda request: [], allow_missing_origin=True, max_messages_per_second=50, close_timeout=120.0)

    # The client's own patience is the shorter one; both are far beyond what a busy machine needs.
    with in_thread(routes) as server:
        with RawClient(int(server.url.rpartition(":")[2].strip("/"))) as client:
            client.socket.sendall(frame(b'{"type":"ping"}') * 50_000 + frame(struct.pack("!H", 1008), 8))

            assert 1008 == client.close_code()
        wait_until(lambda: not len(server.routes))


@pytest.mark.parametrize("path", ["/chat", "/silent"])
def test_ws_07_a_client_that_answers_no_ping_or_sends_none_is_dropped_and_its_source_closed(impatient: Sites, path: str) -> None:
    sites = impatient
    sites.closed.clear()
    with RawClient(sites.port, path) as client:
        client.send(START % b"dead")
        client.until_text("and so on")
        wait_until(lambda: "dead" in sites.closed)

        assert 1 == sites.closed.count("dead")


def test_ws_08_a_client_that_never_closes_is_dropped_after_the_close_timeout(sites: Sites) -> None:
    wait_until(lambda: not sites.tasks())
    with RawClient(sites.port, "/impatient") as client:
        client.send(START % b"stays")
        client.until_text("and so on")
        client.send(b"x", 2)
        code = client.close_code()
        wait_until(lambda: not sites.tasks())

        assert code == 1003
        assert 1 == sites.closed.count("stays")


def test_ws_09_who_is_not_signed_in_is_not_accepted(sites: Sites) -> None:
    with RawClient(sites.port, "/auth") as client:
        assert 403 == client.status
    with RawClient(sites.port, "/auth", headers="Authorization: Bearer s3cret\r\n") as client:
        assert 101 == client.status


def test_ws_10_a_token_in_the_query_works_only_if_enabled_and_is_not_logged(sites: Sites, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="streamkit"):
        with RawClient(sites.port, "/auth?token=s3cret") as client:
            assert 403 == client.status
        with RawClient(sites.port, "/query?token=s3cret") as client:
            assert 101 == client.status

    assert "s3cret" not in caplog.text


def test_ws_11_streams_end_typed_when_the_sign_in_expires(sites: Sites) -> None:
    with RawClient(sites.port, "/brief") as client:
        client.send(START % b"brief")
        end = json.loads(client.until_text('"type":"end"'))

        assert ("error", "unauthorized") == (end["ending"], end["code"])
        assert 4401 == client.close_code()


def test_ws_12_a_malformed_message_is_answered_and_ten_megabytes_are_1009(sites: Sites) -> None:
    with RawClient(sites.port, "/small") as client:
        client.send(b'{"type":"cancel","stream":"somebody\'s"}')
        client.until_text("not-found")
        client.send(b'{"type":"ack","stream":"a","seq":-1}')
        client.until_text("bad-message")
        with suppress(ConnectionError):
            client.send(b'{"type":"send","input":"' + b"x" * 10_000_000 + b'"}')

        assert client.close_code() in (1009, None)


def test_who_goes_without_a_word_leaves_nothing_behind(sites: Sites) -> None:
    with RawClient(sites.port) as client:
        client.send(START % b"gone")
        client.until_text("and so on")
    wait_until(lambda: "gone" in sites.closed)
    wait_until(lambda: not sites.tasks())

    assert 1 == sites.closed.count("gone")
