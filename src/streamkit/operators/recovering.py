"""What goes on when a stream fails: another stream in its place, or the rest of a cut answer behind its beginning."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from functools import partial
from typing import Any, Never, cast

from typing_extensions import TypeVar

from streamkit.errors import (
    ConfigError,
    StreamDraining,
    StreamInterrupted,
    StreamkitError,
    StreamTimeout,
    StreamTruncated,
    scrub,
)
from streamkit.events.message import Message
from streamkit.events.model import Event, Usage
from streamkit.flow.plan import Around, Laid, Op, check_callable, check_count, describe, is_async_callable
from streamkit.flow.runs import Run
from streamkit.flow.series import Series
from streamkit.flow.shaped import Widens
from streamkit.flow.siblings import Plan, close_unbegun
from streamkit.flow.sources import Feed, Given, Source, source_of
from streamkit.flow.strands import OwnLimits
from streamkit.flow.streams import stream
from streamkit.operators.retrying import On, asked_of, check_exception
from streamkit.stages.splicing import Splice

# Never where nothing takes over: `catch(lambda error: None)` keeps the type as it is.
U = TypeVar("U", default=Never)

__all__ = ["catch", "continue_on_cut", "fallback"]

# What cuts an answer, and says nothing against the rest of it.
CUTS = (StreamTruncated, StreamInterrupted, StreamDraining, StreamTimeout, ConnectionError)

OVERLAP_CHARS = 200

# Anything that `sk.stream` takes: its overloads are for callers who know what they have.
_any_stream: Callable[[Any], Any] = stream


def catch(
    fn: Callable[[Any], Given[U] | None] | Callable[[Any], Awaitable[Given[U] | None]], *errors: type[Exception]
) -> Widens[U]:
    """Go on with another stream when this one fails.

    Args:
        fn: Called with the error, sync or async. What it gives is read on: anything that `sk.stream` takes, or None to
            end here.
        errors: Types of errors; by default every `Exception`. Cancels are never among them.

    Yields:
        What came before the error, then the other stream. What that one fails with is raised: nobody catches twice.

    The failed stream is closed before `fn` is called. `error.partial` holds what had arrived, on errors of streamkit's own.

    Memory: nothing.
    Cancellation: the stream that is read is closed.
    Raises:
        TypeError: no callable, or no types of exceptions, at the call; what `fn` gives is no stream, when it is called.

    >>> def sorry(error: Exception) -> list[str]:
    ...     return [f"({error})"]
    >>> def broken():
    ...     yield "Hello"
    ...     raise OSError("line down")
    >>> run((stream(broken) | catch(sorry, OSError)).collect())
    ['Hello', '(line down)']
    """
    check_callable("catch", fn)
    for kind in errors:
        check_exception("catch", "errors", kind)
    return Widens(_Catch(fn, errors or (Exception,)))


class _Catch(Around):
    """`catch` in a plan."""

    def __init__(self, fn: Callable[[Any], Any], errors: tuple[type[Exception], ...]) -> None:
        self.label = f"catch({describe(fn)})"
        self._errors = errors
        self._ask: Callable[[Exception], Awaitable[Any]] = fn if is_async_callable(fn) else partial(_asked, fn)

    def around(self, source: Source, parts: tuple[Laid, ...]) -> Source:
        def open_feed(run: Run[Any]) -> Feed:
            caught: list[bool] = []

            async def successor(error: Exception, begun: bool) -> Plan | None:
                if caught or not isinstance(error, self._errors):
                    raise error
                caught.append(True)
                given = await self._ask(error)
                return None if given is None else _any_stream(given).plan

            series = Series(run, (source, parts), successor, after_output=True)
            return series.feed(source.label)

        return _around(self, source, parts, open_feed)


async def _asked(fn: Callable[[Any], Any], argument: object) -> Any:
    return fn(argument)


def _around(part: Around, source: Source, parts: tuple[Laid, ...], open_feed: Callable[[Run[Any]], Feed]) -> Source:
    """The source of a part that opens what stands before it once in a Run."""
    return Source(lambda: f"{source.label} | {part.label}", open_feed, repeatable=source.repeatable, inner=((source, parts),))


def fallback(*others: Given[U], on: On | None = None, after_output: bool = False) -> Widens[U]:
    """Go on with the next of several streams when one fails before its first output.

    Args:
        others: The streams to try, in their order; anything that `sk.stream` takes. What can be read only once is there
            for one Run, so give a list or a zero-argument callable to an operator that many streams share.
        on: Types of errors, or a function of one, after which the next is tried; by default every `Exception`.
        after_output: True goes on behind the first output too. The next stream begins at its beginning, so that text may
            come twice: for readers who can begin anew.

    Each failed stream is closed before the next is opened. When all fail the last error is raised, with a note of each
    before it.

    Yields:
        The items of the first stream that gives some. The events `Start`, `Ping` and `Usage` are no output: those of
        a failed stream are dropped, unless after_output is True.

    Memory: at most 64 of those events.
    Cancellation: the stream that is read is closed, and so are those that were given and never opened.
    Raises:
        ConfigError, TypeError: no other stream, or something that is none, at the call.

    >>> def broken():
    ...     raise OSError("no route")
    ...     yield ""
    >>> run((stream(broken) | fallback(stream(["from elsewhere"]))).collect())
    ['from elsewhere']
    """
    if not others:
        raise ConfigError("fallback() needs at least one other stream")
    if not isinstance(after_output, bool):  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers
        raise TypeError(f"fallback(after_output=...) takes a bool, got {type(after_output).__name__}")
    return Widens(_Fallback([_plan_of(other) for other in others], asked_of("fallback", on or Exception), after_output))


def _plan_of(other: Any) -> Plan:
    """What to read; a container is there for each of the streams that fall back on it."""
    if isinstance(other, Collection) and not isinstance(other, str | bytes | bytearray):
        name = type(cast("object", other)).__name__
        return Source(name, lambda run: source_of(other).open(run), repeatable=True), ()
    return _any_stream(other).plan  # type: ignore[no-any-return]  # of a Stream


class _Fallback(Around):
    """`fallback` in a plan."""

    def __init__(self, plans: list[Plan], check: Callable[[Exception], object], after_output: bool) -> None:
        self.label = f"fallback({', '.join(source.label for source, _ in plans)})"
        self._plans = plans
        self._check = check
        self._after_output = after_output

    def around(self, source: Source, parts: tuple[Laid, ...]) -> Source:
        def open_feed(run: Run[Any]) -> Feed:
            rest = list(self._plans)
            failed: list[str] = []

            async def successor(error: Exception, begun: bool) -> Plan:
                if not rest or not self._check(error):
                    for earlier in failed:
                        error.add_note(f"fallback: before it failed {earlier}")
                    raise error
                failed.append(f"{type(error).__name__}: {scrub(str(error))}")
                return rest.pop(0)

            series = Series(run, (source, parts), successor, after_output=self._after_output)
            feed = series.feed(source.label)
            feed.closers.insert(0, ("the other streams", OwnLimits(partial(close_unbegun, run, rest))))
            return feed

        repeatable = source.repeatable and all(other.repeatable for other, _ in self._plans)
        inner = ((source, parts), *self._plans)
        return Source(lambda: f"{source.label} | {self.label}", open_feed, repeatable=repeatable, inner=inner)


def continue_on_cut(
    make: Callable[[Message], Any], *, attempts: int = 2, on: On | None = None, overlap: int = OVERLAP_CHARS
) -> Op[Event, Event]:
    """Let an answer that was cut be continued, so that one whole answer comes out.

    Args:
        make: Called with the answer so far, sync or async; gives the stream of its rest. Usually a request whose last
            message is that text, as the assistant's (a "prefill"). None gives up: the error is raised.
        attempts: Most continuations of one answer.
        on: Types of errors, or a function of one, that count as a cut. By default StreamTruncated, StreamInterrupted,
            StreamDraining, StreamTimeout and ConnectionError, and whatever says that it may be tried again.
        overlap: Most characters that are looked at for a repetition: where the rest begins with the end of the text so
            far, with 12 characters of it at least, it is given once. 0 takes the rest as it comes.

    An answer that fails before its first output, or behind its `Finish`, is not cut: the error is raised. A stream has
    one answer (n = 1). The cut piece is closed before `make` is called.

    Yields:
        The events of one answer: one `Start`, indexes that go on, one `Finish`, and `Usage` with the tokens of all pieces
        added up; that of a cut piece is what had been counted by then, so that the sum is not final.

    Memory: the answer so far, and for a moment `overlap` characters of the rest.
    Cancellation: the stream that is read is closed.
    Raises:
        ConfigError, TypeError: arguments that cannot work, at the call; an item that is no event.
        The error that cut it, when it cannot be continued: with the whole answer so far as its `partial`, if it is one of
            streamkit's own.

    >>> def cut(text):
    ...     yield TextDelta(text)
    ...     raise StreamTruncated("the body ended")
    >>> def rest(so_far):
    ...     return [TextDelta(so_far.text[-20:] + " over the lazy dog."), Finish()]
    >>> run((stream(lambda: cut("The quick brown fox jumps")) | continue_on_cut(rest)).join())
    'The quick brown fox jumps over the lazy dog.'
    """
    check_callable("continue_on_cut", make)
    check_count("continue_on_cut", "attempts", attempts, 1)
    check_count("continue_on_cut", "overlap", overlap, 0)
    return Op(_Continue(make, attempts, _is_cut if on is None else asked_of("continue_on_cut", on), overlap))


def _is_cut(error: Exception) -> bool:
    return isinstance(error, CUTS) or getattr(error, "retryable", False) is True


class _Continue(Around):
    """`continue_on_cut` in a plan."""

    def __init__(self, make: Callable[[Message], Any], attempts: int, is_cut: Callable[[Exception], object], overlap: int) -> None:
        self.label = f"continue_on_cut({describe(make)})"
        self.attempts = attempts
        self.is_cut = is_cut
        self.overlap = overlap
        self.ask: Callable[[Any], Awaitable[Any]] = make if is_async_callable(make) else partial(_asked, make)

    def around(self, source: Source, parts: tuple[Laid, ...]) -> Source:
        def open_feed(run: Run[Any]) -> Feed:
            answer = _Answer(self, run, (source, parts))
            return Feed(answer, shape="lists", closers=[(source.label, OwnLimits(answer.aclose))])

        return _around(self, source, parts, open_feed)


class _Answer:
    """One answer: the lists of a series, spliced."""

    __slots__ = ("_left", "_over", "_part", "_ready", "_series", "_splice", "aclose")

    def __init__(self, part: _Continue, run: Run[Any], plan: Plan) -> None:
        self._part = part
        self._left = part.attempts
        self._over: BaseException | None = None
        self._splice = Splice(part.overlap)
        # What a piece still held back when it was cut.
        self._ready: list[Any] = []
        self._series = Series(run, plan, self._rest, after_output=True, lists=True)
        self.aclose = self._series.aclose
        run.keep_partial(lambda: self._splice.message)

    def __aiter__(self) -> _Answer:
        return self

    async def __anext__(self) -> list[Any]:
        while self._over is None:
            try:
                batch = await self._series.__anext__()
            except Exception as last:  # the end, too
                self._over = last
                events = self._splice.flush()
            else:
                events = self._splice.feed(batch)
            if self._ready:
                events, self._ready = [*self._ready, *events], []
            if events:
                return events
        over, self._over = self._over, StopAsyncIteration()
        try:
            raise over
        finally:
            del over  # this frame is in its traceback

    async def _rest(self, error: Exception, begun: bool) -> Plan:
        """The stream that continues the answer, or the error."""
        so_far = self._splice.message
        if begun and so_far.finish is None and self._left and self._part.is_cut(error):
            self._left -= 1
            self._ready += self._splice.flush()
            given = await self._part.ask(so_far)
            if given is not None:
                self._splice.again(_usage_of(error))
                return _any_stream(given).plan  # type: ignore[no-any-return]  # of a Stream
        if begun and isinstance(error, StreamkitError):
            error.partial = so_far
        raise error


def _usage_of(error: Exception) -> Usage | None:
    """What a decoder had counted when its answer was cut."""
    told = getattr(error, "partial", None)
    return told.usage if isinstance(told, Message) else None
