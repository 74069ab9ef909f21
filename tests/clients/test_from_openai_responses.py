"""`sk.from_openai` over the Responses API: told from chat completions by what comes, not by what was asked."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sdk_wires import CHAT, RESPONSES, answering, httpx2, openai

import streamkit as sk

pytestmark = [
    pytest.mark.anyio,
    # The SDK leaves generators of its own to the collector when its stream ends, and trio warns of that.
    pytest.mark.filterwarnings("ignore:Exception ignored in. <async_generator:pytest.PytestUnraisableExceptionWarning"),
]


def unnamed(body: bytes) -> bytes:
    """The same frames without their names, as some gateways send them."""
    return b"".join(line for line in body.splitlines(keepends=True) if not line.startswith(b"event:"))


async def test_the_first_frame_says_which_api_it_is() -> None:
    for wire in (CHAT, RESPONSES):
        # Bytes without a request: nothing else could say it.
        assert "ab" == await sk.from_openai([wire.body("a", "b")]).join()
        assert "ab" == await sk.from_openai([unnamed(wire.body("a", "b"))]).join()


async def test_signs_of_life_before_the_first_frame_say_nothing() -> None:
    alive = b'event: keepalive\ndata: {"type":"keepalive","sequence_number":0}\n\n: still here\n\ndata:\n\n'
    assert "a" == await sk.from_openai([alive, RESPONSES.body("a")]).join()
    assert "a" == await sk.from_openai([alive, CHAT.body("a")]).join()


async def test_one_callable_may_give_either() -> None:
    bodies = [CHAT.body("chat"), RESPONSES.body("responses")]
    stream = sk.from_openai(lambda: [bodies.pop(0)])
    assert ("chat", "responses") == (await stream.join(), await stream.join())


@pytest.mark.parametrize("named", [True, False], ids=["named", "unnamed"])
async def test_an_error_before_anything_else_is_typed(named: bool) -> None:
    said = {"type": "error", "code": "rate_limit_exceeded", "message": "slow down", "param": None, "sequence_number": 1}
    body = RESPONSES.frame(said)
    with pytest.raises(sk.RateLimitError, match="slow down") as caught:
        await sk.from_openai([body if named else unnamed(body)]).collect()
    assert "openai" == caught.value.provider


async def test_a_body_that_says_nothing_is_truncated() -> None:
    with pytest.raises(sk.StreamTruncated, match="before the answer began"):
        await sk.from_openai([b": hello\n\n"]).collect()


async def test_snapshots_of_the_helper_are_not_counted() -> None:
    call: dict[str, Any] = {"id": "f1", "type": "function_call", "call_id": "t1", "name": "add", "arguments": ""}
    place = {"item_id": "f1", "output_index": 0}
    done = {**call, "arguments": '{"a":1}', "status": "completed"}
    whole = {**RESPONSES.opening[0]["response"], "status": "completed", "output": [done]}  # type: ignore[index]  # a value of JSON
    said: list[dict[str, Any]] = [
        {"type": "response.output_item.added", "output_index": 0, "item": call},
        {"type": "response.function_call_arguments.delta", "delta": '{"a"', **place},
        {"type": "response.function_call_arguments.delta", "delta": ":1}", **place},
        {"type": "response.function_call_arguments.done", "arguments": '{"a":1}', "name": "add", **place},
        {"type": "response.output_item.done", "output_index": 0, "item": done},
        {"type": "response.completed", "response": whole},
    ]
    body = RESPONSES.frame(RESPONSES.opening[0]) + b"".join(
        RESPONSES.frame({**value, "sequence_number": number}) for number, value in enumerate(said, start=1)
    )
    client = RESPONSES.client(sync=False, transport=answering([body]))

    async def told() -> AsyncIterator[Any]:
        async with RESPONSES.ask(client, "stream") as helper:
            async for event in helper:
                yield event

    events = await sk.from_openai(told()).collect()
    assert await sk.decode([body], "openai-responses", provider="openai").collect() == events
    assert ['{"a"', ":1}"] == [event.delta for event in events if isinstance(event, sk.ToolCallDelta)]
    assert [("t1", "add", {"a": 1})] == [(call.id, call.name, call.input()) for call in sk.Message(events).tool_calls]


async def test_a_parsed_answer_of_the_helper_is_no_obstacle() -> None:
    import pydantic

    class Sum(pydantic.BaseModel):
        a: int

    client = RESPONSES.client(sync=False, transport=answering([RESPONSES.body('{"a":', "1}")]))
    async with RESPONSES.ask(client, "stream", text_format=Sum) as helper:
        message = await sk.from_openai(helper).message()
        assert '{"a":1}' == message.text
        assert Sum(a=1) == (await helper.get_final_response()).output_parsed


async def test_a_resumed_answer_is_told_from_where_it_was_left() -> None:
    client = RESPONSES.client(sync=False, transport=answering([RESPONSES.body("a", "b")]))
    helper = client.responses.stream(response_id="r1", starting_after=4)
    # Nothing underneath may be read here: the events up to the fourth were seen, and the helper leaves them out.
    run = sk.from_openai(helper).open()
    events: list[sk.Event] = []
    async with run:
        async for event in run:
            events.append(event)
    assert not [event for event in events if isinstance(event, sk.TextDelta) and event.text == "a"]


async def test_half_a_character_in_an_object_is_replaced() -> None:
    kind = openai.types.responses.ResponseTextDeltaEvent
    values = [json.loads(line[6:]) for line in RESPONSES.body("a").decode().splitlines() if line.startswith("data:")]
    events: list[Any] = [
        kind.model_construct(**{**value, "delta": "a\ud83d"}) if value["type"] == "response.output_text.delta" else value
        for value in values
    ]
    deltas = [event.text async for event in sk.from_openai(events) if isinstance(event, sk.TextDelta)]
    assert "a\ufffd" == deltas[0]


async def test_azure_gives_the_same() -> None:
    transport = answering([RESPONSES.body("a", "b")])
    http = httpx2.AsyncClient(transport=transport)
    client = openai.AsyncAzureOpenAI(api_key="none", azure_endpoint="http://x.test", api_version="v1", http_client=http)
    assert "ab" == await sk.from_openai(RESPONSES.ask(client, "create")).join()
    chat = httpx2.AsyncClient(transport=answering([CHAT.body("a", "b")]))
    client = openai.AsyncAzureOpenAI(api_key="none", azure_endpoint="http://x.test", api_version="v1", http_client=chat)
    assert "ab" == await sk.from_openai(CHAT.ask(client, "create")).join()
