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
        task.add_done_callback(turn.end)
        try:
            while not task.done():
                turn.over_to_task()
                while ready:
                    yield ready.popleft()
            task.result()
        finally:
            if not task.done():
                if turn.is_scripts:
                    turn.leaving = True
                    turn.over_to_task()
                    task.result()
                else:  # interrupted while the task ran: its source may be silent for ever
                    task.cancel()
                    loop.run_until_complete(asyncio.wait([task]))
                    if not task.cancelled():
                        task.exception()  # the interrupt goes first


class _Turn:
    """Whose turn it is: the script's, while the loop stands still, or the task's, while it runs.

    `run_until_complete` would make two tasks for each turn; to stop the loop costs a fraction.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._asked: asyncio.Future[None] | None = None
        self._with_task = False
        self.leaving = False

    @property
    def is_scripts(self) -> bool:
        """Whether the task waits for the script; it does not if the script was interrupted while the task ran."""
        return self._asked is not None and not self._asked.done()

    async def over_to_script(self) -> bool:
        """The task's: let the script run; whether it wants more."""
        self._asked = self._loop.create_future()
        self._loop.stop()
        await self._asked
        return not self.leaving

    def over_to_task(self) -> None:
        """The script's: let the task run until it has something or is over."""
        if self._asked is not None and self.is_scripts:
            self._asked.set_result(None)
        self._with_task = True
        try:
            self._loop.run_forever()
        finally:
            self._with_task = False

    def end(self, task: asyncio.Task[None]) -> None:
        """The task is over. After an interrupt that is told late, when the loop runs for other reasons."""
        if self._with_task:
            self._loop.stop()


def _in_thread(open_run: Callable[[], Run[Any]]) -> Iterator[Any]:
    with ThreadPoolExecutor(1, "streamkit iter") as thread:
        context = contextvars.copy_context()
        items = _stepping(open_run)
        try:
            while (item := thread.submit(context.run, lambda: next(items, _END)).result()) is not _END:
                yield item
        finally:
            thread.submit(context.run, items.close).result()
