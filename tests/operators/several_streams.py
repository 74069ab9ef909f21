"""Two streams that watch how they are treated, under one operator: what is tried with each of them at each step."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import streamkit as sk
from streamkit.flow.tasks import current_backend
from streamkit.testing import Probe
from streamkit.testing.contract import Kind, Suite, Way, cancelled, check_treatment, source_of_kind, ways

TwoStreams = Callable[[Any, Any], sk.Stream[Any]]

ITEMS = ["a", "b", "c"]

KINDS: tuple[Kind, ...] = ("object", "generator")


class Failed(Exception):
    """What a source raises."""


class Pair:
    """Two sources and their stream.

    Args:
        lazy: The operator learns of its sources one by one, and closes those that it has met.
    """

    def __init__(self, over: TwoStreams, side: int, special: Probe[str], kind: Kind, *, lazy: bool) -> None:
        other = Probe([item.upper() for item in ITEMS])
        self.kind = kind
        self.lazy = lazy
        self.special = special
        self.probes = [special, other] if side == 0 else [other, special]
        self.stream = over(*[source_of_kind(probe, kind) for probe in self.probes])

    def check_closed(self) -> None:
        for probe in self.probes:
            if not self.lazy or probe.asked:
                check_treatment(probe, self.kind)


async def try_both_sides(name: str, over: TwoStreams, *, decides: bool, lazy: bool = False) -> int:
    """Fail, leave and cancel with each of two sources at each step; how many cases there were.

    Args:
        decides: Whether each of the sources is read to its end, so that its failure and its waiting come out.
    """
    suite = Suite(name)
    for side in (0, 1):
        for kind in KINDS:
            for k in range(len(ITEMS)):
                pairs = _Cases(over, side, kind, k, decides, lazy)
                await suite.case(3, f"source {side} fails: all are closed before it is seen", pairs.fails)
                await suite.case(2, "the consumer leaves: all are closed", pairs.leaves)
                for way in ways():
                    await suite.case(2, f"a cancel ({way}) while source {side} waits closes all", partial(pairs.waits, way))
    return (await suite.finish()).cases


class _Cases:
    def __init__(self, over: TwoStreams, side: int, kind: Kind, k: int, decides: bool, lazy: bool) -> None:
        self.over = over
        self.side = side
        self.kind: Kind = kind
        self.k = k
        self.decides = decides
        self.lazy = lazy

    def pair(self, special: Probe[str]) -> Pair:
        return Pair(self.over, self.side, special, self.kind, lazy=self.lazy)

    async def fails(self) -> None:
        failure = Failed(f"at item {self.k}")
        pair = self.pair(Probe(ITEMS[: self.k], error=failure))
        got: list[object] = []
        seen: BaseException | None = None
        async with pair.stream as items:
            try:
                async for item in items:
                    got.append(item)
            except Failed as error:
                seen = error
            pair.check_closed()
        if self.decides:
            assert seen is failure
        assert seen in (None, failure)

    async def leaves(self) -> None:
        pair = self.pair(Probe(ITEMS))
        async with pair.stream as items:
            left = self.k
            async for _ in items:
                left -= 1
                if left < 0:
                    break
        pair.check_closed()

    async def waits(self, way: Way) -> None:
        pairs: list[Pair] = []

        async def body(cancel: Callable[[], object]) -> None:
            def at_step(given: int) -> bool:
                if given == self.k:
                    cancel()
                return given == self.k

            pairs.append(self.pair(Probe(ITEMS, at_step=at_step)))
            try:
                async with pairs[0].stream as items:
                    async for _ in items:
                        await current_backend().checkpoint()
            finally:
                pairs[0].check_closed()

        came_out = await cancelled(way, body)
        if self.decides:
            assert came_out, "the cancel was swallowed"
