"""NDJSON read back: what `http.Response` writes, however it is cut, however it ends, and over a real server."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from typing import Any, cast

import anyio
import httpx2
import pytest
from asgi_client import Client
from event_loops import asyncio_only
from served import served

import streamkit as sk
from streamkit.clients.decoding import decode
from streamkit.clients.http_responses import from_http
from streamkit.dialects.native import NativeDecoder
from streamkit.dialects.protocol import Dialect
from streamkit.errors import ConfigError, RemoteProtocolError, SourceError, StreamTruncated
from streamkit.flow.clock import current_clock
from streamkit.sinks import http
from streamkit.testing import ScriptedModel

pytestmark = pytest.mark.anyio

EVENTS: list[sk.Event] = [
    sk.Start("a", "m"),
    sk.TextDelta("Héllo \u2028"),
    sk.TextDelta("line\nend 😀"),
    sk.ToolCall("1", "add", '{"a":1}'),
    sk.DataDelta(b"\0\xff", "audio/pcm"),
    sk.Custom("own", {"a": [1, None]}),
    sk.Usage(1, 2),
    sk.Finish(),
]


async def written(*events: sk.Event) -> bytes:
    """The body that `http.Response` sends."""
    client = await Client().call(http.Response(list(events), "ndjson"))
    return b"".join(message.get("body", b"") for message in client.messages)


async def outcome(pieces: list[bytes], **options: Any) -> tuple[list[sk.Event], BaseException | None]:
    """The events of a body, and the error after them."""
    events: list[sk.Event] = []
    try:
        async with decode(pieces, "ndjson", **options) as run:
            async for event in run:
                events.append(event)
    except Exception as caught:
        return events, caught
    return events, None


# ---- what comes out ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [
        lambda body: body,
        lambda body: body[:-1],
        lambda body: body.replace(b"\n", b"\r\n"),
        lambda body: b"\xef\xbb\xbf" + body,
        lambda body: b" " + body.replace(b"\n", b"\n \n\n  "),
    ],
    ids=["as it is", "no last line end", "CRLF", "byte order mark", "signs of life"],
)
async def test_an_answer_is_the_same_however_it_is_cut(changed: Callable[[bytes], bytes]) -> None:
    body = changed(await written(*EVENTS))
    assert (EVENTS, None) == await outcome([body])
    assert (EVENTS, None) == await outcome([body[at : at + 1] for at in range(len(body))])
    rng = random.Random(len(body))
    for _ in range(30):
        places = [0, *sorted(rng.sample(range(len(body)), 7)), len(body)]
        assert (EVENTS, None) == await outcome([body[a:b] for a, b in pairwise(places)])


async def test_events_of_one_read_come_together() -> None:
    async with decode([await written(*EVENTS), b" "], "ndjson") as run:
        assert [EVENTS] == [list(batch) async for batch in run.lists()]


async def test_a_dialect_of_ones_own_is_read_by_the_line() -> None:
    own = Dialect("own", "ndjson", decoder=NativeDecoder)
    assert "Hi" == await decode([b'{"type":"text-delta","text":"Hi"}\n{"type":"finish"}'], own).join()


async def test_what_a_writer_of_unknown_words_adds_is_kept() -> None:
    events, failure = await outcome([b'{"type":"to-come","a":1}\n{"type":"finish"}\n{"type":"end"}\n'])
    assert (None, [sk.Raw({"type": "to-come", "a": 1}), sk.Finish()]) == (failure, events)


# ---- how it ended -------------------------------------------------------------------------------


async def test_a_cut_at_any_byte_before_the_finish_is_truncated_with_what_came() -> None:
    body = await written(sk.TextDelta("Hi"), sk.TextDelta(" you"))
    finish = body.index(b'{"type":"finish"}') + len(b'{"type":"finish"}')
    for at in range(1, finish):
        events, failure = await outcome([body[:at]])
        assert isinstance(failure, StreamTruncated), at
        assert sk.Message(events).text == cast("sk.Message", failure.partial).text
        assert "Hi you".startswith(sk.Message(events).text)
    assert "Hi you" == sk.Message(events).text
    for at in range(finish, len(body)):
        events, failure = await outcome([body[:at]])
        assert (None, "Hi you", True) == (failure, sk.Message(events).text, isinstance(events[-1], sk.Finish))


async def test_an_error_line_is_that_error_after_the_events_before_it() -> None:
    line = b'{"type":"error","message":"Too many","code":"rate-limited","retryable":true,"retry_after":3}'
    for end in (b"\n", b""):
        events, failure = await outcome([await _open("Hi"), line + end])
        assert isinstance(failure, sk.RateLimitError)
        assert ("Hi", 3, "Hi") == (sk.Message(events).text, failure.retry_after, cast("sk.Message", failure.partial).text)


async def test_a_source_that_fails_behind_the_response_fails_here() -> None:
    async def source() -> AsyncIterator[str]:
        yield "Hi"
        raise sk.OverloadedError("the provider's own words")

    client = await Client().call(http.Response(source(), "ndjson"))
    events, failure = await outcome([message.get("body", b"") for message in client.messages])
    assert "Hi" == sk.Message(events).text
    assert isinstance(failure, sk.OverloadedError)
    assert "own words" not in str(failure)


async def test_on_request_an_error_is_the_last_event() -> None:
    events, failure = await outcome([await _open("Hi")], errors="yield")
    assert (None, "truncated") == (failure, cast("sk.ErrorEvent", events[-1]).code)


@pytest.mark.parametrize(
    ("body", "kind", "word"),
    [
        (b"<!doctype html>\n<title>Bad gateway</title>\n{}\n", RemoteProtocolError, "HTML"),
        (b"<html>" + b"x" * 20_000, RemoteProtocolError, "HTML"),
        (b"upstream connect error", RemoteProtocolError, "text"),
        (b"upstream\nconnect\nerror\n", RemoteProtocolError, "text"),
        (b'data: {"type":"end"}\n\n', RemoteProtocolError, "text"),
        (b'{"error":{"message":"no"}}', SourceError, "no"),
        (b'{"error":{"message":"no"}}\n', SourceError, "no"),
        (b'{"type":"open","version":2}\n', RemoteProtocolError, "version 2"),
        (b'{"type":"open","version":1}\n{"type":\n', RemoteProtocolError, "frame 2 is not JSON"),
        (b"   \n ", StreamTruncated, "end frame"),
        (b"", StreamTruncated, "end frame"),
    ],
)
async def test_what_is_no_such_stream_says_what_it_is(body: bytes, kind: type[Exception], word: str) -> None:
    for cut in ([body], [body[at : at + 1] for at in range(len(body))][:3000]):
        events, failure = await outcome(cut)
        assert ([], kind) == (events, type(failure))
        assert word in str(failure)


async def test_a_line_without_end_is_refused_at_its_bound_after_what_came() -> None:
    reads: list[int] = []

    async def endless() -> AsyncIterator[bytes]:
        yield await _open("a")
        while True:
            reads.append(1)
            yield b'"' + b"x" * 999

    with pytest.raises(RemoteProtocolError, match="max_event_bytes=10000") as caught:
        await decode(endless(), "ndjson", max_event_bytes=10_000).collect()
    assert 11 == len(reads)
    assert "a" == cast("sk.Message", caught.value.partial).text


@pytest.mark.parametrize("framing", ["text", "eventstream"])
def test_a_wire_that_is_not_read_is_refused_at_the_call(framing: Any) -> None:
    with pytest.raises(ConfigError, match=f"travels on '{framing}', which is not read: 'sse', 'ndjson' are"):
        decode([], Dialect("other", framing, decoder=NativeDecoder))


@pytest.mark.parametrize("size", [0, -1, True])
def test_a_bound_that_is_none_is_refused_at_the_call(size: Any) -> None:
    with pytest.raises(ConfigError, match="max_event_bytes"):
        decode([], "ndjson", max_event_bytes=size)


async def test_after_a_cut_before_any_output_it_is_asked_again() -> None:
    bodies = [[b" "], [b'{"type":"open","version":1}\n{"type":"te'], [await written(*EVENTS)]]
    assert EVENTS == await (decode(lambda: bodies.pop(0), "ndjson") | sk.retry(3, backoff=0)).collect()
    assert [] == bodies


async def test_a_scripted_model_writes_the_lines_that_are_read(clock: Any) -> None:
    model = ScriptedModel("Hel", 3.0, "lo")
    for seed in range(5):
        assert "Hello" == await decode(model.bytes(dialect="ndjson", seed=seed), "ndjson").join()


# ---- time -----------------------------------------------------------------------------------------


async def test_a_space_is_a_sign_of_life(clock: Any) -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield await _open("Hi")
        for _ in range(10):
            await current_clock().sleep(15)
            yield b" "
        yield b'{"type":"finish"}\n{"type":"end"}\n'

    assert "Hi" == await (decode(slow(), "ndjson") | sk.timeout(wire=20)).join()
    assert 150 == clock.now()


async def test_a_silent_connection_is_given_up_with_the_answer_so_far(clock: Any) -> None:
    async def dead() -> AsyncIterator[bytes]:
        yield await _open("Hi")
        await current_clock().sleep(1000)

    with pytest.raises(sk.StreamTimeout) as caught:
        await (decode(dead(), "ndjson") | sk.timeout(wire=20)).collect()
    assert ("wire", "Hi") == (caught.value.phase, cast("sk.Message", caught.value.partial).text)


# ---- over a real server -----------------------------------------------------------------------------


async def _application(scope: Any, receive: Any, send: Any) -> None:
    path = scope["path"]
    alive = anyio.Event()

    async def watched(message: Any) -> None:
        await send(message)
        if message.get("body") == b" ":
            alive.set()

    async def answer() -> AsyncIterator[sk.Event]:
        if path == "/refused":
            raise sk.RateLimitError("the provider's own words", retry_after=7)
        for event in EVENTS[:3]:
            yield event
        if path == "/waits":
            await alive.wait()
        elif path == "/fails":
            raise sk.OverloadedError("the provider's own words")
        for event in EVENTS[3:]:
            yield event

    await http.Response(answer(), "ndjson", heartbeat=0.05, compress=path == "/compressed")(scope, receive, watched)


@pytest.fixture(scope="module")
def server() -> Any:
    with served(_application) as url:
        yield url


async def read(url: str, *, blocks: bool, got: list[sk.Event]) -> None:
    """Put what a client of the one or the other kind reads there into `got`."""
    blocking = httpx2.Client()
    async with httpx2.AsyncClient() as client:
        response: Any = blocking.stream("GET", url) if blocks else client.stream("GET", url)
        try:
            async with from_http(response, "ndjson") | sk.timeout(wire=20) as run:
                async for event in run:
                    got.append(event)
        finally:
            blocking.close()


@pytest.mark.parametrize("blocks", [False, True], ids=["async client", "blocking client"])
@pytest.mark.parametrize("path", ["/", "/waits", "/compressed"])
async def test_what_the_response_writes_is_read_back(server: str, path: str, blocks: bool) -> None:
    got: list[sk.Event] = []
    await read(server + path, blocks=blocks, got=got)
    assert EVENTS == got


@asyncio_only  # on trio httpx2 leaves a generator of its own open, whatever it is that was not read to its end
@pytest.mark.parametrize("blocks", [False, True], ids=["async client", "blocking client"])
async def test_what_fails_behind_the_response_fails_here_after_what_came(server: str, blocks: bool) -> None:
    got: list[sk.Event] = []
    with pytest.raises(sk.OverloadedError) as caught:
        await read(server + "/fails", blocks=blocks, got=got)
    assert EVENTS[:3] == got
    assert "own words" not in str(caught.value)


async def test_the_body_was_compressed_where_it_was_said_to_be(server: str) -> None:
    async with httpx2.AsyncClient() as client, client.stream("GET", server + "/compressed") as response:
        assert ("gzip", "application/x-ndjson") == (response.headers["content-encoding"], response.headers["content-type"])
        assert EVENTS == await from_http(response, "ndjson").collect()


async def test_a_refusal_brings_what_its_headers_say(server: str) -> None:
    async with httpx2.AsyncClient() as client:
        with pytest.raises(sk.RateLimitError) as caught:
            await from_http(client.stream("GET", server + "/refused"), "ndjson").collect()
    assert "own words" not in str(caught.value)
    assert (429, 7) == (caught.value.status, caught.value.retry_after)


async def _open(text: str) -> bytes:
    """An answer that has begun."""
    return (await written(sk.TextDelta(text))).partition(b'{"type":"finish"}')[0]
