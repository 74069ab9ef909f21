"""`sk.from_openai`: whatever the SDK gives, told apart without importing it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest
from chat_bodies import DONE, answer, chunk, error
from sdk_wires import answering, httpx2, openai

import streamkit as sk
from streamkit.errors import ConfigError, RemoteProtocolError, StreamTruncated

pytestmark = [
    pytest.mark.anyio,
    # The SDK leaves generators of its own to the collector when its stream ends, and trio warns of that.
    pytest.mark.filterwarnings("ignore:Exception ignored in. <async_generator:pytest.PytestUnraisableExceptionWarning"),
]

CALL: dict[str, Any] = {"model": "m", "messages": [], "stream": True}


def sdk(pieces: list[bytes], *, sync: bool = False) -> Any:
    """The SDK over a transport that answers with these pieces."""
    transport = answering(pieces)
    if sync:
        return openai.OpenAI(api_key="none", base_url="http://x.test/v1", http_client=httpx2.Client(transport=transport))
    return openai.AsyncOpenAI(api_key="none", base_url="http://x.test/v1", http_client=httpx2.AsyncClient(transport=transport))


class Traced:
    """A stream that another library has wrapped to count what passes: it must not be passed by."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.seen = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def __aiter__(self) -> AsyncIterator[Any]:
        async for item in self._stream:
            self.seen += 1
            yield item


TOOLS = [
    chunk(role="assistant", reasoning_content="hm"),
    chunk(tool_calls=[{"index": 0, "id": "t1", "type": "function", "function": {"name": "add", "arguments": ""}}]),
    chunk(tool_calls=[{"index": 0, "function": {"arguments": '{"a":'}}]),
    chunk(tool_calls=[{"index": 0, "function": {"arguments": "1}"}}]),
    chunk(finish="tool_calls"),
    b'data: {"id":"c1","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8}}\n\n',
    DONE,
]


async def test_objects_and_bytes_give_the_same_events() -> None:
    for pieces in (answer("a", "日本"), TOOLS):
        from_bytes = await sk.from_openai(sdk(pieces).chat.completions.create(**CALL)).collect()
        traced = Traced(await sdk(pieces).chat.completions.create(**CALL))
        from_objects = await sk.from_openai(traced).collect()
        assert 0 < traced.seen
        # The SDK hides the end marker: a later count might be missing.
        assert from_bytes == [
            sk.Usage(event.input_tokens, event.output_tokens) if isinstance(event, sk.Usage) else event for event in from_objects
        ]
    message = sk.Message(from_bytes)
    assert ("hm", [("add", '{"a":1}', True)]) == (
        message.reasoning,
        [(call.name, call.arguments, call.complete) for call in message.tool_calls],
    )


async def test_an_unread_stream_of_the_sdk_is_read_from_the_response_underneath() -> None:
    # With the end marker seen, an answer without a finish reason is complete; the SDK's objects cannot tell.
    pieces = [chunk("a"), DONE]
    stream = await sdk(pieces).chat.completions.create(**CALL)
    assert [sk.Finish("other")] == (await sk.from_openai(stream).collect())[-1:]
    with pytest.raises(StreamTruncated):
        await sk.from_openai(Traced(await sdk(pieces).chat.completions.create(**CALL))).collect()


async def test_a_stream_with_a_decoder_of_its_own_is_left_to_it() -> None:
    class OwnDecoder:
        def __init__(self) -> None:
            self.used = False

        async def aiter_bytes(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[Any]:
            self.used = True
            async for _ in chunks:
                pass
            for body in ({"choices": [{"index": 0, "delta": {"content": "own"}, "finish_reason": "stop"}]},):
                yield openai._streaming.ServerSentEvent(data=json.dumps(body))

    stream = await sdk(answer("a")).chat.completions.create(**CALL)
    stream._decoder = own = OwnDecoder()
    assert "own" == await sk.from_openai(stream).join()
    assert own.used


async def test_a_callable_can_be_run_again() -> None:
    client = sdk(answer("a"))
    stream = sk.from_openai(lambda: client.chat.completions.create(**CALL))
    assert ("a", "a") == (await stream.join(), await stream.join())
    lazy = sk.from_openai(lambda: client.chat.completions.with_streaming_response.create(**CALL))
    assert ("a", "a") == (await lazy.join(), await lazy.join())
    with pytest.raises(sk.StreamConsumed):
        once = sk.from_openai(client.chat.completions.create(**CALL))
        await once.join()
        await once.join()


async def test_the_provider_is_openai_unless_told() -> None:
    for options, expected in (({}, "openai"), ({"provider": "vllm"}, "vllm"), ({"provider": None}, None)):
        first = await sk.from_openai(sdk(answer("a")).chat.completions.create(**CALL), **cast("Any", options)).first()
        assert sk.Start("c1", "m", expected) == first


async def test_an_error_of_the_stream_is_typed_or_an_event() -> None:
    pieces = [chunk("a"), error("no more", "insufficient_quota")]
    with pytest.raises(sk.RateLimitError) as caught:
        await sk.from_openai(sdk(pieces).chat.completions.create(**CALL)).collect()
    assert ("openai", False) == (caught.value.provider, caught.value.retryable)
    events = await sk.from_openai(sdk(pieces).chat.completions.create(**CALL), errors="yield").collect()
    assert isinstance(events[-1], sk.ErrorEvent)


async def test_an_error_that_the_sdk_raises_itself_passes_untouched() -> None:
    pieces = [chunk("a"), error("no more", "insufficient_quota")]
    run = sk.from_openai(Traced(await sdk(pieces).chat.completions.create(**CALL))).open()
    with pytest.raises(openai.APIError):
        async with run:
            async for _ in run:
                pass
    assert "a" == cast("sk.Message", run.partial).text


async def test_a_raw_response_without_stream_says_what_to_ask_for() -> None:
    body = b'{"id":"c","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"x"}}]}'
    client = sdk([body])
    with pytest.raises(RemoteProtocolError, match="stream: true"):
        await sk.from_openai(client.chat.completions.with_streaming_response.create(model="m", messages=[])).collect()


async def test_half_a_character_in_an_object_is_replaced() -> None:
    item = openai.types.chat.ChatCompletionChunk.model_validate(
        {"id": "c", "created": 1, "model": "m", "object": "chat.completion.chunk", "choices": []}
    )
    delta = openai.types.chat.chat_completion_chunk.ChoiceDelta.model_construct(content="a\ud83d")
    choice = openai.types.chat.chat_completion_chunk.Choice.model_construct(index=0, delta=delta, finish_reason="stop")
    assert "a\ufffd" == await sk.from_openai([item.model_copy(update={"choices": [choice]})]).join()


@pytest.mark.parametrize(
    ("call", "kind", "word"),
    [
        (lambda: sk.from_openai("text"), TypeError, "not a stream"),
        (lambda: sk.from_openai(None), TypeError, "NoneType"),
        (lambda: sk.from_openai([], errors=cast("Any", "no")), ConfigError, "raise"),
    ],
)
def test_wrong_arguments_fail_at_the_call(call: Callable[[], object], kind: type[Exception], word: str) -> None:
    with pytest.raises(kind, match=word):
        call()


def test_no_sdk_and_no_http_client_is_imported() -> None:
    program = (
        "import asyncio, sys, streamkit as sk\n"
        "asyncio.run(sk.from_openai([{'choices': [{'delta': {'content': 'a'}, 'finish_reason': 'stop'}]}]).collect())\n"
        "sk.model('local')\n"
        "found = {'openai', 'httpx', 'httpx2', 'pydantic', 'requests', 'aiohttp'} & set(sys.modules)\n"
        "assert not found, found\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=150)
