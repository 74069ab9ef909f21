"""Operators that read several streams until one of them has won.

A stream wins by its first output; the events `Start`, `Ping` and `Usage` are none, and are held back until some comes. The others
are told to leave there and then, and clean up while the winner is read; what goes wrong in that is nobody's concern any more. A
stream that fails or ends before has lost. When all have lost the first failure is raised, with notes of the others; when none
has failed the result is what the first to end had held back.

`race` begins all of them together. `hedge` begins the first, and one more whenever the time is up or one has lost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from streamkit.errors import scrub
from streamkit.flow.channel import Channel
from streamkit.flow.plan import check_seconds
from streamkit.flow.pumps import Job, Pump
from streamkit.flow.runs import Run
from streamkit.flow.series import MOST_HELD, is_output
from streamkit.flow.siblings import Given, Plan, close_unbegun, combined, plans_of
from streamkit.flow.sources import Feed
from streamkit.flow.streams import Stream

__all__ = ["hedge", "race"]

T = TypeVar("T")

# Items of the winner read ahead of the consumer.
AHEAD = 16


def race(*streams: Given[T]) -> Stream[T]:
    """The stream that gives output first; the others are closed.

    Args:
        streams: At least one; anything that `sk.stream` takes. All are begun together, each in a task of its own.

    Yields:
        All items of the winner. The others are told to leave when it gives its first output, and not after its end;
        output is anything but the events `Start`, `Ping` and `Usage`. One that fails or ends without any has lost; if none
        has any it ends empty.

    Memory: 16 items of the winner, and at most 64 events of each that has given no output.
    Cancellation: all sources are closed, each in its own task.
    Raises:
        ConfigError, TypeError: no streams, or one twice that can be read only once, at the call.
        The first failure, if all have lost; the others are notes on it. An error of the winner, behind its items. Errors
        of those that lost are dropped, and so are those of their clean-up.

    >>> run(race(stream([]), stream(["a", "b"])).collect())
    ['a', 'b']
    """
    plans = plans_of("race", streams)

    async def begin(contest: _Contest) -> None:
        contest.begin_all()

    return combined("race", plans, partial(_open, plans, begin))


def hedge(*streams: Given[T], after: float) -> Stream[T]:
    """The first stream, and if it is slow to begin, the next one too: the first item wins.

    Args:
        streams: At least one; anything that `sk.stream` takes. Give callables: one that is not needed is never called.
        after: Seconds without output after which one more is begun. A stream that fails or ends without any lets the next
            one begin at once.

    Yields:
        All items of the winner: the first that gives output, which is anything but the events `Start`, `Ping` and `Usage`. The
        others are told to leave then.

    Memory: 16 items of the winner, and at most 64 events of each that has given no output.
    Cancellation: all that were begun are closed, each in its own task.
    Raises:
        ConfigError, TypeError: no streams, one twice that can be read only once, or no time, at the call.
        The first failure, if all have lost; the others are notes on it. An error of the winner, behind its items.

    >>> run(hedge(stream(lambda: ["a"]), stream(lambda: ["b"]), after=2.0).collect())
    ['a']
    """
    check_seconds("hedge", "after", after)
    plans = plans_of("hedge", streams)

    async def begin(contest: _Contest) -> None:
        contest.begin_next()
        contest.begin_others_after(after)

    return combined("hedge", plans, partial(_open, plans, begin))


def _open(plans: Sequence[Plan], begin: Callable[[_Contest], Awaitable[None]], run: Run[Any]) -> Feed:
    channel: Channel[Any] = Channel(AHEAD)
    contest = _Contest(run, plans, channel)

    async def start() -> Any:
        await begin(contest)
        return channel

    return Feed(
        channel, shape="drains", start=start, closers=[("what was not begun", contest.close_rest), ("the race", channel.close)]
    )


class _Entrant:
    """One stream of a contest."""

    __slots__ = ("held", "label", "pump")

    def __init__(self, label: str) -> None:
        self.label = label
        self.pump: Pump | None = None
        # What it gave that is no output yet: a `Start` says nothing of when an answer will come.
        self.held: list[Any] = []


class _Contest:
    """The streams of one Run, of which one may win."""

    def __init__(self, run: Run[Any], plans: Sequence[Plan], channel: Channel[Any]) -> None:
        self._run = run
        self._channel = channel
        self._append = channel.buffer.append
        self._rest: deque[Plan] = deque(plans)
        # Those that run and have given nothing yet.
        self._open: list[_Entrant] = []
        self._winner: _Entrant | None = None
        self._failure: BaseException | None = None
        # What the first that ended without any output had given.
        self._empty: list[Any] | None = None
        # Whether it is over for all, or one has won: nobody else begins.
        self._decided = False
        self._next_now = False
        self._waiter = run.backend.waiter()

    # -- beginning

    def begin_all(self) -> None:
        """Begin one after the other, unless one has won meanwhile."""
        while self._rest and not self._decided:
            self.begin_next()

    def begin_next(self) -> None:
        """Begin the next one, in a task of its own."""
        source, parts = self._rest.popleft()
        entrant = _Entrant(source.label)
        self._open.append(entrant)
        try:
            inner = self._run.inside(source, parts)
        except BaseException as error:
            self._ended(entrant, error)
            return
        entrant.pump = self._run.launch(
            inner, self._channel, source.label, finish=partial(self._ended, entrant), offer=partial(self._offer, entrant)
        )

    def begin_others_after(self, seconds: float) -> None:
        """Begin one more whenever so much time is over without an item, or one has lost."""
        if self._rest and not self._decided:
            self._run.job(partial(self._begin_others, seconds), "the next of a hedge")

    async def _begin_others(self, seconds: float, job: Job) -> None:
        clock = self._run.clock
        while self._rest:
            timer = clock.call_at(clock.now() + seconds, self._hurry)
            try:
                while not (self._next_now or self._decided):
                    await self._waiter.wait()
            finally:
                timer.cancel()
            if self._decided:
                return
            self._next_now = False
            self.begin_next()

    def _hurry(self) -> None:
        self._next_now = True
        self._waiter.wake()

    # -- told by the streams' tasks

    def _offer(self, entrant: _Entrant, item: Any) -> None:
        if entrant is not self._winner:
            if self._winner is not None:  # it has lost, and gives one more before it learns of it
                return
            if not is_output(item) and len(entrant.held) < MOST_HELD:
                entrant.held.append(item)
                return
            self._win(entrant)
        self._append(item)

    def _win(self, entrant: _Entrant) -> None:
        self._winner = entrant
        self._open.remove(entrant)
        self._channel.extend(entrant.held)
        self._decide()
        for other in self._open:
            if other.pump is not None:
                other.pump.leave()

    def _ended(self, entrant: _Entrant, error: BaseException | None) -> None:
        """One is over and closed."""
        if entrant is self._winner:
            self._finish(error)
        elif self._winner is None:
            self._open.remove(entrant)
            if error is not None and not isinstance(error, Exception):
                self._finish(error)
            else:
                self._lose(entrant, error)

    def _lose(self, entrant: _Entrant, error: Exception | None) -> None:
        if error is None and self._empty is None:
            self._empty = entrant.held
        if self._failure is None:
            self._failure = error
        elif error is not None and error is not self._failure:
            self._failure.add_note(f"{entrant.label} failed as well: {type(error).__name__}: {scrub(str(error))}")
        if self._rest:
            self._hurry()
        elif not self._open:
            if self._failure is None:
                self._channel.extend(self._empty or ())
            self._finish(self._failure)

    def _finish(self, error: BaseException | None) -> None:
        self._decide()
        if error is not None:
            self._channel.fail(error)
        self._channel.end()

    def _decide(self) -> None:
        self._decided = True
        self._waiter.wake()

    # -- the way out

    async def close_rest(self) -> None:
        """Close what was never begun."""
        self._decide()
        rest = list(self._rest)
        self._rest.clear()
        await close_unbegun(self._run, rest)
