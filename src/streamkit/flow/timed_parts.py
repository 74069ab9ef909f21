"""What the operators that know the time put into a plan, checked; shared by the functions and the methods of a stream."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Any

from streamkit.errors import ConfigError
from streamkit.flow.delays import DelayBoundary
from streamkit.flow.heartbeats import HeartbeatBoundary
from streamkit.flow.plan import (
    Part,
    Step,
    call_label,
    check_callable,
    check_count,
    check_seconds,
    describe,
    is_async_callable,
    unless,
)
from streamkit.flow.runs import Run
from streamkit.flow.strands import Strand
from streamkit.flow.timed import TimedBoundary
from streamkit.stages.batching import Batch, TimedBatch, WeighedBatch
from streamkit.stages.pacing import Pace, Unit
from streamkit.stages.thinning import Debounce, Sample, Throttle
from streamkit.stages.weighing import Measure, weigh_by
from streamkit.stages.windowing import Window

__all__ = [
    "MAX_BATCH",
    "batch_part",
    "debounce_part",
    "delay_part",
    "heartbeat_part",
    "pace_part",
    "sample_part",
    "throttle_part",
    "timestamped_part",
    "window_part",
]

# Items of a list whose number nobody has limited: a bound, where time, weight or `until` should be one.
MAX_BATCH = 65_536

# Lists that are complete and wait for the reader: a wake-up for each would cost as much as its items (bench_kernel).
AHEAD = 8


def batch_part(
    size: int | None,
    within: float | None,
    weight: Callable[[Any], float] | Measure | None = None,
    max_weight: float | None = None,
    until: Callable[[Any], object] | None = None,
) -> Part:
    """The part of `batch`: pure, or with a clock."""
    if size is None and within is None and max_weight is None and until is None:
        raise ConfigError("batch() needs to know when a list is complete: at least one of size, within=, max_weight=, until=")
    if size is not None:
        check_count("batch", "size", size, 1)
    if within is not None:
        check_time("batch", "within", within)
    if (weight is None) != (max_weight is None):
        given, missing = ("weight", "max_weight") if max_weight is None else ("max_weight", "weight")
        raise ConfigError(f"batch({given}=...) needs {missing}= as well: how items are weighed, and how much a list may weigh")
    if max_weight is not None:
        _check_positive("batch", "max_weight", max_weight)
    weigh = weight if weight is None or callable(weight) else weigh_by(weight)
    for name, fn in (("weight", weigh), ("until", until)):
        if fn is not None:
            _check_plain(f"batch({name}=...)", fn)
    label = call_label("batch", size, within=within, weight=weight, max_weight=max_weight, until=until)
    most = MAX_BATCH if size is None else size

    def make() -> Batch[Any] | WeighedBatch[Any]:
        if weigh is None and until is None:
            return Batch(most)
        return WeighedBatch(most, weigh=weigh, max_weight=max_weight, until=until)

    if within is None:
        return Step("stage", label, make)
    return TimedBoundary(label, lambda: TimedBatch[Any](make(), within), ahead=AHEAD)


def window_part(size: int, step: int, partial: bool) -> Part:
    """The part of `window`."""
    check_count("window", "size", size, 1)
    check_count("window", "step", step, 1)
    label = call_label("window", size, step=unless(1, step), partial=unless(False, partial))
    return Step("stage", label, lambda: Window[Any](size, step, partial=partial))


def debounce_part(seconds: float) -> Part:
    """The part of `debounce`."""
    check_time("debounce", "seconds", seconds)
    return TimedBoundary(f"debounce({seconds:g})", lambda: Debounce[Any](seconds))


def throttle_part(seconds: float, trailing: bool) -> Part:
    """The part of `throttle`."""
    check_time("throttle", "seconds", seconds)
    label = f"throttle({seconds:g})" if trailing else f"throttle({seconds:g}, trailing=False)"
    return TimedBoundary(label, lambda: Throttle[Any](seconds, trailing=trailing))


def sample_part(seconds: float) -> Part:
    """The part of `sample`."""
    check_time("sample", "seconds", seconds)
    return TimedBoundary(f"sample({seconds:g})", lambda: Sample[Any](seconds))


def pace_part(rate: float, unit: Unit, max_lag: float, at_end: str, size: int) -> Part:
    """The part of `pace`."""
    _check_positive("pace", "rate", rate)
    check_time("pace", "max_lag", max_lag)
    check_count("pace", "size", size, 1)
    if at_end not in ("paced", "at_once"):
        raise ConfigError(f"pace(at_end={at_end!r}): 'paced' or 'at_once'")

    def make() -> Pace[Any]:
        return Pace(rate, unit, max_lag=max_lag, linger=at_end == "paced", size=size)

    make()  # a unit that does not exist is said here
    return TimedBoundary(f"pace({rate:g} {unit}/s)", make)


def delay_part(seconds: float, size: int) -> Part:
    """The part of `delay`."""
    check_time("delay", "seconds", seconds)
    check_count("delay", "size", size, 1)
    return DelayBoundary(seconds, size)


def heartbeat_part(seconds: float, make: Callable[[], object], size: int) -> Part:
    """The part of `heartbeat`."""
    check_time("heartbeat", "seconds", seconds)
    _check_plain("heartbeat", make)
    check_count("heartbeat", "size", size, 1)
    return HeartbeatBoundary(seconds, make, size)


def timestamped_part(pair: type[tuple[Any, ...]]) -> Part:
    """The part of `timestamped`, which gives tuples of this class, of a time and an item."""
    return _Timestamps(pair)


class _Timestamps:
    """`timestamped` in a plan: a step of the fused loop that is made for one Run, because it has that Run's clock."""

    own_task = False
    label = "timestamped()"

    def __init__(self, pair: type[tuple[Any, ...]]) -> None:
        self._pair = pair

    def connect(self, strand: Strand, run: Run[Any]) -> Strand:
        now, pair = run.clock.now, self._pair
        # Without the frame of a named tuple's own, which would cost as much as all the rest.
        new: Callable[..., object] = tuple[Any, ...].__new__
        asked_at: float | None = None
        iterator, start = strand.iterator, strand.start

        async def begin() -> Any:
            nonlocal asked_at
            asked_at = now()
            return iterator if start is None else await start()

        def stamp(item: Any) -> object:
            nonlocal asked_at
            time = now()
            if asked_at is None:  # an item that stood before the source
                asked_at = time
            return new(pair, (time - asked_at, item))

        strand.start = begin
        strand.add(Step("map", self.label, stamp))
        return strand


def check_time(operator: str, name: str, value: object) -> None:
    """Raise TypeError or ConfigError for what is not a positive number of seconds that comes to an end."""
    check_seconds(operator, name, value)
    _check_positive(operator, name, value)


def _check_positive(operator: str, name: str, value: object) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{operator}({name}=...) takes a number, got {type(value).__name__}")
    if not isfinite(value) or value <= 0:
        raise ConfigError(f"{operator}({name}={value}): must be more than 0, and finite")


def _check_plain(operator: str, fn: object) -> None:
    check_callable(operator, fn)
    if is_async_callable(fn):
        raise TypeError(f"{operator} calls {describe(fn)} between two items and cannot await it: give a plain function")
