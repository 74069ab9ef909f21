"""`Window`, `WeighedBatch` and what an item weighs."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamkit.errors import ConfigError
from streamkit.events.model import DataDelta, Finish, ReasoningDelta, TextDelta, ToolCallDelta
from streamkit.stages.batching import TimedBatch, WeighedBatch
from streamkit.stages.stage import Stage
from streamkit.stages.weighing import weigh_by
from streamkit.stages.windowing import Window


def by_hand(stage: Stage[Any, Any], items: list[Any]) -> list[Any]:
    out: list[Any] = []
    for item in items:
        out += stage.feed(item)
    return [*out, *stage.flush()]


@given(st.integers(0, 30), st.integers(1, 6), st.integers(1, 8))
def test_a_window_is_a_slice_of_the_input(count: int, size: int, step: int) -> None:
    items = list(range(count))
    full = [tuple(items[at : at + size]) for at in range(0, count - size + 1, step)]
    assert full == by_hand(Window(size, step), items)
    rest = tuple(items[len(full) * step :])
    in_none = rest and (not full or rest[-1] > full[-1][-1])
    assert full + [rest] * bool(in_none) == by_hand(Window(size, step, partial=True), items)


@given(st.integers(0, 20), st.integers(0, 20), st.integers(1, 5), st.integers(1, 7))
def test_a_window_can_be_saved_and_taken_up(before: int, after: int, size: int, step: int) -> None:
    items = list(range(before + after))
    window, again = Window[int](size, step, partial=True), Window[int](size, step, partial=True)
    out = [given for item in items[:before] for given in window.feed(item)]
    again.restore(window.snapshot())
    assert by_hand(Window(size, step, partial=True), items) == out + by_hand(again, items[before:])


@given(st.lists(st.text("abc", max_size=6)), st.integers(1, 5), st.integers(1, 9))
def test_lists_weigh_what_they_may_and_are_as_long_as_they_can_be(items: list[str], size: int, most: int) -> None:
    lists = by_hand(WeighedBatch[str](size, weigh=len, max_weight=most), items)
    assert items == [item for made in lists for item in made]
    assert all(len(made) == 1 or sum(map(len, made)) <= most for made in lists)
    for made, after in pairwise(lists):
        assert len(made) == size or sum(map(len, [*made, after[0]])) > most or sum(map(len, made)) >= most


@given(st.lists(st.integers(0, 3)), st.integers(0, 12))
def test_a_weighed_list_can_be_saved_and_taken_up(items: list[int], cut: int) -> None:
    def make() -> WeighedBatch[int]:
        return WeighedBatch[int](4, weigh=float, max_weight=5, until=lambda item: item == 3)

    batch, again = make(), make()
    out = [given for item in items[:cut] for given in batch.feed(item)]
    again.restore(batch.snapshot())
    assert by_hand(make(), items) == out + by_hand(again, items[cut:])


def test_one_item_that_weighs_too_much_makes_a_list_of_its_own() -> None:
    batch = WeighedBatch[str](9, weigh=len, max_weight=3)
    assert ([], [["a"], ["long text"]], []) == (list(batch.feed("a")), list(batch.feed("long text")), list(batch.flush()))


def test_a_boundary_is_the_last_of_its_list() -> None:
    batch = WeighedBatch[str](9, until=lambda text: text.endswith("."))
    assert [["a", "b."], ["c."], ["d"]] == by_hand(batch, ["a", "b.", "c.", "d"])


def test_a_timed_list_that_is_complete_begins_a_new_time() -> None:
    batch = TimedBatch[str](WeighedBatch(9, weigh=len, max_weight=3), 1.0)
    assert () == batch.feed("ab", 0.0)
    assert (["ab"],) == batch.feed("cd", 0.5)
    assert 1.5 == batch.deadline
    assert (["cd", "e"],) == batch.feed("e", 0.75)
    assert batch.deadline is None


@pytest.mark.parametrize(
    ("item", "characters", "size", "tokens"),
    [
        ("héllo", 5, 6, 2),
        ("", 0, 0, 0),
        (b"abc", 3, 3, 1),
        (TextDelta("日本"), 2, 6, 2),
        (ReasoningDelta("ab"), 2, 2, 1),
        (ToolCallDelta("1", '{"a":'), 5, 5, 2),
        (DataDelta(b"12345", "audio/wav"), 5, 5, 2),
        (Finish(), 0, 0, 0),
    ],
)
def test_an_item_weighs_what_is_long_about_it(item: object, characters: int, size: int, tokens: int) -> None:
    assert (characters, size, tokens) == tuple(weigh_by(measure)(item) for measure in ("characters", "bytes", "tokens"))


def test_what_has_no_length_needs_a_function() -> None:
    with pytest.raises(TypeError, match="a int has no bytes: give a function"):
        weigh_by("bytes")(3)
    for wrong in ("words", 3, None, ["bytes"]):
        with pytest.raises(ConfigError, match="is no measure"):
            weigh_by(wrong)  # type: ignore[arg-type]  # the mistake under test


async def later(item: str) -> int:
    return len(item)


@pytest.mark.parametrize("weigh", [lambda item: -1, lambda item: None, lambda item: float("nan"), later])
def test_a_weight_that_is_none_is_refused_and_the_item_is_in_no_list(weigh: Callable[[str], Any]) -> None:
    batch = WeighedBatch[str](9, weigh=weigh, max_weight=3)
    with pytest.raises(TypeError, match="weight is a number"):
        batch.feed("a")
    assert () == batch.flush()


def test_a_boundary_that_must_be_awaited_is_refused() -> None:
    batch = WeighedBatch[str](9, until=later)
    with pytest.raises(TypeError, match="cannot be awaited"):
        batch.feed("a")


@pytest.mark.parametrize("options", [{"weigh": len}, {"max_weight": 3}, {"weigh": len, "max_weight": 0}])
def test_half_a_weight_is_refused(options: Any) -> None:
    with pytest.raises(ConfigError, match="weight"):
        WeighedBatch(9, **options)


@pytest.mark.parametrize("arguments", [(0,), (1, 0), (True,), (2, 1.5), ("2",)])
def test_windows_that_are_none_are_refused(arguments: Any) -> None:
    with pytest.raises((ConfigError, TypeError), match=r"size|step"):
        Window(*arguments)
