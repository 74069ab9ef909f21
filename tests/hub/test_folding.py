"""The folded beginning of a log: a reader that comes late has everything once, or is told how much it lacks."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from unittest.mock import patch

import pytest
from any_events import some_events, steps
from hypothesis import given
from hypothesis import strategies as st

from streamkit.events import (
    Custom,
    DataDelta,
    Event,
    File,
    Finish,
    Gap,
    Message,
    Ping,
    Raw,
    ReasoningDelta,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolCallStart,
    Usage,
    join_deltas,
)
from streamkit.hub import folding
from streamkit.hub.folding import Folded

PLENTY = 1 << 24
NOT_JOINED_YET = 64 << 10  # what the newest deltas and the ends of lists may cost besides

places = st.lists(st.integers(0, 40), max_size=4)
tails = st.sampled_from([1, 2, 3, 256])


def folded(
    events: list[Event], cuts: list[int] | None = None, *, first: int = 0, max_bytes: int = PLENTY, tail: int = 256
) -> Folded:
    """The events, added in parts that are cut at these places; `tail` of them at most wait to be joined."""
    beginning = Folded(first, max_bytes=max_bytes)
    edges = [0, *sorted(min(cut, len(events)) for cut in cuts or []), len(events)]
    with patch.object(folding, "_TAIL_EVENTS", tail):
        for begin, end in pairwise(edges):
            beginning.add(events[begin:end])
    return beginning


def everything(message: Message) -> dict[str, object]:
    """All that can be asked of a message."""
    names = ["text", "reasoning", "tool_calls", "parts", "citations", "files", "tool_results", "usage", "finish", "error", "start"]
    return {name: getattr(message, name) for name in [*names, "gaps", "complete"]}


def words(count: int, *, choices: int = 1) -> list[Event]:
    return [TextDelta(f"{number} ", choice=number % choices) for number in range(count)]


@given(some_events, places, tails, st.integers(0, 40), st.integers(0, 1000))
def test_after_any_offset_a_reader_gets_the_rest_joined(
    events: list[Event], cuts: list[int], tail: int, seen: int, first: int
) -> None:
    seen = min(seen, len(events))
    given_events, _ = folded(events, cuts, first=first, tail=tail).after(first + seen)
    assert join_deltas(events[seen:]) == given_events


@given(some_events, places, tails, st.integers(0, 40), st.integers(0, 1))
def test_a_message_that_goes_on_after_any_offset_equals_the_whole(
    events: list[Event], cuts: list[int], tail: int, seen: int, choice: int
) -> None:
    message = Message(events[:seen], choice=choice)
    message.add_all(folded(events, cuts, tail=tail).after(min(seen, len(events)))[0])
    assert everything(Message(events, choice=choice)) == everything(message)


@given(some_events, places, tails, st.integers(0, 40), st.integers(0, 1000))
def test_each_event_has_the_offset_of_the_last_one_it_stands_for(
    events: list[Event], cuts: list[int], tail: int, seen: int, first: int
) -> None:
    seen = min(seen, len(events))
    given_events, lasts = folded(events, cuts, first=first, tail=tail).after(first + seen)
    edges = [seen, *(last - first + 1 for last in lasts)]
    assert given_events == [event for begin, end in pairwise(edges) for event in join_deltas(events[begin:end])]
    assert edges == sorted(set(edges))
    assert len(events) == edges[-1]


@given(some_events, places, tails, st.integers(0, 40), st.integers(0, 3000))
def test_whatever_is_forgotten_is_counted_and_the_rest_is_right(
    events: list[Event], cuts: list[int], tail: int, seen: int, max_bytes: int
) -> None:
    beginning = folded(events, cuts, max_bytes=max_bytes, tail=tail)
    seen = min(seen, len(events))
    missing = max(beginning.first - seen, 0)
    expected: list[Event] = [Gap(missing)] if missing else []
    given_events, lasts = beginning.after(seen)
    assert expected + join_deltas(events[seen + missing :]) == given_events
    assert lasts[:1] == [beginning.first - 1] or not missing
    assert len(events) == beginning.end
    assert beginning.forgotten is (beginning.first > 0)
    assert beginning.weight <= max_bytes


@pytest.mark.parametrize("seen", [0, 1, 255, 256, 257, 511, 512, 513, 999, 1000])
def test_a_run_that_was_sealed_in_pieces_is_one_event_and_cut_exactly(seen: int) -> None:
    events = words(1000)
    expected = join_deltas(events[seen:])
    assert (expected, [999] * len(expected)) == folded(events).after(seen)


@pytest.mark.parametrize(
    "delta",
    [
        lambda number: TextDelta(f"é{number}", index=2, choice=1),
        lambda number: ReasoningDelta(f"漢{number}", index=2, choice=1),
        lambda number: ToolCallDelta("call_1", f"{number},", index=2, choice=1),
        lambda number: DataDelta(b"%d" % number, "audio/pcm", index=2, choice=1),
    ],
    ids=["text", "reasoning", "arguments", "data"],
)
def test_each_kind_of_run_is_cut_exactly_at_each_offset(delta: Callable[[int], Event]) -> None:
    events = [delta(number) for number in range(300)]
    beginning = folded([*events, Finish()])
    for seen in range(300):
        assert ([*join_deltas(events[seen:]), Finish()], [299, 300]) == beginning.after(seen)


def test_deltas_without_content_have_their_offsets_too() -> None:
    events: list[Event] = [TextDelta(""), TextDelta("a"), TextDelta(""), Finish()]
    beginning = folded(events)
    assert [[2, 3], [2, 3], [2, 3], [3]] == [beginning.after(seen)[1] for seen in range(4)]
    assert [TextDelta(""), Finish()] == beginning.after(2)[0]


def test_long_deltas_are_joined_before_there_are_many() -> None:
    events: list[Event] = [DataDelta(bytes([number]) * 50_000, "audio/pcm") for number in range(10)]
    assert (join_deltas(events[3:]), [9]) == folded(events).after(3)


def test_gaps_stay_apart_and_are_counted_by_a_message() -> None:
    events: list[Event] = [Gap(2), Gap(3), TextDelta("a")]
    beginning = folded(events, first=4)
    assert ([Gap(4), Gap(2), Gap(3), TextDelta("a")], [3, 4, 5, 6]) == beginning.after(0)
    assert 9 == Message(beginning.after(0)[0]).gaps


def test_nothing_is_after_the_end() -> None:
    assert ([], []) == folded([]).after(0)
    assert ([], []) == folded(words(3)).after(3)
    assert ([], []) == folded([*words(3), Finish()]).after(4)


def test_a_beginning_that_never_held_anything_gives_the_gap_alone() -> None:
    beginning = Folded(5, max_bytes=PLENTY)
    assert ([Gap(3)], [4]) == beginning.after(2)
    assert (5, 5, 0, False) == (beginning.first, beginning.end, beginning.weight, beginning.forgotten)


def test_asking_changes_nothing() -> None:
    beginning = folded(words(300))
    before = beginning.after(7)
    beginning.after(0)[0].clear()
    assert before == beginning.after(7)
    beginning.add([TextDelta("more")])
    assert [TextDelta("more")] == beginning.after(300)[0]


def test_the_oldest_goes_first_and_no_more_than_must() -> None:
    events: list[Event] = [File("image/png", bytes(10_000)) for _ in range(10)]
    beginning = folded(events, max_bytes=35_000)
    assert (7, 10, True) == (beginning.first, beginning.end, beginning.forgotten)
    assert ([Gap(7), *events[7:]], [6, 7, 8, 9]) == beginning.after(0)
    assert ([Gap(1), *events[7:]], [6, 7, 8, 9]) == beginning.after(6)
    assert (events[7:], [7, 8, 9]) == beginning.after(7)


def test_a_run_that_is_longer_than_the_bound_keeps_its_end() -> None:
    events = words(20_000)
    beginning = folded(events, max_bytes=20_000)
    assert 17_000 < beginning.first < 19_000
    assert ([Gap(beginning.first), *join_deltas(events[beginning.first :])], [beginning.first - 1, 19_999]) == beginning.after(0)


@pytest.mark.parametrize(
    "delta", [TextDelta("x" * 20_000), ToolCallDelta("call_1", "x" * 20_000), DataDelta(bytes(20_000), "audio/pcm")]
)
def test_a_run_of_long_deltas_keeps_its_end_too(delta: Event) -> None:
    beginning = folded([delta] * 100, max_bytes=300_000)
    assert 80 < beginning.first < 90
    assert (join_deltas([delta] * (100 - beginning.first)), [99]) == beginning.after(beginning.first)


def test_one_event_over_the_bound_is_forgotten_with_all_before_it() -> None:
    beginning = folded([*words(3), File("image/png", bytes(10_000))], max_bytes=5000)
    assert (4, 4, 0) == (beginning.first, beginning.end, beginning.weight)
    beginning.add([Finish()])
    assert ([Gap(4), Finish()], [3, 4]) == beginning.after(0)


def test_the_bound_holds_within_one_long_add_too() -> None:
    beginning = Folded(max_bytes=100_000)
    events: list[Event] = [DataDelta(bytes(10_000), "audio/pcm", index=number) for number in range(1000)]
    assert steps(lambda: beginning.add(events)) < 200_000
    assert 990 < beginning.first < 1000
    assert beginning.weight <= 100_000


@pytest.mark.parametrize(
    "event",
    [
        Custom("n", {"a": ["x" * 5000, {"b": "y" * 5000}]}),
        Custom("n", {"k" * 10_000: 1}),
        Raw(["x" * 10_000]),
        ToolCall("1", "f", "x" * 10_000),
        ToolCallStart("x" * 10_000, "f"),
        File("image/png", bytes(10_000)),
        ToolCallDelta("1", "x" * 10_000),
    ],
    ids=lambda event: event.type,
)
def test_what_an_event_holds_is_counted_whatever_its_type(event: Event) -> None:
    assert 10_000 < folded([event]).weight < 11_500
    assert 10_000 < folded([event, Ping()]).weight < 11_500


def test_the_lengths_of_a_run_are_counted() -> None:
    assert 5 * 20_000 < folded([TextDelta("x")] * 20_000).weight < 7 * 20_000


def test_a_value_that_holds_itself_is_counted_once() -> None:
    value: list[object] = ["x" * 1000]
    value.append(value)
    assert 1000 < folded([Custom("n", value)]).weight < 2000


def test_a_value_that_changes_while_it_is_held_leaves_the_count_right() -> None:
    value: list[object] = []
    beginning = folded([Custom("n", value), Ping()], max_bytes=2000)
    value.append("x" * 5000)
    beginning.add([Custom("n", "y" * 1000), TextDelta("z" * 1500)])
    assert ([Gap(3), TextDelta("z" * 1500)], [2, 3]) == beginning.after(0)
    assert 1500 < beginning.weight < 2000


def memory_of(make: Callable[[], object]) -> int:
    """Bytes that what `make` gives holds on to."""
    tracemalloc.start()
    try:
        made = make()
        size, _ = tracemalloc.get_traced_memory()
        del made
        return size
    finally:
        tracemalloc.stop()


def added_one_by_one(count: int, event: Callable[[int], Event], *, max_bytes: int = PLENTY) -> Folded:
    """Events of which nobody else holds anything."""
    beginning = Folded(max_bytes=max_bytes)
    for number in range(count):
        beginning.add([event(number)])
    return beginning


def test_memory_is_the_text_once_and_four_bytes_for_each_delta() -> None:
    count = 20_000
    size = memory_of(lambda: added_one_by_one(count, lambda number: TextDelta(f"{number:07} ")))
    assert 12 * count < size < 14 * count + NOT_JOINED_YET


@pytest.mark.parametrize(
    "event",
    [
        lambda number: TextDelta(f"{number:07} "),
        lambda number: TextDelta(f"{number:07} ", choice=number % 2),
        lambda number: Custom(f"{number:07}", {"a": [float(number)]}),
        lambda number: DataDelta(bytes(1000), "audio/pcm"),
        lambda number: TextDelta("漢" * 50 + str(number)),
    ],
    ids=["one run", "two choices by turns", "control events", "data", "wide characters"],
)
def test_memory_keeps_the_bound_and_the_weight_says_what_it_is(event: Callable[[int], Event]) -> None:
    max_bytes = 200_000
    weights: list[int] = []

    def make() -> Folded:
        beginning = added_one_by_one(20_000, event, max_bytes=max_bytes)
        weights.append(beginning.weight)
        return beginning

    size = memory_of(make)
    assert weights[0] <= max_bytes
    assert 0.6 * weights[0] < size < 1.3 * max_bytes + NOT_JOINED_YET


@pytest.mark.parametrize("choices", [1, 2])
@pytest.mark.parametrize("max_bytes", [PLENTY, 20_000], ids=["all held", "forgetting"])
def test_twice_the_events_cost_twice_the_steps(choices: int, max_bytes: int) -> None:
    once, twice = (
        steps(lambda: added_one_by_one(count, lambda number: TextDelta("word ", choice=number % choices), max_bytes=max_bytes))  # noqa: B023
        for count in (3000, 6000)
    )
    assert 1.9 < twice / once < 2.1


def test_after_takes_steps_for_the_newest_and_for_each_piece_and_not_for_each_token() -> None:
    short, long = (added_one_by_one(count, lambda number: TextDelta("word ")) for count in (2560, 5120))
    assert steps(lambda: short.after(0)) < 2560
    assert steps(lambda: long.after(0)) < steps(lambda: short.after(0)) + 200
    assert steps(lambda: long.after(5100)) < 200


def test_usage_and_finish_keep_their_place_behind_the_text() -> None:
    events: list[Event] = [*words(600), Usage(output_tokens=600), Finish()]
    given_events, lasts = folded(events, [256, 257]).after(598)
    assert [TextDelta("598 599 "), Usage(output_tokens=600), Finish()] == given_events
    assert [599, 600, 601] == lasts
