"""What providers on loopback say, where a test needs more than a text."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["leisurely"]


def leisurely(request: object) -> Iterator[str | float]:
    """A few words at once, then one now and then, for ever: a client that is slow to leave is not sent ten more by then."""
    yield from ["word "] * 6
    while True:
        yield 0.2
        yield "word "
