"""Hubs on a store that is slow, silent, away, damaged or taken over: live readers notice nothing, nothing is lost in silence."""

from __future__ import annotations

import pickle
import random
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any

import anyio
import pytest
from hub_crew import Crew
from troubled_store import Link, Trouble, link_to, shared_store

from streamkit.errors import CorruptEntry, StreamDraining, StreamInterrupted, UnknownStream
from streamkit.events.model import Custom, ErrorEvent, Event, Finish, Gap, TextDelta
from streamkit.flow.clock import current_clock
from streamkit.hub.chunks import encode
from streamkit.hub.hub import Hub
from streamkit.hub.stores.memory import MemoryStore
from streamkit.hub.stores.protocol import Chunk
from streamkit.testing.clock import VirtualClock

pytestmark = pytest.mark.anyio


@pytest.fixture
def store(clock: VirtualClock, monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    return shared_store(clock, monkeypatch)


def while_away(clock: VirtualClock, until: float, trouble: Any) -> Callable[[str], Any]:
    """Appends go wrong until then."""
    return lambda name: trouble if name in ("append", "renew") and clock.now() < until else None


def words(count: int, *, every: float = 0.0, closed: list[str] | None = None) -> Callable[[], AsyncIterator[str]]:
    async def source() -> AsyncIterator[str]:
        try:
            for number in range(count):
                yield f"{number} "
                if every:
                    await current_clock().sleep(every)
        finally:
            if closed is not None:
                closed.append("closed")

    return source


def told(count: int) -> list[Event]:
    return [*[TextDelta(f"{number} ") for number in range(count)], Finish("stop")]


@pytest.mark.parametrize("trouble", ["away", "hangs"])
async def test_res_11_live_readers_get_all_at_full_speed_while_the_store_is_away(
    clock: VirtualClock, store: MemoryStore, trouble: str
) -> None:
    link = link_to(store)
    async with Hub(link, lease=60, close_timeout=1) as hub:
        generation = await hub.start("a", words(500, every=0.01))
        link.trouble = while_away(clock, 1e9, trouble)
        began = clock.now()

        events = await generation.subscribe().collect()
        status = await generation.status()

        assert told(500) == events
        assert 5.0 == pytest.approx(clock.now() - began)
        assert (True, "done", 0) == (status.failing, status.state, status.lost)
        assert status.stored is not None
        assert status.stored < 501


async def test_res_11_after_a_store_was_away_other_processes_read_the_whole_log(clock: VirtualClock, store: MemoryStore) -> None:
    link = link_to(store)
    async with Hub(link, lease=60) as hub, Hub(link_to(store), lease=60) as other:
        link.trouble = while_away(clock, 5.0, "away")
        await hub.start("a", words(1000, every=0.001))
        await clock.sleep(4)
        during = await hub.status("a")
        await clock.sleep(4)
        after = await hub.status("a")

        assert (True, 0) == (during.failing, during.stored)
        assert (False, 1001, 0) == (after.failing, after.stored, after.lost)
        assert told(1000) == await other.subscribe("a").collect()


async def test_res_11_what_a_short_log_no_longer_had_is_a_gap_for_each_lost_event(clock: VirtualClock, store: MemoryStore) -> None:
    link = link_to(store)
    async with Hub(link, lease=60, max_events=100) as hub, Hub(link_to(store), lease=60) as other:
        link.trouble = while_away(clock, 5.0, "away")
        await hub.start("a", words(1000, every=0.001))
        live = await hub.subscribe("a").join()
        await clock.sleep(8)
        status = await hub.status("a")
        entries = await other.entries("a").collect()

    events = [event for _, event in entries]
    assert "".join(f"{number} " for number in range(1000)) == live
    assert 1001 == len(events) == status.events == status.stored
    assert status.lost == sum(isinstance(event, Gap) for event in events) > 800
    assert all(event in (Gap(1), before) for event, before in zip(events, told(1000), strict=True))
    assert [str(number) for number in range(1001)] == [token.partition(".")[2] for token, _ in entries]


async def test_appends_whose_answer_is_lost_are_written_once(clock: VirtualClock, store: MemoryStore) -> None:
    link = link_to(store)
    dice = random.Random(7)
    async with Hub(link, lease=60, flush_events=8) as hub, Hub(link_to(store), lease=60) as other:
        link.trouble = lambda name: "unanswered" if name == "append" and dice.random() < 0.5 else None
        await hub.start("a", words(400, every=0.01))
        await clock.sleep(60)

        assert link.troubled > 5
        assert told(400) == await other.subscribe("a").collect()
        assert not (await hub.status("a")).failing


async def test_a_cancel_that_is_lost_on_its_way_to_the_writer_is_told_again(clock: VirtualClock, store: MemoryStore) -> None:
    link = link_to(store)
    lost: Iterator[Trouble] = iter(["unanswered"])
    link.trouble = lambda name: next(lost, None) if name == "signals" else None
    async with Hub(link, lease=6) as hub, Hub(link_to(store), lease=6) as other:
        await hub.start("a", words(100_000, every=0.5))
        await clock.sleep(1)

        assert await other.cancel("a", "enough")
        assert 3 > clock.now()
        assert 1 == link.troubled
        assert Finish("cancelled") == (await hub.subscribe("a").collect())[-1]


async def test_a_store_that_fails_for_good_stops_nothing_here(clock: VirtualClock, store: MemoryStore) -> None:
    link = link_to(store)
    async with Hub(link, lease=60) as hub:
        generation = await hub.start("a", words(100, every=0.01))
        link.trouble = lambda name: "broken" if name == "append" else None

        assert told(100) == await generation.subscribe().collect()
        assert (await generation.status()).failing


async def test_a_slow_store_slows_nobody(clock: VirtualClock, store: MemoryStore) -> None:
    async def a_second() -> None:
        await clock.sleep(1)

    slow = Link(store, turn=a_second, hang=anyio.sleep_forever)
    async with Hub(slow, lease=600, close_timeout=600) as hub:
        generation = await hub.start("a", words(2000))
        began = clock.now()

        assert told(2000) == await generation.subscribe().collect()
        assert clock.now() == began
        await clock.sleep(200)
        assert 2001 == (await generation.status()).stored


async def test_a_hub_whose_store_is_silent_closes_in_time(clock: VirtualClock, store: MemoryStore) -> None:
    link = link_to(store)
    closed: list[str] = []
    async with Hub(link, lease=60, close_timeout=3) as hub:
        await hub.start("a", words(100_000, every=0.01, closed=closed))
        link.trouble = lambda name: "hangs"
        await clock.sleep(1)
        began = clock.now()

    assert 3 >= clock.now() - began
    assert ["closed"] == closed
    assert link.closed


@pytest.mark.parametrize("lives", [0.01, 0.34, 0.66, 5.0])
@pytest.mark.parametrize("lease", [1, 60], ids=["its hub looks for the dead", "its hub seldom looks for the dead"])
async def test_res_09_a_reader_is_told_within_the_lease_and_a_second_that_its_writer_died(
    clock: VirtualClock, store: MemoryStore, lease: float, lives: float
) -> None:
    link = link_to(store)
    told_at: list[float] = []
    async with Hub(link, lease=1) as hub, Hub(link_to(store), lease=lease) as other, Crew() as crew:
        await hub.start("a", words(100_000, every=0.01))

        async def reads() -> None:
            with pytest.raises(StreamInterrupted):
                await other.subscribe("a").collect()
            told_at.append(clock.now())

        crew.spawn("reader", reads)
        await clock.sleep(lives)
        link.dead = True
        died = clock.now()
        await crew.all_done()

    assert 1 == len(told_at)
    assert died < told_at[0] <= died + 1 + 1


async def test_res_10_a_writer_that_was_fenced_ends_as_interrupted_and_closes_its_source(
    clock: VirtualClock, store: MemoryStore
) -> None:
    link = link_to(store)
    closed: list[str] = []
    async with Hub(link, lease=1) as hub, Hub(link_to(store), lease=1) as other:
        generation = await hub.start("a", words(100_000, every=0.01, closed=closed))
        async with generation.entries().open() as run:
            seen = [await anext(aiter(run))]
            link.trouble = while_away(clock, 3.0, "away")
            with pytest.raises(StreamInterrupted):
                await other.subscribe("a").collect()
            tale = await other.entries("a", errors="yield").collect()

            with pytest.raises(StreamInterrupted):
                async for entry in run:
                    seen.append(entry)
        await clock.sleep(1)

        assert ["closed"] == closed
        assert "interrupted" == (await generation.status()).state == (await other.status("a")).state
        assert tale == await other.entries("a", errors="yield").collect()
        # Whoever has read more from the writer than it could store goes on at the end of the tale that stands.
        assert len(seen) > len(tale)
        assert tale[-1:] == await other.entries("a", after=seen[-1][0], errors="yield").collect()


POISON = {
    "a pickle": pickle.dumps({"type": "finish"}),
    "JSON that is none": b'{"type": "text-delta", "text": ',
    "another version": b"\x7f" + encode([TextDelta("x")])[1:],
    "cut": encode([TextDelta("a long text, cut")])[:-3],
    "empty": b"",
    "two events that are said to be one": encode([TextDelta("x"), TextDelta("y")]),
    "a type that nobody knows": b"\x01\x91\x81\xa4type\xa5other",
}


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON)
async def test_res_13_a_poisoned_entry_ends_its_readers_as_corrupt_and_touches_no_others(
    clock: VirtualClock, store: MemoryStore, poison: bytes
) -> None:
    async with Hub(link_to(store), lease=60) as hub, Hub(link_to(store), lease=60) as other:
        await hub.start("good", words(20, every=0.01))
        await store.create("bad", owner=None, metadata={}, first_epoch=7)
        epoch = await store.acquire("bad", holder="somebody", lease=60)
        await store.append("bad", Chunk(0, 1, epoch, encode([TextDelta("fine ")])), epoch=epoch)
        await store.append("bad", Chunk(1, 1, epoch, poison), epoch=epoch)

        got: list[Event] = []
        with pytest.raises(CorruptEntry):
            async with other.subscribe("bad") as events:
                async for event in events:
                    got.append(event)
        with pytest.raises(CorruptEntry):
            await other.subscribe("bad", after=f"{epoch:x}.5").collect()

        assert got in ([], [TextDelta("fine ")])
        assert told(20) == await other.subscribe("good").collect()


async def test_an_event_that_no_store_can_keep_is_a_gap_there_and_whole_here(clock: VirtualClock, store: MemoryStore) -> None:
    events = [TextDelta("a"), Custom("odd", {1, 2}), TextDelta("b")]
    async with Hub(link_to(store), lease=60) as hub, Hub(link_to(store), lease=60) as other:
        await hub.start("a", events)
        here = await hub.subscribe("a").collect()
        await clock.sleep(1)
        status = await hub.status("a")

        assert [*events, Finish("stop")] == here
        assert [TextDelta("a"), Gap(1), TextDelta("b"), Finish("stop")] == await other.subscribe("a").collect()
        assert (1, 4, False) == (status.lost, status.stored, status.failing)


async def test_a_reader_elsewhere_does_not_go_on_in_another_stream_of_the_same_name(
    clock: VirtualClock, store: MemoryStore
) -> None:
    async with Hub(link_to(store), lease=60) as hub, Crew() as crew:
        slow = link_to(store)
        async with Hub(slow, lease=60) as other:
            got: list[Event] = []
            ended: list[BaseException | None] = []

            async def reads() -> None:
                try:
                    async with other.subscribe("a") as events:
                        async for event in events:
                            got.append(event)
                    ended.append(None)
                except UnknownStream as error:
                    ended.append(error)

            await hub.start("a", words(100_000, every=0.5))
            crew.spawn("reader", reads)
            await clock.sleep(3.2)
            seen = len(got)
            slow.trouble = lambda name: "away" if name in ("read", "wait") else None
            await hub.start("a", [f"other {number}" for number in range(50)], if_exists="replace")
            await clock.sleep(5)
            slow.trouble = lambda name: None
            await crew.all_done()

    assert seen >= 5
    assert len(ended) == 1
    assert not [event for event in got if isinstance(event, TextDelta) and event.text.startswith("other")]
    assert isinstance(ended[0], UnknownStream) or got[-1] == Finish("cancelled")


async def test_a_reader_that_comes_while_its_hub_closes_is_told_so_and_does_not_wait_for_ever(
    clock: VirtualClock, store: MemoryStore
) -> None:
    for turns in range(12):
        hub = Hub(link_to(store), lease=60)
        async with Hub(link_to(store), lease=60) as writer:
            await writer.start(f"a{turns}", words(100_000, every=0.01))
            await hub.list()
            async with Crew() as crew:
                ended: list[str] = []

                async def reads(hub: Hub = hub, id: str = f"a{turns}", ended: list[str] = ended) -> None:
                    try:
                        await hub.subscribe(id).collect()
                    except (StreamDraining, UnknownStream) as error:
                        ended.append(type(error).__name__)

                crew.spawn("reader", reads)
                for _ in range(turns):
                    await crew.turn()
                await hub.aclose()
                await crew.all_done()

                assert ([], 1) == (crew.failures, len(ended))


async def test_who_resumes_behind_the_end_that_a_closing_hub_gave_its_copy_misses_nothing(
    clock: VirtualClock, store: MemoryStore
) -> None:
    async with (
        Hub(link_to(store), lease=60) as hub,
        Hub(link_to(store), lease=60) as second,
        Hub(link_to(store), lease=60) as third,
    ):
        await hub.start("a", words(20, every=0.1))
        await clock.sleep(0.001)
        copy = second.entries("a", errors="yield")
        begun: list[tuple[str, Event]] = []
        async with copy as entries:
            async for entry in entries:
                begun.append(entry)
                if len(begun) == 5:
                    await second.drain(0)
        token, last = begun[-1]

        assert isinstance(last, ErrorEvent)
        assert told(20)[:5] == [event for _, event in begun[:-1]]
        assert begun[-2][0] == token
        assert told(20)[5:] == await third.subscribe("a", after=token).collect()


async def test_who_resumes_where_nothing_was_copied_gets_all(clock: VirtualClock, store: MemoryStore) -> None:
    async with (
        Hub(link_to(store), lease=60) as hub,
        Hub(link_to(store), lease=60) as second,
        Hub(link_to(store), lease=60) as third,
    ):
        await hub.start("a", words(5, every=1))
        link: Any = second._streams.store
        link.trouble = lambda name: "broken" if name == "read" else None
        ((token, last),) = await second.entries("a", errors="yield").collect()

        assert isinstance(last, ErrorEvent)
        assert told(5) == await third.subscribe("a", after=token).collect()
        assert told(5) == await hub.subscribe("a", after=token).collect()


async def test_cancelling_any_reader_at_any_moment_leaves_nothing_and_touches_no_other(
    clock: VirtualClock, store: MemoryStore
) -> None:
    assert await cancel_readers(clock, store, rounds=30) > 1000


async def cancel_readers(clock: VirtualClock, store: MemoryStore, *, rounds: int, seed: int = 1) -> int:
    """Readers of all kinds, here and elsewhere, most of them cancelled at random; how many were."""
    dice = random.Random(seed)
    cancelled = 0
    for number in range(rounds):
        async with Hub(link_to(store), lease=60) as hub, Hub(link_to(store), lease=60) as other, Crew() as crew:
            closed: list[str] = []
            id = f"{seed}-{number}"
            await hub.start(id, words(60, every=0.01, closed=closed))
            log = hub._streams.kept[id].producer.log
            whole: list[list[Event]] = []
            stayed = 0

            async def reads(where: Hub, policy: Any, slow: float, id: str = id, whole: list[list[Event]] = whole) -> None:
                events = []
                async with where.subscribe(id, policy=policy) as items:
                    async for event in items:
                        events.append(event)
                        if slow:
                            await clock.sleep(slow)
                whole.append(events)

            for _ in range(60):
                where = dice.choice([hub, other])
                policy = dice.choice(["lag", "conflate", "latest", "disconnect", "backpressure"])
                stays = dice.random() < 0.1 and policy in ("lag", "backpressure")
                stayed += stays
                slow = dice.choice([0, 0, 0.005])
                crew.spawn(policy, partial(reads, where, policy, slow), keep=stays)
                for _ in range(dice.randrange(4)):
                    if dice.random() < 0.8:
                        crew.cancel_one(dice)
                    await crew.turn()
                if dice.random() < 0.2:
                    await clock.sleep(0.02)
            for member in tuple(crew.members):
                if not member.keep:
                    crew.cancelled += 1
                    member.cancel()
            await crew.all_done()
            cancelled += crew.cancelled

            assert told(60) == await hub.subscribe(id).collect()
            await hub.cancel(id)  # is over; returns when its source is closed
            assert [told(60)] * stayed == [events for events in whole if len(events) == 61][:stayed]
            assert ["closed"] == closed
            assert 0 == log.readers
            assert not [seat for seat in log.crowd.sitting if getattr(seat, "resume", seat) is not None]
            assert not log.lockstep
        assert not hub._streams.tasks
        assert not other._streams.followers
        assert not [kept for kept in store._streams.values() if kept.parked]
    return cancelled


async def test_a_store_that_is_away_is_said_once_and_that_it_is_back(
    clock: VirtualClock, store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "streamkit.hub")
    link = link_to(store)
    link.trouble = lambda name: "away" if name in ("renew", "sweep", "signals") and 1 < clock.now() < 60 else None
    async with Hub(link, lease=6) as hub:
        generation = await hub.start("a", words(1000, every=0.1))
        await clock.sleep(90)
        assert "running" == (await generation.status()).state
    said = [record.getMessage() for record in caplog.records if record.name == "streamkit.hub"]
    assert 1 == sum(one.startswith("the store of a hub failed: leases") for one in said)
    assert 1 == sum("answers again (it had failed: leases" in one for one in said)
    assert 1 >= sum(one.startswith("the store of a hub failed: it cannot be told") for one in said)
