"""Operators that end a stream from outside."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from typing import Any, TypeAlias

from streamkit.flow.channel import Channel
from streamkit.flow.fuse import Enough
from streamkit.flow.plan import Same, describe
from streamkit.flow.runs import Run
from streamkit.flow.siblings import Plan
from streamkit.flow.sources import Feed, Source
from streamkit.flow.strands import OwnLimits, Strand
from streamkit.flow.streams import stream

__all__ = ["Signal", "take_until"]

Signal: TypeAlias = "Awaitable[object] | AsyncIterable[object] | Callable[[], Awaitable[object] | AsyncIterable[object]]"


def take_until(signal: Signal) -> Same:
    """Items until a signal comes.

    Args:
        signal: An awaitable (`event.wait()`, a task), whose completion counts; or a stream, whose first item does, and
            not its end; or a zero-argument callable that makes one of these, for a stream that can be run again.
            It is waited for in a task of its own, from the first read on.

    Yields:
        The items up to the signal. Then it ends and the source is closed, wherever it waits; what was read ahead and
        nobody has taken is dropped.

    Memory: 16 items read ahead.
    Cancellation: the source is closed. A coroutine that is waited for is cancelled and a stream is closed, at the end
        too; a task or future belongs to whoever made it, and goes on. One that was cancelled counts as complete.
    Raises:
        TypeError: no signal, at the call.
        An error of the signal: behind the items before it.

    >>> async def main():
    ...     stop = asyncio.Event()
    ...     stop.set()
    ...     return await (stream([1, 2, 3]) | take_until(stop.wait())).collect()
    >>> run(main())
    []
    """
    return Same(_Until(signal))


# Items read ahead of the consumer: a task switch for each would cost ten times as much.
AHEAD = 16


class _Until:
    """`take_until` in a plan."""

    def __init__(self, signal: Any) -> None:
        self._signal = _plan_of(signal)
        self.label = f"take_until({self._signal[0].label})"
        # Whether it serves one Run only; asked by `retry`.
        self.once = not self._signal[0].repeatable

    def connect(self, strand: Strand, run: Run[Any]) -> Strand:
        channel: Channel[Any] = Channel(AHEAD)
        bell: Channel[Any] = Channel(1)

        append = channel.buffer.append

        def ring(item: object) -> None:
            if not channel.ended:
                channel.drop()
                channel.end()
            raise Enough

        def offer(item: object) -> None:
            if channel.ended:
                raise Enough
            append(item)

        def finish(error: BaseException | None) -> None:
            """The source is over: what goes wrong in it after the signal is nobody's concern."""
            if not channel.ended:
                if error is not None:
                    channel.fail(error)
                channel.end()

        def signal_over(error: BaseException | None) -> None:
            if error is not None:
                finish(error)

        def close() -> None:
            bell.close()
            channel.close()

        # Begun before the source, so that a signal that is there already lets nothing through.
        signal = run.pump(run.strand(*self._signal), bell, self.label)
        signal.offer = ring
        signal.finish = signal_over
        source = run.pump(strand, channel, self.label)
        source.offer = offer
        source.finish = finish
        return Strand(Feed(channel, shape="drains", closers=[(self.label, close)]), run)


def _plan_of(signal: Any) -> Plan:
    if inspect.isawaitable(signal):
        return Source(_label(signal), lambda run: _awaited(signal)), ()
    if hasattr(signal, "__aiter__") and not isinstance(signal, type):
        return stream(signal).plan
    if callable(signal):
        return Source(f"{describe(signal)}()", lambda run: _made(signal, run), repeatable=True), ()
    raise TypeError(
        f"take_until() takes an awaitable, a stream, or a callable that makes one of them, got {type(signal).__name__}; "
        "of an event give `event.wait()`"
    )


def _made(make: Callable[[], Any], run: Run[Any]) -> Feed:
    made = make()
    if not inspect.isawaitable(made) and not hasattr(made, "__aiter__"):
        raise TypeError(f"take_until(): {describe(make)} returned a {type(made).__name__}, which is no awaitable and no stream")
    inner = run.inside(*_plan_of(made))
    items = inner.__aiter__()
    feed = Feed(items, closers=[(describe(make), OwnLimits(inner.aclose))])
    feed.forget = feed.close_unasked
    return feed


def _label(signal: object) -> str:
    name = getattr(signal, "__qualname__", None)
    return name.rpartition("<locals>.")[2] if isinstance(name, str) else type(signal).__name__


def _awaited(signal: Awaitable[object]) -> Feed:
    """An awaitable as a source of one item."""
    items = _one_item(signal)

    def drop() -> None:
        # Never awaited: closed, or the interpreter would complain about it.
        if inspect.iscoroutine(signal) and inspect.getcoroutinestate(signal) == inspect.CORO_CREATED:
            signal.close()

    return Feed(items, closers=[(_label(signal), drop), (_label(signal), items.aclose)])


async def _one_item(signal: Awaitable[object]) -> AsyncGenerator[object]:
    if isinstance(signal, asyncio.Future):
        await asyncio.wait([signal])
        if not signal.cancelled():
            signal.result()
        yield None
    else:
        yield await signal
