"""Races that replay: an event loop in which a seed decides whose turn it is.

    run_seeded(main, seed=7)                 one order of wake-ups, the same one each time
    for_seeds(main, range(1000))             many orders; a failure names its seed

On asyncio the tasks that could go on at a turn go on in an order drawn from the seed, and some of them only at a later turn.
That is what a busy machine does, too, and so it is a fair thing to do to code that waits for each other by events. Callbacks
that belong to no task keep their order, which asyncio promises. On trio the seed decides what trio leaves to chance
anyway. Time is virtual: nothing waits for a real clock.
"""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Literal, TypeVar

from streamkit.errors import ConfigError
from streamkit.testing.clock import VirtualClock

__all__ = ["SeededLoop", "for_seeds", "run_seeded"]

T = TypeVar("T")

# Of the tasks that could go on, how many are kept waiting for a turn.
WITHHELD = 0.25

# Runs between two looks for garbage: tasks in cycles stay in the loop's list of all tasks, which a virtual clock reads
# again and again (a thousand runs in a large process took three times as long).
TIDY_EVERY = 16


class SeededLoop(asyncio.SelectorEventLoop):
    """An asyncio event loop that wakes its tasks in an order drawn from a seed.

    It looks into asyncio's own row of what is ready, which has been the same since Python 3.4.
    """

    _ready: Any  # the standard loop's deque of handles

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.reseed(seed)

    def reseed(self, seed: int) -> None:
        """Begin another order; for a loop in which nothing runs."""
        self._random = random.Random(seed)

    def _run_once(self) -> None:
        ready = self._ready
        withheld: list[Any] = []
        if len(ready) > 1:
            handles = list(ready)
            turns = [at for at, handle in enumerate(handles) if _of_task(handle)]
            drawn = [handles[at] for at in turns]
            self._random.shuffle(drawn)
            for at, handle in zip(turns, drawn, strict=True):
                handles[at] = handle
            for handle in drawn[1:]:
                if self._random.random() < WITHHELD:
                    handles.remove(handle)
                    withheld.append(handle)
            ready.clear()
            ready.extend(handles)
        super()._run_once()  # type: ignore[misc]  # what run_forever calls
        ready.extendleft(reversed(withheld))


def _of_task(handle: Any) -> bool:
    """Whether a handle lets a task go on: begins it, or wakes it."""
    callback = getattr(handle, "_callback", None)
    return isinstance(getattr(callback, "__self__", None), asyncio.Task)


def run_seeded(main: Callable[[], Awaitable[T]], *, seed: int, backend: Literal["asyncio", "trio"] = "asyncio") -> T:
    """Run an async function to its end, in the order of wake-ups that a seed draws, on virtual time.

    Args:
        main: Called without arguments.
        seed: The same one gives the same run.
        backend: "asyncio" or "trio".

    Raises:
        AssertionError: `main` left a task behind (asyncio).
        ConfigError: no such backend.

    >>> async def main():
    ...     order = []
    ...     async def note(name):
    ...         order.append(name)
    ...     await asyncio.gather(*[note(name) for name in "abcd"])
    ...     return "".join(order)
    >>> run_seeded(main, seed=1) == run_seeded(main, seed=1)
    True
    >>> len({run_seeded(main, seed=seed) for seed in range(20)}) > 5
    True
    """
    return for_seeds(main, (seed,), backend=backend)[0]


def for_seeds(
    main: Callable[[], Awaitable[T]], seeds: Iterable[int], *, backend: Literal["asyncio", "trio"] = "asyncio"
) -> list[T]:
    """Run an async function once for each seed; what each run gave. An error is noted with its seed.

    Raises:
        AssertionError: a run left a task behind (asyncio).
        ConfigError: no such backend.
    """
    if backend not in ("asyncio", "trio"):
        raise ConfigError(f'backend={backend!r}: "asyncio" or "trio"')
    run_one = _trio_run if backend == "trio" else None
    results: list[T] = []
    loop: SeededLoop | None = None
    try:
        for number, seed in enumerate(seeds):
            if number % TIDY_EVERY == 0:
                gc.collect(1)
            try:
                if run_one is not None:
                    results.append(run_one(main, seed))
                    continue
                loop = loop or SeededLoop()
                loop.reseed(seed)
                results.append(loop.run_until_complete(_on_virtual_time(main)))
                _assert_nothing_left(loop)
            except BaseException as error:
                error.add_note(f"with seed {seed} on {backend}: run_seeded(..., seed={seed}) replays it")
                raise
    finally:
        if loop is not None:
            _close(loop)
    return results


async def _on_virtual_time(main: Callable[[], Awaitable[T]]) -> T:
    async with VirtualClock():
        return await main()


def _assert_nothing_left(loop: asyncio.AbstractEventLoop) -> None:
    left = asyncio.all_tasks(loop)
    assert not left, f"{len(left)} tasks left behind: {', '.join(sorted(task.get_name() for task in left))}"


def _close(loop: asyncio.AbstractEventLoop) -> None:
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


def _trio_run(main: Callable[[], Awaitable[T]], seed: int) -> T:
    """A trio run whose scheduler draws from the seed, as trio's own tests and hypothesis do it."""
    import trio
    from trio._core import _run as trio_run  # pyright: ignore[reportPrivateUsage]  # where its dice are

    inner: Any = trio_run
    before, inner._ALLOW_DETERMINISTIC_SCHEDULING = inner._ALLOW_DETERMINISTIC_SCHEDULING, True
    state = inner._r.getstate()
    inner._r.seed(seed)
    try:
        return trio.run(_on_virtual_time, main)
    finally:
        inner._r.setstate(state)
        inner._ALLOW_DETERMINISTIC_SCHEDULING = before
