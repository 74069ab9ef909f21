"""Three clocks on a source: until its first item, between items, and in all.

A clock runs only while the source is being waited for: a slow consumer is never timed out, and no
clock reaches into its code.

On asyncio the source is stepped by hand in the consumer's own task, and a timer is armed only when
a step really suspends (an item that is there costs no timer, and nothing is read ahead). The timer is
re-armed lazily. On trio a cancel scope cannot be put around a source's step, because the source may
hold one of its own across its `yield`: there the source has a task of its own behind a channel of one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any, Literal

from streamkit.errors import StreamTimeout
from streamkit.flow.channel import Channel
from streamkit.flow.clock import Clock
from streamkit.flow.runs import Run, Strand
from streamkit.flow.sources import Feed
from streamkit.flow.tasks import AsyncioBackend, Forward, Timer

__all__ = ["TimeoutBoundary"]

_END: Any = object()

Phase = Literal["first", "idle", "total"]


class TimeoutBoundary:
    """The `timeout` operator in a plan."""

    own_task = False

    def __init__(self, first: float | None, idle: float | None, total: float | None) -> None:
        self._limits: dict[Phase, float | None] = {"first": first, "idle": idle, "total": total}
        given = ", ".join(f"{name}={value:g}" for name, value in self._limits.items() if value is not None)
        self.label = f"timeout({given})"

    def connect(self, strand: Strand, run: Run[Any]) -> Strand:
        clocks = _Clocks(self._limits, run.clock)
        if run.backend.steppable:
            strand.seal()
            strand.wrap(_stepped(strand.iterator, clocks, run), strand.shape, self.label)
            return strand
        channel: Channel[Any] = Channel(1)
        run.pump(strand, channel, self.label)
        reader = _WatchedReader(channel, clocks)
        return Strand(Feed(reader, shape="drains", closers=[(self.label, reader.close)]), run)


class _Clocks:
    """The limits, and which of them runs out first."""

    __slots__ = ("_limits", "_total_at", "clock")

    def __init__(self, limits: dict[Phase, float | None], clock: Clock) -> None:
        self.clock = clock
        self._limits = limits
        self._total_at: float | None = None

    def begin(self) -> None:
        """The first item is being asked for."""
        total = self._limits["total"]
        self._total_at = None if total is None else self.clock.now() + total

    def deadline(self, first: bool) -> tuple[float, Phase] | None:
        """When, from now, the source is too late, and by which clock."""
        now = self.clock.now()
        between: Phase = "first" if first and self._limits["first"] is not None else "idle"
        limit = self._limits[between]
        found: tuple[float, Phase] | None = None if limit is None else (now + limit, between)
        if self._total_at is not None and (found is None or self._total_at < found[0]):
            found = (self._total_at, "total")
        return found

    @property
    def over(self) -> bool:
        """Whether the time in all has run out, for a source that never suspends."""
        return self._total_at is not None and self.clock.now() >= self._total_at

    def error(self, phase: Phase) -> StreamTimeout:
        seconds = self._limits[phase] or 0.0
        what = {"first": "no first item came", "idle": "no further item came", "total": "the stream did not end"}[phase]
        return StreamTimeout(f"{what} within {seconds:g} s", phase=phase, seconds=seconds)


async def _stepped(source: Any, clocks: _Clocks, run: Run[Any]) -> AsyncIterator[Any]:
    """The items of a source, each step taken by hand."""
    ask = source.__anext__
    watch = _Watch(clocks, run)
    clocks.begin()
    first = True
    try:
        while True:
            asked = ask()
            step = asked if hasattr(asked, "send") else asked.__await__()
            try:
                future = step.send(None)
            except StopIteration as stop:
                item = stop.value
                if clocks.over:
                    raise clocks.error("total") from None
            except StopAsyncIteration:
                return
            else:
                item = await watch.wait(step, future, first)
                if item is _END:
                    return
            first = False
            yield item
    finally:
        watch.disarm()


class _Watch:
    """Waits for a suspended step, with a timer that is armed once and moved only when it fires."""

    __slots__ = ("_armed_for", "_clocks", "_deadline", "_fired", "_run", "_task", "_timer", "_waiting")

    def __init__(self, clocks: _Clocks, run: Run[Any]) -> None:
        self._clocks = clocks
        self._run = run
        self._timer: Timer | None = None
        self._armed_for = 0.0
        self._deadline: tuple[float, Phase] | None = None
        self._waiting = False
        self._fired = False
        self._task: asyncio.Task[Any] | None = None

    async def wait(self, step: Any, future: object, first: bool) -> Any:
        """The step's item, or _END.

        Raises:
            StreamTimeout: too late; the step was cancelled and is over.
        """
        self._task = asyncio.current_task()
        self._deadline = self._clocks.deadline(first)
        if self._deadline is not None and (self._timer is None or self._deadline[0] < self._armed_for):
            self._arm(self._deadline[0])
        self._waiting = True
        try:
            while True:
                try:
                    value = await Forward(future)
                except asyncio.CancelledError as error:
                    if self._fired and self._own():
                        return await self._expire(step, error)
                    future = step.throw(error)
                except BaseException as error:
                    future = step.throw(error)
                else:
                    future = step.send(value)
        except StopIteration as stop:
            return stop.value
        except StopAsyncIteration:
            return _END
        finally:
            self._waiting = False
            self._fired = False

    def _own(self) -> bool:
        """Whether the cancel is this timer's alone; one from outside goes first."""
        return self._task is None or self._task.uncancel() == 0

    async def _expire(self, step: Any, cancel: asyncio.CancelledError) -> Any:
        assert self._deadline is not None
        timeout = self._clocks.error(self._deadline[1])
        backend = self._run.backend
        assert isinstance(backend, AsyncioBackend)
        try:
            future = step.throw(cancel)
        except StopIteration as stop:
            return stop.value  # it had an item after all: that is progress
        except asyncio.CancelledError:
            raise timeout from None
        except Exception as error:
            raise timeout from error
        await backend.rest(step, future, self._run.close_timeout, self._clocks.clock)
        raise timeout

    def _arm(self, when: float) -> None:
        self.disarm()
        self._armed_for = when
        self._timer = self._clocks.clock.call_at(when, self._fire)

    def _fire(self) -> None:
        self._timer = None
        if not self._waiting or self._deadline is None or self._fired:
            return
        if self._clocks.clock.now() < self._deadline[0]:
            self._arm(self._deadline[0])
        elif self._task is not None:
            self._fired = True
            self._task.cancel()

    def disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _WatchedReader:
    """The reading end of a channel, which fails when nothing comes in time."""

    __slots__ = ("_armed_for", "_channel", "_clocks", "_deadline", "_first", "_timer", "_waiting")

    def __init__(self, channel: Channel[Any], clocks: _Clocks) -> None:
        self._channel = channel
        self._clocks = clocks
        self._first = True
        self._timer: Timer | None = None
        self._armed_for = 0.0
        self._deadline: tuple[float, Phase] | None = None
        self._waiting = False

    def __aiter__(self) -> _WatchedReader:
        return self

    async def __anext__(self) -> Iterable[Any]:
        if self._first:
            self._clocks.begin()
        if not self._channel.buffer and not self._channel.ended:
            self._deadline = self._clocks.deadline(self._first)
            if self._deadline is not None and (self._timer is None or self._deadline[0] < self._armed_for):
                self._arm(self._deadline[0])
            self._waiting = True
        elif self._clocks.over:
            raise self._clocks.error("total")
        self._first = False
        try:
            return await self._channel.__anext__()
        finally:
            self._waiting = False

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._channel.close()

    def _arm(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed_for = when
        self._timer = self._clocks.clock.call_at(when, self._fire)

    def _fire(self) -> None:
        self._timer = None
        if not self._waiting or self._deadline is None:
            return
        if self._clocks.clock.now() < self._deadline[0]:
            self._arm(self._deadline[0])
        else:
            self._channel.fail(self._clocks.error(self._deadline[1]))
