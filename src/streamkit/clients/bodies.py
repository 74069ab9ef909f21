"""Where bytes come from: everything that `sk.decode` accepts, told apart by what it can do.

Knows the HTTP responses of httpx, httpx2, aiohttp, requests, urllib3 and the standard library by their methods
(none is imported), and the wrappers that SDKs put around one (`http_response`). Everything else is a source
like any other. A body that is read by blocking gets a thread, as every such source.

Compressed bodies are taken as they came and opened by `wire.inflate`, a slice at a time, where it knows the
coding and the client gives the raw bytes. What cannot be done so, the client opens as it always does.

Nothing is awaited, entered or called before the first item is wanted.
"""

from __future__ import annotations

import contextlib
import inspect
import socket
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from typing import Any, TypeAlias, cast

from streamkit.clients.http_headers import media_type_of, request_id_of, retry_after_of
from streamkit.errors import RemoteProtocolError
from streamkit.flow.runs import Run
from streamkit.flow.sources import Closer, source_of
from streamkit.flow.streams import Stream
from streamkit.wire.inflate import Inflater, inflater_for

__all__ = ["Adapt", "Body", "at_most", "check_body", "drop_unopened", "is_response", "open_body"]

# What an SDK's adapter does to a value that was awaited, entered or made: unwrap it, or refuse it.
Adapt: TypeAlias = Callable[[Any], Any]

_MOST_WRAPPERS = 8

# What `contextlib.asynccontextmanager` makes; nothing need be asked of it before the request goes out.
_UNENTERED = contextlib._AsyncGeneratorContextManager  # pyright: ignore[reportPrivateUsage]  # it has no other name
_READ_BYTES = 65_536


class Body:
    """An opened body.

    Attributes:
        items: What to iterate: single chunks.
        is_bytes: Whether the items are bytes for certain; else they may be an SDK's objects.
        status: The HTTP status, where there is one. Of a response that is read on a thread it is known with the first item.
        headers: Those of the answer, by name in any case.
        reusable: Whether reading to the end lets the connection serve another request.
    """

    __slots__ = ("headers", "is_bytes", "items", "reusable", "status")

    def __init__(self, items: AsyncIterator[Any], *, is_bytes: bool = False) -> None:
        self.items = items
        self.is_bytes = is_bytes
        self.status: int | None = None
        self.headers: Mapping[str, str] = {}
        self.reusable = False

    def learn(self, response: Any) -> None:
        """Take what an HTTP response says of itself."""
        status = getattr(response, "status_code", None) or getattr(response, "status", None)
        self.status = status if isinstance(status, int) else None
        headers = getattr(response, "headers", None)
        self.headers = headers if hasattr(headers, "get") else {}  # type: ignore[assignment]  # whatever the library has
        self.reusable = getattr(response, "http_version", None) == "HTTP/1.1"

    @property
    def request_id(self) -> str | None:
        """What the provider calls this request, where a header says it."""
        return request_id_of(self.headers)

    @property
    def retry_after(self) -> float | None:
        """Seconds until the provider wants to be asked again, where a header says it."""
        return retry_after_of(self.headers)

    @property
    def media_type(self) -> str:
        """What the body claims to be."""
        return media_type_of(self.headers)


def check_body(value: Any) -> None:
    """Raise TypeError, at the call, for what can never give bytes."""
    if value.__class__ is _UNENTERED:  # what `client.stream(...)` gives, and most bodies are
        return
    if not (_response_of(value) is not None or _is_manager(value) or inspect.isawaitable(value)):
        source_of(value)


async def open_body(value: Any, run: Run[Any], closers: list[Closer], adapt: Adapt) -> Body:
    """Open whatever `value` is, in the task that will iterate it; how to close it goes into `closers` as soon as it is open."""
    for _ in range(_MOST_WRAPPERS):
        value = adapt(value)
        if value.__class__ is _UNENTERED:
            value = await _enter(value, closers)
            continue
        response = _response_of(value)
        if response is not None:
            return _open_response(response, run, closers)
        if hasattr(value, "__streamkit_feed__") or hasattr(value, "__aiter__"):
            break
        if inspect.isawaitable(value):
            value = await value
        elif hasattr(value, "__aenter__") and hasattr(value, "__aexit__"):
            value = await _enter(value, closers)
        elif _is_manager(value):
            return _threaded(value, run, closers, adapt)
        elif callable(value) and not hasattr(value, "__iter__"):
            value = value()
        else:
            break
    if hasattr(value, "__iter__") and not hasattr(value, "__aiter__") and not hasattr(value, "__len__"):
        return _threaded(value, run, closers, adapt)
    if isinstance(value, Stream):
        return _of_stream(value, closers)  # pyright: ignore[reportUnknownArgumentType]  # of Any
    feed = source_of(value).open(run)
    closers += feed.closers
    iterator = feed.iterator if feed.start is None else await feed.start()
    if feed.shape == "items":
        return Body(iterator)
    singly = _singly(iterator)
    closers.append(("batches", singly.aclose))
    return Body(singly)


async def at_most(limit: int, items: AsyncIterator[Any]) -> AsyncGenerator[Any]:
    """The items of a body up to so many bytes.

    Raises:
        RemoteProtocolError: there is more. All that the limit allows was given.
    """
    room = limit
    async for chunk in items:
        if len(chunk) > room:
            if room:
                yield chunk[:room]
            raise RemoteProtocolError(f"the body is larger than max_body_bytes={limit}", offset=limit)
        room -= len(chunk)
        yield chunk


def is_response(value: Any) -> bool:
    """Whether it is an HTTP response, or a wrapper that holds one."""
    return _response_of(value) is not None


def drop_unopened(value: Any) -> None:
    """Close a coroutine that nobody awaited, also inside an SDK's manager: the interpreter would complain about it."""
    for candidate in (value, getattr(value, "_api_request", None)):
        if inspect.iscoroutine(candidate) and inspect.getcoroutinestate(candidate) == inspect.CORO_CREATED:
            candidate.close()


async def _enter(manager: Any, closers: list[Closer]) -> Any:
    value = await manager.__aenter__()
    closers.append(("what was entered", lambda: manager.__aexit__(None, None, None)))
    return value


def _is_manager(value: Any) -> bool:
    """Whether it must be entered first: nothing that can be iterated as it is."""
    if hasattr(value, "__aiter__") or hasattr(value, "__iter__"):
        return False
    return (hasattr(value, "__aenter__") and hasattr(value, "__aexit__")) or (
        hasattr(value, "__enter__") and hasattr(value, "__exit__")
    )


def _of_stream(source: Stream[Any], closers: list[Closer]) -> Body:
    """A stream of bytes, with what its source tells of the response that they are from."""
    run = source.open()
    closers.append(("the stream", run.aclose))
    body = Body(run)

    def learn() -> None:
        status, content_type = run.about.get("status"), run.about.get("content_type")
        body.status = status if isinstance(status, int) else None
        body.headers = {"content-type": content_type} if isinstance(content_type, str) else {}

    async def chunks() -> AsyncGenerator[Any]:
        try:
            async for chunk in run:
                if body.status is None:
                    learn()
                yield chunk
        finally:
            learn()

    body.items = items = chunks()
    closers.append(("its items", items.aclose))
    return body


async def _singly(batches: AsyncIterator[Any]) -> AsyncGenerator[Any]:
    async for batch in batches:
        for item in batch:
            yield item


# ---- HTTP responses ---------------------------------------------------------------------------


def _response_of(value: Any) -> Any:
    """The HTTP response that a value is, or wraps; None if it is something else."""
    if inspect.isclass(value) or inspect.iscoroutine(value):
        return None
    inner = getattr(value, "http_response", None)  # raw responses of the Stainless SDKs
    if inner is not None and _reads(inner):
        return inner
    return value if _reads(value) else None


def _reads(value: Any) -> bool:
    # Asked of each thing that is read, before its first byte: no loop, the most usual first.
    if (
        hasattr(value, "aiter_raw")
        or hasattr(value, "aiter_bytes")
        or hasattr(value, "iter_raw")
        or hasattr(value, "iter_bytes")
        or hasattr(value, "iter_content")
        or _is_low_level(value)
    ):
        return True
    # httpx's `content` is the whole body, and raises before that was read: it has been told apart above.
    return hasattr(getattr(value, "content", None), "iter_any")


def _is_low_level(value: Any) -> bool:
    """Whether it is a response of http.client (so of urllib) or urllib3: iterating one gives lines of any length."""
    return hasattr(value, "read1") and hasattr(value, "headers") and hasattr(value, "status")


def _open_response(response: Any, run: Run[Any], closers: list[Closer]) -> Body:
    if not _is_async(response):
        return _threaded(response, run, closers, _as_it_is)
    closers.append(("the response", getattr(response, "aclose", None) or response.close))
    chunks, inflater = _async_chunks(response)
    if hasattr(chunks, "aclose"):
        closers.append(("the body", chunks.aclose))
    if inflater is not None:
        chunks = _inflated(inflater, chunks)
        closers.append(("the inflated body", chunks.aclose))
    body = Body(chunks, is_bytes=True)
    body.learn(response)
    return body


def _is_async(response: Any) -> bool:
    if hasattr(response, "aiter_raw") or hasattr(response, "aiter_bytes"):
        # httpx has one class for both kinds of client: the stream inside tells.
        stream = getattr(response, "stream", None)
        return not hasattr(stream, "__iter__") or hasattr(stream, "__aiter__")
    return hasattr(getattr(response, "content", None), "iter_any") if not hasattr(response, "iter_content") else False


def _async_chunks(response: Any) -> tuple[Any, Inflater | None]:
    if hasattr(response, "aiter_raw"):
        raw, inflater = _reading_of(response)
        if raw:
            return response.aiter_raw(), inflater
    if hasattr(response, "aiter_bytes"):
        return response.aiter_bytes(), None
    return response.content.iter_any(), None


def _sync_chunks(response: Any) -> Iterator[Any]:
    raw, inflater = _reading_of(response)
    chunks = _blocking_chunks(response, raw)
    if raw and inflater is not None:
        for chunk in chunks:
            yield from inflater.feed(chunk)
    else:
        yield from chunks


def _blocking_chunks(response: Any, raw: bool) -> Iterator[Any]:
    if raw and hasattr(response, "iter_raw"):
        return cast("Iterator[Any]", response.iter_raw())
    if hasattr(response, "iter_bytes"):
        return cast("Iterator[Any]", response.iter_bytes())
    low: Any = getattr(response, "raw", None) if hasattr(response, "iter_content") else response
    if raw and _is_low_level(low):
        # As it arrives: `iter_content` of requests waits for the end of a body that is not chunked.
        read = _undecoded(low)
        return iter(lambda: read(_READ_BYTES), b"")
    if hasattr(response, "iter_content"):  # requests: None is "as it arrives", the default is 1 byte
        return cast("Iterator[Any]", response.iter_content(None))
    return iter(response)


def _undecoded(low: Any) -> Callable[[int], bytes]:
    """`read1` that leaves the body as it came: http.client knows no codings, urllib3 takes them off unless told."""
    if hasattr(low, "drain_conn"):
        return lambda size: low.read1(size, decode_content=False)
    return low.read1  # type: ignore[no-any-return]


def _reading_of(response: Any) -> tuple[bool, Inflater | None]:
    """Whether to take the bytes as they came, and what to open them with if they are compressed."""
    if getattr(response, "is_stream_consumed", False) or getattr(response, "_content_consumed", False):
        return False, None  # read into memory before
    headers: Any = getattr(response, "headers", None)
    coding: Any = headers.get("content-encoding", "") if headers is not None else ""
    if not isinstance(coding, str) or coding.strip().lower() in ("", "identity"):
        return True, None
    inflater = inflater_for(coding)
    return inflater is not None, inflater


async def _inflated(inflater: Inflater, chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """An opened body. One that ends in the middle of its compression just ends: the dialect knows whether it is complete."""
    async for chunk in chunks:
        for piece in inflater.feed(chunk):
            yield piece


# ---- bodies that block --------------------------------------------------------------------------


def _threaded(value: Any, run: Run[Any], closers: list[Closer], adapt: Adapt) -> Body:
    blocking = BlockingBody(value, adapt)
    feed = source_of(blocking).open(run)
    closers += feed.closers
    body = Body(feed.iterator)
    response = _response_of(value)
    if response is not None:
        body.is_bytes = True
        body.learn(response)
    blocking.body = body
    return body


class BlockingBody:
    """A body that is entered and read on a thread, and can be closed from another."""

    def __init__(self, value: Any, adapt: Adapt) -> None:
        self._value = value
        self._adapt = adapt
        self._open: Any = None
        self._closed = False
        self._lock = threading.Lock()
        self.body: Body | None = None

    def __iter__(self) -> Iterator[Any]:
        value = self._adapt(self._value)
        if not hasattr(value, "__enter__") or hasattr(value, "__iter__") or _response_of(value) is not None:
            yield from self._chunks(value)
            return
        manager: AbstractContextManager[Any] = value
        with manager as entered:
            yield from self._chunks(self._adapt(entered))

    def _chunks(self, value: Any) -> Iterator[Any]:
        response = _response_of(value)
        with self._lock:
            if self._closed:  # left while the request was being made
                _close(response or value)
                return
            self._open = value if response is None else response
        if response is None:
            yield from value
            return
        if self.body is not None:
            self.body.learn(response)
        yield from _sync_chunks(response)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            opened = self._open
        if opened is not None:
            _wake_reader(opened)
            _close(opened)


def _wake_reader(response: Any) -> None:
    """End a read that blocks in another thread: closing a socket does not, and the server would not see us leave."""
    response = getattr(response, "response", None) or getattr(response, "_response", response)  # an SDK's stream holds it
    raw = getattr(response, "raw", response)
    if hasattr(raw, "drain_conn") and hasattr(raw, "shutdown"):  # requests and urllib3
        with suppress(OSError, ValueError, RuntimeError):
            raw.shutdown()
        return
    extensions = getattr(response, "extensions", None)
    if (
        not isinstance(extensions, dict)
        or getattr(response, "http_version", None) != "HTTP/1.1"
        or getattr(response, "is_closed", True)
    ):
        return  # HTTP/2 shares its socket with other streams
    stream: Any = cast("dict[str, Any]", extensions).get("network_stream")
    sock: Any = stream.get_extra_info("socket") if stream is not None else None
    if sock is not None:
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


def _close(value: Any) -> None:
    close = getattr(value, "close", None)
    # A generator in which another thread waits cannot be closed from here: that thread leaves it when it can.
    if close is not None and not getattr(value, "gi_running", False):
        close()


def _as_it_is(value: Any) -> Any:
    return value
