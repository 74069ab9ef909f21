"""The one thread that has a SQLite file open, and how calls get there and back.

A call is a `Job`. Those that wait together are done together: first what only reads, in one moment of the file, then what
writes, in one transaction, which costs one commit. If that transaction fails, each of its jobs gets one of its own, so
that a job which does not fit spoils no other. A job's answer is given after the commit and not before.

A job may park: it is asked again when this process has written what it waits for, and, as long as anybody is parked, when a
look every `poll` seconds says that another process has written. Nobody parked, no look.

A caller who was cancelled has left: a job of his that has not begun is not done, and the answer to one that has is
dropped with the job. No answer can reach anybody else, because nothing but its job connects a caller with the thread.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Final, Literal, TypeAlias

from streamkit.errors import StreamkitError
from streamkit.flow.tasks import Backend

# What a virtual clock must not jump over.
from streamkit.flow.threads import _WAITING as WAITING  # pyright: ignore[reportPrivateUsage]
from streamkit.hub.stores.rules import store_closed
from streamkit.hub.stores.sqlite_file import SqliteFile
from streamkit.hub.stores.sqlite_schema import Locked, code_of, told

__all__ = ["PARK", "Job", "Kind", "SqliteThread"]

Kind: TypeAlias = Literal["read", "write", "bare", "close"]
"""In one moment of the file, in a transaction, outside of both; or the end."""

# Jobs that one transaction takes: what comes after them, and other processes, want their turn.
TOGETHER: Final = 256

# What a job gives that has nothing to say yet.
PARK: Final = object()

# After these the connection is not trusted again: the next job opens the file anew.
_SPENT: Final = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_READONLY)


class Job:
    """One call on its way to the thread and back; without a backend nobody waits for its answer.

    Args:
        do: Done on the thread, and again after a parking or a failed transaction. It decides first and writes after that.
        kind: What it needs around it.
        backend: The caller's event loop.
        waits_for: What a job that may park waits for, as `SqliteFile.touched` has it.
        regret: Undoes what was done for a caller who has left.
    """

    __slots__ = ("backend", "do", "error", "kind", "left", "over", "regret", "value", "waiter", "waits_for")

    def __init__(
        self,
        do: Callable[[SqliteFile], Any],
        kind: Kind,
        backend: Backend | None,
        *,
        waits_for: tuple[str, str] | None = None,
        regret: Callable[[SqliteFile, Any], None] | None = None,
    ) -> None:
        self.do = do
        self.kind: Kind = kind
        self.backend = backend
        self.waiter = None if backend is None else backend.waiter()
        self.waits_for = waits_for
        self.regret = regret
        self.left = self.over = False
        self.value: Any = None
        self.error: Exception | None = None


class SqliteThread:
    """A daemon thread that opens the file with its first job.

    It belongs to the process that started it: after a fork the child needs one of its own.
    """

    def __init__(self, open_file: Callable[[], SqliteFile], poll: float) -> None:
        self.pid = os.getpid()
        self._open_file = open_file
        self._poll = poll
        self._queue: SimpleQueue[Job] = SimpleQueue()
        self._ending = threading.Lock()
        self._ended = False
        self._closing: list[Job] = []
        self._parked: dict[tuple[str, str], dict[Job, None]] = {}
        self._looked = 0.0
        self._file: SqliteFile | None = None
        self._spent = False
        self._thread = threading.Thread(target=self._serve, name="streamkit sqlite store", daemon=True)
        self._thread.start()

    # -- in the caller's event loop

    async def answer(self, job: Job) -> Any:
        """Hand in a job and wait for what it gives; a cancel leaves it."""
        WAITING.add(job)
        try:
            self.submit(job)
            while not job.over and job.waiter is not None:
                await job.waiter.wait()
        except BaseException:
            self.leave(job)
            raise
        finally:
            WAITING.discard(job)
        if job.error is not None:
            raise job.error
        return job.value

    def submit(self, job: Job) -> None:
        """Hand in a job; its answer comes through its waiter."""
        with self._ending:
            if not self._ended:
                self._queue.put(job)
                return
        job.over = True
        if job.kind != "close":
            job.error = store_closed()

    def leave(self, job: Job) -> None:
        """Nobody waits for it any more."""
        job.left = True
        if job.over:
            self._undo(job)
        elif job.waits_for is not None:
            self._queue.put(job)  # again: the thread forgets it

    def give_up(self, job: Job) -> None:
        """The time is up for a job that may be parked: its caller gets PARK."""
        if not job.over and not job.left:
            self.leave(job)
            job.value, job.error, job.over = PARK, None, True
            if job.waiter is not None:
                job.waiter.wake()

    def stop(self) -> None:
        """End the thread without waiting for it."""
        if self.pid == os.getpid():
            self.submit(Job(_nothing, "close", None))

    def join(self) -> None:
        """Wait for a thread that has said that it ends."""
        self._thread.join()

    def _answered(self, jobs: list[Job]) -> None:
        for job in jobs:
            job.over = True
            if job.left:
                self._undo(job)
            elif job.waiter is not None:
                job.waiter.wake()

    def _undo(self, job: Job) -> None:
        if job.regret is not None and job.value and job.error is None:
            self.submit(Job(partial(_regret, job.regret, job.value), "write", None))

    # -- on the thread

    def _serve(self) -> None:
        try:
            while not self._closing:
                self._round(self._next())
        finally:
            self._end()

    def _next(self) -> list[Job]:
        """The jobs that wait together; none, when it is time for a look."""
        patience = max(self._looked + self._poll - time.monotonic(), 0.0) if self._parked else None
        jobs: list[Job] = []
        try:
            jobs.append(self._queue.get(timeout=patience))
            while len(jobs) < TOGETHER:
                jobs.append(self._queue.get_nowait())
        except Empty:
            return jobs
        return jobs

    def _round(self, jobs: list[Job]) -> None:
        by_kind: dict[Kind, list[Job]] = {"read": [], "write": [], "bare": [], "close": self._closing}
        for job in jobs:
            if job.left and job.kind != "close":
                self._forget(job)
            else:
                by_kind[job.kind].append(job)
        try:
            file = self._file = self._file or self._open_file()
        except (StreamkitError, sqlite3.Error) as error:
            self._fail([*by_kind["read"], *by_kind["write"], *by_kind["bare"], *self._all_parked()], error)
            return
        if self._parked and time.monotonic() >= self._looked + self._poll:
            self._looked = time.monotonic()
            if file.changed_elsewhere():
                by_kind["read"] += self._all_parked()
        if by_kind["read"]:
            self._post(self._read(file, by_kind["read"]))
        if by_kind["write"]:
            touched = self._write(file, by_kind["write"])
            woken = [job for what in touched for job in self._parked.get(what, ())]
            self._post([*by_kind["write"], *(self._read(file, woken) if woken else ())])
        for job in by_kind["bare"]:
            self._try(file, job)
            self._post([job])
        if self._spent:
            self._let_go()

    def _fail(self, jobs: list[Job], error: StreamkitError | sqlite3.Error) -> None:
        for job in jobs:
            self._forget(job)
            job.value, job.error = None, error if isinstance(error, StreamkitError) else told(error)
        self._post(jobs)

    def _read(self, file: SqliteFile, jobs: list[Job]) -> list[Job]:
        """Those that have an answer; the others are parked."""
        try:
            with file.reading():
                for job in jobs:
                    self._try(file, job)
        except sqlite3.Error as error:
            for job in jobs:
                job.value, job.error = None, self._told(error)
        answered: list[Job] = []
        for job in jobs:
            if job.value is PARK and job.error is None:
                self._park(job)
            else:
                self._forget(job)
                answered.append(job)
        return answered

    def _write(self, file: SqliteFile, jobs: list[Job]) -> set[tuple[str, str]]:
        """All in one transaction, or else each in its own; what was written."""
        try:
            return self._commit(file, jobs)
        except sqlite3.Error as error:
            failure = self._told(error)
        touched: set[tuple[str, str]] = set()
        for job in jobs:
            # A lock was waited for once: not again for each.
            if len(jobs) > 1 and not isinstance(failure, Locked):
                try:
                    touched |= self._commit(file, [job])
                except sqlite3.Error as error:
                    failure = job.error = self._told(error)
            else:
                job.value, job.error = None, failure
        return touched

    def _commit(self, file: SqliteFile, jobs: list[Job]) -> set[tuple[str, str]]:
        with file.writing():
            for job in jobs:
                job.value = job.error = None
                try:
                    job.value = job.do(file)
                except sqlite3.Error:
                    raise
                except Exception as error:  # refused before it wrote anything: this caller's to see
                    job.error = error
        return set(file.touched)

    def _try(self, file: SqliteFile, job: Job) -> None:
        try:
            job.value = job.do(file)
        except sqlite3.Error as error:
            job.value, job.error = None, self._told(error)
        except Exception as error:  # whatever it is, it is this caller's to see
            job.value, job.error = None, error

    def _told(self, error: sqlite3.Error) -> StreamkitError:
        self._spent |= code_of(error) in _SPENT
        return told(error)

    def _park(self, job: Job) -> None:
        if job.waits_for is not None and not job.left:
            if not self._parked:
                self._looked = time.monotonic()
            self._parked.setdefault(job.waits_for, {})[job] = None
        WAITING.discard(job)

    def _forget(self, job: Job) -> None:
        if job.waits_for is not None and (parked := self._parked.get(job.waits_for)) is not None:
            parked.pop(job, None)
            if not parked:
                del self._parked[job.waits_for]

    def _all_parked(self) -> list[Job]:
        return [job for parked in self._parked.values() for job in parked]

    def _post(self, jobs: Iterable[Job]) -> None:
        """Give the answers, with one call into each event loop."""
        loops: dict[object, list[Job]] = {}
        for job in jobs:
            if job.backend is not None:
                loops.setdefault(job.backend.loop, []).append(job)
        for together in loops.values():
            backend = together[0].backend
            assert backend is not None
            try:
                backend.soon_from_thread(partial(self._answered, together))
            except RuntimeError:  # the loop is closed: nobody is there to be told
                for job in together:
                    self._undo(job)

    def _let_go(self) -> None:
        file, self._file, self._spent = self._file, None, False
        if file is not None:
            file.close()

    def _end(self) -> None:
        with self._ending:
            self._ended = True
        left = self._all_parked()
        while True:
            try:
                left.append(self._queue.get_nowait())
            except Empty:
                break
        failure: Exception | None = None
        try:
            self._let_go()
        except sqlite3.Error as error:
            failure = told(error)
        for job in [*self._closing, *left]:
            job.error = failure if job.kind == "close" else store_closed()
        self._post([*self._closing, *left])


def _nothing(file: SqliteFile) -> None:
    """What a job that only ends the thread has to do."""


def _regret(regret: Callable[[SqliteFile, Any], None], value: Any, file: SqliteFile) -> None:
    regret(file, value)
