"""Streams read one after the other, each as a Run of its own inside the Run that reads them: the ground of `retry`,
`fallback`, `catch` and `continue_on_cut`.

How one stream gives way to another. It fails, and is closed by that; then its successor is asked for, perhaps after
a wait; then that one is opened. All of it happens in the task that reads, so a source keeps its context and its
cancel scopes. At any time one of them is open, or none.

    held     nothing that counts as output has come: what has come is held back, and dropped if the stream fails
    begun    output was given. Where an error is then final, the stream's own iterator is what the reader asks

What was given once and never opened is closed all the same when the Run is left; what can be made again was not made.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, TypeAlias

from streamkit.errors import StreamBusy, StreamConsumed
from streamkit.events.model import Ping, Start, Usage
from streamkit.flow.plan import Laid
from streamkit.flow.runs import OwnLimits, Run
from streamkit.flow.sources import Feed, Source

__all__ = ["Plan", "Series", "Successor", "close_unopened", "is_output"]

Plan: TypeAlias = "tuple[Source, tuple[Laid, ...]]"

# Asked after a failure, with it and whether output was given: the next plan, or None where the series ends well. What it
# raises, ends the series; the error itself, as a rule.
Successor: TypeAlias = "Callable[[Exception, bool], Awaitable[Plan | None]]"

# What may come before an answer's first output and says nothing of it.
_PREFACE = frozenset({Start, Ping, Usage})

# More of them than this is no preface.
MOST_HELD = 64


def is_output(item: object) -> bool:
    """Whether an item is part of the answer; anything is, but the events `Start`, `Ping` and `Usage`."""
    return item.__class__ not in _PREFACE


async def close_unopened(run: Run[Any], plan: Plan) -> None:
    """Close what was given and not opened, here or anywhere; what can be made again was not made."""
    if plan[0].repeatable:
        return
    try:
        inner = run.inside(*plan)
    except (StreamBusy, StreamConsumed):
        return
    await inner.aclose()


class Series:
    """The iterator over them, in lists.

    Args:
        run: The Run that reads.
        first: What is read first.
        successor: What is read when it fails.
        after_output: Whether a stream that fails after its first output has a successor. If not, what comes before
            the first output is held back until there is some, so that of several beginnings one is given.
        enter: Awaited before the first is opened; what it raises ends the series.

    Memory: at most 64 events that are no output, and one list.
    """

    __slots__ = ("_ask", "_enter", "_first", "_inner", "_next", "_over", "_run", "_successor", "begun")

    def __init__(
        self,
        run: Run[Any],
        first: Plan,
        successor: Successor,
        *,
        after_output: bool = False,
        enter: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.begun = False
        self._run = run
        self._first: Plan | None = first
        self._inner: Run[Any] | None = None
        self._successor = successor
        self._enter = enter
        self._over: BaseException | None = None
        self._next: Callable[[], Awaitable[list[Any]]] = self._end
        self._ask: Callable[[], Awaitable[list[Any]]] = self._guarded if after_output else self._held

    def feed(self, label: str) -> Feed:
        """What a source opens."""
        return Feed(self, shape="lists", closers=[(label, OwnLimits(self.aclose))])

    def open_first(self) -> None:
        """Open the first now, as a Run that is built opens its source; a failure counts when it is asked for an item."""
        try:
            self._open_next(self._take_first())
        except Exception as error:
            self._over = error

    def __aiter__(self) -> Series:
        return self

    def __anext__(self) -> Awaitable[list[Any]]:
        return self._ask()

    async def aclose(self) -> None:
        """Close what is open, or what was given and never opened."""
        first, self._first = self._first, None
        if first is not None:
            await close_unopened(self._run, first)
        inner, self._inner = self._inner, None
        if inner is not None:
            await inner.aclose()

    # -- asking

    async def _held(self) -> list[Any]:
        """The first output, behind what came before it; from then on nothing stands between reader and stream."""
        held: list[Any] = []
        while True:
            try:
                batch = await self._one()
            except StopAsyncIteration:
                self._ask = self._end
                if held:
                    return held
                raise
            except Exception as error:
                try:
                    await self._go_on(error)
                except Exception as last:
                    if not held:
                        raise
                    self._over = last
                    return held
                held = []  # what stood before an output that never came
                continue
            held += batch
            if len(held) > MOST_HELD or any(map(is_output, batch)):
                self.begun = True
                self._ask = self._next
                return held

    async def _guarded(self) -> list[Any]:
        """One list; another stream's where this one fails."""
        while True:
            try:
                batch = await self._one()
            except StopAsyncIteration:
                self._ask = self._end
                raise
            except Exception as error:
                await self._go_on(error)
                continue
            if not self.begun and any(map(is_output, batch)):
                self.begun = True
            return batch

    async def _one(self) -> list[Any]:
        """The next list of the stream that is read now."""
        if self._first is not None:
            if self._enter is not None:
                enter, self._enter = self._enter, None
                await enter()
            self._open_next(self._take_first())
        return await self._next()

    async def _end(self) -> list[Any]:
        """Nothing is open: what could not be opened, what is due, or the end."""
        over, self._over = self._over, None
        if over is not None:
            _raise(over)
        raise StopAsyncIteration

    # -- one after the other

    async def _go_on(self, error: Exception) -> None:
        """Open what comes after a stream that has failed, or raise."""
        self._inner = None
        self._next = self._end
        while True:
            try:
                plan = await self._successor(error, self.begun)
            except Exception:
                self._ask = self._end
                raise
            if plan is None:
                return
            try:
                self._open_next(plan)
            except Exception as failure:
                error = failure
                continue
            return

    def _take_first(self) -> Plan:
        first, self._first = self._first, None
        assert first is not None
        return first

    def _open_next(self, plan: Plan) -> None:
        inner = self._inner = self._run.inside(*plan)
        self._next = inner.lists().__anext__
        if inner.partial is not None:
            self._run.keep_partial(self._partial)

    def _partial(self) -> object:
        return None if self._inner is None else self._inner.partial


def _raise(error: BaseException) -> NoReturn:
    try:
        raise error
    finally:
        del error  # this frame is in its traceback
