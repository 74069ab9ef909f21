"""`stream.iter()`: a stream in plain Python."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Iterator

import pytest

import streamkit as sk
from streamkit.testing import Probe


def test_a_script_iterates_a_stream_and_its_source_is_closed() -> None:
    probe = Probe([1, 2, 3])
    assert ["1", "2", "3"] == list(sk.stream(probe).map(str).iter())
    assert (1, True) == (probe.closed, probe.one_task)


def test_a_loop_that_is_broken_off_closes_the_source() -> None:
    probe = Probe([1, 2, 3])
    items = sk.stream(probe).map(str).iter()
    for _ in items:
        break
    items.close()  # type: ignore[attr-defined]  # a generator
    assert (1, True) == (probe.closed, probe.one_task)


@pytest.mark.parametrize("buffered", [False, True])
def test_an_error_of_the_source_comes_out_of_the_loop(buffered: bool) -> None:
    probe = Probe([1], error=OSError("broken"))
    got: list[int] = []
    stream = sk.stream(probe)
    with pytest.raises(OSError, match="broken"):
        for item in (stream | sk.buffer(2) if buffered else stream).iter():
            got.append(item)
    assert ([1], 1) == (got, probe.closed)


def test_an_interrupt_in_the_body_closes_the_source() -> None:
    probe = Probe([1, 2, 3])
    items = sk.stream(probe).iter()
    with pytest.raises(KeyboardInterrupt):
        for _ in items:
            raise KeyboardInterrupt
    items.close()  # type: ignore[attr-defined]  # a generator
    assert 1 == probe.closed


async def numbers() -> AsyncIterator[int]:
    for number in range(3):
        await asyncio.sleep(0)
        yield number


def test_inside_a_running_loop_only_a_callable_is_taken() -> None:
    async def main() -> list[int]:
        with pytest.raises(sk.ConfigError, match="zero-argument callable"):
            sk.stream(Probe([1])).iter()
        return list(sk.stream(numbers).iter())

    assert [0, 1, 2] == asyncio.run(main())


def threads_of(stream: sk.Stream[threading.Thread]) -> set[threading.Thread]:
    return set(stream.iter())


def test_a_source_that_blocks_is_read_by_the_script_itself_unless_something_needs_the_event_loop_meanwhile() -> None:
    def source() -> Iterator[threading.Thread]:
        for _ in range(3):
            yield threading.current_thread()

    here = threading.current_thread()
    assert {here} == threads_of(sk.stream(source).filter(bool))
    for op in (sk.buffer(2), sk.timeout(idle=60), sk.map(same)):
        threads = threads_of(sk.stream(source) | op)
        assert 1 == len(threads)
        assert here not in threads


async def same(thread: threading.Thread) -> threading.Thread:
    return thread


def test_a_script_whose_source_blocks_too_long_is_still_timed_out() -> None:
    never = threading.Event()

    class Silent:
        def __iter__(self) -> Iterator[int]:
            yield 1
            never.wait(120)

        def close(self) -> None:
            never.set()

    got: list[int] = []
    with pytest.raises(sk.StreamTimeout):
        for item in (sk.stream(Silent()) | sk.timeout(first=60, idle=0.05)).iter():
            got.append(item)
    assert ([1], True) == (got, never.is_set())


def test_merged_sources_that_wait_for_each_other_do_not_stand_in_each_others_way() -> None:
    told = threading.Event()

    def first() -> Iterator[bool]:
        yield told.wait(120)

    def second() -> Iterator[bool]:
        yield True
        told.set()

    assert [True, True] == list(sk.merge(sk.stream(first), sk.stream(second)).iter())


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_what_interrupts_a_source_that_blocks_closes_it_and_comes_out(error: type[BaseException]) -> None:
    closed: list[str] = []

    def source() -> Iterator[int]:
        try:
            yield 1
            raise error
        finally:
            closed.append("source")

    got: list[int] = []
    with pytest.raises(error):
        for item in sk.stream(source()).map(abs).iter():
            got.append(item)
    assert ([1], ["source"]) == (got, closed)


def test_leaving_closes_a_source_that_blocks_and_what_it_stands_on() -> None:
    closed: list[str] = []

    class Body:
        def __iter__(self) -> Iterator[int]:
            try:
                yield from range(9)
            finally:
                closed.append("generator")

        def close(self) -> None:
            closed.append("body")

    items = sk.stream(Body()).iter()
    assert 0 == next(items)
    items.close()  # type: ignore[attr-defined]  # a generator
    assert ["body", "generator"] == closed


@pytest.mark.parametrize("op", [sk.map(abs), sk.buffer(2), sk.timeout(idle=60)])
def test_an_interrupt_of_a_script_that_waits_for_a_silent_source_ends_it_and_closes_the_source(op: sk.Same) -> None:
    closed: list[str] = []

    async def one_and_then_silence() -> AsyncIterator[int]:
        try:
            yield 1
            # The interrupt comes while the loop waits; the guard ends a run that swallows it.
            asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGINT)
            async with asyncio.timeout(60):
                await asyncio.Event().wait()
        finally:
            closed.append("closed")

    got: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        for item in (sk.stream(one_and_then_silence) | op).iter():
            got.append(item)
    assert ["closed"] == closed
    assert got in ([1], [])  # what a buffer held when the interrupt came is dropped


def test_a_clean_up_that_fails_when_a_script_leaves_is_told() -> None:
    async def source() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            raise OSError("cannot close")

    items = sk.stream(source).iter()
    assert 1 == next(items)
    with pytest.raises(OSError, match="cannot close"):
        items.close()  # type: ignore[attr-defined]  # a generator
