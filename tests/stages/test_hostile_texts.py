"""Texts written to break token processors: each test is of something that once broke one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast

import msgspec
import pytest
from law_of_stages import cuts_of
from stage_runs import steps

from streamkit.errors import RemoteProtocolError, TypeMismatch
from streamkit.events import TextDelta
from streamkit.flow.snapshots import Snapshot
from streamkit.stages.graphemes import Characters
from streamkit.stages.growing import GrowingValue
from streamkit.stages.lifting import OnText
from streamkit.stages.lines import Lines
from streamkit.stages.markdown_blocks import MarkdownBlocks
from streamkit.stages.markdown_healing import HealedText, HealMarkdown
from streamkit.stages.normalizing import Normalize
from streamkit.stages.partial_json import PartialJson
from streamkit.stages.sentences import Sentences
from streamkit.stages.shapes import shape_of
from streamkit.stages.stage import Stage
from streamkit.stages.values_in_text import JsonValues
from streamkit.stages.words import Words


def through_bytes(stage: Stage[Any, Any], pending: tuple[object, ...] = ()) -> Snapshot:
    """A snapshot as another process reads it."""
    return Snapshot.from_bytes(Snapshot(1, ("stage",), (stage.snapshot(),), pending, over=False).to_bytes())


@pytest.mark.parametrize("make", [Normalize, Lines, Sentences, Words, Characters, MarkdownBlocks, HealMarkdown])
@pytest.mark.parametrize("half", ["\ud83d", "\ude00"])
def test_half_a_character_is_saved_and_taken_up(make: Callable[[], Stage[str, Any]], half: str) -> None:
    stage, other = make(), make()
    list(stage.feed("a" + half))
    other.restore(through_bytes(stage).states[0])
    assert [*stage.feed("\ude00. B"), *stage.flush()] == [*other.feed("\ude00. B"), *other.flush()]


def test_half_a_character_in_an_event_is_saved() -> None:
    waiting = (TextDelta("a\ud83d", 2, 1), "\ude00")
    assert waiting == through_bytes(OnText([Normalize]), waiting).pending


@pytest.mark.parametrize(
    "text", ["[" * 1000, '{"a":' * 1000, "[1," + "[" * 900 + "]" * 900 + ","], ids=["lists", "objects", "closed"]
)
@pytest.mark.parametrize("make", [JsonValues, PartialJson])
def test_json_as_deep_as_is_allowed_is_saved_and_taken_up(make: Callable[[], Stage[str, Any]], text: str) -> None:
    stage, other = make(), make()
    list(stage.feed(text))
    saved = through_bytes(stage)
    other.restore(saved.states[0])
    assert saved.to_bytes() == through_bytes(other).to_bytes()


@pytest.mark.parametrize("again", ['"k0": [', '"k0": {'], ids=["list", "object"])
def test_a_key_that_comes_again_is_not_looked_for_in_a_large_object(again: str) -> None:
    shape = shape_of(dict[str, Any])

    def cost(count: int) -> int:
        stage = GrowingValue(shape)
        list(stage.feed("{" + "".join([f'"k{n}": 1, ' for n in range(count)]) + again))
        members = [f'"{n}": 1, ' if again[-1] == "{" else "1, " for n in range(count)]
        return steps(lambda: [list(stage.feed(member)) for member in members])

    assert cost(800) <= 2.3 * cost(400)


class Person(msgspec.Struct):
    """A type with a text and a list."""

    name: str
    tags: list[str] = []


@pytest.mark.parametrize("text", ['{"name": 1 "t"', '{"tags": [1, "b"}', '{"name": "Ada", "tags": {,}', '{"name": [}'])
def test_of_a_wrong_type_and_broken_json_the_first_is_told_whatever_the_cuts(text: str) -> None:
    for chunks in cuts_of(text):
        stage = GrowingValue(shape_of(Person))
        with pytest.raises(TypeMismatch):
            [list(stage.feed(chunk)) for chunk in chunks]


@pytest.mark.parametrize("text", ['{"name": "Ada\n', '{"name": "Ada\\x', '{"name": "Ada", "tags": ["a" "b'])
def test_a_text_that_breaks_is_not_checked_as_if_it_had_ended(text: str) -> None:
    for chunks in cuts_of(text):
        stage = GrowingValue(shape_of(Person))
        with pytest.raises(RemoteProtocolError) as caught:
            [list(stage.feed(chunk)) for chunk in chunks]
        assert isinstance(caught.value.partial, Person)
        assert "Ada" == caught.value.partial.name
        assert not isinstance(caught.value, TypeMismatch)


def test_a_value_over_its_bound_is_no_other_value() -> None:
    stage = GrowingValue(shape_of(dict[str, Any]), max_chars=12)
    shown = [*stage.feed('{"a": "bc')]
    with pytest.raises(RemoteProtocolError, match="max_chars=12"):
        stage.feed("d" * 9)
    assert {"a": "bc"} == shown[0].value


def test_a_length_of_time_alone_is_a_value() -> None:
    stage = GrowingValue(shape_of(timedelta))
    assert [timedelta(seconds=3)] == [one.value for one in (*stage.feed('"PT3S"'), *stage.flush()) if one.complete]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("[[foo](http://a.b)", "[[foo](http://a.b)"),
        ("[a *b [foo](http://a.b) c", "[a *b [foo](http://a.b) c*"),
        ("[[a] [foo](http://a.b)] [b", "[[a] [foo](http://a.b)] [b](streamkit:incomplete-link)"),
        ("[![a](b.png) c", "[![a](b.png) c](streamkit:incomplete-link)"),
    ],
)
def test_brackets_around_a_link_are_not_closed_as_one(text: str, shown: str) -> None:
    assert shown == healed(text)


@pytest.mark.parametrize("opens", ["", "1. ", "> "], ids=["paragraph", "item", "quote"])
def test_code_in_four_backticks_at_the_beginning_of_a_line_is_no_fence(opens: str) -> None:
    assert f"{opens}````x y````" == healed(f"{opens}````x y`")
    assert f"{opens}````x y```` **z**" == healed(f"{opens}````x y```` **z")


def healed(text: str) -> str:
    stage, page = HealMarkdown(), HealedText()
    for char in text:
        for one in stage.feed(char):
            page.add(one)
    return str(page)


class Markup(str):
    """Text of a class of its own, as template engines have it."""


@pytest.mark.parametrize("make", [Lines, Sentences, Words, MarkdownBlocks])
def test_a_text_of_another_class_is_saved_as_text(make: Callable[[], Stage[str, Any]]) -> None:
    stage, other = make(), make()
    list(stage.feed(Markup("ab")))
    other.restore(through_bytes(stage).states[0])
    assert ["ab"] == [*other.flush()]


@pytest.mark.parametrize("char", ["a", "\u0301", "\n", "\U0001f468"])
def test_a_word_of_many_characters_is_not_kept_as_many_texts(char: str) -> None:
    stage = Words(20_000, 20_000)
    for _ in range(10_000):
        list(stage.feed(char))
    assert len(cast("list[str]", stage.snapshot()["_parts"])) < 1000
    assert [char * 10_000] == [*stage.flush()]


@pytest.mark.parametrize(("make", "name"), [(HealMarkdown, "_line"), (MarkdownBlocks, "_parts")])
@pytest.mark.parametrize("unit", ["a", "\u0301", "a\n"])
def test_markdown_of_many_pieces_is_not_kept_as_many_texts(make: Callable[[], Stage[str, Any]], name: str, unit: str) -> None:
    stage = make()
    for char in unit * 3000:
        list(stage.feed(char))
    assert len(cast("list[str]", stage.snapshot()[name])) < 500
