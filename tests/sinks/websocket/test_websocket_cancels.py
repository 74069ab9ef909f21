"""A client that wants an answer stopped, or reads it no more: before it has begun, and though it does not wait until it has."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from websocket_peer import Mailbox, Peer, connected

from streamkit.flow.clock import current_clock
from streamkit.sinks.refusals import Refused
from streamkit.sinks.websocket import SocketRequest, WebSocketRoutes
from streamkit.testing import VirtualClock

pytestmark = pytest.mark.anyio


class Endless:
    """A handler whose answers never end by themselves. It waits at the gate first, and closes at once unless told otherwise."""

    def __init__(self, *, open: bool = True) -> None:
        self.asked = anyio.Event()
        self.begun = anyio.Event()
        self.gate = anyio.Event()
        self.closing = anyio.Event()
        self.may_close = anyio.Event()
        self.closed = anyio.Event()
        self.may_close.set()
        if open:
            self.gate.set()

    async def __call__(self, request: SocketRequest) -> Any:
        self.asked.set()
        await self.gate.wait()
        if request.input == "refuse":
            raise Refused(422, "Not that.", code="not-that")
        return self._items

    async def _items(self) -> AsyncIterator[str]:
        self.begun.set()
        try:
            yield "and "
            await Mailbox().take()
        finally:
            with anyio.CancelScope(shield=True):
                self.closing.set()
                await self.may_close.wait()
                self.closed.set()


async def heard(peer: Peer) -> None:
    """Wait until all that the client has said was heard."""
    count = sum(one["type"] == "pong" and "request" not in one for one in peer.said)
    peer.say("ping")
    await peer.until(lambda: count < sum(one["type"] == "pong" and "request" not in one for one in peer.said))


def routes_of(handler: Any, **options: Any) -> WebSocketRoutes:
    return WebSocketRoutes(handler, **{"allow_missing_origin": True, **options})


async def test_a_cancel_of_a_client_that_closes_right_behind_it_stops_the_source() -> None:
    answer = Endless()
    async with routes_of(answer) as routes:
        async with connected(routes) as peer:
            peer.say("send", stream="a", input=None)
            await peer.told("events")
            peer.say("cancel", stream="a", request="1")
            peer.leave()
        with anyio.fail_after(60):
            await answer.closed.wait()
        assert "cancelled" == (await routes.hub.status("a")).state


async def test_a_source_that_does_not_close_holds_up_a_client_that_has_left_no_longer_than_the_close_timeout(
    clock: VirtualClock,
) -> None:
    answer = Endless()
    answer.may_close = anyio.Event()
    async with routes_of(answer, close_timeout=2.0) as routes:
        async with connected(routes) as peer:
            peer.say("send", stream="a", input=None)
            await peer.told("events")
            peer.say("cancel", stream="a")
            with anyio.fail_after(60):
                await answer.closing.wait()
            peer.leave()
            while len(routes):
                await current_clock().sleep(0.5)
            assert clock.now() <= 2.5
        assert not answer.closed.is_set()
        answer.may_close.set()


async def test_a_connection_whose_task_is_cancelled_does_not_wait_for_what_its_client_wanted_stopped() -> None:
    answer = Endless()
    answer.may_close = anyio.Event()
    scope: dict[str, Any] = {"type": "websocket", "path": "/", "query_string": b"", "headers": []}
    async with routes_of(answer) as routes:
        peer, over = Peer(), anyio.Event()

        async def serve(inner: anyio.CancelScope) -> None:
            with inner:
                await routes(scope, peer.receive, peer.send)
            over.set()

        async with anyio.create_task_group() as group:
            inner = anyio.CancelScope()
            group.start_soon(serve, inner)
            peer.say("send", stream="a", input=None)
            await peer.told("events")
            peer.say("cancel", stream="a")
            peer.leave()
            with anyio.fail_after(60):
                await answer.closing.wait()
                inner.cancel()
                await over.wait()
            answer.may_close.set()


async def test_a_cancel_that_comes_while_the_handler_is_still_at_it_stops_the_answer_once_it_has_begun() -> None:
    answer = Endless(open=False)
    async with routes_of(answer) as routes, connected(routes) as peer:
        peer.say("send", stream="a", input=None, request="1")
        await answer.asked.wait()
        peer.say("cancel", stream="a", request="2")
        await heard(peer)
        answer.gate.set()
        end = await peer.told("end", stream="a")
        await peer.told("pong", request="2")

        assert "cancelled" == end["ending"]
        assert [] == [one for one in peer.said if one["type"] == "error"]
        # Whose source had not been opened by then never is: it is not asked whether it was closed.
        assert "cancelled" == (await routes.hub.status("a")).state


async def test_a_cancel_right_behind_the_start_is_not_told_that_there_is_nothing() -> None:
    answer = Endless()
    async with routes_of(answer) as routes, connected(routes) as peer:
        peer.say("send", stream="a", input=None)
        peer.say("cancel", stream="a", request="2")

        assert "cancelled" == (await peer.told("end", stream="a"))["ending"]
        await peer.told("pong", request="2")


async def test_a_cancel_of_a_start_that_is_refused_is_answered_as_well() -> None:
    answer = Endless(open=False)
    async with routes_of(answer) as routes, connected(routes) as peer:
        peer.say("send", stream="a", input="refuse", request="1")
        await answer.asked.wait()
        peer.say("cancel", stream="a", request="2")
        await heard(peer)
        answer.gate.set()

        assert "not-that" == (await peer.told("error", request="1"))["code"]
        assert "not-found" == (await peer.told("error", request="2"))["code"]


async def test_cancels_of_a_start_that_takes_long_are_bounded() -> None:
    answer = Endless(open=False)
    async with routes_of(answer, max_streams=2) as routes, connected(routes) as peer:
        peer.say("send", stream="a", input=None)
        await answer.asked.wait()
        for number in "123":
            peer.say("cancel", stream="a", request=number)
        assert "too-many-requests" == (await peer.told("error", request="3"))["code"]
        answer.gate.set()
        for number in "12":
            await peer.told("pong", request=number)


async def test_a_start_that_found_no_room_keeps_no_later_cancel_waiting() -> None:
    answer = Endless()
    async with routes_of(answer, max_streams=1) as routes, connected(routes) as peer:
        peer.say("send", stream="a", input=None)
        await peer.told("started", stream="a")
        peer.say("send", stream="b", input=None, request="1")
        peer.say("cancel", stream="b", request="2")

        assert "too-many-streams" == (await peer.told("error", request="1"))["code"]
        assert "not-found" == (await peer.told("error", request="2"))["code"]


async def leave_before_it_begins(peer: Peer, answer: Endless) -> None:
    """The handler of "a" has been called, and gives its source only when this has been heard."""
    await answer.asked.wait()
    peer.say("leave", stream="a")
    await heard(peer)
    answer.gate.set()


async def test_who_leaves_an_answer_before_it_has_begun_is_told_nothing_of_it() -> None:
    answer = Endless(open=False)
    async with routes_of(answer) as routes, connected(routes) as peer:
        peer.say("send", stream="a", input=None, request="1")
        with anyio.fail_after(60):
            await leave_before_it_begins(peer, answer)
            await answer.begun.wait()
        peer.say("resume", stream="a", request="2")
        await peer.told("started", request="2")
        await peer.has("a", "and ")
        peer.say("cancel", stream="a")
        await peer.told("end", stream="a")

        assert ["2"] == [one["request"] for one in peer.said if one["type"] == "started"]
        assert [(0, 0), (1, 1)] == peer.runs("a")


async def test_an_answer_that_ends_with_its_last_reader_ends_though_that_one_left_before_it_had_begun() -> None:
    answer = Endless(open=False)
    async with routes_of(answer, on_disconnect="cancel") as routes, connected(routes) as peer:
        peer.say("send", stream="a", input=None)
        with anyio.fail_after(60):
            await leave_before_it_begins(peer, answer)
            await answer.closed.wait()
        assert ["hello", "pong"] == [one["type"] for one in peer.said]


async def test_a_cancel_from_another_connection_waits_for_a_start_that_is_under_way() -> None:
    answer = Endless(open=False)
    async with routes_of(answer) as routes, connected(routes) as peer, connected(routes) as other:
        peer.say("send", stream="a", input=None)
        with anyio.fail_after(60):
            await answer.asked.wait()
        other.say("cancel", stream="a", request="2")
        await heard(other)
        answer.gate.set()
        await other.told("pong", request="2")

        assert "cancelled" == (await peer.told("end", stream="a"))["ending"]
        assert ["hello", "pong", "pong"] == [one["type"] for one in other.said]
