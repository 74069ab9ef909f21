"""What a consumer sees of a stream on the virtual clock: each item with its time."""

from __future__ import annotations

from typing import Any

from streamkit.flow.streams import Stream
from streamkit.testing import VirtualClock


async def arrivals(stream: Stream[Any], clock: VirtualClock, *, busy: float = 0.0) -> list[tuple[float, Any]]:
    """All items, each with the second at which it came; the consumer takes `busy` seconds for each."""
    out: list[tuple[float, Any]] = []
    async with stream as items:
        async for item in items:
            out.append((round(clock.now(), 6), item))
            if busy:
                await clock.sleep(busy)
    return out


async def arrivals_until_error(stream: Stream[Any], clock: VirtualClock) -> tuple[list[tuple[float, Any]], str]:
    """The same of a stream that fails: the items, and what the error says."""
    out: list[tuple[float, Any]] = []
    try:
        async with stream as items:
            async for item in items:
                out.append((round(clock.now(), 6), item))
    except ValueError as error:
        return out, str(error)
    raise AssertionError("the stream did not fail")
