"""Which time it is: the event loop's, unless a clock was put in its place.

Operators never read a clock of their own. A Run takes the clock of its context once, when it
opens, and hands it down; so a virtual clock in a test moves every timer of every stream.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from typing import Protocol

from streamkit.flow.tasks import Backend, Timer, current_backend

__all__ = ["Clock", "current_clock", "use_clock"]


class Clock(Protocol):
    """Seconds on a monotonic scale, callbacks at a time, and sleep."""

    def now(self) -> float: ...
    def call_at(self, when: float, callback: Callable[[], None]) -> Timer: ...
    async def sleep(self, seconds: float) -> None: ...


_clock: contextvars.ContextVar[Clock | None] = contextvars.ContextVar("streamkit_clock", default=None)


def current_clock(backend: Backend | None = None) -> Clock:
    """The clock of this context, or the running event loop's: that of `backend`, where one is at hand."""
    return _clock.get() or backend or current_backend()


def use_clock(clock: Clock | None) -> contextvars.Token[Clock | None]:
    """Put a clock in the place of the loop's, for this context and the tasks it starts."""
    return _clock.set(clock)
