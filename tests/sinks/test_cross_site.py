"""What a page of another site asks for with the user's cookies is refused, before anything is opened for it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from asgi_client import Client

from streamkit.errors import ConfigError
from streamkit.sinks import sse
from streamkit.sinks.safety.cors import Cors
from streamkit.sinks.safety.crossing import CrossSiteGuard

pytestmark = pytest.mark.anyio

HOST = "chat.example"
COOKIE = {"cookie": "session=1"}
JSON = {"content-type": "application/json"}


class Opened:
    """A costly stream, and how often it was opened."""

    def __init__(self) -> None:
        self.count = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.count += 1
        await sse.Response(["Hi"])(scope, receive, send)


async def status_of(headers: dict[str, str], method: str = "POST", **options: Any) -> int:
    opened = Opened()
    client = await Client(method=method, headers={"host": HOST, **headers}).call(CrossSiteGuard(opened, **options))
    assert (1 if 200 == client.status else 0) == opened.count
    if client.status != 200:
        error = json.loads(client.messages[1]["body"])["error"]
        assert {"message", "code"} == set(error)
    return client.status


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example", "sec-fetch-site": "cross-site"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "https://chat.example.evil.example"},
        {"origin": "https://other.chat.example", "sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site", "referer": "https://chat.example/page"},
        {"referer": "https://evil.example/https://chat.example"},
        {"referer": "nonsense"},
        {"sec-fetch-site": "cross-site", "origin": "https://chat.example"},
        {},
    ],
)
@pytest.mark.parametrize("method", ["POST", "GET", "HEAD"])
async def test_http_14_a_request_of_another_site_with_cookies_is_refused(headers: dict[str, str], method: str) -> None:
    if method == "HEAD":
        opened = Opened()
        client = await Client(method=method, headers={"host": HOST, **COOKIE, **headers}).call(CrossSiteGuard(opened))
        assert (403, b"", 0) == (client.status, client.messages[1]["body"], opened.count)
    else:
        assert 403 == await status_of({**COOKIE, **JSON, **headers}, method)


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/json",
        "application/jsonx",
        "",
        "text/plain; application/json",
    ],
)
async def test_http_14_a_form_of_another_type_is_refused_whoever_sends_it(kind: str) -> None:
    assert 403 == await status_of({**COOKIE, "origin": "https://evil.example", "content-type": kind})
    assert 415 == await status_of({**COOKIE, "origin": "https://chat.example", "content-type": kind})


async def test_http_14_a_body_without_a_type_is_refused() -> None:
    ours = {**COOKIE, "sec-fetch-site": "same-origin"}
    assert 415 == await status_of({**ours, "content-length": "5"})
    assert 415 == await status_of({**ours, "transfer-encoding": "chunked"})
    assert 200 == await status_of({**ours, "content-length": "0"})
    assert 200 == await status_of(ours)
    assert 200 == await status_of({**ours, "content-length": "5"}, json_only=False)


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=utf-8", "application/vnd.api+json"])
async def test_json_is_json(kind: str) -> None:
    assert 200 == await status_of({**COOKIE, "origin": "https://chat.example", "content-type": kind})


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "same-origin", "origin": "https://chat.example"},
        {"sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
        {"origin": "https://chat.example"},
        {"origin": "http://chat.example"},
        {"referer": "https://chat.example/page?x=https://evil.example"},
        # A proxy that gives the server a name of its own.
        {"sec-fetch-site": "same-origin", "origin": "https://outside.example"},
    ],
)
@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_a_page_of_ours_is_served(headers: dict[str, str], method: str) -> None:
    assert 200 == await status_of({**COOKIE, **JSON, **headers}, method)


async def test_a_named_origin_is_served() -> None:
    asked = {**COOKIE, **JSON, "sec-fetch-site": "cross-site", "origin": "https://app.example"}
    assert 200 == await status_of(asked, allowed=["https://app.example"])
    assert 403 == await status_of({**asked, "origin": "https://app.example:444"}, allowed=["https://app.example"])


async def test_a_program_without_cookies_is_served_and_one_with_them_if_configured() -> None:
    assert 200 == await status_of(JSON)
    assert 403 == await status_of({**JSON, **COOKIE})
    assert 200 == await status_of({**JSON, **COOKIE}, missing=True)


async def test_two_values_of_a_header_are_none() -> None:
    client = Client(method="POST", headers={"host": HOST, **JSON, **COOKIE})
    client.scope["headers"] += [(b"origin", b"https://chat.example"), (b"origin", b"https://evil.example")]
    assert 403 == (await client.call(CrossSiteGuard(Opened()))).status


async def test_a_preflight_reaches_cors_in_front_and_the_request_behind_it_is_served() -> None:
    opened = Opened()
    app = Cors(CrossSiteGuard(opened, allowed=["https://app.example"]), ["https://app.example"], credentials=True)
    asked = {"origin": "https://app.example", "host": HOST, **COOKIE}
    wanted = {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    assert 204 == (await Client(method="OPTIONS", headers={**asked, **wanted}).call(app)).status
    assert 0 == opened.count
    assert 200 == (await Client(method="POST", headers={**asked, **JSON}).call(app)).status
    assert 1 == opened.count


@pytest.mark.parametrize(("origin", "served"), [("https://chat.example", True), ("https://evil.example", False)])
async def test_ws_01_a_websocket_of_another_site_is_closed_before_it_is_open(origin: str, served: bool) -> None:
    opened: list[Any] = []
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        opened.append(scope)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    headers = [(b"host", HOST.encode()), (b"origin", origin.encode()), (b"cookie", b"session=1")]
    await CrossSiteGuard(app)({"type": "websocket", "headers": headers}, receive, send)
    assert (served, [] if served else ["websocket.close"]) == (bool(opened), sent)


@pytest.mark.parametrize("options", [{"allowed": "https://a.example"}, {"allowed": ["*"]}, {"missing": 1}, {"json_only": None}])
def test_arguments_that_cannot_work_are_refused_at_the_call(options: dict[str, Any]) -> None:
    with pytest.raises((ConfigError, TypeError)):
        CrossSiteGuard(Opened(), **options)
    assert "<CrossSiteGuard same origin>" == repr(CrossSiteGuard(Opened()))
