"""Operators that know the time."""

from __future__ import annotations

from streamkit.errors import ConfigError
from streamkit.flow.plan import Same, check_seconds
from streamkit.flow.timeouts import TimeoutBoundary

__all__ = ["timeout"]


def timeout(*, first: float | None = None, idle: float | None = None, total: float | None = None) -> Same:
    """Fail when the source is too slow.

    Args:
        first: Most seconds until the first item; `idle` where it is not given.
        idle: Most seconds between two items.
        total: Most seconds from the first request to the end.

    The clocks run only while the source is being waited for: a slow consumer is never timed out.

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
    limits = {"first": first, "idle": idle, "total": total}
    for name, value in limits.items():
        if value is not None:
            check_seconds("timeout", name, value)
    if first is None and idle is None and total is None:
        raise ConfigError("timeout() needs at least one of first=, idle=, total= (seconds)")
    return Same(TimeoutBoundary(first, idle, total))
