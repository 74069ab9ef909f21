"""`sk.from_anthropic`: what only this SDK does: derived events, pings, errors in mid-stream, clients of other clouds."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from sdk_wires import MESSAGES, answering, anthropic, httpx2

import streamkit as sk

pytestmark = [
    pytest.mark.anyio,
    # The SDK leaves generators of its own to the collector when its stream ends, and trio warns of that.
    pytest.mark.filterwarnings("ignore:Exception ignored in. <async_generator:pytest.PytestUnraisableExceptionWarning"),
]

PING = b'event: ping\ndata: {"type": "ping"}\n\n'
OVERLOADED = MESSAGES.frame({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})


def block(index: int, opening: dict[str, object], *deltas: dict[str, object]) -> list[dict[str, object]]:
    """A content block as it comes."""
    return [
        {"type": "content_block_start", "index": index, "content_block": opening},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


EVERYTHING: list[object] = [
    MESSAGES.opening[0],
    *block(
        0,
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "thinking_delta", "thinking": "hm"},
        {"type": "thinking_delta", "thinking": "!"},
        {"type": "signature_delta", "signature": "c2ln"},
    ),
    *block(
        1,
        {"type": "text", "text": "", "citations": []},
        {
            "type": "citations_delta",
            "citation": {
                "type": "web_search_result_location",
                "url": "http://x.test/a",
                "title": "A",
                "cited_text": "a",
                "encrypted_index": "e",
            },
        },
        {"type": "text_delta", "text": "Hel"},
        {"type": "text_delta", "text": "lo"},
    ),
    *block(
        2,
        {"type": "tool_use", "id": "t1", "name": "add", "input": {}},
        {"type": "input_json_delta", "partial_json": '{"a":'},
        {"type": "input_json_delta", "partial_json": "1}"},
    ),
    {"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": None}, "usage": {"output_tokens": 9}},
    {"type": "message_stop"},
]
BODY = b"".join(MESSAGES.frame(value) for value in EVERYTHING)


async def told_by(manager: Any, kinds: list[str]) -> AsyncIterator[Any]:
    async with manager as helper:
        async for event in helper:
            kinds.append(event.type)
            yield event


async def test_events_that_the_helper_makes_up_are_not_counted_twice() -> None:
    kinds: list[str] = []
    client = MESSAGES.client(sync=False, transport=answering([BODY]))
    events = await sk.from_anthropic(told_by(MESSAGES.ask(client, "stream"), kinds)).collect()
    assert {"text", "input_json", "thinking", "signature", "citation"} <= set(kinds)
    assert await sk.decode([BODY], "anthropic", provider="anthropic").collect() == events
    message = sk.Message(events)
    assert ("hm!", "Hello", [{"a": 1}]) == (message.reasoning, message.text, [call.input() for call in message.tool_calls])


async def test_events_of_the_beta_helper_are_not_counted_twice() -> None:
    kinds: list[str] = []
    client = MESSAGES.client(sync=False, transport=answering([BODY]))
    beta = client.beta.messages.stream(**MESSAGES.arguments)
    events = await sk.from_anthropic(told_by(beta, kinds)).collect()
    assert {"text", "input_json"} <= set(kinds)
    assert await sk.decode([BODY], "anthropic", provider="anthropic").collect() == events


async def test_what_the_helper_adds_to_an_event_is_not_written_down() -> None:
    # All that came so far, in each: written down, a long answer would cost the square of its length.
    class Snapshot:
        @property
        def __dict__(self) -> dict[str, object]:  # type: ignore[override]  # whoever reads this object fails
            raise AssertionError("a snapshot was read")

    opening, start, *_ = EVERYTHING
    stop = anthropic.types.RawContentBlockStopEvent.model_construct(type="content_block_stop", index=0, content_block=Snapshot())
    end = anthropic.types.RawMessageStopEvent.model_construct(type="message_stop", message=Snapshot())
    delta = anthropic.types.RawMessageDeltaEvent.model_validate(EVERYTHING[-2])
    text = anthropic.lib.streaming.TextEvent.model_construct(type="text", text="made up", snapshot=Snapshot())
    assert "" == await sk.from_anthropic([opening, start, text, stop, delta, end]).join()


async def test_a_final_message_is_still_there_for_whoever_entered_the_helper() -> None:
    client = MESSAGES.client(sync=False, transport=answering([BODY]))
    async with MESSAGES.ask(client, "stream") as helper:
        message = await sk.from_anthropic(helper).message()
        final = await helper.get_final_message()
    assert message.text == "".join(part.text for part in final.content if part.type == "text")
    assert message.usage is not None
    assert message.usage.output_tokens == final.usage.output_tokens


async def test_pings_do_no_harm_wherever_they_stand() -> None:
    frames = [MESSAGES.frame(value) for value in EVERYTHING]
    pieces = [PING, *(frame + PING for frame in frames)]
    plain = await sk.from_anthropic([BODY]).collect()
    client = MESSAGES.client(sync=False, transport=answering(pieces))
    assert plain == await sk.from_anthropic(MESSAGES.ask(client, "create")).collect()


async def test_an_error_in_mid_stream_is_typed_with_what_came() -> None:
    frames = [MESSAGES.frame(value) for value in (*MESSAGES.opening, MESSAGES.text("half"))]
    client = MESSAGES.client(sync=False, transport=answering([*frames, OVERLOADED]))
    with pytest.raises(sk.OverloadedError, match="Overloaded") as caught:
        await sk.from_anthropic(MESSAGES.ask(client, "create")).collect()
    assert ("anthropic", True) == (caught.value.provider, caught.value.retryable)
    assert isinstance(caught.value.partial, sk.Message)
    assert "half" == caught.value.partial.text
    events = await sk.from_anthropic(MESSAGES.ask(client, "create"), errors="yield").collect()
    assert isinstance(events[-1], sk.ErrorEvent)


async def test_an_error_that_the_sdk_raises_itself_passes_untouched() -> None:
    async def passed_on() -> AsyncIterator[Any]:
        async for event in await MESSAGES.ask(client, "create"):
            yield event

    frames = [MESSAGES.frame(value) for value in (*MESSAGES.opening, MESSAGES.text("half"))]
    client = MESSAGES.client(sync=False, transport=answering([*frames, OVERLOADED]))
    run = sk.from_anthropic(passed_on()).open()
    with pytest.raises(anthropic.APIStatusError):
        async with run:
            async for _ in run:
                pass
    assert isinstance(run.partial, sk.Message)
    assert "half" == run.partial.text


async def test_what_the_server_refuses_is_the_sdks_own_error() -> None:
    def refuse(request: Any) -> Any:
        return httpx2.Response(401, json={"type": "error", "error": {"type": "authentication_error", "message": "no"}})

    client = MESSAGES.client(sync=False, transport=httpx2.MockTransport(refuse))
    for way in ("create", "stream", "with_streaming_response.create"):
        with pytest.raises(anthropic.AuthenticationError):
            await sk.from_anthropic(MESSAGES.ask(client, way)).collect()


async def test_streams_of_bedrock_are_read_event_by_event() -> None:
    bedrock = pytest.importorskip("anthropic.lib.bedrock._stream")

    class Named:
        """Stands for the decoder of Amazon's wire: it gives what that one gives."""

        def aiter_bytes(self, chunks: AsyncIterator[bytes]) -> Any:
            return anthropic._streaming.SSEDecoder().aiter_bytes(chunks)

        def iter_bytes(self, chunks: Iterator[bytes]) -> Any:
            return anthropic._streaming.SSEDecoder().iter_bytes(chunks)

    expected = await sk.decode([BODY], "anthropic", provider="anthropic").collect()
    for sync, kind in ((False, "AsyncBedrockStream"), (True, "BedrockStream")):
        client = MESSAGES.client(sync=sync, transport=answering([BODY]))
        given = MESSAGES.ask(client, "create")
        plain = given if sync else await given
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(bedrock, "AWSEventStreamDecoder", Named)
            stream = getattr(bedrock, kind)(cast_to=plain._cast_to, response=plain.response, client=client)
        assert expected == await sk.from_anthropic(stream).collect()


def test_no_sdk_and_no_http_client_is_imported() -> None:
    program = (
        "import asyncio, sys, streamkit as sk\n"
        "events = [{'type': 'message_start', 'message': {}}, {'type': 'message_delta', 'delta': {'stop_reason': 'end_turn'}},\n"
        "          {'type': 'message_stop'}]\n"
        "asyncio.run(sk.from_anthropic(events).collect())\n"
        "found = {'anthropic', 'openai', 'httpx', 'httpx2', 'pydantic', 'requests', 'aiohttp'} & set(sys.modules)\n"
        "assert not found, found\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=150)
