"""`stream.iter()`: an asynchronous stream for plain Python.

One task of a private event loop iterates the stream from first to last; between two items that loop
stands still. So a source sees one task and one context, as it must, and no thread is needed. Where a
loop already runs in this thread, all of that happens on another thread, one item at a time.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from streamkit.flow.runs import Run

__all__ = ["iterate"]

_END: Any = object()


def iterate(open_run: Callable[[], Run[Any]], *, in_thread: bool) -> Iterator[Any]:
    """Items of a Run, one by one."""
    return _in_thread(open_run) if in_thread else _stepping(open_run)


def _stepping(open_run: Callable[[], Run[Any]]) -> Generator[Any]:
    # asyncio.Runner, and not run(): the loop is entered again for each read.
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        ready: deque[Any] = deque()
        turn = _Turn(loop)

        async def work() -> None:
            async with open_run() as run:
                async for batch in run.lists():
                    ready.extend(batch)
                    if not await turn.over_to_script():
                        break

        task = loop.create_task(work(), context=contextvars.copy_context())
        try:
            while not task.done():
                loop.run_until_complete(turn.over_to_task(task))
                while ready:
                    yield ready.popleft()
            task.result()
        finally:
            if not task.done():
                turn.leaving = True
                loop.run_until_complete(turn.over_to_task(task))
                if not task.done():  # interrupted inside the source, not between two items
                    task.cancel()
                    loop.run_until_complete(asyncio.wait([task]))
                if not task.cancelled():
                    task.result()


class _Turn:
    """Whose turn it is: the script's or the task's."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._script: asyncio.Future[None] = loop.create_future()
        self._task: asyncio.Future[None] | None = None
        self.leaving = False

    async def over_to_script(self) -> bool:
        """The task's: let the script run; whether it wants more."""
        self._task = self._loop.create_future()
        self._script.set_result(None)
        await self._task
        return not self.leaving

    async def over_to_task(self, task: asyncio.Task[None]) -> None:
        """The script's: let the task run until it has something or is over."""
        if self._task is None or not self._task.done():
            self._script = self._loop.create_future()
            if self._task is not None:
                self._task.set_result(None)
            await asyncio.wait([task, self._script], return_when=asyncio.FIRST_COMPLETED)


def _in_thread(open_run: Callable[[], Run[Any]]) -> Iterator[Any]:
    with ThreadPoolExecutor(1, "streamkit iter") as thread:
        context = contextvars.copy_context()
        items = _stepping(open_run)
        try:
            while (item := thread.submit(context.run, lambda: next(items, _END)).result()) is not _END:
                yield item
        finally:
            thread.submit(context.run, items.close).result()
