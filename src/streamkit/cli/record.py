"""`record`: ask an address once, keep the answer as it came, and show it meanwhile."""

from __future__ import annotations

import asyncio
import sys
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamkit.cli.arguments import RecordOptions
from streamkit.cli.printing import Printer
from streamkit.clients.decoding import decode
from streamkit.clients.http_client import HttpClient, shown
from streamkit.clients.recording_format import header_of
from streamkit.clients.recordings import body, recorded_by
from streamkit.errors import ConfigError, SourceError, scrub
from streamkit.events import Stats

if TYPE_CHECKING:
    import argparse

__all__ = ["run_record"]


def run_record(options: argparse.Namespace) -> int:
    """Record one answer; the exit code is 1 for a status of 400 or more.

    Raises:
        ConfigError: a header, a body or a file that cannot be.
        SourceError: nobody answered, or the answer broke off.
        MissingExtra: neither httpx2 nor httpx is installed.
    """
    typed = RecordOptions(**vars(options))
    return asyncio.run(_record(typed))


async def _record(options: RecordOptions) -> int:
    content = _content(options.json)
    headers = dict(_header(text) for text in options.header or ())
    if content is not None and not any(name.lower() == "content-type" for name in headers):
        headers["Content-Type"] = "application/json"
    client = HttpClient(None, wanted_by="python -m streamkit record")
    asked = client.open(options.method or ("GET" if content is None else "POST"), options.url, headers=headers, content=content)
    stats = Stats()
    try:
        kept = recorded_by(options.out, about={"dialect": options.dialect} if options.dialect else {})
    except OSError as error:
        raise ConfigError(f"cannot record into {options.out}: {error}") from None
    chunks: Any = body(asked) | kept
    stream = chunks if options.dialect is None else decode(chunks, options.dialect)
    # Where text and line would share a terminal, the line would be drawn over the text: there it is said at the end.
    shared = sys.stdout.isatty()
    stream = stream.measure(stats) if shared else stream.progress(file=sys.stderr)
    printer = Printer(sys.stdout)
    try:
        async with stream as items:
            async for item in items:
                printer.show(item)
    except Exception as error:
        if type(error).__module__.partition(".")[0] in ("httpx", "httpx2", "httpcore", "httpcore2"):
            raise SourceError(f"{shown(options.url)}: {scrub(str(error)) or type(error).__name__}") from None
        raise
    finally:
        printer.end()
        if shared:
            print(stats, file=sys.stderr)
        await client.aclose()
    status = header_of(options.out).status
    print(f"status {status}, recorded in {options.out}", file=sys.stderr)
    return 1 if status is not None and status >= HTTPStatus.BAD_REQUEST else 0


def _content(json: str | None) -> bytes | None:
    """The body that was typed, or that of a file: `@name`."""
    if json is None or not json.startswith("@"):
        return None if json is None else json.encode()
    try:
        return Path(json[1:]).read_bytes()
    except OSError as error:
        raise ConfigError(f"--json {json}: {error.strerror}") from None


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip() or not text.isprintable():
        # Not what was typed: it may be a key.
        raise ConfigError('a header is written as --header "Name: value"')
    return name.strip(), value.strip()
