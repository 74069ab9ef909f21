"""The kernel beside a hand-written loop and beside the libraries people use for the same: CPU time.

    python benchmarks/bench_kernel.py [rounds]

Each row does one job over one source. `ours` and `peer` are nanoseconds per item, `ratio` is the cost of
ours over the hand-written loop's (`hold`: at most), and `others` what each peer costs over the same loop.
A round times all contenders one after the other, so that a busy machine slows them alike; the best
round of each counts.

"waits" is a source that gives way to the event loop before each item (`asyncio.sleep(0)`), the cheapest
way of waiting there is, and so the hardest on whoever adds to it.
"""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import itertools
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from time import process_time_ns
from typing import Any, TypeAlias

import streamkit as sk
from streamkit.flow.sources import Feed, Source
from streamkit.operators.timing import debounce, heartbeat, pace, sample, throttle

Row: TypeAlias = dict[str, object]
Job: TypeAlias = Callable[[], Awaitable[object]]

ITEMS = 100_000
WAITS = 10_000
READ = 64


async def numbers(count: int = ITEMS) -> AsyncIterator[int]:
    for number in range(count):
        yield number


async def waiting(count: int = WAITS) -> AsyncIterator[int]:
    for number in range(count):
        await asyncio.sleep(0)
        yield number


async def reads(count: int = ITEMS) -> AsyncIterator[list[int]]:
    for start in range(0, count, READ):
        yield list(range(start, start + READ))


def add(number: int) -> int:
    return number + 1


def odd(number: int) -> bool:
    return number % 3 != 0


# -- the hand-written loops


async def hand_loop() -> list[int]:
    out: list[int] = []
    async for number in numbers():
        out.append(number)  # the loop that people write is what is measured
    return out


async def hand_waits() -> list[int]:
    out: list[int] = []
    async for number in waiting():
        out.append(number)
    return out


async def hand_map() -> list[int]:
    out: list[int] = []
    async for number in numbers():
        out.append(add(number))
    return out


async def hand_filter() -> list[int]:
    out: list[int] = []
    async for number in numbers():
        if odd(number):
            out.append(number)
    return out


async def hand_chain() -> list[int]:
    out: list[int] = []
    async for number in numbers():
        number = add(number)
        if odd(number):
            number = add(add(number))
            if odd(number):
                out.append(number)
    return out


async def hand_own() -> list[int]:
    out: list[int] = []
    async for number in numbers():
        number = add(number)
        if odd(number):
            out.append(number)
    return out


async def hand_merge() -> list[int]:
    out: list[int] = []
    for _ in range(10):
        async for number in waiting(WAITS // 10):
            out.append(number)
    return out


async def hand_zip() -> list[tuple[int, int]]:
    right = waiting()
    return [(number, await anext(right)) async for number in waiting()]


async def hand_concat() -> list[int]:
    out: list[int] = []
    for _ in range(10):
        async for number in waiting(WAITS // 10):
            out.append(number)
    return out


# -- ours


def stream(make: Callable[[], Any]) -> sk.Stream[int]:
    return sk.stream(make())


async def our_own() -> list[int]:
    out: list[int] = []
    async with stream(numbers).map(add).filter(odd) as items:
        async for number in items:
            out.append(number)
    return out


async def our_reads() -> list[int]:
    source = Source("reads", lambda run: Feed(reads(), shape="lists"))
    return await sk.Stream[int](source).map(add).filter(odd).map(add).map(add).filter(odd).collect()


async def our_merge() -> list[int]:
    return await sk.merge(*[sk.stream(waiting(WAITS // 10)) for _ in range(10)]).collect()


async def our_streams_merged() -> list[int]:
    return await sk.merge([waiting(WAITS // 10) for _ in range(10)], concurrency=10).collect()


async def our_zip() -> list[tuple[int, int]]:
    return await sk.zip(waiting(), waiting()).collect()


async def our_concat() -> list[int]:
    return await sk.concat(*[waiting(WAITS // 10) for _ in range(10)]).collect()


# -- peers


async def generators_map() -> list[int]:
    async def mapped(source: AsyncIterator[int]) -> AsyncIterator[int]:
        async for number in source:
            yield add(number)

    return [number async for number in mapped(numbers())]


async def generators_chain() -> list[int]:
    async def mapped(source: AsyncIterator[int]) -> AsyncIterator[int]:
        async for number in source:
            yield add(number)

    async def filtered(source: AsyncIterator[int]) -> AsyncIterator[int]:
        async for number in source:
            if odd(number):
                yield number

    return [number async for number in filtered(mapped(mapped(filtered(mapped(numbers())))))]


def queue_job(make: Callable[[], AsyncIterator[int]]) -> Job:
    async def job() -> list[int]:
        queue: asyncio.Queue[int | None] = asyncio.Queue(64)

        async def fill() -> None:
            async for number in make():
                await queue.put(number)
            await queue.put(None)

        task = asyncio.create_task(fill())
        out: list[int] = []
        while (number := await queue.get()) is not None:
            out.append(number)
        await task
        return out

    return job


def anyio_job(make: Callable[[], AsyncIterator[int]]) -> Job:
    async def job() -> list[int]:
        import anyio

        send, receive = anyio.create_memory_object_stream[int](64)

        async def fill() -> None:
            async with send:
                async for number in make():
                    await send.send(number)

        out: list[int] = []
        async with anyio.create_task_group() as group:
            group.start_soon(fill)
            out += [number async for number in receive]
        return out

    return job


def timeout_job(make: Callable[[], AsyncIterator[int]]) -> Job:
    async def job() -> list[int]:
        out: list[int] = []
        iterator = make()
        while True:
            try:
                async with asyncio.timeout(5):
                    out.append(await anext(iterator))
            except StopAsyncIteration:
                return out

    return job


async def aiostream_map() -> object:
    from aiostream import pipe
    from aiostream import stream as other

    return await (other.iterate(numbers()) | pipe.map(add) | pipe.list())  # type: ignore[arg-type]  # it is called with one item


async def aiostream_chain() -> object:
    from aiostream import pipe
    from aiostream import stream as other

    mapped = pipe.map(add)  # type: ignore[arg-type]  # it is called with one item
    return await (other.iterate(numbers()) | mapped | pipe.filter(odd) | mapped | mapped | pipe.filter(odd) | pipe.list())


async def aiostream_merge() -> object:
    from aiostream import pipe
    from aiostream import stream as other

    return await (other.merge(*[waiting(WAITS // 10) for _ in range(10)]) | pipe.list())


async def aiostream_zip() -> object:
    from aiostream import pipe
    from aiostream import stream as other

    return await (other.zip(waiting(), waiting()) | pipe.list())


async def aiostream_concat() -> object:
    from aiostream import pipe
    from aiostream import stream as other

    return await (other.chain(*[waiting(WAITS // 10) for _ in range(10)]) | pipe.list())


async def streamable_map() -> object:
    from streamable import stream as other

    return [number async for number in other(numbers()).map(add)]


async def streamable_chain() -> object:
    from streamable import stream as other

    return [number async for number in other(numbers()).map(add).filter(odd).map(add).map(add).filter(odd)]


async def asyncstdlib_map() -> object:
    import asyncstdlib

    return await asyncstdlib.list(asyncstdlib.map(add, numbers()))


async def aioitertools_map() -> object:
    from aioitertools.builtins import map as other

    return [number async for number in other(add, numbers())]


def reactivex_job(operator: Callable[[Any], Any]) -> Job:
    """An operator of reactivex, made with the loop's scheduler, behind a subject that the source is pushed into."""

    async def job() -> list[object]:
        from reactivex.scheduler.eventloop import AsyncIOScheduler
        from reactivex.subject import Subject

        subject: Subject[int] = Subject()
        over = asyncio.Event()
        out: list[object] = []
        pushed = subject.pipe(operator(AsyncIOScheduler(asyncio.get_running_loop())))
        pushed.subscribe(out.append, on_completed=over.set)
        async for number in numbers():
            subject.on_next(number)
        subject.on_completed()
        await over.wait()
        return out

    return job


def reactivex_debounce(scheduler: Any) -> Any:
    from reactivex import operators

    return operators.debounce(5, scheduler)


def reactivex_throttle(scheduler: Any) -> Any:
    from reactivex import operators

    return operators.throttle_first(5, scheduler)


def reactivex_sample(scheduler: Any) -> Any:
    from reactivex import operators

    return operators.sample(5, scheduler)


def reactivex_batch(scheduler: Any) -> Any:
    from reactivex import operators

    return operators.buffer_with_time_or_count(5, 64, scheduler)


# What, the hand loop, ours, the bound, items per run, peers as (name, package that must be there, job).
Peer: TypeAlias = tuple[str, str, Job]
TABLE: list[tuple[str, Job, Job, float | None, int, list[Peer]]] = [
    (
        "map, collect()",
        hand_map,
        lambda: stream(numbers).map(add).collect(),
        1.3,
        ITEMS,
        [
            ("raw generators", "asyncio", generators_map),
            ("streamable", "streamable", streamable_map),
            ("asyncstdlib", "asyncstdlib", asyncstdlib_map),
            ("aioitertools", "aioitertools", aioitertools_map),
            ("aiostream", "aiostream", aiostream_map),
        ],
    ),
    ("filter, collect()", hand_filter, lambda: stream(numbers).filter(odd).collect(), 1.3, ITEMS, []),
    (
        "chain of 5, collect()",
        hand_chain,
        lambda: stream(numbers).map(add).filter(odd).map(add).map(add).filter(odd).collect(),
        1.4,
        ITEMS,
        [
            ("raw generators", "asyncio", generators_chain),
            ("streamable", "streamable", streamable_chain),
            ("aiostream", "aiostream", aiostream_chain),
        ],
    ),
    ("2 steps, the user's own async for", hand_own, our_own, 1.6, ITEMS, []),
    (f"chain of 5, {READ} items per read", hand_chain, our_reads, 0.9, ITEMS, []),
    (
        "buffer(64), burst",
        hand_loop,
        lambda: (stream(numbers) | sk.buffer(64)).collect(),
        4.0,
        ITEMS,
        [("asyncio.Queue", "asyncio", queue_job(numbers)), ("anyio memory stream", "anyio", anyio_job(numbers))],
    ),
    (
        "buffer(64), every item waits",
        hand_waits,
        lambda: (stream(waiting) | sk.buffer(64)).collect(),
        2.0,
        WAITS,
        [("asyncio.Queue", "asyncio", queue_job(waiting)), ("anyio memory stream", "anyio", anyio_job(waiting))],
    ),
    ("merge of 10, every item waits", hand_merge, our_merge, 1.5, WAITS, [("aiostream", "aiostream", aiostream_merge)]),
    ("merge of a stream of 10, every item waits", hand_merge, our_streams_merged, 1.5, WAITS, []),
    ("zip of 2, every item waits", hand_zip, our_zip, None, WAITS, [("aiostream", "aiostream", aiostream_zip)]),
    ("concat of 10, every item waits", hand_concat, our_concat, None, WAITS, [("aiostream", "aiostream", aiostream_concat)]),
    (
        "idle timeout, never waits",
        hand_loop,
        lambda: (stream(numbers) | sk.timeout(idle=5)).collect(),
        3.0,
        ITEMS,
        [("asyncio.timeout per item", "asyncio", timeout_job(numbers))],
    ),
    (
        "idle timeout, every item waits",
        hand_waits,
        lambda: (stream(waiting) | sk.timeout(idle=5)).collect(),
        1.5,
        WAITS,
        [("asyncio.timeout per item", "asyncio", timeout_job(waiting))],
    ),
    (
        "batch(64, within=5)",
        hand_loop,
        lambda: (stream(numbers) | sk.batch(64, within=5)).collect(),
        4.0,
        ITEMS,
        [("reactivex", "reactivex", reactivex_job(reactivex_batch))],
    ),
    (
        "debounce(5)",
        hand_loop,
        lambda: (stream(numbers) | debounce(5)).collect(),
        4.0,
        ITEMS,
        [("reactivex", "reactivex", reactivex_job(reactivex_debounce))],
    ),
    (
        "throttle(5)",
        hand_loop,
        lambda: (stream(numbers) | throttle(5)).collect(),
        4.0,
        ITEMS,
        [("reactivex", "reactivex", reactivex_job(reactivex_throttle))],
    ),
    (
        "sample(5)",
        hand_loop,
        lambda: (stream(numbers) | sample(5)).collect(),
        4.0,
        ITEMS,
        [("reactivex", "reactivex", reactivex_job(reactivex_sample))],
    ),
    ("heartbeat(5)", hand_loop, lambda: (stream(numbers) | heartbeat(5)).collect(), 4.0, ITEMS, []),
    # The rate is never reached, so that no item waits: what is left is the price of looking.
    ("pace(1e9 items)", hand_waits, lambda: (stream(waiting) | pace(1e9, unit="items")).collect(), None, WAITS, []),
]


def rows(rounds: int) -> list[Row]:
    """One row per job; see the module's docstring."""
    out: list[Row] = []
    for what, hand, ours, hold, items, peers in TABLE:
        jobs = {"hand loop": hand, "ours": ours}
        jobs |= {name: job for name, package, job in peers if importlib.util.find_spec(package)}
        best = _best(jobs, rounds)
        base = best["hand loop"]
        others: dict[str, float | None] = {name: None for name, _, _ in peers}
        others |= {name: round(best[name] / base, 2) for name in best if name not in ("hand loop", "ours")}
        out.append(
            {
                "what": what,
                "ours": round(best["ours"] / items, 1),
                "peer": round(base / items, 1),
                "peer_name": "hand loop",
                "unit": "ns/item",
                "ratio": round(best["ours"] / base, 3),
                "hold": hold,
                "bound": "most",
                "others": others,
            }
        )
    return out + _import_rows(rounds)


def _best(jobs: dict[str, Job], rounds: int) -> dict[str, float]:
    best = dict.fromkeys(jobs, float("inf"))
    for _ in range(rounds):
        for name, job in jobs.items():
            best[name] = min(best[name], _cpu(job))
    return best


def _cpu(job: Job) -> float:
    async def run() -> float:
        gc.collect()
        before = process_time_ns()
        await job()
        return process_time_ns() - before

    return asyncio.run(run())


def _import_rows(rounds: int) -> list[Row]:
    """`import streamkit` beside the two packages it stands on; and all of it, beside those and asyncio."""
    everything = "import streamkit; [getattr(streamkit, name) for name in dir(streamkit)]"
    bare, stands_on = "import streamkit", "import anyio, msgspec"
    best = dict.fromkeys((bare, stands_on, everything, f"{stands_on}, asyncio"), float("inf"))
    for statement, _ in itertools.product(best, range(max(5, rounds))):
        script = f"import time; t=time.process_time_ns(); {statement}; print(time.process_time_ns()-t)"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        best[statement] = min(best[statement], int(done.stdout) / 1e6)
    return [
        _import_row(bare, best[bare], stands_on, best[stands_on], 1.3),
        _import_row("every name of streamkit", best[everything], f"{stands_on}, asyncio", best[f"{stands_on}, asyncio"], None),
    ]


def _import_row(what: str, ours: float, peer_name: str, peer: float, hold: float | None) -> Row:
    return {
        "what": what,
        "ours": round(ours, 1),
        "peer": round(peer, 1),
        "peer_name": peer_name,
        "unit": "ms",
        "ratio": round(ours / peer, 3),
        "hold": hold,
        "bound": "most",
        "others": {},
    }


if __name__ == "__main__":
    for row in rows(int(sys.argv[1]) if len(sys.argv) > 1 else 7):
        print(json.dumps(row))
