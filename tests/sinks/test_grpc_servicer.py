"""The gRPC service on a real server: what comes through, how it ends, and that every source is closed."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from event_loops import asyncio_only
from grpc_pair import Told, anyio_backend, grpc, grpc_aio, one_event_loop, pair, until  # noqa: F401  # fixtures

import streamkit as sk
from streamkit.clients.grpc_client import GrpcClient, Stop, Turned
from streamkit.dialects.grpc.messages import Wire, wire
from streamkit.dialects.grpc.schema import SERVICE, schema
from streamkit.errors import (
    AuthError,
    BadRequestError,
    InvalidToken,
    OverloadedError,
    RateLimitError,
    SourceError,
    StreamDraining,
    StreamInterrupted,
    StreamTimeout,
    StreamTruncated,
    UnknownStream,
)
from streamkit.events import Custom, ErrorEvent, Event, Finish, TextDelta, Usage
from streamkit.sinks.chats import Refused
from streamkit.sinks.grpc.requests import GrpcRequest
from streamkit.sinks.grpc.servicer import StreamsServicer

pytestmark = [pytest.mark.anyio, asyncio_only, pytest.mark.usefixtures("one_event_loop")]

PATH = f"/{SERVICE}/"


async def raw_call(port: int, method: str, data: bytes, *, metadata: Any = None, deadline: float = 60.0) -> Any:
    """What a client of any language would see: code, details and trailers of a failing call, and the messages before."""
    got: list[bytes] = []
    async with grpc_aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_stream(PATH + method)(data, timeout=deadline, metadata=metadata)
        with suppress(grpc_aio.AioRpcError):
            async for message in call:
                got.append(message)
        trailers = dict(await call.trailing_metadata())
        return (await call.code()).name, await call.details(), trailers, got


def ask(text: str = "hi", **fields: Any) -> bytes:
    data: bytes = schema().Request(text=text, **fields).SerializeToString()
    return data


# ---- what comes through


@pytest.mark.parametrize("kind", ["stream", "coroutine", "generator", "list"])
async def test_a_handler_gives_a_stream_or_whatever_sk_stream_takes(kind: str) -> None:
    async def coroutine(request: GrpcRequest) -> Any:
        return sk.stream(["a", TextDelta("b")])

    async def generator(request: GrpcRequest) -> AsyncIterator[Any]:
        yield "a"
        yield TextDelta("b")

    handlers: dict[str, Any] = {
        "stream": lambda request: sk.stream(["a", TextDelta("b")]),
        "coroutine": coroutine,
        "generator": generator,
        "list": lambda request: ["a", "b"],
    }
    async with pair(handlers[kind]) as (_, client):
        assert [TextDelta("a"), TextDelta("b"), Finish("stop")] == await client.stream("x").collect()


async def test_the_sources_own_finish_is_the_only_one() -> None:
    events: list[Event] = [TextDelta("a"), Usage(1, 2), Finish("length")]
    async with pair(lambda request: events) as (_, client):
        assert events == await client.stream("x").collect()


async def test_complete_gives_the_whole_message() -> None:
    events: list[Event] = [TextDelta("Hello "), TextDelta("you"), Usage(3, 4), Finish("stop")]
    async with pair(lambda request: events) as (_, client):
        message = await client.complete("x")
    assert ("Hello you", Usage(3, 4), Finish("stop")) == (message.text, message.usage, message.finish)


async def test_a_handler_sees_the_input_the_metadata_and_the_deadline() -> None:
    seen: list[Any] = []

    async def answer(request: GrpcRequest) -> AsyncIterator[str]:
        seen.append((request.method, request.input, request.metadata["x-user"], request.metadata["x-bin"], request.turn))
        assert request.deadline is not None
        assert 0 < request.deadline < 40
        assert request.peer.startswith("ipv4:127.0.0.1:")
        assert f"<GrpcRequest stream from {request.peer}>" == repr(request)
        assert [{"a": [1]}] == await request.inputs.collect()
        yield "ok"

    async with pair(answer, client={"metadata": {"x-user": "ann"}, "deadline": 30}) as (_, client):
        assert "ok" == await client.stream({"a": [1]}, metadata={"x-bin": b"\x00\xff"}).join()
    assert [("stream", {"a": [1]}, "ann", b"\x00\xff", 0)] == seen


async def test_events_that_are_ready_together_are_one_message() -> None:
    async with pair(lambda request: ["a"] * 100) as (server, _):
        code, _, _, got = await raw_call(server.port, "Stream", ask())
    assert ("OK", [100, 1]) == (code, [len(wire().batch(message).events) for message in got])


@pytest.mark.parametrize("ready", ["together", "alone"])
async def test_what_one_item_becomes_is_one_message_and_what_comes_alone_has_one_of_its_own(ready: str) -> None:
    async def lines() -> AsyncIterator[str]:
        for line in ("one two three", "four five"):
            yield line

    def answer(request: GrpcRequest) -> sk.Stream[str]:
        return sk.stream(lines()).flat_map(str.split) if ready == "together" else sk.stream(lines())

    async with pair(answer) as (server, _):
        code, _, _, got = await raw_call(server.port, "Stream", ask())
    lengths = [3, 2, 1] if ready == "together" else [1, 1, 1]
    assert ("OK", lengths) == (code, [len(wire().batch(message).events) for message in got])


async def test_items_that_come_alone_are_checked_and_written_like_those_that_come_together() -> None:
    items = [TextDelta("x" * 300), TextDelta("a", 1), Custom("c", {"n": 1}), "half \ud83d", "y" * 2_000_000, ""]

    async def one_by_one() -> AsyncIterator[Any]:
        for item in items:
            yield item

    async with pair(lambda request: one_by_one()) as (_, client):
        alone = await client.stream("x").collect()
    async with pair(lambda request: items) as (_, client):
        together = await client.stream("x").collect()
    assert [*items[:3], TextDelta("half \ufffd"), TextDelta("y" * 2_000_000), TextDelta(""), Finish()] == alone
    assert alone == together


async def test_an_event_is_sent_without_waiting_for_more() -> None:
    source = Told(["a"])
    async with pair(lambda request: source.items()) as (_, client):
        async with client.stream("x") as events:
            async for event in events:
                assert TextDelta("a") == event
                break
        await until(lambda: source.closed)


async def test_a_batch_larger_than_a_message_is_cut_between_events() -> None:
    texts = ["x" * 100_000 for _ in range(60)]
    async with pair(lambda request: texts) as (server, client):
        assert "".join(texts) == await client.stream("x").join()
        _, _, _, got = await raw_call(server.port, "Stream", ask())
    assert all(len(message) <= 1_100_000 for message in got)
    assert len(got) > 5


async def test_send_gives_the_handler_input_as_it_comes() -> None:
    heard = asyncio.Event()

    async def answer(request: GrpcRequest) -> AsyncIterator[str]:
        assert request.input is None
        async for piece in request.inputs:
            heard.set()
            yield str(piece).upper()

    async def typed() -> AsyncIterator[str]:
        yield "hel"
        await heard.wait()  # the first is there before the second is sent
        yield "lo"

    async with pair(answer) as (_, client):
        message = await client.send(typed)
    assert ("HELLO", Finish("stop")) == (message.text, message.finish)


async def test_send_answers_when_the_handler_has_heard_enough() -> None:
    spoken = Told(["a", "b"])
    async with pair(lambda request: request.inputs.take(1)) as (_, client):
        assert "a" == (await client.send(spoken.items())).text
    assert 1 == spoken.closed


async def test_binary_input_and_output() -> None:
    audio = [sk.DataDelta(b"\x00\x01", "audio/wav"), sk.DataDelta(b"\x02", "audio/wav")]
    async with pair(lambda request: request.inputs) as (_, client):
        got = await client.converse(audio).map(lambda pair: pair[1]).collect()
    assert [*audio, Finish()] == got


# ---- conversations


async def test_converse_answers_while_input_comes() -> None:
    sender, inputs = sk.channel(4)
    got: list[str] = []
    async with pair(lambda request: request.inputs.map(str.upper)) as (_, client):
        await sender.send("a")
        async with client.converse(inputs) as events:
            async for _, event in events:
                if isinstance(event, TextDelta):
                    got.append(event.text)
                    if event.text == "A":
                        await sender.send("b")
                    else:
                        sender.close()
    assert ["A", "B"] == got


async def test_a_cancel_by_message_ends_the_answer_with_its_finish_and_closes_the_source() -> None:
    source = Told(["so far"])
    sender, inputs = sk.channel(4)
    async with pair(lambda request: source.items()) as (_, client):
        await sender.send("go on for ever")
        got: list[Event] = []
        async with client.converse(inputs) as events:
            async for turn, event in events:
                assert 0 == turn
                got.append(event)
                if isinstance(event, TextDelta):
                    await sender.send(Stop())
                    sender.close()
    assert [TextDelta("so far"), Finish("cancelled")] == got
    assert 1 == source.closed


async def test_a_higher_turn_changes_course() -> None:
    first = Told(["one"])

    async def answer(request: GrpcRequest) -> Any:
        piece = await request.inputs.first()
        return first.items() if piece == "first" else [f"{piece} in turn {request.turn}"]

    sender, inputs = sk.channel(4)
    async with pair(answer) as (_, client):
        await sender.send("first")
        got: list[tuple[int, Event]] = []
        async with client.converse(inputs) as events:
            async for pair_ in events:
                got.append(pair_)
                if pair_ == (0, TextDelta("one")):
                    await sender.send(Turned(3, "second"))
                    sender.close()
    assert [
        (0, TextDelta("one")),
        (0, Finish("cancelled")),
        (3, TextDelta("second in turn 3")),
        (3, Finish("stop")),
    ] == got
    assert 1 == first.closed


async def test_one_turn_after_the_other_on_one_call() -> None:
    async def answer(request: GrpcRequest) -> Any:
        return [f"{await request.inputs.first()}!"]

    sender, inputs = sk.channel(4)
    texts: list[str] = []
    async with pair(answer) as (_, client):
        await sender.send(Turned(0, "a"))
        async with client.converse(inputs) as events:
            async for turn, event in events:
                if isinstance(event, TextDelta):
                    texts.append(event.text)
                elif turn == 2:
                    sender.close()
                else:
                    await sender.send(Turned(turn + 1, f"b{turn}"))
    assert ["a!", "b0!", "b1!"] == texts


async def test_input_of_a_turn_that_is_over_is_dropped() -> None:
    async with pair(lambda request: request.inputs) as (_, client):
        got = await client.converse([Turned(2, "new"), Turned(1, "old"), Turned(2, "er")]).collect()
    assert "newer" == "".join(event.text for turn, event in got if turn == 2 and isinstance(event, TextDelta))
    assert {2} == {turn for turn, _ in got}


async def test_a_handler_that_does_not_read_holds_the_client_back() -> None:
    asked = asyncio.Event()

    async def answer(request: GrpcRequest) -> AsyncIterator[str]:
        await asked.wait()
        async for piece in request.inputs:
            yield str(len(piece))

    sent = 0

    async def pieces() -> AsyncIterator[str]:
        nonlocal sent
        for _ in range(400):
            sent += 1
            yield "x" * 100_000

    async with pair(answer) as (_, client), client.converse(pieces) as events:
        reading = asyncio.ensure_future(anext(aiter(events)))
        await until(lambda: sent >= 17)
        before = -1
        while before != sent:  # until nothing moves any more
            before = sent
            await asyncio.sleep(0.2)
        assert sent < 200
        asked.set()
        assert (0, TextDelta("100000")) == await reading
        rest = [event async for _, event in events]
    assert 400 == len(rest)


async def test_a_failing_turn_ends_the_call_while_the_client_still_has_input() -> None:
    source = Told(["so far"], error=sk.OverloadedError("secret"))
    typed = Told(["a"])
    async with pair(lambda request: source.items()) as (_, client):
        with pytest.raises(OverloadedError) as caught:
            await client.converse(typed.items()).collect()
    assert "secret" not in str(caught.value)
    assert (1, 1) == (source.closed, typed.closed)


@pytest.mark.parametrize("method", ["Send", "Converse"])
async def test_a_call_without_any_input_is_an_invalid_argument(method: str) -> None:
    async with pair(lambda request: ["a"]) as (server, _), grpc_aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        call = channel.stream_stream(PATH + method)(iter(()))
        assert "INVALID_ARGUMENT" == (await call.code()).name


# ---- how it ends


FAILURES = [
    (sk.RateLimitError("secret", retry_after=2.5), "RESOURCE_EXHAUSTED", "rate-limited", True),
    (sk.OverloadedError("secret"), "UNAVAILABLE", "overloaded", True),
    (sk.StreamInterrupted("secret"), "UNAVAILABLE", "interrupted", True),
    (sk.StreamTimeout("secret", phase="idle", seconds=1), "DEADLINE_EXCEEDED", "timeout", True),
    (sk.StreamTruncated("secret"), "DATA_LOSS", "truncated", True),
    (sk.BadRequestError("secret"), "INVALID_ARGUMENT", "bad-request", False),
    (sk.ContentBlockedError("secret"), "FAILED_PRECONDITION", "content-blocked", False),
    (sk.AuthError("secret"), "INTERNAL", "auth", False),
    (sk.RemoteProtocolError("secret"), "INTERNAL", "protocol", False),
    (ValueError("secret"), "INTERNAL", "error", False),
    (UnknownStream("secret"), "NOT_FOUND", "not-found", False),
    (InvalidToken("secret", reason="future"), "INVALID_ARGUMENT", "bad-token", False),
]


@pytest.mark.parametrize("before", [[], ["so far"]], ids=["first", "later"])
@pytest.mark.parametrize(("error", "status", "code", "retryable"), FAILURES, ids=[row[2] for row in FAILURES])
async def test_a_failure_is_a_status_with_trailers_and_never_its_text(
    error: Exception, status: str, code: str, retryable: bool, before: list[str]
) -> None:
    source = Told(before, error=error)
    async with pair(lambda request: source.items()) as (server, _):
        got, details, trailers, messages = await raw_call(server.port, "Stream", ask())
    assert (status, code) == (got, trailers["streamkit-code"])
    assert retryable == ("streamkit-retryable" in trailers)
    assert 16 == len(trailers["streamkit-correlation-id"])
    assert "secret" not in details + repr(trailers)
    assert (len(before), 1) == (len(messages), source.closed)


async def test_a_time_to_wait_is_told_to_grpcs_own_retries_and_to_googles_types() -> None:
    source = Told(error=sk.RateLimitError("secret", retry_after=2.5))
    async with pair(lambda request: source.items()) as (server, _):
        _, _, trailers, _ = await raw_call(server.port, "Stream", ask())
    assert ("2.5", "2500") == (trailers["streamkit-retry-after"], trailers["grpc-retry-pushback-ms"])


async def test_an_error_event_of_the_source_is_a_status_with_its_own_words() -> None:
    async with pair(lambda request: ["a", ErrorEvent("Come back later.", code="overloaded", retryable=True)]) as (server, client):
        status, details, _, messages = await raw_call(server.port, "Stream", ask())
        assert ("UNAVAILABLE", "Come back later.") == (status, details)
        assert [TextDelta("a")] == wire().batch(messages[0]).events
        with pytest.raises(OverloadedError) as caught:
            await client.stream("x").collect()
    assert "a" == caught.value.partial.text  # type: ignore[attr-defined]


async def test_an_error_event_with_an_endless_message_still_arrives() -> None:
    async with pair(lambda request: [ErrorEvent("é" * 50_000, code="x" * 900)]) as (server, _):
        status, details, trailers, _ = await raw_call(server.port, "Stream", ask())
    assert ("INTERNAL", 500, "error") == (status, len(details), trailers["streamkit-code"])


async def test_what_the_application_refuses_has_its_own_words_and_status() -> None:
    def answer(request: GrpcRequest) -> Any:
        raise Refused(401, "Sign in first.")

    async with pair(answer) as (server, _):
        status, details, trailers, _ = await raw_call(server.port, "Stream", ask())
    assert ("UNAUTHENTICATED", "Sign in first.", "unauthorized") == (status, details, trailers["streamkit-code"])


async def test_a_handler_may_end_the_call_in_grpcs_own_way() -> None:
    async def answer(request: GrpcRequest) -> AsyncIterator[str]:
        yield "a"
        await request.context.abort(grpc.StatusCode.ALREADY_EXISTS, "twice")

    async with pair(answer) as (server, _):
        status, details, _, messages = await raw_call(server.port, "Stream", ask())
    assert ("ALREADY_EXISTS", "twice", 1) == (status, details, len(messages))


async def test_an_item_that_is_no_event_ends_the_stream_behind_those_before_it() -> None:
    async with pair(lambda request: ["a", 5, "b"]) as (server, _):
        status, _, _, messages = await raw_call(server.port, "Stream", ask())
    assert ("INTERNAL", [TextDelta("a")]) == (status, wire().batch(messages[0]).events)


async def test_an_event_that_no_message_can_carry_ends_the_stream_behind_those_before_it() -> None:
    async with pair(lambda request: ["a", Custom("x", object()), "b"]) as (server, _):
        status, _, _, messages = await raw_call(server.port, "Stream", ask())
    assert ("INTERNAL", [[TextDelta("a")]]) == (status, [wire().batch(message).events for message in messages])


async def test_complete_fails_with_a_status_too() -> None:
    source = Told(["a"], error=sk.RateLimitError("secret", retry_after=3))
    async with pair(lambda request: source.items()) as (_, client):
        with pytest.raises(RateLimitError) as caught:
            await client.complete("x")
    assert (3.0, True, 1) == (caught.value.retry_after, caught.value.retryable, source.closed)


@pytest.mark.parametrize("method", ["Complete", "Stream"])
async def test_bytes_that_are_no_request_are_an_invalid_argument(method: str) -> None:
    called: list[Any] = []
    async with pair(called.append) as (server, _):
        status, details, trailers, _ = await raw_call(server.port, method, b"\xff\xff\xff")
    assert ("INVALID_ARGUMENT", "bad-request", []) == (status, trailers["streamkit-code"], called)
    assert "ff" not in details


@pytest.mark.parametrize("method", ["Send", "Converse"])
async def test_bytes_that_are_no_input_end_the_call_and_close_the_source(method: str) -> None:
    source = Told(["a"])
    async with (
        pair(lambda request: source.items()) as (server, _),
        grpc_aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        call = channel.stream_stream(PATH + method)()
        await call.write(wire().input("hi"))
        await until(lambda: source.given)
        await call.write(b"\xff\xff\xff")
        with suppress(grpc_aio.AioRpcError):  # the status comes behind the messages
            while await call.read() is not grpc_aio.EOF:
                continue
        assert "INVALID_ARGUMENT" == (await call.code()).name
    assert 1 == source.closed


# ---- leaving


async def test_a_client_that_leaves_closes_the_source() -> None:
    source = Told(["a"] * 3)
    async with pair(lambda request: source.items()) as (server, client):
        async with client.stream("x") as events:
            await anext(aiter(events))
        await until(lambda: source.closed)
        await until(lambda: not server.servicer.open)
    assert (1, 1) == (source.begun, source.closed)


async def test_a_source_is_not_cancelled_while_it_cleans_up() -> None:
    cleaning, go_on, interrupted = asyncio.Event(), asyncio.Event(), []

    async def clean_up() -> None:
        cleaning.set()
        try:
            await go_on.wait()
        except asyncio.CancelledError:
            interrupted.append(True)
            raise

    source = Told(["a"], clean_up=clean_up)
    async with pair(lambda request: source.items()) as (server, client):
        async with client.stream("x") as events:
            await anext(aiter(events))
        await cleaning.wait()  # the client has left
        draining = asyncio.ensure_future(server.drain())
        await until(lambda: server.servicer.refusing)
        assert (1, 0) == (server.servicer.open, source.closed)
        go_on.set()
        await until(lambda: source.closed)
        await draining
        await until(lambda: not server.servicer.open)
    assert [] == interrupted


async def test_a_client_that_closes_its_channel_closes_the_source_of_every_method() -> None:
    sources = [Told(["a"]) for _ in range(4)]
    given = iter(sources)
    async with pair(lambda request: next(given).items()) as (server, _):
        async with grpc_aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            channel.unary_unary(PATH + "Complete")(ask())
            channel.unary_stream(PATH + "Stream")(ask())
            for call in (channel.stream_unary(PATH + "Send")(), channel.stream_stream(PATH + "Converse")()):
                await call.write(wire().input("hi"))
            await until(lambda: all(source.given for source in sources))
        await until(lambda: all(source.closed for source in sources))
        await until(lambda: not server.servicer.open)


STEPS = 6


@pytest.mark.parametrize("step", range(STEPS))
@pytest.mark.parametrize("how", ["fail", "leave", "cancel", "drain"])
async def test_at_every_step_what_came_is_kept_and_the_source_is_closed(how: str, step: int) -> None:
    items = [f"{number} " for number in range(step)]
    source = Told(items, error=sk.OverloadedError("secret") if how == "fail" else None)
    sender, inputs = sk.channel(4)
    await sender.send("hi")
    got: list[Event] = []
    error: BaseException | None = None
    async with pair(lambda request: source.items()) as (server, client):
        try:
            async with client.converse(inputs) as events:
                if not step and how in ("cancel", "drain", "leave"):
                    reading = asyncio.ensure_future(anext(aiter(events)))
                    await until(lambda: source.begun)
                    await act(how, server, sender, Stop())
                    if how == "leave":
                        reading.cancel()
                        with suppress(asyncio.CancelledError):
                            await reading
                    else:
                        got.append((await reading)[1])
                elif step or how == "fail":
                    async for _, event in events:
                        got.append(event)
                        if len(got) == step and how != "fail":
                            await act(how, server, sender, Stop())
                            if how == "leave":
                                break
        except SourceError as caught:
            error = caught
        except StreamDraining as caught:
            error = caught
        await until(lambda: source.closed)
        await until(lambda: not server.servicer.open)
    assert items == [event.text for event in got if isinstance(event, TextDelta)]
    assert (1, 1) == (source.begun, source.closed)
    expected = {"fail": OverloadedError, "drain": StreamDraining}.get(how)
    assert expected is (None if error is None else type(error))
    if how == "cancel":
        assert Finish("cancelled") == got[-1]


async def act(how: str, server: Any, sender: Any, stop: object) -> None:
    if how == "cancel":
        await sender.send(stop)
        sender.close()
    elif how == "drain":
        server.servicer.drain()


# ---- LIM-10


async def test_lim_10_a_deadline_that_has_passed_closes_the_source() -> None:
    source = Told(["a"])
    async with pair(lambda request: source.items()) as (server, client):
        status, _, _, _ = await raw_call(server.port, "Stream", ask(), deadline=0.4)
        assert "DEADLINE_EXCEEDED" == status
        with pytest.raises(StreamTimeout) as caught:
            await client.stream("x", deadline=0.4).collect()
        assert ("total", 0.4) == (caught.value.phase, caught.value.seconds)
        assert isinstance(caught.value.partial, sk.Message)
        await until(lambda: not server.servicer.open)
    assert source.begun == source.closed


async def test_lim_10_a_reset_stream_closes_the_source() -> None:
    source = Told(["a"])
    async with (
        pair(lambda request: source.items()) as (server, _),
        grpc_aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        call = channel.unary_stream(PATH + "Stream")(ask())
        await call.read()
        call.cancel()  # RST_STREAM
        assert "CANCELLED" == (await call.code()).name
        await until(lambda: source.closed)


async def test_lim_10_a_connection_that_is_reset_closes_the_source_and_is_no_end() -> None:
    source = Told(["a"])
    writers: list[asyncio.StreamWriter] = []

    async with pair(lambda request: source.items()) as (server, _):

        async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", server.port)
            writers.extend((writer, up_writer))

            async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
                with suppress(OSError):
                    while data := await source.read(65536):
                        target.write(data)

            await asyncio.gather(copy(reader, up_writer), copy(up_reader, writer))

        proxy = await asyncio.start_server(pass_on, "127.0.0.1", 0)
        port = proxy.sockets[0].getsockname()[1]
        async with GrpcClient(f"127.0.0.1:{port}") as client:
            with pytest.raises(StreamTruncated) as caught:
                async with client.stream("x") as events:
                    async for _ in events:
                        for writer in writers:
                            raw = writer.get_extra_info("socket")
                            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                            writer.transport.abort()
        assert "a" == caught.value.partial.text  # type: ignore[attr-defined]
        await until(lambda: source.closed)
        proxy.close()


async def test_lim_10_a_request_larger_than_the_bound_never_reaches_the_handler() -> None:
    called: list[Any] = []
    async with pair(called.append, max_message_bytes=10_000) as (server, client):
        status, _, _, _ = await raw_call(server.port, "Stream", ask("x" * 20_000))
        assert "RESOURCE_EXHAUSTED" == status
        with pytest.raises(sk.RemoteProtocolError, match="larger than its reader allows"):
            await client.stream("x" * 20_000).collect()
    assert [] == called


async def test_lim_10_input_larger_than_the_bound_ends_the_call_and_closes_the_source() -> None:
    source = Told(["a"])
    async with pair(lambda request: source.items(), max_message_bytes=10_000) as (server, _):
        async with grpc_aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            call = channel.stream_stream(PATH + "Converse")()
            await call.write(wire().input("hi"))
            await until(lambda: source.given)
            with suppress(grpc_aio.AioRpcError, asyncio.InvalidStateError):
                await call.write(wire().input("x" * 20_000))
            with suppress(grpc_aio.AioRpcError):
                while await call.read() is not grpc_aio.EOF:
                    continue
            assert "RESOURCE_EXHAUSTED" == (await call.code()).name
        await until(lambda: source.closed)


async def test_lim_10_an_event_larger_than_the_clients_bound_fails_there_and_closes_the_source() -> None:
    source = Told(["a", "x" * 20_000])
    async with pair(lambda request: source.items(), client={"max_message_bytes": 10_000}) as (_, client):
        with pytest.raises(sk.RemoteProtocolError, match="larger than its reader allows") as caught:
            await client.stream("x").collect()
        assert "a" == caught.value.partial.text  # type: ignore[attr-defined]
        await until(lambda: source.closed)


async def test_lim_10_metadata_above_8_kb_is_refused_before_the_handler() -> None:
    called: list[Any] = []
    async with pair(called.append) as (server, client):
        status, _, _, _ = await raw_call(server.port, "Stream", ask(), metadata=(("x-large", "y" * 20_000),))
        assert "RESOURCE_EXHAUSTED" == status
        with pytest.raises(RateLimitError):
            await client.stream("x", metadata={"x-large": "y" * 20_000}).collect()
    assert [] == called


# ---- draining


async def test_a_server_that_stops_tells_every_stream_and_closes_every_source() -> None:
    sources = [Told(["so far"]) for _ in range(20)]
    given = iter(sources)
    failures: list[StreamDraining] = []

    async def read(client: Any) -> None:
        try:
            await client.stream("x").collect()
        except StreamDraining as error:
            failures.append(error)

    async with pair(lambda request: next(given).items()) as (server, client):
        reading = [asyncio.ensure_future(read(client)) for _ in sources]
        await until(lambda: all(source.given for source in sources))
        await server.drain()
        await asyncio.gather(*reading)
    assert 20 == len(failures)
    assert {"so far"} == {error.partial.text for error in failures}  # type: ignore[attr-defined]
    assert [1] * 20 == [source.closed for source in sources]


async def test_open_calls_get_the_grace_to_end_by_themselves_and_new_ones_are_refused() -> None:
    go_on = asyncio.Event()

    async def answer(request: GrpcRequest) -> AsyncIterator[str]:
        yield "a"
        await go_on.wait()
        yield "b"

    async with pair(answer, grace=20.0) as (server, client):
        async with client.stream("x") as events:
            assert TextDelta("a") == await anext(aiter(events))
            draining = asyncio.ensure_future(server.drain())
            await until(lambda: server.servicer.refusing)
            with pytest.raises(StreamDraining):
                await client.stream("y").collect()
            go_on.set()
            assert [TextDelta("b"), Finish()] == [event async for event in events]
        await draining


async def test_a_conversation_between_two_turns_is_told_too() -> None:
    sender, inputs = sk.channel(4)
    await sender.send("hi")
    async with pair(lambda request: ["a"]) as (server, client):
        with pytest.raises(StreamDraining):
            async with client.converse(inputs) as events:
                async for _, event in events:
                    if isinstance(event, Finish):
                        server.servicer.drain()


# ---- streams of a hub


async def test_a_kept_stream_has_a_name_and_tokens_and_can_be_resumed() -> None:
    go_on = asyncio.Event()

    async def answer(request: GrpcRequest) -> AsyncIterator[str]:
        yield "Hel"
        await go_on.wait()
        yield "lo"

    async with sk.Hub() as hub, pair(answer, hub=hub) as (_, client):
        run = client.stream("x", id="greeting").open()
        async with run:
            assert TextDelta("Hel") == await anext(aiter(run))
            token = run.about["token"]
            assert "greeting" == run.about["stream"]
        go_on.set()
        assert isinstance(token, str)
        assert [TextDelta("lo"), Finish()] == await client.resume("greeting", after=token).collect()
        assert "Hello" == await client.resume("greeting").join()


async def test_a_kept_stream_is_cancelled_from_elsewhere() -> None:
    source = Told(["so far"])
    async with sk.Hub() as hub, pair(lambda request: source.items(), hub=hub) as (_, client):
        got: list[Event] = []
        async with client.stream("x", id="talk") as events:
            async for event in events:
                got.append(event)
                if isinstance(event, TextDelta):
                    assert await client.cancel("talk", "enough")
        assert [TextDelta("so far"), Finish("cancelled")] == got
        assert not await client.cancel("talk")
        assert "enough" == (await hub.status("talk")).reason
    assert 1 == source.closed


async def test_a_kept_stream_is_only_its_owners() -> None:
    def owner(request: GrpcRequest) -> str:
        return str(request.metadata["x-user"])

    async with sk.Hub() as hub, pair(lambda request: ["a"], hub=hub, owner=owner) as (_, client):
        mine, yours = {"x-user": "ann"}, {"x-user": "bob"}
        assert "a" == await client.stream("x", id="talk", metadata=mine).join()
        assert "a" == await client.resume("talk", metadata=mine).join()
        with pytest.raises(UnknownStream):
            await client.resume("talk", metadata=yours).collect()
        with pytest.raises(UnknownStream):
            await client.stream("x", id="talk", metadata=yours).collect()


@pytest.mark.parametrize("kept", [True, False])
async def test_whom_the_owner_refuses_gets_no_answer_by_any_method(kept: bool) -> None:
    answered: list[str] = []

    def owner(request: GrpcRequest) -> str:
        raise Refused(401, f"Sign in first, for {request.method}.")

    def handler(request: GrpcRequest) -> list[str]:
        answered.append(request.method)
        return ["a secret"]

    async with sk.Hub() as hub, pair(handler, hub=hub if kept else None, owner=owner) as (_, client):

        async def converse() -> None:
            async for _ in client.converse(["a"]):
                raise AssertionError("it was answered")

        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "complete": lambda: client.complete("a"),
            "stream": lambda: client.stream("a").message(),
            "send": lambda: client.send(["a"]),
            "converse": converse,
        }
        for method, call in calls.items():
            with pytest.raises(AuthError, match=f"for {method}"):
                await call()
    assert [] == answered


async def test_a_token_that_the_stream_never_gave_is_an_invalid_argument() -> None:
    async with sk.Hub() as hub, pair(lambda request: ["a"], hub=hub) as (_, client):
        await client.stream("x", id="talk").collect()
        for token in ("nonsense", "abcdefgh.99"):
            with pytest.raises(InvalidToken):
                await client.resume("talk", after=token).collect()


async def test_a_kept_stream_that_failed_ends_all_its_readers_with_the_status() -> None:
    source = Told(["a"], error=sk.OverloadedError("secret"))
    async with sk.Hub() as hub, pair(lambda request: source.items(), hub=hub) as (_, client):
        for events in (client.stream("x", id="talk"), client.resume("talk")):
            with pytest.raises(OverloadedError) as caught:
                await events.collect()
            assert "a" == caught.value.partial.text  # type: ignore[attr-defined]


async def test_events_of_a_hub_are_encoded_once_however_many_read() -> None:
    written = 0

    class Counting(Wire):
        def events(self, events: Any, **fields: Any) -> bytes:
            nonlocal written
            written += len(events)
            return super().events(events, **fields)

    sender, source = sk.channel(4)
    got: list[list[Event]] = [[] for _ in range(10)]

    async def read(events: Any, into: list[Event]) -> None:
        async with events as run:
            async for event in run:
                into.append(event)

    async with sk.Hub() as hub:
        servicer = StreamsServicer(lambda request: source, hub=hub)
        servicer._wire = Counting(schema())
        written = 0  # without what it has ready from the beginning
        async with pair(servicer) as (_, client):
            reading = [asyncio.ensure_future(read(client.stream("x", id="talk"), got[0]))]
            await until(lambda: servicer.open == 1)
            reading += [asyncio.ensure_future(read(client.resume("talk"), into)) for into in got[1:]]
            await until(lambda: servicer.open == 10)
            for number in range(5):
                await sender.send(str(number))
                await until(lambda: all(len(events) == number + 1 for events in got))  # noqa: B023  # awaited here
            sender.close()
            await asyncio.gather(*reading)
    assert [*[TextDelta(str(number)) for number in range(5)], Finish()] == got[0]
    assert [got[0]] * 10 == got
    assert 6 == written


async def test_without_a_hub_resume_and_cancel_are_unimplemented() -> None:
    async with pair(lambda request: ["a"]) as (_, client):
        with pytest.raises(BadRequestError, match="UNIMPLEMENTED"):
            await client.resume("talk").collect()
        with pytest.raises(BadRequestError, match="UNIMPLEMENTED"):
            await client.cancel("talk")


async def test_a_stray_cancellation_of_the_source_is_an_interruption() -> None:
    async def answer(request: GrpcRequest) -> AsyncIterator[str]:
        yield "a"
        task = asyncio.ensure_future(asyncio.Event().wait())
        task.cancel()
        await task

    async with pair(answer) as (_, client):
        with pytest.raises(StreamInterrupted):
            await client.stream("x").collect()
