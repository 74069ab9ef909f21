"""Operators over several streams when the order of wake-ups is drawn: a thousand orders of each, with a failure here and there."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Literal

import pytest
from several_streams import Failed

import streamkit as sk
from streamkit.flow.clock import current_clock
from streamkit.flow.tasks import current_backend
from streamkit.operators.combining import combine_latest, concat, interleave, merge
from streamkit.operators.combining import zip as zip_streams
from streamkit.operators.ending import take_until
from streamkit.operators.flattening import flatten, switch
from streamkit.operators.racing import hedge, race
from streamkit.testing import for_seeds

SEEDS = range(int(os.environ.get("STREAMKIT_SEEDS", "1000")))

# Items are numbers: their source's, times this, and their own.
STRIDE = 100


class Sources:
    """The sources of one run, and what became of them."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.open: list[int] = []
        self.ended: dict[int, int] = {}

    def make(self, number: int) -> Callable[[], AsyncIterator[int]]:
        count = self.random.randrange(5)
        fails = self.random.random() < 0.2
        pauses = [self.random.choice([None, None, 0.0, 0.5, 1.0]) for _ in range(count + 1)]
        slow = self.random.random() < 0.2

        async def items() -> AsyncIterator[int]:
            home = current_backend().current_task()
            self.open.append(number)
            try:
                for n, pause in enumerate(pauses):
                    if pause == 0.0:
                        await current_backend().checkpoint()
                    elif pause is not None:
                        await current_clock().sleep(pause)
                    if n < count:
                        yield number * STRIDE + n
                if fails:
                    raise Failed(number * STRIDE + count)
                self.ended[number] = count
            finally:
                assert home is current_backend().current_task()
                try:
                    if slow and current_backend().name == "asyncio":  # on trio a clean-up that waits must shield itself
                        await current_backend().checkpoint()
                finally:
                    self.open.remove(number)

        return items


def in_order(got: list[Any]) -> dict[int, list[int]]:
    """The items by source, each in the order it was given."""
    by_source: dict[int, list[int]] = {}
    for item in got:
        by_source.setdefault(item // STRIDE, []).append(item % STRIDE)
    return by_source


def whole(got: list[Any], sources: Sources, error: BaseException | None, left: bool) -> None:
    """All items of each source, from its first; of those that ended, to the last; of one that failed, all before."""
    by_source = in_order(got)
    for numbers in by_source.values():
        assert list(range(len(numbers))) == numbers
    if error is None and not left:
        assert {number: count for number, count in sources.ended.items() if count} == {
            number: len(numbers) for number, numbers in by_source.items()
        }
    if error is not None:
        number, count = divmod(error.args[0], STRIDE)
        assert count == len(by_source.get(number, []))


def one_after_the_other(got: list[Any], sources: Sources, error: BaseException | None, left: bool) -> None:
    whole(got, sources, error, left)
    assert sorted(got) == got


def in_turn(got: list[Any], sources: Sources, error: BaseException | None, left: bool) -> None:
    whole(got, sources, error, left)
    assert sorted(got, key=lambda item: (item % STRIDE, item // STRIDE)) == got


def in_rows(got: list[Any], sources: Sources, error: BaseException | None, left: bool) -> None:
    assert [tuple(number * STRIDE + n for number in range(3)) for n in range(len(got))] == got


def newest(got: list[Any], sources: Sources, error: BaseException | None, left: bool) -> None:
    for before, after in zip(got, got[1:], strict=False):  # noqa: RUF007
        assert [1] == [new - old for old, new in zip(before, after, strict=True) if new != old]


def of_one(got: list[Any], sources: Sources, error: BaseException | None, left: bool) -> None:
    assert 1 >= len(in_order(got))
    numbers = [item % STRIDE for item in got]
    assert list(range(len(numbers))) == numbers
    if error is None and not left and got:
        assert sources.ended[got[0] // STRIDE] == len(got)


def never_back(got: list[Any], sources: Sources, error: BaseException | None, left: bool) -> None:
    """Once an item of a later stream came, none of an earlier one does."""
    assert sorted(got) == got
    for numbers in in_order(got).values():
        assert list(range(len(numbers))) == numbers


def before_the_signal(got: list[Any], sources: Sources, error: BaseException | None, left: bool) -> None:
    assert list(range(len(got))) == got


Over = Callable[..., sk.Stream[Any]]
Law = Callable[[list[Any], Sources, BaseException | None, bool], None]

OPERATORS: dict[str, tuple[Over, Law]] = {
    "merge": (merge, whole),
    "merge, two at once": (lambda *streams: merge(streams, concurrency=2, size=1), whole),
    "flatten": (lambda *streams: sk.stream(streams) | flatten(), one_after_the_other),
    "concat": (concat, one_after_the_other),
    "zip": (zip_streams, in_rows),
    "interleave": (interleave, in_turn),
    "combine_latest": (combine_latest, newest),
    "switch": (lambda *streams: (sk.stream(streams) | sk.map(after_a_while)) | switch(), never_back),
    "race": (race, of_one),
    "hedge": (lambda *streams: hedge(*streams, after=0.7), of_one),
    "take_until": (lambda one, *others: sk.stream(one) | take_until(merge(*others)), before_the_signal),
}


async def after_a_while(item: Any) -> Any:
    await current_clock().sleep(0.7)
    return item


async def one_history(seed: int, over: Over, law: Law) -> None:
    sources = Sources(seed)
    stream = over(*[sources.make(number) for number in range(3)])
    got: list[Any] = []
    error: BaseException | None = None
    leave_after = sources.random.choice([1, 2, 100, 100, 100])
    slow = sources.random.random() < 0.3
    try:
        async with stream as items:
            async for item in items:
                got.append(item)
                if len(got) == leave_after:
                    break
                if slow:
                    await current_clock().sleep(0.6)
    except Failed as failure:
        error = failure
    assert [] == sources.open, f"left open with seed {seed}"
    law(got, sources, error, len(got) == leave_after)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("name", OPERATORS)
def test_the_law_holds_in_a_thousand_orders(name: str, backend: Literal["asyncio", "trio"]) -> None:
    over, law = OPERATORS[name]
    # A trio run costs ten times as much.
    seeds = SEEDS if backend == "asyncio" else SEEDS[:100]
    numbers: Iterator[int] = iter(seeds)
    assert len(seeds) == len(for_seeds(lambda: one_history(next(numbers), over, law), seeds, backend=backend))
