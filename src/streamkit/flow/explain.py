"""A plan in words, and as a picture for notebooks: what runs in one loop, in which task, and what stands between.

    source   gen()
    loop     map(f) | filter(g)          a task of its own
    between  buffer(8)
    loop     take(3)                     consumer's task

A source that reads other plans (merge, retry) shows each of them, indented, under itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import Literal, TypeAlias

import msgspec

from streamkit.flow.plan import Laid, Part, Step
from streamkit.flow.sources import Source

__all__ = ["explain_plan", "html_of_parts", "html_of_plan"]

CONSUMER = "consumer's task"
OWN = "a task of its own"
SAME = "same task"


class _Room(msgspec.Struct, frozen=True):
    """One line of a plan: a source, a loop, or what stands between two loops."""

    kind: Literal["source", "loop", "between"]
    what: str
    who: str = ""
    inner: tuple[tuple[_Room, ...], ...] = ()


_Rooms: TypeAlias = tuple[_Room, ...]


def explain_plan(source: Source, parts: tuple[Laid, ...]) -> str:
    """One line per segment: what runs in one loop, in which task, and what stands between.

    >>> print(explain_plan(Source("gen()", lambda run: None), (Step("map", "map(f)", None),)))
    source   gen()
    loop     map(f)                      consumer's task
    """
    return "\n".join(_lines(_rooms(source, parts, CONSUMER), ""))


def _rooms(source: Source, parts: Sequence[Laid], last: str) -> _Rooms:
    """The rooms that an item goes through, one after the other."""
    inner = tuple([_rooms(one, before, "for the source above") for one, before in source.inner])
    rooms = [_Room("source", source.label, inner=inner)]
    loop: list[str] = []
    for part in parts:
        if isinstance(part, Step):
            loop.append(part.label)
            continue
        rooms.append(_loop(loop, OWN if getattr(part, "own_task", True) else SAME))
        rooms.append(_Room("between", part.label))
        loop = []
    rooms.append(_loop(loop, last))
    return tuple(rooms)


def _loop(steps: list[str], who: str) -> _Room:
    return _Room("loop", " | ".join(steps) or "as it comes", who)


def _lines(rooms: Iterable[_Room], indent: str) -> Iterator[str]:
    for room in rooms:
        yield f"{indent}{room.kind:<9}{room.what:<28}{room.who}".rstrip()
        for plan in room.inner:
            yield from _lines(plan, indent + "  . ")


# -- for notebooks. Colours are the page's own, so that it is readable on light and dark alike.

_BOX = "border:1px solid;border-radius:6px;padding:4px 8px;margin:2px;font-family:monospace;font-size:12px"
_STYLES = {
    "source": f"{_BOX};border-style:double;border-width:3px",
    "loop": _BOX,
    "between": f"{_BOX};border-style:dashed",
}


def html_of_plan(source: Source, parts: tuple[Laid, ...]) -> str:
    """The plan as boxes in a row, for `_repr_html_`; all words in it are escaped."""
    return _html_of(_rooms(source, parts, CONSUMER))


def html_of_parts(parts: tuple[Part, ...]) -> str:
    """Operators without a source, for `_repr_html_`."""
    rooms = [_Room("loop" if isinstance(part, Step) else "between", part.label) for part in parts]
    return _html_of(rooms)


def _html_of(rooms: Iterable[_Room]) -> str:
    boxes = "<span>&rarr;</span>".join([_box(room) for room in rooms])
    return f'<div style="display:flex;flex-wrap:wrap;align-items:center;gap:4px">{boxes}</div>'


def _box(room: _Room) -> str:
    inner = "".join([_html_of(plan) for plan in room.inner])
    who = f'<div style="opacity:.6;font-size:10px">{escape(room.who)}</div>' if room.who else ""
    return f'<div style="{_STYLES[room.kind]}" title="{room.kind}">{escape(room.what)}{who}{inner}</div>'
