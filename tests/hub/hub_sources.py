"""What the tests of the hub give it to run, and how they read what comes out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import streamkit as sk
from streamkit.events.model import Event, Finish, TextDelta
from streamkit.flow.tasks import current_backend
from streamkit.hub.hub import Hub

WORDS = ["Hel", "lo", " you"]


def deltas(*texts: str) -> list[TextDelta]:
    return [TextDelta(text) for text in texts]


def answer(*texts: str, reason: Any = "stop") -> list[Event]:
    """What a reader gets of a source that gives these texts and ends."""
    return [*deltas(*texts), Finish(reason)]


async def turns(count: int = 12) -> None:
    """Let everybody else go on, as far as that goes without time."""
    backend = current_backend()
    for _ in range(count):
        await backend.checkpoint()


class Source:
    """Gives what it is told to, when it is told to; counts how often it was run and closed."""

    def __init__(self) -> None:
        self.sender, self._items = sk.channel(1000)
        self.runs = 0
        self.closed = 0

    async def __call__(self) -> AsyncIterator[Any]:
        self.runs += 1
        try:
            async with self._items as items:
                async for item in items:
                    yield item
        finally:
            self.closed += 1

    async def give(self, *items: Any) -> None:
        """Give these, and let everybody see them."""
        for item in items:
            self.sender.push(item)
        await turns()

    async def end(self) -> None:
        self.sender.close()
        await turns()

    async def fail(self, error: BaseException) -> None:
        self.sender.fail(error)
        await turns()


class Reading:
    """What one reader got, and how it ended: None for an end, or the error."""

    def __init__(self, stream: sk.Stream[Any]) -> None:
        self.stream = stream
        self.got: list[Any] = []
        self.error: BaseException | None = None
        self.over = False

    async def __call__(self, leave_at: int | None = None, then: Callable[[], Any] | None = None) -> None:
        try:
            async with self.stream.open() as items:
                async for item in items:
                    self.got.append(item)
                    if len(self.got) == leave_at:
                        if then is not None:
                            await then()
                        break
            self.over = True
        except Exception as error:
            self.error = error
            self.over = True

    @property
    def text(self) -> str:
        return "".join(event.text for event in self.got if isinstance(event, TextDelta))


async def events_of(hub: Hub, id: str, **options: Any) -> list[Event]:
    return await hub.subscribe(id, **options).collect()
