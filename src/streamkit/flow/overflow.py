"""What a full buffer does with one more item: six policies, and the two laws that bind them all.

Control events (`events.is_control`) are never merged or dropped: a buffer full of them suspends its
writer whatever the policy. A dropped delta leaves a `Gap` in its place, and gaps that touch are one.
Items that are no events are dropped without a trace in the stream.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

from streamkit.errors import BufferFull, ConfigError
from streamkit.events.model import EVENT_TYPES, Gap, is_control, join_deltas
from streamkit.flow.channel import Channel

__all__ = ["POLICIES", "Overflow", "check_overflow", "make_channel"]

Overflow: TypeAlias = Literal["suspend", "drop_oldest", "drop_newest", "latest", "coalesce", "error"]

Offer: TypeAlias = Callable[["Channel[Any]", Any], None]

# A joined run of deltas grows to this many before the policy suspends instead: the bound of "coalesce".
COALESCE_ITEMS = 4096

_EVENTS = frozenset(EVENT_TYPES)


def check_overflow(overflow: str) -> None:
    """Raise ConfigError for a policy that does not exist."""
    if overflow not in POLICIES:
        raise ConfigError(f"overflow={overflow!r} is not one of {', '.join(map(repr, POLICIES))}")


def make_channel(size: int, overflow: Overflow) -> tuple[Channel[Any], Offer | None]:
    """A channel with its policy; None is "suspend", whose offer is a plain append."""
    if overflow == "suspend":
        return Channel(size), None
    # A gap and the item behind it stand above the bound while they are let in.
    return Channel(size, slack=2, view=_view), POLICIES[overflow]


def _suspend(channel: Channel[Any], item: Any) -> None:
    channel.buffer.append(item)


def _drop_oldest(channel: Channel[Any], item: Any) -> None:
    buffer = channel.buffer
    while len(buffer) >= channel.size:
        oldest = next((at for at, held in enumerate(buffer) if not is_control(held)), None)
        if oldest is None:
            break
        _drop(channel, oldest)
    buffer.append(item)


def _drop_newest(channel: Channel[Any], item: Any) -> None:
    buffer = channel.buffer
    buffer.append(item)
    if len(buffer) > channel.size and not is_control(item):
        _drop(channel, len(buffer) - 1)


def _latest(channel: Channel[Any], item: Any) -> None:
    buffer = channel.buffer
    if not is_control(item):
        newest = next((at for at in range(len(buffer) - 1, -1, -1) if not is_control(buffer[at])), None)
        if newest is not None:
            _drop(channel, newest)
    buffer.append(item)


def _coalesce(channel: Channel[Any], item: Any) -> None:
    buffer = channel.buffer
    last = buffer[-1] if buffer else None
    if len(buffer) >= channel.size and isinstance(last, _Run) and last.add(item):
        return
    if len(buffer) >= channel.size and not is_control(item) and not isinstance(last, _Run):
        run = _Run(last)
        if run.add(item):
            buffer[-1] = run
            return
    buffer.append(item)


def _error(channel: Channel[Any], item: Any) -> None:
    if len(channel.buffer) >= channel.size:
        raise BufferFull(
            f"a buffer of {channel.size} items with overflow='error' is full: read faster, "
            "make it larger, or choose a policy that suspends or drops",
            size=channel.size,
        )
    channel.buffer.append(item)


POLICIES: dict[str, Offer] = {
    "suspend": _suspend,
    "drop_oldest": _drop_oldest,
    "drop_newest": _drop_newest,
    "latest": _latest,
    "coalesce": _coalesce,
    "error": _error,
}


class _Run:
    """Deltas of one channel, joined when they are read (joining at each arrival would be quadratic)."""

    __slots__ = ("items",)

    def __init__(self, first: Any) -> None:
        self.items = [first]

    def add(self, item: Any) -> bool:
        """Take the item in, unless it belongs to another channel or the run has its full length."""
        if len(self.items) >= COALESCE_ITEMS or len(join_deltas([self.items[-1], item])) != 1:
            return False
        self.items.append(item)
        return True


def _view(item: Any) -> Any:
    """What a reader sees of a buffered item."""
    return join_deltas(item.items)[0] if item.__class__ is _Run else item


def _drop(channel: Channel[Any], at: int) -> None:
    """Remove one delta, leaving a gap if it was an event."""
    buffer = channel.buffer
    dropped = buffer[at]
    del buffer[at]
    if dropped.__class__ not in _EVENTS:
        return
    count = 1
    if at < len(buffer) and buffer[at].__class__ is Gap:
        count += buffer[at].count
        del buffer[at]
    if at > 0 and buffer[at - 1].__class__ is Gap:
        buffer[at - 1] = Gap(buffer[at - 1].count + count)
    else:
        buffer.insert(at, Gap(count))
