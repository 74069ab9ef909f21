"""Random histories of hubs, by the hundred; by the ten thousand with `make soak ARGS=--hub`.

The last tests break the code on purpose: what the histories are said to find, they find.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import anyio
import pytest
from hub_soak import history, on_a_file, run_kind

import streamkit.hub.following as following_module
import streamkit.hub.keeping as keeping_module
import streamkit.hub.registry as registry_module
from streamkit.events.model import Finish, Gap, TextDelta
from streamkit.flow.tasks import AsyncioCrowd
from streamkit.hub import policies, reading
from streamkit.hub.folding import Folded
from streamkit.hub.following import Follower
from streamkit.hub.log import Log
from streamkit.hub.persisting import Persister
from streamkit.hub.producing import Producer
from streamkit.hub.reading import Reader
from streamkit.testing.clock import VirtualClock
from streamkit.testing.seeded import run_seeded

Kind = Literal["alone", "sharing", "troubled"]


# In pieces that a slow machine has done in its time for one test.
PIECES: list[tuple[Kind, range]] = [
    *[("alone", range(first, first + 50)) for first in (0, 50)],
    *[("sharing", range(first, first + 10)) for first in (0, 10, 20, 30)],
    ("troubled", range(16)),
]


@pytest.mark.parametrize(("kind", "seeds"), PIECES, ids=str)
def test_whatever_happens_each_reader_gets_what_was_told_and_a_typed_end(kind: Kind, seeds: range) -> None:
    counts = run_kind(kind, seeds, "asyncio")

    assert counts["start"] > len(seeds)
    assert counts["reader lag"] > len(seeds)
    assert (counts["kill"] > 0) == (kind != "alone")


@pytest.mark.parametrize(("kind", "count"), [("alone", 30), ("sharing", 15), ("troubled", 5)])
def test_the_same_holds_in_the_orders_of_trio(kind: Kind, count: int) -> None:
    assert run_kind(kind, range(count), "trio")["reader lag"] > count


@pytest.mark.anyio
async def test_the_same_holds_in_the_order_of_each_event_loop(anyio_backend: tuple[str, object]) -> None:
    for seed in range(12):
        async with VirtualClock():
            counts = await history("sharing" if seed % 2 else "alone", seed).run()

        assert counts["close"] >= 1


@pytest.mark.anyio
async def test_the_same_holds_with_a_file_that_several_hubs_have_open(anyio_backend: tuple[str, object], tmp_path: Path) -> None:
    for seed in range(20):
        with anyio.fail_after(120):
            counts = await on_a_file(tmp_path / f"{seed}.db", seed).run()

        assert counts["close"] >= 2


def test_a_seed_gives_the_same_history_each_time() -> None:
    first, second = history("troubled", 5), history("troubled", 5)
    counts = [run_seeded(one.run, seed=5) for one in (first, second)]

    assert counts[0] == counts[1]
    assert first.told == second.told


# -- the code, broken on purpose


def an_event_is_lost(patch: pytest.MonkeyPatch) -> None:
    offer = Log.offer

    def lose(log: Log, item: object) -> None:
        if not (isinstance(item, TextDelta) and item.text.endswith("7 ")):
            offer(log, item)

    patch.setattr(Log, "offer", lose)


def an_event_comes_twice_to_who_resumes(patch: pytest.MonkeyPatch) -> None:
    position = Log.position
    patch.setattr(Log, "position", lambda log, epoch, offset: max(position(log, epoch, offset) - 1, 0))


def an_event_is_missing_for_who_resumes(patch: pytest.MonkeyPatch) -> None:
    position = Log.position
    patch.setattr(Log, "position", lambda log, epoch, offset: min(position(log, epoch, offset) + 1, log.head))


def the_folded_beginning_has_a_hole(patch: pytest.MonkeyPatch) -> None:
    after = Folded.after

    def silent(folded: Folded, offset: int) -> Any:
        events, offsets = after(folded, offset)
        return (events[1:], offsets[1:]) if events and isinstance(events[0], Gap) else (events, offsets)

    patch.setattr(Folded, "after", silent)


def the_newest_control_event_is_dropped(patch: pytest.MonkeyPatch) -> None:
    def newest(events: Any, offsets: Any, begin: int | None = None) -> Any:
        events, offsets = policies.newest(events, offsets, begin)
        return (events[-1:], offsets[-1:]) if len(events) > 1 else (events, offsets)

    patch.setattr(reading, "newest", newest)


def a_reader_stays_in_the_log(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Log, "leave", lambda log: None)


def a_wake_up_is_lost(patch: pytest.MonkeyPatch) -> None:
    def wake(crowd: AsyncioCrowd) -> None:
        if len(crowd.sitting) > 1:
            crowd.sitting.pop()
        real(crowd)

    real = AsyncioCrowd.wake
    patch.setattr(AsyncioCrowd, "wake", wake)


def a_finish_does_not_wait_for_what_the_source_does_next(patch: pytest.MonkeyPatch) -> None:
    offer = Log.offer

    def at_once(log: Log, item: object) -> None:
        if isinstance(item, Finish) and not log.over:
            log.buffer.append(item)
        else:
            offer(log, item)

    patch.setattr(Log, "offer", at_once)


def a_cancelled_source_stays_open(patch: pytest.MonkeyPatch) -> None:
    def over(producer: Producer) -> None:
        producer.ended_at = 0.0
        producer.closed.set()

    patch.setattr(Producer, "_over", over)


def nobody_ends_what_the_dead_have_left(patch: pytest.MonkeyPatch) -> None:
    async def nothing(*args: object, **rest: object) -> None:
        return None

    for module in (following_module, keeping_module, registry_module):
        patch.setattr(module, "end_as_interrupted", nothing)


def what_the_store_refuses_counts_as_stored(patch: pytest.MonkeyPatch) -> None:
    append = Persister._append

    async def pretend(persister: Persister, chunk: Any, closing: Any) -> bool:
        if chunk is not None and closing is None and chunk.first % 3 == 1:
            return True
        return await append(persister, chunk, closing)

    patch.setattr(Persister, "_append", pretend)


def a_copy_begins_with_what_it_likes(patch: pytest.MonkeyPatch) -> None:
    take = Follower._take

    def some(follower: Follower, log: Log, chunks: Any) -> None:
        take(follower, log, chunks)
        if log.head > 2:
            log.buffer[0], log.buffer[1] = log.buffer[1], log.buffer[0]

    patch.setattr(Follower, "_take", some)


def a_follower_is_cancelled_before_it_begins(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Follower, "_over", lambda follower: (follower._gone(), follower.closed.set()))


def a_reader_gets_the_end_of_the_stream_twice(patch: pytest.MonkeyPatch) -> None:
    ends = Reader._end
    again: set[int] = set()

    def once_more(reader: Reader) -> Any:
        if id(reader) in again or reader.view is None:
            ends(reader)
        again.add(id(reader))

    patch.setattr(Reader, "_end", once_more)


FAULTS: list[tuple[Callable[[pytest.MonkeyPatch], None], Kind, int]] = [
    (an_event_is_lost, "alone", 20),
    (an_event_comes_twice_to_who_resumes, "alone", 40),
    (an_event_is_missing_for_who_resumes, "alone", 40),
    (the_folded_beginning_has_a_hole, "alone", 60),
    (the_newest_control_event_is_dropped, "alone", 40),
    (a_reader_stays_in_the_log, "alone", 20),
    (a_wake_up_is_lost, "alone", 60),
    (a_finish_does_not_wait_for_what_the_source_does_next, "alone", 60),
    (a_cancelled_source_stays_open, "alone", 40),
    (a_reader_gets_the_end_of_the_stream_twice, "alone", 40),
    (nobody_ends_what_the_dead_have_left, "sharing", 80),
    (what_the_store_refuses_counts_as_stored, "sharing", 60),
    (a_copy_begins_with_what_it_likes, "sharing", 40),
    (a_follower_is_cancelled_before_it_begins, "sharing", 80),
]


@pytest.mark.parametrize(("fault", "kind", "seeds"), FAULTS, ids=[fault.__name__ for fault, _, _ in FAULTS])
def test_histories_find(fault: Callable[[pytest.MonkeyPatch], None], kind: Kind, seeds: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        fault(patch)
        with pytest.raises(AssertionError):
            run_kind(kind, range(seeds), "asyncio")
