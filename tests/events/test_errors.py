"""One tree of errors, helpful and without secrets."""

from __future__ import annotations

import builtins

import pytest

import streamkit as sk
from streamkit import errors
from streamkit.errors import scrub


def test_every_error_is_in_the_tree_and_in_its_picture() -> None:
    for name in errors.__all__:
        kind = getattr(errors, name)
        if isinstance(kind, type):
            assert issubclass(kind, sk.StreamkitError)
            assert name in (errors.__doc__ or "")


@pytest.mark.parametrize(
    ("kind", "python"), [(sk.StreamTimeout, TimeoutError), (sk.MissingExtra, ImportError), (sk.ConfigError, ValueError)]
)
def test_errors_that_python_has_a_word_for_are_that_too(kind: type, python: type) -> None:
    assert issubclass(kind, python)


def test_what_had_arrived_travels_with_the_error() -> None:
    message = sk.Message([sk.TextDelta("half")])
    assert message is sk.StreamTruncated("cut", partial=message).partial
    assert sk.StreamTruncated("cut").partial is None


def test_a_protocol_error_shows_where_and_what() -> None:
    error = sk.RemoteProtocolError("not JSON", offset=12, excerpt=b'{"a":')
    assert (12, '{"a":') == (error.offset, error.excerpt)
    assert "not JSON at byte 12 (what stood there: `excerpt`)" == str(error)


def test_content_stands_in_a_message_only_where_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMKIT_SHOW_CONTENT", "1")
    assert "not JSON at byte 12: '{\"a\":'" == str(sk.RemoteProtocolError("not JSON", offset=12, excerpt=b'{"a":'))


@pytest.mark.parametrize("word", ["0", "", "false", "No "])
def test_a_variable_that_says_no_shows_no_content(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMKIT_SHOW_CONTENT", word)
    assert "secret" not in str(sk.RemoteProtocolError("not JSON", excerpt="a secret"))


def test_foreign_text_moves_no_cursor_and_makes_no_log_line_of_its_own() -> None:
    assert "a [CRITICAL] b\ufffd[2J\ufffd]52;c;x\ufffdc" == scrub("a\n[CRITICAL] b\x1b[2J\x9d52;c;x\x07c".replace("\x9d", "\x1b]"))


def test_an_excerpt_is_short_however_long_the_body_was() -> None:
    assert len(sk.RemoteProtocolError("bad", excerpt=b"x" * 10_000_000).excerpt) <= errors.EXCERPT_CHARS


@pytest.mark.parametrize(
    "secret",
    [
        "Authorization: Bearer abc123def456ghi789",
        "sk-proj-abcdefghijklmnop1234",
        '{"api_key": "0123456789abcdef"}',
        "x-api-key=0123456789abcdef",
        "AKIAIOSFODNN7EXAMPLE1",
        "password: hunter2hunter2",
    ],
)
def test_no_secret_survives_in_a_message(secret: str) -> None:
    error = sk.RemoteProtocolError("bad body", excerpt=f"before {secret} after")
    for shown in (error.excerpt, scrub(secret)):
        assert secret not in shown
        assert "***" in shown
    assert secret not in f"{error} {error!r}"


def test_the_password_in_an_address_is_masked_and_the_rest_stays() -> None:
    assert "no route to postgres://ada:***@db.example/x" == scrub("no route to postgres://ada:s3cret@db.example/x")
    assert "see https://example.org:8080/a@b" == scrub("see https://example.org:8080/a@b")


def test_words_that_only_look_a_little_like_secrets_stay() -> None:
    assert "the token limit was reached; ask-me later" == scrub("the token limit was reached;\n ask-me later")


def test_retryable_errors_say_so() -> None:
    assert sk.RateLimitError("slow down", retry_after=2.0).retryable
    assert sk.OverloadedError("busy").retryable
    assert not sk.AuthError("who?").retryable
    assert not sk.OverloadedError("busy", retryable=False).retryable
    error = sk.SourceError("x", provider="p", code="c", request_id="r", status=500)
    assert ("p", "c", "r", 500) == (error.provider, error.code, error.request_id, error.status)


def test_no_name_shadows_one_of_python() -> None:
    assert not {name for name in errors.__all__ if hasattr(builtins, name)}
