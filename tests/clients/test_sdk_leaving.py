"""Whoever leaves an SDK's stream through us leaves the server too: at once, in every way, with the stream still referenced."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import anyio
import pytest
from byte_server import Answer, byte_server
from endless_server import Endless, endless_server
from event_loops import asyncio_only
from sdk_wires import CHAT, MESSAGES, RESPONSES, Wire

import streamkit as sk

pytestmark = [
    pytest.mark.anyio,
    # Left before its end, a response of httpx2 leaves generators of its own to the collector, in a plain loop too; trio warns
    # of that. The connection itself is closed, which is what these tests look at.
    pytest.mark.filterwarnings("ignore:Exception ignored in. <async_generator:pytest.PytestUnraisableExceptionWarning"),
]

MOST_FURTHER_EVENTS = 10


@pytest.fixture(params=[CHAT, RESPONSES, MESSAGES], ids=lambda wire: wire.name)
def wire(request: pytest.FixtureRequest) -> Wire:
    found: Wire = request.param
    return found


@pytest.fixture
def server(wire: Wire) -> Iterator[Endless]:
    """One that says "more" for ever."""
    with endless_server([wire.frame(value) for value in wire.opening], wire.frame(wire.text("more"))) as server:
        yield server


async def passed_on(stream: Any) -> AsyncIterator[Any]:
    async for item in stream:
        yield item


def sync_passed_on(stream: Any) -> Iterator[Any]:
    yield from stream


async def entered(manager: Any) -> Any:
    return await manager.__aenter__()


# How the SDK's client gives a stream: what is awaited here is done before we see it.
GIVEN: dict[str, Callable[[Wire, Any], Any]] = {
    "create": lambda wire, client: wire.ask(client, "create"),
    "a callable": lambda wire, client: functools.partial(wire.ask, client, "create"),
    "streaming response": lambda wire, client: wire.ask(client, "with_streaming_response.create"),
    "raw response": lambda wire, client: wire.ask(client, "with_raw_response.create"),
    "helper": lambda wire, client: wire.ask(client, "stream"),
}


async def async_source(way: str, wire: Wire, client: Any) -> Any:
    if way in GIVEN:
        return GIVEN[way](wire, client)
    if way == "created":
        return await wire.ask(client, "create")
    if way == "created and begun":
        stream = await wire.ask(client, "create")
        await stream.__anext__()
        return stream
    if way == "passed on by a generator":
        return passed_on(await wire.ask(client, "create"))
    if way == "entered streaming response":
        return await entered(wire.ask(client, "with_streaming_response.create"))
    assert way == "entered helper"
    return await entered(wire.ask(client, "stream"))


def sync_source(way: str, wire: Wire, client: Any) -> Any:
    if way in GIVEN:
        return GIVEN[way](wire, client)
    if way == "created and begun":
        stream = wire.ask(client, "create")
        next(stream)
        return stream
    if way == "passed on by a generator":
        return sync_passed_on(wire.ask(client, "create"))
    if way == "entered streaming response":
        return wire.ask(client, "with_streaming_response.create").__enter__()
    assert way == "entered helper"
    return wire.ask(client, "stream").__enter__()


SYNC_WAYS = [*GIVEN, "created and begun", "passed on by a generator", "entered streaming response", "entered helper"]
ASYNC_WAYS = [*SYNC_WAYS, "created"]


def assert_left(server: Endless, sent: int) -> None:
    assert server.left.wait(60)
    assert server.sent <= sent + MOST_FURTHER_EVENTS


@pytest.mark.parametrize("way", ASYNC_WAYS)
async def test_leaving_an_async_stream_after_ten_events_leaves_the_server(way: str, wire: Wire, server: Endless) -> None:
    async with wire.client(sync=False, base_url=server.url) as client:
        source = await async_source(way, wire, client)  # its variable lives on: dropping it must not be what closes it
        got = sent = 0
        async with wire.adapter(source) as events:
            async for _ in events:
                got += 1
                if got == 10:
                    sent = server.sent
                    break
        assert_left(server, sent)
        assert source is not None


@asyncio_only
@pytest.mark.parametrize("way", SYNC_WAYS)
async def test_leaving_a_sync_stream_after_ten_events_leaves_the_server(way: str, wire: Wire, server: Endless) -> None:
    with wire.client(sync=True, base_url=server.url) as client:
        source = sync_source(way, wire, client)
        assert 10 == len(await wire.adapter(source).take(10).collect())
        assert_left(server, server.sent)


@pytest.mark.parametrize("way", SYNC_WAYS)
def test_leaving_a_plain_loop_leaves_the_server(way: str, wire: Wire, server: Endless) -> None:
    with wire.client(sync=True, base_url=server.url) as client:
        source = sync_source(way, wire, client)
        for number, _ in enumerate(wire.adapter(source).iter(), start=1):
            if number == 10:
                break
        assert_left(server, server.sent)
        assert source is not None


@pytest.mark.parametrize("way", ["create", "created", "helper", "entered helper", "passed on by a generator", "raw response"])
async def test_a_cancelled_scope_leaves_the_server(way: str, wire: Wire, server: Endless) -> None:
    async with wire.client(sync=False, base_url=server.url) as client:
        source = await async_source(way, wire, client)
        got = sent = 0
        with anyio.CancelScope() as scope:
            async with wire.adapter(source) as events:
                async for _ in events:
                    got += 1
                    if got == 10:
                        sent = server.sent
                        scope.cancel()
        assert scope.cancelled_caught
        assert 10 <= got <= sent + MOST_FURTHER_EVENTS  # what had come in one read with the tenth may be given yet
        assert_left(server, sent)


@asyncio_only
@pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
@pytest.mark.parametrize("way", ["create", "helper", "entered helper", "passed on by a generator", "raw response"])
async def test_a_cancelled_task_is_cancelled_and_leaves_the_server(way: str, sync: bool, wire: Wire, server: Endless) -> None:
    with ExitStack() as stack:
        client = wire.client(sync=sync, base_url=server.url)
        if sync:
            stack.enter_context(closing(client))
        source = sync_source(way, wire, client) if sync else await async_source(way, wire, client)
        ten = asyncio.Event()
        got = 0

        async def read() -> None:
            nonlocal got
            async with wire.adapter(source) as events:
                async for _ in events:
                    got += 1
                    if got == 10:
                        ten.set()

        task = asyncio.create_task(read())
        await ten.wait()
        sent = server.sent
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()
        assert_left(server, sent)
    if not sync:
        await client.close()


async def test_leaving_plain_http_leaves_the_server(wire: Wire, server: Endless) -> None:
    import httpx2

    async with httpx2.AsyncClient(timeout=60) as client:
        request = client.stream("POST", server.url + wire.path, json=wire.arguments)
        assert 10 == len(await sk.decode(request, wire.dialect).take(10).collect())
        assert_left(server, server.sent)


@asyncio_only
@pytest.mark.parametrize("way", SYNC_WAYS)
async def test_a_thread_that_waits_for_a_silent_server_lets_go(way: str, wire: Wire) -> None:
    said = b"".join(wire.frame(value) for value in (*wire.opening, wire.text("more"), wire.text("more")))
    with byte_server({wire.path: Answer([said], end="hold")}) as server, wire.client(sync=True, base_url=server.url) as client:
        source = sync_source(way, wire, client)
        with anyio.CancelScope() as scope:
            async with wire.adapter(source) as events:
                async for event in events:
                    if isinstance(event, sk.TextDelta):
                        scope.cancel()
        assert scope.cancelled_caught
        assert server.left.wait(60)


@asyncio_only
async def test_a_generator_that_blocks_is_left_without_a_word() -> None:
    go = threading.Event()

    def chunks() -> Iterator[bytes]:
        yield CHAT.body("a")[:200]
        go.wait(20)

    with anyio.CancelScope() as scope:
        async with sk.decode(chunks(), "openai-chat") as events:
            async for _ in events:
                threading.Timer(0.05, go.set).start()
                scope.cancel()
    assert scope.cancelled_caught
