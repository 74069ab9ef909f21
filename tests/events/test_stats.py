"""Measures of a stream, on times that are given."""

from __future__ import annotations

import pytest

import streamkit as sk


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
    assert stats.tokens_per_second is None
    stats.add(sk.Usage(output_tokens=10), 3.1)
    assert 5.0 == stats.tokens_per_second


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
