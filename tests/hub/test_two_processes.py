"""Several processes and one SQLite file: read, resume, cancel, kill, freeze, start again. Real processes, real time."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from time import monotonic, time
from typing import Any

import anyio
import anyio.abc
import pytest

from streamkit.errors import StoreError, StreamInterrupted
from streamkit.events.model import Event, Finish, TextDelta
from streamkit.hub import following
from streamkit.hub.hub import Hub
from streamkit.hub.stores.sqlite import SqliteStore

pytestmark = pytest.mark.anyio

# Seconds that a writer is held to be alive: for ever, or as long as a test waits for that to be over.
CALM = 3600.0
LEASE = 1.0

# Seconds after which a test that waits for a process has failed.
PATIENCE = 120.0


class Worker:
    """A process that runs `hub_worker`, and what it has said."""

    def __init__(self, process: anyio.abc.Process) -> None:
        self.process = process
        self._said: list[dict[str, Any]] = []
        self._rest = b""

    async def tell(self, do: str, **options: object) -> None:
        assert self.process.stdin is not None
        await self.process.stdin.send(json.dumps({"do": do, **options}).encode() + b"\n")

    async def says(self, key: str, value: object = None) -> dict[str, Any]:
        """The next thing it says about this; what else it says is kept."""
        while True:
            for said in self._said:
                if key in said and value in (None, said[key]):
                    self._said.remove(said)
                    return said
            assert self.process.stdout is not None
            *lines, self._rest = (self._rest + await self.process.stdout.receive()).split(b"\n")
            self._said += [json.loads(line) for line in lines]


@asynccontextmanager
async def worker(path: Path) -> AsyncIterator[Worker]:
    """One that is ready; at the end it is killed, if it still runs."""
    script = Path(__file__).with_name("hub_worker.py")
    async with await anyio.open_process([sys.executable, str(script), str(path), str(CALM)], stderr=None) as process:
        try:
            one = Worker(process)
            await one.says("ready")
            yield one
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGKILL)


@contextmanager
def nobody_writes(path: Path) -> Iterator[None]:
    """The file's write lock is held here: no other process is in the middle of a transaction."""
    with closing(sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)) as lock:
        lock.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            lock.execute("ROLLBACK")


def freeze(pid: int) -> None:
    """Stop a process; returns when each of its threads stands still, which takes a moment."""
    while os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT | os.WNOHANG) is None:
        os.kill(pid, signal.SIGSTOP)
        os.sched_yield()


def lease_ends(path: Path, seconds: float) -> None:
    """The leases of all that runs end so many seconds from now.

    As if its writer had renewed one of such a length: with one that it must renew in time itself, every pause that the machine
    makes would be its end.
    """
    with closing(sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)) as file:
        file.execute("UPDATE streams SET lease_until = ? WHERE state = 'running'", (time() + seconds,))


class Beats:
    """How many seconds the machine has taken from this process: by what its sleeps were late."""

    def __init__(self) -> None:
        self.late = 0.0

    async def run(self) -> None:
        while True:
            before = monotonic()
            await anyio.sleep(0.02)
            self.late += max(monotonic() - before - 0.02, 0.0)


def text_of(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def numbers(count: int) -> str:
    return "".join(f"{number} " for number in range(count))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hub.db"


def store_at(path: Path) -> SqliteStore:
    """One that waits for others as long as a test does."""
    return SqliteStore(path, busy_timeout=PATIENCE)


async def test_another_process_reads_live_and_resumes_from_the_tokens_of_the_first(path: Path) -> None:
    resumed: list[tuple[str, Event]] = []
    with anyio.fail_after(PATIENCE):
        async with worker(path) as first, Hub(store_at(path), lease=CALM) as hub:
            await first.tell("start", id="a", count=150, delay=0.001, hold=100)
            await first.says("started")
            await first.tell("read", id="a", take=5)
            there = (await first.says("read"))["token"]
            entries = await (hub.entries("a")).take(60).collect()
            live = (await hub.status("a")).state
            async with hub.entries("a", after=entries[19][0]) as items:
                async for entry in items:
                    resumed.append(entry)
                    if len(resumed) == 80:  # all that there is, and the source waits
                        await first.tell("go")
            from_there = await hub.subscribe("a", after=there).collect()

    assert "running" == live
    assert numbers(60) == text_of([event for _, event in entries])
    assert [f"{number} " for number in range(20, 150)] == [event.text for _, event in resumed if isinstance(event, TextDelta)]
    assert entries[20:] == resumed[:40]
    assert numbers(5) + text_of(from_there) == numbers(150)
    assert Finish("stop") == from_there[-1]


async def test_another_process_cancels_and_all_readers_of_both_end_as_cancelled(path: Path) -> None:
    got: list[list[Event]] = []
    with anyio.fail_after(PATIENCE):
        async with worker(path) as first, Hub(store_at(path), lease=CALM) as hub, anyio.create_task_group() as tasks:

            async def reads() -> None:
                got.append(await hub.subscribe("a").collect())

            await first.tell("start", id="a", count=100_000, delay=0.004)
            await first.says("started")
            await first.tell("read", id="a")
            tasks.start_soon(reads)
            await hub.subscribe("a").take(10).collect()

            assert await hub.cancel("a", "enough")
            closed = await first.says("closed")
            there = await first.says("read")
            status = await hub.status("a")
            listed = await hub.list()
            again = await hub.cancel("a")

    assert {"closed": "a"} == closed
    assert "cancelled" == there["end"]
    assert Finish("cancelled") == got[0][-1]
    assert there["text"] == text_of(got[0])
    assert ("cancelled", "enough", False) == (status.state, status.reason, status.here)
    assert [("a", "cancelled")] == [(one.id, one.state) for one in listed]
    assert not again


async def test_res_09_a_killed_writer_leaves_its_readers_interrupted_within_the_lease_and_a_second(path: Path) -> None:
    events: list[Event] = []
    beats = Beats()
    with anyio.fail_after(PATIENCE):
        async with worker(path) as first, Hub(store_at(path), lease=LEASE) as hub, anyio.create_task_group() as tasks:
            tasks.start_soon(beats.run)
            await first.tell("start", id="done", count=3, delay=0)
            await first.says("closed", "done")
            await first.tell("start", id="a", count=100_000, delay=0.002)
            await first.says("started", "a")
            killed = late = 0.0
            with pytest.raises(StreamInterrupted):
                async with hub.subscribe("a") as items:
                    async for event in items:
                        events.append(event)
                        if len(events) == 100:
                            first.process.send_signal(signal.SIGKILL)
                            await first.process.wait()
                            lease_ends(path, LEASE)
                            killed, late = monotonic(), beats.late
            took = monotonic() - killed
            late = beats.late - late
            status = await hub.status("a")
            message = await hub.message("a")
            tasks.cancel_scope.cancel()
        async with worker(path) as again:
            await again.tell("list")
            listed = (await again.says("list"))["list"]
            await again.tell("read", id="a")
            await again.tell("read", id="done")
            interrupted, finished = await again.says("read", "a"), await again.says("read", "done")

    assert took - late <= LEASE + 1, f"{took:g} s, of which the machine took {late:g} from us"
    assert "interrupted" == status.state
    assert len(events) == status.events - 1, "all that was stored was read, and then the end"
    assert numbers(len(events)) == text_of(events) == message.text
    assert {"a": "interrupted", "done": "done"} == listed
    assert (numbers(len(events)), "StreamInterrupted") == (interrupted["text"], interrupted["end"])
    assert (numbers(3), "stop") == (finished["text"], finished["end"])


async def test_res_10_a_writer_that_was_frozen_beyond_its_lease_is_fenced_and_the_others_tale_stands(path: Path) -> None:
    with anyio.fail_after(PATIENCE):
        async with worker(path) as first, Hub(store_at(path), lease=LEASE) as hub:
            await first.tell("start", id="a", count=100_000, delay=0.002)
            await first.says("started")
            await first.tell("read", id="a")
            await hub.subscribe("a").take(20).collect()
            with nobody_writes(path):  # frozen in the middle of a transaction it would hold the file for as long
                freeze(first.process.pid)
            lease_ends(path, 0)
            with pytest.raises(StreamInterrupted):
                await hub.subscribe("a").collect()
            before = await hub.entries("a", errors="yield").collect()
            first.process.send_signal(signal.SIGCONT)
            closed = await first.says("closed")
            there = await first.says("read")
            after = await hub.entries("a", errors="yield").collect()
            await first.tell("exit")
            await first.process.wait()
            status = await hub.status("a")

    assert {"closed": "a"} == closed
    assert "StreamInterrupted" == there["end"]
    assert before == after
    assert there["text"].startswith(text_of([event for _, event in after]))
    assert ("interrupted", len(after)) == (status.state, status.events)


async def test_res_10_a_file_that_stays_locked_ends_its_readers_with_a_typed_error_and_costs_nothing_that_was_stored(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "_PATIENCE", 0.5)
    before: list[Event] = []
    with anyio.fail_after(PATIENCE):
        async with worker(path) as first, Hub(store_at(path), lease=CALM) as reader:
            await first.tell("start", id="a", count=100_000, delay=0.002)
            await first.says("started")
            await reader.subscribe("a").take(20).collect()
            first.process.send_signal(signal.SIGKILL)
            await first.process.wait()
        lease_ends(path, 0)
        # Opened when the file is locked: else it could end the stream before.
        with nobody_writes(path):
            hub = Hub(SqliteStore(path, busy_timeout=0.1), lease=LEASE)
            with pytest.raises(StoreError, match="locked") as refused:
                async with hub.subscribe("a") as items:
                    async for event in items:
                        before.append(event)
        async with hub:
            with pytest.raises(StreamInterrupted):
                await hub.subscribe("a").collect()
            after = await hub.subscribe("a", errors="yield").collect()

    assert refused.value.retryable
    assert before == after[:-1]
    assert len(before) >= 20


async def starts(one: Worker, id: str) -> None:
    await one.tell("start", id=id, count=20, delay=0.001)


async def test_two_processes_that_start_one_stream_at_once_run_it_once(path: Path) -> None:
    with anyio.fail_after(PATIENCE):
        async with worker(path) as first, worker(path) as second, Hub(store_at(path), lease=CALM) as hub:
            for number in range(5):
                async with anyio.create_task_group() as tasks:
                    for one in (first, second):
                        tasks.start_soon(starts, one, f"s{number}")
                joined = [(await one.says("started", f"s{number}"))["joined"] for one in (first, second)]
                for one in (first, second):
                    await one.tell("read", id=f"s{number}")
                texts = [(await one.says("read", f"s{number}"))["text"] for one in (first, second)]

                assert [False, True] == sorted(joined)
                assert [numbers(20)] * 2 == texts
                assert numbers(20) == await hub.subscribe(f"s{number}").join()
