"""What a chunk of a chat completion costs in the frameworks that people stream with.

    python benchmarks/peers/clients.py BODY ROUNDS

Run by an interpreter of its own, because some of these pin other versions of the SDKs than the newest. BODY is a file
of JSON, a list of the pieces that the server writes. Prints JSON: microseconds of CPU per chunk for each
way, best of ROUNDS, with a hand-written loop among them to compare by. Same in-memory transport for all.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # its prices would be asked of the network

BLOCKS: list[bytes] = []
URL = "http://local.test/v1"


def client() -> Any:
    class InMemory(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            for block in BLOCKS:
                yield block

    def respond(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=InMemory(), request=request)

    return httpx.AsyncClient(transport=httpx.MockTransport(respond))


async def by_hand() -> int:
    import jiter

    texts = 0
    async with client().stream("POST", URL) as response:
        rest = b""
        async for piece in response.aiter_bytes():
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                if line.startswith(b"data: ") and line != b"data: [DONE]":
                    for choice in jiter.from_json(line[6:])["choices"]:
                        texts += bool(choice["delta"].get("content"))
    return texts


def openai_client() -> Any:
    import openai

    return openai.AsyncOpenAI(api_key="none", base_url=URL, http_client=client(), max_retries=0)


async def litellm_stream() -> int:
    import litellm

    litellm.suppress_debug_info = True
    texts = 0
    answer: Any = await litellm.acompletion(
        model="openai/gpt-x", messages=[{"role": "user", "content": "hi"}], stream=True, client=openai_client()
    )
    async for chunk in answer:
        texts += bool(chunk.choices[0].delta.content)
    return texts


async def pydantic_ai_stream() -> int:
    from pydantic_ai.direct import model_request_stream
    from pydantic_ai.messages import ModelRequest, PartDeltaEvent, PartStartEvent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    model = OpenAIChatModel("gpt-x", provider=OpenAIProvider(openai_client=openai_client()))
    texts = 0
    async with model_request_stream(model, [ModelRequest.user_text_prompt("hi")]) as events:
        async for event in events:
            texts += isinstance(event, PartDeltaEvent | PartStartEvent)
    return texts


async def langchain_stream() -> int:
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(model="gpt-x", api_key="none", base_url=URL, http_async_client=client(), max_retries=0)  # type: ignore[arg-type, unused-ignore]
    texts = 0
    async for chunk in model.astream("hi"):
        texts += bool(chunk.content)
    return texts


WAYS: dict[str, tuple[str, Callable[[], Coroutine[Any, Any, int]]]] = {
    "by hand": ("httpx", by_hand),
    "litellm": ("litellm", litellm_stream),
    "pydantic-ai": ("pydantic_ai", pydantic_ai_stream),
    "langchain": ("langchain_openai", langchain_stream),
}
DISTRIBUTIONS = {"by hand": "httpx", "litellm": "litellm", "pydantic-ai": "pydantic-ai-slim", "langchain": "langchain-openai"}


def main() -> None:
    BLOCKS.extend(piece.encode() for piece in json.loads(Path(sys.argv[1]).read_text("utf-8")))
    chunks = sum(b'"content"' in block for block in BLOCKS)
    found: dict[str, dict[str, Any]] = {}
    present = {name: way for name, (module, way) in WAYS.items() if importlib.util.find_spec(module) is not None}
    for turn in range(int(sys.argv[2]) + 1):
        for name, way in present.items():
            started = time.process_time()
            texts = asyncio.run(way())
            spent = (time.process_time() - started) / chunks * 1e6
            if turn == 0:  # imports and caches
                found[name] = {"us": spent, "version": version(DISTRIBUTIONS[name]), "texts": texts, "chunks": chunks}
            else:
                found[name]["us"] = min(found[name]["us"] if turn > 1 else spent, spent)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
