"""Hubs whose store fails in the middle of what they do for it, and what outlives its stream: handles, names, odd events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import anyio
import pytest
from hub_crew import Crew
from hub_sources import Reading, Source
from troubled_store import UNIX, Link, link_to, no_turn, shared_store

from streamkit.errors import StoreError, StreamDraining, StreamInterrupted, UnknownStream
from streamkit.events.model import Custom, Finish, Gap, TextDelta
from streamkit.flow.clock import current_clock
from streamkit.hub.hub import Hub
from streamkit.hub.stores.memory import MemoryStore
from streamkit.hub.stores.protocol import Record
from streamkit.testing.clock import VirtualClock

pytestmark = pytest.mark.anyio

# Seconds on the virtual clock in which everybody comes to an end, or never will.
LONG = 100.0


@pytest.fixture
def store(clock: VirtualClock, monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    return shared_store(clock, monkeypatch)


def words(count: int, *, every: float) -> Callable[[], AsyncIterator[str]]:
    async def source() -> AsyncIterator[str]:
        for number in range(count):
            yield f"{number} "
            await current_clock().sleep(every)

    return source


class InTime:
    """A block that is cancelled after LONG on the virtual clock; `late` says that it was."""

    def __init__(self) -> None:
        self.scope = anyio.CancelScope()
        self.late = False

    def __enter__(self) -> InTime:
        clock = current_clock()
        self.scope.__enter__()
        self.timer = clock.call_at(clock.now() + LONG, self._is_late)
        return self

    def __exit__(self, *failure: Any) -> bool | None:
        self.timer.cancel()
        return self.scope.__exit__(*failure)

    def _is_late(self) -> None:
        self.late = True
        self.scope.cancel()


# -- events that are odd


class Unspeakable:
    def __repr__(self) -> str:
        raise RuntimeError("nothing can be said of it")


def deep(levels: int) -> object:
    """Lists in lists, more than can be written out."""
    within: list[object] = []
    for _ in range(levels):
        within = [within]
    return within


@pytest.mark.parametrize("data", [Unspeakable(), deep(100_000)], ids=["an object", "lists in lists"])
async def test_an_event_that_cannot_be_written_out_ends_no_stream_and_holds_no_hub_up(clock: VirtualClock, data: object) -> None:
    event = Custom("odd", data)
    with InTime() as in_time:
        async with Hub() as hub:
            await hub.start("a", [TextDelta("a"), event, TextDelta("b")])
            events = await hub.subscribe("a").collect()
            status = await hub.status("a")
    assert not in_time.late
    assert [TextDelta("a"), TextDelta("b"), Finish("stop")] == [events[0], *events[2:]]
    assert event is events[1]
    assert ("done", 4) == (status.state, status.events)


@dataclass(eq=False)
class Incomparable:
    number: int

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("it cannot be compared")

    __hash__ = None  # type: ignore[assignment]


async def test_an_event_that_cannot_be_compared_is_a_gap_in_the_store_and_costs_nothing_else(
    clock: VirtualClock, store: MemoryStore
) -> None:
    async with Hub(link_to(store), lease=60) as hub, Hub(link_to(store), lease=60) as other:
        await hub.start("a", [TextDelta("a"), Custom("odd", Incomparable(1)), TextDelta("b")])
        here = await hub.subscribe("a").collect()
        await clock.sleep(1)
        status = await hub.status("a")
        assert [TextDelta("a"), Gap(1), TextDelta("b"), Finish("stop")] == await other.subscribe("a").collect()
    assert 4 == len(here)
    assert (1, 4, False) == (status.lost, status.stored, status.failing)


# -- handles


async def test_the_handle_of_a_stream_that_was_replaced_does_not_cancel_its_successor() -> None:
    async with Hub() as hub:
        first, second = Source(), Source()
        first.sender.push("x")
        second.sender.push("y")
        old = await hub.start("a", first)
        assert "x" == await old.subscribe().take(1).join()
        new = await hub.start("a", second, if_exists="replace")
        assert "y" == await new.subscribe().take(1).join()

        for ask in (old.cancel, old.status, old.message, old.subscribe().collect, old.entries().collect):
            with pytest.raises(UnknownStream):
                await ask()
        assert "running" == (await new.status()).state
        assert await new.cancel("enough")
        assert (1, 1) == (first.closed, second.closed)


async def test_the_handle_of_a_stream_that_was_forgotten_opens_nobody_elses(clock: VirtualClock, store: MemoryStore) -> None:
    async with Hub(link_to(store), lease=60) as hub, Hub(link_to(store), lease=60) as other:
        made = await hub.start("a", ["mine"], owner="me")
        joined = await hub.start("a", ["never"], owner="me")
        assert (False, True) == (made.joined, joined.joined)
        await hub.forget("a", owner="me")
        await other.start("a", ["theirs"], owner="them")

        for handle in (made, joined):
            with pytest.raises(UnknownStream):
                await handle.subscribe().collect()
            with pytest.raises(UnknownStream):
                await handle.message()
            with pytest.raises(UnknownStream):
                await handle.status()
            with pytest.raises(UnknownStream):
                await handle.cancel()
        assert "theirs" == await other.subscribe("a", owner="them").join()


async def test_a_handle_goes_on_with_its_stream_when_only_the_store_has_it(clock: VirtualClock, store: MemoryStore) -> None:
    async with Hub(link_to(store), lease=60) as hub, Hub(link_to(store), lease=60) as other:
        made = await hub.start("a", ["mine"], owner="me")
        await clock.sleep(1)
        assert not (await made.status()).here
        joined = await other.start("a", ["never"], owner="me")

        for handle in (made, joined):
            assert "mine" == await handle.subscribe().join()
            assert "mine" == (await handle.message()).text
            assert "done" == (await handle.status()).state
            assert not await handle.cancel()


# -- a name that is to be free again


@pytest.mark.parametrize("how", ["forget", "replace"])
async def test_a_stream_whose_end_the_store_does_not_take_is_not_forgotten_and_who_asks_for_that_is_told(
    clock: VirtualClock, store: MemoryStore, how: str
) -> None:
    link = link_to(store)
    async with Hub(link, lease=600, close_timeout=3) as hub:

        async def asks() -> None:
            if how == "forget":
                await hub.forget("a")
            else:
                await hub.start("a", ["new"], if_exists="replace")

        link.trouble = lambda name: "away" if name == "append" else None
        await hub.start("a", ["old"])
        assert "old" == await hub.subscribe("a").join()
        began = clock.now()
        with InTime() as in_time, pytest.raises(StoreError) as told:
            await asks()
        assert not in_time.late
        assert told.value.retryable
        assert 3 == pytest.approx(clock.now() - began)
        assert "old" == await hub.subscribe("a").join()

        link.trouble = lambda name: None
        await clock.sleep(5)
        await asks()
        if how == "forget":
            assert [] == await hub.list()
        else:
            assert "new" == await hub.subscribe("a").join()


async def test_a_stream_that_the_store_failed_for_good_can_be_replaced_at_once(clock: VirtualClock, store: MemoryStore) -> None:
    link = link_to(store)
    async with Hub(link, lease=600) as hub, Hub(link_to(store), lease=600) as other:
        link.trouble = lambda name: "broken" if name == "append" else None
        await hub.start("a", ["old"])
        assert "old" == await hub.subscribe("a").join()
        await clock.sleep(1)
        assert (await hub.status("a")).failing

        link.trouble = lambda name: None
        generation = await hub.start("a", ["new"], if_exists="replace")
        assert not generation.joined
        assert "new" == await generation.subscribe().join()
        await clock.sleep(1)
        assert "new" == await other.subscribe("a").join()


async def test_a_stream_that_the_store_failed_for_good_still_hears_that_it_is_to_end(
    clock: VirtualClock, store: MemoryStore
) -> None:
    link = link_to(store)
    async with Hub(link, lease=60) as hub, Hub(link_to(store), lease=60) as other, Crew() as crew:
        link.trouble = lambda name: "broken" if name == "append" else None
        generation = await hub.start("a", words(10_000, every=0.1))
        await clock.sleep(1)

        async def cancels() -> None:
            await other.cancel("a", "enough")

        member = crew.spawn("cancel", cancels)
        with InTime() as in_time:
            events = await generation.subscribe().collect()
        assert not in_time.late
        assert Finish("cancelled") == events[-1]
        assert 2 > clock.now()
        assert ("cancelled", "enough") == ((await hub.status("a")).state, (await hub.status("a")).reason)
        member.cancel()


# -- closing


class Closable(MemoryStore):
    """A process's own way to what all have, which is shut when the process lets go of it; a call takes a second."""

    def __init__(self, shared: MemoryStore) -> None:
        super().__init__(clock_time=shared._now)
        self._streams = shared._streams

    async def create(self, id: str, **options: Any) -> bool:
        created = await super().create(id, **options)
        await current_clock().sleep(1)
        self._check_open()
        return created

    async def aclose(self) -> None:
        self._closed = True


async def test_a_start_that_the_closing_of_its_hub_overtakes_leaves_no_stream_that_nobody_writes(
    clock: VirtualClock, store: MemoryStore
) -> None:
    started: list[Exception] = []

    async def start(hub: Hub) -> None:
        try:
            await hub.start("a", ["never"])
        except (StreamDraining, StoreError) as error:
            started.append(error)

    async with Crew() as crew:
        async with Hub(Closable(store), lease=60, close_timeout=5) as hub:

            async def starts() -> None:
                await start(hub)

            crew.spawn("start", starts)
            await clock.sleep(0.5)
            assert 1 == len(store._streams)
        assert [] == [*store._streams]
        await crew.all_done()
    assert [StreamDraining] == [type(error) for error in started]


async def test_a_start_that_hangs_in_its_store_holds_the_closing_of_its_hub_up_no_longer_than_its_time(
    clock: VirtualClock, store: MemoryStore
) -> None:
    link = link_to(store)
    async with Crew() as crew:
        link.trouble = lambda name: "hangs" if name == "create" else None
        with InTime() as in_time:
            async with Hub(link, lease=60, close_timeout=3) as hub:

                async def starts() -> None:
                    await hub.start("a", ["never"])

                member = crew.spawn("start", starts)
                await clock.sleep(1)
        assert not in_time.late
        assert 4 == pytest.approx(clock.now())
        member.cancel()


# -- what the dead have left


async def dead(store: MemoryStore, *ids: str, lease: float = 1.0) -> None:
    """Streams whose writer is gone."""
    for id in ids:
        await store.create(id, owner=None, metadata={}, first_epoch=7)
        await store.acquire(id, holder="dead", lease=lease)


async def test_a_stream_of_the_dead_that_cannot_be_ended_does_not_keep_the_others_from_it(
    clock: VirtualClock, store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    class Damaged(Link):
        def __getattr__(self, name: str) -> Any:
            call = super().__getattr__(name)

            async def through(*args: Any, **options: Any) -> Any:
                if name == "append" and args[0] == "bad":
                    raise StoreError("this row is damaged")
                return await call(*args, **options)

            return through

    await dead(store, "bad", "good")
    async with Hub(Damaged(store, turn=no_turn, hang=anyio.sleep_forever), lease=3) as hub:
        await hub.start("own", words(100, every=0.1))
        await clock.sleep(5)
        assert {"bad": "running", "good": "interrupted", "own": "running"} == {one.id: one.state for one in await hub.list()}
    said = [record.getMessage() for record in caplog.records]
    assert 1 == sum("what the dead have left is not ended" in one for one in said)
    assert not [one for one in said if "leases are not renewed" in one]


class SlowToEnd(Link):
    """A store in which it takes its time to end what others have left, or to look for that."""

    slow: Sequence[str] = ()

    def __getattr__(self, name: str) -> Any:
        call = super().__getattr__(name)

        async def through(*args: Any, **options: Any) -> Any:
            if name in self.slow and (name == "sweep" or args[0].startswith("dead")):
                await current_clock().sleep(0.5 if name == "append" else 20)
            return await call(*args, **options)

        return through


@pytest.mark.parametrize("slow", ["append", "sweep"])
async def test_leases_are_renewed_in_time_however_much_the_dead_have_left(
    clock: VirtualClock, store: MemoryStore, slow: str
) -> None:
    await dead(store, *[f"dead {number}" for number in range(40)])
    links = [SlowToEnd(store, turn=no_turn, hang=anyio.sleep_forever) for _ in range(2)]
    for link in links:
        link.slow = [slow]
    async with Hub(links[0], lease=3) as hub, Hub(links[1], lease=3) as other:
        await hub.start("own", words(300, every=0.1))
        reading = Reading(other.subscribe("own"))
        with InTime() as in_time:
            await reading()
    assert not in_time.late
    assert reading.error is None
    assert "".join(f"{number} " for number in range(300)) == reading.text


async def test_a_hub_whose_leases_could_not_be_renewed_does_not_take_itself_for_dead(
    clock: VirtualClock, store: MemoryStore
) -> None:
    link = link_to(store)
    link.trouble = lambda name: "away" if name == "renew" and clock.now() < 20 else None
    async with Hub(link, lease=3) as hub:
        generation = await hub.start("own", words(300, every=0.1))
        events = await generation.subscribe().collect()
        await clock.sleep(1)
        status = await generation.status()
    assert ("done", 301, 301) == (status.state, status.stored, len(events))


async def test_a_hub_that_takes_a_dead_ones_stream_and_cannot_end_it_does_not_keep_others_from_ending_it(
    clock: VirtualClock, store: MemoryStore
) -> None:
    link, link_of_other = link_to(store), link_to(store)
    link.trouble = lambda name: "broken" if name == "append" else None
    link_of_other.trouble = lambda name: "away" if name == "sweep" else None
    async with Hub(link, lease=3) as hub, Hub(link_of_other, lease=3) as other:
        await hub.start("own", ["x"])  # from here on it makes its rounds, and takes over what it cannot end
        await dead(store, "a", lease=3)
        reading = Reading(other.subscribe("a"))
        with InTime() as in_time:
            await reading()
        assert not in_time.late
        assert isinstance(reading.error, StreamInterrupted)
        assert 3 + 1 >= clock.now()


def left_over(record: Record | None) -> float | None:
    return None if record is None or record.lease_until is None else record.lease_until - UNIX


async def test_a_reader_that_leaves_while_it_ends_a_dead_ones_stream_costs_the_others_no_other_lease(
    clock: VirtualClock, store: MemoryStore
) -> None:
    await dead(store, "a", lease=4)
    link = link_to(store)
    link.trouble = lambda name: "hangs" if name in ("append", "sweep") else None
    async with Hub(link, lease=4) as hub, Crew() as crew:
        member = crew.spawn("reader", Reading(hub.subscribe("a")))
        await clock.sleep(4.5)
        assert left_over(await store.get("a")) == pytest.approx(4.01 + 1)
        member.cancel()
        await crew.all_done()
        async with Hub(link_to(store), lease=4) as other:
            reading = Reading(other.subscribe("a"))
            with InTime() as in_time:
                await reading()
        assert not in_time.late
        assert isinstance(reading.error, StreamInterrupted)
        assert 5.5 >= clock.now()
