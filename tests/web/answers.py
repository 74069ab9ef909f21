"""One answer for every client: a server of ours that gives it whole, failing, cut in the middle or without an end.

    {url}/{how}/{key}/{any path of a dialect's own client}

`how` is a way of `WAYS`; `key` names one test's request, so that it can ask afterwards whether its source was closed. The
dialect follows from the path; what ends in none of `PATHS` is native. Heartbeats and `retry` are in play everywhere: there
is more silence between two pieces than a heartbeat waits.
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from math import inf
from typing import Any, Final

from served import wait_until

import streamkit as sk
from streamkit.dialects.registry import get
from streamkit.events import Event, Finish, ReasoningDelta, Start, TextDelta, ToolCall, ToolCallDelta, ToolCallStart, Usage
from streamkit.hub.hub import Hub
from streamkit.sinks import sse
from streamkit.sinks.codec import Codec
from streamkit.sinks.resuming import HubResponse

__all__ = [
    "ARGUMENTS", "HALF", "HEARTBEAT", "PATHS", "REASONING", "RETRY", "TEXT", "THOUGHT_TEXT",
    "Answers", "Asked", "Kept", "closing_takes",
]  # fmt: skip

PATHS: Final = {"/chat/completions": "openai-chat", "/responses": "openai-responses", "/messages": "anthropic"}
HEARTBEAT: Final = 0.01
RETRY: Final = 7

# What breaks careless clients: line ends of all kinds, signs of many bytes and of many code points cut apart, the words of
# the wire itself, markup, quotes, what is invisible, and a piece of more than one network read.
PIECES: Final = [
    " Hello", ", wörld\n", "\r\n", "\r", "\u2028\u2029\x85", "👩", "\u200d", "💻", "e", "\u0301", "\ufeff", "\x00\x1f\x7f",
    "[DONE]", "data: [DONE]\n\n", "event: error\ndata: {}\n\n", "id: 7\n", ": comment\n", '"quoted" \\ \\u0041 {"a":1}',
    "<img src=x onerror=\"alert('xss')\"></script>&amp;", "0123456789 äöü😀" * 1200, "\t end ",
]  # fmt: skip
TEXT: Final = "".join(PIECES)
HALF: Final = "half of an answer "
REASONING: Final = "First, \u2028think.\r\n"
THOUGHT_TEXT: Final = "It is warm.\n"
ARGUMENTS: Final = '{"city": "Zürich\\n", "days": [1, 2]}'


class Asked:
    """What the source of one answer knows of its reader.

    Args:
        has_heartbeat: Whether its dialect has a sign of life.
    """

    def __init__(self, *, has_heartbeat: bool) -> None:
        self.writes = 0  # of the body
        self.shown = asyncio.Event()
        self._has_heartbeat = has_heartbeat

    async def silence(self) -> None:
        """Nothing is said until signs of life have been sent: on a machine that stalls, a time alone may be over before."""
        before = self.writes  # and what was said last may still be on its way
        await asyncio.sleep(HEARTBEAT)
        while self._has_heartbeat and self.writes < before + 6:  # noqa: ASYNC110  # the server counts them
            await asyncio.sleep(HEARTBEAT)


async def _whole(asked: Asked) -> AsyncIterator[Event | str]:
    yield Start(id="answer-1", model="m")
    for number, piece in enumerate(PIECES):
        yield piece
        if number in (3, 12):
            await asked.silence()
    yield Usage(input_tokens=3, output_tokens=len(PIECES))
    yield Finish("stop")


async def _tools(asked: Asked) -> AsyncIterator[Event | str]:
    yield Start(id="answer-2", model="m")
    yield ReasoningDelta(REASONING[:8])
    await asked.silence()
    yield ReasoningDelta(REASONING[8:])
    yield TextDelta(THOUGHT_TEXT, index=1)
    yield ToolCallStart("call-1", "weather", index=2)
    for at in range(0, len(ARGUMENTS), 5):
        yield ToolCallDelta("call-1", ARGUMENTS[at : at + 5], index=2)
    yield ToolCall("call-1", "weather", ARGUMENTS, index=2)
    yield ToolCallStart("call-2", "now", index=3)
    yield ToolCall("call-2", "now", "{}", index=3)
    yield Usage(input_tokens=3, output_tokens=20)
    yield Finish("tool-calls")


async def _failing(asked: Asked) -> AsyncIterator[Event | str]:
    yield HALF
    await asked.silence()
    raise ValueError("secret of the server")


async def _failing_when_shown(asked: Asked) -> AsyncIterator[Event | str]:
    yield HALF
    await asked.shown.wait()
    raise ValueError("secret of the server")


async def _refused(asked: Asked) -> AsyncIterator[Event | str]:
    raise sk.RateLimitError("secret of the server", retry_after=7)
    yield ""


async def _endless(asked: Asked) -> AsyncIterator[Event | str]:
    while True:
        yield HALF
        await asyncio.sleep(HEARTBEAT * 5)


async def _silent(asked: Asked) -> AsyncIterator[Event | str]:
    yield HALF
    await asyncio.sleep(3600)


WAYS: Final[dict[str, Callable[[Asked], AsyncIterator[Event | str]]]] = {
    "whole": _whole,
    "bytewise": _whole,  # every write in pieces of seven bytes
    "tools": _tools,
    "failing": _failing,
    "failing-when-shown": _failing_when_shown,  # as the test says with `show`: of what broke, a client forgets what it has not read
    "refused": _refused,
    "torn": _silent,  # behind its half the connection is closed in the middle of the body
    "torn-when-shown": _silent,
    "cut": _silent,  # behind its half the body ends, as if it were whole: some proxies do that
    "endless": _endless,
    "silent": _silent,
}


class Answers:
    """The application; see above.

    Attributes:
        asked: The method of each request, by key.
        closed: Which sources were closed: their keys.
        compressed: Whether the bodies were, by key.
    """

    def __init__(self, **options: Any) -> None:
        self.asked: dict[str, list[str]] = defaultdict(list)
        self.closed: set[str] = set()
        self.compressed: dict[str, set[bool]] = defaultdict(set)
        self._options: dict[str, Any] = {"heartbeat": HEARTBEAT, "retry": RETRY, "model": "m", **options}
        self._lock = threading.Lock()
        self._by_key: dict[str, Asked] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def show(self, key: str) -> None:
        """Let an answer go on that waits until its half is shown; called by another thread."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._by_key[key].shown.set)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        _, how, key, *_path = scope["path"].split("/")
        with self._lock:
            self.asked[key].append(scope["method"])
        self._loop = asyncio.get_running_loop()
        dialect = _dialect_of(scope)
        asked = self._by_key[key] = Asked(has_heartbeat=bool(Codec(get(dialect)).heartbeat))
        response = sse.Response(self._source(how, key, asked), dialect, **self._options)
        wire = {
            "bytewise": _bytewise,
            "torn": _torn,
            "torn-when-shown": lambda send: _torn(send, asked.shown.wait),
            "cut": _cut,
        }.get(how)
        await response(scope, receive, self._noting(key, asked, wire(send) if wire else send))

    def _noting(self, key: str, asked: Asked, send: Any) -> Any:
        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                self.compressed[key].add(any(name == b"content-encoding" for name, _ in message["headers"]))
            asked.writes += bool(message.get("body"))
            await send(message)

        return sending

    async def _source(self, how: str, key: str, asked: Asked) -> AsyncIterator[Event | str]:
        try:
            async for item in WAYS[how](asked):
                yield item
        finally:
            with self._lock:
                self.closed.add(key)


def _dialect_of(scope: Any) -> str:
    return next((name for path, name in PATHS.items() if scope["path"].endswith(path)), "native")


def _bytewise(send: Any) -> Any:
    async def sending(message: Any) -> None:
        body = message.get("body", b"")
        for at in range(0, len(body), 7):
            await send({**message, "body": body[at : at + 7], "more_body": True})
        if not (body and message["more_body"]):
            await send({**message, "body": b""} if "body" in message else message)

    return sending


class _Torn(Exception):
    """Raised through the application: uvicorn then closes the connection, with the body unfinished."""


async def _at_once() -> None:
    """What a connection waits for that is torn where it is."""


def _torn(send: Any, when: Callable[[], Awaitable[object]] = _at_once) -> Any:
    async def sending(message: Any) -> None:
        await send(message)
        if message.get("body"):  # the first write: the half, whatever it was made into
            await when()
            raise _Torn

    return sending


def _cut(send: Any) -> Any:
    async def sending(message: Any) -> None:
        await send(message)
        if message.get("body"):
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            raise OSError("the client has left")

    return sending


def closing_takes(leave: Callable[[], Callable[[], object]]) -> float:
    """Seconds from when a client has told that it left until its source is closed: the least of up to five measures.

    A machine that stalls makes one of them longer, and none shorter; what takes its time each time is too long in all.

    Args:
        leave: Lets a client ask and leave; gives what says whether that source is closed.
    """
    least = inf
    for _ in range(5):
        closed = leave()
        left = time.monotonic()
        wait_until(closed)
        least = min(least, time.monotonic() - left)
        if least < 1:
            break
    return least


class Kept:
    """An application with two answers that are kept, so that who lost the connection resumes: `/whole` and `/failing`.

    A generation is started by the first who asks. Its second part comes slowly: connections break before and behind the place
    that is live. Another page than ours may read it.

    Args:
        tears: How many connections are torn, each in the data of its 30th frame.

    Attributes:
        torn: How many were.
        runs: The names of the generations, each as often as its source was asked for.
    """

    def __init__(self, *, tears: int = 0) -> None:
        self.hub = Hub()
        self._tears = tears
        self.torn = 0
        self.runs: list[str] = []
        self.pieces = [f"{number} {PIECES[number % (len(PIECES) - 2)]}" for number in range(400)]
        self.text = "".join(self.pieces)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        name = scope["path"].split("/")[1]
        await self.hub.start(name, lambda: self._source(name))
        allowed = {"access-control-allow-origin": "*"}
        response = HubResponse(self.hub, name, _dialect_of(scope), model="m", heartbeat=HEARTBEAT, retry=RETRY, headers=allowed)
        await response(scope, receive, self._tearing(send) if self.torn < self._tears else send)

    def _tearing(self, send: Any) -> Any:
        left = 30

        async def sending(message: Any) -> None:
            nonlocal left
            body = message.get("body", b"")
            for found in re.finditer(b"data: ", body):
                left -= 1
                if not left:
                    self.torn += 1
                    await send({**message, "body": body[: found.end() + 15], "more_body": True})
                    raise _Torn
            await send(message)

        return sending

    async def _source(self, name: str) -> AsyncIterator[str]:
        self.runs.append(name)
        for number, piece in enumerate(self.pieces):
            yield piece
            if number > 200 and number % 20 == 0:
                await asyncio.sleep(HEARTBEAT * 1.5)
        if name == "failing":
            raise ValueError("secret of the server")
