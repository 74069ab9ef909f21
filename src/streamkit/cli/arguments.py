"""What may be typed after `python -m streamkit`."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from streamkit.dialects import registry

__all__ = ["Options", "parser"]

QUESTION = "What happens when a stream is cut off half-way?"
PORT = 8000


@dataclass
class Options(argparse.Namespace):
    """The demo's options, as typed."""

    question: str = QUESTION
    port: int = PORT
    dialect: str = "native"
    once: bool = False


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line.

    >>> parser().parse_args(["demo", "--port", "8123", "--once"]).port
    8123
    """
    top = argparse.ArgumentParser(prog="streamkit-ai", description="Streaming model output, complete or saying why not.")
    top.add_argument("--version", action="version", version=f"streamkit-ai {_version()}")
    commands = top.add_subparsers(required=True, metavar="command")
    demo = commands.add_parser(
        "demo",
        help="the embedded model answers a question over SSE on this machine, and it is read back live",
        description="The embedded model answers over SSE on a loopback port; the answer is read back over HTTP and measured.",
    )
    demo.add_argument("--question", default=QUESTION, help="what to ask; the model knows streamkit's own documentation")
    demo.add_argument("--port", type=_port, default=PORT, help=f"loopback port to serve on, 0 for any (default {PORT})")
    demo.add_argument("--dialect", choices=registry.names(), default="native", help="the wire format between server and reader")
    demo.add_argument("--once", action="store_true", help="end after the answer; so it does without a terminal, too")
    return top


def _port(text: str) -> int:
    try:
        port = int(text)
    except ValueError:
        port = -1
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"a port is a number from 0 to 65535, got {text!r}")
    return port


def _version() -> str:
    try:
        return version("streamkit-ai")
    except PackageNotFoundError:
        return "(not installed)"
