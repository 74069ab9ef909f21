"""What a terminal or a log is given holds no commands (PRIV-04)."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamkit.stages.printable import MAX_STRING, Printable, one_line, printable_text

ATTACKS = {
    "OSC 52, the clipboard": ("a\x1b]52;c;ZXZpbA==\x07b", "ab"),
    "OSC 52, ended by ST": ("a\x1b]52;c;ZXZpbA==\x1b\\b", "ab"),
    "OSC 8, a link": ("\x1b]8;;https://evil.example\x1b\\click\x1b]8;;\x1b\\", "click"),
    "OSC 0, the title": ("\x1b]0;root\x07x", "x"),
    "CSI, colours": ("\x1b[1;31mred\x1b[0m", "red"),
    "CSI, the cursor": ("safe\x1b[2K\x1b[1A", "safe"),
    "CSI with intermediates": ("\x1b[?25l\x1b[ q!", "!"),
    "eight-bit CSI": ("\x9b31mred", "red"),
    "eight-bit OSC": ("\x9d52;c;eA==\x9cx", "x"),
    "DCS": ("\x1bPq#0\x1b\\x", "x"),
    "APC, PM and SOS": ("\x1b_a\x1b\\\x1b^b\x1b\\\x1bXc\x1b\\x", "x"),
    "reset": ("\x1bcx", "x"),
    "a character set": ("\x1b(0x", "x"),
    "an escape inside a string": ("\x1b]0;a\x1b[31mred", "red"),
    "two escapes": ("\x1b\x1b[31mred", "red"),
    "a string that ends in two escapes": ("\x1b]0;a\x1b\x1b\\x", "x"),
    "backspaces and carriage returns": ("safe\x08\x08\x08\x08evil\r", "safeevil"),
    "bell, delete, null": ("a\x07\x7f\x00b", "ab"),
    "directions": ("a\u202eb\u2066c\u2069", "abc"),
    "newlines and tabs stay": ("a\n\tb", "a\n\tb"),
    "a CSI that a newline breaks": ("\x1b[31\nnext", "\nnext"),
    "a CSI that a letter beyond ASCII breaks": ("\x1b[31é", "é"),
    "an escape and a letter beyond ASCII": ("\x1bé", "é"),
    "nothing wrong": ("plain - text 日本 🎉", "plain - text 日本 🎉"),
}


@pytest.mark.parametrize(("text", "shown"), ATTACKS.values(), ids=ATTACKS)
def test_priv_04_a_sequence_is_taken_out_wherever_it_is_cut(text: str, shown: str) -> None:
    assert shown == printable_text(text)
    for at in range(len(text) + 1):
        stage = Printable()
        assert shown == "".join([*stage.feed(text[:at]), *stage.feed(text[at:]), *stage.flush()])
    stage = Printable()
    assert shown == "".join(piece for char in text for piece in stage.feed(char))


SIGNS = st.text(st.sampled_from("\x1b[]P\\m;?52 \x07\x9b\x9c\x9d\n\tab\u202e日\x00"), max_size=40)


@given(SIGNS, st.lists(st.integers(0, 40)))
def test_any_text_in_any_cut_is_the_same_and_safe(text: str, cuts: list[int]) -> None:
    stage = Printable()
    borders = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    shown = "".join(piece for a, b in pairwise(borders) for piece in stage.feed(text[a:b]))
    assert printable_text(text) == shown
    assert all(char.isprintable() or char in "\n\t" for char in shown)


def test_text_without_commands_passes_as_the_same_object() -> None:
    text = "no commands here\n"
    assert text is next(iter(Printable().feed(text)))
    assert [] == list(Printable().feed(""))


def test_a_string_that_never_ends_does_not_swallow_everything() -> None:
    assert "end" == printable_text("\x1b]0;" + "x" * (MAX_STRING - 1) + "end")[-3:]
    assert len(printable_text("\x1b]0;" + "x" * 100_000)) > 90_000


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("ok\n[CRITICAL] all keys leaked", "ok\\n[CRITICAL] all keys leaked"),
        ("\x1b[31m", "\\x1b[31m"),
        ("a\u2028b\x85c\r", "a\\u2028b\\x85c\\r"),
        ("back\\slash", "back\\\\slash"),
        ("\u202etxt", "\\u202etxt"),
        ("日本", "日本"),
    ],
)
def test_priv_04_a_line_of_a_log_stays_one_line(text: str, line: str) -> None:
    assert line == one_line(text)


def test_a_long_line_is_cut_and_says_so() -> None:
    assert "aaaa…" == one_line("a" * 100, 5)
    assert 5 == len(one_line("\n" * 100, 5))
    assert "aaaaa" == one_line("aaaaa", 5)
