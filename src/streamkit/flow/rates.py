"""How much may be asked in a time: a limiter over requests and tokens, with a queue for each key.

The limit is the generic cell rate algorithm (ITU-T I.371): of each measure one number is kept, the time at which
all that was taken would be paid off at the steady rate. What may be taken now is what that time is not further
ahead than the burst allows.

    reserve    what a stream will need at least, estimated: waits in the queue of its key, first come, first served
    granted    taken from both measures at once, so that nothing is held by who still waits
    settled    what it really was: the difference is given back, or taken and waited for by those who come next

Only the first of a queue has a timer. One who leaves the queue had taken nothing; one who was granted and is
cancelled before it knows gives everything back. So no permit is ever lost.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from functools import partial
from itertools import islice
from types import TracebackType

from streamkit.errors import ConfigError, RateLimitError
from streamkit.flow.backoff import check_number
from streamkit.flow.clock import Clock, current_clock
from streamkit.flow.plan import check_count, check_seconds
from streamkit.flow.tasks import Timer, current_backend

__all__ = ["CellRate", "Permit", "RateLimiter", "Reservation"]

KEYS = 10_000

# Keys that are looked at when one must be forgotten.
LOOKS = 8


class CellRate:
    """One measure: `rate` cells a second, of which those of `burst` seconds may come at once, but one at least.

    >>> rate = CellRate(rate=2.0, burst=1.0)
    >>> rate.take(2, now=0.0); rate.wait(1, now=0.0)
    0.5
    """

    __slots__ = ("_ahead", "_paid_at", "rate")

    def __init__(self, rate: float, burst: float) -> None:
        self.rate = rate
        # Seconds of the rate that may be taken ahead.
        self._ahead = max(burst, 1.0 / rate)
        self._paid_at = float("-inf")

    def wait(self, cells: float, now: float, *, behind: float = 0.0) -> float:
        """Seconds until so many may be taken, behind others; more than a whole burst waits for a whole burst."""
        needed = behind / self.rate + min(cells / self.rate, self._ahead)
        # Rounding must not leave a wait too small for the clock to move.
        waits = max(self._paid_at, now) + needed - self._ahead - now
        return waits if waits > 1e-9 * max(1.0, abs(now)) else 0.0

    def take(self, cells: float, now: float) -> None:
        """Take them, whether there are so many or not: what is too much is waited for by the next. Less than 0 gives back."""
        self._paid_at = max(self._paid_at, now) + cells / self.rate if cells > 0 else self._paid_at + cells / self.rate

    def idle(self, now: float) -> bool:
        """Whether it holds nothing that a new one does not."""
        return self._paid_at <= now

    def free(self, now: float) -> float:
        """Cells that may be taken at once; less than 0 in debt."""
        return (self._ahead - max(self._paid_at - now, 0.0)) * self.rate


class RateLimiter:
    """A limit on requests and tokens, shared by many streams, for each key apart.

    Args:
        requests_per_minute: Most requests a minute; None does not count them.
        tokens_per_minute: Most tokens a minute, of prompts and answers; None does not count them.
        burst: Seconds of these rates that may come at once.
        keys: Most keys that are remembered. Those who have paid everything off are forgotten first, then those whose
            last use is longest ago; never one for which somebody waits.

    Memory: a few numbers for each key, and those who wait. It belongs to one event loop: nothing is locked.
    Raises:
        ConfigError, TypeError: numbers that cannot work, or no limit at all.

    >>> async def main():
    ...     limiter = RateLimiter(tokens_per_minute=60_000)
    ...     async with limiter.reserve(500) as permit:
    ...         permit.settle(120)
    ...     return permit.charged
    >>> run(main())
    120
    """

    __slots__ = ("_burst", "_keys", "_queues", "_requests", "_tokens")

    def __init__(
        self,
        *,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        burst: float = 1.0,
        keys: int = KEYS,
    ) -> None:
        if requests_per_minute is None and tokens_per_minute is None:
            raise ConfigError("RateLimiter() needs requests_per_minute= or tokens_per_minute=")
        for name, value in (("requests_per_minute", requests_per_minute), ("tokens_per_minute", tokens_per_minute)):
            if value is not None:
                check_number("RateLimiter", name, value, 0.0)
                if not value > 0:
                    raise ConfigError(f"RateLimiter({name}={value}): must be more than 0")
        check_seconds("RateLimiter", "burst", burst)
        check_number("RateLimiter", "burst", burst, 0.0)
        check_count("RateLimiter", "keys", keys, 1)
        self._requests = requests_per_minute
        self._tokens = tokens_per_minute
        self._burst = burst
        self._keys = keys
        # The one used last stands last.
        self._queues: OrderedDict[Hashable, _Queue] = OrderedDict()

    def reserve(self, tokens: int = 0, *, key: Hashable = None, max_wait: float | None = None) -> Reservation:
        """One request and so many tokens: `async with limiter.reserve(500) as permit`.

        Args:
            tokens: What it will need, estimated; more than a burst waits until a whole burst is free.
            key: Whose limit it is.
            max_wait: Most seconds to wait; None waits as long as it takes.

        Raises:
            ConfigError, TypeError: numbers that cannot work, at the call.
            RateLimitError: when entered, it would take longer than `max_wait`, said at once; or it did.
        """
        check_count("reserve", "tokens", tokens, 0)
        if max_wait is not None:
            check_number("reserve", "max_wait", max_wait, 0.0)
        hash(key)
        return Reservation(self, tokens, key, max_wait)

    def free(self, key: Hashable = None) -> tuple[float | None, float | None]:
        """Requests and tokens that may be asked for now; None where there is no limit."""
        queue = self._queues.get(key) or self._make()
        return queue.free(current_clock().now())

    def waiting(self, key: Hashable = None) -> int:
        """How many wait for this key."""
        queue = self._queues.get(key)
        return 0 if queue is None else len(queue.row)

    def queue(self, key: Hashable) -> _Queue:
        """The queue of a key, now used last."""
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = self._make()
            if len(self._queues) > self._keys:
                self._forget(queue)
        else:
            self._queues.move_to_end(key)
        return queue

    def _make(self) -> _Queue:
        requests, tokens = (None if rate is None else CellRate(rate / 60, self._burst) for rate in (self._requests, self._tokens))
        return _Queue(requests, tokens)

    def _forget(self, newest: _Queue) -> None:
        """Forget one key. Only the first few are looked at: the longest unused are the likeliest to have paid."""
        now = current_clock().now()
        oldest = [key for key, queue in islice(self._queues.items(), LOOKS) if not queue.row and queue is not newest]
        paid = [key for key in oldest if self._queues[key].idle(now)]
        for key in (paid or oldest)[:1]:
            del self._queues[key]

    def __repr__(self) -> str:
        return f"<RateLimiter {self._requests} requests, {self._tokens} tokens a minute, {len(self._queues)} keys>"


class _Queue:
    """Those who wait for one key, and what it has left."""

    __slots__ = ("_requests", "_timer", "_tokens", "_waiting_tokens", "row")

    def __init__(self, requests: CellRate | None, tokens: CellRate | None) -> None:
        self._requests = requests
        self._tokens = tokens
        self._timer: Timer | None = None
        # In the order they came; one in the middle leaves in constant time.
        self.row: OrderedDict[_Waiting, None] = OrderedDict()
        self._waiting_tokens = 0

    def free(self, now: float) -> tuple[float | None, float | None]:
        """Requests and tokens that may be taken at once."""
        requests, tokens = self._requests, self._tokens
        return None if requests is None else requests.free(now), None if tokens is None else tokens.free(now)

    def idle(self, now: float) -> bool:
        """Whether all is paid off."""
        return all(rate is None or rate.idle(now) for rate in (self._requests, self._tokens))

    def wait_behind(self, tokens: int, now: float) -> float:
        """Seconds until all who wait and one more with so many tokens are served, if nobody needs more than he said."""
        requests, rate = self._requests, self._tokens
        wait = 0.0 if requests is None else requests.wait(1, now, behind=len(self.row))
        return wait if rate is None else max(wait, rate.wait(tokens, now, behind=self._waiting_tokens))

    def enter(self, waiting: _Waiting) -> None:
        """Wait in the row; granted already where it goes."""
        self.row[waiting] = None
        self._waiting_tokens += waiting.tokens
        self.grant(waiting.clock)

    def leave(self, waiting: _Waiting) -> None:
        """Wait no more; what was granted meanwhile is given back."""
        if waiting.granted:
            self.take(-1, -waiting.tokens, waiting.clock.now())
        else:
            del self.row[waiting]
            self._waiting_tokens -= waiting.tokens
        self.grant(waiting.clock)

    def grant(self, clock: Clock) -> None:
        """Serve those in front, as far as it goes, and set the timer for the next."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = clock.now()
        while self.row:
            waiting = next(iter(self.row))
            wait = self._wait(waiting.tokens, now)
            if wait > 0:
                # By the clock of the one who waits: a timer's callback has no context to find one in.
                self._timer = waiting.clock.call_at(now + wait, partial(self.grant, waiting.clock))
                return
            del self.row[waiting]
            self._waiting_tokens -= waiting.tokens
            self.take(1, waiting.tokens, now)
            waiting.granted = True
            waiting.wake()

    def take(self, requests: int, tokens: int, now: float) -> None:
        """Take so much, whether it is there or not; less than 0 gives back."""
        if self._requests is not None and requests:
            self._requests.take(requests, now)
        if self._tokens is not None and tokens:
            self._tokens.take(tokens, now)

    def _wait(self, tokens: int, now: float) -> float:
        wait = 0.0 if self._requests is None else self._requests.wait(1, now)
        return wait if self._tokens is None else max(wait, self._tokens.wait(tokens, now))


class _Waiting:
    """One who waits."""

    __slots__ = ("_late", "_waiter", "clock", "granted", "tokens")

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self.clock = current_clock()
        self.granted = False
        self._late = False
        self._waiter = current_backend().waiter()

    def wake(self) -> None:
        """The turn has come."""
        self._waiter.wake()

    def give_up(self) -> None:
        """The time is over."""
        self._late = True
        self._waiter.wake()

    async def until_granted(self, seconds: float | None) -> None:
        """Wait for the turn, so long."""
        timer = None if seconds is None else self.clock.call_at(self.clock.now() + seconds, self.give_up)
        try:
            while not (self.granted or self._late):
                await self._waiter.wait()
        finally:
            if timer is not None:
                timer.cancel()


class Reservation:
    """A place in the queue, entered by `async with`, which gives a `Permit`. It can be entered once."""

    __slots__ = ("_key", "_limiter", "_max_wait", "_permit", "_tokens")

    def __init__(self, limiter: RateLimiter, tokens: int, key: Hashable, max_wait: float | None) -> None:
        self._limiter = limiter
        self._tokens = tokens
        self._key = key
        self._max_wait = max_wait
        self._permit: Permit | None = None

    async def __aenter__(self) -> Permit:
        """Wait for the turn."""
        if self._permit is not None:
            raise ConfigError("a reservation is entered once: call reserve() for each request")
        queue = self._limiter.queue(self._key)
        waiting = _Waiting(self._tokens)
        if self._max_wait is not None:
            wait = queue.wait_behind(self._tokens, waiting.clock.now())
            if wait > self._max_wait:
                raise self._too_long(wait)
        queue.enter(waiting)
        if not waiting.granted:
            await self._wait(queue, waiting)
        self._permit = Permit(queue, self._tokens)
        return self._permit

    async def _wait(self, queue: _Queue, waiting: _Waiting) -> None:
        try:
            await waiting.until_granted(self._max_wait)
        except BaseException:
            queue.leave(waiting)
            raise
        if not waiting.granted:
            queue.leave(waiting)
            raise self._too_long(queue.wait_behind(self._tokens, waiting.clock.now()))

    def _too_long(self, wait: float) -> RateLimitError:
        return RateLimitError(
            f"this limiter would let the request wait for {wait:.3g} s, and max_wait is {self._max_wait:g} s",
            code="rate_limit",
            retry_after=wait,
        )

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """What was not settled stays as it was reserved."""


class Permit:
    """What was taken for one request.

    Attributes:
        charged: Its tokens, by what is known until now.
    """

    __slots__ = ("_queue", "charged")

    def __init__(self, queue: _Queue, tokens: int) -> None:
        self._queue = queue
        self.charged = tokens

    def settle(self, used: int) -> None:
        """It used so many tokens: give the rest back, or take what was too little. May be said again, when more is known."""
        check_count("settle", "used", used, 0)
        queue = self._queue
        difference, self.charged = used - self.charged, used
        if difference:
            clock = current_clock()
            queue.take(0, difference, clock.now())
            queue.grant(clock)
