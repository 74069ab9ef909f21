"""NDJSON: one JSON value per line, bytes in, frames out.

Knows lines (`wire.lines`) and what may stand between values; not what the values mean, nor whether they are JSON.

    between lines ──first byte that is no blank──> in a line ──LF──> frame, and between lines again
          └──blank: stay──────┘

- Blanks between lines (spaces, tabs, CR, LF) are dropped wherever they are cut, and count for no bound: a space
  or an empty line is how writers show that they live (RFC 8259, section 2 lets any of them stand before a value).
- A byte order mark at the start is dropped: RFC 8259, section 8.1 lets a reader do so.
- UTF-8 that is malformed becomes U+FFFD, as in `wire.sse`; no input raises a UnicodeDecodeError.
- The last line needs no line end: `finish` gives it. Whether it is whole, only its JSON can say.
"""

from __future__ import annotations

from typing import Final, final

from streamkit.errors import ConfigError, LocalProtocolError, RemoteProtocolError
from streamkit.wire import lines
from streamkit.wire.sse import Frame

__all__ = ["Decoder"]

_BLANKS: Final = b" \t\r\n"
_BOM: Final = b"\xef\xbb\xbf"


@final
class Decoder:
    """The bytes of one stream, cut anywhere, to its frames: a line each, of the type "message".

    Args:
        max_event_bytes: The longest line, at least 1, its LF and the blanks before its value not counted.

    Attributes:
        error: The error that ended decoding, or None.

    Memory: at most two times `max_event_bytes`, the frames returned aside.

    Bad input never costs what came before it. A feed that completes lines and then passes the bound
    returns those frames; the error is in `error` at once, and the next `feed` or `finish` raises it.

    >>> decoder = Decoder()
    >>> decoder.feed(b' {"a":1}\\r\\n\\n {"a"')
    [Frame(type='message', data='{"a":1}', id='')]
    >>> decoder.feed(b":2}"), decoder.finish()
    ([], [Frame(type='message', data='{"a":2}', id='')])
    """

    __slots__ = ("_aside", "_between", "_finished", "_held", "_lines", "_mark", "_max", "_started", "error")

    def __init__(self, *, max_event_bytes: int = 1_048_576) -> None:
        if max_event_bytes.__class__ is not int or max_event_bytes < 1:
            raise ConfigError(f"max_event_bytes must be an int of at least 1, got {max_event_bytes!r}")
        self._max = max_event_bytes
        self._lines = lines.Decoder(max_line_bytes=max_event_bytes)
        self._held = 0  # Bytes of the line that has not ended.
        self._aside = 0  # Bytes that `_lines` never saw, all before that line: its offsets lack them.
        self._mark = b""  # What may become a byte order mark.
        self._started = False  # Whether there is one has been settled.
        self._between = False  # Between lines, and nothing else to mind: a feed may be read in one go.
        self._finished = False
        self.error: RemoteProtocolError | None = None

    def feed(self, chunk: bytes) -> list[Frame]:
        """The frames that these bytes complete.

        Raises:
            RemoteProtocolError: a line passed `max_event_bytes`; `offset` is the first byte too many. The decoder stays failed.
            LocalProtocolError: `finish` was called before.
            TypeError: `chunk` is not bytes.
        """
        # What is usual is read here: whole lines, each an object with nothing before it (no slower than SSE).
        if self._between and chunk.__class__ is bytes and chunk[-2:] == b"}\n" and len(chunk) <= self._max and 13 not in chunk:
            text = chunk.decode("utf-8", "replace")
            if text[0] == "{":
                whole = text[:-1].split("\n")
                if len(whole) == 1:
                    self._aside += len(chunk)
                    return [Frame("message", whole[0])]
                if len(whole) == text.count("\n{") + 1:
                    self._aside += len(chunk)
                    return [Frame("message", line) for line in whole]
        return self._feed(chunk)

    def finish(self) -> list[Frame]:
        """End the stream: its last line, if that had no line end.

        Raises:
            RemoteProtocolError: as `feed`, if that has not been raised yet.
        """
        if self.error is not None:
            raise self.error
        self._finished = True
        self._between = False
        mark, self._mark = self._mark, b""
        rest = [mark] if mark else self._lines.finish()
        return [Frame("message", line.decode("utf-8", "replace")) for line in rest if line.strip(_BLANKS)]

    def _feed(self, chunk: bytes) -> list[Frame]:
        """Any bytes in any state."""
        if self.error is not None:
            raise self.error
        if self._finished:
            raise LocalProtocolError("a finished decoder was fed: each stream needs a Decoder of its own")
        if not isinstance(chunk, (bytes, bytearray, memoryview)):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without types
            raise TypeError(f"feed takes bytes, got {type(chunk).__name__}: pass the body as it came, undecoded")
        chunk = bytes(chunk)
        if not self._started:
            chunk = self._after_mark(chunk)
        frames: list[Frame] = []
        if self._held + len(chunk) <= self._max:
            self._read(chunk, frames)
        else:
            # Line by line, so that blanks before a value are not counted as part of it, however they are cut.
            at = 0
            while at < len(chunk) and self.error is None:
                end = chunk.find(b"\n", at) + 1 or len(chunk)
                self._read(chunk[at:end], frames)
                at = end
        self._between = self._started and self.error is None and not self._held
        if self.error is not None and not frames:
            raise self.error
        return frames

    def _after_mark(self, chunk: bytes) -> bytes:
        """The bytes without the mark; nothing while it may still become one."""
        head = self._mark + chunk
        if len(head) < len(_BOM) and _BOM.startswith(head):
            self._mark = head
            return b""
        self._mark = b""
        self._started = True
        if head.startswith(_BOM):
            self._aside += len(_BOM)
            return head[len(_BOM) :]
        return head

    def _read(self, chunk: bytes, frames: list[Frame]) -> None:
        """The frames of these bytes, without the blanks before a line that begins in them."""
        if not self._held:
            stripped = chunk.lstrip(_BLANKS)
            self._aside += len(chunk) - len(stripped)
            chunk = stripped
        if not chunk:
            return
        end = chunk.rfind(b"\n") + 1
        blanks = 0
        if end:
            begun = chunk[end:].lstrip(_BLANKS)
            blanks = len(chunk) - end - len(begun)
            if blanks:
                chunk = chunk[:end] + begun
        try:
            whole = self._lines.feed(chunk)
        except RemoteProtocolError:
            whole = []
        if self._lines.error is not None:
            self.error = self._too_long(self._lines.error)
        self._aside += blanks
        self._held = len(chunk) - end if end else self._held + len(chunk)
        for line in whole:
            # Only what was fed with others has blanks before it, or nothing but them.
            if line[:1] != b"{":
                line = line.lstrip(_BLANKS)
            if line:
                frames.append(Frame("message", line.decode("utf-8", "replace")))

    def _too_long(self, error: RemoteProtocolError) -> RemoteProtocolError:
        return RemoteProtocolError(
            f"a line of more than max_event_bytes={self._max}: if that is right for this source, raise the limit",
            offset=(error.offset or 0) + self._aside,
            excerpt=error.excerpt,
        )
