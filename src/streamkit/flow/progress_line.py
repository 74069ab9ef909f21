"""One line at the bottom of a terminal, drawn over itself; elsewhere only its last form."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from typing import IO, Any

from streamkit.stages.printable import one_line, printable_text

__all__ = ["Line"]

_NARROW = 20
_LONGEST = 500


class Line:
    """A line that is drawn until it is ended.

    On a terminal rich draws it, the cursor hidden until the end; without rich a carriage return and blanks do. Nothing is
    redirected: what others print on the same terminal shares the line. A file that cannot be written, whatever it raises, is
    not tried again. All text is made one line without commands: the names and codes in it are a provider's.

    Args:
        file: By default `sys.stderr`, as it is when the line is made.
        label: What stands before the text.
    """

    def __init__(self, file: IO[str] | None, label: str | None) -> None:
        self._file = sys.stderr if file is None else file
        self._before = f"{one_line(printable_text(label))}: " if label else ""
        self._drawn = 0
        self._live: Any = None
        self._broken = False
        try:
            self.live = self._file.isatty()
        except Exception:  # closed, no more than a `write`, or no file at all: a program may run without stderr
            self.live = False

    def draw(self, text: str) -> bool:
        """Show this; whether drawing again makes sense."""
        return self._try(self._draw, text)

    def end(self, text: str) -> None:
        """Show this for good, and leave the terminal as it was."""
        self._try(self._end, text)

    def _try(self, write: Any, text: str) -> bool:
        if not self._broken:
            try:
                write(f"{self._before}{one_line(printable_text(text), _LONGEST)}")
            except Exception:  # from a timer of the event loop it would have nowhere to go, on trio it would end the program
                self._broken = True
        return not self._broken

    def _draw(self, text: str) -> None:
        if self._live is None and not self._drawn and find_spec("rich") is not None:
            self._live = _rich_live(self._file)
        if self._live is not None:
            self._live.update(_rich_text(text), refresh=True)
            self._drawn = 1
            return
        text = text[: self._width() - 1]
        self._file.write(f"\r{text}{' ' * (self._drawn - len(text))}")
        self._drawn = len(text)
        self._file.flush()

    def _end(self, text: str) -> None:
        if self._live is not None:
            live, self._live = self._live, None
            try:
                live.update(_rich_text(text, whole=True), refresh=True)
            finally:
                live.stop()
            return
        if self._drawn:
            self._file.write(f"\r{' ' * self._drawn}\r")
        self._file.write(f"{text}\n")
        self._file.flush()

    def _width(self) -> int:
        try:
            return max(os.get_terminal_size(self._file.fileno()).columns, _NARROW)
        except (OSError, ValueError, AttributeError):
            return 80


def _rich_live(file: IO[str]) -> Any:
    from rich.console import Console
    from rich.live import Live

    # Without its own refresh there is no thread: the stream's timer draws. And it would take all that is printed to stdout,
    # in a pipe too, into its own file.
    live = Live(console=Console(file=file), auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
    live.start()
    return live


def _rich_text(text: str, *, whole: bool = False) -> Any:
    from rich.text import Text

    return Text(text) if whole else Text(text, overflow="ellipsis", no_wrap=True)
