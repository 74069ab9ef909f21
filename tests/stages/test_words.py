"""`Words`: pieces that a screen shows one after another, and that join back to the text."""

from __future__ import annotations

import pytest
from hard_texts import HARD_TEXTS
from stage_runs import given_after_each, run, steps

from streamkit.errors import ConfigError
from streamkit.stages.graphemes import Characters
from streamkit.stages.words import Words


def words(text: str, min_chars: int = 1, max_chars: int = 1024) -> list[str]:
    return run(Words(min_chars, max_chars), [text])


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("To be, or not", ["To", " be,", " or", " not"]),
        ("  two  spaces \n", ["  two", "  spaces", " \n"]),
        ("今天天气 OK吗。", ["今", "天", "天", "气", " OK", "吗", "。"]),
        ("が\u3099くhello", ["が\u3099", "く", "hello"]),
        ("น้ำใจ", ["น้ำ", "ใ", "จ"]),
        ("안녕 하세요", ["안녕", " 하세요"]),
        ("\U0001f469\u200d\U0001f680\U0001f44d🏽 ok", ["\U0001f469\u200d\U0001f680\U0001f44d🏽", " ok"]),
        ("a\u00a0b\u3000c", ["a", "\u00a0b", "\u3000c"]),
        (" \n ", [" \n "]),
        ("", []),
    ],
)
def test_words_keep_the_white_space_before_them(text: str, pieces: list[str]) -> None:
    assert pieces == words(text)


@pytest.mark.parametrize("name", HARD_TEXTS)
def test_pieces_join_back_and_end_between_two_characters(name: str) -> None:
    text = HARD_TEXTS[name]
    for least, most in ((1, 1024), (1, 12), (30, 64)):
        pieces = words(text, least, most)
        assert text == "".join(pieces)
        assert all(len(piece) <= most for piece in pieces)
        if name != "zalgo":
            assert run(Characters(1024), [text]) == [char for piece in pieces for char in run(Characters(1024), [piece])]


def test_a_word_is_given_when_the_white_space_behind_it_begins() -> None:
    assert [[], [], ["Hi"], [], [], [" yo"]] == given_after_each(Words(), "Hi yo ")
    assert [[], ["你"], ["好"]] == given_after_each(Words(), "你好吗")


def test_a_piece_ends_at_the_first_end_of_a_word_by_which_it_is_long_enough() -> None:
    assert ["To be,", " or not", " to be"] == words("To be, or not to be", 6)
    assert ["今天天", "气很好"] == words("今天天气很好", 3)


def test_a_word_over_the_bound_is_cut_between_two_characters() -> None:
    assert ["abc", "e\u0301e\u0301", "xyz!"] == words("abce\u0301e\u0301xyz!", 1, 4)
    assert ["ab", "e\u0301c"] == words("abe\u0301c", 1, 3)
    assert ["a\u0301", "\u0301\u0301", "b"] == words("a\u0301\u0301\u0301b", 1, 2)
    assert [" " * 4, " " * 2 + "ab"] == words(" " * 6 + "ab", 1, 4)


def test_one_mark_at_a_time_costs_no_more_when_the_text_is_long() -> None:
    def work(length: int) -> int:
        stage = Words(1, 64)
        return steps(lambda: [list(stage.feed(char)) for char in "\u0301x" * length])

    assert work(800) / work(400) < 2.3


@pytest.mark.parametrize("wrong", [(0, 5), (6, 5), (True, 5), (1, 2.5), (1, None), (-1, 3)])
def test_lengths_that_do_not_fit_are_refused(wrong: tuple[int, int]) -> None:
    with pytest.raises((ConfigError, TypeError), match="min_chars"):
        Words(*wrong)


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(TypeError, match="words takes text, got NoneType"):
        Words().feed(None)  # type: ignore[arg-type]
