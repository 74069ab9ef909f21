"""Running a stage by hand: over given chunks, over every cut, and counting its steps."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from itertools import pairwise
from types import FrameType
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from streamkit.stages.stage import Stage

if TYPE_CHECKING:
    from _typeshed import TraceFunction


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


def steps(work: Callable[[], object]) -> int:
    """How many calls, lines and returns of Python code this takes: the same on every machine."""
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> TraceFunction:
        nonlocal count
        count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count
