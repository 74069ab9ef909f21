"""When what is kept for a while is to be forgotten: names and times, behind one timer for all of them.

A timer for each would cost a task each on trio, and there may be ten thousand.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush

from streamkit.flow.clock import Clock
from streamkit.flow.tasks import Timer

__all__ = ["Expiries"]


class Expiries:
    """Names, and until when they are kept.

    Args:
        clock: Of the event loop in which all of it happens.
        forget: Called with a name and its time once that has come. One that was forgotten before, or is kept until another time
            by now, is the callee's to see.

    Memory: each name until its time.
    """

    __slots__ = ("_clock", "_forget", "_kept", "_timer", "_when")

    def __init__(self, clock: Clock, forget: Callable[[str, float], None]) -> None:
        self._clock = clock
        self._forget = forget
        self._kept: list[tuple[float, str]] = []
        self._timer: Timer | None = None
        self._when = 0.0

    def add(self, name: str, seconds: float) -> float:
        """Keep it for so many seconds from now; the time at which it goes."""
        when = self._clock.now() + seconds
        heappush(self._kept, (when, name))
        self._arm()
        return when

    def cancel(self) -> None:
        """Forget no more."""
        self._kept.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        when = self._kept[0][0]
        if self._timer is not None:
            if self._when <= when:
                return
            self._timer.cancel()
        self._when = when
        self._timer = self._clock.call_at(when, self._fire)

    def _fire(self) -> None:
        self._timer = None
        # Up to the timer's own time: a clock may call a little early.
        now = max(self._when, self._clock.now())
        while self._kept and self._kept[0][0] <= now:
            when, name = heappop(self._kept)
            self._forget(name, when)
        if self._kept:
            self._arm()
