"""How much memory a stream holds while it runs, and whether that grows with the number of its items."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import AsyncIterator, Callable
from typing import Any

from streamkit.flow.plan import Op, Same
from streamkit.flow.streams import Stream, stream

# Items of the first look, when all buffers are full and all caches warm, and of the second.
FEW, MANY = 2_000, 12_000


async def growth(
    op: Op[Any, Any] | Same | Callable[[Stream[Any]], Stream[Any]],
    make: Callable[[int], object] = str,
    *,
    few: int = FEW,
    many: int = MANY,
) -> float:
    """By how many bytes the memory of a running stream grows for each million of items.

    Args:
        op: An operator, or a callable that puts one on a stream.
        make: Gives the n-th item; a new object each time, so that one that is kept shows.
        few: Items after which memory is looked at.
        many: Items after which it is looked at a second time.
    """
    sizes: list[int] = []

    async def source() -> AsyncIterator[object]:
        for number in range(many + 1):
            if number in (few, many):
                gc.collect()
                sizes.append(tracemalloc.get_traced_memory()[0])
            yield make(number)

    plan = stream(source)
    tracemalloc.start()
    try:
        await (plan | op if isinstance(op, Op | Same) else op(plan)).run()
    finally:
        tracemalloc.stop()
    before, after = sizes
    return (after - before) / (many - few) * 1_000_000
