"""A WSGI application for real servers; run as a script it is served by Werkzeug at the address given."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import streamkit as sk
from streamkit.sinks import wsgi

SECRET = "sk-SECRET /etc/passwd"
NOTES = Path(os.environ["NOTES"])


async def gated() -> AsyncIterator[str]:
    yield "first "
    while not NOTES.with_name("gate").exists():  # noqa: ASYNC110  # another process makes it
        await asyncio.sleep(0.01)
    yield "second"


async def early() -> AsyncIterator[str]:
    raise ValueError(SECRET)
    yield ""


async def late() -> AsyncIterator[str]:
    yield "before "
    raise ValueError(SECRET)


async def endless() -> AsyncIterator[str]:
    """Silent after its first word: only a heartbeat finds out that nobody listens."""
    try:
        yield "first"
        await asyncio.Event().wait()
    finally:
        NOTES.write_text("closed")  # noqa: ASYNC240  # the loop has nothing else to do


APPS: dict[str, Any] = {
    "/gated": wsgi.Response(sk.stream(gated), "text"),
    "/early": wsgi.Response(sk.stream(early), "text"),
    "/late": wsgi.Response(sk.stream(late), "text"),
    "/endless": wsgi.Response(sk.stream(endless), heartbeat=0.05),
}


def application(environ: Any, start_response: Any) -> Iterable[bytes]:
    chunks: Iterable[bytes] = APPS[environ["PATH_INFO"]](environ, start_response)
    return chunks


if __name__ == "__main__":
    from werkzeug.serving import run_simple

    host, _, port = sys.argv[1].partition(":")
    run_simple(host, int(port), application, threaded=True)
