"""`Debounce`, `Throttle`, `Sample`, fed by hand with items and times."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamkit.errors import ConfigError
from streamkit.events.model import Finish, Gap, TextDelta, is_control
from streamkit.stages.stage import TimedStage
from streamkit.stages.thinning import Debounce, Sample, Throttle

STAGES: dict[str, Callable[[], TimedStage[Any, Any]]] = {
    "debounce": lambda: Debounce(1.0),
    "throttle": lambda: Throttle(1.0),
    "throttle without trailing": lambda: Throttle(1.0, trailing=False),
    "sample": lambda: Sample(1.0),
}
EVENTS = st.one_of(st.integers(0, 9).map(lambda n: TextDelta(str(n))), st.just(Finish()))
ARRIVALS = st.lists(st.tuples(EVENTS | st.integers(), st.floats(0, 2)), max_size=25)


def by_hand(stage: TimedStage[Any, Any], arrivals: Iterable[tuple[Any, float]], *, quick: bool) -> list[tuple[float, Any]]:
    """What comes out and when, from a host that is always on time; with `quick` through the stage's shorter way."""
    out: list[tuple[float, Any]] = []
    now = 0.0

    def feed(item: Any) -> None:
        out.extend((now, given) for given in stage.feed(item, now))

    offer = stage.ready(lambda: now, feed) if quick else feed
    for item, gap in arrivals:
        then = now + gap
        while stage.deadline is not None and stage.deadline <= then:
            now = stage.deadline
            out.extend((now, given) for given in stage.fire(now))
        now = then
        offer(item)
    out.extend((now, given) for given in stage.flush())
    return out


@pytest.mark.parametrize("name", STAGES)
@given(arrivals=ARRIVALS)
def test_the_shorter_way_gives_what_the_whole_one_gives(name: str, arrivals: list[tuple[Any, float]]) -> None:
    assert by_hand(STAGES[name](), arrivals, quick=False) == by_hand(STAGES[name](), arrivals, quick=True)


@pytest.mark.parametrize("name", STAGES)
@given(arrivals=ARRIVALS)
def test_nothing_is_lost_without_a_trace_but_what_is_no_event(name: str, arrivals: list[tuple[Any, float]]) -> None:
    out = [given for _, given in by_hand(STAGES[name](), arrivals, quick=True)]
    gaps = sum(given.count for given in out if isinstance(given, Gap))
    assert sum(isinstance(item, TextDelta) for item, _ in arrivals) == gaps + sum(isinstance(given, TextDelta) for given in out)
    assert [item for item, _ in arrivals if is_control(item)] == [
        given for given in out if is_control(given) and not isinstance(given, Gap)
    ]


@pytest.mark.parametrize("name", STAGES)
@given(arrivals=ARRIVALS)
def test_control_events_come_at_their_own_time(name: str, arrivals: list[tuple[Any, float]]) -> None:
    now, expected = 0.0, []
    for item, gap in arrivals:
        now += gap
        if isinstance(item, Finish):
            expected.append(now)
    assert expected == [at for at, given in by_hand(STAGES[name](), arrivals, quick=True) if isinstance(given, Finish)]


@pytest.mark.parametrize("name", STAGES)
@given(arrivals=ARRIVALS)
def test_nothing_is_held_and_no_deadline_left_after_the_end(name: str, arrivals: list[tuple[Any, float]]) -> None:
    stage = STAGES[name]()
    by_hand(stage, arrivals, quick=True)
    assert (None, ()) == (stage.deadline, tuple(stage.abort()))


@given(arrivals=st.lists(st.tuples(st.integers(), st.floats(0, 2)), max_size=25))
def test_the_last_item_of_all_is_never_missed(arrivals: list[tuple[int, float]]) -> None:
    for name in ("debounce", "throttle", "sample"):
        out = by_hand(STAGES[name](), arrivals, quick=True)
        assert [item for item, _ in arrivals][-1:] == [given for _, given in out][-1:]


@given(arrivals=st.lists(st.tuples(st.integers(), st.floats(0, 2)), max_size=40))
def test_throttled_items_are_a_period_apart_but_for_the_last(arrivals: list[tuple[int, float]]) -> None:
    times = [at for at, _ in by_hand(Throttle(1.0), arrivals, quick=True)][:-1]
    assert all(later - earlier > 1.0 - 1e-9 for earlier, later in pairwise(times))


def test_an_early_wake_up_gives_nothing() -> None:
    for name in ("debounce", "throttle", "sample"):
        stage = STAGES[name]()
        stage.feed("a", 0.0)
        stage.feed("b", 0.5)
        assert () == tuple(stage.fire(0.75))
        assert stage.deadline is not None
        assert ("b",) == tuple(stage.fire(1.5))


def test_ticks_stay_on_their_grid_after_a_late_one() -> None:
    sample = Sample[str](0.25)
    sample.feed("a", 10.0)
    assert ("a",) == sample.fire(10.3)
    sample.feed("b", 10.3)
    assert 10.5 == sample.deadline


@pytest.mark.parametrize("make", [Debounce, Throttle, Sample])
@pytest.mark.parametrize("seconds", [0, -1.0, float("nan"), float("inf"), True, "1"])
def test_a_time_that_is_none_is_refused(make: Callable[[Any], object], seconds: Any) -> None:
    with pytest.raises((ConfigError, TypeError), match="a time"):
        make(seconds)
