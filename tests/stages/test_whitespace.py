"""`Strip`: `str.strip` over a text that is still being written."""

from __future__ import annotations

import pytest
from hard_texts import HARD_TEXTS
from hypothesis import given
from hypothesis import strategies as st
from stage_runs import cut_at, given_after_each, places, run, steps

from streamkit.errors import ConfigError
from streamkit.stages.whitespace import Strip


@pytest.mark.parametrize("chars", [None, "a \n", ".", "\U0001f1e9"])
def test_hard_texts_are_stripped_as_whole_ones_are(chars: str | None) -> None:
    for text in HARD_TEXTS.values():
        assert text.strip(chars) == "".join(run(Strip(chars), list(text)))


@given(st.text(alphabet="ab \n\u3000", max_size=40), places)
def test_any_cut_is_stripped_as_the_whole_text_is(text: str, cuts: list[int]) -> None:
    assert text.strip() == "".join(run(Strip(), cut_at(text, cuts)))


def test_only_white_space_waits() -> None:
    assert [[], ["a"], [], [], ["  b"], ["c"], []] == given_after_each(Strip(), " a  bc ")


def test_a_run_over_the_bound_is_passed_on_and_the_next_one_waits_again() -> None:
    stage = Strip(max_chars=2)
    assert [["a"], [], [], ["   "], [" "], ["b"], []] == given_after_each(stage, "a    b ")
    assert [] == list(stage.flush())
    assert "a   " == "".join(run(Strip(max_chars=2), ["a   "]))


def test_white_space_at_the_beginning_goes_however_much_it_is() -> None:
    assert "a" == "".join(run(Strip(max_chars=2), [" " * 10, " " * 10, "a"]))


def test_time_is_linear_in_the_text() -> None:
    def work(length: int) -> int:
        stage = Strip(max_chars=length // 2)
        return steps(lambda: [stage.feed(char) for char in "a" + " " * length])

    assert work(1600) / work(800) < 2.3


@pytest.mark.parametrize("wrong", [("", 1), (None, 0), (None, True), (None, 1.5), (1, 1), (b" ", 1)])
def test_arguments_that_do_not_fit_are_refused(wrong: tuple[str, int]) -> None:
    with pytest.raises((ConfigError, TypeError), match=r"chars"):
        Strip(*wrong)


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(TypeError, match="strip takes text, got bytes"):
        Strip().feed(b"a")  # type: ignore[arg-type]
