"""The event stream algorithm of the WHATWG standard, word by word and byte by byte: slow, bounded by nothing, the oracle."""

from __future__ import annotations

from typing import NamedTuple


class Dispatched(NamedTuple):
    """One event, with how many bytes had to be read for it."""

    type: str
    data: str
    id: str
    read: int


class Reference:
    """What a stream means.

    `limit` is the bound as `Decoder` documents it; `overflow` is the position of the first byte too many.
    """

    def __init__(self, stream: bytes, limit: int | None = None) -> None:
        self.events: list[Dispatched] = []
        self.retry: int | None = None
        self.last_event_id = ""
        self.comments = 0
        self.overflow: int | None = None
        self.unfinished = 0
        self._data = ""
        self._type = ""
        self._id = ""
        self._size = 0
        self._run(stream, limit)

    def _run(self, stream: bytes, limit: int | None) -> None:
        position = 3 if stream.startswith(b"\xef\xbb\xbf") else 0
        line = b""
        after_cr = False
        while position < len(stream):
            byte = stream[position : position + 1]
            position += 1
            if byte == b"\n" and after_cr:
                after_cr = False
                continue
            after_cr = byte == b"\r"
            ends = byte in (b"\r", b"\n")
            grown = len(line) + 1 if not ends or line else 0
            if limit is not None and grown and self._size + grown > limit:
                self.overflow = position - 1
                return
            if not ends:
                line += byte
                continue
            self._line(line, position)
            line = b""
        self.unfinished = self._size + len(line)

    def _line(self, line: bytes, read: int) -> None:
        text = line.decode("utf-8", "replace")
        if not text:
            self._dispatch(read)
            return
        if text.startswith(":"):
            self.comments += 1
            return
        self._size += len(line) + 1
        field, value = text, ""
        if ":" in text:
            field, value = text[: text.index(":")], text[text.index(":") + 1 :]
            if value.startswith(" "):
                value = value[1:]
        if field == "event":
            self._type = value
        elif field == "data":
            self._data += value + "\n"
        elif field == "id" and "\0" not in value:
            self._id = value
        elif field == "retry" and value and all(one in "0123456789" for one in value):
            self.retry = int(value)

    def _dispatch(self, read: int) -> None:
        self.last_event_id = self._id
        if self._data:
            self.events.append(Dispatched(self._type or "message", self._data[:-1], self._id, read))
        self._data = self._type = ""
        self._size = 0
