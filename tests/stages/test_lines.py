"""`Lines`: three line ends, any cut, one bound."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stage_runs import cut_at, given_after_each, places, run, steps

from streamkit.errors import ConfigError, RemoteProtocolError
from streamkit.stages.lines import Lines

texts = st.lists(st.sampled_from(["\n", "\r", "\r\n", "a", "bcd", "é", "\u2028", "\x85", "\x0b", "😀", " "])).map("".join)


def meant(text: str, keep: bool = False) -> list[str]:
    pieces = re.split(r"(\r\n|\r|\n)", text)
    lines = [line + end * keep for line, end in zip(pieces[::2], pieces[1::2], strict=False)]
    return lines + [pieces[-1]] * bool(pieces[-1])


@given(texts, places, st.booleans())
def test_any_cut_gives_the_same_lines(text: str, cuts: list[int], keep: bool) -> None:
    for chunks in (cut_at(text, cuts), [text], list(text)):
        assert meant(text, keep) == run(Lines(keep), chunks)


@given(texts, places)
def test_lines_with_their_ends_join_back_to_the_text(text: str, cuts: list[int]) -> None:
    assert text == "".join(run(Lines(keep_ends=True), cut_at(text, cuts)))


def test_each_line_comes_with_its_first_end_character() -> None:
    assert [[], ["a"], [], [], ["b"], [], ["c"], [""]] == given_after_each(Lines(), "a\r\nb\rc\n\n")


def test_kept_ends_wait_only_behind_a_cr() -> None:
    lines = Lines(keep_ends=True)
    assert [[], [], ["a\r\n"], [], [], ["b\r"], ["c\n"]] == given_after_each(lines, "a\r\nb\rc\n")
    assert [["\r", "\r"], ["\r"]] == [list(lines.feed("\r\r\r")), list(lines.flush())]


def test_separators_that_splitlines_knows_are_text() -> None:
    text = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg"
    assert [text] == run(Lines(), [text + "\n"])


def test_no_empty_line_after_the_last_end_and_none_for_no_text() -> None:
    assert ["a", ""] == run(Lines(), ["a\n\n"])
    assert [] == run(Lines(), ["", ""])


def test_a_failed_input_gives_the_open_line() -> None:
    lines = Lines()
    lines.feed("a\nb")
    assert ["b"] == list(lines.abort())


@given(texts, places, st.integers(1, 5), st.booleans())
def test_a_line_above_the_bound_is_one_error_behind_the_lines_before_it(text: str, cuts: list[int], limit: int, keep: bool) -> None:
    expected: list[str] = []
    fails = False
    for line in meant(text, keep):
        if len(line.rstrip("\r\n")) > limit:
            fails = True
            break
        expected.append(line)
    for chunks in (cut_at(text, cuts), [text], list(text)):
        lines = Lines(keep, max_chars=limit)
        got: list[str] = []
        failed = False
        try:
            for chunk in chunks:
                for line in lines.feed(chunk):
                    got.append(line)
            for line in lines.flush():
                got.append(line)
        except RemoteProtocolError:
            failed = True
            assert () == lines.abort()
        assert (expected, fails) == (got, failed)


def test_the_error_comes_at_the_first_character_too_many_and_stays() -> None:
    lines = Lines(max_chars=3)
    assert () == lines.feed("abc")
    with pytest.raises(RemoteProtocolError, match="more than max_chars=3"):
        lines.feed("d")
    with pytest.raises(RemoteProtocolError):
        lines.feed("\n")
    with pytest.raises(RemoteProtocolError):
        lines.flush()


def test_work_grows_with_the_text_and_memory_does_not_grow_with_its_cuts() -> None:
    def work(length: int) -> int:
        lines = Lines()
        return steps(lambda: run(lines, ["x"] * length))

    assert work(8000) < 2.2 * work(4000)
    lines = Lines()
    for _ in range(100_000):
        lines.feed("x")
    assert len(lines._parts) < 100_000 / 16 + 65


@pytest.mark.parametrize("bound", [0, -1, True, 1.5])
def test_a_bound_that_is_no_count_is_refused(bound: int) -> None:
    with pytest.raises(ConfigError, match="max_chars"):
        Lines(max_chars=bound)


def test_bytes_are_refused() -> None:
    with pytest.raises(TypeError, match="lines takes text, got bytes"):
        Lines().feed(b"a")  # type: ignore[arg-type]  # the mistake under test
