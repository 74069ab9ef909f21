"""One application in each framework, with the same routes:

    /chat               two words, the second when `/go` was asked for; server-sent events
    /text               the same as text
    /early, /theirs     fails before its first item, with our error and with the framework's own
    /late, /late-text   fails after its first
    /endless            one word, then silence; `/closed` says how many of them were closed
    /chats              ChatRoutes

Run as a script it is a server of one of them, for what only a process of its own can show.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import streamkit as sk

# Both frameworks look the names of annotations up in the module.
from streamkit.integrations.fastapi import EventStreamResponse as FastapiEvents
from streamkit.integrations.fastapi import StreamResponse as FastapiChunks
from streamkit.integrations.litestar import EventStreamResponse as LitestarEvents
from streamkit.integrations.litestar import StreamResponse as LitestarChunks
from streamkit.integrations.mounting import Mounts
from streamkit.sinks.life import draining

SECRET = "sk-SECRET /etc/passwd"
HEARTBEAT = 0.05  # of endless ones: all that tells a WSGI server that its client has left


class Sources:
    """The streams of one application, and what became of them."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.endless_closed = 0
        self.started = 0

    async def gated(self) -> AsyncIterator[str]:
        self.started += 1
        yield "first "
        while not self.go.is_set():  # noqa: ASYNC110  # set by another thread
            await asyncio.sleep(0.005)
        yield "second"

    async def early(self) -> AsyncIterator[str]:
        raise sk.OverloadedError(SECRET, retry_after=2)
        yield ""

    async def late(self) -> AsyncIterator[str]:
        yield "before "
        raise ValueError(SECRET)

    async def endless(self) -> AsyncIterator[str]:
        try:
            yield "first"
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # a clean-up that awaits
            self.endless_closed += 1

    def theirs(self, error: Callable[[], Exception]) -> Callable[[], AsyncIterator[str]]:
        async def source() -> AsyncIterator[str]:
            raise error()
            yield ""

        return source

    def chats(self) -> sk.ChatRoutes:
        async def answer(request: Any) -> AsyncIterator[str]:
            assert {"prompt": "Hi"} == request.json()
            return self.endless()

        return sk.ChatRoutes(answer, heartbeat=HEARTBEAT)


def starlette_app(sources: Sources) -> Any:
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Mount, Route

    from streamkit.integrations.starlette import EventStreamResponse, StreamResponse

    def events(source: Any, **options: Any) -> Any:
        async def view(request: Request) -> Response:
            response = EventStreamResponse(sk.stream(source), **options)
            response.headers["x-own"] = "own"
            response.set_cookie("seen", "1")
            return response

        return view

    def text(source: Any) -> Any:
        async def view(request: Request) -> Response:
            return StreamResponse(sk.stream(source), "text")

        return view

    return Starlette(
        routes=[
            Route("/chat", events(sources.gated)),
            Route("/text", text(sources.gated)),
            Route("/early", events(sources.early)),
            Route("/theirs", events(sources.theirs(lambda: HTTPException(404)))),
            Route("/late", events(sources.late)),
            Route("/late-text", text(sources.late)),
            Route("/endless", events(sources.endless, heartbeat=HEARTBEAT)),
            Mount("/chats", sources.chats()),
        ]
    )


def fastapi_app(sources: Sources) -> Any:
    from fastapi import FastAPI, HTTPException

    app = FastAPI()

    def add(path: str, source: Any, **options: Any) -> None:
        @app.api_route(path, methods=["GET", "HEAD"], operation_id=path)
        async def view() -> FastapiEvents:
            answer = FastapiEvents(sk.stream(source), **options)
            answer.headers["x-own"] = "own"
            answer.set_cookie("seen", "1")
            return answer

    def add_text(path: str, source: Any) -> None:
        @app.get(path)
        async def view() -> FastapiChunks:
            return FastapiChunks(sk.stream(source), "text")

    add("/chat", sources.gated)
    add_text("/text", sources.gated)
    add("/early", sources.early)
    add("/theirs", sources.theirs(lambda: HTTPException(404)))
    add("/late", sources.late)
    add_text("/late-text", sources.late)
    add("/endless", sources.endless, heartbeat=HEARTBEAT)
    app.mount("/chats", sources.chats())
    return app


def litestar_app(sources: Sources) -> Any:
    from litestar import Litestar, route
    from litestar.exceptions import NotFoundException

    from streamkit.integrations.litestar import asgi_mount

    def events(path: str, source: Any, **options: Any) -> Any:
        @route(path, http_method=["GET", "HEAD"], media_type="text/event-stream")
        async def view() -> LitestarEvents:
            response = LitestarEvents(sk.stream(source), **options)
            response.set_header("x-own", "own")
            response.set_cookie("seen", "1")
            return response

        return view

    def text(path: str, source: Any) -> Any:
        @route(path, http_method=["GET", "HEAD"], media_type="text/plain")
        async def view() -> LitestarChunks:
            return LitestarChunks(sk.stream(source), "text")

        return view

    return Litestar(
        [
            events("/chat", sources.gated),
            text("/text", sources.gated),
            events("/early", sources.early),
            events("/theirs", sources.theirs(NotFoundException)),
            events("/late", sources.late),
            text("/late-text", sources.late),
            events("/endless", sources.endless, heartbeat=HEARTBEAT),
            asgi_mount("/chats", sources.chats()),
        ]
    )


def quart_app(sources: Sources) -> Any:
    import quart
    from werkzeug.exceptions import NotFound

    from streamkit.integrations.quart import event_stream_response, stream_response

    app = quart.Quart("app")

    def add(path: str, source: Any, **options: Any) -> None:
        async def view() -> Any:
            response = await event_stream_response(sk.stream(source), **options)
            response.headers["x-own"] = "own"
            response.set_cookie("seen", "1")
            return response

        app.add_url_rule(path, path, view)

    def add_text(path: str, source: Any) -> None:
        async def view() -> Any:
            return await stream_response(sk.stream(source), "text")

        app.add_url_rule(path, path, view)

    add("/chat", sources.gated)
    add_text("/text", sources.gated)
    add("/early", sources.early)
    add("/theirs", sources.theirs(NotFound))
    add("/late", sources.late)
    add_text("/late-text", sources.late)
    add("/endless", sources.endless, heartbeat=HEARTBEAT)
    return Mounts({"/chats": sources.chats()}, app)


def quart_app_with_chats_inside(sources: Sources) -> Any:
    import quart

    from streamkit.integrations.quart import asgi_response

    app, routes = quart.Quart("app"), sources.chats()

    @app.route("/chats/", defaults={"rest": ""}, methods=["POST"])
    @app.route("/chats/<path:rest>", methods=["GET", "POST"])
    async def chats(rest: str) -> Any:
        return await asgi_response(routes, prefix="/chats")

    return app


def flask_app(sources: Sources) -> Any:
    import flask
    from werkzeug.exceptions import NotFound

    from streamkit.integrations.flask import event_stream_response, stream_response

    app = flask.Flask("app")

    def add(path: str, source: Any, **options: Any) -> None:
        def view() -> Any:
            response = event_stream_response(sk.stream(source), **options)
            response.headers["x-own"] = "own"
            response.set_cookie("seen", "1")
            return response

        app.add_url_rule(path, path, view)

    def add_text(path: str, source: Any) -> None:
        app.add_url_rule(path, path, lambda: stream_response(sk.stream(source), "text"))

    add("/chat", sources.gated)
    add_text("/text", sources.gated)
    add("/early", sources.early)
    add("/theirs", sources.theirs(NotFound))
    add("/late", sources.late)
    add_text("/late-text", sources.late)
    add("/endless", sources.endless, heartbeat=HEARTBEAT)
    return app


def configure_django() -> None:
    import django
    from django.conf import settings

    if not settings.configured:
        settings.configure()
        django.setup(set_prefix=False)
    # One by one: others in this process may have configured it.
    settings.SECRET_KEY = "-"
    settings.ALLOWED_HOSTS = ["127.0.0.1"]
    settings.ROOT_URLCONF = "none"
    settings.MIDDLEWARE = [
        "django.middleware.gzip.GZipMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "framework_apps.Shouting",
    ]


class Shouting:
    """A middleware that puts something around a body, for who asks for it."""

    sync_capable = async_capable = True

    def __init__(self, get_response: Any) -> None:
        from asgiref.sync import iscoroutinefunction, markcoroutinefunction

        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: Any) -> Any:
        response = self.get_response(request)
        return self.later(request, response) if asyncio.iscoroutine(response) else self.loud(request, response)

    async def later(self, request: Any, response: Any) -> Any:
        return self.loud(request, await response)

    def loud(self, request: Any, response: Any) -> Any:
        if "x-shout" in request.headers:
            content = response.streaming_content
            response.streaming_content = _shouted(content) if response.is_async else (part.upper() for part in content)
        return response


async def _shouted(content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for part in content:
        yield part.upper()


class _Urls:
    """What Django takes for a module of URL patterns."""

    def __init__(self, patterns: list[Any]) -> None:
        self.urlpatterns = patterns


def _with_urls(handler: Any, patterns: list[Any]) -> Any:
    """An application of Django's with patterns of its own: one process has one configuration, and here several applications."""
    urls = _Urls(patterns)
    resolve = handler.resolve_request

    def resolve_request(request: Any) -> Any:
        request.urlconf = urls
        return resolve(request)

    handler.resolve_request = resolve_request
    return handler


def django_app(sources: Sources) -> Any:
    """Under ASGI."""
    configure_django()
    from django.core.handlers.asgi import ASGIHandler
    from django.http import Http404
    from django.urls import path, re_path

    from streamkit.integrations.django import asgi_view, event_stream_response, stream_response

    def events(source: Any, **options: Any) -> Any:
        async def view(request: Any) -> Any:
            response = await event_stream_response(request, sk.stream(source), **options)
            response["x-own"] = "own"
            response.set_cookie("seen", "1")
            return response

        return view

    def text(source: Any) -> Any:
        async def view(request: Any) -> Any:
            return await stream_response(request, sk.stream(source), "text")

        return view

    patterns = [
        path("chat", events(sources.gated)),
        path("text", text(sources.gated)),
        path("early", events(sources.early)),
        path("theirs", events(sources.theirs(Http404))),
        path("late", events(sources.late)),
        path("late-text", text(sources.late)),
        path("endless", events(sources.endless, heartbeat=HEARTBEAT)),
        re_path("^chats(/.*)?$", asgi_view(sources.chats(), prefix="/chats")),
    ]
    return _with_urls(ASGIHandler(), patterns)


def django_wsgi_app(sources: Sources) -> Any:
    """Under WSGI."""
    configure_django()
    from django.core.handlers.wsgi import WSGIHandler
    from django.http import Http404
    from django.urls import path

    from streamkit.integrations.django import blocking_event_stream_response, blocking_stream_response

    def events(source: Any, **options: Any) -> Any:
        def view(request: Any) -> Any:
            response = blocking_event_stream_response(request, sk.stream(source), **options)
            response["x-own"] = "own"
            response.set_cookie("seen", "1")
            return response

        return view

    def text(source: Any) -> Any:
        return lambda request: blocking_stream_response(request, sk.stream(source), "text")

    patterns = [
        path("chat", events(sources.gated)),
        path("text", text(sources.gated)),
        path("early", events(sources.early)),
        path("theirs", events(sources.theirs(Http404))),
        path("late", events(sources.late)),
        path("late-text", text(sources.late)),
        path("endless", events(sources.endless, heartbeat=HEARTBEAT)),
    ]
    return _with_urls(WSGIHandler(), patterns)


def aiohttp_app(sources: Sources) -> Any:
    from aiohttp import web

    from streamkit.integrations.aiohttp import asgi_handler, event_stream_response, stream_response

    app = web.Application()

    def events(source: Any, **options: Any) -> Any:
        async def view(request: web.Request) -> web.StreamResponse:
            return await event_stream_response(request, sk.stream(source), **options)

        return view

    def text(source: Any) -> Any:
        async def view(request: web.Request) -> web.StreamResponse:
            return await stream_response(request, sk.stream(source), "text")

        return view

    async def own(request: web.Request, response: web.StreamResponse) -> None:
        response.headers["x-own"] = "own"
        response.headers.add("set-cookie", "seen=1")

    app.on_response_prepare.append(own)
    app.router.add_get("/chat", events(sources.gated))
    app.router.add_get("/text", text(sources.gated))
    app.router.add_get("/early", events(sources.early))
    app.router.add_get("/theirs", events(sources.theirs(web.HTTPNotFound)))
    app.router.add_get("/late", events(sources.late))
    app.router.add_get("/late-text", text(sources.late))
    app.router.add_get("/endless", events(sources.endless, heartbeat=HEARTBEAT))
    # For a client that nobody hears of: no beat to be written.
    app.router.add_get("/silent", events(sources.endless, heartbeat=None))
    routes = sources.chats()
    app.router.add_route("*", "/chats{rest:(/.*)?}", asgi_handler(routes, prefix="/chats"))

    async def closing(app: web.Application) -> AsyncIterator[None]:
        async with routes:
            yield

    app.cleanup_ctx.append(closing)
    return app


ASGI = {
    "starlette": starlette_app,
    "fastapi": fastapi_app,
    "litestar": litestar_app,
    "quart": quart_app,
    "django": django_app,
}
WSGI = {"flask": flask_app, "django-wsgi": django_wsgi_app}


def main() -> None:
    name, listener = sys.argv[1], socket.socket(fileno=int(sys.argv[2]))
    sources = Sources()
    draining.GRACE = 0.2  # type: ignore[misc]  # a test has less time
    # uvicorn raises the signal again when it has stopped: what is to be told comes behind that.
    signal.signal(signal.SIGTERM, lambda *_: None)
    if name == "aiohttp":
        from aiohttp import web

        web.run_app(aiohttp_app(sources), sock=listener, print=None)
    else:
        import uvicorn

        uvicorn.Server(uvicorn.Config(ASGI[name](sources), log_level="warning")).run(sockets=[listener])
    print("closed", sources.endless_closed, flush=True)


if __name__ == "__main__":
    main()
