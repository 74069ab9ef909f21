"""Real time that begins when a test says so: before, a machine may take as long as it likes, and no limit is reached.

with held_clock() as clock:
    async with stream | sk.timeout(idle=0.2) as run:
        async for event in run:
            if event == last:
                clock.go_on()       # from here on a fifth of a second of silence is too long
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from streamkit.flow.clock import use_clock
from streamkit.flow.tasks import Timer, current_backend

__all__ = ["HeldClock", "held_clock"]


class HeldClock:
    """The event loop's clock, which stands still until `go_on`."""

    def __init__(self) -> None:
        self._backend = current_backend()
        self._made_at = self._backend.now()
        self._behind: float | None = None  # how long it stood still, once it goes
        self._kept: list[_Timer] = []

    def now(self) -> float:
        """What the loop's clock said when this one was made, and what has passed while it went."""
        return self._made_at if self._behind is None else self._backend.now() - self._behind

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """As the loop's; nothing is called while it stands still."""
        if self._behind is not None:
            return self._backend.call_at(when + self._behind, callback)
        timer = _Timer(when, callback)
        self._kept.append(timer)
        return timer

    async def sleep(self, seconds: float) -> None:
        """Until so much time has passed here."""
        waiter = self._backend.waiter()
        awake: list[bool] = []

        def wake() -> None:
            awake.append(True)
            waiter.wake()

        timer = self.call_at(self.now() + seconds, wake)
        try:
            while not awake:
                await waiter.wait()
        finally:
            timer.cancel()

    def go_on(self) -> None:
        """Let time pass; a second call changes nothing."""
        if self._behind is not None:
            return
        self._behind = self._backend.now() - self._made_at
        for timer in self._kept:
            timer.begin(self._backend.call_at, self._behind)
        self._kept.clear()

    def stop(self) -> None:
        """Stand still again; timers that were set before run on."""
        self._made_at = self.now()
        self._behind = None


class _Timer:
    """One that was set while time stood still."""

    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self._when = when
        self._callback = callback
        self._running: Timer | None = None
        self._cancelled = False

    def begin(self, call_at: Callable[[float, Callable[[], None]], Timer], behind: float) -> None:
        if not self._cancelled:
            self._running = call_at(self._when + behind, self._callback)

    def cancel(self) -> None:
        self._cancelled = True
        if self._running is not None:
            self._running.cancel()


@contextmanager
def held_clock() -> Iterator[HeldClock]:
    """In the place of the loop's clock, for this context and the tasks it starts."""
    clock = HeldClock()
    use_clock(clock)
    try:
        yield clock
    finally:
        use_clock(None)
