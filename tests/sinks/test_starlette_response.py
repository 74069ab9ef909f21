"""`EventStreamResponse` is Starlette's own kind of response: cookies, background tasks, exception handlers, FastAPI."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import httpx2
import pytest
from asgi_client import Client
from fastapi import FastAPI, HTTPException
from served import served
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient

import streamkit as sk
from streamkit.extras import require
from streamkit.integrations.fastapi import EventStreamResponse as FromFastAPI
from streamkit.integrations.starlette import EventStreamResponse, StreamResponse
from streamkit.sinks.connections import Connections
from streamkit.testing import assert_no_leaks

pytestmark = pytest.mark.anyio


async def test_it_is_a_starlette_response_and_fastapi_has_the_same() -> None:
    assert isinstance(EventStreamResponse(["a"]), Response)
    assert FromFastAPI is EventStreamResponse


async def test_headers_and_cookies_set_on_it_are_sent() -> None:
    response = EventStreamResponse(["a"], headers={"x-one": "1"}, status_code=202)
    response.headers["x-two"] = "2"
    response.set_cookie("session", "s")
    client = await Client().call(response)
    assert (202, "1", "2", "a") == (client.status, client.headers["x-one"], client.headers["x-two"], client.text)
    assert client.headers["set-cookie"].startswith("session=s")
    assert "text/event-stream; charset=utf-8" == client.headers["content-type"] == response.media_type
    assert "content-length" not in client.headers


@pytest.mark.parametrize("ending", ["complete", "failed", "client left"])
async def test_the_background_task_runs_when_the_stream_is_over_however_it_ended(ending: str) -> None:
    order: list[str] = []

    async def events() -> AsyncIterator[str]:
        try:
            yield "a"
            if ending == "failed":
                raise ValueError
            if ending == "client left":
                client.leave()
                await anyio.sleep_forever()
        finally:
            order.append("closed")

    client = Client()
    async with assert_no_leaks():
        await client.call(EventStreamResponse(sk.stream(events()), background=BackgroundTask(order.append, "background")))
    assert ["closed", "background"] == order


async def test_an_http_exception_before_the_first_item_reaches_the_apps_handlers() -> None:
    async def events() -> AsyncIterator[str]:
        raise HTTPException(418, "no coffee")
        yield ""

    async def endpoint(request: Request) -> Response:
        return EventStreamResponse(sk.stream(events()))

    client = await Client().call(Starlette(routes=[Route("/", endpoint)]))
    assert (418, b"no coffee") == (client.status, client.body)


async def test_a_fastapi_endpoint_returns_it_and_its_own_headers_are_kept() -> None:
    app = FastAPI()

    @app.get("/")
    async def endpoint() -> FromFastAPI:
        return FromFastAPI(sk.stream(["a", "b"]), "openai-chat", headers={"x-one": "1"})

    client = await Client().call(app)
    assert (200, "1") == (client.status, client.headers["x-one"])
    assert "ab" == "".join(value["choices"][0]["delta"].get("content", "") for value in client.values)


async def test_a_fastapi_dependency_stays_open_until_the_stream_is_over() -> None:
    from fastapi import Depends

    order: list[str] = []
    app = FastAPI()

    async def session() -> AsyncIterator[str]:
        yield "session"
        order.append("dependency left")

    async def events() -> AsyncIterator[str]:
        yield "a"
        order.append("stream over")

    @app.get("/")
    async def endpoint(opened: str = Depends(session)) -> FromFastAPI:  # FastAPI's way
        return FromFastAPI(sk.stream(events()))

    await Client().call(app)
    assert ["stream over", "dependency left"] == order


class PassOn(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: Any) -> Any:
        return await call_next(request)


@pytest.mark.parametrize("middleware", [PassOn, GZipMiddleware])
async def test_it_works_behind_middleware_and_leaving_closes_the_source(middleware: Any) -> None:
    closed: list[int] = []

    async def events() -> AsyncIterator[str]:
        try:
            yield "a"
            await anyio.sleep_forever()
        finally:
            closed.append(1)

    async def endpoint(request: Request) -> Response:
        return EventStreamResponse(sk.stream(events()))

    app = Starlette(routes=[Route("/", endpoint)], middleware=[Middleware(middleware)])
    client = Client()
    async with assert_no_leaks(), anyio.create_task_group() as group:
        group.start_soon(client.call, app)
        while len(client.messages) < 2:
            await anyio.lowlevel.checkpoint()
        client.leave()
    assert [1] == closed
    assert "a" == json.loads(client.frames[1].data)["text"]


async def test_a_missing_starlette_is_named_with_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "streamkit.integrations.starlette")
    monkeypatch.setitem(sys.modules, "starlette", None)
    with pytest.raises(sk.MissingExtra, match=r"needs starlette: pip install 'streamkit-ai\[starlette\]'") as caught:
        __import__("streamkit.integrations.starlette")
    assert "starlette" == caught.value.extra


async def test_a_module_that_is_there_and_misses_another_is_no_missing_extra(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "half_installed.py").write_text("import a_module_that_is_nowhere\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="a_module_that_is_nowhere") as caught:
        require("half_installed", extra="all", wanted_by="a test")
    assert not isinstance(caught.value, sk.MissingExtra)


def test_a_plain_stream_is_a_response_of_an_endpoint() -> None:
    async def chat(request: Request) -> StreamResponse:
        response = StreamResponse(sk.stream(["H", "i"]), "text", headers={"x-a": "b"}, status_code=201)
        response.set_cookie("c", "d")
        return response

    with TestClient(Starlette(routes=[Route("/", chat)])) as client:
        response = client.get("/")
    assert (201, "Hi", "b") == (response.status_code, response.text, response.headers["x-a"])
    assert "c=d" in response.headers["set-cookie"]


def test_an_http_error_before_a_plain_stream_is_the_applications() -> None:
    async def refused() -> AsyncIterator[str]:
        raise HTTPException(418)
        yield ""

    async def chat(request: Request) -> StreamResponse:
        return StreamResponse(sk.stream(refused), "ndjson")

    with TestClient(Starlette(routes=[Route("/", chat)])) as client:
        assert 418 == client.get("/").status_code


def test_a_failing_text_is_broken_off_through_a_middleware_that_would_finish_it() -> None:
    async def failing() -> AsyncIterator[str]:
        yield "a"
        raise ValueError("sk-SECRET")

    async def chat(request: Request) -> StreamResponse:
        return StreamResponse(sk.stream(failing), "text")

    async def passed_on(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        return await call_next(request)

    app = Starlette(routes=[Route("/", chat)], middleware=[Middleware(BaseHTTPMiddleware, dispatch=passed_on)])
    with TestClient(app) as client, pytest.raises(sk.StreamInterrupted):
        client.get("/")


def test_a_failing_text_is_never_finished_on_the_wire_by_a_middleware() -> None:
    async def failing() -> AsyncIterator[str]:
        yield "a"
        yield "b"
        raise ValueError("sk-SECRET")

    async def chat(request: Request) -> StreamResponse:
        return StreamResponse(sk.stream(failing), "text")

    async def plain(request: Request) -> StreamResponse:
        return StreamResponse(sk.stream(["a", "b"]), "text")

    routes = [Route("/", chat), Route("/whole", plain)]
    apps: dict[bytes, Any] = {}
    for layers in (1, 3):
        app = Starlette(routes=routes, middleware=[Middleware(PassOn) for _ in range(layers)])
        apps[b"%d" % layers] = app
        apps[b"%d behind connections" % layers] = Connections(drain=None).wrap(app)

    async def chosen(scope: Any, receive: Any, send: Any) -> None:
        await apps[dict(scope["headers"])[b"x-app"]](scope, receive, send)

    with served(chosen) as url, httpx2.Client(base_url=url, timeout=60) as client:
        for name in apps:
            assert "ab" == client.get("/whole", headers={b"x-app": name}).text
            with pytest.raises(httpx2.TransportError):
                client.get("/", headers={b"x-app": name})
