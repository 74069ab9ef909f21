"""Random pipelines, left at random moments: one seed is one history, and the same history each time.

Used by the tests with some hundred seeds on each event loop, and by `make soak` with as many as time allows.
A history builds a pipeline of sources that wait, fail, and clean up slowly, runs it in one of four ways,
and may cancel it meanwhile. Afterwards every source that was opened must be closed, in the task that
iterated it, and no task may be left.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol

import trio.lowlevel

import streamkit as sk

OVERFLOWS = ["suspend", "suspend", "drop_oldest", "latest", "drop_newest", "coalesce"]

# What a history may end in besides a normal end; everything else is a bug.
EXPECTED = (ValueError, KeyError, RuntimeError)


class Loop(Protocol):
    """The little that differs between asyncio and trio."""

    def task(self) -> object: ...
    async def turn(self) -> None: ...
    async def shielded_turn(self) -> None: ...
    async def cancelled_after(self, turns: int | None, body: Callable[[], Awaitable[None]]) -> None: ...


class History:
    """One seed's pipeline and what became of its sources."""

    def __init__(self, seed: int, loop: Loop) -> None:
        self.random = random.Random(seed)
        self.seed = seed
        self.loop = loop
        self.opened = 0
        self.closed = 0
        self.elsewhere = 0

    async def run(self) -> None:
        """Let it happen, and raise AssertionError if a source was left open or closed elsewhere."""
        stream = self.pipeline()
        how = self.random.choice(["collect", "leave", "raise", "leave"])
        turns = self.random.randrange(25) if self.random.random() < 0.6 else None
        try:
            await self.loop.cancelled_after(turns, lambda: self.consume(stream, how))
        except EXPECTED:
            turns = None
        picture = f"seed {self.seed}, {how}:\n{stream.explain()}"
        assert self.opened == self.closed, f"{self.opened - self.closed} sources left open; {picture}"
        assert 0 == self.elsewhere, f"{self.elsewhere} sources closed in another task; {picture}"

    async def consume(self, stream: sk.Stream[Any], how: str) -> None:
        if how == "collect":
            await stream.collect()
            return
        left = self.random.randrange(10)
        async with stream as items:
            async for _ in items:
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
            stream = sk.merge(*[self.pipeline(depth + 1) for _ in range(rng.randrange(1, 4))])
        for _ in range(rng.randrange(5)):
            stream = self.operator(stream)
        return stream

    def operator(self, stream: sk.Stream[Any]) -> sk.Stream[Any]:
        rng = self.random
        match rng.randrange(9):
            case 0:
                return stream.map(lambda item: item)
            case 1:
                return stream.filter(lambda item: True)
            case 2:
                return stream | sk.buffer(rng.randrange(1, 6), overflow=rng.choice(OVERFLOWS))  # type: ignore[arg-type]
            case 3:
                return stream.take(rng.randrange(20))
            case 4:
                return stream.batch(2).flat_map(lambda batch: batch)
            case 5:
                return stream.batch(3, within=0.0005).flat_map(lambda batch: batch)
            case 6:
                return stream | sk.timeout(idle=5, total=20)
            case 7:
                return stream | sk.coalesce()
            case _:
                return stream.map(self.slowly)

    async def slowly(self, item: object) -> object:
        if self.random.random() < 0.3:
            await self.loop.turn()
        return item

    def source(self) -> Callable[[], AsyncIterator[int]]:
        rng = self.random
        count = rng.randrange(30)
        fails_at = rng.randrange(30) if rng.random() < 0.2 else None
        fails_closing = rng.random() < 0.05
        waits = [rng.random() < 0.5 for _ in range(count)]

        async def items() -> AsyncIterator[int]:
            self.opened += 1
            home = self.loop.task()
            try:
                for number in range(count):
                    if waits[number]:
                        await self.loop.turn()
                    if number == fails_at:
                        raise ValueError(number)
                    yield number
            finally:
                self.elsewhere += self.loop.task() is not home
                try:
                    if rng.random() < 0.5:
                        await self.loop.shielded_turn()
                finally:
                    self.closed += 1
                if fails_closing:
                    raise KeyError("in its clean-up")

        return items


class AsyncioLoop:
    """asyncio and uvloop."""

    def task(self) -> object:
        return asyncio.current_task()

    async def turn(self) -> None:
        await asyncio.sleep(0)

    async def shielded_turn(self) -> None:
        await asyncio.sleep(0)  # a cancel is edge-triggered here: a clean-up is not cancelled again

    async def cancelled_after(self, turns: int | None, body: Callable[[], Awaitable[None]]) -> None:
        async def run() -> None:
            await body()

        before = asyncio.all_tasks()
        task = asyncio.create_task(run())
        if turns is not None:
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
        done, _ = await asyncio.wait([task], timeout=10)
        assert done, "the history hangs"
        left = asyncio.all_tasks() - before
        assert not left, f"tasks left behind: {left}"
        if not task.cancelled():
            task.result()


class TrioLoop:
    """trio."""

    def task(self) -> object:
        import trio

        return trio.lowlevel.current_task()

    async def turn(self) -> None:
        import trio

        await trio.lowlevel.checkpoint()

    async def shielded_turn(self) -> None:
        import trio

        with trio.CancelScope(shield=True):  # cancels are level-triggered: a clean-up shields itself
            await trio.lowlevel.checkpoint()

    async def cancelled_after(self, turns: int | None, body: Callable[[], Awaitable[None]]) -> None:
        import trio

        async def cancel(scope: trio.CancelScope) -> None:
            for _ in range(turns or 0):
                await trio.lowlevel.checkpoint()
            scope.cancel()

        failure: Exception | None = None
        with trio.fail_after(10), trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                if turns is not None:
                    nursery.start_soon(cancel, scope)
                try:
                    await body()
                except EXPECTED as error:
                    failure = error
        if failure is not None:
            raise failure
