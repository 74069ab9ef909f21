"""A process with a hub of its own on a store that it shares: told what to do line by line, and says what happened.

python hub_worker.py <file> <lease>

{"do": "start", "id": "a", "count": 100, "delay": 0.002}    said: {"started": "a", "joined": false}
                                                            later: {"closed": "a"}, when its source has been closed
              "hold": 50                                    with it: the source waits before that number,
{"do": "go"}                                                until this is told
{"do": "read", "id": "a", "take": 5}                        later: {"read": "a", "text": ..., "token": ..., "end": ...}
{"do": "list"}                                              said: {"list": {"a": "running"}}
{"do": "exit"}                                              the hub is closed, the process ends
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

from streamkit.errors import StreamkitError
from streamkit.events.model import Finish, TextDelta
from streamkit.hub.hub import Hub
from streamkit.hub.stores.sqlite import SqliteStore


def say(**said: object) -> None:
    print(json.dumps(said), flush=True)


async def numbers(id: str, count: int, delay: float, go: asyncio.Event, hold: int | None) -> AsyncIterator[str]:
    try:
        for number in range(count):
            if number == hold:
                await go.wait()
            yield f"{number} "
            await asyncio.sleep(delay)
    finally:
        say(closed=id)


async def start(hub: Hub, go: asyncio.Event, id: str, count: int, delay: float, hold: int | None = None) -> None:
    generation = await hub.start(id, lambda: numbers(id, count, delay, go, hold))
    say(started=id, joined=generation.joined)


async def read(hub: Hub, id: str, take: int | None = None) -> None:
    text: list[str] = []
    token: str | None = None
    end: str | None = None
    try:
        async with hub.entries(id) as items:
            async for entry in items:
                token, event = entry
                if isinstance(event, TextDelta):
                    text.append(event.text)
                elif isinstance(event, Finish):
                    end = event.reason
                if take is not None and len(text) == take:
                    break
    except StreamkitError as error:
        end = type(error).__name__
    say(read=id, text="".join(text), token=token, end=end)


async def main(path: str, lease: float) -> None:
    # Other processes stand still in the middle of a transaction, now and then: they are waited for.
    async with Hub(SqliteStore(path, busy_timeout=120), lease=lease, flush_within=0.005) as hub:
        doing: set[asyncio.Task[Any]] = set()
        go = asyncio.Event()
        say(ready=True)
        lines = await _lines()
        while line := await lines.readline():
            told: dict[str, Any] = json.loads(line)
            match told.pop("do"):
                case "start":
                    doing.add(asyncio.create_task(start(hub, go, **told)))
                case "read":
                    doing.add(asyncio.create_task(read(hub, **told)))
                case "go":
                    go.set()
                case "list":
                    say(list={status.id: status.state for status in await hub.list()})
                case _:
                    break


async def _lines() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2])))
