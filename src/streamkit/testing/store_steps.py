"""Small steps that `check_store` is made of: calls that must fail, that go on at once, that are made while others wait."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import anyio

from streamkit.errors import StreamkitError
from streamkit.flow.clock import current_clock
from streamkit.hub.stores.protocol import Chunk, Signal, Store

__all__ = ["PARKING", "caught", "chunks_of", "gathered", "meanwhile", "quickly", "refused", "refused_each", "together", "within"]

T = TypeVar("T")

# Seconds, by the clock in place: a wake-up that takes longer is lost. A machine that has no time for us takes some, too.
WOKEN_WITHIN: Final = 20.0
# For a call in another task to be where it waits.
PARKING: Final = 0.03


@contextmanager
def within(seconds: float) -> Generator[None]:
    """So many seconds, by the clock in place; then what is waited for in the block is cancelled, and the block left."""
    clock = current_clock()
    with anyio.CancelScope() as scope:
        timer = clock.call_at(clock.now() + seconds, scope.cancel)
        try:
            yield
        finally:
            timer.cancel()


def chunks_of(epoch: int, *counts: int) -> list[Chunk]:
    """Chunks of so many events, each with bytes of its own."""
    firsts = [sum(counts[:number]) for number in range(len(counts))]
    return [Chunk(first, count, epoch, f"<{first}+{count}>".encode()) for first, count in zip(firsts, counts, strict=True)]


async def refused(kind: type[StreamkitError], call: Awaitable[object], what: str) -> None:
    """A call that must fail in this way; `what` is said if it does not."""
    try:
        await call
    except kind:
        return
    except StreamkitError as error:
        raise AssertionError(f"{error!r} was raised, and {kind.__name__} was due") from error
    raise AssertionError(f"{what}: {kind.__name__} was due")


async def refused_each(kind: type[StreamkitError], calls: Sequence[tuple[Coroutine[Any, Any, object], str]]) -> None:
    """Calls that must fail in this way, one after the other."""
    try:
        for call, what in calls:
            await refused(kind, call, what)
    finally:
        for call, _ in calls:
            call.close()  # those that nobody came to


async def caught(call: Awaitable[T]) -> T | StreamkitError:
    """What a call gives or raises."""
    try:
        return await call
    except StreamkitError as error:
        return error


async def quickly(call: Awaitable[T]) -> T:
    """What a call gives that has nothing to wait for, or whose wait is over."""
    with within(WOKEN_WITHIN):
        return await call
    raise AssertionError(f"it still waits after {WOKEN_WITHIN:g} s")


async def together(calls: list[Any]) -> list[Any]:
    """What they give, called at once."""
    results: list[Any] = [None] * len(calls)
    failures: list[Exception] = []

    async def one(number: int, call: Awaitable[Any]) -> None:
        try:
            results[number] = await call
        except Exception as error:  # raised below, without a group around it
            failures.append(error)

    async with anyio.create_task_group() as tasks:
        for number, call in enumerate(calls):
            tasks.start_soon(one, number, call)
    for failure in failures:
        raise failure
    return results


async def meanwhile(waits: list[Any], do: Callable[[], Awaitable[object]]) -> list[Any]:
    """What waits give or raise when this is done while they wait."""

    async def act() -> None:
        await current_clock().sleep(PARKING)
        await do()

    with within(PARKING + WOKEN_WITHIN):
        return (await together([*(caught(wait) for wait in waits), act()]))[:-1]
    raise AssertionError(f"what was waited for has happened, and {WOKEN_WITHIN:g} s later nobody is awake")


async def gathered(store: Store, holder: str, count: int) -> list[Signal]:
    """So many signals, from one call or several."""
    found: list[Signal] = []
    while len(found) < count and (more := await store.signals(holder, seconds=WOKEN_WITHIN)):
        found += more
    return found
