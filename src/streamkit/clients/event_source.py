"""`sk.sse`: the events of a server that sends server-sent events, over as many connections as it takes.

The processing model of the WHATWG HTML standard (section 9.2.3), with bounds where a browser has a user who closes the
page. One request after another, each from the last event id on:

    request ──200 and text/event-stream──> events ──the body ends, or the connection drops──> wait, and again
       |                                      └──an event too large, or too many bytes──> error
       ├──204──> the end
       ├──429, 5xx, no connection, silence──> wait longer each time, and again, at most `max_retries` times in a row
       └──anything else──> error

How long it waits: what the server said with `retry:`, or 1 s, doubled for each attempt since the last event, kept
between `min_wait` and `max_wait`, and spread by up to a half, because all readers of a server that fell come back at once.
"""

from __future__ import annotations

import random
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import suppress
from math import inf, isfinite
from typing import Any, Final
from urllib.parse import urlsplit

from streamkit.clients.bodies import Body, open_body
from streamkit.clients.http_client import HttpClient, refused_redirect, shown
from streamkit.dialects.provider_errors import error_from_body
from streamkit.errors import ConfigError, RemoteProtocolError, SourceError, StreamTimeout, StreamTruncated, scrub
from streamkit.flow.runs import Run
from streamkit.flow.sources import Feed, Source
from streamkit.flow.streams import Stream
from streamkit.operators.timing import timeout
from streamkit.wire import sse as wire
from streamkit.wire.sse import Frame

__all__ = ["sse"]

# What a browser waits is 3 to 5 s; programs are less patient, and servers that mind say so.
_WAIT_SECONDS: Final = 1.0

# What is read of an answer that is no stream, to say what it is.
_HEAD_BYTES: Final = 16_384
_HEAD_SECONDS: Final = 5.0

# Many servers refuse all headers together above 8 KiB.
_ID_BYTES: Final = 4_096

# Answers that say that a request was not carried out, so that it may be sent again whatever it does.
_NOT_DONE: Final = (429, 503)


def sse(
    url: str,
    *,
    method: str | None = None,
    json: object = None,
    headers: Mapping[str, str] | None = None,
    client: object | None = None,
    last_event_id: str = "",
    reconnect: bool | None = None,
    max_retries: int = 8,
    min_wait: float = 0.1,
    max_wait: float = 30.0,
    idle: float | None = None,
    max_event_bytes: int = 1_048_576,
    max_body_bytes: int | None = None,
    seed: int | None = None,
) -> Stream[Frame]:
    """The events of a server-sent event stream, reconnected when it drops.

    Args:
        url: Where it is; http or https.
        method: "GET" unless told; "POST" if there is `json`.
        json: The body of the request, as JSON.
        headers: They win over those of the client and over ours (`Accept`, `Cache-Control`).
        client: An `AsyncClient` or `Client` of httpx or httpx2, or a `ClientSession` of aiohttp, which stays open; None
            is one of ours. Its own timeouts count, if it was given any.
        last_event_id: Where to go on: the `id` of the last event that was seen.
        reconnect: True asks again whenever a connection ends or drops, as a browser does, and False never. None is True
            for GET; a request with another method may do its work twice, and so is sent again only if it was not carried
            out (no connection, 429, 503), or if it dropped, rather than ended, and its events had ids to go on from.
        max_retries: Most attempts in a row that bring no event. 0 or more.
        min_wait: The shortest wait between two attempts, in seconds, whatever the server asks for.
        max_wait: The longest. A server that asks for more with `Retry-After` gets its error raised instead.
        idle: How many seconds may pass without a byte before the connection is taken for dead. None: any number.
        max_event_bytes: The largest single event.
        max_body_bytes: The most bytes of all connections together, after decompression. None sets no bound.
        seed: Makes the waits the same each time, for tests.

    Yields:
        `Frame`s with `type`, `data` and `id`; those of one network read together. The end is a 204, or where it is
        not reconnected the end of the body. For a bound on the time in all use `sk.timeout(total=)`.

    The stream can be run again; each run begins at `last_event_id`. Redirects are followed for GET, at most 5, and never
    carry credentials to another origin. An id that no header can hold is not sent.

    Memory: one event.
    Cancellation: the connection is closed at once. So it is when the reader leaves early.
    Raises:
        SourceError: a status of 400 or above: 408, 425, 429 and 5xx when the attempts are used up, others at once.
        RemoteProtocolError: another status or content type, a redirect that is not followed, an event or a body
            larger than its bound.
        StreamTruncated: the attempts are used up, and the last one ended without an event.
        StreamTimeout: the attempts are used up, and the last one was silent for `idle` seconds; `phase` is "wire".
        ConfigError, TypeError: wrong arguments, at the call.
        Errors of the client pass untouched, when the attempts are used up. All of these have `last_event_id`, to go on from.

    >>> sse("https://api.example/events")
    <Stream sse(GET https://api.example/events)>
    """
    asked = _checked_request(url, method, json, headers)
    _check_numbers(max_retries, min_wait, max_wait, idle, max_body_bytes)
    wire.Decoder(max_event_bytes=max_event_bytes)  # says at the call what is wrong with the number
    if not isinstance(last_event_id, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers reach this
        raise TypeError(f"last_event_id is text, got {type(last_event_id).__name__}")
    theirs = None if client is None else HttpClient(client, wanted_by="sk.sse")

    def feed(run: Run[Any]) -> Feed:
        http = theirs or HttpClient(wanted_by="sk.sse")
        source = _EventSource(
            run,
            http,
            asked,
            last_id=last_event_id,
            reconnect=reconnect,
            max_retries=max_retries,
            waits=(min_wait, max_wait),
            idle=idle,
            max_event_bytes=max_event_bytes,
            max_body_bytes=max_body_bytes,
            seed=seed,
        )
        lists = source.lists()
        return Feed(lists, shape="lists", closers=[("the HTTP client", http.aclose), ("the event source", lists.aclose)])

    return Stream(Source(f"sse({asked.method} {shown(url)})", feed, repeatable=True))


class _Request:
    __slots__ = ("content", "headers", "method", "url")

    def __init__(self, method: str, url: str, headers: dict[str, str], content: bytes | None) -> None:
        self.method = method
        self.url = url
        self.headers = headers
        self.content = content


def _checked_request(url: str, method: str | None, json: object, headers: Mapping[str, str] | None) -> _Request:
    if not isinstance(url, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers reach this
        raise TypeError(f"url is text, got {type(url).__name__}")
    try:
        scheme = urlsplit(url).scheme.lower()
    except ValueError as error:
        raise ConfigError(f"url is no address: {error}") from None
    if scheme not in ("http", "https", ""):
        raise ConfigError(f"url must begin with http:// or https://, and not with {scrub(scheme + ':', 40)!r}")
    method = ("GET" if json is None else "POST") if method is None else method.upper()
    if json is not None and method in ("GET", "HEAD"):
        raise ConfigError(f'a {method} request has no body: give json with method="POST"')
    content = None if json is None else wire.dump_json(json)
    own = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
    if content is not None:
        own["Content-Type"] = "application/json"
    given = dict(headers or {})
    for name, value in given.items():
        if not isinstance(value, str) or any(mark in f"{name}{value}" for mark in "\r\n\0"):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(f"the header {name!r:.40} is not one line of text")
    names = {name.lower() for name in given}
    return _Request(method, url, {**{name: value for name, value in own.items() if name.lower() not in names}, **given}, content)


def _check_numbers(max_retries: int, min_wait: float, max_wait: float, idle: float | None, max_body_bytes: int | None) -> None:
    if max_retries.__class__ is not int or max_retries < 0:
        raise ConfigError(f"max_retries must be an int of at least 0, got {max_retries!r:.40}")
    if not (0 < min_wait <= max_wait and isfinite(max_wait)):
        raise ConfigError(f"the waits must be 0 < min_wait <= max_wait, in seconds, got {min_wait!r:.40} and {max_wait!r:.40}")
    if idle is not None and not 0 < idle < inf:
        raise ConfigError(f"idle must be a number of seconds above 0, or None, got {idle!r:.40}")
    if max_body_bytes is not None and (max_body_bytes.__class__ is not int or max_body_bytes < 1):
        raise ConfigError(f"max_body_bytes must be an int of at least 1, or None, got {max_body_bytes!r:.40}")


class _EventSource:
    """One run: what is known from one connection to the next."""

    def __init__(
        self,
        run: Run[Any],
        http: HttpClient,
        request: _Request,
        *,
        last_id: str,
        reconnect: bool | None,
        max_retries: int,
        waits: tuple[float, float],
        idle: float | None,
        max_event_bytes: int,
        max_body_bytes: int | None,
        seed: int | None,
    ) -> None:
        self._run = run
        self._http = http
        self._request = request
        self._last_id = last_id
        self._reconnect = reconnect
        self._max_retries = max_retries
        self._waits = waits
        self._idle = idle
        self._max_event_bytes = max_event_bytes
        self._max_body_bytes = max_body_bytes
        self._random = random.Random(seed)
        self._retry: float | None = None
        self._attempts = 0  # in a row that brought no event
        self._size = 0

    async def lists(self) -> AsyncGenerator[list[Frame]]:
        """The events of each read, from all connections."""
        run, most = self._run, self._max_body_bytes
        while True:
            connection = _Connection(self._http, self._request, self._headers())
            decoder = wire.Decoder(max_event_bytes=self._max_event_bytes, last_event_id=self._last_id)
            chunks = connection.stream(self._idle).open()
            failure: Exception | None = None
            try:
                async for chunk in chunks:
                    if run.outermost.listening:  # a clock that counts signs of life, which need not be events
                        run.outermost.heard_at = run.clock.now()
                    self._size += len(chunk)
                    if most is not None and self._size > most:
                        chunk = chunk[: most - self._size]
                    frames = decoder.feed(chunk)
                    self._last_id = decoder.last_event_id
                    if decoder.retry is not None:
                        self._retry = decoder.retry / 1000
                    if frames:
                        self._attempts = 0
                        yield frames
                    if decoder.error is not None:
                        raise decoder.error
                    if most is not None and self._size > most:
                        raise RemoteProtocolError(f"the body is larger than max_body_bytes={most}", offset=most)
            except Exception as error:
                failure = error
            finally:
                await chunks.aclose()
            if connection.over or (failure is None and not self._goes_on()):
                return
            try:
                wait = self._judge(failure)
            except Exception as error:
                with suppress(AttributeError):
                    error.last_event_id = self._last_id  # type: ignore[attr-defined]  # documented, on whatever it is
                raise
            finally:
                del failure  # this frame is in its traceback
            await run.clock.sleep(wait)

    def _headers(self) -> dict[str, str]:
        """Those of the next request."""
        headers = dict(self._request.headers)
        given = next((name for name in headers if name.lower() == "last-event-id"), None)
        value = self._last_id.strip(" \t")
        if value and value.isprintable() and len(value.encode()) <= _ID_BYTES:
            if given is not None:
                del headers[given]
            headers["Last-Event-ID"] = value
        return headers

    def _goes_on(self) -> bool:
        """Whether the end of a body is the end of a connection only."""
        return self._request.method == "GET" if self._reconnect is None else self._reconnect

    def _judge(self, failure: Exception | None) -> float:
        """How long to wait for the next attempt; or raise what there is to raise."""
        if failure is not None and not (self._may_repeat(failure) and self._reconnect is not False):
            raise _told(failure)
        self._attempts += 1
        if self._attempts > self._max_retries:
            if failure is None:
                raise StreamTruncated(f"the stream ended, and {self._max_retries} attempts to go on brought no event")
            raise _told(failure)
        wait = self._wait()
        if not isinstance(failure, SourceError) or failure.retry_after is None:
            return wait
        if failure.retry_after > self._waits[1]:
            raise failure
        return max(wait, failure.retry_after)

    def _may_repeat(self, failure: Exception) -> bool:
        """Whether the same request may be sent again after this."""
        safe = self._reconnect is True or self._request.method == "GET"
        if isinstance(failure, SourceError):
            return failure.retryable and (safe or failure.status in _NOT_DONE)
        if isinstance(failure, StreamTimeout) or _is_drop(failure):
            return safe or bool(self._last_id) or _is_unsent(failure)
        return False

    def _wait(self) -> float:
        shortest, longest = self._waits
        base = max(_WAIT_SECONDS if self._retry is None else self._retry, shortest)
        # The first attempt after an event waits once; the exponent is bounded, or it would not be a float.
        low = min(base * 2.0 ** min(self._attempts - 1, 64), longest)
        high = min(low * 1.5, longest)
        if low > high * 2 / 3:  # at the limit, where all would wait alike
            low = max(high * 2 / 3, min(shortest, high))
        return self._random.uniform(low, high)


class _Connection:
    """One request and the body of its answer, if that is an event stream.

    Attributes:
        over: The answer says that there is no more to come.
    """

    def __init__(self, http: HttpClient, request: _Request, headers: dict[str, str]) -> None:
        self._http = http
        self._request = request
        self._headers = headers
        self.over = False

    def stream(self, idle: float | None) -> Stream[bytes]:
        """The chunks of the body; what is wrong with the answer is raised in place of the first."""
        chunks: Stream[bytes] = Stream(Source(f"{self._request.method} {shown(self._request.url)}", self._feed))
        return chunks if idle is None else chunks | timeout(idle=idle)

    def _feed(self, run: Run[Any]) -> Feed:
        feed = Feed(None)
        asked = self._request
        exchange = self._http.open(asked.method, asked.url, headers=self._headers, content=asked.content)

        async def start() -> AsyncIterator[bytes]:
            body = await open_body(exchange, run, feed.closers, _as_it_is)
            first: list[bytes] = []
            if body.status is None:  # read on a thread: the answer is known with its first piece
                async for chunk in body.items:
                    first.append(chunk)
                    break
            await self._check(body, first, run)
            if not first:
                return body.items
            chained = _chained(first, body.items)
            feed.closers.append(("the body", chained.aclose))
            return chained

        feed.start = start
        return feed

    async def _check(self, body: Body, head: list[bytes], run: Run[Any]) -> None:
        status = body.status or 0
        if status == 204:
            self.over = True
        elif status != 200 or body.media_type != "text/event-stream":
            if 300 <= status < 400:
                raise refused_redirect(status, body.headers.get("location") or "", "which names no place to go on from")
            await run.backend.bounded(_read_head(body.items, head), _HEAD_SECONDS, run.clock)
            error = error_from_body(b"".join(head)[:_HEAD_BYTES], status=status, media_type=body.media_type or "no content type")
            if isinstance(error, SourceError):
                error.request_id = error.request_id or body.request_id
                error.retry_after = body.retry_after if error.retry_after is None else error.retry_after
            raise error


async def _read_head(chunks: AsyncIterator[bytes], head: list[bytes]) -> None:
    size = sum(map(len, head))
    try:
        async for chunk in chunks:
            head.append(chunk)
            size += len(chunk)
            if size >= _HEAD_BYTES:
                return
    except Exception:
        # What the status says holds, whatever becomes of the body.
        return


async def _chained(first: list[bytes], rest: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    for chunk in first:
        yield chunk
    async for chunk in rest:
        yield chunk


# ---- what went wrong ----------------------------------------------------------------------------

# By name, because none of the libraries is imported here.
_DROPS: Final = frozenset(("TransportError", "ClientConnectionError", "ClientPayloadError", "OSError"))
_NEVER: Final = frozenset(("UnsupportedProtocol", "InvalidURL", "LocalProtocolError", "DecodingError"))
_UNSENT: Final = frozenset(("ConnectError", "ConnectTimeout", "PoolTimeout", "ClientConnectorError"))


def _is_drop(failure: Exception) -> bool:
    """Whether a connection could not be made, or was lost, and another one may do better."""
    names = _names(failure)
    if names.isdisjoint(_DROPS) or not names.isdisjoint(_NEVER):
        return False
    # A certificate does not become valid by asking again.
    cause: BaseException | None = failure
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return False
        cause = cause.__cause__ or cause.__context__
    return True


def _is_unsent(failure: Exception) -> bool:
    """Whether the request certainly never reached the server."""
    return not _names(failure).isdisjoint(_UNSENT)


def _names(failure: Exception) -> set[str]:
    return {kind.__name__ for kind in type(failure).__mro__}


def _told(failure: Exception) -> Exception:
    """The failure, in the words of this module."""
    if isinstance(failure, StreamTimeout):
        return StreamTimeout(f"nothing came over the wire within {failure.seconds:g} s", phase="wire", seconds=failure.seconds)
    return failure


def _as_it_is(value: Any) -> Any:
    return value
