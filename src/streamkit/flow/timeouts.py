"""Four clocks on a source: until its first item, between items, in all, and between signs of life.

Two of them count what a reader waits for, and a provider that only sends pings runs into them. The last one
counts whatever comes over the wire (`Run.heard_at`), pings too: a model may think for minutes, and a connection
that is silent for as long is dead. A source without a wire gives a sign of life with each item.

A clock runs only while the source is being waited for: a slow consumer is never timed out, and no
clock reaches into its code.

On asyncio the source is stepped by hand in the consumer's own task, and a timer is armed only when
a step really suspends (an item that is there costs no timer, and nothing is read ahead). The timer is
re-armed lazily. On trio a cancel scope cannot be put around a source's step, because the source may
hold one of its own across its `yield`: there the source has a task of its own behind a channel of one.
"""

from __future__ import annotations

import asyncio
import types
from asyncio import current_task
from collections.abc import AsyncIterator, Callable, Generator, Iterable
from math import inf
from types import AsyncGeneratorType
from typing import Any, Literal

from streamkit.errors import StreamTimeout
from streamkit.flow.channel import Channel
from streamkit.flow.clock import Clock
from streamkit.flow.fuse import END
from streamkit.flow.runs import Run
from streamkit.flow.sources import Feed
from streamkit.flow.strands import Strand
from streamkit.flow.tasks import AsyncioBackend, Timer

__all__ = ["TimeoutBoundary"]

Phase = Literal["first", "idle", "total", "wire"]


class TimeoutBoundary:
    """The `timeout` operator in a plan."""

    own_task = False

    def __init__(self, first: float | None, idle: float | None, total: float | None, wire: float | None) -> None:
        self._limits: dict[Phase, float | None] = {"first": first, "idle": idle, "total": total, "wire": wire}
        given = ", ".join(f"{name}={value:g}" for name, value in self._limits.items() if value is not None)
        self.label = f"timeout({given})"

    def connect(self, strand: Strand, run: Run[Any]) -> Strand:
        clocks = _Clocks(self._limits, run)
        if run.backend.steppable:
            strand.seal()
            watch = _Watch(strand.iterator, clocks, run)
            strand.watch(watch, watch.disarm)
            return strand
        channel: Channel[Any] = Channel(1)
        run.pump(strand, channel, self.label)
        reader = _WatchedReader(channel, clocks)
        return Strand(Feed(reader, shape="drains", closers=[(self.label, reader.close)]), run)


class _Clocks:
    """The limits, and which of them runs out first."""

    __slots__ = ("_limits", "_run", "between", "clock", "first", "total_at", "wire")

    def __init__(self, limits: dict[Phase, float | None], run: Run[Any]) -> None:
        self.clock: Clock = run.clock
        self._limits = limits
        self._run = run
        wire = limits["wire"]
        self.wire: float = inf if wire is None else wire
        if wire is not None:
            run.outermost.listening = True
        idle = limits["idle"]
        self.between: float = inf if idle is None else idle
        self.first: float = self.between if limits["first"] is None else limits["first"]
        self.total_at: float = inf

    def begin(self) -> None:
        """The first item is being asked for."""
        total = self._limits["total"]
        if total is not None:
            self.total_at = self.clock.now() + total

    def deadline(self, seen: bool) -> float:
        """When, from now, the source is too late."""
        return min(self.clock.now() + (self.between if seen else self.first), self.total_at)

    @property
    def over(self) -> bool:
        """Whether the time in all has run out, for a source that never suspends."""
        return self.clock.now() >= self.total_at

    def due(self, deadline: float, asked_at: float) -> float:
        """When the source, asked at `asked_at`, is too late, by what has been heard of it until now."""
        if self.wire == inf:
            return deadline
        return min(deadline, max(self._run.outermost.heard_at, asked_at) + self.wire)

    def error(self, deadline: float, seen: bool, due: float) -> StreamTimeout:
        """What to raise when `due` has passed, which is `deadline` unless the wire fell silent before."""
        phase: Phase = (
            "wire"
            if due < deadline
            else "total"
            if deadline == self.total_at
            else "first"
            if not seen and self._limits["first"] is not None
            else "idle"
        )
        seconds = self._limits[phase] or 0.0
        what = {
            "first": "no first item came",
            "idle": "no further item came",
            "total": "the stream did not end",
            "wire": "nothing came over the wire, not even a ping,",
        }[phase]
        if phase == "idle" and not seen:
            what = "no first item came"
        return StreamTimeout(f"{what} within {seconds:g} s", phase=phase, seconds=seconds)


class _Watch:
    """Steps a source by hand, and waits for a suspended step with a timer that is moved only when it fires.

    The fused loop does the stepping (`fuse.bind`, watched), and calls `wait` when a step suspends.
    """

    __slots__ = (
        "_armed_for",
        "_asked_at",
        "_between",
        "_cancels",
        "_clocks",
        "_deadline",
        "_due",
        "_fired",
        "_first",
        "_iterator",
        "_now",
        "_run",
        "_task",
        "_timer",
        "_total_at",
        "_wire",
    )

    def __init__(self, iterator: Any, clocks: _Clocks, run: Run[Any]) -> None:
        self._iterator: Any = iterator
        self._clocks = clocks
        self._now = clocks.clock.now
        self._first = clocks.first
        self._between = clocks.between
        self._wire = clocks.wire
        self._total_at = inf
        self._asked_at = 0.0
        self._due = inf
        self._run = run
        self._timer: Timer | None = None
        self._armed_for = inf
        self._deadline = inf
        self._fired = False
        self._cancels = 0
        # The task that waits for the source, while it does: whom the timer cancels.
        self._task: asyncio.Task[Any] | None = None

    def begin(self) -> Callable[[], Any]:
        """Start the clocks; what makes one step of the source, to be sent to."""
        self._clocks.begin()
        self._total_at = self._clocks.total_at
        if type(self._iterator) is AsyncGeneratorType and self._clocks.total_at == inf:
            return self._iterator.__anext__  # pyright: ignore[reportUnknownMemberType]
        return self._step

    def _step(self) -> Any:
        if self._clocks.over:
            raise self._clocks.error(self._clocks.total_at, True, inf)
        step = self._iterator.__anext__()
        return step if hasattr(step, "send") else step.__await__()

    async def items(self) -> AsyncIterator[Any]:
        """The same, step by step, for a run without fusion."""
        ask = self.begin()
        seen = False
        while True:
            step = ask()
            try:
                future = step.send(None)
            except StopIteration as stop:
                item = stop.value
            except StopAsyncIteration:
                return
            else:
                item = await self.wait(step, future, seen)
                if item is END:
                    return
            seen = True
            yield item

    @types.coroutine
    def wait(self, step: Any, future: object, seen: bool) -> Generator[Any, Any, Any]:
        """The step's item, or END; `seen` says that it is not the first.

        Written as a generator, which may hand a future straight to the event loop: this runs once per
        item of a slow source.

        Raises:
            StreamTimeout: too late; the step was cancelled and is over.
        """
        now = self._asked_at = self._now()
        deadline = now + (self._between if seen else self._first)
        if deadline > self._total_at:
            deadline = self._total_at
        self._deadline = deadline
        due = deadline if deadline < now + self._wire else now + self._wire
        if due < self._armed_for:
            self._arm(due)
        self._task = current_task()
        try:
            while True:
                try:
                    value = yield future  # pyright: ignore[reportUnknownVariableType]  # whatever the loop sends
                except asyncio.CancelledError as error:
                    if self._fired and self._is_ours():
                        return (yield from self._expire(step, error, self._clocks.error(deadline, seen, self._due)))  # pyright: ignore[reportUnknownVariableType]
                    future = step.throw(error)
                except BaseException as error:
                    future = step.throw(error)
                else:
                    future = step.send(value)
        except StopIteration as stop:
            return stop.value
        except StopAsyncIteration:
            return END
        finally:
            self._task = None

    def _is_ours(self) -> bool:
        """Whether the cancel is this timer's alone; one from outside goes first."""
        self._fired = False
        return self._task is None or self._task.uncancel() <= self._cancels

    async def _expire(self, step: Any, cancel: asyncio.CancelledError, late: StreamTimeout) -> Any:
        backend = self._run.backend
        assert isinstance(backend, AsyncioBackend)
        try:
            future = step.throw(cancel)
        except StopIteration as stop:
            return stop.value  # it had an item after all: that is progress
        except asyncio.CancelledError:
            raise late from None
        except Exception as error:
            raise late from error
        try:
            await backend.rest(step, future, self._run.close_timeout, self._clocks.clock)
        except asyncio.CancelledError:
            # Ours, let go on after a clean-up that had to wait; one that came meanwhile from outside goes first.
            task = current_task()
            if task is not None and task.cancelling() > self._cancels:
                raise
        except Exception as error:
            raise late from error
        raise late from None

    def _arm(self, when: float) -> None:
        self.disarm()
        self._armed_for = when
        self._timer = self._clocks.clock.call_at(when, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self._armed_for = inf
        task = self._task
        if task is None:  # the consumer is at work, not the source
            return
        due = self._due = self._clocks.due(self._deadline, self._asked_at)
        if self._now() < due:
            self._arm(due)
        else:
            self._fired = True
            self._cancels = task.cancelling()
            task.cancel()

    def disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._armed_for = inf


class _WatchedReader:
    """The reading end of a channel, which fails when nothing comes in time."""

    __slots__ = ("_armed_for", "_asked_at", "_channel", "_clocks", "_deadline", "_seen", "_timer", "_waiting")

    def __init__(self, channel: Channel[Any], clocks: _Clocks) -> None:
        self._channel = channel
        self._clocks = clocks
        self._seen = False
        self._timer: Timer | None = None
        self._armed_for = 0.0
        self._deadline = inf
        self._asked_at = 0.0
        self._waiting = False

    def __aiter__(self) -> _WatchedReader:
        return self

    async def __anext__(self) -> Iterable[Any]:
        if not self._seen:
            self._clocks.begin()
        if not self._channel.buffer and not self._channel.ended:
            self._asked_at = self._clocks.clock.now()
            self._deadline = self._clocks.deadline(self._seen)
            due = min(self._deadline, self._asked_at + self._clocks.wire)
            if due < self._armed_for or self._timer is None:
                self._arm(due)
            self._waiting = True
        elif self._clocks.over:
            raise self._clocks.error(self._clocks.total_at, True, inf)
        try:
            return await self._channel.__anext__()
        finally:
            self._seen = True
            self._waiting = False

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._channel.close()

    def _arm(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if when == inf:
            return
        self._armed_for = when
        self._timer = self._clocks.clock.call_at(when, self._fire)

    def _fire(self) -> None:
        self._timer = None
        if not self._waiting:
            return
        due = self._clocks.due(self._deadline, self._asked_at)
        if self._clocks.clock.now() < due:
            self._arm(due)
        else:
            self._channel.fail(self._clocks.error(self._deadline, self._seen, due))
