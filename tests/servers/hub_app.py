"""A worker of several that share a hub's store: starts a stream of numbers, and serves it to whoever asks. The file is HUB_FILE."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any

import anyio
from matrix_app import note

from streamkit.hub.hub import Hub
from streamkit.hub.stores.sqlite import SqliteStore
from streamkit.sinks.connections import Connections
from streamkit.sinks.refusals import send_json
from streamkit.sinks.resuming import HubResponse

COUNT = 150
HALF = 75  # at which it goes on when there is a file HUB_GO
# After how many seconds a worker that says nothing is dead: one that stands still for less is not.
LEASE_S = float(os.environ.get("HUB_LEASE", "3"))

connections = Connections(drain=0.5)
hub = Hub(SqliteStore(os.environ.get("HUB_FILE", "unused")), lease=LEASE_S)


async def numbers() -> AsyncIterator[str]:
    go = anyio.Path(os.environ["HUB_GO"])
    for number in range(COUNT):
        while number == HALF and not await go.exists():  # noqa: ASYNC110  # another process makes it
            await anyio.sleep(0.01)
        yield f"{number} "
        await anyio.sleep(0.005)
    note("numbers ended")


async def route(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        async with hub:
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    _, does, name = scope["path"].split("/")
    if does == "start":
        generation = await hub.start(name, numbers)
        await send_json(200, {"joined": generation.joined}, send)
    else:
        await HubResponse(hub, name, heartbeat=None)(scope, receive, send)


app = connections.wrap(route)
