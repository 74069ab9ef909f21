"""Chromium, driven by playwright-core in a node session, and pages that our own loopback server gives it.

    with served(with_pages(app)) as url, browser() as chromium:
        ran = chromium.run_page(f"{url}/pages/event_source.html?stream=/chat")
        assert "Hello" == ran.told["text"]

A page of `pages/` does its work and then sets `window.told`, which is what `run_page` waits for and gives.
One that has much to load stays open for many calls of its functions:

    with chromium.open_page(url) as page:        # which sets window.ready
        told = page.result(page.ask("read", text="x"), "read")
"""

from __future__ import annotations

import mimetypes
import shutil
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from node_clients import PATIENCE_S, NodeSession, installed_packages, node_session, not_here

__all__ = ["PAGES", "Browser", "Page", "Ran", "browser", "with_pages"]

PAGES = Path(__file__).resolve().parent / "pages"
# Chromium of a machine that has never started it reads hundreds of megabytes first.
LAUNCH_S = 150


@dataclass
class Ran:
    """What a page did.

    Attributes:
        told: What it set `window.told` to.
        errors: Exceptions that nobody caught.
        said: Its lines on the console, the browser's own among them.
        dialogs: What `alert` and the like would have shown.
        requests: Every address that it asked for.
    """

    told: Any
    errors: list[str]
    said: list[str]
    dialogs: list[str]
    requests: list[str]


class Page:
    """A page that stays open."""

    def __init__(self, session: NodeSession, number: int) -> None:
        self._session = session
        self._number = number

    def ask(self, name: str, **given: object) -> Future[Any]:
        """Begin a call of a function that the page has set on `window`; `result` says what it gives."""
        return self._session.ask("call", page=self._number, name=name, given=given)

    def result(self, asked: Future[Any], name: str, timeout: float = PATIENCE_S) -> Any:
        """What a call gave that `ask` has begun."""
        return self._session.result(asked, name, timeout)


class Browser:
    """A running Chromium; each page has a context of its own, so no page knows of another."""

    def __init__(self, session: NodeSession) -> None:
        self._session = session
        self.version: str = session.call("version", timeout=LAUNCH_S)

    def run_page(self, url: str, *, steps: list[str] | None = None, seconds: float = 45) -> Ran:
        """Open `url`, wait for each of `steps` (expressions that become true), then for `window.told`: `seconds` for each."""
        waits = seconds * (1 + len(steps or []))
        return Ran(**self._session.call("run", timeout=PATIENCE_S + waits, url=url, steps=steps or [], seconds=seconds))

    @contextmanager
    def open_page(self, url: str, *, seconds: float = 60) -> Iterator[Page]:
        """Open `url` and wait for `window.ready`; in the end nothing may have been raised there that nobody caught."""
        number = self._session.call("open", timeout=2 * seconds, url=url, seconds=seconds)
        yield Page(self._session, number)
        assert [] == self._session.call("close", timeout=seconds, page=number)


@contextmanager
def browser() -> Iterator[Browser]:
    """Chromium for the length of the block; a skip that says so (a failure with STREAMKIT_CI=1) where there is none."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        not_here("chromium is not installed")
    with node_session("browser.mjs", found) as session:
        yield Browser(session)


def with_pages(app: Any) -> Any:
    """An ASGI application that gives `/pages/...` from here, `/packages/...` from npm, and leaves all else to `app`."""

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        path: str = scope.get("path", "")
        for prefix, folder in (("/pages/", PAGES), ("/packages/", installed_packages() / "node_modules")):
            if path.startswith(prefix):
                await _send_file((folder / path.removeprefix(prefix)).resolve(), folder.resolve(), send)
                return
        if path == "/favicon.ico":  # which every page asks for
            await _send_file(PAGES / "none", PAGES, send)
            return
        await app(scope, receive, send)

    return serve


async def _send_file(file: Path, folder: Path, send: Any) -> None:
    status, kind, body = _read(file, folder)
    headers = [(b"content-type", f"{kind}; charset=utf-8".encode()), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _read(file: Path, folder: Path) -> tuple[int, str, bytes]:
    if not (file.is_relative_to(folder) and file.is_file()):
        return 404, "text/plain", b"there is no such page"
    if file.suffix in (".js", ".mjs"):
        return 200, "text/javascript", file.read_bytes()
    return 200, mimetypes.guess_type(file.name)[0] or "text/plain", file.read_bytes()
