"""An application for real servers: streams in every format, whole, failing, and held until somebody lets them go on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs

import anyio

import streamkit as sk
from streamkit.sinks import http, sse
from streamkit.sinks.compression import Compression
from streamkit.sinks.resuming import HubResponse

SECRET = "sk-SECRET /etc/passwd"
PIECES = ["first ", "wörld\n", "\u2028", "😀", " last" * 50]

_gates: dict[str, anyio.Event] = {}


async def answer(kind: str, gate: str | None) -> AsyncIterator[str]:
    for number, piece in enumerate(PIECES):
        if number == 1 and gate is not None:
            await _gates[gate].wait()
        if kind == "failing" and number == len(PIECES) - 1:
            raise ValueError(SECRET)
        yield piece


async def application(scope: Any, receive: Any, send: Any) -> None:
    """/{format}/{whole|failing}?gate=&compress= and /open?gate="""
    if scope["type"] != "http":
        raise NotImplementedError("it has nothing to start")  # an answer that hypercorn on trio wants
    query = {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}
    gate = query.get("gate")
    if gate is not None:
        _gates.setdefault(gate, anyio.Event())
    if scope["path"] == "/open":
        assert gate is not None
        _gates[gate].set()
        await http.Response(["opened"], "text")(scope, receive, send)
        return
    _, format, kind = scope["path"].split("/")
    items: sk.Stream[Any] = sk.stream(answer(kind, gate))
    compress: Any = "compress" in query
    if format == "bytes":
        items = items.map(str.encode)
    if format == "sse":
        await sse.Response(items, heartbeat=None, compress=compress)(scope, receive, send)
    elif format == "hub":
        async with sk.Hub() as hub:
            await hub.start("x", items)
            await Compression(HubResponse(hub, "x"))(scope, receive, send)
    else:
        await http.Response(items, format, compress=compress)(scope, receive, send)


app = application
