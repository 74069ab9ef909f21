"""Lines of bytes: LF ends a line, and a CR right before it belongs to the line end.

That is the framing of NDJSON and of most line protocols. Lines stay bytes, since a JSON decoder
takes them as they are. A CR elsewhere, U+2028 and the like are part of the line.
"""

from __future__ import annotations

from typing import final

from streamkit.errors import ConfigError, LocalProtocolError, RemoteProtocolError

__all__ = ["Decoder"]


@final
class Decoder:
    """The bytes of one stream, cut anywhere, to its lines without their line ends.

    Args:
        max_line_bytes: The longest line, at least 1, its LF not counted.

    Attributes:
        error: The error that ended decoding, or None.

    Memory: at most two times `max_line_bytes`, the lines returned aside.

    Bad input never costs what came before it. A feed that completes lines and then passes the bound
    returns those lines; the error is in `error` at once, and the next `feed` or `finish` raises it.

    >>> decoder = Decoder()
    >>> decoder.feed(b'{"a": 1}\\r\\n{"a"'), decoder.feed(b": 2}"), decoder.finish()
    ([b'{"a": 1}'], [], [b'{"a": 2}'])
    """

    __slots__ = ("_finished", "_line", "_max", "_offset", "error")

    def __init__(self, *, max_line_bytes: int = 1_048_576) -> None:
        if max_line_bytes.__class__ is not int or max_line_bytes < 1:
            raise ConfigError(f"max_line_bytes must be an int of at least 1, got {max_line_bytes!r}")
        self._max = max_line_bytes
        self._line = bytearray()
        self._offset = 0
        self._finished = False
        self.error: RemoteProtocolError | None = None

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that these bytes complete, empty ones included.

        Raises:
            RemoteProtocolError: a line passed `max_line_bytes`; `offset` is the first byte too many. The decoder stays failed.
            LocalProtocolError: `finish` was called before.
            TypeError: `chunk` is not bytes.
        """
        if self.error is not None:
            raise self.error
        if self._finished:
            raise LocalProtocolError("a finished decoder was fed: each stream needs a Decoder of its own")
        if not isinstance(chunk, (bytes, bytearray, memoryview)):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without types
            raise TypeError(f"feed takes bytes, got {type(chunk).__name__}: pass the body as it came, undecoded")
        held = len(self._line)
        lines = bytes(chunk).split(b"\n")
        if held + len(chunk) > self._max:
            lines = self._bounded(lines)
        self._offset += len(chunk)
        rest = lines.pop()
        if lines and held:
            self._line += lines[0]
            lines[0] = bytes(self._line)
            self._line.clear()
        self._line += rest
        if self.error is not None and not lines:
            raise self.error
        # One search instead of a test per line: most streams have no CR at all.
        return [line.removesuffix(b"\r") for line in lines] if held or 13 in chunk else lines

    def finish(self) -> list[bytes]:
        """End the stream: its last line, if that had no line end.

        Raises:
            RemoteProtocolError: as `feed`, if that has not been raised yet.
        """
        if self.error is not None:
            raise self.error
        self._finished = True
        rest = bytes(self._line)
        self._line.clear()
        return [rest.removesuffix(b"\r")] if rest else []

    def _bounded(self, lines: list[bytes]) -> list[bytes]:
        """The lines before the first that is too long, with nothing behind them; all, if none is."""
        begin = self._offset - len(self._line)
        head = bytes(self._line[:200])
        length = len(self._line)
        for index, line in enumerate(lines):
            length += len(line)
            if length > self._max:
                self.error = RemoteProtocolError(
                    f"a line of more than max_line_bytes={self._max}: if that is right for this source, raise the limit",
                    offset=begin + self._max,
                    excerpt=head + line[:200],
                )
                if not index:
                    self._line.clear()
                return [*lines[:index], b""]
            begin += length + 1
            length, head = 0, b""
        return lines
