"""How endings and refusals are told: to clients without an exception's text, to Python as the error tree."""

from __future__ import annotations

import json

import pytest

from streamkit.dialects.outcomes import CANCELLED, DONE, MESSAGES, error_from_event, outcome_of, outcome_of_event, to_error_event
from streamkit.dialects.provider_errors import error_from_body, error_from_payload, is_foreign_body, source_error
from streamkit.errors import (
    AuthError,
    BadRequestError,
    BufferFull,
    ContentBlockedError,
    OverloadedError,
    RateLimitError,
    RemoteProtocolError,
    SourceError,
    StreamDraining,
    StreamInterrupted,
    StreamkitError,
    StreamTimeout,
    StreamTruncated,
)
from streamkit.events import ErrorEvent

CANARY = "prompt-canary"


@pytest.mark.parametrize(
    ("error", "ending", "code", "retryable"),
    [
        (StreamTruncated(CANARY), "truncated", "truncated", True),
        (StreamDraining(CANARY), "draining", "draining", True),
        (StreamInterrupted(CANARY), "interrupted", "interrupted", True),
        (StreamTimeout(CANARY, phase="idle", seconds=1), "error", "timeout", True),
        (RateLimitError(CANARY), "error", "rate-limited", True),
        (RateLimitError(CANARY, retryable=False), "error", "rate-limited", False),
        (OverloadedError(CANARY), "error", "overloaded", True),
        (BadRequestError(CANARY), "error", "bad-request", False),
        (ContentBlockedError(CANARY), "error", "content-blocked", False),
        (AuthError(CANARY), "error", "auth", False),
        (SourceError(CANARY, retryable=True), "error", "error", True),
        (RemoteProtocolError(CANARY, excerpt=CANARY), "error", "protocol", False),
        (BufferFull(CANARY, size=1), "error", "buffer-full", False),
        (StreamkitError(CANARY), "error", "error", False),
        (ValueError(CANARY), "error", "error", False),
        (KeyboardInterrupt(CANARY), "error", "error", False),
    ],
)
def test_every_error_has_an_outcome_that_quotes_nothing(error: BaseException, ending: str, code: str, retryable: bool) -> None:
    outcome = outcome_of(error, correlation_id="r-7")
    assert (ending, code, MESSAGES[code], retryable, "r-7") == (
        outcome.ending,
        outcome.code,
        outcome.message,
        outcome.retryable,
        outcome.correlation_id,
    )
    assert outcome.failed
    assert CANARY not in repr(outcome) + repr(to_error_event(error))


def test_done_and_cancelled_are_no_failures() -> None:
    assert outcome_of(None) is DONE
    assert not DONE.failed
    assert not CANCELLED.failed


def test_the_time_to_wait_is_kept() -> None:
    assert 7.5 == to_error_event(RateLimitError("x", retry_after=7.5)).retry_after


@pytest.mark.parametrize(
    ("code", "known", "message"),
    [
        ("", "error", "The stream failed."),
        ("quota", "quota", "The stream failed."),
        ("truncated", "truncated", "The answer was cut off before its end."),
    ],
)
def test_an_error_event_without_words_has_those_of_its_code(code: str, known: str, message: str) -> None:
    outcome = outcome_of_event(ErrorEvent("", code=code))
    assert (known, message) == (outcome.code, outcome.message)


def test_an_error_event_keeps_its_own_words() -> None:
    outcome = outcome_of_event(ErrorEvent("Ask Ann.", code="quota", retryable=True))
    assert ("error", "quota", "Ask Ann.", True) == (outcome.ending, outcome.code, outcome.message, outcome.retryable)
    error = error_from_event(ErrorEvent("Ask Ann.", code="quota"), provider="us")
    assert isinstance(error, SourceError)
    assert ("quota", "us", "Ask Ann.") == (error.code, error.provider, str(error))


@pytest.mark.parametrize("code", sorted(MESSAGES))
def test_codes_survive_the_way_to_an_exception_and_back(code: str) -> None:
    retryable = outcome_of(error_from_event(ErrorEvent(MESSAGES[code], code, True))).retryable
    again = to_error_event(error_from_event(ErrorEvent(MESSAGES[code], code, retryable)))
    assert ErrorEvent(MESSAGES[code], code, retryable) == again


# ---- what providers say -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (AuthError, {"code": "invalid_api_key", "type": "invalid_request_error"}),
        (AuthError, {"type": "permission_error"}),
        (AuthError, {"code": 401}),
        (AuthError, {"code": "402"}),
        (RateLimitError, {"code": "rate_limit_exceeded"}),
        (RateLimitError, {"type": "RESOURCE_EXHAUSTED"}),
        (RateLimitError, {"code": "ThrottlingException"}),
        (RateLimitError, {"status": 429}),
        (OverloadedError, {"type": "overloaded_error"}),
        (OverloadedError, {"type": "server_error"}),
        (OverloadedError, {"status": 529}),
        (BadRequestError, {"code": "context_length_exceeded"}),
        (BadRequestError, {"status": 404}),
        (ContentBlockedError, {"code": "content_filter", "status": 400}),
        (ContentBlockedError, {"type": "ResponsibleAIPolicyViolation"}),
        (SourceError, {"code": "strange"}),
        (SourceError, {}),
    ],
)
def test_the_most_specific_word_decides(kind: type[SourceError], said: dict[str, object]) -> None:
    assert kind is type(source_error("no", **said))  # type: ignore[arg-type]  # each case names arguments of its own


def test_no_more_money_is_not_worth_another_try() -> None:
    assert not source_error("no", code="insufficient_quota", status=429).retryable
    assert source_error("no", code="rate_limit_exceeded", status=429).retryable


def test_secrets_in_what_a_provider_says_are_masked_and_long_words_are_cut() -> None:
    error = source_error("key sk-abcdefghijklmnop1234 " + "x" * 9999, code="sk-abcdefghijklmnop1234", type="y" * 9999)
    assert "abcdefghijklmnop" not in str(error) + repr(error) + str(error.code)
    assert len(str(error)) < 700


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ({"error": {"message": "no"}}, "no"),
        ({"error": "no"}, "no"),
        ({"message": "no"}, "no"),
        ({"detail": "no"}, "no"),
        ({"detail": [{"loc": ["body"], "msg": "no"}]}, '"msg": "no"'),
        ([{"error": {"message": "no", "code": 400}}], "no"),
        ("no", "no"),
        ({"error": {}}, "{}"),
        (None, "no message given"),
        ([[[]]], "no message given"),
    ],
)
def test_an_error_is_found_in_every_shape(payload: object, message: str) -> None:
    assert message in str(error_from_payload(payload))


def test_what_helps_to_act_is_kept() -> None:
    error = error_from_payload(
        {"type": "error", "error": {"type": "rate_limit_error", "message": "no", "retry_after": 3}, "request_id": "req-1"},
        provider="p",
    )
    assert ("p", "rate_limit_error", "req-1", 3.0, True) == (
        error.provider,
        error.code,
        error.request_id,
        error.retry_after,
        error.retryable,
    )


# ---- bodies that are no stream ------------------------------------------------------------------


@pytest.mark.parametrize("head", [b"<!doctype html>", b"\n  <html>", b'{"error"', b"[{", b"\xef\xbb\xbf{"])
def test_a_foreign_body_is_known_by_its_first_byte(head: bytes) -> None:
    assert is_foreign_body(head)


@pytest.mark.parametrize("head", [b"", b"\n", b": hello", b"data: {}", b"event: x", b"\xef\xbb\xbfdata: <"])
def test_an_event_stream_is_not_foreign(head: bytes) -> None:
    assert not is_foreign_body(head)


def test_an_error_body_is_the_providers_error() -> None:
    body = json.dumps({"error": {"message": "wrong key sk-abcdefghijklmnop1234", "code": "invalid_api_key"}}).encode()
    for status in (None, 200, 401):
        error = error_from_body(body, status=status, provider="p")
        assert isinstance(error, AuthError)
        assert "abcdefghijklmnop" not in str(error)


def test_a_proxys_page_is_said_to_be_html() -> None:
    page = b"<html><head><style>p{}</style></head><body><h1>502 Bad Gateway</h1></body></html>"
    error = error_from_body(page, status=200)
    assert isinstance(error, RemoteProtocolError)
    assert "HTML" in str(error)
    refused = error_from_body(page, status=502)
    assert isinstance(refused, OverloadedError)
    assert str(refused).endswith("502 Bad Gateway")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"id":"a","choices":[{"message":{"content":"Hi"}}]}', "stream: true"),
        (b'{"id":"a","choi', "JSON cut short"),
        (b"upstream connect error", "text"),
        (b"", "empty"),
        (b"[" * 100_000, "JSON cut short"),
    ],
)
def test_other_bodies_are_named(body: bytes, says: str) -> None:
    error = error_from_body(body)
    assert isinstance(error, RemoteProtocolError)
    assert says in str(error)
    assert len(str(error)) < 400


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -1.0, 1e300])
def test_a_time_that_nobody_can_wait_is_not_told(seconds: float) -> None:
    assert outcome_of_event(ErrorEvent("no", retry_after=seconds)).retry_after is None
    assert outcome_of(RateLimitError("no", retry_after=seconds)).retry_after is None
    assert 0.0 == outcome_of_event(ErrorEvent("no", retry_after=0.0)).retry_after
