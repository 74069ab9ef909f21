"""Tasks of our own, on asyncio (uvloop too) and on trio: spawn, cancel, park, wake.

The little that the kernel needs of an event loop, and nothing more. A background task belongs to
the Run that started it: on asyncio a plain task, on trio a system task with the caller's context
and a cancel scope of its own, because a nursery around the consumer's code would be left in the
wrong order (two streams left crosswise) or would wait for a reader that never comes back.

What must not happen: an exception leaving a system task (trio would end the whole run), and a
second cancel reaching a task that has begun to clean up.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import itertools
import sys
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Generator
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

__all__ = ["AsyncioBackend", "Backend", "Crowd", "Forward", "Main", "Seat", "Task", "Timer", "Timers", "Waiter", "current_backend"]

Main: TypeAlias = Callable[[], Coroutine[Any, Any, None]]


class Timer(Protocol):
    """A callback that will run at a time; `cancel` may be called at any moment, also afterwards."""

    def cancel(self) -> None: ...


class Waiter(Protocol):
    """A place where one task parks until another wakes it. Waking nobody is harmless.

    `wait()` is awaited at once: a wake between the call and the await counts.
    """

    def wait(self) -> Awaitable[None]: ...
    def wake(self) -> None: ...


class Seat(Protocol):
    """One task's place in a crowd: awaited, it parks the task until the crowd is woken, and costs nobody else anything.

    A cancel of the task that sits there ends its wait alone. `direct` says that a generator-based coroutine may set `blocking` and
    yield the seat in the place of awaiting it, as asyncio's own futures do, which saves a hot one two frames.
    """

    direct: bool
    blocking: bool

    def __await__(self) -> Generator[Any, Any, None]: ...


class Crowd(Protocol):
    """Many tasks that wait for the same: all are woken at once, in the order in which they sat down, in the next turn."""

    @property
    def sitting(self) -> Collection[object]:
        """Who waits now."""
        ...

    def seat(self) -> Seat:
        """A place for one task, for as many waits as it likes, one at a time."""
        ...

    def wake(self) -> None: ...


class Task(Protocol):
    """A background task. `cancel` interrupts what it awaits now; `done` is True once it has ended."""

    @property
    def done(self) -> bool: ...
    def cancel(self) -> None: ...


class Timers(Protocol):
    """What can call back at a time: an event loop, or a clock put in its place."""

    def now(self) -> float: ...
    def call_at(self, when: float, callback: Callable[[], None]) -> Timer: ...


class Backend(Protocol):
    """One event loop, as the kernel sees it."""

    name: str
    steppable: bool
    scoped: bool

    @property
    def loop(self) -> object:
        """What all backends of one running event loop have in common."""
        ...

    def spawn(self, main: Main, clean_up: Main | None, name: str, done: Callable[[], None]) -> Task:
        """Start a task: `main`, then `clean_up` whatever became of it, if there is any, then the callback `done`."""
        ...

    def waiter(self) -> Waiter: ...
    def crowd(self) -> Crowd: ...
    async def checkpoint(self) -> None: ...
    async def finish(self, wait: Callable[[], Awaitable[None]], until: Callable[[], bool]) -> None: ...
    async def bounded(self, closing: Awaitable[object], seconds: float, clock: Timers) -> bool: ...
    def current_task(self) -> object: ...
    def soon_from_thread(self, callback: Callable[[], None]) -> None: ...
    def now(self) -> float: ...
    def call_at(self, when: float, callback: Callable[[], None]) -> Timer: ...
    async def sleep(self, seconds: float) -> None: ...


def current_backend() -> Backend:
    """The backend of the running event loop.

    Raises:
        RuntimeError: no event loop runs in this thread.
    """
    # Trio first: in guest mode both run in one thread, and only trio knows whose task this is.
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_task():
        from streamkit.flow.trio_tasks import TrioBackend

        return TrioBackend()
    global _newest  # one for all Runs of a loop, of which there may be thousands
    loop, backend = asyncio.get_running_loop(), _newest
    if backend is None or backend.loop is not loop:
        _newest = backend = AsyncioBackend(loop)
    return backend


_newest: AsyncioBackend | None = None


async def _checkpoint() -> None:
    await asyncio.sleep(0)


# The loop knows its tasks by weak references: a Run that is dropped would take the tasks with it, in the middle of a step.
_RUNNING: set[asyncio.Task[None]] = set()


class AsyncioBackend:
    """asyncio and uvloop."""

    __slots__ = ("_done", "_get_loop", "_loop", "call_at", "now")

    name = "asyncio"
    # An `__anext__` may be stepped by hand inside the task that awaits it.
    steppable = True
    # A cancel comes once, so that a task may clean up where it was cancelled.
    scoped = False

    if TYPE_CHECKING:  # slots below: looked up once, called without a frame of ours

        def now(self) -> float: ...
        def call_at(self, when: float, callback: Callable[[], None]) -> Timer: ...

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        # The standard loop's `time` is this function behind a Python frame, and timed stages ask once per item.
        self.now = time.monotonic if type(loop).time is asyncio.BaseEventLoop.time else loop.time  # type: ignore[method-assign]  # a slot
        self.call_at = loop.call_at  # type: ignore[method-assign]  # a slot
        # For all crowds and seats of the loop, of which there may be thousands: see there.
        self._get_loop: Callable[[], asyncio.AbstractEventLoop] = itertools.repeat(loop).__next__
        self._done: asyncio.Future[None] = asyncio.Future(loop=loop)
        self._done.set_result(None)

    @property
    def loop(self) -> object:
        return self._loop

    def spawn(self, main: Main, clean_up: Main | None, name: str, done: Callable[[], None]) -> AsyncioTask:
        # One context for the task and for what is told of it: each call of the loop would copy one.
        context = contextvars.copy_context()
        loop, coroutine = self._loop, main() if clean_up is None else _both(main, clean_up)
        if loop.get_task_factory() is None:
            task = loop.create_task(coroutine, name=name, context=context)
        else:  # an application's own may be older than this argument
            task = loop.create_task(coroutine, name=name)
        return AsyncioTask(task, context, done)

    def waiter(self) -> AsyncioWaiter:
        return AsyncioWaiter(self._loop)

    def crowd(self) -> AsyncioCrowd:
        return AsyncioCrowd(self._loop, self._get_loop, self._done)

    # No method: whoever keeps one keeps an object more, and each Run keeps this.
    checkpoint = staticmethod(_checkpoint)

    def current_task(self) -> object:
        return asyncio.current_task(self._loop)

    def soon_from_thread(self, callback: Callable[[], None]) -> None:
        self._loop.call_soon_threadsafe(callback)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def finish(self, wait: Callable[[], Awaitable[None]], until: Callable[[], bool]) -> None:
        """Wait until it is so, whatever cancels this task meanwhile; then let the cancel through.

        A level-triggered scope around the consumer cancels again and again: each is noted and the
        wait goes on, because leaving it would leave an open source behind.
        """
        cancelled: asyncio.CancelledError | None = None
        while not until():
            try:
                await wait()
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled

    async def bounded(self, closing: Awaitable[object], seconds: float, clock: Timers) -> bool:
        """Await a clean-up, cancel it after so many seconds, abandon it after as many more; False if it was cut short.

        It is stepped by hand in this very task: a wrapper task would close the source in another
        task than the one that iterated it.
        """
        step = closing.__await__()
        try:
            future = step.send(None)
        except StopIteration:
            return True
        return await self.rest(step, future, seconds, clock)

    async def rest(self, step: Any, future: object, seconds: float, clock: Timers) -> bool:
        """The rest of a step that has suspended on `future`, with the limits of `bounded`."""
        return await _Stepper(step, lambda fire: clock.call_at(clock.now() + seconds, fire)).run(future)


async def _both(main: Main, clean_up: Main) -> None:
    try:
        running = main()
        del main
        await running
    finally:
        await clean_up()


class AsyncioTask:
    """An `asyncio.Task`, cancelled by its own `cancel()`.

    It is what that task calls when it is over: a bound method for each of thousands weighs more than this object.
    """

    __slots__ = ("_told", "task")

    def __init__(self, task: asyncio.Task[None], context: contextvars.Context, told: Callable[[], None]) -> None:
        self.task = task
        self._told: Callable[[], None] | None = told
        _RUNNING.add(task)
        task.add_done_callback(self, context=context)

    def __call__(self, task: asyncio.Task[None]) -> None:
        _RUNNING.discard(task)
        told, self._told = self._told, None  # whoever is told may hold this
        if told is not None:
            told()

    @property
    def done(self) -> bool:
        return self.task.done()

    def cancel(self) -> None:
        self.task.cancel()


class AsyncioWaiter:
    """One future per wait."""

    __slots__ = ("_future", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._future: asyncio.Future[None] | None = None

    def wait(self) -> Awaitable[None]:
        # The bare future, without a coroutine around it: a channel parks once per item when items are slow.
        self._future = future = self._loop.create_future()
        return future

    def wake(self) -> None:
        future = self._future
        if future is not None and not future.done():
            future.set_result(None)


class AsyncioCrowd:
    """All of its tasks are resumed out of one callback of the event loop.

    A future per task costs the loop a callback each, which is more than half of what it costs to wake a task that has little to
    do. And one future for all cannot be: the first cancelled task would cancel it for everybody.
    """

    __slots__ = ("_done", "_gone", "_loop", "get_loop", "sitting")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, get_loop: Callable[[], asyncio.AbstractEventLoop], done: asyncio.Future[None]
    ) -> None:
        self._loop = loop
        # For all seats: in C, see there.
        self.get_loop = get_loop
        # Whoever was cancelled stays in it for a while; see `left`.
        self.sitting: list[AsyncioSeat] = []
        self._gone = 0
        # What a task is told that it waited for: of a future of asyncio's own it takes the result without a call into Python,
        # which is a quarter of a wake-up (0.77 against 0.58 us, bench_hub).
        self._done = done

    def seat(self) -> AsyncioSeat:
        return AsyncioSeat(self, self._loop)

    def wake(self) -> None:
        sitting = self.sitting
        if not sitting:
            return
        self.sitting = []
        self._gone = 0
        if len(sitting) > 1:
            self._loop.call_soon(self._rouse, sitting)
        elif (resume := sitting[0].resume) is not None:  # one alone needs no loop around it
            sitting[0].resume = None
            self._loop.call_soon(resume, self._done, context=sitting[0].context)

    def _rouse(self, sitting: list[AsyncioSeat]) -> None:
        done = self._done
        try:
            for seat in sitting:
                resume = seat.resume
                if resume is not None:
                    seat.resume = None
                    seat.context.run(resume, done)
        except BaseException:  # a task raised what ends the loop (KeyboardInterrupt): the others are not to miss their turn
            self._loop.call_soon(self._rouse, sitting)
            raise

    def left(self) -> None:
        """One of them was cancelled: forget those once they are half of all, so that each costs the same however many there are."""
        self._gone += 1
        if 2 * self._gone > len(self.sitting):
            self.sitting = [seat for seat in self.sitting if seat.resume is not None]
            self._gone = 0


class AsyncioSeat:
    """What a task awaits, as asyncio's tasks know it: the protocol of `asyncio.isfuture`, for one task, again and again."""

    direct = True

    __slots__ = ("_asyncio_future_blocking", "_crowd", "_loop", "context", "get_loop", "result", "resume")

    if TYPE_CHECKING:
        blocking: bool

    def __init__(self, crowd: AsyncioCrowd, loop: asyncio.AbstractEventLoop) -> None:
        self._crowd = crowd
        self._loop = loop
        self._asyncio_future_blocking = False
        # What resumes the task, while it waits.
        self.resume: Callable[[Any], object] | None = None
        self.context: contextvars.Context = _NO_CONTEXT
        # The task asks for these once per wait: written in C, they cost it no frame of Python.
        self.get_loop = crowd.get_loop
        self.result: Callable[[], None] = _nothing

    def __await__(self) -> Generator[AsyncioSeat, None, None]:
        self._asyncio_future_blocking = True
        return itertools.repeat(self, 1)  # type: ignore[return-value]  # an iterator is what is asked for (PEP 492)

    def add_done_callback(self, resume: Callable[[Any], object], *, context: contextvars.Context | None = None) -> None:
        self.resume = resume
        self.context = contextvars.copy_context() if context is None else context
        self._crowd.sitting.append(self)

    def done(self) -> bool:
        """Whether nobody waits here, as whoever looks through a loop's tasks asks of what they wait for."""
        return self.resume is None

    def cancel(self, msg: str | None = None) -> bool:
        """Of this wait alone; whether there is one."""
        return self._interrupt(asyncio.CancelledError() if msg is None else asyncio.CancelledError(msg))

    def set_exception(self, error: BaseException) -> None:
        """End this wait alone with an error."""
        self._interrupt(error)

    def _interrupt(self, error: BaseException) -> bool:
        resume, self.resume = self.resume, None
        if resume is None:
            return False
        self.result = functools.partial(self._raise, error)
        self._crowd.left()
        self._loop.call_soon(resume, self, context=self.context)
        return True

    def _raise(self, error: BaseException) -> None:
        self.result = _nothing
        raise error


# The slot by a name that others may use.
AsyncioSeat.blocking = AsyncioSeat._asyncio_future_blocking  # type: ignore[misc]  # pyright: ignore[reportPrivateUsage]

_NO_CONTEXT = contextvars.Context()
_nothing: Callable[[], None] = [].clear


class _Stepper:
    """A suspended awaitable, driven by hand, with a timer that cancels it once and then lets go of it."""

    def __init__(self, step: Any, timer: Callable[[Callable[[], None]], Timer]) -> None:
        self._step = step
        self._timer = timer
        self._fired = 0
        self._seen = 0
        self._task = asyncio.current_task()
        self._cancels = self._task.cancelling() if self._task is not None else 0

    def _fire(self) -> None:
        self._fired += 1
        if self._task is not None:
            self._task.cancel()

    async def run(self, future: object) -> bool:
        armed = self._timer(self._fire)
        try:
            while True:
                try:
                    value = await Forward(future)
                except asyncio.CancelledError as error:
                    if self._fired == self._seen:  # somebody else's cancel: the clean-up's to see
                        future = self._step.throw(error)
                        continue
                    self._seen = self._fired
                    self._uncancel()
                    if self._fired > 1:
                        _ABANDONED.append(self._step)
                        return False
                    armed = self._timer(self._fire)
                    future = self._step.throw(error)
                except BaseException as error:
                    future = self._step.throw(error)
                else:
                    future = self._step.send(value)
        except StopIteration:
            return self._fired == 0
        except asyncio.CancelledError:
            if self._fired and (self._task is None or self._task.cancelling() <= self._cancels):
                return False
            raise
        finally:
            armed.cancel()

    def _uncancel(self) -> None:
        if self._task is not None:
            self._task.uncancel()


# A coroutine that ignored its cancel would complain when collected: it is kept, and was named in a warning.
_ABANDONED: list[object] = []


class Forward:
    """Hands a future that somebody else's coroutine waits on to the event loop, and its result back."""

    __slots__ = ("_future",)

    def __init__(self, future: object) -> None:
        self._future = future

    def __await__(self) -> Any:
        return (yield self._future)  # pyright: ignore[reportUnknownVariableType]  # whatever the loop sends
