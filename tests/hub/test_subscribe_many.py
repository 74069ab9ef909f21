"""Several streams over one subscription: each in its order, each with an end of its own, none touched by another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

import streamkit as sk
from streamkit.errors import ConfigError, InvalidToken, StreamBusy, StreamDraining, UnknownStream
from streamkit.events.model import ErrorEvent, Event, Finish, TextDelta
from streamkit.hub.hub import Hub
from streamkit.hub.many import Tagged
from streamkit.hub.reading import Policy
from streamkit.testing import VirtualClock

pytestmark = pytest.mark.anyio

STEPS = range(16)


def said(event: Event) -> str:
    """An event, shorter: text as it is, an end by its reason or code."""
    match event:
        case TextDelta(text=text):
            return text
        case Finish(reason=reason):
            return reason
        case ErrorEvent(code=code):
            return str(code)
        case _:
            return event.type


def by_stream(tagged: Iterable[Tagged]) -> dict[str, list[str]]:
    """What each stream said."""
    found: dict[str, list[str]] = defaultdict(list)
    for one in tagged:
        found[one.stream].append(said(one.event))
    return dict(found)


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await checkpoint()


async def texts(count: int, pause: int = 1) -> AsyncIterator[str]:
    for number in range(count):
        await turns(pause)
        yield str(number)


async def for_ever() -> AsyncIterator[str]:
    yield "begun"
    await anyio.sleep_forever()


async def fails() -> AsyncIterator[str]:
    yield "a"
    raise ZeroDivisionError("secret")


# -- several streams


async def test_each_stream_is_whole_and_in_its_order() -> None:
    async with Hub() as hub:
        for number in range(10):
            await hub.start(f"stream {number}", lambda pause=number % 3: texts(20, pause))
        ids = [f"stream {number}" for number in range(10)]
        got = await hub.subscribe_many(ids).collect()
        assert {id: [*map(str, range(20)), "stop"] for id in ids} == by_stream(got)
        assert await hub.entries("stream 3").collect() == [(one.token, one.event) for one in got if one.stream == "stream 3"]


async def test_streams_come_as_they_go_and_not_one_after_the_other() -> None:
    async with Hub() as hub:
        await hub.start("slow", for_ever)
        await hub.start("quick", ["a"])
        got = await hub.subscribe_many(["slow", "quick"]).take(3).collect()
        assert {"slow": ["begun"], "quick": ["a", "stop"]} == by_stream(got)


async def test_one_that_fails_or_is_unknown_or_is_somebody_elses_touches_no_other() -> None:
    async with Hub() as hub:
        await hub.start("good", lambda: texts(5))
        await hub.start("bad", fails)
        await hub.start("hers", ["secret"], owner="eve")
        got = await hub.subscribe_many(["hers", "nobody", "bad", "good"], owner="ada").collect()
        assert {
            "good": ["0", "1", "2", "3", "4", "stop"],
            "bad": ["a", "error"],
            "hers": ["not-found"],
            "nobody": ["not-found"],
        } == (by_stream(got))
        assert {"hers": "", "nobody": ""} == {one.stream: one.token for one in got if said(one.event) == "not-found"}


async def test_with_errors_raised_one_failure_ends_all_behind_what_its_stream_had_given() -> None:
    async with Hub() as hub:
        await hub.start("good", for_ever)
        await hub.start("bad", fails)
        got: list[Tagged] = []
        with pytest.raises(ZeroDivisionError):
            async with hub.subscribe_many(["good", "bad"], errors="raise") as events:
                async for one in events:
                    got.append(one)
        assert ["a"] == by_stream(got)["bad"]
        with pytest.raises(UnknownStream):
            await hub.subscribe_many(["nobody"], errors="raise").collect()
        assert [0, 0] == [status.readers for status in await hub.list()]


async def test_each_stream_is_resumed_from_its_own_token() -> None:
    async with Hub() as hub:
        for id in "ab":
            await hub.start(id, ["0", "1", "2"])
        whole = await hub.subscribe_many(["a", "b"]).collect()
        token = next(one.token for one in whole if one.stream == "a" and said(one.event) == "1")
        again = await hub.subscribe_many(["a", "b"], after={"a": token, "unasked": token}).collect()
        assert {"a": ["2", "stop"], "b": ["0", "1", "2", "stop"]} == by_stream(again)
        swapped = await hub.subscribe_many(["a", "b"], after={"b": token}).collect()
        assert {"a": ["0", "1", "2", "stop"], "b": ["bad-token"]} == by_stream(swapped)
        assert [token] == [one.token for one in swapped if one.stream == "b"]


async def test_a_reader_that_lags_ends_alone_and_says_where_to_resume() -> None:
    async with Hub() as hub:
        await hub.start("quick", lambda: texts(500))
        await hub.start("slow", ["a"])
        got: list[Tagged] = []
        async with hub.subscribe_many(["quick", "slow"], policy="disconnect", lag=100) as events:
            async for one in events:
                if not got:
                    await turns(1500)
                got.append(one)
        ended = by_stream(got)
        assert ["a", "stop"] == ended["slow"]
        seen = len(ended["quick"]) - 1
        assert [*map(str, range(seen)), "buffer-full"] == ended["quick"]
        token = next(one.token for one in reversed(got) if one.stream == "quick")
        rest = await hub.subscribe_many(["quick"], after={"quick": token}).collect()
        assert [*map(str, range(seen, 500)), "stop"] == by_stream(rest)["quick"]


@pytest.mark.parametrize("policy", ["lag", "conflate", "latest", "disconnect", "backpressure"])
async def test_every_policy_gives_every_stream_its_end(policy: Policy) -> None:
    ids = ["0", "1", "2", "3"]
    async with Hub() as hub:
        for id in ids:
            await hub.start(id, lambda: texts(50))
        got = await hub.subscribe_many(ids, policy=policy, lag=64).collect()
        assert dict.fromkeys(ids, "stop") == {id: words[-1] for id, words in by_stream(got).items()}


async def test_a_slow_subscription_with_backpressure_holds_up_its_streams_and_loses_nothing() -> None:
    given: list[str] = []

    async def source() -> AsyncIterator[str]:
        async for text in texts(400):
            given.append(text)
            yield text

    async with Hub() as hub, anyio.create_task_group() as group:
        await hub.start("held", source)
        await hub.start("free", lambda: texts(400))
        ends: list[str] = []

        async def read_the_other() -> None:
            ends.append(said((await hub.subscribe("free").collect())[-1]))

        group.start_soon(read_the_other)
        async with hub.subscribe_many(["held"], policy="backpressure", lag=8) as events:
            iterator = aiter(events)
            got = [await anext(iterator)]
            await turns(1200)
            assert ["stop"] == ends
            assert len(given) < 100
            got += [one async for one in iterator]
        assert [*map(str, range(400)), "stop"] == by_stream(got)["held"]


# -- ids that come


async def test_streams_may_be_added_while_it_runs() -> None:
    sender, ids = sk.channel(10)
    async with Hub() as hub:
        await hub.start("a", ["1"])
        await hub.start("b", ["2"])
        async with hub.subscribe_many(ids) as events:
            iterator = aiter(events)
            sender.push("a")
            assert ["1", "stop"] == [said((await anext(iterator)).event) for _ in range(2)]
            sender.push("b")
            sender.close()
            assert {"b": ["2", "stop"]} == by_stream([one async for one in iterator])


async def test_one_that_is_read_already_is_not_read_twice() -> None:
    sender, ids = sk.channel(10)
    async with Hub() as hub:
        generation = await hub.start("a", for_ever)
        async with hub.subscribe_many(ids) as events:
            iterator = aiter(events)
            for _ in range(3):
                sender.push("a")
            first = await anext(iterator)
            assert 1 == (await generation.status()).readers
            await generation.cancel()
            rest = [await anext(iterator)]
            sender.push("a")
            sender.close()
            rest += [one async for one in iterator]
        # Given again when it was over, it is read again, from its beginning.
        assert ["begun", "cancelled", "begun", "cancelled"] == [said(one.event) for one in [first, *rest]]
        assert {"a": ["begun", "cancelled"]} == by_stream(await hub.subscribe_many(["a", "a", "a"]).collect())


async def test_streams_that_are_announced_in_a_topic_are_read_as_they_come() -> None:
    async with Hub() as hub:
        topic = hub.topic("answers")
        await topic.announce("too early")
        got: list[Tagged] = []
        with pytest.raises(StreamDraining):
            async with hub.subscribe_many(topic) as events:
                for id in "ab":
                    await topic.announce(await hub.start(id, ["hello"]), metadata={"by": id})
                await topic.publish("no announcement")
                await topic.announce("nobody")
                async for one in events:
                    got.append(one)
                    if said(one.event) == "not-found":
                        await topic.aclose()
        assert {"a": ["hello", "stop"], "b": ["hello", "stop"], "nobody": ["not-found"]} == by_stream(got)


async def test_what_the_ids_fail_with_comes_behind_the_events_of_all_streams() -> None:
    async def ids() -> AsyncIterator[str]:
        yield "a"
        raise ZeroDivisionError

    async with Hub() as hub:
        await hub.start("a", lambda: texts(3))
        got: list[Tagged] = []
        with pytest.raises(ZeroDivisionError):
            async with hub.subscribe_many(ids) as events:
                async for one in events:
                    got.append(one)
        assert {"a": ["0", "1", "2", "stop"]} == by_stream(got)


async def test_more_ids_than_may_be_read_at_once_wait_for_their_turn() -> None:
    async with Hub() as hub:
        most = 0
        ids = [str(number) for number in range(9)]
        for id in ids:
            await hub.start(id, lambda: texts(10))
        stream = hub.subscribe_many(ids, concurrency=2)
        got: list[Tagged] = []
        async with stream as events:
            async for one in events:
                got.append(one)
                most = max(most, sum(status.readers for status in await hub.list()))
        assert 2 == most
        assert {id: [*map(str, range(10)), "stop"] for id in ids} == by_stream(got)


async def test_no_ids_are_no_events() -> None:
    async with Hub() as hub:
        assert [] == await hub.subscribe_many([]).collect()


# -- leaving and closing


async def test_whoever_leaves_at_any_step_leaves_no_reader_behind() -> None:
    async with Hub() as hub:
        ids = ["a", "b", "c"]
        for id in ids:
            await hub.start(id, for_ever)
        for step in STEPS:
            got: list[Tagged] = []
            async with anyio.create_task_group() as group:
                stays, leaves = anyio.CancelScope(), anyio.CancelScope()

                async def read(scope: anyio.CancelScope, into: list[Tagged]) -> None:
                    with scope:
                        async with hub.subscribe_many([*ids, "nobody"]) as events:
                            async for one in events:
                                into.append(one)

                group.start_soon(read, leaves, [])
                group.start_soon(read, stays, got)
                for _ in range(step):
                    await checkpoint()
                leaves.cancel()
                await turns(30)
                assert [1, 1, 1] == [status.readers for status in await hub.list()]
                stays.cancel()
            assert {"a": ["begun"], "b": ["begun"], "c": ["begun"], "nobody": ["not-found"]} == by_stream(got)
            assert [0, 0, 0] == [status.readers for status in await hub.list()]


async def test_a_stream_that_ends_with_its_last_reader_ends_when_the_subscription_is_left() -> None:
    async with Hub() as hub:
        generation = await hub.start("a", for_ever, on_disconnect="cancel")
        await hub.subscribe_many(["a"]).first()
        await turns()
        assert "cancelled" == (await generation.status()).state


async def test_a_hub_that_goes_ends_every_stream_as_draining() -> None:
    got: list[Tagged] = []
    async with anyio.create_task_group() as group, Hub() as hub:
        for id in "ab":
            await hub.start(id, for_ever)

        async def read() -> None:
            async with hub.subscribe_many(["a", "b"]) as events:
                async for one in events:
                    got.append(one)

        group.start_soon(read)
        await turns()
    assert {"a": ["begun", "draining"], "b": ["begun", "draining"]} == by_stream(got)


async def test_nothing_is_left_of_time_or_tasks(clock: VirtualClock) -> None:
    async with Hub() as hub:
        await hub.start("a", lambda: texts(5))
        await hub.subscribe_many(["a", "nobody"]).collect()
        async with hub.subscribe_many(["a"]):
            assert 0 == (await hub.status("a")).readers
        assert 0 == (await hub.status("a")).readers
    assert 0 == clock.pending


async def test_a_store_that_fails_in_ways_of_its_own_is_the_end_of_one_stream(caplog: pytest.LogCaptureFixture) -> None:
    def authorize(owner: str | None, action: str) -> bool:
        if owner == "odd":
            raise RuntimeError("the directory is away: secret")
        return True

    async with Hub(authorize=authorize) as hub:
        await hub.start("a", ["1"], owner="ada")
        await hub.start("b", ["2"], owner="odd")
        got = await hub.subscribe_many(["a", "b"]).collect()
        assert {"a": ["1", "stop"], "b": ["error"]} == by_stream(got)
        assert "secret" not in str(got)
        assert ["stream b of several cannot be read"] == caplog.messages


# -- what cannot be


@pytest.mark.parametrize(
    ("ids", "options", "error", "what"),
    [
        ("abc", {}, TypeError, "one str"),
        (5, {}, TypeError, "cannot stream"),
        (["a"], {"policy": "none"}, ConfigError, "policy"),
        (["a"], {"errors": "none"}, ConfigError, "errors"),
        (["a"], {"lag": 0}, ConfigError, "lag"),
        (["a"], {"concurrency": 0}, ConfigError, "concurrency"),
        (["a"], {"concurrency": True}, TypeError, "concurrency"),
        (["a"], {"after": {"a": "nonsense"}}, InvalidToken, "no resume token"),
        (["a"], {"after": "1.2"}, TypeError, "after"),
    ],
)
async def test_what_cannot_be_is_refused_at_the_call(ids: Any, options: dict[str, Any], error: type[Exception], what: str) -> None:
    async with Hub() as hub:
        with pytest.raises(error, match=what):
            hub.subscribe_many(ids, **options)


async def test_an_id_that_is_none_is_refused_when_it_comes() -> None:
    ids: Any = ["a", 5]
    async with Hub() as hub:
        await hub.start("a", ["1"])
        with pytest.raises(TypeError, match="ids of streams, got int"):
            await hub.subscribe_many(ids).collect()


async def test_ids_that_can_be_read_once_are_read_once() -> None:
    async with Hub() as hub:
        await hub.start("a", ["1"])
        again = hub.subscribe_many(lambda: ["a"])
        assert 2 == len(await again.collect()) == len(await again.collect())
        sender, ids = sk.channel(1)
        sender.push("a")
        once = hub.subscribe_many(ids)
        async with once as events:
            assert "1" == said((await anext(aiter(events))).event)
            with pytest.raises(StreamBusy):
                await once.collect()
