"""A synchronous iterator as an asynchronous one, on one dedicated thread; and a single call.

The thread runs in the caller's context and is at most `AHEAD` items in front of its reader. Leaving
tells it to stop. A thread that sits inside `next()` cannot be interrupted: if the object has a
`close` of its own that is not a generator's, that is called from outside (a blocked SDK stream
lets go), and then the wait has the limit of every clean-up; a thread that is abandoned is a daemon.
"""

from __future__ import annotations

import contextvars
import inspect
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from streamkit.flow.tasks import Backend

__all__ = ["ThreadCall", "ThreadIterator", "readers_waiting"]

AHEAD = 2

# One object for each reader that waits for its thread now, of all event loops.
_WAITING: set[object] = set()


def readers_waiting() -> frozenset[object]:
    """The waits for a thread's answer that are under way: what a virtual clock must not jump over."""
    return frozenset(_WAITING)


class ThreadIterator:
    """Items of a sync iterable, read on a thread that starts with the first `__anext__`."""

    def __init__(self, iterable: Iterable[Any], backend: Backend, name: str) -> None:
        self._iterable = iterable
        self._backend = backend
        self._waiter = backend.waiter()
        self._permits = threading.Semaphore(AHEAD)
        self._items: deque[Any] = deque()
        self._parked = False
        self._leaving = False
        self._inside = False
        self._closed = False
        self._closing = threading.Lock()
        self._error: BaseException | None = None
        self._clean_up_error: BaseException | None = None
        self._over = False
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._work,), name=f"streamkit source {name}", daemon=True)
        self._started = False

    def __aiter__(self) -> ThreadIterator:
        return self

    async def __anext__(self) -> Any:
        if not self._started:
            self._started = True
            self._thread.start()
        while not self._items:
            if self._over:
                error, self._error = self._error, None
                if error is not None:
                    raise error
                raise StopAsyncIteration
            await self._park(lambda: bool(self._items) or self._over)
        self._permits.release()
        return self._items.popleft()

    async def aclose(self) -> None:
        """Stop the thread and wait for it; a failure of its clean-up is raised."""
        self._leaving = True
        self._permits.release()
        if not self._started:
            self._close()
            return
        if self._inside and not self._over and not inspect.isgenerator(self._iterable):
            # Elsewhere: a close that blocks must not block the event loop.
            threading.Thread(target=self._close, name="streamkit close", daemon=True).start()
        while not self._over:
            await self._park(lambda: self._over)
        error, self._clean_up_error = self._clean_up_error, None
        if error is not None:
            raise error

    async def _park(self, answered: Callable[[], bool]) -> None:
        self._parked = True
        wait = object()
        _WAITING.add(wait)
        try:
            # The thread may have answered between the caller's look and the flag.
            if not answered():
                await self._waiter.wait()
        finally:
            self._parked = False
            _WAITING.discard(wait)

    # -- on the thread

    def _work(self) -> None:
        try:
            iterator = iter(self._iterable)
            while True:
                self._permits.acquire()
                if self._leaving:
                    break
                self._inside = True
                try:
                    item = next(iterator)
                except StopIteration:
                    break
                finally:
                    self._inside = False
                self._items.append(item)
                self._tell()
        except BaseException as error:  # whatever it is, it is the reader's to see
            if not self._leaving:
                self._error = error
        finally:
            self._finish()

    def _finish(self) -> None:
        try:
            self._close()
        except BaseException as error:  # the clean-up's own failure, unless one came before it
            if self._leaving:
                self._clean_up_error = error
            elif self._error is None:
                self._error = error
        self._over = True
        self._tell()

    def _close(self) -> None:
        with self._closing:
            if self._closed:
                return
            self._closed = True
        close = getattr(self._iterable, "close", None)
        if close is not None:
            close()

    def _tell(self) -> None:
        if self._parked:
            try:
                self._backend.soon_from_thread(self._waiter.wake)
            except RuntimeError:
                return  # the loop is closed: nobody is there to be told


class ThreadCall:
    """One call of a function, on a daemon thread of its own, in the caller's context.

    A thread cannot be interrupted: a cancel is kept back until the function has returned, or `abandon` lets go of it.
    """

    def __init__(self, call: Callable[[], object], backend: Backend, name: str) -> None:
        self._call = call
        self._backend = backend
        self._waiter = backend.waiter()
        self._over = False
        self._abandoned = False
        self._value: object = None
        self._error: BaseException | None = None
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._work,), name=f"streamkit {name}", daemon=True)

    async def result(self) -> object:
        """What the function returned, or raised; None if it was abandoned."""
        self._thread.start()
        wait = object()
        _WAITING.add(wait)
        try:
            await self._backend.finish(self._park, self._let_go)
        except BaseException:
            self._forget()
            raise
        finally:
            _WAITING.discard(wait)
        if self._abandoned:
            self._forget()
            return None
        if self._error is not None:
            raise self._error
        return self._value

    def abandon(self) -> None:
        """Wait no longer: the function runs on, and what comes of it is lost."""
        self._abandoned = True
        self._waiter.wake()

    def _let_go(self) -> bool:
        return self._over or self._abandoned

    async def _park(self) -> None:
        # `_answer` runs in the event loop, so it cannot come between the look at `_over` and this wait.
        await self._waiter.wait()

    def _work(self) -> None:
        try:
            self._value = self._call()
        except BaseException as error:  # whatever it is, it is the caller's to see
            self._error = error
        try:
            self._backend.soon_from_thread(self._answer)
        except RuntimeError:  # the loop is closed: nobody is there to be told
            self._forget()

    def _answer(self) -> None:
        self._over = True
        self._waiter.wake()
        if self._abandoned:
            self._forget()

    def _forget(self) -> None:
        """Nobody wants the value; one that is a coroutine would complain that it was never awaited."""
        if inspect.iscoroutine(self._value):
            self._value.close()
        self._value = None
