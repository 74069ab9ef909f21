"""A task that can be called off by another one without being confused with a cancelled task.

The client has left: whoever waits for the next token must stop waiting, close its source and return
normally. That is a cancel, and one of our own; a cancel from outside (the server stops, a
framework's task group ends) must still go through.

asyncio: the task's own `cancel()`, once, and taken back. A level-triggered scope would cancel the
clean-up of the source again and again. trio: one scope around all of it, which is left in order,
because the source is closed inside.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Protocol

import anyio

from streamkit.flow.tasks import Backend, Main

__all__ = ["Interrupt", "interrupt_for"]


class Interrupt(Protocol):
    """A block of the current task that runs until it ends, or until `fire` is called from another task.

    A context manager without a coroutine of its own, because ten thousand open connections have ten thousand of them.
    """

    def __enter__(self) -> None: ...
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool: ...
    async def run(self, main: Main) -> None:
        """The same around a coroutine function."""
        ...

    def fire(self) -> None: ...
    def is_stray(self, error: BaseException) -> bool:
        """Whether this is a cancellation that nobody asked this task for: one that leaked out of another task."""
        ...


def interrupt_for(backend: Backend) -> Interrupt:
    """The interrupt of this event loop."""
    return _ScopeInterrupt() if backend.name == "trio" else _AsyncioInterrupt()


class _AsyncioInterrupt:
    __slots__ = ("_before", "_fired", "_task")

    def __init__(self) -> None:
        self._task: asyncio.Task[object] | None = None
        self._fired = 0
        self._before = 0

    def __enter__(self) -> None:
        task = self._task = asyncio.current_task()
        assert task is not None
        self._fired = 0
        self._before = task.cancelling()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        task, self._task = self._task, None
        assert task is not None
        for _ in range(self._fired):
            task.uncancel()
        return isinstance(error, asyncio.CancelledError) and self._fired > 0 and task.cancelling() <= self._before

    async def run(self, main: Main) -> None:
        with self:
            await main()

    def fire(self) -> None:
        if self._task is not None:
            self._fired += 1
            self._task.cancel()

    def is_stray(self, error: BaseException) -> bool:
        task = self._task
        return (
            isinstance(error, asyncio.CancelledError) and not self._fired and task is not None and task.cancelling() == self._before
        )


class _ScopeInterrupt:
    __slots__ = ("_scope",)

    def __init__(self) -> None:
        self._scope: anyio.CancelScope | None = None

    def __enter__(self) -> None:
        self._scope = anyio.CancelScope()
        self._scope.__enter__()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        assert self._scope is not None
        return bool(self._scope.__exit__(kind, error, trace))

    async def run(self, main: Main) -> None:
        with self:
            await main()

    def fire(self) -> None:
        if self._scope is not None:
            self._scope.cancel()

    def is_stray(self, error: BaseException) -> bool:
        return False  # trio's cancellations belong to a scope and cannot leak
