"""`retry`: what it tries again, when, how often, and what it never does twice."""

from __future__ import annotations

import contextvars
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

import streamkit as sk
from streamkit.flow.backoff import Backoff, RetryBudget, asked_wait, is_transient
from streamkit.flow.clock import current_clock
from streamkit.operators.retrying import retry
from streamkit.testing import Probe, VirtualClock

pytestmark = pytest.mark.anyio


class Upstream:
    """Attempts, each a list of items that may end in an error; what was asked of it, and when."""

    def __init__(self, *attempts: list[Any]) -> None:
        self.attempts = attempts
        self.asked_at: list[float] = []
        self.probes: list[Probe[Any]] = []
        self.open_at_ask: list[int] = []

    def __call__(self) -> AsyncIterator[Any]:
        self.open_at_ask.append(sum(not probe.closed for probe in self.probes))
        script = self.attempts[min(len(self.probes), len(self.attempts) - 1)]
        self.asked_at.append(current_clock().now())
        error = script[-1] if script and isinstance(script[-1], BaseException) else None
        probe = Probe([item for item in script if not isinstance(item, BaseException)], error=error)
        self.probes.append(probe)
        return probe


def fails() -> list[Any]:
    return [sk.OverloadedError("busy")]


async def test_a_stream_that_fails_at_first_is_run_again(clock: VirtualClock) -> None:
    upstream = Upstream(fails(), fails(), ["a", "b"])
    assert ["a", "b"] == await (sk.stream(upstream) | retry(jitter="none")).collect()
    assert [0.0, 0.5, 1.5] == upstream.asked_at
    assert [1, 1, 1] == [probe.closed for probe in upstream.probes]


async def test_a_failed_attempt_is_closed_before_the_next_is_opened(clock: VirtualClock) -> None:
    upstream = Upstream(fails(), fails(), ["a"])
    await (sk.stream(upstream) | retry()).run()
    assert [0, 0, 0] == upstream.open_at_ask


@pytest.mark.parametrize("fused", [True, False])
async def test_what_was_given_is_never_given_again(clock: VirtualClock, fused: bool) -> None:
    """LIM-01: wherever the upstream fails behind its first token."""
    for count in range(1, 51):
        failure = sk.StreamTruncated("cut")
        upstream = Upstream([*range(count), failure], [*range(99)])
        got: list[int] = []
        with pytest.raises(sk.StreamTruncated) as caught:
            async with (sk.stream(upstream) | retry()).open(fused=fused) as items:
                async for item in items:
                    got.append(item)
        assert (list(range(count)), 1, failure) == (got, len(upstream.probes), caught.value)


async def test_it_is_repeated_only_where_that_was_asked_for(clock: VirtualClock) -> None:
    upstream = Upstream(["a", sk.StreamTruncated("cut")], ["a", "b"])
    assert ["a", "a", "b"] == await (sk.stream(upstream) | retry(after_output="repeat")).collect()


async def test_a_start_is_no_output_and_given_once(clock: VirtualClock) -> None:
    upstream = Upstream([sk.Start("1"), sk.Ping(), *fails()], [sk.Start("2"), sk.TextDelta("Hi"), sk.Finish()])
    assert [sk.Start("2"), sk.TextDelta("Hi"), sk.Finish()] == await (sk.stream(upstream) | retry()).collect()


async def test_what_was_held_back_comes_before_the_last_error(clock: VirtualClock) -> None:
    upstream = Upstream([sk.Start("1"), sk.BadRequestError("no")])
    got: list[object] = []
    with pytest.raises(sk.BadRequestError):
        async for event in sk.stream(upstream) | retry():
            got.append(event)
    assert [sk.Start("1")] == got


async def test_an_answer_without_any_output_is_given_as_it_is(clock: VirtualClock) -> None:
    assert [] == await (sk.stream(Upstream([])) | retry()).collect()
    assert [sk.Start("1")] == await (sk.stream(Upstream([sk.Start("1")])) | retry()).collect()


@pytest.mark.parametrize("lists", [True, False])
async def test_events_that_are_no_output_are_not_held_back_for_ever(lists: bool) -> None:
    given: list[int] = []

    async def pings() -> AsyncIterator[Any]:
        while True:
            given.append(1)
            yield sk.Ping()

    source = sk.stream(pings) | sk.buffer(1) if lists else sk.stream(pings)
    async with source | retry() | sk.take(100) as items:
        assert [sk.Ping()] * 100 == [event async for event in items]
    assert len(given) <= 110


async def test_the_last_error_is_raised_itself_with_a_note(clock: VirtualClock) -> None:
    errors = [sk.OverloadedError(str(n)) for n in range(3)]
    upstream = Upstream(*[[error] for error in errors])
    with pytest.raises(sk.OverloadedError) as caught:
        await (sk.stream(upstream) | retry(3)).run()
    assert caught.value is errors[2]
    assert ["retry: attempt 3 of 3 failed; it was the last"] == caught.value.__notes__


@pytest.mark.parametrize(
    "error", [ValueError("x"), TypeError("x"), sk.AuthError("x"), sk.ConfigError("x"), sk.ContentBlockedError("x")]
)
async def test_an_error_that_will_come_again_is_raised_at_once(clock: VirtualClock, error: Exception) -> None:
    upstream = Upstream([error])
    with pytest.raises(type(error)):
        await (sk.stream(upstream) | retry()).run()
    assert (1, 0.0) == (len(upstream.probes), clock.now())


class SdkError(Exception):
    """As SDKs have them."""

    def __init__(self, status_code: int) -> None:
        super().__init__(str(status_code))
        self.status_code = status_code


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (sk.RateLimitError("x"), True),
        (sk.RateLimitError("x", retryable=False), False),
        (sk.SourceError("x"), False),
        (sk.StreamTruncated("x"), True),
        (sk.StreamTimeout("x", phase="first", seconds=1), True),
        (ConnectionRefusedError(), True),
        (FileNotFoundError(), False),
        (SdkError(429), True),
        (SdkError(503), True),
        (SdkError(404), False),
        (KeyError("x"), False),
    ],
)
async def test_which_errors_may_pass(error: Exception, passes: bool) -> None:
    assert passes == is_transient(error)


async def test_on_chooses_by_type_or_by_a_function(clock: VirtualClock) -> None:
    for on in (KeyError, (OSError, KeyError), lambda error: "again" in str(error)):
        upstream = Upstream([KeyError("again")], ["a"])
        assert ["a"] == await (sk.stream(upstream) | retry(on=on)).collect()


async def test_a_maker_that_fails_counts_as_an_attempt(clock: VirtualClock) -> None:
    made: list[int] = []

    def make() -> list[str]:
        made.append(1)
        if len(made) < 3:
            raise ConnectionError("no route")
        return ["a"]

    assert ["a"] == await (sk.stream(make) | retry()).collect()


async def test_steps_before_it_are_run_again_too(clock: VirtualClock) -> None:
    upstream = Upstream([sk.Start(), *fails()], ["a", "b", "c"])
    source = sk.stream(upstream).map(str).skip(1).take(1)
    assert ["b"] == await (source | retry()).collect()


ATTEMPT = st.tuples(
    st.lists(st.sampled_from([sk.Start("x"), sk.Ping(), "a", "b"]), max_size=4), st.sampled_from(["ends", "passes", "stays"])
)


def as_it_should_be(attempts: list[tuple[list[Any], str]], most: int, repeats: bool) -> tuple[list[Any], bool]:
    """What comes out of so many attempts, and whether it ends well: `retry` in the words of its docstring."""
    out: list[Any] = []
    for at, (items, end) in enumerate(attempts[:most]):
        begun = "a" in items or "b" in items
        last = at == most - 1
        if end == "ends":
            return out + items, True
        if end == "stays" or last or (begun and not repeats):
            return out + items, False
        if repeats:
            out += items
    raise AssertionError("the last attempt ends it")


@given(st.lists(ATTEMPT, min_size=1, max_size=4), st.booleans(), st.booleans(), st.booleans())
def test_any_script_of_attempts_gives_what_the_words_say(
    attempts: list[tuple[list[Any], str]], repeats: bool, fused: bool, lists: bool
) -> None:
    ends: dict[str, list[Any]] = {"ends": [], "passes": [sk.OverloadedError("503")], "stays": [ValueError("x")]}

    async def main() -> tuple[list[Any], bool]:
        async with VirtualClock() as clock:
            upstream = Upstream(*[[*items, *ends[end]] for items, end in attempts])
            source = sk.stream(upstream) | sk.buffer(3) if lists else sk.stream(upstream)
            got: list[Any] = []
            try:
                async with (source | retry(len(attempts), after_output="repeat" if repeats else "raise")).open(fused=fused) as run:
                    async for item in run:
                        got.append(item)
            except (sk.OverloadedError, ValueError):
                return got, False
            finally:
                assert 0 == clock.pending
                assert all(probe.closed == 1 and probe.one_task for probe in upstream.probes)
            return got, True

    assert as_it_should_be(attempts, len(attempts), repeats) == anyio.run(main)


@pytest.mark.parametrize("fused", [True, False])
async def test_a_timeout_behind_it_watches_the_waits_too(clock: VirtualClock, fused: bool) -> None:
    upstream = Upstream([sk.RateLimitError("slow", retry_after=50.0)], ["a"])
    with pytest.raises(sk.StreamTimeout):
        async with (sk.stream(upstream) | retry() | sk.timeout(first=3)).open(fused=fused) as items:
            async for _ in items:
                raise AssertionError("nothing came in time")
    assert (3.0, 1, 0) == (clock.now(), upstream.probes[0].closed, clock.pending)


# -- how long


@pytest.mark.parametrize(
    ("told", "waited"),
    [(2.0, 2.0), (1e9, 60.0), (float("inf"), 60.0), (float("nan"), 0.0), (-5.0, 0.0), ("soon", 0.0), (True, 0.0)],
)
async def test_retry_after_is_honoured_and_clamped(clock: VirtualClock, told: Any, waited: float) -> None:
    upstream = Upstream([sk.RateLimitError("slow", retry_after=told)], ["a"])
    await (sk.stream(upstream) | retry(backoff=0)).run()
    assert [0.0, waited] == upstream.asked_at
    assert waited == asked_wait(sk.RateLimitError("slow", retry_after=told), 60.0)


@given(st.integers(1, 60), st.floats(0, 10), st.floats(1, 10), st.floats(0, 100), st.integers())
def test_a_wait_is_never_longer_than_the_longest(attempt: int, first: float, factor: float, most: float, seed: int) -> None:
    backoff = Backoff(first=first, factor=factor, most=most, jitter="full", most_asked=60, rng=random.Random(seed))
    assert 0 <= backoff.wait(attempt, OSError()) <= most


async def test_a_seed_gives_the_same_waits_each_time(clock: VirtualClock) -> None:
    times: list[list[float]] = []
    for _ in range(2):
        upstream = Upstream(fails(), fails(), fails(), ["a"])
        begun = clock.now()
        await (sk.stream(upstream) | retry(4, rng=random.Random(7))).run()
        times.append([round(at - begun, 9) for at in upstream.asked_at])
    assert times[0] == times[1]
    assert 0 < times[0][1] < 0.5


async def test_jitter_draws_from_the_whole_wait() -> None:
    backoff = Backoff(first=1.0, factor=2, most=30, jitter="full", most_asked=60, rng=random.Random(3))
    drawn = [backoff.wait(1, OSError()) for _ in range(1000)]
    assert (0.0, 0.5, 1.0) == tuple(round(x, 1) for x in (min(drawn), sum(drawn) / 1000, max(drawn)))


async def test_a_cancel_ends_the_wait_at_once(clock: VirtualClock) -> None:
    upstream = Upstream([sk.RateLimitError("slow", retry_after=50.0)])

    async def read() -> None:
        await (sk.stream(upstream) | retry()).run()

    async with anyio.create_task_group() as group:
        group.start_soon(read)
        await clock.sleep(1.0)
        group.cancel_scope.cancel()
    assert (1.0, 0, 1) == (clock.now(), clock.pending, len(upstream.probes))


async def test_a_cancel_is_never_tried_again(clock: VirtualClock) -> None:
    asked: list[int] = []

    async def source() -> AsyncIterator[str]:
        asked.append(1)
        scope.cancel()
        await clock.sleep(1.0)
        yield "never"

    with anyio.CancelScope() as scope:
        await (sk.stream(source) | retry(on=lambda error: True)).run()
    assert scope.cancelled_caught
    assert [1] == asked


async def test_a_wait_for_the_first_item_that_was_too_long_is_tried_again(clock: VirtualClock) -> None:
    asked: list[float] = []

    async def slow_at_first() -> AsyncIterator[str]:
        asked.append(clock.now())
        await clock.sleep(10.0 if len(asked) == 1 else 0.5)
        yield "a"

    assert ["a"] == await (sk.stream(slow_at_first) | sk.timeout(first=2) | retry(backoff=0)).collect()
    assert [0.0, 2.0] == asked


async def test_an_attempt_has_the_context_of_the_reader(clock: VirtualClock) -> None:
    trace: contextvars.ContextVar[str] = contextvars.ContextVar("trace")
    seen: list[str] = []

    async def source() -> AsyncIterator[str]:
        seen.append(trace.get())
        if len(seen) < 2:
            raise ConnectionError
        with anyio.CancelScope():
            yield "a"

    trace.set("mine")
    await (sk.stream(source) | retry()).run()
    assert ["mine", "mine"] == seen


def test_a_source_that_can_be_read_once_is_refused() -> None:
    with pytest.raises(sk.ConfigError, match="zero-argument callable"):
        sk.stream(iter("abc")) | retry()


async def test_two_runs_of_one_plan_count_their_own_attempts(clock: VirtualClock) -> None:
    plan = sk.stream(Upstream(fails(), ["a"], fails(), ["b"])) | retry(2)
    assert ["a"] == await plan.collect()
    assert ["b"] == await plan.collect()


# -- the budget


@pytest.mark.parametrize("anyio_backend", [("trio", {})], indirect=True)  # whose virtual clock is quick with 500 tasks
async def test_retries_of_many_clients_stay_within_the_budget_when_the_upstream_is_down(clock: VirtualClock) -> None:
    """LIM-02: 500 clients, an upstream that refuses all for a minute."""
    attempts: list[float] = []
    offered = 0
    budget = RetryBudget(0.1, min_per_second=0)
    rng = random.Random(11)

    async def down() -> AsyncIterator[str]:
        attempts.append(clock.now())
        raise sk.OverloadedError("503", retry_after=rng.choice([None, 1.0, 1e9]))
        yield ""

    plan = sk.stream(down) | retry(4, budget=budget, max_retry_after=5.0, rng=rng)

    async def client() -> None:
        nonlocal offered
        await clock.sleep(rng.uniform(0.001, 10.0))
        while clock.now() < 60:
            offered += 1
            with pytest.raises(sk.OverloadedError):
                await plan.run()
            await clock.sleep(rng.uniform(10.0, 30.0))

    async with anyio.create_task_group() as group:
        for _ in range(500):
            group.start_soon(client)
    assert 1200 < offered
    assert 1.05 * offered < len(attempts) <= 1.1 * offered


def test_a_budget_is_a_share_within_any_window() -> None:
    rng = random.Random(5)
    budget = RetryBudget(0.2, per=10, min_per_second=0)
    requests: list[float] = []
    retries: list[float] = []
    now = 0.0
    for _ in range(5000):
        now += rng.expovariate(20)
        if rng.random() < 0.5:
            budget.request(now)
            requests.append(now)
        elif budget.spend(now):
            retries.append(now)
    assert 400 < len(retries) <= 0.2 * len(requests)


def test_little_load_may_retry_as_the_floor_allows() -> None:
    budget = RetryBudget(0.1, per=10, min_per_second=0.3)
    budget.request(0.0)
    assert [True, True, True, False] == [budget.spend(1.0) for _ in range(4)]
    assert budget.spend(11.0)


def test_a_budget_survives_a_time_that_goes_back() -> None:
    budget = RetryBudget(1.0, min_per_second=0)
    for now in (1000.0, 5.0, 1001.0, -1e6, 2000.0):
        budget.request(now)
        assert budget.spend(now)


async def test_a_spent_budget_is_noted_on_the_error(clock: VirtualClock) -> None:
    with pytest.raises(sk.OverloadedError) as caught:
        await (sk.stream(Upstream(fails())) | retry(budget=RetryBudget(0, min_per_second=0))).run()
    assert ["retry: attempt 1 of 3 failed; the budget for new attempts is spent"] == caught.value.__notes__


@pytest.mark.parametrize(
    "call",
    [
        lambda: retry(0),
        lambda: retry(True),
        lambda: retry(backoff=-1),
        lambda: retry(on="OSError"),  # type: ignore[arg-type]  # on purpose
        lambda: retry(on=BaseException),
        lambda: retry(on=(OSError, 3)),  # type: ignore[arg-type]  # on purpose
        lambda: retry(jitter="some"),  # type: ignore[arg-type]  # on purpose
        lambda: retry(after_output=True),  # type: ignore[arg-type]  # on purpose
        lambda: retry(budget=0.1),  # type: ignore[arg-type]  # on purpose
        lambda: retry(rng=7),  # type: ignore[arg-type]  # on purpose
    ],
)
def test_wrong_arguments_are_said_at_the_call(call: Callable[[], object]) -> None:
    with pytest.raises((TypeError, sk.ConfigError), match="retry"):
        call()
