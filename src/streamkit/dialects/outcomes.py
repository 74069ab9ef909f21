"""How a stream ended, in the words that may be shown to its readers.

An exception's text is for logs: it may quote a prompt, a path, a key. What leaves the process is an
`Outcome`: a code from a short list, whether trying again may help, a correlation id to find the log
line by, and one fixed sentence per code. Nothing else of the exception is copied.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

import msgspec

from streamkit.errors import (
    AuthError,
    BadRequestError,
    BufferFull,
    ContentBlockedError,
    InvalidToken,
    OverloadedError,
    RateLimitError,
    ReaderLagged,
    RemoteProtocolError,
    SourceError,
    StoreError,
    StreamDraining,
    StreamInterrupted,
    StreamkitError,
    StreamTimeout,
    StreamTruncated,
    UnknownStream,
)
from streamkit.events import ErrorEvent, Finish

__all__ = [
    "CANCELLED",
    "DONE",
    "MESSAGES",
    "Ending",
    "Outcome",
    "error_from_event",
    "outcome_of",
    "outcome_of_event",
    "stopped",
    "to_error_event",
]

Ending: TypeAlias = Literal["done", "cancelled", "error", "truncated", "draining", "interrupted"]

MESSAGES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "error": "The stream failed.",
        "truncated": "The answer was cut off before its end.",
        "draining": "The server is shutting down. Reconnect to go on.",
        "interrupted": "The answer was interrupted.",
        "timeout": "The model took too long to answer.",
        "rate-limited": "Too many requests. Try again later.",
        "overloaded": "The model is overloaded. Try again later.",
        "bad-request": "The model could not serve this request.",
        "content-blocked": "The content was blocked.",
        "auth": "The server could not sign in to the model.",
        "protocol": "The model sent something that could not be read.",
        "buffer-full": "The reader was too slow.",
        "not-found": "There is no such stream.",
        "bad-token": "The stream cannot be resumed from there. Start again.",
        "unavailable": "The stream cannot be reached at the moment.",
    }
)
"""Every code that clients see, with its sentence."""

_ENDINGS: Final[Mapping[str, Ending]] = {"truncated": "truncated", "draining": "draining", "interrupted": "interrupted"}

_A_YEAR_S: Final = 365 * 86_400.0

# First match wins: subclasses stand above their parents.
_CODES: Final[tuple[tuple[type[BaseException], str, bool], ...]] = (
    (StreamTruncated, "truncated", True),
    (StreamDraining, "draining", True),
    (StreamInterrupted, "interrupted", True),
    (StreamTimeout, "timeout", True),
    (RateLimitError, "rate-limited", True),
    (OverloadedError, "overloaded", True),
    (BadRequestError, "bad-request", False),
    (ContentBlockedError, "content-blocked", False),
    (AuthError, "auth", False),
    (RemoteProtocolError, "protocol", False),
    (ReaderLagged, "buffer-full", True),
    (BufferFull, "buffer-full", False),
    (UnknownStream, "not-found", False),
    (InvalidToken, "bad-token", False),
    (StoreError, "unavailable", True),
)


class Outcome(msgspec.Struct, frozen=True):
    """How a stream ended; `code` is empty unless it failed. `last_id` is what a reader resumes from, where that is known."""

    ending: Ending
    code: str = ""
    message: str = ""
    retryable: bool = False
    retry_after: float | None = None
    correlation_id: str | None = None
    last_id: str | None = None

    @property
    def failed(self) -> bool:
        """Whether the answer is not whole: neither done nor stopped on request."""
        return self.ending not in ("done", "cancelled")


DONE: Final = Outcome("done")
"""The stream ended, and with it the answer."""

CANCELLED: Final = Outcome("cancelled")
"""The answer was stopped on request; what had come stays."""


def outcome_of(error: BaseException | None, *, correlation_id: str | None = None) -> Outcome:
    """The outcome that an exception means; None is `done`. Nothing of its text is kept.

    Cancellation is not told apart here: a cancelled task has nobody to send frames to. A stop on
    request is `CANCELLED`, said by whoever stopped.

    >>> outcome_of(None).ending, outcome_of(ValueError("secret")).message
    ('done', 'The stream failed.')
    """
    if error is None:
        return DONE
    code, retryable = "error", False
    for kind, its_code, its_retryable in _CODES:
        if isinstance(error, kind):
            code, retryable = its_code, its_retryable
            break
    retry_after = None
    if isinstance(error, SourceError):
        retryable, retry_after = error.retryable, _wait(error.retry_after)
        if code == "error" and error.code is not None and error.code in MESSAGES:  # one of ours, from a streamkit further up
            code = error.code
    last_id = error.last_id if isinstance(error, StreamDraining) else None
    return Outcome(_ENDINGS.get(code, "error"), code, MESSAGES[code], retryable, retry_after, correlation_id, last_id)


def to_error_event(error: BaseException) -> ErrorEvent:
    """The last event of a stream that failed, for `errors="yield"`.

    >>> to_error_event(StreamTruncated("the body ended")).code
    'truncated'
    """
    outcome = outcome_of(error)
    return ErrorEvent(outcome.message, code=outcome.code, retryable=outcome.retryable, retry_after=outcome.retry_after)


def outcome_of_event(event: ErrorEvent, *, correlation_id: str | None = None) -> Outcome:
    """The outcome that an error event in a stream means, with its own message (fit to be shown by its definition).

    One without a message or a code gets ours: a page that asks for the sentence would take none for no error.
    """
    code, wait = event.code or "error", _wait(event.retry_after)
    message = event.message or MESSAGES.get(code, MESSAGES["error"])
    return Outcome(_ENDINGS.get(code, "error"), code, message, event.retryable, wait, correlation_id)


def _wait(seconds: float | None) -> float | None:
    """A time that somebody can wait: not a number, negative ones and more than a year are none."""
    return seconds if seconds is not None and 0 <= seconds <= _A_YEAR_S else None


def stopped(outcome: Outcome, finish: Finish | None) -> bool:
    """Whether the answer was stopped on request: here, or before it came here, which its `Finish` says.

    >>> stopped(CANCELLED, None), stopped(DONE, Finish("cancelled")), stopped(DONE, Finish("stop"))
    (True, True, False)
    """
    return outcome.ending == "cancelled" or (finish is not None and finish.reason == "cancelled")


def error_from_event(
    event: ErrorEvent, *, provider: str | None = None, request_id: str | None = None, last_id: str | None = None
) -> StreamkitError:
    """The exception that an error event stands for: the way back from `to_error_event`.

    >>> error_from_event(ErrorEvent("bye", code="draining"), last_id="7").last_id
    '7'
    """
    match event.code:
        case "truncated":
            return StreamTruncated(event.message)
        case "interrupted":
            return StreamInterrupted(event.message)
        case "draining":
            return StreamDraining(event.message, last_id=last_id)
        case "protocol":
            return RemoteProtocolError(event.message)
        case code:
            kind = _SOURCE_ERRORS.get(code, SourceError)
            return kind(
                event.message,
                provider=provider,
                code=code,
                request_id=request_id,
                retryable=event.retryable,
                retry_after=event.retry_after,
            )


_SOURCE_ERRORS: Final[Mapping[str, type[SourceError]]] = {
    "rate-limited": RateLimitError,
    "overloaded": OverloadedError,
    "bad-request": BadRequestError,
    "content-blocked": ContentBlockedError,
    "auth": AuthError,  # the provider refused our key; the next two: the server refused its client
    "unauthorized": AuthError,
    "forbidden": AuthError,
}
