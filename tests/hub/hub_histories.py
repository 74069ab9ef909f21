"""Random histories of hubs: one seed is one history, and the same history each time.

A history has one hub, or some that share a store as processes of one host do. It starts streams of all kinds, reads them with
each policy, resumes from any token that was ever seen, leaves, cancels and replaces, lets time pass, closes hubs and kills
them. Each reading is held to what its stream told (`hub_tales`), and afterwards

    every reader, and whoever else asked something, has come to an end, and to one that is documented
    every source that was opened is closed, once; one that was given and not read is closed, too
    nothing is left: no task, no timer, no reader, nobody who waits in a log or in a store
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import time
from types import SimpleNamespace
from typing import Any

from hub_crew import Crew
from hub_tales import APART, Reading, Tale, text_is_cut, text_of
from troubled_store import Link, Trouble

import streamkit.hub.following as following_module
import streamkit.hub.keeping as keeping_module
import streamkit.hub.producing as producing_module
import streamkit.hub.registry as registry_module
from streamkit.errors import (
    InvalidToken,
    ReaderLagged,
    SourceError,
    StoreError,
    StreamBusy,
    StreamDraining,
    StreamInterrupted,
    UnknownStream,
)
from streamkit.events.model import ErrorEvent, Event, Finish, Gap
from streamkit.flow.clock import current_clock
from streamkit.hub.following import end_as_interrupted
from streamkit.hub.hub import Hub
from streamkit.hub.log import Log
from streamkit.hub.producing import Producer
from streamkit.hub.stores.memory import MemoryStore
from streamkit.hub.stores.protocol import Record, Store
from streamkit.hub.tokens import parse_token

POLICIES = ["lag", "lag", "lag", "conflate", "latest", "disconnect", "backpressure"]
NAMES = ["one", "two", "three"]

# Unix seconds at which histories begin.
EPOCH = 1_700_000_000.0

LEASE = 1.0


class Process:
    """A hub, its way to the store, and who uses it."""

    def __init__(self, hub: Hub, link: Link | None) -> None:
        self.hub = hub
        self.link = link
        self.closing = False


class History:
    """One seed's hubs and what becomes of them.

    Args:
        seed: Decides everything.
        store: Made anew for each hub where several processes open it (`shared=False`), or once for all; None for no store.
        hubs: How many.
        troubles: How often a call to the store goes wrong.
        steps: How much happens.
        scale: How long the pauses are, for histories on a real clock.
    """

    def __init__(
        self,
        seed: int,
        store: Callable[[Callable[[], float]], Store] | None = None,
        *,
        shared: bool = True,
        hubs: int = 1,
        troubles: float = 0.0,
        steps: int = 25,
        scale: float = 1,
    ) -> None:
        self.seed = seed
        self.dice = random.Random(seed)
        self.store = store
        self.shared = shared
        self.hubs = hubs
        self.troubles = troubles
        self.steps = steps
        self.scale = scale
        self.processes: list[Process] = []
        self.tales: list[Tale] = []
        self.by_epoch: dict[int, Tale] = {}
        self.epochs = 0
        self.tokens: list[str] = []
        self.logs: list[Log] = []
        self.copies: list[Log] = []
        self.told: list[str] = []
        self.counts: dict[str, int] = {}
        self.stopping: list[str] = []
        self.hubs_made: list[Hub] = []
        self.small = self.dice.random() < 0.5
        self.stores: list[Store] = []

    async def run(self) -> dict[str, int]:
        """Let it happen; how often what happened. Raises AssertionError for whatever is not as it must be."""
        self.clock = current_clock()
        began = self.clock.now()
        # On a real clock threads ask for it, too.
        self.wall: Callable[[], float] = (lambda: EPOCH + self.clock.now() - began) if self.scale == 1 else time
        with _in_place_of(self):
            try:
                async with Crew() as self.crew:
                    self.processes = [self.process() for _ in range(self.hubs)]
                    for _ in range(self.steps):
                        self.step()
                        await self.pause()
                    if self.scale == 1:
                        await self.clock.sleep(4 * LEASE)
                        self.check_the_dead()
                    for process in self.processes:
                        self.close(process)
                    await self.crew.all_done()
                self.check()
                for store in self.stores:
                    await store.aclose()
            except Exception as wrong:
                told = "\n".join(self.told)
                raise AssertionError(f"{wrong!r}\nseed {self.seed}, {self.hubs} hubs, small={self.small}:\n{told}") from wrong
        return self.counts

    def tell(self, what: str, **details: object) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1
        self.told.append(f"{self.clock.now():8.3f} {what} {details}")

    def first_epoch(self) -> int:
        self.epochs += APART
        return self.epochs

    # -- processes

    def process(self) -> Process:
        dice = self.dice
        link = None
        if self.store is not None:
            if not self.stores or not self.shared:
                self.stores.append(self.store(self.wall))
            link = Link(self.stores[-1], turn=self.maybe_turn, hang=self.crew.hang)
            if self.troubles:
                link.trouble = self.trouble
        bounds: dict[str, Any] = (
            {"max_events": dice.choice([4, 10, 64]), "max_bytes": dice.choice([300, 4000, 100_000])} if self.small else {}
        )
        max_age = 0.05 if self.small and dice.random() < 0.2 else None
        hub = Hub(
            link,
            ttl=dice.choice([0.5, 5.0, 600.0]),
            lease=LEASE,
            flush_events=dice.choice([1, 4, 32]),
            flush_within=dice.choice([0.001, 0.02]),
            max_age=max_age,
            close_timeout=60.0,
            **bounds,
        )
        self.hubs_made.append(hub)
        return Process(hub, link)

    def trouble(self, name: str) -> Trouble:
        if self.dice.random() >= self.troubles:
            return None
        return self.dice.choice(["away", "unanswered"])

    def close(self, process: Process) -> None:
        """Its hub is closed in good order."""
        if process.closing:
            return
        process.closing = True
        self.tell("close", hub=self.number(process))
        for tale in self.tales:
            tale.drained = tale.drained or tale.process is process

        async def closes() -> None:
            if self.dice.random() < 0.5:
                await process.hub.drain(0)
            await process.hub.aclose()

        self.crew.spawn("close", closes, keep=True)

    def kill(self, process: Process) -> None:
        """Its process is gone: nothing of it reaches the store any more, and its readers are gone with it."""
        assert process.link is not None
        process.link.dead = True
        self.tell("kill", hub=self.number(process))
        for kept in process.hub._streams.kept.values():
            if not kept.stored.is_set():
                self.tale_of(kept.producer.log.epoch).torn = True
        known = self.by_epoch.values()
        for tale in self.tales:
            tale.torn = tale.torn or (tale.process is process and tale not in known)
        self.crew.cancel_all(process)
        self.close(process)

    def again(self, process: Process) -> None:
        """Another process in its place."""
        self.processes[self.processes.index(process)] = self.process()

    # -- what happens

    async def pause(self) -> None:
        chance = self.dice.random()
        if chance < 0.6:
            for _ in range(self.dice.randrange(12)):
                await self.crew.turn()
        else:
            await self.nap(self.dice.choice([0.0005, 0.01, 0.1, 0.6, 2.0]))

    async def nap(self, seconds: float) -> None:
        await self.clock.sleep(seconds * self.scale)

    async def maybe_turn(self) -> None:
        if self.dice.random() < 0.5:
            await self.crew.turn()

    def step(self) -> None:
        process = self.dice.choice(self.processes)
        chance = self.dice.random()
        if chance < 0.25 or not self.tales:
            self.begin(process)
        elif chance < 0.55:
            self.read(process, None)
        elif chance < 0.7:
            self.read(process, self.dice.choice(self.tokens) if self.tokens else None)
        elif chance < 0.78:
            self.cancel(process)
        elif chance < 0.86:
            self.tell("cancel a caller", who=self.crew.cancel_one(self.dice))
        elif chance < 0.94:
            self.look(process)
        elif chance < 0.97 and process.link is not None:
            self.kill(process)
            self.again(process)
        elif len(self.processes) > 1:
            self.close(process)
            self.again(process)

    def name(self) -> str:
        """Of a stream that there is, was, or never will be."""
        drawn = [tale.name for tale in self.tales if tale.name is not None and tale.name not in NAMES]
        return self.dice.choice(drawn if drawn and self.dice.random() < 0.2 else NAMES)

    def begin(self, process: Process) -> None:
        dice = self.dice
        crew = self.crew
        tale = Tale(len(self.tales), dice, turn=crew.turn, nap=self.nap, hang=crew.hang, slow=crew.shielded_turn)
        self.tales.append(tale)
        name = tale.name = dice.choice([*NAMES, *NAMES, None])
        if_exists: Any = dice.choice(["join", "join", "replace", "raise"])
        on_disconnect: Any = dice.choice(["continue", "continue", "cancel"])
        tale.stopped = on_disconnect == "cancel" or name in self.stopping
        tale.lossy = process.link is not None and (self.small or self.troubles > 0)
        tale.torn = self.troubles > 0
        tale.process = process
        ttl = dice.choice([None, 0.2, 30.0])

        async def starts() -> None:
            with self.stop(name if if_exists == "replace" else None, but=tale):
                try:
                    generation = await process.hub.start(
                        name,
                        tale.source(),
                        if_exists=if_exists,
                        on_disconnect=on_disconnect,
                        ttl=ttl,
                        metadata={"tale": tale.number},
                    )
                except StreamBusy:
                    assert if_exists != "join", "busy, and it was to join"
                    assert not tale.opened, "busy, and its source was read all the same"
                    return
                except StreamDraining:
                    assert process.closing, "draining, and the hub is open"
                    return
                except StoreError:
                    assert self.troubles or process.closing, "the store failed, and nothing was wrong with it"
                    return
            tale.joined = generation.joined
            assert not (generation.joined and if_exists != "join"), "joined, and it was not to"
            assert not (generation.joined and tale.single and tale.unread != 1), "joined, and its own source is not closed"

        self.tell("start", tale=tale.number, hub=self.number(process), name=name, end=tale.end, how=(if_exists, on_disconnect))
        crew.spawn(f"start {tale.number}", starts, process)

    @contextmanager
    def stop(self, name: str | None, but: Tale | None = None) -> Iterator[None]:
        """Meanwhile streams of this name may be cancelled on request."""
        if name is None:
            yield
            return
        for tale in self.tales:
            tale.stopped = tale.stopped or (tale.name == name and tale is not but)
        self.stopping.append(name)
        try:
            yield
        finally:
            self.stopping.remove(name)

    def read(self, process: Process, token: str | None) -> None:
        dice = self.dice
        told = None if token is None else self.by_epoch.get(_stem(parse_token(token)[0]))
        name = told.name if told is not None and told.name is not None and dice.random() < 0.85 else self.name()
        if token is not None and dice.random() < 0.05:
            epoch, offset = parse_token(token)
            token = f"{epoch:x}.{offset + 5_000_000}"
        policy: Any = dice.choice(POLICIES)
        errors: Any = dice.choice(["raise", "yield"])
        lag = dice.choice([1, 3, 50])
        leaves = dice.randrange(60) if dice.random() < 0.3 else None
        slow = dice.choice([0.0, 0.0, 0.1, 0.5])
        plain = dice.random() < 0.2
        asked = random.Random(dice.random())
        details = {"hub": self.number(process), "name": name, "token": token, "policy": policy, "lag": lag, "leaves": leaves}
        hub = process.hub

        async def reads() -> None:
            begins = 0 if token is None else _begins(token)
            reading = Reading(begins, joins=policy == "conflate" or self.small, skips=policy == "latest", forgets=self.small)
            before = self.certain(process, name)
            view: Any = hub.subscribe if plain else hub.entries
            where: list[tuple[Tale, str]] = []
            events: list[Event] = []
            last = None
            try:
                async with view(name, after=token, policy=policy, lag=lag, errors=errors) as items:
                    async for item in items:
                        if plain:
                            events.append(item)
                        else:
                            last, event = item
                            epoch, offset = parse_token(last)
                            if not where:
                                where.append(self.place(hub, epoch))
                            assert self.tale_of(epoch) is where[0][0], f"{item} after events of another stream"
                            reading.entries.append((offset, event))
                            if asked.random() < 0.2:
                                self.tokens.append(last)
                        if len(reading.entries) + len(events) == leaves:
                            break
                        if asked.random() < slow:
                            await (self.crew.turn() if asked.random() < 0.8 else self.nap(0.03))
                    else:
                        reading.whole = True
            except UnknownStream:
                now = self.certain(process, name)
                assert before is None or before is not now or process.closing, f"unknown, and there is a stream {name!r}"
                self.count("unknown")
                return
            except InvalidToken as error:
                assert token is not None
                assert not reading.entries and not events
                same = told is not None and told is self.there(process, name)
                assert not same or (error.reason == "future" and begins > 4_000_000), f"{token} is good, and was refused: {error}"
                self.count(f"token {error.reason}")
                return
            except ReaderLagged as error:
                assert policy == "disconnect"
                assert plain or error.token == (last or token), f"{error.token} is not the token of {last or token}"
                self.count("lagged")
            except StoreError:
                assert self.troubles or process.closing, "the store failed, and nothing was wrong with it"
                self.count("store failed")
            except Exception as error:
                reading.error = error
            finally:
                self.count(f"reader {policy}")
                for tale, place in where:
                    reading.forgets = self.small or (tale.lossy and place == "stored")
                    assert told is tale or token is None, f"{token} of {told} was taken for {tale}"
                    try:
                        reading.check(tale, place, copied=process.closing)
                    except AssertionError as wrong:
                        where_from = f"read {details} of tale {tale.number} ({place}), whole={reading.whole} {reading.error!r}"
                        raise AssertionError(f"{wrong}\n{where_from}: {reading.entries}\nof {tale.given}") from None
                if not where and reading.error is not None and not self.troubles:
                    expected = (StreamDraining, StreamInterrupted, ValueError, TypeError, SourceError)
                    assert isinstance(reading.error, expected), f"a reader ended with {reading.error!r}"
                if plain and reading.whole:
                    self.check_plain(events, token, policy)

        self.tell("read", **details)
        self.crew.spawn(f"reader {policy} of {name}", reads, process)

    def check_plain(self, events: list[Event], token: str | None, policy: str) -> None:
        """A whole reading without offsets: by its text it is known which stream it was."""
        assert events, "ended without a last event"
        assert isinstance(events[-1], Finish | ErrorEvent), f"ended with {events[-1]}"
        if token is not None or any(isinstance(event, Gap) for event in events):
            return
        text = text_of(events)
        assert any(text_is_cut(tale, text) for tale in self.tales), f"no stream has told {text!r}"

    def cancel(self, process: Process) -> None:
        name = self.name()
        self.tell("cancel", hub=self.number(process), name=name)

        async def cancels() -> None:
            kept = process.hub._streams.kept.get(name)
            with self.stop(name):
                try:
                    await process.hub.cancel(name, "enough")
                except UnknownStream:
                    assert kept is None or process.hub._streams.kept.get(name) is not kept
                except StoreError:
                    assert self.troubles or process.closing, "the store failed, and nothing was wrong with it"
                else:
                    if kept is not None:
                        tale = self.tale_of(kept.producer.log.epoch)
                        assert tale.opened == tale.closed, f"tale {tale.number} is cancelled, and its source is open"
                        assert kept.producer.log.over

        self.crew.spawn(f"cancel {name}", cancels, process)

    def look(self, process: Process) -> None:
        name = self.name()
        what = self.dice.choice(["status", "list", "message"])
        self.tell(what, hub=self.number(process), name=name)

        async def looks() -> None:
            before = self.certain(process, name)
            try:
                if what == "message":
                    text = (await process.hub.message(name)).text
                    assert self.small or self.troubles or any(text_is_cut(tale, text) for tale in self.tales), (
                        f"nobody told {text!r}"
                    )
                    return
                found = await process.hub.list() if what == "list" else [await process.hub.status(name)]
            except UnknownStream:
                now = self.certain(process, name)
                assert before is None or before is not now or process.closing, f"unknown, and there is a stream {name!r}"
                return
            except StreamDraining:
                assert process.closing, "draining, and the hub is open"
                return
            except StoreError:
                assert self.troubles or process.closing, "the store failed, and nothing was wrong with it"
                return
            for status in found:
                tale = self.tales[int(str(status.metadata["tale"]))]
                assert 0 <= status.floor <= status.events <= len(tale.given) + 1, f"{status} of {len(tale.given)} events"
                assert (status.ended_at is None) == (status.state == "running"), status
                assert status.state != "cancelled" or tale.stopped, status
                assert status.state != "interrupted" or tale.torn, status

        self.crew.spawn(what, looks, process)

    # -- which stream is where

    def number(self, process: Process) -> int:
        return self.processes.index(process)

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    def tale_of(self, epoch: int) -> Tale:
        """Whose epoch this is; of a stream whose start was broken off, nobody's."""
        found = self.by_epoch.get(_stem(epoch))
        if found is None:
            found = self.by_epoch[_stem(epoch)] = Tale(-1, self.dice, turn=_never, nap=_never, hang=_never, slow=_never)
            found.torn = True
        return found

    def place(self, hub: Hub, epoch: int) -> tuple[Tale, str]:
        """Whose events these are, and whether this hub writes them or copies them."""
        stem = _stem(epoch)
        written = any(_stem(kept.producer.log.epoch) == stem for kept in hub._streams.kept.values())
        # Both, where a reader was there before its stream, and found it in the store first.
        for follower in hub._streams.followers.values():
            if follower._log is not None and _stem(follower._log.epoch) == stem:
                written = False
        return self.tale_of(epoch), "written" if written else "stored"

    def certain(self, process: Process, name: str) -> object | None:
        """The stream of this name, if this hub must know it now."""
        kept = process.hub._streams.kept.get(name)
        if kept is not None:
            return kept
        if process.link is None or self.troubles or not isinstance(process.link.store, MemoryStore):
            return None
        return process.link.store._find(name)

    def there(self, process: Process, name: str) -> Tale | None:
        """The stream of this name that a reader would find now."""
        found: Any = self.certain(process, name)
        if found is None:
            return None
        return self.tale_of(found.producer.log.epoch if hasattr(found, "producer") else found.record.epoch)

    def made(self, id: str, plan: Any, log: Log, **rest: Any) -> Producer:
        """A producer, noted: which stream has which epoch."""
        tale = self.tales[rest["metadata"]["tale"]]
        tale.name = id
        self.by_epoch[_stem(log.epoch)] = tale
        self.logs.append(log)
        return Producer(id, plan, log, **rest)

    async def ended(self, store: Store, record: Record, **rest: Any) -> None:
        """A stream of the dead is ended.

        On a real clock a machine that stands still makes a writer late that lives: it loses its stream, and rightly so. Where its
        lease still runs that is wrong, and found.
        """
        if (record.lease_until or record.created_at + LEASE) <= self.wall():
            self.tales[int(str(record.metadata["tale"]))].torn = True
        await end_as_interrupted(store, record, **rest)

    def copied(self, *args: Any, **rest: Any) -> Log:
        log = Log(*args, **rest)
        self.logs.append(log)
        self.copies.append(log)
        return log

    # -- afterwards

    def check_the_dead(self) -> None:
        """By now every stream whose writer was killed has an end, also where it is read elsewhere."""
        dead = [tale for tale in self.tales if tale.process not in self.processes and tale.torn]
        for process in self.processes:
            for follower in process.hub._streams.followers.values():
                log = follower._log
                late = log is not None and not log.over and self.tale_of(log.epoch) in dead
                assert not late or self.troubles, f"{follower.id!r} goes on, and its writer died long ago"

    def check(self) -> None:
        for tale in self.tales:
            assert tale.opened == tale.closed <= 1, f"source {tale.number} was opened {tale.opened} times and closed {tale.closed}"
            assert tale.unread <= 1, f"source {tale.number} was closed {tale.unread} times"
            assert not (tale.joined and tale.opened), "joined, and its own source was read all the same"
            begun = tale in self.by_epoch.values()
            assert not (begun and tale.single) or tale.opened + tale.unread == 1, (
                f"source {tale.number} was neither read nor closed"
            )
        for log in self.logs:
            assert 0 == log.readers, f"{log.readers} readers left in a log"
            assert not log.lockstep, "a log waits for readers that have left"
            waiting = [seat for seat in log.crowd.sitting if getattr(seat, "resume", seat) is not None]
            assert not waiting, f"{len(waiting)} wait in a log"
            assert log.over or log in self.copies, "a log has no end"
        for hub in self.hubs_made:
            left = (hub._streams.tasks, hub._streams.followers, hub._streams.kept)
            assert not any(left), f"left in a hub: {left}"
        for store in self.stores:
            if isinstance(store, MemoryStore):
                assert not store._listening, "somebody waits for signals"
                assert not any(kept.parked for kept in store._streams.values()), "somebody waits in the store"
        pending = getattr(self.clock, "pending", 0)
        assert not pending, f"{pending} timers left"


def _stem(epoch: int) -> int:
    return epoch // APART


def _begins(token: str) -> int:
    """The offset behind this token; one of the epoch before all stands for the beginning."""
    epoch, offset = parse_token(token)
    return offset + 1 if epoch % APART else 0


async def _never(seconds: float = 0) -> None:
    raise AssertionError("nobody runs this source")


@contextmanager
def _in_place_of(history: History) -> Iterator[None]:
    """The wall clock, the drawing of epochs, and who makes producers and logs: the history's own."""
    mine: list[tuple[Any, str, object]] = [
        (registry_module, "time", SimpleNamespace(time=history.wall)),
        (following_module, "time", SimpleNamespace(time=history.wall)),
        (producing_module, "time", SimpleNamespace(time=history.wall)),
        (registry_module, "first_epoch", history.first_epoch),
        (registry_module, "Producer", history.made),
        (following_module, "Log", history.copied),
    ]
    if history.scale != 1:
        mine += [(module, "end_as_interrupted", history.ended) for module in (registry_module, following_module, keeping_module)]
    before = [getattr(module, name) for module, name, _ in mine]
    for module, name, value in mine:
        setattr(module, name, value)
    try:
        yield
    finally:
        for (module, name, _), value in zip(mine, before, strict=True):
            setattr(module, name, value)
