"""A real llama.cpp server, through the OpenAI SDK, its raw response and plain HTTP: one answer, and no stream left open."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import anyio
import pytest

import streamkit as sk
from streamkit.clients.decoding import decode
from streamkit.clients.openai import from_openai

httpx: Any = pytest.importorskip("httpx")
httpx2: Any = pytest.importorskip("httpx2")
openai: Any = pytest.importorskip("openai")

pytestmark = [
    pytest.mark.anyio,
    # Left before its end, a response of httpx or httpx2 leaves generators of its own to the collector, in a plain loop too;
    # trio warns of that. The response itself is closed, which is what these tests look at.
    pytest.mark.filterwarnings("ignore:Exception ignored in. <async_generator:pytest.PytestUnraisableExceptionWarning"),
]

QUESTION: dict[str, Any] = {
    "model": "tiny-random",
    "messages": [{"role": "user", "content": "What is a stream?"}],
    "stream": True,
    "temperature": 0,
    "seed": 1,
    "max_tokens": 60,
}
ENDLESS: dict[str, Any] = {**QUESTION, "max_tokens": 30_000, "extra_body": {"ignore_eos": True}}


@pytest.fixture(scope="module")
def expected(llama: str) -> str:
    """The answer, put together by hand from the body of one plain request."""
    body = httpx.post(f"{llama}/v1/chat/completions", json=QUESTION, timeout=60).content.decode()
    chunks = [json.loads(line[6:]) for line in body.split("\n") if line.startswith("data: {")]
    text = "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])
    assert 20 < len(text)
    return text


def sync_client(llama: str) -> Any:
    return openai.OpenAI(base_url=f"{llama}/v1", api_key="not-used", max_retries=0)


def async_client(llama: str) -> Any:
    return openai.AsyncOpenAI(base_url=f"{llama}/v1", api_key="not-used", max_retries=0)


ASYNC_WAYS: dict[str, Callable[[Any], Any]] = {
    "an un-awaited create": lambda client: client.chat.completions.create(**QUESTION),
    "a raw response that is not entered": lambda client: client.chat.completions.with_streaming_response.create(**QUESTION),
    "a raw response of the older kind": lambda client: client.chat.completions.with_raw_response.create(**QUESTION),
    "a callable": lambda client: lambda: client.chat.completions.create(**QUESTION),
    "the stream helper": lambda client: client.chat.completions.stream(**{k: v for k, v in QUESTION.items() if k != "stream"}),
}
SYNC_WAYS: dict[str, Callable[[Any], Any]] = {**ASYNC_WAYS, "a created stream": ASYNC_WAYS["an un-awaited create"]}


@pytest.mark.parametrize("way", ASYNC_WAYS)
async def test_the_async_sdk_gives_the_same_text(way: str, llama: str, expected: str) -> None:
    async with async_client(llama) as client:
        message = await from_openai(ASYNC_WAYS[way](client)).message()
    assert expected == message.text
    assert message.finish is not None
    assert "length" == message.finish.reason
    assert "tiny-random" == message.model


async def test_a_created_stream_of_the_async_sdk_gives_the_same_text(llama: str, expected: str) -> None:
    async with async_client(llama) as client:
        stream = await client.chat.completions.create(**QUESTION)
        assert expected == await from_openai(stream).join()
        assert stream.response.is_closed


async def test_an_sdk_stream_that_was_begun_is_read_on_chunk_by_chunk(llama: str, expected: str) -> None:
    async with async_client(llama) as client:
        stream = await client.chat.completions.create(**QUESTION)
        first = [await stream.__anext__() for _ in range(3)]
        text = "".join(chunk.choices[0].delta.content or "" for chunk in first)
        assert expected == text + await from_openai(stream).join()


async def test_an_entered_raw_response_gives_the_same_text(llama: str, expected: str) -> None:
    async with (
        async_client(llama) as client,
        client.chat.completions.with_streaming_response.create(**QUESTION) as response,
    ):
        assert expected == await from_openai(response).join()
        assert response.is_closed


async def test_a_raw_response_is_bytes_for_decode_too(llama: str, expected: str) -> None:
    async with async_client(llama) as client:
        raw = client.chat.completions.with_streaming_response.create(**QUESTION)
        assert expected == await decode(raw, "openai-chat").join()


@pytest.mark.parametrize("way", SYNC_WAYS)
async def test_the_sync_sdk_gives_the_same_text(way: str, llama: str, expected: str) -> None:
    with sync_client(llama) as client:
        assert expected == await from_openai(SYNC_WAYS[way](client)).join()


def test_the_sync_sdk_serves_a_plain_loop(llama: str, expected: str) -> None:
    with sync_client(llama) as client:
        events = list(from_openai(client.chat.completions.create(**QUESTION)).iter())
    assert expected == sk.Message(events).text


@pytest.mark.parametrize("library", [httpx, httpx2], ids=lambda library: str(library.__name__))
async def test_plain_http_gives_the_same_text(library: Any, llama: str, expected: str) -> None:
    url = f"{llama}/v1/chat/completions"
    # The server closes its connections when it likes: one that was kept may be dead by the next request.
    once = {"connection": "close"}
    async with library.AsyncClient(timeout=60, headers=once) as client:
        async with client.stream("POST", url, json=QUESTION) as response:
            assert expected == await decode(response, "openai-chat").join()
        assert expected == await decode(client.stream("POST", url, json=QUESTION), "openai-chat").join()
        again = decode(lambda: client.stream("POST", url, json=QUESTION), "openai-chat")
        assert (expected, expected) == (await again.join(), await again.join())
        whole = await client.post(url, json=QUESTION)
        assert expected == await decode(whole, "openai-chat").join()
    with library.Client(timeout=60, headers=once) as client:
        assert expected == await decode(client.stream("POST", url, json=QUESTION), "openai-chat").join()
        with client.stream("POST", url, json=QUESTION) as response:
            assert expected == await decode(response, "openai-chat").join()


@pytest.mark.parametrize("way", ["object stream", "raw response", "sync object stream", "sync raw response"])
async def test_leaving_after_ten_events_frees_the_server(way: str, llama: str) -> None:
    client = sync_client(llama) if "sync" in way else async_client(llama)
    create = client.chat.completions.create
    if "raw" in way:
        create = client.chat.completions.with_streaming_response.create
    source = create(**ENDLESS)
    if way == "object stream":
        source = await source  # its variable lives on: dropping it must not be what closes it
    got = 0
    async with from_openai(source) as events:
        async for _ in events:
            got += 1
            if got == 10:
                assert _busy(llama)
                break
    assert 10 == got
    assert await _idle_within(llama, 30.0)
    assert source is not None
    if "sync" in way:
        client.close()
    else:
        await client.close()


async def test_leaving_plain_http_frees_the_server(llama: str) -> None:
    body = {**{name: value for name, value in ENDLESS.items() if name != "extra_body"}, "ignore_eos": True}
    async with httpx2.AsyncClient(timeout=60) as client:
        stream = decode(client.stream("POST", f"{llama}/v1/chat/completions", json=body), "openai-chat")
        assert 10 == len(await stream.take(10).collect())
        assert await _idle_within(llama, 30.0)


async def test_a_cancelled_reader_frees_the_server(llama: str) -> None:
    async with async_client(llama) as client:
        stream = await client.chat.completions.create(**ENDLESS)
        seen = 0
        with anyio.CancelScope() as scope:
            async with from_openai(stream) as events:
                async for _ in events:
                    seen += 1
                    if seen == 10:
                        scope.cancel()
        assert scope.cancelled_caught
        assert await _idle_within(llama, 30.0)


async def test_what_the_server_refuses_is_the_sdks_own_error(llama: str) -> None:
    async with async_client(llama) as client:
        refused = {**QUESTION, "messages": "not a list"}
        with pytest.raises(openai.APIStatusError) as caught:
            await from_openai(client.chat.completions.create(**refused)).collect()
    assert type(caught.value).__module__.startswith("openai")


def _busy(llama: str) -> bool:
    slots = httpx.get(f"{llama}/slots", timeout=60).json()
    return any(slot["is_processing"] for slot in slots)


async def _idle_within(llama: str, seconds: float) -> bool:
    """Whether the server stops by then: it would go on for a minute if nobody had left."""
    end = time.monotonic() + seconds
    while _busy(llama):
        if time.monotonic() > end:
            return False
        await anyio.sleep(0.02)  # another process's state: it can only be asked
    return True
