"""What users give operators to call raises, gives an awaitable by surprise or never returns; sources go on when they are closed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import nullcontext
from typing import Any

import anyio
import pytest

import streamkit as sk
from streamkit.flow.tasks import current_backend
from streamkit.testing import Probe, VirtualClock, assert_no_leaks

pytestmark = pytest.mark.anyio

Takes = Callable[[Callable[[Any], Any]], "sk.Op[Any, Any] | sk.Same"]

ITEMS = ["a", "b", "c", "d"]


class Raised(Exception):
    """What a callable raises."""


# Operators with a function of an item in them, and what comes before it fails at "c".
OF_AN_ITEM: dict[str, tuple[Takes, list[Any]]] = {
    "map": (sk.map, ["a", "b"]),
    "filter": (sk.filter, ["a", "b"]),
    "flat_map": (sk.flat_map, ["a", "b"]),
    "scan": (lambda fn: sk.scan(lambda so_far, item: fn(item), ""), ["a", "b"]),
    "tap": (sk.tap, ["a", "b"]),
    "take_while": (sk.take_while, ["a", "b"]),
    "drop_while": (sk.drop_while, []),
    "distinct": (sk.distinct, ["a", "b"]),
    "changes": (sk.changes, ["a", "b"]),
    "batch, until": (lambda fn: sk.batch(until=fn), [["a"], ["b"]]),
    "batch, weight": (lambda fn: sk.batch(weight=lambda item: fn(item) and 2, max_weight=2), [["a"], ["b"]]),
    "replace": (lambda fn: sk.replace("c", lambda found: fn(found[0])), ["a", "b"]),
}

# Those with a function of an error.
OF_AN_ERROR: dict[str, Takes] = {
    "catch": sk.catch,
    "retry": lambda fn: sk.retry(on=fn),
    "fallback": lambda fn: sk.fallback([1], on=fn),
    "circuit_breaker": lambda fn: sk.circuit_breaker(sk.CircuitBreaker(), on=fn),
    "on_end": sk.on_end,
}


def raises_at_c(item: Any) -> Any:
    if item == "c" or not isinstance(item, str):
        raise Raised(item)
    return item


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("buffered", [False, True])
@pytest.mark.parametrize("name", OF_AN_ITEM)
async def test_a_callable_that_raises_fails_behind_what_came_before(name: str, buffered: bool, fused: bool) -> None:
    make, before = OF_AN_ITEM[name]
    probe = Probe(ITEMS)
    stream = sk.stream(probe) | make(raises_at_c)
    got: list[Any] = []
    with pytest.raises(Raised, match=r"^c$"):
        async with (stream | sk.buffer(4) if buffered else stream).open(fused=fused) as items:
            async for item in items:
                got.append(item)
    assert (before, 1, True) == (got, probe.closed, probe.one_task)


@pytest.mark.parametrize("name", OF_AN_ERROR)
async def test_a_callable_that_raises_when_it_is_asked_of_an_error_is_raised_over_it(name: str) -> None:
    first = OSError("first")
    probes: list[Probe[str]] = []

    def source() -> Probe[str]:
        probes.append(Probe([], error=first))
        return probes[-1]

    with pytest.raises((Raised, OSError)) as caught:
        await (sk.stream(source) | OF_AN_ERROR[name](raises_at_c)).run()
    assert isinstance(caught.value, Raised) or name == "on_end"  # whose words come last, and count least
    assert caught.value is first or caught.value.__context__ is first
    assert [1] == [probe.closed for probe in probes]


# The same functions where it is their own answer that counts.
WHOSE_ANSWER_COUNTS: dict[str, Takes] = {
    "batch, weight": lambda fn: sk.batch(weight=fn, max_weight=2),
    "count_tokens": lambda fn: sk.count_tokens(sk.TokenCounter(fn)),
}

# Those that are not called for the first item, and how many it takes.
CALLED_LATE = {"replace": 3, "count_tokens": 4}


async def coroutine() -> str:
    return "x"


def surprises(item: Any) -> Any:
    return coroutine()


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("name", sorted({*OF_AN_ITEM, *WHOSE_ANSWER_COUNTS}))
async def test_an_awaitable_by_surprise_is_told_at_the_first_result_and_not_left_unawaited(name: str, fused: bool) -> None:
    make = WHOSE_ANSWER_COUNTS.get(name) or OF_AN_ITEM[name][0]
    probe = Probe(ITEMS)
    async with assert_no_leaks(thorough=False):
        with pytest.raises(TypeError, match=r"awaitable|coroutine"):
            async with (sk.stream(probe) | make(surprises)).open(fused=fused) as items:
                async for _ in items:
                    assert name in CALLED_LATE
        assert (CALLED_LATE.get(name, 1), 1) == (probe.given, probe.closed)


@pytest.mark.parametrize("name", sorted(set(OF_AN_ERROR) - {"catch"}))  # which takes what gives a stream later
async def test_an_awaitable_by_surprise_is_told_when_an_error_is_asked_about(name: str) -> None:
    async with assert_no_leaks(thorough=False):
        with pytest.raises((TypeError, OSError)) as caught:
            await (sk.stream(lambda: Probe([], error=OSError("first"))) | OF_AN_ERROR[name](surprises)).run()
    assert isinstance(caught.value, TypeError) == (name != "on_end")


class NeverReturns:
    """Called, it waits for ever; it tells that it was cut off."""

    def __init__(self) -> None:
        self.called = 0
        self.left = 0

    async def __call__(self, item: Any) -> Any:
        self.called += 1
        try:
            await current_backend().waiter().wait()
        finally:
            self.left += 1


NEVER: dict[str, Takes] = {
    "map": sk.map,
    "map, three at once": lambda fn: sk.map(fn, concurrency=3),
    "filter": sk.filter,
    "flat_map": sk.flat_map,
    "tap": sk.tap,
    "take_while": sk.take_while,
    "distinct": sk.distinct,
    "catch": sk.catch,
}


@pytest.mark.parametrize("limit", ["a scope", "a timeout"])
@pytest.mark.parametrize("name", NEVER)
async def test_a_callable_that_never_returns_is_cut_off_by_a_cancel_or_a_timeout(
    clock: VirtualClock, name: str, limit: str
) -> None:
    never = NeverReturns()
    probe: Probe[str] = Probe(ITEMS, error=OSError("for catch")) if name == "catch" else Probe(ITEMS)
    stream = sk.stream(probe) | NEVER[name](never)
    async with assert_no_leaks(thorough=False):
        if limit == "a scope":
            with anyio.CancelScope() as scope:
                clock.call_at(3.0, scope.cancel)
                await stream.run()
            assert scope.cancelled_caught
        else:
            with pytest.raises(sk.StreamTimeout):
                await (stream | sk.timeout(idle=3)).run()
    assert 3.0 == clock.now()
    assert never.called == never.left >= 1
    assert (1, True) == (probe.closed, probe.one_task)


# Operators, and whether their source stands at its `yield` when they are left; else it waits for its next item, and is cancelled.
LEFT_AT_YIELD: list[tuple[Any, bool]] = [
    (sk.map(str), True),
    (sk.buffer(1), True),
    (sk.timeout(idle=4), True),
    (sk.catch(lambda error: None, OSError), True),
    (sk.batch(2, within=1), False),
    (sk.debounce(1), False),
]


@pytest.mark.parametrize(("op", "at_yield"), LEFT_AT_YIELD, ids=repr)
async def test_a_source_that_yields_when_it_is_closed_is_told_and_nothing_of_it_is_read(
    clock: VirtualClock, op: Any, at_yield: bool
) -> None:
    closed = 0

    async def goes_on() -> AsyncGenerator[str]:
        nonlocal closed
        try:
            for item in ITEMS:
                await clock.sleep(2)
                yield item
        finally:
            closed += 1
            yield "once more"

    source = goes_on()
    got: list[Any] = []
    with pytest.raises(RuntimeError, match="ignored GeneratorExit") if at_yield else nullcontext():
        async with sk.stream(source) | op as items:
            async for item in items:
                got.append(item)
                break
    assert (1, 1, 0) == (len(got), closed, clock.pending)
    assert "once more" not in got
    with pytest.raises(GeneratorExit if at_yield else StopAsyncIteration):  # only now one that ignored its end is over
        await anext(source)


async def test_a_sync_source_whose_clean_up_fails_or_yields_is_told_when_the_reader_leaves() -> None:
    def goes_on() -> Iterator[str]:
        try:
            yield from ITEMS
        finally:
            yield "once more"

    def fails() -> Iterator[str]:
        try:
            yield from ITEMS
        finally:
            raise Raised("in its clean-up")

    for source, said in ((goes_on, "ignored GeneratorExit"), (fails, "in its clean-up")):
        with pytest.raises((RuntimeError, Raised), match=said):
            async with sk.stream(source) as items:
                async for _ in items:
                    break
        with pytest.raises(OSError, match="the reader's own"):
            async with sk.stream(source) as items:
                async for _ in items:
                    raise OSError("the reader's own")


async def test_a_buffer_that_may_not_overflow_fails_behind_what_it_held_and_closes_its_source(clock: VirtualClock) -> None:
    probe = Probe(range(100))
    got: list[int] = []
    with pytest.raises(sk.BufferFull, match="2 items"):
        async with sk.stream(probe) | sk.buffer(2, overflow="error") as items:
            async for item in items:
                got.append(item)
                await clock.sleep(1)
    assert list(range(len(got))) == got
    assert (1, True) == (probe.closed, probe.one_task)
    assert probe.given < 10


@pytest.mark.parametrize("op", [sk.retry(9, on=OSError, backoff=0), sk.fallback(["x"]), sk.retry(9) | sk.fallback(["x"])])
async def test_what_would_repeat_delivered_output_is_refused(clock: VirtualClock, op: Any) -> None:
    failure = OSError("cut")
    probes: list[Probe[str]] = []

    def source() -> Probe[str]:
        probes.append(Probe(["a", "b"], error=failure))
        return probes[-1]

    got: list[str] = []
    with pytest.raises(OSError, match="cut") as caught:
        async with sk.stream(source) | op as items:
            async for item in items:
                got.append(item)
    assert (["a", "b"], failure, 0.0) == (got, caught.value, clock.now())
    assert [1] == [probe.closed for probe in probes]
