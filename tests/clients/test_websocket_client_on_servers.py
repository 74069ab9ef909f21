"""The WebSocket client with real servers: a wire that breaks fifty times, a process that is killed and one that is told to stop."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from event_loops import asyncio_only
from served import broken_wire
from websockets.asyncio.server import serve

from streamkit.clients.websocket.connection import WebSocketClient, connect
from streamkit.errors import StreamBusy, StreamDraining, StreamInterrupted, StreamTruncated, UnknownStream
from streamkit.events import DataDelta, Event, Finish, TextDelta
from streamkit.hub.stores.sqlite import SqliteStore
from streamkit.sinks.websocket.requests import SocketRequest
from streamkit.sinks.websocket.serving import WebSocketRoutes

pytestmark = [pytest.mark.anyio, asyncio_only]

WORKER = Path(__file__).with_name("websocket_server_process.py")


def text(count: int) -> str:
    return "".join(f"{number} " for number in range(count))


def client_of(url: str, **options: Any) -> WebSocketClient:
    return connect(url.replace("http:", "ws:"), **{"min_wait": 0.001, "max_wait": 0.01, "seed": 1, **options})


@asynccontextmanager
async def serving(handler: Callable[[SocketRequest], Any], **options: Any) -> AsyncIterator[tuple[WebSocketRoutes, str]]:
    """Routes on a server of the `websockets` library, and its address."""
    async with (
        WebSocketRoutes(handler, **options) as routes,
        serve(routes.serve, "127.0.0.1", 0, **routes.websockets_options()) as server,
        asyncio.timeout(120),  # a bound for tests that hang, and no measure
    ):
        yield routes, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def counted(request: SocketRequest) -> AsyncIterator[str]:
    for number in range(request.input):
        yield f"{number} "
        await asyncio.sleep(0)


@pytest.mark.parametrize("seed", [1, 2])
async def test_an_answer_over_a_wire_that_breaks_fifty_times_is_the_undisturbed_one(seed: int) -> None:
    def parts(request: SocketRequest) -> list[Event]:
        events: list[Event] = []
        for number in range(6_000):
            events.append(TextDelta(f"{number} "))
            if number % 10 == 0:
                events.append(DataDelta(number.to_bytes(2), "audio/pcm"))
        return events

    async with serving(parts, allow_missing_origin=True, max_messages_per_second=100_000) as (_, url):
        async with client_of(url) as client:
            undisturbed = await client.send(None).collect()
        with broken_wire(url, seed=seed, tears=50, least_bytes=100, most_bytes=12_000) as wire:
            async with client_of(wire.url, max_retries=60) as client:
                torn = await client.send(None).collect()
                assert 50 == wire.torn
                assert client.connections > 10
    assert Finish() == undisturbed[-1] == torn[-1]
    assert [event for event in undisturbed if isinstance(event, DataDelta)] == [e for e in torn if isinstance(e, DataDelta)]
    assert text(6_000) == "".join(event.text for event in torn if isinstance(event, TextDelta))


async def test_three_streams_of_one_connection_survive_a_wire_that_breaks() -> None:
    async with serving(counted, max_messages_per_second=100_000) as (_, url):
        with broken_wire(url, seed=3, tears=20, least_bytes=300, most_bytes=9_000) as wire:
            async with client_of(wire.url, max_retries=60) as client:
                texts = await asyncio.gather(*(client.send(count, stream=f"s{count}").join() for count in (500, 1_000, 1_500)))
    assert [text(500), text(1_000), text(1_500)] == texts


async def test_a_small_window_of_unacknowledged_bytes_holds_up_nothing() -> None:
    async with serving(counted, ack_window=500) as (_, url), client_of(url) as client:
        assert text(300) == await client.send(300).join()


async def test_a_generation_is_stopped_through_its_client_and_ends_for_its_reader() -> None:
    closed = asyncio.Event()

    async def endless(request: SocketRequest) -> AsyncIterator[str]:
        try:
            yield "Hi"
            await asyncio.sleep(3600)
        finally:
            closed.set()

    async with serving(endless) as (_, url), client_of(url) as client:
        async with client.send(None, stream="chat-1") as events:
            assert TextDelta("Hi") == await anext(events)
            with pytest.raises(StreamBusy, match="under way"):
                async with client_of(url) as other:
                    await other.send(None, stream="chat-1", if_running="raise").join()
            await client.cancel("chat-1")
            assert closed.is_set()
            assert [Finish("cancelled")] == [event async for event in events]
        with pytest.raises(UnknownStream):
            await client.cancel("chat-2")
        with pytest.raises(UnknownStream):
            await client.resume("chat-2").join()


async def test_leaving_an_answer_that_has_no_name_closes_its_source() -> None:
    closed = asyncio.Event()

    async def endless(request: SocketRequest) -> AsyncIterator[str]:
        try:
            while True:
                yield "x"
                await asyncio.sleep(0.001)
        finally:
            closed.set()

    async with serving(endless) as (_, url), client_of(url) as client:
        async with client.send(None) as events:
            await anext(events)
        await closed.wait()


async def test_a_changed_input_interrupts_the_answer_that_runs() -> None:
    async def answer(request: SocketRequest) -> AsyncIterator[str]:
        yield request.input
        if request.input == "first":
            await asyncio.sleep(3600)

    async with serving(answer) as (_, url), client_of(url) as client, client_of(url) as other:
        events = client.send("first", stream="chat-1")
        async with events as first:
            assert TextDelta("first") == await anext(first)
            assert "second" == await other.send("second", stream="chat-1", if_running="interrupt").join()
            assert Finish("cancelled") == [event async for event in first][-1]


async def test_a_server_that_drains_tells_its_client_which_goes_on_with_another_one() -> None:
    hold = asyncio.Event()

    async def held(request: SocketRequest) -> AsyncIterator[str]:
        yield "0 "
        await hold.wait()
        yield "1 "

    async with serving(held) as (routes, url), serving(held, hub=routes.hub) as (_, second_url):
        with switched(url, second_url) as (switch, front):
            async with client_of(front) as client, client.send(None) as events:
                assert TextDelta("0 ") == await anext(events)
                switch()
                await routes.drain()
                hold.set()
                assert [TextDelta("1 "), Finish()] == [event async for event in events]
                assert 2 == client.connections


@contextmanager
def switched(first: str, second: str) -> Iterator[tuple[Callable[[], None], str]]:
    """One address before two servers: the first until it is switched."""
    with broken_wire(first, seed=0, tears=0) as wire:
        host, port = second.removeprefix("http://").split(":")

        def switch() -> None:
            wire._upstream = (host, int(port))

        yield switch, wire.url


@pytest.fixture
def port() -> Iterator[int]:
    """One that nobody else gets while a server of ours is started again: until then it is held, and nobody listens."""
    with socket.socket() as held:
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            held.setsockopt(socket.SOL_SOCKET, option, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@contextmanager
def server_process(path: Path, *, port: int, lease: float = 15.0) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, str(WORKER), str(path), str(port), str(lease)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process, f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait(60)
        assert process.stdout is not None
        process.stdout.close()


async def read_until(events: Any, count: int) -> list[Event]:
    return [await anext(events) for _ in range(count)]


async def ended(path: Path, name: str) -> None:
    """Wait until the store has all of a stream."""
    store = SqliteStore(path)
    try:
        async with asyncio.timeout(60):
            while (record := await store.get(name)) is None or record.state == "running":  # noqa: ASYNC110  # another process writes it
                await asyncio.sleep(0.01)
    finally:
        await store.aclose()


async def test_a_finished_answer_is_read_on_after_its_server_was_killed_and_started_again(tmp_path: Path, port: int) -> None:
    path = tmp_path / "hub.db"
    with server_process(path, port=port) as (process, url):
        async with client_of(url) as writer:
            assert text(2_000) == await writer.send([2_000, 0.0], stream="chat-1").join()
        # Small bounds: the server has sent a little of it when it dies.
        client = client_of(url, max_pending=2_000, max_retries=100_000, max_wait=0.05)
        async with client, client.resume("chat-1") as events:
            seen = await read_until(events, 3)
            await ended(path, "chat-1")
            process.kill()
            process.wait(60)
            with server_process(path, port=port):
                seen += [event async for event in events]
    assert text(2_000) == "".join(event.text for event in seen if isinstance(event, TextDelta))
    assert Finish() == seen[-1]


async def test_an_answer_whose_server_was_killed_ends_as_interrupted_and_says_what_had_come(tmp_path: Path, port: int) -> None:
    path = tmp_path / "hub.db"
    # The lease of one that is alive must not run out while the machine stalls it.
    with server_process(path, port=port, lease=4.0) as (process, url):
        client = client_of(url, max_retries=100_000, max_wait=0.05)
        async with client:
            with pytest.raises(StreamInterrupted) as caught:
                async with client.send([100_000, 0.01]) as events:
                    seen = await read_until(events, 10)
                    process.kill()
                    process.wait(60)
                    with server_process(path, port=port, lease=4.0):
                        async for event in events:
                            seen.append(event)
    told = "".join(event.text for event in seen if isinstance(event, TextDelta))
    assert text(len(seen)) == told
    assert told == caught.value.partial.text  # type: ignore[attr-defined]  # a Message


async def test_a_server_that_is_gone_for_good_means_a_cut_with_what_had_come(tmp_path: Path, port: int) -> None:
    with server_process(tmp_path / "hub.db", port=port) as (process, url):
        async with client_of(url, max_retries=3) as client:
            with pytest.raises(StreamTruncated, match="no other could be had") as caught:
                async with client.send([100_000, 0.01]) as events:
                    await read_until(events, 5)
                    process.kill()
                    process.wait(60)
                    async for _ in events:
                        continue
    assert caught.value.partial.text.startswith(text(5))  # type: ignore[attr-defined]  # a Message


async def test_sigterm_ends_streams_as_draining(tmp_path: Path, port: int) -> None:
    with server_process(tmp_path / "hub.db", port=port) as (process, url):
        async with client_of(url, max_retries=3) as client:
            with pytest.raises(StreamDraining) as caught:
                async with client.send([100_000, 0.01]) as events:
                    await read_until(events, 5)
                    process.send_signal(signal.SIGTERM)
                    async for _ in events:
                        continue
            assert caught.value.last_id is not None
        assert 0 == process.wait(60)
