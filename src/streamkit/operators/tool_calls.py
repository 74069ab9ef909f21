"""Operators for tool calls: read their arguments while they grow, and run the calls while the stream goes on."""

from __future__ import annotations

from typing import Literal

from streamkit.events.model import Event
from streamkit.flow.plan import Op, Step
from streamkit.stages.partial_json import MAX_CHARS, MAX_DEPTH, PartialJson, PartialValue

__all__ = ["partial_json"]


def partial_json(
    *, of: Literal["text", "calls"] | None = None, max_chars: int = MAX_CHARS, max_depth: int = MAX_DEPTH
) -> Op[str | Event, PartialValue]:
    """Read JSON while it arrives: the value so far, growing in place.

    Args:
        of: What is read of events: "text" (the answer is JSON), the arguments of tool "calls", or None for both. Each
            block of text and each call has a value of its own. A stream of str is one text, whatever this says.
        max_chars: Most characters of one value's text.
        max_depth: Most containers inside each other.

    Yields:
        A `PartialValue` for each item that changed a value. `.value` is live: the same dict or list each time, so
        copy it to keep a moment. Strings grow as they arrive; numbers, literals and keys come when they are
        whole. `.complete` is never True for a text that was cut. How the text was cut changes nothing.
        Of a key given twice the last value wins.

    Memory: the open values. Time is linear in the text.
    Cancellation: open values are dropped; the source is closed.
    Raises:
        ConfigError: bounds below 1, at the call.
        RemoteProtocolError: the text is no JSON (RFC 8259, nothing more), is nested deeper than max_depth, or longer
            than max_chars; with the value so far as `.partial`.

    >>> values = stream(['{"city": "Par', 'is", "days": 1', '4}']) | partial_json()
    >>> run(values.map(lambda one: (str(one.value), one.complete)).collect())[::2]
    [("{'city': 'Par'}", False), ("{'city': 'Paris', 'days': 14}", True)]
    """
    PartialJson(of=of, max_chars=max_chars, max_depth=max_depth)  # what cannot work is said here
    return Op(Step("stage", "partial_json()", lambda: PartialJson(of=of, max_chars=max_chars, max_depth=max_depth)))
