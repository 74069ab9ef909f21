"""What each provider is sent: the exact JSON, held against the types of the providers' own SDKs."""

from __future__ import annotations

import base64
import dataclasses
import json
import logging
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Literal

import anthropic
import httpx2
import openai
import pydantic
import pytest
from anthropic.types.message_create_params import MessageCreateParamsBase
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat.completion_create_params import CompletionCreateParamsBase
from openai.types.responses.response_create_params import ResponseCreateParamsBase

import streamkit as sk
from streamkit.clients.payloads import DIALECTS, payload
from streamkit.errors import ConfigError, RemoteProtocolError

PIXELS = b"\x89PNG pixels"
B64 = base64.b64encode(PIXELS).decode()
PNG = sk.File("image/png", data=PIXELS)
FAR = sk.File("image/png", url="https://example.org/a.png")
PDF = sk.File("application/pdf", data=b"%PDF", name="paper.pdf")
PDF64 = base64.b64encode(b"%PDF").decode()
NOTE = sk.File("text/plain", data="naïve".encode(), name="note.txt")
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
TOOL = sk.Tool("weather", "Tells it.", SCHEMA)


@dataclasses.dataclass
class Answer:
    city: str
    unit: Literal["c", "f"]


def ask(value: Any, **options: Any) -> sk.Request:
    return sk.Request.of(value, **{"model": "m", **options})


def chat(value: Any, **options: Any) -> dict[str, Any]:
    return checked(payload(ask(value, **options), "openai-chat"), CompletionCreateParamsBase)


def responses(value: Any, **options: Any) -> dict[str, Any]:
    return checked(payload(ask(value, **options), "openai-responses"), ResponseCreateParamsBase)


def claude(value: Any, **options: Any) -> dict[str, Any]:
    return checked(payload(ask(value, **options), "anthropic"), MessageCreateParamsBase)


# The SDK's types say what may be sent, but an unknown key passes them: the sampling options that the API has and this SDK has not.
_UNTYPED = {"stream", "temperature", "top_p", "top_k"}


def checked(body: dict[str, Any], kind: Any) -> dict[str, Any]:
    """The body, after the SDK's own types agreed: no key that they have not, no value that they refuse."""
    assert not set(body) - set(kind.__annotations__) - _UNTYPED
    _adapter(kind).validate_python({key: value for key, value in body.items() if key in kind.__annotations__})
    assert json.loads(json.dumps(body)) == body
    return body


_ADAPTERS: dict[Any, Any] = {}


def _adapter(kind: Any) -> Any:
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = pydantic.TypeAdapter(kind)
    return _ADAPTERS[kind]


# ---- plain questions ------------------------------------------------------------------------------


def test_a_question_is_the_smallest_body() -> None:
    expected_chat = {
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "model": "m",
    }
    assert expected_chat == chat("hi")
    assert {"input": [{"role": "user", "content": "hi"}], "stream": True, "model": "m"} == responses("hi")
    assert {"max_tokens": 8192, "messages": [{"role": "user", "content": "hi"}], "stream": True, "model": "m"} == claude("hi")


def test_options_have_each_providers_names() -> None:
    sampling = {"temperature": 0.5, "top_p": 0.9, "max_tokens": 7}
    body = chat("hi", seed=3, stop=["END"], **sampling)
    assert (0.5, 0.9, 7, 3, ["END"]) == tuple(
        body[name] for name in ("temperature", "top_p", "max_completion_tokens", "seed", "stop")
    )
    body = responses("hi", **sampling)
    assert (0.5, 0.9, 7) == tuple(body[name] for name in ("temperature", "top_p", "max_output_tokens"))
    body = claude("hi", top_k=5, stop=["END"], **sampling)
    assert (0.5, 0.9, 7, 5, ["END"]) == tuple(
        body[name] for name in ("temperature", "top_p", "max_tokens", "top_k", "stop_sequences")
    )


def test_relatives_of_openai_are_told_max_tokens_and_top_k() -> None:
    body = payload(ask("hi", max_tokens=7, top_k=5), "openai-chat", relative=True)
    assert (7, 5) == (body["max_tokens"], body["top_k"])
    assert "max_completion_tokens" not in body


@pytest.mark.parametrize(
    ("dialect", "options", "said"),
    [
        ("openai-chat", {"top_k": 5}, "has no top_k: .*extra="),
        ("openai-responses", {"top_k": 5}, "has no top_k"),
        ("openai-responses", {"seed": 5}, "has no seed"),
        ("openai-responses", {"stop": "x"}, "has no stop sequences: .*sk.stop"),
        ("anthropic", {"seed": 5}, "has no seed"),
        ("anthropic", {"tools": [TOOL], "tool_choice": "other"}, "a tool's name .weather.; got 'other'"),
        ("gemini", {}, "known are openai-chat, openai-responses, anthropic"),
    ],
)
def test_an_option_without_a_word_is_refused_by_name(dialect: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        payload(ask("hi", **options), dialect)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_extra_is_untouched_and_wins(dialect: str) -> None:
    odd = {"deep": [1, {"a": None}]}
    body = payload(ask("hi", extra={"stream": False, "odd": odd, "model": "other"}), dialect)
    assert odd is body["odd"]
    assert (False, "other") == (body["stream"], body["model"])


def test_instructions_stand_where_each_provider_wants_them() -> None:
    turns = [{"role": "system", "content": "b"}, {"role": "user", "content": "hi"}, {"role": "system", "content": "c"}]
    roles = ["system", "system", "user", "system"]
    assert roles == [message["role"] for message in chat(turns, system="a")["messages"]]
    body = responses(turns, system="a")
    assert ("a", ["system", "user", "system"]) == (body["instructions"], [item["role"] for item in body["input"]])
    body = claude(turns, system="a")
    assert ("a\n\nb", ["user", "system"]) == (body["system"], [message["role"] for message in body["messages"]])


# ---- images and files -----------------------------------------------------------------------------


def test_images_and_documents_in_each_shape() -> None:
    turn = [sk.Turn("user", ("look", PNG, FAR, PDF, NOTE))]
    assert [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{B64}"}},
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
        {"type": "file", "file": {"filename": "paper.pdf", "file_data": f"data:application/pdf;base64,{PDF64}"}},
        {"type": "text", "text": "naïve"},
    ] == chat(turn)["messages"][0]["content"]
    note = base64.b64encode("naïve".encode()).decode()
    assert [
        {"type": "input_text", "text": "look"},
        {"type": "input_image", "detail": "auto", "image_url": f"data:image/png;base64,{B64}"},
        {"type": "input_image", "detail": "auto", "image_url": "https://example.org/a.png"},
        {"type": "input_file", "filename": "paper.pdf", "file_data": f"data:application/pdf;base64,{PDF64}"},
        {"type": "input_file", "filename": "note.txt", "file_data": f"data:text/plain;base64,{note}"},
    ] == responses(turn)["input"][0]["content"]
    assert [
        {"type": "text", "text": "look"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": B64}},
        {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": PDF64},
            "title": "paper.pdf",
        },
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "naïve"}, "title": "note.txt"},
    ] == claude(turn)["messages"][0]["content"]


def test_audio_goes_where_it_is_heard() -> None:
    turn = [sk.Turn("user", (sk.File("audio/mpeg", data=b"mp3"),))]
    assert [{"type": "input_audio", "input_audio": {"data": "bXAz", "format": "mp3"}}] == chat(turn)["messages"][0]["content"]
    for dialect in ("openai-responses", "anthropic"):
        with pytest.raises(ConfigError, match="no part for audio/mpeg"):
            payload(ask(turn), dialect)


def test_a_file_without_content_or_with_a_broken_address_is_refused() -> None:
    for dialect in DIALECTS:
        with pytest.raises(ConfigError, match="neither data nor url"):
            payload(ask([sk.Turn("user", (sk.File("image/png"),))]), dialect)
    with pytest.raises(ConfigError, match="no address for a file of application/pdf"):
        payload(ask([sk.Turn("user", (sk.File("application/pdf", url="https://example.org/a"),))]), "openai-chat")
    with pytest.raises(ConfigError, match="holds no base64"):
        payload(ask([sk.Turn("user", (sk.File("image/png", url="data:image/png;base64,x"),))]), "anthropic")


# ---- the dicts that people have -------------------------------------------------------------------

CHAT_TURNS: list[dict[str, Any]] = [
    {"role": "system", "content": "short"},
    {
        "role": "user",
        "name": "ann",
        "content": [
            {"type": "text", "text": "look"},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{B64}", "detail": "low"}},
        ],
    },
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Bonn"}'}}],
    },
    {"role": "tool", "tool_call_id": "1", "content": "rain"},
]
CLAUDE_TURNS: list[dict[str, Any]] = [
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "look", "cache_control": {"type": "ephemeral"}},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": B64}},
        ],
    },
    {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "proof"},
            {"type": "text", "text": "well"},
            {"type": "tool_use", "id": "1", "name": "weather", "input": {"city": "Bonn"}},
        ],
    },
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "rain"}]}]},
]
RESPONSES_ITEMS: list[dict[str, Any]] = [
    {
        "role": "user",
        "content": [
            {"type": "input_text", "text": "look"},
            {"type": "input_image", "detail": "low", "image_url": f"data:image/png;base64,{B64}"},
        ],
    },
    {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "sealed"},
    {"type": "function_call", "call_id": "1", "name": "weather", "arguments": '{"city": "Bonn"}'},
    {"type": "function_call_output", "call_id": "1", "output": "rain"},
]


def test_a_providers_own_dicts_reach_it_unchanged() -> None:
    assert CHAT_TURNS == chat(CHAT_TURNS)["messages"]
    assert CLAUDE_TURNS == claude(CLAUDE_TURNS)["messages"]
    assert RESPONSES_ITEMS == responses(RESPONSES_ITEMS)["input"]


def test_chat_dicts_are_translated_for_others() -> None:
    body = claude(CHAT_TURNS)
    assert "short" == body["system"]
    assert [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "look"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": B64}},
            ],
        },
        {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "weather", "input": {"city": "Bonn"}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "rain"}]},
    ] == body["messages"]
    assert [
        {"role": "system", "content": "short"},
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "look"},
                {"type": "input_image", "detail": "auto", "image_url": f"data:image/png;base64,{B64}"},
            ],
        },
        {"type": "function_call", "call_id": "1", "name": "weather", "arguments": '{"city": "Bonn"}'},
        {"type": "function_call_output", "call_id": "1", "output": "rain"},
    ] == responses(CHAT_TURNS)["input"]


def test_messages_dicts_are_translated_for_others() -> None:
    messages = chat(CLAUDE_TURNS)["messages"]
    assert {
        "role": "assistant",
        "content": "well",
        "tool_calls": [{"id": "1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Bonn"}'}}],
    } == messages[1]
    assert {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "rain"}]} == messages[2]
    items = responses(CLAUDE_TURNS)["input"]
    assert [None, "message", "function_call", "function_call_output"] == [item.get("type") for item in items]
    assert {"type": "function_call_output", "call_id": "1", "output": [{"type": "input_text", "text": "rain"}]} == items[-1]


def test_responses_items_are_translated_for_others() -> None:
    assert ["user", "assistant", "user"] == [message["role"] for message in claude(RESPONSES_ITEMS)["messages"]]
    messages = chat(RESPONSES_ITEMS)["messages"]
    assert ["user", "assistant", "tool"] == [message["role"] for message in messages]


def test_what_nobody_here_knows_is_passed_through() -> None:
    odd = {"type": "video_url", "video_url": {"url": "https://example.org/a.mp4"}}
    for dialect in DIALECTS:
        body = payload(ask([{"role": "user", "content": [{"type": "text", "text": "look"}, odd]}]), dialect)
        assert odd in (body.get("messages") or body["input"])[-1].get("content", []) or odd in body.get("input", [])


# ---- tools ----------------------------------------------------------------------------------------


def test_tools_in_each_shape() -> None:
    assert [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA, "description": "Tells it."}}] == chat(
        "hi", tools=[TOOL]
    )["tools"]
    assert [{"type": "function", "name": "weather", "description": "Tells it.", "parameters": SCHEMA, "strict": None}] == responses(
        "hi", tools=[TOOL]
    )["tools"]
    assert [{"name": "weather", "input_schema": SCHEMA, "description": "Tells it."}] == claude("hi", tools=[TOOL])["tools"]


@pytest.mark.parametrize(
    ("choice", "in_chat", "in_responses", "in_messages"),
    [
        ("auto", "auto", "auto", {"type": "auto"}),
        ("none", "none", "none", {"type": "none"}),
        ("required", "required", "required", {"type": "any"}),
        (
            "weather",
            {"type": "function", "function": {"name": "weather"}},
            {"type": "function", "name": "weather"},
            {"type": "tool", "name": "weather"},
        ),
    ],
)
def test_the_choice_of_a_tool_in_each_shape(choice: str, in_chat: object, in_responses: object, in_messages: object) -> None:
    assert in_chat == chat("hi", tools=[TOOL], tool_choice=choice)["tool_choice"]
    assert in_responses == responses("hi", tools=[TOOL], tool_choice=choice)["tool_choice"]
    assert in_messages == claude("hi", tools=[TOOL], tool_choice=choice)["tool_choice"]


def test_tool_dicts_reach_their_provider_unchanged_and_others_translated() -> None:
    own: dict[str, Callable[..., dict[str, Any]]] = {"chat": chat, "responses": responses, "claude": claude}
    shapes: dict[str, dict[str, Any]] = {
        "chat": {"type": "function", "function": {"name": "weather", "description": "Tells it.", "parameters": SCHEMA}},
        "responses": {"type": "function", "name": "weather", "description": "Tells it.", "parameters": SCHEMA, "strict": None},
        "claude": {"name": "weather", "description": "Tells it.", "input_schema": SCHEMA},
    }
    for write in shapes:
        for shape in shapes.values():
            assert [shapes[write]] == own[write]("hi", tools=[shape])["tools"]
    cached = {**shapes["claude"], "cache_control": {"type": "ephemeral"}}
    assert [cached] == claude("hi", tools=[cached])["tools"]


def test_a_providers_own_tool_passes() -> None:
    assert [{"type": "web_search"}] == responses("hi", tools=[{"type": "web_search"}])["tools"]
    search = {"type": "web_search_20250305", "name": "web_search"}
    assert [search] == claude("hi", tools=[search])["tools"]


def test_the_proof_of_a_call_goes_back_where_its_api_has_a_place_for_it() -> None:
    signed = sk.ToolCall("1", "now", "{}", signature="seal")
    call: dict[str, Any] = {"id": "1", "type": "function", "function": {"name": "now", "arguments": "{}"}}
    proof = {"google": {"thought_signature": "seal"}}
    assert [{**call, "extra_content": proof}] == chat([sk.Turn("assistant", (signed,))])["messages"][0]["tool_calls"]
    own: dict[str, Any] = {
        "role": "assistant",
        "content": [{"type": "output_text", "text": "a"}],
        "tool_calls": [{**call, "extra_content": proof}],
    }
    assert [{**call, "extra_content": proof}] == chat([own])["messages"][0]["tool_calls"]
    for odd in ({"google": None}, "seal", {"google": {"thought_signature": 7}}):
        assert [call] == chat([{**own, "tool_calls": [{**call, "extra_content": odd}]}])["messages"][0]["tool_calls"]
    assert "seal" not in repr(responses([sk.Turn("assistant", (signed,))])["input"])
    assert "seal" not in repr(claude([sk.Turn("assistant", (signed,))])["messages"])


CALLS = sk.Message(
    [
        sk.ReasoningDelta("hm", 0),
        sk.ReasoningDelta("", 0, signature="proof"),
        sk.TextDelta("well", 1),
        sk.ToolCall("1", "weather", '{"city":"Bonn"}', index=2),
        sk.ToolCall("2", "now", "", index=3),
    ]
)


def test_a_round_of_tools_in_each_shape() -> None:
    asked = ask("hi").then(CALLS, sk.ToolResult("1", {"sky": "grey"}), sk.ToolResult("2", "no clock", is_error=True), "and?")
    assert [
        {"role": "user", "content": "hi"},
        {
            "role": "assistant",
            "content": "well",
            "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Bonn"}'}},
                {"id": "2", "type": "function", "function": {"name": "now", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "1", "content": '{"sky":"grey"}'},
        {"role": "tool", "tool_call_id": "2", "content": "no clock"},
        {"role": "user", "content": "and?"},
    ] == chat(asked)["messages"]
    assert [
        {"role": "user", "content": "hi"},
        {"type": "message", "role": "assistant", "content": "well"},
        {"type": "function_call", "call_id": "1", "name": "weather", "arguments": '{"city":"Bonn"}'},
        {"type": "function_call", "call_id": "2", "name": "now", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "1", "output": '{"sky":"grey"}'},
        {"type": "function_call_output", "call_id": "2", "output": "no clock"},
        {"role": "user", "content": "and?"},
    ] == responses(asked)["input"]
    assert [
        {"role": "user", "content": "hi"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "proof"},
                {"type": "text", "text": "well"},
                {"type": "tool_use", "id": "1", "name": "weather", "input": {"city": "Bonn"}},
                {"type": "tool_use", "id": "2", "name": "now", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "1", "content": '{"sky":"grey"}'},
                {"type": "tool_result", "tool_use_id": "2", "content": "no clock", "is_error": True},
                {"type": "text", "text": "and?"},
            ],
        },
    ] == claude(asked)["messages"]


def test_reasoning_goes_back_to_whom_it_came_from_or_not_at_all() -> None:
    text = sk.TextDelta("a", 9)
    bare = sk.Turn.of(sk.Message([sk.ReasoningDelta("only read"), text]))
    sealed = sk.Turn.of(sk.Message([sk.ReasoningDelta("hm"), sk.ReasoningDelta("", signature="rs_1", redacted="sealed"), text]))
    hidden = sk.Turn.of(sk.Message([sk.ReasoningDelta("", redacted="hidden"), text]))
    proven = sk.Turn.of(sk.Message([sk.ReasoningDelta("hm"), sk.ReasoningDelta("", signature="proof"), text]))
    said = {"role": "assistant", "content": "a"}
    message = {"type": "message", **said}
    block = {"type": "text", "text": "a"}
    item = {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": "hm"}],
        "encrypted_content": "sealed",
    }
    assert [item, message] == responses([sealed])["input"]
    assert [{"type": "redacted_thinking", "data": "hidden"}, block] == claude([hidden])["messages"][0]["content"]
    thinking = {"type": "thinking", "thinking": "hm", "signature": "proof"}
    assert [thinking, block] == claude([proven])["messages"][0]["content"]
    for turn in (bare, sealed, hidden, proven):
        assert [said] == chat([turn])["messages"]
    for turn in (bare, hidden, proven):
        assert [message] == responses([turn])["input"]
    for turn in (bare, sealed):
        assert [block] == claude([turn])["messages"][0]["content"]


def test_pictures_in_results_go_where_they_can() -> None:
    turn = [sk.Turn("tool", (sk.ToolResult("1", ["see", PNG]),))]
    assert [
        {"type": "text", "text": "see"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": B64}},
    ] == claude(turn)["messages"][0]["content"][0]["content"]
    assert ["input_text", "input_image"] == [part["type"] for part in responses(turn)["input"][0]["output"]]
    with pytest.raises(ConfigError, match="no files in a tool's result"):
        chat(turn)


def test_a_result_that_is_no_json_and_arguments_that_are_no_object_are_refused() -> None:
    for dialect in DIALECTS:
        with pytest.raises(ConfigError, match="tool call '1' is no JSON value"):
            payload(ask([sk.Turn("tool", (sk.ToolResult("1", object()),))]), dialect)
    with pytest.raises(ConfigError, match="'now' are no object"):
        claude([sk.Turn("assistant", (sk.ToolCall("1", "now", "[1]"),))])
    with pytest.raises(RemoteProtocolError, match="are not JSON"):
        claude([sk.Turn("assistant", (sk.ToolCall("1", "now", "{"),))])


def test_empty_texts_are_not_sent_where_they_are_refused() -> None:
    turns = [sk.Turn("user", "hi"), sk.Turn("assistant", ""), sk.Turn("user", ("", "you"))]
    assert [{"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "text", "text": "you"}]}] == claude(turns)[
        "messages"
    ]


# ---- structured output ----------------------------------------------------------------------------


class Person(pydantic.BaseModel):
    name: str
    age: int = 3


def test_a_type_becomes_a_schema_in_each_shape() -> None:
    schema = {
        "title": "Answer",
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"enum": ["c", "f"]}},
        "required": ["city", "unit"],
        "additionalProperties": False,
    }
    assert {"type": "json_schema", "json_schema": {"name": "Answer", "schema": schema, "strict": True}} == chat(
        "hi", output=Answer
    )["response_format"]
    assert {"format": {"type": "json_schema", "name": "Answer", "schema": schema, "strict": True}} == responses(
        "hi", output=Answer
    )["text"]
    assert {"format": {"type": "json_schema", "schema": schema}} == claude("hi", output=Answer)["output_config"]


def test_strict_is_asked_for_only_where_the_schema_allows_it() -> None:
    form = chat("hi", output=Person)["response_format"]["json_schema"]
    assert ("Person", False, False) == (form["name"], form["strict"], form["schema"]["additionalProperties"])
    given = {"title": "A city!", **SCHEMA}
    form = chat("hi", output=given)["response_format"]["json_schema"]
    assert ("A_city", True, given) == (form["name"], form["strict"], form["schema"])
    form = chat("hi", output=list[int])["response_format"]["json_schema"]
    assert ("list", {"type": "array", "items": {"type": "integer"}}) == (form["name"], form["schema"])


# ---- the SDKs themselves --------------------------------------------------------------------------


RICH: dict[str, Any] = {
    "value": [
        sk.Turn("user", ("look", PNG, PDF)),
        sk.Turn.of(CALLS),
        sk.Turn("tool", (sk.ToolResult("1", "rain"), sk.ToolResult("2", "noon"))),
    ],
    "tools": [TOOL],
    "tool_choice": "auto",
    "system": "short",
    "output": Answer,
    "max_tokens": 9,
}


def test_azure_finds_its_deployment_and_gets_the_rest() -> None:
    sent: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(request)
        body = b'data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=body)

    with httpx2.Client(transport=httpx2.MockTransport(answer)) as http:
        azure = openai.AzureOpenAI(
            api_key="none", azure_endpoint="https://me.openai.azure.com", api_version="2024-10-21", http_client=http
        )
        model = sk.model("openai:deployed", client=azure, max_tokens=5)
        assert ["Hi"] == [event.text for event in model.stream("hi").iter() if isinstance(event, sk.TextDelta)]
    assert "/openai/deployments/deployed/chat/completions" == sent[0].url.path
    assert 5 == json.loads(sent[0].content)["max_completion_tokens"]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_sdk_given_the_same_values_sends_the_same_body(dialect: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    sent: list[dict[str, Any]] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(json.loads(request.content))
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=b"data: [DONE]\n\n")

    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    body = payload(ask(**RICH), dialect)
    with http:
        if dialect == "anthropic":
            anthropic.Anthropic(api_key="none", http_client=http).messages.create(**body).close()
        else:
            sdk = openai.OpenAI(api_key="none", http_client=http)
            (sdk.chat.completions.create(**body) if dialect == "openai-chat" else sdk.responses.create(**body)).close()
    assert [body] == sent


# ---- any conversation -----------------------------------------------------------------------------

WORDS = st.text(alphabet="ab ü\n", max_size=4)
IDS = st.sampled_from(["1", "2"])
SAID = st.one_of(
    WORDS, st.just(PNG), st.just(FAR), st.just(PDF), st.just(NOTE), st.builds(lambda t: {"type": "text", "text": t}, WORDS)
)
ANSWERED = st.one_of(
    WORDS,
    st.builds(sk.ToolCall, IDS, st.just("weather"), st.sampled_from(["", '{"city":"x"}'])),
    st.builds(sk.ReasoningDelta, WORDS, signature=st.sampled_from([None, "p"]), redacted=st.sampled_from([None, "r"])),
)
RESULTS = st.builds(sk.ToolResult, IDS, st.one_of(WORDS, st.none(), st.just({"a": [1]})), st.booleans())
TURNS = st.one_of(
    st.builds(sk.Turn, st.sampled_from(["system", "developer", "user", "assistant"]), WORDS),
    st.builds(sk.Turn, st.just("user"), st.lists(SAID, max_size=3)),
    st.builds(sk.Turn, st.just("assistant"), st.lists(ANSWERED, max_size=3)),
    st.builds(sk.Turn, st.just("tool"), st.lists(RESULTS, min_size=1, max_size=2)),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(TURNS, min_size=1, max_size=4), st.sampled_from([chat, responses, claude]))
def test_any_conversation_is_one_that_the_sdk_knows(turns: list[sk.Turn], write: Callable[..., dict[str, Any]]) -> None:
    body = write(turns)
    if write is claude:
        messages = body["messages"]
        assert all(before["role"] != after["role"] for before, after in pairwise(messages))
        assert all(message["content"] for message in messages)
