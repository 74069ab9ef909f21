"""`Stream`: a lazy, immutable plan, and the ways to run it.

Building a stream starts nothing: each operator gives a new plan. State lives in a `Run`. The three
ways to run one are `async with stream as items` (closed on the way out), the terminals (closed
before they return), and a bare `async for` (closed at its end; after `break` only best-effort).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Generic, Protocol, TypeVar, overload

from streamkit.errors import ConfigError, StreamBusy, StreamkitError
from streamkit.events.message import Message
from streamkit.events.model import EVENT_TYPES, Event, TextDelta
from streamkit.events.stats import Stats
from streamkit.flow.concurrent_map import concurrent_map_part
from streamkit.flow.explain import explain_plan, html_of_plan
from streamkit.flow.measures import measure_part, progress_part
from streamkit.flow.plan import (
    DISTINCT_ITEMS,
    Around,
    Laid,
    Op,
    Part,
    Same,
    Step,
    changes_step,
    check_callable,
    check_count,
    check_seconds,
    describe,
    distinct_step,
    enumerate_step,
    start_with_step,
    step_of,
)
from streamkit.flow.runs import CLOSE_TIMEOUT, Run
from streamkit.flow.scripts import iterate
from streamkit.flow.side_sink import SIDE_ITEMS, OnSinkError, also_to_part
from streamkit.flow.snapshots import Chain, Snapshot
from streamkit.flow.sources import Given, Source, source_of
from streamkit.flow.timed_parts import batch_part, debounce_part, throttle_part, window_part
from streamkit.flow.typed_parts import MAX_CHARS, MAX_DEPTH, parse_part
from streamkit.stages.growing import Parsed
from streamkit.stages.weighing import Measure

if TYPE_CHECKING:
    from streamkit.flow.sending import SendChannel
    from streamkit.flow.shaped import Keeps, Shaped

__all__ = ["Sink", "Stream", "stream"]

T = TypeVar("T")
U = TypeVar("U")
T_co = TypeVar("T_co", covariant=True)
D = TypeVar("D")

_UNSET: Any = object()


class Sink(Protocol[T]):
    """Where `stream.to` delivers: lists of items that were ready together, then the end."""

    async def send(self, batch: list[T], /) -> None:
        """Take the items; returning means there is room for more."""
        ...

    async def aclose(self, error: BaseException | None, /) -> None:
        """Nothing more will come: None after a complete stream, else what ended it."""
        ...


class Stream(Generic[T_co]):
    """A plan: a source and the operators over it. Made by `sk.stream`.

    >>> import asyncio
    >>> asyncio.run(stream([" a", "", "b "]).map(str.strip).filter(bool).collect())
    ['a', 'b']
    """

    __slots__ = ("_close_timeout", "_open", "_parts", "_source")

    def __init__(self, source: Source, parts: tuple[Laid, ...] = (), *, close_timeout: float = CLOSE_TIMEOUT) -> None:
        self._source = source
        self._parts = parts
        self._close_timeout = close_timeout
        self._open: Run[T_co] | None = None

    # -- composing

    @overload
    def __or__(self, other: Same) -> Stream[T_co]: ...
    @overload
    def __or__(self, other: Keeps[T_co]) -> Stream[T_co]: ...
    @overload
    def __or__(self, other: Shaped[T_co, U]) -> Stream[U]: ...
    @overload
    def __or__(self, other: Op[T_co, U]) -> Stream[U]: ...
    def __or__(self, other: Same | Op[Any, Any] | Shaped[Any, Any]) -> Stream[Any]:
        """Put an operator behind this stream."""
        if not isinstance(other, Op | Same):  # pyright: ignore[reportUnnecessaryIsInstance]  # `|` with a stranger
            if callable(other):
                raise TypeError(f"a stream is piped into operators, got {describe(other)} itself: call it, {describe(other)}(...)")
            return NotImplemented
        return self._with(*other.parts)

    def _with(self, *parts: Part) -> Stream[Any]:
        source, before = self._source, self._parts
        for part in parts:
            if isinstance(part, Around):
                source, before = part.around(source, before), ()
            else:
                before = (*before, part)
        return Stream(source, before, close_timeout=self._close_timeout)

    @overload
    def map(self, fn: Callable[[T_co], Awaitable[U]], *, concurrency: int = 1, ordered: bool = True) -> Stream[U]: ...
    @overload
    def map(self, fn: Callable[[T_co], U]) -> Stream[U]: ...
    def map(self, fn: Callable[[T_co], Any], *, concurrency: int = 1, ordered: bool = True) -> Stream[Any]:
        """Replace each item by `fn(item)`; see `sk.map`."""
        return self._with(concurrent_map_part(fn, concurrency, ordered))

    def filter(self, fn: Callable[[T_co], object]) -> Stream[T_co]:
        """Keep the items for which `fn(item)` is true; see `sk.filter`."""
        return self._with(step_of("filter", "filter", fn))

    @overload
    def flat_map(self, fn: Callable[[T_co], AsyncIterable[U]]) -> Stream[U]: ...
    @overload
    def flat_map(self, fn: Callable[[T_co], Awaitable[Iterable[U]]]) -> Stream[U]: ...
    @overload
    def flat_map(self, fn: Callable[[T_co], Iterable[U]]) -> Stream[U]: ...
    def flat_map(self, fn: Callable[[T_co], Any]) -> Stream[Any]:
        """Replace each item by the items of `fn(item)`; see `sk.flat_map`."""
        return self._with(step_of("flat_map", "flat_map", fn))

    @overload
    def scan(self, fn: Callable[[U, T_co], Awaitable[U]], initial: U) -> Stream[U]: ...
    @overload
    def scan(self, fn: Callable[[U, T_co], U], initial: U) -> Stream[U]: ...
    def scan(self, fn: Callable[[Any, T_co], Any], initial: Any) -> Stream[Any]:
        """Fold as `reduce` does, giving each intermediate state; see `sk.scan`."""
        return self._with(step_of("scan", "scan", fn, argument=(fn, initial)))

    def tap(self, fn: Callable[[T_co], object]) -> Stream[T_co]:
        """Call `fn(item)` for each item and pass it on; see `sk.tap`."""
        return self._with(step_of("tap", "tap", fn))

    def take(self, count: int) -> Stream[T_co]:
        """The first `count` items; the source is closed after them; see `sk.take`."""
        check_count("take", "count", count, 0)
        return self._with(Step("take", f"take({count})", count))

    def skip(self, count: int) -> Stream[T_co]:
        """All but the first `count` items; see `sk.skip`."""
        check_count("skip", "count", count, 0)
        return self._with(Step("skip", f"skip({count})", count))

    def take_while(self, fn: Callable[[T_co], object]) -> Stream[T_co]:
        """Items up to the first for which `fn(item)` is false; see `sk.take_while`."""
        return self._with(step_of("take_while", "take_while", fn))

    def drop_while(self, fn: Callable[[T_co], object]) -> Stream[T_co]:
        """Everything from the first item for which `fn(item)` is false; see `sk.drop_while`."""
        return self._with(step_of("drop_while", "drop_while", fn))

    def distinct(self, key: Callable[[T_co], object] | None = None, *, size: int = DISTINCT_ITEMS) -> Stream[T_co]:
        """Each item once; see `sk.distinct`."""
        return self._with(distinct_step(key, size))

    def changes(self, key: Callable[[T_co], object] | None = None) -> Stream[T_co]:
        """The items that differ from the one before them; see `sk.changes`."""
        return self._with(changes_step(key))

    def enumerate(self, start: int = 0) -> Stream[tuple[int, T_co]]:
        """Number the items; see `sk.enumerate`."""
        return self._with(enumerate_step(start))

    def pairwise(self) -> Stream[tuple[T_co, T_co]]:
        """Each item together with the one before it; see `sk.pairwise`."""
        return self._with(Step("pairwise", "pairwise()", None))

    def start_with(self, *items: U) -> Stream[T_co | U]:
        """Some items first, then the stream; see `sk.start_with`."""
        return self._with(start_with_step(items))

    def default_if_empty(self, item: U) -> Stream[T_co | U]:
        """One item where there would be none; see `sk.default_if_empty`."""
        return self._with(Step("default_if_empty", "default_if_empty()", item))

    @overload
    def parse(
        self: Stream[str | Event], of: type[U], *, strict: bool = False, max_chars: int = MAX_CHARS, max_depth: int = MAX_DEPTH
    ) -> Stream[Parsed[U]]: ...
    @overload
    def parse(
        self: Stream[str | Event], of: object, *, strict: bool = False, max_chars: int = MAX_CHARS, max_depth: int = MAX_DEPTH
    ) -> Stream[Parsed[Any]]: ...
    def parse(
        self: Stream[str | Event], of: object, *, strict: bool = False, max_chars: int = MAX_CHARS, max_depth: int = MAX_DEPTH
    ) -> Stream[Parsed[Any]]:
        """Read a value of a type from the JSON in the text while it arrives; see `sk.parse`."""
        return self._with(parse_part(of, strict, max_chars, max_depth))

    def window(self, size: int, step: int = 1, *, partial: bool = False) -> Stream[tuple[T_co, ...]]:
        """Give the last items together, again and again; see `sk.window`."""
        return self._with(window_part(size, step, partial))

    def debounce(self, seconds: float) -> Stream[T_co]:
        """The newest item after a silence; see `sk.debounce`."""
        return self._with(debounce_part(seconds))

    def throttle(self, seconds: float, *, trailing: bool = True) -> Stream[T_co]:
        """At most one item in so many seconds; see `sk.throttle`."""
        return self._with(throttle_part(seconds, trailing))

    def flatten(self: Stream[Given[U]], *, concurrency: int = 1, size: int = 64) -> Stream[U]:
        """The items of the streams that this stream gives; see `sk.flatten`."""
        from streamkit.flow.flattened import flatten_part  # it makes streams of what it is given

        return self._with(flatten_part(concurrency, size))

    def switch(self: Stream[Given[U]]) -> Stream[U]:
        """The items of the newest of the streams that this stream gives; see `sk.switch`."""
        from streamkit.flow.flattened import switch_part  # it makes streams of what it is given

        return self._with(switch_part())

    def also_to(self, sink: Sink[T_co], *, size: int = SIDE_ITEMS, on_error: OnSinkError = "warn") -> Stream[T_co]:
        """Give everything to a second sink, which can neither hold back nor break this stream; see `sk.also_to`."""
        return self._with(also_to_part(sink, size, on_error))

    def batch(
        self,
        size: int | None = None,
        *,
        within: float | None = None,
        weight: Callable[[T_co], float] | Measure | None = None,
        max_weight: float | None = None,
        until: Callable[[T_co], object] | None = None,
    ) -> Stream[list[T_co]]:
        """Gather items into lists; see `sk.batch`."""
        return self._with(batch_part(size, within, weight, max_weight, until))

    def measure(self, stats: Stats) -> Stream[T_co]:
        """Let a `Stats` grow with the stream; see `sk.measure`."""
        return self._with(measure_part(stats))

    def progress(self, *, file: IO[str] | None = None, label: str | None = None, every: float = 0.1) -> Stream[T_co]:
        """Show the stream's measures as a line on a terminal, and a summary at its end; see `sk.progress`."""
        return self._with(progress_part(file, label, every))

    # -- running

    def open(self, *, fused: bool = True, resumable: bool = False, restore: Snapshot | None = None) -> Run[T_co]:
        """An independent Run, to be used with `async with` or closed by `aclose()`.

        Args:
            fused: False runs the plan unfused, one generator per step: slower, and the same result.
            resumable: Whether `run.snapshot()` may be called between two items.
            restore: A snapshot of a run of the same operators, to go on with; it may be saved again. The source is to
                give what comes behind its cursor.

        Raises:
            StreamBusy, StreamConsumed: the source can be read once, and is or was.
            ConfigError: a resumable run of operators that cannot be saved, or a snapshot of others.
        """
        if not resumable and restore is None:
            return Run(self._source, self._parts, fused=fused, close_timeout=self._close_timeout)
        chain = Chain(self._parts, restore)
        label = " | ".join([part.label for part in self._parts]) or "as it comes"
        parts = (Step("stage", label, lambda: chain), Step("start_with", "what was not given yet", chain.beginning()))
        source = source_of(()) if chain.over else self._source
        return Run(source, parts, fused=fused, close_timeout=self._close_timeout, chain=chain)

    async def __aenter__(self) -> Run[T_co]:
        self._check_free()
        self._open = Run(self._source, self._parts, close_timeout=self._close_timeout, released=self._released)
        return self._open

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._open is not None:
            await self._open.aclose(error)

    def _released(self) -> None:
        self._open = None

    def _check_free(self) -> None:
        if self._open is not None:
            raise StreamBusy(
                "a Run of this stream is open: iterate what `async with` gave, or take an independent Run with stream.open()"
            )

    def __aiter__(self) -> AsyncIterator[T_co]:
        self._check_free()
        # The Run does not hold its iterator: it goes with the loop that is left, and its tasks are told.
        return self.open().bound("yield", None)  # type: ignore[no-any-return]  # generated

    def close_within(self, seconds: float) -> Stream[T_co]:
        """The same stream with another limit for a source's clean-up, in seconds (default 5)."""
        check_seconds("close_within", "seconds", seconds)
        return Stream(self._source, self._parts, close_timeout=seconds)

    # -- terminals: each runs the stream to its end and has closed everything when it returns

    async def collect(self) -> list[T_co]:
        """All items as a list.

        Memory: the whole stream. An error of streamkit's own carries the items so far as `.partial`.
        """
        items: list[T_co] = []
        self._check_free()
        run = self.open()
        run.keep_partial(lambda: items)
        await run.drive(items.append)
        return items

    async def run(self) -> None:
        """Run to the end for the effects alone."""
        self._check_free()
        await self.open().drive(_ignore)

    async def join(self, separator: str = "") -> str:
        """The text of the stream: its strings, or the text deltas of its events, joined.

        Raises:
            TypeError: an item that is neither.
        """
        texts: list[str] = []
        self._check_free()
        run = self.open()
        run.keep_partial(lambda: separator.join(texts))

        def add(item: object) -> None:
            if isinstance(item, str):
                texts.append(item)
            elif isinstance(item, TextDelta):
                texts.append(item.text)
            elif not isinstance(item, EVENT_TYPES):
                raise TypeError(f"join() joins text, and got a {type(item).__name__}; map it to str first")

        await run.drive(add)
        return separator.join(texts)

    @overload
    async def first(self) -> T_co: ...
    @overload
    async def first(self, default: D) -> T_co | D: ...
    async def first(self, default: Any = _UNSET) -> Any:
        """The first item; the source is closed after it.

        Raises:
            LookupError: the stream was empty and no default was given.
        """
        return self._only(await self.take(1).collect(), default, "first")

    @overload
    async def last(self) -> T_co: ...
    @overload
    async def last(self, default: D) -> T_co | D: ...
    async def last(self, default: Any = _UNSET) -> Any:
        """The last item.

        Raises:
            LookupError: the stream was empty and no default was given.
        """
        newest: deque[T_co] = deque(maxlen=1)
        self._check_free()
        run = self.open()
        run.keep_partial(lambda: list(newest))
        await run.drive(newest.append)
        return self._only(list(newest), default, "last")

    def _only(self, items: list[T_co], default: Any, terminal: str) -> Any:
        if items:
            return items[0]
        if default is _UNSET:
            raise LookupError(f"{terminal}() of an empty stream; give a default: {terminal}(None)")
        return default

    @overload
    async def reduce(self, fn: Callable[[U, T_co], Awaitable[U]], initial: U) -> U: ...
    @overload
    async def reduce(self, fn: Callable[[U, T_co], U], initial: U) -> U: ...
    async def reduce(self, fn: Callable[[Any, T_co], Any], initial: Any) -> Any:
        """Fold all items into one value, `fn(value, item)` at a time."""
        check_callable("reduce", fn)
        return await self.scan(fn, initial).last(initial)

    async def message(self, *, choice: int = 0) -> Message:
        """The whole answer, folded from the events of one choice.

        Raises:
            TypeError: an item that is no event.
        """
        message = Message(choice=choice)
        self._check_free()
        run = self.open()
        run.keep_partial(lambda: message)

        def add(item: Any) -> None:
            if not isinstance(item, EVENT_TYPES):
                raise TypeError(f"message() folds events, and got a {type(item).__name__}; use join() or collect()")
            message.add(item)

        try:
            await run.drive(add)
        except StreamkitError as error:
            if not isinstance(error.partial, Message):
                error.partial = message
            raise
        return message

    async def to(self, sink: Sink[T_co]) -> None:
        """Deliver everything to a sink, in lists of what was ready together, then close the sink.

        The sink is closed with None after a complete stream, else with the error, which is raised
        again. A sink that fails ends the stream: the source is closed.
        """
        if not callable(getattr(sink, "send", None)) or not callable(getattr(sink, "aclose", None)):
            raise TypeError(f"to() takes a sink with `async send(batch)` and `async aclose(error)`, got {type(sink).__name__}")
        self._check_free()
        run = self.open()
        failure: BaseException | None = None
        try:
            async with run:
                async for batch in run.lists():
                    await sink.send(batch)
        except BaseException as error:
            failure = error
            raise
        finally:
            await _close_sink(sink, failure)

    def iter(self) -> Iterator[T_co]:
        """Plain Python, for a script: `for item in stream.iter()`.

        The whole iteration runs in one task of an event loop of its own, in this thread; in a thread
        whose loop is running (a notebook) in another thread, and then only for a source given as a
        callable, because any other belongs to the running loop. Leaving the loop closes the source. A
        source that blocks is read in that same task, as a plain loop would; where a buffer, a timeout or another
        operator with a task or a timer stands behind it, on a thread, as always.

        Raises:
            ConfigError: called inside a running event loop with a source that is no callable.
        """
        if _loop_is_running() and not self._source.repeatable:
            raise ConfigError(
                "iter() inside a running event loop needs a source given as a zero-argument callable; "
                "use `async for` here, or sk.stream(lambda: ...)"
            )
        return iterate(
            lambda: Run(self._source, self._parts, close_timeout=self._close_timeout, alone=True), in_thread=_loop_is_running()
        )

    # -- looking

    def explain(self) -> str:
        """The plan in words: which steps share a loop, and where tasks meet."""
        return explain_plan(self._source, self._parts)

    def _repr_html_(self) -> str:
        """The plan as a picture, for notebooks."""
        return html_of_plan(self._source, self._parts)

    def __repr__(self) -> str:
        return f"<Stream {' | '.join([self._source.label, *(part.label for part in self._parts)])}>"

    @property
    def plan(self) -> tuple[Source, tuple[Laid, ...]]:
        """The source and the parts, for operators that combine streams."""
        return self._source, self._parts


@overload
def stream(source: Stream[T], /) -> Stream[T]: ...
@overload
def stream(source: SendChannel[T], /) -> Stream[T]: ...
@overload
def stream(source: Awaitable[AsyncIterable[T]], /) -> Stream[T]: ...
@overload
def stream(source: Awaitable[Iterable[T]], /) -> Stream[T]: ...
@overload
def stream(source: asyncio.StreamReader, /) -> Stream[bytes]: ...
@overload
def stream(source: AsyncIterable[T], /) -> Stream[T]: ...
@overload
def stream(source: AbstractAsyncContextManager[AsyncIterable[T]], /) -> Stream[T]: ...
@overload
def stream(source: asyncio.Queue[T], /) -> Stream[T]: ...
@overload
def stream(source: Iterable[T], /) -> Stream[T]: ...
@overload
def stream(source: Callable[[], AsyncIterable[T]], /) -> Stream[T]: ...
@overload
def stream(source: Callable[[], Awaitable[AsyncIterable[T]]], /) -> Stream[T]: ...
@overload
def stream(source: Callable[[], AbstractAsyncContextManager[AsyncIterable[T]]], /) -> Stream[T]: ...
@overload
def stream(source: Callable[[], Iterable[T]], /) -> Stream[T]: ...
def stream(source: Any, /) -> Stream[Any]:
    """A stream over anything that gives items, now or later. Nothing starts until it is run.

    Looked at in this order: a Stream (given back as it is), a channel, an awaitable of a source
    (an un-awaited `create(..., stream=True)`), an async iterable, an async context manager that gives a
    source, an `asyncio.Queue` or `StreamReader` (bytes as they come), a sync container (inline), any other
    sync iterable (on one dedicated thread, at most 2 items ahead), a zero-argument callable that makes any
    of these. Only a callable can be run again.

    Memory: nothing is read ahead, but for the thread's 2 items.
    Cancellation: the source is closed, in the task that iterated it.
    Raises:
        TypeError: not a source; `str` and `bytes` are refused, because nobody means their characters.

    >>> import asyncio
    >>> asyncio.run(stream(lambda: iter("abc")).collect())
    ['a', 'b', 'c']
    """
    if isinstance(source, Stream):
        return source  # pyright: ignore[reportUnknownVariableType]
    return Stream(source_of(source))


def _ignore(item: object) -> None:
    """Nothing is kept."""


def _loop_is_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def _close_sink(sink: Sink[Any], failure: BaseException | None) -> None:
    try:
        await sink.aclose(failure)
    except Exception:
        if failure is None:
            raise
