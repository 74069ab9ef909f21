"""The harness itself: a page is opened, what it says and does is told, and one that never ends is a failure that says why."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from browser import Browser, browser, with_pages
from node_clients import PATIENCE_S
from served import served


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as running:
        yield running


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served(with_pages(nothing)) as url:
        yield url


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def test_a_page_tells_its_result_and_all_that_it_did(chromium: Browser, url: str) -> None:
    page = f"{url}/pages/title.html?x=1"
    ran = chromium.run_page(page)
    assert {"title": "A page", "query": "?x=1"} == ran.told
    assert ["Error: uncaught"] == ran.errors
    assert ["shown"] == ran.dialogs
    assert "said" == ran.said[0]
    assert page == ran.requests[0]


def test_a_page_that_tells_nothing_is_a_failure_that_shows_it(chromium: Browser, url: str) -> None:
    with pytest.raises(pytest.fail.Exception, match="there is no such page"):
        chromium.run_page(f"{url}/pages/none.html", seconds=0.5)
    assert [] == chromium.run_page(f"{url}/pages/title.html", steps=["document.title === 'A page'"]).requests[1:2]


@pytest.mark.parametrize("path", ["/pages/../node_clients.py", "/packages/../package.json", "/pages/"])
def test_only_pages_and_packages_are_given(url: str, path: str) -> None:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n".encode())
        with connection.makefile("rb") as answer:
            assert answer.readline().startswith(b"HTTP/1.1 404 ")
