"""One source, several readers: a log that one task appends to, and a place in it for each reader.

    Log        the items from the slowest reader on (or the last few, for those who come late), and who waits
    Place      one reader: how far it is, and what it does when it lags
    Fanout     the Run that iterates the source, in a task that belongs to none of the readers

States of a log, and who moves them:

    new        nobody has read: the source is open and was not asked
    running    the task appends; it waits where a reader that must not lose anything is `size` items behind
    over       the source ended or failed and is closed: readers come to the end, each at its own time
    closed     nobody reads: the task closes the source, and the last Run that left waits for that

What an item costs does not depend on the number of readers: one append and one comparison with `limit`,
which is where somebody must be looked after: the nearest place where a reader has no more room, or the next item
if a reader is parked. Readers take slices and touch nothing that is shared.

A reader with a policy that drops reads the log like any other as long as it keeps up. Once it lags by more than its
`size`, what it has not read is taken out of the log and reduced by its policy (`flow.overflow`), for it alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from types import TracebackType
from typing import Any, Final, NoReturn

from streamkit.errors import BufferFull, ConfigError, StreamBusy, StreamkitError
from streamkit.flow.channel import FAIRNESS, Channel, ReaderLeft, Writer, no_end
from streamkit.flow.clock import Clock
from streamkit.flow.fuse import Shape
from streamkit.flow.overflow import Overflow, make_channel
from streamkit.flow.plan import Laid
from streamkit.flow.runs import Run
from streamkit.flow.sources import Feed, Source
from streamkit.flow.tasks import Timer, Waiter, current_backend

__all__ = ["GRACE", "Fanout", "Log", "Place", "for_one_reader"]

# Seconds that a reader which was promised and has not come may hold up the source.
GRACE = 1.0


class Log:
    """What was read and is still wanted; the writing task's side is that of a channel (`channel.Writable`).

    Args:
        replay: Most items kept for readers who come late.
    """

    __slots__ = (
        "_parked",
        "_replay",
        "_timer",
        "_unopened",
        "_writer",
        "base",
        "begin",
        "blocking",
        "buffer",
        "clock",
        "closed",
        "fault",
        "limit",
        "on_close",
        "over",
        "parked",
        "places",
        "trace",
    )

    def __init__(self, replay: int = 0) -> None:
        # The items from number `base` on; always the same list, because the writer's loop holds it.
        self.buffer: list[Any] = []
        self.base = 0
        self.places: list[Place] = []
        self.limit = 0
        # Whatever brought a writer to the limit, there is something to look after.
        self.parked = True
        self.over = False
        self.closed = False
        self.fault: BaseException | None = None
        # Of the fault, as it came: each reader that raises it would make it longer.
        self.trace: TracebackType | None = None
        self.on_close: list[Callable[[], None]] = []
        # Starts the source, once; asked for by the first reader who finds nothing.
        self.begin: Callable[[], None] | None = None
        self.clock: Clock | None = None
        self._replay = replay
        self._parked: list[Place] = []
        self.blocking: set[Place] = set()
        self._writer: Waiter | None = None
        self._timer: Timer | None = None
        self._unopened: ConfigError | None = None

    @property
    def head(self) -> int:
        """The number of the next item."""
        return self.base + len(self.buffer)

    # -- the writer's side

    def wake(self) -> None:
        """Look after everybody: wake who is parked, reduce who lags and may lose items, note who must be waited for."""
        parked, self._parked = self._parked, []
        for place in parked:
            place.waiter.wake()
        buffer, base = self.buffer, self.base
        head = base + len(buffer)
        keep = max(0, head - self._replay)
        nearest = FAIRNESS
        self.blocking.clear()
        for place in self.places:
            # One that loses nothing is asked here: this loop runs twice in each `size` items, for all readers.
            room = place.at + place.size - head if place.lossless else place.room(head)
            if room <= 0:
                self.blocking.add(place)
            if room < nearest:
                nearest = room
            if place.at < keep:
                keep = place.at
        if keep > base:
            del buffer[: keep - base]
            self.base = base = keep
        if not self.closed:
            self.limit = head + nearest - base

    def _trim(self) -> None:
        """Forget what everybody has read."""
        keep = max(0, self.head - self._replay)
        for place in self.places:
            keep = min(keep, place.at)
        if keep > self.base:
            del self.buffer[: keep - self.base]
            self.base = keep

    async def wait_for_room(self, waiter: Waiter, writer: Writer | None = None) -> None:
        """Park the writer while a reader that must not lose anything has no room."""
        self._writer = waiter
        try:
            while self.blocking and not self.closed and not (writer is not None and writer.left):
                self._expect()
                await waiter.wait()
                self.wake()
        finally:
            self._writer = None
            self._disarm()

    def _release(self) -> None:
        if self._writer is not None and not self.blocking:
            self._writer.wake()

    def fail(self, error: BaseException) -> None:
        """The source failed and is closed."""
        self.fault = error = no_end(error)
        self.trace = error.__traceback__

    def end(self) -> None:
        """Nothing more will come."""
        self.over = True
        self.wake()

    def finish(self, error: BaseException | None) -> None:
        """The source is over and closed, with its error."""
        if isinstance(error, ReaderLeft):
            error = self._unopened
        if error is not None:
            self.fail(error)
        self.end()

    # -- the wait for readers that were promised

    def _expect(self) -> None:
        if self._timer is None and self.clock is not None and any(not place.opened for place in self.blocking):
            self._timer = self.clock.call_at(self.clock.now() + GRACE, self._lose_patience)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _lose_patience(self) -> None:
        self._timer = None
        missing = next((place.label for place in self.blocking if not place.opened), None)
        if missing is None:
            self._expect()
            return
        self._unopened = ConfigError(
            f"{missing} was never opened, and has held up its source for {GRACE:g} s: open all branches at once, each in a task "
            "of its own, make fewer of them, or give that one an overflow policy that drops"
        )
        for leave in self.on_close:
            leave()

    # -- the readers' side

    def park(self, place: Place) -> None:
        """Note who waits for the next item."""
        self._parked.append(place)
        if not self.closed:
            self.limit = 0
        begin, self.begin = self.begin, None
        if begin is not None:
            begin()

    def unpark(self, place: Place) -> None:
        """It waits no more, and was not woken."""
        if place in self._parked:
            self._parked.remove(place)

    def moved(self, place: Place) -> None:
        """A reader took something: whether that was what the writer waits for."""
        if place in self.blocking and place.room(self.head) > 0:
            self.blocking.discard(place)
            self._release()

    def join(self, place: Place, late: bool = True) -> None:
        """One more reader, who gets the replay, or everything from the beginning."""
        place.at = max(self.base, self.head - self._replay) if late else 0
        self.places.append(place)
        if not self.closed:
            self.limit = 0

    def withdraw(self) -> bool:
        """The reader that joined last has not begun, and never will; whether that leaves a log that nobody has read."""
        self.places.pop()
        return self.begin is not None and not self.places

    def leave(self, place: Place) -> None:
        """A reader goes; with the last of those who came the log is closed."""
        if place not in self.places:
            return
        self.places.remove(place)
        self.unpark(place)
        self.blocking.discard(place)
        self._release()
        if not self.closed and not any(other.opened for other in self.places):
            place.last = True
            self.close()
        if self.over:
            self._trim()

    def close(self) -> None:
        """Nobody reads any more. What a source has given before its own end is kept for those who come late."""
        if self.closed:
            return
        self.closed = True
        self.limit = -1
        self._disarm()
        if not self.over:
            self.base = self.head
            self.buffer.clear()
        for leave in self.on_close:
            leave()


class _Nobody:
    """The waiter of a place that nobody has opened."""

    async def wait(self) -> NoReturn:
        raise StreamBusy("a place that nobody has opened cannot wait")

    def wake(self) -> None:
        """There is nobody to wake."""


_NOBODY: Final = _Nobody()


class Place:
    """A reader that must not lose anything: an iterator of slices.

    What it was given counts as not consumed until it comes back for more.
    """

    __slots__ = ("_taken", "at", "label", "last", "log", "opened", "size", "waiter")

    shape: Shape = "lists"
    lossless = True

    def __init__(self, log: Log, label: str, size: int) -> None:
        self.log = log
        self.label = label
        self.size = size
        # The number of the first item that it has not consumed.
        self.at = 0
        self.opened = False
        # Whether the log was closed when it left.
        self.last = False
        self._taken = 0
        # Where its task parks; set when somebody sits down here.
        self.waiter: Waiter = _NOBODY

    @staticmethod
    def of(log: Log, label: str, size: int, overflow: Overflow) -> Place:
        """A reader with this policy."""
        return Place(log, label, size) if overflow == "suspend" else _Lossy(log, label, size, overflow)

    def room(self, head: int) -> int:
        """How many items more may come before it must be looked after; none, or less, if the writer must wait."""
        return self.at + self.size - head

    def leave(self) -> None:
        self.log.leave(self)

    def __aiter__(self) -> Place:
        return self

    async def __anext__(self) -> Iterable[Any]:
        """What is there, at least one item.

        Raises:
            StopAsyncIteration: the source ended, and everything was read.
            BaseException: what it failed with.
        """
        log = self.log
        self.at += self._taken
        self._taken = 0
        if self in log.blocking:
            log.moved(self)
        start = self.at - log.base
        while not (count := len(log.buffer) - start):
            if log.over or log.closed:
                self._end()
            waiting = self.waiter.wait()  # first: the source's task may begin at once
            log.park(self)
            try:
                await waiting
            except BaseException:
                log.unpark(self)
                raise
            start = self.at - log.base
        # Half at a time, so that the source goes on while the other half is consumed.
        self._taken = min(count if count < self.size else -(-count // 2), FAIRNESS)
        return log.buffer[start : start + self._taken]

    def _end(self) -> NoReturn:
        log = self.log
        if log.fault is not None:
            raise for_one_reader(log.fault, log.trace)
        raise StopAsyncIteration


class _Lossy(Place):
    """A reader with a policy: an iterator of batches that are read lazily, because what is not yet read may still go."""

    __slots__ = ("_fault", "_held", "_newest_only", "_offer", "_slack", "_unparked")

    shape: Shape = "drains"
    lossless = False

    def __init__(self, log: Log, label: str, size: int, overflow: Overflow) -> None:
        super().__init__(log, label, size)
        self._held, self._offer = make_channel(size, overflow)
        self._newest_only = overflow == "latest"
        self._fault: BufferFull | None = None
        # Behind what it holds it leaves a few items in the log: to reduce each as it comes would cost twice as much.
        self._slack = -(-size // 4)
        self._unparked = 0

    def room(self, head: int) -> int:
        held = self._held
        if self._fault is not None:
            self.at = head
            return self.size
        behind, most = head - self.at, self._slack if held.buffer else self.size + 1
        if behind >= most:
            self._reduce()
            behind, most = 0, self._slack if held.buffer else self.size + 1
        # What is held may be control events, which no policy drops.
        return most - behind if held.has_room else 0

    def _reduce(self) -> None:
        """Take what is unread out of the log, and let the policy say what is kept of it."""
        log, held, offer = self.log, self._held, self._offer
        unread = log.buffer[self.at - log.base :]
        self.at = log.head
        if self._fault is not None or offer is None:  # nothing more is for it
            return
        try:
            for item in unread:
                offer(held, item)
        except BufferFull as full:
            self._fault = full

    async def __anext__(self) -> Iterable[Any]:
        log, held = self.log, self._held
        while True:
            if held.buffer or self._newest_only:
                self._reduce()
            if held.buffer or (self.at < log.head and self._fault is None):
                break
            if self._fault is not None:
                raise self._fault
            if log.over or log.closed:
                self._end()
            self._unparked = 0
            waiting = self.waiter.wait()
            log.park(self)
            try:
                await waiting
            except BaseException:
                log.unpark(self)
                raise
        if self._unparked >= FAIRNESS:
            self._unparked = 0
            await current_backend().checkpoint()
        return self._one() if held.buffer else self._unreduced()

    def _one(self) -> Iterable[Any]:
        self._unparked += 1
        held: Channel[Any] = self._held
        item = held.buffer.popleft()
        self.log.moved(self)
        return (item if held.view is None else held.view(item),)

    def _unreduced(self) -> Iterator[Any]:
        """Item by item out of the log, up to its end or until this reader lags."""
        log, buffer, held = self.log, self.log.buffer, self._held
        while not held.buffer and self.at < log.head and self._unparked < FAIRNESS:
            item = buffer[self.at - log.base]
            self.at += 1
            self._unparked += 1
            yield item


class Fanout:
    """The Run that iterates a source for the readers of a log; nobody iterates the Run itself."""

    __slots__ = ("_label", "_loop", "_plan", "_run", "log")

    def __init__(self, plan: tuple[Source, tuple[Laid, ...]], label: str, log: Log, run: Run[Any]) -> None:
        """Open the source; with the limits of the Run that came first.

        Raises:
            StreamBusy, StreamConsumed: the source can be read once, and is or was.
        """
        self.log = log
        self._plan = plan
        self._label = label
        self._loop = run.backend.loop
        self._run = Run[Any](Source(label, self._open), (), fused=run.fused, close_timeout=run.close_timeout)
        # What the source tells of itself reaches those who read it.
        run.about.update(self._run.about)
        self._run.about = run.about
        log.begin = self._run.begin
        log.clock = self._run.clock

    def _open(self, run: Run[Any]) -> Feed:
        source, parts = self._plan
        pump = run.pump(run.strand(source, parts), self.log, source.label)
        pump.finish = self.log.finish
        return Feed(None, closers=[(self._label, self.log.close)])

    def seat(self, place: Place, run: Run[Any]) -> Feed:
        """One reader's way in: its Run reads at this place, and leaves it.

        Raises:
            StreamBusy: it runs in another event loop than the first one.
        """
        if run.backend.loop is not self._loop and not self.log.over:
            raise StreamBusy(
                f"{place.label} is being read in another event loop, of another thread or another iter(): all readers of one "
                "source are tasks of one loop"
            )
        place.opened = True
        place.waiter = run.backend.waiter()
        run.at_last(partial(self._left, place))
        run.hear(self._run)
        if run.about is not self._run.about:
            run.about.update(self._run.about)
        return Feed(place, shape=place.shape, closers=[(place.label, place.leave)])

    async def _left(self, place: Place) -> None:
        """Close the source when the last reader has gone, and wait for that."""
        if place.last:
            await self._run.aclose()

    def give_back(self) -> None:
        """Nobody has read: the source can be opened again."""
        self._run.give_back()


def for_one_reader(error: BaseException, trace: TracebackType | None) -> BaseException:
    """What one of several readers is to raise.

    The error itself where it is somebody else's. One of ours is given to each as a copy, because it takes what has
    arrived at its reader with it (`partial`).
    """
    if not isinstance(error, StreamkitError):
        return error.with_traceback(trace)
    copy = error.__class__.__new__(error.__class__, *error.args)
    copy.__dict__.update(error.__dict__)
    if hasattr(error, "__notes__"):
        copy.__notes__ = list(error.__notes__)
    copy.__cause__ = error.__cause__
    copy.__context__ = error.__context__
    copy.__suppress_context__ = error.__suppress_context__
    return copy.with_traceback(trace)
