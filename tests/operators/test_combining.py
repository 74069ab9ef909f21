"""merge, concat, zip, interleave, combine_latest: which items come, in which order, and who is closed when."""

from __future__ import annotations

import contextvars
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from several_streams import Failed, try_both_sides

import streamkit as sk
from streamkit.errors import ConfigError, StreamBusy
from streamkit.flow.channel import Channel
from streamkit.flow.tasks import current_backend
from streamkit.operators.combining import combine_latest, concat, interleave, merge
from streamkit.operators.combining import zip as zip_streams
from streamkit.testing import Probe, VirtualClock, assert_no_leaks, check_operator, timed

pytestmark = pytest.mark.anyio

ITEMS = ["a", "b", "c"]

caller: contextvars.ContextVar[str] = contextvars.ContextVar("caller", default="nobody")

ALL: dict[str, Callable[..., sk.Stream[Any]]] = {
    "merge": merge,
    "concat": concat,
    "zip": zip_streams,
    "interleave": interleave,
    "combine_latest": combine_latest,
}


async def at(clock: VirtualClock, stream: sk.Stream[Any]) -> list[tuple[float, Any]]:
    """Each item and when it came."""
    return [(clock.now(), item) async for item in stream]


def longer() -> list[str]:
    return [*ITEMS, "d", "e"]


@pytest.mark.parametrize(
    ("op", "expected", "options"),
    [
        pytest.param(lambda s: merge(s.map(lambda item: [item]), concurrency=1), ITEMS, {}, id="merge of a stream of streams"),
        pytest.param(lambda s: concat(s, list), ITEMS, {"ahead": 0}, id="concat, first"),
        pytest.param(lambda s: concat(list, s), ITEMS, {"ahead": 0}, id="concat, second"),
        pytest.param(lambda s: zip_streams(s, longer), [("a", "a"), ("b", "b"), ("c", "c")], {"ahead": 17}, id="zip, first"),
        pytest.param(lambda s: zip_streams(longer, s), [("a", "a"), ("b", "b"), ("c", "c")], {"ahead": 17}, id="zip, second"),
        pytest.param(lambda s: interleave(s, list), ITEMS, {"ahead": 17}, id="interleave, first"),
        pytest.param(lambda s: interleave(list, s), ITEMS, {"ahead": 17}, id="interleave, second"),
        pytest.param(lambda s: combine_latest(s), [("a",), ("b",), ("c",)], {}, id="combine_latest"),
    ],
)
async def test_it_holds_the_contract(op: Any, expected: list[object], options: dict[str, Any]) -> None:
    report = await check_operator(op, items=ITEMS, expected=expected, **options)
    assert {1, 2, 3, 4, 6, 8} <= set(report.rules)


@pytest.mark.parametrize("name", ALL)
async def test_either_of_two_sources_may_fail_or_wait_at_any_step(name: str) -> None:
    assert 36 <= await try_both_sides(name, ALL[name], decides=True)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("streams", [(), (3,), ("text",), ([1], None)])
async def test_what_is_no_stream_is_refused_at_the_call(name: str, streams: tuple[Any, ...]) -> None:
    with pytest.raises((TypeError, ConfigError)):
        ALL[name](*streams)


TWO: Any = ([1], [2])


@pytest.mark.parametrize(
    "refused", [lambda: merge([1], size=0), lambda: merge([[1]], concurrency=0), lambda: merge(*TWO, concurrency=1)]
)
async def test_counts_that_cannot_work_are_refused_at_the_call(refused: Callable[[], object]) -> None:
    with pytest.raises(ConfigError, match="merge"):
        refused()


@pytest.mark.parametrize("name", ALL)
async def test_one_stream_twice_is_refused_unless_it_can_be_read_twice(name: str) -> None:
    once = sk.stream(Probe(ITEMS))
    with pytest.raises(ConfigError, match="twice"):
        ALL[name](once.map(str.upper), once)
    probe = Probe(ITEMS)
    with pytest.raises(ConfigError, match="twice"):
        ALL[name](probe, probe)
    again = sk.stream(lambda: ["x"])
    both = {"x"} if name in ("merge", "concat", "interleave") else {("x", "x")}
    assert both == set(await ALL[name](again, again).collect())


@pytest.mark.parametrize("name", ALL)
async def test_it_can_be_run_again_if_all_of_its_streams_can(name: str) -> None:
    twice = ALL[name](lambda: [1, 2], lambda: [3, 4])
    assert 2 <= len(await twice.collect()) == len(await twice.collect())
    once = ALL[name](lambda: [1, 2], sk.stream([3, 4]))
    await once.collect()
    with pytest.raises(sk.StreamConsumed):
        await once.collect()


@pytest.mark.parametrize("name", ALL)
async def test_contexts_and_scopes_inside_each_source_are_left_in_its_task(name: str) -> None:
    seen: list[tuple[str, str]] = []

    async def source(label: str) -> AsyncIterator[str]:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep_forever)
            with anyio.move_on_after(60):
                token = caller.set(label)
                try:
                    for item in ITEMS:
                        seen.append((label, caller.get()))
                        yield item
                        await anyio.lowlevel.checkpoint()
                finally:
                    caller.reset(token)
            group.cancel_scope.cancel()

    caller.set("consumer")
    async with assert_no_leaks(thorough=False):
        for left_after in (1, 100):
            async with ALL[name](source("one"), source("two")) as items:
                async for _ in items:
                    assert "consumer" == caller.get() or name == "concat"
                    left_after -= 1
                    if not left_after:
                        break
    assert all(label == own for label, own in seen)
    assert ("one", "one") in seen


@pytest.mark.parametrize("name", [name for name in ALL if name != "concat"])
async def test_op_06_a_source_that_floods_does_not_starve_the_others(name: str) -> None:
    async def flood() -> AsyncIterator[int]:
        while True:
            yield 0

    async def few() -> AsyncIterator[int]:
        for n in (1, 2, 3):
            await anyio.lowlevel.checkpoint()
            yield n

    got: set[int] = set()
    async with ALL[name](flood, few) as items:
        async for item in items:
            got |= {item} if isinstance(item, int) else set(item)
            if 3 in got:
                break
    assert 3 in got


@pytest.mark.parametrize("name", ["merge", "interleave", "combine_latest", "zip"])
async def test_op_08_one_of_five_fails_and_the_others_are_closed_before_it_is_seen(name: str) -> None:
    failure = Failed("the third")
    probes: list[Probe[int]] = [Probe(range(100), error=failure if n == 2 else None) for n in range(5)]
    probes[2] = Probe(range(3), error=failure)
    async with assert_no_leaks(thorough=False), ALL[name](*probes) as items:
        with pytest.raises(Failed) as caught:
            async for _ in items:
                await current_backend().checkpoint()
        assert [1] * 5 == [probe.closed for probe in probes]
    assert caught.value is failure


@pytest.mark.parametrize("name", ALL)
async def test_a_run_that_is_never_iterated_closes_what_it_was_given_and_calls_nothing_twice(name: str) -> None:
    probes = [Probe(ITEMS), Probe(ITEMS)]
    async with assert_no_leaks(thorough=False), ALL[name](*probes).open():
        assert [0, 0] == [probe.asked for probe in probes]
    assert [(0, 1), (0, 1)] == [(probe.asked, probe.closed) for probe in probes]


# -- merge


async def test_merge_gives_each_item_as_it_comes(clock: VirtualClock) -> None:
    stream = merge(timed(1.0, "a", 2.0, "b"), timed(2.0, "x", 2.0, "y"))
    assert [(1.0, "a"), (2.0, "x"), (3.0, "b"), (4.0, "y")] == await at(clock, stream)


async def test_merge_reads_as_many_inner_streams_at_once_as_it_may(clock: VirtualClock) -> None:
    inner = [timed(2.0, name) for name in "abcd"]
    assert [2.0, 2.0, 4.0, 4.0] == [when for when, _ in await at(clock, merge(inner, concurrency=2))]


# -- concat


async def test_concat_opens_a_stream_when_the_one_before_it_is_closed() -> None:
    happened: list[str] = []

    def source(name: str) -> Callable[[], AsyncIterator[str]]:
        async def items() -> AsyncIterator[str]:
            happened.append(f"open {name}")
            try:
                yield name
            finally:
                happened.append(f"close {name}")

        return items

    assert ["a", "b"] == await concat(source("a"), source("b")).collect()
    assert ["open a", "close a", "open b", "close b"] == happened


async def test_concat_reads_all_in_the_task_of_its_consumer() -> None:
    probes = [Probe("ab"), Probe("cd")]
    assert ["a", "b", "c", "d"] == await concat(*probes).collect()
    assert {current_backend().current_task()} == probes[0].iterated_by == probes[1].iterated_by


async def test_concat_closes_what_it_never_came_to_and_calls_no_callable_for_it() -> None:
    given, called = Probe(ITEMS), []

    async def coroutine() -> list[str]:
        return ITEMS

    def make() -> list[str]:
        called.append(1)
        return ITEMS

    async with assert_no_leaks(), concat(["first"], given, coroutine(), make) as items:
        async for _ in items:
            break
    assert (0, 1, []) == (given.asked, given.closed, called)


async def test_concat_raises_an_error_behind_what_came_before_and_begins_nothing_more() -> None:
    failure, behind = Failed("second"), Probe(ITEMS)
    got: list[str] = []
    with pytest.raises(Failed):
        async for item in concat(["a"], Probe("b", error=failure), behind):
            got.append(item)
    assert (["a", "b"], 0, 1) == (got, behind.asked, behind.closed)


async def test_concat_leaves_a_stream_alone_that_somebody_else_reads() -> None:
    shared = sk.stream(Probe(ITEMS))
    async with shared as others:
        async with concat(["first"], shared) as items:
            async for _ in items:
                break
        assert ITEMS == [item async for item in others]


async def test_concat_of_a_stream_that_is_being_read_says_so_when_it_comes_to_it() -> None:
    shared = sk.stream(Probe(ITEMS))
    async with shared:
        with pytest.raises(StreamBusy):
            await concat(["first"], shared).collect()


# -- zip


async def test_zip_fills_its_rows_side_by_side(clock: VirtualClock) -> None:
    stream = zip_streams(timed(1.0, "a", 1.0, "b"), timed(3.0, 1, 1.0, 2))
    assert [(3.0, ("a", 1)), (4.0, ("b", 2))] == await at(clock, stream)


async def test_zip_ends_as_soon_as_one_has_ended_wherever_it_stands(clock: VirtualClock) -> None:
    assert [(0.0, ("a", 1))] == await at(clock, zip_streams(timed("a", 9.0, "b"), timed(1, 1.0)))
    assert 1.0 == clock.now()


async def test_zip_raises_an_error_as_soon_as_it_happens_behind_whole_rows(clock: VirtualClock) -> None:
    got: list[object] = []
    with pytest.raises(Failed):
        async for row in zip_streams(timed("a", 9.0, "b"), timed(1, 1.0, Failed("soon"))):
            got.append(row)
    assert ([("a", 1)], 1.0) == (got, clock.now())


@pytest.mark.parametrize("lengths", [(1, 2), (2, 1), (0, 3), (3, 3, 2)])
async def test_zip_strict_says_which_ended_and_which_goes_on(lengths: tuple[int, ...]) -> None:
    least = min(lengths)
    shorter, further = lengths.index(least) + 1, [n > least for n in lengths].index(True) + 1
    probes = [Probe(range(n)) for n in lengths]
    got: list[object] = []
    with pytest.raises(ValueError, match=rf"stream {shorter} has ended after {least} items, and stream {further} goes on"):
        async for row in zip_streams(*probes, strict=True):
            got.append(row)
    assert least == len(got)
    assert [1] * len(lengths) == [probe.closed for probe in probes]


async def test_zip_strict_of_equal_streams_ends() -> None:
    assert [(1, "a", None), (2, "b", None)] == await zip_streams([1, 2], ["a", "b"], [None, None], strict=True).collect()


# -- interleave


async def test_interleave_takes_one_of_each_in_turn_and_ended_ones_drop_out() -> None:
    stream = interleave(["a1", "a2", "a3", "a4"], ["b1"], [], ["d1", "d2", "d3"])
    assert ["a1", "b1", "d1", "a2", "d2", "a3", "d3", "a4"] == await stream.collect()


async def test_interleave_waits_for_the_one_whose_turn_it_is(clock: VirtualClock) -> None:
    stream = interleave(timed(3.0, "a", "b"), timed("x", "y"))
    assert [(3.0, "a"), (3.0, "x"), (3.0, "b"), (3.0, "y")] == await at(clock, stream)


async def test_interleave_raises_an_error_in_its_turn() -> None:
    got: list[object] = []
    with pytest.raises(Failed):
        async for item in interleave([1, 2, 3], Probe("x", error=Failed("in its turn"))):
            got.append(item)
    assert [1, "x", 2] == got


# -- combine_latest


async def test_combine_latest_gives_a_row_for_each_item_once_all_have_one(clock: VirtualClock) -> None:
    stream = combine_latest(timed("a", 2.0, "b", 2.0, "c"), timed(1.0, 1, 2.0, 2))
    expected = [(1.0, ("a", 1)), (2.0, ("b", 1)), (3.0, ("b", 2)), (4.0, ("c", 2))]
    assert expected == await at(clock, stream)


async def test_combine_latest_ends_when_one_ends_without_an_item(clock: VirtualClock) -> None:
    assert [] == await combine_latest(timed("a", 9.0, "b"), timed(1.0)).collect()
    assert 1.0 == clock.now()


async def test_combine_latest_takes_none_for_an_item() -> None:
    assert [(None,), (1,)] == await combine_latest([None, 1]).collect()


# -- bounds


@pytest.mark.parametrize(
    ("stream", "most"),
    [
        (lambda one, two: merge(one, two), 64 + 2),
        (lambda one, two: concat(one, two), 0),
        (lambda one, two: zip_streams(one, two), 2 * 17 + 1),
        (lambda one, two: interleave(one, two), 2 * 17),
        # Until each has an item it keeps the newest alone, and one that floods is read through meanwhile.
        (lambda one, two: combine_latest(one, size=5), 5 + 1),
    ],
    ids=["merge", "concat", "zip", "interleave", "combine_latest"],
)
async def test_no_more_is_read_ahead_than_is_said(stream: Callable[..., sk.Stream[Any]], most: int) -> None:
    probes = [Probe(range(100)), Probe(range(100))]
    async with stream(*probes) as items:
        async for _ in items:
            for _ in range(300):
                await current_backend().checkpoint()
            break
        assert sum(probe.given for probe in probes) <= 1 + most


async def test_a_stream_of_streams_holds_on_to_none_that_has_ended() -> None:
    """Each inner stream left a hook on the channel, for as long as the stream of streams went on."""
    hooks: list[int] = []

    async def outer() -> AsyncIterator[Awaitable[list[int]] | list[int]]:
        for n in range(50):
            yield [n]
            await current_backend().checkpoint()

    channels: list[Channel[Any]] = []
    real = Channel.__init__

    def watched(self: Channel[Any], *args: Any, **options: Any) -> None:
        real(self, *args, **options)
        channels.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Channel, "__init__", watched)
        async for _ in merge(outer, concurrency=3):
            hooks.append(max(len(channel.on_close) for channel in channels))
    assert 50 == len(hooks)
    assert max(hooks) <= 4
