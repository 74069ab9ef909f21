"""What a request accepts, what it refuses, and what it shows of itself."""

from __future__ import annotations

from typing import Any

import pytest

from streamkit.clients.request import Request, Turn
from streamkit.errors import ConfigError


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
        ([{"role": "user", "content": None}], "content is a str, got NoneType"),
        ([{"role": "user", "content": [{"type": "text"}]}], "content is a str, got list"),
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
