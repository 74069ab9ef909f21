"""`Normalize`: the normal form of the whole text, given as it comes."""

from __future__ import annotations

import random
import unicodedata
from typing import Literal

import pytest
from hard_texts import HARD_TEXTS
from law_of_stages import cuts_of
from stage_runs import given_after_each, run, steps

from streamkit.errors import ConfigError
from streamkit.stages.normalizing import Normalize

FORMS: list[Literal["NFC", "NFKC"]] = ["NFC", "NFKC"]


def whole(text: str, form: Literal["NFC", "NFKC"] | None) -> str:
    """By definition: over the whole text at once."""
    joined = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    joined = joined.removeprefix("\ufeff")
    return joined if form is None else unicodedata.normalize(form, joined)


@pytest.mark.parametrize("form", [*FORMS, None])
def test_hard_texts_become_what_they_become_as_a_whole(form: Literal["NFC", "NFKC"] | None) -> None:
    for text in HARD_TEXTS.values():
        for chunks in cuts_of(text):
            assert whole(text, form) == "".join(run(Normalize(form), chunks)), ascii(chunks)


@pytest.mark.parametrize("form", FORMS)
def test_every_character_before_and_behind_others_becomes_what_it_becomes_as_a_whole(form: Literal["NFC", "NFKC"]) -> None:
    around = [
        "a",
        "e\u0301",
        "\u1100",
        "\uac00",
        "\u0915",
        "\u304b",
        "\u1161",
        "\u11a8",
        "\u3099",
        "\u0338",
        "\u0327",
        "\u0f71",
        "\u0301\u0323",
    ]
    chance = random.Random(15)
    assigned = [chr(code) for code in range(0x80, 0x30000) if unicodedata.category(chr(code)) not in ("Cn", "Cs", "Co")]
    composing = [char for char in assigned if unicodedata.combining(char) or not unicodedata.is_normalized("NFKD", char)]
    for char in chance.sample(composing, 2500) + chance.sample(assigned, 500):
        text = chance.choice(around) + char + chance.choice(around) + chance.choice(composing)
        assert unicodedata.normalize(form, text) == "".join(run(Normalize(form), text)), ascii(text)


def test_only_what_a_mark_could_change_waits() -> None:
    assert [[], ["a"], [], ["\xe9 "], ["1"], ["中"], [], ["\xe9\n"]] == given_after_each(Normalize(), "ae\u0301 1中\xe9\n")


def test_a_hangul_syllable_that_is_closed_does_not_wait() -> None:
    assert [[], [], ["\uae00"], ["\uae00"]] == given_after_each(Normalize(), "\u1100\u1173\u11af\uae00")


def test_halves_of_a_character_meet_across_chunks() -> None:
    assert ["\U0001f600", "!"] == run(Normalize(), ["\ud83d", "\ude00", "!"])
    assert "a\ufffdb\ufffd\ufffdc\ufffd" == "".join(run(Normalize(), ["a\ud83d", "b\ude00", "\ude00c", "\ud83d"]))


def test_one_byte_order_mark_goes_and_only_at_the_beginning() -> None:
    assert "a\ufeffb" == "".join(run(Normalize(), ["", "\ufeff", "a\ufeffb"]))
    assert "\ufeffa" == "".join(run(Normalize(), ["\ufeff\ufeffa"]))


@pytest.mark.parametrize("newlines", ["\n", "\r\n", "\r"])
def test_line_ends_become_one_kind_without_waiting(newlines: str) -> None:
    for chunks in cuts_of("a\r\nb\rc\n\nd\r\r\n\n\r"):
        assert newlines.join(["a", "b", "c", "", "d", "", "", "", ""]) == "".join(run(Normalize(newlines=newlines), chunks))
    assert [newlines] == list(Normalize(newlines=newlines).feed("\r"))


def test_more_marks_than_the_bound_are_given_in_parts_for_any_cut() -> None:
    text = "a" + "\u0316\u0301" * 700 + "b"
    meant = "".join(run(Normalize(), [text]))
    assert sorted(meant) == sorted(whole(text, "NFC"))
    for chunks in cuts_of(text):
        assert meant == "".join(run(Normalize(), chunks))


@pytest.mark.parametrize("pattern", ["e\u0301 ", "\u0301", "ab", "\u1100\u1161\u11a8"])
def test_time_is_linear_in_the_text(pattern: str) -> None:
    run(Normalize(), pattern * 10)  # what is remembered of characters is there

    def work(length: int) -> int:
        stage = Normalize()
        return steps(lambda: [stage.feed(char) for char in pattern * length])

    assert work(800) / work(400) < 2.3


@pytest.mark.parametrize(
    "wrong", [("NFD", None), ("nfc", None), (1, None), (True, None), ("NFC", ""), ("NFC", "\n\n"), ("NFC", True)]
)
def test_arguments_that_do_not_fit_are_refused(wrong: tuple[Literal["NFC"], str]) -> None:
    with pytest.raises(ConfigError, match=r"form|newlines"):
        Normalize(*wrong)


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(TypeError, match="normalize takes text, got bytes"):
        Normalize().feed(b"a")  # type: ignore[arg-type]
