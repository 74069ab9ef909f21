"""Operators that know the time: they wait for it, hold items until it comes, or say it.

All take it from the Run's clock, which only goes forward: somebody who sets the computer's clock moves nothing here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, TypeVar, overload

from streamkit.errors import ConfigError
from streamkit.events.model import Ping
from streamkit.flow.plan import Op, Same, check_callable, check_seconds, describe
from streamkit.flow.shaped import Widens
from streamkit.flow.timed import TimedBoundary
from streamkit.flow.timed_parts import (
    debounce_part,
    delay_part,
    heartbeat_part,
    pace_part,
    sample_part,
    throttle_part,
    timestamped_part,
)
from streamkit.flow.timeouts import TimeoutBoundary
from streamkit.stages.pacing import Unit
from streamkit.stages.stage import TimedStage

__all__ = [
    "Timestamped",
    "debounce",
    "delay",
    "heartbeat",
    "pace",
    "sample",
    "throttle",
    "timed_stage",
    "timeout",
    "timestamped",
]

T = TypeVar("T")
U = TypeVar("U")


def timeout(
    *, first: float | None = None, idle: float | None = None, total: float | None = None, wire: float | None = None
) -> Same:
    """Fail when the source is too slow.

    Args:
        first: Most seconds until the first item; `idle` where it is not given.
        idle: Most seconds between two items.
        total: Most seconds from the first request to the end.
        wire: Most seconds without a sign of life from a provider: any byte, also a ping that gives no item. For a
            source without a wire, each item is one.

    The clocks run only while the source is being waited for: a slow consumer is never timed out. A provider that pings
    for ever runs into `idle`, one whose connection has died into `wire`, which can be much shorter.

    Yields:
        The items, unchanged.

    Memory: nothing on asyncio; one item on trio, where the source has a task of its own.
    Cancellation: the source is cancelled when a clock runs out, and closed.
    Raises:
        StreamTimeout: with `.phase` and, for a stream of events, `.partial`.
        ConfigError, TypeError: no limit at all, or one that is not positive seconds, at the call.

    >>> run((stream([1, 2]) | timeout(first=5, idle=1)).collect())
    [1, 2]
    """
    limits = {"first": first, "idle": idle, "total": total, "wire": wire}
    for name, value in limits.items():
        if value is not None:
            check_seconds("timeout", name, value)
    if all(value is None for value in limits.values()):
        raise ConfigError("timeout() needs at least one of first=, idle=, total=, wire= (seconds)")
    return Same(TimeoutBoundary(first, idle, total, wire))


def debounce(seconds: float) -> Same:
    """Give the newest item, once nothing came for a while.

    For what is only worth showing when it stands still: the text of a search box, the newest of many states.

    Args:
        seconds: How long it must be silent, more than 0.

    Yields:
        The newest item after each silence, and the last one at the end. Control events pass at once, behind
        what was held; deltas of events that were superseded leave a `Gap`.

    Memory: one item.
    Cancellation: what is held is dropped; the source is closed.
    Raises:
        ConfigError, TypeError: no positive, finite number of seconds, at the call.

    >>> run((stream(["s", "st", "str"]) | debounce(0.3)).collect())
    ['str']
    """
    return Same(debounce_part(seconds))


def throttle(seconds: float, *, trailing: bool = True) -> Same:
    """Give at most one item in so many seconds: the first at once, then the newest at the end of each period.

    Args:
        seconds: The least time between two items, more than 0.
        trailing: Whether the newest item of a period is given at its end, so that the last state of all is never
            missed; else a period's other items are dropped.

    Yields:
        Items at least `seconds` apart, but for the last one, which comes with the end. Control events pass at once, behind
        what was held; dropped deltas of events leave a `Gap`.

    Memory: one item.
    Cancellation: what is held is dropped; the source is closed.
    Raises:
        ConfigError, TypeError: no positive, finite number of seconds, at the call.

    >>> run((stream(["1 %", "2 %", "99 %", "100 %"]) | throttle(0.1)).collect())
    ['1 %', '100 %']
    """
    return Same(throttle_part(seconds, trailing))


def sample(seconds: float) -> Same:
    """Give the newest item at each tick of a clock, if one came since the last tick.

    Args:
        seconds: From tick to tick, more than 0. The ticks are counted from the first item.

    Yields:
        The newest item at each tick, and the last one at the end. Control events pass at once, behind what was
        held; deltas of events that were superseded leave a `Gap`.

    Memory: one item.
    Cancellation: what is held is dropped; the source is closed.
    Raises:
        ConfigError, TypeError: no positive, finite number of seconds, at the call.

    >>> run((stream([20.1, 20.3, 20.2]) | sample(1.0)).collect())
    [20.2]
    """
    return Same(sample_part(seconds))


def delay(seconds: float, *, size: int = 1024) -> Same:
    """Give each item later.

    Args:
        seconds: How much later than it came, more than 0.
        size: Most items that are held; a source that is further ahead is suspended.

    Yields:
        The items, in order. The end, or an error, comes with the last of them.

    Memory: `size` items.
    Cancellation: what is held is dropped; the source is closed in its own task.
    Raises:
        ConfigError, TypeError: no positive, finite number of seconds or no size, at the call.

    >>> run((stream(["a", "b"]) | delay(0.01)).collect())
    ['a', 'b']
    """
    return Same(delay_part(seconds, size))


def pace(
    rate: float,
    *,
    unit: Unit = "characters",
    max_lag: float = 1.0,
    at_end: Literal["paced", "at_once"] = "paced",
    size: int = 16_384,
) -> Same:
    """Let text that comes in lumps flow at an even rate.

    The first piece is given at once, the others when they are due. What comes faster than the rate is held; the more is
    held the faster it goes, so that nothing is ever late by more than `max_lag`. A late timer gives all that
    was due meanwhile, and while nothing is held nothing is done.

    Args:
        rate: Units per second, more than 0.
        unit: "characters", "tokens" (of four characters) or "items". The first two cut strings, text and reasoning
            deltas, though no character as readers see it, and join them again; items are given as they are.
        max_lag: Most seconds by which something is late (and a frame, 0.02 s).
        at_end: "paced" goes on as before when the source has ended; "at_once" gives the rest then.
        size: Most characters or items that are held; what is more is given at once.

    Yields:
        The same text in other pieces, at most 50 a second. What must not wait, every control event above all, is given at once,
        behind all that was held. Empty pieces are not given.

    Memory: `size` characters or items.
    Cancellation: what is held is dropped; the source is closed.
    Raises:
        ConfigError, TypeError: a rate, lag or size that is not positive and finite, no such unit, at the call.

    An error of the source makes give all that is held, at once, and comes behind it.

    >>> run((stream(["Hello"]) | pace(1000)).join())
    'Hello'
    """
    return Same(pace_part(rate, unit, max_lag, at_end, size))


@overload
def heartbeat(seconds: float, *, size: int = 64) -> Widens[Ping]: ...
@overload
def heartbeat(seconds: float, make: Callable[[], U], *, size: int = 64) -> Widens[U]: ...
def heartbeat(seconds: float, make: Callable[[], Any] = Ping, *, size: int = 64) -> Widens[Any]:
    """Give a sign of life when nothing came for a while.

    Args:
        seconds: How long a reader waits in vain before it is given one, more than 0.
        make: Called for each; a `Ping` event by default.
        size: Most items read ahead, at least 1.

    Yields:
        The items, and between them pings. The time counts only while the reader waits: a slow one
        finds no pings piled up.

    Memory: `size` items, or one ping.
    Cancellation: the source is closed in its own task.
    Raises:
        ConfigError, TypeError: no positive, finite number of seconds, no size, or no plain callable, at the call.

    >>> run((stream(["a"]) | heartbeat(15)).collect())
    ['a']
    """
    return Widens(heartbeat_part(seconds, make, size))


def timed_stage(make: Callable[[], TimedStage[T, U]]) -> Op[T, U]:
    """A stage that knows the time as an operator; `sk.stage` takes those that do not.

    Args:
        make: Makes a new stage for each Run: a class, or `lambda: MyStage(3)`.

    Yields:
        What `feed` and `fire` give, then what `flush` gives at the end.

    Memory: the stage's own, and one output waiting for the reader.
    Cancellation: the stage is dropped, not flushed; the source is closed in its own task.
    Raises:
        TypeError: a stage instead of its maker (its state would be shared by Runs), at the call.

    >>> from streamkit.stages.thinning import Debounce
    >>> run((stream(["a", "b"]) | timed_stage(lambda: Debounce(0.1))).collect())
    ['b']
    """
    if isinstance(make, TimedStage):
        raise TypeError(
            "timed_stage() takes a maker, because each Run needs a stage of its own: timed_stage(lambda: YourStage(...))"
        )
    check_callable("timed_stage", make)
    return Op(TimedBoundary(describe(make), make))


class Timestamped(NamedTuple, Generic[T]):
    """An item and when it came.

    Attributes:
        at: Seconds since the stream first asked its source, on the run's clock.
        item: What came.
    """

    at: float
    item: T


class Stamps(Op[Any, Timestamped[Any]]):
    """Gives each item with its time."""

    __slots__ = ()
    if TYPE_CHECKING:

        def _shape(self, item: T, /) -> Timestamped[T]: ...


def timestamped() -> Stamps:
    """Put the time beside each item.

    Yields:
        `Timestamped(at, item)`: seconds since the source was first asked, and the item. The clock is the
        run's own, which only goes forward.

    Memory: nothing.
    Cancellation: the source is closed.

    >>> [(at, item)] = run((stream(["a"]) | timestamped()).collect())
    >>> 0 <= at < 5, item
    (True, 'a')
    """
    return Stamps(timestamped_part(Timestamped))
