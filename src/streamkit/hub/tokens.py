"""Resume tokens: where in a stream a reader stands, as a short text that it can be given and bring back.

    <epoch>.<offset>      both in plain ASCII: the epoch in lower-case hexadecimal, the offset in decimal

The offset numbers the events of one stream, from 0. The epoch says under which writer the event was written. The first
epoch of a stream is drawn at random, so a token of another stream does not fit; each writer that takes the stream over
gets the next. A token tells where to go on. It is never a credential: who may read is asked apart from it.
"""

from __future__ import annotations

import re
import secrets
from typing import Final

from streamkit.errors import InvalidToken

__all__ = ["FIRST_EPOCH_BITS", "first_epoch", "format_token", "parse_token"]

# Most tokens that were ever drawn for streams of one hub collide with a chance of 2^-44.
FIRST_EPOCH_BITS: Final = 44

# An offset has at most 15 digits and an epoch 12: what is longer was never given, and costs nothing to refuse.
_TOKEN: Final = re.compile(r"([0-9a-f]{1,12})\.(0|[1-9][0-9]{0,14})", re.ASCII)


def first_epoch() -> int:
    """The epoch of a new stream, before anybody has written to it."""
    return secrets.randbits(FIRST_EPOCH_BITS) + 1


def format_token(epoch: int, offset: int) -> str:
    """The token of an event.

    >>> format_token(2748, 7)
    'abc.7'
    """
    return f"{epoch:x}.{offset}"


def parse_token(token: str) -> tuple[int, int]:
    """The epoch and the offset of a token, whoever brought it.

    Raises:
        InvalidToken: nothing that `format_token` gives.

    >>> parse_token("abc.7")
    (2748, 7)
    """
    found = _TOKEN.fullmatch(token) if isinstance(token, str) and len(token) <= 28 else None  # pyright: ignore[reportUnnecessaryIsInstance]
    if found is None:
        raise InvalidToken("this is no resume token: start without one, from the beginning", reason="malformed")
    return int(found[1], 16), int(found[2])
