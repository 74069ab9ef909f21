"""What a store is: the log of each stream, kept where other processes, and later ones, find it.

    new       created; nobody writes
    held      a writer has acquired it: it has an epoch, and a lease to renew
    over      closed with the last append, whichever writer did that; kept until `expires_at`, then forgotten

One writer at a time, by fencing: `acquire` gives an epoch, larger than every one before, and an append with any
other is refused. A lease only says when somebody else may acquire; that it has run out stops nobody from appending, so a
writer that was merely slow goes on as long as nobody has taken its place.

Offsets have no gaps: each append says where it begins, and that is where the log ends. One that comes twice, because
the answer to the first was lost, changes nothing. The end of a stream is written in one step with its last events,
so whoever finds it closed has all of it.

A store knows nothing of events: it keeps chunks of bytes (`streamkit.hub.chunks` has their form) and numbers. Times are in
Unix seconds, by the clock that all who use the store have in common. Whoever cancels a call to a store may not know whether
it happened; a second call says.

`streamkit.testing.check_store` holds a store to all of this.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol, TypeAlias

import msgspec

__all__ = ["Chunk", "Closing", "Page", "Record", "Signal", "State", "Store"]

State: TypeAlias = Literal["running", "done", "cancelled", "error", "truncated", "draining", "interrupted"]
"""How far a stream has come: "running", or how it ended."""


class Chunk(msgspec.Struct, frozen=True, gc=False):
    """Some events that follow one another, as they were appended.

    Attributes:
        first: The offset of the first one.
        count: How many, at least 1.
        epoch: Under which they were appended.
        data: The events; a store does not look into it.
    """

    first: int
    count: int
    epoch: int
    data: bytes


class Closing(msgspec.Struct, frozen=True, gc=False):
    """How a stream ended.

    Attributes:
        state: Anything but "running".
        reason: In the words of whoever ended it; None where nobody said.
        keep: Seconds until it may be forgotten, from now.
    """

    state: State
    reason: str | None = None
    keep: float = 600.0


class Record(msgspec.Struct, frozen=True):
    """What a store knows of a stream besides its events.

    Attributes:
        id: Its name.
        owner: Whose it is, in the application's own words; None where nobody asked.
        metadata: What the application keeps with it: plain JSON values.
        created_at: When, in Unix seconds.
        first_epoch: Its first epoch was the one behind this: tokens of other streams have epochs elsewhere.
        epoch: The newest one that was given; `first_epoch` before any.
        holder: Who writes, or wrote last; None before anybody did.
        lease_until: When somebody else may acquire it, in Unix seconds; None once it is over, and before anybody wrote.
        floor, head: The offset of the first event that is kept, and the one behind the last: where the next goes.
        bytes: What its chunks hold, in bytes.
        state, reason: How it ended, or "running".
        ended_at, expires_at: When it ended and when it may be forgotten, in Unix seconds; None while it runs.
    """

    id: str
    owner: str | None
    metadata: Mapping[str, object]
    created_at: float
    first_epoch: int
    epoch: int
    holder: str | None = None
    lease_until: float | None = None
    floor: int = 0
    head: int = 0
    bytes: int = 0
    state: State = "running"
    reason: str | None = None
    ended_at: float | None = None
    expires_at: float | None = None


class Page(msgspec.Struct, frozen=True):
    """Some of a stream's chunks, and the stream as it was in that moment.

    The chunks follow one another without a gap. The first one may begin before the offset that was asked for, and where
    that lies below `record.floor` it begins there.
    """

    record: Record
    chunks: Sequence[Chunk]


class Signal(msgspec.Struct, frozen=True):
    """Something that another process wants of a stream's writer: to cancel it."""

    id: str
    kind: Literal["cancel"]
    reason: str | None = None


class Store(Protocol):
    """Where the streams of several hubs are kept. Every call may raise StoreError, with `retryable` where it may work later."""

    async def create(self, id: str, *, owner: str | None, metadata: Mapping[str, object], first_epoch: int) -> bool:
        """Make a stream that nobody writes yet; False, and nothing changed, if there is one of this name that has not expired."""
        ...

    async def acquire(self, id: str, *, holder: str, lease: float) -> int:
        """Become its writer, for `lease` seconds unless renewed; the new epoch.

        Raises:
            UnknownStream: there is none.
            StreamBusy: another writer's lease runs.
            Fenced: it is over.
        """
        ...

    async def renew(self, holder: str, epochs: Mapping[str, int], *, lease: float) -> set[str]:
        """Hold these streams for `lease` seconds from now; those that are lost: over, forgotten, or under another epoch."""
        ...

    async def append(self, id: str, chunk: Chunk | None, *, epoch: int, close: Closing | None = None) -> None:
        """Write a chunk behind the others, or end the stream, or both in one step. Idempotent under one epoch.

        Raises:
            Fenced: `epoch` is not the newest one; or the stream is over, unless by this very call.
            UnknownStream: it is forgotten.
            StoreError: the chunk begins behind the head, or ends within what is there: the log would have a gap, or two tales.
        """
        ...

    async def read(self, id: str, first: int, *, max_bytes: int = 1 << 20) -> Page:
        """Chunks from this offset on: at least one if there is any, and no more than fit into `max_bytes` otherwise.

        Raises:
            UnknownStream: there is none, or it has expired.
        """
        ...

    async def wait(self, id: str, head: int, *, seconds: float) -> Record:
        """Park until the head is beyond `head`, or the stream is over; the record as it is then, also when the time is up.

        Raises:
            UnknownStream: there is none, or it expires meanwhile.
        """
        ...

    async def signal(self, id: str, kind: Literal["cancel"], reason: str | None = None) -> bool:
        """Tell the stream's writer something; False if the stream is over or nobody writes it. Kept until it is received."""
        ...

    async def signals(self, holder: str, *, seconds: float) -> Sequence[Signal]:
        """Park until there are signals for streams that this holder writes, each given once; [] when the time is up."""
        ...

    async def get(self, id: str) -> Record | None:
        """What is known of a stream; None if there is none, or it has expired."""
        ...

    async def list(self, *, limit: int = 1000) -> Sequence[Record]:
        """The streams that have not expired, newest first."""
        ...

    async def trim(self, id: str, floor: int, *, epoch: int) -> None:
        """Forget the chunks that lie wholly below this offset; the floor is then where the first kept chunk begins.

        Raises:
            Fenced, UnknownStream: as `append`.
        """
        ...

    async def delete(self, id: str, *, first_epoch: int | None = None) -> None:
        """Forget a stream now, or, where `first_epoch` is given, only if it was created with that one; harmless if there is none.

        Two processes may want to begin a name anew at once: the second is not to delete what the first has just created.
        """
        ...

    async def sweep(self) -> Sequence[Record]:
        """Forget what has expired; the streams that still run and whose lease is over: their writers may be dead."""
        ...

    async def aclose(self) -> None:
        """Let go of files, connections and threads; waits that are under way end with StoreError."""
        ...
