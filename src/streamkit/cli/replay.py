"""`replay`: a recording on this terminal, with its times or as text; or as a server for real clients."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from streamkit.cli.arguments import ReplayOptions
from streamkit.cli.printing import Printer
from streamkit.cli.replay_server import serving_recording
from streamkit.clients.decoding import decode
from streamkit.clients.recording_format import header_of, lines_of
from streamkit.clients.recordings import replay
from streamkit.errors import ConfigError
from streamkit.stages.printable import one_line

if TYPE_CHECKING:
    import argparse

__all__ = ["run_replay"]


def run_replay(options: argparse.Namespace) -> int:
    """Replay one recording; the exit code.

    Raises:
        ConfigError: no file, no recording, a port that is taken.
        StreamkitError: with --text, the error that the recording holds.
    """
    typed = ReplayOptions(**vars(options))
    try:
        header = header_of(typed.file)
    except OSError as error:
        raise ConfigError(f"cannot read {typed.file}: {error.strerror}") from None
    dialect = typed.dialect or header.dialect
    if typed.serve:
        asyncio.run(_serve(typed, dialect))
    elif typed.text:
        asyncio.run(_show_text(typed, dialect))
    else:
        asyncio.run(_show_times(typed))
    return 0


async def _show_times(options: ReplayOptions) -> None:
    """One line for each item: when it came, and what it is."""
    clock = asyncio.get_running_loop().time
    began = clock()
    ended = False
    for line, item in lines_of(options.file):
        if options.speed is not None:
            wait = began + line.t / options.speed - clock()
            if wait > 0:
                await asyncio.sleep(wait)
        what = _told(item)
        if line.end is not None:
            ended = True
            failed = f" {line.error.get('type', '')}: {line.error.get('message', '')}" if line.error else ""
            what = one_line(f"end: {line.end}{failed}", 500)
        print(f"{line.t:10.3f}  {what}", flush=True)
    if not ended:
        print("streamkit: the recording has no end: its process was killed, or it is still written", file=sys.stderr)


def _told(item: Any) -> str:
    if isinstance(item, bytes):
        item = item.decode("utf-8", "backslashreplace")
    if isinstance(item, str):
        return one_line(item, 100_000)
    return json.dumps(msgspec.to_builtins(item))  # ASCII: nothing in it commands a terminal


async def _show_text(options: ReplayOptions, dialect: str | None) -> None:
    """The text alone, at its pace."""
    first = next((item for _, item in lines_of(options.file)), None)
    stream = replay(options.file, speed=options.speed)
    if isinstance(first, bytes) and dialect is not None:
        stream = decode(stream, dialect)
    printer = Printer(sys.stdout)
    try:
        async with stream as items:
            async for item in items:
                printer.show(item)
    finally:
        printer.end()


async def _serve(options: ReplayOptions, dialect: str | None) -> None:
    async with serving_recording(Path(options.file), port=options.port, speed=options.speed, dialect=dialect) as url:
        print(f"Serving {Path(options.file).name} at {url} for every path and method.\nStop with Ctrl-C.", flush=True)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            # Ctrl-C is how this is meant to end.
            print("\nStopped; nothing is left running.")
