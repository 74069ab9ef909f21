"""One host for all timed stages: batch(within=), debounce, throttle, sample, pace.

The stage lives on the writers' side of a channel, in the task that reads the source: it sees each
item at the time it arrived, however slow the consumer is. A timer calls `fire` at the stage's
deadline, and only while the reader has room; a deadline that passes meanwhile is kept until it has.

The timer is re-armed lazily: a deadline that moves later costs nothing until the old one is over.
So what an item costs is its way through `ready` (`stages.stage.TimedStage`), which most stages have
made shorter than `feed`: a call and one reading of the clock (bench_kernel).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf
from typing import Any, Protocol

from streamkit.flow.channel import Channel
from streamkit.flow.clock import Clock
from streamkit.flow.fuse import Enough
from streamkit.flow.runs import Run
from streamkit.flow.sources import Feed
from streamkit.flow.strands import Strand
from streamkit.flow.tasks import Timer

__all__ = ["HostedStage", "TimedBoundary"]


class HostedStage(Protocol):
    """What the host asks of a stage (`stages.stage.TimedStage`)."""

    @property
    def deadline(self) -> float | None: ...
    @property
    def done(self) -> bool: ...
    @property
    def lingers(self) -> bool: ...

    def feed(self, item: Any, now: float) -> Iterable[Any]: ...
    def ready(self, now: Callable[[], float], feed: Callable[[Any], object]) -> Callable[[Any], object]: ...
    def fire(self, now: float) -> Iterable[Any]: ...
    def flush(self) -> Iterable[Any]: ...
    def abort(self) -> Iterable[Any]: ...


class TimedBoundary:
    """A timed stage in a plan.

    `ahead` is how many outputs may wait for the reader: those that items complete. What time completes waits
    in the stage until the reader has taken all of them.

    Memory: what the stage holds, and `ahead` outputs.
    """

    __slots__ = ("_ahead", "_make", "label")

    def __init__(self, label: str, make: Callable[[], HostedStage], *, ahead: int = 1) -> None:
        self.label = label
        self._make = make
        self._ahead = ahead

    def connect(self, strand: Strand, run: Run[Any]) -> Strand:
        channel: Channel[Any] = Channel(self._ahead)
        pump = run.pump(strand, channel, self.label)
        host = _Host(self._make(), channel, run.clock, pump.finish)
        pump.offer = host.offer
        pump.finish = host.finish
        return Strand(Feed(channel, shape="drains", closers=[(self.label, host.close)]), run)


class _Host:
    """Runs one stage against one clock.

    Attributes:
        offer: Takes one item from the source; what comes out goes into the channel.
    """

    __slots__ = ("_armed_for", "_channel", "_clock", "_end", "_lingering", "_stage", "_timer", "offer")

    def __init__(
        self, stage: HostedStage, channel: Channel[Any], clock: Clock, end: Callable[[BaseException | None], None]
    ) -> None:
        self._stage = stage
        self._channel = channel
        self._clock = clock
        self._end = end
        self._timer: Timer | None = None
        # When the timer will call; endless without one, so that one comparison tells whether to arm it.
        self._armed_for = inf
        self._lingering = False
        self.offer = stage.ready(clock.now, self._offering())
        channel.on_room = self._room

    def _offering(self) -> Callable[[Any], None]:
        """The whole way of an item, with all that it needs looked up once."""
        stage, extend, clock = self._stage, self._channel.extend, self._clock.now
        feed, fire = stage.feed, stage.fire

        def offer(item: Any) -> None:
            now = clock()
            deadline = stage.deadline
            if deadline is not None and deadline <= now:
                extend(fire(now))
            out = feed(item, now)
            if out:
                extend(out)
            deadline = stage.deadline
            if deadline is not None and deadline < self._armed_for:
                self._arm(deadline)
            if stage.done:
                raise Enough

        return offer

    def finish(self, error: BaseException | None) -> None:
        """The source is over and closed: give what is held, now or when it is due, then the end."""
        stage = self._stage
        if error is None and stage.lingers and stage.deadline is not None and not stage.done:
            self._lingering = True
            return
        self._disarm()
        if isinstance(error, Exception):
            self._flush(stage.abort)
        elif error is None and not stage.done:
            error = self._flush(stage.flush)
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
        # Of a reader who has left, the source's task learns at its next item: that one arms nothing any more.
        if not self._channel.closed:
            self._armed_for = deadline
            self._timer = self._clock.call_at(deadline, self._fire)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._armed_for = inf

    def _fire(self) -> None:
        self._timer = None
        self._armed_for = inf
        deadline = self._stage.deadline
        if deadline is None or self._channel.closed:
            return
        now = self._clock.now()
        if deadline > now:
            self._arm(deadline)
        elif not self._channel.buffer:
            self._give(now)

    def _give(self, now: float) -> None:
        """A deadline has passed, and the reader has room."""
        stage = self._stage
        try:
            self._channel.extend(stage.fire(now))
        except Exception as error:  # a timer has no caller: the reader hears of it
            self._channel.fail(error)
            return
        if stage.deadline is not None:
            self._arm(stage.deadline)
        elif self._lingering:
            self._end(self._flush(stage.flush))

    def _room(self) -> None:
        """The reader has taken something: a deadline that passed meanwhile is due."""
        deadline = self._stage.deadline
        if deadline is not None and self._timer is None and deadline <= self._clock.now():
            self._fire()
