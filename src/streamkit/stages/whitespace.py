"""White space around a whole text taken away, while the text is still being written."""

from __future__ import annotations

from typing import final

from streamkit.errors import ConfigError
from streamkit.stages.stage import Stage, not_text

__all__ = ["Strip"]


@final
class Strip(Stage[str, str]):
    """Text without white space at its beginning and its end; that in between waits for what follows it.

    Args:
        chars: The characters to take away; None means white space, as in `str.strip`.
        max_chars: How much white space is held back. A longer run is passed on as soon as it is that long, wherever it
            stands, even at the end; at the beginning all of it goes.

    Memory: `max_chars` characters. Time is linear in the text.

    >>> strip = Strip()
    >>> [*strip.feed(" \\n a ")], [*strip.feed(" b"), *strip.feed(" \\n"), *strip.flush()]
    (['a'], ['  b'])
    """

    state = ("_begun", "_held", "_length", "_passing")

    def __init__(self, chars: str | None = None, max_chars: int = 65_536) -> None:
        """Raises ConfigError if `chars` is empty or `max_chars` below 1, TypeError if they are of other types."""
        if chars is not None and not isinstance(chars, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without types
            raise TypeError(f"chars is a str of the characters to strip, or None, got {chars!r}")
        if chars == "":
            raise ConfigError("chars must not be empty: nothing would be stripped; None means white space")
        if max_chars.__class__ is not int:
            raise TypeError(f"max_chars is a number of characters, got {max_chars!r}")
        if max_chars < 1:
            raise ConfigError(f"max_chars must be at least 1, got {max_chars}")
        self._chars = chars
        self._max = max_chars
        self._begun = False
        self._held: list[str] = []  # the white space that the text ends in so far
        self._length = 0
        self._passing = False  # whether that run is over the bound

    def feed(self, item: str) -> tuple[str, ...]:
        """The text, up to the white space that it may end in."""
        if not isinstance(item, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without types
            raise not_text("strip", item)
        text = item.rstrip(self._chars)
        white = item[len(text) :]
        if text:
            if not self._begun:
                self._begun = True
                text = text.lstrip(self._chars)
            if self._held:
                text = self._with_held(text)
            self._passing = False
        elif not self._begun or not white:
            return ()
        return self._hold(text, white) if white else (text,)

    def _with_held(self, text: str) -> str:
        self._held.append(text)
        text = "".join(self._held)
        self._held.clear()
        self._length = 0
        return text

    def _hold(self, text: str, white: str) -> tuple[str, ...]:
        """White space at the end of the text so far: kept back, unless the run is too long."""
        if self._passing or self._length + len(white) > self._max:
            self._passing = True
            return (text + self._with_held(white),)
        self._held.append(white)
        self._length += len(white)
        # Single characters are dear as list entries: join now and then, at growing distances.
        if len(self._held) > 64 and len(self._held) * 16 > self._length:
            self._held = ["".join(self._held)]
        return (text,) if text else ()

    def flush(self) -> tuple[str, ...]:
        """Nothing: what is held back is what was to go."""
        self._held.clear()
        self._length = 0
        self._begun = self._passing = False
        return ()
