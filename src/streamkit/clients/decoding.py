"""Bytes of any dialect as events: the wire grammar, the dialect's decoder, and the judgement of how it ended.

    body --> wire.feed --> decoder.decode_many --> events        one list per network read
      |                            |
      ends, fails, is no stream    end marker, error frame       --> complete, or an error that says why not

Whatever happens, the events before it are delivered first. A stream that ends here normally is complete.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any, Final, Literal, TypeAlias

from streamkit.clients.bodies import Adapt, Body, at_most, check_body, drop_unopened, open_body
from streamkit.clients.grammars import GRAMMARS, Grammar
from streamkit.clients.http_client import refused_redirect
from streamkit.clients.so_far import AnswerSoFar
from streamkit.dialects.lenient import read_value
from streamkit.dialects.outcomes import to_error_event
from streamkit.dialects.protocol import Decoder, Dialect, InFrame
from streamkit.dialects.provider_errors import error_from_body, error_from_payload
from streamkit.dialects.registry import get
from streamkit.errors import ConfigError, SourceError, StreamkitError, StreamTruncated
from streamkit.events import Event, Message
from streamkit.flow.channel import FAIRNESS
from streamkit.flow.plan import describe
from streamkit.flow.runs import Run
from streamkit.flow.sources import Feed, Source
from streamkit.flow.streams import Stream

__all__ = ["MAX_EVENT_BYTES", "Errors", "Recipe", "decode", "events_of"]

MAX_EVENT_BYTES: Final = 1_048_576

Errors: TypeAlias = Literal["raise", "yield"]

# What is kept of a body that has given no frame yet, to say what it is instead.
_HEAD_BYTES: Final = 16_384

# What a finished answer is given to end its body too, so that the connection can be used again.
_DRAIN_BYTES: Final = 65_536
_DRAIN_SECONDS: Final = 0.1


def decode(
    byte_source: object,
    dialect: str | Dialect,
    *,
    errors: Errors = "raise",
    max_event_bytes: int = MAX_EVENT_BYTES,
    max_body_bytes: int | None = None,
    provider: str | None = None,
) -> Stream[Event]:
    """The events of a model's answer, from the bytes of its body.

    Args:
        byte_source: Whatever gives bytes: a streamed response of httpx, httpx2, aiohttp or requests, or the
            un-entered `client.stream(...)`; an SDK's raw response; anything that `sk.stream` takes
            (async iterable, list of bytes, `asyncio.StreamReader`, a callable that makes one of these).
        dialect: A name such as "openai-chat", "native" or "ndjson", or a `Dialect`; its `framing`, "sse" or "ndjson", is how
            the bytes are cut.
        errors: "raise", or "yield" to get an `ErrorEvent` as the last event instead.
        max_event_bytes: The largest single event of the wire: of NDJSON the longest line.
        max_body_bytes: The largest body, after it was decompressed. None sets no bound.
        provider: Who answers, for `Start.provider` and errors, where the stream does not say.

    Yields:
        Events, those of one network read together. `Finish` is last, and only if the answer is complete.

    Memory: one event of the wire, and the answer so far (for `partial`). A compressed body is opened 64 KiB at a time.
    Cancellation: the body is closed, in the task that iterated it. So it is when the reader leaves early.
    Raises:
        StreamTruncated: the body ended before the answer did; `partial` is what came.
        SourceError: an error in the stream, a status of 400 or above, or a body that is an error (provider, code,
            retryable, retry_after, request_id, partial).
        RemoteProtocolError: what came is no such stream: HTML, not JSON, an event or a body larger than its bound.
        ConfigError, TypeError: an unknown dialect, one that is not read or travels on another wire, a wrong argument or
            source, at the call.
        Errors of the source itself pass untouched; `Run.partial` then holds what came.

    >>> import asyncio
    >>> body = [b'data: {"choices":[{"delta":{"content":"Hi"},"fini', b'sh_reason":"stop"}]}\\n\\ndata: [DONE]\\n\\n']
    >>> asyncio.run(decode(body, "openai-chat").join())
    'Hi'
    """
    if isinstance(dialect, str):
        dialect = get(dialect)
    elif not isinstance(dialect, Dialect):  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers reach this
        raise TypeError(f"a dialect is a name or a Dialect, got {type(dialect).__name__}")
    recipe = Recipe(dialect, errors=errors, max_event_bytes=max_event_bytes, max_body_bytes=max_body_bytes, provider=provider)
    name = dialect.name
    return events_of(byte_source, recipe, lambda: f"decode({_name_of(byte_source)}, {name!r})")


class Recipe:
    """How one kind of body becomes events; checked when it is made, used by each Run.

    Args:
        adapt: What to do to a value that was awaited, entered or made before it is opened.
        objects: The frames of an item that is not bytes, for sources that parse by themselves.
    """

    def __init__(
        self,
        dialect: Dialect,
        *,
        errors: Errors,
        max_event_bytes: int = MAX_EVENT_BYTES,
        max_body_bytes: int | None = None,
        provider: str | None = None,
        adapt: Adapt | None = None,
        objects: Callable[[Any], list[InFrame]] | None = None,
    ) -> None:
        if errors not in ("raise", "yield"):
            raise ConfigError(f'errors is "raise" or "yield", got {errors!r:.40}')
        if dialect.decoder is None:
            raise ConfigError(f"the dialect {dialect.name!r} is written only: it has no decoder")
        grammar = GRAMMARS.get(dialect.framing)
        if grammar is None:
            known = ", ".join(map(repr, GRAMMARS))
            raise ConfigError(f"the dialect {dialect.name!r} travels on {dialect.framing!r}, which is not read: {known} are")
        if max_event_bytes != MAX_EVENT_BYTES:
            grammar(max_event_bytes)  # says at the call what is wrong with the number
        if max_body_bytes is not None and (max_body_bytes.__class__ is not int or max_body_bytes < 1):
            raise ConfigError(f"max_body_bytes must be an int of at least 1, or None, got {max_body_bytes!r:.40}")
        self.max_body_bytes = max_body_bytes
        self.errors = errors
        self.adapt = adapt or _as_it_is
        self.objects = objects
        self._dialect = dialect
        self._grammar = grammar
        self._max_event_bytes = max_event_bytes
        self._provider = provider

    def grammar(self) -> Grammar:
        """The grammar of one body."""
        return self._grammar(self._max_event_bytes)

    def decoder(self) -> Decoder:
        """The vocabulary of one answer."""
        assert self._dialect.decoder is not None
        return self._dialect.decoder(provider=self._provider)

    @property
    def provider(self) -> str | None:
        """Who answers, if the caller said so."""
        return self._provider


def events_of(value: Any, recipe: Recipe, label: str | Callable[[], str]) -> Stream[Event]:
    """A stream over `value`, that can be run again if `value` is a callable."""
    check_body(value)
    repeatable = callable(value) and not hasattr(value, "__aiter__") and not hasattr(value, "__iter__")
    return Stream(Source(label, lambda run: _feed(value, recipe, run), repeatable=repeatable))


def _feed(value: Any, recipe: Recipe, run: Run[Any]) -> Feed:
    reading = _Reading(recipe, run)
    run.keep_partial(reading.message)
    feed = Feed(None, shape="lists", closers=[("what was not opened", lambda: drop_unopened(value))])

    async def start() -> AsyncIterator[list[Event]]:
        body = await open_body(value, run, feed.closers, recipe.adapt)
        if recipe.max_body_bytes is not None:
            body.items = limited = at_most(recipe.max_body_bytes, body.items)
            feed.closers.append(("the bounded body", limited.aclose))
        lists = reading.lists(body)
        feed.closers.append(("the decoder", lists.aclose))
        return lists

    feed.start = start
    return feed


class _Reading:
    """One body on its way to events."""

    def __init__(self, recipe: Recipe, run: Run[Any]) -> None:
        self._recipe = recipe
        self._run = run
        self._grammar = recipe.grammar()
        self._decoder = recipe.decoder()
        self._so_far = AnswerSoFar()
        self._head = b""
        self._foreign = False

    def message(self) -> Message:
        """What has come, with the usage that the decoder holds back."""
        return self._so_far.message(self._decoder.held())

    async def lists(self, body: Body) -> AsyncGenerator[list[Event]]:
        """The events of each read; then what the end says."""
        # The hot loop: what is looked up once is looked up here, and a read costs two calls (benchmarks/bench_clients.py).
        grammar, decoder = self._grammar, self._decoder
        wire = grammar.wire
        plain = body.is_bytes or self._recipe.objects is None
        feed, measure = (grammar.feed, len) if plain else (self._frames_of, _size_of)
        decode_many, so_far = decoder.decode_many, self._so_far
        pending, most, large = so_far.pending, so_far.LIMIT, so_far.LARGE_READ
        run, listening = self._run, self._run.outermost.listening
        chunk: Any = b""
        silent = 0
        failure: Exception | None = None
        try:
            async for chunk in body.items:
                if listening:  # a clock that counts signs of life, which need not be events
                    run.outermost.heard_at = run.clock.now()
                frames = feed(chunk)
                if frames and (silent < 0 or self._begins(frames, body)):
                    events = decode_many(frames)
                    if events:
                        pending += events
                        if len(pending) >= most or measure(chunk) > large:
                            so_far.fold()
                        yield events
                    silent = -1
                    if decoder.done or decoder.error is not None or wire.error is not None:
                        break
                elif silent >= 0:
                    if plain or chunk.__class__ is bytes:
                        self._head += chunk[: _HEAD_BYTES - len(self._head)]
                    silent += 1
                    if len(self._head) >= _HEAD_BYTES and not grammar.could_be(self._head):
                        break
                    if not silent % FAIRNESS:  # a source that never suspends, and says nothing
                        await self._run.backend.checkpoint()
        except Exception as error:
            if plain and isinstance(error, TypeError) and not isinstance(chunk, (bytes, bytearray, memoryview)):
                raise TypeError(f"a body is bytes, and this source gave a {type(chunk).__name__}") from error
            failure = error
        if failure is None:
            try:
                rest = self._end(body, silent >= 0)
            except StreamkitError as error:
                failure = error
            else:
                if rest:
                    self._so_far.add(rest)
                    yield rest
        if failure is None:
            await self._drain(body)
            return
        held = decoder.held()
        if held:
            self._so_far.add(held)
            yield held
        self._describe(failure, body)
        if self._recipe.errors == "yield":
            last: list[Event] = [to_error_event(failure)]
            self._so_far.add(last)
            yield last
            return
        try:
            raise failure
        finally:
            del failure  # this frame is in its traceback

    def _frames_of(self, item: Any) -> Any:
        """Frames of a source that gives bytes or objects; which, is known when the first comes."""
        if item.__class__ is bytes or self._recipe.objects is None:
            return self._grammar.feed(item)
        return self._recipe.objects(item)

    def _begins(self, frames: list[Any], body: Body) -> bool:
        """Whether the first frames are those of a stream; once they are not, nothing in the body is."""
        self._foreign = self._foreign or not self._grammar.begins(frames[0], body.status or 0)
        return not self._foreign

    def _end(self, body: Body, silent: bool) -> list[Event]:
        """The last events of a complete answer, or the error that says why it is not."""
        decoder, status = self._decoder, body.status or 0
        if decoder.error is None and not decoder.done:
            if silent and 300 <= status < 400:
                raise refused_redirect(status, body.headers.get("location") or "", "and a body is read only where it is: ask there")
            # What the body claims to be does not count, what it is does: servers send streams as text/plain, and
            # pages as event streams.
            foreign = silent and self._is_foreign()
            frames = [] if foreign or status >= 300 else self._grammar.unclosed()
            if status >= 400 or foreign or (silent and frames and not self._begins(frames, body)):
                head = self._head if silent else b""
                raise error_from_body(head, status=body.status, provider=self._recipe.provider, media_type=body.media_type)
            rest = decoder.decode_many(frames)
            self._grammar.finish()
            try:
                return [*rest, *decoder.finish()]  # what does not end the answer is dropped, as the grammar wants it
            except StreamTruncated:
                if not self._grammar.reason:
                    raise
            raise self._reason()
        return decoder.finish()

    def _reason(self) -> SourceError:
        """Why the answer was cut, where the server said it in a field of its own (llama.cpp did, gateways still do)."""
        said = self._grammar.reason
        try:
            return error_from_payload(read_value(said), provider=self._recipe.provider)
        except (ValueError, RecursionError):
            return error_from_payload(said, provider=self._recipe.provider)

    def _is_foreign(self) -> bool:
        """Whether a body that gave no frame of a stream is something else."""
        return self._foreign or (bool(self._head) and not self._grammar.could_be(self._head))

    def _describe(self, failure: Exception, body: Body) -> None:
        """Complete an error of ours; one of others passes as it is."""
        if isinstance(failure, StreamkitError) and not isinstance(failure.partial, Message):
            failure.partial = self.message()
        if isinstance(failure, SourceError):
            failure.request_id = failure.request_id or body.request_id
            if failure.retry_after is None:
                failure.retry_after = body.retry_after

    async def _drain(self, body: Body) -> None:
        """Read what is behind the end marker, which is next to nothing: a body read to its end frees its connection."""
        if body.reusable and not self._run.may_block:  # a read that blocks could not be given up
            await self._run.backend.bounded(_read_rest(body.items), _DRAIN_SECONDS, self._run.clock)


async def _read_rest(chunks: AsyncIterator[Any]) -> None:
    room = _DRAIN_BYTES
    try:
        async for chunk in chunks:
            room -= len(chunk)
            if room < 0:
                return
    except Exception:
        # The answer is complete, whatever becomes of its connection.
        return


def _size_of(item: Any) -> int:
    return len(item) if isinstance(item, bytes) else 0


def _name_of(value: object) -> str:
    return f"{describe(value)}()" if callable(value) else describe(value)


def _as_it_is(value: Any) -> Any:
    return value
