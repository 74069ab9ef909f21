"""gRPC beside a servicer written by hand on grpcio, which sends one token per message.

    python benchmarks/bench_grpc.py [rounds] [asyncio|uvloop]

CPU time of the server's process per token, threads of gRPC's own included; the client is another process, reads bytes and parses
nothing. The peer is grpcio as its guide has it: an async generator that yields a message with the token, or the one that writes it
with `context.write`, whichever is cheaper. All stand on one server, in turns. What is pending comes of a source
that reads several tokens at once, as a provider's does, or of a `sk.buffer(2 * n)` behind one that gives one at a time: of a full
buffer the writer takes one half, so that the source goes on meanwhile.

A message is four system calls in three threads, and what those cost depends on which of them share a CPU and on what else the
machine does: by half from one second to the next, where the whole difference between ours and the peer is a few percent. So the
server has one CPU to itself, if there are several; rounds are short and many; and a ratio is the median of those within a round.
Beside a load of 8 to 19 that gave one pending message 0.96 to 0.99 each time, where the least of all rounds gave 0.91 to 1.01.
There is not much to win: a loop that writes the same bytes again and again, with no source at all, stands at 1.04.

The last row is the client: CPU of this process per event, against one that reads the same messages with the generated class.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from statistics import median
from typing import Any, TypeAlias

import streamkit as sk
from streamkit.clients.grpc_client import GrpcClient
from streamkit.dialects.grpc.schema import schema
from streamkit.flow.sources import Feed, Source
from streamkit.sinks.grpc.requests import GrpcRequest
from streamkit.sinks.grpc.serving import GrpcServer

Row: TypeAlias = dict[str, object]

EVENTS = 2_000
STREAMS = 20
EVENTS_EACH = 500
TOKEN = " jumps over"
PEER = "bench.Peer"
# Fewer cannot tell 5 % on a machine that does something else besides.
LEAST_ROUNDS = 30


def rows(rounds: int, loop: str = "asyncio") -> list[Row]:
    """One row per figure: `ratio` is how many times better ours is than the peer, `hold` the least that it may be."""
    with _server(loop) as port:
        return [
            *asyncio.run(_server_rows(port, rounds, "1 stream", 1, EVENTS)),
            *asyncio.run(_server_rows(port, rounds, f"{STREAMS} streams", STREAMS, EVENTS_EACH)),
            asyncio.run(_client_row(port, rounds)),
        ]


OURS = {
    "one": ("1 pending", 0.95),
    "read": ("4 pending, of one read", 3.0),
    "buffer": ("8 pending, of a buffer", 3.0),
    "large": ("32 pending, of a buffer", 3.0),
}
BUFFERS = {"buffer": 16, "large": 64}
PEERS = ("Yield", "Write")


async def _server_rows(port: int, rounds: int, what: str, streams: int, events: int) -> list[Row]:
    costs: dict[str, list[float]] = {}
    messages: dict[str, float] = {}
    rounds = max(rounds, LEAST_ROUNDS)
    asked = ["Yield", "one", "Write", "read", "buffer", "large"]  # what is hardest to tell apart stands side by side
    async with import_module("grpc.aio").insecure_channel(f"127.0.0.1:{port}") as channel:
        for round_ in range(rounds + 1):  # the first warms up
            turn = round_ % len(asked)
            for name in asked[turn:] + asked[:turn]:
                before = await _cpu(channel)
                drained = await asyncio.gather(*[_drain(channel, name, events) for _ in range(streams)])
                cost = (await _cpu(channel) - before) * 1e6 / (streams * events)
                if {got for got, _ in drained} != {events}:
                    raise RuntimeError(f"{name} lost tokens: {drained} of {events}")
                messages[name] = sum(count for _, count in drained) / streams
                if round_:
                    costs.setdefault(name, []).append(cost)
    return [
        {
            "what": f"gRPC, {what}, {label} ({events / messages[key]:.1f} a message)",
            "ours": ours,
            "peer": ours * ratio,
            "peer_name": f"grpcio {_version()}, a message per token",
            "unit": "us/token",
            "ratio": ratio,
            "hold": hold,
            "bound": "least",
        }
        for key, (label, hold) in OURS.items()
        for ours, ratio in [(median(costs[key]), min(_times_better(costs[key], costs[peer]) for peer in PEERS))]
    ]


def _times_better(ours: list[float], peer: list[float]) -> float:
    """Of two that were measured in the same rounds."""
    return median(theirs / cost for cost, theirs in zip(ours, peer, strict=True))


async def _client_row(port: int, rounds: int) -> Row:
    """Messages of one token each, which is the most that a client can have to do."""
    ours: list[float] = []
    peer: list[float] = []
    events = schema().Events
    async with (
        GrpcClient(f"127.0.0.1:{port}") as client,
        import_module("grpc.aio").insecure_channel(f"127.0.0.1:{port}") as channel,
    ):

        async def read_plainly() -> int:
            call = channel.unary_stream("/streamkit.v1.Streams/Stream", response_deserializer=events.FromString)
            texts = []
            async for message in call(_request("one", EVENTS)):
                texts += [event.text_delta.text for event in message.events]
            return len(texts) - 1

        async def read_ours() -> int:
            return len(await client.stream(f"one {EVENTS}").collect()) - 1

        for _ in range(max(rounds, LEAST_ROUNDS // 2)):
            ours.append(await _cost(read_ours))
            peer.append(await _cost(read_plainly))
    return {
        "what": "gRPC, client, 1 token a message",
        "ours": median(ours),
        "peer": median(ours) * _times_better(ours, peer),
        "peer_name": f"grpcio {_version()}, generated class",
        "unit": "us/token",
        "ratio": _times_better(ours, peer),
        "hold": None,
        "bound": "least",
    }


async def _cost(read: Callable[[], Awaitable[int]]) -> float:
    before = time.process_time()
    count = await read()
    if count != EVENTS:
        raise RuntimeError(f"{count} tokens of {EVENTS}")
    return (time.process_time() - before) * 1e6 / EVENTS


async def _drain(channel: Any, name: str, events: int) -> tuple[int, int]:
    """How many tokens came, and in how many messages; by counting them in the bytes, which is the same work for all."""
    path = f"/{PEER}/{name}" if name in PEERS else "/streamkit.v1.Streams/Stream"
    got = messages = 0
    async for data in channel.unary_stream(path)(_request(name, events)):
        got += data.count(b"jumps")
        messages += 1
    return got, messages


def _request(name: str, events: int) -> bytes:
    data: bytes = schema().Request(text=f"{name} {events}").SerializeToString()
    return data


async def _cpu(channel: Any) -> float:
    return float(await channel.unary_unary(f"/{PEER}/Cpu")(b""))


def _version() -> str:
    return str(import_module("grpc").__version__)


# ---- the server


@contextmanager
def _server(loop: str) -> Iterator[int]:
    process = subprocess.Popen([sys.executable, __file__, "--serve", loop], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait(timeout=10)
        if process.stdout is not None:
            process.stdout.close()


def _take_one_cpu() -> None:
    """Before any thread is started: they inherit it."""
    if hasattr(os, "sched_setaffinity") and len(cpus := os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(0, {max(cpus)})


async def _serve() -> None:
    async with GrpcServer(_answer, also=_add_peer) as server:
        print(server.port, flush=True)
        await server.wait()


async def _tokens(count: int) -> AsyncIterator[sk.TextDelta]:
    for _ in range(count):
        yield sk.TextDelta(TOKEN)


async def _reads(count: int) -> AsyncIterator[list[sk.TextDelta]]:
    """The same, four at a time: what a provider's answer is whose network reads bring four."""
    batch: list[sk.TextDelta] = []
    async for token in _tokens(count):
        batch.append(token)
        if len(batch) == 4:
            yield batch
            batch = []
    if batch:
        yield batch


def _answer(request: GrpcRequest) -> sk.Stream[sk.TextDelta]:
    pending, events = str(request.input).split()
    if pending == "read":
        return sk.Stream(Source("reads", lambda run: Feed(_reads(int(events)), shape="lists")))
    stream = sk.stream(_tokens(int(events)))
    return stream if pending == "one" else stream | sk.buffer(BUFFERS[pending])


def _add_peer(server: Any) -> None:
    """As generated code does it: a message class, its parser and its serializer."""
    grpc = import_module("grpc")
    of = schema()
    token: Any = import_module("google.protobuf.message_factory").GetMessageClass(
        of.pool.FindMessageTypeByName("streamkit.v1.TextDelta")
    )

    async def cpu(request: bytes, context: object) -> bytes:
        return str(time.process_time()).encode()

    async def by_yield(request: Any, context: object) -> AsyncIterator[Any]:
        async for event in _tokens(int(request.text.split()[1])):
            yield token(text=event.text)

    async def by_write(request: Any, context: Any) -> None:
        async for event in _tokens(int(request.text.split()[1])):
            await context.write(token(text=event.text))

    kinds = {"request_deserializer": of.Request.FromString, "response_serializer": token.SerializeToString}
    handlers = {
        "Cpu": grpc.unary_unary_rpc_method_handler(cpu),
        "Yield": grpc.unary_stream_rpc_method_handler(by_yield, **kinds),
        "Write": grpc.unary_stream_rpc_method_handler(by_write, **kinds),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(PEER, handlers),))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        _take_one_cpu()
        if sys.argv[2:] == ["uvloop"]:
            import uvloop

            uvloop.run(_serve())
        else:
            asyncio.run(_serve())
    else:
        for row in rows(int(sys.argv[1]) if len(sys.argv) > 1 else 5, *sys.argv[2:3]):
            print({name: round(value, 2) if isinstance(value, float) else value for name, value in row.items()})
