"""The three wires that two SDKs speak, and every way in which the SDKs give a stream: for table-driven tests.

A `Wire` makes the SDK's client, says how each way is called, and writes bodies of its vocabulary by hand.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

import streamkit as sk

httpx2: Any = pytest.importorskip("httpx2")
openai: Any = pytest.importorskip("openai")
anthropic: Any = pytest.importorskip("anthropic")

WAYS = ["create", "with_streaming_response.create", "with_raw_response.create", "stream"]


@dataclass(frozen=True)
class Wire:
    """One API of one SDK."""

    name: str
    dialect: str
    path: str
    adapter: Callable[..., sk.Stream[sk.Event]]
    arguments: dict[str, Any]
    api: Callable[[Any], Any]
    frame: Callable[[object], bytes]
    text: Callable[[str], object]
    opening: tuple[object, ...]
    ending: Callable[[str], tuple[object, ...]]

    def client(self, *, sync: bool, base_url: str = "http://x.test", transport: Any = None, **options: Any) -> Any:
        """The SDK's client on this address, or on a transport that stands for one."""
        if transport is not None:
            options["http_client"] = (httpx2.Client if sync else httpx2.AsyncClient)(transport=transport)
        module = anthropic if self.name.startswith("messages") else openai
        kind = getattr(module, ("" if sync else "Async") + ("Anthropic" if module is anthropic else "OpenAI"))
        root = base_url if module is anthropic else f"{base_url}/v1"
        return kind(api_key="none", base_url=root, max_retries=0, **options)

    def ask(self, client: Any, way: str, **more: Any) -> Any:
        """What the SDK gives for this way of asking."""
        target = self.api(client)
        for part in way.split("."):
            target = getattr(target, part)
        return target(**self.arguments, **({} if way == "stream" else {"stream": True}), **more)

    def body(self, *texts: str) -> bytes:
        """A complete answer."""
        said = [*self.opening, *(self.text(text) for text in texts), *self.ending("".join(texts))]
        return b"".join(self.frame(value) for value in said)


def _unnamed(value: object) -> bytes:
    return b"data: %s\n\n" % (value.encode() if isinstance(value, str) else json.dumps(value, ensure_ascii=False).encode())


def _named(value: object) -> bytes:
    assert isinstance(value, dict)
    return b"event: %s\n" % value["type"].encode() + _unnamed(value)


def _chunk(delta: dict[str, object], finish: str | None = None) -> dict[str, object]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


_RESPONSE: dict[str, object] = {
    "id": "r1", "object": "response", "created_at": 1, "model": "m", "status": "in_progress", "output": [],
    "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
}  # fmt: skip
_ITEM: dict[str, object] = {"id": "i1", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
_PART: dict[str, object] = {"type": "output_text", "text": "", "annotations": []}
_PLACE: dict[str, object] = {"item_id": "i1", "output_index": 0, "content_index": 0, "sequence_number": 4}
_MESSAGE: dict[str, object] = {
    "id": "m1", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": None,
    "stop_sequence": None, "usage": {"input_tokens": 3, "output_tokens": 1},
}  # fmt: skip


def _done(text: str) -> dict[str, object]:
    return {**_ITEM, "status": "completed", "content": [{**_PART, "text": text}]}


CHAT = Wire(
    name="chat",
    dialect="openai-chat",
    path="/v1/chat/completions",
    adapter=sk.from_openai,
    arguments={"model": "m", "messages": [{"role": "user", "content": "What is a stream?"}]},
    api=lambda client: client.chat.completions,
    frame=_unnamed,
    text=lambda text: _chunk({"content": text}),
    opening=(_chunk({"role": "assistant", "content": ""}),),
    ending=lambda text: (_chunk({}, "stop"), "[DONE]"),
)
RESPONSES = Wire(
    name="responses",
    dialect="openai-responses",
    path="/v1/responses",
    adapter=sk.from_openai,
    arguments={"model": "m", "input": "What is a stream?"},
    api=lambda client: client.responses,
    frame=_named,
    text=lambda text: {"type": "response.output_text.delta", "delta": text, "logprobs": [], **_PLACE},
    opening=(
        {"type": "response.created", "response": _RESPONSE, "sequence_number": 0},
        {"type": "response.output_item.added", "output_index": 0, "item": _ITEM, "sequence_number": 1},
        {"type": "response.content_part.added", "part": _PART, **_PLACE},
    ),
    ending=lambda text: (
        {"type": "response.output_item.done", "output_index": 0, "item": _done(text), "sequence_number": 8},
        {
            "type": "response.completed",
            "response": {**_RESPONSE, "status": "completed", "output": [_done(text)]},
            "sequence_number": 9,
        },
    ),
)
MESSAGES = Wire(
    name="messages",
    dialect="anthropic",
    path="/v1/messages",
    adapter=sk.from_anthropic,
    arguments={"model": "m", "max_tokens": 60, "messages": [{"role": "user", "content": "What is a stream?"}]},
    api=lambda client: client.messages,
    frame=_named,
    text=lambda text: {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}},
    opening=(
        {"type": "message_start", "message": _MESSAGE},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    ),
    ending=lambda text: (
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 2},
        },
        {"type": "message_stop"},
    ),
)
BETA_MESSAGES = Wire(**{**vars(MESSAGES), "name": "messages (beta)", "api": lambda client: client.beta.messages})

WIRES = {wire.name: wire for wire in (CHAT, RESPONSES, MESSAGES, BETA_MESSAGES)}


def answering(pieces: list[bytes]) -> Any:
    """A transport, for both kinds of client, that answers with these pieces."""

    class Pieces(httpx2.AsyncByteStream, httpx2.SyncByteStream):  # type: ignore[misc]  # both are Any where httpx2 may be missing
        def __iter__(self) -> Iterator[bytes]:
            yield from pieces

        async def __aiter__(self) -> AsyncIterator[bytes]:
            for piece in pieces:
                yield piece

    def respond(request: Any) -> Any:
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, stream=Pieces())

    return httpx2.MockTransport(respond)
