"""How a stream felt: time to first chunk, the gaps between chunks, rates, stalls.

Time is given, never read: `add(event, now)` takes a clock's seconds, so one set of measures serves
a live stream, a recording and a virtual clock. Names follow OpenTelemetry's GenAI conventions
(`gen_ai.client.operation.*`), where they exist.
"""

from __future__ import annotations

from math import exp, log

from streamkit.events.model import DataDelta, ErrorEvent, Finish, ReasoningDelta, TextDelta, ToolCallDelta, Usage

# Gaps fall into buckets that grow by 4 %, from a microsecond up: percentiles within 2 %, and the
# memory of a stream's measures does not grow with the stream.
_GROWTH = log(1.04)
_SMALLEST = 1e-6


class Stats:
    """Measures of one stream, live while it runs.

    Args:
        started: The clock's seconds when the request was made.
        stall: A gap between chunks longer than this many seconds counts as a stall.

    Memory: a histogram of gaps, at most some 500 small integers.

    >>> stats = Stats(started=0.0)
    >>> for at in (0.5, 0.6, 0.8): stats.add(TextDelta("word "), at)
    >>> stats.chunks, stats.time_to_first_chunk, round(stats.gap_max, 3)
    (3, 0.5, 0.2)
    """

    __slots__ = ("_gaps", "chars", "chunks", "ended_as", "first_at", "gap_max", "last_at", "stall", "stalls", "started", "usage")

    def __init__(self, *, started: float, stall: float = 2.0) -> None:
        if stall <= 0:
            raise ValueError(f"stall must be positive seconds, got {stall!r}")
        self.started = started
        self.stall = stall
        self.first_at: float | None = None
        self.last_at: float | None = None
        self.chunks = 0
        self.chars = 0
        self.stalls = 0
        self.gap_max = 0.0
        self.usage: Usage | None = None
        self.ended_as: str | None = None
        self._gaps: dict[int, int] = {}

    def add(self, item: object, now: float) -> None:
        """Count one item that arrived at `now`. Events without content (Start, Ping ...) are not chunks."""
        match item:
            case TextDelta() | ReasoningDelta():
                self.chars += len(item.text)
            case ToolCallDelta():
                self.chars += len(item.delta)
            case str():
                self.chars += len(item)
            case DataDelta():
                self.chars += 0  # bytes of media are not characters, but they are a chunk
            case Usage():
                self.usage = item
                return
            case Finish():
                self.ended_as = item.reason
                return
            case ErrorEvent():
                self.ended_as = item.code
                return
            case _:
                return
        self._tick(now)

    def _tick(self, now: float) -> None:
        last = self.last_at
        self.last_at = now
        self.chunks += 1
        if last is None:
            self.first_at = now
            return
        gap = now - last
        bucket = int(log(gap / _SMALLEST) / _GROWTH) if gap > _SMALLEST else 0
        self._gaps[bucket] = self._gaps.get(bucket, 0) + 1
        if gap > self.gap_max:
            self.gap_max = gap
        if gap > self.stall:
            self.stalls += 1

    @property
    def time_to_first_chunk(self) -> float | None:
        """Seconds from the request to the first content (`gen_ai.client.operation.time_to_first_chunk`)."""
        return None if self.first_at is None else self.first_at - self.started

    @property
    def duration(self) -> float:
        """Seconds from the request to the last content so far (`gen_ai.client.operation.duration`)."""
        return 0.0 if self.last_at is None else self.last_at - self.started

    @property
    def chunks_per_second(self) -> float | None:
        """Chunks per second after the first one; None before the second."""
        return self._rate(self.chunks - 1)

    @property
    def tokens_per_second(self) -> float | None:
        """Output tokens per second after the first chunk, from the provider's usage; None without it."""
        if self.usage is None or self.usage.output_tokens is None:
            return None
        return self._rate(self.usage.output_tokens)

    @property
    def gap_p50(self) -> float | None:
        """The median gap between chunks, in seconds, within 2 %."""
        return self.percentile(0.50)

    @property
    def gap_p95(self) -> float | None:
        """The gap that 95 % of gaps do not exceed, in seconds, within 2 %."""
        return self.percentile(0.95)

    def percentile(self, share: float) -> float | None:
        """The gap that `share` (0 to 1) of all gaps do not exceed; None before the second chunk."""
        if not 0 <= share <= 1:
            raise ValueError(f"share is a fraction from 0 to 1, got {share!r}")
        total = sum(self._gaps.values())
        if not total:
            return None
        seen = bucket = 0
        for bucket in sorted(self._gaps):
            seen += self._gaps[bucket]
            if seen >= share * total:
                break
        return min(_SMALLEST * exp((bucket + 0.5) * _GROWTH), self.gap_max)

    def _rate(self, amount: int) -> float | None:
        if self.first_at is None or self.last_at is None or self.last_at <= self.first_at:
            return None
        return amount / (self.last_at - self.first_at)

    def __str__(self) -> str:
        """One line for a terminal."""
        parts = [f"{self.chunks} chunks"]
        if self.time_to_first_chunk is not None:
            parts.append(f"first after {self.time_to_first_chunk * 1000:.0f} ms")
        if self.chunks_per_second is not None:
            parts.append(f"{self.chunks_per_second:.0f} chunks/s")
        if self.tokens_per_second is not None:
            parts.append(f"{self.tokens_per_second:.0f} tokens/s")
        if self.gap_p95 is not None:
            parts.append(f"gap p95 {self.gap_p95 * 1000:.1f} ms, max {self.gap_max * 1000:.1f} ms")
        if self.stalls:
            parts.append(f"{self.stalls} stalls")
        parts.append(f"ended: {self.ended_as or 'open'}")
        return ", ".join(parts)
