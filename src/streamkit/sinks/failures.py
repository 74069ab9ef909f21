"""A failure told twice: to the operator with everything, to the client with nothing but what helps.

The log (`streamkit.sinks`) gets the exception with its traceback and a correlation id; the client
gets a fixed sentence, a code, whether trying again may help, and the same id.

Before the first byte of an answer a failure is a real HTTP status, with a JSON body:

    code                                status
    rate-limited                        429, with `retry-after` if the provider named a time
    overloaded, draining                503, likewise
    timeout                             504
    auth                                502: it is the server's key that was refused, not the client's
    truncated, interrupted, protocol    502
    error, said by a provider           502
    bad-request                         400
    content-blocked                     422
    not-found                           404
    bad-token                           400
    unavailable                         503
    error, anything else                500
"""

from __future__ import annotations

import logging
import math
import secrets
from collections.abc import Mapping, MutableMapping
from types import MappingProxyType
from typing import Final

from streamkit.dialects.json_line import dump
from streamkit.dialects.outcomes import Outcome, outcome_of, outcome_of_event
from streamkit.errors import InvalidToken, SourceError, UnknownStream
from streamkit.events import ErrorEvent

__all__ = ["LOGGER", "Refusal", "no_content", "refusal_of", "report", "told_once"]

LOGGER: Final = logging.getLogger("streamkit.sinks")

_STATUSES: Final[Mapping[str, int]] = MappingProxyType(
    {
        "rate-limited": 429,
        "overloaded": 503,
        "draining": 503,
        "buffer-full": 503,
        "timeout": 504,
        "auth": 502,
        "truncated": 502,
        "interrupted": 502,
        "protocol": 502,
        "bad-request": 400,
        "content-blocked": 422,
        "not-found": 404,
        "bad-token": 400,
        "unavailable": 503,
    }
)

_LONGEST_CODE: Final = 80

# An HTTP answer and its body.
Refusal = tuple[int, list[tuple[bytes, bytes]], bytes]


def report(failure: Exception | ErrorEvent, *, before_first_byte: bool, wanted: bool = False) -> Outcome:
    """Log a failure under a new correlation id, and give what may be told of it.

    What the client alone is to blame for is no error of ours, and has no traceback that anybody wants to read; nor has what is
    `wanted`, because this server stops.
    """
    correlation_id = secrets.token_hex(8)
    when = "before its first byte" if before_first_byte else "after it had begun"
    if isinstance(failure, ErrorEvent):
        outcome = outcome_of_event(failure, correlation_id=correlation_id)
        LOGGER.error(
            "a stream failed %s (code %s, correlation id %s): its source said so", when, _in_a_log(outcome.code), correlation_id
        )
    elif isinstance(failure, UnknownStream | InvalidToken):
        outcome = outcome_of(failure, correlation_id=correlation_id)
        LOGGER.info("a request was refused (code %s, correlation id %s): %s", outcome.code, correlation_id, failure)
    elif wanted:
        outcome = outcome_of(failure, correlation_id=correlation_id)
        LOGGER.info("a stream ended because its server stops (correlation id %s)", correlation_id)
    else:
        outcome = outcome_of(failure, correlation_id=correlation_id)
        LOGGER.error("a stream failed %s (code %s, correlation id %s)", when, outcome.code, correlation_id, exc_info=failure)
    return outcome


def _in_a_log(code: str) -> str:
    """A source's own word on one line that any handler can write."""
    return code if code.isascii() and code.isprintable() and len(code) <= _LONGEST_CODE else f"{code!a:.{_LONGEST_CODE}}"


def told_once(
    told: MutableMapping[object, object], name: str, last: ErrorEvent, fault: BaseException | None, correlation_id: str
) -> None:
    """Log the failure of a stream that many read, for the first of them: `told` is kept with the stream."""
    if told_once in told:
        return
    told[told_once] = correlation_id
    if last.code == "draining":  # somebody wanted it
        LOGGER.info("stream %.80s ended because its hub was closed (correlation id %s)", name, correlation_id)
    else:
        LOGGER.error("stream %.80s failed (code %s, correlation id %s)", name, _in_a_log(last.code), correlation_id, exc_info=fault)


def refusal_of(outcome: Outcome, failure: Exception | ErrorEvent) -> Refusal:
    """The HTTP answer for a stream that failed before its first byte."""
    status = _STATUSES.get(outcome.code, 502 if isinstance(failure, SourceError | ErrorEvent) else 500)
    error: dict[str, object] = {"message": outcome.message, "code": outcome.code, "retryable": outcome.retryable}
    if outcome.retry_after is not None:
        error["retry_after"] = outcome.retry_after
    error["correlation_id"] = outcome.correlation_id
    body = dump({"error": error})  # what an ErrorEvent says may hold half a character
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
    ]
    if outcome.retry_after is not None and status in (429, 503):
        headers.append((b"retry-after", b"%d" % math.ceil(outcome.retry_after)))
    return status, headers, body


def no_content() -> Refusal:
    """The HTTP answer where there is nothing to stream, and nothing wrong."""
    return 204, [(b"cache-control", b"no-store")], b""
