"""Any async generator gets a pipeline, back-pressure and a clean end.

    python examples/wrap_any_generator.py

The generator knows nothing of streamkit. Leaving the block early still runs its `finally`, before the
line after the block, in the task that iterated it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import streamkit as sk


async def chunks() -> AsyncIterator[str]:
    """Somebody's generator: a model's answer, cut anywhere."""
    try:
        for chunk in ("Water boi", "ls at 100 °C. At 3.5 k", "m it boils at 88 °C. ", "Salt cha", "nges little."):
            await asyncio.sleep(0)
            yield chunk
    finally:
        print("the source is closed")


async def main() -> None:
    sentences = sk.stream(chunks()) | sk.sentences() | sk.buffer(8)
    async with sentences as items:
        async for sentence in items:
            print(sentence.strip())
            if "boils at" in sentence:
                break
    print("after the block")

    # A callable makes a new source for each run, so this plan can be run again and again.
    plan = sk.stream(chunks).map(str.upper) | sk.timeout(idle=5)
    print(await plan.join())


if __name__ == "__main__":
    asyncio.run(main())
