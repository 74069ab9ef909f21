"""Requests on any client: where they go, what goes with them, and whose connections are closed when."""

from __future__ import annotations

import gc
import socket
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import pytest
from byte_server import Answer, Script, byte_server
from chat_bodies import answer
from event_loops import asyncio_only

import streamkit as sk
from streamkit.clients.http_client import MAX_REDIRECTS, HttpClient

httpx: Any = pytest.importorskip("httpx")
httpx2: Any = pytest.importorskip("httpx2")
aiohttp: Any = pytest.importorskip("aiohttp")

SECRETS = {
    "Authorization": "Bearer one",
    "Cookie": "session=two",
    "X-Api-Key": "three",
    "api-key": "four",
    "X-Goog-Api-Key": "five",
    "X-Whatever-Else": "six",
}
HARMLESS = {"Accept": "text/event-stream", "Last-Event-ID": "7", "User-Agent": "mine"}
LEAVES_GENERATORS = pytest.mark.filterwarnings(
    # Left before its end, a response of httpx or httpx2 leaves generators of its own to the collector, in a plain loop too.
    "ignore:Exception ignored in. <async_generator:pytest.PytestUnraisableExceptionWarning"
)
KINDS = ["ours", "httpx", "httpx2", "httpx.Client", "httpx2.Client"]
pytestmark = [pytest.mark.anyio, LEAVES_GENERATORS]


class Clients:
    """A client of each kind, closed at the end."""

    def __init__(self, kind: str, **options: Any) -> None:
        library = httpx if kind.startswith("httpx") and not kind.startswith("httpx2") else httpx2
        self.theirs: Any = (
            None
            if kind == "ours"
            else aiohttp.ClientSession(**options)
            if kind == "aiohttp"
            else library.Client(**options)
            if kind.endswith(".Client")
            else library.AsyncClient(**options)
        )
        self.http = HttpClient(self.theirs, wanted_by="a test")

    async def __aenter__(self) -> HttpClient:
        return self.http

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()
        if self.theirs is not None:
            assert not getattr(self.theirs, "is_closed", getattr(self.theirs, "closed", None))
            closing = self.theirs.aclose() if hasattr(self.theirs, "aclose") else self.theirs.close()
            if closing is not None:
                await closing


def read(http: HttpClient, url: str, method: str = "GET", **options: Any) -> sk.Stream[sk.Event]:
    return sk.from_http(http.open(method, url, **options), "openai-chat")


WHOLE = Answer(answer("Hi"))


@pytest.mark.parametrize("kind", KINDS)
async def test_a_request_is_sent_when_it_is_run_and_not_before(kind: str) -> None:
    with byte_server({"/": WHOLE}) as server:
        async with Clients(kind) as http:
            stream = read(http, server.url + "/", "POST", headers={"X-A": "b"}, content=b"{}", params={"q": "1 2"})
            assert [] == server.asked
            assert "Hi" == await stream.join()
    asked = server.asked[0]
    assert ("POST", b"{}", "b", "identity") == (asked.method, asked.body, asked.headers["x-a"], asked.headers["accept-encoding"])
    assert asked.path in ("/?q=1+2", "/?q=1%202")


@asyncio_only
async def test_a_session_of_aiohttp_serves_as_well() -> None:
    with byte_server({"/": WHOLE}) as server:
        async with Clients("aiohttp") as http:
            stream = read(http, server.url + "/", "POST", headers={"Accept-Encoding": "gzip"}, content=b"{}")
            assert "Hi" == await stream.join()
    assert ("POST", b"{}", "gzip") == (
        server.asked[0].method,
        server.asked[0].body,
        server.asked[0].headers["accept-encoding"],
    )


@pytest.mark.parametrize("kind", KINDS)
async def test_a_warm_connection_is_used_by_the_next_request(kind: str) -> None:
    with byte_server({"/": Answer([], 404), "/v1": WHOLE}) as server:
        async with Clients(kind) as http:
            await http.warm_up(server.url + "/v1?key=secret")
            assert "Hi" == await read(http, server.url + "/v1").join()
    assert ["HEAD", "GET"] == [asked.method for asked in server.asked]
    assert "/" == server.asked[0].path
    assert 1 == len(set(server.ports))


@asyncio_only
async def test_a_session_of_aiohttp_is_warmed_up_as_well() -> None:
    with byte_server({"/": Answer([], 404), "/v1": WHOLE}) as server:
        async with Clients("aiohttp") as http:
            await http.warm_up(server.url + "/v1")
            assert "Hi" == await read(http, server.url + "/v1").join()
    assert 1 == len(set(server.ports))


@pytest.mark.parametrize("kind", KINDS)
async def test_warming_up_tells_only_that_nobody_is_there(kind: str) -> None:
    with byte_server({"/": Answer([], 500, end="torn")}) as server:
        async with Clients(kind) as http:
            await http.warm_up(server.url)
            with pytest.raises((httpx.ConnectError, httpx2.ConnectError)):
                await http.warm_up("http://127.0.0.1:1/")
    assert 1 == len(server.asked)


# ---- redirects ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
async def test_credentials_never_go_to_another_origin(kind: str) -> None:
    await _credentials_stay(kind, {"headers": {"X-Client-Key": "seven"}, "auth": ("user", "pass")} if kind != "ours" else {})


@asyncio_only
async def test_credentials_of_a_session_never_go_to_another_origin() -> None:
    await _credentials_stay("aiohttp", {"headers": {"X-Client-Key": "seven"}, "cookies": {"a": "b"}})


async def _credentials_stay(kind: str, options: dict[str, Any]) -> None:
    with byte_server({"/there": WHOLE}) as other:
        places = {
            "/port": Answer([], 302, headers={"location": other.url + "/there"}),
            "/name": Answer([], 307, headers={"location": other.other_name + "/there"}),
            "/same": Answer([], 308, headers={"location": "/here"}),
            "/here": WHOLE,
        }
        with byte_server(places) as server:
            async with Clients(kind, **options) as http:
                for path in ("/port", "/name", "/same"):
                    assert "Hi" == await read(http, server.url + path, headers={**SECRETS, **HARMLESS}).join()
    sent = {name.lower() for name in SECRETS}
    for asked in other.asked:
        assert set() == asked.headers.keys() & (sent | {"x-client-key"})
        assert {name.lower(): value for name, value in HARMLESS.items()}.items() <= asked.headers.items()
    assert 2 == len(other.asked)
    assert sent <= server.asked[-1].headers.keys()
    assert "/here" == server.asked[-1].path


async def test_credentials_do_not_come_back_by_a_way_round() -> None:
    url: list[str] = []
    places: dict[str, Script] = {"/here": WHOLE}
    back = byte_server({"/back": lambda asked: Answer([], 302, headers={"location": url[0] + "/here"})})
    with back as other, byte_server(places) as server:
        url.append(server.url)
        places["/"] = Answer([], 302, headers={"location": other.url + "/back"})
        async with Clients("ours") as http:
            assert "Hi" == await read(http, server.url + "/", headers=SECRETS).join()
    assert "authorization" in server.asked[0].headers
    assert "authorization" not in server.asked[1].headers


@pytest.mark.parametrize("kind", ["ours", "httpx2", "httpx.Client"])
@pytest.mark.parametrize(
    ("method", "content", "location", "why"),
    [
        ("POST", b"{}", "/", "a request with a body"),
        ("POST", None, "/", "a request with a body"),
        ("GET", b"{}", "/", "a request with a body"),
        ("GET", None, "http://169.254.169.254/latest/meta-data", "link-local"),
        ("GET", None, "http://[fe80::1]/", "link-local"),
        ("GET", None, "http://[::ffff:169.254.169.254]/", "link-local"),
        ("GET", None, "ftp://127.0.0.1/", "no address that HTTP knows"),
        ("GET", None, "file:///etc/passwd", "no address that HTTP knows"),
        ("GET", None, "http://[nonsense/", "no address"),
        ("GET", None, "/again", f"more than {MAX_REDIRECTS} redirects"),
    ],
)
async def test_a_redirect_that_is_not_followed_is_told(
    kind: str, method: str, content: bytes | None, location: str, why: str
) -> None:
    again = Answer([], 302, headers={"location": location + ("?token=hidden" if location.startswith("http") else "")})
    with byte_server({"/again": again}) as server:
        async with Clients(kind) as http:
            with pytest.raises(sk.RemoteProtocolError, match=why) as caught:
                await read(http, server.url + "/again", method, content=content).collect()
    assert (MAX_REDIRECTS + 1 if location == "/again" else 1) == len(server.asked)
    assert "hidden" not in str(caught.value)


async def test_from_https_to_http_is_not_followed() -> None:
    def handle(request: Any) -> Any:
        return httpx2.Response(302, headers={"location": "http://api.example/"})

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(handle)) as client:
        with pytest.raises(sk.RemoteProtocolError, match="from https to http"):
            await read(HttpClient(client, wanted_by="a test"), "https://api.example/").collect()


async def test_a_password_in_an_address_is_not_shown() -> None:
    assert "GET https://api.example/v1" == repr(HttpClient(wanted_by="a test").open("GET", "https://u:pw@api.example/v1?key=k#f"))


# ---- clients of theirs ------------------------------------------------------------------------------


@pytest.mark.parametrize(("given", "read_timeout"), [({}, None), ({"timeout": 7}, 7), ({"timeout": None}, None)])
async def test_the_timeouts_of_the_user_count_and_the_librarys_defaults_do_not(given: dict[str, Any], read_timeout: Any) -> None:
    seen: list[dict[str, Any]] = []

    def handle(request: Any) -> Any:
        seen.append(request.extensions["timeout"])
        return httpx2.Response(200, content=b"".join(answer("Hi")))

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(handle), **given) as client:
        assert "Hi" == await read(HttpClient(client, wanted_by="a test"), "http://api.example/").join()
    assert read_timeout == seen[0]["read"]
    assert ({} == given) == (10 == seen[0]["connect"])


@pytest.mark.parametrize("client", [object(), httpx2.AsyncClient, "http://x", 3, httpx2])
def test_anything_else_is_no_client(client: object) -> None:
    with pytest.raises(TypeError, match="client is an httpx or httpx2 AsyncClient"):
        HttpClient(client, wanted_by="a test")


# ---- clients of ours --------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_end_of_a_loop_closes_its_client_and_the_next_loop_has_its_own(backend: str) -> None:
    http = HttpClient(wanted_by="a test")
    seen: list[Any] = []

    async def ask(url: str) -> str:
        text = await read(http, url).join()
        seen.append(http.ours())
        assert not seen[-1].is_closed
        return text

    with byte_server({"/": WHOLE}) as server:
        for _ in range(2):
            assert "Hi" == anyio.run(ask, server.url + "/", backend=backend)
            assert seen[-1].is_closed
            gc.collect()  # would warn of a connection that is left open
        assert seen[0] is not seen[1]
        assert ["Hi"] == [event.text for event in read_again(http, server.url) if isinstance(event, sk.TextDelta)]


def read_again(http: HttpClient, url: str) -> list[sk.Event]:
    return list(sk.from_http(lambda: http.open("GET", url + "/"), "openai-chat").iter())


async def test_all_in_one_loop_share_one_and_the_last_to_leave_closes_it() -> None:
    first, second = HttpClient(wanted_by="a test"), HttpClient(wanted_by="a test")
    client = first.ours()
    assert client is second.ours()
    await first.aclose()
    await first.aclose()
    assert not client.is_closed
    await second.aclose()
    assert client.is_closed
    assert client is not first.ours()
    await first.aclose()


async def test_one_that_was_forgotten_does_not_keep_the_client_open() -> None:
    forgotten, other = HttpClient(wanted_by="a test"), HttpClient(wanted_by="a test")
    client = forgotten.ours()
    assert client is other.ours()
    gone = weakref.ref(forgotten)
    del forgotten
    gc.collect()
    assert gone() is None
    await other.aclose()
    assert client.is_closed


async def test_ours_keeps_no_cookies() -> None:
    with byte_server({"/": Answer(answer("Hi"), headers={"set-cookie": "who=them; path=/"})}) as server:
        http = HttpClient(wanted_by="a test")
        for _ in range(2):
            await read(http, server.url + "/").join()
        await http.aclose()
    assert ["cookie" in asked.headers for asked in server.asked] == [False, False]


async def test_without_a_library_the_message_is_the_line_that_installs_one(monkeypatch: pytest.MonkeyPatch) -> None:
    http = HttpClient(wanted_by="sk.example")
    monkeypatch.setitem(sys.modules, "httpx", None)
    monkeypatch.setitem(sys.modules, "httpx2", None)
    with pytest.raises(sk.MissingExtra, match=r"sk.example needs httpx2: pip install 'streamkit-ai\[httpx2\]'"):
        await http.warm_up("http://127.0.0.1:1/")
    with pytest.raises(sk.MissingExtra):
        await read(http, "http://127.0.0.1:1/").collect()


async def test_httpx_does_where_httpx2_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx2", None)
    http = HttpClient(wanted_by="sk.example")
    assert isinstance(http.ours(), httpx.AsyncClient)
    await http.aclose()


@contextmanager
def closing_server(answers: int) -> Iterator[tuple[str, list[int]]]:
    """Answers so many requests of each connection, and closes it when the next one has come; what each connection was asked."""
    asked: list[int] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            at = len(asked)
            asked.append(0)
            with connection:
                while asked[at] <= answers:
                    request = b""
                    while b"\r\n\r\n" not in request:
                        more = connection.recv(65536)
                        if not more:
                            break
                        request += more
                    if not request:
                        break
                    asked[at] += 1
                    if asked[at] <= answers:
                        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/", asked
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


async def body_of(client: HttpClient, url: str) -> bytes:
    exchange: Any = client.open("POST", url, content=b"")
    async with exchange as response:
        return bytes(await response.aread())


async def test_server_disconnected_on_a_kept_connection_is_asked_again_on_a_new_one() -> None:
    with closing_server(1) as (url, asked):
        async with Clients("ours") as client:
            assert [b"ok"] * 3 == [await body_of(client, url) for _ in range(3)]
    assert [2, 2, 1] == asked


async def test_server_disconnected_on_a_new_connection_is_not_asked_twice() -> None:
    with closing_server(0) as (url, asked):
        async with Clients("ours") as client:
            with pytest.raises(httpx2.RemoteProtocolError, match="Server disconnected"):
                await body_of(client, url)
    assert [1] == asked
