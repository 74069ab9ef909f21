"""What a token processor says to items it cannot take: what they are, and what to write instead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import streamkit as sk

pytestmark = pytest.mark.anyio

PROCESSORS: dict[str, Callable[[], sk.Op[str, Any]]] = {
    "characters": sk.characters,
    "words": sk.words,
    "sentences": sk.sentences,
    "lines": sk.lines,
    "paragraphs": sk.paragraphs,
    "strip": sk.strip,
    "normalize": sk.normalize,
    "printable": sk.printable,
    "stop": lambda: sk.stop(["END"]),
    "split_tags": lambda: sk.split_tags("think"),
    "replace": lambda: sk.replace("a", "b"),
    "redact": lambda: sk.redact("email"),
    "count_tokens": lambda: sk.count_tokens(sk.TokenCounter()),
}


@pytest.mark.parametrize("name", PROCESSORS)
async def test_events_are_sent_to_on_text(name: str) -> None:
    events: list[Any] = [sk.TextDelta("Hello."), sk.Finish("stop")]
    with pytest.raises(TypeError) as caught:
        await (sk.stream(events) | PROCESSORS[name]()).collect()
    assert f"{name} takes text, got TextDelta: events go through sk.on_text(sk.{name}(...))" == str(caught.value)


@pytest.mark.parametrize("name", ["markdown_blocks", "code_blocks", "heal_markdown", "json_values"])
async def test_what_on_text_cannot_lift_is_told_of_the_text_of_events(name: str) -> None:
    events: list[Any] = [sk.TextDelta("Hello."), sk.Finish("stop")]
    with pytest.raises(TypeError, match=f"{name} takes text, got TextDelta: ") as caught:
        await (sk.stream(events) | getattr(sk, name)()).collect()
    assert ("sk.on_text(" in str(caught.value)) == (name == "markdown_blocks")


@pytest.mark.parametrize("name", PROCESSORS)
async def test_bytes_are_to_be_decoded_first(name: str) -> None:
    pieces: list[Any] = [b"Hello."]
    with pytest.raises(TypeError) as caught:
        await (sk.stream(pieces) | PROCESSORS[name]()).collect()
    assert f"{name} takes text, got bytes: decode them first, with codecs.iterdecode or its like" == str(caught.value)


def test_what_gives_events_is_refused_in_front_of_text_at_the_call() -> None:
    row: Any = sk.split_tags("think") | sk.strip()  # type: ignore[operator]
    with pytest.raises(TypeError, match="put what gives events last, and an on_text of its own behind it"):
        sk.on_text(row)


def test_names_of_tags_in_a_list_are_refused_in_words() -> None:
    names: Any = ["think", "plan"]
    with pytest.raises(TypeError, match=r"the name of a tag is a str, got \['think', 'plan'\]"):
        sk.split_tags(names)
