"""The JavaScript of the how-to pages does what they say: run by node and Chromium against the Python of the same page."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Browser, browser, with_pages
from markdown_code import blocks
from node_clients import installed_packages, run_node
from served import served

import streamkit as sk
from streamkit.integrations.mounting import Mounts
from streamkit.sinks import sse
from streamkit.sinks.websocket import WebSocketRoutes

HOW_TO = Path(__file__).resolve().parents[2] / "docs" / "how-to"
# Tells what a page shows once its answer has an end.
WATCHER = """
<script>
    setInterval(() => {
        const { dataset, textContent: text } = document.getElementById("answer");
        if (dataset.ended) window.told = { ended: dataset.ended, text, all: document.body.textContent };
    }, 5);
</script>
"""


def code(page: str, language: str) -> str:
    """The first block of a language."""
    return next(block.code for block in blocks((HOW_TO / page).read_text("utf-8")) if block.language == language)


def app_of(page: str, name: str = "app") -> Any:
    """The application that a page's first block makes."""
    names: dict[str, Any] = {"__name__": "page"}
    exec(code(page, "python"), names)
    return names[name]


def told_by(page: str, url: str, folder: Path) -> Any:
    """What a page's script says in its last line, run as one of a project that has the packages."""
    script = folder / "page.mjs"
    (folder / "node_modules").symlink_to(installed_packages() / "node_modules")
    text = code(page, "javascript")
    assert "http://127.0.0.1:8000" in text
    script.write_text(text.replace("http://127.0.0.1:8000", url), "utf-8")
    return run_node(script)


# ---- node ---------------------------------------------------------------------------------------


def test_the_ai_sdk_reads_the_answer_of_the_routes(tmp_path: Path) -> None:
    with served(app_of("serve-the-ai-sdk.md", "routes"), lifespan="on") as url:
        message = told_by("serve-the-ai-sdk.md", url, tmp_path)
    assert ("assistant", "msg-") == (message["role"], message["id"][:4])
    assert "stop" == message["metadata"]["finishReason"]
    (part,) = [part for part in message["parts"] if part["type"] == "text"]
    assert "done" == part["state"]
    assert len(part["text"]) > 20


def test_an_ag_ui_agent_runs(tmp_path: Path) -> None:
    with served(app_of("serve-ag-ui.md")) as url:
        told = told_by("serve-ag-ui.md", url, tmp_path)
    assert {"ended": "success", "said": "You asked: Any news?", "state": {"looked_at": 3}} == told


def test_a_fetch_reads_a_preset(tmp_path: Path) -> None:
    with served(app_of("read-a-stream-in-javascript.md")) as url:
        told = told_by("read-a-stream-in-javascript.md", url, tmp_path)
    assert "done" == told["ended"]
    assert len(told["text"]) > 20


# ---- Chromium -----------------------------------------------------------------------------------


async def failing() -> AsyncIterator[str]:
    yield "Half of <b>"
    raise sk.OverloadedError("secret")


async def endless() -> AsyncIterator[str]:
    while True:
        yield "on and on "
        await asyncio.sleep(0.01)


async def refused() -> AsyncIterator[str]:
    raise sk.RateLimitError("secret")
    yield ""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as running:
        yield running


def shown(chromium: Browser, page: str, app: Any) -> Any:
    """What the page shows in the end, and how often it asked for the answer."""
    asked = 0
    body = (code(page, "html") + WATCHER).encode()

    async def site(scope: Any, receive: Any, send: Any) -> None:
        nonlocal asked
        if scope["path"] == "/answer":
            asked += 1
            await app(scope, receive, send)
            return
        headers = [(b"content-type", b"text/html; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    with served(with_pages(site)) as url:
        ran = chromium.run_page(url)
    assert "secret" not in json.dumps(ran.told)
    assert 1 == asked
    return ran.told


@pytest.mark.parametrize("page", ["read-a-stream-in-javascript.md", "stream-into-htmx.md"])
def test_a_page_shows_a_whole_answer(chromium: Browser, page: str) -> None:
    told = shown(chromium, page, app_of(page))
    assert "done" == told["ended"]
    assert len(told["text"]) > 20


@pytest.mark.parametrize(("page", "dialect"), [("read-a-stream-in-javascript.md", "token-text"), ("stream-into-htmx.md", "htmx")])
def test_a_page_shows_what_came_and_what_was_wrong(chromium: Browser, page: str, dialect: str) -> None:
    told = shown(chromium, page, sse.Response(failing(), dialect))
    assert ("error", "Half of <b>") == (told["ended"], told["text"])
    assert "The model is overloaded. Try again later." in told["all"]


def test_a_page_notices_that_it_was_refused(chromium: Browser) -> None:
    told = shown(chromium, "read-a-stream-in-javascript.md", sse.Response(refused(), "token-text"))
    assert ("refused", "") == (told["ended"], told["text"])


# ---- a WebSocket, in Chromium -------------------------------------------------------------------


class Cutting:
    """WebSocket routes whose first connection breaks behind the first events that it was sent."""

    def __init__(self, routes: WebSocketRoutes) -> None:
        self.routes = routes
        self.opened = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.opened += scope["type"] == "websocket"
        cut, first = False, self.opened == 1

        async def cutting(message: Any) -> None:
            nonlocal cut
            if cut:
                raise OSError("this client is gone")
            await send(message)
            if first and '"type":"events"' in (message.get("text") or ""):
                cut = True
                await send({"type": "websocket.close", "code": 1012})

        await self.routes(scope, receive, cutting)


def shown_over_a_socket(chromium: Browser, sockets: Any, *steps: str) -> Any:
    """What the page shows in the end."""
    body = code("use-websockets.md", "html") + WATCHER
    with served(with_pages(Mounts({"/ws": sockets}, page_of(body))), ws="websockets-sansio") as url:
        return chromium.run_page(url, steps=list(steps)).told


def page_of(body: str) -> Any:
    async def page(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/html; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body.encode()})

    return page


def test_a_page_goes_on_over_a_socket_that_broke(chromium: Browser) -> None:
    asked = []

    async def counted(text: str) -> AsyncIterator[str]:
        asked.append(text)
        for number in range(200):
            yield f"{number} <b>"
            await asyncio.sleep(0)

    sockets = Cutting(WebSocketRoutes(lambda request: counted(request.input["prompt"])))
    told = shown_over_a_socket(chromium, sockets)
    assert ("done", "".join(f"{number} <b>" for number in range(200))) == (told["ended"], told["text"])
    assert (["What is a Stage?"], 2) == (asked, sockets.opened)


def test_a_page_stops_over_its_socket(chromium: Browser) -> None:
    pressed = "document.getElementById('answer').textContent.length > 20 && !document.getElementById('stop').click()"
    told = shown_over_a_socket(chromium, WebSocketRoutes(lambda request: endless()), pressed)
    assert "cancelled" == told["ended"]
    assert told["text"].startswith("on and on on and on ")


def test_a_page_shows_what_was_wrong_over_its_socket(chromium: Browser) -> None:
    told = shown_over_a_socket(chromium, WebSocketRoutes(lambda request: failing()))
    assert ("error", "Half of <b>") == (told["ended"], told["text"])
    assert "The model is overloaded. Try again later." in told["all"]
