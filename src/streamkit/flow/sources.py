"""Where items come from: everything that `sk.stream` accepts, told apart and opened.

A `Source` is what a plan holds: it knows whether it may be opened again. Opening it gives a `Feed`:
an iterator, its shape, and what must be closed afterwards. The strand that iterates a feed closes
it, in the same task; nothing here closes anything by itself.
"""

from __future__ import annotations

import asyncio
import collections.abc as abc
import inspect
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from streamkit.errors import StreamBusy, StreamConsumed
from streamkit.flow.channel import FAIRNESS
from streamkit.flow.fuse import Shape
from streamkit.flow.plan import Laid, describe
from streamkit.flow.threads import ThreadIterator

if TYPE_CHECKING:
    from streamkit.flow.runs import Run

__all__ = ["Closer", "Feed", "Given", "OpenFeed", "Source", "source_of"]

T = TypeVar("T")

# How one thing is closed, and the name a warning gives it.
Closer: TypeAlias = tuple[str, Callable[[], Awaitable[object] | None]]

# What of all that `sk.stream` takes a checker can see through.
Given: TypeAlias = (
    AsyncIterable[T]
    | Iterable[T]
    | Awaitable[AsyncIterable[T] | Iterable[T]]
    | Callable[[], AsyncIterable[T] | Iterable[T] | Awaitable[AsyncIterable[T] | Iterable[T]]]
)

READ_BYTES = 65536

_ACCEPTED = (
    "a Stream, a channel, an async iterable, an awaitable or async context manager that gives one, an asyncio.Queue or "
    "StreamReader, a sync iterable, or a zero-argument callable that returns any of these"
)


class Feed:
    """An opened source.

    Attributes:
        iterator: What to iterate; None where `start` gives it.
        shape: What the iterator gives (see `fuse.Shape`).
        start: Awaited once, in the task that iterates, before the first item.
        closers: What to close, in the order of opening; `start` may add to it.
        forget: Called if the Run that opened it never begins, because something else of it could not be opened: lets go
            of what was made for that Run alone. None where there is no such thing.
        direct: Makes what the reader iterates where no steps stand over it: called with the ending ("yield" or "lists"), `start`,
            the checkpoint and `leave`, and bound to what a segment does with them. None where a segment is as good.
    """

    __slots__ = ("closers", "direct", "forget", "iterator", "shape", "start")

    def __init__(
        self,
        iterator: Any,
        *,
        shape: Shape = "items",
        start: Callable[[], Awaitable[AsyncIterator[Any]]] | None = None,
        closers: list[Closer] | None = None,
    ) -> None:
        self.iterator = iterator
        self.shape: Shape = shape
        self.start = start
        self.closers: list[Closer] = [] if closers is None else closers
        self.forget: Callable[[], object] | None = None
        self.direct: Callable[..., Any] | None = None

    def close_unasked(self) -> None:
        """Close what nobody has asked for anything, as far as that goes without waiting."""
        while self.closers:
            _, close = self.closers.pop()
            with suppress(Exception):  # what could not be opened is the error to be seen
                closing = close()
                if closing is not None:
                    step = closing.__await__()
                    next(step, None)
                    step.close()


OpenFeed: TypeAlias = "Callable[[Run[Any]], Feed]"
_How: TypeAlias = "Callable[[Any, Run[Any]], Feed]"


class Source:
    """The beginning of a plan.

    A source that can be opened once goes from new to open to used; streams derived from one
    another share it. A repeatable one is opened anew by each Run. Its label may be a function, asked when
    somebody wants to read it. `inner` are the plans that it reads in its turn, for those who picture it.
    """

    __slots__ = ("_label", "_open", "_state", "inner", "partial", "repeatable")

    def __init__(
        self,
        label: str | Callable[[], str],
        open_feed: OpenFeed,
        *,
        repeatable: bool = False,
        partial: Callable[[], object] | None = None,
        inner: tuple[tuple[Source, tuple[Laid, ...]], ...] = (),
    ) -> None:
        self._label = label
        self.inner = inner
        self.repeatable = repeatable
        self.partial = partial
        self._open = open_feed
        self._state = "new"

    @property
    def label(self) -> str:
        """What it is called in plans and messages."""
        return self._label if isinstance(self._label, str) else self._label()

    def open(self, run: Run[Any]) -> Feed:
        """Open for one Run.

        Raises:
            StreamBusy, StreamConsumed: opened before, and it can be only once.
        """
        if not self.repeatable:
            if self._state == "open":
                raise StreamBusy(f"{self.label} is being read by another Run, and can be read only once")
            if self._state == "used":
                raise StreamConsumed(
                    f"{self.label} was consumed by an earlier Run; to run a stream again give sk.stream a zero-argument "
                    "callable that makes the source, e.g. sk.stream(lambda: make_source())"
                )
            self._state = "open"
        try:
            return self._open(run)
        except BaseException:
            self._state = "new"
            raise

    def give_back(self) -> None:
        """The Run that opened it never began."""
        self._state = "new"

    def release(self) -> None:
        """The Run that opened it is over."""
        self._state = "used"


def source_of(value: Any) -> Source:
    """The source for whatever `sk.stream` was given, in the documented order of looking.

    Raises:
        TypeError: nothing that can be iterated, or text, whose characters nobody means.
    """
    if isinstance(value, str | bytes | bytearray | memoryview):
        raise TypeError(
            f"a {_type_name(value)} is not a stream: put it in a list, [text], to stream it as one item, "
            "or cut it into the pieces you mean"
        )
    how = _opener(value)
    if how is not None:
        return Source(_label(value), _Opening(value, how))
    if callable(value):
        _check_arguments(value)
        return Source(f"{describe(value)}()", _Opening(value, _called), repeatable=True)
    raise TypeError(f"cannot stream a {_type_name(value)}: give {_ACCEPTED}")


def _type_name(value: Any) -> str:
    return type(value).__name__


def _label(value: object) -> str:
    name = getattr(value, "__qualname__", None)  # generators and coroutines carry their function's
    return name.rpartition("<locals>.")[2] if isinstance(name, str) else type(value).__name__


class _Opening:
    """Opens what `sk.stream` was given. An object and no closure, which weighs three times as much: there may be thousands."""

    __slots__ = ("_how", "_value")

    def __init__(self, value: Any, how: _How) -> None:
        self._value = value
        self._how = how

    def __call__(self, run: Run[Any]) -> Feed:
        return self._how(self._value, run)


def _opener(value: Any) -> _How | None:
    """How a thing that is not a callable is opened; None if it is no source."""
    if isinstance(value, type):  # it has the methods of its instances, and is a callable that makes one
        return None
    own = getattr(value, "__streamkit_feed__", None)
    if own is not None:
        return _opened_by_itself  # the protocol of our own channels and adapters
    if inspect.isawaitable(value):
        return _awaited
    if isinstance(value, asyncio.StreamReader):  # async iterable too, but by lines, and these are bytes
        return _read_in_chunks
    if hasattr(value, "__aiter__"):
        return _iterated
    if isinstance(value, AbstractAsyncContextManager) or (hasattr(value, "__aenter__") and hasattr(value, "__aexit__")):
        return _entered
    if isinstance(value, asyncio.Queue):
        return _drained
    if isinstance(value, abc.Collection):
        return _sliced
    if hasattr(value, "__iter__"):
        return _threaded
    return None


def _opened_by_itself(value: Any, run: Run[Any]) -> Feed:
    return value.__streamkit_feed__(run)  # type: ignore[no-any-return]


def _read_in_chunks(value: asyncio.StreamReader, run: Run[Any]) -> Feed:
    return _generated(_read_chunks(value))


def _drained(value: asyncio.Queue[Any], run: Run[Any]) -> Feed:
    return _generated(_drain_queue(value))


def _sliced(value: Iterable[Any], run: Run[Any]) -> Feed:
    return _generated(_slices(value), "lists")


def _iterated(value: Any, run: Run[Any]) -> Feed:
    iterator = value.__aiter__()
    closers = _closers(value)
    if iterator is not value:
        closers += _closers(iterator)
    return Feed(_asked_once(iterator), closers=closers)


def _asked_once(iterator: Any) -> AsyncIterator[Any]:
    """An iterator that may be looped over in parts, whatever its `__aiter__` does."""
    return iterator if inspect.isasyncgen(iterator) else _Iterator(iterator)


class _Iterator:
    """The items of an iterator, whose own `__aiter__` is not called again: some start over there, some have none."""

    __slots__ = ("_next",)

    def __init__(self, iterator: Any) -> None:
        self._next = iterator.__anext__

    def __aiter__(self) -> _Iterator:
        return self

    def __anext__(self) -> Awaitable[Any]:
        return self._next()  # type: ignore[no-any-return]  # its own awaitable, without a coroutine around it


def _closers(value: Any) -> list[Closer]:
    """How to close one object: `aclose` or `close`, whichever it has."""
    close = getattr(value, "aclose", None) or getattr(value, "close", None)
    return [] if close is None else [(_label(value), close)]


def _called(make: Callable[[], Any], run: Run[Any]) -> Feed:
    feed = source_of_result(make(), make).open(run)
    feed.forget = feed.close_unasked
    return feed


def source_of_result(value: Any, maker: object) -> Source:
    """The source for what a callable gave; a callable that gives a callable is a mistake."""
    if isinstance(value, str | bytes) or _opener(value) is None:
        raise TypeError(f"{describe(maker)} returned a {type(value).__name__}, which cannot be streamed: return {_ACCEPTED}")
    return source_of(value)


def _awaited(value: Awaitable[Any], run: Run[Any]) -> Feed:
    feed = Feed(None)
    state = {"awaited": False}

    async def start() -> AsyncIterator[Any]:
        state["awaited"] = True
        return await _items(source_of_result(await value, value).open(run), feed)

    def drop() -> None:
        # Never awaited: closed, or the interpreter would complain about it.
        if not state["awaited"] and inspect.iscoroutine(value):
            value.close()

    feed.start = start
    feed.closers.append((_label(value), drop))
    return feed


def _entered(manager: Any, run: Run[Any]) -> Feed:
    feed = Feed(None)

    async def start() -> AsyncIterator[Any]:
        value = await manager.__aenter__()
        feed.closers.append((_label(manager), lambda: manager.__aexit__(None, None, None)))
        if not hasattr(value, "__aiter__"):
            return await _items(source_of_result(value, manager).open(run), feed)
        # The manager closes what it gave, and once is enough; an iterator apart from it is ours, and so is a
        # generator, which a manager written as a function may leave open.
        iterator = value.__aiter__()
        if iterator is not value or inspect.isasyncgen(value):
            feed.closers += _closers(iterator)
        return _asked_once(iterator)

    feed.start = start
    return feed


async def _items(inner: Feed, outer: Feed) -> AsyncIterator[Any]:
    """An inner feed as an iterator of single items, its closers handed to the outer one."""
    outer.closers += inner.closers
    iterator: Any = inner.iterator
    if inner.start is not None:
        before = list(inner.closers)
        iterator = await inner.start()
        outer.closers += inner.closers[len(before) :]
    if inner.shape == "items":
        return iterator  # type: ignore[no-any-return]
    flat = _flattened(iterator)
    outer.closers.append(("batches", flat.aclose))
    return flat


async def _flattened(batches: AsyncIterator[Iterable[Any]]) -> abc.AsyncGenerator[Any]:
    async for batch in batches:
        for item in batch:
            yield item


def _generated(generator: abc.AsyncGenerator[Any], shape: Shape = "items") -> Feed:
    """A generator of our own, closed like any source's: trio complains of one that is left open."""
    return Feed(generator, shape=shape, closers=[("batches" if shape == "lists" else "the reading loop", generator.aclose)])


async def _slices(container: Iterable[Any]) -> abc.AsyncGenerator[list[Any]]:
    iterator = iter(container)
    while batch := list(islice(iterator, FAIRNESS)):
        yield batch


async def _read_chunks(reader: asyncio.StreamReader) -> abc.AsyncGenerator[bytes]:
    while chunk := await reader.read(READ_BYTES):
        yield chunk


async def _drain_queue(queue: asyncio.Queue[Any]) -> abc.AsyncGenerator[Any]:
    """Items until the queue is shut down (Python 3.13); before that a queue has no end."""
    shut_down: type[Exception] = getattr(asyncio, "QueueShutDown", _NeverRaised)
    while True:
        try:
            yield await queue.get()
        except shut_down:
            return


class _NeverRaised(Exception):  # stands for asyncio.QueueShutDown where Python has none
    pass


class _Here:
    """A sync iterable read in the task's own thread, where nobody else needs the event loop."""

    def __init__(self, value: Iterable[Any]) -> None:
        self._value = value
        self._iterator: Iterator[Any] | None = None

    async def items(self) -> abc.AsyncGenerator[Any]:
        self._iterator = iter(self._value)
        for item in self._iterator:
            yield item

    def close(self) -> None:
        # What it was given knows best how to let go of what stands behind it; a generator that was made of it goes after.
        for opened in (self._value, self._iterator):
            close = getattr(opened, "close", None)
            if close is not None:
                close()
            if self._iterator is self._value:
                return


def _threaded(value: Iterable[Any] | Iterator[Any], run: Run[Any]) -> Feed:
    if run.may_block:
        here = _Here(value)
        feed = _generated(here.items())
        feed.closers.append((_label(value), here.close))
        return feed
    iterator = ThreadIterator(value, run.backend, _label(value))
    return Feed(iterator, closers=[(_label(value), iterator.aclose)])


def _check_arguments(make: Callable[..., Any]) -> None:
    try:
        signature = inspect.signature(make)
    except (TypeError, ValueError):
        return  # some callables written in C have none
    try:
        signature.bind()
    except TypeError as error:
        raise TypeError(
            f"sk.stream calls {describe(make)} without arguments, and it needs some ({error}); "
            f"give a value, or lambda: {describe(make)}(...)"
        ) from None
