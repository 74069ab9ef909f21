"""What a client is told that is not let in, by the servers that say it in their own way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from event_loops import asyncio_only
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.http11 import Request

from streamkit.sinks.refusals import Refused
from streamkit.sinks.websocket import SocketRequest, WebSocketRoutes

pytestmark = [pytest.mark.anyio, asyncio_only]


def turned_away(request: SocketRequest) -> str:
    raise Refused(429, "Later.", code="é" * 100, headers={"X-Queue": "7", "Content-Type": "text/x-mine"}, retry_after=2.5)


@asynccontextmanager
async def by_websockets(routes: WebSocketRoutes, *, options: bool) -> AsyncIterator[str]:
    given = routes.websockets_options() if options else {}
    async with serve(routes.serve, "127.0.0.1", 0, **given) as server, asyncio.timeout(60):
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


@asynccontextmanager
async def by_aiohttp(routes: WebSocketRoutes) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/", routes.serve)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        async with asyncio.timeout(60):
            yield f"ws://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("server", ["websockets", "aiohttp"])
async def test_a_refused_handshake_says_when_to_try_again_and_what_the_application_adds(server: str) -> None:
    routes = WebSocketRoutes(lambda request: [], allow_missing_origin=True, owner=turned_away)
    where = by_aiohttp(routes) if server == "aiohttp" else by_websockets(routes, options=True)
    async with routes, where as url:
        with pytest.raises(InvalidStatus) as caught:
            await connect(url)
    response = caught.value.response
    assert (429, "3", "7") == (response.status_code, response.headers["Retry-After"], response.headers["X-Queue"])
    assert 1 == len(response.headers.get_all("Content-Type"))


async def test_a_code_that_no_close_frame_has_room_for_is_cut_between_two_characters() -> None:
    routes = WebSocketRoutes(lambda request: [], allow_missing_origin=True, owner=turned_away)
    async with routes, by_websockets(routes, options=False) as url, connect(url) as client:
        with pytest.raises(ConnectionClosed) as caught:
            await client.recv()
    assert caught.value.rcvd is not None
    assert (1008, "é" * 61) == (caught.value.rcvd.code, caught.value.rcvd.reason)


class Gone:
    """A connection of the `websockets` library on uvloop, whose client left with its handshake on the way."""

    def __init__(self) -> None:
        self.transport = self

    def get_extra_info(self, name: str) -> object:
        return None

    @property
    def remote_address(self) -> object:
        raise AttributeError("'NoneType' object has no attribute 'getpeername'")


async def test_a_client_that_has_left_already_is_no_failure_of_the_handshake() -> None:
    seen: list[object] = []

    def whose(request: SocketRequest) -> None:
        seen.append(request.scope["client"])

    async with WebSocketRoutes(lambda request: [], allow_missing_origin=True, owner=whose) as routes:
        assert await routes.websockets_options()["process_request"](Gone(), Request("/", Headers())) is None
    assert [None] == seen


async def test_a_client_that_leaves_while_it_is_decided_on_is_no_failure_of_the_handler() -> None:
    asked, decided, over = asyncio.Event(), asyncio.Event(), asyncio.Event()
    failed: list[BaseException] = []

    async def owner(request: SocketRequest) -> None:
        asked.set()
        await decided.wait()

    async with WebSocketRoutes(lambda request: [], allow_missing_origin=True, owner=owner) as routes:

        async def handler(connection: ServerConnection) -> None:
            try:
                await routes.serve(connection)
            except Exception as error:
                failed.append(error)
            over.set()

        async with serve(handler, "127.0.0.1", 0) as server, asyncio.timeout(60):
            client = await connect(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
            await asked.wait()
            client.transport.abort()
            await next(iter(server.connections)).wait_closed()
            decided.set()
            await over.wait()
    assert [] == failed
