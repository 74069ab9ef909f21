"""`check_store`: what a hub asks of a store, tried out call by call."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from types import MappingProxyType
from typing import Any, Final

import anyio
import anyio.lowlevel

from streamkit.errors import Fenced, StoreError, StreamBusy, UnknownStream
from streamkit.flow.clock import current_clock
from streamkit.hub.stores.protocol import Chunk, Closing, Record, Signal, State, Store
from streamkit.testing.contract import ContractBroken, Report
from streamkit.testing.store_model import history
from streamkit.testing.store_steps import (
    PARKING,
    caught,
    chunks_of,
    gathered,
    meanwhile,
    quickly,
    refused,
    refused_each,
    together,
    within,
)

__all__ = ["STORE_RULES", "check_store"]

STORE_RULES: Final = MappingProxyType(
    {
        1: "a name is one stream, made once and as it was asked for",
        2: "one writer at a time: each epoch is larger, and whoever has lost a stream is refused",
        3: "a log has no gap and one tale: what comes twice changes nothing, what does not fit is refused",
        4: "the end comes in one step with the last events, and is final",
        5: "a page has whole chunks, in order and without a gap, from the offset on that was asked for",
        6: "who waits is woken by what it waits for, whoever did it, and when the time is up",
        7: "a signal reaches the stream's writer, once",
        8: "what has expired, was trimmed or deleted is gone, and nothing else is",
        9: "what was put in comes out: every name, every byte",
        10: "a cancelled call and a closed store leave nobody waiting",
        11: "any history of calls goes as in the model",
    }
)

# Real seconds after which a case hangs.
PATIENCE: Final = 90.0

# Leases and keeps that run out, and that do not.
SHORT: Final = 0.1
LONG: Final = 3600.0

NAMES: Final = (
    "", " ", "a'b\"c`d", "x'; DROP TABLE streams; --", "nul\0inside", "nul\0inside\0", "%_*?[a-z]", "../../etc/passwd",
    "line\r\nbreak", "Aa", "aA", "\u00e9", "e\u0301", "\U0001f600\u202e", "n" * 1024, "\u4e2d" * 341, "12", "012", "null",
)  # fmt: skip
ENDINGS: Final[tuple[State, ...]] = ("done", "cancelled", "error", "truncated", "draining", "interrupted")


async def check_store(make: Callable[[], Store], *, histories: int = 20) -> Report:
    """Hold a store to the contract, on the event loop that runs.

    Args:
        make: Gives a handle on the store, each time on the same streams; where a store cannot be shared by two of them
            (one in memory), the same one: `lambda: store`. Those that were made are closed at the end.
        histories: How many random histories of 100 calls are compared with a model; the seeds are their numbers.

    Memory: what the store holds; a few megabytes for the largest chunk.
    Cancellation: passes through; the handles are closed.
    Raises:
        ContractBroken: an AssertionError that names the rule in `STORE_RULES`.

    >>> import asyncio
    >>> from streamkit.hub.stores.memory import MemoryStore
    >>> store = MemoryStore()
    >>> asyncio.run(check_store(lambda: store)).rules
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    """
    check = _StoreCheck(make(), make(), getattr(make, "__qualname__", repr(make)))
    try:
        await check.creating()
        await check.writing_alone()
        await check.appending()
        await check.ending()
        await check.reading()
        await check.waiting()
        await check.signalling()
        await check.forgetting()
        await check.keeping_everything()
        await check.histories(histories)
        await check.cancelling()
        await check.closing()
    finally:
        with anyio.CancelScope(shield=True):
            await check.close()
    return check.report


class _StoreCheck:
    """Two handles on one store, and names that nobody else has."""

    def __init__(self, store: Store, other: Store, subject: str) -> None:
        self.store = store
        self.other = other
        self.report = Report(subject)
        self._prefix = secrets.token_hex(6)
        self._made = 0

    def name(self, what: str = "") -> str:
        """A new name, for a stream or a holder."""
        self._made += 1
        return f"{self._prefix}-{self._made}-{what}"

    async def case(self, rule: int, sentence: str, run: Callable[[], Awaitable[object]]) -> None:
        """One case; `sentence` says what must hold."""
        try:
            with anyio.fail_after(PATIENCE):
                await run()
        except AssertionError as failure:
            raise ContractBroken(rule, sentence, failure, STORE_RULES) from failure
        except TimeoutError as stuck:
            raise ContractBroken(rule, sentence, "it never returned", STORE_RULES) from stuck
        except Exception as error:
            raise ContractBroken(rule, sentence, f"it raised {error!r}", STORE_RULES) from error
        self.report.add(rule, sentence)

    async def close(self) -> None:
        """Both handles."""
        await self.store.aclose()
        await self.other.aclose()

    async def stream(self, holder: str = "", *, lease: float = LONG) -> tuple[str, int]:
        """A new stream with a writer; its name and epoch."""
        id = self.name()
        assert await self.store.create(id, owner=None, metadata={}, first_epoch=100), "a new stream was not made"
        return id, await self.store.acquire(id, holder=holder or self.name("holder"), lease=lease)

    async def written(self, *counts: int, holder: str = "") -> tuple[str, int, list[Chunk]]:
        """A stream with chunks of so many events."""
        id, epoch = await self.stream(holder)
        chunks = chunks_of(epoch, *counts)
        for chunk in chunks:
            await self.store.append(id, chunk, epoch=epoch)
        return id, epoch, chunks

    async def record(self, id: str) -> Record:
        """What the other handle knows of a stream that is there."""
        record = await self.other.get(id)
        assert record is not None, "the other handle finds no such stream: does `make` give handles on the same store?"
        return record

    # -- the rules

    async def creating(self) -> None:
        async def made() -> None:
            id, before = self.name(), time.time()
            assert await self.store.create(id, owner="me", metadata={"a": [1, {"b": None}]}, first_epoch=7)
            record = await self.record(id)
            known = (record.id, record.owner, dict(record.metadata), record.first_epoch, record.epoch, record.holder)
            assert known == (id, "me", {"a": [1, {"b": None}]}, 7, 7, None), f"it became {record}"
            running = (record.floor, record.head, record.bytes, record.state, record.reason, record.ended_at, record.expires_at)
            assert running == (0, 0, 0, "running", None, None, None) and record.lease_until is None, f"it became {record}"
            assert before - 1 <= record.created_at <= time.time() + 1, f"it was created at {record.created_at}, and that is not now"

        async def twice() -> None:
            id, _ = await self.stream()
            before = await self.record(id)
            assert not await self.other.create(id, owner="you", metadata={"new": 1}, first_epoch=9), "it was made a second time"
            assert await self.record(id) == before, "the second call changed it"

        async def at_once() -> None:
            id = self.name()
            made = await together([self.creation(one, id) for one in (self.store, self.other) * 4])
            assert made.count(True) == 1, f"{made.count(True)} of 8 calls made the stream"

        async def own_metadata() -> None:
            id, given = self.name(), {"list": [1]}
            await self.store.create(id, owner=None, metadata=given, first_epoch=1)
            given["list"].append(2)
            found: Any = (await self.record(id)).metadata
            found["list"].append(3)
            assert (await self.record(id)).metadata == {"list": [1]}, "what a caller did to its own copy is in the store"

        async def unknown() -> None:
            assert await self.store.get(self.name()) is None, "it knows a stream that nobody made"

        async def listed() -> None:
            ids = [(await self.stream())[0] for _ in range(3)]
            newest = [record.id for record in await self.other.list(limit=3)]
            assert newest == ids[::-1], f"made {ids}, and the newest three are {newest}"
            assert len(await self.other.list(limit=2)) == 2, "limit=2 is no limit"

        await self.case(1, "a new stream is as it was asked for, and has no writer", made)
        await self.case(1, "a second one of the same name is not made", twice)
        await self.case(1, "of several that make it at once, one does", at_once)
        await self.case(1, "metadata is the store's own copy", own_metadata)
        await self.case(1, "nothing is known of a name that was never used", unknown)
        await self.case(1, "the list has the newest first, and no more than asked for", listed)

    async def creation(self, store: Store, id: str) -> bool:
        return await store.create(id, owner=None, metadata={}, first_epoch=1)

    async def writing_alone(self) -> None:
        store, other = self.store, self.other

        async def larger() -> None:
            id, first = await self.stream("one", lease=1e-6)
            assert first > 100, f"the first epoch was behind {first}, the first one given was to be behind 100"
            second = await other.acquire(id, holder="two", lease=1e-6)
            third = await store.acquire(id, holder="one", lease=LONG)
            assert first < second < third, f"the epochs were {first}, {second}, {third}"
            record = await self.record(id)
            assert (record.holder, record.epoch) == ("one", third), f"it is held by {record.holder} under {record.epoch}"

        async def busy() -> None:
            id, epoch = await self.stream("one")
            await refused(
                StreamBusy, other.acquire(id, holder="two", lease=LONG), "a stream whose writer's lease runs was given away"
            )
            assert await store.acquire(id, holder="one", lease=LONG) > epoch, "its own holder got no new epoch"

        async def run_out() -> None:
            before = time.time()
            id, epoch = await self.stream("one", lease=SHORT)
            until = (await self.record(id)).lease_until
            assert until is not None and before - 1 <= until - SHORT <= time.time() + 1, f"a lease of {SHORT} s runs until {until}"
            await current_clock().sleep(SHORT * 1.5)
            await store.append(id, Chunk(0, 1, epoch, b"slow"), epoch=epoch)
            taken = await other.acquire(id, holder="two", lease=LONG)
            await refused(
                Fenced, store.append(id, Chunk(1, 1, epoch, b"late"), epoch=epoch), "it appended under an epoch that is lost"
            )
            await refused(Fenced, store.append(id, None, epoch=epoch, close=Closing("done")), "it ended a stream that it had lost")
            await refused(Fenced, store.trim(id, 1, epoch=epoch), "it trimmed a stream that it had lost")
            await other.append(id, Chunk(1, 1, taken, b"new"), epoch=taken)
            assert (await self.record(id)).head == 2, "the new writer's chunk is not there"

        async def renewed() -> None:
            id, epoch = await self.stream("one", lease=SHORT)
            assert await store.renew("one", {id: epoch}, lease=LONG) == set(), "a stream that is held was called lost"
            await current_clock().sleep(SHORT * 1.5)
            await refused(StreamBusy, other.acquire(id, holder="two", lease=LONG), "a lease that was renewed has run out")

        async def lost() -> None:
            holder = self.name("holder")
            kept, kept_epoch = await self.stream(holder)
            over, over_epoch = await self.stream(holder)
            await store.append(over, None, epoch=over_epoch, close=Closing("done"))
            older, older_epoch = await self.stream(holder)
            await store.acquire(older, holder=holder, lease=LONG)
            taken, taken_epoch = await self.stream(holder, lease=1e-6)
            await other.acquire(taken, holder="two", lease=LONG)
            gone = self.name()
            held = {kept: kept_epoch, over: over_epoch, older: older_epoch, taken: taken_epoch, gone: 1}
            found = await store.renew(holder, held, lease=LONG)
            assert found == {over, older, taken, gone}, "the streams that are over, forgotten or under another epoch were not told"
            assert (await self.record(taken)).holder == "two", "renewing took a stream back"

        async def nobody() -> None:
            id = self.name()
            await self.creation(store, id)
            await refused(Fenced, store.append(id, Chunk(0, 1, 1, b"x"), epoch=1), "it was written without a writer")
            id, epoch = await self.stream()
            await refused(
                Fenced, store.append(id, Chunk(0, 1, epoch + 1, b"x"), epoch=epoch + 1), "an epoch was taken that was never given"
            )

        async def contested() -> None:
            id = self.name()
            await self.creation(store, id)
            got = await together([caught(one.acquire(id, holder=str(i), lease=LONG)) for i, one in enumerate((store, other) * 4)])
            assert sum(isinstance(one, int) for one in got) == 1, f"of 8 that acquired it at once these did: {got}"

        async def unknown() -> None:
            id = self.name()
            await refused(
                UnknownStream, store.acquire(id, holder="one", lease=1.0), "a stream that nobody made was given to a writer"
            )
            await refused(UnknownStream, store.append(id, Chunk(0, 1, 1, b"x"), epoch=1), "a stream that nobody made was written")
            await refused(UnknownStream, store.trim(id, 1, epoch=1), "a stream that nobody made was trimmed")

        await self.case(2, "each epoch is larger than all before", larger)
        await self.case(2, "a stream whose lease runs is not given to another", busy)
        await self.case(2, "a slow writer goes on until it is replaced, and is refused from then on", run_out)
        await self.case(2, "a renewed lease runs on", renewed)
        await self.case(2, "renewing tells which streams are lost, and takes none back", lost)
        await self.case(2, "without an epoch that was given nobody writes", nobody)
        await self.case(2, "of several that acquire it at once, one does", contested)
        await self.case(2, "a stream that is not there has no writer", unknown)

    async def appending(self) -> None:
        store = self.store

        async def twice() -> None:
            id, epoch, chunks = await self.written(3, 2)
            before = await self.record(id)
            for chunk in reversed(chunks):
                await store.append(id, chunk, epoch=epoch)
            assert await self.record(id) == before, "a chunk that came twice changed the stream"
            assert list((await store.read(id, 0)).chunks) == chunks, "a chunk that came twice is there twice"

        async def at_once() -> None:
            id, epoch = await self.stream()
            chunk = Chunk(0, 4, epoch, b"once")
            await together([one.append(id, chunk, epoch=epoch) for one in (store, self.other) * 4])
            assert list((await store.read(id, 0)).chunks) == [chunk], "of the same chunk from 8 calls there is not one"

        async def misfits() -> None:
            id, epoch, chunks = await self.written(3, 2)
            before = await self.record(id)
            wrong = {
                "a gap before it": Chunk(6, 1, epoch, b"x"),
                "other events in its place": Chunk(3, 2, epoch, b"other"),
                "another length in its place": Chunk(3, 1, epoch, chunks[1].data),
                "a part of what is there": Chunk(1, 1, epoch, b"x"),
                "half of it behind the end": Chunk(4, 3, epoch, b"x"),
                "all that is there and more": Chunk(0, 9, epoch, b"x"),
            }
            for what, chunk in wrong.items():
                await refused(StoreError, store.append(id, chunk, epoch=epoch), f"a chunk was taken with {what}")
                await refused(
                    StoreError,
                    store.append(id, chunk, epoch=epoch, close=Closing("done")),
                    f"a stream was ended by a chunk with {what}",
                )
            assert await self.record(id) == before, "a chunk that was refused changed the stream"
            assert list((await store.read(id, 0)).chunks) == chunks, "a chunk that was refused changed the log"

        async def another_epoch() -> None:
            id, _, chunks = await self.written(3, holder="one")
            epoch = await store.acquire(id, holder="one", lease=LONG)
            again = Chunk(0, 3, epoch, chunks[0].data)
            await refused(StoreError, store.append(id, again, epoch=epoch), "what another epoch wrote was taken for a repeat")

        async def of_many() -> None:
            streams = [await self.stream() for _ in range(24)]

            async def write(number: int) -> None:
                id, epoch = streams[number]
                for chunk in chunks_of(epoch, 1, 2, 3, 4, 5):
                    await (store, self.other)[number % 2].append(id, chunk, epoch=epoch)

            await together([write(number) for number in range(len(streams))])
            for id, epoch in streams:
                found = list((await store.read(id, 0)).chunks)
                assert found == chunks_of(epoch, 1, 2, 3, 4, 5), f"of 24 streams written at once, one has {found}"

        await self.case(3, "a chunk that comes twice changes nothing", twice)
        await self.case(3, "of the same chunk from several calls at once there is one", at_once)
        await self.case(3, "a chunk that does not fit is refused, and nothing changed", misfits)
        await self.case(3, "a repeat is of the same epoch", another_epoch)
        await self.case(3, "streams that are written at once do not mix", of_many)

    async def ending(self) -> None:
        store = self.store

        async def one_step() -> None:
            for state in ENDINGS:
                id, epoch = await self.stream()
                before = time.time()
                await store.append(id, Chunk(0, 2, epoch, b"last"), epoch=epoch, close=Closing(state, "why", 60.0))
                record = await self.record(id)
                known = (record.head, record.bytes, record.state, record.reason, record.lease_until)
                assert known == (2, 4, state, "why", None), f"it ended as {record}"
                ended, expires = record.ended_at or 0.0, record.expires_at or 0.0
                assert before - 1 <= ended <= time.time() + 1 and abs(expires - ended - 60) < 1, f"it ended as {record}"

        async def again() -> None:
            id, epoch, chunks = await self.written(2, 2)
            last = Closing("error", "why", LONG)
            chunk = Chunk(4, 1, epoch, b"last")
            await store.append(id, chunk, epoch=epoch, close=last)
            before = await self.record(id)
            await store.append(id, chunk, epoch=epoch, close=last)
            assert await self.record(id) == before, "the last call that came twice changed the stream"
            assert list((await store.read(id, 0)).chunks) == [*chunks, chunk], "the last chunk is not there once"

        async def final() -> None:
            id, epoch, chunks = await self.written(2)
            await store.append(id, None, epoch=epoch, close=Closing("done", None, LONG))
            before = await self.record(id)
            calls: list[tuple[Coroutine[Any, Any, object], str]] = [
                (store.append(id, Chunk(2, 1, epoch, b"x"), epoch=epoch), "something was appended behind the end"),
                (store.append(id, chunks[0], epoch=epoch), "a stream that is over took a chunk"),
                (store.append(id, None, epoch=epoch, close=Closing("error", "no")), "a stream ended in two ways"),
                (
                    store.append(id, Chunk(2, 1, epoch, b"x"), epoch=epoch, close=Closing("done")),
                    "the end came with two last chunks",
                ),
                (store.trim(id, 2, epoch=epoch), "a stream that is over was trimmed"),
                (store.acquire(id, holder="two", lease=LONG), "a stream that is over has a new writer"),
            ]
            await refused_each(Fenced, calls)
            assert await self.record(id) == before, "a stream that is over has changed"

        async def seen_whole() -> None:
            id, epoch = await self.stream()
            seen: list[int] = []

            async def follow() -> None:
                head = 0
                while True:
                    page = await self.other.read(id, head)
                    head += sum(chunk.count for chunk in page.chunks)
                    if page.record.state != "running" and head >= page.record.head:
                        break
                    await self.other.wait(id, head, seconds=1.0)
                    await anyio.lowlevel.checkpoint()  # a store that never waits must not hang the suite
                seen.append(head)

            async def write() -> None:
                *chunks, last = chunks_of(epoch, *[1] * 40)
                for chunk in chunks:
                    await store.append(id, chunk, epoch=epoch)
                await store.append(id, last, epoch=epoch, close=Closing("done"))

            await together([follow(), follow(), write()])
            assert seen == [40, 40], f"readers that found the stream over had {seen} of its 40 events"

        await self.case(4, "the last events and the end come together", one_step)
        await self.case(4, "the end that comes twice changes nothing", again)
        await self.case(4, "a stream that is over stays as it is", final)
        await self.case(4, "whoever finds it over has all of it", seen_whole)

    async def reading(self) -> None:
        other = self.other

        async def every_offset() -> None:
            id, _, chunks = await self.written(3, 1, 4, 2)
            for first in range(13):
                page = await other.read(id, first)
                due = [chunk for chunk in chunks if chunk.first + chunk.count > first]
                assert list(page.chunks) == due, f"from offset {first} on came {page.chunks}"
                assert page.record == await self.record(id), "the page's record is not the stream's"

        async def paged() -> None:
            id, epoch = await self.stream()
            chunks = [Chunk(first, 1, epoch, bytes(size)) for first, size in enumerate((10, 20, 30, 100, 5, 5, 5))]
            for chunk in chunks:
                await self.store.append(id, chunk, epoch=epoch)
            for limit in (1, 29, 30, 60, 100, 110, 10_000):
                found: list[Chunk] = []
                while page := (await other.read(id, len(found), max_bytes=limit)).chunks:
                    size = sum(len(chunk.data) for chunk in page)
                    assert len(page) == 1 or size <= limit, f"{len(page)} chunks of {size} bytes came, with max_bytes={limit}"
                    found += page
                    assert len(found) <= len(chunks), f"pages of {limit} bytes have {found}"
                assert found == chunks, f"pages of {limit} bytes have {found}"

        async def unknown() -> None:
            await refused(UnknownStream, other.read(self.name(), 0), "a stream that nobody made was read")

        await self.case(5, "from any offset on come the chunks that have it, and all behind", every_offset)
        await self.case(5, "a page has at least one chunk, and else no more than fit", paged)
        await self.case(5, "a stream that is not there cannot be read", unknown)

    async def waiting(self) -> None:
        store, other = self.store, self.other

        async def at_once() -> None:
            id, epoch, _ = await self.written(3)
            assert (await quickly(other.wait(id, 2, seconds=LONG))).head == 3
            await store.append(id, None, epoch=epoch, close=Closing("done"))
            assert (await quickly(other.wait(id, 3, seconds=LONG))).state == "done"

        async def time_up() -> None:
            id, _, _ = await self.written(3)
            assert (await quickly(other.wait(id, 3, seconds=0))).head == 3
            clock = current_clock()
            before = clock.now()
            assert (await quickly(other.wait(id, 3, seconds=SHORT))).head == 3
            assert clock.now() - before >= SHORT * 0.9, "it did not wait"

        async def woken() -> None:
            for waits in (store, other):
                for close in (None, Closing("done")):
                    id, epoch = await self.stream()
                    chunk = None if close else Chunk(0, 1, epoch, b"x")
                    got = await meanwhile(
                        [waits.wait(id, 0, seconds=LONG) for _ in range(3)],
                        partial(store.append, id, chunk, epoch=epoch, close=close),
                    )
                    known = {(one.head, one.state) for one in got if isinstance(one, Record)}
                    assert known == {(0, "done") if close else (1, "running")}, f"three that waited were told {got}"

        async def not_for_others() -> None:
            id, epoch, _ = await self.written(2)
            elsewhere, other_epoch = await self.stream()

            async def write() -> None:
                await store.append(elsewhere, Chunk(0, 9, other_epoch, b"x"), epoch=other_epoch)
                await store.append(id, Chunk(2, 2, epoch, b"x"), epoch=epoch)
                await current_clock().sleep(PARKING)
                await store.append(id, Chunk(4, 2, epoch, b"x"), epoch=epoch)

            got = await meanwhile([other.wait(id, 5, seconds=LONG)], write)
            assert isinstance(got[0], Record) and got[0].head == 6, f"waiting for more than 5 events gave {got[0]}"

        async def unknown() -> None:
            await refused(
                UnknownStream, quickly(other.wait(self.name(), 0, seconds=LONG)), "it waits for a stream that nobody made"
            )
            for waits in (store, other):
                id, _ = await self.stream()
                got = await meanwhile([waits.wait(id, 0, seconds=LONG)], partial(store.delete, id))
                assert isinstance(got[0], UnknownStream), f"the stream was deleted, and who waited for it was told {got[0]}"

        await self.case(6, "nobody waits for what is there already", at_once)
        await self.case(6, "when the time is up the record comes as it is", time_up)
        await self.case(6, "an append and an end wake everybody, on both handles", woken)
        await self.case(6, "only what was waited for ends a wait", not_for_others)
        await self.case(6, "a stream that is deleted ends its waits", unknown)

    async def signalling(self) -> None:
        store, other = self.store, self.other

        async def once() -> None:
            holder = self.name("holder")
            (one, _), (two, _) = await self.stream(holder), await self.stream(holder)
            assert await other.signal(one, "cancel", "why") and await other.signal(two, "cancel"), "a signal was not taken"
            assert await store.signals(self.name("holder"), seconds=0) == [], "a signal reached somebody else"
            got = await gathered(store, holder, 2)
            assert sorted(got, key=lambda signal: signal.id) == sorted(
                [Signal(one, "cancel", "why"), Signal(two, "cancel", None)], key=lambda signal: signal.id
            ), f"the signals came as {got}"
            assert await store.signals(holder, seconds=0) == [], "a signal was given twice"
            assert await other.signals(holder, seconds=0) == [], "a signal was given twice"

        async def woken() -> None:
            for listens in (store, other):
                holder = self.name("holder")
                id, _ = await self.stream(holder)
                got = await meanwhile([listens.signals(holder, seconds=LONG)], partial(store.signal, id, "cancel", "now"))
                assert got == [[Signal(id, "cancel", "now")]], f"a writer that waited for signals was told {got[0]}"

        async def time_up() -> None:
            clock = current_clock()
            before = clock.now()
            assert await quickly(store.signals(self.name("holder"), seconds=SHORT)) == []
            assert clock.now() - before >= SHORT * 0.9, "it did not wait"

        async def to_nobody() -> None:
            fresh = self.name()
            await self.creation(store, fresh)
            over, epoch = await self.stream()
            await store.append(over, None, epoch=epoch, close=Closing("done"))
            for id, what in ((self.name(), "is not there"), (fresh, "nobody writes"), (over, "is over")):
                assert not await store.signal(id, "cancel"), f"a signal was taken for a stream that {what}"

        async def to_the_next() -> None:
            one, two = self.name("holder"), self.name("holder")
            id, _ = await self.stream(one, lease=1e-6)
            assert await other.signal(id, "cancel", "kept"), "a signal was not taken"
            await store.acquire(id, holder=two, lease=LONG)
            assert await store.signals(one, seconds=0) == [], "a signal went to a writer that has lost the stream"
            assert await quickly(store.signals(two, seconds=LONG)) == [Signal(id, "cancel", "kept")], (
                "a signal nobody had received is gone"
            )

        await self.case(7, "a signal is given once, to the stream's writer", once)
        await self.case(7, "a writer that waits is woken, on both handles", woken)
        await self.case(7, "when the time is up there are none", time_up)
        await self.case(7, "a stream that nobody writes takes none", to_nobody)
        await self.case(7, "what nobody has received goes to the next writer", to_the_next)

    async def forgetting(self) -> None:
        store, other = self.store, self.other

        async def expired() -> None:
            (id, epoch, _), (kept, kept_epoch, chunks) = await self.written(2), await self.written(2)
            await store.append(kept, None, epoch=kept_epoch, close=Closing("done", None, LONG))
            before = time.time()
            await store.append(id, None, epoch=epoch, close=Closing("done", None, SHORT * 3))
            over = await other.get(id)
            # It may have expired by now, on a machine that was busy.
            known = over is not None and over.head == 2
            assert known or time.time() - before >= SHORT * 3, "it was forgotten at its end"
            await current_clock().sleep(SHORT * 3.5)
            assert await other.get(id) is None, "it has expired, and is still known"
            assert id not in {record.id for record in await other.list()}, "it has expired, and is still listed"
            calls: list[tuple[Coroutine[Any, Any, object], str]] = [
                (other.read(id, 0), "it has expired, and was read"),
                (other.wait(id, 0, seconds=1.0), "it has expired, and was waited for"),
                (
                    store.append(id, None, epoch=epoch, close=Closing("done", None, SHORT * 3)),
                    "it has expired, and was ended again",
                ),
                (store.acquire(id, holder="two", lease=LONG), "it has expired, and was given to a writer"),
            ]
            await refused_each(UnknownStream, calls)
            assert await self.creation(other, id), "it has expired, and its name is still taken"
            record = await self.record(id)
            assert (record.head, record.bytes, record.holder, record.state) == (0, 0, None, "running"), (
                f"a name began anew as {record}"
            )
            assert not (await other.read(id, 0)).chunks, "a name began anew with the events of another stream"
            await store.sweep()
            assert await other.get(id) is not None, "the sweep forgot a stream that runs"
            assert list((await other.read(kept, 0)).chunks) == chunks, "the sweep forgot what had not expired"

        async def swept() -> None:
            (dead, _), (alive, _), (over, epoch) = (
                await self.stream(lease=SHORT),
                await self.stream(),
                await self.stream(lease=SHORT),
            )
            await store.append(over, None, epoch=epoch, close=Closing("done"))
            await current_clock().sleep(SHORT * 1.5)
            for _ in range(2):
                told = {record.id for record in await other.sweep()}
                assert dead in told, "the sweep does not tell of a stream whose lease has run out"
                assert not {alive, over} & told, "the sweep tells of a stream that is over, or whose lease runs"

        async def trimmed() -> None:
            id, epoch, chunks = await self.written(3, 4, 2)
            size = (await self.record(id)).bytes
            for floor, gone in ((0, 0), (2, 0), (3, 1), (6, 1), (1, 1), (7, 2)):
                await store.trim(id, floor, epoch=epoch)
                record, left = await self.record(id), chunks[gone:]
                due = (left[0].first, 9, size - sum(len(chunk.data) for chunk in chunks[:gone]))
                assert (record.floor, record.head, record.bytes) == due, f"trimmed to {floor} it became {record}"
                assert list((await other.read(id, 0)).chunks) == left, f"trimmed to {floor} it does not begin at its floor"
            await store.trim(id, 1000, epoch=epoch)
            record = await self.record(id)
            assert (record.floor, record.head, record.bytes) == (9, 9, 0), f"trimmed beyond its end it became {record}"
            assert not (await other.read(id, 0)).chunks, "everything was trimmed, and something is left"
            await store.append(id, Chunk(9, 1, epoch, b"on"), epoch=epoch)
            assert (await self.record(id)).head == 10, "a trimmed stream does not go on where it was"

        async def deleted() -> None:
            id, epoch, _ = await self.written(2)
            first_epoch = (await self.record(id)).first_epoch
            await other.delete(id, first_epoch=first_epoch + 1)
            assert await store.get(id) is not None, "a stream was deleted that was created with another first epoch than was said"
            for _ in range(2):
                await other.delete(id)
                assert await store.get(id) is None, "a deleted stream is still known"
            await refused(UnknownStream, store.append(id, Chunk(2, 1, epoch, b"x"), epoch=epoch), "a deleted stream was written")
            assert await self.creation(store, id), "the name of a deleted stream is still taken"
            assert not (await other.read(id, 0)).chunks, "a name began anew with the events of another stream"
            await other.delete(id, first_epoch=(await self.record(id)).first_epoch)
            assert await store.get(id) is None, "a stream is still known that was deleted by its first epoch"

        await self.case(8, "what has expired is gone, and its name is free", expired)
        await self.case(8, "the sweep tells of streams whose writer may be dead", swept)
        await self.case(8, "trimming takes whole chunks from below, and says so", trimmed)
        await self.case(8, "a deleted stream is gone", deleted)

    async def keeping_everything(self) -> None:
        store, other = self.store, self.other

        async def names() -> None:
            held: dict[str, tuple[int, str]] = {}
            holder = self.name("o'h\0\u4e2d")
            for name in NAMES:
                id = f"{self._prefix}{name}" if len(name) < 1000 else f"{self._prefix}{name}"[:1024]
                metadata = {name or "k": [name, 1.5, True, None, {"\u4e2d": -(2**53)}]}
                assert await store.create(id, owner=name, metadata=metadata, first_epoch=1), f"{id!r} is taken for another name"
                held[id] = epoch, _ = await store.acquire(id, holder=holder, lease=LONG), name
                await store.append(id, Chunk(0, 1, epoch, name.encode()), epoch=epoch)
                record = await self.record(id)
                assert (record.id, record.owner, record.holder, dict(record.metadata)) == (id, name, holder, metadata), f"{record}"
                assert await other.signal(id, "cancel", name), "a signal was not taken"
            got = {one.id: one.reason for one in await gathered(store, holder, len(held))}
            assert got == {id: name for id, (_, name) in held.items()}, "names and reasons of signals have changed"
            for id, (epoch, name) in held.items():
                assert (await other.read(id, 0)).chunks[0].data == name.encode(), f"{id!r} has the events of another name"
                await store.append(id, None, epoch=epoch, close=Closing("error", name))
                assert (await self.record(id)).reason == name, f"the reason {name!r} has changed"
                await store.delete(id)

        async def data() -> None:
            id, epoch = await self.stream()
            parts = [b"", bytes(range(256)), b"\0" * 10, random.Random(5).randbytes(3_000_000), b"'"]
            for first, part in enumerate(parts):
                await store.append(id, Chunk(first, 1, epoch, part), epoch=epoch)
            for first, part in enumerate(parts):
                assert (await other.read(id, first, max_bytes=1)).chunks[0].data == part, f"{len(part)} bytes have changed"
            await store.delete(id)

        async def numbers() -> None:
            id = self.name()
            await store.create(id, owner=None, metadata={}, first_epoch=1 << 44)
            epoch = await store.acquire(id, holder="one", lease=LONG)
            await store.append(id, Chunk(0, 10**14, epoch, b"many"), epoch=epoch)
            await store.append(id, Chunk(10**14, 1, epoch, b"more"), epoch=epoch)
            found = (await other.read(id, 10**14)).chunks
            assert list(found) == [Chunk(10**14, 1, epoch, b"more")] and epoch > 1 << 44, f"large numbers have changed: {found}"
            await store.delete(id)

        await self.case(9, "every name is a stream of its own", names)
        await self.case(9, "every byte comes back, of large chunks too", data)
        await self.case(9, "so do large numbers", numbers)

    async def histories(self, count: int) -> None:
        for seed in range(count):

            async def run(seed: int = seed) -> None:
                await history((self.store, self.other)[seed % 2], random.Random(seed), self.name(f"seed-{seed}-"), 100)

            await self.case(11, "random histories go as in the model", run)

    async def cancelling(self) -> None:
        async def waits() -> None:
            holder = self.name("holder")
            id, epoch = await self.stream(holder)
            for store in (self.store, self.other):
                with within(PARKING):
                    await store.wait(id, 0, seconds=LONG)
                with within(PARKING):
                    await store.signals(holder, seconds=LONG)
            await self.other.signal(id, "cancel", "kept")
            got = await quickly(self.store.signals(holder, seconds=LONG))
            assert got == [Signal(id, "cancel", "kept")], "a signal went to a call that was cancelled before"

            async def cancel_one() -> None:
                with within(PARKING / 2):
                    await self.other.wait(id, 0, seconds=LONG)
                await self.store.append(id, Chunk(0, 1, epoch, b"x"), epoch=epoch)

            got = await meanwhile([self.other.wait(id, 0, seconds=LONG)], cancel_one)
            assert isinstance(got[0], Record), f"one wait was cancelled, and another was told {got[0]}"

        await self.case(10, "a cancelled wait takes nothing with it", waits)

    async def closing(self) -> None:
        async def closed() -> None:
            id, epoch = await self.stream()
            waits = [self.store.wait(id, 0, seconds=LONG), self.store.signals("nobody", seconds=LONG)]
            for got in await meanwhile(waits, self.store.aclose):
                assert isinstance(got, StoreError), f"the store was closed, and who waited was told {got}"
            await self.store.aclose()
            await refused(StoreError, self.store.get(id), "a closed store answers")
            await refused(StoreError, self.store.append(id, Chunk(0, 1, epoch, b"x"), epoch=epoch), "a closed store takes a chunk")
            if self.other is not self.store:
                assert (await self.record(id)).epoch == epoch, "closing one handle closed the other"

        await self.case(10, "closing ends what waits, and may be said twice", closed)
