"""Readings of one stream that are at the same place: one of them reads the hub, and writes to the sockets of all.

    alone ──caught up──> follows ──its socket is full, the leader steps down──> alone, from the very same place
                            |
    leads <──chosen─────────┘

A task that is woken for each event and client costs more than the write that it is woken for. So whoever has caught up parks, and
leaves the rest to the one that leads: the first who was there, until it ends, leaves, or must wait for its own client. Nothing is
waited for on behalf of a follower: one whose socket is full is on its own again before anything is written to it, and has its own
place in the hub's log. What all of them have had is told here, once: `next`, `last` and `token`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from streamkit.hub.log import Log
from streamkit.hub.reading import POLICIES, Policy
from streamkit.sinks.websocket.sockets import Outgoing, Socket, SocketClosed

__all__ = ["Cohort", "Member"]

# A slice of more messages is a large one: each sends it by itself, and looks at its socket for each message.
_MOST_MESSAGES: Final = 4


# Under which a log keeps it: a string for all logs, and a table of strings is small.
_KEYS: Final[Mapping[Policy, str]] = {policy: f"cohort {policy}" for policy in POLICIES}


class Member(Protocol):
    """A reading, as a cohort knows it."""

    ended: bool
    most: int
    socket: Socket

    def released(self, cohort: Cohort) -> None:
        """It is on its own again, or `ended`: take the place of the cohort, and go on."""
        ...


class Cohort:
    """Those that read one log by one policy and are at the same place.

    Attributes:
        leader: Who reads for all, or None.
        next: The offset of the first event that they have not had.
        last, token: Of the last event that was sent to all.

    Memory: a reference per member. Nothing here waits, so at each moment all have had the same.
    """

    __slots__ = ("_members", "last", "leader", "next", "token")

    @staticmethod
    def of(log: Log, policy: Policy) -> Cohort:
        """That of this log, made if it has none for this policy."""
        key = _KEYS[policy]
        found = log.encodings.get(key)
        if not isinstance(found, Cohort):
            found = log.encodings[key] = Cohort()
        return found

    def __init__(self) -> None:
        self._members: dict[Member, None] = {}
        self.leader: Member | None = None
        self.next = -1
        self.last = -1
        self.token: str | None = None

    def __contains__(self, member: Member) -> bool:
        return member in self._members

    def may_lead(self, place: int) -> bool:
        """Whether one at this place may read for all."""
        return self.leader is None and (not self._members or self.next == place)

    def lead(self, member: Member, place: int, last: int, token: str | None) -> None:
        """Read for all from here on."""
        self.leader = member
        self.next, self.last, self.token = place, last, token

    def join(self, member: Member) -> None:
        """One more, who has had what the others have."""
        self._members[member] = None

    def leave(self, member: Member) -> None:
        """One less, who may lead, or follow, or neither. If it leads, the next one does."""
        if self._members.pop(member, self) is None:
            member.released(self)
        if self.leader is member:
            self.leader = None
            if self._members:
                self.leader = following = next(iter(self._members))
                del self._members[following]
                following.released(self)

    def serve(self, messages: Sequence[Outgoing], place: int) -> None:
        """Write what the leader has read, up to `place`, to all that can take it."""
        members = self._members
        if len(messages) > _MOST_MESSAGES:
            self._release(list(members))
        elif members:
            full: list[Member] = []
            # Once per slice and client (benchmarks/bench_websocket.py).
            for member in members:
                try:
                    if not member.socket.offer(messages, member.most):
                        full.append(member)
                except SocketClosed:
                    member.ended = True
                    full.append(member)
                except Exception:  # no matter of the one that reads: on its own it fails again, in its own task
                    full.append(member)
            if full:
                self._release(full)
        for message in messages:
            if message.last is not None:
                self.last, self.token = message.last, message.token
        self.next = place
        if messages and messages[-1].ends:
            for member in members:
                member.ended = True
            self._release(list(members))

    def _release(self, members: Sequence[Member]) -> None:
        for member in members:
            del self._members[member]
            member.released(self)
