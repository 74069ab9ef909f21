"""How a stream felt: time to first chunk, the gaps between chunks, rates, stalls, tokens.

Time is given, never read: `add(event, now)` takes a clock's seconds, so one set of measures serves
a live stream, a recording and a virtual clock. `stream.measure(stats)` does the adding.

Names follow OpenTelemetry's conventions for generative AI (`gen_ai.client.operation.*`, `gen_ai.usage.*`,
https://github.com/open-telemetry/semantic-conventions-genai), where they exist.

Tokens that nobody counted are estimated: a quarter of the UTF-8 bytes of text, reasoning and arguments, rounded up, so
that any text has one at least. Good enough to pace and to budget; such a `Usage` says `estimated=True`.
"""

# A class that is compared by `is` narrows nothing for the checker; the attributes are those of the events' own classes.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from streamkit.errors import scrub
from streamkit.events.model import DataDelta, ErrorEvent, Finish, ReasoningDelta, Start, TextDelta, ToolCallDelta, Usage

__all__ = ["Stats", "Totals", "estimated_tokens", "utf8_size"]

# Gaps are counted in integer nanoseconds, by their highest bit and the five bits below it: percentiles within 2 %, no
# logarithm on the way, and memory that does not grow with the stream. What is under a microsecond is one bucket.
_FINE_BITS: Final = 5
_FINE: Final = 1 << _FINE_BITS
_NS: Final = 1_000_000_000
_LEAST_NS: Final = 1_000

_FINISHES: Final = frozenset({"stop", "length", "tool-calls", "content-filter", "other"})
_UNFAILED: Final = _FINISHES | {"done", "left", "cancelled"}

OTHER: Final = "other"
_LONGEST_LABEL: Final = 100


def estimated_tokens(utf8_bytes: int) -> int:
    """Tokens of so much text, roughly: a quarter of its UTF-8 bytes, rounded up.

    >>> estimated_tokens(0), estimated_tokens(1), estimated_tokens(400)
    (0, 1, 100)
    """
    return -(-utf8_bytes // 4)


def utf8_size(text: str) -> int:
    """The bytes of a text as UTF-8; half a character counts as three.

    >>> utf8_size("ab"), utf8_size("日")
    (2, 3)
    """
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


class Stats:
    """Measures of one stream, live while it runs: read them at any time, from anywhere.

    Put them on a stream with `stream.measure(stats)`. Used for another run they begin anew.

    Args:
        started: The clock's seconds when the request was made; by default the time when the stream first asks its source.
        stall: A gap between chunks longer than this many seconds counts as a stall.

    Attributes:
        started, first_at, last_at: Seconds of the clock: the request, the first and the last content; None before it.
        chunks: Items with content: text, reasoning, arguments, data, and strings or bytes as such.
        chars: Characters of text, reasoning and arguments.
        stalls, gap_max: Gaps longer than `stall`; the longest one, in seconds.
        usage: What the provider counted. A stream that ended without is given an estimate (`estimated=True`); what was
            counted when a stream was cut or left is kept, with `final=False`.
        model: The model that answered, where the stream says it.
        ended_as: None while it runs. Then the finish reason; "done" for a stream without one; the code of what
            failed ("truncated", "timeout", "overloaded" ...); "cancelled"; or "left" by a reader who had enough.

    Memory: a histogram of gaps, some hundred small integers.

    >>> stats = Stats(started=0.0)
    >>> for at in (0.5, 0.6, 0.8): stats.add(TextDelta("word "), at)
    >>> stats.chunks, stats.time_to_first_chunk, round(stats.gap_max, 3)
    (3, 0.5, 0.2)
    """

    __slots__ = (
        "_beyond_ascii",
        "_gaps",
        "_given_start",
        "chars",
        "chunks",
        "ended_as",
        "ended_at",
        "first_at",
        "gap_max",
        "last_at",
        "model",
        "stall",
        "stalls",
        "started",
        "usage",
    )

    def __init__(self, *, started: float | None = None, stall: float = 2.0) -> None:
        if stall <= 0:
            raise ValueError(f"stall must be positive seconds, got {stall!r}")
        self.stall = stall
        self._given_start = started
        self._reset(started)

    def _reset(self, started: float | None) -> None:
        self.started = started
        self.first_at: float | None = None
        self.last_at: float | None = None
        self.ended_at: float | None = None
        self.chunks = 0
        self.chars = 0
        self.stalls = 0
        self.gap_max = 0.0
        self.usage: Usage | None = None
        self.model: str | None = None
        self.ended_as: str | None = None
        self._beyond_ascii = 0  # bytes that UTF-8 needs beyond one per character
        self._gaps: dict[int, int] = {}

    # -- growing

    def begin(self, now: float) -> None:
        """A run asks its source: the clock starts, unless `started` was given for this run."""
        self._reset(now if self._given_start is None else self._given_start)
        self._given_start = None

    def add(self, item: object, now: float) -> None:
        """Count one item that arrived at `now`. Events without content (Start, Ping ...) are not chunks."""
        kind = item.__class__
        if kind is TextDelta or kind is ReasoningDelta:
            text: str = item.text  # type: ignore[attr-defined]  # `kind is` is a third of isinstance on this hot path
        elif kind is ToolCallDelta:
            text = item.delta  # type: ignore[attr-defined]
        elif kind is str:
            text = item  # type: ignore[assignment]
        else:
            if kind is bytes or self._other(item):
                self._tick(now)
            return
        self.chars += len(text)
        if not text.isascii():
            self._beyond_ascii += utf8_size(text) - len(text)
        # `_tick`, written out: a call here is a third of the whole.
        last = self.last_at
        self.last_at = now
        self.chunks += 1
        if last is None:
            self.first_at = now
            return
        gap = now - last
        ns = int(gap * _NS)
        if ns < _LEAST_NS:
            bucket = 0
        else:
            bits = ns.bit_length()
            bucket = bits << 5 | ns >> bits - 6 & 31
        gaps = self._gaps
        gaps[bucket] = gaps.get(bucket, 0) + 1
        if gap > self.gap_max:
            self.gap_max = gap
            if gap > self.stall:
                self.stalls += 1
        elif gap > self.stall:
            self.stalls += 1

    def add_many(self, items: Sequence[object], now: float) -> None:
        """Count the items of one read, which arrived together at `now`."""
        if len(items) == 1:
            self.add(items[0], now)
            return
        chars = chunks = 0
        for item in items:
            kind = item.__class__
            if kind is TextDelta or kind is ReasoningDelta:
                text: str = item.text  # type: ignore[attr-defined]
            elif kind is ToolCallDelta:
                text = item.delta  # type: ignore[attr-defined]
            elif kind is str:
                text = item  # type: ignore[assignment]
            else:
                chunks += kind is bytes or self._other(item)
                continue
            chunks += 1
            chars += len(text)
            if not text.isascii():
                self._beyond_ascii += utf8_size(text) - len(text)
        self.chars += chars
        if chunks:
            self._tick(now)
            if chunks > 1:
                self.chunks += chunks - 1
                self._gaps[0] = self._gaps.get(0, 0) + chunks - 1

    def end(self, ended_as: str, now: float | None = None) -> None:
        """The stream is over; a reason that the stream itself gave stands. Tokens that nobody counted are estimated.

        Args:
            ended_as: "done", "cancelled", "left", or the code of an error.
            now: The clock's seconds.
        """
        self.ended_at = now
        finished = self.ended_as in _FINISHES
        if self.ended_as is None:
            self.ended_as = ended_as
        if self.usage is None:
            if self.chars:
                self.usage = Usage(output_tokens=self._estimate, final=False, estimated=True)
        elif self.usage.final and not finished and self.ended_as != "done":
            self.usage = msgspec.structs.replace(self.usage, final=False)

    def _other(self, item: object) -> bool:
        """What is not the text of an answer; whether it is a chunk."""
        if isinstance(item, bytes | bytearray | memoryview | DataDelta):
            return True
        if isinstance(item, str):  # a subclass
            self.chars += len(item)
            self._beyond_ascii += utf8_size(item) - len(item)
            return True
        if isinstance(item, Usage):
            self.usage = item
        elif isinstance(item, Finish):
            self.ended_as = item.reason
        elif isinstance(item, ErrorEvent):
            self.ended_as = item.code
        elif isinstance(item, Start):
            self.model = item.model or self.model
        return False

    def _tick(self, now: float) -> None:
        last = self.last_at
        self.last_at = now
        self.chunks += 1
        if last is None:
            self.first_at = now
            return
        gap = now - last
        bucket = _bucket(gap)
        self._gaps[bucket] = self._gaps.get(bucket, 0) + 1
        self.gap_max = max(self.gap_max, gap)
        if gap > self.stall:
            self.stalls += 1

    # -- reading

    @property
    def time_to_first_chunk(self) -> float | None:
        """Seconds from the request to the first content (`gen_ai.client.operation.time_to_first_chunk`)."""
        return None if self.first_at is None else self.first_at - (self.first_at if self.started is None else self.started)

    @property
    def duration(self) -> float:
        """Seconds from the request to the last content so far, or to the end (`gen_ai.client.operation.duration`)."""
        until = self.last_at if self.ended_at is None else self.ended_at
        since = self.first_at if self.started is None else self.started
        return 0.0 if until is None or since is None else until - since

    @property
    def chunks_per_second(self) -> float | None:
        """Chunks per second after the first one; None before the second."""
        return self._rate(self.chunks - 1)

    @property
    def tokens(self) -> int | None:
        """Output tokens: the provider's count once it is final, else that or the estimate, whichever is more."""
        counted = None if self.usage is None else self.usage.output_tokens
        if counted is not None and self.usage is not None and self.usage.final:
            return counted
        return max(counted or 0, self._estimate) or counted

    @property
    def tokens_estimated(self) -> bool:
        """Whether `tokens` and `tokens_per_second` stand on the estimate."""
        counted = None if self.usage is None or self.usage.estimated else self.usage.output_tokens
        return self.tokens is not None and self.tokens != counted

    @property
    def tokens_per_second(self) -> float | None:
        """Output tokens per second after the first chunk; `tokens_estimated` says whether the provider counted them."""
        return None if self.tokens is None else self._rate(self.tokens)

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
        gaps = dict(self._gaps)  # another thread may be reading a stream that goes on
        total = sum(gaps.values())
        if not total:
            return None
        seen = bucket = 0
        for bucket in sorted(gaps):
            seen += gaps[bucket]
            if seen >= share * total:
                break
        return min(_middle(bucket), self.gap_max)

    def as_dict(self) -> dict[str, object]:
        """The measures by name, what is unknown left out: OpenTelemetry's names where it has them, seconds and tokens.

        >>> stats = Stats(started=0.0)
        >>> stats.add_many([TextDelta("Hi"), Usage(input_tokens=3, output_tokens=1), Finish()], 0.5)
        >>> stats.as_dict()["gen_ai.usage.output_tokens"], stats.as_dict()["gen_ai.client.operation.time_to_first_chunk"]
        (1, 0.5)
        """
        usage = self.usage or Usage()
        ended = self.ended_as
        named: dict[str, object] = {
            "gen_ai.response.model": self.model,
            "gen_ai.response.finish_reasons": [ended] if ended in _FINISHES else None,
            "error.type": None if ended is None or ended in _UNFAILED else ended,
            "gen_ai.client.operation.duration": self.duration if self.started is not None else None,
            "gen_ai.client.operation.time_to_first_chunk": self.time_to_first_chunk,
            "gen_ai.usage.input_tokens": usage.input_tokens,
            "gen_ai.usage.output_tokens": usage.output_tokens,
            "gen_ai.usage.cache_read.input_tokens": usage.cache_read_tokens,
            "gen_ai.usage.cache_creation.input_tokens": usage.cache_write_tokens,
            "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
            "streamkit.usage.final": None if self.usage is None else usage.final,
            "streamkit.usage.estimated": None if self.usage is None else usage.estimated,
            "streamkit.chunks": self.chunks,
            "streamkit.chars": self.chars,
            "streamkit.chunks_per_second": self.chunks_per_second,
            "streamkit.tokens_per_second": self.tokens_per_second,
            "streamkit.gap.p50": self.gap_p50,
            "streamkit.gap.p95": self.gap_p95,
            "streamkit.gap.max": self.gap_max if self.chunks > 1 else None,
            "streamkit.stalls": self.stalls,
            "streamkit.ended_as": ended,
        }
        return {name: value for name, value in named.items() if value is not None}

    @property
    def _estimate(self) -> int:
        return estimated_tokens(self.chars + self._beyond_ascii)

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
            parts.append(f"{'~' if self.tokens_estimated else ''}{self.tokens_per_second:.0f} tokens/s")
        if self.gap_p95 is not None:
            parts.append(f"gap p95 {self.gap_p95 * 1000:.1f} ms, max {self.gap_max * 1000:.1f} ms")
        if self.stalls:
            parts.append(f"{self.stalls} stalls")
        parts.append(f"ended: {scrub(self.ended_as or 'open', _LONGEST_LABEL)}")  # an error's code is the provider's text
        return ", ".join(parts)


def _bucket(gap: float) -> int:
    ns = int(gap * _NS)
    if ns < _LEAST_NS:
        return 0
    bits = ns.bit_length()
    return bits << _FINE_BITS | ns >> bits - _FINE_BITS - 1 & _FINE - 1


def _middle(bucket: int) -> float:
    """Seconds in the middle of a bucket; the lowest holds no gap worth a number."""
    if not bucket:
        return 0.0
    shift = (bucket >> _FINE_BITS) - _FINE_BITS - 1
    return (_FINE + (bucket & _FINE - 1) + 0.5) * (1 << shift) / _NS


class Total(msgspec.Struct):
    """What many streams of one model come to. Durations in seconds; `first_chunk_s` only of streams that had one."""

    streams: int = 0
    with_content: int = 0
    failed: int = 0
    cancelled: int = 0
    chunks: int = 0
    chars: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    estimated_tokens: int = 0
    stalls: int = 0
    duration_s: float = 0.0
    first_chunk_s: float = 0.0


class Totals:
    """Sums of many `Stats` by model, for a page of metrics: the number of labels is bounded.

    A model's name often comes from a user or a provider, and each new label is a new time series. So only the first
    `limit` names count by themselves; others, names longer than 100 characters, and names with control
    characters are summed as "other".

    Args:
        limit: Most names beside "other", at least 1.

    Memory: one small record per name, `limit` + 1 at most. One event loop or thread adds; any may read.

    >>> totals = Totals(limit=1)
    >>> for name in ("good-model", "made-up-1", "made-up-2"): totals.add(Stats(), model=name)
    >>> {name: total.streams for name, total in totals.by_model.items()}
    {'good-model': 1, 'other': 2}
    """

    def __init__(self, limit: int = 100) -> None:
        if limit < 1:
            raise ValueError(f"Totals(limit={limit!r}): at least 1")
        self.limit = limit
        self.by_model: dict[str, Total] = {}

    def add(self, stats: Stats, *, model: str | None = None) -> None:
        """Count one stream that is over.

        Args:
            model: Its label; by default the model that the stream named.
        """
        total = self.by_model.setdefault(self._label(model or stats.model), Total())
        total.streams += 1
        total.chunks += stats.chunks
        total.chars += stats.chars
        total.stalls += stats.stalls
        total.duration_s += stats.duration
        if stats.time_to_first_chunk is not None:
            total.with_content += 1
            total.first_chunk_s += stats.time_to_first_chunk
        if stats.ended_as == "cancelled":
            total.cancelled += 1
        elif stats.ended_as not in _UNFAILED and stats.ended_as is not None:
            total.failed += 1
        if stats.usage is not None:
            total.input_tokens += stats.usage.input_tokens or 0
            if stats.usage.estimated:
                total.estimated_tokens += stats.usage.output_tokens or 0
            else:
                total.output_tokens += stats.usage.output_tokens or 0

    def as_dict(self) -> dict[str, dict[str, float]]:
        """The sums by model and name, for whatever exports them."""
        return {name: msgspec.to_builtins(total) for name, total in self.by_model.items()}

    def _label(self, model: str | None) -> str:
        if model is None or len(model) > _LONGEST_LABEL or not model.isprintable():
            return OTHER
        known = len(self.by_model) - (OTHER in self.by_model)
        return model if model in self.by_model or known < self.limit else OTHER
