"""What FastAPI's OpenAPI document says of endpoints that answer with a stream."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import pytest
from fastapi import APIRouter, FastAPI
from starlette.testclient import TestClient

import streamkit as sk
from streamkit.events import EVENT_TYPES
from streamkit.integrations.fastapi import EventStreamResponse, StreamResponse, StreamRoute, documented
from streamkit.sinks.codec import dialect_of


def responses_of(app: FastAPI, path: str) -> dict[str, Any]:
    found: dict[str, Any] = app.openapi()["paths"][path]["get"]["responses"]
    return found


def app_with_routes() -> FastAPI:
    app = FastAPI()
    app.router.route_class = StreamRoute

    @app.get("/native")
    async def native() -> EventStreamResponse:
        return EventStreamResponse(["Hi"])

    @app.get("/openai")
    async def openai() -> Annotated[EventStreamResponse, "openai-chat"]:
        return EventStreamResponse(["Hi"], "openai-chat")

    @app.get("/ag-ui")
    async def ag_ui() -> Annotated[EventStreamResponse, dialect_of("ag-ui")]:
        return EventStreamResponse(["Hi"], "ag-ui")

    @app.get("/lines")
    async def lines() -> StreamResponse:
        return StreamResponse(["Hi"])

    @app.get("/text", responses={404: {"description": "No such text."}})
    async def text() -> Annotated[StreamResponse, "text"]:
        return StreamResponse(["Hi"], "text")

    @app.get("/plain")
    async def plain() -> dict[str, int]:
        return {"a": 1}

    return app


def test_a_return_annotation_says_what_the_stream_holds() -> None:
    content = responses_of(app_with_routes(), "/native")["200"]["content"]
    assert ["text/event-stream"] == list(content)
    events = content["text/event-stream"]["itemSchema"]["properties"]["data"]["contentSchema"]["anyOf"]
    assert [kind.__name__ for kind in EVENT_TYPES] == [schema["title"] for schema in events]
    assert "text-delta" in events[1]["properties"]["type"]["enum"]
    assert "$ref" not in str(content)


def test_a_dialect_is_named_beside_the_response() -> None:
    for path in ("/openai", "/ag-ui"):
        content = responses_of(app_with_routes(), path)["200"]["content"]
        assert ["text/event-stream"] == list(content)
        assert {"type": "string"} == content["text/event-stream"]["itemSchema"]["properties"]["data"]


def test_chunks_are_documented_too_beside_what_the_decorator_says() -> None:
    app = app_with_routes()
    assert ["application/x-ndjson"] == list(responses_of(app, "/lines")["200"]["content"])
    text = responses_of(app, "/text")
    assert {"text/plain": {"schema": {"type": "string"}}} == text["200"]["content"]
    assert "No such text." == text["404"]["description"]


def test_other_endpoints_are_as_ever() -> None:
    app = app_with_routes()
    assert ["application/json"] == list(responses_of(app, "/plain")["200"]["content"])
    with TestClient(app) as client:
        assert {"a": 1} == client.get("/plain").json()


@pytest.mark.parametrize("path", ["/native", "/openai", "/ag-ui", "/lines", "/text"])
def test_the_endpoints_answer_with_the_type_that_is_documented(path: str) -> None:
    app = app_with_routes()
    with TestClient(app) as client:
        response = client.get(path)
    assert 200 == response.status_code
    assert "Hi" in response.text
    assert [response.headers["content-type"].partition(";")[0]] == list(responses_of(app, path)["200"]["content"])


def test_one_endpoint_alone_can_be_documented_without_the_route_class() -> None:
    app = FastAPI()

    @app.get("/chat", **documented("native"))
    async def chat() -> EventStreamResponse:
        return EventStreamResponse(["Hi"])

    assert "text/event-stream" in responses_of(app, "/chat")["200"]["content"]


def test_without_either_the_endpoint_works_and_a_router_takes_the_class() -> None:
    app, router = FastAPI(), APIRouter(route_class=StreamRoute)

    @router.get("/inner")
    async def inner() -> EventStreamResponse:
        return EventStreamResponse(["Hi"])

    app.include_router(router, prefix="/v1")

    @app.get("/plain")
    async def plain() -> EventStreamResponse:
        return EventStreamResponse(["Hi"])

    assert ["text/event-stream"] == list(responses_of(app, "/v1/inner")["200"]["content"])
    with TestClient(app) as client:
        assert "Hi" in client.get("/plain").text


def test_an_unknown_dialect_is_told_when_the_route_is_made() -> None:
    app = FastAPI()
    app.router.route_class = StreamRoute

    async def chat() -> Annotated[EventStreamResponse, "klingon"]:
        return EventStreamResponse([])

    with pytest.raises(sk.ConfigError, match="klingon"):
        app.get("/chat")(chat)


def test_every_native_event_fits_its_schema() -> None:
    content = documented("native")["responses"][200]["content"]["text/event-stream"]
    events = content["itemSchema"]["properties"]["data"]["contentSchema"]["anyOf"]
    made = msgspec.to_builtins(sk.TextDelta("Hi"))
    schema = next(schema for schema in events if schema["title"] == "TextDelta")
    assert set(made) <= set(schema["properties"])
    assert set(schema["required"]) <= set(made)
