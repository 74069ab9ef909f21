"""What went wrong with streams of several operators: each test is named after the symptom."""

from __future__ import annotations

import gc
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from unittest import mock

import anyio
import pytest

import streamkit as sk

pytestmark = pytest.mark.anyio


async def numbers(count: int = 3) -> AsyncIterator[int]:
    for number in range(count):
        yield number


async def none_left() -> AsyncIterator[int]:
    for number in range(0):
        yield number


async def look_up(item: object) -> Any:
    return await anext(none_left())


async def other_stream(error: Exception) -> list[int]:
    return [await anext(none_left())]


def same(stream: sk.Stream[Any]) -> sk.Stream[Any]:
    return stream


BOUNDARIES: dict[str, Callable[[sk.Stream[Any]], sk.Stream[Any]]] = {
    "none": same,
    "buffer": lambda stream: stream | sk.buffer(2),
    "merge": lambda stream: sk.merge(stream),
    "zip": lambda stream: sk.zip(stream),
    "race": lambda stream: sk.race(stream),
    "tee": lambda stream: sk.tee(stream, 1)[0],
    "share": lambda stream: sk.share(stream),
    "flatten": lambda stream: sk.stream(lambda: [stream]) | sk.flatten(concurrency=2),
    "concat": lambda stream: sk.concat(stream),
    "debounce": lambda stream: stream | sk.debounce(0.01),
    "take_until": lambda stream: stream | sk.take_until(anyio.sleep_forever),
    "retry": lambda stream: stream | sk.retry(2, backoff=0),
}


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("concurrency", [1, 3])
async def test_an_anext_that_finds_nothing_in_a_callable_is_no_end_of_the_stream(boundary: str, concurrency: int) -> None:
    stream = BOUNDARIES[boundary](sk.stream(numbers).map(look_up, concurrency=concurrency))
    with pytest.raises(RuntimeError, match="StopAsyncIteration"):
        await stream.collect()


async def test_a_handler_that_finds_nothing_is_no_end_of_the_stream() -> None:
    async def broken() -> AsyncIterator[int]:
        yield 1
        raise OSError("line down")

    with pytest.raises(RuntimeError, match="StopAsyncIteration"):
        await (sk.stream(broken) | sk.catch(other_stream)).collect()


class ClosedBadly:
    """A sink whose `aclose` fails."""

    def __init__(self) -> None:
        self.ends: list[BaseException | None] = []

    async def send(self, batch: list[Any]) -> None:
        await anyio.lowlevel.checkpoint()

    async def aclose(self, error: BaseException | None) -> None:
        self.ends.append(error)
        raise OSError("disk full")


async def test_a_second_sink_that_fails_to_close_is_not_closed_twice() -> None:
    sink = ClosedBadly()
    with pytest.warns(RuntimeWarning, match=r"failed with OSError in its aclose\(\)"):
        assert [0, 1, 2] == await (sk.stream(numbers) | sk.also_to(sink)).collect()
    assert [None] == sink.ends


async def asked(value: object) -> bool:
    return False


async def failing() -> AsyncIterator[int]:
    raise OSError("no route")
    yield 0


async def silent() -> AsyncIterator[int]:
    await anyio.sleep_forever()
    yield 0


@pytest.mark.parametrize(
    "stream",
    [
        lambda: sk.stream(numbers) | sk.on_end(lambda end: asked(end)),
        lambda: sk.stream(failing) | sk.retry(on=lambda error: asked(error)),
        lambda: sk.stream(failing) | sk.fallback([1], on=lambda error: asked(error)),
        lambda: sk.stream(failing) | sk.circuit_breaker(sk.CircuitBreaker(), on=lambda error: asked(error)),
        lambda: sk.stream(silent) | sk.heartbeat(0.001, lambda: asked(0)),
    ],
)
async def test_a_lambda_that_turns_out_to_be_asynchronous_is_refused_and_not_forgotten(
    stream: Callable[[], sk.Stream[Any]],
) -> None:
    with pytest.raises(TypeError, match="returned an awaitable"):
        await stream().collect()


class Response:
    """What a synchronous client gives: open from the call on."""

    def __init__(self) -> None:
        self.closed = 0

    def __iter__(self) -> Iterator[int]:
        return iter([1])

    def close(self) -> None:
        self.closed += 1


def refused() -> list[int]:
    raise OSError("no route")


TOGETHER: dict[str, Callable[[Callable[[], Any]], sk.Stream[Any]]] = {
    "merge": lambda make: sk.merge(make, refused),
    "zip": lambda make: sk.zip(make, refused),
    "combine_latest": lambda make: sk.combine_latest(make, refused),
    "interleave": lambda make: sk.interleave(make, refused),
    "race": lambda make: sk.race(refused, make),
    "retry in a merge": lambda make: sk.merge(sk.stream(make) | sk.retry(), refused),
    "tee in a merge": lambda make: sk.merge(sk.tee(sk.stream(make), 1)[0], refused),
    "share in a merge": lambda make: sk.merge(sk.share(sk.stream(make)), refused),
    "take_until": lambda make: sk.stream(make) | sk.take_until(refused),  # type: ignore[arg-type]  # it never returns
}


@pytest.mark.parametrize("operator", TOGETHER)
async def test_what_a_callable_has_opened_is_closed_when_the_next_one_cannot_be(operator: str) -> None:
    made: list[Response] = []

    def ask() -> Response:
        made.append(Response())
        return made[-1]

    stream = TOGETHER[operator](ask)
    if operator == "race":
        assert [1] == await stream.collect()
    else:
        with pytest.raises(OSError, match="no route"):
            await stream.collect()
    assert [1] == [response.closed for response in made]


async def test_a_coroutine_that_was_made_for_a_stream_that_could_not_begin_is_not_left_unawaited() -> None:
    async def ask() -> list[int]:
        return [1]

    with pytest.raises(OSError, match="no route"):
        await sk.merge(lambda: ask(), refused).collect()


async def test_what_was_given_can_still_be_read_when_its_sibling_could_not_be_opened() -> None:
    stream = sk.stream(numbers()) | sk.catch(other_stream)
    for _ in range(2):
        with pytest.raises(OSError, match="no route"):
            await sk.merge(stream, refused).collect()
    assert [0, 1, 2] == await stream.collect()


async def open_end(log: list[str]) -> AsyncIterator[int]:
    try:
        for number in range(3):
            yield number
        await anyio.sleep_forever()
    finally:
        log.append("closed")


INSIDE: dict[str, Callable[[sk.Stream[Any]], sk.Stream[Any]]] = {
    "none": same,
    "buffer": lambda stream: stream | sk.buffer(2),
    "merge": lambda stream: sk.merge(stream),
    "zip": lambda stream: sk.zip(stream),
    "concat": lambda stream: sk.concat(stream),
    "race": lambda stream: sk.race(stream),
    "hedge": lambda stream: sk.hedge(stream, after=1.0),
    "flatten": lambda stream: sk.stream(lambda: [stream]) | sk.flatten(),
    "flatten at once": lambda stream: sk.stream(lambda: [stream]) | sk.flatten(concurrency=2),
    "switch": lambda stream: sk.stream(lambda: [stream]) | sk.switch(),
    "retry": lambda stream: stream | sk.retry(),
    "catch": lambda stream: stream | sk.catch(other_stream),
    "circuit_breaker": lambda stream: stream | sk.circuit_breaker(sk.CircuitBreaker()),
    "race in a flatten": lambda stream: sk.stream(lambda: [sk.race(stream)]) | sk.flatten(concurrency=2),
}


@pytest.mark.parametrize("place", INSIDE)
@pytest.mark.parametrize("asked", [1, 3])
async def test_how_a_stream_inside_another_ended_is_told_by_how_the_outer_one_was_left(place: str, asked: int) -> None:
    told: list[tuple[str, str]] = []

    def tell(end: sk.Ended) -> None:
        told.append((end.status, type(end.error).__name__))

    stream = INSIDE[place](sk.stream(lambda: open_end([])) | sk.on_end(tell))
    async with stream.open() as items:
        for _ in range(asked):
            await anext(items)
    with pytest.raises(KeyError):
        async with stream.open() as items:
            for _ in range(asked):
                await anext(items)
            raise KeyError
    with anyio.CancelScope() as scope:
        async with stream.open() as items:
            for _ in range(asked):
                await anext(items)
            scope.cancel()
            await anyio.lowlevel.checkpoint()
    assert [("left", "NoneType"), ("error", "KeyError")] == told[:2]
    assert ["cancelled"] == [status for status, _ in told[2:]]
    assert "ReaderLeft" not in told[2]


class ClosesBadly:
    """A source without end that fails in its clean-up."""

    def __aiter__(self) -> AsyncIterator[int]:
        return self

    async def __anext__(self) -> int:
        await anyio.lowlevel.checkpoint()
        return 1

    async def aclose(self) -> None:
        raise OSError("cannot close")


@pytest.mark.parametrize("place", INSIDE)
async def test_a_clean_up_that_fails_is_told_wherever_its_source_stands(place: str) -> None:
    with pytest.raises(OSError, match="cannot close"):
        async with INSIDE[place](sk.stream(lambda: ClosesBadly())) as items:
            await anext(items)
    with pytest.raises(KeyError):
        async with INSIDE[place](sk.stream(lambda: ClosesBadly())) as items:
            await anext(items)
            raise KeyError


@pytest.mark.parametrize("place", INSIDE)
async def test_a_stream_whose_read_was_cancelled_does_not_pass_for_one_that_ended(place: str) -> None:
    async with INSIDE[place](sk.stream(lambda: open_end([]))) as items:
        with anyio.CancelScope() as scope:
            async for _ in items:
                scope.cancel()
        with pytest.raises(sk.StreamConsumed, match="cancelled"):
            await anext(items)


@pytest.mark.parametrize("place", INSIDE)
async def test_a_bare_loop_that_is_left_closes_its_source_in_every_operator(place: str) -> None:
    log: list[str] = []
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        async for _ in INSIDE[place](sk.stream(lambda: open_end(log))):
            break
        gc.collect()
        await anyio.wait_all_tasks_blocked()
    assert ["closed"] == log
    assert 1 == sum("dropped while its source was open" in str(one.message) for one in told)
    assert {"ResourceWarning"} == {one.category.__name__ for one in told}


def test_a_second_plain_loop_over_a_share_is_refused_and_does_not_hang() -> None:
    async def one_by_one() -> AsyncIterator[int]:
        for number in range(5):
            await anyio.lowlevel.checkpoint()
            yield number

    shared = sk.share(sk.stream(one_by_one), replay=2)
    first = shared.iter()
    assert 0 == next(first)
    with pytest.raises(sk.StreamBusy, match="another event loop"):
        next(shared.iter())
    assert [1, 2, 3, 4] == list(first)
    assert [3, 4] == list(shared.iter())


async def test_what_one_branch_notes_on_an_error_is_not_on_the_errors_of_the_others() -> None:
    async def cut() -> AsyncIterator[int]:
        yield 1
        error = sk.StreamTruncated("the body ended")
        error.add_note("from the source")
        raise error

    noted: list[list[str]] = []

    async def read(branch: sk.Stream[int], note: str) -> None:
        try:
            await branch.run()
        except sk.StreamTruncated as error:
            error.add_note(note)
            noted.append(error.__notes__)

    first, second = sk.tee(sk.stream(cut), 2)
    async with anyio.create_task_group() as group:
        group.start_soon(read, first, "from the first")
        group.start_soon(read, second, "from the second")
    assert [["from the source", "from the first"], ["from the source", "from the second"]] == sorted(noted)


class LikeAnArray:
    """Comparisons of it give no truth, as those of an array of many numbers."""

    def __eq__(self, other: object) -> bool:
        raise ValueError("the truth value of an array is ambiguous")

    def __bool__(self) -> bool:
        raise ValueError("the truth value of an array is ambiguous")


COMPARED: dict[str, Callable[[sk.Stream[Any]], sk.Stream[Any]]] = {
    **BOUNDARIES,
    "coalesce": lambda stream: stream | sk.coalesce(),
    "heartbeat": lambda stream: stream | sk.heartbeat(60.0),
    "delay": lambda stream: stream | sk.delay(0.001),
    "switch": lambda stream: sk.stream([stream]) | sk.switch(),
    "drop_oldest": lambda stream: stream | sk.buffer(64, overflow="drop_oldest"),
    "also_to": lambda stream: stream | sk.also_to(Kept()),
}


class Kept:
    """A sink that takes all."""

    async def send(self, batch: list[Any]) -> None:
        await anyio.lowlevel.checkpoint()

    async def aclose(self, error: BaseException | None) -> None:
        await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("boundary", [name for name in COMPARED if name not in ("debounce", "zip")])
async def test_items_are_not_compared_with_anything_of_ours(boundary: str) -> None:
    arrays = [LikeAnArray() for _ in range(50)]
    assert list(map(id, arrays)) == list(map(id, await COMPARED[boundary](sk.stream(lambda: arrays)).collect()))
    equal_to_all = [mock.ANY] * 50
    assert 50 == len(await COMPARED[boundary](sk.stream(lambda: equal_to_all)).collect())


async def test_a_retry_over_a_signal_that_serves_once_is_refused_and_does_not_hide_why_the_stream_failed() -> None:
    event = anyio.Event()
    waiting = event.wait()
    with pytest.raises(sk.ConfigError, match=r"`event\.wait` without the brackets"):
        sk.stream(failing) | sk.take_until(waiting) | sk.retry()
    with pytest.raises(OSError, match="no route"):
        await (sk.stream(failing) | sk.take_until(event.wait) | sk.retry(2, on=OSError, backoff=0)).collect()
    with pytest.raises(OSError, match="no route"):
        await (sk.stream(failing) | sk.retry(2, on=OSError, backoff=0) | sk.take_until(waiting)).collect()
