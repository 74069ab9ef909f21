"""Fragments of HTML for htmx's own SSE extension: text that is added to the page as it comes.

    <div hx-sse:connect="/answer" hx-sse:close="done" hx-swap="beforeend" style="white-space: pre-wrap"></div>

    unnamed message     the text, escaped: htmx swaps it in as HTML
    event: error        the sentence to show, escaped; htmx makes it a DOM event of that name, with the sentence in `detail.data`
    event: done         the last message, whose data says how it ended: `done`, `cancelled`, `error` ...

What a model writes is never markup: `<`, `>`, `&` and both quotes are escaped, wherever the deltas were cut, so the page shows
`<img onerror=...>` as these characters. A fragment of white space alone is not swapped in by htmx, and is held until the next
text.

htmx connects again after every end that is not announced by `hx-sse:close`, and would have the answer made again. So an error is
followed by `done` as well; only `draining` is not, where to connect again is right (a hub's stream then goes on from
its last id).

Only the text of the first choice is told.
"""

from __future__ import annotations

from html import escape
from typing import Final

from streamkit.dialects.outcomes import Outcome, outcome_of_event
from streamkit.dialects.protocol import Dialect, OutFrame
from streamkit.dialects.text import utf8
from streamkit.events import ErrorEvent, Event, TextDelta

__all__ = ["DIALECT", "HTMXEncoder"]


class HTMXEncoder:
    """Writes fragments. See `Encoder` in `streamkit.dialects.protocol` for the contract.

    Args:
        id, model, created: Taken as all encoders take them, and not used.

    Memory: the white space that waits.

    >>> HTMXEncoder().encode(TextDelta("<b>"))[0].data
    b'&lt;b&gt;'
    """

    __slots__ = ("_closed", "_held")

    def __init__(self, *, id: str | None = None, model: str | None = None, created: int = 0) -> None:
        self._held: list[str] = []
        self._closed = False

    def open(self) -> list[OutFrame]:
        """Nothing."""
        return []

    def encode(self, event: Event) -> list[OutFrame]:
        """The text, escaped."""
        if isinstance(event, TextDelta):
            text = event.text
            if event.choice or self._closed:
                return []
            if not text or text.isspace():
                self._held.append(text)
                return []
            if self._held:
                text = "".join([*self._held, text])
                self._held.clear()
            # Most deltas have none of these, and five searches cost half of five replacements.
            if "&" in text or "<" in text or ">" in text or '"' in text or "'" in text:
                text = escape(text)
            return [OutFrame(utf8(text), None, True)]
        if isinstance(event, ErrorEvent):
            return self.close(outcome_of_event(event))
        return []

    def close(self, outcome: Outcome) -> list[OutFrame]:
        """The last message, and what was wrong before it."""
        if self._closed:
            return []
        self._closed = True
        frames: list[OutFrame] = []
        if outcome.failed:
            frames.append(OutFrame(utf8(escape(outcome.message)), "error", True))
        if outcome.ending != "draining":
            frames.append(OutFrame(outcome.ending.encode(), "done"))
        return frames


DIALECT: Final = Dialect("htmx", "sse", encoder=HTMXEncoder)
