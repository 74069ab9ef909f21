"""When to try again, and how often: waits, budgets, and which errors pass by themselves.

Knows numbers and exceptions, no stream and no clock: times come in as `now`, on a monotonic scale.
"""

from __future__ import annotations

import random
from collections import deque
from math import isfinite
from typing import Any, Literal, TypeAlias

from streamkit.errors import (
    ConfigError,
    SourceError,
    StreamDraining,
    StreamInterrupted,
    StreamTimeout,
    StreamTruncated,
)
from streamkit.flow.plan import check_seconds

__all__ = ["Backoff", "Jitter", "RetryBudget", "asked_wait", "check_number", "is_transient"]

Jitter: TypeAlias = Literal["full", "none"]

# A window slides in so many steps; what fell out of it is forgotten a step at a time.
STEPS = 10

# Errors of ours and of the system that say nothing against asking again.
_PASSING = (StreamTruncated, StreamInterrupted, StreamDraining, StreamTimeout, ConnectionError, TimeoutError)

# What an SDK's error has as `status_code`: too slow, too early, too many, broken for the moment.
_PASSING_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504, 529})


def check_number(operator: str, name: str, value: object, least: float) -> None:
    """Raise TypeError or ConfigError for what is no finite number of at least `least`."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{operator}({name}=...) takes a number, got {type(value).__name__}")
    if not isfinite(value) or value < least:
        raise ConfigError(f"{operator}({name}={value}): a finite number, at least {least:g}")


def is_transient(error: BaseException) -> bool:
    """Whether the same request may succeed a little later.

    An error that says so itself is believed (`retryable`); so are cuts, timeouts and lost connections, and errors of
    an SDK with one of the statuses 408, 425, 429, 500, 502, 503, 504 and 529.

    >>> is_transient(ConnectionResetError()), is_transient(ValueError())
    (True, False)
    """
    if isinstance(error, SourceError):
        return error.retryable
    if isinstance(error, _PASSING):
        return True
    told = getattr(error, "retryable", None)
    return told if isinstance(told, bool) else getattr(error, "status_code", None) in _PASSING_STATUS


def asked_wait(error: BaseException, most: float) -> float:
    """The seconds that an error asks to wait (its `retry_after`), at most `most`; 0 for none, or for nonsense.

    >>> from streamkit.errors import RateLimitError
    >>> asked_wait(RateLimitError("slow down", retry_after=1e9), 60.0)
    60.0
    """
    told: Any = getattr(error, "retry_after", None)
    if not isinstance(told, int | float) or isinstance(told, bool) or not told > 0:
        return 0.0
    return min(float(told), most)


class Backoff:
    """How long to wait before the n-th new attempt.

    Args:
        first: The longest wait before the first of them, in seconds; 0 waits only where an error asks for it.
        factor: How much longer each further one may be, at least 1.
        most: The longest of all.
        jitter: "full" draws each wait between 0 and its longest, so that those who failed together do not come back
            together (Brooker, "Exponential Backoff And Jitter"); "none" takes the longest.
        most_asked: The longest wait that an error may ask for. It comes before the drawn one, not in its place: all who
            were turned away heard the same number.
        rng: Where draws come from.

    >>> waits = Backoff(first=0.5, factor=2, most=30, jitter="none", most_asked=60, rng=random.Random(1))
    >>> [waits.wait(n, OSError()) for n in (1, 2, 3, 99)]
    [0.5, 1.0, 2.0, 30.0]
    """

    __slots__ = ("_factor", "_first", "_jitter", "_most", "_most_asked", "_rng")

    def __init__(
        self, *, first: float, factor: float, most: float, jitter: Jitter, most_asked: float, rng: random.Random | None
    ) -> None:
        self._first = first
        self._factor = factor
        self._most = most
        self._jitter = jitter
        self._most_asked = most_asked
        self._rng = rng or random.Random()

    def wait(self, attempt: int, error: BaseException) -> float:
        """Seconds to wait after attempt number `attempt`, from 1, has failed with `error`."""
        longest = self._first
        for _ in range(1, attempt):
            longest *= self._factor
            if longest >= self._most or self._factor == 1:
                break
        longest = min(longest, self._most)
        drawn = self._rng.uniform(0.0, longest) if self._jitter == "full" else longest
        return asked_wait(error, self._most_asked) + drawn


class RetryBudget:
    """How many new attempts many streams may make together: a share of what they ask anyway.

    Without one, an upstream that is down gets the load of all its clients times their attempts. Give one budget to all
    streams of one upstream.

    Args:
        ratio: New attempts for each first one, within `per` seconds: 0.1 allows a tenth more load.
        per: Seconds that count.
        min_per_second: What is allowed where little is asked, in the place of the share and not beside it.

    Memory: one number for each tenth of `per`. It belongs to one event loop: nothing is locked.
    Raises:
        ConfigError, TypeError: numbers that cannot work.

    >>> budget = RetryBudget(ratio=0.5, min_per_second=0)
    >>> for second in range(4):
    ...     budget.request(second)
    >>> [budget.spend(4.0) for _ in range(3)]
    [True, True, False]
    """

    __slots__ = ("_at", "_floor", "_per", "_ratio", "_requests", "_retries", "_steps")

    def __init__(self, ratio: float = 0.1, *, per: float = 10.0, min_per_second: float = 1.0) -> None:
        check_number("RetryBudget", "ratio", ratio, 0.0)
        check_seconds("RetryBudget", "per", per)
        check_number("RetryBudget", "per", per, 0.0)
        check_number("RetryBudget", "min_per_second", min_per_second, 0.0)
        self._ratio = ratio
        self._per = per
        self._floor = min_per_second * per
        # First attempts and new ones, by steps of the window: the newest is the last.
        self._steps: deque[list[int]] = deque()
        self._at = 0
        self._requests = 0
        self._retries = 0

    def request(self, now: float) -> None:
        """A stream makes its first attempt."""
        self._step(now)[0] += 1
        self._requests += 1

    def spend(self, now: float) -> bool:
        """Whether one more new attempt is allowed; it counts as made."""
        step = self._step(now)
        if self._retries + 1 > max(self._ratio * self._requests, self._floor):
            return False
        step[1] += 1
        self._retries += 1
        return True

    def _step(self, now: float) -> list[int]:
        """The step of the window that `now` falls into; what fell out of the window is forgotten."""
        at = int(now * STEPS / self._per)
        gone = at - self._at
        if not self._steps or gone >= STEPS:
            self._steps = deque([[0, 0]])
            self._requests = self._retries = 0
            self._at = at
        for _ in range(gone if self._at != at else 0):
            self._steps.append([0, 0])
        # Another event loop may count from elsewhere: a time that lies back counts as now.
        self._at = max(self._at, at)
        while len(self._steps) > STEPS:
            requests, retries = self._steps.popleft()
            self._requests -= requests
            self._retries -= retries
        return self._steps[-1]

    def __repr__(self) -> str:
        return f"<RetryBudget {self._ratio:g}: {self._retries} new attempts for {self._requests} first ones>"
