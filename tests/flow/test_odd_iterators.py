"""Async iterables that bend the protocol, as a hand-written loop would take them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

import streamkit as sk

pytestmark = pytest.mark.anyio


class StartsOver:
    """Its `__aiter__` begins again: right for one loop, and wrong for whoever asks twice."""

    def __init__(self) -> None:
        self.at = 0

    def __aiter__(self) -> StartsOver:
        self.at = 0
        return self

    async def __anext__(self) -> int:
        if self.at == 3:
            raise StopAsyncIteration
        self.at += 1
        return self.at


class Bare:
    """An iterator with nothing but `__anext__`."""

    def __init__(self) -> None:
        self.at = 0

    async def __anext__(self) -> int:
        if self.at == 3:
            raise StopAsyncIteration
        self.at += 1
        return self.at


class GivesBare:
    def __aiter__(self) -> Any:
        return Bare()


@pytest.mark.parametrize("make", [StartsOver, GivesBare])
@pytest.mark.parametrize("fused", [True, False])
async def test_an_iterator_is_asked_for_once(make: Any, fused: bool) -> None:
    run = sk.stream(make()).map(str).open(fused=fused)
    async with run:
        assert ["1", "2", "3"] == [item async for item in run]


@pytest.mark.parametrize("make", [StartsOver, GivesBare])
async def test_also_behind_a_timeout_and_a_buffer(make: Any) -> None:
    plan = (sk.stream(make()) | sk.timeout(idle=60)).map(str) | sk.buffer(2)
    assert ["1", "2", "3"] == await plan.collect()


async def test_a_manager_that_gives_one_is_no_exception() -> None:
    class Manager:
        async def __aenter__(self) -> AsyncIterator[int]:
            return StartsOver()

        async def __aexit__(self, *_: object) -> None:
            return None

    assert ["1", "2", "3"] == await sk.stream(Manager()).map(str).collect()


class EndsOnce:
    """Asked again after its end, it would begin again."""

    def __init__(self) -> None:
        self.at = 0

    def __aiter__(self) -> EndsOnce:
        return self

    async def __anext__(self) -> int:
        self.at += 1
        if self.at % 4 == 0:
            raise StopAsyncIteration
        return self.at


@pytest.mark.parametrize("plan", [lambda s: s, lambda s: s | sk.timeout(idle=60)])
async def test_an_iterator_that_has_ended_is_not_asked_again(plan: Any) -> None:
    assert [] == await plan(sk.stream(EndsOnce())).filter(lambda item: item > 3).collect()
