"""What a request accepts, what it refuses, and what it shows of itself."""

from __future__ import annotations

from typing import Any

import pytest

from streamkit.clients.request import Request, Turn
from streamkit.errors import ConfigError
from streamkit.events import File, Message, ReasoningDelta, TextDelta, ToolCall, ToolResult
from streamkit.events.tool import Tool


def test_a_text_is_one_user_message() -> None:
    assert (Turn("user", "why?"),) == Request.of("why?").messages


def test_a_list_of_dicts_and_turns_is_a_conversation_in_order() -> None:
    request = Request.of([{"role": "system", "content": "be short"}, Turn("user", "a"), {"role": "assistant", "content": "b"}])
    assert [("system", "be short"), ("user", "a"), ("assistant", "b")] == [(turn.role, turn.content) for turn in request.messages]


def test_other_keys_of_a_message_are_kept_untouched() -> None:
    calls = [{"id": "1"}]
    request = Request.of(
        [{"role": "assistant", "content": None, "tool_calls": calls}, {"role": "tool", "content": "4", "tool_call_id": "1"}]
    )
    assert calls is request.messages[0].extra["tool_calls"]
    assert "" == request.messages[0].content
    assert {"tool_call_id": "1"} == request.messages[1].extra


def test_extra_is_passed_through_as_the_same_object() -> None:
    extra = {"top_k": 5}
    assert extra is Request.of("a", extra=extra).extra


def test_a_request_is_taken_as_it_is_with_new_options_on_top() -> None:
    first = Request.of("a", seed=1, stop=["x"])
    second = Request.of(first, seed=2)
    assert (1, 2) == (first.seed, second.seed)
    assert (("x",), first.messages) == (second.stop, second.messages)


def test_a_new_option_on_a_request_is_checked_like_any_other() -> None:
    with pytest.raises(ConfigError, match="max_tokens is at least 1"):
        Request.of(Request.of("a"), max_tokens=0)


def test_the_question_is_the_last_user_message() -> None:
    assert "b" == Request.of([Turn("user", "a"), Turn("user", "b"), Turn("assistant", "c")]).question
    assert "" == Request.of([Turn("assistant", "c")]).question


def test_one_stop_text_and_a_list_of_them_are_both_taken() -> None:
    assert ("END",) == Request.of("a", stop="END").stop
    assert ("a", "b") == Request.of("a", stop=["a", "b"]).stop


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "cannot be made of NoneType"),
        (3, "cannot be made of int"),
        (b"why?", "cannot be made of bytes"),
        ({"messages": []}, "single dict is not a conversation"),
        ([], "at least one message"),
        (["why?"], "message 0 is a str"),
        ([{"role": "user"}], "message 0 has no content"),
        ([{"content": "a"}], "message 0 has no role"),
        ([{}], "message 0 has no role and no content"),
        ([{"role": "user", "content": "a"}, {"role": "boss", "content": "b"}], "message 1: .* one of system, .*'boss'"),
        ([{"role": "user", "content": None}], "content is a str or a list of parts, got NoneType"),
        ([{"role": "user", "content": {"type": "text"}}], "content is a str or a list of parts, got dict"),
        ([{"role": "user", "content": b"x"}], r"got bytes: wrap it, as in File\("),
        ([{"role": "user", "content": ["a", b"x"]}], r"got bytes: wrap it, as in File\("),
        ([{"role": ["user"], "content": "a"}], "role is one of"),
    ],
)
def test_a_wrong_shape_is_refused_at_the_call_with_the_next_move(value: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Request.of(value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_tokens": 0}, "at least 1, got 0"),
        ({"max_tokens": True}, "whole number"),
        ({"max_tokens": 1.5}, "whole number"),
        ({"seed": "x"}, "seed is a whole number"),
        ({"temperature": -0.1}, "from 0 up"),
        ({"temperature": float("nan")}, "from 0 up"),
        ({"temperature": "hot"}, "from 0 up"),
        ({"stop": ""}, "at least one character"),
        ({"stop": ["a", ""]}, "at least one character"),
        ({"stop": [1]}, "at least one character"),
        ({"stop": 1}, "stop is a text or a list"),
        ({"model": 1}, "model is a str"),
        ({"system": b"x"}, "system is a str"),
        ({"extra": [1]}, "extra is a mapping"),
    ],
)
def test_a_wrong_option_is_refused_at_the_call(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Request.of("a", **options)


def test_the_constructor_wants_the_exact_types() -> None:
    wrong: Any = [Turn("user", "a")]
    with pytest.raises(ConfigError, match="tuple of Turn"):
        Request(messages=wrong)
    with pytest.raises(ConfigError, match="stop is a tuple"):
        Request(messages=(Turn("user", "a"),), stop=wrong)


def test_repr_shows_sizes_and_no_contents_and_no_keys() -> None:
    secret = "sk-abcdefgh12345678"
    request = Request.of(f"my key is {secret}", system=secret, stop=[secret], model=secret, extra={"api_key": secret, secret: 1})
    shown = repr(request) + str(request) + repr(request.messages)
    assert secret not in shown
    assert "my key" not in shown
    assert "api_key" in shown
    assert "1 message, 29 chars" in shown


def test_a_request_cannot_be_changed() -> None:
    request: Any = Request.of("a")
    with pytest.raises(AttributeError):
        request.seed = 3


def test_parts_are_events_texts_and_dicts_and_a_list_becomes_a_tuple() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
    picture = File("image/png", data=b"secret pixels", name="a.png")
    turn = Request.of([{"role": "user", "content": ["what ", {"type": "text", "text": "is it?"}, image, picture]}]).messages[0]
    assert isinstance(turn.content, tuple)
    assert image is turn.content[2]
    assert "what is it?" == turn.text
    assert "<Turn user: 11 chars, 1 file, 1 other part>" == repr(turn)
    assert (picture,) == Turn("user", picture).content  # type: ignore[arg-type]  # what is lenient


def test_items_of_the_responses_api_are_turns() -> None:
    call = {"type": "function_call", "call_id": "1", "name": "now", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "1", "output": "noon"}
    request = Request.of([{"role": "user", "content": "time?"}, call, output])
    assert ["user", "assistant", "tool"] == [turn.role for turn in request.messages]
    assert (call,) == request.messages[1].content


def test_tools_are_functions_tools_and_dicts() -> None:
    def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    add.__annotations__ = {"a": int, "b": int}
    given = {"name": "now", "input_schema": {"type": "object"}}
    request = Request.of("a", tools=[add, given, Tool("x", "", {})], tool_choice="add")
    assert ["add", "x"] == [tool.name for tool in request.tools if isinstance(tool, Tool)]
    assert given is request.tools[1]
    assert "<Request 1 message, 1 chars, tool_choice='add', tools: add now x>" == repr(request)
    with pytest.raises(ConfigError, match="a list of functions"):
        Request.of("a", tools=add)  # type: ignore[arg-type]  # what is tested
    with pytest.raises(ConfigError, match="got int"):
        Request.of("a", tools=[3])  # type: ignore[list-item]  # what is tested


def test_an_answer_and_its_results_make_the_next_request() -> None:
    answer = Message(
        [
            ReasoningDelta("hm", 0),
            ReasoningDelta("", 0, signature="proof"),
            TextDelta("let me see", 1),
            ToolCall("1", "now", "{}", index=2, signature="seal"),
            ToolCall("2", "cut", '{"a', complete=False, index=3),
        ]
    )
    first = Request.of("time?", tool_choice="required")
    second = first.then(answer, ToolResult("1", "noon"), "and tomorrow?")
    assert first.messages == second.messages[:1]
    parts = (ReasoningDelta("hm", 0, signature="proof"), "let me see", ToolCall("1", "now", "{}", index=2, signature="seal"))
    assert (Turn("assistant", parts), Turn("tool", (ToolResult("1", "noon"),)), Turn("user", "and tomorrow?")) == second.messages[
        1:
    ]
    assert ("required", "auto") == (first.tool_choice, second.tool_choice)
    assert first.messages == first.then(Message()).messages


def test_repr_shows_sizes_and_names_and_no_contents() -> None:
    request = Request.of(
        [Turn("user", ("my secret", File("image/png", data=b"secret"))), Turn("tool", (ToolResult("1", "secret"),))],
        system="secret",
        output={"title": "secret"},
        extra={"headers": "secret"},
    )
    assert "<Request 2 messages, 9 chars, 1 file, 1 result, system of 6 chars, output: a schema, extra: headers>" == repr(request)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"top_p": 1.5}, "top_p is at most 1, got 1.5"),
        ({"top_k": 0}, "top_k is at least 1"),
        ({"tool_choice": 3}, "tool_choice is a str"),
        ({"output": "json"}, "output is a type or a JSON schema, got 'json'"),
    ],
)
def test_new_options_are_checked_at_the_call(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Request.of("a", **options)


def test_a_result_of_a_call_that_was_cut_off_is_left_out_as_the_call_is() -> None:
    answer = Message([ToolCall("1", "now"), ToolCall("2", "add", '{"a', complete=False)])
    request = Request.of("hello").then(answer, ToolResult("1", "noon"), ToolResult("2", "cut off", is_error=True))
    assert (ToolResult("1", "noon"),) == request.messages[-1].content
    only_cut = Message([ToolCall("2", "add", '{"a', complete=False)])
    assert 1 == len(Request.of("hello").then(only_cut, ToolResult("2", "cut off", is_error=True)).messages)
