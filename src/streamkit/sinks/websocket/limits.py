"""What one client may cost: its messages, its streams, its slowness. Checked once, when routes are made."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

from streamkit.errors import ConfigError
from streamkit.flow.plan import check_count, check_seconds
from streamkit.hub.reading import Policy

__all__ = ["Limits", "Rate", "Slow"]

Slow: TypeAlias = Literal["send", "coalesce", "drop", "disconnect"]
"""What a client gets that reads slowly.

"send": all of it, later. "coalesce": all of it, what it missed joined. "drop": the newest, and `Gap` for what it missed.
"disconnect": an `end` that it can resume from, and close code 1013.
"""

POLICIES: Final[dict[Slow, Policy]] = {"send": "lag", "coalesce": "conflate", "drop": "latest", "disconnect": "lag"}

# A session asks its client to acknowledge so often, where it wants that at all.
ACK_EVERY: Final = 16


class Limits(msgspec.Struct, frozen=True):
    """The numbers of `WebSocketRoutes`; see there."""

    slow: Slow
    max_pending_bytes: int
    ack_window: int | None
    max_message_bytes: int
    max_messages_per_second: int
    max_streams: int
    max_refusals: int
    stall_timeout: float
    silence: float | None
    close_timeout: float

    @property
    def policy(self) -> Policy:
        """The hub's, for readers of these."""
        return POLICIES[self.slow]

    def check(self, where: str) -> None:
        """Raise ConfigError or TypeError, naming the one that cannot be."""
        if self.slow not in POLICIES:
            raise ConfigError(f"{where}: slow={self.slow!r} is not one of {', '.join(map(repr, POLICIES))}")
        for name in ("max_pending_bytes", "max_message_bytes", "max_messages_per_second", "max_streams", "max_refusals"):
            check_count(where, name, getattr(self, name), 1)
        if self.ack_window is not None:
            check_count(where, "ack_window", self.ack_window, 1)
        for name in ("stall_timeout", "close_timeout"):
            check_seconds(where, name, getattr(self, name))
        if self.silence is not None:
            check_seconds(where, "silence", self.silence)


class Rate:
    """Messages per second, as a bucket: quick ones may come together, `at_once` of them, and not for long.

    >>> rate = Rate(2, 2, now=0.0)
    >>> [rate.admits(when) for when in (0.0, 0.0, 0.0, 0.5)]
    [True, True, False, True]
    >>> rate.give_back()
    >>> rate.admits(0.5)
    True
    """

    __slots__ = ("_at_once", "_left", "_per_second", "_when")

    def __init__(self, per_second: int, at_once: int, *, now: float) -> None:
        self._per_second = per_second
        self._at_once = float(at_once)
        self._left = self._at_once
        self._when = now

    def admits(self, now: float) -> bool:
        """Whether one more may come now; it counts if so."""
        self._left = min(self._left + (now - self._when) * self._per_second, self._at_once)
        self._when = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True

    def give_back(self) -> None:
        """The last one that was admitted does not count."""
        self._left = min(self._left + 1.0, self._at_once)
