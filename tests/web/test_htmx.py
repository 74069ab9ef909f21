"""htmx 4 in Chromium reads the dialect `htmx`: the text as it was written, nothing of it as markup, and how it ended."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import parse_qs, quote

import pytest
from browser import Browser, Ran, browser, with_pages
from served import served

import streamkit as sk
from streamkit.sinks import sse

asked: Counter[str] = Counter()


async def app(scope: Any, receive: Any, send: Any) -> None:
    asked[scope["path"]] += 1
    texts = json.loads(parse_qs(scope["query_string"].decode())["texts"][0])

    async def answer() -> AsyncIterator[object]:
        for text in texts:
            yield sk.TextDelta(text)
        if scope["path"] == "/broken":
            raise ValueError("secret <key>")
        if scope["path"] == "/stopped":
            yield sk.Finish("cancelled")

    await sse.Response(answer(), "htmx")(scope, receive, send)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as running:
        yield running


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served(with_pages(app)) as url:
        yield url


def shown(chromium: Browser, url: str, path: str, *texts: str) -> Ran:
    asked.clear()
    stream = f"{path}?texts={quote(json.dumps(texts))}"
    return chromium.run_page(f"{url}/pages/htmx.html?stream={quote(stream)}")


TEXTS = ("  Hello", ",", " ", "world", "\n\n", "\nnext", " line\n", "end", " a  b ", "&amp; <", "b>", "\"'", "…\u2028x")


def test_the_page_shows_the_text_as_it_was_written(chromium: Browser, url: str) -> None:
    ran = shown(chromium, url, "/whole", *TEXTS)
    assert "".join(TEXTS) == ran.told["text"]
    assert 0 == ran.told["elements"]
    assert ["message", [["done", "done"]]] == [ran.told["reason"], ran.told["heard"]]
    assert 1 == asked["/whole"]
    assert [] == ran.errors


def test_sse_13_markup_in_an_answer_is_shown_and_not_run(chromium: Browser, url: str) -> None:
    evil = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    ran = shown(chromium, url, "/whole", evil[:5], evil[5:], evil, '<hx-partial hx-target="body">', "&lt;b&gt;")
    assert evil + evil + '<hx-partial hx-target="body">&lt;b&gt;' == ran.told["text"]
    assert (0, [], []) == (ran.told["elements"], ran.dialogs, ran.errors)


def test_an_error_is_heard_as_an_event_and_the_answer_is_not_made_again(chromium: Browser, url: str) -> None:
    ran = shown(chromium, url, "/broken", "kept")
    assert "kept" == ran.told["text"]
    assert [["error", "The stream failed."], ["done", "error"]] == ran.told["heard"]
    assert 1 == asked["/broken"]


def test_a_stopped_answer_says_so(chromium: Browser, url: str) -> None:
    ran = shown(chromium, url, "/stopped", "so far")
    assert ("so far", [["done", "cancelled"]]) == (ran.told["text"], ran.told["heard"])
