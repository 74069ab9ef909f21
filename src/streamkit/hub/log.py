"""The log of one stream: one task appends, any number of readers take slices, each at its own pace.

    offsets     0 ........ first ........ base ........ head
                forgotten  |    folded    |    events   |
                a Gap      joined deltas,  one by one
                           cut exactly

An event costs one append, however many read. Readers hold a number each and nothing else, so one that has stalled holds
nobody up and costs nothing more than one that keeps up. What makes the log longer than its bounds goes from the events to
the folded beginning (`folding`), where text is kept once; a reader whose place is there gets what it has missed in
fewer, larger events. Only when that outgrows its own bound is the oldest forgotten, and a `Gap` says so.

States, and who moves them:

    open      the writer appends
    over      the last event is in: a `Finish` or an `ErrorEvent`, written by `end` alone. What comes afterwards is dropped

The writer's side is that of a channel (`flow.channel.Writable`): one comparison with `limit` tells it that somebody is to
be looked after: a reader that waits, one that must not be left behind (`Lockstep`), or the log's own bounds.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Final, Protocol

from streamkit.errors import InvalidToken
from streamkit.events.message import Message
from streamkit.events.model import Event, Finish, TextDelta
from streamkit.events.stats import utf8_size
from streamkit.flow.channel import FAIRNESS, Writer
from streamkit.flow.clock import Clock
from streamkit.flow.tasks import Backend, Waiter
from streamkit.hub.folding import Folded
from streamkit.hub.tokens import format_token

__all__ = ["Limits", "Lockstep", "Log", "Slice", "weight_of"]

# Events, and for each the offset of the last one of the log that it stands for.
Slice = tuple[Sequence[Event], Sequence[int]]

# What an event takes besides its text: measured, a delta of one token with its place in the log.
_EVENT_BYTES = 120

_NOBODY: Final[frozenset[Lockstep]] = frozenset()

# How often a stream may change its writer, and how many events a copy of it may be behind: tokens beyond are forged.
_MOST_EPOCHS = 1_000_000
_MOST_AHEAD = 1_000_000


class Limits:
    """How much of a stream is kept.

    Args:
        events: Most events one by one, at least 1.
        bytes: Most bytes of them, and as many again of what is folded.
        age: Seconds after which an event is no longer kept by itself; None keeps it.
        fold: Whether what goes is folded or forgotten.
    """

    __slots__ = ("age", "bytes", "events", "fold", "large")

    def __init__(self, events: int, bytes: int, age: float | None = None, *, fold: bool = True) -> None:
        self.events = events
        self.bytes = bytes
        self.age = age
        self.fold = fold
        # Of an event with a longer text a log wants to know at once: what comes between two looks is at most once more.
        self.large = bytes // FAIRNESS


class Lockstep(Protocol):
    """A reader that the writer waits for; `at` is the offset of the next event that it will take."""

    at: int

    def room(self, head: int) -> int:
        """How many events may still come before the writer must wait."""
        ...


class Log:
    """One stream's events; see the top of this file.

    Args:
        backend, clock: Of the event loop in which all of it happens.
        limits: How much is kept.
        first: The offset of the first event that it will hold.
        first_epoch: Tokens of this stream have epochs behind this one.
        epoch: Under which the first event is written.
        complete: Whether all there is is in it: it is where the stream is written, and no copy on its way.
        place: Makes an event of what a source gives, or refuses it.
        started_at: When the stream was started, in Unix seconds; now, unless told.

    Attributes:
        buffer: The events from offset `base` on.
        over: Whether the last event is in.
        fault: What readers raise at the end in the place of an ErrorEvent.
        first_epoch: As given: no other stream has it, whatever its name.
        lockstep: The readers that the writer waits for.
        readers: How many there are.
        encodings: What sinks have made of its events, for all readers of one dialect; theirs to fill, gone with the log.
    """

    __slots__ = (
        "_accounted",
        "_ages",
        "_complete",
        "_due",
        "_earlier",
        "_epoch",
        "_folded",
        "_held",
        "_limits",
        "_message",
        "_own_end",
        "_since",
        "_writer",
        "base",
        "buffer",
        "clock",
        "crowd",
        "encodings",
        "fault",
        "first_epoch",
        "limit",
        "lockstep",
        "on_left",
        "on_over",
        "over",
        "place",
        "readers",
        "started_at",
        "trace",
        "weight",
    )

    # As a channel's: whatever brought a writer to the limit, there is something to look after; and nobody closes a log.
    parked: bool = True
    closed: bool = False
    on_close: list[Callable[[], None]] | None = None

    def __init__(
        self,
        backend: Backend,
        clock: Clock,
        limits: Limits,
        *,
        first: int = 0,
        first_epoch: int,
        epoch: int,
        complete: bool = True,
        place: Callable[[object], Event] = lambda item: item,  # type: ignore[assignment,return-value]
        started_at: float | None = None,
    ) -> None:
        # Always the same list: the writer's loop holds it.
        self.buffer: list[Event] = []
        self.base = first
        # What few logs have is made when it is needed: there may be thousands that end before.
        self._folded: Folded | None = None
        self.clock = clock
        self.crowd = backend.crowd()
        self.place = place
        self.started_at = time.time() if started_at is None else started_at
        self.over = False
        self.fault: BaseException | None = None
        # Of the fault, as it came: each reader that raises it would make it longer.
        self.trace: TracebackType | None = None
        self.weight = 0
        self.readers = 0
        self.encodings: dict[object, object] = {}
        self.lockstep: set[Lockstep] | frozenset[Lockstep] = _NOBODY
        self.on_over: list[Callable[[], None]] = []
        # Told when a reader has left.
        self.on_left: Callable[[], None] | None = None
        self.limit = 0
        # The length of the buffer at which the writer looks after its bounds; `limit` is less where somebody waits.
        self._due = 0
        self._held: Finish | None = None
        self._limits = limits
        self._accounted = first
        # An empty deque takes as much as sixty-four notes, and most logs end before the first one.
        self._ages: deque[tuple[int, float]] | None = None
        self._complete = complete
        # Where a copy that was broken off ends by itself.
        self._own_end = -1
        self.first_epoch = first_epoch
        # Under which the events are written from an offset on; and what was before, where that changed, oldest first.
        self._since = first
        self._epoch = epoch
        self._earlier: tuple[tuple[int, int], ...] = ()
        self._writer: Waiter | None = None
        self._message: Message | None = None

    # -- offsets and tokens

    @property
    def head(self) -> int:
        """The offset of the next event."""
        return self.base + len(self.buffer)

    @property
    def first(self) -> int:
        """The offset of the first event that is not forgotten."""
        return self.base if self._folded is None else self._folded.first

    @property
    def folded(self) -> Folded:
        """What is no longer kept by itself."""
        if self._folded is None:
            self._folded = Folded(self.base, max_bytes=self._limits.bytes if self._limits.fold else 0)
        return self._folded

    @property
    def epoch(self) -> int:
        """Under which the newest events were written."""
        return self._epoch

    def turn_epoch(self, epoch: int) -> None:
        """What comes is written under another epoch."""
        if epoch != self.epoch:
            self._earlier = (*self._earlier, (self._since, self._epoch))
            self._since, self._epoch = self.head, epoch

    def token(self, offset: int) -> str:
        """The resume token of an event; that of the end which a copy gave itself is the one before it."""
        if offset == self._own_end:
            # In the stream itself another event has this offset: who resumes from here is to get that one.
            if offset == 0:
                return format_token(self.first_epoch, 0)
            offset -= 1
        return format_token(self.epoch_of(offset), offset)

    def epoch_of(self, offset: int) -> int:
        """Under which an event was written."""
        if offset >= self._since or not self._earlier:  # nearly always, and asked once per event and dialect
            return self._epoch
        return next((epoch for start, epoch in reversed(self._earlier) if offset >= start), self._earlier[0][1])

    def position(self, epoch: int, offset: int) -> int:
        """Where a reader goes on who has seen the event of this token: the offset of the next.

        A writer may have given more to its own readers than others found when it died. Who has seen that goes on where its
        epoch ends here, without a gap and without seeing anything twice.

        Raises:
            InvalidToken: this stream never gave it.
        """
        if not self.first_epoch <= epoch <= self.first_epoch + _MOST_EPOCHS:
            raise InvalidToken(
                "this resume token belongs to another stream: start without one, from the beginning", reason="foreign"
            )
        end = next((start for start, later in (*self._earlier, (self._since, self._epoch)) if later > epoch), None)
        if end is not None:
            return min(offset + 1, end)
        # A copy that was broken off has not all that its stream has: who was further than it gets the fault.
        whole = self._complete or (self.over and self.fault is None)
        if offset >= self.head and (whole or offset - self.head > _MOST_AHEAD):
            raise InvalidToken(
                f"this resume token is beyond the newest event of its stream, number {self.head - 1}: start without one, from the "
                "beginning",
                reason="future",
            )
        return offset + 1

    # -- the writer's side

    def offer(self, item: object) -> None:
        """Append what a source gives. A finish waits for what the source does next: it may still fail, or go on, and is last."""
        if self.over:
            return
        if isinstance(item, TextDelta) and self._held is None:
            self.buffer.append(item)
            if len(item.text) > self._limits.large:
                self.look_again()
            return
        event = self.place(item)
        held = self._held
        if held is not None and getattr(event, "choice", held.choice) != held.choice:
            self.buffer.append(held)  # the answer before is complete: its finish keeps its place
            self._held = None
        if isinstance(event, Finish):
            self._held = event
            return
        self.buffer.append(event)
        if weight_of(event) > self._limits.large:
            self.look_again()

    def extend(self, events: Iterable[Event]) -> None:
        """Append several, with one wake-up."""
        if not self.over:
            self.buffer += events
            self.crowd.wake()
            self._account()

    def look_again(self) -> None:
        """Let the writer see to the bounds, and to the readers it waits for, at its next event."""
        self.limit = self._due = 0

    def wake(self) -> None:
        """Wake who waits; and, when it is due, keep the bounds and see who must be waited for."""
        self.crowd.wake()
        if len(self.buffer) < self._due:  # it came for a reader that waits: once per event, where they wait for each
            self.limit = self._due
        else:
            self._account()

    def _account(self) -> None:
        """Keep the bounds, see who must be waited for, and when to do that again."""
        buffer = self.buffer
        head = self.base + len(buffer)
        weight = self.weight
        for event in buffer[self._accounted - self.base :]:
            # `weight_of` by hand for what nearly all events are: this runs once for each.
            weight += _EVENT_BYTES + len(event.text) if isinstance(event, TextDelta) else weight_of(event)
        self.weight = weight
        self._accounted = head
        limits = self._limits
        if limits.age is not None:
            if self._ages is None:
                self._ages = deque()
            self._ages.append((head, self.clock.now()))
        if weight > limits.bytes or len(buffer) > limits.events + (limits.events >> 2) or limits.age is not None:
            self.trim()
        # Somebody looks again after so many: the bounds are exact to that.
        room = min(FAIRNESS, max(1, limits.events >> 2))
        for place in self.lockstep:
            room = min(room, place.room(head))
        self.limit = self._due = len(buffer) + max(room, 0)
        if limits.age is not None:
            self._due = 0  # the time of each is noted

    def trim(self) -> None:
        """Keep the bounds: what does not fit goes to the folded beginning."""
        limits, buffer = self._limits, self.buffer
        excess = len(buffer) - limits.events if len(buffer) > limits.events + (limits.events >> 2) else 0
        if limits.age is not None:
            oldest = self.clock.now() - limits.age
            while self._ages and self._ages[0][1] <= oldest:
                excess = max(excess, self._ages.popleft()[0] - self.base)
        weight = self.weight
        if weight > limits.bytes:
            # A fifth more than need be, so that it is not done for each event.
            goal = limits.bytes - limits.bytes // 5
            at = 0
            while weight > goal and at < len(buffer) - 1:
                weight -= weight_of(buffer[at])
                at += 1
            excess = max(excess, at)
        # The last event stays one: whoever comes back is told how it ended.
        excess = min(excess, len(buffer) - 1 if self.over else len(buffer))
        if excess > 0 and not limits.fold:  # who is waited for loses nothing; and is never further behind than it may be
            excess = min([excess, *[place.at - self.base for place in self.lockstep]])
        if excess > 0:
            gone = buffer[:excess]
            self.weight -= sum(map(weight_of, gone))
            del buffer[:excess]
            folded = self.folded  # begins where the log does, as long as nothing is in it
            self.base += excess
            folded.add(gone)
            while self._ages and self._ages[0][0] <= self.base:  # else a long age would keep a note of each flush ever made
                self._ages.popleft()

    async def wait_for_room(self, waiter: Waiter, writer: Writer | None = None) -> None:
        """Park the writer while a reader that it waits for has no room."""
        self._writer = waiter
        try:
            while not self.over and not (writer is not None and writer.left) and self._is_held_up():
                await waiter.wait()
                self.wake()
        finally:
            self._writer = None

    def _is_held_up(self) -> bool:
        head = self.head
        return any(place.room(head) <= 0 for place in self.lockstep)

    def wait_for(self, place: Lockstep) -> None:
        """Let the writer wait for this reader, until it leaves the step."""
        if isinstance(self.lockstep, set):
            self.lockstep.add(place)
        else:
            self.lockstep = {place}
        self.look_again()

    def wait_no_more_for(self, place: Lockstep) -> None:
        """The reader has left, or never was among them."""
        if isinstance(self.lockstep, set) and place in self.lockstep:
            self.lockstep.discard(place)
            self.moved()

    def moved(self) -> None:
        """A reader that the writer waits for took something, or left."""
        if self._writer is not None and not self._is_held_up():
            self._writer.wake()

    def end(self, last: Event | None = None, fault: BaseException | None = None) -> None:
        """Write the last event: the finish that was held, unless another is given. Only the first end counts.

        Args:
            last: A Finish or an ErrorEvent.
            fault: What readers that want exceptions raise in the place of an ErrorEvent.
        """
        if self.over:
            return
        if not self._complete:
            self._own_end = self.head
        self.buffer.append(last or self._held or Finish("stop"))
        self._held = None
        self.seal(fault)

    def seal(self, fault: BaseException | None = None) -> None:
        """The event that is last in the buffer is the last of all."""
        self.over = True
        self.fault = fault
        self.trace = None if fault is None else fault.__traceback__
        self.crowd.wake()
        self._account()
        if self._writer is not None:
            self._writer.wake()
        for told in self.on_over:
            told()
        self.on_over.clear()

    def fail(self, error: BaseException) -> None:
        """As a channel's: a log is told of failures through `end`."""
        raise NotImplementedError("a log has no place for a failure that is not an event") from error

    # -- the readers' side

    @property
    def broken_off(self) -> bool:
        """Whether this is a copy that ended by itself: its last event is not one of the stream."""
        return self._own_end >= 0

    @property
    def last(self) -> Event | None:
        """The event that ended it, once it is over."""
        return self.buffer[-1] if self.over else None

    def below(self, offset: int) -> Slice:
        """What a reader gets whose next event is no longer kept by itself: all up to the events that are."""
        return self.folded.after(offset)

    def message(self) -> Message:
        """The answer so far."""
        if self._message is not None:
            return self._message
        message = Message(self.folded.after(self.folded.first)[0])
        message.add_all(self.buffer)
        if self.over:  # asked for by every reader of a stream that failed
            self._message = message
        return message

    def leave(self) -> None:
        """A reader has left."""
        self.readers -= 1
        if self.on_left is not None:
            self.on_left()


def weight_of(event: Event) -> int:
    """About how many bytes of memory an event takes."""
    weight = _EVENT_BYTES
    for name in ("text", "data", "delta", "arguments", "output", "quote", "signature", "redacted", "message"):
        value = getattr(event, name, None)
        if isinstance(value, str):
            weight += utf8_size(value)
        elif isinstance(value, bytes):
            weight += len(value)
        elif value is not None:
            weight += _size_of(value)
    return weight


def _size_of(value: object) -> int:
    try:
        return len(repr(value))
    except Exception:  # an application's own object, or lists too deep: the log of nobody's stream stops for that
        return _EVENT_BYTES
