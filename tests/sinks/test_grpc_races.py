"""What may happen at once in a gRPC call, as a stop while a message is on its way out, and what is too large for one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from event_loops import asyncio_only
from grpc_pair import Told, anyio_backend, grpc_aio, one_event_loop, pair, until  # noqa: F401  # fixtures

import streamkit as sk
from streamkit.dialects.grpc.messages import wire
from streamkit.errors import BadRequestError, InvalidToken, SourceError, StreamDraining, StreamkitError
from streamkit.events import DataDelta, Event, Finish, TextDelta
from streamkit.flow.streams import stream as stream_of
from streamkit.sinks.grpc.requests import GrpcRequest
from streamkit.sinks.grpc.servicer import StreamsServicer
from streamkit.sinks.grpc.turns import Copying, Turn, Why, Writing
from streamkit.sinks.refusals import Refused

pytestmark = [pytest.mark.anyio, asyncio_only, pytest.mark.usefixtures("one_event_loop")]


class Slow:
    """A call whose client takes a message when it is told to."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.asked = 0
        self.take = asyncio.Semaphore(0)

    async def write(self, message: bytes) -> None:
        """One message."""
        self.asked += 1
        await self.take.acquire()
        self.taken.append(message)


def events_of(messages: list[bytes]) -> list[Event]:
    return [event for message in messages for event in wire().batch(message).events]


# ---- a stop while a message is on its way


@pytest.mark.parametrize("why", ["cancelled", "draining", "broken"])
async def test_a_turn_stopped_while_a_message_is_on_its_way_asks_its_source_for_nothing_more(why: Why) -> None:
    source, call, over = Told(["a"]), Slow(), asyncio.Event()
    turn = Turn(lambda: stream_of(source.items()), Writing(wire()), call.write, over.set)
    await until(lambda: call.asked)
    turn.stop(why)
    call.take.release()
    call.take.release()
    async with asyncio.timeout(60):
        await over.wait()
    assert (1, 0, 1) == (source.given, source.waits, source.closed)
    assert [TextDelta("a"), *([Finish("cancelled")] if why == "cancelled" else [])] == events_of(call.taken)


async def test_the_last_token_of_a_drained_stream_is_that_of_what_was_sent() -> None:
    """A reader resumes from it: what it was not sent must not be behind it."""
    call, over, asked = Slow(), asyncio.Event(), []

    async def messages() -> AsyncIterator[bytes]:
        for number in range(3):
            asked.append(number)
            yield b"%d" % number

    turn = Turn(lambda: stream_of(messages()), Copying(), call.write, over.set)
    await until(lambda: call.asked)
    turn.stop("draining")
    call.take.release()
    async with asyncio.timeout(60):
        await over.wait()
    assert ([0], [b"0"]) == (asked, call.taken)


# ---- a drain while a turn of a conversation ends


@pytest.mark.parametrize("how", ["drain", "refuse"])
async def test_a_conversation_whose_turn_just_ends_is_told_that_the_server_drains(how: str) -> None:
    cleaning, go_on = asyncio.Event(), asyncio.Event()

    async def clean_up() -> None:
        cleaning.set()
        await go_on.wait()

    source = Told(["a"], clean_up=clean_up)
    sender, inputs = sk.channel(4)
    await sender.send("hi")
    got: list[Event] = []

    async def read(client: Any) -> None:
        async with client.converse(inputs) as events:
            async for _, event in events:
                got.append(event)

    async with pair(lambda request: stream_of(source.items()) | sk.take(1)) as (server, client):
        reading = asyncio.ensure_future(read(client))
        await cleaning.wait()
        if how == "drain":
            server.servicer.drain()
        else:
            server.servicer.refuse(idle=lambda: None)
        go_on.set()
        with pytest.raises(StreamDraining):
            async with asyncio.timeout(60):
                await reading
    assert [TextDelta("a"), Finish()] == got


async def test_a_conversation_that_is_over_is_not_told_that_the_server_drains() -> None:
    async def answer(request: GrpcRequest) -> AsyncIterator[str]:
        (turn,) = servicer._turns
        turn.task.add_done_callback(lambda task: servicer.drain())  # behind the end, and before anybody has seen it
        async for piece in request.inputs:
            yield piece

    servicer = StreamsServicer(answer)
    async with pair(servicer) as (_, client):
        pairs = await client.converse(["a", "b"]).collect()
    assert [TextDelta("a"), TextDelta("b"), Finish()] == [event for _, event in pairs]


# ---- what is too large for one message


async def test_large_events_among_many_small_ones_are_messages_that_clients_read() -> None:
    picture = DataDelta(b"x" * 2_500_000, "image/png")
    events = [*[TextDelta(str(number)) for number in range(2000)], picture, picture, picture]
    async with pair(lambda request: events) as (_, client):
        assert [*events, Finish()] == await client.stream("x").collect()


def test_a_batch_is_cut_at_a_megabyte_wherever_its_large_events_are() -> None:
    large = TextDelta("x" * 600_000)
    for place in range(0, 1001, 250):
        batch: list[Any] = [TextDelta("y")] * 1000
        batch[place:place] = [large, large, large]
        messages = Writing(wire()).take(batch)
        assert isinstance(messages, list)
        assert batch == events_of(messages)
        assert max(map(len, messages)) <= 1_048_576


async def test_a_kept_stream_is_cut_into_messages_that_clients_read() -> None:
    events = [TextDelta("x" * 5_000) for _ in range(1000)]
    async with sk.Hub() as hub, pair(lambda request: events, hub=hub) as (_, client):
        assert [*events, Finish()] == await client.stream("x", id="large").collect()
        run = client.resume("large").open()
        tokens: list[object] = []
        async with run:
            text = ""
            async for event in run:
                text += getattr(event, "text", "")
                tokens.append(run.about.get("token"))
        assert 5_000_000 == len(text)
        assert 5 <= len(set(tokens))


# ---- what a client may say


@pytest.mark.parametrize("id", ["x" * 201, "a\nb"])
async def test_an_id_that_no_stream_can_have_is_the_clients_fault(id: str, caplog: pytest.LogCaptureFixture) -> None:
    called: list[Any] = []
    async with sk.Hub() as hub, pair(called.append, hub=hub) as (_, client):
        with pytest.raises(BadRequestError, match="1 to 200 printable"):
            await client.stream("x", id=id).collect()
    assert [] == called
    assert not [record for record in caplog.records if record.exc_info]


async def test_a_reason_to_cancel_that_has_no_end_is_not_kept() -> None:
    source = Told(["a"])
    async with sk.Hub() as hub, pair(lambda request: source.items(), hub=hub) as (_, client):
        async with client.stream("x", id="talk") as events:
            assert TextDelta("a") == await anext(aiter(events))
            assert await client.cancel("talk", "r" * 100_000)
            assert Finish("cancelled") == await anext(aiter(events))
        reason = (await hub.status("talk")).reason
    assert "r" * 200 == reason


@pytest.mark.parametrize(("message", "told"), [("x" * 20_000, "x" * 100), ("half \ud83d", "half \ufffd")])
async def test_a_refusal_in_odd_words_still_arrives(message: str, told: str) -> None:
    def refuse(request: GrpcRequest) -> None:
        raise Refused(403, message, code="no-plan")

    async with pair(refuse) as (_, client):
        with pytest.raises(SourceError) as caught:
            await client.stream("x").collect()
    assert "no-plan" == caught.value.code
    assert str(caught.value).startswith(told)


async def test_a_refusal_says_when_to_try_again() -> None:
    def refuse(request: GrpcRequest) -> None:
        raise Refused(429, "Too many.", retry_after=7)

    async with pair(refuse) as (_, client):
        with pytest.raises(SourceError) as caught:
            await client.stream("x").collect()
    assert (7, True) == (caught.value.retry_after, caught.value.retryable)


async def test_a_request_as_large_as_the_bound_is_answered() -> None:
    def answer(request: GrpcRequest) -> list[str]:
        return [str(len(request.input))] if isinstance(request.input, str) else []

    around = len(wire().request("x" * 5_000)) - 5_000
    async with pair(answer, max_message_bytes=10_000) as (_, client):
        assert str(10_000 - around) == await client.stream("x" * (10_000 - around)).join()
        with pytest.raises(StreamkitError):
            await client.stream("x" * (10_001 - around)).join()


@pytest.mark.parametrize(
    "token", ["x", "x" * 5_000, "\0", "\u20ac", "1.2", "-1", "abc.-1", "abc." + "9" * 400], ids=lambda token: token[:6]
)
async def test_a_token_of_any_form_that_is_not_ours_is_an_invalid_argument_and_logs_no_traceback(
    token: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with sk.Hub() as hub, pair(lambda request: ["a"], hub=hub) as (_, client):
        await client.stream("x", id="talk").collect()
        with pytest.raises(InvalidToken):
            await client.resume("talk", after=token).collect()
    assert not [record for record in caplog.records if record.exc_info]


# ---- many who leave at once


@pytest.mark.parametrize("kept", [False, True], ids=["alone", "in a hub"])
async def test_a_crowd_that_leaves_wherever_it_is_leaves_no_source_open(kept: bool) -> None:
    sources: list[Told] = []

    def answer(request: GrpcRequest) -> AsyncIterator[str]:
        sources.append(Told(["a", "b", "c"]))
        return sources[-1].items()

    async def leave(channel: Any, after: int) -> bool:
        call = channel.unary_stream("/streamkit.v1.Streams/Stream")(wire().request("hi"), timeout=60)
        seen = 0
        try:
            while seen < after:
                seen += len(wire().batch(await call.read()).events)
        finally:
            call.cancel()
        return seen >= after

    async with sk.Hub() as hub:
        options: dict[str, Any] = {"hub": hub, "on_disconnect": "cancel"} if kept else {}
        async with pair(answer, **options) as (server, _), grpc_aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            seen = await asyncio.gather(*[leave(channel, number % 4) for number in range(200)])
            await until(lambda: not server.servicer.open and all(source.closed == source.begun for source in sources))
    assert [True] * 200 == seen
    assert 150 <= len(sources) <= 200  # who left at once may have come to nothing


# ---- a server that is told to drain more than once


async def test_whoever_drains_a_server_that_drains_already_waits_for_the_same_end() -> None:
    """Or `async with` is left, and perhaps the event loop, before the streams have been told and their sources closed."""
    cleaning, go_on = asyncio.Event(), asyncio.Event()

    async def clean_up() -> None:
        cleaning.set()
        await go_on.wait()

    source = Told(["a"], clean_up=clean_up)
    async with pair(lambda request: source.items()) as (server, client):
        reading = asyncio.ensure_future(client.stream("x").collect())
        await until(lambda: source.given)
        first = asyncio.ensure_future(server.drain())
        await cleaning.wait()
        second = asyncio.ensure_future(server.drain())
        await until(lambda: server.servicer.refusing)
        asyncio.get_running_loop().call_soon(go_on.set)
        await second
        assert (1, 0) == (source.closed, server.servicer.open)
        await first
        with pytest.raises(StreamDraining):
            await reading


async def test_a_drain_that_is_cancelled_in_its_grace_tells_every_stream_and_closes_every_source_before_it_goes() -> None:
    source = Told(["a"])
    async with pair(lambda request: source.items(), grace=1000.0) as (server, client):
        reading = asyncio.ensure_future(client.stream("x").collect())
        await until(lambda: source.given)
        draining = asyncio.ensure_future(server.drain())
        await until(lambda: server.servicer.refusing)
        draining.cancel()
        with pytest.raises(asyncio.CancelledError):
            await draining
        assert (1, 0) == (source.closed, server.servicer.open)
        with pytest.raises(StreamDraining):
            await reading
