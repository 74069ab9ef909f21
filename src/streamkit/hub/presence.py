"""Who is there: the members of a topic, and those who watch them come and go.

It has a present, and no past worth reading. So a watcher gets each change as long as it keeps up; one that has fallen behind what
is kept gets the difference between what it knows and what is, which is never more than there are members.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Final, Literal, Protocol, Self

import msgspec

from streamkit.errors import ConfigError, StreamBusy, StreamDraining
from streamkit.flow.fanout import for_one_reader
from streamkit.flow.fuse import Shape
from streamkit.flow.tasks import Crowd

__all__ = ["Member", "Membership", "Presence", "PresenceChange", "Watcher", "check_metadata", "check_name", "difference"]

# Changes of who is there that a watcher may be behind before it gets the difference alone.
_CHANGES: Final = 1024

_LONGEST_NAME: Final = 200


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


class Place(Protocol):
    """What one can be in: a topic."""

    async def enter(self, name: str | None, metadata: Mapping[str, object]) -> Member: ...
    def change(self, member: Member, metadata: Mapping[str, object]) -> Member: ...
    def exit(self, member: Member) -> None: ...


class Membership:
    """Being there, as an `async with`; made by `topic.join`. What it gives is itself.

    Cancellation: whoever leaves the block has left the topic, whatever it left with.
    """

    __slots__ = ("_entered", "_member", "_metadata", "_name", "_topic")

    def __init__(self, topic: Place, name: str | None, metadata: Mapping[str, object]) -> None:
        self._topic = topic
        self._name = name
        self._metadata = metadata
        self._member: Member | None = None
        self._entered = False

    @property
    def member(self) -> Member:
        """As the others see it.

        Raises:
            ConfigError: it is not there.
        """
        if self._member is None:
            raise ConfigError("whoever joins is there inside of `async with topic.join(...)`, and only there")
        return self._member

    @property
    def name(self) -> str:
        """The name of the member; one that is drawn is so when they come first, and stays.

        Raises:
            ConfigError: it has not been there.
        """
        return self.member.name if self._name is None else self._name

    async def update(self, metadata: Mapping[str, object]) -> None:
        """Say something else of oneself, in the place of what was said before.

        Raises:
            TypeError: no metadata.
            ConfigError: it is not there.
            StreamDraining: the topic was closed.
        """
        self._member = self._topic.change(self.member, check_metadata(metadata, "update"))

    async def __aenter__(self) -> Self:
        if self._entered:
            raise StreamBusy("this membership is entered already: ask topic.join() for another one")
        self._entered = True
        try:
            self._member = await self._topic.enter(self._name, self._metadata)
            self._name = self._member.name
        except BaseException:
            self._entered = False
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        # Without an await: no cancel can come between.
        member, self._member = self.member, None
        self._entered = False
        self._topic.exit(member)


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


def check_name(what: str, name: object) -> None:
    """Raise TypeError or ConfigError for what is no name of a topic or of a member."""
    if not isinstance(name, str):
        raise TypeError(f"a {what}'s name is a str, got {type(name).__name__}")
    if not 1 <= len(name) <= _LONGEST_NAME or not name.isprintable():
        raise ConfigError(f"a {what}'s name has 1 to {_LONGEST_NAME} printable characters, got {name!r:.80}")


def check_metadata(metadata: object, method: str) -> Mapping[str, object]:
    """A copy: whoever said it may change theirs.

    Raises:
        TypeError: no mapping.
    """
    if not isinstance(metadata, Mapping):
        raise TypeError(f"topic.{method}(metadata=...) takes a mapping, got {type(metadata).__name__}")
    return dict(metadata)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]  # JSON values, whoever wrote them
