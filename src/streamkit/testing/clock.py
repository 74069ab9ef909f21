"""A clock that does not tick: it jumps to the next timer when nobody has anything left to do.

    async with VirtualClock() as clock:
        assert [["a"], ["b"]] == await (timed("a", 1.0, "b") | sk.batch(9, within=0.5)).collect()
        assert 1.0 == clock.now()

Put in place by `use_clock`, it moves the timers and sleeps of streamkit and of sources that sleep by
`current_clock().sleep`. The event loop's own clock is left alone: a source that waits for a socket, or
calls `asyncio.sleep`, really waits.

How it moves. A driver task looks whether every other task of the loop is waiting for something. Then
the earliest timer runs, at its time; then the driver looks again. So a test takes no real time, and
goes the same way each time. Two things hold the clock: a reader that waits for a streamkit thread (for at
most `THREAD_PATIENCE` real seconds: a thread that blocks for ever must not stop the time), and another
VirtualClock inside this one.

When everybody waits and no timer is left, the test would hang. After `patience` real seconds
`Deadlock` is raised in the task that entered the clock, at the very place where it waits.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import sys
import weakref
from collections.abc import AsyncIterator, Callable
from math import inf, isfinite
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self

from streamkit.errors import ConfigError
from streamkit.flow.clock import current_clock, use_clock
from streamkit.flow.streams import Stream, stream
from streamkit.flow.tasks import Backend, Task, Waiter, current_backend
from streamkit.flow.threads import readers_waiting

if TYPE_CHECKING:
    from typing_extensions import TypeIs

__all__ = ["Deadlock", "VirtualClock", "timed"]

# Real seconds that a thread may take for one item before its reader counts as one that waits for ever.
THREAD_PATIENCE = 1.0

# Real seconds between two looks while only threads or sockets can bring news.
POLL = 0.002

# Looks in a row that must find every task waiting: callbacks that wake a task next may wake the one that looks first.
QUIET_LOOKS = 6

# Looks in a row after which a task that is cancelled anew at each turn counts as waiting: a level-triggered scope
# does that to one that must finish a clean-up first.
SPINNING_LOOKS = 200

# Tasks of drivers: a driver is never idle while it looks, and never what a test is about.
_DRIVERS: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()


class Deadlock(AssertionError):
    """Every task waits and no timer is set: nothing can ever happen. Raised where the test waits."""


class VirtualClock:
    """Seconds that pass only when everybody waits.

    Args:
        start: What `now()` says at first.
        patience: Real seconds to wait for news from outside (a thread, a socket) before a test in
            which nothing can happen fails with `Deadlock`.

    Memory: its timers. Cancellation: a cancelled sleep forgets its timer.

    >>> import asyncio
    >>> async def main():
    ...     async with VirtualClock() as clock:
    ...         await clock.sleep(3600)
    ...         return clock.now()
    >>> asyncio.run(main())
    3600.0
    """

    def __init__(self, *, start: float = 0.0, patience: float = 2.0) -> None:
        if not isfinite(start) or start < 0:
            raise ConfigError(f"VirtualClock(start={start!r}): a time is 0 or more seconds")
        if not patience > 0:
            raise ConfigError(f"VirtualClock(patience={patience!r}): must be more than 0 real seconds")
        self._now = float(start)
        self._patience = patience
        self._timers: list[_Timer] = []
        self._made = 0
        self._held = 0
        self._outer: VirtualClock | None = None
        self._before: Any = None
        self._backend: Backend | None = None
        self._host: Any = None
        self._driver: Task | None = None
        self._over: Waiter | None = None
        self._failure: BaseException | None = None
        self._blocked: frozenset[object] = frozenset()

    # -- what streams ask of a clock

    def now(self) -> float:
        """Seconds since the start."""
        return self._now

    def call_at(self, when: float, callback: Callable[[], None]) -> _Timer:
        """Run `callback`, in this context, when everybody waits and no earlier timer is left."""
        self._made += 1
        timer = _Timer(when, self._made, callback)
        heapq.heappush(self._timers, timer)
        return timer

    async def sleep(self, seconds: float) -> None:
        """Wait until so many seconds have passed here."""
        backend = current_backend()
        if seconds <= 0:
            await backend.checkpoint()
            return
        waiter = backend.waiter()
        awake: list[bool] = []

        def wake() -> None:
            awake.append(True)
            waiter.wake()

        timer = self.call_at(self._now + seconds, wake)
        try:
            while not awake:
                await waiter.wait()
        finally:
            timer.cancel()

    @property
    def pending(self) -> int:
        """Timers that are set and not cancelled: 0 after a stream that cleaned up behind itself."""
        return sum(not timer.cancelled for timer in self._timers)

    # -- in its place

    async def __aenter__(self) -> Self:
        """Put it in the place of the loop's clock, for this context, and start the driver."""
        if self._driver is not None:
            raise RuntimeError("this VirtualClock is in use; make another")
        outer = current_clock()
        if isinstance(outer, VirtualClock):
            self._outer = outer
            outer._held += 1
        token = use_clock(self)
        self._before = None if token.old_value is contextvars.Token.MISSING else token.old_value
        self._backend = backend = current_backend()
        self._host = backend.current_task()
        self._blocked = readers_waiting()  # what waited before is not this clock's
        self._over = backend.waiter()
        self._driver = backend.spawn(self._drive, _nothing, "streamkit virtual clock", self._over.wake)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop the driver and put the former clock back."""
        use_clock(self._before)
        backend, driver, over = self._backend, self._driver, self._over
        assert backend is not None and driver is not None and over is not None
        driver.cancel()
        await backend.finish(over.wait, lambda: driver.done)
        self._driver = None
        if self._outer is not None:
            self._outer._held -= 1
            self._outer = None
        failure, self._failure = self._failure, None
        if failure is not None and error is None:
            raise failure

    async def _drive(self) -> None:
        backend = self._backend
        assert backend is not None
        if _of_asyncio(self._host):
            task = asyncio.current_task()
            assert task is not None
            _DRIVERS.add(task)
        # Counted in looks and not by a clock of the real world: while a debugger or a fixture stands still, so does this.
        stuck = 0
        blocked = self._blocked
        asked: dict[object, int] = {}  # how often each thread that is waited for has been looked at
        while True:
            await _others_wait()
            if self._held:
                await backend.sleep(POLL)
            elif waits := readers_waiting() - blocked:
                asked = {wait: asked.get(wait, 0) + 1 for wait in waits}
                blocked |= {wait for wait, looks in asked.items() if looks * POLL >= THREAD_PATIENCE}
                await backend.sleep(POLL)
            elif (timer := self._next()) is not None:
                stuck = 0
                self._now = max(self._now, timer.when)
                self._run(timer)
            elif stuck * POLL < self._patience:
                stuck += 1
                await backend.sleep(POLL)
            else:
                stuck = 0
                _raise_in(self._host, Deadlock(f"every task waits and no timer is set, at {self._now:g} s: this would never end"))

    def _next(self) -> _Timer | None:
        while self._timers:
            timer = heapq.heappop(self._timers)
            if not timer.cancelled and timer.when < inf:
                return timer
        return None

    def _run(self, timer: _Timer) -> None:
        try:
            timer.run()
        except BaseException as error:  # a timer has no caller: told when the clock is left
            self._failure = self._failure or error


class _Timer:
    """A callback at a time; those of one time run in the order in which they were made."""

    __slots__ = ("_callback", "_context", "_made", "cancelled", "when")

    def __init__(self, when: float, made: int, callback: Callable[[], None]) -> None:
        self.when = when
        self.cancelled = False
        self._made = made
        self._callback: Callable[[], None] | None = callback
        self._context: contextvars.Context | None = contextvars.copy_context()

    def __lt__(self, other: _Timer) -> bool:
        return (self.when, self._made) < (other.when, other._made)

    def cancel(self) -> None:
        """Forget the callback."""
        self.cancelled = True
        self._callback = self._context = None

    def run(self) -> None:
        """Call it, once."""
        callback, context = self._callback, self._context
        self.cancel()
        if callback is not None and context is not None:
            context.run(callback)


def timed(*script: object) -> Stream[Any]:
    """A stream of items and pauses: a float is a pause in seconds, an exception is raised, all else is an item.

    The pauses are slept on the clock in place, so under a `VirtualClock` they take no time.

    Args:
        script: Items, pauses, at the end perhaps an exception. An int is an item.

    Yields:
        The items, each when the pauses before it are over.

    Memory: nothing. Cancellation: wakes it from its pause. It can be run again.

    >>> import asyncio
    >>> async def main():
    ...     async with VirtualClock() as clock:
    ...         return await timed("a", 1.5, "b").collect(), clock.now()
    >>> asyncio.run(main())
    (['a', 'b'], 1.5)
    """

    async def play() -> AsyncIterator[Any]:
        for step in script:
            if isinstance(step, float):
                await current_clock().sleep(step)
            elif isinstance(step, BaseException):
                raise step
            else:
                yield step

    return stream(play)


async def _nothing() -> None:
    """A driver leaves nothing to clean up."""


async def _others_wait() -> None:
    """Return when every other task of this loop waits for something that has not happened."""
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_task():
        from trio.testing import wait_all_tasks_blocked

        await wait_all_tasks_blocked()
        return
    quiet = spinning = 0
    while quiet < QUIET_LOOKS and spinning < SPINNING_LOOKS:
        await asyncio.sleep(0)
        busy = [task for task in asyncio.all_tasks() if task not in _DRIVERS and not _waits(task)]
        quiet = 0 if busy else quiet + 1
        spinning = spinning + 1 if all(task.cancelling() for task in busy) else 0


def _waits(task: asyncio.Task[Any]) -> bool:
    waiter = _waiter_of(task)
    return waiter is not None and not waiter.done()


def _waiter_of(task: asyncio.Task[Any]) -> asyncio.Future[Any] | None:
    # What asyncio's own task printing and anyio's wait_all_tasks_blocked look at as well.
    waiter: asyncio.Future[Any] | None = getattr(task, "_fut_waiter", None)
    return waiter


def _of_asyncio(task: object) -> TypeIs[asyncio.Task[Any]]:
    return isinstance(task, asyncio.Task)


def _raise_in(host: Any, error: BaseException) -> None:
    """Raise in a task that waits, where it waits, so that its traceback shows the place."""
    if _of_asyncio(host):
        task = host
        waiter = _waiter_of(task)
        while _of_asyncio(waiter):
            task, waiter = waiter, _waiter_of(waiter)
        if waiter is None or waiter.done():
            host.cancel(str(error))
        else:
            waiter.set_exception(error)
        return

    def throw() -> NoReturn:
        raise error

    # What trio does itself to bring a KeyboardInterrupt to its main task.
    if getattr(host, "_abort_func", None) is not None:
        host._attempt_abort(throw)
