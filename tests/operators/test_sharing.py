"""`tee` and `share`: one source, several readers, each as if it were alone."""

from __future__ import annotations

import asyncio
import contextvars
import random
import threading
import traceback
import weakref
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import pytest
from event_loops import asyncio_only

import streamkit as sk
from streamkit.flow.channel import Channel
from streamkit.flow.clock import current_clock
from streamkit.flow.fanout import GRACE
from streamkit.flow.overflow import Overflow
from streamkit.flow.runs import Run
from streamkit.flow.sources import Feed, Source
from streamkit.flow.streams import Stream
from streamkit.flow.tasks import current_backend
from streamkit.operators.sharing import share, tee
from streamkit.testing import VirtualClock, assert_no_leaks, check_operator, timed
from streamkit.testing.probes import Probe

pytestmark = pytest.mark.anyio

ITEMS = ["a", "b", "c", "d"]
POLICIES: list[Any] = ["suspend", "drop_oldest", "drop_newest", "latest", "coalesce", "error"]


def anew(make: Callable[[Stream[Any]], Stream[Any]]) -> Callable[[Stream[Any]], Stream[Any]]:
    """A new tee or share for each Run, as the contract wants of an operator."""

    def over(stream: Stream[Any]) -> Stream[Any]:
        return Stream(Source("anew", lambda run: make(stream).plan[0].open(run), repeatable=True))

    return over


async def settle(turns: int = 60) -> None:
    for _ in range(turns):
        await current_backend().checkpoint()


async def drain(items: Any, out: list[Any], count: int = 10**9) -> None:
    async for item in items:
        out.append(item)
        if len(out) >= count:
            return


def beside_another_branch(stream: Stream[Any]) -> Stream[Any]:
    """The first of two branches; a task of the same Run reads the other."""
    first, second = tee(stream, 2, size=2)

    def open_feed(run: Run[Any]) -> Feed:
        aside: Channel[Any] = Channel(1)
        pump = run.pump(run.strand(*second.plan), aside, "aside")
        pump.offer = lambda item: None
        pump.finish = lambda error: None
        feed = first.plan[0].open(run)
        feed.closers.insert(0, ("aside", aside.close))
        return feed

    return Stream(Source("two branches", open_feed))


# -- the contract


@pytest.mark.parametrize("overflow", POLICIES)
async def test_a_shared_stream_holds_the_contract_of_an_operator(overflow: Any) -> None:
    lossless = overflow == "suspend"
    report = await check_operator(
        anew(lambda stream: share(stream, size=2 if lossless else 9000, overflow=overflow)),
        items=ITEMS if lossless else ["a"],
        expected=ITEMS if lossless else ["a"],
        ahead=2 if lossless else None,
        refuses=[
            lambda: share(sk.stream([1]), replay=-1),
            lambda: share(sk.stream([1]), size=0),
            lambda: share(sk.stream([1]), overflow="lost"),  # type: ignore[arg-type]  # on purpose
            lambda: share(3),  # type: ignore[arg-type]  # on purpose
        ],
    )
    assert {1, 2, 3, 6, 7, 8} <= set(report.rules)
    assert 40 <= report.cases


async def test_branches_of_a_tee_hold_the_contract_of_an_operator() -> None:
    one = await check_operator(
        anew(lambda stream: tee(stream, 1, size=2)[0]),
        items=ITEMS,
        expected=ITEMS,
        refuses=[
            lambda: tee(sk.stream([1]), 0),
            lambda: tee(sk.stream([1]), True),
            lambda: tee(sk.stream([1]), 2, size=0),
            lambda: tee(sk.stream([1]), 2, overflow=["suspend"]),
            lambda: tee(sk.stream([1]), 2, overflow=["suspend", "lost"]),  # type: ignore[list-item]  # on purpose
        ],
    )
    two = await check_operator(anew(beside_another_branch), items=ITEMS, expected=ITEMS)
    assert {1, 2, 3, 6, 8} <= set(one.rules) & set(two.rules)


# -- what each reader gets


async def test_each_branch_gives_everything_whatever_the_others_do(clock: VirtualClock) -> None:
    outs: list[list[int]] = [[], [], []]
    source = Probe(range(500))

    async def read(branch: Stream[int], out: list[int], pause: int) -> None:
        async with branch as items:
            async for item in items:
                out.append(item)
                if pause and item % pause == 0:
                    await clock.sleep(0.001)

    async with anyio.create_task_group() as group:
        for branch, out, pause in zip(tee(sk.stream(source), 3, size=16), outs, (0, 7, 1), strict=True):
            group.start_soon(read, branch, out, pause)
    assert [list(range(500))] * 3 == outs
    assert (1, True) == (source.closed, source.one_task)


async def test_branches_may_be_read_one_after_the_other_within_the_lag() -> None:
    first, second = tee(sk.stream(["a", "b"]), 2)
    assert ["a", "b"] == await first.collect()
    assert ["a", "b"] == await second.collect()


async def test_the_source_belongs_to_none_of_its_readers() -> None:
    word = contextvars.ContextVar("word", default="unset")
    source = Probe("abc")
    readers: set[object] = set()
    seen: list[str] = []

    async def words() -> AsyncIterator[str]:
        async for item in source:
            seen.append(word.get())
            word.set(f"set by the source at {item}")
            yield item
        await source.aclose()

    async def read(branch: Stream[str]) -> None:
        readers.add(current_backend().current_task())
        word.set("the reader's")
        assert list("abc") == await branch.collect()
        assert "the reader's" == word.get()

    async with anyio.create_task_group() as group:
        for branch in tee(sk.stream(words), 3):
            group.start_soon(read, branch)
    assert 3 == len(readers)
    assert not readers & source.iterated_by
    assert (1, True) == (source.closed, source.one_task)
    assert ["the reader's", "set by the source at a", "set by the source at b"] == seen


@pytest.mark.parametrize("fused", [True, False])
async def test_operators_stand_before_and_behind_a_share(fused: bool) -> None:
    shared = share(sk.stream([1, 2, 3]).map(lambda number: number * 2)).filter(lambda number: number != 4) | sk.buffer(1)
    async with shared.open(fused=fused) as one, shared.open(fused=fused) as two:
        outs: list[list[int]] = [[], []]
        async with anyio.create_task_group() as group:
            group.start_soon(drain, one, outs[0])
            group.start_soon(drain, two, outs[1])
    assert [[2, 6], [2, 6]] == outs


async def test_who_comes_late_gets_the_replay_and_what_comes(clock: VirtualClock) -> None:
    shared = share(timed(1.0, 1, 1.0, 2, 1.0, 3, 1.0, 4), replay=2)
    late: list[int] = []

    async def come_late(after: float) -> None:
        await clock.sleep(after)
        async with shared.open() as items:
            await drain(items, late)

    async with anyio.create_task_group() as group:
        group.start_soon(come_late, 3.5)
        assert [1, 2, 3, 4] == await shared.collect()
    assert [2, 3, 4] == late
    assert [3, 4] == await shared.collect()


async def test_who_comes_after_a_failure_gets_the_replay_and_the_failure() -> None:
    failure = LookupError("gone")
    shared = share(sk.stream(Probe("abc", error=failure)), replay=1)
    for expected in (["a", "b", "c"], ["c"], ["c"]):
        out: list[str] = []
        with pytest.raises(LookupError) as raised:
            async with shared.open() as items:
                await drain(items, out)
        assert expected == out
        assert failure is raised.value


async def test_a_share_that_everybody_left_starts_a_callable_anew_and_nothing_else() -> None:
    made: list[Probe[str]] = []

    def make() -> Probe[str]:
        # The first one waits for ever behind its second item.
        made.append(Probe("abc", at_step=lambda given: given == 2) if not made else Probe("abc"))
        return made[-1]

    again = share(sk.stream(make), replay=3)
    assert "a" == await again.first()
    assert ["a", "b", "c"] == await again.collect()
    assert [1, 1] == [probe.closed for probe in made]

    once = share(sk.stream(Probe("abc", at_step=lambda given: given == 2)))
    assert "a" == await once.first()
    with pytest.raises(sk.StreamConsumed):
        await once.collect()


# -- leaving


async def test_the_first_to_come_may_leave_and_the_last_closes_the_source_before_it_is_out() -> None:
    source = Probe(range(100))
    shared = share(sk.stream(source), size=4)
    async with shared.open() as second:
        rest: list[int] = []
        async with shared.open() as first, anyio.create_task_group() as group:
            group.start_soon(drain, first, [], 3)
            group.start_soon(drain, second, rest, 3)
        assert 0 == source.closed
        await drain(second, rest, 20)
        assert list(range(20)) == rest
        assert 0 == source.closed
    assert (1, True) == (source.closed, source.one_task)


async def test_the_last_of_two_that_leave_together_waits_for_the_source(clock: VirtualClock) -> None:
    source = Probe(range(100), clean_up=2.0)
    ended: list[float] = []

    async def read(shared: Stream[int]) -> None:
        async with shared.open() as items:
            await drain(items, [], 2)
        ended.append(clock.now())

    shared = share(sk.stream(source))
    async with anyio.create_task_group() as group:
        group.start_soon(read, shared)
        group.start_soon(read, shared)
    assert [0.0, 2.0] == ended
    assert 1 == source.closed


async def read_until(branch: Stream[int], out: list[int], leave_at: int | None, pause: float | None) -> None:
    """Read, with a pause behind each item, and be cancelled at one of them."""
    with anyio.CancelScope() as scope:
        async with branch as items:
            async for item in items:
                out.append(item)
                if leave_at == len(out):
                    scope.cancel()
                if pause is not None:
                    await current_clock().sleep(pause)


async def test_random_cancels_of_readers_touch_no_other(clock: VirtualClock) -> None:
    for seed in range(40):
        chance = random.Random(seed)
        count = chance.randint(2, 5)
        source = Probe(range(60))
        outs: list[list[int]] = [[] for _ in range(count)]
        policy: Overflow = chance.choice(["suspend", "suspend", "drop_oldest"])
        branches = tee(sk.stream(source), count, size=chance.choice([1, 3, 100]), overflow=policy)
        leave_at = {one: chance.randint(1, 59) for one in chance.sample(range(count), chance.randint(0, count))}
        async with assert_no_leaks(thorough=False), anyio.create_task_group() as group:
            for me, branch in enumerate(branches):
                group.start_soon(read_until, branch, outs[me], leave_at.get(me), chance.choice([None, 0.0, 0.001]))
        for me, out in enumerate(outs):
            if me not in leave_at and policy == "suspend":
                assert list(range(60)) == out, f"seed {seed}: reader {me} of {count}"
            assert sorted(set(out)) == out
        assert (1, True) == (source.closed, source.one_task), f"seed {seed}"


async def come_and_go(shared: Stream[int], chance: random.Random, out: list[int], errors: list[Exception]) -> None:
    """Come at some time, read with some pauses, and leave in some way, if ever."""
    await current_clock().sleep(chance.choice([0.0, 0.0, 0.02, 0.5]))
    leave_at, way, pause = (
        chance.choice([None, None, 1, 5, 40]),
        chance.choice(["break", "raise"]),
        chance.choice([None, 0.0, 0.01]),
    )
    try:
        async with shared.open() as items:
            async for item in items:
                out.append(item)
                if leave_at == len(out) and way == "break":
                    break
                if leave_at == len(out):
                    raise KeyError("the reader's own")
                if pause is not None:
                    await current_clock().sleep(pause)
    except (KeyError, LookupError, sk.StreamBusy, sk.StreamConsumed, sk.BufferFull) as error:
        errors.append(error)


async def test_readers_who_come_and_go_as_they_like_share_one_source_that_is_closed(clock: VirtualClock) -> None:
    for seed in range(60):
        chance = random.Random(seed)
        failure = LookupError("gone") if chance.random() < 0.3 else None
        source = Probe(range(chance.choice([0, 1, 60, 300])), error=failure, clean_up=chance.choice([0.0, 1.0]))
        overflow: Overflow = chance.choice(["suspend", "drop_oldest", "drop_newest", "latest", "coalesce", "error"])
        shared = share(sk.stream(source), size=chance.choice([1, 5, 64]), replay=chance.choice([0, 3, 100]), overflow=overflow)
        count = chance.randint(1, 6)
        outs: list[list[int]] = [[] for _ in range(count)]
        errors: list[list[Exception]] = [[] for _ in range(count)]
        async with assert_no_leaks(thorough=False), anyio.create_task_group() as group:
            for me in range(count):
                group.start_soon(come_and_go, shared, chance, outs[me], errors[me])
        assert (1, True) == (source.closed, source.one_task), f"seed {seed}"
        for out, raised in zip(outs, errors, strict=True):
            assert sorted(set(out)) == out, f"seed {seed}"
            assert 1 >= len(raised)
            if overflow == "suspend" and out:  # without a hole
                assert list(range(out[0], out[-1] + 1)) == out, f"seed {seed}"


async def test_a_branch_left_before_others_came_closes_the_source_and_they_are_told() -> None:
    source = Probe(range(100))
    first, second = tee(sk.stream(source), 2, size=8)
    assert 0 == await first.first()
    assert 1 == source.closed
    with pytest.raises(sk.StreamConsumed, match=r"branch 2 of 2 of tee\(Probe\).*opened after the others had left"):
        await second.collect()


async def test_a_branch_is_run_once() -> None:
    first, second = tee(sk.stream(["a"]), 2)
    async with first.open() as items, second.open():
        with pytest.raises(sk.StreamBusy, match="branch 1 of 2"):
            first.open()
        await drain(items, [])
    with pytest.raises(sk.StreamConsumed, match="branch 1 of 2"):
        await first.collect()


async def test_a_run_that_could_not_be_opened_takes_no_place() -> None:
    busy = sk.stream(Probe("x"))
    source = Probe("abc")
    first, second = tee(sk.stream(source), 2, size=1)
    shared = share(sk.stream(Probe("xyz")), size=1)
    async with busy.open():
        with pytest.raises(sk.StreamBusy):
            sk.merge(first, busy).open()
        with pytest.raises(sk.StreamBusy):
            sk.merge(shared, shared, busy).open()
    assert sorted("aabbcc") == sorted(await sk.merge(first, second).collect())
    assert list("xyz") == await shared.collect()
    assert (1, True) == (source.closed, source.one_task)


async def test_a_tee_of_a_busy_stream_can_be_opened_later() -> None:
    source = sk.stream(Probe("abc"))
    branch = tee(source, 1)[0]
    async with source.open():
        with pytest.raises(sk.StreamBusy, match="Probe is being read"):
            branch.open()
    with pytest.raises(sk.StreamConsumed, match="Probe was consumed"):
        branch.open()


# -- errors


async def test_every_branch_raises_the_same_error_behind_its_items_and_its_traceback_does_not_grow() -> None:
    failure = LookupError("gone")
    lengths: list[int] = []

    async def read(branch: Stream[str]) -> None:
        out: list[str] = []
        try:
            async with branch as items:
                await drain(items, out)
        except LookupError as error:
            assert failure is error
            lengths.append(len(traceback.extract_tb(error.__traceback__)))
        assert list("abc") == out

    async with anyio.create_task_group() as group:
        for branch in tee(sk.stream(Probe("abc", error=failure)), 5):
            group.start_soon(read, branch)
    assert 5 == len(lengths)
    assert 1 == len(set(lengths))


async def test_an_error_of_ours_has_the_partial_of_each_reader() -> None:
    failure = sk.RateLimitError("slow down", provider="openai", retry_after=3.0)
    partials: list[list[str]] = []
    branches = tee(sk.stream(Probe(["a", "b"], error=failure)), 2)

    async def read(stream: Stream[str]) -> None:
        with pytest.raises(sk.RateLimitError, match="slow down") as raised:
            await stream.collect()
        assert (3.0, "openai", True) == (raised.value.retry_after, raised.value.provider, raised.value.retryable)
        assert isinstance(raised.value.partial, list)
        partials.append(raised.value.partial)

    async with anyio.create_task_group() as group:
        group.start_soon(read, branches[0].map(str.upper))
        group.start_soon(read, branches[1])
    assert [["A", "B"], ["a", "b"]] == sorted(partials)


async def test_a_failing_reader_fails_alone() -> None:
    first, second = tee(sk.stream(["a", "b", "c"]), 2, size=1)
    caught: list[BaseException] = []

    async def fail() -> None:
        try:
            await first.map(lambda item: 1 / 0).collect()
        except ZeroDivisionError as error:
            caught.append(error)

    async with anyio.create_task_group() as group:
        group.start_soon(fail)
        assert ["a", "b", "c"] == await second.collect()
    assert 1 == len(caught)


async def test_an_error_of_the_clean_up_reaches_the_last_who_leaves() -> None:
    failure = OSError("close failed")
    source = Probe(range(100), clean_up_error=failure)
    shared = share(sk.stream(source), size=4)
    with pytest.raises(OSError, match="close failed") as raised:
        async with shared.open() as one:
            async with shared.open() as two:
                await drain(two, [], 1)
            await drain(one, [], 1)
    assert failure is raised.value


# -- a branch that is never opened


async def test_a_branch_that_is_never_opened_and_holds_up_the_others_is_named(clock: VirtualClock) -> None:
    source = Probe(range(100))
    first, _second, third = tee(sk.stream(source), 3, size=4)
    outs: list[list[int]] = [[], []]

    async def read(branch: Stream[int], out: list[int]) -> None:
        with pytest.raises(sk.ConfigError, match=r"branch 2 of 3 of tee\(Probe\) was never opened.*policy that drops"):
            async with branch as items:
                await drain(items, out)
        assert 1 == source.closed

    async with anyio.create_task_group() as group:
        group.start_soon(read, first, outs[0])
        group.start_soon(read, third, outs[1])
    assert [[0, 1, 2, 3]] * 2 == outs
    assert GRACE == clock.now()
    assert (1, True) == (source.closed, source.one_task)


async def test_a_branch_that_is_opened_within_the_grace_loses_nothing(clock: VirtualClock) -> None:
    first, second = tee(sk.stream(range(20)), 2, size=4)
    late: list[int] = []

    async def read_late() -> None:
        await clock.sleep(GRACE * 0.9)
        await drain(second, late)

    async with anyio.create_task_group() as group:
        group.start_soon(read_late)
        assert list(range(20)) == await first.collect()
    assert list(range(20)) == late
    assert 0 == clock.pending


async def test_a_branch_that_was_opened_and_left_holds_up_nobody(clock: VirtualClock) -> None:
    first, second = tee(sk.stream(range(20)), 2, size=4)
    async with first.open() as items:
        async with second.open():
            pass
        out: list[int] = []
        await drain(items, out)
    assert list(range(20)) == out
    assert 0.0 == clock.now()


async def test_a_slow_branch_that_is_open_may_hold_up_the_others_for_as_long_as_it_likes(clock: VirtualClock) -> None:
    first, second = tee(sk.stream(range(6)), 2, size=2)

    async def read_slowly() -> None:
        async with second as items:
            async for _ in items:
                await clock.sleep(10)

    async with anyio.create_task_group() as group:
        group.start_soon(read_slowly)
        assert list(range(6)) == await first.collect()
    assert 60.0 == clock.now()


# -- lag


class Token:
    """An item that can be counted."""

    def __init__(self, number: int) -> None:
        self.number = number


@pytest.mark.parametrize("overflow", POLICIES)
async def test_op_07_one_of_ten_branches_never_reads(overflow: Any, clock: VirtualClock) -> None:
    size, count = 8, 400
    alive: weakref.WeakSet[Token] = weakref.WeakSet()
    most = 0
    numbers: list[list[int]] = [[] for _ in range(9)]

    async def tokens() -> AsyncIterator[Token]:
        nonlocal most
        for number in range(count):
            token = Token(number)
            alive.add(token)
            most = max(most, len(alive))
            yield token
            del token
            if number % 4 == 0:
                await current_backend().checkpoint()

    branches = tee(sk.stream(tokens), 10, size=size, overflow=["suspend"] * 9 + [overflow])
    stuck = branches[9].open()

    async def drain_numbers(items: Run[Token], out: list[int]) -> None:
        async for item in items:
            out.append(item.number)

    async def read(me: int) -> None:
        async with branches[me] as items:
            await drain_numbers(items, numbers[me])

    async with stuck, anyio.create_task_group() as group:
        for me in range(9):
            group.start_soon(read, me)
        await settle(count * 8)
        if overflow == "suspend":
            assert [list(range(size))] * 9 == numbers
            assert size >= len(alive)
            await stuck.aclose()
        elif overflow == "error":
            kept: list[int] = []
            with pytest.raises(sk.BufferFull, match="a buffer of 8 items"):
                await drain_numbers(stuck, kept)
            assert list(range(size)) == kept
        else:
            given: list[int] = []
            await drain_numbers(stuck, given)
            newest = list(range(count - size, count))
            assert {"drop_oldest": newest, "drop_newest": list(range(size)), "latest": newest[-1:]}.get(overflow, given) == given
    assert [list(range(count))] * 9 == numbers
    # The log, what the lagging branch holds and a gap's room, and one item in the hands of each.
    assert 2 * size + 2 + 10 >= most


async def test_a_lagging_branch_keeps_control_events_and_says_what_is_missing() -> None:
    events = [sk.Start(), *[sk.TextDelta(str(number)) for number in range(50)], sk.Usage(output_tokens=50), sk.Finish()]
    quick, slow = tee(sk.stream(events), 2, size=4, overflow=["suspend", "drop_oldest"])
    async with slow.open() as late:
        assert events == await quick.collect()
        kept: list[sk.Event] = []
        await drain(late, kept)
    assert sk.Start() == kept[0]
    assert [sk.Usage(output_tokens=50), sk.Finish()] == kept[-2:]
    dropped = sum(event.count for event in kept if isinstance(event, sk.Gap))
    assert 50 == dropped + sum(isinstance(event, sk.TextDelta) for event in kept)
    assert 1 == sum(isinstance(event, sk.Gap) for event in kept)


async def test_a_lagging_branch_full_of_control_events_suspends_the_source_whatever_its_policy() -> None:
    source = Probe([sk.ToolResult(str(number), number) for number in range(40)])
    quick, slow = tee(sk.stream(source), 2, size=4, overflow=["suspend", "drop_oldest"])
    async with slow.open() as late, quick.open() as items, anyio.create_task_group() as group:
        out: list[Any] = []
        group.start_soon(drain, items, out)
        await settle()
        assert 8 >= source.given
        kept: list[Any] = []
        await drain(late, kept)
    assert [str(number) for number in range(40)] == [result.id for result in kept]
    assert kept == out


async def test_a_branch_that_drops_and_keeps_up_loses_nothing() -> None:
    quick, also = tee(sk.stream(range(5000)), 2, size=1024, overflow=["suspend", "drop_oldest"])
    outs: list[list[int]] = [[], []]
    async with anyio.create_task_group() as group:
        group.start_soon(drain, quick, outs[0])
        group.start_soon(drain, also, outs[1])
    assert [list(range(5000))] * 2 == outs


async def test_deltas_that_a_lagging_branch_joins_are_one_text() -> None:
    events = [sk.TextDelta(str(number)) for number in range(200)] + [sk.Finish()]
    quick, slow = tee(sk.stream(events), 2, size=4, overflow=["suspend", "coalesce"])
    async with slow.open() as late:
        assert events == await quick.collect()
        kept: list[Any] = []
        await drain(late, kept)
    assert "".join(map(str, range(200))) == "".join(event.text for event in kept[:-1])
    assert 6 >= len(kept)


async def test_a_reader_in_another_thread_is_refused() -> None:
    shared = share(sk.stream(range(10)))
    raised: list[BaseException] = []

    def elsewhere() -> None:
        try:
            asyncio.run(shared.collect())
        except sk.StreamBusy as error:
            raised.append(error)

    async with shared.open() as items:
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert list(range(10)) == [item async for item in items]
    assert ["another thread" in str(error) for error in raised] == [True]


@asyncio_only
async def test_a_cancelled_pump_is_no_end_of_the_stream() -> None:
    shared = share(sk.stream(Probe("abc", at_step=lambda given: given == 1)))
    out: list[str] = []
    run: Run[str] = shared.open()

    async def read() -> None:
        async with run as items:
            await drain(items, out)

    reader = asyncio.create_task(read())
    await settle()
    pump = next(task for task in asyncio.all_tasks() if task.get_name() == "streamkit Probe")
    pump.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert ["a"] == out


async def test_what_a_tee_does_is_explained() -> None:
    first, _ = tee(sk.stream(["a"]), 2)
    assert "branch 1 of 2 of tee(list)" in first.explain()
    assert "share(list)" in share(sk.stream(["a"])).explain()


async def test_signs_of_life_on_the_wire_reach_the_clocks_of_each_branch(clock: VirtualClock) -> None:
    async def body() -> AsyncIterator[bytes]:
        for chunk in [b": ping\n\n"] * 6 + [b'data: {"choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n', b"data: [DONE]\n\n"]:
            await clock.sleep(2)
            yield chunk

    async def read(branch: Stream[sk.Event]) -> None:
        assert "Hi" == await (branch | sk.timeout(wire=3, idle=60)).join()

    async with anyio.create_task_group() as group:
        for branch in tee(sk.decode(body, "openai-chat"), 3):
            group.start_soon(read, branch)
    assert 16.0 == clock.now()
