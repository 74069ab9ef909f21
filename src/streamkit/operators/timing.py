"""Operators that know the time."""

from __future__ import annotations

from streamkit.errors import ConfigError
from streamkit.flow.plan import Same, check_seconds
from streamkit.flow.timeouts import TimeoutBoundary

__all__ = ["timeout"]


def timeout(
    *, first: float | None = None, idle: float | None = None, total: float | None = None, wire: float | None = None
) -> Same:
    """Fail when the source is too slow.

    Args:
        first: Most seconds until the first item; `idle` where it is not given.
        idle: Most seconds between two items.
        total: Most seconds from the first request to the end.
        wire: Most seconds without a sign of life from a provider: any byte, also a ping that gives no item. For a
            source without a wire, each item is one.

    The clocks run only while the source is being waited for: a slow consumer is never timed out. A provider that pings
    for ever runs into `idle`, one whose connection has died into `wire`, which can be much shorter.

    Yields:
        The items, unchanged.

    Memory: nothing on asyncio; one item on trio, where the source has a task of its own.
    Cancellation: the source is cancelled when a clock runs out, and closed.
    Raises:
        StreamTimeout: with `.phase` and, for a stream of events, `.partial`.
        ConfigError, TypeError: no limit at all, or one that is not positive seconds, at the call.

    >>> run((stream([1, 2]) | timeout(first=5, idle=1)).collect())
    [1, 2]
    """
    limits = {"first": first, "idle": idle, "total": total, "wire": wire}
    for name, value in limits.items():
        if value is not None:
            check_seconds("timeout", name, value)
    if all(value is None for value in limits.values()):
        raise ConfigError("timeout() needs at least one of first=, idle=, total=, wire= (seconds)")
    return Same(TimeoutBoundary(first, idle, total, wire))
