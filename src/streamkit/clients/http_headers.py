"""What the headers of an answer say: who to quote in a ticket, when to come back, and what the body claims to be."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from streamkit.errors import scrub

__all__ = ["media_type_of", "request_id_of", "retry_after_of"]

# The first of these that is there. OpenAI, Anthropic, AWS, Azure, and what gateways add.
_REQUEST_IDS: Final = (
    "x-request-id",
    "request-id",
    "x-amzn-requestid",
    "apim-request-id",
    "x-ms-request-id",
    "x-correlation-id",
    "cf-ray",
)

_MOST_SECONDS: Final = 86_400.0


def request_id_of(headers: Mapping[str, str]) -> str | None:
    """What the provider calls this request.

    >>> request_id_of({"request-id": "req_1"})
    'req_1'
    """
    for name in _REQUEST_IDS:
        value = headers.get(name)
        if value:
            return scrub(value, 120)
    return None


def retry_after_of(headers: Mapping[str, str]) -> float | None:
    """Seconds until the provider wants to be asked again, 0 to a day, or None (RFC 9110 section 10.2.3).

    `retry-after-ms`, which OpenAI and Azure send, is finer and goes first. A date counts from the answer's own `Date`,
    so that a clock that is wrong here does no harm.

    >>> retry_after_of({"retry-after": "7"}), retry_after_of({"retry-after-ms": "250"}), retry_after_of({})
    (7.0, 0.25, None)
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return min(milliseconds / 1000, _MOST_SECONDS)
    said = headers.get("retry-after")
    seconds = _number(said)
    if seconds is None and said:
        until = _moment(said)
        if until is not None:
            seconds = max(0.0, (until - (_moment(headers.get("date", "")) or datetime.now(UTC))).total_seconds())
    return None if seconds is None else min(seconds, _MOST_SECONDS)


def media_type_of(headers: Mapping[str, str]) -> str:
    """The `Content-Type` without its parameters, in lower case; "" if there is none.

    >>> media_type_of({"content-type": "Text/Event-Stream; charset=utf-8"})
    'text/event-stream'
    """
    return scrub(headers.get("content-type", "").partition(";")[0].strip().lower(), 80)


def _number(text: str | None) -> float | None:
    text = (text or "").strip()
    # By hand: float() takes "nan", "1_0" and signs as well.
    if not text.isascii() or not text.replace(".", "", 1).isdigit() or len(text) > 20:
        return None
    return float(text)


def _moment(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
