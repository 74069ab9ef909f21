"""Something that happens once. An event of an event loop weighs a kilobyte, and of ten thousand most are never waited for."""

from __future__ import annotations

import anyio

__all__ = ["Latch"]


class Latch:
    """Open until `set`, and for good then; any number of tasks may wait for that.

    Memory: nothing but itself until somebody waits, an `anyio.Event` then.

    >>> async def main():
    ...     latch = Latch()
    ...     latch.set()
    ...     await latch.wait()
    ...     return latch.is_set()
    >>> run(main())
    True
    """

    __slots__ = ("_event", "_happened")

    def __init__(self) -> None:
        self._event: anyio.Event | None = None
        self._happened = False

    def set(self) -> None:
        """It has happened; a second time changes nothing."""
        self._happened = True
        if self._event is not None:
            self._event.set()

    def is_set(self) -> bool:
        """Whether it has happened."""
        return self._happened

    async def wait(self) -> None:
        """Return once it has happened.

        Cancellation: of one who waits touches no other.
        """
        if not self._happened:
            self._event = self._event or anyio.Event()
            await self._event.wait()
