"""Which pages may ask: exact origins, and the host itself."""

from __future__ import annotations

from typing import Any

import pytest

from streamkit.errors import ConfigError
from streamkit.sinks.safety.origins import check_origins, header_of, host_and_port, origin_allowed

ALLOWED = check_origins("test", ["https://good.com", "http://localhost:5173"])


def test_ws_01_the_origin_of_another_site_is_refused() -> None:
    assert origin_allowed("https://good.com", ALLOWED, "api.good.com")
    assert not origin_allowed("https://evil.example", ALLOWED, "api.good.com")


@pytest.mark.parametrize(
    "origin",
    [
        "https://good.com.evil.com",
        "https://evilgood.com",
        "https://good.com@evil.com",
        "https://good.com:444",
        "https://GOOD.com:444",
        "https://good.com:443",  # no browser writes a default port
        "https://good.com/",
        "https://good.com ",
        "https://good.com\n",
        "https://good.com, https://good.com",
        "http://good.com",
        "https://sub.good.com",
        "https://good.co",
        "https://gооd.com",  # noqa: RUF001  # two Cyrillic letters
        "https://[good.com]",
        "//good.com",
        "good.com",
        "null",
        "*",
        "",
        "http://localhost:51730",
        "file://",
    ],
)
def test_ws_02_a_look_alike_of_an_allowed_origin_is_refused(origin: str) -> None:
    assert not origin_allowed(origin, ALLOWED, "api.example:8000")


@pytest.mark.parametrize(
    "origin",
    ["https://good.com.evil.com", "https://good.com:444", "https://evil.com", "null", "", "https://good.com#", "ftp://good.com"],
)
def test_ws_02_a_look_alike_of_the_host_itself_is_refused(origin: str) -> None:
    assert not origin_allowed(origin, (), "good.com")


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://good.com", "good.com"),
        ("http://good.com", "good.com"),
        ("https://good.com", "GOOD.com:443"),
        ("http://127.0.0.1:8000", "127.0.0.1:8000"),
        ("http://[::1]:8000", "[::1]:8000"),
    ],
)
def test_a_page_that_came_from_the_same_host_may_ask(origin: str, host: str) -> None:
    assert origin_allowed(origin, (), host)
    assert not origin_allowed(origin, (), None)


@pytest.mark.parametrize("host", ["", "a b", "good.com:99999", "good.com, good.com", "good.com:", "x\r\ny"])
def test_a_broken_host_is_nobody(host: str) -> None:
    assert host_and_port(host) is None
    assert not origin_allowed("https://good.com", (), host)


def test_ws_02_a_missing_origin_is_allowed_only_when_configured() -> None:
    assert not origin_allowed(None, ALLOWED, "good.com")
    assert origin_allowed(None, ALLOWED, "good.com", missing=True)


def test_null_and_the_wildcard_are_refused_even_if_somebody_lists_them() -> None:
    assert not origin_allowed("null", {"null", "*"}, None)
    assert not origin_allowed("*", {"null", "*"}, None)


def test_origins_are_kept_as_browsers_send_them() -> None:
    given = [
        "HTTPS://App.Example:443",
        "http://a.example:80",
        "http://a.example:8080",
        "chrome-extension://abc",
        "http://[::1]:3000",
    ]
    assert {
        "https://app.example",
        "http://a.example",
        "http://a.example:8080",
        "chrome-extension://abc",
        "http://[::1]:3000",
    } == check_origins("Cors", given)


@pytest.mark.parametrize(
    "origin",
    ["*", "null", "https://*.good.com", "https://good.com/", "good.com", "https://", "https://a:99999", "https://ä.example", ""],
)
def test_what_is_no_origin_is_refused_where_it_is_configured(origin: str) -> None:
    with pytest.raises(ConfigError, match="no origin"):
        check_origins("Cors", [origin])


@pytest.mark.parametrize("origins", ["https://good.com", [None], [b"https://good.com"]])
def test_origins_of_a_wrong_type_are_a_type_error(origins: Any) -> None:
    with pytest.raises(TypeError):
        check_origins("Cors", origins)


def test_a_header_that_came_twice_equals_no_single_value() -> None:
    scope: Any = {"headers": [(b"origin", b"https://good.com"), (b"origin", b"https://good.com")]}
    said = header_of(scope, b"origin")
    assert "https://good.com, https://good.com" == said
    assert not origin_allowed(said, ALLOWED, "good.com")
    assert header_of(scope, b"host") is None
