"""How a stream of a hub is, told to whoever asks."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from streamkit.hub.persisting import Persister
from streamkit.hub.producing import Producer
from streamkit.hub.stores.protocol import Record, State
from streamkit.hub.tokens import format_token

__all__ = ["StreamStatus", "status_of_producer", "status_of_record"]


class StreamStatus(msgspec.Struct, frozen=True):
    """A stream as it is at this moment.

    Attributes:
        id: Its name.
        state: "running", or how it ended.
        events: How many there have been: the offset of the next one.
        floor: The offset of the first one that is not forgotten.
        token: Of the newest event, or None: a reader who resumes from here gets what comes.
        reason: Why it ended, in the words of who ended it, or None.
        owner, metadata: As it was started.
        started_at, ended_at: In Unix seconds.
        here: Whether this hub writes it, or did.
        readers: How many read it in this process.
        stored: How many events are in the store; None without one.
        lost: How many events the store will never have, because it was away for too long: it has a Gap for each.
        failing: Whether the store refuses at the moment what this stream gives it, or has not answered for 2 seconds.
    """

    id: str
    state: State
    events: int
    floor: int
    token: str | None
    reason: str | None
    owner: str | None
    metadata: Mapping[str, object]
    started_at: float
    ended_at: float | None
    here: bool
    readers: int
    stored: int | None = None
    lost: int = 0
    failing: bool = False


def status_of_producer(producer: Producer, persister: Persister | None) -> StreamStatus:
    """Of one that this hub writes, or did."""
    log = producer.log
    return StreamStatus(
        producer.id,
        producer.state,
        log.head,
        log.first,
        log.token(log.head - 1) if log.head else None,
        producer.reason,
        producer.owner,
        producer.metadata,
        producer.started_at,
        producer.ended_at,
        True,
        log.readers,
        None if persister is None else persister.stored,
        0 if persister is None else persister.lost,
        persister is not None and persister.failing,
    )


def status_of_record(record: Record) -> StreamStatus:
    """Of one that is known from its store."""
    return StreamStatus(
        record.id,
        record.state,
        record.head,
        record.floor,
        format_token(record.epoch, record.head - 1) if record.head else None,
        record.reason,
        record.owner,
        record.metadata,
        record.created_at,
        record.ended_at,
        False,
        0,
        record.head,
    )
