"""A stream as the body of a response, for whatever iterates bodies: frameworks with responses of their own, and WSGI.

    body = Body(sk.stream(answer()), "openai-chat")
    refusal = await body.begin()                    # the first bytes are there, or what to answer instead
    response = TheirResponse(body, status=200, headers=body.headers)

Who does what:

    whoever iterates              Body                                heartbeat's pump
    begin()                       open the stream, first write        reads the source, at most 64 items ahead
      a refusal, if it failed
    next chunk                    encode what is ready, one chunk     a beat when nothing came for so long
    ...
    aclose(), or the end          source closed, then the last chunk

When the process stops, the client is told "draining" like that of any other response (`life.draining`), and the source is closed.

A chunk is never empty: some servers end a body with one. A failure is told in the words of the format and never raised; where
the format has none, StreamInterrupted is raised behind the last chunk, on which a server breaks the transfer off.

`BlockingBody` is the same for plain Python: an event loop of its own, which runs while somebody waits for the next chunk.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from types import TracebackType
from typing import Final, Self, Unpack, cast

from streamkit.dialects.outcomes import DONE, Outcome
from streamkit.dialects.protocol import Dialect
from streamkit.errors import StreamConsumed, StreamDraining, StreamInterrupted
from streamkit.events import ErrorEvent
from streamkit.flow.runs import Run
from streamkit.flow.streams import stream as stream_of
from streamkit.operators.timing import heartbeat as heartbeat_op
from streamkit.sinks.compression import compressor, negotiated, offered
from streamkit.sinks.failures import Refusal, refusal_of, report
from streamkit.sinks.headers import merge_headers
from streamkit.sinks.http import writer_of
from streamkit.sinks.life.draining import standing_drain
from streamkit.sinks.life.interrupts import interrupt_for
from streamkit.sinks.responding import Options, ResponseOptions, Streamable, StreamOptions, own_headers

__all__ = ["BlockingBody", "Body", "BodyOptions"]


class BodyOptions(StreamOptions, total=False):
    """What may be said of a body; `sse.Response` tells what each means."""

    lets_through: tuple[type[Exception], ...]


class Body:
    """A stream as an async iterator of bytes.

    Args:
        stream: A stream, or anything that `sk.stream` takes.
        format: The name of a dialect, a `Dialect`, or "bytes": as `http.Response` has it.
        accept_encoding: The request's `Accept-Encoding`, for `compress`.
        options: As `sse.Response` has them; `headers` are for whoever sends them. With a heartbeat a task reads the source, up to
            64 items ahead; without one it is read only as fast as chunks are taken.

    Attributes:
        headers: What the response is to say.
        refusal: Once `begin` was awaited, what to answer instead, if the stream failed before its first byte.

    It is iterated once, by one task. A loop that runs to its end closes all; one that is left needs `aclose()` or `async with`.

    Memory: what the stream's own buffers hold, 64 items with a heartbeat, one chunk.
    Cancellation: the source is closed, then the cancel goes on.
    Raises:
        ConfigError, LocalProtocolError, MissingExtra, TypeError: arguments that cannot work, at the call.
        StreamInterrupted: while it is iterated, where the format has no word for a failure.
        StreamConsumed: while it is iterated, behind a read that was cancelled.

    >>> async def main():
    ...     return b"".join([chunk async for chunk in Body(["H", "i"], "text")])
    >>> run(main())
    b'Hi'
    """

    def __init__(
        self,
        stream: Streamable,
        format: str | Dialect = "native",
        *,
        accept_encoding: str | None = None,
        **options: Unpack[BodyOptions],
    ) -> None:
        chosen = Options.checked("Body", cast("ResponseOptions", options))
        self._codec = writer_of(format, chosen)
        self._stream = chosen.stream(stream)
        self._beats = chosen.heartbeat is not None and bool(self._codec.heartbeat)
        if chosen.heartbeat is not None and self._beats:
            self._stream |= heartbeat_op(chosen.heartbeat, _beat)
        self._lets_through = chosen.lets_through
        raw = merge_headers(own_headers(self._codec.media_type, tuple(self._codec.headers.items())), chosen.headers)
        codings = offered(chosen.compress)
        coding = negotiated(accept_encoding or "", codings)
        if codings:
            raw.append((b"vary", b"accept-encoding"))
        if coding is not None:
            raw.append((b"content-encoding", coding.encode()))
        self._compressor = None if coding is None else compressor(coding)
        self.headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in raw]
        self.refusal: Refusal | None = None
        self._begun = False
        self._cut = False  # A read was cancelled.
        self._refuses = False
        self._first: bytes | None = None
        self._chunks: AsyncGenerator[bytes] | None = None

    async def begin(self) -> Refusal | None:
        """Wait for the first bytes, no longer than one heartbeat; give what to answer instead if the stream failed before.

        Raises:
            Exception: one of `lets_through`.
        """
        if not self._begun:
            self._refuses = True
            self._first = await anext(self, None)
            self._refuses = False
        return self.refusal

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        if self._chunks is None:
            if self._begun:  # closed before anybody read
                raise StopAsyncIteration
            self._begun = True
            self._chunks = self._produce()
        if self._cut:
            raise StreamConsumed("a read of this body was cancelled, and with it the body: what came is not all")
        try:
            return await anext(self._chunks)
        except Exception:
            raise
        except BaseException:
            self._cut = True
            raise

    async def aclose(self) -> None:
        """Close the source, if that has not happened."""
        self._first = None
        if self._chunks is not None:
            await self._chunks.aclose()
        elif not self._begun:
            self._begun = True
            await self._stream.open().aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<Body of {self._stream!r}>"

    async def _produce(self) -> AsyncGenerator[bytes]:
        codec = self._codec
        failure: Exception | ErrorEvent | None = None
        spoke = False
        reads: _Reads | None = None
        try:
            async with self._stream.open() as run:
                reads = _Reads(run, beside=self._beats)
                while (batch := await reads.next()) is not None:
                    items = [item for item in batch if item is not _BEAT] if self._beats else batch
                    body = codec.encode(items) if items else codec.heartbeat
                    if codec.stopped_by is not None and not body:
                        break
                    if items:
                        body = codec.open() + body
                    if body:
                        spoke = True
                        yield self._written(body)
                    if codec.stopped_by is not None:
                        break
        except Exception as error:
            failure = error
        finally:
            if reads is not None:
                reads.leave()
        failure = failure or codec.stopped_by or (reads.leaving if reads is not None else None)
        if failure is not None and not spoke:
            if isinstance(failure, self._lets_through):
                raise failure
            if self._refuses:
                self.refusal = refusal_of(report(failure, before_first_byte=True), failure)
                return
        last, outcome = self._end(failure, spoke)
        if last:
            yield last
        if outcome is not None:
            raise StreamInterrupted(
                f"a response was left unfinished, because its format has no word for a failure "
                f"(code {outcome.code}, correlation id {outcome.correlation_id})"
            )

    def _end(self, failure: Exception | ErrorEvent | None, spoke: bool) -> tuple[bytes, Outcome | None]:
        """The last chunk; and the outcome, if it could not be told."""
        codec = self._codec
        outcome = DONE
        if failure is not None:
            outcome = report(failure, before_first_byte=not spoke, wanted=isinstance(failure, StreamDraining))
        head = b""
        try:
            head = codec.open()
            end = codec.close(outcome)
        except Exception as error:  # it cannot begin, or what the encoder had held back cannot be written
            outcome = report(error, before_first_byte=False)
            end = codec.close(outcome)
        untold = outcome.failed and not end
        return self._written(head + end, over=not untold), outcome if untold else None

    def _written(self, body: bytes, *, over: bool = False) -> bytes:
        if self._compressor is None:
            return body
        data = self._compressor.write(body) if body else b""
        return data + self._compressor.close() if over else data


class _Reads:
    """What one run gives, until the process stops; a member of the event loop's `Drain`.

    Args:
        run: The run, open.
        beside: Whether its source is in a task of its own, so that a wait for it can be ended on trio, too: there no scope may be
            around a source.
    """

    def __init__(self, run: Run[object], *, beside: bool) -> None:
        self.leaving: StreamDraining | None = None
        self._run = run
        self._lists = run.lists()
        self._batch: list[object] | None = None
        self._interrupt = interrupt_for(run.backend) if beside or run.backend.name != "trio" else None
        self._drain = standing_drain(run.backend, run.clock)
        self._drain.join(self)

    async def next(self) -> list[object] | None:
        """What is ready next; None when there is no more, or no more is to be read."""
        self._batch = None
        if self.leaving is None:
            if self._interrupt is None:
                await self._read()
            else:
                await self._interrupt.run(self._read)
        return self._batch

    async def _read(self) -> None:
        try:
            self._batch = await anext(self._lists, None)
        except BaseException as error:
            if self._interrupt is None or not self._interrupt.is_stray(error):
                raise
            # Whoever iterates would take it for a cancel of its own task, and in a WSGI server's thread there is none.
            raise StreamInterrupted("a task that the source waited for was cancelled") from error

    def leave(self) -> None:
        """It is over."""
        self._drain.leave(self)

    def end(self) -> None:
        """The process stops: end a wait for the source. One that is being closed is left in peace: how it ended is known."""
        if self._run.closing:
            return
        self.leaving = self.leaving or StreamDraining("the server stops, and with it this response")
        if self._interrupt is not None:
            self._interrupt.fire()

    def cut(self) -> None:
        """The client had its time: whoever iterates must leave by himself."""
        self.end()


class BlockingBody:
    """A `Body` as a plain iterator of bytes, for one thread.

    Args:
        body: The body; nobody else may use it.

    Between two chunks nothing runs: a source goes on, and beats are counted, while somebody waits for the next one.

    Memory: the body's, and an event loop.
    Raises:
        StreamInterrupted: while it is iterated, where the format has no word for a failure.

    >>> with BlockingBody(Body(["H", "i"], "text")) as chunks:
    ...     b"".join(chunks)
    b'Hi'
    """

    def __init__(self, body: Body) -> None:
        self._body = body
        self.headers = body.headers
        self._begun = False
        self._first: bytes | None = None
        self._chunks: Iterator[bytes] = stream_of(self._reading).iter()

    def begin(self) -> Refusal | None:
        """As `Body.begin`."""
        if not self._begun:
            self._first = next(self, None)
        return self._body.refusal

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        self._begun = True
        return next(self._chunks)

    def close(self) -> None:
        """Close the source, if that has not happened."""
        self._first = None
        if not self._begun:  # it must still learn that nobody wants it
            self._begun = True
            for _ in stream_of(self._leaving).iter():
                break
        closing = getattr(self._chunks, "close", None)
        if closing is not None:
            closing()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    async def _reading(self) -> AsyncGenerator[bytes]:
        async with self._body as body:
            await body.begin()
            async for chunk in body:
                yield chunk

    async def _leaving(self) -> AsyncGenerator[bytes]:
        await self._body.aclose()
        return
        yield b""


def _beat() -> object:
    return _BEAT


_BEAT: Final = object()
