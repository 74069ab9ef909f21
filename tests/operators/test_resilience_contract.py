"""The operators that ask again, go elsewhere or wait their turn, against the contract: fail, leave and cancel at each step."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import Any

import anyio
import pytest

import streamkit as sk
from streamkit.flow.backoff import RetryBudget
from streamkit.flow.breaker import CircuitBreaker
from streamkit.flow.clock import current_clock
from streamkit.flow.rates import RateLimiter
from streamkit.flow.tasks import current_backend
from streamkit.operators.admission import circuit_breaker, rate_limit
from streamkit.operators.concluding import on_end
from streamkit.operators.recovering import catch, continue_on_cut, fallback
from streamkit.operators.retrying import retry
from streamkit.testing import VirtualClock, assert_no_leaks, check_operator

pytestmark = pytest.mark.anyio

ITEMS = ["a", "b", "c"]
EVENTS = [sk.Start(), sk.TextDelta("a"), sk.TextDelta("b")]


def openable_again(stream: sk.Stream[Any]) -> sk.Stream[Any]:
    """The check gives a source that is opened once; what is put on it here would open it again only after an error that passes."""
    stream.plan[0].repeatable = True
    return stream


def retried(**options: Any) -> Callable[[sk.Stream[Any]], sk.Stream[Any]]:
    return lambda stream: openable_again(stream) | retry(**options)


def row(stream: sk.Stream[Any]) -> sk.Stream[Any]:
    tried = openable_again(stream) | retry() | fallback(["x"], on=OSError)
    return tried | sk.buffer(1) | catch(lambda error: None, OSError) | on_end(lambda ended: None)


def case(name: str, op: object, items: Sequence[object], expected: Sequence[object], **options: Any) -> Any:
    return pytest.param(op, items, expected, options, id=name)


@pytest.mark.parametrize(
    ("op", "items", "expected", "options"),
    [
        case("retry", retried(), ITEMS, ITEMS, ahead=0, refuses=[lambda: retry(0), lambda: sk.stream(iter("a")) | retry()]),
        case("retry of events", retried(budget=RetryBudget()), EVENTS, EVENTS),
        case("retry that repeats", retried(after_output="repeat", on=ConnectionError), ITEMS, ITEMS, ahead=0),
        case("catch", catch(lambda error: None, OSError), ITEMS, ITEMS, ahead=0, refuses=[lambda: catch(3)]),  # type: ignore[arg-type]  # on purpose
        case("fallback", fallback(["x"], on=OSError), ITEMS, ITEMS, ahead=0, refuses=[lambda: fallback()]),
        case("fallback behind the output", fallback(["x"], on=OSError, after_output=True), ITEMS, ITEMS),
        case("continue_on_cut", continue_on_cut(lambda message: None), EVENTS, EVENTS, ahead=0),
        case("circuit_breaker", lambda s: s | circuit_breaker(CircuitBreaker()), ITEMS, ITEMS, ahead=0),
        case("rate_limit", lambda s: s | rate_limit(RateLimiter(requests_per_minute=60)), ITEMS, ITEMS, ahead=0),
        case("on_end", on_end(lambda ended: None), ITEMS, ITEMS, ahead=0, refuses=[lambda: on_end("x")]),  # type: ignore[arg-type]  # on purpose
        case("retry behind a buffer", lambda s: openable_again(s) | sk.buffer(2) | retry(), ITEMS, ITEMS),
        case("catch behind a buffer", sk.buffer(2) | catch(lambda error: None, OSError), EVENTS, EVENTS),
        case(
            "rate_limit before a timeout",
            lambda s: s | rate_limit(RateLimiter(requests_per_minute=60_000)) | sk.timeout(idle=5),
            ITEMS,
            ITEMS,
        ),
        case("a row of them", row, ITEMS, ITEMS),
        case(
            "both gates",
            lambda s: s | circuit_breaker(CircuitBreaker()) | rate_limit(RateLimiter(requests_per_minute=6)),
            EVENTS,
            EVENTS,
        ),
    ],
)
async def test_an_operator_holds_the_contract(
    op: Any, items: Sequence[object], expected: Sequence[object], options: dict[str, Any]
) -> None:
    report = await check_operator(op, items=items, expected=expected, **options)
    assert {1, 2, 3, 6, 8} <= set(report.rules)
    assert 60 <= report.cases


class Scripted:
    """A source that pauses, gives and fails, and notes what became of it."""

    def __init__(self, opened: list[Scripted], *script: Any) -> None:
        self.script = script
        self.opened = opened
        self.tasks: list[int] = []
        self.closed = 0

    async def items(self) -> AsyncIterator[Any]:
        self.opened.append(self)
        self.tasks.append(id(current_backend().current_task()))
        try:
            for step in self.script:
                if isinstance(step, float):
                    await current_clock().sleep(step)
                elif isinstance(step, BaseException):
                    raise step
                else:
                    yield step
        finally:
            self.tasks.append(id(current_backend().current_task()))
            self.closed += 1
            await current_backend().checkpoint()


def troubled(opened: list[Scripted]) -> sk.Stream[Any]:
    """Two attempts that fail, a stream in their place that breaks, and what is caught of it: 4.5 seconds of trouble."""

    def attempt() -> AsyncIterator[Any]:
        return Scripted(opened, sk.Start(), 0.5, sk.OverloadedError("503", retry_after=0.5)).items()

    def instead() -> AsyncIterator[Any]:
        return Scripted(opened, 0.5, "a", 0.5, "b", sk.StreamTruncated("cut")).items()

    async def rest(error: Exception) -> AsyncIterator[Any]:
        await current_clock().sleep(0.5)
        return Scripted(opened, 0.5, "c", 0.5, "d").items()

    limit = rate_limit(RateLimiter(requests_per_minute=60))
    breaker = circuit_breaker(CircuitBreaker())
    return sk.stream(attempt) | limit | breaker | retry(2, backoff=0) | fallback(instead) | catch(rest)


@pytest.mark.parametrize(
    "behind", [[], [sk.buffer(1)], [sk.timeout(idle=60)]], ids=["alone", "before a buffer", "before a timeout"]
)
@pytest.mark.parametrize("how", ["cancel", "leave", "reader fails"])
async def test_whatever_phase_it_is_left_in_everything_is_closed(behind: list[sk.Same], how: str) -> None:
    delivered: set[str] = set()
    for step in range(24):
        opened: list[Scripted] = []
        got: list[Any] = []
        async with assert_no_leaks(thorough=False), VirtualClock() as clock:
            plan = troubled(opened)
            for op in behind:
                plan = plan | op
            with suppress(ArithmeticError), anyio.CancelScope() as scope:
                timer = clock.call_at(step * 0.25 if how == "cancel" else 1e6, scope.cancel)
                async with plan as items:
                    async for item in items:
                        got.append(item)
                        if how == "leave" and len(got) == step + 1:
                            break
                        if how == "reader fails" and len(got) == step + 1:
                            raise ArithmeticError
            timer.cancel()
            assert 0 == clock.pending
        assert [1] * len(opened) == [source.closed for source in opened]
        assert all(len(set(source.tasks)) == 1 for source in opened)
        assert got == ["a", "b", "c", "d"][: len(got)]
        delivered.add("".join(got))
    assert {"a", "ab", "abc", "abcd"} <= delivered
