"""Measures of a stream, on times that are given."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import streamkit as sk

ITEMS: list[Any] = [
    sk.Start(model="m"),
    sk.TextDelta("né"),
    sk.ReasoningDelta("hm"),
    sk.ToolCallDelta("1", "{}"),
    sk.DataDelta(b"123", "audio/wav"),
    sk.Usage(output_tokens=7),
    sk.Finish("length"),
    sk.ErrorEvent("no", code="overloaded"),
    sk.Ping(),
]


def fed(*times: float, stall: float = 2.0) -> sk.Stats:
    stats = sk.Stats(started=0.0, stall=stall)
    for at in times:
        stats.add(sk.TextDelta("word"), at)
    return stats


def test_time_to_first_chunk_counts_from_the_request() -> None:
    assert 0.25 == fed(0.25, 0.5).time_to_first_chunk
    assert fed().time_to_first_chunk is None


def test_rates_begin_with_the_first_chunk() -> None:
    stats = fed(1.0, 1.5, 2.0, 2.5, 3.0)
    assert 2.0 == stats.chunks_per_second
    assert 3.0 == stats.duration
    stats.add(sk.Usage(output_tokens=10), 3.1)
    assert (5.0, False) == (stats.tokens_per_second, stats.tokens_estimated)


def test_one_chunk_has_no_rate_and_no_gaps() -> None:
    stats = fed(1.0)
    assert (None, None, None) == (stats.chunks_per_second, stats.gap_p50, stats.gap_p95)


def test_percentiles_are_within_two_percent_and_never_above_the_longest() -> None:
    times = [0.0]
    for n in range(1, 101):
        times.append(times[-1] + n / 1000)
    stats = fed(*times)
    assert 0.050 == pytest.approx(stats.gap_p50, rel=0.03)
    assert 0.095 == pytest.approx(stats.gap_p95, rel=0.03)
    assert 0.100 == pytest.approx(stats.gap_max)
    assert stats.percentile(1.0) == pytest.approx(stats.gap_max, rel=0.03)
    assert (stats.percentile(1.0) or 0) <= stats.gap_max


GAPS = st.lists(
    st.floats(1e-6, 1e-4) | st.floats(1e-4, 1.0) | st.floats(1.0, 1e5) | st.sampled_from([0.0, 1e-9, 1e-6, 0.001, 2.0]),
    min_size=1,
    max_size=60,
)


@given(GAPS, st.floats(0, 1) | st.sampled_from([0.0, 0.5, 0.95, 0.99, 1.0]), st.lists(st.integers(1, 4), min_size=60, max_size=60))
def test_any_percentile_is_within_two_percent_of_a_slow_count(gaps: list[float], share: float, read: list[int]) -> None:
    """The oracle keeps and sorts every gap; items of one read have none between them."""
    stats = sk.Stats(started=0.0, stall=1.5)
    now = 100.0
    stats.add("x", now)
    kept: list[float] = []
    for gap, count in zip(gaps, read, strict=False):
        before, now = now, now + gap
        kept += [now - before, *[0.0] * (count - 1)]
        stats.add_many(["x"] * count, now)
    kept.sort()
    rank = max(math.ceil(Fraction(share) * len(kept)), 1)
    measured = stats.percentile(share)
    assert measured is not None
    assert kept[rank - 1] == pytest.approx(measured, rel=0.02, abs=1e-6)
    assert measured <= stats.gap_max
    assert kept[-1] == stats.gap_max
    assert len([gap for gap in kept if gap > 1.5]) == stats.stalls
    assert 1 + len(kept) == stats.chunks


@given(st.lists(st.lists(st.sampled_from(["", "a", "日本", "\ud83d", b"12", bytearray(b"x"), *ITEMS]), max_size=5), max_size=12))
def test_items_one_by_one_or_together_are_the_same_but_for_the_time(reads: list[list[Any]]) -> None:
    """One path is written out for speed and one is not: they must count alike."""
    together, apart = sk.Stats(started=0.0), sk.Stats(started=0.0)
    for number, items in enumerate(reads):
        together.add_many(items, float(number))
        for item in items:
            apart.add(item, float(number))
    together.end("done", 20.0)
    apart.end("done", 20.0)
    assert together.as_dict() == apart.as_dict()
    assert str(together) == str(apart)


@given(st.lists(st.tuples(st.text(max_size=3) | st.none(), st.text(max_size=120) | st.none()), max_size=30), st.integers(1, 4))
def test_totals_have_few_labels_and_lose_no_stream(names: list[tuple[str | None, str | None]], limit: int) -> None:
    totals = sk.Totals(limit)
    for told, given_name in names:
        stats = sk.Stats()
        stats.add_many([sk.Start(model=told), "x"], 1.0)
        totals.add(stats, model=given_name)
        assert len(totals.by_model) <= limit + 1
    assert (
        len(names)
        == sum(total.streams for total in totals.by_model.values())
        == sum(total.chunks for total in totals.by_model.values())
    )


def test_a_gap_longer_than_the_limit_is_a_stall() -> None:
    assert 1 == fed(0.0, 1.0, 4.5, 5.0, stall=2.0).stalls


def test_only_content_counts_as_a_chunk() -> None:
    stats = sk.Stats(started=0.0)
    for event in (sk.Start(), sk.Ping(), sk.Custom("x"), sk.Usage(output_tokens=1), sk.Finish("length")):
        stats.add(event, 1.0)
    assert (0, "length", None) == (stats.chunks, stats.ended_as, stats.time_to_first_chunk)
    stats.add("plain text", 2.0)
    stats.add(sk.ReasoningDelta("hm"), 2.5)
    stats.add(sk.ToolCallDelta("1", "{}"), 3.0)
    stats.add(sk.DataDelta(b"123", "audio/wav"), 3.5)
    assert (4, 10 + 2 + 2) == (stats.chunks, stats.chars)


def test_its_memory_does_not_grow_with_the_stream() -> None:
    stats = sk.Stats(started=0.0)
    at = 0.0
    for n in range(20_000):
        at += 1e-6 * (1 + n % 977) ** 2
        stats.add("x", at)
    assert 20_000 == stats.chunks
    assert len(stats._gaps) < 700


def test_clocks_that_stand_still_are_no_division_by_zero() -> None:
    stats = fed(1.0, 1.0, 1.0)
    assert stats.chunks_per_second is None
    assert stats.gap_p50 == 0.0


def test_nonsense_is_refused_at_the_call() -> None:
    with pytest.raises(ValueError, match="stall"):
        sk.Stats(started=0.0, stall=0)
    with pytest.raises(ValueError, match="share"):
        fed(1.0).percentile(2)


def test_one_line_says_it_all() -> None:
    stats = fed(0.1, 0.2, 0.3)
    stats.add(sk.Usage(output_tokens=20), 0.3)
    stats.add(sk.Finish(), 0.3)
    assert str(stats).startswith("3 chunks, first after 100 ms, 10 chunks/s, 100 tokens/s, gap p95 ")
    assert str(stats).endswith("ended: stop")


def test_an_error_is_how_it_ended() -> None:
    stats = fed(0.1)
    stats.add(sk.ErrorEvent("m", "overloaded"), 0.2)
    assert "overloaded" == stats.ended_as


def test_tokens_are_estimated_until_the_provider_has_counted_them() -> None:
    stats = sk.Stats(started=0.0)
    assert (None, False) == (stats.tokens, stats.tokens_estimated)
    stats.add(sk.TextDelta("a" * 39), 1.0)
    assert (10, True) == (stats.tokens, stats.tokens_estimated)
    stats.add(sk.Usage(output_tokens=1, final=False), 1.0)  # a running count that lags behind
    assert (10, True) == (stats.tokens, stats.tokens_estimated)
    stats.add(sk.Usage(output_tokens=8), 2.0)
    assert (8, False) == (stats.tokens, stats.tokens_estimated)


@pytest.mark.parametrize(("text", "tokens"), [("", None), ("x", 1), ("abcd", 1), ("abcde", 2), ("日本", 2), ("\ud83d", 1)])
def test_the_estimate_is_a_quarter_of_the_bytes_and_at_least_one(text: str, tokens: int | None) -> None:
    singly, together = sk.Stats(), sk.Stats()
    singly.add(sk.TextDelta(text), 1.0)
    together.add_many([sk.TextDelta(text)], 1.0)
    assert tokens == singly.tokens == together.tokens


def test_a_stream_without_counted_tokens_ends_with_an_estimate() -> None:
    stats = fed(0.1, 0.2)
    stats.end("left", 0.3)
    assert sk.Usage(output_tokens=2, final=False, estimated=True) == stats.usage
    assert ("left", 0.3) == (stats.ended_as, stats.duration)


def test_counted_tokens_of_a_cut_stream_are_kept_and_not_final() -> None:
    stats = fed(0.1)
    stats.add(sk.Usage(input_tokens=7, output_tokens=1), 0.1)
    stats.end("truncated", 0.2)
    assert sk.Usage(input_tokens=7, output_tokens=1, final=False) == stats.usage


def test_what_comes_after_a_finish_changes_neither_the_reason_nor_the_tokens() -> None:
    stats = fed(0.1)
    stats.add_many([sk.Usage(output_tokens=1), sk.Finish("length")], 0.2)
    stats.end("left", 0.3)
    assert ("length", sk.Usage(output_tokens=1)) == (stats.ended_as, stats.usage)


def test_items_of_one_read_arrived_together() -> None:
    read: list[object] = [sk.TextDelta("a"), "b", sk.ReasoningDelta("c"), sk.ToolCallDelta("1", "{}"), sk.Ping(), b"raw"]
    stats = sk.Stats(started=0.0)
    stats.add_many(read, 1.0)
    stats.add_many([sk.Ping()], 1.5)
    stats.add_many(["d"], 2.0)
    assert (6, 6, 1.0, 0.0) == (stats.chunks, stats.chars, stats.gap_max, stats.gap_p50)


def test_a_next_run_begins_anew() -> None:
    stats = fed(1.0, 9.0)
    stats.end("left", 9.0)
    stats.begin(20.0)  # for this run `started` was given
    assert (0.0, 0, None, None) == (stats.started, stats.chunks, stats.usage, stats.ended_as)
    stats.begin(30.0)
    assert (30.0, 0.0, 0) == (stats.started, stats.gap_max, stats.stalls)


def test_measures_have_the_names_of_opentelemetry() -> None:
    stats = sk.Stats(started=0.0)
    usage = sk.Usage(5, 4, cache_read_tokens=3, cache_write_tokens=2, reasoning_tokens=1)
    stats.add_many([sk.Start(model="m-1"), "Hi", usage, sk.Finish("length")], 0.5)
    stats.end("done", 1.0)
    told = stats.as_dict()
    expected = {
        "gen_ai.response.model": "m-1",
        "gen_ai.response.finish_reasons": ["length"],
        "gen_ai.client.operation.duration": 1.0,
        "gen_ai.client.operation.time_to_first_chunk": 0.5,
        "gen_ai.usage.input_tokens": 5,
        "gen_ai.usage.output_tokens": 4,
        "gen_ai.usage.cache_read.input_tokens": 3,
        "gen_ai.usage.cache_creation.input_tokens": 2,
        "gen_ai.usage.reasoning.output_tokens": 1,
    }
    assert expected == {name: told[name] for name in expected}
    assert "error.type" not in told
    stats.begin(2.0)
    stats.end("timeout", 3.0)
    assert ("timeout", None) == (stats.as_dict()["error.type"], stats.as_dict().get("gen_ai.response.finish_reasons"))


def ended(name: str | None, ended_as: str = "done") -> sk.Stats:
    stats = sk.Stats(started=0.0)
    stats.add_many([sk.Start(model=name), "text"], 0.5)
    stats.end(ended_as, 2.0)
    return stats


def test_totals_are_sums_by_model() -> None:
    totals = sk.Totals()
    totals.add(ended("a"))
    totals.add(ended("a", "timeout"))
    totals.add(ended("b", "cancelled"))
    assert {"a", "b"} == set(totals.by_model)
    a = totals.as_dict()["a"]
    assert (2, 1, 0, 2, 4.0, 1.0) == tuple(
        a[name] for name in ("streams", "failed", "cancelled", "estimated_tokens", "duration_s", "first_chunk_s")
    )
    assert 1 == totals.by_model["b"].cancelled


def test_priv_03_names_that_users_invent_do_not_become_labels_without_bound() -> None:
    totals = sk.Totals(limit=3)
    for n in range(1000):
        totals.add(ended(f"model-{n}"))
    assert {"model-0", "model-1", "model-2", "other"} == set(totals.by_model)
    assert 997 == totals.by_model["other"].streams
    totals.add(ended("model-1"))
    assert 2 == totals.by_model["model-1"].streams


@pytest.mark.parametrize("name", [None, "x" * 101, "a\nb", "\x1b[31mred"])
def test_priv_03_a_name_that_is_none_is_other(name: str | None) -> None:
    totals = sk.Totals()
    totals.add(ended(name))
    assert ["other"] == list(totals.by_model)


def test_totals_need_room_for_one_name() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        sk.Totals(limit=0)
