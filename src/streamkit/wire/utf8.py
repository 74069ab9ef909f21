"""UTF-8 that arrives in pieces: bytes in, text out.

The text of all feeds together is what `bytes.decode("utf-8", "replace")` makes of the whole: one
U+FFFD for each maximal part of a malformed sequence, as the WHATWG Encoding Standard's decoder
does. A byte order mark is a character like others here: whose grammar drops it does so itself.
"""

from __future__ import annotations

from codecs import utf_8_decode
from typing import final

__all__ = ["Decoder"]


@final
class Decoder:
    """The bytes of one text, cut anywhere, to its characters.

    Memory: at most three bytes, those of a character that has not ended.

    >>> decoder = Decoder()
    >>> decoder.feed(b"caf\\xc3"), decoder.feed(b"\\xa9"), decoder.flush()
    ('caf', 'é', '')
    """

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = b""

    @property
    def pending(self) -> int:
        """How many bytes wait for the rest of their character, 0 to 3."""
        return len(self._held)

    def feed(self, chunk: bytes) -> str:
        """The characters that these bytes complete. Malformed input is replaced and never raises."""
        if self._held:
            chunk = self._held + chunk
        text, used = utf_8_decode(chunk, "replace", False)
        self._held = b"" if used == len(chunk) else chunk[used:]
        return text

    def flush(self) -> str:
        """What is held at the end: one U+FFFD for a character that was cut off, else nothing."""
        text = self._held.decode("utf-8", "replace")
        self._held = b""
        return text
