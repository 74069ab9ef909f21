"""What went wrong with streams of several operators: each test is named after the symptom."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import pytest

import streamkit as sk

pytestmark = pytest.mark.anyio


async def numbers(count: int = 3) -> AsyncIterator[int]:
    for number in range(count):
        yield number


async def none_left() -> AsyncIterator[int]:
    for number in range(0):
        yield number


async def look_up(item: object) -> object:
    return await anext(none_left())


def same(stream: sk.Stream[Any]) -> sk.Stream[Any]:
    return stream


BOUNDARIES: dict[str, Callable[[sk.Stream[Any]], sk.Stream[Any]]] = {
    "none": same,
    "buffer": lambda stream: stream | sk.buffer(2),
    "merge": lambda stream: sk.merge(stream),
    "zip": lambda stream: sk.zip(stream),
    "race": lambda stream: sk.race(stream),
    "tee": lambda stream: sk.tee(stream, 1)[0],
    "share": lambda stream: sk.share(stream),
    "flatten": lambda stream: sk.stream([stream]) | sk.flatten(concurrency=2),
    "concat": lambda stream: sk.concat(stream),
    "debounce": lambda stream: stream | sk.debounce(0.01),
    "take_until": lambda stream: stream | sk.take_until(anyio.sleep_forever),
    "retry": lambda stream: stream | sk.retry(2, backoff=0),
}


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("concurrency", [1, 3])
async def test_an_anext_that_finds_nothing_in_a_callable_is_no_end_of_the_stream(boundary: str, concurrency: int) -> None:
    stream = BOUNDARIES[boundary](sk.stream(numbers).map(look_up, concurrency=concurrency))
    with pytest.raises(RuntimeError, match="StopAsyncIteration"):
        await stream.collect()


async def test_a_handler_that_finds_nothing_is_no_end_of_the_stream() -> None:
    async def broken() -> AsyncIterator[int]:
        yield 1
        raise OSError("line down")

    with pytest.raises(RuntimeError, match="StopAsyncIteration"):
        await (sk.stream(broken) | sk.catch(look_up)).collect()
