"""Bad input: each gives one typed, readable error at the earliest moment, and keeps what had come."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anyio
import pytest

import streamkit as sk
from streamkit.events import Finish, TextDelta
from streamkit.testing import Probe, ScriptedModel, VirtualClock

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("value", ["text", b"bytes", bytearray(b"x"), memoryview(b"x")])
async def test_text_as_a_source_is_refused_at_the_call(value: object) -> None:
    with pytest.raises(TypeError, match="is not a stream"):
        sk.stream(value)  # type: ignore[call-overload]  # on purpose


@pytest.mark.parametrize("value", [3, None, object(), lambda needed: [needed]])
async def test_what_cannot_be_iterated_is_refused_at_the_call(value: object) -> None:
    with pytest.raises(TypeError, match=r"cannot stream|without arguments"):
        sk.stream(value)  # type: ignore[call-overload]  # on purpose


@pytest.mark.parametrize("k", [0, 1, 2])
@pytest.mark.parametrize("terminal", ["collect", "run", "last", "join"])
async def test_a_source_that_raises_at_item_k_raises_once_from_every_terminal(k: int, terminal: str) -> None:
    failure = OSError("broken")
    probe = Probe(["a", "b"][:k], error=failure)
    with pytest.raises(OSError, match="broken") as caught:
        await getattr(sk.stream(probe), terminal)()
    assert caught.value is failure
    assert (1, True) == (probe.closed, probe.one_task)


async def test_an_error_of_our_own_carries_what_had_come() -> None:
    with pytest.raises(sk.StreamTruncated) as caught:
        await ScriptedModel("Hel", "lo", sk.StreamTruncated("cut off")).stream().message()
    assert isinstance(caught.value.partial, sk.Message)
    assert "Hello" == caught.value.partial.text


async def test_a_run_keeps_what_had_come_before_a_foreign_error() -> None:
    with pytest.raises(ValueError, match="foreign"):
        await sk.stream(Probe([1, 2], error=ValueError("foreign"))).collect()


async def test_a_consumed_source_is_named_the_second_time() -> None:
    stream = sk.stream(Probe([1]))
    assert [1] == await stream.collect()
    with pytest.raises(sk.StreamConsumed, match=r"Probe was consumed by an earlier Run.*lambda: make_source"):
        await stream.collect()


async def test_any_item_passes_through_unless_a_terminal_cannot_take_it() -> None:
    items: list[Any] = [None, "", 0, b"", float("nan"), "x" * 1_000_000, object()]
    assert items == await sk.stream(items).map(lambda item: item).collect()
    with pytest.raises(TypeError, match="join\\(\\) joins text, and got a int"):
        await sk.stream(["a", 1]).join()
    with pytest.raises(TypeError, match="message\\(\\) folds events, and got a str"):
        await sk.stream(["a"]).message()


async def test_a_plain_callable_that_gives_an_awaitable_is_told_at_its_first_result() -> None:
    async def upper(item: str) -> str:
        return item.upper()

    probe = Probe(["a", "b"])
    with pytest.raises(TypeError, match="async def"):
        await sk.stream(probe).map(lambda item: upper(item)).collect()
    assert (1, 1) == (probe.given, probe.closed)


async def test_a_callable_that_returns_something_else_is_named() -> None:
    def wrong() -> int:
        return 3

    with pytest.raises(TypeError, match="wrong returned a int, which cannot be streamed"):
        await sk.stream(wrong).collect()  # type: ignore[arg-type]  # on purpose


async def test_a_sync_generator_that_blocks_for_ever_times_out_and_is_abandoned(clock: VirtualClock) -> None:
    release = threading.Event()

    def blocks() -> Iterator[int]:
        yield 1
        release.wait(30)

    got: list[int] = []
    try:
        with pytest.warns(ResourceWarning, match="blocks"), pytest.raises(sk.StreamTimeout):
            async with (sk.stream(blocks()) | sk.timeout(idle=1)).close_within(0.5) as items:
                async for item in items:
                    got.append(item)
    finally:
        release.set()
    assert [1] == got


async def test_a_source_that_never_ends_can_be_cancelled() -> None:
    async def endless() -> AsyncIterator[int]:
        while True:
            yield 1

    count = 0
    with anyio.CancelScope() as scope:
        async with sk.stream(endless()).map(str) as items:
            async for _ in items:
                count += 1
                if count == 5000:
                    scope.cancel()
    assert scope.cancelled_caught
    assert count < 5000 + 1100


WRONG: list[Callable[[], object]] = [
    lambda: sk.stream([1]).map(None),  # type: ignore[call-overload]  # on purpose
    lambda: sk.stream([1]).take(1.5),  # type: ignore[arg-type]  # on purpose
    lambda: sk.stream([1]).batch(0),
    lambda: sk.stream([1]).close_within(0),
    lambda: sk.stream([1]).batch(2, within=-1),
    lambda: sk.channel(0),
    lambda: sk.merge(),
    lambda: sk.timeout(first=float("nan")),
]


@pytest.mark.parametrize("call", WRONG)
async def test_wrong_arguments_are_said_at_the_call(call: Callable[[], object]) -> None:
    with pytest.raises((TypeError, sk.ConfigError)):
        call()


async def test_a_sink_that_is_none_is_refused_before_the_source_is_opened() -> None:
    probe = Probe([1])
    with pytest.raises(TypeError, match="takes a sink"):
        await sk.stream(probe).to(object())  # type: ignore[arg-type]  # on purpose
    assert 0 == probe.asked


async def test_terminals_of_an_empty_stream_say_so() -> None:
    with pytest.raises(LookupError, match="empty stream"):
        await sk.stream([]).first()
    assert ("none", "none", [], "", 7) == (
        await sk.stream([]).first("none"),
        await sk.stream([]).last("none"),
        await sk.stream([]).collect(),
        await sk.stream([]).join(),
        await sk.stream([]).reduce(lambda a, b: a, 7),
    )


async def test_terminals_give_what_they_say() -> None:
    events = [TextDelta("a"), TextDelta("b"), Finish()]
    assert 1 == await sk.stream([1, 2, 3]).first()
    assert 3 == await sk.stream([1, 2, 3]).last()
    assert 6 == await sk.stream([1, 2, 3]).reduce(lambda total, n: total + n, 0)
    assert "ab" == await sk.stream(events).join()
    assert "ab" == (await sk.stream(events).message()).text
