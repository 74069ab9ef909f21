"""Somebody looks at what passes a place in a plan: measures, a progress line, a recording.

The items pass untouched and in time, in lists where the source reads lists (one call and one reading of the clock
for each). What the observer is told last, once:

    end(None)        the source ended
    end(error)       it failed, or a step before this place did
    leave(None)      the reader had enough
    leave(cause)     the run was cancelled, or a step behind this place or the reader's own code failed
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any, Protocol

from streamkit.flow.runs import Run
from streamkit.flow.strands import Strand

__all__ = ["ObservedBoundary", "Observer"]


class Observer(Protocol):
    """What is told of one run. What `add` raises ends the stream, behind the items that it was shown."""

    def begin(self, now: float) -> None:
        """The source is about to be asked for the first time."""
        ...

    def add(self, item: Any, now: float) -> None: ...
    def add_many(self, items: list[Any], now: float) -> None: ...
    def end(self, error: Exception | None, now: float) -> None: ...
    def leave(self, cause: BaseException | None, now: float) -> None: ...


class ObservedBoundary:
    """An observer in a plan; each Run has one of its own."""

    __slots__ = ("_make", "label")

    def __init__(self, label: str, make: Callable[[Run[Any]], Observer]) -> None:
        self.label = label
        self._make = make

    def connect(self, strand: Strand, run: Run[Any]) -> Strand:
        observation = _Observation(self._make(run), strand, run)
        strand.bare()
        read = observation.lists if strand.shape == "lists" else observation.items
        iterator, start, shape = strand.iterator, strand.start, strand.shape
        strand.wrap(_Closing(observation), shape, self.label)  # behind our generator
        strand.wrap(read(iterator, start), shape, self.label)
        return strand


class _Closing:
    """Tells the observer of the end, if nothing before it has."""

    def __init__(self, observation: _Observation) -> None:
        self._observation = observation

    def aclose(self) -> None:
        self._observation.close()


class _Observation:
    """One run, seen by one observer."""

    __slots__ = ("_now", "_observer", "_over", "_run", "_seen", "_strand")

    def __init__(self, observer: Observer, strand: Strand, run: Run[Any]) -> None:
        self._observer = observer
        self._strand = strand
        self._run = run
        self._now = run.clock.now
        self._over = False
        self._seen: BaseException | None = None

    async def items(self, source: Any, start: Callable[[], Awaitable[AsyncIterator[Any]]] | None) -> AsyncGenerator[Any]:
        now, add = self._now, self._observer.add
        self._observer.begin(now())
        failure: Exception | None = None
        try:
            if start is not None:
                source = await start()
            async for item in source:
                try:
                    add(item, now())
                except Exception as error:
                    failure = error
                yield item
                if failure is not None:
                    break
        except BaseException as error:
            self._failed(error)
            raise
        self._ended(failure)

    async def lists(self, source: Any, start: Callable[[], Awaitable[AsyncIterator[Any]]] | None) -> AsyncGenerator[list[Any]]:
        now, add_many = self._now, self._observer.add_many
        self._observer.begin(now())
        failure: Exception | None = None
        try:
            if start is not None:
                source = await start()
            async for items in source:
                try:
                    add_many(items, now())
                except Exception as error:
                    failure = error
                yield items
                if failure is not None:
                    break
        except BaseException as error:
            self._failed(error)
            raise
        self._ended(failure)

    def _ended(self, failure: Exception | None) -> None:
        """The source is over; or the observer failed, and its error is due."""
        if failure is None:
            self._end(None)
            return
        with suppress(Exception):  # the first failure is the one that counts
            self._end(failure)
        try:
            raise failure
        finally:
            del failure  # this frame is in its traceback

    def _failed(self, error: BaseException) -> None:
        if isinstance(error, Exception):
            with suppress(Exception):  # the stream's own error is the one that counts
                self._end(error)
        elif not isinstance(error, GeneratorExit):
            self._seen = error  # a cancel; whether its reader just left, the run knows when it is closed

    def _end(self, error: Exception | None) -> None:
        if not self._over:
            self._over = True
            self._observer.end(error, self._now())

    def close(self) -> None:
        """Everything is closed."""
        seen, self._seen = self._seen, None
        if not self._over:
            self._over = True
            run, writer = self._run, self._strand.writer
            # A task of the run's own is cancelled by the run itself: when its reader leaves, or a step between two buffers
            # has failed or has all it wants.
            ours = run.closing or (writer is not None and writer.left)
            self._observer.leave(run.ended_by if ours else run.ended_by or seen, self._now())
