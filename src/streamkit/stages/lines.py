"""Lines of text, whoever wrote them: LF, CRLF and a lone CR all end a line, and nothing else does.

U+2028, U+2029, U+0085, VT, FF and the separators U+001C to U+001E are text, unlike in
`str.splitlines`: a model writes them inside lines, and JSON allows them there.

A CR ends its line at once, even as the last character of a chunk: whether an LF follows or not, the
line is the same. An LF that then comes first is the other half and is swallowed. So no line ever
waits for the next chunk. With `keep_ends` the end itself is part of the output and does depend on
what follows, so there a CR at the end of a chunk waits for one character more.

Bytes have lines of their own: `streamkit.wire.lines`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import final

from streamkit.errors import ConfigError, RemoteProtocolError
from streamkit.stages.stage import Stage, not_text

__all__ = ["Lines"]

_END = re.compile(r"\r\n?|\n")


@final
class Lines(Stage[str, str]):
    """Chunks of text, cut anywhere, to lines.

    Args:
        keep_ends: Leave each line its end as it was, so that the lines join back to the text.
        max_chars: The longest line in characters, its end not counted.

    The last line needs no end; after a final line end there is no empty line more.

    A line above the bound is a RemoteProtocolError, raised when its first character too many arrives
    and behind all lines before it. The stage stays failed: each further call raises the error again, `abort` gives nothing.

    Memory: at most two times `max_chars`, the chunk aside. Time is linear in the text.

    >>> lines = Lines()
    >>> [*lines.feed("a\\r\\nb\\r")], [*lines.feed("\\nc")], [*lines.flush()]
    (['a', 'b'], [], ['c'])
    """

    state = ("_parts", "_length", "_after_cr", "_too_long_one")

    def __init__(self, keep_ends: bool = False, max_chars: int = 1_048_576) -> None:
        """Raises ConfigError if `max_chars` is not an int of at least 1."""
        if max_chars.__class__ is not int or max_chars < 1:
            raise ConfigError(f"max_chars must be an int of at least 1, got {max_chars!r}")
        self._keep = bool(keep_ends)
        self._max = max_chars
        self._parts: list[str] = []  # of the line that is open; joined once, or a long line is quadratic
        self._length = 0
        self._after_cr = False
        self._too_long_one: str | None = None  # how it begins

    def feed(self, item: str) -> Iterable[str]:
        """The lines that this text ends, empty ones included.

        Raises:
            RemoteProtocolError: a line passed `max_chars`; the lines before it are given first.
            TypeError: the item is not a str.
        """
        if not isinstance(item, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without types
            raise not_text("lines", item)
        if self._too_long_one is not None:
            raise self._error(self._too_long_one)
        if not item:
            return ()
        if not self._after_cr and "\n" not in item and "\r" not in item and self._length + len(item) <= self._max:
            self._hold(item)
            return ()
        lines = self._cut(item)
        if self._too_long_one is None:
            return lines
        if not lines:
            raise self._error(self._too_long_one)
        return self._failing(lines, self._error(self._too_long_one))

    def flush(self) -> Iterable[str]:
        """The last line, if the text did not end in a line end."""
        if self._too_long_one is not None:
            raise self._error(self._too_long_one)
        return self.abort()

    def abort(self) -> Iterable[str]:
        """As `flush`; nothing after an error of its own."""
        self._after_cr = False
        rest = self._taken()
        return (rest,) if rest else ()

    def _cut(self, item: str) -> list[str]:
        lines: list[str] = []
        begin = 0
        if self._after_cr:
            self._after_cr = False
            begin = item.startswith("\n")
            if self._keep:
                lines.append(self._taken() + item[:begin])
        for end in _END.finditer(item, begin):
            if self._too_long(item, begin, end.start()):
                return lines
            at_edge = end.end() == len(item) and end[0] == "\r"
            if self._keep and at_edge:
                self._hold(item[begin:])
                self._after_cr = True
                return lines
            lines.append(self._taken() + item[begin : end.end() if self._keep else end.start()])
            self._after_cr = at_edge
            begin = end.end()
        if begin < len(item) and not self._too_long(item, begin, len(item)):
            self._hold(item[begin:])
        return lines

    def _too_long(self, item: str, begin: int, end: int) -> bool:
        if self._length + end - begin <= self._max:
            return False
        self._too_long_one = (self._taken()[:200] + item[begin : begin + 200])[:200]
        return True

    def _error(self, excerpt: str) -> RemoteProtocolError:
        return RemoteProtocolError(
            f"a line of more than max_chars={self._max}: if that is right for this source, raise the limit", excerpt=excerpt
        )

    def _hold(self, text: str) -> None:
        self._parts.append(text)
        self._length += len(text)
        # Single characters cost some 60 bytes each as list entries: join now and then, at doubling sizes.
        if len(self._parts) > 64 and len(self._parts) * 16 > self._length:
            self._parts = ["".join(self._parts)]

    def _taken(self) -> str:
        text = "".join(self._parts)
        self._parts.clear()
        self._length = 0
        return text

    @staticmethod
    def _failing(lines: list[str], error: RemoteProtocolError) -> Iterator[str]:
        yield from lines
        raise error
