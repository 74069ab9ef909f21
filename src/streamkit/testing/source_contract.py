"""`check_source`: what a stream asks of a source, tried out at every step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from streamkit.flow.clock import current_clock
from streamkit.flow.streams import Stream, stream
from streamkit.flow.tasks import current_backend
from streamkit.operators.buffering import buffer
from streamkit.testing.contract import Report, Suite, Way, cancelled, ways

__all__ = ["check_source"]

# Virtual seconds within which a source must have closed.
CLOSE_WITHIN = 5.0


class BodyFailed(Exception):  # reads as what happened, in the reports of failed checks
    """What a check's consumer raises."""


async def check_source(
    make_source: Callable[[], Any],
    *,
    items: Sequence[Any] | None = None,
    is_closed: Callable[[Any], bool] | None = None,
) -> Report:
    """Hold a source to the contract, on the event loop that runs.

    It is read to its end, left, and cancelled at every step, by the consumer's own task and behind a
    buffer; it must end, close when it is told, let a cancel through, and leave nothing behind.

    Args:
        make_source: Makes a new source of few items each time: anything `sk.stream` takes.
        items: What it gives; None takes what the first reading gives.
        is_closed: Whether what `make_source` made has been closed; None does not look.

    Memory: the items, twice.
    Cancellation: passes through.
    Raises:
        ContractBroken: an AssertionError that names the rule.

    >>> import asyncio
    >>> async def letters():
    ...     for letter in "abc":
    ...         yield letter
    >>> asyncio.run(check_source(letters, items="abc")).rules
    [1, 2, 3]
    """
    check = _SourceCheck(make_source, is_closed)
    await check.ends(items)
    await check.is_left()
    await check.is_cancelled()
    return await check.suite.finish()


class _SourceCheck:
    """One maker of sources, and what they give."""

    def __init__(self, make: Callable[[], Any], is_closed: Callable[[Any], bool] | None) -> None:
        self.make = make
        self.is_closed = is_closed
        self.items: list[Any] = []
        self.suite = Suite(getattr(make, "__qualname__", repr(make)))

    def over(self, source: Any, buffered: bool) -> Stream[Any]:
        """The source as a stream, read by the consumer's task or by one of its own."""
        made: Stream[Any] = stream(source)
        return made | buffer(1) if buffered else made

    def closed(self, source: Any) -> None:
        """Rule 2, where the source can tell."""
        assert self.is_closed is None or self.is_closed(source), "it was not closed when control came back"

    async def ends(self, items: Sequence[Any] | None) -> None:
        async def first() -> None:
            source = self.make()
            self.items = await self.over(source, False).collect()
            self.closed(source)
            if items is not None:
                assert self.items == list(items), f"expected {list(items)}, and {self.items} came"

        await self.suite.case(2, "a source that ends, ends, and is closed", first)
        for buffered in (False, True):

            async def again(buffered: bool = buffered) -> None:
                source = self.make()
                out = await self.over(source, buffered).collect()
                self.closed(source)
                assert out == self.items, f"one gave {self.items}, the next {out}"

            await self.suite.case(1, "each source is new, and gives the same in any task", again)

            async def never_read(buffered: bool = buffered) -> None:
                source = self.make()
                async with self.over(source, buffered).open():
                    pass

            await self.suite.case(2, "a source that nobody reads leaves nothing behind", never_read)

    async def is_left(self) -> None:
        for buffered in (False, True):
            for k in range(1, len(self.items) + 1):

                async def left(k: int = k, buffered: bool = buffered) -> None:
                    source = self.make()
                    out: list[Any] = []
                    async with self.over(source, buffered).open() as run:
                        async for item in run:
                            out.append(item)
                            if len(out) == k:
                                break
                        leaving = _now()
                    assert _now() - leaving <= CLOSE_WITHIN, f"it took {_now() - leaving:g} s to close"
                    self.closed(source)
                    assert out == self.items[:k], f"{out} came"

                await self.suite.case(2, "a source that is left closes at once", left)

                async def failed(k: int = k, buffered: bool = buffered) -> None:
                    source = self.make()
                    failure = BodyFailed(f"at item {k}")
                    taken = 0
                    try:
                        async with self.over(source, buffered).open() as run:
                            async for _ in run:
                                taken += 1
                                if taken == k:
                                    raise failure
                    except BodyFailed as error:
                        assert error is failure
                    else:
                        raise AssertionError("the consumer's error was lost")
                    self.closed(source)

                await self.suite.case(3, "a consumer's error passes the source untouched", failed)

    async def is_cancelled(self) -> None:
        for way in ways():
            for buffered in (False, True):
                for k in range(len(self.items) + 1):

                    async def run(k: int = k, buffered: bool = buffered, way: Way = way) -> None:
                        source = self.make()

                        async def body(cancel: Callable[[], object]) -> None:
                            taken = 0
                            async with self.over(source, buffered).open() as items:
                                if k == 0:
                                    cancel()
                                async for _ in items:
                                    taken += 1
                                    if taken == k:
                                        cancel()
                            # A source that never waits ends before the cancel can be delivered: it is, here.
                            await current_backend().waiter().wait()

                        assert await cancelled(way, body), "the cancel was swallowed"
                        self.closed(source)

                    await self.suite.case(2, f"a cancel ({way}) goes through the source and closes it", run)


def _now() -> float:
    return current_clock().now()
