"""A gRPC client in another language, made of the published `.proto`: it sees an end as an end, and a failure as one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from importlib.resources import files
from typing import Any

import pytest
from event_loops import asyncio_only
from grpc_pair import Told, anyio_backend, one_event_loop, pair, until  # noqa: F401  # fixtures
from node_clients import PATIENCE_S, NodeSession, node_session

import streamkit as sk
from streamkit.sinks.grpc.requests import GrpcRequest

pytestmark = [pytest.mark.anyio, asyncio_only, pytest.mark.usefixtures("one_event_loop")]


@pytest.fixture(scope="module")
def node() -> Iterator[NodeSession]:
    with node_session("grpc_js.mjs", files("streamkit.dialects.grpc") / "streamkit.proto") as session:
        yield session


async def ask(node: NodeSession, function: str, server: Any, **arguments: object) -> Any:
    """The event loop goes on meanwhile: the server is in it."""
    asked = node.ask(function, target=f"127.0.0.1:{server.port}", **arguments)
    await asyncio.wait((asyncio.wrap_future(asked),), timeout=PATIENCE_S)
    return node.result(asked, function, 0)


async def test_a_stream_and_a_whole_answer_are_read(node: NodeSession) -> None:
    async with pair(lambda request: ["Hello ", request.input]) as (server, _):
        got = await ask(node, "stream", server, text="w\u00f6rld \U0001f30d")
        assert ("Hello w\u00f6rld \U0001f30d", [[0, "stop"]], "OK", []) == (
            got["text"],
            got["finished"],
            got["status"],
            got["trailers"],
        )
        assert "Hello you" == await ask(node, "complete", server, text="you")


async def test_a_failure_is_a_status_with_our_trailers(node: NodeSession) -> None:
    source = Told(["so far"], error=sk.RateLimitError("secret", retry_after=7))
    async with pair(lambda request: source.items()) as (server, _):
        got = await ask(node, "stream", server, text="x")
    assert ("so far", [], "RESOURCE_EXHAUSTED", "rate-limited") == (got["text"], got["finished"], got["status"], got["code"])
    assert "secret" not in got["details"]
    assert {"streamkit-retry-after", "streamkit-retryable", "streamkit-correlation-id"} <= set(got["trailers"])


async def test_a_client_that_cancels_closes_the_source(node: NodeSession) -> None:
    source = Told(["a"])
    async with pair(lambda request: source.items()) as (server, _):
        got = await ask(node, "stream", server, text="x", leave=1)
        assert ("a", "CANCELLED") == (got["text"], got["status"])
        await until(lambda: source.closed)


async def test_a_deadline_closes_the_source(node: NodeSession) -> None:
    source = Told(["a"])
    async with pair(lambda request: source.items()) as (server, _):
        assert "DEADLINE_EXCEEDED" == (await ask(node, "stream", server, text="x", seconds=0.5))["status"]
        await until(lambda: source.begun == source.closed and not server.servicer.open)


async def test_a_server_that_drains_says_so(node: NodeSession) -> None:
    source = Told(["a"])
    async with pair(lambda request: source.items()) as (server, _):
        asking = asyncio.ensure_future(ask(node, "stream", server, text="x"))
        await until(lambda: source.given)
        await server.drain()
        got = await asking
    assert ("a", "UNAVAILABLE", "draining", 1) == (got["text"], got["status"], got["code"], source.closed)


async def test_a_kept_stream_is_resumed_behind_its_token(node: NodeSession) -> None:
    async with sk.Hub() as hub, pair(lambda request: ["a", "b", "c"], hub=hub) as (server, _):
        first = await ask(node, "stream", server, text="x", id="talk")
        again = await ask(node, "resume", server, id="talk", after="")
        rest = await ask(node, "resume", server, id="talk", after=first["token"])
        assert "abc" == first["text"] == again["text"]
        assert ("", [[0, "stop"]], "OK") == (rest["text"], rest["finished"], rest["status"])
        assert "NOT_FOUND" == (await ask(node, "resume", server, id="nobody", after=""))["status"]


async def test_a_conversation_changes_course_and_is_stopped(node: NodeSession) -> None:
    closed: list[int] = []

    async def reply(request: GrpcRequest) -> AsyncIterator[str]:
        try:
            async with request.inputs as pieces:
                async for piece in pieces:
                    yield piece
        finally:
            closed.append(request.turn)

    async with pair(reply) as (server, _):
        got = await ask(node, "converse", server)
    assert ("onetwo", [[0, "cancelled"], [1, "cancelled"]], "OK", [0, 1]) == (got["text"], got["finished"], got["status"], closed)
