"""What the tests of `serve` let it serve."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import streamkit as sk

SECRET = "sk-SECRET /etc/passwd"
nothing_callable = sk.stream(["Hi"])
model = sk.model("local", pace=None)


async def echo(prompt: str) -> AsyncIterator[str]:
    if prompt == "fail":
        raise sk.OverloadedError(SECRET)
    for word in ("You said ", prompt, "."):
        yield word


def of_nothing() -> sk.Stream[str]:
    return sk.stream(["H", "i"])


def of_two(prompt: str, other: str) -> list[str]:
    return [prompt, other]


async def endless(prompt: str) -> AsyncIterator[str]:
    yield "first"
    await asyncio.Event().wait()
