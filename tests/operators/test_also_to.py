"""`also_to`: a second sink that can neither hold back the stream nor break it."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import pytest

import streamkit as sk
from streamkit.flow.clock import current_clock
from streamkit.flow.plan import Same
from streamkit.flow.sources import Feed, Source
from streamkit.flow.streams import Stream
from streamkit.flow.tasks import current_backend
from streamkit.operators.second_sink import also_to
from streamkit.testing import VirtualClock, assert_no_leaks, check_operator, timed
from streamkit.testing.probes import Probe

pytestmark = pytest.mark.anyio

ITEMS = ["a", "b", "c", "d"]


class Log:
    """A sink that keeps what it gets, and may be slow, fail, or never return."""

    def __init__(
        self,
        *,
        slow: float = 0.0,
        turns: int = 0,
        fails_at: int | None = None,
        stuck: bool = False,
        stubborn: bool = False,
        close_fails: bool = False,
    ) -> None:
        self.got: list[Any] = []
        self.batches: list[int] = []
        self.ends: list[BaseException | None] = []
        self.slow = slow
        self.turns = turns
        self.fails_at = fails_at
        self.stuck = stuck
        self.stubborn = stubborn
        self.close_fails = close_fails

    async def send(self, batch: list[Any], /) -> None:
        if self.fails_at is not None and len(self.got) >= self.fails_at:
            raise OSError("disk full")
        for _ in range(self.turns):
            await current_backend().checkpoint()
        if self.slow:
            await current_clock().sleep(self.slow)
        while self.stuck:
            try:
                await current_backend().waiter().wait()
            except BaseException as error:
                if not self.stubborn or isinstance(error, GeneratorExit | RuntimeError):
                    raise
        self.got += batch
        self.batches.append(len(batch))

    async def aclose(self, error: BaseException | None, /) -> None:
        self.ends.append(error)
        if self.close_fails:
            raise OSError("cannot close")


async def reads(*lists: list[str]) -> AsyncIterator[list[str]]:
    for batch in lists:
        yield batch


@pytest.mark.parametrize(
    "make",
    [Log, lambda: Log(turns=20), lambda: Log(fails_at=0), lambda: Log(fails_at=2), lambda: Log(close_fails=True)],
    ids=["quick", "slow", "fails at once", "fails later", "cannot close"],
)
async def test_also_to_holds_the_contract_whatever_its_sink_does(make: Callable[[], Log]) -> None:
    def over(stream: Stream[Any]) -> Stream[Any]:
        return stream | also_to(make(), on_error="ignore")

    report = await check_operator(
        over,
        items=ITEMS,
        expected=ITEMS,
        ahead=0,
        refuses=[
            lambda: also_to(3),  # type: ignore[arg-type]  # on purpose
            lambda: also_to(Log(), size=0),
            lambda: also_to(Log(), on_error="raise"),  # type: ignore[arg-type]  # on purpose
        ],
    )
    assert {1, 2, 3, 5, 6, 7, 8} <= set(report.rules)


@pytest.mark.parametrize("fused", [True, False])
async def test_the_sink_gets_what_passes_and_is_closed_at_the_end(fused: bool) -> None:
    log = Log()
    plan = sk.stream(ITEMS).map(str.upper) | also_to(log) | sk.filter(lambda item: item != "B")
    async with plan.open(fused=fused) as items:
        assert ["A", "C", "D"] == [item async for item in items]
    assert ["A", "B", "C", "D"] == log.got
    assert [None] == log.ends


async def test_what_is_ready_together_is_sent_together() -> None:
    log = Log()
    source = Source("reads", lambda run: Feed(reads(["a", "b"], ["c", "d"]), shape="lists"))
    async with (Stream[str](source) | also_to(log)).open() as run:
        assert [["a", "b"], ["c", "d"]] == [batch async for batch in run.lists()]
    assert ITEMS == log.got
    assert 2 >= len(log.batches)


async def test_an_item_is_forwarded_before_it_is_handed_over(clock: VirtualClock) -> None:
    log = Log()
    seen: list[int] = []
    async with (timed("a", 1.0, "b", 1.0) | also_to(log)).open() as items:
        async for _ in items:
            await clock.sleep(0.1)
            seen.append(len(log.got))
    assert [0, 1] == seen
    assert ["a", "b"] == log.got


async def test_a_slow_sink_holds_back_nothing_and_is_told_what_it_missed(clock: VirtualClock) -> None:
    events: list[Any] = [sk.Start(), *[sk.TextDelta(str(number)) for number in range(50)], sk.Finish()]
    log = Log(slow=1.0)
    times: list[float] = []

    async def source() -> AsyncIterator[sk.Event]:
        for event in events:
            await clock.sleep(0.01)
            yield event

    async with (sk.stream(source) | also_to(log, size=4)).open() as items:
        async for _ in items:
            times.append(clock.now())
    assert times == pytest.approx([0.01 * at for at in range(1, 53)])
    assert (sk.Start(), sk.Finish()) == (log.got[0], log.got[-1])
    missed = sum(event.count for event in log.got if isinstance(event, sk.Gap))
    assert 50 == missed + sum(isinstance(event, sk.TextDelta) for event in log.got)
    assert 40 < missed
    assert [None] == log.ends


async def test_a_sink_that_lags_by_control_events_alone_is_given_up(clock: VirtualClock) -> None:
    log = Log(slow=1.0)
    results = [sk.ToolResult(str(number), number) for number in range(50)]
    with pytest.warns(RuntimeWarning, match=r"also_to\(Log\) failed with BufferFull"):
        assert results == await (sk.stream(results) | also_to(log, size=4)).collect()
    assert ["BufferFull"] == [type(error).__name__ for error in log.ends]
    assert results[: len(log.got)] == log.got


async def test_a_failing_sink_is_named_once_closed_and_left_alone(clock: VirtualClock) -> None:
    log = Log(fails_at=1)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert list("abcdef") == await (timed("a", 1.0, "b", 1.0, "c", "d", 1.0, "e", "f") | also_to(log)).collect()
    assert [
        "also_to(Log) failed with OSError and gets nothing more; the stream goes on. The sink's aclose() was given the error"
    ] == [str(one.message) for one in told]
    assert ["a"] == log.got
    assert ["disk full"] == [str(error) for error in log.ends]


async def test_a_sink_that_cannot_close_is_named_too() -> None:
    log = Log(close_fails=True)
    with pytest.warns(RuntimeWarning, match="failed with OSError"):
        assert ITEMS == await (sk.stream(ITEMS) | also_to(log)).collect()
    assert ITEMS == log.got


async def test_a_warning_made_an_error_does_not_reach_the_stream() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ITEMS == await (sk.stream(ITEMS) | also_to(Log(fails_at=0))).collect()


async def test_the_sink_is_closed_with_what_ended_the_stream(clock: VirtualClock) -> None:
    failure = LookupError("gone")
    log = Log()
    with pytest.raises(LookupError):
        await (sk.stream(Probe(["a"], error=failure)) | also_to(log)).collect()
    assert (["a"], [failure]) == (log.got, log.ends)

    log = Log()
    body = ValueError("the reader's own")
    with pytest.raises(ValueError, match="the reader's own"):
        async with (sk.stream(Probe(ITEMS)) | also_to(log)).open() as items:
            async for _ in items:
                raise body
    assert (["a"], [body]) == (log.got, log.ends)

    log = Log()
    assert ["a", "b"] == await (sk.stream(Probe(ITEMS)) | also_to(log) | sk.take(2)).collect()
    assert ["a", "b"] == log.got
    assert [GeneratorExit] == [type(error) for error in log.ends]


@pytest.mark.parametrize("behind", [None, sk.buffer(2)])
async def test_a_cancel_closes_the_sink_with_it_behind_what_was_forwarded(behind: Same | None, clock: VirtualClock) -> None:
    log = Log(slow=0.5)
    source = Probe("abcd", at_step=lambda given: given == 2)
    plan = sk.stream(source) | also_to(log)
    with anyio.CancelScope() as scope:
        clock.call_at(0.25, scope.cancel)
        async with (plan if behind is None else plan | behind).open() as items:
            async for _ in items:
                assert 0 == source.closed
    assert scope.cancelled_caught
    assert ["a", "b"] == log.got
    assert [anyio.get_cancelled_exc_class()] == [type(error) for error in log.ends]
    assert (1, True) == (source.closed, source.one_task)


async def test_a_stuck_sink_is_cut_off_after_the_close_timeout(clock: VirtualClock) -> None:
    log = Log(stuck=True)
    got: list[str] = []
    source = Probe(ITEMS)
    async with assert_no_leaks(thorough=False):
        with pytest.warns(ResourceWarning, match=r"second sink that was not through within 2 s: also_to\(Log\) was cut off"):
            async with (sk.stream(source) | also_to(log)).close_within(2.0).open() as items:
                async for item in items:
                    got.append(item)
                    assert 0.0 == clock.now()
    assert (ITEMS, [], 1) == (got, log.got, len(log.ends))
    assert 2.0 == clock.now()
    assert 1 == source.closed


async def test_a_sink_that_refuses_to_end_is_abandoned_and_named(clock: VirtualClock) -> None:
    if current_backend().name == "trio":
        # A scope cancels again and again: what starts over there never waits.
        log = Log(stuck=True)
        expected = "was cut off"
    else:
        log = Log(stuck=True, stubborn=True)
        expected = r"a task that refuses to end: also_to\(Log\) was cancelled twice in 5 s, and is abandoned"
    with pytest.warns(ResourceWarning, match=expected):
        assert ITEMS == await (sk.stream(ITEMS) | also_to(log)).close_within(2.0).collect()
    log.stuck = False
    for _ in range(10):
        await current_backend().checkpoint()


async def test_a_slow_sink_has_the_close_timeout_for_the_rest(clock: VirtualClock) -> None:
    log = Log(slow=2.0)
    assert list(range(100)) == await (sk.stream(range(100)) | also_to(log, size=200)).collect()
    assert list(range(100)) == log.got
    assert [None] == log.ends
    assert clock.now() in (2.0, 4.0)


async def test_two_second_sinks_get_the_same() -> None:
    first, second = Log(), Log(fails_at=0)
    assert ITEMS == await (sk.stream(ITEMS) | also_to(first) | also_to(second, on_error="ignore")).collect()
    assert (ITEMS, [None]) == (first.got, first.ends)
    assert ([], ["disk full"]) == (second.got, [str(error) for error in second.ends])


async def test_a_run_that_is_never_iterated_does_not_touch_the_sink() -> None:
    log = Log()
    async with (sk.stream(ITEMS) | also_to(log)).open():
        assert [] == log.ends
    assert ([], []) == (log.got, log.ends)
