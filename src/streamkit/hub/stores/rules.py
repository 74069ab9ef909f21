"""What every store decides alike: who may append, what is a repeat, whose lease runs.

Pure: a stream's numbers and a call go in, a decision or a typed error comes out. `streamkit.hub.stores.protocol` has the
theory; a store keeps the numbers, asks here, and then writes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from streamkit.errors import ConfigError, Fenced, StoreError, StreamBusy, UnknownStream
from streamkit.flow.plan import check_count, check_seconds
from streamkit.hub.stores.protocol import Chunk, Closing, Record

__all__ = [
    "ACQUIRED_WITHIN",
    "LARGEST",
    "MAX_CHUNK_BYTES",
    "MAX_METADATA_BYTES",
    "check_chunk",
    "check_create",
    "check_wait",
    "holds",
    "is_lost",
    "settle_acquire",
    "settle_append",
    "settle_writer",
    "store_closed",
    "unknown_stream",
]

# A chunk of more than this was not made by a hub, which cuts its chunks far smaller.
MAX_CHUNK_BYTES: Final = 16 * 1024 * 1024

MAX_METADATA_BYTES: Final = 1024 * 1024

# Seconds after its creation within which somebody writes a stream, or never will.
ACQUIRED_WITHIN: Final = 60.0

# Offsets and epochs beyond this are nobody's; they still fit into 64 bits when added to one another.
LARGEST: Final = (1 << 62) - 1


def check_chunk(chunk: Chunk | None, epoch: int, close: Closing | None, most: int) -> None:
    """Refuse at the call what no log could hold."""
    if close is not None and close.state == "running":
        raise ConfigError("append(close=...): a stream does not end as 'running'")
    if close is not None and not close.keep >= 0:
        raise ConfigError(f"append(close=...): keep={close.keep} is no time")
    if chunk is None:
        return
    if chunk.count < 1 or chunk.first < 0 or chunk.first + chunk.count > LARGEST:
        raise ConfigError(f"append(chunk=...): {chunk.count} events from offset {chunk.first} on is no part of a log")
    if chunk.epoch != epoch:
        raise ConfigError(f"append(epoch={epoch}): the chunk says epoch {chunk.epoch}")
    if len(chunk.data) > most:
        raise StoreError(f"a chunk of {len(chunk.data)} bytes is longer than the {most} that a store takes: cut it")


def check_create(first_epoch: int, metadata: Mapping[str, object]) -> bytes:
    """Refuse at the call what no store could keep; the metadata as JSON."""
    check_count("create", "first_epoch", first_epoch, 0)
    if first_epoch > LARGEST:
        raise ConfigError(f"create(first_epoch={first_epoch}): at most {LARGEST}")
    return _encoded(metadata)


def check_wait(call: str, seconds: float) -> None:
    """Refuse what is not a time to wait; 0 is one."""
    if seconds != 0 or isinstance(seconds, bool):
        check_seconds(call, "seconds", seconds)


def settle_append(
    id: str, record: Record, chunk: Chunk | None, epoch: int, close: Closing | None, kept: Callable[[int], Chunk | None]
) -> bool:
    """Whether the chunk is to be written; not if it is there already.

    Args:
        id: The stream's name, for the message.
        record: The stream as it is.
        chunk, epoch, close: The call.
        kept: The chunk that begins at this offset, if one is kept.

    Raises:
        Fenced, StoreError: as `Store.append`.
    """
    if record.state != "running" and _said_again(record, chunk, epoch, close, kept):
        return False
    settle_writer(id, record, epoch)
    if chunk is None or _is_there(record, chunk, kept):
        return False
    if chunk.first > record.head:
        raise StoreError(f"{_named(id)} ends at {record.head}: a chunk from {chunk.first} on would leave a gap")
    if chunk.first < record.head:
        raise StoreError(f"{_named(id)} has other events at {chunk.first} already: it ends at {record.head}")
    return True


def settle_writer(id: str, record: Record, epoch: int) -> None:
    """Refuse whoever does not write this stream.

    Raises:
        Fenced: it is over, or `epoch` is not the newest that was given.
    """
    if record.state != "running":
        raise Fenced(f"{_named(id)} is over ({record.state}): nothing can be appended")
    if record.holder is None:
        raise Fenced(f"{_named(id)} has no writer: acquire it")
    if epoch != record.epoch:
        raise Fenced(f"{_named(id)} is under epoch {record.epoch}: epoch {epoch} has lost it")


def settle_acquire(id: str, record: Record, holder: str, now: float) -> None:
    """Refuse whoever may not become the writer.

    Raises:
        StreamBusy, Fenced: as `Store.acquire`.
    """
    if record.state != "running":
        raise Fenced(f"{_named(id)} is over ({record.state}): nobody can write it")
    # Its own holder may: the answer to a first call may have been lost.
    if record.lease_until is not None and record.lease_until > now and record.holder != holder:
        raise StreamBusy(f"{_named(id)} has a writer for another {record.lease_until - now:.3g} s")


def holds(record: Record | None, holder: str, epoch: int) -> bool:
    """Whether this holder writes it, under this epoch."""
    return record is not None and record.state == "running" and record.holder == holder and record.epoch == epoch


def is_lost(record: Record, now: float) -> bool:
    """Whether it runs, and its writer may be dead or never came."""
    if record.state != "running":
        return False
    return record.created_at + ACQUIRED_WITHIN <= now if record.lease_until is None else record.lease_until <= now


def unknown_stream(id: str) -> UnknownStream:
    """Nothing is known of it."""
    return UnknownStream(f"the store knows no {_named(id)}: never created, or forgotten since")


def store_closed() -> StoreError:
    """What calls get once the store was told to let go."""
    return StoreError("the store is closed")


def _encoded(metadata: Mapping[str, object]) -> bytes:
    try:
        data = msgspec.json.encode(dict(metadata))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ConfigError(f"create(metadata=...) takes plain JSON values: {type(error).__name__}") from error
    if len(data) > MAX_METADATA_BYTES:
        raise ConfigError(f"create(metadata=...): {len(data)} bytes as JSON, and at most {MAX_METADATA_BYTES} are kept")
    return data


def _said_again(
    record: Record, chunk: Chunk | None, epoch: int, close: Closing | None, kept: Callable[[int], Chunk | None]
) -> bool:
    """Whether this very call has ended the stream."""
    if close is None or epoch != record.epoch or (close.state, close.reason) != (record.state, record.reason):
        return False
    return chunk is None or (chunk.first + chunk.count == record.head and _is_there(record, chunk, kept))


def _is_there(record: Record, chunk: Chunk, kept: Callable[[int], Chunk | None]) -> bool:
    end = chunk.first + chunk.count
    # What was trimmed cannot be compared; only this writer, or one before it, can have written it.
    return end <= record.floor or (end <= record.head and kept(chunk.first) == chunk)


def _named(id: str) -> str:
    return f"stream {id!r}" if len(id) <= 64 else f"stream {id[:60]!r}..."
