"""Every kind of source that `sk.stream` takes, against the contract."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
from event_loops import asyncio_only

import streamkit as sk
from streamkit.testing import Probe, ScriptedModel, check_source, timed

pytestmark = pytest.mark.anyio

ITEMS = ["a", "b", "c"]


class SdkStream:
    """Like the stream of a provider's SDK: iterable, a context manager, with an asynchronous close."""

    def __init__(self) -> None:
        self.closed = 0
        self._rest = iter(ITEMS)

    def __aiter__(self) -> SdkStream:
        return self

    async def __anext__(self) -> str:
        for item in self._rest:
            return item
        raise StopAsyncIteration

    async def __aenter__(self) -> SdkStream:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        self.closed += 1


async def generator() -> AsyncIterator[str]:
    for item in ITEMS:
        yield item


async def created() -> SdkStream:
    return SdkStream()


@contextlib.asynccontextmanager
async def manager() -> AsyncIterator[AsyncIterator[str]]:
    items = generator()
    try:
        yield items
    finally:
        await items.aclose()  # type: ignore[attr-defined]  # a generator


def on_a_thread() -> Iterator[str]:
    yield from ITEMS


def channel() -> sk.Stream[str]:
    sender, source = sk.channel(8)
    for item in ITEMS:
        sender.push(item)
    sender.close()
    return source  # type: ignore[no-any-return]  # unpacked


MAKERS: list[Any] = [
    pytest.param(generator, id="async generator"),
    pytest.param(SdkStream, id="SDK stream"),
    pytest.param(created, id="awaitable of an SDK stream"),
    pytest.param(manager, id="async context manager"),
    pytest.param(lambda: list(ITEMS), id="list"),
    pytest.param(lambda: dict.fromkeys(ITEMS), id="dict"),
    pytest.param(on_a_thread, id="sync generator"),
    pytest.param(lambda: iter(ITEMS), id="sync iterator"),
    pytest.param(lambda: generator, id="callable"),
    pytest.param(lambda: lambda: created(), id="callable that gives an awaitable"),
    pytest.param(lambda: lambda: on_a_thread(), id="callable that gives a sync generator"),
    pytest.param(channel, id="channel"),
    pytest.param(lambda: Probe(ITEMS), id="object with aclose"),
    pytest.param(lambda: Probe(ITEMS, clean_up=0.5).generator(), id="generator with a slow clean-up"),
    pytest.param(lambda: timed("a", 1.0, "b", 0.5, "c"), id="slow generator"),
    pytest.param(lambda: sk.merge(sk.stream(ITEMS), sk.stream([])), id="merge"),
    pytest.param(lambda: ScriptedModel(b"a", b"b", b"c").bytes().map(bytes.decode), id="scripted model"),
]


@pytest.mark.parametrize("make", MAKERS)
async def test_a_source_holds_the_contract(make: Callable[[], Any]) -> None:
    report = await check_source(make, items=ITEMS)
    assert [1, 2, 3] == report.rules


async def test_an_sdk_stream_is_closed_once_whichever_way_it_is_given() -> None:
    for wrap in (lambda s: s, lambda s: _given(s), lambda s: lambda: s):
        made: list[SdkStream] = []

        def make(wrap: Callable[[SdkStream], Any] = wrap, made: list[SdkStream] = made) -> Any:
            made.append(SdkStream())
            return wrap(made[-1])

        await check_source(make, items=ITEMS)
        # One that was never awaited was never created for us: only that one may stay open.
        assert {1} >= {stream.closed for stream in made} - {0}
        assert 1 == made[0].closed == made[-1].closed


def _given(value: SdkStream) -> Awaitable[SdkStream]:
    async def give() -> SdkStream:
        return value

    return give()


@asyncio_only
async def test_an_asyncio_queue_is_a_source_without_an_end() -> None:
    queue: asyncio.Queue[str] = asyncio.Queue()
    for item in ITEMS:
        queue.put_nowait(item)
    assert ITEMS == await sk.stream(queue).take(3).collect()


@asyncio_only
async def test_a_stream_reader_gives_bytes_as_they_come() -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(b"one\ntwo")
    reader.feed_eof()
    assert [b"one\ntwo"] == await sk.stream(reader).collect()


async def test_the_items_of_a_dict_are_its_keys() -> None:
    assert ["x", "y"] == await sk.stream({"x": 1, "y": 2}).collect()


async def test_a_stream_is_given_back_as_it_is() -> None:
    stream = sk.stream(ITEMS)
    assert sk.stream(stream) is stream
