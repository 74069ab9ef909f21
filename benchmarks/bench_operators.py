"""Operators beside hand-written loops and the libraries people use for the same: CPU time.

    python benchmarks/bench_operators.py [rounds]

A round times all contenders of a row one after the other, so that a busy machine slows them alike; the best round of
each counts. What the rows measure:

* "one more step": what a stream costs with a step less what it costs without, less what the same work costs in a
  hand-written loop, over one turn of such a loop (`async for` and `append`). Peers are measured by that, too.
* "through": what a stream costs with an operator that has nothing to do, over the stream without it.
* all else: what a stream costs with an operator, over the hand-written loop that does the same. Of a tee that is the
  loop over the source: the loops of its three readers alone cost three times as much.
* "opened and closed": what a stream costs that has no items.

"waits" is a source that gives way to the event loop before each item (`asyncio.sleep(0)`).
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import importlib.util
import itertools
import json
import sys
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from time import perf_counter_ns, process_time_ns
from typing import Any, NamedTuple, TypeAlias

import streamkit as sk
from streamkit.flow import fuse
from streamkit.stages.stage import Stage

Row: TypeAlias = dict[str, object]
Job: TypeAlias = Callable[[], Awaitable[object]]

ITEMS = 100_000
WAITS = 10_000
# Of jobs with a task for each item, or one for each few.
CALLS = 4_000
# The slow sink is measured by the clock on the wall.
SLOW_ITEMS = 200
OPENINGS = 200


class Peer(NamedTuple):
    """Another way to do a job, and the package it needs."""

    name: str
    package: str
    job: Job


async def numbers() -> AsyncIterator[int]:
    for number in range(ITEMS):
        yield number


async def part_of_numbers(parts: int) -> AsyncIterator[int]:
    for number in range(ITEMS // parts):
        yield number


async def waiting(parts: int = 1) -> AsyncIterator[int]:
    for number in range(WAITS // parts):
        await asyncio.sleep(0)
        yield number


async def calls() -> AsyncIterator[int]:
    for number in range(CALLS):
        yield number


async def pieces() -> AsyncIterator[str]:
    """Of a text, as a model gives them."""
    for _ in range(ITEMS):
        yield "text"


async def turn(number: int) -> int:
    await asyncio.sleep(0)
    return number


def add(number: int) -> int:
    return number + 1


def odd(number: int) -> bool:
    return number % 3 != 0


def natural(number: int) -> bool:
    return number >= 0


def few(number: int) -> bool:
    return number < 100


class Passing(Stage[int, int]):
    """The least that a stage can do."""

    state = ()

    def feed(self, item: int) -> tuple[int]:
        return (item,)


def ours(*parts: Any, source: Callable[[], AsyncIterator[Any]] = numbers) -> Job:
    """A stream with these operators, collected."""

    async def job() -> object:
        plan: sk.Stream[Any] = sk.stream(source)
        for part in parts:
            plan = plan | part
        return await plan.collect()

    return job


# -- what one more step costs


async def hand_loop() -> list[int]:
    out: list[int] = []
    async for number in numbers():
        out.append(number)  # the loop that people write is what is measured
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


async def hand_enumerate() -> list[tuple[int, int]]:
    out: list[tuple[int, int]] = []
    count = 0
    async for number in numbers():
        out.append((count, number))
        count += 1
    return out


async def hand_pairwise() -> list[tuple[int, int]]:
    out: list[tuple[int, int]] = []
    last: int | None = None
    async for number in numbers():
        if last is not None:
            out.append((last, number))
        last = number
    return out


async def hand_changes() -> list[int]:
    out: list[int] = []
    last: int | None = None
    async for number in numbers():
        if number != last:
            last = number
            out.append(number)
    return out


async def hand_distinct() -> list[int]:
    """With a bound, as ours has."""
    out: list[int] = []
    seen: set[int] = set()
    order: deque[int] = deque()
    async for number in numbers():
        if number not in seen:
            seen.add(number)
            order.append(number)
            if len(order) > 4096:
                seen.discard(order.popleft())
            out.append(number)
    return out


async def hand_drop_while() -> list[int]:
    out: list[int] = []
    begun = False
    async for number in numbers():
        if begun or not few(number):
            begun = True
            out.append(number)
    return out


async def hand_take_while() -> list[int]:
    out: list[int] = []
    async for number in numbers():
        if not natural(number):
            break
        out.append(number)
    return out


async def hand_scan() -> list[int]:
    out: list[int] = []
    total = 0
    async for number in numbers():
        total = max(total, number)
        out.append(total)
    return out


async def hand_tap() -> list[int]:
    out: list[int] = []
    async for number in numbers():
        few(number)
        out.append(number)
    return out


async def hand_stage() -> list[int]:
    out: list[int] = []
    passing = Passing()
    async for number in numbers():
        for item in passing.feed(number):
            out.append(item)  # as one item may give many
    out.extend(passing.flush())
    return out


def listed(make: Callable[[], AsyncIterable[Any]]) -> Job:
    """A peer's iterator read to its end."""

    async def job() -> list[Any]:
        return [item async for item in make()]

    return job


def aiostream_job(name: str, *arguments: Any, source: Callable[[], AsyncIterator[Any]] = numbers, **options: Any) -> Job:
    """A pipe of aiostream over the source; without a name, nothing but its iteration."""

    async def job() -> object:
        from aiostream import pipe
        from aiostream import stream as other

        plan = other.iterate(source())
        if name:
            plan = plan | getattr(pipe, name)(*arguments, **options)
        return await (plan | pipe.list())

    return job


def streamable_job(name: str, *arguments: Any, source: Callable[[], AsyncIterator[Any]] = numbers, **options: Any) -> Job:
    """A method of streamable's over the source."""

    async def job() -> list[Any]:
        from streamable import stream as other

        plan: Any = other(source())
        return [item async for item in (getattr(plan, name)(*arguments, **options) if name else plan)]

    return job


def library_job(module: str, name: str, *arguments: Any) -> Job:
    """A function of a library over the source: `name(*arguments, source)`, or `name(source)`."""

    async def job() -> list[Any]:
        function = getattr(importlib.import_module(module), name)
        return [item async for item in function(*arguments, numbers())]

    return job


def reactivex_job(name: str, *arguments: Any, source: Callable[[], AsyncIterator[Any]] = numbers) -> Job:
    """An operator of reactivex behind a subject that the source is pushed into: nothing holds the source back."""

    async def job() -> list[Any]:
        from reactivex import operators
        from reactivex.subject import Subject

        subject: Subject[Any] = Subject()
        out: list[Any] = []
        (subject.pipe(getattr(operators, name)(*arguments)) if name else subject).subscribe(out.append)
        async for number in source():
            subject.on_next(number)
        subject.on_completed()
        return out

    return job


# What each library costs without any step.
BARE: dict[str, Job] = {
    "aiostream": aiostream_job(""),
    "streamable": streamable_job(""),
    "reactivex": reactivex_job(""),
    "asyncstdlib": hand_loop,
    "aioitertools": hand_loop,
}

# What, the hand loop, our operator, what the peers cost with theirs.
STEPS: list[tuple[str, Job, Any, dict[str, Job]]] = [
    (
        "map",
        hand_map,
        sk.map(add),
        {
            "aiostream": aiostream_job("map", add),
            "streamable": streamable_job("map", add),
            "asyncstdlib": library_job("asyncstdlib", "map", add),
            "aioitertools": library_job("aioitertools", "map", add),
            "reactivex": reactivex_job("map", add),
        },
    ),
    (
        "filter",
        hand_filter,
        sk.filter(odd),
        {
            "aiostream": aiostream_job("filter", odd),
            "streamable": streamable_job("filter", odd),
            "asyncstdlib": library_job("asyncstdlib", "filter", odd),
            "reactivex": reactivex_job("filter", odd),
        },
    ),
    (
        "enumerate",
        hand_enumerate,
        sk.enumerate(),
        {
            "aiostream": aiostream_job("enumerate"),
            "asyncstdlib": library_job("asyncstdlib", "enumerate"),
            "aioitertools": library_job("aioitertools", "enumerate"),
        },
    ),
    (
        "pairwise",
        hand_pairwise,
        sk.pairwise(),
        {"asyncstdlib": library_job("asyncstdlib", "pairwise"), "reactivex": reactivex_job("pairwise")},
    ),
    ("changes", hand_changes, sk.changes(), {"reactivex": reactivex_job("distinct_until_changed")}),
    # No peer: asyncstdlib and aioitertools have none, and that of reactivex compares with all it has seen.
    ("distinct", hand_distinct, sk.distinct(), {}),
    (
        "drop_while",
        hand_drop_while,
        sk.drop_while(few),
        {
            "aiostream": aiostream_job("dropwhile", few),
            "asyncstdlib": library_job("asyncstdlib", "dropwhile", few),
            "aioitertools": library_job("aioitertools.itertools", "dropwhile", few),
            "reactivex": reactivex_job("skip_while", few),
        },
    ),
    (
        "take_while",
        hand_take_while,
        sk.take_while(natural),
        {
            "aiostream": aiostream_job("takewhile", natural),
            "asyncstdlib": library_job("asyncstdlib", "takewhile", natural),
            "aioitertools": library_job("aioitertools.itertools", "takewhile", natural),
        },
    ),
    (
        "scan",
        hand_scan,
        sk.scan(max, 0),
        {"aiostream": aiostream_job("accumulate", max), "reactivex": reactivex_job("scan", max)},
    ),
    ("tap", hand_tap, sk.tap(few), {"reactivex": reactivex_job("do_action", few), "streamable": streamable_job("do", few)}),
    ("a stage that passes items on", hand_stage, sk.stage(Passing), {}),
]


def _step_rows(rounds: int) -> list[Row]:
    out: list[Row] = []
    for what, hand, step, peers in STEPS:
        there = {name: job for name, job in peers.items() if _installed(name)}
        jobs = {"hand loop": hand_loop, "hand step": hand, "ours bare": ours(), "ours": ours(step)}
        jobs |= {f"{name} bare": BARE[name] for name in there} | there
        best = best_of(jobs, rounds)
        base, work = best["hand loop"], best["hand step"] - best["hand loop"]
        added = {name: best[name] - best[f"{name} bare"] - work for name in ("ours", *there)}
        others: dict[str, float | None] = {name: round(added[name] / base, 2) if name in there else None for name in peers}
        out.append(
            row_of(f"one more step: {what}", added["ours"] / ITEMS, base / ITEMS, "a turn of the hand loop", 0.4, others=others)
        )
    return out


# -- several streams, and several readers


async def hand_zip() -> list[tuple[int, int]]:
    out: list[tuple[int, int]] = []
    one, two = numbers(), numbers()
    while True:
        try:
            out.append((await anext(one), await anext(two)))
        except StopAsyncIteration:
            return out


async def hand_zip_waits() -> list[tuple[int, int]]:
    """One after the other, as a loop does."""
    out: list[tuple[int, int]] = []
    one, two = waiting(2), waiting(2)
    while True:
        try:
            out.append((await anext(one), await anext(two)))
        except StopAsyncIteration:
            return out


async def hand_concat() -> list[int]:
    out: list[int] = []
    for _ in range(4):
        async for number in part_of_numbers(4):
            out.append(number)
    return out


async def hand_interleave() -> list[int]:
    out: list[int] = []
    one, two = part_of_numbers(2), part_of_numbers(2)
    while True:
        try:
            out.append(await anext(one))
            out.append(await anext(two))
        except StopAsyncIteration:
            return out


async def hand_latest() -> list[tuple[int, int]]:
    """Two streams that never wait, of which the first is read before the second: the least there is to do."""
    out: list[tuple[int, int]] = []
    first = 0
    async for number in part_of_numbers(2):
        first = number
    async for number in part_of_numbers(2):
        out.append((first, number))
    return out


async def hand_merge() -> list[int]:
    out: list[int] = []
    for _ in range(10):
        async for number in waiting(10):
            out.append(number)
    return out


async def hand_flatten() -> list[int]:
    out: list[int] = []
    for _ in range(100):
        async for number in part_of_numbers(100):
            out.append(number)
    return out


async def many_streams() -> AsyncIterator[AsyncIterator[int]]:
    for _ in range(100):
        yield part_of_numbers(100)


async def one_stream() -> AsyncIterator[AsyncIterator[int]]:
    yield numbers()


async def loop_over(items: AsyncIterable[int]) -> None:
    async for _ in items:
        continue


async def read_all(readers: list[AsyncIterable[int]]) -> None:
    async with asyncio.TaskGroup() as group:
        for reader in readers:
            group.create_task(loop_over(reader))


async def hand_reader() -> None:
    await loop_over(numbers())


async def our_tee() -> None:
    await read_all([*sk.tee(sk.stream(numbers), 3, size=64)])


async def our_tee_far() -> None:
    await read_all([*sk.tee(sk.stream(numbers), 3, size=1024)])


async def our_share() -> None:
    shared = sk.share(sk.stream(numbers), size=64)
    await read_all([shared.open() for _ in range(3)])


async def asyncstdlib_tee() -> None:
    import asyncstdlib

    # Its branches may not step the source at once, so they need the lock; and nothing bounds how far one lags.
    async with asyncstdlib.tee(numbers(), 3, lock=asyncio.Lock()) as branches:
        await read_all([*branches])


async def aioitertools_tee() -> None:
    from aioitertools.itertools import tee

    await read_all([*tee(numbers(), 3)])


async def queues_tee() -> None:
    queues = [asyncio.Queue[int | None](64) for _ in range(3)]

    async def fill() -> None:
        async for number in numbers():
            for queue in queues:
                await queue.put(number)
        for queue in queues:
            await queue.put(None)

    async def drain(queue: asyncio.Queue[int | None]) -> None:
        while await queue.get() is not None:
            continue

    async with asyncio.TaskGroup() as group:
        group.create_task(fill())
        for queue in queues:
            group.create_task(drain(queue))


async def anyio_tee() -> None:
    import anyio

    ends = [anyio.create_memory_object_stream[int](64) for _ in range(3)]

    async def fill() -> None:
        async for number in numbers():
            for send, _ in ends:
                await send.send(number)
        for send, _ in ends:
            send.close()

    async def drain(receive: AsyncIterable[int]) -> None:
        await loop_over(receive)

    async with anyio.create_task_group() as group:
        group.start_soon(fill)
        for _, receive in ends:
            group.start_soon(drain, receive)
    for _, receive in ends:
        receive.close()


async def reactivex_share() -> None:
    from reactivex import operators
    from reactivex.subject import Subject

    subject: Subject[int] = Subject()
    shared = subject.pipe(operators.share())
    for _ in range(3):
        shared.subscribe(ignore)
    async for number in numbers():
        subject.on_next(number)
    subject.on_completed()


def aiostream_of(name: str, count: int, source: Callable[[int], AsyncIterator[int]]) -> Job:
    """Several streams put together by aiostream."""

    async def job() -> object:
        from aiostream import pipe
        from aiostream import stream as other

        return await (getattr(other, name)(*[source(count) for _ in range(count)]) | pipe.list())

    return job


def library_of(module: str, name: str, count: int, source: Callable[[int], AsyncIterator[int]]) -> Job:
    async def job() -> list[Any]:
        return [item async for item in getattr(importlib.import_module(module), name)(*[source(count) for _ in range(count)])]

    return job


def whole(parts: int) -> AsyncIterator[int]:
    return numbers()


async def aioitertools_merge() -> list[int]:
    from aioitertools.asyncio import as_generated

    return [number async for number in as_generated([waiting(10) for _ in range(10)])]


async def hand_map_at_once() -> list[int]:
    """In order, and never more than 16: a window of tasks, the oldest of which is waited for."""
    out: list[int] = []
    tasks: list[asyncio.Task[int]] = []
    async for number in calls():
        tasks.append(asyncio.create_task(turn(number)))
        if len(tasks) == 16:
            out.append(await tasks.pop(0))
    for task in tasks:
        out.append(await task)
    return out


async def gathered_chunks() -> list[int]:
    """16 at once, and then all of them are waited for."""
    out: list[int] = []
    chunk: list[int] = []
    async for number in calls():
        chunk.append(number)
        if len(chunk) == 16:
            out += await asyncio.gather(*map(turn, chunk))
            chunk = []
    return out + await asyncio.gather(*map(turn, chunk))


async def limited_group() -> list[int]:
    import anyio

    out: list[int] = []
    limiter = anyio.CapacityLimiter(16)

    async def call(number: int) -> None:
        async with limiter:
            out.append(await turn(number))

    async with anyio.create_task_group() as group:
        async for number in calls():
            group.start_soon(call, number)
    return out


async def hand_batch() -> list[list[int]]:
    out: list[list[int]] = []
    held: list[int] = []
    async for number in numbers():
        held.append(number)
        if len(held) == 64:
            out.append(held)
            held = []
    if held:
        out.append(held)
    return out


async def hand_window() -> list[tuple[int, ...]]:
    out: list[tuple[int, ...]] = []
    held: tuple[int, ...] = ()
    async for number in numbers():
        held = (*held[-3:], number)
        if len(held) == 4:
            out.append(held)
    return out


async def hand_flat_map() -> list[int]:
    out: list[int] = []
    async for number in numbers():
        for item in (number, number):
            out.append(item)  # the loop that people write is what is measured
    return out


def ignore(number: int) -> None:
    """Nothing is done with it."""


def twice(number: int) -> tuple[int, int]:
    return number, number


async def twice_streamed(number: int) -> AsyncIterator[int]:
    for item in twice(number):
        yield item


async def never() -> None:
    await asyncio.Event().wait()


async def slow() -> AsyncIterator[int]:
    await never()
    yield 0


async def hand_waits() -> list[int]:
    out: list[int] = []
    async for number in waiting():
        out.append(number)
    return out


def our_race() -> Awaitable[object]:
    return sk.race(sk.stream(waiting()), sk.stream(slow())).collect()


def _batched(module: str) -> AsyncIterable[Any]:
    batched: Callable[[AsyncIterable[int], int], AsyncIterable[Any]] = importlib.import_module(module).batched
    return batched(numbers(), 64)


def our_zip() -> Awaitable[object]:
    return sk.zip(sk.stream(numbers), sk.stream(numbers)).collect()


def our_latest() -> Awaitable[object]:
    return sk.combine_latest(sk.stream(part_of_numbers(2)), sk.stream(part_of_numbers(2))).collect()


# What, the hand loop, ours, the bound, items per run, peers.
THROUGH: list[tuple[str, Job, Job, float | None, str, list[Peer]]] = [
    (
        "tee for 3 readers, 64 items of lag",
        hand_reader,
        our_tee,
        4.5,
        "ITEMS",
        [
            Peer("asyncio.Queue each", "asyncio", queues_tee),
            Peer("anyio memory stream each", "anyio", anyio_tee),
            Peer("asyncstdlib (unbounded)", "asyncstdlib", asyncstdlib_tee),
            Peer("aioitertools (unbounded)", "aioitertools", aioitertools_tee),
            Peer("reactivex (pushed)", "reactivex", reactivex_share),
        ],
    ),
    ("tee for 3 readers, 1024 items of lag", hand_reader, our_tee_far, 4.5, "ITEMS", []),
    ("share by 3 readers, 64 items of lag", hand_reader, our_share, 4.5, "ITEMS", []),
    (
        "merge of 10, every item waits",
        hand_merge,
        lambda: sk.merge(*[sk.stream(waiting(10)) for _ in range(10)]).collect(),
        1.5,
        "WAITS",
        [
            Peer("aiostream", "aiostream", aiostream_of("merge", 10, waiting)),
            Peer("aioitertools", "aioitertools", aioitertools_merge),
        ],
    ),
    (
        "zip of 2",
        hand_zip,
        our_zip,
        None,
        "ITEMS",
        [
            Peer("aiostream", "aiostream", aiostream_of("zip", 2, whole)),
            Peer("asyncstdlib", "asyncstdlib", library_of("asyncstdlib", "zip", 2, whole)),
            Peer("aioitertools", "aioitertools", library_of("aioitertools", "zip", 2, whole)),
        ],
    ),
    (
        "zip of 2, every item waits",
        hand_zip_waits,
        lambda: sk.zip(sk.stream(waiting(2)), sk.stream(waiting(2))).collect(),
        None,
        "WAITS",
        [
            Peer("aiostream", "aiostream", aiostream_of("zip", 2, waiting)),
            Peer("asyncstdlib", "asyncstdlib", library_of("asyncstdlib", "zip", 2, waiting)),
            Peer("aioitertools", "aioitertools", library_of("aioitertools", "zip", 2, waiting)),
        ],
    ),
    (
        "combine_latest of 2",
        hand_latest,
        our_latest,
        None,
        "ITEMS",
        [Peer("aiostream", "aiostream", aiostream_of("ziplatest", 2, part_of_numbers))],
    ),
    (
        "concat of 4",
        hand_concat,
        lambda: sk.concat(*[sk.stream(part_of_numbers(4)) for _ in range(4)]).collect(),
        None,
        "ITEMS",
        [
            Peer("aiostream", "aiostream", aiostream_of("chain", 4, part_of_numbers)),
            Peer("asyncstdlib", "asyncstdlib", library_of("asyncstdlib", "chain", 4, part_of_numbers)),
            Peer("aioitertools", "aioitertools", library_of("aioitertools.itertools", "chain", 4, part_of_numbers)),
        ],
    ),
    (
        "interleave of 2",
        hand_interleave,
        lambda: sk.interleave(sk.stream(part_of_numbers(2)), sk.stream(part_of_numbers(2))).collect(),
        None,
        "ITEMS",
        [],
    ),
    (
        "flatten, 100 streams one after the other",
        hand_flatten,
        ours(sk.flatten(), source=many_streams),
        None,
        "ITEMS",
        [
            Peer("aiostream", "aiostream", aiostream_job("concat", source=many_streams)),
            Peer("streamable", "streamable", streamable_job("flatten", source=many_streams)),
        ],
    ),
    (
        "switch, one stream",
        hand_loop,
        ours(sk.switch(), source=one_stream),
        None,
        "ITEMS",
        [Peer("aiostream", "aiostream", aiostream_job("switch", source=one_stream))],
    ),
    ("race of 2, per item of the winner", hand_waits, our_race, None, "WAITS", []),
    (
        "map of a coroutine function, 16 at once",
        hand_map_at_once,
        ours(sk.map(turn, concurrency=16), source=calls),
        None,
        "CALLS",
        [
            Peer("aiostream", "aiostream", aiostream_job("map", turn, source=calls, ordered=True, task_limit=16)),
            Peer("streamable", "streamable", streamable_job("map", turn, source=calls, concurrency=16)),
            Peer("asyncio.gather of 16", "asyncio", gathered_chunks),
            Peer("anyio task group (unordered)", "anyio", limited_group),
        ],
    ),
    (
        "map of a coroutine function, 16 at once, unordered",
        hand_map_at_once,
        ours(sk.map(turn, concurrency=16, ordered=False), source=calls),
        None,
        "CALLS",
        [
            Peer("aiostream", "aiostream", aiostream_job("map", turn, source=calls, ordered=False, task_limit=16)),
            Peer("streamable", "streamable", streamable_job("map", turn, source=calls, concurrency=16, as_completed=True)),
        ],
    ),
    (
        "batch of 64",
        hand_batch,
        ours(sk.batch(64)),
        None,
        "ITEMS",
        [
            Peer("aiostream", "aiostream", aiostream_job("chunks", 64)),
            Peer("streamable", "streamable", streamable_job("group", 64)),
            Peer("asyncstdlib", "asyncstdlib", listed(lambda: _batched("asyncstdlib"))),
            Peer("aioitertools", "aioitertools", listed(lambda: _batched("aioitertools.itertools"))),
            Peer("reactivex", "reactivex", reactivex_job("buffer_with_count", 64)),
        ],
    ),
    ("window of 4", hand_window, ours(sk.window(4)), None, "ITEMS", []),
    (
        "flat_map, 2 items each",
        hand_flat_map,
        ours(sk.flat_map(twice)),
        None,
        "ITEMS",
        [Peer("aiostream", "aiostream", aiostream_job("flatmap", twice_streamed))],
    ),
]


def _through_rows(rounds: int) -> list[Row]:
    out: list[Row] = []
    for what, hand, job, hold, count, peers in THROUGH:
        best = best_of(
            {"hand loop": hand, "ours": job} | {peer.name: peer.job for peer in peers if _installed(peer.package)}, rounds
        )
        base, items = best["hand loop"], globals()[count]
        others = {peer.name: round(best[peer.name] / base, 2) if peer.name in best else None for peer in peers}
        out.append(row_of(what, best["ours"] / items, base / items, "hand loop", hold, others=others))
    return out


# -- what goes wrong elsewhere: a stream that is well pays for an operator that has nothing to do


class NullSink:
    async def send(self, batch: list[str], /) -> None:
        """Nothing is done with them."""

    async def aclose(self, error: BaseException | None, /) -> None:
        """Nothing is open."""


def nobody(error: Exception) -> None:
    raise AssertionError("nothing fails here") from error


IDLE: dict[str, Callable[[], Any]] = {
    "retry": lambda: sk.retry(3),
    "catch": lambda: sk.catch(nobody),
    "fallback": lambda: sk.fallback(sk.stream(pieces)),
    "rate_limit with room": lambda: sk.rate_limit(sk.RateLimiter(requests_per_minute=1_000_000)),
    "circuit_breaker, closed": lambda: sk.circuit_breaker(sk.CircuitBreaker()),
    "timeout(idle=5)": lambda: sk.timeout(idle=5),
    "take_until, never": lambda: sk.take_until(never),
    "on_end": lambda: sk.on_end(lambda ended: None),
    "measure": lambda: sk.measure(sk.Stats()),
    "also_to": lambda: sk.also_to(NullSink()),
}


def _idle_rows(rounds: int) -> list[Row]:
    jobs: dict[str, Job] = {"without": ours(source=pieces)}
    jobs |= {name: _made(make) for name, make in IDLE.items()}
    best = best_of(jobs, rounds)
    base = best["without"]
    return [row_of(f"through {name}", best[name] / ITEMS, base / ITEMS, "the stream without it", None) for name in IDLE]


def _made(make: Callable[[], Any]) -> Job:
    return lambda: ours(make(), source=pieces)()


# -- plans


FIVE: tuple[Any, ...] = (sk.map(add), sk.filter(odd), sk.enumerate(), sk.map(str), sk.take(10))


def _plan_rows(rounds: int) -> list[Row]:
    steps = [step for op in FIVE for step in op.parts]

    def bind_all() -> None:
        fuse.bind("items", steps, "append")

    def forget() -> None:
        fuse._segments.clear()  # so that the next one is compiled; nobody else needs to do that

    cold = min(_timed_call(bind_all, forget) for _ in range(rounds * 5))
    cached = min(_timed_call(bind_all) for _ in range(rounds * 50))
    return [
        _figure("plan of 5 steps compiled, first time", cold / 1000, 1000),
        _figure("plan of 5 steps, from the cache", cached / 1000, 20),
    ]


def _timed_call(call: Callable[[], None], before: Callable[[], None] | None = None) -> int:
    if before is not None:
        before()
    began = process_time_ns()
    call()
    return process_time_ns() - began


async def nothing() -> AsyncIterator[int]:
    for number in range(0):
        yield number


async def hand_openings() -> None:
    for _ in range(OPENINGS):
        async for _number in nothing():
            continue


def openings(make: Callable[[], sk.Stream[Any]]) -> Job:
    async def job() -> None:
        for _ in range(OPENINGS):
            await make().run()

    return job


async def hand_races() -> None:
    """Two tasks, of which the first to have an item wins and the other is cancelled and waited for."""
    for _ in range(OPENINGS):
        sources = [waiting(WAITS), slow()]
        tasks = [asyncio.ensure_future(anext(source)) for source in sources]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for source in sources:
            await source.aclose()  # type: ignore[attr-defined]  # both are generators


def _opening_rows(rounds: int) -> list[Row]:
    five: sk.Stream[Any] = sk.stream(nothing)
    for op in FIVE:
        five = five | op
    streams: dict[str, Callable[[], sk.Stream[Any]]] = {
        "a Run of 5 steps": lambda: five,
        "merge of 2": lambda: sk.merge(sk.stream(nothing), sk.stream(nothing)),
        "zip of 2": lambda: sk.zip(sk.stream(nothing), sk.stream(nothing)),
        "retry": lambda: sk.stream(nothing) | sk.retry(3),
    }
    best = best_of({"by hand": hand_openings} | {name: openings(make) for name, make in streams.items()}, rounds)
    rows = [_opening(name, best[name], best["by hand"], "a loop over a source without items") for name in streams]

    async def our_races() -> None:
        for _ in range(OPENINGS):
            await sk.race(sk.stream(waiting(WAITS)), sk.stream(slow())).first()

    best = best_of({"by hand": hand_races, "ours": our_races}, rounds)
    return [*rows, _opening("race of 2, up to its first item", best["ours"], best["by hand"], "asyncio.wait and cancel, by hand")]


def _opening(what: str, cost: float, base: float, peer: str) -> Row:
    return row_of(f"opened and closed: {what}", cost / OPENINGS / 1000, base / OPENINGS / 1000, peer, None, unit="us")


# -- a slow sink, by the clock on the wall


class SlowSink:
    async def send(self, batch: list[str], /) -> None:
        await asyncio.sleep(0.002)

    async def aclose(self, error: BaseException | None, /) -> None:
        """Nothing is open."""


async def slow_source() -> AsyncIterator[str]:
    for number in range(SLOW_ITEMS):
        await asyncio.sleep(0.001)
        yield f"{number} "


async def _wall(job: Job) -> float:
    began = perf_counter_ns()
    await job()
    return (perf_counter_ns() - began) / 1e6


async def hand_sink() -> None:
    sink = SlowSink()
    async for text in slow_source():
        await sink.send([text])


def _slow_sink_rows(rounds: int) -> list[Row]:
    jobs: dict[str, Job] = {
        "source": listed(slow_source),
        "ours": lambda: (sk.stream(slow_source) | sk.coalesce()).to(SlowSink()),
        "without": lambda: sk.stream(slow_source).to(SlowSink()),
        "hand": hand_sink,
    }
    best = dict.fromkeys(jobs, float("inf"))
    for _ in range(min(rounds, 3)):
        for name, job in jobs.items():
            best[name] = min(best[name], asyncio.run(_wall(job)))
    base = best["source"]
    others: dict[str, float | None] = {
        "without coalesce": round(best["without"] / base, 2),
        "hand loop": round(best["hand"] / base, 2),
    }
    what = "coalesce, a 2 ms sink behind a 1 ms source"
    return [row_of(what, best["ours"], base, "the source alone", 1.1, unit="ms", others=others)]


# -- all of it


def rows(rounds: int) -> list[Row]:
    """One row per job; see the module's docstring."""
    parts = (_step_rows, _through_rows, _idle_rows, _plan_rows, _opening_rows, _slow_sink_rows)
    return [row for part in parts for row in part(rounds)]


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def best_of(jobs: dict[str, Job], rounds: int) -> dict[str, float]:
    best = dict.fromkeys(jobs, float("inf"))
    for _, (name, job) in itertools.product(range(rounds), jobs.items()):
        best[name] = min(best[name], _cpu(job))
    return best


def _cpu(job: Job) -> float:
    async def run() -> float:
        gc.collect()
        before = process_time_ns()
        await job()
        return process_time_ns() - before

    return asyncio.run(run())


def row_of(
    what: str,
    cost: float,
    base: float,
    peer: str,
    hold: float | None,
    *,
    unit: str = "ns/item",
    others: dict[str, float | None] | None = None,
) -> Row:
    return {
        "what": what,
        "ours": round(cost, 1),
        "peer": round(base, 1),
        "peer_name": peer,
        "unit": unit,
        "ratio": round(cost / base, 3),
        "hold": hold,
        "bound": "most",
        "others": others or {},
    }


def _figure(what: str, cost: float, hold: float) -> Row:
    return {
        "what": what,
        "ours": round(cost, 1),
        "peer": None,
        "peer_name": "no peer has plans",
        "unit": "us",
        "ratio": None,
        "hold": hold,
        "bound": "figure",
        "others": {},
    }


if __name__ == "__main__":
    for row in rows(int(sys.argv[1]) if len(sys.argv) > 1 else 7):
        print(json.dumps(row))
