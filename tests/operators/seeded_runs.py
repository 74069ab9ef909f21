"""One run of one operator, in which a seed decides everything: what its source does, and how it is left.

A run's source waits or does not, by turns and by the clock, fails at an item or does not, cleans up slowly, sets a context
variable, holds a cancel scope across its items. Its consumer is slow or not, reads to the end, leaves, fails, or is
cancelled. Afterwards

    what came out is what the operator's law allows
    an error is the source's own, or the operator's, or the consumer's; a cancel came out again
    each source that was opened is closed, once, by the task that iterated it, which saw its context variable
    no task and no timer is left

Used by the tests with a thousand seeds for each operator, and by `make soak` with as many as are asked for.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import nullcontext
from typing import Any, Literal, TypeAlias

import anyio
from every_operator import How, Row, Told

import streamkit as sk
from streamkit.flow.clock import current_clock
from streamkit.flow.tasks import current_backend
from streamkit.testing import VirtualClock, for_seeds

Backend: TypeAlias = Literal["asyncio", "trio"]

marked: contextvars.ContextVar[int] = contextvars.ContextVar("marked", default=0)

# What a source or a consumer does between two items: nothing, so many turns, or so long a sleep.
PAUSES: tuple[int | float, ...] = (0, 0, 0, 1, 1, 2, 3, 0.5, 1.0)


class ConsumerFailed(Exception):
    """What a consumer raises."""


class SeededRun:
    """One operator's run under one seed."""

    def __init__(self, row: Row, seed: int) -> None:
        dice = random.Random(seed)
        size = len(row.items)
        self.row = row
        self.wrong: list[str] = []
        self.opened = 0
        self.closed = 0
        self.failures: list[Exception] = []
        self.out: list[Any] = []
        # The source.
        self.fails_at = dice.randrange(size + 1) if dice.random() < 0.3 else None
        self.fails = dice.choice([1, 9])  # openings
        self.pauses = [dice.choice(PAUSES) for _ in range(size + 1)]
        self.clean_up = dice.choice([0, 0, 1, 3])
        self.scoped = dice.random() < 0.3
        # The consumer.
        ends: list[Literal["end", "leave", "raise", "cancel", "scope"]] = ["end", "end", "end", "leave", "raise", "cancel", "scope"]
        self.ends = dice.choice(ends)
        self.leaves_at = dice.randrange(1, size + 2)
        self.cancelled_after = dice.choice([0, 1, 2, 3, 4, 6, 9, 14, 0.3, 0.5, 1.0])
        self.slow = [dice.choice(PAUSES) for _ in range(4)] if dice.random() < 0.4 else [0]
        # The pipeline.
        self.fused = dice.random() < 0.8
        stream: sk.Stream[Any] = sk.stream(self.source)
        if not row.waits or dice.random() < 0.3:
            stream = stream | sk.buffer(dice.randrange(1, 3))
        self.stream = row.over(stream)

    async def source(self) -> AsyncIterator[Any]:
        """What the operator reads."""
        home = current_backend().current_task()
        self.opened += 1
        number = self.opened
        marked.set(number)
        try:
            with anyio.CancelScope() if self.scoped else nullcontext():
                for at, pause in enumerate(self.pauses):
                    await wait(pause)
                    self.expect(marked.get() == number, "the source lost its context variable")
                    self.expect(current_backend().current_task() is home, "a second task iterated the source")
                    if at == self.fails_at and number <= self.fails:
                        self.failures.append(self.row.failure())
                        raise self.failures[-1]
                    if at < len(self.row.items):
                        yield self.row.items[at]
        finally:
            self.expect(current_backend().current_task() is home, "the source was closed in another task")
            try:
                with anyio.CancelScope(shield=True):  # cancels of scopes are level-triggered: a clean-up that waits shields itself
                    await wait(self.clean_up)
            finally:
                self.closed += 1

    def expect(self, holds: bool, otherwise: str) -> None:
        if not holds:
            self.wrong.append(otherwise)

    async def run(self) -> tuple[How, list[Any]]:
        """Let it happen, and raise AssertionError for whatever is not as it must be; how it ended, and what came out."""
        before = streamkit_tasks()
        error: BaseException | None = None
        cancelled = False
        try:
            cancelled = await self.perform()
        except Exception as raised:
            error = raised
        try:
            how = self.judge(error, cancelled)
            await self.nothing_left(before)
        except Exception as wrong:
            raise AssertionError(
                f"{self.row.name}: {str(wrong) or 'not what may come out'}\n{self.picture(error, cancelled)}"
            ) from wrong
        return how, self.out

    async def perform(self) -> bool:
        """Whether it was cancelled."""
        if self.ends == "cancel" and current_backend().name == "asyncio":
            return await self.cancelled_as_a_task()
        if self.ends in ("cancel", "scope"):
            return await self.cancelled_by_a_scope()
        await self.consume()
        return False

    async def consume(self) -> None:
        async with self.stream.open(fused=self.fused) as items:
            async for item in items:
                self.out.append(item)
                if len(self.out) == self.leaves_at:
                    if self.ends == "leave":
                        break
                    if self.ends == "raise":
                        raise ConsumerFailed
                await wait(self.slow[len(self.out) % len(self.slow)])

    async def cancelled_as_a_task(self) -> bool:
        task = asyncio.create_task(self.consume())
        await wait(self.cancelled_after)
        asked = task.cancel()
        await asyncio.wait([task])
        if task.cancelled():
            return True
        task.result()
        assert not asked, "the cancel was swallowed"
        return False

    async def cancelled_by_a_scope(self) -> bool:
        scope = anyio.CancelScope()
        error: Exception | None = None

        async def cancel() -> None:
            await wait(self.cancelled_after)
            scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(cancel)
            with scope:
                try:
                    await self.consume()
                except Exception as raised:
                    error = raised
            group.cancel_scope.cancel()
        if error is not None:
            raise error
        return scope.cancelled_caught

    def judge(self, error: BaseException | None, cancelled: bool) -> How:
        """What became of the source, the error and the items."""
        row = self.row
        assert not self.wrong, "; ".join(self.wrong)
        assert self.opened == self.closed, f"{self.opened} sources opened, {self.closed} closed"
        assert self.opened <= 1 or row.reopens, f"the source was opened {self.opened} times"
        left = len(self.out) >= self.leaves_at
        how: How = "end"
        if cancelled:
            how = "cancelled"
        elif isinstance(error, ConsumerFailed):
            assert self.ends == "raise"
            assert left
            how = "left"
        elif error is not None:
            assert isinstance(error, row.others) or any(error is one for one in self.failures), f"{error!r} came out"
            how = "error"
        elif left and self.ends == "leave":
            how = "left"
        assert how == "left" or not (left and self.ends in ("leave", "raise")), "it went on behind its last item"
        given = len(row.items) if self.fails_at is None else self.fails_at
        row.law(row, Told(self.out, how, given, self.fails_at is not None))
        return how

    async def nothing_left(self, before: set[object]) -> None:
        clock = current_clock()
        assert isinstance(clock, VirtualClock)
        assert 0 == clock.pending, f"{clock.pending} timers left"
        if current_backend().name == "trio":  # on asyncio `for_seeds` looks at all tasks
            await wait(3)  # a task that was cancelled ends at its next turn
            left = streamkit_tasks() - before
            assert not left, f"tasks left: {left}"

    def picture(self, error: BaseException | None, cancelled: bool) -> str:
        return (
            f"{self.out} came out, then {error!r}, cancelled: {cancelled}; source {self.pauses}, fails at {self.fails_at} "
            f"({self.fails} times), clean-up {self.clean_up}, scoped {self.scoped}; consumer: {self.ends}, leaves at "
            f"{self.leaves_at}, cancelled after {self.cancelled_after}, slow {self.slow}; fused {self.fused}\n"
            f"{self.stream.explain()}"
        )


async def wait(pause: int | float) -> None:
    """A pause: an int in turns, a float in seconds."""
    if isinstance(pause, float):
        await current_clock().sleep(pause)
    else:
        checkpoint = current_backend().checkpoint
        for _ in range(pause):
            await checkpoint()


def streamkit_tasks() -> set[object]:
    """On trio, the tasks of the library; none elsewhere."""
    if current_backend().name != "trio":
        return set()
    import trio

    root = trio.lowlevel.current_root_task()
    assert root is not None
    return {task for nursery in root.child_nurseries for task in nursery.child_tasks if task.name.startswith("streamkit")}


def run_seeds(row: Row, seeds: Iterable[int], backend: Backend = "asyncio") -> list[tuple[How, list[Any]]]:
    """A run of a row for each seed; how each ended, and what came out."""
    numbers = list(seeds)
    rest = iter(numbers)
    if not row.others:
        assert row.outputs  # learned now: a loop cannot run inside another
    main: Callable[[], Awaitable[tuple[How, list[Any]]]] = lambda: SeededRun(row, next(rest)).run()  # noqa: E731
    return for_seeds(main, numbers, backend=backend)
