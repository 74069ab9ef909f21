"""`Characters`: what a reader sees as one, by UAX #29, held against another implementation."""

from __future__ import annotations

import random
from collections import defaultdict

import pytest
import regex
from hard_texts import HARD_TEXTS
from stage_runs import given_after_each, run, steps

from streamkit.errors import ConfigError
from streamkit.stages import grapheme_table
from streamkit.stages.graphemes import Characters, kind_of

LONG = 1_000_000


def characters(text: str) -> list[str]:
    return run(Characters(LONG), [text])


# The clusters of UAX #29, tables 1b and 1c, written down once more.
CLUSTER = regex.compile(
    r"""\r\n|[\p{GCB=Control}\r\n]|\p{GCB=Prepend}*(?:
        \p{GCB=L}*(?:\p{GCB=V}+|\p{GCB=LV}\p{GCB=V}*|\p{GCB=LVT})\p{GCB=T}*|\p{GCB=L}+|\p{GCB=T}+
        |\p{RI}\p{RI}
        |\p{Extended_Pictographic}(?:\p{GCB=Extend}*\p{GCB=ZWJ}\p{Extended_Pictographic})*
        |\p{InCB=Consonant}(?:[\p{InCB=Extend}[\p{InCB=Linker}&&\p{GCB=Extend}]]*[\p{InCB=Linker}&&\p{GCB=Extend}]
          [\p{InCB=Extend}[\p{InCB=Linker}&&\p{GCB=Extend}]]*\p{InCB=Consonant})*
        |[^\p{GCB=Control}\r\n]
    )[\p{GCB=Extend}\p{GCB=ZWJ}\p{GCB=SpacingMark}]*|\p{GCB=Prepend}+[\p{GCB=Extend}\p{GCB=ZWJ}\p{GCB=SpacingMark}]*""",
    regex.V1 | regex.X,
)


@pytest.mark.parametrize("name", HARD_TEXTS)
def test_hard_texts_are_cut_as_another_implementation_cuts_them(name: str) -> None:
    assert regex.findall(r"\X", HARD_TEXTS[name]) == characters(HARD_TEXTS[name])


def test_texts_of_all_kinds_of_characters_are_cut_by_the_rules() -> None:
    kinds: dict[int, list[str]] = defaultdict(list)
    for code in range(0x110000):
        kinds[kind_of(chr(code))].append(chr(code))
    assert 18 == len(kinds)
    chance = random.Random(29)
    some = [chance.sample(of_kind, min(40, len(of_kind))) for of_kind in kinds.values()]
    for _ in range(8000):
        text = "".join(chance.choice(chance.choice(some)) for _ in range(chance.randint(2, 9)))
        assert CLUSTER.findall(text) == characters(text), ascii(text)


@pytest.mark.parametrize(
    ("kind", "property_value"),
    [
        ("CONTROL", "GCB=Control"),
        ("PREPEND", "GCB=Prepend"),
        ("SPACING", "GCB=SpacingMark"),
        ("PICTURE", "Extended_Pictographic"),
        ("CONSONANT", "InCB=Consonant"),
    ],
)
def test_the_table_knows_the_properties_of_every_character(kind: str, property_value: str) -> None:
    matches = regex.compile(rf"\p{{{property_value}}}").match
    meant = {code for code in range(0x110000) if matches(chr(code))}
    held: set[int] = set()
    for one in grapheme_table.RANGES[kind].split():
        first, _, more = one.partition("+")
        held |= set(range(int(first, 16), int(first, 16) + int(more or "0", 16) + 1))
    # A newer `regex` may know characters of a newer Unicode: they are few, and none that was known may be missing.
    assert held <= meant
    assert len(meant - held) <= (0 if f"regex {regex.__version__}" == grapheme_table.SOURCE else 200)


def test_a_character_is_given_when_the_next_one_begins() -> None:
    assert [[], ["a"], [], ["b\u0308"]] == given_after_each(Characters(), "ab\u0308c")
    assert [[], [], [], ["\U0001f1e9\U0001f1ea\u200d"]] == given_after_each(Characters(), "\U0001f1e9\U0001f1ea\u200d!")


def test_a_line_feed_is_given_at_once_and_a_carriage_return_waits_for_its_half() -> None:
    assert [[], ["a", "\n"], [], ["\r\n"], [], ["\r"]] == given_after_each(Characters(), "a\n\r\n\rb")


def test_a_tower_of_marks_is_cut_at_the_bound() -> None:
    assert ["z" + "\u0301" * 3, "\u0301" * 2, "a"] == run(Characters(4), ["z" + "\u0301" * 5 + "a"])


def test_one_character_at_a_time_costs_no_more_when_it_is_long() -> None:
    def work(length: int) -> int:
        stage = Characters(LONG)
        return steps(lambda: [list(stage.feed("\u0301")) for _ in range(length)])

    assert work(800) / work(400) < 2.3


@pytest.mark.parametrize("wrong", [0, -1, True, 1.5, float("nan"), None])
def test_a_bound_that_is_none_is_refused(wrong: object) -> None:
    with pytest.raises((ConfigError, TypeError), match="max_chars"):
        Characters(wrong)  # type: ignore[arg-type]


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(TypeError, match="characters takes text, got bytes"):
        Characters().feed(b"a")  # type: ignore[arg-type]
