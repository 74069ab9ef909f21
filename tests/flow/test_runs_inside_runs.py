"""Runs inside Runs: each has limits of its own, and none is around another's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import streamkit as sk
from streamkit.flow.tasks import current_backend
from streamkit.testing import Probe, VirtualClock

pytestmark = pytest.mark.anyio

Nest = Callable[[sk.Stream[Any]], sk.Stream[Any]]


async def given(stream: sk.Stream[Any]) -> AsyncIterator[sk.Stream[Any]]:
    yield stream


NESTS: dict[str, Nest] = {
    "concat": lambda inner: sk.concat(inner),
    "flatten": lambda inner: sk.stream(given(inner)).flatten(),
    "flatten at once": lambda inner: sk.stream(given(inner)).flatten(concurrency=2),
    "switch": lambda inner: sk.stream(given(inner)).switch(),
    "fallback": lambda inner: inner | sk.fallback(sk.stream([])),
}


@pytest.mark.parametrize("name", NESTS)
@pytest.mark.parametrize("depth", [1, 2, 3])
async def test_a_clean_up_that_refuses_to_end_does_not_hang_however_deep_it_is(name: str, depth: int) -> None:
    # On trio a scope cancels again and again: what starts over then never waits.
    stubborn = current_backend().name != "trio"
    async with VirtualClock() as clock:
        stream: sk.Stream[Any] = sk.stream(Probe(["a", "b"], clean_up=float("inf"), stubborn=stubborn))
        for _ in range(depth):
            stream = NESTS[name](stream)
        with pytest.warns(ResourceWarning, match="Probe"):
            async with stream.close_within(2).open() as items:
                async for item in items:
                    assert "a" == item
                    break
        assert clock.now() <= 60
