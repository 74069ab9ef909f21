"""Tasks of a history: each runs by itself, may be cancelled at any moment, and must not fail.

On asyncio (uvloop too) they are plain tasks, cancelled once; on trio tasks of a nursery, each in a scope of its own.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

import anyio
import trio
import trio.lowlevel

from streamkit.flow.clock import current_clock
from streamkit.flow.tasks import current_backend

# Seconds in which everybody comes to an end once all hubs are closed.
LONG = 100.0


class Member:
    """One task."""

    def __init__(self, name: str, owner: object, keep: bool) -> None:
        self.name = name
        self.owner = owner
        self.keep = keep
        self.cancel: Callable[[], object] = list


class Crew:
    """The tasks of one history; leaving it cancels those that still run."""

    def __init__(self) -> None:
        self.members: list[Member] = []
        self.failures: list[Exception] = []
        self.spawned = 0
        self.cancelled = 0
        self._nursery_manager: Any = None
        self._nursery: Any = None
        self._done = anyio.Event()

    async def __aenter__(self) -> Self:
        if current_backend().name == "trio":
            self._nursery_manager = trio.open_nursery()
            self._nursery = await self._nursery_manager.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for member in self.members:
            member.cancel()
        if self._nursery_manager is not None:
            await self._nursery_manager.__aexit__(None, None, None)
        elif tasks := [member.cancel.__self__ for member in self.members]:  # type: ignore[attr-defined]  # of asyncio's tasks
            await asyncio.wait(tasks)
        if error is None and self.failures:
            raise self.failures[0]

    def spawn(self, name: str, main: Callable[[], Awaitable[None]], owner: object = None, *, keep: bool = False) -> Member:
        """Start a task; one that is to be kept is not among those that are cancelled at random."""
        member = Member(name, owner, keep)
        self.members.append(member)
        self.spawned += 1
        if self._nursery is None:
            task = asyncio.get_running_loop().create_task(self._run(member, main), name=name)
            task.add_done_callback(lambda _: self._ended(member))  # also if it was cancelled before it began
            member.cancel = task.cancel
        else:
            scope = trio.CancelScope()
            member.cancel = scope.cancel

            async def scoped() -> None:
                try:
                    with scope:
                        await self._run(member, main)
                finally:
                    self._ended(member)

            self._nursery.start_soon(scoped)
        return member

    async def _run(self, member: Member, main: Callable[[], Awaitable[None]]) -> None:
        try:
            await main()
        except Exception as error:
            error.add_note(f"in {member.name}")
            self.failures.append(error)
            self._done.set()

    def _ended(self, member: Member) -> None:
        self.members.remove(member)
        if not self.members:
            self._done.set()

    def cancel_one(self, dice: random.Random) -> str:
        """Cancel any of them; its name."""
        running = [member for member in self.members if not member.keep]
        if not running:
            return "nobody"
        member = dice.choice(running)
        self.cancelled += 1
        member.cancel()
        return member.name

    def cancel_all(self, owner: object) -> None:
        """Cancel what this owner has."""
        for member in tuple(self.members):
            if member.owner is owner:
                member.cancel()

    async def all_done(self) -> None:
        """Until each of them has ended by itself; who has not after a long time on the clock never will."""
        clock = current_clock()
        timer = clock.call_at(clock.now() + LONG, self._is_late)
        try:
            while self.members and not self.failures:
                self._done = anyio.Event()
                await self._done.wait()
        finally:
            timer.cancel()

    def _is_late(self) -> None:
        self.failures.append(AssertionError(f"still at it: {', '.join(member.name for member in self.members)}"))
        self._done.set()

    async def turn(self) -> None:
        if self._nursery is None:
            await asyncio.sleep(0)
        else:
            await trio.lowlevel.checkpoint()

    async def shielded_turn(self) -> None:
        if self._nursery is None:
            await asyncio.sleep(0)  # a cancel is edge-triggered here: a clean-up is not cancelled again
            return
        with trio.CancelScope(shield=True):
            await trio.lowlevel.checkpoint()

    async def hang(self) -> None:
        if self._nursery is None:
            await asyncio.get_running_loop().create_future()
        else:
            await trio.sleep_forever()
