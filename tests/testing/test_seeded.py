"""Races that replay: one seed, one order of wake-ups."""

from __future__ import annotations

import asyncio
import time

import pytest

import streamkit as sk
from streamkit.errors import ConfigError
from streamkit.flow.clock import current_clock
from streamkit.testing import for_seeds, marbles, run_seeded

BACKENDS = ["asyncio", "trio"]


async def merged() -> list[str]:
    return await sk.merge(*[marbles(f"{name}{name}-{name}|") | sk.buffer(1) for name in "abc"]).collect()


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_same_seed_gives_the_same_run_and_others_give_other_orders(backend: str) -> None:
    first = for_seeds(merged, range(60), backend=backend)  # type: ignore[arg-type]  # one of the two
    assert first == for_seeds(merged, range(60), backend=backend)  # type: ignore[arg-type]  # the same
    assert len({"".join(order) for order in first}) >= 5
    assert {"aaabbbccc"} == {"".join(sorted(order)) for order in first}


def test_a_race_that_is_lost_in_one_order_only_is_found_and_names_its_seed() -> None:
    async def racy() -> None:
        total = 0

        async def add() -> None:
            nonlocal total
            seen = total
            await asyncio.sleep(0)
            total = seen + 1

        async def later() -> None:
            await asyncio.sleep(0)
            await add()

        await asyncio.gather(later(), add())
        assert 2 == total

    with pytest.raises(AssertionError) as caught:
        for_seeds(racy, range(200))
    note = caught.value.__notes__[0]
    seed = int(note.split()[2])
    with pytest.raises(AssertionError):
        run_seeded(racy, seed=seed)


@pytest.mark.parametrize("backend", BACKENDS)
def test_time_is_virtual(backend: str) -> None:
    async def sleeper() -> float:
        await current_clock().sleep(3600)
        return current_clock().now()

    begun = time.monotonic()
    assert [3600.0] * 5 == for_seeds(sleeper, range(5), backend=backend)  # type: ignore[arg-type]  # one of the two
    assert time.monotonic() - begun < 60


def test_callbacks_that_belong_to_no_task_keep_their_order() -> None:
    async def in_order() -> list[int]:
        loop, seen = asyncio.get_running_loop(), list[int]()
        for number in range(20):
            loop.call_soon(seen.append, number)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return seen

    assert [list(range(20))] * 30 == for_seeds(in_order, range(30))


def test_a_task_that_is_left_behind_is_named() -> None:
    async def careless() -> None:
        asyncio.get_running_loop().create_task(asyncio.sleep(1), name="forgotten")

    with pytest.raises(AssertionError, match="forgotten"):
        run_seeded(careless, seed=0)


def test_a_run_under_one_seed_does_not_disturb_the_next() -> None:
    alone = run_seeded(merged, seed=5)
    assert alone == for_seeds(merged, [3, 5])[1]


def test_a_backend_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigError, match="backend"):
        for_seeds(merged, [1], backend="twisted")  # type: ignore[arg-type]  # the mistake
