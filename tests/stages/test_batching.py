"""`Batch` and `TimedBatch`: nothing lost, nothing late, nothing early."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamkit.errors import ConfigError
from streamkit.stages.batching import Batch, TimedBatch


@given(st.lists(st.integers()), st.integers(1, 7))
def test_lists_are_full_but_for_the_last_and_nothing_is_lost(items: list[int], size: int) -> None:
    batch = Batch[int](size)
    lists = [made for item in items for made in batch.feed(item)]
    rest = list(batch.flush())
    assert items == [item for made in lists + rest for item in made]
    assert all(len(made) == size for made in lists)
    assert [len(items) % size] * bool(len(items) % size) == [len(made) for made in rest]


def test_a_list_is_given_with_the_item_that_fills_it() -> None:
    batch = Batch[str](2)
    assert [(), (["a", "b"],), ()] == [batch.feed("a"), batch.feed("b"), batch.feed("c")]
    assert [["c"]] == list(batch.abort())
    assert () == batch.flush()


def test_the_deadline_is_counted_from_the_first_item_and_not_moved_by_later_ones() -> None:
    batch = TimedBatch[str](5, 0.5)
    assert batch.deadline is None
    batch.feed("a", 10.0)
    batch.feed("b", 10.4)
    assert 10.5 == batch.deadline
    assert () == batch.fire(10.49)
    assert (["a", "b"],) == batch.fire(10.5)
    assert batch.deadline is None
    batch.feed("c", 11.0)
    assert 11.5 == batch.deadline


def test_a_full_list_ends_its_deadline() -> None:
    batch = TimedBatch[str](2, 0.5)
    batch.feed("a", 0.0)
    assert (["a", "b"],) == batch.feed("b", 0.1)
    assert batch.deadline is None
    assert () == batch.fire(9.0)


def test_an_item_at_the_deadline_belongs_to_the_next_list_even_if_the_host_is_late() -> None:
    batch = TimedBatch[str](3, 0.5)
    batch.feed("a", 0.0)
    assert (["a"],) == batch.feed("b", 0.5)
    assert 1.0 == batch.deadline
    one = TimedBatch[str](1, 0.5)
    assert (["x"],) == one.feed("x", 0.0)
    assert one.deadline is None


@given(st.lists(st.tuples(st.integers(), st.floats(0, 3))), st.integers(1, 4), st.booleans())
def test_lists_depend_on_the_times_of_the_items_and_not_on_the_host(
    arrivals: list[tuple[int, float]], size: int, prompt: bool
) -> None:
    expected: list[list[int]] = []
    first = now = 0.0
    for item, gap in arrivals:
        now += gap
        if expected and len(expected[-1]) < size and now < first + 1.0:
            expected[-1].append(item)
        else:
            expected.append([item])
            first = now
    batch = TimedBatch[int](size, 1.0)
    got: list[list[int]] = []
    now = 0.0
    for item, gap in arrivals:
        now += gap
        if prompt and batch.deadline is not None and batch.deadline <= now:
            got += batch.fire(batch.deadline)
        got += batch.feed(item, now)
    got += batch.flush()
    assert expected == got
    assert batch.deadline is None


def test_the_end_gives_the_rest_and_leaves_no_deadline() -> None:
    batch = TimedBatch[str](3, 0.5)
    batch.feed("a", 0.0)
    assert [["a"]] == list(batch.abort())
    assert batch.deadline is None
    assert () == batch.flush()


@pytest.mark.parametrize("size", [0, -1])
def test_a_size_below_one_is_refused(size: int) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        Batch[str](size)
    with pytest.raises(ConfigError, match="at least 1"):
        TimedBatch[str](size, 1.0)


@pytest.mark.parametrize("within", [0, -1.0, float("nan"), float("inf")])
def test_a_time_that_is_not_a_positive_number_is_refused(within: float) -> None:
    with pytest.raises(ConfigError, match="positive number of seconds"):
        TimedBatch[str](2, within)


def test_arguments_of_other_types_are_refused() -> None:
    with pytest.raises(TypeError, match="number of items"):
        Batch[str]("2")  # type: ignore[arg-type]  # the mistake under test
    with pytest.raises(TypeError, match="number of items"):
        Batch[str](True)
    with pytest.raises(TypeError, match="number of seconds"):
        TimedBatch[str](2, "1")  # type: ignore[arg-type]  # the mistake under test
