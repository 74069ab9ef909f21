"""Signs of life for a reader who waits: the boundary of `heartbeat`.

A reader that has found nothing for so many seconds is given a ping. Only one who waits: while the consumer is
busy nothing piles up, and the time is counted anew from the moment when it asks again.

The timer is armed when a reader begins to wait and none is running. It is not moved by the items that
come: when it is over, it is armed again for the rest of the time. So an item costs no more than in a buffer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from streamkit.flow.channel import Channel
from streamkit.flow.clock import Clock
from streamkit.flow.fuse import refuse_awaitable
from streamkit.flow.runs import Run
from streamkit.flow.sources import Feed
from streamkit.flow.strands import Strand
from streamkit.flow.tasks import Timer

__all__ = ["HeartbeatBoundary"]


class HeartbeatBoundary:
    """`heartbeat` in a plan.

    Memory: `size` items, or one ping.
    """

    __slots__ = ("_make", "_seconds", "_size", "label")

    def __init__(self, seconds: float, make: Callable[[], object], size: int) -> None:
        self._size = size
        self._seconds = seconds
        self._make = make
        self.label = f"heartbeat({seconds:g})"

    def connect(self, strand: Strand, run: Run[Any]) -> Strand:
        channel: Channel[Any] = Channel(self._size)
        run.pump(strand, channel, self.label)
        heart = _Heart(channel, run.clock, self._seconds, self._make)
        return Strand(Feed(channel, shape="drains", closers=[(self.label, heart.close)]), run)


class _Heart:
    """Watches how long the reader of a channel has been waiting."""

    __slots__ = ("_channel", "_clock", "_make", "_seconds", "_since", "_timer")

    def __init__(self, channel: Channel[Any], clock: Clock, seconds: float, make: Callable[[], object]) -> None:
        self._channel = channel
        self._clock = clock
        self._seconds = seconds
        self._make = make
        self._since = 0.0
        self._timer: Timer | None = None
        channel.on_room = self._asked

    def _asked(self) -> None:
        """The reader wants something; if there is nothing, it is about to wait."""
        channel = self._channel
        if not channel.buffer and not channel.ended:
            self._since = self._clock.now()
            if self._timer is None:
                self._timer = self._clock.call_at(self._since + self._seconds, self._fire)

    def _fire(self) -> None:
        self._timer = None
        channel = self._channel
        if channel.closed or not channel.parked:
            return
        due = self._since + self._seconds
        if due > self._clock.now():
            self._timer = self._clock.call_at(due, self._fire)
            return
        try:
            ping = self._make()
            refuse_awaitable(ping, self._make)
        except Exception as error:  # a timer has no caller: the reader hears of it
            channel.fail(error)
        else:
            channel.put(ping)

    def close(self) -> None:
        """The reader leaves."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._channel.close()
