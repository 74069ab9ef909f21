"""A run saved at any item and taken up elsewhere gives what it would have given."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import streamkit as sk
from streamkit.errors import ConfigError
from streamkit.events import Finish, TextDelta
from streamkit.flow.snapshots import Snapshot
from streamkit.operators.selection import changes, default_if_empty, distinct, drop_while, start_with
from streamkit.operators.transform import enumerate, pairwise
from streamkit.stages.batching import Batch

pytestmark = pytest.mark.anyio

small = st.integers(0, 4)
steps = st.one_of(
    st.sampled_from([sk.map(str), sk.filter(lambda item: item != 1), sk.flat_map(lambda item: [item, item, item]), sk.tap(id)]),
    small.map(sk.take),
    small.map(sk.skip),
    small.map(lambda n: sk.take_while(lambda item: item != n)),
    small.map(lambda n: drop_while(lambda item: item != n)),
    small.map(enumerate),
    st.sampled_from([pairwise(), changes(), changes(str), distinct(str), distinct(str, size=1), default_if_empty(-1)]),
    small.map(lambda n: start_with(*range(n))),
    st.just(sk.scan(lambda total, item: [*total, item], list[Any]())),
    st.integers(1, 3).map(lambda n: sk.stage(lambda: Batch[Any](n))),
)


def piped(items: list[Any], ops: list[Any]) -> sk.Stream[Any]:
    stream: sk.Stream[Any] = sk.stream(items)
    for op in ops:
        stream = stream | op
    return stream


async def saved_after(count: int, items: list[Any], ops: list[Any]) -> tuple[list[Any], Snapshot]:
    given: list[Any] = []
    async with piped(items, ops).open(resumable=True) as run:
        saved = run.snapshot()
        async for item in run:
            given.append(item)
            saved = run.snapshot()
            if len(given) == count:
                break
    return given, saved


async def rest(items: list[Any], ops: list[Any], saved: Snapshot) -> list[Any]:
    async with piped(items[saved.cursor :], ops).open(restore=Snapshot.from_bytes(saved.to_bytes())) as run:
        return [item async for item in run]


@given(st.lists(steps, max_size=5), st.lists(small, max_size=8))
def test_a_snapshot_at_any_item_then_restore_equals_no_interruption(ops: list[Any], items: list[int]) -> None:
    async def check() -> None:
        whole = await piped(items, ops).collect()
        for count in range(1, len(whole) + 1):
            begun, saved = await saved_after(count, items, ops)
            assert whole == begun + await rest(items, ops, saved)
        if whole:
            begun, saved = await saved_after(len(whole) + 1, items, ops)
            assert (whole, []) == (begun, await rest(items, ops, saved))

    asyncio.run(check())


class Odd(Exception):
    """What a step raises for one item."""


@given(st.lists(steps, max_size=4), st.lists(small, max_size=8), st.booleans(), st.integers(0, 4))
def test_a_resumable_run_gives_what_a_plain_one_does_errors_included(
    ops: list[Any], items: list[int], source_fails: bool, at: int
) -> None:
    def step(item: Any) -> Any:
        if item == 3:
            raise Odd
        return item

    async def source() -> AsyncIterator[int]:
        for item in items:
            yield item
        if source_fails:
            raise Odd

    async def outcome(resumable: bool) -> tuple[list[Any], bool]:
        out: list[Any] = []
        stream: sk.Stream[Any] = sk.stream(source())
        for op in [*ops[:at], sk.map(step), *ops[at:]]:
            stream = stream | op
        try:
            async with stream.open(resumable=resumable) as run:
                async for item in run:
                    out.append(item)
        except Odd:
            return out, True
        return out, False

    assert asyncio.run(outcome(False)) == asyncio.run(outcome(True))


async def test_a_snapshot_goes_through_bytes_with_all_plain_values_and_events() -> None:
    values: tuple[object, ...] = (
        None,
        True,
        2**70,
        -1,
        1.5,
        math.inf,
        "ä",
        b"\0",
        [1, (2, {3})],
        {(1, "a"): [frozenset({2})]},
        {},
        (),
    )
    saved = Snapshot(3, ("a",), ({"x": values},), (TextDelta("hi", 1), Finish("stop")), over=False)
    assert saved == Snapshot.from_bytes(saved.to_bytes())


@pytest.mark.parametrize(
    "data", [b"", b"\x00", b"\x91\x02", b"\x96\x02\x01\x01\x01\x01\x01", b"\xc1", b"\x96\x01\x01\x01\x01\x01\x01"]
)
async def test_bytes_that_are_no_snapshot_are_refused(data: bytes) -> None:
    with pytest.raises(ConfigError, match="snapshot"):
        Snapshot.from_bytes(data)


async def test_what_cannot_be_saved_is_said_when_the_run_is_opened() -> None:
    async def later(item: int) -> int:
        return item

    class Silent(sk.Stage[int, int]):
        def feed(self, item: int) -> list[int]:
            return [item]

    refused: list[tuple[Any, str]] = [(sk.buffer(2), "buffer"), (sk.map(later), "awaits"), (sk.stage(Silent), "state")]
    for op, says in refused:
        with pytest.raises(ConfigError, match=says):
            (sk.stream([1]) | op).open(resumable=True)


async def test_an_item_that_is_no_plain_value_is_refused_by_to_bytes() -> None:
    async with sk.stream([1]).map(lambda item: [object(), object()]).flat_map(list).open(resumable=True) as run:
        async for _ in run:
            break
        with pytest.raises(TypeError, match="object cannot be saved"):
            run.snapshot().to_bytes()


async def test_a_snapshot_of_another_pipeline_is_refused() -> None:
    _, saved = await saved_after(1, [1, 2], [sk.take(2)])
    with pytest.raises(ConfigError, match="another pipeline"):
        sk.stream([2]).take(3).open(restore=saved)


async def test_a_plain_run_cannot_be_saved() -> None:
    async with sk.stream([1]).open() as run:
        with pytest.raises(ConfigError, match="resumable"):
            run.snapshot()


async def test_the_source_is_closed_and_not_asked_beyond_what_was_given() -> None:
    asked: list[int] = []
    closed: list[bool] = []

    async def source() -> AsyncIterator[int]:
        try:
            for number in range(9):
                asked.append(number)
                yield number
        finally:
            closed.append(True)

    async with sk.stream(source()).map(str).open(resumable=True) as run:
        async for _ in run:
            break
        assert ([0], 1) == (asked, run.snapshot().cursor)
    assert [True] == closed


def words(text: str) -> list[str]:
    return text.split()


makers: list[Callable[[], Any]] = [lambda: sk.sentences(), lambda: sk.lines(), lambda: sk.stop(["END"])]


@pytest.mark.parametrize("make", makers)
async def test_text_stages_are_taken_up_where_they_were(make: Callable[[], Any]) -> None:
    text = "Dr. Who came. He le\nft. And th\r\nen: EN no. END of it"
    pieces = [text[at : at + 3] for at in range(0, len(text), 3)]
    ops = [make(), sk.flat_map(words)]
    whole = await piped(pieces, ops).collect()
    for count in range(1, len(whole) + 1):
        begun, saved = await saved_after(count, pieces, ops)
        assert whole == begun + await rest(pieces, ops, saved)
