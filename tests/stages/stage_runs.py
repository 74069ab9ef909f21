"""Running a stage by hand: over given chunks, over every cut, and counting its steps."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from counted_steps import steps as steps
from hypothesis import strategies as st

from streamkit.stages.stage import Stage


def run(stage: Stage[str, str], chunks: Iterable[str]) -> list[str]:
    """All outputs, those of the end included."""
    out: list[str] = []
    for chunk in chunks:
        out += stage.feed(chunk)
        if stage.done:
            return out
    out += stage.flush()
    return out


def given_after_each(stage: Stage[str, str], text: str) -> list[list[str]]:
    """What comes out at each character."""
    return [list(stage.feed(char)) for char in text]


def cut_at(text: str, places: Iterable[int]) -> list[str]:
    """`text` cut at these places; empty chunks stay, as networks send them."""
    edges = [0, *sorted(min(place, len(text)) for place in places), len(text)]
    return [text[begin:end] for begin, end in pairwise(edges)]


places = st.lists(st.integers(0, 200), max_size=12)
