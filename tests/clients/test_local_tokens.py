"""Text in tokens: they join back, in linear time, and no character comes in two parts."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamkit.clients.local.tokens import count, split

TEXTS = st.text(st.one_of(st.characters(), st.sampled_from(" \n\t\u0301\u200d\ufe0f_-ab`#👩💻漢é")), max_size=200)


@given(TEXTS)
def test_tokens_join_back_to_the_text(text: str) -> None:
    assert text == "".join(split(text))


@given(TEXTS)
def test_no_token_is_empty_and_count_agrees(text: str) -> None:
    pieces = split(text)
    assert all(pieces)
    assert len(pieces) == count(text)


@given(st.text(st.sampled_from("abc 漢é_!\n"), max_size=60), st.integers(0, 60))
def test_an_accent_stays_with_its_character(text: str, at: int) -> None:
    marked = "x" + text[:at] + "y\u0301" + text[at:]
    assert all(not piece.startswith("\u0301") for piece in split(marked))


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", []),
        ("Hello, world!", ["Hello", ",", " world", "!"]),
        ("a  b", ["a", " ", " b"]),
        ("    return x", ["   ", " return", " x"]),
        ("one\n\ntwo", ["one", "\n\n", "two"]),
        ("incomprehensibly", ["incomp", "rehens", "ibly"]),
        ("so incomprehensibly", ["so", " incomp", "rehens", "ibly"]),
        ("漢字変換", ["漢字", "変換"]),
        ("ok 👩‍💻👍🏽", ["ok", " 👩‍💻👍🏽"]),
        ("max_tokens=5", ["max_t", "okens", "=", "5"]),
    ],
)
def test_tokens_look_like_those_of_a_language_model(text: str, pieces: list[str]) -> None:
    assert pieces == split(text)


@pytest.mark.parametrize("unit", ["a", " ", "\n", "\t", "!", "漢", "\u0301", "a\u0301", "👩\u200d", "\x00", " \t", "a_"])
def test_a_hundred_thousand_characters_take_linear_time(unit: str) -> None:
    text = unit * (100_000 // len(unit))
    started = time.process_time()
    pieces = split(text)
    # About 0.03 s; a quadratic scan would take minutes, so the bound may be wide.
    assert time.process_time() - started < 3
    assert text == "".join(pieces)
    assert unit == "👩\u200d" or unit == "\u0301" or max(map(len, pieces)) <= 40
