"""How long something takes of the time in which this process runs: a machine that stalls it is no reason for a test to fail."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["AwakeTime", "awake_time"]

_TICK_S = 0.01


class AwakeTime:
    """Counted by a thread that wakes a hundred times a second: while nothing of the process runs, it does not count either."""

    def __init__(self) -> None:
        self._ticks = 0
        self._over = threading.Event()
        self._counting = threading.Thread(target=self._count, daemon=True, name="awake time")
        self._counting.start()

    @property
    def seconds(self) -> float:
        """So far."""
        return self._ticks * _TICK_S

    def stop(self) -> None:
        """End the thread."""
        self._over.set()
        self._counting.join()

    def _count(self) -> None:
        while not self._over.wait(_TICK_S):
            self._ticks += 1


@contextmanager
def awake_time() -> Iterator[AwakeTime]:
    """Counts until the block is left."""
    time = AwakeTime()
    try:
        yield time
    finally:
        time.stop()
