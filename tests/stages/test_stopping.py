"""`Stop`: the first complete sequence, exactly, and only the ambiguous suffix held back."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stage_runs import cut_at, given_after_each, places, run, steps

from streamkit.errors import ConfigError
from streamkit.stages.stopping import Stop

letters = st.text(alphabet="ab\n", max_size=30)
sequences = st.lists(st.text(alphabet="ab\n", min_size=1, max_size=5), min_size=1, max_size=5)


def meant(text: str, stops: list[str]) -> tuple[str, str | None]:
    """By definition, and slowly: the least end, of those the least start."""
    for end in range(len(text) + 1):
        ending = [stop for stop in stops if text[:end].endswith(stop)]
        if ending:
            longest = max(ending, key=len)
            return text[: end - len(longest)], longest
    return text, None


def ambiguous(text: str, stops: list[str]) -> int:
    """The length of the longest suffix that begins a sequence without being one."""
    return max((n for stop in stops for n in range(len(stop)) if text.endswith(stop[:n])), default=0)


@given(letters, sequences, places)
@settings(max_examples=300)
def test_any_cut_gives_the_text_before_the_first_complete_sequence(text: str, stops: list[str], cuts: list[int]) -> None:
    for chunks in (cut_at(text, cuts), [text], list(text)):
        stop = Stop(stops)
        got = run(stop, chunks)
        assert meant(text, stops) == ("".join(got), stop.matched)
        assert (stop.matched is not None) is stop.done
        assert "" not in got


@given(letters, sequences)
@settings(max_examples=300)
def test_nothing_but_the_ambiguous_suffix_is_held_back(text: str, stops: list[str]) -> None:
    stop = Stop(stops)
    given_so_far = ""
    for end, char in enumerate(text, 1):
        given_so_far += "".join(stop.feed(char))
        if stop.done:
            return
        assert text[: end - ambiguous(text[:end], stops)] == given_so_far


def test_a_sequence_cut_into_single_characters_is_found_and_dropped() -> None:
    stop = Stop(["</s>"])
    assert [["a"], [], [], [], [], []] == given_after_each(stop, "a</s>b")
    assert "</s>" == stop.matched
    assert () == stop.flush()


def test_a_false_beginning_is_given_as_soon_as_it_is_one() -> None:
    stop = Stop(["END"])
    assert [[], [], ["EN"], [], ["ENo"]] == [list(stop.feed(part)) for part in ["E", "N", "E", "N", "o"]]


def test_the_first_to_be_complete_wins_and_of_equal_ends_the_longer() -> None:
    assert "b" == _matched(["abcd", "b"], "abcd")
    assert "THE END" == _matched(["END", "THE END"], "so THE END")
    assert "THE" == _matched(["THE END", "THE"], "so THE END")
    assert None is _matched(["END"], "EN D")


def test_sequences_with_borders_inside_themselves_are_found() -> None:
    stop = Stop(["aab"])
    assert ["aaa", "a"] == [text for char in ["aaaaa", "a", "b"] for text in stop.feed(char)]
    assert "aab" == stop.matched


def test_text_without_a_beginning_passes_as_the_same_object() -> None:
    chunk = "".join(["plain ", "text"])
    assert chunk is Stop(["\n\n", "User:"]).feed(chunk)[0]


def test_the_end_and_a_failure_give_what_was_held() -> None:
    for end in (Stop.flush, Stop.abort):
        stop = Stop(["\n\nUser:"])
        assert ("Hi",) == stop.feed("Hi\n\nUs")
        assert ("\n\nUs",) == end(stop)
        assert () == end(stop)


def test_text_behind_the_match_is_ignored() -> None:
    stop = Stop(["."])
    assert ("a",) == stop.feed("a.b.c")
    assert () == stop.feed("d")
    assert () == stop.flush()


def test_sequences_of_special_characters_mean_themselves() -> None:
    for sequence in ["^", "]", "\\", "-", "[", "a-z", "\n", " ", "👨‍👩‍👧", "停"]:
        assert ("x", sequence) == ("".join(run(stop := Stop([sequence]), ["x" + sequence[:1], sequence[1:] + "y"])), stop.matched)


def test_many_sequences_cost_no_more_than_one() -> None:
    text = "".join(random.Random(1).choices("abcdefgh", k=3000))
    few = Stop(["abcdefgh" * 3])
    many = Stop([*("abcdefgh" * 3 + str(n) for n in range(200)), "abcdefgh" * 3])
    assert steps(lambda: run(many, [text])) <= 1.1 * steps(lambda: run(few, [text]))


@pytest.mark.parametrize("cut", [1, 7, 10_000])
def test_work_grows_with_the_text_even_on_the_worst_of_texts(cut: int) -> None:
    def work(length: int) -> int:
        stop = Stop(["a" * 500 + "b"])
        text = ("a" * 499 + "c" + "a" * 700)[:1000] * (length // 1000)
        return steps(lambda: run(stop, [text[at : at + cut] for at in range(0, length, cut)]))

    assert work(8000) < 2.2 * work(4000)


def test_text_that_begins_no_sequence_is_skipped_in_one_search() -> None:
    stop = Stop(["<end>"])
    assert steps(lambda: stop.feed("x" * 100_000)) < 60


def test_no_sequence_at_all_and_an_empty_one_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least one"):
        Stop([])
    with pytest.raises(ConfigError, match="empty"):
        Stop(["a", ""])


def test_anything_but_a_list_of_texts_is_refused() -> None:
    with pytest.raises(TypeError, match=r"write \['END'\]"):
        Stop("END")
    with pytest.raises(TypeError, match="is a str, got 3"):
        Stop(["a", 3])  # type: ignore[list-item]  # the mistake under test
    with pytest.raises(TypeError, match="stop takes text, got bytes"):
        Stop(["a"]).feed(b"a")  # type: ignore[arg-type]  # the mistake under test


def _matched(stops: list[str], text: str) -> str | None:
    stop = Stop(stops)
    run(stop, [text])
    return stop.matched


def test_what_is_saved_does_not_depend_on_the_order_of_the_sequences() -> None:
    stage, other = Stop(["END", "STOP", "E!"]), Stop(["STOP", "E!", "END"])
    assert ["a "] == list(stage.feed("a EN"))
    other.restore(stage.snapshot())
    assert ([], "END") == (list(other.feed("D")), other.matched)
