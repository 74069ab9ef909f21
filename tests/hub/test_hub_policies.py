"""What slow readers get, by policy, and that nobody else pays for it: in order, in time, in memory."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import AsyncIterator

import anyio
import pytest
from event_loops import asyncio_only
from hub_sources import Reading, Source, answer, deltas, events_of, turns

from streamkit.errors import ReaderLagged
from streamkit.events.model import Event, Finish, Gap, TextDelta, Usage
from streamkit.flow.tasks import current_backend
from streamkit.hub.hub import Hub
from streamkit.hub.reading import Policy
from streamkit.testing import assert_no_leaks

pytestmark = pytest.mark.anyio

POLICIES: list[Policy] = ["lag", "conflate", "latest", "disconnect", "backpressure"]


class Slow:
    """A reader that takes one event, and the others when it is told to."""

    def __init__(self, hub: Hub, policy: Policy, lag: int = 3) -> None:
        self.got: list[Event] = []
        self.tokens: list[str] = []
        self.error: BaseException | None = None
        self._stream = hub.entries("a", policy=policy, lag=lag)
        self._go = anyio.Event()

    async def __call__(self) -> None:
        try:
            async with self._stream.open() as items:
                async for token, event in items:
                    self.tokens.append(token)
                    self.got.append(event)
                    if len(self.got) == 1:
                        await self._go.wait()
        except ReaderLagged as error:
            self.error = error

    async def go_on(self) -> None:
        self._go.set()
        await turns(30)


async def slow(policy: Policy, *, lag: int = 3) -> tuple[Slow, Reading, Source]:
    """One that was slow while a, b, Usage, c, d came, beside one that was not."""
    source = Source()
    async with assert_no_leaks(thorough=False), Hub() as hub, anyio.create_task_group() as group:
        await hub.start("a", source)
        late, prompt = Slow(hub, policy, lag), Reading(hub.subscribe("a"))
        group.start_soon(late)
        group.start_soon(prompt)
        await source.give("first")
        await source.give("a", "b", Usage(output_tokens=2), "c", "d")
        if policy != "backpressure":
            assert 6 == len(prompt.got)
        await late.go_on()
        await source.end()
    assert [*deltas("first", "a", "b"), Usage(output_tokens=2), *answer("c", "d")] == prompt.got
    return late, prompt, source


async def test_lag_gives_all_of_it_event_by_event() -> None:
    late, prompt, _ = await slow("lag")
    assert prompt.got == late.got


async def test_conflate_gives_all_of_it_with_neighbouring_deltas_joined() -> None:
    late, _, _ = await slow("conflate")
    assert [*deltas("first", "ab"), Usage(output_tokens=2), *answer("cd")] == late.got
    assert [0, 2, 3, 5, 6] == [int(token.partition(".")[2]) for token in late.tokens]


async def test_latest_gives_the_newest_delta_a_gap_for_the_others_and_every_control_event() -> None:
    late, _, _ = await slow("latest")
    assert [*deltas("first"), Gap(2), Usage(output_tokens=2), Gap(1), *answer("d")] == late.got


async def test_disconnect_ends_who_is_too_far_behind_with_the_token_to_resume_from() -> None:
    late, _, _ = await slow("disconnect")
    assert deltas("first") == late.got
    assert isinstance(late.error, ReaderLagged)
    assert (3, late.tokens[0]) == (late.error.size, late.error.token)


async def test_disconnect_leaves_alone_who_is_not_too_far_behind() -> None:
    late, prompt, _ = await slow("disconnect", lag=5)
    assert (prompt.got, None) == (late.got, late.error)


async def test_backpressure_gives_all_of_it_event_by_event() -> None:
    late, prompt, _ = await slow("backpressure")
    assert prompt.got == late.got


@pytest.mark.parametrize("lag", [1, 2, 5])
async def test_backpressure_holds_the_source_exactly_so_many_events_ahead(lag: int) -> None:
    given = 0

    async def source() -> AsyncIterator[str]:
        nonlocal given
        while True:
            await current_backend().checkpoint()
            given += 1
            yield f"{given} "

    async with assert_no_leaks(), Hub() as hub:
        await hub.start("a", source)
        async with hub.subscribe("a", policy="backpressure", lag=lag).open() as items:
            for number in range(1, 20):
                assert TextDelta(f"{number} ") == await anext(items)
                await turns(40)
                # What it was given counts as unread until it comes back; what is in the source's hands is one more.
                assert given <= number + 2 * lag + 1
        before = given
        await turns(20)
        assert given > before  # it has left, and nobody is waited for


async def test_backpressure_of_one_that_left_or_was_cancelled_holds_nobody_up() -> None:
    source = Source()
    async with assert_no_leaks(), Hub() as hub, anyio.create_task_group() as group:
        await hub.start("a", source)
        stuck = [Slow(hub, "backpressure", lag=1) for _ in range(3)]
        scopes = [anyio.CancelScope() for _ in stuck]

        async def run(reader: Slow, scope: anyio.CancelScope) -> None:
            with scope:
                await reader()

        for reader, scope in zip(stuck, scopes, strict=True):
            group.start_soon(run, reader, scope)
        prompt = Reading(hub.subscribe("a"))
        group.start_soon(prompt)
        await turns()
        await source.give(*"abcdef")
        held = len(prompt.got)
        assert held < 6
        for scope in scopes[:-1]:
            scope.cancel()
            await turns()
        assert held == len(prompt.got)
        scopes[-1].cancel()
        await turns()
        assert 6 == len(prompt.got)
        await source.end()


async def test_a_source_that_waits_for_a_reader_can_be_cancelled() -> None:
    source = Source()
    async with assert_no_leaks(), Hub() as hub, anyio.create_task_group() as group:
        await hub.start("a", source)
        reader = Slow(hub, "backpressure", lag=1)
        group.start_soon(reader)
        await source.give(*"abcdef")
        assert await hub.cancel("a")
        assert 1 == source.closed
        await reader.go_on()
    assert Finish("cancelled") == reader.got[-1]


@pytest.mark.parametrize("policy", [policy for policy in POLICIES if policy != "backpressure"])
async def test_a_reader_that_never_comes_back_slows_nobody(policy: Policy) -> None:
    source = Source()
    async with assert_no_leaks(), Hub() as hub, anyio.create_task_group() as group:
        await hub.start("a", source)
        late, prompt = Slow(hub, policy, lag=1), Reading(hub.subscribe("a"))
        group.start_soon(late)
        group.start_soon(prompt)
        for number in range(50):
            await source.give(f"{number} ")
            assert number + 1 == len(prompt.got)
        group.cancel_scope.cancel()


@pytest.mark.parametrize("policy", POLICIES)
async def test_a_reader_that_comes_late_gets_it_by_its_policy(policy: Policy) -> None:
    async with Hub() as hub:
        await hub.start("a", [*deltas("a", "b"), Usage(output_tokens=2), *deltas("c")])
        await turns(30)
        got = await events_of(hub, "a", policy=policy, lag=1)
    whole = [*deltas("a", "b"), Usage(output_tokens=2), *answer("c")]
    expected = {
        "conflate": [*deltas("ab"), Usage(output_tokens=2), *answer("c")],
        "latest": [Gap(2), Usage(output_tokens=2), *answer("c")],
    }
    assert expected.get(policy, whole) == got


async def test_what_is_kept_joined_is_given_in_fewer_events_and_cut_where_the_reader_stands() -> None:
    texts = [f"{number} " for number in range(500)]
    async with Hub(max_events=8) as hub:
        await hub.start("a", texts)
        await turns(60)
        entries = await hub.entries("a").collect()
        assert len(entries) < 20
        for at in (0, 7, 250, 498):
            token = f"{entries[0][0].partition('.')[0]}.{at}"
            resumed = await events_of(hub, "a", after=token)
            assert "".join(texts[at + 1 :]) == "".join(event.text for event in resumed if isinstance(event, TextDelta))
            assert not any(isinstance(event, Gap) for event in resumed)


# -- memory


async def held_by(readers: int, *, stalled: bool) -> int:
    """Bytes while so many readers have the first of 200 events of 5 KB each, or all of them."""
    source = Source()
    async with Hub() as hub:
        await hub.start("a", source)
        runs = [hub.subscribe("a").open() for _ in range(readers)]
        gc.collect()
        tracemalloc.start()
        try:
            for number in range(200):
                await source.give(f"{number:05}" * 1000)
                for run in runs:
                    if number == 0 or not stalled:
                        assert TextDelta(f"{number:05}" * 1000) == await anext(run)
            gc.collect()
            return tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
            for run in runs:
                await run.aclose()


@asyncio_only
async def test_a_thousand_stalled_readers_cost_what_readers_that_keep_up_cost_and_the_log_is_there_once() -> None:
    one, few = await held_by(1, stalled=True), await held_by(100, stalled=True)
    assert (few - one) / 99 < 4_000  # what each holds itself: its run, its place, a list of one event
    thousand = await held_by(1000, stalled=True)
    assert (thousand - one) / 999 < 4_000
    assert 1_000_000 <= one
    prompt = await held_by(100, stalled=False)
    assert few < 1.05 * prompt


@asyncio_only
async def test_what_passes_through_a_hub_of_small_bounds_leaves_nothing_in_memory() -> None:
    count = 60_000
    marks: list[int] = []

    async def source() -> AsyncIterator[str]:
        for number in range(count):
            if number in (count // 4, count - 1):
                gc.collect()
                marks.append(tracemalloc.get_traced_memory()[0])
            if number % 16 == 0:
                await current_backend().checkpoint()
            yield f"token {number}"

    async with Hub(max_events=64, max_bytes=20_000) as hub:
        tracemalloc.start()
        try:
            await hub.start("a", source)
            read = 0
            async for _ in hub.subscribe("a"):
                read += 1
        finally:
            tracemalloc.stop()
    assert read > 0
    # Per event less than a byte: what is left of a million would be less than one megabyte.
    assert marks[1] - marks[0] < count * 3 // 4


async def test_late_joiners_of_a_long_generation_cost_no_turn_per_event() -> None:
    async with Hub() as hub:
        await hub.start("a", [f"token {number} " for number in range(10_000)])
        await turns(60)
        turned = 0

        async def count() -> None:
            nonlocal turned
            while True:
                await current_backend().checkpoint()
                turned += 1

        async with anyio.create_task_group() as group:
            group.start_soon(count)
            got = await events_of(hub, "a")
            group.cancel_scope.cancel()
    assert 10_001 == len(got)
    assert turned < 200
