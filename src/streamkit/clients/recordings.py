"""What passed a place in a stream, kept in a file with its times, and given back cut and timed alike.

    source --> record --> reader          the items go on at once, as they are
                  |
                  masks --> file          in order, each once no secret can begin in it any more

The file is that of `recording_format`. Secrets are masked in it (`masking`), and nowhere else.
"""

from __future__ import annotations

import base64
import os
import warnings
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final, Literal, TypeAlias

import msgspec

from streamkit.clients.bodies import check_body, drop_unopened, open_body
from streamkit.clients.masking import Masker, masked
from streamkit.clients.recording_format import VERSION, as_line, error_fields, error_of, header_of, lines_of
from streamkit.dialects.json_line import dump
from streamkit.errors import (
    ConfigError,
    StreamkitError,
    StreamTruncated,
)
from streamkit.events import EVENT_TYPES, ReasoningDelta, TextDelta, ToolCallDelta
from streamkit.flow.observing import ObservedBoundary
from streamkit.flow.plan import Same, check_seconds, describe
from streamkit.flow.runs import Run
from streamkit.flow.sources import Feed, Source
from streamkit.flow.streams import Stream

__all__ = ["body", "record", "recorded_by", "replay"]

FileErrors: TypeAlias = Literal["raise", "warn"]

_MOST_WAITING: Final = 256


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
            file.write(as_line(header))
        file.write(as_line(line))

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
                    end["error"] = error_fields(error)
                self._write(file, end)
        except (OSError, StreamkitError) as failure:
            self._failed(failure)


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


# ---- reading


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
            raise error_of(line.error)
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
