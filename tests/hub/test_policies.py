"""What a reader gets that need not have every event: nothing that matters is lost, and what is missing is counted."""

from __future__ import annotations

from itertools import pairwise

from any_events import any_event, some_events, steps
from hypothesis import given
from hypothesis import strategies as st

from streamkit.events import Custom, Event, Finish, Gap, Ping, ReasoningDelta, TextDelta, ToolCallDelta, is_control, join_deltas
from streamkit.hub.policies import conflated, joins, newest


def words(count: int) -> list[Event]:
    return [TextDelta(f"{number} ") for number in range(count)]


def counted(events: list[Event]) -> int:
    """How many deltas a slice stands for, there or dropped."""
    return sum(event.count if isinstance(event, Gap) else not is_control(event) for event in events)


@given(some_events, st.integers(0, 1000))
def test_conflated_is_what_join_deltas_gives(events: list[Event], begin: int) -> None:
    joined, _ = conflated(events, range(begin, begin + len(events)))
    assert join_deltas(events) == list(joined)


@given(some_events, st.integers(0, 1000))
def test_each_joined_event_has_the_offset_of_the_last_one_it_stands_for(events: list[Event], begin: int) -> None:
    joined, lasts = conflated(events, range(begin, begin + len(events)))
    edges = [0, *(last - begin + 1 for last in lasts)]
    assert list(joined) == [event for a, b in pairwise(edges) for event in join_deltas(events[a:b])]
    assert edges[-1] == len(events)
    assert edges == sorted(set(edges))


@given(some_events, st.integers(0, 30))
def test_conflating_in_two_steps_is_conflating_at_once(events: list[Event], place: int) -> None:
    first, ends = conflated(events[:place], range(len(events[:place])))
    twice = conflated([*first, *events[place:]], [*ends, *range(len(first) and ends[-1] + 1, len(events))])
    once = conflated(events, range(len(events)))
    assert [list(part) for part in once] == [list(part) for part in twice]


@given(any_event, any_event)
def test_two_events_join_where_join_deltas_joins_them(first: Event, second: Event) -> None:
    assert joins(first, second) == (1 == len(join_deltas([first, second])))


def test_a_slice_where_nothing_joins_is_given_as_it_came() -> None:
    events: list[Event] = [TextDelta("a"), TextDelta("b", choice=1), Finish(), TextDelta("c"), ToolCallDelta("1", "{")]
    for count in range(len(events) + 1):
        given_events, given_offsets = events[:count], range(7, 7 + count)
        joined, lasts = conflated(given_events, given_offsets)
        assert joined is given_events
        assert lasts is given_offsets


def test_reasoning_with_a_proof_joins_nothing() -> None:
    events: list[Event] = [ReasoningDelta("a"), ReasoningDelta("b"), ReasoningDelta(signature="s"), ReasoningDelta("c")]
    assert ([ReasoningDelta("ab"), *events[2:]], [1, 2, 3]) == conflated(events, range(4))


def test_gaps_do_not_join_when_conflated() -> None:
    events: list[Event] = [Gap(1), Gap(2)]
    assert (events, range(2)) == conflated(events, range(2))


def test_control_events_keep_their_place_among_the_joined() -> None:
    events: list[Event] = [*words(3), Custom("n"), *words(2), Finish()]
    assert ([TextDelta("0 1 2 "), Custom("n"), TextDelta("0 1 "), Finish()], [12, 13, 15, 16]) == conflated(events, range(10, 17))


@given(some_events, st.integers(0, 1000))
def test_newest_loses_no_control_event_and_no_order(events: list[Event], begin: int) -> None:
    out, _ = newest(events, range(begin, begin + len(events)))
    control = [event for event in events if is_control(event) and not isinstance(event, Gap)]
    assert control == [event for event in out if is_control(event) and not isinstance(event, Gap)]


@given(some_events, st.integers(0, 1000))
def test_newest_keeps_the_last_delta_alone_and_in_its_place(events: list[Event], begin: int) -> None:
    out, lasts = newest(events, range(begin, begin + len(events)))
    deltas = [(event, at + begin) for at, event in enumerate(events) if not is_control(event)]
    assert deltas[-1:] == [(event, last) for event, last in zip(out, lasts, strict=True) if not is_control(event)]


@given(some_events, st.integers(0, 1000))
def test_what_newest_drops_and_keeps_is_all_there_was(events: list[Event], begin: int) -> None:
    out, lasts = newest(events, range(begin, begin + len(events)))
    seen = begin
    for event, last in zip(out, lasts, strict=True):
        assert counted(events[seen - begin : last + 1 - begin]) == counted([event])
        seen = last + 1
    assert begin + len(events) == seen
    assert counted(events) == counted(list(out))


@given(some_events)
def test_gaps_of_newest_never_touch(events: list[Event]) -> None:
    out, _ = newest(events, range(len(events)))
    assert not [pair for pair in pairwise(out) if isinstance(pair[0], Gap) and isinstance(pair[1], Gap)]


@given(some_events)
def test_newest_of_newest_changes_nothing(events: list[Event]) -> None:
    once = newest(events, range(len(events)))
    again = newest(*once)
    assert [list(part) for part in once] == [list(part) for part in again]


def test_a_gap_of_the_log_counts_into_the_one_it_touches() -> None:
    events: list[Event] = [TextDelta("a"), Gap(5), TextDelta("b"), Finish(), Gap(2), TextDelta("c"), Gap(3)]
    assert ([Gap(7), Finish(), Gap(2), TextDelta("c"), Gap(3)], [2, 3, 4, 5, 6]) == newest(events, range(7))


def test_a_gap_of_nothing_is_kept_too() -> None:
    assert ([Gap(0), Ping()], [0, 1]) == newest([Gap(0), Ping()], range(2))


def test_arguments_of_a_call_are_never_dropped() -> None:
    calls: list[Event] = [ToolCallDelta("1", '{"a'), ToolCallDelta("1", '":1}')]
    assert (calls, [0, 1]) == newest(calls, range(2))


def test_one_event_or_none_is_given_as_it_came() -> None:
    for events in ([], words(1), [Gap(3)], [Finish()]):
        offsets = range(len(events))
        for policy in (conflated, newest):
            out, lasts = policy(events, offsets)
            assert out is events
            assert lasts is offsets


def test_a_slice_of_twice_the_length_costs_twice_the_steps() -> None:
    mixed: list[Event] = [*words(3), Ping(), TextDelta("x", choice=1), ToolCallDelta("1", "{"), ToolCallDelta("1", "}")]
    for policy in (conflated, newest):
        short, long = (mixed * count for count in (100, 200))
        once = steps(lambda: policy(short, range(len(short))))  # noqa: B023  # called at once
        twice = steps(lambda: policy(long, range(len(long))))  # noqa: B023
        assert 1.9 < twice / once < 2.1
