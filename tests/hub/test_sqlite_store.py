"""The store in a SQLite file: other processes, kills, locks, full disks, damage, and callers who leave."""

# ruff: noqa: ASYNC240  # small files, looked at while nobody else runs

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from pathlib import Path
from threading import Event

import anyio
import pytest

from streamkit.errors import ConfigError, CorruptEntry, StoreError, StreamBusy
from streamkit.hub.stores.protocol import Chunk, Closing, Record, Signal
from streamkit.hub.stores.sqlite import SqliteStore
from streamkit.hub.stores.sqlite_file import SqliteFile
from streamkit.hub.stores.sqlite_thread import Job
from streamkit.testing import assert_no_leaks
from streamkit.testing.store_steps import meanwhile, together

pytestmark = pytest.mark.anyio

# Real seconds after which what another process or a thread was to do has not been done.
PATIENCE = 120

# What happens on the store's thread is the same whichever event loop asked.
one_loop = pytest.mark.parametrize("anyio_backend", ["asyncio"])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hub.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    """One that waits for another process, which may stand still in the middle of a transaction."""
    store = SqliteStore(path, busy_timeout=PATIENCE)
    yield store
    await store.aclose()


@pytest.fixture
async def impatient(path: Path) -> AsyncIterator[SqliteStore]:
    """One that gives up on locks soon."""
    store = SqliteStore(path, busy_timeout=0.1)
    yield store
    await store.aclose()


async def running(store: SqliteStore, id: str = "a", *, lease: float = 60) -> int:
    """A stream with a writer; its epoch."""
    await store.create(id, owner=None, metadata={}, first_epoch=10)
    return await store.acquire(id, holder="one", lease=lease)


async def written(store: SqliteStore, count: int = 3, id: str = "a") -> int:
    """A stream with so many chunks of one event."""
    epoch = await running(store, id)
    for first in range(count):
        await store.append(id, Chunk(first, 1, epoch, b"kept"), epoch=epoch)
    return epoch


@contextmanager
def thread_at_a_halt(store: SqliteStore) -> Iterator[None]:
    """The store's thread does nothing; what is asked meanwhile waits together."""
    begun, go_on = Event(), Event()

    def halt(file: SqliteFile) -> None:
        begun.set()
        go_on.wait(PATIENCE)

    store._running().submit(Job(halt, "bare", None))
    assert begun.wait(PATIENCE)
    try:
        yield
    finally:
        go_on.set()


@contextmanager
def process(script: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Another Python, which runs `main(store)` of this script; killed at the end."""
    code = PROLOGUE + textwrap.dedent(script) + f"\nasyncio.run(main(SqliteStore(sys.argv[1], busy_timeout={PATIENCE})))\n"
    with subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    ) as started:
        try:
            yield started
        finally:
            started.kill()


PROLOGUE = """
import asyncio, os, sys
from streamkit.hub.stores.protocol import Chunk, Closing
from streamkit.hub.stores.sqlite import SqliteStore
def say(*words):
    print(*words, flush=True)
"""


async def line_of(other: subprocess.Popen[str]) -> str:
    """What the other process says next."""
    assert other.stdout is not None
    with anyio.fail_after(PATIENCE):
        said = await anyio.to_thread.run_sync(other.stdout.readline, abandon_on_cancel=True)
    return said.strip()


# -- other processes


async def test_what_another_process_appends_wakes_who_waits_here(store: SqliteStore, path: Path) -> None:
    epoch = await running(store)
    script = """
    async def main(store):
        say("here")
        record = await store.wait("a", 0, seconds=100)
        page = await store.read("a", 0)
        say(record.head, page.chunks[0].data.decode())
        await store.append("a", Chunk(2, 1, record.epoch, b"back"), epoch=record.epoch, close=Closing("done", "by the other"))
        await store.aclose()
    """
    with process(script, path) as other:
        assert "here" == await line_of(other)
        await store.append("a", Chunk(0, 2, epoch, b"forth"), epoch=epoch)
        assert "2 forth" == await line_of(other)
        record = await store.wait("a", 2, seconds=PATIENCE)
        if record.state == "running":
            record = await store.wait("a", record.head, seconds=PATIENCE)
    assert (3, "done", "by the other") == (record.head, record.state, record.reason)


async def test_a_signal_of_another_process_reaches_the_writer_here(store: SqliteStore, path: Path) -> None:
    await running(store)
    script = """
    async def main(store):
        say(await store.signal("a", "cancel", "from afar"))
        await store.aclose()
    """
    with process(script, path) as other:
        assert [Signal("a", "cancel", "from afar")] == await store.signals("one", seconds=PATIENCE)
        assert "True" == await line_of(other)


@one_loop
async def test_res_09_a_killed_writer_leaves_whole_chunks_and_its_stream_can_be_taken_over(store: SqliteStore, path: Path) -> None:
    script = """
    async def main(store):
        await store.create("a", owner=None, metadata={}, first_epoch=10)
        epoch = await store.acquire("a", holder="other", lease=0.5)
        for first in range(200):
            await store.append("a", Chunk(3 * first, 3, epoch, b"%06d" % first * 300), epoch=epoch)
            say(first)
        sys.stdin.read()
    """
    kill_at = random.Random(3).sample(range(1, 150), 3)
    for number, step in enumerate(kill_at):
        with process(script.replace('"a"', f'"a{number}"'), path) as other:
            answered = 0
            while answered < step:
                answered = int(await line_of(other))
            os.kill(other.pid, signal.SIGKILL)
            other.wait(PATIENCE)
        id = f"a{number}"
        chunks: list[Chunk] = []
        while more := (await store.read(id, 3 * len(chunks))).chunks:
            chunks += more
        assert [(3 * at, 3, b"%06d" % at * 300) for at in range(len(chunks))] == [
            (one.first, one.count, one.data) for one in chunks
        ]
        assert answered < len(chunks) <= 200, "what was answered is there"
        with anyio.fail_after(PATIENCE):
            while True:
                try:
                    epoch = await store.acquire(id, holder="heir", lease=60)
                    break
                except StreamBusy:
                    await anyio.sleep(0.05)
        await store.append(id, None, epoch=epoch, close=Closing("interrupted"))
    with closing(sqlite3.connect(path)) as db:
        assert "ok" == db.execute("PRAGMA integrity_check").fetchone()[0]


@one_loop
async def test_several_processes_that_make_the_file_at_once_make_one(path: Path) -> None:
    script = """
    async def main(store):
        say("ready")
        sys.stdin.readline()
        for n in range(20):
            id = f"{os.getpid()}-{n}"
            assert await store.create(id, owner=None, metadata={}, first_epoch=1)
            epoch = await store.acquire(id, holder="one", lease=60)
            await store.append(id, Chunk(0, 1, epoch, b"x"), epoch=epoch)
        await store.aclose()
        say("done")
    """
    with process(script, path) as one, process(script, path) as two, process(script, path) as three:
        others = (one, two, three)
        for other in others:
            assert "ready" == await line_of(other)
        for other in others:
            assert other.stdin is not None
            other.stdin.write("go\n")
            other.stdin.flush()
        for other in others:
            assert "done" == await line_of(other)
    store = SqliteStore(path)
    assert [1] * 60 == [record.head for record in await store.list()]
    await store.aclose()


def test_a_forked_child_opens_the_file_anew(path: Path) -> None:
    script = f"""
    import asyncio, os, sys
    from streamkit.hub.stores.protocol import Chunk
    from streamkit.hub.stores.sqlite import SqliteStore
    store = SqliteStore({str(path)!r}, busy_timeout={PATIENCE})
    async def write(id):
        await store.create(id, owner=None, metadata={{}}, first_epoch=1)
        epoch = await store.acquire(id, holder=id, lease=60)
        for first in range(20):
            await store.append(id, Chunk(first, 1, epoch, b"x"), epoch=epoch)
    async def read(id):
        while await store.get(id) is None:  # the other process may be slower
            await asyncio.sleep(0.01)
        print(id, (await store.wait(id, 19, seconds=100)).head, flush=True)
    asyncio.run(write("before"))
    if os.fork():
        asyncio.run(write("parent"))
        asyncio.run(read("child"))
        assert os.wait()[1] == 0
        asyncio.run(read("before"))
        asyncio.run(store.aclose())
    else:
        asyncio.run(write("child"))
        asyncio.run(read("parent"))
        asyncio.run(store.aclose())
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=PATIENCE)
    assert 0 == done.returncode, done.stderr
    assert ["before 20", "child 20", "parent 20"] == sorted(done.stdout.splitlines())


# -- locked, full


async def test_res_11_a_locked_file_is_said_and_may_be_tried_again(impatient: SqliteStore, path: Path) -> None:
    store = impatient
    epoch = await written(store)
    lock = sqlite3.connect(path, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    try:
        calls = [store.append("a", Chunk(3, 1, epoch, b"x"), epoch=epoch), store.signal("a", "cancel"), store.delete("b")]
        for call in calls:
            with pytest.raises(StoreError, match="locked") as said:
                await call
            assert said.value.retryable
        assert 3 == len((await store.read("a", 0)).chunks), "reading needs no lock"
    finally:
        lock.rollback()
        lock.close()
    await store.append("a", Chunk(3, 1, epoch, b"x"), epoch=epoch)
    assert 4 == (await store.wait("a", 3, seconds=5)).head


async def test_a_new_file_that_is_locked_is_opened_by_a_later_call(path: Path) -> None:
    lock = sqlite3.connect(path, isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    store = SqliteStore(path, busy_timeout=0.1)
    with pytest.raises(StoreError, match="locked") as said:
        await store.list()
    assert said.value.retryable
    lock.rollback()
    lock.close()
    assert [] == await store.list()
    await store.aclose()


async def test_calls_that_wait_together_for_a_lock_wait_once(
    impatient: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    epoch = await written(impatient)
    waits: list[SqliteFile] = []
    writing = SqliteFile.writing

    def counted(file: SqliteFile) -> AbstractContextManager[None]:
        waits.append(file)
        return writing(file)

    monkeypatch.setattr(SqliteFile, "writing", counted)
    failures: list[StoreError] = []

    async def fails() -> None:
        try:
            await impatient.append("a", Chunk(3, 1, epoch, b"x"), epoch=epoch)
        except StoreError as error:
            failures.append(error)

    with closing(sqlite3.connect(path, isolation_level=None)) as lock:
        lock.execute("BEGIN IMMEDIATE")
        async with anyio.create_task_group() as tasks:
            with thread_at_a_halt(impatient):
                for _ in range(30):
                    tasks.start_soon(fails)
                await anyio.wait_all_tasks_blocked()

    assert [True] * 30 == [error.retryable for error in failures]
    assert 1 == len(waits)


async def test_a_full_file_is_said_and_what_was_there_is_readable(path: Path) -> None:
    store = SqliteStore(path, max_bytes=1 << 18)
    epoch = await running(store)
    kept = 0
    with pytest.raises(StoreError, match="full") as said:
        for kept in range(1000):
            await store.append("a", Chunk(kept, 1, epoch, bytes(10_000)), epoch=epoch)
    assert said.value.retryable
    page = await store.read("a", 0)
    assert (kept, kept) == (page.record.head, len(page.chunks))
    assert 10 < kept < 30
    with pytest.raises(StoreError, match="full"):
        await store.append("a", Chunk(kept, 1, epoch, bytes(60_000)), epoch=epoch, close=Closing("done"))
    assert "running" == (await store.wait("a", kept, seconds=0)).state, "half of a call was written"
    await store.trim("a", kept - 2, epoch=epoch)
    await store.append("a", Chunk(kept, 1, epoch, bytes(10_000)), epoch=epoch, close=Closing("done"))
    assert kept + 1 == (await store.wait("a", kept, seconds=0)).head
    await store.aclose()


async def test_one_that_does_not_fit_spoils_none_of_those_that_were_written_with_it(path: Path) -> None:
    store = SqliteStore(path, max_bytes=1 << 18)
    epochs = {f"a{n}": await running(store, f"a{n}") for n in range(12)}
    outcomes: dict[str, str] = {}

    async def write(id: str, size: int) -> None:
        try:
            await store.append(id, Chunk(0, 1, epochs[id], bytes(size)), epoch=epochs[id])
            outcomes[id] = "written"
        except StoreError as error:
            outcomes[id] = "full" if error.retryable else "other"

    await together([write(id, 400_000 if id in ("a3", "a7") else 100) for id in epochs])
    assert {id: "full" if id in ("a3", "a7") else "written" for id in epochs} == outcomes
    assert {id: 0 if id in ("a3", "a7") else 1 for id in epochs} == {one.id: one.head for one in await store.list()}
    await store.aclose()


# -- damage


async def test_res_13_a_file_that_is_no_database_is_said_and_left_as_it_is(path: Path) -> None:
    poison = b"\x80\x04\x95" + b"not a database at all. " * 500
    path.write_bytes(poison)
    store = SqliteStore(path)
    for _ in range(2):
        with pytest.raises(CorruptEntry):
            await store.list()
    await store.aclose()
    assert poison == path.read_bytes()


async def test_res_13_pages_of_noise_are_said(path: Path) -> None:
    store = SqliteStore(path)
    await written(store, 200)
    await store.aclose()
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + random.Random(1).randbytes(len(whole) - 4096))
    damaged = path.read_bytes()
    store = SqliteStore(path)
    with pytest.raises(CorruptEntry):
        await store.read("a", 0)
    await store.aclose()
    assert damaged == path.read_bytes()


@one_loop
@pytest.mark.parametrize(
    "poison",
    [
        "UPDATE chunks SET data = 'text' WHERE first = 1",
        "UPDATE chunks SET data = NULL WHERE first = 1",
        "UPDATE chunks SET count = 0 WHERE first = 1",
        "UPDATE chunks SET count = -1 WHERE first = 1",
        "UPDATE chunks SET count = 9000000000000000000 WHERE first = 2",
        "UPDATE chunks SET count = 'many' WHERE first = 1",
        "UPDATE chunks SET epoch = -1 WHERE first = 1",
        "UPDATE chunks SET data = zeroblob(20000) WHERE first = 1",
        "UPDATE chunks SET data = zeroblob(30000000) WHERE first = 1",
        "UPDATE chunks SET first = 7 WHERE first = 1",
        "DELETE FROM chunks WHERE first = 0",
        "DELETE FROM chunks WHERE first = 1",
        "DELETE FROM chunks",
        "UPDATE streams SET head = 2",
        "UPDATE streams SET head = -1",
        "UPDATE streams SET head = 'far'",
        "UPDATE streams SET floor = 5",
        "UPDATE streams SET epoch = 0.5",
        "UPDATE streams SET state = 'pickled'",
        "UPDATE streams SET state = 'done'",
        "UPDATE streams SET created_at = 'now'",
        "UPDATE streams SET holder = 7",
        "UPDATE streams SET id = CAST(x'ff' || id AS BLOB)",
        "UPDATE about SET metadata = x'80049505'",
        "UPDATE about SET metadata = '[]'",
        "UPDATE about SET metadata = zeroblob(20000000)",
        "UPDATE about SET metadata = CAST(replace(hex(zeroblob(100000)), '0', '[') AS BLOB)",
        "DELETE FROM about",
    ],
)
async def test_res_13_a_poisoned_row_is_said(path: Path, poison: str) -> None:
    store = SqliteStore(path, max_chunk_bytes=10_000)
    await written(store, 4)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("PRAGMA ignore_check_constraints = ON")
        try:
            db.execute(poison)
        except sqlite3.IntegrityError:  # the table itself refuses it
            db.rollback()
            db.execute("UPDATE chunks SET count = 0")
    db.close()
    with pytest.raises(CorruptEntry):
        await store.list()
        await store.read("a", 0)
    await store.aclose()


@one_loop
@pytest.mark.parametrize(("pragma", "said"), [("user_version = 99", "newer"), ("application_id = 7", "another application")])
async def test_a_file_of_somebody_else_is_not_touched(path: Path, pragma: str, said: str) -> None:
    store = SqliteStore(path)
    await written(store)
    await store.aclose()
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA {pragma}")
    db.close()
    before = path.read_bytes()
    store = SqliteStore(path)
    with pytest.raises(StoreError, match=said) as error:
        await store.list()
    assert not error.value.retryable
    await store.aclose()
    assert before == path.read_bytes()


async def test_the_database_of_another_program_is_not_touched(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE diary (day TEXT)")
    db.commit()
    db.close()
    before = path.read_bytes()
    store = SqliteStore(path)
    with pytest.raises(StoreError, match="something else"):
        await store.list()
    await store.aclose()
    assert before == path.read_bytes()


async def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "none" / "hub.db")
    with pytest.raises(StoreError, match=r"none/hub\.db.*make its folder first") as error:
        await store.list()
    assert not error.value.retryable
    await store.aclose()


async def test_the_file_and_its_log_are_for_their_owner_alone(store: SqliteStore, path: Path) -> None:
    await written(store)
    assert {0o600} == {file.stat().st_mode & 0o777 for file in path.parent.glob(f"{path.name}*")}


# -- callers who leave


async def test_res_15_no_cancelled_call_leaves_its_answer_to_another(path: Path) -> None:
    chance = random.Random(15)
    store = SqliteStore(path)
    ids = [f"s{n}" for n in range(8)]
    epochs = {id: await running(store, id) for id in ids}
    heads = dict.fromkeys(ids, 0)
    answers = 0

    async def call(id: str, longest: float) -> None:
        nonlocal answers
        match chance.randrange(4):
            case 0:
                record = await store.get(id)
                assert record is not None
                assert id == record.id
            case 1:
                page = await store.read(id, 0, max_bytes=200)
                assert id == page.record.id
                assert {id.encode()} >= {chunk.data for chunk in page.chunks}
            case 2:
                told: Record = await store.wait(id, heads[id] + 5, seconds=chance.choice((0, 0.001, longest)))
                assert id == told.id
            case _:
                assert [] == await store.signals(id, seconds=chance.choice((0, 0.001, longest)))
        answers += 1

    async def caller(id: str) -> None:
        for _ in range(20):
            with anyio.move_on_after(chance.random() ** 2 * 0.02):
                await call(id, 30)
        await call(id, 0.01)  # and one that nobody cancels, however busy the machine is

    async def writer(id: str) -> None:
        """One that is cancelled too, and asks where the log ends before it goes on."""
        for _ in range(20):
            with anyio.move_on_after(chance.random() ** 2 * 0.02):
                await store.append(id, Chunk(heads[id], 1, epochs[id], id.encode()), epoch=epochs[id])
            heads[id] = (await store.wait(id, heads[id], seconds=0)).head

    async with assert_no_leaks():
        await together([caller(id) for id in ids * 8] + [writer(id) for id in ids])
        assert 64 <= answers < 64 * 21
        for id in ids:
            page = await store.read(id, 0)
            assert [(first, id.encode()) for first in range(heads[id])] == [(one.first, one.data) for one in page.chunks]
    thread = store._thread
    assert thread is not None
    await store.get("s0")
    assert {} == thread._parked
    await store.aclose()


async def test_signals_taken_for_a_caller_who_left_are_given_to_the_next(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await running(store)
    taken, left = Event(), Event()
    take = SqliteFile.take_signals

    def take_and_halt(file: SqliteFile, holder: str) -> list[Signal]:
        signals = take(file, holder)
        if not left.is_set():
            taken.set()
            assert left.wait(PATIENCE)
        return signals

    monkeypatch.setattr(SqliteFile, "take_signals", take_and_halt)
    assert await store.signal("a", "cancel", "enough")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(store.signals, "one", seconds=PATIENCE))
        assert await anyio.to_thread.run_sync(taken.wait, PATIENCE)
        tasks.cancel_scope.cancel()
    left.set()

    assert [Signal("a", "cancel", "enough")] == await store.signals("one", seconds=PATIENCE)


async def test_signals_reach_somebody_whenever_a_caller_leaves(store: SqliteStore) -> None:
    await running(store)
    chance = random.Random(1)
    for number in range(60):
        await store.signal("a", "cancel", str(number))
        got: list[Signal] = []
        with anyio.move_on_after(chance.random() * 0.001):
            got = await store.signals("one", seconds=PATIENCE)
        assert [Signal("a", "cancel", str(number))] == (got or await store.signals("one", seconds=PATIENCE))


async def test_nobody_waits_nobody_looks(store: SqliteStore) -> None:
    await running(store)
    thread = store._thread
    assert thread is not None
    (told,) = await meanwhile([store.wait("a", 0, seconds=60)], lambda: store.delete("a"))
    assert isinstance(told, LookupError)
    await store.list()
    assert {} == thread._parked


async def test_a_store_that_nobody_closed_ends_its_thread(path: Path) -> None:
    async with assert_no_leaks():
        store = SqliteStore(path)
        await running(store)
        del store


async def test_options_may_be_endless(path: Path) -> None:
    store = SqliteStore(path, poll=float("inf"), busy_timeout=float("inf"), max_bytes=1 << 80)
    epoch = await running(store)
    append = store.append("a", Chunk(0, 1, epoch, b"x"), epoch=epoch)
    told, _ = await together([store.wait("a", 0, seconds=float("inf")), append])
    assert 1 == told.head
    await store.aclose()


async def test_a_store_that_was_never_used_makes_no_file(path: Path) -> None:
    await SqliteStore(path).aclose()
    assert not path.exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"path": ":memory:"}, {"path": ""}, {"path": "a\0b"}, {"poll": 0}, {"poll": float("nan")}, {"busy_timeout": -1},
        {"max_bytes": 100}, {"max_chunk_bytes": 0}, {"max_chunk_bytes": 1 << 40},
    ],
)  # fmt: skip
def test_wrong_options_are_refused_at_the_call(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        SqliteStore(**{"path": "hub.db", **wrong})  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [{"path": b"hub.db"}, {"path": 7}, {"poll": True}, {"max_bytes": 1e9}, {"clock_time": 7}])
def test_options_of_other_types_are_refused_at_the_call(wrong: dict[str, object]) -> None:
    with pytest.raises(TypeError):
        SqliteStore(**{"path": "hub.db", **wrong})  # type: ignore[arg-type]


# -- growth


@one_loop
async def test_res_14_ten_thousand_abandoned_streams_leave_no_large_file(path: Path) -> None:
    now = 1_000_000.0
    store = SqliteStore(path, clock_time=lambda: now)

    async def abandoned(number: int) -> None:
        id = f"abandoned-{number}"
        epoch = await running(store, id)
        await store.append(id, Chunk(0, 1, epoch, bytes(300)), epoch=epoch)

    for start in range(0, 10_000, 500):
        await together([abandoned(number) for number in range(start, start + 500)])
    await store.sweep()
    now += 61
    lost = await store.sweep()
    assert 10_000 == len(lost)
    for start in range(0, 10_000, 500):
        some = lost[start : start + 500]
        await together([store.append(one.id, None, epoch=one.epoch, close=Closing("interrupted", keep=5)) for one in some])
    now += 6
    assert [] == await store.sweep()
    assert [] == await store.list()
    await store.aclose()
    assert path.stat().st_size < 2_000_000
    assert [path] == sorted(path.parent.iterdir())
