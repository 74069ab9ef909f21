"""Each framework behind a real server: what a client reads, how it fails, and that it closes what nobody reads any more."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest
from framework_apps import ASGI, SECRET, WSGI, Sources, aiohttp_app, quart_app_with_chats_inside
from served import PATIENCE_S, served, wait_until

import streamkit as sk
from streamkit.integrations.mounting import Mounts

HAVE_CHATS = [*ASGI, "aiohttp"]
EVERY = [*HAVE_CHATS, *WSGI]


class Site:
    """A server, and what its sources saw."""

    def __init__(self, name: str, url: str, sources: Sources) -> None:
        self.name, self.url, self.sources = name, url, sources

    def client(self) -> httpx2.Client:
        return httpx2.Client(base_url=self.url, trust_env=False, timeout=PATIENCE_S)


@contextmanager
def served_by_werkzeug(app: Any) -> Iterator[str]:
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"  # chunked: a body that breaks off is seen as one

        def log(self, type: str, message: str, *args: Any) -> None:
            assert message

    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join(PATIENCE_S)
        server.server_close()


@contextmanager
def served_by_aiohttp(app: Any) -> Iterator[str]:
    from aiohttp import web

    ready, stop, url = threading.Event(), asyncio.Event(), ""
    loop = asyncio.new_event_loop()

    async def main() -> None:
        nonlocal url
        runner = web.AppRunner(app, shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        url = "http://{}:{}".format(*runner.addresses[0])
        ready.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: loop.run_until_complete(main()), daemon=True)
    thread.start()
    assert ready.wait(PATIENCE_S)
    try:
        yield url
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
        loop.close()


@pytest.fixture(scope="module")
def sites() -> Iterator[dict[str, Site]]:
    """The servers that were asked for so far; they run until the module is over."""
    opened: dict[str, Site] = {}
    contexts: list[Any] = []

    class Sites(dict[str, Site]):
        def __missing__(self, name: str) -> Site:
            sources = Sources()
            if name in ASGI:
                context = served(ASGI[name](sources))
            elif name == "aiohttp":
                context = served_by_aiohttp(aiohttp_app(sources))
            else:
                context = served_by_werkzeug(WSGI[name](sources))
            self[name] = site = Site(name, context.__enter__(), sources)
            contexts.append(context)
            return site

    opened = Sites()
    try:
        yield opened
    finally:
        for context in contexts:
            context.__exit__(None, None, None)


@pytest.fixture
def site(sites: dict[str, Site], request: pytest.FixtureRequest) -> Site:
    found = sites[request.param]
    found.sources.go.clear()
    return found


def read_until(response: httpx2.Response | Iterator[str], wanted: str) -> str:
    """What came until these words, with them; the rest is left to be read, if chunks were given."""
    seen = ""
    for text in response.iter_text() if isinstance(response, httpx2.Response) else response:
        seen += text
        if wanted in seen:
            return seen
    raise AssertionError(f"{wanted!r} did not come: {seen!r}")


every = pytest.mark.parametrize("site", EVERY, indirect=True)
with_chats = pytest.mark.parametrize("site", HAVE_CHATS, indirect=True)


@every
def test_a_client_reads_the_first_item_before_the_second_is_made(site: Site) -> None:
    with site.client() as client, client.stream("GET", "/chat") as response:
        assert 200 == response.status_code
        message = sk.Message()
        for event in sk.decode(response, "native").iter():
            message.add(event)
            if message.text == "first ":
                site.sources.go.set()
    assert ("first second", True) == (message.text, message.complete)
    assert "text/event-stream; charset=utf-8" == response.headers["content-type"]
    assert "no-cache, no-transform, no-store, private" == response.headers["cache-control"]
    assert "no" == response.headers["x-accel-buffering"]


@every
def test_what_the_application_says_of_headers_and_cookies_is_sent(site: Site) -> None:
    site.sources.go.set()
    with site.client() as client:
        response = client.get("/chat")
    assert "own" == response.headers["x-own"]
    assert "1" == response.cookies["seen"]


@every
def test_a_text_comes_as_it_is_made(site: Site) -> None:
    with site.client() as client, client.stream("GET", "/text") as response:
        chunks = response.iter_text()
        assert "first " == read_until(chunks, "first ")
        site.sources.go.set()
        assert "second" == "".join(chunks)


@every
def test_an_early_failure_is_a_real_status(site: Site) -> None:
    with site.client() as client:
        response = client.get("/early")
    assert (503, "2") == (response.status_code, response.headers["retry-after"])
    assert "overloaded" == response.json()["error"]["code"]
    assert SECRET not in response.text


@every
def test_an_http_error_of_the_frameworks_own_is_the_frameworks_to_answer(site: Site) -> None:
    with site.client() as client:
        response = client.get("/theirs")
    assert 404 == response.status_code
    assert "correlation" not in response.text


@every
def test_a_late_failure_is_told_in_the_words_of_the_dialect(site: Site) -> None:
    with site.client() as client:
        body = client.get("/late").text
    last = json.loads([line for line in body.splitlines() if line.startswith("data: ")][-1].removeprefix("data: "))
    assert "error" == last["type"]
    assert "before " in body
    assert SECRET not in body


@every
def test_a_text_that_fails_breaks_off(site: Site) -> None:
    got = ""
    with site.client() as client, pytest.raises(httpx2.RemoteProtocolError), client.stream("GET", "/late-text") as response:
        for text in response.iter_text():
            got += text
    assert "before " == got


@every
def test_a_source_is_closed_when_its_client_has_left(site: Site) -> None:
    before = site.sources.endless_closed
    with site.client() as client, client.stream("GET", "/endless") as response:
        read_until(response, "first")
    wait_until(lambda: before + 1 == site.sources.endless_closed)


@every
def test_heartbeats_are_sent_while_the_source_is_silent(site: Site) -> None:
    with site.client() as client, client.stream("GET", "/endless") as response:
        assert "first" in read_until(response, ": hb\n")


@every
def test_a_head_request_starts_no_source(site: Site) -> None:
    before = site.sources.started
    with site.client() as client:
        response = client.head("/chat")
    assert (200, "") == (response.status_code, response.text)
    assert "text/event-stream; charset=utf-8" == response.headers["content-type"]
    assert before == site.sources.started


# -- chats


def chat_from_start_to_end(client: httpx2.Client, sources: Sources) -> None:
    """Start an answer, leave, look how it is, join it, cancel it."""
    before = sources.endless_closed
    with client.stream("POST", "/chats/", json={"prompt": "Hi"}) as response:
        assert 200 == response.status_code
        id = response.headers["x-stream-id"]
        read_until(response, "first")
    assert f"/chats/{id}/stream" == response.headers["location"]
    assert "running" == client.get(f"/chats/{id}").json()["state"]
    assert before == sources.endless_closed
    with client.stream("GET", f"/chats/{id}/stream") as response:
        chunks = response.iter_text()
        read_until(chunks, "first")
        assert "cancelled" == client.post(f"/chats/{id}/cancel").json()["state"]
        assert "cancelled" in "".join(chunks)
    wait_until(lambda: before + 1 == sources.endless_closed)
    assert 404 == client.get("/chats/nobodys").status_code
    assert 204 == client.get("/chats/nobodys/stream").status_code


@with_chats
def test_chat_routes_work_where_they_are_mounted(site: Site) -> None:
    with site.client() as client:
        chat_from_start_to_end(client, site.sources)


def test_chat_routes_work_inside_of_a_quart_view() -> None:
    sources = Sources()
    with (
        served(quart_app_with_chats_inside(sources)) as url,
        httpx2.Client(base_url=url, trust_env=False, timeout=PATIENCE_S) as client,
    ):
        chat_from_start_to_end(client, sources)


# -- one framework's own


@pytest.mark.parametrize("site", ["aiohttp"], indirect=True)
def test_aiohttp_notices_that_a_client_has_left_though_nothing_is_written(site: Site) -> None:
    before = site.sources.endless_closed
    with site.client() as client, client.stream("GET", "/silent") as response:
        read_until(response, "first")
    wait_until(lambda: before + 1 == site.sources.endless_closed)


@pytest.mark.parametrize("site", ["django", "django-wsgi"], indirect=True)
def test_djangos_compression_holds_no_token_back(site: Site) -> None:
    with site.client() as client, client.stream("GET", "/text", headers={"accept-encoding": "gzip"}) as response:
        chunks = response.iter_text()
        assert "first " == read_until(chunks, "first ")
        site.sources.go.set()
        assert "second" == "".join(chunks)
    assert "content-encoding" not in response.headers


@pytest.mark.parametrize("site", ["django", "django-wsgi"], indirect=True)
def test_a_source_is_closed_though_middleware_of_djangos_has_put_something_around_the_stream(site: Site) -> None:
    before = site.sources.endless_closed
    with site.client() as client, client.stream("GET", "/endless", headers={"x-shout": "1"}) as response:
        read_until(response, "FIRST")
    wait_until(lambda: before + 1 == site.sources.endless_closed)


class _Watched:
    """Django's connections, as far as they are closed."""

    def __init__(self) -> None:
        self.closed_in: list[threading.Thread] = []

    def close_all(self) -> None:
        self.closed_in.append(threading.current_thread())


@pytest.mark.parametrize("early", [False, True])
def test_the_queries_of_an_answer_under_wsgi_leave_no_connection_open_behind_it(
    early: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from asgiref.sync import sync_to_async
    from django.http import Http404
    from django.test import RequestFactory
    from framework_apps import configure_django

    from streamkit.integrations import django

    configure_django()
    monkeypatch.setattr(django, "connections", watched := _Watched())
    queried_in: list[threading.Thread] = []

    async def source() -> AsyncIterator[str]:
        queried_in.append(await sync_to_async(threading.current_thread)())
        if early:
            raise Http404
        yield "a"
        queried_in.append(await sync_to_async(threading.current_thread)())

    for _ in range(2):
        if early:
            with pytest.raises(Http404):
                django.blocking_stream_response(RequestFactory().get("/"), source, "text")
        else:
            response = django.blocking_stream_response(RequestFactory().get("/"), source, "text")
            assert b"a" == b"".join(response)
            response.close()
    for thread in queried_in:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
    assert 2 == len(set(queried_in))  # one for each answer: they do not wait for each other
    assert set(queried_in) == set(watched.closed_in)


def test_mounts_close_what_is_mounted_when_the_server_stops() -> None:
    sources = Sources()
    routes = sources.chats()
    with (
        served(Mounts({"/chats": routes}), lifespan="on") as url,
        httpx2.Client(base_url=url, trust_env=False, timeout=PATIENCE_S) as client,
    ):
        with client.stream("POST", "/chats/", json={"prompt": "Hi"}) as response:
            read_until(response, "first")
        assert 404 == client.get("/elsewhere").status_code
        assert 0 == sources.endless_closed
    assert 1 == sources.endless_closed


@pytest.mark.parametrize("path", ["", "/", "chat", "/chat/"])
def test_a_place_for_a_mount_is_checked(path: str) -> None:
    with pytest.raises(sk.ConfigError, match="slash"):
        Mounts({path: Mounts({})})
