"""What a stream holds, shown on a terminal: text as text, without anything that would command the terminal."""

from __future__ import annotations

from typing import IO

from streamkit.events import TextDelta
from streamkit.stages.printable import Printable
from streamkit.wire.utf8 import Decoder

__all__ = ["Printer"]


class Printer:
    """Prints the text of items as they come: strings, bytes as UTF-8, the text deltas of events."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._printable = Printable()
        self._decoder = Decoder()
        self._at_line_start = True

    def show(self, item: object) -> None:
        """Print one item, if it is text."""
        if isinstance(item, TextDelta):
            self._write(item.text)
        elif isinstance(item, bytes):
            self._write(self._decoder.feed(item))
        elif isinstance(item, str):
            self._write(item)

    def end(self) -> None:
        """The text is over: what follows begins on a line of its own."""
        self._write(self._decoder.flush())
        if not self._at_line_start:
            self._write("\n")

    def _write(self, text: str) -> None:
        shown = "".join(self._printable.feed(text))
        if shown:
            # A terminal that cannot show a character gets a question mark.
            encoding = getattr(self._file, "encoding", None) or "utf-8"
            self._file.write(shown.encode(encoding, "replace").decode(encoding))
            self._file.flush()
            self._at_line_start = shown.endswith("\n")
