"""Operators that know the time, second by second on the virtual clock."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from typing import Any

import pytest
from arrivals import arrivals, arrivals_until_error

from streamkit.errors import ConfigError
from streamkit.events.model import Event, Finish, Gap, Ping, ReasoningDelta, TextDelta, Usage
from streamkit.flow.plan import Op, Same
from streamkit.flow.streams import stream
from streamkit.operators.buffering import batch, coalesce
from streamkit.operators.timing import Timestamped, debounce, delay, heartbeat, pace, sample, throttle, timed_stage, timestamped
from streamkit.stages.stage import TimedStage
from streamkit.testing import VirtualClock, timed

pytestmark = pytest.mark.anyio


def timers_made(clock: VirtualClock) -> list[float]:
    """The times of all timers that are set from now on."""
    made: list[float] = []
    call_at = clock.call_at

    def noted(when: float, callback: Any) -> Any:
        made.append(when)
        return call_at(when, callback)

    clock.call_at = noted  # type: ignore[method-assign]  # watched
    return made


# -- debounce


async def test_debounce_gives_the_newest_item_after_a_silence(clock: VirtualClock) -> None:
    source = timed("s", 0.125, "st", 0.125, "str", 2.0, "stre", 0.25, "stream")
    assert [(0.75, "str"), (2.5, "stream")] == await arrivals(source | debounce(0.5), clock)
    assert 0 == clock.pending


async def test_debounce_gives_the_last_item_with_the_end_and_not_later(clock: VirtualClock) -> None:
    assert [(1.0, "b")] == await arrivals(timed("a", 0.25, "b", 0.75) | debounce(60), clock)
    assert 1.0 == clock.now()


async def test_debounce_gives_an_item_whose_silence_is_over_when_the_next_one_comes(clock: VirtualClock) -> None:
    assert [(0.5, "a"), (0.5, "b")] == await arrivals(timed("a", 0.5, "b") | debounce(0.5), clock)


async def test_debounce_moves_its_timer_only_when_it_is_over(clock: VirtualClock) -> None:
    made = timers_made(clock)
    await (stream(list(range(10_000))) | debounce(5)).run()
    assert [5.0] == made


async def test_an_error_comes_behind_what_debounce_held(clock: VirtualClock) -> None:
    assert ([(0.25, "b")], "broke") == await arrivals_until_error(timed("a", "b", 0.25, ValueError("broke")) | debounce(60), clock)


CONTROL: list[tuple[str, Same | Op[Any, Any]]] = [
    ("debounce", debounce(60)),
    ("throttle", throttle(60)),
    ("sample", sample(60)),
]


@pytest.mark.parametrize(("name", "op"), CONTROL)
async def test_control_events_are_never_dropped_and_never_late(name: str, op: Same, clock: VirtualClock) -> None:
    usage, finish = Usage(output_tokens=2), Finish()
    got = await arrivals(timed(TextDelta("x"), 0.5, TextDelta("a"), TextDelta("b"), 0.5, usage, 0.5, finish) | op, clock)
    assert [(1.0, usage), (1.5, finish)] == got[-2:]
    assert (1.0, TextDelta("b")) == got[-3]


async def test_deltas_that_were_superseded_leave_a_gap(clock: VirtualClock) -> None:
    deltas = [TextDelta("a"), TextDelta("b"), ReasoningDelta("c"), TextDelta("d")]
    assert [Gap(3), TextDelta("d")] == await (stream(deltas) | debounce(1)).collect()
    assert [TextDelta("a"), Gap(2), TextDelta("d")] == await (stream(deltas) | throttle(1)).collect()
    assert [TextDelta("a"), Gap(3)] == await (stream(deltas) | throttle(1, trailing=False)).collect()
    assert [Gap(3), TextDelta("d")] == await (stream(deltas) | sample(1)).collect()


async def test_a_proof_of_reasoning_is_a_control_event(clock: VirtualClock) -> None:
    proof = ReasoningDelta("", signature="s")
    assert [TextDelta("a"), proof, TextDelta("b")] == await (
        stream([TextDelta("a"), proof, TextDelta("b")]) | debounce(1)
    ).collect()


# -- throttle


async def test_throttle_gives_the_first_at_once_and_then_the_newest_of_each_period(clock: VirtualClock) -> None:
    source = timed(1, 0.25, 2, 0.25, 3, 0.75, 4, 0.25, 5, 3.0, 6)
    # 4 and 5 fall into the period that 3 began, and 6 comes after a pause.
    assert [(0.0, 1), (1.0, 3), (2.0, 5), (4.5, 6)] == await arrivals(source | throttle(1.0), clock)
    assert 0 == clock.pending


async def test_throttle_without_trailing_drops_what_is_no_first(clock: VirtualClock) -> None:
    source = timed(1, 0.25, 2, 0.75, 3, 0.5, 4)
    assert [(0.0, 1), (1.0, 3)] == await arrivals(source | throttle(1.0, trailing=False), clock)
    assert 1.5 == clock.now()


async def test_throttle_never_gives_two_items_within_its_time(clock: VirtualClock) -> None:
    script = [part for number in range(300) for part in (number, 0.017 * (1 + number % 7))]
    got = await arrivals(timed(*script, "last") | throttle(0.1), clock)
    times = [at for at, _ in got]
    assert all(later - earlier >= 0.1 - 1e-6 for earlier, later in pairwise(times[:-1]))
    assert "last" == got[-1][1]


# -- sample


async def test_sample_gives_the_newest_at_each_tick_that_has_one(clock: VirtualClock) -> None:
    source = timed("a", 0.25, "b", 0.25, "c", 0.75, "d", 2.5, "e", 0.1, "f")
    assert [(1.0, "c"), (2.0, "d"), (3.85, "f")] == await arrivals(source | sample(1.0), clock)


async def test_sample_sets_no_timer_while_it_holds_nothing(clock: VirtualClock) -> None:
    async with (timed("a", 1000.0, "b") | sample(1.0)).open() as items:
        assert "a" == await anext(items)
        assert 1.0 == clock.now()
        assert 1 == clock.pending  # the source's own pause


# -- delay


async def test_delay_gives_each_item_later_and_the_end_with_the_last(clock: VirtualClock) -> None:
    assert [(2.0, "a"), (2.5, "b"), (6.0, "c")] == await arrivals(timed("a", 0.5, "b", 3.5, "c") | delay(2.0), clock)
    assert 6.0 == clock.now()


async def test_an_error_comes_behind_the_items_that_are_delayed(clock: VirtualClock) -> None:
    source = timed("a", 0.5, "b", ValueError("broke"))
    assert ([(2.0, "a"), (2.5, "b")], "broke") == await arrivals_until_error(source | delay(2.0), clock)


async def test_delay_suspends_a_source_that_is_too_far_ahead(clock: VirtualClock) -> None:
    given = 0

    async def eager() -> AsyncIterator[int]:
        nonlocal given
        for number in range(100):
            given = number
            yield number

    async with (stream(eager()) | delay(1.0, size=8)).open() as items:
        assert 0 == await anext(items)
        assert given <= 16
        assert [*range(1, 100)] == [item async for item in items]


async def test_delay_is_counted_from_the_arrival_however_slow_the_consumer_is(clock: VirtualClock) -> None:
    source = timed("a", 0.25, "b", 0.25, "c")
    assert [(1.0, "a"), (3.0, "b"), (5.0, "c")] == await arrivals(source | delay(1.0), clock, busy=2.0)


# -- pace


async def test_pace_gives_the_first_at_once_and_the_rest_at_the_rate(clock: VirtualClock) -> None:
    got = await arrivals(timed("abcde") | pace(4, max_lag=60), clock)
    assert [(0.0, "a"), (0.25, "b"), (0.5, "c"), (0.75, "d"), (1.0, "e")] == got


async def test_text_that_comes_more_slowly_than_the_pace_is_never_held(clock: VirtualClock) -> None:
    got = await arrivals(timed("a", 0.5, "b", 0.5, "c") | pace(4), clock)
    assert [(0.0, "a"), (0.5, "b"), (1.0, "c")] == got


async def test_pace_makes_up_for_a_backlog_within_its_lag(clock: VirtualClock) -> None:
    got = await arrivals(timed("x" * 5000, 0.5, "y" * 3000) | pace(20, max_lag=2.0), clock)
    assert "x" * 5000 + "y" * 3000 == "".join(text for _, text in got)
    last_x = max(at for at, text in got if "x" in text)
    assert last_x <= 2.0 + 0.02
    assert got[-1][0] <= 2.5 + 0.02
    # Smoothly: no piece is much larger than the others, and at most 50 come in a second.
    assert max(len(text) for _, text in got) <= 5000 / 2.0 * 0.02 * 2 + 2
    assert len(got) <= 2.6 * 50


async def test_a_pace_that_was_raised_falls_again_when_nothing_is_held(clock: VirtualClock) -> None:
    got = await arrivals(timed("x" * 100, 10.0, "abc") | pace(4, max_lag=1.0), clock)
    assert [(10.0, "a"), (10.25, "b"), (10.5, "c")] == got[-3:]


async def test_pace_never_delays_a_control_event(clock: VirtualClock) -> None:
    finish = Finish()
    got = await arrivals(timed(TextDelta("Hello"), 0.5, finish) | pace(4, max_lag=60), clock)
    assert [(0.0, TextDelta("H")), (0.25, TextDelta("e")), (0.5, TextDelta("llo")), (0.5, finish)] == [
        got[0],
        got[1],
        *_joined_at(got[2:-1]),
        got[-1],
    ]


def _joined_at(got: list[tuple[float, Any]]) -> list[tuple[float, TextDelta]]:
    """Pieces of one time as one."""
    return [(got[0][0], TextDelta("".join(event.text for _, event in got)))]


async def test_pace_joins_text_of_one_block_only(clock: VirtualClock) -> None:
    events: list[Event] = [TextDelta("ab"), TextDelta("cd", index=1), ReasoningDelta("ef")]
    got = await (stream(events) | pace(1000, max_lag=60)).collect()
    assert ("ab", "cd", "ef") == (
        "".join(e.text for e in got if isinstance(e, TextDelta) and e.index == 0),
        "".join(e.text for e in got if isinstance(e, TextDelta) and e.index == 1),
        "".join(e.text for e in got if isinstance(e, ReasoningDelta)),
    )


async def test_pace_cuts_no_character_that_a_reader_sees_as_one(clock: VirtualClock) -> None:
    family, accent, flag = "\U0001f468‍\U0001f469‍\U0001f467", "é", "\U0001f1e8\U0001f1ed"
    got = await (stream([f"a{family}{accent}{flag}z"]) | pace(10, max_lag=60)).collect()
    assert ["a", family, accent, flag, "z"] == got


async def test_pace_in_tokens_gives_four_characters_at_a_time(clock: VirtualClock) -> None:
    got = await arrivals(timed("twelve chars") | pace(2, unit="tokens", max_lag=60), clock)
    assert [(0.0, "twel"), (0.5, "ve c"), (1.0, "hars")] == got


async def test_pace_in_items_cuts_nothing(clock: VirtualClock) -> None:
    got = await arrivals(timed("one", "two", 3) | pace(2, unit="items", max_lag=60), clock)
    assert [(0.0, "one"), (0.5, "two"), (1.0, 3)] == got


async def test_a_paced_end_may_come_at_once(clock: VirtualClock) -> None:
    got = await arrivals(timed("abcdef", 0.5) | pace(4, max_lag=60, at_end="at_once"), clock)
    assert "abcdef" == "".join(text for _, text in got)
    assert 0.5 == clock.now()


async def test_an_error_comes_at_once_behind_the_text_that_was_paced(clock: VirtualClock) -> None:
    got, error = await arrivals_until_error(timed("abcdef", 0.25, ValueError("broke")) | pace(4, max_lag=60), clock)
    assert ("abcdef", "broke", 0.25) == ("".join(text for _, text in got), error, clock.now())


async def test_pace_holds_no_more_than_its_size(clock: VirtualClock) -> None:
    got = await arrivals(timed("x" * 1000, 1.0) | pace(10, max_lag=60, size=50), clock)
    assert 950 <= sum(len(text) for at, text in got if at == 0.0)


async def test_a_paced_stream_that_is_left_leaves_no_timer(clock: VirtualClock) -> None:
    async with (timed("abcdef") | pace(4, max_lag=60)).open() as items:
        assert "a" == await anext(items)
        assert "b" == await anext(items)
    assert 0 == clock.pending


async def test_a_slow_consumer_of_a_paced_stream_gets_larger_pieces_and_all_of_them(clock: VirtualClock) -> None:
    got = await arrivals(timed("x" * 100) | pace(100, max_lag=60), clock, busy=0.25)
    assert 100 == sum(len(text) for _, text in got)
    assert len(got) <= 7


async def test_nothing_wakes_up_while_a_paced_stream_is_idle(clock: VirtualClock) -> None:
    made = timers_made(clock)
    assert [(0.0, "a"), (3600.0, "b")] == await arrivals(timed("a", 3600.0, "b") | pace(100), clock)
    assert [3600.0] == made  # the source's own pause


# -- heartbeat


async def test_a_heartbeat_comes_when_nothing_came_and_never_between(clock: VirtualClock) -> None:
    got = await arrivals(timed("a", 0.5, "b", 2.75, "c", 1.0, "d") | heartbeat(1.0), clock)
    assert [(0.0, "a"), (0.5, "b"), (1.5, Ping()), (2.5, Ping()), (3.25, "c"), (4.25, "d")] == [
        pair for pair in got if pair != (4.25, Ping())
    ]
    assert 0 == clock.pending


async def test_a_heartbeat_comes_before_the_first_item_too(clock: VirtualClock) -> None:
    assert [(2.0, Ping()), (4.0, Ping()), (5.0, "a")] == await arrivals(timed(5.0, "a") | heartbeat(2.0), clock)


async def test_no_heartbeats_pile_up_for_a_slow_consumer(clock: VirtualClock) -> None:
    got = await arrivals(timed("a", 0.25, "b", 30.0, "c") | heartbeat(1.0), clock, busy=10.0)
    # It asks for the third thing at 20, waits a second, and is busy with the ping until 31.
    assert [(0.0, "a"), (10.0, "b"), (21.0, Ping()), (31.0, "c")] == got


async def test_a_heartbeat_is_what_is_made_for_it(clock: VirtualClock) -> None:
    made = iter(range(10))
    assert [0, 1, "a"] == await (timed(2.5, "a") | heartbeat(1.0, lambda: next(made))).collect()


async def test_a_heartbeat_that_cannot_be_made_is_an_error_of_the_stream(clock: VirtualClock) -> None:
    def broken() -> str:
        raise ValueError("no ping")

    got, error = await arrivals_until_error(timed("a", 60.0, "b") | heartbeat(1.0, broken), clock)
    assert ([(0.0, "a")], "no ping", 1.0) == (got, error, clock.now())
    assert 0 == clock.pending


# -- timestamped


async def test_items_get_the_seconds_since_the_source_was_asked(clock: VirtualClock) -> None:
    await clock.sleep(100)
    source = timed(1.5, "a", 0.5, "b")
    assert [(1.5, "a"), (2.0, "b")] == await (source | timestamped()).collect()
    got = await (source | timestamped()).collect()
    assert [Timestamped(1.5, "a"), Timestamped(2.0, "b")] == got
    assert ("b", 2.0) == (got[1].item, got[1].at)


async def test_items_that_stand_before_the_source_are_stamped_with_its_beginning(clock: VirtualClock) -> None:
    from streamkit.flow.plan import start_with_step

    source = timed(1.5, "a") | Same(start_with_step(("hello",)))
    assert [(0.0, "hello"), (1.5, "a")] == await (source | timestamped()).collect()


# -- batch, coalesce


async def test_a_list_is_given_by_weight_or_by_time_whichever_comes_first(clock: VirtualClock) -> None:
    source = timed("ab", "cd", "ef", 0.25, "g", 2.0, "h")
    got = await arrivals(source | batch(within=1.0, weight="characters", max_weight=4), clock)
    assert [(0.0, ["ab", "cd"]), (1.0, ["ef", "g"]), (2.25, ["h"])] == got


async def test_a_boundary_ends_a_list_before_its_time(clock: VirtualClock) -> None:
    source = timed("a", 0.5, "b.", 0.25, "c", 3.0, "d.")
    got = await arrivals(source | batch(within=1.0, until=lambda text: text.endswith(".")), clock)
    assert [(0.5, ["a", "b."]), (1.75, ["c"]), (3.75, ["d."])] == got


async def test_a_slow_consumer_suspends_a_source_that_is_a_few_lists_ahead(clock: VirtualClock) -> None:
    given = 0

    async def eager() -> AsyncIterator[int]:
        nonlocal given
        for number in range(200):
            given = number + 1
            yield number

    async with (stream(eager()) | batch(4, within=60)).open() as items:
        taken = [await anext(items), await anext(items)]
        await clock.sleep(1)
        assert [[0, 1, 2, 3], [4, 5, 6, 7]] == taken
        # The list in the consumer's hands, eight on their way, one in the writer's, and one that is filled.
        assert given <= 4 * (2 + 1 + 8 + 1 + 1)
        assert [*range(8, 200)] == [number async for made in items for number in made]


async def test_coalesce_costs_a_slow_sink_hardly_more_than_its_source_alone(clock: VirtualClock) -> None:
    script = [part for number in range(1000) for part in (0.001, f"{number} ")]
    frames: list[str] = []

    async def two_milliseconds(text: str) -> None:
        frames.append(text)
        await clock.sleep(0.002)

    await (timed(*script) | coalesce()).map(two_milliseconds).run()
    assert "".join(f"{number} " for number in range(1000)) == "".join(frames)
    assert clock.now() <= 1.1 * 1.0
    assert len(frames) <= 501


# -- a stage of one's own


class Slowly(TimedStage[str, str]):
    """Gives one item a second, and goes on after the end."""

    lingers = True

    def __init__(self) -> None:
        self.held: list[str] = []

    def feed(self, item: str, now: float) -> list[str]:
        self.held.append(item)
        if self.deadline is None:
            self.deadline = now + 1.0
        if item == "enough":
            self.done = True
        return []

    def fire(self, now: float) -> list[str]:
        given = self.held.pop(0)
        if given == "broken":
            raise ValueError("cannot be given")
        assert self.deadline is not None
        self.deadline = self.deadline + 1.0 if self.held else None
        return [given]

    def flush(self) -> list[str]:
        return ["the end", *self.held]


async def test_a_stage_that_lingers_is_flushed_behind_its_last_deadline(clock: VirtualClock) -> None:
    got = await arrivals(timed("a", "b", 0.5, "c") | timed_stage(Slowly), clock)
    assert [(1.0, "a"), (2.0, "b"), (3.0, "c"), (3.0, "the end")] == got
    assert 0 == clock.pending


async def test_a_stage_that_lingers_is_flushed_at_once_behind_an_error(clock: VirtualClock) -> None:
    source = timed("a", "b", 1.5, ValueError("broke"))
    assert ([(1.0, "a"), (1.5, "the end"), (1.5, "b")], "broke") == await arrivals_until_error(source | timed_stage(Slowly), clock)


async def test_a_stage_that_fails_at_its_deadline_fails_the_stream(clock: VirtualClock) -> None:
    source = timed("a", "broken", "c", 60.0, "d")
    assert ([(1.0, "a")], "cannot be given") == await arrivals_until_error(source | timed_stage(Slowly), clock)
    assert (2.0, 0) == (clock.now(), clock.pending)


async def test_a_stage_that_fails_while_it_lingers_fails_the_stream(clock: VirtualClock) -> None:
    source = timed("a", "broken", "c")
    assert ([(1.0, "a")], "cannot be given") == await arrivals_until_error(source | timed_stage(Slowly), clock)
    assert (2.0, 0) == (clock.now(), clock.pending)


async def test_a_stage_that_is_done_ends_the_stream_without_a_flush(clock: VirtualClock) -> None:
    assert [(1.0, "a")] == await arrivals(timed("a", 1.5, "enough", 60.0, "b") | timed_stage(Slowly), clock)
    assert (1.5, 0) == (clock.now(), clock.pending)


async def test_a_stage_instead_of_its_maker_is_refused() -> None:
    with pytest.raises(TypeError, match="takes a maker"):
        timed_stage(Slowly())  # type: ignore[arg-type]  # the mistake under test
    with pytest.raises(TypeError, match="takes a callable"):
        timed_stage(3)  # type: ignore[arg-type]  # the mistake under test


# -- bad arguments, bad clocks

TIMED: dict[str, Callable[[Any], object]] = {
    "debounce": debounce,
    "throttle": throttle,
    "sample": sample,
    "delay": delay,
    "heartbeat": heartbeat,
    "pace": pace,
    "batch": lambda seconds: batch(2, within=seconds),
}


@pytest.mark.parametrize("name", TIMED)
@pytest.mark.parametrize("seconds", [0, -1, 0.0, float("nan"), float("inf"), True, "1", None])
async def test_a_time_that_is_none_is_refused_at_the_call(name: str, seconds: Any) -> None:
    if name == "batch" and seconds is None:
        assert [[1, 2]] == await (stream([1, 2]) | batch(2, within=None)).collect()
        return
    with pytest.raises((ConfigError, TypeError), match=f"^{name}\\("):
        TIMED[name](seconds)


async def test_other_arguments_are_refused_at_the_call_and_named() -> None:
    async def later() -> str:
        return "ping"

    with pytest.raises(TypeError, match="cannot await it"):
        heartbeat(1, later)
    with pytest.raises(TypeError, match="takes a callable"):
        heartbeat(1, 3)  # type: ignore[call-overload]  # the mistake under test
    with pytest.raises(ConfigError, match="size=0"):
        heartbeat(1, size=0)
    with pytest.raises(ConfigError, match="size=0"):
        delay(1, size=0)
    with pytest.raises(ConfigError, match="'words' is not one of"):
        pace(1, unit="words")  # type: ignore[arg-type]  # the mistake under test
    with pytest.raises(ConfigError, match="at_end='never'"):
        pace(1, at_end="never")  # type: ignore[arg-type]  # the mistake under test
    with pytest.raises(ConfigError, match="max_lag"):
        pace(1, max_lag=0)
    with pytest.raises(ConfigError, match="size"):
        pace(1, size=0)


async def test_lim_04_a_computer_clock_that_jumps_moves_no_timer(clock: VirtualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    wall = iter([1e9, 0.0, 2e9, -5.0] * 1000)
    monkeypatch.setattr(time, "time", lambda: next(wall))
    source = timed("a", 0.25, "b", 2.0, "c")
    assert [(1.25, "b"), (2.25, "c")] == await arrivals(source | debounce(1.0), clock)
    assert [(0.0, "a"), (1.0, "b"), (2.25, "c")] == [
        (round(at, 6), item) for at, item in await (source | throttle(1.0) | timestamped()).collect()
    ]
