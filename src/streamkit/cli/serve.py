"""`serve module:make_stream`: a function of yours on every protocol, on this machine, for a quick start.

    function(prompt) -> stream     asked for each request, with the prompt, or with nothing if it takes nothing

    GET  /sse?prompt=Hello         server-sent events
    GET  /ndjson?prompt=Hello      lines of JSON
    POST /sse, /ndjson             the same, {"prompt": "Hello"} as application/json
         /chat                     start, join, resume, cancel: `streamkit.sinks.chats`
         /ws                       the WebSocket protocol: `streamkit.sinks.websocket`
    GET  /healthz, /readyz

A prompt is also read from "messages", the shape of OpenAI's and the AI SDK's chats: the text of the last one.
What pages of other sites ask is refused, and over loopback what asks for a foreign name. For more, write the few lines
of an application: it is what `site` does.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import ipaddress
import os
import socket
import sys
from collections.abc import Callable
from difflib import get_close_matches
from textwrap import indent
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast
from urllib.parse import parse_qs

from streamkit.cli.arguments import ServeOptions
from streamkit.errors import ConfigError
from streamkit.extras import require
from streamkit.flow.streams import stream as stream_of
from streamkit.integrations.mounting import App, Mounts
from streamkit.sinks import http, sse
from streamkit.sinks.asgi_types import Receive, Scope, Send
from streamkit.sinks.chats import ChatRequest, ChatRoutes
from streamkit.sinks.codec import dialect_of
from streamkit.sinks.connections import Connections
from streamkit.sinks.refusals import Refused, refuse
from streamkit.sinks.responding import Responder
from streamkit.sinks.safety.crossing import CrossSiteGuard
from streamkit.sinks.safety.hosts import LOOPBACK_HOSTS, AllowedHosts
from streamkit.sinks.sockets import serve_socket
from streamkit.sinks.websocket.serving import WebSocketRoutes

if TYPE_CHECKING:
    import argparse

__all__ = ["Answer", "function_at", "prompt_in", "run_serve", "site"]

Answer: TypeAlias = Callable[[str], Any]
"""Gives what `sk.stream` takes, for a prompt."""

# Seconds that open answers get to end by themselves when the server is told to stop; then they are told.
_GRACE: Final = 1.0
_LONGEST_BODY: Final = 1 << 20


def run_serve(options: argparse.Namespace) -> int:
    """Serve until Ctrl-C or SIGTERM; the exit code.

    Raises:
        ConfigError: the target is no function, there is no such dialect, or the port is taken.
        MissingExtra: the packages of the extra `demo` are not installed.
    """
    typed = ServeOptions(**vars(options))
    require("uvicorn", extra="demo", wanted_by="serve")
    import uvicorn

    app = site(function_at(typed.target), dialect=typed.dialect, loopback=_is_loopback(typed.host))
    listener = _listen(typed.host, typed.port)
    with listener:
        _say_what_there_is(typed, listener)
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=int(_GRACE) + 2, lifespan="on")
        try:
            uvicorn.Server(config).run(sockets=[listener])
        except KeyboardInterrupt:  # how this is meant to end: the server has stopped by now
            print("\nStopped; nothing is left running.", flush=True)
    return 0


def site(answer: Answer, *, dialect: str = "native", loopback: bool = True) -> App:
    """The ASGI application with everything that this module says at its top.

    Args:
        answer: Called with a prompt, for each request.
        dialect: Of `/sse` and `/chat`.
        loopback: Answer to names of this machine alone, whatever address a request came in at.

    Raises:
        ConfigError: there is no such dialect.
    """
    dialect_of(dialect)
    chats = ChatRoutes(lambda request: answer(_prompt_of(request)), dialect=dialect, drain=_GRACE)
    sockets = WebSocketRoutes(lambda request: answer(prompt_in(request.input)), allow_missing_origin=True)

    async def pages(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            raise ConfigError("these pages know no lifespan")  # so whoever has mounted others beside them answers it
        try:
            response = await _response(scope, receive)
        except Refused as refused:
            await refuse(refused, scope, receive, send)
        else:
            await response(scope, receive, send)

    async def _response(scope: Scope, receive: Receive) -> Responder:
        path = scope["path"]
        if scope["type"] != "http" or path not in ("/", "/sse", "/ndjson"):
            raise Refused(404, "There is nothing at this address. GET / says what there is.")
        if path == "/":
            return http.Response([_INDEX], "text")
        if scope["method"] not in ("GET", "HEAD", "POST"):
            raise Refused(405, "Ask with GET or POST.", headers={"allow": "GET, HEAD, POST"})
        prompt = _prompt_of(ChatRequest(scope, str(path), await _body(receive)))
        # Asked where the answer is made: an error of the function is an early failure of its stream.
        source = stream_of(lambda: answer(prompt))
        return sse.Response(source, dialect) if path == "/sse" else http.Response(source, "ndjson")

    guarded = CrossSiteGuard(Mounts({"/chat": chats, "/ws": sockets}, pages))
    return AllowedHosts(Connections(drain=_GRACE).wrap(guarded), LOOPBACK_HOSTS if loopback else None)


_INDEX: Final = """\
GET  /sse?prompt=Hello      server-sent events
GET  /ndjson?prompt=Hello   lines of JSON
POST /sse, /ndjson          the same, {"prompt": "Hello"} as application/json
POST /chat                  start an answer to it; x-stream-id names it
GET  /chat/ID/stream        join it, or resume after Last-Event-ID
POST /chat/ID/cancel        stop it
     /ws                    WebSocket
GET  /healthz, /readyz
"""


async def _body(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += cast("bytes", message.get("body", b""))
        if len(body) > _LONGEST_BODY:
            raise Refused(413, f"The body is larger than {_LONGEST_BODY} bytes.")
        if not message.get("more_body"):
            return body


# ---- the prompt ---------------------------------------------------------------------------------


def _prompt_of(request: ChatRequest) -> str:
    if request.body:
        return prompt_in(request.json())
    fields = parse_qs(cast("bytes", request.scope.get("query_string", b"")).decode("latin-1"), max_num_fields=100)
    return fields.get("prompt", fields.get("question", [""]))[-1]


def prompt_in(value: object) -> str:
    """The prompt in what a client sent: "prompt" or "question", or the text of the last of "messages"; else it is empty.

    Raises:
        Refused: 400, where it is none of the shapes.

    >>> prompt_in({"prompt": "Hi"}), prompt_in({"messages": [{"role": "user", "content": "Ho"}]}), prompt_in("He")
    ('Hi', 'Ho', 'He')
    """
    sent: Any = value  # JSON: of any shape
    match sent:
        case None:
            return ""
        case str(text) | {"prompt": str(text)} | {"question": str(text)} | {"messages": [*_, {"content": str(text)}]}:
            return text
        case {"messages": [*_, {"content": [*parts]} | {"parts": [*parts]}]}:
            texts: list[Any] = [part.get("text") for part in parts if isinstance(part, dict)]  # pyright: ignore[reportUnknownMemberType]
            return "".join(text for text in texts if isinstance(text, str))
        case _:
            raise Refused(400, 'There is no prompt here: send {"prompt": "..."}, or a list of "messages".')


# ---- the function -------------------------------------------------------------------------------


def function_at(target: str) -> Answer:
    """What stands at `module:name`, as a function of a prompt.

    Args:
        target: A module, importable from here, a colon, and the name in it (dots may lead further in) of a function that makes a
            stream of nothing or of one argument, or of a model.

    Raises:
        ConfigError: there is none.
        Exception: what the module raises while it is imported.

    >>> function_at("builtins:reversed")("ab").__class__.__name__
    'reversed'
    """
    module, _, name = target.partition(":")
    if not module or not name:
        raise ConfigError(f"serve what? {target!r} is no module:function, like app:make_stream")
    if module.endswith(".py") or os.sep in module:
        raise ConfigError(
            f"{module!r} is a file: give the module's name, like {module.removesuffix('.py').replace(os.sep, '.')}:{name}"
        )
    if "" not in sys.path and os.getcwd() not in sys.path:  # noqa: PTH109  # as `python -m` does it, for the installed script
        sys.path.insert(0, os.getcwd())  # noqa: PTH109
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not (module == error.name or module.startswith(f"{error.name}.")):
            raise
        raise ConfigError(f"there is no module {error.name!r} here, in {os.getcwd()}") from None  # noqa: PTH109
    for part in name.split("."):
        if not hasattr(found, part):
            near = get_close_matches(part, dir(found), 1)
            hint = f": did you mean {near[0]!r}?" if near else ""
            raise ConfigError(f"the module {module!r} has no {name!r}{hint}")
        found = getattr(found, part)
    return _answer_of(found, target)


def _answer_of(found: Any, target: str) -> Answer:
    if not callable(found):
        if callable(getattr(found, "stream", None)):  # a model
            answer: Answer = found.stream
            return answer
        raise ConfigError(f"{target} is a {type(found).__name__}: give a function that makes the stream of one answer")
    try:
        parameters = inspect.signature(found).parameters.values()
    except (TypeError, ValueError):  # of C: it says nothing
        return cast("Answer", found)
    needed = [one.name for one in parameters if one.default is one.empty and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    positional = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD, one.VAR_POSITIONAL)]
    if len(needed) > 1 or (needed and not positional):
        raise ConfigError(f"{target} wants {', '.join(needed)}: it is called with the prompt alone, or with nothing")
    if positional:
        return cast("Answer", found)
    return lambda prompt: found()


# ---- the server ---------------------------------------------------------------------------------


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listen(host: str, port: int) -> socket.socket:
    try:
        return serve_socket(host, port)
    except OSError as error:
        hint = ": give another --port, or 0 for any" if port else ""
        raise ConfigError(f"cannot listen on {host}, port {port} ({error.strerror or error}){hint}") from None


def _say_what_there_is(options: ServeOptions, listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    print(f"Serving {options.target} at http://{place} as {options.dialect}; stop with Ctrl-C.\n")
    print(indent(_INDEX, "  "))
    if not (importlib.util.find_spec("websockets") or importlib.util.find_spec("wsproto")):
        print("  No /ws: the server needs a package for that, pip install 'streamkit-ai[websockets]'\n")
    if not _is_loopback(options.host):
        print("  Whoever reaches this machine can ask; there is no sign-in.\n")
    print(f"  curl -N 'http://{place}/sse?prompt=Hello'", flush=True)
