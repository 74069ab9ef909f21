"""`stream.iter()`: a stream in plain Python."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

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
