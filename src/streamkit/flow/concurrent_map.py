"""`map` with several calls at once: each call is a task of the Run, the source is read in one of its own.

A call is an entry, from the moment its item is read:

    begun      its task runs; at most `concurrency` entries are begun or settled and not yet consumed
    settled    it has a result or an error, and stands in the row of those that are ready: in the order of the items,
               or as they settle
    dropped    a call before it failed, or the reader left: its task is cancelled, and whatever comes of it is nobody's

An error in the row is the last of it: what is begun behind it is dropped at once, and no more is read. The Run
waits for the tasks that were cancelled before its reader sees the error.
"""

from __future__ import annotations

import contextvars
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator
from functools import partial
from typing import Any

from streamkit.errors import ConfigError
from streamkit.flow.channel import ReaderLeft, Writer, no_end
from streamkit.flow.plan import Part, check_count, describe, step_of
from streamkit.flow.pumps import Job
from streamkit.flow.runs import Run
from streamkit.flow.sources import Feed
from streamkit.flow.strands import Strand
from streamkit.flow.tasks import Waiter

__all__ = ["concurrent_map_part"]


def concurrent_map_part(fn: Callable[[Any], Any], concurrency: int, ordered: bool) -> Part:
    """The part of `map`: a step of the fused loop, or several calls at once.

    Raises:
        ConfigError, TypeError: a number below 1, nothing that can be called, or several calls at once of a plain callable.
    """
    check_count("map", "concurrency", concurrency, 1)
    step = step_of("map", "map", fn)
    if concurrency == 1:
        return step
    if not step.awaits:
        raise ConfigError(
            f"map({describe(fn)}, concurrency={concurrency}) needs a coroutine function, because a plain callable never waits: "
            f"write `async def call(item): ...`, with `await anyio.to_thread.run_sync({describe(fn)}, item)` for one that blocks"
        )
    return _ConcurrentMap(fn, concurrency, ordered)


class _ConcurrentMap:
    """`map(fn, concurrency=n)` in a plan."""

    __slots__ = ("_concurrency", "_fn", "_ordered", "label")

    def __init__(self, fn: Callable[[Any], Coroutine[Any, Any, Any]], concurrency: int, ordered: bool) -> None:
        self.label = f"map({describe(fn)}, concurrency={concurrency}{'' if ordered else ', ordered=False'})"
        self._fn = fn
        self._concurrency = concurrency
        self._ordered = ordered

    def connect(self, strand: Strand, run: Run[Any]) -> Strand:
        calls = _Calls(self._fn, self._concurrency, self._ordered, run)
        pump = run.pump(strand, calls, self.label)
        pump.offer = calls.offer
        pump.finish = calls.finish
        return Strand(Feed(calls, shape="drains", closers=[(self.label, calls.close)]), run)


class _Entry:
    """One call."""

    __slots__ = ("dropped", "error", "job", "result", "settled")

    def __init__(self) -> None:
        self.job: Job | None = None
        self.settled = False
        self.dropped = False
        self.result: Any = None
        self.error: BaseException | None = None


class _Entries(set[_Entry]):
    """Entries that count; with the name by which a pump lets something in."""

    append = set[_Entry].add


class _Calls:
    """The calls of one Run; in the place of a channel between the source's task and the reader."""

    __slots__ = (
        "_begun",
        "_context",
        "_fault",
        "_fn",
        "_label",
        "_over",
        "_reader",
        "_ready",
        "_run",
        "_writer",
        "buffer",
        "closed",
        "limit",
        "on_close",
        "parked",
    )

    def __init__(self, fn: Callable[[Any], Coroutine[Any, Any, Any]], concurrency: int, ordered: bool, run: Run[Any]) -> None:
        # Begun, or settled and not yet consumed.
        self.buffer = _Entries()
        self.limit = concurrency
        self.parked = False
        self.closed = False
        self.on_close: list[Callable[[], None]] = []
        self._fn = fn
        self._label = f"a call of {describe(fn)}"
        self._run = run
        # In the order of their items; None where they become ready as they settle.
        self._begun: deque[_Entry] | None = deque() if ordered else None
        self._ready: deque[_Entry] = deque()
        self._over = False
        self._fault: BaseException | None = None
        self._reader = run.backend.waiter()
        self._writer: Waiter | None = None
        # The consumer's own, not what the source has made of it in its task.
        self._context = contextvars.copy_context()

    # -- told by the source's task

    def offer(self, item: Any) -> None:
        """One item: begin its call."""
        if self._over:
            return
        entry = _Entry()
        self.buffer.add(entry)
        if self._begun is not None:
            self._begun.append(entry)
        # A loop may begin a task at once, and end it.
        entry.job = self._context.run(self._run.job, partial(self._call, entry, item), self._label)
        if entry.dropped:
            entry.job.leave()

    def finish(self, error: BaseException | None) -> None:
        """The source is over and closed; what was begun still comes."""
        if not self._over:
            self._over = True
            self._fault = None if error is None or isinstance(error, ReaderLeft) else no_end(error)
            self._reader.wake()

    async def wait_for_room(self, waiter: Waiter, writer: Writer | None = None) -> None:
        """Park the source's task until an entry is consumed."""
        self._writer = waiter
        try:
            while len(self.buffer) >= self.limit and not self.closed and not (writer is not None and writer.left):
                await waiter.wait()
        finally:
            self._writer = None

    def wake(self) -> None:
        self._reader.wake()

    def fail(self, error: BaseException) -> None:
        self.finish(error)

    def end(self) -> None:
        self.finish(None)

    # -- the calls

    async def _call(self, entry: _Entry, item: Any, job: Job) -> None:
        try:
            entry.result = await self._fn(item)
        except BaseException as error:
            if job.left or entry.dropped:
                raise
            entry.error = no_end(error)
        if not entry.dropped:
            entry.settled = True
            self._settle(entry)

    def _settle(self, entry: _Entry) -> None:
        ready, begun = self._ready, self._begun
        if entry.error is not None:
            self._stop_behind(entry)
        if begun is None:
            ready.append(entry)
        else:
            while begun and begun[0].settled:
                ready.append(begun.popleft())
        if ready:
            self._reader.wake()

    def _stop_behind(self, entry: _Entry) -> None:
        """A call has failed: nothing is wanted of those that come behind it."""
        self._over = True
        self._fault = None
        begun = self._begun
        if begun is None:
            self._drop([other for other in self.buffer if not other.settled])
        else:
            behind: list[_Entry] = []
            while begun[-1] is not entry:
                behind.append(begun.pop())
            self._drop(behind)
        for leave in self.on_close:
            leave()

    def _drop(self, entries: list[_Entry]) -> None:
        for entry in entries:
            entry.dropped = True
            self.buffer.discard(entry)
            if entry.job is not None:
                entry.job.leave()

    # -- the reader's side

    def __aiter__(self) -> _Calls:
        return self

    async def __anext__(self) -> Iterable[Any]:
        """Results that are ready, at least one.

        Raises:
            StopAsyncIteration: the source ended, and every result was read.
            BaseException: what a call failed with, or the source.
        """
        ready = self._ready
        while not ready:
            if self._over and not self.buffer:
                if self._fault is not None:
                    raise self._fault
                raise StopAsyncIteration
            await self._reader.wait()
        error = ready[0].error
        if error is not None:
            ready.clear()
            raise error
        return self._results()

    def _results(self) -> Iterator[Any]:
        ready, buffer = self._ready, self.buffer
        while ready and ready[0].error is None:
            entry = ready.popleft()
            buffer.discard(entry)
            if self._writer is not None:
                self._writer.wake()
            yield entry.result

    def close(self) -> None:
        """The reader leaves: every call is cancelled."""
        self.closed = True
        self._over = True
        self.limit = -1
        self._ready.clear()
        self._drop([entry for entry in self.buffer if not entry.settled])
        self.buffer.clear()
        for leave in self.on_close:
            leave()
        if self._writer is not None:
            self._writer.wake()
