"""How a stream ended, as a gRPC status with trailers, and the way back to our errors; pure.

    code of the outcome                        status
    rate-limited, buffer-full                  RESOURCE_EXHAUSTED
    overloaded, draining, interrupted,
      unavailable                              UNAVAILABLE
    timeout                                    DEADLINE_EXCEEDED
    truncated                                  DATA_LOSS
    bad-request, bad-token                     INVALID_ARGUMENT
    content-blocked                            FAILED_PRECONDITION
    not-found                                  NOT_FOUND
    auth, protocol, error, anything else       INTERNAL         auth: it is the server's key that was refused

The message is the outcome's own sentence. The trailers say the rest in words of ours, `grpc-retry-pushback-ms` says to gRPC's own
retries when (gRFC A6), and `grpc-status-details-bin` says it in google.rpc's (ErrorInfo, RetryInfo), which other languages read.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

from streamkit.dialects.json_line import without_surrogates
from streamkit.dialects.outcomes import MESSAGES, Outcome, error_from_event
from streamkit.errors import (
    AuthError,
    BadRequestError,
    InvalidToken,
    OverloadedError,
    RateLimitError,
    RemoteProtocolError,
    SourceError,
    StreamInterrupted,
    StreamkitError,
    StreamTimeout,
    StreamTruncated,
    UnknownStream,
    scrub,
)
from streamkit.events import ErrorEvent

__all__ = ["STATUS_NUMBERS", "Trailers", "error_of_status", "said", "status_of", "status_of_http", "trailers_of"]

Trailers: TypeAlias = tuple[tuple[str, str | bytes], ...]

# The numbers of gRPC's own statuses (grpc/doc/statuscodes.md), by the names that all libraries use.
STATUS_NUMBERS: Final[Mapping[str, int]] = MappingProxyType(
    {
        name: number
        for number, name in enumerate(
            (
                "OK",
                "CANCELLED",
                "UNKNOWN",
                "INVALID_ARGUMENT",
                "DEADLINE_EXCEEDED",
                "NOT_FOUND",
                "ALREADY_EXISTS",
                "PERMISSION_DENIED",
                "RESOURCE_EXHAUSTED",
                "FAILED_PRECONDITION",
                "ABORTED",
                "OUT_OF_RANGE",
                "UNIMPLEMENTED",
                "INTERNAL",
                "UNAVAILABLE",
                "DATA_LOSS",
                "UNAUTHENTICATED",
            )
        )
    }
)

_STATUSES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "rate-limited": "RESOURCE_EXHAUSTED",
        "buffer-full": "RESOURCE_EXHAUSTED",
        "overloaded": "UNAVAILABLE",
        "draining": "UNAVAILABLE",
        "interrupted": "UNAVAILABLE",
        "unavailable": "UNAVAILABLE",
        "timeout": "DEADLINE_EXCEEDED",
        "truncated": "DATA_LOSS",
        "bad-request": "INVALID_ARGUMENT",
        "bad-token": "INVALID_ARGUMENT",
        "content-blocked": "FAILED_PRECONDITION",
        "not-found": "NOT_FOUND",
    }
)

_OF_HTTP: Final[Mapping[int, str]] = MappingProxyType(
    {
        400: "INVALID_ARGUMENT",
        401: "UNAUTHENTICATED",
        403: "PERMISSION_DENIED",
        404: "NOT_FOUND",
        409: "ABORTED",
        413: "RESOURCE_EXHAUSTED",
        422: "INVALID_ARGUMENT",
        429: "RESOURCE_EXHAUSTED",
        501: "UNIMPLEMENTED",
        503: "UNAVAILABLE",
        504: "DEADLINE_EXCEEDED",
    }
)

# Bytes of a message. It travels twice, once with three bytes for one, and from 8 KiB on a peer may refuse trailers at random
# (gRPC's soft limit of metadata).
_LONGEST: Final = 1000
_DOMAIN: Final = b"streamkit"
_TYPES: Final = b"type.googleapis.com/google.rpc."
# What grpc.aio itself says of a call that was over in the middle of one of its operations.
_BROKEN: Final = "Internal error from Core"
# A wait that gRPC's own fields can say: milliseconds in an int32.
_LONGEST_WAIT: Final = 2_000_000.0


def status_of(outcome: Outcome) -> tuple[str, str]:
    """The status's name and its message.

    >>> from streamkit.dialects.outcomes import outcome_of
    >>> status_of(outcome_of(RateLimitError("secret")))
    ('RESOURCE_EXHAUSTED', 'Too many requests. Try again later.')
    """
    message = said(outcome.message)
    if not outcome.failed:
        return "OK", message
    return _STATUSES.get(outcome.code, "INTERNAL"), message


def said(message: str) -> str:
    """As much of a message as a status carries, in whole characters."""
    return without_surrogates(message).encode()[:_LONGEST].decode("utf-8", "ignore")


def status_of_http(status: int) -> str:
    """The status for a refusal that was written for HTTP.

    >>> status_of_http(401)
    'UNAUTHENTICATED'
    """
    return _OF_HTTP.get(status, "FAILED_PRECONDITION" if status < 500 else "INTERNAL")


def trailers_of(outcome: Outcome, status: str, message: str, *, last_token: str = "") -> Trailers:
    """The trailers of a stream that failed.

    >>> trailers_of(Outcome("draining", "draining", "Bye.", True), "UNAVAILABLE", "Bye.", last_token="abc.7")[:3]
    (('streamkit-code', 'draining'), ('streamkit-retryable', 'true'), ('streamkit-last-token', 'abc.7'))
    """
    code = outcome.code if _is_word(outcome.code) else "error"
    trailers: list[tuple[str, str | bytes]] = [("streamkit-code", code)]
    if outcome.retryable:
        trailers.append(("streamkit-retryable", "true"))
    wait = outcome.retry_after
    if wait is not None and not 0 <= wait < math.inf:
        wait = None
    if wait is not None:
        wait = min(wait, _LONGEST_WAIT)
        trailers.append(("streamkit-retry-after", f"{wait:g}"))
        if outcome.retryable:
            trailers.append(("grpc-retry-pushback-ms", str(math.ceil(wait * 1000))))
    if outcome.correlation_id:
        trailers.append(("streamkit-correlation-id", outcome.correlation_id))
    if last_token:
        trailers.append(("streamkit-last-token", last_token))
    trailers.append(("grpc-status-details-bin", _details(STATUS_NUMBERS[status], message, code, outcome, wait)))
    return tuple(trailers)


def _is_word(code: str) -> bool:
    return code.isascii() and code.isprintable() and 0 < len(code) <= 64


# ---- google.rpc.Status, which is small enough to be written without its package


def _details(number: int, message: str, code: str, outcome: Outcome, wait: float | None) -> bytes:
    reason = code.upper().replace("-", "_").encode()
    info = _field(1, reason) + _field(2, _DOMAIN)
    if outcome.correlation_id:
        info += _field(3, _field(1, b"correlation_id") + _field(2, outcome.correlation_id.encode()))
    packed = [(b"ErrorInfo", info)]
    if outcome.retryable and wait is not None:
        seconds, nanos = divmod(round(wait * 1e9), 1_000_000_000)
        delay = (b"\x08" + _varint(seconds) if seconds else b"") + (b"\x10" + _varint(nanos) if nanos else b"")
        packed.append((b"RetryInfo", _field(1, delay)))
    head = b"\x08" + _varint(number) + _field(2, message.encode())
    return head + b"".join([_field(3, _field(1, _TYPES + name) + _field(2, value)) for name, value in packed])


def _field(number: int, value: bytes) -> bytes:
    """A length-delimited field."""
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


# ---- the way back


def error_of_status(
    status: str, message: str, trailers: Iterable[tuple[str, str | bytes]], *, began: bool, deadline: float | None, peer: str
) -> StreamkitError:
    """The error that a status other than OK means.

    Args:
        status, message, trailers: As they came.
        began: Whether anything of the answer had come.
        deadline: The seconds that the call was given, if any.
        peer: Who answered, for messages.

    >>> error_of_status("UNAVAILABLE", "", (), began=True, deadline=None, peer="example:50051")
    StreamTruncated('the connection to example:50051 was lost before the end of the answer (UNAVAILABLE)')
    """
    said = {name: value for name, value in trailers if isinstance(value, str)}
    code = said.get("streamkit-code")
    request_id = said.get("streamkit-correlation-id")
    if code is not None and _is_word(code):
        return _of_ours(code, message, said, request_id)
    text = scrub(message)
    where = f"{peer} answered {status}" + (f": {text}" if text else "")
    match status:
        case "DEADLINE_EXCEEDED" if deadline is not None:
            return StreamTimeout(f"{peer} did not end its answer within {deadline:g} s", phase="total", seconds=deadline)
        case "UNAVAILABLE" if began:
            return StreamTruncated(f"the connection to {peer} was lost before the end of the answer (UNAVAILABLE)")
        case "CANCELLED":  # by the other end, or somebody on the way: who cancels a call here is not told by a status
            return StreamInterrupted(f"{peer} broke the call off (CANCELLED)")
        case "INTERNAL" if message == _BROKEN:
            return StreamInterrupted(f"the call to {peer} broke off while something was on its way")
        case "UNAVAILABLE":
            return OverloadedError(where, provider="grpc", code="unavailable", request_id=request_id)
        case "RESOURCE_EXHAUSTED" if "larger than max" in message:
            return RemoteProtocolError(f"a message to or from {peer} is larger than its reader allows")
        case "RESOURCE_EXHAUSTED":
            return RateLimitError(where, provider="grpc", code="rate-limited")
        case "UNAUTHENTICATED" | "PERMISSION_DENIED":
            return AuthError(where, provider="grpc", code=status.lower())
        case "NOT_FOUND":
            return UnknownStream(where)
        case "INVALID_ARGUMENT" | "FAILED_PRECONDITION" | "OUT_OF_RANGE" | "ALREADY_EXISTS" | "UNIMPLEMENTED":
            return BadRequestError(where, provider="grpc", code=status.lower())
        case "ABORTED":
            return SourceError(where, provider="grpc", code="aborted", retryable=True)
        case _:
            return SourceError(where, provider="grpc", code=status.lower())


def _of_ours(code: str, message: str, said: Mapping[str, str], request_id: str | None) -> StreamkitError:
    text = scrub(message) or MESSAGES.get(code, MESSAGES["error"])
    if code == "not-found":
        return UnknownStream(text)
    if code == "bad-token":
        return InvalidToken(text, reason="foreign")
    event = ErrorEvent(
        text,
        code=code,
        retryable=said.get("streamkit-retryable") == "true",
        retry_after=_seconds_of(said.get("streamkit-retry-after")),
    )
    return error_from_event(event, provider="grpc", request_id=request_id, last_id=said.get("streamkit-last-token"))


def _seconds_of(text: str | None) -> float | None:
    try:
        seconds = float(text or "nan")
    except ValueError:
        return None
    return seconds if 0 <= seconds < math.inf else None
