"""What an application's `authorize` forbids on a WebSocket, and only that; and what a server may log of a sign-in."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import anyio
import pytest
from websocket_peer import Mailbox, Peer, connected

from streamkit.hub.hub import Hub
from streamkit.sinks.connections import Connections
from streamkit.sinks.websocket import SocketRequest, WebSocketRoutes
from streamkit.sinks.websocket.ai_sdk_frames import AISDKWebSocketRoutes

pytestmark = pytest.mark.anyio


class Source:
    """One that says what it is given; counts how often it was asked for."""

    def __init__(self) -> None:
        self.asked = 0
        self.inbox = Mailbox()

    def __call__(self, request: SocketRequest) -> Any:
        self.asked += 1
        return self._items()

    async def _items(self) -> Any:
        while True:
            try:
                yield await self.inbox.take()
            except EOFError:
                return


def allowing(*actions: str) -> Any:
    return lambda owner, action: action in actions


async def test_who_may_resume_and_not_ask_for_the_status_resumes() -> None:
    source = Source()
    async with Hub(authorize=allowing("subscribe", "resume")) as hub:
        routes = WebSocketRoutes(source, hub, allow_missing_origin=True)
        async with connected(routes) as first, connected(routes) as second:
            first.say("send", stream="a", input=None)
            source.inbox.put("one ")
            await first.has("a", "one ")
            token = (await first.told("events"))["token"]
            second.say("resume", stream="a", after=token)
            await second.told("started")
            source.inbox.put("two")
            source.inbox.close()
            await second.told("end", ending="done")
            assert "two" == second.text("a")


async def test_who_may_only_read_from_the_beginning_is_refused_a_resume_before_it_starts() -> None:
    async with Hub(authorize=allowing("subscribe", "status")) as hub:
        routes = WebSocketRoutes(Source(), hub, allow_missing_origin=True)
        await hub.start("a", ["one"])
        async with connected(routes) as peer:
            peer.say("resume", stream="a")
            token = (await peer.told("events"))["token"]
            await peer.told("end")
            peer.say("resume", stream="a", after=token, request="2")
            assert "not-found" == (await peer.told("error", request="2"))["code"]
            assert 1 == sum(message["type"] == "started" for message in peer.said)


async def test_a_start_joins_what_runs_though_its_status_is_nobodys_to_ask() -> None:
    source = Source()
    async with Hub(authorize=allowing("subscribe")) as hub:
        routes = WebSocketRoutes(source, hub, allow_missing_origin=True)
        async with connected(routes) as first, connected(routes) as second:
            first.say("send", stream="a", input=None)
            source.inbox.put("one")
            await first.has("a", "one")
            second.say("send", stream="a", input=None, if_running="join")
            await second.has("a", "one")
            source.inbox.close()
            assert "done" == (await first.told("end"))["ending"]
            assert 1 == source.asked


async def test_who_may_not_read_a_stream_does_not_stop_it_by_starting_another() -> None:
    source = Source()
    async with Hub(authorize=lambda owner, action: False) as hub:
        routes = WebSocketRoutes(source, hub, allow_missing_origin=True)
        there = await hub.start("a", source.__call__(SocketRequest({})))
        async with connected(routes) as peer:
            for way in ("join", "interrupt", "raise"):
                peer.say("send", stream="a", input=None, if_running=way, request=way)
                assert "not-found" == (await peer.told("error", request=way))["code"]
        assert ("running", 1) == ((await there.status()).state, source.asked)


async def test_an_ai_sdk_page_replays_what_runs_though_its_status_is_nobodys_to_ask() -> None:
    source = Source()
    async with Hub(authorize=allowing("subscribe")) as hub:
        routes = AISDKWebSocketRoutes(source, hub, allow_missing_origin=True)
        await hub.start("chat", source.__call__(SocketRequest({})))
        async with connected(routes) as peer:
            source.inbox.put("one")
            peer.say("resume", id="chat", requestId="9")
            await peer.until(lambda: any("one" in str(message) for message in peer.said))
            source.inbox.close()


async def test_ws_10_a_token_in_the_query_is_out_of_the_scope_that_the_server_logs_also_behind_connections() -> None:
    routes = WebSocketRoutes(lambda request: [], allow_missing_origin=True, token_in_query="token")
    peer = Peer()
    scope: dict[str, Any] = {"type": "websocket", "path": "/", "query_string": b"a=1&token=s3cret", "headers": []}
    async with Connections() as connections, routes, anyio.create_task_group() as group:
        inner = Connections(health=None)
        app: Any = connections.wrap(inner.wrap(routes))
        group.start_soon(app, scope, peer.receive, peer.send)
        await peer.told("hello")
        assert b"a=1" == scope["query_string"]
        peer.leave()
        await inner.aclose()


async def test_who_may_read_a_stream_and_not_stop_it_does_not_stop_it_by_starting_another() -> None:
    source = Source()
    async with Hub(authorize=allowing("subscribe", "resume", "status")) as hub:
        routes = WebSocketRoutes(source, hub, allow_missing_origin=True)
        there = await hub.start("a", source.__call__(SocketRequest({})))
        async with connected(routes) as peer:
            peer.say("send", stream="a", input=None, if_running="interrupt", request="1")
            assert "not-found" == (await peer.told("error", request="1"))["code"]
        assert ("running", 1) == ((await there.status()).state, source.asked)


@pytest.mark.parametrize("until", [float("nan"), "soon", datetime(2030, 1, 1), True])
async def test_an_end_of_the_sign_in_that_is_no_number_lets_nobody_in_and_says_so_in_the_log(
    until: Any, caplog: pytest.LogCaptureFixture
) -> None:
    routes = WebSocketRoutes(lambda request: [], allow_missing_origin=True, until=lambda request: until)
    async with routes, connected(routes) as peer:
        await peer.until(lambda: peer.closed is not None)
        assert 1013 == peer.closed
    assert "until=...) gives Unix seconds or None, got " in caplog.text
