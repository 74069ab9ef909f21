"""Who is there: the members of a topic, and those who watch them come and go.

It has a present, and no past worth reading. So a watcher gets each change as long as it keeps up; one that has fallen behind what
is kept gets the difference between what it knows and what is, which is never more than there are members.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

import msgspec

from streamkit.errors import StreamDraining
from streamkit.flow.fanout import for_one_reader
from streamkit.flow.fuse import Shape
from streamkit.flow.tasks import Crowd

__all__ = ["Member", "Presence", "PresenceChange", "Watcher", "difference"]

# Changes of who is there that a watcher may be behind before it gets the difference alone.
_CHANGES: Final = 1024


class Member(msgspec.Struct, frozen=True):
    """Somebody who is there.

    Attributes:
        name: Of which there is one at a time.
        metadata: What they last said of themselves.
        since: When they came, in Unix seconds.
    """

    name: str
    metadata: Mapping[str, object]
    since: float


class PresenceChange(msgspec.Struct, frozen=True):
    """Somebody came, went, or says something else of themselves.

    Attributes:
        kind: Which of these.
        member: As they are now; of one who left, as they were last.
    """

    kind: Literal["joined", "left", "updated"]
    member: Member


class Presence:
    """Who is there, and how that came: the newest changes, each with its number."""

    __slots__ = ("_base", "_changes", "crowd", "fault", "members", "watchers")

    def __init__(self, crowd: Crowd) -> None:
        self.members: dict[str, Member] = {}
        self.watchers = 0
        self.crowd = crowd
        self.fault: StreamDraining | None = None
        self._changes: list[PresenceChange] = []
        self._base = 0

    @property
    def head(self) -> int:
        """The number of the next change."""
        return self._base + len(self._changes)

    def tell(self, kind: Literal["joined", "left", "updated"], member: Member) -> None:
        if kind == "left":
            del self.members[member.name]
        else:
            self.members[member.name] = member
        changes = self._changes
        changes.append(PresenceChange(kind, member))
        if len(changes) > 2 * _CHANGES:  # now and then, so that it costs each the same
            del changes[:-_CHANGES]
            self._base += _CHANGES + 1
        self.crowd.wake()

    def since(self, at: int) -> Sequence[PresenceChange] | None:
        """The changes from this number on; None if they are not all kept."""
        return self._changes[at - self._base :] if at >= self._base else None

    def end(self, fault: StreamDraining) -> None:
        """The topic is closed: all leave."""
        for member in tuple(self.members.values()):
            self.tell("left", member)
        self.fault = fault
        self.crowd.wake()


class Watcher:
    """An iterator of lists: who is there, then what changes."""

    __slots__ = ("_at", "_known", "_presence", "_seat")

    shape: Shape = "lists"

    def __init__(self, presence: Presence) -> None:
        self._presence = presence
        # As it was told. No change has the number -1, so it begins with the difference to nobody.
        self._known: dict[str, Member] = {}
        self._at = -1
        self._seat = presence.crowd.seat()
        presence.watchers += 1

    def __aiter__(self) -> Watcher:
        return self

    async def __anext__(self) -> Sequence[PresenceChange]:
        presence = self._presence
        while True:
            head = presence.head
            changes = presence.since(self._at) if self._at < head else ()
            if changes is None:
                changes = list(difference(self._known, presence.members))
            self._at = head
            if changes:
                break
            if presence.fault is not None:
                raise for_one_reader(presence.fault, None)
            await self._seat
        for change in changes:
            if change.kind == "left":
                del self._known[change.member.name]
            else:
                self._known[change.member.name] = change.member
        return changes


def difference(known: Mapping[str, Member], there: Mapping[str, Member]) -> Iterable[PresenceChange]:
    """What makes the one of the other."""
    for name, member in known.items():
        if name not in there or there[name].since != member.since:
            yield PresenceChange("left", member)
    for name, member in there.items():
        before = known.get(name)
        if before is None or before.since != member.since:
            yield PresenceChange("joined", member)
        elif before is not member:
            yield PresenceChange("updated", member)
