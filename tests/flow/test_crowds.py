"""Crowds and seats: many tasks wait for the same, each is woken, cancelled and left by itself."""

from __future__ import annotations

import asyncio
import contextvars
import sys
from collections.abc import AsyncIterator

import anyio
import pytest
from event_loops import ASYNCIO_LOOPS, asyncio_only

from streamkit.events.model import Event, TextDelta
from streamkit.flow.tasks import AsyncioBackend, AsyncioCrowd, Crowd, current_backend
from streamkit.hub.hub import Hub
from streamkit.operators.timing import timeout

pytestmark = pytest.mark.anyio


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await anyio.lowlevel.checkpoint()


def asyncio_crowd() -> AsyncioCrowd:
    return AsyncioBackend(asyncio.get_running_loop()).crowd()


# -- waking


@pytest.mark.parametrize("count", [1, 2, 7])
async def test_all_are_woken_once_by_one_wake(count: int) -> None:
    crowd, woken = current_backend().crowd(), []

    async def sit(number: int) -> None:
        await crowd.seat()
        woken.append(number)

    async with anyio.create_task_group() as group:
        for number in range(count):
            group.start_soon(sit, number)
        await turns()
        assert count == len(crowd.sitting)
        crowd.wake()
        assert [] == woken
        await turns()
    assert list(range(count)) == sorted(woken)
    assert 0 == len(crowd.sitting)


@asyncio_only
async def test_they_are_woken_in_the_order_in_which_they_sat_down() -> None:
    crowd, woken = asyncio_crowd(), []

    async def sit(number: int) -> None:
        await crowd.seat()
        woken.append(number)

    tasks = [asyncio.create_task(sit(number)) for number in (3, 1, 2)]
    await turns()
    crowd.wake()
    await asyncio.gather(*tasks)
    assert [3, 1, 2] == woken


async def test_a_wake_before_anybody_sits_wakes_nobody_later() -> None:
    crowd, woken = current_backend().crowd(), []
    crowd.wake()

    async def sit() -> None:
        await crowd.seat()
        woken.append("once")

    async with anyio.create_task_group() as group:
        group.start_soon(sit)
        await turns()
        assert [] == woken
        crowd.wake()
    assert ["once"] == woken


@pytest.mark.parametrize("count", [1, 3])
async def test_a_seat_serves_again_and_again(count: int) -> None:
    crowd, woken = current_backend().crowd(), [0] * count

    async def sit(number: int) -> None:
        seat = crowd.seat()
        for _ in range(4):
            await seat
            woken[number] += 1

    async with anyio.create_task_group() as group:
        for number in range(count):
            group.start_soon(sit, number)
        for done in range(4):
            await turns()
            assert [done] * count == woken
            crowd.wake()
    assert [4] * count == woken


# -- cancelling


@pytest.mark.parametrize("gone", [0, 1, 2])
async def test_cancelling_one_touches_no_other(gone: int) -> None:
    crowd, woken = current_backend().crowd(), []
    scopes = [anyio.CancelScope() for _ in range(3)]

    async def sit(number: int) -> None:
        with scopes[number]:
            await crowd.seat()
            woken.append(number)

    async with anyio.create_task_group() as group:
        for number in range(3):
            group.start_soon(sit, number)
        await turns()
        scopes[gone].cancel()
        await turns()
        assert [] == woken
        crowd.wake()
    assert [number for number in range(3) if number != gone] == sorted(woken)


@asyncio_only
@pytest.mark.parametrize("count", [1, 3])
async def test_a_cancel_between_the_wake_and_the_turn_cancels_and_the_others_are_woken(count: int) -> None:
    crowd, woken = asyncio_crowd(), []

    async def sit(number: int) -> None:
        await crowd.seat()
        woken.append(number)

    tasks = [asyncio.create_task(sit(number)) for number in range(count)]
    await turns()
    crowd.wake()
    tasks[0].cancel("too late")
    await turns()
    assert tasks[0].cancelled()
    assert list(range(1, count)) == woken
    assert all(task.done() for task in tasks)


@asyncio_only
async def test_one_that_is_woken_may_cancel_the_next_in_the_same_turn() -> None:
    crowd, woken = asyncio_crowd(), []

    async def sit(number: int) -> None:
        await crowd.seat()
        woken.append(number)
        if number == 0:
            tasks[1].cancel()

    tasks = [asyncio.create_task(sit(number)) for number in range(3)]
    await turns()
    crowd.wake()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert ([0, 2], True) == (woken, tasks[1].cancelled())


@asyncio_only
async def test_the_words_of_a_cancel_arrive() -> None:
    crowd, said = asyncio_crowd(), []

    async def sit() -> None:
        try:
            await crowd.seat()
        except asyncio.CancelledError as error:
            said.append(error.args)
            raise

    for words in ("enough of it", None):
        task = asyncio.create_task(sit())
        await turns()
        task.cancel(words)
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()
    assert [("enough of it",), ()] == said


@asyncio_only
async def test_a_seat_whose_wait_was_cancelled_serves_again() -> None:
    crowd, seen = asyncio_crowd(), []

    async def sit() -> None:
        seat = crowd.seat()
        try:
            await seat
        except asyncio.CancelledError:
            seen.append("cancelled")
        await seat
        seen.append("woken")

    task = asyncio.create_task(sit())
    await turns()
    task.cancel()
    await turns()
    assert ["cancelled"] == seen
    crowd.wake()
    await task
    assert ["cancelled", "woken"] == seen


@asyncio_only
async def test_seats_of_the_cancelled_are_not_kept_while_nobody_is_woken() -> None:
    crowd = asyncio_crowd()

    async def sit() -> None:
        await crowd.seat()

    stays = [asyncio.create_task(sit()) for _ in range(10)]
    most = 0
    for _ in range(40):
        tasks = [asyncio.create_task(sit()) for _ in range(25)]
        await turns(2)
        for task in tasks:
            task.cancel()
        await turns(3)
        most = max(most, len(crowd.sitting))
    assert most <= 2 * 10 + 1
    crowd.wake()
    await asyncio.gather(*stays)


async def test_a_level_triggered_cancel_ends_every_wait_within_its_scope() -> None:
    crowd, ends = current_backend().crowd(), 0
    with anyio.CancelScope() as scope:
        scope.cancel()
        for _ in range(3):
            try:
                await crowd.seat()
            except anyio.get_cancelled_exc_class():
                ends += 1
        await anyio.lowlevel.checkpoint()
    assert 3 == ends
    assert scope.cancelled_caught


# -- what the event loop does besides


@pytest.mark.parametrize("fatal", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("debug", [False, True])
def test_who_ends_the_loop_takes_no_turn_from_the_others(fatal: type[BaseException], debug: bool) -> None:
    loop = asyncio.new_event_loop()
    loop.set_debug(debug)
    woken: list[int] = []
    tasks: list[asyncio.Task[None]] = []

    async def sit(crowd: Crowd, number: int) -> None:
        await crowd.seat()
        if number == 1:
            raise fatal
        woken.append(number)

    async def main() -> None:
        crowd = asyncio_crowd()
        tasks.extend(asyncio.create_task(sit(crowd, number)) for number in range(4))
        await turns_of_asyncio()
        crowd.wake()
        await turns_of_asyncio()

    async def turns_of_asyncio() -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    try:
        with pytest.raises(fatal):
            loop.run_until_complete(main())
        loop.run_until_complete(turns_of_asyncio())
        assert [0, 2, 3] == woken
        assert fatal is type(tasks[1].exception())
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(turns_of_asyncio())
        loop.close()


@asyncio_only
@pytest.mark.parametrize("count", [1, 3])
async def test_each_is_resumed_in_its_own_context(count: int) -> None:
    crowd, name = asyncio_crowd(), contextvars.ContextVar("name", default="nobody's")
    seen: list[str] = []

    async def sit(number: int) -> None:
        name.set(f"reader {number}")
        await crowd.seat()
        seen.append(name.get())
        name.set("changed")

    tasks = [asyncio.create_task(sit(number)) for number in range(count)]
    await turns()
    crowd.wake()
    await asyncio.gather(*tasks)
    assert [f"reader {number}" for number in range(count)] == seen
    assert "nobody's" == name.get()


if sys.version_info >= (3, 12):  # which brought eager tasks
    # uvloop and asyncio's factory do not agree on its arguments under Python 3.13, without us.
    @pytest.mark.parametrize("anyio_backend", ASYNCIO_LOOPS[:1], indirect=True)
    async def test_eager_tasks_sit_and_are_woken() -> None:
        crowd, woken = asyncio_crowd(), []

        async def sit(number: int) -> None:
            await crowd.seat()
            woken.append(number)

        factory = getattr(asyncio, "eager_task_factory")  # noqa: B009  # not there before 3.12
        loop = asyncio.get_running_loop()
        loop.set_task_factory(factory)
        try:
            tasks = [asyncio.create_task(sit(number)) for number in range(3)]
            assert 3 == len(crowd.sitting)
            crowd.wake()
            await asyncio.gather(*tasks)
        finally:
            loop.set_task_factory(None)
        assert [0, 1, 2] == woken


# -- readers of a hub, who sit in one


async def two_then_silence() -> AsyncIterator[str]:
    yield "a"
    yield "b"
    await anyio.sleep_forever()


def texts(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, TextDelta)]


@asyncio_only
@pytest.mark.parametrize("way", ["wait_for", "timeout"])
async def test_a_read_that_asyncio_gives_up_closes_its_reader_and_no_other(way: str) -> None:
    async with Hub() as hub:
        await hub.start("x", two_then_silence)
        other = asyncio.create_task(hub.subscribe("x").collect())
        async with hub.subscribe("x").open() as run:
            assert ["a", "b"] == texts([await anext(run), await anext(run)])
            with pytest.raises(TimeoutError):
                if way == "wait_for":
                    await asyncio.wait_for(anext(run), 0.001)
                else:
                    async with asyncio.timeout(0.001):
                        await anext(run)
        assert (1, False) == ((await hub.status("x")).readers, other.done())
        await hub.cancel("x")
        assert ["a", "b"] == texts(await other)


async def test_an_idle_timeout_over_a_subscription_fires_and_leaves_the_others_alone(clock: object) -> None:
    got: list[Event] = []
    async with Hub() as hub:
        await hub.start("x", two_then_silence)
        async with hub.subscribe("x").open() as other:
            await anext(other)
            with pytest.raises(TimeoutError):
                async with hub.subscribe("x") | timeout(idle=3) as events:
                    async for event in events:
                        got.append(event)
            assert ["a", "b"] == texts(got)
            assert 1 == (await hub.status("x")).readers
            assert ["b"] == texts([await anext(other)])


@asyncio_only
async def test_a_task_group_that_fails_takes_its_readers_and_no_other() -> None:
    async def read(hub: Hub) -> None:
        async for _ in hub.subscribe("x"):
            continue

    async def fail() -> None:
        await turns()
        raise RuntimeError("unrelated")

    async with Hub() as hub:
        await hub.start("x", two_then_silence)
        other = asyncio.create_task(hub.subscribe("x").collect())
        with pytest.raises(ExceptionGroup) as failed:
            async with asyncio.TaskGroup() as group:
                for _ in range(3):
                    group.create_task(read(hub))
                group.create_task(fail())
        assert ["unrelated"] == [str(error) for error in failed.value.exceptions]
        await turns()
        assert 1 == (await hub.status("x")).readers
        await hub.cancel("x")
        assert ["a", "b"] == texts(await other)
