"""Stats on a run, and a line that shows them: the parts of `measure` and `progress`."""

from __future__ import annotations

from typing import IO, Any

from streamkit.dialects.outcomes import outcome_of
from streamkit.errors import StreamkitError
from streamkit.events.message import Message
from streamkit.events.stats import Stats
from streamkit.flow.observing import ObservedBoundary
from streamkit.flow.plan import Part, check_seconds
from streamkit.flow.progress_line import Line
from streamkit.flow.runs import Run
from streamkit.flow.tasks import Timer

__all__ = ["Measuring", "measure_part", "progress_part"]


def measure_part(stats: Stats) -> Part:
    """The part of `measure`."""
    if not isinstance(stats, Stats):  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers reach this
        raise TypeError(f"measure() takes a Stats, got {type(stats).__name__}")
    return ObservedBoundary("measure()", lambda run: Measuring(stats, run))


def progress_part(file: IO[str] | None, label: str | None, every: float) -> Part:
    """The part of `progress`."""
    check_seconds("progress", "every", every)
    return ObservedBoundary("progress()", lambda run: _Showing(run, Line(file, label), every))


class Measuring:
    """Stats on a run: an observer."""

    def __init__(self, stats: Stats, run: Run[Any]) -> None:
        self.stats = stats
        self._run = run
        self.begin = stats.begin
        self.add = stats.add
        self.add_many = stats.add_many

    def end(self, error: Exception | None, now: float) -> None:
        """The source ended, or failed."""
        if error is not None:
            self._keep_usage(error)
        self.stats.end("done" if error is None else outcome_of(error).code, now)

    def leave(self, cause: BaseException | None, now: float) -> None:
        """Nobody asks any more."""
        self._keep_usage(cause)
        if isinstance(cause, StreamkitError):  # a timeout behind us, say
            word = outcome_of(cause).code
        else:
            word = "left" if cause is None or isinstance(cause, Exception) else "cancelled"
        self.stats.end(word, now)

    def _keep_usage(self, error: BaseException | None) -> None:
        """Take what a decoder counted and was not given the time to hand on."""
        stats = self.stats
        if stats.usage is None or not stats.usage.final:
            partial = getattr(error, "partial", None) or self._run.partial
            if isinstance(partial, Message) and partial.usage is not None and not partial.usage.estimated:
                stats.usage = partial.usage


class _Showing(Measuring):
    """A line on a terminal beside the stats: an observer."""

    def __init__(self, run: Run[Any], line: Line, every: float) -> None:
        super().__init__(Stats(), run)
        self.begin = self._begin
        self._line = line
        self._every = every
        self._clock = run.clock
        self._timer: Timer | None = None

    def _begin(self, now: float) -> None:
        self.stats.begin(now)
        if self._line.live:
            self._draw()

    def _draw(self) -> None:
        now = self._clock.now()
        waited = 0.0 if self.stats.started is None else now - self.stats.started
        if self._line.draw(f"{waited:.1f} s, {self.stats}"):
            self._timer = self._clock.call_at(now + self._every, self._draw)

    def end(self, error: Exception | None, now: float) -> None:
        super().end(error, now)
        self._finish()

    def leave(self, cause: BaseException | None, now: float) -> None:
        super().leave(cause, now)
        self._finish()

    def _finish(self) -> None:
        """The summary."""
        if self._timer is not None:
            self._timer.cancel()
        self._line.end(str(self.stats))
