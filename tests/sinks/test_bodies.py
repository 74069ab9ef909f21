"""`Body`: a stream as an iterator of bytes, for frameworks that iterate; `BlockingBody`: for plain Python."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import pytest
from stopping import SlowToClose

import streamkit as sk
from streamkit.dialects.own_frames import mapping
from streamkit.flow.tasks import current_backend
from streamkit.sinks.bodies import BlockingBody, Body
from streamkit.sinks.life.draining import standing_drain
from streamkit.testing import VirtualClock, assert_no_leaks, timed
from streamkit.wire.inflate import inflater_for

pytestmark = pytest.mark.anyio

SECRET = "sk-SECRET /etc/passwd"


class Source:
    """Gives its items, then fails or waits for ever; tells how it was left."""

    def __init__(self, *items: object, error: Exception | None = None, endless: bool = False) -> None:
        self.items = items
        self.error = error
        self.endless = endless
        self.given = 0
        self.closed = 0

    async def events(self) -> AsyncIterator[object]:
        try:
            for item in self.items:
                self.given += 1
                yield item
            if self.error is not None:
                raise self.error
            if self.endless:
                await anyio.sleep_forever()
        finally:
            self.closed += 1


async def read(body: Body) -> list[bytes]:
    return [chunk async for chunk in body]


# -- Body


@pytest.mark.parametrize("heartbeat", [None, 15.0])
async def test_a_body_is_the_answer_in_chunks_and_never_an_empty_one(heartbeat: float | None) -> None:
    source = Source("H", "", sk.Ping(), "i")
    async with assert_no_leaks():
        chunks = await read(Body(sk.stream(source.events), heartbeat=heartbeat))
    assert all(chunks)
    values = [json.loads(line.removeprefix("data: ")) for line in b"".join(chunks).decode().split("\n\n")[:-1]]
    assert "Hi" == "".join(value.get("text", "") for value in values)
    assert "end" == values[-1]["type"]
    assert 1 == source.closed


async def test_its_headers_are_those_of_a_response() -> None:
    body = Body(["Hi"], "openai-chat", headers={"x-a": "b"})
    assert {"content-type": "text/event-stream; charset=utf-8", "x-a": "b"}.items() <= dict(body.headers).items()
    await body.aclose()


async def test_it_is_read_no_faster_than_it_is_taken_without_a_heartbeat() -> None:
    source = Source(*"abcdef")
    async with Body(sk.stream(source.events), "text", heartbeat=None) as body:
        assert b"a" == await anext(body)
        assert 1 == source.given


async def test_a_silent_source_gets_beats_and_loses_nothing(clock: VirtualClock) -> None:
    chunks = await read(Body(timed("a", 40.0, "b"), heartbeat=15))
    assert [b": hb\n"] * 2 == [chunk for chunk in chunks if chunk.startswith(b":")]
    assert [b"a", b"b"] == [letter for letter in (b"a", b"b") if b'"text":"%s"' % letter in b"".join(chunks)]
    assert 40.0 == clock.now()


async def test_a_beat_comes_before_the_first_item_too(clock: VirtualClock) -> None:
    async with Body(timed(20.0, "a"), "ndjson", heartbeat=15) as body:
        assert await body.begin() is None
        assert 15.0 == clock.now()
        chunks = await read(body)
    assert b" " == chunks[0]
    assert ["open", "text-delta", "finish", "end"] == [json.loads(line)["type"] for line in b"".join(chunks).split(b"\n")[:-1]]


@pytest.mark.parametrize("heartbeat", [None, 15.0])
async def test_leaving_it_closes_the_source(heartbeat: float | None) -> None:
    source = Source("a", endless=True)
    async with assert_no_leaks():
        async with Body(sk.stream(source.events), heartbeat=heartbeat) as body:
            await anext(body)
        assert 1 == source.closed


async def test_a_cancel_closes_the_source_and_goes_on() -> None:
    source = Source("a", endless=True)
    got: list[bytes] = []
    with anyio.CancelScope() as scope:
        async for chunk in Body(sk.stream(source.events)):
            got.append(chunk)
            scope.cancel()
    assert scope.cancelled_caught
    assert (1, 1) == (len(got), source.closed)


@pytest.mark.parametrize("heartbeat", [None, 15.0])
async def test_a_body_whose_beginning_was_cancelled_does_not_look_like_an_empty_answer(heartbeat: float | None) -> None:
    source = Source(endless=True)
    body = Body(sk.stream(source.events), heartbeat=heartbeat)
    async with anyio.create_task_group() as group:
        group.start_soon(body.begin)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    with pytest.raises(sk.StreamConsumed):
        await read(body)
    await body.aclose()
    assert 1 == source.closed


async def test_one_that_nobody_reads_is_closed_without_being_started() -> None:
    source = Source("a")
    async with Body(source.events()):
        assert 0 == source.given
    with pytest.raises(StopAsyncIteration):
        body = Body(sk.stream(source.events))
        await body.aclose()
        await anext(body)
    assert 0 == source.given


async def test_a_failure_is_told_and_not_raised() -> None:
    body = b"".join(await read(Body(sk.stream(Source("a", error=ValueError(SECRET)).events))))
    assert b'"type":"error"' in body
    assert SECRET.encode() not in body


async def test_a_failure_that_has_no_word_is_raised_behind_all_that_came() -> None:
    got = b""
    with pytest.raises(sk.StreamInterrupted, match="unfinished") as raised:
        async for chunk in Body(sk.stream(Source("a", "b", error=ValueError(SECRET)).events), "text"):
            got += chunk
    assert b"ab" == got
    assert SECRET not in str(raised.value)


async def test_an_opening_that_fails_is_told_where_no_item_comes_either() -> None:
    chat = mapping(lambda event: None, opening=lambda: {"a": 1 // 0})
    body = b"".join(await read(Body([], chat)))
    assert body.startswith(b'event: error\ndata: {"error":"The stream failed.","code":"error"')


async def test_begin_says_what_to_answer_instead() -> None:
    async with Body(sk.stream(Source(error=sk.RateLimitError(SECRET, retry_after=3)).events)) as body:
        refusal = await body.begin()
        assert refusal is not None
        status, headers, told = refusal
        assert (429, b"3") == (status, dict(headers)[b"retry-after"])
        assert SECRET.encode() not in told
        assert [] == await read(body)


async def test_without_begin_an_early_failure_is_told_in_the_body() -> None:
    body = b"".join(await read(Body(sk.stream(Source(error=ValueError(SECRET)).events))))
    assert b'"type":"open"' in body
    assert b'"type":"error"' in body


async def test_begin_gives_nothing_away() -> None:
    async with Body(["a", "b"], "text") as body:
        assert await body.begin() is None
        assert await body.begin() is None
        assert b"ab" == b"".join(await read(body))


async def test_what_belongs_to_a_framework_is_raised_before_the_first_byte() -> None:
    with pytest.raises(LookupError):
        async with Body(sk.stream(Source(error=LookupError()).events), lets_through=(LookupError,)) as body:
            await body.begin()


async def test_an_item_that_cannot_be_written_ends_it_with_an_error() -> None:
    source = Source("a", object(), "b")
    chunks = b"".join(await read(Body(sk.stream(source.events))))
    assert b'"a"' in chunks
    assert b'"b"' not in chunks
    assert b'"type":"error"' in chunks
    assert 1 == source.closed


@pytest.mark.parametrize("heartbeat", [None, 15.0])
async def test_when_the_process_stops_the_client_is_told_and_the_source_closed(
    heartbeat: float | None, clock: VirtualClock
) -> None:
    backend = current_backend()
    # On trio a source that is read by this very task can be left between two items only.
    waits = backend.name != "trio" or heartbeat is not None
    source = Source("a", endless=True) if waits else Source("a", "b")
    body = Body(sk.stream(source.events), heartbeat=heartbeat)
    first = await anext(body)
    standing_drain(backend, clock).begin(5 if waits else 0, clock)
    if not waits:
        await clock.sleep(0.1)
    chunks = b"".join([chunk async for chunk in body])
    assert b'"a"' in first
    assert b'"b"' not in chunks
    assert b'"code":"draining"' in chunks
    assert 1 == source.closed
    assert (5.0 if waits else 0.1) == clock.now()
    await clock.sleep(2)  # the drain itself is over


async def test_an_answer_that_is_whole_is_not_told_that_the_server_stops_while_its_source_is_being_closed(
    clock: VirtualClock,
) -> None:
    chunks: list[bytes] = []
    body = Body(SlowToClose(clock), heartbeat=None)

    async def reading() -> None:
        chunks.extend(await read(body))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reading)
        await clock.sleep(0.5)
        drain = standing_drain(current_backend(), clock)
        drain.begin(0, clock)
        await drain.finish()
        await clock.sleep(2)  # the drain itself is over
    assert b'{"type":"end"}' in chunks[-1]
    assert b"draining" not in b"".join(chunks)


async def leaking(*items: str) -> AsyncIterator[str]:
    """Its worker is cancelled, and nobody else."""
    for item in items:
        yield item
    worker = asyncio.create_task(asyncio.sleep(60))
    worker.cancel()
    await worker


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("heartbeat", [None, 15.0])
async def test_a_cancel_that_leaked_out_of_another_task_does_not_look_like_one_of_whoever_reads(heartbeat: float | None) -> None:
    async with assert_no_leaks():
        chunks = await read(Body(leaking("a"), heartbeat=heartbeat))
    assert b'"text":"a"' in chunks[0]
    assert b'"code":"interrupted"' in chunks[-1]


def test_blocking_a_cancel_that_leaked_out_of_another_task_is_a_failure_and_ends_no_thread() -> None:
    with BlockingBody(Body(leaking())) as chunks:
        refusal = chunks.begin()
    assert refusal is not None
    assert 502 == refusal[0]


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
async def test_it_is_compressed_for_who_takes_that(coding: str) -> None:
    body = Body(sk.stream(Source("a", "b").events), "text", compress=True, accept_encoding=coding)
    assert {"content-encoding": coding, "vary": "accept-encoding"}.items() <= dict(body.headers).items()
    inflater = inflater_for(coding)
    assert inflater is not None
    assert [b"a", b"b"] == [text for chunk in await read(body) if (text := b"".join(inflater.feed(chunk)))]
    assert not inflater.cut


async def test_it_is_not_compressed_for_who_does_not() -> None:
    body = Body(["a"], "text", compress=True)
    assert {"vary": "accept-encoding"}.items() <= dict(body.headers).items()
    assert [b"a"] == await read(body)


async def test_arguments_are_checked_at_the_call() -> None:
    for options in ({"heartbeat": -1}, {"pad": 1}, {"retry": -1}):
        with pytest.raises((sk.ConfigError, sk.LocalProtocolError)):
            Body(["a"], **options)  # type: ignore[arg-type]  # one of them
    with pytest.raises(TypeError):
        Body("text")


# -- BlockingBody: no event loop of ours


def plain(source: Source, *given: Any, **options: Any) -> BlockingBody:
    return BlockingBody(Body(sk.stream(source.events), *given, **options))


def test_blocking_it_is_the_same_in_plain_python() -> None:
    source = Source("H", "i")
    chunks = plain(source, "text")
    assert [b"H", b"i"] == list(chunks)
    assert 1 == source.closed


def test_blocking_closing_it_closes_the_source() -> None:
    source = Source("a", endless=True)
    with plain(source, "text") as chunks:
        assert b"a" == next(chunks)
        assert 0 == source.closed
    assert 1 == source.closed
    chunks.close()
    assert [] == list(chunks)


def test_blocking_one_that_nobody_reads_is_closed_without_being_started() -> None:
    source = Source("a")
    plain(source).close()
    assert (0, 0) == (source.given, source.closed)


def test_blocking_begin_says_what_to_answer_instead() -> None:
    with plain(Source(error=ValueError(SECRET))) as chunks:
        refusal = chunks.begin()
        assert refusal is not None
        assert 500 == refusal[0]


def test_blocking_begin_gives_nothing_away() -> None:
    with plain(Source("a", "b"), "text") as chunks:
        assert chunks.begin() is None
        assert chunks.begin() is None
        assert [b"a", b"b"] == list(chunks)


def test_blocking_a_plain_generator_that_blocks_is_read_beside_the_beats() -> None:
    def slow() -> Iterator[str]:
        yield "a"
        yield "b"

    chunks = BlockingBody(Body(slow(), "text"))
    assert b"ab" == b"".join(chunks)


def test_blocking_a_failure_that_has_no_word_is_raised() -> None:
    chunks = plain(Source("a", error=ValueError(SECRET)), "text")
    assert b"a" == next(chunks)
    with pytest.raises(sk.StreamInterrupted):
        next(chunks)
