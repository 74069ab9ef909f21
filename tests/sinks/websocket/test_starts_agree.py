"""A start under a name that the client chose is the same over HTTP and over a WebSocket, and asks for the same rights."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

import anyio
import anyio.lowlevel
import pytest
from asgi_client import Client
from websocket_peer import connected

from streamkit.errors import StreamBusy
from streamkit.flow.streams import stream
from streamkit.hub.hub import Generation, Hub, IfExists
from streamkit.hub.stores.memory import MemoryStore
from streamkit.sinks.chats import ChatRoutes
from streamkit.sinks.starting import Starts
from streamkit.sinks.websocket import WebSocketRoutes

pytestmark = pytest.mark.anyio

READER = ("subscribe", "resume", "status")


class Answers:
    """A handler that counts its calls; each answer says which it is, and waits in the middle if it is told to.

    Attributes:
        closed: The numbers of those whose source was closed.
    """

    def __init__(self, *, waits: bool = False) -> None:
        self.calls = 0
        self.closed = list[int]()
        self.go_on = anyio.Event()
        if not waits:
            self.go_on.set()

    def __call__(self, request: object = None) -> Any:
        self.calls += 1
        return self._items(self.calls)

    async def _items(self, number: int) -> AsyncIterator[str]:
        try:
            yield f"{number} "
            await self.go_on.wait()
            yield f"{number}"
        finally:
            self.closed.append(number)


def allowing(*actions: str) -> Any:
    return lambda owner, action: action in actions


Ask: TypeAlias = Callable[[Answers, Hub], Awaitable[str]]


async def over_http(answers: Answers, hub: Hub, if_running: IfExists = "join") -> str:
    """The text of the answer to a start of "a", or the code of the refusal."""
    client = Client(method="POST")
    async with ChatRoutes(answers, hub, id=lambda request: "a", if_running=if_running, drain=None) as routes:
        with anyio.fail_after(60):
            await client.call(routes)
    return client.text if client.status == 200 else str(json.loads(client.body)["error"]["code"])


async def over_a_websocket(answers: Answers, hub: Hub, if_running: str = "join") -> str:
    async with WebSocketRoutes(answers, hub, allow_missing_origin=True) as routes, connected(routes) as peer:
        peer.say("send", stream="a", input=None, if_running=if_running)
        await peer.until(lambda: any(message["type"] in ("end", "error") for message in peer.said))
        last = peer.said[-1]
        return peer.text("a") if last["type"] == "end" else str(last["code"])


@pytest.mark.parametrize("over", [over_http, over_a_websocket])
async def test_an_answer_that_is_over_makes_room_for_the_next_and_nobody_is_asked_for_it(over: Ask) -> None:
    asked, answers = list[str](), Answers()

    def authorize(owner: str | None, action: str) -> bool:
        asked.append(action)
        return True

    async with Hub(authorize=authorize) as hub:
        await stream(hub.subscribe((await hub.start("a", answers())).id)).collect()
        asked.clear()
        assert "2 2" == await over(answers, hub)
        assert {"subscribe"} >= set(asked)
    assert [1, 2] == answers.closed


@pytest.mark.parametrize("over", [over_http, over_a_websocket])
@pytest.mark.parametrize("allowed", [(), ("status", "resume", "cancel")])
async def test_one_that_runs_and_may_not_be_read_is_not_found_and_runs_on(over: Ask, allowed: tuple[str, ...]) -> None:
    answers = Answers(waits=True)
    async with Hub(authorize=allowing(*allowed)) as hub:
        there = await hub.start("a", answers())
        assert "not-found" == await over(answers, hub)
        assert ("running", 1) == ((await there.status()).state, answers.calls)


async def test_over_http_one_that_runs_is_joined_though_its_status_is_nobodys_to_ask() -> None:
    answers = Answers(waits=True)
    async with Hub(authorize=allowing("subscribe")) as hub, anyio.create_task_group() as tasks:
        there = await hub.start("a", answers())
        client = Client(method="POST")
        routes = ChatRoutes(answers, hub, id=lambda request: "a", drain=None)
        tasks.start_soon(client.call, routes)
        with anyio.fail_after(60):
            while "1 " not in client.text:
                await anyio.lowlevel.checkpoint()
        assert ("running", 1) == ((await there.status()).state, answers.calls)
        answers.go_on.set()
    assert ("1 1", 1) == (client.text, answers.calls)


@pytest.mark.parametrize(("over", "stopping"), [(over_http, "replace"), (over_a_websocket, "interrupt")])
async def test_who_may_read_one_that_runs_and_not_stop_it_does_not_stop_it_by_a_start(over: Any, stopping: str) -> None:
    answers = Answers(waits=True)
    async with Hub(authorize=allowing(*READER)) as hub:
        there = await hub.start("a", answers())
        assert "not-found" == await over(answers, hub, stopping)
        assert ("running", 1) == ((await there.status()).state, answers.calls)


@pytest.mark.parametrize(("over", "stopping"), [(over_http, "replace"), (over_a_websocket, "interrupt")])
async def test_who_may_stop_one_that_runs_has_the_next_in_its_place(over: Any, stopping: str) -> None:
    answers = Answers(waits=True)

    async def second(request: object = None) -> Any:
        answers.go_on.set()
        return answers()

    async with Hub(authorize=allowing(*READER, "cancel")) as hub:
        await hub.start("a", answers())
        assert "2 2" == await over(second, hub, stopping)
    assert [1, 2] == sorted(answers.closed)


async def test_a_start_waits_for_another_of_its_name_and_then_does_as_it_is_asked() -> None:
    answers = Answers(waits=True)
    began = list[str]()
    async with Hub() as hub:
        starts = Starts(hub)

        async def begin(if_running: IfExists) -> None:
            try:
                joined = await starts.begin(
                    "a", lambda if_exists: hub.start("a", answers(), if_exists=if_exists), owner=None, if_running=if_running
                )
                began.append("joined" if joined else "began")
            except StreamBusy:
                began.append("busy")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(begin, "raise")
            tasks.start_soon(begin, "raise")
        await starts.settled("a")
        await begin("join")
    assert ["began", "busy", "joined"] == [*sorted(began[:2]), began[2]]


async def test_a_start_waits_for_one_that_came_over_another_protocol() -> None:
    """Each stopped the other's answer, whatever was asked for, when both came before either ran."""
    answers = Answers(waits=True)
    began = list[str]()
    asked, go_on = anyio.Event(), anyio.Event()
    async with Hub() as hub:

        async def slowly(if_exists: IfExists) -> Generation:
            asked.set()
            await go_on.wait()
            return await at_once(if_exists)

        async def at_once(if_exists: IfExists) -> Generation:
            return await hub.start("a", answers(), if_exists=if_exists)

        async def begin(start: Any) -> None:
            try:
                await Starts(hub).begin("a", start, owner=None, if_running="raise")
                began.append("began")
            except StreamBusy:
                began.append("busy")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(begin, slowly)
            await asked.wait()
            tasks.start_soon(begin, at_once)
            await anyio.wait_all_tasks_blocked()
            go_on.set()
        assert (["began", "busy"], 1) == (sorted(began), answers.calls)


@pytest.mark.parametrize("over", [over_http, over_a_websocket])
async def test_for_a_name_whose_answer_is_over_and_somebody_elses_no_answer_is_made(over: Ask) -> None:
    answers = Answers()
    async with Hub() as hub:
        there = await hub.start("a", answers(), owner="somebody")
        await there.subscribe().collect()
        assert "not-found" == await over(answers, hub)
        assert ("1 1", 1) == (await there.subscribe().join(), answers.calls)


class Opened:
    """A response that is open already, as a provider's client gives it."""

    def __init__(self) -> None:
        self.closed = False

    def __aiter__(self) -> Opened:
        return self

    async def __anext__(self) -> str:
        raise AssertionError("it is read")

    async def aclose(self) -> None:
        self.closed = True


@pytest.mark.parametrize("over", [over_http, over_a_websocket])
async def test_what_a_handler_has_opened_is_closed_when_the_hub_takes_no_more(over: Any) -> None:
    """A start that was refused left a provider's response open."""
    opened, answers = Opened(), Answers(waits=True)
    async with Hub(max_streams=1) as hub:
        await hub.start("another", answers())
        assert "buffer-full" == await over(lambda request: opened, hub)
        assert opened.closed


async def test_who_would_join_one_that_another_process_was_faster_to_start_joins_that() -> None:
    answers = Answers(waits=True)
    store = MemoryStore()
    async with Hub(store, lease=3600) as hub, Hub(store, lease=3600) as elsewhere:

        async def too_late(if_exists: IfExists) -> Generation:
            await elsewhere.start("a", answers())
            return await hub.start("a", answers(), if_exists=if_exists)

        assert await Starts(hub).begin("a", too_late, owner=None, if_running="join")
        assert "running" == (await hub.status("a")).state
        answers.go_on.set()
        assert "1 1" == await hub.subscribe("a").join()


async def test_over_http_who_joins_does_not_read_what_another_owner_has_put_in_its_place_meanwhile() -> None:
    """It was read as nobody in particular, who is not asked for."""
    replaced = list[str]()

    async def authorize(owner: str | None, action: str) -> bool:
        if not replaced:
            replaced.append(action)
            await hub.start("a", ["secret"], owner="somebody", if_exists="replace")
        return owner is None

    client = Client(method="POST")
    async with Hub(authorize=authorize) as hub:
        await hub.start("a", Answers(waits=True)())
        async with ChatRoutes(Answers(), hub, id=lambda request: "a", drain=None) as routes:
            with anyio.fail_after(60):
                await client.call(routes)
    assert (["subscribe"], 204, b"") == (replaced, client.status, client.body)
