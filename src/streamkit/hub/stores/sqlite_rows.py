"""Rows of a store's database as records and chunks; what no hub has written is a `CorruptEntry`."""

from __future__ import annotations

from typing import Any, Final, get_args

import msgspec

from streamkit.errors import CorruptEntry
from streamkit.hub.stores.protocol import Chunk, Record, State
from streamkit.hub.stores.rules import LARGEST, MAX_METADATA_BYTES

__all__ = ["RECORD", "bytes_of", "chunk_of", "maybe_text", "record_of", "text_of"]

RECORD: Final = """
SELECT no, id, owner, metadata, created_at, first_epoch, epoch, holder, lease_until, floor, head, bytes, state, reason, ended_at,
    expires_at
FROM streams LEFT JOIN about ON stream = no
"""

STATES: Final = frozenset(get_args(State))


def record_of(row: tuple[Any, ...]) -> tuple[int, Record]:
    """A row of `RECORD`, checked."""
    try:
        no, id, owner, metadata, created_at, *rest = row
        first_epoch, epoch, holder, lease, floor, head, size, state, reason, ended, expires = rest
        numbers = (first_epoch, epoch, floor, head, size)
        times = (created_at, *(one for one in (lease, ended, expires) if one is not None))
        if not all(isinstance(one, int) and one >= 0 for one in numbers) or not all(isinstance(one, float) for one in times):
            raise ValueError("its numbers are none")
        if floor > head or epoch < first_epoch or state not in STATES or (state == "running") != (expires is None):
            raise ValueError("its numbers cannot be")
        if len(metadata) > MAX_METADATA_BYTES:
            raise ValueError("its metadata is too long")
        about = msgspec.json.decode(metadata, type=dict[str, object])
        return no, Record(
            text_of(id), maybe_text(owner), about, created_at, first_epoch, epoch, maybe_text(holder), lease, floor, head, size,
            state, maybe_text(reason), ended, expires,
        )  # fmt: skip
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptEntry(f"the store's row of a stream is not what a hub has written: {error}") from error


def chunk_of(row: tuple[object, ...], most: int) -> Chunk:
    """A row of `chunks`, checked: its data may be so long."""
    first, count, epoch, data = row
    if not (isinstance(first, int) and isinstance(count, int) and isinstance(epoch, int) and isinstance(data, bytes)):
        raise CorruptEntry("a chunk of the store has columns of other types than a hub writes")
    if first < 0 or not 1 <= count <= LARGEST or epoch < 0 or len(data) > most:
        raise CorruptEntry(f"a chunk of the store says {count} events from {first} on in {len(data)} bytes: no hub wrote that")
    return Chunk(first, count, epoch, data)


# Names and reasons come from outside and may hold half a surrogate pair, which SQLite's text cannot: they are kept as bytes.


def bytes_of(text: str | None) -> bytes | None:
    """As it is kept."""
    return None if text is None else text.encode("utf-8", "surrogatepass")


def text_of(data: bytes) -> str:
    """As it was."""
    return data.decode("utf-8", "surrogatepass")


def maybe_text(data: bytes | None) -> str | None:
    """As it was, or None."""
    return None if data is None else text_of(data)
