"""Who is let through to an upstream: a circuit breaker and a rate limit, each shared by many streams."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import Any

from streamkit.errors import OverloadedError
from streamkit.events.model import Usage
from streamkit.flow.backoff import check_number
from streamkit.flow.breaker import CircuitBreaker, Passage
from streamkit.flow.clock import Clock
from streamkit.flow.plan import Around, Laid, Same, check_count
from streamkit.flow.rates import Permit, RateLimiter
from streamkit.flow.runs import Run
from streamkit.flow.series import is_output
from streamkit.flow.siblings import Plan, close_unbegun
from streamkit.flow.sources import Feed, Source
from streamkit.flow.strands import OwnLimits
from streamkit.operators.retrying import On, asked_of

__all__ = ["circuit_breaker", "rate_limit"]


def circuit_breaker(breaker: CircuitBreaker, *, on: On | None = None) -> Same:
    """Leave an upstream alone that fails again and again.

    Args:
        breaker: What is known of the upstream; one for all streams that ask it.
        on: Types of errors, or a function of one, that are the upstream's fault. By default those that may pass (see
            `retry`): a wrong key or request says nothing of its health.

    While the circuit is open the source is not opened. A stream that ends well has succeeded; one that fails has
    failed, behind its first output too; one that is left or cancelled counts for neither. A probe has succeeded
    with its first output. Put `retry` behind it, not before it, and it waits as long as the circuit is open.

    Yields:
        The items, unchanged.

    Memory: nothing.
    Cancellation: the source is closed, and a probe's place is free again.
    Raises:
        OverloadedError: the circuit is open, when the first item is asked for; with `retry_after`, and the code
            "circuit_open".
        TypeError: no `CircuitBreaker`, at the call.

    >>> breaker = CircuitBreaker(failures=1, cool_down=30)
    >>> run((stream(["Hello"]) | circuit_breaker(breaker)).collect()), breaker
    (['Hello'], <CircuitBreaker closed, 0 of 1 failures>)
    """
    if not isinstance(breaker, CircuitBreaker):  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers reach this
        raise TypeError(f"circuit_breaker() takes a CircuitBreaker, got {type(breaker).__name__}")
    counts = asked_of("circuit_breaker", on)
    return Same(_Gated("circuit_breaker()", lambda clock: _Circuit(breaker, counts, clock)))


def rate_limit(limiter: RateLimiter, *, cost: int = 0, key: Hashable = None, max_wait: float | None = None) -> Same:
    """Ask an upstream no faster than it allows.

    Args:
        limiter: The limit, shared by all streams that it is for.
        cost: Tokens that the stream will use, estimated: its prompt and what it may answer.
        key: Whose limit it is, where each has one.
        max_wait: Most seconds to wait for the turn; None waits as long as it takes.

    One request and `cost` tokens are taken before the source is opened, first come, first served. When the stream says
    its `Usage` the difference is settled: given back, or waited for by those who come next. A stream that was cut or
    left is settled by what it had said; where it had said nothing the estimate stays, but for one that failed
    before its first output: that one used no tokens. A `timeout` behind it counts the wait for the turn, one before it
    does not.

    Yields:
        The items, unchanged.

    Memory: one reservation.
    Cancellation: who waits leaves the queue, and nothing was taken; the source is closed.
    Raises:
        RateLimitError: the wait would be longer than max_wait, with `retry_after`; the source is not opened.
        ConfigError, TypeError: numbers that cannot work, at the call.

    >>> limiter = RateLimiter(requests_per_minute=600)
    >>> run((stream(["Hello"]) | rate_limit(limiter)).collect())
    ['Hello']
    """
    if not isinstance(limiter, RateLimiter):  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers reach this
        raise TypeError(f"rate_limit() takes a RateLimiter, got {type(limiter).__name__}")
    check_count("rate_limit", "cost", cost, 0)
    if max_wait is not None:
        check_number("rate_limit", "max_wait", max_wait, 0.0)
    hash(key)
    return Same(_Gated("rate_limit()", lambda clock: _Metered(limiter, cost, key, max_wait)))


class _Gate:
    """What one stream is told to do before it is opened, and tells of itself."""

    async def enter(self) -> None:
        """Wait for the turn, or refuse."""
        raise NotImplementedError(f"{type(self).__name__}.enter")

    def passed(self, batch: list[Any]) -> None:
        """Items have come."""

    def ended(self) -> None:
        """It came to its end."""

    def failed(self, error: Exception) -> None:
        """It failed, or was refused."""

    def closed(self) -> None:
        """It is closed, whatever came of it."""


class _Gated(Around):
    """A gate in a plan: the source is opened behind it."""

    def __init__(self, label: str, gate: Callable[[Clock], _Gate]) -> None:
        self.label = label
        self._gate = gate

    def around(self, source: Source, parts: tuple[Laid, ...]) -> Source:
        def open_feed(run: Run[Any]) -> Feed:
            guarded = _Guarded(self._gate(run.clock), run, (source, parts))
            return Feed(guarded, shape="lists", closers=[(source.label, OwnLimits(guarded.aclose))])

        return Source(lambda: f"{source.label} | {self.label}", open_feed, repeatable=source.repeatable, inner=((source, parts),))


class _Guarded:
    """The iterator behind a gate."""

    __slots__ = ("_gate", "_inner", "_next", "_plan", "_run")

    def __init__(self, gate: _Gate, run: Run[Any], plan: Plan) -> None:
        self._gate = gate
        self._run = run
        self._plan: Plan | None = plan
        self._inner: Run[Any] | None = None
        self._next: Callable[[], Awaitable[list[Any]]] = self._first

    def __aiter__(self) -> _Guarded:
        return self

    async def __anext__(self) -> list[Any]:
        try:
            batch = await self._next()
        except StopAsyncIteration:
            self._gate.ended()
            raise
        except Exception as error:
            self._gate.failed(error)
            raise
        self._gate.passed(batch)
        return batch

    async def _first(self) -> list[Any]:
        """The source is opened when the gate is: a callable may make a request in it."""
        await self._gate.enter()
        plan, self._plan = self._plan, None
        assert plan is not None
        self._inner = self._run.inside(*plan)
        self._next = self._inner.lists().__anext__
        if self._inner.partial is not None:
            self._run.keep_partial(self._partial)
        return await self._next()

    def _partial(self) -> object:
        return None if self._inner is None else self._inner.partial

    async def aclose(self) -> None:
        """Close what is open, and what was given and was refused."""
        try:
            if self._inner is not None:
                await self._inner.aclose()
            elif self._plan is not None:
                await close_unbegun(self._run, [self._plan])
        finally:
            self._gate.closed()


class _Circuit(_Gate):
    """One stream's way through a circuit breaker."""

    __slots__ = ("_breaker", "_clock", "_counts", "_passage")

    def __init__(self, breaker: CircuitBreaker, counts: Callable[[Exception], object], clock: Clock) -> None:
        self._breaker = breaker
        self._counts = counts
        self._clock = clock
        self._passage: Passage | None = None

    async def enter(self) -> None:
        now = self._clock.now()
        wait = self._breaker.wait(now)
        if wait > 0:
            raise OverloadedError(
                f"the circuit is open: the upstream failed {self._breaker.failures} times, and is left alone for {wait:.3g} s more",
                code="circuit_open",
                retry_after=wait,
            )
        self._passage = self._breaker.enter(now)

    def passed(self, batch: list[Any]) -> None:
        passage = self._passage
        if passage is not None and passage.probe and any(map(is_output, batch)):
            passage.begun()

    def ended(self) -> None:
        if self._passage is not None:
            self._passage.ended()

    def failed(self, error: Exception) -> None:
        if self._passage is not None:
            if self._counts(error):
                self._passage.failed(self._clock.now())
            else:
                self._passage.left()

    def closed(self) -> None:
        if self._passage is not None:
            self._passage.left()


class _Metered(_Gate):
    """One stream's permit."""

    __slots__ = ("_begun", "_permit", "_reservation", "_usage")

    def __init__(self, limiter: RateLimiter, cost: int, key: Hashable, max_wait: float | None) -> None:
        self._reservation = limiter.reserve(cost, key=key, max_wait=max_wait)
        self._permit: Permit | None = None
        self._usage: Usage | None = None
        self._begun = False

    async def enter(self) -> None:
        self._permit = await self._reservation.__aenter__()

    def passed(self, batch: list[Any]) -> None:
        for item in batch:
            if item.__class__ is Usage:
                self._usage = item
                if item.final:
                    self.closed()
        if not self._begun:
            self._begun = any(map(is_output, batch))

    def failed(self, error: Exception) -> None:
        if self._permit is not None and not self._begun and self._usage is None:
            self._permit.settle(0)

    def closed(self) -> None:
        if self._permit is not None and self._usage is not None:
            self._permit.settle((self._usage.input_tokens or 0) + (self._usage.output_tokens or 0))
