"""What a full buffer does with one more item."""

from __future__ import annotations

from typing import Any

import pytest

import streamkit as sk
from streamkit.events import Event, Finish, Gap, TextDelta, Usage
from streamkit.testing import VirtualClock, timed

pytestmark = pytest.mark.anyio


def text(number: int) -> TextDelta:
    return TextDelta(str(number))


async def through(policy: Any, size: int, *events: Event | str) -> list[Any]:
    """What a reader gets that comes when the channel has seen everything."""
    sender, source = sk.channel(size, overflow=policy)
    for event in events:
        sender.push(event)
    sender.close()
    return await source.collect()  # type: ignore[no-any-return]  # unpacked


async def test_suspend_loses_nothing_and_reads_no_further_than_its_bound(clock: VirtualClock) -> None:
    read: list[int] = []
    taken: list[int] = []
    async with sk.stream(range(20)).flat_map(lambda n: [n]).tap(read.append) | sk.buffer(3) as items:
        async for item in items:
            taken.append(item)
            await clock.sleep(1)
            assert len(read) <= len(taken) + 3 + 1
    assert list(range(20)) == taken


async def test_drop_oldest_leaves_one_gap_in_the_place_of_what_it_dropped() -> None:
    assert [Gap(3), text(3), text(4)] == await through("drop_oldest", 3, *map(text, range(5)))


async def test_drop_newest_keeps_the_first_and_ends_in_a_gap() -> None:
    got = await through("drop_newest", 2, *map(text, range(5)))
    assert text(0) == got[0]
    assert isinstance(got[-1], Gap)
    assert 5 == sum(item.count if isinstance(item, Gap) else 1 for item in got)


async def test_latest_keeps_the_newest_delta() -> None:
    assert [Gap(4), text(4)] == await through("latest", 3, *map(text, range(5)))


async def test_coalesce_joins_what_it_cannot_hold() -> None:
    got = await through("coalesce", 2, *map(text, range(5)))
    assert "01234" == "".join(item.text for item in got)
    assert len(got) <= 2


@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest", "latest", "coalesce"])
async def test_a_control_event_is_never_dropped(policy: Any) -> None:
    usage, finish = Usage(output_tokens=3), Finish()
    got = await (timed(*map(text, range(9)), usage, *map(text, range(9)), finish) | sk.buffer(4, overflow=policy)).collect()
    assert [usage, finish] == [item for item in got if isinstance(item, Usage | Finish)]
    assert finish == got[-1]


async def test_a_channel_full_of_control_events_refuses_to_drop_them() -> None:
    sender, _ = sk.channel(2, overflow="drop_oldest")
    with pytest.raises(sk.BufferFull, match="cannot wait here"):
        for _ in range(10):
            sender.push(Finish())


async def test_items_that_are_no_events_are_dropped_without_a_trace() -> None:
    assert ["c", "d"] == await through("drop_oldest", 2, "a", "b", "c", "d")


async def test_error_raises_behind_what_was_held(clock: VirtualClock) -> None:
    got: list[Any] = []
    with pytest.raises(sk.BufferFull) as caught:
        async with timed(*map(text, range(6))) | sk.buffer(2, overflow="error") as items:
            async for item in items:
                got.append(item)
                await clock.sleep(1)
    assert 2 == caught.value.size
    assert [text(n) for n in range(len(got))] == got
    assert got


async def test_a_sender_waits_for_room_and_hears_that_its_reader_left(clock: VirtualClock) -> None:
    sender, source = sk.channel(1)
    async with source as items:
        await sender.send("a")
        assert "a" == await anext(items)
    with pytest.raises(sk.SinkClosed, match="left after 1 items"):
        await sender.send("b")
    assert sender.closed
