"""What a store does, in few words: the model that `check_store` compares random histories with.

It knows no time: a lease is either long, and never runs out, or short, and is over at once; nothing expires.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Mapping
from typing import Final

from streamkit.errors import Fenced, StoreError, StreamBusy, StreamkitError, UnknownStream
from streamkit.hub.stores.protocol import Chunk, Closing, Record, Store

__all__ = ["StoreModel", "history"]

LONG: Final = 3600.0
SHORT: Final = 1e-7

# In a history few names meet often.
STREAMS: Final = 3
HOLDERS: Final = ("left", "right")


class _Stream:
    def __init__(self, first_epoch: int) -> None:
        self.epoch = first_epoch
        self.holder: str | None = None
        self.busy = False
        self.chunks: list[Chunk] = []
        self.trimmed: list[Chunk] = []
        self.floor = self.head = 0
        self.over: Closing | None = None
        self.signal: str | None = None


class StoreModel:
    """The streams of a store, and what each call does to them: its answer, or the kind of error it raises."""

    def __init__(self) -> None:
        self.streams: dict[str, _Stream] = {}

    def create(self, id: str, first_epoch: int) -> object:
        """Whether it was new."""
        return self.streams.setdefault(id, made := _Stream(first_epoch)) is made

    def acquire(self, id: str, holder: str, lease: float) -> object:
        """The epoch."""
        if (one := self.streams.get(id)) is None:
            return UnknownStream
        if one.over is not None:
            return Fenced
        if one.busy and one.holder != holder:
            return StreamBusy
        one.epoch, one.holder, one.busy = one.epoch + 1, holder, lease == LONG
        return one.epoch

    def renew(self, holder: str, epochs: Mapping[str, int]) -> object:
        """Those that are lost."""
        lost: set[str] = set()
        for id, epoch in epochs.items():
            one = self.streams.get(id)
            if one is None or one.over is not None or (one.holder, one.epoch) != (holder, epoch):
                lost.add(id)
            else:
                one.busy = True
        return lost

    def append(self, id: str, chunk: Chunk | None, epoch: int, close: Closing | None) -> object:
        """None."""
        if (one := self.streams.get(id)) is None:
            return UnknownStream
        there = chunk is not None and (chunk in one.chunks or chunk.first + chunk.count <= one.floor)
        if one.over is not None:
            again = chunk is None or (there and chunk.first + chunk.count == one.head)
            return None if close == one.over and epoch == one.epoch and again else Fenced
        if one.holder is None or epoch != one.epoch:
            return Fenced
        if chunk is not None and not there:
            if chunk.first != one.head:
                return StoreError
            one.chunks.append(chunk)
            one.head += chunk.count
        if close is not None:
            one.over, one.signal = close, None
        return None

    def trim(self, id: str, floor: int, epoch: int) -> object:
        """None."""
        if (one := self.streams.get(id)) is None:
            return UnknownStream
        if one.over is not None or one.holder is None or epoch != one.epoch:
            return Fenced
        one.trimmed += [chunk for chunk in one.chunks if chunk.first + chunk.count <= floor]
        one.chunks = [chunk for chunk in one.chunks if chunk.first + chunk.count > floor]
        one.floor = one.chunks[0].first if one.chunks else one.head
        return None

    def read(self, id: str, first: int) -> object:
        """What is there from this offset on."""
        if (one := self.streams.get(id)) is None:
            return UnknownStream
        return [chunk for chunk in one.chunks if chunk.first + chunk.count > first]

    def get(self, id: str) -> object:
        """What is known of it."""
        if (one := self.streams.get(id)) is None:
            return None
        state, reason = ("running", None) if one.over is None else (one.over.state, one.over.reason)
        size = sum(len(chunk.data) for chunk in one.chunks)
        return one.epoch, one.holder, one.floor, one.head, size, state, reason

    def signal(self, id: str, reason: str) -> object:
        """Whether anybody will hear it."""
        one = self.streams.get(id)
        if one is None or one.over is not None or one.holder is None:
            return False
        one.signal = one.signal or reason
        return True

    def signals(self, holder: str) -> object:
        """Those for this holder."""
        found: set[tuple[str, str]] = set()
        for id, one in self.streams.items():
            if one.holder == holder and one.signal is not None:
                found.add((id, one.signal))
                one.signal = None
        return found

    def delete(self, id: str) -> object:
        """None."""
        self.streams.pop(id, None)
        return None


async def history(store: Store, chance: random.Random, prefix: str, calls: int) -> None:
    """So many random calls to a store and to the model.

    Raises:
        AssertionError: a call gave something else than the model; it names the call.
    """
    model = StoreModel()
    holders = [f"{prefix}{name}" for name in HOLDERS]
    for step in range(calls):
        id = f"{prefix}{chance.randrange(STREAMS)}"
        holder = chance.choice(holders)
        one = model.streams.get(id) or _Stream(1)
        epoch = one.epoch if chance.random() < 0.9 else max(one.epoch - 1, 0)
        match _some_kind(chance, model.streams.get(id)):
            case "create":
                first_epoch = chance.randrange(1, 1000)
                call = f"create({id!r}, first_epoch={first_epoch})"
                got = await _outcome(store.create(id, owner=None, metadata={}, first_epoch=first_epoch))
                expected = model.create(id, first_epoch)
            case "acquire":
                lease = chance.choice((LONG, SHORT))
                call = f"acquire({id!r}, holder={holder!r}, lease={lease})"
                got = await _outcome(store.acquire(id, holder=holder, lease=lease))
                expected = model.acquire(id, holder, lease)
            case "renew":
                call = f"renew({holder!r}, {{{id!r}: {epoch}}})"
                got = await _outcome(store.renew(holder, {id: epoch}, lease=LONG))
                expected = model.renew(holder, {id: epoch})
            case "append":
                chunk, close = _some_append(chance, one, epoch)
                epoch = epoch if chunk is None else chunk.epoch
                call = f"append({id!r}, {chunk}, epoch={epoch}, close={close})"
                got = await _outcome(store.append(id, chunk, epoch=epoch, close=close))
                expected = model.append(id, chunk, epoch, close)
            case "trim":
                floor = chance.randrange(one.head + 3)
                call = f"trim({id!r}, {floor}, epoch={epoch})"
                got = await _outcome(store.trim(id, floor, epoch=epoch))
                expected = model.trim(id, floor, epoch)
            case "read":
                first = chance.randrange(one.head + 3)
                call = f"read({id!r}, {first})"
                got = await _outcome(_all_from(store, id, first))
                expected = model.read(id, first)
            case "signal":
                call = f"signal({id!r}, reason={step})"
                got = await _outcome(store.signal(id, "cancel", str(step)))
                expected = model.signal(id, str(step))
            case "signals":
                call = f"signals({holder!r})"
                got = await _outcome(_signals(store, holder))
                expected = model.signals(holder)
            case _:
                call = f"delete({id!r})"
                got = await _outcome(store.delete(id))
                expected = model.delete(id)
        assert got == expected, f"call {step}, {call}: expected {expected}, and it gave {got}"
        known = _known(await store.get(id))
        assert known == model.get(id), f"after call {step}, {call}: expected {model.get(id)}, and the store says {known}"
    for id in model.streams:
        rest = await _outcome(_all_from(store, id, 0))
        assert rest == model.read(id, 0), f"at the end of {id!r}: expected {model.read(id, 0)}, and it gave {rest}"
        await store.delete(id)


KINDS: Final = ("create", "acquire", "renew", "append", "trim", "read", "signal", "signals", "delete")
WEIGHTS: Final = (3, 4, 5, 50, 8, 10, 6, 5, 2)


def _some_kind(chance: random.Random, one: _Stream | None) -> str:
    # Most streams are to be written, and those that are over to make room.
    if chance.random() < 0.6:
        if one is None:
            return "create"
        if one.holder is None:
            return "acquire"
        if one.over is not None and chance.random() < 0.3:
            return "delete"
    return chance.choices(KINDS, WEIGHTS)[0]


def _some_append(chance: random.Random, one: _Stream, epoch: int) -> tuple[Chunk | None, Closing | None]:
    close = Closing(chance.choice(("done", "error")), chance.choice((None, "why")), LONG) if chance.random() < 0.05 else None
    if one.over is not None and chance.random() < 0.5:
        close = one.over
    kind = chance.random()
    if close is not None and kind < 0.3:
        return None, close
    if kind < 0.75:
        return Chunk(one.head, chance.randrange(1, 4), epoch, chance.randbytes(chance.randrange(1, 30))), close
    if kind < 0.9 and one.head:
        written = [*one.trimmed, *one.chunks]
        return chance.choice((written[-1], chance.choice(written))), close
    return Chunk(chance.randrange(one.head + 3), chance.randrange(1, 4), epoch, b"elsewhere"), close


async def _outcome(call: Awaitable[object]) -> object:
    try:
        return await call
    except StreamkitError as error:
        return type(error)


async def _all_from(store: Store, id: str, first: int) -> list[Chunk]:
    """Page by page, and small ones."""
    found: list[Chunk] = []
    while chunks := (await store.read(id, first, max_bytes=40)).chunks:
        found += chunks
        assert chunks[-1].first + chunks[-1].count > first, f"a page from {first} on has nothing from there: {chunks}"
        first = chunks[-1].first + chunks[-1].count
    return found


async def _signals(store: Store, holder: str) -> set[tuple[str, str | None]]:
    return {(one.id, one.reason) for one in await store.signals(holder, seconds=0)}


def _known(record: Record | None) -> object:
    if record is None:
        return None
    return record.epoch, record.holder, record.floor, record.head, record.bytes, record.state, record.reason
