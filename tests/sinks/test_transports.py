"""The server's transport behind `send`: where each server has it, what is done with it, and nothing where there is none."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from functools import partial, reduce
from types import SimpleNamespace
from typing import Any

import pytest
import uvloop

from streamkit.sinks import sse
from streamkit.sinks.life.transports import NO_TRANSPORT, transport_behind, transport_beside


class Asyncio:
    """What asyncio's transports can do."""

    def __init__(self, unsent: int = 0) -> None:
        self.unsent = unsent
        self.limit = 65_536
        self.done = list[str]()

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def set_write_buffer_limits(self, high: int) -> None:
        self.limit = high

    def get_extra_info(self, name: str) -> Any:
        return self if name == "socket" else None

    def getsockopt(self, level: int, option: int, size: int, /) -> bytes:
        raise AssertionError(option)

    def setsockopt(self, level: int, option: int, value: bytes) -> None:
        self.done.append("no linger" if (socket.SOL_SOCKET, socket.SO_LINGER) == (level, option) else "another option")

    def abort(self) -> None:
        self.done.append("abort")


class Trio:
    """A socket of trio's."""

    def __init__(self) -> None:
        self.done = list[str]()

    def getsockopt(self, level: int, option: int, size: int, /) -> bytes:
        raise AssertionError(option)

    def shutdown(self, how: int) -> None:
        self.done.append("shut" if how == socket.SHUT_RDWR else "half")
        if len(self.done) > 1:
            raise OSError("it is gone")


class Layer:
    """An object of a server or a framework: its `send` calls the next one's."""

    def __init__(self, send: Any = None, **shown: object) -> None:
        if send is not None:
            self.send = send
        for name, value in shown.items():
            setattr(self, name, value)

    async def app_send(self, message: Any) -> None:
        raise AssertionError(message)

    async def receive(self) -> Any:
        raise AssertionError


def uvicorn(transport: object) -> Any:
    return Layer(transport=transport).app_send


def hypercorn(transport: object) -> Any:
    return Layer(Layer(Layer(writer=SimpleNamespace(transport=transport)).app_send).app_send).app_send


def hypercorn_on_trio(trio_socket: object) -> Any:
    return Layer(Layer(stream=SimpleNamespace(socket=trio_socket)).app_send).app_send


def hypercorn_on_trio_with_tls(trio_socket: object) -> Any:
    return Layer(Layer(stream=SimpleNamespace(transport_stream=SimpleNamespace(socket=trio_socket))).app_send).app_send


def in_a_function(send: Any) -> Any:
    async def send_wrapper(message: Any) -> None:
        await send(message)

    return send_wrapper


def in_a_partial(send: Any) -> Any:
    async def passing(message: Any, send: Any) -> None:
        await send(message)

    return partial(passing, send=send)


def in_an_object(send: Any) -> Any:
    return Layer(send).app_send


def as_it_is(send: Any, channel: Any = None) -> Any:
    return send


def in_five_of_each(send: Any) -> Any:
    layers: list[Callable[[Any], Any]] = [in_a_function, in_a_partial, in_an_object] * 5
    return reduce(lambda inner, layer: layer(inner), layers, send)


LAYERS = [as_it_is, in_a_function, in_a_partial, in_an_object, in_five_of_each]


@pytest.mark.parametrize("layered", LAYERS)
@pytest.mark.parametrize("server", [uvicorn, hypercorn])
def test_asyncios_transport_is_found_and_made_to_wait_and_aborted(
    server: Callable[[object], Any], layered: Callable[[Any], Any]
) -> None:
    transport = Asyncio()
    found = transport_behind(layered(server(transport)))
    assert (True, transport) == (found.found, found.socket)
    found.hold_back()
    assert 4096 == transport.limit
    found.break_off()
    assert ["abort"] == transport.done


@pytest.mark.parametrize("layered", LAYERS)
@pytest.mark.parametrize("server", [hypercorn_on_trio, hypercorn_on_trio_with_tls])
def test_trios_socket_is_found_and_shut_once_or_twice(server: Callable[[object], Any], layered: Callable[[Any], Any]) -> None:
    trio_socket = Trio()
    found = transport_behind(layered(server(trio_socket)))
    assert (True, trio_socket) == (found.found, found.socket)
    found.hold_back()
    found.break_off_if_stuck()
    assert [] == trio_socket.done
    found.break_off()
    found.break_off()  # it is gone by then
    assert ["shut", "shut"] == trio_socket.done


def test_only_what_is_stuck_is_broken_off_if_it_is_stuck() -> None:
    idle, stuck = Asyncio(), Asyncio(unsent=1)
    transport_behind(uvicorn(idle)).break_off_if_stuck()
    transport_behind(uvicorn(stuck)).break_off_if_stuck()
    assert ([], ["abort"]) == (idle.done, stuck.done)


def test_a_reset_has_no_linger_and_comes_also_where_the_socket_is_gone() -> None:
    there, gone = Asyncio(), Asyncio()
    transport_behind(uvicorn(there)).reset()
    assert ["no linger", "abort"] == there.done

    def fails(level: int, option: int, value: bytes) -> None:
        raise OSError("it is gone")

    gone.setsockopt = fails  # type: ignore[method-assign]
    transport_behind(uvicorn(gone)).reset()
    assert ["abort"] == gone.done


class Uvicorn:
    """An ASGI server whose client's transport is a real one."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.sent = list[object]()

    async def receive(self) -> Any:
        await asyncio.Event().wait()

    async def send(self, message: Any) -> None:
        self.sent.append(message["type"])


async def behind_who_has_left() -> Uvicorn:
    loop = asyncio.get_running_loop()
    arrived: asyncio.Future[asyncio.Transport] = loop.create_future()
    left = asyncio.Event()

    class Connection(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            arrived.set_result(transport)

        def connection_lost(self, exc: Exception | None) -> None:
            left.set()

    async with asyncio.timeout(60), await loop.create_server(Connection, "127.0.0.1", 0) as server:
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        transport = await arrived
        writer.close()
        await left.wait()
        await writer.wait_closed()
        return Uvicorn(transport)


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_client_that_has_left_before_its_response_begins_is_no_failure_of_the_response(
    loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def main() -> None:
        server = await behind_who_has_left()
        async with asyncio.timeout(60):
            await sse.Response(["a"])({"type": "http", "method": "GET"}, server.receive, server.send)
        transport_behind(server.send).reset()
        assert ["http.response.start", "http.response.body", "http.response.body"] == server.sent

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())


async def into_a_channel(message: Any) -> None:
    raise AssertionError(message)


def round_and_round() -> Any:
    layer = Layer()
    layer.send = layer.app_send
    return layer.app_send


@pytest.mark.parametrize(
    "send",
    [
        into_a_channel,
        Layer().app_send,
        round_and_round(),
        uvicorn(None),
        uvicorn("a string, and no transport"),
        partial(as_it_is, channel=uvicorn(Asyncio())),
    ],
)
def test_where_a_server_shows_nothing_nothing_is_found_and_nothing_happens(send: Any) -> None:
    found = transport_behind(send)
    assert found is NO_TRANSPORT
    assert (False, None) == (found.found, found.socket)
    for action in (found.hold_back, found.break_off, found.break_off_if_stuck, found.reset):
        action()


class Request:
    """As Starlette's: it has both callables, and a `receive` of its own."""

    def __init__(self, receive: Any, send: Any) -> None:
        self._receive = receive
        self._send = send

    async def wrapped_receive(self) -> Any:
        raise AssertionError


def handed_to_another_task(receive: Any, send: Any) -> Any:
    """The `receive` behind such a middleware; its `send` leads nowhere."""
    wrapped_receive = Request(receive, send).wrapped_receive

    async def receive_or_disconnect() -> Any:
        return await wrapped_receive()

    return receive_or_disconnect


def test_beside_a_receive_is_the_transport_of_the_request_that_it_comes_from() -> None:
    transport, server = Asyncio(), Layer()
    once = handed_to_another_task(server.receive, uvicorn(transport))
    twice = handed_to_another_task(once, into_a_channel)
    assert [transport, transport] == [transport_beside(once).socket, transport_beside(twice).socket]


def test_beside_a_receive_that_is_the_servers_own_is_nothing() -> None:
    assert NO_TRANSPORT is transport_beside(Layer(transport=Asyncio()).receive)
