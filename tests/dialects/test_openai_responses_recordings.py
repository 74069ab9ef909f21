"""Recorded streams of the Responses API against values computed by other decoders."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import cast

import pytest
from dialect_cases import Reading, cut, expected_of, need_recordings, read, recordings

from streamkit.dialects.openai_responses import OpenAIResponsesDecoder
from streamkit.errors import RateLimitError, StreamTruncated
from streamkit.events import Finish, ReasoningDelta, Start, ToolCall, Usage

RECORDINGS = recordings("responses")
TEXTS = ("response.output_text.delta", "response.refusal.delta")


def test_the_recordings_are_at_hand() -> None:
    need_recordings(RECORDINGS)
    assert 4 <= len(RECORDINGS)


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_a_recording_gives_the_expected_answer_however_it_is_cut(path: Path) -> None:
    body = path.read_bytes()
    whole = read(OpenAIResponsesDecoder(), [body])
    _check_against(expected_of(path), whole)

    rng = random.Random(path.name)
    for _ in range(200):
        again = read(OpenAIResponsesDecoder(), cut(body, rng))
        assert whole.events == again.events
        assert str(whole.error) == str(again.error)


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_a_recording_cut_before_its_end_is_truncated(path: Path) -> None:
    blocks = [block + b"\n\n" for block in path.read_bytes().split(b"\n\n") if block.strip()]
    values = [_value(block) for block in blocks]
    last = next(number for number, value in enumerate(values) if value["type"] in ("response.completed", "error"))
    assert last > 0
    text = ""
    events_before = 0
    for end in range(last + 1):
        if end and values[end - 1]["type"] in TEXTS:
            text += cast("str", values[end - 1]["delta"])
        got = read(OpenAIResponsesDecoder(), [b"".join(blocks[:end])])
        assert isinstance(got.error, StreamTruncated)
        assert text == got.message.text
        assert events_before <= len(got.events)
        assert not [event for event in got.events if isinstance(event, Finish)]
        events_before = len(got.events)


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_a_recording_without_numbers_places_and_names_reads_the_same(path: Path) -> None:
    body = path.read_bytes()
    bare: list[bytes] = []
    for block in body.split(b"\n\n"):
        if block.strip():
            value = {name: item for name, item in _value(block).items() if name not in ("sequence_number", "output_index")}
            bare.append(b"data: " + json.dumps(value).encode() + b"\n\n")
    whole, got = read(OpenAIResponsesDecoder(), [body]), read(OpenAIResponsesDecoder(), bare)
    assert whole.events == got.events
    assert str(whole.error) == str(got.error)


def test_sealed_reasoning_comes_once_with_the_id_of_its_item() -> None:
    found = [path for path in RECORDINGS if path.stem == "responses_reasoning_encrypted"]
    need_recordings(found)
    events = read(OpenAIResponsesDecoder(), [found[0].read_bytes()]).events
    sealed = [event for event in events if isinstance(event, ReasoningDelta) and event.redacted]
    done = [_value(block) for block in found[0].read_bytes().split(b"\n\n") if b"output_item.done" in block]
    item = next(cast("dict[str, object]", value["item"]) for value in done if b"encrypted_content" in json.dumps(value).encode())
    assert [(item["id"], item["encrypted_content"])] == [(event.signature, event.redacted) for event in sealed]


def _check_against(expected: dict[str, object], got: Reading) -> None:
    message = got.message
    assert expected["text"] == message.text
    assert expected["reasoning"] == message.reasoning
    calls = [{"id": call.id, "name": call.name, "arguments": call.arguments} for call in message.tool_calls]
    assert expected["tool_calls"] == calls
    assert expected["citations"] == len(message.citations)
    assert isinstance(got.events[0], Start)
    error = cast("dict[str, object] | None", expected["error"])
    if error is None:
        assert got.error is None
        assert [Usage, Finish] == [type(event) for event in got.events[-2:]]
        assert message.finish is not None
        assert ("tool-calls" if calls else "stop", expected["finish"]) == (message.finish.reason, message.finish.raw_reason)
        assert all(event.complete for event in got.events if isinstance(event, ToolCall))
        _check_usage(cast("dict[str, object]", expected["usage"]), message.usage)
    else:
        assert message.finish is None
        assert isinstance(got.error, RateLimitError)
        assert error["code"] == got.error.code
        assert str(error["message"])[:60] in str(got.error)


def _check_usage(expected: dict[str, object], usage: Usage | None) -> None:
    assert usage is not None
    read_, written = cast("list[dict[str, int]]", [expected["input_tokens_details"], expected["output_tokens_details"]])
    wanted = (
        expected["input_tokens"],
        expected["output_tokens"],
        read_["cached_tokens"],
        written["reasoning_tokens"],
        True,
    )
    assert wanted == (usage.input_tokens, usage.output_tokens, usage.cache_read_tokens, usage.reasoning_tokens, usage.final)


def _value(block: bytes) -> dict[str, object]:
    value: dict[str, object] = json.loads(next(line for line in block.splitlines() if line.startswith(b"data:"))[5:])
    return value
