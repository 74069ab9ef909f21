"""One host for all timed stages: batch(within=), debounce, throttle, pace, heartbeat.

The stage lives on the writers' side of a channel, in the task that reads the source: it sees each
item at the time it arrived, however slow the consumer is. A timer calls `fire` at the stage's
deadline, and only while the reader has room; a deadline that passes meanwhile is kept until it has.

The timer is re-armed lazily: a deadline that moves later costs nothing until the old one is over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from streamkit.flow.channel import Channel
from streamkit.flow.clock import Clock
from streamkit.flow.fuse import Enough
from streamkit.flow.runs import Run, Strand
from streamkit.flow.sources import Feed
from streamkit.flow.tasks import Timer

__all__ = ["HostedStage", "TimedBoundary"]


class HostedStage(Protocol):
    """What the host asks of a stage (`stages.stage.TimedStage`)."""

    deadline: float | None
    done: bool

    def feed(self, item: Any, now: float) -> Iterable[Any]: ...
    def fire(self, now: float) -> Iterable[Any]: ...
    def flush(self) -> Iterable[Any]: ...
    def abort(self) -> Iterable[Any]: ...


class TimedBoundary:
    """A timed stage in a plan.

    Memory: what the stage holds, and one output waiting for the reader.
    """

    __slots__ = ("_make", "label")

    def __init__(self, label: str, make: Callable[[], HostedStage]) -> None:
        self.label = label
        self._make = make

    def connect(self, strand: Strand, run: Run[Any]) -> Strand:
        channel: Channel[Any] = Channel(1)
        pump = run.pump(strand, channel, self.label)
        host = _Host(self._make(), channel, run.clock, pump.finish)
        pump.offer = host.offer
        pump.finish = host.finish
        return Strand(Feed(channel, shape="drains", closers=[(self.label, host.close)]), run)


class _Host:
    """Runs one stage against one clock."""

    __slots__ = ("_armed_for", "_channel", "_clock", "_end", "_now", "_stage", "_timer")

    def __init__(
        self, stage: HostedStage, channel: Channel[Any], clock: Clock, end: Callable[[BaseException | None], None]
    ) -> None:
        self._stage = stage
        self._channel = channel
        self._clock = clock
        self._now = clock.now
        self._end = end
        self._timer: Timer | None = None
        self._armed_for = 0.0
        channel.on_room = self._room

    def offer(self, item: Any) -> None:
        """One item from the source; what comes out goes into the channel."""
        stage = self._stage
        now = self._now()
        deadline = stage.deadline
        if deadline is not None and deadline <= now:
            self._channel.extend(stage.fire(now))
        out = stage.feed(item, now)
        if out:
            self._channel.extend(out)
        deadline = stage.deadline
        # Of a reader who has left, the source's task learns at its next item: that one arms nothing any more.
        if deadline is not None and (self._timer is None or deadline < self._armed_for) and not self._channel.closed:
            self._arm(deadline)
        if stage.done:
            raise Enough

    def finish(self, error: BaseException | None) -> None:
        """The source is over and closed: give what is held, then the end."""
        self._disarm()
        if isinstance(error, Exception):
            self._flush(self._stage.abort)
        elif error is None and not self._stage.done:
            error = self._flush(self._stage.flush)
        self._end(error)

    def close(self) -> None:
        """The reader leaves."""
        self._disarm()
        self._channel.close()

    def _flush(self, give: Callable[[], Iterable[Any]]) -> Exception | None:
        try:
            self._channel.extend(give())
        except Exception as failure:
            return failure
        return None

    def _arm(self, deadline: float) -> None:
        self._disarm()
        self._armed_for = deadline
        self._timer = self._clock.call_at(deadline, self._fire)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fire(self) -> None:
        self._timer = None
        deadline = self._stage.deadline
        if deadline is None or self._channel.closed:
            return
        now = self._clock.now()
        if deadline > now:
            self._arm(deadline)
        elif self._channel.has_room:
            try:
                self._channel.extend(self._stage.fire(now))
            except Exception as error:  # a timer has no caller: the reader hears of it
                self._channel.fail(error)
                return
            if self._stage.deadline is not None:
                self._arm(self._stage.deadline)

    def _room(self) -> None:
        """The reader has taken something: a deadline that passed meanwhile is due."""
        deadline = self._stage.deadline
        if deadline is not None and self._timer is None and deadline <= self._clock.now():
            self._fire()
