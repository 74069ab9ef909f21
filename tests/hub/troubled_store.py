"""A store as one process sees it: its own way to what all have in common, and what may go wrong on that way.

store = shared_store(clock, monkeypatch) what all hubs of a test have in common, on virtual time
link = link_to(store)                    a way to it that answers in the turn in which it is asked
link = Link(store, turn=checkpoint)      a connection; what is asked goes through, one turn before and one after
link.trouble = fails_often               told each call's name; what it returns happens to the call
link.dead = True                         the process is gone: nothing is asked any more, no answer comes in
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, Literal, TypeAlias

import anyio
import pytest

from streamkit.errors import StoreError
from streamkit.hub import following, registry
from streamkit.hub.stores.memory import MemoryStore
from streamkit.hub.stores.protocol import Store
from streamkit.testing.clock import VirtualClock

UNIX = 1_700_000_000.0

Trouble: TypeAlias = Literal["away", "broken", "unanswered", "hangs"] | None

CALLS = (
    "create",
    "acquire",
    "renew",
    "append",
    "read",
    "wait",
    "signal",
    "signals",
    "get",
    "list",
    "trim",
    "delete",
    "sweep",
)


class Link:
    """One hub's way to a store that it shares with others.

    Args:
        store: What they share; closing the link leaves it open.
        turn: Awaited before and after each call.
        hang: Awaited by a call that never gets an answer.

    Attributes:
        trouble: What becomes of a call, by its name: "away" (not done, may work later), "broken" (not done, for good),
            "unanswered" (done, but who asked is told that it was not), "hangs", None.
        dead: Whether this process is gone.
        asked: How many calls went in, by name.
        troubled: How many of them went wrong.
        closed: Whether the hub has let go of it.
    """

    def __init__(self, store: Store, *, turn: Callable[[], Awaitable[None]], hang: Callable[[], Awaitable[None]]) -> None:
        self.store = store
        self.trouble: Callable[[str], Trouble] = lambda name: None
        self.dead = False
        self.closed = False
        self.asked: dict[str, int] = dict.fromkeys(CALLS, 0)
        self.troubled = 0
        self._turn = turn
        self._hang = hang

    def __getattr__(self, name: str) -> Any:
        if name not in CALLS:
            raise AttributeError(name)
        call = getattr(self.store, name)

        async def through(*args: Any, **options: Any) -> Any:
            self.asked[name] += 1
            trouble = self.trouble(name)
            self.troubled += trouble is not None
            await self._turn()
            if trouble == "hangs":
                await self._hang()
            self._check(trouble if trouble != "unanswered" else None)
            answer = await call(*args, **options)
            await self._turn()
            self._check(trouble)
            return answer

        return through

    async def aclose(self) -> None:
        self.closed = True

    def _check(self, trouble: Trouble) -> None:
        if self.dead:
            raise StoreError("this process is gone")
        if trouble is not None:
            raise StoreError(f"the store is {trouble}", retryable=trouble != "broken")


def shared_store(clock: VirtualClock, monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    """A store, and the wall clock of hubs with it, that go by the virtual clock: its zero is UNIX."""

    def now() -> float:
        return UNIX + clock.now()

    for module in (registry, following):
        monkeypatch.setattr(module, "time", SimpleNamespace(time=now))
    return MemoryStore(clock_time=now)


async def no_turn() -> None:
    """The store answers in the turn in which it is asked."""


def link_to(store: Store, *, turn: Callable[[], Awaitable[None]] = no_turn) -> Link:
    return Link(store, turn=turn, hang=anyio.sleep_forever)
