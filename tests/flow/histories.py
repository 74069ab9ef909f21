"""Random pipelines, left at random moments: one seed is one history, and the same history each time.

Used by the tests with some hundred seeds on each event loop, and by `make soak` with as many as time allows.
A history builds a pipeline of sources that wait, fail, wait for ever, and clean up slowly, runs it in one of
four ways, and may cancel it meanwhile. Afterwards

    every source that was opened is closed, once, in the task that iterated it; every tool that began has ended
    no task, timer or thread is left; a cancel has come out again
    of each source the reader had its items in order, none twice; none is missing, but where an operator drops some
    an error of a source came behind all of its items
    measures have an end, a line of progress is ended, a recording is whole
"""

from __future__ import annotations

import asyncio
import io
import json
import random
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

import trio
import trio.lowlevel

import streamkit as sk
from streamkit.operators.combining import combine_latest, concat, interleave, merge
from streamkit.operators.combining import zip as zip_streams
from streamkit.operators.ending import take_until
from streamkit.operators.flattening import flatten, switch
from streamkit.operators.racing import hedge, race

OVERFLOWS = ["suspend", "suspend", "drop_oldest", "latest", "drop_newest", "coalesce"]

# What a history may end in besides a normal end; everything else is a bug.
EXPECTED = (ValueError, KeyError, RuntimeError)


class Loop(Protocol):
    """The little that differs between asyncio and trio."""

    def task(self) -> object: ...
    async def turn(self) -> None: ...
    async def shielded_turn(self) -> None: ...
    async def for_ever(self) -> None: ...
    async def cancelled_after(self, turns: int | None, body: Callable[[], Awaitable[None]]) -> bool: ...


# Items are numbers: the source's, times this, and their own.
STRIDE = 1000


class History:
    """One seed's pipeline and what became of its sources.

    Args:
        seed: Decides everything.
        loop: Where it happens.
        folder: For recordings; without one there are none.
    """

    def __init__(self, seed: int, loop: Loop, folder: Path | None = None) -> None:
        self.random = random.Random(seed)
        self.seed = seed
        self.loop = loop
        self.folder = folder
        self.opened = 0
        self.closed = 0
        self.elsewhere = 0
        self.sources = 0
        self.tools: Counter[str] = Counter()
        self.hangs = False
        # Nothing is dropped on the way, so that each source's items come without a gap; nobody ends early, so that all come.
        self.lossless = True
        self.patient = True
        self.got: list[int] = []
        self.results: list[list[int]] = []
        self.stats: list[sk.Stats] = []
        self.lines: list[io.StringIO] = []
        self.files: list[Path] = []

    async def run(self) -> None:
        """Let it happen, and raise AssertionError for whatever is not as it must be."""
        stream = self.pipeline()
        how = self.random.choice(["collect", "leave", "raise", "leave"])
        turns = self.random.randrange(40) if self.hangs or self.random.random() < 0.6 else None
        error: BaseException | None = None
        cancelled = False
        try:
            cancelled = await self.loop.cancelled_after(turns, lambda: self.consume(stream, how))
        except EXPECTED as failure:
            error = failure
        picture = f"; seed {self.seed}, {how}, cancelled after {turns}: {cancelled}, {error!r}:\n{stream.explain()}"
        try:
            self.check(error, how)
        except AssertionError as wrong:
            raise AssertionError(f"{wrong}{picture}") from None

    def check(self, error: BaseException | None, how: str) -> None:
        assert self.opened == self.closed, f"{self.opened - self.closed} sources left open"
        assert 0 == self.elsewhere, f"{self.elsewhere} sources closed in another task"
        assert self.tools["began"] == self.tools["ended"], f"tools left: {self.tools}"
        threads = [thread for thread in threading.enumerate() if thread.name.startswith("streamkit")]
        for thread in threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in threads), f"threads left: {threads}"
        by_source: dict[int, list[int]] = {}
        for item in self.got:
            by_source.setdefault(item // STRIDE, []).append(item % STRIDE)
        for numbers in by_source.values():
            assert sorted(set(numbers)) == numbers, f"out of order, or twice: {numbers}"
            if self.lossless:
                assert list(range(len(numbers))) == numbers, f"lost: {numbers}"
        if isinstance(error, ValueError) and self.lossless and self.patient and how != "collect":
            source, number = divmod(error.args[0], STRIDE)
            assert list(range(number)) == by_source.get(source, []), f"an error before the items of its source: {self.got}"
        for results in self.results:
            assert sorted(set(results)) == results, f"results out of order: {results}"
        for stats in self.stats:
            assert (stats.started is None) or stats.ended_as is not None, "measures without an end"
            assert stats.ended_as in (None, "done", "left", "cancelled", "error"), stats.ended_as
        for line in self.lines:
            assert line.getvalue().count("\n") <= 1, f"a line shown twice: {line.getvalue()}"
        for file in self.files:
            if file.exists() and (kept := file.read_text().splitlines()):
                assert "end" in json.loads(kept[-1]), f"a recording without an end: {kept[-1]}"
                assert 1 == sum('"end"' in line for line in kept)
                file.unlink()

    async def consume(self, stream: sk.Stream[Any], how: str) -> None:
        if how == "collect":
            self.got = await stream.collect()
            return
        left = self.random.randrange(10) if self.random.random() < 0.7 else 1000
        async with stream as items:
            async for item in items:
                self.got.append(item)
                if self.random.random() < 0.3:
                    await self.loop.turn()
                left -= 1
                if left < 0:
                    break
            if how == "raise":
                raise RuntimeError("the consumer's own")

    def pipeline(self, depth: int = 0) -> sk.Stream[Any]:
        rng = self.random
        if depth > 1 or rng.random() < 0.7:
            stream: sk.Stream[Any] = sk.stream(self.source())
        else:
            stream = self.several([self.pipeline(depth + 1) for _ in range(rng.randrange(1, 4))])
        for _ in range(rng.randrange(5)):
            stream = self.operator(stream)
        return stream

    def several(self, streams: list[sk.Stream[Any]]) -> sk.Stream[Any]:
        """One of the operators over several streams."""
        rng = self.random
        match rng.randrange(12):
            case 0:
                return concat(*streams)
            case 1:
                self.patient = False  # the items of a row that was not filled
                return zip_streams(*streams).flat_map(tuple)
            case 2:
                return interleave(*streams)
            case 3:
                self.lossless = False
                return combine_latest(*streams, size=rng.randrange(1, 5)).flat_map(Unseen())
            case 4:
                return race(*streams)
            case 5:
                return hedge(*streams, after=rng.choice([0.0001, 5.0]))
            case 6:
                return sk.stream(streams) | flatten()
            case 7:
                return merge(sk.stream(lambda: iter(streams)), concurrency=rng.randrange(1, 4), size=rng.randrange(1, 4))
            case 8:
                self.lossless = False
                slow: sk.Stream[Any] = sk.stream(streams).map(self.slowly)
                return slow | switch()
            case 9:
                self.patient = False
                return streams[0] | take_until(concat(*streams[1:]) if streams[1:] else self.loop.turn)
            case _:
                return merge(*streams)

    def operator(self, stream: sk.Stream[Any]) -> sk.Stream[Any]:
        rng = self.random
        match rng.randrange(16):
            case 0:
                return stream.map(lambda item: item)
            case 1:
                return stream.filter(lambda item: True)
            case 2:
                overflow: Any = rng.choice(OVERFLOWS)
                self.lossless = self.lossless and overflow == "suspend"
                return stream | sk.buffer(rng.randrange(1, 6), overflow=overflow)
            case 3:
                self.patient = False
                return stream.take(rng.randrange(20))
            case 4:
                return stream.batch(2).flat_map(lambda batch: batch)
            case 5:
                return stream.batch(3, within=0.0005).flat_map(lambda batch: batch)
            case 6:
                return stream | sk.timeout(idle=5, total=20)
            case 7:
                return stream | sk.coalesce()
            case 8:
                return stream | sk.timeout(wire=5)
            case 9:
                self.stats.append(sk.Stats())
                return stream | sk.measure(self.stats[-1])
            case 10:
                self.lines.append(io.StringIO() if rng.random() < 0.5 else Terminal())
                return stream | sk.progress(file=self.lines[-1], every=rng.choice([0.0001, 1.0]))
            case 11 if self.folder is not None:
                path = self.folder / f"{self.seed}-{len(self.files)}.jsonl"
                self.files.append(path)
                events = stream.map(lambda item: sk.Custom("item", item)) | sk.record(path)
                return events.map(lambda event: event.data)
            case 12:
                self.patient = False
                return (stream.flat_map(lambda item: [item, "ab"]) | sk.limit_bytes(rng.randrange(60))).filter(is_number)
            case 13:
                values = stream.map(lambda item: sk.ToolCallDelta(str(item), "[")) | sk.partial_json(of="calls")
                return values.map(lambda value: int(value.id or ""))
            case 14:
                return self.with_tools(stream)
            case _:
                return stream.map(self.slowly)

    async def slowly(self, item: object) -> object:
        if self.random.random() < 0.3:
            await self.loop.turn()
        return item

    def with_tools(self, stream: sk.Stream[Any]) -> sk.Stream[Any]:
        """Each item calls a tool; results are kept apart."""
        rng = self.random
        results: list[int] = []
        calls: list[int] = []
        if self.sources == 1:  # items of one source are in order, and so are its calls and results
            self.results += [results, calls]
        kinds = rng.choice([["quick"], ["quick", "slow"], ["slow", "fails", "plain"], ["slow", "deaf"], ["for_ever", "quick"]])
        timeout = rng.choice([None, None, 0.0005])
        self.hangs = self.hangs or ("for_ever" in kinds and timeout is None)

        async def tool(kind: str) -> str:
            self.tools["began"] += 1
            try:
                await self.act(kind)
            finally:
                self.tools["ended"] += 1
            return kind

        def plain(kind: str) -> str:
            time.sleep(0.0002)
            return kind

        def called(item: int) -> list[object]:
            kind = rng.choice(kinds)
            return [item, sk.ToolCall(str(item), "plain" if kind == "plain" else "tool", json.dumps({"kind": kind}))]

        def passed(item: object) -> bool:
            if isinstance(item, sk.ToolResult):
                results.append(int(item.id))
            elif isinstance(item, sk.ToolCall):
                calls.append(int(item.id))
            return is_number(item)

        run_tools = sk.run_tools([tool, plain], timeout=timeout, concurrency=rng.randrange(1, 9))
        return (stream.flat_map(called) | run_tools).filter(passed)

    async def act(self, kind: str) -> None:
        if kind == "for_ever":
            await self.loop.for_ever()
        if kind in ("slow", "deaf"):
            try:
                await self.loop.turn()
                await self.loop.turn()
            finally:
                if kind == "deaf":
                    for _ in range(3):
                        await self.loop.shielded_turn()
        if kind == "fails":
            raise LookupError("a tool")

    def source(self) -> Callable[[], AsyncIterator[int]]:
        rng = self.random
        base = self.sources * STRIDE
        self.sources += 1
        count = rng.randrange(30)
        fails_at = rng.randrange(30) if rng.random() < 0.2 else None
        hangs_at = rng.randrange(30) if rng.random() < 0.1 else None
        fails_closing = rng.random() < 0.05
        waits = [rng.random() < 0.5 for _ in range(count)]
        self.hangs = self.hangs or hangs_at is not None

        async def step(number: int) -> None:
            if waits[number]:
                await self.loop.turn()
            if number == hangs_at:
                await self.loop.for_ever()
            if number == fails_at:
                raise ValueError(base + number)

        async def clean_up() -> None:
            try:
                if rng.random() < 0.5:
                    await self.loop.shielded_turn()
            finally:
                self.closed += 1
            if fails_closing:
                raise KeyError("in its clean-up")

        async def items() -> AsyncIterator[int]:
            self.opened += 1
            home = self.loop.task()
            try:
                for number in range(count):
                    await step(number)
                    yield base + number
            finally:
                self.elsewhere += self.loop.task() is not home
                await clean_up()

        class Reader:
            """The same, with a close that may be called twice, and must not be."""

            def __init__(reader) -> None:
                reader.number = -1
                reader.home: object = None

            def __aiter__(reader) -> Reader:
                return reader

            async def __anext__(reader) -> int:
                if reader.number < 0:
                    self.opened += 1
                    reader.home = self.loop.task()
                assert reader.home is self.loop.task(), "read in two tasks"
                reader.number += 1
                if reader.number >= count:
                    raise StopAsyncIteration
                await step(reader.number)
                return base + reader.number

            async def aclose(reader) -> None:
                if reader.number < 0:  # never read: closed without having been opened
                    return
                self.elsewhere += self.loop.task() is not reader.home
                await clean_up()

        return Reader if rng.random() < 0.3 else items


class Unseen:
    """Of each row the items that it has not seen before: the same rows in one go, or the next ones in order."""

    def __init__(self) -> None:
        self.newest: dict[int, int] = {}

    def __call__(self, row: tuple[int, ...]) -> list[int]:
        items = [item for item in row if self.newest.get(item // STRIDE) != item]
        self.newest.update({item // STRIDE: item for item in items})
        return items


def is_number(item: object) -> bool:
    return isinstance(item, int)


class Terminal(io.StringIO):
    """Where a line of progress is drawn again and again; what is left of it at the end is one line."""

    def isatty(self) -> bool:
        return True


class AsyncioLoop:
    """asyncio and uvloop."""

    def task(self) -> object:
        return asyncio.current_task()

    async def turn(self) -> None:
        await asyncio.sleep(0)

    async def shielded_turn(self) -> None:
        await asyncio.sleep(0)  # a cancel is edge-triggered here: a clean-up is not cancelled again

    async def for_ever(self) -> None:
        await asyncio.get_running_loop().create_future()

    async def cancelled_after(self, turns: int | None, body: Callable[[], Awaitable[None]]) -> bool:
        """Whether it ended by its cancel, which otherwise must have come too late."""

        async def run() -> None:
            await body()

        before = asyncio.all_tasks()
        task = asyncio.create_task(run())
        asked = False
        if turns is not None:
            for _ in range(turns):
                await asyncio.sleep(0)
            asked = task.cancel()
        done, _ = await asyncio.wait([task], timeout=90)
        assert done, "the history hangs"
        left = asyncio.all_tasks() - before
        assert not left, f"tasks left behind: {left}"
        timers = [timer for timer in getattr(asyncio.get_running_loop(), "_scheduled", ()) if not timer.cancelled()]
        assert not timers, f"timers left behind: {timers}"
        if not task.cancelled():
            task.result()
            assert not asked, "a cancel was swallowed"
        return task.cancelled()


class TrioLoop:
    """trio."""

    def task(self) -> object:
        return trio.lowlevel.current_task()

    async def turn(self) -> None:
        await trio.lowlevel.checkpoint()

    async def shielded_turn(self) -> None:
        with trio.CancelScope(shield=True):  # cancels are level-triggered: a clean-up shields itself
            await trio.lowlevel.checkpoint()

    async def for_ever(self) -> None:
        await trio.sleep_forever()

    async def cancelled_after(self, turns: int | None, body: Callable[[], Awaitable[None]]) -> bool:
        """Whether it ended by its cancel."""

        async def cancel(scope: trio.CancelScope) -> None:
            for _ in range(turns or 0):
                await trio.lowlevel.checkpoint()
            scope.cancel()

        failure: Exception | None = None
        with trio.fail_after(90), trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                if turns is not None:
                    nursery.start_soon(cancel, scope)
                try:
                    await body()
                except EXPECTED as error:
                    failure = error
        for _ in range(3):  # a timer that was cancelled is a task that ends at its next turn
            await trio.lowlevel.checkpoint()
        root: Any = trio.lowlevel.current_root_task()
        system = [task for nursery in root.child_nurseries for task in nursery.child_tasks]
        left = [task.name for task in system if task.name.startswith("streamkit")]
        assert not left, f"tasks left behind: {left}"
        if failure is not None:
            raise failure
        return scope.cancelled_caught
