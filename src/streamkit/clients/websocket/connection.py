"""`connect`: streams of a streamkit server over one WebSocket, which is opened again when it breaks.

    async with connect("wss://chat.example/ws") as client:
        async for event in client.send({"prompt": "Why is the sky blue?"}): ...

Each stream that is being read is asked for again on the next connection, behind the last event that came: its reader notices
nothing but the time it takes. This file is what users call, and checks what they give. Who does the work:

    carrying   connects, again and again, and hands out what comes     reading   one stream's place: nothing lost, nothing twice
    line       one connection: sending, silence, closing               dialling  opening one, and what it means that it failed
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable
from functools import partial
from math import isfinite
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from streamkit.clients.websocket.carrying import Carrier, Endurance
from streamkit.clients.websocket.dialling import Dialler, HeadersGiven, shown
from streamkit.clients.websocket.line import Patience
from streamkit.clients.websocket.reading import Asked, Reading
from streamkit.dialects.websocket.messages import IfRunning
from streamkit.errors import ConfigError, StreamBusy
from streamkit.events import Event
from streamkit.flow.backoff import Backoff
from streamkit.flow.clock import current_clock
from streamkit.flow.plan import check_count, check_seconds
from streamkit.flow.runs import Run
from streamkit.flow.sources import Feed, Source
from streamkit.flow.streams import Stream
from streamkit.flow.tasks import Task, current_backend
from streamkit.wire.sse import dump_json

__all__ = ["WebSocketClient", "connect"]

_LONGEST_NAME: Final = 200
_LONGEST_TOKEN: Final = 64


def connect(
    url: str,
    *,
    headers: HeadersGiven | None = None,
    origin: str | None = None,
    max_retries: int = 8,
    min_wait: float = 0.2,
    max_wait: float = 30.0,
    give_up_after: float = 120.0,
    ping_interval: float = 20.0,
    ping_timeout: float = 20.0,
    open_timeout: float = 10.0,
    close_timeout: float = 5.0,
    max_pending: int = 1 << 20,
    max_message_bytes: int = 8 << 20,
    seed: int | None = None,
) -> WebSocketClient:
    """A client of streamkit's WebSocket protocol: to be entered with `async with`.

    Args:
        url: Where the server is; ws or wss.
        headers: Of the request that opens a connection; a callable, also a coroutine function, gives them anew for each.
        origin: The `Origin` to send; None sends that of the address, as a page of the same server does.
        max_retries: Attempts in a row that bring nothing new, after which it gives up; 0 never tries again.
        min_wait, max_wait: The waits between them, in seconds: each is drawn between 0 and a bound, which doubles from `min_wait`
            to `max_wait`; a server that asks for more, up to `max_wait`, gets that on top.
        give_up_after: Seconds without a connection, after which it gives up.
        ping_interval: Seconds of silence after which the server is asked whether it is there.
        ping_timeout: Seconds that it has to answer; then the connection is taken for dead.
        open_timeout, close_timeout: Seconds for opening a connection, until the server's first message, and for closing it.
        max_pending: Characters that wait for the reader of one stream. A slower one is left by the server and resumed later, so
            it holds up no other stream of the connection.
        max_message_bytes: The longest message that is taken from the server.
        seed: Makes the waits the same each time, for tests.

    Entering opens the first connection. Leaving closes it; whoever still reads gets StreamTruncated.

    Memory: per stream that is read `max_pending`, one message, and the answer so far.
    Cancellation: of a reader leaves its stream, and nothing else.
    Raises:
        ConfigError, TypeError: arguments that cannot work, at the call.
        MissingExtra: the package `websockets` is not installed.
        AuthError, SourceError: on entering: the server refused the connection, by its status or close code.
        RemoteProtocolError: on entering: what is there is no server of this protocol.
        OSError: on entering: there was no connection to be had, also not later.

    >>> connect("wss://chat.example/ws?token=secret")
    <WebSocketClient wss://chat.example/ws, closed>
    """
    check_count("connect", "max_retries", max_retries, 0)
    check_count("connect", "max_pending", max_pending, 1)
    check_count("connect", "max_message_bytes", max_message_bytes, 1)
    for name, seconds in (
        ("min_wait", min_wait),
        ("max_wait", max_wait),
        ("give_up_after", give_up_after),
        ("ping_interval", ping_interval),
        ("ping_timeout", ping_timeout),
        ("open_timeout", open_timeout),
        ("close_timeout", close_timeout),
    ):
        check_seconds("connect", name, seconds)
        if not isfinite(seconds):
            raise ConfigError(f"connect({name}={seconds}): a finite number of seconds")
    if min_wait > max_wait:
        raise ConfigError(f"connect(min_wait={min_wait}, max_wait={max_wait}): the first must not be above the second")
    dialler = Dialler(
        url,
        headers=headers,
        origin=origin,
        max_message_bytes=max_message_bytes,
        open_timeout=open_timeout,
        close_timeout=close_timeout,
    )
    backoff = Backoff(first=min_wait, factor=2.0, most=max_wait, jitter="full", most_asked=max_wait, rng=random.Random(seed))
    return WebSocketClient(
        dialler,
        backoff,
        Endurance(max_retries, give_up_after),
        Patience(silence=ping_interval, answer=ping_timeout, hello=open_timeout, close=close_timeout),
        max_pending,
    )


class WebSocketClient:
    """One server, as many connections as it takes, any number of streams; `connect` makes it.

    Args:
        dialler, backoff, endurance, patience: How it connects.
        max_pending: As for `connect`.
    """

    def __init__(self, dialler: Dialler, backoff: Backoff, endurance: Endurance, patience: Patience, max_pending: int) -> None:
        self._dialler = dialler
        self._backoff = backoff
        self._endurance = endurance
        self._patience = patience
        self._max_pending = max_pending
        self._carrier: Carrier | None = None
        self._task: Task | None = None

    def send(self, input: object, *, stream: str | None = None, if_running: IfRunning = "join") -> Stream[Event]:
        """Ask the server's handler for an answer.

        Args:
            input: What the handler gets: anything that JSON can say.
            stream: The answer's name, to resume or cancel it by; None draws one that nobody can guess.
            if_running: What happens where a stream of that name runs: "join" it, "interrupt" it in favour of this one (an edit), or
                "raise" StreamBusy.

        Yields:
            Its events; the last one is a Finish, also where it was cancelled. The start is sent when the stream is run, once for
            each run. If the connection breaks before the server has confirmed it, a start with a drawn name is looked for before it
            is made again; with a name of yours it is sent again, as `if_running` says.

        Memory: see `connect`.
        Cancellation: who leaves early stops reading; with a drawn name the generation is cancelled, for nobody else knows it.
        Raises:
            ConfigError, TypeError, LocalProtocolError: a name or an input that cannot be, at the call.
            StreamTruncated: the connection broke, and no other was to be had; `.partial` is what came.
            StreamDraining: likewise, and the server had said that it shuts down; `.last_id` is where to resume.
            SourceError, StreamInterrupted: how the answer failed, as the server tells it.
            StreamBusy: see `if_running`; or a stream of this name is being read through this client.
            ConfigError: when it is run: the client is not open, or in another event loop.
        """
        if if_running not in ("join", "interrupt", "raise"):
            raise ConfigError(f"if_running={if_running!r:.40} is neither 'join', 'interrupt' nor 'raise'")
        if stream is not None:
            _check_name("send", stream)
        body = msgspec.Raw(dump_json(input))
        return self._stream(f"send({'' if stream is None else repr(stream)})", lambda: _start(body, stream, if_running))

    def resume(self, stream: str, *, after: str | None = None) -> Stream[Event]:
        """Read a stream that is there: from its beginning, or behind the last event that was seen.

        Args:
            stream: Its name.
            after: The token of that event (`StreamDraining.last_id`).

        Yields:
            Its events, as they were and as they come.

        Memory: see `connect`.
        Cancellation: who leaves early stops reading, and the generation goes on.
        Raises:
            ConfigError, TypeError: a name or token that cannot be, at the call.
            UnknownStream, InvalidToken: there is no such stream, or none for you; it never gave this token.
            Others: as `send`.
        """
        _check_name("resume", stream)
        if after is not None and not isinstance(after, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers reach this
            raise TypeError(f"resume(after=...) takes a token, got {type(after).__name__}")
        if after is not None and not 0 < len(after) <= _LONGEST_TOKEN:
            raise ConfigError(f"resume(after=...): a token has 1 to {_LONGEST_TOKEN} characters")
        return self._stream(f"resume({stream!r:.80})", lambda: Asked(stream, after=after))

    async def cancel(self, stream: str) -> None:
        """Stop a generation: its readers get what came, and a Finish that says "cancelled".

        Returns when the server has taken it. If the connection breaks meanwhile, it is sent again on the next one.

        Cancellation: of this call: it may have been sent or not.
        Raises:
            ConfigError, TypeError: a name that cannot be; the client is not open.
            UnknownStream: there is no such stream, or none for you.
            StreamTruncated, SourceError, OSError: it could not be told.
        """
        _check_name("cancel", stream)
        await self._open_one().cancel(stream)

    @property
    def connected(self) -> bool:
        """Whether there is a connection at this moment."""
        return self._carrier is not None and self._carrier.line is not None

    @property
    def connections(self) -> int:
        """How many there have been since it was entered."""
        return 0 if self._carrier is None else self._carrier.connections

    async def aclose(self) -> None:
        """Close the connection, and tell whoever still reads."""
        carrier, task, self._task = self._carrier, self._task, None
        if carrier is None:
            return
        if task is not None and not carrier.over:
            task.cancel()
        await carrier.backend.finish(carrier.ended.seat, lambda: carrier.over)
        self._carrier = None

    async def __aenter__(self) -> Self:
        if self._carrier is not None:
            raise StreamBusy("this client is open already: make another one with connect()")
        backend = current_backend()
        if backend.name != "asyncio":
            raise ConfigError(f"connect() works on asyncio, and not on {backend.name}: so does the package websockets")
        carrier = Carrier(self._dialler, self._backoff, self._endurance, self._patience, backend, current_clock(backend))
        self._carrier = carrier
        self._task = backend.spawn(carrier.live, carrier.wind_up, "streamkit websocket", carrier.end)
        try:
            while not carrier.opened and not carrier.over:
                await carrier.changed.wait()
            if carrier.fault is not None:
                raise carrier.fault
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        state = "open" if self.connected else ("closed" if self._carrier is None else "connecting")
        return f"<WebSocketClient {shown(self._dialler.url)}, {state}>"

    def _stream(self, label: str, asked: Callable[[], Asked]) -> Stream[Event]:
        return Stream(Source(label, partial(self._feed, asked), repeatable=True))

    def _feed(self, asked: Callable[[], Asked], run: Run[Any]) -> Feed:
        feed = Feed(None, shape="lists")

        async def start() -> Reading:
            carrier = self._open_one()
            if run.backend.loop is not carrier.backend.loop:
                raise ConfigError("the client is open in another event loop: connect in each loop that reads")
            reading = Reading(asked(), carrier, run.backend.waiter(), self._max_pending)
            carrier.begin(reading)
            feed.closers.append(("the reading", partial(carrier.leave, reading)))
            run.keep_partial(reading.so_far.message)
            run.about["stream"] = reading.name
            return reading

        feed.start = start
        return feed

    def _open_one(self) -> Carrier:
        carrier = self._carrier
        if carrier is None or carrier.over or self._task is None:
            raise ConfigError("the client is not open: enter it with `async with connect(...) as client`")
        return carrier


def _start(body: msgspec.Raw, name: str | None, if_running: IfRunning) -> Asked:
    return Asked(name or secrets.token_urlsafe(16), body, if_running, drawn=name is None)


def _check_name(call: str, name: object) -> None:
    if not isinstance(name, str):
        raise TypeError(f"{call}(stream=...) takes text, got {type(name).__name__}")
    if not 1 <= len(name) <= _LONGEST_NAME:
        raise ConfigError(f"{call}(stream=...): a name has 1 to {_LONGEST_NAME} characters")
