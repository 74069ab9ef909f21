"""Being told that the process is to stop, beside the server that is told, too.

A server that gets SIGTERM waits for its responses to end, and tells the application only afterwards: streams that nobody told would
hold it up. So whoever wants to know earlier stands before the server's own handler, which is called as before.

Only what has a handler in Python is watched, and only from the main thread: everywhere else nobody is told, and nothing breaks.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any, Final

from streamkit.flow.tasks import Backend

__all__ = ["StopSignals"]

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """Calls `told` in the event loop, once, when SIGTERM or SIGINT comes.

    Args:
        backend: Of the event loop.
        told: What to call.
    """

    __slots__ = ("_backend", "_before", "_handlers", "_told")

    def __init__(self, backend: Backend, told: Callable[[], None]) -> None:
        self._backend = backend
        self._told: Callable[[], None] | None = told
        self._before: dict[int, Callable[[int, FrameType | None], Any]] = {}
        # One object for each: a bound method is a new one each time it is asked for.
        self._handlers: dict[int, Callable[[int, FrameType | None], None]] = {}
        if threading.current_thread() is not threading.main_thread():
            return
        server = signal.getsignal(signal.SIGTERM)
        # Without a server the default is to end at once, and nothing can be drained. SIGINT is an event loop's own, too, which
        # looks whether its handler is still there: it is watched only where the server has both.
        if not callable(server):
            return
        for number in _SIGNALS:
            if number is signal.SIGTERM or signal.getsignal(number) == server:
                self._before[number] = server
                self._handlers[number] = self._handle
                signal.signal(number, self._handlers[number])

    def leave(self) -> None:
        """Watch no more; a handler that somebody has put over ours meanwhile stays, and goes on calling it."""
        self._told = None
        if threading.current_thread() is threading.main_thread():
            for number, handler in self._handlers.items():
                if signal.getsignal(number) is handler:
                    signal.signal(number, self._before[number])

    def _handle(self, number: int, frame: FrameType | None) -> None:
        told, self._told = self._told, None
        if told is not None:
            with suppress(RuntimeError):  # the event loop is over
                self._backend.soon_from_thread(told)
        self._before[number](number, frame)
