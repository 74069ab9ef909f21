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
from typing import Protocol

import anyio

from streamkit.flow.tasks import Backend, Main

__all__ = ["Interrupt", "interrupt_for"]


class Interrupt(Protocol):
    """`run(main)` in the current task, until it ends or `fire` is called from another task."""

    async def run(self, main: Main) -> None: ...
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

    async def run(self, main: Main) -> None:
        task = self._task = asyncio.current_task()
        assert task is not None
        self._fired = 0  # what ended an earlier run is taken back already
        self._before = task.cancelling()
        cancelled: asyncio.CancelledError | None = None
        try:
            await main()
        except asyncio.CancelledError as error:
            cancelled = error
        finally:
            self._task = None
            for _ in range(self._fired):
                task.uncancel()
        if cancelled is not None and (not self._fired or task.cancelling() > self._before):
            raise cancelled

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

    async def run(self, main: Main) -> None:
        with anyio.CancelScope() as self._scope:
            await main()

    def fire(self) -> None:
        if self._scope is not None:
            self._scope.cancel()

    def is_stray(self, error: BaseException) -> bool:
        return False  # trio's cancellations belong to a scope and cannot leak
