"""When the WebSocket client tries again, asks whether its server lives, and gives up: by the clock, without a network."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from math import inf, nan
from typing import Any

import pytest
from event_loops import asyncio_only
from websockets.exceptions import ConnectionClosedError

from streamkit.clients.websocket.connection import WebSocketClient, connect
from streamkit.clients.websocket.dialling import Failure, shown
from streamkit.clients.websocket.line import Line, Patience
from streamkit.dialects.websocket.messages import Hello, Ping, read_client, write
from streamkit.errors import ConfigError, LocalProtocolError, RateLimitError, StreamTimeout
from streamkit.flow.tasks import current_backend
from streamkit.testing import VirtualClock

pytestmark = pytest.mark.anyio

URL = "ws://chat.example/ws"


class Dialler:
    """Takes the place of one that opens connections: each call is an attempt, which fails as it is told to."""

    url = URL
    renews = False

    def __init__(self, clock: VirtualClock, *failures: Failure) -> None:
        self._clock = clock
        self._failures = failures
        self.at: list[float] = []

    async def dial(self) -> Any:
        self.at.append(self._clock.now())
        raise self._failures[min(len(self.at), len(self._failures)) - 1]


def client_with(dialler: Dialler, **options: Any) -> WebSocketClient:
    client = connect(URL, seed=1, **options)
    client._dialler = dialler  # type: ignore[assignment]  # it has what is asked of one
    return client


def refused() -> Failure:
    return Failure(ConnectionRefusedError("nobody listens"), passing=True)


@asyncio_only
async def test_waits_are_drawn_below_a_bound_that_doubles_and_end_after_so_many_attempts(clock: VirtualClock) -> None:
    dialler = Dialler(clock, refused())
    with pytest.raises(ConnectionRefusedError):
        await client_with(dialler, max_retries=5, min_wait=1.0, max_wait=6.0).__aenter__()
    waits = [later - earlier for earlier, later in zip(dialler.at, dialler.at[1:], strict=False)]
    assert 5 == len(waits)
    draw = random.Random(1)
    assert [draw.uniform(0.0, most) for most in (1.0, 2.0, 4.0, 6.0, 6.0)] == pytest.approx(waits)


@asyncio_only
async def test_it_gives_up_after_so_many_seconds_whatever_attempts_are_left(clock: VirtualClock) -> None:
    dialler = Dialler(clock, refused())
    with pytest.raises(ConnectionRefusedError):
        await client_with(dialler, max_retries=10_000, min_wait=5.0, max_wait=5.0, give_up_after=60.0).__aenter__()
    assert 55.0 < clock.now() <= 60.0
    assert dialler.at[-1] == clock.now()


@asyncio_only
async def test_what_a_server_asks_to_wait_comes_before_the_drawn_wait_up_to_a_bound(clock: VirtualClock) -> None:
    busy = Failure(RateLimitError("slow down", retry_after=7.0), passing=True)
    patient = Failure(RateLimitError("slow down", retry_after=9_999.0), passing=True)
    dialler = Dialler(clock, busy, patient)
    with pytest.raises(RateLimitError):
        await client_with(dialler, max_retries=2, min_wait=0.5, max_wait=20.0).__aenter__()
    assert 7.0 <= dialler.at[1] <= 7.5
    assert 20.0 <= dialler.at[2] - dialler.at[1] <= 21.0


@asyncio_only
async def test_what_will_not_pass_is_tried_once(clock: VirtualClock) -> None:
    dialler = Dialler(clock, Failure(PermissionError("no"), passing=False))
    with pytest.raises(PermissionError):
        await client_with(dialler).__aenter__()
    assert [0.0] == dialler.at


@asyncio_only
async def test_leaving_while_it_waits_leaves_at_once(clock: VirtualClock) -> None:
    dialler = Dialler(clock, refused())
    client = client_with(dialler, min_wait=50.0, max_wait=50.0)
    entering = asyncio.create_task(client.__aenter__())
    while not dialler.at:  # noqa: ASYNC110  # its first attempt is what is waited for
        await asyncio.sleep(0)
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    assert 0.0 == clock.now()
    assert f"<WebSocketClient {URL}, closed>" == repr(client)


class Wire:
    """Takes the place of the library's connection: what a test puts in is received, what is sent is kept."""

    def __init__(self) -> None:
        self.sent: list[object] = []
        self._come: asyncio.Queue[str | None] = asyncio.Queue()
        self.transport = self
        self.aborted_at: float | None = None
        self.clock: VirtualClock

    def put(self, message: bytes) -> None:
        self._come.put_nowait(message.decode())

    async def recv(self) -> str:
        message = await self._come.get()
        if message is None:
            raise ConnectionClosedError(None, None)
        return message

    async def send(self, message: bytes, *, text: bool) -> None:
        self.sent.append(read_client(message))

    async def close(self) -> None:
        self._come.put_nowait(None)

    def abort(self) -> None:
        self.aborted_at = self.clock.now()
        self._come.put_nowait(None)


def line_of(wire: Wire, clock: VirtualClock) -> Line:
    wire.clock = clock
    patience = Patience(silence=20.0, answer=5.0, hello=10.0, close=5.0)
    return Line(wire, current_backend(), clock, patience)  # type: ignore[arg-type]  # it has what is asked of one


@asyncio_only
async def test_a_server_that_says_nothing_after_its_handshake_is_dead_after_the_open_timeout(clock: VirtualClock) -> None:
    wire = Wire()
    line = line_of(wire, clock)
    with pytest.raises(Failure) as caught:
        await line.greet()
    assert caught.value.passing
    assert 10.0 == wire.aborted_at == clock.now()
    assert [] == wire.sent
    await line.close()


@asyncio_only
async def test_a_server_that_falls_silent_is_asked_once_and_then_taken_for_dead(clock: VirtualClock) -> None:
    wire = Wire()
    line = line_of(wire, clock)
    wire.put(write(Hello(1, 1_000)))
    await line.greet()
    with pytest.raises(Failure) as caught:
        await line.receive()
    assert [Ping()] == wire.sent
    assert 25.0 == wire.aborted_at
    assert isinstance(caught.value.error, StreamTimeout)
    assert ("wire", 25.0) == (caught.value.error.phase, caught.value.error.seconds)
    await line.close()
    assert 25.0 == clock.now()


@asyncio_only
async def test_any_message_is_a_sign_of_life_and_puts_off_the_question(clock: VirtualClock) -> None:
    wire = Wire()
    line = line_of(wire, clock)
    wire.put(write(Hello(1, 1_000)))
    await line.greet()
    for _ in range(5):
        await clock.sleep(15.0)
        wire.put(write(Hello(1, 1_000)))
        await line.receive()
    assert [] == wire.sent
    await clock.sleep(21.0)
    assert [Ping()] == wire.sent
    wire.put(write(Hello(1, 1_000)))
    await line.receive()
    await clock.sleep(10.0)
    assert wire.aborted_at is None
    await line.close()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"max_retries": -1}, ConfigError),
        ({"max_retries": True}, TypeError),
        ({"max_pending": 0}, ConfigError),
        ({"max_message_bytes": 0}, ConfigError),
        ({"min_wait": 0}, ConfigError),
        ({"min_wait": 5.0, "max_wait": 1.0}, ConfigError),
        ({"max_wait": inf}, ConfigError),
        ({"give_up_after": nan}, ConfigError),
        ({"ping_interval": -1}, ConfigError),
        ({"ping_timeout": True}, TypeError),
        ({"open_timeout": "1"}, TypeError),
        ({"close_timeout": 0}, ConfigError),
        ({"headers": {"a": "b\r\nc: d"}}, ConfigError),
        ({"headers": [("a", "b")]}, TypeError),
    ],
)
def test_arguments_that_cannot_work_are_refused_at_the_call(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        connect(URL, **options)


@pytest.mark.parametrize(
    "url",
    ["http://chat.example", "chat.example", "ws://", "ws://a/#b", "wss://[", "", 7, "ws://a:99999", "ws://a:0", "ws://ü..example"],
)
def test_an_address_that_is_none_is_refused_at_the_call(url: Any) -> None:
    with pytest.raises(TypeError if isinstance(url, int) else ConfigError):
        connect(url)


def test_no_secret_of_the_address_is_shown() -> None:
    assert "<WebSocketClient wss://chat.example/ws, closed>" == repr(connect("wss://me:password@chat.example/ws?token=secret"))
    assert "ws://a/b" == shown("ws://u:p@a/b?c")


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda client: client.send(object()), LocalProtocolError),
        (lambda client: client.send([print]), LocalProtocolError),
        (lambda client: client.send("x", stream=""), ConfigError),
        (lambda client: client.send("x", stream="x" * 201), ConfigError),
        (lambda client: client.send("x", stream=7), TypeError),
        (lambda client: client.send("x", if_running="replace"), ConfigError),
        (lambda client: client.resume("x", after=""), ConfigError),
        (lambda client: client.resume("x", after="x" * 65), ConfigError),
        (lambda client: client.resume("x", after=7), TypeError),
        (lambda client: client.resume(""), ConfigError),
    ],
)
def test_what_cannot_be_asked_for_is_refused_at_the_call(call: Callable[[WebSocketClient], object], error: type[Exception]) -> None:
    with pytest.raises(error):
        call(connect(URL))


@asyncio_only
@pytest.mark.parametrize("name", ["", "x" * 201, None])
async def test_a_cancel_of_a_name_that_cannot_be_is_refused(name: Any) -> None:
    with pytest.raises((ConfigError, TypeError)):
        await connect(URL).cancel(name)


async def test_trio_is_refused_in_words(anyio_backend_name: str) -> None:
    if anyio_backend_name != "trio":
        with pytest.raises(ConfigError, match="not open"):
            await connect(URL).send("x").collect()
        return
    with pytest.raises(ConfigError, match="works on asyncio, and not on trio"):
        await connect(URL).__aenter__()
