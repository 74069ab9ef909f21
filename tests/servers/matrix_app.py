"""What every server of the matrix serves, and what it writes down about it: one word per line into the file MATRIX_LOG."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel

import streamkit as sk
from streamkit.sinks import sse
from streamkit.sinks.connections import Connections
from streamkit.sinks.refusals import send_json

DRAIN_S = 0.5
SEND_TIMEOUT_S = float(os.environ.get("MATRIX_SEND_TIMEOUT", "1"))

# No server outlives its tests, also if those are killed. The tests themselves import this, too.
if "MATRIX_LOG" in os.environ:
    leftover = threading.Timer(900.0, os._exit, args=(1,))
    leftover.daemon = True
    leftover.start()

connections = Connections(notice=float(os.environ.get("MATRIX_NOTICE", "0")), drain=DRAIN_S, send_timeout=SEND_TIMEOUT_S)


def note(word: str) -> None:
    with Path(os.environ["MATRIX_LOG"]).open("a") as log:
        log.write(f"{word}\n")


async def short() -> AsyncIterator[str]:
    for number in range(20):
        yield f"{number} "
        await anyio.lowlevel.checkpoint()


async def endless() -> AsyncIterator[str]:
    try:
        while True:
            yield "tick "
            await anyio.sleep(0.02)
    finally:
        note("endless closed")


async def flood() -> AsyncIterator[str]:
    try:
        note("flood opened")
        while True:
            yield "x" * 16_384
            await anyio.lowlevel.checkpoint()
    finally:
        note("flood closed")


async def paragraphs() -> AsyncIterator[str]:
    """Some 100 kB a second, in pieces for which no kernel makes its receive buffer larger."""
    try:
        while True:
            yield "p" * 2000
            await anyio.sleep(0.02)
    finally:
        note("paragraphs closed")


async def waiting() -> AsyncIterator[str]:
    try:
        note("waiting opened")
        await anyio.sleep(600)
        yield "too late"
    finally:
        note("waiting closed")


async def failing_before() -> AsyncIterator[str]:
    raise RuntimeError("sk-SECRET /etc/passwd")
    yield ""


async def failing_behind() -> AsyncIterator[str]:
    yield "kept"
    raise ExceptionGroup("sk-SECRET", [ValueError("/etc/passwd"), sk.OverloadedError("sk-SECRET")])


SOURCES = {
    "/short": short,
    "/endless": endless,
    "/flood": flood,
    "/paragraphs": paragraphs,
    "/waiting": waiting,
    "/failing-before": failing_before,
    "/failing-behind": failing_behind,
}


async def route(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["path"] in SOURCES:
        await sse.Response(SOURCES[scope["path"]])(scope, receive, send)
    elif scope["path"] == "/open":
        await send_json(200, {"open": len(connections), "client": str(scope.get("client")), "pid": os.getpid()}, send)
    else:
        await send_json(404, {"error": "no such path"}, send)


app = connections.wrap(route)
