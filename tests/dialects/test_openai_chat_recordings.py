"""Recorded chat completion streams against values computed by other decoders."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import cast

import pytest
from dialect_cases import Reading, cut, expected_of, need_recordings, read, recordings

from streamkit.dialects.openai_chat import OpenAIChatDecoder
from streamkit.dialects.openai_chat.decoder import FINISH_REASONS
from streamkit.errors import SourceError, StreamTruncated
from streamkit.events import Citation, Finish, Message, Start, Usage

RECORDINGS = recordings("openai")


def test_the_recordings_are_at_hand() -> None:
    need_recordings(RECORDINGS)
    assert 10 <= len(RECORDINGS)


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_a_recording_gives_the_expected_answer_however_it_is_cut(path: Path) -> None:
    body = path.read_bytes()
    whole = read(OpenAIChatDecoder(), [body])
    _check_against(expected_of(path), whole)

    rng = random.Random(path.name)
    for _ in range(200):
        again = read(OpenAIChatDecoder(), cut(body, rng))
        assert whole.events == again.events
        assert str(whole.error) == str(again.error)


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_a_recording_cut_before_its_finish_reason_is_truncated(path: Path) -> None:
    blocks = [block + b"\n\n" for block in path.read_bytes().split(b"\n\n") if block.strip()]
    first_finish = next(number for number, block in enumerate(blocks) if _says_finish(block))
    assert first_finish > 0
    text = ""
    events_before = 0
    for end in range(first_finish + 1):
        if end:
            text += _plain_text(blocks[end - 1])
        got = read(OpenAIChatDecoder(), [b"".join(blocks[:end])])
        assert isinstance(got.error, StreamTruncated)
        assert text == got.message.text
        assert events_before <= len(got.events)
        assert not [event for event in got.events if isinstance(event, Finish)]
        events_before = len(got.events)


def test_perplexity_sources_come_once_each() -> None:
    found = [path for path in RECORDINGS if path.stem == "perplexity_citations"]
    need_recordings(found)
    events = read(OpenAIChatDecoder(), [found[0].read_bytes()]).events
    urls = [event.url for event in events if isinstance(event, Citation)]
    assert 7 == len(urls) == len(set(urls))


def _check_against(expected: dict[str, object], got: Reading) -> None:
    message = got.message
    assert expected["text"] == message.text
    assert expected["reasoning"] == message.reasoning
    calls = [{"id": call.id, "name": call.name, "arguments": call.arguments} for call in message.tool_calls]
    assert expected["tool_calls"] == calls
    assert isinstance(got.events[0], Start)
    _check_usage(cast("dict[str, object]", expected["usage"]), message)
    error = cast("dict[str, object] | None", expected["error"])
    if error is None:
        assert got.error is None
        assert [Usage, Finish] == [type(event) for event in got.events[-2:]]
        assert message.finish is not None
        assert (FINISH_REASONS[cast("str", expected["finish"])], expected["finish"]) == (
            message.finish.reason,
            message.finish.raw_reason,
        )
        assert all(call.complete for call in message.tool_calls)
    else:
        assert message.finish is None
        assert isinstance(got.error, SourceError)
        assert str(error["code"]) == got.error.code
        assert str(error["message"]) in str(got.error)


def _check_usage(expected: dict[str, object], message: Message) -> None:
    usage = message.usage
    assert usage is not None
    assert (expected["prompt_tokens"], expected["completion_tokens"]) == (usage.input_tokens, usage.output_tokens)
    prompt = cast("dict[str, int]", expected.get("prompt_tokens_details") or {})
    completion = cast("dict[str, int]", expected.get("completion_tokens_details") or {})
    assert prompt.get("cached_tokens") == usage.cache_read_tokens
    assert completion.get("reasoning_tokens") == usage.reasoning_tokens


def _chunks(block: bytes) -> list[dict[str, object]]:
    lines = [line[6:] for line in block.splitlines() if line.startswith(b"data: {")]
    return [json.loads(line) for line in lines]


def _says_finish(block: bytes) -> bool:
    return any(
        choice.get("finish_reason") for chunk in _chunks(block) for choice in cast("list[dict[str, object]]", chunk["choices"])
    )


def _plain_text(block: bytes) -> str:
    text = ""
    for chunk in _chunks(block):
        for choice in cast("list[dict[str, dict[str, object]]]", chunk["choices"]):
            content = choice["delta"].get("content")
            if isinstance(content, list):
                content = "".join(part["text"] for part in content if part["type"] == "text")
            text += cast("str", content or "")
    return text
