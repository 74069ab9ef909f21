"""Streams read one after the other, each as a Run of its own inside the Run that reads them: the ground of `retry`,
`fallback`, `catch` and `continue_on_cut`.

How one stream gives way to another. It fails, and is closed by that; then its successor is asked for, perhaps after
a wait; then that one is opened. All of it happens in the task that reads, so a source keeps its context and its
cancel scopes. At any time one of them is open, or none.

    held     nothing that counts as output has come: what has come is held back, and dropped if the stream fails
    begun    output was given. Where an error is then final, the stream's own iterator is what the reader asks
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, TypeAlias

from streamkit.events.model import Ping, Start, Usage
from streamkit.flow.channel import no_end
from streamkit.flow.fuse import Shape
from streamkit.flow.runs import Run
from streamkit.flow.siblings import Plan
from streamkit.flow.sources import Feed
from streamkit.flow.strands import OwnLimits

__all__ = ["MOST_HELD", "Series", "Successor", "is_output"]

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


class Series:
    """The iterator over them: in lists where the first of them reads lists, else item by item.

    Args:
        run: The Run that reads.
        first: What is read first. It is opened now, as a Run that is built opens its source; if that fails, it counts
            when the first item is asked for.
        successor: What is read when it fails.
        after_output: Whether a stream that fails after its first output has a successor. If not, what comes before
            the first output is held back until there is some, so that of several beginnings one is given.
        lists: Whether to give lists in any case.

    Memory: at most 64 events that are no output, and one list.
    """

    __slots__ = ("_ask", "_inner", "_is_output", "_next", "_over", "_run", "_successor", "begun", "shape")

    def __init__(
        self, run: Run[Any], first: Plan, successor: Successor, *, after_output: bool = False, lists: bool = False
    ) -> None:
        self.begun = False
        self.shape: Shape = "lists"
        self._run = run
        self._inner: Run[Any] | None = None
        self._successor = successor
        self._over: BaseException | None = None
        self._next: Callable[[], Awaitable[Any]] = self._end
        self._ask: Callable[[], Awaitable[Any]] = self._guarded if after_output else self._held
        try:
            inner = run.inside(*first)
        except Exception as error:
            self._over = error
        else:
            if inner.shape == "items" and not lists:
                self.shape = "items"
            self._take(inner)
        self._is_output: Callable[[Any], bool] = is_output if self.shape == "items" else _any_output

    def feed(self, label: str) -> Feed:
        """What a source opens."""
        feed = Feed(self, shape=self.shape, closers=[(label, OwnLimits(self.aclose))])
        if self._inner is not None:
            feed.forget = self._inner.give_back
        return feed

    def __aiter__(self) -> Series:
        return self

    def __anext__(self) -> Awaitable[Any]:
        return self._ask()

    async def aclose(self) -> None:
        """Close what is open."""
        if self._inner is not None:
            await self._inner.aclose()

    # -- asking

    async def _held(self) -> Any:
        """The first output, behind what came before it; from then on nothing stands between reader and stream."""
        held: list[Any] = []
        while True:
            try:
                got = await self._next()
            except StopAsyncIteration:
                self._ask = self._end
                if held:
                    return self._given(held)
                raise
            except Exception as error:
                try:
                    await self._go_on(error)
                except Exception as last:
                    if not held:
                        raise
                    self._over = last
                    return self._given(held)
                held = []  # what stood before an output that never came
                continue
            held += (got,) if self.shape == "items" else got
            if len(held) > MOST_HELD or self._is_output(got):
                self.begun = True
                self._ask = self._next
                return self._given(held)

    def _given(self, held: list[Any]) -> Any:
        """What was held back: at once, or one by one before all else."""
        if self.shape == "lists":
            return held
        rest = deque(held)
        first = rest.popleft()
        if rest:
            onward = self._ask

            async def replay() -> Any:
                if rest:
                    return rest.popleft()
                self._ask = onward
                return await onward()

            self._ask = replay
        return first

    async def _guarded(self) -> Any:
        """What comes next; of another stream where this one fails."""
        while True:
            try:
                got = await self._next()
            except StopAsyncIteration:
                self._ask = self._end
                raise
            except Exception as error:
                await self._go_on(error)
                continue
            if not self.begun:
                self.begun = self._is_output(got)
            return got

    async def _end(self) -> Any:
        """Nothing is open: what could not be opened, what is due, or the end."""
        over, self._over = self._over, None
        if over is not None:
            _raise(over)
        raise StopAsyncIteration

    # -- one after the other

    async def _go_on(self, error: Exception) -> None:
        """Open what comes after a stream that has failed, or raise."""
        self._next = self._end
        while True:
            try:
                plan = await self._successor(error, self.begun)
            except Exception as last:
                self._ask = self._end
                if isinstance(last, StopAsyncIteration):
                    raise no_end(last) from last
                raise
            if plan is None:
                return
            try:
                self._take(self._run.inside(*plan))
            except Exception as failure:
                error = failure
                continue
            return

    def _take(self, inner: Run[Any]) -> None:
        """Read this one from now on."""
        self._inner = inner
        self._next = (aiter(inner) if self.shape == "items" else inner.lists()).__anext__
        if inner.partial is not None:
            self._run.keep_partial(self._partial)

    def _partial(self) -> object:
        return None if self._inner is None else self._inner.partial


def _any_output(items: list[Any]) -> bool:
    return any(map(is_output, items))


def _raise(error: BaseException) -> NoReturn:
    try:
        raise error
    finally:
        del error  # this frame is in its traceback
