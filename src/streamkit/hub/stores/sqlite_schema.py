"""The database of a SQLite store: its tables, how it is opened, and what its errors mean.

    streams   one row each, numbers alone: it is written anew with every chunk
    about     what never changes of a stream, and may be long
    chunks    one row for each append; a trigger keeps the stream's head and size
    signals   what writers have not been told yet

A file is looked at before anything in it is changed: one that is not ours, is newer, or is no database stays as it is.
"""

from __future__ import annotations

import os
import sqlite3
import time
from typing import Final

from streamkit.errors import CorruptEntry, StoreError
from streamkit.hub.stores.rules import MAX_METADATA_BYTES

__all__ = ["Locked", "code_of", "open_database", "pragma", "told"]

VERSION: Final = 1

# "sk" and a number: the file is ours. SQLite's own `file` description shows it.
APPLICATION_ID: Final = 0x736B_0005

# SQLite's own limit.
MOST_PAGES: Final = (1 << 32) - 2

# The write-ahead log is cut back to this after a checkpoint.
WAL_BYTES: Final = 8 * 1024 * 1024

SCHEMA: Final = (
    """CREATE TABLE streams (
        no INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, created_at REAL NOT NULL, first_epoch INTEGER NOT NULL,
        epoch INTEGER NOT NULL, holder BLOB, lease_until REAL, floor INTEGER NOT NULL, head INTEGER NOT NULL,
        bytes INTEGER NOT NULL, state TEXT NOT NULL, reason BLOB, ended_at REAL, expires_at REAL
    )""",
    "CREATE INDEX streams_over ON streams (expires_at) WHERE expires_at IS NOT NULL",
    "CREATE INDEX streams_running ON streams (lease_until, created_at) WHERE expires_at IS NULL",
    "CREATE TABLE about (stream INTEGER PRIMARY KEY, owner BLOB, metadata BLOB NOT NULL)",
    """CREATE TABLE chunks (
        stream INTEGER NOT NULL, first INTEGER NOT NULL, count INTEGER NOT NULL, epoch INTEGER NOT NULL, data BLOB NOT NULL,
        PRIMARY KEY (stream, first)
    )""",
    """CREATE TRIGGER chunks_grow AFTER INSERT ON chunks BEGIN
        UPDATE streams SET head = head + NEW.count, bytes = bytes + length(NEW.data) WHERE no = NEW.stream;
    END""",
    """CREATE TABLE signals (
        no INTEGER PRIMARY KEY, stream INTEGER NOT NULL, kind TEXT NOT NULL, reason BLOB, UNIQUE (stream, kind)
    )""",
)


def open_database(path: str, *, busy_timeout: float, max_bytes: int, max_chunk_bytes: int) -> sqlite3.Connection:
    """A connection to the file, which is made if there is none.

    Raises:
        StoreError: it cannot be made, is of a newer version, or of another application.
        sqlite3.Error: it cannot be opened, or is no database; see `told`.
    """
    _make_private(path)
    db = sqlite3.connect(path, timeout=busy_timeout, isolation_level=None)
    try:
        # Whatever is longer, in whichever column, is an error before it is memory.
        db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, max(max_chunk_bytes, MAX_METADATA_BYTES) + 65536)
        db.execute("BEGIN")  # one moment: another process may be making the file
        try:
            made = _is_ours(db)
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")
        if not made:
            _make(db, busy_timeout)
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
        pages = min(max_bytes // pragma(db, "page_size"), MOST_PAGES)
        db.execute(f"PRAGMA max_page_count = {pages}")
    except BaseException:
        db.close()
        raise
    return db


def _make_private(path: str) -> None:
    """Make the file for its owner alone, if there is none: it holds whole answers. SQLite gives its log the same mode.

    One that is there is not opened: to close it again would let go of every lock that this process has on it (POSIX), also
    of those that another connection counts on.

    Raises:
        StoreError: it cannot be made there.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        raise StoreError(f"the file of the store cannot be made at {path!r} ({error.strerror}): make its folder first") from error


def pragma(db: sqlite3.Connection, name: str) -> int:
    """A number that the database tells of itself."""
    value: int = db.execute(f"PRAGMA {name}").fetchone()[0]
    return value


def _is_ours(db: sqlite3.Connection) -> bool:
    version, application = pragma(db, "user_version"), pragma(db, "application_id")
    if version == 0 and application == 0:
        if db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise StoreError("this file is the database of something else: give the store a file of its own")
        return False
    if application != APPLICATION_ID:
        raise StoreError("this file is the database of another application: give the store a file of its own")
    if version != VERSION:
        raise StoreError(f"this file was written by a newer streamkit (schema {version}, this one knows {VERSION}): update it")
    return True


def _make(db: sqlite3.Connection, busy_timeout: float) -> None:
    db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # counts only before there are tables
    until = time.monotonic() + busy_timeout
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError as error:
            # The one lock that SQLite does not wait for by itself: another process is just making the file.
            if code_of(error) != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.005)
    db.execute("BEGIN IMMEDIATE")
    try:
        if not _is_ours(db):
            for statement in SCHEMA:
                db.execute(statement)
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {VERSION}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


class Locked(StoreError):  # reads as what happened; users catch StoreError
    """Another process had the file for longer than `busy_timeout`."""


def code_of(error: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 for an error of the module's own."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF


def told(error: sqlite3.Error) -> StoreError:
    """What SQLite says, as an error of a store."""
    code = code_of(error)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Locked("the store's file is locked by another process: it may be free later", retryable=True)
    if code == sqlite3.SQLITE_FULL:
        return StoreError("the store's file is full (max_bytes), or its disk: sweep, or make room", retryable=True)
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return CorruptEntry(f"the store's file is damaged, or no SQLite database: {error}")
    if code == sqlite3.SQLITE_TOOBIG:
        return CorruptEntry("the store's file holds an entry that is longer than any hub writes")
    passing = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_PROTOCOL)
    return StoreError(f"the store's file cannot be used: {error}", retryable=code in passing)
