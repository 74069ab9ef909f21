"""A hub as users write it, for the type checkers: see `user_code`."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import assert_type

import streamkit as sk


async def words() -> AsyncIterator[str]:
    yield "a"


async def events() -> AsyncIterator[sk.Event]:
    yield sk.TextDelta("a")


async def whatever_streams_can_be_started(hub: sk.Hub) -> None:
    assert_type(await hub.start(None, words()), sk.Generation)
    assert_type(await hub.start("a", words, ttl=5, owner="ada", metadata={"a": 1}), sk.Generation)
    assert_type(await hub.start("a", sk.stream(events()), on_disconnect="cancel", if_exists="raise"), sk.Generation)
    assert_type(await hub.start("a", ["a", sk.TextDelta("b")]), sk.Generation)
    await hub.start(5, words())  # type: ignore
    await hub.start("a", words(), on_disconnect="stop")  # type: ignore
    await hub.start("a", words(), if_exists=True)  # type: ignore
    await hub.start(id="a", source=words())  # type: ignore
    await hub.start("a", 5)  # type: ignore


async def subscriptions_are_streams_of_events(hub: sk.Hub, generation: sk.Generation) -> None:
    assert_type(hub.subscribe("a"), sk.Stream[sk.Event])
    assert_type(hub.entries("a", after="1.0"), sk.Stream[tuple[str, sk.Event]])
    assert_type(generation.subscribe(policy="conflate"), sk.Stream[sk.Event])
    assert_type(generation.entries(errors="yield"), sk.Stream[tuple[str, sk.Event]])
    assert_type(hub.subscribe("a") | sk.take(2), sk.Stream[sk.Event])
    assert_type(await hub.entries("a").map(lambda entry: entry[0]).collect(), list[str])
    assert_type(await hub.subscribe("a").join(), str)
    assert_type(await hub.subscribe("a").message(), sk.Message)
    hub.subscribe("a", policy="fast")  # type: ignore
    hub.subscribe("a", after=5)  # type: ignore
    hub.subscribe("a", errors=None)  # type: ignore


async def streams_are_looked_at_and_ended(hub: sk.Hub, generation: sk.Generation) -> None:
    assert_type(await hub.cancel("a", "enough", owner="ada"), bool)
    assert_type(await generation.cancel(), bool)
    status = await hub.status("a")
    assert_type(status, sk.StreamStatus)
    assert_type(status.token, str | None)
    assert_type(status.events, int)
    status.events = 5  # type: ignore
    assert_type(await hub.list(), list[sk.StreamStatus])
    assert_type(await hub.message("a"), sk.Message)
    assert_type(await generation.message(), sk.Message)
    await hub.drain(5)
    await hub.drain("5")  # type: ignore
    if status.state == "running":
        assert_type(status.ended_at, float | None)


async def hubs_are_made_and_left() -> None:
    async with sk.Hub() as hub:
        assert_type(hub, sk.Hub)
    sk.Hub(authorize=lambda owner, action: owner is not None and action == "subscribe")
    sk.Hub(sk.MemoryStore(), ttl=60, max_age=3600)
    sk.Hub(sk.SqliteStore("hub.db"))
    sk.Hub(authorize=allowed)
    sk.Hub(authorize=allowed_later)
    sk.Hub(authorize=not_allowed)  # type: ignore
    sk.Hub("hub.db")  # type: ignore
    sk.Hub(ttl="5")  # type: ignore


def allowed(owner: str | None, action: str) -> bool:
    return owner == action


async def allowed_later(owner: str | None, action: str) -> bool:
    return owner == action


def not_allowed(owner: str) -> bool:
    return owner == ""
