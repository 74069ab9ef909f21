"""What a chunk costs on its way from a response to an event.

    python benchmarks/bench_clients.py [rounds]

CPU time per chunk, the best of several rounds, both sides in one process and on the same bytes. The transport is in
memory, so that neither side's figure has a kernel or a server in it: what is measured is the client. Chunks look like
those of OpenAI's and Anthropic's APIs, one per read, made here. Frameworks that pin other versions of the SDKs run in an
environment of their own (`benchmarks/peers`), each beside the same hand-written loop.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypedDict

import streamkit as sk

CHUNKS = 4_000
REQUESTS = 200

Body: TypeAlias = list[bytes]
Way: TypeAlias = Callable[[], Awaitable[int]]

PEERS = Path(__file__).parent / "peers" / "clients.py"
FRAMEWORKS = ("litellm", "pydantic-ai", "langchain")


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


class Wire(NamedTuple):
    """One provider's wire: an answer on it, what a careful person reads of it, and the SDK that does."""

    dialect: str
    sdk: str
    body: Callable[[], Body]
    texts_in: Callable[[Any], int]
    create: Callable[[Any], Any]  # the resource with `create`, of an SDK's client
    arguments: dict[str, Any]
    events: Callable[[Body], list[Any]]  # the answer as the SDK's objects
    adapter: Callable[..., sk.Stream[sk.Event]]


# ---- three wires --------------------------------------------------------------------------------


def _block(value: dict[str, Any], event: str = "") -> bytes:
    name = f"event: {event}\n".encode() if event else b""
    return name + b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"


def chat_body() -> Body:
    """An answer of the Chat Completions API, one block of the wire per read."""
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-x", "service_tier": "default"}
    blocks: Body = []
    for number in range(CHUNKS):
        choice = {"index": 0, "delta": {"content": f" word{number % 97}"}, "logprobs": None, "finish_reason": None}
        chunk = {**head, "system_fingerprint": "fp_1", "choices": [choice], "usage": None, "obfuscation": "a1B2c3"[: number % 6]}
        blocks.append(_block(chunk))
    return [*blocks, _block({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}), b"data: [DONE]\n\n"]


def responses_body() -> Body:
    """The same answer of the Responses API."""
    response: dict[str, Any] = {
        "id": "resp_1", "object": "response", "created_at": 1, "status": "in_progress", "model": "gpt-x", "output": [],
        "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
    }  # fmt: skip
    item: dict[str, Any] = {"id": "msg_1", "type": "message", "status": "in_progress", "role": "assistant", "content": []}
    part: dict[str, Any] = {"type": "output_text", "text": "", "annotations": []}
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    numbers = iter(range(CHUNKS + 9))

    def event(kind: str, **fields: Any) -> bytes:
        return _block({"type": kind, "sequence_number": next(numbers), **fields}, kind)

    words = [f" word{number % 97}" for number in range(CHUNKS)]
    done_part = {**part, "text": "".join(words)}
    done_item = {**item, "status": "completed", "content": [done_part]}
    usage = {
        "input_tokens": 1, "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0}, "output_tokens": CHUNKS,
        "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": CHUNKS + 1,
    }  # fmt: skip
    return [
        event("response.created", response=response),
        event("response.output_item.added", output_index=0, item=item),
        event("response.content_part.added", **place, part=part),
        *(event("response.output_text.delta", **place, delta=word, logprobs=[], obfuscation="a1B2c3") for word in words),
        event("response.output_text.done", **place, text=done_part["text"], logprobs=[]),
        event("response.content_part.done", **place, part=done_part),
        event("response.output_item.done", output_index=0, item=done_item),
        event("response.completed", response={**response, "status": "completed", "output": [done_item], "usage": usage}),
    ]


def messages_body() -> Body:
    """The same answer of the Messages API."""
    message: dict[str, Any] = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "content": [], "stop_reason": None,
        "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1},
    }  # fmt: skip

    def event(kind: str, **fields: Any) -> bytes:
        return _block({"type": kind, **fields}, kind)

    words = (f" word{number % 97}" for number in range(CHUNKS))
    return [
        event("message_start", message=message),
        event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        *(event("content_block_delta", index=0, delta={"type": "text_delta", "text": word}) for word in words),
        event("content_block_stop", index=0),
        event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": CHUNKS}),
        event("message_stop"),
    ]


def _data_of(blocks: Body) -> Iterator[bytes]:
    for block in blocks:
        data = block[block.index(b"data: ") + 6 :]
        if not data.startswith(b"[DONE]"):
            yield data


def chat_objects(blocks: Body) -> list[Any]:
    """The chunks as the SDK's objects."""
    from openai.types.chat import ChatCompletionChunk

    return [ChatCompletionChunk.model_validate_json(data) for data in _data_of(blocks)]


def responses_objects(blocks: Body) -> list[Any]:
    """The events as the SDK's objects."""
    from openai.types.responses import ResponseStreamEvent
    from pydantic import TypeAdapter

    adapter: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
    return [adapter.validate_json(data) for data in _data_of(blocks)]


def messages_objects(blocks: Body) -> list[Any]:
    """The events as the SDK's objects."""
    from anthropic.types import RawMessageStreamEvent
    from pydantic import TypeAdapter

    adapter: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
    return [adapter.validate_json(data) for data in _data_of(blocks)]


WIRES = (
    Wire(
        "openai-chat",
        "openai",
        chat_body,
        lambda value: sum(bool(choice["delta"].get("content")) for choice in value["choices"]),
        lambda client: client.chat.completions,
        {"model": "m", "messages": []},
        chat_objects,
        sk.from_openai,
    ),
    Wire(
        "openai-responses",
        "openai",
        responses_body,
        lambda value: value["type"] == "response.output_text.delta" and bool(value["delta"]),
        lambda client: client.responses,
        {"model": "m", "input": "hi"},
        responses_objects,
        sk.from_openai,
    ),
    Wire(
        "anthropic",
        "anthropic",
        messages_body,
        lambda value: value["type"] == "content_block_delta" and bool(value["delta"].get("text")),
        lambda client: client.messages,
        {"model": "m", "messages": [], "max_tokens": 9},
        messages_objects,
        sk.from_anthropic,
    ),
)


# ---- the ways to read one -----------------------------------------------------------------------


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


class Ways:
    """One answer on one wire, and everybody's way to read its texts."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.blocks = wire.body()
        self._objects: list[Any] = []

    def sdk(self) -> Any:
        """The SDK over the client in memory."""
        sdk = importlib.import_module(self.wire.sdk)
        kind = sdk.AsyncOpenAI if self.wire.sdk == "openai" else sdk.AsyncAnthropic
        made = kind(api_key="none", base_url="http://local.test/v1", http_client=client(self.blocks), max_retries=0)
        return self.wire.create(made)

    async def by_hand(self) -> int:
        """What a careful person writes without any library: lines, JSON, the text out of each chunk."""
        import jiter

        texts = 0
        async with client(self.blocks).stream("POST", "http://local.test/v1") as response:
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
                        texts += self.wire.texts_in(jiter.from_json(value))
        return texts

    async def decoded(self) -> int:
        """Plain HTTP through `sk.decode`."""
        return await _texts(sk.decode(client(self.blocks).stream("POST", "http://local.test/v1"), self.wire.dialect))

    async def sdk_stream(self) -> int:
        """The SDK's own stream of objects."""
        texts = 0
        kinds = {"response.output_text.delta", "content_block_delta"}
        async for event in await self.sdk().create(**self.wire.arguments, stream=True):
            if self.wire.dialect == "openai-chat":
                for choice in event.choices:
                    if choice.delta.content:
                        texts += 1
            elif event.type in kinds and event.delta:
                texts += 1
        return texts

    async def from_raw(self) -> int:
        """The SDK's raw response through our adapter."""
        return await _texts(self.wire.adapter(self.sdk().with_streaming_response.create(**self.wire.arguments, stream=True)))

    async def from_stream(self) -> int:
        """The SDK's stream object through our adapter, which reads the response underneath."""
        return await _texts(self.wire.adapter(self.sdk().create(**self.wire.arguments, stream=True)))

    async def from_objects(self) -> int:
        """The SDK's objects through our adapter, as with a stream that somebody else has wrapped."""

        async def wrapped() -> AsyncIterator[Any]:
            async for chunk in await self.sdk().create(**self.wire.arguments, stream=True):
                yield chunk

        return await _texts(self.wire.adapter(wrapped()))

    async def adapted(self) -> int:
        """What the adapter costs on objects that are there already."""
        if not self._objects:
            self._objects = self.wire.events(self.blocks)
        return await _texts(self.wire.adapter(self._objects))

    async def measured(self) -> int:
        """As `decoded`, with `Stats` on."""
        plain = sk.decode(client(self.blocks).stream("POST", "http://local.test/v1"), self.wire.dialect)
        return await _texts(plain.measure(sk.Stats()))


async def _texts(stream: sk.Stream[sk.Event]) -> int:
    texts = 0
    async with stream as events:
        async for event in events:
            if event.__class__ is sk.TextDelta:
                texts += 1
    return texts


# ---- the table ----------------------------------------------------------------------------------


def rows(rounds: int = 5) -> list[Row]:
    """All comparisons; a peer that is not installed is named, with no figure."""
    if not _installed("httpx2"):
        return [_row("wire to event", None, None, "httpx2 (not installed)", None)]
    found: list[Row] = []
    for wire in WIRES:
        found += _rows_of(wire, rounds)
    return [*found, *_rows_of_first_chunk(rounds), *_rows_of_frameworks(rounds)]


def _rows_of(wire: Wire, rounds: int) -> list[Row]:
    all_ways = Ways(wire)
    ways: list[Way] = [all_ways.decoded, all_ways.measured]
    hand, sdk = _installed("jiter"), _installed(wire.sdk)
    if hand:
        ways.append(all_ways.by_hand)
    if sdk:
        ways += [all_ways.sdk_stream, all_ways.from_raw, all_ways.from_stream, all_ways.from_objects, all_ways.adapted]
    cost = _measure(ways, rounds)
    name = wire.dialect
    peer = "httpx2 + minimal SSE + jiter" if hand else "httpx2 + minimal SSE + jiter (not installed)"
    found = [_row(f"{name}: wire to event, per chunk", cost["decoded"], cost.get("by_hand"), peer, 1.5)]
    stats = cost["measured"] - cost["decoded"]
    found.append(_row(f"{name}: Stats on, per chunk", stats, None, "no peer", 1.0, bound="figure"))
    if not sdk:
        absent = f"{wire.sdk} SDK stream (not installed)"
        return [*found, _row(f"{name}: raw response, per chunk", None, None, absent, 0.2)]
    beside = f"{wire.sdk} SDK stream"
    found.append(_row(f"{name}: raw response, per chunk", cost["from_raw"], cost["sdk_stream"], beside, 0.2))
    found.append(_row(f"{name}: object stream, per chunk", cost["from_stream"], cost["sdk_stream"], beside, None))
    found.append(_row(f"{name}: wrapped object stream, per chunk", cost["from_objects"], cost["sdk_stream"], beside, None))
    found.append(_row(f"{name}: SDK object to event, per chunk", cost["adapted"], None, "no peer", 5.0, bound="figure"))
    return found


def _rows_of_first_chunk(rounds: int) -> list[Row]:
    """From the request to the first text, over loopback from a server that does not think."""
    if not _installed("jiter"):
        return [_row("openai-chat: time to first chunk", None, None, "plain httpx2 + minimal SSE + jiter (not installed)", 1.05)]
    with _first_chunk_server() as url:
        plain, ours = asyncio.run(_first_chunks(url, REQUESTS * rounds))
    row = _row("openai-chat: time to first chunk", ours, plain, "plain httpx2 + minimal SSE + jiter", 1.05)
    row["unit"] = "us, median"
    return [row]


@contextmanager
def _first_chunk_server() -> Iterator[str]:
    """A server in a process of its own, which answers each request with one chunk and the end."""
    code = Path(__file__).parent / "peers" / "first_chunk_server.py"
    with subprocess.Popen([sys.executable, str(code)], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stdin is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.stdin.close()  # which ends it


async def _first_chunks(url: str, count: int) -> tuple[float, float]:
    """The medians in microseconds, plain and ours, in turns on one warm client."""
    import httpx2
    import jiter

    request: dict[str, Any] = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    times: tuple[list[float], list[float]] = ([], [])
    async with httpx2.AsyncClient() as http:

        async def plain() -> float:
            started = time.perf_counter()
            first = 0.0
            async with http.stream("POST", url, json=request) as response:
                rest = b""
                async for piece in response.aiter_bytes():
                    *lines, rest = (rest + piece).split(b"\n")
                    for line in lines:
                        if line.startswith(b"data: {") and not first:
                            assert jiter.from_json(line[6:])["choices"][0]["delta"]["content"]
                            first = time.perf_counter() - started
            return first

        async def ours() -> float:
            started = time.perf_counter()
            first = 0.0
            async with sk.decode(http.stream("POST", url, json=request), "openai-chat") as events:
                async for event in events:
                    if event.__class__ is sk.TextDelta and not first:
                        first = time.perf_counter() - started
            return first

        for turn in range(count + 20):
            for way, kept in zip((plain, ours), times, strict=True):
                spent = await way()
                if turn >= 20:  # imports, caches, the connection
                    kept.append(spent)
    return statistics.median(times[0]) * 1e6, statistics.median(times[1]) * 1e6


def _rows_of_frameworks(rounds: int) -> list[Row]:
    """Ours beside what frameworks cost, each against the hand-written loop in its own process."""
    figures = _frameworks(rounds) if _installed("jiter") else {}
    cost = _measure([(ways := Ways(WIRES[0])).decoded, ways.by_hand], rounds) if figures else {}
    found: list[Row] = []
    for name in FRAMEWORKS:
        if name not in figures:
            found.append(_row("openai-chat: beside frameworks, per chunk", None, None, f"{name} (not installed)", None))
            continue
        # What the machine does between two processes falls out: both are told in loops by hand.
        theirs = figures[name]["us"] / figures["by hand"]["us"] * cost["by_hand"]
        label = f"{name} {figures[name]['version']}"
        found.append(_row("openai-chat: beside frameworks, per chunk", cost["decoded"], theirs, label, None))
    return found


def _frameworks(rounds: int) -> dict[str, Any]:
    """What `peers/clients.py` measures, in the environment that `make bench` made for it; nothing where there is none."""
    python = os.environ.get("STREAMKIT_PEERS_PYTHON", f"{sys.prefix}-peers/bin/python")
    if not Path(python).exists():
        return {}
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        answer.write_text(json.dumps([block.decode() for block in chat_body()]), "utf-8")
        done = subprocess.run(
            [python, str(PEERS), str(answer), str(rounds)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True
        )
    found: dict[str, Any] = json.loads(done.stdout)
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


def _measure(ways: list[Way], rounds: int) -> dict[str, float]:
    """Microseconds of CPU per chunk for each way, by its name: the best round, the ways taking turns."""
    best = {way.__name__: float("inf") for way in ways}
    for way in ways:  # imports and caches
        _once(way)
    for _ in range(rounds):
        for way in ways:
            started = time.process_time()
            texts = _once(way)
            best[way.__name__] = min(best[way.__name__], (time.process_time() - started) / CHUNKS * 1e6)
            assert texts == CHUNKS, f"{way.__name__} lost text: {texts} of {CHUNKS}"
    return best


def _once(way: Way) -> int:
    async def run() -> int:
        return await way()

    return asyncio.run(run())


def _installed(*names: str) -> bool:
    return all(importlib.util.find_spec(name) is not None for name in names)


def main() -> None:
    for row in rows(int(sys.argv[1]) if len(sys.argv) > 1 else 5):
        ours = "-" if row["ours"] is None else f"{row['ours']:.2f}"
        peer = "-" if row["peer"] is None else f"{row['peer']:.2f}"
        ratio = "-" if row["ratio"] is None else f"{row['ratio']:.3f}"
        hold = "-" if row["hold"] is None else f"<= {row['hold']}"
        print(f"{row['what']:46} {ours:>8} {row['unit']:7} {peer:>8} {row['peer_name']:34} {ratio:>7} {hold}")


if __name__ == "__main__":
    main()
