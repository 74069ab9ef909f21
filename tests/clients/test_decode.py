"""`sk.decode`: bytes of a body to events, and how each way to end is told."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from chat_bodies import DONE, RECORDED, answer, chunk, error, recut, text_of
from event_loops import asyncio_only

import streamkit as sk
from streamkit.clients.decoding import decode
from streamkit.dialects.openai_chat.decoder import FINISH_REASONS
from streamkit.dialects.protocol import Dialect
from streamkit.errors import ConfigError, RemoteProtocolError, SourceError, StreamTruncated

pytestmark = pytest.mark.anyio

SECRET = "sk-abcdefghijklmnop1234567890"


async def outcome(pieces: list[bytes], **options: Any) -> tuple[list[sk.Event], BaseException | None]:
    """The events of a body, and the error after them."""
    events: list[sk.Event] = []
    failure: BaseException | None = None
    try:
        async with decode(pieces, "openai-chat", **options) as run:
            async for event in run:
                events.append(event)
    except Exception as caught:
        failure = caught
    return events, failure


# ---- what comes out ---------------------------------------------------------------------------


@pytest.mark.parametrize("body", [path.read_bytes() for path in RECORDED], ids=[path.stem for path in RECORDED])
async def test_a_recorded_answer_is_the_same_however_it_is_cut(body: bytes) -> None:
    whole, failure = await outcome([body])
    assert failure is None
    assert text_of(body) == sk.Message(whole).text
    assert isinstance(whole[-1], sk.Finish)
    assert isinstance(whole[-2], sk.Usage)
    rng = random.Random(len(body))
    for _ in range(30):
        assert (whole, None) == await outcome(recut(body, rng))


async def test_the_recordings_hold_what_they_are_for() -> None:
    by_name = {path.stem: sk.Message((await outcome([path.read_bytes()]))[0]) for path in RECORDED}
    assert {"llama_json_schema", "llama_length", "llama_text"} == set(by_name)
    assert "日本語 — naïve 😀🚀" == json.loads(by_name["llama_json_schema"].text)["title"]
    assert "¿Qué es un flujo? \u2013 流れ🌊" == by_name["llama_text"].text
    finish = by_name["llama_length"].finish
    assert finish is not None
    assert "length" == finish.reason


async def test_one_byte_at_a_time_splits_no_character() -> None:
    body = b"".join(answer("日本", "語 😀"))
    assert "日本語 😀" == await decode([body[at : at + 1] for at in range(len(body))], "openai-chat").join()


async def test_events_of_one_read_come_together() -> None:
    stream = decode([b"".join(answer("a", "b")), b""], "openai-chat")
    async with stream as run:
        lists = [[event.type for event in batch] async for batch in run.lists()]
    assert [["start", "text-delta", "text-delta", "finish"]] == lists


async def test_the_native_form_is_read_too() -> None:
    frames = [b'{"type":"open","version":1}', b'{"type":"text-delta","text":"Hi"}', b'{"type":"finish"}', b'{"type":"end"}']
    body = b"".join(b"data: " + frame + b"\n\n" for frame in frames)
    assert [sk.TextDelta("Hi"), sk.Finish()] == await decode([body], "native").collect()


async def test_what_follows_the_end_marker_is_ignored() -> None:
    events, failure = await outcome([*answer("a"), chunk("late"), b"data: {bad\n\n"])
    assert failure is None
    assert "a" == sk.Message(events).text


async def test_the_provider_is_named_where_the_stream_does_not() -> None:
    events, _ = await outcome(answer("a"), provider="somebody")
    assert "somebody" == cast("sk.Start", events[0]).provider
    _, failure = await outcome([error("slow down", "rate_limit_exceeded")], provider="somebody")
    assert isinstance(failure, SourceError)
    assert "somebody" == failure.provider


# ---- what it takes --------------------------------------------------------------------------


async def _agen(pieces: list[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def _gen(pieces: list[bytes]) -> Iterator[bytes]:
    yield from pieces


async def _awaitable(pieces: list[bytes]) -> AsyncIterator[bytes]:
    return _agen(pieces)


SOURCES: dict[str, Callable[[list[bytes]], object]] = {
    "a list": lambda pieces: pieces,
    "an async generator": _agen,
    "a generator": _gen,
    "a coroutine": _awaitable,
    "a callable": lambda pieces: lambda: _agen(pieces),
    "a callable of a coroutine": lambda pieces: lambda: _awaitable(pieces),
    "a stream": lambda pieces: sk.stream(pieces).map(bytes),
    "bytearrays": lambda pieces: [bytearray(piece) for piece in pieces],
}


@pytest.mark.parametrize("kind", SOURCES)
async def test_any_source_of_bytes_will_do(kind: str) -> None:
    assert "ab" == await decode(SOURCES[kind](answer("a", "b")), "openai-chat").join()


@asyncio_only
async def test_a_stream_reader_will_do() -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(b"".join(answer("a", "b")))
    reader.feed_eof()
    assert "ab" == await decode(reader, "openai-chat").join()


async def test_a_file_will_do(tmp_path: Path) -> None:
    path = tmp_path / "body.sse"
    path.write_bytes(b"".join(answer("a", "b")))
    with path.open("rb") as file:
        assert "ab" == await decode(file, "openai-chat").join()


async def test_a_callable_can_be_run_again_and_anything_else_cannot() -> None:
    again = decode(lambda: answer("a"), "openai-chat")
    assert ("a", "a") == (await again.join(), await again.join())
    once = decode(_agen(answer("a")), "openai-chat")
    assert "a" == await once.join()
    with pytest.raises(sk.StreamConsumed):
        await once.join()


class ReadByPieces:
    """What aiohttp's response looks like from here."""

    def __init__(self, pieces: list[bytes], status: int = 200) -> None:
        self.content = self
        self.status = status
        self.headers = {"x-request-id": "req-1"}
        self.closed = False
        self._pieces = pieces

    def iter_any(self) -> AsyncIterator[bytes]:
        return _agen(self._pieces)

    def close(self) -> None:
        self.closed = True


async def test_a_response_like_that_of_aiohttp_is_read_and_closed() -> None:
    response = ReadByPieces(answer("a", "b"))
    assert "ab" == await decode(response, "openai-chat").join()
    assert response.closed
    with pytest.raises(SourceError) as caught:
        await decode(ReadByPieces([b'{"error":{"message":"no","code":"invalid_api_key"}}'], 401), "openai-chat").collect()
    assert (401, "req-1") == (caught.value.status, caught.value.request_id)


async def test_nothing_is_made_before_the_first_item_is_wanted() -> None:
    made: list[int] = []

    def make() -> list[bytes]:
        made.append(1)
        return answer("a")

    stream = decode(make, "openai-chat")
    run = stream.open()
    assert [] == made
    await run.aclose()
    assert [] == made


async def test_a_coroutine_that_is_never_wanted_is_closed() -> None:
    run = decode(_awaitable(answer("a")), "openai-chat").open()
    await run.aclose()
    assert run.partial is not None


async def test_the_source_is_closed_when_the_reader_leaves() -> None:
    closed: list[str] = []

    async def source() -> AsyncIterator[bytes]:
        try:
            while True:
                yield chunk("x")
        finally:
            closed.append("closed")

    async with decode(source(), "openai-chat") as run:
        async for event in run:
            if isinstance(event, sk.TextDelta):
                break
    assert ["closed"] == closed
    assert "x" == cast("sk.Message", run.partial).text


async def test_the_source_is_closed_at_the_end_marker() -> None:
    closed: list[str] = []

    async def source() -> AsyncIterator[bytes]:
        try:
            for piece in answer("x"):
                yield piece
            raise AssertionError("read past the end marker")
        finally:
            closed.append("closed")

    assert "x" == await decode(source(), "openai-chat").join()
    assert ["closed"] == closed


async def test_a_source_that_never_suspends_and_says_nothing_lets_others_run() -> None:
    import anyio

    turns: list[int] = []

    async def count() -> None:
        while True:
            turns.append(1)
            await anyio.lowlevel.checkpoint()

    async def pings() -> AsyncIterator[bytes]:
        for _ in range(5_000):
            yield b": ping\n\n"
        for piece in answer("a"):
            yield piece

    async with anyio.create_task_group() as group:
        group.start_soon(count)
        assert "a" == await decode(pings(), "openai-chat").join()
        group.cancel_scope.cancel()
    assert 3 <= len(turns)


# ---- how it ends ------------------------------------------------------------------------------


async def test_a_body_that_ends_half_way_is_truncated_with_what_came() -> None:
    pieces = [
        chunk("Hel"),
        chunk("lo", reasoning_content="hm"),
        chunk(tool_calls=[{"index": 0, "id": "t1", "function": {"name": "f", "arguments": '{"a'}}]),
    ]
    events, failure = await outcome(pieces)
    assert isinstance(failure, StreamTruncated)
    partial = cast("sk.Message", failure.partial)
    assert ("Hello", "hm") == (partial.text, partial.reasoning)
    assert [("f", '{"a', False)] == [(call.name, call.arguments, call.complete) for call in partial.tool_calls]
    assert "Hello" == sk.Message(events).text


async def test_a_block_cut_inside_is_truncated() -> None:
    body = chunk("Hello") + chunk(" you")
    _, failure = await outcome([body[:-3]])
    assert isinstance(failure, StreamTruncated)
    assert "Hello" == cast("sk.Message", failure.partial).text


REASON = b'error: {"code":500,"message":"context is full","type":"server_error"}\n\n'


@pytest.mark.parametrize("body", [[chunk("Hello"), REASON], [chunk("Hello") + REASON[:-2]], [REASON], [REASON[:3], REASON[3:-1]]])
async def test_a_reason_in_a_field_of_its_own_is_told_where_the_answer_is_cut(body: list[bytes]) -> None:
    events, failure = await outcome(body)
    assert isinstance(failure, SourceError)
    assert "context is full" in str(failure)
    assert ("500", True) == (failure.code, failure.retryable)
    assert sk.Message(events).text == cast("sk.Message", failure.partial).text


@pytest.mark.parametrize(
    "said", [b"error: no slot, key " + SECRET.encode(), b"error:" + b"[" * 4000, b'error: {"message": "no slot']
)
async def test_a_reason_that_is_no_json_is_told_as_it_stands_and_scrubbed(said: bytes) -> None:
    _, failure = await outcome([chunk("Hello"), said + b"\n\n"])
    assert isinstance(failure, SourceError)
    assert said[7:20].decode() in str(failure)
    assert SECRET not in str(failure)


async def test_a_field_error_does_not_spoil_a_complete_answer() -> None:
    events, failure = await outcome([REASON, *answer("Hello")])
    assert failure is None
    assert "Hello" == sk.Message(events).text


async def test_an_empty_field_error_says_nothing() -> None:
    _, failure = await outcome([chunk("Hello"), b"error:\n\n"])
    assert isinstance(failure, StreamTruncated)


ENDS_WITHOUT_A_BLANK_LINE: dict[str, list[Any]] = {
    "openai-chat": [{"choices": [{"delta": {"content": "Hi"}, "finish_reason": "stop"}]}, "[DONE]"],
    "openai-responses": [
        {"type": "response.output_text.delta", "delta": "Hi"},
        {"type": "response.completed", "response": {"usage": {"input_tokens": 1, "output_tokens": 2}}},
    ],
    "anthropic": [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"input_tokens": 1, "output_tokens": 2}},
        {"type": "message_stop"},
    ],
}


@pytest.mark.parametrize("end", ["", "\n", "\r", "\r\n"], ids=["nothing", "lf", "cr", "crlf"])
@pytest.mark.parametrize("dialect", ENDS_WITHOUT_A_BLANK_LINE)
async def test_the_last_event_of_an_answer_needs_no_blank_line_behind_it(dialect: str, end: str) -> None:
    frames = [frame if isinstance(frame, str) else json.dumps(frame) for frame in ENDS_WITHOUT_A_BLANK_LINE[dialect]]
    body = "\n\n".join(f"data: {frame}" for frame in frames) + end
    events = await decode([body.encode()], dialect).collect()
    assert ("Hi", "stop") == (sk.Message(events).text, cast("sk.Finish", events[-1]).reason)
    assert all(event.final for event in events if isinstance(event, sk.Usage))
    for cut in range(1, len(frames[-1])):  # one that was cut is none
        short = body[: len(body) - len(end) - cut].encode()
        if dialect == "openai-responses":
            with pytest.raises(StreamTruncated):
                await decode([short], dialect).collect()
        else:
            assert "Hi" == await decode([short], dialect).join()


async def test_a_whole_event_without_its_blank_line_makes_no_answer_whole() -> None:
    for end in (b"", b"\n"):
        events, failure = await outcome([chunk("Hello") + chunk(" you")[:-2] + end])
        assert isinstance(failure, StreamTruncated)
        assert "Hello" == sk.Message(events).text == cast("sk.Message", failure.partial).text


async def test_an_error_without_its_blank_line_is_that_error() -> None:
    events, failure = await outcome([chunk("Hello") + b'data: {"error":{"message":"busy","code":503}}'])
    assert isinstance(failure, SourceError)
    assert "Hello" == sk.Message(events).text


async def test_an_empty_body_is_truncated() -> None:
    for pieces in ([], [b""], [b": ping\n\n"], [b"da"], [b"retry: 5\n\n"]):
        events, failure = await outcome(pieces)
        assert isinstance(failure, StreamTruncated), pieces
        assert [] == events


async def test_a_finish_reason_without_end_marker_is_complete() -> None:
    events, failure = await outcome([chunk("a"), chunk(finish="stop")])
    assert failure is None
    assert [sk.Finish("stop", "stop")] == events[-1:]


async def test_usage_known_before_a_cut_is_delivered_as_not_final() -> None:
    counted = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":5}}\n\n'
    events, failure = await outcome([chunk("a"), counted])
    assert isinstance(failure, StreamTruncated)
    assert sk.Usage(3, 5, final=False) == events[-1]
    assert sk.Usage(3, 5, final=False) == cast("sk.Message", failure.partial).usage


async def test_an_error_in_the_stream_is_raised_after_the_events_before_it() -> None:
    body = b"".join([chunk("a"), chunk("b"), error("too much", "server_overloaded"), chunk("c")])
    events, failure = await outcome([body])
    assert ["start", "text-delta", "text-delta"] == [event.type for event in events]
    assert isinstance(failure, SourceError)
    assert ("server_overloaded", "ab") == (failure.code, cast("sk.Message", failure.partial).text)


async def test_an_overload_in_the_stream_may_be_tried_again() -> None:
    event = b'event: error\ndata: {"error":{"type":"overloaded_error","message":"busy"}}\n\n'
    _, failure = await outcome([chunk("a"), event])
    assert isinstance(failure, sk.OverloadedError)
    assert failure.retryable


async def test_on_request_an_error_is_the_last_event() -> None:
    events, failure = await outcome([chunk("a"), error("slow down", "rate_limit_exceeded")], errors="yield")
    assert failure is None
    last = events[-1]
    assert isinstance(last, sk.ErrorEvent)
    assert ("rate-limited", True) == (last.code, last.retryable)
    assert "slow down" not in last.message


@pytest.mark.parametrize(
    ("pieces", "code"),
    [
        ([chunk("a")], "truncated"),
        ([b"<html></html>"], "protocol"),
        ([chunk("a"), b"data: {bad\n\n"], "protocol"),
        ([b'{"error":{"message":"no","code":"invalid_api_key"}}'], "auth"),
    ],
)
async def test_on_request_every_bad_end_is_an_event(pieces: list[bytes], code: str) -> None:
    stream = decode(pieces, "openai-chat", errors="yield")
    async with stream as run:
        events = [event async for event in run]
        assert cast("sk.Message", run.partial).error == events[-1]
    assert isinstance(events[-1], sk.ErrorEvent)
    assert code == events[-1].code


async def test_errors_of_the_source_pass_untouched_after_what_came() -> None:
    mine = ConnectionResetError("gone")

    async def source() -> AsyncIterator[bytes]:
        yield chunk("a")
        raise mine

    events: list[sk.Event] = []
    run = decode(source(), "openai-chat").open()
    with pytest.raises(ConnectionResetError) as caught:
        async with run:
            async for event in run:
                events.append(event)
    assert caught.value is mine
    assert None is caught.value.__cause__ is caught.value.__context__
    assert "a" == sk.Message(events).text == cast("sk.Message", run.partial).text


async def test_a_timeout_carries_the_answer_so_far(clock: object) -> None:
    async def source() -> AsyncIterator[bytes]:
        yield chunk("a")
        from streamkit.flow.clock import current_clock

        await current_clock().sleep(60)

    with pytest.raises(sk.StreamTimeout) as caught:
        await (decode(source(), "openai-chat") | sk.timeout(idle=5)).message()
    assert "a" == cast("sk.Message", caught.value.partial).text


async def test_errors_of_merged_streams_carry_their_own_answers() -> None:
    long = decode([chunk("x" * 10)], "openai-chat", errors="yield")
    with pytest.raises(StreamTruncated) as caught:
        await sk.merge(long, decode([chunk("y")], "openai-chat")).collect()
    assert "y" == cast("sk.Message", caught.value.partial).text


# ---- bad input ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "kind", "word"),
    [
        (b"<!doctype html><html><body>Bad gateway</body></html>", RemoteProtocolError, "HTML"),
        (b"Internal Server Error", RemoteProtocolError, "text"),
        (b"\x1f\x8b\x08\x00\x00\x00", RemoteProtocolError, "text"),
        (b'{"choices":[{"message":{"content":"whole"}}]}', RemoteProtocolError, "stream: true"),
        (b'{"error":{"message":"bad key","code":"invalid_api_key"}}', sk.AuthError, "bad key"),
        (b'[{"error":{"message":"no","status":"RESOURCE_EXHAUSTED"}}]', sk.RateLimitError, "no"),
        (b"data: {bad\n\n", RemoteProtocolError, "frame 1 is not JSON"),
        (b"data: 42\n\n", RemoteProtocolError, "not an object"),
        (b'data: {"choices":"nonsense"}\n\n', RemoteProtocolError, "choices"),
        (b"data: " + b"[" * 100_000 + b"\n\n", RemoteProtocolError, "not JSON"),
    ],
)
async def test_what_is_no_such_stream_says_what_it_is(body: bytes, kind: type[Exception], word: str) -> None:
    rng = random.Random(1)
    for pieces in ([body], recut(body, rng)):
        events, failure = await outcome(pieces)
        assert [] == events
        assert isinstance(failure, kind)
        assert word in str(failure)
        assert len(str(failure)) < 800


async def test_a_long_page_is_told_before_its_end() -> None:
    reads: list[int] = []

    async def page() -> AsyncIterator[bytes]:
        yield b"<html>\n"
        while True:
            reads.append(1)
            yield b"<p>nothing to see here</p>\n" * 100

    with pytest.raises(RemoteProtocolError, match="HTML"):
        await decode(page(), "openai-chat").collect()
    assert len(reads) < 20


async def test_wrong_types_inside_a_chunk_are_made_the_best_of() -> None:
    odd = b'data: {"choices":[{"index":null,"delta":{"content":["a",{"text":"b"}],"tool_calls":{}},"finish_reason":7}]}\n\n'
    events, failure = await outcome([odd])
    assert failure is None
    assert "ab" == sk.Message(events).text


async def test_invalid_utf8_becomes_replacement_characters() -> None:
    body = chunk("a§b").replace("§".encode(), b"\xff\xfe") + b"".join(answer("c"))
    assert "a\ufffd\ufffdbc" == await decode([body], "openai-chat").join()


async def test_an_event_without_end_is_refused_at_its_bound() -> None:
    reads: list[int] = []

    async def endless() -> AsyncIterator[bytes]:
        yield chunk("a")
        yield b"data: "
        while True:
            reads.append(1)
            yield b"x" * 1000

    with pytest.raises(RemoteProtocolError, match="max_event_bytes=10000") as caught:
        await decode(endless(), "openai-chat", max_event_bytes=10_000).collect()
    assert 10 == len(reads)
    assert "a" == cast("sk.Message", caught.value.partial).text


async def test_what_came_in_the_same_read_as_bad_bytes_is_delivered() -> None:
    events, failure = await outcome([chunk("a") + b"data: " + b"x" * 3000], max_event_bytes=1000)
    assert isinstance(failure, RemoteProtocolError)
    assert "a" == sk.Message(events).text == cast("sk.Message", failure.partial).text


async def test_items_that_are_not_bytes_are_a_type_error() -> None:
    for errors in ("raise", "yield"):
        _, failure = await outcome(cast("list[bytes]", ["data: text"]), errors=errors)
        assert isinstance(failure, TypeError)
        assert "this source gave a str" in str(failure)


async def test_secrets_stay_out_of_errors_and_reprs() -> None:
    bodies = [
        [error(f"Incorrect API key provided: {SECRET}", "invalid_api_key")],
        [b"data: {bad " + SECRET.encode() + b"\n\n"],
        [f"<html>Authorization: Bearer {SECRET}</html>".encode()],
        [b'{"error":{"message":"key ' + SECRET.encode() + b'","code":"' + SECRET.encode() + b'"}}'],
    ]
    for pieces in bodies:
        _, failure = await outcome(pieces)
        assert isinstance(failure, sk.StreamkitError)
        shown = f"{failure} {failure!r} {vars(failure)}"
        assert SECRET not in shown
    assert SECRET not in repr(decode([SECRET.encode()], "openai-chat"))


@pytest.mark.parametrize(
    ("call", "kind", "word"),
    [
        (lambda: decode([], "no-such-dialect"), ConfigError, "openai-chat"),
        (lambda: decode([], cast("str", 3)), TypeError, "Dialect"),
        (lambda: decode([], "openai-chat", errors=cast("Any", "ignore")), ConfigError, "raise"),
        (lambda: decode([], "openai-chat", max_event_bytes=0), ConfigError, "max_event_bytes"),
        (lambda: decode("data: x", "openai-chat"), TypeError, "not a stream"),
        (lambda: decode(b"data: x", "openai-chat"), TypeError, "not a stream"),
        (lambda: decode(7, "openai-chat"), TypeError, "int"),
        (lambda: decode(lambda needed: needed, "openai-chat"), TypeError, "without arguments"),
        (lambda: decode([], Dialect("write-only", "sse")), ConfigError, "no decoder"),
    ],
)
def test_wrong_arguments_fail_at_the_call(call: Callable[[], object], kind: type[Exception], word: str) -> None:
    with pytest.raises(kind, match=word):
        call()


async def test_a_callable_that_gives_no_source_says_so() -> None:
    with pytest.raises(TypeError, match="int"):
        await decode(lambda: 7, "openai-chat").collect()


async def test_memory_for_the_partial_answer_is_bounded_by_the_answer() -> None:
    from streamkit.clients.so_far import AnswerSoFar

    so_far = AnswerSoFar()
    for number in range(3_000):
        so_far.add([sk.TextDelta("x")])
        if number % 1_000 == 999:
            assert number + 1 == len(so_far.message().text)
    text_parts = so_far.message()._text
    assert len(text_parts) <= 3_000 // 8
    assert "x" * 3_000 == so_far.message().text


# ---- the recordings --------------------------------------------------------------------------


def _openai_recordings(shared: Path) -> list[Path]:
    rows = [
        [cell.strip() for cell in line.split("|")] for line in (shared / "transcripts/INDEX.md").read_text("utf-8").splitlines()
    ]
    return [shared / "transcripts" / row[1] for row in rows if len(row) > 3 and row[2] == "openai"]


async def test_every_recording_gives_its_expected_answer_under_200_cuts(shared_data: Path, anyio_backend: Any) -> None:
    if anyio_backend[0] != "asyncio" or anyio_backend[1]["use_uvloop"]:
        # The bytes are the same on every loop: two recordings show that the loop does not matter.
        paths = _openai_recordings(shared_data)[:2]
    else:
        paths = _openai_recordings(shared_data)
        assert 10 <= len(paths)
    for path in paths:
        body = path.read_bytes()
        expected = json.loads(path.with_name(path.name.rsplit(".", 1)[0] + ".expected.json").read_text("utf-8"))
        whole = await outcome([body])
        _check(expected, *whole)
        rng = random.Random(path.name)
        for _ in range(200):
            events, failure = await outcome(recut(body, rng))
            assert whole[0] == events, path.name
            assert str(whole[1]) == str(failure)


def _check(expected: dict[str, Any], events: list[sk.Event], failure: BaseException | None) -> None:
    message = sk.Message(events)
    assert expected["text"] == message.text
    assert expected["reasoning"] == message.reasoning
    assert expected["tool_calls"] == [
        {"id": call.id, "name": call.name, "arguments": call.arguments} for call in message.tool_calls
    ]
    assert message.usage is not None
    assert expected["usage"]["prompt_tokens"] == message.usage.input_tokens
    assert expected["usage"]["completion_tokens"] == message.usage.output_tokens
    if expected["error"] is None:
        assert failure is None
        assert message.finish is not None
        assert FINISH_REASONS[expected["finish"]] == message.finish.reason
    else:
        assert isinstance(failure, SourceError)
        assert str(expected["error"]["code"]) == failure.code
        assert expected["text"] == cast("sk.Message", failure.partial).text


async def test_a_recording_cut_before_its_finish_reason_is_truncated_with_the_right_partial(
    shared_data: Path, anyio_backend: Any
) -> None:
    # The bytes are the same on every loop: one takes every border, the others a few.
    every = anyio_backend[0] == "asyncio" and not anyio_backend[1]["use_uvloop"]
    for path in _openai_recordings(shared_data):
        blocks = [block + b"\n\n" for block in path.read_bytes().split(b"\n\n") if block.strip()]
        first = next(number for number, block in enumerate(blocks) if _finishes(block))
        text = ""
        calls: dict[int, str] = {}
        for end in range(first + 1):
            if end:
                text += text_of(blocks[end - 1])
                _add_arguments(blocks[end - 1], calls)
            if not every and 0 < end < first:
                continue
            events, failure = await outcome([b"".join(blocks[:end])])
            assert isinstance(failure, StreamTruncated), path.name
            partial = cast("sk.Message", failure.partial)
            assert text == partial.text
            seen = sk.Message(events)
            assert seen.reasoning == partial.reasoning
            assert seen.tool_calls == partial.tool_calls
            assert [calls[index] for index in sorted(calls)] == [call.arguments for call in partial.tool_calls]
            assert not any(isinstance(event, sk.Finish) for event in events)


def _choices(body: bytes) -> list[dict[str, Any]]:
    lines = [line[6:] for line in body.decode().split("\n") if line.startswith("data: {")]
    return [choice for line in lines for choice in json.loads(line).get("choices") or []]


def _finishes(block: bytes) -> bool:
    return any(choice.get("finish_reason") for choice in _choices(block))


def _add_arguments(block: bytes, calls: dict[int, str]) -> None:
    for choice in _choices(block):
        for call in choice["delta"].get("tool_calls") or []:
            calls[call["index"]] = calls.get(call["index"], "") + (call["function"].get("arguments") or "")


async def test_done_without_a_finish_reason_is_complete_for_another_reason() -> None:
    events, failure = await outcome([chunk("a"), DONE])
    assert failure is None
    assert [sk.Finish("other")] == events[-1:]
