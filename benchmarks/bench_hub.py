"""The hub beside a queue per reader and the libraries people use for the same: fan-out, memory, stores, coming late.

    python benchmarks/bench_hub.py [rounds]

Fan-out is CPU time per event and reader, from the first event until the last reader has counted all of them; who reads is
parked by then. The source gives way to the event loop (`asyncio.sleep(0)`) behind each event, or behind each burst. The queue
per reader is the one written by hand: bounded, `await put`, a generator that gets; beside it the same without bound and
generator (`put_nowait`, `get`). A round times all contenders one after the other, and the best round of each counts.

Rates of stores and the time of who comes late are of the wall clock: to wait for a disk costs no CPU. Memory is what
`tracemalloc` sees, each figure in a process of its own.
"""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import json
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from functools import partial
from pathlib import Path
from time import perf_counter_ns, process_time_ns
from typing import Any, TypeAlias

import streamkit as sk
from streamkit.flow.sources import Feed, Source
from streamkit.flow.streams import Stream
from streamkit.hub.chunks import encode
from streamkit.hub.hub import Hub
from streamkit.hub.stores.memory import MemoryStore
from streamkit.hub.stores.protocol import Chunk, Store
from streamkit.hub.stores.sqlite import SqliteStore

Row: TypeAlias = dict[str, object]

# Readers, events of each round, and the least that the hub may be faster.
SINGLES = ((1, 10_000, 1.0), (100, 600, 3.0), (1000, 60, 3.0))
BURSTS = ((100, 40, 8.0), (1000, 6, 8.0))
BURST = 32
BOUND = 1024
STALLED = 1000
# What a hub keeps of a stream event by event, unless told.
LOGGED = 65_536
STORED = 10_000
LATE = 10_000
LATE_MS = 20.0
PARKED = 1000
TINY = 1000


def rows(rounds: int) -> list[Row]:
    """One row per figure: `ratio` is how many times better ours is than the peer, except for memory (how many times as much);
    `hold` is the least it may be, or with `bound` "most" the most, or with "figure" the most that ours may be, in its unit.
    """
    out: list[Row] = []
    for readers, events, hold in SINGLES:
        out += _fan_out(rounds, readers, events, 1, hold)
    for readers, events, hold in BURSTS:
        out += _fan_out(rounds, readers, events, BURST, hold)
    if importlib.util.find_spec("uvloop") is not None:
        for readers, events, _ in SINGLES:
            out += _fan_out(rounds, readers, events, 1, None, uvloop=True)
    out.append(_beside_a_loop(rounds))
    out += _memory()
    out += _stores(rounds)
    out += _late(rounds)
    return out + _moments(rounds)


# ---- fan-out


class Script:
    """What a source gives, once it may."""

    def __init__(self, events: int, burst: int) -> None:
        self.events = [sk.TextDelta(f"t{number}") for number in range(events * burst)]
        self.burst = burst
        self.go = asyncio.Event()
        self.began = 0

    async def bursts(self) -> AsyncIterator[list[sk.TextDelta]]:
        await self.go.wait()
        for at in range(0, len(self.events), self.burst):
            yield self.events[at : at + self.burst]
            await asyncio.sleep(0)

    async def singles(self) -> AsyncIterator[sk.TextDelta]:
        await self.go.wait()
        for event in self.events:
            yield event
            await asyncio.sleep(0)

    def begin(self) -> None:
        self.began = process_time_ns()
        self.go.set()

    async def count(self, readers: list[asyncio.Task[int]], more: int = 0) -> float:
        """Let it begin once all are parked; microseconds per event and reader."""
        for _ in range(5):
            await asyncio.sleep(0)
        self.begin()
        counts = await asyncio.gather(*readers)
        spent = process_time_ns() - self.began
        if set(counts) != {len(self.events) + more}:
            raise RuntimeError(f"events were lost: {sorted(set(counts))} in the place of {len(self.events) + more}")
        return spent / 1000 / (len(self.events) * len(counts))


Contender: TypeAlias = Callable[[Script, int], Awaitable[float]]


async def hub_events(script: Script, readers: int) -> float:
    async with Hub() as hub:
        await hub.start("x", _source(script))

        async def read() -> int:
            count = 0
            async with hub.subscribe("x").open() as run:
                async for _ in run:
                    count += 1
            return count

        return await script.count([asyncio.create_task(read()) for _ in range(readers)], more=1)


async def hub_lists(script: Script, readers: int) -> float:
    async with Hub() as hub:
        await hub.start("x", _source(script))

        async def read() -> int:
            count = 0
            async with hub.subscribe("x").open() as run:
                async for events in run.lists():
                    count += len(events)
            return count

        return await script.count([asyncio.create_task(read()) for _ in range(readers)], more=1)


def _source(script: Script) -> Any:
    if script.burst == 1:
        return script.singles
    return Stream(Source("bursts", lambda run: Feed(script.bursts(), shape="lists")))


async def queues(script: Script, readers: int) -> float:
    """As one writes it: bounded, so that a slow reader is felt, and a generator, so that it can be looped over."""
    each: list[asyncio.Queue[sk.TextDelta | None]] = [asyncio.Queue(BOUND) for _ in range(readers)]

    async def items(queue: asyncio.Queue[sk.TextDelta | None]) -> AsyncIterator[sk.TextDelta]:
        while (item := await queue.get()) is not None:
            yield item

    async def read(queue: asyncio.Queue[sk.TextDelta | None]) -> int:
        count = 0
        async for _ in items(queue):
            count += 1
        return count

    async def write() -> None:
        async for events in script.bursts():
            for event in events:
                for queue in each:
                    await queue.put(event)
        for queue in each:
            await queue.put(None)

    return await _written(script, write(), [asyncio.create_task(read(queue)) for queue in each])


async def bare_queues(script: Script, readers: int) -> float:
    """The least that a queue per reader can be."""
    each: list[asyncio.Queue[sk.TextDelta | None]] = [asyncio.Queue() for _ in range(readers)]

    async def read(queue: asyncio.Queue[sk.TextDelta | None]) -> int:
        count = 0
        while await queue.get() is not None:
            count += 1
        return count

    async def write() -> None:
        async for events in script.bursts():
            for event in events:
                for queue in each:
                    queue.put_nowait(event)
        for queue in each:
            queue.put_nowait(None)

    return await _written(script, write(), [asyncio.create_task(read(queue)) for queue in each])


async def anyio_streams(script: Script, readers: int) -> float:
    import anyio

    pairs = [anyio.create_memory_object_stream[sk.TextDelta](BOUND) for _ in range(readers)]

    async def read(receiving: Any) -> int:
        count = 0
        async with receiving:
            async for _ in receiving:
                count += 1
        return count

    async def write() -> None:
        async for events in script.bursts():
            for event in events:
                for sending, _ in pairs:
                    await sending.send(event)
        for sending, _ in pairs:
            sending.close()

    return await _written(script, write(), [asyncio.create_task(read(receiving)) for _, receiving in pairs])


async def broadcaster(script: Script, readers: int) -> float:
    from broadcaster import Broadcast

    expected = len(script.events)
    async with Broadcast("memory://") as broadcast:

        async def read() -> int:
            count = 0
            async with broadcast.subscribe("x") as subscriber:
                async for _ in subscriber:  # type: ignore[union-attr]  # its annotation says None, its generator never does
                    count += 1
                    if count == expected:  # it has no end
                        break
            return count

        async def write() -> None:
            async for events in script.bursts():
                for event in events:
                    await broadcast.publish("x", event)

        return await _written(script, write(), [asyncio.create_task(read()) for _ in range(readers)])


async def tee(script: Script, readers: int) -> float:
    from asyncstdlib import tee as asyncstdlib_tee

    async def source() -> AsyncIterator[sk.TextDelta]:
        async for events in script.bursts():
            for event in events:
                yield event

    async def read(iterator: AsyncIterator[sk.TextDelta]) -> int:
        count = 0
        async for _ in iterator:
            count += 1
        return count

    # With several tasks it needs the lock.
    async with asyncstdlib_tee(source(), n=readers, lock=asyncio.Lock()) as iterators:
        return await script.count([asyncio.create_task(read(iterator)) for iterator in iterators])


async def _written(script: Script, writing: Coroutine[Any, Any, None], readers: list[asyncio.Task[int]]) -> float:
    writer = asyncio.create_task(writing)
    try:
        return await script.count(readers)
    finally:
        await writer


PEERS: dict[str, tuple[str, Contender]] = {
    "put_nowait and get": ("asyncio", bare_queues),
    "anyio streams": ("anyio", anyio_streams),
    "broadcaster": ("broadcaster", broadcaster),
    "asyncstdlib.tee": ("asyncstdlib", tee),
}


def _fan_out(rounds: int, readers: int, events: int, burst: int, hold: float | None, *, uvloop: bool = False) -> list[Row]:
    contenders: dict[str, Contender] = {"events": hub_events, "lists": hub_lists, "queue": queues}
    contenders |= {name: run for name, (module, run) in PEERS.items() if importlib.util.find_spec(module) is not None}
    best = _best(rounds, {name: _one_fan(run, readers, events, burst, uvloop) for name, run in contenders.items()})
    others = {name: best["queue"] / best[name] if name in best else None for name in PEERS}
    many = f"{readers} reader{'s' if readers > 1 else ''}"
    what = f"fan-out, {many}, {'single events' if burst == 1 else f'bursts of {burst}'}"
    loop = ", uvloop" if uvloop else ""
    out = [
        _row(
            f"{what}{', in lists' if way == 'lists' else ''}{loop}",
            best[way],
            best["queue"],
            "asyncio.Queue per reader",
            "us",
            best["queue"] / best[way],
            hold,
        )
        for way in ("events", "lists")
    ]
    # What is promised: single events event by event, bursts in lists.
    out[1 if burst == 1 else 0]["hold"] = None
    out[0]["others"] = out[1]["others"] = others
    return out


def _one_fan(contender: Contender, readers: int, events: int, burst: int, uvloop: bool) -> Callable[[], float]:
    async def main() -> float:
        return await contender(Script(events, burst), readers)

    return lambda: _run(main, uvloop)


def _run(main: Callable[[], Coroutine[Any, Any, float]], uvloop: bool = False) -> float:
    if not uvloop:
        return asyncio.run(main())
    import uvloop as library

    with asyncio.Runner(loop_factory=library.new_event_loop) as runner:
        return runner.run(main())


def _best(rounds: int, contenders: dict[str, Callable[[], float]]) -> dict[str, float]:
    best = dict.fromkeys(contenders, float("inf"))
    names = list(contenders)
    for round_ in range(rounds):
        # Another one first each time: who comes after a pause pays for cold caches.
        turn = round_ % len(names)
        for name in names[turn:] + names[:turn]:
            gc.collect()
            best[name] = min(best[name], contenders[name]())
    return best


def _beside_a_loop(rounds: int) -> Row:
    """What it costs that a generation runs by itself, for its only reader."""
    _, events, _ = SINGLES[0]

    async def loop(script: Script, readers: int) -> float:
        async def read() -> int:
            count = 0
            async for _ in script.singles():
                count += 1
            return count

        return await script.count([asyncio.create_task(read())])

    best = _best(rounds, {"ours": _one_fan(hub_events, 1, events, 1, False), "loop": _one_fan(loop, 1, events, 1, False)})
    return _row("one reader beside no hub at all", best["ours"], best["loop"], "async for", "us", best["loop"] / best["ours"], None)


# ---- memory


def _memory() -> list[Row]:
    # The promise is for all of it, with the readers themselves: they weigh less the longer the log is. What they keep alive
    # by being stalled is the first row.
    one, many = _measured(1), _measured(STALLED)
    each = (many["seated"] - one["seated"]) / (STALLED - 1)
    what = f"memory, {STALLED} stalled readers, {LOGGED:,} events"
    with_one = "1 stalled reader"
    total, total_one = many["seated"] + many["grown"], one["seated"] + one["grown"]
    return [
        _row(f"{what}: what grows", many["grown"], one["grown"], with_one, "bytes", many["grown"] / one["grown"], None, "most"),
        _row(f"{what}: all, readers and tasks too", total, total_one, with_one, "bytes", total / total_one, 1.5, "most"),
        _row("memory of a reader and its task", each, None, "", "bytes", None, None),
        _row("memory of a stream with nothing in it", one["stream"], None, "", "bytes", None, None),
    ]


def _measured(readers: int) -> dict[str, float]:
    out = subprocess.run(
        [sys.executable, __file__, "memory", str(readers), str(LOGGED)], check=True, capture_output=True, text=True
    ).stdout
    found: dict[str, float] = json.loads(out)
    return found


async def _stall(readers: int, events: int) -> dict[str, float]:
    """`stream`: a stream that waits; `seated`: with its readers, each stalled behind its first event; `grown`: by all events."""
    go = asyncio.Event()

    async def source() -> AsyncIterator[sk.TextDelta]:
        yield sk.TextDelta("first")
        await go.wait()
        for number in range(events):
            yield sk.TextDelta(f"t{number}")
            if not number % BURST:
                await asyncio.sleep(0)

    async def waiting() -> AsyncIterator[sk.TextDelta]:
        await go.wait()
        yield sk.TextDelta("")

    async def stall(hub: Hub) -> None:
        async with hub.subscribe("x").open() as run:
            await anext(aiter(run))
            await left.wait()

    async with Hub(max_events=2 * events) as hub:
        await hub.start("warm", ["up"])
        await hub.subscribe("warm").collect()
        left = asyncio.Event()
        gc.collect()
        tracemalloc.start()
        for number in range(50):
            await hub.start(f"idle {number}", waiting)
        await _turns()
        gc.collect()
        stream = tracemalloc.get_traced_memory()[0] / 50
        # They are gone before anything else is measured: what they give back is not to be taken off it.
        for number in range(50):
            await hub.cancel(f"idle {number}")
        await _turns()
        gc.collect()
        empty = tracemalloc.get_traced_memory()[0]
        await hub.start("x", source)
        tasks = [asyncio.create_task(stall(hub)) for _ in range(readers)]
        await _turns()
        gc.collect()
        seated = tracemalloc.get_traced_memory()[0]
        go.set()
        await _until(lambda: _over(hub, "x"))
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        left.set()
        await asyncio.gather(*tasks)
    return {"stream": stream, "seated": seated - empty, "grown": grown - seated}


async def _turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def _until(so: Callable[[], Awaitable[bool]], pause: float = 0) -> None:
    """A hub tells how far it is to who asks."""
    while not await so():  # noqa: ASYNC110  # nothing of the hub's is set when so much has come
        await asyncio.sleep(pause)


async def _over(hub: Hub, id: str) -> bool:
    return (await hub.status(id)).state != "running"


async def _came(hub: Hub, events: int) -> bool:
    return (await hub.status("x")).events >= events


async def _stored(hub: Hub, id: str, events: int) -> bool:
    stored = (await hub.status(id)).stored
    return stored is None or stored == events


# ---- stores


class _Counted:
    """A store that counts its appends: a hub puts into one what waits together."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.appends = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    async def append(self, *given: Any, **named: Any) -> Any:
        self.appends += 1
        return await self.store.append(*given, **named)


def _stores(rounds: int) -> list[Row]:
    """Ours through the hub, where the source gives all at once and 32 that wait are enough for a commit; with how many appends
    that was. And without a hub, by 32 and each waited for: what a thread and a commit cost by themselves.
    """
    appends: dict[str, int] = {}

    def stored(name: str, make: Callable[[str], Store | None], way: Callable[[Any], Awaitable[float]]) -> Callable[[], float]:
        async def main() -> float:
            with tempfile.TemporaryDirectory() as folder:
                store = make(folder)
                counted = None if store is None else _Counted(store)
                spent = await way(counted)
                appends[name] = 0 if counted is None else counted.appends
                return spent

        return lambda: _run(main)

    def sqlite(folder: str) -> Store:
        return SqliteStore(Path(folder) / "hub.db")

    best = _best(
        max(3, rounds),
        {
            "sqlite": stored("sqlite", sqlite, _store),
            "memory": stored("memory", lambda _: MemoryStore(), _store),
            "none": stored("none", lambda _: None, _store),
            "sqlite by 32": stored("sqlite by 32", sqlite, _append),
            "memory by 32": stored("memory by 32", lambda _: MemoryStore(), _append),
        },
    )
    through = f"{STORED:,} events at once through a hub, read and stored in {appends['sqlite']} appends: SQLite"
    by_32 = f"{STORED:,} events by {BURST}, {appends['sqlite by 32']} appends, each waited for: SQLite"
    memory = best["memory"]
    return [
        _row(
            through,
            best["sqlite"],
            memory,
            f"memory store, {appends['memory']} appends",
            "ms",
            memory / best["sqlite"],
            0.5,
            others={"no store": memory / best["none"]},
        ),
        _row(
            by_32,
            best["sqlite by 32"],
            best["memory by 32"],
            "memory store",
            "ms",
            best["memory by 32"] / best["sqlite by 32"],
            None,
        ),
    ]


async def _append(store: Any) -> float:
    """Milliseconds of the wall clock until all is stored, one commit per 32: no hub, so nothing is put together."""
    chunks = [encode([sk.TextDelta(f" token {at + number}") for number in range(BURST)]) for at in range(0, STORED, BURST)]
    await store.create("x", owner=None, metadata={}, first_epoch=7)
    epoch = await store.acquire("x", holder="bench", lease=60)
    begin = perf_counter_ns()
    for number, data in enumerate(chunks):
        await store.append("x", Chunk(number * BURST, BURST, epoch, data), epoch=epoch)
    spent = perf_counter_ns() - begin
    await store.aclose()
    return spent / 1e6


async def _store(store: Any) -> float:
    """Milliseconds of the wall clock until all is read and stored."""
    events = [sk.TextDelta(f" token {number}") for number in range(STORED)]
    async with Hub(store, flush_events=32) as hub:
        await hub.start("warm", ["up"])
        await _until(lambda: _stored(hub, "warm", 2), 0.001)
        if store is not None:
            store.appends = 0
        begin = perf_counter_ns()
        await hub.start("x", events)
        count = len(await hub.subscribe("x").collect())
        await _until(lambda: _stored(hub, "x", STORED + 1), 0.0005)
        spent = perf_counter_ns() - begin
        if count != STORED + 1:
            raise RuntimeError(f"{count} events came in the place of {STORED + 1}")
        if store is not None:
            page = await store.read("x", 0)
            if page.record.head != STORED + 1:
                raise RuntimeError(f"{page.record.head} events are stored in the place of {STORED + 1}")
    return spent / 1e6


# ---- coming late


def _late(rounds: int) -> list[Row]:
    def late(how: str) -> Callable[[], float]:
        async def main() -> float:
            return await _join_late(how)

        return lambda: _run(main)

    ways = ("running, event by event", "running, in lists", "ended, event by event", "ended, in lists")
    best = _best(max(3, rounds), {way: late(way) for way in ways})
    return [
        _row(f"late joiner of {LATE:,} events, {way}", best[way], None, "has it all, wall clock", "ms", None, LATE_MS, "figure")
        for way in ways
    ]


async def _join_late(how: str) -> float:
    end = asyncio.Event()

    async def source() -> AsyncIterator[sk.TextDelta]:
        for number in range(LATE):
            yield sk.TextDelta(f" token {number}")
        await end.wait()

    async with Hub() as hub:
        await hub.start("x", source)
        if how.startswith("ended"):
            end.set()
        await _until(lambda: _came(hub, LATE + how.startswith("ended")))
        begin, count = perf_counter_ns(), 0
        async with hub.subscribe("x").open() as run:
            if how.endswith("lists"):
                async for events in run.lists():
                    count += len(events)
                    if count >= LATE:
                        break
            else:
                async for _ in run:
                    count += 1
                    if count >= LATE:
                        break
            spent = perf_counter_ns() - begin
        end.set()
    return spent / 1e6


# ---- moments


def _moments(rounds: int) -> list[Row]:
    best = _best(rounds, {"wake": lambda: _run(_wake), "tiny": lambda: _run(_tiny), "cancel": lambda: _run(_cancel)})
    return [
        _row(f"wake-up of {PARKED} parked readers, once", best["wake"], None, "", "us", None, None),
        _row(f"start and finish of a stream of one event, {TINY} of them", best["tiny"], None, "", "us/stream", None, None),
        _row(f"cancel of a reader, all of {PARKED} at once", best["cancel"], None, "", "us/reader", None, None),
    ]


async def _wake() -> float:
    """CPU microseconds from the event until the last reader has it."""
    again = 200  # so that their leaving, which is in it, is a small part
    script = Script(again, 1)
    spent = await hub_events(script, PARKED)
    return spent * PARKED


async def _tiny() -> float:
    async with Hub() as hub:
        begin = process_time_ns()
        for number in range(TINY):
            await hub.start(str(number), ["x"])
        for number in range(TINY):
            await _until(partial(_over, hub, str(number)))
        return (process_time_ns() - begin) / 1000 / TINY


async def _cancel() -> float:
    """CPU microseconds until each has left and the hub knows it."""
    script = Script(1, 1)

    async with Hub() as hub:
        await hub.start("x", script.singles)

        async def read() -> None:
            async with hub.subscribe("x").open() as run:
                async for _ in run:
                    raise RuntimeError("nothing was to come")

        tasks = [asyncio.create_task(read()) for _ in range(PARKED)]
        await _turns()
        begin = process_time_ns()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        spent = process_time_ns() - begin
        if not all(task.cancelled() for task in tasks) or (await hub.status("x")).readers:
            raise RuntimeError("a cancelled reader stayed")
        script.go.set()
    return spent / 1000 / PARKED


def _row(
    what: str,
    ours: float,
    peer: float | None,
    peer_name: str,
    unit: str,
    ratio: float | None,
    hold: float | None,
    bound: str = "least",
    others: dict[str, float | None] | None = None,
) -> Row:
    return {
        "what": what,
        "ours": ours,
        "peer": peer,
        "peer_name": peer_name,
        "unit": unit,
        "ratio": ratio,
        "hold": hold,
        "bound": bound,
        "others": others or {},
    }


if __name__ == "__main__":
    if sys.argv[1:2] == ["memory"]:
        print(json.dumps(asyncio.run(_stall(int(sys.argv[2]), int(sys.argv[3])))))
    else:
        for row in rows(int(sys.argv[1]) if len(sys.argv) > 1 else 5):
            print(row)
