"""Streams drawn as text, one character for each frame of time.

    marbles("a-b--c|")                          a source: a at once, b after two frames, c after five, then the end
    await drawn(marbles("a-b|").map(str.upper))         "A-B|"
    await assert_marbles(marbles("aab") | sk.changes(), "a-b")

    -        a frame in which nothing happens
    a        one item in this frame: what `values` names so, or the character itself
    (ab)     several items in one frame
    |        the end, in this frame;  `a|` is one frame apart, `(a|)` is the same frame
    #        an error, likewise
    space    nothing: for lining diagrams up

A diagram without `|` or `#` is a source that never ends. Time is the clock's in place; the asserting functions bring a
`VirtualClock`, so a frame of a second costs nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from math import isfinite
from typing import Any, Generic, TypeVar

import msgspec

from streamkit.errors import ConfigError, StreamTimeout
from streamkit.flow.clock import current_clock
from streamkit.flow.streams import Stream, stream
from streamkit.operators.timing import timeout
from streamkit.testing.clock import VirtualClock

__all__ = ["MarbleError", "Observed", "assert_marbles", "drawn", "marbles", "observe"]

T = TypeVar("T")

# Frames after which a stream that has not ended is left, unless told.
FRAMES = 100


class MarbleError(Exception):
    """What `#` raises, unless told otherwise."""


class Observed(msgspec.Struct, Generic[T], frozen=True):
    """What came out of a stream, and when.

    Attributes:
        items: Pairs of seconds since the first request and item.
        end: Seconds until it ended or failed; None if it was left.
        error: What it failed with; None after a normal end.
    """

    items: list[tuple[float, T]]
    end: float | None
    error: Exception | None


def marbles(
    diagram: str, values: Mapping[str, object] | None = None, *, error: BaseException | None = None, frame: float = 1.0
) -> Stream[Any]:
    """A source from its picture. It can be run again.

    Args:
        diagram: As drawn above.
        values: What a character stands for; others stand for themselves.
        error: What `#` raises.
        frame: Seconds that one character takes.

    Yields:
        The items, each at its frame.

    Memory: the diagram. Cancellation: wakes it from its pause.
    Raises:
        ConfigError: a picture that cannot be read, at the call.

    >>> import asyncio
    >>> asyncio.run(drawn(marbles("a-(bc)-|").map(str.upper)))
    'A-(BC)-|'
    """
    frames = _frames(diagram)
    if not isfinite(frame) or frame <= 0:
        raise ConfigError(f"marbles(frame={frame!r}): must be more than 0 seconds")
    known = values or {}

    async def play() -> AsyncIterator[Any]:
        clock = current_clock()
        begun = clock.now()
        for at, marks in enumerate(frames):
            if marks:
                await clock.sleep(begun + at * frame - clock.now())
            for mark in marks:
                if mark == "|":
                    return
                if mark == "#":
                    raise error or MarbleError(f"# in frame {at}")
                yield known.get(mark, mark)
        await clock.sleep(10**9)

    return stream(play)


def _frames(diagram: str) -> list[str]:
    """What happens in each frame."""
    frames: list[str] = []
    group: list[str] | None = None
    last = ""
    for mark in diagram:
        if mark.isspace():
            continue
        if last in ("|", "#") and mark != ")":
            raise ConfigError(f"marbles({diagram!r}): nothing can come behind {last!r}")
        last = mark if mark != ")" else last
        if mark == "(" and group is None:
            group = []
        elif mark == ")" and group is not None:
            frames.append("".join(group))
            group = None
        elif mark in "()" or (mark == "-" and group is not None):
            raise ConfigError(f"marbles({diagram!r}): {mark!r} in a wrong place")
        elif group is not None:
            group.append(mark)
        else:
            frames.append("" if mark == "-" else mark)
    if group is not None:
        raise ConfigError(f"marbles({diagram!r}): a ( without its )")
    return frames


async def observe(stream: Stream[T], *, seconds: float = FRAMES) -> Observed[T]:
    """Run a stream on virtual time, and tell what came when.

    Args:
        stream: Left after `seconds`, if it has not ended by then.
        seconds: How long to look.

    Memory: all items. Cancellation: the source is closed.
    """
    items: list[tuple[float, T]] = []
    async with VirtualClock() as clock:
        try:
            async with stream | timeout(total=seconds) as run:
                async for item in run:
                    items.append((clock.now(), item))
        except Exception as error:
            looked_enough = isinstance(error, StreamTimeout) and error.phase == "total" and clock.now() >= seconds
            return Observed(items, None if looked_enough else clock.now(), None if looked_enough else error)
        return Observed(items, clock.now(), None)


async def drawn(
    stream: Stream[Any], values: Mapping[str, object] | None = None, *, frame: float = 1.0, frames: int = FRAMES
) -> str:
    """The picture of what a stream gives.

    Args:
        values: Characters for items that are none: each item equal to a value is drawn as its character.
        frame: Seconds that one character takes.
        frames: A stream that has not ended by then is left, and drawn without an end.

    Raises:
        ValueError: an item without a character, or one between two frames.
    """
    seen = await observe(stream, seconds=frame * frames)
    cells: dict[int, list[str]] = {}
    for at, item in seen.items:
        cells.setdefault(_frame_of(at, frame), []).append(_character(item, values or {}))
    if seen.end is not None:
        cells.setdefault(_frame_of(seen.end, frame), []).append("|" if seen.error is None else "#")
    if not cells:
        return "-"
    row = [cells.get(at, []) for at in range(max(cells) + 1)]
    return "".join(["-" if not cell else cell[0] if len(cell) == 1 else f"({''.join(cell)})" for cell in row])


async def assert_marbles(
    stream: Stream[Any], diagram: str, values: Mapping[str, object] | None = None, *, frame: float = 1.0
) -> None:
    """Hold a stream to its picture, in items, times, end and error.

    Raises:
        AssertionError: it gives another one; the message shows both.

    >>> import asyncio
    >>> from streamkit.operators.selection import take
    >>> asyncio.run(assert_marbles(marbles("ab-c-d|") | take(3), "ab-(c|)"))
    """
    meant = "".join(diagram.split())
    got = await drawn(stream, values, frame=frame, frames=len(_frames(diagram)) + FRAMES)
    if got != meant:
        raise AssertionError(f"\n  meant  {meant}\n  got    {got}")


def _frame_of(seconds: float, frame: float) -> int:
    at = round(seconds / frame)
    if abs(at * frame - seconds) > 1e-6 * max(1.0, seconds):
        raise ValueError(f"something happened at {seconds:g} s, between two frames of {frame:g} s: choose another frame")
    return at


def _character(item: object, values: Mapping[str, object]) -> str:
    for character, value in values.items():
        if value == item:
            return character
    text = str(item)
    if len(text) != 1:
        raise ValueError(f"a {type(item).__name__} has no character: name it in values={{'a': ...}}")
    return text
