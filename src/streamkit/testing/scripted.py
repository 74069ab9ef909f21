"""A model that plays what it is told, and remembers what was done to it.

    model = ScriptedModel("Hel", 0.5, "lo", Finish())
    await model.stream().message()
    model.plays[0].closed            # 1

A script is a row of steps: a float is a stall in seconds (on the clock in place), an exception is raised, `CUT` is
an early but clean end, and everything else is an item; a str stands for a `TextDelta`. As bytes, on the wire of a dialect,
the same script is cut into chunks at the borders that a test wants.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, Final

from streamkit.dialects import registry
from streamkit.dialects.outcomes import DONE
from streamkit.events import Event, TextDelta
from streamkit.flow.clock import current_clock
from streamkit.flow.streams import Stream, stream
from streamkit.flow.tasks import current_backend
from streamkit.sinks.codec import framed

__all__ = ["CUT", "Play", "ScriptedModel"]


class _Cut:
    def __repr__(self) -> str:
        return "CUT"


# The body ends here, cleanly, whatever is missing.
CUT: Final = _Cut()


class Play:
    """One playing of a script: what was done to it.

    Attributes:
        request: What `stream` was called with.
        asked: Items asked for, the end included.
        given: Items given.
        closed: How often it was closed (also after its own end).
        cancelled: Whether a cancel reached it while it waited.
        ended: Whether it came to the end of its script, or to its error.
        iterated_by, closed_by: The tasks that did.
    """

    def __init__(self, request: object, steps: Sequence[object]) -> None:
        self.request = request
        self.asked = 0
        self.given = 0
        self.closed = 0
        self.cancelled = False
        self.ended = False
        self.iterated_by: set[object] = set()
        self.closed_by: set[object] = set()
        self._steps = list(steps)
        self._at = 0

    def __aiter__(self) -> Play:
        return self

    async def __anext__(self) -> Any:  # what the script holds
        self.asked += 1
        self.iterated_by.add(current_backend().current_task())
        while self._at < len(self._steps) and self._steps[self._at] is not CUT and not self.closed:
            step = self._steps[self._at]
            self._at += 1
            if isinstance(step, float):
                await self._stall(step)
            elif isinstance(step, BaseException):
                self.ended = True
                self._at = len(self._steps)
                raise step
            else:
                self.given += 1
                return step
        self.ended = self.ended or not self.closed
        raise StopAsyncIteration

    async def _stall(self, seconds: float) -> None:
        try:
            await current_clock().sleep(seconds)
        except BaseException:
            self.cancelled = True
            raise

    async def aclose(self) -> None:
        """The consumer lets go."""
        self.closed += 1
        self.closed_by.add(current_backend().current_task())


class ScriptedModel:
    """Plays a script for each request, anew.

    Args:
        script: The steps (see above). For `bytes` they may be bytes, a recorded body in pieces.

    Attributes:
        plays: One `Play` for each opening, in order.

    >>> import asyncio
    >>> from streamkit.events import Finish
    >>> model = ScriptedModel("Hel", "lo", Finish())
    >>> asyncio.run(model.stream("hi").message()).text
    'Hello'
    >>> model.plays[0].request, model.plays[0].closed
    ('hi', 1)
    """

    def __init__(self, *script: object) -> None:
        self.script: tuple[object, ...] = tuple(TextDelta(step) if isinstance(step, str) else step for step in script)
        self.plays: list[Play] = []

    def stream(self, request: object = None) -> Stream[Event]:
        """The events of the script; each Run is a new play.

        Memory: the script. Cancellation: noted in the play.
        """
        return stream(lambda: self._play(request, self.script))

    def bytes(
        self, request: object = None, *, dialect: str = "openai-chat", cuts: Sequence[int] | None = None, seed: int | None = None
    ) -> Stream[bytes]:
        """The script as the bytes of an SSE body, in chunks.

        Events are encoded in the dialect, one chunk for each; bytes are taken as they are. With `CUT` or an error in
        the script the dialect's end is not written.

        Args:
            request: Kept in the play.
            dialect: A dialect that is written, on the wire that it travels on (`Dialect.framing`).
            cuts: Offsets in the whole body at which chunks end, instead. Stalls and errors keep their offset.
            seed: Cuts at random, the same for the same seed.

        >>> import asyncio
        >>> chunks = asyncio.run(ScriptedModel(b"data: x", b"yz").bytes(cuts=[4]).collect())
        >>> chunks
        [b'data', b': xyz']
        """
        steps = self._wire(dialect)
        if seed is not None or cuts is not None:
            size = sum(len(step) for step in steps if isinstance(step, bytes))
            chosen = _random_cuts(size, seed) if cuts is None else cuts
            steps = _recut(steps, chosen)
        fixed = tuple(steps)
        return stream(lambda: self._play(request, fixed))

    def _play(self, request: object, steps: Sequence[object]) -> Play:
        play = Play(request, steps)
        self.plays.append(play)
        return play

    def _wire(self, dialect: str) -> list[object]:
        if any(isinstance(step, bytes) for step in self.script):
            return list(self.script)
        found = registry.get(dialect)
        make = found.encoder
        if make is None:
            raise ValueError(f"the dialect {dialect!r} is read, and not written")
        encoder = make()
        steps: list[object] = [framed(encoder.open(), found.framing)]
        whole = True
        for step in self.script:
            if step is CUT or isinstance(step, BaseException):
                steps.append(step)
                whole = False
                break
            steps.append(step if isinstance(step, float) else framed(encoder.encode(step), found.framing))  # type: ignore[arg-type]  # what is none of these is an event
        if whole:
            steps.append(framed(encoder.close(DONE), found.framing))
        return [step for step in steps if step != b""]


def _random_cuts(size: int, seed: int | None) -> list[int]:
    chooser = random.Random(seed)
    return sorted(chooser.randrange(size + 1) for _ in range(max(1, size // 7)))


def _recut(steps: Sequence[object], cuts: Sequence[int]) -> list[object]:
    """The same bytes with other borders; stalls and errors stay where they were, which is a border too."""
    out: list[object] = []
    borders = iter(sorted({cut for cut in cuts if cut > 0}))
    border = next(borders, None)
    at = 0
    held = b""
    for step in steps:
        if not isinstance(step, bytes):
            if held:
                out.append(held)
                held = b""
            out.append(step)
            continue
        while border is not None and border <= at + len(step):
            held += step[: border - at]
            if held:
                out.append(held)
                held = b""
            step, at = step[border - at :], border
            border = next(borders, None)
        held += step
        at += len(step)
    if held:
        out.append(held)
    return out
