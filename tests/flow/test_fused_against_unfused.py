"""Random pipelines over random inputs: with and without fusion the same comes out, in values, errors and flushes."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

import streamkit as sk
from streamkit.operators.selection import changes, default_if_empty, distinct, drop_while, start_with
from streamkit.operators.transform import enumerate, pairwise
from streamkit.stages.batching import Batch
from streamkit.testing import Probe, VirtualClock


class Odd(Exception):
    """What a step raises for one item."""


def fails_at(bad: int) -> Any:
    def step(item: Any) -> Any:
        if item == bad:
            raise Odd(bad)
        return item

    return step


async def later(item: Any) -> Any:
    await asyncio.sleep(0)
    return item


def flat(item: Any) -> list[Any]:
    return item if isinstance(item, list) else [item, item]


small = st.integers(0, 4)
steps = st.one_of(
    st.sampled_from([sk.map(str), sk.map(later), sk.filter(lambda item: item != 1), sk.flat_map(flat), sk.tap(id)]),
    small.map(sk.take),
    small.map(sk.skip),
    small.map(lambda n: sk.take_while(lambda item: item != n)),
    small.map(lambda n: sk.map(fails_at(n))),
    small.map(lambda n: drop_while(lambda item: item != n)),
    small.map(enumerate),
    st.sampled_from([pairwise(), changes(), changes(type), distinct(str), distinct(str, size=1), default_if_empty(-1)]),
    small.map(lambda n: start_with(*range(n))),
    st.integers(1, 3).map(lambda n: sk.stage(lambda: Batch[Any](n))),
    st.integers(1, 3).map(sk.buffer),
    st.just(sk.scan(lambda total, item: [*total, item], list[Any]())),
    st.just(sk.timeout(idle=1)),
)


async def outcome(ops: list[Any], items: list[int], fails: bool, as_list: bool, fused: bool) -> Any:
    probe = Probe(items, error=Odd("source") if fails else None)
    stream: sk.Stream[Any] = sk.stream(items if as_list else probe)
    for op in ops:
        stream = stream | op
    out: list[Any] = []
    error = ""
    async with VirtualClock():
        try:
            async with stream.open(fused=fused) as run:
                async for item in run:
                    out.append(item)
        except Odd as odd:
            error = repr(odd)
    assert as_list or (1, True) == (probe.closed, probe.one_task)
    return out, error


@given(st.lists(steps, max_size=6), st.lists(small, max_size=8), st.booleans(), st.booleans())
def test_a_pipeline_gives_the_same_with_and_without_fusion(ops: list[Any], items: list[int], fails: bool, as_list: bool) -> None:
    fused = asyncio.run(outcome(ops, items, fails, as_list, True))
    assert asyncio.run(outcome(ops, items, fails, as_list, False)) == fused
