"""One run of a plan: the consumer's own strand, the tasks behind it, and the way out.

    Strand   what ONE task iterates and closes (`strands`)
    Pump     a background task that drives a strand into a channel (`pumps`)
    Job      one more background task, begun while the Run is under way: a tool's call (`pumps`)
    Run      all of these, from the first pull until everything is closed

When it is left, a Run tells all of its pumps at once and waits for them, whatever cancels the consumer meanwhile: finish
first, raise after. A pump that refuses to end is cancelled a second time after `close_timeout`, then abandoned
and named in a ResourceWarning.
"""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from streamkit.errors import ConfigError, StreamBusy, StreamConsumed, StreamkitError
from streamkit.flow.channel import Channel, Writable, no_end
from streamkit.flow.clock import Clock, current_clock
from streamkit.flow.fuse import MULTIPLYING, Ending, Shape
from streamkit.flow.plan import Laid, Step
from streamkit.flow.pumps import Driven, Job, Pump
from streamkit.flow.snapshots import Chain, Snapshot
from streamkit.flow.sources import Feed, Source
from streamkit.flow.strands import OwnLimits, Strand
from streamkit.flow.tasks import Backend, Timer, Waiter, current_backend

__all__ = ["CLOSE_TIMEOUT", "Run"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

# Seconds that a source gets to close before it is cancelled, and again before it is abandoned.
CLOSE_TIMEOUT = 5.0


class Run(Generic[T_co]):
    """One pass over a stream: an async context manager and an async iterable, and closed on the way out.

    A Run comes from `async with stream` or from `stream.open()`. Its source is iterated and closed by
    the task that iterates the Run, or by a task of the Run's own behind the first buffer.

    Memory: what its buffers hold. Cancellation: everything is closed before the cancel goes on. Also that of a single
    read, as by a cancel scope around `anext(run)`: who reads on is told so by StreamConsumed, for it is no end.
    """

    __slots__ = (
        "__weakref__",
        "_about",
        "_begun",
        "_building",
        "_chain",
        "_closed",
        "_complaints",
        "_deadline",
        "_forget",
        "_given_up",
        "_heard_at",
        "_hears",
        "_home",
        "_insisted",
        "_iterator",
        "_jobs",
        "_label",
        "_last",
        "_leaving",
        "_outer",
        "_partial",
        "_pumps",
        "_released",
        "_source",
        "_sources",
        "_strand",
        "_waiter",
        "backend",
        "clock",
        "close_timeout",
        "ended_by",
        "fused",
        "listening",
        "may_block",
        "outermost",
    )

    def __init__(
        self,
        source: Source,
        parts: tuple[Laid, ...],
        *,
        fused: bool = True,
        close_timeout: float = CLOSE_TIMEOUT,
        released: Callable[[], None] | None = None,
        alone: bool = False,
        outer: Run[Any] | None = None,
        chain: Chain | None = None,
    ) -> None:
        """`alone` says that nothing else runs in this event loop; `outer` is the Run inside which this one is opened.

        With `chain`, which is all of the steps in `parts`, it can be saved.
        """
        # Whether a source may hold up the event loop, because neither a task nor a timer of this run needs it.
        self.may_block = alone and all(isinstance(part, Step) and not part.awaits for part in parts)
        self._building = False
        self.backend: Backend = current_backend() if outer is None else outer.backend
        self.clock: Clock = current_clock(self.backend) if outer is None else outer.clock
        self.close_timeout = close_timeout
        self.fused = fused
        # The Run that the consumer opened: this one, or the one that this one is inside of.
        self.outermost: Run[Any] = self if outer is None else outer.outermost
        self._outer = outer
        # When the wire last gave a sign of life, told to the outermost Run by its sources as long as somebody listens.
        self.listening = False
        self._heard_at = 0.0
        # What few Runs have is a tuple that grows, or a list once there is something in it: a list for each would be half of what a
        # Run of one source weighs.
        self._hears: tuple[Run[Any], ...] = ()
        # What ended it, known once it is being left: None after an end, or for a reader who had enough.
        self.ended_by: BaseException | None = None
        self._about: dict[str, object] | None = None
        self._chain = chain
        self._source = source
        # What it is called in complaints; None for what its source is called.
        self._label: str | None = None
        self._sources: tuple[Source, ...] = ()
        self._forget: tuple[Callable[[], object], ...] = ()
        self._pumps: list[Pump] | tuple[()] = ()
        self._jobs: list[Job] | tuple[()] = ()
        self._last: tuple[Callable[[], Awaitable[None]], ...] = ()
        self._released = released
        # Where who leaves waits for its tasks.
        self._waiter: Waiter | None = None
        self._iterator: Any = None
        self._leaving = False
        self._closed = False
        self._begun = False
        self._given_up = False
        self._insisted = False
        self._deadline: Timer | None = None
        self._complaints: tuple[str, ...] = ()
        self._home: object = None
        self._partial: Callable[[], object] | None = source.partial
        try:
            self._strand = self.strand(source, parts)
        except BaseException:
            self.give_back()
            raise

    # -- building

    def strand(self, source: Source, parts: tuple[Laid, ...]) -> Strand:
        """Open a source and lay its parts over it."""
        if self._building:  # a source of several: each has a task of its own
            self.may_block = False
        self._building = True
        feed = source.open(self)
        self._sources = (*self._sources, source)
        if feed.forget is not None:
            self._forget = (*self._forget, feed.forget)
        strand = Strand(feed, self)
        for part in parts:
            if isinstance(part, Step):
                strand.add(part)
            else:
                strand = part.connect(strand, self)
        return strand

    def pump(self, strand: Strand, channel: Writable, label: str) -> Pump:
        """Let a task of this Run drive a strand into a channel."""
        strand.segment("push")  # written now, and not when the sources have been asked
        pump = Pump(strand, channel, self, label)
        self._pumps = _with(self._pumps, pump)
        return pump

    def behind(self, channel: Writable, label: str) -> Pump:
        """Let one task drive all of it into a channel: nobody iterates this Run, its readers are in Runs of their own."""
        strand, self._strand = self._strand, _NO_STRAND
        self._label = label
        return self.pump(strand, channel, label)

    def inside(self, source: Source, parts: tuple[Laid, ...]) -> Run[Any]:
        """A Run inside this one, with its clock and its limits. Whoever iterates it closes it, in the same task.

        So a part that reads several streams one after the other has each closed before the next begins.
        """
        return Run(source, parts, fused=self.fused, close_timeout=self.close_timeout, outer=self)

    def launch(
        self,
        inner: Run[Any],
        channel: Writable,
        label: str,
        *,
        finish: Callable[[BaseException | None], None],
        offer: Callable[[Any], object] | None = None,
    ) -> Pump:
        """Drive a Run inside this one into a channel, in a task that begins now, in the context of the caller.

        Args:
            finish: Told once, when the inner Run is closed: None after its end, its error, or `ReaderLeft` if the pump
                was left; not told when the channel itself was closed.
            offer: What lets an item in; a plain append unless given.

        A pump that has ended is forgotten; one that is launched while this Run is being left closes its source at once.
        """
        pump = Pump(Driven(inner), channel, self, label)
        pump.finish = finish
        if offer is not None:
            pump.offer = offer
        self._begun = True
        self._pumps = pumps = _with(self._pumps, pump)

        def ended() -> None:
            if pump.failure is None:
                pumps.remove(pump)
            if channel.on_close is not None and pump.leave in channel.on_close:
                channel.on_close.remove(pump.leave)
            self.pump_ended()

        pump.start(ended)
        if self._closed:
            pump.leave()
        return pump

    def job(self, main: Callable[[Job], Coroutine[Any, Any, None]], label: str) -> Job:
        """Begin a task of this Run now, in the context of the caller; a Run that is over begins none."""
        job = Job(main, self, label)
        if self._closed:
            job.left = True
            return job

        def ended() -> None:
            jobs.remove(job)
            self.pump_ended()

        self._jobs = jobs = _with(self._jobs, job)
        job.start(ended)
        return job

    def reading(self, channel: Channel[Any], label: str) -> Strand:
        """A strand that begins at the reading end of a channel; its pumps start with the first read."""
        return Strand(Feed(channel, shape="drains", closers=[(label, channel.close)]), self)

    def give_back(self) -> None:
        """Forget a Run that never began: nothing was asked of its sources, and they can be opened again."""
        for opened in self._sources:
            opened.give_back()
        for forget in self._forget:
            forget()

    def at_last(self, close: Callable[[], Awaitable[None]]) -> None:
        """Await this when everything else is closed, without a limit of ours: for another Run, which has its own."""
        self._last = (*self._last, close)

    @property
    def about(self) -> dict[str, object]:
        """What the source can tell of itself once it is open: "status" and "content_type" of an HTTP response."""
        if self._about is None:
            self._about = {} if self._outer is None else self._outer.about
        return self._about

    @about.setter
    def about(self, about: dict[str, object]) -> None:
        self._about = about

    def hear(self, other: Run[Any]) -> None:
        """Take the signs of life of a Run apart, whose items are read in this one."""
        other.listening = True
        self.outermost._hears = (*self.outermost._hears, other)

    @property
    def heard_at(self) -> float:
        """When the wire last gave a sign of life."""
        return max([self._heard_at, *[other.heard_at for other in self._hears]])

    @heard_at.setter
    def heard_at(self, when: float) -> None:
        self._heard_at = when

    def begin(self, ended: Callable[[], None] | None = None) -> None:
        """Start the pumps, at the first pull: building and opening start nothing.

        Called from outside for a Run that nobody iterates. `ended` is told of each pump that has ended, in the place of
        `pump_ended`, which it calls.
        """
        if not self._begun:
            self._begun = True
            self._forget = ()
            self._home = self.backend.current_task()
            for pump in tuple(self._pumps):  # a task that begins at once may launch others
                pump.start(ended)

    # -- what the consumer sees

    def __aiter__(self) -> AsyncIterator[T_co]:
        if self._iterator is None:
            self._iterator = self.bound("yield", None)
        elif self._iterator.ag_running:
            raise StreamBusy("another task is reading this Run: a Run has one reader at a time")
        elif self._closed and self.ended_by is not None and not isinstance(self.ended_by, Exception):
            raise StreamConsumed(
                "a read of this Run was cancelled, and with it the Run: what came is not all. To wait no longer than so many "
                "seconds put sk.timeout() on the stream, in the place of a cancel scope around a read"
            )
        return self._iterator  # type: ignore[no-any-return]

    async def __anext__(self) -> T_co:
        return await self.__aiter__().__anext__()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose(error)

    @property
    def shape(self) -> Shape:
        """What its last segment reads: where that is single items, lists of them are no gain."""
        return self._strand.shape

    @property
    def single(self) -> bool:
        """Whether each of its lists would hold one item: it reads single ones, and none of its steps makes several of one."""
        return self._strand.shape == "items" and all(step.kind not in MULTIPLYING for step in self._strand.steps)

    @property
    def closing(self) -> bool:
        """Whether it is on its way out, or over: to cancel it now would cut off a clean-up."""
        return self._leaving or self._closed

    @property
    def partial(self) -> object:
        """What has arrived so far, where the source or the terminal keeps it; else None."""
        return None if self._partial is None else self._partial()

    def keep_partial(self, partial: Callable[[], object]) -> None:
        """Let a terminal say what it has collected."""
        if self._partial is None:
            self._partial = partial

    def snapshot(self) -> Snapshot:
        """All of the pipeline, as of the item that was given last (see `flow/snapshots.py`).

        Memory: a copy of what the steps hold.
        Raises:
            ConfigError: not opened with `stream.open(resumable=True)` or `open(restore=...)`.
        """
        if self._chain is None:
            raise ConfigError("only a run that was opened with stream.open(resumable=True) can be saved")
        return self._chain.save()

    def lists(self) -> AsyncIterator[list[T_co]]:
        """The items in lists, one per read of the source: what a sink writes at once."""
        if self._iterator is None:
            self._iterator = self.bound("lists", None)
        return self._iterator  # type: ignore[no-any-return]

    async def drive(self, append: Callable[[Any], object]) -> None:
        """Run to the end, handing each item to `append`; everything is closed before this returns."""
        try:
            await self.bound("append", append)
        except StopAsyncIteration as error:
            raise no_end(error) from error

    def bound(self, ending: Ending, out: Any, *, closes: bool = True) -> Any:
        """The last segment with its ending; everything is closed when it is over, unless somebody else sees to that."""
        strand = self._strand
        if self._outer is None:
            self._forget = ()  # it begins: nothing is given back any more
        if self._pumps:
            strand.start = self._starting(strand.start)
        else:
            self._home = self.backend.current_task()
        if strand.direct is not None and self.fused and closes and not strand.steps and ending in ("yield", "lists"):
            start, strand.start = strand.start, None
            return strand.direct(ending, start, self.backend.checkpoint, self._leave)
        return strand.bind(ending, out, self._leave if closes else None)

    def _starting(self, start: Callable[[], Awaitable[Any]] | None) -> Callable[[], Awaitable[Any]]:
        iterator = self._strand.iterator

        async def begin() -> Any:
            self.begin()
            return iterator if start is None else await start()

        return begin

    # -- the way out

    async def aclose(self, error: BaseException | None = None) -> None:
        """Close the source and everything behind it; harmless when that has happened.

        Args:
            error: What the consumer's code failed with, which outranks a failure of the clean-up.

        Raises:
            StreamBusy: another task is inside the source. That task closes it, when it ends.
        """
        if self._closed:
            return
        iterator = self._iterator
        if iterator is not None and iterator.ag_running:
            if error is None:
                raise StreamBusy("another task still reads this Run: end that task first; the source is closed there")
            return
        self._leaving = True
        self.ended_by = error
        if iterator is not None:
            try:
                await iterator.aclose()
            except Exception:
                if error is None:
                    raise
        if not self._closed:
            await self._leave(error)

    async def _leave(self, error: BaseException | None) -> None:
        """Close everything, once. Called by the segment when it is over, or by `aclose` if it never began."""
        if self._closed:
            return
        self._closed = True
        if isinstance(error, GeneratorExit):
            error = None
            if not self._leaving and self.backend.current_task() is not self._home:
                self.complain("was dropped while its source was open, and is closed in another task; use `async with`")
        self.ended_by = self.ended_by or error
        if self.ended_by is None and self._outer is not None:
            self.ended_by = self._outer.ended_by
        if isinstance(error, StreamkitError) and error.partial is None:
            error.partial = self.partial
        try:
            failure = await self._strand.aclose()
            try:
                failure = await self._finish_pumps() or failure
            finally:
                failure = await self._close_last(failure)
        finally:
            for source in self._sources:
                source.release()
            if self._released is not None:
                self._released()
            self._complain()
        if failure is not None and (error is None or not isinstance(failure, Exception)):
            raise failure

    async def _close_last(self, failure: BaseException | None) -> BaseException | None:
        for close in self._last:
            try:
                await close()
            except Exception as error:
                failure = failure or error
            except BaseException as cancelled:  # what it closes is closed: its own wait finishes first
                failure = cancelled
        return failure

    async def _finish_pumps(self) -> BaseException | None:
        for pump in list(self._pumps):
            if pump.done:
                if not self._begun:
                    await pump.drop()
            else:
                pump.leave()
        for job in self._jobs:
            job.leave()
        if not self._pumps_done():
            await self.backend.finish(self._wait_for_pumps, self._pumps_done)
        return next((pump.failure for pump in self._pumps if pump.failure is not None), None)

    def _pumps_done(self) -> bool:
        return self._given_up or not self._refusing()

    def _refusing(self) -> list[Pump | Job]:
        """The tasks that are not done."""
        tasks: list[Pump | Job] = [*self._pumps, *self._jobs]
        return [task for task in tasks if not task.done]

    async def _wait_for_pumps(self) -> None:
        if self._deadline is None:
            self._deadline = self.clock.call_at(self.clock.now() + self.close_timeout, self._lose_patience)
        self._waiter = self._waiter or self.backend.waiter()
        try:
            await self._waiter.wait()
        finally:
            if self._pumps_done():
                self._deadline.cancel()

    def _lose_patience(self) -> None:
        refusing = self._refusing()
        if not self._insisted:
            self._insisted = True
            for task in refusing:
                task.insist()
            # A little longer: a pump that cleans up comes to its own limit first, which names what refused.
            self._deadline = self.clock.call_at(self.clock.now() + 1.5 * self.close_timeout, self._lose_patience)
            return
        self._given_up = True
        for task in refusing:
            kind = "source" if isinstance(task, Pump) else "task"
            self.complain(
                f"has a {kind} that refuses to end: {task.label} was cancelled twice in {2.5 * self.close_timeout:g} s, "
                "and is abandoned"
            )
        if self._waiter is not None:
            self._waiter.wake()

    def pump_ended(self) -> None:
        """A pump's task is over, or a job's."""
        if self._waiter is not None:
            self._waiter.wake()

    async def close_one(self, name: str, close: Callable[[], Awaitable[object] | None]) -> None:
        """Close one thing in this task, within `close_timeout`."""
        closing = close()
        if closing is None:
            return
        if isinstance(close, OwnLimits):
            await closing
            return
        if not await self.backend.bounded(closing, self.close_timeout, self.clock):
            self.complain(f"has a source that did not close within {self.close_timeout:g} s: {name} was cancelled in its clean-up")

    def complain(self, what: str) -> None:
        """Note what a ResourceWarning will say, once everything is closed."""
        self._complaints = (*self._complaints, what)

    def _complain(self) -> None:
        """Say what went wrong on the way out; last, because a warning may be made an error."""
        complaints, self._complaints = self._complaints, ()
        for what in complaints:
            warnings.warn(f"a stream of {self._label or self._source.label} {what}", ResourceWarning, stacklevel=2)


def _with(there: list[T] | tuple[()], one: T) -> list[T]:
    """One more; a list that is there stays the same one."""
    if isinstance(there, tuple):
        return [one]
    there.append(one)
    return there


# In the place of a strand that a pump drives: there is nothing in it to close.
_NO_STRAND: Any = Strand(Feed(None), None)  # type: ignore[arg-type]
