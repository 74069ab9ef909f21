"""A hub's stream in a dialect: the same bytes for all, made once, and whole from wherever a reader goes on."""

from __future__ import annotations

import gc
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

import streamkit as sk
from streamkit.dialects.outcomes import DONE, Outcome
from streamkit.dialects.protocol import Dialect, OutFrame
from streamkit.dialects.registry import get
from streamkit.hub.hub import Hub
from streamkit.hub.log import Log
from streamkit.hub.reading import Policy
from streamkit.hub.stores.sqlite import SqliteStore
from streamkit.sinks.encodings import Encoding, HubCodec, NothingMore, events_before
from streamkit.wire.sse import Decoder

pytestmark = pytest.mark.anyio

DIALECTS = ["native", "openai-chat", "anthropic", "openai-responses"]

# Of every kind that a dialect may have to hold back, or to open and close blocks for.
EVENTS: list[sk.Event] = [
    sk.Start(model="m", provider="p"),
    sk.ReasoningDelta("Let me "),
    sk.ReasoningDelta("think."),
    *[sk.TextDelta(text) for text in ("Hel", "lo,", " wörld\n", "\u2028", "😀", " a", "b", "c")],
    sk.ToolCallStart("call-1", "search"),
    sk.ToolCallDelta("call-1", '{"q":'),
    sk.ToolCallDelta("call-1", '"x"}'),
    sk.ToolCall("call-1", "search", '{"q":"x"}'),
    sk.TextDelta("done", index=1),
    sk.TextDelta(".", index=1),
    sk.Usage(input_tokens=3, output_tokens=9),
    sk.Finish("stop"),
]
TEXT = "".join(event.text for event in EVENTS if isinstance(event, sk.TextDelta))


async def read(
    hub: Hub, id: str, dialect: str | Dialect, *, after: str | None = None, policy: Policy = "lag", stop_after: int | None = None
) -> bytes:
    """All that one reader gets, or so many writes."""
    codec = HubCodec(id, dialect, after=after, policy=policy)
    writes: list[bytes] = []
    try:
        stream = hub.read(id, codec, after=after, policy=policy, lag=1024, errors="yield", asked=None)
        async with stream.open() as run:
            async for batch in run.lists():
                writes.append(codec.encode(batch))
                if codec.stopped_by is not None or len(writes) == stop_after:
                    break
        return b"".join(writes) + codec.close(DONE)
    finally:
        codec.leave()


def tokens_in(body: bytes) -> list[str]:
    return [line[4:] for line in body.decode().split("\n") if line.startswith("id: ")]


def up_to(body: bytes, token: str) -> bytes:
    """The body up to the frame with this token, and with it."""
    return body[: body.index(b"\n\n", body.index(f"id: {token}\n".encode())) + 2]


def decoded(body: bytes, dialect: str) -> tuple[str, list[sk.Event]]:
    factory = get(dialect).decoder
    assert factory is not None
    decoder = factory()
    events = decoder.decode_many(Decoder().feed(body)) + decoder.finish()
    return "".join(event.text for event in events if isinstance(event, sk.TextDelta)), events


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_what_was_had_and_what_comes_behind_its_token_is_the_undisturbed_response(dialect: str) -> None:
    async with Hub() as hub:
        await hub.start("x", EVENTS)
        whole = await read(hub, "x", dialect)
        assert TEXT == decoded(whole, dialect)[0]
        for token in tokens_in(whole)[:-1]:
            assert whole == up_to(whole, token) + await read(hub, "x", dialect, after=token)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_dialect_is_decoded_as_if_it_came_from_no_hub(dialect: str) -> None:
    async with Hub() as hub:
        await hub.start("x", EVENTS)
        codec = HubCodec("x", dialect)
        from streamkit.sinks.codec import Codec

        plain = Codec(dialect, id="x", created=0)
        expected = plain.open() + plain.encode(EVENTS) + plain.close(DONE)
        assert decoded(expected, dialect) == decoded(await read(hub, "x", dialect), dialect)
        assert (plain.media_type, dict(plain.headers), plain.heartbeat) == (codec.media_type, dict(codec.headers), codec.heartbeat)


class Counted:
    """A dialect of one frame per event, that counts what its encoders are asked."""

    def __init__(self) -> None:
        self.encoded = 0
        self.made = 0
        self.dialect = Dialect("counted", "sse", encoder=self._make)

    def _make(self, *, id: str | None = None, model: str | None = None, created: int = 0) -> _CountedEncoder:
        self.made += 1
        return _CountedEncoder(self)


class _CountedEncoder:
    def __init__(self, counted: Counted) -> None:
        self._counted = counted

    def open(self) -> list[OutFrame]:
        return [OutFrame(b"open")]

    def encode(self, event: sk.Event) -> list[OutFrame]:
        self._counted.encoded += 1
        return [OutFrame(getattr(event, "text", event.type).encode())]

    def close(self, outcome: Outcome) -> list[OutFrame]:
        return [OutFrame(outcome.ending.encode())]


async def numbers(count: int) -> AsyncIterator[str]:
    for number in range(count):
        yield f"{number};"
        await checkpoint()


async def test_a_hundred_readers_cost_one_encode_per_event() -> None:
    counted = Counted()
    got: list[bytes] = []
    async with Hub() as hub:
        await hub.start("x", lambda: numbers(50))

        async def one() -> None:
            got.append(await read(hub, "x", counted.dialect))

        async with anyio.create_task_group() as tasks:
            for _ in range(100):
                tasks.start_soon(one)
    assert [100, 1] == [len(got), len(set(got))]
    assert 51 == counted.encoded  # and the finish
    assert got[0].startswith(b"data: open\n\ndata: ")
    assert got[0].endswith(b"\n\n") and 51 == len(tokens_in(got[0]))


async def test_readers_of_one_dialect_who_come_one_after_the_other_share_what_was_made() -> None:
    counted = Counted()
    go = anyio.Event()

    async def source() -> AsyncIterator[str]:
        yield "a"
        yield "b"
        await go.wait()

    async with Hub() as hub:
        await hub.start("x", source)
        await sk.stream(hub.subscribe("x")).take(2).collect()
        first = await read(hub, "x", counted.dialect, stop_after=1)
        assert first == await read(hub, "x", counted.dialect, stop_after=1)
        assert 2 == counted.encoded


async def test_what_was_made_goes_when_the_stream_is_over_and_nobody_reads() -> None:
    counted = Counted()
    go = anyio.Event()

    async def source() -> AsyncIterator[str]:
        yield "a"
        await go.wait()

    async with Hub() as hub:
        await hub.start("x", source)
        log = log_of(hub, "x")
        await read(hub, "x", counted.dialect, stop_after=1)
        assert 1 == len(encodings_of(log))
        go.set()
        await read(hub, "x", "native")
        assert [] == encodings_of(log)


def log_of(hub: Hub, id: str) -> Log:
    return hub._streams.kept[id].producer.log  # pyright: ignore[reportPrivateUsage]  # nobody else needs it


def encodings_of(log: Log) -> list[Encoding]:
    return [made for made in log.encodings.values() if isinstance(made, Encoding)]


async def test_what_the_log_no_longer_keeps_one_by_one_is_no_longer_kept_encoded() -> None:
    total = 400
    sizes: list[tuple[int, int]] = []
    async with Hub(max_events=20) as hub:
        await hub.start("x", lambda: numbers(total))
        log = log_of(hub, "x")
        codec = HubCodec("x", "openai-chat")
        stream = hub.read("x", codec, after=None, policy="lag", lag=1, errors="yield", asked=None)
        async with stream.open() as run:
            async for batch in run.lists():
                assert codec.encode(batch)
                for made in encodings_of(log):
                    sizes.append((len(made._pieces), len(log.buffer)))  # pyright: ignore[reportPrivateUsage]
        codec.leave()
    assert total // 20 < len(sizes)
    assert all(pieces <= kept <= 32 for pieces, kept in sizes)


@pytest.mark.parametrize("policy", ["lag", "conflate"])
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_res_05_a_reader_below_what_is_kept_one_by_one_gets_all_the_text_once(dialect: str, policy: Policy) -> None:
    async with Hub(max_events=4) as folded, Hub() as plain:
        await folded.start("x", EVENTS)
        await plain.start("x", EVENTS)
        whole = await read(plain, "x", dialect)
        await folded.subscribe("x").collect()
        log = log_of(folded, "x")
        assert 5 < log.base
        for token in [None, *tokens_in(whole)[:-1]]:
            had = b"" if token is None else up_to(whole, token)
            after = None if token is None else log.token(int(token.partition(".")[2]))
            text, events = decoded(had + await read(folded, "x", dialect, after=after, policy=policy), dialect)
            assert TEXT == text
            calls = [event for event in events if isinstance(event, sk.ToolCall)]
            assert [{"q": "x"}] == [call.input() for call in calls]


async def test_res_05_what_is_forgotten_is_a_gap_that_says_how_much() -> None:
    async with Hub(max_events=4, max_bytes=2000) as hub:
        await hub.start("x", [f"{number:03}" for number in range(500)])
        text, events = decoded(await read(hub, "x", "native"), "native")
        (gap,) = [event for event in events if isinstance(event, sk.Gap)]
    assert 0 < gap.count < 500
    assert 500 * 3 == len(text) + 3 * gap.count
    assert text.endswith("498499")


async def test_a_reader_that_stalls_twice_and_whose_place_is_folded_meanwhile_goes_on_without_a_seam() -> None:
    # The source stands still at these, until the reader has been there.
    halts = {halt: (anyio.Event(), anyio.Event()) for halt in (30, 200, 220, 400, 420)}

    async def source() -> AsyncIterator[sk.Event]:
        for number in range(450):
            if number in halts:
                full, go = halts[number]
                full.set()
                await go.wait()
            yield sk.TextDelta(f"{number};", index=int(number >= 210))  # another block, while the reader keeps up
            await checkpoint()

    async with Hub(max_events=8) as hub:
        await hub.start("x", source)
        log = log_of(hub, "x")
        codec = HubCodec("x", "anthropic")
        body = b""
        async with hub.read("x", codec, after=None, policy="lag", lag=1, errors="yield", asked=None).open() as run:
            async for batch in run.lists():
                body += codec.encode(batch)
                for reached, until in ((29, 200), (219, 400)):
                    if f'"{reached};"'.encode() in body and not halts[until][1].is_set():
                        # It does not read while the source goes on, far enough for its place to be folded.
                        for halt, (_, go) in halts.items():
                            if halt < until:
                                go.set()
                        await halts[until][0].wait()
                        assert log.base > reached + 1
                        halts[until][1].set()
                if b'"419;"' in body:
                    halts[420][1].set()
        codec.leave()
    assert "".join(f"{number};" for number in range(450)) == decoded(body, "anthropic")[0]
    # What was folded came in one piece, twice, and what comes afterwards is not told again.
    folded = [event for event in decoded(body, "anthropic")[1] if isinstance(event, sk.TextDelta) and event.text.count(";") > 20]
    assert 2 == len(folded)
    assert 2 == sum(frame.type == "content_block_start" for frame in Decoder().feed(body))


async def test_a_stream_that_was_stopped_ends_as_cancelled_in_every_dialect() -> None:
    counted = Counted()

    async def source() -> AsyncIterator[str]:
        yield "a"
        await anyio.sleep_forever()

    async with Hub() as hub:
        await hub.start("x", source)
        await (hub.subscribe("x") | sk.take(1)).collect()
        await hub.cancel("x")
        assert "cancelled" == Decoder().feed(await read(hub, "x", counted.dialect))[-1].data
        await hub.start("y", ["a"])
        assert "done" == Decoder().feed(await read(hub, "y", counted.dialect))[-1].data


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_readers_in_another_process_get_the_same_bytes(dialect: str, tmp_path: Any) -> None:
    async with Hub(SqliteStore(tmp_path / "hub.db")) as one, Hub(SqliteStore(tmp_path / "hub.db")) as other:
        generation = await one.start(None, EVENTS)
        here = await read(one, generation.id, dialect)
        await one.cancel(generation.id)  # returns when it is stored
        there = await read(other, generation.id, dialect)
        assert here == there
        token = tokens_in(here)[len(tokens_in(here)) // 2]
        assert here == up_to(here, token) + await read(other, generation.id, dialect, after=token)


async def test_who_has_seen_the_last_event_is_told_that_there_is_nothing_more() -> None:
    async with Hub() as hub:
        await hub.start("x", ["a"])
        token = tokens_in(await read(hub, "x", "native"))[-1]
        with pytest.raises(NothingMore):
            await read(hub, "x", "native", after=token)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_stream_that_fails_ends_with_its_dialects_error_under_the_token_as_correlation_id(
    dialect: str, caplog: pytest.LogCaptureFixture
) -> None:
    def source() -> Any:
        yield "kept"
        raise ValueError("secret")

    async with Hub() as hub:
        await hub.start("x", source)
        bodies = [await read(hub, "x", dialect) for _ in range(3)]
    assert 1 == len(set(bodies))
    (token,) = tokens_in(bodies[0])[-1:]
    frames = Decoder().feed(bodies[0])
    assert "The stream failed." in frames[-1].data
    assert "secret" not in bodies[0].decode()
    assert any(token in frame.data for frame in frames)
    # Once, whoever reads: with the traceback, and what the client can name.
    (record,) = [record for record in caplog.records if record.name == "streamkit.sinks"]
    assert token in record.getMessage()
    assert record.exc_info is not None
    assert "secret" in str(record.exc_info[1])


async def test_a_stream_that_failed_before_it_said_anything_is_a_failure_and_no_stream() -> None:
    async def source() -> AsyncIterator[str]:
        raise sk.RateLimitError("no", retry_after=7)
        yield ""

    async with Hub() as hub:
        await hub.start("x", source)
        codec = HubCodec("x", "native")
        async with hub.read("x", codec, after=None, policy="lag", lag=1, errors="yield", asked=None).open() as run:
            assert [b""] == [codec.encode(batch) async for batch in run.lists()]
        assert isinstance(codec.stopped_by, sk.RateLimitError)


@pytest.mark.parametrize("policy", ["lag", "conflate"])
async def test_an_event_that_cannot_be_written_ends_the_dialect_there_and_no_other(policy: Policy) -> None:
    async with Hub() as hub:
        await hub.start("x", [sk.TextDelta("a"), sk.Custom("bad", object()), sk.TextDelta("b")])
        codec = HubCodec("x", "native", policy=policy)
        body = b""
        async with hub.read("x", codec, after=None, policy=policy, lag=1, errors="yield", asked=None).open() as run:
            async for batch in run.lists():
                body += codec.encode(batch)
                if codec.stopped_by is not None:
                    break
        assert isinstance(codec.stopped_by, sk.LocalProtocolError)
        body += codec.close(Outcome("error", "error", "The stream failed."))
        assert ["open", "text-delta", "error"] == [kind_of(frame.data) for frame in Decoder().feed(body)]
        # A dialect that has no word for it does not mind.
        assert "ab" == decoded(await read(hub, "x", "openai-chat"), "openai-chat")[0]


def kind_of(data: str) -> str:
    return data.split('"')[3]


async def test_retry_stands_on_the_first_frame_and_writes_are_padded() -> None:
    async with Hub() as hub:
        await hub.start("x", ["a", "b"])
        codec = HubCodec("x", "native", retry=700, pad=64)
        async with hub.read("x", codec, after=None, policy="lag", lag=1, errors="yield", asked=None).open() as run:
            writes = [codec.encode(batch) async for batch in run.lists()]
    assert b"retry: 700\ndata: " == writes[0][:17]
    assert 1 == b"".join(writes).count(b"retry")
    assert {0} == {len(write) % 64 for write in writes}
    assert "ab" == decoded(b"".join(writes), "native")[0]


async def test_a_reader_that_is_refused_behind_its_first_bytes_is_told_so_in_its_dialect() -> None:
    async with Hub() as hub:
        await hub.start("x", ["a", "b"])
        codec = HubCodec("x", "openai-responses")
        async with hub.read("x", codec, after=None, policy="lag", lag=1, errors="yield", asked=None).open() as run:
            async for batch in run.lists():
                codec.encode(batch)
        failed = codec.close(Outcome("error", "buffer-full", "The reader was too slow.", retryable=True))
        unread = HubCodec("x", "native").close(Outcome("error", "unavailable", "Later."))
    assert "response.failed" in failed.decode()
    assert "Later." in unread.decode()
    assert [] == tokens_in(failed)


async def test_what_was_before_a_place_is_cut_exactly_in_the_folded_beginning() -> None:
    seed = random.randrange(1 << 32)
    pick = random.Random(seed)
    events: list[sk.Event] = []
    for _ in range(300):
        kind = pick.randrange(8)
        text = "x" * pick.randrange(4)
        events.append(
            sk.ToolCallDelta("c", text) if kind == 0
            else sk.ReasoningDelta(text) if kind == 1
            else sk.Usage(output_tokens=1) if kind == 2
            else sk.DataDelta(text.encode(), "audio/wav") if kind == 3
            else sk.TextDelta(text)
        )  # fmt: skip
    async with Hub(max_events=16) as hub:
        await hub.start("x", events)
        await hub.subscribe("x").collect()
        log = log_of(hub, "x")
        for at in range(len(events) + 1):
            before = events_before(log, at)
            assert sizes(events[:at]) == sizes(before), (seed, at)
        assert 200 < log.base


def sizes(events: Sequence[sk.Event]) -> dict[str, int]:
    """How much of each kind there is: characters of deltas, else how often."""
    found: dict[str, int] = {}
    for event in events:
        content = getattr(event, "text", getattr(event, "delta", getattr(event, "data", None)))
        found[event.type] = found.get(event.type, 0) + (1 if content is None else len(content))
    return {kind: size for kind, size in found.items() if size}


async def test_a_stream_that_is_over_and_read_to_its_end_takes_its_encodings_along() -> None:
    def held() -> int:
        gc.collect()
        return sum(isinstance(found, Encoding) for found in gc.get_objects())

    go = anyio.Event()

    async def paused() -> AsyncIterator[str]:
        yield "a"
        await go.wait()
        yield "b"

    before = held()
    async with Hub() as hub:
        await hub.start("x", paused)
        await read(hub, "x", "native", stop_after=1)
        assert before + 1 == held()
        go.set()
        await read(hub, "x", "native")
        assert before == held()
