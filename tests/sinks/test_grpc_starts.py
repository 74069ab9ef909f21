"""Over gRPC a start under a name that the client chose is what it is over HTTP and WebSockets (`test_starts_agree`)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from grpc_pair import anyio_backend, on_asyncio, one_event_loop, pair

from streamkit.errors import UnknownStream
from streamkit.hub.hub import Hub

__all__ = ["anyio_backend", "one_event_loop"]


class Answers:
    """A handler whose answers say which they are, and wait in the middle."""

    def __init__(self) -> None:
        self.calls = 0
        self.go_on = asyncio.Event()

    def __call__(self, request: object = None) -> Any:
        self.calls += 1
        return self._items(self.calls)

    async def _items(self, number: int) -> AsyncIterator[str]:
        yield f"{number} "
        await self.go_on.wait()
        yield f"{number}"


@on_asyncio
async def test_an_answer_that_is_over_makes_room_for_the_next() -> None:
    answers = Answers()
    answers.go_on.set()
    async with Hub() as hub, pair(answers, hub=hub) as (_, client):
        assert ["1 1", "2 2"] == [await client.stream("x", id="a").join() for _ in range(2)]
        assert "2 2" == await client.resume("a").join()


@on_asyncio
async def test_one_that_runs_is_joined() -> None:
    answers = Answers()
    async with Hub() as hub, pair(answers, hub=hub) as (_, client):
        async with client.stream("x", id="a") as first, client.stream("y", id="a") as second:
            assert await anext(aiter(first)) == await anext(aiter(second))
            answers.go_on.set()
        assert ("1 1", 1) == (await client.resume("a").join(), answers.calls)


@on_asyncio
async def test_one_that_runs_and_may_not_be_read_is_not_found_and_runs_on() -> None:
    answers = Answers()
    async with Hub(authorize=lambda owner, action: False) as hub, pair(answers, hub=hub) as (_, client):
        there = await hub.start("a", answers())
        with pytest.raises(UnknownStream):
            await client.stream("x", id="a").collect()
        assert ("running", 1) == ((await there.status()).state, answers.calls)
