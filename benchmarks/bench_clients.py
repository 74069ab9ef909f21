"""What a chunk costs on its way from a response to an event.

    python benchmarks/bench_clients.py [rounds]

CPU time per chunk, the best of several rounds, both sides in one process and on the same bytes. The transport is in
memory, so that neither side's figure has a kernel or a server in it: what is measured is the client. Chunks look like
those of chat completions as OpenAI sends them, one per read, made here.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias, TypedDict

import streamkit as sk

CHUNKS = 4_000

Body: TypeAlias = list[bytes]


class Row(TypedDict):
    """One comparison, as `run.py` describes it: at most `hold` times the peer ("most"), or at most so much ("figure")."""

    what: str
    ours: float | None
    peer: float | None
    peer_name: str
    unit: str
    ratio: float | None
    hold: float | None
    bound: str


def body() -> Body:
    """An answer, one block of the wire per read."""
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-x", "service_tier": "default"}
    blocks: Body = []
    for number in range(CHUNKS):
        choice = {"index": 0, "delta": {"content": f" word{number % 97}"}, "logprobs": None, "finish_reason": None}
        chunk = {**head, "system_fingerprint": "fp_1", "choices": [choice], "usage": None, "obfuscation": "a1B2c3"[: number % 6]}
        blocks.append(b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n")
    last = {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    return [*blocks, b"data: " + json.dumps(last).encode() + b"\n\n", b"data: [DONE]\n\n"]


def client(blocks: Body) -> Any:
    """An HTTP client whose server is in this process."""
    import httpx2

    class InMemory(httpx2.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            for block in blocks:
                yield block

    def respond(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, stream=InMemory())

    return httpx2.AsyncClient(transport=httpx2.MockTransport(respond))


def sdk(blocks: Body) -> Any:
    """The OpenAI SDK over such a client."""
    import openai

    return openai.AsyncOpenAI(api_key="none", base_url="http://local.test/v1", http_client=client(blocks), max_retries=0)


async def by_hand(blocks: Body) -> int:
    """What a careful person writes without any library: lines, JSON, the text out of each chunk."""
    import jiter

    texts: list[str] = []
    async with client(blocks).stream("POST", "http://local.test/v1") as response:
        data: list[bytes] = []
        rest = b""
        async for piece in response.aiter_bytes():
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                line = line.removesuffix(b"\r")
                if line.startswith(b"data:"):
                    data.append(line[5:].removeprefix(b" "))
                elif not line and data:
                    value = b"\n".join(data)
                    data.clear()
                    if value == b"[DONE]":
                        break
                    for choice in jiter.from_json(value)["choices"]:
                        if text := choice["delta"].get("content"):
                            texts.append(text)
    return len(texts)


async def decoded(blocks: Body) -> int:
    """Plain HTTP through `sk.decode`."""
    texts = 0
    async with sk.decode(client(blocks).stream("POST", "http://local.test/v1"), "openai-chat") as events:
        async for event in events:
            if event.__class__ is sk.TextDelta:
                texts += 1
    return texts


async def sdk_stream(blocks: Body) -> int:
    """The SDK's own stream of objects."""
    texts = 0
    async for chunk in await sdk(blocks).chat.completions.create(model="m", messages=[], stream=True):
        for choice in chunk.choices:
            if choice.delta.content:
                texts += 1
    return texts


async def from_raw(blocks: Body) -> int:
    """The SDK's raw response through `sk.from_openai`."""
    return await _texts(
        sk.from_openai(sdk(blocks).chat.completions.with_streaming_response.create(model="m", messages=[], stream=True))
    )


async def from_stream(blocks: Body) -> int:
    """The SDK's stream object through `sk.from_openai`, which reads the response underneath."""
    return await _texts(sk.from_openai(sdk(blocks).chat.completions.create(model="m", messages=[], stream=True)))


async def from_objects(blocks: Body) -> int:
    """The SDK's objects through `sk.from_openai`, as with a stream that somebody else has wrapped."""

    async def wrapped() -> AsyncIterator[Any]:
        async for chunk in await sdk(blocks).chat.completions.create(model="m", messages=[], stream=True):
            yield chunk

    return await _texts(sk.from_openai(wrapped()))


def chunk_objects(blocks: Body) -> list[Any]:
    """The chunks as the SDK's objects."""
    from openai.types.chat import ChatCompletionChunk

    return [ChatCompletionChunk.model_validate_json(block[6:]) for block in blocks[:-1]]


async def _texts(stream: sk.Stream[sk.Event]) -> int:
    texts = 0
    async with stream as events:
        async for event in events:
            if event.__class__ is sk.TextDelta:
                texts += 1
    return texts


def rows(rounds: int = 5) -> list[Row]:
    """All comparisons; a peer that is not installed is named, with no figure."""
    blocks = body()
    ways: list[Callable[[Body], Awaitable[int]]] = [decoded]
    hand, sdks = _installed("httpx2", "jiter"), _installed("httpx2", "openai")
    if hand:
        ways.append(by_hand)
    if sdks:
        ways += [sdk_stream, from_raw, from_stream, from_objects]
    if not _installed("httpx2"):
        return [_row("wire to event", None, None, "httpx2 (not installed)", None)]
    cost = _measure(ways, blocks, rounds)
    found = [_row("wire to event, per chunk", cost[decoded], cost.get(by_hand), "httpx2 + minimal SSE + jiter", 1.5)]
    if sdks:
        found.append(_row("raw response, per chunk", cost[from_raw], cost[sdk_stream], "openai SDK stream", 0.2))
        found.append(_row("object stream, per chunk", cost[from_stream], cost[sdk_stream], "openai SDK stream", 0.2))
        found.append(_row("wrapped object stream, per chunk", cost[from_objects], cost[sdk_stream], "openai SDK stream", None))
        objects = chunk_objects(blocks)

        async def adapted(_: Body) -> int:
            return await _texts(sk.from_openai(objects))

        # What the adapter adds to objects that are there already.
        cost.update(_measure([adapted], blocks, rounds))
        found.append(_row("SDK object to event, per chunk", cost[adapted], None, "no peer", 5.0, bound="figure"))
    else:
        found.append(_row("raw response, per chunk", None, None, "openai SDK stream (not installed)", 0.2))
    if not _installed("litellm"):
        found.append(_row("wire to event, per chunk", cost[decoded], None, "litellm (not installed)", None))
    return found


def _row(what: str, ours: float | None, peer: float | None, peer_name: str, hold: float | None, *, bound: str = "most") -> Row:
    ratio = None if ours is None or peer is None else round(ours / peer, 3)
    return Row(
        what=what,
        ours=None if ours is None else round(ours, 2),
        peer=None if peer is None else round(peer, 2),
        peer_name=peer_name,
        unit="us CPU",
        ratio=ratio,
        hold=hold,
        bound=bound,
    )


def _measure(
    ways: list[Callable[[Body], Awaitable[int]]], blocks: Body, rounds: int
) -> dict[Callable[[Body], Awaitable[int]], float]:
    """Microseconds of CPU per chunk for each way: the best round, the ways taking turns."""
    best = dict.fromkeys(ways, float("inf"))
    for way in ways:  # imports and caches
        _once(way, blocks)
    for _ in range(rounds):
        for way in ways:
            started = time.process_time()
            texts = _once(way, blocks)
            best[way] = min(best[way], (time.process_time() - started) / CHUNKS * 1e6)
            assert texts == CHUNKS, f"{way.__name__} lost text: {texts} of {CHUNKS}"
    return best


def _once(way: Callable[[Body], Awaitable[int]], blocks: Body) -> int:
    async def run() -> int:
        return await way(blocks)

    return asyncio.run(run())


def _installed(*names: str) -> bool:
    return all(importlib.util.find_spec(name) is not None for name in names)


def main() -> None:
    for row in rows(int(sys.argv[1]) if len(sys.argv) > 1 else 5):
        ours = "-" if row["ours"] is None else f"{row['ours']:.2f}"
        peer = "-" if row["peer"] is None else f"{row['peer']:.2f}"
        ratio = "-" if row["ratio"] is None else f"{row['ratio']:.3f}"
        hold = "-" if row["hold"] is None else f"<= {row['hold']}"
        print(f"{row['what']:34} {ours:>8} {row['unit']:7} {peer:>8} {row['peer_name']:34} {ratio:>7} {hold}")


if __name__ == "__main__":
    main()
