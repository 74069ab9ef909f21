"""A stream that is long enough ends, and closes what would go on for ever."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

import streamkit as sk
from streamkit.stages.limiting import Limit, utf8_bytes
from streamkit.testing import Probe, check_operator

pytestmark = pytest.mark.anyio


async def test_an_endless_answer_is_ended_as_one_that_reached_its_limit_and_its_source_is_closed() -> None:
    probe = Probe([sk.TextDelta(f"{number:04d} ") for number in range(2000)])
    message = await (sk.stream(probe) | sk.limit_bytes(1002)).message()
    assert 1002 == len(message.text)
    assert sk.Finish("length", "limit_bytes") == message.finish
    assert (1, 201) == (probe.closed, probe.given)


async def test_endless_reasoning_and_endless_arguments_count_too() -> None:
    def answer() -> Iterator[sk.Event]:
        yield sk.Start("1")
        yield sk.ReasoningDelta("think")
        yield sk.ToolCallStart("c", "add")
        yield sk.ToolCallDelta("c", "{}{}{}{}")

    events = await (sk.stream(answer()) | sk.limit_bytes(9)).collect()
    assert [sk.ToolCallDelta("c", "{}{}"), sk.Finish("length", "limit_bytes")] == events[3:]


async def test_of_several_answers_each_that_is_open_is_ended_and_none_twice() -> None:
    events = [*(sk.TextDelta("ab", choice=choice) for choice in (0, 1, 2)), sk.Finish(choice=0), sk.TextDelta("cd", choice=2)]
    ends = [sk.Finish("length", "limit_bytes", choice) for choice in (1, 2)]
    assert [*events[:4], sk.TextDelta("c", choice=2), *ends] == await (sk.stream(events) | sk.limit_bytes(7)).collect()


async def test_an_answer_within_its_limit_is_untouched() -> None:
    events = [sk.TextDelta("é" * 5), sk.Usage(1, 2), sk.Finish()]
    assert events == await (sk.stream(events) | sk.limit_bytes(10)).collect()


async def test_bytes_are_cut_at_the_byte_and_text_between_characters() -> None:
    assert [b"abc", b"d"] == await (sk.stream([b"abc", b"def"]) | sk.limit_bytes(4)).collect()
    assert ["aé"] == await (sk.stream(["aéé", "x"]) | sk.limit_bytes(4)).collect()
    assert [] == await (sk.stream(["a"]) | sk.limit_bytes(0)).collect()


async def test_the_contract_holds() -> None:
    report = await check_operator(
        sk.limit_bytes(3), items=["a", "b", "c", "d"], expected=["a", "b", "c"], refuses=[lambda: sk.limit_bytes(-1)]
    )
    assert report.cases > 50


@given(st.lists(st.text(max_size=6), max_size=12), st.integers(0, 30))
def test_however_the_text_is_cut_the_same_beginning_passes(pieces: list[str], most: int) -> None:
    limit = Limit(most, utf8_bytes, "limit_bytes")
    got = "".join(out for piece in pieces if not limit.done for out in limit.feed(piece))
    whole = "".join(pieces)
    longest = max(length for length in range(len(whole) + 1) if utf8_bytes(whole[:length]) <= most)
    assert whole[:longest] == got


def test_a_limit_that_was_saved_goes_on_with_what_is_left_and_who_is_open() -> None:
    stage, other = Limit(5, utf8_bytes, "limit_bytes"), Limit(5, utf8_bytes, "limit_bytes")
    assert [sk.TextDelta("abc", choice=1)] == list(stage.feed(sk.TextDelta("abc", choice=1)))
    saved = stage.snapshot()
    stage.feed(sk.TextDelta("de", choice=0))
    other.restore(saved)
    assert [sk.TextDelta("xy", choice=1), sk.Finish("length", "limit_bytes", 1)] == list(other.feed(sk.TextDelta("xyz", choice=1)))
    assert other.done
