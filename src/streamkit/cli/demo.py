"""The main job, once, on this machine: a model's answer goes through a pipeline to SSE and is read back over HTTP.

    local model -> tap, coalesce -> sinks.sse -> HTTP on 127.0.0.1 -> sk.decode -> this terminal

Both ends run in one process and one event loop, so that nothing can be left behind.
"""

from __future__ import annotations

import asyncio
import sys
from http import HTTPStatus
from socket import socket
from textwrap import indent
from typing import TYPE_CHECKING
from urllib.parse import quote_plus

from streamkit.cli.arguments import Options
from streamkit.cli.endpoint import listen, make_app, serving
from streamkit.cli.printing import Printer
from streamkit.clients.decoding import decode
from streamkit.clients.models import model
from streamkit.dialects import registry
from streamkit.errors import ConfigError, SourceError
from streamkit.events import Event, Message, Stats
from streamkit.extras import require
from streamkit.flow.streams import Stream
from streamkit.operators.buffering import coalesce
from streamkit.stages.printable import one_line

if TYPE_CHECKING:
    import argparse

__all__ = ["pipeline", "run_demo"]


def run_demo(options: argparse.Namespace) -> int:
    """Run the demo to its end, or until Ctrl-C; the exit code.

    Raises:
        ConfigError: no question, a dialect that is not read over SSE, or no loopback socket.
        MissingExtra: the packages of the extra `demo` are not installed.
    """
    typed = Options(**vars(options))
    if not typed.question.strip():
        raise ConfigError('the question is empty: --question "What is a buffer?"')
    dialect = registry.get(typed.dialect)
    if dialect.decoder is None or dialect.framing != "sse":
        raise ConfigError(f"the demo reads over SSE what it serves, which {typed.dialect!r} is not made for: --dialect native")
    return asyncio.run(_demo(typed, stays=not typed.once and sys.stdin.isatty() and sys.stdout.isatty()))


def pipeline(question: str) -> Stream[Event]:
    """The served stream: the model's events, those that are ready together joined for a slow reader."""
    return model("local").stream(question) | coalesce()


async def _demo(options: Options, *, stays: bool) -> int:
    listener, as_wanted = listen(options.port)
    base = "http://{}:{}".format(*listener.getsockname())
    if not as_wanted:
        print(f"Port {options.port} is not free; serving on another.")
    with listener:
        return await _serve_and_ask(options, listener, base, stays=stays)


async def _serve_and_ask(options: Options, listener: socket, base: str, *, stays: bool) -> int:
    async with serving(make_app(pipeline, dialect=options.dialect), listener) as server:
        print(f"Serving {base}/ask as {options.dialect} over SSE:\n")
        print(indent(pipeline(options.question).explain(), "  "))
        print(f"\nAsking it over HTTP: {one_line(options.question)}\n", flush=True)
        message = await _ask(f"{base}/ask", options)
        if stays:
            again = f"{base}/ask?question={quote_plus('What is a buffer?')}"
            print(f"\nStill serving. Ask again from another terminal, or stop with Ctrl-C:\n  curl -N '{again}'", flush=True)
            try:
                await asyncio.wait([server])
            except asyncio.CancelledError:
                # Ctrl-C is how this is meant to end, and the answer was complete long ago.
                print("\nStopped; nothing is left running.")
    return 0 if message.complete else 1


async def _ask(url: str, options: Options) -> Message:
    require("httpx", extra="demo", wanted_by="the demo")
    import httpx

    stats = Stats(started=asyncio.get_running_loop().time())
    message = Message()
    asked = {"question": options.question}
    # Proxies of the environment are for other machines.
    async with httpx.AsyncClient(trust_env=False, timeout=30) as http, http.stream("GET", url, params=asked) as response:
        if response.status_code != HTTPStatus.OK:
            raise SourceError(f"the demo's own server answered {response.status_code}", status=response.status_code)
        printer = Printer(sys.stdout)
        async with decode(response, options.dialect).measure(stats) as events:
            async for event in events:
                message.add(event)
                printer.show(event)
    printer.end()
    print()
    _report(stats, message)
    return message


def _report(stats: Stats, message: Message) -> None:
    first, rate, usage = stats.time_to_first_chunk, stats.chunks_per_second, message.usage
    tokens = "not told" if usage is None else f"{usage.input_tokens} in, {usage.output_tokens} out"
    gaps = "none" if stats.gap_p95 is None else f"p95 {stats.gap_p95 * 1000:.1f} ms, longest {stats.gap_max * 1000:.1f} ms"
    print(f"  time to first chunk  {'no chunk came' if first is None else f'{first * 1000:.1f} ms'}")
    print(f"  chunks               {stats.chunks}{'' if rate is None else f', {rate:.0f}/s'}")
    print(f"  gaps                 {gaps}")
    print(f"  tokens               {tokens}")
    print(f"  ended                {one_line(stats.ended_as or 'without a finish')}", flush=True)
