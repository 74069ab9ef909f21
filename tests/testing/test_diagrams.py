"""Streams drawn as text: what a picture means, and what a stream looks like."""

from __future__ import annotations

import pytest

import streamkit as sk
from streamkit.errors import ConfigError
from streamkit.testing import MarbleError, VirtualClock, assert_marbles, drawn, marbles, observe

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("diagram", ["a-b--c|", "|", "--|", "(ab)-(c|)", "#", "a-(b#)", "a", "a--b", "(abc)|", "-"])
async def test_a_source_is_drawn_as_the_picture_it_was_made_from(diagram: str) -> None:
    assert diagram == await drawn(marbles(diagram))


async def test_spaces_take_no_time() -> None:
    assert "a-b|" == await drawn(marbles(" a - b | "))


async def test_values_stand_behind_characters_both_ways() -> None:
    values = {"a": [1], "b": [2, 3]}
    assert [[1], [2, 3]] == [item for _, item in (await observe(marbles("a-b|", values))).items]
    assert "a-b|" == await drawn(marbles("a-b|", values), values)


async def test_a_frame_takes_the_seconds_it_was_told() -> None:
    seen = await observe(marbles("a--b|", frame=0.5))
    assert ([(0.0, "a"), (1.5, "b")], 2.0, None) == (seen.items, seen.end, seen.error)


async def test_the_error_is_the_one_that_was_given() -> None:
    error = ValueError("mine")
    assert error is (await observe(marbles("a#", error=error))).error
    assert isinstance((await observe(marbles("a#"))).error, MarbleError)


async def test_a_stream_without_an_end_is_left_and_closed() -> None:
    seen = await observe(marbles("a"), seconds=7)
    assert ([(0.0, "a")], None) == (seen.items, seen.end)


async def test_a_timeout_of_the_stream_itself_is_its_error() -> None:
    assert "a-#" == await drawn(marbles("a") | sk.timeout(idle=2))
    assert "a---#" == await drawn(marbles("a") | sk.timeout(total=4))


@pytest.mark.parametrize("diagram", ["a(b", "a)b", "((a))", "(a-b)", "a|b", "a#|", "|-", "(a|b)"])
async def test_a_picture_that_cannot_be_read_is_refused_at_the_call(diagram: str) -> None:
    with pytest.raises(ConfigError, match="marbles"):
        marbles(diagram)


@pytest.mark.parametrize("frame", [0, -1, float("nan"), float("inf")])
async def test_a_frame_is_a_time(frame: float) -> None:
    with pytest.raises(ConfigError, match="frame"):
        marbles("a", frame=frame)


async def test_an_assertion_that_fails_shows_both_pictures() -> None:
    with pytest.raises(AssertionError, match=r"(?s)meant  a-b\|.*got    ab\|"):
        await assert_marbles(marbles("ab|"), "a-b|")
    with pytest.raises(AssertionError):
        await assert_marbles(marbles("ab"), "ab|")
    await assert_marbles(marbles("ab"), "ab")


async def test_an_item_without_a_character_and_a_time_between_frames_are_said() -> None:
    with pytest.raises(ValueError, match="values"):
        await drawn(sk.stream([["a", "b"]]))
    with pytest.raises(ValueError, match="between two frames"):
        await drawn(marbles("-a|", frame=0.3))


async def test_a_drawn_source_waits_on_the_clock_in_place() -> None:
    async with VirtualClock() as clock:
        assert ["a", "b"] == await marbles("a---b|").collect()
        assert 5.0 == clock.now()
