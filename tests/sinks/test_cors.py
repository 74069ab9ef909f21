"""CORS: who may read, said once and exactly; streams pass as they come."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from asgi_client import Client, Message

from streamkit.errors import ConfigError
from streamkit.sinks import sse
from streamkit.sinks.safety.cors import Cors

pytestmark = pytest.mark.anyio

APP = "https://app.example"


async def plain(scope: Any, receive: Any, send: Any) -> None:
    headers = [(b"content-type", b"text/plain"), (b"vary", b"accept"), (b"Access-Control-Allow-Origin", b"*")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"hello", "more_body": False})


async def answered(app: Any, method: str = "GET", **headers: str) -> tuple[int, dict[str, str]]:
    client = await Client(method=method, headers={name.replace("_", "-"): value for name, value in headers.items()}).call(app)
    raw: list[tuple[bytes, bytes]] = client.messages[0]["headers"]
    said: dict[str, str] = {}
    for name, value in raw:
        key = name.decode().lower()
        said[key] = f"{said[key]}, {value.decode()}" if key in said else value.decode()
    return client.status, said


def of_cors(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.startswith("access-control-")}


def preflight(**headers: str) -> dict[str, str]:
    return {"origin": APP, "access_control_request_method": "POST", **headers}


async def test_a_page_of_a_named_origin_may_read() -> None:
    status, headers = await answered(Cors(plain, [APP]), origin=APP)
    assert 200 == status
    assert {
        "access-control-allow-origin": APP,
        "access-control-expose-headers": "location, retry-after, x-stream-id",
    } == of_cors(headers)
    assert "accept, origin" == headers["vary"]


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "https://app.example.evil.example", "https://app.example:444", APP.upper()]
)
async def test_a_page_of_another_origin_may_not(origin: str) -> None:
    for credentials in (False, True):
        status, headers = await answered(Cors(plain, [APP], credentials=credentials), origin=origin)
        assert (200, {}) == (status, of_cors(headers))
        assert "accept, origin" == headers["vary"]  # or a cache would give this answer to the page that may read


async def test_without_an_origin_nothing_is_said_but_that_it_varies() -> None:
    status, headers = await answered(Cors(plain, [APP]))
    assert (200, {}, "accept, origin") == (status, of_cors(headers), headers["vary"])


async def test_credentials_are_for_named_origins() -> None:
    _, headers = await answered(Cors(plain, [APP], credentials=True, expose=()), origin=APP)
    assert {"access-control-allow-origin": APP, "access-control-allow-credentials": "true"} == of_cors(headers)


@pytest.mark.parametrize("origins", [["*"], ["*", APP], (APP, "*")])
def test_http_13_any_origin_with_credentials_is_refused_at_construction(origins: Any) -> None:
    with pytest.raises(ConfigError, match="every site read with the user's cookies"):
        Cors(plain, origins, credentials=True)


async def test_http_13_null_may_not_read_even_where_any_origin_may() -> None:
    anybody = Cors(plain, ["*"], expose=())
    assert {} == of_cors((await answered(anybody, origin="null"))[1])
    _, headers = await answered(anybody, origin="https://any.example")
    assert {"access-control-allow-origin": "*"} == of_cors(headers)
    assert "accept" == headers["vary"]


async def test_a_preflight_of_a_named_origin_is_told_what_it_may_do() -> None:
    asked = preflight(access_control_request_headers="Content-Type, last-event-id")
    status, headers = await answered(Cors(plain, [APP], credentials=True), "OPTIONS", **asked)
    assert 204 == status
    assert {
        "access-control-allow-origin": APP,
        "access-control-allow-credentials": "true",
        "access-control-allow-methods": "GET, HEAD, POST",
        "access-control-allow-headers": "authorization, content-type, last-event-id",
        "access-control-max-age": "600",
    } == of_cors(headers)
    assert headers["vary"].startswith("origin, ")


@pytest.mark.parametrize(
    "wrong",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"access_control_request_method": "DELETE"},
        {"access_control_request_method": "post"},
        {"access_control_request_headers": "x-other"},
        {"access_control_request_headers": "content-type, *"},
    ],
)
async def test_a_preflight_for_anything_else_is_refused_without_a_word_of_cors(wrong: dict[str, str]) -> None:
    status, headers = await answered(Cors(plain, [APP], credentials=True), "OPTIONS", **preflight(**wrong))
    assert (403, {}) == (status, of_cors(headers))


async def test_an_options_request_that_is_no_preflight_is_the_applications() -> None:
    assert 200 == (await answered(Cors(plain, [APP]), "OPTIONS", origin=APP))[0]
    assert 200 == (await answered(Cors(plain, [APP]), "OPTIONS", access_control_request_method="GET"))[0]


async def test_a_stream_passes_as_it_comes() -> None:
    arrived: list[bytes] = []
    client = Client(headers={"origin": APP})

    async def tokens() -> AsyncIterator[str]:
        for number in range(3):
            # What was yielded before has been sent, before this is asked for more.
            arrived.append(client.messages[-1].get("body", b"") if client.messages else b"")
            yield f"token-{number}"

    await client.call(Cors(sse.Response(tokens()), [APP]))
    assert b"" == arrived[0]
    assert b"token-0" in arrived[1]
    assert b"token-1" in arrived[2]
    assert (b"access-control-allow-origin", APP.encode()) in client.messages[0]["headers"]


async def test_what_is_no_http_request_passes_untouched() -> None:
    seen: list[Message] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)

    for kind in ("websocket", "lifespan"):
        await Cors(app, [APP])({"type": kind}, None, None)  # type: ignore[arg-type]  # neither is asked
    assert ["websocket", "lifespan"] == [scope["type"] for scope in seen]


@pytest.mark.parametrize(
    ("origins", "options"),
    [
        ([], {}),
        (APP, {}),
        ("*", {}),
        (["null"], {}),
        ([f"{APP}/"], {}),
        (["https://*.example"], {}),
        ([APP], {"methods": ["*"]}),
        ([APP], {"headers": ["*"]}),
        ([APP], {"headers": "content-type"}),
        ([APP], {"headers": ["a b"]}),
        ([APP], {"headers": [7]}),
        ([APP], {"expose": ["x\r\ny"]}),
        ([APP], {"methods": ["TRACE"]}),
        ([APP], {"max_age": -1}),
        ([APP], {"max_age": 86_401}),
        ([APP], {"max_age": True}),
        ([APP], {"max_age": 1.5}),
        ([APP], {"credentials": "yes"}),
    ],
)
def test_arguments_that_cannot_work_are_refused_at_the_call(origins: Any, options: dict[str, Any]) -> None:
    with pytest.raises((ConfigError, TypeError)):
        Cors(plain, origins, **options)
    assert repr(Cors(plain, [APP])) == f"<Cors {APP}>"
