"""Values of the wrong type mean the same in every dialect that reads them through `streamkit.dialects.lenient`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import pytest
from dialect_cases import Reading, read, sse_body

from streamkit.dialects import registry
from streamkit.dialects.lenient import as_int, as_list, as_text, flat, from_base64, is_json, json_text, read_value
from streamkit.errors import RemoteProtocolError
from streamkit.events import Citation, Raw, ReasoningDelta, TextDelta, ToolCall, ToolResult
from streamkit.wire.sse import dump_json


def answer(dialect: str, *frames: str) -> Reading:
    decoder = registry.get(dialect).decoder
    assert decoder is not None
    return read(decoder(), [sse_body(*frames)])


# ---- the readers ----------------------------------------------------------------------------

ODD: list[object] = [
    None,
    True,
    1,
    1.5,
    math.inf,
    math.nan,
    "",
    "a",
    "7",
    "\u0667",
    "\ud83d",
    [],
    [[]],
    {},
    {"text": 1},
    {"text": None},
]


@pytest.mark.parametrize("reader", [as_int, as_list, as_text, flat, json_text])
@pytest.mark.parametrize("value", ODD, ids=repr)
def test_no_type_is_too_odd_to_be_read(reader: Callable[[object], object], value: object) -> None:
    assert isinstance(reader(value), int | list | str | None)


@pytest.mark.parametrize(
    ("meant", "value"), [(7, 7), (7, 7.0), (7, "7"), (None, 7.5), (None, "-7"), (None, "\u0667"), (None, math.inf)]
)
def test_a_count_is_what_looks_like_a_whole_number(meant: int | None, value: object) -> None:
    assert meant == as_int(value)


def test_a_count_of_nineteen_digits_is_none() -> None:
    assert (10**18 - 1, None) == (as_int("9" * 18), as_int("9" * 19))


@pytest.mark.parametrize("data", ['"\\ud83d"', '{"a": NaN}', "[1e999]", '{"\\udc00": -Infinity}', b'"\\ud83d"'])
def test_what_was_read_can_be_written_again(data: str | bytes) -> None:
    assert b"\\ud" not in dump_json(read_value(data))


@pytest.mark.parametrize("data", ["", "{", b"\xff", "9" * 5000], ids=["nothing", "cut", "no text", "too long"])
def test_what_cannot_be_read_is_a_value_error(data: str | bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read_value(data)


def test_too_deep_is_said_and_not_crashed_on() -> None:
    with pytest.raises(RecursionError):
        read_value("[" * 100_000 + "]" * 100_000)


@pytest.mark.parametrize("depth", [200, 950, 20_000, 100_000])
def test_a_half_character_above_deep_nests_is_replaced_or_the_depth_is_said(depth: int) -> None:
    # It has to be looked for, level by level; how deep that can go depends on the interpreter.
    try:
        value = cast("list[object]", read_value('["\\ud83d",' + "[" * depth + "]" * depth + "]"))
    except (ValueError, RecursionError):
        assert depth > 200
    else:
        assert "\ufffd" == value[0]
        assert depth < 100_000


@pytest.mark.parametrize("arguments", ['{"a":1}', "{", "NaN", '{"a":"\\ud83d"}', "", "9" * 5000])
def test_arguments_are_whole_just_where_input_reads_them(arguments: str) -> None:
    try:
        ToolCall("1", "f", arguments).input()
        readable = bool(arguments)  # none at all is `{}`, which a decoder decides for itself
    except RemoteProtocolError:
        readable = False
    assert readable == is_json(arguments)


@pytest.mark.parametrize("text", ["a", "a$==", "\u00e9", "aGk"])
def test_what_is_no_base64_is_said(text: str) -> None:
    with pytest.raises(RemoteProtocolError, match="not base64"):
        from_base64(text)


# ---- in the dialects ------------------------------------------------------------------------


def chat(delta: str, beside: str = "") -> Reading:
    return answer("openai-chat", '{"choices":[{"delta":%s,"finish_reason":"stop"}]%s}' % (delta, beside), "[DONE]")  # noqa: UP031


def test_one_source_without_its_list_is_a_source() -> None:
    assert [Citation("https://a")] == chat("{}", ',"citations":"https://a"').events[1:-1]
    assert [Citation("https://a")] == chat("{}", ',"search_results":{"url":"https://a"}').events[1:-1]
    assert [Citation("https://a")] == chat('{"context":{"citations":{"url":"https://a"}}}').events[1:-1]
    assert [Citation("https://a")] == chat('{"annotations":{"url_citation":{"url":"https://a"}}}').events[1:-1]
    block = '{"type":"content_block_start","index":0,"content_block":{"type":"text","citations":{"url":"https://a"}}}'
    assert [Citation("https://a")] == answer("anthropic", block).events


def test_one_thought_without_its_list_is_a_thought() -> None:
    assert [ReasoningDelta("Hm")] == chat('{"reasoning_details":{"type":"reasoning.text","text":"Hm"}}').events[1:-1]


@pytest.mark.parametrize("calls", ['""', '"x"', "[null]", '["x"]', "7"])
def test_what_is_no_call_begins_none(calls: str) -> None:
    assert [TextDelta("a")] == chat('{"content":"a","tool_calls":%s}' % calls).events[1:-1]  # noqa: UP031


def test_half_a_character_beside_the_text_costs_nothing() -> None:
    assert [Citation("\ufffd"), TextDelta("a")] == chat('{"content":"a"}', ',"citations":["\\ud83d"]').events[1:-1]
    cited = chat('{"annotations":[{"url_citation":{"url":"u","title":"\\ud83d"}}]}').events[1:-1]
    assert [Citation("u", "\ufffd")] == cited
    tools = chat('{"executed_tools":[{"index":0,"type":"search","arguments":"{}","output":"\\ud83d"}]}').events[1:-1]
    assert ToolResult("call_answer_0_0", {"output": "\ufffd"}) == tools[-1]


def test_half_a_character_in_an_item_is_replaced() -> None:
    item = '{"type":"response.output_item.done","output_index":0,"item":{"type":"%s","id":"a","name":"f","output":["\\ud83d"]}}'
    assert ToolResult("a", ["\ufffd"]) == answer("openai-responses", item % "mcp_call").events[-1]
    assert (
        Raw({"type": "news", "id": "a", "name": "f", "output": ["\ufffd"]}) == answer("openai-responses", item % "news").events[-1]
    )


def test_a_part_may_hold_its_text_as_content() -> None:
    delta = '{"type":"response.output_text.delta","output_index":0,"delta":[{"content":"a"},"b"]}'
    assert [TextDelta("ab")] == answer("openai-responses", delta).events[1:]
    block = '{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":[{"content":"a"},"b"]}}'
    assert [TextDelta("ab")] == answer("anthropic", block).events


def test_arguments_that_no_input_can_read_are_not_complete() -> None:
    call = '{"type":"function_call","id":"i","call_id":"c","name":"f","arguments":"{\\"a\\":NaN}"}'
    frame = '{"type":"response.output_item.done","output_index":0,"item":' + call + "}"
    assert ToolCall("c", "f", '{"a":NaN}', False) == answer("openai-responses", frame).events[-1]
