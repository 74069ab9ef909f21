"""Every operator in a thousand orders of wake-ups on asyncio, and a hundred on trio: failing, left and cancelled anywhere.

A failure names its seed: `run_seeds(EVERY["take"], [123])` replays it.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

import pytest
from every_operator import ABCD, EVERY, Row, exact, part
from seeded_runs import Backend, run_seeds

import streamkit as sk
from streamkit.flow.tasks import current_backend

# A trio run costs twice as much, and there is more to learn on asyncio, where nothing but the seed decides.
# Fewer where the suite runs once more: `.ci/run` does so on the other interpreters.
MOST = int(os.environ.get("STREAMKIT_SEEDS", "1000"))
SEEDS: dict[Backend, range] = {"asyncio": range(MOST), "trio": range(min(100, MOST))}


@pytest.mark.parametrize("backend", SEEDS)
@pytest.mark.parametrize("name", EVERY)
def test_whatever_the_order_of_wake_ups_an_operator_keeps_its_law(name: str, backend: Backend) -> None:
    runs = run_seeds(EVERY[name], SEEDS[backend], backend)
    endings = Counter(how for how, _ in runs)
    assert len(SEEDS[backend]) == endings.total()
    # All endings were tried; no error comes out of one that catches it.
    assert {"end", "left", "cancelled"} <= set(endings)
    assert ("error" in endings) == (name != "catch")


@pytest.mark.parametrize("backend", SEEDS)
@pytest.mark.parametrize("name", ["merge", "tee", "map, three at once in any order", "race", "retry", "run_tools", "sentences"])
def test_the_same_seed_gives_the_same_run(name: str, backend: Backend) -> None:
    assert run_seeds(EVERY[name], range(60), backend) == run_seeds(EVERY[name], range(60), backend)


# -- faults that the runs must find


@sk.operator
async def swallows(items: AsyncIterator[Any]) -> AsyncIterator[Any]:
    try:
        async for item in items:
            yield item
    except Exception:
        return


@sk.operator
async def loses(items: AsyncIterator[Any]) -> AsyncIterator[Any]:
    before: Any = None
    async for item in items:
        if before is not None:
            yield before
        before = item


@sk.operator
async def deaf(items: AsyncIterator[Any]) -> AsyncIterator[Any]:
    try:
        async for item in items:
            yield item
    except BaseException as cancelled:
        if isinstance(cancelled, GeneratorExit | Exception):
            raise


def hurries(stream: sk.Stream[Any]) -> sk.Stream[Any]:
    """Puts another error in the place of the source's."""
    return stream | sk.catch(raise_another)


def raise_another(error: Exception) -> None:
    raise LookupError("another")


def keeps_open(stream: sk.Stream[Any]) -> sk.Stream[Any]:
    """Reads a stream of its own accord, and never closes it."""
    run = stream.open()

    async def items() -> AsyncGenerator[Any]:
        async for item in run:
            yield item
            if item == "b":
                return

    return sk.stream(items)


def left_behind(stream: sk.Stream[Any]) -> sk.Stream[Any]:
    """Begins a task that nobody waits for."""

    async def item_later(item: Any) -> Any:
        current_backend().spawn(for_ever, nothing, "streamkit left behind", lambda: None)
        return item

    return stream.map(item_later)


async def for_ever() -> None:
    await current_backend().waiter().wait()


async def nothing() -> None:
    """What there is to clean up."""


@pytest.mark.parametrize("backend", SEEDS)
@pytest.mark.parametrize(
    ("over", "said"),
    [
        (lambda s: s | swallows(), "the source's error was swallowed"),
        (lambda s: s | loses(), "not what may come out"),
        (lambda s: s | deaf(), "the cancel was swallowed|not what may come out"),
        (lambda s: s | sk.map(str.upper), "not what may come out"),
        (hurries, "LookupError"),
        (keeps_open, "sources opened, 0 closed|dropped|in another task"),
        (left_behind, "left"),
    ],
    ids=[
        "swallows an error",
        "loses the last",
        "swallows a cancel",
        "changes items",
        "another error",
        "never closes",
        "leaves a task",
    ],
)
def test_a_fault_is_found_and_names_its_seed(over: Callable[[sk.Stream[Any]], sk.Stream[Any]], said: str, backend: Backend) -> None:
    row: Row = part("a broken one", over, law=exact, expected=ABCD)
    row.outputs = [ABCD[:k] for k in range(5)]
    with pytest.raises(AssertionError) as caught:
        run_seeds(row, SEEDS["trio"], backend)
    assert re.search(said, str(caught.value))
    assert f"on {backend}: run_seeded" in "".join(caught.value.__notes__)
