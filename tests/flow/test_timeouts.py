"""Four clocks: until the first item, between items, in all, and between two signs of life."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

import anyio
import pytest

import streamkit as sk
from streamkit.flow.tasks import Timer, current_backend
from streamkit.testing import Probe, VirtualClock, timed

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("limits", "phase", "at", "before"),
    [
        ({"first": 1}, "first", 1.0, []),
        ({"first": 3, "idle": 1}, "idle", 3.0, ["a"]),
        ({"idle": 4}, "idle", 6.0, ["a"]),
        ({"total": 3}, "total", 3.0, ["a"]),
        ({"first": 3, "idle": 9, "total": 5}, "total", 5.0, ["a"]),
        ({"wire": 1}, "wire", 1.0, []),
        ({"wire": 3, "idle": 4}, "wire", 5.0, ["a"]),
        ({"wire": 4, "idle": 3}, "idle", 5.0, ["a"]),
    ],
)
async def test_the_clock_that_runs_out_first_is_named(
    clock: VirtualClock, limits: dict[str, float], phase: str, at: float, before: list[str]
) -> None:
    got: list[str] = []
    with pytest.raises(sk.StreamTimeout) as caught:
        async with timed(2.0, "a", 7.0, "b") | sk.timeout(**limits) as items:
            async for item in items:
                got.append(item)
    assert (phase, at, before) == (caught.value.phase, clock.now(), got)
    assert limits[phase] == caught.value.seconds
    assert isinstance(caught.value, TimeoutError)


async def test_a_source_in_time_is_left_alone(clock: VirtualClock) -> None:
    assert ["a", "b"] == await (timed(1.0, "a", 1.0, "b", 1.0) | sk.timeout(first=2, idle=2, total=9)).collect()
    assert 3.0 == clock.now()
    assert 0 == clock.pending


async def test_a_slow_consumer_is_never_timed_out(clock: VirtualClock) -> None:
    got = []
    async with timed("a", 0.5, "b", 0.5, "c") | sk.timeout(first=1, idle=1) as items:
        async for item in items:
            got.append(item)
            await clock.sleep(60)
    assert ["a", "b", "c"] == got


async def test_a_source_that_never_gives_anything_is_closed_when_its_time_is_over(clock: VirtualClock) -> None:
    probe = Probe(["a"], at_step=lambda given: given == 0)
    with pytest.raises(sk.StreamTimeout, match="no first item came within 2 s"):
        await (sk.stream(probe) | sk.timeout(first=2)).collect()
    assert (1, True) == (probe.closed, probe.one_task)
    assert 2.0 == clock.now()


async def test_a_source_that_waits_while_it_is_closed_is_timed_out_all_the_same(clock: VirtualClock) -> None:
    closed = []

    async def source() -> AsyncIterator[str]:
        yield "a"
        try:
            await clock.sleep(100)
        finally:
            # As HTTP clients do, who close their connection before they let the cancel go on.
            with anyio.CancelScope(shield=True):
                await clock.sleep(0.5)
            closed.append(clock.now())

    with pytest.raises(sk.StreamTimeout) as caught:
        await (sk.stream(source) | sk.timeout(first=1, idle=1)).collect()
    assert ("idle", ["a"]) == (caught.value.phase, caught.value.partial)
    assert [1.5] == closed


async def test_what_had_come_is_kept_on_the_error(clock: VirtualClock) -> None:
    with pytest.raises(sk.StreamTimeout) as caught:
        await (timed("a", "b", 9.0) | sk.timeout(idle=1)).collect()
    assert ["a", "b"] == caught.value.partial


async def test_batch_within_gives_a_list_when_its_first_item_is_old_enough(clock: VirtualClock) -> None:
    assert [["a"], ["b"]] == await (timed("a", 1.0, "b") | sk.batch(9, within=0.5)).collect()
    assert 1.0 == clock.now()


async def test_batch_within_counts_from_the_first_item_however_many_follow(clock: VirtualClock) -> None:
    times: list[tuple[float, list[str]]] = []
    async with timed("a", 0.25, "b", 0.25, "c", 0.25, "d", 5.0) | sk.batch(9, within=0.6) as lists:
        async for one in lists:
            times.append((clock.now(), one))
    assert [(0.6, ["a", "b", "c"]), (1.35, ["d"])] == times


PING = b": ping\n\n"
WORD = b'data: {"choices":[{"delta":{"content":"Hi"}}]}\n\n'
END = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


async def test_a_thinking_model_that_pings_is_not_taken_for_a_dead_connection(clock: VirtualClock) -> None:
    body = timed(1.0, WORD, *([2.0, PING] * 10), 2.0, END)
    assert "Hi" == await (sk.decode(body, "openai-chat") | sk.timeout(wire=3, idle=60)).join()
    assert 23.0 == clock.now()


async def test_pings_for_ever_run_into_the_idle_clock(clock: VirtualClock) -> None:
    body = timed(1.0, WORD, *([2.0, PING] * 100))
    with pytest.raises(sk.StreamTimeout) as caught:
        await (sk.decode(body, "openai-chat") | sk.timeout(wire=3, idle=60)).message()
    assert ("idle", 61.0) == (caught.value.phase, clock.now())
    assert isinstance(caught.value.partial, sk.Message)
    assert "Hi" == caught.value.partial.text


async def test_silence_after_pings_runs_into_the_wire_clock(clock: VirtualClock) -> None:
    body = timed(1.0, WORD, 2.0, PING, 2.0, PING, 100.0)
    with pytest.raises(sk.StreamTimeout, match="not even a ping, within 3 s") as caught:
        await (sk.decode(body, "openai-chat") | sk.buffer(4) | sk.timeout(wire=3, idle=60)).message()
    assert ("wire", 8.0) == (caught.value.phase, clock.now())


async def test_a_trickle_of_bytes_that_makes_no_event_runs_into_the_idle_clock(clock: VirtualClock) -> None:
    trickle = [step for byte in WORD * 4 for step in (29.0, bytes([byte]))]
    with pytest.raises(sk.StreamTimeout) as caught:
        await (sk.decode(timed(*trickle), "openai-chat") | sk.timeout(first=120, idle=120)).collect()
    assert ("first", 120.0) == (caught.value.phase, clock.now())


async def test_a_timer_that_is_cancelled_at_the_last_moment_does_not_fire() -> None:
    """A line of progress would go on for ever, and a clean-up's limit hit whatever its task does next."""
    backend = current_backend()
    for _ in range(20):
        rivals = Rivals()
        when = backend.now() + 0.001
        rivals.timers = {name: backend.call_at(when, partial(rivals.fire, name)) for name in "ab"}
        await rivals.one.wait()
        for _ in range(3):
            await backend.checkpoint()
        assert 1 == len(rivals.fired)


class Rivals:
    """Two timers for one moment: the first cancels the other."""

    def __init__(self) -> None:
        self.timers: dict[str, Timer] = {}
        self.fired: list[str] = []
        self.one = anyio.Event()

    def fire(self, name: str) -> None:
        self.fired.append(name)
        self.timers["b" if name == "a" else "a"].cancel()
        self.one.set()


async def test_no_timer_is_armed_for_an_item_that_comes_when_the_reader_has_left(clock: VirtualClock) -> None:
    """It stayed behind until its time came, and held what it belongs to."""

    async def stubborn() -> AsyncIterator[str]:
        try:
            await clock.sleep(60)
        except BaseException:
            yield "late"  # an item that was there when the cancel came does the same
            raise

    with pytest.raises(sk.StreamTimeout):
        await (sk.stream(stubborn) | sk.batch(2, within=30) | sk.timeout(first=1)).collect()
    assert 1.0 == clock.now()
    assert 0 == clock.pending
