"""The process stops: every open stream is told, its source is closed, and nobody is waited for in vain."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from asgi_client import App, Client
from stopping import Server, SlowToClose, handling_signals

import streamkit as sk
from streamkit.dialects.native import NativeDecoder
from streamkit.errors import ConfigError, StreamDraining
from streamkit.flow.tasks import current_backend
from streamkit.sinks import sse
from streamkit.sinks.chats import ChatRoutes
from streamkit.sinks.connections import Connection, Connections, connection_in
from streamkit.sinks.life.alarms import alarms_of
from streamkit.sinks.life.draining import Drain, standing_drain
from streamkit.sinks.resuming import HubResponse
from streamkit.testing import VirtualClock

pytestmark = pytest.mark.anyio


class Source:
    """Gives one item a second, for ever, and says when it is closed."""

    def __init__(self, clock: VirtualClock, *, silent: bool = False) -> None:
        self.clock = clock
        self.silent = silent
        self.given = 0
        self.closed = 0

    async def __call__(self) -> AsyncIterator[str]:
        try:
            while True:
                if not self.silent:
                    self.given += 1
                    yield f"{self.given} "
                await self.clock.sleep(1.0)
        finally:
            self.closed += 1


async def until(so: Callable[[], object]) -> None:
    with anyio.fail_after(60):
        while not so():
            await anyio.lowlevel.checkpoint()


def last_of(client: Client) -> dict[str, Any]:
    value: dict[str, Any] = client.values[-1]
    return value


# ---- with Connections


async def test_a_stream_has_its_grace_then_is_told_and_its_source_is_closed(clock: VirtualClock) -> None:
    connections, source, client = Connections(), Source(clock), Client()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client.call, connections.wrap(sse.Response(source)))
        await clock.sleep(3.5)
        await connections.drain(5.0)
        assert 8.5 == clock.now()
    assert (1, "1 2 3 4 5 6 7 8 9 ") == (source.closed, client.text)
    assert ("error", "draining", True) == tuple(last_of(client)[name] for name in ("type", "code", "retryable"))
    assert client.complete
    assert 0 == len(connections)


async def test_what_ends_by_itself_in_the_grace_is_complete_and_ends_the_drain(clock: VirtualClock) -> None:
    connections, client = Connections(), Client()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client.call, connections.wrap(sse.Response(sk.testing.timed("a", 2.0, "b"))))
        await clock.sleep(1.0)
        await connections.drain(60.0)
        assert 2.0 == clock.now()
    assert ("ab", "end") == (client.text, last_of(client)["type"])


async def test_new_requests_are_refused_with_503_and_retry_after_while_old_ones_run(clock: VirtualClock) -> None:
    connections, source, client = Connections(), Source(clock), Client()
    app = connections.wrap(sse.Response(source))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client.call, app)
        await clock.sleep(0.5)
        tasks.start_soon(connections.drain, 5.0)
        await clock.sleep(1.0)
        late = await Client().call(app)
        assert (503, "draining") == (late.status, json.loads(late.body)["error"]["code"])
        assert "5" == late.headers["retry-after"]
        assert 1 == len(connections)


async def test_an_answer_that_is_whole_is_not_told_that_the_server_stops_while_its_source_is_being_closed(
    clock: VirtualClock,
) -> None:
    connections, source, client = Connections(), SlowToClose(clock), Client()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client.call, connections.wrap(sse.Response(source)))
        await clock.sleep(0.5)
        assert (1, 0) == (source.given, source.closed)
        await connections.drain(0)
    assert ("all of it", "end", 1) == (client.text, last_of(client)["type"], source.closed)


async def test_a_source_that_ends_quietly_when_it_is_called_off_is_not_taken_for_a_whole_one(clock: VirtualClock) -> None:
    async def events() -> AsyncIterator[str]:
        yield "half of it"
        with suppress(asyncio.CancelledError):
            await clock.sleep(60.0)

    connections, client = Connections(), Client()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client.call, connections.wrap(sse.Response(events)))
        await clock.sleep(0.5)
        await connections.drain(0)
    assert ("half of it", "draining") == (client.text, last_of(client)["code"])


async def test_a_stream_that_had_not_begun_is_a_503(clock: VirtualClock) -> None:
    connections, source, client = Connections(), Source(clock, silent=True), Client()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client.call, connections.wrap(sse.Response(source, heartbeat=None)))
        await clock.sleep(0.5)
        await connections.drain(0)
    assert (503, "draining", 1) == (client.status, json.loads(client.body)["error"]["code"], source.closed)


async def test_a_reader_of_a_hub_is_told_its_last_id_and_resumes_without_gap_or_repeat(clock: VirtualClock) -> None:
    connections, source, client = Connections(), Source(clock), Client()
    async with sk.Hub() as hub:
        await hub.start("a", source)
        app = HubResponse(hub, "a")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.call, connections.wrap(app))
            await clock.sleep(2.5)
            await connections.drain(0)
        decoder = NativeDecoder()
        decoder.decode_many(client.frames)
        assert isinstance(decoder.error, StreamDraining)
        ids = [frame.id for frame in client.frames if frame.id]
        assert ids[-1] == last_of(client)["last_id"] == decoder.error.last_id
        assert 0 == source.closed  # the generation goes on
        again = Client(headers={"last-event-id": ids[-1]})
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(again.call, app)
            await clock.sleep(2.0)
            again.leave()
        assert "1 2 3 4 5 " == client.text + again.text


async def test_the_last_id_is_said_where_frames_have_none() -> None:
    decoder = NativeDecoder()
    decoder.decode_many([sk.wire.sse.Frame("message", '{"type":"error","message":"bye","code":"draining","last_id":"e.7"}')])
    assert isinstance(decoder.error, StreamDraining)
    assert "e.7" == decoder.error.last_id


async def test_a_client_that_takes_nothing_is_cut_off_half_a_second_later(clock: VirtualClock) -> None:
    connections, source, client = Connections(), Source(clock), Client(reads=2)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client.call, connections.wrap(sse.Response(source)))
        await client.until_blocked()
        begun = clock.now()
        await connections.drain(2.0)
        assert 2.5 == clock.now() - begun
        await until(lambda: client.returned)
    assert (1, False) == (source.closed, client.complete)


async def test_an_application_that_knows_nothing_of_drains_is_cancelled_at_the_cut(clock: VirtualClock) -> None:
    connections, ended, client = Connections(), [], Client()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await anyio.Event().wait()
        finally:
            ended.append(clock.now())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client.call, connections.wrap(app))
        await clock.sleep(1.0)
        await connections.drain(1.0)
        assert [2.5] == ended


async def test_a_source_that_does_not_end_holds_nobody_up_longer_than_a_second(
    clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    go = anyio.Event()

    async def stubborn() -> AsyncIterator[str]:
        try:
            yield "a"
            await anyio.Event().wait()
        finally:
            while not go.is_set():
                with anyio.CancelScope(shield=True), suppress(asyncio.CancelledError):
                    await go.wait()

    connections, client = Connections(), Client()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client.call, connections.wrap(sse.Response(stubborn)))
        await clock.sleep(1.0)
        await connections.drain(1.0)
        assert 3.0 == clock.now()
        assert "1 streams still run their sources" in caplog.text
        go.set()
        await until(lambda: client.returned)


async def test_the_earlier_of_two_drains_counts(clock: VirtualClock) -> None:
    connections, source, client = Connections(), Source(clock), Client()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client.call, connections.wrap(sse.Response(source)))
        await clock.sleep(0.5)
        tasks.start_soon(connections.drain, 60.0)
        await clock.sleep(1.0)
        await connections.drain(1.0)
        assert 2.5 == clock.now()


@pytest.mark.parametrize("step", range(12))
async def test_told_at_any_write_the_client_has_all_that_was_sent_and_a_true_end(clock: VirtualClock, step: int) -> None:
    connections = Connections(drain=None)
    closed: list[bool] = []

    async def answer() -> AsyncIterator[str]:
        try:
            for number in range(4):
                yield str(number)
                await clock.sleep(1.0)
        finally:
            closed.append(True)

    def on_send(number: int) -> None:
        if number == step:
            connections._begin(0)

    client = Client(on_send=on_send)
    if step == 0:
        on_send(0) if connections._clock else None
    await client.call(connections.wrap(sse.Response(answer)))
    assert [True] == closed
    assert client.complete
    assert "0123"[: len(client.text)] == client.text
    expected = "error" if 0 < step < 6 else "end"
    assert expected == last_of(client)["type"]
    if expected == "end":
        assert "0123" == client.text


async def test_on_drain_is_called_once_and_can_be_taken_back_and_late_ones_at_once(clock: VirtualClock) -> None:
    connections, called = Connections(drain=None), []

    def failing() -> None:
        raise LookupError("mine")

    with connections.admit() as connection:
        connection.on_drain(lambda: called.append("kept"))
        connection.on_drain(lambda: called.append("gone"))()
        connection.on_drain(failing)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(connections.drain, 1.0)
            await clock.sleep(0.5)
            assert connection.draining
            assert [] == called
            await clock.sleep(0.6)
            connection.on_drain(lambda: called.append("late"))
            assert ["kept", "late"] == called


async def test_a_connection_that_is_no_asgi_is_cut_by_its_own_means(clock: VirtualClock) -> None:
    connections, cut = Connections(drain=None), []
    with connections.admit(cut=lambda: cut.append(clock.now())):
        await connections.drain(1.0)
    assert [1.5] == cut


# ---- signals


@pytest.fixture
def server() -> Iterator[Server]:
    with handling_signals() as server:
        yield server
        assert server.handle == signal.getsignal(signal.SIGTERM)


@pytest.mark.parametrize("wrapped", [True, False], ids=["with Connections", "without"])
async def test_sigterm_tells_every_open_stream_with_or_without_connections(
    clock: VirtualClock, server: Server, wrapped: bool
) -> None:
    connections, source = Connections(), Source(clock)
    app: App = sse.Response(source)
    if wrapped:
        app = connections.wrap(app)
    clients = [Client() for _ in range(5)]
    async with anyio.create_task_group() as tasks:
        for client in clients:
            tasks.start_soon(client.call, app)
        await clock.sleep(0.5)
        signal.raise_signal(signal.SIGTERM)
        drain = connections._drain if wrapped else standing_drain(current_backend(), clock)
        await until(lambda: "draining" == drain.state)
        await clock.sleep(1.0)
        assert {False} == {client.returned for client in clients}
    assert [signal.SIGTERM] == server.got
    assert 5.5 == clock.now()
    assert 5 == source.closed
    assert {"draining"} == {last_of(client)["code"] for client in clients}
    await clock.sleep(2.0)
    await connections.aclose()


async def test_a_signal_that_comes_while_the_first_bytes_are_sent_is_not_missed(clock: VirtualClock, server: Server) -> None:
    source, client = Source(clock), Client(on_send=lambda number: signal.raise_signal(signal.SIGTERM) if number == 1 else None)
    with anyio.fail_after(60):
        await client.call(sse.Response(source))
    assert ([signal.SIGTERM], 1) == (server.got, source.closed)
    assert "draining" == last_of(client)["code"]
    await clock.sleep(2.0)


async def test_a_signal_that_came_before_the_first_bytes_is_a_status(clock: VirtualClock, server: Server) -> None:
    other, client = Client(), Client()
    drain = standing_drain(current_backend(), clock)
    drain.begin(0.0, clock)  # told, and the response does not know of it when it starts
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client.call, sse.Response(Source(clock)))
        tasks.start_soon(other.call, sse.Response(Source(clock)))
    assert [503, 503] == [client.status, other.status]
    await clock.sleep(2.0)


async def test_a_server_that_would_close_websockets_with_1012_is_told_when_they_have_said_draining(
    clock: VirtualClock, server: Server
) -> None:
    connections, leaving = Connections(), anyio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        connection = connection_in(scope)
        assert connection is not None
        connection.on_drain(leaving.set)
        await leaving.wait()
        assert [] == server.got

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_websocket, connections.wrap(app))
        await until(lambda: len(connections) == 1)
        signal.raise_signal(signal.SIGTERM)
        await until(lambda: connections.draining)
        await clock.sleep(4.9)
        assert ([], False) == (server.got, leaving.is_set())
        await clock.sleep(0.2)
        await until(lambda: not len(connections))
        assert [signal.SIGTERM] == server.got
    await clock.sleep(2.0)
    await connections.aclose()


async def test_a_websocket_that_does_not_leave_holds_the_server_up_no_longer_than_the_cut(
    clock: VirtualClock, server: Server
) -> None:
    connections, closed = Connections(drain=1.0), anyio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await receive()
        finally:
            with anyio.CancelScope(shield=True):  # a clean-up that takes its time
                await closed.wait()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_websocket, connections.wrap(app))
        await until(lambda: len(connections) == 1)
        signal.raise_signal(signal.SIGTERM)
        await until(lambda: connections.draining)
        await clock.sleep(1.4)
        assert [] == server.got
        await clock.sleep(0.2)
        assert ([signal.SIGTERM], 1) == (server.got, len(connections))
        await clock.sleep(1.0)
        closed.set()
    await connections.aclose()


@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_in_the_notice_only_readiness_knows_and_then_all_goes_as_without_one(
    clock: VirtualClock, server: Server, kind: str
) -> None:
    connections, source = Connections(notice=10.0, drain=2.0), Source(clock)
    first, second, leaving = Client(), Client(), anyio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await sse.Response(source)(scope, receive, send)
            return
        connection = connection_in(scope)
        assert connection is not None
        connection.on_drain(leaving.set)
        await leaving.wait()

    wrapped = connections.wrap(app)

    async def ready() -> tuple[int | None, str | None, int | None]:
        answers = [await Client(path=path).call(wrapped) for path in ("/readyz", "/healthz")]
        return answers[0].status, answers[0].headers.get("retry-after"), answers[1].status

    async with anyio.create_task_group() as tasks:
        if kind == "websocket":
            tasks.start_soon(_websocket, wrapped)
        tasks.start_soon(first.call, wrapped)
        await clock.sleep(0.5)
        assert (200, None, 200) == await ready()
        signal.raise_signal(signal.SIGTERM)
        await until(lambda: connections._noticed is not None)
        assert (503, "5", 200) == await ready()
        await clock.sleep(9.0)
        tasks.start_soon(second.call, wrapped)
        await clock.sleep(0.5)
        assert (False, 200) == (connections.draining, second.status)
        assert [] == server.got
        await clock.sleep(1.0)
        await until(lambda: connections.draining)
        assert ([signal.SIGTERM] if kind == "http" else []) == server.got
        assert (503, "5", 200) == await ready()
        assert 503 == (await Client().call(wrapped)).status
    assert 12.5 == clock.now()
    assert [signal.SIGTERM] == server.got
    assert ["draining"] * 2 == [last_of(client)["code"] for client in (first, second)]
    assert 2 == source.closed
    await clock.sleep(2.0)
    await connections.aclose()


async def test_a_second_signal_and_a_drain_by_hand_end_the_notice(clock: VirtualClock, server: Server) -> None:
    for by_hand in (False, True):
        connections, source, client = Connections(notice=60.0, drain=1.0), Source(clock), Client()
        begun = clock.now()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.call, connections.wrap(sse.Response(source)))
            await clock.sleep(0.5)
            signal.raise_signal(signal.SIGTERM)
            await until(lambda: connections._noticed is not None)  # noqa: B023  # it is over before the next round
            await clock.sleep(3.0)
            if by_hand:
                await connections.drain()
            else:
                signal.raise_signal(signal.SIGTERM)
        assert 4.5 == clock.now() - begun
        assert "draining" == last_of(client)["code"]
        await clock.sleep(2.0)
        await connections.aclose()
    assert [signal.SIGTERM] * 2 == server.got
    assert 0 == clock.pending


async def test_a_server_that_ends_by_itself_in_the_notice_waits_for_none(clock: VirtualClock, server: Server) -> None:
    connections = Connections(notice=60.0)
    async with connections:
        signal.raise_signal(signal.SIGTERM)
        await until(lambda: connections._noticed is not None)
        assert [] == server.got
    assert ([signal.SIGTERM], 0) == (server.got, clock.pending)


@pytest.mark.parametrize("notice", [-1.0, float("nan"), float("inf"), True])
def test_a_notice_that_is_none_is_refused(notice: float) -> None:
    with pytest.raises((ConfigError, TypeError), match="notice"):
        Connections(notice=notice)


def test_a_notice_without_a_drain_is_refused() -> None:
    with pytest.raises(ConfigError, match="notice"):
        Connections(notice=1.0, drain=None)


async def _websocket(app: App) -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        await anyio.sleep_forever()

    async def send(message: Any) -> None:
        sent.append(message)

    await app({"type": "websocket", "path": "/"}, receive, send)
    assert [] == sent


async def test_the_handler_is_there_only_while_a_stream_is_open(clock: VirtualClock, server: Server) -> None:
    client = Client()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client.call, sse.Response(Source(clock)))
        await clock.sleep(0.5)
        assert server.handle != signal.getsignal(signal.SIGTERM)
        client.leave()
    assert server.handle == signal.getsignal(signal.SIGTERM)


async def test_chat_routes_end_their_streams_and_then_who_does_not_read_them(clock: VirtualClock, server: Server) -> None:
    source = Source(clock)
    routes = ChatRoutes(lambda request: source, drain=2.0)
    reading, stuck = Client(method="POST"), Client(method="POST", reads=2)
    async with routes, anyio.create_task_group() as tasks:
        tasks.start_soon(reading.call, routes)
        tasks.start_soon(stuck.call, routes)
        await stuck.until_blocked()
        await clock.sleep(0.5)
        signal.raise_signal(signal.SIGTERM)
        await until(lambda: "draining" == routes._readers.state)
        await clock.sleep(1.9)
        assert not reading.returned
        await clock.sleep(0.2)
        assert reading.returned
        assert "draining" == last_of(reading)["code"]
        assert not stuck.returned
        await clock.sleep(0.7)
        assert stuck.returned


# ---- the watch over writes


async def test_a_client_that_takes_nothing_is_given_up_after_send_timeout(clock: VirtualClock) -> None:
    source, client = Source(clock), Client(reads=2)
    await client.call(Connections(send_timeout=8.0).wrap(sse.Response(source)))
    assert 8.0 <= clock.now() <= 8.0 * 5 / 4 + 1
    assert (1, False) == (source.closed, client.complete)


async def test_without_connections_the_time_is_thirty_seconds(clock: VirtualClock) -> None:
    source, client = Source(clock), Client(reads=2)
    await client.call(sse.Response(source))
    assert 30.0 <= clock.now() <= 40.0
    assert 1 == source.closed


async def test_a_client_that_takes_no_heartbeat_is_given_up_too(clock: VirtualClock) -> None:
    source, client = Source(clock, silent=True), Client(reads=1)
    await client.call(sse.Response(source, heartbeat=5.0))
    assert clock.now() <= 50.0
    assert 1 == source.closed


async def test_a_slow_client_that_takes_something_now_and_then_is_kept(clock: VirtualClock) -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        await anyio.Event().wait()
        return {}

    async def send(message: Any) -> None:
        await clock.sleep(25.0)
        sent.append(message)

    await sse.Response(["a", "b", "c"])({"type": "http", "method": "GET"}, receive, send)
    assert sent[-1]["more_body"] is False


async def test_all_responses_of_a_loop_share_one_timer(clock: VirtualClock) -> None:
    sources = Source(clock, silent=True)
    sources.clock = clock
    go = anyio.Event()

    async def silent() -> AsyncIterator[str]:
        yield "a"
        await go.wait()

    before = clock.pending
    clients = [Client() for _ in range(100)]
    async with anyio.create_task_group() as tasks:
        for client in clients:
            tasks.start_soon(client.call, sse.Response(silent))
        await until(lambda: all(client.messages[1:] for client in clients) and clock.pending > before)
        assert 1 == clock.pending - before
        await clock.sleep(16.0)
        assert {b":"} == {client.writes[-1][:1] for client in clients}
        go.set()
    assert before == clock.pending


async def test_an_alarm_that_fails_silences_no_other(clock: VirtualClock, caplog: pytest.LogCaptureFixture) -> None:
    class Sleeper:
        def __init__(self, fails: bool) -> None:
            self.fails = fails
            self.rang: list[float] = []

        def ring(self) -> None:
            self.rang.append(clock.now())
            if self.fails:
                raise LookupError("mine")

    sleepers = [Sleeper(fails) for fails in (True, False, False)]
    for sleeper, when in zip(sleepers, (10.0, 10.1, 11.0), strict=True):
        alarms_of(clock).at(when, sleeper)
    taken_back = alarms_of(clock).at(10.05, sleepers[2])
    taken_back.cancel()
    taken_back.cancel()
    await clock.sleep(20.0)
    assert [[10.0], [10.0], [11.0]] == [sleeper.rang for sleeper in sleepers]  # the second a little early, with the first
    assert "an alarm failed" in caplog.text


async def test_who_joins_after_all_were_told_is_told_at_once(clock: VirtualClock) -> None:
    class Member:
        told = False

        def end(self) -> None:
            self.told = True

        def cut(self) -> None:
            raise AssertionError("it has left")

    drain, member = Drain(), Member()
    drain.begin(0, clock)
    drain.join(member)
    assert member.told
    drain.leave(member)
    drain.leave(member)
    await clock.sleep(2.0)
    assert "cut" == drain.state


async def test_connection_in_gives_what_on_drain_needs() -> None:
    seen: list[Connection | None] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(connection_in(scope))

    await Client().call(Connections(drain=None).wrap(app))
    assert isinstance(seen[0], Connection)
