"""`Hub`: one generation, many readers.

    async with sk.Hub() as hub:
        generation = await hub.start(None, model.stream("Why is the sky blue?"))
        async for event in hub.subscribe(generation.id): ...

A stream that is started here runs once, by itself, into a log; readers come and go, late or again, and each gets
all of it. Who does what:

    producing    runs a source into a log           following    copies a stream that is written elsewhere
    log          keeps the events                   persisting   writes them to the store, behind the live path
    reading      one reader's place                 keeping      leases, signals, the streams of the dead
    expiring     when to forget

A hub belongs to one event loop, the first that uses it. Without a store it is all in this process's memory.
"""

from __future__ import annotations

import hmac
import inspect
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from functools import partial
from types import MappingProxyType, TracebackType
from typing import Any, Final, Literal, Self, TypeAlias, TypeVar

import anyio
import msgspec

from streamkit.errors import BufferFull, ConfigError, Fenced, StoreError, StreamBusy, StreamConsumed, StreamDraining, UnknownStream
from streamkit.events.message import Message
from streamkit.events.model import Event, Finish
from streamkit.flow.clock import Clock, current_clock
from streamkit.flow.plan import check_callable, check_count, check_seconds
from streamkit.flow.runs import CLOSE_TIMEOUT, Run
from streamkit.flow.siblings import Plan, plans_of
from streamkit.flow.sources import Feed, Given, Source
from streamkit.flow.streams import Stream
from streamkit.flow.tasks import Backend, Task, current_backend
from streamkit.hub.expiring import Expiries
from streamkit.hub.following import Follower, end_as_interrupted, unknown
from streamkit.hub.keeping import Keeper
from streamkit.hub.log import Limits, Log
from streamkit.hub.many import MANY, Tagged, read_many
from streamkit.hub.persisting import Persister
from streamkit.hub.producing import OnDisconnect, Producer
from streamkit.hub.reading import Errors, Policy, Reader, View, check_policy, direct, entries_of, events_of
from streamkit.hub.stores.protocol import Record, State, Store
from streamkit.hub.stores.rules import check_create
from streamkit.hub.tokens import first_epoch, format_token, parse_token
from streamkit.hub.topics import Topic, Topics, check_topic

__all__ = ["Action", "Asked", "Authorize", "Generation", "Hub", "IfExists", "StreamStatus"]

Action: TypeAlias = Literal["subscribe", "resume", "cancel", "status", "publish"]
Authorize: TypeAlias = Callable[[str | None, Action], bool | Awaitable[bool]]
IfExists: TypeAlias = Literal["join", "raise", "replace"]
# The owner that a caller names; None where nobody is to be asked, because the hub itself made the handle.
Asked: TypeAlias = tuple[str | None] | None

T = TypeVar("T")

# Events that a reader may lag with "disconnect", or be ahead of with "backpressure", unless told.
LAG_EVENTS: Final = 1024

LOGGER = logging.getLogger("streamkit.hub")

_LONGEST_ID: Final = 200
_LONGEST_WAIT: Final = 30.0
_NO_METADATA: Final[Mapping[str, object]] = MappingProxyType({})


class StreamStatus(msgspec.Struct, frozen=True):
    """A stream as it is at this moment.

    Attributes:
        id: Its name.
        state: "running", or how it ended.
        events: How many there have been: the offset of the next one.
        floor: The offset of the first one that is not forgotten.
        token: Of the newest event, or None: a reader who resumes from here gets what comes.
        reason: Why it ended, in the words of who ended it, or None.
        owner, metadata: As it was started.
        started_at, ended_at: In Unix seconds.
        here: Whether this hub writes it, or did.
        readers: How many read it in this process.
        stored: How many events are in the store; None without one.
        lost: How many events the store will never have, because it was away for too long: it has a Gap for each.
        failing: Whether the store refuses at the moment what this stream gives it, or has not answered for 2 seconds.
    """

    id: str
    state: State
    events: int
    floor: int
    token: str | None
    reason: str | None
    owner: str | None
    metadata: Mapping[str, object]
    started_at: float
    ended_at: float | None
    here: bool
    readers: int
    stored: int | None = None
    lost: int = 0
    failing: bool = False


class Generation:
    """A stream of a hub, for whoever started it: the hub's own calls, without the id and without asking who calls.

    Attributes:
        id: Its name, for `hub.subscribe(id)`.
        joined: Whether it was there already: the source that was given to this start is closed, unread.
    """

    __slots__ = ("_hub", "id", "joined")

    def __init__(self, hub: Hub, id: str, *, joined: bool) -> None:
        self._hub = hub
        self.id = id
        self.joined = joined

    def subscribe(
        self, *, after: str | None = None, policy: Policy = "lag", lag: int = LAG_EVENTS, errors: Errors = "raise"
    ) -> Stream[Event]:
        """Its events; see `Hub.subscribe`."""
        return self._hub.read(self.id, events_of, after=after, policy=policy, lag=lag, errors=errors, asked=None)

    def entries(
        self, *, after: str | None = None, policy: Policy = "lag", lag: int = LAG_EVENTS, errors: Errors = "raise"
    ) -> Stream[tuple[str, Event]]:
        """Its events, each behind its resume token; see `Hub.entries`."""
        return self._hub.read(self.id, entries_of, after=after, policy=policy, lag=lag, errors=errors, asked=None)

    async def cancel(self, reason: str | None = None) -> bool:
        """End it; see `Hub.cancel`."""
        return await self._hub.end(self.id, reason, asked=None)

    async def status(self) -> StreamStatus:
        """How it is; see `Hub.status`."""
        return await self._hub.look(self.id, asked=None)

    async def message(self) -> Message:
        """The answer so far; see `Hub.message`."""
        return await self._hub.answer(self.id, asked=None)

    def __repr__(self) -> str:
        return f"<Generation {self.id!r}{', joined' if self.joined else ''}>"


class _Kept:
    """A stream that this hub writes, or did."""

    __slots__ = ("epoch", "expires", "keep", "persister", "producer", "stored")

    def __init__(self, producer: Producer, epoch: int, keep: float) -> None:
        self.producer = producer
        self.epoch = epoch
        self.keep = keep
        self.persister: Persister | None = None
        # Set when all of it is in the store, or never will be.
        self.stored = anyio.Event()
        # When it is forgotten, by the hub's clock; None as long as something of it runs.
        self.expires: float | None = None


class Hub:
    """Generations by name: each runs once, and any number of readers gets all of it.

    Args:
        store: Where streams are kept for other processes and for later ones; None keeps them in this process's memory. The
            hub closes it.
        ttl: Seconds that a stream is kept after its end, for those who come late.
        lease: Seconds after which a process that writes and is not heard of is taken for dead (only with a store).
        flush_events, flush_within: A chunk goes to the store when so many events wait, or one has waited so many seconds.
        max_events, max_bytes: Most of a stream that is kept event by event; the beginning of a longer one is kept joined, in as
            many bytes again, and forgotten after that.
        max_age: Seconds after which an event is no longer kept by itself; None keeps it.
        max_streams: Most streams that are kept: for one more the oldest that is over is forgotten.
        authorize: Called with a stream's owner and what is asked ("subscribe", "resume", "cancel", "status"; "publish" of a topic),
            in the context of who asks, each time; may be a coroutine function. Without it a stream with an owner is for those
            who name the same one. An owner that is named must be the right one in either case.
        close_timeout: Seconds that a source gets to close.

    Memory: per stream its events up to the bounds, about 120 bytes and its text each; per reader some 4 KB, however slow it is.
    Cancellation: leaving the `async with` ends all streams as "draining", and closes their sources before it returns.
    Raises:
        ConfigError, TypeError: numbers that cannot work, at the call.

    >>> async def main():
    ...     async with Hub() as hub:
    ...         generation = await hub.start("greeting", ["Hel", "lo"])
    ...         first = await hub.subscribe("greeting").join()
    ...         return first, await hub.subscribe("greeting").join()
    >>> run(main())
    ('Hello', 'Hello')
    """

    def __init__(
        self,
        store: Store | None = None,
        *,
        ttl: float = 600.0,
        lease: float = 15.0,
        flush_events: int = 32,
        flush_within: float = 0.02,
        max_events: int = 65_536,
        max_bytes: int = 8 << 20,
        max_age: float | None = None,
        max_streams: int = 10_000,
        authorize: Authorize | None = None,
        close_timeout: float = CLOSE_TIMEOUT,
    ) -> None:
        for name, seconds in (("ttl", ttl), ("lease", lease), ("flush_within", flush_within), ("close_timeout", close_timeout)):
            check_seconds("Hub", name, seconds)
        if max_age is not None:
            check_seconds("Hub", "max_age", max_age)
        if store is not None and not hasattr(store, "append"):
            raise TypeError(f"Hub(store=...) takes a store, got {type(store).__name__}")
        if authorize is not None:
            check_callable("Hub(authorize=...)", authorize)
        for name, count in (
            ("flush_events", flush_events),
            ("max_events", max_events),
            ("max_bytes", max_bytes),
            ("max_streams", max_streams),
        ):
            check_count("Hub", name, count, 1)
        self._store = store
        self._ttl = ttl
        self._lease = lease
        self._flush = (flush_events, flush_within)
        self._limits = Limits(max_events, max_bytes, max_age)
        self._max_streams = max_streams
        self._authorize = authorize
        self._close_timeout = close_timeout
        # Under this name other processes find it: what is sent there makes it cancel, so nobody is to guess it.
        self._holder = secrets.token_urlsafe(12)
        self._kept: dict[str, _Kept] = {}
        # Those that are being made in the store, each with what tells whoever asks for it meanwhile.
        self._starting: dict[str, anyio.Event] = {}
        self._followers: dict[str, Follower] = {}
        self._tasks: set[Task] = set()
        self._backend: Backend | None = None
        self._ended = anyio.Event()
        self._now: Clock
        self._expiries: Expiries
        self._keeper: Keeper | None = None
        self._topics = Topics(
            lambda: (self._here(), self._now),
            None if authorize is None else lambda name, owner, action: self._ask(name, owner, action, (None,)),
            ttl=ttl,
            size=max_streams,
        )
        self._draining = False
        # From the beginning of its closing on; `_gone` is set at the end of it.
        self._closed = False
        self._gone = anyio.Event()
        self._failure: Exception | None = None

    # -- starting

    async def start(
        self,
        id: str | None,
        source: Stream[Any] | Given[Any],
        /,
        *,
        ttl: float | None = None,
        on_disconnect: OnDisconnect = "continue",
        owner: str | None = None,
        metadata: Mapping[str, object] = _NO_METADATA,
        if_exists: IfExists = "join",
    ) -> Generation:
        """Run a source, by itself, for whoever subscribes; it begins now.

        Args:
            id: The stream's name, 1 to 200 characters; None draws one that nobody can guess.
            source: A stream, or anything that `sk.stream` takes. Its items are events or text.
            ttl: Seconds that it is kept after its end, or after its source is closed if that takes longer; the hub's unless told.
            on_disconnect: Whether it goes on when its readers have left, or ends as cancelled with the last one of this process.
            owner: Whose it is: who reads, resumes or cancels it must name the same, unless the hub has an `authorize`.
            metadata: Kept with it and told in its status: JSON values, as they are now.
            if_exists: What happens where there is a stream of this name, running or kept: "join" it (the source given here is
                closed, unread), "raise" StreamBusy, or "replace" it: one that runs is cancelled first.

        Memory: a task, and what the hub's bounds allow.
        Cancellation: of the caller, later, changes nothing. In here the stream may have begun, or not.
        Raises:
            ConfigError, TypeError: a name, number or source that cannot be.
            StreamBusy: there is one, and "raise" was asked for; or it runs in another process, and "replace" was.
            StreamDraining: the hub is closing.
            BufferFull: as many streams run as the hub may keep.
            UnknownStream: there is one of this name, and it is somebody else's.
            StoreError: the store cannot keep it.
            Others: what a callable raised that was to give the source.
        """
        self._check_open()
        if id is not None:
            _check_id(id)
        _check_owner("hub.start", owner)
        metadata = _metadata_of(metadata)
        keep = self._ttl if ttl is None else ttl
        check_seconds("hub.start", "ttl", keep)
        if on_disconnect not in ("continue", "cancel"):
            raise ConfigError(f"on_disconnect={on_disconnect!r} is neither 'continue' nor 'cancel'")
        if if_exists not in ("join", "raise", "replace"):
            raise ConfigError(f"if_exists={if_exists!r} is neither 'join', 'raise' nor 'replace'")
        plan = plans_of("hub.start", [source])[0]
        name = id if id is not None else secrets.token_urlsafe(16)
        self._here()
        while True:
            there = await self._find(name)
            if name in self._starting or (there is None and name in self._kept):
                continue  # somebody was faster
            if there is None:
                if await self._begin(name, plan, keep, owner, metadata, on_disconnect):
                    return Generation(self, name, joined=False)
                continue  # somebody was faster
            if not _same_owner(there.owner, owner):
                raise unknown(name)
            if if_exists == "raise":
                raise StreamBusy(f"there is a stream {name!r:.80} already: join it, or choose another name")
            if if_exists == "join":
                await _close_unread(plan, self._close_timeout)
                return Generation(self, name, joined=True)
            await self._clear(name)

    async def _begin(
        self,
        id: str,
        plan: Plan,
        keep: float,
        owner: str | None,
        metadata: Mapping[str, object],
        on_disconnect: OnDisconnect,
    ) -> bool:
        """Run it; False if there is such a stream by now."""
        self._check_open()  # again: it may have closed while another stream made room for this one
        self._make_room()
        first = first_epoch()
        store = self._store
        if store is None:
            self._run(id, plan, first, first + 1, keep, owner, metadata, on_disconnect)
            return True
        self._starting[id] = anyio.Event()
        epoch, record = 0, None
        try:
            if await store.create(id, owner=owner, metadata=metadata, first_epoch=first):
                epoch, record = await self._acquire(store, id, first)
                self._check_open()
            if record is not None:
                # What is made of the stream's age is the same in each process that reads it.
                self._run(id, plan, first, epoch, keep, owner, metadata, on_disconnect, record.created_at)
        except BaseException as error:
            # Whatever the store said: a call that failed or was cancelled may have made it all the same.
            gone = self._starting[id]
            self._spawn(partial(_undo, store, id, first), f"streamkit undo of {id}", partial(self._started, id))
            if isinstance(error, Exception):
                await gone.wait()
            raise
        self._started(id)
        return record is not None

    async def _acquire(self, store: Store, id: str, first_epoch: int) -> tuple[int, Record | None]:
        """The epoch and the record of a stream that was just made; None if another process has replaced it since."""
        try:
            epoch = await store.acquire(id, holder=self._holder, lease=self._lease)
        except (UnknownStream, StreamBusy, Fenced):
            await _undo(store, id, first_epoch)
            return 0, None
        record = await store.get(id)
        # Where it is the other's, who has made it and did not have it yet: that one finds it held, takes it back, and begins anew.
        return epoch, record if record is not None and record.first_epoch == first_epoch else None

    def _started(self, id: str) -> None:
        """It runs, or never will."""
        self._starting.pop(id).set()

    def _run(
        self,
        id: str,
        plan: Plan,
        first: int,
        epoch: int,
        keep: float,
        owner: str | None,
        metadata: Mapping[str, object],
        on_disconnect: OnDisconnect,
        started_at: float | None = None,
    ) -> None:
        backend = self._here()
        log = Log(backend, self._now, self._limits, first_epoch=first, epoch=epoch, started_at=started_at)
        producer = Producer(
            id, plan, log, owner=owner, metadata=metadata, on_disconnect=on_disconnect, close_timeout=self._close_timeout
        )
        kept = self._kept[id] = _Kept(producer, epoch, keep)
        settle = partial(self._settle, kept)
        if self._store is None:
            kept.stored.set()
        else:
            events, within = self._flush
            kept.persister = Persister(self._store, producer, epoch=epoch, keep=keep, events=events, within=within)

            def stored() -> None:
                kept.stored.set()
                settle()

            self._spawn(kept.persister.run, f"streamkit store of {id}", stored)
        producer.begin(backend, settle)

    async def _clear(self, id: str) -> None:
        """Make an end of a stream, and forget it."""
        kept = await self._begun(id)
        if kept is not None:
            kept.producer.end(Finish("cancelled"), reason="replaced")
            await kept.producer.closed.wait()
            await kept.stored.wait()
            self._forget(kept)
        if self._store is None or id in self._starting or id in self._kept:
            return
        self._starting[id] = anyio.Event()  # another start waits: what it creates must not be deleted here
        try:
            record = await self._store.get(id)
            if record is not None and record.state == "running":
                raise StreamBusy(f"the stream {id!r:.80} runs in another process: cancel it, and start it again when it is over")
            await self._store.delete(id)
        finally:
            self._started(id)

    # -- reading

    def subscribe(
        self,
        id: str,
        /,
        *,
        after: str | None = None,
        policy: Policy = "lag",
        lag: int = LAG_EVENTS,
        owner: str | None = None,
        errors: Errors = "raise",
    ) -> Stream[Event]:
        """The events of a stream, from its beginning or behind a resume token, as they were and as they come.

        Args:
            id: Its name.
            after: The token of the last event that was seen; None begins at the beginning.
            policy: What this reader gets if it is slow. "lag": all of it, nobody waits; "conflate": all of it, neighbouring deltas
                joined; "latest": the newest delta, a Gap for the others, every control event; "disconnect": ReaderLagged once it is
                `lag` events behind; "backpressure": all of it, and the source waits while it is `lag` events behind.
            lag: For "disconnect" and "backpressure", at least 1.
            owner: Whose stream the caller takes it for.
            errors: How a stream that failed ends: "raise" its error, or "yield" its ErrorEvent.

        Yields:
            Its events; the last one is a Finish, "cancelled" where it was stopped on request, or what `errors` says. Where its
            beginning is kept joined, one event stands for several; where it is forgotten, there is a Gap. The last event is given
            again to who has seen it.

        Memory: nothing that grows.
        Cancellation: of one reader touches no other. The stream can be run any number of times, also at once.
        Raises:
            ConfigError, TypeError: a policy or number that cannot be, at the call.
            InvalidToken: at the call, for what is no token; when it is run, for one that this stream never gave.
            UnknownStream: when it is run: no such stream, or somebody else's.
            ReaderLagged: see `policy`.
            StoreError: what is kept elsewhere cannot be had.
            StreamInterrupted, StreamDraining: its worker died; its hub was closed. Others: what its source failed with.
            StreamBusy: it is run in another event loop than the hub.

        >>> async def main():
        ...     async with Hub() as hub:
        ...         await hub.start("greeting", ["Hel", "lo"])
        ...         entries = await hub.entries("greeting").collect()
        ...         return await hub.subscribe("greeting", after=entries[0][0]).collect()
        >>> run(main())
        [TextDelta(text='lo', index=0, choice=0), Finish(reason='stop', raw_reason=None, choice=0)]
        """
        return self.read(id, events_of, after=after, policy=policy, lag=lag, errors=errors, asked=(owner,))

    def entries(
        self,
        id: str,
        /,
        *,
        after: str | None = None,
        policy: Policy = "lag",
        lag: int = LAG_EVENTS,
        owner: str | None = None,
        errors: Errors = "raise",
    ) -> Stream[tuple[str, Event]]:
        """The same as `subscribe`, each event behind the token to resume from when it has been seen.

        >>> async def main():
        ...     async with Hub() as hub:
        ...         await hub.start("greeting", ["Hello"])
        ...         [(token, event), end] = await hub.entries("greeting").collect()
        ...         return token.split(".")[1], event
        >>> run(main())
        ('0', TextDelta(text='Hello', index=0, choice=0))
        """
        return self.read(id, entries_of, after=after, policy=policy, lag=lag, errors=errors, asked=(owner,))

    def read(
        self, id: str, view: View, *, after: str | None, policy: Policy, lag: int, errors: Errors, asked: Asked
    ) -> Stream[Any]:
        """A stream of what `view` makes of the events: the ground of `subscribe`, for sinks that write them in another form.

        `asked` is the owner that the caller names, or None where nobody is to be asked.
        """
        check_policy(policy, errors)
        check_count("hub.subscribe", "lag", lag, 1)
        _check_asked("hub.subscribe", id, asked)
        position = None if after is None else parse_token(after)
        action: Action = "subscribe" if after is None else "resume"

        def open_feed(run: Run[Any]) -> Feed:
            feed = Feed(None, shape="lists")

            async def start() -> Reader:
                if self._backend is not None and run.backend.loop is not self._backend.loop:
                    raise StreamBusy("a hub belongs to the event loop that first used it, and this is another one")

                def sit(log: Log) -> Reader:
                    at = 0 if position is None else log.position(*position)
                    return Reader.of(log, at, policy=policy, size=lag, errors=errors, view=view)

                reader = await self._sit(id, action, asked, sit)
                run.keep_partial(reader.message)
                feed.closers.append((f"reader of {id}", reader.leave))
                return reader

            feed.start = start
            if policy == "lag":
                feed.direct = direct
            return feed

        return Stream(Source(f"stream {id!r:.80} of a hub", open_feed, repeatable=True))

    async def _sit(self, id: str, action: Action, asked: Asked, sit: Callable[[Log], T]) -> T:
        """What `sit` makes of the log of this stream, which is here, or is copied from its store as long as somebody reads it."""
        backend = self._here()
        while True:
            kept = await self._begun(id)
            if kept is not None:
                await self._ask(id, kept.producer.owner, action, asked)
                return sit(kept.producer.log)
            if self._store is None or self._closed:
                raise unknown(id)
            self._keep_store()
            follower = self._followers.get(id)
            if follower is None:
                follower = self._followers[id] = Follower(
                    id,
                    self._store,
                    self._limits,
                    backend,
                    self._now,
                    holder=self._holder,
                    lease=self._lease,
                    keep=self._ttl,
                    gone=partial(self._followed, id),
                )
            if follower.leaving:  # the reader before was the last one: who comes now begins anew
                await follower.closed.wait()
                continue
            follower.waiting += 1
            try:
                log = await follower.opened()
                assert follower.record is not None
                await self._ask(id, follower.record.owner, action, asked)
                return sit(log)
            finally:
                follower.waiting -= 1
                follower.look()

    def subscribe_many(
        self,
        ids: Topic | Given[str],
        /,
        *,
        after: Mapping[str, str] | None = None,
        policy: Policy = "lag",
        lag: int = LAG_EVENTS,
        owner: str | None = None,
        errors: Errors = "yield",
        concurrency: int = MANY,
    ) -> Stream[Tagged]:
        """The events of several streams, each with the id of its stream, as they come.

        Args:
            ids: Their names: a list, or anything that `sk.stream` takes, for streams that are added as time goes on; or a topic,
                for those that are announced there from now on. One that is being read is not read twice at once.
            after: The tokens to resume from, by id; a stream that has none here begins at its beginning.
            policy, lag: Of the reader of each stream; see `subscribe`. All of them lag while nobody takes what this one has.
            owner: Whose streams the caller takes them for.
            errors: How one that failed ends, or is unknown: "yield" gives its ErrorEvent and touches no other, "raise" ends all.
            concurrency: Most streams that are read at once, at least 1; more ids wait until one of those has ended.

        Yields:
            `Tagged` events, those of one stream in their order. It ends when the ids and all streams have ended.

        Memory: 64 events, and a reader, a task and one list of events for each stream that is read.
        Cancellation: all readers leave; the streams go on, or end, as `on_disconnect` says.
        Raises:
            ConfigError, TypeError: at the call, for a policy or number that cannot be, or a single id; later, for what is no id.
            InvalidToken: at the call, for what is no token.
            StreamBusy: it is run in another event loop than the hub.
            Others: what the stream of ids fails with, behind the events of all streams; with errors="raise" what a reader raises.

        >>> async def main():
        ...     async with Hub() as hub:
        ...         await hub.start("a", ["Hello"])
        ...         return await hub.subscribe_many(["a", "b"]).map(lambda one: (one.stream, one.event.type)).collect()
        >>> run(main())
        [('a', 'text-delta'), ('a', 'finish'), ('b', 'error')]
        """
        check_policy(policy, errors)
        check_count("hub.subscribe_many", "lag", lag, 1)
        read = partial(self.read, policy=policy, lag=lag, errors=errors, asked=(owner,))
        given = ids.streams() if isinstance(ids, Topic) else ids
        return read_many(read, given, after=after, errors=errors, concurrency=concurrency, check=self._here)

    def topic(
        self,
        name: str,
        /,
        *,
        max_events: int | None = None,
        max_bytes: int | None = None,
        max_age: float | None = None,
        owner: str | None = None,
    ) -> Topic:
        """A topic: many publish, many subscribe, and see who else is there.

        It is in this process, with a store too. The same name gives the same topic as long as anybody uses or holds it; one that
        nobody has used for the hub's `ttl` is forgotten, with all that was published, its limits and its owner.

        Args:
            name: What it is called, 1 to 200 characters.
            max_events, max_bytes: Most of it that is remembered, up to a quarter more between two clean-ups; None is 4096 events
                and 4 MiB, or what the topic has.
            max_age: Seconds after which an event is forgotten; None remembers it, or as the topic has it.
            owner: Whose it is: who uses it must name the same, unless the hub has an `authorize`, which then is asked at each use.

        Raises:
            ConfigError, TypeError: a name or number that cannot be; limits that an open topic does not have.
            UnknownStream: it is somebody else's.
            StreamDraining: the hub is closing.
        """
        check_topic(name, max_events, max_bytes, max_age)
        topic = self._topics.find(name)
        if topic is None:
            self._check_open()
            return self._topics.make(name, owner, max_events, max_bytes, max_age)
        if not (_same_owner(topic.owner, owner) or (owner is None and self._authorize is not None)):
            raise unknown(name)
        topic.check_limits(max_events, max_bytes, max_age)
        return topic

    # -- ending, looking

    async def cancel(self, id: str, reason: str | None = None, /, *, owner: str | None = None) -> bool:
        """End a stream on request: what has come is kept, every reader gets `Finish("cancelled")` at once, the source is closed.

        Returns when its source is closed and its end is stored, or, where another process writes it, when that has ended it. For a
        store that is away it waits `close_timeout` seconds, and the end is stored later. It stays ended: who resumes gets what
        there was, and the same end.

        Args:
            id: Its name.
            reason: In the words of the application; its status tells it.
            owner: Whose stream the caller takes it for.

        Returns:
            Whether this ended it: False where it was over.

        Raises:
            UnknownStream: no such stream, or somebody else's.
            StoreError: it runs elsewhere, and cannot be told.

        >>> async def main():
        ...     async def endless():
        ...         while True:
        ...             yield "and so on "
        ...             await asyncio.sleep(0)
        ...     async with Hub() as hub:
        ...         await hub.start("talk", endless)
        ...         ended = await hub.cancel("talk", "enough")
        ...         return ended, (await hub.subscribe("talk").message()).finish.reason, (await hub.status("talk")).reason
        >>> import asyncio
        >>> run(main())
        (True, 'cancelled', 'enough')
        """
        return await self.end(id, reason, asked=(owner,))

    async def end(self, id: str, reason: str | None, *, asked: Asked) -> bool:
        """The ground of `cancel`; `asked` as for `read`."""
        _check_asked("hub.cancel", id, asked)
        if not isinstance(reason, str | None):  # pyright: ignore[reportUnnecessaryIsInstance]  # whoever has no type checker
            raise TypeError(f"hub.cancel(reason=...) takes a str, got {type(reason).__name__}")
        self._here()
        kept = await self._begun(id)
        if kept is not None:
            await self._ask(id, kept.producer.owner, "cancel", asked)
            first = not kept.producer.log.over
            kept.producer.end(Finish("cancelled"), reason=reason)
            await kept.producer.closed.wait()
            await self._stored(kept)
            return first
        record = await self._record(id)
        if record is None:
            raise unknown(id)
        await self._ask(id, record.owner, "cancel", asked)
        assert self._store is not None
        if record.state != "running" or not await self._store.signal(id, "cancel", reason):
            return False
        first_epoch = record.first_epoch
        while record.state == "running":
            wait = min(max(_left_of(record, self._lease), 0.0), _LONGEST_WAIT)
            record = await self._store.wait(id, record.head, seconds=wait + 0.01)
            if record.first_epoch != first_epoch:  # it was replaced, and is over
                return False
            # Again: what its writer was told may have been lost on the way, and twice says nothing more than once.
            await self._store.signal(id, "cancel", reason)
            if record.state == "running" and _left_of(record, self._lease) <= 0:
                await end_as_interrupted(self._store, record, holder=self._holder, lease=self._lease, keep=self._ttl)
                record = await self._record(id) or record
        return record.state == "cancelled"

    async def status(self, id: str, /, *, owner: str | None = None) -> StreamStatus:
        """How a stream is at this moment.

        Raises:
            UnknownStream: no such stream, or somebody else's.
            StoreError: it is elsewhere, and the store cannot be asked.

        >>> async def main():
        ...     async with Hub() as hub:
        ...         await hub.start("greeting", ["Hello"], metadata={"chat": 7})
        ...         await hub.subscribe("greeting").collect()
        ...         status = await hub.status("greeting")
        ...         return status.state, status.events, dict(status.metadata)
        >>> run(main())
        ('done', 2, {'chat': 7})
        """
        return await self.look(id, asked=(owner,))

    async def look(self, id: str, *, asked: Asked) -> StreamStatus:
        """The ground of `status`; `asked` as for `read`."""
        _check_asked("hub.status", id, asked)
        found = await self._find(id)
        if found is None:
            raise unknown(id)
        await self._ask(id, found.owner, "status", asked)
        return found

    async def message(self, id: str, /, *, owner: str | None = None) -> Message:
        """The answer so far.

        Raises:
            UnknownStream: no such stream, or somebody else's.
            StoreError: it is elsewhere, and the store cannot be asked.

        >>> async def main():
        ...     async with Hub() as hub:
        ...         await hub.start("greeting", ["Hel", "lo"])
        ...         await hub.subscribe("greeting").collect()
        ...         return (await hub.message("greeting")).text
        >>> run(main())
        'Hello'
        """
        return await self.answer(id, asked=(owner,))

    async def answer(self, id: str, *, asked: Asked) -> Message:
        """The ground of `message`; `asked` as for `read`."""
        _check_asked("hub.message", id, asked)
        return await self._sit(id, "subscribe", asked, Log.message)

    async def list(self) -> list[StreamStatus]:
        """All streams that this hub knows of, running and kept, newest first; with a store the newest thousand of all processes.

        For whoever runs the application: nobody's owner is asked for.

        Raises:
            StoreError: there is a store, and it cannot be asked.
        """
        self._here()
        found = {id: _status_of(kept) for id, kept in self._kept.items()}
        if self._store is not None:
            for record in await self._store.list():
                found.setdefault(record.id, _status_of_record(record))
        return sorted(found.values(), key=lambda status: status.started_at, reverse=True)

    # -- closing

    async def drain(self, timeout: float | None = None, /) -> None:  # noqa: ASYNC109  # it ends streams, and cancels nothing here
        """Start nothing more, and wait until all streams of this hub are over; those that are not in time end as "draining".

        Args:
            timeout: Seconds; None waits as long as it takes.

        >>> async def main():
        ...     async def slow():
        ...         yield "Hello"
        ...         await asyncio.sleep(60)
        ...     async with Hub() as hub:
        ...         await hub.start("greeting", slow)
        ...         await hub.drain(0.01)
        ...         return [status.state for status in await hub.list()]
        >>> import asyncio
        >>> run(main())
        ['draining']
        """
        if timeout is not None and (timeout != 0 or isinstance(timeout, bool)):
            check_seconds("hub.drain", "timeout", timeout)
        self._draining = True
        if self._backend is None:
            return
        self._here()
        clock = self._now
        timer = None if timeout is None else clock.call_at(clock.now() + timeout, self._end_all)
        if timeout == 0:
            self._end_all()
        try:
            for kept in tuple(self._kept.values()):
                await kept.producer.closed.wait()
        finally:
            if timer is not None:
                timer.cancel()
        self._end_all()  # those too that are copied here from elsewhere

    def _end_all(self) -> None:
        for kept in tuple(self._kept.values()):
            kept.producer.drain()
        for follower in tuple(self._followers.values()):
            follower.drain()
        self._topics.close()

    async def aclose(self) -> None:
        """End all streams as "draining", close their sources, store what is to be stored, and let go of the store.

        May be called again, and at once by several: each returns when it is done. The store gets `close_timeout` seconds for
        what it does not have yet. Called from inside a source of this hub it waits for that very source, until it is abandoned.

        Raises:
            StoreError: the store did not close well.
        """
        backend = self._here()
        if not self._closed:
            self._closed = self._draining = True
            # In a task of its own: whatever cancels the caller, all of it is done, and once.
            backend.spawn(self._close, _nothing, "streamkit closing of a hub", self._gone.set)
        await backend.finish(self._gone.wait, self._gone.is_set)
        if self._failure is not None:
            raise self._failure

    async def _close(self) -> None:
        self._end_all()
        for kept in tuple(self._kept.values()):
            await kept.producer.closed.wait()
        clock = self._now
        timer = clock.call_at(clock.now() + self._close_timeout, self._cancel_tasks)
        await self._until(lambda: not self._tasks)
        timer.cancel()
        self._expiries.cancel()
        keeper = self._keeper
        if keeper is not None:
            keeper.leave()
        await self._until(lambda: not self._followers and (keeper is None or keeper.done))
        self._kept.clear()
        if self._store is not None:
            try:
                await self._store.aclose()
            except Exception as error:  # no exception may leave a task of ours: whoever closes the hub raises it
                self._failure = error

    async def _until(self, done: Callable[[], bool]) -> None:
        """Wait for tasks of this hub; one caller at a time."""
        while not done():
            self._ended = anyio.Event()
            await self._ended.wait()

    def _cancel_tasks(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()

    async def __aenter__(self) -> Self:
        self._here()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            await self.aclose()
        except Exception:
            if error is None:
                raise
            LOGGER.warning("a hub was left by an error, and its store did not close well", exc_info=True)

    # -- what is here, and what elsewhere

    async def _find(self, id: str) -> StreamStatus | None:
        self._here()
        kept = await self._begun(id)
        if kept is not None:
            return _status_of(kept)
        record = await self._record(id)
        return None if record is None else _status_of_record(record)

    async def _begun(self, id: str) -> _Kept | None:
        """The stream if this hub writes it, or did; while it is being started, as soon as that is done."""
        while id in self._starting:
            await self._starting[id].wait()
        return self._kept.get(id)

    async def _stored(self, kept: _Kept) -> None:
        """Wait until all of it is in the store, as long as that may take."""
        if kept.stored.is_set():
            return
        clock = self._now
        with anyio.CancelScope() as scope:
            timer = clock.call_at(clock.now() + self._close_timeout, scope.cancel)
            try:
                await kept.stored.wait()
            finally:
                timer.cancel()

    async def _record(self, id: str) -> Record | None:
        """What the store knows of it; a stream whose writer is dead is ended first."""
        if self._store is None or self._closed:
            return None
        self._keep_store()
        record = await self._store.get(id)
        if record is not None and record.state == "running" and _left_of(record, self._lease) <= 0:
            await end_as_interrupted(self._store, record, holder=self._holder, lease=self._lease, keep=self._ttl)
            record = await self._store.get(id)
        return record

    async def _ask(self, id: str, owner: str | None, action: Action, asked: Asked) -> None:
        """Whether the caller may.

        Raises:
            UnknownStream: no; the same as for a stream that is not there.
        """
        if asked is None:
            return
        named = asked[0]
        if self._authorize is None or named is not None:
            allowed: bool | Awaitable[bool] = _same_owner(owner, named)
        else:
            allowed = True
        if allowed and self._authorize is not None:
            allowed = self._authorize(owner, action)
            if inspect.isawaitable(allowed):
                allowed = await allowed
        if not allowed:
            raise unknown(id)

    def _here(self) -> Backend:
        """The event loop that the hub belongs to.

        Raises:
            StreamBusy: this is another one.
        """
        backend = current_backend()
        if self._backend is None:
            self._backend = backend
            self._now = current_clock(backend)
            self._expiries = Expiries(self._now, self._expire)
        elif backend.loop is not self._backend.loop:
            raise StreamBusy("a hub belongs to the event loop that first used it, and this is another one")
        return self._backend

    def _check_open(self) -> None:
        if self._draining:
            raise StreamDraining("this hub is closing, and starts nothing more")

    def _make_room(self) -> None:
        if len(self._kept) + len(self._starting) < self._max_streams:
            return
        over = next((kept for kept in self._kept.values() if kept.expires is not None), None)
        if over is None:
            running = len(self._kept) + len(self._starting)
            raise BufferFull(
                f"this hub runs {running} streams, and may keep no more: end some, or give it a larger max_streams",
                size=self._max_streams,
            )
        self._forget(over)

    def _keep_store(self) -> None:
        if self._keeper is None and self._store is not None and not self._closed:
            self._keeper = Keeper(
                self._store,
                self._here(),
                self._now,
                holder=self._holder,
                lease=self._lease,
                keep=self._ttl,
                writing=self._writing,
                ended=self._task_ended,
            )

    def _writing(self) -> dict[str, tuple[Producer, int]]:
        return {id: (kept.producer, kept.epoch) for id, kept in self._kept.items() if not kept.stored.is_set()}

    def _settle(self, kept: _Kept) -> None:
        """Something of it has ended: once nothing of it runs, it is kept for those who come late."""
        if kept.expires is None and not self._closed and kept.producer.closed.is_set() and kept.stored.is_set():
            kept.expires = self._expiries.add(kept.producer.id, kept.keep)

    def _expire(self, id: str, when: float) -> None:
        kept = self._kept.get(id)
        if kept is not None and kept.expires == when:
            self._forget(kept)

    def _forget(self, kept: _Kept) -> None:
        if self._kept.get(kept.producer.id) is kept:
            del self._kept[kept.producer.id]

    def _followed(self, id: str) -> None:
        del self._followers[id]
        self._task_ended()

    def _spawn(self, main: Callable[[], Coroutine[Any, Any, None]], name: str, done: Callable[[], None] | None = None) -> None:
        backend = self._here()

        def ended() -> None:
            self._tasks.discard(task)
            if done is not None:
                done()
            self._task_ended()

        task = backend.spawn(partial(_logged, main, name), _nothing, name, ended)
        self._tasks.add(task)

    def _task_ended(self) -> None:
        self._ended.set()


async def _logged(main: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
    """No exception may leave a task of ours: on trio it would end the whole run."""
    try:
        await main()
    except Exception:
        LOGGER.exception("%s failed", name)


async def _nothing() -> None:
    """There is nothing to clean up."""


async def _undo(store: Store, id: str, first_epoch: int) -> None:
    """Take back a stream that was made, and never began."""
    with suppress(StoreError):  # its lease runs out, then: somebody will end it
        record = await store.get(id)
        if record is not None and record.first_epoch == first_epoch:
            await store.delete(id)


async def _close_unread(plan: Plan, close_timeout: float) -> None:
    source, parts = plan
    if not source.repeatable:
        with suppress(StreamBusy, StreamConsumed):  # somebody else reads it, and closes it
            await Run[object](source, parts, close_timeout=close_timeout).aclose()


def _check_id(id: object) -> None:
    if not isinstance(id, str):
        raise TypeError(f"a stream's id is a str, got {type(id).__name__}")
    if not 1 <= len(id) <= _LONGEST_ID or not id.isprintable():
        raise ConfigError(f"a stream's id has 1 to {_LONGEST_ID} printable characters, got {id!r:.80}")


def _check_owner(call: str, owner: object) -> None:
    if not isinstance(owner, str | None):
        raise TypeError(f"{call}(owner=...) takes a str, got {type(owner).__name__}")


def _check_asked(call: str, id: object, asked: Asked) -> None:
    if not isinstance(id, str):
        raise TypeError(f"{call}() takes a stream's id, a str, got {type(id).__name__}")
    if asked is not None:
        _check_owner(call, asked[0])


def _metadata_of(given: Mapping[str, object]) -> Mapping[str, object]:
    """A copy that nobody can change."""
    if given is _NO_METADATA:
        return given
    if not isinstance(given, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]  # whoever has no type checker
        raise TypeError(f"hub.start(metadata=...) takes a mapping, got {type(given).__name__}")
    return MappingProxyType(msgspec.json.decode(check_create(0, given)))


def _same_owner(owner: str | None, named: str | None) -> bool:
    if owner is None:
        return True  # nobody's: who knows the name may
    return named is not None and hmac.compare_digest(owner.encode("utf-8", "surrogatepass"), named.encode("utf-8", "surrogatepass"))


def _left_of(record: Record, lease: float) -> float:
    """Seconds until its writer may be taken for dead."""
    until = record.lease_until if record.lease_until is not None else record.created_at + lease
    return until - time.time()


def _status_of(kept: _Kept) -> StreamStatus:
    producer, persister = kept.producer, kept.persister
    log = producer.log
    return StreamStatus(
        producer.id,
        producer.state,
        log.head,
        log.first,
        log.token(log.head - 1) if log.head else None,
        producer.reason,
        producer.owner,
        producer.metadata,
        producer.started_at,
        producer.ended_at,
        True,
        log.readers,
        None if persister is None else persister.stored,
        0 if persister is None else persister.lost,
        persister is not None and persister.failing,
    )


def _status_of_record(record: Record) -> StreamStatus:
    return StreamStatus(
        record.id,
        record.state,
        record.head,
        record.floor,
        format_token(record.epoch, record.head - 1) if record.head else None,
        record.reason,
        record.owner,
        record.metadata,
        record.created_at,
        record.ended_at,
        False,
        0,
        record.head,
    )
