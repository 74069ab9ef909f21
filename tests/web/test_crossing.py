"""Chromium keeps to what `Cors` and `CrossSiteGuard` say: a page of a named origin reads, any other opens nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from browser import Browser, browser, with_pages
from served import served

from streamkit.sinks import sse
from streamkit.sinks.safety.cors import Cors
from streamkit.sinks.safety.crossing import CrossSiteGuard

BODY = 'event: token\ndata: {"text":"Hi"}\n\nevent: done\ndata: {"done":true,"reason":"stop"}\n\n'


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b""})


class Routes:
    """A stream, and what was opened of it, by whom."""

    def __init__(self) -> None:
        self.opened: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.opened.append(scope["method"])
        await sse.Response(["Hi"], "token-text")(scope, receive, send)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as running:
        yield running


@pytest.fixture(scope="module")
def pages() -> Iterator[str]:
    """Where the page comes from: another site than 127.0.0.1 is."""
    with served(with_pages(nothing)) as url:
        yield url.replace("127.0.0.1", "localhost")


def test_a_page_of_a_named_origin_reads_streams(chromium: Browser, pages: str) -> None:
    routes = Routes()
    with served(Cors(CrossSiteGuard(routes, allowed=[pages]), [pages], credentials=True)) as api:
        told = chromium.run_page(f"{pages}/pages/crossing.html?api={quote(api)}").told
    assert ([200, BODY], [200, BODY], "Hi") == (told["get"], told["json"], told["source"])
    assert 415 == told["form"][0]
    assert "TypeError" == told["put"]  # its preflight was refused
    assert ["GET", "POST", "POST", "GET"] == routes.opened  # get, json, the blind one without a body, source


def test_http_14_a_page_of_another_site_reads_nothing_and_opens_nothing(chromium: Browser, pages: str) -> None:
    routes = Routes()
    with served(Cors(CrossSiteGuard(routes), ["https://app.example"], credentials=True)) as api:
        told = chromium.run_page(f"{pages}/pages/crossing.html?api={quote(api)}").told
    assert {
        "get": "TypeError",
        "form": "TypeError",
        "json": "TypeError",
        "put": "TypeError",
        "blind": "opaque",
        "source": "error",
    } == told
    assert [] == routes.opened


def test_without_the_guard_a_page_of_another_site_reads_nothing_but_has_streams_opened(chromium: Browser, pages: str) -> None:
    routes = Routes()
    with served(Cors(routes, ["https://app.example"], credentials=True)) as api:
        told = chromium.run_page(f"{pages}/pages/crossing.html?api={quote(api)}").told
    assert {
        "get": "TypeError",
        "form": "TypeError",
        "json": "TypeError",
        "put": "TypeError",
        "blind": "opaque",
        "source": "error",
    } == told
    assert ["GET", "POST", "POST", "GET"] == routes.opened  # which is why there is one


def test_a_page_of_the_host_itself_needs_no_leave(chromium: Browser) -> None:
    routes = Routes()
    with served(with_pages(CrossSiteGuard(routes))) as url:
        told = chromium.run_page(f"{url}/pages/crossing.html?api=").told
    assert ([200, BODY], [200, BODY], "Hi") == (told["get"], told["json"], told["source"])
    assert 415 == told["form"][0]
