"""Topics: one order for all, what a late or slow reader gets, who is there, how it ends, and what is forgotten."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

import streamkit as sk
from streamkit.errors import (
    BufferFull,
    ConfigError,
    InvalidToken,
    ReaderLagged,
    StreamBusy,
    StreamDraining,
    UnknownStream,
)
from streamkit.events.model import Custom, ErrorEvent, Event, Finish, Gap, TextDelta
from streamkit.flow.runs import Run
from streamkit.flow.streams import Stream
from streamkit.hub.hub import Hub
from streamkit.hub.presence import Member, PresenceChange
from streamkit.hub.reading import Policy
from streamkit.hub.topics import ANNOUNCED, Topic
from streamkit.testing import VirtualClock

pytestmark = pytest.mark.anyio

STEPS = range(14)


def said(event: object) -> object:
    """An event, shorter: text as it is, a gap by its count."""
    match event:
        case TextDelta(text=text):
            return text
        case Gap(count=count):
            return count
        case ErrorEvent(code=code):
            return code
        case _:
            return event


def told(change: PresenceChange) -> tuple[str, str, dict[str, object]]:
    return change.kind, change.member.name, dict(change.member.metadata)


async def turns(count: int = 6) -> None:
    for _ in range(count):
        await checkpoint()


async def remembered(topic: Topic) -> list[object]:
    """All that a topic still has, for one who comes now."""
    log = topic._log
    if log is None:
        return []
    log.trim()
    count = len(log.buffer) + (log.first > 0)
    return [] if not count else [said(event) for event in await topic.subscribe(after="start").take(count).collect()]


async def read(stream: Stream[Event], into: list[object]) -> None:
    """Read to the end, which is that of the topic."""
    try:
        async with stream as events:
            async for event in events:
                into.append(said(event))
    except StreamDraining:
        into.append("draining")


# -- one order for all


async def test_all_subscribers_get_what_many_publish_in_one_order() -> None:
    got: list[list[object]] = [[] for _ in range(7)]
    async with Hub() as hub:
        topic = hub.topic("room")

        async def publish(name: str) -> None:
            for number in range(40):
                await topic.publish(f"{name}{number}")
                await turns(number % 3)

        async with anyio.create_task_group() as group:
            for into in got:
                group.start_soon(read, topic.subscribe(), into)
            await turns()
            async with anyio.create_task_group() as publishers:
                for name in "abcde":
                    publishers.start_soon(publish, name)
            await turns()
            await topic.aclose()
    assert 5 * 40 + 1 == len(got[0])
    assert [got[0]] * 7 == got
    for name in "abcde":
        assert [f"{name}{number}" for number in range(40)] == [text for text in got[0] if str(text).startswith(name)][:40]


async def test_what_is_published_together_stays_together() -> None:
    async with Hub() as hub:
        topic = hub.topic("room")
        async with anyio.create_task_group() as group:
            for name in "abc":
                group.start_soon(topic.publish, f"{name}1", f"{name}2", f"{name}3")
        texts = "".join(str(text) for text in await remembered(topic))
    assert {"a1a2a3", "b1b2b3", "c1c2c3"} == {texts[at : at + 6] for at in (0, 6, 12)}


async def test_a_finish_of_one_publisher_is_no_end_of_the_topic() -> None:
    async with Hub() as hub:
        topic = hub.topic("room")
        await topic.publish("a", Finish(), ErrorEvent("no", code="error"), "b")
        assert ["a", Finish(), "error", "b"] == await remembered(topic)


async def test_a_publisher_that_never_waits_lets_its_readers_have_their_turns() -> None:
    got: list[object] = []
    async with Hub() as hub:
        topic = hub.topic("room", max_events=8)
        async with anyio.create_task_group() as group:
            group.start_soon(read, topic.subscribe(), got)
            await turns()
            for number in range(200):
                await topic.publish(str(number))
            await turns()
            await topic.aclose()
    assert [*map(str, range(200)), "draining"] == got


# -- from where


async def test_a_subscriber_without_a_token_begins_when_its_stream_is_opened() -> None:
    async with Hub() as hub:
        topic = hub.topic("room")
        await topic.publish("before")
        stream = topic.subscribe()
        await topic.publish("before, too")
        async with stream as events:
            await topic.publish("after")
            async for event in events:
                assert "after" == said(event)
                break


async def test_a_subscriber_from_the_start_gets_all_that_is_remembered() -> None:
    async with Hub() as hub:
        topic = hub.topic("room")
        await topic.publish("a", "b")
        assert ["a", "b"] == [said(event) for event in await topic.subscribe(after="start").take(2).collect()]


async def test_a_subscriber_goes_on_behind_its_token() -> None:
    async with Hub() as hub:
        topic = hub.topic("room")
        token = await topic.publish("a", "b")
        await topic.publish("c")
        entries = await topic.entries(after=token).take(1).collect()
        assert [(topic.token, TextDelta("c"))] == entries


@pytest.mark.parametrize("after", ["start", "token"])
async def test_what_was_forgotten_is_a_gap_that_counts_it(after: str) -> None:
    async with Hub() as hub:
        topic = hub.topic("room", max_events=4)
        token = await topic.publish("0")
        for number in range(1, 20):
            await topic.publish(str(number))
        events = [said(event) for event in await topic.subscribe(after="start" if after == "start" else token).take(3).collect()]
    missing = events[0]
    assert isinstance(missing, int)
    first = missing if after == "start" else missing + 1
    assert [missing, str(first), str(first + 1)] == events
    assert 15 <= first <= 16


async def test_events_grow_too_old_also_where_nothing_is_published(clock: VirtualClock) -> None:
    async with Hub() as hub:
        topic = hub.topic("room", max_age=10.0)
        await topic.publish("old", "older")
        await clock.sleep(8.0)
        await topic.publish("young")
        await clock.sleep(5.0)
        assert [2, "young"] == [said(event) for event in await topic.subscribe(after="start").take(2).collect()]


async def test_what_is_noted_of_ages_stays_within_the_bounds_of_the_topic(clock: VirtualClock) -> None:
    async with Hub() as hub:
        topic = hub.topic("room", max_events=4, max_age=1e6)
        for number in range(500):
            await topic.publish(str(number))
        assert topic._log is not None
        assert topic._log._ages is not None
        assert len(topic._log._ages) < 20


async def test_a_token_of_another_topic_is_refused() -> None:
    async with Hub() as hub:
        token = await hub.topic("one").publish("a")
        other = hub.topic("two")
        await other.publish("a")
        with pytest.raises(InvalidToken) as caught:
            await other.subscribe(after=token).first()
        assert "foreign" == caught.value.reason
        epoch, _, offset = (other.token or "").partition(".")
        with pytest.raises(InvalidToken) as caught:
            await other.subscribe(after=f"{epoch}.{int(offset) + 1}").first()
        assert "future" == caught.value.reason
        with pytest.raises(InvalidToken):
            other.subscribe(after="nonsense")
        assert 0 == other.readers


# -- policies


async def slow_reader(topic: Topic, policy: Policy, count: int, *, lag: int = 2) -> list[object]:
    """What a reader gets that read nothing while `count` events were published, in one go."""
    got: list[object] = []
    async with topic.subscribe(policy=policy, lag=lag, errors="yield") as events:
        iterator = aiter(events)
        await topic.publish("first")
        got.append(said(await anext(iterator)))
        await topic.publish(*map(str, range(count)))
        await topic.publish(Custom("done"))
        async for event in iterator:
            if event == Custom("done"):
                break
            got.append(said(event))
    return got


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("lag", ["first", "0", "1", "2"]), ("conflate", ["first", "012"]), ("latest", ["first", 2, "2"])],
)
async def test_a_slow_reader_gets_what_its_policy_says(policy: Policy, expected: list[object]) -> None:
    async with Hub() as hub:
        assert expected == await slow_reader(hub.topic("room"), policy, 3)


async def test_a_slow_reader_with_lag_gets_a_gap_for_what_the_topic_has_forgotten() -> None:
    async with Hub() as hub:
        got = await slow_reader(hub.topic("room", max_events=8), "lag", 100)
    assert isinstance(got[1], int)
    assert 92 <= got[1] <= 94
    assert [*map(str, range(got[1], 100))] == got[2:]


async def test_a_slow_reader_with_disconnect_is_told_where_to_resume() -> None:
    async with Hub() as hub:
        topic = hub.topic("room")
        with pytest.raises(ReaderLagged) as caught:
            await slow_reader(topic, "disconnect", 5)
        again = topic.subscribe(after=caught.value.token).take(2)
        assert ["0", "1"] == [said(event) for event in await again.collect()]


async def test_publishers_wait_for_a_reader_with_backpressure_and_for_no_other() -> None:
    async with Hub() as hub:
        topic = hub.topic("room", max_events=1000)
        lagging: list[object] = []
        async with anyio.create_task_group() as group:
            group.start_soon(read, topic.subscribe(), lagging)
            await turns()
            async with topic.subscribe(policy="backpressure", lag=3) as events:
                iterator = await begun(topic, events)
                await turns()
                for name in "ab":
                    group.start_soon(topic.publish, *(f"{name}{number}" for number in range(10)))
                await turns(20)
                assert 4 == len(lagging)
                got = [str(said(await anext(iterator))) for _ in range(20)]
            await turns()
            await topic.aclose()
        assert ["0", *got, "draining"] == lagging
        first, second = got[0][0], got[10][0]  # on trio tasks begin in any order
        assert {"a", "b"} == {first, second}
        assert [*(f"{first}{number}" for number in range(10)), *(f"{second}{number}" for number in range(10))] == got


async def test_a_publisher_goes_on_when_the_reader_leaves_for_which_it_waits() -> None:
    async with Hub() as hub:
        topic = hub.topic("room")
        async with anyio.create_task_group() as group, topic.subscribe(policy="backpressure", lag=1) as events:
            await begun(topic, events)
            group.start_soon(topic.publish, "1", "2", "3")
            await turns()
            assert 2 == len(await remembered(topic))
        assert ["0", "1", "2", "3"] == await remembered(topic)


async def test_a_publisher_that_is_cancelled_while_it_waits_publishes_no_more_and_stops_no_other() -> None:
    async with Hub() as hub:
        topic = hub.topic("room")
        async with anyio.create_task_group() as group, topic.subscribe(policy="backpressure", lag=2) as events:
            iterator = await begun(topic, events)
            with anyio.CancelScope() as scope:
                group.start_soon(turn_and_cancel, scope)
                await topic.publish("a", "b", "c")
            assert scope.cancelled_caught
            group.start_soon(topic.publish, "x", "y")
            assert ["a", "b", "x", "y"] == [said(await anext(iterator)) for _ in range(4)]
        assert not topic._publishing


async def test_a_reader_with_backpressure_loses_nothing_however_small_the_topic() -> None:
    async with Hub() as hub:
        topic = hub.topic("room", max_events=2, max_bytes=300)
        async with anyio.create_task_group() as group, topic.subscribe(policy="backpressure", lag=20) as events:
            iterator = await begun(topic, events)
            group.start_soon(topic.publish, *map(str, range(100)))
            await turns()
            assert [1, *map(str, range(20))] == await remembered(topic)
            assert [*map(str, range(100))] == [said(await anext(iterator)) for _ in range(100)]
        assert 3 >= len(await remembered(topic))


async def begun(topic: Topic, events: Run[Event]) -> AsyncIterator[Event]:
    """A reader that has read one event, "0", and is not behind."""
    iterator = aiter(events)
    await topic.publish("0")
    assert "0" == said(await anext(iterator))
    return iterator


async def turn_and_cancel(scope: anyio.CancelScope) -> None:
    await turns()
    scope.cancel()


# -- leaving


async def test_a_reader_that_is_cancelled_at_any_step_touches_no_other() -> None:
    async with Hub() as hub:
        for step in STEPS:
            topic = hub.topic(f"room {step}")
            got: list[object] = []
            async with anyio.create_task_group() as group:
                group.start_soon(read, topic.subscribe(), got)
                scope = anyio.CancelScope()

                async def leaving(topic: Topic = topic, scope: anyio.CancelScope = scope) -> None:
                    with scope:
                        await read(topic.subscribe(policy="backpressure", lag=1), [])

                group.start_soon(leaving)
                group.start_soon(publish_all, topic, 8)
                for _ in range(step):
                    await checkpoint()
                scope.cancel()
                await turns(20)
                await topic.aclose()
            assert [*map(str, range(8)), "draining"] == got, step


async def publish_all(topic: Topic, count: int) -> None:
    await turns(3)
    for number in range(count):
        await topic.publish(str(number))
        await checkpoint()


async def test_nothing_is_left_of_readers_that_have_gone() -> None:
    async with Hub() as hub:
        topic = hub.topic("room")
        for step in STEPS:
            async with anyio.create_task_group() as group:
                for policy in ("lag", "conflate", "latest", "disconnect", "backpressure"):
                    group.start_soon(read, topic.subscribe(policy=policy), [])
                for _ in range(step):
                    await checkpoint()
                group.cancel_scope.cancel()
            assert 0 == topic.readers
            assert not topic.in_use
        log = topic._log
        assert log is not None
        await topic.publish("a")
        assert not log.crowd.sitting
        assert not log.lockstep


# -- closing


async def test_a_closed_topic_ends_its_readers_with_its_newest_token() -> None:
    async with Hub() as hub:
        topic = hub.topic("room")
        token = await topic.publish("a")
        async with topic.subscribe(after="start") as events:
            iterator = aiter(events)
            assert TextDelta("a") == await anext(iterator)
            await topic.aclose()
            await topic.aclose()
            with pytest.raises(StreamDraining) as caught:
                await anext(iterator)
        assert token == caught.value.last_id
        with pytest.raises(StreamDraining):
            await topic.publish("b")
        with pytest.raises(StreamDraining):
            await topic.subscribe().first()
        with pytest.raises(StreamDraining):
            await topic.presence().first()
        with pytest.raises(StreamDraining):
            async with topic.join():
                pytest.fail("there is no being there")
        assert hub.topic("room") is not topic


async def test_a_publisher_that_waits_is_told_that_the_topic_was_closed() -> None:
    async with Hub() as hub:
        topic = hub.topic("room")
        failed: list[str] = []

        async def publish(*items: str) -> None:
            try:
                await topic.publish(*items)
            except StreamDraining:
                failed.append(items[0])

        async with anyio.create_task_group() as group, topic.subscribe(policy="backpressure", lag=1, errors="yield") as events:
            iterator = await begun(topic, events)
            group.start_soon(publish, "a", "b")
            await turns()
            group.start_soon(publish, "c", "d")
            await turns()
            await topic.aclose()
            assert ["a", "draining"] == [said(event) async for event in iterator]
        assert ["a", "c"] == failed


@pytest.mark.parametrize("how", ["aclose", "drain"])
async def test_a_hub_that_goes_closes_its_topics(how: str) -> None:
    got: list[object] = []
    changes: list[object] = []

    async def watch() -> None:
        with pytest.raises(StreamDraining):
            async with topic.presence() as there:
                async for change in there:
                    changes.append((change.kind, change.member.name))

    async def member() -> None:
        async with topic.join("ada"):
            await left.wait()

    left = anyio.Event()
    async with anyio.create_task_group() as group:
        async with Hub() as hub:
            topic = hub.topic("room")
            idle = hub.topic("idle")
            group.start_soon(read, topic.subscribe(), got)
            group.start_soon(watch)
            group.start_soon(member)
            await turns()
            await topic.publish("a")
            await turns()
            if how == "drain":
                await hub.drain(1.0)
            with pytest.raises(StreamDraining) if how == "drain" else anyio.CancelScope():
                hub.topic("another")
        await turns()
        left.set()
    assert ["a", "draining"] == got
    assert [("joined", "ada"), ("left", "ada")] == changes
    assert {} == topic.members
    for one in (topic, idle):
        with pytest.raises(StreamDraining):
            await one.publish("b")


# -- who is there


async def test_a_watcher_gets_who_is_there_and_then_each_change() -> None:
    async with Hub() as hub:
        topic = hub.topic("room")
        async with topic.join("ada", metadata={"n": 1}) as ada, topic.presence() as changes:
            iterator = aiter(changes)
            assert ("joined", "ada", {"n": 1}) == told(await anext(iterator))
            async with topic.join(metadata={"n": 2}) as other:
                assert 16 == len(other.name)
                assert ["ada", other.name] == list(topic.members)
                await ada.update({"n": 3})
                assert {"n": 3} == topic.members["ada"].metadata == ada.member.metadata
            got = [told(await anext(iterator)) for _ in range(3)]
            assert [("joined", other.name, {"n": 2}), ("updated", "ada", {"n": 3}), ("left", other.name, {"n": 2})] == got
        assert {} == topic.members


async def test_a_name_is_there_once() -> None:
    async with Hub() as hub:
        topic = hub.topic("room")
        async with topic.join("ada", metadata={"tab": 1}):
            with pytest.raises(StreamBusy, match="'ada'"):
                async with topic.join("ada", metadata={"tab": 2}):
                    pytest.fail("she is there twice")
            assert {"tab": 1} == topic.members["ada"].metadata
        async with topic.join("ada") as again:
            assert again.member == topic.members["ada"]


async def test_a_membership_is_there_inside_of_its_block_and_once_at_a_time() -> None:
    async with Hub() as hub:
        membership = hub.topic("room").join("ada")
        with pytest.raises(ConfigError, match="async with"):
            await membership.update({})
        for _ in range(2):
            async with membership as ada:
                assert ada is membership
                with pytest.raises(StreamBusy):
                    await membership.__aenter__()
        with pytest.raises(ConfigError, match="async with"):
            assert membership.member
        with pytest.raises(ConfigError, match="async with"):
            assert hub.topic("room").join().name


async def test_metadata_is_as_it_was_said() -> None:
    async with Hub() as hub:
        topic = hub.topic("room")
        mine: dict[str, object] = {"n": 1}
        membership = topic.join("ada", metadata=mine)
        mine["n"] = 2
        async with membership:
            assert {"n": 1} == topic.members["ada"].metadata


async def test_a_member_whose_task_is_cancelled_or_fails_at_any_step_has_left() -> None:
    async with Hub() as hub:
        topic = hub.topic("room")
        for step in STEPS:
            async with topic.presence() as changes:
                async with anyio.create_task_group() as group:

                    async def there() -> None:
                        async with topic.join("ada") as ada:
                            for number in range(10):
                                await checkpoint()
                                await ada.update({"n": number})

                    group.start_soon(there)
                    for _ in range(step):
                        await checkpoint()
                    group.cancel_scope.cancel()
                assert {} == topic.members
                known: set[str] = set()
                async with topic.join("end"):
                    async for change in changes:
                        if change.member.name == "end":
                            break
                        known = known ^ {"ada"} if change.kind != "updated" else known
                assert set() == known
        with pytest.raises(ZeroDivisionError):
            async with topic.join("ada"):
                raise ZeroDivisionError
        assert {} == topic.members


async def test_a_watcher_that_has_fallen_far_behind_gets_the_difference() -> None:
    async with Hub() as hub:
        topic = hub.topic("room")
        async with topic.join("stays"), topic.presence() as changes:
            leaving = topic.join("leaves")
            await leaving.__aenter__()
            iterator = aiter(changes)
            assert {"stays", "leaves"} == {(await anext(iterator)).member.name for _ in range(2)}
            async with topic.join("new") as new:
                for number in range(5000):
                    await new.update({"n": number})
                await leaving.__aexit__(None, None, None)
                got = [told(await anext(iterator)) for _ in range(2)]
                assert [("left", "leaves", {}), ("joined", "new", {"n": 4999})] == got
            assert ("left", "new", {"n": 4999}) == told(await anext(iterator))
            presence = topic._presence
            assert presence is not None
            assert len(presence._changes) <= 2048
        assert not topic.in_use


async def test_a_watcher_sees_who_came_back_meanwhile_as_left_and_joined() -> None:
    before, after = Member("ada", {}, 1.0), Member("ada", {}, 2.0)
    from streamkit.hub.presence import difference

    assert [("left", 1.0), ("joined", 2.0)] == [
        (change.kind, change.member.since) for change in difference({"ada": before}, {"ada": after})
    ]
    assert [] == list(difference({"ada": before}, {"ada": before}))
    assert ["updated"] == [change.kind for change in difference({"ada": before}, {"ada": Member("ada", {"n": 1}, 1.0)})]


async def test_a_watcher_that_is_cancelled_at_any_step_touches_no_other() -> None:
    async with Hub() as hub:
        topic = hub.topic("room")
        for step in STEPS:
            got: list[str] = []

            async def watch(into: list[str], scope: anyio.CancelScope) -> None:
                with scope:
                    async with topic.presence() as changes:
                        async for change in changes:
                            into.append(change.kind)

            async with anyio.create_task_group() as group:
                other, stays = anyio.CancelScope(), anyio.CancelScope()
                group.start_soon(watch, [], other)
                group.start_soon(watch, got, stays)
                await turns()
                async with topic.join("ada") as ada:
                    for number in range(STEPS.stop):
                        if number == step:
                            other.cancel()
                        await ada.update({"n": number})
                        await checkpoint()
                await turns()
                stays.cancel()
            assert ["joined", *["updated"] * STEPS.stop, "left"] == got
            assert not topic.in_use


# -- forgotten


async def test_a_topic_that_nobody_uses_is_forgotten(clock: VirtualClock) -> None:
    async with Hub(ttl=60.0) as hub:
        topic = hub.topic("room")
        token = await topic.publish("a")
        await clock.sleep(59.0)
        assert token == await topic.publish("b") or topic.token != token
        await clock.sleep(59.0)
        assert ["a", "b"] == await remembered(topic)
        await clock.sleep(61.0)
        assert 0 == len(hub._topics)
        assert topic.token is None
        assert topic is hub.topic("room")
        with pytest.raises(InvalidToken):
            await topic.subscribe(after=token).first()
        await topic.publish("c")
        assert ["c"] == await remembered(topic)


@pytest.mark.parametrize("use", ["reader", "watcher", "member"])
async def test_a_topic_is_not_forgotten_while_it_is_used(clock: VirtualClock, use: str) -> None:
    async with Hub(ttl=60.0) as hub:
        topic = hub.topic("room")
        await topic.publish("a")
        async with anyio.create_task_group() as group:

            async def hold() -> None:
                match use:
                    case "reader":
                        await read(topic.subscribe(), [])
                    case "watcher":
                        await topic.presence().collect()
                    case _:
                        async with topic.join():
                            await anyio.sleep_forever()

            group.start_soon(hold)
            await turns()
            await clock.sleep(1000.0)
            assert ["a"] == await remembered(topic)
            group.cancel_scope.cancel()
        await clock.sleep(59.0)
        assert 1 == len(hub._topics)
        await clock.sleep(62.0)
        assert 0 == len(hub._topics)
        assert 0 == clock.pending


async def test_a_reader_that_was_opened_before_its_topic_was_forgotten_misses_nothing(clock: VirtualClock) -> None:
    async with Hub(ttl=60.0) as hub:
        topic = hub.topic("room")
        await topic.publish("a")
        async with topic.subscribe() as events:
            await clock.sleep(61.0)
            await topic.publish("b")
            assert TextDelta("b") == await anext(aiter(events))


async def test_there_are_only_so_many_topics() -> None:
    async with Hub(max_streams=2) as hub:
        unused, used, third = (hub.topic(name) for name in ("unused", "used", "third"))
        async with used.join():
            await unused.publish("a")
            await third.publish("b")
            assert unused.token is None
            async with third.join():
                with pytest.raises(BufferFull, match="max_streams"):
                    await unused.publish("a")
            await unused.publish("a")
            assert third.token is None


async def test_a_topic_that_nobody_holds_or_uses_leaves_nothing_behind() -> None:
    async with Hub() as hub:
        for number in range(100):
            hub.topic(f"room {number}")
        gc.collect()
        assert 0 == len(hub._topics._named)
        topic = hub.topic("room 1")
        assert topic is hub.topic("room 1")


# -- whose it is


async def test_a_topic_of_somebody_else_is_not_told_from_one_that_is_not_there() -> None:
    async with Hub() as hub:
        topic = hub.topic("room", owner="ada")
        assert topic is hub.topic("room", owner="ada")
        for owner in (None, "eve", "ad"):
            with pytest.raises(UnknownStream, match="there is no stream 'room' here"):
                hub.topic("room", owner=owner)


async def test_authorize_is_asked_at_each_use() -> None:
    asked: list[tuple[str | None, str]] = []
    refused: set[str] = set()

    async def authorize(owner: str | None, action: str) -> bool:
        asked.append((owner, action))
        return action not in refused

    async with Hub(authorize=authorize) as hub:
        topic = hub.topic("room", owner="ada")
        assert topic is hub.topic("room")
        token = await topic.publish("a")
        async with topic.join():
            await topic.subscribe(after="start").first()
            with anyio.move_on_after(0):
                await topic.subscribe(after=token).first()
            await topic.presence().first()
        assert ["publish", "publish", "subscribe", "resume", "subscribe"] == [action for _, action in asked]
        assert {"ada"} == {owner for owner, _ in asked}
        refused |= {"publish", "subscribe"}
        with pytest.raises(UnknownStream):
            await topic.publish("b")
        with pytest.raises(UnknownStream):
            async with topic.join():
                pytest.fail("she may not")
        for stream in (topic.subscribe(), topic.presence()):
            with pytest.raises(UnknownStream):
                await stream.first()
        assert {} == topic.members
        assert not topic.in_use


# -- what cannot be


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"max_events": 0}, ConfigError),
        ({"max_events": True}, TypeError),
        ({"max_bytes": -1}, ConfigError),
        ({"max_age": 0.0}, ConfigError),
        ({"max_age": float("nan")}, ConfigError),
        ({"max_age": "1"}, TypeError),
    ],
)
async def test_limits_that_cannot_be_are_refused(options: dict[str, Any], error: type[Exception]) -> None:
    async with Hub() as hub:
        with pytest.raises(error, match=next(iter(options))):
            hub.topic("room", **options)


@pytest.mark.parametrize("name", ["", "x" * 201, "a\nb", "\x00"])
async def test_names_that_cannot_be_are_refused(name: str) -> None:
    async with Hub() as hub:
        with pytest.raises(ConfigError, match="topic's name"):
            hub.topic(name)
        with pytest.raises(ConfigError, match="member's name"):
            hub.topic("room").join(name)


async def test_a_topic_has_one_set_of_limits() -> None:
    async with Hub() as hub:
        topic = hub.topic("room", max_events=10, max_age=5.0)
        assert topic is hub.topic("room", max_events=10) is hub.topic("room", max_age=5.0)
        for options in ({"max_events": 11}, {"max_bytes": 1}, {"max_age": 6.0}):
            with pytest.raises(ConfigError, match=next(iter(options))):
                hub.topic("room", **options)


async def test_what_is_no_event_is_refused_and_nothing_is_published() -> None:
    async with Hub() as hub:
        topic = hub.topic("room")
        with pytest.raises(TypeError, match="an int"):
            await topic.publish("a", 5)  # type: ignore[arg-type]  # what is refused
        with pytest.raises(ConfigError, match="at least one"):
            await topic.publish()
        for refused in (5, None, ["a"]):
            with pytest.raises(TypeError, match="announce"):
                await topic.announce(refused)  # type: ignore[arg-type]  # what is refused
        with pytest.raises(TypeError, match="mapping"):
            topic.join(metadata=["a"])  # type: ignore[arg-type]  # what is refused
        with pytest.raises(ConfigError, match="policy"):
            topic.subscribe(policy="none")  # type: ignore[arg-type]  # what is refused
        with pytest.raises(ConfigError, match="lag"):
            topic.subscribe(lag=0)
        assert topic.token is None


# -- sinks and announcements


async def test_streams_deliver_to_a_topic_and_leave_it_open() -> None:
    async def fails() -> AsyncIterator[str]:
        yield "b"
        raise ZeroDivisionError

    async with Hub() as hub:
        topic = hub.topic("room")
        await sk.stream(["a"]).to(topic.sink())
        with pytest.raises(ZeroDivisionError):
            await sk.stream(fails).to(topic.sink())
        assert ["a", "b", "error"] == await remembered(topic)


async def test_streams_are_announced() -> None:
    async with Hub() as hub:
        topic = hub.topic("answers")
        generation = await hub.start(None, ["a"])
        await topic.announce(generation, metadata={"by": "ada"})
        await topic.publish("a word", Custom(ANNOUNCED, "no announcement"), Custom("other", {"id": "no"}))
        token = await topic.announce("second")
        assert [generation.id, "second"] == await topic.streams(after="start").take(2).collect()
        announced = await topic.subscribe(after="start").first()
        assert Custom(ANNOUNCED, {"id": generation.id, "metadata": {"by": "ada"}}) == announced
        async with topic.streams(after=token) as ids:
            await topic.announce("third")
            assert "third" == await anext(aiter(ids))


async def test_announcements_that_were_forgotten_are_no_silent_loss() -> None:
    async with Hub() as hub:
        topic = hub.topic("answers", max_events=4)
        token = await topic.announce("0")
        for number in range(1, 20):
            await topic.announce(str(number))
        with pytest.raises(ReaderLagged) as caught:
            await topic.streams(after=token).first()
        assert "19" == (await topic.streams(after=caught.value.token).take(4).collect())[-1]
        kept = await topic.streams(after="start").take(4).collect()
        assert ["16", "17", "18", "19"] == kept[-4:]
