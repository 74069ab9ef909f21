"""The trio half of `tasks`; imported only inside a trio run."""

from __future__ import annotations

import contextvars
import types
from collections.abc import Awaitable, Callable, Generator
from typing import Any, NoReturn

import trio

from streamkit.flow.tasks import Main, Timer, Timers


class TrioBackend:
    """One trio run."""

    __slots__ = ("_token",)

    name = "trio"
    # A source may hold a cancel scope of its own across its `yield`: nothing of ours may be around its steps.
    steppable = False
    # A cancelled scope cancels whatever is awaited in it: cleaning up needs another.
    scoped = True

    def __init__(self) -> None:
        self._token = trio.lowlevel.current_trio_token()

    @property
    def loop(self) -> object:
        return self._token

    def spawn(self, main: Main, clean_up: Main | None, name: str, done: Callable[[], None]) -> TrioTask:
        task = TrioTask(done)
        trio.lowlevel.spawn_system_task(task.run, main, clean_up, name=name, context=contextvars.copy_context())
        return task

    def waiter(self) -> TrioWaiter:
        return TrioWaiter()

    def crowd(self) -> TrioCrowd:
        return TrioCrowd()

    checkpoint = staticmethod(trio.lowlevel.checkpoint)

    def current_task(self) -> object:
        return trio.lowlevel.current_task()

    def soon_from_thread(self, callback: Callable[[], None]) -> None:
        self._token.run_sync_soon(callback)

    def now(self) -> float:
        return trio.current_time()

    def call_at(self, when: float, callback: Callable[[], None]) -> TrioTimer:
        timer = TrioTimer(when, callback)
        trio.lowlevel.spawn_system_task(timer.run, name="streamkit timer")
        return timer

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)

    async def finish(self, wait: Callable[[], Awaitable[None]], until: Callable[[], bool]) -> None:
        """Wait until it is so, shielded from cancels; the next checkpoint lets them through."""
        with trio.CancelScope(shield=True):
            while not until():
                await wait()

    async def bounded(self, closing: Awaitable[object], seconds: float, clock: Timers) -> bool:
        """Await a clean-up, interrupt it after so many seconds, abandon it after as many more; False if it was cut short.

        No cancel scope is put around it: the source may leave a scope of its own in there, and scopes
        must be left in the order in which they were entered.
        """
        return await _Stepper(closing.__await__(), lambda fire: clock.call_at(clock.now() + seconds, fire)).run()


class _TooLate(BaseException):
    """Raised in a clean-up where it waits; nobody's to catch."""


# A coroutine that ignored it would complain when collected: it is kept, and was named in a warning.
_ABANDONED: list[object] = []


class _Stepper:
    """An awaitable driven by hand, with a timer that interrupts it once and then lets go of it."""

    __slots__ = ("_fired", "_step", "_task", "_timer")

    def __init__(self, step: Any, timer: Callable[[Callable[[], None]], Timer]) -> None:
        self._step = step
        self._timer = timer
        self._fired = 0
        self._task: Any = trio.lowlevel.current_task()

    def _fire(self) -> None:
        self._fired += 1
        # What trio does itself to bring a KeyboardInterrupt to a task that waits.
        if self._task._abort_func is not None:
            self._task._attempt_abort(_raise_too_late)

    @types.coroutine
    def run(self) -> Generator[Any, Any, bool]:
        step, fired = self._step, 0
        try:
            trap = step.send(None)
        except StopIteration:
            return True
        armed = self._timer(self._fire)
        try:
            while True:
                # An outcome: trio throws nothing into a task, it unwraps what it sends.
                outcome = yield trap
                if self._fired > 1:
                    _ABANDONED.append(step)
                    return False
                trap = step.send(outcome)
                if self._fired > fired:
                    fired = self._fired
                    armed = self._timer(self._fire)
        except StopIteration:
            return self._fired == 0
        except _TooLate:
            return False
        except BaseExceptionGroup as group:
            rest = group.split(_TooLate)[1]
            if rest is None:
                return False
            raise rest from None
        finally:
            armed.cancel()


def _raise_too_late() -> NoReturn:
    raise _TooLate


class TrioTask:
    """A system task in two parts, each in a scope of its own: a cancelled main does not spoil its clean-up."""

    __slots__ = ("_done", "_scope", "done")

    def __init__(self, done: Callable[[], None]) -> None:
        self._done = done
        self._scope = trio.CancelScope()
        self.done = False

    async def run(self, main: Main, clean_up: Main | None) -> None:
        try:
            left = clean_up
            with self._scope:
                try:
                    await main()
                finally:
                    if left is not None and (not self._scope.cancel_called or self._holds_scopes()):
                        clean, left = left, None
                        await clean()
            if left is not None:
                self._scope = trio.CancelScope()
                with self._scope:
                    await left()
        finally:
            self.done = True
            self._done()

    def _holds_scopes(self) -> bool:
        """Whether a source that waits at its `yield` holds a scope, which must be left before this task's own.

        trio has no public way to ask; where the private one is gone the answer is no, which is what most sources do.
        """
        task: Any = trio.lowlevel.current_task()
        scope: Any = self._scope
        return getattr(task, "_cancel_status", None) is not getattr(scope, "_cancel_status", None)

    def cancel(self) -> None:
        self._scope.cancel()


class TrioTimer:
    """A system task that sleeps, then calls."""

    __slots__ = ("_callback", "_scope", "_when")

    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self._when = when
        self._callback = callback
        self._scope = trio.CancelScope()

    async def run(self) -> None:
        with self._scope:
            await trio.sleep_until(self._when)
            self._callback()

    def cancel(self) -> None:
        self._scope.cancel()


class TrioWaiter:
    """Parks the current task in trio's own scheduler."""

    __slots__ = ("_task",)

    def __init__(self) -> None:
        self._task: trio.lowlevel.Task | None = None

    async def wait(self) -> None:
        self._task = trio.lowlevel.current_task()

        def abort(_: Any) -> trio.lowlevel.Abort:
            self._task = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def wake(self) -> None:
        if self._task is not None:
            trio.lowlevel.reschedule(self._task)
            self._task = None


class TrioCrowd:
    """Tasks parked in trio's own scheduler, which wakes as many as one likes in a batch."""

    __slots__ = ("sitting",)

    def __init__(self) -> None:
        self.sitting: dict[trio.lowlevel.Task, None] = {}

    def seat(self) -> TrioSeat:
        return TrioSeat(self)

    def wake(self) -> None:
        sitting, self.sitting = self.sitting, {}
        for task in sitting:
            trio.lowlevel.reschedule(task)


class TrioSeat:
    """One task's place in a crowd."""

    __slots__ = ("_crowd", "blocking")

    direct = False  # trio's tasks wait by coroutines of its own

    def __init__(self, crowd: TrioCrowd) -> None:
        self._crowd = crowd
        self.blocking = False

    def __await__(self) -> Generator[Any, Any, None]:
        return self._wait().__await__()

    async def _wait(self) -> None:
        task = trio.lowlevel.current_task()
        crowd = self._crowd
        crowd.sitting[task] = None

        def abort(_: Any) -> trio.lowlevel.Abort:
            crowd.sitting.pop(task, None)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)
