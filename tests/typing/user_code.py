"""Code as users write it, for the type checkers: `make check` reads it with mypy --strict and pyright strict.

What must be inferred is asserted; what must be refused carries an ignore, which a checker reports when
there is nothing to ignore.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import assert_type

import streamkit as sk


async def words() -> AsyncIterator[str]:
    yield "a"


async def measured(text: str) -> float:
    return float(len(text))


def length(text: str) -> int:
    return len(text)


@sk.operator
async def every(items: AsyncIterator[int], n: int) -> AsyncIterator[int]:
    at = 0
    async for item in items:
        if at % n == 0:
            yield item
        at += 1


async def lambdas_infer_in_methods() -> None:
    assert_type(sk.stream(words()).map(lambda word: len(word)), sk.Stream[int])
    assert_type(sk.stream(words()).filter(lambda word: word != ""), sk.Stream[str])
    assert_type(sk.stream(words()).flat_map(lambda word: [len(word)]), sk.Stream[int])
    assert_type(sk.stream([1, 2]).scan(lambda total, n: total + n, 0.5), sk.Stream[float])
    assert_type(sk.stream(words()).batch(2), sk.Stream[list[str]])


async def sources_infer() -> None:
    assert_type(sk.stream(words), sk.Stream[str])
    assert_type(sk.stream([1, 2]), sk.Stream[int])
    assert_type(sk.stream(lambda: words()), sk.Stream[str])
    assert_type(sk.stream(sk.stream([1])), sk.Stream[int])


async def async_functions_give_their_results() -> None:
    assert_type(sk.stream(words()).map(measured), sk.Stream[float])
    assert_type(sk.stream(words()) | sk.map(measured), sk.Stream[float])


async def pipes_infer() -> None:
    assert_type(sk.stream(words()) | sk.map(length), sk.Stream[int])
    assert_type(sk.stream(words()) | sk.sentences() | sk.buffer(2), sk.Stream[str])
    assert_type(sk.map(length) | every(2), sk.Op[str, int])
    assert_type(sk.stream(words()) | (sk.map(length) | sk.take(2)), sk.Stream[int])
    assert_type(sk.stream(words()) | (sk.buffer(1) | sk.timeout(idle=1)), sk.Stream[str])
    assert_type(sk.merge(sk.stream(words()), sk.stream(words())), sk.Stream[str])


async def a_len_is_taken_of_anything_sized() -> None:
    # Needs an operator that is contravariant in what it takes.
    assert_type(sk.stream(words()) | sk.map(len), sk.Stream[int])


async def terminals_infer() -> None:
    stream = sk.stream(words())
    assert_type(await stream.collect(), list[str])
    assert_type(await stream.first(None), str | None)
    assert_type(await stream.last(), str)
    assert_type(await stream.reduce(lambda total, word: total + len(word), 0), int)
    assert_type(await stream.join(), str)
    async with stream as items:
        async for item in items:
            assert_type(item, str)
    for item in stream.iter():
        assert_type(item, str)


def wrong_pipes_are_errors() -> None:
    sk.stream([1, 2]) | sk.map(length)  # type: ignore[arg-type]  # pyright: ignore[reportOperatorIssue, reportUnusedExpression]
    sk.stream([1, 2]) | sk.sentences()  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue, reportUnusedExpression]
    sk.map(length) | sk.sentences()  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue, reportUnusedExpression]
    sk.stream([1]).map(3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    sk.buffer("many")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    sk.buffer(2, overflow="explode")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
