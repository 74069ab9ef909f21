"""A model given as a function: local, custom, or made for a test.

Whatever the function is, its answer is a stream like any provider's: it begins with `Start`, ends with `Finish`,
and can be run again, which calls the function again. A function that may block is called on a thread of its own.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from typing import Any, Final, ParamSpec, cast

from streamkit.clients.bodies import open_body
from streamkit.clients.so_far import AnswerSoFar
from streamkit.events import ErrorEvent, Event, Finish, Ping, Start, TextDelta
from streamkit.events.model import EVENT_TYPES
from streamkit.flow.plan import describe, is_async_callable
from streamkit.flow.runs import Run
from streamkit.flow.sources import Feed, Source
from streamkit.flow.streams import Stream

__all__ = ["from_callable"]

P = ParamSpec("P")

_EVENTS: Final = frozenset(EVENT_TYPES)


def from_callable(fn: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs) -> Stream[Event]:
    """The events of a model that is a function.

    Args:
        fn: An async generator, a generator, `async def` or a plain function. What it returns is text, or an iterable or
            async iterable of texts and events. A generator and a plain function run on a thread: they may block.
        args: What it is called with, each time the stream is run.
        kwargs: The same.

    Yields:
        `Start`, with the function's name as the model, unless the function gives one; a `TextDelta` for each text, and
        events as they are; `Finish("stop")`, unless the function ends with a `Finish` or an `ErrorEvent` of its own.

    Memory: the answer so far (for `partial`). A function on a thread is at most 2 items ahead.
    Cancellation: a generator is closed. A function on a thread is left at its next item, and abandoned if none comes.
    Raises:
        TypeError: at the call, if `fn` cannot be called so; later, if it gives neither text nor events.
        What the function raises passes untouched; `Run.partial` then holds what came.

    >>> import asyncio
    >>> def shout(prompt):
    ...     for word in prompt.split():
    ...         yield word.upper() + " "
    >>> asyncio.run(from_callable(shout, "hear me").join())
    'HEAR ME '
    """
    if not callable(fn):
        raise TypeError(f"from_callable takes a function and its arguments, got a {type(fn).__name__}")
    try:
        inspect.signature(fn).bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{describe(fn)} cannot be called like this: {error}") from None
    except ValueError:
        pass  # some callables written in C say nothing of what they take
    call = functools.partial(fn, *args, **kwargs)
    return Stream(Source(f"from_callable({describe(fn)})", lambda run: _feed(fn, call, run), repeatable=True))


def _feed(fn: Callable[..., object], call: Callable[[], object], run: Run[Any]) -> Feed:
    so_far = AnswerSoFar()
    run.keep_partial(so_far.message)
    feed = Feed(None, shape="lists")

    async def start() -> AsyncIterator[list[Event]]:
        items = _items(fn, call, run, feed)
        feed.closers.append(("the items", items.aclose))
        lists = _answer(items, _name_of(fn), so_far)
        feed.closers.append(("the answer", lists.aclose))
        return lists

    feed.start = start
    return feed


async def _answer(items: AsyncIterator[object], name: str, so_far: AnswerSoFar) -> AsyncGenerator[list[Event]]:
    """The items as events, between a beginning and an end."""
    begun = ended = False
    async for item in items:
        event = _event(item)
        if event is None:
            continue
        events: list[Event] = [event]
        if not begun and not isinstance(event, Ping):
            begun = True
            if not isinstance(event, Start):
                events = [Start(model=name, provider="callable"), event]
        ended = ended or isinstance(event, Finish | ErrorEvent)
        so_far.add(events)
        yield events
    last: list[Event] = [] if begun else [Start(model=name, provider="callable")]
    if not ended:
        last.append(Finish("stop"))
    so_far.add(last)
    yield last


def _event(item: object) -> Event | None:
    if isinstance(item, str):
        return TextDelta(item) if item else None
    if item.__class__ in _EVENTS:
        event: Any = item
        return event  # type: ignore[no-any-return]  # the frozenset knows what a type checker cannot
    raise TypeError(
        f"a model given as a function gives text (str) or events of streamkit, and this one gave a {type(item).__name__}"
    )


async def _items(fn: Callable[..., object], call: Callable[[], object], run: Run[Any], feed: Feed) -> AsyncGenerator[object]:
    """What the function gives, one by one, wherever it runs."""
    source: object = call() if _is_async(fn) else _OnThread(call)
    while source is not None:
        body = await open_body(source, run, feed.closers, _readable)
        source = None
        async for item in body.items:
            if isinstance(item, _Async):
                source = item.value
            else:
                yield item


def _readable(value: Any) -> Any:
    """What a function returned, as something to iterate; anything else is refused."""
    if isinstance(value, str):
        return [value]
    if _needs_a_loop(value) or (hasattr(value, "__iter__") and not isinstance(value, Mapping | bytes | bytearray)):
        return value
    kind = type(cast("object", value)).__name__
    raise TypeError(
        f"a model given as a function returned a {kind}: it must return text, or an iterable or async iterable of texts and events"
    )


def _needs_a_loop(value: object) -> bool:
    return inspect.isawaitable(value) or hasattr(value, "__aiter__") or hasattr(value, "__aenter__")


class _OnThread:
    """The call and what it gives, for a thread to iterate."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call

    def __iter__(self) -> Iterator[object]:
        result = _readable(self._call())
        if _needs_a_loop(result):
            yield _Async(result)
        else:
            yield from result


class _Async:
    """What a plain function gave and only an event loop can read: a coroutine, say."""

    def __init__(self, value: object) -> None:
        self.value = value


def _is_async(fn: Callable[..., object]) -> bool:
    return is_async_callable(fn) or inspect.isasyncgenfunction(fn) or inspect.isasyncgenfunction(getattr(fn, "__call__", None))  # noqa: B004  # the method itself is asked


def _name_of(fn: object) -> str:
    while isinstance(fn, functools.partial):
        fn = cast("functools.partial[object]", fn).func
    name = getattr(fn, "__name__", None)
    return name if isinstance(name, str) else type(fn).__name__
