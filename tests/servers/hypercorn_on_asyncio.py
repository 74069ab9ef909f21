"""hypercorn on asyncio, which gets its signals so that there is time for a notice: as in docs/how-to/run-behind-a-server.md."""

from __future__ import annotations

import asyncio
import signal
import sys

from hypercorn.asyncio import serve
from hypercorn.config import Config
from matrix_app import app


async def main(fd: str) -> None:
    config = Config()
    config.bind = [f"fd://{fd}"]
    config.graceful_timeout = 60
    config.loglevel = "warning"
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: loop.call_soon_threadsafe(stop.set))
    await serve(app, config, shutdown_trigger=stop.wait)  # type: ignore[arg-type]


asyncio.run(main(sys.argv[1]))
