"""Recorded Messages API streams against values computed by other decoders."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import cast

import pytest
from dialect_cases import Reading, cut, expected_of, need_recordings, read, recordings

from streamkit.dialects.anthropic import AnthropicDecoder
from streamkit.dialects.anthropic.decoder import FINISH_REASONS
from streamkit.errors import StreamTruncated
from streamkit.events import Finish, ReasoningDelta, Start, Usage

RECORDINGS = recordings("anthropic")


def test_the_recordings_are_at_hand() -> None:
    need_recordings(RECORDINGS)
    assert 7 <= len(RECORDINGS)


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_a_recording_gives_the_expected_answer_however_it_is_cut(path: Path) -> None:
    body = path.read_bytes()
    whole = read(AnthropicDecoder(), [body])
    # Some recordings lack their last empty line: a block that the end of the body cuts off does not count.
    _check_against(expected_of(path), whole, stopped=body.endswith(b"\n\n"))

    rng = random.Random(path.name)
    for _ in range(200):
        again = read(AnthropicDecoder(), cut(body, rng))
        assert again.error is None
        assert whole.events == again.events


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_a_recording_cut_before_its_stop_reason_is_truncated(path: Path) -> None:
    blocks = [block + b"\n\n" for block in path.read_bytes().split(b"\n\n") if block.strip()]
    first_finish = next(number for number, block in enumerate(blocks) if _data(block)["type"] == "message_delta")
    assert first_finish > 0
    text = thinking = arguments = ""
    for end in range(first_finish + 1):
        if end:
            delta = cast("dict[str, str]", _data(blocks[end - 1]).get("delta") or {})
            text += delta.get("text", "")
            thinking += delta.get("thinking", "")
            arguments += delta.get("partial_json", "")
        got = read(AnthropicDecoder(), [b"".join(blocks[:end])])
        assert isinstance(got.error, StreamTruncated)
        assert text == got.message.text
        assert thinking == got.message.reasoning
        assert arguments == "".join(call.arguments for call in got.message.tool_calls)
        assert not [event for event in got.events if isinstance(event, Finish)]


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_a_recording_that_ends_without_message_stop_is_complete_and_its_usage_not_final(path: Path) -> None:
    body = path.read_bytes()
    whole = read(AnthropicDecoder(), [body])
    got = read(AnthropicDecoder(), [body[: body.rindex(b"event: message_stop")]])
    assert got.error is None
    assert whole.events[:-2] == got.events[:-2]
    assert whole.events[-1] == got.events[-1]
    assert got.message.usage is not None
    assert not got.message.usage.final


def test_thinking_brings_its_signature() -> None:
    found = [path for path in RECORDINGS if path.stem == "anthropic_thinking"]
    need_recordings(found)
    body = found[0].read_bytes()
    told = [_data(block) for block in body.split(b"\n\n") if b"signature_delta" in block]
    signatures = [cast("dict[str, str]", frame["delta"])["signature"] for frame in told]
    events = read(AnthropicDecoder(), [body]).events
    assert 1 == len(signatures)
    assert signatures == [event.signature for event in events if isinstance(event, ReasoningDelta) and event.signature]


def _check_against(expected: dict[str, object], got: Reading, *, stopped: bool) -> None:
    message = got.message
    assert got.error is None
    assert expected["error"] is None
    assert expected["text"] == message.text
    assert expected["reasoning"] == message.reasoning
    assert expected["citations"] == len(message.citations)
    calls = [{"id": call.id, "name": call.name, "type": "tool_use", "arguments": call.arguments} for call in message.tool_calls]
    assert expected["tool_calls"] == calls
    assert isinstance(got.events[0], Start)
    assert 1 == sum(isinstance(event, Start) for event in got.events)
    assert [Usage, Finish] == [type(event) for event in got.events[-2:]]
    assert message.finish is not None
    reason = cast("str", expected["finish"])
    assert (FINISH_REASONS[reason], reason) == (message.finish.reason, message.finish.raw_reason)
    assert [reason != "max_tokens"] * len(calls) == [call.complete for call in message.tool_calls]
    usage = cast("dict[str, int]", expected["usage"])
    assert (
        Usage(
            usage["input_tokens"],
            usage["output_tokens"],
            usage.get("cache_read_input_tokens"),
            usage.get("cache_creation_input_tokens"),
            final=stopped,
        )
        == message.usage
    )


def _data(block: bytes) -> dict[str, object]:
    value: dict[str, object] = json.loads(block.split(b"data: ", 1)[1])
    return value
