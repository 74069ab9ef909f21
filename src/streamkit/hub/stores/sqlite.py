"""A store in one SQLite file: for several processes of one host, and for the hub that comes after a restart.

Here is what runs in the event loop: the calls, their arguments, and waiting with a time limit. `sqlite_thread` brings them to the
thread that has the file open, `sqlite_file` knows the file. The commits reach the disk with SQLite's checkpoints
(`synchronous = NORMAL`): a killed process loses nothing that was answered, a power cut the last moments.
"""

from __future__ import annotations

import builtins
import os
import time
import weakref
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final, Literal, TypeVar, cast

from streamkit.errors import ConfigError
from streamkit.flow.clock import current_clock
from streamkit.flow.plan import check_callable, check_count, check_seconds
from streamkit.flow.tasks import current_backend
from streamkit.hub.stores.protocol import Chunk, Closing, Page, Record, Signal
from streamkit.hub.stores.rules import LARGEST, MAX_CHUNK_BYTES, check_chunk, check_create, check_wait, store_closed, unknown_stream
from streamkit.hub.stores.sqlite_file import SqliteFile
from streamkit.hub.stores.sqlite_thread import PARK, Job, Kind, SqliteThread

__all__ = ["SqliteStore"]

T = TypeVar("T")

# What SQLite can take for one value, and a day for what may be infinite.
MOST_CHUNK_BYTES: Final = 1 << 29
LONGEST: Final = 86_400.0

# Streams forgotten, and pages given back, in one transaction of a sweep: others wait for that long.
SWEEP_STREAMS: Final = 100
SWEEP_PAGES: Final = 500

# What a fork has left in the child: connections that must neither be used nor closed there.
_INHERITED: Final[list[SqliteThread]] = []


class SqliteStore:
    """Streams in a SQLite file, which every process of the host may open.

    The file is opened by the first call, on a thread of its own, and again after a fork. Calls that wait together are
    committed together.

    Args:
        path: The file, on a local disk; made if there is none. Beside it stand its `-wal` and `-shm`.
        poll: Seconds between two looks for what other processes wrote, while anybody waits for that.
        busy_timeout: Seconds to wait for another process's lock.
        max_bytes: How large the file may become; then appends fail until there is room.
        max_chunk_bytes: A longer chunk is refused, and one that is found is corrupt.
        clock_time: Tells the time in Unix seconds, for leases and expiry.

    Memory: the calls that are under way, and what SQLite caches, about 2 MB.
    Cancellation: the caller goes at once; a call that had begun may yet happen, and its answer reaches nobody.
    Raises:
        StoreError: by every call: with `retryable` if the file is locked or full; else it is of a newer version, or not ours.
        CorruptEntry: by every call: the file is damaged, or holds what no hub wrote. It is left as it is.

    >>> import tempfile
    >>> async def twice(path):
    ...     store, other = SqliteStore(path), SqliteStore(path)
    ...     await store.create("answer", owner=None, metadata={}, first_epoch=7)
    ...     epoch = await store.acquire("answer", holder="one", lease=10)
    ...     await store.append("answer", Chunk(0, 2, epoch, b"..."), epoch=epoch, close=Closing("done"))
    ...     page = await other.read("answer", 0)
    ...     await store.aclose()
    ...     await other.aclose()
    ...     return page
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page = run(twice(f"{folder}/hub.db"))
    >>> page.record.state, page.chunks
    ('done', [Chunk(first=0, count=2, epoch=8, data=b'...')])
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        poll: float = 0.02,
        busy_timeout: float = 5.0,
        max_bytes: int = 1 << 32,
        max_chunk_bytes: int = MAX_CHUNK_BYTES,
        clock_time: Callable[[], float] = time.time,
    ) -> None:
        name = os.fspath(path)
        if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"SqliteStore(path=...) takes a path, got {type(path).__name__}")
        if name in ("", ":memory:") or "\0" in name:
            raise ConfigError(f"SqliteStore(path={name!r}): it needs a file; MemoryStore needs none")
        check_seconds("SqliteStore", "poll", poll)
        check_seconds("SqliteStore", "busy_timeout", busy_timeout)
        check_count("SqliteStore", "max_bytes", max_bytes, 1 << 16)
        check_count("SqliteStore", "max_chunk_bytes", max_chunk_bytes, 1)
        if max_chunk_bytes > MOST_CHUNK_BYTES:
            raise ConfigError(f"SqliteStore(max_chunk_bytes={max_chunk_bytes}): at most {MOST_CHUNK_BYTES}, which SQLite can take")
        check_callable("SqliteStore", clock_time)
        self._max_chunk_bytes = max_chunk_bytes
        self._poll = min(poll, LONGEST)
        self._open = partial(
            SqliteFile,
            str(Path(name).absolute()),  # a working directory may change before the first call
            busy_timeout=min(busy_timeout, LONGEST),
            max_bytes=max_bytes,
            max_chunk_bytes=max_chunk_bytes,
            clock_time=clock_time,
        )
        self._thread: SqliteThread | None = None
        self._closed = False

    async def create(self, id: str, *, owner: str | None, metadata: Mapping[str, object], first_epoch: int) -> bool:
        """As `Store.create`."""
        about = check_create(first_epoch, metadata)
        return await self._ask(lambda file: file.create(id, owner, about, first_epoch), "write")

    async def acquire(self, id: str, *, holder: str, lease: float) -> int:
        """As `Store.acquire`."""
        check_seconds("acquire", "lease", lease)
        return await self._ask(lambda file: file.acquire(id, holder, lease), "write")

    async def renew(self, holder: str, epochs: Mapping[str, int], *, lease: float) -> set[str]:
        """As `Store.renew`."""
        check_seconds("renew", "lease", lease)
        held = dict(epochs)
        return await self._ask(lambda file: file.renew(holder, held, lease), "write")

    async def append(self, id: str, chunk: Chunk | None, *, epoch: int, close: Closing | None = None) -> None:
        """As `Store.append`."""
        check_chunk(chunk, epoch, close, self._max_chunk_bytes)
        await self._ask(lambda file: file.append(id, chunk, epoch, close), "write")

    async def read(self, id: str, first: int, *, max_bytes: int = 1 << 20) -> Page:
        """As `Store.read`."""
        check_count("read", "max_bytes", max_bytes, 1)
        return await self._ask(lambda file: file.read(id, first, max_bytes), "read")

    async def wait(self, id: str, head: int, *, seconds: float) -> Record:
        """As `Store.wait`."""
        check_wait("wait", seconds)
        before: Record | None = None

        def look(file: SqliteFile) -> Record:
            nonlocal before
            record = file.look(id)
            if before is not None and (before.first_epoch, before.created_at) != (record.first_epoch, record.created_at):
                raise unknown_stream(id)  # this is another one under its name
            before = record
            return record

        def news(file: SqliteFile) -> object:
            record = look(file)
            return record if record.head > head or record.state != "running" else PARK

        found = await self._ask_until(news, ("stream", id), seconds) if seconds else PARK
        return await self._ask(look, "read") if found is PARK else cast(Record, found)

    async def signal(self, id: str, kind: Literal["cancel"], reason: str | None = None) -> bool:
        """As `Store.signal`."""
        return await self._ask(lambda file: file.signal(id, kind, reason), "write")

    async def signals(self, holder: str, *, seconds: float) -> builtins.list[Signal]:
        """As `Store.signals`."""
        check_wait("signals", seconds)
        clock = current_clock()
        until = clock.now() + seconds

        def news(file: SqliteFile) -> object:
            return file.has_signals(holder) or PARK

        while True:
            left = max(until - clock.now(), 0.0)
            if left and await self._ask_until(news, ("holder", holder), left) is PARK:
                return []
            taken = await self._ask(lambda file: file.take_signals(holder), "write", SqliteFile.give_back)
            # Another call for this holder may have been faster.
            if taken or not left:
                return taken

    async def get(self, id: str) -> Record | None:
        """As `Store.get`."""
        return await self._ask(lambda file: file.get(id), "read")

    async def list(self, *, limit: int = 1000) -> builtins.list[Record]:
        """As `Store.list`."""
        check_count("list", "limit", limit, 1)
        return await self._ask(lambda file: file.list(limit), "read")

    async def trim(self, id: str, floor: int, *, epoch: int) -> None:
        """As `Store.trim`."""
        await self._ask(lambda file: file.trim(id, floor, epoch), "write")

    async def delete(self, id: str, *, first_epoch: int | None = None) -> None:
        """As `Store.delete`."""
        await self._ask(lambda file: file.delete(id, first_epoch), "write")

    async def sweep(self) -> builtins.list[Record]:
        """As `Store.sweep`; free pages go back to the file system, a few hundred in a transaction."""
        while await self._ask(lambda file: file.forget_expired(SWEEP_STREAMS), "write"):
            continue
        shrunk = False
        while await self._ask(lambda file: file.shrink(SWEEP_PAGES), "bare"):
            shrunk = True
        if shrunk:
            await self._ask(lambda file: file.checkpoint(), "bare")
        return await self._ask(lambda file: file.lost(), "read")

    async def aclose(self) -> None:
        """As `Store.aclose`; calls that wait in line are done no more."""
        self._closed = True
        thread = self._thread
        if thread is not None and thread.pid == os.getpid():
            await thread.answer(Job(_nothing, "close", current_backend()))
            thread.join()

    def _running(self) -> SqliteThread:
        if self._closed:
            raise store_closed()
        thread = self._thread
        if thread is None or thread.pid != os.getpid():
            if thread is not None:
                _INHERITED.append(thread)
            thread = self._thread = SqliteThread(self._open, self._poll)
            weakref.finalize(self, thread.stop)
        return thread

    async def _ask(self, do: Callable[[SqliteFile], T], kind: Kind, regret: Callable[[SqliteFile, T], None] | None = None) -> T:
        return cast(T, await self._running().answer(Job(do, kind, current_backend(), regret=regret)))

    async def _ask_until(self, do: Callable[[SqliteFile], object], what: tuple[str, str], seconds: float) -> object:
        """What `do` gives once it has something to say, or PARK when the time is up."""
        thread = self._running()
        backend = current_backend()
        clock = current_clock(backend)
        job = Job(do, "read", backend, waits_for=what)
        if seconds > LARGEST or job.waiter is None:
            return await thread.answer(job)
        timer = clock.call_at(clock.now() + seconds, partial(thread.give_up, job))
        try:
            return await thread.answer(job)
        finally:
            timer.cancel()


def _nothing(file: SqliteFile) -> None:
    """What a job that only ends the thread has to do."""
