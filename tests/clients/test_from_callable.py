"""`sk.from_callable`: a model that is a function, as a stream like any other."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, cast

import pytest
from event_loops import asyncio_only

import streamkit as sk

pytestmark = pytest.mark.anyio


async def async_words(prompt: str) -> AsyncIterator[str]:
    for word in prompt.split():
        yield word


def words(prompt: str) -> Iterator[str]:
    yield from prompt.split()


async def text_later(prompt: str) -> str:
    return prompt.replace(" ", "")


async def list_later(prompt: str) -> list[str]:
    return prompt.split()


async def words_later(prompt: str) -> AsyncIterator[str]:
    return async_words(prompt)


def text(prompt: str) -> str:
    return prompt.replace(" ", "")


class Model:
    def __call__(self, prompt: str) -> AsyncIterator[str]:
        return async_words(prompt)


FUNCTIONS: dict[str, tuple[Callable[..., Any], str]] = {
    "an async generator": (async_words, "async_words"),
    "a generator": (words, "words"),
    "a coroutine that gives text": (text_later, "text_later"),
    "a coroutine that gives a list": (list_later, "list_later"),
    "a coroutine that gives an async generator": (words_later, "words_later"),
    "a plain function that gives text": (text, "text"),
    "a plain function that gives a coroutine": (lambda prompt: text_later(prompt), "<lambda>"),
    "a plain function that gives an async generator": (lambda prompt: async_words(prompt), "<lambda>"),
    "a plain function that gives a generator": (lambda prompt: words(prompt), "<lambda>"),
    "an object that can be called": (Model(), "Model"),
    "a partial": (functools.partial(words), "words"),
}


@pytest.mark.parametrize("kind", FUNCTIONS)
async def test_every_kind_of_function_is_an_answer_that_can_be_asked_again(kind: str) -> None:
    function, name = FUNCTIONS[kind]
    stream = sk.from_callable(function, "one two")
    for _ in range(2):
        events = await stream.collect()
        assert [sk.Start(model=name, provider="callable"), sk.Finish("stop")] == [events[0], events[-1]]
        assert "onetwo" == sk.Message(events).text


async def test_a_begin_and_an_end_of_its_own_are_kept() -> None:
    mine: list[sk.Event] = [sk.Ping(), sk.Start("1", "mine", "me"), sk.TextDelta("a"), sk.Finish("length")]

    def model() -> Iterator[sk.Event]:
        yield from mine

    assert mine == await sk.from_callable(model).collect()


async def test_an_error_event_is_an_end() -> None:
    events = await sk.from_callable(lambda: [sk.TextDelta("a"), sk.ErrorEvent("no more")]).collect()
    assert [sk.Start(model="<lambda>", provider="callable"), sk.TextDelta("a"), sk.ErrorEvent("no more")] == events


async def test_an_empty_answer_is_complete() -> None:
    whole = [sk.Start(model="<lambda>", provider="callable"), sk.Finish("stop")]
    answers: list[object] = ["", [], [""]]
    for empty in answers:
        assert whole == await sk.from_callable(functools.partial(lambda value: value, empty)).collect()


async def test_keywords_reach_the_function() -> None:
    def model(prompt: str, *, times: int) -> str:
        return prompt * times

    assert "aaa" == await sk.from_callable(model, "a", times=3).join()


async def test_operators_work_alike() -> None:
    events = await (sk.from_callable(lambda: ["One. T", "wo."]) | sk.on_text(sk.sentences())).collect()
    assert ["One. ", "Two."] == [event.text for event in events if isinstance(event, sk.TextDelta)]


async def test_a_function_that_may_block_runs_elsewhere() -> None:
    def where() -> str:
        return threading.current_thread().name

    assert threading.current_thread().name != await sk.from_callable(where).join()


@pytest.mark.parametrize("result", [None, 7, b"bytes", {"text": "a"}, sk.TextDelta("a"), words])
async def test_anything_else_that_is_returned_is_refused(result: object) -> None:
    with pytest.raises(TypeError, match="must return text, or an iterable"):
        await sk.from_callable(lambda: result).collect()

    async def later() -> object:
        return result

    with pytest.raises(TypeError, match="must return text, or an iterable"):
        await sk.from_callable(later).collect()


async def test_anything_else_among_the_items_is_refused() -> None:
    with pytest.raises(TypeError, match=r"gives text \(str\) or events .* gave a int"):
        await sk.from_callable(lambda: ["a", 1]).collect()


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: sk.from_callable(cast("Any", "text")), "takes a function and its arguments, got a str"),
        (lambda: sk.from_callable(cast("Any", words)), "words cannot be called like this: missing a required argument"),
        (lambda: sk.from_callable(cast("Any", words), "a", "b"), "too many positional arguments"),
    ],
)
def test_a_call_that_cannot_be_made_fails_at_once(call: Callable[[], object], word: str) -> None:
    with pytest.raises(TypeError, match=word):
        call()


async def test_what_the_function_raises_passes_untouched_and_what_came_is_kept() -> None:
    class Mine(Exception):
        pass

    async def model() -> AsyncIterator[str]:
        yield "half"
        raise Mine

    run = sk.from_callable(model).open()
    with pytest.raises(Mine):
        async with run:
            async for _ in run:
                pass
    assert "half" == cast("sk.Message", run.partial).text


async def test_leaving_closes_an_async_generator() -> None:
    closed: list[str] = []

    async def model() -> AsyncIterator[str]:
        try:
            while True:
                yield "a"
        finally:
            closed.append("closed")

    async with sk.from_callable(model) as events:
        async for event in events:
            if isinstance(event, sk.TextDelta):
                break
    assert ["closed"] == closed


async def test_leaving_closes_a_generator_on_its_thread() -> None:
    closed = threading.Event()
    given = 0

    def model() -> Iterator[str]:
        nonlocal given
        try:
            while True:
                given += 1
                yield "a"
        finally:
            closed.set()

    assert 10 == len(await sk.from_callable(model).take(10).collect())
    assert closed.wait(60)
    assert 13 >= given


@asyncio_only
async def test_a_cancel_is_not_swallowed() -> None:
    begun = asyncio.Event()

    async def model() -> AsyncIterator[str]:
        begun.set()
        await asyncio.Event().wait()
        yield "never"

    task = asyncio.create_task(sk.from_callable(model).collect())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


def test_a_plain_loop_reads_it() -> None:
    assert "onetwo" == sk.Message(sk.from_callable(words, "one two").iter()).text
