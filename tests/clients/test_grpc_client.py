"""The gRPC client against servers that are not ours: what it takes for an end, for a failure, and for a cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any
from urllib.parse import quote

import pytest
from grpc_pair import Told, anyio_backend, on_asyncio, one_event_loop, pair, until  # noqa: F401  # fixtures

import streamkit as sk
from streamkit.clients.grpc_client import GrpcClient, Stop, Turned
from streamkit.dialects.grpc.messages import wire
from streamkit.dialects.grpc.schema import SERVICE
from streamkit.dialects.grpc.statuses import STATUS_NUMBERS, error_of_status, status_of, trailers_of
from streamkit.dialects.outcomes import MESSAGES, Outcome, outcome_of
from streamkit.errors import (
    AuthError,
    BadRequestError,
    ConfigError,
    InvalidToken,
    LocalProtocolError,
    OverloadedError,
    RateLimitError,
    RemoteProtocolError,
    SourceError,
    StreamDraining,
    StreamInterrupted,
    StreamkitError,
    StreamTimeout,
    StreamTruncated,
    UnknownStream,
)
from streamkit.events import Event, Finish, Message, TextDelta

grpc: Any = import_module("grpc")
grpc_aio: Any = import_module("grpc.aio")


@asynccontextmanager
async def foreign(messages: Sequence[bytes], status: str = "OK", trailers: Any = ()) -> AsyncIterator[GrpcClient]:
    """A server by other hands that sends these messages and ends so."""

    async def stream(request: bytes, context: Any) -> None:
        for message in messages:
            await context.write(message)
        context.set_trailing_metadata(trailers)
        if status != "OK":
            await context.abort(grpc.StatusCode[status], "their secret=hunter2hunter2 words", trailers)

    server = grpc_aio.server()
    methods = {"Stream": grpc.unary_stream_rpc_method_handler(stream)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with GrpcClient(f"127.0.0.1:{port}") as client:
            yield client
    finally:
        await server.stop(0)


def said(*events: Event) -> bytes:
    return wire().events(events)


@on_asyncio
async def test_ok_with_a_finish_is_an_end() -> None:
    async with foreign([said(TextDelta("a"), Finish("length"))]) as client:
        assert [TextDelta("a"), Finish("length")] == await client.stream("x").collect()


@on_asyncio
@pytest.mark.parametrize(
    "messages",
    [[], [said(TextDelta("a"))], [said(TextDelta("a"), TextDelta("b", 0, 1), Finish())]],
    ids=["nothing", "no finish", "one of two choices"],
)
async def test_ok_without_the_finish_of_what_spoke_is_a_cut(messages: list[bytes]) -> None:
    async with foreign(messages) as client:
        with pytest.raises(StreamTruncated) as caught:
            await client.stream("x").collect()
    assert isinstance(caught.value.partial, Message)
    assert ("a" if messages else "") == caught.value.partial.text


STATUSES = [
    ("CANCELLED", StreamInterrupted),
    ("UNKNOWN", SourceError),
    ("INVALID_ARGUMENT", BadRequestError),
    ("DEADLINE_EXCEEDED", SourceError),
    ("NOT_FOUND", UnknownStream),
    ("ALREADY_EXISTS", BadRequestError),
    ("PERMISSION_DENIED", AuthError),
    ("RESOURCE_EXHAUSTED", RateLimitError),
    ("FAILED_PRECONDITION", BadRequestError),
    ("ABORTED", SourceError),
    ("OUT_OF_RANGE", BadRequestError),
    ("UNIMPLEMENTED", BadRequestError),
    ("INTERNAL", SourceError),
    ("UNAVAILABLE", StreamTruncated),
    ("DATA_LOSS", SourceError),
    ("UNAUTHENTICATED", AuthError),
]


@on_asyncio
@pytest.mark.parametrize(("status", "kind"), STATUSES)
async def test_every_status_of_grpc_is_an_error_of_ours_with_what_came(status: str, kind: type[StreamkitError]) -> None:
    async with foreign([said(TextDelta("a"))], status) as client:
        with pytest.raises(StreamkitError) as caught:
            await client.stream("x").collect()
    assert kind is type(caught.value)
    assert isinstance(caught.value.partial, Message)
    assert "a" == caught.value.partial.text
    assert "hunter2" not in str(caught.value)


def test_every_status_of_grpc_is_known_by_its_number() -> None:
    assert {code.name: code.value[0] for code in grpc.StatusCode} == dict(STATUS_NUMBERS)


@on_asyncio
async def test_a_message_that_is_none_is_a_remote_protocol_error() -> None:
    async with foreign([said(TextDelta("a")), b"\xff\xff\xff"]) as client:
        with pytest.raises(RemoteProtocolError) as caught:
            await client.stream("x").collect()
    assert "a" == caught.value.partial.text  # type: ignore[attr-defined]


@on_asyncio
async def test_nobody_there_is_overloaded_and_may_be_tried_again() -> None:
    async with GrpcClient("127.0.0.1:1") as client:
        for asking in (client.stream("x").collect(), client.complete("x"), client.send(["x"]), client.cancel("x")):
            with pytest.raises(OverloadedError) as caught:
                await asking
            assert caught.value.retryable


@on_asyncio
async def test_waiting_for_a_server_ends_with_the_deadline() -> None:
    async with GrpcClient("127.0.0.1:1", wait_for_ready=True, deadline=0.2) as client:
        with pytest.raises(StreamTimeout):
            await client.complete("x")


@on_asyncio
async def test_a_stream_can_be_run_again_and_asks_again() -> None:
    async with foreign([said(TextDelta("a"), Finish())]) as client:
        stream = client.stream("x")
        assert ["a", "a"] == [await stream.join(), await stream.join()]


@on_asyncio
async def test_a_channel_that_was_given_stays_open() -> None:
    async with foreign([said(TextDelta("a"), Finish())]) as client, grpc_aio.insecure_channel(client._peer) as channel:
        for _ in range(2):
            async with GrpcClient(channel) as other:
                assert "a" == await other.stream("x").join()


@on_asyncio
async def test_a_failing_source_of_input_is_what_the_caller_sees() -> None:
    from streamkit.sinks.grpc.serving import GrpcServer

    async def typed() -> AsyncIterator[str]:
        yield "a"
        raise ZeroDivisionError("mine")

    async with GrpcServer(lambda request: request.inputs) as server, GrpcClient(f"127.0.0.1:{server.port}") as client:
        with pytest.raises(ZeroDivisionError):
            await client.send(typed())
        with pytest.raises(ZeroDivisionError):
            await client.converse(typed()).collect()
        with pytest.raises(LocalProtocolError):
            await client.converse([object()]).collect()


@on_asyncio
@pytest.mark.parametrize("method", ["send", "converse"])
async def test_a_stray_cancellation_of_the_input_is_an_interruption_and_no_wait_without_end(method: str) -> None:
    from streamkit.sinks.grpc.serving import GrpcServer

    async def typed() -> AsyncIterator[str]:
        yield "a"
        other = asyncio.ensure_future(asyncio.Event().wait())
        other.cancel()
        await other

    async with GrpcServer(lambda request: request.inputs) as server, GrpcClient(f"127.0.0.1:{server.port}") as client:
        async with asyncio.timeout(20):
            with pytest.raises(StreamInterrupted):
                await (client.send(typed()) if method == "send" else client.converse(typed()).collect())


@on_asyncio
async def test_a_source_of_input_that_is_being_closed_is_not_cancelled_when_the_answer_is_there() -> None:
    from streamkit.sinks.grpc.serving import GrpcServer

    answered = asyncio.Event()
    closed: list[str] = []

    async def typed() -> AsyncIterator[str]:
        try:
            yield "a"
            yield "b"
        finally:
            try:
                await answered.wait()
                for _ in range(3):
                    await asyncio.sleep(0)
                closed.append("whole")
            except asyncio.CancelledError:
                closed.append("cut")
                raise

    def handler(request: Any) -> Any:
        asyncio.get_running_loop().call_later(0.05, answered.set)
        return request.inputs.take(1)

    async with GrpcServer(handler) as server, GrpcClient(f"127.0.0.1:{server.port}") as client:
        async with asyncio.timeout(20):
            assert "a" == (await client.send(sk.stream(typed()).take(1))).text
    assert ["whole"] == closed


@on_asyncio
async def test_a_source_of_input_that_swallows_a_cancel_is_cancelled_again() -> None:
    from streamkit.sinks.grpc.serving import GrpcServer

    swallowed = 0

    async def typed() -> AsyncIterator[str]:
        nonlocal swallowed
        yield "a"
        while swallowed < 2:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                swallowed += 1

    async with GrpcServer(lambda request: request.inputs.take(1)) as server, GrpcClient(f"127.0.0.1:{server.port}") as client:
        async with asyncio.timeout(20):
            assert "a" == (await client.send(sk.stream(typed).close_within(0.05))).text
    assert 2 == swallowed


@on_asyncio
@pytest.mark.parametrize("seen", range(1, 7))
async def test_who_leaves_in_the_middle_of_a_message_and_resumes_has_lost_nothing(seen: int) -> None:
    whole: list[Event] = [*[TextDelta(letter) for letter in "abcde"], Finish()]
    async with sk.Hub() as hub, pair(lambda request: list("abcde"), hub=hub) as (_, client):
        assert whole == await client.stream("x", id="talk").collect()
        got: list[Event] = []
        async with client.resume("talk") as run:  # all of it is there, and comes in one message
            async for event in run:
                got.append(event)
                if len(got) == seen:
                    break
            token = run.about["token"]
        assert isinstance(token, str)
        rest = await client.resume("talk", after=token).collect()
    assert whole[:seen] == got
    # The token is of the events that have all been given: behind the last one there is but the end, which is said again.
    assert (whole if seen < len(whole) else [Finish()]) == rest


@on_asyncio
@pytest.mark.parametrize("method", ["stream", "complete", "send", "converse"])
async def test_a_client_that_is_closed_by_another_task_is_an_interruption_and_no_cancelled_task(method: str) -> None:
    from streamkit.sinks.grpc.serving import GrpcServer

    begun = asyncio.Event()

    async def endless() -> AsyncIterator[str]:
        yield "a"
        begun.set()
        await asyncio.Event().wait()

    async with GrpcServer(lambda request: endless()) as server:
        client = GrpcClient(f"127.0.0.1:{server.port}")

        async def ask() -> object:
            match method:
                case "stream":
                    return await client.stream("x").collect()
                case "complete":
                    return await client.complete("x")
                case "send":
                    return await client.send(["x"])
                case _:
                    return await client.converse(["x"]).collect()

        asking = asyncio.create_task(ask())
        async with asyncio.timeout(20):
            await begun.wait()
            await client.aclose()
            with pytest.raises(StreamInterrupted):
                await asking
    assert not asking.cancelled()


# ---- arguments


@pytest.mark.parametrize(
    ("target", "wrong", "kind"),
    [
        ("http://127.0.0.1:50051", {}, ConfigError),
        ("HTTPS://chat.example", {}, ConfigError),
        ("", {}, ConfigError),
        (5, {}, TypeError),
        ("a:1", {"deadline": 0}, ConfigError),
        ("a:1", {"deadline": float("nan")}, ConfigError),
        ("a:1", {"deadline": True}, TypeError),
        ("a:1", {"max_message_bytes": 0}, ConfigError),
    ],
)
def test_wrong_arguments_are_said_at_the_call(target: Any, wrong: dict[str, Any], kind: type[Exception]) -> None:
    with pytest.raises(kind):
        GrpcClient(target, **wrong)


def test_wrong_input_is_said_at_the_call() -> None:
    client = GrpcClient("127.0.0.1:1")
    with pytest.raises(TypeError, match="None is none"):
        client.stream(None)
    with pytest.raises(LocalProtocolError):
        client.stream({"a": object()})
    with pytest.raises(ConfigError):
        client.stream("x", deadline=-1)
    for wrong in (-1, True, 1.5):
        with pytest.raises((ConfigError, TypeError)):
            Turned(wrong, "x")  # type: ignore[arg-type]
        with pytest.raises((ConfigError, TypeError)):
            Stop(turn=wrong)  # type: ignore[arg-type]


METADATA: list[tuple[dict[Any, Any], type[Exception]]] = [
    ({"Authorization": "secret"}, ConfigError),
    ({"a b": "secret"}, ConfigError),
    ({"": "secret"}, ConfigError),
    ({"x-user": "s\u00e9cret"}, ConfigError),
    ({"x-user": "secret\r\nx-admin: 1"}, ConfigError),
    ({"x-user": 5}, TypeError),
    ({"x-user": b"secret"}, TypeError),
    ({"x-user-bin": "secret"}, TypeError),
    ({5: "secret"}, TypeError),
]


@pytest.mark.parametrize(("metadata", "kind"), METADATA, ids=[repr(row[0]) for row in METADATA])
def test_metadata_that_grpc_cannot_send_is_said_at_the_call_without_its_value(
    metadata: dict[Any, Any], kind: type[Exception]
) -> None:
    client = GrpcClient("127.0.0.1:1")
    for make in (lambda: GrpcClient("127.0.0.1:1", metadata=metadata), lambda: client.stream("x", metadata=metadata)):
        with pytest.raises(kind, match="metadata") as caught:
            make()
        assert "cret" not in str(caught.value)


@pytest.mark.parametrize("make", [lambda turn: Stop(turn=turn), lambda turn: Turned(turn, "x")], ids=["Stop", "Turned"])
def test_a_turn_that_no_message_can_say_is_said_at_the_call(make: Any) -> None:
    assert 2**32 - 1 == make(2**32 - 1).turn
    with pytest.raises(ConfigError, match="turn"):
        make(2**32)


@pytest.mark.parametrize("method", ["stream", "complete", "send", "converse"])
@on_asyncio
async def test_a_channel_that_is_closed_already_is_said(method: str) -> None:
    channel = grpc_aio.insecure_channel("127.0.0.1:1")
    await channel.close()
    client = GrpcClient(channel)
    asked = getattr(client, method)(["x"])
    with pytest.raises(ConfigError, match="closed"):
        await (asked if method in ("complete", "send") else asked.collect())


@pytest.mark.parametrize("method", ["send", "converse"])
@on_asyncio
async def test_who_is_cancelled_when_the_input_fails_is_cancelled(method: str) -> None:
    asked = asyncio.Event()

    async def fails() -> AsyncIterator[str]:
        yield "a"
        await asked.wait()
        reading.cancel()
        raise ValueError("the input failed")

    async def read() -> None:
        given = getattr(client, method)(fails())
        await (given if method == "send" else given.collect())

    source = Told(["a"])
    async with pair(lambda request: source.items()) as (_, client):
        reading = asyncio.ensure_future(read())
        await until(lambda: source.given)
        asked.set()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await until(lambda: source.closed)


# ---- statuses, there and back


@pytest.mark.parametrize("began", [False, True])
@pytest.mark.parametrize(("status", "message"), [("CANCELLED", "CANCELLED"), ("INTERNAL", "Internal error from Core")])
def test_a_call_that_the_other_end_drops_is_an_interruption_however_far_it_was(status: str, message: str, began: bool) -> None:
    """As those that wait in the queue of a server that stops: trying again may help."""
    error = error_of_status(status, message, (), began=began, deadline=None, peer="example:50051")
    assert isinstance(error, StreamInterrupted)
    assert "example:50051" in str(error)


@pytest.mark.parametrize("code", sorted(MESSAGES))
def test_every_outcome_comes_back_as_the_error_that_it_was(code: str) -> None:
    outcome = Outcome("error", code, MESSAGES[code], True, 1.5, "abc")
    status, message = status_of(outcome)
    trailers = trailers_of(outcome, status, message, last_token="e.7")
    error = error_of_status(status, message, trailers, began=True, deadline=None, peer="them")
    assert MESSAGES[code] in str(error)
    if isinstance(error, SourceError):
        assert (code, True, 1.5, "abc") == (error.code, error.retryable, error.retry_after, error.request_id)
    elif isinstance(error, StreamDraining):
        assert "e.7" == error.last_id
    else:
        assert isinstance(error, (StreamTruncated, StreamInterrupted, UnknownStream, InvalidToken, RemoteProtocolError))


@pytest.mark.parametrize("wait", [float("nan"), float("inf"), -1.0, None])
def test_a_wait_that_is_none_is_not_told(wait: float | None) -> None:
    outcome = outcome_of(RateLimitError("x", retry_after=wait))
    names = {name for name, _ in trailers_of(outcome, *status_of(outcome))}
    assert {"streamkit-code", "streamkit-retryable", "grpc-status-details-bin"} == names


def test_a_wait_of_months_is_one_that_grpc_can_say() -> None:
    outcome = outcome_of(RateLimitError("x", retry_after=1e7))
    trailers = dict(trailers_of(outcome, *status_of(outcome)))
    assert int(str(trailers["grpc-retry-pushback-ms"])) < 2**31


@pytest.mark.parametrize("trailer", ["", "soon", "nan", "-5", "1e999", "x" * 5000])
def test_a_wait_that_cannot_be_read_is_none(trailer: str) -> None:
    trailers = (("streamkit-code", "rate-limited"), ("streamkit-retry-after", trailer))
    error = error_of_status("RESOURCE_EXHAUSTED", "x", trailers, began=False, deadline=None, peer="them")
    assert isinstance(error, RateLimitError)
    assert error.retry_after is None


def test_other_languages_read_the_details_as_googles_own_types() -> None:
    """google.rpc.Status and its details, built here from their published field numbers."""
    pb: Any = import_module("google.protobuf.descriptor_pb2")
    pools: Any = import_module("google.protobuf.descriptor_pool")
    factory: Any = import_module("google.protobuf.message_factory")
    file = pb.FileDescriptorProto(name="status.proto", package="g", syntax="proto3")
    text, number, message, repeated = 9, 5, 11, 3
    for name, fields in {
        "Any": [("type_url", 1, text, ""), ("value", 2, 12, "")],
        "Status": [("code", 1, number, ""), ("message", 2, text, ""), ("details", 3, message, ".g.Any")],
        "ErrorInfo": [("reason", 1, text, ""), ("domain", 2, text, "")],
        "Duration": [("seconds", 1, 3, ""), ("nanos", 2, number, "")],
        "RetryInfo": [("retry_delay", 1, message, ".g.Duration")],
    }.items():
        made = file.message_type.add(name=name)
        for field, at, kind, of in fields:
            made.field.add(name=field, number=at, type=kind, type_name=of or None, label=repeated if field == "details" else 1)
    pool = pools.DescriptorPool()
    pool.Add(file)

    def parsed(name: str, data: bytes) -> Any:
        return factory.GetMessageClass(pool.FindMessageTypeByName(f"g.{name}")).FromString(data)

    outcome = outcome_of(sk.RateLimitError("secret", retry_after=2.5), correlation_id="abc")
    name, words = status_of(outcome)
    status = parsed("Status", dict(trailers_of(outcome, name, words))["grpc-status-details-bin"])  # type: ignore[arg-type]
    assert (8, words) == (status.code, status.message)
    info, retry = status.details
    assert "type.googleapis.com/google.rpc.ErrorInfo" == info.type_url
    assert ("RATE_LIMITED", "streamkit") == (parsed("ErrorInfo", info.value).reason, parsed("ErrorInfo", info.value).domain)
    assert "type.googleapis.com/google.rpc.RetryInfo" == retry.type_url
    delay = parsed("RetryInfo", retry.value).retry_delay
    assert (2, 500_000_000) == (delay.seconds, delay.nanos)


@pytest.mark.parametrize("letter", ["é", "%", "x", "\U0001f600"])
def test_trailers_are_smaller_than_what_peers_may_refuse_at_random(letter: str) -> None:
    outcome = Outcome("error", "error", letter * 50_000, True, 1e9, "c" * 16)
    status, message = status_of(outcome)
    trailers = trailers_of(outcome, status, message, last_token="t" * 28)
    encoded = [len(value) * 4 // 3 if isinstance(value, bytes) else len(value) for _, value in trailers]
    assert len(quote(message)) + sum(encoded) + 64 * len(trailers) < 8192
    assert message and not message.strip(letter)
