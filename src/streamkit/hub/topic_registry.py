"""The topics of one hub: each name once, no more of them open than it may have, and forgotten when nobody uses them.

What a topic is, and what it does, is in `topics`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final
from weakref import WeakValueDictionary

from streamkit.errors import BufferFull, StreamBusy, StreamDraining
from streamkit.flow.clock import Clock
from streamkit.flow.plan import check_count, check_seconds
from streamkit.flow.tasks import Backend
from streamkit.hub.expiring import Expiries
from streamkit.hub.log import Limits
from streamkit.hub.presence import check_name
from streamkit.hub.topics import Topic, TopicAction

__all__ = ["Topics", "check_topic"]

# What is kept of a topic, unless told: rooms are many, and what was said is old soon.
_TOPIC_EVENTS: Final = 4096
_TOPIC_BYTES: Final = 4 << 20


class Topics:
    """The topics of one hub: each name once.

    Args:
        here: The hub's event loop and clock; raises StreamBusy in another one.
        ask: Asks the hub's `authorize`; None where there is none.
        ttl: Seconds after which a topic is forgotten that nobody uses.
        size: Most topics that are open.

    Attributes:
        backend, clock: Of the hub, once a topic is open.
    """

    def __init__(
        self,
        here: Callable[[], tuple[Backend, Clock]],
        ask: Callable[[str, str | None, TopicAction], Awaitable[None]] | None,
        *,
        ttl: float,
        size: int,
    ) -> None:
        self.ask = ask
        self.ttl = ttl
        self.backend: Backend
        self.clock: Clock
        self._here = here
        self._expiries: Expiries | None = None
        self._size = size
        # Whoever holds a topic that is idle finds the same one by its name.
        self._named: WeakValueDictionary[str, Topic] = WeakValueDictionary()
        self._open: dict[str, Topic] = {}
        self._closed = False

    def find(self, name: str) -> Topic | None:
        """The topic of this name, if anybody has it."""
        return self._named.get(name)

    def make(self, name: str, owner: str | None, events: int | None, bytes: int | None, age: float | None) -> Topic:
        """A new one."""
        limits = Limits(events or _TOPIC_EVENTS, bytes or _TOPIC_BYTES, age, fold=False)
        topic = self._named[name] = Topic(self, name, owner, limits)
        return topic

    def here(self) -> tuple[Backend, Clock]:
        """The event loop and the clock of the hub."""
        self.backend, self.clock = self._here()
        return self.backend, self.clock

    def check_loop(self, backend: Backend) -> None:
        """Raise StreamBusy for another event loop than the hub's."""
        if backend.loop is not self.here()[0].loop:
            raise StreamBusy("a hub belongs to the event loop that first used it, and this is another one")

    def opened(self, topic: Topic) -> None:
        """It is about to be open.

        Raises:
            BufferFull: too many are in use.
            StreamDraining: the hub is closed.
        """
        if self._closed:
            raise StreamDraining("the hub is closed, and with it this topic")
        if len(self._open) >= self._size:
            unused = next((other for other in self._open.values() if not other.in_use), None)
            if unused is None:
                raise BufferFull(
                    f"this hub has {len(self._open)} topics in use, and may have no more: close some, or give it a larger "
                    "max_streams",
                    size=self._size,
                )
            unused.forget()
        self._open[topic.name] = topic

    def wait(self, topic: Topic, seconds: float) -> float:
        """Tell this topic when so many seconds are over; when that will be."""
        if self._expiries is None:
            self._expiries = Expiries(self.clock, self._expire)
        return self._expiries.add(topic.name, seconds)

    def _expire(self, name: str, when: float) -> None:
        topic = self._open.get(name)
        if topic is not None:
            topic.expire(when)

    def rests(self, topic: Topic) -> None:
        """It is idle."""
        if self._open.get(topic.name) is topic:
            del self._open[topic.name]

    def closed(self, topic: Topic) -> None:
        """It is closed, and its name free."""
        self.rests(topic)
        if self._named.get(topic.name) is topic:
            del self._named[topic.name]

    def close(self) -> None:
        """Close all: the hub goes."""
        self._closed = True
        for topic in tuple(self._open.values()):
            topic.close("the hub is closing, and with it this topic")
        if self._expiries is not None:
            self._expiries.cancel()

    def __len__(self) -> int:
        return len(self._open)


def check_topic(name: object, events: object, bytes: object, age: object) -> None:
    """Raise TypeError or ConfigError for what no topic can have."""
    check_name("topic", name)
    if events is not None:
        check_count("hub.topic", "max_events", events, 1)
    if bytes is not None:
        check_count("hub.topic", "max_bytes", bytes, 1)
    if age is not None:
        check_seconds("hub.topic", "max_age", age)
