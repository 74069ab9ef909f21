"""One timer per event loop for all that wait coarsely: heartbeats, and watchdogs over slow clients.

A timer of its own for each of ten thousand idle connections costs the loop ten thousand timers (on trio: tasks). Here they share
one, set for the earliest; when it rings, those ring with it whose time is nearly there: up to 1/64 of their wait early, and never
late by more than the loop is. So many that began together cost one wake-up, and one alone rings when it said.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from typing import Final, Protocol

from streamkit.flow.clock import Clock
from streamkit.flow.tasks import Timer
from streamkit.sinks.failures import LOGGER

__all__ = ["Alarm", "Alarms", "Sleeper", "alarms_of"]

_EARLY: Final = 1 / 64


class Sleeper(Protocol):
    """What rings. It may not raise; it may set its next alarm."""

    def ring(self) -> None: ...


class Alarm:
    """One wait for a time; `cancel` may be called at any moment, also afterwards."""

    __slots__ = ("_alarms", "due", "early", "sleeper")

    def __init__(self, alarms: Alarms, due: float, early: float, sleeper: Sleeper) -> None:
        self._alarms = alarms
        self.due = due
        # From when on it may ring, if the loop is awake anyway.
        self.early = early
        self.sleeper: Sleeper | None = sleeper

    def __lt__(self, other: Alarm) -> bool:
        return self.due < other.due

    def cancel(self) -> None:
        """Forget it."""
        if self.sleeper is not None:
            self.sleeper = None
            self._alarms.forgotten()


class Alarms:
    """All alarms of one event loop and clock.

    Memory: an entry per alarm that waits, and at most as many that were cancelled.
    """

    __slots__ = ("_clock", "_dead", "_heap", "_key", "_ringing", "_timer", "_timer_at")

    def __init__(self, key: Hashable, clock: Clock) -> None:
        self._key = key
        self._clock = clock
        self._heap: list[Alarm] = []
        self._dead = 0
        self._timer: Timer | None = None
        self._timer_at = 0.0
        self._ringing = False

    def at(self, when: float, sleeper: Sleeper) -> Alarm:
        """Ring `sleeper` then, or 1/64 of the wait earlier."""
        now = self._clock.now()
        alarm = Alarm(self, when, when - (when - now) * _EARLY, sleeper)
        heapq.heappush(self._heap, alarm)
        _ALL[self._key] = self
        if not self._ringing and (self._timer is None or when < self._timer_at):
            self._set(when)
        return alarm

    def forgotten(self) -> None:
        """One was cancelled: all of them go once they are half, and the timer with the last."""
        self._dead += 1
        if 2 * self._dead > len(self._heap):
            self._heap = [alarm for alarm in self._heap if alarm.sleeper is not None]
            heapq.heapify(self._heap)
            self._dead = 0
            if not self._heap and not self._ringing:
                self._rest()

    def _set(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = when
        self._timer = self._clock.call_at(when, self._ring)

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        _ALL.pop(self._key, None)

    def _ring(self) -> None:
        self._timer = None
        self._ringing = True
        now = self._clock.now()
        try:
            # `self._heap` anew each time: whoever rings may cancel others.
            while self._heap and (self._heap[0].early <= now or self._heap[0].sleeper is None):
                alarm = heapq.heappop(self._heap)
                sleeper, alarm.sleeper = alarm.sleeper, None
                if sleeper is None:
                    self._dead -= 1
                    continue
                try:
                    sleeper.ring()
                except Exception:  # one that fails is not to silence the others
                    LOGGER.exception("an alarm failed")
        finally:
            self._ringing = False
            if self._heap:
                self._set(self._heap[0].due)
            else:
                self._rest()


# By event loop or clock, only those that have alarms.
_ALL: Final[dict[Hashable, Alarms]] = {}


def alarms_of(clock: Clock) -> Alarms:
    """Those of this clock: of a virtual one, or of an event loop's own."""
    key: Hashable = getattr(clock, "loop", None) or id(clock)
    return _ALL.get(key) or Alarms(key, clock)
