"""`Pace`, fed by hand with texts and times."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stage_runs import steps

from streamkit.errors import ConfigError
from streamkit.events.model import Finish, TextDelta
from streamkit.stages.pacing import FRAME, Pace

TEXTS = st.text(alphabet="ab é\u0301\U0001f468\u200d\U0001f469日", max_size=40)
ARRIVALS = st.lists(st.tuples(TEXTS, st.floats(0, 1)), max_size=15)


def by_hand(pace: Pace[Any], arrivals: list[tuple[Any, float]], late: float = 0.0) -> list[tuple[float, Any]]:
    """What comes out and when, of a host whose timers are so late, and of an end that waits for the rest."""
    out: list[tuple[float, Any]] = []
    now = 0.0
    for item, gap in [*arrivals, (None, float("inf"))]:
        then = now + gap
        while pace.deadline is not None and pace.deadline + late <= then:
            now = pace.deadline + late
            out.extend((now, given) for given in pace.fire(now))
        if item is None:
            break
        now = then
        out.extend((now, given) for given in pace.feed(item, now))
    return out


@given(ARRIVALS, st.floats(1, 1000), st.floats(0.05, 3), st.sampled_from(["characters", "tokens"]))
def test_the_text_is_the_same_and_never_late_by_more_than_the_lag(
    arrivals: list[tuple[str, float]], rate: float, max_lag: float, unit: Any
) -> None:
    out = by_hand(Pace[str](rate, unit, max_lag=max_lag), arrivals)
    assert "".join(text for text, _ in arrivals) == "".join(text for _, text in out)
    came = arrived = given = 0
    due: list[tuple[int, float]] = []
    now = 0.0
    for text, gap in arrivals:
        now += gap
        came += len(text)
        if text:
            due.append((came, now + max_lag + FRAME + 1e-6))
    for at, text in out:
        given += len(text)
        while arrived < len(due) and due[arrived][0] <= given:
            assert at <= due[arrived][1]
            arrived += 1


# A timer that is on time gives a character of several code points for one, a late one counts code points.
@given(st.lists(st.tuples(st.text("ab 日", max_size=40), st.floats(0, 1)), max_size=15), st.floats(1, 30), st.floats(0, 0.5))
def test_late_timers_put_nothing_off_any_further(arrivals: list[tuple[str, float]], rate: float, late: float) -> None:
    on_time = by_hand(Pace[str](rate, max_lag=60), arrivals)
    delayed = by_hand(Pace[str](rate, max_lag=60), arrivals, late)
    assert "".join(text for _, text in on_time) == "".join(text for _, text in delayed)
    if on_time:
        assert delayed[-1][0] <= on_time[-1][0] + late + FRAME + 1 / rate


def test_a_late_timer_gives_all_that_was_due() -> None:
    pace = Pace[str](10, max_lag=60)
    assert ("a",) == pace.feed("abcdefghij", 0.0)
    assert ("bcdef",) == pace.fire(0.55)
    assert pace.deadline == pytest.approx(0.6)


def test_an_early_wake_up_gives_nothing() -> None:
    pace = Pace[str](10, max_lag=60)
    pace.feed("abc", 0.0)
    assert ((), 0.1) == (pace.fire(0.05), pace.deadline)


def test_text_that_follows_a_control_event_waits_for_a_slot() -> None:
    pace = Pace[Any](2, max_lag=60)
    assert (TextDelta("a"),) == pace.feed(TextDelta("abc"), 0.0)
    assert (TextDelta("bc"), Finish()) == pace.feed(Finish(), 0.25)
    assert () == pace.feed(TextDelta("d"), 0.3)
    assert 0.75 == pace.deadline
    assert (TextDelta("d"),) == pace.flush()


def test_what_is_no_text_passes_behind_the_text_before_it() -> None:
    pace = Pace[Any](2, max_lag=60)
    assert ("a",) == pace.feed("abc", 0.0)
    assert ("bc", b"bytes") == pace.feed(b"bytes", 0.1)
    assert () == pace.feed("", 0.2)
    assert pace.deadline is None


def test_a_tower_of_marks_does_not_hold_up_the_pace() -> None:
    out = by_hand(Pace[str](10, max_lag=600), [("e" + "\u0301" * 1000 + "x", 0.0)])
    assert "e" + "\u0301" * 1000 + "x" == "".join(text for _, text in out)
    assert max(len(text) for _, text in out) <= 65


@pytest.mark.parametrize("text", ["a" * 1000, "日" * 1000, "e\u0301" * 500])
def test_time_is_linear_in_the_text(text: str) -> None:
    def work(times: int) -> int:
        return steps(lambda: by_hand(Pace[str](50, max_lag=1e6), [(text * times, 0.0)]))

    assert work(2) / work(1) <= 2.3


def test_time_is_linear_in_the_number_of_small_pieces() -> None:
    def work(count: int) -> int:
        return steps(lambda: by_hand(Pace[str](5, max_lag=1e6), [("word ", 0.01)] * count))

    assert work(800) / work(400) <= 2.3


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ((0,), {}),
        ((-1,), {}),
        ((float("nan"),), {}),
        ((float("inf"),), {}),
        ((True,), {}),
        (("9",), {}),
        ((9, "words"), {}),
        ((9,), {"max_lag": 0}),
        ((9,), {"max_lag": float("inf")}),
        ((9,), {"size": 0}),
        ((9,), {"size": 1.5}),
    ],
)
def test_arguments_that_make_no_pace_are_refused(arguments: Any, options: Any) -> None:
    with pytest.raises((ConfigError, TypeError), match=r"rate|unit|max_lag|size"):
        Pace(*arguments, **options)
