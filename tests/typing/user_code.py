"""Code as users write it, for the type checkers: `make check` reads it with mypy --strict, pyright strict and pyrefly.

What must be inferred is asserted; what must be refused carries an ignore, the same for all three, and each of them reports
an ignore where it finds nothing to ignore.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import assert_type

import streamkit as sk
from streamkit.operators.timing import Timestamped


async def words() -> AsyncIterator[str]:
    yield "a"


async def measured(text: str) -> float:
    return float(len(text))


def length(text: str) -> int:
    return len(text)


def is_end(text: str) -> bool:
    return text.endswith(".")


def event_name(event: sk.Event) -> str:
    return event.type


def numbers() -> sk.Stream[int]:
    return sk.stream([1, 2])


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


async def operators_that_keep_items_keep_their_type(text: sk.Stream[str], events: sk.Stream[sk.Event]) -> None:
    assert_type(text | sk.filter(bool) | sk.filter(is_end), sk.Stream[str])
    assert_type(text | sk.tap(print), sk.Stream[str])
    assert_type(text | sk.take_while(str.isalpha) | sk.drop_while(str.isspace), sk.Stream[str])
    assert_type(text | sk.distinct() | sk.distinct(len, size=10), sk.Stream[str])
    assert_type(text | sk.changes() | sk.changes(str.lower), sk.Stream[str])
    assert_type(text | sk.skip(1) | sk.take(2) | sk.limit_bytes(100), sk.Stream[str])
    assert_type(text | sk.debounce(1) | sk.throttle(1) | sk.sample(1) | sk.delay(1) | sk.pace(30), sk.Stream[str])
    assert_type(events | sk.buffer(8, overflow="coalesce") | sk.coalesce() | sk.timeout(idle=5), sk.Stream[sk.Event])
    assert_type(events | sk.retry(3) | sk.take_until(numbers()), sk.Stream[sk.Event])
    assert_type(events | sk.measure(sk.Stats()) | sk.progress() | sk.on_end(print), sk.Stream[sk.Event])
    assert_type(events | sk.circuit_breaker(sk.CircuitBreaker()), sk.Stream[sk.Event])
    assert_type(events | sk.filter(event_name), sk.Stream[sk.Event])
    assert_type(text.distinct(len).changes().skip(1).take_while(is_end).drop_while(is_end), sk.Stream[str])
    assert_type(text.debounce(1).throttle(1).tap(print), sk.Stream[str])


async def items_in_lists_and_pairs_are_still_known(text: sk.Stream[str]) -> None:
    assert_type(text | sk.batch(2), sk.Stream[list[str]])
    assert_type(text | sk.batch(weight="tokens", max_weight=50), sk.Stream[list[str]])
    assert_type(text | sk.batch(8, within=0.5, until=is_end), sk.Stream[list[str]])
    assert_type(text | sk.window(3), sk.Stream[tuple[str, ...]])
    assert_type(text | sk.pairwise(), sk.Stream[tuple[str, str]])
    assert_type(text | sk.enumerate(1), sk.Stream[tuple[int, str]])
    assert_type(text | sk.timestamped(), sk.Stream[Timestamped[str]])
    assert_type(text | sk.sentences() | sk.batch(2) | sk.enumerate(), sk.Stream[tuple[int, list[str]]])
    assert_type(text | sk.batch(2) | sk.map(len), sk.Stream[int])
    assert_type(text.window(3).pairwise(), sk.Stream[tuple[tuple[str, ...], tuple[str, ...]]])
    assert_type(text.enumerate(), sk.Stream[tuple[int, str]])
    assert_type(text.batch(until=lambda piece: piece.endswith(".")), sk.Stream[list[str]])
    async with text | sk.timestamped() as stamped:
        async for at, item in stamped:
            assert_type(at, float)
            assert_type(item, str)


async def items_among_others_widen_the_type(text: sk.Stream[str]) -> None:
    assert_type(text | sk.start_with("first"), sk.Stream[str])
    assert_type(text | sk.start_with(1), sk.Stream[str | int])
    assert_type(text | sk.default_if_empty(None), sk.Stream[str | None])
    assert_type(text | sk.heartbeat(15), sk.Stream[str | sk.Ping])
    assert_type(text | sk.heartbeat(15, lambda: ""), sk.Stream[str])
    assert_type(text.start_with(1), sk.Stream[str | int])
    assert_type(text.default_if_empty(None), sk.Stream[str | None])


async def streams_together(text: sk.Stream[str]) -> None:
    assert_type(sk.merge(text, text), sk.Stream[str])
    assert_type(sk.merge(sk.stream([text, text]), concurrency=2), sk.Stream[str])
    assert_type(sk.concat(text, text), sk.Stream[str])
    assert_type(sk.interleave(text, text), sk.Stream[str])
    assert_type(sk.zip(text, numbers()), sk.Stream[tuple[str, int]])
    assert_type(sk.zip(text, numbers(), numbers(), strict=True), sk.Stream[tuple[str, int, int]])
    assert_type(sk.combine_latest(text, numbers()), sk.Stream[tuple[str, int]])
    assert_type(sk.race(text, text), sk.Stream[str])
    assert_type(sk.hedge(words, words, after=0.5), sk.Stream[str])
    assert_type(sk.tee(text, 2), tuple[sk.Stream[str], ...])
    assert_type(sk.share(text, replay=2), sk.Stream[str])
    assert_type(sk.stream([text]) | sk.flatten(), sk.Stream[str])
    assert_type(sk.stream([text]) | sk.switch(), sk.Stream[str])
    assert_type(sk.stream([text]).flatten(concurrency=2), sk.Stream[str])
    assert_type(text.map(lambda word: sk.stream([len(word)])).switch(), sk.Stream[int])
    left, right = sk.tee(text, 2)
    assert_type(sk.zip(left, right | sk.map(length)), sk.Stream[tuple[str, int]])


async def a_stream_that_goes_on_elsewhere(text: sk.Stream[str], events: sk.Stream[sk.Event]) -> None:
    assert_type(text | sk.retry() | sk.fallback(words), sk.Stream[str])
    assert_type(text | sk.catch(lambda error: [str(error)], OSError), sk.Stream[str])
    assert_type(events | sk.continue_on_cut(lambda message: sk.model("local").stream(message.text)), sk.Stream[sk.Event])


async def token_processors_take_text_and_give_it(text: sk.Stream[str], counter: sk.TokenCounter) -> None:
    assert_type(text | sk.characters() | sk.words() | sk.chunks(20) | sk.lines() | sk.paragraphs(), sk.Stream[str])
    assert_type(text | sk.normalize() | sk.strip() | sk.printable() | sk.stop(["END"]), sk.Stream[str])
    assert_type(text | sk.redact("email") | sk.replace({"a": "b"}) | sk.replace("a", "b"), sk.Stream[str])
    assert_type(text | sk.markdown_blocks() | sk.count_tokens(counter), sk.Stream[str])
    assert_type(text | sk.split_tags("think"), sk.Stream[sk.Event])
    assert_type(text | sk.code_blocks(), sk.Stream[sk.CodeBlock])
    assert_type(text | sk.heal_markdown(), sk.Stream[sk.Healed])
    assert_type((text | sk.heal_markdown()).map(lambda one: one.delta), sk.Stream[str])
    assert_type(text | sk.normalize() | sk.sentences() | sk.map(len) | sk.filter(bool), sk.Stream[int])


async def token_processors_work_on_the_text_of_events(events: sk.Stream[sk.Event], counter: sk.TokenCounter) -> None:
    assert_type(events | sk.on_text(sk.sentences()), sk.Stream[sk.Event])
    assert_type(events | sk.on_text(sk.normalize() | sk.redact("email") | sk.count_tokens(counter)), sk.Stream[sk.Event])
    assert_type(events | sk.on_text(sk.split_tags("think")) | sk.on_text(sk.sentences()), sk.Stream[sk.Event])


def operators_of_ones_own(size: int) -> sk.Op[str, list[str]]:
    return sk.batch(size)


async def operators_are_values(text: sk.Stream[str]) -> None:
    tidy = sk.normalize() | sk.strip() | sk.sentences(min_chars=10)
    assert_type(tidy, sk.Op[str, str])
    assert_type(text | tidy | operators_of_ones_own(3), sk.Stream[list[str]])
    assert_type(sk.take(2) | sk.buffer(2), sk.Same)
    assert_type(sk.take(2) | sk.sentences(), sk.Op[str, str])
    assert_type(sk.map(measured, concurrency=4) | sk.take(1), sk.Op[str, float])


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
    sk.stream([1, 2]) | sk.map(length)  # type: ignore[arg-type]
    sk.stream([1, 2]) | sk.sentences()  # type: ignore[operator]
    sk.map(length) | sk.sentences()  # type: ignore[operator]
    sk.stream([1]).map(3)  # type: ignore[call-overload]
    sk.buffer("many")  # type: ignore[arg-type]
    sk.buffer(2, overflow="explode")  # type: ignore[arg-type]


def wrong_operators_are_errors(text: sk.Stream[str], events: sk.Stream[sk.Event]) -> None:
    events | sk.sentences()  # type: ignore[operator]
    text | sk.on_text(sk.sentences())  # type: ignore[operator]
    text | sk.split_tags("think") | sk.sentences()  # type: ignore[operator]
    text | sk.batch(2) | sk.sentences()  # type: ignore[operator]
    text | sk.enumerate() | sk.map(length)  # type: ignore[arg-type]
    text | sk.heal_markdown() | sk.strip()  # type: ignore[operator]
    numbers() | sk.filter(is_end)  # type: ignore[arg-type]
    numbers() | sk.tap(length)  # type: ignore[arg-type]
    numbers() | sk.distinct(length)  # type: ignore[arg-type]
    numbers() | sk.batch(until=is_end)  # type: ignore[arg-type]
    numbers() | sk.flatten()  # type: ignore[operator]
    numbers() | sk.default_if_empty("") | sk.lines()  # type: ignore[operator]
    numbers().filter(is_end)  # type: ignore[arg-type]
    numbers() | sk.split_tags("think")  # type: ignore[operator]
    text.map(length, concurrency=4)  # type: ignore[arg-type]
    sk.map(length, concurrency=4)  # type: ignore[arg-type]
    sk.stop(3)  # type: ignore[arg-type]
    sk.redact(3)  # type: ignore[arg-type]
    sk.normalize("NFX")  # type: ignore[arg-type]
    sk.replace({"a": 1})  # type: ignore[dict-item]
    sk.pace(30, unit="lines")  # type: ignore[arg-type]
    sk.timeout(1)  # type: ignore[call-arg]
    sk.batch(2, 0.5)  # type: ignore[call-overload]
    sk.on_text(sk.map(length))  # type: ignore[arg-type]
    sk.on_text(sk.code_blocks())  # type: ignore[arg-type]
    sk.tee(words(), 2)  # type: ignore[arg-type]
    sk.share([1])  # type: ignore[arg-type]
    sk.hedge(words, words)  # type: ignore[call-arg]
    sk.merge(text, 3)  # type: ignore[call-overload]
    sk.zip(text, 3)  # type: ignore[call-overload]
    sk.count_tokens(len)  # type: ignore[arg-type]
    text | sk.sentences  # type: ignore[operator]
    text | str.upper  # type: ignore[operator]
    text | 3  # type: ignore[operator]
    sk.stream(3)  # type: ignore[call-overload]


async def apology(error: OSError) -> list[str]:
    return [str(error)]


async def silence(error: Exception) -> None:
    return None


def maybe(error: Exception) -> list[int] | None:
    return None if error.args else [1]


async def what_takes_over_widens_the_type(text: sk.Stream[str], events: sk.Stream[sk.Event]) -> None:
    assert_type(text | sk.fallback(words, ["x"]), sk.Stream[str])
    assert_type(text | sk.fallback(numbers()), sk.Stream[str | int])
    assert_type(events | sk.fallback(sk.model("local").stream("x")), sk.Stream[sk.Event])
    assert_type(text | sk.catch(lambda error: [str(error)], OSError), sk.Stream[str])
    assert_type(text | sk.catch(lambda error: [3], OSError), sk.Stream[str | int])
    assert_type(text | sk.catch(lambda error: None), sk.Stream[str])
    assert_type(text | sk.catch(apology, OSError), sk.Stream[str])
    assert_type(text | sk.catch(silence), sk.Stream[str])
    assert_type(text | sk.catch(maybe), sk.Stream[str | int])
    assert_type(text | sk.retry() | sk.fallback(words) | sk.sentences(), sk.Stream[str])
    text | sk.fallback(3)  # type: ignore[arg-type]
    text | sk.fallback(numbers()) | sk.sentences()  # type: ignore[operator]


async def operators_joined_know_what_they_make(text: sk.Stream[str]) -> None:
    assert_type(sk.sentences() | sk.batch(2), sk.Op[str, list[str]])
    assert_type(sk.sentences() | sk.filter(bool) | sk.enumerate(), sk.Op[str, tuple[int, str]])
    assert_type(sk.sentences() | sk.start_with(3), sk.Op[str, str | int])
    assert_type(text | (sk.take(2) | sk.pairwise()), sk.Stream[tuple[str, str]])
    assert_type(text | (sk.take(2) | sk.filter(bool)), sk.Stream[str])
    assert_type(text | (sk.retry() | sk.fallback(words)), sk.Stream[str])
    text | (sk.sentences() | sk.batch(2) | sk.lines())  # type: ignore[operator]
