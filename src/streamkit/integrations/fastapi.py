"""FastAPI's door: its responses are Starlette's, and its documentation says what is in the stream.

    from streamkit.integrations.fastapi import EventStreamResponse, StreamRoute

    router = APIRouter(route_class=StreamRoute)          # or: app.router.route_class = StreamRoute, before the routes

    @router.get("/chat")
    async def chat() -> EventStreamResponse:             # documented as text/event-stream of native events
        return EventStreamResponse(sk.stream(answer()))

    @router.get("/v1/chat")
    async def compatible() -> Annotated[EventStreamResponse, "openai-chat"]:
        return EventStreamResponse(sk.stream(answer()), dialect="openai-chat")

An endpoint that returns one of the responses is answered by it as it is, with or without the route class. `documented(dialect)`
says the same for one endpoint alone: `@app.get("/chat", **documented("native"))`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any, TypedDict, get_args, get_origin, get_type_hints

import msgspec

from streamkit.dialects.protocol import Dialect
from streamkit.events import EVENT_TYPES
from streamkit.extras import require
from streamkit.integrations.starlette import EventStreamResponse, HubStreamResponse, StreamResponse
from streamkit.sinks.codec import dialect_of
from streamkit.sinks.http import writer_of
from streamkit.sinks.responding import Options

require("fastapi", extra="fastapi", wanted_by="streamkit.integrations.fastapi")

from fastapi.routing import APIRoute  # noqa: E402  # behind the check that it is there

__all__ = ["Documented", "EventStreamResponse", "HubStreamResponse", "StreamResponse", "StreamRoute", "documented"]


class Documented(TypedDict):
    """Arguments of FastAPI's `get`, `post` and so on."""

    response_class: type[EventStreamResponse] | type[StreamResponse]
    responses: dict[int | str, dict[str, Any]]


def documented(dialect: str | Dialect = "native") -> Documented:
    """What FastAPI is to say of an endpoint in its OpenAPI document.

    Args:
        dialect: The vocabulary of the stream, or another format of `StreamResponse`.

    The content type is the dialect's. Of native events it has the schema of each (`itemSchema` of OpenAPI 3.2, as FastAPI itself
    has it for its own streams); of other vocabularies, whose schemas are their owners', that it is JSON in `data` or text.

    Raises:
        ConfigError: there is no such dialect.

    >>> list(documented("openai-chat")["responses"][200]["content"])
    ['text/event-stream']
    """
    media_type = "application/octet-stream"
    content: dict[str, Any] = {"schema": {"type": "string"}}
    if dialect != "bytes":
        chosen = dialect_of(dialect)
        media_type = writer_of(dialect, Options()).media_type.partition(";")[0]
        events = _schema_of_events() if chosen.name in ("native", "ndjson") else {}
        if media_type == "text/event-stream":
            content["itemSchema"] = _frame_of(events)
        elif events:
            content["itemSchema"] = events
    failed: dict[str, Any] = {"description": "The stream failed before its first item.", "content": {"application/json": {}}}
    return {
        "response_class": EventStreamResponse if media_type == "text/event-stream" else StreamResponse,
        "responses": {
            200: {"description": "A stream, from its first item on.", "content": {media_type: content}},
            "5XX": failed,
        },
    }


class StreamRoute(APIRoute):
    """A route that documents the stream of an endpoint by what its return annotation says.

    `EventStreamResponse` is native events over SSE, `StreamResponse` is NDJSON; `Annotated[EventStreamResponse, "openai-chat"]`
    names the dialect. What the decorator says itself has precedence. All other endpoints are FastAPI's as ever.

    Raises:
        ConfigError: there is no such dialect.

    >>> from fastapi import FastAPI
    >>> app = FastAPI()
    >>> app.router.route_class = StreamRoute
    >>> @app.get("/chat")
    ... async def chat() -> EventStreamResponse:
    ...     return EventStreamResponse(["Hi"])
    >>> list(app.openapi()["paths"]["/chat"]["get"]["responses"]["200"]["content"])
    ['text/event-stream']
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        said = _said_by(endpoint)
        if said is not None:
            options["response_model"] = None
            found = documented(said)
            if not isinstance(options.get("response_class"), type):
                options["response_class"] = found["response_class"]
            options["responses"] = {**found["responses"], **(options.get("responses") or {})}
        super().__init__(path, endpoint, **options)


def _said_by(endpoint: Callable[..., Any]) -> str | Dialect | None:
    """The dialect that an endpoint answers in, if its annotation says that it answers with a stream."""
    try:
        returns = get_type_hints(inspect.unwrap(endpoint), include_extras=True).get("return")
    except (NameError, TypeError):  # FastAPI has words of its own for what cannot be looked up
        return None
    dialect: str | Dialect | None = None
    if get_origin(returns) is Annotated:
        returns, *notes = get_args(returns)
        dialect = next((note for note in notes if isinstance(note, str | Dialect)), None)
    if not isinstance(returns, type):
        return None
    if issubclass(returns, EventStreamResponse):
        return dialect or "native"
    if issubclass(returns, StreamResponse):
        return dialect or "ndjson"
    return None


def _schema_of_events() -> dict[str, Any]:
    _, schemas = msgspec.json.schema_components(EVENT_TYPES, ref_template="#/{name}", schema_hook=_anything)
    return {"anyOf": [schemas[kind.__name__] for kind in EVENT_TYPES]}


def _frame_of(events: dict[str, Any]) -> dict[str, Any]:
    data: dict[str, Any] = {"type": "string"}
    if events:
        data.update(contentMediaType="application/json", contentSchema=events)
    text = {"type": "string"}
    return {"type": "object", "properties": {"event": text, "id": text, "retry": {"type": "integer"}, "data": data}}


def _anything(kind: type) -> dict[str, Any]:
    """Of what an application puts into an event nothing is known."""
    return {"description": "Any JSON value."}
