"""The JavaScript of the usual tutorials in Chromium and with the fetch of node: presets, raw text, own frames."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import quote

import pytest
from browser import Browser, browser, with_pages
from node_clients import PATIENCE_S, NodeSession, node_session
from served import broken_wire, served

import streamkit as sk
from streamkit.dialects.own_frames import frame, mapping
from streamkit.events import Event
from streamkit.sinks import http, sse

TEXTS = (" Hello", ",\n\n", "\nwörld ", "[DONE]", "event: done\n\n", "<b>&amp;", "\u2028😀", '"\\', "data: [DONE]\n\n", "  ")
TEXT = "".join(TEXTS)


def own(event: Event) -> Any:
    return frame({"delta": event.text}, event="token") if isinstance(event, sk.TextDelta) else None


OWN = mapping(own, opening=lambda: frame({"hello": True}, event="hello"))

# The dialect, the field that the page reads, and what it listens to.
KINDS = {
    "token-text": ("text", "token"),
    "token-content": ("content", "token"),
    "message-text": ("text", "message"),
    "message-content": ("content", "message"),
    "sse-text": ("", "raw"),
    "own": ("delta", "token"),
}

asked: Counter[str] = Counter()
closed = threading.Event()


async def answer(how: str) -> AsyncIterator[object]:
    try:
        for text in TEXTS:
            yield text
        if how == "broken":
            raise sk.OverloadedError("secret")
        if how == "stopped":
            yield sk.Finish("cancelled")
        if how == "long":
            yield "x" * 200_000
        while how == "endless":
            yield "more "
            await asyncio.sleep(0.01)
    finally:
        closed.set()


async def app(scope: Any, receive: Any, send: Any) -> None:
    asked[scope["path"]] += 1
    _, how, name = scope["path"].split("/")
    if name == "ndjson":
        await http.Response(answer(how), "ndjson")(scope, receive, send)
    else:
        await sse.Response(answer(how), OWN if name == "own" else name)(scope, receive, send)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as running:
        yield running


@pytest.fixture(scope="module")
def node() -> Iterator[NodeSession]:
    with node_session("tutorial.mjs") as session:
        yield session


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served(with_pages(app)) as url:
        yield url


def page(chromium: Browser, url: str, how: str, kind: str) -> Any:
    field, listen = KINDS[kind]
    asked.clear()
    ran = chromium.run_page(f"{url}/pages/tutorial.html?stream={quote(f'/{how}/{kind}')}&field={field}&listen={listen}")
    assert [] == ran.errors
    assert 1 == asked[f"/{how}/{kind}"] == ran.told["opened"]
    return ran.told


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_reads_a_whole_answer_once_and_knows_that_it_ended(chromium: Browser, url: str, kind: str) -> None:
    told = page(chromium, url, "whole", kind)
    assert (TEXT, "done") == (told["text"], told["ended"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_tells_an_error_from_an_end(chromium: Browser, url: str, kind: str) -> None:
    told = page(chromium, url, "broken", kind)
    assert (TEXT, "error", "overloaded") == (told["text"], told["ended"], told["said"]["code"])
    assert "secret" not in json.dumps(told)


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_hears_of_a_stop(chromium: Browser, url: str, kind: str) -> None:
    told = page(chromium, url, "stopped", kind)
    assert (TEXT, "cancelled") == (told["text"], told["ended"])


@pytest.mark.parametrize("kind", KINDS)
def test_fetch_reads_the_same_and_the_same_ends(node: NodeSession, url: str, kind: str) -> None:
    field, _ = KINDS[kind]
    reads = {how: node.call("read", url=f"{url}/{how}/{kind}", field=field) for how in ("whole", "stopped", "broken")}
    if kind == "own":  # its opening frame has no such field
        assert all(read["text"].startswith("undefined") for read in reads.values())
        reads = {how: {**read, "text": read["text"].removeprefix("undefined")} for how, read in reads.items()}
    assert {"whole": (TEXT, "done"), "stopped": (TEXT, "cancelled"), "broken": (TEXT, "error")} == {
        how: (read["text"], read["ended"]) for how, read in reads.items()
    }


@pytest.mark.parametrize("kind", ["token-text", "message-content", "sse-text"])
def test_a_torn_answer_has_no_end(node: NodeSession, url: str, kind: str) -> None:
    with broken_wire(url, seed=2, tears=1, least_bytes=2_000, most_bytes=50_000) as wire:
        read = node.call("read", url=f"{wire.url}/long/{kind}", field=KINDS[kind][0])
    assert None is read["ended"]
    assert None is not read["error"]


@pytest.mark.parametrize("kind", ["token-text", "sse-text"])
def test_a_reader_that_leaves_closes_the_source(node: NodeSession, url: str, kind: str) -> None:
    closed.clear()
    read = node.call("read", url=f"{url}/endless/{kind}", field=KINDS[kind][0], stop=120)
    assert closed.wait(PATIENCE_S)
    assert len(read["text"]) >= 120
    assert None is read["ended"]


def test_plain_text_and_ndjson_are_read_by_fetch(node: NodeSession, url: str) -> None:
    assert TEXT == node.call("lines", url=f"{url}/whole/text")["text"]
    lines = node.call("lines", url=f"{url}/whole/ndjson")["text"].split("\n")[:-1]
    said = [json.loads(line) for line in lines]
    assert "end" == said[-1]["type"]
    assert TEXT == "".join(event["text"] for event in said if event["type"] == "text-delta")


def test_plain_text_that_failed_is_a_broken_transfer(node: NodeSession, url: str) -> None:
    assert "error" in node.call("lines", url=f"{url}/broken/text")
