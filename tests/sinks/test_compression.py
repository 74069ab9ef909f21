"""Compression of streamed responses: what is negotiated, that every write can be opened at once, and what is left alone."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from asgi_client import Client
from hypothesis import given
from hypothesis import strategies as st

import streamkit as sk
from streamkit.sinks import http, sse
from streamkit.sinks.chats import ChatRoutes
from streamkit.sinks.compression import CODINGS, Compression, compressor, installed, negotiated
from streamkit.sinks.resuming import HubResponse
from streamkit.testing import VirtualClock, timed
from streamkit.wire.inflate import inflater_for

pytestmark = pytest.mark.anyio


def opened(coding: str, *bodies: bytes) -> list[bytes]:
    """What each of them stands for, behind those before it."""
    inflater = inflater_for(coding)
    assert inflater is not None
    return [b"".join(inflater.feed(body)) for body in bodies]


# -- the codings


@pytest.mark.parametrize("coding", CODINGS)
@given(writes=st.lists(st.binary(max_size=3000)))
def test_each_write_can_be_opened_before_the_next_one(coding: str, writes: list[bytes]) -> None:
    body = compressor(coding)
    inflater = inflater_for(coding)
    assert inflater is not None
    for write in writes:
        assert write == b"".join(inflater.feed(body.write(write)))
    assert b"" == b"".join(inflater.feed(body.close()))
    assert not inflater.cut


@pytest.mark.parametrize("coding", CODINGS)
def test_a_long_stream_gets_smaller_however_small_its_writes_are(coding: str) -> None:
    body = compressor(coding)
    events = [b'data: {"type":"text-delta","text":" word%d"}\n\n' % (n % 50) for n in range(1000)]
    assert sum(len(body.write(event)) for event in events) < 0.5 * sum(map(len, events))


# -- negotiation (RFC 9110, section 12.5.3)


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip", "gzip"),
        ("GZIP", "gzip"),
        ("x-gzip", "gzip"),
        ("gzip, deflate, br, zstd", "gzip"),
        ("br", "br"),
        ("zstd, br", "zstd"),
        ("gzip;q=0.5, br;q=0.8", "br"),
        ("gzip; q = 0.5 , br;q=0.499", "gzip"),
        ("*", "gzip"),
        ("*;q=0.1, br", "br"),
        ("gzip;q=0, *", "zstd"),
        ("gzip;q=0.001", "gzip"),
        ("identity;q=0.5, gzip;q=0.5", "gzip"),
        ("identity;q=0, br;q=0.1", "br"),
        ("", None),
        ("identity", None),
        ("identity, gzip;q=0.9", None),
        ("deflate", None),
        ("gzip;q=0", None),
        ("*;q=0", None),
        ("gzip;q=0.000, br;q=0", None),
        ("gzip;q=nan", None),
        ("gzip;q=-1", None),
        ("gzip;q=1e9", None),
        ("gzip;q=", None),
        ("gzip;level=9", None),
        (",,;;q=1,", None),
        ("gzip" * 1000, None),
        ("a," * 499 + "gzip", None),
    ],
)
def test_what_a_client_accepts_is_what_it_gets(accepted: str, coding: str | None) -> None:
    assert coding == negotiated(accepted, CODINGS)


@given(st.text())
def test_no_header_makes_a_coding_that_is_not_offered(accepted: str) -> None:
    assert negotiated(accepted, ("gzip",)) in (None, "gzip")


async def test_several_header_lines_count_as_one() -> None:
    client = Client()
    client.scope["headers"] = [(b"accept-encoding", b"br;q=0.5"), (b"accept-encoding", b"gzip;q=0.1")]
    await client.call(sse.Response(["Hi"], compress=True))
    assert "br" == client.headers["content-encoding"]


# -- responses


async def test_compress_false_sends_no_word_of_it() -> None:
    client = await Client(headers={"accept-encoding": "gzip"}).call(sse.Response(["Hi"]))
    assert not {"vary", "content-encoding"} & client.headers.keys()


async def test_a_client_that_takes_none_is_told_that_others_get_another_body() -> None:
    client = await Client().call(sse.Response(["Hi"], compress=True))
    assert "accept-encoding" == client.headers["vary"]
    assert "Hi" == client.text


async def test_the_heartbeat_is_compressed_with_the_rest(clock: VirtualClock) -> None:
    client = await Client(headers={"accept-encoding": "gzip"}).call(
        sse.Response(timed("a", 20.0, "b"), heartbeat=15, compress=True)
    )
    writes = opened("gzip", *client.writes)
    assert b": hb\n" in writes
    assert 20.0 == clock.now()
    assert b"".join(writes).endswith(b'{"type":"end"}\n\n')


async def test_a_list_says_which_codings_and_in_what_order() -> None:
    client = await Client(headers={"accept-encoding": "gzip, br"}).call(http.Response(["Hi"], "text", compress=["br", "gzip"]))
    assert "br" == client.headers["content-encoding"]
    assert b"Hi" == b"".join(opened("br", *client.writes))


async def test_a_refusal_is_not_compressed() -> None:
    async def events() -> AsyncIterator[str]:
        raise ValueError
        yield ""

    client = await Client(headers={"accept-encoding": "gzip"}).call(sse.Response(sk.stream(events), compress=True))
    assert 500 == client.status
    assert "content-encoding" not in client.headers
    assert b'"error"' in client.body


async def test_a_head_request_gets_the_headers_of_a_compressed_answer_and_no_body() -> None:
    client = await Client(method="HEAD", headers={"accept-encoding": "gzip"}).call(sse.Response(["Hi"], compress=True))
    assert ("gzip", b"") == (client.headers["content-encoding"], client.body)


async def test_a_body_that_is_encoded_already_is_left_alone() -> None:
    client = await Client(headers={"accept-encoding": "gzip"}).call(
        http.Response([b"\x1f\x8b"], "bytes", headers={"content-encoding": "gzip"}, compress=True)
    )
    assert b"\x1f\x8b" == client.body


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (206, [(b"content-range", b"bytes 0-1/5")]),
        (200, [(b"Content-Encoding", b"br")]),
        (200, [(b"Content-Length", b"2")]),
        (304, []),
    ],
)
async def test_what_another_coding_would_make_wrong_is_left_alone(status: int, headers: list[tuple[bytes, bytes]]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"ab"})

    client = await Client(headers={"accept-encoding": "gzip"}).call(Compression(app))
    assert (b"ab", headers) == (client.body, client.messages[0]["headers"])


async def test_the_users_own_vary_stays() -> None:
    client = await Client().call(sse.Response(["Hi"], headers={"vary": "origin"}, compress=True))
    assert [b"origin", b"accept-encoding"] == [value for name, value in client.messages[0]["headers"] if name == b"vary"]


async def test_compression_wraps_any_application_of_streams() -> None:
    async with sk.Hub() as hub:
        await hub.start("x", ["Hi"])
        client = await Client(headers={"accept-encoding": "zstd"}).call(Compression(HubResponse(hub, "x")))
        assert "zstd" == client.headers["content-encoding"]
        assert b'"Hi"' in b"".join(opened("zstd", *client.writes))
        client = await Client(headers={"accept-encoding": "gzip"}).call(Compression(HubResponse(hub, "y")))
        assert (404, False) == (client.status, "content-encoding" in client.headers)


async def test_other_protocols_pass_through_compression() -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["type"], receive, send))

    for kind in ("websocket", "lifespan"):
        await Compression(app)({"type": kind}, len, len)  # type: ignore[arg-type]  # neither is called
    assert [("websocket", len, len), ("lifespan", len, len)] == seen


# -- arguments


def test_an_unknown_coding_is_refused_at_the_call() -> None:
    with pytest.raises(sk.ConfigError, match="deflate"):
        Compression(print, codings=["deflate"])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="codings"):
        Compression(print, codings="gzip")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="application"):
        Compression(1)  # type: ignore[arg-type]
    with pytest.raises(sk.ConfigError, match="deflate"):
        compressor("deflate")


def test_a_coding_that_is_not_installed_is_named_with_its_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "brotli", None)
    with pytest.raises(sk.MissingExtra, match=r"streamkit-ai\[compression\]"):
        sse.Response(["Hi"], compress=["br"])


def test_without_optional_packages_there_is_gzip(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("brotli", "zstandard"):
        monkeypatch.setitem(sys.modules, package, None)
    installed.cache_clear()
    try:
        assert ("gzip",) == installed()
        assert "<Compression gzip of print>" == repr(Compression(print))  # type: ignore[arg-type]
    finally:
        installed.cache_clear()


async def test_a_hubs_responses_and_a_chats_routes_compress_too() -> None:
    takes = {"accept-encoding": "gzip"}
    async with sk.Hub() as hub:
        await hub.start("x", ["Hi"])
        client = await Client(headers=takes).call(HubResponse(hub, "x", compress=True))
        assert b'"Hi"' in b"".join(opened("gzip", *client.writes))
    async with ChatRoutes(lambda request: ["Hello"], compress=["br"], drain=None) as routes:
        client = await Client(method="POST", headers={"accept-encoding": "br, gzip"}).call(routes)
        assert b'"Hello"' in b"".join(opened("br", *client.writes))
        client = await Client(path=f"/{client.headers['x-stream-id']}", headers={"accept-encoding": "br"}).call(routes)
        assert "content-encoding" not in client.headers  # a status is short, and has a length
    with pytest.raises(sk.ConfigError, match="compress"):
        HubResponse(sk.Hub(), "x", compress=["lzma"])
