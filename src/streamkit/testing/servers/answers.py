"""What a provider says, as steps: bytes of events in the dialect's wire, pauses, and ways to stop.

    script --Codec--> Bytes(events=1), Pause, Bytes ... --faults--> steps --listener--> socket

Steps are made one at a time, when the one before it is out: a script may be endless, and what an error looks like in the
middle of an answer is asked of the encoder as it stands there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any, Final, TypeAlias

from streamkit.dialects.outcomes import DONE, MESSAGES, Outcome, outcome_of_event
from streamkit.events import Event, Finish, Ping, TextDelta, Usage
from streamkit.sinks.codec import Codec

__all__ = ["HOLD", "Answer", "Bytes", "Pause", "Script", "Step", "Tear", "endless", "refusal", "steps_of"]

Item: TypeAlias = str | float | Event
"""A part of a script: an event, text for a `TextDelta`, or a pause in seconds."""

Script: TypeAlias = str | Iterable[Item] | Callable[[Any], "str | Iterable[Item]"]
"""What a provider says: see `provider`. A callable says itself what it takes the parsed body for."""


@dataclass(frozen=True)
class Bytes:
    """Bytes of the body that are written at once; `events` of the script end with them."""

    data: bytes
    events: int = 0


@dataclass(frozen=True)
class Pause:
    """Nothing for so many seconds, or until the client leaves."""

    seconds: float


class _Hold:
    def __repr__(self) -> str:
        return "HOLD"


HOLD: Final = _Hold()
"""Nothing more, until the client leaves."""


@dataclass(frozen=True)
class Tear:
    """The connection is closed in the middle of a chunk; `reset` says so with a RST."""

    reset: bool = False


Step: TypeAlias = Bytes | Pause | Tear | _Hold


@dataclass
class Answer:
    """One answer on its way out, for faults to change.

    Attributes:
        number: Which request it answers, from 1 (those that ask for a stream are counted).
        request: The request's body.
        codec: What writes its events; None for one that was refused.
        steps: What follows the headers.
        status, headers: The HTTP response's.
        mute: Nothing is sent, no headers either.
        dialect: The name of the dialect.
    """

    number: int
    request: object
    codec: Codec | None
    steps: Iterator[Step]
    dialect: str
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict[str, str])
    mute: bool = False

    def ping(self) -> bytes:
        """The dialect's own sign of life, or else the wire's: a comment."""
        return (self.codec.encode([Ping()]) or self.codec.heartbeat) if self.codec else b""

    def failure(self, code: str, retry_after: float | None = None) -> bytes:
        """How the dialect says, at this point of the answer, that it failed."""
        if self.codec is None:
            return b""
        retryable = code in ("overloaded", "rate-limited", "timeout")
        return self.codec.close(Outcome("error", code, MESSAGES.get(code, MESSAGES["error"]), retryable, retry_after))


def endless(text: str = "word ") -> Script:
    """A script that never ends: the same text again and again.

    >>> from itertools import islice
    >>> [event.text for event in islice(endless("a")(None), 3)]
    ['a', 'a', 'a']
    """
    return lambda request: repeat(TextDelta(text))


def steps_of(script: Script, request: object, codec: Codec) -> Iterator[Step]:
    """A script as steps, one for each event and one for the end."""
    said = script(request) if callable(script) else script
    return _steps(_spoken(said) if isinstance(said, str) else said, codec)


def _spoken(text: str) -> Iterator[Item]:
    words = re.findall(r"\s*\S+\s*?(?=\s|$)|\s+$", text)
    yield from map(TextDelta, words)
    yield Usage(1, len(words))
    yield Finish("stop")


def _steps(items: Iterable[Item], codec: Codec) -> Iterator[Step]:
    opening = codec.open()
    for item in items:
        if isinstance(item, int | float):
            yield Pause(item)
            continue
        data = codec.encode([item])
        if codec.stopped_by is not None:
            if isinstance(codec.stopped_by, Exception):
                raise codec.stopped_by
            yield Bytes(opening + codec.close(outcome_of_event(codec.stopped_by)), 1)
            return
        yield Bytes(opening + data, 1)
        opening = b""
    yield Bytes(opening + codec.close(DONE))


_TYPES: Final[Mapping[int, tuple[str, str]]] = {
    # status: OpenAI's word, Anthropic's word
    400: ("invalid_request_error", "invalid_request_error"),
    401: ("invalid_api_key", "authentication_error"),
    403: ("permission_denied", "permission_error"),
    404: ("not_found", "not_found_error"),
    413: ("request_too_large", "request_too_large"),
    429: ("rate_limit_exceeded", "rate_limit_error"),
    529: ("overloaded", "overloaded_error"),
}


def refusal(dialect: str, status: int, message: str) -> bytes:
    """The body of an HTTP error in the provider's form."""
    openai_word, anthropic_word = _TYPES.get(status, ("server_error", "api_error"))
    if dialect == "anthropic":
        body: dict[str, object] = {"type": "error", "error": {"type": anthropic_word, "message": message}}
    else:
        body = {"error": {"message": message, "type": openai_word, "param": None, "code": openai_word}}
    return json.dumps(body).encode()
