"""A circuit breaker: when an upstream fails again and again, it is left alone for a while.

    closed      streams pass. A stream that ends well clears the count of failures; enough of them in a row, none older
                than the window, open the circuit
    open        streams are refused, until the cool-down is over
    half-open   so many streams pass as probes, the others are refused. The first output of a probe closes the circuit,
                a failure opens it anew; a probe that is left or cancelled says nothing, and its place is free again

Only the monotonic time that it is told counts. No tasks, no timers: the state follows when somebody asks.
"""

from __future__ import annotations

from collections import deque
from typing import Literal, TypeAlias

from streamkit.flow.backoff import check_number
from streamkit.flow.plan import check_count, check_seconds

__all__ = ["BreakerState", "CircuitBreaker", "Passage"]

BreakerState: TypeAlias = Literal["closed", "open", "half-open"]


class CircuitBreaker:
    """What is known of one upstream, shared by all streams that ask it.

    Args:
        failures: Streams that must fail in a row to open the circuit.
        window: Seconds within which they must fail.
        cool_down: Seconds for which the upstream is left alone.
        probes: Streams that may try it at once when these are over.

    Memory: the times of `failures` failures. It belongs to one event loop: nothing is locked.
    Raises:
        ConfigError, TypeError: numbers that cannot work.

    >>> breaker = CircuitBreaker(failures=2, cool_down=30)
    >>> for _ in range(2):
    ...     breaker.enter(0.0).failed(1.0)
    >>> breaker.state_at(1.0), breaker.wait(1.0), breaker.state_at(31.0)
    ('open', 30.0, 'half-open')
    """

    __slots__ = ("_failed_at", "_open_until", "_probing", "cool_down", "failures", "generation", "probes", "window")

    def __init__(self, failures: int = 5, *, window: float = 60.0, cool_down: float = 30.0, probes: int = 1) -> None:
        check_count("CircuitBreaker", "failures", failures, 1)
        check_count("CircuitBreaker", "probes", probes, 1)
        for name, value in (("window", window), ("cool_down", cool_down)):
            check_seconds("CircuitBreaker", name, value)
            check_number("CircuitBreaker", name, value, 0.0)
        self.failures = failures
        self.window = window
        self.cool_down = cool_down
        self.probes = probes
        self._failed_at: deque[float] = deque(maxlen=failures)
        # None while it is closed.
        self._open_until: float | None = None
        self._probing = 0
        # Counts its changes of mind: what a stream of an earlier time says counts no more.
        self.generation = 0

    def state_at(self, now: float) -> BreakerState:
        """How it stands."""
        if self._open_until is None:
            return "closed"
        return "open" if now < self._open_until else "half-open"

    def wait(self, now: float) -> float:
        """Seconds until a stream may pass: 0 if one may now. While probes are under way nobody knows, so it is a guess."""
        if self._open_until is None:
            return 0.0
        if now < self._open_until:
            return self._open_until - now
        return 0.0 if self._probing < self.probes else self.cool_down

    def enter(self, now: float) -> Passage:
        """Let one stream pass; only when `wait(now)` is 0."""
        probe = self._open_until is not None
        self._probing += probe
        return Passage(self, probe, self.generation)

    def reset(self) -> None:
        """Close the circuit and forget all failures."""
        self._change(None)

    def _change(self, open_until: float | None) -> None:
        self._open_until = open_until
        self._failed_at.clear()
        self._probing = 0
        self.generation += 1

    def succeeded(self, passage: Passage) -> None:
        """Told by a stream's `Passage`."""
        if passage.generation != self.generation:
            return
        if passage.probe:
            self._change(None)
        else:
            self._failed_at.clear()

    def failed(self, passage: Passage, now: float) -> None:
        """Told by a stream's `Passage`."""
        if passage.generation != self.generation:
            return
        self._failed_at.append(now)
        if passage.probe or (len(self._failed_at) == self.failures and self._failed_at[0] >= now - self.window):
            self._change(now + self.cool_down)

    def left(self, passage: Passage) -> None:
        """Told by a stream's `Passage`."""
        if passage.probe and passage.generation == self.generation:
            self._probing -= 1

    def __repr__(self) -> str:
        if self._open_until is None:
            return f"<CircuitBreaker closed, {len(self._failed_at)} of {self.failures} failures>"
        return f"<CircuitBreaker open until {self._open_until:g}, {self._probing} of {self.probes} probes under way>"


class Passage:
    """One stream's way through a circuit: what it tells first, counts."""

    __slots__ = ("_breaker", "_told", "generation", "probe")

    def __init__(self, breaker: CircuitBreaker, probe: bool, generation: int) -> None:
        self._breaker = breaker
        self._told = False
        self.probe = probe
        self.generation = generation

    def begun(self) -> None:
        """Output came: enough for a probe, and nothing for any other, which may still break."""
        if self.probe and not self._told:
            self._breaker.succeeded(self)
            # From here on it is a stream like any other.
            self.probe = False
            self.generation = self._breaker.generation

    def ended(self) -> None:
        """The stream ended well."""
        if not self._told:
            self._told = True
            self._breaker.succeeded(self)

    def failed(self, now: float) -> None:
        """The stream failed by the upstream's fault."""
        if not self._told:
            self._told = True
            self._breaker.failed(self, now)

    def left(self) -> None:
        """The stream was left or cancelled, or failed by a fault that is not the upstream's."""
        if not self._told:
            self._told = True
            self._breaker.left(self)
