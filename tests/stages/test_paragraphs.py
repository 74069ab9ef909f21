"""`Paragraphs`: what stands between blank lines, whatever ends a line."""

from __future__ import annotations

import re

import pytest
from hard_texts import HARD_TEXTS
from stage_runs import given_after_each, run, steps

from streamkit.errors import ConfigError
from streamkit.stages.paragraphs import Paragraphs


def paragraphs(text: str, max_chars: int = 65_536) -> list[str]:
    return run(Paragraphs(max_chars), [text])


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ("a\n\nb", ["a", "b"]),
        ("a\nb\n\n\n\nc\n", ["a\nb", "c"]),
        ("\n\n a\r\n\tb\r\n \t\r\nc \r\n\r\n", [" a\r\n\tb", "c "]),
        ("a\r\rb\rc", ["a", "b\rc"]),
        ("a\r\n\rb", ["a", "b"]),
        ("a\u2028\u2028b\x0b\x0cc", ["a\u2028\u2028b\x0b\x0cc"]),
        ("a\n\u00a0\nb", ["a", "b"]),
        ("a\n   ", ["a"]),
        (" \n\r\n", []),
        ("", []),
    ],
)
def test_blank_lines_separate_and_are_gone(text: str, given: list[str]) -> None:
    assert given == paragraphs(text)


@pytest.mark.parametrize("name", HARD_TEXTS)
def test_hard_texts_are_cut_as_by_a_pattern_over_the_whole(name: str) -> None:
    text = HARD_TEXTS[name]
    lines = [line for line in re.split(r"(?<=\n)|(?<=\r)(?!\n)", text) if line]
    meant: list[list[str]] = [[]]
    for line in lines:
        if line.strip():
            meant[-1].append(line)
        elif meant[-1]:
            meant.append([])
    assert [re.sub(r"(\r\n?|\n)\Z", "", "".join(lines)) for lines in meant if lines] == paragraphs(text)


def test_a_paragraph_is_given_when_the_blank_line_has_ended() -> None:
    assert [[], [], ["a"], [], [], [], ["b"]] == given_after_each(Paragraphs(), "a\n\nb\n \n")
    assert [[], [], [], ["a"], []] == given_after_each(Paragraphs(), "a\r\n\r\n")


def test_a_long_paragraph_is_cut_behind_a_line_end_or_else_white_space() -> None:
    assert ["abc\n", "defg hi"] == paragraphs("abc\ndefg hi", 8)
    assert ["abc def ", "ghijk"] == paragraphs("abc def ghijk\n\n", 10)
    assert ["abcdef", "gh", "i"] == paragraphs("abcdefgh\n\ni", 6)


def test_white_space_without_end_does_not_fill_memory() -> None:
    stage = Paragraphs(100)
    assert [] == [*stage.feed("a\n"), *(out for _ in range(50) for out in stage.feed(" " * 1000))]
    assert len(str(stage.snapshot())) < 500
    assert ["a"] == list(stage.feed("\n"))


@pytest.mark.parametrize("pattern", ["ab ", " ", "x\n", "\r"])
def test_time_is_linear_in_the_text(pattern: str) -> None:
    def work(length: int) -> int:
        stage = Paragraphs(50)
        return steps(lambda: [list(stage.feed(char)) for char in pattern * length])

    assert work(800) / work(400) < 2.3


@pytest.mark.parametrize("wrong", [0, 1, -1, True, 2.5, None])
def test_a_bound_that_is_none_is_refused(wrong: int) -> None:
    with pytest.raises((ConfigError, TypeError), match="max_chars"):
        Paragraphs(wrong)


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(TypeError, match="paragraphs takes text, got int"):
        Paragraphs().feed(1)  # type: ignore[arg-type]
