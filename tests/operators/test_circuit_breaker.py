"""`circuit_breaker`: when it opens, whom it lets through as a probe, and what counts."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import anyio
import pytest

import streamkit as sk
from streamkit.flow.breaker import CircuitBreaker
from streamkit.operators.admission import circuit_breaker
from streamkit.operators.retrying import retry
from streamkit.testing import Probe, VirtualClock, timed

pytestmark = pytest.mark.anyio


async def down() -> AsyncIterator[str]:
    raise sk.OverloadedError("503")
    yield ""


async def fail(breaker: CircuitBreaker, times: int) -> None:
    for _ in range(times):
        with pytest.raises(sk.OverloadedError, match="503"):
            await (sk.stream(down) | circuit_breaker(breaker)).run()


async def test_it_opens_after_so_many_failures_in_a_row(clock: VirtualClock) -> None:
    breaker = CircuitBreaker(failures=3)
    await fail(breaker, 2)
    assert "closed" == breaker.state_at(clock.now())
    await (timed("a") | circuit_breaker(breaker)).run()
    await fail(breaker, 2)
    assert "closed" == breaker.state_at(clock.now())
    await fail(breaker, 1)
    assert "open" == breaker.state_at(clock.now())


async def test_while_it_is_open_the_source_is_not_opened(clock: VirtualClock) -> None:
    breaker = CircuitBreaker(failures=1, cool_down=30)
    await fail(breaker, 1)
    await clock.sleep(10)
    made: list[int] = []

    def make() -> list[str]:
        made.append(1)
        return ["a"]

    with pytest.raises(sk.OverloadedError, match="circuit is open") as caught:
        await (sk.stream(make) | circuit_breaker(breaker)).run()
    assert ([], 20.0, "circuit_open", True) == (made, caught.value.retry_after, caught.value.code, caught.value.retryable)


async def test_a_source_that_was_given_is_closed_when_it_is_refused(clock: VirtualClock) -> None:
    breaker = CircuitBreaker(failures=1)
    await fail(breaker, 1)
    probe = Probe(["a"])
    with pytest.raises(sk.OverloadedError):
        await (sk.stream(probe) | circuit_breaker(breaker)).run()
    assert (0, 1) == (probe.asked, probe.closed)


@pytest.mark.parametrize("probes", [1, 3])
async def test_of_five_hundred_that_wait_exactly_the_probes_pass(clock: VirtualClock, probes: int) -> None:
    """LIM-03: the cool-down ends while 500 streams wait for it."""
    breaker = CircuitBreaker(failures=1, cool_down=30, probes=probes)
    await fail(breaker, 1)
    opened: list[float] = []
    refused: list[float | None] = []

    async def upstream() -> AsyncIterator[str]:
        opened.append(clock.now())
        await clock.sleep(1.0)
        raise sk.OverloadedError("503")
        yield ""

    async def client() -> None:
        await clock.sleep(30.0 - clock.now())
        try:
            await (sk.stream(upstream) | circuit_breaker(breaker)).run()
        except sk.OverloadedError as error:
            if error.code == "circuit_open":
                refused.append(error.retry_after)

    async with anyio.create_task_group() as group:
        for _ in range(500):
            group.start_soon(client)
    assert ([30.0] * probes, 500 - probes) == (opened, len(refused))
    assert ("open", 29.0 + 1.0) == (breaker.state_at(31.0), breaker.wait(31.0))


async def test_the_first_output_of_a_probe_closes_the_circuit(clock: VirtualClock) -> None:
    breaker = CircuitBreaker(failures=1, cool_down=5)
    await fail(breaker, 1)
    await clock.sleep(5)
    assert "half-open" == breaker.state_at(clock.now())
    async with timed(sk.Start(), 1.0, "a", 1.0, "b") | circuit_breaker(breaker) as items:
        seen = [breaker.state_at(clock.now()) async for _ in items]
    assert ["half-open", "closed", "closed"] == seen


async def test_a_probe_that_breaks_behind_its_first_output_is_a_failure_as_any(clock: VirtualClock) -> None:
    breaker = CircuitBreaker(failures=2, cool_down=5)
    await fail(breaker, 2)
    await clock.sleep(5)
    for state in ("closed", "open"):
        with pytest.raises(sk.StreamTruncated):
            await (timed("a", sk.StreamTruncated("cut")) | circuit_breaker(breaker)).run()
        assert state == breaker.state_at(clock.now())


async def test_a_probe_that_is_left_or_cancelled_gives_its_place_back(clock: VirtualClock) -> None:
    breaker = CircuitBreaker(failures=1, cool_down=5)
    await fail(breaker, 1)
    await clock.sleep(5)
    with anyio.move_on_after(0):
        with anyio.CancelScope() as scope:
            scope.cancel()
            await (timed(5.0, "a") | circuit_breaker(breaker)).run()
    async with timed(5.0, "a") | circuit_breaker(breaker):
        pass
    async with timed(sk.Start(), 5.0, "a") | circuit_breaker(breaker) as items:
        assert sk.Start() == await items.__anext__()
        assert 5.0 == breaker.wait(clock.now())
    assert ("half-open", 0.0) == (breaker.state_at(clock.now()), breaker.wait(clock.now()))


async def test_errors_that_are_not_the_upstreams_fault_do_not_count(clock: VirtualClock) -> None:
    breaker = CircuitBreaker(failures=1)
    for error in (sk.AuthError("key"), ValueError("mine")):
        with pytest.raises(type(error)):
            await (timed(error) | circuit_breaker(breaker)).run()
    assert "closed" == breaker.state_at(clock.now())
    with pytest.raises(ValueError, match="mine"):
        await (timed(ValueError("mine")) | circuit_breaker(breaker, on=ValueError)).run()
    assert "open" == breaker.state_at(clock.now())


async def test_a_probe_that_fails_by_another_fault_gives_its_place_back(clock: VirtualClock) -> None:
    breaker = CircuitBreaker(failures=1, cool_down=5)
    await fail(breaker, 1)
    await clock.sleep(5)
    with pytest.raises(sk.AuthError):
        await (timed(sk.AuthError("key")) | circuit_breaker(breaker)).run()
    assert 0.0 == breaker.wait(clock.now())


async def test_failures_longer_ago_than_the_window_do_not_count(clock: VirtualClock) -> None:
    breaker = CircuitBreaker(failures=2, window=10)
    await fail(breaker, 1)
    await clock.sleep(11)
    await fail(breaker, 1)
    assert "closed" == breaker.state_at(clock.now())
    await clock.sleep(9)
    await fail(breaker, 1)
    assert "open" == breaker.state_at(clock.now())


async def test_a_stream_from_before_it_opened_says_nothing_of_it(clock: VirtualClock) -> None:
    breaker = CircuitBreaker(failures=1, cool_down=5)
    async with timed("a", 1.0, "b") | circuit_breaker(breaker) as items:
        assert "a" == await items.__anext__()
        await fail(breaker, 1)
        assert ["b"] == [item async for item in items]
    assert "open" == breaker.state_at(clock.now())


async def test_of_two_probes_the_first_to_tell_decides(clock: VirtualClock) -> None:
    for first, state in ((timed(1.0, sk.OverloadedError("503")), "open"), (timed(1.0, "a"), "closed")):
        breaker = CircuitBreaker(failures=1, cool_down=5, probes=2)
        await fail(breaker, 1)
        await clock.sleep(5)
        async with timed(sk.Start(), 2.0, "b" if state == "open" else sk.OverloadedError("503"), 1.0) | circuit_breaker(
            breaker
        ) as second:
            assert sk.Start() == await second.__anext__()
            with suppress(sk.OverloadedError):
                await (first | circuit_breaker(breaker)).run()
            assert state == breaker.state_at(clock.now())
            with suppress(sk.OverloadedError):
                assert "b" == await second.__anext__()
            assert state == breaker.state_at(clock.now())


async def test_a_retry_behind_it_waits_until_the_circuit_may_close(clock: VirtualClock) -> None:
    breaker = CircuitBreaker(failures=1, cool_down=20)
    await fail(breaker, 1)
    assert ["a"] == await (timed("a") | circuit_breaker(breaker) | retry(backoff=0)).collect()
    assert (20.0, "closed") == (clock.now(), breaker.state_at(clock.now()))


async def test_a_clock_on_the_wall_that_jumps_changes_nothing(clock: VirtualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """LIM-04."""
    real = time.time()
    breaker = CircuitBreaker(failures=1, cool_down=10)
    await fail(breaker, 1)
    for jump in (-3600, 3600):
        monkeypatch.setattr(time, "time", lambda jump=jump: real + jump)
        assert "open" == breaker.state_at(clock.now())
        with pytest.raises(sk.OverloadedError, match="circuit is open"):
            await (timed("a") | circuit_breaker(breaker)).run()
    await clock.sleep(10)
    assert ["a"] == await (timed("a") | circuit_breaker(breaker)).collect()


async def test_reset_closes_it(clock: VirtualClock) -> None:
    breaker = CircuitBreaker(failures=1)
    await fail(breaker, 1)
    assert "<CircuitBreaker open until 30, 0 of 1 probes under way>" == repr(breaker)
    breaker.reset()
    assert ["a"] == await (timed("a") | circuit_breaker(breaker)).collect()


@pytest.mark.parametrize(
    "call",
    [
        lambda: circuit_breaker(5),  # type: ignore[arg-type]  # on purpose
        lambda: circuit_breaker(CircuitBreaker(), on=3),  # type: ignore[arg-type]  # on purpose
        lambda: CircuitBreaker(0),
        lambda: CircuitBreaker(probes=0),
        lambda: CircuitBreaker(cool_down=0),
        lambda: CircuitBreaker(window=float("inf")),
    ],
)
def test_wrong_arguments_are_said_at_the_call(call: Callable[[], object]) -> None:
    with pytest.raises((TypeError, sk.ConfigError)):
        call()
