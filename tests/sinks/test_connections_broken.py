"""Connections with callbacks that fail, layers that stand twice, and waits that are called off: nobody else pays for it."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import pytest
from asgi_client import Client

from streamkit.flow.tasks import current_backend
from streamkit.sinks import sse
from streamkit.sinks.connections import Connection, Connections, connection_in
from streamkit.sinks.life.stop_signals import StopSignals
from streamkit.testing import VirtualClock

pytestmark = pytest.mark.anyio


async def test_a_drain_that_was_given_up_is_not_waited_for_a_second_time(clock: VirtualClock) -> None:
    connections = Connections(drain=None)
    with connections.admit():
        await connections.drain(1.0)
        assert 2.0 == clock.now()
        await connections.drain(1.0)
        assert 2.0 == clock.now()


async def test_a_cut_that_fails_keeps_nobody_from_being_cut_and_the_drain_from_its_end(clock: VirtualClock) -> None:
    connections, cut = Connections(drain=None), list[str]()

    def failing() -> None:
        cut.append("failing")
        raise LookupError("mine")

    with connections.admit(cut=failing), connections.admit(cut=lambda: cut.append("other")) as other:
        other.at_cut(failing)
        other.at_cut(lambda: cut.append("last word"))
        await connections.drain(1.0)
    assert ["failing", "other", "failing", "last word"] == cut
    assert 2.0 == clock.now()


async def answering(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def test_one_request_behind_the_same_connections_twice_is_one() -> None:
    connections, seen = Connections(total=1, requests=1, drain=None), list[int]()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(len(connections))
        await answering(scope, receive, send)

    client = Client()
    await client.call(connections.wrap(connections.wrap(app)))
    assert (200, [1], 0) == (client.status, seen, len(connections))


async def test_the_outer_one_of_two_connections_tells_what_stands_behind_the_inner_one(clock: VirtualClock) -> None:
    outer, inner, closed = Connections(drain=None), Connections(drain=None), list[bool]()

    async def ticking() -> AsyncIterator[str]:
        try:
            while True:
                yield "tick "
                await clock.sleep(1.0)
        finally:
            closed.append(True)

    client = Client()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client.call, outer.wrap(inner.wrap(sse.Response(ticking))))
        await clock.sleep(0.5)
        await outer.drain(2.0)
    assert ("draining", [True], 0, 0) == (client.values[-1].get("code"), closed, len(outer), len(inner))


async def test_what_has_left_the_inner_one_is_told_by_nobody(clock: VirtualClock) -> None:
    outer, inner, there = Connections(drain=None), Connections(drain=None), list[Connection | None]()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await inner.wrap(noting)(scope, receive, send)
        there.append(connection_in(scope))
        await outer.drain(0)

    async def noting(scope: Any, receive: Any, send: Any) -> None:
        there.append(connection_in(scope))
        await answering(scope, receive, send)

    with anyio.fail_after(60):
        await Client().call(outer.wrap(app))
    served, behind = there
    assert served is not None
    assert behind is not None
    assert (False, False) == (served.told, served is behind)


async def test_a_request_that_is_cancelled_while_its_key_is_looked_for_leaves_no_count() -> None:
    waiting = anyio.Event()

    async def key(scope: Any) -> str:
        waiting.set()
        await anyio.sleep_forever()
        raise AssertionError("it was let in")

    connections = Connections(total=1, per_address=1, per_key=1, key=key, drain=None)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Client().call, connections.wrap(answering))
        await waiting.wait()
        tasks.cancel_scope.cancel()
    with connections.admit(address="192.0.2.1", key="somebody") as connection:
        assert [connection] == list(connections.open)


# ---- signals


@pytest.fixture
def told() -> Iterator[list[int]]:
    """The signals that a server was told of, which has a handler for both."""
    told: list[int] = []

    def handle(number: int, frame: object) -> None:
        told.append(number)

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    yield told
    assert handle is signal.getsignal(signal.SIGTERM)
    for number, handler in before.items():
        signal.signal(number, handler)


async def test_who_leaves_in_the_order_of_coming_leaves_the_server_its_own_handler(told: list[int]) -> None:
    three = [StopSignals(current_backend(), lambda: None) for _ in range(3)]
    for signals in three:
        signals.leave()
    signal.raise_signal(signal.SIGTERM)
    assert [signal.SIGTERM] == told
