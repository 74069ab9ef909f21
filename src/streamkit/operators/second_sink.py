"""`also_to`: a second sink beside the stream, for logs and records."""

from __future__ import annotations

from typing import Any

from streamkit.flow.plan import Same
from streamkit.flow.side_sink import SIDE_ITEMS, OnSinkError, also_to_part
from streamkit.flow.streams import Sink

__all__ = ["also_to"]


def also_to(sink: Sink[Any], *, size: int = SIDE_ITEMS, on_error: OnSinkError = "warn") -> Same:
    """Let a second sink have a copy of what passes, after it was forwarded.

    The sink can neither hold back the stream nor break it. A task of the Run sends it lists of what is there. When it
    lags by more than `size` items it loses the oldest deltas, and events leave a `Gap` in their place.

    Args:
        sink: Anything with `async send(batch)` and `async aclose(error)`. It belongs to one Run at a time.
        size: Most items that wait for it, at least 1.
        on_error: "warn" says once, as a RuntimeWarning, that the sink failed or lags by more control events than it may;
            "ignore" says nothing. Either way it is closed with that error and gets nothing more.

    Yields:
        The items, unchanged and at once; of a list that a source gave in one read, the sink gets all or nothing.

    The sink is closed with None when the stream before it has ended, with its error if it failed, with what ended the Run,
    or with a GeneratorExit if the reader had enough. It has the close timeout to take the rest and to close, after the
    reader has got everything; then it is cut off, with a ResourceWarning.

    Memory: `size` items, and those that the sink is taking.
    Cancellation: the source is closed; the sink gets what was forwarded, and the cancel.
    Raises:
        ConfigError, TypeError: no sink, or a size or word that does not fit, at the call.

    >>> class Log:
    ...     async def send(self, batch):
    ...         print("sent", batch)
    ...     async def aclose(self, error):
    ...         print("closed", error)
    >>> run((stream(["a", "b"]) | also_to(Log())).collect())
    sent ['a', 'b']
    closed None
    ['a', 'b']
    """
    return Same(also_to_part(sink, size, on_error))
