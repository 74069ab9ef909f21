"""What a provider's answer may do wrong, in each dialect: the cases of the list of bad inputs that concern vocabularies.

By their ids in the group `sse_parser_client`; those about bytes and HTTP are in test_bad_input_of_providers.py.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

import streamkit as sk
from streamkit.testing import VirtualClock, timed

pytestmark = pytest.mark.anyio


def frame(value: object, event: str = "") -> bytes:
    data = value if isinstance(value, str) else json.dumps(value)
    return (f"event: {event}\n" if event else "").encode() + f"data: {data}\n\n".encode()


def chat(text: str) -> bytes:
    return frame({"id": "a1", "model": "m", "choices": [{"index": 0, "delta": {"content": text}}]})


def responses(text: str) -> bytes:
    kind = "response.output_text.delta"
    return frame({"type": kind, "item_id": "i", "output_index": 0, "content_index": 0, "delta": text}, kind)


def messages(text: str) -> bytes:
    delta = {"type": "text_delta", "text": text}
    return frame({"type": "content_block_delta", "index": 0, "delta": delta}, "content_block_delta")


BEGINNINGS = {
    "openai-chat": b"",
    "openai-responses": frame({"type": "response.created", "response": {"id": "a1", "model": "m"}}, "response.created"),
    "anthropic": frame({"type": "message_start", "message": {"id": "a1", "model": "m", "content": []}}, "message_start"),
}
WORDS = {"openai-chat": chat, "openai-responses": responses, "anthropic": messages}
dialects = pytest.mark.parametrize("dialect", WORDS)


def answer(dialect: str, *last: bytes, words: int = 200) -> list[bytes]:
    return [BEGINNINGS[dialect], *(WORDS[dialect](f"w{number} ") for number in range(words)), *last]


SAID = "".join(f"w{number} " for number in range(200))


@dialects
async def test_par_08_an_end_before_the_terminal_event_is_truncation_that_keeps_the_text(dialect: str) -> None:
    with pytest.raises(sk.StreamTruncated) as caught:
        await sk.decode(answer(dialect), dialect).collect()
    assert isinstance(caught.value.partial, sk.Message)
    assert (SAID, "a1") == (caught.value.partial.text, caught.value.partial.id)


ERRORS = {
    "openai-chat": frame({"error": {"message": "Overloaded", "type": "overloaded_error"}}, "error"),
    "openai-responses": frame({"type": "error", "code": "overloaded_error", "message": "Overloaded"}, "error"),
    "anthropic": frame({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, "error"),
}


@dialects
async def test_par_10_an_error_in_mid_stream_is_typed_retryable_and_keeps_the_text(dialect: str) -> None:
    with pytest.raises(sk.OverloadedError) as caught:
        await sk.decode(answer(dialect, ERRORS[dialect], WORDS[dialect]("late")), dialect).message()
    assert caught.value.retryable
    assert isinstance(caught.value.partial, sk.Message)
    assert SAID == caught.value.partial.text


@dialects
async def test_par_11_data_that_is_not_json_names_the_frame_and_keeps_the_text(dialect: str) -> None:
    body = answer(dialect, frame("{bad"), words=3)
    number = sum(piece.count(b"\n\n") for piece in body)
    with pytest.raises(sk.RemoteProtocolError, match=f"frame {number} is (not|no) JSON") as caught:
        await sk.decode(body, dialect).message()
    assert "{bad" == caught.value.excerpt
    assert isinstance(caught.value.partial, sk.Message)
    assert "w0 w1 w2 " == caught.value.partial.text


BOMBS = {
    "nests": '{"type":"x","choices":' + "[" * 100_000,
    "closed nests": '{"type":"x","choices":' + "[" * 100_000 + "]" * 100_000 + "}",
    "an endless number": '{"type":"x","choices":[{"index":' + "9" * 900_000 + "}]}",
    "an endless exponent": '{"type":"x","choices":[{"index":1e' + "9" * 900_000 + "}]}",
    "nests in arguments": None,
}


@dialects
@pytest.mark.parametrize("bomb", BOMBS)
async def test_par_12_a_json_bomb_costs_an_error_at_most_and_little_time(dialect: str, bomb: str) -> None:
    data = BOMBS[bomb]
    started = time.process_time()
    stream = sk.decode(answer(dialect, call_frames(dialect) if data is None else frame(data), words=1), dialect)
    with pytest.raises((sk.RemoteProtocolError, sk.StreamTruncated, sk.SourceError)) as caught:
        await stream.collect()
    assert time.process_time() - started < 5
    assert isinstance(caught.value.partial, sk.Message)
    assert "w0 " == caught.value.partial.text


def call_frames(dialect: str) -> bytes:
    """A call whose arguments are 100,000 nested lists, and no end."""
    deep = "[" * 100_000
    match dialect:
        case "openai-chat":
            call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": deep}}
            return frame({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]})
        case "anthropic":
            tool = {"type": "tool_use", "id": "c", "name": "f", "input": {}}
            start = frame({"type": "content_block_start", "index": 1, "content_block": tool}, "content_block_start")
            delta = {"type": "input_json_delta", "partial_json": deep}
            stop = frame({"type": "content_block_stop", "index": 1}, "content_block_stop")
            return start + frame({"type": "content_block_delta", "index": 1, "delta": delta}, "content_block_delta") + stop
        case _:
            item = {"type": "function_call", "id": "i2", "call_id": "c", "name": "f", "arguments": deep, "status": "completed"}
            return frame({"type": "response.output_item.done", "output_index": 1, "item": item}, "response.output_item.done")


async def test_par_12_a_key_that_is_said_twice_counts_as_json_readers_have_it_the_last_time() -> None:
    twice = '{"choices":[{"index":0,"delta":{"content":"no"}}],"choices":[{"index":0,"delta":{"content":"yes"}}]}'
    with pytest.raises(sk.StreamTruncated) as caught:
        await sk.decode([frame(twice)], "openai-chat").collect()
    assert isinstance(caught.value.partial, sk.Message)
    assert "yes" == caught.value.partial.text


@dialects
async def test_par_18_an_endless_answer_is_ended_by_its_size_and_its_source_is_closed(dialect: str) -> None:
    closed: list[int] = []

    async def endless() -> AsyncIterator[bytes]:
        given = 0
        try:
            yield BEGINNINGS[dialect]
            while True:
                given += 1
                yield WORDS[dialect]("word ")
        finally:
            closed.append(given)

    message = await (sk.decode(endless, dialect) | sk.limit_bytes(1000)).message()
    assert "word " * 200 == message.text
    assert sk.Finish("length", "limit_bytes") == message.finish
    assert [201] == closed


@dialects
async def test_par_18_an_endless_answer_is_ended_by_its_time(dialect: str, clock: VirtualClock) -> None:
    steps: list[Any] = [step for _ in range(500) for step in (1.0, WORDS[dialect]("word "))]
    with pytest.raises(sk.StreamTimeout) as caught:
        await (sk.decode(timed(*steps), dialect) | sk.timeout(total=60)).message()
    assert ("total", 60.0) == (caught.value.phase, clock.now())
    assert isinstance(caught.value.partial, sk.Message)
    assert 59 <= caught.value.partial.text.count("word ") <= 60


async def test_par_18_a_body_that_never_ends_is_ended_by_its_bytes() -> None:
    body = [chat("w" * 1000)] * 100
    with pytest.raises(sk.RemoteProtocolError, match="max_body_bytes=20000"):
        await sk.decode(body, "openai-chat", max_body_bytes=20_000).collect()


def test_par_20_interleaved_calls_that_never_end_are_not_complete() -> None:
    def pieces(index: int, **function: str) -> bytes:
        call = {"index": index, "id": f"c{index}", "function": function}
        return frame({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]})

    body = [
        pieces(0, name="a", arguments='{"x":'),
        pieces(1, name="b", arguments='{"y'),
        pieces(0, arguments="1}"),
        pieces(1, arguments='":'),
    ]
    length = frame({"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]})
    ran: list[int] = []

    def a(x: int) -> int:
        """Add nothing."""
        ran.append(x)
        return x

    def b(y: int) -> int:
        """Never to be run."""
        ran.append(-y)
        return y

    stream = sk.decode([*body, length, frame("[DONE]")], "openai-chat") | sk.run_tools([a, b])
    events = list(stream.iter())
    calls = [event for event in events if isinstance(event, sk.ToolCall)]
    results = [event for event in events if isinstance(event, sk.ToolResult)]
    assert [("c0", True), ("c1", False)] == [(call.id, call.complete) for call in calls]
    assert [1] == ran
    assert [("c0", False), ("c1", True)] == [(result.id, result.is_error) for result in results]
    with pytest.raises(sk.RemoteProtocolError, match="cut off"):
        calls[1].input()
