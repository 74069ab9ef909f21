"""Server-sent events: bytes in, frames out, and back.

Knows the grammar of the WHATWG HTML standard, section 9.2.6 "Interpreting an event stream", and
nothing of sockets, clocks or providers.

A stream is a byte order mark (at most one, dropped), then lines. A line ends in LF, CR or CRLF. A
line that begins with a colon is a comment; any other is a field; an empty one ends the block:

    at a block's start ──field──> in a block ──empty line──> dispatch, and at a block's start again
            └──────comment, empty line: stay──────┘

- `data` lines add up, `event` names the block, `id` holds from the block's end until it is changed,
  `retry` holds at once. Everything else is ignored.
- A block without data dispatches nothing, though its `id` counts. A block that the end of the
  stream cuts off is dropped.
- A CR ends its line at once and an LF right behind it is swallowed, in whichever feed it comes: an
  event is given out by the very byte that completes it.
- UTF-8 that is malformed becomes U+FFFD; no input raises a UnicodeDecodeError.

The writing half keeps to what every client reads: LF only, one space after the colon, a blank line
after each frame, and never a byte order mark.
"""

from __future__ import annotations

from typing import Final, final

import msgspec

from streamkit.errors import ConfigError, LocalProtocolError, RemoteProtocolError

__all__ = ["MAX_RETRY_MS", "Decoder", "Frame", "comment", "dump_json", "encode", "encode_json", "encode_line"]

MAX_RETRY_MS: Final = 86_400_000
"""The longest `retry` that is written, a day: a larger one is a unit mistaken for another."""

_FIRST_FIELDS: Final = (b"data:", b"event")
_BOM: Final = b"\xef\xbb\xbf"
_RETRY_DIGITS: Final = 15
_REASON_CHARS: Final = 4096
_COLON: Final = 58


@final
class Frame(msgspec.Struct, frozen=True, gc=False):
    """One dispatched event. `id` is the last event id of the stream at that moment, "" if there was none.

    >>> Frame("message", "hello").data
    'hello'
    """

    type: str
    data: str
    id: str = ""


@final
class Decoder:
    """The bytes of one stream, cut anywhere, to its frames.

    Args:
        max_event_bytes: The largest block, at least 1: the bytes of its fields with one for each
            line end, and of the line that is coming in. Comments that have ended do not count.
        last_event_id: The id that a resumed stream goes on from: its frames have it until one brings another.

    Attributes:
        retry: The reconnection time the server asked for, in milliseconds, or None. It is what the
            server said (above 15 digits: 10**15): who reconnects bounds it.
        last_event_id: What a reconnecting client would send as `Last-Event-ID`.
        comments: How many comment lines have come: a sign of life between events.
        error: The error that ended decoding, or None.
        ignored_error: The value of the last field `error`, or "": no field of the grammar, but some servers give
            the reason of a failure in it. At most 4,096 characters.

    Memory: at most two times `max_event_bytes`, the frames returned aside.

    Bad input never costs what came before it. A feed that completes frames and then meets bad bytes
    returns those frames; the error is in `error` at once, and the next `feed` or `finish` raises it.

    >>> decoder = Decoder()
    >>> decoder.feed(b"data: hel")
    []
    >>> decoder.feed(b"lo\\n\\n")
    [Frame(type='message', data='hello', id='')]
    """

    __slots__ = (
        "_data",
        "_finished",
        "_id",
        "_line",
        "_max",
        "_offset",
        "_plain",
        "_size",
        "_skip_lf",
        "_started",
        "_type",
        "comments",
        "error",
        "ignored_error",
        "last_event_id",
        "retry",
    )

    def __init__(self, *, max_event_bytes: int = 1_048_576, last_event_id: str = "") -> None:
        if max_event_bytes.__class__ is not int or max_event_bytes < 1:
            raise ConfigError(f"max_event_bytes must be an int of at least 1, got {max_event_bytes!r}")
        self._max = max_event_bytes
        self.retry: int | None = None
        self.last_event_id = last_event_id
        self.comments = 0
        self.error: RemoteProtocolError | None = None
        self.ignored_error = ""
        self._line = bytearray()  # The line that has not ended.
        self._data = bytearray()  # The open block's data, an LF after each line.
        self._size = 0  # What the open block's ended lines count; 0 at a block's start.
        self._type = ""
        self._id = last_event_id  # Becomes last_event_id at the block's end.
        self._offset = 0  # Bytes fed so far.
        self._skip_lf = False  # The last byte was a CR: an LF now is its other half.
        self._started = False  # Whether there is a byte order mark has been settled.
        self._finished = False
        self._plain = False  # No line of the open block has ended, and nothing else to mind: a feed may be read in one go.

    def feed(self, chunk: bytes) -> list[Frame]:
        """The frames that these bytes complete.

        Raises:
            RemoteProtocolError: a block or line passed `max_event_bytes`; `offset` is the first byte too many. The decoder
                stays failed.
            LocalProtocolError: `finish` was called before.
            TypeError: `chunk` is not bytes.
        """
        # What is usual is read here: whole blocks, or a piece of a line. Searches are for an int: `b"\r" in chunk` costs 6x.
        line = self._line
        if self._plain and chunk.__class__ is bytes and len(line) + len(chunk) <= self._max:
            end = chunk[-2:]
            text = chunk.replace(b"\r\n", b"\n") if end == b"\r\n" == chunk[-4:-2] else chunk
            if text[-2:] == b"\n\n" and 13 not in text:
                self._offset += len(chunk)
                if line:
                    text = bytes(line) + text
                    line.clear()
                if text[:6] == b"data: ":
                    value = text[6:-2].decode("utf-8", "replace")
                    if "\n" not in value:
                        return [Frame("message", value, self.last_event_id)]
                elif text[:7] == b"event: ":
                    name, found, value = text[7:-2].decode("utf-8", "replace").partition("\ndata: ")
                    if found and "\n" not in value and "\n" not in name:
                        return [Frame(name or "message", value, self.last_event_id)]
                return self._blocks(text[:-2].decode("utf-8", "replace"))
            if 10 not in chunk and 13 not in chunk:
                self._offset += len(chunk)
                line += chunk
                return []
        elif chunk.__class__ is bytes and chunk[:5] in _FIRST_FIELDS and not (self._started or line or self._finished):
            # The usual beginning: a field, so no mark. The first answer is waited for most.
            self._started = self._plain = True
            return self.feed(chunk)
        return self._feed(chunk)

    def finish(self) -> int:
        """End the stream: drop the block that was not completed, and say how many bytes it had (0: nothing was lost).

        Raises:
            RemoteProtocolError: as `feed`, if that has not been raised yet.
        """
        if self.error is not None:
            raise self.error
        lost = self._size + len(self._line)
        self._finished = True
        self._drop()
        return lost

    def _feed(self, chunk: bytes) -> list[Frame]:
        """Any bytes in any state: settle the start, make line ends LF, then go by lines and whole blocks."""
        if self.error is not None:
            raise self.error
        if self._finished:
            raise LocalProtocolError("a finished decoder was fed: each stream needs a Decoder of its own")
        if not isinstance(chunk, (bytes, bytearray, memoryview)):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without types
            raise TypeError(f"feed takes bytes, got {type(chunk).__name__}: pass the body as it came, undecoded")
        chunk = bytes(chunk)
        start = self._offset
        self._offset += len(chunk)
        if not self._started:
            chunk, start = self._after_bom(chunk, start)
        if self._skip_lf and chunk:
            self._skip_lf = False
            if chunk[0] == 10:
                chunk, start = chunk[1:], start + 1
        raw = chunk
        if 13 in chunk:
            self._skip_lf = chunk[-1] == 13
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        frames = self._read(chunk, raw, start)
        self._plain = self._started and self.error is None and not (self._size or self._skip_lf)
        if self.error is not None and not frames:
            raise self.error
        return frames

    def _read(self, chunk: bytes, raw: bytes, start: int) -> list[Frame]:
        # Long and plain on purpose: this is the hot loop of large reads (benchmarks/bench_sse.py).
        frames: list[Frame] = []
        line = self._line
        limit = self._max
        position = 0
        end_of_blocks = chunk.rfind(b"\n\n")
        by_lines_until = 0
        while position < len(chunk):
            if by_lines_until <= position <= end_of_blocks and not self._size and not line:
                # No block inside a window of `limit` bytes can pass the limit: read them in one go.
                cut = end_of_blocks if end_of_blocks + 2 - position <= limit else chunk.rfind(b"\n\n", position, position + limit)
                if cut >= 0:
                    frames += self._blocks(chunk[position:cut].decode("utf-8", "replace"))
                    position = cut + 2
                    continue
                # Searched in vain: not again before its end, or many comments would make it quadratic.
                by_lines_until = position + limit
            end = chunk.find(b"\n", position)
            ended = end >= 0
            stop = end if ended else len(chunk)
            length = len(line) + stop - position
            if length and self._size + length + ended > limit:
                begin = start - len(line) if line else start + _raw_index(raw, position)
                self._fail(begin + limit - self._size, bytes(line[:200]) + chunk[position : min(stop, position + 200)])
                return frames
            if not ended:
                line += chunk[position:]
                return frames
            if not length:
                self._dispatch(frames)
            elif line:
                line += chunk[position:end]
                self._take(bytes(line))
                line.clear()
            else:
                self._take(chunk[position:end])
            position = end + 1
        return frames

    def _after_bom(self, chunk: bytes, start: int) -> tuple[bytes, int]:
        """The bytes without the mark and the offset of the first; nothing while it may still become one."""
        held = len(self._line)
        head = bytes(self._line) + chunk
        if len(head) < len(_BOM) and _BOM.startswith(head):
            self._line += chunk
            return b"", start
        self._line.clear()
        self._started = True
        if head.startswith(_BOM):
            return head[len(_BOM) :], start - held + len(_BOM)
        return head, start - held

    def _blocks(self, text: str) -> list[Frame]:
        """The frames of whole blocks: from a block's start up to, not with, the line end and empty line of the last."""
        last_id = self.last_event_id
        # The shape of all blocks is proved at once: no LF is left once the separators are gone. (A join and a
        # search cost a tenth of counting line ends.)
        if text.startswith("data: "):
            values = text[6:].split("\n\ndata: ")
            if "\n" not in "".join(values):
                return [Frame("message", value, last_id) for value in values]
        elif text.startswith("event: "):
            named = [block.partition("\ndata: ") for block in text[7:].split("\n\nevent: ")]
            if all(found for _, found, _ in named) and "\n" not in "".join([name + value for name, _, value in named]):
                return [Frame(name or "message", value, last_id) for name, _, value in named]
        frames: list[Frame] = []
        for block in text.split("\n\n"):
            if block.startswith("data: ") and "\n" not in block:
                frames.append(Frame("message", block[6:], self.last_event_id))
            elif block:
                self._block(block, frames)
        return frames

    def _block(self, block: str, frames: list[Frame]) -> None:
        data: list[str] = []
        for line in block.split("\n"):
            name, _, value = line.partition(":")
            if value.startswith(" "):
                value = value[1:]
            if name == "data":
                data.append(value)
            elif name:
                self._field(name, value)
            elif line:
                self.comments += 1
        self.last_event_id = self._id
        if data:
            frames.append(Frame(self._type or "message", "\n".join(data), self._id))
        self._type = ""

    def _take(self, line: bytes) -> None:
        """One line that ended, and is not empty."""
        if line[0] == _COLON:
            self.comments += 1
            return
        self._size += len(line) + 1
        if line.startswith(b"data:"):
            self._data += line[6:] if line[5:6] == b" " else line[5:]
            self._data += b"\n"
        elif line == b"data":
            self._data += b"\n"
        else:
            name, _, value = line.decode("utf-8", "replace").partition(":")
            self._field(name, value[1:] if value.startswith(" ") else value)

    def _field(self, name: str, value: str) -> None:
        """Any field but data."""
        if name == "event":
            self._type = value
        elif name == "id":
            if "\0" not in value:
                self._id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            # int() refuses more than 4,300 digits and is quadratic below that.
            digits = value.lstrip("0")
            self.retry = int(digits or "0") if len(digits) <= _RETRY_DIGITS else 10**_RETRY_DIGITS
        elif name == "error":
            self.ignored_error = value[:_REASON_CHARS]

    def _dispatch(self, frames: list[Frame]) -> None:
        self.last_event_id = self._id
        self._size = 0
        if self._data:
            del self._data[-1]
            frames.append(Frame(self._type or "message", self._data.decode("utf-8", "replace"), self._id))
            self._data.clear()
        self._type = ""

    def _fail(self, offset: int, excerpt: bytes) -> None:
        self.error = RemoteProtocolError(
            f"an event or line of more than max_event_bytes={self._max}: if that is right for this source, raise the limit",
            offset=offset,
            excerpt=excerpt,
        )
        self._drop()

    def _drop(self) -> None:
        self._line.clear()
        self._data.clear()
        self._size = 0
        self._plain = False


def _raw_index(raw: bytes, index: int) -> int:
    """Where a line begins in the bytes as they came, if it begins at `index` once all line ends are LF."""
    at = index
    while (moved := index + raw.count(b"\r\n", 0, at)) != at:
        at = moved
    return at + 1 if at and raw[at - 1 : at + 1] == b"\r\n" else at


def encode(data: str, *, event: str | None = None, id: str | None = None, retry: int | None = None) -> bytes:
    """One frame, complete with its empty line.

    Each line of `data` (a CR, LF or CRLF begins a new one) is a `data:` line, so that a decoder
    gives the text back with every line end as LF. Empty data is an event with empty data. An empty
    `event` is the default type and not written; an empty `id` is written and resets the id.
    The id stands behind the data: some clients take it as soon as they have read its line, and when
    the connection is torn before the rest has come, they ask for what is behind an event that they never had.

    Args:
        data: The text.
        event: The type; None and "message" are the same to a client.
        id: The event's id, which a client that reconnects will name.
        retry: Milliseconds that a client shall wait before it reconnects, 0 to MAX_RETRY_MS.

    Raises:
        LocalProtocolError: CR, LF or NUL in `event` or `id`, a lone surrogate anywhere, a `retry`
            that is no int in its range. Nothing is altered to make it fit.
        TypeError: `data`, `event` or `id` is not text.

    >>> encode("two\\nlines", event="note", id="7")
    b'event: note\\ndata: two\\ndata: lines\\nid: 7\\n\\n'
    """
    try:
        if "\n" in data or "\r" in data:
            data = data.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\ndata: ")
        if event is None and id is None and retry is None:
            return ("data: " + data + "\n\n").encode()
        return (_head(event, retry) + "data: " + data + _tail(id)).encode()
    except UnicodeEncodeError as error:
        raise _surrogate(error) from None
    except (AttributeError, TypeError) as error:
        # Asked only here: the operations above refuse all but text by themselves, less readably.
        raise TypeError(
            f"data, event and id must be str, got {type(data).__name__}, {type(event).__name__}, {type(id).__name__}: "
            "encode_json writes values, encode_line bytes"
        ) from error


def encode_json(value: object, *, event: str | None = None, id: str | None = None, retry: int | None = None) -> bytes:
    """One frame whose data is `value` as one line of JSON: `dump_json` and `encode` in one step.

    Raises:
        LocalProtocolError: as `encode`, and for a value that JSON cannot say.

    >>> encode_json({"text": "a\\nb"})
    b'data: {"text":"a\\\\nb"}\\n\\n'
    """
    if event is None and id is None and retry is None:
        return b"data: %b\n\n" % dump_json(value)
    return _frame_of(dump_json(value), event, id, retry)


def encode_line(line: bytes, *, event: str | None = None, id: str | None = None, retry: int | None = None) -> bytes:
    """One frame whose data is one line that is UTF-8 already, such as JSON that was encoded once for many readers.

    Raises:
        LocalProtocolError: as `encode`, and for a CR or LF in `line`.

    >>> encode_line(b"[DONE]")
    b'data: [DONE]\\n\\n'
    """
    if 10 in line or 13 in line:
        raise LocalProtocolError("encode_line takes one line and this has a CR or LF: encode takes text of many", excerpt=line)
    if event is None and id is None and retry is None:
        return b"data: %b\n\n" % line
    return _frame_of(line, event, id, retry)


def dump_json(value: object) -> bytes:
    """`value` as JSON on one line, for every line splitter there is: U+2028, U+2029 and U+0085 are escaped as well.

    Takes what msgspec takes: dicts, lists, strings, numbers, structs, dataclasses, dates ... NaN and infinities become null.

    Raises:
        LocalProtocolError: a type or number that JSON cannot say, a lone surrogate, a value inside itself.

    >>> dump_json({"text": "line\\u2028separator"})
    b'{"text":"line\\\\u2028separator"}'
    """
    try:
        body = _to_json(value)
    except UnicodeEncodeError as error:
        raise _surrogate(error) from None
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise LocalProtocolError(f"a value that JSON cannot say ({type(error).__name__}: {error})") from error
    # In JSON these three stand inside strings only, where the escape means the same. The first bytes
    # are looked for first: a search for an int is the cheapest, and most text has neither.
    if not body.isascii() and (0xE2 in body or 0xC2 in body):
        body = body.replace(b"\xe2\x80\xa8", b"\\u2028").replace(b"\xe2\x80\xa9", b"\\u2029").replace(b"\xc2\x85", b"\\u0085")
    # The encoder writes no line ends; a msgspec.Raw may hold some, as white space between tokens.
    if 10 in body or 13 in body:
        body = body.replace(b"\n", b" ").replace(b"\r", b" ")
    return body


def comment(text: str = "hb") -> bytes:
    """A comment line, which clients ignore: a heartbeat.

    One LF and no empty line: some clients make an empty message of a block that holds comments alone.

    Raises:
        LocalProtocolError: CR or LF in `text`, or a lone surrogate.

    >>> comment()
    b': hb\\n'
    """
    if "\n" in text or "\r" in text:
        raise LocalProtocolError("a comment is one line: CR or LF in it", excerpt=text)
    try:
        return f": {text}\n".encode()
    except UnicodeEncodeError as error:
        raise _surrogate(error) from None


_to_json = msgspec.json.Encoder().encode


def _frame_of(line: bytes, event: str | None, id: str | None, retry: int | None) -> bytes:
    try:
        return b"%bdata: %b%b" % (_head(event, retry).encode(), line, _tail(id).encode())
    except UnicodeEncodeError as error:
        raise _surrogate(error) from None


def _head(event: str | None, retry: int | None) -> str:
    """The lines before the data, checked."""
    head = ""
    if event:
        # What is printable holds no control character: one test instead of three.
        if not event.isprintable() and ("\n" in event or "\r" in event or "\0" in event):
            raise _unfit("event", event)
        head = f"event: {event}\n"
    if retry is not None:
        # A bool is an int to isinstance; True would ask for a reconnect every millisecond.
        if retry.__class__ is not int or not 0 <= retry <= MAX_RETRY_MS:
            raise LocalProtocolError(f"retry must be an int of 0 to {MAX_RETRY_MS} milliseconds, got {retry!r:.50}")
        head = f"{head}retry: {retry}\n"
    return head


def _tail(id: str | None) -> str:
    """The end of the data's last line, and what is behind it, checked."""
    if id is None:
        return "\n\n"
    if not id.isprintable() and ("\n" in id or "\r" in id or "\0" in id):
        raise _unfit("id", id)
    return f"\nid: {id}\n\n"


def _unfit(field: str, value: str) -> LocalProtocolError:
    return LocalProtocolError(
        f"CR, LF or NUL in {field}, which would begin another field or void this one", excerpt=repr(value[:100])
    )


def _surrogate(error: UnicodeEncodeError) -> LocalProtocolError:
    unit = ord(error.object[error.start])
    return LocalProtocolError(f"a lone surrogate U+{unit:04X}, half a character: join the deltas before they are text")
