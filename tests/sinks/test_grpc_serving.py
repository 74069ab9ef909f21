"""A gRPC server as a whole: health, reflection, arguments, and a process that is told to stop."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from importlib import import_module
from typing import Any

import pytest
from event_loops import ASYNCIO_LOOPS
from grpc_pair import anyio_backend, grpc_aio, on_asyncio, one_event_loop, pair, until  # noqa: F401  # fixtures

import streamkit as sk
from streamkit.clients.grpc_client import GrpcClient
from streamkit.dialects.grpc.messages import wire
from streamkit.dialects.grpc.schema import SERVICE
from streamkit.errors import ConfigError, MissingExtra
from streamkit.sinks.grpc.servicer import StreamsServicer
from streamkit.sinks.grpc.serving import GrpcServer

pytestmark = pytest.mark.anyio


def answer(request: Any) -> list[str]:
    return ["Hello"]


@on_asyncio
@pytest.mark.parametrize("service", ["", SERVICE])
async def test_health_serves_and_turns_when_the_server_drains(service: str) -> None:
    messages: Any = import_module("grpc_health.v1.health_pb2")
    stubs: Any = import_module("grpc_health.v1.health_pb2_grpc")
    async with pair(answer) as (server, _), grpc_aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        watching = stubs.HealthStub(channel).Watch(messages.HealthCheckRequest(service=service))
        assert messages.HealthCheckResponse.SERVING == (await watching.read()).status
        await server._health.enter_graceful_shutdown()
        assert messages.HealthCheckResponse.NOT_SERVING == (await watching.read()).status
        watching.cancel()


@on_asyncio
async def test_reflection_tells_our_service_and_its_messages() -> None:
    messages: Any = import_module("grpc_reflection.v1alpha.reflection_pb2")
    stubs: Any = import_module("grpc_reflection.v1alpha.reflection_pb2_grpc")
    descriptors: Any = import_module("google.protobuf.descriptor_pb2")

    async with pair(answer) as (server, _), grpc_aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        call = stubs.ServerReflectionStub(channel).ServerReflectionInfo()
        await call.write(messages.ServerReflectionRequest(list_services=""))
        listed = {service.name for service in (await call.read()).list_services_response.service}
        found = {}
        for symbol in (SERVICE, "streamkit.v1.Events", "grpc.health.v1.Health"):
            await call.write(messages.ServerReflectionRequest(file_containing_symbol=symbol))
            (data,) = (await call.read()).file_descriptor_response.file_descriptor_proto
            found[symbol] = descriptors.FileDescriptorProto.FromString(data).package
        await call.write(messages.ServerReflectionRequest(file_containing_symbol="nobody.Knows"))
        assert (await call.read()).error_response.error_code
        call.cancel()
    assert {SERVICE, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"} == listed
    assert ["streamkit.v1", "streamkit.v1", "grpc.health.v1"] == list(found.values())


@on_asyncio
async def test_a_server_serves_once() -> None:
    server = GrpcServer(answer)
    async with server:
        with pytest.raises(ConfigError, match="serves once"):
            await server.__aenter__()
    await server.drain()


@on_asyncio
async def test_an_address_that_is_taken_is_said_when_it_is_opened() -> None:
    async with GrpcServer(answer) as server:
        with pytest.raises((OSError, RuntimeError)):
            async with GrpcServer(answer, f"127.0.0.1:{server.port}"):
                raise AssertionError("two servers on one port")


@on_asyncio
async def test_more_calls_than_the_bound_are_refused() -> None:
    sender, source = sk.channel(4)
    async with pair(lambda request: source, max_calls=1) as (_, client):
        await sender.send("a")
        async with client.stream("x") as events:
            assert sk.TextDelta("a") == await anext(aiter(events))
            with pytest.raises(sk.RateLimitError):
                await client.stream("y").collect()


@on_asyncio
async def test_services_of_ones_own_stand_beside_ours() -> None:
    grpc: Any = import_module("grpc")

    async def echo(request: bytes, context: object) -> bytes:
        return request

    def add(server: Any) -> None:
        methods = {"Echo": grpc.unary_unary_rpc_method_handler(echo)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("own.Service", methods),))

    async with pair(answer, also=add) as (server, client):
        async with grpc_aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            assert b"hi" == await channel.unary_unary("/own.Service/Echo")(b"hi")
        assert "Hello" == await client.stream("x").join()


@pytest.mark.parametrize("anyio_backend", [("trio", {})], indirect=True)
async def test_trio_is_told_that_grpc_runs_on_asyncio_only() -> None:
    with pytest.raises(ConfigError, match="asyncio only"):
        async with GrpcServer(answer):
            raise AssertionError("it was opened")
    with pytest.raises(ConfigError, match="asyncio only"):
        await GrpcClient("127.0.0.1:1").stream("x").collect()


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        ({"address": 5}, TypeError),
        ({"grace": -1}, ConfigError),
        ({"grace": float("nan")}, ConfigError),
        ({"grace": True}, TypeError),
        ({"limit": 0}, ConfigError),
        ({"max_message_bytes": 0}, ConfigError),
        ({"max_message_bytes": True}, TypeError),
        ({"max_calls": 0}, ConfigError),
        ({"also": 5}, TypeError),
        ({"owner": 5}, TypeError),
        ({"on_disconnect": "perhaps"}, ConfigError),
    ],
    ids=repr,
)
def test_wrong_arguments_are_said_at_the_call(wrong: dict[str, Any], kind: type[Exception]) -> None:
    with pytest.raises(kind):
        GrpcServer(answer, **wrong)


def test_a_handler_is_a_callable() -> None:
    with pytest.raises(TypeError):
        StreamsServicer(5)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="has its own"):
        GrpcServer(StreamsServicer(answer), hub=sk.Hub())


def test_a_missing_extra_names_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "grpc", None)
    monkeypatch.setitem(sys.modules, "grpc.aio", None)
    for make in (lambda: StreamsServicer(answer), lambda: GrpcClient("127.0.0.1:1")):
        with pytest.raises((MissingExtra, ImportError)) as caught:
            make()
        assert "streamkit-ai[grpc]" in str(caught.value)


@on_asyncio
async def test_a_client_that_does_not_read_holds_up_neither_its_source_nor_the_end() -> None:
    given = closed = 0

    async def endless(request: Any) -> AsyncIterator[str]:
        nonlocal given, closed
        try:
            while True:
                given += 1
                yield "x" * 200_000
        finally:
            closed += 1

    async with pair(endless, limit=0.3) as (server, _), grpc_aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        channel.unary_stream(f"/{SERVICE}/Stream")(wire().request("x"))
        await until(lambda: given)
        before = -1
        while before != given:  # until nothing goes out any more
            before = given
            await asyncio.sleep(0.2)
        assert 0 == closed
        await server.drain()
        await until(lambda: closed)
    assert (1, 0) == (closed, server.servicer.open)


SERVER = """
import asyncio
from streamkit.sinks.grpc.serving import GrpcServer

closed = 0

async def endless(request):
    global closed
    try:
        yield "so far"
        await asyncio.Event().wait()
    finally:
        closed += 1

async def main():
    async with GrpcServer(endless) as server:
        print(server.port, flush=True)
        await server.wait()
    print(closed, flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("anyio_backend", ASYNCIO_LOOPS[:1], indirect=True)
async def test_sigterm_tells_every_stream_closes_every_source_and_ends_the_process() -> None:
    process = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220  # of its own
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        seen = 0
        async with GrpcClient(f"127.0.0.1:{port}") as client:
            runs = [client.stream("x").open() for _ in range(50)]
            for run in runs:
                assert sk.TextDelta("so far") == await anext(aiter(run))
            process.send_signal(signal.SIGTERM)
            for run in runs:
                with pytest.raises(sk.StreamDraining) as caught:
                    await anext(aiter(run))
                seen += 1
                assert "so far" == caught.value.partial.text  # type: ignore[attr-defined]
        assert ("50\n", 0, 50) == (process.stdout.read(), process.wait(timeout=60), seen)
    finally:
        process.kill()
        process.wait(timeout=20)
        if process.stdout is not None:
            process.stdout.close()
