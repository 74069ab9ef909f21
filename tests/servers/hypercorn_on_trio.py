"""hypercorn on trio, which listens to no signals by itself: the recipe of docs/how-to/run-behind-a-server.md."""

from __future__ import annotations

import signal
import sys

import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from matrix_app import app


async def main(fd: str) -> None:
    config = Config()
    config.bind = [f"fd://{fd}"]
    config.graceful_timeout = 60
    config.loglevel = "warning"
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        await serve(app, config, shutdown_trigger=signals.__anext__)  # type: ignore[arg-type]


trio.run(main, sys.argv[1])
