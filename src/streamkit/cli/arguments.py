"""What may be typed after `python -m streamkit`."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from streamkit.dialects import registry

__all__ = ["Options", "RecordOptions", "ReplayOptions", "ServeOptions", "parser"]

QUESTION = "What happens when a stream is cut off half-way?"
PORT = 8000


@dataclass
class Options(argparse.Namespace):
    """The demo's options, as typed."""

    command: str = "demo"
    question: str = QUESTION
    port: int = PORT
    dialect: str = "native"
    once: bool = False


@dataclass
class RecordOptions(argparse.Namespace):
    """Those of `record`."""

    command: str = "record"
    url: str = ""
    out: str = ""
    json: str | None = None
    header: list[str] | None = None
    method: str | None = None
    dialect: str | None = None


@dataclass
class ReplayOptions(argparse.Namespace):
    """Those of `replay`."""

    command: str = "replay"
    file: str = ""
    speed: float | None = 1.0
    text: bool = False
    serve: bool = False
    port: int = PORT
    dialect: str | None = None


@dataclass
class ServeOptions(argparse.Namespace):
    """Those of `serve`."""

    command: str = "serve"
    target: str = ""
    host: str = "127.0.0.1"
    port: int = PORT
    dialect: str = "native"


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line.

    >>> parser().parse_args(["demo", "--port", "8123", "--once"]).port
    8123
    """
    top = argparse.ArgumentParser(prog="streamkit-ai", description="Streaming model output, complete or saying why not.")
    top.add_argument("--version", action="version", version=f"streamkit-ai {_version()}")
    commands = top.add_subparsers(required=True, metavar="command", dest="command")
    demo = commands.add_parser(
        "demo",
        help="the embedded model answers a question over SSE on this machine, and it is read back live",
        description="The embedded model answers over SSE on a loopback port; the answer is read back over HTTP and measured.",
    )
    demo.add_argument("--question", default=QUESTION, help="what to ask; the model knows streamkit's own documentation")
    demo.add_argument("--port", type=_port, default=PORT, help=f"loopback port to serve on, 0 for any (default {PORT})")
    demo.add_argument("--dialect", choices=registry.names(), default="native", help="the wire format between server and reader")
    demo.add_argument("--once", action="store_true", help="end after the answer; so it does without a terminal, too")
    serve = commands.add_parser(
        "serve",
        help="a function of yours that makes a stream, on every protocol, for a quick start",
        description="Serve a function that makes a stream from a prompt: SSE, NDJSON, WebSocket and the routes of a chat.",
    )
    serve.add_argument("target", metavar="MODULE:FUNCTION", help="a function of one prompt, or of nothing; or a model")
    serve.add_argument("--host", default="127.0.0.1", help="the address to serve on; this machine alone unless told")
    serve.add_argument("--port", type=_port, default=PORT, help=f"the port to serve on, 0 for any (default {PORT})")
    serve.add_argument("--dialect", choices=registry.names(), default="native", help="the vocabulary of /sse and /chat")
    _add_record(
        commands.add_parser(
            "record",
            help="ask an address once and keep the streamed answer, chunk by chunk, with its times",
            description="Ask an address once, show the answer, and keep it as it was cut and timed. Keys in the answer are masked; "
            "nothing of the request is kept.",
        )
    )
    _add_replay(
        commands.add_parser(
            "replay",
            help="give a recording back, cut and timed alike: here, or as a server for real clients",
            description="Give a recording back, cut and timed alike: on this terminal, or as a server on this machine.",
        )
    )
    return top


def _add_record(record: argparse.ArgumentParser) -> None:
    record.add_argument("url", metavar="URL")
    record.add_argument("--out", required=True, metavar="FILE", help="where the recording goes; written anew")
    record.add_argument("--json", metavar="BODY", help="what to send, or @FILE for the contents of a file")
    record.add_argument("--header", action="append", metavar="'NAME: VALUE'", help="a header to send; may be given again")
    record.add_argument("--method", help="the method, by default POST with --json and GET without")
    record.add_argument("--dialect", choices=registry.names(), help="the wire format, to show the text and not the bytes")


def _add_replay(replay: argparse.ArgumentParser) -> None:
    replay.add_argument("file", metavar="FILE")
    replay.add_argument("--speed", type=_speed, default=1.0, help="2 is twice as fast, inf all at once (default 1)")
    replay.add_argument("--text", action="store_true", help="show the text alone")
    replay.add_argument("--serve", action="store_true", help="answer every request on a loopback port with the recording")
    replay.add_argument("--port", type=_port, default=PORT, help=f"the port to serve on, 0 for any (default {PORT})")
    replay.add_argument(
        "--dialect", choices=registry.names(), help="how to read recorded bytes as text, or to serve recorded events"
    )


def _port(text: str) -> int:
    try:
        port = int(text)
    except ValueError:
        port = -1
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"a port is a number from 0 to 65535, got {text!r}")
    return port


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not speed > 0:
        raise argparse.ArgumentTypeError(f"a speed is a number of more than 0, or inf, got {text!r}")
    return speed


def _version() -> str:
    try:
        return version("streamkit-ai")
    except PackageNotFoundError:
        return "(not installed)"
