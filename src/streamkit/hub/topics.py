"""Topics: many publishers, many subscribers, one order for all; and who is there.

    async with hub.topic("room").join("ada", metadata={"color": "teal"}):
        async for event in hub.topic("room").subscribe(): ...

A topic is a log without an end, of which nothing is folded: what several publishers say does not join into one text, so what its
bounds push out is forgotten, and a reader who was there gets a `Gap`. What else there is to know of readers, policies and
tokens is in `log` and `reading`. States, and who moves them:

    idle      no log, and nothing remembered: before its first use, and again when nobody has used it for the hub's `ttl`
    open      publishers append, readers read, members are there
    closed    for good, by `aclose` or by its hub: readers end as "draining", members have left

A topic lives in the process of its hub, whatever the hub's store: other processes have topics of their own by this name.
Who is there is not among the events; see `presence`. What topics there are is the matter of `topic_registry`.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, Final, Literal, Protocol, TypeAlias

import anyio

from streamkit.dialects.outcomes import to_error_event
from streamkit.errors import ConfigError, ReaderLagged, StreamBusy, StreamDraining
from streamkit.events.model import Custom, Event, Gap
from streamkit.flow.clock import Clock
from streamkit.flow.fanout import for_one_reader
from streamkit.flow.plan import check_count
from streamkit.flow.runs import Run
from streamkit.flow.sources import Feed, Source
from streamkit.flow.streams import Stream
from streamkit.flow.tasks import Backend
from streamkit.hub.log import Limits, Log
from streamkit.hub.presence import Member, Membership, Presence, PresenceChange, Watcher, check_metadata, check_name
from streamkit.hub.producing import event_of
from streamkit.hub.reading import Errors, Policy, Reader, View, check_policy, direct, entries_of, events_of
from streamkit.hub.tokens import first_epoch, parse_token

__all__ = ["ANNOUNCED", "TOPIC_LAG", "Topic", "TopicAction", "TopicHub", "TopicSink"]

ANNOUNCED: Final = "stream-announced"
"""The name of the Custom event that says of a whole stream that it is there: `{"id": ..., "metadata": {...}}`."""

TopicAction: TypeAlias = Literal["subscribe", "resume", "publish"]

# Events that a reader may lag with "disconnect", or be ahead of with "backpressure", unless told.
TOPIC_LAG: Final = 1024

# A publisher that never waits lets its readers have a turn after so many events.
_TURN_EVENTS: Final = 64

_NO_METADATA: Final[Mapping[str, object]] = MappingProxyType({})


class Named(Protocol):
    """What has an id: a `Generation`."""

    @property
    def id(self) -> str: ...


class TopicHub(Protocol):
    """What a topic knows of its hub; see `topic_registry`."""

    ask: Callable[[str, str | None, TopicAction], Awaitable[None]] | None
    ttl: float
    backend: Backend
    clock: Clock

    def here(self) -> tuple[Backend, Clock]: ...
    def check_loop(self, backend: Backend) -> None: ...
    def opened(self, topic: Topic) -> None: ...
    def wait(self, topic: Topic, seconds: float) -> float: ...
    def rests(self, topic: Topic) -> None: ...
    def closed(self, topic: Topic) -> None: ...


class Topic:
    """A place in a hub where many publish and many read; made by `hub.topic(name)`, once for each name.

    Who holds it may use it; a hub with an `authorize` is asked with the topic's owner as well: "publish" for `publish`, `announce`
    and `join`, "subscribe" and "resume" for readers.

    Attributes:
        name: What it is called.
        owner: Whose it is, or None.

    Memory: its events up to its bounds; per reader some 2 KB; per watcher of `presence` a reference to each member.

    >>> async def main():
    ...     async with sk.Hub() as hub:
    ...         topic = hub.topic("news")
    ...         await topic.publish("Hello", sk.Custom("weather", "fine"))
    ...         return await topic.subscribe(after="start").take(2).collect()
    >>> run(main())
    [TextDelta(text='Hello', index=0, choice=0), Custom(name='weather', data='fine')]
    """

    __slots__ = (
        "__weakref__",
        "_all",
        "_closed",
        "_expires",
        "_fed",
        "_fed_at_most",
        "_last_use",
        "_limits",
        "_log",
        "_presence",
        "_publishing",
        "_turn",
        "name",
        "owner",
    )

    def __init__(self, all: TopicHub, name: str, owner: str | None, limits: Limits) -> None:
        self.name = name
        self.owner = owner
        self._all = all
        self._limits = limits
        self._log: Log | None = None
        self._presence: Presence | None = None
        # Who waits for readers with "backpressure", one behind the other.
        self._turn: anyio.Lock
        self._publishing = 0
        # Events that were published since a publisher let others have a turn.
        self._fed = 0
        self._fed_at_most = min(_TURN_EVENTS, max(1, limits.events >> 2))
        self._last_use = 0.0
        # When it is looked at again, whether it may be forgotten; None where nobody waits for that.
        self._expires: float | None = None
        self._closed: StreamDraining | None = None

    # -- publishing

    async def publish(self, *items: Event | str) -> str:
        """Let all subscribers have something, in one piece and in the same order for all.

        It waits for nobody but readers with policy "backpressure", and lets others have a turn now and then.

        Args:
            items: Events or text, at least one. A Finish or an ErrorEvent is an event like any other: a topic has no end.

        Returns:
            The resume token of the last one.

        Cancellation: while it waits for readers the rest of the items is not published; else it is all or none.
        Raises:
            ConfigError, TypeError: no items, or one that is neither an event nor text: nothing is published.
            StreamDraining: the topic was closed; what had not been published is not.
            BufferFull: the hub has as many topics in use as it may.
            UnknownStream: the hub's `authorize` says no.
        """
        if not items:
            raise ConfigError("publish() needs at least one item")
        events = [event_of(item) for item in items]
        await self._ask("publish")
        log = self._open()
        if self._fed >= self._fed_at_most:
            self._fed = 0
            self._publishing += 1
            try:
                await self._all.backend.checkpoint()
            finally:
                self._publishing -= 1
            log = self._open()
        self._fed += len(events)
        if log.lockstep or self._turn.locked():
            await self._publish_in_step(log, events)
        else:
            log.extend(events)
        token = log.token(log.head - 1)
        self.look()
        return token

    async def announce(self, stream: str | Named, /, *, metadata: Mapping[str, object] = _NO_METADATA) -> str:
        """Say of a whole stream that it is there, for those who read `streams`, or `hub.subscribe_many(topic)`.

        It is published as a Custom event with the name `ANNOUNCED`. Nobody looks whether there is such a stream.

        Args:
            stream: A generation, or its id.
            metadata: JSON values.

        Returns:
            The resume token of that event.

        Raises:
            TypeError: no id, no metadata. Others: as `publish`.
        """
        id = stream if isinstance(stream, str) else getattr(stream, "id", None)
        if not isinstance(id, str):
            raise TypeError(f"announce() takes a stream's id or a generation, got {type(stream).__name__}")
        return await self.publish(Custom(ANNOUNCED, {"id": id, "metadata": check_metadata(metadata, "announce")}))

    def sink(self) -> TopicSink:
        """Where `stream.to` may deliver; many streams may at once.

        >>> async def main():
        ...     async with sk.Hub() as hub:
        ...         topic = hub.topic("news")
        ...         await stream(["a", "b"]).to(topic.sink())
        ...         return (await topic.subscribe(after="start").take(2).collect())[-1].text
        >>> run(main())
        'b'
        """
        return TopicSink(self)

    # -- reading

    def subscribe(
        self,
        *,
        after: str | None = None,
        policy: Policy = "lag",
        lag: int = TOPIC_LAG,
        errors: Errors = "raise",
    ) -> Stream[Event]:
        """What is published, by whomever.

        Args:
            after: None begins now, which is when the stream is opened; "start" with all that is remembered; a resume token behind
                its event.
            policy: What this reader gets if it is slow; see `Hub.subscribe`. With "conflate" neighbouring deltas are joined whoever
                published them.
            lag: For "disconnect" and "backpressure", at least 1.
            errors: How it ends when the topic is closed: "raise" StreamDraining, or "yield" its ErrorEvent.

        Yields:
            Events; a `Gap` where some are forgotten that it had not seen. It has no end while the topic is open.

        Memory: nothing that grows.
        Cancellation: of one reader touches no other. The stream can be run any number of times, also at once.
        Raises:
            ConfigError, TypeError: a policy or number that cannot be, at the call.
            InvalidToken: at the call, for what is no token; when it is run, for one that this topic never gave, or gave before
                it was forgotten.
            ReaderLagged: see `policy`.
            StreamDraining: the topic was closed; `last_id` is its newest token.
            UnknownStream: the hub's `authorize` says no.
            BufferFull: the hub has as many topics in use as it may.
            StreamBusy: it is run in another event loop than the hub.
        """
        return self._read(events_of, after, policy, lag, errors)

    def entries(
        self,
        *,
        after: str | None = None,
        policy: Policy = "lag",
        lag: int = TOPIC_LAG,
        errors: Errors = "raise",
    ) -> Stream[tuple[str, Event]]:
        """The same as `subscribe`, each event behind the token to resume from when it has been seen."""
        return self._read(entries_of, after, policy, lag, errors)

    def streams(self, *, after: str | None = None) -> Stream[str]:
        """The ids of the streams that are announced.

        Args:
            after: As for `subscribe`; "start" begins with those that are remembered, and takes no offence at others.

        Yields:
            Ids, one for each announcement.

        Memory: nothing that grows.
        Cancellation: of one reader touches no other.
        Raises:
            ReaderLagged: announcements were forgotten before they were read here. Others: as `subscribe`.
        """
        return self._read(_announcements, after, "lag", TOPIC_LAG, "raise", from_floor=True)

    # -- who is there

    def join(self, member: str | None = None, *, metadata: Mapping[str, object] = _NO_METADATA) -> Membership:
        """Be there, for as long as an `async with` lasts, however it ends.

        A name is there once: two that share one would overwrite each other's metadata, and nobody could say who left. Let somebody
        who may come twice have a random name, and say in the metadata who it is.

        Args:
            member: The name, 1 to 200 characters; None draws one.
            metadata: What the others see: JSON values.

        Raises:
            ConfigError, TypeError: a name or metadata that cannot be, at the call.
            StreamBusy: when it is entered: there is one of this name.
            StreamDraining, UnknownStream, BufferFull: as `publish`.

        >>> async def main():
        ...     async with sk.Hub() as hub:
        ...         topic = hub.topic("room")
        ...         async with topic.join("ada", metadata={"typing": False}) as ada:
        ...             await ada.update({"typing": True})
        ...             there = topic.members["ada"].metadata
        ...         return there, topic.members
        >>> run(main())
        ({'typing': True}, {})
        """
        if member is not None:
            check_name("member", member)
        return Membership(self, member, check_metadata(metadata, "join"))

    @property
    def members(self) -> Mapping[str, Member]:
        """Who is there at this moment, in the order in which they came."""
        return {} if self._presence is None else dict(self._presence.members)

    def presence(self) -> Stream[PresenceChange]:
        """Who is there when it is first read, as "joined", then every change.

        A reader that lags by more than 1024 changes gets in their place the difference to what it knows.

        Yields:
            Changes; it has no end while the topic is open.

        Memory: a reference to each member.
        Cancellation: of one reader touches no other. The stream can be run any number of times, also at once.
        Raises:
            StreamDraining: the topic was closed, after "left" of all who were there.
            UnknownStream: the hub's `authorize` says no.
            BufferFull: the hub has as many topics in use as it may.
            StreamBusy: it is run in another event loop than the hub.
        """

        def open_feed(run: Run[Any]) -> Feed:
            feed = Feed(None, shape="lists")

            async def start() -> Watcher:
                self._all.check_loop(run.backend)
                await self._ask("subscribe")
                self._open()
                assert self._presence is not None
                watcher = Watcher(self._presence)
                feed.closers.append((f"watcher of {self.name}", partial(self._watcher_left, self._presence)))
                return watcher

            feed.start = start
            return feed

        return Stream(Source(f"presence of topic {self.name!r:.80}", open_feed, repeatable=True))

    # -- closing, looking

    async def aclose(self) -> None:
        """Close it, for all and for good: readers end as "draining", members leave; the name is free for another topic."""
        self.close("this topic was closed")

    def close(self, why: str) -> None:
        """The ground of `aclose`, which waits for nothing."""
        if self._closed is not None:
            return
        log, presence = self._log, self._presence
        last_id = log.token(log.head - 1) if log is not None and log.head else None
        self._closed = fault = StreamDraining(why, last_id=last_id)
        self._all.closed(self)
        if log is not None and presence is not None:
            log.end(to_error_event(fault), fault)
            presence.end(fault)

    @property
    def token(self) -> str | None:
        """The resume token of the newest event, or None where nothing was published that is remembered."""
        log = self._log
        return log.token(log.head - 1) if log is not None and log.head else None

    @property
    def readers(self) -> int:
        """How many read it."""
        return 0 if self._log is None else self._log.readers

    @property
    def in_use(self) -> bool:
        """Whether anybody publishes, reads, watches or is there."""
        log, presence = self._log, self._presence
        return bool(self._publishing or (log is not None and log.readers)) or (
            presence is not None and bool(presence.members or presence.watchers)
        )

    def __repr__(self) -> str:
        return f"<Topic {self.name!r}, {self.readers} readers, {len(self.members)} members{', closed' if self._closed else ''}>"

    def check_limits(self, events: int | None, bytes: int | None, age: float | None) -> None:
        """Raise ConfigError for limits that it does not have; None is none that was asked for."""
        limits = self._limits
        for name, asked, has in (
            ("max_events", events, limits.events),
            ("max_bytes", bytes, limits.bytes),
            ("max_age", age, limits.age),
        ):
            if asked is not None and asked != has:
                raise ConfigError(f"the topic {self.name!r:.80} is open with {name}={has}, and cannot have {asked} as well")

    # -- within

    def _open(self) -> Log:
        """Its log, a new one if nothing is remembered.

        Raises:
            StreamDraining: it is closed.
            BufferFull: there are too many.
            StreamBusy: this is another event loop than the hub's.
        """
        if self._closed is not None:
            raise for_one_reader(self._closed, None)
        all = self._all
        backend, clock = all.here()
        if self._log is None:
            all.opened(self)
            first = first_epoch()
            self._log = Log(backend, clock, self._limits, first_epoch=first, epoch=first + 1)
            self._log.on_left = self.look
            self._presence = Presence(backend.crowd())
            self._turn = anyio.Lock()
        return self._log

    async def _ask(self, action: TopicAction) -> None:
        if self._all.ask is not None:
            await self._all.ask(self.name, self.owner, action)

    async def _publish_in_step(self, log: Log, events: Sequence[Event]) -> None:
        """Append no more at a time than readers with "backpressure" have room for."""
        waiter = self._all.backend.waiter()
        at = 0
        self._publishing += 1
        try:
            async with self._turn:
                while at < len(events):
                    await log.wait_for_room(waiter)
                    if log.over:
                        raise for_one_reader(self._closed or StreamDraining("this topic was closed"), None)
                    room = min((place.room(log.head) for place in log.lockstep), default=len(events))
                    log.extend(events[at : at + room])
                    at += room
        finally:
            self._publishing -= 1
            self.look()

    def append(self, event: Event) -> None:
        """Publish at once, also to readers who are to be waited for; nothing where it is closed."""
        if self._closed is None:
            self._open().extend([event])
            self.look()

    def _read(
        self, view: View, after: str | None, policy: Policy, lag: int, errors: Errors, *, from_floor: bool = False
    ) -> Stream[Any]:
        check_policy(policy, errors)
        check_count("topic.subscribe", "lag", lag, 1)
        position = None if after is None or after == "start" else parse_token(after)
        action: TopicAction = "subscribe" if position is None else "resume"

        def open_feed(run: Run[Any]) -> Feed:
            feed = Feed(None, shape="lists")
            self._all.check_loop(run.backend)
            begun = self._open()
            now = begun.head

            async def start() -> Reader:
                await self._ask(action)
                log = self._open()
                log.trim()
                if position is not None:
                    at = log.position(*position)
                elif after == "start":
                    at = log.first if from_floor else 0
                else:
                    at = now if log is begun else 0  # forgotten meanwhile: all that is here now came later
                reader = Reader.of(log, at, policy=policy, size=lag, errors=errors, view=view)
                feed.closers.append((f"reader of {self.name}", reader.leave))
                return reader

            feed.start = start
            if policy == "lag" and not from_floor:  # ids are fewer than events: there may be none in a slice
                feed.direct = direct
            self.look()
            return feed

        return Stream(Source(f"topic {self.name!r:.80} of a hub", open_feed, repeatable=True))

    # -- being forgotten

    def look(self) -> None:
        """Begin to wait, if nobody uses it any more, for the time when it is forgotten."""
        if self._log is None or self._closed is not None:
            return
        self._last_use = self._all.clock.now()
        if self._expires is None and not self.in_use:
            self._expires = self._all.wait(self, self._all.ttl)

    def expire(self, when: float) -> None:
        """The time that it has waited for has come."""
        if self._expires != when:
            return
        self._expires = None
        if self.in_use:
            return
        unused = when - self._last_use
        if unused >= self._all.ttl:
            self.forget()
        else:
            self._expires = self._all.wait(self, self._all.ttl - unused)

    def forget(self) -> None:
        """Remember nothing: nobody uses it. Who comes later finds it as it was at first."""
        self._expires = None
        self._log = None
        self._presence = None
        self._all.rests(self)

    # -- told by members and watchers

    async def enter(self, name: str | None, metadata: Mapping[str, object]) -> Member:
        """Somebody comes; see `join`."""
        await self._ask("publish")
        self._open()
        assert self._presence is not None
        if name is None:
            name = secrets.token_urlsafe(12)
        elif name in self._presence.members:
            raise StreamBusy(f"there is a member {name!r:.80} already: take another name, or None for a random one")
        member = Member(name, metadata, time.time())
        self._presence.tell("joined", member)
        return member

    def change(self, member: Member, metadata: Mapping[str, object]) -> Member:
        """They say something else of themselves."""
        if self._closed is not None:
            raise for_one_reader(self._closed, None)
        assert self._presence is not None
        changed = Member(member.name, metadata, member.since)
        self._presence.tell("updated", changed)
        return changed

    def exit(self, member: Member) -> None:
        """They go."""
        if self._closed is None:
            assert self._presence is not None
            self._presence.tell("left", member)
            self.look()

    def _watcher_left(self, presence: Presence) -> None:
        presence.watchers -= 1
        self.look()


class TopicSink:
    """Publishes what a stream gives. The topic stays open when the stream ends; one that failed says so by an ErrorEvent."""

    __slots__ = ("_topic",)

    def __init__(self, topic: Topic) -> None:
        self._topic = topic

    async def send(self, batch: list[Any], /) -> None:
        """Publish these; returns when readers with "backpressure" have room."""
        await self._topic.publish(*batch)

    async def aclose(self, error: BaseException | None, /) -> None:
        """The stream is over."""
        if isinstance(error, Exception):
            self._topic.append(to_error_event(error))


def _announcements(log: Log, events: Sequence[Event], offsets: Sequence[int]) -> Sequence[str]:
    """The ids of the streams that are announced among these events."""
    ids: list[str] = []
    for event, offset in zip(events, offsets, strict=True):
        match event:
            case Custom(name=name, data={"id": str(id)}) if name == ANNOUNCED:
                ids.append(id)
            case Gap(count=count):
                raise ReaderLagged(
                    f"{count} events of this topic were forgotten before they were read here, and streams may have been announced "
                    "among them: read faster, or give the topic larger bounds",
                    size=len(log.buffer),
                    token=log.token(offset),
                )
            case _:
                continue
    return ids
