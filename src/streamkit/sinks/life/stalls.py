"""When a client that takes nothing is given up.

Two things are seen from here, and each has a time of its own, a part of one `send_timeout`:

    a write that does not end       the client's kernel takes no more: all of it
    an edge that does not move      its kernel takes what nobody reads (`life.windows`): half of it, because that comes behind some
                                    ten seconds in which the kernel's buffer was filled and nothing could be seen

Knows no tasks and no timers: somebody looks every so often, and is told whether it is time.
"""

from __future__ import annotations

from typing import Final

from streamkit.sinks.life.transports import Transport
from streamkit.sinks.life.windows import Edge

__all__ = ["NEARLY", "Stall"]

NEARLY: Final = 63 / 64
"""Of a time: how early it may be, because the timer that all share (`life.alarms`) rings a little early for many at once."""

# Of a send_timeout: how often is looked whether a write is under way. It may have begun just before or just after a look.
_LOOKS: Final = 1 / 4

# And for how long a client may not read what its kernel takes for it.
_UNREAD: Final = 1 / 2


class Stall:
    """Judges one connection, by what is seen of it four times in each `send_timeout`.

    Args:
        transport: The connection's.
        send_timeout: Seconds that one write may wait for the client.

    Attributes:
        every: Seconds between two looks.

    Memory: an `Edge`, and three numbers.
    """

    __slots__ = ("_edge", "_send_timeout", "_since", "_write")

    def __init__(self, transport: Transport, send_timeout: float) -> None:
        self._edge = Edge(transport)
        self._send_timeout = send_timeout
        self._write: float | None = None  # the one that was under way at the last look
        self._since = 0.0  # when it was first seen

    @property
    def every(self) -> float:
        return self._send_timeout * _LOOKS

    def is_over(self, now: float, write: float | None) -> bool:
        """Whether the client has had its time.

        Args:
            now: In seconds, by any clock.
            write: Of the write that is under way, what no other one of this connection has, as the time at which the one before it
                ended; None if none is.
        """
        if write is None or write != self._write:
            self._write, self._since = write, now
        elif now - self._since >= self._send_timeout * (1 - _LOOKS):
            return True
        return self._edge.still_for(now) >= self._send_timeout * _UNREAD * NEARLY
