"""`rate_limit` and its limiter: how much passes in a time, who is next, and that nothing is lost."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import anyio
import pytest
from event_loops import asyncio_only
from hypothesis import given
from hypothesis import strategies as st

import streamkit as sk
from streamkit.flow.rates import CellRate, RateLimiter
from streamkit.operators.admission import rate_limit
from streamkit.testing import Probe, VirtualClock, timed

pytestmark = pytest.mark.anyio


# -- the rate


@given(st.floats(0.1, 1000), st.floats(0.01, 100), st.lists(st.tuples(st.floats(0, 10), st.integers(1, 50)), max_size=50))
def test_no_more_passes_than_the_rate_and_one_burst(rate: float, burst: float, asked: list[tuple[float, int]]) -> None:
    cells = CellRate(rate, burst)
    now, taken, biggest = 0.0, 0, 0
    for pause, count in asked:
        now += pause
        now += cells.wait(count, now)
        cells.take(count, now)
        taken += count
        biggest = max(biggest, count)
    # A request that is bigger than the burst passes once there is a whole burst, and is paid for by those behind it.
    assert taken <= rate * now + max(rate * burst, 1.0) + biggest + 1e-3


@given(st.lists(st.integers(1, 100), max_size=30), st.randoms(use_true_random=False))
def test_what_is_given_back_can_be_taken_again(counts: list[int], rng: random.Random) -> None:
    cells = CellRate(10.0, 20.0)
    for count in counts:
        cells.take(count, 5.0)
    rng.shuffle(counts)
    for count in counts:
        cells.take(-count, 5.0)
    assert cells.free(5.0) == pytest.approx(200.0)


# -- the limiter


async def test_requests_pass_at_the_rate(clock: VirtualClock) -> None:
    limiter = RateLimiter(requests_per_minute=60)
    times: list[float] = []
    for _ in range(4):
        async with limiter.reserve():
            times.append(clock.now())
    assert [0.0, 1.0, 2.0, 3.0] == pytest.approx(times)


async def test_a_burst_passes_at_once(clock: VirtualClock) -> None:
    limiter = RateLimiter(requests_per_minute=60, burst=3)
    times: list[float] = []
    for _ in range(5):
        async with limiter.reserve():
            times.append(clock.now())
    assert [0.0, 0.0, 0.0, 1.0, 2.0] == pytest.approx(times)


async def test_tokens_and_requests_both_count(clock: VirtualClock) -> None:
    limiter = RateLimiter(requests_per_minute=60, tokens_per_minute=6000, burst=1)
    times: list[float] = []
    for tokens in (100, 10, 10, 500, 1):
        async with limiter.reserve(tokens):
            times.append(clock.now())
    # The fourth is more than a burst: it waits for a whole one, and the fifth for what it owes.
    assert [0.0, 1.0, 2.0, 3.0, 7.01] == pytest.approx(times)


async def test_first_come_first_served_without_a_herd(clock: VirtualClock) -> None:
    limiter = RateLimiter(tokens_per_minute=60)
    order: list[int] = []
    woken: list[float] = []

    async def client(n: int) -> None:
        await clock.sleep(0.001 * (n + 1))
        async with limiter.reserve(1 + n % 3):
            order.append(n)
            woken.append(clock.now())

    async with anyio.create_task_group() as group:
        for n in range(30):
            group.start_soon(client, n)
        await clock.sleep(0.5)
        assert (29, 1) == (limiter.waiting(), clock.pending)
    assert list(range(30)) == order
    assert woken == sorted(woken)
    assert 30 == len({round(at, 3) for at in woken})


async def test_a_wait_that_would_be_too_long_is_refused_at_once(clock: VirtualClock) -> None:
    limiter = RateLimiter(requests_per_minute=60)
    async with limiter.reserve():
        pass
    with pytest.raises(sk.RateLimitError) as caught:
        async with limiter.reserve(max_wait=0.5):
            pass
    assert 0.0 == clock.now()
    assert 1.0 == pytest.approx(caught.value.retry_after)
    async with limiter.reserve(max_wait=1.5):
        assert 1.0 == pytest.approx(clock.now())


async def test_who_has_left_the_queue_makes_nobody_wait(clock: VirtualClock) -> None:
    limiter = RateLimiter(tokens_per_minute=60)

    async def impatient() -> None:
        async with limiter.reserve(1000):
            raise AssertionError("it was cancelled")

    async with limiter.reserve(1):
        async with anyio.create_task_group() as group:
            group.start_soon(impatient)
            await clock.sleep(0.1)
            with pytest.raises(sk.RateLimitError):
                await limiter.reserve(1, max_wait=60).__aenter__()
            group.cancel_scope.cancel()
        async with limiter.reserve(1, max_wait=1):
            assert 1.0 == pytest.approx(clock.now())


async def test_a_wait_that_grew_too_long_is_given_up(clock: VirtualClock) -> None:
    limiter = RateLimiter(tokens_per_minute=60)
    raised: list[float] = []

    async def late() -> None:
        with suppress(sk.RateLimitError):
            async with limiter.reserve(1, max_wait=2.0):
                return
        raised.append(clock.now())

    async with limiter.reserve(1) as permit, anyio.create_task_group() as group:
        group.start_soon(late)
        await clock.sleep(0.5)
        permit.settle(100)
    assert [2.0] == raised
    assert (0, 0) == (limiter.waiting(), clock.pending)


async def test_settling_gives_back_what_was_too_much(clock: VirtualClock) -> None:
    limiter = RateLimiter(tokens_per_minute=600, burst=10)
    async with limiter.reserve(100) as permit:
        assert (None, 0.0) == limiter.free()
        permit.settle(30)
        assert 70.0 == pytest.approx(limiter.free()[1])
        permit.settle(40)
    assert 60.0 == pytest.approx(limiter.free()[1])
    assert 40 == permit.charged


async def test_settling_wakes_who_waits_for_it(clock: VirtualClock) -> None:
    limiter = RateLimiter(tokens_per_minute=60, burst=100)
    served: list[float] = []

    async def second() -> None:
        async with limiter.reserve(50):
            served.append(clock.now())

    async with limiter.reserve(100) as permit, anyio.create_task_group() as group:
        group.start_soon(second)
        await clock.sleep(1.0)
        permit.settle(10)
    assert [1.0] == served


async def test_keys_have_limits_of_their_own(clock: VirtualClock) -> None:
    limiter = RateLimiter(requests_per_minute=1)
    for key in ("a", "b", ("c", 1)):
        async with limiter.reserve(key=key):
            assert 0.0 == clock.now()


async def test_keys_are_forgotten_when_there_are_too_many(clock: VirtualClock) -> None:
    limiter = RateLimiter(requests_per_minute=60, keys=10)
    for key in range(1000):
        async with limiter.reserve(key=key):
            await clock.sleep(0.01)
    assert "<RateLimiter 60 requests, None tokens a minute, 10 keys>" == repr(limiter)


async def test_a_key_for_which_somebody_waits_is_not_forgotten(clock: VirtualClock) -> None:
    limiter = RateLimiter(requests_per_minute=60, keys=1)
    served: list[float] = []

    async def second() -> None:
        async with limiter.reserve(key="a"):
            served.append(clock.now())

    async with anyio.create_task_group() as group:
        async with limiter.reserve(key="a"):
            group.start_soon(second)
            await clock.sleep(0.1)
        for key in range(20):
            async with limiter.reserve(key=key):
                assert 1 == limiter.waiting("a")
    assert [1.0] == pytest.approx(served)


@pytest.mark.parametrize("anyio_backend", [("trio", {})], indirect=True)  # whose virtual clock is quick with so many tasks
async def test_of_ten_thousand_cancelled_waiters_no_permit_is_lost(clock: VirtualClock) -> None:
    """LIM-05."""
    rng = random.Random(9)
    limiter = RateLimiter(requests_per_minute=60_000, tokens_per_minute=600_000, burst=10)
    scopes: list[anyio.CancelScope] = []
    taken = 0
    granted = 0

    async def client(tokens: int) -> None:
        nonlocal taken, granted
        with anyio.CancelScope() as scope:
            scopes.append(scope)
            async with limiter.reserve(tokens) as permit:
                taken += permit.charged
                granted += 1

    async with anyio.create_task_group() as group:
        async with limiter.reserve(100_000) as permit:
            for _ in range(10_000):
                group.start_soon(client, rng.randrange(50))
            for _ in range(20):
                await clock.sleep(0.5)
                for scope in rng.sample(scopes, 400):
                    scope.cancel()
        for scope in scopes:
            scope.cancel()
    assert 0 == limiter.waiting()
    assert 100 < granted < 10_000
    elapsed = clock.now()
    requests, tokens = limiter.free()
    # What is free is the burst, less what was taken and not yet paid for: to the last one.
    assert tokens == pytest.approx(min(100_000.0, 100_000 - permit.charged - taken + 10_000 * elapsed), abs=1.0)
    await clock.sleep(10)
    assert (10_000.0, 100_000.0) == pytest.approx(limiter.free())
    assert 0 == clock.pending
    assert requests is not None


@asyncio_only
async def test_a_cancel_that_comes_with_the_turn_gives_it_back(clock: VirtualClock) -> None:
    limiter = RateLimiter(requests_per_minute=60, tokens_per_minute=60, burst=100)

    async def second() -> None:
        async with limiter.reserve(70):
            raise AssertionError("it was cancelled")

    async with limiter.reserve(100) as permit:
        task = asyncio.create_task(second())
        await asyncio.sleep(0)
        assert 1 == limiter.waiting()
        permit.settle(10)
        assert 0 == limiter.waiting()
        task.cancel()
        await asyncio.wait([task])
    assert task.cancelled()
    assert (99.0, 90.0) == pytest.approx(limiter.free())


@given(
    st.lists(st.tuples(st.integers(0, 30), st.sampled_from(["keep", "cancel", "settle"])), min_size=1, max_size=12), st.integers()
)
def test_any_mix_of_cancels_and_settling_keeps_the_sum(clients: list[tuple[int, str]], seed: int) -> None:
    async def main() -> None:
        async with VirtualClock() as clock:
            rng = random.Random(seed)
            limiter = RateLimiter(tokens_per_minute=600, burst=3)
            charged: list[int] = []
            begun = clock.now()

            async def client(tokens: int, what: str) -> None:
                with anyio.CancelScope() as scope:
                    if what == "cancel":
                        clock.call_at(clock.now() + rng.uniform(0, 4), scope.cancel)
                    async with limiter.reserve(tokens) as permit:
                        if what == "settle":
                            await clock.sleep(rng.uniform(0, 2))
                            permit.settle(tokens // 2)
                        charged.append(permit.charged)

            async with anyio.create_task_group() as group:
                for tokens, what in clients:
                    group.start_soon(client, tokens, what)
            assert 0 == limiter.waiting()
            # All that was charged fits into the time and one burst; at the end everything comes back.
            assert sum(charged) <= 10 * (clock.now() - begun) + 30 + 30
            await clock.sleep(1000)
            assert 30.0 == pytest.approx(limiter.free()[1])

    anyio.run(main, backend="trio")


# -- streams


async def test_the_source_is_opened_when_its_turn_has_come(clock: VirtualClock) -> None:
    limiter = RateLimiter(requests_per_minute=60)
    opened: list[float] = []

    async def source() -> AsyncIterator[str]:
        opened.append(clock.now())
        yield "a"

    def make() -> AsyncIterator[str]:
        opened.append(clock.now())
        return source()

    plan = sk.stream(make) | rate_limit(limiter)
    assert [["a"], ["a"]] == [await plan.collect(), await plan.collect()]
    assert [0.0, 0.0, 1.0, 1.0] == pytest.approx(opened)


async def test_usage_settles_the_estimate(clock: VirtualClock) -> None:
    limiter = RateLimiter(tokens_per_minute=60, burst=1000)
    answer = timed(sk.TextDelta("Hi"), sk.Usage(20, 10), sk.Finish())
    await (answer | rate_limit(limiter, cost=900)).run()
    assert 970.0 == pytest.approx(limiter.free()[1])


async def test_a_cut_answer_settles_what_it_had_said(clock: VirtualClock) -> None:
    limiter = RateLimiter(tokens_per_minute=60, burst=1000)
    answer = timed(sk.Usage(20, 1, final=False), sk.TextDelta("Hi"), sk.StreamTruncated("cut"))
    with pytest.raises(sk.StreamTruncated):
        await (answer | rate_limit(limiter, cost=900)).run()
    assert 979.0 == pytest.approx(limiter.free()[1])


async def test_an_answer_that_is_left_settles_what_it_had_said(clock: VirtualClock) -> None:
    limiter = RateLimiter(tokens_per_minute=60, burst=1000)
    async with timed(sk.Usage(20, 1, final=False), sk.TextDelta("Hi"), 9.0, sk.Finish()) | rate_limit(limiter, cost=900) as items:
        assert sk.Usage(20, 1, final=False) == await items.__anext__()
    assert 979.0 == pytest.approx(limiter.free()[1])


async def test_without_usage_the_estimate_stays_unless_nothing_came(clock: VirtualClock) -> None:
    limiter = RateLimiter(tokens_per_minute=60, burst=1000)
    await (timed("a") | rate_limit(limiter, cost=100)).run()
    with pytest.raises(OSError, match="x"):
        await (timed("a", OSError("x")) | rate_limit(limiter, cost=100)).run()
    assert 800.0 == pytest.approx(limiter.free()[1])
    with pytest.raises(OSError, match="x"):
        await (timed(OSError("x")) | rate_limit(limiter, cost=100)).run()
    assert 800.0 == pytest.approx(limiter.free()[1])


async def test_a_stream_that_is_cancelled_in_the_queue_takes_nothing_and_closes_its_source(clock: VirtualClock) -> None:
    limiter = RateLimiter(requests_per_minute=60)
    async with limiter.reserve():
        pass
    probe = Probe(["a"])
    with anyio.CancelScope() as scope:
        clock.call_at(0.5, scope.cancel)
        await (sk.stream(probe) | rate_limit(limiter)).run()
    assert (0, 1, 0, 0) == (probe.asked, probe.closed, limiter.waiting(), clock.pending)
    await clock.sleep(0.5)
    assert 1.0 == pytest.approx(limiter.free()[0])


async def test_a_stream_that_would_wait_too_long_is_refused_and_closes_its_source(clock: VirtualClock) -> None:
    limiter = RateLimiter(requests_per_minute=60)
    async with limiter.reserve():
        pass
    probe = Probe(["a"])
    with pytest.raises(sk.RateLimitError) as caught:
        await (sk.stream(probe) | rate_limit(limiter, max_wait=0)).run()
    assert 1.0 == pytest.approx(caught.value.retry_after)
    assert (0, 1) == (probe.asked, probe.closed)


async def test_a_reservation_is_entered_once(clock: VirtualClock) -> None:
    reservation = RateLimiter(requests_per_minute=60).reserve()
    async with reservation:
        pass
    with pytest.raises(sk.ConfigError, match="entered once"):
        await reservation.__aenter__()


@pytest.mark.parametrize(
    "call",
    [
        lambda: RateLimiter(),
        lambda: RateLimiter(requests_per_minute=0),
        lambda: RateLimiter(tokens_per_minute=float("nan")),
        lambda: RateLimiter(requests_per_minute=True),
        lambda: RateLimiter(requests_per_minute=1, burst=0),
        lambda: RateLimiter(requests_per_minute=1, keys=0),
        lambda: RateLimiter(requests_per_minute=1).reserve(-1),
        lambda: RateLimiter(requests_per_minute=1).reserve(key=[]),  # type: ignore[arg-type]  # on purpose
        lambda: rate_limit(5),  # type: ignore[arg-type]  # on purpose
        lambda: rate_limit(RateLimiter(requests_per_minute=1), cost=-1),
        lambda: rate_limit(RateLimiter(requests_per_minute=1), max_wait=float("nan")),
    ],
)
def test_wrong_arguments_are_said_at_the_call(call: Callable[[], object]) -> None:
    with pytest.raises((TypeError, sk.ConfigError)):
        call()
