"""race and hedge: the first item wins, and the others are left there and then."""

from __future__ import annotations

import contextvars
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import pytest
from several_streams import Failed, try_both_sides

import streamkit as sk
from streamkit.errors import ConfigError
from streamkit.flow.tasks import current_backend
from streamkit.operators.racing import hedge, race
from streamkit.testing import Probe, VirtualClock, assert_no_leaks, check_operator, timed

pytestmark = pytest.mark.anyio

ITEMS = ["a", "b", "c"]

caller: contextvars.ContextVar[str] = contextvars.ContextVar("caller", default="nobody")


def hedged(*streams: Any) -> sk.Stream[Any]:
    return hedge(*streams, after=1.0)


BOTH: dict[str, Callable[..., sk.Stream[Any]]] = {"race": race, "hedge": hedged}


async def at(clock: VirtualClock, stream: sk.Stream[Any]) -> list[tuple[float, Any]]:
    """Each item and when it came."""
    return [(clock.now(), item) async for item in stream]


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("first", [True, False])
async def test_it_holds_the_contract(name: str, first: bool) -> None:
    over = BOTH[name]
    report = await check_operator(
        (lambda s: over(s, list)) if first else (lambda s: over(list, s)),
        items=ITEMS,
        expected=ITEMS,
        refuses=[lambda: race(), lambda: hedge(after=1.0), lambda: hedge([1], after=0), lambda: hedge([1], after=float("nan"))],
    )
    assert {1, 2, 3, 4, 6, 7, 8} <= set(report.rules)


@pytest.mark.parametrize("name", BOTH)
async def test_either_of_two_sources_may_fail_or_wait_at_any_step(name: str) -> None:
    assert 36 <= await try_both_sides(name, BOTH[name], decides=False)


@pytest.mark.parametrize("name", BOTH)
async def test_a_single_source_decides(name: str) -> None:
    over = BOTH[name]
    assert 36 <= await try_both_sides(name, lambda one, two: sk.merge(over(one), over(two)), decides=True)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), True, "soon"])
async def test_a_time_that_cannot_be_is_refused_at_the_call(seconds: Any) -> None:
    with pytest.raises((TypeError, ConfigError), match="after"):
        hedge([1], [2], after=seconds)


@pytest.mark.parametrize("name", BOTH)
async def test_one_stream_twice_is_refused_unless_it_can_be_read_twice(name: str) -> None:
    once = sk.stream(Probe(ITEMS))
    with pytest.raises(ConfigError, match="twice"):
        BOTH[name](once, once)
    again = sk.stream(lambda: ITEMS)
    assert ITEMS == await BOTH[name](again, again).collect()


async def test_the_first_item_wins_and_the_losers_are_left_at_once(clock: VirtualClock) -> None:
    losers = [Probe(ITEMS, at_step=lambda given: True), Probe(ITEMS, at_step=lambda given: True)]
    async with race(losers[0], timed(1.0, "a", 5.0, "b"), losers[1]) as items:
        async for item in items:
            if item == "a":
                await clock.sleep(0.1)
                assert [1, 1] == [loser.closed for loser in losers]
    assert 6.0 == clock.now()
    assert all(loser.closed_by == loser.iterated_by for loser in losers)


async def test_the_winner_is_read_while_a_loser_cleans_up(clock: VirtualClock) -> None:
    slow = Probe(ITEMS, at_step=lambda given: True, clean_up=3.0)
    assert [(1.0, "a"), (2.0, "b")] == await at(clock, race(timed(1.0, "a", 1.0, "b"), slow))
    assert 4.0 == clock.now()


async def test_all_of_the_winner_comes_and_nothing_of_a_loser() -> None:
    floods = [Probe([f"{name}{n}" for n in range(3000)]) for name in "xyz"]
    got = await race(*floods).collect()
    assert 3000 == len(got)
    assert 1 == len({item[0] for item in got})


@pytest.mark.parametrize("name", BOTH)
async def test_one_that_fails_or_ends_without_an_item_has_lost(name: str) -> None:
    assert ITEMS == await BOTH[name](Probe([], error=Failed("lost")), [], Probe(ITEMS)).collect()


@pytest.mark.parametrize("name", BOTH)
async def test_if_all_have_lost_the_first_failure_is_raised_with_notes_of_the_others(clock: VirtualClock, name: str) -> None:
    first, second = Failed("the first"), Failed("the second, key=sk-abcdefghijklmnop")
    stream = BOTH[name](timed(0.1, first), timed(), timed(0.2, second))
    with pytest.raises(Failed) as caught:
        await stream.collect()
    assert caught.value is first
    (note,) = first.__notes__
    assert "failed as well: Failed: the second" in note
    assert "abcdefghijklmnop" not in note


@pytest.mark.parametrize("name", BOTH)
async def test_if_none_has_an_item_it_ends_empty(name: str) -> None:
    assert [] == await BOTH[name]([], list, Probe([])).collect()


@pytest.mark.parametrize("name", BOTH)
async def test_an_error_of_the_winner_comes_behind_its_items(name: str) -> None:
    failure, got = Failed("late"), []
    with pytest.raises(Failed) as caught:
        async for item in BOTH[name](Probe(ITEMS, error=failure), []):
            got.append(item)
    assert (ITEMS, failure) == (got, caught.value)


@pytest.mark.parametrize("name", BOTH)
async def test_a_callable_that_raises_has_lost(name: str) -> None:
    def broken() -> list[str]:
        raise Failed("no connection")

    assert ITEMS == await BOTH[name](broken, lambda: ITEMS).collect()
    with pytest.raises(Failed, match="no connection"):
        await BOTH[name](broken, broken).collect()


async def test_errors_of_losers_and_of_their_clean_up_are_nobodys(clock: VirtualClock) -> None:
    failing = Probe(ITEMS, at_step=lambda given: True, clean_up_error=Failed("in its clean-up"))
    assert ["a"] == await race(timed(1.0, "a"), failing, timed(2.0, Failed("too late"))).collect()
    assert 1 == failing.closed


@pytest.mark.parametrize("name", BOTH)
async def test_sources_hold_scopes_and_run_in_the_context_of_the_consumer(clock: VirtualClock, name: str) -> None:
    seen: list[str] = []

    async def source() -> AsyncIterator[str]:
        seen.append(caller.get())
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep_forever)
            with anyio.move_on_after(60):
                await clock.sleep(3.0)
                for item in ITEMS:
                    yield item
            group.cancel_scope.cancel()

    caller.set("the consumer")
    async with assert_no_leaks():
        assert ITEMS == await BOTH[name](source, source).collect()
    assert ["the consumer"] * 2 == seen


@pytest.mark.parametrize("name", BOTH)
async def test_no_more_of_the_winner_is_read_ahead_than_is_said(name: str) -> None:
    probe = Probe(range(100))
    async with BOTH[name](probe, []) as items:
        async for _ in items:
            for _ in range(200):
                await current_backend().checkpoint()
            break
        assert probe.given <= 1 + 16 + 1


# -- hedge


async def test_hedge_begins_the_next_one_when_the_first_is_late(clock: VirtualClock) -> None:
    begun: list[tuple[float, str]] = []

    def source(name: str, wait: float) -> Callable[[], AsyncIterator[str]]:
        async def items() -> AsyncIterator[str]:
            begun.append((clock.now(), name))
            await clock.sleep(wait)
            yield name

        return items

    stream = hedge(source("a", 9.0), source("b", 9.0), source("c", 0.5), source("d", 0.0), after=1.0)
    assert [(2.5, "c")] == await at(clock, stream)
    assert [(0.0, "a"), (1.0, "b"), (2.0, "c")] == begun
    assert 0 == clock.pending


async def test_hedge_never_opens_what_is_not_needed(clock: VirtualClock) -> None:
    called: list[int] = []
    given = Probe(ITEMS)

    def spare() -> list[str]:
        called.append(1)
        return ["spare"]

    stream = hedge(timed(0.9, "a", 5.0, "b"), spare, given, after=1.0)
    assert [(0.9, "a"), (5.9, "b")] == await at(clock, stream)
    assert ([], 0, 1) == (called, given.asked, given.closed)


async def test_hedge_lets_the_first_win_after_all(clock: VirtualClock) -> None:
    spare = Probe(["spare"], at_step=lambda given: True)
    assert [(1.5, "a"), (2.0, "b")] == await at(clock, hedge(timed(1.5, "a", 0.5, "b"), spare, after=1.0))
    assert (1, 1) == (spare.asked, spare.closed)


async def test_hedge_begins_the_next_one_at_once_when_one_has_failed(clock: VirtualClock) -> None:
    stream = hedge(timed(0.25, Failed("first")), timed(), timed(9.0, "c"), timed(0.5, "d"), after=1.0)
    # The second ends at once; the third begins at 0.25 and the fourth a second later.
    assert [(1.75, "d")] == await at(clock, stream)


async def test_hedge_counts_the_time_anew_for_each(clock: VirtualClock) -> None:
    stream = hedge(timed(0.5, Failed("first")), timed(9.0, "b"), timed(0.1, "c"), after=1.0)
    assert [(1.6, "c")] == await at(clock, stream)


async def test_hedge_that_is_left_while_it_waits_leaves_nothing(clock: VirtualClock) -> None:
    probe = Probe(ITEMS, at_step=lambda given: True)
    async with assert_no_leaks():
        with anyio.CancelScope() as scope:
            clock.call_at(0.5, scope.cancel)
            async with hedge(probe, Probe(ITEMS), after=1.0) as items:
                async for _ in items:
                    raise AssertionError("nothing comes")
    assert (1, 0) == (probe.closed, clock.pending)


async def test_a_start_alone_wins_no_race_and_keeps_no_hedge_from_going_on(clock: VirtualClock) -> None:
    mute = timed(sk.Start("mute"), 9.0, sk.TextDelta("late"))
    quick = timed(1.0, sk.Start("quick"), 1.0, sk.TextDelta("soon"), sk.Finish("stop"))
    wanted = [sk.Start("quick"), sk.TextDelta("soon"), sk.Finish("stop")]
    assert (wanted, 2.0) == (await race(mute, quick).collect(), clock.now())
    assert (wanted, 6.0) == (await hedge(mute, quick, after=2.0).collect(), clock.now())


async def test_a_race_of_streams_without_output_gives_what_the_first_to_end_had(clock: VirtualClock) -> None:
    assert [sk.Start("b")] == await race(timed(sk.Start("a"), 2.0), timed(sk.Start("b"), 1.0)).collect()


async def test_an_endless_preface_counts_as_output_at_last() -> None:
    pings = [sk.Ping() for _ in range(100)]
    assert pings == await race(sk.stream(pings), sk.stream([])).collect()
