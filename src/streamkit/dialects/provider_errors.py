"""What providers say when they refuse, turned into the error tree.

Every provider has its own words; the ones below were collected from their references and from
recorded streams. The more specific word wins: the error's code, then its type, then the HTTP status.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Final, cast

from streamkit.errors import (
    AuthError,
    BadRequestError,
    ContentBlockedError,
    OverloadedError,
    RateLimitError,
    RemoteProtocolError,
    SourceError,
    StreamkitError,
    scrub,
)

__all__ = ["error_from_body", "error_from_payload", "is_foreign_body", "source_error"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_WORDS: Final[tuple[tuple[type[SourceError], frozenset[str]], ...]] = (
    (
        ContentBlockedError,
        _words(
            "contentfilter contentfiltered contentpolicyviolation responsibleaipolicyviolation contentblocked moderation"
            " moderationblocked sensitive safety promptblocked guardrailintervened"
        ),
    ),
    (
        AuthError,
        _words(
            "invalidapikey authenticationerror authenticationfailed unauthorized unauthenticated permissiondenied permissionerror"
            " forbidden accessdenied accessdeniedexception billingerror paymentrequired unrecognizedclientexception"
            " expiredtokenexception auth"
        ),
    ),
    (
        RateLimitError,
        _words(
            "ratelimitexceeded ratelimiterror ratelimitreached ratelimited toomanyrequests insufficientquota quotaexceeded"
            " resourceexhausted throttlingexception throttling tokensexceeded"
        ),
    ),
    (
        OverloadedError,
        _words(
            "overloaded overloadederror engineoverloaded modeloverloaded servererror apierror internalservererror internalerror"
            " serviceunavailable serviceunavailableexception unavailable badgateway gatewaytimeout timeout timeouterror"
            " networkerror insufficientsystemresource incompletegeneration"
            " requesttimeout internalserverexception modelstreamerrorexception modeltimeoutexception modelnotreadyexception"
            " deadlineexceeded"
        ),
    ),
    (
        BadRequestError,
        _words(
            "invalidrequesterror badrequest badrequesterror contextlengthexceeded invalidargument invalidparameter notfound"
            " validation notfounderror modelnotfound unprocessableentity requesttoolarge validationexception failedprecondition"
        ),
    ),
)

# Out of money, not out of time: waiting does not help.
_NEVER_RETRY: Final = frozenset({"insufficientquota"})

_NOT_LETTERS: Final = re.compile(r"[^a-z]+")

_BODY_CHARS: Final = 16_384


def source_error(
    message: str,
    *,
    code: object = None,
    type: object = None,
    status: int | None = None,
    provider: str | None = None,
    request_id: str | None = None,
    retryable: bool | None = None,
    retry_after: float | None = None,
) -> SourceError:
    """The exception for a provider's refusal, as a class of the error tree.

    Args:
        message: The provider's text; it is scrubbed.
        code: Its code: a word, or a number, which then is an HTTP status.
        type: Its type, where there is one besides the code.
        status: The HTTP status, if the answer had one that tells of the failure.
        retryable: What the provider says about trying again, if it does.

    >>> source_error("slow down", code="rate_limit_exceeded")
    RateLimitError('the provider reported an error (rate_limit_exceeded): slow down')
    """
    number = _status(code)
    if status is None or status < 400:
        status = number
    words = [_NOT_LETTERS.sub("", word.lower()) for word in (code, type) if isinstance(word, str)]
    kind = _by_words(words) or _by_status(status)
    if retryable is None and _NEVER_RETRY.intersection(words):
        retryable = False
    label = next((str(word) for word in (code, type, status) if word not in (None, "")), None)
    who = provider or "the provider"
    said = scrub(message) or "no message given"
    return kind(
        f"{who} reported an error{f' ({scrub(label, 80)})' if label else ''}: {said}",
        provider=provider,
        code=None if label is None else scrub(label, 80),
        request_id=request_id,
        retryable=retryable,
        retry_after=retry_after,
        status=status,
    )


def error_from_payload(payload: object, *, status: int | None = None, provider: str | None = None) -> SourceError:
    """The exception for an error as providers write it in JSON, in any of the shapes seen.

    `{"error": {"message", "code", "type"}}`, `{"error": "text", "error_type"}`, `{"message", "code"}`, `{"detail": ...}`,
    `{"errors": [...]}`, a list holding one of these, or plain text.

    >>> error_from_payload({"error": {"message": "bad key", "code": "invalid_api_key"}}).code
    'invalid_api_key'
    """
    if isinstance(payload, list):
        items = cast("list[object]", payload)
        payload = items[0] if items and not isinstance(items[0], list) else None
    if not isinstance(payload, dict):
        return source_error(_text(payload), status=status, provider=provider)
    outer = cast("dict[str, object]", payload)
    inner = outer.get("error")
    error = cast("dict[str, object]", inner) if isinstance(inner, dict) else outer
    if error is outer:
        several = outer.get("errors") or outer.get("base_resp")
        if isinstance(several, list):
            several = next(iter(cast("list[object]", several)), None)
        if isinstance(several, dict):
            error = cast("dict[str, object]", several)
        elif isinstance(several, str):
            error = {"message": several}
    message = next((_text(error[key]) for key in _MESSAGES if error.get(key)), "")
    retry_after = error.get("retry_after")
    retryable = error.get("retryable")
    metadata = error.get("metadata")
    kind = error.get("type") or outer.get("error_type")
    if not kind and isinstance(metadata, dict):
        kind = cast("dict[str, object]", metadata).get("error_type")
    return source_error(
        message or _text(error),
        code=error.get("code") or error.get("error_code") or error.get("status"),
        type=kind,
        status=status
        if status is not None
        else next(filter(None, (_status(holder.get(key)) for holder, key in _statuses(error, outer))), None),
        provider=provider,
        request_id=_request_id(error) or _request_id(outer),
        retryable=retryable if isinstance(retryable, bool) else None,
        retry_after=float(retry_after) if isinstance(retry_after, int | float) and not isinstance(retry_after, bool) else None,
    )


_MESSAGES: Final = ("message", "detail", "error", "msg", "error_msg", "status_msg", "title")


def _statuses(error: Mapping[str, object], outer: Mapping[str, object]) -> Iterable[tuple[Mapping[str, object], str]]:
    for holder in (error, outer):
        for key in ("status_code", "http_status_code", "status", "statusCode"):
            yield holder, key


def is_foreign_body(head: bytes) -> bool:
    """Whether a body that should be server-sent events begins like HTML, XML or one JSON document.

    No line of an event stream that means anything begins with `<`, `{` or `[`, so one byte tells. Give it the
    head of a body that has produced no frame yet.

    >>> is_foreign_body(b"<!doctype html>"), is_foreign_body(b"data: {}")
    (True, False)
    """
    return head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"<", b"{", b"[")


def error_from_body(body: bytes, *, status: int | None = None, provider: str | None = None, media_type: str = "") -> StreamkitError:
    """The exception for a body that holds no frames: an error in JSON, a proxy's page, a whole answer unasked for.

    Args:
        body: The body, or its head; 16 KiB are enough for the errors of all known providers, and more is not read.
        status: The HTTP status, if known.
        media_type: What the body was said to be, if known.
    """
    said = [*([f"status {status}"] if status is not None else []), *([media_type] if media_type else [])]
    facts = f" ({', '.join(said)})" if said else ""
    text = body[:_BODY_CHARS].decode("utf-8-sig", "replace").strip()
    failed = status is not None and status >= 400
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        if failed:
            return source_error(_without_markup(text), status=status, provider=provider)
        what = "HTML" if text[:1] == "<" else "JSON cut short" if text[:1] in ("{", "[") else "text"
        if not text:
            return RemoteProtocolError(f"the body is empty where a stream of events was expected{facts}")
        # A page is a proxy's, not a model's: its words tell what to do, and may be shown.
        page = f": {scrub(_without_markup(text), 200)}" if what == "HTML" else ""
        return RemoteProtocolError(f"the body is {what}, not a stream of events{facts}{page}", excerpt=text)
    if failed or _is_error(value):
        return error_from_payload(value, status=status, provider=provider)
    what = f"one JSON document, not a stream of events{facts}"
    return RemoteProtocolError(f"the body is {what}: ask for `stream: true`", excerpt=text)


def _is_error(value: object) -> bool:
    if isinstance(value, list):
        items = cast("list[object]", value)
        return bool(items) and _is_error(items[0])
    if not isinstance(value, dict):
        return False
    body = cast("dict[str, object]", value)
    return (
        bool(body.get("error"))
        or body.get("object") == "error"
        or body.get("type") == "error"
        or ("detail" in body and "choices" not in body)
    )


def _by_words(words: Iterable[str]) -> type[SourceError] | None:
    for word in words:
        for kind, known in _WORDS:
            if word in known:
                return kind
    return None


def _by_status(status: int | None) -> type[SourceError]:
    match status:
        case 401 | 402 | 403:
            return AuthError
        case 429:
            return RateLimitError
        case 408 | 425 | 500 | 502 | 503 | 504 | 520 | 522 | 524 | 529:
            return OverloadedError
        case int() if 400 <= status < 500:
            return BadRequestError
        case _:
            return SourceError


def _status(code: object) -> int | None:
    if isinstance(code, str) and len(code) == 3 and code.isascii() and code.isdigit():
        code = int(code)
    return code if isinstance(code, int) and not isinstance(code, bool) and 400 <= code <= 599 else None


def _request_id(holder: Mapping[str, object]) -> str | None:
    for key in ("request_id", "requestId", "correlation_id"):
        value = holder.get(key)
        if isinstance(value, str) and value:
            return scrub(value, 120)
    return None


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return type(value).__name__


def _without_markup(text: str) -> str:
    """A proxy's error page as the words a person would see (a bounded head of it)."""
    if text[:1] != "<":
        return text
    text = re.sub(r"(?is)<(script|style)\b.*?</\1>", " ", text[:4096])
    return re.sub(r"<[^<>]*>", " ", text)
