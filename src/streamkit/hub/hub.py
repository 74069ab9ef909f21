"""`Hub`: one generation, many readers.

    async with sk.Hub() as hub:
        generation = await hub.start(None, model.stream("Why is the sky blue?"))
        async for event in hub.subscribe(generation.id): ...

A stream that is started here runs once, by itself, into a log; readers come and go, late or again, and each gets
all of it. This file is what users call, and checks what they give. Who does the work:

    registry     what is here, kept, or copied   permissions  who may
    producing    runs a source into a log        following    copies a stream that is written elsewhere
    log          keeps the events                persisting   writes them to the store, behind the live path
    subscribing  the plan of a reader            keeping      leases, signals, the streams of the dead
    reading      its place in a log              expiring     when to forget
    topics       many who publish                many         several streams over one subscription

A hub belongs to one event loop, the first that uses it. Without a store it is all in this process's memory.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from types import MappingProxyType, TracebackType
from typing import Any, Final, Literal, Self, TypeAlias

import msgspec

from streamkit.errors import ConfigError, StreamBusy, StreamConsumed
from streamkit.events.message import Message
from streamkit.events.model import Event
from streamkit.flow.plan import check_callable, check_count, check_seconds
from streamkit.flow.runs import CLOSE_TIMEOUT, Run
from streamkit.flow.siblings import Plan, plans_of
from streamkit.flow.sources import Given
from streamkit.flow.streams import Stream
from streamkit.hub.following import unknown
from streamkit.hub.log import Limits, Log
from streamkit.hub.many import MANY, Tagged, read_many
from streamkit.hub.permissions import Action, Asked, Authorize, Permissions, check_asked, check_owner, same_owner
from streamkit.hub.producing import OnDisconnect
from streamkit.hub.reading import Errors, Policy, View, check_policy, entries_of, events_of
from streamkit.hub.registry import Registry, Terms
from streamkit.hub.statuses import StreamStatus
from streamkit.hub.stores.protocol import Store
from streamkit.hub.stores.rules import check_create
from streamkit.hub.subscribing import Subscription
from streamkit.hub.topic_registry import Topics, check_topic
from streamkit.hub.topics import Topic

__all__ = ["Action", "Asked", "Authorize", "Generation", "Hub", "IfExists", "StreamStatus"]

LOGGER = logging.getLogger("streamkit.hub")

IfExists: TypeAlias = Literal["join", "raise", "replace"]

# Events that a reader may lag with "disconnect", or be ahead of with "backpressure", unless told.
LAG_EVENTS: Final = 1024

_LONGEST_ID: Final = 200
_NO_METADATA: Final[Mapping[str, object]] = MappingProxyType({})


class Generation:
    """A stream of a hub, for whoever started it: the hub's own calls, without the id and without asking who calls.

    It is for this stream: once that is forgotten or replaced each call raises UnknownStream, whoever has its name by then.

    Attributes:
        id: Its name, for `hub.subscribe(id)`.
        joined: Whether it was there already: the source that was given to this start is closed, unread.
    """

    __slots__ = ("_first_epoch", "_hub", "id", "joined")

    def __init__(self, hub: Hub, id: str, first_epoch: int | None = None, *, joined: bool) -> None:
        self._hub = hub
        self.id = id
        # None is for any stream of this name.
        self._first_epoch = first_epoch
        self.joined = joined

    def subscribe(
        self, *, after: str | None = None, policy: Policy = "lag", lag: int = LAG_EVENTS, errors: Errors = "raise"
    ) -> Stream[Event]:
        """Its events; see `Hub.subscribe`."""
        return self._hub.read(self.id, events_of, after=after, policy=policy, lag=lag, errors=errors, asked=self._first_epoch)

    def entries(
        self, *, after: str | None = None, policy: Policy = "lag", lag: int = LAG_EVENTS, errors: Errors = "raise"
    ) -> Stream[tuple[str, Event]]:
        """Its events, each behind its resume token; see `Hub.entries`."""
        return self._hub.read(self.id, entries_of, after=after, policy=policy, lag=lag, errors=errors, asked=self._first_epoch)

    async def cancel(self, reason: str | None = None) -> bool:
        """End it; see `Hub.cancel`."""
        return await self._hub.end(self.id, reason, asked=self._first_epoch)

    async def status(self) -> StreamStatus:
        """How it is; see `Hub.status`."""
        return await self._hub.look(self.id, asked=self._first_epoch)

    async def message(self) -> Message:
        """The answer so far; see `Hub.message`."""
        return await self._hub.answer(self.id, asked=self._first_epoch)

    def __repr__(self) -> str:
        return f"<Generation {self.id!r}{', joined' if self.joined else ''}>"


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

    Memory: per stream some 5 KB and its events up to the bounds, about 120 bytes and its text each; per reader some 3 KB with its
        task, however slow it is.
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
        self._ttl = ttl
        self._close_timeout = close_timeout
        self._permissions = Permissions(authorize)
        self._streams = Registry(
            store,
            Limits(max_events, max_bytes, max_age),
            ttl=ttl,
            lease=lease,
            flush=(flush_events, flush_within),
            size=max_streams,
            close_timeout=close_timeout,
            also_end=self._close_topics,
        )
        self._topics = Topics(
            lambda: (self._streams.here(), self._streams.clock),
            None if authorize is None else lambda name, owner, action: self._permissions.ask(name, owner, None, action, (None,)),
            ttl=ttl,
            size=max_streams,
        )

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
        self._streams.check_open()
        if id is not None:
            _check_id(id)
        check_owner("hub.start", owner)
        terms = Terms(owner, _metadata_of(metadata), self._ttl if ttl is None else ttl, on_disconnect)
        check_seconds("hub.start", "ttl", terms.keep)
        if on_disconnect not in ("continue", "cancel"):
            raise ConfigError(f"on_disconnect={on_disconnect!r} is neither 'continue' nor 'cancel'")
        if if_exists not in ("join", "raise", "replace"):
            raise ConfigError(f"if_exists={if_exists!r} is neither 'join', 'raise' nor 'replace'")
        plan = plans_of("hub.start", [source])[0]
        name = id if id is not None else secrets.token_urlsafe(16)
        while True:
            there = await self._streams.find(name)
            if there is None:
                first = await self._streams.begin(name, plan, terms)
                if first is not None:
                    return Generation(self, name, first, joined=False)
                continue  # somebody was faster
            if not same_owner(there.status.owner, owner):
                raise unknown(name)
            if if_exists == "raise":
                raise StreamBusy(f"there is a stream {name!r:.80} already: join it, or choose another name")
            if if_exists == "join":
                await _close_unread(plan, self._close_timeout)
                return Generation(self, name, there.first_epoch, joined=True)
            await self._streams.clear(name, "replaced")

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

        `asked` says as whom: the owner that the caller names, the first epoch of a handle, or None where nobody is to be asked.
        """
        check_policy(policy, errors)
        check_count("hub.subscribe", "lag", lag, 1)
        check_asked("hub.subscribe", id, asked)
        source = Subscription(
            self._streams, self._permissions, id, view, after=after, policy=policy, lag=lag, errors=errors, asked=asked
        )
        return Stream(source)

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
        return read_many(read, given, after=after, errors=errors, concurrency=concurrency, check=self._streams.here)

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
            self._streams.check_open()
            return self._topics.make(name, owner, max_events, max_bytes, max_age)
        if not (same_owner(topic.owner, owner) or (owner is None and self._permissions.authorize is not None)):
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
        check_asked("hub.cancel", id, asked)
        if not isinstance(reason, str | None):  # pyright: ignore[reportUnnecessaryIsInstance]  # whoever has no type checker
            raise TypeError(f"hub.cancel(reason=...) takes a str, got {type(reason).__name__}")
        return await self._streams.end(id, reason, partial(self._permissions.ask, id, action="cancel", asked=asked))

    async def forget(self, id: str, /, *, owner: str | None = None) -> None:
        """Forget a stream now, here and in the store: one that runs is cancelled first. Who reads it here still comes to its end,
        who reads it in another process too, or to UnknownStream where the store was faster.

        Args:
            id: Its name.
            owner: Whose stream the caller takes it for; asked for as "cancel".

        Raises:
            UnknownStream: no such stream, or somebody else's.
            StreamBusy: it runs in another process: cancel it first.
            StoreError: the store does not answer.

        >>> async def main():
        ...     async with Hub() as hub:
        ...         await hub.start("greeting", ["Hello"])
        ...         await hub.forget("greeting")
        ...         return await hub.list()
        >>> run(main())
        []
        """
        check_asked("hub.forget", id, (owner,))
        found = await self._streams.find(id)
        if found is None:
            raise unknown(id)
        await self._permissions.ask(id, found.status.owner, found.first_epoch, "cancel", (owner,))
        await self._streams.clear(id, "forgotten")

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

    async def look(self, id: str, *, asked: Asked, action: Action = "status") -> StreamStatus:
        """The ground of `status`; `asked` as for `read`, and `action` is what the caller is about to do."""
        check_asked("hub.status", id, asked)
        found = await self._streams.find(id)
        if found is None:
            raise unknown(id)
        await self._permissions.ask(id, found.status.owner, found.first_epoch, action, asked)
        return found.status

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
        check_asked("hub.message", id, asked)
        allow = partial(self._permissions.ask, id, action="subscribe", asked=asked)
        return await self._streams.sit(id, allow, Log.message)

    async def list(self) -> list[StreamStatus]:
        """All streams that this hub knows of, running and kept, newest first; with a store the newest thousand of all processes.

        For whoever runs the application: nobody's owner is asked for.

        Raises:
            StoreError: there is a store, and it cannot be asked.
        """
        return await self._streams.list()

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
        await self._streams.drain(timeout)

    async def aclose(self) -> None:
        """End all streams as "draining", close their sources, store what is to be stored, and let go of the store.

        May be called again, and at once by several: each returns when it is done. The store gets `close_timeout` seconds for
        what it does not have yet. Called from inside a source of this hub it waits for that very source, until it is abandoned.

        Raises:
            StoreError: the store did not close well.
        """
        await self._streams.aclose()

    def _close_topics(self) -> None:
        self._topics.close()

    async def __aenter__(self) -> Self:
        self._streams.here()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            await self.aclose()
        except Exception:
            if error is None:
                raise
            LOGGER.warning("a hub was left by an error, and its store did not close well", exc_info=True)


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


def _metadata_of(given: Mapping[str, object]) -> Mapping[str, object]:
    """A copy that nobody can change."""
    if given is _NO_METADATA:
        return given
    if not isinstance(given, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]  # whoever has no type checker
        raise TypeError(f"hub.start(metadata=...) takes a mapping, got {type(given).__name__}")
    return MappingProxyType(msgspec.json.decode(check_create(0, given)))
