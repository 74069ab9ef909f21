"""What passed a place in a stream, kept in a file with its times, and given back cut and timed alike.

A recording is JSON, one value a line, version 1. Lines end in LF alone, the text is UTF-8:

    {"streamkit":"recording","version":1,"created":"2026-01-31T12:00:00Z","status":200,"content_type":"text/event-stream"}
    {"t":0.41,"data":"data: {...}\\n\\n"}      bytes that are UTF-8, exactly one chunk
    {"t":0.43,"base64":"4pg="}                bytes that are not, which a chunk cut inside a character is not either
    {"t":0.44,"text":"Hel"}                   a str
    {"t":0.44,"event":{"type":"finish"}}      an event, in the native form
    {"t":0.45,"end":"done"}                   or "left", "cancelled", or "error" with {"error":{"type":...,"message":...}}

`t` is seconds since the stream first asked its source; items of one read have one `t`. Of the response the header has what
is known and no more: never a request, an address or a header with a key. A reader takes fields that it does not know for
nothing, and refuses a version that it does not know. Lines are written as they come: a process that is killed leaves what
it had; a line that was cut, and a missing end, are told by the reader.

Secrets in what is kept are masked (`streamkit.clients.masking`), in the file alone.
"""

from __future__ import annotations

import base64
import json
import os
import warnings
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final, Literal, TypeAlias

import msgspec

from streamkit import errors as tree
from streamkit.clients.bodies import check_body, drop_unopened, open_body
from streamkit.clients.masking import Masker, masked
from streamkit.dialects.json_line import dump
from streamkit.errors import (
    ConfigError,
    RemoteProtocolError,
    SourceError,
    StreamDraining,
    StreamkitError,
    StreamTimeout,
    StreamTruncated,
    scrub,
)
from streamkit.events import EVENT_TYPES, Event, ReasoningDelta, TextDelta, ToolCallDelta
from streamkit.flow.observing import ObservedBoundary
from streamkit.flow.plan import Same, check_seconds, describe
from streamkit.flow.runs import Run
from streamkit.flow.sources import Feed, Source
from streamkit.flow.streams import Stream

__all__ = ["VERSION", "Header", "body", "header_of", "lines_of", "record", "recorded_by", "replay"]

VERSION: Final = 1

FileErrors: TypeAlias = Literal["raise", "warn"]

_MOST_WAITING: Final = 256
_encode: Final = msgspec.json.Encoder().encode
_read_event: Final = msgspec.json.Decoder(Event).decode


# ---- the bytes of a response as a stream


def body(source: object) -> Stream[bytes]:
    """The bytes of a response as they come: what `sk.decode` reads, to be recorded or looked at before that.

    Args:
        source: Whatever `sk.decode` takes: a streamed response of httpx, httpx2, aiohttp or requests, the un-entered
            `client.stream(...)`, an SDK's raw response, any source of bytes, or a callable that makes one of these.

    Yields:
        Chunks, exactly as they were read.

    Memory: one chunk.
    Cancellation: the response is closed, in the task that iterated it. So it is when the reader leaves early.
    Raises:
        TypeError: nothing that could give bytes, at the call. Errors of the source pass untouched.

    >>> run(body([b"data: ", b"x"]).collect())
    [b'data: ', b'x']
    """
    check_body(source)
    value: Any = source
    repeatable = callable(value) and not hasattr(value, "__aiter__") and not hasattr(value, "__iter__")

    def open_feed(run: Run[Any]) -> Feed:
        feed = Feed(None, closers=[(describe(value), lambda: drop_unopened(value))])

        async def start() -> AsyncGenerator[Any]:
            opened = await open_body(value, run, feed.closers, _as_it_is)

            async def told() -> AsyncGenerator[Any]:
                # A response that is read on a thread says what it is when its first chunk is there.
                known = False
                async for chunk in opened.items:
                    if not known:
                        known = True
                        _tell(run, opened.status, opened.media_type)
                    yield chunk
                if not known:
                    _tell(run, opened.status, opened.media_type)

            chunks = told()
            feed.closers.append(("the body", chunks.aclose))
            return chunks

        feed.start = start
        return feed

    return Stream(Source(f"body({describe(value)}{'()' if callable(value) else ''})", open_feed, repeatable=repeatable))


def _tell(run: Run[Any], status: int | None, content_type: str) -> None:
    if status is not None:
        run.about["status"] = status
    if content_type:
        run.about["content_type"] = content_type


def _as_it_is(value: Any) -> Any:
    return value


# ---- writing


def record(path: str | os.PathLike[str], *, errors: FileErrors = "raise") -> Same:
    """Keep what passes in a file, exactly as it was cut, with its times: bytes, strings or events.

    Args:
        path: The file, JSON line by line. Each run of the stream writes it anew, from its first line.
        errors: What a file that cannot be written does to the stream: "raise" ends it behind the items that have come, "warn"
            goes on without recording, with a RuntimeWarning.

    Yields:
        The items, unchanged and not delayed. In the file, keys and tokens are masked by as many stars.

    What was read together is written at once, on the event loop, and flushed: some ten microseconds for a small chunk, more on
    a slow disk. To record a response on the wire: `sk.decode(sk.body(response) | sk.record(path), dialect)`.

    Memory: an item, and what may be the beginning of a secret: at most 96 characters of a line.
    Cancellation: the recording ends with "cancelled", or "left" if the reader had enough; the source is closed.
    Raises:
        OSError: no such folder, or no file that can be written, at the call; a full disk, in the stream.
        TypeError: an item that is neither bytes nor str nor an event, behind it.
        ConfigError: an `errors` that is none, at the call.

    >>> import tempfile, os
    >>> path = os.path.join(tempfile.mkdtemp(), "answer.jsonl")
    >>> run((stream([b"data: 1\\n\\n", b"data: 2\\n\\n"]) | record(path)).collect())
    [b'data: 1\\n\\n', b'data: 2\\n\\n']
    >>> run(replay(path).collect())
    [b'data: 1\\n\\n', b'data: 2\\n\\n']
    """
    return recorded_by(path, errors=errors, about={})


def recorded_by(path: str | os.PathLike[str], *, errors: FileErrors = "raise", about: Mapping[str, object]) -> Same:
    """`record`, with what else is known for the header."""
    if errors not in ("raise", "warn"):
        raise ConfigError(f'errors is "raise" or "warn", got {errors!r:.40}')
    file = Path(path)
    _check_writable(file)
    return Same(ObservedBoundary(f"record({file.name})", lambda run: _Recorder(file, errors, run, about)))


def _check_writable(path: Path) -> None:
    """Raise what opening it would, without touching what is there."""
    if path.exists():
        with path.open("ab"):
            return
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {str(path.parent)!r} to record into")
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(f"the folder {str(path.parent)!r} cannot be written")


class _Entry:
    """One item on its way into the file, which waits for its masked text."""

    __slots__ = ("have", "item", "kind", "masker", "need", "t")

    def __init__(self, t: float, kind: str, item: Any, text: str, masker: Masker | None) -> None:
        self.t = t
        self.kind = kind
        self.item = item
        self.masker = masker
        self.need = len(text)
        self.have = text if masker is None else ""


class _Recorder:
    """A recording being written: an observer."""

    def __init__(self, path: Path, errors: FileErrors, run: Run[Any], about: Mapping[str, object]) -> None:
        self._path = path
        self._warns = errors == "warn"
        self._run = run
        self._about = about
        self._file: IO[bytes] | None = None
        self._started = 0.0
        self._told = False
        self._over = False
        self._maskers: dict[object, Masker] = {}
        self._waiting: deque[_Entry] = deque()

    def begin(self, now: float) -> None:
        """The clock starts; the file begins anew."""
        self._started = now
        try:
            self._file = self._path.open("wb")
        except OSError as error:
            self._failed(error)

    def add(self, item: Any, now: float) -> None:
        """One item."""
        self.add_many([item], now)

    def add_many(self, items: list[Any], now: float) -> None:
        """The items of one read."""
        if self._over or self._file is None:
            return
        try:
            for item in items:
                self._take(item, now - self._started)
            self._write_decided(self._file)
            self._file.flush()
        except (OSError, TypeError, StreamkitError) as error:
            self._failed(error)

    def end(self, error: Exception | None, now: float) -> None:
        """The source ended, or failed."""
        self._finish("done" if error is None else "error", now, error)

    def leave(self, cause: BaseException | None, now: float) -> None:
        """Nobody asks any more."""
        self._finish("left" if cause is None or isinstance(cause, Exception) else "cancelled", now, None)

    def _failed(self, error: Exception) -> None:
        self._over = True
        if self._file is not None:
            with suppress(OSError):  # what could not be written before cannot be written now
                self._file.close()
        if not self._warns or isinstance(error, TypeError):
            raise error
        warnings.warn(f"the recording {self._path.name} was given up: {error}", RuntimeWarning, stacklevel=2)

    def _take(self, item: Any, t: float) -> None:
        """Ask the item's masker; what is decided goes to the entries that wait for it, in order."""
        channel: object
        if isinstance(item, bytes | bytearray | memoryview):
            # As Latin-1 each byte is one character, and stays where it is.
            kind, channel, text = "data", "data", bytes(item).decode("latin-1")  # pyright: ignore[reportUnknownArgumentType]
        elif isinstance(item, str):
            kind, channel, text = "text", "text", item
        elif isinstance(item, TextDelta | ReasoningDelta):
            kind, channel, text = "event", (item.type, item.index, item.choice), item.text
        elif isinstance(item, ToolCallDelta):
            kind, channel, text = "event", (item.type, item.id, item.choice), item.delta
        elif isinstance(item, EVENT_TYPES):
            self._waiting.append(_Entry(t, "event", item, "", None))
            return
        else:
            raise TypeError(f"record() keeps bytes, str and events, and got a {type(item).__name__}")
        masker = self._maskers.setdefault(channel, Masker())
        self._waiting.append(_Entry(t, kind, item, text, masker))
        self._give(masker, masker.feed(text))

    def _give(self, masker: Masker, decided: str) -> None:
        for entry in self._waiting:
            if not decided:
                return
            missing = entry.need - len(entry.have)
            if entry.masker is masker and missing:
                entry.have += decided[:missing]
                decided = decided[missing:]

    def _write_decided(self, file: IO[bytes]) -> None:
        waiting = self._waiting
        while waiting:
            head = waiting[0]
            if len(head.have) < head.need:
                if len(waiting) <= _MOST_WAITING or head.masker is None:
                    return
                self._give(head.masker, head.masker.flush())
            waiting.popleft()
            self._write(file, {"t": round(head.t, 6), **_kept(head)})

    def _write(self, file: IO[bytes], line: Mapping[str, object]) -> None:
        if not self._told:
            self._told = True
            created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            header = {"streamkit": "recording", "version": VERSION, "created": created, **self._about, **self._run.about}
            file.write(_line(header))
        file.write(_line(line))

    def _finish(self, how: str, now: float, error: Exception | None) -> None:
        file = self._file
        if file is None or self._over:
            return
        self._over = True
        try:
            with file:
                for masker in self._maskers.values():
                    self._give(masker, masker.flush())
                self._write_decided(file)
                end: dict[str, object] = {"t": round(now - self._started, 6), "end": how}
                if error is not None:
                    end["error"] = _error_fields(error)
                self._write(file, end)
        except (OSError, StreamkitError) as failure:
            self._failed(failure)


def _line(value: Mapping[str, object]) -> bytes:
    try:
        return _encode(value) + b"\n"
    except UnicodeEncodeError:  # half a character, which an escape can say
        return json.dumps(msgspec.to_builtins(value), separators=(",", ":")).encode() + b"\n"


def _kept(entry: _Entry) -> dict[str, object]:
    if entry.kind == "text":
        return {"text": entry.have}
    if entry.kind == "data":
        chunk = entry.have.encode("latin-1")
        try:
            return {"data": chunk.decode()}
        except UnicodeDecodeError:
            return {"base64": base64.b64encode(chunk).decode()}
    event = entry.item
    if not entry.need:
        return {"event": msgspec.Raw(masked(dump(event).decode()).encode())}
    field = "delta" if isinstance(event, ToolCallDelta) else "text"
    same = entry.have == getattr(event, field)
    return {"event": event if same else msgspec.structs.replace(event, **{field: entry.have})}


# ---- errors as lines and back

_OF_SOURCES: Final = ("provider", "code", "request_id", "retryable", "retry_after", "status")
_FIELDS: Final = (*_OF_SOURCES, "phase", "seconds", "last_id", "offset", "excerpt", "size", "events_sent")
_TYPES: Final[Mapping[str, type[StreamkitError]]] = {
    name: kind
    for name in tree.__all__
    if isinstance(kind := getattr(tree, name), type) and issubclass(kind, StreamkitError) and name != "MissingExtra"
}


def _error_fields(error: Exception) -> dict[str, object]:
    fields: dict[str, object] = {"type": type(error).__name__, "message": scrub(str(error))}
    for name in _FIELDS if isinstance(error, StreamkitError) else ():
        value: object = getattr(error, name, None)
        if value is not None:
            fields[name] = scrub(value) if isinstance(value, str) else value
    return fields


def _error_of(fields: Mapping[str, Any]) -> StreamkitError:
    """The error that a line tells of; one that was not ours is a `SourceError` with its name as the code."""
    message, name = str(fields.get("message", "")), str(fields.get("type", ""))
    kind = _TYPES.get(name)
    if kind is not None and issubclass(kind, StreamTimeout):
        return kind(message, phase=fields.get("phase", "idle"), seconds=float(fields.get("seconds", 0.0)))
    if kind is not None and issubclass(kind, StreamDraining):
        return kind(message, last_id=fields.get("last_id"))
    if kind is None or issubclass(kind, SourceError):
        given: dict[str, Any] = {one: fields.get(one) for one in _OF_SOURCES}
        given["code"] = given["code"] or name
        return (kind or SourceError)(message, **given)
    # Others say their fields in the message too, and would say them twice.
    error = kind.__new__(kind)
    Exception.__init__(error, message)
    for one in _FIELDS:
        if one in fields:
            setattr(error, one, fields[one])
    return error


# ---- reading


class Header(msgspec.Struct, frozen=True):
    """The first line of a recording."""

    streamkit: Literal["recording"]
    version: int
    created: str = ""
    status: int | None = None
    content_type: str | None = None
    dialect: str | None = None


class Line(msgspec.Struct, frozen=True):
    """One of the others."""

    t: float
    data: str | None = None
    base64: str | None = None
    text: str | None = None
    event: msgspec.Raw = msgspec.Raw()
    end: str | None = None
    error: dict[str, Any] = {}

    def item(self) -> bytes | str | Event:
        """What was recorded."""
        if self.data is not None:
            return self.data.encode()
        if self.base64 is not None:
            return base64.b64decode(self.base64, validate=True)
        if self.text is not None:
            return self.text
        event: Event = _read_event(self.event)
        return event


_read_header: Final = msgspec.json.Decoder(Header).decode
_read_line: Final = msgspec.json.Decoder(Line).decode


def header_of(path: str | os.PathLike[str]) -> Header:
    """The first line of a recording.

    Raises:
        OSError: no file that can be read.
        ConfigError: it is no recording, or one of a version to come.
    """
    with Path(path).open("rb") as file:
        return _header(path, file)


def _header(path: str | os.PathLike[str], file: IO[bytes]) -> Header:
    try:
        header = _read_header(file.readline(1_000_000))
    except (msgspec.DecodeError, ValueError) as error:
        raise ConfigError(f"{os.fspath(path)} is no recording of streamkit: its first line is not a header ({error})") from None
    if header.version != VERSION:
        raise ConfigError(
            f"{os.fspath(path)} is a recording of version {header.version} and this reads {VERSION}: update streamkit"
        )
    return header


def lines_of(path: str | os.PathLike[str]) -> Iterator[tuple[Line, Any]]:
    """The lines behind the header, each with its item; the end has None. A last line that was cut is no line.

    Raises:
        RemoteProtocolError: a line in the middle that is none.
    """
    with Path(path).open("rb") as file:
        _header(path, file)
        for number, raw in enumerate(file, 2):
            try:
                line, item = _line_of(raw)
                if line.end is not None and not raw.endswith(b"\n"):
                    return
            except (msgspec.DecodeError, ValueError, TypeError, AttributeError, RecursionError) as error:
                if not raw.endswith(b"\n"):
                    return
                raise RemoteProtocolError(f"line {number} of {os.fspath(path)} is no line of a recording ({error})") from None
            yield line, item


def _line_of(raw: bytes) -> tuple[Line, Any]:
    try:
        line = _read_line(raw)
    except msgspec.DecodeError:
        # Half a character, escaped, is text in Python and JSON, and nothing for msgspec's decoder.
        value = json.loads(raw)
        event = msgspec.convert(value.pop("event"), Event) if "event" in value else None
        line = msgspec.convert(value, Line)
        return line, line.item() if event is None and line.end is None else event
    return line, line.item() if line.end is None else None


def replay(path: str | os.PathLike[str], *, speed: float | None = 1.0) -> Stream[Any]:
    """The items of a recording, cut and timed as they were.

    Args:
        path: A file that `record` wrote. It is read anew by each run, a line at a time.
        speed: 2 is twice as fast; None or infinity gives everything at once.

    Yields:
        Bytes, strings or events, on the clock in place; those of one read together. What `sk.body` told of a response goes with
        bytes: `sk.decode(sk.replay(path), dialect)` is as the first time, the status of an error too.

    An end that was "left" or "cancelled" is a plain end.

    Memory: one read.
    Cancellation: the file is closed.
    Raises:
        OSError: no such file, at the call.
        ConfigError: no recording, or a speed that is not more than 0, at the call.
        StreamTruncated: the recording has no end, because its process was killed. For bytes that is a plain end, for whoever
            decodes them to judge.
        RemoteProtocolError: a line that is none.
        The error that the recording ended with: of ours as it was, another as `SourceError` with its name as `code`.

    >>> import tempfile, os
    >>> path = os.path.join(tempfile.mkdtemp(), "answer.jsonl")
    >>> run((stream(["Hel", "lo"]) | record(path)).run())
    >>> run(replay(path, speed=None).join())
    'Hello'
    """
    if speed is not None:
        check_seconds("replay", "speed", speed)
    header = header_of(path)
    pace = 0.0 if speed is None else 1.0 / speed

    def open_feed(run: Run[Any]) -> Feed:
        if header.status is not None:
            run.about["status"] = header.status
        if header.content_type is not None:
            run.about["content_type"] = header.content_type
        reads = _reads(path, pace, run)
        return Feed(reads, shape="lists", closers=[("the recording", reads.aclose)])

    return Stream(Source(f"replay({Path(path).name})", open_feed, repeatable=True))


async def _reads(path: str | os.PathLike[str], pace: float, run: Run[Any]) -> AsyncGenerator[list[Any]]:
    clock = run.clock
    started = clock.now()
    read: list[Any] = []
    at = 0.0
    wire = False
    for line, item in lines_of(path):
        if read and (line.t != at or line.end is not None):
            await _until(started + at * pace, run)
            yield read
            read = []
        at = line.t
        if line.end is None:
            wire = isinstance(item, bytes)
            read.append(item)
            continue
        await _until(started + at * pace, run)
        if line.end == "error":
            raise _error_of(line.error)
        return
    if read:
        await _until(started + at * pace, run)
        yield read
    if not wire:
        raise StreamTruncated(f"the recording {Path(path).name} has no end: its process was killed, or it is still written")


async def _until(when: float, run: Run[Any]) -> None:
    wait = when - run.clock.now()
    if wait > 0:
        await run.clock.sleep(wait)
