"""What a stream is like while it runs: `measure` fills a `Stats`, `progress` shows it as a line."""

from __future__ import annotations

from typing import IO

from streamkit.events.stats import Stats
from streamkit.flow.measures import measure_part, progress_part
from streamkit.flow.plan import Same

__all__ = ["measure", "progress"]


def measure(stats: Stats) -> Same:
    """Let a `Stats` grow with the stream, for anybody to read at any time.

    Args:
        stats: Its clock starts when the run first asks its source, on the clock in place. Items of one read count as
            having arrived together, when they arrived: a slow consumer does not show in the gaps.

    Yields:
        The items, unchanged.

    When the stream ends, `stats.ended_as` says how, and `stats.usage` is what was counted: the provider's tokens, not
    final where the answer was cut or left, or an estimate. A stats serves one run at a time; a next run begins it anew.

    Memory: that of the stats.
    Cancellation: the stats say "cancelled", or "left" for a reader who had enough; the source is closed.
    Raises:
        TypeError: not a `Stats`, at the call.

    >>> stats = Stats()
    >>> run((stream(["One. ", "Two."]) | measure(stats)).collect())
    ['One. ', 'Two.']
    >>> stats.chunks, stats.ended_as, stats.usage.output_tokens, stats.usage.estimated
    (2, 'done', 3, True)
    """
    return Same(measure_part(stats))


def progress(*, file: IO[str] | None = None, label: str | None = None, every: float = 0.1) -> Same:
    """Show the stream's measures as a line that grows, and at the end as a summary.

    Args:
        file: Where to, by default `sys.stderr`. On a terminal the line is drawn again and again (by rich, if that is
            installed), over what is printed there meanwhile; anything else gets the summary alone.
        label: What stands before it; control characters are taken out.
        every: Seconds between two drawings.

    Yields:
        The items, unchanged.

    It is drawn by the event loop's timer, so a stalled stream shows that time goes on; there is no thread. A file that
    cannot be written is left alone, and the stream goes on.

    Memory: that of a `Stats`.
    Cancellation: the line is ended as it is, the cursor restored; the source is closed.
    Raises:
        ConfigError, TypeError: `every` is not positive seconds, at the call.

    >>> import sys
    >>> run((stream(["One. ", "Two."]) | progress(file=sys.stdout, label="demo")).run())  # doctest: +ELLIPSIS
    demo: 2 chunks, first after ...
    """
    return Same(progress_part(file, label, every))
