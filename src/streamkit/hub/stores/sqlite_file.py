"""The SQLite file of a store: each call of a store as SQL on one connection.

Knows no threads and no event loop: whoever has the file calls these methods, within `reading` or `writing`. What it reads it
distrusts: a row that no hub has written is a `CorruptEntry`, and nothing in a file is ever deleted because it looks wrong.
"""

from __future__ import annotations

import builtins
import sqlite3
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Final, Literal

from streamkit.errors import CorruptEntry
from streamkit.hub.stores.protocol import Chunk, Closing, Page, Record, Signal
from streamkit.hub.stores.rules import ACQUIRED_WITHIN, LARGEST, holds, settle_acquire, settle_append, settle_writer, unknown_stream
from streamkit.hub.stores.sqlite_rows import RECORD, bytes_of, chunk_of, maybe_text, record_of, text_of
from streamkit.hub.stores.sqlite_schema import open_database, pragma

__all__ = ["SqliteFile"]

# Free pages that stay in the file for the streams to come.
SPARE_PAGES: Final = 256

# One statement for an append that fits, because each lets go of the interpreter's lock and must win it back.
APPEND: Final = """
INSERT INTO chunks (stream, first, count, epoch, data)
SELECT no, head, ?, epoch, ? FROM streams WHERE id = ? AND epoch = ? AND head = ? AND state = 'running' AND holder IS NOT NULL
"""

READ: Final = """
SELECT first, count, epoch, data FROM chunks
WHERE stream = ? AND first >= coalesce((SELECT max(first) FROM chunks WHERE stream = ? AND first <= ?), 0) ORDER BY first
"""

SIGNALS: Final = "FROM signals JOIN streams ON stream = streams.no WHERE holder = ? AND state = 'running'"


class SqliteFile:
    """One connection to the file, opened now and checked.

    Args:
        path: The file; made if there is none.
        busy_timeout: Seconds to wait for another process's lock.
        max_bytes: How large the file may become, without its write-ahead log.
        max_chunk_bytes: Longer chunks are refused as corrupt.
        clock_time: The time in Unix seconds.

    Raises:
        StoreError: it is of a newer version, or of another application.
        sqlite3.Error: as everything here.
    """

    def __init__(
        self, path: str, *, busy_timeout: float, max_bytes: int, max_chunk_bytes: int, clock_time: Callable[[], float]
    ) -> None:
        self._now = clock_time
        self._max_chunk_bytes = max_chunk_bytes
        # What the writes of this transaction have touched: ("stream", id) and ("holder", name).
        self.touched: set[tuple[str, str]] = set()
        self._db = open_database(path, busy_timeout=busy_timeout, max_bytes=max_bytes, max_chunk_bytes=max_chunk_bytes)
        self._version = pragma(self._db, "data_version")

    def close(self) -> None:
        """Close the connection; the last one of all processes tidies up the write-ahead log."""
        self._db.close()

    @contextmanager
    def reading(self) -> Generator[None]:
        """One moment of the file for everything within; no lock is waited for."""
        self._db.execute("BEGIN")
        try:
            yield
        finally:
            self._rollback()

    @contextmanager
    def writing(self) -> Generator[None]:
        """One transaction: all of it, or nothing."""
        self.touched.clear()
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            self.touched.clear()
            self._rollback()
            raise

    def _rollback(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def changed_elsewhere(self) -> bool:
        """Whether another connection has written since the last look."""
        before, self._version = self._version, pragma(self._db, "data_version")
        return before != self._version

    # -- the calls of a store

    def create(self, id: str, owner: str | None, about: bytes, first_epoch: int) -> bool:
        """As `Store.create`."""
        if self._find(id) is not None:
            return False
        self.delete(id)
        cursor = self._db.execute(
            "INSERT INTO streams (id, created_at, first_epoch, epoch, floor, head, bytes, state) "
            "VALUES (?, ?, ?, ?, 0, 0, 0, 'running')",
            (bytes_of(id), self._now(), first_epoch, first_epoch),
        )
        self._db.execute("INSERT INTO about VALUES (?, ?, ?)", (cursor.lastrowid, bytes_of(owner), about))
        return True

    def acquire(self, id: str, holder: str, lease: float) -> int:
        """As `Store.acquire`."""
        no, record = self._of(id)
        now = self._now()
        settle_acquire(id, record, holder, now)
        self._db.execute(
            "UPDATE streams SET epoch = epoch + 1, holder = ?, lease_until = ? WHERE no = ?", (bytes_of(holder), now + lease, no)
        )
        self.touched.add(("holder", holder))
        return record.epoch + 1

    def renew(self, holder: str, epochs: Mapping[str, int], lease: float) -> set[str]:
        """As `Store.renew`."""
        until = self._now() + lease
        lost: set[str] = set()
        for id, epoch in epochs.items():
            found = self._find(id)
            if found is None or not holds(found[1], holder, epoch):
                lost.add(id)
            else:
                self._db.execute("UPDATE streams SET lease_until = ? WHERE no = ?", (until, found[0]))
        return lost

    def append(self, id: str, chunk: Chunk | None, epoch: int, close: Closing | None) -> None:
        """As `Store.append`."""
        name = bytes_of(id)
        if chunk is None or not 0 <= epoch <= LARGEST or not self._fits(name, chunk, epoch):
            no, record = self._of(id)
            if settle_append(id, record, chunk, epoch, close, lambda first: self._chunk(no, first)):
                raise CorruptEntry(f"the store's row of a stream says that it ends at {record.head}, and its chunks say otherwise")
            if record.state != "running":
                return
        if close is not None:
            now = self._now()
            self._db.execute("DELETE FROM signals WHERE stream = (SELECT no FROM streams WHERE id = ?)", (name,))
            self._db.execute(
                "UPDATE streams SET state = ?, reason = ?, lease_until = NULL, ended_at = ?, expires_at = ? WHERE id = ?",
                (close.state, bytes_of(close.reason), now, now + close.keep, name),
            )
        self.touched.add(("stream", id))

    def _fits(self, name: bytes | None, chunk: Chunk, epoch: int) -> bool:
        try:
            return self._db.execute(APPEND, (chunk.count, chunk.data, name, epoch, chunk.first)).rowcount == 1
        except sqlite3.IntegrityError:
            return False  # a row where the log ends: what `append` then finds says more

    def read(self, id: str, first: int, max_bytes: int) -> Page:
        """As `Store.read`."""
        no, record = self._of(id)
        chunks: list[Chunk] = []
        due = first = max(first, record.floor)
        if first >= record.head:
            return Page(record, chunks)
        size = 0
        for row in self._db.execute(READ, (no, no, first)):
            chunk = chunk_of(row, self._max_chunk_bytes)
            size += len(chunk.data)
            if chunks and size > max_bytes:
                break
            if not (chunk.first == due if chunks else chunk.first <= due < chunk.first + chunk.count):
                raise CorruptEntry(f"a chunk of the store begins at {chunk.first}, and {due} was due")
            due = chunk.first + chunk.count
            chunks.append(chunk)
        if not chunks or due > record.head:
            raise CorruptEntry(f"the store's row of a stream says that it ends at {record.head}, and its chunks end at {due}")
        return Page(record, chunks)

    def look(self, id: str) -> Record:
        """The record of a stream that is there."""
        return self._of(id)[1]

    def signal(self, id: str, kind: Literal["cancel"], reason: str | None) -> bool:
        """As `Store.signal`."""
        found = self._find(id)
        if found is None or found[1].state != "running" or found[1].holder is None:
            return False
        self._db.execute(
            "INSERT OR IGNORE INTO signals (stream, kind, reason) VALUES (?, ?, ?)", (found[0], kind, bytes_of(reason))
        )
        self.touched.add(("holder", found[1].holder))
        return True

    def has_signals(self, holder: str) -> bool:
        """Whether there is a signal for one of its streams."""
        return self._db.execute(f"SELECT 1 {SIGNALS} LIMIT 1", (bytes_of(holder),)).fetchone() is not None

    def take_signals(self, holder: str) -> builtins.list[Signal]:
        """The signals for its streams; they are gone from the file."""
        wanted = f"SELECT signals.no, id, kind, signals.reason {SIGNALS} ORDER BY signals.no"
        taken: list[Signal] = []
        for no, id, kind, reason in self._db.execute(wanted, (bytes_of(holder),)).fetchall():
            self._db.execute("DELETE FROM signals WHERE no = ?", (no,))
            if kind != "cancel":
                raise CorruptEntry("the store holds a signal of a kind that no hub has sent")
            taken.append(Signal(text_of(id), kind, maybe_text(reason)))
        return taken

    def give_back(self, signals: builtins.list[Signal]) -> None:
        """Signals that were taken for somebody who has left."""
        for one in signals:
            self.signal(one.id, one.kind, one.reason)

    def get(self, id: str) -> Record | None:
        """As `Store.get`."""
        found = self._find(id)
        return None if found is None else found[1]

    def list(self, limit: int) -> builtins.list[Record]:
        """As `Store.list`."""
        rows = self._db.execute(
            f"{RECORD} WHERE expires_at IS NULL OR expires_at > ? ORDER BY no DESC LIMIT ?", (self._now(), min(limit, LARGEST))
        )
        return [record_of(row)[1] for row in rows]

    def trim(self, id: str, floor: int, epoch: int) -> None:
        """As `Store.trim`."""
        no, record = self._of(id)
        settle_writer(id, record, epoch)
        below = "stream = ? AND first + count <= ? AND first < ?"
        place = (no, min(floor, LARGEST), min(floor, LARGEST))
        freed = self._db.execute(f"SELECT coalesce(sum(length(data)), 0) FROM chunks WHERE {below}", place).fetchone()[0]
        if self._db.execute(f"DELETE FROM chunks WHERE {below}", place).rowcount:
            self._db.execute(
                "UPDATE streams SET bytes = bytes - ?, floor = coalesce((SELECT min(first) FROM chunks WHERE stream = no), head) "
                "WHERE no = ?",
                (freed, no),
            )

    def delete(self, id: str, first_epoch: int | None = None) -> None:
        """As `Store.delete`."""
        row = self._db.execute("SELECT no, first_epoch FROM streams WHERE id = ?", (bytes_of(id),)).fetchone()
        if row is not None and first_epoch in (None, row[1]):
            self._forget(row[0])
            self.touched.add(("stream", id))

    def forget_expired(self, most: int) -> bool:
        """Forget so many of the streams that have expired; whether there may be more."""
        rows = self._db.execute("SELECT no FROM streams WHERE expires_at <= ? LIMIT ?", (self._now(), most)).fetchall()
        for row in rows:
            self._forget(row[0])
        return len(rows) == most

    def lost(self) -> builtins.list[Record]:
        """The streams that run, and whose writer may be dead or never came."""
        now = self._now()
        which = "expires_at IS NULL AND (lease_until <= ? OR (lease_until IS NULL AND created_at <= ?))"
        return [record_of(row)[1] for row in self._db.execute(f"{RECORD} WHERE {which} ORDER BY no", (now, now - ACQUIRED_WITHIN))]

    def shrink(self, pages: int) -> bool:
        """Give so many free pages back to the file system; whether there may be more. Outside of a transaction."""
        free = pragma(self._db, "freelist_count")
        if free <= SPARE_PAGES:
            return False
        # A step of this statement frees one page, and `execute` takes one step only.
        self._db.executescript(f"PRAGMA incremental_vacuum({min(pages, free - SPARE_PAGES)})")
        return pragma(self._db, "freelist_count") < free

    def checkpoint(self) -> None:
        """Move what it can from the write-ahead log into the file, which only then becomes shorter; outside of a transaction."""
        self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    # -- rows

    def _forget(self, no: int) -> None:
        self._db.execute("DELETE FROM chunks WHERE stream = ?", (no,))
        self._db.execute("DELETE FROM signals WHERE stream = ?", (no,))
        self._db.execute("DELETE FROM about WHERE stream = ?", (no,))
        self._db.execute("DELETE FROM streams WHERE no = ?", (no,))

    def _find(self, id: str) -> tuple[int, Record] | None:
        row = self._db.execute(f"{RECORD} WHERE id = ?", (bytes_of(id),)).fetchone()
        if row is None:
            return None
        no, record = record_of(row)
        return None if record.expires_at is not None and record.expires_at <= self._now() else (no, record)

    def _of(self, id: str) -> tuple[int, Record]:
        found = self._find(id)
        if found is None:
            raise unknown_stream(id)
        return found

    def _chunk(self, no: int, first: int) -> Chunk | None:
        row = self._db.execute(
            "SELECT first, count, epoch, data FROM chunks WHERE stream = ? AND first = ?", (no, first)
        ).fetchone()
        return None if row is None else chunk_of(row, self._max_chunk_bytes)
