"""Nothing left behind: tasks, threads, generators, coroutines, warnings.

    async with assert_no_leaks():
        await my_code_under_test()

Knows what the interpreter tells about things that were dropped: the hooks of asynchronous generators,
`sys.unraisablehook`, the warnings module, the tasks of the running loop. It works on asyncio, uvloop and trio.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import warnings
import weakref
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

from streamkit.flow.tasks import current_backend

__all__ = ["assert_no_leaks"]

# Turns of the loop that a task gets to end after the code under test has returned, and real seconds a thread gets.
SETTLE_TURNS = 20
SETTLE_POLLS = 4000


@asynccontextmanager
async def assert_no_leaks(*, thorough: bool = True) -> AsyncGenerator[None, None]:
    """Fail if the block leaves something behind.

    Looks for: tasks that still run, threads of streamkit, generators left open (held or dropped), coroutines
    never awaited, exceptions nobody could catch, and ResourceWarnings.

    Args:
        thorough: Collect all garbage before looking. False looks at young objects only, which is fast enough
            for thousands of blocks; end with a thorough one.

    Cancellation: passes through; what was left behind is not looked for then, nor after an exception.
    Raises:
        AssertionError: naming what was left.

    >>> async def main():
    ...     async with assert_no_leaks():
    ...         task = asyncio.create_task(asyncio.sleep(60), name="forgotten")
    ...     task.cancel()
    >>> asyncio.run(main())
    Traceback (most recent call last):
    AssertionError: left behind: 1 task (forgotten)
    """
    watch = _Watch()
    watch.begin()
    try:
        yield
        await watch.settle(thorough)
    finally:
        watch.end()
    watch.judge()


class _Watch:
    """What there was before, and what was dropped meanwhile."""

    def __init__(self) -> None:
        self._tasks: set[Any] = set()
        self._threads: set[threading.Thread] = set()
        self._generators: list[weakref.ref[AsyncGenerator[Any, Any]]] = []
        self._dropped: list[str] = []
        self._unraisable: list[str] = []
        self._warned: list[warnings.WarningMessage] = []
        self._catcher: warnings.catch_warnings[list[warnings.WarningMessage]] = warnings.catch_warnings(record=True)
        self._hooks: Any = None
        self._unraisable_hook: Callable[[Any], object] | None = None
        self._left: list[str] = []

    def begin(self) -> None:
        self._tasks = set(_tasks())
        self._threads = set(threading.enumerate())
        self._warned = self._catcher.__enter__()
        warnings.simplefilter("always")
        hooks = self._hooks = sys.get_asyncgen_hooks()

        def first(generator: AsyncGenerator[Any, Any]) -> None:
            self._generators.append(weakref.ref(generator))
            if hooks.firstiter is not None:
                hooks.firstiter(generator)

        def final(generator: AsyncGenerator[Any, Any]) -> None:
            self._dropped.append(_name(generator))
            if hooks.finalizer is not None:
                hooks.finalizer(generator)

        sys.set_asyncgen_hooks(first, final)
        self._unraisable_hook = sys.unraisablehook
        sys.unraisablehook = lambda what: self._unraisable.append(f"{what.exc_value!r} ({what.err_msg or what.object!r})")

    async def settle(self, thorough: bool) -> None:
        """Let what is ending end."""
        backend = current_backend()
        # A generator that was dropped is closed in a task of the loop's; that is a leak already.
        gc.collect() if thorough else gc.collect(1)
        for _ in range(SETTLE_TURNS):
            if not self._new_tasks():
                break
            await backend.checkpoint()
        for _ in range(SETTLE_POLLS):
            if not self._new_threads():
                break
            await backend.sleep(0.005)
        gc.collect() if thorough else gc.collect(1)
        self._left = [
            _told("task", [_task_name(task) for task in self._new_tasks()]),
            _told("thread", [thread.name for thread in self._new_threads()]),
        ]

    def end(self) -> None:
        sys.set_asyncgen_hooks(*self._hooks)
        assert self._unraisable_hook is not None
        sys.unraisablehook = self._unraisable_hook
        self._catcher.__exit__(None, None, None)

    def judge(self) -> None:
        alive = [one for ref in self._generators if (one := ref()) is not None]
        open_ones = [_name(one) for one in alive if getattr(one, "ag_frame", None) is not None]
        told = [warning for warning in self._warned if issubclass(warning.category, ResourceWarning | RuntimeWarning)]
        for warning in self._warned:
            if warning not in told:
                warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        self._left += [
            _told("open generator", open_ones),
            _told("dropped generator", self._dropped),
            _told("warning", [f"{one.category.__name__}: {one.message}" for one in told]),
            _told("exception nobody could catch", self._unraisable),
        ]
        left = [line for line in self._left if line]
        if left:
            raise AssertionError("left behind: " + "; ".join(left))

    def _new_tasks(self) -> list[Any]:
        return [task for task in _tasks() if task not in self._tasks]

    def _new_threads(self) -> list[threading.Thread]:
        return [one for one in threading.enumerate() if one not in self._threads and one.name.startswith("streamkit")]


def _told(what: str, names: list[str]) -> str:
    return f"{len(names)} {what}{'s' if len(names) > 1 else ''} ({', '.join(names[:5])})" if names else ""


def _name(generator: object) -> str:
    return str(getattr(generator, "__qualname__", generator)).rpartition("<locals>.")[2]


def _task_name(task: Any) -> str:
    return str(task.get_name()) if isinstance(task, asyncio.Task) else str(task.name).rpartition("<locals>.")[2]


def _tasks() -> list[Any]:
    """All tasks of the running loop that have not ended."""
    trio = sys.modules.get("trio")
    if trio is None or not trio.lowlevel.in_trio_task():
        return [task for task in asyncio.all_tasks() if not task.done()]
    found: list[Any] = []
    todo = [trio.lowlevel.current_root_task()]
    while todo:
        task = todo.pop()
        found.append(task)
        todo += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return found
