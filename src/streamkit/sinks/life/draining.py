"""The end of a process, told to everything that is still open.

    open      anything may join
    draining  nothing new is let in; what runs may end by itself
    told      each member is asked to end: it says "draining" to its client, and closes its source
    cut       who has not left half a second later, when nobody leaves any more, is ended without a word: its client reads nothing

A `Drain` only counts and tells: what it means to end, the members know. One that stands for itself is kept for each event loop, so
that a response to which nobody gave another is told, too, when the process gets SIGTERM; it is there only while it has members.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Final, Literal, Protocol, TypeAlias

import anyio

from streamkit.flow.clock import Clock
from streamkit.flow.tasks import Backend, Timer
from streamkit.sinks.failures import LOGGER
from streamkit.sinks.life.stop_signals import StopSignals

__all__ = ["CUT_AFTER", "GRACE", "Drain", "Member", "StandingDrain", "has_standing_drain", "standing_drain"]

GRACE: Final = 5.0
"""Seconds that open streams get to end by themselves, unless told."""

CUT_AFTER: Final = 0.5
"""Seconds between being told to end and being cut off; half a second more, and nobody waits any longer."""

State: TypeAlias = Literal["open", "draining", "told", "cut"]


class Member(Protocol):
    """What is open and can be ended. Both are called in the event loop, and neither may raise or wait."""

    def end(self) -> None:
        """Tell the client that the server goes, close the source, and leave."""
        ...

    def cut(self) -> None:
        """Leave without a word: nobody reads it."""
        ...


class Drain:
    """Everything that is to end when the process does; see the top of this file.

    Attributes:
        members: Who has joined and not left, in the order of coming.
        state: How far it has come.
        release: Called when nobody holds the server any more; see `join`.

    Memory: an entry per member. One event loop's, and not to be used from another thread.
    """

    __slots__ = (
        "_at",
        "_clock",
        "_empty",
        "_given_up",
        "_holding",
        "_last_words",
        "_left",
        "_looked",
        "_timer",
        "members",
        "release",
        "state",
    )

    def __init__(self) -> None:
        self.members: dict[Member, None] = {}
        self._holding: set[Member] = set()
        self.release: Callable[[], None] | None = None
        self.state: State = "open"
        self._at = 0.0
        self._given_up = False  # nobody is waited for any more
        self._left = 0
        self._looked = False
        self._clock: Clock | None = None
        self._timer: Timer | None = None
        self._empty: anyio.Event | None = None
        # What is left to do for members that have left: their last bytes may lie in the process for ever.
        self._last_words: list[Callable[[], None]] = []

    @property
    def holding(self) -> bool:
        """Whether there are members that the server would close before they are told, and that have their time still."""
        return bool(self._holding) and self.state != "cut"

    def join(self, member: Member, *, holds: bool = False) -> None:
        """One more; it is told at once if all have been told. One that `holds` the server is a WebSocket: see `stop_signals`."""
        self.members[member] = None
        if holds:
            self._holding.add(member)
        if self.state in ("told", "cut"):
            member.end()

    def leave(self, member: Member) -> None:
        """One less; a member that has left already is none."""
        self.members.pop(member, None)
        if self._holding:
            self._holding.discard(member)
            self._let_go()
        if not self.members and self._empty is not None:
            self._empty.set()

    def at_cut(self, callback: Callable[[], None]) -> None:
        """Call back when those that are left are cut off; at once if they have been."""
        if self.state == "cut":
            callback()
        else:
            self._last_words.append(callback)

    def begin(self, seconds: float, clock: Clock) -> None:
        """Let nothing new in, and tell all in so many seconds. When it has begun already, the earlier time counts."""
        at = clock.now() + seconds
        if self.state == "open":
            self.state = "draining"
        elif self.state != "draining" or at >= self._at:
            return
        self._at, self._clock = at, clock
        self._let_go()
        if self._timer is not None:
            self._timer.cancel()
        if seconds <= 0:
            self._tell()
        else:
            self._timer = clock.call_at(at, self._tell)

    async def finish(self) -> None:
        """Wait until the members have left; at most until a second after they were told."""
        if self.members and self._clock is not None and not self._given_up:
            self._empty = self._empty or anyio.Event()
            await self._empty.wait()

    def stop(self) -> None:
        """Set no more timers: nobody is there who could be told."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tell(self) -> None:
        self.state = "told"
        if self.members:
            LOGGER.info("%d open streams are told that the server stops", len(self.members))
        for member in tuple(self.members):
            member.end()
        self._count()

    def _count(self) -> None:
        self._left = len(self.members)
        self._later(CUT_AFTER / 2, self._look)

    def _look(self) -> None:
        """Ten thousand need a while to say what they have to say: nobody is cut off as long as others still leave."""
        if self._looked and len(self.members) == self._left:
            self._cut()
        else:
            self._looked = True
            self._count()

    def _cut(self) -> None:
        self.state = "cut"
        if self.members:
            LOGGER.warning("%d streams had not ended %g s after they were told, and are cut off", len(self.members), CUT_AFTER)
        last_words, self._last_words = self._last_words, []
        for cut in [*[member.cut for member in self.members], *last_words]:
            try:
                cut()
            except Exception:  # the others are cut off all the same
                LOGGER.exception("a connection could not be cut off")
        self._let_go()
        self._later(CUT_AFTER, self._give_up)

    def _give_up(self) -> None:
        self._given_up = True
        if self.members:
            LOGGER.warning("%d streams still run their sources %g s after they were cut off", len(self.members), CUT_AFTER)
        if self._empty is not None:
            self._empty.set()

    def _let_go(self) -> None:
        if self.release is not None and self.state != "open" and not self.holding:
            self.release()

    def _later(self, seconds: float, callback: Callable[[], None]) -> None:
        assert self._clock is not None
        self._timer = self._clock.call_at(self._clock.now() + seconds, callback)


class StandingDrain(Drain):
    """That of an event loop in which nobody set up another; it goes with its last member.

    Memory: one per event loop that answers requests at the moment.
    """

    __slots__ = ("_key", "_signals")

    def __init__(self, key: Hashable, backend: Backend, clock: Clock) -> None:
        super().__init__()
        self._key = key
        self._signals = StopSignals(backend, lambda: self.begin(GRACE, clock), lambda: self.holding)
        self.release = self._signals.release

    def leave(self, member: Member) -> None:
        """One less. With the last one it is gone, unless it has begun: then there is no next stream either."""
        super().leave(member)
        if not self.members and self.state == "open":
            self._forget()

    def _give_up(self) -> None:
        super()._give_up()
        self._forget()

    def _forget(self) -> None:
        self._signals.leave()
        _STANDING.pop(self._key, None)


# By event loop, only those that have members.
_STANDING: Final[dict[Hashable, StandingDrain]] = {}


def standing_drain(backend: Backend, clock: Clock) -> StandingDrain:
    """That of the running event loop."""
    key: Hashable = backend.loop
    found = _STANDING.get(key)
    if found is None:
        found = _STANDING[key] = StandingDrain(key, backend, clock)
    return found


def has_standing_drain(backend: Backend) -> bool:
    """Whether the running event loop has one, which may have begun."""
    return backend.loop in _STANDING
